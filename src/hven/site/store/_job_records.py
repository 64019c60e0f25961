"""Jobs as rows: who may run them next, who runs them, how they ended. What a phase means is said in `hven.jobs`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from hven.model.errors import NotFoundError
from hven.site.store import _job_relations as job_relations
from hven.site.store._database import format_current_time, jobs, meta, visits
from hven.site.store._leases import get_process_holder, is_holder_dead

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.site.store._database import StateDatabase

REMOTE_PROGRESS_KEY = "remote"  # in a job's progress: the address of the job elsewhere that does its work
MAX_IDS_PER_STATEMENT = 500  # ids in one statement
# phases that only so many jobs of a queue can be in
LIMITED_PHASES = ("PENDING", "QUEUED", "EXECUTING", "HELD", "SUSPENDED", "UNKNOWN")
LAST_START_KEY = "turn"  # key of the moment at which the last job was begun


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One job (UWS 1.1 section 2.1). Times are ISO text in UTC.

    Attributes
    ----------
    id
        Cannot be guessed.
    type
        Name of the job type.
    queue
        Whose turn it is when it waits: ``user NAME`` or ``address A``.
    phase
        Of UWS 1.1, 2.1.3.
    owner
        Name of the account; None: nobody in particular.
    groups
        Of the owner, when it was made.
    run_id
        RUNID of the request.
    parent, depends_on
        Ids of other jobs.
    parameters
        Name and value, in the order given.
    created, queued, started, ended
        Times of its life.
    duration
        Seconds that it may run; 0 = as long as it takes.
    destruction
        When it will be destroyed.
    results
        ``{id, file, media_type, bytes}`` each.
    error
        ``{kind: fatal|transient, message}``, and ``said``: the message as
        `hven.model.errors.TranslatableMessage.to_json` keeps it.
    progress
        What is known of it while it runs: ``{rows, bytes, share}``.
    attempts
        How often it was begun.
    holder, beat
        The process that runs it; a number that grows as long as that process lives.
    """

    id: str
    type: str
    queue: str
    phase: str = "PENDING"
    owner: str | None = None
    groups: Sequence[str] = ()
    run_id: str | None = None
    parent: str | None = None
    depends_on: Sequence[str] = ()
    parameters: Sequence[tuple[str, str]] = ()
    created: str = field(default_factory=format_current_time)
    queued: str | None = None
    started: str | None = None
    ended: str | None = None
    duration: int
    destruction: str
    results: Sequence[Mapping[str, Any]] = ()
    error: Mapping[str, Any] | None = None
    progress: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 0
    holder: str | None = None
    beat: int = 0


class JobRef(NamedTuple):
    """A line of a list of jobs, of which there may be a hundred thousand: a tuple is made quickest.

    Attributes
    ----------
    id, phase, created, owner, run_id
        As of `JobRecord`.
    """

    id: str
    phase: str
    created: str
    owner: str | None
    run_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedJob:
    """A job that was completed: what was asked, from when to when it ran.

    Attributes
    ----------
    parameters
        Name and value, in the order given.
    started, ended
        ISO times, UTC.
    """

    parameters: Sequence[tuple[str, str]]
    started: str
    ended: str


_JSON_COLUMNS = ("groups", "depends_on", "parameters", "results", "error", "progress")


def _encode_json_columns(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: json.dumps(value) if name in _JSON_COLUMNS and value is not None else value
        for name, value in values.items()
    }


def _job_from_row(row: Any) -> JobRecord:
    values = {item.name: getattr(row, item.name) for item in fields(JobRecord)}
    for name in _JSON_COLUMNS:
        if values[name] is not None:
            values[name] = json.loads(values[name])
    values.update({name: tuple(values[name]) for name in ("groups", "depends_on", "results")})
    values["parameters"] = tuple((name, value) for name, value in values["parameters"])
    return JobRecord(**values)


