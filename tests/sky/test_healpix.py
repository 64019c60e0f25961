"""HEALPix indexes and covers, against the IVOA's own examples, cdshealpix's public interface and mocpy."""

import cdshealpix
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import Latitude, Longitude
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mocpy import MOC

from hven.model.sky import Circle, Polygon, Range, healpix, sphere
from offset_positions import compute_offset_position
from shared import EXAMPLES_FACTOR

LON, LAT = (
    st.one_of(st.floats(0, 359.999999), st.just(0.0)),
    st.one_of(st.floats(-90, 90), st.sampled_from([-90.0, 90.0, 41.8103148957786])),
)


@pytest.mark.parametrize(
    ("order", "lon", "lat", "cell"), [(0, 1, 1, 4), (17, 1, 1, 81609757711), (17, 359, -1, 73009064944)]
)
def test_ivo_healpix_index_examples(order, lon, lat, cell):
    assert healpix.compute_cell_indexes(order, lon, lat).tolist() == [cell]


@given(st.integers(0, 29), st.lists(st.tuples(LON, LAT), min_size=1, max_size=20))
def test_index_is_that_of_the_public_interface(order, points):
    lon, lat = np.array(points).T
    theirs = cdshealpix.lonlat_to_healpix(Longitude(lon * u.deg), Latitude(lat * u.deg), order)
    assert healpix.compute_cell_indexes(order, lon, lat).tolist() == theirs.astype(np.int64).tolist()
    back = healpix.compute_cell_centers(order, healpix.compute_cell_indexes(order, lon, lat))
    assert healpix.compute_cell_indexes(order, *back).tolist() == theirs.tolist()


@given(st.integers(0, 29), st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20))
def test_centres_of_few_cells_are_those_of_many(order, places):
    cells = np.minimum((np.array(places) * (12 << 2 * order)).astype(np.int64), (12 << 2 * order) - 1)
    lon, lat = healpix.compute_cell_centers(order, cells)
    few_lon, few_lat = healpix.compute_few_cell_centers(order, cells)
    assert np.abs(few_lat - lat).max() < 1e-12
    assert (np.abs((few_lon - lon + 180.0) % 360.0 - 180.0) * np.cos(np.radians(lat))).max() < 1e-12


def test_what_is_no_position_has_no_cell():
    assert (
        healpix.compute_cell_indexes(5, [np.nan, 0, np.inf, 0, 10], [0, np.nan, 0, 90.001, 0]).tolist()[:4] == [-1] * 4
    )
    assert healpix.compute_cell_indexes(5, [-350.0], [1.0]) == healpix.compute_cell_indexes(5, [10.0], [1.0])
    lon, lat = healpix.compute_cell_centers(2, [0, -1, 12 * 16])
    assert np.isfinite(lon[0])
    assert np.isnan(lon[1:]).all()
    assert np.isnan(lat[1:]).all()
    with pytest.raises(ValueError, match="order 30"):
        healpix.compute_cell_indexes(30, [0.0], [0.0])


def _sane(ranges):
    assert ranges.dtype == np.int64
    assert (ranges[:, 0] < ranges[:, 1]).all()
    assert (ranges[1:, 0] > ranges[:-1, 1]).all()
    assert not len(ranges) or (ranges[0, 0] >= 0 and ranges[-1, 1] <= healpix.MAX_ORDER_CELL_COUNT)


def _share(ranges):
    return (ranges[:, 1] - ranges[:, 0]).sum() / healpix.MAX_ORDER_CELL_COUNT * sphere.SKY_AREA_SQUARE_DEGREES


