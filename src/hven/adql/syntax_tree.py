"""The tree of an ADQL query: frozen nodes with positions, the one shape that every face builds and every pass reads.

Names are those of the ADQL 2.1 grammar. `at` is the 0-based offset of the node in the query text (-1: made by a
program). `meta` is None until `hven.adql.binder` has run; afterwards every expression carries its type, unit and UCD.
Trees compare equal by content: positions and meta are left out of ``==`` and ``hash``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from operator import is_
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from hven.adql._query_limits import MAX_TEXT_BYTES
from hven.model.deadlines import check_deadline
from hven.model.literal import is_plain_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from hven.model.table import Column, Table
    from hven.model.types import Type


@dataclass(frozen=True, slots=True)
class ValueMetadata:
    """What is known about an expression's value after binding."""

    type: Type  # of the value
    unit: str | None = None  # VOUnits; None: none, or not known
    ucd: str | None = None  # None: none, or several that differ
    utype: str | None = None  # None: none, or several that differ
    description: str | None = None  # None: none, or several that differ
    column: Column | None = None  # set when the value is a column unchanged: format, enum, frame follow
    nullable: bool = True  # False: it is never null
    constant: bool = False  # it is the same for all rows
    aggregate: bool = False  # it is computed over groups
    origins: frozenset[str] = frozenset()  # names of the source columns that the value depends on


@dataclass(frozen=True, slots=True)
class SyntaxNode:
    """Anything in the tree."""

    text_offset: int = field(
        default=-1, kw_only=True, compare=False
    )  # characters before it in the query; -1: it was made


@dataclass(frozen=True, slots=True)
class Ident:
    """One identifier; `quoted` ones are case-sensitive (ADQL 2.1 section 2.1.2)."""

    name: str  # without quotes
    quoted: bool = False


# --- expressions ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expr(SyntaxNode):
    """A value expression or a search condition."""

    meta: ValueMetadata | None = field(default=None, kw_only=True, compare=False)  # filled by the binder


@dataclass(frozen=True, slots=True)
class Literal(Expr):
    """A number (int or float), a string, a boolean (programs only), or NULL (None).

    `slot` numbers the literals of a query in text order, so that a plan can be used again with other values.
    """

    value: bool | int | float | str | None  # a date or a shape is a call or a string
    slot: int = field(default=-1, kw_only=True, compare=False)


_LIST_ITEM_REGEX: Final = re.compile(r"'[^']*+(?:''[^']*+)*+'|[^ \t\r\n\f\v,][^,]*+")


