"""Relations of jobs: those that a job waits for (`depends_on`), and the job that it is part of (`parent`).

Every function here is part of the caller's transaction.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.site.store._database import format_current_time, jobs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ENDED_PHASES = ("COMPLETED", "ERROR", "ABORTED", "ARCHIVED")
CHILD_QUEUE_PREFIX = "job "  # then the id of the parent: the queue of jobs that do the work of their parent
SUSPENDED_HOLDER_PREFIX = "children until "  # then a time: the holder of a job that waits for its children
RUNNING_LIMIT_KEY = "runningLimit"  # in a job's progress: how many of its children may run at once
MAX_VALUES_PER_STATEMENT = 500  # databases limit the values of one statement
WAITING_JOBS_CONDITION = "phase = 'QUEUED' AND queued IS NULL"  # in the words of the index, so that it is used
FAILURE_TEXTS = {"ERROR": "ended in an error", "ABORTED": "was aborted"}
_DEPENDENCY_EXPANSIONS = {
    "sqlite": "json_each(t.depends_on) AS d",
    "postgresql": "jsonb_array_elements_text(CAST(t.depends_on AS jsonb)) AS d(value)",
}


def resolve_dependencies(connection: sa.Connection) -> bool:
    """Check the jobs that wait for other jobs (QUEUED, without a `queued` time).

    A job whose dependencies are all completed gets its turn; a job with a failed dependency ends. Many jobs wait for
    the same dependencies, so each set of dependencies is checked once, and only if one of its jobs has ended.

    Returns
    -------
    bool
        Whether anything changed.
    """
    changed = False
    while True:
        has_ended_jobs = False
        resolvable_query = _build_resolvable_dependencies_query(connection.dialect.name)
        dependency_texts = connection.execute(resolvable_query).scalars().all()
        dependencies_by_text: dict[str, list[str]] = {text: json.loads(text) for text in dependency_texts}
        phases = _find_phases(connection, set[str]().union(*dependencies_by_text.values()))
        for text, dependency_ids in dependencies_by_text.items():
            waiting_jobs = sa.update(jobs).where(sa.text(WAITING_JOBS_CONDITION), jobs.c.depends_on == text)
            failed_dependency = _find_failed_dependency(dependency_ids, phases)
            if failed_dependency is not None:
                failed_phase = phases.get(failed_dependency, "")
                error_text = _write_dependency_error_json(failed_dependency, failed_phase)
                time_text = format_current_time()
                values = {"phase": "ERROR", "queued": time_text, "ended": time_text, "error": error_text}
                connection.execute(waiting_jobs.values(values))
                changed = has_ended_jobs = True
            elif all(phases.get(dependency_id) == "COMPLETED" for dependency_id in dependency_ids):
                connection.execute(waiting_jobs.values(queued=format_current_time()))
                changed = True
        if not has_ended_jobs:  # other jobs may wait for the ones that ended here
            return changed


def _find_failed_dependency(dependency_ids: Sequence[str], phases: Mapping[str, str]) -> str | None:
    """Return the first job that has ended without being completed, or is gone."""
    for dependency_id in dependency_ids:
        phase = phases.get(dependency_id, "ARCHIVED")
        if phase in ENDED_PHASES and phase != "COMPLETED":
            return dependency_id
    return None


def _write_dependency_error_json(failed_dependency: str, failed_phase: str) -> str:
    failure_text = FAILURE_TEXTS.get(failed_phase, "has been destroyed")
    message = (
        f"this job waited for the job {failed_dependency}, which {failure_text}; run that job again, and then this job"
    )
    return json.dumps({"kind": "fatal", "message": message})


def _build_resolvable_dependencies_query(dialect: str) -> sa.TextClause:
    """Build the query for the dependencies of waiting jobs that can be resolved now.

    Dependencies can be resolved when one of their jobs has ended or is gone, or when they name no job.
    """
    ended = ", ".join(f"'{phase}'" for phase in ENDED_PHASES)
    always = "TRUE" if dialect == "postgresql" else "1"
    return sa.text(
        f"SELECT DISTINCT t.depends_on FROM (SELECT DISTINCT depends_on FROM jobs WHERE {WAITING_JOBS_CONDITION}) AS t"
        f" LEFT JOIN {_DEPENDENCY_EXPANSIONS[dialect]} ON {always}"
        " LEFT JOIN jobs AS o ON o.id = d.value"
        f" WHERE o.phase IS NULL OR o.phase IN ({ended})"
    )


def _find_phases(connection: sa.Connection, job_ids: set[str]) -> dict[str, str]:
    """Return the phases of jobs by id; jobs that are gone are left out."""
    ordered_ids = sorted(job_ids)
    phases_by_id: dict[str, str] = {}
    for start in range(0, len(ordered_ids), MAX_VALUES_PER_STATEMENT):
        id_chunk = ordered_ids[start : start + MAX_VALUES_PER_STATEMENT]
        query = sa.select(jobs.c.id, jobs.c.phase).where(jobs.c.id.in_(id_chunk))
        phases_by_id |= {row[0]: row[1] for row in connection.execute(query)}
    return phases_by_id


def find_dependency_cycle(connection: sa.Connection, job_id: str, dependency_ids: Sequence[str]) -> list[str]:
    """Return the jobs through which `job_id` would wait for itself if it waited for `dependency_ids`.

    The result is empty if it would not.
    """
    paths = [[dependency_id] for dependency_id in dependency_ids]
    visited_ids: set[str] = set()
    while paths:
        path = paths.pop()
        last_id = path[-1]
        if last_id == job_id:
            return [job_id, *path]
        if last_id in visited_ids:
            continue
        visited_ids.add(last_id)
        text = connection.execute(sa.select(jobs.c.depends_on).where(jobs.c.id == last_id)).scalar()
        paths += [[*path, dependency_id] for dependency_id in json.loads(text or "[]")]
    return []


def list_descendants(connection: sa.Connection, job_ids: Sequence[str]) -> list[str]:
    """Return the children of jobs, their children, and so on."""
    return list(connection.execute(_select_descendants(job_ids)).scalars())


def _select_descendants(job_ids: Sequence[str]) -> sa.Select[Any]:
    """Build the query of the ids of all descendants; the union leaves out ids that are there, so it ends."""
    descendants = sa.select(jobs.c.id).where(jobs.c.parent.in_(job_ids)).cte("descendants", recursive=True)
    children = sa.select(jobs.c.id).where(jobs.c.parent == descendants.c.id)
    return sa.select(descendants.union(children).c.id)


def cancel_descendants(connection: sa.Connection, job_id: str) -> None:
    """Abort every descendant of a job that has not ended."""
    message = f"this job is part of the job {job_id}, which was aborted"
    values = {
        "phase": "ABORTED",
        "ended": format_current_time(),
        "holder": None,
        "error": json.dumps({"kind": "fatal", "message": message}),
    }
    row_condition = sa.and_(jobs.c.id.in_(_select_descendants([job_id])), jobs.c.phase.not_in(ENDED_PHASES))
    connection.execute(sa.update(jobs).where(row_condition).values(values))


# --- jobs whose work is done by their children ---------------------------------------------------------------


def build_suspended_condition() -> sa.ColumnElement[bool]:
    """Build the condition that a job executes without a process, while its children work."""
    return sa.and_(jobs.c.phase == "EXECUTING", jobs.c.holder.like(f"{SUSPENDED_HOLDER_PREFIX}%"))


def find_due_parent(connection: sa.Connection) -> str | None:
    """Return a suspended job whose children have ended, or whose time has come; None: there is none."""
    child = jobs.alias("child")
    is_own_child = child.c.queue == sa.literal(CHILD_QUEUE_PREFIX) + jobs.c.id
    has_open_children = sa.exists().where(is_own_child, child.c.phase.in_(("QUEUED", "EXECUTING")))
    is_due = sa.or_(jobs.c.holder <= f"{SUSPENDED_HOLDER_PREFIX}{format_current_time()}", ~has_open_children)
    due_query = sa.select(jobs.c.id).where(build_suspended_condition(), is_due).order_by(jobs.c.holder).limit(1)
    parent_id: str | None = connection.execute(due_query).scalar()
    return parent_id


def find_full_child_queues(connection: sa.Connection, running_by_queue: Mapping[str, int]) -> set[str]:
    """Return the queues of children in which as many jobs run as their parents allow (`RUNNING_LIMIT_KEY`)."""
    full_queues = set()
    for queue, running_count in running_by_queue.items():
        if queue.startswith(CHILD_QUEUE_PREFIX):
            parent_query = sa.select(jobs.c.progress).where(jobs.c.id == queue.removeprefix(CHILD_QUEUE_PREFIX))
            progress = json.loads(connection.execute(parent_query).scalar() or "{}")
            if running_count >= progress.get(RUNNING_LIMIT_KEY, sys.maxsize):
                full_queues.add(queue)
    return full_queues