@settings(max_examples=200 * EXAMPLES_FACTOR)
@given(
    LON,
    LAT,
    st.one_of(st.floats(-9, 2.25).map(lambda p: 10.0**p), st.sampled_from([0.0, 90.0, 180.0])),
    st.lists(st.tuples(st.floats(0, 360), st.floats(0, 1)), min_size=5, max_size=20),
)
def test_a_cone_cover_holds_the_cone(lon, lat, radius, inside):
    towards, part = np.array(inside).T
    lons, lats = compute_offset_position(lon, lat, towards, radius * np.sqrt(part))
    ranges = healpix.cover_cone(lon, lat, radius)
    _sane(ranges)
    assert healpix.is_in_ranges(ranges, healpix.compute_cell_indexes(29, lons, lats)).all()
    which, many = healpix.cover_cones([lon], [lat], radius)
    assert healpix.is_in_ranges(healpix.merge_ranges(many), healpix.compute_cell_indexes(29, lons, lats)).all()
    assert (which == 0).all()


@pytest.mark.parametrize("radius", [1e-5, 1e-3, 0.1, 1.0, 10.0, 60.0])
def test_a_cone_cover_is_not_much_larger_than_the_cone(radius):
    rng = np.random.default_rng(5)
    for lon, lat in zip(rng.uniform(0, 360, 50), rng.uniform(-90, 90, 50), strict=True):
        ranges = healpix.cover_cone(lon, lat, radius)
        assert _share(ranges) < 3.5 * Circle(lon, lat, radius).compute_area()
        assert len(ranges) < 60


def test_cones_that_are_none_cover_nothing():
    for bad in ((0, 0, -1), (0, 0, float("nan")), (float("nan"), 0, 1), (0, 91, 1)):
        assert len(healpix.cover_cone(*bad)) == 0
        assert len(healpix.cover_cones([bad[0]], [bad[1]], bad[2])[0]) == 0
    assert healpix.cover_cone(0, 0, 180).tolist() == [[0, healpix.MAX_ORDER_CELL_COUNT]]


@settings(max_examples=60 * EXAMPLES_FACTOR)
@given(st.lists(st.tuples(LON, LAT), min_size=1, max_size=30), st.floats(-8, 1.7))
def test_many_cones_are_as_good_as_each(centres, power):
    radius = 10.0**power
    lon, lat = np.array(centres).T
    which, ranges = healpix.cover_cones(lon, lat, radius)
    assert (np.diff(which) >= 0).all()
    rng = np.random.default_rng(3)
    for row in range(len(lon)):
        mine = ranges[which == row]
        _sane(mine)
        towards, part = rng.uniform(0, 360, 30), rng.uniform(0, 1, 30)
        there = compute_offset_position(lon[row], lat[row], towards, radius * np.sqrt(part))
        assert healpix.is_in_ranges(mine, healpix.compute_cell_indexes(29, *there)).all()
        if radius < 38:
            assert len(mine) <= 9


@pytest.mark.parametrize("count", [3, 6000])  # few are looked at one by one, many by tables
def test_cells_of_many_cones_hold_them(count):
    rng = np.random.default_rng(11)
    lon, lat = rng.uniform(0, 360, count), np.degrees(np.arcsin(rng.uniform(-1, 1, count)))
    lat[:2] = 90.0, -90.0
    radius = 10.0 ** rng.uniform(-6, 2.25, count)
    held = np.zeros((count, 40), bool)
    towards, part = rng.uniform(0, 360, (count, 40)), np.sqrt(rng.uniform(0, 1, (count, 40)))
    part[:, 0] = 1.0
    several = np.zeros(count, int)
    for order, which, cells in healpix.iterate_cone_cells(lon, lat, radius):
        assert (np.diff(which) >= 0).all()
        several += np.bincount(which, minlength=count)
        for row in np.unique(which)[:200]:
            there = healpix.compute_cell_indexes(
                order, *compute_offset_position(lon[row], lat[row], towards[row], radius[row] * part[row])
            )
            mine = cells[which == row]
            assert len(set(mine.tolist())) == len(mine)
            held[row] = np.isin(there, mine)
        held[np.unique(which)[200:]] = True  # enough of each order
    assert held.all()
    assert several[radius < 38].max() <= 9
    assert several.max() <= 12