class JobStore:
    """The jobs of a store. Thread-safe.

    Common
    ------
    job_id, job_ids
        Id of a job, or several.
    job_type
        Name of a job type.
    queue
        Name of a queue: whose jobs they are.
    job
        Its record, as this process read it last.
    allowed_phases, counted_phases
        Phases: nothing happens to a job that is in another one.
    hidden_phases
        Phases to leave out.
    """

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def get_version(self) -> int:
        """Count of changes of phases so far: cheap enough to ask ten times a second."""
        return self._database.read_counter("jobs")

    def add_job(
        self, job: JobRecord, *, counted_phases: Sequence[str] = (), job_limit: int | None = None, visitor: str = ""
    ) -> bool:
        """Insert a new job, unless there are too many.

        Parameters
        ----------
        job
            With an id of its own.
        counted_phases
            Phases.
        job_limit
            Of the same queue that may be in these phases; None: any number.
        visitor
            Whose it is, of those without an account: then it is on their list alone.

        Returns
        -------
        added
            Whether it was.
        """
        count_query = sa.select(sa.func.count()).where(jobs.c.queue == job.queue, jobs.c.phase.in_(counted_phases))
        with self._database.begin_write() as connection:
            if job_limit is not None and int(connection.execute(count_query).scalar_one()) >= job_limit:
                return False
            connection.execute(sa.insert(jobs).values(**_encode_json_columns(asdict(job))))
            if visitor:
                connection.execute(sa.insert(visits).values(job=job.id, visitor=visitor))
            _increment_job_version(connection)
            return True

    def get_job(self, job_id: str) -> JobRecord:
        """Return a job.

        Returns
        -------
        job
            As it is now.

        Raises
        ------
        NotFoundError
            There is none of that id.
        """
        with self._database.begin_read() as connection:
            row = connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).first()
        if row is None:
            raise NotFoundError(f"there is no job {job_id!r:.80}", remedy="it may have been destroyed")
        return _job_from_row(row)

    def find_phases(self, job_ids: Sequence[str]) -> dict[str, str]:
        """Return the phases of many jobs; those that are no more are left out."""
        phases_by_id: dict[str, str] = {}
        with self._database.begin_read() as connection:
            for id_chunk in _split_ids(job_ids):
                query = sa.select(jobs.c.id, jobs.c.phase).where(jobs.c.id.in_(id_chunk))
                phases_by_id.update({row[0]: row[1] for row in connection.execute(query)})
        return phases_by_id

    def list_jobs(
        self,
        queue: str,
        job_type: str,
        *,
        phases: Sequence[str] = (),
        hidden_phases: Sequence[str] = (),
        created_after: str | None = None,
        previous_job: tuple[str, str | None] | None = None,
        row_limit: int | None = None,
        visitor: str | None = None,
    ) -> list[JobRef]:
        """List jobs of a queue, the newest first.

        Parameters
        ----------
        phases
            Only these; empty: all.
        created_after
            Created later than this time.
        previous_job
            Created earlier than this time, or at it with a smaller id.
        row_limit
            How many at most; None: all.
        visitor
            Of those without an account, only theirs.

        Returns
        -------
        jobs
            Short records.
        """
        columns = (jobs.c.id, jobs.c.phase, jobs.c.created, jobs.c.owner, jobs.c.run_id)
        if phases and not set(phases) - set(LIMITED_PHASES) and not visitor:
            job_refs = self._list_by_phase(queue, job_type, columns, phases, visitor)
            return [
                ref
                for ref in job_refs
                if (created_after is None or ref.created > created_after) and _is_listed_after(ref, previous_job)
            ][:row_limit]
        query = sa.select(*columns).where(jobs.c.type == job_type)
        if visitor:
            query = query.where(jobs.c.id.in_(sa.select(visits.c.job).where(visits.c.visitor == visitor)))
        else:
            query = query.where(jobs.c.queue == queue, *_build_visitor_exclusion(visitor))
        query = query.where(jobs.c.phase.in_(phases) if phases else jobs.c.phase.not_in(hidden_phases))
        if created_after is not None:
            query = query.where(jobs.c.created > created_after)
        if previous_job is not None:
            if previous_job[1]:
                is_behind = sa.and_(jobs.c.created == previous_job[0], jobs.c.id > previous_job[1])
            else:
                is_behind = sa.false()
            query = query.where(jobs.c.created <= previous_job[0], sa.or_(jobs.c.created < previous_job[0], is_behind))
        query = query.order_by(jobs.c.created.desc(), jobs.c.id).limit(row_limit)
        with self._database.begin_read() as connection:
            return list(map(JobRef._make, connection.execute(query).all()))

    def _list_by_phase(
        self,
        queue: str,
        job_type: str,
        columns: Sequence[sa.Column[Any]],
        phases: Sequence[str],
        visitor: str | None,
    ) -> list[JobRef]:
        """List jobs of phases that few are in, by the index of phases.

        The index of times has all the others in between.
        """
        rows: list[Any] = []
        with self._database.begin_read() as connection:
            for phase in sorted(set(phases)):  # in the order of the index, so that it is taken
                query = sa.select(*columns, jobs.c.type).where(
                    jobs.c.phase == phase, jobs.c.queue == queue, *_build_visitor_exclusion(visitor)
                )
                query = query.order_by(jobs.c.queued)
                rows += [row for row in connection.execute(query) if row[5] == job_type]
        rows.sort(key=lambda row: row[0])
        rows.sort(key=lambda row: row[2], reverse=True)
        return [JobRef._make(row[:5]) for row in rows]

    def update_job(self, job_id: str, *, allowed_phases: Sequence[str], **changes: Any) -> bool:
        """Update a job if it is in one of some phases.

        Parameters
        ----------
        changes
            Columns and their new values.

        Returns
        -------
        changed
            Whether it was.
        """
        with self._database.begin_write() as connection:
            update_result = connection.execute(
                sa.update(jobs)
                .where(jobs.c.id == job_id, jobs.c.phase.in_(allowed_phases))
                .values(**_encode_json_columns(changes))
            )
            if update_result.rowcount and "phase" in changes:
                if changes["phase"] == "ABORTED":
                    job_relations.cancel_descendants(connection, job_id)
                _increment_job_version(connection)
            return bool(update_result.rowcount)

    def set_dependencies(
        self, job_id: str, dependency_ids: Sequence[str], *, allowed_phases: Sequence[str]
    ) -> list[str] | None:
        """Make a job wait for others.

        Parameters
        ----------
        dependency_ids
            Ids.

        Returns
        -------
        circle
            The one that this would make, if it would; None: its phase was not `allowed_phases` these.
        """
        with self._database.begin_write() as connection:
            dependency_cycle = job_relations.find_dependency_cycle(connection, job_id, dependency_ids)
            if dependency_cycle:
                return dependency_cycle
            row_condition = sa.and_(jobs.c.id == job_id, jobs.c.phase.in_(allowed_phases))
            update_result = connection.execute(
                sa.update(jobs).where(row_condition).values(depends_on=json.dumps(list(dependency_ids)))
            )
            return [] if update_result.rowcount else None

    def list_children(self, job_id: str) -> list[str]:
        """List the jobs that are part of another.

        Returns
        -------
        ids
            The oldest first.
        """
        with self._database.begin_read() as connection:
            return list(
                connection.execute(
                    sa.select(jobs.c.id).where(jobs.c.parent == job_id).order_by(jobs.c.created, jobs.c.id)
                ).scalars()
            )

    def enqueue_job(
        self, job_id: str, *, allowed_phases: Sequence[str], queue_limit: int, type_limit: int | None = None
    ) -> str | None:
        """Queue a job: QUEUED, or HELD if there are too many.

        What waits for other jobs first has no time since when it is queued: it has no turn yet.

        Parameters
        ----------
        queue_limit
            Of the same queue that may wait or run.
        type_limit
            Of its type that may wait or run; None: any number.

        Returns
        -------
        phase
            None: it was not `allowed_phases` these.
        """
        columns = (jobs.c.queue, jobs.c.type, jobs.c.depends_on)
        with self._database.begin_write() as connection:
            row = connection.execute(
                sa.select(*columns).where(jobs.c.id == job_id, jobs.c.phase.in_(allowed_phases))
            ).first()
            if row is None:
                return None
            count_query = sa.select(sa.func.count()).where(
                jobs.c.queue == row.queue, jobs.c.phase.in_(("QUEUED", "EXECUTING"))
            )
            has_room = int(connection.execute(count_query).scalar_one()) < queue_limit
            if has_room and type_limit is not None:
                has_room = int(connection.execute(count_query.where(jobs.c.type == row.type)).scalar_one()) < type_limit
            phase = "QUEUED" if has_room else "HELD"
            last_queued = connection.execute(
                sa.select(sa.func.max(jobs.c.queued)).where(jobs.c.queue == row.queue, jobs.c.phase == "QUEUED")
            )
            if phase == "QUEUED" and row.depends_on != "[]":
                queued = None
            else:
                queued = _get_time_after(last_queued.scalar() or "")
            connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(phase=phase, queued=queued))
            if queued is None:
                job_relations.resolve_dependencies(connection)
            _increment_job_version(connection)
            return phase

    def delete_jobs(self, *job_ids: str) -> list[str]:
        """Delete jobs and what is part of them; who runs them notices.

        Returns
        -------
        ids
            Of all that were deleted.
        """
        with self._database.begin_write() as connection:
            deleted_ids = [*job_ids, *job_relations.list_descendants(connection, job_ids)]
            connection.execute(sa.delete(jobs).where(jobs.c.id.in_(deleted_ids)))
            connection.execute(sa.delete(visits).where(visits.c.job.in_(deleted_ids)))
            _increment_job_version(connection)
            return deleted_ids

    # --- running ---------------------------------------------------------------------------------------------

    def count_waiting(self) -> int:
        """Count the jobs that wait for their turn; those that wait for other jobs first are looked after here.

        Returns
        -------
        count
            Of those that may be claimed.
        """
        count_query = sa.select(sa.func.count()).where(jobs.c.phase == "QUEUED", jobs.c.queued.is_not(None))
        with self._database.begin_read() as connection:
            waiting_count = int(connection.execute(count_query).scalar_one())
            dependent_job = connection.execute(
                sa.select(jobs.c.id).where(sa.text(job_relations.WAITING_JOBS_CONDITION)).limit(1)
            ).first()
        if dependent_job is None:
            return waiting_count
        with self._database.begin_write() as connection:
            if job_relations.resolve_dependencies(connection):
                _increment_job_version(connection)
            return int(connection.execute(count_query).scalar_one())

    def claim_job(self, limits_by_type: Mapping[str, int] | None = None) -> JobRecord | None:
        """Claim the next job for this process.

        Of the queue with the fewest running jobs that was served longest ago, the oldest.

        Parameters
        ----------
        limits_by_type
            Job type -> how many of it may run at once; types that are not named are not limited.

        Returns
        -------
        job
            EXECUTING, held by this process; None: none waits.
        """
        with self._database.begin_write() as connection:
            if job_relations.resolve_dependencies(connection):
                _increment_job_version(connection)
            full_types = _find_full_types(connection, limits_by_type or {})
            queue_query = _build_queue_query(tuple(full_types))
            waiting_queues = list(connection.execute(queue_query))
            if not waiting_queues:
                return None
            running_by_queue: dict[str, int] = {row[0]: row[1] for row in connection.execute(_RUNNING_COUNT_QUERY)}
            fewest_running = min(running_by_queue.get(row[0], 0) for row in waiting_queues)
            queue_candidates = [
                (row[2] or "", row[1], row[0])
                for row in waiting_queues
                if running_by_queue.get(row[0], 0) == fewest_running
            ]
            queue = min(queue_candidates)[2]
            query_one = (
                sa.select(jobs)
                .where(_is_ready_condition(jobs, full_types), jobs.c.queue == queue)
                .order_by(jobs.c.queued, jobs.c.id)
                .limit(1)
            )
            job = _job_from_row(connection.execute(query_one).one())
            values = {
                "phase": "EXECUTING",
                "started": _record_job_start(connection),
                "holder": get_process_holder(),
                "attempts": job.attempts + 1,
                "progress": _select_lasting_progress(job.progress),
            }
            connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(**_encode_json_columns(values)))
            _increment_job_version(connection)
            return _job_from_row(connection.execute(sa.select(jobs).where(jobs.c.id == job.id)).one())

    def record_heartbeat(self, job: JobRecord, progress: Mapping[str, Any] | None = None) -> int | None:
        """Record that the holder lives.

        Parameters
        ----------
        job
            Held by this process.
        progress
            To be told; None: as it was.

        Returns
        -------
        seconds
            That the job may run, as they are set now; None: it is not ours to run any more.
        """
        values: dict[str, Any] = {"beat": jobs.c.beat + 1}
        if progress is not None:
            values["progress"] = json.dumps(progress)
        with self._database.begin_write() as connection:
            update_result = connection.execute(sa.update(jobs).where(_is_own_attempt(job)).values(**values))
            if not update_result.rowcount:
                return None
            return int(connection.execute(sa.select(jobs.c.duration).where(jobs.c.id == job.id)).scalar_one())

    def check_ownership(self, job: JobRecord) -> int | None:
        """Return what `record_heartbeat` does, without a word to others: cheap.

        Parameters
        ----------
        job
            Held by this process.
        """
        with self._database.begin_read() as connection:
            duration_seconds = connection.execute(sa.select(jobs.c.duration).where(_is_own_attempt(job))).scalar()
        return None if duration_seconds is None else int(duration_seconds)

    def finish_job(self, job: JobRecord, phase: str, **extra_values: Any) -> bool:
        """End a job that this process runs.

        Parameters
        ----------
        job
            Held by this process.
        phase
            COMPLETED, ERROR or ABORTED.
        extra_values
            Further columns and their values.

        Returns
        -------
        ended
            False: it is not ours any more, and nothing was changed.
        """
        with self._database.begin_write() as connection:
            time_after = _get_time_after(job.started or "")
            changes = _encode_json_columns({"ended": time_after, **extra_values, "phase": phase, "holder": None})
            update_result = connection.execute(sa.update(jobs).where(_is_own_attempt(job)).values(**changes))
            if update_result.rowcount:
                if phase == "ABORTED":
                    job_relations.cancel_descendants(connection, job.id)
                _increment_job_version(connection)
            return bool(update_result.rowcount)

    def requeue_job(self, job: JobRecord, *, count_attempt: bool) -> bool:
        """Requeue a job that its holder will not end.

        Parameters
        ----------
        count_attempt
            The attempt was one.

        Returns
        -------
        done
            False: somebody else has it.
        """
        values: dict[str, Any] = {"phase": "QUEUED", "holder": None, "started": None}
        if not count_attempt:
            values["attempts"] = job.attempts - 1
        with self._database.begin_write() as connection:
            progress_text = connection.execute(sa.select(jobs.c.progress).where(_is_own_attempt(job))).scalar()
            lasting_progress = _select_lasting_progress(json.loads(progress_text or "{}"))
            values["progress"] = json.dumps(lasting_progress)
            update_result = connection.execute(sa.update(jobs).where(_is_own_attempt(job)).values(**values))
            if update_result.rowcount:
                _increment_job_version(connection)
            return bool(update_result.rowcount)

    def list_executing(self) -> list[JobRecord]:
        """List every job that somebody holds.

        Returns
        -------
        jobs
            Of all queues.
        """
        with self._database.begin_read() as connection:
            return [
                _job_from_row(row) for row in connection.execute(sa.select(jobs).where(jobs.c.phase == "EXECUTING"))
            ]

    def is_abandoned(self, job: JobRecord) -> bool:
        """Return whether the holder of a job is certainly dead: it ran on this machine."""
        return job.holder is None or is_holder_dead(job.holder)

    def count_jobs_ahead(self, job: JobRecord) -> dict[str, int]:
        """Estimate how many jobs of each queue will be begun before a job that waits, or would wait from now on.

        Queues take turns.

        Returns
        -------
        counts
            By queue.
        """
        if job.phase == "QUEUED" and job.queued is not None:
            is_earlier = jobs.c.queued < job.queued
        else:
            is_earlier = sa.true()
        own_queue_query = sa.select(sa.func.count()).where(
            jobs.c.phase == "QUEUED", jobs.c.queue == job.queue, is_earlier
        )
        other_queues_query = (
            sa.select(jobs.c.queue, sa.func.count())
            .where(jobs.c.phase == "QUEUED", jobs.c.queue != job.queue)
            .group_by(jobs.c.queue)
        )
        with self._database.begin_read() as connection:
            jobs_before = int(connection.execute(own_queue_query).scalar_one())
            counts_by_queue = {
                row[0]: min(jobs_before + 1, int(row[1])) for row in connection.execute(other_queues_query)
            }
        if jobs_before:
            return {job.queue: jobs_before, **counts_by_queue}
        return counts_by_queue

    def estimate_queue_position(self, job: JobRecord) -> int:
        """Estimate a waiting job's place.

        Parameters
        ----------
        job
            QUEUED.

        Returns
        -------
        place
            1 = next.
        """
        return 1 + sum(self.count_jobs_ahead(job).values())

    def count_running(self) -> dict[str, int]:
        """Count the jobs of each queue that run.

        Returns
        -------
        counts
            By queue.
        """
        query = sa.select(jobs.c.queue, sa.func.count()).where(jobs.c.phase == "EXECUTING").group_by(jobs.c.queue)
        with self._database.begin_read() as connection:
            return {row[0]: int(row[1]) for row in connection.execute(query)}

    def list_completed(self, queue: str, job_type: str, *, row_limit: int) -> list[CompletedJob]:
        """List the jobs of a queue that were completed.

        Parameters
        ----------
        row_limit
            How many.

        Returns
        -------
        jobs
            Those that waited last first.
        """
        columns = (jobs.c.parameters, jobs.c.started, jobs.c.ended)
        query = sa.select(*columns).where(jobs.c.phase == "COMPLETED", jobs.c.queue == queue, jobs.c.type == job_type)
        query = query.order_by(jobs.c.queued.desc()).limit(row_limit)
        with self._database.begin_read() as connection:
            job_rows = list(connection.execute(query))
        pairs = ((json.loads(row[0]), row[1], row[2]) for row in job_rows)
        return [
            CompletedJob(parameters=tuple((name, value) for name, value in param_pairs), started=start, ended=end)
            for param_pairs, start, end in pairs
            if start and end
        ]

    # --- the end ---------------------------------------------------------------------------------------------

    def list_expired(self, time_text: str, *, hidden_phases: Sequence[str] = ()) -> list[JobRecord]:
        """List jobs that are to be destroyed; a thousand at a time.

        Parameters
        ----------
        time_text
            The time of now, as the store writes it.

        Returns
        -------
        jobs
            Those due longest first.
        """
        query = (
            sa.select(jobs)
            .where(jobs.c.destruction <= time_text, jobs.c.phase.not_in(hidden_phases))
            .order_by(jobs.c.destruction)
            .limit(1000)
        )
        with self._database.begin_read() as connection:
            return [_job_from_row(row) for row in connection.execute(query)]

    def select_existing(self, job_ids: Sequence[str]) -> set[str]:
        """Return those ids that are jobs."""
        return set(self.find_phases(job_ids))