class LiteralList(Sequence[Literal]):
    """The literals of a long list, all of one Python type: one object instead of a node for each.

    It is what a tuple of literals is, and equal to it; a literal is made when it is asked for. None has a slot: a list
    of this length does not come again with other values.

    Parameters
    ----------
    values
        All int, all float, or all str; numbers have their signs.
    query_text, start_offset, end_offset
        The query's text and where the list stands in it: positions are looked up when somebody asks.
    build_meta
        Gives the meta of a value; None before binding.
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
        """Return the same list, its literals typed.

        Parameters
        ----------
        build_meta
            A function that returns the meta of a value.
        """
        return LiteralList(self.values, self._query_text, self._start_offset, self._end_offset, build_meta)

    @property
    def sample_literals(self) -> tuple[Literal, ...]:
        """The first literal, and those that decide the type.

        The lowest and highest number, the first text with letters beyond ASCII.
        """
        places = [0]
        if isinstance(self.values[0], str):
            if not self._query_text.isascii():
                places += [place for place, value in enumerate(self.values) if not str(value).isascii()][:1]
        else:
            places += [self.values.index(min(self.values)), self.values.index(max(self.values))]
        return tuple([self[place] for place in dict.fromkeys(places)])

    @property
    def end_offset(self) -> int:
        """The offset behind the list."""
        return self._end_offset

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, place: int) -> Literal: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Literal, ...]: ...

    def __getitem__(self, place: int | slice) -> Literal | tuple[Literal, ...]:
        if isinstance(place, slice):
            return tuple([self[each] for each in range(*place.indices(len(self.values)))])
        if self._text_offsets is None:
            matches = (
                _LIST_ITEM_REGEX.finditer(self._query_text, self._start_offset, self._end_offset)
                if self._query_text
                else ()
            )
            self._text_offsets = [match.start() for match in matches] or [-1] * len(self.values)
        value = self.values[place]
        return Literal(
            value,
            text_offset=self._text_offsets[place],
            meta=None if self._build_meta is None else self._build_meta(value),
        )

    def __eq__(self, other: object) -> bool:
        if isinstance(other, LiteralList):
            return type(self.values[0]) is type(other.values[0]) and self.values == other.values
        if isinstance(other, tuple):
            return tuple(self) == other
        return NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"LiteralList({self.values!r})"


@dataclass(frozen=True, slots=True)
class ColumnRef(Expr):
    """``[[[catalog.]schema.]table.]column``; `source` and `column` are filled by the binder.

    `source` is the `TableRef.number`, `DerivedTable.number` of the FROM item (unique in the whole query) that has it.
    """

    name: Ident  # of the column
    qualifier: tuple[Ident, ...] = ()  # the identifiers before it
    source: int = field(default=-1, kw_only=True, compare=False)
    column: Column | None = field(default=None, kw_only=True, compare=False)


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
    """A call: standard, geometric, aggregate (COUNT(*) has `star`), or user defined. Names are upper case.

    `order_independent`: an aggregate whose value may not depend on the order in which rows come, to the last bit.
    """

    name: str  # in upper case
    args: tuple[Expr, ...] = ()
    distinct: bool = False  # of an aggregate: each value once
    star: bool = False
    order_independent: bool = field(default=False, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class ArrayElement(Expr):
    """``array[n]``, ``array[i, j]`` (declared extension).

    Counted from 1, one number for each axis, in the order of its arraysize.
    """

    operand: Expr
    indexes: tuple[Expr, ...]  # one for each axis, from 1


@dataclass(frozen=True, slots=True)
class FrameBound(SyntaxNode):
    """One end of a frame: `side` is UNBOUNDED PRECEDING, PRECEDING, CURRENT ROW, FOLLOWING or UNBOUNDED FOLLOWING."""

    side: str
    offset: Literal | None = None  # rows or values away; None: the side says all


@dataclass(frozen=True, slots=True)
class WindowFrame(SyntaxNode):
    """``ROWS|RANGE|GROUPS BETWEEN start AND end``: the rows of the partition that a window function looks at."""

    unit: str  # ROWS, RANGE or GROUPS
    start: FrameBound
    end: FrameBound


@dataclass(frozen=True, slots=True)
class WindowExpression(Expr):
    """``function OVER ([PARTITION BY ..] [ORDER BY ..] [frame])`` (declared extension).

    A value of each row among those beside it.

    With `name`, ``OVER name``: a window of the WINDOW clause, which the binder puts in its place.
    """

    function: FunctionCall
    partition: tuple[Expr, ...] = ()  # expressions whose equal rows are looked at together
    order_by: tuple[OrderItem, ...] = ()  # within a partition
    frame: WindowFrame | None = None
    name: Ident | None = None


@dataclass(frozen=True, slots=True)
class Cast(Expr):
    """``CAST(x AS VARCHAR(8))``; `target` is the upper-case ADQL type name, `length` its number."""

    operand: Expr
    target: str
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Case(Expr):
    """``CASE [operand] WHEN .. THEN .. [ELSE ..] END`` (declared extension)."""

    operand: Expr | None
    whens: tuple[tuple[Expr, Expr], ...]  # condition (or value to compare with the operand), result
    otherwise: Expr | None  # the result where none holds; None: null


@dataclass(frozen=True, slots=True)
class Subquery(Expr):
    """A scalar subquery, or the right side of IN."""

    query: Query  # of one column


@dataclass(frozen=True, slots=True)
class Comparison(Expr):
    """``= <> < > <= >=`` (``!=`` is read as ``<>``)."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Conjunction(Expr):
    """A conjunction of two or more conditions."""

    parts: tuple[Expr, ...]  # in their order


