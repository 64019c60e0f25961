"""Look up rows in the ledgers of synchronised tables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hven.ingest._ledger import KEYS_COLUMN, load_sync_state, read_ledger
from hven.model import LruCache

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.site import Site

MAX_CACHED_LEDGERS = 20  # their lines are mapped from files


@dataclass(frozen=True, slots=True)
class _OpenLedger:
    """The files of a ledger, as `SyncState.files` has them, and its lines."""

    files: Sequence[Sequence[Any]] = ()
    lines: pa.Table | None = None


class _LedgerCache(LruCache[_OpenLedger]):
    """Ledgers by the ids of their snapshots."""

    def __init__(self) -> None:
        super().__init__(MAX_CACHED_LEDGERS)


def find_source_file(site: Site, table_name: str, snapshot_id: str, key: Mapping[str, Any]) -> str | None:
    """Find the file from which a row was read.

    Parameters
    ----------
    site
        The site.
    table_name
        Qualified name of the table.
    snapshot_id
        Id of the snapshot of the row.
    key
        Values of the primary key by column.

    Returns
    -------
    file_name
        Name of the file; None: the table has no ledger, or the ledger does not know the row.
    """
    cache = site.get_or_create(_LedgerCache)
    ledger = cache.find(snapshot_id)
    if ledger is None:
        state = load_sync_state(site, snapshot_id)
        ledger = _OpenLedger()
        if state is not None and state.ledger is not None:
            ledger = _OpenLedger(state.files, read_ledger(site, table_name, state.ledger))
        cache.store(snapshot_id, ledger)
    for batch in () if ledger.lines is None else ledger.lines.to_batches():
        keys = batch.column(KEYS_COLUMN)
        structs = keys.flatten()
        matches = [
            pc.equal(structs.field(name), pa.scalar(value).cast(structs.type.field(name).type))
            for name, value in key.items()
        ]
        position = pc.index(reduce(pc.and_, matches), True).as_py()
        if position >= 0:
            line = pc.list_parent_indices(keys)[position].as_py()
            file_name: str | None = ledger.files[batch.column("file")[line].as_py()][1]
            return file_name
    return None
