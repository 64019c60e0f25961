"""The job type ``submission_catalogue``: fetch a catalogue of VizieR into a submission."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from hven.jobs import JobDefinition, JobTypeLimits
from hven.model.errors import ConflictError, NotFoundError, PreconditionFailedError, format_message
from hven.model.params import Param
from hven.plugins.entries.entry_forms import ColumnWording, build_entry_fields
from hven.plugins.submissions.file_checkers import find_file_checker
from hven.plugins.submissions.staging import SentFile
from hven.plugins.submissions.submission_section_keys import (
    MAX_CATALOGUE_SECONDS,
    get_submission_settings,
    get_upload_limit,
)
from hven.plugins.submissions.submission_workflow import (
    CATALOGUE_JOB_TYPE,
    EDIT,
    SubmissionWorkflow,
    find_submission_table,
)
from hven.plugins.submissions.vizier_catalogues import CatalogueBudget, download_catalogue, parse_catalogue_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.jobs import RunningJob
    from hven.model.table import Column, Table
    from hven.plugins.submissions.vizier_catalogues import VizierCatalogue

MAX_TRIES = 10  # to add the files, while the author changes the submission
PARAMS = (
    Param(name="TABLE", required=True, description="the table of the submission, as schema.table"),
    Param(name="SUBMISSION", required=True, description="number of the submission"),
    Param(name="CATALOGUE", required=True, description="name of the catalogue, such as J/A+A/617/A83"),
)


def run_catalogue_job(running_job: RunningJob) -> None:
    """Download the catalogue, and add its files to the submission."""
    params = running_job.params
    name = parse_catalogue_name(params.read_one("CATALOGUE") or "")
    number_text = params.read_one("SUBMISSION") or ""
    workflow = _open_workflow(running_job, params.read_one("TABLE") or "")
    number = int(number_text) if number_text.isdecimal() and len(number_text) < 16 else 0
    workflow.require_action(workflow.find_submission(number), EDIT)
    settings = running_job.site.settings
    submission_settings = get_submission_settings(settings)
    budget = CatalogueBudget(
        byte_limit=get_upload_limit(settings),
        end_time=time.monotonic() + submission_settings.vizier_seconds,
        allow_private=settings.allow_private,
        is_cancelled=running_job.stopped.is_set,
    )
    with tempfile.TemporaryDirectory(prefix="hven-catalogue-", ignore_cleanup_errors=True) as directory:
        extensions = find_file_checker(workflow.file_kind, "").extensions
        catalogue = download_catalogue(name, submission_settings.vizier, Path(directory), extensions, budget)
        _add_files(workflow, number, catalogue, Path(directory))


def _add_files(workflow: SubmissionWorkflow, number: int, catalogue: VizierCatalogue, directory: Path) -> None:
    """Add the files, again if the author has changed the submission meanwhile."""
    for attempt in range(MAX_TRIES):
        folder = directory / f"attempt-{attempt}"  # files move from there into the submission
        files = []
        for place, file in enumerate(catalogue.files):
            path = folder / str(place) / file.name
            path.parent.mkdir(parents=True)
            os.link(file.path, path)
            files.append(SentFile(file.name, path))
        try:
            workflow.add_files(workflow.find_submission(number), files, catalogue.values)
        except PreconditionFailedError:
            continue
        return
    raise ConflictError("the submission keeps changing", remedy="fetch the catalogue again")


def _open_workflow(running_job: RunningJob, table_name: str) -> SubmissionWorkflow:
    """Open the submissions to a table for the owner of the job."""
    site, principal = running_job.site, running_job.principal
    catalogue = site.get_published_state().get_catalogue(principal, running_job.policies)
    for table in catalogue.iterate_tables():
        submission_table = find_submission_table(site, table) if table.qualified_name == table_name else None
        if submission_table is not None and submission_table.can_submit(principal):
            fields = build_entry_fields(
                submission_table.spec, submission_table.options, table, _build_plain_wording(table)
            )
            return SubmissionWorkflow(site, submission_table, principal, fields)
    message = format_message("users cannot submit files to {table}", table_name)
    raise NotFoundError(message, remedy="see the tables to which you can submit files at /submissions")


def _build_plain_wording(table: Table) -> ColumnWording:
    def find_code_words(column: Column) -> Mapping[str, str]:
        words: Mapping[str, str] = table.enums.get(column.enum or "", {})
        return {code: code for code in words}

    return ColumnWording(
        write_label=lambda column: column.name,
        write_description=lambda column: str(column.description or ""),
        find_code_words=find_code_words,
    )


JOB = JobDefinition(
    name=CATALOGUE_JOB_TYPE,
    title="A catalogue of VizieR for a submission",
    params=PARAMS,
    run=run_catalogue_job,
    quota=JobTypeLimits(running_limit=2, waiting_limit=10, duration_limit_seconds=MAX_CATALOGUE_SECONDS + 600),
    access="private",
)
