"""Write watermarks as conditions in the language of a source: "at least this value, or unknown".

A condition may select rows that need not be read again, but never leaves out one that must be. Values that are no whole
numbers are compared a little below the last watermark, for two machines do not add alike; an unknown value counts as
new. GREATEST, LEAST and COALESCE become conditions over their arguments, which every dialect has, and which indexes
serve.
"""

from __future__ import annotations

import copy
import datetime as dt
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from hven.adql import parse_expression
from hven.adql.syntax_tree import BinaryOperation, ColumnRef, Expr, FunctionCall, Literal, UnaryOperation, walk_tree
from hven.model.errors import HvenError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.adql.syntax_tree import Ident
    from hven.model.table import Column
    from hven.model.types import ColumnType
    from hven.sources import SourceContext

KIND_WHOLE = "whole number"
KIND_NUMBER = "number"
KIND_TEXT = "text"
KIND_TIME = "time"
_SINGLE_PRECISION_MARGIN = 2.0**-22  # two steps of a single-precision number
_DOUBLE_PRECISION_STEPS = 8


class ConditionWriter(Protocol):
    """The parts of a condition in the language of a source."""

    def write_column(self, name: str, *, is_computed: bool) -> str:
        """Write a column as it is compared.

        If `is_computed`, it is a term of a sum, in which it must neither overflow nor be rounded.
        """

    def write_null_condition(self, name: str) -> str:
        """Write the condition that the column has no value."""

    def write_literal(self, value: object) -> str:
        """Write a number, text or time; each literal is used once, in the order of the calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """A watermark by which a source can select rows.

    Attributes
    ----------
    expression
        The watermark as the descriptor has it.
    tree
        Its syntax tree.
    columns
        The columns that it uses, by name.
    value_kind
        Kind of its values, for messages.
    is_single_precision
        Whether one of its columns has single precision.
    """

    expression: str
    tree: Expr
    columns: Mapping[str, Column]
    value_kind: str
    is_single_precision: bool  # a column of it is of single precision

    def write_condition(self, value: object, writer: ConditionWriter) -> str:
        """Write the condition that the watermark is `value` or more, or unknown.

        Parameters
        ----------
        value
            The last watermark.
        writer
            Writes conditions in the language of the source.

        Returns
        -------
        condition
            The condition, in parentheses.

        Raises
        ------
        SourceError
            The value has another kind.
        """
        lower_bound = self.compute_lower_bound(value)
        reached, missing = _write_reached_conditions(self.tree, lower_bound, writer)
        return f"({reached} OR {missing})"

    def compute_lower_bound(self, value: object) -> object:
        """Check a value, and return the lower bound to select from: a little less for values that are no whole numbers.

        Parameters
        ----------
        value
            The last watermark.

        Returns
        -------
        lower_bound
            The value to select from.

        Raises
        ------
        SourceError
            The value has another kind.
        """
        if not self._is_valid(value):
            raise SourceError(
                f"the watermark {self.expression!r} has the type {self.value_kind}, but its last value was {value!r}",
                remedy="run `hven sync --full`, which reads all rows",
            )
        if not isinstance(value, float):
            return value
        margin = _DOUBLE_PRECISION_STEPS * math.ulp(value)
        if self.is_single_precision:
            margin = abs(value) * _SINGLE_PRECISION_MARGIN
        return value - margin

    def _is_valid(self, value: object) -> bool:
        if self.value_kind == KIND_TEXT:
            return isinstance(value, str)
        if self.value_kind == KIND_TIME:
            return isinstance(value, dt.datetime) and value.tzinfo is None
        if isinstance(value, bool):
            return False
        if isinstance(value, int):
            return -(1 << 63) <= value < 1 << 63
        return isinstance(value, float) and math.isfinite(value)


def parse_watermark(expression: str, columns: Sequence[Column]) -> Watermark | None:
    """Parse a watermark: a column by its name, or an expression over columns; None if it cannot be sent to a source.

    Parameters
    ----------
    expression
        A watermark as the descriptor has it.
    columns
        Columns of the source.

    Returns
    -------
    watermark
        None if the source cannot evaluate the expression.
    """
    by_name = {column.name: column for column in columns}
    if expression in by_name:
        kind = _classify_type(by_name[expression].type)
        used_columns = {expression: by_name[expression]}
        tree: Expr = _SourceColumn(expression)
    else:
        try:
            tree = parse_expression(expression)
        except HvenError:
            return None
        used_columns = {}
        try:
            tree = _resolve_names(tree, by_name, used_columns)
            kind = _infer_value_kind(tree, by_name)
        except _InexpressibleError:
            return None
    if kind is None or not used_columns:
        return None
    single = any(str(column.type) == "float32" for column in used_columns.values())
    return Watermark(
        expression=expression, tree=tree, columns=used_columns, value_kind=kind, is_single_precision=single
    )


class WatermarkSource(ABC):
    """The part of a `Source` that selects rows newer than a watermark (`hven.sources.IncrementalSource`).

    Attributes
    ----------
    context
        What the source may use of its surroundings.
    """

    context: SourceContext

    def with_context(self, context: SourceContext) -> Self:
        """Copy the source for another context; nothing is requested again.

        Parameters
        ----------
        context
            The other context.

        Returns
        -------
        source
            A copy of this source.
        """
        rebound = copy.copy(self)
        rebound.context = context
        return rebound

    @property
    @abstractmethod
    def source_name(self) -> str:
        """The table, query or service in words, for messages."""

    @abstractmethod
    def _parse_watermark(self, expression: str) -> Watermark | None:
        """Parse a watermark; None if it cannot be sent to this source."""

    @abstractmethod
    def _select_newer(self, watermark: Watermark, value: object) -> Self:
        """Select the rows whose watermark is `value` or larger, or null."""

    @abstractmethod
    def _copy_source(self) -> Self:
        """Return a copy that reads all that this source reads."""

    def can_filter_by(self, expression: str) -> bool:
        """Check whether the source can select by this watermark.

        Parameters
        ----------
        expression
            A watermark as the descriptor has it.

        Returns
        -------
        can_filter
            Whether the source can select by it.
        """
        return self._parse_watermark(expression) is not None

    def select_since(self, expression: str, watermark: object | None) -> Self:
        """Select the rows whose watermark is `watermark` or larger, or null.

        Parameters
        ----------
        expression
            A watermark as the descriptor has it.
        watermark
            The last watermark; None: all rows.

        Returns
        -------
        source
            A copy of this source that reads these rows only.

        Raises
        ------
        SourceError
            The source cannot select by this watermark.
        """
        parsed_watermark = self._parse_watermark(expression)
        if parsed_watermark is None:
            raise SourceError(
                f"{self.source_name} cannot select rows by the watermark {expression}",
                remedy="leave out `watermark` so that Hven compares all rows",
            )
        if watermark is None:
            return self._copy_source()
        return self._select_newer(parsed_watermark, watermark)


class _InexpressibleError(Exception):
    """The expression has a part that not every source can express."""


@dataclass(frozen=True, slots=True)
class _SourceColumn(Expr):
    """A column of the source, by its exact name."""

    name: str


def _resolve_names(node: Expr, columns: Mapping[str, Column], used_columns: dict[str, Column]) -> Expr:
    """Resolve names to the exact ones, and signs into numbers."""
    match node:
        case ColumnRef(name=ident, qualifier=()):
            name = _find_exact_name(ident, columns)
            used_columns[name] = columns[name]
            return _SourceColumn(name)
        case Literal(value=value) if isinstance(value, (int, float)) and not isinstance(value, bool):
            return Literal(value)
        case UnaryOperation(op="-" | "+" as sign, operand=operand):
            return _apply_sign(sign, _resolve_names(operand, columns, used_columns))
        case BinaryOperation(op="+" | "-" | "*" | "/" as sign, left=left, right=right):
            left_term = _resolve_names(left, columns, used_columns)
            right_term = _resolve_names(right, columns, used_columns)
            return BinaryOperation(sign, left_term, right_term)
        case FunctionCall(name="GREATEST" | "LEAST" | "COALESCE" as name, args=args):
            return FunctionCall(name, tuple(_resolve_names(arg, columns, used_columns) for arg in args))
        case _:
            raise _InexpressibleError


def _apply_sign(sign: str, operand: Expr) -> Expr:
    if sign == "+":
        return operand
    if isinstance(operand, Literal) and isinstance(operand.value, (int, float)):
        return Literal(-operand.value)
    return BinaryOperation("-", Literal(0), operand)


def _find_exact_name(ident: Ident, columns: Mapping[str, Column]) -> str:
    """Find the column that an identifier names: the exact name counts before one that differs in case."""
    if ident.name in columns:
        return ident.name
    candidates: list[str] = []
    if not ident.quoted:
        candidates = [name for name in columns if name.lower() == ident.name.lower()]
    if len(candidates) != 1:
        raise _InexpressibleError
    return candidates[0]


def _classify_type(column_type: ColumnType) -> str | None:
    if column_type.is_array or column_type.is_boolean:
        return None
    if column_type.is_timestamp:
        return KIND_TIME
    if column_type.is_numeric:
        if column_type.is_integer:
            return KIND_WHOLE
        return KIND_NUMBER
    if column_type.is_string and column_type.xtype is None:
        return KIND_TEXT
    return None


def _infer_value_kind(node: Expr, columns: Mapping[str, Column]) -> str | None:
    """Infer the kind of an expression's value.

    Raises
    ------
    _InexpressibleError
        The expression mixes kinds, or adds values that not all engines add alike.
    """
    match node:
        case _SourceColumn(name=name):
            return _classify_type(columns[name].type)
        case Literal(value=value):
            if isinstance(value, int):
                return KIND_WHOLE
            return KIND_NUMBER
        case BinaryOperation(op=sign, left=left, right=right):
            return _infer_arithmetic_kind(sign, (left, right), columns)
        case FunctionCall(args=args):
            kinds = {_infer_value_kind(arg, columns) for arg in args}
            if kinds == {KIND_WHOLE, KIND_NUMBER}:
                return KIND_NUMBER
            if len(kinds) != 1:
                raise _InexpressibleError
            return kinds.pop()
        case _:
            raise _InexpressibleError


def _infer_arithmetic_kind(sign: str, terms: tuple[Expr, Expr], columns: Mapping[str, Column]) -> str:
    for term in terms:
        # sums in single precision differ from engine to engine
        is_single = isinstance(term, _SourceColumn) and str(columns[term.name].type) == "float32"
        if is_single or isinstance(term, FunctionCall):
            raise _InexpressibleError
    kinds = {_infer_value_kind(term, columns) for term in terms}
    is_whole_division = sign == "/" and kinds == {KIND_WHOLE}  # 3 / 2 is 1 in one engine, and 1.5 in another
    if not kinds <= {KIND_WHOLE, KIND_NUMBER} or is_whole_division:
        raise _InexpressibleError
    if KIND_NUMBER in kinds:
        return KIND_NUMBER
    return KIND_WHOLE


def _write_reached_conditions(node: Expr, value: object, writer: ConditionWriter) -> tuple[str, str]:
    """Write two conditions: the value is reached; it is unknown.

    Placeholders stand in the order of both texts, one after the other.
    """
    match node:
        case FunctionCall(name="GREATEST", args=args):
            parts = [_write_reached_conditions(arg, value, writer) for arg in args]
            reached = _join_conditions_with_or(part_reached for part_reached, _ in parts)
            return reached, _join_with_and(part_missing for _, part_missing in parts)
        case FunctionCall(name="LEAST", args=args):
            parts = [_write_reached_conditions(arg, value, writer) for arg in args]
            reached = _join_with_and(_join_conditions_with_or(part) for part in parts)
            return reached, _join_with_and(part_missing for _, part_missing in parts)
        case FunctionCall(args=args):
            choices: list[str] = []
            before: list[str] = []
            for arg in args:
                reached, missing = _write_reached_conditions(arg, value, writer)
                choices.append(_join_with_and([*before, reached]))
                before.append(missing)
            return _join_conditions_with_or(choices), _join_with_and(before)
        case Literal(value=number):
            is_reached = _is_number(number) and _is_number(value) and number >= value  # type: ignore[operator]
            if is_reached:
                return "1 = 1", "1 = 0"
            return "1 = 0", "1 = 0"
        case _:
            text = _write_arithmetic_expression(node, writer, is_computed=not isinstance(node, _SourceColumn))
            reached = f"{text} >= {writer.write_literal(value)}"
            names = dict.fromkeys(part.name for part in walk_tree(node) if isinstance(part, _SourceColumn))
            return reached, _join_conditions_with_or(map(writer.write_null_condition, names))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float))


def _write_arithmetic_expression(node: Expr, writer: ConditionWriter, *, is_computed: bool) -> str:
    match node:
        case _SourceColumn(name=name):
            return writer.write_column(name, is_computed=is_computed)
        case Literal(value=value):
            return writer.write_literal(value)
        case BinaryOperation(op=sign, left=left, right=right):
            left_text = _write_arithmetic_expression(left, writer, is_computed=True)
            right_text = _write_arithmetic_expression(right, writer, is_computed=True)
            return f"({left_text} {sign} {right_text})"
        case _:
            raise _InexpressibleError


def _join_conditions_with_or(parts: Iterable[str]) -> str:
    conditions = list(parts) or ["1 = 0"]
    if len(conditions) == 1:
        return conditions[0]
    return f"({' OR '.join(conditions)})"


def _join_with_and(parts: Iterable[str]) -> str:
    conditions = list(parts)
    if len(conditions) == 1:
        return conditions[0]
    return f"({' AND '.join(conditions)})"
