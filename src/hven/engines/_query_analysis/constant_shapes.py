"""Compile the constant shapes of a query: literals, text, other frames, MOCs, and shapes made of shapes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hven.adql.syntax_tree import CastExpression, Expr, FunctionCall, Literal
from hven.engines._query_analysis.constants import SHAPE_FUNCTION_COMPILERS, compile_constant, is_string_literal
from hven.engines._query_analysis.shape_parsing import compute_shape_moc, parse_shape
from hven.model.sky import Box, Circle, Moc, Point, Polygon, Shape, build_shape_from_array, frames, healpix, sphere
from hven.model.types import FLOAT64, POINT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.engines._query_analysis.constants import Constant, Value

    Values = Sequence[Value]
    Made = Shape | Moc | None
    Maker = Callable[[Values], Made]


def list_shape_arguments(call: FunctionCall) -> tuple[Expr, ...]:
    """Return the arguments of a geometry function without the deprecated coordinate system."""
    if call.args and is_string_literal(call.args[0]):
        return call.args[1:]
    return call.args


def match_point_coordinates(expression: Expr) -> tuple[Expr, Expr] | None:
    """Return longitude and latitude of ``POINT(lon, lat)``, or of another point that is a constant.

    Parameters
    ----------
    expression
        A bound expression.
    """
    if isinstance(expression, FunctionCall) and expression.name == "POINT":
        args = list_shape_arguments(expression)
        if len(args) == 2:
            return (args[0], args[1])
        return None
    point_meta = expression.meta
    if not isinstance(expression, CastExpression | FunctionCall) or point_meta is None:
        return None
    if not point_meta.constant or point_meta.type != POINT:
        return None
    coordinate_meta = replace(point_meta, type=FLOAT64, unit="deg")
    lon = FunctionCall("COORD1", (expression,), text_offset=expression.text_offset, meta=coordinate_meta)
    lat = FunctionCall("COORD2", (expression,), text_offset=expression.text_offset, meta=coordinate_meta)
    return lon, lat


@dataclass(frozen=True, slots=True)
class ConstantShape:
    """A shape whose numbers are known when the plan runs.

    `kind` is CIRCLE, BOX, POLYGON, or the kind of the value that `build_value` returns.
    """

    kind: str
    numbers: tuple[Constant, ...] = ()
    build_value: Callable[[Sequence[float | str | None]], Shape | Moc | None] | None = None

    def build_shape(self, literal_values: Sequence[float | str | None]) -> Shape | Moc | None:
        """Build the shape; return None if the numbers are no shape (the engine then reports what is wrong).

        Parameters
        ----------
        literal_values
            Values of the literals, by `Literal.slot`: coordinates and radii in degrees.

        Returns
        -------
        shape
            The shape; None if the numbers are none.
        """
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
    """Match a shape of constants; return None for other expressions."""
    if not isinstance(expression, FunctionCall) or expression.name not in {"CIRCLE", "BOX", "POLYGON"}:
        return _match_computed_constant_shape(expression, free_slots)
    number_expressions: list[Expr] = []
    for arg in list_shape_arguments(expression):
        point = match_point_coordinates(arg)
        number_expressions += [arg] if point is None else list(point)
    number_count = len(number_expressions)
    if number_count != {"CIRCLE": 3, "BOX": 4}.get(expression.name, number_count):
        return None
    if number_count < 3 or number_count % 2 != (expression.name == "CIRCLE"):
        return None
    constants = [compile_constant(item, free_slots) for item in number_expressions]
    number_constants = tuple(constant for constant in constants if constant is not None)
    if len(number_constants) < len(constants):
        return None
    return ConstantShape(expression.name, number_constants)


def _match_computed_constant_shape(expression: Expr, free_slots: frozenset[int]) -> ConstantShape | None:
    meta = expression.meta
    if not isinstance(expression, CastExpression | FunctionCall) or meta is None:
        return None
    if not meta.constant or not meta.type.is_geometry:
        return None
    build_shape = compile_shape(expression, free_slots)
    if build_shape is None:
        return None
    return ConstantShape(meta.type.adql, build_value=build_shape)


def compile_shape(expression: Expr, free_slots: frozenset[int]) -> Maker | None:
    """Compile a constant shape to a function of the plan's literals; return None for other expressions.

    The function returns None for an invalid or NULL shape; the engine then reports what is wrong.
    """
    if isinstance(expression, FunctionCall) and expression.name in {"CIRCLE", "BOX", "POLYGON"}:
        constant_shape = match_constant_shape(expression, free_slots)
        if constant_shape is None:
            return None
        return constant_shape.build_shape
    if isinstance(expression, CastExpression) and expression.target in {"POINT", "CIRCLE", "POLYGON"}:
        kind = expression.target.lower()
        text = compile_constant(expression.operand, free_slots)
        if text is None:
            return None
        return lambda values: _parse_shape_numbers(kind, text(values))
    if not isinstance(expression, FunctionCall) or expression.name not in _SHAPE_COMPILERS:
        return None
    return _wrap_none_on_error(_SHAPE_COMPILERS[expression.name](expression, free_slots))


def compile_point(
    expression: Expr, free_slots: frozenset[int]
) -> Callable[[Values], tuple[float, float] | None] | None:
    """Compile a constant position to a function of the plan's literals; return None for other expressions."""
    build_shape = compile_shape(expression, free_slots)
    if build_shape is None:
        return None

    def compute_point(literal_values: Values) -> tuple[float, float] | None:
        shape = build_shape(literal_values)
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
    words = str(text).replace(",", " ").split()
    try:
        return build_shape_from_array(shape_kind, tuple(map(float, words)))
    except ValueError:
        return None


