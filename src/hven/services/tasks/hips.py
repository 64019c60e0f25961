"""The job type ``hips``: a HiPS of a collection's images, for operators of the site."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from hven.formats.pictures import COLOURS, STRETCHES, Look
from hven.jobs import Quota, Type
from hven.model.errors import say
from hven.model.params import Param
from hven.model.types import INT64
from hven.services import surveys
from hven.services.params import values
from hven.services.tasks import read_operator_request

if TYPE_CHECKING:
    from collections.abc import Collection

    from hven.jobs import Work
    from hven.model.params import Params

PARAMS = (
    Param(name="COLLECTION", required=True, description="whose images"),
    Param(name="NAME", required=True, description="under which it is published: collections/COLLECTION/hips/NAME"),
    Param(name="FILES", many=True, description="patterns of paths: images/*.fits; without any, all that can be looked into"),
    Param(name="TITLE", description="for people"),
    Param(name="ORDER", type=INT64, minimum=3, maximum=20, description="of the finest tiles; without it as fine as the finest image"),
    Param(name="STRETCH", allowed=STRETCHES, description="stretch from values to colours"),
    Param(name="COLOURS", allowed=tuple(COLOURS), description="colours"),
    Param(name="PROGRAM", allowed=("hven", "hipsgen"), description="what makes it; without it Hipsgen for more than 2 GB, where it is installed"),
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
    around, given = read_operator_request(work, PARAMS, say("operators of the site make HiPS"))
    found = surveys.make(
        around,
        work.who,
        given["COLLECTION"],
        given["NAME"],
        patterns=given["FILES"] or (),
        title=given["TITLE"] or "",
        order=given["ORDER"],
        look=Look(stretch=given["STRETCH"] or "", colours=given["COLOURS"] or ""),
        program=given["PROGRAM"],
        task=work.task,
    )
    with work.writing("made", media_type="application/json", extension=".json") as file:
        facts = {"images": len(found.files), "tiles": found.tiles, "left_out": found.left_out}
        file.write(orjson.dumps({"collection": found.collection, "name": found.name, **facts}))


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
    name="hips", title="HiPS of images", params=PARAMS, run=run, check=check, access="private", served=True,
    quota=Quota(running=1, seconds=7 * 86_400),
)  # fmt: skip
