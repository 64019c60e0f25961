"""Outlines of GeoJSON on a body: read, turned, checked and published by one rule, of one part and of several; areas by the thousand."""

from __future__ import annotations

import json
import re

import numpy as np
import pyarrow as pa
import pytest

from hven import query
from hven.engines._sky_functions import _compute_shape_text_areas
from hven.ingest.api.runs import ingest_collection
from hven.model import shape_columns
from hven.model.settings import Settings
from hven.model.sky import shape_text
from hven.site import Site
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from process_runner import run_hven

DESCRIPTOR = """\
collection: scallops
title: Scallops
tables:
  epn_core:
    standard: epn-tap-2.0
    frame: body
    max_rejects: 1
    source: {kind: json, files: "*.json"}
    set: {granule_gid: site, dataproduct_type: ci, processing_level: 5, target_name: Mars, target_class: planet, instrument_host_name: MRO, instrument_name: HiRISE}
    text: {granule_uid: "{id}", obs_id: "{id}"}
    map: {s_region: "OUTLINE", c1min: 'lon_360("bbox"[1])', c1max: 'lon_360("bbox"[3])', c2min: '"bbox"[2]', c2max: '"bbox"[4]'}
"""


def square(lon: float, lat: float, size: float = 0.5) -> list[list[list[float]]]:
    west, east = lon - size, lon + size
    # as RFC 7946 has it
    return [[[west, lat - size], [east, lat - size], [east, lat + size], [west, lat + size], [west, lat - size]]]


def find_rings(region: str) -> list[np.ndarray]:
    """Give the corners of each polygon of a region, shape (n, 2)."""
    _, *texts = re.split("(?i)polygon", region)
    return [np.array(text.split(), float).reshape(-1, 2) for text in texts]


def is_counter_clockwise(ring: np.ndarray) -> bool:
    """Return whether a small ring goes counter-clockwise where east is to the right, as RFC 7946 has it."""
    lon, lat = np.unwrap(ring[:, 0], period=360), ring[:, 1]
    return bool(np.sum(lon * np.roll(lat, -1) - np.roll(lon, -1) * lat) > 0)


ITEMS = {
    "one": {"type": "Polygon", "coordinates": square(10, 20)},
    "two": {"type": "MultiPolygon", "coordinates": [square(82.9, 43.7), square(84.9, 43.7)]},
    "seam": {"type": "MultiPolygon", "coordinates": [square(0.2, -5), square(3, -5)]},
}


@pytest.mark.parametrize(("outline", "astray_rows"), [("geometry", 3), ("oriented(geometry, 'body')", 0)])
def test_outlines_on_a_body(tmp_path, outline, astray_rows):
    files = {
        f"{name}.json": json.dumps(
            {"type": "Feature", "id": name, "geometry": item, "bbox": [1, 2, 3, 4], "properties": {}}
        )
        for name, item in ITEMS.items()
    }
    with open_site_with_uningested_files(tmp_path, DESCRIPTOR.replace("OUTLINE", outline), files) as site:
        report = ingest_collection(site, "scallops")
        table = report.tables["scallops.epn_core"]
        assert (table.published, table.rejected) == (3, 0), table
        told = [problem for name, problem in table.findings.items() if name.startswith("footprint.orientation")]
        assert [(problem.count, problem.severity) for problem in told] == (
            [(astray_rows, "warning")] if astray_rows else []
        )
        assert all("oriented(x, 'body')" in problem.message for problem in told)
        with query.run_query(
            "SELECT granule_uid, s_region, AREA(s_region) AS a FROM scallops.epn_core", OWNER_PRINCIPAL, site=site
        ) as result:
            rows = {row["granule_uid"]: row for batch in result.iterate_batches() for row in batch.to_pylist()}
        for name, row in rows.items():
            rings = find_rings(row["s_region"])
            assert len(rings) == (1 if name == "one" else 2)
            # read as on the sky, where east is to the left; `oriented` turns them to be right from outside
            assert {is_counter_clockwise(ring) for ring in rings} == {not astray_rows}
        assert rows["two"]["a"] == pytest.approx(
            2 * rows["one"]["a"] * np.cos(np.radians(43.7)) / np.cos(np.radians(20)), rel=1e-4
        )
        with query.run_query(
            "SELECT granule_uid FROM scallops.epn_core WHERE 1 = CONTAINS(POINT(84.9, 43.7), s_region) OR 1 = CONTAINS(POINT(0.1, -5), s_region)",
            OWNER_PRINCIPAL, site=site,
        ) as result:  # fmt: skip
            assert {row for batch in result.iterate_batches() for row in batch.column(0).to_pylist()} == {"two", "seam"}
    (tmp_path / "hven.toml").write_text('name = "t"\n')
    foretold = run_hven("--site", tmp_path, "check").stdout  # what the ingest warns of
    assert (
        "warning: collections/scallops/scallops.yaml" in foretold
        and "all of the first 3 rows: s_region: the corners of a polygon are in the wrong order" in foretold
    ) is bool(astray_rows)


