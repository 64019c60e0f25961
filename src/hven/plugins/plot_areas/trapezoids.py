"""Split polygons into trapezoids with vertical sides, so that comparisons of two numbers decide what is inside."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

MAX_CUTS = 1500  # places at which sides end or cross
MAX_TRAPEZOIDS = 1000
MIN_WIDTH_SHARE = 1e-12  # of the polygon's width: narrower trapezoids come from rounding


@dataclass(frozen=True, slots=True)
class PolygonSide:
    """A side of a polygon, from left to right.

    Attributes
    ----------
    left, left_height
        Place and height of its left end.
    slope
        Change of the height by place.
    direction
        1 if the outline follows the side from left to right, otherwise -1.
    """

    left: float
    left_height: float
    slope: float
    direction: int

    def compute_height(self, place: float) -> float:
        """Compute the height of the side, or of the line through it.

        Parameters
        ----------
        place
            A place across.

        Returns
        -------
        height
            The height there.
        """
        return self.left_height + self.slope * (place - self.left)


@dataclass(frozen=True, slots=True)
class Trapezoid:
    """The part of a polygon between two places and two sides, all of which belong to it.

    Attributes
    ----------
    left, right
        The places where it begins and ends.
    lower_side, upper_side
        The sides below and above it.
    """

    left: float
    right: float
    lower_side: PolygonSide
    upper_side: PolygonSide


def split_into_trapezoids(x: Numbers, y: Numbers) -> list[Trapezoid]:
    """Split a polygon into trapezoids.

    Everything is inside that the outline goes around at least once, as browsers fill polygons (the rule ``nonzero``).

    Parameters
    ----------
    x, y
        Corners of the polygon; its lines can cross. Both have the same length.

    Returns
    -------
    trapezoids
        The trapezoids from left to right; none if the polygon has no extent.

    Raises
    ------
    ValueError
        The polygon has too many trapezoids, because its lines cross too often.
    """
    width = float(np.ptp(x))
    height = float(np.ptp(y))
    if not width or not height:
        return []
    sides = _list_sides(x, y)
    cuts = np.unique(np.concatenate([x, _find_crossings(x, y)]))
    if len(cuts) > MAX_CUTS:
        raise ValueError(len(cuts))
    trapezoids: list[Trapezoid] = []
    open_trapezoids: dict[tuple[PolygonSide, PolygonSide], int] = {}
    for left, right in pairwise(cuts.tolist()):
        if right - left <= MIN_WIDTH_SHARE * width:
            continue
        places = {}
        for pair in _find_side_pairs(sides, left, right):
            place = open_trapezoids.get(pair)
            if place is None:
                place = len(trapezoids)
                trapezoids.append(Trapezoid(left, right, *pair))
            else:  # the same two sides go on
                trapezoids[place] = replace(trapezoids[place], right=right)
            places[pair] = place
        open_trapezoids = places
        if len(trapezoids) > MAX_TRAPEZOIDS:
            raise ValueError(len(trapezoids))
    return trapezoids


def _list_sides(x: Numbers, y: Numbers) -> list[tuple[PolygonSide, float]]:
    """List the sides that are not vertical, each with its right end."""
    sides = []
    corners = list(zip(x.tolist(), y.tolist(), strict=True))
    for begin, end in zip(corners, [*corners[1:], corners[0]], strict=True):
        left, right = sorted((begin, end))
        if left[0] == right[0]:
            continue
        slope = (right[1] - left[1]) / (right[0] - left[0])
        direction = 1 if begin == left else -1
        sides.append((PolygonSide(left[0], left[1], slope, direction), right[0]))
    return sides


def _find_crossings(x: Numbers, y: Numbers) -> Numbers:
    """Find the places at which two sides cross, or one touches another."""
    step_x = np.roll(x, -1) - x
    step_y = np.roll(y, -1) - y
    turn = np.subtract.outer  # of all pairs of sides
    distance_x = -turn(x, x)
    distance_y = -turn(y, y)
    area = step_x[:, None] * step_y[None, :] - step_y[:, None] * step_x[None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (distance_x * step_y[None, :] - distance_y * step_x[None, :]) / area
        other_share = (distance_x * step_y[:, None] - distance_y * step_x[:, None]) / area
        crosses = (area != 0) & (share > 0) & (share < 1) & (other_share >= 0) & (other_share <= 1)
        places = x[:, None] + share * step_x[:, None]
    return np.asarray(places[crosses], np.float64)


def _find_side_pairs(
    sides: list[tuple[PolygonSide, float]], left: float, right: float
) -> list[tuple[PolygonSide, PolygonSide]]:
    """Pair the sides below and above the parts of the polygon between two places, where no sides cross."""
    middle = (left + right) / 2
    spanning = [side for side, end in sides if side.left <= left and end >= right]
    spanning.sort(key=lambda side: side.compute_height(middle))
    pairs = []
    winding = 0
    lower_side = None
    for side in spanning:
        if winding == 0:
            lower_side = side
        winding += side.direction
        if winding == 0 and lower_side is not None:
            pairs.append((lower_side, side))
    return pairs
