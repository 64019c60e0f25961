"""Run a list: create the jobs of its rows as they become due, and join their results when all have ended.

The function of the list job runs many times, each time for a moment. It keeps no state but the rows, in a file, and the
jobs themselves, whose ids are computed from the row, the step and the attempt. So it may be killed at any moment.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hven.jobs import ACCESS_RULES_KEY, JobFailedError, type_catalogue
from hven.jobs.job_service import ACTIVE_PHASES, get_job_directory
from hven.model.errors import NotFoundError, StorageError, TimeLimitError, UnauthenticatedError
from hven.plugins.fanout import child_jobs
from hven.plugins.fanout.child_jobs import ChildJob
from hven.plugins.fanout.joined_table import JoinedTable, write_row_states
from hven.plugins.fanout.list_rows import read_list_rows
from hven.plugins.fanout.list_steps import DONE, FAILED, SKIPPED, find_last_jobs, plan_list_jobs, write_child_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hven.jobs import RunningJob
    from hven.model.params import Param
    from hven.plugins.fanout.list_rows import RowSchema
    from hven.plugins.fanout.list_steps import DueJob, ListJobPlan, ListStep, StepJob
    from hven.site.store import JobRecord, JobStore

MAX_OPEN_CHILDREN = 500  # jobs of a list that wait or run; the others are created later
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 15.0  # between two looks at the children
ROWS_FILE = "list-rows.json"
QUOTED_PARAMETERS = {"QUERY"}  # a value inside quotes has its quotes doubled, as ADQL wants
_PLACEHOLDER_PATTERN = re.compile(r"\{([A-Z][A-Z0-9_]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRunner:
    """Run the jobs of a list type.

    Attributes
    ----------
    schema
        The columns of the rows.
    params
        The parameters that hold for all rows.
    steps
        The steps, in an order in which each stands behind those that it waits for.
    joined_result
        The step and the result that become the joined table; None: there is none.
    retry_count
        How often a job that fails is run again.
    running_limit
        How many jobs of one list run at once; None: any number.
    """

    schema: RowSchema
    params: Sequence[Param]
    steps: Sequence[ListStep]
    joined_result: tuple[str, str] | None = None
    retry_count: int = 0
    running_limit: int | None = None

    def __call__(self, running_job: RunningJob) -> None:
        """Create the jobs that are due, or write the results if all have ended.

        Raises
        ------
        JobFailedError
            No row was completed, or a row failed whose failure ends the list. The results tell which.
        TimeLimitError
            The list has taken longer than its time limit.
        """
        elapsed_seconds = _compute_seconds_since_start(running_job.job)
        if running_job.job.duration and elapsed_seconds > running_job.job.duration:
            raise TimeLimitError(f"the list has reached its time limit of {running_job.job.duration} seconds")
        self._check_access(running_job)
        rows = self._load_rows(running_job)
        last_jobs = self._find_last_jobs(running_job)
        plan = plan_list_jobs(self.steps, len(rows), last_jobs, retry_count=self.retry_count)
        self._report_progress(running_job, plan, len(rows))
        if plan.stopping_job is not None:
            self._cancel_children(running_job, plan)
            self._write_results(running_job, rows, self._find_last_jobs(running_job))
            raise JobFailedError(
                f"the list was stopped, because {self._describe_failure(running_job, plan.stopping_job)}"
            )
        if not plan.is_finished:
            free_count = max(0, MAX_OPEN_CHILDREN - len(plan.open_ids))
            if plan.due_jobs and free_count:
                children = [
                    self._build_child(running_job, due_job, rows[due_job.row - 1], last_jobs)
                    for due_job in plan.due_jobs[:free_count]
                ]
                child_jobs.add_child_jobs(running_job, children, running_limit=self.running_limit)
            pause_seconds = min(max(elapsed_seconds / 10, MIN_PAUSE_SECONDS), MAX_PAUSE_SECONDS)
            running_job.suspend_until_children_end(pause_seconds=pause_seconds)
            return
        self._write_results(running_job, rows, last_jobs)
        if not self._has_completed_row(last_jobs):
            _, first_failure = min((row, job) for (_, row), job in last_jobs.items() if job.phase != "COMPLETED")
            reason = self._describe_failure(running_job, first_failure)
            failed_text = "the only row failed"
            if len(rows) != 1:
                failed_text = f"all {len(rows):,} rows failed"
            raise JobFailedError(f"{failed_text}; {reason}", remedy="see the result 'rows'")

    def _has_completed_row(self, last_jobs: Mapping[tuple[str, int], StepJob]) -> bool:
        """Return whether a step that no other step waits for was completed for a row."""
        awaited_steps = {name for step in self.steps for name in step.after_steps}
        return any(name not in awaited_steps and job.phase == "COMPLETED" for (name, _), job in last_jobs.items())

    def _check_access(self, running_job: RunningJob) -> None:
        """Check again that the owner may run the steps, because their declarations may have changed."""
        settings = running_job.site.settings
        job_types = [type_catalogue.find_job_type(settings, step.job_type) for step in self.steps]
        private_names = [job_type.name for job_type in job_types if job_type.access != "public"]
        if private_names and running_job.principal.name is None:
            raise UnauthenticatedError(
                f"only users with an account on this site can run jobs of the type {private_names[0]}", remedy="log in"
            )

    # --- rows ------------------------------------------------------------------------------------------------

    def _load_rows(self, running_job: RunningJob) -> list[list[str]]:
        """Load the rows, which are read once, because a query could find others later."""
        rows = load_stored_rows(running_job.directory)
        if rows is not None:
            return rows
        rows = read_list_rows(running_job, self.schema)
        path = running_job.directory / ROWS_FILE
        partial_path = path.with_suffix(".part")
        try:
            running_job.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with partial_path.open("wb") as file:
                file.write(json.dumps(rows).encode())
                file.flush()
                os.fsync(file.fileno())
            partial_path.rename(path)
        except OSError as error:
            raise StorageError(f"the rows of the list cannot be stored: {error.strerror}") from error
        return rows

    # --- children --------------------------------------------------------------------------------------------

    def _find_last_jobs(self, running_job: RunningJob) -> dict[tuple[str, int], StepJob]:
        return find_list_jobs(running_job.site.store.jobs, running_job.job.id, self.steps)

    def _build_child(
        self,
        running_job: RunningJob,
        due_job: DueJob,
        row: Sequence[str],
        last_jobs: Mapping[tuple[str, int], StepJob],
    ) -> ChildJob:
        values = {param.name: param.default or "" for param in self.params}
        values |= {param.name: running_job.params.read_one(param.name) or values[param.name] for param in self.params}
        values |= {column.name: text for column, text in zip(self.schema.columns, row, strict=True)}
        step = due_job.step
        files = {}
        for part_name, (step_name, result_name) in step.files.items():
            previous_job = last_jobs[step_name, due_job.row]
            if previous_job.phase == "COMPLETED":
                path = _find_result_path(running_job, running_job.site.store.jobs.get_job(previous_job.id), result_name)
                if path is not None:
                    files[part_name] = path
        previous_jobs = [last_jobs[name, due_job.row] for name in step.after_steps]
        return ChildJob(
            type=step.job_type,
            name=write_child_name(step.name, due_job.row, due_job.attempt),
            parameters=fill_parameters(step.sent, values),
            files=files,
            used_job_ids=[job.id for job in previous_jobs if job.phase == "COMPLETED"],
        )

    def _cancel_children(self, running_job: RunningJob, plan: ListJobPlan) -> None:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        for job_id in plan.open_ids:
            running_job.site.store.jobs.update_job(
                job_id, allowed_phases=ACTIVE_PHASES, phase="ABORTED", ended=now, holder=None
            )

    def _describe_failure(self, running_job: RunningJob, failed_job: StepJob) -> str:
        job = running_job.site.store.jobs.get_job(failed_job.id)
        step_name, row_text, *_ = (job.run_id or "").split(" ")
        if job.error:
            reason = job.error["message"]
        else:
            reason = f"it was {job.phase.lower()}"
        return f"the step {step_name!r} of row {row_text} failed: {reason}"

    # --- results ---------------------------------------------------------------------------------------------

    def _report_progress(self, running_job: RunningJob, plan: ListJobPlan, row_count: int) -> None:
        settled_count = sum(plan.outcome_counts.get(outcome, 0) for outcome in (DONE, FAILED, SKIPPED))
        share = round(settled_count / (row_count * len(self.steps)), 4)
        note = f"{len(plan.failed_rows):,} of {row_count:,} rows have failed" if plan.failed_rows else None
        running_job.report_progress(share=share, note=note)

    def _write_results(
        self, running_job: RunningJob, rows: Sequence[Sequence[str]], last_jobs: Mapping[tuple[str, int], StepJob]
    ) -> None:
        """Write the joined table, and what became of each row; the results need the rights of the rows' results."""
        _ = running_job.principal  # its rights are needed to read the results
        if self.joined_result is not None:
            joined_table, access_rules = self._join_step_results(running_job, rows, last_jobs, *self.joined_result)
            earlier_rules = running_job.progress.get(ACCESS_RULES_KEY, {})
            running_job.report_progress(
                rows=joined_table.row_count,
                overflow=joined_table.is_truncated or None,
                **{ACCESS_RULES_KEY: {**earlier_rules, **access_rules}},
            )
            joined_table.write_results(running_job)
        states: dict[str, Sequence[str]] = {}
        errors = [""] * len(rows)
        for step in self.steps:
            step_jobs = [last_jobs.get((step.name, number)) for number in range(1, len(rows) + 1)]
            states[f"{step.name}_job"] = [job.id if job else "" for job in step_jobs]
            states[f"{step.name}_phase"] = [job.phase if job else "SKIPPED" for job in step_jobs]
            for index, job in enumerate(step_jobs):
                if job is not None and job.phase == "ERROR" and not errors[index]:
                    errors[index] = self._read_error(running_job, job.id)
        write_row_states(running_job, self.schema.columns, rows, {**states, "error": errors})

    def _read_error(self, running_job: RunningJob, job_id: str) -> str:
        with suppress(NotFoundError):  # destroyed meanwhile
            error = running_job.site.store.jobs.get_job(job_id).error
            if error:
                return str(error["message"])
            return ""
        return ""

    def _join_step_results(
        self,
        running_job: RunningJob,
        rows: Sequence[Sequence[str]],
        last_jobs: Mapping[tuple[str, int], StepJob],
        step_name: str,
        result_name: str,
    ) -> tuple[JoinedTable, dict[str, object]]:
        """Join the tables that the jobs of a step wrote; return them with the rules on who may read them."""
        _, row_limit = running_job.site.settings.job_row_limits
        joined_table = JoinedTable(settings=running_job.site.settings, params=self.schema.columns, row_limit=row_limit)
        rules: dict[str, object] = {}
        for number, row in enumerate(rows, 1):
            job_ref = last_jobs.get((step_name, number))
            if running_job.stopped.is_set() or job_ref is None or job_ref.phase != "COMPLETED":
                continue
            with suppress(NotFoundError):  # destroyed meanwhile
                job = running_job.site.store.jobs.get_job(job_ref.id)
                rules.update(job.progress.get(ACCESS_RULES_KEY, {}))
                path = _find_result_path(running_job, job, result_name)
                if path is not None:
                    joined_table.add_result(number, row, path)
        return joined_table, rules


