"""The job type ``soda``: cut-outs, each combination of values one result (SODA 1.0 section 5), and all in one archive where that is asked for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hven.jobs import Type
from hven.model.errors import Cancelled, HvenError
from hven.services import cutouts
from hven.services._packing import Member
from hven.services._sums import Sums
from hven.services.archives import KINDS
from hven.services.face import Surroundings
from hven.services.filed import PIECE
from hven.services.params import value

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

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
    around = Surroundings.of(work.site, work.who, work.policies)
    every = cutouts.wanted(work.params)
    table, package, faults = work.params.one("TABLE"), value(work.params, cutouts.PACKAGE), 0
    every_public = True
    cuts: list[tuple[str, str]] = []  # of the results: the names that they have in a package
    for number, one in enumerate(every, 1):
        work.told(share=round((number - 1) / len(every), 4))
        name = "result" if len(every) == 1 else f"cut{number}"
        try:
            found = cutouts.original(around, work.who, one.ident, table)
            work.tell_tables([f"{found.collection}.files", *([table] if table else [])])
            every_public = every_public and found.public
            product, piece = cutouts.opened(found, one, (one.ident,))
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
        cuts.append((work.results[-1]["file"], f"{name}_{cutouts.stem(found.name)}.fits"))
    if every_public and not faults:  # a fault may tell of rows by the reader's rights
        work.tell_public()
    if package:
        _pack(work, package, cuts)


def _pack(work: Work, kind: str, cuts: Sequence[tuple[str, str]]) -> None:
    """Write an archive of the results, with what could not be cut."""
    names, members = dict(cuts), []
    for one in work.results:
        place = work.directory / one["file"]
        seen = place.stat()
        name = names.get(one["file"]) or f"{one['id']}{place.suffix}"
        members.append(Member(f"cuts/{name}", seen.st_size, seen.st_mtime, "", partial(_read, place)))
    packing, media_type = KINDS[kind]
    packed = packing(members, Sums())
    with work.writing("package", media_type=media_type, extension=f".{kind}") as file:
        for chunk in packed.part(0, packed.size):
            if work.stopped.is_set():
                raise Cancelled("the job was stopped")
            if chunk is not None:  # None: the next takes a while
                file.write(chunk)


def _read(place: Path, start: int, stop: int) -> Iterator[bytes]:
    with place.open("rb") as file:
        file.seek(start)
        while start < stop and (piece := file.read(min(PIECE, stop - start))):
            start += len(piece)
            yield piece


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
    value(params, cutouts.PACKAGE)


JOB = Type(name="soda", title="Cut-outs", params=(*cutouts.PARAMS, cutouts.PACKAGE), run=run, check=check)
