"""Real tables about planets and small bodies in EPN-TAP: JPL's asteroids, craters of Ceres, Cassini's flybys, meteorites; a table of PDS4 by its bytes."""

from __future__ import annotations

import csv
import gzip
import json

import pytest
from astropy.time import Time

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from shared import shared

HEAD = """\
collection: {name}
title: {name}
created: 2026-01-01
tables:
  epn_core:
    standard: epn-tap-2.0
"""
ASTEROIDS = (
    HEAD.format(name="asteroids")
    + """\
    frame: none
    optional: [diameter, albedo, semi_major_axis, eccentricity, inclination, magnitude, sidereal_rotation_period, dynamical_class, epoch]
    source: {kind: json, files: asteroids_sbdb.json.gz}
    set: {target_class: asteroid, dataproduct_type: ci, processing_level: 5, measurement_type: phys.size.diameter}
    text: {granule_uid: "{trim(full_name)}", target_name: "{clean(full_name)}"}
    map: {semi_major_axis: a, eccentricity: e, inclination: i, magnitude: H, sidereal_rotation_period: rot_per, dynamical_class: '"class"', epoch: CAST(epoch_mjd AS DOUBLE PRECISION) + 2400000.5}
"""
)
CRATERS = (
    HEAD.format(name="ceres")
    + """\
    frame: body
    source: {kind: csv, files: ceres_craters_km.csv}
    columns: {crater_diameter: {type: float64, unit: km, ucd: phys.size.diameter, description: Diameter of the crater}}
    set: {target_name: Ceres, target_class: dwarf_planet, dataproduct_type: ci, processing_level: 5, measurement_type: phys.size.diameter}
    text: {granule_uid: "crater_{source.row}"}
    map: {crater_diameter: '"Diameter (km)"', c1min: lon_360(Longitude), c2min: Latitude}
"""
)
FLYBYS = (
    HEAD.format(name="cassini")
    + """\
    frame: none
    optional: [target_distance]
    source: {kind: csv, files: vims_flybys.csv}
    let: {start: "parse_time(trim(Epoch_SCET), '%Y-%b-%d %H:%M')"}
    set: {dataproduct_type: ev, processing_level: 6, instrument_host_name: cassini}
    text: {granule_uid: "{trim(Name)}_{source.row}", target_name: "{trim(Satellite)}"}
    map: {target_class: "coalesce(target_class(trim(Satellite)), 'satellite')", time_min: jd(start), target_distance_min: Alt_km, phase_min: Phase_deg}
"""
)


def rows(site, adql):
    with query.run_query(adql, OWNER_PRINCIPAL, site=site) as result:
        return result.read_table().to_pylist()


def collect(tmp_path, text, path):
    name = text.split("\n", 1)[0].split()[1]
    source = shared(f"data/planetary/{path}")
    site = open_site_with_uningested_files(tmp_path, text, {source.name: source.read_bytes()})
    return site, ingest_collection(site, name), source


def test_asteroids(tmp_path):
    site, report, source = collect(tmp_path, ASTEROIDS, "asteroids_sbdb.json.gz")
    with site:
        document = json.loads(gzip.decompress(source.read_bytes()))
        expected = [dict(zip(document["fields"], one, strict=True)) for one in document["data"]]
        table = report.tables["asteroids.epn_core"]
        assert table.published + table.rejected == len(expected), report.format_text()
        assert table.rejected == 0, report.format_text()
        found = {row["granule_uid"]: row for row in rows(site, "SELECT * FROM asteroids.epn_core")}
        for one in expected[::101]:
            row = found[one["full_name"].strip()]
            assert row["epoch"] == Time(float(one["epoch_mjd"]), format="mjd").jd
            assert (row["eccentricity"], row["semi_major_axis"]) == (float(one["e"]), float(one["a"]))
            assert row["diameter"] == (float(one["diameter"]) if one["diameter"] else None)


def test_craters_of_ceres(tmp_path):
    site, report, source = collect(tmp_path, CRATERS, "craters/ceres_craters_km.csv")
    with site, source.open() as file:
        lines = list(csv.DictReader(file))
        assert report.tables["ceres.epn_core"].published == len(lines), report.format_text()
        found = rows(
            site,
            "SELECT crater_diameter, c1min, c1max, c2min FROM ceres.epn_core ORDER BY c1min, c2min, crater_diameter",
        )
        expected = sorted(
            (float(one["Longitude"]) % 360, float(one["Latitude"]), float(one["Diameter (km)"])) for one in lines
        )
        assert [(row["c1min"], row["c2min"], row["crater_diameter"]) for row in found] == [
            pytest.approx(one) for one in expected
        ]


def test_flybys_of_cassini(tmp_path):
    site, report, source = collect(tmp_path, FLYBYS, "vims_flybys.csv")
    with site, source.open() as file:
        lines = [{key.strip(): value.strip() for key, value in one.items()} for one in csv.DictReader(file)]
        table = report.tables["cassini.epn_core"]
        assert table.published == len(lines), report.format_text()
        found = {row["granule_uid"]: row for row in rows(site, "SELECT * FROM cassini.epn_core")}
        for number, one in enumerate(lines, 1):
            row = found[f"{one['Name']}_{number}"]
            assert row["time_min"] == pytest.approx(
                Time.strptime(one["Epoch_SCET"], "%Y-%b-%d %H:%M").jd, abs=1.2e-5
            )  # on 2016-12-31 astropy divides by 86,401 s
            assert (row["target_name"], row["target_distance_min"]) == (one["Satellite"], float(one["Alt_km"]))
        assert {row["target_class"] for row in found.values()} == {"satellite"}
