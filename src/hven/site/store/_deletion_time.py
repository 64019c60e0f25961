"""The time by which things are deleted: the store's clock, unless it has leapt ahead.

After a leap, the new time counts only when the clock has gone on from it for a day. What is deleted too early is lost;
what is deleted too late costs disk space. The last trusted time is stored, so that a server which starts under a wrong
clock trusts it no more than one that was running.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from hven.site.store._database import insert_meta_value, meta, read_meta_value, read_shared_clock

if TYPE_CHECKING:
    from hven.site.store._database import StateDatabase

TIME_META_KEY = "time"  # key in `meta`
MAX_LEAP_SECONDS = 3600.0  # a clock may be ahead of the trusted time by this much: a correction, or a pause
LEAP_TRUST_SECONDS = 86_400.0  # a clock that goes on from a leap for so long, and is not set back, is trusted again
RECORD_INTERVAL_SECONDS = 600.0  # seconds between two times that are recorded


class TrustedClockState(NamedTuple):
    """What is known of the time, in seconds since 1970.

    Attributes
    ----------
    trusted_time
        The time by which things are deleted.
    leap_start
        The clock's time when it was first too far ahead of the trusted time; None: it is not.
    last_clock_time
        The clock's last time.
    """

    trusted_time: float
    leap_start: float | None
    last_clock_time: float

    def with_clock_time(self, clock_time: float) -> TrustedClockState:
        """Return what is known when the clock shows `clock_time`."""
        if clock_time <= self.trusted_time + MAX_LEAP_SECONDS:  # a clock that is set back is trusted at once
            return TrustedClockState(clock_time, None, clock_time)
        if self.leap_start is None or clock_time < self.leap_start:
            return TrustedClockState(self.trusted_time, clock_time, clock_time)
        if clock_time - self.leap_start < LEAP_TRUST_SECONDS:
            return TrustedClockState(self.trusted_time, self.leap_start, clock_time)
        # the clock went on and was not set back; a second leap on top of the first is not trusted yet
        if clock_time <= self.last_clock_time + MAX_LEAP_SECONDS:
            return TrustedClockState(clock_time, None, clock_time)
        return TrustedClockState(self.last_clock_time, clock_time, clock_time)


class DeletionClock:
    """The time of a store by which things are deleted."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def describe_clock_leap(self) -> str | None:
        """Describe a leap of the clock, if one was recorded and the clock is still ahead; None otherwise.

        This writes nothing to the store.
        """
        with self._database.begin_read() as connection:
            stored_time = _read_stored_time(connection)
            clock_time = read_shared_clock(connection)
        if stored_time is None or stored_time.leap_start is None:
            return None
        current_time = stored_time.with_clock_time(clock_time)
        if current_time.leap_start is None:
            return None
        clock_text = format_timestamp(current_time.last_clock_time)[:19]
        trusted_text = format_timestamp(current_time.trusted_time)[:19]
        trusted_until = format_timestamp(current_time.leap_start + LEAP_TRUST_SECONDS)[:19]
        return (
            f"the clock has jumped from {trusted_text} to {clock_text}; Hven deletes no expired data until "
            f"{trusted_until}"
        )

    def compute_and_record_trusted_time(self) -> str:
        """Return the time by which things are deleted, as ISO text in UTC, and record it."""
        with self._database.begin_read() as connection:
            stored_time = _read_stored_time(connection)
            current_time = compute_trusted_clock_state(connection)
        if stored_time is None or _is_clock_record_due(stored_time, current_time):
            with self._database.begin_write() as connection:
                current_time = compute_trusted_clock_state(connection)
                connection.execute(sa.delete(meta).where(meta.c.key == TIME_META_KEY))
                insert_meta_value(connection, TIME_META_KEY, json.dumps(current_time))
        return format_timestamp(current_time.trusted_time)


def compute_trusted_clock_state(connection: sa.Connection) -> TrustedClockState:
    """Return what is known of the time now; part of the caller's transaction.

    Parameters
    ----------
    connection
        Connection of the caller's transaction.

    Returns
    -------
    state
        The time by which things are deleted, and what is known of a leap of the clock.
    """
    clock_time = read_shared_clock(connection)
    stored_time = _read_stored_time(connection)
    if stored_time is None:
        return TrustedClockState(clock_time, None, clock_time)
    return stored_time.with_clock_time(clock_time)


def format_timestamp(timestamp: float) -> str:
    """Return a time as ISO text in UTC, in the form of the store's times.

    Parameters
    ----------
    timestamp
        Seconds since 1970.

    Returns
    -------
    text
        The text, with microseconds.
    """
    time_text = datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="microseconds")
    return time_text.replace("+00:00", "Z")


def _is_clock_record_due(stored_time: TrustedClockState, current_time: TrustedClockState) -> bool:
    if stored_time.leap_start != current_time.leap_start:
        return True
    return abs(current_time.last_clock_time - stored_time.last_clock_time) > RECORD_INTERVAL_SECONDS


def _read_stored_time(connection: sa.Connection) -> TrustedClockState | None:
    text = read_meta_value(connection, TIME_META_KEY)
    if text is None:
        return None
    return TrustedClockState(*json.loads(text))
