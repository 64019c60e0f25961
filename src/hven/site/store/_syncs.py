"""What syncs have seen: one line for each snapshot, gone with its snapshot."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.site.store._database import now, pointers, sync_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hven.site.store._database import Database


_LEDGER = re.compile(r'"ledger": ("(?:[^"\\]|\\.)*"|null)')


class Syncs:
    """The sync states of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: dict[tuple[str, str], tuple[str | None, list[Any]]] = {}

    def get(self, snapshot: str) -> dict[str, Any] | None:
        """Return what was written down with a snapshot; None if nothing was."""
        with self._database.reading() as connection:
            text = connection.execute(sa.select(sync_state.c.state).where(sync_state.c.snapshot == snapshot)).scalar()
        return None if text is None else json.loads(text)

    def put(self, snapshot: str, table: str, collection: str, state: Mapping[str, Any]) -> None:
        """Write down what the next sync of a table must know if it begins at this snapshot."""
        values = {
            "table_name": table,
            "collection": collection,
            "state": json.dumps(dict(state), default=str),
            "updated": now(),
        }
        with self._database.writing() as connection:
            done = connection.execute(sa.update(sync_state).where(sync_state.c.snapshot == snapshot).values(**values))
            if not done.rowcount:
                connection.execute(sa.insert(sync_state).values(snapshot=snapshot, **values))

    def ledgers(self, collection: str) -> dict[str, str | None]:
        """Return the names of the ledgers of a collection's snapshots, by snapshot; a state names every file, and is not read for it."""
        query = sa.select(sync_state.c.snapshot, sync_state.c.state).where(sync_state.c.collection == collection)
        with self._database.reading() as connection:
            found = {row.snapshot: _LEDGER.search(row.state) for row in connection.execute(query)}
        return {snapshot: json.loads(match[1]) if match is not None else None for snapshot, match in found.items()}

    def forget(self, snapshots: Iterable[str]) -> None:
        """Remove what belongs to snapshots that are not there any more."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(sync_state).where(sync_state.c.snapshot.in_(list(snapshots))))

    def seen(self) -> dict[str, tuple[str | None, list[Any]]]:
        """Return of each published table when everything was read last, and its last watermarks, one for each source entry, as written down.

        A state names every file of its sources: it is read once, however often this is asked.
        """
        published = sa.join(sync_state, pointers, pointers.c.snapshot == sync_state.c.snapshot)
        names = sa.select(sync_state.c.table_name, sync_state.c.snapshot, sync_state.c.updated).select_from(published)
        known: dict[tuple[str, str], tuple[str | None, list[Any]]] = {}
        found = {}
        with self._database.reading() as connection:
            for table, snapshot, updated in connection.execute(names).all():
                one = self._seen.get((snapshot, updated))
                if one is None:
                    text = connection.execute(
                        sa.select(sync_state.c.state).where(sync_state.c.snapshot == snapshot)
                    ).scalar_one()
                    state = json.loads(text)
                    marks = [value for value in (state.get("watermark") or {}).values() if value is not None]
                    one = (str(state["full"]) if state.get("full") else None), marks
                found[table] = known[snapshot, updated] = one
        self._seen = known
        return found