def _compile_numbers(
    expressions: Sequence[Expr], free_slots: frozenset[int]
) -> Callable[[Values], list[float | None]] | None:
    constants = [compile_constant(expr, free_slots) for expr in expressions]
    number_constants = [number for number in constants if number is not None]
    if len(number_constants) < len(constants):
        return None

    def compute_numbers(literal_values: Values) -> list[float | None]:
        values = [constant(literal_values) for constant in number_constants]
        return [None if value is None else float(value) for value in values]

    return compute_numbers


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
    text_expression = expression.args[0]
    if len(expression.args) > 1:
        text_expression = list_shape_arguments(expression)[0]
    text = compile_constant(text_expression, free_slots)
    if text is None:
        return None
    return lambda values: parse_shape(str(text(values)))


def _compile_moc(expression: FunctionCall, free_slots: frozenset[int]) -> Maker | None:
    if len(expression.args) == 1:
        return _compile_region(expression, free_slots)
    order = compile_constant(expression.args[0], free_slots)
    inner = compile_shape(expression.args[1], free_slots)
    if order is None or inner is None:
        return None

    def build_moc(literal_values: Values) -> Made:
        shape = inner(literal_values)
        order_value = order(literal_values)
        if shape is None or order_value is None:
            return None
        return compute_shape_moc(shape, int(order_value))

    return build_moc


def _build_moc_compiler(
    combine_mocs: Callable[[Moc, Moc], Moc],
) -> Callable[[FunctionCall, frozenset[int]], Maker | None]:
    def compile_moc_operation(expression: FunctionCall, free_slots: frozenset[int]) -> Maker | None:
        left_shape, right_shape = (compile_shape(arg, free_slots) for arg in expression.args)
        if left_shape is None or right_shape is None:
            return None

        def build_moc(literal_values: Values) -> Made:
            a = left_shape(literal_values)
            b = right_shape(literal_values)
            if isinstance(a, Moc) and isinstance(b, Moc):
                return combine_mocs(a, b)
            return None

        return build_moc

    return compile_moc_operation


def _compile_constant_shape_transform(expression: FunctionCall, free_slots: frozenset[int]) -> Maker | None:
    source, target = expression.args[:2]
    inner = compile_shape(expression.args[2], free_slots)
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
        lons, lats = frames.rotate_positions([shape.lon], [shape.lat], *names)
        lon = float(lons[0])
        lat = float(lats[0])
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
        order_value = order(literal_values)
        cell_value = cell(literal_values)
        if order_value is None or cell_value is None:
            return None
        cell_order = int(order_value)
        cell_number = int(cell_value)
        if not 0 <= cell_order <= healpix.MAX_ORDER or not 0 <= cell_number < 12 << 2 * cell_order:
            return None
        lon, lat = healpix.compute_cell_centers(cell_order, [cell_number])
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
            motion = [end - start, pm_ra or 0.0, pm_dec or 0.0, parallax or 0.0, velocity or 0.0]
        else:
            ra, dec, pm_ra, pm_dec, years = motion_values
            if ra is None or dec is None or pm_ra is None or pm_dec is None or years is None:
                return None
            motion = [years, 3.6e6 * pm_ra, 3.6e6 * pm_dec, 0.0, 0.0]
        motion_arrays = [np.array([number]) for number in (ra, dec, *motion)]
        lon, lat = sphere.apply_space_motion(*motion_arrays)
        return Point(float(lon[0]), float(lat[0]))

    return build_moved_point


_SHAPE_COMPILERS: dict[str, Callable[[FunctionCall, frozenset[int]], Maker | None]] = {
    "POINT": _compile_point,
    "REGION": _compile_region,
    "MOC": _compile_moc,
    "GAVO_MOCUNION": _build_moc_compiler(lambda a, b: a | b),
    "GAVO_MOCINTERSECT": _build_moc_compiler(lambda a, b: a & b),
    "IVO_GEOM_TRANSFORM": _compile_constant_shape_transform,
    "GAVO_TRANSFORM": _compile_constant_shape_transform,
    "CENTROID": _compile_centroid,
    "IVO_HEALPIX_CENTER": _compile_healpix_center,
    "IVO_EPOCH_PROP_POS": _compile_proper_motion,
    "GAVO_APPLY_PM": _compile_proper_motion,
}


def _compile_coordinate(expression: FunctionCall, free_slots: frozenset[int]) -> Constant | None:
    """Compile COORD1 or COORD2 of a constant point."""
    compute_point = compile_point(expression.args[0], free_slots)
    if compute_point is None:
        return None
    axis = expression.name == "COORD2"

    def compute_coordinate(literal_values: Values) -> Value:
        point = compute_point(literal_values)
        if point is None:
            return None
        return point[axis]

    return compute_coordinate


SHAPE_FUNCTION_COMPILERS.update({"COORD1": _compile_coordinate, "COORD2": _compile_coordinate})
