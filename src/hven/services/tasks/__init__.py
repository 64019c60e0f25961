"""Job types whose work is a face's: what they need of services stands above the room of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.model.errors import Forbidden, say
from hven.services.face import Surroundings
from hven.services.params import values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.jobs import Work
    from hven.model.params import Param


def read_operator_request(work: Work, params: Sequence[Param], refusal: str) -> tuple[Surroundings, dict[str, Any]]:
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
    Forbidden
        Who asks is no operator of that collection.
    ParamError
        A value is none of its parameter.
    """
    around = Surroundings.of(work.site, work.who, work.policies)
    given = values(work.params, params)
    if not around.operates(work.who, given["COLLECTION"]):
        raise Forbidden(refusal, remedy=say("health.operators names them"))
    return around, given
