"""Queries over a view or a union that need no DuckDB.

Each of its tables is asked by an index of its own, and its few rows are put together (`direct`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hven.adql.syntax_tree import ColumnRef, DerivedTable, Query, Select, SelectItem, SetOperation, split_chain
from hven.adql.value_kinds import require_meta
from hven.engines import Snapshot
from hven.engines._query_analysis.narrowable_selects import find_row_select
from hven.engines.duckdb import arrow_queries as arrow
from hven.engines.duckdb.arrow_values import MAX_COMPUTED_ROWS, UnsupportedByArrowError
from hven.engines.duckdb.candidate_search import compute_candidate_limit
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
    from hven.model.types import Type

    Values = Sequence[float | str | None]
    Member = tuple[ArrowQuery, IndexAccess]


def match_union_members(
    bound_query: BoundQuery, index_accesses: Mapping[int, IndexAccess], schema: pa.Schema
) -> tuple[Member, ...]:
    """Recognise a query that chooses columns of a view whose conditions stand in its members.

    Parameters
    ----------
    bound_query
        The query.
    index_accesses
        The index of each table reference that has one, by its number.
    schema
        Of the answer.

    Returns
    -------
    members
        A query and an index for each; none: it is for DuckDB.
    """
    query = bound_query.query
    while isinstance(query.body, Query) and not (query.order_by or query.offset or query.ctes):
        query = query.body
    if not isinstance(query.body, Select) or not isinstance(query.body.source, DerivedTable):
        return ()
    select = find_row_select(replace(query, body=replace(query.body, top=None)))
    view = query.body.source
    if select is None or select.where is not None or view.query.order_by or view.query.offset or view.query.ctes:
        return ()
    first_body, links = split_chain(
        view.query.body, SetOperation, lambda arrow_query: arrow_query.op == "UNION" and arrow_query.all
    )
    members = []
    for body in (first_body, *(link.right for link in links)):
        inner = find_row_select(body if isinstance(body, Query) else Query(body))
        if inner is None:
            member_select = None
        else:
            member_select = _rewrite_over_member(query.body, view, inner)
        if member_select is None:
            arrow_query = None
        else:
            arrow_query = arrow.match_arrow_query(replace(bound_query, query=Query(member_select)), schema)
        if arrow_query is None:
            access = None
        else:
            access = index_accesses.get(arrow_query.table_ref.number)
        if arrow_query is None or access is None:
            return ()
        members.append((arrow_query, access))
    return tuple(members)


def _rewrite_over_member(select: Select, view: DerivedTable, inner: Select) -> Select | None:
    """Write what is chosen of a view as what is chosen of one of its members; None: not as it stands."""
    member_columns = {
        column.name: (column, item.expr)
        for column, item in zip(view.columns, inner.items, strict=True)
        if isinstance(item, SelectItem)
    }
    items = []
    for item in select.items:
        if isinstance(item, SelectItem) and isinstance(item.expr, ColumnRef):
            column_ref = item.expr
        else:
            column_ref = None
        if (
            not isinstance(item, SelectItem)
            or column_ref is None
            or column_ref.column is None
            or column_ref.column.name not in member_columns
        ):
            return None
        column, member_expression = member_columns[column_ref.column.name]
        is_same_type = require_meta(member_expression).constant or _is_contained_type(
            require_meta(member_expression).type, column.type
        )
        if item.column is None or not is_same_type or not _is_contained_type(column.type, item.column.type):
            return None
        items.append(replace(item, expr=member_expression))
    return replace(select, items=tuple(items), source=inner.source, where=inner.where)


def _is_contained_type(inner_type: Type, outer_type: Type) -> bool:
    """Return whether values of a type are those of another one, which may be a wider number."""
    if inner_type.arrow == outer_type.arrow:
        return True
    if not (inner_type.is_numeric and outer_type.is_numeric):
        return False
    return inner_type.scalar.rank <= outer_type.scalar.rank and (
        inner_type.is_integer == outer_type.is_integer or outer_type == FLOAT64
    )


def answer_from_indexes(
    members: Sequence[Member],
    engine: DuckEngineProtocol,
    literal_values: Values,
    relations: Mapping[str, Relation],
    limits: ExecutionLimits,
) -> list[pa.RecordBatch] | None:
    """Answer, if the indexes give few rows of all members together.

    Parameters
    ----------
    members
        As `match_union_members` gives them.
    engine
        Opens snapshots.
    literal_values, relations, limits
        As of `hven.engines.QueryPlan.execute`.

    Returns
    -------
    batches
        All rows, one more than the limit at most; None: it is for DuckDB.
    """
    candidates_by_member: list[tuple[ArrowQuery, OpenSnapshot, Rows]] = []
    remaining_rows = MAX_COMPUTED_ROWS
    for arrow_query, access in members:
        if arrow_query.table_ref.table is not None:
            relation = relations.get(arrow_query.table_ref.table.qualified_name)
        else:
            relation = None
        if not isinstance(relation, Snapshot):
            return None
        stored = engine.open_snapshot(relation)
        candidates = access.find_candidates(
            stored, literal_values, min(compute_candidate_limit(stored), remaining_rows)
        )
        if candidates is None:
            return None
        remaining_rows -= candidates.count
        candidates_by_member.append((arrow_query, stored, candidates.list_rows()))
    try:
        return list(_iterate_member_batches(candidates_by_member, literal_values, limits))
    except UnsupportedByArrowError:
        return None


def _iterate_member_batches(
    candidates_by_member: Sequence[tuple[ArrowQuery, OpenSnapshot, Rows]],
    literal_values: Values,
    limits: ExecutionLimits,
) -> Iterator[pa.RecordBatch]:
    window = candidates_by_member[0][0].compute_window(
        literal_values, None if limits.row_limit is None else limits.row_limit + 1
    )
    remaining_rows = window[1]
    for arrow_query, stored, rows in candidates_by_member:
        if limits.deadline is not None:
            limits.deadline.check()
        for batch in arrow_query.answer_from_candidates(stored, rows, literal_values, remaining_rows):
            yield batch
            if remaining_rows is None:
                remaining_rows = None
            else:
                remaining_rows = remaining_rows - batch.num_rows
        if remaining_rows is not None and remaining_rows <= 0:
            return
