"""Jobs as rows: which job may run next, who runs it, and how it ended. `hven.jobs` explains the phases."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

from hven.model.errors import NotFoundError, format_message
from hven.site.store import _job_relations as job_relations
from hven.site.store._database import (
    format_current_time,
    insert_meta_value,
    jobs,
    meta,
    read_meta_value,
    update_meta_value,
    visits,
)
from hven.site.store._leases import get_process_holder, is_holder_dead

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.site.store._database import StateDatabase

REMOTE_PROGRESS_KEY = "remote"  # in a job's progress: the address of the remote job that does its work
MAX_IDS_PER_STATEMENT = 500
MAX_LISTED_CHILDREN = 1_000  # in the description of a job
NOTIFY_PARAMETER = "NOTIFY"  # true: the owner of the job is told when it ends
JOB_END_KIND = "jobs.end"  # of events
job_columns = jobs.c
# phases whose jobs in a queue are limited in number
LIMITED_PHASES = ("PENDING", "QUEUED", "EXECUTING", "HELD", "SUSPENDED", "UNKNOWN")
LAST_START_KEY = "turn"  # key in `meta`: when the last job was started


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
        Whose turn it is when the job waits: ``user NAME`` or ``address A``.
    phase
        Phase of UWS 1.1, 2.1.3.
    owner
        Name of the account; None: the job belongs to no account.
    groups
        Groups of the owner when the job was created.
    run_id
        RUNID of the request.
    parent, depends_on
        Ids of other jobs.
    parameters
        Name and value, in the order of the request.
    created, queued, started, ended
        Times of the job's life.
    duration
        Seconds that the job may run; 0: without limit.
    destruction
        When the job will be destroyed.
    results
        ``{id, file, media_type, bytes}`` each.
    error
        ``{kind: fatal|transient, message}``, and ``said``: the message as
        `hven.model.errors.TranslatableMessage.to_json` stores it.
    progress
        What is known of the job while it runs: ``{rows, bytes, share}``.
    attempts
        How often the job was started.
    holder, beat
        The process that runs the job, and a number that grows as long as that process lives.
    request_id
        Id of the request that created the job; None: a command or another job created it.
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
    request_id: str | None = None


class JobRef(NamedTuple):
    """A line of a list of jobs. A list may have a hundred thousand lines, and a tuple is created fastest.

    Attributes
    ----------
    id, phase, created, owner, run_id
        As in `JobRecord`.
    """

    id: str
    phase: str
    created: str
    owner: str | None
    run_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedJob:
    """A completed job: its parameters, and from when to when it ran.

    Attributes
    ----------
    parameters
        Name and value, in the order of the request.
    started, ended
        ISO times, UTC.
    """

    parameters: Sequence[tuple[str, str]]
    started: str
    ended: str


_JSON_COLUMNS = ("groups", "depends_on", "parameters", "results", "error", "progress")


def _encode_json_columns(values: Mapping[str, Any]) -> dict[str, Any]:
    encoded_values = dict(values)
    for name in _JSON_COLUMNS:
        if encoded_values.get(name) is not None:
            encoded_values[name] = json.dumps(encoded_values[name])
    return encoded_values


def _job_from_row(row: Any) -> JobRecord:
    values = {record_field.name: getattr(row, record_field.name) for record_field in fields(JobRecord)}
    for name in _JSON_COLUMNS:
        if values[name] is not None:
            values[name] = json.loads(values[name])
    for name in ("groups", "depends_on", "results"):
        values[name] = tuple(values[name])
    values["parameters"] = tuple((name, value) for name, value in values["parameters"])
    return JobRecord(**values)


class JobStore:
    """The jobs of a store. Thread-safe.

    Common
    ------
    job_id, job_ids
        Id of a job, or of several.
    job_type
        Name of a job type.
    queue
        Name of a queue: whose jobs they are.
    job
        Record of a job, as this process read it last.
    allowed_phases, counted_phases
        Phases: a job in another phase is neither changed nor counted.
    hidden_phases
        Phases to leave out.
    """

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def get_phase_change_count(self) -> int:
        """Return the number of changes of phases so far; cheap enough to call ten times a second."""
        return self._database.check_formats_and_read_counter("jobs")

    def add_job(
        self, job: JobRecord, *, counted_phases: Sequence[str] = (), job_limit: int | None = None, visitor: str = ""
    ) -> bool:
        """Insert a new job, unless its queue has too many.

        Parameters
        ----------
        job
            A job with a new id.
        counted_phases
            The phases that `job_limit` counts.
        job_limit
            How many jobs of the same queue may be in these phases; None: any number.
        visitor
            The visitor without an account to whom the job belongs: no other list shows it.

        Returns
        -------
        added
            Whether the job was inserted.
        """
        queue_condition = sa.and_(job_columns.queue == job.queue, job_columns.phase.in_(counted_phases))
        count_query = sa.select(sa.func.count()).where(queue_condition)
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
            Its present record.

        Raises
        ------
        NotFoundError
            No job has this id.
        """
        query = sa.select(jobs).where(job_columns.id == job_id)
        with self._database.begin_read() as connection:
            row = connection.execute(query).first()
        if row is None:
            raise NotFoundError(
                f"there is no job {job_id!r:.80}", remedy="check the id; the job may have been destroyed"
            )
        return _job_from_row(row)

    def find_jobs(self, job_ids: Sequence[str]) -> dict[str, JobRecord]:
        """Return many jobs by id; ids without a job are left out."""
        jobs_by_id: dict[str, JobRecord] = {}
        with self._database.begin_read() as connection:
            for id_chunk in _split_ids(job_ids):
                query = sa.select(jobs).where(job_columns.id.in_(id_chunk))
                jobs_by_id.update({row.id: _job_from_row(row) for row in connection.execute(query)})
        return jobs_by_id

    def find_phases(self, job_ids: Sequence[str]) -> dict[str, str]:
        """Return the phases of many jobs by id; ids without a job are left out."""
        phases_by_id: dict[str, str] = {}
        with self._database.begin_read() as connection:
            for id_chunk in _split_ids(job_ids):
                query = sa.select(job_columns.id, job_columns.phase).where(job_columns.id.in_(id_chunk))
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
            Only jobs in these phases; empty: in all.
        created_after
            Only jobs created later than this time.
        previous_job
            Only jobs created earlier than this time, or at this time and with an id after this one.
        row_limit
            At most this many; None: all.
        visitor
            Only the jobs of this visitor without an account.

        Returns
        -------
        jobs
            Short records.
        """
        columns = (job_columns.id, job_columns.phase, job_columns.created, job_columns.owner, job_columns.run_id)
        if phases and set(phases) <= set(LIMITED_PHASES) and not visitor:
            job_refs = self._list_by_phase(queue, job_type, columns, phases, visitor)
            if created_after is not None:
                job_refs = [ref for ref in job_refs if ref.created > created_after]
            return [ref for ref in job_refs if _is_listed_after(ref, previous_job)][:row_limit]
        query = sa.select(*columns).where(job_columns.type == job_type)
        if visitor:
            visitor_jobs = sa.select(visits.c.job).where(visits.c.visitor == visitor)
            query = query.where(job_columns.id.in_(visitor_jobs))
        else:
            query = query.where(job_columns.queue == queue, *_build_visitor_exclusion(visitor))
        if phases:
            query = query.where(job_columns.phase.in_(phases))
        else:
            query = query.where(job_columns.phase.not_in(hidden_phases))
        if created_after is not None:
            query = query.where(job_columns.created > created_after)
        if previous_job is not None:
            previous_time, previous_id = previous_job
            is_behind: sa.ColumnElement[bool] = sa.false()
            if previous_id:
                is_behind = sa.and_(job_columns.created == previous_time, job_columns.id > previous_id)
            # the first condition lets the index of times end the scan
            is_earlier = job_columns.created < previous_time
            query = query.where(job_columns.created <= previous_time, sa.or_(is_earlier, is_behind))
        query = query.order_by(job_columns.created.desc(), job_columns.id).limit(row_limit)
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
        """List the jobs in phases that few jobs are in, by the index of phases.

        In the index of times, all other jobs lie between them.
        """
        rows: list[Any] = []
        with self._database.begin_read() as connection:
            for phase in sorted(set(phases)):
                # the conditions are in the order of the index, so that the database uses it
                query = sa.select(*columns, job_columns.type).where(
                    job_columns.phase == phase, job_columns.queue == queue
                )
                query = query.where(*_build_visitor_exclusion(visitor)).order_by(job_columns.queued)
                rows += [row for row in connection.execute(query) if row[5] == job_type]
        rows.sort(key=lambda row: row[0])
        rows.sort(key=lambda row: row[2], reverse=True)
        return [JobRef._make(row[:5]) for row in rows]

    def update_job(self, job_id: str, *, allowed_phases: Sequence[str], **changes: Any) -> bool:
        """Update a job if it is in one of the allowed phases.

        Parameters
        ----------
        changes
            Columns and their new values.

        Returns
        -------
        changed
            Whether the job was updated.
        """
        row_condition = sa.and_(job_columns.id == job_id, job_columns.phase.in_(allowed_phases))
        statement = sa.update(jobs).where(row_condition).values(**_encode_json_columns(changes))
        with self._database.begin_write() as connection:
            is_updated = connection.execute(statement).rowcount > 0
            if is_updated and "phase" in changes:
                if changes["phase"] == "ABORTED":
                    job_relations.cancel_descendants(connection, job_id)
                _increment_job_version(connection)
            return is_updated

    def add_children(self, parent: JobRecord, children: Sequence[JobRecord]) -> bool:
        """Insert queued jobs that do the work of a job; those that exist stay as they are.

        Parameters
        ----------
        parent
            A job that this process holds.
        children
            Jobs with the ids that they have in every attempt of the parent.

        Returns
        -------
        added
            False: this process does not hold the parent any more, and nothing was inserted.
        """
        with self._database.begin_write() as connection:
            if (
                connection.execute(sa.select(job_columns.id).where(_build_own_attempt_condition(parent))).first()
                is None
            ):
                return False
            existing_ids: set[str] = set()
            for id_chunk in _split_ids([child.id for child in children]):
                existing_ids.update(
                    connection.execute(sa.select(job_columns.id).where(job_columns.id.in_(id_chunk))).scalars()
                )
            rows = [_encode_json_columns(asdict(child)) for child in children if child.id not in existing_ids]
            if rows:
                connection.execute(sa.insert(jobs), rows)
                _increment_job_version(connection)
            return True

    def suspend_job(self, job: JobRecord, progress: Mapping[str, Any], pause_seconds: float) -> bool:
        """Release a job that goes on when its children have ended; meanwhile it stays EXECUTING.

        Parameters
        ----------
        job
            A job that this process holds.
        progress
            The new progress.
        pause_seconds
            After this time it goes on in any case.

        Returns
        -------
        done
            False: this process does not hold the job any more.
        """
        resume_time = datetime.fromisoformat(format_current_time()) + timedelta(seconds=pause_seconds)
        time_text = resume_time.isoformat(timespec="microseconds").replace("+00:00", "Z")
        values = {"holder": f"{job_relations.SUSPENDED_HOLDER_PREFIX}{time_text}", "progress": progress, "attempts": 0}
        statement = sa.update(jobs).where(_build_own_attempt_condition(job)).values(**_encode_json_columns(values))
        with self._database.begin_write() as connection:
            is_updated = connection.execute(statement).rowcount > 0
            _increment_job_version(connection)
            return is_updated

    def set_dependencies_or_find_cycle(
        self, job_id: str, dependency_ids: Sequence[str], *, allowed_phases: Sequence[str]
    ) -> list[str] | None:
        """Make a job wait for others.

        Parameters
        ----------
        dependency_ids
            Ids of the jobs to wait for.

        Returns
        -------
        circle
            The ids of the circle that the dependencies would close, in which case nothing changes; otherwise empty.
            None: the job was in none of `allowed_phases`.
        """
        row_condition = sa.and_(job_columns.id == job_id, job_columns.phase.in_(allowed_phases))
        ids_text = json.dumps(list(dependency_ids))
        with self._database.begin_write() as connection:
            dependency_cycle = job_relations.find_dependency_cycle(connection, job_id, dependency_ids)
            if dependency_cycle:
                return dependency_cycle
            update_result = connection.execute(sa.update(jobs).where(row_condition).values(depends_on=ids_text))
            if update_result.rowcount:
                return []
            return None

    def list_children(self, job_id: str) -> list[str]:
        """List the jobs that are part of another job, at most `MAX_LISTED_CHILDREN`.

        Returns
        -------
        ids
            The oldest first.
        """
        query = sa.select(job_columns.id).where(job_columns.parent == job_id)
        with self._database.begin_read() as connection:
            ordered_query = query.order_by(job_columns.created, job_columns.id).limit(MAX_LISTED_CHILDREN)
            return list(connection.execute(ordered_query).scalars())

    def count_by_phase(self, queue: str) -> dict[str, int]:
        """Count the jobs of a queue by their phases.

        Returns
        -------
        counts
            Phase -> number of jobs; phases without jobs are missing.
        """
        query = sa.select(job_columns.phase, sa.func.count()).where(job_columns.queue == queue)
        with self._database.begin_read() as connection:
            return _fetch_counts(connection, query.group_by(job_columns.phase))

    def enqueue_job(
        self, job_id: str, *, allowed_phases: Sequence[str], queue_limit: int, type_limit: int | None = None
    ) -> str | None:
        """Queue a job: make it QUEUED, or HELD if there are too many.

        A job that first waits for other jobs has no `queued` time: it has no turn yet.

        Parameters
        ----------
        queue_limit
            How many jobs of the same queue may wait or run.
        type_limit
            How many of these may have the same type; None: any number.

        Returns
        -------
        phase
            The new phase; None: the job was in none of `allowed_phases`.
        """
        columns = (job_columns.queue, job_columns.type, job_columns.depends_on)
        job_query = sa.select(*columns).where(job_columns.id == job_id, job_columns.phase.in_(allowed_phases))
        with self._database.begin_write() as connection:
            row = connection.execute(job_query).first()
            if row is None:
                return None
            is_active = sa.and_(job_columns.queue == row.queue, job_columns.phase.in_(("QUEUED", "EXECUTING")))
            count_query = sa.select(sa.func.count()).where(is_active)
            is_below_limit = int(connection.execute(count_query).scalar_one()) < queue_limit
            if is_below_limit and type_limit is not None:
                type_count_query = count_query.where(job_columns.type == row.type)
                is_below_limit = int(connection.execute(type_count_query).scalar_one()) < type_limit
            phase = "QUEUED" if is_below_limit else "HELD"
            queued = None
            if phase == "HELD" or row.depends_on == "[]":
                is_waiting = sa.and_(job_columns.queue == row.queue, job_columns.phase == "QUEUED")
                last_queued = connection.execute(sa.select(sa.func.max(job_columns.queued)).where(is_waiting)).scalar()
                queued = _get_current_time_after(last_queued or "")
            connection.execute(sa.update(jobs).where(job_columns.id == job_id).values(phase=phase, queued=queued))
            if queued is None:
                job_relations.resolve_dependencies(connection)
            _increment_job_version(connection)
            return phase

    def delete_jobs_and_descendants(self, *job_ids: str) -> list[str]:
        """Delete jobs and the jobs that are part of them; a process that runs one notices.

        Returns
        -------
        ids
            Ids of all deleted jobs.
        """
        with self._database.begin_write() as connection:
            deleted_ids = [*job_ids, *job_relations.list_descendants(connection, job_ids)]
            connection.execute(sa.delete(jobs).where(job_columns.id.in_(deleted_ids)))
            connection.execute(sa.delete(visits).where(visits.c.job.in_(deleted_ids)))
            _increment_job_version(connection)
            return deleted_ids

    # --- running ---------------------------------------------------------------------------------------------

    def resolve_dependencies_and_count_waiting(self) -> int:
        """Count the jobs that wait for their turn, after those whose dependencies have ended got theirs.

        Returns
        -------
        count
            Number of jobs that may be claimed.
        """
        is_ready = _build_ready_condition(jobs, ())
        count_query = sa.select(sa.func.count()).where(is_ready)
        dependents_query = sa.select(job_columns.id).where(sa.text(job_relations.WAITING_JOBS_CONDITION)).limit(1)
        with self._database.begin_read() as connection:
            waiting_count = int(connection.execute(count_query).scalar_one())
            has_dependents = connection.execute(dependents_query).first() is not None
            has_due_parent = job_relations.find_due_parent(connection) is not None
        if not has_dependents and not has_due_parent:
            return waiting_count
        with self._database.begin_write() as connection:
            if job_relations.resolve_dependencies(connection) or has_due_parent:  # idle workers look again
                _increment_job_version(connection)
            return int(connection.execute(count_query).scalar_one()) + has_due_parent

    def claim_job(self, limits_by_type: Mapping[str, int] | None = None) -> JobRecord | None:
        """Claim the next job for this process.

        A job whose children have ended comes first. Otherwise, it is the oldest job of the queue that has the fewest
        running jobs and was served longest ago.

        Parameters
        ----------
        limits_by_type
            Job type -> how many of its jobs may run at once; other types are not limited.

        Returns
        -------
        job
            The job, EXECUTING and held by this process; None: none waits.
        """
        with self._database.begin_write() as connection:
            if job_relations.resolve_dependencies(connection):
                _increment_job_version(connection)
            parent_id = job_relations.find_due_parent(connection)
            if parent_id is not None:
                next_job_query = sa.select(jobs).where(job_columns.id == parent_id)
            else:
                full_types = _find_full_types(connection, limits_by_type or {})
                queue = _choose_queue(connection, full_types)
                if queue is None:
                    return None
                ready_jobs = sa.select(jobs).where(_build_ready_condition(jobs, full_types), job_columns.queue == queue)
                next_job_query = ready_jobs.order_by(job_columns.queued, job_columns.id).limit(1)
            job = _job_from_row(connection.execute(next_job_query).one())
            values: dict[str, Any] = {
                "phase": "EXECUTING",
                "holder": get_process_holder(),
                "attempts": job.attempts + 1,
            }
            if parent_id is None:
                values["started"] = _record_job_start(connection)
                values["progress"] = _select_lasting_progress(job.progress)
            is_job = job_columns.id == job.id
            connection.execute(sa.update(jobs).where(is_job).values(**_encode_json_columns(values)))
            _increment_job_version(connection)
            return _job_from_row(connection.execute(sa.select(jobs).where(is_job)).one())

    def record_heartbeat_and_read_duration(
        self, job: JobRecord, progress: Mapping[str, Any] | None = None
    ) -> int | None:
        """Record that the holder of a job lives.

        Parameters
        ----------
        job
            A job that this process holds.
        progress
            The new progress; None: it stays as it is.

        Returns
        -------
        seconds
            Seconds that the job may run, by its present setting; None: this process does not hold it any more.
        """
        values: dict[str, Any] = {"beat": job_columns.beat + 1}
        if progress is not None:
            values["progress"] = json.dumps(progress)
        duration_query = sa.select(job_columns.duration).where(job_columns.id == job.id)
        with self._database.begin_write() as connection:
            update_result = connection.execute(
                sa.update(jobs).where(_build_own_attempt_condition(job)).values(**values)
            )
            if not update_result.rowcount:
                return None
            return int(connection.execute(duration_query).scalar_one())

    def find_duration_if_owned(self, job: JobRecord) -> int | None:
        """Return what `record_heartbeat_and_read_duration` returns, without recording anything: this is cheap.

        Parameters
        ----------
        job
            A job that this process holds.
        """
        query = sa.select(job_columns.duration).where(_build_own_attempt_condition(job))
        with self._database.begin_read() as connection:
            duration_seconds = connection.execute(query).scalar()
        if duration_seconds is None:
            return None
        return int(duration_seconds)

    def finish_job_and_notify_owner(self, job: JobRecord, phase: str, **extra_values: Any) -> bool:
        """End a job that this process runs.

        Parameters
        ----------
        job
            A job that this process holds.
        phase
            COMPLETED, ERROR or ABORTED.
        extra_values
            Further columns and their values.

        Returns
        -------
        ended
            False: this process does not hold the job any more, and nothing was changed.
        """
        with self._database.begin_write() as connection:
            end_time = _get_current_time_after(job.started or "")
            changes = _encode_json_columns({"ended": end_time, **extra_values, "phase": phase, "holder": None})
            update_result = connection.execute(
                sa.update(jobs).where(_build_own_attempt_condition(job)).values(**changes)
            )
            if update_result.rowcount:
                if phase == "ABORTED":
                    job_relations.cancel_descendants(connection, job.id)
                _increment_job_version(connection)
                _notify_of_job_end(connection, job, phase)
            return bool(update_result.rowcount)

    def requeue_job(self, job: JobRecord, *, is_attempt_counted: bool) -> bool:
        """Put a job that its holder will not end back into its queue.

        Parameters
        ----------
        is_attempt_counted
            Whether this attempt counts as one.

        Returns
        -------
        done
            False: another process holds the job.
        """
        values: dict[str, Any] = {"phase": "QUEUED", "holder": None, "started": None}
        if not is_attempt_counted:
            values["attempts"] = job.attempts - 1
        own_attempt = _build_own_attempt_condition(job)
        with self._database.begin_write() as connection:
            progress_text = connection.execute(sa.select(job_columns.progress).where(own_attempt)).scalar()
            lasting_progress = _select_lasting_progress(json.loads(progress_text or "{}"))
            values["progress"] = json.dumps(lasting_progress)
            update_result = connection.execute(sa.update(jobs).where(own_attempt).values(**values))
            if update_result.rowcount:
                _increment_job_version(connection)
            return bool(update_result.rowcount)

    def list_jobs_held_by_processes(self) -> list[JobRecord]:
        """List every job that a process holds.

        Returns
        -------
        jobs
            Jobs of all queues.
        """
        query = sa.select(jobs).where(job_columns.phase == "EXECUTING", ~job_relations.build_suspended_condition())
        with self._database.begin_read() as connection:
            return [_job_from_row(row) for row in connection.execute(query)]

    def is_abandoned(self, job: JobRecord) -> bool:
        """Return whether the holder of a job is certainly dead; only a holder on this machine can be."""
        return job.holder is None or is_holder_dead(job.holder)

    def count_jobs_ahead(self, job: JobRecord) -> dict[str, int]:
        """Estimate how many jobs of each queue start before a job that waits, or that would wait from now on.

        Queues take turns.

        Returns
        -------
        counts
            Counts by queue.
        """
        is_earlier: sa.ColumnElement[bool] = sa.true()
        if job.phase == "QUEUED" and job.queued is not None:
            is_earlier = job_columns.queued < job.queued
        is_waiting = job_columns.phase == "QUEUED"
        own_queue_query = sa.select(sa.func.count()).where(is_waiting, job_columns.queue == job.queue, is_earlier)
        counts_query = sa.select(job_columns.queue, sa.func.count()).where(is_waiting, job_columns.queue != job.queue)
        with self._database.begin_read() as connection:
            jobs_before = int(connection.execute(own_queue_query).scalar_one())
            waiting_by_queue: dict[str, int] = _fetch_counts(connection, counts_query.group_by(job_columns.queue))
        counts_by_queue = {queue: min(jobs_before + 1, count) for queue, count in waiting_by_queue.items()}
        if jobs_before:
            return {job.queue: jobs_before, **counts_by_queue}
        return counts_by_queue

    def find_queue_places(self, job_records: Sequence[JobRecord]) -> dict[str, int]:
        """Estimate the places of waiting jobs, from 1; it costs two or three queries for any number of jobs.

        Parameters
        ----------
        job_records
            Jobs in any phase.

        Returns
        -------
        places
            Places by id; jobs that do not wait are left out.
        """
        queues = {job.id: job.queue for job in job_records if job.phase == "QUEUED"}
        if not queues:
            return {}
        is_waiting = job_columns.phase == "QUEUED"
        rank = sa.func.rank().over(partition_by=job_columns.queue, order_by=job_columns.queued)
        is_in_queue = job_columns.queue.in_(set(queues.values()))
        ranked = sa.select(job_columns.id, rank.label("rank")).where(is_waiting, is_in_queue).subquery()
        counts_query = sa.select(job_columns.queue, sa.func.count()).where(is_waiting).group_by(job_columns.queue)
        ranks: dict[str, int] = {}
        with self._database.begin_read() as connection:
            for id_chunk in _split_ids(list(queues)):
                query = sa.select(ranked.c.id, ranked.c.rank).where(ranked.c.id.in_(id_chunk))
                ranks.update({row.id: int(row.rank) for row in connection.execute(query)})
            counts = _fetch_counts(connection, counts_query)
        return {
            job_id: rank + sum(min(rank, count) for queue, count in counts.items() if queue != queues[job_id])
            for job_id, rank in ranks.items()
        }

    def count_running_by_queue(self) -> dict[str, int]:
        """Count the running jobs of each queue.

        Returns
        -------
        counts
            Counts by queue.
        """
        with self._database.begin_read() as connection:
            return _fetch_counts(connection, _RUNNING_COUNT_QUERY)

    def list_completed(self, queue: str, job_type: str, *, row_limit: int) -> list[CompletedJob]:
        """List the completed jobs of a queue.

        Parameters
        ----------
        row_limit
            At most this many.

        Returns
        -------
        jobs
            The job that was queued last comes first.
        """
        columns = (job_columns.parameters, job_columns.started, job_columns.ended)
        query = sa.select(*columns).where(
            job_columns.phase == "COMPLETED", job_columns.queue == queue, job_columns.type == job_type
        )
        query = query.order_by(job_columns.queued.desc()).limit(row_limit)
        with self._database.begin_read() as connection:
            job_rows = list(connection.execute(query))
        completed_jobs = []
        for parameters_text, started, ended in job_rows:
            if started and ended:
                parameters = tuple((name, value) for name, value in json.loads(parameters_text))
                completed_jobs.append(CompletedJob(parameters=parameters, started=started, ended=ended))
        return completed_jobs

    # --- the end ---------------------------------------------------------------------------------------------

    def list_expired(self, time_text: str, *, hidden_phases: Sequence[str] = ()) -> list[JobRecord]:
        """List jobs whose destruction is due, at most a thousand.

        Parameters
        ----------
        time_text
            The current time, as the store writes it.

        Returns
        -------
        jobs
            The job that has been due longest comes first.
        """
        query = sa.select(jobs).where(job_columns.destruction <= time_text, job_columns.phase.not_in(hidden_phases))
        with self._database.begin_read() as connection:
            rows = connection.execute(query.order_by(job_columns.destruction).limit(1000))
            return [_job_from_row(row) for row in rows]

    def select_existing(self, job_ids: Sequence[str]) -> set[str]:
        """Return those of the ids that belong to a job."""
        return set(self.find_phases(job_ids))


def _notify_of_job_end(connection: sa.Connection, job: JobRecord, phase: str) -> None:
    """Announce the end of a job to its owner, if its parameter NOTIFY says so."""
    wishes = [value for name, value in job.parameters if name.upper() == NOTIFY_PARAMETER]
    if job.owner is None or not wishes or wishes[-1].lower() not in {"1", "true"}:
        return
    from hven.site.store._site_events import SiteEvent, notify_accounts  # noqa: PLC0415  (few processes end a job)

    message = format_message("the job {id} ({type}) has ended: {phase}", job.run_id or job.id, job.type, phase)
    event = SiteEvent(kind=JOB_END_KIND, accounts=(job.owner,), message=message, path=f"/jobs?job={job.id}")
    notify_accounts(connection, event)


def _build_visitor_exclusion(visitor: str | None) -> Sequence[sa.ColumnElement[bool]]:
    if visitor is None:
        return ()
    return (~sa.exists().where(visits.c.job == job_columns.id),)


def _is_listed_after(ref: JobRef, previous_job: tuple[str, str | None] | None) -> bool:
    """Return whether a job comes after another one in a list, by the time and the id of that one."""
    if previous_job is None:
        return True
    previous_time, previous_id = previous_job
    if ref.created != previous_time:
        return ref.created < previous_time
    return previous_id is not None and ref.id > previous_id


def _build_own_attempt_condition(job: JobRecord) -> sa.ColumnElement[bool]:
    is_held = sa.and_(job_columns.phase == "EXECUTING", job_columns.holder == job.holder)
    return sa.and_(job_columns.id == job.id, is_held, job_columns.attempts == job.attempts)


def _select_lasting_progress(progress: Mapping[str, Any]) -> dict[str, Any]:
    """Return the progress that outlives one attempt: the remote job that does the work."""
    return {name: value for name, value in progress.items() if name == REMOTE_PROGRESS_KEY}


def _build_ready_condition(table: sa.FromClause, full_types: Sequence[str]) -> sa.ColumnElement[bool]:
    """Build the condition that a job may start: it waits only for its turn, and its type is not full."""
    condition = sa.and_(table.c.phase == "QUEUED", table.c.queued.is_not(None))
    if full_types:
        return sa.and_(condition, table.c.type.not_in(full_types))
    return condition


@lru_cache(maxsize=32)  # to build the query takes longer than to run it
def _build_queue_query(full_types: tuple[str, ...]) -> sa.Select[Any]:
    """Build the query of the queues that wait, since when, and when each was last served.

    It steps from queue to queue by the index, however many jobs wait.
    """
    first_job, next_job, oldest_job, last_job = (jobs.alias(name) for name in ("first", "after", "oldest", "last"))
    queues = (
        sa.select(sa.func.min(first_job.c.queue).label("queue"))
        .where(_build_ready_condition(first_job, full_types))
        .cte("queues", recursive=True)
    )
    next_queue = (
        sa.select(sa.func.min(next_job.c.queue))
        .where(_build_ready_condition(next_job, full_types), next_job.c.queue > queues.c.queue)
        .scalar_subquery()
    )
    queues = queues.union_all(sa.select(next_queue).where(queues.c.queue.is_not(None)))
    queued_since = sa.select(sa.func.min(oldest_job.c.queued)).where(
        _build_ready_condition(oldest_job, full_types), oldest_job.c.queue == queues.c.queue
    )
    last_started = sa.select(sa.func.max(last_job.c.started)).where(last_job.c.queue == queues.c.queue)
    columns = (queues.c.queue, queued_since.scalar_subquery(), last_started.scalar_subquery())
    return sa.select(*columns).where(queues.c.queue.is_not(None))


def _choose_queue(connection: sa.Connection, full_types: Sequence[str]) -> str | None:
    """Choose the waiting queue with the fewest running jobs that was served longest ago; None: no queue waits."""
    waiting_queues = list(connection.execute(_build_queue_query(tuple(full_types))))
    if not waiting_queues:
        return None
    running_by_queue = _fetch_counts(connection, _RUNNING_COUNT_QUERY)
    full_queues = job_relations.find_full_child_queues(connection, running_by_queue)
    waiting_queues = [row for row in waiting_queues if row[0] not in full_queues]
    if not waiting_queues:
        return None
    fewest_running = min(running_by_queue.get(queue, 0) for queue, _, _ in waiting_queues)
    candidates: list[tuple[str, str, str]] = []
    for queue, queued_since, last_started in waiting_queues:
        if running_by_queue.get(queue, 0) == fewest_running:
            candidates.append((last_started or "", queued_since, queue))
    return min(candidates)[2]


def _fetch_counts(connection: sa.Connection, query: sa.Select[Any]) -> dict[str, int]:
    """Run a query of keys and their counts."""
    return {row[0]: int(row[1]) for row in connection.execute(query)}


def _find_full_types(connection: sa.Connection, limits_by_type: Mapping[str, int]) -> list[str]:
    """Return the types that have reached their limit of running jobs."""
    if not limits_by_type:
        return []
    query = sa.select(job_columns.type, sa.func.count()).group_by(job_columns.type)
    query = query.where(job_columns.phase == "EXECUTING", job_columns.type.in_(list(limits_by_type)))
    running_by_type = _fetch_counts(connection, query)
    return [job_type for job_type, count in running_by_type.items() if count >= limits_by_type[job_type]]


def _get_current_time_after(previous_time: str) -> str:
    """Return the current time; after a clock was set back, the moment after `previous_time`."""
    current_time = format_current_time()
    if current_time > previous_time:
        return current_time
    next_time = datetime.fromisoformat(previous_time) + timedelta(microseconds=1)
    return next_time.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _record_job_start(connection: sa.Connection) -> str:
    """Record a job's start and return its time.

    Each start is later than the one before, whatever happened to the clock in between.
    """
    last_start = read_meta_value(connection, LAST_START_KEY)
    if last_start is None:
        last_start = connection.execute(sa.select(sa.func.max(job_columns.started))).scalar() or ""
        insert_meta_value(connection, LAST_START_KEY, last_start)
    start_time = _get_current_time_after(last_start)
    update_meta_value(connection, LAST_START_KEY, start_time)
    return start_time


_RUNNING_COUNT_QUERY = (
    sa.select(job_columns.queue, sa.func.count()).where(job_columns.phase == "EXECUTING").group_by(job_columns.queue)
)
_NEXT_JOB_VERSION = sa.cast(meta.c.value, sa.BigInteger) + 1
_INCREMENT_JOB_VERSION = sa.update(meta).where(meta.c.key == "jobs").values(value=sa.cast(_NEXT_JOB_VERSION, sa.Text))


def _increment_job_version(connection: sa.Connection) -> None:
    connection.execute(_INCREMENT_JOB_VERSION)


def delete_matching_jobs(connection: sa.Connection, row_condition: sa.ColumnElement[bool]) -> list[str]:
    """Delete jobs in the caller's transaction; return their ids."""
    ids_query = sa.select(job_columns.id).where(row_condition)
    deleted_ids = list(connection.execute(ids_query).scalars())
    connection.execute(sa.delete(visits).where(visits.c.job.in_(ids_query)))
    connection.execute(sa.delete(jobs).where(row_condition))
    if deleted_ids:
        _increment_job_version(connection)
    return deleted_ids


def _split_ids(job_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(job_ids), MAX_IDS_PER_STATEMENT):
        yield job_ids[start : start + MAX_IDS_PER_STATEMENT]
