"""Tell which accepted entries changed a row."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from hven.model.errors import format_message
from hven.plugins.entries.entry_keys import ENTRIES_KEY
from hven.plugins.entries.entry_store import ACCEPTED, EntryStore
from hven.site.api.row_changes import RowChange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Table
    from hven.plugins.entries.entry_store import TableEntry
    from hven.site import Site


def list_accepted_changes(site: Site, table: Table, row_key: str) -> list[RowChange]:
    """List the accepted entries of a row.

    Parameters
    ----------
    table
        The table.
    row_key
        The key of the row: a list in JSON.
    """
    if ENTRIES_KEY not in table.extensions or table.release is not None:
        return []
    store = site.store.get_or_create(EntryStore)
    return [
        RowChange(
            id=f"entry-{entry.number}",
            title=format_message("entry {number}", entry.number),
            at=entry.changed,
            account=entry.author,
            columns=_list_changed_columns(entry),
            path=f"/entries/{quote(table.qualified_name, safe='')}/{entry.number}",
        )
        for entry in store.list_entries([table.qualified_name], states=(ACCEPTED,), row_key=row_key)
    ]


def _list_changed_columns(entry: TableEntry) -> Sequence[str]:
    """List the columns that an entry changed; none: the row was new."""
    if entry.base_values is None:
        return []
    return [name for name, value in entry.row_values.items() if entry.base_values.get(name) != value]
