"""How jobs hang together: those that others wait for (`depends_on`), and those that are part of another (`parent`).

Everything here is part of the caller's transaction.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import sqlalchemy as sa

from hven.site.store._database import jobs, now

if TYPE_CHECKING:
    from collections.abc import Sequence

ENDED = ("COMPLETED", "ERROR", "ABORTED", "ARCHIVED")
DEEPEST = 100  # generations of jobs
CHUNK = 500  # values of one statement: databases have their limits
BOUND = "phase = 'QUEUED' AND queued IS NULL"  # as the index has it, so that it is used
_EACH = {
    "sqlite": "json_each(t.depends_on) AS d",
    "postgresql": "jsonb_array_elements_text(CAST(t.depends_on AS jsonb)) AS d(value)",
}


def settle(connection: sa.Connection) -> bool:
    """Check the jobs that wait for others (QUEUED, without a time since when): let those begin whose time has come, end those whose never will.

    Many wait for the same others, so they are looked at together, and only if one of those others has ended.

    Returns
    -------
    bool
        Whether anything changed.
    """
    changed = False
    while True:
        again = False
        texts = connection.execute(_touched(connection.dialect.name)).scalars().all()
        phases = _phases(connection, {other for text in texts for other in json.loads(text)})
        for text in texts:
            others = json.loads(text)
            which = sa.update(jobs).where(sa.text(BOUND), jobs.c.depends_on == text)
            failed = next(
                (
                    other
                    for other in others
                    if phases.get(other, "ARCHIVED") in ENDED and phases.get(other) != "COMPLETED"
                ),
                None,
            )
            if failed is not None:
                how = {"ERROR": "ended in an error", "ABORTED": "was aborted"}.get(
                    phases.get(failed, ""), "has been destroyed"
                )
                error = {
                    "kind": "fatal",
                    "message": f"it waited for the job {failed}, which {how}; run that again, then this",
                }
                connection.execute(which.values(phase="ERROR", queued=now(), ended=now(), error=json.dumps(error)))
                changed = again = True
            elif all(phases.get(other) == "COMPLETED" for other in others):
                connection.execute(which.values(queued=now()))
                changed = True
        if not again:  # what ended may be waited for itself
            return changed


def _touched(name: str) -> sa.TextClause:
    """Write the query for what is waited for, as the jobs have it, where one of it has ended or is gone, or nothing is waited for."""
    ended = ", ".join(f"'{phase}'" for phase in ENDED)
    return sa.text(
        f"SELECT DISTINCT t.depends_on FROM (SELECT DISTINCT depends_on FROM jobs WHERE {BOUND}) AS t"
        f" LEFT JOIN {_EACH[name]} ON {'TRUE' if name == 'postgresql' else '1'} LEFT JOIN jobs AS o ON o.id = d.value"
        f" WHERE o.phase IS NULL OR o.phase IN ({ended})"
    )


def _phases(connection: sa.Connection, names: set[str]) -> dict[str, str]:
    """Return the phases of jobs; those that are gone have none."""
    ordered = sorted(names)
    found: dict[str, str] = {}
    for begin in range(0, len(ordered), CHUNK):
        which = jobs.c.id.in_(ordered[begin : begin + CHUNK])
        found |= {row[0]: row[1] for row in connection.execute(sa.select(jobs.c.id, jobs.c.phase).where(which))}
    return found


def circle(connection: sa.Connection, name: str, others: Sequence[str]) -> list[str]:
    """Return the jobs by which `name` would wait for itself if it waited for `others`; empty: it would not."""
    paths = [[other] for other in others]
    seen: set[str] = set()
    while paths:
        path = paths.pop()
        if path[-1] == name:
            return [name, *path]
        if path[-1] in seen:
            continue
        seen.add(path[-1])
        text = connection.execute(sa.select(jobs.c.depends_on).where(jobs.c.id == path[-1])).scalar()
        paths += [[*path, other] for other in json.loads(text or "[]")]
    return []


def below(connection: sa.Connection, names: Sequence[str]) -> list[str]:
    """Return the children of jobs, and theirs."""
    found: list[str] = []
    level = list(names)
    for _ in range(DEEPEST):
        level = [
            name
            for name in connection.execute(sa.select(jobs.c.id).where(jobs.c.parent.in_(level))).scalars()
            if name not in found
        ]
        if not level:
            break
        found += level
    return found


def abort(connection: sa.Connection, name: str) -> None:
    """Abort everything below a job that has not ended."""
    children = below(connection, [name])
    if children:
        which = sa.and_(jobs.c.id.in_(children), jobs.c.phase.not_in(ENDED))
        error = json.dumps({"kind": "fatal", "message": f"the job {name}, which this is part of, was aborted"})
        connection.execute(sa.update(jobs).where(which).values(phase="ABORTED", ended=now(), holder=None, error=error))
