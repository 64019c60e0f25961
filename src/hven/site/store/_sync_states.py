"""What syncs have seen: one line for each snapshot, gone with its snapshot."""

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

    def load_state(self, snapshot_id: str) -> dict[str, Any] | None:
        """Return what was written down with a snapshot; None if nothing was."""
        with self._database.begin_read() as connection:
            text = connection.execute(
                sa.select(sync_state.c.state).where(sync_state.c.snapshot == snapshot_id)
            ).scalar()
        return None if text is None else json.loads(text)

    def save_state(self, snapshot_id: str, table: str, collection: str, state: Mapping[str, Any]) -> None:
        """Write down what the next sync of a table must know if it begins at this snapshot."""
        values = {
            "table_name": table,
            "collection": collection,
            "state": json.dumps(dict(state), default=str),
            "updated": format_current_time(),
        }
        with self._database.begin_write() as connection:
            update_result = connection.execute(
                sa.update(sync_state).where(sync_state.c.snapshot == snapshot_id).values(**values)
            )
            if not update_result.rowcount:
                connection.execute(sa.insert(sync_state).values(snapshot=snapshot_id, **values))

    def map_ledgers(self, collection: str) -> dict[str, str | None]:
        """Return the names of the ledgers of a collection's snapshots, by snapshot.

        A state names every file, and is not read for it.
        """
        query = sa.select(sync_state.c.snapshot, sync_state.c.state).where(sync_state.c.collection == collection)
        with self._database.begin_read() as connection:
            ledger_matches = {row.snapshot: _LEDGER_PATTERN.search(row.state) for row in connection.execute(query)}
        return {
            snapshot: json.loads(match[1]) if match is not None else None for snapshot, match in ledger_matches.items()
        }

    def delete_states(self, snapshot_ids: Iterable[str]) -> None:
        """Remove what belongs to snapshots that are not there any more."""
        with self._database.begin_write() as connection:
            connection.execute(sa.delete(sync_state).where(sync_state.c.snapshot.in_(list(snapshot_ids))))

    def map_watermarks(self) -> dict[str, tuple[str | None, list[Any]]]:
        """Return for each published table when it was last read in full, and the last watermark of each source entry.

        A state names every file of its sources: it is read once, however often this is asked.
        """
        published = sa.join(sync_state, pointers, pointers.c.snapshot == sync_state.c.snapshot)
        names = sa.select(sync_state.c.table_name, sync_state.c.snapshot, sync_state.c.updated).select_from(published)
        new_cache: dict[tuple[str, str], tuple[str | None, list[Any]]] = {}
        watermarks_by_table = {}
        with self._database.begin_read() as connection:
            for table, snapshot, updated in connection.execute(names).all():
                table_watermarks = self._cached_watermarks.get((snapshot, updated))
                if table_watermarks is None:
                    text = connection.execute(
                        sa.select(sync_state.c.state).where(sync_state.c.snapshot == snapshot)
                    ).scalar_one()
                    state = json.loads(text)
                    watermark_values = [value for value in (state.get("watermark") or {}).values() if value is not None]
                    table_watermarks = (str(state["full"]) if state.get("full") else None), watermark_values
                watermarks_by_table[table] = new_cache[snapshot, updated] = table_watermarks
        self._cached_watermarks = new_cache
        return watermarks_by_table
