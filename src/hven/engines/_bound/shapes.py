"""Shapes that a query writes in place, however it writes them: literals, text, other frames, MOCs, and shapes made of shapes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hven.adql.tree import Cast, Expr, Function, Literal
from hven.engines._bound.constants import CALLS, constant, is_text
from hven.engines._bound.reading import cells_of, read
from hven.model.sky import Box, Circle, Moc, Point, Polygon, Shape, frames, from_array, healpix, sphere
from hven.model.types import FLOAT64, POINT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.engines._bound.constants import Constant, Value

    Values = Sequence[Value]
    Made = Shape | Moc | None
    Maker = Callable[[Values], Made]


def arguments(call: Function) -> tuple[Expr, ...]:
    """Return the arguments of a geometry function without the deprecated coordinate system."""
    return call.args[1:] if call.args and is_text(call.args[0]) else call.args


def coordinates(expr: Expr) -> tuple[Expr, Expr] | None:
    """Return longitude and latitude of ``POINT(lon, lat)``, or of another point that is a constant."""
    if isinstance(expr, Function) and expr.name == "POINT":
        args = arguments(expr)
        return (args[0], args[1]) if len(args) == 2 else None
    known = expr.meta
    if known is not None and known.constant and known.type == POINT and isinstance(expr, Cast | Function):
        of = replace(known, type=FLOAT64, unit="deg")
        return Function("COORD1", (expr,), at=expr.at, meta=of), Function("COORD2", (expr,), at=expr.at, meta=of)
    return None


@dataclass(frozen=True, slots=True)
class ConstantShape:
    """A shape whose numbers are known when the plan runs. `kind`: CIRCLE, BOX, POLYGON, or that of the value that `maker` makes."""

    kind: str
    numbers: tuple[Constant, ...] = ()
    maker: Callable[[Sequence[float | str | None]], Shape | Moc | None] | None = None

    def make(self, values: Sequence[float | str | None]) -> Shape | Moc | None:
        """Make the shape; None if it is none (the engine then says what is wrong with it)."""
        if self.maker is not None:
            return self.maker(values)
        numbers = []
        for number in self.numbers:
            value = number(values)
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


def constant_shape(expr: Expr, free: frozenset[int]) -> ConstantShape | None:
    """Recognise a shape of constants."""
    if not isinstance(expr, Function) or expr.name not in {"CIRCLE", "BOX", "POLYGON"}:
        known = expr.meta
        if known is None or not known.constant or not known.type.is_geometry or not isinstance(expr, Cast | Function):
            return None
        maker = shape_of(expr, free)
        return None if maker is None else ConstantShape(known.type.adql, maker=maker)
    flat: list[Expr] = []
    for arg in arguments(expr):
        point = coordinates(arg)
        flat += [arg] if point is None else list(point)
    if (
        len(flat) != {"CIRCLE": 3, "BOX": 4}.get(expr.name, len(flat))
        or len(flat) % 2 != (expr.name == "CIRCLE")
        or len(flat) < 3
    ):
        return None
    numbers = [constant(item, free) for item in flat]
    found = tuple(number for number in numbers if number is not None)
    return ConstantShape(expr.name, found) if len(found) == len(numbers) else None


def shape_of(expr: Expr, free: frozenset[int]) -> Maker | None:
    """Return a function of the plan's literals that makes a shape; None if it is made of anything else.

    Where it gives None the engine is asked, which says what is wrong with the shape, or that it is NULL.
    """
    if isinstance(expr, Function) and expr.name in {"CIRCLE", "BOX", "POLYGON"}:
        plain = constant_shape(expr, free)
        return None if plain is None else plain.make
    if isinstance(expr, Cast) and expr.target in {"POINT", "CIRCLE", "POLYGON"}:
        kind, text = expr.target.lower(), constant(expr.operand, free)
        return None if text is None else lambda values: _of_numbers(kind, text(values))
    if not isinstance(expr, Function) or expr.name not in _MAKERS:
        return None
    return _safely(_MAKERS[expr.name](expr, free))


def point_of(expr: Expr, free: frozenset[int]) -> Callable[[Values], tuple[float, float] | None] | None:
    """Return a function of the plan's literals that computes a position."""
    make = shape_of(expr, free)
    if make is None:
        return None

    def compute(values: Values) -> tuple[float, float] | None:
        made = make(values)
        return (made.lon, made.lat) if isinstance(made, Point) else None

    return compute


def _safely(make: Maker | None) -> Maker | None:
    if make is None:
        return None
    inner = make

    def made(values: Values) -> Made:
        try:
            return inner(values)
        except (ValueError, ArithmeticError):
            return None

    return made


def _of_numbers(kind: str, text: Value) -> Shape | None:
    try:
        return from_array(kind, tuple(float(word) for word in str(text).replace(",", " ").split()))
    except ValueError:
        return None


def _numbers(exprs: Sequence[Expr], free: frozenset[int]) -> Callable[[Values], list[float | None]] | None:
    found = [constant(expr, free) for expr in exprs]
    known = [number for number in found if number is not None]
    if len(known) < len(found):
        return None
    return lambda values: [None if (value := number(values)) is None else float(value) for number in known]


