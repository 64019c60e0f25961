"""Bound tree -> SQL text: strings and numbers leave as parameters or are written anew, names are always quoted."""

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
    Case,
    Cast,
    ColumnRef,
    Comparison,
    Conjunction,
    DerivedTable,
    Disjunction,
    ExistsPredicate,
    Expr,
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
    split_chain,
    walk_tree,
)
from hven.adql.value_kinds import is_null, require_meta
from hven.model.deadlines import check_deadline
from hven.model.errors import BindError, TooLargeError
from hven.model.types import FLOAT64

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.types import Type


PREDICATE_FUNCTIONS = frozenset({"CONTAINS", "INTERSECTS"})
MIN_CHAIN_LINKS = 64  # links of a chain (a + b + c ..) that a dialect may write as a whole


@dataclass(frozen=True, slots=True)
class SqlStatement:
    """SQL text; `parameter_slots` are the `Literal.slot`s of its parameters, in order.

    Give ``[values[slot] for slot in slots]``.

    Attributes
    ----------
    sql
        One statement, with the dialect's placeholders.
    """

    sql: str
    parameter_slots: tuple[int, ...]

    @property
    def parameter_order(self) -> tuple[int, ...]:
        """The same as `parameter_slots`."""
        return self.parameter_slots


class SqlDialect(ABC):
    """How one database writes things. The methods here are what SQL-92 says.

    A dialect says what it does in another way.

    Attributes
    ----------
    functions
        Function name -> template (``{0}``, ``{1}`` .. are the arguments, ``{*}`` all of them with commas), or a
        method's name with a leading ``.``: it is called with (writer, node) and gives SQL.
    lenient
        True if a value that cannot be computed is to be NULL instead of an error (mappings).
    max_text_bytes
        Bytes of a text that one operation may make of others; 0: as many as it likes (a descriptor's own words).

    Common
    ------
    writer
        The `SqlWriter` of the query: it writes what stands within a node, and knows what stands for the tables.
    node
        What is to be written, bound: `value_kinds.require_meta` has its type.
    operator, left_sql, right_sql
        An operator of SQL, and its operands, written in SQL already.
    first_sql, key_sql, sql
        An expression, written in SQL already.
    value
        Of a literal; numbers are dimensionless.
    returns : str
        SQL: names in it are quoted, values are placeholders or written anew; an operation stands in parentheses.
    """

    name = "sql"
    functions: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *, lenient: bool = False) -> None:
        self.lenient = lenient
        self.max_text_bytes = MAX_TEXT_BYTES

    def find_template(self, function_name: str) -> str:
        """Return what a call becomes: as said here, or by a plug-in.

        Parameters
        ----------
        function_name
            Of the function, in upper case.
        """
        template = self.functions.get(function_name)
        if function_name not in self.functions:
            entry = MAPPING_FUNCTIONS.find_function(function_name)
            if entry is not None:
                template = entry.sql.get(self.name)
        return template or self.build_default_template(function_name)

    def build_default_template(self, function_name: str) -> str:
        """Return the template of a function that the engine knows by its own name: those beside a descriptor.

        Parameters
        ----------
        function_name
            Of the function.
        """
        return f"{self.quote_identifier(function_name.lower())}({{*}})"

    def quote_identifier(self, name: str) -> str:
        """Quote an identifier by double quotes; NUL is in no identifier.

        Parameters
        ----------
        name
            As it is stored.
        """
        return '"' + name.replace('"', '""').replace("\0", "") + '"'

    def write_placeholder(self, number: int, value: object) -> str:  # noqa: ARG002  (dialects look at it)
        """Return the SQL of a parameter.

        Parameters
        ----------
        number
            From 1.
        value
            What the literal was in the first query of this shape.
        """
        return f"${number}"

    def write_condition(self, writer: SqlWriter, node: Expr) -> str:
        """Write the condition of a WHERE, where null is as good as false."""
        return writer.write_expression(node)

    def quote_string(self, value: str) -> str:
        """Quote a string."""
        return "'" + value.replace("'", "''") + "'"

    def write_number(self, value: float) -> str:
        """Serialize a number; a float keeps every bit and looks like one."""
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
    def write_type_name(self, type_: Type) -> str:
        """Return the SQL name of a type.

        Parameters
        ----------
        type_
            Of a column or value.
        """

    def write_cast(self, sql: str, type_: Type) -> str:
        """Convert SQL to a type.

        Parameters
        ----------
        type_
            Of the result.
        """
        return f"CAST({sql} AS {self.write_type_name(type_)})"

    def write_concatenation(self, parts: list[str]) -> str:
        """Join texts: any order makes the same text, and NULL makes NULL of all.

        Parameters
        ----------
        parts
            Expressions in SQL.
        """
        while len(parts) > 1:  # balanced: engines descend into long chains
            pairs = [
                self.write_operation("||", left_text, right_text)
                for left_text, right_text in zip(parts[::2], parts[1::2], strict=False)
            ]
            if len(parts) % 2:
                parts = [*pairs, parts[-1]]
            else:
                parts = pairs
        return parts[0]

    def write_adql_cast(self, writer: SqlWriter, node: Cast) -> str:
        """Write ADQL's CAST."""
        return self.write_cast(writer.write_expression(node.operand), require_meta(node).type)

    def write_output(self, writer: SqlWriter, node: Expr, type_: Type) -> str:
        """Write a select item as exactly its declared type.

        Parameters
        ----------
        type_
            The declared one.
        """
        return self.write_cast(writer.write_expression(node), type_)

    # dialects look at the types
    def write_division(self, node: BinaryOperation, left_sql: str, right_sql: str) -> str:  # noqa: ARG002
        """Write a division: of whole numbers it is cut towards zero."""
        return f"({left_sql} / {right_sql})"

    def write_operation(self, operator: str, left_sql: str, right_sql: str) -> str:
        """Write ``left op right``."""
        return f"({left_sql} {operator} {right_sql})"

    def write_arithmetic(self, node: BinaryOperation, left_sql: str, right_sql: str) -> str:
        """Write an operation on numbers that is no division; dialects look at the types."""
        return self.write_operation(node.op, left_sql, right_sql)

    def write_comparison(self, writer: SqlWriter, node: Comparison) -> str:
        """Write a comparison."""
        return f"({writer.write_expression(node.left)} {node.op} {writer.write_expression(node.right)})"

    def write_between(self, writer: SqlWriter, node: BetweenPredicate) -> str:
        """Write BETWEEN."""
        word = "NOT BETWEEN" if node.negated else "BETWEEN"
        return (
            f"({writer.write_expression(node.operand)} {word} {writer.write_expression(node.low)} AND "
            f"{writer.write_expression(node.high)})"
        )

    def write_in(self, writer: SqlWriter, node: InPredicate) -> str:
        """Write IN."""
        word = "NOT IN" if node.negated else "IN"
        if isinstance(node.choices, Subquery):
            return f"({writer.write_expression(node.operand)} {word} {writer.write_subquery(node.choices)})"
        return f"({writer.write_expression(node.operand)} {word} ({self.write_in_choices(writer, node.choices)}))"

    def write_in_choices(self, writer: SqlWriter, choices: Sequence[Expr]) -> str:
        """Write the choices of IN, with commas between.

        Parameters
        ----------
        choices
            Bound; long lists of literals are `LiteralList`.
        """
        if isinstance(choices, LiteralList):
            return ", ".join(
                [
                    self.quote_string(value) if isinstance(value, str) else self.write_number(value)
                    for value in choices.values
                ]
            )
        return ", ".join([writer.write_expression(choice) for choice in choices])

    # dialects look at them
    def write_chain(
        self,
        writer: SqlWriter,  # noqa: ARG002
        first_sql: str,  # noqa: ARG002
        links: Sequence[BinaryOperation],  # noqa: ARG002
    ) -> str | None:
        """Write ``text op a op b ..`` where all links have one operator, or ``+`` and ``-``, and one type.

        Parameters
        ----------
        first_sql
            The first operand in SQL.
        links
            From left to right, bound.

        Returns
        -------
        sql
            None: it is written link by link.
        """
        return None

    def write_like(self, writer: SqlWriter, node: LikePredicate) -> str:
        """Write LIKE and ILIKE; neither has an escape character."""
        word = "ILIKE" if node.ignore_case else "LIKE"
        return (
            f"({writer.write_expression(node.operand)} {'NOT ' if node.negated else ''}{word} "
            f"{writer.write_expression(node.pattern)})"
        )

    # dialects look at them
    def write_order_independent(self, writer: SqlWriter, node: FunctionCall) -> str | None:  # noqa: ARG002
        """Write an aggregate so that the order of rows does not matter.

        Returns
        -------
        sql
            None: it never does.
        """
        return None

    def write_window(self, writer: SqlWriter, node: FunctionCall, over_clause: str) -> str:
        """Write a function over a window; SQL's own names.

        Parameters
        ----------
        over_clause
            ``OVER (..)`` in SQL.
        """
        if node.star:
            return f"count(*) {over_clause}"
        args = ", ".join(
            [
                self.write_cast("NULL", require_meta(arg).type) if is_null(arg) else writer.write_expression(arg)
                for arg in node.args
            ]
        )
        return f"{node.name.lower()}({'DISTINCT ' if node.distinct else ''}{args}) {over_clause}"

    def write_subscript(self, array: str, index: str) -> str:
        """Write an element of an array, from 1; NULL behind the last.

        Parameters
        ----------
        array
            In SQL.
        index
            The number of the element in SQL.
        """
        return f"({array})[{index}]"

    # dialects look at the type of the whole
    def write_branch(self, writer: SqlWriter, node: Expr, type_: Type) -> str:  # noqa: ARG002
        """Write one of several values that CASE or COALESCE may return.

        Parameters
        ----------
        type_
            Of the whole.
        """
        return writer.write_expression(node)

    @abstractmethod
    def write_predicate(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write CONTAINS or INTERSECTS as a condition."""

    def write_order_key(self, key_sql: str, *, descending: bool) -> str:
        """Write one key of ORDER BY: NULLs come last either way.

        Parameters
        ----------
        key_sql
            The key in SQL.
        descending
            The largest first.
        """
        return f"{key_sql} {'DESC' if descending else 'ASC'} NULLS LAST"

    def write_numbering_order(self, columns: Sequence[str]) -> list[str]:  # noqa: ARG002
        """Write the order of numbered rows, NULLs last, in the form in which the database finds the first rows fastest.

        Parameters
        ----------
        columns
            In SQL.

        Returns
        -------
        keys
            Of ORDER BY; none: as all orders are written.
        """
        return []

    def is_already_filtered(self, node: TableRef) -> bool:  # noqa: ARG002
        """Return whether the rows of a stored table are those alone that its reader may see.

        Parameters
        ----------
        node
            Its reference.
        """
        return False

    def write_permitted_rows(self, table: str, condition: str) -> str:
        """Write a SELECT of the rows of a stored table that its reader may see.

        Parameters
        ----------
        table
            In SQL.
        condition
            In SQL, over ``t0``.
        """
        return f"SELECT * FROM {table} AS t0 WHERE {condition}"

    def write_table(self, writer: SqlWriter, node: TableRef) -> str:
        """Write a stored table."""
        return writer.table_sql[node.table.qualified_name if node.table is not None else ""]


def write_sql(bound: BoundQuery, dialect: SqlDialect, table_sql: Mapping[str, str]) -> SqlStatement:
    """Write a bound query.

    Parameters
    ----------
    bound
        What `hven.adql.binder.bind_query` gave, filtered by `auth.apply_access_control`.
    dialect
        The database's ways.
    table_sql
        Qualified table name -> SQL text that stands for its rows (already quoted).

    Returns
    -------
    written
        The text, and which literals are its parameters.

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
        raise BindError("the query is nested too deeply", remedy="write it flatter") from None
    return SqlStatement(text, tuple(writer.parameter_slots))


class SqlWriter:
    """Walks a bound tree; `parameter_slots` collects the slots of its parameters.

    Common
    ------
    node
        What is to be written, bound.
    types
        Of the outputs, in their order.
    returns : str
        SQL in the dialect's words: names are quoted, free literals are placeholders and counted in `parameter_slots`.
    """

    def __init__(self, dialect: SqlDialect, table_sql: Mapping[str, str], free_slots: frozenset[int]) -> None:
        self.dialect = dialect
        self.table_sql = table_sql
        self.free_slots = free_slots
        self.parameter_slots: list[int] = []
        self._placeholder_numbers: dict[int, int] = {}
        self.max_expression_bytes = sys.maxsize  # bytes of an expression
        self.written_count = 0  # expressions

    # --- queries

    def write_query(self, node: Query, types: Sequence[Type] | None = None) -> str:
        """Write ``[WITH] body [ORDER BY] [LIMIT] [OFFSET]``.

        Parameters
        ----------
        types
            Of the outputs; None: those that the body declares.
        """
        if node.text:
            byte_limit = MIN_SQL_BYTE_LIMIT + MAX_SQL_BYTES_PER_CHARACTER * len(node.text)
            if self.max_expression_bytes == sys.maxsize:
                self.max_expression_bytes = byte_limit
            else:
                self.max_expression_bytes = max(byte_limit, self.max_expression_bytes)
        head = ""
        if node.ctes:
            recursive = any(cte.recursive for cte in node.ctes)
            head = (
                f"WITH {'RECURSIVE ' if recursive else ''}"
                + ", ".join(f"{self.quote_cte(cte.name.name)} AS ({self.write_query(cte.query)})" for cte in node.ctes)
                + " "
            )
        top = None
        if isinstance(node.body, Select):
            top = node.body.top
            text = self.write_select(node.body, types or value_kinds.find_output_types(node.body))
        else:
            text = self.write_set_operand(
                node.body,
                types or value_kinds.find_output_types(node.body),
                without_parentheses=not node.order_by and node.offset is None,
            )
        if node.order_by:
            keys = [
                self.dialect.write_order_key(
                    str(item.expr.value) if isinstance(item.expr, Literal) else self.write_group_key(item.expr),
                    descending=item.descending,
                )
                for item in node.order_by
            ]
            text += " ORDER BY " + ", ".join(keys)
        if top is not None:
            text += f" LIMIT {self.write_literal(top)}"
        if node.offset is not None:
            text += f" OFFSET {self.write_literal(node.offset)}"
        return head + text

    def write_set_operand(
        self, node: Select | SetOperation | Query, types: Sequence[Type], *, without_parentheses: bool = False
    ) -> str:
        """Write one side of a set operation.

        Parameters
        ----------
        without_parentheses
            True: without parentheses around.
        """
        if isinstance(node, SetOperation):
            # a chain needs no parentheses as long as its operators bind equally
            first, links = split_chain(
                node, SetOperation, lambda link: (link.op == "INTERSECT") == (node.op == "INTERSECT")
            )
            text = self.write_set_operand(first, types)
            for link in links:
                text += f" {link.op}{' ALL' if link.all else ''} {self.write_set_operand(link.right, types)}"
            if without_parentheses:
                return text
            return f"({text})"
        if isinstance(node, Query):
            return f"({self.write_query(node, types)})"
        if node.top is None:
            limit = ""
        else:
            limit = f" LIMIT {self.write_literal(node.top)}"
        return f"({self.write_select(node, types)}{limit})"

    def write_select(self, node: Select, types: Sequence[Type]) -> str:
        """Write one SELECT without its TOP."""
        items = ", ".join(
            [
                self.write_select_item(item, type_)
                for item, type_ in zip(node.items, types, strict=True)
                if isinstance(item, SelectItem)
            ]
        )
        parts = [f"SELECT {'DISTINCT ' if node.distinct else ''}{items}"]
        if node.source is not None:
            parts.append(f"FROM {self.write_from_item(node.source)}")
        if node.where is not None:
            parts.append(f"WHERE {self.dialect.write_condition(self, node.where)}")
        if node.group_by:
            parts.append("GROUP BY " + ", ".join([self.write_group_key(item) for item in node.group_by]))
        if node.having is not None:
            parts.append(f"HAVING {self.write_expression(node.having)}")
        return " ".join(parts)

    def write_group_key(self, node: Expr) -> str:
        """Write an expression of GROUP BY or ORDER BY; engines take a bare number for a position."""
        text = self.write_expression(node)
        if require_meta(node).constant or is_null(node):
            return self.dialect.write_cast(text, require_meta(node).type)
        return text

    def write_select_item(self, node: SelectItem, type_: Type) -> str:
        """Write a select item with its name, as its declared type.

        Parameters
        ----------
        type_
            The declared one.
        """
        name = self.dialect.quote_identifier(node.column.name if node.column is not None else "")
        if isinstance(node.expr, ColumnRef) and require_meta(node.expr).type == type_:
            return f"{self.write_column(node.expr)} AS {name}"
        return f"{self.dialect.write_output(self, node.expr, type_)} AS {name}"

    def quote_cte(self, name: str) -> str:
        """Name a CTE so that it can be no stored table.

        Parameters
        ----------
        name
            As WITH has it.
        """
        return self.dialect.quote_identifier(f"with {name.lower()}")

    # --- FROM

    def write_from_item(self, node: FromItem) -> str:
        """Write an item of FROM; each has its number as alias.

        Raises
        ------
        TypeError
            It cannot stand in FROM.
        """
        if isinstance(node, TableRef):
            return f"{self._write_table_rows(node)} AS t{node.number}"
        if isinstance(node, DerivedTable):
            return f"({self.write_query(node.query)}) AS t{node.number}"
        if not isinstance(node, Join):
            raise TypeError(f"{type(node).__name__} cannot stand in FROM")
        left_sql = self.write_from_item(node.left)
        right_sql = self.write_from_item(node.right)
        if isinstance(node.right, Join):
            right_sql = f"({right_sql})"
        if node.on is None:
            return f"{left_sql} CROSS JOIN {right_sql}"
        return f"{left_sql} {node.kind} JOIN {right_sql} ON {self.write_expression(node.on)}"

    def _write_table_rows(self, node: TableRef) -> str:
        """Write a table, or the rows of it that a condition permits."""
        if node.cte:
            return self.quote_cte(node.parts[-1].name)
        table = self.dialect.write_table(self, node)
        if node.where is None or self.dialect.is_already_filtered(node):
            return table
        condition = self.write_expression(node.where)
        depends_on_row = any(isinstance(part, ColumnRef | TableRef) for part in walk_tree(node.where))
        if not depends_on_row:
            return f"(SELECT * FROM {table} AS t0 WHERE {condition})"
        return f"({self.dialect.write_permitted_rows(table, condition)})"

    # --- expressions

    def write_expression(self, node: Expr) -> str:
        """Write an expression; anything but a leaf or a call is in parentheses.

        Raises
        ------
        TooLargeError
            The query is too long in the engine's own words.
        """
        self.written_count += 1
        if not self.written_count % CLOCK_CHECK_INTERVAL:
            check_deadline()
        # CASE .. THEN NULL has no type, as NULL has none
        if is_null(node):
            text = "NULL"
        else:
            text = WRITER_METHODS[type(node)](self, node)
        if len(text) > self.max_expression_bytes:
            raise TooLargeError(
                "the query is too long in the engine's own words",
                remedy="write functions within functions in steps, with WITH",
            )
        return text

    def write_column(self, node: ColumnRef) -> str:
        """Write a column reference."""
        name = node.column.name if node.column is not None else node.name.name
        return f"t{node.source}.{self.dialect.quote_identifier(name)}"

    def write_literal(self, node: Literal) -> str:
        """Write a literal: a parameter if its slot is free."""
        value = node.value
        if node.slot in self.free_slots:
            number = self._placeholder_numbers.get(node.slot)
            if number is None:
                self.parameter_slots.append(node.slot)
                number = self._placeholder_numbers[node.slot] = len(self.parameter_slots)
            return self.dialect.write_placeholder(number, value)
        if value is None:
            return "NULL"
        if isinstance(value, bool):
            return "TRUE" if value else "FALSE"
        if isinstance(value, str):
            return self.dialect.quote_string(value)
        return self.dialect.write_number(value)

    def write_unary(self, node: UnaryOperation) -> str:
        """Write ``-x``."""
        operand = self.write_expression(node.operand)
        if (
            require_meta(node).type != require_meta(node.operand).type
        ):  # a byte may become negative; NULL has no type of its own
            operand = self.dialect.write_cast(operand, require_meta(node).type)
        return f"({node.op} {operand})"

    def write_binary(self, node: BinaryOperation) -> str:
        """Write arithmetic; whole numbers in the width of the result, so that nothing overflows early."""
        first, links = split_chain(node, BinaryOperation)
        text = self.write_expression(first)
        for _, run_links in groupby(links, _run_key):
            links_of_run = list(run_links)
            if links_of_run[0].op == "||":
                text = self.dialect.write_concatenation(
                    [text, *(self.write_expression(link.right) for link in links_of_run)]
                )
                continue
            if len(links_of_run) >= MIN_CHAIN_LINKS:
                chain_sql = self.dialect.write_chain(self, text, links_of_run)
            else:
                chain_sql = None
            if chain_sql is None:
                text = self.write_links(text, links_of_run)
            else:
                text = chain_sql
        return text

    def write_links(self, first_sql: str, links: Sequence[BinaryOperation]) -> str:
        """Write ``text op a op b ..`` link by link.

        Parameters
        ----------
        first_sql
            The first operand in SQL.
        links
            From left to right, bound.
        """
        for link in links:
            right = self.write_expression(link.right)
            type_ = require_meta(link).type
            if link.op == "/":
                first_sql = self.dialect.write_division(link, first_sql, right)
                continue
            left_type = require_meta(link.left).type
            if left_type != type_ and (
                type_.is_integer or (type_ == FLOAT64 and require_meta(link.right).type != type_)
            ):
                # a REAL and an INTEGER give a DOUBLE; engines have their own opinion of it
                first_sql = self.dialect.write_cast(first_sql, type_)
            first_sql = self.dialect.write_arithmetic(link, first_sql, right)
        return first_sql

    def write_function(self, node: FunctionCall) -> str:
        """Write a call by the dialect's template."""
        if node.name in PREDICATE_FUNCTIONS:
            return f"CAST({self.dialect.write_predicate(self, node)} AS INTEGER)"
        if node.star:
            return "count(*)"
        if (
            node.order_independent
            and (order_independent_sql := self.dialect.write_order_independent(self, node)) is not None
        ):
            return order_independent_sql
        template = self.dialect.find_template(node.name)
        if template.startswith("."):
            method_sql: str = getattr(self.dialect, template[1:])(self, node)
            return method_sql
        args = [self.write_expression(arg) for arg in node.args]
        if node.distinct:
            args[0] = f"DISTINCT {args[0]}"
        if "{*}" in template:
            return template.replace("{*}", ", ".join(args))
        return template.format(*args)

    def write_window(self, node: WindowExpression) -> str:
        """Write ``function OVER (..)``; NULLs come last, as in ORDER BY."""
        if node.function.name == "DENSE_RANK" and not node.order_by:  # all rows are equal; DuckDB 1.5 may die of it
            return "1"
        parts = []
        if node.partition:
            parts.append("PARTITION BY " + ", ".join([self.write_expression(item) for item in node.partition]))
        if node.order_by:
            keys = [
                self.dialect.write_order_key(self.write_expression(item.expr), descending=item.descending)
                for item in node.order_by
            ]
            are_columns = all(
                isinstance(key, ColumnRef) for key in (*node.partition, *(item.expr for item in node.order_by))
            )
            if (
                node.function.name == "ROW_NUMBER"
                and are_columns
                and not any(item.descending for item in node.order_by)
            ):
                keys = (
                    self.dialect.write_numbering_order([self.write_expression(item.expr) for item in node.order_by])
                    or keys
                )
            parts.append("ORDER BY " + ", ".join(keys))
        elif node.function.order_independent and node.frame is None and not require_meta(node.function).type.is_integer:
            # a whole partition, summed in the order of its values
            parts.append(
                f"ORDER BY {self.write_expression(node.function.args[0])} ROWS BETWEEN UNBOUNDED PRECEDING AND "
                f"UNBOUNDED FOLLOWING"
            )
        if node.frame is not None:
            start, end = (
                edge.side if edge.offset is None else f"{self.write_literal(edge.offset)} {edge.side}"
                for edge in (node.frame.start, node.frame.end)
            )
            parts.append(f"{node.frame.unit} BETWEEN {start} AND {end}")
        return self.dialect.write_window(self, node.function, f"OVER ({' '.join(parts)})")

    def write_element(self, node: ArrayElement) -> str:
        """Write ``array[n]``; arrays of several axes are stored flat, the first axis fastest (VOTable 1.4, 2.2)."""
        array = self.write_expression(node.operand)
        axes = require_meta(node.operand).type.shape[-len(node.indexes) :]
        texts = [self.write_expression(index) for index in node.indexes]
        if isinstance(node.indexes[0], Literal) and len(texts) == 1:
            tests = []
        else:
            tests = [f"{text} >= 1" for text in texts]
        tests += [
            f"{text} <= {size}" for text, size in zip(texts, axes, strict=True) if size is not None and len(texts) > 1
        ]
        flat_index = texts[0]
        step = 1
        for text, size in zip(texts[1:], axes, strict=False):
            step *= size or 1
            flat_index += f" + {step} * ({text} - 1)"
        element_sql = self.dialect.write_subscript(array, flat_index)
        if tests:
            return f"CASE WHEN {' AND '.join(tests)} THEN {element_sql} END"
        return element_sql

    def write_case(self, node: Case) -> str:
        """Write CASE; the binder made every WHEN a condition."""
        whens = " ".join(
            f"WHEN {self.write_expression(when)} THEN {self.dialect.write_branch(self, then, require_meta(node).type)}"
            for when, then in node.whens
        )
        if node.otherwise is None:
            otherwise = ""
        else:
            otherwise = f" ELSE {self.dialect.write_branch(self, node.otherwise, require_meta(node).type)}"
        return f"CASE {whens}{otherwise} END"

    def write_subquery(self, node: Subquery) -> str:
        """Write a scalar subquery."""
        return f"({self.write_query(node.query)})"

    def write_is_null(self, node: NullPredicate) -> str:
        """Write IS NULL; a text of one value and constants is null if the value is, so that the text is not built."""
        tested = node.operand
        while isinstance(tested, BinaryOperation) and tested.op == "||":
            are_fixed = [
                isinstance(operand, Literal) and operand.value is not None and operand.slot not in self.free_slots
                for operand in (tested.left, tested.right)
            ]
            if sum(are_fixed) != 1:
                break
            if are_fixed[1]:
                tested = tested.left
            else:
                tested = tested.right
        if isinstance(tested, Cast) and isinstance(tested.operand, ColumnRef) and require_meta(tested).type.is_string:
            tested = tested.operand
        return f"({self.write_expression(tested)} IS {'NOT ' if node.negated else ''}NULL)"

    def write_comparison(self, node: Comparison) -> str:
        """Write a comparison; CONTAINS(..) = 1 becomes the bare condition."""
        for call, literal in ((node.left, node.right), (node.right, node.left)):
            if not (
                isinstance(call, FunctionCall) and call.name in PREDICATE_FUNCTIONS and isinstance(literal, Literal)
            ):
                continue
            if literal.slot not in self.free_slots and node.op in {"=", "<>"} and literal.value in {0, 1}:
                text = self.dialect.write_predicate(self, call)
                if (literal.value == 1) == (node.op == "="):
                    return text
                return f"(NOT {text})"
        return self.dialect.write_comparison(self, node)


def _run_key(link: BinaryOperation) -> tuple[str, Type]:
    """Return what the links of a run have in common."""
    return "+" if link.op == "-" else link.op, require_meta(link).type


WRITER_METHODS: dict[type, Callable[[SqlWriter, Any], str]] = {
    ColumnRef: SqlWriter.write_column,
    Literal: SqlWriter.write_literal,
    UnaryOperation: SqlWriter.write_unary,
    BinaryOperation: SqlWriter.write_binary,
    FunctionCall: SqlWriter.write_function,
    WindowExpression: SqlWriter.write_window,
    ArrayElement: SqlWriter.write_element,
    Cast: lambda writer, node: writer.dialect.write_adql_cast(writer, node),
    Case: SqlWriter.write_case,
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
