"""Runs: every ingest that began, how it ended, and what it reported."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.model.errors import HvenError, NotFoundError
from hven.site.store._database import format_current_time, get_next_number, runs
from hven.site.store._leases import get_process_holder, is_holder_dead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hven.site.store._database import StateDatabase

SOURCE_RUN_KINDS = ("ingest", "sync")  # kinds of runs that read a source
RUNNING_PHASE, COMPLETED_PHASE, ERROR_PHASE, ABORTED_PHASE = "RUNNING", "COMPLETED", "ERROR", "ABORTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestRun:
    """One run; `phase` is RUNNING, COMPLETED, ERROR or ABORTED.

    Attributes
    ----------
    id
        Sorts by time.
    collection
        Name of the collection.
    kind
        ``ingest``, ``sync``, ``rollback`` ...
    holder
        The process, as `hven.site.store.get_process_holder` writes it.
    started, ended
        ISO times, UTC; None: it has not ended.
    message
        Why it ended this way.
    summary
        Numbers from its report.
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


class IngestRunStore:
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
            The run, held by this process.
        """
        new_run = IngestRun(
            id=run_id,
            collection=collection,
            kind=run_kind,
            phase=RUNNING_PHASE,
            holder=get_process_holder(),
            started=format_current_time(),
        )
        names = ("id", "collection", "kind", "phase", "holder", "started")
        values = {name: getattr(new_run, name) for name in names}
        with self._database.begin_write() as connection:
            values["number"] = get_next_number(connection, runs)
            connection.execute(sa.insert(runs).values(values))
        return new_run

    @contextmanager
    def record_run(
        self, run_id: str, collection: str, run_kind: str, *, summarize: Callable[[], Mapping[str, Any]] = dict
    ) -> Iterator[None]:
        """Record that a run began, and how it ended: COMPLETED, by an error of Hven (ERROR), or otherwise (ABORTED).

        Parameters
        ----------
        run_kind
            Move, promotion ...
        summarize
            Returns the summary; it is called when the run ends.
        """
        self.begin_run(run_id, collection, run_kind)
        phase, message = ERROR_PHASE, None
        try:
            yield
            phase = COMPLETED_PHASE
        except HvenError as error:
            message = str(error)
            raise
        except BaseException as error:
            phase = ABORTED_PHASE
            message = f"stopped: {type(error).__name__}"
            raise
        finally:
            self.end_run(run_id, phase, message=message, summary=summarize())

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
            Why it ended this way, for people.
        summary
            Numbers from its report.
        report
            The whole report, JSON.
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
            No run has this id.
        """
        query = sa.select(runs).where(runs.c.id == run_id)
        with self._database.begin_read() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise NotFoundError(f"there is no run {run_id!r}")
        return _run_from_row_checking_holder(row)

    def list_runs(self, collection: str, row_limit: int = 50) -> list[IngestRun]:
        """List the runs of a collection. A run whose process died is shown as ABORTED.

        Parameters
        ----------
        row_limit
            At most this many.

        Returns
        -------
        runs
            The newest first.
        """
        query = sa.select(runs).where(runs.c.collection == collection)
        with self._database.begin_read() as connection:
            rows = connection.execute(query.order_by(runs.c.number.desc()).limit(row_limit))
            return [_run_from_row_checking_holder(row) for row in rows]

    def find_latest_runs(self) -> dict[str, tuple[IngestRun | None, IngestRun | None]]:
        """Return the last run and the last successful run of each collection, without dry runs and samples."""
        is_dry_run = sa.func.coalesce(runs.c.summary, "").like('%"dry_run": true%')
        is_sample = runs.c.summary.like('%"sample": _%')
        is_whole = sa.not_(is_sample) | runs.c.summary.like('%"sample": null%')
        newest_numbers = sa.select(sa.func.max(runs.c.number)).group_by(runs.c.collection)
        newest_numbers = newest_numbers.where(sa.not_(is_dry_run), runs.c.kind.in_(SOURCE_RUN_KINDS))
        good_numbers = newest_numbers.where(runs.c.phase == COMPLETED_PHASE, is_whole)
        runs_by_collection: dict[str, tuple[IngestRun | None, IngestRun | None]] = {}
        with self._database.begin_read() as connection:
            for row in connection.execute(sa.select(runs).where(runs.c.number.in_(newest_numbers))):
                runs_by_collection[row.collection] = (_run_from_row_checking_holder(row), None)
            for row in connection.execute(sa.select(runs).where(runs.c.number.in_(good_numbers))):
                last_run, _ = runs_by_collection.get(row.collection, (None, None))
                runs_by_collection[row.collection] = (last_run, _run_from_row_checking_holder(row))
        return runs_by_collection

    def abandon_unfinished_runs(self, collection: str) -> list[str]:
        """Mark runs that never ended as ABORTED; the caller holds the collection's lease.

        Returns
        -------
        ids
            Ids of these runs.
        """
        query = sa.select(runs.c.id).where(runs.c.collection == collection, runs.c.phase == RUNNING_PHASE)
        with self._database.begin_write() as connection:
            dead_ids = list(connection.execute(query).scalars())
            if dead_ids:
                values = {
                    "phase": ABORTED_PHASE,
                    "ended": format_current_time(),
                    "message": "the process of the run died",
                }
                connection.execute(sa.update(runs).where(runs.c.id.in_(dead_ids)).values(values))
        return dead_ids

    def delete_runs(self, run_ids: list[str]) -> None:
        """Delete old runs.

        Parameters
        ----------
        run_ids
            Ids of runs.
        """
        with self._database.begin_write() as connection:
            connection.execute(sa.delete(runs).where(runs.c.id.in_(run_ids)))


def _run_from_row_checking_holder(row: Any) -> IngestRun:
    values = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name)
    del values["number"]
    values["summary"] = json.loads(values["summary"] or "{}")
    run = IngestRun(**values)
    if run.phase == RUNNING_PHASE and is_holder_dead(run.holder):
        return replace(run, phase=ABORTED_PHASE, message="the process of the run died")
    return run
