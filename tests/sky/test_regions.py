"""Columns of regions: forms, boxes, areas."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from hven.model.sky import Regions, _antimeridian, _projection_planes

SQUARE = [(0, 0), (10, 0), (10, 10), (0, 10)]
HOLE = [(4, 4), (4, 6), (6, 6), (6, 4)]
CAP = [(0, 60), (90, 60), (180, 60), (270, 60)]
BELT = [[(0, -10), (120, -10), (240, -10)], [(240, 10), (120, 10), (0, 10)]]
ROWS = Regions.from_lists([[[SQUARE, HOLE]], [], [[CAP]], [[SQUARE], [CAP]], [BELT], [[]], [[CAP[::-1]]]])


def test_forms_hold_what_was_put_in():
    plain = ROWS.take([0, 1, 2, 3, 4, 6])
    assert Regions.from_geoarrow(ROWS.to_geoarrow()) == ROWS
    assert Regions.from_geoarrow(pa.chunked_array([ROWS.to_geoarrow()])) == ROWS
    assert Regions.from_wkb(plain.to_wkb()) == plain
    assert Regions.from_wkb([None, *plain.to_wkb()]) == Regions.concat([Regions.create_empty(1), plain])
    alone, row = ROWS.explode()
    assert row.tolist() == [0, 2, 3, 3, 4, 5, 6]
    assert alone.merge_consecutive_rows(ROWS.rows) == ROWS
    assert ROWS.take(np.arange(7) > 3) == ROWS.take([4, 5, 6])
    pairs = pa.array([[[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]], None])
    assert Regions.from_geoarrow(pairs) == Regions.from_lists([[[[(0, 0), (1, 0), (1, 1)]]], []])


def test_polygons_of_texts_have_the_smaller_side_inside():
    found = Regions.from_polygons([0, 8, 8, 16], [0, 0, 0, 10, 10, 10, 10, 0, 0, 60, 90, 60, 180, 60, 270, 60])
    assert found.compute_areas() == pytest.approx(
        [*(ROWS.compute_areas()[:1] + Regions.from_lists([[[HOLE[::-1]]]]).compute_areas()), *ROWS.compute_areas()[1:3]]
    )


def test_areas_count_the_orientation():
    area = ROWS.compute_areas()
    assert area[1] == 0.0
    assert area[5] == pytest.approx(4 * math.pi)
    assert area[2] + area[6] == pytest.approx(4 * math.pi)
    assert area[3] == pytest.approx(area[2] + Regions.from_lists([[[SQUARE]]]).compute_areas()[0])
    assert 0.1 * 4 * math.pi < area[4] < 0.4 * 4 * math.pi


def box(*rings):
    return [round(float(value[0]), 6) for value in Regions.from_lists([[list(rings)]]).compute_bounding_boxes()]


def test_boxes():
    assert box(SQUARE) == [0, 10, 0, 10.037423]  # an edge is higher than its ends
    assert box([(350, -5), (10, -5), (10, 5), (350, 5)])[:2] == [350, 10]
    assert box([(-10, -5), (10, -5), (10, 5), (-10, 5)])[:2] == [350, 10]
    assert box(CAP) == [0, 360, 60, 90]
    assert box(CAP[::-1]) == [0, 360, -90, 67.792346]
    assert box(*BELT)[:2] == [0, 360]
    assert box([(30, 80), (200, 90), (350, 80)]) == [350, 30, 80, 90]  # a corner at the pole
    assert box([(0, 80), (180, 80), (270, 80)])[:2] == [180, 0]  # an edge over the pole
    assert all(np.isnan(value[0]) for value in Regions.create_empty(1).compute_bounding_boxes())
    assert [value[5] for value in ROWS.compute_bounding_boxes()] == [0, 360, -90, 90]
    two = Regions.from_lists([[[SQUARE], [[(200, 0), (201, 0), (201, 1)]]]]).compute_bounding_boxes()
    assert (two[0][0], two[1][0]) == (200, 10)


@pytest.mark.parametrize("wrong", [[0, 2], [1, 3], [0, 2, 1, 3], [0, 0, 3]])
def test_offsets_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValueError, match=r"offsets|vertices"):
        Regions(np.zeros(3), np.zeros(3), np.array(wrong), np.array([0, len(wrong) - 1]), np.array([0, 1]))


@pytest.mark.parametrize("pole", [-90.0, 90.0])
def test_a_corner_at_a_pole_has_any_longitude(pole):
    rng, side = np.random.default_rng(4), np.sign(pole)
    for start, half in zip(rng.uniform(0, 360, 100), rng.uniform(4, 8, 100), strict=True):
        # the longest edge has its middle, but for rounding, above the edge that ends at the pole
        ring = [(10, 70), (10, 30), (half, 30), (-half, 30), (-10, 30), (-10, 60), (0, 60), (0, 75)]
        corners = [(0.0, pole), *((start + lon, side * lat) for lon, lat in ring)]
        region = Regions.from_lists([[[corners[::-1] if side > 0 else corners]]])
        found = region.contains((start + np.array([5, -5, 5, -5, 180])) % 360, side * np.array([80, 80, 50, 50, 10]))
        assert found.tolist() == [True, False, True, True, False]


@pytest.mark.parametrize("corners", [3, 4])
def test_convex_polygons_are_those_that_geos_finds_valid(corners: int, monkeypatch: pytest.MonkeyPatch):
    """They are judged by their corners alone, from a milliarcsecond to 30 degrees; what GEOS refuses never passes."""
    random, rows, certain = np.random.default_rng(20 + corners), 2_000, 0
    for scale in 10.0 ** np.arange(-9.0, 2.0):
        places = random.normal(0.0, min(scale, 30.0), (rows, corners, 2)) + random.uniform(
            (0.0, -60.0), (360.0, 60.0), (rows, 1, 2)
        )
        places[::50, 1] = places[::50, 0]  # a corner twice
        places[1::50, 2] = 2.0 * places[1::50, 1] - places[1::50, 0]  # three in a line
        places[..., 1] = np.clip(places[..., 1], -90.0, 90.0)
        found = Regions.from_polygons(np.arange(rows + 1) * 2 * corners, places.reshape(-1))
        with monkeypatch.context() as without:
            without.setattr(_projection_planes, "are_regions_convex", lambda given: np.zeros(len(given), np.bool_))
            expected, crossing = found.is_valid(), found.is_self_crossing()
        assert (found.is_valid() == expected).all()
        assert (found.is_self_crossing() == crossing).all()
        assert not (_projection_planes.are_regions_convex(found) & ~expected).any()
        # as a column of polygons, before they become regions with the smaller side inside
        starts = np.arange(rows + 1) * 2 * corners
        is_convex = _projection_planes.are_polygons_convex(starts, places.reshape(-1))
        assert (is_convex == _projection_planes.are_regions_convex(found)).all()
        certain += int(_projection_planes.are_regions_convex(found).sum())
    assert certain > rows  # most are large enough, though half of the quadrilaterals cross themselves


def test_vertices_a_rounding_apart_on_the_map_are_one():
    """Two points that differ on the map can be the same direction: an edge of no length would be a flaw of the region."""
    shapely = pytest.importorskip("shapely")
    square = [(10, 10), (20, 10), (20, 20), (10, 20)]
    apart = [*square[:2], (20, 10 + 1e-14), *square[2:]]
    assert apart[1] != apart[2]
    regions = _antimeridian.build_regions_from_map_polygons([shapely.Polygon(square), shapely.Polygon(apart)], 1.0)
    assert not dict(_projection_planes.find_vertex_faults(regions))[_projection_planes.REPEATED_VERTEX].any()
    assert np.bincount(regions.vertex_rows).tolist() == [4, 4]
    assert regions.compute_areas()[1] == pytest.approx(regions.compute_areas()[0], rel=1e-9)
