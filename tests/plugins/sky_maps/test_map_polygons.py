"""Searches in polygons on maps of bodies: the rows whose boxes or points touch them, against shapely."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from search_table import TABLE
from test_map_frames import BOXES, DATA, DISC, SPOTS, build_whole_discs, column, describe_whole_discs

from hven import query
from hven.model.table import Table
from hven.plugins.sky_maps import sphere_regions
from hven.portal._explore import TableSearch, map_frames, parse_search
from hven.site import Site
from hven.testing.site import open_tiny_site

MADE = np.random.default_rng(1851)
COUNT = 1500
EDGES = ("c1min", "c1max", "c2min", "c2max")
SUN_BOXES = Table(
    schema="a", name="sun", primary=("id",), columns=(BOXES.columns[0], *(column(name, "arcsec") for name in EDGES))
)
STATIONS = Table(
    schema="a",
    name="stations",
    primary=("id",),
    columns=(BOXES.columns[0], column("lon", ucd="pos.earth.lon"), column("lat", ucd="pos.earth.lat")),
)
ODD_BOXES = replace(BOXES, name="odd")
# west, east, south, north: all longitudes, one meridian, over 0, and longitudes from -180 to 180
ODD_ROWS = [
    (0, 360, -10, 10),
    (0, 0, 0, 0),
    (360, 360, 20, 20),
    (350, 10, -5, 5),
    (-170, -150, 0, 8),
    (-180, 180, 60, 70),
    (170, -170, -30, -20),
    (355, 360, -40, -35),
    (np.nan, np.nan, np.nan, np.nan),
]


def build_sun_boxes() -> pa.Table:
    west, south = MADE.uniform(-1000, 900, COUNT), MADE.uniform(-1000, 900, COUNT)
    wide, high = MADE.uniform(0, 150, (2, COUNT))
    values = (np.arange(COUNT), west, west + wide, south, south + high)
    return pa.table(dict(zip(("id", *EDGES), values, strict=True)), schema=SUN_BOXES.arrow_schema)


def build_odd_boxes() -> pa.Table:
    west, east, south, north = np.array(ODD_ROWS, np.float64).T
    values = {"c1min": west, "c1max": east, "c2min": south, "c2max": north}
    arrays = {name: pa.array(numbers, from_pandas=True) for name, numbers in values.items()}
    return pa.table({"id": np.arange(len(west)), **arrays}, schema=ODD_BOXES.arrow_schema)


ROWS = {
    "sun": (SUN_BOXES, build_sun_boxes()),
    "odd": (ODD_BOXES, build_odd_boxes()),
    "boxes": (BOXES, DATA["boxes"].slice(0, COUNT)),
    "spots": (SPOTS, DATA["spots"].slice(0, COUNT)),
    "disc": (DISC, DATA["disc"].slice(0, COUNT)),
    "stations": (STATIONS, DATA["spots"].slice(0, COUNT)),
    "discs": (describe_whole_discs(), build_whole_discs()),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    tables = {f"a.{name}": pair for name, pair in ROWS.items()}
    with open_tiny_site(tmp_path_factory.mktemp("polygons"), tables) as opened_site:
        yield opened_site


def find_ids(site: Site, name: str, text: str) -> set[int]:
    """Find the rows by the search, and check that its text as ADQL finds the same."""
    search: TableSearch = parse_search([("_polygon", text)], ROWS[name][0])
    assert search.faults == ()
    with query.run_query(search.build_query(columns=["id"]), site=site) as result:
        ids = set(result.read_table().column("id").to_pylist())
    with query.run_query(search.write_adql(), site=site) as result:
        assert set(result.read_table().column("id").to_pylist()) == ids
    return ids


@cache
def list_shapes(name: str) -> tuple[np.ndarray, np.ndarray]:
    """List the boxes of rows, on a map of longitudes at each turn: the number of the row of each box, and the boxes."""
    table, rows = ROWS[name]
    frame = map_frames.find_map_frame(table)
    assert frame is not None
    keys, shapes = [], []
    names = ("id", *frame.bounds)
    for key, west, south, east, north in zip(*(rows.column(part).to_pylist() for part in names), strict=True):
        if west is None:
            continue
        wide = east - west
        if not frame.radius and not 0 <= wide <= 360:
            wide %= 360
        turns = (0,) if frame.radius else range(-1080, 1081, 360)
        keys += [key] * len(turns)
        shapes += [shapely.box(west + turn, south, west + turn + wide, north) for turn in turns]
    return np.array(keys), np.array(shapes)


def check_rows(site: Site, name: str, corners: list[tuple[float, float]], outline: shapely.Polygon) -> None:
    """Check the rows that are found: those that touch the polygon; rounding decides at its border alone."""
    found = find_ids(site, name, ", ".join(f"{x!r} {y!r}" for x, y in corners))
    keys, shapes = list_shapes(name)
    smaller, larger = outline.buffer(-1e-7), outline.buffer(1e-7)
    shapely.prepare([smaller, larger])
    surely = set(keys[shapely.intersects(smaller, shapes)].tolist())
    perhaps = set(keys[shapely.intersects(larger, shapes)].tolist())
    assert surely <= found <= perhaps


OFFSETS = st.lists(st.tuples(st.integers(-800, 800), st.integers(-400, 400)), min_size=3, max_size=9, unique=True)


@given(
    offsets=OFFSETS, middle=st.integers(0, 3600), name=st.sampled_from(["boxes", "spots", "odd", "stations", "discs"])
)
def test_a_polygon_on_a_planet_finds_the_rows_of_shapely(
    site: Site, offsets: list[tuple[int, int]], middle: int, name: str
) -> None:
    """Also across longitude 0, where rows and polygons go on."""
    outline = order_corners([((middle + x) / 10, y / 10) for x, y in offsets])
    polygon = shapely.Polygon(outline)
    if polygon.is_valid and polygon.area > 1:
        check_rows(site, name, [(round(x % 360, 4), y) for x, y in outline], polygon)


@given(offsets=OFFSETS, middle=st.integers(-500, 500), name=st.sampled_from(["sun", "disc"]))
def test_a_polygon_on_the_sun_finds_the_rows_of_shapely(
    site: Site, offsets: list[tuple[int, int]], middle: int, name: str
) -> None:
    outline = order_corners([(float(x + middle), float(y - middle)) for x, y in offsets])
    polygon = shapely.Polygon(outline)
    if polygon.is_valid and polygon.area > 1:
        check_rows(site, name, outline, polygon)


def order_corners(corners: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Order corners around their middle, so that lines do not cross."""
    middle = np.mean(corners, axis=0)
    return sorted(corners, key=lambda corner: float(np.arctan2(corner[1] - middle[1], corner[0] - middle[0])))


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("350 -5, 10 -5, 10 5, 350 5", {0, 1, 3}),  # across 0
        ("0 -5, 10 -5, 10 5, 0 5", {0, 1, 3}),  # from 0 on: also the meridian
        ("200 -3, 210 -3, 210 3, 200 3", {0, 4}),  # longitudes from -180 to 180
        ("100 61, 110 61, 105 62", {5}),
        ("175 -25, 185 -25, 180 -24", {6}),
        ("0 -38, 5 -38, 5 -36, 0 -36", {7}),  # a row that ends at 360 touches what begins at 0
        ("340 19, 360 19, 360 21, 340 21", {2}),
        ("0 15, 90 15, 180 15, 270 15", {2, 5}),  # around the northern pole
        ("270 -25, 180 -25, 90 -25, 0 -25", {6, 7}),  # around the southern one
        ("10 10, 90 40, 20 70", {0, 5}),  # a corner that touches an edge
    ],
)  # fmt: skip
def test_edges_of_the_map_are_no_edges_of_the_body(site: Site, text: str, ids: set[int]) -> None:
    assert find_ids(site, "odd", text) == ids


