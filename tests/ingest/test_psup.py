"""IDOC's own PSUP catalogue (STAC items) as a collection: OMEGA cubes as two granules each, their maps, all checked against the items."""

from __future__ import annotations

import json
import tarfile

import pytest

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from shared import shared

OMEGA = """\
collection: omega
title: OMEGA on Mars Express, from PSUP's catalogue
access: public
tables:
  cubes:
    primary: granule_uid
    source: {kind: json, files: "cube_*.json"}
    let: {orbit: '"properties.orbit_number"'}
    columns:
      granule_uid: {type: string, ucd: meta.id;meta.main}
      granule_gid: {type: string}
      obs_id: {type: string}
      orbit: {type: int32}
      ls: {type: float64, unit: deg}
      access_url: {type: string}
      access_format: {type: string}
      s_region: {type: multishape}
    text: {obs_id: "{id}"}
    map: {orbit: orbit, ls: '"properties.solar_longitude"', s_region: geometry}
    granules:
      - {gid: sav, set: {access_format: application/x-idl-save}, text: {granule_uid: "{id}_sav"}, map: {access_url: '"assets.sav.href"'}}
      - {gid: nc, if: '"assets.nc.href" IS NOT NULL', set: {access_format: application/x-netcdf4}, text: {granule_uid: "{id}_nc"}, map: {access_url: '"assets.nc.href"'}}
  maps:
    source: {kind: json, files: "map_*.json"}
    columns: {id: string, s_region: multishape, product: string}
    map: {s_region: geometry, product: assets.fits.href}
  bands:
    source: {kind: json, files: "cube_*.json"}
    for_each: properties.eo:bands
    columns: {id: string, band: int32, label: string, wavelength: {type: float64, unit: um}}
    map: {band: each.index, label: '"properties.eo:bands.name"', wavelength: '"properties.eo:bands.center_wavelength"'}
  orbits:
    source: {kind: json, files: "cube_*.json"}
    group_by: '"properties.orbit_number"'
    columns: {orbit: int32, cubes: int32, ls_min: float64, ls_max: float64, ids: string, s_region: multishape}
    map:
      orbit: '"properties.orbit_number"'
      cubes: count(*)
      ls_min: 'min("properties.solar_longitude")'
      ls_max: 'max("properties.solar_longitude")'
      ids: "string_agg(id, '#', id)"
      s_region: union_of(geometry)
  levels:
    source: {kind: query, adql: "SELECT o.orbit, COUNT(*) AS n FROM omega.orbits AS o JOIN omega.cubes AS c ON o.orbit = c.orbit GROUP BY o.orbit"}
tests:
  - {query: SELECT COUNT(*) AS n FROM omega.cubes, expect: {n: 20}}
"""


@pytest.fixture(scope="module")
def omega_site(tmp_path_factory):
    home = tmp_path_factory.mktemp("psup")
    found = {}
    with tarfile.open(shared("data/planetary/psup/omega_catalogs.tar.xz")) as archive:
        for member in archive:
            parts = member.name.split("/")
            if member.isfile() and parts[-1].endswith(".json") and parts[-1] != "collection.json" and len(parts) == 4:
                kind = {"omega_data_cubes": "cube", "omega_mineral_maps": "map"}.get(parts[1])
                if kind is not None:
                    found[f"{kind}_{parts[-1]}"] = archive.extractfile(member).read().decode()
    with open_site_with_uningested_files(home, OMEGA, found) as site:
        report = ingest_collection(site, "omega")
        yield site, report, {name: json.loads(text) for name, text in found.items()}


def rows(site, adql):
    with query.run_query(adql, OWNER_PRINCIPAL, site=site) as result:
        return result.read_table().to_pylist()


def test_two_granules_of_each_cube(omega_site):
    site, report, items = omega_site
    cubes = {item["id"]: item for name, item in items.items() if name.startswith("cube")}
    assert len(cubes) == 10
    table = report.tables["omega.cubes"]
    assert (table.read, table.rejected, table.published) == (10, 0, 20)
    for row in rows(site, "SELECT * FROM omega.cubes"):
        item = cubes[row["obs_id"]]
        assert row["granule_uid"] == f"{item['id']}_{row['granule_gid']}"
        assert row["access_url"] == item["assets"][row["granule_gid"]]["href"]
        assert (row["orbit"], row["ls"]) == (
            int(item["properties"]["orbit_number"]),
            item["properties"]["solar_longitude"],
        )


def test_footprints_are_found_by_position(omega_site):
    site, _, items = omega_site
    for item in (item for name, item in items.items() if name.startswith("cube")):
        west, south, east, north = item["bbox"]
        where = f"CONTAINS(POINT({(west + east) / 2 % 360}, {(south + north) / 2}), s_region) = 1"
        assert item["id"] in {row["obs_id"] for row in rows(site, f"SELECT obs_id FROM omega.cubes WHERE {where}")}


def test_bands_and_orbits(omega_site):
    site, _, items = omega_site
    cubes = [item for name, item in items.items() if name.startswith("cube")]
    wanted = sorted(
        (item["id"], n, band["name"], band["center_wavelength"])
        for item in cubes
        for n, band in enumerate(item["properties"]["eo:bands"], 1)
    )
    assert sorted(tuple(row.values()) for row in rows(site, "SELECT * FROM omega.bands")) == wanted
    [orbit] = rows(site, "SELECT * FROM omega.orbits")
    seasons = [item["properties"]["solar_longitude"] for item in cubes]
    assert (orbit["orbit"], orbit["cubes"], orbit["ls_min"], orbit["ls_max"]) == (6, 10, min(seasons), max(seasons))
    assert orbit["ids"] == "#".join(sorted(item["id"] for item in cubes))
    assert orbit["s_region"].count("polygon") == 10
    assert rows(site, "SELECT * FROM omega.levels") == [{"orbit": 6, "n": 20}]


def test_maps_of_the_whole_planet(omega_site):
    site, report, items = omega_site
    maps = [item for name, item in items.items() if name.startswith("map")]
    found = rows(site, "SELECT * FROM omega.maps")
    assert len(found) == len(maps) >= 9
    assert {row["id"] for row in found} == {item["id"] for item in maps}
    # their polygons go from one corner to the opposite one and back along the antimeridian: no area on a sphere; their bbox is right
    assert {row["s_region"] for row in found} == {"range 0 360 -90 90"}
    assert any(
        (one.column, one.count) == ("geometry", len(maps)) and "Hven uses their bbox instead" in str(one)
        for one in report.tables["omega.maps"].deviations
    )
