"""Convert arguments to the unit that a function expects, and bind the functions of spectra and bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol

from hven.adql.syntax_tree import BinaryOperation, Expr, FunctionCall, Literal, ValueMetadata
from hven.adql.value_kinds import classify_value, derive_meta, is_null_in_every_row, require_meta
from hven.model import units
from hven.model.errors import format_message, suggest_spelling
from hven.model.sky import bodies
from hven.model.types import FLOAT64

if TYPE_CHECKING:
    from hven.adql.signatures import FunctionDefinition, FunctionSignature

_EXACT_META = ValueMetadata(FLOAT64, constant=True, nullable=False)


class FunctionBindingContext(Protocol):
    """The part of the binder that these functions use."""

    def raise_bind_error(self, message: str, text_offset: int, remedy: str = "") -> NoReturn:
        """Raise an error of the query at an offset of its text."""

    def describe_expression(self, node: Expr) -> str:
        """Describe an expression for a message."""

    def convert_spectral_unit(self, node: FunctionCall, args: list[Expr]) -> Expr:
        """Convert a wavelength, frequency, energy or wave number."""


def convert_argument_units(
    context: FunctionBindingContext, node: FunctionCall, signature: FunctionSignature, args: list[Expr]
) -> list[Expr]:
    """Convert the arguments of a call to the units that its signature names (``{km}``).

    A literal for a parameter called `unit` is the unit of the arguments that have none of their own. An argument with
    another unit is refused.
    """
    if not any(parameter.unit for parameter in signature.parameters):
        return args
    call_unit: str | None = None
    for parameter, arg in zip(signature.parameters, args, strict=False):
        if parameter.name == "unit" and isinstance(arg, Literal):
            try:
                call_unit = units.canonicalize_unit(str(arg.value))
            except ValueError as error:
                message = format_message("{name}: {message}", node.name, error)
                context.raise_bind_error(message, arg.text_offset)
    converted_args: list[Expr] = []
    for index, arg in enumerate(args):
        target_unit = signature.get_argument_parameter(index).unit
        if target_unit:
            converted_args.append(_convert_argument_unit(context, node, target_unit, arg, call_unit))
        else:
            converted_args.append(arg)
    return converted_args


def _convert_argument_unit(
    context: FunctionBindingContext, node: FunctionCall, target_unit: str, arg: Expr, call_unit: str | None
) -> Expr:
    """Convert one argument; a question mark after the target unit allows an argument without a unit."""
    is_unit_optional = target_unit.endswith("?")
    target_unit = target_unit.removesuffix("?")
    if is_null_in_every_row(arg) or classify_value(arg) != "number":
        return arg
    arg_unit = require_meta(arg).unit
    if arg_unit is None and not is_unit_optional:
        arg_unit = call_unit
    if arg_unit is None:
        if is_unit_optional:
            return arg
        _raise_missing_unit(context, node, target_unit, arg)
    if call_unit is not None and not is_unit_optional and not units.is_same_unit(arg_unit, call_unit):
        message = format_message(
            "{name}: {value} in {have}, but the call states the unit {said}",
            node.name.lower(),
            context.describe_expression(arg),
            arg_unit,
            call_unit,
        )
        context.raise_bind_error(message, arg.text_offset, "leave out the unit in the call")
    try:
        factor = units.compute_unit_factor(arg_unit, target_unit)
    except ValueError as error:
        message = format_message("{name}: {message}", node.name.lower(), error)
        remedy = format_message("give a value in {wanted}, or in a unit that is compatible with {wanted}", target_unit)
        context.raise_bind_error(message, arg.text_offset, remedy)
    if factor == 1.0:
        return arg
    return _build_scaled_value(arg, factor, target_unit)


def _raise_missing_unit(context: FunctionBindingContext, node: FunctionCall, target_unit: str, arg: Expr) -> NoReturn:
    """Refuse an argument without a unit, and tell how to give it one."""
    function_name = node.name.lower()
    if function_name in {"light_time", "target_time"}:
        remedy = format_message("give the unit in the call: {word}(.., 'au')", function_name)
    else:
        remedy = format_message("use a value that has a unit, such as {wanted}", target_unit)
    arg_phrase = context.describe_expression(arg)
    message = format_message("{name}: {value} without a unit", function_name, arg_phrase)
    context.raise_bind_error(message, arg.text_offset, remedy)


def _build_scaled_value(value: Expr, factor: float, unit: str | None) -> Expr:
    """Multiply a value by an exact factor."""
    value_meta = require_meta(value)
    meta = derive_meta((value_meta,), FLOAT64, unit, value_meta.ucd)
    factor_literal = Literal(factor, meta=_EXACT_META)
    return BinaryOperation("*", value, factor_literal, text_offset=value.text_offset, meta=meta)


def rewrite_spectral_bound(context: FunctionBindingContext, node: FunctionCall, args: list[Expr]) -> Expr:
    """Rewrite ``SPECTRAL_MIN(a, b, ['from',] 'to')`` as the smaller of both converted bounds, or MAX as the larger.

    A conversion between wavelength and frequency swaps the bounds.
    """
    conversion_call = FunctionCall("GAVO_SPECCONV", text_offset=node.text_offset)
    unit_args = args[2:]
    converted_bounds = tuple(context.convert_spectral_unit(conversion_call, [bound, *unit_args]) for bound in args[:2])
    name = "GREATEST"
    if node.name.upper() == "SPECTRAL_MIN":
        name = "LEAST"
    bound_metas = [require_meta(bound) for bound in converted_bounds]
    meta = derive_meta(bound_metas, FLOAT64, bound_metas[0].unit, None)
    return FunctionCall(name, converted_bounds, text_offset=node.text_offset, meta=meta)


def rewrite_spectral_step(context: FunctionBindingContext, node: FunctionCall, args: list[Expr]) -> Expr:
    """Rewrite ``SPECTRAL_STEP(x, width, ['from',] 'to')`` as the width times the slope of the conversion at x."""
    x = args[0]
    width = args[1]
    if len(args) == 3 and require_meta(x).unit and require_meta(width).unit:
        width = _convert_width_unit(context, node, x, width)
    conversion_call = FunctionCall("GAVO_SPECCONV", text_offset=node.text_offset)
    converted = context.convert_spectral_unit(conversion_call, [x, *args[2:]])
    argument_metas = (require_meta(x), require_meta(width))
    meta = derive_meta(argument_metas, FLOAT64, require_meta(converted).unit, None)
    if isinstance(converted, BinaryOperation) and converted.op == "/":  # c / x: its slope is c / x^2
        plain_width = _build_scaled_value(width, 1.0, None)
        relative_meta = derive_meta(argument_metas, FLOAT64, None, None)
        relative_width = BinaryOperation("/", plain_width, x, text_offset=node.text_offset, meta=relative_meta)
        return _build_absolute_operation("*", converted, relative_width, node, meta)
    factor: Expr = Literal(1.0, meta=_EXACT_META)
    if isinstance(converted, BinaryOperation):  # x * factor: its slope is the factor
        factor = converted.right
    return _build_absolute_operation("*", width, factor, node, meta)


def rewrite_resolving_power(context: FunctionBindingContext, node: FunctionCall, args: list[Expr]) -> Expr:
    """Rewrite ``RESOLVING_POWER(x, width)`` as x / width in one unit."""
    x, width = args
    width = _convert_width_unit(context, node, x, width)
    meta = derive_meta((require_meta(x), require_meta(width)), FLOAT64, None, "spect.resolution")
    plain_x = _build_scaled_value(x, 1.0, None)
    return _build_absolute_operation("/", plain_x, width, node, meta)


def _build_absolute_operation(
    operator: str, left_operand: Expr, right_operand: Expr, node: FunctionCall, meta: ValueMetadata
) -> FunctionCall:
    """Build ``ABS(left op right)`` in place of a call."""
    operation = BinaryOperation(operator, left_operand, right_operand, text_offset=node.text_offset, meta=meta)
    return FunctionCall("ABS", (operation,), text_offset=node.text_offset, meta=meta)


def _convert_width_unit(context: FunctionBindingContext, node: FunctionCall, x: Expr, width: Expr) -> Expr:
    """Convert a width to the unit of its value."""
    value_unit = require_meta(x).unit
    width_unit = require_meta(width).unit
    if value_unit is None or width_unit is None or units.is_same_unit(value_unit, width_unit):
        return width
    try:
        factor = units.compute_unit_factor(width_unit, value_unit)
    except ValueError as error:
        message = format_message("{name}: {message}", node.name.lower(), error)
        context.raise_bind_error(
            message, width.text_offset, "give the width in a unit that is compatible with the value's unit"
        )
    return _build_scaled_value(width, factor, value_unit)


def check_allowed_word_argument(context: FunctionBindingContext, entry: FunctionDefinition, args: list[Expr]) -> None:
    """Check a literal that selects a variant, as in ``ORIENTED(p, 'sky')``: it must be one of the allowed words."""
    word_argument = args[-1]
    if len(args) < 2 or not isinstance(word_argument, Literal) or not isinstance(word_argument.value, str):
        return
    word = word_argument.value
    if word in entry.words or (entry.accepts_word is not None and entry.accepts_word(word)):
        return
    message = format_message("{name} does not accept {value!r}", entry.name.lower(), word)
    remedy = suggest_spelling(word, entry.words) or format_message("use one of {names}", ", ".join(entry.words))
    context.raise_bind_error(message, word_argument.text_offset, remedy)


def check_planet_body_argument(context: FunctionBindingContext, node: FunctionCall, args: list[Expr]) -> None:
    """Check the body of ``PLANETOCENTRIC(lat, 'Mars')``: the radii of a body given as a literal must be known."""
    body_argument = args[1]
    if not isinstance(body_argument, Literal) or not isinstance(body_argument.value, str):
        return
    body_name = body_argument.value
    if bodies.compute_polar_radius_ratio(body_name) is None:
        known_names = [body.name for body in bodies.iterate_solar_system_bodies() if body.radii is not None]
        message = format_message("{name}: Hven does not know the radii of {value!r}", node.name.lower(), body_name)
        remedy = suggest_spelling(body_name, known_names) or format_message(
            "use one of {names}", ", ".join(known_names)
        )
        context.raise_bind_error(message, body_argument.text_offset, remedy)
