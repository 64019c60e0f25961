"""States of syncs: one row for each snapshot, deleted with its snapshot."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.site.store._database import format_current_time, pointers, sync_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hven.site.store._database import StateDatabase


_LEDGER_PATTERN = re.compile(r'"ledger": ("(?:[^"\\]|\\.)*"|null)')


class SyncStateStore:
    """The sync states of a store."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database
        self._cached_watermarks: dict[tuple[str, str], tuple[str | None, list[Any]]] = {}

    def load_sync_state(self, snapshot_id: str) -> dict[str, Any] | None:
        """Return the state that was stored for a snapshot; None: none was."""
        with self._database.begin_read() as connection:
            text = connection.execute(_build_state_query(snapshot_id)).scalar()
        if text is None:
            return None
        state: dict[str, Any] = json.loads(text)
        return state

    def save_sync_state(self, snapshot_id: str, table: str, collection: str, state: Mapping[str, Any]) -> None:
        """Store what the next sync of a table must know if it begins at this snapshot."""
        values = {
            "table_name": table,
            "collection": collection,
            "state": json.dumps(dict(state), default=str),
            "updated": format_current_time(),
        }
        statement = sa.update(sync_state).where(sync_state.c.snapshot == snapshot_id).values(values)
        with self._database.begin_write() as connection:
            if not connection.execute(statement).rowcount:
                connection.execute(sa.insert(sync_state).values(snapshot=snapshot_id, **values))

    def map_ledgers_by_snapshot(self, collection: str) -> dict[str, str | None]:
        """Return the names of the ledgers of a collection's snapshots, by snapshot.

        A state names every file, so it is not parsed for this.
        """
        query = sa.select(sync_state.c.snapshot, sync_state.c.state).where(sync_state.c.collection == collection)
        ledgers: dict[str, str | None] = {}
        with self._database.begin_read() as connection:
            for snapshot, state_text in connection.execute(query):
                match = _LEDGER_PATTERN.search(state_text)
                ledgers[snapshot] = None if match is None else json.loads(match[1])
        return ledgers

    def delete_states(self, snapshot_ids: Iterable[str]) -> None:
        """Delete the states of snapshots that have been deleted."""
        row_condition = sync_state.c.snapshot.in_(list(snapshot_ids))
        with self._database.begin_write() as connection:
            connection.execute(sa.delete(sync_state).where(row_condition))

    def map_watermarks(self) -> dict[str, tuple[str | None, list[Any]]]:
        """Return when each published table was last read in full, and the last watermark of each source entry.

        A state names every file of its sources: it is parsed once, however often this is called.
        """
        published_states = sa.join(sync_state, pointers, pointers.c.snapshot == sync_state.c.snapshot)
        columns = (sync_state.c.table_name, sync_state.c.snapshot, sync_state.c.updated)
        query = sa.select(*columns).select_from(published_states)
        new_cache: dict[tuple[str, str], tuple[str | None, list[Any]]] = {}
        watermarks_by_table = {}
        with self._database.begin_read() as connection:
            for table, snapshot, updated in connection.execute(query).all():
                table_watermarks = self._cached_watermarks.get((snapshot, updated))
                if table_watermarks is None:
                    text = connection.execute(_build_state_query(snapshot)).scalar_one()
                    table_watermarks = _parse_full_read_time_and_watermarks(text)
                watermarks_by_table[table] = new_cache[snapshot, updated] = table_watermarks
        self._cached_watermarks = new_cache
        return watermarks_by_table


def _build_state_query(snapshot_id: str) -> sa.Select[Any]:
    return sa.select(sync_state.c.state).where(sync_state.c.snapshot == snapshot_id)


def _parse_full_read_time_and_watermarks(state_text: str) -> tuple[str | None, list[Any]]:
    """Return the time of the last full read, and the watermarks of the source entries."""
    state = json.loads(state_text)
    full_read_time = None
    if state.get("full"):
        full_read_time = str(state["full"])
    watermarks = state.get("watermark") or {}
    return full_read_time, [watermark for watermark in watermarks.values() if watermark is not None]
