"""Contours through a whole ingest: what a table says of a region follows from the one line that sets it, and bad rows are named in the report."""

from __future__ import annotations

import json
import math
import os
import re

import numpy as np
import pyarrow as pa
import pytest
import shapely
from astropy.io import fits

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import HvenError
from hven.model.sky import Moc, Regions, contour_faults, region_files
from hven.plugins.image_regions import contours, direction_contours
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from shared import shared

FULL = os.environ.get("HVEN_PROOF") == "full"
SQUARE = "4" * 9 + "6" * 9 + "0" * 9 + "2" * 9  # anticlockwise: right, up, left, down
DESCRIPTOR = """\
collection: spots
title: Spots
tables:
  epn_core:
    standard: epn-tap-2.0
    frame: body
    optional: [region]
    max_rejects: 1
    source: {kind: json, files: rows.json}
    let:
      t: parse_time(date_obs)
      spot: CONTOUR
    set: {granule_gid: spot, dataproduct_type: ci, processing_level: 5, target_name: Sun, target_class: star, instrument_host_name: SOHO, instrument_name: EIT}
    text: {granule_uid: "{id}"}
    map: {s_region: spot}
"""
DISC = "disc(511.5, 511.5, 2.63, 2.63, r_sun * 2.63, sun_l0(t, c_rotation), b0)"
FINE = {
    "cc": SQUARE,
    "x": 500,
    "y": 500,
    "r_sun": 374.87,
    "date_obs": "2009-03-04T00:00:12",
    "c_rotation": 2080,
    "b0": -7.2,
    "points": "",
}
BAD = {
    "fine": ({}, ""),
    "clockwise": ({"cc": "".join(str((int(digit) + 4) % 8) for digit in reversed(SQUARE))}, ""),
    "line": ({"cc": "44440000"}, ""),
    "missing radius": ({"r_sun": None}, "no_radius"),
    "radius below zero": ({"r_sun": -3.0}, "no_radius"),
    "missing date": ({"date_obs": None}, "no_observer"),
    "letter": ({"cc": SQUARE[:4] + "x" + SQUARE[5:]}, "letter"),
    "never closes": ({"cc": "4" * 20}, "open"),
    "no contour": ({"cc": None}, None),
    "NaN": ({"x": None}, "no_start"),
    "far away": ({"x": 1e300}, "no_start"),
    "latitude over 90": ({"b0": 95.0}, "latitude"),
    "off the disc": ({"x": 1000}, "off_disc"),
    "long": ({"cc": "4" * 500_000 + "0" * 500_000}, "too_long"),
    "another rotation": ({"c_rotation": 2081}, "rotation"),
    "no rotation": ({"c_rotation": None}, ""),
}  # fmt: skip


def site_of(directory, rows, contour, **changes):
    text = DESCRIPTOR.replace("CONTOUR", contour)
    for old, new in changes.items():
        text = text.replace(old, new)
    return open_site_with_uningested_files(directory, text, {"rows.json": json.dumps(rows)})


def fetch_granules(site, text="SELECT * FROM spots.epn_core"):
    with query.run_query(text, OWNER_PRINCIPAL, site=site) as result:
        return {row["granule_uid"]: row for row in result.read_table().to_pylist()}


def test_each_bad_row_is_named_in_the_report(tmp_path):
    rows = [{"id": name.replace(" ", "_"), **FINE, **changes} for name, (changes, _) in BAD.items()]
    with site_of(tmp_path, rows, f"chain_contour(cc, x, y, {DISC})") as site:
        report = ingest_collection(site, "spots")
        site.refresh_published_state()
        found = fetch_granules(site)
    table = report.tables["spots.epn_core"]
    assert (table.read, table.published, table.rejected) == (len(BAD), len(BAD), 0)
    for number, (name, (_, fault)) in enumerate(BAD.items(), 1):
        row = found[name.replace(" ", "_")]
        if fault == "":
            assert row["region_quality"] == "exact"
            continue
        filled = ("s_region", "coverage", "region_quality", "c1min", "c1max", "c2min", "c2max")
        assert [row[one] for one in filled] == [None] * 7
        rule = "s_region: without a contour" if fault is None else f"s_region: contour {fault}"
        assert number in [one.row for one in table.findings[rule].offenders]
    assert sum(one.count for rule, one in table.findings.items() if rule.startswith("s_region: contour")) == 11
    text = report.format_text()
    assert "info: 4 rows with an exact region" in text
    assert "rows.json row 7: contour = character 5 of the chain code is not a digit from 0 to 7" in text
    assert (
        "the contour does not define a region: the rotation number does not match the date; correct the number" in text
    )
    assert "has no value, although" not in text  # said once
    assert found["fine"]["s_region"] is not None
    assert shapely.Polygon(np.reshape(found["fine"]["s_region"], (-1, 2))).exterior.is_ccw
    area = [
        Regions.from_lists([[[np.reshape(found[name]["s_region"], (-1, 2)).tolist()]]]).compute_areas()[0]
        for name in ("fine", "clockwise")
    ]
    assert area[0] == pytest.approx(area[1])


