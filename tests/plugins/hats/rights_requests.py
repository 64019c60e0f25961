"""Requests of the service for the matrix of rights: its routes, its files, and what it keeps on disk."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

QUERY_STRINGS = {"/hats/{table}": [""], "/hats/{table}/{path:path}": [""]}
ROUTE_VALUES = {"/hats/{table}/{path:path}": {"path:path": "collection.properties"}}
FILES = (
    "properties",
    "partition_info.csv",
    "dataset/_common_metadata",
    "dataset/Norder=0/Dir=0/Npix=4.parquet",
    "",
)
KEPT_DIRECTORIES = {
    "hats": "files of states, each by the scope of its reader: test_states_and_files_are_asked_anew",
}


def list_file_requests(ask: Callable[[str], str], table: str) -> Iterable[tuple[str, str, bool]]:
    """List the files of the state of a table that a reader sees now.

    Parameters
    ----------
    ask
        Returns the text of an address, for this reader.
    table
        Qualified name of the table.

    Returns
    -------
    requests
        Name of the request, its address, and whether readers with the same rows get the same bytes: those of rows
        contain times and names of states.
    """
    state = find_state(ask, table) or "none"
    for file in FILES:
        yield f"/hats/{table}/STATE/{file}", f"/hats/{table}/{state}/{file}", not file.startswith("dataset")


def list_kept_addresses(ask: Callable[[str], str], table: str) -> list[str]:
    """List addresses of files that are kept for a reader, which nobody else may get."""
    state = find_state(ask, table)
    assert state is not None
    return [f"/hats/{table}/{state}/{file}" for file in FILES if file]


def find_state(ask: Callable[[str], str], table: str) -> str | None:
    """Find the state of a HATS catalogue that a reader sees now."""
    found = re.search(r"hats_primary_table_url *= *(\S+)", ask(f"/hats/{table}/collection.properties"))
    return found[1] if found else None
