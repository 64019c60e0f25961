"""Queries over a view or a union that need no DuckDB: each of its tables is asked by an index of its own, and its few rows are put together (`direct`)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hven.adql.kinds import meta
from hven.adql.tree import ColumnRef, Derived, Query, Select, SelectItem, SetOperation, chain
from hven.engines import Snapshot
from hven.engines._bound.narrowable import transparent
from hven.engines.duckdb import direct as arrow
from hven.engines.duckdb.candidates import most
from hven.engines.duckdb.composed import MOST, NotDirect
from hven.model.types import FLOAT64

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from hven.adql.tree import Bound
    from hven.engines import Limits, Relation
    from hven.engines.duckdb.accesses import Access
    from hven.engines.duckdb.direct import Direct
    from hven.engines.duckdb.layout import Rows, Stored
    from hven.engines.duckdb.machine import Machine
    from hven.model.types import Type

    Values = Sequence[float | str | None]
    Member = tuple[Direct, Access]


def united(bound: Bound, accesses: Mapping[int, Access], schema: pa.Schema) -> tuple[Member, ...]:
    """Recognise a query that chooses columns of a view whose conditions stand in its members.

    Parameters
    ----------
    bound
        The query.
    accesses
        The index of each table reference that has one, by its number.
    schema
        Of the answer.

    Returns
    -------
    members
        A query and an index for each; none: it is for DuckDB.
    """
    query = bound.query
    while isinstance(query.body, Query) and not (query.order_by or query.offset or query.ctes):
        query = query.body
    if not isinstance(query.body, Select) or not isinstance(query.body.source, Derived):
        return ()
    select = transparent(replace(query, body=replace(query.body, top=None)))
    view = query.body.source
    if select is None or select.where is not None or view.query.order_by or view.query.offset or view.query.ctes:
        return ()
    first, links = chain(view.query.body, SetOperation, lambda one: one.op == "UNION" and one.all)
    found = []
    for body in (first, *(link.right for link in links)):
        inner = transparent(body if isinstance(body, Query) else Query(body))
        made = None if inner is None else _over(query.body, view, inner)
        one = None if made is None else arrow.recognise(replace(bound, query=Query(made)), schema)
        access = None if one is None else accesses.get(one.leaf.number)
        if one is None or access is None:
            return ()
        found.append((one, access))
    return tuple(found)


def _over(select: Select, view: Derived, inner: Select) -> Select | None:
    """Write what is chosen of a view as what is chosen of one of its members; None: not as it stands."""
    known = {
        column.name: (column, item.expr)
        for column, item in zip(view.columns, inner.items, strict=True)
        if isinstance(item, SelectItem)
    }
    items = []
    for item in select.items:
        named = item.expr if isinstance(item, SelectItem) and isinstance(item.expr, ColumnRef) else None
        if not isinstance(item, SelectItem) or named is None or named.column is None or named.column.name not in known:
            return None
        column, made = known[named.column.name]
        same = meta(made).constant or _alike(meta(made).type, column.type)
        if item.column is None or not same or not _alike(column.type, item.column.type):
            return None
        items.append(replace(item, expr=made))
    return replace(select, items=tuple(items), source=inner.source, where=inner.where)


def _alike(one: Type, other: Type) -> bool:
    """Return whether values of a type are those of another one, which may be a wider number."""
    if one.arrow == other.arrow:
        return True
    if not (one.is_numeric and other.is_numeric):
        return False
    return one.scalar.rank <= other.scalar.rank and (one.is_integer == other.is_integer or other == FLOAT64)


def few(
    members: Sequence[Member], engine: Machine, values: Values, relations: Mapping[str, Relation], limits: Limits
) -> list[pa.RecordBatch] | None:
    """Answer, if the indexes give few rows of all members together.

    Parameters
    ----------
    members
        As `united` gives them.
    engine
        Opens snapshots.
    values, relations, limits
        As of `hven.engines.Plan.execute`.

    Returns
    -------
    batches
        All rows, one more than the limit at most; None: it is for DuckDB.
    """
    looked: list[tuple[Direct, Stored, Rows]] = []
    left = MOST
    for one, access in members:
        relation = relations.get(one.leaf.table.qualified) if one.leaf.table is not None else None
        if not isinstance(relation, Snapshot):
            return None
        stored = engine.stored(relation)
        found = access.look_up(stored, values, min(most(stored), left))
        if found is None:
            return None
        left -= found.count
        looked.append((one, stored, found.rows()))
    try:
        return list(_taken(looked, values, limits))
    except NotDirect:
        return None


def _taken(looked: Sequence[tuple[Direct, Stored, Rows]], values: Values, limits: Limits) -> Iterator[pa.RecordBatch]:  # fmt: skip
    wanted = looked[0][0].window(values, None if limits.rows is None else limits.rows + 1)[1]
    for one, stored, rows in looked:
        if limits.clock is not None:
            limits.clock.check()
        for batch in one.some(stored, rows, values, wanted):
            yield batch
            wanted = None if wanted is None else wanted - batch.num_rows
        if wanted is not None and wanted <= 0:
            return
