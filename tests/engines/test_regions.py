"""Regions in columns: the position index changes nothing but time, for every way of writing a region and of asking for it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from engine_tables import plan_query, run_with_and_without_indexes, sort_rows, stage_table
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hven.engines._query_analysis.shape_parsing import parse_shape
from hven.engines._region_cells import cover_regions_with_cells_and_caps, create_full_sky_caps
from hven.engines.duckdb.position_pairs import find_possibly_touching_pairs
from hven.engines.duckdb.region_index import RegionIndex
from hven.model.sky import Circle, Moc, are_shapes_intersecting, healpix, polygon_arrays, sphere
from hven.model.table import Column, Table
from hven.model.types import INT64, parse_type
from mocs import cover_positions
from offset_positions import compute_offset_position
from shared import EXAMPLES_FACTOR

FIELDS = Table(
    schema="sky",
    name="fields",
    columns=(
        Column(name="id", type=INT64),
        Column(name="s_region", type=parse_type("string:adql:REGION")),
        Column(name="ring", type=parse_type("circle")),
    ),
    primary=("id",),
)
FORMS = ("Circle ICRS {c} {r}", "circle {c} {r}", "Polygon UNKNOWNFrame {p}", "polygon {p}", "circle {c} {r} polygon {p}", "Box ICRS {c} 2 1",
         "Union ICRS (Circle {c} {r} Circle {d} {r})", "  POLYGON  FK5  GEOCENTER {p} ")  # fmt: skip
ODD = ("nonsense", "Circle ICRS 1 2", "Polygon ICRS 10 0 20 95 30 0", "AllSky ICRS", "range 350 360 -10 10", "4/1-20 5/900", "circle 10 20 120",
       "polygon 0 -80 120 -80 240 -80", "polygon 0 0 90 0 180 10 270 -10", "Circle ICRS 0 90 0", "circle 359.9999 0 +0.5", "")  # fmt: skip


def regions(rows: int) -> tuple[list[str | None], list[list[float] | None]]:
    rng = np.random.default_rng(7)
    lon, lat = rng.uniform(0, 360, rows), np.degrees(np.arcsin(rng.uniform(-1, 1, rows)))
    lat[::9] = rng.choice([90.0, -90.0, 89.7, -89.9], len(lat[::9]))
    lon[::7] = rng.choice([0.0, 359.95, 0.01, 360.0], len(lon[::7]))
    size = 10.0 ** rng.uniform(-4, 1.6, rows)
    texts: list[str | None] = []
    for number in range(rows):
        x, y, r = float(lon[number]), float(lat[number]), float(size[number])
        low, high = max(y - r, -90.0), min(y + r, 90.0)
        polygon = f"{x} {low} {(x + 1.2 * r) % 360} {y} {x} {high}"
        texts.append(FORMS[number % len(FORMS)].format(c=f"{x} {y}", d=f"{(x + 40) % 360} {y / 2}", r=r, p=polygon))
    for at, text in enumerate(ODD):
        texts[3 + 11 * at] = text
    texts[5] = None
    rings = [
        None if number % 13 == 0 else [float(lon[number]), float(lat[number]), float(size[number])]
        for number in range(rows)
    ]
    return texts, rings


TEXTS, RINGS = regions(140)
SHAPES = [None if text is None else parse_shape(text) for text in TEXTS]


@pytest.fixture(scope="module")
def relation(engine):
    rows = pa.table(
        {
            "id": pa.array(range(len(TEXTS))),
            "s_region": TEXTS,
            "ring": pa.array(RINGS, FIELDS.find_column("ring").type.arrow),
        }
    )
    return {"sky.fields": stage_table(engine, FIELDS, rows.cast(FIELDS.arrow_schema))}


def select_by_condition(engine, relation, condition: str) -> set[int]:
    """Ask with and without indexes; both must give the same rows."""
    found, without = run_with_and_without_indexes(
        engine, f"SELECT id FROM sky.fields WHERE {condition}", relation, (FIELDS,)
    )
    assert sort_rows(found) == sort_rows(without)
    return {row[0] for row in found}


lons = st.one_of(st.sampled_from([0.0, 359.99999, 180.0]), st.floats(0, 360))
lats = st.one_of(st.sampled_from([90.0, -90.0, 0.0]), st.floats(-90, 90))
radii = st.one_of(st.sampled_from([0.0, 1e-6, 0.5, 60.0, 179.0]), st.floats(0, 30))
quick = settings(
    max_examples=4 * EXAMPLES_FACTOR,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@quick
@given(lon=lons, lat=lats)
def test_a_point_finds_its_regions_as_brute_force_does(engine, relation, lon, lat):
    found = select_by_condition(engine, relation, f"CONTAINS(POINT({lon!r}, {lat!r}), s_region) = 1")
    assert found == {
        number
        for number, shape in enumerate(SHAPES)
        if shape is not None and bool(shape.contains(np.array([lon]), np.array([lat]))[0])
    }


@quick
@given(lon=lons, lat=lats, radius=radii, turned=st.booleans())
def test_a_circle_finds_the_regions_that_it_meets_as_brute_force_does(engine, relation, lon, lat, radius, turned):
    circle = Circle(lon, lat, radius)
    text = f"CIRCLE({lon!r}, {lat!r}, {radius!r})"
    found = select_by_condition(
        engine, relation, f"INTERSECTS({text}, s_region) = 1" if turned else f"1 = INTERSECTS(s_region, {text})"
    )
    plain = {number: shape for number, shape in enumerate(SHAPES) if shape is not None and not isinstance(shape, Moc)}
    assert found & plain.keys() == {number for number, shape in plain.items() if are_shapes_intersecting(shape, circle)}


@settings(quick, max_examples=2 * EXAMPLES_FACTOR)
@given(lon=lons, lat=lats, radius=st.floats(0.01, 30))
def test_every_way_of_asking_gives_what_a_look_at_all_rows_gives(engine, relation, lon, lat, radius):
    low, high = max(lat - radius, -89.0), min(lat + radius, 89.0)
    polygon = f"POLYGON({lon!r}, {low!r}, {(lon + radius) % 360!r}, {(low + high) / 2!r}, {lon!r}, {high!r})"
    circle = f"CIRCLE({lon!r}, {lat!r}, {radius!r})"
    select_by_condition(engine, relation, f"INTERSECTS({polygon}, s_region) = 1")
    select_by_condition(engine, relation, f"CONTAINS(s_region, {circle}) = 1")
    select_by_condition(engine, relation, f"CONTAINS({polygon}, ring) = 1 OR INTERSECTS(ring, {circle}) = 1")
    select_by_condition(engine, relation, f"CONTAINS(POINT({lon!r}, {lat!r}), ring) = 1 AND id > 20")
    select_by_condition(engine, relation, f"CONTAINS(POINT({lon!r}, {lat!r}), s_region) = 0")


def test_a_moc_in_the_column_is_always_looked_at(engine, relation):
    index = engine.open_snapshot(relation["sky.fields"]).get_region_index("s_region")
    mocs = {number for number, shape in enumerate(SHAPES) if isinstance(shape, Moc)}
    assert mocs
    assert mocs <= set(index.find_possibly_touching_rows(Circle(200.0, -50.0, 0.1), 10_000).tolist())


@st.composite
def mocs(draw) -> str:
    """Cells near a region of the table, so that borders are met, or anywhere; of one order or of two."""
    parts = []
    for _ in range(draw(st.integers(1, 2))):
        order = draw(st.sampled_from([0, 1, 3, 6, 9, 14, 22, 29]))
        ring = draw(st.sampled_from([ring for ring in RINGS if ring is not None]))
        angle = draw(st.floats(0, 6.28))
        size = ring[2] * draw(st.sampled_from([0.0, 0.99, 1.0, 1.01, 1.1]))
        lat = max(-90.0, min(90.0, ring[1] + size * np.sin(angle)))
        cell = int(
            healpix.compute_cell_indexes(
                order, [(ring[0] + size * np.cos(angle) / max(np.cos(np.radians(lat)), 0.01)) % 360.0], [lat]
            )[0]
        )
        parts.append(f"{order}/{max(cell - draw(st.integers(0, 3)), 0)}-{cell}")
    return " ".join(parts)


@settings(quick, max_examples=12 * EXAMPLES_FACTOR)
@given(moc=mocs())
@example(moc="0/0-11")
@example(moc="5/")
@example(moc="6/40992-40992")  # beside an arc through a pole
def test_a_moc_finds_its_regions_as_a_look_at_all_rows_does(engine, relation, moc):
    found = select_by_condition(engine, relation, f"INTERSECTS(s_region, MOC('{moc}')) = 1")
    assert found >= select_by_condition(engine, relation, f"1 = CONTAINS(s_region, MOC('{moc}'))")
    inside = select_by_condition(engine, relation, f"INTERSECTS(ring, MOC('{moc}')) = 1")
    known = Moc.parse(moc)
    cells = Moc(known.ranges, 29)
    middle = {
        number for number, ring in enumerate(RINGS) if ring is not None and bool(cells.contains(ring[0], ring[1]))
    }
    assert middle <= inside


def test_a_moc_looks_at_few_rows(engine, relation):
    index = engine.open_snapshot(relation["sky.fields"]).get_region_index("ring")
    small = index.find_possibly_touching_rows(cover_positions([RINGS[1][0]], [RINGS[1][1]], 12), 10_000)
    assert 1 in small.tolist()
    assert len(small) < len(RINGS) / 2
    assert index.find_possibly_touching_rows(Moc.parse("0/0-11"), 20) is None
    _, prepared = plan_query(
        engine, "SELECT id FROM sky.fields WHERE INTERSECTS(s_region, MOC('6/7-9')) = 1", (FIELDS,)
    )
    assert "position index of the regions in s_region (moc)" in prepared.explain()


def test_explain_names_the_index(engine):
    _, prepared = plan_query(engine, "SELECT id FROM sky.fields WHERE CONTAINS(POINT(10, 20), s_region) = 1", (FIELDS,))
    assert "position index of the regions in s_region (point)" in prepared.explain()


@pytest.mark.parametrize(
    "shape", ["POINT(10, 20)", "CIRCLE(10, 20, 3)", "POLYGON(9, 19, 12, 19, 11, 22)", "BOX(10, 20, 2, 3)"]
)
@pytest.mark.parametrize("column", ["ring", "s_region"])
@pytest.mark.parametrize(
    "form", ["INTERSECTS({0}, {1})", "INTERSECTS({1}, {0})", "CONTAINS({0}, {1})", "CONTAINS({1}, {0})"]
)
def test_shapes_of_constants_need_no_duckdb(engine, relation, shape, column, form):
    condition = f"1 = {form.format(column, shape)}"
    _, prepared = plan_query(engine, f"SELECT id FROM sky.fields WHERE {condition}", (FIELDS,))
    assert prepared._arrow_query is not None
    assert select_by_condition(engine, relation, f"{condition} OR id < 9") >= select_by_condition(
        engine, relation, condition
    )
    assert select_by_condition(engine, relation, f"NOT ({condition}) AND id < 99").isdisjoint(
        select_by_condition(engine, relation, condition)
    )


def test_few_regions_are_looked_at(engine, relation):
    _, prepared = plan_query(
        engine, "SELECT id FROM sky.fields WHERE INTERSECTS(ring, CIRCLE(10, 20, 0.1)) = 1", (FIELDS,)
    )
    stored = engine.open_snapshot(relation["sky.fields"])
    index = stored.get_region_index("ring")
    rows = index.find_possibly_touching_rows(Circle(10.0, 20.0, 0.1), 10_000)
    meeting = {
        number
        for number, ring in enumerate(RINGS)
        if ring is not None and are_shapes_intersecting(Circle(*ring), Circle(10.0, 20.0, 0.1))
    }
    assert meeting <= set(rows.tolist())
    assert len(rows) < len(RINGS) / 3
    assert index.find_possibly_touching_rows(Circle(10.0, 20.0, 170.0), 10) is None
    assert "ring" in prepared.explain()


def strips(number: int, aspect: float = 1e-4):
    """Make push-broom strips, some along great circles and some along small ones: a function of shares along and across (-1 to 1)."""
    rng = np.random.default_rng(18)
    turn, _ = np.linalg.qr(rng.normal(size=(number, 3, 3)))
    length = np.radians(10.0 ** rng.uniform(0.7, 2.0, number))
    height = np.where(np.arange(number) % 2 == 0, 0.0, np.radians(rng.uniform(20, 70, number)))

    def place_corners(along, across):
        lat = height[:, None] + across * (length * aspect / 2)[:, None]
        lon = along * (length / np.cos(height))[:, None]
        flat = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
        return np.einsum("nij,nkj->nki", turn, flat)

    return place_corners


def test_narrow_regions_have_narrow_covers():
    number = 120
    at = strips(number)
    steps = np.linspace(0, 1, 60)
    corners = at(np.concatenate([steps, steps[::-1]])[None], np.repeat([-1.0, 1.0], 60)[None])
    lon, lat = sphere.to_lon_lat(corners)
    column = pa.array(np.stack([lon, lat], axis=2).reshape(number, -1).tolist(), pa.list_(pa.float64()))
    found = list(cover_regions_with_cells_and_caps(column, create_full_sky_caps(number)))
    rows, cells = (np.concatenate(part) for part in zip(*found, strict=True))
    many = np.bincount(rows, minlength=number)
    assert many.min() >= 1
    assert many.max() <= 2000
    index = RegionIndex.from_cells(np.sort(cells), rows[np.argsort(cells)].astype(np.int32))
    # what is inside is found ..
    rng = np.random.default_rng(2)
    x, y = sphere.to_lon_lat(at(rng.uniform(0, 1, (number, 40)), rng.uniform(-1, 1, (number, 40))))
    owner, row = find_possibly_touching_pairs(index, (x.ravel(), y.ravel(), np.zeros(x.size)))
    inside = polygon_arrays.is_point_in_polygon(
        x.ravel(), y.ravel(), *_repeat_numbers(np.stack([lon, lat], axis=2).reshape(number, -1), x.shape[1])
    )
    pairs = set(zip(owner.tolist(), row.tolist(), strict=True))
    assert inside.mean() > 0.9
    assert all((one, one // x.shape[1]) in pairs for one in np.flatnonzero(inside).tolist())
    # .. and what is anywhere else is not, nearly: circles around them find a tenth of all
    x, y = rng.uniform(0, 360, 2000), np.degrees(np.arcsin(rng.uniform(-1, 1, 2000)))
    owner, _ = find_possibly_touching_pairs(index, (x, y, np.zeros(2000)))
    assert len(owner) < 0.01 * number * 2000


def _repeat_numbers(numbers, times):
    whole = np.repeat(numbers, times, axis=0)
    return np.arange(len(whole) + 1) * whole.shape[1], whole.ravel()


def test_narrow_regions_that_cross_themselves_are_within_their_cells():
    rng = np.random.default_rng(3)
    found = 0
    for _ in range(60):
        lon, lat = rng.uniform(0, 40, 4), rng.uniform(-0.3, 0.3, 4)
        numbers = np.stack([lon, lat], axis=1).ravel()
        parts = list(cover_regions_with_cells_and_caps(pa.array([numbers.tolist()]), create_full_sky_caps(1)))
        cells = np.concatenate([cells for _, cells in parts])
        index = RegionIndex.from_cells(np.sort(cells), np.zeros(len(cells), np.int32))
        x, y = rng.uniform(0, 40, 500), rng.uniform(-0.3, 0.3, 500)
        inside = np.flatnonzero(polygon_arrays.is_point_in_polygon(x, y, np.array([0, 8]), numbers))
        owner, _ = find_possibly_touching_pairs(index, (x, y, np.zeros(500)))
        assert set(inside.tolist()) <= set(owner.tolist())
        found += len(inside)
    assert found > 1000


def test_polygons_of_half_the_sphere_are_in_the_cells_of_all_their_points():
    """They reach farther than 60 degrees: with few corners and many, wound about themselves, over poles, and as narrow strips."""
    rng = np.random.default_rng(9)
    x, y = rng.uniform(0, 360, 1500), np.degrees(np.arcsin(rng.uniform(-1, 1, 1500)))
    wide = tested = 0
    for number in range(120):
        turn = np.sort(rng.uniform(0, 360, rng.choice([3, 5, 40, 900])))
        far = rng.uniform(40, 120, len(turn)) if number % 3 else 85 + 30 * np.sin(np.radians(3 * turn))
        if number % 4 == 0:  # there and back, the way back a degree beside
            far = np.concatenate([np.linspace(0, 150, 9), np.linspace(150, 5, 9)])
            turn = np.repeat([40.0, 41.0], 9)
        lon, lat = compute_offset_position(rng.uniform(0, 360), rng.uniform(-90, 90), turn, far)
        corners, ends = np.stack([lon, lat], axis=1).ravel(), np.array([0, 2 * len(lon)])
        wide += polygon_arrays.compute_bounding_circles_and_thinness(ends, corners)[2][0] > 60.0
        found = np.concatenate(
            [
                cells
                for _, cells in cover_regions_with_cells_and_caps(pa.array([corners.tolist()]), create_full_sky_caps(1))
            ]
        )
        assert len(found) <= 2000
        index = RegionIndex.from_cells(np.sort(found), np.zeros(len(found), np.int32))
        inside = polygon_arrays.is_point_in_polygon(x, y, ends, corners)
        a, b = np.append(x[inside], lon), np.append(y[inside], lat)
        assert len(set(find_possibly_touching_pairs(index, (a, b, np.zeros(len(a))))[0].tolist())) == len(a)
        tested += inside.sum()
    assert wide > 90
    assert tested > 20_000
