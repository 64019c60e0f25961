"""Regions against ranges of longitude and latitude: a column at once gives what the shapes give one by one."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from hven.engines._sky_functions import MAX_VECTORIZED_RANGES, MIN_VECTORIZED_ROWS, SKY_FUNCTIONS
from hven.model.sky import Polygon, Range, healpix

RANGES = (
    Range(10.0, 300.0, -40.0, 70.0),
    Range(350.0, 10.0, -5.0, 5.0),
    Range(0.0, 360.0, 60.0, 90.0),
    Range(0.0, 360.0, -90.0, -75.0),
    Range(20.0, 21.0, -90.0, 90.0),
    Range(100.0, 100.0, 10.0, 10.0),
    Range(0.0, 360.0, -1.0, 1.0),
)
SHARED = (0.2, 2.0, 15.0, 80.0)  # degrees, radii of the polygons


def draw_polygons(count: int, seed: int) -> list[Polygon]:
    """Draw polygons of all sizes around positions everywhere, poles and longitude 0 among them."""
    random = np.random.default_rng(seed)
    polygons = []
    for number in range(count):
        latitude = random.choice([-90.0, 90.0, 0.0, *random.uniform(-90, 90, 5)])
        longitude = random.choice([0.0, 359.9, *random.uniform(0, 360, 5)])
        radius = np.radians(SHARED[number % len(SHARED)])
        turns = np.sort(random.uniform(0, 2 * np.pi, random.integers(3, 9)))
        centre = to_vector(longitude, latitude)
        east = np.array([-np.sin(np.radians(longitude)), np.cos(np.radians(longitude)), 0.0])
        north = np.cross(centre, east)
        corners = [
            np.cos(radius) * centre + np.sin(radius) * (np.cos(turn) * east + np.sin(turn) * north) for turn in turns
        ]
        lons = tuple(float(np.degrees(np.arctan2(y, x)) % 360.0) for x, y, _ in corners)
        lats = tuple(float(np.degrees(np.arcsin(np.clip(z, -1, 1)))) for _, _, z in corners)
        polygons.append(Polygon(lons, lats))
    return polygons


def to_vector(longitude: float, latitude: float) -> np.ndarray:
    phi, theta = np.radians([longitude, latitude])
    return np.array([np.cos(theta) * np.cos(phi), np.cos(theta) * np.sin(phi), np.sin(theta)])


def test_polygons_at_once_are_as_by_points_within_them() -> None:
    """A position of both shapes shows that they touch; where none of 40,000 is, an edge shows it."""
    polygons = draw_polygons(120, 5)
    numbers = [np.stack([polygon.lons, polygon.lats], 1).ravel() for polygon in polygons]
    offsets = np.cumsum([0, *map(len, numbers)])
    random = np.random.default_rng(6)
    for shape in RANGES[:5]:
        touching = shape.find_touching_polygons(offsets, np.concatenate(numbers))
        lons = (shape.lon1 + random.uniform(0, shape.width, 40_000)) % 360.0
        lats = np.degrees(np.arcsin(random.uniform(*np.sin(np.radians([shape.lat1, shape.lat2])), 40_000)))
        shown = np.array([polygon.contains(lons, lats).any() for polygon in polygons])
        assert not (shown & ~touching).any()
        unshown = np.flatnonzero(touching & ~shown)
        for number in unshown:
            begins = np.array(
                [to_vector(*corner) for corner in zip(polygons[number].lons, polygons[number].lats, strict=True)]
            )
            ends = np.roll(begins, -1, axis=0)
            steps = np.linspace(0, 1, 2001)[:, None, None]
            points = (begins * (1 - steps) + ends * steps).reshape(-1, 3)
            points /= np.linalg.norm(points, axis=1)[:, None]
            edge_lons = np.degrees(np.arctan2(points[:, 1], points[:, 0])) % 360.0
            edge_lats = np.degrees(np.arcsin(np.clip(points[:, 2], -1, 1)))
            is_near = shape.compute_boundary_distances(edge_lons, edge_lats) < 0.2
            assert (is_near | shape.contains(edge_lons, edge_lats)).any()


@pytest.mark.parametrize("is_range_first", [False, True])
def test_columns_of_text_are_compared_as_single_rows(is_range_first: bool) -> None:
    function = SKY_FUNCTIONS["hven_intersects_text"]
    polygons = draw_polygons(60, 7)
    assert len(polygons) >= MIN_VECTORIZED_ROWS
    texts = pa.array([polygon.to_text() for polygon in polygons])
    constants = [shape.to_text() for shape in RANGES]
    constants += ["RANGE 0 360 80 90 range 0 10 -5 5", "range 10 20 30", "range 1 2 3 4 circle 0 0 5"]
    for constant in constants:
        columns = [texts, pa.array([constant] * len(texts))]
        columns = columns[::-1] if is_range_first else columns
        whole = function(*columns).to_pylist()
        single = [function(*(column.slice(row, 1) for column in columns))[0].as_py() for row in range(len(texts))]
        assert whole == single, constant
        assert any(whole) or constant in {RANGES[4].to_text(), RANGES[5].to_text(), "range 10 20 30"}


def test_a_column_of_many_ranges_is_compared_row_by_row() -> None:
    function = SKY_FUNCTIONS["hven_intersects_text"]
    count = MAX_VECTORIZED_RANGES + MIN_VECTORIZED_ROWS
    ranges = pa.array([f"range {number} {number + 1} -1 1" for number in range(count)])
    polygons = pa.array(["polygon 10 0 20 0 15 1"] * count)
    touched = np.flatnonzero(np.asarray(function(polygons, ranges))).tolist()
    assert touched == list(range(9, 21))


def test_a_polygon_on_one_arc_has_the_cells_of_the_arc_alone() -> None:
    meridian = Polygon((30.0, 77.0, 30.0), (-90.0, -90.0, -76.0))
    cells = meridian.cover_with_cells(8)
    lons, lats = healpix.compute_cell_centers(8, np.concatenate([np.arange(*row) for row in cells >> 42]))
    assert meridian.ring.compute_boundary_distances(lons, lats).max() < 0.5
    hemisphere = Polygon((0.0, 120.0, 240.0), (0.0, 0.0, 0.0))
    assert (np.diff(hemisphere.cover_with_cells(4)).sum() / healpix.MAX_ORDER_CELL_COUNT) > 0.5
