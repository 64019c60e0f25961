"""What is made of regions is valid, and has the area that S2 and points by the thousand give it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import spherely
from hypothesis import given, settings
from hypothesis import strategies as st

from hven.model.sky import Circle, Moc, Range, Regions, compute_angular_distance, healpix
from hven.model.sky._healpix_covers import RegionCoverBuilder
from region_cases import CAP, CASES, HALF, SQUARE
from region_samples import regions
from shared import EXAMPLES_FACTOR

ALL = Regions.from_lists(case for case, _, _ in CASES.values())
RNG = np.random.default_rng(7)


def divide(regions, step):
    """Put points into edges so that none is longer than a step, degrees; tells which vertices are new."""
    return regions.densify_edges(np.full(len(regions.lon), np.radians(step)))


def to_s2(regions):
    """Read by S2, which refuses what is not valid, with exact arithmetic."""
    return spherely.from_wkb(np.array(regions.to_wkb(), dtype=object), oriented=True)


def blobs(seed, count, size, *, corners=12, away=1.0):
    """Pairs of star-shaped polygons anywhere, whose middles are `away` sizes from each other; `size` in degrees."""
    rng = np.random.default_rng(seed)
    columns = []
    lon0, lat0 = rng.uniform(0, 360, count), np.degrees(np.arcsin(rng.uniform(-1, 1, count)))
    for shift in (0.0, away * size):
        angle = np.sort(rng.uniform(0, 2 * np.pi, (count, corners)), axis=1)
        angle = angle * 0.9 + np.linspace(0, 2 * np.pi, corners, endpoint=False) * 0.1
        reach = rng.uniform(0.3, 1.0, (count, corners)) * size
        phi, arc = np.radians(lat0)[:, None], np.radians(reach)
        bearing = np.pi / 2 - angle
        lat = np.arcsin(np.sin(phi) * np.cos(arc) + np.cos(phi) * np.sin(arc) * np.cos(bearing))
        lon = np.arctan2(np.sin(bearing) * np.sin(arc) * np.cos(phi), np.cos(arc) - np.sin(phi) * np.sin(lat))
        lat0, lon1 = np.clip(lat0 + shift / 3, -90, 90), lon0 + shift
        starts = np.arange(count + 1)
        columns.append(
            Regions(
                (np.degrees(lon) + lon0[:, None]).ravel(), np.degrees(lat).ravel(), starts * corners, starts, starts
            )
        )
        lon0 = lon1
    return columns


def slivers(count, length=20.0):
    """Strips of aspect 1 : 10,000, in all directions."""
    rng = np.random.default_rng(3)
    p, q = rng.normal(size=(count, 3)), rng.normal(size=(count, 3))
    p /= np.linalg.norm(p, axis=1)[:, None]
    q = np.cross(p, q)
    q /= np.linalg.norm(q, axis=1)[:, None]
    c = np.cross(p, q)
    x, y = np.radians(length) / 2, np.radians(length) / 20_000
    corners = [p + q * math.tan(x) * sx + c * math.tan(y) * sy for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    xyz = np.stack(corners, 1).reshape(-1, 3)
    lon, lat = np.degrees(np.arctan2(xyz[:, 1], xyz[:, 0])), np.degrees(np.arctan2(xyz[:, 2], np.hypot(*xyz[:, :2].T)))
    starts = np.arange(count + 1)
    return Regions(lon, lat, starts * 4, starts, starts)


@pytest.mark.parametrize("name", CASES)
def test_edge_cases(name):
    case, reason, area = CASES[name]
    region = Regions.from_lists([case])
    fault = region.find_faults()[0]
    assert (reason in fault) if reason else name in {"there and back", "points in a row"} or not fault
    mended = region.make_valid()
    assert mended.find_faults() == [""]
    if area is not None:
        assert mended.compute_areas()[0] == pytest.approx(area, rel=1e-4, abs=1e-15)
    elif not reason:
        assert mended == region
    assert mended.make_valid() == mended
    for other in (mended.compute_convex_hulls(), mended.simplify(1.0), mended.union(Regions.from_lists([[[SQUARE]]]))):
        assert other.find_faults() == [""]
    if name != "the whole sphere":
        to_s2(mended)


def test_a_column_is_what_its_rows_are():
    together = ALL.make_valid()
    for row in range(len(ALL)):
        assert together.take([row]) == ALL.take([row]).make_valid()


def test_pairs_of_edge_cases():
    fit = ALL.make_valid()
    one, two = np.divmod(np.arange(len(fit) ** 2), len(fit))
    keep = RNG.random(len(one)) < 0.03
    a, b = fit.take(one[keep]), fit.take(two[keep])
    union, both, rest = a.union(b), a.intersection(b), a.difference(b)
    for found in (union, both, rest):
        assert set(found.find_faults()) == {""}
    assert union.compute_areas() + both.compute_areas() == pytest.approx(
        a.compute_areas() + b.compute_areas(), abs=3e-7
    )
    assert rest.compute_areas() + both.compute_areas() == pytest.approx(a.compute_areas(), abs=3e-7)
    touching = a.intersects(b)
    assert touching[both.compute_areas() > 1e-9].all()
    assert ((a.compute_distances(b) == 0) == touching).all()


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1e-4, 0.1, 5.0, 40.0, 80.0]), st.sampled_from([0.0, 0.5, 1.0]))
def test_unions_and_intersections_are_those_of_s2(seed, size, away):
    a, b = blobs(seed, 15, size, away=away)
    good = a.is_valid() & b.is_valid()
    a, b = a.take(good), b.take(good)
    if not len(a):
        return
    ga, gb = to_s2(a), to_s2(b)
    assert a.compute_areas() == pytest.approx(spherely.area(ga, radius=1), rel=1e-9, abs=1e-13)
    for how in ("union", "intersection", "difference"):
        mine, theirs = getattr(a, how)(b), getattr(spherely, how)(ga, gb)
        wanted = spherely.area(theirs, radius=1)
        assert mine.compute_areas() == pytest.approx(wanted, rel=1e-6, abs=1e-7 if size > 30 else 1e-10 * size)
        to_s2(mine)
    assert (a.intersects(b) == spherely.intersects(ga, gb)).all()
    assert a.compute_distances(b) == pytest.approx(np.degrees(spherely.distance(ga, gb, radius=1)), abs=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.01, 3.0, 30.0]))
def test_rings_that_cross_are_what_they_wind_around(seed, size):
    rng = np.random.default_rng(seed)
    corners = 14
    lon0, lat0 = rng.uniform(0, 360), np.degrees(np.arcsin(rng.uniform(-1, 1)))
    x, y = np.radians(rng.uniform(-size, size, (2, corners)))
    # on the plane that touches the sphere: straight lines there are great circles
    c = np.array([np.cos(np.radians(lat0)) * np.cos(np.radians(lon0)), np.cos(np.radians(lat0)) * np.sin(np.radians(lon0)), np.sin(np.radians(lat0))])  # fmt: skip
    e = np.array([-np.sin(np.radians(lon0)), np.cos(np.radians(lon0)), 0.0])
    n = np.cross(c, e)

    def project_to_sphere(x, y):
        v = c + x[:, None] * e + y[:, None] * n
        return np.degrees(np.arctan2(v[:, 1], v[:, 0])), np.degrees(np.arctan2(v[:, 2], np.hypot(v[:, 0], v[:, 1])))

    lon, lat = project_to_sphere(x, y)
    mended = Regions(lon, lat, np.array([0, corners]), np.array([0, 1]), np.array([0, 1])).make_valid()
    assert mended.find_faults() == [""]
    to_s2(mended)
    px, py = np.radians(rng.uniform(-size, size, (2, 2000)))
    x2, y2 = np.roll(x, -1), np.roll(y, -1)
    left = (x2 - x) * (py[:, None] - y) - (px[:, None] - x) * (y2 - y)
    up, down = (y <= py[:, None]) & (y2 > py[:, None]), (y > py[:, None]) & (y2 <= py[:, None])
    winds = (up & (left > 0)).sum(1) - (down & (left < 0)).sum(1)
    near = (np.abs(left) / np.hypot(x2 - x, y2 - y)).min(1) < 1e-9
    inside = mended.contains(*project_to_sphere(px, py))
    assert (inside == (winds != 0))[~near].all()


@pytest.mark.parametrize("by", [1e-14, 1e-13, 1e-11, 1e-10, 1e-8])
def test_edges_that_nearly_coincide(by):
    a = blobs(11, 100, 2.0, corners=30)[0].make_valid()
    b = Regions(a.lon + by, a.lat, a.rings, a.parts, a.rows).make_valid()
    for how in ("union", "intersection", "difference"):
        found = getattr(a, how)(b)
        to_s2(found.take(np.diff(found.rows) > 0))
        assert found.compute_areas() == pytest.approx(
            0.0 if how == "difference" else a.compute_areas(), abs=1e-2 * by + 1e-12
        )


def test_slivers():
    count = 1000 if EXAMPLES_FACTOR > 1 else 250
    thin = slivers(count)
    assert thin.is_valid().all()
    area = spherely.area(to_s2(thin), radius=1)
    assert thin.compute_areas() == pytest.approx(area, rel=1e-7)
    other = thin.take(np.roll(np.arange(count), 1))
    both, all_ = thin.intersection(other), thin.union(other)
    assert both.is_valid().all()
    assert all_.is_valid().all()
    assert both.compute_areas() + all_.compute_areas() == pytest.approx(
        thin.compute_areas() + other.compute_areas(), rel=1e-7
    )
    moved = Regions(thin.lon + 1e-4, thin.lat, thin.rings, thin.parts, thin.rows)
    both = thin.intersection(moved)
    to_s2(both.take(both.compute_areas() > 0))
    assert both.compute_areas() == pytest.approx(
        spherely.area(spherely.intersection(to_s2(thin), to_s2(moved)), radius=1), rel=1e-5, abs=1e-12
    )
    crossed = np.arange(4 * count).reshape(-1, 4)[:, [0, 1, 3, 2]].ravel()
    mended = Regions(thin.lon[crossed], thin.lat[crossed], thin.rings, thin.parts, thin.rows).make_valid()
    assert mended.is_valid().all()
    assert (np.diff(mended.rows) == 2).all()
    assert mended.compute_areas() == pytest.approx(spherely.area(to_s2(mended), radius=1), rel=1e-7)
    assert mended.compute_areas() == pytest.approx(area / 2, rel=1e-2)


def test_points_are_where_s2_has_them():
    one = blobs(5, 1, 20.0, corners=60)[0].make_valid()
    lon, lat = (
        one.lon.mean() + RNG.uniform(-25, 25, 4000),
        np.clip(one.lat.mean() + RNG.uniform(-25, 25, 4000), -90, 90),
    )
    wanted = spherely.intersects(to_s2(one)[0], spherely.points(lon, lat))
    assert (one.contains(lon, lat) == wanted).all()
    assert (one.take(np.zeros(4000, int)).contains(lon, lat) == wanted).all()
    fit = ALL.make_valid()
    assert fit.contains(np.full(len(fit), 5.0), np.full(len(fit), 5.0)).tolist() == [
        bool(fit.take([row]).contains(5.0, 5.0)[0]) for row in range(len(fit))
    ]
    assert not Regions.from_lists([[[]]]).contains([math.nan, 1.0, 1.0], [0.0, 91.0, 0.0])[:2].any()


def test_middles_hulls_and_fewer_vertices():
    regions = Regions.from_lists(
        [[[SQUARE]], [[CAP]], [], [[[(10, 10), (10.001, 10), (10.001, 10.001), (10, 10.001)]]]]
    )
    lon, lat = regions.compute_centroids()
    assert lon[0] == pytest.approx(5)
    assert lat[[1, 3]] == pytest.approx([90, 10.0005])
    assert np.isnan(lon[2])
    fine, added = divide(regions, 0.1)
    assert added.sum() == len(fine.lon) - len(regions.lon)
    assert fine.compute_areas() == pytest.approx(regions.compute_areas())
    assert fine.simplify(1e-9) == regions
    few = blobs(3, 50, 10.0, corners=60)[0].make_valid()
    less = few.simplify(0.5)
    assert len(less.lon) < len(few.lon)
    assert less.is_valid().all()
    for row in range(0, 50, 10):  # no vertex that went is farther from what stays than was allowed
        arcs, vertices = less.take([row]).prepared_rings, few.take([row])
        gap = [
            arcs.compute_boundary_distances([lon], [lat]).min()
            for lon, lat in zip(vertices.lon, vertices.lat, strict=True)
        ]
        assert max(gap) <= 0.5
    hull = few.compute_convex_hulls()
    assert hull.compute_areas() == pytest.approx(spherely.area(spherely.convex_hull(to_s2(few)), radius=1), rel=1e-9)
    assert Regions.from_lists([[[HALF]], [[CAP[::-1]]]]).compute_convex_hulls().compute_areas() == pytest.approx(
        [4 * math.pi, 4 * math.pi]
    )
    assert compute_angular_distance(0, 0, 1, 0) == pytest.approx(1)


def test_circles_and_ranges():
    lon, lat, size = [10, 200, 30, 0, 50, 5, 0], [20, -80, 90, 0, 0, 0, 0], [5, 100, 30, 180, 0, 1e-3, 90]
    circles = Regions.from_circles(lon, lat, size)
    assert set(circles.find_faults()) == {""}
    areas = np.array([Circle(*one).compute_area() for one in zip(lon, lat, size, strict=True)])
    assert np.degrees(np.degrees(circles.compute_areas())) == pytest.approx(areas, rel=2e-3)
    gap = compute_angular_distance(
        lon[0], lat[0], *(getattr(circles, name)[: circles.rings[1]] for name in ("lon", "lat"))
    )
    assert gap == pytest.approx(5)
    edges = [(0, 10, 0, 10), (350, 20, -5, 5), (0, 360, -90, -20), (0, 360, 20, 40), (10, 350, 80, 90), (0, 10, -90, 90), (0, 360, -90, 90), (20, 250, -90, 50)]  # fmt: skip
    ranges = Regions.from_ranges(*zip(*edges, strict=True))
    assert set(ranges.find_faults()) == {""}
    assert np.degrees(np.degrees(ranges.compute_areas())) == pytest.approx(
        [Range(*one).compute_area() for one in edges], rel=3e-5
    )
    west, east, low, high = ranges.compute_bounding_boxes()
    for row, (lon1, lon2, lat1, lat2) in enumerate(edges):
        assert (west[row], east[row]) == pytest.approx((lon1, lon2))
        assert (low[row], high[row]) == pytest.approx((lat1, lat2), abs=1.1e-4)
    assert len(Regions.from_ranges([0, 5], [0, 9], [0, 3], [9, 3]).lon) == 0


def test_mocs_have_the_area_of_the_region():
    regions = Regions.from_lists([[[CAP]], [[SQUARE, [(2, 2), (2, 8), (8, 8), (8, 2)]]], [[CAP[::-1]]], [[]], []])
    mocs, added = regions.to_mocs(0.02)
    assert (added[:4] <= 0.02).all()
    assert (added[:4] >= -1e-9).all()
    assert mocs[4].fraction == 0
    lon, lat = RNG.uniform(0, 360, 2000), np.degrees(np.arcsin(RNG.uniform(-1, 1, 2000)))
    for row, moc in enumerate(mocs):
        inside = regions.take([row]).contains(lon, lat)
        assert moc.contains(lon, lat)[inside].all()
    thin, added = slivers(5).to_mocs(0.01, 1000)
    assert (added > 0.01).all()
    for row, moc in enumerate(thin):
        one = divide(slivers(5).take([row]), 0.05)[0]
        assert moc.contains(one.lon, one.lat).all()


def test_edges_that_all_but_coincide_leave_no_slivers():
    wide = Regions.from_lists([[[[(0, -10), (120, -10), (240, -10)]]]])
    on = divide(wide, 7.3)[0]
    for third, inside in ((-60, False), (30, True)):
        corners = [on.lon[3], on.lat[3], on.lon[5], on.lat[5], 40, third]
        other = Regions.from_polygons([0, 6], corners)
        for one, two in ((wide, other), (other, wide)):
            less, both, all_ = one.difference(two), one.intersection(two), one.union(two)
            assert less.compute_areas() == pytest.approx(one.compute_areas() - both.compute_areas(), abs=1e-7)
            assert all_.compute_areas() == pytest.approx(
                one.compute_areas() + two.compute_areas() - both.compute_areas(), abs=1e-7
            )
            assert len(less.parts) + len(both.parts) + len(all_.parts) - 3 <= 3
            assert (both.compute_areas()[0] > 1e-3) == inside


def test_long_edges_that_coincide_are_one_edge():
    """Half a sphere and its parts share the equator and the poles; where each had points of its own, both crossed each other in every piece."""
    turn = 37.3

    def northern(*lons):
        return [[[*((lon + turn, 0.0) for lon in lons), (lons[-1] + turn, 90.0)]]]

    wide, parts = (
        Regions.from_lists([northern(*range(start, stop, 52)), northern(*range(0, 301, 60))])
        for start, stop in ((10, 330), (10, 220))
    )
    parts = parts.replace_rows(np.array([1]), Regions.from_ranges(3.0 + turn, 299.0 + turn, 0.0, 20.0))
    both, left, common = wide.union(parts), wide.difference(parts), wide.intersection(parts)
    assert both.compute_areas() == pytest.approx(wide.compute_areas(), rel=1e-6)
    assert common.compute_areas() == pytest.approx(parts.compute_areas(), rel=1e-6)
    assert left.compute_areas() + common.compute_areas() == pytest.approx(wide.compute_areas(), rel=1e-7)
    for found in (both, left, common):
        assert found.find_faults() == ["", ""]
        assert len(found.lon) < 1.1 * (len(wide.lon) + len(parts.lon))
    assert both.take([0]).ring_counts.tolist() == [1]


@given(one=regions(), two=regions())
@settings(max_examples=max(EXAMPLES_FACTOR // 4, 4), deadline=None)
def test_areas_of_what_operations_make(one, two):
    less, both, all_ = one.difference(two), one.intersection(two), one.union(two)
    assert less.compute_areas() == pytest.approx(one.compute_areas() - both.compute_areas(), abs=1e-6)
    assert all_.compute_areas() == pytest.approx(
        one.compute_areas() + two.compute_areas() - both.compute_areas(), abs=1e-6
    )


def test_a_belt_that_rounding_leaves_open_is_a_belt():
    lon = 310.91043249
    assert Regions.from_ranges(lon, lon + 360, -87, 84).ring_counts == 2
    corners = Regions.from_ranges(0, 360, -87, 84)
    south, north = (
        list(zip(corners.lon[some], corners.lat[some], strict=True))
        for some in (slice(*corners.rings[:2]), slice(*corners.rings[1:3]))
    )
    slit = Regions.from_lists([[[[*south, south[0], north[0], *north[1:], north[0]]]]])
    assert slit.make_valid().compute_areas() == pytest.approx(corners.compute_areas(), rel=1e-6)


def test_covers_are_those_of_cdshealpix():
    shapes = [
        Regions.from_circles(lon, lat, radius, 0.02)
        for lon, lat, radius in ((0, 0, 5), (200, 88, 10), (45, 41.8, 30), (359, -60, 80))
    ]
    for one in [*shapes, slivers(1), Regions.from_lists([[[[(0, 0), (4, 0.3), (1, 1), (0.5, 7)]]]])]:
        covers = RegionCoverBuilder(one)
        for order in (0, 1, 4, 7):
            found, _ = covers.compute_ranges(order)
            wanted = healpix.cover_polygon(one.lon, one.lat, order)
            assert (np.diff(found.ravel()) > 0).all()
            outside = healpix.intersect_ranges(
                found,
                healpix.complement_ranges(
                    healpix.merge_ranges(
                        np.concatenate(
                            [
                                wanted,
                                healpix.cover_arcs(
                                    one.prepared_rings.edge_begin_vectors, one.prepared_rings.edge_end_vectors, order
                                ),
                            ]
                        )
                    )
                ),
            )
            lacking = healpix.intersect_ranges(wanted, healpix.complement_ranges(found))
            assert not len(outside)
            # corners that are cut off
            assert (np.diff(lacking).sum() >> 2 * (29 - order)) <= max(
                0.01 * (np.diff(found).sum() >> 2 * (29 - order)), 2
            )


def test_regions_of_mocs():
    mocs = [Moc.parse(text) for text in ("3/5 6 4/100 5/1000-1010", "0/0-11", "2/0 64 191", "29/12345")]
    mocs.append(Moc(Circle(20, 30, 8).cover_with_cells(6), 6))
    found = Regions.from_mocs(mocs)
    assert set(found.find_faults()) == {""}
    assert found.compute_areas() == pytest.approx([4 * math.pi * moc.fraction for moc in mocs], rel=0.02)
    assert found.parts[-1] - found.parts[0] <= 12


def test_a_corner_at_a_pole_has_any_longitude():
    for pole in (-90.0, 90.0):
        ring = [(210, pole), (225, math.copysign(89, pole)), (300, math.copysign(80, pole))]
        region = Regions.from_lists([[[ring[::-1] if pole > 0 else ring]]])
        lon, lat = np.arange(2.5, 360, 5), np.full(72, math.copysign(89.5, pole))
        wanted = spherely.intersects(to_s2(region)[0], spherely.points(lon, lat))
        assert (region.contains(lon, lat) == wanted).all()


def test_what_is_cut_out_of_a_region_lies_within_it():
    one, two = blobs(5, 60, 3.0, away=0.4)
    both = one.intersection(two)
    assert both.is_within(one).all()
    assert both.is_within(two).all()
    assert one.is_within(one).all()
    assert not one.is_within(both.compute_convex_hulls().intersection(one))[
        one.compute_areas() > 1.01 * both.compute_areas()
    ].all()
    assert Regions.create_empty(1).is_within(one.take([0])).all()
    apart = one.difference(two)
    assert not apart.is_within(two)[apart.compute_areas() > 1e-6].any()


@pytest.mark.parametrize("power", range(-13, -5))
def test_an_edge_of_nearly_half_a_turn_has_an_end(power: int) -> None:
    """Such an edge once kept a process busy without end: the great circle through its ends is not known."""
    longitude = 180 - 10.0**power  # degrees
    regions = Regions.from_lists([[[[(0, 0), (longitude, 0), (90, 80)]]]])
    (fault,) = regions.find_faults()
    repaired = regions.make_valid()
    if np.radians(180 - longitude) < 1e-8:
        assert "half a turn" in fault
        assert len(repaired.lon) == 0
    else:
        assert not fault
        assert len(repaired.lon) == 3