def load_stored_rows(directory: Path) -> list[list[str]] | None:
    """Load the rows of a list; None: they have not been read yet.

    Parameters
    ----------
    directory
        Directory of the list job.
    """
    try:
        rows: list[list[str]] = json.loads((directory / ROWS_FILE).read_bytes())
    except FileNotFoundError:
        return None
    return rows


def find_list_jobs(job_store: JobStore, list_id: str, steps: Sequence[ListStep]) -> dict[tuple[str, int], StepJob]:
    """Find the last attempt of each step for each row of a list.

    Parameters
    ----------
    job_store
        The jobs of the site.
    list_id
        Id of the list job.
    steps
        The steps.

    Returns
    -------
    last_jobs
        Last jobs by the name of the step and the number of the row.
    """
    queue = child_jobs.name_child_queue(list_id)
    job_refs = []
    for job_type in sorted({step.job_type for step in steps}):
        job_refs += job_store.list_jobs(queue, job_type)
    return find_last_jobs(job_refs)


def fill_parameters(sent: Mapping[str, str], values: Mapping[str, str]) -> list[tuple[str, str]]:
    """Fill the parameters of a row's job; a parameter that is one placeholder without a value is left out.

    Parameters
    ----------
    sent
        Name -> text with placeholders ``{NAME}``.
    values
        Values of the row and of the list, by their names.

    Returns
    -------
    pairs
        Names and values.
    """
    pairs = []
    for name, template in sent.items():
        known_values = values
        if name in QUOTED_PARAMETERS:
            known_values = {key: value.replace("'", "''") for key, value in values.items()}
        text = _PLACEHOLDER_PATTERN.sub(lambda match: known_values.get(match[1], ""), template)  # noqa: B023
        if text or not _PLACEHOLDER_PATTERN.fullmatch(template):
            pairs.append((name, text))
    return pairs


def list_placeholders(template: str) -> list[str]:
    """List the names in the placeholders of a text.

    Parameters
    ----------
    template
        A text with placeholders ``{NAME}``.
    """
    return _PLACEHOLDER_PATTERN.findall(template)


def _find_result_path(running_job: RunningJob, job: JobRecord, result_name: str) -> Path | None:
    for result in job.results:
        if result["id"] == result_name:
            path = get_job_directory(running_job.site.settings, job.id) / result["file"]
            return path if path.is_file() else None
    return None


def _compute_seconds_since_start(job: JobRecord) -> float:
    if job.started is None:
        return 0.0
    return (datetime.now(UTC) - datetime.fromisoformat(job.started)).total_seconds()
