"""The job type ``soda``: cut-outs, each combination of values one result (SODA 1.0 section 5)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hven.jobs import Type
from hven.model.errors import Cancelled, HvenError
from hven.services import cutouts
from hven.services.face import Surroundings

if TYPE_CHECKING:
    from collections.abc import Collection

    from hven.jobs import Work
    from hven.model.params import Params


def run(work: Work) -> None:
    """Cut all that is asked for; of what cannot be cut, a result says why.

    Parameters
    ----------
    work
        The job.

    Raises
    ------
    HvenError
        Nothing could be cut.
    """
    around = Surroundings(site=work.site, reader=lambda _: work.who, policies=work.policies, started=datetime.now(UTC))
    every = cutouts.wanted(work.params)
    table, faults = work.params.one("TABLE"), 0
    for number, one in enumerate(every, 1):
        work.told(share=round((number - 1) / len(every), 4))
        name = "result" if len(every) == 1 else f"cut{number}"
        try:
            product, piece = cutouts.opened(cutouts.original(around, work.who, one.ident, table), one, (one.ident,))
        except HvenError as error:
            if len(every) == 1:
                raise
            faults += 1
            _say(work, name, f"{cutouts.word(error)}: {one.ident}: {error}")
            if faults == len(every):
                raise
            continue
        with product:
            if piece is None:
                _say(work, name, f"Error: {one.ident}: nothing of what was asked for is in it")
                continue
            with work.writing(name, media_type=piece.media_type, extension=".fits") as file:
                for chunk in piece.chunks():
                    if work.stopped.is_set():
                        raise Cancelled("the job was stopped")
                    file.write(chunk)


def _say(work: Work, name: str, text: str) -> None:
    with work.writing(name, media_type="text/plain; charset=utf-8", extension=".txt") as file:
        file.write(f"{text}\n".encode())


def check(params: Params, _: Collection[str]) -> None:
    """Look at what is asked for.

    Parameters
    ----------
    params
        Of the job.

    Raises
    ------
    ParamError, TooLarge
        A value is wrong, or there are too many.
    """
    cutouts.wanted(params)


JOB = Type(name="soda", title="Cut-outs", params=cutouts.PARAMS, run=run, check=check)
