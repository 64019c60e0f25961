"""The syntax tree of an ADQL query: frozen nodes with positions.

Every protocol builds this tree, and every later step (binding, access control, SQL) reads it. The nodes are named after
the ADQL 2.1 grammar. `text_offset` is the 0-based offset of the node in the query text; it is -1 if a program made the
node. `meta` is None until `hven.adql.binder` has run; afterwards every expression carries its type, unit and UCD.
Trees compare equal by content: ``==`` and ``hash`` ignore positions and metadata.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from operator import attrgetter, is_
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from hven.adql._query_limits import MAX_TEXT_BYTES
from hven.model.deadlines import check_deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from hven.model.table import Column, Table
    from hven.model.types import ColumnType


N = TypeVar("N")


@dataclass(frozen=True, slots=True)
class ValueMetadata:
    """The metadata of an expression's value after binding."""

    type: ColumnType  # the type of the value
    unit: str | None = None  # a VOUnits string; None: no unit, or an unknown one
    ucd: str | None = None  # None: no UCD, or several different ones
    utype: str | None = None  # None: no utype, or several different ones
    description: str | None = None  # None: no description, or several different ones
    column: Column | None = None  # the column whose unchanged value this is: its format, enum and frame apply
    nullable: bool = True  # False: the value is never null
    constant: bool = False  # the value is the same for all rows
    aggregate: bool = False  # the value is computed over groups of rows
    origins: frozenset[str] = frozenset()  # names of the source columns that the value depends on


@dataclass(frozen=True, slots=True)
class SyntaxNode:
    """The base class of everything in the tree."""

    text_offset: int = field(default=-1, kw_only=True, compare=False)  # in characters; -1: a program made the node


@dataclass(frozen=True, slots=True)
class Ident:
    """An identifier; a `quoted` one is case-sensitive (ADQL 2.1 section 2.1.2)."""

    name: str  # without quotes
    quoted: bool = False

    @property
    def normalized_name(self) -> str:
        """The name that stands for a defined identifier: in lower case, unless it is quoted (SQL-92 section 5.2)."""
        if self.quoted:
            return self.name
        return self.name.lower()


# --- expressions ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expr(SyntaxNode):
    """A value expression or a search condition."""

    meta: ValueMetadata | None = field(default=None, kw_only=True, compare=False)  # set by the binder


@dataclass(frozen=True, slots=True)
class Literal(Expr):
    """A number (int or float), a string, a boolean (programs only), or NULL (None).

    `slot` numbers the literals of a query in text order, so that a plan can be reused with other values.
    """

    value: bool | int | float | str | None  # a date or a shape is written as a call or a string
    slot: int = field(default=-1, kw_only=True, compare=False)


_LIST_ITEM_REGEX: Final = re.compile(r"'[^']*+(?:''[^']*+)*+'|[^ \t\r\n\f\v,][^,]*+")


