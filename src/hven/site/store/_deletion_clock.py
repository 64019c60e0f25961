"""The time by which things are deleted: the store's clock; but where that leaps ahead, only what it has gone on from for a day.

What is deleted early is lost, what is deleted late costs disk. The last time that was believed is kept, so that a server which starts
under a wrong clock believes it no more than one that was running.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from hven.site.store._database import clock, meta

if TYPE_CHECKING:
    from hven.site.store._database import Database

KEY = "time"  # in `meta`
LEAP = 3600.0  # seconds by which the clock may be ahead of what was believed last: a correction, or a pause
BELIEVED = 86_400.0  # seconds that it goes on from a leap, and is not set back, until it is believed
NOTED = 600.0  # seconds between two times that are written down


class Reckoning(NamedTuple):
    """What is known of the time, in seconds since 1970.

    Attributes
    ----------
    believed
        By which things are deleted.
    leap
        What the clock said when it first was too far ahead of that; None: it is not.
    seen
        What it said last.
    """

    believed: float
    leap: float | None
    seen: float

    def at(self, now: float) -> Reckoning:
        """Return what is known when the clock says `now`."""
        if now <= self.believed + LEAP:  # set back: that counts at once
            return Reckoning(now, None, now)
        if self.leap is None or now < self.leap:
            return Reckoning(self.believed, now, now)
        if now - self.leap < BELIEVED:
            return Reckoning(self.believed, self.leap, now)
        # it went on, and was not set back; but of a leap that comes on top of that nothing is known yet
        return Reckoning(now, None, now) if now <= self.seen + LEAP else Reckoning(self.seen, now, now)


class Times:
    """The time of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ahead(self) -> str | None:
        """Describe in words that the clock has leapt ahead, if somebody has noticed and it still is; nothing is written."""
        with self._database.reading() as connection:
            kept, now = _kept(connection), clock(connection)
        if kept is None or kept.leap is None or (found := kept.at(now)).leap is None:
            return None
        was, said, until = (stamp(moment)[:19] for moment in (found.believed, found.seen, found.leap + BELIEVED))
        return (
            f"the clock says {said}, and was at {was} before: until it has gone on to {until}, nothing is deleted by it"
        )

    def believed(self) -> str:
        """Return the time by which things are deleted, as ISO text in UTC, and take note of it."""
        with self._database.reading() as connection:
            kept, found = _kept(connection), reckoned(connection)
        if kept is None or kept.leap != found.leap or abs(found.seen - kept.seen) > NOTED:
            with self._database.writing() as connection:
                found = reckoned(connection)
                connection.execute(sa.delete(meta).where(meta.c.key == KEY))
                connection.execute(sa.insert(meta).values(key=KEY, value=json.dumps(found)))
        return stamp(found.believed)


def reckoned(connection: sa.Connection) -> Reckoning:
    """Return what is known now; part of the caller's transaction."""
    now, kept = clock(connection), _kept(connection)
    return Reckoning(now, None, now) if kept is None else kept.at(now)


def stamp(moment: float) -> str:
    """Write seconds since 1970 as the store's times are written."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _kept(connection: sa.Connection) -> Reckoning | None:
    text = connection.execute(sa.select(meta.c.value).where(meta.c.key == KEY)).scalar()
    return None if text is None else Reckoning(*json.loads(text))
