"""Let a running job leave its work to other jobs, its children.

Children wait in a queue of their own, so they count neither as waiting jobs nor as open jobs of their user. If the
parent is aborted or destroyed, they end.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

from hven.jobs import INPUT_FILES_DIRECTORY, type_catalogue
from hven.jobs.job_service import get_job_directory
from hven.model.errors import OperationCancelledError, ParamError
from hven.model.params import collect_params
from hven.site.store import CHILD_QUEUE_PREFIX, RUNNING_LIMIT_KEY, JobRecord, format_current_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hven.jobs import JobDefinition, RunningJob


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildJob:
    """A job that does a part of the work of another job.

    Attributes
    ----------
    type
        Name of its job type.
    name
        What the parent calls it: unique among its children, and the same in each attempt. It is the RUNID of the child.
    parameters
        Name and value of its parameters.
    files
        Files that it gets, by the names of their parameters. They must not change any more.
    used_job_ids
        Ids of the completed jobs whose results it uses.
    """

    type: str
    name: str
    parameters: Sequence[tuple[str, str]]
    files: Mapping[str, Path] = field(default_factory=dict)
    used_job_ids: Sequence[str] = ()


def compute_child_id(parent_id: str, child_name: str) -> str:
    """Return the id of a child, which only those can compute who know the id of its parent.

    Parameters
    ----------
    parent_id
        Id of the parent.
    child_name
        What the parent calls the child.
    """
    return f"{parent_id[:6]}{hashlib.sha256(f'{parent_id} {child_name}'.encode()).hexdigest()[:20]}"


def name_child_queue(parent_id: str) -> str:
    """Return the queue in which the children of a job wait.

    Parameters
    ----------
    parent_id
        Id of the parent.
    """
    return f"{CHILD_QUEUE_PREFIX}{parent_id}"


def add_child_jobs(running_job: RunningJob, children: Sequence[ChildJob], *, running_limit: int | None = None) -> None:
    """Create and enqueue children of a running job; those that exist stay as they are.

    A child whose parameters its type refuses ends at once, in the phase ERROR.

    Parameters
    ----------
    running_job
        The parent.
    children
        The children, in the order in which they shall run.
    running_limit
        How many of the parent's children may run at once; None: any number.

    Raises
    ------
    OperationCancelledError
        The parent was aborted or destroyed, or another worker has it.
    """
    parent = running_job.job
    settings = running_job.site.settings
    if running_limit is not None:
        running_job.save_progress(**{RUNNING_LIMIT_KEY: running_limit})
    current_time = format_current_time()
    first_time = datetime.fromisoformat(current_time)
    records = []
    for number, child in enumerate(children):
        child_id = compute_child_id(parent.id, child.name)
        queued_time = first_time + timedelta(microseconds=number)
        job_type = type_catalogue.find_job_type(settings, child.type)
        error = _find_parameter_error(job_type, child)
        record = JobRecord(
            id=child_id,
            type=child.type,
            queue=name_child_queue(parent.id),
            phase="QUEUED" if error is None else "ERROR",
            owner=parent.owner,
            groups=parent.groups,
            run_id=child.name,
            parent=parent.id,
            request_id=parent.request_id,
            depends_on=child.used_job_ids,
            parameters=child.parameters,
            created=current_time,
            queued=queued_time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            ended=None if error is None else current_time,
            duration=job_type.quota.duration_limit_seconds or settings.jobs.seconds,
            destruction=parent.destruction,
            error=error,
        )
        records.append(record)
        for part_name, path in child.files.items():
            _link_input_file(path, get_job_directory(settings, child_id) / INPUT_FILES_DIRECTORY, part_name)
    if not running_job.site.store.jobs.add_children(parent, records):
        raise OperationCancelledError("the job was stopped")


def _find_parameter_error(job_type: JobDefinition, child: ChildJob) -> dict[str, str] | None:
    if job_type.check is None:
        return None
    try:
        job_type.check(collect_params(child.parameters), child.files)
    except ParamError as error:
        return {"kind": "fatal", "message": str(error)}
    return None


def _link_input_file(path: Path, files_directory: Path, part_name: str) -> None:
    """Give a job a file of another job, without copying it if possible."""
    files_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    target = files_directory / quote(part_name, safe="")
    target.unlink(missing_ok=True)  # of an attempt that did not add the job
    try:
        os.link(path, target)
    except OSError:  # the file system has no hard links
        shutil.copyfile(path, target)
