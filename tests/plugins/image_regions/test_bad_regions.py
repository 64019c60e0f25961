"""What is wrong with regions, each through an ingest: named in the report with its row and what to do, nothing invalid published, the rows beside it untouched."""

from __future__ import annotations

import json
import math
import os

import numpy as np
import pytest

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import HvenError
from hven.model.sky import Moc, region_files
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files

FULL = os.environ.get("HVEN_PROOF") == "full"
SQUARE = "4" * 9 + "6" * 9 + "0" * 9 + "2" * 9  # HELIO's steps: right, up, left, down
WHOLE = "29/0-3458764513820540927"  # all the sphere, of the smallest cells
TARGET = "granule_gid: spot, dataproduct_type: ci, processing_level: 5, target_name: Sun, target_class: star, instrument_host_name: SOHO, instrument_name: EIT"
DESCRIPTOR = f"""\
collection: spots
title: Spots
tables:
  epn_core:
    standard: epn-tap-2.0
    frame: FRAME
    optional: [EXTRA]
    max_rejects: 1
    source: {{kind: json, files: rows.json, types: {{geometry: string}}}}
    let:
      t: parse_time(date_obs)
      spot: chain_contour(cc, x, 500, disc(511.5, 511.5, 2.63, 2.63, r_sun * 2.63, sun_l0(t, c_rotation), sun_b0(t)))
      site: geojson_contour(geometry)
    set: {{{TARGET}}}
    text: {{granule_uid: "{{id}}"}}
    map: {{s_region: OUTLINE, coverage: COVERAGE}}
"""
KINDS = {  # how rows say their regions: what s_region is, and coverage
    "chain": ("spot", "contour_moc(spot, 'rest')"),
    "numbers": ("polygon_of('polygon ' || outline)", "moc(cells)"),
    "text": ("'Polygon ' || outline", "moc(cells)"),
    "geojson": ("site", "contour_moc(site, 'rest')"),
}
FINE = {"cc": SQUARE, "x": 500, "r_sun": 374.87, "date_obs": "2009-03-04T00:00:12", "c_rotation": 2080, "outline": "0 0 10 0 10 10 0 10", "cells": "3/1"}  # fmt: skip
FINE["geometry"] = {"type": "Polygon", "coordinates": [[[0, 0], [10, 0], [10, 10], [0, 10], [0, 0]]]}


def ring(*corners):
    return {"geometry": {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}}


def round_(many):
    turn = np.linspace(0, 2 * np.pi, many, endpoint=False)
    size = 5 + np.sin(40 * turn)
    return np.stack([20 + size * np.cos(turn), size * np.sin(turn)], 1).round(7)


