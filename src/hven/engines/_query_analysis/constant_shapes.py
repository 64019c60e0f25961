"""Shapes that a query writes in place, however it writes them.

Literals, text, other frames, MOCs, and shapes made of shapes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hven.adql.syntax_tree import Cast, Expr, FunctionCall, Literal
from hven.engines._query_analysis.constants import SHAPE_FUNCTION_COMPILERS, compile_constant, is_text
from hven.engines._query_analysis.shape_parsing import compute_shape_cells, parse_shape
from hven.model.sky import Box, Circle, Moc, Point, Polygon, Shape, frames, from_array, healpix, sphere
from hven.model.types import FLOAT64, POINT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.engines._query_analysis.constants import Constant, Value

    Values = Sequence[Value]
    Made = Shape | Moc | None
    Maker = Callable[[Values], Made]


def list_shape_arguments(call: FunctionCall) -> tuple[Expr, ...]:
    """Return the arguments of a geometry function without the deprecated coordinate system."""
    if call.args and is_text(call.args[0]):
        return call.args[1:]
    return call.args


def match_point_coordinates(expression: Expr) -> tuple[Expr, Expr] | None:
    """Return longitude and latitude of ``POINT(lon, lat)``, or of another point that is a constant."""
    if isinstance(expression, FunctionCall) and expression.name == "POINT":
        args = list_shape_arguments(expression)
        if len(args) == 2:
            return (args[0], args[1])
        return None
    point_meta = expression.meta
    if (
        point_meta is not None
        and point_meta.constant
        and point_meta.type == POINT
        and isinstance(expression, Cast | FunctionCall)
    ):
        coordinate_meta = replace(point_meta, type=FLOAT64, unit="deg")
        return FunctionCall(
            "COORD1", (expression,), text_offset=expression.text_offset, meta=coordinate_meta
        ), FunctionCall("COORD2", (expression,), text_offset=expression.text_offset, meta=coordinate_meta)
    return None


@dataclass(frozen=True, slots=True)
class ConstantShape:
    """A shape whose numbers are known when the plan runs. `kind`.

    CIRCLE, BOX, POLYGON, or that of the value that `build_value` makes.
    """

    kind: str
    numbers: tuple[Constant, ...] = ()
    build_value: Callable[[Sequence[float | str | None]], Shape | Moc | None] | None = None

    def build_shape(self, literal_values: Sequence[float | str | None]) -> Shape | Moc | None:
        """Make the shape; None if it is none (the engine then says what is wrong with it)."""
        if self.build_value is not None:
            return self.build_value(literal_values)
        numbers = []
        for number in self.numbers:
            value = number(literal_values)
            if not isinstance(value, int | float):
                return None
            numbers.append(float(value))
        try:
            if self.kind == "CIRCLE":
                return Circle(*numbers)
            if self.kind == "BOX":
                return Box(*numbers)
            return Polygon(tuple(numbers[::2]), tuple(numbers[1::2]))
        except (ValueError, ArithmeticError):
            return None


def match_constant_shape(expression: Expr, free_slots: frozenset[int]) -> ConstantShape | None:
    """Recognise a shape of constants."""
    if not isinstance(expression, FunctionCall) or expression.name not in {"CIRCLE", "BOX", "POLYGON"}:
        expression_meta = expression.meta
        if (
            expression_meta is None
            or not expression_meta.constant
            or not expression_meta.type.is_geometry
            or not isinstance(expression, Cast | FunctionCall)
        ):
            return None
        maker = compile_shape(expression, free_slots)
        if maker is None:
            return None
        return ConstantShape(expression_meta.type.adql, build_value=maker)
    number_expressions: list[Expr] = []
    for arg in list_shape_arguments(expression):
        point = match_point_coordinates(arg)
        number_expressions += [arg] if point is None else list(point)
    if (
        len(number_expressions) != {"CIRCLE": 3, "BOX": 4}.get(expression.name, len(number_expressions))
        or len(number_expressions) % 2 != (expression.name == "CIRCLE")
        or len(number_expressions) < 3
    ):
        return None
    numbers = [compile_constant(item, free_slots) for item in number_expressions]
    number_constants = tuple(number for number in numbers if number is not None)
    if len(number_constants) == len(numbers):
        return ConstantShape(expression.name, number_constants)
    return None


def compile_shape(expression: Expr, free_slots: frozenset[int]) -> Maker | None:
    """Return a function of the plan's literals that makes a shape; None if it is made of anything else.

    Where it gives None the engine is asked, which says what is wrong with the shape, or that it is NULL.
    """
    if isinstance(expression, FunctionCall) and expression.name in {"CIRCLE", "BOX", "POLYGON"}:
        constant_shape = match_constant_shape(expression, free_slots)
        return None if constant_shape is None else constant_shape.build_shape
    if isinstance(expression, Cast) and expression.target in {"POINT", "CIRCLE", "POLYGON"}:
        kind, text = expression.target.lower(), compile_constant(expression.operand, free_slots)
        if text is None:
            return None
        return lambda values: _parse_shape_numbers(kind, text(values))
    if not isinstance(expression, FunctionCall) or expression.name not in _SHAPE_COMPILERS:
        return None
    return _wrap_none_on_error(_SHAPE_COMPILERS[expression.name](expression, free_slots))


def compile_point(
    expression: Expr, free_slots: frozenset[int]
) -> Callable[[Values], tuple[float, float] | None] | None:
    """Return a function of the plan's literals that computes a position."""
    make = compile_shape(expression, free_slots)
    if make is None:
        return None

    def compute_point(literal_values: Values) -> tuple[float, float] | None:
        shape = make(literal_values)
        if isinstance(shape, Point):
            return (shape.lon, shape.lat)
        return None

    return compute_point


