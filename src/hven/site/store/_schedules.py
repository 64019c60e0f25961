"""Schedules and alerts: when each collection is due, who runs it, how it went.

And what is still to be told to people.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.model.errors import NotFoundError
from hven.site.store._database import alerts, format_current_time, read_shared_clock, schedules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hven.site.store._database import StateDatabase

MAX_STORED_ALERTS = 200  # alerts that are remembered
DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncScheduleRecord:
    """When a collection is synchronised, and how that went.

    Times are seconds since 1970, by `ScheduleStore.get_current_time`.

    Attributes
    ----------
    timing
        As the descriptor said it when `due` was worked out.
    asked, paused
        Since when somebody wants it to run at once, or not at all.
    failures
        Runs that failed since the last that did not.
    holder, began
        Who runs it now, since when; the last one's beginning if nobody does.
    ended, phase, message
        Of the last run.
    succeeded, lasted
        When the last good run ended, and how long it took.
    told
        What alerts have said: kind -> facts.
    """

    collection: str
    timing: str
    due: float
    asked: float | None = None
    paused: float | None = None
    failures: int = 0
    holder: str | None = None
    began: float | None = None
    ended: float | None = None
    phase: str | None = None
    message: str | None = None
    succeeded: float | None = None
    lasted: float | None = None
    told: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something that people are told.

    Attributes
    ----------
    id
        Sorts by time.
    collection
        Its name.
    kind
        ``failed``, ``guard``, ``stale``, ``recovered``, ``damaged``.
    at
        ISO time, UTC.
    message
        For people.
    details
        For programs.
    ways
        Way (webhook, mail, command) -> ``attempts``, and ``sent`` (ISO time) or ``error``.
    due
        When the next attempt is made; None: there is none left to make.
    """

    id: str
    collection: str
    kind: str
    at: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)
    ways: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    due: float | None = None

    @property
    def delivery_problem(self) -> str | None:
        """What keeps it from being delivered, or None."""
        problems = [
            f"{channel}: {facts['error']}"
            for channel, facts in self.ways.items()
            if facts.get("error") and not facts.get("sent")
        ]
        return "; ".join(problems) or None


def create_alert(
    collection: str, alert_kind: str, message: str, channels: Sequence[str], due_time: float, **details: Any
) -> Alert:
    """Make an alert that is due now.

    Parameters
    ----------
    collection
        Its name.
    alert_kind
        Of the trouble.
    message
        For people.
    channels
        Names of the ways to send it.
    due_time
        Seconds since 1970.
    details
        Further facts.

    Returns
    -------
    alert
        Not stored yet.
    """
    stamp = format_current_time()
    return Alert(
        id=f"{stamp}-{secrets.token_hex(3)}",
        collection=collection,
        kind=alert_kind,
        at=stamp,
        message=message,
        details=details,
        ways={channel: {"attempts": 0} for channel in channels},
        due=due_time if channels else None,
    )


