"""The job type ``hips``: a HiPS of a collection's images, for operators of the site."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from hven.jobs import JobDefinition, JobTypeLimits
from hven.model.errors import ParamError, format_message
from hven.model.params import Param
from hven.model.types import INT64
from hven.plugins.hips import layer_surveys, surveys
from hven.plugins.previews.pictures import COLOUR_MAPS, STRETCH_NAMES, PictureStyle
from hven.services.params import parse_values
from hven.services.tasks import check_operator_and_parse_job_params

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from hven.jobs import RunningJob
    from hven.model.params import RequestParams
    from hven.services.face import ServiceContext

HIPS_PARAMS = (
    Param(name="COLLECTION", required=True, description="the collection that has the images"),
    Param(
        name="NAME",
        required=True,
        description="name under which the HiPS is published: collections/COLLECTION/hips/NAME",
    ),
    Param(name="LAYER", description="a layer of a planet or moon, from which the HiPS is made instead of images"),
    Param(
        name="FILES",
        many=True,
        description="patterns of paths, such as images/*.fits (default: all files that Hven can open)",
    ),
    Param(name="TITLE", description="title of the HiPS (default: that of the collection or layer)"),
    Param(
        name="ORDER",
        type=INT64,
        minimum=3,
        maximum=20,
        description="order of the finest tiles (default: the resolution of the finest image)",
    ),
    Param(name="STRETCH", allowed=STRETCH_NAMES, description="stretch from values to colours"),
    Param(name="COLOURS", allowed=tuple(COLOUR_MAPS), description="colours"),
    Param(
        name="PROGRAM",
        allowed=("hven", "hipsgen"),
        description="program that makes the HiPS (default: Hipsgen for more than 2 GB, if it is installed)",
    ),
)


def run_hips_job(work: RunningJob) -> None:
    """Build the HiPS.

    Parameters
    ----------
    work
        Running job.

    Raises
    ------
    ForbiddenError
        The user is no operator.
    HvenError
        The HiPS cannot be built.
    """
    context, parsed_values = check_operator_and_parse_job_params(
        work, HIPS_PARAMS, format_message("only the site's operators may create a HiPS")
    )
    survey = _build_survey(work, context, parsed_values)
    with work.open_result_file("made", media_type="application/json", extension=".json") as file:
        facts = {"images": len(survey.files), "tiles": survey.tiles, "left_out": survey.left_out}
        file.write(orjson.dumps({"collection": survey.collection, "name": survey.name, **facts}))


def _build_survey(work: RunningJob, context: ServiceContext, parsed_values: Mapping[str, Any]) -> surveys.HipsSurvey:
    if parsed_values["LAYER"]:
        _refuse_image_params(parsed_values)
        return layer_surveys.build_layer_survey(
            context,
            work.principal,
            parsed_values["COLLECTION"],
            parsed_values["LAYER"],
            parsed_values["NAME"],
            title=parsed_values["TITLE"] or "",
            order=parsed_values["ORDER"],
            progress=work.progress_monitor,
        )
    return surveys.build_hips_survey(
        context,
        work.principal,
        parsed_values["COLLECTION"],
        parsed_values["NAME"],
        patterns=parsed_values["FILES"] or (),
        title=parsed_values["TITLE"] or "",
        order=parsed_values["ORDER"],
        look=PictureStyle(stretch=parsed_values["STRETCH"] or "", colours=parsed_values["COLOURS"] or ""),
        program=parsed_values["PROGRAM"],
        progress=work.progress_monitor,
    )


def _refuse_image_params(parsed_values: Mapping[str, Any]) -> None:
    """Refuse parameters about images beside a layer, which has its own raster and colours."""
    for name in ("FILES", "STRETCH", "COLOURS", "PROGRAM"):
        if parsed_values[name]:
            message = format_message("a HiPS of a layer has the raster and the colours of the layer")
            raise ParamError(message, name=name, remedy=format_message("omit {name}", name))


def check_hips_job_params(params: RequestParams, _: Collection[str]) -> None:
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
    parsed_values = parse_values(params, HIPS_PARAMS)
    if parsed_values["LAYER"]:
        _refuse_image_params(parsed_values)


JOB = JobDefinition(
    name="hips",
    title="HiPS of images",
    params=HIPS_PARAMS,
    run=run_hips_job,
    check=check_hips_job_params,
    access="private",
    is_served=True,
    quota=JobTypeLimits(running_limit=1, duration_limit_seconds=7 * 86_400),
)
