"""Watermarks as conditions in the source's own language: "at least this, or unknown".

What comes out may let through rows that need not be read again, and never leaves one out that must be: values are
compared a little below the last watermark where they are no whole numbers, for two machines do not add alike; a value
that is unknown counts as new. GREATEST, LEAST and COALESCE become conditions over their arguments, which every dialect
has, and which indexes serve.
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

    from hven.model.table import Column
    from hven.model.types import Type
    from hven.sources import SourceContext

KIND_WHOLE, KIND_NUMBER, KIND_TEXT, KIND_TIME = "whole number", "number", "text", "time"
_SINGLE_PRECISION_MARGIN = 2.0**-22  # of a single-precision number, two steps
_DOUBLE_PRECISION_STEPS = 8  # of a double-precision one


class ConditionWriter(Protocol):
    """How a source writes the parts of a condition."""

    def write_column(self, name: str, *, is_computed: bool) -> str:
        """Write a column as it is compared; `is_computed`.

        As a term of a sum, in which it must neither overflow nor be rounded.
        """

    def write_is_null(self, name: str) -> str:
        """Write the condition that the column has no value."""

    def write_literal(self, value: object) -> str:
        """Write a number, text or time; what stands in its place is used once, in the order of the calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """A watermark that a source can be asked for."""

    expression: str
    tree: Expr
    columns: Mapping[str, Column]
    value_kind: str
    is_single_precision: bool  # a column of it is of single precision

    def write_condition(self, value: object, writer: ConditionWriter) -> str:
        """Write the condition that it is `value` or more, or unknown.

        Raises
        ------
        SourceError
            The value is of another kind.
        """
        lower_bound = self.compute_lower_bound(value)
        reached, missing = _write_reached_conditions(self.tree, lower_bound, writer)
        return f"({reached} OR {missing})"

    def compute_lower_bound(self, value: object) -> object:
        """Check a value, and say what is at least asked for: a little less of what is no whole number.

        Raises
        ------
        SourceError
            The value is of another kind.
        """
        is_valid = {
            KIND_WHOLE: isinstance(value, (int, float)),
            KIND_NUMBER: isinstance(value, (int, float)),
            KIND_TEXT: isinstance(value, str),
            KIND_TIME: isinstance(value, dt.datetime) and value.tzinfo is None,
        }[self.value_kind]
        if isinstance(value, (int, float)):
            is_valid = is_valid and math.isfinite(value) and (isinstance(value, float) or -(1 << 63) <= value < 1 << 63)
        if not is_valid or isinstance(value, bool):
            raise SourceError(
                f"the watermark {self.expression} is a {self.value_kind}, and was {value!r}",
                remedy="sync with --full: everything is read",
            )
        if isinstance(value, float):
            return value - (
                abs(value) * _SINGLE_PRECISION_MARGIN
                if self.is_single_precision
                else _DOUBLE_PRECISION_STEPS * math.ulp(value)
            )
        return value


def parse_watermark(expression: str, columns: Sequence[Column]) -> Watermark | None:
    """Parse a watermark: a column by its name, or an expression over columns; None if it cannot be sent to a source."""
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
            kind = _infer_kind(tree, by_name)
        except _InexpressibleError:
            return None
    if kind is None or not used_columns:
        return None
    single = any(str(column.type) == "float32" for column in used_columns.values())
    return Watermark(
        expression=expression, tree=tree, columns=used_columns, value_kind=kind, is_single_precision=single
    )


class WatermarkSource(ABC):
    """The half of a `Source` that can be asked for what is newer than a watermark (`hven.sources.IncrementalSource`)."""

    context: SourceContext

    def with_context(self, context: SourceContext) -> Self:
        """Copy the source for another context; nothing is asked anew."""
        rebound = copy.copy(self)
        rebound.context = context
        return rebound

    @property
    @abstractmethod
    def source_name(self) -> str:
        """What is read, in words, for messages."""

    @abstractmethod
    def _parse_watermark(self, expression: str) -> Watermark | None:
        """Parse a watermark; None if it cannot be sent to this source."""

    @abstractmethod
    def _select_newer(self, watermark: Watermark, value: object) -> Self:
        """Select the rows whose watermark is `value` or larger, or null."""

    @abstractmethod
    def _copy_part(self) -> Self:
        """Return a copy, which reads all that this one reads."""

    def can_filter_by(self, expression: str) -> bool:
        """Check whether the source can be asked for this watermark."""
        return self._parse_watermark(expression) is not None

    def select_since(self, expression: str, watermark: object | None) -> Self:
        """Select the rows whose watermark is `watermark` or larger, or null.

        Raises
        ------
        SourceError
            It cannot be asked for that watermark.
        """
        parsed_watermark = self._parse_watermark(expression)
        if parsed_watermark is None:
            raise SourceError(
                f"{self.source_name} cannot be asked for the watermark {expression}",
                remedy="leave `watermark` out: all rows are compared",
            )
        if watermark is None:
            return self._copy_part()
        return self._select_newer(parsed_watermark, watermark)


class _InexpressibleError(Exception):
    """The expression has something that not every source can say."""


@dataclass(frozen=True, slots=True)
class _SourceColumn(Expr):
    """A column of the source, by its exact name."""

    name: str


