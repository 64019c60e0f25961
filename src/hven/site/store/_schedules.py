"""Schedules and alerts: when each collection is due, which process runs it, how it went, and what to tell people."""

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

MAX_STORED_ALERTS = 200
DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncScheduleRecord:
    """When a collection is synchronised, and how that went.

    Times are seconds since 1970, by `SyncScheduleStore.get_database_time`.

    Attributes
    ----------
    timing
        As the descriptor had it when `due` was computed.
    asked, paused
        When somebody asked for a run at once, or paused the schedule.
    failures
        Number of failed runs since the last success.
    holder, began
        The process that runs it now, and since when; without a holder, when the last run began.
    ended, phase, message
        End, phase and message of the last run.
    succeeded, lasted
        When the last successful run ended, and how many seconds it took.
    told
        What alerts have reported: kind -> facts.
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
class CollectionAlert:
    """A message to people about a collection.

    Attributes
    ----------
    id
        Sorts by time.
    collection
        Name of the collection.
    kind
        ``failed``, ``guard``, ``stale``, ``recovered``, ``damaged``.
    at
        ISO time, UTC.
    message
        Text for people.
    details
        Facts for programs.
    ways
        Channel (webhook, mail, command) -> ``attempts``, and ``sent`` (ISO time) or ``error``.
    due
        When the next attempt is made; None: no attempt is left.
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
        """The errors of the channels that have not delivered it yet, or None."""
        problems = []
        for channel, facts in self.ways.items():
            if facts.get("error") and not facts.get("sent"):
                problems.append(f"{channel}: {facts['error']}")
        return "; ".join(problems) or None

    def to_json(self) -> dict[str, str | None]:
        """Return what lists of alerts show of it."""
        return {
            "at": self.at,
            "collection": self.collection,
            "kind": self.kind,
            "message": self.message,
            "undelivered": self.delivery_problem,
        }


def create_alert(
    collection: str, alert_kind: str, message: str, channels: Sequence[str], due_time: float, **details: Any
) -> CollectionAlert:
    """Create an alert that is due now.

    Parameters
    ----------
    collection
        Name of the collection.
    alert_kind
        Kind of the alert, as in `CollectionAlert`.
    message
        Text for people.
    channels
        Names of the channels that deliver it.
    due_time
        Seconds since 1970.
    details
        Further facts.

    Returns
    -------
    alert
        The alert, which is not stored yet.
    """
    stamp = format_current_time()
    deliveries = {channel: {"attempts": 0} for channel in channels}
    return CollectionAlert(
        id=f"{stamp}-{secrets.token_hex(3)}",
        collection=collection,
        kind=alert_kind,
        at=stamp,
        message=message,
        details=details,
        ways=deliveries,
        due=due_time if channels else None,
    )


