"""Advise on the indexes that would help a query."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.adql import quote_adql_name
from hven.adql.syntax_tree import BetweenPredicate, ColumnRef, Comparison, Expr, InPredicate
from hven.engines import LiveRelation, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.adql.syntax_tree import BoundQuery
    from hven.engines import Relation

MIN_INDEXED_ROWS = 10_000  # of a smaller table, all rows are read in a millisecond


def list_index_advice(bound_query: BoundQuery, relations: Mapping[str, Relation]) -> list[str]:
    """List the indexes that the conditions of a query could use, and that do not exist.

    A table gets no advice if a condition on it can use an index already.

    Parameters
    ----------
    bound_query
        The query.
    relations
        The relations of its tables, by qualified name.
    """
    columns_by_item: dict[int, dict[str, None]] = {}
    for column in _iterate_compared_columns(bound_query):
        columns_by_item.setdefault(column.source, {})[column.column_name] = None
    advice: dict[str, None] = {}
    for item in bound_query.survey.table_refs:
        columns = columns_by_item.get(item.number)
        if item.table is None or columns is None or not item.table.indexed_column_names.isdisjoint(columns):
            continue
        relation = relations.get(item.table.qualified_name)
        names = ", ".join(columns)
        if isinstance(relation, LiveRelation):
            source_names = [relation.copied_columns.get(name) for name in columns]
            quoted_names = ", ".join(quote_adql_name(name) for name in source_names if name is not None)
            if quoted_names:
                statement = f"CREATE INDEX ON {relation.table} ({quoted_names})"
                advice[f"{item.table.qualified_name}: no index of {names}; in its database: {statement}"] = None
        elif isinstance(relation, Snapshot) and relation.rows >= MIN_INDEXED_ROWS:
            advice[
                f"{item.table.qualified_name}: no index of {names}; in the descriptor, write `indexed: true` in the "
                f"column that excludes most rows, and run `hven ingest {item.table.schema}`"
            ] = None
    return list(advice)


def _iterate_compared_columns(bound_query: BoundQuery) -> Iterator[ColumnRef]:
    """Yield the columns that are compared with values: an index can find the rows of such a condition."""
    nodes = bound_query.survey.nodes_by_class
    for comparison in nodes.get(Comparison, ()):
        if comparison.op != "<>":
            sides: tuple[Expr, Expr] = (comparison.left, comparison.right)
            columns = [side for side in sides if isinstance(side, ColumnRef)]
            if len(columns) == 1:
                yield columns[0]
    for predicate in (*nodes.get(BetweenPredicate, ()), *nodes.get(InPredicate, ())):
        if isinstance(predicate.operand, ColumnRef) and not predicate.negated:
            yield predicate.operand
