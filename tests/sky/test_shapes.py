"""Shapes: areas, insides, middles and mutual relations, against identities of the sphere, shapely in small fields, and sampling."""

import math

import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hven.model.sky import (
    Box,
    Circle,
    Moc,
    Point,
    Polygon,
    Range,
    ShapeUnion,
    are_shapes_intersecting,
    compute_angular_distance,
    has_shape_inside,
    polygon_arrays,
    sphere,
)
from offset_positions import compute_offset_position
from shared import EXAMPLES_FACTOR

LON = st.one_of(st.floats(0, 359.999), st.sampled_from([0.0, 180.0, 359.99999]))
LAT = st.one_of(st.floats(-90, 90), st.sampled_from([-90.0, 0.0, 90.0, 89.9999]))
SIZE = st.floats(-4, 1.8).map(lambda power: 10.0**power)
SPOKES = st.lists(
    st.tuples(st.integers(0, 35), st.floats(0.3, 1)), min_size=4, max_size=12, unique_by=lambda t: t[0]
).map(sorted)


@st.composite
def polygons(draw, size=SIZE):
    """A star-shaped polygon around a known point, its spokes less than half a turn apart."""
    lon, lat, radius, spokes = draw(LON), draw(LAT), draw(size), draw(SPOKES)
    assume(all((b[0] - a[0]) % 36 < 17 for a, b in zip(spokes, [*spokes[1:], spokes[0]], strict=True)))
    towards, part = np.array(spokes, dtype=float).T
    lons, lats = compute_offset_position(lon, lat, towards * 10, part * radius)
    if draw(st.booleans()):
        lons, lats = lons[::-1], lats[::-1]
    return Polygon(tuple(lons.tolist()), tuple(lats.tolist())), (lon, lat), radius


def sample(n=4000, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))


def test_octant_hemisphere_and_tiny_squares():
    octant = Polygon((0, 90, 0), (0, 0, 90))
    assert octant.compute_area() == pytest.approx(sphere.SKY_AREA_SQUARE_DEGREES / 8, rel=1e-14)
    assert octant.contains([45, 45, 135, 0, 90, 10], [35, -1, 35, 0, 0, 90]).tolist() == [
        True,
        False,
        False,
        True,
        True,
        True,
    ]
    assert Polygon((0, 90, 180, 270), (0, 0, 0, 0)).compute_area() == pytest.approx(
        sphere.SKY_AREA_SQUARE_DEGREES / 2, rel=1e-12
    )
    for lat in (0, 60, -89):
        side = 1e-4
        x = side / math.cos(math.radians(lat))
        tiny = Polygon((10, 10 + x, 10 + x, 10), (lat, lat, lat + side, lat + side))
        assert tiny.compute_area() == pytest.approx(side * side, rel=1e-4)


@given(polygons())
def test_polygon_holds_what_is_inside_and_nothing_outside(case):
    shape, (lon, lat), radius = case
    assert shape.contains(lon, lat)
    there = compute_offset_position(lon, lat, np.arange(0, 360, 20.0), np.full(18, radius * 1.001))
    assert not shape.contains(*there).any()
    assert shape.contains(shape.lons, shape.lats).all()
    assert not shape.contains((lon + 180) % 360, -lat)
    assert 0 < shape.compute_area() <= Circle(lon, lat, radius).compute_area()


@given(polygons(), st.integers(0, 11))
def test_vertices_may_begin_anywhere_and_run_either_way(case, turn):
    shape, _, _ = case
    turn %= len(shape.lons)
    rolled = Polygon(shape.lons[turn:] + shape.lons[:turn], shape.lats[turn:] + shape.lats[:turn])
    back = Polygon(shape.lons[::-1], shape.lats[::-1])
    lon, lat = sample(500)
    assert rolled.compute_area() == pytest.approx(shape.compute_area(), rel=1e-7)
    assert back.compute_area() == pytest.approx(shape.compute_area(), rel=1e-7)
    assert (shape.contains(lon, lat) == rolled.contains(lon, lat)).all()
    assert (shape.contains(lon, lat) == back.contains(lon, lat)).all()


