"""Replace tables of a bound query by their candidate rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.adql.syntax_tree import DerivedTable, Ident, TableRef, transform_tree
from hven.model.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.adql.syntax_tree import BoundQuery, Expr


def replace_tables_with_candidates(
    bound_query: BoundQuery, table_numbers: frozenset[int], joins: Mapping[int, Expr] | None = None
) -> BoundQuery:
    """Return the query with these table references reading ``hven.candidates<number>`` instead of their tables.

    `joins` maps the `id` of a condition's node to the condition that replaces it.
    """
    tables = {table.qualified_name: table for table in bound_query.tables}
    kept_table_names = set()
    for table_ref in bound_query.survey.table_refs:
        if table_ref.table is not None and table_ref.number not in table_numbers:
            kept_table_names.add(table_ref.table.qualified_name)

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