LISTS = {
    "square": ("0 0 100 0 100 100 0 100", "exact"),
    "clockwise": ("(0,0) (0,100) (100,100) (100,0)", "exact"),
    "eight": ("[[0, 0], [100, 100], [100, 0], [0, 100]]", "multi_part"),
    "line": ("0 0 100 100", "degenerate"),
    "point": ("0, 0", "degenerate"),
    "no area": ("0 0 100 0 50 0", "degenerate"),
    "over the limb": ("900 -50 1100 -50 1100 50 900 50", "clipped_at_limb"),
    "odd": ("0 0 100 0 100", "no_start"),
    "NaN": ("0 0 nan 0 100 100", "no_start"),
    "letter": ("0 0 1o0 0 100 100", "no_start"),
    "infinite": ("0 0 inf 0 100 100", "no_start"),
    "empty": (" ; ", "no_contour"),
    "beyond the limb": ("2000 0 2100 0 2100 100", "off_disc"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["text", "array"])
def test_lists_of_angles(tmp_path, kind):
    chosen = {
        name: one
        for name, one in LISTS.items()
        if kind == "text" or (not set("o") & set(one[0]) and not set("n;") & set(one[0]))
    }
    rows = [
        {"id": name.replace(" ", "_"), **FINE, "points": text if kind == "text" else json.loads(f"[{' '.join(text.translate(str.maketrans('()[],', '     ')).split()).replace(' ', ',')}]")}
        for name, (text, _) in chosen.items()
    ]  # fmt: skip
    with site_of(tmp_path, rows, f"list_contour(points, {DISC}, 0, 'arcsec')") as site:
        report = ingest_collection(site, "spots")
        site.refresh_published_state()
        found = fetch_granules(site)
    findings = report.tables["spots.epn_core"].findings
    for number, (name, (_, wanted)) in enumerate(chosen.items(), 1):
        row = found[name.replace(" ", "_")]
        if wanted in contour_faults.FAULT_MESSAGES:
            assert row["s_region"] is row["region_quality"] is None
            assert number in [one.row for one in findings[f"s_region: contour {wanted}"].offenders]
        else:
            assert row["region_quality"] == wanted
            assert (row["coverage"] is not None) == (wanted == "multi_part")
            assert shapely.is_valid(shapely.Polygon(np.reshape(row["s_region"], (-1, 2))))


def test_a_contour_of_a_million_corners(tmp_path, monkeypatch):
    if not FULL:  # twelve megabytes of text take six seconds
        monkeypatch.setattr(direction_contours, "MAX_CONTOUR_PIXELS", 1_000)
    many = "0 0 100 0 100 100 " * (333_334 if FULL else 334)
    rows = [
        {"id": "fine", **FINE, "points": "0 0 9 0 9 9"},
        {"id": "many", **FINE, "points": many},
    ]
    with site_of(tmp_path, rows, f"list_contour(points, {DISC}, 0, 'arcsec')") as site:
        report = ingest_collection(site, "spots")
        site.refresh_published_state()
        found = fetch_granules(site)
    assert found["fine"]["region_quality"] == "exact"
    assert found["many"]["s_region"] is None
    assert f"the contour contains or spans {1_000_002 if FULL else 1_002:,} pixels" in report.format_text()


def test_several_parts_as_the_hull_and_as_several_shapes(tmp_path):
    rows = [{"id": name.replace(" ", "_"), **FINE, "points": text} for name, (text, _) in LISTS.items()]
    contour = f"list_contour(points, {DISC}, 0, 'arcsec')"
    with site_of(
        tmp_path / "hull", rows, contour, **{"s_region: spot": "s_region: \"contour_polygon(spot, 'hull')\""}
    ) as site:
        report = ingest_collection(site, "spots")
        site.refresh_published_state()
        hull = fetch_granules(site)
    assert {name for name, row in hull.items() if row["region_quality"] == "hull"} == {"eight"}
    assert "1 row whose region has several parts or holes: s_region is their hull (hull)" in report.format_text()
    corners = np.reshape(hull["eight"]["s_region"], (-1, 2))
    assert shapely.Polygon(corners).exterior.is_ccw
    two = Moc.parse(hull["eight"]["coverage"])
    assert Regions.from_lists([[[corners.tolist()]]]).compute_areas()[0] > 1.5 * two.fraction * 4 * math.pi
    several = {"    map:": "    columns: {s_region: {type: multishape}}\n    map:"}
    with site_of(tmp_path / "shapes", rows, contour, **several) as site:
        assert (
            "several parts or holes (multi_part): s_region has all parts"
            in ingest_collection(site, "spots").format_text()
        )
        site.refresh_published_state()
        shapes = fetch_granules(site)
    assert shapes["eight"]["s_region"].count("polygon") == 2
    assert shapes["square"]["s_region"].count("polygon") == 1
    assert shapes["eight"]["coverage"] == hull["eight"]["coverage"]


def test_columns_that_are_set_stay_and_those_that_are_not_asked_for_are_missed(tmp_path):
    changes = {"{s_region: spot}": '{s_region: spot, c1min: "1", region_quality: "\'mine\'"}'}
    with site_of(tmp_path / "set", [{"id": "fine", **FINE}], f"chain_contour(cc, x, y, {DISC})", **changes) as site:
        report = ingest_collection(site, "spots")
        site.refresh_published_state()
        row = fetch_granules(site)["fine"]
    assert (row["c1min"], row["region_quality"]) == (1.0, "mine")
    assert row["c1max"] > 1
    assert "exact region" not in report.format_text()
    with site_of(
        tmp_path / "less",
        [{"id": "fine", **FINE}],
        f"chain_contour(cc, x, y, {DISC})",
        **{"    optional: [region]\n": ""},
    ) as site:
        warned = ingest_collection(site, "spots").warnings
        assert ["write `optional: [region]`, which adds the columns 'coverage'" in one for one in warned] == [True]
        site.refresh_published_state()
        assert fetch_granules(site)["fine"]["c2max"] is not None


def test_the_areas_of_the_cells_of_mocs():
    right = [
        "0/0-11",
        "3/1-4 9 7/12",
        "6/1 7/",
        "29/5",
        "3/1-3,5-6 4/100",
        "29/0-3458764513820540927",
        " s3/ 1 2\n4/55",
    ]
    wrong = ["30/1", "0/12", "3/5-2", "3/99999999", "29/3458764513820540928", "3/1 100/2", "0/0-12", "29/99999999999999999999", "29/18446744073709551615"]  # fmt: skip
    found = Moc.compute_text_sky_fractions(pa.array(["3/1", *right, *wrong, "6/", "3/7"]).slice(1))
    assert found[: len(right)] == pytest.approx([Moc.parse(text.replace("s", "")).fraction for text in right])
    assert np.isnan(found[len(right) : -2]).all()
    assert found[-2:] == pytest.approx([0.0, 1 / 768])
    assert Moc.compute_text_sky_fractions(pa.array(["t29/5 s6/1", "6/12"])).tolist() == [0.0, 1 / 49152]
    assert not len(Moc.compute_text_sky_fractions(pa.array([], pa.string())))


MASKS = """\
collection: spots
title: Spots
tables:
  epn_core:
    standard: epn-tap-2.0
    frame: body
    optional: [region]
    max_rejects: 1
    source: {kind: json, files: rows.json}
    set: {granule_gid: spot, dataproduct_type: ci, processing_level: 5, target_name: Sun, target_class: star, instrument_host_name: SDO, instrument_name: AIA}
    text: {granule_uid: "{id}"}
    map: {s_region: "mask_contour('maps/' || map, label)"}
"""


def test_masks_are_read_by_their_own_cards(tmp_path):
    maps = tmp_path / "collections/spots/maps"
    image = np.zeros((200, 200), np.int16)
    image[80:120, 60:90], image[90:110, 70:80], image[10:20, 95:105], image[100, 150] = 7, 0, 300, 2
    cards = fits.Header({"CRPIX1": 100.5, "CRPIX2": 100.5, "CDELT1": 12.0, "CDELT2": 12.0, "RSUN_OBS": 970.0, "CRLN_OBS": 355.0, "CRLT_OBS": -7.0})  # fmt: skip
    cases = {
        "hole": ("one.fits", 7, "multi_part"), "packed": ("packed.fits", 7, "multi_part"), "limb": ("one.fits", 300, "clipped_at_limb"), "dot": ("one.fits", 2, "exact"),
        "nowhere": ("one.fits", 5, "no_label"), "background": ("one.fits", 0, "no_label"), "half": ("one.fits", 2.5, "no_label"), "absent": ("none.fits", 2, "no_file"),
        "text": ("text.fits", 2, "no_labels"), "no_image": ("table.fits", 2, "no_labels"), "no_disc": ("plain.fits", 7, "no_scale"), "real": ("noise.fits", 1, "no_labels"),
        "no_name": (None, 1, None),
    }  # fmt: skip
    rows = [{"id": name, "map": file, "label": label} for name, (file, label, _) in cases.items()]
    with open_site_with_uningested_files(tmp_path, MASKS, {"rows.json": json.dumps(rows)}) as site:
        maps.mkdir()
        fits.PrimaryHDU(image, cards).writeto(maps / "one.fits")
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(image, cards)]).writeto(maps / "packed.fits")
        fits.PrimaryHDU(image).writeto(maps / "plain.fits")
        fits.PrimaryHDU(np.random.default_rng(3).normal(size=(20, 20)), cards).writeto(maps / "noise.fits")
        fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([fits.Column("A", "J", array=[1])])]).writeto(
            maps / "table.fits"
        )
        (maps / "text.fits").write_text("SIMPLE is nothing here")
        report = ingest_collection(site, "spots")
        site.refresh_published_state()
        found = fetch_granules(site)
    findings = report.tables["spots.epn_core"].findings
    for number, (name, (_, _, wanted)) in enumerate(cases.items(), 1):
        if wanted in contour_faults.FAULT_MESSAGES:
            assert found[name]["s_region"] is None
            assert number in [one.row for one in findings[f"s_region: contour {wanted}"].offenders]
        else:
            assert found[name]["region_quality"] == wanted
    assert found["hole"]["c1min"] > found["hole"]["c1max"] or found["hole"]["c1max"] < 355
    disc = contours.DiscImage(99.5, 99.5, 12.0, 12.0, 970.0, 355.0, -7.0)
    exact = contours.build_regions_from_labels(image.astype(np.int64), [7], disc)
    assert Moc.parse(found["packed"]["coverage"]) == exact.regions.to_mocs()[0][0]
    assert found["packed"]["s_region"] == found["hole"]["s_region"]