def test_a_box_beside_a_slanting_side_is_outside(site: Site) -> None:
    """The box around the polygon is not the polygon."""
    rows = ROWS["sun"][1].to_pylist()
    found = find_ids(site, "sun", "-900 -900, 900 -900, -900 900")
    west, south = (np.array([row[name] for row in rows]) for name in ("c1min", "c2min"))
    east, north = (np.array([row[name] for row in rows]) for name in ("c1max", "c2max"))
    is_near = (west <= 900) & (south <= 900) & (east >= -900) & (north >= -900)
    assert found == set(np.flatnonzero(is_near & (west + south <= 0)).tolist())
    assert len(found) < is_near.sum()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2, 3 4", "2 corners"),
        ("1 2, 3 4, 5", "'5' is not a corner"),
        ("1 2, 3 4, 5 x", "'5 x' is not a corner"),
        ("1 2, 3 4, nan 5", "'nan 5' is not a corner"),
        ("1 2, 3 4, 1e9 5", "'1e9 5' is not a corner"),
        ("1 1, 2 1, 3 1", "lie on one line"),
        ("5 5, 5 5, 5 5", "lie on one line"),
        ("1 2," * 201, "201 corners"),
        ("1" * 8001, "more than 8000 characters"),
    ],
)
@pytest.mark.parametrize("table", [BOXES, DISC])
def test_what_is_no_polygon_is_told_with_a_remedy(table: Table, text: str, message: str) -> None:
    search = parse_search([("_polygon", text)], table)
    (fault,) = search.faults
    assert fault.field == "_polygon"
    assert message in fault.message
    assert fault.remedy
    assert search.tests == ()


def test_lines_that_cross_too_often_are_refused() -> None:
    places = np.random.default_rng(1).uniform(0, 80, (200, 2))
    search = parse_search([("_polygon", ", ".join(f"{x} {y}" for x, y in places))], BOXES)
    assert [fault.message for fault in search.faults] == ["the lines of the polygon cross too often"]


def test_tables_without_a_place_on_a_body_have_no_polygons() -> None:
    (fault,) = parse_search([("_polygon", "1 2, 3 4, 5 7")], TABLE).faults
    assert fault.message == "this table has no positions on a body"


def test_hidden_columns_are_not_searched() -> None:
    hidden = [replace(one, hidden=one.name == "c2min") for one in BOXES.columns]
    (fault,) = parse_search([("_polygon", "1 2, 3 4, 5 7")], replace(BOXES, columns=tuple(hidden))).faults
    assert fault.message == "this table has no positions on a body"


def test_the_address_is_written_as_it_was_read() -> None:
    search = parse_search([("_polygon", "1 2, 3 4, 5 7"), ("_polygon", "11 2, 13 4, 15 7")], SUN_BOXES)
    assert parse_search(search.list_parameters(), SUN_BOXES) == search
    assert sphere_regions.POLYGON.label == "Polygon on the map"
