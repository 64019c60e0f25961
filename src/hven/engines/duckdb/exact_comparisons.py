"""What DuckDB would compute too coarsely, too deeply or too early.

Floats beside whole numbers, long chains, rows that are hidden.

DuckDB compares a REAL with an INTEGER or a BIGINT as REALs, which tells no whole numbers apart beyond 2^24, and a
DOUBLE PRECISION with a BIGINT as doubles (2^53). It writes ``a + b + c ..`` as a nest as deep as it is long: a thousand
levels are its limit, and its optimizer takes seconds for some hundred.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql.sql_writer import SqlDialect
from hven.adql.syntax_tree import Case, Comparison, LiteralList, Query, Subquery, walk_tree
from hven.adql.value_kinds import is_null, require_meta
from hven.model.types import FLOAT32, FLOAT64

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.adql.sql_writer import SqlWriter
    from hven.adql.syntax_tree import BetweenPredicate, BinaryOperation, Expr, FunctionCall, InPredicate
    from hven.model.types import Type

# a float as a whole number; one that is none becomes a number that no BIGINT equals, and NULL stays NULL
_FLOAT_AS_INTEGER_SQL = (
    "CASE WHEN {0} IS NOT NULL THEN coalesce(CASE WHEN {0} = trunc({0}) THEN TRY_CAST({0} AS HUGEINT) END, "
    "CAST('1e38' AS HUGEINT)) END"
)
_INT64_RANK = 4  # of 64-bit whole numbers: more digits than a double has


class ExactDialect(SqlDialect):
    """Comparisons, chains and row filters in DuckDB's SQL."""

    def write_comparison(self, writer: SqlWriter, node: Comparison) -> str:
        """Compare numbers exactly, whatever their types are."""
        sides = (node.left, node.right)
        floats = (
            node.op == "="
            and not any(require_meta(side).constant for side in sides)
            and any(_is_float(side) for side in sides)
        )
        if not floats and not _is_inexact(sides):
            return super().write_comparison(writer, node)
        texts = [
            _remove_zero_sign(writer.write_expression(side))
            if floats and _is_float(side)
            else writer.write_expression(side)
            for side in sides
        ]
        if not _is_inexact(sides):
            return f"({texts[0]} {node.op} {texts[1]})"
        left_double, right_double = (self._write_double(text, side) for text, side in zip(texts, sides, strict=True))
        if not any(_is_int64(side) for side in sides) or any(
            isinstance(part, Case | Query) for side in sides for part in walk_tree(side)
        ):
            return f"({left_double} {node.op} {right_double})"  # texts that hold others are not written several times
        # equal as doubles, they may differ: then the double is a whole number, and both are compared as such
        left_integer, right_integer = (
            text if _is_int64(side) else f"TRY_CAST(CAST({text} AS DOUBLE) AS HUGEINT)"
            for text, side in zip(texts, sides, strict=True)
        )
        same = (
            f"{left_double} = {right_double} AND {left_integer} {'=' if node.op == '<>' else node.op} {right_integer}"
        )
        if node.op in {"=", "<>"}:  # as two conditions: a join can use the first
            if node.op == "=":
                return f"({same})"
            return f"(NOT ({same}))"
        return f"({left_double} {node.op[0]} {right_double} OR ({same}))"

    def write_between(self, writer: SqlWriter, node: BetweenPredicate) -> str:
        """Write BETWEEN, with exact comparisons."""
        sides = (node.operand, node.low, node.high)
        if not _is_inexact(sides):
            return super().write_between(writer, node)
        if not any(_is_int64(side) for side in sides):
            operand, low, high = (self._write_double(writer.write_expression(side), side) for side in sides)
            return f"({operand} {'NOT ' if node.negated else ''}BETWEEN {low} AND {high})"
        low, high = (
            self.write_comparison(writer, Comparison(op, node.operand, side, meta=node.meta))
            for op, side in ((">=", node.low), ("<=", node.high))
        )
        return f"({'NOT ' if node.negated else ''}({low} AND {high}))"

    def write_in(self, writer: SqlWriter, node: InPredicate) -> str:
        """Write IN, with exact comparisons."""
        choices: Sequence[Expr] = (node.choices,) if isinstance(node.choices, Subquery) else node.choices
        floats = _is_float(node.operand)
        kinds = choices.sample_literals if isinstance(choices, LiteralList) else choices
        # of a column of Arrow such a list is asked of Arrow, with times before the year 1 as texts, which it refuses
        times = require_meta(node.operand).type.is_timestamp and not isinstance(node.choices, Subquery)
        if not floats and not times and not _is_inexact((node.operand, *kinds)):
            return super().write_in(writer, node)
        word = "NOT IN" if node.negated else "IN"
        if floats:
            operand = _remove_zero_sign(writer.write_expression(node.operand))
        else:
            operand = writer.write_expression(node.operand)
        if times:
            return f"(({operand} + INTERVAL 0 DAYS) {word} ({self.write_in_choices(writer, choices)}))"
        if isinstance(node.choices, Subquery):
            inner = writer.write_subquery(node.choices)
            if not _is_inexact((node.operand, node.choices)):
                return f"({operand} {word} {inner})"
            if _is_int64(node.choices):
                operand = _FLOAT_AS_INTEGER_SQL.format(operand)
            elif _is_int64(node.operand):
                inner = f"(SELECT {_FLOAT_AS_INTEGER_SQL.format('v')} FROM {inner} AS q(v))"
            else:
                operand = self._write_double(operand, node.operand)
            return f"({operand} {word} {inner})"
        if not _is_inexact((node.operand, *kinds)):
            return f"({operand} {word} ({self.write_in_choices(writer, choices)}))"
        operand = self._write_double(operand, node.operand)
        if any(_is_int64(side) for side in (node.operand, *kinds)):
            tests = " OR ".join(
                [self.write_comparison(writer, Comparison("=", node.operand, side, meta=node.meta)) for side in choices]
            )
            return f"({'NOT ' if node.negated else ''}({tests}))"
        return (
            f"({operand} {word} "
            f"({', '.join([self._write_double(writer.write_expression(choice), choice) for choice in choices])}))"
        )

    def write_row(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write several values that are compared as one."""
        return f"row({', '.join([_remove_zero_sign(writer.write_expression(arg)) if _is_float(arg) else writer.write_expression(arg) for arg in node.args])})"

    def write_permitted_rows(self, table: str, condition: str) -> str:
        """Write a reader's rows so that nothing can be learnt of the others.

        DuckDB tests the conditions of a query in any order, so it may compute with a row before the policy drops it,
        and fail: an answer or an error would tell of a hidden value. In such a row every value is NULL. (CASE knows no
        arrays of fixed length.)
        """
        return (
            f"SELECT list_extract([COLUMNS(*)], CASE WHEN {condition} THEN 1 END) FROM {table} AS t0 WHERE {condition}"
        )

    def write_chain(self, writer: SqlWriter, first_sql: str, links: Sequence[BinaryOperation]) -> str | None:
        """Write a long chain flat: text is joined at once, numbers are added one after the other over a list."""
        op = links[0].op
        type_ = require_meta(links[0]).type
        if op not in {"+", "-", "*"} or not type_.is_numeric:
            return None
        numbers = [self.write_cast(first_sql, type_)]
        for link in links:
            number = self.write_cast(writer.write_expression(link.right), type_)
            numbers.append(f"(-{number})" if link.op == "-" else number)
        # the order of the operations stays, so overflow and rounding do
        return f"list_reduce(list_value({', '.join(numbers)}), lambda a, b: a {'*' if op == '*' else '+'} b)"

    def _write_double(self, sql: str, node: Expr) -> str:
        # beside it, DuckDB makes a double of a REAL by itself
        if require_meta(node).type.is_integer:
            return f"CAST({sql} AS DOUBLE)"
        return sql


def _remove_zero_sign(sql: str) -> str:
    """Replace -0.0 by 0.0: where DuckDB lets Arrow look for equal numbers (joins, IN), Arrow holds them apart."""
    return f"({sql} + 0e0)"


def _is_float(node: Expr) -> bool:
    return require_meta(node).type in {FLOAT32, FLOAT64}


def _is_inexact(nodes: Iterable[Expr]) -> bool:
    """Return whether DuckDB would compare these in a type that cannot hold all of their values."""
    types: set[Type] = {require_meta(node).type for node in nodes if not is_null(node)}
    if FLOAT32 in types:
        return any(type_.is_integer for type_ in types)
    return FLOAT64 in types and any(_is_int64_type(type_) for type_ in types)


def _is_int64(node: Expr) -> bool:
    return not is_null(node) and _is_int64_type(require_meta(node).type)


def _is_int64_type(value_type: Type) -> bool:
    return value_type.is_integer and value_type.scalar.rank == _INT64_RANK