@given(polygons(size=st.floats(5, 80)))
def test_dali_side_and_its_complement_make_the_sky(case):
    shape, _, _ = case
    one, two = (
        Polygon(lons, lats, side="dali")
        for lons, lats in ((shape.lons, shape.lats), (shape.lons[::-1], shape.lats[::-1]))
    )
    assert one.compute_area() + two.compute_area() == pytest.approx(sphere.SKY_AREA_SQUARE_DEGREES)
    assert min(one.compute_area(), two.compute_area()) == pytest.approx(shape.compute_area(), rel=1e-7)
    lon, lat = sample(500)
    assert (one.contains(lon, lat) ^ two.contains(lon, lat)).all()
    small = one if one.compute_area() < two.compute_area() else two
    assert (small.contains(lon, lat) == shape.contains(lon, lat)).all()


def test_dali_polygons_run_counter_clockwise_seen_from_the_origin():
    # north, east, south, west: east is left of north for somebody who looks up
    assert Polygon((0, 10, 0, 350), (10, 0, -10, 0), side="dali").compute_area() < sphere.SKY_AREA_SQUARE_DEGREES / 2
    assert Polygon((0, 350, 0, 10), (10, 0, -10, 0), side="dali").compute_area() > sphere.SKY_AREA_SQUARE_DEGREES / 2


@given(polygons(size=st.floats(1, 80)))
def test_area_and_middle_are_those_of_a_sample(case):
    shape, (lon, lat), radius = case
    rng = np.random.default_rng(3)
    n = 20_000
    # evenly over the cap around it
    part = np.degrees(2 * np.arcsin(np.sqrt(rng.uniform(0, 1, n)) * math.sin(math.radians(radius / 2))))
    lons, lats = compute_offset_position(lon, lat, rng.uniform(0, 360, n), part)
    inside = shape.contains(lons, lats)
    share = inside.mean()
    assert shape.compute_area() == pytest.approx(
        share * Circle(lon, lat, radius).compute_area(),
        abs=6 * math.sqrt(share * (1 - share) / n + 1e-9) * Circle(lon, lat, radius).compute_area(),
    )
    xyz = np.array(
        [
            np.cos(np.radians(lats)) * np.cos(np.radians(lons)),
            np.cos(np.radians(lats)) * np.sin(np.radians(lons)),
            np.sin(np.radians(lats)),
        ]
    )[:, inside]
    mean = xyz.mean(axis=1)
    middle = shape.compute_centroid()
    away = compute_angular_distance(
        middle.lon,
        middle.lat,
        math.degrees(math.atan2(mean[1], mean[0])),
        math.degrees(math.atan2(mean[2], math.hypot(mean[0], mean[1]))),
    )
    assert away < 8 * radius / math.sqrt(max(inside.sum(), 1))


@given(st.floats(0, 359), SPOKES, st.floats(-5, -1).map(lambda p: 10**p))
def test_small_fields_on_the_equator_are_planar(lon, spokes, size):
    towards, part = np.array(spokes, dtype=float).T
    x, y = size * part * np.sin(np.radians(towards * 10)), size * part * np.cos(np.radians(towards * 10))
    flat = shapely.Polygon(np.stack([x, y], axis=1))
    assume(flat.is_valid and flat.area > 0.01 * size * size)
    shape = Polygon(tuple((lon + x).tolist()), tuple(y.tolist()))
    # degrees of longitude keep 14 digits only
    assert shape.compute_area() == pytest.approx(flat.area, rel=1e-4 + 1e-11 / size)
    rng = np.random.default_rng(1)
    px, py = rng.uniform(-size, size, (2, 300))
    points = shapely.points(px, py)
    clear = shapely.distance(flat.boundary, points) > size * 1e-4 + 1e-12
    assert (shape.contains(lon + px, py) == shapely.contains(flat, points))[clear].all()
    middle = shape.compute_centroid()
    assert (
        compute_angular_distance(middle.lon, middle.lat, lon + flat.centroid.x, flat.centroid.y) < size * 1e-4 + 1e-12
    )


