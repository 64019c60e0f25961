"""What verifications found: one line for each snapshot whose files were read again.

Those with a fault are served no more.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hven.site.store._database import (
    format_current_time,
    increment_version,
    meta,
    snapshots,
    user_tables,
    verifications,
)
from hven.site.store._schedules import insert_alerts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hven.site.store._database import StateDatabase
    from hven.site.store._schedules import Alert

REQUEST_META_KEY = "verify"  # key of `meta`: since when everything that is published is to be verified soon
MIN_REQUEST_INTERVAL = timedelta(
    minutes=10
)  # a process that dies again and again has everything verified no more often


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was found of a snapshot.

    Attributes
    ----------
    table
        Qualified name.
    collection
        Its name.
    at
        ISO time, UTC.
    bytes
        That have a checksum, and were compared with it.
    faults
        File -> what is wrong with it.
    unknown
        Files without a checksum: older versions wrote none.
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
        """What is wrong; None: nothing is."""
        if len(self.faults) > 1:
            more_text = f" and {len(self.faults) - 1} more"
        else:
            more_text = ""
        return next((f"{name}: {text}{more_text}" for name, text in self.faults.items()), None)


class VerificationStore:
    """The verifications of a store."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def list_verifications(self) -> dict[str, Verification]:
        """Return the last of each snapshot."""
        with self._database.begin_read() as connection:
            return {row.snapshot: _verification_from_row(row) for row in connection.execute(sa.select(verifications))}

    def list_damaged(self) -> dict[str, Verification]:
        """Return those of damaged snapshots, by their ids."""
        with self._database.begin_read() as connection:
            rows = connection.execute(sa.select(verifications).where(verifications.c.faults != "{}"))
            return {row.snapshot: _verification_from_row(row) for row in rows}

    def record_verifications(self, new_verifications: Iterable[Verification], new_alerts: Iterable[Alert] = ()) -> None:
        """Write down what was found, all at once.

        Every process sees at once which snapshots are damaged now, or are no more.
        """
        with self._database.begin_write() as connection:
            changed = False
            for verification in new_verifications:
                id_columns = (snapshots.c.id, user_tables.c.snapshot)
                if not any(
                    connection.execute(sa.select(id_column).where(id_column == verification.snapshot)).first()
                    for id_column in id_columns
                ):
                    continue  # it was removed meanwhile
                row_condition = verifications.c.snapshot == verification.snapshot
                old_faults = connection.execute(sa.select(verifications.c.faults).where(row_condition)).scalar()
                faults = json.dumps(dict(verification.faults))
                changed |= faults != (old_faults or "{}")
                connection.execute(sa.delete(verifications).where(row_condition))
                values = {
                    "table_name": verification.table,
                    "collection": verification.collection,
                    "bytes": verification.bytes,
                    "unknown": verification.unknown,
                }
                connection.execute(
                    sa.insert(verifications).values(
                        snapshot=verification.snapshot,
                        at=verification.at or format_current_time(),
                        faults=faults,
                        **values,
                    )
                )
            insert_alerts(connection, new_alerts)
            if changed:
                increment_version(connection)

    def request_verification(self) -> None:
        """Request that everything published is verified as soon as may be: a process died of what it read."""
        with self._database.begin_write() as connection:
            last_request = connection.execute(sa.select(meta.c.value).where(meta.c.key == REQUEST_META_KEY)).scalar()
            if (
                last_request is None
                or abs(datetime.now(UTC) - datetime.fromisoformat(last_request)) > MIN_REQUEST_INTERVAL
            ):
                connection.execute(sa.delete(meta).where(meta.c.key == REQUEST_META_KEY))
                connection.execute(sa.insert(meta).values(key=REQUEST_META_KEY, value=format_current_time()))

    def find_request_time(self) -> str:
        """Return when somebody asked for it last.

        Empty: nobody did, or the clock was ahead then, and no answer would ever be newer.
        """
        with self._database.begin_read() as connection:
            request_time = str(
                connection.execute(sa.select(meta.c.value).where(meta.c.key == REQUEST_META_KEY)).scalar() or ""
            )
        return request_time if request_time <= format_current_time() else ""


def _verification_from_row(row: sa.Row[tuple[object, ...]]) -> Verification:
    columns = row._mapping  # noqa: SLF001  (SQLAlchemy's public name)
    return Verification(
        snapshot=columns["snapshot"],
        table=columns["table_name"],
        collection=columns["collection"],
        at=columns["at"],
        bytes=columns["bytes"],
        faults=json.loads(columns["faults"]),
        unknown=columns["unknown"],
    )


__all__ = ["Verification", "VerificationStore"]
