"""Contours in expressions: what a column of them gives is what `hven.model.sky.contours` gives, row by row, faults and nulls included."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from adql_runner import create_connection, write_expression
from contour_shapes import draw_shapes, encode_chain
from hven.adql import bind_expression, parse_expression
from hven.descriptor._expression_trees import UnsupportedCastError, cast_to_type
from hven.engines.duckdb.dialect import DuckDBDialect
from hven.model.errors import BindError
from hven.model.sky import Regions
from hven.model.table import Column
from hven.model.types import build_type_from_arrow, parse_type
from hven.plugins.image_regions import contours
from shared import EXAMPLES_FACTOR

DISC = "disc(cx, cy, cdelt, cdelt, r, l0, b0)"
HOLE = f"chain_contour(code, x, y, {DISC})"


@pytest.fixture(scope="module")
def compute():
    """Compute an expression over columns."""
    con = create_connection()

    def run(text, **columns):
        table = pa.table(columns or {"nothing": [0]})
        bound = bind_expression(
            parse_expression(text),
            [Column(name=field.name, type=build_type_from_arrow(field.type)) for field in table.schema],
        )
        con.register("t0", table)
        found = con.execute(f"SELECT {write_expression(bound, DuckDBDialect())} AS v FROM t0").to_arrow_table()
        return found["v"].combine_chunks()

    return run


@pytest.fixture(scope="module")
def rows():
    paths = draw_shapes(90, 7)
    codes = [encode_chain(path) for path in paths]
    x, y = np.array([path[0] for path in paths]).T
    n = len(codes)
    rng = np.random.default_rng(4)
    told = {
        "code": pa.array([None if at == 3 else "12x" if at == 4 else code for at, code in enumerate(codes)]),
        "x": pa.array([None if at == 5 else float(one) for at, one in enumerate(x)], pa.float64()),
        "y": pa.array(np.asarray(y, float)),
        "cx": np.full(n, 74.3), "cy": np.full(n, 75.1), "cdelt": np.full(n, 15.0),
        "r": pa.array([None if at == 6 else 61.7 * 15 for at in range(n)], pa.float64()),
        "l0": rng.uniform(0, 360, n), "b0": rng.uniform(-7, 7, n),
    }  # fmt: skip
    given = {name: pa.array(column).to_numpy(zero_copy_only=False) for name, column in told.items() if name != "code"}
    disc = contours.DiscImage(
        given["cx"], given["cy"], given["cdelt"], given["cdelt"], given["r"], given["l0"], given["b0"], np.zeros(n)
    )
    return told, contours.build_regions_from_chain_codes(told["code"], given["x"], given["y"], disc)


def test_a_column_of_chain_codes(compute, rows):
    told, wanted = rows
    missing = np.arange(len(told["code"])) == 3  # no contour is no fault of it
    quality = compute(f"contour_quality({HOLE})", **told).to_pylist()
    assert quality == [
        None if gone or not word else str(word) for gone, word in zip(missing, wanted.classify_quality(), strict=True)
    ]
    assert {"exact", "clipped_at_limb"} < set(quality)
    faults = {
        row.row: str(row.message).partition("; ")[0] for row in wanted.iterate_faults() if not missing[row.row]
    }  # without the remedy
    assert {
        number: text for number, text in enumerate(compute(f"contour_fault({HOLE})", **told).to_pylist()) if text
    } == faults
    assert {4, 5, 6} <= faults.keys()
    area = compute(f"contour_area({HOLE})", **told).to_numpy(zero_copy_only=False)
    np.testing.assert_allclose(
        np.nan_to_num(area), wanted.regions.compute_areas() * (180 / np.pi) ** 2, rtol=1e-9, atol=1e-12
    )
    pixels = compute(f"contour_pixels({HOLE})", **told).to_pylist()
    assert pixels == [
        None if gone or fault else int(one)
        for gone, fault, one in zip(missing, wanted.fault, wanted.pixels, strict=True)
    ]
    for side, bound in zip(("west", "east", "south", "north"), wanted.regions.compute_bounding_boxes(), strict=True):
        got = compute(f"contour_bound({HOLE}, '{side}')", **told).to_numpy(zero_copy_only=False)
        np.testing.assert_allclose(got.astype(float), bound, rtol=1e-9, atol=1e-9)


def test_polygons_are_regions_of_one_ring_or_outlines_of_the_largest_part(compute, rows):
    told, wanted = rows
    parts = np.diff(wanted.regions.rows)
    one = (parts == 1) & (
        np.bincount(np.repeat(np.arange(len(parts)), parts), np.diff(wanted.regions.parts), len(parts)) == 1
    )
    polygons = compute(f"contour_polygon({HOLE})", **told).to_pylist()
    assert [polygon is not None for polygon in polygons] == one.tolist()
    assert 0 < one.sum() < (parts > 0).sum()
    for number in np.flatnonzero(one)[:20].tolist():
        ring = wanted.regions.take([number])
        np.testing.assert_allclose(np.reshape(polygons[number], (-1, 2)), np.stack([ring.lon, ring.lat], 1), atol=1e-9)
    largest = compute(f"contour_polygon({HOLE}, 'largest')", **told).to_pylist()
    assert [polygon is not None for polygon in largest] == (parts > 0).tolist()
    for number in np.flatnonzero(parts > 1)[:5].tolist():
        pieces, _ = wanted.regions.take([number]).explode()
        outlines = Regions.from_lists([[[list(zip(*np.reshape(largest[number], (-1, 2)).T, strict=True))]]])
        shells = [
            Regions.from_lists(
                [[[list(zip(part.lon[: part.rings[1]], part.lat[: part.rings[1]], strict=True))]]]
            ).compute_areas()[0]
            for part in (pieces.take([at]) for at in range(len(pieces)))
        ]
        assert any(outlines.compute_areas()[0] == pytest.approx(area) for area in shells)


def test_mocs_are_hardly_larger(compute, rows):
    told, wanted = rows
    every = 1 if EXAMPLES_FACTOR > 1 else 4  # a quarter of the 90 are still of all 15 kinds
    told = {name: pa.array(column)[::every] for name, column in told.items()}
    area = wanted.regions.compute_areas()[::every] * (180 / np.pi) ** 2
    mocs = compute(f"AREA(contour_moc({HOLE}))", **told).to_pylist()
    assert [moc is not None for moc in mocs] == (area > 0).tolist()
    more = np.array([moc for moc in mocs if moc is not None]) / area[area > 0]
    assert more.min() > 0.999
    assert np.median(more) < 1.0101


def test_images_of_several_kinds_in_one_column(compute):
    image = "CASE kind WHEN 0 THEN disc(512, 512, 2, 2, 960, 30, 0) WHEN 1 THEN chart(0, 0, 1, 1, 30, 0) ELSE chart(0, 0, 1, 0.01, 30, 0, 1) END"
    kinds = pa.array([2, 0, 1, 0, 2])
    got = compute(f"contour_bound(box_contour(1, 1, 3, 3, {image}, 1), 'west')", kind=kinds)
    assert got.to_pylist()[0] == got.to_pylist()[4] == pytest.approx(29.5) == got.to_pylist()[2]
    assert (
        compute(f"contour_fault(box_contour(1, 1, 3, 3, {image}, 1))", kind=kinds).to_pylist()[1]
        == "the contour is entirely beyond the limb"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("contour_bound(chain_contour('0', 1, 1, chart(0, 0, 1, 1, 0, 0)), 'wset')", "'wset'"),
        ("chain_contour('0', 1, 1, chart(0, 0, 1, 1, 0, 0), 0, 'freman')", "'freman'"),
        ("contour_area('0123')", "contour"),
        ("chain_contour('0', 1, 1, 'disc')", "array"),
    ],
)
def test_what_cannot_be_is_said_where(compute, text, message):
    with pytest.raises(BindError, match=message):
        compute(text)


def test_a_contour_is_no_value_of_a_column():
    bound = bind_expression(parse_expression("box_contour(0, 0, 9, 4, chart(0, 0, 0.1, 0.1, 30, 0))"), [])
    for kind in ("adql:REGION", "polygon", "string", "float64"):
        with pytest.raises(UnsupportedCastError, match="cannot be the value of a column"):
            cast_to_type(bound, bound.meta, parse_type(kind))
