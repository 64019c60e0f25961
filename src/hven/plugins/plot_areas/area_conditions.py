"""Conditions of searches that rows lie in a polygon over two columns: parse them, and build their ADQL.

The address has a polygon as ``_area=mass;z;1e14 0.1, 3e14 0.1, 2e14 0.3``. Up to three fields may follow: the axes with
logarithms (``x``, ``y``, ``xy``), and the units of the numbers of both columns.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from hven.adql import syntax_tree
from hven.adql.syntax_tree import BetweenPredicate, BinaryOperation, Comparison, Conjunction, Disjunction, Literal
from hven.model.errors import UserError, format_message
from hven.plugins.plot_areas.trapezoids import split_into_trapezoids
from hven.portal.api.column_values import build_column_ref
from hven.portal.api.plots import UnitScale, build_unit_scale, is_plottable, is_plotted_as_julian_date
from hven.portal.api.search_forms import SearchCondition

if TYPE_CHECKING:
    from hven.model.table import Column, Table
    from hven.plugins.plot_areas.trapezoids import PolygonSide, Trapezoid

MIN_CORNERS, MAX_CORNERS = 3, 200
MAX_AREA_CHARACTERS = 16_000
UNIX_EPOCH_JD = 2_440_587.5
DAY_SECONDS = 86_400
_REMEDY = "write two columns and at least three corners, such as mass; z; 1e14 0.1, 3e14 0.1, 2e14 0.3"


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaAxis:
    """A column of an area, as a plot shows it.

    Attributes
    ----------
    column
        The column: numbers, or times as Julian dates.
    is_logarithmic
        Whether lines of the area are straight over the logarithms of the values.
    unit_scale
        The scale of the numbers of the area; None: they are in the unit of the column.
    """

    column: Column
    is_logarithmic: bool
    unit_scale: UnitScale | None

    def parse_place(self, text: str) -> float:
        """Parse a value as a place on the axis.

        Parameters
        ----------
        text
            A number in the unit of the axis, or a time.

        Returns
        -------
        place
            The number, its logarithm, or the Julian date of the time.

        Raises
        ------
        ValueError
            The text is no finite number and no time, or it has no logarithm.
        """
        try:
            number = float(text)
        except ValueError:
            if not is_plotted_as_julian_date(self.column):
                raise
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            days = moment.timestamp() / DAY_SECONDS
            number = days + UNIX_EPOCH_JD
        if self.is_logarithmic:
            number = math.log10(number)
        if not math.isfinite(number):
            raise ValueError(text)
        return number

    def build_value(self) -> syntax_tree.Expr:
        """Build the place of a row on the axis.

        Returns
        -------
        value
            An expression of the column.
        """
        column = self.column
        value: syntax_tree.Expr = build_column_ref(column.name)
        if column.type.is_timestamp:
            value = syntax_tree.FunctionCall("IVO_TO_JD", (value,))
        elif column.epoch:
            value = BinaryOperation("+", value, Literal(float(column.epoch)))
        if self.unit_scale is not None and self.unit_scale.is_inverse:
            value = BinaryOperation("/", Literal(float(self.unit_scale.factor)), value)
        elif self.unit_scale is not None:
            value = BinaryOperation("*", value, Literal(float(self.unit_scale.factor)))
        if self.is_logarithmic:
            value = syntax_tree.FunctionCall("LOG10", (value,))
        return value


def build_area_condition(table: Table, text: str) -> syntax_tree.Expr:
    """Build the condition that rows lie in a polygon over two columns; its border belongs to it.

    Parameters
    ----------
    table
        The table, with the columns that the reader may see.
    text
        The polygon, as in the address.

    Returns
    -------
    condition
        Comparisons of both columns. Rows without one of the values do not meet it.

    Raises
    ------
    UserError
        The text is no polygon over two columns of the table, or the polygon is too large.
    """
    fields = _split_fields(text)
    columns = [_find_column(table, name) for name in fields[:2]]
    axes = []
    for axis_name, column, unit in zip("xy", columns, fields[4:6], strict=True):
        is_logarithmic = axis_name in fields[3]
        unit_scale = _find_unit_scale(column, unit)
        axes.append(AreaAxis(column=column, is_logarithmic=is_logarithmic, unit_scale=unit_scale))
    corners = [_parse_corner(corner, axes) for corner in fields[2].split(",") if corner.strip()]
    if not MIN_CORNERS <= len(corners) <= MAX_CORNERS:
        message = format_message("the area has {count} corners; it needs 3 to {limit}", len(corners), MAX_CORNERS)
        raise UserError(message, remedy=_REMEDY)
    x, y = np.array(corners, np.float64).T
    try:
        trapezoids = split_into_trapezoids(x, y)
    except ValueError:
        raise UserError("the lines of the area cross too often", remedy="draw an area with fewer corners") from None
    if not trapezoids:
        raise UserError("the corners of the area lie on one line", remedy=_REMEDY)
    return _build_polygon_condition(axes, trapezoids)


def _split_fields(text: str) -> list[str]:
    """Split an area into its six fields."""
    if len(text) > MAX_AREA_CHARACTERS:
        message = format_message("the area has more than {limit} characters", MAX_AREA_CHARACTERS)
        raise UserError(message, remedy="draw an area with fewer corners")
    fields = next(csv.reader([text.replace("\n", " ")], delimiter=";", skipinitialspace=True), [])
    fields = [field.strip() for field in fields]
    if not 3 <= len(fields) <= 6:
        message = format_message("{text!r} is not an area of a plot", text[:60])
        raise UserError(message, remedy=_REMEDY)
    fields += [""] * (6 - len(fields))
    if not set(fields[3]) <= set("xy"):
        message = format_message("{text!r} does not name axes with logarithms", fields[3][:20])
        raise UserError(message, remedy="write x, y, xy or nothing")
    return fields


def _find_column(table: Table, name: str) -> Column:
    for column in table.columns:
        if column.name.lower() == name.lower() and is_plottable(column):
            return column
    message = format_message("the table has no column {name!r} of numbers or times", name[:60])
    names = ", ".join(column.name for column in table.columns if is_plottable(column))
    remedy = format_message("use two of {names}", names[:200])
    raise UserError(message, remedy=remedy)


def _find_unit_scale(column: Column, unit: str) -> UnitScale | None:
    if not unit:
        return None
    unit_scale = build_unit_scale(column, unit)
    if unit_scale is None or unit_scale.is_sexagesimal:
        message = format_message("the column {name!r} has no values in {unit!r}", column.name, unit[:60])
        remedy = format_message("leave out the unit: numbers are in {unit!r}", column.unit or "")
        raise UserError(message, remedy=remedy)
    return unit_scale


def _parse_corner(text: str, axes: list[AreaAxis]) -> list[float]:
    words = text.split()
    try:
        return [axis.parse_place(word) for axis, word in zip(axes, words, strict=True)]
    except (ValueError, OverflowError):
        names = [axis.column.name for axis in axes]
        message = format_message("{corner!r:.60} is not a corner over {first} and {second}", text.strip(), *names)
        raise UserError(message, remedy=_REMEDY) from None


def _build_polygon_condition(axes: list[AreaAxis], trapezoids: list[Trapezoid]) -> syntax_tree.Expr:
    """Build the condition that a row is in one of the trapezoids; the range of `x` comes first, because it is cheap."""
    x, y = (axis.build_value() for axis in axes)
    parts: list[syntax_tree.Expr] = []
    for trapezoid in trapezoids:
        between = BetweenPredicate(x, Literal(trapezoid.left), Literal(trapezoid.right))
        low = build_side_height(trapezoid.lower_side, x)
        high = build_side_height(trapezoid.upper_side, x)
        above = Comparison(">=", y, low)
        below = Comparison("<=", y, high)
        parts.append(Conjunction((between, above, below)))
    if len(parts) == 1:
        return parts[0]
    left = min(trapezoid.left for trapezoid in trapezoids)
    right = max(trapezoid.right for trapezoid in trapezoids)
    return Conjunction((BetweenPredicate(x, Literal(left), Literal(right)), Disjunction(tuple(parts))))


def build_side_height(side: PolygonSide, x: syntax_tree.Expr) -> syntax_tree.Expr:
    """Build the height of a side of a polygon above a row.

    Parameters
    ----------
    side
        The side.
    x
        The place of the row across.

    Returns
    -------
    height
        An expression of `x`, or a number if the side is level.
    """
    if not side.slope:
        return Literal(side.left_height)
    distance = BinaryOperation("-", x, Literal(side.left))
    rise = BinaryOperation("*", Literal(abs(side.slope)), distance)
    return BinaryOperation("+" if side.slope > 0 else "-", Literal(side.left_height), rise)


AREA = SearchCondition(label="Area", build_condition=build_area_condition)
