"""Pages of rows: from anywhere in a table of millions, in any order, the end as quickly as the beginning."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql import tree
from hven.model.errors import HvenError, Timeout
from hven.portal._explore.fields import paired
from hven.portal._explore.search import EVERY, INSIDE, NEAR, WORDS, ref

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from hven.model.table import Column
    from hven.portal._explore.page_queries import Asking
    from hven.portal._explore.search import Search

MOST = 1000  # rows of a page
LONGEST = 10_000  # characters of a key
MOST_PLACES = 5_000_000  # rows among which the place of one is looked for
MOST_LEFT_OUT = 12  # conditions that are left out one by one
PATIENCE = 1.0  # seconds that counting may take before a page goes without


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many rows a search finds; `exact` is False for an estimate, and `rows` None if nobody could count in time."""

    rows: int | None
    exact: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some rows of a search.

    Attributes
    ----------
    columns
        What is shown, in order; `rows` has the same.
    keys
        Primary key of each row as JSON text, to name it in an address; empty texts if the table has none.
    """

    columns: tuple[Column, ...]
    rows: pa.Table
    keys: tuple[str, ...]
    offset: int
    more: bool


def count(search: Search, asking: Asking, *, seconds: float = PATIENCE) -> Count:
    """Count what a search finds.

    A table without conditions is counted by what is known of it, unless a policy hides rows from this reader.
    """
    if search.where() is None and not asking.hides(search.table):
        known = asking.published(search.table).rows
        if known is not None:
            return Count(rows=known)
    try:
        return Count(rows=asking.number(search.count(), seconds=seconds))
    except Timeout:
        return Count(rows=None, exact=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Easier:
    """A search without one of its conditions, or without all those that no row meets: `rows` is how many it finds.

    `left` names what was left out, each with the least and the greatest of the numbers or times that it is on, as two rows of a page; None:
    it is on none, or nobody could say in time.
    """

    left: Mapping[str, Page | None]
    search: Search
    rows: int


def without(
    search: Search, asking: Asking, *, seconds: float = PATIENCE, line: Callable[[Search], Search] = lambda one: one
) -> list[Easier]:
    """Count what a search would find without each of its conditions; what finds nothing, or takes too long, is left out.

    Where none of them helps alone, those that no row meets, whatever else is asked, are left out together.

    Parameters
    ----------
    line
        Makes of a search that of the lines which are counted.
    """
    own: dict[str, dict[str, object]] = {
        WORDS: {"words": ""},
        NEAR: {"near": None},
        INSIDE: {"inside": ""},
        EVERY: {"every": None},
    }
    others = [name for name, change in own.items() if any(getattr(search, key) for key in change)]
    asked = [*(name for name, _ in search.conditions), *others][:MOST_LEFT_OUT]
    until = time.monotonic() + seconds

    def less(names: Collection[str]) -> Search:
        changes = {key: value for name in names for key, value in own.get(name, {}).items()}
        return _less(search, names).having(**changes)

    def rows(one: Search) -> int | None:
        left = until - time.monotonic()
        return count(line(one), asking, seconds=left).rows if left > 0 else None

    def easier(names: Sequence[str]) -> Easier | None:
        one = less(names)
        found = rows(one)
        left = {name: _ends(one, name, asking, until - time.monotonic()) for name in names} if found else {}
        return Easier(left=left, search=one, rows=found) if found else None

    found = [one for name in asked if (one := easier([name])) is not None]
    if not found and len(asked) > 1:
        met_by_none = [name for name in asked if rows(less([one for one in asked if one != name])) == 0]
        together = easier(met_by_none) if len(met_by_none) > 1 else None
        found = [together] if together is not None else []
    return sorted(found, key=lambda each: each.rows)


def _ends(search: Search, name: str, asking: Asking, seconds: float) -> Page | None:
    """Ask for the least and the greatest value of what a condition is on."""
    kinds = [(column, column.type) for column in search.table.columns if not column.hidden]
    shown = [column for column, kind in kinds if (kind.is_numeric or kind.is_timestamp) and not kind.is_array]
    own = next(((column, column) for column in shown if column.name == name), None)
    found = own or next(((low, high) for stem, low, high in paired(shown) if stem == name.lower()), None)
    if found is None or seconds <= 0:
        return None
    low, high = found
    items = (
        tree.SelectItem(tree.Function("MIN", (ref(low.name),)), tree.Ident("low")),
        tree.SelectItem(tree.Function("MAX", (ref(high.name),)), tree.Ident("high")),
    )
    try:
        answer = asking.table(tree.Query(tree.Select(items, search.source(), where=search.where())), seconds=seconds)
    except HvenError:
        return None
    values = pa.concat_arrays([answer.column(at).combine_chunks().cast(low.type.arrow) for at in (0, 1)])
    if values.null_count:
        return None
    return Page(columns=(low,), rows=pa.table({low.name: values}), keys=("", ""), offset=0, more=False)


def _less(search: Search, names: Collection[str]) -> Search:
    kept = [(one, test) for one, test in zip(search.conditions, search.tests, strict=True) if one[0] not in names]
    return search.having(conditions=tuple(one for one, _ in kept), tests=tuple(test for _, test in kept))


def page(search: Search, asking: Asking, *, offset: int = 0, limit: int = 100, total: int | None = None) -> Page:
    """Read the rows ``offset .. offset + limit`` of a search.

    Parameters
    ----------
    total
        How many there are, if that is known: rows behind the middle of a table that is sorted by columns without nulls are then asked from its end.
    """
    limit = min(limit, MOST)
    shown = search.shown()
    primary = search.table.primary
    names = list(dict.fromkeys([*(column.name for column in shown), *primary]))
    order = _order(search)
    asked = search.having(order=order)
    backwards = (
        bool(order)
        and total is not None
        and offset > total // 2
        and _mirrored(search, asking, [name for name, _ in order])
    )
    if backwards and total is not None:
        begin, size = max(total - offset - limit, 0), min(limit, total - offset)
        turned = replace(asked, order=tuple((name, not down) for name, down in order))
        rows = asking.table(turned.query(columns=names, limit=max(size, 0), offset=begin))
        rows = rows.take(pa.array(range(rows.num_rows - 1, -1, -1), pa.int64()))
        more = offset + rows.num_rows < total
    else:
        rows = asking.table(asked.query(columns=names, limit=limit + 1, offset=offset or None))
        more = rows.num_rows > limit
        rows = rows.slice(0, limit)
    return Page(
        columns=shown,
        rows=rows.select([column.name for column in shown]),
        keys=keys_of(rows, primary),
        offset=offset,
        more=more,
    )


def one(search: Search, asking: Asking, key: str) -> Page:
    """Read one row, all of its columns, by its key as `Page.keys` writes it; no row if there is none of that key."""
    columns = tuple(column for column in search.table.columns if not column.hidden)
    test = key_is(search, key)
    items = tuple(tree.SelectItem(ref(column.name)) for column in columns)
    where = test if test is not None else tree.Compare("=", tree.Literal(1), tree.Literal(0))
    rows = asking.table(tree.Query(tree.Select(items, search.source(), where=where, top=tree.Literal(1))))
    return Page(columns=columns, rows=rows, keys=(key,) * rows.num_rows, offset=0, more=False)


def place(search: Search, asking: Asking, key: str) -> int | None:
    """Find at which place of a search a row stands, from 0; None: it is not among its rows, or nobody could say in time.

    Keys alone are read, in the order in which pages have them.
    """
    primary = search.table.primary
    if key_is(search, key) is None:
        return None
    total = count(search, asking).rows
    if total is None or total > MOST_PLACES:
        return None
    try:
        keys = asking.table(
            search.having(order=_order(search)).query(columns=list(primary)), most=MOST_PLACES, seconds=PATIENCE
        )
    except Timeout:
        return None
    here: pa.ChunkedArray | None = None
    for name, value in zip(primary, json.loads(key), strict=True):
        column = keys.column(name)
        same = (
            pc.equal(column if pa.types.is_string(column.type) else column.cast(pa.string()), str(value))
            if isinstance(value, str)
            else pc.equal(column, value)
        )
        here = same if here is None else pc.and_(here, same)
    at = int(pc.index(here, True).as_py())
    return at if at >= 0 else None


def behind(search: Search, asking: Asking, key: str, offset: int) -> int:
    """Return where the rows behind a row begin, by its key; `offset` if it is gone, or nobody can say."""
    at = place(search, asking, key) if key else None
    return offset if at is None else at + 1


def _order(search: Search) -> tuple[tuple[str, bool], ...]:
    """Return the whole order of a search: rows that compare equal come in the order of their keys, else a row might stand on two pages, and another on none."""
    asked = tuple(search.order)
    return asked and (
        *asked,
        *((name, False) for name in search.table.primary if name not in {one for one, _ in asked}),
    )


def key_is(search: Search, key: str) -> tree.Expr | None:
    """Return the condition that a row has this key; None: it is no key of this table."""
    primary = search.table.primary
    try:
        values = orjson.loads(key) if len(key) <= LONGEST else None
    except ValueError:
        return None
    if not primary or not isinstance(values, list) or len(values) != len(primary):
        return None
    tests: list[tree.Expr] = []
    for name, value in zip(primary, values, strict=True):
        kind = search.table.column(name).type
        if kind.is_numeric and (isinstance(value, bool) or not isinstance(value, int | float)):
            return None
        if not kind.is_numeric and not isinstance(value, str):
            return None
        tests.append(tree.Compare("=", ref(name), tree.Literal(value)))
    return tree.conjunction(*tests)


def _mirrored(search: Search, asking: Asking, names: list[str]) -> bool:
    """Return whether the opposite order is the same one read from its end: nulls come last in both."""
    known = asking.published(search.table).statistics
    return all(known.get(name, {}).get("nulls") == 0 for name in names)


def keys_of(rows: pa.Table, primary: tuple[str, ...]) -> tuple[str, ...]:
    """Write the keys of rows as JSON text, to name them in an address; empty texts if the table has none."""
    if not primary:
        return ("",) * int(rows.num_rows)
    values: list[list[object]] = [rows.column(name).to_pylist() for name in primary]
    keys = [
        json.dumps(list(each), ensure_ascii=False, separators=(",", ":"), default=str)
        for each in zip(*values, strict=True)
    ]
    return tuple(keys)
