"""Write a bound tree as SQL: strings and numbers become parameters or newly written literals, names are quoted."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar

from hven.adql import value_kinds
from hven.adql._query_limits import (
    CLOCK_CHECK_INTERVAL,
    MAX_SQL_BYTES_PER_CHARACTER,
    MAX_TEXT_BYTES,
    MIN_SQL_BYTE_LIMIT,
)
from hven.adql.functions import MAPPING_FUNCTIONS
from hven.adql.syntax_tree import (
    ArrayElement,
    BetweenPredicate,
    BinaryOperation,
    BoundQuery,
    CaseExpression,
    CastExpression,
    ColumnRef,
    Comparison,
    Conjunction,
    DerivedTable,
    Disjunction,
    ExistsPredicate,
    Expr,
    FrameBound,
    FromItem,
    FunctionCall,
    InPredicate,
    Join,
    LikePredicate,
    Literal,
    LiteralList,
    Negation,
    NullPredicate,
    Query,
    Select,
    SelectItem,
    SetOperation,
    Subquery,
    TableRef,
    UnaryOperation,
    WindowExpression,
    split_left_deep_chain,
    walk_tree,
)
from hven.adql.value_kinds import is_null_in_every_row, require_meta
from hven.model.deadlines import check_deadline
from hven.model.errors import BindError, TooLargeError
from hven.model.types import FLOAT64

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.types import ColumnType


PREDICATE_FUNCTIONS = frozenset({"CONTAINS", "INTERSECTS"})
MIN_CHAIN_LINKS = 64  # a dialect may write a longer chain (a + b + c ..) as a whole


@dataclass(frozen=True, slots=True)
class SqlStatement:
    """An SQL statement and the slots of its parameters.

    The values of its parameters are ``[values[slot] for slot in parameter_slots]``.

    Attributes
    ----------
    sql
        One statement with the placeholders of the dialect.
    parameter_slots
        The `Literal.slot` of each parameter, in order.
    """

    sql: str
    parameter_slots: tuple[int, ...]


class SqlDialect(ABC):
    """The SQL of one database. The methods here write SQL-92; a dialect overrides what its database writes differently.

    Attributes
    ----------
    functions
        Function name -> template (``{0}``, ``{1}`` .. are the arguments, ``{*}`` all of them with commas), or the name
        of a method with a leading ``.``, which takes the writer and the node and returns SQL.
    lenient
        True if a value that cannot be computed becomes NULL instead of an error (mappings).
    max_text_bytes
        The maximum number of bytes of a text that one operation may make of other texts; 0: no limit (the expressions
        of a descriptor).

    Common
    ------
    writer
        The `SqlWriter` of the query, which writes the parts of a node and has the SQL of the tables.
    node
        The bound node to write; `value_kinds.require_meta` returns its type.
    operator, left_sql, right_sql
        An operator of SQL, and the SQL of its operands.
    first_sql, key_sql, sql
        The SQL of an expression.
    value
        The value of a literal; numbers are dimensionless.
    returns : str
        SQL with quoted names; values are placeholders or newly written literals. An operation stands in parentheses.
    """

    name = "sql"
    functions: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *, lenient: bool = False) -> None:
        self.lenient = lenient
        self.max_text_bytes = MAX_TEXT_BYTES

    def find_function_template(self, function_name: str) -> str | Callable[[SqlWriter, FunctionCall], str]:
        """Return the template of a function, from the dialect or from the definition of the function (plug-ins).

        Parameters
        ----------
        function_name
            The name of the function in upper case.

        Returns
        -------
        template
            A template as in `functions`, or the method or function that writes the SQL of a call.
        """
        template: str | Callable[[SqlWriter, FunctionCall], str] | None = self.functions.get(function_name)
        if function_name not in self.functions:
            entry = MAPPING_FUNCTIONS.find_function(function_name)
            if entry is not None:
                template = entry.sql.get(self.name)
        template = template or self.build_default_call_template(function_name)
        if isinstance(template, str) and template.startswith("."):
            method: Callable[[SqlWriter, FunctionCall], str] = getattr(self, template[1:])
            return method
        return template

    def build_default_call_template(self, function_name: str) -> str:
        """Return the template of a function that the engine calls by the same name: a function beside a descriptor.

        Parameters
        ----------
        function_name
            The name of the function.
        """
        return f"{self.quote_identifier(function_name.lower())}({{*}})"

    def quote_identifier(self, name: str) -> str:
        """Quote an identifier with double quotes; NUL, which no identifier can contain, is removed.

        Parameters
        ----------
        name
            The stored name.
        """
        escaped_name = name.replace('"', '""').replace("\0", "")
        return f'"{escaped_name}"'

    def write_placeholder(self, number: int, value: object) -> str:  # noqa: ARG002  (dialects look at it)
        """Return the SQL of a parameter.

        Parameters
        ----------
        number
            The number of the parameter, from 1.
        value
            The value of the literal in the first query of this shape.
        """
        return f"${number}"

    def write_condition(self, writer: SqlWriter, node: Expr) -> str:
        """Write the condition of a WHERE, in which null has the same effect as false."""
        return writer.write_expression(node)

    def quote_string(self, value: str) -> str:
        """Write a string literal."""
        escaped_text = value.replace("'", "''")
        return f"'{escaped_text}'"

    def write_number(self, value: float) -> str:
        """Write a number; a float keeps every bit, and has an exponent so that the engine reads it as a double."""
        if isinstance(value, int):
            if value < 0:
                return f"({value})"
            return str(value)
        if not math.isfinite(value):
            return f"CAST('{value}' AS DOUBLE PRECISION)"
        text = repr(value)
        if "e" not in text:
            text = f"{text}e0"
        if text.startswith("-"):
            return f"({text})"
        return text

    @abstractmethod
    def write_type_name(self, type_: ColumnType) -> str:
        """Return the SQL name of a type.

        Parameters
        ----------
        type_
            The type of a column or value.
        """

    def write_cast(self, sql: str, type_: ColumnType) -> str:
        """Write a conversion to a type.

        Parameters
        ----------
        type_
            The type of the result.
        """
        return f"CAST({sql} AS {self.write_type_name(type_)})"

    def write_concatenation(self, parts: list[str]) -> str:
        """Write ``a || b || ..`` as a balanced tree, since engines recurse into long chains.

        Concatenation is associative, and one NULL makes the whole NULL, so the tree gives the same text.

        Parameters
        ----------
        parts
            The SQL of the texts.
        """
        while len(parts) > 1:
            joined_parts: list[str] = []
            for left_sql, right_sql in zip(parts[::2], parts[1::2], strict=False):
                joined_parts.append(self.write_operation("||", left_sql, right_sql))
            if len(parts) % 2:
                joined_parts.append(parts[-1])
            parts = joined_parts
        return parts[0]

    def write_adql_cast(self, writer: SqlWriter, node: CastExpression) -> str:
        """Write a CAST of ADQL."""
        operand_sql = writer.write_expression(node.operand)
        return self.write_cast(operand_sql, require_meta(node).type)

    def write_output_expression(self, writer: SqlWriter, node: Expr, type_: ColumnType) -> str:
        """Write the expression of a select item with exactly its declared type.

        Parameters
        ----------
        type_
            The declared type.
        """
        return self.write_cast(writer.write_expression(node), type_)

    # dialects use the types of the node
    def write_division(self, node: BinaryOperation, left_sql: str, right_sql: str) -> str:  # noqa: ARG002
        """Write a division; the quotient of integers is rounded towards zero."""
        return f"({left_sql} / {right_sql})"

    def write_operation(self, operator: str, left_sql: str, right_sql: str) -> str:
        """Write ``left op right``."""
        return f"({left_sql} {operator} {right_sql})"

    def write_arithmetic(self, node: BinaryOperation, left_sql: str, right_sql: str) -> str:
        """Write an operation on numbers other than a division; dialects use the types of the node."""
        return self.write_operation(node.op, left_sql, right_sql)

    def write_comparison(self, writer: SqlWriter, node: Comparison) -> str:
        """Write a comparison."""
        left_sql = writer.write_expression(node.left)
        right_sql = writer.write_expression(node.right)
        return f"({left_sql} {node.op} {right_sql})"

    def write_between(self, writer: SqlWriter, node: BetweenPredicate) -> str:
        """Write BETWEEN."""
        word = "NOT BETWEEN" if node.negated else "BETWEEN"
        operand_sql = writer.write_expression(node.operand)
        low_sql = writer.write_expression(node.low)
        high_sql = writer.write_expression(node.high)
        return f"({operand_sql} {word} {low_sql} AND {high_sql})"

    def write_in(self, writer: SqlWriter, node: InPredicate) -> str:
        """Write IN."""
        word = "NOT IN" if node.negated else "IN"
        operand_sql = writer.write_expression(node.operand)
        if isinstance(node.choices, Subquery):
            return f"({operand_sql} {word} {writer.write_subquery(node.choices)})"
        return f"({operand_sql} {word} ({self.write_in_choices(writer, node.choices)}))"

    def write_in_choices(self, writer: SqlWriter, choices: Sequence[Expr]) -> str:
        """Write the choices of IN, separated by commas.

        Parameters
        ----------
        choices
            The bound choices; a long list of literals is a `LiteralList`.
        """
        if isinstance(choices, LiteralList):
            choice_texts = [
                self.quote_string(value) if isinstance(value, str) else self.write_number(value)
                for value in choices.values
            ]
        else:
            choice_texts = [writer.write_expression(choice) for choice in choices]
        return ", ".join(choice_texts)

    # dialects use the parameters
    def write_operation_chain(
        self,
        writer: SqlWriter,  # noqa: ARG002
        first_sql: str,  # noqa: ARG002
        links: Sequence[BinaryOperation],  # noqa: ARG002
    ) -> str | None:
        """Write a long chain ``first op a op b ..``; all its links have one type and one operator, or ``+`` and ``-``.

        Parameters
        ----------
        first_sql
            The SQL of the first operand.
        links
            The bound links from left to right.

        Returns
        -------
        sql
            The SQL of the chain; None: the caller writes it link by link.
        """
        return None

    def write_like(self, writer: SqlWriter, node: LikePredicate) -> str:
        """Write LIKE and ILIKE; neither has an escape character."""
        keyword = "ILIKE" if node.ignore_case else "LIKE"
        word = f"NOT {keyword}" if node.negated else keyword
        operand_sql = writer.write_expression(node.operand)
        pattern_sql = writer.write_expression(node.pattern)
        return f"({operand_sql} {word} {pattern_sql})"

    # dialects use the parameters
    def write_order_independent_aggregate(self, writer: SqlWriter, node: FunctionCall) -> str | None:  # noqa: ARG002
        """Write an aggregate so that its value does not depend on the order of rows.

        Returns
        -------
        sql
            The SQL of the aggregate; None: it does not depend on the order anyway.
        """
        return None

    def write_window(self, writer: SqlWriter, node: FunctionCall, over_clause: str) -> str:
        """Write a window function, whose name is the same in SQL.

        Parameters
        ----------
        over_clause
            The SQL ``OVER (..)``.
        """
        if node.star:
            return f"count(*) {over_clause}"
        arg_texts: list[str] = []
        for arg in node.args:
            if is_null_in_every_row(arg):
                arg_texts.append(self.write_cast("NULL", require_meta(arg).type))
            else:
                arg_texts.append(writer.write_expression(arg))
        quantifier = "DISTINCT " if node.distinct else ""
        return f"{node.name.lower()}({quantifier}{', '.join(arg_texts)}) {over_clause}"

    def write_subscript(self, array: str, index: str) -> str:
        """Write an element of an array, which counts from 1; an element after the last is NULL.

        Parameters
        ----------
        array
            The SQL of the array.
        index
            The SQL of the number of the element.
        """
        return f"({array})[{index}]"

    # dialects use the common type
    def write_case_branch(self, writer: SqlWriter, node: Expr, type_: ColumnType) -> str:  # noqa: ARG002
        """Write one of the values that CASE or COALESCE may return.

        Parameters
        ----------
        type_
            The type of the CASE or COALESCE.
        """
        return writer.write_expression(node)

    @abstractmethod
    def write_geometry_predicate(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write CONTAINS or INTERSECTS as a condition."""

    def write_order_key(self, key_sql: str, *, descending: bool) -> str:
        """Write one key of ORDER BY; NULLs come last in both directions.

        Parameters
        ----------
        key_sql
            The SQL of the key.
        descending
            Whether the largest value comes first.
        """
        direction = "DESC" if descending else "ASC"
        return f"{key_sql} {direction} NULLS LAST"

    def write_row_number_order(self, columns: Sequence[str]) -> list[str]:  # noqa: ARG002
        """Write the order of ROW_NUMBER, NULLs last, in the form in which the database finds the first rows fastest.

        Parameters
        ----------
        columns
            The SQL of the columns.

        Returns
        -------
        keys
            The keys of ORDER BY; empty: the order has no special form.
        """
        return []

    def is_already_filtered(self, node: TableRef) -> bool:  # noqa: ARG002
        """Return whether a stored table contains only rows that the reader may see.

        Parameters
        ----------
        node
            The reference to the table.
        """
        return False

    def write_permitted_rows_select(self, table: str, condition: str) -> str:
        """Write a SELECT of the rows of a stored table that the reader may see.

        Parameters
        ----------
        table
            The SQL of the table.
        condition
            The SQL of the condition on the rows, in which the table is ``t0``.
        """
        return f"SELECT * FROM {table} AS t0 WHERE {condition}"

    def write_table(self, writer: SqlWriter, node: TableRef) -> str:
        """Write a stored table."""
        table_name = ""
        if node.table is not None:
            table_name = node.table.qualified_name
        return writer.table_sql[table_name]