def test_polygons_over_poles_and_longitude_zero():
    cap = Polygon((0, 120, 240), (80, 80, 80))
    assert cap.contains([0, 77], [90, 89]).all()
    assert not cap.contains(60, 80)
    assert cap.compute_centroid().lat == pytest.approx(90)
    for size in (10.0, 1e-3):  # all but a triangle around the pole: its middle is the other one
        rest = max(
            (Polygon(lons, (90 - size,) * 3, side="dali") for lons in ((0, 120, 240), (0, 240, 120))),
            key=Polygon.compute_area,
        )
        assert rest.compute_centroid().lat == pytest.approx(-90)
    south = Polygon((0, 90, 180, 270), (-60, -60, -60, -60))
    assert south.contains(123, -90)
    assert not south.contains(123, 90)
    wedge = Polygon((350, 10, 10, 350), (-5, -5, 5, 5))
    assert wedge.contains([0, 359, 1, 180], [0, 0, 0, 0]).tolist() == [True, True, True, False]
    pole_vertex = Polygon((0, 90, 45), (70, 70, 90))
    assert pole_vertex.contains([45, 45, 225], [80, 60, 80]).tolist() == [True, False, False]
    same = Polygon((0, 90, 211), (70, 70, 90))
    assert same.compute_area() == pytest.approx(pole_vertex.compute_area())


def test_concave_polygons_leave_their_bays_out():
    shape = Polygon((0, 10, 10, 5, 0), (0, 0, 10, 2, 10))
    assert shape.contains([5, 1, 9, 5], [1, 5, 5, 5]).tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("lons", "lats", "why"),
    [
        ((1, 2), (1, 2), "three"),
        ((0, 180, 90), (0, 0, 50), "antipodes"),
        ((0, 1, 2), (0, 91, 0), "91"),
        ((0, float("nan"), 1), (0, 0, 1), "nan"),
        ((0, 1, 2, 3), (0, 1, 2), "three"),
    ],
)
def test_what_is_no_polygon_is_refused(lons, lats, why):
    with pytest.raises(ValueError, match=why):
        Polygon(lons, lats)


def test_repeated_vertices_and_flat_polygons_do_no_harm():
    closed = Polygon((0, 10, 10, 0, 0), (0, 0, 10, 10, 0))
    assert closed.compute_area() == pytest.approx(Polygon((0, 10, 10, 0), (0, 0, 10, 10)).compute_area())
    assert closed.contains(5, 5)
    flat = Polygon((0, 1, 2), (0, 0, 0))
    assert flat.compute_area() == pytest.approx(0, abs=1e-12)
    assert flat.contains(1.5, 0)
    assert not flat.contains([1.5, 50], [1, 20]).any()
    assert len(flat.cover_with_cells(10))


# --- boxes and ranges ---------------------------------------------------------------------------------------


@given(LON, st.floats(-89, 89), st.floats(0.001, 170), st.floats(0.001, 170))
def test_box_has_its_arms(lon, lat, width, height):
    box = Box(lon, lat, width, height)
    assert box.contains(lon, lat)
    for towards, arm in ((0, height / 2), (180, height / 2), (90, width / 2), (270, width / 2)):
        assert box.contains(*compute_offset_position(lon, lat, towards, arm * (1 - 1e-9)))
        assert not box.contains(*compute_offset_position(lon, lat, towards, min(arm * (1 + 1e-6) + 1e-9, 179)))


@pytest.mark.parametrize("sizes", [(0, 1), (1, 0), (180, 1), (1, 200), (-1, 1), (float("nan"), 1)])
def test_impossible_boxes_are_refused(sizes):
    with pytest.raises(ValueError, match="of the box"):
        Box(0, 0, *sizes)


def test_ranges_wrap_and_reach_the_poles():
    wrapped = Range(350, 10, -5, 5)
    assert wrapped.contains([0, 355, 10, 349, 0], [0, 5, -5, 0, 6]).tolist() == [True, True, True, False, False]
    assert wrapped.compute_area() == pytest.approx(Range(0, 20, -5, 5).compute_area())
    assert Range(0, 360, -90, 90).compute_area() == pytest.approx(sphere.SKY_AREA_SQUARE_DEGREES)
    assert Range(10, 20, 80, 90).contains(123, 90)
    assert Range(-math.inf, math.inf, 0, math.inf).contains([0, 200], [90, 10]).all()
    with pytest.raises(ValueError, match="north of its end"):
        Range(0, 1, 5, 4)