class LiteralList(Sequence[Literal]):
    """The literals of a long list, all of one Python type, in one object instead of one node each.

    The list behaves as a tuple of literals and is equal to one; it makes a literal when a caller reads it. The literals
    have no slots, because a list of this length is unlikely to come again with other values.

    Parameters
    ----------
    values
        All int, all float, or all str; numbers include their signs.
    query_text, start_offset, end_offset
        The query text and the place of the list in it, in characters. The positions of the literals are computed when
        a literal is first read.
    build_meta
        A function that returns the metadata of a value; None before binding.
    """

    __slots__ = ("_build_meta", "_end_offset", "_query_text", "_start_offset", "_text_offsets", "values")

    def __init__(
        self,
        values: tuple[float, ...] | tuple[str, ...],
        query_text: str = "",
        start_offset: int = 0,
        end_offset: int = 0,
        build_meta: Callable[[object], ValueMetadata] | None = None,
    ) -> None:
        self.values = values
        self._query_text = query_text
        self._start_offset = start_offset
        self._end_offset = end_offset
        self._build_meta = build_meta
        self._text_offsets: list[int] | None = None

    def with_meta(self, build_meta: Callable[[object], ValueMetadata]) -> LiteralList:
        """Return the same list with typed literals.

        Parameters
        ----------
        build_meta
            A function that returns the metadata of a value.
        """
        return LiteralList(self.values, self._query_text, self._start_offset, self._end_offset, build_meta)

    @property
    def type_determining_literals(self) -> tuple[Literal, ...]:
        """The first literal, and those that decide the type of the list.

        These are the smallest and the largest number, or the first string with a character outside ASCII.
        """
        sample_indexes = [0]
        if not isinstance(self.values[0], str):
            smallest = min(self.values)
            largest = max(self.values)
            sample_indexes.append(self.values.index(smallest))
            sample_indexes.append(self.values.index(largest))
        elif not self._query_text.isascii():
            unicode_indexes = [index for index, text in enumerate(self.values) if not str(text).isascii()]
            sample_indexes += unicode_indexes[:1]
        return tuple([self[index] for index in dict.fromkeys(sample_indexes)])

    @property
    def end_offset(self) -> int:
        """The offset of the first character after the list."""
        return self._end_offset

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, index: int) -> Literal: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Literal, ...]: ...

    def __getitem__(self, index: int | slice) -> Literal | tuple[Literal, ...]:
        if isinstance(index, slice):
            positions = range(*index.indices(len(self.values)))
            return tuple([self[position] for position in positions])
        if self._text_offsets is None:
            self._text_offsets = self._locate_literals()
        value = self.values[index]
        meta = None
        if self._build_meta is not None:
            meta = self._build_meta(value)
        return Literal(value, text_offset=self._text_offsets[index], meta=meta)

    def _locate_literals(self) -> list[int]:
        """Return the offset of each literal in the query text; -1 for each if there is no text."""
        offsets: list[int] = []
        if self._query_text:
            matches = _LIST_ITEM_REGEX.finditer(self._query_text, self._start_offset, self._end_offset)
            offsets = [match.start() for match in matches]
        return offsets or [-1] * len(self.values)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, LiteralList):
            has_same_type = type(self.values[0]) is type(other.values[0])
            return has_same_type and self.values == other.values
        if isinstance(other, tuple):
            return tuple(self) == other
        return NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"LiteralList({self.values!r})"


@dataclass(frozen=True, slots=True)
class ColumnRef(Expr):
    """``[[[catalog.]schema.]table.]column``; the binder sets `source` and `column`.

    `source` is the `number` of the `TableRef` or `DerivedTable` in FROM that has the column. Numbers are unique in the
    whole query.
    """

    name: Ident  # the column name
    qualifier: tuple[Ident, ...] = ()  # the identifiers before the name
    source: int = field(default=-1, kw_only=True, compare=False)
    column: Column | None = field(default=None, kw_only=True, compare=False)

    @property
    def column_name(self) -> str:
        """The stored name of a bound column, or the written name of one that is not bound."""
        if self.column is not None:
            return self.column.name
        return self.name.name


@dataclass(frozen=True, slots=True)
class UnaryOperation(Expr):
    """``-x``, ``+x``, ``~x`` (bitwise: declared extension)."""

    op: str
    operand: Expr


