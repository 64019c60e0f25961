"""Estimate when a job will be done, from its progress or from the durations of similar jobs.

There is no estimate where it would be a guess.
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

MAX_PAST_JOBS = 50  # of one client
MAX_QUEUES = 8  # with more queues before a job, there is no estimate
# below this share of the work, or this time, the progress says nothing about the rest
MIN_PROGRESS_SHARE, MIN_ELAPSED_SECONDS = 0.02, 1.0
# jobs are not similar if their durations differ by more than this factor, and by more than this time
MAX_DURATION_RATIO, MAX_DURATION_SPREAD_SECONDS = 4.0, 2.0
IGNORED_PARAMETERS = ("RUNID", "RESPONSEFORMAT", "FORMAT")  # similar jobs may differ in these
_NUMBER_PATTERN = re.compile(r"(?:(?<=[(,=<>\s])[+-])?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionEstimate:
    """The place of a job in the queue (1 = next), the time at which it will be done, and a note; None: unknown."""

    place: int | None = None
    quote: str | None = None
    note: str | None = None


def estimate_completion(job: JobRecord, job_store: JobStore, current_time: datetime) -> CompletionEstimate:
    """Estimate when a job will be done.

    A running job that reports its share of the work is expected to continue at the same speed. Another job is expected
    to take as long as the client's past jobs that differ from it only in numbers, if these agree. A waiting job also
    waits for the jobs before it, which are expected to take as long as past jobs of their clients. There is no estimate
    without such past jobs, or for a job that should be done already.
    """
    if job.phase == "EXECUTING":
        running_end = _estimate_running_end(job, job_store, current_time)
        return CompletionEstimate(quote=_format_quote(running_end, current_time))
    if job.phase not in {"PENDING", "QUEUED"}:
        return CompletionEstimate()
    jobs_ahead = job_store.count_jobs_ahead(job)
    queue_position: int | None = None
    if job.phase == "QUEUED":
        queue_position = 1 + sum(jobs_ahead.values())
    completed_jobs = job_store.list_completed(job.queue, job.type, row_limit=MAX_PAST_JOBS)
    own_seconds = _estimate_duration(job, completed_jobs)
    running_jobs = job_store.count_running_by_queue()
    if own_seconds is None:
        return CompletionEstimate(place=queue_position)
    wait_seconds = _estimate_wait_seconds(job, job_store, jobs_ahead, running_jobs, completed_jobs)
    if wait_seconds is None:
        return CompletionEstimate(place=queue_position)
    end_time = current_time + timedelta(seconds=wait_seconds + own_seconds)
    return CompletionEstimate(place=queue_position, quote=_format_quote(end_time, current_time))


def _estimate_running_end(job: JobRecord, job_store: JobStore, current_time: datetime) -> datetime | None:
    if job.started is None:
        return None
    start_time = datetime.fromisoformat(job.started)
    elapsed_seconds = (current_time - start_time).total_seconds()
    progress_share = job.progress.get("share")
    if not isinstance(progress_share, float | int):
        progress_share = 0.0
    if progress_share >= MIN_PROGRESS_SHARE and elapsed_seconds >= MIN_ELAPSED_SECONDS:
        remaining_seconds = elapsed_seconds * (1 - progress_share) / progress_share
        return current_time + timedelta(seconds=remaining_seconds)
    completed_jobs = job_store.list_completed(job.queue, job.type, row_limit=MAX_PAST_JOBS)
    own_seconds = _estimate_duration(job, completed_jobs)
    if own_seconds is None:
        return None
    return start_time + timedelta(seconds=own_seconds)


def _estimate_wait_seconds(
    job: JobRecord,
    job_store: JobStore,
    jobs_ahead: dict[str, int],
    running_jobs: dict[str, int],
    completed_jobs: Sequence[CompletedJob],
) -> float | None:
    """Estimate the time until a job starts.

    The estimate assumes one worker for each running job, and that the running jobs are half done.
    """
    queues = {*jobs_ahead, *running_jobs}
    if len(queues) > MAX_QUEUES:
        return None
    total_seconds = 0.0
    for queue in queues:
        past_jobs = completed_jobs
        if queue != job.queue:
            past_jobs = job_store.list_completed(queue, job.type, row_limit=MAX_PAST_JOBS)
        if not past_jobs:
            return None
        median_seconds = statistics.median(_compute_duration(past_job) for past_job in past_jobs)
        remaining_jobs = jobs_ahead.get(queue, 0) + running_jobs.get(queue, 0) / 2
        total_seconds += median_seconds * remaining_jobs
    return total_seconds / max(1, sum(running_jobs.values()))


def _estimate_duration(job: JobRecord, completed_jobs: Sequence[CompletedJob]) -> float | None:
    own_shape = _mask_parameter_numbers(job.parameters)
    similar_jobs = [
        completed_job
        for completed_job in completed_jobs
        if _mask_parameter_numbers(completed_job.parameters) == own_shape
    ]
    durations = [_compute_duration(similar_job) for similar_job in similar_jobs]
    if not durations:
        return None
    shortest, longest = min(durations), max(durations)
    if longest > MAX_DURATION_RATIO * shortest and longest - shortest > MAX_DURATION_SPREAD_SECONDS:
        return None
    seconds = statistics.median(durations)
    if job.duration:
        return min(seconds, job.duration)
    return seconds


def _mask_parameter_numbers(parameters: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the parameters with all numbers replaced, so that similar jobs have the same."""
    relevant_parameters = [(name.upper(), value) for name, value in parameters]
    return sorted(
        (name, _NUMBER_PATTERN.sub("0", value)) for name, value in relevant_parameters if name not in IGNORED_PARAMETERS
    )


def _compute_duration(completed_job: CompletedJob) -> float:
    start_time = datetime.fromisoformat(completed_job.started)
    end_time = datetime.fromisoformat(completed_job.ended)
    return max(0.0, (end_time - start_time).total_seconds())


def _format_quote(end_time: datetime | None, current_time: datetime) -> str | None:
    if end_time is None or end_time < current_time:
        return None
    return end_time.isoformat(timespec="microseconds").replace("+00:00", "Z")