def test_masks_of_spoca_beside_the_chain_codes_of_their_outlines(tmp_path):
    name = "20111231_220008.CHMap.fits"
    path = shared(f"data/helio/spoca/{name}")
    with fits.open(path) as file:
        labels, count = file[2].data["COLOR"].tolist(), file[4].data["NUMBER_PIXELS"].tolist()
    text = MASKS.replace("{kind: json, files: rows.json}", f"{{kind: fits, files: '{name}', hdu: Regions}}")
    text = text.replace("'maps/' || map, label", "file.path, COLOR").replace('"{id}"', '"{COLOR}"')
    text = text.replace(
        "    map: ", "    columns: {pixels: {type: int64, unit: pix, ucd: meta.number, description: Pixels}}\n    map: "
    )
    text = text.replace('s_region: "', "pixels: 'contour_pixels(mask_contour(file.path, COLOR))', s_region: \"")
    text = text.replace(
        "    max_rejects: 1\n", "    where: COLOR IN (3469, 3473)\n"
    )  # whose cells take less than seconds
    with open_site_with_uningested_files(tmp_path, text, {}) as site:
        (tmp_path / "collections/spots" / name).write_bytes(path.read_bytes())
        report = ingest_collection(site, "spots")
        site.refresh_published_state()
        found = fetch_granules(site)
    assert {int(key): row["pixels"] for key, row in found.items()} == {
        one: many for one, many in zip(labels, count, strict=True) if one in (3469, 3473)
    }
    assert all(row["s_region"] and row["c2max"] > row["c2min"] for row in found.values())
    assert "1 row whose region has several parts or holes" in report.format_text()
    assert "coverage is over 1 % larger than the region" in report.format_text()


