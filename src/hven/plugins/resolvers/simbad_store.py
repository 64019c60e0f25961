"""The objects that SIMBAD has described to this site, and its outages, in the system state of all processes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.plugins.resolvers.resolver_tables import names, objects, outages
from hven.query.resolver import ResolvedName, normalize_object_name
from hven.site.store import format_current_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection

    from hven.site.api.store_tables import StateDatabase

SERVICE_NAME = "simbad"
MAX_OBJECTS = 100_000  # with all their names, some hundred MiB
REMOVED_SHARE = 0.05  # of the objects, the oldest first, when there are too many
STORED_FACTS = ("name", "position", "epoch", "proper_motion", "ids", "kind", "source", "licence")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOutage:
    """A time in which a service does not answer.

    Attributes
    ----------
    since
        Time of the first failure, as ISO text.
    message
        The last failure.
    """

    since: str
    message: str


class SimbadSnapshot:
    """The stored objects.

    Parameters
    ----------
    database
        The system state.
    """

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def find_object(self, name_key: str) -> ResolvedName | None:
        """Find an object by one of its names; None if there is none.

        Parameters
        ----------
        name_key
            The normalized name.
        """
        query = (
            sa.select(objects.c.fetched, objects.c.facts)
            .join(names, names.c.main_name == objects.c.main_name)
            .where(names.c.name_key == name_key)
        )
        with self._database.begin_read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        resolved = _build_resolved_name(json.loads(row.facts), row.fetched)
        is_main_name = normalize_object_name(resolved.name) == name_key
        return replace(resolved, confidence=1.0 if is_main_name else 0.95)

    def store_object(self, resolved: ResolvedName, name_key: str) -> None:
        """Store an object with all its names.

        Parameters
        ----------
        resolved
            The object.
        name_key
            The name that was asked for.
        """
        facts = asdict(resolved)
        stored_facts = json.dumps({name: facts[name] for name in STORED_FACTS})
        name_keys = {name_key, *map(normalize_object_name, (resolved.name, *resolved.ids))} - {""}
        with self._database.begin_write() as connection:
            _remove_objects(connection, [resolved.name])
            connection.execute(sa.delete(names).where(names.c.name_key.in_(sorted(name_keys))))
            values = {"main_name": resolved.name, "fetched": format_current_time(), "facts": stored_facts}
            connection.execute(sa.insert(objects).values(values))
            name_rows = [{"name_key": key, "main_name": resolved.name} for key in sorted(name_keys)]
            connection.execute(sa.insert(names), name_rows)
            _remove_oldest_objects_above_limit(connection)

    def list_old_names(self, max_days: float, row_limit: int) -> list[str]:
        """List the main names of objects that are older than some days, the oldest first.

        Parameters
        ----------
        max_days
            Age in days.
        row_limit
            Maximum number of names.
        """
        before = (datetime.now(UTC) - timedelta(days=max_days)).isoformat(timespec="microseconds")
        query = sa.select(objects.c.main_name).where(objects.c.fetched < before.replace("+00:00", "Z"))
        with self._database.begin_read() as connection:
            return list(connection.execute(query.order_by(objects.c.fetched).limit(row_limit)).scalars())

    def summarize(self) -> dict[str, Any]:
        """Count the objects, and find the age of the oldest one in seconds."""
        query = sa.select(sa.func.count(), sa.func.min(objects.c.fetched)).select_from(objects)
        with self._database.begin_read() as connection:
            count, oldest = connection.execute(query).one()
        outage = self.find_outage()
        return {
            "objects": count,
            "oldest_age": None if oldest is None else _compute_age(oldest),
            "away_since": None if outage is None else outage.since,
            "away_reason": None if outage is None else outage.message,
        }

    def record_outage(self, message: str) -> str:
        """Record a failure of SIMBAD; return the time since which it fails.

        Parameters
        ----------
        message
            The failure.
        """
        outage = self.find_outage()
        if outage is None:
            since = format_current_time()
        else:
            since = outage.since
        values = {"service": SERVICE_NAME, "since": since, "message": message}
        with self._database.begin_write() as connection:
            connection.execute(sa.delete(outages).where(outages.c.service == SERVICE_NAME))
            connection.execute(sa.insert(outages).values(values))
        return since

    def end_outage(self) -> None:
        """Record that SIMBAD answers."""
        if self.find_outage() is not None:
            with self._database.begin_write() as connection:
                connection.execute(sa.delete(outages).where(outages.c.service == SERVICE_NAME))

    def find_outage(self) -> ServiceOutage | None:
        """Find the outage of SIMBAD; None if it has answered the last request."""
        query = sa.select(outages.c.since, outages.c.message).where(outages.c.service == SERVICE_NAME)
        with self._database.begin_read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        return ServiceOutage(since=row.since, message=row.message)


def _remove_objects(connection: sa.Connection, main_names: Sequence[str]) -> None:
    for table in (names, objects):
        for begin in range(0, len(main_names), 500):  # databases limit the number of values
            part = main_names[begin : begin + 500]
            connection.execute(sa.delete(table).where(table.c.main_name.in_(part)))


def _build_resolved_name(facts: dict[str, Any], fetched: str) -> ResolvedName:
    for name in ("position", "proper_motion"):
        facts[name] = None if facts[name] is None else tuple(facts[name])
    facts["ids"] = tuple(facts["ids"])
    return ResolvedName(**facts, age=_compute_age(fetched))


def _compute_age(fetched: str) -> float:
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(fetched)).total_seconds())


def _remove_oldest_objects_above_limit(connection: Connection) -> None:
    count = connection.execute(sa.select(sa.func.count()).select_from(objects)).scalar_one()
    if count > MAX_OBJECTS:
        oldest = sa.select(objects.c.main_name).order_by(objects.c.fetched).limit(int(count * REMOVED_SHARE))
        _remove_objects(connection, list(connection.execute(oldest).scalars()))