def _wrap_none_on_error(build_shape: Maker | None) -> Maker | None:
    if build_shape is None:
        return None
    inner = build_shape

    def build_or_none(literal_values: Values) -> Made:
        try:
            return inner(literal_values)
        except (ValueError, ArithmeticError):
            return None

    return build_or_none


def _parse_shape_numbers(shape_kind: str, text: Value) -> Shape | None:
    try:
        return from_array(shape_kind, tuple(float(word) for word in str(text).replace(",", " ").split()))
    except ValueError:
        return None


def _compile_numbers(
    expressions: Sequence[Expr], free_slots: frozenset[int]
) -> Callable[[Values], list[float | None]] | None:
    constants = [compile_constant(expr, free_slots) for expr in expressions]
    number_constants = [number for number in constants if number is not None]
    if len(number_constants) < len(constants):
        return None
    return lambda values: [None if (value := number(values)) is None else float(value) for number in number_constants]


def _compile_point(expression: FunctionCall, free_slots: frozenset[int]) -> Maker | None:
    numbers = _compile_numbers(match_point_coordinates(expression) or (), free_slots)
    if numbers is None:
        return None

    def build_point(literal_values: Values) -> Made:
        lon, lat = numbers(literal_values)
        if lon is None or lat is None:
            return None
        return Point(lon, lat)

    return build_point


def _compile_region(expression: FunctionCall, free_slots: frozenset[int]) -> Maker | None:
    text = compile_constant(
        list_shape_arguments(expression)[0] if len(expression.args) > 1 else expression.args[0], free_slots
    )
    if text is None:
        return None
    return lambda values: parse_shape(str(text(values)))


def _compile_moc(expression: FunctionCall, free_slots: frozenset[int]) -> Maker | None:
    if len(expression.args) == 1:
        return _compile_region(expression, free_slots)
    order, inner = compile_constant(expression.args[0], free_slots), compile_shape(expression.args[1], free_slots)
    if order is None or inner is None:
        return None

    def build_moc(literal_values: Values) -> Made:
        shape, order_value = inner(literal_values), order(literal_values)
        if shape is None or order_value is None:
            return None
        return compute_shape_cells(shape, int(order_value))

    return build_moc


def _build_moc_compiler(join: Callable[[Moc, Moc], Moc]) -> Callable[[FunctionCall, frozenset[int]], Maker | None]:
    def compile_moc_operation(expression: FunctionCall, free_slots: frozenset[int]) -> Maker | None:
        left_shape, right_shape = (compile_shape(arg, free_slots) for arg in expression.args)
        if left_shape is None or right_shape is None:
            return None

        def build_moc(literal_values: Values) -> Made:
            a, b = left_shape(literal_values), right_shape(literal_values)
            if isinstance(a, Moc) and isinstance(b, Moc):
                return join(a, b)
            return None

        return build_moc

    return compile_moc_operation


