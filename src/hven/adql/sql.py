"""Bound tree -> SQL text: strings and numbers leave as parameters or are written anew, names are always quoted."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar

from hven.adql import kinds
from hven.adql._bounds import ALWAYS, LONGEST, LOOK, WRITTEN
from hven.adql.functions import MAPPING
from hven.adql.kinds import is_null, meta
from hven.adql.tree import (
    And,
    Between,
    Binary,
    Bound,
    Case,
    Cast,
    ColumnRef,
    Compare,
    Derived,
    Element,
    Exists,
    Expr,
    FromItem,
    Function,
    In,
    IsNull,
    Join,
    Like,
    Literal,
    LiteralList,
    Not,
    Or,
    Query,
    Select,
    SelectItem,
    SetOperation,
    Subquery,
    TableRef,
    Unary,
    Window,
    chain,
    walk,
)  # fmt: skip
from hven.model.clock import check
from hven.model.errors import BindError, TooLarge
from hven.model.types import FLOAT64

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.types import Type


PREDICATES = frozenset({"CONTAINS", "INTERSECTS"})
LONG = 64  # links of a chain (a + b + c ..) that a dialect may write as a whole


@dataclass(frozen=True, slots=True)
class Written:
    """SQL text; `slots` are the `Literal.slot`s of its parameters, in order: give ``[values[slot] for slot in slots]``.

    Attributes
    ----------
    sql
        One statement, with the dialect's placeholders.
    """

    sql: str
    slots: tuple[int, ...]

    @property
    def order(self) -> tuple[int, ...]:
        """The same as `slots`."""
        return self.slots


class Dialect(ABC):
    """How one database writes things. The methods here are what SQL-92 says; a dialect says what it does in another way.

    Attributes
    ----------
    functions
        Function name -> template (``{0}``, ``{1}`` .. are the arguments, ``{*}`` all of them with commas), or a method's name with
        a leading ``.``: it is called with (writer, node) and gives SQL.
    lenient
        True if a value that cannot be computed is to be NULL instead of an error (mappings).
    most
        Bytes of a text that one operation may make of others; 0: as many as it likes (a descriptor's own words).

    Common
    ------
    writer
        The `Writer` of the query: it writes what stands within a node, and knows what stands for the tables.
    node
        What is to be written, bound: `kinds.meta` has its type.
    op, left, right
        An operator of SQL, and its operands, written in SQL already.
    text
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
        self.most = LONGEST

    def template(self, name: str) -> str:
        """Return what a call becomes: as said here, or by a plug-in.

        Parameters
        ----------
        name
            Of the function, in upper case.
        """
        entry = None if name in self.functions else MAPPING.get(name)
        return self.functions.get(name) or (entry and entry.sql.get(self.name)) or self.unknown(name)

    def unknown(self, name: str) -> str:
        """Return the template of a function that the engine knows by its own name: those beside a descriptor.

        Parameters
        ----------
        name
            Of the function.
        """
        return f"{self.quote(name.lower())}({{*}})"

    def quote(self, name: str) -> str:
        """Quote an identifier by double quotes; NUL is in no identifier.

        Parameters
        ----------
        name
            As it is stored.
        """
        return '"' + name.replace('"', '""').replace("\0", "") + '"'

    def placeholder(self, number: int, value: object) -> str:  # noqa: ARG002  (dialects look at it)
        """Return the SQL of a parameter.

        Parameters
        ----------
        number
            From 1.
        value
            What the literal was in the first query of this shape.
        """
        return f"${number}"

    def condition(self, writer: Writer, node: Expr) -> str:
        """Write the condition of a WHERE, where null is as good as false."""
        return writer.expr(node)

    def string(self, value: str) -> str:
        """Quote a string."""
        return "'" + value.replace("'", "''") + "'"

    def number(self, value: float) -> str:
        """Serialize a number; a float keeps every bit and looks like one."""
        if isinstance(value, int):
            return f"({value})" if value < 0 else str(value)
        if not math.isfinite(value):
            return f"CAST('{value}' AS DOUBLE PRECISION)"
        text = repr(value)
        text = text if "e" in text else f"{text}e0"
        return f"({text})" if text.startswith("-") else text

    @abstractmethod
    def type_name(self, type_: Type) -> str:
        """Return the SQL name of a type.

        Parameters
        ----------
        type_
            Of a column or value.
        """

    def cast(self, text: str, type_: Type) -> str:
        """Convert SQL to a type.

        Parameters
        ----------
        type_
            Of the result.
        """
        return f"CAST({text} AS {self.type_name(type_)})"

    def concatenation(self, parts: list[str]) -> str:
        """Join texts: any order makes the same text, and NULL makes NULL of all.

        Parameters
        ----------
        parts
            Expressions in SQL.
        """
        while len(parts) > 1:  # balanced: engines descend into long chains
            pairs = [self.operation("||", one, two) for one, two in zip(parts[::2], parts[1::2], strict=False)]
            parts = [*pairs, parts[-1]] if len(parts) % 2 else pairs
        return parts[0]

    def converted(self, writer: Writer, node: Cast) -> str:
        """Write ADQL's CAST."""
        return self.cast(writer.expr(node.operand), meta(node).type)

    def output(self, writer: Writer, node: Expr, type_: Type) -> str:
        """Write a select item as exactly its declared type.

        Parameters
        ----------
        type_
            The declared one.
        """
        return self.cast(writer.expr(node), type_)

    def quotient(self, node: Binary, left: str, right: str) -> str:  # noqa: ARG002  (dialects look at the types)
        """Write a division: of whole numbers it is cut towards zero."""
        return f"({left} / {right})"

    def operation(self, op: str, left: str, right: str) -> str:
        """Write ``left op right``."""
        return f"({left} {op} {right})"

    def arithmetic(self, node: Binary, left: str, right: str) -> str:
        """Write an operation on numbers that is no division; dialects look at the types."""
        return self.operation(node.op, left, right)

    def comparison(self, writer: Writer, node: Compare) -> str:
        """Write a comparison."""
        return f"({writer.expr(node.left)} {node.op} {writer.expr(node.right)})"

    def between(self, writer: Writer, node: Between) -> str:
        """Write BETWEEN."""
        word = "NOT BETWEEN" if node.negated else "BETWEEN"
        return f"({writer.expr(node.operand)} {word} {writer.expr(node.low)} AND {writer.expr(node.high)})"

    def among(self, writer: Writer, node: In) -> str:
        """Write IN."""
        word = "NOT IN" if node.negated else "IN"
        if isinstance(node.choices, Subquery):
            return f"({writer.expr(node.operand)} {word} {writer.subquery(node.choices)})"
        return f"({writer.expr(node.operand)} {word} ({self.several(writer, node.choices)}))"

    def several(self, writer: Writer, choices: Sequence[Expr]) -> str:
        """Write the choices of IN, with commas between.

        Parameters
        ----------
        choices
            Bound; long lists of literals are `LiteralList`.
        """
        if isinstance(choices, LiteralList):
            return ", ".join(
                [self.string(value) if isinstance(value, str) else self.number(value) for value in choices.values]
            )
        return ", ".join([writer.expr(choice) for choice in choices])

    def chain(self, writer: Writer, text: str, links: Sequence[Binary]) -> str | None:  # noqa: ARG002  (dialects look at them)
        """Write ``text op a op b ..`` where all links have one operator, or ``+`` and ``-``, and one type.

        Parameters
        ----------
        text
            The first operand in SQL.
        links
            From left to right, bound.

        Returns
        -------
        sql
            None: it is written link by link.
        """
        return None

    def like(self, writer: Writer, node: Like) -> str:
        """Write LIKE and ILIKE; neither has an escape character."""
        word = "ILIKE" if node.ignore_case else "LIKE"
        return f"({writer.expr(node.operand)} {'NOT ' if node.negated else ''}{word} {writer.expr(node.pattern)})"

    def steadied(self, writer: Writer, node: Function) -> str | None:  # noqa: ARG002  (dialects look at them)
        """Write an aggregate so that the order of rows does not matter.

        Returns
        -------
        sql
            None: it never does.
        """
        return None

    def over(self, writer: Writer, node: Function, window: str) -> str:
        """Write a function over a window; SQL's own names.

        Parameters
        ----------
        window
            ``OVER (..)`` in SQL.
        """
        if node.star:
            return f"count(*) {window}"
        args = ", ".join([self.cast("NULL", meta(arg).type) if is_null(arg) else writer.expr(arg) for arg in node.args])
        return f"{node.name.lower()}({'DISTINCT ' if node.distinct else ''}{args}) {window}"

    def subscript(self, array: str, place: str) -> str:
        """Write an element of an array, from 1; NULL behind the last.

        Parameters
        ----------
        array
            In SQL.
        place
            The number of the element in SQL.
        """
        return f"({array})[{place}]"

    def branch(self, writer: Writer, node: Expr, type_: Type) -> str:  # noqa: ARG002  (dialects look at the type of the whole)
        """Write one of several values that CASE or COALESCE may return.

        Parameters
        ----------
        type_
            Of the whole.
        """
        return writer.expr(node)

    @abstractmethod
    def predicate(self, writer: Writer, node: Function) -> str:
        """Write CONTAINS or INTERSECTS as a condition."""

    def direction(self, text: str, *, descending: bool) -> str:
        """Write one key of ORDER BY: NULLs come last either way.

        Parameters
        ----------
        text
            The key in SQL.
        descending
            The largest first.
        """
        return f"{text} {'DESC' if descending else 'ASC'} NULLS LAST"

    def numbered(self, columns: Sequence[str]) -> list[str]:  # noqa: ARG002
        """Write in another way by which columns rows are numbered, NULLs last, if a database finds the first ones sooner so.

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

    def reached(self, node: TableRef) -> bool:  # noqa: ARG002
        """Return whether the rows of a stored table are those alone that its reader may see.

        Parameters
        ----------
        node
            Its reference.
        """
        return False

    def permitted(self, table: str, condition: str) -> str:
        """Write a SELECT of the rows of a stored table that its reader may see.

        Parameters
        ----------
        table
            In SQL.
        condition
            In SQL, over ``t0``.
        """
        return f"SELECT * FROM {table} AS t0 WHERE {condition}"

    def table(self, writer: Writer, node: TableRef) -> str:
        """Write a stored table."""
        return writer.tables[node.table.qualified if node.table is not None else ""]


def write(bound: Bound, dialect: Dialect, tables: Mapping[str, str]) -> Written:
    """Write a bound query.

    Parameters
    ----------
    bound
        What `hven.adql.bind.bind` gave, filtered by `auth.permit`.
    dialect
        The database's ways.
    tables
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
    writer = Writer(dialect, tables, bound.free)
    dialect.most = bound.longest
    try:
        text = writer.query(bound.query)
    except RecursionError:
        raise BindError("the query is nested too deeply", remedy="write it flatter") from None
    return Written(text, tuple(writer.parameters))


class Writer:
    """Walks a bound tree; `parameters` collects the slots of its parameters.

    Common
    ------
    node
        What is to be written, bound.
    types
        Of the outputs, in their order.
    returns : str
        SQL in the dialect's words: names are quoted, free literals are placeholders and counted in `parameters`.
    """

    def __init__(self, dialect: Dialect, tables: Mapping[str, str], free: frozenset[int]) -> None:
        self.dialect = dialect
        self.tables = tables
        self.free = free
        self.parameters: list[int] = []
        self._numbers: dict[int, int] = {}
        self.longest = sys.maxsize  # bytes of an expression
        self.written = 0  # expressions

    # --- queries

    def query(self, node: Query, types: Sequence[Type] | None = None) -> str:
        """Write ``[WITH] body [ORDER BY] [LIMIT] [OFFSET]``.

        Parameters
        ----------
        types
            Of the outputs; None: those that the body declares.
        """
        if node.text:
            bound = ALWAYS + WRITTEN * len(node.text)
            self.longest = bound if self.longest == sys.maxsize else max(bound, self.longest)
        head = ""
        if node.ctes:
            recursive = any(cte.recursive for cte in node.ctes)
            head = (
                f"WITH {'RECURSIVE ' if recursive else ''}"
                + ", ".join(f"{self.cte(cte.name.name)} AS ({self.query(cte.query)})" for cte in node.ctes)
                + " "
            )
        top = None
        if isinstance(node.body, Select):
            top = node.body.top
            text = self.select(node.body, types or kinds.types_of(node.body))
        else:
            text = self.operand(
                node.body, types or kinds.types_of(node.body), bare=not node.order_by and node.offset is None
            )
        if node.order_by:
            keys = [
                self.dialect.direction(
                    str(item.expr.value) if isinstance(item.expr, Literal) else self.group(item.expr),
                    descending=item.descending,
                )
                for item in node.order_by
            ]
            text += " ORDER BY " + ", ".join(keys)
        if top is not None:
            text += f" LIMIT {self.literal(top)}"
        if node.offset is not None:
            text += f" OFFSET {self.literal(node.offset)}"
        return head + text

    def operand(self, node: Select | SetOperation | Query, types: Sequence[Type], *, bare: bool = False) -> str:
        """Write one side of a set operation.

        Parameters
        ----------
        bare
            True: without parentheses around.
        """
        if isinstance(node, SetOperation):
            # a chain needs no parentheses as long as its operators bind equally
            first, links = chain(node, SetOperation, lambda link: (link.op == "INTERSECT") == (node.op == "INTERSECT"))
            text = self.operand(first, types)
            for link in links:
                text += f" {link.op}{' ALL' if link.all else ''} {self.operand(link.right, types)}"
            return text if bare else f"({text})"
        if isinstance(node, Query):
            return f"({self.query(node, types)})"
        limit = "" if node.top is None else f" LIMIT {self.literal(node.top)}"
        return f"({self.select(node, types)}{limit})"

    def select(self, node: Select, types: Sequence[Type]) -> str:
        """Write one SELECT without its TOP."""
        items = ", ".join(
            [
                self.item(item, type_)
                for item, type_ in zip(node.items, types, strict=True)
                if isinstance(item, SelectItem)
            ]
        )
        parts = [f"SELECT {'DISTINCT ' if node.distinct else ''}{items}"]
        if node.source is not None:
            parts.append(f"FROM {self.source(node.source)}")
        if node.where is not None:
            parts.append(f"WHERE {self.dialect.condition(self, node.where)}")
        if node.group_by:
            parts.append("GROUP BY " + ", ".join([self.group(item) for item in node.group_by]))
        if node.having is not None:
            parts.append(f"HAVING {self.expr(node.having)}")
        return " ".join(parts)

    def group(self, node: Expr) -> str:
        """Write an expression of GROUP BY or ORDER BY; engines take a bare number for a position."""
        text = self.expr(node)
        return self.dialect.cast(text, meta(node).type) if meta(node).constant or is_null(node) else text

    def item(self, node: SelectItem, type_: Type) -> str:
        """Write a select item with its name, as its declared type.

        Parameters
        ----------
        type_
            The declared one.
        """
        name = self.dialect.quote(node.column.name if node.column is not None else "")
        if isinstance(node.expr, ColumnRef) and meta(node.expr).type == type_:
            return f"{self.column(node.expr)} AS {name}"
        return f"{self.dialect.output(self, node.expr, type_)} AS {name}"

    def cte(self, name: str) -> str:
        """Name a CTE so that it can be no stored table.

        Parameters
        ----------
        name
            As WITH has it.
        """
        return self.dialect.quote(f"with {name.lower()}")

    # --- FROM

    def source(self, node: FromItem) -> str:
        """Write an item of FROM; each has its number as alias.

        Raises
        ------
        TypeError
            It cannot stand in FROM.
        """
        if isinstance(node, TableRef):
            if node.cte:
                return f"{self.cte(node.parts[-1].name)} AS t{node.number}"
            table = self.dialect.table(self, node)
            if node.where is not None and not self.dialect.reached(node):
                condition = self.expr(node.where)
                if not any(isinstance(one, ColumnRef | TableRef) for one in walk(node.where)):  # it tells of no row
                    return f"(SELECT * FROM {table} AS t0 WHERE {condition}) AS t{node.number}"
                return f"({self.dialect.permitted(table, condition)}) AS t{node.number}"
            return f"{table} AS t{node.number}"
        if isinstance(node, Derived):
            return f"({self.query(node.query)}) AS t{node.number}"
        if not isinstance(node, Join):
            raise TypeError(f"{type(node).__name__} cannot stand in FROM")
        left, right = self.source(node.left), self.source(node.right)
        if isinstance(node.right, Join):
            right = f"({right})"
        if node.on is None:
            return f"{left} CROSS JOIN {right}"
        return f"{left} {node.kind} JOIN {right} ON {self.expr(node.on)}"

    # --- expressions

    def expr(self, node: Expr) -> str:
        """Write an expression; anything but a leaf or a call is in parentheses.

        Raises
        ------
        TooLarge
            The query is too long in the engine's own words.
        """
        self.written += 1
        if not self.written % LOOK:
            check()
        # CASE .. THEN NULL has no type, as NULL has none
        text = "NULL" if is_null(node) else METHODS[type(node)](self, node)
        if len(text) > self.longest:
            raise TooLarge(
                "the query is too long in the engine's own words",
                remedy="write functions within functions in steps, with WITH",
            )
        return text

    def column(self, node: ColumnRef) -> str:
        """Write a column reference."""
        return f"t{node.source}.{self.dialect.quote(node.column.name if node.column is not None else node.name.name)}"

    def literal(self, node: Literal) -> str:
        """Write a literal: a parameter if its slot is free."""
        value = node.value
        if node.slot in self.free:
            number = self._numbers.get(node.slot)
            if number is None:
                self.parameters.append(node.slot)
                number = self._numbers[node.slot] = len(self.parameters)
            return self.dialect.placeholder(number, value)
        if value is None:
            return "NULL"
        if isinstance(value, bool):
            return "TRUE" if value else "FALSE"
        return self.dialect.string(value) if isinstance(value, str) else self.dialect.number(value)

    def unary(self, node: Unary) -> str:
        """Write ``-x``."""
        operand = self.expr(node.operand)
        if meta(node).type != meta(node.operand).type:  # a byte may become negative; NULL has no type of its own
            operand = self.dialect.cast(operand, meta(node).type)
        return f"({node.op} {operand})"

    def binary(self, node: Binary) -> str:
        """Write arithmetic; whole numbers in the width of the result, so that nothing overflows early."""
        first, links = chain(node, Binary)
        text = self.expr(first)
        for _, alike in groupby(links, _alike):
            run = list(alike)
            if run[0].op == "||":
                text = self.dialect.concatenation([text, *(self.expr(link.right) for link in run)])
                continue
            whole = self.dialect.chain(self, text, run) if len(run) >= LONG else None
            text = self.linked(text, run) if whole is None else whole
        return text

    def linked(self, text: str, links: Sequence[Binary]) -> str:
        """Write ``text op a op b ..`` link by link.

        Parameters
        ----------
        text
            The first operand in SQL.
        links
            From left to right, bound.
        """
        for link in links:
            right, type_ = self.expr(link.right), meta(link).type
            if link.op == "/":
                text = self.dialect.quotient(link, text, right)
                continue
            left = meta(link.left).type
            if left != type_ and (type_.is_integer or (type_ == FLOAT64 and meta(link.right).type != type_)):
                # a REAL and an INTEGER give a DOUBLE; engines have their own opinion of it
                text = self.dialect.cast(text, type_)
            text = self.dialect.arithmetic(link, text, right)
        return text

    def function(self, node: Function) -> str:
        """Write a call by the dialect's template."""
        if node.name in PREDICATES:
            return f"CAST({self.dialect.predicate(self, node)} AS INTEGER)"
        if node.star:
            return "count(*)"
        if node.steady and (steady := self.dialect.steadied(self, node)) is not None:
            return steady
        template = self.dialect.template(node.name)
        if template.startswith("."):
            made: str = getattr(self.dialect, template[1:])(self, node)
            return made
        args = [self.expr(arg) for arg in node.args]
        if node.distinct:
            args[0] = f"DISTINCT {args[0]}"
        return template.replace("{*}", ", ".join(args)) if "{*}" in template else template.format(*args)

    def window(self, node: Window) -> str:
        """Write ``function OVER (..)``; NULLs come last, as in ORDER BY."""
        if node.function.name == "DENSE_RANK" and not node.order_by:  # all rows are equal; DuckDB 1.5 may die of it
            return "1"
        parts = []
        if node.partition:
            parts.append("PARTITION BY " + ", ".join([self.expr(item) for item in node.partition]))
        if node.order_by:
            keys = [self.dialect.direction(self.expr(item.expr), descending=item.descending) for item in node.order_by]
            plain = all(isinstance(one, ColumnRef) for one in (*node.partition, *(item.expr for item in node.order_by)))
            if node.function.name == "ROW_NUMBER" and plain and not any(item.descending for item in node.order_by):
                keys = self.dialect.numbered([self.expr(item.expr) for item in node.order_by]) or keys
            parts.append("ORDER BY " + ", ".join(keys))
        elif node.function.steady and node.frame is None and not meta(node.function).type.is_integer:
            # a whole partition, summed in the order of its values
            parts.append(
                f"ORDER BY {self.expr(node.function.args[0])} ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING"
            )
        if node.frame is not None:
            start, end = (
                edge.side if edge.offset is None else f"{self.literal(edge.offset)} {edge.side}"
                for edge in (node.frame.start, node.frame.end)
            )
            parts.append(f"{node.frame.unit} BETWEEN {start} AND {end}")
        return self.dialect.over(self, node.function, f"OVER ({' '.join(parts)})")

    def element(self, node: Element) -> str:
        """Write ``array[n]``; arrays of several axes are stored flat, the first axis fastest, as VOTable has them (VOTable 1.4, 2.2)."""
        array = self.expr(node.operand)
        axes = meta(node.operand).type.shape[-len(node.indexes) :]
        texts = [self.expr(index) for index in node.indexes]
        tests = [] if isinstance(node.indexes[0], Literal) and len(texts) == 1 else [f"{text} >= 1" for text in texts]
        tests += [
            f"{text} <= {size}" for text, size in zip(texts, axes, strict=True) if size is not None and len(texts) > 1
        ]
        place, step = texts[0], 1
        for text, size in zip(texts[1:], axes, strict=False):
            step *= size or 1
            place += f" + {step} * ({text} - 1)"
        found = self.dialect.subscript(array, place)
        return f"CASE WHEN {' AND '.join(tests)} THEN {found} END" if tests else found

    def case(self, node: Case) -> str:
        """Write CASE; the binder made every WHEN a condition."""
        whens = " ".join(
            f"WHEN {self.expr(when)} THEN {self.dialect.branch(self, then, meta(node).type)}"
            for when, then in node.whens
        )
        otherwise = (
            "" if node.otherwise is None else f" ELSE {self.dialect.branch(self, node.otherwise, meta(node).type)}"
        )
        return f"CASE {whens}{otherwise} END"

    def subquery(self, node: Subquery) -> str:
        """Write a scalar subquery."""
        return f"({self.query(node.query)})"

    def is_null(self, node: IsNull) -> str:
        """Write IS NULL: a text that is made of one value and fixed ones is null where that is, and is not made for this."""
        what = node.operand
        while isinstance(what, Binary) and what.op == "||":
            fixed = [isinstance(one, Literal) and one.value is not None and one.slot not in self.free for one in (what.left, what.right)]  # fmt: skip
            if sum(fixed) != 1:
                break
            what = what.left if fixed[1] else what.right
        if isinstance(what, Cast) and isinstance(what.operand, ColumnRef) and meta(what).type.is_string:
            what = what.operand
        return f"({self.expr(what)} IS {'NOT ' if node.negated else ''}NULL)"

    def compare(self, node: Compare) -> str:
        """Write a comparison; CONTAINS(..) = 1 becomes the bare condition."""
        for call, one in ((node.left, node.right), (node.right, node.left)):
            if not (isinstance(call, Function) and call.name in PREDICATES and isinstance(one, Literal)):
                continue
            if one.slot not in self.free and node.op in {"=", "<>"} and one.value in {0, 1}:
                text = self.dialect.predicate(self, call)
                return text if (one.value == 1) == (node.op == "=") else f"(NOT {text})"
        return self.dialect.comparison(self, node)


def _alike(link: Binary) -> tuple[str, Type]:
    """Return what the links of a run have in common."""
    return "+" if link.op == "-" else link.op, meta(link).type


METHODS: dict[type, Callable[[Writer, Any], str]] = {
    ColumnRef: Writer.column,
    Literal: Writer.literal,
    Unary: Writer.unary,
    Binary: Writer.binary,
    Function: Writer.function,
    Window: Writer.window,
    Element: Writer.element,
    Cast: lambda writer, node: writer.dialect.converted(writer, node),
    Case: Writer.case,
    Subquery: Writer.subquery,
    Compare: Writer.compare,
    And: lambda writer, node: f"({' AND '.join([writer.expr(part) for part in node.parts])})",
    Or: lambda writer, node: f"({' OR '.join([writer.expr(part) for part in node.parts])})",
    Not: lambda writer, node: f"(NOT {writer.expr(node.operand)})",
    Between: lambda writer, node: writer.dialect.between(writer, node),
    In: lambda writer, node: writer.dialect.among(writer, node),
    Like: lambda writer, node: writer.dialect.like(writer, node),
    IsNull: Writer.is_null,
    Exists: lambda writer, node: f"EXISTS ({writer.query(node.query)})",
}
