"""Results of verifications: one row for each snapshot whose files were read again.

Snapshots with a fault are no longer served.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hven.site.store._database import (
    format_current_time,
    increment_state_version,
    insert_meta_value,
    meta,
    read_meta_value,
    snapshots,
    user_tables,
    verifications,
)
from hven.site.store._schedules import insert_alerts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hven.site.store._database import StateDatabase
    from hven.site.store._schedules import CollectionAlert

REQUEST_META_KEY = "verify"  # key in `meta`: when a verification of everything published was last requested
MIN_REQUEST_INTERVAL = timedelta(minutes=10)  # a process that dies again and again requests it no more often


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotVerification:
    """The result of verifying a snapshot.

    Attributes
    ----------
    table
        Qualified name.
    collection
        Name of the collection.
    at
        ISO time, UTC.
    bytes
        Bytes that have a checksum, and were compared with it.
    faults
        File -> what is wrong with it.
    unknown
        Number of files without a checksum: older versions wrote none.
    """

    snapshot: str
    table: str
    collection: str
    at: str = ""
    bytes: int = 0
    faults: Mapping[str, str] = field(default_factory=dict)
    unknown: int = 0

    @property
    def damage_text(self) -> str | None:
        """A description of the first fault, and how many more there are; None: there is none."""
        more_text = ""
        if len(self.faults) > 1:
            more_text = f" and {len(self.faults) - 1} more"
        for name, fault_text in self.faults.items():
            return f"{name}: {fault_text}{more_text}"
        return None


class SnapshotVerificationStore:
    """The verifications of a store."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def list_verifications(self) -> dict[str, SnapshotVerification]:
        """Return the last verification of each snapshot, by its id."""
        with self._database.begin_read() as connection:
            rows = connection.execute(sa.select(verifications))
            return {row.snapshot: _verification_from_row(row) for row in rows}

    def map_verifications_of_damaged(self) -> dict[str, SnapshotVerification]:
        """Return the verifications of damaged snapshots, by their ids."""
        query = sa.select(verifications).where(verifications.c.faults != "{}")
        with self._database.begin_read() as connection:
            return {row.snapshot: _verification_from_row(row) for row in connection.execute(query)}

    def record_verifications(
        self, new_verifications: Iterable[SnapshotVerification], new_alerts: Iterable[CollectionAlert] = ()
    ) -> None:
        """Record results, all at once.

        Every process then sees at once which snapshots are damaged, and which are no longer.
        """
        with self._database.begin_write() as connection:
            changed = False
            for verification in new_verifications:
                if not _has_snapshot(connection, verification.snapshot):
                    continue  # it was removed in the meantime
                row_condition = verifications.c.snapshot == verification.snapshot
                old_faults = connection.execute(sa.select(verifications.c.faults).where(row_condition)).scalar()
                faults_text = json.dumps(dict(verification.faults))
                changed |= faults_text != (old_faults or "{}")
                connection.execute(sa.delete(verifications).where(row_condition))
                values = {
                    "snapshot": verification.snapshot,
                    "table_name": verification.table,
                    "collection": verification.collection,
                    "at": verification.at or format_current_time(),
                    "bytes": verification.bytes,
                    "faults": faults_text,
                    "unknown": verification.unknown,
                }
                connection.execute(sa.insert(verifications).values(values))
            insert_alerts(connection, new_alerts)
            if changed:
                increment_state_version(connection)

    def request_full_verification(self) -> None:
        """Request a verification of everything published as soon as possible: a process died of what it read."""
        with self._database.begin_write() as connection:
            last_request = read_meta_value(connection, REQUEST_META_KEY)
            if last_request is not None:
                age = abs(datetime.now(UTC) - datetime.fromisoformat(last_request))
                if age <= MIN_REQUEST_INTERVAL:
                    return
            connection.execute(sa.delete(meta).where(meta.c.key == REQUEST_META_KEY))
            insert_meta_value(connection, REQUEST_META_KEY, format_current_time())

    def find_verification_request_time(self) -> str:
        """Return when a verification was last requested; empty: never.

        The result is also empty if the clock was ahead at that time: no verification would ever be newer.
        """
        with self._database.begin_read() as connection:
            request_time = read_meta_value(connection, REQUEST_META_KEY) or ""
        if request_time > format_current_time():
            return ""
        return request_time


def _has_snapshot(connection: sa.Connection, snapshot_id: str) -> bool:
    for id_column in (snapshots.c.id, user_tables.c.snapshot):
        if connection.execute(sa.select(id_column).where(id_column == snapshot_id)).first():
            return True
    return False


def _verification_from_row(row: sa.Row[tuple[object, ...]]) -> SnapshotVerification:
    columns = row._mapping  # noqa: SLF001  (SQLAlchemy's public name)
    return SnapshotVerification(
        snapshot=columns["snapshot"],
        table=columns["table_name"],
        collection=columns["collection"],
        at=columns["at"],
        bytes=columns["bytes"],
        faults=json.loads(columns["faults"]),
        unknown=columns["unknown"],
    )
