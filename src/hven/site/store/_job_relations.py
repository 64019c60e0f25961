"""How jobs hang together: those that others wait for (`depends_on`), and those that are part of another (`parent`).

Everything here is part of the caller's transaction.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hven.site.store._database import format_current_time, jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

ENDED_PHASES = ("COMPLETED", "ERROR", "ABORTED", "ARCHIVED")
MAX_JOB_GENERATIONS = 100  # generations of jobs
MAX_VALUES_PER_STATEMENT = 500  # values of one statement: databases have their limits
WAITING_JOBS_CONDITION = "phase = 'QUEUED' AND queued IS NULL"  # as the index has it, so that it is used
_DEPENDENCY_EXPANSIONS = {
    "sqlite": "json_each(t.depends_on) AS d",
    "postgresql": "jsonb_array_elements_text(CAST(t.depends_on AS jsonb)) AS d(value)",
}


def resolve_dependencies(connection: sa.Connection) -> bool:
    """Check the jobs that wait for others (QUEUED, without a time since when).

    Let those begin whose time has come, end those whose never will.

    Many wait for the same others, so they are looked at together, and only if one of those others has ended.

    Returns
    -------
    bool
        Whether anything changed.
    """
    changed = False
    while True:
        has_ended_jobs = False
        resolvable_query = _build_resolvable_query(connection.dialect.name)
        dependency_texts = connection.execute(resolvable_query).scalars().all()
        phases = _find_phases(
            connection, {dependency_id for text in dependency_texts for dependency_id in json.loads(text)}
        )
        for text in dependency_texts:
            dependency_ids = json.loads(text)
            update_statement = sa.update(jobs).where(sa.text(WAITING_JOBS_CONDITION), jobs.c.depends_on == text)
            failed_dependency = next(
                (
                    dependency_id
                    for dependency_id in dependency_ids
                    if phases.get(dependency_id, "ARCHIVED") in ENDED_PHASES
                    and phases.get(dependency_id) != "COMPLETED"
                ),
                None,
            )
            if failed_dependency is not None:
                failure_text = {"ERROR": "ended in an error", "ABORTED": "was aborted"}.get(
                    phases.get(failed_dependency, ""), "has been destroyed"
                )
                error = {
                    "kind": "fatal",
                    "message": (
                        f"it waited for the job {failed_dependency}, which {failure_text}; run that again, then this"
                    ),
                }
                connection.execute(
                    update_statement.values(
                        phase="ERROR",
                        queued=format_current_time(),
                        ended=format_current_time(),
                        error=json.dumps(error),
                    )
                )
                changed = has_ended_jobs = True
            elif all(phases.get(dependency_id) == "COMPLETED" for dependency_id in dependency_ids):
                connection.execute(update_statement.values(queued=format_current_time()))
                changed = True
        if not has_ended_jobs:  # what ended may be waited for itself
            return changed


def _build_resolvable_query(dialect: str) -> sa.TextClause:
    """Write the query for the dependencies of waiting jobs that can be resolved now.

    A dependency can be resolved when one of its jobs has ended or is gone, or when it names none.
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
    """Return the phases of jobs; those that are gone have none."""
    ordered = sorted(job_ids)
    phases_by_id: dict[str, str] = {}
    for start in range(0, len(ordered), MAX_VALUES_PER_STATEMENT):
        row_condition = jobs.c.id.in_(ordered[start : start + MAX_VALUES_PER_STATEMENT])
        phases_by_id |= {
            row[0]: row[1] for row in connection.execute(sa.select(jobs.c.id, jobs.c.phase).where(row_condition))
        }
    return phases_by_id


def find_dependency_cycle(connection: sa.Connection, job_id: str, dependency_ids: Sequence[str]) -> list[str]:
    """Return the jobs by which `job_id` would wait for itself if it waited for `dependency_ids`.

    Empty: it would not.
    """
    paths = [[other] for other in dependency_ids]
    visited_ids: set[str] = set()
    while paths:
        path = paths.pop()
        if path[-1] == job_id:
            return [job_id, *path]
        if path[-1] in visited_ids:
            continue
        visited_ids.add(path[-1])
        text = connection.execute(sa.select(jobs.c.depends_on).where(jobs.c.id == path[-1])).scalar()
        paths += [[*path, other] for other in json.loads(text or "[]")]
    return []


def list_descendants(connection: sa.Connection, job_ids: Sequence[str]) -> list[str]:
    """Return the children of jobs, and theirs."""
    descendants: list[str] = []
    generation = list(job_ids)
    for _ in range(MAX_JOB_GENERATIONS):
        generation = [
            name
            for name in connection.execute(sa.select(jobs.c.id).where(jobs.c.parent.in_(generation))).scalars()
            if name not in descendants
        ]
        if not generation:
            break
        descendants += generation
    return descendants


def cancel_descendants(connection: sa.Connection, job_id: str) -> None:
    """Abort everything below a job that has not ended."""
    children = list_descendants(connection, [job_id])
    if children:
        row_condition = sa.and_(jobs.c.id.in_(children), jobs.c.phase.not_in(ENDED_PHASES))
        error = json.dumps({"kind": "fatal", "message": f"the job {job_id}, which this is part of, was aborted"})
        connection.execute(
            sa.update(jobs)
            .where(row_condition)
            .values(phase="ABORTED", ended=format_current_time(), holder=None, error=error)
        )
