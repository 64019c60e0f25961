"""Execute queries over a view or a union without DuckDB.

Each of its tables has an index that narrows it, and Arrow puts their few rows together (`arrow_queries`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hven.adql.syntax_tree import (
    ColumnRef,
    DerivedTable,
    Query,
    Select,
    SelectItem,
    SetOperation,
    split_left_deep_chain,
)
from hven.adql.value_kinds import require_meta
from hven.engines import Snapshot
from hven.engines._query_analysis.narrowable_selects import find_ungrouped_select
from hven.engines.duckdb import arrow_queries as arrow
from hven.engines.duckdb.arrow_values import MAX_COMPUTED_ROWS, UnsupportedByArrowError
from hven.model.types import FLOAT64

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import ExecutionLimits, Relation
    from hven.engines.duckdb.arrow_queries import ArrowQuery
    from hven.engines.duckdb.engine_protocol import DuckEngineProtocol
    from hven.engines.duckdb.index_accesses import IndexAccess
    from hven.engines.duckdb.snapshot_files import OpenSnapshot, Rows
    from hven.model.types import ColumnType

    Values = Sequence[float | str | None]
    Member = tuple[ArrowQuery, IndexAccess]


def match_union_query(
    bound_query: BoundQuery, index_accesses: Mapping[int, IndexAccess], schema: pa.Schema
) -> tuple[Member, ...]:
    """Match a query that chooses columns of a view whose conditions are in its members.

    Parameters
    ----------
    bound_query
        The query.
    index_accesses
        The index access of each table reference that has one, by its number.
    schema
        The columns of the answer.

    Returns
    -------
    members
        A query and an index access for each member; empty if DuckDB must execute the query.
    """
    query = bound_query.query
    while isinstance(query.body, Query) and not (query.order_by or query.offset or query.ctes):
        query = query.body
    select = query.body
    if not isinstance(select, Select) or not isinstance(select.source, DerivedTable):
        return ()
    view = select.source
    unlimited_select = find_ungrouped_select(replace(query, body=replace(select, top=None)))
    if unlimited_select is None or unlimited_select.where is not None:
        return ()
    if view.query.order_by or view.query.offset or view.query.ctes:
        return ()
    first_body, links = split_left_deep_chain(
        view.query.body, SetOperation, lambda link: link.op == "UNION" and link.all
    )
    members = []
    for body in (first_body, *(link.right for link in links)):
        member_select = _rewrite_over_member(select, view, body if isinstance(body, Query) else Query(body))
        if member_select is None:
            return ()
        member_query = replace(bound_query, query=Query(member_select))
        arrow_query = arrow.match_arrow_query(member_query, schema)
        access = None
        if arrow_query is not None:
            access = index_accesses.get(arrow_query.table_ref.number)
        if arrow_query is None or access is None:
            return ()
        members.append((arrow_query, access))
    return tuple(members)


def _rewrite_over_member(select: Select, view: DerivedTable, member: Query) -> Select | None:
    """Rewrite a selection from a view as a selection from one of its members.

    Return None if that needs casts, or if the member does more than choose and compute rows of a table.
    """
    inner = find_ungrouped_select(member)
    if inner is None:
        return None
    member_columns = {}
    for column, item in zip(view.columns, inner.items, strict=True):
        if isinstance(item, SelectItem):
            member_columns[column.name] = (column, item.expr)
    items = []
    for item in select.items:
        if not isinstance(item, SelectItem) or not isinstance(item.expr, ColumnRef) or item.column is None:
            return None
        column_ref = item.expr
        if column_ref.column is None or column_ref.column.name not in member_columns:
            return None
        column, member_expression = member_columns[column_ref.column.name]
        member_meta = require_meta(member_expression)
        if not member_meta.constant and not _is_contained_type(member_meta.type, column.type):
            return None
        if not _is_contained_type(column.type, item.column.type):
            return None
        items.append(replace(item, expr=member_expression))
    return replace(select, items=tuple(items), source=inner.source, where=inner.where)


def _is_contained_type(inner_type: ColumnType, outer_type: ColumnType) -> bool:
    """Return whether every value of the inner type is one of the outer type, which may be a wider number."""
    if inner_type.arrow == outer_type.arrow:
        return True
    if not inner_type.is_numeric or not outer_type.is_numeric:
        return False
    is_same_kind = inner_type.is_integer == outer_type.is_integer
    return inner_type.scalar_type.rank <= outer_type.scalar_type.rank and (is_same_kind or outer_type == FLOAT64)


def answer_union_from_indexes(
    members: Sequence[Member],
    engine: DuckEngineProtocol,
    literal_values: Values,
    relations: Mapping[str, Relation],
    limits: ExecutionLimits,
) -> list[pa.RecordBatch] | None:
    """Answer a query if the indexes give few rows of all its members together.

    Parameters
    ----------
    members
        As `match_union_query` returns them.
    engine
        Opens snapshots.
    literal_values, relations, limits
        As of `hven.engines.QueryPlan.execute`.

    Returns
    -------
    batches
        All rows, at most one more than the limit; None if DuckDB must execute the query.
    """
    candidates_by_member: list[tuple[ArrowQuery, OpenSnapshot, Rows]] = []
    remaining_rows = MAX_COMPUTED_ROWS
    for arrow_query, access in members:
        table = arrow_query.table_ref.table
        relation = None
        if table is not None:
            relation = relations.get(table.qualified_name)
        if not isinstance(relation, Snapshot):
            return None
        stored = engine.open_snapshot(relation)
        row_limit = min(stored.max_candidate_rows, remaining_rows)
        candidates = access.find_candidate_rows(stored, literal_values, row_limit)
        if candidates is None:
            return None
        remaining_rows -= candidates.count
        candidates_by_member.append((arrow_query, stored, candidates.list_row_numbers()))
    try:
        return list(_iterate_member_batches(candidates_by_member, literal_values, limits))
    except UnsupportedByArrowError:
        return None


def _iterate_member_batches(
    candidates_by_member: Sequence[tuple[ArrowQuery, OpenSnapshot, Rows]],
    literal_values: Values,
    limits: ExecutionLimits,
) -> Iterator[pa.RecordBatch]:
    row_limit = None
    if limits.row_limit is not None:
        row_limit = limits.row_limit + 1
    first_query = candidates_by_member[0][0]
    _, remaining_rows = first_query.compute_row_range(literal_values, row_limit)
    for arrow_query, stored, rows in candidates_by_member:
        if limits.deadline is not None:
            limits.deadline.check()
        for batch in arrow_query.answer_from_candidates(stored, rows, literal_values, remaining_rows):
            yield batch
            if remaining_rows is not None:
                remaining_rows -= batch.num_rows
        if remaining_rows is not None and remaining_rows <= 0:
            return
