"""The rows that a table has already: which contents they have, and which rows a submission may change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.model.errors import TooLargeError, format_message
from hven.query import run_query
from hven.site.auth import OWNER_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Table
    from hven.site import Site
    from hven.site.auth import Principal

QUERY_VALUES = 500  # values in one query
QUERY_ROWS = 100_000  # that a query returns


class PublishedRows:
    """The published rows of a table that takes submissions.

    Parameters
    ----------
    site
        The site.
    table
        The table as the user sees it.
    digest_column
        The column with the SHA-256 of files; empty: the table has no files.
    """

    def __init__(self, site: Site, table: Table, digest_column: str) -> None:
        self._site = site
        self._table = table
        self._digest_column = digest_column

    def has_columns(self, *names: str) -> bool:
        """Return whether the published table has columns, as far as they have names."""
        return {*names} - {""} <= {column.name for column in self._table.columns}

    def find_known_digests(self, digests: Sequence[str]) -> dict[str, str]:
        """Find the contents that published rows have already, by their SHA-256; and where they are."""
        column = self._digest_column
        if not column or not self.has_columns(column):
            return {}
        wanted_rows = [{column: digest} for digest in digests]
        rows = self.query_rows(f'SELECT DISTINCT "{column}"', wanted_rows, (column,), OWNER_PRINCIPAL)
        return {row[column]: self._table.qualified_name for row in rows}

    def query_rows(
        self,
        select: str,
        wanted_rows: Sequence[Mapping[str, Any]],
        names: Sequence[str],
        principal: Principal,
        group: str = "",
    ) -> list[dict[str, Any]]:
        """Query the published rows that have values of some rows in each of some columns, as a user sees them.

        Parameters
        ----------
        select
            The query up to the list of columns.
        wanted_rows
            Rows with the values.
        names
            The columns; only those of text and whole numbers restrict the answer.
        principal
            The user.
        group
            GROUP BY, if any.

        Raises
        ------
        TooLargeError
            The table has too many such rows.
        """
        types = {column.name: column.type for column in self._table.columns}
        names = [name for name in names if types[name].is_string or types[name].is_integer]
        wanted_keys = list(dict.fromkeys(tuple(row.get(name) for name in names) for row in wanted_rows))
        rows: list[dict[str, Any]] = []
        for start in range(0, len(wanted_keys), QUERY_VALUES):
            conditions = []
            for name, values in zip(names, zip(*wanted_keys[start : start + QUERY_VALUES], strict=True), strict=True):
                if None not in values:
                    words = ", ".join(write_literal(value) for value in dict.fromkeys(values))
                    conditions.append(f'"{name}" IN ({words})')
            where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
            query = f"{select} FROM {self._table.qualified_name} {where} {group}"
            result = run_query(query, principal, site=self._site, maxrec=QUERY_ROWS, hard_row_limit=QUERY_ROWS)
            try:
                for batch in result.iterate_batches():
                    rows += batch.to_pylist()
            finally:
                result.close()
            if result.overflow:
                message = format_message("more than {most:,} rows of the table have the same identity", QUERY_ROWS)
                raise TooLargeError(message, remedy="submit fewer rows at once")
        return rows


def write_literal(value: Any) -> str:
    """Write a value as a literal of ADQL.

    Parameters
    ----------
    value
        A number or a text.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value)
    text = str(value).replace("'", "''")
    return f"'{text}'"