def test_cones_that_are_none_have_no_cells():
    bad = ([0.0, 0.0, np.nan, 0.0, 10.0], [0.0, 0.0, 0.0, 91.0, 20.0], [-1.0, np.nan, 1.0, 1.0, 5.0])
    assert [set(which.tolist()) for _, which, _ in healpix.iterate_cone_cells(*bad)] == [{4}]


def test_neighbouring_cells_reach_as_far_as_promised():
    """`cones_ranges` relies on it: no cell is narrower than _WIDTH / 2**order, no corner farther than _REACH / 2**order."""
    rng = np.random.default_rng(8)
    for order in (0, 1, 2, 3, 5, 8, 13, 20):
        cells = np.arange(12 << 2 * order) if order < 5 else rng.integers(0, 12 << 2 * order, 3000)
        lon, lat = cdshealpix.vertices(cells, order, 8)
        mid = healpix.compute_cell_centers(order, cells)
        corner = sphere.compute_angular_distance(lon.deg, lat.deg, mid[0][:, None], mid[1][:, None]).max()
        assert np.radians(corner) * 2**order < healpix._MAX_CELL_RADIUS_RADIANS
        towards = rng.uniform(0, 360, 20)
        near = cdshealpix.neighbours(cells[:300], order)
        for row in range(min(len(cells), 300)):
            on_rim = np.array([lon.deg[row], lat.deg[row]]).T
            at = on_rim[rng.integers(0, len(on_rim))]
            reach = np.degrees(healpix._MIN_CELL_WIDTH_RADIANS / 2**order) * 0.999
            there = healpix.compute_cell_indexes(order, *compute_offset_position(*at, towards, reach))
            # a point of the rim belongs to this cell or to one beside it: whichever it is, its neighbours hold the disc
            own = healpix.compute_cell_indexes(order, *at)[0]
            allowed = (
                set(near[row].tolist()) if own == cells[row] else set(cdshealpix.neighbours([own], order)[0].tolist())
            )
            assert set(there.tolist()) <= allowed


@settings(max_examples=100 * EXAMPLES_FACTOR)
@given(st.floats(0, 360), st.floats(0, 360), LAT, LAT, st.integers(0, 9))
def test_a_range_cover_holds_the_range(lon1, lon2, lat1, lat2, order):
    low, high = sorted((lat1 + 0.0, lat2 + 0.0))  # no -0.0, which NumPy takes for less than 0.0
    shape = Range(lon1, lon2, low, high)
    rng = np.random.default_rng(2)
    lon = (lon1 + np.append(rng.uniform(0, 1, 60), [0, 1]) * shape.width) % 360
    lat = np.append(rng.uniform(low, high, 60), [low, high])
    ranges = shape.cover_with_cells(order)
    _sane(ranges)
    assert shape.contains(lon, lat).all()
    assert healpix.is_in_ranges(ranges, healpix.compute_cell_indexes(29, lon, lat)).all()


@settings(max_examples=100 * EXAMPLES_FACTOR)
@given(
    LON,
    LAT,
    st.lists(st.tuples(st.floats(0, 360), st.floats(0.05, 1)), min_size=3, max_size=9, unique_by=lambda t: round(t[0])),
    st.floats(-3, 1.7),
    st.integers(0, 10),
)
def test_a_polygon_cover_holds_the_polygon(lon, lat, spokes, power, order):
    spokes = sorted(spokes)
    assume(all((b[0] - a[0]) % 360 < 170 for a, b in zip(spokes, [*spokes[1:], spokes[0]], strict=True)))
    towards, part = np.array(spokes).T
    lons, lats = compute_offset_position(lon, lat, towards, part * 10.0**power)
    shape = Polygon(tuple(lons.tolist()), tuple(lats.tolist()))
    rng = np.random.default_rng(4)
    there = compute_offset_position(lon, lat, rng.uniform(0, 360, 200), 10.0**power * rng.uniform(0, 1, 200))
    inside = shape.contains(*there)
    order = min(order + max(0, round(-power * 3.3)), 29)
    ranges = shape.cover_with_cells(order)
    _sane(ranges)
    assert healpix.is_in_ranges(ranges, healpix.compute_cell_indexes(29, there[0][inside], there[1][inside])).all()


