"""Walk over bound trees: list their SELECTs and the columns that they read, and replace tables by candidates."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.adql.syntax_tree import ColumnRef, DerivedTable, Ident, Join, Select, TableRef, transform_tree, walk_tree
from hven.model.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.adql.syntax_tree import BoundQuery, Expr, Query


def list_selects(query: Query) -> list[Select]:
    """Return every SELECT of a query, including nested ones.

    Parameters
    ----------
    query
        A bound query.
    """
    return [node for node in walk_tree(query) if isinstance(node, Select)]


def list_read_columns(bound_query: BoundQuery) -> dict[int, tuple[str, ...]]:
    """List the columns that the query reads of each FROM item, by its number.

    Parameters
    ----------
    bound_query
        A bound query.

    Returns
    -------
    columns
        Names of columns by the number of the FROM item.
    """
    names_by_number: dict[int, dict[str, None]] = {}
    for node in walk_tree(bound_query.query):
        if isinstance(node, ColumnRef) and node.column is not None:
            names_by_number.setdefault(node.source, {})[node.column.name] = None
        elif isinstance(node, TableRef) and node.where is not None:
            names = names_by_number.setdefault(node.number, {})
            for part in walk_tree(node.where):
                if isinstance(part, ColumnRef) and part.column is not None:
                    names[part.column.name] = None
        elif isinstance(node, Join) and (node.natural or node.using):
            for table_ref in walk_tree((node.left, node.right)):
                if isinstance(table_ref, TableRef) and table_ref.table is not None:
                    names = names_by_number.setdefault(table_ref.number, {})
                    names.update(dict.fromkeys(_list_join_column_names(node, table_ref.table)))
    return {number: tuple(names) for number, names in names_by_number.items()}


def _list_join_column_names(join: Join, table: Table) -> list[str]:
    """List the columns of a table that NATURAL or USING may join by."""
    if join.natural:
        return [column.name for column in table.columns]
    using_names = {ident.name.lower() for ident in join.using}
    return [column.name for column in table.columns if column.name.lower() in using_names]


def replace_tables_with_candidates(
    bound_query: BoundQuery, table_numbers: frozenset[int], joins: Mapping[int, Expr] | None = None
) -> BoundQuery:
    """Return the query with these table references reading ``hven.candidates<number>`` instead of their tables.

    `joins` maps the `id` of a condition's node to the condition that replaces it.
    """
    tables = {table.qualified_name: table for table in bound_query.tables}
    kept_table_names = set()
    for node in walk_tree(bound_query.query):
        if isinstance(node, TableRef) and node.table is not None and node.number not in table_numbers:
            kept_table_names.add(node.table.qualified_name)

    def change_node(node: Any) -> Any:
        if isinstance(node, DerivedTable) and node.number in table_numbers:
            table = Table(schema="hven", name=f"candidates{node.number}", columns=node.columns)
            tables[table.qualified_name] = table
            return TableRef(
                (Ident("hven"), Ident(table.name)),
                node.alias,
                text_offset=node.text_offset,
                number=node.number,
                table=table,
            )
        if isinstance(node, TableRef) and node.number in table_numbers and node.table is not None:
            table = node.table.copy_with(schema="hven", name=f"candidates{node.number}")
            tables[table.qualified_name] = table
            return replace(node, table=table)
        if joins:
            return joins.get(id(node), node)
        return node

    query = transform_tree(bound_query.query, change_node)
    read_tables = [table for name, table in tables.items() if name in kept_table_names or table.schema == "hven"]
    return replace(bound_query, query=query, tables=tuple(read_tables))