class SyncScheduleStore:
    """The schedules of a store, and its alerts."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def get_database_time(self) -> float:
        """Return the current time by the clock that all users of the store share, in seconds since 1970."""
        with self._database.begin_read() as connection:
            return read_shared_clock(connection)

    def list_schedules(self) -> tuple[float, dict[str, SyncScheduleRecord]]:
        """Return the current time, and every schedule by collection."""
        query = sa.select(schedules).order_by(schedules.c.collection)
        with self._database.begin_read() as connection:
            schedules_by_name = {row.collection: _schedule_from_row(row) for row in connection.execute(query)}
            return read_shared_clock(connection), schedules_by_name

    def get_schedule(self, collection: str) -> SyncScheduleRecord:
        """Return the schedule of a collection.

        Raises
        ------
        NotFoundError
            The collection has no schedule.
        """
        query = sa.select(schedules).where(schedules.c.collection == collection)
        with self._database.begin_read() as connection:
            row = connection.execute(query).first()
        if row is None:
            remedy = "check the name; a published collection whose descriptor has `sync: {every: 1 h}` has one"
            raise NotFoundError(f"{collection!r} has no schedule", remedy=remedy)
        return _schedule_from_row(row)

    def update_schedule(
        self,
        collection: str,
        compute_transition: Callable[
            [SyncScheduleRecord | None, float], tuple[SyncScheduleRecord | None, Iterable[CollectionAlert]]
        ],
    ) -> tuple[SyncScheduleRecord | None, SyncScheduleRecord | None]:
        """Replace a schedule by what `compute_transition` makes of it, and add its alerts, in one transaction.

        Parameters
        ----------
        compute_transition
            Takes the present schedule (None: there is none) and the current time; returns the new schedule (None:
            delete it), and alerts.

        Returns
        -------
        before, after
            The schedule before and afterwards.
        """
        row_condition = schedules.c.collection == collection
        with self._database.begin_write() as connection:
            row = connection.execute(sa.select(schedules).where(row_condition)).first()
            before = None
            if row is not None:
                before = _schedule_from_row(row)
            after, new_alerts = compute_transition(before, read_shared_clock(connection))
            if after is None:
                connection.execute(sa.delete(schedules).where(row_condition))
            elif before is None:
                connection.execute(sa.insert(schedules).values(**_schedule_to_row(after)))
            elif after != before:
                connection.execute(sa.update(schedules).where(row_condition).values(**_schedule_to_row(after)))
            insert_alerts(connection, new_alerts)
        return before, after

    # --- alerts ----------------------------------------------------------------------------------------------

    def list_alerts(self, row_limit: int = 50) -> list[CollectionAlert]:
        """List alerts, the newest first."""
        query = sa.select(alerts).order_by(alerts.c.id.desc()).limit(row_limit)
        with self._database.begin_read() as connection:
            return [_alert_from_row(row) for row in connection.execute(query)]

    def list_due_alerts(self) -> list[CollectionAlert]:
        """List the alerts whose next attempt is due, the oldest first."""
        with self._database.begin_read() as connection:
            current_time = read_shared_clock(connection)
            # no alert waits for a day: if one seems to, the clock was ahead when it was set
            due_condition = sa.or_(alerts.c.due <= current_time, alerts.c.due > current_time + DAY_SECONDS)
            query = sa.select(alerts).where(due_condition).order_by(alerts.c.id)
            return [_alert_from_row(row) for row in connection.execute(query)]

    def claim_alert(self, alert_record: CollectionAlert, claim_seconds: float) -> bool:
        """Claim an alert for delivery; return False if another process has it.

        If no outcome is recorded within `claim_seconds`, the alert is due again.
        """
        own_condition = sa.and_(alerts.c.id == alert_record.id, alerts.c.due == alert_record.due)
        with self._database.begin_write() as connection:
            due = read_shared_clock(connection) + claim_seconds
            update_result = connection.execute(sa.update(alerts).where(own_condition).values(due=due))
        return update_result.rowcount == 1

    def record_delivery(
        self, alert_record: CollectionAlert, channels: Mapping[str, Mapping[str, Any]], retry_seconds: float | None
    ) -> None:
        """Record the outcome of a delivery; `retry_seconds`: seconds to the next attempt, None: there is none."""
        values: dict[str, Any] = {"ways": json.dumps(channels), "due": None}
        with self._database.begin_write() as connection:
            if retry_seconds is not None:
                values["due"] = read_shared_clock(connection) + retry_seconds
            connection.execute(sa.update(alerts).where(alerts.c.id == alert_record.id).values(values))

    def delete_surplus_alerts(self) -> None:
        """Delete the oldest alerts above the limit; those that wait for a delivery stay."""
        old_ids_query = sa.select(alerts.c.id).order_by(alerts.c.id.desc()).offset(MAX_STORED_ALERTS)
        with self._database.begin_write() as connection:
            old_ids = list(connection.execute(old_ids_query).scalars())
            if old_ids:
                connection.execute(sa.delete(alerts).where(alerts.c.id.in_(old_ids), alerts.c.due.is_(None)))


def insert_alerts(connection: sa.Connection, new_alerts: Iterable[CollectionAlert]) -> None:
    """Insert alerts in the transaction of the change that they report."""
    for new_alert in new_alerts:
        connection.execute(sa.insert(alerts).values(**_alert_to_row(new_alert)))


def _schedule_to_row(schedule: SyncScheduleRecord) -> dict[str, Any]:
    values = asdict(replace(schedule, told={}))
    values["told"] = json.dumps(dict(schedule.told))
    return values


def _alert_to_row(alert_record: CollectionAlert) -> dict[str, Any]:
    values = asdict(alert_record)
    for name in ("details", "ways"):
        values[name] = json.dumps(values[name])
    return values


def _schedule_from_row(row: Any) -> SyncScheduleRecord:
    values = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name)
    values["told"] = json.loads(values["told"])
    return SyncScheduleRecord(**values)


def _alert_from_row(row: Any) -> CollectionAlert:
    values = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name)
    for name in ("details", "ways"):
        values[name] = json.loads(values[name])
    return CollectionAlert(**values)