def _compile_frame_transform(expression: FunctionCall, free_slots: frozenset[int]) -> Maker | None:
    source, target, inner = *expression.args[:2], compile_shape(expression.args[2], free_slots)
    if inner is None or not isinstance(source, Literal) or not isinstance(target, Literal):
        return None
    names = str(source.value), str(target.value)

    def build_transformed_shape(literal_values: Values) -> Made:
        shape = inner(literal_values)
        if isinstance(shape, Polygon):
            lons, lats = frames.rotate_positions(shape.lons, shape.lats, *names)
            return Polygon(tuple(lons.tolist()), tuple(lats.tolist()))
        if not isinstance(shape, Point | Circle):
            return None
        lon, lat = (float(number[0]) for number in frames.rotate_positions([shape.lon], [shape.lat], *names))
        if isinstance(shape, Point):
            return Point(lon, lat)
        return Circle(lon, lat, shape.radius)

    return build_transformed_shape


def _compile_centroid(expression: FunctionCall, free_slots: frozenset[int]) -> Maker | None:
    inner = compile_shape(expression.args[0], free_slots)
    if inner is None:
        return None

    def build_centroid(literal_values: Values) -> Made:
        shape = inner(literal_values)
        if shape is None or isinstance(shape, Moc):
            return None
        return shape.compute_centroid()

    return build_centroid


def _compile_healpix_center(expression: FunctionCall, free_slots: frozenset[int]) -> Maker | None:
    order, cell = (compile_constant(arg, free_slots) for arg in expression.args)
    if order is None or cell is None:
        return None

    def build_center(literal_values: Values) -> Made:
        cell_values = order(literal_values), cell(literal_values)
        if cell_values[0] is None or cell_values[1] is None:
            return None
        order_value, number = int(cell_values[0]), int(cell_values[1])
        if not 0 <= order_value <= healpix.MAX_ORDER or not 0 <= number < 12 << 2 * order_value:
            return None
        lon, lat = healpix.compute_cell_centers(order_value, [number])
        return Point(float(lon[0]), float(lat[0]))

    return build_center


def _compile_proper_motion(expression: FunctionCall, free_slots: frozenset[int]) -> Maker | None:
    numbers = _compile_numbers(expression.args, free_slots)
    if numbers is None:
        return None
    has_full_motion = expression.name == "IVO_EPOCH_PROP_POS"

    def build_moved_point(literal_values: Values) -> Made:
        motion_values = numbers(literal_values)
        if has_full_motion:
            ra, dec, parallax, pm_ra, pm_dec, velocity, start, end = motion_values
            if ra is None or dec is None or start is None or end is None:
                return None
            motion = [end - start, *(number or 0.0 for number in (pm_ra, pm_dec, parallax, velocity))]
        else:
            ra, dec, pm_ra, pm_dec, years = motion_values
            if ra is None or dec is None or pm_ra is None or pm_dec is None or years is None:
                return None
            motion = [years, 3.6e6 * pm_ra, 3.6e6 * pm_dec, 0.0, 0.0]
        lon, lat = sphere.apply_space_motion(*(np.array([number]) for number in (ra, dec, *motion)))
        return Point(float(lon[0]), float(lat[0]))

    return build_moved_point


_SHAPE_COMPILERS: dict[str, Callable[[FunctionCall, frozenset[int]], Maker | None]] = {
    "POINT": _compile_point,
    "REGION": _compile_region,
    "MOC": _compile_moc,
    "GAVO_MOCUNION": _build_moc_compiler(lambda a, b: a | b),
    "GAVO_MOCINTERSECT": _build_moc_compiler(lambda a, b: a & b),
    "IVO_GEOM_TRANSFORM": _compile_frame_transform,
    "GAVO_TRANSFORM": _compile_frame_transform,
    "CENTROID": _compile_centroid,
    "IVO_HEALPIX_CENTER": _compile_healpix_center,
    "IVO_EPOCH_PROP_POS": _compile_proper_motion,
    "GAVO_APPLY_PM": _compile_proper_motion,
}


def _compile_coordinate(expression: FunctionCall, free_slots: frozenset[int]) -> Constant | None:
    """Compute COORD1 or COORD2 of a constant point."""
    point = compile_point(expression.args[0], free_slots)
    axis = expression.name == "COORD2"
    if point is None:
        return None
    return lambda values: None if (place := point(values)) is None else place[axis]


SHAPE_FUNCTION_COMPILERS.update({"COORD1": _compile_coordinate, "COORD2": _compile_coordinate})
