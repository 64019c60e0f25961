"""Watermarks as conditions in the source's own language: "at least this, or unknown".

What comes out may let through rows that need not be read again, and never leaves one out that must be: values are compared a
little below the last watermark where they are no whole numbers, for two machines do not add alike; a value that is unknown counts
as new. GREATEST, LEAST and COALESCE become conditions over their arguments, which every dialect has, and which indexes serve.
"""

from __future__ import annotations

import copy
import datetime as dt
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from hven.adql import parse_expression
from hven.adql.tree import Binary, ColumnRef, Expr, Function, Literal, Unary, walk
from hven.model.errors import HvenError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.model.table import Column
    from hven.model.types import Type
    from hven.sources import Context

WHOLE, FLOAT, TEXT, TIME = "whole number", "number", "text", "time"
_SINGLE = 2.0**-22  # of a single-precision number, two steps
_STEPS = 8  # of a double-precision one


class Words(Protocol):
    """How a source writes the parts of a condition."""

    def column(self, name: str, *, computed: bool) -> str:
        """Write a column as it is compared; `computed`: as a term of a sum, in which it must neither overflow nor be rounded."""

    def missing(self, name: str) -> str:
        """Write the condition that the column has no value."""

    def value(self, value: object) -> str:
        """Write a number, text or time; what stands in its place is used once, in the order of the calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """A watermark that a source can be asked for."""

    expression: str
    tree: Expr
    columns: Mapping[str, Column]
    kind: str
    single: bool  # a column of it is of single precision

    def condition(self, value: object, words: Words) -> str:
        """Write the condition that it is `value` or more, or unknown.

        Raises
        ------
        SourceError
            The value is of another kind.
        """
        found = self.least(value)
        reached, missing = _reached(self.tree, found, words)
        return f"({reached} OR {missing})"

    def least(self, value: object) -> object:
        """Check a value, and say what is at least asked for: a little less of what is no whole number.

        Raises
        ------
        SourceError
            The value is of another kind.
        """
        good = {
            WHOLE: isinstance(value, (int, float)),
            FLOAT: isinstance(value, (int, float)),
            TEXT: isinstance(value, str),
            TIME: isinstance(value, dt.datetime) and value.tzinfo is None,
        }[self.kind]
        if isinstance(value, (int, float)):
            good = good and math.isfinite(value) and (isinstance(value, float) or -(1 << 63) <= value < 1 << 63)
        if not good or isinstance(value, bool):
            raise SourceError(
                f"the watermark {self.expression} is a {self.kind}, and was {value!r}",
                remedy="sync with --full: everything is read",
            )
        if isinstance(value, float):
            return value - (abs(value) * _SINGLE if self.single else _STEPS * math.ulp(value))
        return value


def watermark(expression: str, columns: Sequence[Column]) -> Watermark | None:
    """Parse a watermark: a column by its name, or an expression over columns; None if it cannot be sent to a source."""
    by_name = {column.name: column for column in columns}
    if expression in by_name:
        kind = _kind(by_name[expression].type)
        used = {expression: by_name[expression]}
        tree: Expr = _Named(expression)
    else:
        try:
            tree = parse_expression(expression)
        except HvenError:
            return None
        used = {}
        try:
            tree = _resolved(tree, by_name, used)
            kind = _kind_of(tree, by_name)
        except _CannotSayError:
            return None
    if kind is None or not used:
        return None
    single = any(str(column.type) == "float32" for column in used.values())
    return Watermark(expression=expression, tree=tree, columns=used, kind=kind, single=single)


class Narrowing(ABC):
    """The half of a `Source` that can be asked for what is newer than a watermark (`hven.sources.Since`)."""

    context: Context

    def within(self, context: Context) -> Self:
        """Copy the source for another context; nothing is asked anew."""
        found = copy.copy(self)
        found.context = context
        return found

    @property
    @abstractmethod
    def what(self) -> str:
        """What is read, in words, for messages."""

    @abstractmethod
    def _watermark(self, expression: str) -> Watermark | None:
        """Parse a watermark; None if it cannot be sent to this source."""

    @abstractmethod
    def _newer(self, known: Watermark, value: object) -> Self:
        """Select the rows whose watermark is `value` or larger, or null."""

    @abstractmethod
    def _part(self) -> Self:
        """Return a copy, which reads all that this one reads."""

    def narrow(self, expression: str) -> bool:
        """Check whether the source can be asked for this watermark."""
        return self._watermark(expression) is not None

    def since(self, expression: str, value: object | None) -> Self:
        """Select the rows whose watermark is `value` or larger, or null.

        Raises
        ------
        SourceError
            It cannot be asked for that watermark.
        """
        known = self._watermark(expression)
        if known is None:
            raise SourceError(
                f"{self.what} cannot be asked for the watermark {expression}",
                remedy="leave `watermark` out: all rows are compared",
            )
        return self._part() if value is None else self._newer(known, value)


class _CannotSayError(Exception):
    """The expression has something that not every source can say."""


@dataclass(frozen=True, slots=True)
class _Named(Expr):
    """A column of the source, by its exact name."""

    name: str


def _resolved(node: Expr, columns: Mapping[str, Column], used: dict[str, Column]) -> Expr:
    """Resolve names to the exact ones, and signs into numbers."""
    match node:
        case ColumnRef(name=ident, qualifier=()):
            found = [
                name
                for name in columns
                if name == ident.name or (not ident.quoted and name.lower() == ident.name.lower())
            ]
            exact = [name for name in found if name == ident.name] or found
            if len(exact) != 1:
                raise _CannotSayError
            used[exact[0]] = columns[exact[0]]
            return _Named(exact[0])
        case Literal(value=value) if isinstance(value, (int, float)) and not isinstance(value, bool):
            return Literal(value)
        case Unary(op="-" | "+" as sign, operand=operand):
            inner = _resolved(operand, columns, used)
            if isinstance(inner, Literal) and isinstance(inner.value, (int, float)):
                return Literal(-inner.value if sign == "-" else inner.value)
            return inner if sign == "+" else Binary("-", Literal(0), inner)
        case Binary(op="+" | "-" | "*" | "/" as sign, left=left, right=right):
            return Binary(sign, _resolved(left, columns, used), _resolved(right, columns, used))
        case Function(name="GREATEST" | "LEAST" | "COALESCE" as name, args=args):
            return Function(name, tuple(_resolved(arg, columns, used) for arg in args))
        case _:
            raise _CannotSayError


def _kind(kind: Type) -> str | None:
    if kind.is_array or kind.is_boolean:
        return None
    if kind.is_timestamp:
        return TIME
    if kind.is_numeric:
        return WHOLE if kind.is_integer else FLOAT
    return TEXT if kind.is_string and kind.xtype is None else None


def _kind_of(node: Expr, columns: Mapping[str, Column]) -> str | None:
    """Infer the kind of an expression's value.

    Raises
    ------
    _CannotSayError
        It mixes kinds, or adds what cannot be added alike everywhere.
    """
    match node:
        case _Named(name=name):
            return _kind(columns[name].type)
        case Literal(value=value):
            return WHOLE if isinstance(value, int) else FLOAT
        case Binary(op=sign, left=left, right=right):
            if any(isinstance(part, Function) for part in (left, right)):
                raise _CannotSayError
            if any(isinstance(part, _Named) and str(columns[part.name].type) == "float32" for part in (left, right)):
                raise _CannotSayError  # sums in single precision differ from engine to engine
            kinds = {_kind_of(left, columns), _kind_of(right, columns)}
            if not kinds <= {WHOLE, FLOAT} or (sign == "/" and kinds == {WHOLE}):  # 3 / 2 is 1 here, and 1.5 there
                raise _CannotSayError
            return FLOAT if FLOAT in kinds else WHOLE
        case Function(args=args):
            kinds = {_kind_of(arg, columns) for arg in args}
            if kinds == {WHOLE, FLOAT}:
                return FLOAT
            if len(kinds) != 1:
                raise _CannotSayError
            return kinds.pop()
        case _:
            raise _CannotSayError


def _reached(node: Expr, value: object, words: Words) -> tuple[str, str]:
    """Write two conditions: the value is reached; it is unknown. Placeholders stand in the order of the text of both, one after the other."""
    match node:
        case Function(name="GREATEST", args=args):
            parts = [_reached(arg, value, words) for arg in args]
            return _any(part[0] for part in parts), _all(part[1] for part in parts)
        case Function(name="LEAST", args=args):
            parts = [_reached(arg, value, words) for arg in args]
            return _all(_any(part) for part in parts), _all(part[1] for part in parts)
        case Function(args=args):
            choices: list[str] = []
            before: list[str] = []
            for arg in args:
                reached, missing = _reached(arg, value, words)
                choices.append(_all([*before, reached]))
                before.append(missing)
            return _any(choices), _all(before)
        case Literal(value=number):
            large = (
                number is not None
                and not isinstance(number, str)
                and isinstance(value, (int, float))
                and number >= value
            )
            return ("1 = 1" if large else "1 = 0"), "1 = 0"
        case _:
            text = _sum(node, words, computed=not isinstance(node, _Named))
            return f"{text} >= {words.value(value)}", _any(
                words.missing(name)
                for name in dict.fromkeys(part.name for part in walk(node) if isinstance(part, _Named))
            )


def _sum(node: Expr, words: Words, *, computed: bool) -> str:
    match node:
        case _Named(name=name):
            return words.column(name, computed=computed)
        case Literal(value=value):
            return words.value(value)
        case Binary(op=sign, left=left, right=right):
            return f"({_sum(left, words, computed=True)} {sign} {_sum(right, words, computed=True)})"
        case _:
            raise _CannotSayError


def _any(parts: Iterable[str]) -> str:
    found = list(parts) or ["1 = 0"]
    return found[0] if len(found) == 1 else f"({' OR '.join(found)})"


def _all(parts: Iterable[str]) -> str:
    found = list(parts)
    return found[0] if len(found) == 1 else f"({' AND '.join(found)})"
