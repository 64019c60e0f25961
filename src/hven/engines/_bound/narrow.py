"""Walks over bound trees: which SELECTs there are, which columns they read, and the tree with tables replaced by candidates."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hven.adql.tree import ColumnRef, Derived, Ident, Join, Select, TableRef, transform, walk
from hven.model.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.adql.tree import Bound, Expr, Query


def selects(query: Query) -> list[Select]:
    """Return every SELECT of a query, nested ones too."""
    return [node for node in walk(query) if isinstance(node, Select)]


def columns_read(bound: Bound) -> dict[int, tuple[str, ...]]:
    """List the columns that the query reads of each FROM item, by its number."""
    found: dict[int, dict[str, None]] = {}
    for node in walk(bound.query):
        if isinstance(node, ColumnRef) and node.column is not None:
            found.setdefault(node.source, {})[node.column.name] = None
        elif isinstance(node, TableRef) and node.where is not None:
            names = found.setdefault(node.number, {})
            names.update(
                {
                    part.column.name: None
                    for part in walk(node.where)
                    if isinstance(part, ColumnRef) and part.column is not None
                }
            )
        elif isinstance(node, Join) and (node.natural or node.using):
            wanted = {ident.name.lower() for ident in node.using}
            for leaf in walk((node.left, node.right)):
                if isinstance(leaf, TableRef) and leaf.table is not None:
                    shared = [
                        column.name for column in leaf.table.columns if node.natural or column.name.lower() in wanted
                    ]
                    found.setdefault(leaf.number, {}).update(dict.fromkeys(shared))
    return {number: tuple(names) for number, names in found.items()}


def narrowed(bound: Bound, numbers: frozenset[int], joins: Mapping[int, Expr] | None = None) -> Bound:
    """Return the query with these table references reading ``hven.candidates<number>`` instead of their tables.

    `joins` replaces conditions, found by the `id` of their node.
    """
    tables = {table.qualified: table for table in bound.tables}
    kept = {
        node.table.qualified
        for node in walk(bound.query)
        if isinstance(node, TableRef) and node.table is not None and node.number not in numbers
    }

    def change(node: Any) -> Any:
        if isinstance(node, Derived) and node.number in numbers:
            table = Table(schema="hven", name=f"candidates{node.number}", columns=node.columns)
            tables[table.qualified] = table
            return TableRef((Ident("hven"), Ident(table.name)), node.alias, at=node.at, number=node.number, table=table)
        if isinstance(node, TableRef) and node.number in numbers and node.table is not None:
            table = node.table.having(schema="hven", name=f"candidates{node.number}")
            tables[table.qualified] = table
            return replace(node, table=table)
        return joins.get(id(node), node) if joins else node

    query = transform(bound.query, change)
    return replace(
        bound,
        query=query,
        tables=tuple(table for name, table in tables.items() if name in kept or table.schema == "hven"),
    )