def test_set_arithmetic_is_mocpys():
    rng = np.random.default_rng(1)
    for _ in range(20):
        cells = [np.unique(rng.integers(0, 12 << 10, 200)) for _ in range(2)]
        ours = [healpix.merge_ranges(np.stack([c << 48, (c + 1) << 48], axis=1)) for c in cells]
        theirs = [
            MOC.from_healpix_cells(c.astype(np.uint64), np.full(len(c), 5, dtype=np.uint8), max_depth=5) for c in cells
        ]
        assert (
            healpix.merge_ranges(np.concatenate(ours)).tolist()
            == (theirs[0] | theirs[1]).to_depth29_ranges.astype(np.int64).tolist()
        )
        assert (
            healpix.intersect_ranges(*ours).tolist()
            == (theirs[0] & theirs[1]).to_depth29_ranges.astype(np.int64).tolist()
        )
        assert (
            healpix.complement_ranges(ours[0]).tolist()
            == theirs[0].complement().to_depth29_ranges.astype(np.int64).tolist()
        )
        assert (
            healpix.degrade_ranges(ours[0], 3).tolist()
            == theirs[0].degrade_to_order(3).to_depth29_ranges.astype(np.int64).tolist()
        )


def test_a_small_polygon_in_large_cells_is_covered():
    lons, lats = compute_offset_position(0.0, 0.0, np.array([0.0, 1.0, 19.0, 217.0]), np.array([1.0, 0.25, 1.0, 0.5]))
    shape = Polygon(tuple(lons.tolist()), tuple(lats.tolist()))
    rng = np.random.default_rng(4)
    there = compute_offset_position(0.0, 0.0, rng.uniform(0, 360, 500), rng.uniform(0, 1, 500))
    inside = shape.contains(*there)
    for order in range(12):
        assert healpix.is_in_ranges(
            shape.cover_with_cells(order), healpix.compute_cell_indexes(29, there[0][inside], there[1][inside])
        ).all()


@pytest.mark.parametrize("order", [0, 2, 7, 13])
def test_a_neighbourhood_holds_all_that_is_near(order):
    made = np.random.default_rng(order)
    lon, lat = made.uniform(0, 360, 40), np.degrees(np.arcsin(made.uniform(-1, 1, 40)))
    lat[:4] = [90.0, -90.0, 89.999, 41.8103]
    cells = np.unique(healpix.compute_cell_indexes(order, lon, lat))
    shift = 2 * (healpix.MAX_ORDER - order)
    wide = healpix.add_neighbour_cells(np.stack([cells << shift, (cells + 1) << shift], axis=1), order)
    reach = np.degrees(0.689 / 2**order)
    for turn in np.linspace(0.0, 360.0, 24):
        x, y = arrays_moved(lon, lat, turn, reach * made.uniform(0, 1, len(lon)))
        assert healpix.is_in_ranges(wide, healpix.compute_cell_indexes(healpix.MAX_ORDER, x, y)).all()
    assert len(healpix.add_neighbour_cells(np.empty((0, 2), np.int64), order)) == 0


def arrays_moved(lon, lat, turn, far):
    """Go from positions into a direction along great circles, degrees."""
    y, turned, away = np.radians(lat), np.radians(turn), np.radians(far)
    north = np.arcsin(np.clip(np.sin(y) * np.cos(away) + np.cos(y) * np.sin(away) * np.cos(turned), -1, 1))
    east = np.arctan2(np.sin(turned) * np.sin(away) * np.cos(y), np.cos(away) - np.sin(y) * np.sin(north))
    return (lon + np.degrees(east)) % 360.0, np.degrees(north)