def test_what_is_no_region_says_why(tmp_path):
    lines = "n,outline\na,polygon 1 1 2 1 2 2 1\nb,Circle ICRS 1 2\n"
    text = (
        DESCRIPTOR.replace('kind: json, files: "*.json"', "kind: csv, files: a.csv")
        .replace("OUTLINE", "outline")
        .replace("{id}", "{n}")
    )
    text = text.replace(
        """, c1min: 'lon_360("bbox"[1])', c1max: 'lon_360("bbox"[3])', c2min: '"bbox"[2]', c2max: '"bbox"[4]'""", ""
    )
    with open_site_with_uningested_files(tmp_path, text, {"a.csv": lines}) as site:
        table = ingest_collection(site, "scallops").tables["scallops.epn_core"]
    assert table.rejected == 2
    [problem] = [problem for name, problem in table.findings.items() if name.startswith("epn.region")]
    assert "a polygon needs three pairs of numbers or more, not 7 numbers" in problem.message


TEXTS = [
    "polygon 0 0 10 0 10 10 0 10",
    "Polygon ICRS 0 0 0 10 10 10 10 0",
    "polygon 350 -5 10 -5 10 5 350 5 polygon 100 0 100 10 110 10",
    "Union ICRS (Polygon 0 80 90 80 180 80 270 80 Circle 30 -40 2)",
    "circle 1 2 3",
    "UNION ICRS ( POLYGON 1 1 2 1 2 2  POLYGON 5 5 +5 6 6.5e0 6 )",
    None,
    "",
    "polygon 1 2 3",
]


def test_polygons_turn_and_nothing_else_changes():
    given = pa.array(TEXTS, pa.string())
    for outside in (False, True):
        made = shape_columns.orient_polygon_texts(given, seen_from_outside=outside)
        assert not shape_columns.parse_polygons(made).find_misoriented_rows(seen_from_outside=outside).any()
        assert shape_columns.parse_polygons(made).find_misoriented_rows(seen_from_outside=not outside).tolist() == [
            True,
            True,
            True,
            True,
            False,
            True,
            False,
            False,
            False,
        ]
        for before, after in zip(TEXTS, made.to_pylist(), strict=True):
            if before is None:
                assert after is None
                continue
            assert sorted(before.replace("(", " ").replace(")", " ").split()) == sorted(
                after.replace("(", " ").replace(")", " ").split()
            )
            if before and len(before) > 15:
                read = (
                    shape_text.parse_stcs
                    if before[0].isupper()
                    else lambda text: shape_text.parse_dali_shape("multishape", text)
                )
                one, two = read(before), read(after)
                assert (getattr(one, "shape", one).compute_area()) == pytest.approx(
                    getattr(two, "shape", two).compute_area(), rel=1e-12
                )


def test_polygons_of_a_column_are_read_alike_by_the_thousand_and_word_by_word():
    texts = pa.array([*TEXTS, "polygon icrs 1 2 3 4 5 6", "polygon 0 0 10 95 10 10", "polygon 0 0 10 10 10 0 0 10", "x polygon 1 1 2 1 2 2"] * 2)  # fmt: skip
    found, slow = shape_columns.parse_polygons(texts), shape_columns._PolygonWords(texts)
    order = np.argsort(found.rows, kind="stable")
    assert found.rows[order].tolist() == slow.rows.tolist()
    parts = [found.numbers[found.starts[at] : found.starts[at + 1]].tolist() for at in order]
    assert parts == [slow.numbers[a:b].tolist() for a, b in zip(slow.starts[:-1], slow.starts[1:], strict=True)]
    for row, text in enumerate(texts):  # each row is judged as it is alone
        alone = pa.array([text.as_py()], pa.string())
        assert shape_columns.parse_polygons(alone).find_self_crossing_rows()[0] == found.find_self_crossing_rows()[row]
        assert (
            shape_columns.parse_polygons(alone).find_misoriented_rows(seen_from_outside=True)[0]
            == found.find_misoriented_rows(seen_from_outside=True)[row]
        )
    assert np.flatnonzero(found.find_self_crossing_rows())[0] == 11


