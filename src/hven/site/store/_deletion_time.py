"""The time by which things are deleted: the store's clock.

But where that leaps ahead, only what it has gone on from for a day.

What is deleted early is lost, what is deleted late costs disk. The last time that was believed is kept, so that a
server which starts under a wrong clock believes it no more than one that was running.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from hven.site.store._database import meta, read_shared_clock

if TYPE_CHECKING:
    from hven.site.store._database import StateDatabase

TIME_META_KEY = "time"  # in `meta`
MAX_LEAP_SECONDS = 3600.0  # seconds by which the clock may be ahead of what was believed last: a correction, or a pause
LEAP_TRUST_SECONDS = 86_400.0  # seconds that it goes on from a leap, and is not set back, until it is believed
RECORD_INTERVAL_SECONDS = 600.0  # seconds between two times that are written down


class DeletionTime(NamedTuple):
    """What is known of the time, in seconds since 1970.

    Attributes
    ----------
    trusted_time
        By which things are deleted.
    leap_start
        What the clock said when it first was too far ahead of that; None: it is not.
    last_clock_time
        What it said last.
    """

    trusted_time: float
    leap_start: float | None
    last_clock_time: float

    def apply_clock_time(self, clock_time: float) -> DeletionTime:
        """Return what is known when the clock says `clock_time`."""
        if clock_time <= self.trusted_time + MAX_LEAP_SECONDS:  # set back: that counts at once
            return DeletionTime(clock_time, None, clock_time)
        if self.leap_start is None or clock_time < self.leap_start:
            return DeletionTime(self.trusted_time, clock_time, clock_time)
        if clock_time - self.leap_start < LEAP_TRUST_SECONDS:
            return DeletionTime(self.trusted_time, self.leap_start, clock_time)
        # it went on, and was not set back; but of a leap that comes on top of that nothing is known yet
        if clock_time <= self.last_clock_time + MAX_LEAP_SECONDS:
            return DeletionTime(clock_time, None, clock_time)
        return DeletionTime(self.last_clock_time, clock_time, clock_time)


class DeletionClock:
    """The time of a store."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def describe_leap(self) -> str | None:
        """Describe in words that the clock has leapt ahead, if somebody has noticed and it still is.

        Nothing is written.
        """
        with self._database.begin_read() as connection:
            stored_time = _read_stored_time(connection)
            now = read_shared_clock(connection)
        if (
            stored_time is None
            or stored_time.leap_start is None
            or (current_time := stored_time.apply_clock_time(now)).leap_start is None
        ):
            return None
        trusted_text, clock_text, trusted_until = (
            format_timestamp(moment)[:19]
            for moment in (
                current_time.trusted_time,
                current_time.last_clock_time,
                current_time.leap_start + LEAP_TRUST_SECONDS,
            )
        )
        return (
            f"the clock says {clock_text}, and was at {trusted_text} before: until it has gone on to "
            f"{trusted_until}, nothing is deleted by it"
        )

    def get_trusted_time(self) -> str:
        """Return the time by which things are deleted, as ISO text in UTC, and take note of it."""
        with self._database.begin_read() as connection:
            stored_time = _read_stored_time(connection)
            current_time = compute_deletion_time(connection)
        if (
            stored_time is None
            or stored_time.leap_start != current_time.leap_start
            or abs(current_time.last_clock_time - stored_time.last_clock_time) > RECORD_INTERVAL_SECONDS
        ):
            with self._database.begin_write() as connection:
                current_time = compute_deletion_time(connection)
                connection.execute(sa.delete(meta).where(meta.c.key == TIME_META_KEY))
                connection.execute(sa.insert(meta).values(key=TIME_META_KEY, value=json.dumps(current_time)))
        return format_timestamp(current_time.trusted_time)


def compute_deletion_time(connection: sa.Connection) -> DeletionTime:
    """Return what is known now; part of the caller's transaction."""
    clock_time = read_shared_clock(connection)
    stored_time = _read_stored_time(connection)
    if stored_time is None:
        return DeletionTime(clock_time, None, clock_time)
    return stored_time.apply_clock_time(clock_time)


def format_timestamp(timestamp: float) -> str:
    """Write seconds since 1970 as the store's times are written."""
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _read_stored_time(connection: sa.Connection) -> DeletionTime | None:
    text = connection.execute(sa.select(meta.c.value).where(meta.c.key == TIME_META_KEY)).scalar()
    if text is None:
        return None
    return DeletionTime(*json.loads(text))
