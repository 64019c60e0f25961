"""Polygons as trapezoids, against shapely and against a count of windings."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from shapely import LineString, Polygon, contains_xy, distance, points

from hven.plugins.plot_areas.trapezoids import split_into_trapezoids

Numbers = npt.NDArray[np.float64]
PLACES = st.integers(-12, 12).map(lambda number: number / 4)  # many equal places, and sides on one line
CORNERS = st.tuples(PLACES, PLACES) | st.tuples(st.floats(-3, 3), st.floats(-3, 3))


def find_inside(corners: Numbers, x: Numbers, y: Numbers) -> npt.NDArray[np.bool_]:
    """Find the points that are in one of the trapezoids."""
    is_inside = np.zeros(len(x), np.bool_)
    for part in split_into_trapezoids(*corners.T):
        lower = part.lower_side.left_height + part.lower_side.slope * (x - part.lower_side.left)
        upper = part.upper_side.left_height + part.upper_side.slope * (x - part.upper_side.left)
        is_inside |= (x >= part.left) & (x <= part.right) & (y >= lower) & (y <= upper)
    return is_inside


def count_windings(corners: Numbers, x: Numbers, y: Numbers) -> npt.NDArray[np.int64]:
    """Count how often the outline goes around each point, by the angles of the corners as seen from it."""
    angles = np.arctan2(corners[:, 1] - y[:, None], corners[:, 0] - x[:, None])
    turns = np.diff(np.column_stack([angles, angles[:, 0]]), axis=1)
    turns = (turns + np.pi) % (2 * np.pi) - np.pi
    return np.rint(turns.sum(axis=1) / (2 * np.pi)).astype(np.int64)


@given(
    radii=st.lists(st.floats(0.1, 3), min_size=3, max_size=60),
    scale=st.sampled_from([(1.0, 1.0), (1e-9, 1e14), (1e6, 1e-6)]),
    offset=st.sampled_from([(0.0, 0.0), (2_453_005.5, 3.0), (-70.0, -1e5)]),
    seed=st.integers(0, 1000),
)
def test_simple_polygons_are_those_of_shapely(
    radii: list[float], scale: tuple[float, float], offset: tuple[float, float], seed: int
) -> None:
    made = np.random.default_rng(seed)
    angles = np.sort(made.uniform(0, 2 * np.pi, len(radii)))
    outline = np.column_stack([radii * np.cos(angles), radii * np.sin(angles)])
    x, y = made.uniform(-3.2, 3.2, (2, 400))
    exact = Polygon(outline)
    is_far = distance(exact.boundary, points(x, y)) > 1e-3
    found = find_inside(
        outline * scale + offset, np.asarray(x * scale[0] + offset[0]), np.asarray(y * scale[1] + offset[1])
    )
    if scale[0] < 1e-3 and offset[0] != 0:
        return  # such numbers do not have the digits
    if len(radii) > 2 and exact.is_valid:
        np.testing.assert_array_equal(found[is_far], contains_xy(exact, x, y)[is_far])


@example(corners=[(0, 0), (0, 1e-200), (1, 1)], seed=0)
@given(corners=st.lists(CORNERS, min_size=3, max_size=30), seed=st.integers(0, 1000))
def test_outlines_that_cross_hold_what_they_go_around(corners: list[tuple[float, float]], seed: int) -> None:
    outline = np.array(corners, np.float64)
    made = np.random.default_rng(seed)
    x, y = made.uniform(-3.2, 3.2, (2, 300))
    line = LineString([*corners, corners[0]])
    with np.errstate(divide="ignore", invalid="ignore"):  # shapely divides by the squared lengths of tiny sides
        is_far = distance(line, points(x, y)) > 1e-6
    np.testing.assert_array_equal(find_inside(outline, x, y)[is_far], (count_windings(outline, x, y) != 0)[is_far])


def test_corners_and_sides_belong_to_a_polygon() -> None:
    square = np.array([[0, 0], [2, 0], [2, 2], [0, 2]], np.float64)
    on_border = np.array([[0, 0], [1, 0], [2, 1], [2, 2], [0, 1], [1, 1]], np.float64)
    assert find_inside(square, *on_border.T).all()
    assert len(split_into_trapezoids(*square.T)) == 1


@pytest.mark.parametrize("corners", [[(0, 0), (1, 1), (2, 2)], [(0, 0), (0, 1), (0, 2)], [(1, 1)] * 3])
def test_a_line_holds_nothing_beside_it(corners: list[tuple[float, float]]) -> None:
    x, y = np.array(corners, np.float64).T
    parts = split_into_trapezoids(x, y)
    assert all(part.lower_side.slope == part.upper_side.slope for part in parts)


def test_a_convex_outline_has_a_trapezoid_between_two_corners() -> None:
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False) + 0.01
    assert len(split_into_trapezoids(np.cos(angles), np.sin(angles))) <= 59
