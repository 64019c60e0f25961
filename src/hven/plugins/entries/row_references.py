"""Check that the rows exist to which an entry refers: those that the foreign keys of its table name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.adql import syntax_tree
from hven.model.errors import format_message
from hven.portal.api.column_values import build_column_ref
from hven.portal.api.page_rows import build_query_runner
from hven.portal.api.table_rows import TableSearch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.table import ForeignKey, Table
    from hven.portal.api.pages import PageContext
    from hven.portal.api.table_rows import QueryRunner


@dataclass(frozen=True, slots=True, kw_only=True)
class RowReferences:
    """The foreign keys of a table, for one user.

    Attributes
    ----------
    targets
        Foreign keys, and the tables that they refer to, as the user sees these tables. Keys to other tables are not
        checked.
    runner
        Runs queries with the rights of the user: rows that the user can't see count as missing.
    """

    targets: tuple[tuple[ForeignKey, Table], ...]
    runner: QueryRunner

    def find_unknown_rows(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Find the values that refer to no row.

        Parameters
        ----------
        values
            Column -> value of an entry. A key with a null value refers to nothing.

        Returns
        -------
        faults
            Message of each column.
        """
        faults: dict[str, str] = {}
        for key, target in self.targets:
            key_values = [values.get(name) for name in key.columns]
            if None in key_values or self._has_row(key, target, key_values):
                continue
            for name, value in zip(key.columns, key_values, strict=True):
                message = format_message("the table {table} has no row {value!r:.80}", key.target, value)
                faults.setdefault(name, message)
        return faults

    def _has_row(self, key: ForeignKey, target: Table, key_values: list[Any]) -> bool:
        conditions = [
            syntax_tree.Comparison("=", build_column_ref(name), syntax_tree.Literal(value))
            for name, value in zip(key.target_columns, key_values, strict=True)
        ]
        select = syntax_tree.Select(
            (syntax_tree.SelectItem(syntax_tree.Literal(1), syntax_tree.Ident("n")),),
            TableSearch(table=target).build_from_item(),
            where=syntax_tree.join_conditions_with_and(*conditions),
            top=syntax_tree.Literal(1),
        )
        row_count: int = self.runner.fetch_table(syntax_tree.Query(select)).num_rows
        return row_count > 0


def find_row_references(table: Table, page_context: PageContext) -> RowReferences:
    """Find the foreign keys of a table that can be checked for the user of a page.

    Keys of text and whole numbers are checked, if they refer to another table that the user sees.

    Parameters
    ----------
    table
        The table as the user sees it.
    page_context
        The request of the page.
    """
    visible_tables = {visible.qualified_name: visible for visible in page_context.catalogue.iterate_tables()}
    targets = []
    for key in table.keys:
        target = visible_tables.get(key.target)
        if target is not None and key.target != table.qualified_name and _is_checkable(key, table, target):
            targets.append((key, target))
    return RowReferences(targets=tuple(targets), runner=build_query_runner(page_context))


def _is_checkable(key: ForeignKey, table: Table, target: Table) -> bool:
    """Return whether both sides of a foreign key are text, or both are whole numbers."""
    for name, target_name in zip(key.columns, key.target_columns, strict=True):
        types = [side.find_column(column).type for side, column in ((table, name), (target, target_name))]
        if not all(each.is_string for each in types) and not all(each.is_integer for each in types):
            return False
    return True