def strips(width):
    """Two strips from pole to pole but for 20 degrees, so many degrees wide, as a geometry: a region of two parts."""
    return {
        "type": "MultiPolygon",
        "coordinates": [
            [[[lon, -80], [lon + width, -80], [lon + width, 80], [lon, 80], [lon, -80]]] for lon in (10, 60)
        ],
    }


@pytest.mark.parametrize("said", ["{s_region: spot}", "{s_region: spot, coverage: contour_moc(spot)}"])
def test_cells_that_cover_twice_the_region_are_left_out(tmp_path, said):
    rows = [{"id": f"w{number}", **FINE, "geometry": strips(width)} for number, width in enumerate((20, 1, 0.002))]
    options = {
        "files: rows.json": "files: rows.json, types: {geometry: string}",
        "    map: {s_region: spot}": f"    map: {said}",
    }
    with site_of(tmp_path, rows, "geojson_contour(geometry)", **options) as site:
        report = ingest_collection(site, "spots")
        site.refresh_published_state()
        found = fetch_granules(site)
    findings = report.tables["spots.epn_core"].findings
    assert [row["coverage"] is not None for row in (found["w0"], found["w1"], found["w2"])] == [True, True, False]
    assert all(row["s_region"] for row in found.values())
    assert [one.row for one in findings["coverage: more"].offenders] == [1, 2]
    left_out = findings["coverage: left out"]
    assert (left_out.count, left_out.severity, [one.row for one in left_out.offenders]) == (1, "warning", [3])
    assert "coverage is left empty: the region is so long and narrow that 10,000 cells" in report.format_text()


