"""What verifications found: one line for each snapshot whose files were read again; those with a fault are served no more."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hven.site.store._database import meta, now, snapshots, turn, user_tables, verifications
from hven.site.store._schedules import insert_alerts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hven.site.store._database import Database
    from hven.site.store._schedules import Alert

ASKED = "verify"  # key of `meta`: since when everything that is published is to be verified soon
PAUSE = timedelta(minutes=10)  # a process that dies again and again has everything verified no more often


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
    def why(self) -> str | None:
        """What is wrong; None: nothing is."""
        more = f" and {len(self.faults) - 1} more" if len(self.faults) > 1 else ""
        return next((f"{name}: {text}{more}" for name, text in self.faults.items()), None)


class Verifications:
    """The verifications of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> dict[str, Verification]:
        """Return the last of each snapshot."""
        with self._database.reading() as connection:
            return {row.snapshot: _read(row) for row in connection.execute(sa.select(verifications))}

    def damaged(self) -> dict[str, Verification]:
        """Return those of damaged snapshots, by their ids."""
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(verifications).where(verifications.c.faults != "{}"))
            return {row.snapshot: _read(row) for row in rows}

    def note(self, found: Iterable[Verification], told: Iterable[Alert] = ()) -> None:
        """Write down what was found, all at once; every process sees at once which snapshots are damaged now, or are no more."""
        with self._database.writing() as connection:
            changed = False
            for one in found:
                kept = (snapshots.c.id, user_tables.c.snapshot)
                if not any(connection.execute(sa.select(ident).where(ident == one.snapshot)).first() for ident in kept):
                    continue  # it was removed meanwhile
                where = verifications.c.snapshot == one.snapshot
                before = connection.execute(sa.select(verifications.c.faults).where(where)).scalar()
                faults = json.dumps(dict(one.faults))
                changed |= faults != (before or "{}")
                connection.execute(sa.delete(verifications).where(where))
                values = {
                    "table_name": one.table,
                    "collection": one.collection,
                    "bytes": one.bytes,
                    "unknown": one.unknown,
                }
                connection.execute(
                    sa.insert(verifications).values(snapshot=one.snapshot, at=one.at or now(), faults=faults, **values)
                )
            insert_alerts(connection, told)
            if changed:
                turn(connection)

    def ask(self) -> None:
        """Request that everything published is verified as soon as may be: a process died of what it read."""
        with self._database.writing() as connection:
            before = connection.execute(sa.select(meta.c.value).where(meta.c.key == ASKED)).scalar()
            if before is None or abs(datetime.now(UTC) - datetime.fromisoformat(before)) > PAUSE:
                connection.execute(sa.delete(meta).where(meta.c.key == ASKED))
                connection.execute(sa.insert(meta).values(key=ASKED, value=now()))

    def asked(self) -> str:
        """Return when somebody asked for it last; empty: nobody did, or the clock was ahead then, and no answer would ever be newer."""
        with self._database.reading() as connection:
            found = str(connection.execute(sa.select(meta.c.value).where(meta.c.key == ASKED)).scalar() or "")
        return found if found <= now() else ""


def _read(row: sa.Row[tuple[object, ...]]) -> Verification:
    said = row._mapping  # noqa: SLF001  (SQLAlchemy's public name)
    return Verification(
        snapshot=said["snapshot"],
        table=said["table_name"],
        collection=said["collection"],
        at=said["at"],
        bytes=said["bytes"],
        faults=json.loads(said["faults"]),
        unknown=said["unknown"],
    )


__all__ = ["Verification", "Verifications"]
