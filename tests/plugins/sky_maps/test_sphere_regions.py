"""Circles and polygons on a sphere find the boxes and points of rows that they touch, whatever columns have them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
import shapely
from asgi_client import Client
from hypothesis import given
from hypothesis import strategies as st
from test_map_frames import BOXES, DATA, DISC, KEY, SPOTS, column
from test_map_polygons import ODD_BOXES, STATIONS, build_odd_boxes, list_shapes

from hven import query
from hven.app._server import create_and_start_application
from hven.model.sky import compute_angular_distance
from hven.model.table import Column, Table
from hven.model.types import POLYGON
from hven.plugins.sky_maps.map_polygons import compute_continuous_longitudes
from hven.portal._explore import constant_columns, parse_search
from hven.portal._explore.constant_columns import count_rows_without_place, list_used_place_columns
from hven.portal._explore.page_queries import QueryRunner
from hven.site import Site
from hven.site.auth._access_control import ANONYMOUS_PRINCIPAL, DEFAULT_POLICIES
from hven.testing.site import open_tiny_site

SAMPLES = 721
BOX_COUNT = 200
OUTLINE = Column(name="s_region", type=POLYGON)
SQUARE = [10.0, 0.0, 20.0, 0.0, 20.0, 10.0, 10.0, 10.0]
# the outline, the middle (longitude, latitude) and where a row is found
MIXED_ROWS = [
    (SQUARE, None, None),
    (SQUARE, 100.0, 50.0),
    (None, 15.0, 5.0),
    (None, 100.0, 50.0),
    (None, None, None),
    (None, None, 5.0),
]


def describe_table(name: str, kind: str) -> Table:
    """Describe a table of rows with outlines, and with points on a body, on the Earth or on the sky, or boxes."""
    if kind == "box":
        return Table(schema="a", name=name, primary=("id",), columns=(KEY, OUTLINE, *BOXES.columns[1:]))
    ucds = {"sky": ("pos.eq.ra", "pos.eq.dec")}.get(kind, (f"pos.{kind}.lon", f"pos.{kind}.lat"))
    points = (column("lon", ucd=ucds[0]), column("lat", ucd=ucds[1]))
    position = ("lon", "lat") if kind == "sky" else None
    return Table(schema="a", name=name, primary=("id",), position=position, columns=(KEY, OUTLINE, *points))


def build_rows(table: Table, rows: list[tuple[list[float] | None, float | None, float | None]]) -> pa.Table:
    outlines, lons, lats = (list(values) for values in zip(*rows, strict=True))
    values = {"id": list(range(len(rows))), "s_region": outlines, "lon": lons, "lat": lats}
    values |= {"c1min": lons, "c1max": lons, "c2min": lats, "c2max": lats}
    names = [item.name for item in table.columns]
    return pa.table({name: values[name] for name in names}, schema=table.arrow_schema)


ROW_SETS: dict[str, list[tuple[list[float] | None, float | None, float | None]]] = {
    "mixed": MIXED_ROWS,
    "empty": [(None, lon, lat) for _, lon, lat in MIXED_ROWS],
    "full": [(SQUARE, lon, lat) for _, lon, lat in MIXED_ROWS],
}
KINDS = ("bodyrc", "earth", "sky", "box")
TABLES = [(describe_table(f"{name}_{kind}", kind), name) for name in ROW_SETS for kind in KINDS]
ROWS = {
    "odd": (ODD_BOXES, build_odd_boxes()),
    "boxes": (BOXES, DATA["boxes"].slice(0, BOX_COUNT)),
    "stations": (STATIONS, DATA["spots"].slice(0, BOX_COUNT)),
    **{table.name: (table, build_rows(table, ROW_SETS[name])) for table, name in TABLES},
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    tables = {f"a.{name}": pair for name, pair in ROWS.items()}
    with open_tiny_site(tmp_path_factory.mktemp("spheres"), tables) as opened_site:
        yield opened_site


@pytest.fixture
def runner(site: Site) -> QueryRunner:
    return QueryRunner(
        site=site, principal=ANONYMOUS_PRINCIPAL, policies=DEFAULT_POLICIES, published_state=site.get_published_state()
    )


def find_ids(site: Site, name: str, *pairs: tuple[str, str], runner: QueryRunner | None = None) -> set[int]:
    """Find the rows by the search as ADQL text, which is what users copy."""
    search = parse_search(pairs, ROWS[name][0])
    assert search.faults == ()
    if runner is not None:
        search = search.copy_with(place_columns=list_used_place_columns(search.table, runner))
    with query.run_query(search.write_adql(), site=site) as result:
        return set(result.read_table().column("id").to_pylist())


@cache
def list_boxes(name: str) -> tuple[np.ndarray, np.ndarray]:
    """List the boxes of rows at each turn: the number of the row of each box, and the boxes."""
    keys, shapes = list_shapes(name)
    is_box = keys < BOX_COUNT
    return keys[is_box], shapes[is_box]


@cache
def list_edges(name: str) -> dict[int, tuple[tuple[float, ...], np.ndarray, np.ndarray]]:
    """List the bounds of the box of each row, and the longitudes and latitudes of samples of its edges."""
    edges = {}
    for key, box in zip(*list_boxes(name), strict=True):
        if key not in edges:
            west, south, east, north = box.bounds
            lons, lats = np.linspace(west, east, SAMPLES), np.linspace(south, north, SAMPLES)
            edge_lons = np.concatenate([lons, lons, np.full(SAMPLES, west), np.full(SAMPLES, east)])
            edge_lats = np.concatenate([np.full(SAMPLES, south), np.full(SAMPLES, north), lats, lats])
            edges[int(key)] = (box.bounds, edge_lons, edge_lats)
    return edges


def measure_distances(name: str, lon: float, lat: float) -> dict[int, float]:
    """Measure how far boxes are from a point, along their edges; 0 if they contain it."""
    distances = {}
    for key, ((west, south, east, north), lons, lats) in list_edges(name).items():
        is_inside = south <= lat <= north and (lon - west) % 360 <= east - west
        distances[key] = 0.0 if is_inside else float(np.min(compute_angular_distance(lons, lats, lon, lat)))
    return distances


@given(
    lon=st.integers(-3600, 7200),
    lat=st.integers(-900, 900),
    radius=st.one_of(st.integers(0, 300), st.integers(0, 1800)),
    name=st.sampled_from(["odd", "boxes", "stations"]),
)
def test_a_circle_finds_the_boxes_within_its_radius(site: Site, lon: int, lat: int, radius: int, name: str) -> None:
    """Samples of edges are at most a quarter of a degree apart, so the distance is known to 0.13 degrees."""
    found = find_ids(site, name, ("_near", f"{lon / 10 % 360},{lat / 10},{radius / 10}"))
    distances = measure_distances(name, lon / 10, lat / 10)
    surely = {key for key, distance in distances.items() if distance <= radius / 10 - 1e-7}
    perhaps = {key for key, distance in distances.items() if distance <= radius / 10 + 0.26}
    assert surely <= found <= perhaps


OFFSETS = st.lists(st.tuples(st.integers(-300, 300), st.integers(-250, 250)), min_size=3, max_size=3, unique=True)


@given(offsets=OFFSETS, lon=st.integers(0, 3600), lat=st.integers(-400, 400), name=st.sampled_from(["boxes", "odd"]))
def test_a_polygon_of_great_circles_finds_the_boxes_that_it_touches(
    site: Site, offsets: list[tuple[int, int]], lon: int, lat: int, name: str
) -> None:
    corners = [((lon + x) / 10, (lat + y) / 10) for x, y in offsets]
    lons, lats = (np.array(values) for values in zip(*corners, strict=True))
    fine = [follow_great_circle(lons, lats, side) for side in range(3)]
    outline = compute_continuous_longitudes(*(np.concatenate(part) for part in zip(*fine, strict=True)))
    polygon = shapely.Polygon(np.column_stack(outline))
    if not polygon.is_valid or polygon.area < 1:
        return
    text = " ".join(f"{x % 360:.4f} {y:.4f}" for x, y in corners)
    found = find_ids(site, name, ("_in", f"POLYGON {text}"))
    keys, boxes = list_boxes(name)
    smaller, larger = polygon.buffer(-0.05), polygon.buffer(0.05)
    shapely.prepare([smaller, larger])
    surely = set(keys[shapely.intersects(smaller, boxes)].tolist())
    perhaps = set(keys[shapely.intersects(larger, boxes)].tolist())
    assert surely <= found <= perhaps


def follow_great_circle(lons: np.ndarray, lats: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points along a side, without its end."""
    ends = [[np.radians(lons[number % 3]), np.radians(lats[number % 3])] for number in (side, side + 1)]
    begin, end = (np.array([np.cos(b) * np.cos(a), np.cos(b) * np.sin(a), np.sin(b)]) for a, b in ends)
    shares = np.linspace(0, 1, 400, endpoint=False)[:, None]
    points = begin * (1 - shares) + end * shares
    x, y, z = points.T
    return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "place", [("_near", "15,5,2"), ("_in", "CIRCLE 15 5 2"), ("_in", "POLYGON 14 4 16 4 16 6 14 6")]
)
def test_rows_without_an_outline_are_found_by_their_position(
    site: Site, runner: QueryRunner, kind: str, place: tuple[str, str]
) -> None:
    # a position on the sky goes before the outline
    wanted = {0, 2} if kind == "sky" else {0, 1, 2}
    assert find_ids(site, f"mixed_{kind}", place, runner=runner) == wanted
    assert find_ids(site, f"empty_{kind}", place, runner=runner) == {2}
    wanted = {0, 2, 4, 5} if kind == "sky" else {0, 1, 2, 3, 4, 5}
    assert find_ids(site, f"full_{kind}", place, runner=runner) == wanted
    if kind != "sky":
        assert find_ids(site, f"mixed_{kind}", place) == {0, 1, 2}, "also without statistics"


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_spare_columns_that_are_not_needed(runner: QueryRunner, kind: str) -> None:
    def list_columns(rows: str) -> tuple[tuple[str, ...], ...]:
        return list_used_place_columns(ROWS[f"{rows}_{kind}"][0], runner)

    position = ("c1min", "c2min", "c1max", "c2max") if kind == "box" else ("lon", "lat")
    if kind == "sky":
        assert list_columns("full") == list_columns("mixed") == (position, ("s_region",))
    else:
        assert list_columns("full") == (("s_region",),)
        assert list_columns("mixed") == (("s_region",), position)
    assert list_columns("empty") == (position,)