def test_cells_of_mended_polygons_that_cover_twice_the_region_are_left_out(tmp_path):
    bow = "10 -80 10.004 80 10 80 10.004 -80"
    rows = [
        {"id": "bow", "outline": bow},
        {"id": "wide", "outline": bow.replace("10.004", "30")},
        {"id": "given", "outline": bow, "cells": "3/1"},
    ]
    with open_site_with_uningested_files(tmp_path, GIVEN, {"rows.json": json.dumps(rows)}) as site:
        report = ingest_collection(site, "spots")
        site.refresh_published_state()
        found = fetch_granules(site)
    assert found["bow"]["coverage"] is None
    assert found["wide"]["coverage"] is not None
    assert found["given"]["coverage"] == "3/1"
    assert [one.row for one in report.tables["spots.epn_core"].findings["coverage: left out"].offenders] == [1]


def test_directions_of_ones_own(tmp_path):
    turned = str.maketrans("01234567", "43210765")  # the digits of the same steps, clockwise from the right
    rows = [{"id": "fine", **FINE, "cc": SQUARE.translate(turned)}]
    contour = f"chain_contour(cc, x, y, {DISC}, 0, '1,0 1,-1 0,-1 -1,-1 -1,0 -1,1 0,1 1,1')"
    with site_of(tmp_path / "own", rows, contour) as site:
        ingest_collection(site, "spots")
        site.refresh_published_state()
        mine = fetch_granules(site)["fine"]["s_region"]
    with site_of(tmp_path / "helio", [{"id": "fine", **FINE}], f"chain_contour(cc, x, y, {DISC})") as site:
        ingest_collection(site, "spots")
        site.refresh_published_state()
        assert fetch_granules(site)["fine"]["s_region"] == mine
    with (
        site_of(tmp_path / "wrong", rows, contour.replace("0,-1 -1,-1", "0,-1 0,-1")) as site,
        pytest.raises(HvenError, match="does not accept '1,0"),
    ):
        ingest_collection(site, "spots")