@given(LON, LON, LAT, LAT)
def test_area_of_a_range_is_that_of_a_sample(lon1, lon2, lat1, lat2):
    shape = Range(lon1, lon2, min(lat1, lat2), max(lat1, lat2))
    lon, lat = sample(20_000)
    share = shape.contains(lon, lat).mean()
    assert shape.compute_area() == pytest.approx(
        share * sphere.SKY_AREA_SQUARE_DEGREES,
        abs=6 * sphere.SKY_AREA_SQUARE_DEGREES * math.sqrt((share * (1 - share) + 1e-4) / 20_000),
    )


def test_regions_add_up():
    apart = ShapeUnion((Circle(0, 0, 1), Circle(90, 0, 2)))
    assert apart.compute_area() == pytest.approx(Circle(0, 0, 1).compute_area() + Circle(0, 0, 2).compute_area())
    assert apart.contains([0, 90, 45], [0, 1, 0]).tolist() == [True, True, False]
    same = ShapeUnion((Circle(0, 0, 1), Circle(0, 0, 1)))
    assert same.compute_area() == pytest.approx(Circle(0, 0, 1).compute_area(), rel=0.02)
    with pytest.raises(ValueError, match="at least one"):
        ShapeUnion(())


def test_a_moc_of_a_shape_holds_it():
    moc = Moc.parse(str(Moc(Circle(10, 20, 3).cover_with_cells(8), 8)))
    lon, lat = sample(20_000)
    assert moc.contains(lon, lat)[Circle(10, 20, 3).contains(lon, lat)].all()


# --- relations ----------------------------------------------------------------------------------------------

SHAPES = st.one_of(
    st.builds(Circle, LON, LAT, st.floats(0.5, 120)),
    polygons(size=st.floats(2, 80)).map(lambda case: case[0]),
    st.builds(
        lambda a, w, b, h: Range(a, (a + w) % 360, b, min(b + h, 90.0)),
        LON,
        st.floats(1, 300),
        st.floats(-90, 80),
        st.floats(1, 60),
    ),
)
GRID = sample(3000, seed=9)


@settings(max_examples=300 * EXAMPLES_FACTOR)
@given(SHAPES, SHAPES)
def test_relations_agree_with_a_sample_of_positions(a, b):
    in_a, in_b = a.contains(*GRID), b.contains(*GRID)
    if (in_a & in_b).any():
        assert are_shapes_intersecting(a, b)
        assert are_shapes_intersecting(b, a)
    if (in_b & ~in_a).any():
        assert not has_shape_inside(a, b)
    if has_shape_inside(a, b):
        assert are_shapes_intersecting(a, b)
        assert a.compute_area() >= b.compute_area() * (1 - 1e-9)
    # if a fine cover of one does not meet that of the other, they do not touch
    from hven.model.sky import healpix

    if not len(healpix.intersect_ranges(a.cover_with_cells(6), b.cover_with_cells(6))):
        assert not are_shapes_intersecting(a, b)


@settings(max_examples=200 * EXAMPLES_FACTOR)
@given(SHAPES)
def test_every_shape_holds_and_touches_itself_and_its_small_insides(shape):
    assert are_shapes_intersecting(shape, shape)
    assert has_shape_inside(shape, shape)
    lon, lat = (values[shape.contains(*GRID)][:5] for values in GRID)
    for x, y in zip(lon.tolist(), lat.tolist(), strict=True):
        assert has_shape_inside(shape, Point(x, y))
        assert are_shapes_intersecting(shape, Circle(x, y, 1e-6))
        if (
            shape.contains(*compute_offset_position(x, y, np.arange(0, 360, 10.0), np.full(36, 0.2))).all()
            and shape.contains(*compute_offset_position(x, y, np.arange(0, 360, 10.0), np.full(36, 0.1))).all()
        ):
            assert has_shape_inside(shape, Circle(x, y, 0.05))
            assert has_shape_inside(shape, Box(x, y, 0.02, 0.02)) or abs(y) > 89
    assert has_shape_inside(Circle(0, 0, 180), shape)


@given(LON, LAT, st.floats(0.1, 89), LON, LAT, st.floats(0.1, 89))
def test_circles_touch_by_distance(lon1, lat1, radius1, lon2, lat2, radius2):
    away = float(compute_angular_distance(lon1, lat1, lon2, lat2))
    a, b = Circle(lon1, lat1, radius1), Circle(lon2, lat2, radius2)
    assume(abs(away - radius1 - radius2) > 1e-9)
    assume(abs(away + radius2 - radius1) > 1e-9)
    assert are_shapes_intersecting(a, b) == (away < radius1 + radius2)
    assert has_shape_inside(a, b) == (away + radius2 < radius1)
    assert polygon_arrays.circles_intersect(lon1, lat1, radius1, lon2, lat2, radius2) == are_shapes_intersecting(a, b)
    assert polygon_arrays.is_circle_in_circle(lon2, lat2, radius2, lon1, lat1, radius1) == has_shape_inside(a, b)


