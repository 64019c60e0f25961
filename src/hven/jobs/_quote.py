"""When a job will probably be done: from how far it is, or from how long jobs like it took; silent where that would be a guess."""

from __future__ import annotations

import re
import statistics
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.site.store import Job, Jobs, Past

PASTS = 50  # jobs of an asker that are looked at
QUEUES = 8  # more askers than that before it: nobody can tell
SHARE, SURE = 0.02, 1.0  # of the work and of seconds: less than that says nothing about the rest
# durations that differ by more than this factor, and by more than these seconds, are of jobs that are not alike
SPREAD, SHORT = 4.0, 2.0
BEYOND = ("RUNID", "RESPONSEFORMAT", "FORMAT")  # what does not make jobs unlike
_NUMBER = re.compile(r"(?:(?<=[(,=<>\s])[+-])?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is to be expected of a job: its place in the queue (1 = next), when it will be done, what to do; None: nothing to say."""

    place: int | None = None
    quote: str | None = None
    note: str | None = None


def outlook(job: Job, jobs: Jobs, moment: datetime) -> Outlook:
    """Estimate when a job will be done.

    A job that runs and knows its share of the work goes on as fast as so far. Otherwise it takes as long as the asker's jobs
    took that differ from it in numbers alone, if those agree; one that waits does so for the jobs before it, which take as long
    as their askers' did. What has no such past, or should be done already, has no quote.
    """
    if job.phase == "EXECUTING":
        return Outlook(quote=_said(_running(job, jobs, moment), moment))
    if job.phase not in {"PENDING", "QUEUED"}:
        return Outlook()
    ahead = jobs.ahead(job)
    place = 1 + sum(ahead.values()) if job.phase == "QUEUED" else None
    past = jobs.past(job.queue, job.type, most=PASTS)
    own = _alike(job, past)
    running = jobs.running()
    wait = None if own is None else _wait(job, jobs, ahead, running, past)
    if own is None or wait is None:
        return Outlook(place=place)
    return Outlook(place=place, quote=_said(moment + timedelta(seconds=wait + own), moment))


def _running(job: Job, jobs: Jobs, moment: datetime) -> datetime | None:
    if job.started is None:
        return None
    begun = datetime.fromisoformat(job.started)
    elapsed = (moment - begun).total_seconds()
    share = job.progress.get("share")
    if isinstance(share, float | int) and share >= SHARE and elapsed >= SURE:
        return moment + timedelta(seconds=elapsed * (1 - share) / share)
    own = _alike(job, jobs.past(job.queue, job.type, most=PASTS))
    return None if own is None else begun + timedelta(seconds=own)


def _wait(job: Job, jobs: Jobs, ahead: dict[str, int], running: dict[str, int], past: Sequence[Past]) -> float | None:
    """Estimate the seconds until a job is begun: with as many workers as there are jobs running, those being half done."""
    queues = {*ahead, *running}
    if len(queues) > QUEUES:
        return None
    total = 0.0
    for queue in queues:
        found = past if queue == job.queue else jobs.past(queue, job.type, most=PASTS)
        if not found:
            return None
        total += statistics.median(_seconds(one) for one in found) * (ahead.get(queue, 0) + running.get(queue, 0) / 2)
    return total / max(1, sum(running.values()))


def _alike(job: Job, past: Sequence[Past]) -> float | None:
    wanted = _shape(job.parameters)
    found = [_seconds(one) for one in past if _shape(one.parameters) == wanted]
    if not found or (max(found) > SPREAD * min(found) and max(found) - min(found) > SHORT):
        return None
    seconds = statistics.median(found)
    return min(seconds, job.duration) if job.duration else seconds


def _shape(parameters: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted((name.upper(), _NUMBER.sub("0", value)) for name, value in parameters if name.upper() not in BEYOND)


def _seconds(one: Past) -> float:
    return max(0.0, (datetime.fromisoformat(one.ended) - datetime.fromisoformat(one.started)).total_seconds())


def _said(when: datetime | None, moment: datetime) -> str | None:
    return None if when is None or when < moment else when.isoformat(timespec="microseconds").replace("+00:00", "Z")
