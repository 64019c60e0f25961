"""Bind arguments that are measured in a unit, and the functions of spectra and bodies that are rewritten when bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol

from hven.adql.syntax_tree import BinaryOperation, Expr, FunctionCall, Literal, ValueMetadata
from hven.adql.value_kinds import classify_value, derive_meta, is_null, require_meta
from hven.model import units
from hven.model.errors import format_message, suggest_spelling
from hven.model.sky import bodies, contours, footprints
from hven.model.types import FLOAT64

if TYPE_CHECKING:
    from hven.adql.signatures import Signature

_EXACT_META = ValueMetadata(FLOAT64, constant=True, nullable=False)


class BindingContext(Protocol):
    """The binder, as far as these functions need it."""

    def raise_bind_error(self, message: str, text_offset: int, remedy: str = "") -> NoReturn:
        """Raise a fault of the query."""

    def describe_expression(self, node: Expr, *, name_only: bool = False) -> str:
        """Describe an expression."""

    def convert_spectral(self, node: FunctionCall, args: list[Expr]) -> Expr:
        """Convert a wavelength, frequency, energy or wave number."""


def convert_arguments(
    context: BindingContext, node: FunctionCall, signature: Signature, args: list[Expr]
) -> list[Expr]:
    """Convert the arguments of a call to the units that its signature says (``{km}``).

    A literal for an argument called `unit` says the unit of those that have none of their own, and overrules none.
    """
    if not any(arg.unit for arg in signature.parameters):
        return args
    call_unit: str | None = None
    for parameter, value in zip(signature.parameters, args, strict=False):
        if parameter.name == "unit" and isinstance(value, Literal):
            try:
                call_unit = units.validate_unit(str(value.value))
            except ValueError as error:
                context.raise_bind_error(format_message("{name}: {message}", node.name, error), value.text_offset)
    return [
        _convert_argument(context, node, signature.find_parameter(index).unit, value, call_unit)
        if signature.find_parameter(index).unit
        else value
        for index, value in enumerate(args)
    ]


def _convert_argument(
    context: BindingContext, node: FunctionCall, target_unit: str, value: Expr, call_unit: str | None
) -> Expr:
    lenient = target_unit.endswith("?")
    target_unit = target_unit.removesuffix("?")
    value_unit = require_meta(value).unit
    if is_null(value) or classify_value(value) != "number":
        return value
    if value_unit is None and not lenient:
        value_unit = call_unit
    if value_unit is None:
        if lenient:
            return value
        word = node.name.lower()
        if word in {"light_time", "target_time"}:
            remedy = format_message("say it: {word}(.., 'au')", word)
        else:
            remedy = format_message("say it with in_unit, or write {wanted}", target_unit)
        context.raise_bind_error(
            format_message("{name}: {value} has no unit", word, context.describe_expression(value, name_only=True)),
            value.text_offset,
            remedy,
        )
    if call_unit is not None and not lenient and not units.is_same_unit(value_unit, call_unit):
        context.raise_bind_error(
            format_message(
                "{name}: {value} is in {have}, and the call says {said}",
                node.name.lower(),
                context.describe_expression(value, name_only=True),
                value_unit,
                call_unit,
            ),
            value.text_offset,
            "leave the unit out of the call",
        )
    try:
        factor = units.compute_factor(value_unit, target_unit)
    except ValueError as error:
        context.raise_bind_error(
            format_message("{name}: {message}", node.name.lower(), error),
            value.text_offset,
            format_message("it takes a value in {wanted} or what can be converted to it", target_unit),
        )
    if factor == 1.0:
        return value
    return _scale_value(value, factor, target_unit)


def _scale_value(value: Expr, factor: float, unit: str | None) -> Expr:
    result_meta = derive_meta((require_meta(value),), FLOAT64, unit, require_meta(value).ucd)
    return BinaryOperation(
        "*", value, Literal(factor, meta=_EXACT_META), text_offset=value.text_offset, meta=result_meta
    )


def rewrite_spectral_range(context: BindingContext, node: FunctionCall, args: list[Expr]) -> Expr:
    """``SPECTRAL_MIN(a, b, ['from',] 'to')``: both bounds converted, the smaller one taken, whichever it was before."""
    conversion_call = FunctionCall("GAVO_SPECCONV", text_offset=node.text_offset)
    converted_bounds = tuple(context.convert_spectral(conversion_call, [bound, *args[2:]]) for bound in args[:2])
    if node.name.upper() == "SPECTRAL_MIN":
        name = "LEAST"
    else:
        name = "GREATEST"
    first = require_meta(converted_bounds[0])
    meta = derive_meta(tuple(require_meta(item) for item in converted_bounds), FLOAT64, first.unit, None)
    return FunctionCall(
        name,
        converted_bounds,
        text_offset=node.text_offset,
        meta=meta,
    )


def rewrite_spectral_step(context: BindingContext, node: FunctionCall, args: list[Expr]) -> Expr:
    """``SPECTRAL_STEP(x, width, ['from',] 'to')``: the width times the slope of the conversion at x."""
    x = args[0]
    width = args[1]
    if len(args) == 3 and require_meta(x).unit and require_meta(width).unit:
        width = _convert_width(context, node, x, width)
    converted = context.convert_spectral(FunctionCall("GAVO_SPECCONV", text_offset=node.text_offset), [x, *args[2:]])
    unit = require_meta(converted).unit
    result_meta = derive_meta((require_meta(x), require_meta(width)), FLOAT64, unit, None)
    if isinstance(converted, BinaryOperation) and converted.op == "/":  # c / x: its slope is c / x^2
        relative_width = BinaryOperation(
            "/",
            _scale_value(width, 1.0, None),
            x,
            text_offset=node.text_offset,
            meta=derive_meta((require_meta(x), require_meta(width)), FLOAT64, None, None),
        )
        return FunctionCall(
            "ABS",
            (BinaryOperation("*", converted, relative_width, text_offset=node.text_offset, meta=result_meta),),
            text_offset=node.text_offset,
            meta=result_meta,
        )
    if isinstance(converted, BinaryOperation):
        factor = converted.right
    else:
        factor = Literal(1.0, meta=_EXACT_META)
    return FunctionCall(
        "ABS",
        (BinaryOperation("*", width, factor, text_offset=node.text_offset, meta=result_meta),),
        text_offset=node.text_offset,
        meta=result_meta,
    )


def rewrite_resolving_power(context: BindingContext, node: FunctionCall, args: list[Expr]) -> Expr:
    """``RESOLVING_POWER(x, width)``: x / width in one unit."""
    x, width = args
    width = _convert_width(context, node, x, width)
    result_meta = derive_meta((require_meta(x), require_meta(width)), FLOAT64, None, "spect.resolution")
    return FunctionCall(
        "ABS",
        (BinaryOperation("/", _scale_value(x, 1.0, None), width, text_offset=node.text_offset, meta=result_meta),),
        text_offset=node.text_offset,
        meta=result_meta,
    )


def _convert_width(context: BindingContext, node: FunctionCall, x: Expr, width: Expr) -> Expr:
    value_unit = require_meta(x).unit
    width_unit = require_meta(width).unit
    if value_unit is None or width_unit is None or units.is_same_unit(value_unit, width_unit):
        return width
    try:
        return _scale_value(width, units.compute_factor(width_unit, value_unit), value_unit)
    except ValueError as error:
        context.raise_bind_error(
            format_message("{name}: {message}", node.name.lower(), error),
            width.text_offset,
            "give the width in a unit of the value's own kind",
        )


_POLYGON_CHOICES = ("largest", "hull")
_ALLOWED_WORDS = {
    "CHAIN_CONTOUR": ("helio", "freeman"),
    "CHAIN_AREA": ("helio", "freeman"),
    "CHAIN_LINE": ("helio", "freeman"),
    "TFCAT_BOUND": ("start", "stop", "low", "high"),
    "LIST_CONTOUR": ("pixel", "arcsec"),
    "GEOJSON_CONTOUR": ("east", "west"),
    "CONTOUR_POLYGON": _POLYGON_CHOICES,
    "CONTOUR_QUALITY": _POLYGON_CHOICES,
    "CONTOUR_MOC": ("rest",),
    "CONTOUR_FAULT": ("name",),
    "CONTOUR_BOUND": ("west", "east", "south", "north"),
}


def check_word_argument(context: BindingContext, node: FunctionCall, args: list[Expr]) -> None:
    """``ORIENTED(p, 'sky')``: the last argument, if it is a text, is one of few words."""
    word = args[-1]
    allowed_words = _ALLOWED_WORDS.get(node.name, footprints.FOOTPRINT_VIEWS)
    if len(args) > 1 and isinstance(word, Literal) and isinstance(word.value, str) and word.value not in allowed_words:
        if node.name[:5] == "CHAIN" and contours.parse_step_table(word.value) is not None:
            return
        context.raise_bind_error(
            format_message("{name}: there is no {value!r}", node.name.lower(), word.value),
            word.text_offset,
            suggest_spelling(word.value, allowed_words) or format_message("known: {names}", ", ".join(allowed_words)),
        )


def check_body_argument(context: BindingContext, node: FunctionCall, args: list[Expr]) -> None:
    """``PLANETOCENTRIC(lat, 'Mars')``: a body that is written in place is known."""
    body = args[1]
    if isinstance(body, Literal) and isinstance(body.value, str) and bodies.compute_polar_ratio(body.value) is None:
        body_names = [known_body.name for known_body in bodies.iterate_bodies() if known_body.radii is not None]
        context.raise_bind_error(
            format_message("{name}: the radii of {value!r} are not known here", node.name.lower(), body.value),
            body.text_offset,
            suggest_spelling(body.value, body_names) or format_message("known: {names}", ", ".join(body_names)),
        )