def test_crossing_bars_touch_without_a_vertex_inside_each_other():
    flat, tall = Polygon((-10 % 360, 10, 10, 350), (-1, -1, 1, 1)), Polygon((359, 1, 1, 359), (-10, -10, 10, 10))
    assert are_shapes_intersecting(flat, tall)
    assert not has_shape_inside(flat, tall)
    assert are_shapes_intersecting(Range(350, 10, -1, 1), tall)
    assert are_shapes_intersecting(flat, Range(359, 1, -10, 10))
    assert are_shapes_intersecting(Circle(0, 0, 0.1), tall)
    assert not are_shapes_intersecting(Polygon((20, 30, 30), (0, 0, 5)), flat)


def test_great_circle_edges_bulge_out_of_parallels():
    edge = Polygon((0, 90, 90, 0), (50, 50, 45, 45))
    bulge = Range(40, 50, 55, 58)
    assert are_shapes_intersecting(edge, bulge)
    assert not are_shapes_intersecting(edge, Range(0, 5, 55, 58))


# --- columns ------------------------------------------------------------------------------------------------


def _arrow(shapes):
    rows = [np.stack([shape.lons, shape.lats], axis=1).ravel() for shape in shapes]
    return np.concatenate([[0], np.cumsum([len(row) for row in rows])]), np.concatenate(rows)


MANY = st.lists(polygons(size=st.floats(0.01, 70)).map(lambda case: case[0]), min_size=1, max_size=8)


