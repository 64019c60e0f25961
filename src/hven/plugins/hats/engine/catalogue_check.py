"""The check of a catalogue of others for ``hven check``, before it is served where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.plugins.hats.engine.foreign_catalogues import build_foreign_manifest
from hven.plugins.hats.engine.row_group_reader import RowGroupReader
from hven.plugins.hats.hats_layout import is_web_address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.table import Table


def check_foreign_catalogue(table: Table, location: str, column_names: Mapping[str, str]) -> None:
    """Check a foreign catalogue, with the footers of its files; a catalogue on a web server is left to the ingest.

    Parameters
    ----------
    table
        The table of the descriptor.
    location
        Directory or address of the catalogue.
    column_names
        Column of the table -> its name in the catalogue.

    Raises
    ------
    SourceError
        The catalogue cannot be served where it is.
    """
    if is_web_address(location):
        return
    reader = RowGroupReader(None)
    try:
        build_foreign_manifest(table, location, reader, column_names)
    finally:
        reader.close()
