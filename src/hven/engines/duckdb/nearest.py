"""The rows nearest to steps of time: where the rows of each step are numbered by how far they are from its middle, few need be read.

The pattern is that of a cadence, ``ROW_NUMBER() OVER (PARTITION BY c, CEILING(s - a) ORDER BY ROUND(ABS(s - CEILING(s - a)) * b), ..) = 1``, where `s`
grows with one indexed column. In the order of that column a step is a stretch, and what is nearest to its middle stands there: each step takes some
searches, and no row between is looked at. The numbering is then done over the rows found here, which may be too many, never too few.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.adql.tree import (
    Binary,
    ColumnRef,
    Compare,
    Derived,
    Expr,
    Function,
    In,
    IsNull,
    Literal,
    Select,
    SelectItem,
    Subquery,
    TableRef,
    Window,
    conjuncts,
    walk,
)
from hven.engines._bound.constants import constant
from hven.engines._bound.narrowable import key_column, narrowable_of, transparent
from hven.engines.duckdb.accesses import Access, Found, KeySpan, by_key, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from hven.engines._bound.constants import Constant
    from hven.engines._bound.narrowable import Narrowable
    from hven.engines.duckdb.keys import KeyIndex
    from hven.engines.duckdb.layout import Stored

    Rows = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.float64]
    Values = Sequence[float | str | None]

KINDS = 64  # combinations of the other columns, each of which is looked through by itself
MJD, DAY = 40_587.0, 86_400e6  # of 1970; microseconds
REFUSED = Found(-1)


@dataclass(frozen=True, slots=True)
class Nearest(Access):
    """The first rows of steps.

    Attributes
    ----------
    column
        From which `s` of the pattern is made.
    each
        The other columns of a partition.
    step
        How it is made: what is taken from it, and what it is multiplied by.
    numbers
        The number that must be 1, a and b of the pattern.
    spans
        What else is asked of the column.
    alike
        Slots of literals that must be the same.
    """

    column: str
    each: tuple[str, ...]
    step: tuple[tuple[str, Constant], ...]
    numbers: tuple[Constant, Constant, Constant]
    spans: tuple[KeySpan, ...]
    alike: tuple[tuple[int, int], ...]

    def look_up(self, stored: Stored, values: Values, limit: int) -> Found | None:
        """See `Access.look_up`."""
        index = stored.key(self.column)
        given = [number(values) for number in (*self.numbers, *(part for _, part in self.step))]
        numbers = [float(number) for number in given if isinstance(number, int | float) and math.isfinite(number)]
        if index is None or index.values is None or index.values.dtype not in (np.int64, np.float64):
            return None
        if len(numbers) < len(given) or numbers[0] != 1 or any(values[one] != values[two] for one, two in self.alike):
            return None
        begin, end = 0, index.count
        for span in self.spans:
            places = span.places(index, values)
            if places is None:
                return None
            begin, end = max(begin, places[0]), min(end, places[1])
        _, cut, times, *parts = numbers
        step = [(op, part) for (op, _), part in zip(self.step, parts, strict=True)]
        if begin >= end or times <= 0 or any(op == "*" and part <= 0 for op, part in step):
            return None
        key = (self.column, self.each, cut, times, *step, begin, end)
        found = stored.nearest.find(key)
        if found is None:
            found = self._found(stored, index, (begin, end), cut, times, step, limit)
            stored.nearest.keep(key, found, 8 * found.count + 1000)
        return found if 0 <= found.count <= limit else None

    def _found(
        self,
        stored: Stored,
        index: KeyIndex,
        span: tuple[int, int],
        cut: float,
        times: float,
        step: Sequence[tuple[str, float]],
        limit: int,
    ) -> Found:
        assert index.values is not None  # noqa: S101  (it was looked at)
        moments, clock = index.values[slice(*span)], pa.types.is_timestamp(index.kind)
        ends = np.array([moments[0], moments[-1]], np.float64)
        at = ends / DAY + MJD if clock else ends
        for op, part in step:
            at = at * part if op == "*" else at - part

        def back(at: Numbers) -> Numbers:
            for op, part in reversed(step):
                at = at / part if op == "*" else at + part
            return (at - MJD) * DAY if clock else at

        if not np.isfinite(at).all() or 2 * (at[1] - at[0]) > limit:
            return REFUSED
        steps = np.arange(math.floor(at[0] - cut), math.ceil(at[1] - cut) + 1, dtype=np.float64)
        kinds = self._kinds(stored, index, *span)
        if kinds is None or 2 * len(steps) * len(kinds) > limit:
            return REFUSED
        middles, edges = back(steps), back(np.append(steps[0] - 1, steps) + cut)
        # what doubles lose on the way from the column to `s`; what rounding makes equal
        width = float(np.diff(back(np.array([at[0], at[0] + 1])))[0])
        lost = 4.0 * clock + 16 * float(np.spacing(np.abs(at).max()) * width + np.spacing(np.abs(ends).max()))
        pieces = [
            kind[_firsts(moments[kind], middles, edges, width / times + lost, lost)]
            if isinstance(kind, np.ndarray)
            else _firsts(moments, middles, edges, width / times + lost, lost)
            for kind in kinds
        ]
        places = np.concatenate(pieces) + span[0]
        return Found(len(places), pieces=(places if index.rows is None else index.rows[places].astype(np.int64),))

    def _kinds(self, stored: Stored, index: KeyIndex, begin: int, end: int) -> list[Rows | None] | None:
        """Part the places of a span by the other columns, or leave them together; None: these have too many values."""
        if not self.each:
            return [None]
        read = stored.projection(self.each)
        rows = (
            pa.Table.from_batches(read.span(begin, end)) if index.rows is None else read.take_any(index.at(begin, end))
        )
        codes, many = np.zeros(end - begin, np.int64), 1
        for column in rows.columns:
            coded = (column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column).dictionary_encode(
                "encode"
            )
            many *= len(coded.dictionary)
            if many > KINDS:
                return None
            codes = codes * len(coded.dictionary) + coded.indices.to_numpy()
        small = codes.astype(np.uint8)
        return [places for code in range(many) if len(places := np.flatnonzero(small == code))]

    def describe(self) -> str:
        """See `Access.describe`."""
        return f"index of {self.column} (nearest to each step)"


def _firsts(moments: npt.NDArray[Any], middles: Numbers, edges: Numbers, alike: float, lost: float) -> Rows:
    """Return the places of the moments that may be nearest to the middle of their step."""

    def places(wanted: Numbers) -> Rows:
        whole = np.ceil(wanted).astype(np.int64) if moments.dtype.kind == "i" else wanted
        return np.searchsorted(moments, whole).astype(np.int64)

    outer, inner = places(edges - lost), places(edges + lost)
    begin, end = inner[:-1], np.maximum(outer[1:], inner[:-1])  # what is in the step for sure
    middle = np.clip(places(middles), begin, end)
    before = np.where(middle > begin, middles - moments[np.maximum(middle - 1, 0)], np.inf)
    behind = np.where(middle < end, moments[np.minimum(middle, len(moments) - 1)] - middles, np.inf)
    away = np.minimum(before, behind)
    sure = np.isfinite(away)
    away = np.where(sure, away, 0.0) + alike
    low = np.where(sure, np.maximum(places(middles - away), outer[:-1]), outer[:-1])
    high = np.where(sure, np.minimum(places(middles + away + lost), inner[1:]), inner[1:])
    return np.unique(spread(np.stack([low, np.maximum(low, high)], axis=1)))


def nearest(select: Select, free: frozenset[int]) -> tuple[int, Nearest] | None:
    """Find the pattern in a SELECT: which table reference is narrowed, and how."""
    source = select.source
    body = source.query.body if isinstance(source, Derived) else None
    if (
        not isinstance(source, Derived)
        or not isinstance(body, Select)
        or source.query.offset is not None
        or body.top is not None
        or body.distinct
        or body.group_by
    ):
        return None
    items = [item.expr if isinstance(item, SelectItem) else None for item in body.items]
    windows = {
        column.name: item for column, item in zip(source.columns, items, strict=True) if isinstance(item, Window)
    }
    for test in conjuncts(select.where):
        if isinstance(test, Compare) and test.op == "=" and isinstance(test.left, ColumnRef) and len(windows) == 1:
            window, one = windows.get(test.left.column.name if test.left.column else ""), constant(test.right, free)
            if test.left.source == source.number and window is not None and one is not None:
                return _pattern(body, window, one, free)
    return None


def _pattern(body: Select, window: Window, one: Constant, free: frozenset[int]) -> tuple[int, Nearest] | None:
    below, item = narrowable_of(body), body.source
    while isinstance(item, Derived) and (inside := transparent(item.query)) is not None:
        item = inside.source
    if not isinstance(item, TableRef) or item.table is None or item.cte or item.where is not None:
        return None
    order = window.order_by[0] if window.order_by else None
    if window.function.name != "ROW_NUMBER" or window.frame is not None or order is None or order.descending:
        return None
    columns = [below.column(part) for part in window.partition]
    each = tuple(column.column.name for column in columns if column is not None and column.column is not None)
    steps = [_made(part, below) for part, column in zip(window.partition, columns, strict=True) if column is None]
    match steps, _made(order.expr, below):
        case (
            [Function(name="CEILING", args=(Binary(op="-", left=made, right=cut),)) as step],
            Function(name="ROUND", args=(Binary(op="*", left=Function(name="ABS", args=(away,)), right=times),)),
        ):
            alike: list[tuple[Expr, Expr]] = [(away, Binary("-", made, step))]
        case _:
            return None
    parts: list[tuple[str, Constant]] = []
    while isinstance(made, Binary) and made.op in "*-" and (part := constant(made.right, free)) is not None:
        parts.append((made.op, part))
        made = made.left
    clock = isinstance(made, Function) and made.name == "IVO_TO_MJD"
    name = key_column(below, item.number, made.args[0] if isinstance(made, Function) and clock else made)
    edge, size = constant(cut, free), constant(times, free)
    if name is None or item.table.column(name).type.is_timestamp != clock or edge is None or size is None:
        return None
    spans = []
    for test, _ in below.conditions:
        if isinstance(test, Compare) and isinstance(test.left, Function) and constant(test.right, free) is not None:
            alike.append((test.left, step))  # it leaves steps out as a whole
        elif not (isinstance(test, IsNull) and test.negated and key_column(below, item.number, test.operand) == name):
            span = by_key(test, below, item.number, free)
            if not isinstance(span, KeySpan) or span.column != name:
                return None
            spans.append(span)
    if any(one != other for one, other in alike):
        return None
    slots = tuple(
        (first.slot, second.slot)
        for pair in alike
        for first, second in zip(
            *([node for node in walk(one) if isinstance(node, Literal)] for one in pair), strict=True
        )
        if {first.slot, second.slot} & free
    )
    return item.number, Nearest(name, each, tuple(reversed(parts)), (one, edge, size), tuple(spans), slots)


def _made(expr: Expr, below: Narrowable) -> Expr:
    """Follow a column to the expression that it is."""
    while isinstance(expr, ColumnRef) and expr.column is not None:
        inner = below.through.get((expr.source, expr.column.name))
        if inner is None:
            break
        expr = inner
    return expr


def own_rows(narrowable: Narrowable) -> list[tuple[int, int, str]]:
    """List references that a condition `key IN (SELECT key FROM the same table ..)` narrows to the rows that it reads: both numbers, and the key."""
    found = []
    for condition, leaves in narrowable.conditions:
        if not isinstance(condition, In) or condition.negated or not isinstance(condition.choices, Subquery):
            continue
        outer, below = narrowable.column(condition.operand), condition.choices.query.body
        select = below if isinstance(below, Select) else None
        inner = select.items[0].expr if select is not None and isinstance(select.items[0], SelectItem) else None
        while select is not None and isinstance(inner, ColumnRef) and isinstance(select.source, Derived):
            names = [column.name for column in select.source.columns]
            name = inner.column.name if inner.column is not None else ""
            body = select.source.query.body
            select = body if isinstance(body, Select) and name in names else None
            item = None if select is None else select.items[names.index(name)]
            inner = item.expr if isinstance(item, SelectItem) else None
        leaf = None if select is None else select.source
        if isinstance(leaf, TableRef) and leaf.table is not None and isinstance(inner, ColumnRef) and outer is not None:
            table = narrowable.leaves[outer.source].table
            name = inner.column.name if inner.column is not None else ""
            same = table is not None and table.qualified == leaf.table.qualified and not leaf.cte
            if same and outer.source in leaves and outer.column is not None and outer.column.name == name:
                found.append((outer.source, leaf.number, name))
    return found