@dataclass(frozen=True, slots=True)
class Disjunction(Expr):
    """A disjunction of two or more conditions."""

    parts: tuple[Expr, ...]  # in their order


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

    query: Query  # of any columns


def join_conditions(*conditions: Expr | None) -> Expr | None:
    """Join conditions by AND.

    Parameters
    ----------
    conditions
        Those that are None are left out.

    Returns
    -------
    condition
        None if there is none.
    """
    present_conditions = tuple(condition for condition in conditions if condition is not None)
    if len(present_conditions) > 1:
        return Conjunction(present_conditions, meta=present_conditions[0].meta)
    if present_conditions:
        return present_conditions[0]
    return None


def split_conjuncts(condition: Expr | None) -> Iterator[Expr]:
    """Yield the conditions that all must hold.

    Parameters
    ----------
    condition
        Joined by AND at its top, or not; None has none.
    """
    if isinstance(condition, Conjunction):
        for part in condition.parts:
            yield from split_conjuncts(part)
    elif condition is not None:
        yield condition


# --- FROM ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FromItem(SyntaxNode):
    """What stands in FROM."""


@dataclass(frozen=True, slots=True)
class TableRef(FromItem):
    """``[[catalog.]schema.]table [[AS] alias]``.

    The binder fills `number` and `table`. `where` is set by `auth.apply_access_control` only: a bound condition over
    this table alone, which the writer applies before anything else sees the rows. `cte` is True if the name is one of
    WITH's.
    """

    parts: tuple[Ident, ...]  # the identifiers of its name
    alias: Ident | None = None
    number: int = field(default=-1, kw_only=True, compare=False)
    table: Table | None = field(default=None, kw_only=True, compare=False)
    where: Expr | None = field(default=None, kw_only=True, compare=False)
    cte: bool = field(default=False, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class DerivedTable(FromItem):
    """``(SELECT ..) [AS] alias``; `columns` are filled by the binder. A view is bound into one of these."""

    query: Query  # in the parentheses
    alias: Ident
    number: int = field(default=-1, kw_only=True, compare=False)  # as `ColumnRef.source` has it; filled by the binder
    columns: tuple[Column, ...] = field(default=(), kw_only=True, compare=False)
    view: Table | None = field(default=None, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class Join(FromItem):
    """``left [NATURAL] [INNER|LEFT|RIGHT|FULL|CROSS] JOIN right [ON ..|USING (..)]``; a comma is kind ``CROSS``."""

    left: FromItem
    right: FromItem
    kind: str = "INNER"
    natural: bool = False  # by all columns of the same name
    on: Expr | None = None  # the condition; filled by the binder for USING and NATURAL
    using: tuple[Ident, ...] = ()  # names of columns


# --- queries -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SelectItem(SyntaxNode):
    """``expr [[AS] name]``; after binding `column` describes the output (name, type, unit, ucd ..)."""

    expr: Expr
    alias: Ident | None = None  # None: the column has the name of its expression
    column: Column | None = field(default=None, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class Star(SyntaxNode):
    """``*`` or ``qualifier.*``; the binder replaces it by SelectItems."""

    qualifier: tuple[Ident, ...] = ()


@dataclass(frozen=True, slots=True)
class OrderItem(SyntaxNode):
    """``expr [ASC|DESC]``; a whole-number Literal is a position in the select list."""

    expr: Expr
    descending: bool = False  # the largest first


@dataclass(frozen=True, slots=True)
class NamedWindow(SyntaxNode):
    """``name AS ([PARTITION BY ..] [ORDER BY ..] [frame])`` of the WINDOW clause (declared extension)."""

    name: Ident
    partition: tuple[Expr, ...] = ()  # as of `WindowExpression`
    order_by: tuple[OrderItem, ...] = ()  # as of `WindowExpression`
    frame: WindowFrame | None = None


@dataclass(frozen=True, slots=True)
class Select(SyntaxNode):
    """One SELECT. `source` is None only in queries without FROM; bound ones have no `windows` any more."""

    items: tuple[SelectItem | Star, ...]  # the select list
    source: FromItem | None = None
    where: Expr | None = None  # a condition; None: all rows
    group_by: tuple[Expr, ...] = ()  # expressions, aliases, positions
    having: Expr | None = None  # a condition on groups
    distinct: bool = False  # each row once
    top: Literal | None = None  # largest number of rows; None: all
    windows: tuple[NamedWindow, ...] = ()


@dataclass(frozen=True, slots=True)
class SetOperation(SyntaxNode):
    """``left UNION|INTERSECT|EXCEPT [ALL] right``."""

    op: str
    left: Select | SetOperation | Query
    right: Select | SetOperation | Query
    all: bool = False  # rows may come twice


@dataclass(frozen=True, slots=True)
class CommonTable(SyntaxNode):
    """``name AS (SELECT ..)`` in WITH.

    `recursive` ones stand behind WITH RECURSIVE and may read themselves (declared extension).
    """

    name: Ident
    query: Query  # that makes its rows
    recursive: bool = False


@dataclass(frozen=True, slots=True)
class Query(SyntaxNode):
    """A whole query or a parenthesised one: ``[WITH ..] body [ORDER BY ..] [OFFSET n]``. `text` is its source."""

    body: Select | SetOperation | Query
    order_by: tuple[OrderItem, ...] = ()  # of the whole
    offset: Literal | None = None  # rows to leave out first
    ctes: tuple[CommonTable, ...] = ()  # the tables of WITH
    text: str = field(default="", kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class BoundQuery:
    """A query whose every name is resolved: what `bind` returns, `permit` filters and engines run.

    Attributes
    ----------
    query
        The same tree with `meta`, `build_table_ref`, `column`, `table`, `number` filled in and stars expanded.
    columns
        The output, in order; names unique and valid (made-up ones for unnamed expressions).
    tables
        Every stored table that is read, by qualified name (views and CTEs are already resolved).
    literal_values
        Values of all literals of the text, by `Literal.slot`.
    free_slots
        Slots that a plan may be given other values for; the others are part of the query's shape (IN_UNIT's
        unit, coordinate systems ..).
    volatile
        True if the same query may answer differently over the same rows (RAND).
    slot_bounds
        Free slots whose values the binder has judged: slot, lowest, highest. A plan may not be given others.
    text_operation_count
        How many of its operations make text of text: together they may make so much for each row.
    time_slots
        Slots whose values are times that every engine reads alike: another spelling is for the binder.
    renamed_columns
        Columns that the output calls otherwise: name in the table, name in the output.
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

    @property
    def max_text_bytes(self) -> int:
        """Bytes of a text that one of those operations may make."""
        return MAX_TEXT_BYTES // max(self.text_operation_count, 1)

    def are_literals_allowed(self, values: Sequence[object]) -> bool:
        """Return whether these literals are within the bounds.

        Others are for the binder, which says what is wrong with them.

        Parameters
        ----------
        values
            By `Literal.slot`.
        """
        return all(
            low <= value <= high
            for slot, low, high in self.slot_bounds
            if isinstance(value := values[slot], int | float)
        ) and all(is_plain_time(value) for slot in self.time_slots if isinstance(value := values[slot], str))


# --- walks ---------------------------------------------------------------------------------------------------

N = TypeVar("N")


def build_column_ref(column_name: str, *qualifier: str) -> ColumnRef:
    """Name a column as it is written.

    Parameters
    ----------
    column_name
        Of the column.
    qualifier
        Of its table: an alias.

    Returns
    -------
    column
        Letter for letter, as all that is quoted.
    """
    return ColumnRef(Ident(column_name, quoted=True), tuple(Ident(part, quoted=True) for part in qualifier))


def build_table_ref(table: Table) -> TableRef:
    """Name a table as it is written.

    Parameters
    ----------
    table
        With its schema.

    Returns
    -------
    source
        For FROM, without an alias.
    """
    return TableRef((Ident(table.schema, quoted=True), Ident(table.name, quoted=True)))


def build_table_query(
    table: Table,
    items: Iterable[str | Expr],
    where: Expr | None = None,
    order_by: Iterable[OrderItem] = (),
    offset: int | None = None,
) -> Query:
    """Ask a table.

    Parameters
    ----------
    table
        With its schema.
    items
        Names of columns, and expressions.
    where
        Which rows; None: all.
    order_by, offset
        In which order, and how many of them are left out first.

    Returns
    -------
    query
        Its columns are called as those of the table are.
    """
    selected = tuple(SelectItem(build_column_ref(item) if isinstance(item, str) else item) for item in items)
    row_offset = Literal(offset) if offset else None
    return Query(Select(selected, build_table_ref(table), where=where), tuple(order_by), row_offset)


def split_chain(node: Any, link_class: type[Any], is_link: Callable[[Any], bool] = bool) -> tuple[Any, list[Any]]:
    """Split ``a + b + c``, SELECT .. UNION SELECT .. or joins into their parts, without recursion.

    Parameters
    ----------
    node
        The rightmost link.
    link_class
        Class of the links.
    is_link
        Whether a node is a link of the chain.

    Returns
    -------
    first
        The leftmost operand.
    links
        From left to right.
    """
    links: list[Any] = []
    while isinstance(node, link_class) and is_link(node):
        links.append(node)
        node = node.left
    return node, links[::-1]


class _ChildFields(dict[type, tuple[tuple[str, ...], tuple[str, ...]]]):
    """Names of the fields in which nodes may stand, by the kind of node.

    Of those that are compared, from last to first, and of all.

    Annotations say so: what is added to a node is seen by every pass.
    """

    def __missing__(self, kind: type) -> tuple[tuple[str, ...], tuple[str, ...]]:
        nodes = {
            item.__name__ for item in globals().values() if isinstance(item, type) and issubclass(item, SyntaxNode)
        }
        node_fields = [item for item in fields(kind) if not nodes.isdisjoint(re.findall(r"\w+", str(item.type)))]
        self[kind] = (
            tuple([item.name for item in reversed(node_fields) if item.compare]),
            tuple([item.name for item in node_fields]),
        )
        return self[kind]


_CHILD_FIELDS: Final = _ChildFields()


def walk_tree(node: Any, *, excluded_class: type[SyntaxNode] | None = None) -> Iterator[Any]:
    """Yield every node below and including `node`, subqueries too.

    None of the class `excluded_class`, and nothing below it.

    However deep a chain is, it is not descended into. Row filters are no part of what was asked: whoever wants
    `TableRef.where` asks for it.

    Parameters
    ----------
    node
        A node, or a tuple of them.
    excluded_class
        A class of nodes to leave out, with all below.
    """
    check_deadline()  # planners go over a tree again and again
    pending = [node]
    while pending:
        item = pending.pop()
        if isinstance(item, tuple):
            pending.extend(reversed(item))
        elif isinstance(item, SyntaxNode) and (excluded_class is None or not isinstance(item, excluded_class)):
            yield item
            pending.extend([getattr(item, name) for name in _CHILD_FIELDS[type(item)][0]])


def iterate_children(node: SyntaxNode) -> Iterator[SyntaxNode]:
    """Yield the nodes directly below one.

    Parameters
    ----------
    node
        Any; tuples in it count as their members.
    """
    pending: list[Any] = [getattr(node, name) for name in _CHILD_FIELDS[type(node)][0]]
    while pending:
        item = pending.pop()
        if isinstance(item, tuple):
            pending.extend(reversed(item))
        elif isinstance(item, SyntaxNode):
            yield item


def transform_tree(node: N, change: Callable[[Any], Any]) -> N:
    """Copy a tree from the root down, row filters too. What does not change is shared.

    Parameters
    ----------
    node
        A node, or a tuple of them.
    change
        Returns the node to use; the parts of a node are visited if it is returned as it is.

    Returns
    -------
    node
        The same object if nothing changes.
    """
    if isinstance(node, tuple):
        check_deadline()
        parts = tuple([transform_tree(part, change) for part in node])
        return node if all(map(is_, parts, node)) else parts  # type: ignore[return-value]
    if not isinstance(node, SyntaxNode):
        return node
    # a chain of a thousand (a + b + c, SELECT .. UNION SELECT ..) is walked to its left end, then rebuilt
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
