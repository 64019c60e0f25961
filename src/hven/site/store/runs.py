"""Runs: every ingest that began, how it ended, what it reported."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.model.errors import NotFound
from hven.site.store._database import following, now, runs
from hven.site.store._leases import Lease, holder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.site.store._database import Database

KINDS = ("ingest", "sync")  # of runs that look at a source
RUNNING, COMPLETED, ERROR, ABORTED = "RUNNING", "COMPLETED", "ERROR", "ABORTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run; `phase` is RUNNING, COMPLETED, ERROR or ABORTED.

    Attributes
    ----------
    id
        Sorts by time.
    collection
        Its name.
    kind
        ``ingest``, ``sync``, ``rollback`` ...
    holder
        The process, as `hven.site.store.holder` writes it.
    started, ended
        ISO times, UTC; None: it has not ended.
    message
        Why it ended so.
    summary
        Numbers of its report.
    report
        Path of the whole report.
    """

    id: str
    collection: str
    kind: str
    phase: str
    holder: str
    started: str
    ended: str | None = None
    message: str | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)
    report: str | None = None


class Runs:
    """The runs of a store.

    Common
    ------
    collection
        Name of a collection.
    run
        Id of a run.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, run: str, collection: str, kind: str = "ingest") -> Run:
        """Record that a run began.

        Parameters
        ----------
        kind
            Ingest, sync, rollback ...

        Returns
        -------
        run
            Held by this process.
        """
        begun = Run(id=run, collection=collection, kind=kind, phase=RUNNING, holder=holder(), started=now())
        with self._database.writing() as connection:
            values = {
                "id": run,
                "collection": collection,
                "kind": kind,
                "phase": RUNNING,
                "holder": begun.holder,
                "started": begun.started,
            }
            connection.execute(sa.insert(runs).values(**values, number=following(connection, runs)))
        return begun

    def end(
        self,
        run: str,
        phase: str,
        *,
        message: str | None = None,
        summary: Mapping[str, Any] | None = None,
        report: str | None = None,
    ) -> None:
        """Record how a run ended.

        Parameters
        ----------
        phase
            COMPLETED, ERROR or ABORTED.
        message
            Why, for people.
        summary
            Numbers of its report.
        report
            The whole of it, JSON.
        """
        values = {
            "phase": phase,
            "ended": now(),
            "message": message,
            "summary": json.dumps(summary or {}),
            "report": report,
        }
        with self._database.writing() as connection:
            connection.execute(sa.update(runs).where(runs.c.id == run).values(**values))

    def get(self, run: str) -> Run:
        """Return one run.

        Raises
        ------
        NotFound
            There is none of that id.
        """
        with self._database.reading() as connection:
            row = connection.execute(sa.select(runs).where(runs.c.id == run)).first()
        if row is None:
            raise NotFound(f"there is no run {run!r}")
        return _run(row)

    def of(self, collection: str, limit: int = 50) -> list[Run]:
        """List the runs of a collection. One whose process died shows as ABORTED.

        Parameters
        ----------
        limit
            How many at most.

        Returns
        -------
        runs
            The newest first.
        """
        query = sa.select(runs).where(runs.c.collection == collection).order_by(runs.c.number.desc()).limit(limit)
        with self._database.reading() as connection:
            return [_run(row) for row in connection.execute(query)]

    def latest(self) -> dict[str, tuple[Run | None, Run | None]]:
        """Return the last run of each collection, and the last good one; dry runs and samples are none."""
        real = sa.and_(sa.not_(sa.func.coalesce(runs.c.summary, "").like('%"dry_run": true%')), runs.c.kind.in_(KINDS))
        newest = sa.select(sa.func.max(runs.c.number)).where(real).group_by(runs.c.collection)
        good = newest.where(
            runs.c.phase == COMPLETED,
            sa.not_(runs.c.summary.like('%"sample": _%')) | runs.c.summary.like('%"sample": null%'),
        )
        found: dict[str, tuple[Run | None, Run | None]] = {}
        with self._database.reading() as connection:
            for row in connection.execute(sa.select(runs).where(runs.c.number.in_(newest))):
                found[row.collection] = (_run(row), None)
            for row in connection.execute(sa.select(runs).where(runs.c.number.in_(good))):
                found[row.collection] = (found[row.collection][0] if row.collection in found else None, _run(row))
        return found

    def mark_dead(self, collection: str) -> list[str]:
        """Mark runs that never ended as ABORTED; called by who holds the collection's lease.

        Returns
        -------
        ids
            Of these runs.
        """
        query = sa.select(runs.c.id).where(runs.c.collection == collection, runs.c.phase == RUNNING)
        with self._database.writing() as connection:
            found = [row.id for row in connection.execute(query)]
            if found:
                values = {"phase": ABORTED, "ended": now(), "message": "its process died"}
                connection.execute(sa.update(runs).where(runs.c.id.in_(found)).values(**values))
        return found

    def forget(self, ids: list[str]) -> None:
        """Delete old runs.

        Parameters
        ----------
        ids
            Of runs.
        """
        with self._database.writing() as connection:
            connection.execute(sa.delete(runs).where(runs.c.id.in_(ids)))


def _run(row: Any) -> Run:
    data = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name)
    del data["number"]
    data["summary"] = json.loads(data["summary"] or "{}")
    run = Run(**data)
    if run.phase == RUNNING and not Lease(name="", holder=run.holder, since="", expires=float("inf")).alive:
        return Run(**{**data, "phase": ABORTED, "message": "its process died"})
    return run
