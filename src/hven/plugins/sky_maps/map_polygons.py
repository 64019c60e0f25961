"""Conditions of searches that rows touch a polygon on the map of a body: parse them, and build their ADQL.

The address has a polygon as ``_polygon=-300 200, 100 250, 0 -50``: corners in the coordinates of the map, whose sides
are straight there. A row touches it with its box (EPN-TAP's c1 and c2), or with its point.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hven.adql.syntax_tree import BinaryOperation, Comparison, Conjunction, Disjunction, FunctionCall, Literal
from hven.model.errors import UserError, format_message
from hven.plugins.plot_areas.area_conditions import build_side_height
from hven.plugins.plot_areas.trapezoids import split_into_trapezoids
from hven.portal.api.column_values import build_column_ref
from hven.portal.api.table_places import find_map_frame

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.adql.syntax_tree import Expr
    from hven.model.table import Table
    from hven.plugins.plot_areas.trapezoids import Trapezoid

    Numbers = npt.NDArray[np.float64]

POLYGON_PARAMETER = "_polygon"
MIN_CORNERS, MAX_CORNERS = 3, 200
MAX_POLYGON_CHARACTERS = 8000
MAX_COORDINATE = 100_000.0  # degrees, or arcsec
MAX_CONDITION_TRAPEZOIDS = 600  # of the whole query, also those that are repeated around the body
TURN_DEGREES = 360.0
_REMEDY = "write at least three corners, each with both coordinates of the map, such as 10 -20, 30 -20, 20 15"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowBox:
    """The box of a row, as expressions of its columns.

    Attributes
    ----------
    west, south, east, north
        Its edges. On a map of longitudes, the western edge is from 0 to 360 degrees, and the eastern one at most 360
        degrees farther.
    is_point
        Whether both edges of each axis are the same column.
    """

    west: Expr
    south: Expr
    east: Expr
    north: Expr
    is_point: bool


def build_polygon_condition(table: Table, text: str) -> Expr:
    """Build the condition that rows touch a polygon on the map of a body; its border belongs to it.

    Parameters
    ----------
    table
        The table, with the columns that the reader may see.
    text
        The corners, as in the address.

    Returns
    -------
    condition
        Comparisons of the columns of the map. Rows without a place do not meet it.

    Raises
    ------
    UserError
        The table has no positions on a body; the text is no polygon, or the polygon is too large.
    """
    map_frame = find_map_frame(table)
    if map_frame is None:
        raise UserError("this table has no positions on a body", remedy="leave out the polygon")
    x, y = parse_polygon_corners(text)
    is_cyclic = not map_frame.radius
    if is_cyclic:
        x, y = compute_continuous_longitudes(x, y)
    return build_corner_condition(map_frame.bounds, x, y, is_cyclic=is_cyclic)


def build_corner_condition(bounds: tuple[str, str, str, str], x: Numbers, y: Numbers, *, is_cyclic: bool) -> Expr:
    """Build the condition that the boxes of rows touch a polygon; its border belongs to it.

    Parameters
    ----------
    bounds
        Columns of west, south, east and north; those of points have two columns twice.
    x, y
        Coordinates of the corners, with `is_cyclic` those of `compute_continuous_longitudes`.
    is_cyclic
        Whether `x` are longitudes.

    Returns
    -------
    condition
        Comparisons of the columns. Rows without values do not meet it.

    Raises
    ------
    UserError
        The polygon has no extent, or needs too many comparisons.
    """
    box = build_row_box(bounds, is_cyclic=is_cyclic)
    last_degrees = 2 * TURN_DEGREES
    if box.is_point:
        last_degrees = TURN_DEGREES
    try:
        trapezoids = split_into_trapezoids(x, y)
        if is_cyclic:
            trapezoids = _repeat_around_body(trapezoids, last_degrees)
    except ValueError:
        remedy = "draw a polygon with fewer corners"
        raise UserError("the lines of the polygon cross too often", remedy=remedy) from None
    if not trapezoids:
        raise UserError("the corners of the polygon lie on one line", remedy=_REMEDY)
    parts = [_build_touch_condition(trapezoid, box) for trapezoid in trapezoids]
    if is_cyclic and not box.is_point:
        parts.append(build_full_turn_condition(bounds))
    touches = parts[0]
    if len(parts) > 1:
        touches = Disjunction(tuple(parts))
    lowest = float(y.min())
    highest = float(y.max())
    reaches_up = _build_lower_bound(box.north, lowest)
    reaches_down = _build_upper_bound(box.south, highest)
    return Conjunction((reaches_up, reaches_down, touches))


def build_full_turn_condition(bounds: tuple[str, str, str, str]) -> Comparison:
    """Build the condition that a box has all longitudes."""
    west = build_column_ref(bounds[0])
    east = build_column_ref(bounds[2])
    return _build_lower_bound(BinaryOperation("-", east, west), TURN_DEGREES)


def parse_polygon_corners(text: str) -> tuple[Numbers, Numbers]:
    """Parse the corners of a polygon.

    Parameters
    ----------
    text
        Pairs of coordinates, separated by commas.

    Returns
    -------
    x, y
        Both coordinates of the corners, in the unit of the map.

    Raises
    ------
    UserError
        The text is no polygon.
    """
    if len(text) > MAX_POLYGON_CHARACTERS:
        message = format_message("the polygon has more than {limit} characters", MAX_POLYGON_CHARACTERS)
        raise UserError(message, remedy="draw a polygon with fewer corners")
    corners = [_parse_corner(corner) for corner in text.split(",") if corner.strip()]
    if not MIN_CORNERS <= len(corners) <= MAX_CORNERS:
        message = format_message("the polygon has {count} corners; it needs 3 to {limit}", len(corners), MAX_CORNERS)
        raise UserError(message, remedy=_REMEDY)
    x, y = np.array(corners, np.float64).T
    return x, y


def _parse_corner(text: str) -> list[float]:
    try:
        first, second = (float(word) for word in text.split())
    except ValueError:
        first = second = np.inf
    if not (abs(first) <= MAX_COORDINATE and abs(second) <= MAX_COORDINATE):
        message = format_message("{corner!r:.60} is not a corner on the map", text.strip())
        raise UserError(message, remedy=_REMEDY)
    return [first, second]


def compute_continuous_longitudes(x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
    """Compute longitudes that go on across 0, so that each corner is within half a turn of the one before.

    A polygon around a pole, which is the nearer one, is closed along that edge of the map.

    Parameters
    ----------
    x, y
        Longitudes and latitudes of the corners (degrees).

    Returns
    -------
    x, y
        The corners of the same polygon on a map that goes on beyond 360 degrees. The smallest longitude is from 0 to
        360.
    """
    half_turn = TURN_DEGREES / 2
    raw_steps = np.diff(x, append=x[:1])
    steps = (raw_steps + half_turn) % TURN_DEGREES - half_turn
    distances = np.append(0.0, np.cumsum(steps))
    lons = np.round(x[0] + distances, 9)
    if abs(lons[-1] - lons[0]) > half_turn:
        pole = 90.0
        if y.mean() < 0:
            pole = -90.0
        x = np.append(lons, [lons[-1], lons[0]])
        y = np.append(y, [y[0], pole, pole])
    else:
        x = lons[:-1]
    turn_count = np.floor(x.min() / TURN_DEGREES)
    return x - TURN_DEGREES * turn_count, y


def build_row_box(bounds: tuple[str, str, str, str], *, is_cyclic: bool) -> RowBox:
    """Build the box of a row.

    Parameters
    ----------
    bounds
        Columns of west, south, east and north.
    is_cyclic
        Whether west and east are longitudes.
    """
    west_name, south_name, east_name, north_name = bounds
    west: Expr = build_column_ref(west_name)
    east: Expr = build_column_ref(east_name)
    is_point = bounds[:2] == bounds[2:]
    if is_cyclic:
        width = BinaryOperation("-", east, west)
        west = east = _remove_turns(west)
        if not is_point:
            east = BinaryOperation("+", west, _remove_turns(width))
    south = build_column_ref(south_name)
    north = build_column_ref(north_name)
    return RowBox(west=west, south=south, east=east, north=north, is_point=is_point)


def _remove_turns(angle: Expr) -> Expr:
    """Remove whole turns, so that the rest is from 0 to 360 degrees."""
    turn = Literal(TURN_DEGREES)
    quotient = BinaryOperation("/", angle, turn)
    turn_count = FunctionCall("FLOOR", (quotient,))
    turns = BinaryOperation("*", turn, turn_count)
    return BinaryOperation("-", angle, turns)


def _repeat_around_body(trapezoids: list[Trapezoid], last_degrees: float) -> list[Trapezoid]:
    """Repeat trapezoids at each turn at which rows from 0 to `last_degrees` can touch them.

    Raises
    ------
    ValueError
        These are too many.
    """
    copies: list[Trapezoid] = []
    last_right = max((trapezoid.right for trapezoid in trapezoids), default=0.0)
    first_turn = -int(last_right // TURN_DEGREES)
    for turn in range(first_turn, 2):
        moved = [_move_trapezoid(trapezoid, turn * TURN_DEGREES) for trapezoid in trapezoids]
        copies += [trapezoid for trapezoid in moved if trapezoid.right >= 0 and trapezoid.left <= last_degrees]
    if len(copies) > MAX_CONDITION_TRAPEZOIDS:
        raise ValueError(len(copies))
    return copies


def _move_trapezoid(trapezoid: Trapezoid, shift: float) -> Trapezoid:
    lower = trapezoid.lower_side
    upper = trapezoid.upper_side
    lower = replace(lower, left=lower.left + shift)
    upper = replace(upper, left=upper.left + shift)
    left = trapezoid.left + shift
    right = trapezoid.right + shift
    return replace(trapezoid, left=left, right=right, lower_side=lower, upper_side=upper)


def _build_touch_condition(trapezoid: Trapezoid, box: RowBox) -> Expr:
    """Build the condition that a box and a trapezoid touch: no line along a side of either one separates them."""
    lower = trapezoid.lower_side
    upper = trapezoid.upper_side
    lower_corner = upper_corner = box.east
    if lower.slope > 0:
        lower_corner = box.west
    if upper.slope <= 0:
        upper_corner = box.west
    lower_height = build_side_height(lower, lower_corner)
    upper_height = build_side_height(upper, upper_corner)
    tests = [
        _build_upper_bound(box.west, trapezoid.right),
        _build_lower_bound(box.east, trapezoid.left),
        Comparison(">=", box.north, lower_height),
        Comparison("<=", box.south, upper_height),
    ]
    if lower.slope and not box.is_point:
        begin = lower.compute_height(trapezoid.left)
        end = lower.compute_height(trapezoid.right)
        tests.append(_build_lower_bound(box.north, min(begin, end)))
    if upper.slope and not box.is_point:
        begin = upper.compute_height(trapezoid.left)
        end = upper.compute_height(trapezoid.right)
        tests.append(_build_upper_bound(box.south, max(begin, end)))
    return Conjunction(tuple(tests))


def _build_lower_bound(coordinate: Expr, bound: float) -> Comparison:
    return Comparison(">=", coordinate, Literal(bound))


def _build_upper_bound(coordinate: Expr, bound: float) -> Comparison:
    return Comparison("<=", coordinate, Literal(bound))
