"""Flatten a bound query: replace derived tables and names of WITH that choose rows and columns of one table.

``(SELECT lon, lat FROM t WHERE mag < 14) AS u`` becomes `t` with a condition, so that the indexes of `t` also serve
conditions on `u`. A name of WITH that is read once becomes a derived table; one that only chooses rows becomes a
derived table wherever it is read.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.adql.syntax_tree import (
    ColumnRef,
    CommonTableExpression,
    DerivedTable,
    ExistsPredicate,
    Expr,
    Join,
    Query,
    Select,
    SelectItem,
    Subquery,
    TableRef,
    join_conditions_with_and,
    transform_tree,
    walk_tree,
)
from hven.engines._query_analysis.narrowable_selects import find_ungrouped_select

if TYPE_CHECKING:
    from hven.adql.syntax_tree import BoundQuery

_POLICY_ROW_NUMBER = 0  # number of the table itself in `TableRef.where`


def flatten_query(bound_query: BoundQuery) -> BoundQuery:
    """Return the same query with fewer layers, or the same object if no layer can be removed.

    Parameters
    ----------
    bound_query
        A bound query.
    """
    if not bound_query.survey.has_any(DerivedTable, CommonTableExpression):
        return bound_query
    query = bound_query.query
    if not bound_query.volatile:
        query = _inline_common_tables(query)
    query = _merge_derived_tables(query)
    if query is bound_query.query:
        return bound_query
    return replace(bound_query, query=query)


def _inline_common_tables(query: Query) -> Query:
    """Inline the queries of WITH where their names are read, if that computes nothing twice."""
    if not query.ctes or any(isinstance(node, Query) and node.ctes and node is not query for node in walk_tree(query)):
        return query
    ctes = list(query.ctes)
    body = replace(query, ctes=())
    for cte_number in range(len(ctes) - 1, -1, -1):
        cte = ctes[cte_number]
        if cte.recursive:
            continue
        later_nodes = (body, *(later_cte.query for later_cte in ctes[cte_number + 1 :]))
        count = sum(_is_reference_to(node, cte) for node in walk_tree(later_nodes))
        if count > 1 and _match_simple_select(cte.query) is None:
            continue
        all_nodes = walk_tree((query, *later_nodes, cte.query))
        used_numbers = [node.number for node in all_nodes if isinstance(node, TableRef | DerivedTable)]
        inliner = _CommonTableInliner(cte, max(used_numbers, default=0) + 1)
        body = transform_tree(body, inliner.replace_node)
        for later_number in range(cte_number + 1, len(ctes)):
            later_cte = ctes[later_number]
            later_query = transform_tree(later_cte.query, inliner.replace_node)
            ctes[later_number] = replace(later_cte, query=later_query)
        del ctes[cte_number]
    if len(ctes) == len(query.ctes):
        return query
    return replace(body, ctes=tuple(ctes))


def _is_reference_to(node: Any, cte: CommonTableExpression) -> bool:
    return isinstance(node, TableRef) and node.cte and node.parts[-1] == cte.name


class _CommonTableInliner:
    """Replaces references to one query of WITH by copies of it, each with numbers of its own."""

    def __init__(self, cte: CommonTableExpression, next_number: int) -> None:
        self._cte = cte
        self._next_number = next_number
        self._is_used = False

    def replace_node(self, node: Any) -> Any:
        """Return the derived table for a reference to the query; return other nodes as they are."""
        if not _is_reference_to(node, self._cte):
            return node
        query = self._cte.query
        if self._is_used:
            query = self._copy_renumbered_query()
        self._is_used = True
        return DerivedTable(
            query,
            node.alias or self._cte.name,
            text_offset=node.text_offset,
            number=node.number,
            columns=node.table.columns,
        )

    def _copy_renumbered_query(self) -> Query:
        numbers: dict[int, int] = {}
        for node in walk_tree(self._cte.query):
            if isinstance(node, TableRef | DerivedTable):
                numbers[node.number] = self._next_number
                self._next_number += 1
        return _replace_table_numbers(self._cte.query, numbers)


def _replace_table_numbers(query: Query, numbers: dict[int, int]) -> Query:
    def change_node(node: Any) -> Any:
        if isinstance(node, ColumnRef) and node.source in numbers:
            return replace(node, source=numbers[node.source])
        if isinstance(node, TableRef):
            return replace(node, number=numbers[node.number])  # its own condition refers to table 0
        if isinstance(node, DerivedTable):
            return replace(node, number=numbers[node.number], query=transform_tree(node.query, change_node))
        return node

    return transform_tree(query, change_node)


def _match_simple_select(query: Query) -> tuple[TableRef, list[ColumnRef], Select] | None:
    """Match a query that chooses rows and columns of one stored table; return the table, the columns and the SELECT."""
    select = find_ungrouped_select(query)
    if select is None or not isinstance(select.source, TableRef) or select.source.cte or select.source.table is None:
        return None
    columns: list[ColumnRef] = []
    for item in select.items:
        column_ref = _match_plain_column(item, select.source.number)
        if column_ref is None:
            return None
        columns.append(column_ref)
    if any(isinstance(node, Subquery | ExistsPredicate) for node in walk_tree(select.where)):
        return None
    sources = {node.source for node in walk_tree(select.where) if isinstance(node, ColumnRef)}
    if sources <= {select.source.number}:
        return (select.source, columns, select)
    return None


def _match_plain_column(item: Any, table_number: int) -> ColumnRef | None:
    """Return the column that an item of a SELECT is, if it is one of the table with an unchanged type."""
    if not isinstance(item, SelectItem) or item.column is None:
        return None
    column_ref = item.expr
    if not isinstance(column_ref, ColumnRef) or column_ref.column is None or column_ref.source != table_number:
        return None
    has_same_type = column_ref.meta is None or column_ref.meta.type == item.column.type
    return column_ref if has_same_type else None


def _merge_derived_tables(query: Query) -> Query:
    """Replace derived tables that choose rows and columns of one table by that table."""
    if any(isinstance(node, Join) and (node.natural or node.using) for node in walk_tree(query)):
        return query  # the columns that such a join compares depend on those of its sides
    while True:
        replacement_tables: dict[int, TableRef] = {}
        columns: dict[tuple[int, str], ColumnRef] = {}
        for node in walk_tree(query):
            if not isinstance(node, DerivedTable):
                continue
            simple_select = _match_simple_select(node.query)
            if simple_select is None:
                continue
            table, inner_columns, select = simple_select
            column_pairs = list(zip(node.columns, inner_columns, strict=True))
            if any(ref.meta is not None and outer.type != ref.meta.type for outer, ref in column_pairs):
                continue
            where = join_conditions_with_and(table.where, _convert_to_policy_condition(select.where, table.number))
            replacement_tables[node.number] = replace(table, alias=node.alias, where=where)
            for outer, column_ref in column_pairs:
                columns[node.number, outer.name] = column_ref
        if not replacement_tables:
            return query
        query = transform_tree(query, _DerivedTableMerger(replacement_tables, columns).replace_node)


class _DerivedTableMerger:
    """Replaces derived tables by stored tables, and their columns by stored columns."""

    def __init__(self, tables: dict[int, TableRef], columns: dict[tuple[int, str], ColumnRef]) -> None:
        self._tables = tables
        self._columns = columns

    def replace_node(self, node: Any) -> Any:
        """Return the node that replaces this one."""
        if isinstance(node, DerivedTable) and node.number in self._tables:
            return self._tables[node.number]
        if isinstance(node, ColumnRef) and node.column is not None:
            inner = self._columns.get((node.source, node.column.name))
            if inner is not None:
                return replace(node, source=inner.source, column=inner.column, name=inner.name)
        return node


def _convert_to_policy_condition(condition: Expr | None, table_number: int) -> Expr | None:
    """Return a condition on a table in the form of `TableRef.where`, over the columns of table 0."""

    def change_node(node: Any) -> Any:
        if isinstance(node, ColumnRef) and node.source == table_number:
            return replace(node, source=_POLICY_ROW_NUMBER)
        return node

    if condition is None:
        return None
    return transform_tree(condition, change_node)