def test_an_index_finds_outlines_of_tables_whose_rows_have_points_too(runner: QueryRunner) -> None:
    """A condition beside OR would read the outlines of all rows: 2 s for 200,000 of them, and 10 ms with the index."""
    table = ROWS["mixed_bodyrc"][0]
    search = parse_search([("_near", "15,5,2")], table)
    assert "IN (SELECT" not in search.write_adql(), "other services have their own keys"
    adql = search.copy_with(place_columns=list_used_place_columns(table, runner)).write_adql()
    assert "id IN (SELECT id FROM a.mixed_bodyrc WHERE 1 = INTERSECTS(s_region," in " ".join(adql.split())
    full = ROWS["full_bodyrc"][0]
    full_search = parse_search([("_near", "15,5,2")], full)
    full_search = full_search.copy_with(place_columns=list_used_place_columns(full, runner))
    assert "SELECT id FROM" not in full_search.write_adql().partition("WHERE")[2]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_any_position_are_counted(runner: QueryRunner, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constant_columns, "COUNT_TIMEOUT_SECONDS", 60.0)
    counts = [count_rows_without_place(ROWS[f"{rows}_{kind}"][0], runner) for rows in ROW_SETS]
    assert counts == [2, 3, 0]


def test_the_form_says_how_many_rows_have_no_position(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constant_columns, "COUNT_TIMEOUT_SECONDS", 60.0)
    client = Client(create_and_start_application(site))
    assert "Rows without a position: 2" in client.get("/collections/a/mixed_bodyrc").text
    assert "Lignes sans position : 3" in client.get("/collections/a/empty_box", lang="fr").text
    page = client.get("/collections/a/full_earth", _near="15,5,2").text
    assert "Rows without a position" not in page
    assert 'name="_near" value="15.0,5.0"' in page


def test_a_point_finds_the_boxes_that_contain_it(site: Site) -> None:
    for text in ("355.5 2", "-4.5 2"):
        assert find_ids(site, "odd", ("_in", f"POINT {text}")) == {0, 3}


def test_discs_have_no_places_on_a_sphere() -> None:
    for place in (("_near", "1,2,3"), ("_in", "CIRCLE 1 2 3")):
        (fault,) = parse_search([place], DISC).faults
        assert fault.message == "this table has no positions"
    assert parse_search([("_near", "1,2,3")], SPOTS).faults == ()
