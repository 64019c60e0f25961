"""How many rows an answer will have, where that is known before it runs: whole tables, views of them, TOP and OFFSET."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql import tree
from hven.adql.grouping import has_local_aggregate
from hven.engines import Memory, Snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from hven.engines import Relation


def total(query: tree.Query, values: Sequence[Any], relations: Mapping[str, Relation], limit: int | None) -> int | None:
    """Count the rows of an answer from what is stored about its tables; None: only the query itself can tell.

    Parameters
    ----------
    values
        Of the literals, by slot.
    limit
        MAXREC in force.
    """
    rows = _query(query, values, relations)
    return rows if rows is None or limit is None else min(rows, limit)


def _query(query: tree.Query, values: Sequence[Any], relations: Mapping[str, Relation]) -> int | None:
    skipped = 0 if query.offset is None else _whole(query.offset, values)
    if skipped is None:
        return None
    if isinstance(query.body, tree.Query):
        rows = _query(query.body, values, relations)
        return None if rows is None else max(rows - skipped, 0)
    return _select(query.body, skipped, values, relations)


def _select(
    select: tree.Select | tree.SetOperation, skipped: int, values: Sequence[Any], relations: Mapping[str, Relation]
) -> int | None:
    if (
        isinstance(select, tree.SetOperation)
        or select.where is not None
        or select.group_by
        or select.having is not None
        or select.distinct
    ):
        return None
    if has_local_aggregate([item for item in select.items if isinstance(item, tree.SelectItem)]):
        return None
    rows = _source(select.source, values, relations)
    if rows is None:
        return None
    rows = max(rows - skipped, 0)  # OFFSET comes before TOP (ADQL 2.1 section 4.11)
    if select.top is None:
        return rows
    top = _whole(select.top, values)
    return None if top is None else min(rows, top)


def _source(item: tree.FromItem | None, values: Sequence[Any], relations: Mapping[str, Relation]) -> int | None:
    if isinstance(item, tree.Derived):
        return _query(item.query, values, relations)
    if not isinstance(item, tree.TableRef) or item.where is not None or item.cte or item.table is None:
        return None
    match relations.get(item.table.qualified):
        case Snapshot(rows=rows):
            return rows
        case Memory(rows=table):
            return int(table.num_rows)
    return None


def _whole(literal: tree.Literal, values: Sequence[Any]) -> int | None:
    value = values[literal.slot] if 0 <= literal.slot < len(values) else literal.value
    return int(value) if isinstance(value, int | float) else None
