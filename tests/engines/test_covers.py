"""Covers of the shapes in queries hold every position inside, also where cdshealpix's own do not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hven.engines._query_analysis.shape_covers import cover_shape_with_cells
from hven.model.sky import Box, Circle, healpix
from shared import EXAMPLES_FACTOR

RNG = np.random.default_rng(7)
LON, LAT = RNG.uniform(0, 360, 40_000), np.degrees(np.arcsin(RNG.uniform(-1, 1, 40_000)))
CELLS = healpix.compute_cell_indexes(29, LON, LAT)


def count_missed_cells(shape) -> int:
    return int((shape.contains(LON, LAT) & ~healpix.is_in_ranges(cover_shape_with_cells(shape), CELLS)).sum())


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 45.3, 45.3),
        (0.5, 0.1, 45.3, 45.3),
        (0, 0, 170, 90),
        (360, 10, 20, 0.2),
        (10, 89, 3, 1),
        (200, -89.9, 100, 0.1),
        (359.9, 0, 1, 1),
    ],
)
def test_boxes_at_the_meridian_and_the_poles(box):
    shape = Box(*box)
    assert count_missed_cells(shape) == 0
    ranges = cover_shape_with_cells(shape)
    assert (ranges[1:, 0] > ranges[:-1, 1]).all()


@settings(max_examples=60 * EXAMPLES_FACTOR, deadline=None)
@given(
    lon=st.sampled_from([0.0, 0.1, 45.0, 359.9]) | st.floats(0, 360),
    lat=st.floats(-89, 89),
    width=st.floats(0.05, 80),
    height=st.floats(0.05, 60),
)
def test_any_box(lon, lat, width, height):
    assert count_missed_cells(Box(lon, lat, width, height)) == 0


@settings(max_examples=60 * EXAMPLES_FACTOR, deadline=None)
@given(
    lon=st.floats(0, 360),
    lat=st.floats(-90, 90),
    radius=st.sampled_from([0.0, 1e-300, 90.0, 180.0]) | st.floats(0, 180),
)
def test_any_circle(lon, lat, radius):
    assert count_missed_cells(Circle(lon, lat, radius)) == 0


def test_a_cover_is_not_much_larger_than_its_shape():
    for shape in (Circle(40, 20, 0.1), Box(40, 20, 2, 3), Circle(0, 90, 5), Box(0, 0, 30, 30)):
        ranges = cover_shape_with_cells(shape)
        area = float((ranges[:, 1] - ranges[:, 0]).sum()) / healpix.MAX_ORDER_CELL_COUNT * 129600 / np.pi
        assert area < 5 * shape.compute_area()
        assert len(ranges) < 200