MANY = round_(1_000_000 if FULL else 10_000)
LONG = 600_000  # steps of a chain code, there and back: over the limit, and quickly so
NO_REGION, ASIDE, STAYS = "s_region is empty", "row is set aside", "row is as others"
# the kind of each row, how it differs from a fine one, what becomes of it, what the report says, and what it says is to be done
BAD = {
    "missing radius": ("chain", {"r_sun": None}, NO_REGION, "the radius of the disc is missing", "R_SUN or RSUN_OBS"),
    "missing date": ("chain", {"date_obs": None}, NO_REGION, "the point below the observer is missing", "give the date"),
    "no date": ("chain", {"date_obs": "soon"}, NO_REGION, "the point below the observer is missing", "give the date"),
    "letter": ("chain", {"cc": f"44x{SQUARE}"}, NO_REGION, "contour = character 3 of the chain code is not a digit", "correct the code"),
    "never closes": ("chain", {"cc": "4" * 20}, NO_REGION, "contour = the contour does not close: it ends 20 pixels from its start", "write the table of its steps"),
    "NaN start": ("chain", {"x": float("nan")}, NO_REGION, "a position of the contour is missing, or is not a number", "correct the position"),
    "infinite start": ("chain", {"x": 1e308}, NO_REGION, "a position of the contour is missing, or is not a number", "correct the position"),
    "another rotation": ("chain", {"c_rotation": 2081}, NO_REGION, "the rotation number does not match the date", "correct the number or the date"),
    "a million steps": ("chain", {"cc": "4" * LONG + "0" * LONG}, NO_REGION, "there must be fewer than 1,000,000", "give fewer corners"),
    "off the disc": ("chain", {"x": 1000}, NO_REGION, "is entirely beyond the limb", "check the centre, scale, radius"),
    "flat": ("numbers", {"outline": "0 0 10 0 5 0"}, NO_REGION, "a polygon has no area", "s_region is left empty"),
    "crossing": ("numbers", {"outline": "0 0 10 10 10 0 0 10"}, STAYS, "a polygon crosses itself", "Hven publishes the area that it encloses"),
    "narrow crossing": ("numbers", {"outline": "0 0 80 0.00001 80 0 0 0.00001", "cells": None}, STAYS, "coverage is left empty: the region is so long and narrow", ""),
    "empty crossing": ("numbers", {"outline": "0 0 10 10 10 0 0 10", "cells": None}, STAYS, "a polygon crosses itself", ""),
    "NaN corner": ("numbers", {"outline": "0 0 NaN 0 10 10 0 10"}, NO_REGION, "s_region", ""),
    "over the pole": ("numbers", {"outline": "0 0 10 0 10 95 0 10"}, ASIDE, "", "s_region must be a polygon"),
    "wrong hand": ("numbers", {"outline": "0 0 0 10 10 10 10 0"}, STAYS, "the corners of a polygon are in the wrong order", "oriented(x, 'body') corrects this"),
    "many corners": ("numbers", {"outline": " ".join(map(str, MANY.ravel().tolist()))}, STAYS, "", ""),
    "whole sky": ("numbers", {"cells": WHOLE}, STAYS, "", ""),
    "order 30": ("numbers", {"cells": "30/1"}, ASIDE, "", "coverage must be an ASCII MOC"),
    "no such cell": ("numbers", {"cells": "0/12"}, ASIDE, "", "coverage must be an ASCII MOC"),
    "flat text": ("text", {"outline": "0 0 10 0 5 0"}, NO_REGION, "a polygon has no area", "s_region is left empty"),
    "NaN text": ("text", {"outline": "0 0 NaN 0 10 10 0 10"}, ASIDE, "", "s_region must be a polygon"),
    "text over the pole": ("text", {"outline": "0 0 10 0 10 95 0 10"}, ASIDE, "a latitude is outside -90 to 90", "s_region must be a polygon"),
    "wrong text": ("text", {"outline": "0 0 0 10 10 10 10 0"}, STAYS, "the corners of a polygon are in the wrong order", "oriented(x, 'body') corrects this"),
    "text of many": ("text", {"outline": " ".join(map(str, MANY.ravel().tolist()))}, STAYS, "", ""),
    "flat shape": ("geojson", ring([0, 0], [10, 0], [5, 0]), NO_REGION, "has no area", "of three corners or more"),
    "NaN shape": ("geojson", ring([0, 0], [None, 0], [5, 5]), NO_REGION, "a position of the contour is missing, or is not a number", "correct the position"),
    "shape over the pole": ("geojson", ring([0, 0], [10, 0], [10, 95]), NO_REGION, "a latitude is above 90 degrees", "are swapped"),
    "all of it": ("geojson", ring([-180, -90], [180, -90], [180, 90], [-180, 90]), NO_REGION, "without an outline, because the region is the whole sphere", "s_region left empty"),
    "wrong shape": ("geojson", ring([0, 0], [0, 10], [10, 10], [10, 0]), STAYS, "", ""),
    "shape of many": ("geojson", ring(*MANY.tolist()), STAYS, "", ""),
    "no shape": ("geojson", {"geometry": "{"}, NO_REGION, "the text is not a GeoJSON geometry on a sphere", "give a Polygon or MultiPolygon"),
}  # fmt: skip


