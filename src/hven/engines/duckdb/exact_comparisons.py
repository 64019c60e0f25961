"""SQL for what DuckDB would compute too coarsely, too deeply or too early.

These are comparisons of floats with integers, long chains of operations, and rows that a policy hides.

DuckDB compares a REAL with an INTEGER or a BIGINT as REALs, which do not tell integers beyond 2^24 apart, and a DOUBLE
PRECISION with a BIGINT as doubles (2^53). It nests ``a + b + c ..`` as deep as the chain is long: its limit is a
thousand levels, and its optimizer takes seconds for some hundred.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql.sql_writer import SqlDialect
from hven.adql.syntax_tree import CaseExpression, Comparison, LiteralList, Query, Subquery, walk_tree
from hven.adql.value_kinds import is_null_in_every_row, require_meta
from hven.model.types import FLOAT32, FLOAT64

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.adql.sql_writer import SqlWriter
    from hven.adql.syntax_tree import BetweenPredicate, BinaryOperation, Expr, FunctionCall, InPredicate
    from hven.model.types import ColumnType

# a float as a whole number; one that is none becomes a number that no BIGINT equals, and NULL stays NULL
_FLOAT_AS_INTEGER_SQL = (
    "CASE WHEN {0} IS NOT NULL THEN coalesce(CASE WHEN {0} = trunc({0}) THEN TRY_CAST({0} AS HUGEINT) END, "
    "CAST('1e38' AS HUGEINT)) END"
)
_INT64_RANK = 4  # of 64-bit integers, which have more digits than a double


class ExactComparisonDialect(SqlDialect):
    """Comparisons, chains and row filters in DuckDB's SQL."""

    def write_comparison(self, writer: SqlWriter, node: Comparison) -> str:
        """Write a comparison that is exact for all types of numbers."""
        sides = (node.left, node.right)
        has_constants = any(require_meta(side).constant for side in sides)
        is_float_equality = node.op == "=" and not has_constants and any(_is_float(side) for side in sides)
        if not is_float_equality and not _is_comparison_inexact(sides):
            return super().write_comparison(writer, node)
        if is_float_equality:
            left = self._write_equality_operand(writer, node.left)
            right = self._write_equality_operand(writer, node.right)
        else:
            left = writer.write_expression(node.left)
            right = writer.write_expression(node.right)
        if not _is_comparison_inexact(sides):
            return f"({left} {node.op} {right})"
        left_double = self._cast_integer_to_double(left, node.left)
        right_double = self._cast_integer_to_double(right, node.right)
        # texts that contain a CASE or a query are not written several times
        is_long = any(isinstance(part, CaseExpression | Query) for part in walk_tree(sides))
        if is_long or not any(_is_int64(side) for side in sides):
            return f"({left_double} {node.op} {right_double})"
        # numbers that are equal as doubles may differ; then the double is an integer, and both are compared as integers
        left_integer = self._cast_to_exact_integer(left, node.left)
        right_integer = self._cast_to_exact_integer(right, node.right)
        integer_operator = "="
        if node.op != "<>":
            integer_operator = node.op
        same = f"{left_double} = {right_double} AND {left_integer} {integer_operator} {right_integer}"
        if node.op == "=":  # two conditions: a join can use the first one
            return f"({same})"
        if node.op == "<>":
            return f"(NOT ({same}))"
        return f"({left_double} {node.op[0]} {right_double} OR ({same}))"

    def write_between(self, writer: SqlWriter, node: BetweenPredicate) -> str:
        """Write BETWEEN, with exact comparisons."""
        sides = (node.operand, node.low, node.high)
        if not _is_comparison_inexact(sides):
            return super().write_between(writer, node)
        negation = "NOT " if node.negated else ""
        if not any(_is_int64(side) for side in sides):
            operand, low, high = (self._cast_integer_to_double(writer.write_expression(side), side) for side in sides)
            return f"({operand} {negation}BETWEEN {low} AND {high})"
        low = self.write_comparison(writer, Comparison(">=", node.operand, node.low, meta=node.meta))
        high = self.write_comparison(writer, Comparison("<=", node.operand, node.high, meta=node.meta))
        return f"({negation}({low} AND {high}))"

    def write_in(self, writer: SqlWriter, node: InPredicate) -> str:
        """Write IN, with exact comparisons."""
        if isinstance(node.choices, Subquery):
            return self._write_in_subquery(writer, node, node.choices)
        choices = node.choices
        is_float = _is_float(node.operand)
        sampled_choices = choices
        if isinstance(choices, LiteralList):
            sampled_choices = choices.type_determining_literals
        sides = (node.operand, *sampled_choices)
        # DuckDB lets Arrow test such a list for a column of Arrow, and passes times before the year 1 as texts, which
        # Arrow refuses
        is_timestamp = require_meta(node.operand).type.is_timestamp
        if not is_float and not is_timestamp and not _is_comparison_inexact(sides):
            return super().write_in(writer, node)
        word = "NOT IN" if node.negated else "IN"
        operand = self._write_equality_operand(writer, node.operand)
        if is_timestamp:
            return f"(({operand} + INTERVAL 0 DAYS) {word} ({self.write_in_choices(writer, choices)}))"
        if not _is_comparison_inexact(sides):
            return f"({operand} {word} ({self.write_in_choices(writer, choices)}))"
        operand = self._cast_integer_to_double(operand, node.operand)
        if any(_is_int64(side) for side in sides):
            comparisons = [Comparison("=", node.operand, choice, meta=node.meta) for choice in choices]
            tests = " OR ".join([self.write_comparison(writer, comparison) for comparison in comparisons])
            return f"({'NOT ' if node.negated else ''}({tests}))"
        choice_texts = [self._cast_integer_to_double(writer.write_expression(choice), choice) for choice in choices]
        return f"({operand} {word} ({', '.join(choice_texts)}))"

    def _write_in_subquery(self, writer: SqlWriter, node: InPredicate, subquery: Subquery) -> str:
        is_inexact = _is_comparison_inexact((node.operand, subquery))
        if not _is_float(node.operand) and not is_inexact:
            return super().write_in(writer, node)
        word = "NOT IN" if node.negated else "IN"
        operand = self._write_equality_operand(writer, node.operand)
        inner = writer.write_subquery(subquery)
        if not is_inexact:
            return f"({operand} {word} {inner})"
        if _is_int64(subquery):
            operand = _FLOAT_AS_INTEGER_SQL.format(operand)
        elif _is_int64(node.operand):
            inner = f"(SELECT {_FLOAT_AS_INTEGER_SQL.format('v')} FROM {inner} AS q(v))"
        else:
            operand = self._cast_integer_to_double(operand, node.operand)
        return f"({operand} {word} {inner})"

    def write_row_constructor(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write several values that are compared as one."""
        values = [self._write_equality_operand(writer, arg) for arg in node.args]
        return f"row({', '.join(values)})"

    def write_permitted_rows_select(self, table: str, condition: str) -> str:
        """Write the rows that a reader may see so that the reader learns nothing of the others.

        DuckDB tests the conditions of a query in any order, so it may compute with a row before the policy drops it,
        and fail: the answer or the error would reveal a hidden value. Therefore every value of such a row is NULL.
        ``list_extract`` stands for CASE, which knows no arrays of fixed length.
        """
        return (
            f"SELECT list_extract([COLUMNS(*)], CASE WHEN {condition} THEN 1 END) FROM {table} AS t0 WHERE {condition}"
        )

    def write_operation_chain(self, writer: SqlWriter, first_sql: str, links: Sequence[BinaryOperation]) -> str | None:
        """Write a long chain of numbers flat, as a sum or product over a list; return None for other chains."""
        op = links[0].op
        chain_type = require_meta(links[0]).type
        if op not in {"+", "-", "*"} or not chain_type.is_numeric:
            return None
        numbers = [self.write_cast(first_sql, chain_type)]
        for link in links:
            number = self.write_cast(writer.write_expression(link.right), chain_type)
            numbers.append(f"(-{number})" if link.op == "-" else number)
        # the order of the operations stays, and with it overflow and rounding
        list_operator = "*" if op == "*" else "+"
        return f"list_reduce(list_value({', '.join(numbers)}), lambda a, b: a {list_operator} b)"

    def _write_equality_operand(self, writer: SqlWriter, node: Expr) -> str:
        """Write a value that is tested for equality: a float without the sign of zero."""
        sql = writer.write_expression(node)
        if _is_float(node):
            return _remove_zero_sign(sql)
        return sql

    def _cast_to_exact_integer(self, sql: str, node: Expr) -> str:
        if _is_int64(node):
            return sql
        return f"TRY_CAST(CAST({sql} AS DOUBLE) AS HUGEINT)"

    def _cast_integer_to_double(self, sql: str, node: Expr) -> str:
        # DuckDB makes a double of a REAL itself if the other side is one
        if require_meta(node).type.is_integer:
            return f"CAST({sql} AS DOUBLE)"
        return sql


def _remove_zero_sign(sql: str) -> str:
    """Replace -0.0 by 0.0: where DuckDB lets Arrow look for equal numbers (joins, IN), Arrow holds them apart."""
    return f"({sql} + 0e0)"


def _is_float(node: Expr) -> bool:
    return require_meta(node).type in {FLOAT32, FLOAT64}


def _is_comparison_inexact(nodes: Iterable[Expr]) -> bool:
    """Return whether DuckDB would compare these in a type that cannot hold all of their values."""
    types: set[ColumnType] = {require_meta(node).type for node in nodes if not is_null_in_every_row(node)}
    if FLOAT32 in types:
        return any(type_.is_integer for type_ in types)
    return FLOAT64 in types and any(_is_int64_type(type_) for type_ in types)


def _is_int64(node: Expr) -> bool:
    return not is_null_in_every_row(node) and _is_int64_type(require_meta(node).type)


def _is_int64_type(value_type: ColumnType) -> bool:
    return value_type.is_integer and value_type.scalar_type.rank == _INT64_RANK
