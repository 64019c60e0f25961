"""A bound query with its layers taken off.

Derived tables and names of WITH that only choose rows and columns of one table become that table.

``(SELECT lon, lat FROM t WHERE mag < 14) AS u`` is `t` with a condition: what an index knows of `t` then serves those
who read `u`, too. A name of WITH that is read once is the derived table that it stands for; one that only chooses rows
is put wherever it is read.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.adql.syntax_tree import (
    ColumnRef,
    CommonTable,
    DerivedTable,
    ExistsPredicate,
    Expr,
    Join,
    Query,
    Select,
    SelectItem,
    Subquery,
    TableRef,
    join_conditions,
    transform_tree,
    walk_tree,
)
from hven.engines._query_analysis.narrowable_selects import find_row_select

if TYPE_CHECKING:
    from hven.adql.syntax_tree import BoundQuery

_POLICY_ROW_NUMBER = 0  # the number under which `TableRef.where` knows its own table


def flatten_query(bound_query: BoundQuery) -> BoundQuery:
    """Return the same query with fewer layers; the same object if there are none to take off."""
    if not any(isinstance(node, DerivedTable | CommonTable) for node in walk_tree(bound_query.query)):
        return bound_query
    if bound_query.volatile:
        query = bound_query.query
    else:
        query = _inline_common_tables(bound_query.query)
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
        highest_number = max(
            [
                node.number
                for node in walk_tree((query, *later_nodes, cte.query))
                if isinstance(node, TableRef | DerivedTable)
            ],
            default=0,
        )
        copies = _CommonTableInliner(cte, highest_number + 1)
        body = transform_tree(body, copies.replace_node)
        ctes[cte_number + 1 :] = [
            replace(later_cte, query=transform_tree(later_cte.query, copies.replace_node))
            for later_cte in ctes[cte_number + 1 :]
        ]
        del ctes[cte_number]
    if len(ctes) == len(query.ctes):
        return query
    return replace(body, ctes=tuple(ctes))


def _is_reference_to(node: Any, cte: CommonTable) -> bool:
    return isinstance(node, TableRef) and node.cte and node.parts[-1] == cte.name


class _CommonTableInliner:
    """The copies of one query of WITH, each with numbers of its own."""

    def __init__(self, cte: CommonTable, next_number: int) -> None:
        self._cte = cte
        self._next_number = next_number
        self._is_used = False

    def replace_node(self, node: Any) -> Any:
        """Return the derived table for a reference by name."""
        if not _is_reference_to(node, self._cte):
            return node
        if self._is_used:
            query = self._copy_renumbered()
        else:
            query = self._cte.query
        self._is_used = True
        return DerivedTable(
            query,
            node.alias or self._cte.name,
            text_offset=node.text_offset,
            number=node.number,
            columns=node.table.columns,
        )

    def _copy_renumbered(self) -> Query:
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
            return replace(node, number=numbers[node.number])  # its own condition speaks of row 0
        if isinstance(node, DerivedTable):
            return replace(node, number=numbers[node.number], query=transform_tree(node.query, change_node))
        return node

    return transform_tree(query, change_node)


def _match_simple_select(query: Query) -> tuple[TableRef, list[ColumnRef], Select] | None:
    """Recognise a query that chooses rows and columns of one stored table: the table, its columns, the SELECT."""
    select = find_row_select(query)
    if select is None or not isinstance(select.source, TableRef) or select.source.cte or select.source.table is None:
        return None
    columns: list[ColumnRef] = []
    for item in select.items:
        if (
            not isinstance(item, SelectItem)
            or item.column is None
            or not isinstance(item.expr, ColumnRef)
            or item.expr.column is None
        ):
            return None
        if item.expr.source != select.source.number or (
            item.expr.meta is not None and item.expr.meta.type != item.column.type
        ):
            return None
        columns.append(item.expr)
    if any(isinstance(node, Subquery | ExistsPredicate) for node in walk_tree(select.where)):
        return None
    sources = {node.source for node in walk_tree(select.where) if isinstance(node, ColumnRef)}
    if sources <= {select.source.number}:
        return (select.source, columns, select)
    return None


def _merge_derived_tables(query: Query) -> Query:
    """Replace derived tables that choose rows and columns of one table by that table."""
    if any(isinstance(node, Join) and (node.natural or node.using) for node in walk_tree(query)):
        return query  # which columns such a join compares follows from what its sides have
    while True:
        replacement_tables: dict[int, TableRef] = {}
        columns: dict[tuple[int, str], ColumnRef] = {}
        for node in walk_tree(query):
            if isinstance(node, DerivedTable) and (simple_select := _match_simple_select(node.query)) is not None:
                table, inner_columns, select = simple_select
                if any(
                    outer.type != ref.meta.type
                    for outer, ref in zip(node.columns, inner_columns, strict=True)
                    if ref.meta is not None
                ):
                    continue
                where = join_conditions(table.where, _bind_to_policy_row(select.where, table.number))
                replacement_tables[node.number] = replace(
                    table,
                    alias=node.alias,
                    where=where,
                )
                columns.update(
                    {(node.number, outer.name): ref for outer, ref in zip(node.columns, inner_columns, strict=True)}
                )
        if not replacement_tables:
            return query
        query = transform_tree(query, _DerivedTableMerger(replacement_tables, columns).replace_node)


class _DerivedTableMerger:
    """Puts tables in place of derived ones, and their columns in place of those."""

    def __init__(self, tables: dict[int, TableRef], columns: dict[tuple[int, str], ColumnRef]) -> None:
        self._tables = tables
        self._columns = columns

    def replace_node(self, node: Any) -> Any:
        """Return the node to use."""
        if isinstance(node, DerivedTable) and node.number in self._tables:
            return self._tables[node.number]
        if isinstance(node, ColumnRef) and node.column is not None:
            inner = self._columns.get((node.source, node.column.name))
            if inner is not None:
                return replace(node, source=inner.source, column=inner.column, name=inner.name)
        return node


def _bind_to_policy_row(condition: Expr | None, table_number: int) -> Expr | None:
    """Return a condition over the row of a table: as `TableRef.where` has it."""

    def change_node(node: Any) -> Any:
        if isinstance(node, ColumnRef) and node.source == table_number:
            return replace(node, source=_POLICY_ROW_NUMBER)
        return node

    if condition is None:
        return None
    return transform_tree(condition, change_node)
