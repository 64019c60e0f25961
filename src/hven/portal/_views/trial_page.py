"""``/trial``: a curator gives a file, and sees what each face would make of it before anything is published; nothing of it is kept."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import orjson
from starlette.routing import Route

from hven import services as dali
from hven.model.errors import Forbidden, ParamError, Timeout, TooLarge, Unauthenticated, UserError, say
from hven.model.settings import init
from hven.portal._views.page_formats import Asked, Page, page
from hven.services.address import from_elsewhere
from hven.sources.programs import warded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from hven.model.params import Upload
    from hven.services.face import Surroundings
    from hven.site.auth import Reader

SECONDS = 60.0  # that a file may take
LIMITS = {"RLIMIT_CPU": 30, "RLIMIT_AS": 6 << 30, "RLIMIT_FSIZE": 256 << 20}
LARGEST = 256 << 20  # bytes of a file, if the site does not allow less for uploads
TOLD = 4 << 20  # bytes of what is told of it
CURATOR = re.compile(r"project:.*:curator")
QUIET = {"cache-control": "private, no-store"}
WORKER = "hven.portal._explore.trial_worker"


def curates(who: Reader, around: Surroundings) -> bool:
    """Return whether a reader curates something here: operators of the site, curators and owners of a project."""
    return around.operates(who) or any(CURATOR.fullmatch(group) for group in who.groups)


def routes(around: Surroundings) -> Sequence[Route]:
    """Return the page, which takes the file, too."""
    turns = anyio.CapacityLimiter(1)  # one file at a time: others wait
    settings = around.site.settings
    most = min(LARGEST, settings.limits.upload)

    def admitted(state: Asked) -> None:
        if state.who.anonymous:
            raise Unauthenticated("only who is logged in can ask this", remedy="log in at /login")
        if not curates(state.who, around):
            raise Forbidden(
                "only curators try files here",
                remedy="health.operators of hven.toml, and the roles of projects, name them",
            )

    async def empty(state: Asked) -> Page:
        admitted(state)
        return _page(None, "", state, most)

    async def given(state: Asked) -> Page:
        admitted(state)
        if from_elsewhere(state.request, settings):
            raise Forbidden("a page of another site asks this", remedy="use the form on this page")
        params = await dali.read(state.request, most)
        try:
            file = params.files.get("file")
            if file is None or not file.size:
                raise ParamError("there is no file", name="FILE", remedy="choose one")
            name = _plain(file.filename)
            told = await anyio.to_thread.run_sync(_tried, file, name, limiter=turns)
        finally:
            params.close()
        return _page(told, name, state, most)

    return [
        Route("/trial", page(empty, around), methods=["GET"]),
        Route("/trial", page(given, around), methods=["POST"]),
    ]


def _plain(name: str) -> str:
    """Keep of a file's name what is one anywhere: its ending tells kinds apart."""
    last = re.sub(r"[^A-Za-z0-9._+-]+", "_", name.replace("\\", "/").rsplit("/", 1)[-1]).lstrip(".-")
    return last[-100:] or "data"


def _tried(file: Upload, name: str) -> dict[str, Any]:
    """Try a file in a process of its own, in a directory that goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="hven-trial-") as scratch:
        place = Path(scratch)
        site = place / "site"
        init(site)
        (site / "collections/trial/data").mkdir(parents=True)
        with (site / "collections/trial/data" / name).open("wb") as copy:
            file.file.seek(0)
            while part := file.file.read(1 << 20):
                copy.write(part)
        with (place / "out").open("w+b") as out, (place / "err").open("w+b") as err:
            argv = [sys.executable, "-I", "-m", WORKER, str(site), name]
            with warded(argv, place, out, err, limits=LIMITS) as process:
                try:
                    status = process.wait(SECONDS)
                except subprocess.TimeoutExpired:
                    raise Timeout(say("the file takes more than {seconds:g} s to look at", SECONDS), remedy="try the first part of it, or hven new") from None  # fmt: skip
                finally:
                    if process.stdin is not None:
                        process.stdin.close()  # what is left of it ends
            return _told(status, out)


def _told(status: int, out: BinaryIO) -> dict[str, Any]:
    size = out.seek(0, 2)
    out.seek(0)
    if size > TOLD:
        raise TooLarge("what is told of the file is too long to be shown", remedy="hven new writes it into a file")
    if status or not size:
        raise UserError(
            "the file cannot be looked at within the limits of time and memory",
            remedy="try the first part of it, or hven new",
        )
    found: dict[str, Any] = orjson.loads(out.read())
    return found


def _page(told: dict[str, Any] | None, name: str, state: Asked, most: int) -> Page:
    content: dict[str, Any] = {"told": told, "name": name, "most": most >> 20}
    for table in (told or {}).get("tables", ()):
        there = set(table["faces"])
        table["faces"] = [
            {"name": face.name, "title": face.title, "description": face.description, "serves": face.name in there, "lacking": face.lacking}
            for face in sorted(state.around.faces.values(), key=lambda face: (face.name not in there, face.title))
            if face.name in there or face.params
        ]  # fmt: skip
    return Page(template="trial.html", content=content, headers=QUIET)
