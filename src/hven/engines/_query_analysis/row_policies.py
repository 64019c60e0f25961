"""Conditions that policies add to the tables of a bound query, for engines that find the accessible rows once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.adql.sql_writer import SqlWriter
from hven.adql.syntax_tree import ColumnRef, TableRef, walk_tree

if TYPE_CHECKING:
    from hven.adql.sql_writer import SqlDialect
    from hven.adql.syntax_tree import BoundQuery


def write_policy_conditions(bound_query: BoundQuery, dialect: SqlDialect) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return for each table its policy condition as SQL over ``t0``, and the columns that the condition reads.

    The result is empty if a table has two different conditions.

    Parameters
    ----------
    bound_query
        The query, with its row filters.
    dialect
        Dialect in which the conditions are written.

    Returns
    -------
    conditions
        Condition and names of columns, by the qualified name of the table.
    """
    conditions_by_table: dict[str, tuple[str, tuple[str, ...]]] = {}
    dialect.max_text_bytes = bound_query.max_text_bytes
    for table_ref in bound_query.survey.filtered_tables:
        if table_ref.where is None or table_ref.table is None:
            continue
        column_names = set()
        for part in walk_tree(table_ref.where):
            if isinstance(part, ColumnRef) and part.column:
                column_names.add(part.column.name)
        condition_sql = SqlWriter(dialect, {}, frozenset()).write_expression(table_ref.where)
        condition = condition_sql, tuple(sorted(column_names))
        if conditions_by_table.setdefault(table_ref.table.qualified_name, condition) != condition:
            return {}
    return conditions_by_table


def is_filtered_table(node: Any) -> bool:
    """Return whether a policy hides rows of a table by the values of its columns."""
    return isinstance(node, TableRef) and any(isinstance(column_ref, ColumnRef) for column_ref in walk_tree(node.where))
