"""Job types that services execute: they need services, which the package of jobs must not import."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.model.errors import ForbiddenError, format_message
from hven.services.face import ServiceContext
from hven.services.params import parse_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.jobs import RunningJob
    from hven.model.params import Param


def check_operator_and_parse_job_params(
    work: RunningJob, params: Sequence[Param], refusal: str
) -> tuple[ServiceContext, dict[str, Any]]:
    """Read the parameters of a job that only operators of a collection may run.

    Parameters
    ----------
    work
        Running job.
    params
        Parameters of its type; ``COLLECTION`` is one of them.
    refusal
        Error message for other users.

    Returns
    -------
    context, values
        Service context with the rights of the job's owner, and the values of the parameters.

    Raises
    ------
    ForbiddenError
        The owner of the job is no operator of that collection.
    ParamError
        A value does not match its parameter.
    """
    context = ServiceContext.create_for_principal(work.site, work.principal, work.policies)
    parameter_values = parse_values(work.params, params)
    if not context.is_operator(work.principal, parameter_values["COLLECTION"]):
        raise ForbiddenError(refusal, remedy=format_message("log in with one of the accounts in health.operators"))
    return context, parameter_values