OUTLINES = {
    "fine": ("0 0 10 0 10 10 0 10", "0/0-11", ""),
    "NaN": ("0 0 NaN 0 10 10 0 10", "3/1", "s_region: empty"),
    "latitude over 90": ("0 0 10 0 10 95 0 10", "3/1", "epn.region"),
    "no area": ("0 0 10 0 10 0", "3/1", "footprint.simple"),
    "crosses itself": ("0 0 10 10 10 0 0 10", "3/1", "footprint.simple"),
    "winds round": ("0 0 10 0 10 10 0 10 1 -1 5 -1 5 5 2 5", "3/1", "footprint.simple"),
    "two corners": ("0 0 10 10", "3/1", "s_region: empty"),
    "odd": ("0 0 10 0 10", "3/1", "s_region: empty"),
    "letter": ("0 0 10 0 1x 10", "3/1", "s_region: empty"),
    "wrong hand": ("0 0 0 10 10 10 10 0", "29/0-3458764513820540927", "footprint.orientation"),
    "order": ("0 0 10 0 10 10 0 10", "30/1", "epn.coverage"),
    "cell": ("0 0 10 0 10 10 0 10", "0/12", "epn.coverage"),
    "no cells": ("0 0 10 0 10 10 0 10", "3/x", "epn.coverage"),
}
GIVEN = """\
collection: spots
title: Spots
tables:
  epn_core:
    standard: epn-tap-2.0
    frame: body
    optional: [coverage]
    max_rejects: 1
    source: {kind: json, files: rows.json}
    set: {granule_gid: spot, dataproduct_type: ci, processing_level: 5, target_name: Mars, target_class: planet, instrument_host_name: MRO, instrument_name: CTX}
    text: {granule_uid: "{id}"}
    map: {s_region: "polygon_of('polygon ' || outline)", coverage: moc(cells)}
"""


def test_outlines_and_mocs_that_are_given_are_looked_at_as_well(tmp_path):
    rows = [
        {"id": name.replace(" ", "_"), "outline": text, "cells": cells} for name, (text, cells, _) in OUTLINES.items()
    ]
    with open_site_with_uningested_files(tmp_path, GIVEN, {"rows.json": json.dumps(rows)}) as site:
        table = ingest_collection(site, "spots").tables["spots.epn_core"]
        site.refresh_published_state()
        found = fetch_granules(site)
        everywhere = fetch_granules(
            site, "SELECT granule_uid FROM spots.epn_core WHERE 1 = CONTAINS(POINT(200, -80), coverage)"
        )
    for number, (name, (_, _, rule)) in enumerate(OUTLINES.items(), 1):
        named = [
            key
            for key, one in table.findings.items()
            if number in [row.row for row in one.offenders] and one.severity != "info"
        ]
        assert named == ([rule] if rule else []), name
    assert found["no_area"]["s_region"] is None
    eight = Regions.from_lists([[[np.reshape(found["crosses_itself"]["s_region"], (-1, 2)).tolist()]]])
    assert eight.is_valid().all()
    assert eight.compute_areas() == pytest.approx(
        Regions.from_lists([[[[(0, 0), (10, 10), (10, 0), (0, 10)]]]]).make_valid().compute_areas() / 2, rel=0.05
    )
    assert found["winds_round"]["s_region"] is not None
    assert [table.findings[f"s_region: {word}"].count for word in ("no area", "several parts", "wound round")] == [
        1,
        1,
        1,
    ]
    refused = {
        name.replace(" ", "_") for name, (_, _, rule) in OUTLINES.items() if rule in {"epn.region", "epn.coverage"}
    }
    assert {one.replace(" ", "_") for one in OUTLINES} - found.keys() == refused
    assert everywhere.keys() == {"fine", "wrong_hand"}