def _build_visitor_exclusion(visitor: str | None) -> Sequence[sa.ColumnElement[bool]]:
    if visitor is None:
        return ()
    return (~sa.exists().where(visits.c.job == jobs.c.id),)


def _is_listed_after(ref: JobRef, previous_job: tuple[str, str | None] | None) -> bool:
    """Return whether a job is listed behind another one, of which time and id are given."""
    if previous_job is None:
        return True
    previous_time, previous_id = previous_job
    if ref.created != previous_time:
        return ref.created < previous_time
    return previous_id is not None and ref.id > previous_id


def _is_own_attempt(job: JobRecord) -> sa.ColumnElement[bool]:
    return sa.and_(
        jobs.c.id == job.id, jobs.c.phase == "EXECUTING", jobs.c.holder == job.holder, jobs.c.attempts == job.attempts
    )


def _select_lasting_progress(progress: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of a job beyond one attempt: the job elsewhere that does its work."""
    return {name: value for name, value in progress.items() if name == REMOTE_PROGRESS_KEY}


def _is_ready_condition(table: sa.FromClause, full_types: Sequence[str]) -> sa.ColumnElement[bool]:
    """Write that a job may begin: it waits for its turn and for nothing else, and its type is not one of these."""
    condition = sa.and_(table.c.phase == "QUEUED", table.c.queued.is_not(None))
    if full_types:
        return sa.and_(condition, table.c.type.not_in(full_types))
    return condition


@lru_cache(maxsize=32)  # to put the words together takes longer than to ask
def _build_queue_query(full_types: tuple[str, ...]) -> sa.Select[Any]:
    """Build the query of which queues wait, since when, and when each was served last.

    From queue to queue by the index, however many jobs wait.
    """
    first_job, next_job, oldest_job, last_job = (jobs.alias(name) for name in ("first", "after", "oldest", "last"))
    queues = (
        sa.select(sa.func.min(first_job.c.queue).label("queue"))
        .where(_is_ready_condition(first_job, full_types))
        .cte("queues", recursive=True)
    )
    next_queue = (
        sa.select(sa.func.min(next_job.c.queue))
        .where(_is_ready_condition(next_job, full_types), next_job.c.queue > queues.c.queue)
        .scalar_subquery()
    )
    queues = queues.union_all(sa.select(next_queue).where(queues.c.queue.is_not(None)))
    return sa.select(
        queues.c.queue,
        sa.select(sa.func.min(oldest_job.c.queued))
        .where(_is_ready_condition(oldest_job, full_types), oldest_job.c.queue == queues.c.queue)
        .scalar_subquery(),
        sa.select(sa.func.max(last_job.c.started)).where(last_job.c.queue == queues.c.queue).scalar_subquery(),
    ).where(queues.c.queue.is_not(None))


def _find_full_types(connection: sa.Connection, limits_by_type: Mapping[str, int]) -> list[str]:
    """Return the types of which as many run as may."""
    if not limits_by_type:
        return []
    query = (
        sa.select(jobs.c.type, sa.func.count())
        .where(jobs.c.phase == "EXECUTING", jobs.c.type.in_(list(limits_by_type)))
        .group_by(jobs.c.type)
    )
    return [row[0] for row in connection.execute(query) if row[1] >= limits_by_type[row[0]]]


def _get_time_after(previous_time: str) -> str:
    """Return the time now; after a clock was set back, the moment after `previous_time`."""
    current_time = format_current_time()
    if current_time > previous_time:
        return current_time
    return (
        (datetime.fromisoformat(previous_time) + timedelta(microseconds=1))
        .isoformat(timespec="microseconds")
        .replace("+00:00", "Z")
    )


def _record_job_start(connection: sa.Connection) -> str:
    """Return the time now as that of a turn.

    Who was served later counts as such, whatever was done to the clock meanwhile.
    """
    last_start = connection.execute(sa.select(meta.c.value).where(meta.c.key == LAST_START_KEY)).scalar()
    if last_start is None:
        last_start = connection.execute(sa.select(sa.func.max(jobs.c.started))).scalar() or ""
        connection.execute(sa.insert(meta).values(key=LAST_START_KEY, value=last_start))
    start_time = _get_time_after(last_start)
    connection.execute(sa.update(meta).where(meta.c.key == LAST_START_KEY).values(value=start_time))
    return start_time


_RUNNING_COUNT_QUERY = (
    sa.select(jobs.c.queue, sa.func.count()).where(jobs.c.phase == "EXECUTING").group_by(jobs.c.queue)
)
_INCREMENT_JOB_VERSION = (
    sa.update(meta).where(meta.c.key == "jobs").values(value=sa.cast(sa.cast(meta.c.value, sa.BigInteger) + 1, sa.Text))
)


def _increment_job_version(connection: sa.Connection) -> None:
    connection.execute(_INCREMENT_JOB_VERSION)


def delete_matching_jobs(connection: sa.Connection, row_condition: sa.ColumnElement[bool]) -> list[str]:
    """Forget jobs, and return their ids; part of the caller's transaction."""
    deleted_ids = list(connection.execute(sa.select(jobs.c.id).where(row_condition)).scalars())
    connection.execute(sa.delete(visits).where(visits.c.job.in_(sa.select(jobs.c.id).where(row_condition))))
    connection.execute(sa.delete(jobs).where(row_condition))
    if deleted_ids:
        _increment_job_version(connection)
    return deleted_ids


def _split_ids(job_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(job_ids), MAX_IDS_PER_STATEMENT):
        yield job_ids[start : start + MAX_IDS_PER_STATEMENT]
