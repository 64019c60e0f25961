"""The number of rows of an answer, if it is known before the query runs: for whole tables, views, TOP and OFFSET."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql import syntax_tree
from hven.adql.grouping import has_aggregate_item
from hven.engines import MemoryRelation, Snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from hven.engines import Relation


def derive_answer_row_count(
    query: syntax_tree.Query, literal_values: Sequence[Any], relations: Mapping[str, Relation], row_limit: int | None
) -> int | None:
    """Count the rows of an answer from the row counts of its tables; return None if only the query itself can tell.

    Parameters
    ----------
    query
        The bound query.
    literal_values
        Values of the literals, by slot.
    relations
        Qualified table name -> relation.
    row_limit
        MAXREC in force; None: no limit.
    """
    rows = _derive_query_row_count(query, literal_values, relations)
    if rows is None or row_limit is None:
        return rows
    return min(rows, row_limit)


def _derive_query_row_count(
    query: syntax_tree.Query, literal_values: Sequence[Any], relations: Mapping[str, Relation]
) -> int | None:
    offset_rows = 0 if query.offset is None else _evaluate_integer_literal(query.offset, literal_values)
    if offset_rows is None:
        return None
    if isinstance(query.body, syntax_tree.Query):
        rows = _derive_query_row_count(query.body, literal_values, relations)
        if rows is None:
            return None
        return max(rows - offset_rows, 0)
    return _derive_select_row_count(query.body, offset_rows, literal_values, relations)


def _derive_select_row_count(
    select: syntax_tree.Select | syntax_tree.SetOperation,
    offset_rows: int,
    literal_values: Sequence[Any],
    relations: Mapping[str, Relation],
) -> int | None:
    if (
        isinstance(select, syntax_tree.SetOperation)
        or select.where is not None
        or select.group_by
        or select.having is not None
        or select.distinct
    ):
        return None
    if has_aggregate_item([item for item in select.items if isinstance(item, syntax_tree.SelectItem)]):
        return None
    rows = _derive_source_row_count(select.source, literal_values, relations)
    if rows is None:
        return None
    rows = max(rows - offset_rows, 0)  # OFFSET comes before TOP (ADQL 2.1 section 4.11)
    if select.top is None:
        return rows
    top = _evaluate_integer_literal(select.top, literal_values)
    if top is None:
        return None
    return min(rows, top)


def _derive_source_row_count(
    item: syntax_tree.FromItem | None, literal_values: Sequence[Any], relations: Mapping[str, Relation]
) -> int | None:
    if isinstance(item, syntax_tree.DerivedTable):
        return _derive_query_row_count(item.query, literal_values, relations)
    if not isinstance(item, syntax_tree.TableRef) or item.where is not None or item.cte or item.table is None:
        return None
    match relations.get(item.table.qualified_name):
        case Snapshot(rows=rows):
            return rows
        case MemoryRelation(rows=table):
            return int(table.num_rows)
    return None


def _evaluate_integer_literal(literal: syntax_tree.Literal, literal_values: Sequence[Any]) -> int | None:
    if 0 <= literal.slot < len(literal_values):
        value = literal_values[literal.slot]
    else:
        value = literal.value
    if isinstance(value, int | float):
        return int(value)
    return None