class ScheduleStore:
    """The schedules of a store, and its alerts."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def get_current_time(self) -> float:
        """Return the time, by the clock that all users of the store share."""
        with self._database.begin_read() as connection:
            return read_shared_clock(connection)

    def list_schedules(self) -> tuple[float, dict[str, SyncScheduleRecord]]:
        """Return the time, and every schedule by collection."""
        with self._database.begin_read() as connection:
            rows = connection.execute(sa.select(schedules).order_by(schedules.c.collection))
            return read_shared_clock(connection), {row.collection: _schedule_from_row(row) for row in rows}

    def get_schedule(self, collection: str) -> SyncScheduleRecord:
        """Return one schedule.

        Raises
        ------
        NotFoundError
            The collection has no schedule.
        """
        with self._database.begin_read() as connection:
            row = connection.execute(sa.select(schedules).where(schedules.c.collection == collection)).first()
        if row is None:
            raise NotFoundError(
                f"{collection!r} has no schedule",
                remedy="say `sync: {every: 1 h}` in its descriptor, and serve the site",
            )
        return _schedule_from_row(row)

    def update_schedule(
        self,
        collection: str,
        transition: Callable[[SyncScheduleRecord | None, float], tuple[SyncScheduleRecord | None, Iterable[Alert]]],
    ) -> tuple[SyncScheduleRecord | None, SyncScheduleRecord | None]:
        """Make a schedule what `transition` makes of it, in one transaction with the alerts that it gives.

        Parameters
        ----------
        transition
            Given the schedule as it is (None: there is none) and the time; gives what it becomes (None: it goes), and
            alerts.

        Returns
        -------
        before, after
            The schedule before and afterwards.
        """
        row_condition = schedules.c.collection == collection
        with self._database.begin_write() as connection:
            row = connection.execute(sa.select(schedules).where(row_condition)).first()
            if row is None:
                before = None
            else:
                before = _schedule_from_row(row)
            after, new_alerts = transition(before, read_shared_clock(connection))
            if after != before:
                if after is None:
                    connection.execute(sa.delete(schedules).where(row_condition))
                elif before is None:
                    connection.execute(sa.insert(schedules).values(**_schedule_to_row(after)))
                else:
                    connection.execute(sa.update(schedules).where(row_condition).values(**_schedule_to_row(after)))
            insert_alerts(connection, new_alerts)
        return before, after

    # --- alerts ----------------------------------------------------------------------------------------------

    def list_alerts(self, row_limit: int = 50) -> list[Alert]:
        """List alerts, the newest first."""
        with self._database.begin_read() as connection:
            return [
                _alert_from_row(row)
                for row in connection.execute(sa.select(alerts).order_by(alerts.c.id.desc()).limit(row_limit))
            ]

    def list_due_alerts(self) -> list[Alert]:
        """List the alerts that an attempt is due for, the oldest first."""
        with self._database.begin_read() as connection:
            current_time = read_shared_clock(connection)
            # nothing waits for a day: the clock was ahead then
            due_condition = sa.or_(alerts.c.due <= current_time, alerts.c.due > current_time + DAY_SECONDS)
            query = sa.select(alerts).where(due_condition).order_by(alerts.c.id)
            return [_alert_from_row(row) for row in connection.execute(query)]

    def claim_alert(self, alert_record: Alert, claim_seconds: float) -> bool:
        """Claim an alert for delivery; after so many seconds it is due again, should nobody say how it went. False.

        Others have it.
        """
        with self._database.begin_write() as connection:
            own_condition = sa.and_(alerts.c.id == alert_record.id, alerts.c.due == alert_record.due)
            update_result = connection.execute(
                sa.update(alerts).where(own_condition).values(due=read_shared_clock(connection) + claim_seconds)
            )
        return update_result.rowcount == 1

    def record_delivery(
        self, alert_record: Alert, channels: Mapping[str, Mapping[str, Any]], retry_seconds: float | None
    ) -> None:
        """Write down how a delivery went; `retry_seconds`: seconds to the next attempt, None: there is none."""
        with self._database.begin_write() as connection:
            if retry_seconds is None:
                due = None
            else:
                due = read_shared_clock(connection) + retry_seconds
            connection.execute(
                sa.update(alerts).where(alerts.c.id == alert_record.id).values(ways=json.dumps(channels), due=due)
            )
            old_ids_query = sa.select(alerts.c.id).order_by(alerts.c.id.desc()).offset(MAX_STORED_ALERTS)
            removed_ids = list(connection.execute(old_ids_query).scalars())
            if removed_ids:
                connection.execute(sa.delete(alerts).where(alerts.c.id.in_(removed_ids), alerts.c.due.is_(None)))


def insert_alerts(connection: sa.Connection, new_alerts: Iterable[Alert]) -> None:
    """Write down what people are to be told, in the transaction of what it is about."""
    for new_alert in new_alerts:
        connection.execute(sa.insert(alerts).values(**_alert_to_row(new_alert)))


def _schedule_to_row(schedule: SyncScheduleRecord) -> dict[str, Any]:
    return {**asdict(replace(schedule, told={})), "told": json.dumps(dict(schedule.told))}


def _alert_to_row(alert_record: Alert) -> dict[str, Any]:
    data = asdict(alert_record)
    return {**data, "details": json.dumps(data["details"]), "ways": json.dumps(data["ways"])}


def _schedule_from_row(row: Any) -> SyncScheduleRecord:
    data = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name)
    return SyncScheduleRecord(**{**data, "told": json.loads(data["told"])})


def _alert_from_row(row: Any) -> Alert:
    data = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name)
    return Alert(**{**data, "details": json.loads(data["details"]), "ways": json.loads(data["ways"])})