WRITTEN = {  # what a text says, what is told of it, and how many shapes are published, at least; None: the row is set aside
    "fine": ("Polygon 0 0 10 0 10 10 0 10", [], 1),
    "crosses": ("Polygon 0 0 10 10 10 0 0 10", ["footprint.simple", "s_region: wound round"], 2),
    "named": ("Polygon UNKNOWNFrame 0 0 10 10 10 0 0 10", ["footprint.simple", "s_region: wound round"], 2),
    "star": ("polygon 0 10 6 -8 -9.5 3 9.5 3 -6 -8", ["footprint.simple", "s_region: wound round"], 1),
    "in a union": ("Union ICRS (Polygon 0 0 10 10 10 0 0 10 Circle 40 40 1)", ["footprint.simple", "s_region: wound round"], 3),
    "several": ("polygon 0 0 10 10 10 0 0 10 circle 40 40 1", ["footprint.simple", "s_region: wound round"], 3),
    "round a hole": ("Polygon 0 0 30 0 30 30 0 30 0 0 10 10 10 20 20 20 20 10 10 10", ["footprint.simple", "s_region: wound round"], 2),
    "over 0": ("Polygon 350 0 10 10 10 0 350 10", ["footprint.simple", "s_region: wound round"], 2),
    "no area": ("Polygon 0 0 10 0 20 0", ["footprint.simple", "s_region: no area"], 0),
    "one place": ("Polygon 5 5 5 5 5 5", ["footprint.simple", "s_region: no area"], 0),
    "there and back": ("Polygon 31 11 33 27 31 11 33 27", ["footprint.simple", "s_region: no area"], 0),
    "a part without area": ("Union ICRS (Polygon 0 0 10 0 20 0 Circle 40 40 1)", ["footprint.simple", "s_region: wound round"], 1),
    "a corner twice": ("Polygon 0 0 10 0 10 0 10 10 0 10", [], 1),
    "wrong hand": ("Polygon 0 0 0 10 10 10 10 0", ["footprint.orientation"], 1),
    "NaN": ("Polygon 0 0 nan 0 10 10", ["epn.region"], None),
    "infinite": ("Polygon 0 0 inf 0 10 10", ["epn.region"], None),
    "latitude": ("Polygon 0 0 10 0 10 95 0 10", ["epn.region"], None),
    "circle beyond": ("Circle 10 95 3", ["epn.region"], None),
    "negative radius": ("Circle 10 5 -3", ["epn.region"], None),
    "letter": ("Polygon 0 0 1x 0 10 9 0 10", ["epn.region"], None),
    "odd": ("Polygon 0 0 10 0 10", ["epn.region"], None),
    "two corners": ("Polygon 0 0 10 0", ["epn.region"], None),
    "words": ("somewhere", ["epn.region"], None),
    "cells": ("3/1-4", ["epn.region"], None),
}  # fmt: skip


@pytest.mark.parametrize("part", range(2))  # the report shows ten rows of each rule
def test_texts_of_outlines_are_mended_or_named_and_never_published_invalid(tmp_path, part):
    written = dict(list(WRITTEN.items())[part::2])
    rows = [{"id": name.replace(" ", "_"), "outline": text, "word": None} for name, (text, _, _) in written.items()]
    rows += [{"id": name, "outline": text, "word": None} for name, text in build_large_polygons().items()]
    text = GIVEN.replace("optional: [coverage]", "optional: [region]").replace("moc(cells)", "word")
    text = text.replace("\"polygon_of('polygon ' || outline)\"", "outline, region_quality: word")
    with open_site_with_uningested_files(tmp_path, text, {"rows.json": json.dumps(rows)}) as site:
        table = ingest_collection(site, "spots").tables["spots.epn_core"]
        site.refresh_published_state()
        found = fetch_granules(site)
    for number, (name, (given, rules, pieces)) in enumerate(written.items(), 1):
        said = {key: row.value for key, one in table.findings.items() for row in one.offenders if row.row == number}
        assert [key for key in said if "without" not in key] == rules, name
        assert all(value == given for key, value in said.items() if key.startswith(("footprint", "epn"))), name
        row = found.get(name.replace(" ", "_"))
        assert (row is None) == (pieces is None), name
        if row is None:
            continue
        mends = "s_region: wound round" in rules
        assert row["region_quality"] == ("mended" if mends else None), name
        if pieces == 0:
            assert row["s_region"] is None, name
            continue
        assert (row["s_region"] == given) != mends, name
        back = region_files.parse_region_texts([row["s_region"]])
        assert back.faults == [""], name
        assert re.findall("(?i)unknownframe|icrs", row["s_region"]) == re.findall("(?i)unknownframe|icrs", given), name
        assert len(re.findall("(?i)polygon|circle", row["s_region"])) >= pieces, name
        assert back.regions.compute_areas() == pytest.approx(
            region_files.parse_region_texts([given], make_valid=True).regions.compute_areas()
        ), name
    assert found["wide"]["s_region"] == rows[-2]["outline"]
    assert found["wide_eight"]["region_quality"] == "mended"


def build_large_polygons():
    turn = np.linspace(0, 2 * np.pi, 1_000_000 if FULL else 20_000, endpoint=False)
    radius = 5 + np.sin(40 * turn)
    shapes = {
        "wide": (20 + radius * np.cos(turn), radius * np.sin(turn)),
        "wide_eight": (20 + 5 * np.sin(turn), 5 * np.sin(2 * turn)),
    }
    return {name: f"Polygon {' '.join(np.char.mod('%.7f', np.ravel(xy, 'F')))}" for name, xy in shapes.items()}