@dataclass(frozen=True, slots=True)
class BinaryOperation(Expr):
    """``+ - * / ||`` and, as declared extensions, ``% & | ^``."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class FunctionCall(Expr):
    """A call of a standard, geometric, aggregate or user-defined function; `star` marks COUNT(*).

    `order_independent` marks an aggregate whose value must not depend on the order of the rows, to the last bit.
    """

    name: str  # in upper case
    args: tuple[Expr, ...] = ()
    distinct: bool = False  # DISTINCT of an aggregate: it counts each value once
    star: bool = False
    order_independent: bool = field(default=False, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class ArrayElement(Expr):
    """``array[n]``, ``array[i, j]`` (declared extension).

    Indexes count from 1. There is one for each axis, in the order of the arraysize.
    """

    operand: Expr
    indexes: tuple[Expr, ...]  # one for each axis, from 1


@dataclass(frozen=True, slots=True)
class FrameBound(SyntaxNode):
    """One end of a frame: `side` is UNBOUNDED PRECEDING, PRECEDING, CURRENT ROW, FOLLOWING or UNBOUNDED FOLLOWING."""

    side: str
    offset: Literal | None = None  # distance in rows or values; None: the side needs none


@dataclass(frozen=True, slots=True)
class WindowFrame(SyntaxNode):
    """``ROWS|RANGE|GROUPS BETWEEN start AND end``: the rows of the partition that a window function reads."""

    unit: str  # ROWS, RANGE or GROUPS
    start: FrameBound
    end: FrameBound


@dataclass(frozen=True, slots=True)
class WindowExpression(Expr):
    """``function OVER ([PARTITION BY ..] [ORDER BY ..] [frame])`` (declared extension).

    The function computes a value for each row from the rows around it. ``OVER name`` has a `name`: the binder replaces
    it by that window of the WINDOW clause.
    """

    function: FunctionCall
    partition: tuple[Expr, ...] = ()  # rows for which these expressions are equal form a partition
    order_by: tuple[OrderItem, ...] = ()  # the order within a partition
    frame: WindowFrame | None = None
    name: Ident | None = None


@dataclass(frozen=True, slots=True)
class CastExpression(Expr):
    """``CAST(x AS VARCHAR(8))``: `target` is the ADQL type name in upper case, `length` the number after it."""

    operand: Expr
    target: str
    length: int | None = None


@dataclass(frozen=True, slots=True)
class CaseExpression(Expr):
    """``CASE [operand] WHEN .. THEN .. [ELSE ..] END`` (declared extension)."""

    operand: Expr | None
    whens: tuple[tuple[Expr, Expr], ...]  # pairs: a condition (or a value to compare with the operand), the result
    otherwise: Expr | None  # the result if no condition holds; None: null


@dataclass(frozen=True, slots=True)
class Subquery(Expr):
    """A scalar subquery, or the right side of IN."""

    query: Query  # with one column


@dataclass(frozen=True, slots=True)
class Comparison(Expr):
    """``= <> < > <= >=`` (``!=`` is read as ``<>``)."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Conjunction(Expr):
    """Two or more conditions joined with AND."""

    parts: tuple[Expr, ...]  # in text order


@dataclass(frozen=True, slots=True)
class Disjunction(Expr):
    """Two or more conditions joined with OR."""

    parts: tuple[Expr, ...]  # in text order


@dataclass(frozen=True, slots=True)
class Negation(Expr):
    """``NOT condition``."""

    operand: Expr


@dataclass(frozen=True, slots=True)
class BetweenPredicate(Expr):
    """``x [NOT] BETWEEN low AND high``."""

    operand: Expr
    low: Expr
    high: Expr
    negated: bool = False  # NOT BETWEEN


@dataclass(frozen=True, slots=True)
class InPredicate(Expr):
    """``x [NOT] IN (a, b)`` or ``x [NOT] IN (SELECT ..)``."""

    operand: Expr
    choices: tuple[Expr, ...] | LiteralList | Subquery  # values, a long list of literals, or a subquery
    negated: bool = False  # NOT IN


@dataclass(frozen=True, slots=True)
class LikePredicate(Expr):
    """``x [NOT] LIKE|ILIKE pattern``."""

    operand: Expr
    pattern: Expr
    negated: bool = False  # NOT LIKE
    ignore_case: bool = False  # ILIKE


@dataclass(frozen=True, slots=True)
class NullPredicate(Expr):
    """``x IS [NOT] NULL``."""

    operand: Expr
    negated: bool = False  # IS NOT NULL


@dataclass(frozen=True, slots=True)
class ExistsPredicate(Expr):
    """``EXISTS (SELECT ..)``."""

    query: Query  # with any number of columns


