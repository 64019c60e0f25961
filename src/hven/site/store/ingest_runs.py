"""Runs: every ingest that began, how it ended, what it reported."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.model.errors import NotFoundError
from hven.site.store._database import format_current_time, get_next_number, runs
from hven.site.store._leases import Lease, get_process_holder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.site.store._database import StateDatabase

SOURCE_RUN_KINDS = ("ingest", "sync")  # of runs that look at a source
RUNNING_PHASE, COMPLETED_PHASE, ERROR_PHASE, ABORTED_PHASE = "RUNNING", "COMPLETED", "ERROR", "ABORTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestRun:
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
        The process, as `hven.site.store.get_process_holder` writes it.
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


class RunStore:
    """The runs of a store.

    Common
    ------
    collection
        Name of a collection.
    run_id
        Id of a run.
    """

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def begin_run(self, run_id: str, collection: str, run_kind: str = "ingest") -> IngestRun:
        """Record that a run began.

        Parameters
        ----------
        run_kind
            Ingest, sync, rollback ...

        Returns
        -------
        run
            Held by this process.
        """
        new_run = IngestRun(
            id=run_id,
            collection=collection,
            kind=run_kind,
            phase=RUNNING_PHASE,
            holder=get_process_holder(),
            started=format_current_time(),
        )
        with self._database.begin_write() as connection:
            values = {
                "id": run_id,
                "collection": collection,
                "kind": run_kind,
                "phase": RUNNING_PHASE,
                "holder": new_run.holder,
                "started": new_run.started,
            }
            connection.execute(sa.insert(runs).values(**values, number=get_next_number(connection, runs)))
        return new_run

    def end_run(
        self,
        run_id: str,
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
            "ended": format_current_time(),
            "message": message,
            "summary": json.dumps(summary or {}),
            "report": report,
        }
        with self._database.begin_write() as connection:
            connection.execute(sa.update(runs).where(runs.c.id == run_id).values(**values))

    def get_run(self, run_id: str) -> IngestRun:
        """Return one run.

        Raises
        ------
        NotFoundError
            There is none of that id.
        """
        with self._database.begin_read() as connection:
            row = connection.execute(sa.select(runs).where(runs.c.id == run_id)).first()
        if row is None:
            raise NotFoundError(f"there is no run {run_id!r}")
        return _run_from_row(row)

    def list_runs(self, collection: str, row_limit: int = 50) -> list[IngestRun]:
        """List the runs of a collection. One whose process died shows as ABORTED.

        Parameters
        ----------
        row_limit
            How many at most.

        Returns
        -------
        runs
            The newest first.
        """
        query = sa.select(runs).where(runs.c.collection == collection).order_by(runs.c.number.desc()).limit(row_limit)
        with self._database.begin_read() as connection:
            return [_run_from_row(row) for row in connection.execute(query)]

    def find_latest_runs(self) -> dict[str, tuple[IngestRun | None, IngestRun | None]]:
        """Return the last run of each collection, and the last good one; dry runs and samples are none."""
        real_run_condition = sa.and_(
            sa.not_(sa.func.coalesce(runs.c.summary, "").like('%"dry_run": true%')), runs.c.kind.in_(SOURCE_RUN_KINDS)
        )
        newest = sa.select(sa.func.max(runs.c.number)).where(real_run_condition).group_by(runs.c.collection)
        good_runs = newest.where(
            runs.c.phase == COMPLETED_PHASE,
            sa.not_(runs.c.summary.like('%"sample": _%')) | runs.c.summary.like('%"sample": null%'),
        )
        runs_by_collection: dict[str, tuple[IngestRun | None, IngestRun | None]] = {}
        with self._database.begin_read() as connection:
            for row in connection.execute(sa.select(runs).where(runs.c.number.in_(newest))):
                runs_by_collection[row.collection] = (_run_from_row(row), None)
            for row in connection.execute(sa.select(runs).where(runs.c.number.in_(good_runs))):
                runs_by_collection[row.collection] = (
                    runs_by_collection[row.collection][0] if row.collection in runs_by_collection else None,
                    _run_from_row(row),
                )
        return runs_by_collection

    def mark_dead_runs(self, collection: str) -> list[str]:
        """Mark runs that never ended as ABORTED; called by who holds the collection's lease.

        Returns
        -------
        ids
            Of these runs.
        """
        query = sa.select(runs.c.id).where(runs.c.collection == collection, runs.c.phase == RUNNING_PHASE)
        with self._database.begin_write() as connection:
            dead_ids = [row.id for row in connection.execute(query)]
            if dead_ids:
                values = {"phase": ABORTED_PHASE, "ended": format_current_time(), "message": "its process died"}
                connection.execute(sa.update(runs).where(runs.c.id.in_(dead_ids)).values(**values))
        return dead_ids

    def delete_runs(self, run_ids: list[str]) -> None:
        """Delete old runs.

        Parameters
        ----------
        run_ids
            Of runs.
        """
        with self._database.begin_write() as connection:
            connection.execute(sa.delete(runs).where(runs.c.id.in_(run_ids)))


def _run_from_row(row: Any) -> IngestRun:
    data = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name)
    del data["number"]
    data["summary"] = json.loads(data["summary"] or "{}")
    run = IngestRun(**data)
    if run.phase == RUNNING_PHASE and not Lease(name="", holder=run.holder, since="", expires=float("inf")).is_alive:
        return IngestRun(**{**data, "phase": ABORTED_PHASE, "message": "its process died"})
    return run