def _resolve_names(node: Expr, columns: Mapping[str, Column], used_columns: dict[str, Column]) -> Expr:
    """Resolve names to the exact ones, and signs into numbers."""
    match node:
        case ColumnRef(name=ident, qualifier=()):
            candidates = [
                name
                for name in columns
                if name == ident.name or (not ident.quoted and name.lower() == ident.name.lower())
            ]
            exact = [name for name in candidates if name == ident.name] or candidates
            if len(exact) != 1:
                raise _InexpressibleError
            used_columns[exact[0]] = columns[exact[0]]
            return _SourceColumn(exact[0])
        case Literal(value=value) if isinstance(value, (int, float)) and not isinstance(value, bool):
            return Literal(value)
        case UnaryOperation(op="-" | "+" as sign, operand=operand):
            inner = _resolve_names(operand, columns, used_columns)
            if isinstance(inner, Literal) and isinstance(inner.value, (int, float)):
                return Literal(-inner.value if sign == "-" else inner.value)
            if sign == "+":
                return inner
            return BinaryOperation("-", Literal(0), inner)
        case BinaryOperation(op="+" | "-" | "*" | "/" as sign, left=left, right=right):
            return BinaryOperation(
                sign, _resolve_names(left, columns, used_columns), _resolve_names(right, columns, used_columns)
            )
        case FunctionCall(name="GREATEST" | "LEAST" | "COALESCE" as name, args=args):
            return FunctionCall(name, tuple(_resolve_names(arg, columns, used_columns) for arg in args))
        case _:
            raise _InexpressibleError


def _classify_type(column_type: Type) -> str | None:
    if column_type.is_array or column_type.is_boolean:
        return None
    if column_type.is_timestamp:
        return KIND_TIME
    if column_type.is_numeric:
        return KIND_WHOLE if column_type.is_integer else KIND_NUMBER
    if column_type.is_string and column_type.xtype is None:
        return KIND_TEXT
    return None


def _infer_kind(node: Expr, columns: Mapping[str, Column]) -> str | None:
    """Infer the kind of an expression's value.

    Raises
    ------
    _CannotSayError
        It mixes kinds, or adds what cannot be added alike everywhere.
    """
    match node:
        case _SourceColumn(name=name):
            return _classify_type(columns[name].type)
        case Literal(value=value):
            return KIND_WHOLE if isinstance(value, int) else KIND_NUMBER
        case BinaryOperation(op=sign, left=left, right=right):
            if any(isinstance(part, FunctionCall) for part in (left, right)):
                raise _InexpressibleError
            if any(
                isinstance(part, _SourceColumn) and str(columns[part.name].type) == "float32" for part in (left, right)
            ):
                raise _InexpressibleError  # sums in single precision differ from engine to engine
            kinds = {_infer_kind(left, columns), _infer_kind(right, columns)}
            if not kinds <= {KIND_WHOLE, KIND_NUMBER} or (
                sign == "/" and kinds == {KIND_WHOLE}
            ):  # 3 / 2 is 1 here, and 1.5 there
                raise _InexpressibleError
            return KIND_NUMBER if KIND_NUMBER in kinds else KIND_WHOLE
        case FunctionCall(args=args):
            kinds = {_infer_kind(arg, columns) for arg in args}
            if kinds == {KIND_WHOLE, KIND_NUMBER}:
                return KIND_NUMBER
            if len(kinds) != 1:
                raise _InexpressibleError
            return kinds.pop()
        case _:
            raise _InexpressibleError


def _write_reached_conditions(node: Expr, value: object, writer: ConditionWriter) -> tuple[str, str]:
    """Write two conditions: the value is reached; it is unknown.

    Placeholders stand in the order of the text of both, one after the other.
    """
    match node:
        case FunctionCall(name="GREATEST", args=args):
            parts = [_write_reached_conditions(arg, value, writer) for arg in args]
            return _join_with_or(part[0] for part in parts), _join_with_and(part[1] for part in parts)
        case FunctionCall(name="LEAST", args=args):
            parts = [_write_reached_conditions(arg, value, writer) for arg in args]
            return _join_with_and(_join_with_or(part) for part in parts), _join_with_and(part[1] for part in parts)
        case FunctionCall(args=args):
            choices: list[str] = []
            before: list[str] = []
            for arg in args:
                reached, missing = _write_reached_conditions(arg, value, writer)
                choices.append(_join_with_and([*before, reached]))
                before.append(missing)
            return _join_with_or(choices), _join_with_and(before)
        case Literal(value=number):
            large = (
                number is not None
                and not isinstance(number, str)
                and isinstance(value, (int, float))
                and number >= value
            )
            return ("1 = 1" if large else "1 = 0"), "1 = 0"
        case _:
            text = _write_sum(node, writer, is_computed=not isinstance(node, _SourceColumn))
            return f"{text} >= {writer.write_literal(value)}", _join_with_or(
                writer.write_is_null(name)
                for name in dict.fromkeys(part.name for part in walk_tree(node) if isinstance(part, _SourceColumn))
            )


def _write_sum(node: Expr, writer: ConditionWriter, *, is_computed: bool) -> str:
    match node:
        case _SourceColumn(name=name):
            return writer.write_column(name, is_computed=is_computed)
        case Literal(value=value):
            return writer.write_literal(value)
        case BinaryOperation(op=sign, left=left, right=right):
            return (
                f"({_write_sum(left, writer, is_computed=True)} {sign} {_write_sum(right, writer, is_computed=True)})"
            )
        case _:
            raise _InexpressibleError


def _join_with_or(parts: Iterable[str]) -> str:
    conditions = list(parts) or ["1 = 0"]
    if len(conditions) == 1:
        return conditions[0]
    return f"({' OR '.join(conditions)})"


def _join_with_and(parts: Iterable[str]) -> str:
    conditions = list(parts)
    if len(conditions) == 1:
        return conditions[0]
    return f"({' AND '.join(conditions)})"
