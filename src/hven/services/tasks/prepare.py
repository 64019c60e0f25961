"""The job type ``prepare``: pictures and rotated copies of a collection's files, for operators of the site; asked for by each ingest where ``prepare:`` says so."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import orjson

from hven.jobs import Quota, Type
from hven.model import clock
from hven.model.errors import say
from hven.model.params import Param
from hven.model.types import BOOLEAN, INT32
from hven.services import preparing
from hven.services.params import values
from hven.services.tasks import read_operator_request

if TYPE_CHECKING:
    from collections.abc import Collection

    from hven.jobs import Work
    from hven.model.params import Params

PARAMS = (
    Param(name="COLLECTION", required=True, description="whose files"),
    Param(name="WHAT", many=True, allowed=preparing.WHAT, description="previews: thumbnails and quicklooks; spectra: copies of cubes from which spectra are read at once, which take as much disk again; without any, only copies of what is no more are removed"),
    Param(name="FILES", many=True, description="patterns of paths: cubes/*.fits; without any, all that can be looked into"),
    Param(name="PART", description="index or name of the part of the file, for spectra"),
    Param(name="THROUGH", type=INT32, minimum=1, description="number of the axis along which spectra are read"),
    Param(name="AGAIN", type=BOOLEAN, default="false", description="true: files that were prepared before, or could not be, too"),
)  # fmt: skip


def run(work: Work) -> None:
    """Make it.

    Parameters
    ----------
    work
        The job.

    Raises
    ------
    Forbidden
        Who asks is no operator.
    HvenError
        It cannot be made.
    """
    around, given = read_operator_request(work, PARAMS, say("operators of the site prepare files"))
    clock.lower(clock.JOB)
    made = preparing.prepare(
        around,
        work.who,
        given["COLLECTION"],
        given["WHAT"] or (),
        patterns=given["FILES"] or (),
        part=given["PART"],
        through=given["THROUGH"],
        again=bool(given["AGAIN"]),
        task=work.task,
    )
    with work.writing("made", media_type="application/json", extension=".json") as file:
        file.write(orjson.dumps({"collection": given["COLLECTION"], **asdict(made)}))


def check(params: Params, _: Collection[str]) -> None:
    """Look at what is asked for.

    Parameters
    ----------
    params
        Of the job.

    Raises
    ------
    ParamError
        A value is wrong, or missing.
    """
    values(params, PARAMS)


JOB = Type(
    name="prepare", title="Pictures and copies of files", params=PARAMS, run=run, check=check, access="private", served=True,
    quota=Quota(running=1, seconds=7 * 86_400),
)  # fmt: skip