@settings(max_examples=150 * EXAMPLES_FACTOR)
@given(MANY, st.data())
def test_columns_of_polygons_answer_as_single_ones_do(shapes, data):
    offsets, numbers = _arrow(shapes)
    n = len(shapes)
    lon, lat = np.array(data.draw(st.lists(st.tuples(LON, LAT), min_size=n, max_size=n))).T
    near = [compute_offset_position(shape.lons[0], shape.lats[0], 33.0 * i, 0.5) for i, shape in enumerate(shapes)]
    for x, y in ((lon, lat), (np.array([float(p[0]) for p in near]), np.array([float(p[1]) for p in near]))):
        assert polygon_arrays.is_point_in_polygon(x, y, offsets, numbers).tolist() == [
            bool(shape.contains(a, b)) for shape, a, b in zip(shapes, x, y, strict=True)
        ]
        radius = data.draw(st.floats(0.01, 120))
        circles = [Circle(a, b, radius) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
        pairs = list(zip(shapes, circles, strict=True))
        assert polygon_arrays.circle_intersects_polygon(x, y, radius, offsets, numbers).tolist() == [
            are_shapes_intersecting(c, s) for s, c in pairs
        ]
        assert polygon_arrays.is_circle_in_polygon(x, y, radius, offsets, numbers).tolist() == [
            has_shape_inside(s, c) for s, c in pairs
        ]
        assert polygon_arrays.is_polygon_in_circle(offsets, numbers, x, y, radius).tolist() == [
            has_shape_inside(c, s) for s, c in pairs
        ]
    assert polygon_arrays.compute_polygon_areas(offsets, numbers) == pytest.approx(
        [shape.compute_area() for shape in shapes], rel=1e-12
    )
    middles = polygon_arrays.compute_polygon_centroids(offsets, numbers)
    assert compute_angular_distance(
        *middles, [s.compute_centroid().lon for s in shapes], [s.compute_centroid().lat for s in shapes]
    ) == pytest.approx(0, abs=1e-12)


@settings(max_examples=150 * EXAMPLES_FACTOR)
@given(MANY, MANY)
def test_columns_of_pairs_of_polygons(one, two):
    n = min(len(one), len(two))
    one, two = one[:n], two[:n]
    a, b = _arrow(one), _arrow(two)
    assert polygon_arrays.polygons_intersect(*a, *b).tolist() == [
        are_shapes_intersecting(x, y) for x, y in zip(one, two, strict=True)
    ]
    assert polygon_arrays.is_polygon_in_polygon(*a, *b).tolist() == [
        has_shape_inside(y, x) for x, y in zip(one, two, strict=True)
    ]
    first = _arrow(one[:1])
    assert polygon_arrays.polygons_intersect(*first, *b).tolist() == [are_shapes_intersecting(one[0], y) for y in two]
    assert polygon_arrays.is_polygon_in_polygon(*a, *_arrow(two[:1])).tolist() == [
        has_shape_inside(two[0], x) for x in one
    ]


def test_constant_polygons_and_bad_rows():
    square = [0.0, 0.0, 10.0, 0.0, 10.0, 10.0, 0.0, 10.0]
    offsets, numbers = np.arange(6) * 8, np.tile(square, 5)
    lon, lat = np.array([5.0, 20.0, 5.0, np.nan, 0.0]), np.array([5.0, 5.0, 11.0, 5.0, 0.0])
    assert polygon_arrays.is_point_in_polygon(lon, lat, offsets, numbers).tolist() == [True, False, False, False, True]
    assert polygon_arrays.is_point_in_polygon(lon, lat, [0, 8], square).tolist() == [True, False, False, False, True]
    bad_offsets = np.array([0, 8, 8, 13, 19, 25])
    bad_numbers = np.array([*square, 1, 2, 3, 4, 5, 0, 0, 10, 0, np.nan, 10, 0, 0, 10, 0, 5, 99])
    assert polygon_arrays.is_point_in_polygon(np.full(5, 5.0), np.full(5, 5.0), bad_offsets, bad_numbers).tolist() == [
        True,
        False,
        False,
        False,
        False,
    ]
    assert np.isnan(polygon_arrays.compute_polygon_areas(bad_offsets, bad_numbers)).tolist() == [
        False,
        True,
        True,
        True,
        True,
    ]
    assert polygon_arrays.is_point_in_polygon([1.0], [1.0], [0, 0], []).tolist() == [False]
    assert polygon_arrays.is_point_in_polygon(np.array([]), np.array([]), [0, 8], square).tolist() == []
    assert polygon_arrays.polygons_intersect([0, 8], square, bad_offsets, bad_numbers).tolist() == [
        True,
        False,
        False,
        False,
        False,
    ]


def test_a_polygon_that_cuts_itself_holds_nothing_far_away():
    tie = Polygon((0, 10, 0, 10), (0, 10, 10, 0))
    lon, lat = sample(2000)
    inside = tie.contains(lon, lat)
    assert not inside[(lon > 11) | (np.abs(lat) > 11)].any()
    assert tie.contains([5, 5], [9, 1]).all()
    assert not tie.contains([1, 9], [5, 5]).any()


def test_a_range_that_is_a_pole_is_covered():
    from hven.model.sky import healpix

    for shape in (Range(1e-53, 0, 90, 90), Range(0, 0, -90, -90), Range(10, 20, 90, 90)):
        lon, lat = np.array([0.0, 100.0, 200.0, 300.0]), np.full(4, shape.lat1)
        assert shape.contains(lon, lat).all()
        assert healpix.is_in_ranges(shape.cover_with_cells(5), healpix.compute_cell_indexes(29, lon, lat)).all()


def test_points_near_a_boundary_are_those_that_its_arcs_tell():
    rng = np.random.default_rng(2)
    for count, size in ((3, 120.0), (9, 80.0), (200, 30.0), (200, 1.0)):
        turn = np.sort(rng.uniform(0, 360, count))
        lon, lat = compute_offset_position(
            rng.uniform(0, 360), rng.uniform(-90, 90), turn, size * rng.uniform(0.3, 1.0, count)
        )
        ring = Polygon(tuple(lon.tolist()), tuple(lat.tolist())).ring
        points = rng.uniform(0, 360, 800), np.degrees(np.arcsin(rng.uniform(-1, 1, 800)))
        gap = sphere.compute_arc_distances(
            sphere.to_unit_vectors(*points)[:, None], ring.edge_begin_vectors, ring.edge_end_vectors, ring.edge_normals
        ).min(axis=1)
        for reach in (0.5, 7.0, 40.0):
            assert (ring.is_near_boundary(*points, reach) == (gap <= reach)).all()