def write_sql(bound: BoundQuery, dialect: SqlDialect, table_sql: Mapping[str, str]) -> SqlStatement:
    """Write a bound query as SQL.

    Parameters
    ----------
    bound
        The result of `hven.adql.binder.bind_query` with the row filters of `auth.apply_access_control`.
    dialect
        The dialect of the database.
    table_sql
        Qualified table name -> the SQL of its rows, with quoted names.

    Returns
    -------
    statement
        The SQL and the slots of its parameters.

    Raises
    ------
    BindError
        The query is nested too deeply.
    """
    writer = SqlWriter(dialect, table_sql, bound.free_slots)
    dialect.max_text_bytes = bound.max_text_bytes
    try:
        text = writer.write_query(bound.query)
    except RecursionError:
        raise BindError("the query is nested too deeply", remedy="reduce the nesting") from None
    return SqlStatement(text, tuple(writer.parameter_slots))


class SqlWriter:
    """Writes a bound tree as SQL; `parameter_slots` collects the slots of its parameters.

    Common
    ------
    node
        The bound node to write.
    types
        The types of the output columns, in order.
    returns : str
        SQL of the dialect with quoted names; free literals are placeholders, whose slots are in `parameter_slots`.
    """

    def __init__(self, dialect: SqlDialect, table_sql: Mapping[str, str], free_slots: frozenset[int]) -> None:
        self.dialect = dialect
        self.table_sql = table_sql
        self.free_slots = free_slots
        self.parameter_slots: list[int] = []
        self._placeholder_numbers: dict[int, int] = {}
        self.max_expression_bytes = sys.maxsize
        self.written_count = 0  # number of expressions

    # --- queries

    def write_query(self, node: Query, types: Sequence[ColumnType] | None = None) -> str:
        """Write ``[WITH] body [ORDER BY] [LIMIT] [OFFSET]``.

        Parameters
        ----------
        types
            The types of the output columns; None: the types that the body declares.
        """
        if node.text:
            byte_limit = MIN_SQL_BYTE_LIMIT + MAX_SQL_BYTES_PER_CHARACTER * len(node.text)
            if self.max_expression_bytes == sys.maxsize:
                self.max_expression_bytes = byte_limit
            else:
                self.max_expression_bytes = max(byte_limit, self.max_expression_bytes)
        with_clause = ""
        if node.ctes:
            with_clause = self._write_with_clause(node)
        output_types = types or value_kinds.find_output_types(node.body)
        top = None
        if isinstance(node.body, Select):
            top = node.body.top
            text = self.write_select(node.body, output_types)
        else:
            is_body_alone = not node.order_by and node.offset is None
            text = self.write_set_operand(node.body, output_types, without_parentheses=is_body_alone)
        if node.order_by:
            keys: list[str] = []
            for item in node.order_by:
                if isinstance(item.expr, Literal):  # a position in the select list
                    key_sql = str(item.expr.value)
                else:
                    key_sql = self.write_group_key(item.expr)
                keys.append(self.dialect.write_order_key(key_sql, descending=item.descending))
            text += f" ORDER BY {', '.join(keys)}"
        if top is not None:
            text += f" LIMIT {self.write_literal(top)}"
        if node.offset is not None:
            text += f" OFFSET {self.write_literal(node.offset)}"
        return with_clause + text

    def _write_with_clause(self, node: Query) -> str:
        """Write WITH and its tables, with a blank at the end."""
        is_recursive = any(cte.recursive for cte in node.ctes)
        keyword = "WITH RECURSIVE" if is_recursive else "WITH"
        table_texts = [
            f"{self.quote_prefixed_cte_name(cte.name.name)} AS ({self.write_query(cte.query)})" for cte in node.ctes
        ]
        return f"{keyword} {', '.join(table_texts)} "

    def write_set_operand(
        self, node: Select | SetOperation | Query, types: Sequence[ColumnType], *, without_parentheses: bool = False
    ) -> str:
        """Write one operand of a set operation.

        Parameters
        ----------
        without_parentheses
            Whether to write a set operation without parentheses around it.
        """
        if isinstance(node, SetOperation):
            is_intersection = node.op == "INTERSECT"
            # a chain needs no parentheses as long as its operators have the same precedence
            first, links = split_left_deep_chain(
                node, SetOperation, lambda link: (link.op == "INTERSECT") == is_intersection
            )
            text = self.write_set_operand(first, types)
            for link in links:
                operator = f"{link.op} ALL" if link.all else link.op
                text += f" {operator} {self.write_set_operand(link.right, types)}"
            return text if without_parentheses else f"({text})"
        if isinstance(node, Query):
            return f"({self.write_query(node, types)})"
        limit_clause = "" if node.top is None else f" LIMIT {self.write_literal(node.top)}"
        return f"({self.write_select(node, types)}{limit_clause})"

    def write_select(self, node: Select, types: Sequence[ColumnType]) -> str:
        """Write one SELECT without its TOP."""
        item_texts: list[str] = []
        for item, type_ in zip(node.items, types, strict=True):
            if isinstance(item, SelectItem):
                item_texts.append(self.write_select_item(item, type_))
        keyword = "SELECT DISTINCT" if node.distinct else "SELECT"
        parts = [f"{keyword} {', '.join(item_texts)}"]
        if node.source is not None:
            parts.append(f"FROM {self.write_from_item(node.source)}")
        if node.where is not None:
            parts.append(f"WHERE {self.dialect.write_condition(self, node.where)}")
        if node.group_by:
            key_texts = [self.write_group_key(key) for key in node.group_by]
            parts.append(f"GROUP BY {', '.join(key_texts)}")
        if node.having is not None:
            parts.append(f"HAVING {self.write_expression(node.having)}")
        return " ".join(parts)

    def write_group_key(self, node: Expr) -> str:
        """Write an expression of GROUP BY or ORDER BY; a constant gets a CAST, since a bare number is a position."""
        text = self.write_expression(node)
        if require_meta(node).constant or is_null_in_every_row(node):
            return self.dialect.write_cast(text, require_meta(node).type)
        return text

    def write_select_item(self, node: SelectItem, type_: ColumnType) -> str:
        """Write a select item with its name and its declared type.

        Parameters
        ----------
        type_
            The declared type.
        """
        column_name = ""
        if node.column is not None:
            column_name = node.column.name
        name = self.dialect.quote_identifier(column_name)
        if isinstance(node.expr, ColumnRef) and require_meta(node.expr).type == type_:
            return f"{self.write_column(node.expr)} AS {name}"
        return f"{self.dialect.write_output_expression(self, node.expr, type_)} AS {name}"

    def quote_prefixed_cte_name(self, name: str) -> str:
        """Write the name of a table of WITH, with a prefix so that it differs from every stored table.

        Parameters
        ----------
        name
            The name in WITH.
        """
        return self.dialect.quote_identifier(f"with {name.lower()}")

    # --- FROM

    def write_from_item(self, node: FromItem) -> str:
        """Write an item of FROM; its alias has its number.

        Raises
        ------
        TypeError
            A node of this class cannot be used in FROM.
        """
        if isinstance(node, TableRef):
            return f"{self._write_table_rows(node)} AS t{node.number}"
        if isinstance(node, DerivedTable):
            return f"({self.write_query(node.query)}) AS t{node.number}"
        if not isinstance(node, Join):
            raise TypeError(f"{type(node).__name__} cannot be used in FROM")
        left_sql = self.write_from_item(node.left)
        right_sql = self.write_from_item(node.right)
        if isinstance(node.right, Join):
            right_sql = f"({right_sql})"
        if node.on is None:
            return f"{left_sql} CROSS JOIN {right_sql}"
        return f"{left_sql} {node.kind} JOIN {right_sql} ON {self.write_expression(node.on)}"

    def _write_table_rows(self, node: TableRef) -> str:
        """Write a table, or a subquery of its rows that the row filter permits."""
        if node.cte:
            return self.quote_prefixed_cte_name(node.parts[-1].name)
        table_sql = self.dialect.write_table(self, node)
        if node.where is None or self.dialect.is_already_filtered(node):
            return table_sql
        condition = self.write_expression(node.where)
        depends_on_row = any(isinstance(child, ColumnRef | TableRef) for child in walk_tree(node.where))
        if not depends_on_row:
            return f"(SELECT * FROM {table_sql} AS t0 WHERE {condition})"
        return f"({self.dialect.write_permitted_rows_select(table_sql, condition)})"

    # --- expressions

    def write_expression(self, node: Expr) -> str:
        """Write an expression, in parentheses unless it is a literal, a column or a call.

        Raises
        ------
        TooLargeError
            The SQL of the expression is too long.
        """
        self.written_count += 1
        if not self.written_count % CLOCK_CHECK_INTERVAL:
            check_deadline()
        # CASE .. THEN NULL has no type, like NULL itself
        if is_null_in_every_row(node):
            text = "NULL"
        else:
            text = WRITER_METHODS[type(node)](self, node)
        if len(text) > self.max_expression_bytes:
            raise TooLargeError(
                "the query is too long when translated into the engine's SQL",
                remedy="use WITH to compute nested functions in steps",
            )
        return text

    def write_column(self, node: ColumnRef) -> str:
        """Write a column reference."""
        return f"t{node.source}.{self.dialect.quote_identifier(node.column_name)}"

    def write_literal(self, node: Literal) -> str:
        """Write a literal: a parameter if its slot is free."""
        value = node.value
        if node.slot in self.free_slots:
            number = self._placeholder_numbers.get(node.slot)
            if number is None:
                self.parameter_slots.append(node.slot)
                number = len(self.parameter_slots)
                self._placeholder_numbers[node.slot] = number
            return self.dialect.write_placeholder(number, value)
        if value is None:
            return "NULL"
        if isinstance(value, bool):
            return "TRUE" if value else "FALSE"
        if isinstance(value, str):
            return self.dialect.quote_string(value)
        return self.dialect.write_number(value)

    def write_unary(self, node: UnaryOperation) -> str:
        """Write ``-x``, ``+x``, ``~x``."""
        operand_sql = self.write_expression(node.operand)
        type_ = require_meta(node).type
        if type_ != require_meta(node.operand).type:  # a byte may become negative; NULL has no type
            operand_sql = self.dialect.write_cast(operand_sql, type_)
        return f"({node.op} {operand_sql})"

    def write_binary(self, node: BinaryOperation) -> str:
        """Write arithmetic; integers get the width of the result, so that no intermediate value overflows."""
        first, links = split_left_deep_chain(node, BinaryOperation)
        text = self.write_expression(first)
        for (operator, _), run in groupby(links, _build_operator_run_key):
            run_links = list(run)
            if operator == "||":
                right_texts = [self.write_expression(link.right) for link in run_links]
                text = self.dialect.write_concatenation([text, *right_texts])
                continue
            chain_sql = None
            if len(run_links) >= MIN_CHAIN_LINKS:
                chain_sql = self.dialect.write_operation_chain(self, text, run_links)
            if chain_sql is None:
                text = self.write_operation_links(text, run_links)
            else:
                text = chain_sql
        return text

    def write_operation_links(self, first_sql: str, links: Sequence[BinaryOperation]) -> str:
        """Write ``first op a op b ..`` link by link.

        Parameters
        ----------
        first_sql
            The SQL of the first operand.
        links
            The bound links from left to right.
        """
        chain_sql = first_sql
        for link in links:
            right_sql = self.write_expression(link.right)
            if link.op == "/":
                chain_sql = self.dialect.write_division(link, chain_sql, right_sql)
                continue
            type_ = require_meta(link).type
            # engines differ in the type of a REAL and an INTEGER, which is a DOUBLE in ADQL
            is_mixed_double = type_ == FLOAT64 and require_meta(link.right).type != type_
            if (type_.is_integer or is_mixed_double) and require_meta(link.left).type != type_:
                chain_sql = self.dialect.write_cast(chain_sql, type_)
            chain_sql = self.dialect.write_arithmetic(link, chain_sql, right_sql)
        return chain_sql

    def write_function(self, node: FunctionCall) -> str:
        """Write a call with the template of the dialect."""
        if node.name in PREDICATE_FUNCTIONS:
            return f"CAST({self.dialect.write_geometry_predicate(self, node)} AS INTEGER)"
        if node.star:
            return "count(*)"
        if node.order_independent:
            order_independent_sql = self.dialect.write_order_independent_aggregate(self, node)
            if order_independent_sql is not None:
                return order_independent_sql
        template = self.dialect.find_function_template(node.name)
        if not isinstance(template, str):
            return template(self, node)
        args = [self.write_expression(arg) for arg in node.args]
        if node.distinct:
            args[0] = f"DISTINCT {args[0]}"
        if "{*}" in template:
            return template.replace("{*}", ", ".join(args))
        return template.format(*args)

    def write_window(self, node: WindowExpression) -> str:
        """Write ``function OVER (..)``; NULLs come last, as in ORDER BY."""
        function = node.function
        if function.name == "DENSE_RANK" and not node.order_by:  # all rows are equal; DuckDB 1.5 can crash
            return "1"
        parts: list[str] = []
        if node.partition:
            key_texts = [self.write_expression(key) for key in node.partition]
            parts.append(f"PARTITION BY {', '.join(key_texts)}")
        if node.order_by:
            parts.append(f"ORDER BY {', '.join(self._write_window_order(node))}")
        elif function.order_independent and node.frame is None and not require_meta(function).type.is_integer:
            # sum the whole partition in the order of its values
            value_sql = self.write_expression(function.args[0])
            parts.append(f"ORDER BY {value_sql} ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING")
        if node.frame is not None:
            start_sql = self._write_frame_bound(node.frame.start)
            end_sql = self._write_frame_bound(node.frame.end)
            parts.append(f"{node.frame.unit} BETWEEN {start_sql} AND {end_sql}")
        over_clause = f"OVER ({' '.join(parts)})"
        return self.dialect.write_window(self, function, over_clause)

    def _write_window_order(self, node: WindowExpression) -> list[str]:
        """Write the keys of the order of a window."""
        order_expressions = [item.expr for item in node.order_by]
        keys: list[str] = []
        for item in node.order_by:
            key_sql = self.write_expression(item.expr)
            keys.append(self.dialect.write_order_key(key_sql, descending=item.descending))
        has_only_columns = all(isinstance(key, ColumnRef) for key in (*node.partition, *order_expressions))
        is_ascending = not any(item.descending for item in node.order_by)
        if node.function.name == "ROW_NUMBER" and has_only_columns and is_ascending:
            column_texts = [self.write_expression(expression) for expression in order_expressions]
            return self.dialect.write_row_number_order(column_texts) or keys
        return keys

    def _write_frame_bound(self, bound: FrameBound) -> str:
        """Write one end of a frame."""
        if bound.offset is None:
            return bound.side
        return f"{self.write_literal(bound.offset)} {bound.side}"

    def write_array_element(self, node: ArrayElement) -> str:
        """Write ``array[n]``; arrays of several axes are stored flat, the first axis fastest (VOTable 1.4, 2.2)."""
        array_sql = self.write_expression(node.operand)
        axis_sizes = require_meta(node.operand).type.shape[-len(node.indexes) :]
        index_texts = [self.write_expression(index) for index in node.indexes]
        has_several_axes = len(index_texts) > 1
        tests: list[str] = []  # an index outside of its axis would reach another element
        if has_several_axes or not isinstance(node.indexes[0], Literal):
            tests += [f"{index_sql} >= 1" for index_sql in index_texts]
        if has_several_axes:
            sized_indexes = zip(index_texts, axis_sizes, strict=True)
            tests += [f"{index_sql} <= {size}" for index_sql, size in sized_indexes if size is not None]
        flat_index = index_texts[0]
        step = 1
        for index_sql, size in zip(index_texts[1:], axis_sizes, strict=False):
            step *= size or 1
            flat_index += f" + {step} * ({index_sql} - 1)"
        element_sql = self.dialect.write_subscript(array_sql, flat_index)
        if tests:
            return f"CASE WHEN {' AND '.join(tests)} THEN {element_sql} END"
        return element_sql

    def write_case(self, node: CaseExpression) -> str:
        """Write CASE, in which every WHEN is a condition after binding."""
        type_ = require_meta(node).type
        parts: list[str] = []
        for when, then in node.whens:
            condition_sql = self.write_expression(when)
            result_sql = self.dialect.write_case_branch(self, then, type_)
            parts.append(f"WHEN {condition_sql} THEN {result_sql}")
        if node.otherwise is not None:
            parts.append(f"ELSE {self.dialect.write_case_branch(self, node.otherwise, type_)}")
        return f"CASE {' '.join(parts)} END"

    def write_subquery(self, node: Subquery) -> str:
        """Write a scalar subquery."""
        return f"({self.write_query(node.query)})"

    def write_is_null(self, node: NullPredicate) -> str:
        """Write IS NULL without building a text: ``'a' || x || 'b'`` is null if and only if x is null."""
        tested = node.operand
        while isinstance(tested, BinaryOperation) and tested.op == "||":
            is_left_fixed = self._is_fixed_literal(tested.left)
            is_right_fixed = self._is_fixed_literal(tested.right)
            if is_left_fixed == is_right_fixed:
                break
            tested = tested.right if is_left_fixed else tested.left
        if (
            isinstance(tested, CastExpression)
            and isinstance(tested.operand, ColumnRef)
            and require_meta(tested).type.is_string
        ):
            tested = tested.operand
        test = "IS NOT NULL" if node.negated else "IS NULL"
        return f"({self.write_expression(tested)} {test})"

    def _is_fixed_literal(self, node: Expr) -> bool:
        """Return whether an expression is a literal that is neither NULL nor a parameter."""
        return isinstance(node, Literal) and node.value is not None and node.slot not in self.free_slots

    def write_comparison(self, node: Comparison) -> str:
        """Write a comparison; CONTAINS(..) = 1 becomes the condition itself."""
        if node.op in {"=", "<>"}:
            for call, literal in ((node.left, node.right), (node.right, node.left)):
                if not isinstance(call, FunctionCall) or call.name not in PREDICATE_FUNCTIONS:
                    continue
                if not isinstance(literal, Literal) or literal.slot in self.free_slots:
                    continue
                if literal.value in {0, 1}:
                    predicate_sql = self.dialect.write_geometry_predicate(self, call)
                    is_true_wanted = (literal.value == 1) == (node.op == "=")
                    return predicate_sql if is_true_wanted else f"(NOT {predicate_sql})"
        return self.dialect.write_comparison(self, node)