def join_conditions_with_and(*conditions: Expr | None) -> Expr | None:
    """Join conditions with AND.

    Parameters
    ----------
    conditions
        Conditions; None is skipped.

    Returns
    -------
    condition
        The joined condition; None if there is no condition.
    """
    present_conditions = tuple(condition for condition in conditions if condition is not None)
    if len(present_conditions) > 1:
        return Conjunction(present_conditions, meta=present_conditions[0].meta)
    if present_conditions:
        return present_conditions[0]
    return None


def split_conjuncts(condition: Expr | None) -> Iterator[Expr]:
    """Yield the parts of a condition that AND joins, at any depth.

    Parameters
    ----------
    condition
        Any condition; one without AND is yielded whole, and None yields nothing.
    """
    if isinstance(condition, Conjunction):
        for part in condition.parts:
            yield from split_conjuncts(part)
    elif condition is not None:
        yield condition


# --- FROM ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FromItem(SyntaxNode):
    """The base class of the items of FROM."""


@dataclass(frozen=True, slots=True)
class TableRef(FromItem):
    """``[[catalog.]schema.]table [[AS] alias]``.

    The binder sets `number` and `table`. Only `auth.apply_access_control` sets `where`: a bound condition on this table
    alone, which the SQL writer applies before anything else reads the rows. `cte` is True if WITH defines the name.
    """

    parts: tuple[Ident, ...]  # the identifiers of the table name
    alias: Ident | None = None
    number: int = field(default=-1, kw_only=True, compare=False)
    table: Table | None = field(default=None, kw_only=True, compare=False)
    where: Expr | None = field(default=None, kw_only=True, compare=False)
    cte: bool = field(default=False, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class DerivedTable(FromItem):
    """``(SELECT ..) [AS] alias``; the binder sets `columns`, and replaces a reference to a view by such a node."""

    query: Query  # in the parentheses
    alias: Ident
    number: int = field(default=-1, kw_only=True, compare=False)  # as in `ColumnRef.source`; set by the binder
    columns: tuple[Column, ...] = field(default=(), kw_only=True, compare=False)
    view: Table | None = field(default=None, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class Join(FromItem):
    """``left [NATURAL] [INNER|LEFT|RIGHT|FULL|CROSS] JOIN right [ON ..|USING (..)]``; a comma is kind ``CROSS``."""

    left: FromItem
    right: FromItem
    kind: str = "INNER"
    natural: bool = False  # the join compares all columns of the same name
    on: Expr | None = None  # the condition; the binder sets it for USING and NATURAL
    using: tuple[Ident, ...] = ()  # column names


# --- queries -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SelectItem(SyntaxNode):
    """``expr [[AS] name]``; after binding, `column` describes the output (name, type, unit, UCD ..)."""

    expr: Expr
    alias: Ident | None = None  # None: the binder derives the name from the expression
    column: Column | None = field(default=None, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class SelectStar(SyntaxNode):
    """``*`` or ``qualifier.*``; the binder replaces it by SelectItems."""

    qualifier: tuple[Ident, ...] = ()


@dataclass(frozen=True, slots=True)
class OrderItem(SyntaxNode):
    """``expr [ASC|DESC]``; a whole-number Literal is a position in the select list."""

    expr: Expr
    descending: bool = False  # the largest value comes first


@dataclass(frozen=True, slots=True)
class NamedWindow(SyntaxNode):
    """``name AS ([PARTITION BY ..] [ORDER BY ..] [frame])`` of the WINDOW clause (declared extension)."""

    name: Ident
    partition: tuple[Expr, ...] = ()  # as in `WindowExpression`
    order_by: tuple[OrderItem, ...] = ()  # as in `WindowExpression`
    frame: WindowFrame | None = None


@dataclass(frozen=True, slots=True)
class Select(SyntaxNode):
    """One SELECT. `source` is None only in a query without FROM; binding removes the `windows`."""

    items: tuple[SelectItem | SelectStar, ...]  # the select list
    source: FromItem | None = None
    where: Expr | None = None  # a condition; None: all rows
    group_by: tuple[Expr, ...] = ()  # expressions, aliases, positions
    having: Expr | None = None  # a condition on groups
    distinct: bool = False  # the result has each row once
    top: Literal | None = None  # the maximum number of rows; None: all
    windows: tuple[NamedWindow, ...] = ()


@dataclass(frozen=True, slots=True)
class SetOperation(SyntaxNode):
    """``left UNION|INTERSECT|EXCEPT [ALL] right``."""

    op: str
    left: Select | SetOperation | Query
    right: Select | SetOperation | Query
    all: bool = False  # ALL: the result keeps duplicate rows


@dataclass(frozen=True, slots=True)
class CommonTableExpression(SyntaxNode):
    """``name AS (SELECT ..)`` in WITH.

    A `recursive` one stands after WITH RECURSIVE and may read itself (declared extension).
    """

    name: Ident
    query: Query  # the query that makes the rows of the table
    recursive: bool = False


@dataclass(frozen=True, slots=True)
class Query(SyntaxNode):
    """A whole query or a parenthesised one: ``[WITH ..] body [ORDER BY ..] [OFFSET n]``. `text` is its source."""

    body: Select | SetOperation | Query
    order_by: tuple[OrderItem, ...] = ()  # the order of the whole result
    offset: Literal | None = None  # the number of rows to skip
    ctes: tuple[CommonTableExpression, ...] = ()  # the tables of WITH
    text: str = field(default="", kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class BoundQuery:
    """A query whose names are all resolved.

    `bind_query` returns it, access control adds row filters to it, and engines run it.

    Attributes
    ----------
    query
        The same tree with `meta`, `source`, `column`, `table` and `number` set and with stars expanded.
    columns
        The output columns in order; their names are unique and valid (the binder makes names for unnamed expressions).
    tables
        Every stored table that the query reads (views and tables of WITH are already resolved).
    literal_values
        The values of all literals of the text, by `Literal.slot`.
    free_slots
        Slots for which a plan can be reused with other values. The other slots are part of the query's shape: the unit
        of IN_UNIT, coordinate systems ..
    volatile
        True if the same query may give another answer for the same rows (RAND).
    slot_bounds
        Free slots whose values the binder has checked: slot, minimum, maximum. A plan accepts no value outside.
    text_operation_count
        The number of operations that make text of text. They share the limit of text bytes for each row.
    time_slots
        Slots whose values are times in a spelling that every engine reads. Another spelling must go to the binder.
    renamed_columns
        Columns with another name in the output: pairs of name in the table, name in the output.
    """

    query: Query
    columns: tuple[Column, ...]
    tables: tuple[Table, ...]
    literal_values: tuple[float | str | None, ...] = ()
    free_slots: frozenset[int] = frozenset()
    volatile: bool = False
    slot_bounds: tuple[tuple[int, float, float], ...] = ()
    text_operation_count: int = 0
    time_slots: tuple[int, ...] = ()
    renamed_columns: tuple[tuple[str, str], ...] = ()
    # not copied by `replace`, because the survey is one of this tree
    _survey: QuerySurvey | None = field(default=None, init=False, compare=False, repr=False)

    @property
    def survey(self) -> QuerySurvey:
        """What the tree consists of: found by one walk, when a step of planning first asks for it."""
        survey = self._survey
        if survey is None:
            survey = analyse_tree(self.query)
            object.__setattr__(self, "_survey", survey)
        return survey

    @property
    def max_text_bytes(self) -> int:
        """The maximum number of bytes of a text that one of the text operations may make."""
        return MAX_TEXT_BYTES // max(self.text_operation_count, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySurvey:
    """What a bound tree consists of, so that a step of planning that has nothing to do does not look for it.

    Attributes
    ----------
    nodes_by_class
        The nodes of each class from the root down, without those in the row filters of tables.
    selects, table_refs, derived_tables
        The nodes of these classes.
    function_names
        The names of the functions that are called.
    read_columns
        The names of the columns that the query and the row filters read of each item of FROM, by its number.
    filtered_tables
        The tables with a row filter that reads columns.
    longest_choice
        The number of parts of the longest list of IN, or of the longest chain of OR, row filters included.
    """

    nodes_by_class: Mapping[type, Sequence[Any]]
    selects: tuple[Select, ...]
    table_refs: tuple[TableRef, ...]
    derived_tables: tuple[DerivedTable, ...]
    function_names: frozenset[str]
    read_columns: Mapping[int, tuple[str, ...]]
    filtered_tables: tuple[TableRef, ...]
    longest_choice: int

    def has_any(self, *node_classes: type) -> bool:
        """Return whether the tree has a node of one of some classes.

        Parameters
        ----------
        node_classes
            Classes of nodes.
        """
        return not self.nodes_by_class.keys().isdisjoint(node_classes)


# --- builders and walks --------------------------------------------------------------------------------------


def build_column_ref(column_name: str, *qualifier: str) -> ColumnRef:
    """Build a reference to a column.

    Parameters
    ----------
    column_name
        The name of the column.
    qualifier
        The identifiers before it, for instance the alias of its table.

    Returns
    -------
    column
        A reference with quoted, thus case-sensitive, identifiers.
    """
    quoted_qualifier = tuple(Ident(part, quoted=True) for part in qualifier)
    return ColumnRef(Ident(column_name, quoted=True), quoted_qualifier)


def build_text_condition(value: Expr, parts: Sequence[str]) -> Expr:
    """Build the condition that a text consists of parts, with any text between them, in any case.

    Parameters
    ----------
    value, parts
        The text, and its parts, in which ``%`` and ``_`` are no wildcards: of ``("", "M_1", "")``, it contains ``M_1``.

    Returns
    -------
    condition
        ILIKE; if a part contains ``%`` or ``_``, REGEXP_MATCH, because ADQL's LIKE has no escape character.
    """
    if not set("%_").intersection("".join(parts)):
        return LikePredicate(value, Literal("%".join(parts)), ignore_case=True)
    pattern = ".*".join(re.escape(part.lower()) for part in parts)
    # without `.*` at its ends, the pattern of a text that contains a word is the word, which engines find fast
    pattern = f"^{pattern}$".removeprefix("^.*").removesuffix(".*$")
    arguments = (FunctionCall("LOWER", (value,)), Literal(f"(?s){pattern}" if "." in pattern else pattern))
    return Comparison("=", FunctionCall("REGEXP_MATCH", arguments), Literal(1))


def build_table_ref(table: Table) -> TableRef:
    """Build a reference to a table.

    Parameters
    ----------
    table
        A table with its schema.

    Returns
    -------
    source
        An item of FROM with quoted identifiers, without an alias.
    """
    return TableRef((Ident(table.schema, quoted=True), Ident(table.name, quoted=True)))


def build_table_query(
    table: Table,
    items: Iterable[str | Expr],
    where: Expr | None = None,
    order_by: Iterable[OrderItem] = (),
    offset: int | None = None,
) -> Query:
    """Build a query of one table.

    Parameters
    ----------
    table
        A table with its schema.
    items
        The select list: column names and expressions.
    where
        A condition on the rows; None: all rows.
    order_by
        The order of the rows.
    offset
        The number of rows to skip; None: none.

    Returns
    -------
    query
        A query whose columns have the names that they have in the table.
    """
    select_items: list[SelectItem | SelectStar] = []
    for item in items:
        expression = build_column_ref(item) if isinstance(item, str) else item
        select_items.append(SelectItem(expression))
    select = Select(tuple(select_items), build_table_ref(table), where=where)
    row_offset = Literal(offset) if offset else None
    return Query(select, tuple(order_by), row_offset)


def split_left_deep_chain(
    node: Any, link_class: type[Any], is_link: Callable[[Any], bool] = bool
) -> tuple[Any, list[Any]]:
    """Split ``a + b + c``, SELECT .. UNION SELECT .. or joins into their parts, without recursion.

    Parameters
    ----------
    node
        The root of the chain, which is its rightmost link.
    link_class
        The class of the links.
    is_link
        A function that returns whether a node of this class belongs to the chain.

    Returns
    -------
    first
        The leftmost operand.
    links
        The links from left to right.
    """
    links: list[Any] = []
    while isinstance(node, link_class) and is_link(node):
        links.append(node)
        node = node.left
    return node, links[::-1]


class _ChildFieldsByNodeClass(dict[type, tuple[tuple[str, ...], tuple[str, ...]]]):
    """The names of the fields that can hold nodes, by the class of the node.

    Each entry has the names of the compared fields from last to first, and the names of all such fields.

    The names are read from the annotations, so every pass sees a field that is added to a class.
    """

    def __missing__(self, node_class: type) -> tuple[tuple[str, ...], tuple[str, ...]]:
        class_names = {
            module_value.__name__
            for module_value in globals().values()
            if isinstance(module_value, type) and issubclass(module_value, SyntaxNode)
        }
        node_fields = []
        for class_field in fields(node_class):
            annotation_words = re.findall(r"\w+", str(class_field.type))
            if not class_names.isdisjoint(annotation_words):
                node_fields.append(class_field)
        compared_names = tuple([child.name for child in reversed(node_fields) if child.compare])
        all_names = tuple([child.name for child in node_fields])
        self[node_class] = (compared_names, all_names)
        return self[node_class]


_CHILD_FIELDS: Final = _ChildFieldsByNodeClass()


class _ChildGettersByNodeClass(dict[type, "Callable[[Any], tuple[Any, ...]] | None"]):
    """Functions that return the children of a node, the last one first; None for a class without children."""

    def __missing__(self, node_class: type) -> Callable[[Any], tuple[Any, ...]] | None:
        names = _CHILD_FIELDS[node_class][0]
        # attrgetter returns a tuple if it has several names: it takes half of the time of a loop
        if len(names) > 1:
            self[node_class] = attrgetter(*names)
        elif names:
            get_child = attrgetter(*names)
            self[node_class] = lambda node: (get_child(node),)
        else:
            self[node_class] = None
        return self[node_class]


_CHILD_GETTERS: Final = _ChildGettersByNodeClass()


def walk_tree(node: Any, *, excluded_class: type[SyntaxNode] | None = None) -> Iterator[Any]:
    """Yield `node` and every node below it, subqueries included, from the root down.

    The walk uses no recursion, so long chains are no problem. It does not visit the row filters (`TableRef.where`),
    which are not part of the user's query.

    Parameters
    ----------
    node
        A node, or a tuple of nodes.
    excluded_class
        A class of nodes to skip, with everything below them.
    """
    check_deadline()  # planners walk a tree many times
    pending = [node]
    while pending:
        child = pending.pop()
        if child is None:
            continue
        if isinstance(child, tuple):
            pending.extend(child[::-1])
        elif isinstance(child, SyntaxNode) and (excluded_class is None or not isinstance(child, excluded_class)):
            yield child
            get_children = _CHILD_GETTERS[type(child)]
            if get_children is not None:
                pending.extend(get_children(child))


class _QuerySurveyBuilder:
    """Collects what the nodes of a tree are."""

    def __init__(self) -> None:
        self.nodes_by_class: dict[type, list[Any]] = {}
        self.names_by_number: dict[int, dict[str, None]] = {}
        self.filtered_tables: list[TableRef] = []
        self.longest_choice = 0

    def add_node(self, node: Any) -> None:
        """Add a node of the query."""
        self.nodes_by_class.setdefault(type(node), []).append(node)
        if isinstance(node, ColumnRef):
            self._add_read_column(node.source, node)
        elif isinstance(node, TableRef) and node.where is not None:
            self._add_row_filter(node)
        elif isinstance(node, InPredicate | Disjunction):
            self._update_longest_choice_count(node)

    def _add_read_column(self, number: int, column_ref: ColumnRef) -> None:
        if column_ref.column is not None:
            self.names_by_number.setdefault(number, {})[column_ref.column.name] = None

    def _add_row_filter(self, table_ref: TableRef) -> None:
        """Add the row filter of a table, whose columns are those of table 0."""
        reads_columns = False
        for node in walk_tree(table_ref.where):
            if isinstance(node, ColumnRef):
                reads_columns = True
                self._add_read_column(table_ref.number, node)
            elif isinstance(node, InPredicate | Disjunction):
                self._update_longest_choice_count(node)
        if reads_columns:
            self.filtered_tables.append(table_ref)

    def _update_longest_choice_count(self, node: InPredicate | Disjunction) -> None:
        parts: Sequence[Expr] = ()
        if isinstance(node, Disjunction):
            parts = node.parts
        elif not isinstance(node.choices, Subquery):
            parts = node.choices
        self.longest_choice = max(self.longest_choice, len(parts))


def analyse_tree(query: Query) -> QuerySurvey:
    """Find what a bound tree consists of, in one walk.

    Parameters
    ----------
    query
        The bound tree, with its row filters.

    Returns
    -------
    survey
        The nodes of the tree by their classes, and what they read.
    """
    surveyor = _QuerySurveyBuilder()
    for node in walk_tree(query):
        surveyor.add_node(node)
    nodes_by_class = surveyor.nodes_by_class
    return QuerySurvey(
        nodes_by_class=nodes_by_class,
        selects=tuple(nodes_by_class.get(Select, ())),
        table_refs=tuple(nodes_by_class.get(TableRef, ())),
        derived_tables=tuple(nodes_by_class.get(DerivedTable, ())),
        function_names=frozenset(map(attrgetter("name"), nodes_by_class.get(FunctionCall, ()))),
        read_columns={number: tuple(names) for number, names in surveyor.names_by_number.items()},
        filtered_tables=tuple(surveyor.filtered_tables),
        longest_choice=surveyor.longest_choice,
    )


def iterate_children(node: SyntaxNode) -> Iterator[SyntaxNode]:
    """Yield the nodes directly below a node.

    Parameters
    ----------
    node
        Any node; the walk goes into its tuples.
    """
    compared_names = _CHILD_FIELDS[type(node)][0]
    pending: list[Any] = [getattr(node, name) for name in compared_names]
    while pending:
        child = pending.pop()
        if isinstance(child, tuple):
            pending.extend(reversed(child))
        elif isinstance(child, SyntaxNode):
            yield child


def transform_tree(node: N, change: Callable[[Any], Any]) -> N:
    """Copy a tree from the root down, row filters included. The copy shares what does not change.

    Parameters
    ----------
    node
        A node, or a tuple of nodes.
    change
        A function that returns the node to use. If it returns its argument, the children of the node are visited.

    Returns
    -------
    node
        The copy; the same object if nothing changes.
    """
    if isinstance(node, tuple):
        check_deadline()
        parts = tuple([transform_tree(part, change) for part in node])
        is_unchanged = all(map(is_, parts, node))
        return node if is_unchanged else parts  # type: ignore[return-value]
    if not isinstance(node, SyntaxNode):
        return node
    # a chain may have a thousand links (a + b + c, SELECT .. UNION SELECT ..): walk to its left end, then rebuild it
    links: list[Any] = []
    first: Any = node
    while (changed := change(first)) is first and "left" in _CHILD_FIELDS[type(first)][1]:
        links.append(first)
        first = first.left
    if changed is first:
        changed = _transform_children(first, {}, change)
    for link in reversed(links):
        changed = _transform_children(link, {"left": changed}, change)
    return changed  # type: ignore[no-any-return]


def _transform_children(node: Any, replaced_children: Mapping[str, Any], change: Callable[[Any], Any]) -> Any:
    changes = {}
    for name in _CHILD_FIELDS[type(node)][1]:
        child = getattr(node, name)
        if name in replaced_children:
            changed_child = replaced_children[name]
        else:
            changed_child = transform_tree(child, change)
        if changed_child is not child:
            changes[name] = changed_child
    if changes:
        return replace(node, **changes)
    return node
