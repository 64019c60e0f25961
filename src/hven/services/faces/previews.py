"""Previews: ``/collections/<name>/preview/<path>`` draws a file of a collection, for those who may take it; rows' files have them by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio
from starlette.responses import Response

from hven import services as dali
from hven.formats.pictures import COLOURS, FILMS, SIZES, STRETCHES, Look, draw_sign, films, refusal
from hven.model.errors import NotFound, ParamError, SourceError, say
from hven.model.params import Param
from hven.model.table import SITE, Hole, Link, drawn
from hven.model.types import BOOLEAN, FLOAT64, INT64, Type
from hven.services import drawings, filed
from hven.services.errors import PLAIN
from hven.services.face import MOST, Face, Surroundings, Way, route
from hven.services.params import value, values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.params import Params
    from hven.model.table import Table
    from hven.site import Published

BESIDE, NIGHT = 8, 64  # files of one picture; of one that is of a night's calibrators
VARY = "accept, accept-encoding, authorization, cookie"
UNIFORM = "all of this picture has one colour"
FULL = 400  # pixels from which on there is room for axes
INTERVAL = Type("double", "2", "interval")
HEADERS = {"x-content-type-options": "nosniff", "content-security-policy": "default-src 'none'"}
PARAMS = (
    Param(name="SIZE", type=INT64, default="800", minimum=SIZES[0], maximum=SIZES[1], description="pixels of the longer side"),
    Param(name="AXES", type=BOOLEAN, description="axes and a line that says what is shown, or the picture alone; usual from 400 pixels on"),
    Param(name="STRETCH", allowed=STRETCHES, description="stretch from values to colours"),
    Param(name="PERCENTILE", type=INTERVAL, description="two percentages: of the values that become the first and the last colour"),
    Param(name="COLOURS", allowed=tuple(COLOURS), description="colours"),
    Param(name="PART", description="index or name of the part of the file: an HDU"),
    Param(name="PLANE", type=INT64, minimum=1, description="plane of a cube, from 1"),
    Param(name="SHOW", allowed=("vis2", "t3phi", "uv", "transfer", "spectrum", "image"), description="kind of picture, where a file has several"),
    Param(name="WITHOUT", type=INTERVAL, unit="MHz", many=True, description="frequencies of planes that are not chosen by themselves"),
    Param(name="DIAMETER", type=FLOAT64, unit="mas", many=True, minimum=0, maximum=1000, description="diameters of calibrators, in the order of the files and of their targets"),
    Param(name="STAR", many=True, description="name of a calibrator, where not all targets of the files are some"),
    Param(name="BESIDE", many=True, description="paths of further files that are drawn beside it"),
)  # fmt: skip


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/collections/<name>/preview/<path>``."""
    few = anyio.CapacityLimiter(2)  # are drawn at a time: queries go first

    def found(request: Request, name: str, paths: Sequence[str]) -> list[filed.Original]:
        who = around.reader(request)
        taken = filed.asked(around, who, name, paths)
        for path in paths:
            taken.one(path)
            taken.note("preview taken", path)
        return [filed.original(around, who, taken, path) for path in paths]

    async def one(request: Request) -> Response:
        params = await dali.read(request, MOST)
        name, path = request.path_params["name"], request.path_params["path"]
        look = _look(params)
        paths = list(dict.fromkeys([path, *(value(params, PARAMS[-1]) or ())]))
        most = NIGHT if look.show == "transfer" else BESIDE
        if len(paths) > most:
            raise ParamError(say("at most {most} files are drawn beside one another", most), name="BESIDE")
        files = await anyio.to_thread.run_sync(found, request, name, paths)
        look = drawings.credited(around, name, look)
        key = drawings.key_of(files, look)
        public = all(file.public for file in files)
        judged = look.size <= drawings.THUMBNAIL and _is_shown_on_page(request)
        tag = f'"{key}-judged"' if judged else f'"{key}"'
        headers = {**dali.caching(tag, public=public, vary=VARY), **HEADERS}
        if dali.unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        shelf, places = drawings.shelf(around), [(file.path, file.name) for file in files]
        try:
            body = await anyio.to_thread.run_sync(drawings.find, shelf, key)
            if body is None:
                body = await anyio.to_thread.run_sync(drawings.drawn, shelf, key, places, look, limiter=few)
        except SourceError as fault:
            raise NotFound(str(fault)) from None
        if judged and not await anyio.to_thread.run_sync(drawings.shows_something, around, key, body):
            body = draw_sign(look.size, UNIFORM)
        return Response(body, headers=headers, media_type="image/png")

    return [route("/collections/{name}/preview/{path:path}", one, _told)]


