"""Find the source file of a row: the only file of its table, or the one that the ledger of a sync names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.plugins.provenance.ledger_index import find_source_file
from hven.plugins.provenance.reader_site import strip_private_name_parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.table import Table
    from hven.plugins.provenance.reader_site import SnapshotOrigin
    from hven.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFile:
    """The source file of a row.

    Attributes
    ----------
    name
        Its name, relative to the descriptor; empty if it is one of several files.
    file_count
        Number of the files; None if the reader must not know it.
    """

    name: str
    file_count: int | None


def find_row_file(site: Site, origin: SnapshotOrigin, table: Table, values: Mapping[str, Any]) -> RowFile | None:
    """Find the source file of a row.

    Parameters
    ----------
    site
        The site.
    origin
        Origin of the snapshot of the row.
    table
        The table.
    values
        Values of the row by column.

    Returns
    -------
    row_file
        The file; None if the rows were read from no files.
    """
    pins = origin.provenance.get("pins")
    if not pins:
        return None
    if not origin.is_whole:  # names and numbers of files could tell of rows that the reader does not see
        return RowFile(name="", file_count=None)
    if len(pins) == 1:
        return RowFile(name=strip_private_name_parts(str(pins[0]["name"])), file_count=1)
    file_name = None
    if table.primary and all(values.get(name) is not None for name in table.primary):
        key = {name: values[name] for name in table.primary}
        file_name = find_source_file(site, origin.table_name, origin.id, key)
    return RowFile(name=strip_private_name_parts(file_name or ""), file_count=len(pins))
