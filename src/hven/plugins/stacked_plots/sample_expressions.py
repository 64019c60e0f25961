"""Compute lines from the parameters of a data set: expressions in ADQL, evaluated over arrays of samples.

Besides operators and ADQL's functions of numbers, expressions can use functions over time:
``RUNNING_MEAN(x, seconds)``, ``DIFFERENCE(x)``, ``BACKGROUND_REMOVED(x, seconds)``, and ``VECTOR_LENGTH(b)`` or
``VECTOR_LENGTH(bx, by, bz)``. Their values do not depend on the time span of a request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.adql import parse_expression, quote_adql_name, syntax_tree
from hven.model.errors import ParamError, format_message, suggest_spelling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import numpy.typing as npt

    from hven.plugins.series.sample_parameters import SampleParameter

    Matrix = npt.NDArray[np.float64]  # shape (samples, elements)

MAX_EXPRESSION_CHARACTERS = 500
MAX_EXPRESSION_NODES = 60
MAX_WINDOW_SECONDS = 40 * 86_400.0  # of a running mean or a background
MAX_BACKGROUND_WINDOWS = 20_000  # in one evaluation: each window needs its own median
SECOND_MICROSECONDS = 1_000_000
DIFFERENCE_MARGIN_SAMPLES = 10  # samples before a span, of which the last one is needed
OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
}
NUMBER_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "ABS": np.abs,
    "CEILING": np.ceil,
    "COS": np.cos,
    "DEGREES": np.degrees,
    "EXP": np.exp,
    "FLOOR": np.floor,
    "LOG": np.log,
    "LOG10": np.log10,
    "RADIANS": np.radians,
    "SIN": np.sin,
    "SQRT": np.sqrt,
    "TAN": np.tan,
}
PAIR_FUNCTIONS: Mapping[str, Callable[..., Any]] = {"ATAN2": np.arctan2, "MOD": np.fmod, "POWER": np.power}
VECTOR_FUNCTION = "VECTOR_LENGTH"
DIFFERENCE_FUNCTION = "DIFFERENCE"
WINDOW_FUNCTIONS = ("RUNNING_MEAN", "BACKGROUND_REMOVED")
FUNCTION_NAMES = (*NUMBER_FUNCTIONS, *PAIR_FUNCTIONS, VECTOR_FUNCTION, DIFFERENCE_FUNCTION, *WINDOW_FUNCTIONS)
_UNIT_KEEPING_FUNCTIONS = ("ABS", "CEILING", "FLOOR", VECTOR_FUNCTION, DIFFERENCE_FUNCTION, *WINDOW_FUNCTIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleBlock:
    """Samples from which lines are computed.

    Attributes
    ----------
    instants
        Times in microseconds since 1970, in order.
    values
        Values by parameter, each of the shape (samples, elements); NaN for no value.
    max_gap_microseconds
        Samples that are further apart have no difference.
    """

    instants: npt.NDArray[np.int64]
    values: Mapping[str, Matrix]
    max_gap_microseconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputedLine:
    """A parameter that is computed from others of the same data set.

    Attributes
    ----------
    name
        Name of the parameter.
    expression
        The expression, in ADQL.
    tree
        Its syntax tree.
    source_names
        Names of the parameters from which it is computed.
    element_count
        Number of elements of a value.
    unit
        Its unit; empty if it has none, or an unknown one.
    margin_microseconds
        Time before and after a span whose samples are needed, too.
    """

    name: str
    expression: str
    tree: syntax_tree.Expr
    source_names: tuple[str, ...]
    element_count: int
    unit: str
    margin_microseconds: int

    def evaluate(self, block: SampleBlock) -> Matrix:
        """Compute the values of samples: shape (samples, elements), NaN for no value."""
        with np.errstate(all="ignore"):
            matrix = _evaluate_node(self.tree, block)
            finite_or_nan = np.where(np.isfinite(matrix), matrix, np.nan)
        return np.broadcast_to(finite_or_nan, (len(block.instants), self.element_count))


def parse_computed_line(
    name: str, expression: str, parameters: Mapping[str, SampleParameter], cadence_microseconds: float
) -> ComputedLine:
    """Parse an expression, and check it against the parameters of a data set.

    Parameters
    ----------
    name
        Name of the computed parameter.
    expression
        Expression in ADQL.
    parameters
        The numeric parameters of the data set, by name.
    cadence_microseconds
        About the time between two samples.

    Raises
    ------
    HvenError
        The expression is too long, does not follow the grammar, or uses an unknown parameter or function.
    """
    if len(expression) > MAX_EXPRESSION_CHARACTERS:
        raise _build_expression_error(
            format_message("the expression has more than {limit} characters", MAX_EXPRESSION_CHARACTERS)
        )
    tree = parse_expression(_quote_reserved_names(expression, parameters))
    nodes = list(_iterate_nodes(tree))
    if len(nodes) > MAX_EXPRESSION_NODES:
        raise _build_expression_error(
            format_message("the expression has more than {limit} parts", MAX_EXPRESSION_NODES)
        )
    sources = {node.name.name: None for node in nodes if isinstance(node, syntax_tree.ColumnRef)}
    resolved_names = {source: _find_parameter_name(source, parameters) for source in sources}
    if not resolved_names:
        raise _build_expression_error(format_message("the expression uses no parameter of the data set"))
    counts = {source: parameters[resolved].element_count for source, resolved in resolved_names.items()}
    units = {source: parameters[resolved].column.unit or "" for source, resolved in resolved_names.items()}
    margins = [_compute_margin(node, cadence_microseconds) for node in nodes]
    return ComputedLine(
        name=name,
        expression=expression,
        tree=tree,
        source_names=tuple(dict.fromkeys(resolved_names.values())),
        element_count=_count_elements(tree, counts),
        unit=_infer_unit(tree, units),
        margin_microseconds=sum(margins),
    )


def compute_max_gap(cadence_microseconds: float) -> int:
    """Compute the longest time between two samples that have a difference, in microseconds."""
    return round(DIFFERENCE_MARGIN_SAMPLES * max(cadence_microseconds, 1))


def _build_expression_error(message: Any) -> ParamError:
    remedy = "write an expression such as SQRT(bx*bx+by*by) or RUNNING_MEAN(flux, 60)"
    return ParamError(message, name="panel", remedy=remedy)


def _quote_reserved_names(expression: str, parameters: Iterable[str]) -> str:
    """Quote the names of parameters that are reserved words of ADQL, such as ``by``."""
    for name in parameters:
        quoted_name = quote_adql_name(name)
        if quoted_name != name and name.isidentifier():
            pattern = rf"(?<![\w\".]){re.escape(name)}(?![\w\"]|\s*\()"
            expression = re.sub(pattern, quoted_name.replace("\\", r"\\"), expression, flags=re.IGNORECASE)
    return expression


def _find_parameter_name(name: str, parameters: Mapping[str, SampleParameter]) -> str:
    for known_name in parameters:
        if known_name.lower() == name.lower():
            return known_name
    message = format_message("the data set has no numeric parameter {name!r:.80}", name)
    raise ParamError(message, name="panel", remedy=suggest_spelling(name, parameters) or ", ".join(parameters)[:300])


def _iterate_nodes(tree: syntax_tree.Expr) -> Iterator[syntax_tree.Expr]:
    """Iterate over an expression and its parts; refuse syntax that has no meaning for samples."""
    yield tree
    match tree:
        case syntax_tree.Literal(value=value) if isinstance(value, int | float) and not isinstance(value, bool):
            return
        case syntax_tree.ColumnRef(qualifier=()):
            return
        case syntax_tree.UnaryOperation(op="-" | "+", operand=operand):
            yield from _iterate_nodes(operand)
        case syntax_tree.BinaryOperation(op=operator, left=left, right=right) if operator in OPERATORS:
            yield from _iterate_nodes(left)
            yield from _iterate_nodes(right)
        case syntax_tree.ArrayElement(operand=syntax_tree.ColumnRef() as operand, indexes=(syntax_tree.Literal(),)):
            yield from _iterate_nodes(operand)
        case syntax_tree.FunctionCall(name=name, args=arguments) if not tree.distinct and not tree.star:
            _check_function(name, arguments)
            for argument in arguments:
                yield from _iterate_nodes(argument)
        case _:
            raise _build_expression_error(
                format_message("the expression has a part that cannot be computed from samples")
            )


def _check_function(name: str, arguments: tuple[syntax_tree.Expr, ...]) -> None:
    if name not in FUNCTION_NAMES:
        message = format_message("there is no function {name!r:.60} for samples", name)
        raise ParamError(message, name="panel", remedy=", ".join(FUNCTION_NAMES))
    expected_count = 1
    if name in PAIR_FUNCTIONS or name in WINDOW_FUNCTIONS:
        expected_count = 2
    if name == VECTOR_FUNCTION:
        expected_count = max(len(arguments), 1)
    if len(arguments) != expected_count:
        message = format_message("{name} needs {count} arguments", name, expected_count)
        raise _build_expression_error(message)
    if name in WINDOW_FUNCTIONS and not 0 < _read_number(arguments[1]) <= MAX_WINDOW_SECONDS:
        raise _build_expression_error(
            format_message(
                "the second argument of {name} is a number of seconds, at most {limit:,}", name, int(MAX_WINDOW_SECONDS)
            )
        )


def _read_number(node: syntax_tree.Expr) -> float:
    if isinstance(node, syntax_tree.Literal) and isinstance(node.value, int | float):
        return float(node.value)
    return 0.0


def _compute_margin(node: syntax_tree.Expr, cadence_microseconds: float) -> int:
    if not isinstance(node, syntax_tree.FunctionCall):
        return 0
    if node.name in WINDOW_FUNCTIONS:
        return round(_read_number(node.args[1]) * SECOND_MICROSECONDS)
    if node.name == DIFFERENCE_FUNCTION:
        return compute_max_gap(cadence_microseconds)
    return 0


def _count_elements(node: syntax_tree.Expr, counts: Mapping[str, int]) -> int:
    """Count the elements of a value; operands must have equally many, or one."""
    match node:
        case syntax_tree.ColumnRef():
            return counts[node.name.name]
        case syntax_tree.ArrayElement(operand=syntax_tree.ColumnRef() as operand, indexes=(index,)):
            element_count = counts[operand.name.name]
            if not 1 <= _read_number(index) <= element_count:
                raise _build_expression_error(
                    format_message("{name} has the elements 1 to {count}", operand.name.name, element_count)
                )
            return 1
        case syntax_tree.UnaryOperation(operand=operand):
            return _count_elements(operand, counts)
        case syntax_tree.BinaryOperation(left=left, right=right):
            return _combine_counts([_count_elements(left, counts), _count_elements(right, counts)])
        case syntax_tree.FunctionCall(name=name, args=arguments):
            count = _combine_counts([_count_elements(argument, counts) for argument in arguments])
            return 1 if name == VECTOR_FUNCTION else count
    return 1


def _combine_counts(counts: list[int]) -> int:
    larger_counts = {count for count in counts if count > 1}
    if len(larger_counts) > 1:
        texts = " and ".join(map(str, sorted(larger_counts)))
        raise _build_expression_error(format_message("the expression combines arrays of {sizes} elements", texts))
    return max([1, *larger_counts])


def _infer_unit(node: syntax_tree.Expr, units: Mapping[str, str]) -> str:
    match node:
        case syntax_tree.ColumnRef():
            return units[node.name.name]
        case syntax_tree.ArrayElement(operand=operand) | syntax_tree.UnaryOperation(operand=operand):
            return _infer_unit(operand, units)
        case syntax_tree.BinaryOperation(op="+" | "-", left=left, right=right):
            operand_units = {_infer_unit(left, units), _infer_unit(right, units)}
            return operand_units.pop() if len(operand_units) == 1 else ""
        case syntax_tree.FunctionCall(name=name, args=arguments) if name in _UNIT_KEEPING_FUNCTIONS:
            operands = arguments if name == VECTOR_FUNCTION else arguments[:1]
            operand_units = {_infer_unit(argument, units) for argument in operands}
            return operand_units.pop() if len(operand_units) == 1 else ""
        case syntax_tree.FunctionCall(name="SQRT", args=(argument,)):
            return _infer_root_unit(argument, units)
    return ""


def _infer_root_unit(node: syntax_tree.Expr, units: Mapping[str, str]) -> str:
    """Return the unit of the root of a sum of squares, as in ``SQRT(bx*bx + by*by)``."""
    match node:
        case syntax_tree.BinaryOperation(op="+" | "-", left=left, right=right):
            operand_units = {_infer_root_unit(left, units), _infer_root_unit(right, units)}
            if len(operand_units) == 1:
                return operand_units.pop()
            return ""
        case syntax_tree.BinaryOperation(op="*", left=left, right=right):
            operand_units = {_infer_unit(left, units), _infer_unit(right, units)}
            if len(operand_units) == 1:
                return operand_units.pop()
            return ""
        case syntax_tree.FunctionCall(name="POWER", args=(base, exponent)) if _read_number(exponent) == 2:
            return _infer_unit(base, units)
    return ""


def _evaluate_node(node: syntax_tree.Expr, block: SampleBlock) -> Matrix:
    match node:
        case syntax_tree.Literal():
            return np.full((1, 1), _read_number(node))
        case syntax_tree.ColumnRef():
            return next(matrix for name, matrix in block.values.items() if name.lower() == node.name.name.lower())
        case syntax_tree.ArrayElement(operand=operand, indexes=(index,)):
            position = int(_read_number(index)) - 1
            return _evaluate_node(operand, block)[:, position : position + 1]
        case syntax_tree.UnaryOperation(op=operator, operand=operand):
            matrix = _evaluate_node(operand, block)
            return -matrix if operator == "-" else matrix
        case syntax_tree.BinaryOperation(op=operator, left=left, right=right):
            return np.asarray(OPERATORS[operator](_evaluate_node(left, block), _evaluate_node(right, block)))
        case syntax_tree.FunctionCall(name=name, args=arguments):
            matrices = [_evaluate_node(argument, block) for argument in arguments]
            return _call_function(name, matrices, block)
    raise _build_expression_error(format_message("the expression has a part that cannot be computed from samples"))


def _call_function(name: str, matrices: list[Matrix], block: SampleBlock) -> Matrix:
    if name in NUMBER_FUNCTIONS or name in PAIR_FUNCTIONS:
        return np.asarray((NUMBER_FUNCTIONS | dict(PAIR_FUNCTIONS))[name](*matrices))  # type: ignore[operator]
    if name == VECTOR_FUNCTION:
        squares = [np.square(matrix).sum(axis=1, keepdims=True) for matrix in matrices]
        return np.asarray(np.sqrt(reduce(np.add, squares)))
    instants = block.instants
    samples = np.broadcast_to(matrices[0], (len(instants), matrices[0].shape[1]))
    if name == DIFFERENCE_FUNCTION:
        first_row = np.full((1, samples.shape[1]), np.nan)
        is_near = np.diff(instants) <= block.max_gap_microseconds
        return np.concatenate([first_row, np.where(is_near[:, None], np.diff(samples, axis=0), np.nan)])[: len(samples)]
    window_microseconds = max(round(float(matrices[1][0, 0]) * SECOND_MICROSECONDS), 1)
    if name == "RUNNING_MEAN":
        return compute_running_mean(instants, samples, window_microseconds)
    return remove_background(instants, samples, window_microseconds)


def compute_running_mean(instants: npt.NDArray[np.int64], samples: Matrix, window_microseconds: int) -> Matrix:
    """Compute the mean of the samples within half a window before and after each sample.

    Parameters
    ----------
    instants
        Times in microseconds, in order.
    samples
        Shape (samples, elements); NaN is no value.
    window_microseconds
        Width of the window.
    """
    half_window = window_microseconds // 2
    first = np.searchsorted(instants, instants - half_window, "left")
    last = np.searchsorted(instants, instants + half_window, "right")
    is_value = np.isfinite(samples)
    offset = np.nanmean(np.where(is_value, samples, np.nan)) if is_value.any() else 0.0  # keeps digits in the sums
    zero_row = np.zeros((1, samples.shape[1]))
    sums = np.concatenate([zero_row, np.cumsum(np.where(is_value, samples - offset, 0.0), axis=0)])
    counts = np.concatenate([zero_row, np.cumsum(is_value, axis=0)])
    return np.asarray((sums[last] - sums[first]) / (counts[last] - counts[first]) + offset)


def remove_background(instants: npt.NDArray[np.int64], samples: Matrix, window_microseconds: int) -> Matrix:
    """Subtract from each element its median in the window of the sample; windows follow each other from 1970 on.

    Parameters
    ----------
    instants, samples, window_microseconds
        As in `compute_running_mean`.
    """
    window_numbers = instants // window_microseconds
    starts = np.flatnonzero(np.r_[True, window_numbers[1:] != window_numbers[:-1]])[: len(instants)]
    if len(starts) > MAX_BACKGROUND_WINDOWS:
        raise _build_expression_error(
            format_message("the span has more than {limit:,} windows of BACKGROUND_REMOVED", MAX_BACKGROUND_WINDOWS)
        )
    cleaned = np.array(samples, np.float64)
    for first, last in zip(starts, [*starts[1:], len(instants)], strict=True):
        part = cleaned[first:last]
        is_known = np.isfinite(part).any(axis=0)
        part[:, is_known] -= np.nanmedian(part[:, is_known], axis=0)
    return cleaned
