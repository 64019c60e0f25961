"""The tree of an ADQL query: frozen nodes with positions, the one shape that every face builds and every pass reads.

Names are those of the ADQL 2.1 grammar. `at` is the 0-based offset of the node in the query text (-1: made by a
program). `meta` is None until `hven.adql.bind` has run; afterwards every expression carries its type, unit and UCD.
Trees compare equal by content: positions and meta are left out of ``==`` and ``hash``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from operator import is_
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from hven.adql._bounds import LONGEST
from hven.model.clock import check
from hven.model.literal import is_plain_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from hven.model.table import Column, Table
    from hven.model.types import Type


@dataclass(frozen=True, slots=True)
class Meta:
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
class Node:
    """Anything in the tree."""

    at: int = field(default=-1, kw_only=True, compare=False)  # characters before it in the query; -1: it was made


@dataclass(frozen=True, slots=True)
class Ident:
    """One identifier; `quoted` ones are case-sensitive (ADQL 2.1 section 2.1.2)."""

    name: str  # without quotes
    quoted: bool = False


# --- expressions ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expr(Node):
    """A value expression or a search condition."""

    meta: Meta | None = field(default=None, kw_only=True, compare=False)  # filled by the binder


@dataclass(frozen=True, slots=True)
class Literal(Expr):
    """A number (int or float), a string, a boolean (programs only), or NULL (None).

    `slot` numbers the literals of a query in text order, so that a plan can be used again with other values.
    """

    value: bool | int | float | str | None  # a date or a shape is a call or a string
    slot: int = field(default=-1, kw_only=True, compare=False)


_LISTED: Final = re.compile(r"'[^']*+(?:''[^']*+)*+'|[^ \t\r\n\f\v,][^,]*+")


class LiteralList(Sequence[Literal]):
    """The literals of a long list, all of one Python type: one object instead of a node for each.

    It is what a tuple of literals is, and equal to it; a literal is made when it is asked for. None has a slot: a list of this
    length does not come again with other values.

    Parameters
    ----------
    values
        All int, all float, or all str; numbers have their signs.
    text, start, end
        The query's text and where the list stands in it: positions are looked up when somebody asks.
    typed
        Gives the meta of a value; None before binding.
    """

    __slots__ = ("_ats", "_end", "_start", "_text", "_typed", "values")

    def __init__(
        self,
        values: tuple[float, ...] | tuple[str, ...],
        text: str = "",
        start: int = 0,
        end: int = 0,
        typed: Callable[[object], Meta] | None = None,
    ) -> None:
        self.values = values
        self._text, self._start, self._end, self._typed = text, start, end, typed
        self._ats: list[int] | None = None

    def bound(self, typed: Callable[[object], Meta]) -> LiteralList:
        """Return the same list, its literals typed.

        Parameters
        ----------
        typed
            A function that returns the meta of a value.
        """
        return LiteralList(self.values, self._text, self._start, self._end, typed)

    @property
    def samples(self) -> tuple[Literal, ...]:
        """The first literal, and those that decide the type: the lowest and highest number, the first text with letters beyond ASCII."""
        places = [0]
        if isinstance(self.values[0], str):
            if not self._text.isascii():
                places += [place for place, value in enumerate(self.values) if not str(value).isascii()][:1]
        else:
            places += [self.values.index(min(self.values)), self.values.index(max(self.values))]
        return tuple([self[place] for place in dict.fromkeys(places)])

    @property
    def end(self) -> int:
        """The offset behind the list."""
        return self._end

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, place: int) -> Literal: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Literal, ...]: ...

    def __getitem__(self, place: int | slice) -> Literal | tuple[Literal, ...]:
        if isinstance(place, slice):
            return tuple([self[each] for each in range(*place.indices(len(self.values)))])
        if self._ats is None:
            found = _LISTED.finditer(self._text, self._start, self._end) if self._text else ()
            self._ats = [match.start() for match in found] or [-1] * len(self.values)
        value = self.values[place]
        return Literal(value, at=self._ats[place], meta=None if self._typed is None else self._typed(value))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, LiteralList):
            return type(self.values[0]) is type(other.values[0]) and self.values == other.values
        return tuple(self) == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"LiteralList({self.values!r})"


@dataclass(frozen=True, slots=True)
class ColumnRef(Expr):
    """``[[[catalog.]schema.]table.]column``; `source` and `column` are filled by the binder.

    `source` is the `TableRef.number`, `Derived.number` of the FROM item (unique in the whole query) that has it.
    """

    name: Ident  # of the column
    qualifier: tuple[Ident, ...] = ()  # the identifiers before it
    source: int = field(default=-1, kw_only=True, compare=False)
    column: Column | None = field(default=None, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class Unary(Expr):
    """``-x``, ``+x``, ``~x`` (bitwise: declared extension)."""

    op: str
    operand: Expr


@dataclass(frozen=True, slots=True)
class Binary(Expr):
    """``+ - * / ||`` and, as declared extensions, ``% & | ^``."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Function(Expr):
    """A call: standard, geometric, aggregate (COUNT(*) has `star`), or user defined. Names are upper case.

    `steady`: an aggregate whose value may not depend on the order in which rows come, to the last bit.
    """

    name: str  # in upper case
    args: tuple[Expr, ...] = ()
    distinct: bool = False  # of an aggregate: each value once
    star: bool = False
    steady: bool = field(default=False, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class Element(Expr):
    """``array[n]``, ``array[i, j]`` (declared extension): counted from 1, one number for each axis, in the order of its arraysize."""

    operand: Expr
    indexes: tuple[Expr, ...]  # one for each axis, from 1


@dataclass(frozen=True, slots=True)
class Edge(Node):
    """One end of a frame: `side` is UNBOUNDED PRECEDING, PRECEDING, CURRENT ROW, FOLLOWING or UNBOUNDED FOLLOWING."""

    side: str
    offset: Literal | None = None  # rows or values away; None: the side says all


@dataclass(frozen=True, slots=True)
class Frame(Node):
    """``ROWS|RANGE|GROUPS BETWEEN start AND end``: the rows of the partition that a window function looks at."""

    unit: str  # ROWS, RANGE or GROUPS
    start: Edge
    end: Edge


@dataclass(frozen=True, slots=True)
class Window(Expr):
    """``function OVER ([PARTITION BY ..] [ORDER BY ..] [frame])`` (declared extension): a value of each row among those beside it.

    With `name`, ``OVER name``: a window of the WINDOW clause, which the binder puts in its place.
    """

    function: Function
    partition: tuple[Expr, ...] = ()  # expressions whose equal rows are looked at together
    order_by: tuple[OrderItem, ...] = ()  # within a partition
    frame: Frame | None = None
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
class Compare(Expr):
    """``= <> < > <= >=`` (``!=`` is read as ``<>``)."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class And(Expr):
    """A conjunction of two or more conditions."""

    parts: tuple[Expr, ...]  # in their order


@dataclass(frozen=True, slots=True)
class Or(Expr):
    """A disjunction of two or more conditions."""

    parts: tuple[Expr, ...]  # in their order


@dataclass(frozen=True, slots=True)
class Not(Expr):
    """``NOT condition``."""

    operand: Expr


@dataclass(frozen=True, slots=True)
class Between(Expr):
    """``x [NOT] BETWEEN low AND high``."""

    operand: Expr
    low: Expr
    high: Expr
    negated: bool = False  # NOT BETWEEN


@dataclass(frozen=True, slots=True)
class In(Expr):
    """``x [NOT] IN (a, b)`` or ``x [NOT] IN (SELECT ..)``."""

    operand: Expr
    choices: tuple[Expr, ...] | LiteralList | Subquery  # values, a long list of literals, or a subquery
    negated: bool = False  # NOT IN


@dataclass(frozen=True, slots=True)
class Like(Expr):
    """``x [NOT] LIKE|ILIKE pattern``."""

    operand: Expr
    pattern: Expr
    negated: bool = False  # NOT LIKE
    ignore_case: bool = False  # ILIKE


@dataclass(frozen=True, slots=True)
class IsNull(Expr):
    """``x IS [NOT] NULL``."""

    operand: Expr
    negated: bool = False  # IS NOT NULL


@dataclass(frozen=True, slots=True)
class Exists(Expr):
    """``EXISTS (SELECT ..)``."""

    query: Query  # of any columns


def conjunction(*conditions: Expr | None) -> Expr | None:
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
    given = tuple(one for one in conditions if one is not None)
    return And(given, meta=given[0].meta) if len(given) > 1 else given[0] if given else None


def conjuncts(condition: Expr | None) -> Iterator[Expr]:
    """Yield the conditions that all must hold.

    Parameters
    ----------
    condition
        Joined by AND at its top, or not; None has none.
    """
    if isinstance(condition, And):
        for part in condition.parts:
            yield from conjuncts(part)
    elif condition is not None:
        yield condition


# --- FROM ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FromItem(Node):
    """What stands in FROM."""


@dataclass(frozen=True, slots=True)
class TableRef(FromItem):
    """``[[catalog.]schema.]table [[AS] alias]``.

    The binder fills `number` and `table`. `where` is set by `auth.permit` only: a bound condition over this table
    alone, which the writer applies before anything else sees the rows. `cte` is True if the name is one of WITH's.
    """

    parts: tuple[Ident, ...]  # the identifiers of its name
    alias: Ident | None = None
    number: int = field(default=-1, kw_only=True, compare=False)
    table: Table | None = field(default=None, kw_only=True, compare=False)
    where: Expr | None = field(default=None, kw_only=True, compare=False)
    cte: bool = field(default=False, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class Derived(FromItem):
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
class SelectItem(Node):
    """``expr [[AS] name]``; after binding `column` describes the output (name, type, unit, ucd ..)."""

    expr: Expr
    alias: Ident | None = None  # None: the column has the name of its expression
    column: Column | None = field(default=None, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class Star(Node):
    """``*`` or ``qualifier.*``; the binder replaces it by SelectItems."""

    qualifier: tuple[Ident, ...] = ()


@dataclass(frozen=True, slots=True)
class OrderItem(Node):
    """``expr [ASC|DESC]``; a whole-number Literal is a position in the select list."""

    expr: Expr
    descending: bool = False  # the largest first


@dataclass(frozen=True, slots=True)
class NamedWindow(Node):
    """``name AS ([PARTITION BY ..] [ORDER BY ..] [frame])`` of the WINDOW clause (declared extension)."""

    name: Ident
    partition: tuple[Expr, ...] = ()  # as of `Window`
    order_by: tuple[OrderItem, ...] = ()  # as of `Window`
    frame: Frame | None = None


@dataclass(frozen=True, slots=True)
class Select(Node):
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
class SetOperation(Node):
    """``left UNION|INTERSECT|EXCEPT [ALL] right``."""

    op: str
    left: Select | SetOperation | Query
    right: Select | SetOperation | Query
    all: bool = False  # rows may come twice


@dataclass(frozen=True, slots=True)
class CommonTable(Node):
    """``name AS (SELECT ..)`` in WITH; `recursive` ones stand behind WITH RECURSIVE and may read themselves (declared extension)."""

    name: Ident
    query: Query  # that makes its rows
    recursive: bool = False


@dataclass(frozen=True, slots=True)
class Query(Node):
    """A whole query or a parenthesised one: ``[WITH ..] body [ORDER BY ..] [OFFSET n]``. `text` is its source."""

    body: Select | SetOperation | Query
    order_by: tuple[OrderItem, ...] = ()  # of the whole
    offset: Literal | None = None  # rows to leave out first
    ctes: tuple[CommonTable, ...] = ()  # the tables of WITH
    text: str = field(default="", kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class Bound:
    """A query whose every name is resolved: what `bind` returns, `permit` filters and engines run.

    Attributes
    ----------
    query
        The same tree with `meta`, `source`, `column`, `table`, `number` filled in and stars expanded.
    columns
        The output, in order; names unique and valid (made-up ones for unnamed expressions).
    tables
        Every stored table that is read, by qualified name (views and CTEs are already resolved).
    slots
        Values of all literals of the text, by `Literal.slot`.
    free
        Slots that a plan may be given other values for; the others are part of the query's shape (IN_UNIT's
        unit, coordinate systems ..).
    volatile
        True if the same query may answer differently over the same rows (RAND).
    bounds
        Free slots whose values the binder has judged: slot, lowest, highest. A plan may not be given others.
    building
        How many of its operations make text of text: together they may make so much for each row.
    times
        Slots whose values are times that every engine reads alike: another spelling is for the binder.
    renamed
        Columns that the output calls otherwise: name in the table, name in the output.
    """

    query: Query
    columns: tuple[Column, ...]
    tables: tuple[Table, ...]
    slots: tuple[float | str | None, ...] = ()
    free: frozenset[int] = frozenset()
    volatile: bool = False
    bounds: tuple[tuple[int, float, float], ...] = ()
    building: int = 0
    times: tuple[int, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()

    @property
    def longest(self) -> int:
        """Bytes of a text that one of those operations may make."""
        return LONGEST // max(self.building, 1)

    def takes(self, values: Sequence[object]) -> bool:
        """Return whether these literals are within the bounds: others are for the binder, which says what is wrong with them.

        Parameters
        ----------
        values
            By `Literal.slot`.
        """
        return all(
            low <= value <= high for slot, low, high in self.bounds if isinstance(value := values[slot], int | float)
        ) and all(is_plain_time(value) for slot in self.times if isinstance(value := values[slot], str))


# --- walks ---------------------------------------------------------------------------------------------------

N = TypeVar("N")


def ref(name: str, *qualifier: str) -> ColumnRef:
    """Name a column as it is written.

    Parameters
    ----------
    name
        Of the column.
    qualifier
        Of its table: an alias.

    Returns
    -------
    column
        Letter for letter, as all that is quoted.
    """
    return ColumnRef(Ident(name, quoted=True), tuple(Ident(part, quoted=True) for part in qualifier))


def source(table: Table) -> TableRef:
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


def select(table: Table, items: Iterable[str | Expr], where: Expr | None = None, order: Iterable[OrderItem] = (), offset: int | None = None) -> Query:  # fmt: skip
    """Ask a table.

    Parameters
    ----------
    table
        With its schema.
    items
        Names of columns, and expressions.
    where
        Which rows; None: all.
    order, offset
        In which order, and how many of them are left out first.

    Returns
    -------
    query
        Its columns are called as those of the table are.
    """
    selected = tuple(SelectItem(ref(item) if isinstance(item, str) else item) for item in items)
    left_out = Literal(offset) if offset else None
    return Query(Select(selected, source(table), where=where), tuple(order), left_out)


def chain(node: Any, kind: type[Any], same: Callable[[Any], bool] = bool) -> tuple[Any, list[Any]]:
    """Split ``a + b + c``, SELECT .. UNION SELECT .. or joins into their parts, without recursion.

    Parameters
    ----------
    node
        The rightmost link.
    kind
        Class of the links.
    same
        Whether a node is a link of the chain.

    Returns
    -------
    first
        The leftmost operand.
    links
        From left to right.
    """
    links: list[Any] = []
    while isinstance(node, kind) and same(node):
        links.append(node)
        node = node.left
    return node, links[::-1]


class _Places(dict[type, tuple[tuple[str, ...], tuple[str, ...]]]):
    """Names of the fields in which nodes may stand, by the kind of node: of those that are compared, from last to first, and of all.

    Annotations say so: what is added to a node is seen by every pass.
    """

    def __missing__(self, kind: type) -> tuple[tuple[str, ...], tuple[str, ...]]:
        nodes = {item.__name__ for item in globals().values() if isinstance(item, type) and issubclass(item, Node)}
        found = [item for item in fields(kind) if not nodes.isdisjoint(re.findall(r"\w+", str(item.type)))]
        self[kind] = (
            tuple([item.name for item in reversed(found) if item.compare]),
            tuple([item.name for item in found]),
        )
        return self[kind]


_PLACES: Final = _Places()


def walk(node: Any, *, but: type[Node] | None = None) -> Iterator[Any]:
    """Yield every node below and including `node`, subqueries too; none of the class `but`, and nothing below it.

    However deep a chain is, it is not descended into. Row filters are no part of what was asked: whoever wants `TableRef.where` asks for it.

    Parameters
    ----------
    node
        A node, or a tuple of them.
    but
        A class of nodes to leave out, with all below.
    """
    check()  # planners go over a tree again and again
    waiting = [node]
    while waiting:
        item = waiting.pop()
        if isinstance(item, tuple):
            waiting.extend(reversed(item))
        elif isinstance(item, Node) and (but is None or not isinstance(item, but)):
            yield item
            waiting.extend([getattr(item, name) for name in _PLACES[type(item)][0]])


def children(node: Node) -> Iterator[Node]:
    """Yield the nodes directly below one.

    Parameters
    ----------
    node
        Any; tuples in it count as their members.
    """
    waiting: list[Any] = [getattr(node, name) for name in _PLACES[type(node)][0]]
    while waiting:
        item = waiting.pop()
        if isinstance(item, tuple):
            waiting.extend(reversed(item))
        elif isinstance(item, Node):
            yield item


def transform(node: N, change: Callable[[Any], Any]) -> N:
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
        check()
        parts = tuple([transform(part, change) for part in node])
        return node if all(map(is_, parts, node)) else parts  # type: ignore[return-value]
    if not isinstance(node, Node):
        return node
    # a chain of a thousand (a + b + c, SELECT .. UNION SELECT ..) is walked to its left end, then rebuilt
    links: list[Any] = []
    first: Any = node
    while (new := change(first)) is first and "left" in _PLACES[type(first)][1]:
        links.append(first)
        first = first.left
    if new is first:
        new = _transformed(first, {}, change)
    for link in reversed(links):
        new = _transformed(link, {"left": new}, change)
    return new  # type: ignore[no-any-return]


def _transformed(node: Any, done: Mapping[str, Any], change: Callable[[Any], Any]) -> Any:
    changes = {}
    for name in _PLACES[type(node)][1]:
        old = getattr(node, name)
        copy = done[name] if name in done else transform(old, change)
        if copy is not old:
            changes[name] = copy
    return replace(node, **changes) if changes else node