def _build_operator_run_key(link: BinaryOperation) -> tuple[str, ColumnType]:
    """Return the operator (``+`` for ``-``) and the type, which all links of a run share."""
    operator = "+"
    if link.op != "-":
        operator = link.op
    return operator, require_meta(link).type


WRITER_METHODS: dict[type, Callable[[SqlWriter, Any], str]] = {
    ColumnRef: SqlWriter.write_column,
    Literal: SqlWriter.write_literal,
    UnaryOperation: SqlWriter.write_unary,
    BinaryOperation: SqlWriter.write_binary,
    FunctionCall: SqlWriter.write_function,
    WindowExpression: SqlWriter.write_window,
    ArrayElement: SqlWriter.write_array_element,
    CastExpression: lambda writer, node: writer.dialect.write_adql_cast(writer, node),
    CaseExpression: SqlWriter.write_case,
    Subquery: SqlWriter.write_subquery,
    Comparison: SqlWriter.write_comparison,
    Conjunction: lambda writer, node: f"({' AND '.join([writer.write_expression(part) for part in node.parts])})",
    Disjunction: lambda writer, node: f"({' OR '.join([writer.write_expression(part) for part in node.parts])})",
    Negation: lambda writer, node: f"(NOT {writer.write_expression(node.operand)})",
    BetweenPredicate: lambda writer, node: writer.dialect.write_between(writer, node),
    InPredicate: lambda writer, node: writer.dialect.write_in(writer, node),
    LikePredicate: lambda writer, node: writer.dialect.write_like(writer, node),
    NullPredicate: SqlWriter.write_is_null,
    ExistsPredicate: lambda writer, node: f"EXISTS ({writer.write_query(node.query)})",
}