def _point(expr: Function, free: frozenset[int]) -> Maker | None:
    numbers = _numbers(coordinates(expr) or (), free)
    if numbers is None:
        return None

    def make(values: Values) -> Made:
        lon, lat = numbers(values)
        return None if lon is None or lat is None else Point(lon, lat)

    return make


def _region(expr: Function, free: frozenset[int]) -> Maker | None:
    text = constant(arguments(expr)[0] if len(expr.args) > 1 else expr.args[0], free)
    return None if text is None else lambda values: read(str(text(values)))


def _moc(expr: Function, free: frozenset[int]) -> Maker | None:
    if len(expr.args) == 1:
        return _region(expr, free)
    order, inner = constant(expr.args[0], free), shape_of(expr.args[1], free)
    if order is None or inner is None:
        return None

    def make(values: Values) -> Made:
        shape, depth = inner(values), order(values)
        return None if shape is None or depth is None else cells_of(shape, int(depth))

    return make


def _both(join: Callable[[Moc, Moc], Moc]) -> Callable[[Function, frozenset[int]], Maker | None]:
    def maker(expr: Function, free: frozenset[int]) -> Maker | None:
        one, two = (shape_of(arg, free) for arg in expr.args)
        if one is None or two is None:
            return None

        def make(values: Values) -> Made:
            a, b = one(values), two(values)
            return join(a, b) if isinstance(a, Moc) and isinstance(b, Moc) else None

        return make

    return maker


def _turned(expr: Function, free: frozenset[int]) -> Maker | None:
    source, target, inner = *expr.args[:2], shape_of(expr.args[2], free)
    if inner is None or not isinstance(source, Literal) or not isinstance(target, Literal):
        return None
    names = str(source.value), str(target.value)

    def make(values: Values) -> Made:
        shape = inner(values)
        if isinstance(shape, Polygon):
            lons, lats = frames.turned(shape.lons, shape.lats, *names)
            return Polygon(tuple(lons.tolist()), tuple(lats.tolist()))
        if not isinstance(shape, Point | Circle):
            return None
        lon, lat = (float(number[0]) for number in frames.turned([shape.lon], [shape.lat], *names))
        return Point(lon, lat) if isinstance(shape, Point) else Circle(lon, lat, shape.radius)

    return make


def _centroid(expr: Function, free: frozenset[int]) -> Maker | None:
    inner = shape_of(expr.args[0], free)
    if inner is None:
        return None

    def make(values: Values) -> Made:
        shape = inner(values)
        return None if shape is None or isinstance(shape, Moc) else shape.centroid()

    return make


def _center(expr: Function, free: frozenset[int]) -> Maker | None:
    order, cell = (constant(arg, free) for arg in expr.args)
    if order is None or cell is None:
        return None

    def make(values: Values) -> Made:
        given = order(values), cell(values)
        if given[0] is None or given[1] is None:
            return None
        depth, number = int(given[0]), int(given[1])
        if not 0 <= depth <= healpix.ORDER or not 0 <= number < 12 << 2 * depth:
            return None
        lon, lat = healpix.center(depth, [number])
        return Point(float(lon[0]), float(lat[0]))

    return make


def _moved(expr: Function, free: frozenset[int]) -> Maker | None:
    numbers = _numbers(expr.args, free)
    if numbers is None:
        return None
    whole = expr.name == "IVO_EPOCH_PROP_POS"

    def make(values: Values) -> Made:
        given = numbers(values)
        if whole:
            ra, dec, parallax, pm_ra, pm_dec, velocity, start, end = given
            if ra is None or dec is None or start is None or end is None:
                return None
            motion = [end - start, *(number or 0.0 for number in (pm_ra, pm_dec, parallax, velocity))]
        else:
            ra, dec, pm_ra, pm_dec, years = given
            if ra is None or dec is None or pm_ra is None or pm_dec is None or years is None:
                return None
            motion = [years, 3.6e6 * pm_ra, 3.6e6 * pm_dec, 0.0, 0.0]
        lon, lat = sphere.moved(*(np.array([number]) for number in (ra, dec, *motion)))
        return Point(float(lon[0]), float(lat[0]))

    return make


_MAKERS: dict[str, Callable[[Function, frozenset[int]], Maker | None]] = {
    "POINT": _point, "REGION": _region, "MOC": _moc, "GAVO_MOCUNION": _both(lambda a, b: a | b), "GAVO_MOCINTERSECT": _both(lambda a, b: a & b),
    "IVO_GEOM_TRANSFORM": _turned, "GAVO_TRANSFORM": _turned, "CENTROID": _centroid, "IVO_HEALPIX_CENTER": _center, "IVO_EPOCH_PROP_POS": _moved,
    "GAVO_APPLY_PM": _moved,
}  # fmt: skip


def _coordinate(expr: Function, free: frozenset[int]) -> Constant | None:
    """Compute COORD1 or COORD2 of a constant point."""
    point, axis = point_of(expr.args[0], free), expr.name == "COORD2"
    return None if point is None else lambda values: None if (place := point(values)) is None else place[axis]


CALLS.update({"COORD1": _coordinate, "COORD2": _coordinate})