@pytest.fixture(scope="module")
def ingested_kinds(tmp_path_factory):
    """Ingest all bad rows of each kind between two fine ones: the report, its numbers of rows, and what is published."""
    made = {}
    for kind, (outline, coverage) in KINDS.items():
        names = [name for name, one in BAD.items() if one[0] == kind]
        rows = [FINE, *(FINE | BAD[name][1] for name in names), FINE]
        named = [
            {**row, "id": name.replace(" ", "_")} for row, name in zip(rows, ["first", *names, "last"], strict=True)
        ]
        text = DESCRIPTOR.replace("OUTLINE", json.dumps(outline)).replace("COVERAGE", json.dumps(coverage))
        with open_site_with_uningested_files(
            tmp_path_factory.mktemp(kind),
            text.replace("FRAME", "body").replace("EXTRA", "coverage" if "cells" in coverage else "region"),
            {"rows.json": json.dumps(named)},
        ) as site:
            report = ingest_collection(site, "spots")
            site.refresh_published_state()
            with query.run_query("SELECT * FROM spots.epn_core", OWNER_PRINCIPAL, site=site) as result:
                found = {row["granule_uid"]: row for row in result.read_table().to_pylist()}
        made[kind] = report, {name: number for number, name in enumerate(names, 2)}, found
    return made


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named_and_nothing_invalid_is_published(ingested_kinds, name):
    kind, _, becomes, said, remedy = BAD[name]
    report, numbers, found = ingested_kinds[kind]
    assert report.published
    table, key = report.tables["spots.epn_core"], name.replace(" ", "_")
    told = [
        one
        for one in table.findings.values()
        if one.rule != "s_region: region exact" and (said in one.message or said in str([str(each) for each in one.offenders])) and remedy in one.message
        and numbers[name] in [each.row for each in one.offenders]
    ]  # fmt: skip
    assert bool(told) == bool(said or remedy), report.format_text()
    assert (key in found) == (becomes is not ASIDE)
    assert {one.severity for one in told} <= ({"error"} if becomes is ASIDE else {"warning", "info"})
    row = found.get(key)
    if row is None or becomes is NO_REGION:
        assert row is None or row["s_region"] is None
        return
    assert region_files.parse_region_texts(
        [row["s_region"]] if kind == "text" else [f"polygon {' '.join(map(repr, row['s_region']))}"]
    ).faults == [""]
    if row["coverage"]:
        assert Moc.parse(row["coverage"]).fraction > 0.0


def test_fine_rows_beside_bad_ones_are_as_ever(ingested_kinds):
    for _, _, found in ingested_kinds.values():
        assert found["first"]["s_region"] is not None
        assert found["first"]["s_region"] == found["last"]["s_region"]


def test_a_moc_of_a_corrected_polygon_is_published_unless_most_of_it_is_outside(ingested_kinds):
    found = ingested_kinds["numbers"][2]
    both = Moc.parse(found["empty_crossing"]["coverage"]).fraction * 360**2 / math.pi  # square degrees
    assert both == pytest.approx(50, rel=0.03)
    assert found["narrow_crossing"]["coverage"] is None


def test_a_moc_of_all_the_sphere_is_all_of_it(ingested_kinds):
    assert Moc.parse(ingested_kinds["numbers"][2]["whole_sky"]["coverage"]).fraction == 1.0


def vulcan(directory, crs):
    text = DESCRIPTOR.replace("OUTLINE", json.dumps(KINDS["numbers"][0])).replace("COVERAGE", json.dumps("moc(cells)"))
    text = (
        text.replace("EXTRA", "coverage")
        .replace("FRAME", "body")
        .replace("Sun, target_class: star", "Vulcan, target_class: planet")
    )
    text = text.replace("    max_rejects", f"    frames: {{place: {{crs: '{crs}'}}}}\n    max_rejects")
    return open_site_with_uningested_files(directory, text, {"rows.json": json.dumps([FINE | {"id": "one"}])})


def test_a_frame_of_an_unknown_body_is_told_in_the_report(tmp_path):
    wkt = 'GEOGCS["GCS_Vulcan",DATUM["D_Vulcan",SPHEROID["Vulcan",2439700.0,0.0]],PRIMEM["Reference_Meridian",0.0],UNIT["Degree",0.0174532925199433]]'
    with vulcan(tmp_path, wkt) as site:
        report = ingest_collection(site, "spots")
    assert (
        "place.crs: Hven does not know the size and shape of 'Vulcan'; ignore this warning if you defined the body yourself"
        in report.format_text()
    )
    assert report.row_count == 1


