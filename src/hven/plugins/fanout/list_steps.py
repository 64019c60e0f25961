"""The steps of a list, and which jobs are due: a function of the jobs that exist, without any other state."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.site.store import JobRef

DONE, FAILED, SKIPPED, OPEN = "done", "failed", "skipped", "open"  # outcomes of a step for a row


@dataclass(frozen=True, slots=True, kw_only=True)
class ListStep:
    """A step: the job that each row runs.

    Attributes
    ----------
    name
        Name of the step.
    job_type
        Name of the job type.
    sent
        Parameters of the job, with ``{NAME}`` for the values of the row and of the list.
    files
        Parameter of the job that is a file -> the step and the result that it gets.
    after_steps
        Earlier steps whose jobs of the same row must end before.
    is_any_enough
        Whether one of these jobs must be completed, or all.
    stops_list
        Whether the list ends if one of these jobs fails.
    """

    name: str
    job_type: str
    sent: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    after_steps: Sequence[str] = ()
    is_any_enough: bool = False
    stops_list: bool = False


class StepJob(NamedTuple):
    """The last job of a step for a row: its id, its attempt (from 1) and its phase."""

    id: str
    attempt: int
    phase: str


class DueJob(NamedTuple):
    """A job that can be created: its step, the number of its row (from 1) and its attempt."""

    step: ListStep
    row: int
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListJobPlan:
    """What a list has done, and what is due.

    Attributes
    ----------
    due_jobs
        The jobs that can be created, row by row.
    open_ids
        Ids of the jobs that wait or run.
    outcome_counts
        Number of steps of rows, by outcome.
    failed_rows
        Rows in which a job has failed.
    stopping_job
        A job that has failed, so that the list ends; None: the list goes on.
    """

    due_jobs: Sequence[DueJob]
    open_ids: Sequence[str]
    outcome_counts: Mapping[str, int]
    failed_rows: Sequence[int]
    stopping_job: StepJob | None

    @property
    def is_finished(self) -> bool:
        """Whether no job is due or open."""
        return not self.due_jobs and not self.open_ids


def write_child_name(step_name: str, row: int, attempt: int) -> str:
    """Name a child: ``search 17``, and ``search 17 2`` for the second attempt.

    Parameters
    ----------
    step_name
        Name of the step.
    row
        Number of the row.
    attempt
        Number of the attempt.
    """
    if attempt == 1:
        return f"{step_name} {row}"
    return f"{step_name} {row} {attempt}"


def find_last_jobs(job_refs: Iterable[JobRef]) -> dict[tuple[str, int], StepJob]:
    """Find the last attempt of each step for each row.

    Parameters
    ----------
    job_refs
        The children of a list.

    Returns
    -------
    last_jobs
        Last jobs by the name of the step and the number of the row.
    """
    last_jobs: dict[tuple[str, int], StepJob] = {}
    for ref in job_refs:
        step_name, row_text, *attempt_texts = (ref.run_id or "").split(" ")
        key = (step_name, int(row_text))
        attempt = 1
        if attempt_texts:
            attempt = int(attempt_texts[0])
        if key not in last_jobs or last_jobs[key].attempt < attempt:
            last_jobs[key] = StepJob(ref.id, attempt, ref.phase)
    return last_jobs


def plan_list_jobs(
    steps: Sequence[ListStep], row_count: int, last_jobs: Mapping[tuple[str, int], StepJob], *, retry_count: int
) -> ListJobPlan:
    """Find out which jobs of a list are due.

    Parameters
    ----------
    steps
        The steps; a step stands behind those that it waits for.
    row_count
        Number of rows.
    last_jobs
        Result of `find_last_jobs`.
    retry_count
        How often a job that fails is run again.
    """
    due_jobs: list[DueJob] = []
    open_ids: list[str] = []
    outcome_counts: Counter[str] = Counter()
    failed_rows: list[int] = []
    stopping_job: StepJob | None = None
    for row in range(1, row_count + 1):
        outcomes: dict[str, str] = {}
        for step in steps:
            last_job = last_jobs.get((step.name, row))
            if last_job is None:
                outcomes[step.name], attempt = _judge_missing_job(step, outcomes), 1
            else:
                outcomes[step.name] = _judge_job(last_job, retry_count)
                attempt = last_job.attempt + 1
            if outcomes[step.name] == _DUE:
                due_jobs.append(DueJob(step, row, attempt))
                outcomes[step.name] = OPEN
            elif outcomes[step.name] == OPEN and last_job is not None:
                open_ids.append(last_job.id)
            failed_steps = [name for name in step.after_steps if outcomes[name] == FAILED]
            if step.stops_list and failed_steps and stopping_job is None:
                stopping_job = last_jobs[failed_steps[0], row]
        if FAILED in outcomes.values():
            failed_rows.append(row)
        outcome_counts.update(outcomes.values())
    return ListJobPlan(
        due_jobs=due_jobs,
        open_ids=open_ids,
        outcome_counts=outcome_counts,
        failed_rows=failed_rows,
        stopping_job=stopping_job,
    )


_DUE = "due"


def _judge_job(job: StepJob, retry_count: int) -> str:
    if job.phase == "COMPLETED":
        return DONE
    if job.phase == "ERROR":
        if job.attempt <= retry_count:
            return _DUE
        return FAILED
    if job.phase in {"ABORTED", "ARCHIVED"}:
        return FAILED
    return OPEN


def _judge_missing_job(step: ListStep, outcomes: Mapping[str, str]) -> str:
    """Judge a job that does not exist yet by the jobs that it waits for."""
    previous_outcomes = [outcomes[name] for name in step.after_steps]
    if OPEN in previous_outcomes:
        return OPEN
    done_count = previous_outcomes.count(DONE)
    if done_count == len(previous_outcomes) or (step.is_any_enough and done_count):
        return _DUE
    return SKIPPED