def excess(corners: list[tuple[float, float]]) -> float:
    """Area by Girard: the angles of a convex polygon, less (n - 2) pi; square degrees. By another road than the product's."""
    lon, lat = np.radians(np.array(corners)).T
    xyz = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], 1)
    total = 0.0
    for at in range(len(xyz)):
        before, here, after = xyz[at - 1], xyz[at], xyz[(at + 1) % len(xyz)]
        one, two = np.cross(here, before), np.cross(here, after)
        total += np.arctan2(np.linalg.norm(np.cross(one, two)), one @ two)
    return float(np.degrees(np.degrees(total - (len(xyz) - 2) * np.pi)))


def test_areas_of_a_column_are_those_of_its_polygons():
    made = np.random.default_rng(3)
    corners = []
    for _ in range(50):
        lon, lat, size = made.uniform(0, 360), made.uniform(-80, 80), made.uniform(0.05, 8)
        turn = np.sort(made.uniform(0, 2 * np.pi, 7))
        # convex on the tangent plane, so on the sphere
        x, y = np.radians(size) * np.cos(turn), np.radians(size) * np.sin(turn)
        phi = np.radians(lat)
        ahead, up = np.cos(phi) - y * np.sin(phi), np.sin(phi) + y * np.cos(phi)
        corners.append(
            list(
                zip(
                    (lon + np.degrees(np.arctan2(x, ahead))) % 360,
                    np.degrees(np.arctan2(up, np.hypot(ahead, x))),
                    strict=True,
                )
            )
        )
    texts = [
        "polygon " + " ".join(f"{lon!r} {lat!r}" for lon, lat in [(float(a), float(b)) for a, b in one])
        for one in corners
    ]
    assert _compute_shape_text_areas(pa.array(texts)).to_pylist() == pytest.approx(
        [excess(one) for one in corners], rel=1e-7
    )
    known = {
        "polygon 0 0 90 0 0 90": 4 * 180 * 180 / np.pi / 8,  # an octant
        "circle 10 20 90": 2 * 180 * 180 / np.pi,
        # twice the same is once
        "polygon 0 0 1 0 1 1 0 1 polygon 0 0 1 0 1 1 0 1": excess([(0, 0), (1, 0), (1, 1), (0, 1)]),
        "polygon 0 0 1 0 1 1 0 1 polygon 50 0 51 0 51 1 50 1": 2 * excess([(0, 0), (1, 0), (1, 1), (0, 1)]),
        "nothing": None,
    }
    for text, area in known.items():
        assert _compute_shape_text_areas(pa.array([text, text])).to_pylist() == (
            [None] * 2 if area is None else pytest.approx([area] * 2, rel=5e-3)
        )


def test_new_proposes_outline_box_target_and_instruments_of_items(tmp_path):
    with open_site_with_uningested_files(tmp_path, "collection: unused\ntitle: none\n", name="unused"):
        (tmp_path / "hven.toml").write_text('name = "t"\n')
    for name, item in ITEMS.items():
        said = {
            "datetime": "2011-05-11T00:00:00Z", "ssys:targets": ["Mars"], "ssys:target_class": "planet", "instruments": ["CRISM", "OMEGA"], "platform": "MRO",
        }  # fmt: skip
        feature = {
            "type": "Feature",
            "id": name,
            "geometry": item,
            "bbox": [-10, 2, 350, 4] if name == "seam" else [-1, 2, 3, 4],
            "properties": said,
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(feature))
    run_hven("--site", tmp_path, "new", "sites", "--from", f"{tmp_path}/*.json", "--standard", "epn-tap")
    path = tmp_path / "collections" / "sites" / "sites.yaml"
    text = path.read_text()
    assert "frame: body" in text
    path.write_text(text.replace("    set:\n", "    set:\n      processing_level: 5\n"))
    with Site(Settings(directory=tmp_path)) as site:
        table = ingest_collection(site, "sites").tables["sites.epn_core"]
        assert (table.published, [name for name in table.findings if "orientation" in name]) == (3, [])
        columns = "c1min, c1max, c2min, c2max, target_name, target_class, instrument_name, instrument_host_name, spatial_frame_type"
        with query.run_query(
            f"SELECT {columns} FROM sites.epn_core ORDER BY granule_uid", OWNER_PRINCIPAL, site=site
        ) as result:
            rows = [tuple(row.values()) for batch in result.iterate_batches() for row in batch.to_pylist()]
    rest = ("Mars", "planet", "CRISM#OMEGA", "MRO", "body")
    assert rows == [(359.0, 3.0, 2.0, 4.0, *rest), (0.0, 360.0, 2.0, 4.0, *rest), (359.0, 3.0, 2.0, 4.0, *rest)]
