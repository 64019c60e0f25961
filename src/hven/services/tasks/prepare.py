"""The job type ``prepare``: pictures and rotated copies of a collection's files, for operators of the site.

Each ingest requests it where the descriptor has ``prepare:``.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import orjson

from hven.jobs import JobDefinition, JobTypeLimits
from hven.model import deadlines
from hven.model.errors import format_message
from hven.model.params import Param
from hven.model.types import BOOLEAN, INT32
from hven.services import file_preparation
from hven.services.params import parse_values
from hven.services.tasks import check_operator_and_parse_job_params

if TYPE_CHECKING:
    from collections.abc import Collection

    from hven.jobs import RunningJob
    from hven.model.params import RequestParams

PREPARE_PARAMS = (
    Param(name="COLLECTION", required=True, description="collection whose files are prepared"),
    Param(
        name="WHAT",
        many=True,
        allowed=file_preparation.PRODUCT_KINDS,
        description=(
            "previews: thumbnails and quicklooks; spectra: copies of cubes for faster access to spectra (the copies "
            "need as much disk space as the cubes); without a value, the job only deletes the copies of removed files"
        ),
    ),
    Param(
        name="FILES",
        many=True,
        description="patterns of paths, such as cubes/*.fits (default: all files that Hven can open)",
    ),
    Param(name="PART", description="for spectra: index or name of the part of the file"),
    Param(name="THROUGH", type=INT32, minimum=1, description="number of the axis along which spectra are read"),
    Param(
        name="AGAIN",
        type=BOOLEAN,
        default="false",
        description="true: also prepare files that were prepared before or that failed",
    ),
)


def run_preparation_job(work: RunningJob) -> None:
    """Prepare the files.

    Parameters
    ----------
    work
        Running job.

    Raises
    ------
    ForbiddenError
        The user is no operator.
    HvenError
        The files cannot be prepared.
    """
    context, parsed_values = check_operator_and_parse_job_params(
        work, PREPARE_PARAMS, format_message("only operators of the site may prepare files")
    )
    deadlines.reduce_thread_priority(deadlines.JOB_NICENESS)
    report = file_preparation.prepare_files_and_remove_stale_products(
        context,
        work.principal,
        parsed_values["COLLECTION"],
        parsed_values["WHAT"] or (),
        patterns=parsed_values["FILES"] or (),
        part=parsed_values["PART"],
        depth_axis=parsed_values["THROUGH"],
        redo=bool(parsed_values["AGAIN"]),
        progress=work.progress_monitor,
    )
    with work.open_result_file("made", media_type="application/json", extension=".json") as file:
        file.write(orjson.dumps({"collection": parsed_values["COLLECTION"], **asdict(report)}))


def check_preparation_job_params(params: RequestParams, _: Collection[str]) -> None:
    """Check the parameters.

    Parameters
    ----------
    params
        Parameters of the job.

    Raises
    ------
    ParamError
        A value is invalid, or missing.
    """
    parse_values(params, PREPARE_PARAMS)


JOB = JobDefinition(
    name="prepare",
    title="Pictures and copies of files",
    params=PREPARE_PARAMS,
    run=run_preparation_job,
    check=check_preparation_job_params,
    access="private",
    is_served=True,
    quota=JobTypeLimits(running_limit=1, duration_limit_seconds=7 * 86_400),
)
