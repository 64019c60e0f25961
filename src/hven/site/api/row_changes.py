"""Tell which changes of a row people made, such as corrections that a moderator accepted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.errors import TranslatableMessage
    from hven.model.table import Table
    from hven.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChange:
    """A change of a row.

    Attributes
    ----------
    id
        Its name among the changes of the row, without slashes: ``entry-12``.
    title
        What it is, for people.
    at
        When it was published; ISO, UTC.
    account
        Who proposed it; empty: unknown.
    columns
        The columns that it changed; empty: the row was new.
    path
        Path of a page about it.
    """

    id: str
    title: TranslatableMessage
    at: str
    account: str
    columns: Sequence[str]
    path: str


def list_row_changes(site: Site, table: Table, row_key: str) -> list[RowChange]:
    """List the changes of a row by people, the latest first: those that packages know of.

    Parameters
    ----------
    site
        The site.
    table
        The table. The caller checks that the reader may see the row.
    row_key
        The key of the row as addresses of pages have it: a list in JSON.

    Returns
    -------
    changes
        The changes.
    """
    changes: list[RowChange] = []
    for _, find_changes in plugins.iterate_package_objects("row_changes"):
        changes += find_changes(site, table, row_key)
    return sorted(changes, key=lambda change: change.at, reverse=True)
