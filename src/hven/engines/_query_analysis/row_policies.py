"""The conditions that policies put at the tables of a bound query, for engines that find once which rows meet them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.adql.sql_writer import SqlWriter
from hven.adql.syntax_tree import ColumnRef, TableRef, walk_tree

if TYPE_CHECKING:
    from hven.adql.sql_writer import SqlDialect
    from hven.adql.syntax_tree import BoundQuery


def write_policy_conditions(bound_query: BoundQuery, dialect: SqlDialect) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the conditions of policies as SQL over ``t0``, and which columns they read, by the names of their tables.

    None if a table has two.
    """
    conditions_by_table: dict[str, tuple[str, tuple[str, ...]]] = {}
    dialect.max_text_bytes = bound_query.max_text_bytes
    for node in walk_tree(bound_query.query):
        if is_filtered_table(node):
            column_names = {
                column_ref.column.name
                for column_ref in walk_tree(node.where)
                if isinstance(column_ref, ColumnRef) and column_ref.column
            }
            condition = SqlWriter(dialect, {}, frozenset()).write_expression(node.where), tuple(sorted(column_names))
            if conditions_by_table.setdefault(node.table.qualified_name, condition) != condition:
                return {}
    return conditions_by_table


def is_filtered_table(node: Any) -> bool:
    """Return whether rows of a table are hidden, and its columns tell which."""
    return isinstance(node, TableRef) and any(isinstance(column_ref, ColumnRef) for column_ref in walk_tree(node.where))


__all__ = ["is_filtered_table", "write_policy_conditions"]
