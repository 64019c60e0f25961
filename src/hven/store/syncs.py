"""What syncs have seen: one line for each snapshot, gone with its snapshot."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.store.database import now, pointers, sync_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hven.store.database import Database


class Syncs:
    """The sync states of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, snapshot: str) -> dict[str, Any] | None:
        """Give what was written down with a snapshot; None if nothing was."""
        with self._database.reading() as connection:
            text = connection.execute(sa.select(sync_state.c.state).where(sync_state.c.snapshot == snapshot)).scalar()
        return None if text is None else json.loads(text)

    def put(self, snapshot: str, table: str, collection: str, state: Mapping[str, Any]) -> None:
        """Write down what the next sync of a table must know if it begins at this snapshot."""
        values = {"table_name": table, "collection": collection, "state": json.dumps(dict(state), default=str), "updated": now()}
        with self._database.writing() as connection:
            done = connection.execute(sa.update(sync_state).where(sync_state.c.snapshot == snapshot).values(**values))
            if not done.rowcount:
                connection.execute(sa.insert(sync_state).values(snapshot=snapshot, **values))

    def of(self, collection: str) -> dict[str, dict[str, Any]]:
        """Give the states of a collection's snapshots, by snapshot."""
        query = sa.select(sync_state.c.snapshot, sync_state.c.state).where(sync_state.c.collection == collection)
        with self._database.reading() as connection:
            return {row.snapshot: json.loads(row.state) for row in connection.execute(query)}

    def forget(self, snapshots: Iterable[str]) -> None:
        """Remove what belongs to snapshots that are not there any more."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(sync_state).where(sync_state.c.snapshot.in_(list(snapshots))))

    def read(self) -> dict[str, str]:
        """Give when everything was read last, of each published table."""
        query = sa.select(sync_state.c.table_name, sync_state.c.state).join(pointers, pointers.c.snapshot == sync_state.c.snapshot)
        with self._database.reading() as connection:
            found = {row.table_name: json.loads(row.state).get("full") for row in connection.execute(query)}
        return {table: str(at) for table, at in found.items() if at}

    def watermarks(self) -> dict[str, list[Any]]:
        """Give the last watermarks of each published table, one for each source entry, as they were written down."""
        query = sa.select(sync_state.c.table_name, sync_state.c.state).join(pointers, pointers.c.snapshot == sync_state.c.snapshot)
        with self._database.reading() as connection:
            found = {row.table_name: json.loads(row.state).get("watermark") or {} for row in connection.execute(query)}
        return {table: [value for value in marks.values() if value is not None] for table, marks in found.items()}
