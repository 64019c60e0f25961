"""Which indexes a bound query can use: conditions on single tables, found when the plan is made, looked up when it runs.

A condition may narrow a table to candidates if no row that fails it can reach the answer: conjuncts of WHERE (all are
false for null, so this holds on every side of an outer join), of ON of inner joins, of ON of an outer join for the side that
is filled up with nulls, and the reader's own row filter. The condition itself stays in the query, so candidates may be too
many, never too few.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hven.adql.grouping import walk
from hven.adql.tree import (
    And,
    Between,
    ColumnRef,
    Compare,
    Derived,
    Expr,
    FromItem,
    In,
    Join,
    Literal,
    Or,
    Query,
    Select,
    SelectItem,
    Subquery,
    TableRef,
    Window,
)
from hven.engines.duckdb.constants import constant
from hven.engines.duckdb.covers import cover
from hven.engines.duckdb.geometry import (
    MIRROR,
    ConstantShape,
    column_pair,
    constant_shape,
    contained,
    coordinates,
    distance_points,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    from hven.engines.duckdb.constants import Constant
    from hven.engines.duckdb.keys import KeyIndex
    from hven.engines.duckdb.layout import Stored

    Rows = npt.NDArray[np.int64]
    Values = Sequence[float | str | None]


@dataclass(slots=True)
class Found:
    """Rows of a snapshot that an index gives: ranges of row numbers (position), or row numbers in some order (keys)."""

    count: int
    ranges: Rows | None = None  # shape (n, 2), ascending, disjoint
    pieces: tuple[Rows, ...] = ()

    def rows(self) -> Rows:
        """Give ascending row numbers, each once."""
        if self.ranges is not None:
            return spread(self.ranges)
        if len(self.pieces) == 1:
            return np.sort(self.pieces[0])
        found: Rows = np.unique(np.concatenate(self.pieces)) if self.pieces else np.empty(0, np.int64)
        return found


NOTHING = Found(0, np.empty((0, 2), np.int64))


def spread(ranges: Rows) -> Rows:
    """Write out ranges as numbers."""
    lengths = ranges[:, 1] - ranges[:, 0]
    keep = lengths > 0
    if not keep.all():
        ranges, lengths = ranges[keep], lengths[keep]
    if not len(lengths):
        return np.empty(0, np.int64)
    ends = np.cumsum(lengths)
    found: Rows = np.arange(ends[-1]) + np.repeat(ranges[:, 0] - (ends - lengths), lengths)
    return found


class Access(ABC):
    """A way to find the rows of one table that may meet a condition."""

    @abstractmethod
    def look_up(self, stored: Stored, values: Values, limit: int) -> Found | None:
        """Find candidates; None if this road is closed for these values, or leads to more than `limit` rows."""

    @abstractmethod
    def describe(self) -> str:
        """Say which index is used."""


@dataclass(frozen=True, slots=True)
class InShape(Access):
    """The position lies in a shape of constants; `one` must be 1 when the plan runs."""

    columns: tuple[str, str]
    shape: ConstantShape
    one: Constant | None = None

    def look_up(self, stored: Stored, values: Values, limit: int) -> Found | None:
        """See `Access.look_up`."""
        if stored.manifest.position != self.columns or (self.one is not None and self.one(values) != 1):
            return None
        shape = self.shape.make(values)
        return None if shape is None else of_cover(stored, cover(shape), limit)

    def describe(self) -> str:
        """See `Access.describe`."""
        return f"position index ({self.shape.kind.lower()})"


@dataclass(frozen=True, slots=True)
class KeySpan(Access):
    """The value of an indexed column lies between constants."""

    column: str
    low: Constant | None = None
    high: Constant | None = None
    low_open: bool = False
    high_open: bool = False

    def look_up(self, stored: Stored, values: Values, limit: int) -> Found | None:
        """See `Access.look_up`."""
        index = stored.key(self.column)
        span = None if index is None else self.places(index, values)
        if index is None or span is None or span[1] - span[0] > limit:
            return None
        return Found(span[1] - span[0], pieces=(index.at(*span),))

    def places(self, index: KeyIndex, values: Values) -> tuple[int, int] | None:
        """Give the places in the index, None if a bound cannot be looked up in it."""
        low = None if self.low is None else self.low(values)
        high = low if self.high is self.low else None if self.high is None else self.high(values)
        for bound, given in ((low, self.low), (high, self.high)):
            if given is not None and not index.takes(bound):
                return None
        return index.span(low, high, low_open=self.low_open, high_open=self.high_open)

    def describe(self) -> str:
        """See `Access.describe`."""
        return f"index of {self.column}"


@dataclass(frozen=True, slots=True)
class KeyAmong(Access):
    """The value of an indexed column is one of a list of constants."""

    column: str
    among: tuple[Constant, ...]

    def look_up(self, stored: Stored, values: Values, limit: int) -> Found | None:
        """See `Access.look_up`."""
        index = stored.key(self.column)
        if index is None:
            return None
        pieces: list[Rows] = []
        count = 0
        for item in self.among:
            value = item(values)
            if value is None:
                continue  # x = NULL is never true
            if not index.takes(value):
                return None
            begin, end = index.span(value, value)
            count += end - begin
            if count > limit:
                return None
            pieces.append(index.at(begin, end))
        return Found(count, pieces=tuple(pieces))

    def describe(self) -> str:
        """See `Access.describe`."""
        return f"index of {self.column} ({len(self.among)} values)"


@dataclass(frozen=True, slots=True)
class Best(Access):
    """All of several conditions hold: the one with the fewest candidates is used."""

    parts: tuple[Access, ...]

    def look_up(self, stored: Stored, values: Values, limit: int) -> Found | None:
        """See `Access.look_up`."""
        best: Found | None = None
        for part in self.parts:
            found = part.look_up(stored, values, limit if best is None else best.count)
            if found is not None and (best is None or found.count < best.count):
                best = found
                if best.count <= 8:
                    break
        return best

    def describe(self) -> str:
        """See `Access.describe`."""
        return " or ".join(part.describe() for part in self.parts) + (", whichever gives fewer rows" if len(self.parts) > 1 else "")


@dataclass(frozen=True, slots=True)
class Either(Access):
    """One of several conditions holds, each with an index."""

    parts: tuple[Access, ...]

    def look_up(self, stored: Stored, values: Values, limit: int) -> Found | None:
        """See `Access.look_up`."""
        pieces: list[Rows] = []
        count = 0
        for part in self.parts:
            found = part.look_up(stored, values, limit - count)
            if found is None:
                return None
            count += found.count
            if count > limit:
                return None
            pieces.append(found.rows())
        return Found(count, pieces=tuple(pieces))

    def describe(self) -> str:
        """See `Access.describe`."""
        return "union of " + ", ".join(part.describe() for part in self.parts)


def of_cover(stored: Stored, ranges: Rows, limit: int) -> Found | None:
    """Give the rows whose HEALPix index lies in ranges at order 29."""
    if not len(ranges):
        return NOTHING
    places = stored.healpix.searchsorted(ranges.ravel()).reshape(-1, 2)
    count = int((places[:, 1] - places[:, 0]).sum())
    return None if count > limit else Found(count, places)


# --- analysis ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Scope:
    """One SELECT: the stored tables that conditions may narrow, and the conditions."""

    select: Select
    leaves: dict[int, TableRef] = field(default_factory=dict)
    direct: set[int] = field(default_factory=set)  # leaves that are not inside a derived table
    conditions: list[tuple[Expr, frozenset[int]]] = field(default_factory=list)  # (conjunct, leaves it may narrow)
    outer: set[int] = field(default_factory=set)  # id of the conjuncts that stand in ON of an outer join
    through: dict[tuple[int, str], Expr] = field(default_factory=dict)  # column of a derived table -> expression inside

    def column(self, expr: Expr) -> ColumnRef | None:
        """Follow a column through derived tables to the stored table it comes from."""
        while isinstance(expr, ColumnRef) and expr.column is not None:
            if expr.source in self.leaves:
                return expr
            inner = self.through.get((expr.source, expr.column.name))
            if inner is None:
                return None
            expr = inner
        return None


def conjuncts(expr: Expr | None) -> Iterator[Expr]:
    """Give the conditions that all must hold."""
    if isinstance(expr, And):
        for part in expr.parts:
            yield from conjuncts(part)
    elif expr is not None:
        yield expr


def scope_of(select: Select) -> Scope:
    """Gather what conditions of one SELECT say about its tables."""
    scope = Scope(select)
    everything = _gather(select.source, scope, direct=True) if select.source is not None else frozenset()
    scope.conditions += [(part, everything) for part in conjuncts(select.where)]
    return scope


def _gather(item: FromItem, scope: Scope, *, direct: bool) -> frozenset[int]:
    """Enter the leaves below a FROM item; give those that WHERE may narrow."""
    if isinstance(item, TableRef):
        if item.table is None or item.cte:
            return frozenset()
        scope.leaves[item.number] = item
        if direct:
            scope.direct.add(item.number)
        leaf = frozenset({item.number})
        scope.conditions += [(part, leaf) for part in conjuncts(item.where)]
        return leaf
    if isinstance(item, Derived):
        select = transparent(item.query)
        if select is None or select.source is None:
            return frozenset()
        below = _gather(select.source, scope, direct=False)
        scope.conditions += [(part, below) for part in conjuncts(select.where)]
        for column, inner in zip(item.columns, select.items, strict=True):
            if isinstance(inner, SelectItem):
                scope.through[item.number, column.name] = inner.expr
        return below
    if isinstance(item, Join):
        left, right = _gather(item.left, scope, direct=direct), _gather(item.right, scope, direct=direct)
        kind = item.kind.upper()
        narrowed = {"INNER": left | right, "CROSS": left | right, "LEFT": right, "RIGHT": left}.get(kind, frozenset())
        scope.conditions += [(part, narrowed) for part in conjuncts(item.on)]
        if kind not in {"INNER", "CROSS"}:
            scope.outer.update(id(part) for part in conjuncts(item.on))
        return left | right
    return frozenset()


def transparent(query: Query) -> Select | None:
    """Give the SELECT of a derived table whose rows are single rows of its FROM: no groups, limits or set operations."""
    body = query.body
    while isinstance(body, Query) and not (body.order_by or body.offset or body.ctes):
        body = body.body
    if query.order_by or query.offset is not None or query.ctes or not isinstance(body, Select):
        return None
    if body.group_by or body.having is not None or body.distinct or body.top is not None or _aggregates(body):
        return None
    return body


def _aggregates(select: Select) -> bool:
    if any(isinstance(item, SelectItem) and (item.expr.meta is None or item.expr.meta.aggregate) for item in select.items):
        return True
    return any(isinstance(node, Window) for node in walk(select.items))  # what is left out changes what the others get


def accesses(scope: Scope, free: frozenset[int]) -> dict[int, Access]:
    """Give the best road to each leaf of a SELECT that has one."""
    found: dict[int, list[Access]] = {}
    for condition, leaves in scope.conditions:
        for number in leaves:
            access = _access(condition, scope, number, free)
            if access is not None:
                found.setdefault(number, []).append(access)
    return {number: parts[0] if len(parts) == 1 else Best(tuple(_joined(parts))) for number, parts in found.items()}


def _joined(parts: Iterable[Access]) -> list[Access]:
    """Make one span of two half-open ones over the same column (x >= a AND x < b)."""
    spans: dict[str, KeySpan] = {}
    rest: list[Access] = []
    for part in parts:
        known = spans.get(part.column) if isinstance(part, KeySpan) else None
        if not isinstance(part, KeySpan):
            rest.append(part)
        elif known is not None and known.low is None and part.high is None:
            spans[part.column] = KeySpan(part.column, part.low, known.high, part.low_open, known.high_open)
        elif known is not None and known.high is None and part.low is None:
            spans[part.column] = KeySpan(part.column, known.low, part.high, known.low_open, part.high_open)
        elif known is not None:
            rest.append(part)
        else:
            spans[part.column] = part
    return [*spans.values(), *rest]


def _access(condition: Expr, scope: Scope, number: int, free: frozenset[int]) -> Access | None:
    if isinstance(condition, And):
        parts = [part for each in condition.parts if (part := _access(each, scope, number, free)) is not None]
        return (parts[0] if len(parts) == 1 else Best(tuple(_joined(parts)))) if parts else None
    if isinstance(condition, Or):
        either = [_access(each, scope, number, free) for each in condition.parts]
        found = tuple(part for part in either if part is not None)
        return Either(found) if len(found) == len(either) else None
    return _in_shape(condition, scope, number, free) or _by_key(condition, scope, number, free)


def position_of(scope: Scope, number: int, pair: tuple[Expr, Expr] | None) -> tuple[str, str] | None:
    """Give the names of longitude and latitude if a pair of expressions is the indexed position of a leaf."""
    columns = column_pair(pair)
    table = scope.leaves[number].table
    if columns is None or table is None or table.position is None:
        return None
    lon, lat = scope.column(columns[0]), scope.column(columns[1])
    if lon is None or lat is None or lon.column is None or lat.column is None or not lon.source == number == lat.source:
        return None
    return table.position if (lon.column.name, lat.column.name) == table.position else None


def _in_shape(condition: Expr, scope: Scope, number: int, free: frozenset[int]) -> Access | None:
    inside = contained(condition)
    if inside is not None:
        point, shape, one = inside
        found = constant_shape(shape, free)
        columns = position_of(scope, number, coordinates(point))
        return None if found is None or columns is None else InShape(columns, found, constant(one, free))
    if not isinstance(condition, Compare):
        return None
    for call, op, limit in ((condition.left, condition.op, condition.right), (condition.right, MIRROR[condition.op], condition.left)):
        points = distance_points(call)
        radius = constant(limit, free)
        if points is None or radius is None or op not in {"<", "<=", "="}:
            continue
        for here, there in (points, points[::-1]):
            lon, lat = constant(there[0], free), constant(there[1], free)
            columns = position_of(scope, number, here)
            if lon is not None and lat is not None and columns is not None:
                return InShape(columns, ConstantShape("CIRCLE", (lon, lat, radius)))
    return None


def _by_key(condition: Expr, scope: Scope, number: int, free: frozenset[int]) -> Access | None:
    if isinstance(condition, Compare):
        for side, op, other in ((condition.left, condition.op, condition.right), (condition.right, MIRROR[condition.op], condition.left)):
            name = key_column(scope, number, side)
            value = constant(other, free)
            if name is None or value is None or op == "<>":
                continue
            if op == "=":
                return KeySpan(name, value, value)
            if op in {">", ">="}:
                return KeySpan(name, low=value, low_open=op == ">")
            return KeySpan(name, high=value, high_open=op == "<")
    elif isinstance(condition, Between) and not condition.negated:
        name = key_column(scope, number, condition.operand)
        low, high = constant(condition.low, free), constant(condition.high, free)
        if name is not None and low is not None and high is not None:
            return KeySpan(name, low, high)
    elif isinstance(condition, In) and not condition.negated and not isinstance(condition.choices, Subquery):
        name = key_column(scope, number, condition.operand)
        among = [constant(choice, free) for choice in condition.choices]
        found = tuple(item for item in among if item is not None)
        if name is not None and len(found) == len(among):
            return KeyAmong(name, found)
    return None


def key_column(scope: Scope, number: int, expr: Expr) -> str | None:
    """Give the name of an indexed column of a leaf if `expr` is one."""
    column = scope.column(expr)
    table = scope.leaves[number].table
    if column is None or column.source != number or column.column is None or table is None:
        return None
    known = column.column
    return known.name if known.indexed or known.unique or known.name in table.primary else None


def literal_value(expr: Literal | None, free: frozenset[int], values: Values) -> int | None:
    """Give the number of a TOP or OFFSET."""
    if expr is None:
        return None
    value = values[expr.slot] if expr.slot in free else expr.value
    return int(value) if isinstance(value, int | float) else None