@pytest.mark.parametrize("crs", ['GEOGCS["x"]', "IAU_2015:49999"])
def test_what_is_no_frame_is_refused_where_it_stands(tmp_path, crs):
    with (
        vulcan(tmp_path, crs) as site,
        pytest.raises(HvenError, match=r"spots.yaml:8:22: .*crs: .*; give the code of a frame"),
    ):
        ingest_collection(site, "spots")


PLAIN = """\
collection: fields
title: Fields
tables:
  main:
    primary: [id]
    max_rejects: 1
    source: {kind: json, files: rows.json, types: {outline: string}}
    columns: {id: string, outline: polygon, around: circle, pieces: multishape, cells: moc, coverage: {type: float64, description: A share}}
    map: {outline: polygon_of(outline), around: "CIRCLE(0, lat, radius)"}
RULES"""
GOOD = {"outline": "polygon 0 0 0 10 10 10 10 0", "lat": 5, "radius": 1, "pieces": "polygon 0 0 0 10 10 10 10 0", "cells": "3/1", "coverage": 0.5}  # fmt: skip
ODD = {  # None: set aside; else what stands there
    "north": ({"outline": "polygon 0 0 10 95 20 0"}, "outline must be a shape on the sphere", None),
    "wide": ({"radius": 200}, "around must be a shape on the sphere", None),
    "word": ({"pieces": "polygon 0 0 1"}, "pieces must be a shape on the sphere", None),
    "order": ({"cells": "30/1"}, "cells must be an ASCII MOC", None),
    "eight": ({"outline": "polygon 0 0 10 10 10 0 0 10"}, "outline: a polygon crosses itself", "outline"),
    "eights": ({"pieces": "polygon 0 0 10 10 10 0 0 10"}, "pieces: a polygon crosses itself", "pieces"),
    "flat": ({"outline": "polygon 0 0 10 0 5 0"}, "a polygon has no area: outline is left empty", ""),
}


def test_tables_of_no_standard_publish_nothing_invalid_either(tmp_path):
    """Columns of shapes and cells, whatever they are called: on the sphere, and mended; a rule of the descriptor's own stands instead."""
    rows = [{"id": "fine", **GOOD}, *({"id": name, **GOOD, **change} for name, (change, _, _) in ODD.items())]
    with open_site_with_uningested_files(
        tmp_path / "plain", PLAIN.replace("RULES", ""), {"rows.json": json.dumps(rows)}
    ) as site:
        report = ingest_collection(site, "fields")
        site.refresh_published_state()
        with query.run_query("SELECT * FROM fields.main", OWNER_PRINCIPAL, site=site) as result:
            found = {row["id"]: row for row in result.read_table().to_pylist()}
    for number, (name, (_, said, becomes)) in enumerate(ODD.items(), 2):
        told = [one for one in report.tables["fields.main"].findings.values() if said in one.message]
        assert [number] == [each.row for one in told for each in one.offenders][:1], (name, report.format_text())
        assert (name in found) == (becomes is not None)
    assert found["flat"]["outline"] is None
    eight, both = found["eight"]["outline"], found["eights"]["pieces"]
    assert region_files.parse_region_texts([f"polygon {' '.join(map(repr, eight))}", both]).faults == ["", ""]
    assert both.count("polygon") == 2
    assert {row["coverage"] for row in found.values()} == {0.5}
    own = "    rules:\n" + "".join(
        f"      {name}: {{check: {check}, columns: {columns}, severity: 'off'}}\n"
        for name, check, columns in (("on", "region", "[outline, around, pieces]"), ("cells", "moc", "cells"))
    )
    with open_site_with_uningested_files(
        tmp_path / "own", PLAIN.replace("RULES", own), {"rows.json": json.dumps(rows)}
    ) as site:
        assert ingest_collection(site, "fields").row_count == len(rows)
