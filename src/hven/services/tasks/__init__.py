"""Job types whose work is a face's: what they need of services stands above the room of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.model.errors import ForbiddenError, format_message
from hven.services.face import ServiceContext
from hven.services.params import parse_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.jobs import RunningJob
    from hven.model.params import Param


def read_operator_request(
    work: RunningJob, params: Sequence[Param], refusal: str
) -> tuple[ServiceContext, dict[str, Any]]:
    """Read what an operator of the site asks for.

    Parameters
    ----------
    work
        The job.
    params
        Of its type; ``COLLECTION`` is one of them.
    refusal
        What others are told.

    Returns
    -------
    around, values
        What the job may use of the site, and the values of its parameters.

    Raises
    ------
    ForbiddenError
        Who asks is no operator of that collection.
    ParamError
        A value is none of its parameter.
    """
    around = ServiceContext.create_for_principal(work.site, work.principal, work.policies)
    parameter_values = parse_values(work.params, params)
    if not around.is_operator(work.principal, parameter_values["COLLECTION"]):
        raise ForbiddenError(refusal, remedy=format_message("health.operators names them"))
    return around, parameter_values
