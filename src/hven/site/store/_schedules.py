"""Schedules and alerts: when each collection is due, who runs it, how it went; and what is still to be told to people."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.model.errors import NotFound
from hven.site.store._database import alerts, clock, now, schedules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hven.site.store._database import Database

KEPT = 200  # alerts that are remembered
DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a collection is synchronised, and how that went. Times are seconds since 1970, by `Schedules.moment`.

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
    def undelivered(self) -> str | None:
        """What keeps it from being delivered, or None."""
        found = [
            f"{way}: {facts['error']}"
            for way, facts in self.ways.items()
            if facts.get("error") and not facts.get("sent")
        ]
        return "; ".join(found) or None


def alert(collection: str, kind: str, message: str, ways: Sequence[str], moment: float, **details: Any) -> Alert:
    """Make an alert that is due now.

    Parameters
    ----------
    collection
        Its name.
    kind
        Of the trouble.
    message
        For people.
    ways
        Names of the ways to send it.
    moment
        Seconds since 1970.
    details
        Further facts.

    Returns
    -------
    alert
        Not stored yet.
    """
    stamp = now()
    return Alert(
        id=f"{stamp}-{secrets.token_hex(3)}",
        collection=collection,
        kind=kind,
        at=stamp,
        message=message,
        details=details,
        ways={way: {"attempts": 0} for way in ways},
        due=moment if ways else None,
    )


class Schedules:
    """The schedules of a store, and its alerts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def moment(self) -> float:
        """Return the time, by the clock that all users of the store share."""
        with self._database.reading() as connection:
            return clock(connection)

    def all(self) -> tuple[float, dict[str, Schedule]]:
        """Return the time, and every schedule by collection."""
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(schedules).order_by(schedules.c.collection))
            return clock(connection), {row.collection: _schedule(row) for row in rows}

    def get(self, collection: str) -> Schedule:
        """Return one schedule.

        Raises
        ------
        NotFound
            The collection has no schedule.
        """
        with self._database.reading() as connection:
            row = connection.execute(sa.select(schedules).where(schedules.c.collection == collection)).first()
        if row is None:
            raise NotFound(
                f"{collection!r} has no schedule",
                remedy="say `sync: {every: 1 h}` in its descriptor, and serve the site",
            )
        return _schedule(row)

    def change(
        self, collection: str, step: Callable[[Schedule | None, float], tuple[Schedule | None, Iterable[Alert]]]
    ) -> tuple[Schedule | None, Schedule | None]:
        """Make a schedule what `step` makes of it, in one transaction with the alerts that it gives.

        Parameters
        ----------
        step
            Given the schedule as it is (None: there is none) and the time; gives what it becomes (None: it goes), and alerts.

        Returns
        -------
        before, after
            The schedule before and afterwards.
        """
        where = schedules.c.collection == collection
        with self._database.writing() as connection:
            row = connection.execute(sa.select(schedules).where(where)).first()
            before = None if row is None else _schedule(row)
            after, told = step(before, clock(connection))
            if after != before:
                if after is None:
                    connection.execute(sa.delete(schedules).where(where))
                elif before is None:
                    connection.execute(sa.insert(schedules).values(**_row(after)))
                else:
                    connection.execute(sa.update(schedules).where(where).values(**_row(after)))
            insert_alerts(connection, told)
        return before, after

    # --- alerts ----------------------------------------------------------------------------------------------

    def alerts(self, limit: int = 50) -> list[Alert]:
        """List alerts, the newest first."""
        with self._database.reading() as connection:
            return [
                _alert(row) for row in connection.execute(sa.select(alerts).order_by(alerts.c.id.desc()).limit(limit))
            ]

    def pending(self) -> list[Alert]:
        """List the alerts that an attempt is due for, the oldest first."""
        with self._database.reading() as connection:
            moment = clock(connection)
            # nothing waits for a day: the clock was ahead then
            which = sa.or_(alerts.c.due <= moment, alerts.c.due > moment + DAY)
            query = sa.select(alerts).where(which).order_by(alerts.c.id)
            return [_alert(row) for row in connection.execute(query)]

    def claim(self, item: Alert, seconds: float) -> bool:
        """Claim an alert for delivery; after so many seconds it is due again, should nobody say how it went. False: others have it."""
        with self._database.writing() as connection:
            mine = sa.and_(alerts.c.id == item.id, alerts.c.due == item.due)
            done = connection.execute(sa.update(alerts).where(mine).values(due=clock(connection) + seconds))
        return done.rowcount == 1

    def delivered(self, item: Alert, ways: Mapping[str, Mapping[str, Any]], wait: float | None) -> None:
        """Write down how a delivery went; `wait`: seconds to the next attempt, None: there is none."""
        with self._database.writing() as connection:
            due = None if wait is None else clock(connection) + wait
            connection.execute(sa.update(alerts).where(alerts.c.id == item.id).values(ways=json.dumps(ways), due=due))
            old = sa.select(alerts.c.id).order_by(alerts.c.id.desc()).offset(KEPT)
            gone = list(connection.execute(old).scalars())
            if gone:
                connection.execute(sa.delete(alerts).where(alerts.c.id.in_(gone), alerts.c.due.is_(None)))


def insert_alerts(connection: sa.Connection, told: Iterable[Alert]) -> None:
    """Write down what people are to be told, in the transaction of what it is about."""
    for item in told:
        connection.execute(sa.insert(alerts).values(**_alert_row(item)))


def _row(item: Schedule) -> dict[str, Any]:
    return {**asdict(replace(item, told={})), "told": json.dumps(dict(item.told))}


def _alert_row(item: Alert) -> dict[str, Any]:
    data = asdict(item)
    return {**data, "details": json.dumps(data["details"]), "ways": json.dumps(data["ways"])}


def _schedule(row: Any) -> Schedule:
    data = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name)
    return Schedule(**{**data, "told": json.loads(data["told"])})


def _alert(row: Any) -> Alert:
    data = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name)
    return Alert(**{**data, "details": json.loads(data["details"]), "ways": json.loads(data["ways"])})
