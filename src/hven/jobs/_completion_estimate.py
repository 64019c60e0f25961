"""When a job will probably be done: from how far it is, or from how long jobs like it took.

Silent where that would be a guess.
"""

from __future__ import annotations

import re
import statistics
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.site.store import CompletedJob, JobRecord, JobStore

MAX_PAST_JOBS = 50  # jobs of an asker that are looked at
MAX_QUEUES = 8  # more askers than that before it: nobody can tell
MIN_PROGRESS_SHARE, MIN_ELAPSED_SECONDS = (
    0.02,
    1.0,
)  # of the work and of seconds: less than that says nothing about the rest
# durations that differ by more than this factor, and by more than these seconds, are of jobs that are not alike
MAX_DURATION_RATIO, MAX_DURATION_SPREAD_SECONDS = 4.0, 2.0
IGNORED_PARAMETERS = ("RUNID", "RESPONSEFORMAT", "FORMAT")  # what does not make jobs unlike
_NUMBER_PATTERN = re.compile(r"(?:(?<=[(,=<>\s])[+-])?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionEstimate:
    """What is to be expected of a job: its place in the queue (1 = next), when it will be done, what to do.

    None: nothing to say.
    """

    place: int | None = None
    quote: str | None = None
    note: str | None = None


def estimate_completion(job: JobRecord, jobs: JobStore, current_time: datetime) -> CompletionEstimate:
    """Estimate when a job will be done.

    A job that runs and knows its share of the work goes on as fast as so far. Otherwise it takes as long as the asker's
    jobs took that differ from it in numbers alone, if those agree; one that waits does so for the jobs before it, which
    take as long as their askers' did. What has no such past, or should be done already, has no quote.
    """
    if job.phase == "EXECUTING":
        quote = _format_quote(_estimate_running_end(job, jobs, current_time), current_time)
        return CompletionEstimate(quote=quote)
    if job.phase not in {"PENDING", "QUEUED"}:
        return CompletionEstimate()
    jobs_ahead = jobs.count_jobs_ahead(job)
    if job.phase == "QUEUED":
        queue_position = 1 + sum(jobs_ahead.values())
    else:
        queue_position = None
    completed_jobs = jobs.list_completed(job.queue, job.type, row_limit=MAX_PAST_JOBS)
    own_seconds = _estimate_duration(job, completed_jobs)
    running_jobs = jobs.count_running()
    if own_seconds is None:
        wait_seconds = None
    else:
        wait_seconds = _estimate_wait_seconds(job, jobs, jobs_ahead, running_jobs, completed_jobs)
    if own_seconds is None or wait_seconds is None:
        return CompletionEstimate(place=queue_position)
    return CompletionEstimate(
        place=queue_position,
        quote=_format_quote(current_time + timedelta(seconds=wait_seconds + own_seconds), current_time),
    )


def _estimate_running_end(job: JobRecord, jobs: JobStore, current_time: datetime) -> datetime | None:
    if job.started is None:
        return None
    start_time = datetime.fromisoformat(job.started)
    elapsed = (current_time - start_time).total_seconds()
    progress_share = job.progress.get("share")
    if (
        isinstance(progress_share, float | int)
        and progress_share >= MIN_PROGRESS_SHARE
        and elapsed >= MIN_ELAPSED_SECONDS
    ):
        seconds = elapsed * (1 - progress_share) / progress_share
        return current_time + timedelta(seconds=seconds)
    completed = jobs.list_completed(job.queue, job.type, row_limit=MAX_PAST_JOBS)
    own_seconds = _estimate_duration(job, completed)
    if own_seconds is None:
        return None
    return start_time + timedelta(seconds=own_seconds)


def _estimate_wait_seconds(
    job: JobRecord,
    jobs: JobStore,
    jobs_ahead: dict[str, int],
    running_jobs: dict[str, int],
    completed_jobs: Sequence[CompletedJob],
) -> float | None:
    """Estimate the seconds until a job is begun.

    With as many workers as there are jobs running, those being half done.
    """
    queues = {*jobs_ahead, *running_jobs}
    if len(queues) > MAX_QUEUES:
        return None
    total = 0.0
    for queue in queues:
        if queue == job.queue:
            similar_jobs = completed_jobs
        else:
            similar_jobs = jobs.list_completed(queue, job.type, row_limit=MAX_PAST_JOBS)
        if not similar_jobs:
            return None
        total += statistics.median(_compute_duration(completed_job) for completed_job in similar_jobs) * (
            jobs_ahead.get(queue, 0) + running_jobs.get(queue, 0) / 2
        )
    return total / max(1, sum(running_jobs.values()))


def _estimate_duration(job: JobRecord, completed_jobs: Sequence[CompletedJob]) -> float | None:
    own_shape = _normalize_parameters(job.parameters)
    similar_durations = [
        _compute_duration(completed_job)
        for completed_job in completed_jobs
        if _normalize_parameters(completed_job.parameters) == own_shape
    ]
    if not similar_durations or (
        max(similar_durations) > MAX_DURATION_RATIO * min(similar_durations)
        and max(similar_durations) - min(similar_durations) > MAX_DURATION_SPREAD_SECONDS
    ):
        return None
    seconds = statistics.median(similar_durations)
    if job.duration:
        return min(seconds, job.duration)
    return seconds


def _normalize_parameters(parameters: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted(
        (name.upper(), _NUMBER_PATTERN.sub("0", value))
        for name, value in parameters
        if name.upper() not in IGNORED_PARAMETERS
    )


def _compute_duration(completed_job: CompletedJob) -> float:
    return max(
        0.0,
        (datetime.fromisoformat(completed_job.ended) - datetime.fromisoformat(completed_job.started)).total_seconds(),
    )


def _format_quote(end_time: datetime | None, current_time: datetime) -> str | None:
    if end_time is None or end_time < current_time:
        return None
    return end_time.isoformat(timespec="microseconds").replace("+00:00", "Z")