def _is_shown_on_page(request: Request) -> bool:
    """Return whether the picture is one of many on a page, where a sign stands for one that shows nothing; who opens its address by itself gets it as it is."""
    accepted = request.headers.get("accept", "")
    return "image/" in accepted and "text/html" not in accepted


def _wants_image(request: Request) -> bool:
    """Return whether a browser asks, which names types of images; programs do not."""
    return "image/" in request.headers.get("accept", "")


def _told(request: Request, error: Exception) -> Response:
    """Say why there is no picture: by one, where a page asks for an image, else in words.

    Of a fault of the service the picture is a sign: readers can do nothing about it, and the request's id is for its owner, who finds it in the picture's text.
    """
    words = PLAIN(request, error)
    if not _wants_image(request):
        return words
    given = next((text for name, text in request.query_params.items() if name.upper() == "SIZE"), "")
    size = int(given) if given.isdecimal() and len(given) < 5 else 800
    size, reason = min(max(size, SIZES[0]), SIZES[1]), bytes(words.body).decode()
    body = (draw_sign if words.status_code >= 500 else refusal)(size, reason)
    kept = {name: words.headers[name] for name in ("retry-after",) if name in words.headers}
    return Response(body, words.status_code, {"cache-control": "no-store", **kept, **HEADERS}, "image/png")


def _look(params: Params) -> Look:
    """Read how a picture is to look; what is not said is chosen by what is in the file."""
    given = values(params, PARAMS[:-1])
    percentile = given["PERCENTILE"]
    if percentile is not None and not 0.0 <= percentile[0] < percentile[1] <= 100.0:
        message = say("PERCENTILE={low:g} {high:g} are no two percentages", *percentile)
        raise ParamError(message, name="PERCENTILE", remedy=say("write two numbers from 0 to 100, such as 1 99"))
    size, axes = given["SIZE"], given["AXES"]
    return Look(
        size=size, axes=size >= FULL if axes is None else axes, stretch=given["STRETCH"] or "", percentile=percentile,
        colours=given["COLOURS"] or "", part=given["PART"], plane=given["PLANE"], show=given["SHOW"] or "", without=given["WITHOUT"] or (), diameters=given["DIAMETER"] or (),
        stars=given["STAR"] or (),
    )  # fmt: skip


def _links(table: Table, around: Surroundings) -> Sequence[Link]:  # noqa: ARG001
    """List the pictures of rows' own files, where the descriptor says nothing of these; of films, they are the preview themselves."""
    said = {link.semantics for link in table.leads}
    moving = {"gif": "image/gif", **FILMS}
    pictured = {one.removeprefix("."): "image/png" for one in drawn()}
    still = {ending: kind for ending, kind in pictured.items() if ending not in moving}
    home = (SITE, f"/collections/{quote(table.schema)}/")
    for path, about in filed.own_paths(table):
        made = [
            Link(semantics=semantics, address=(*home, *address), description=about, endings=endings)
            for semantics, kinds, address in (
                ("#preview", still, ("preview/", *path)),
                ("#preview", moving, ("files/", *path)),
                (
                    "#thumbnail",
                    pictured | (dict.fromkeys(FILMS, "image/png") if films() else {}),
                    ("preview/", *path, f"?size={drawings.THUMBNAIL}"),
                ),
            )
            if semantics not in said and (endings := _ends(path[-1], kinds))
        ]
        if made:
            return made
    return []


def _ends(last: str | Hole, kinds: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """List endings that a path may have of these, by its last part; of a text it is known."""
    ending = last.lower().rpartition(".")[2] if isinstance(last, str) else None
    return tuple((one, kind) for one, kind in sorted(kinds.items()) if ending in {None, one})


def _ways(published: Published, base: str) -> Sequence[Way]:
    """Show how a picture is asked for."""
    url = f"{base}/collections/{quote(published.table.schema)}/preview/"
    return [Way(title=FACE.title, url=url, example=f"curl -o picture.png '{url}PATH?size=800&stretch=asinh'")]


FACE = Face(
    name="previews",
    title="Previews",
    description="Pictures of what files hold.",
    applies=lambda table: any(filed.own_paths(table)),
    lacking="files that can be drawn",
    links=_links,
    ways=_ways,
    routes=routes,
)
