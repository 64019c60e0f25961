"""HATS 1.0: ``/hats/<schema.table>/`` is what ``lsdb.open_catalog`` opens, and its partitions are Parquet files for everybody (IVOA Note HATS, 2025).

The address of a table is a HATS collection whose primary catalogue is a state of the table below it: ``/hats/stars.main/20261120T085345-3f2a/``. A client finds
it in ``collection.properties`` and asks for all else there, so that whatever is published meanwhile changes nothing for it (`hven.services.tilings`).
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import anyio
import anyio.to_thread
from starlette.responses import RedirectResponse, Response

from hven import services as dali
from hven.engines import Snapshot
from hven.formats import hats_layout as hats
from hven.model.errors import NotFound, say
from hven.services import tilings
from hven.services._ranges import flowing, given
from hven.services._tiles import read
from hven.services.errors import PLAIN
from hven.services.face import Face, Surroundings, Way, route

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.services.tilings import Tiling
    from hven.site import Published

AT_ONCE = 4  # partitions that are made at the same time
MAP = "point_map.fits"
PARQUET, HTML = "application/vnd.apache.parquet", "text/html"


class Found(NamedTuple):
    """What an address means: a body, or a file; its tag, media type, and whether everybody gets it."""

    body: bytes | None
    place: Path | None
    size: int
    tag: str
    kind: str
    public: bool


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/hats/`` and all below."""
    looking, making = anyio.CapacityLimiter(AT_ONCE), anyio.CapacityLimiter(AT_ONCE)

    def found(request: Request, text: str, path: str) -> Found | str:
        state, _, rest = path.partition("/")
        made = tilings.tiling(around, around.reader(request), text, None if state in {"", hats.COLLECTION} else state)
        if state in {"", hats.COLLECTION}:
            if rest:
                raise NotFound(
                    say("there is no {path} in {state}", path[:200], text),
                    remedy=f"{hats.COLLECTION} names the newest state",
                )
            return whole(made, *((made.collection(), "text/plain") if state else (listing(places(made)), HTML)))
        address = f"{made.name}.{made.part}".rstrip(".")
        if address != state:
            return f"{address}/{rest}"
        if (made.part == tilings.MARGIN and made.layout().margin < 0) or (
            made.part == tilings.INDEX and made.indexed is None
        ):
            raise NotFound(
                say("{table} has no {part}", made.table.qualified, made.part),
                remedy=f"{hats.COLLECTION} names what there is",
            )
        pixel = None if made.part == tilings.INDEX else hats.partition_of(rest)
        if pixel is not None and rest == hats.partition_path(*pixel):
            said = {name.lower(): value for name, value in request.query_params.items()}
            tag, place = made.file(*pixel, columns=said.get("columns"), filters=said.get("filters"))
        elif made.part == tilings.INDEX and rest == f"{hats.DATASET}/{tilings.INDEXES}":
            tag, place = made.index()
        else:
            return whole(made, *document(made, rest))
        return Found(None, place, place.stat().st_size, tag, PARQUET, made.scope.public)

    async def one(request: Request) -> Response:
        text, path = request.path_params["table"], request.path_params.get("path", "")
        partition = hats.partition_of(path) is not None
        got = await anyio.to_thread.run_sync(found, request, text, path, limiter=making if partition else looking)
        if isinstance(got, str):
            query = f"?{request.url.query}" if request.url.query else ""
            here = f"{dali.base(request, around.site.settings)}/hats/{quote(text)}/{quote(got)}{query}"
            return RedirectResponse(here, headers={"cache-control": "no-cache", "vary": "authorization, cookie"})
        tag = f'"{got.tag}"'
        headers = dali.caching(tag, public=got.public, vary="authorization, cookie") | {
            "accept-ranges": "bytes",
            "x-content-type-options": "nosniff",
        }
        if dali.unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        same = request.headers.get("if-range", tag) == tag
        place = got.place or Path()
        return given(
            request, got.size, lambda begin, end: flowing(read(place, begin, end)), got.kind, headers, same=same, body=got.body
        )  # fmt: skip

    return [route("/hats/{table}", one), route("/hats/{table}/{path:path}", one)]


def whole(made: Tiling, body: bytes, kind: str) -> Found:
    """Answer with a body that is there."""
    return Found(body, None, len(body), made.key(body), kind, made.scope.public)


def document(made: Tiling, path: str) -> tuple[bytes, str]:
    """Write what tells of a state, or list a directory of it; and its media type."""
    written: dict[str, tuple[Callable[[], bytes], str]] = {
        hats.PROPERTIES: (made.properties, "text/plain"),
        hats.PROPERTIES_TOO: (made.properties, "text/plain"),
        hats.COMMON: (made.common, PARQUET),
    }
    if made.part == tilings.INDEX:
        written[hats.METADATA] = made.index_metadata, PARQUET
    else:
        written[hats.PARTITIONS] = made.partitions, "text/csv"
    if not made.part:
        written |= {hats.SKYMAP: (made.skymap, "application/fits"), MAP: (made.map, "application/fits")}
    if path in written:
        write, kind = written[path]
        return write(), kind
    rows = (hats.partition_path(*pixel) for pixel in made.layout().pixels)
    every = [*written, *([f"{hats.DATASET}/{tilings.INDEXES}"] if made.part == tilings.INDEX else rows)]
    folder = f"{path.rstrip('/')}/" if path else ""
    below = [one.removeprefix(folder).partition("/") for one in every if one.startswith(folder)]
    if not below and path not in {hats.DATASET, f"{hats.DATASET}/"}:
        message = say("there is no {path} in {state}", path[:200], made.name)
        raise NotFound(message, remedy=f"{hats.PARTITIONS} lists the partitions")
    return listing(list(dict.fromkeys(f"{name}{slash}" for name, slash, _ in below))), HTML


def places(made: Tiling) -> list[str]:
    """List what is at the address of a table."""
    parts = [
        "",
        *([f".{tilings.MARGIN}"] * (made.layout().margin >= 0)),
        *([f".{tilings.INDEX}"] * (made.indexed is not None)),
    ]
    return [hats.COLLECTION, *(f"{made.name}{part}/" for part in parts)]


def listing(names: Sequence[str]) -> bytes:
    """Write a directory as web servers list theirs: clients find files by the links."""
    links = "".join(f'<li><a href="{quote(name)}">{escape(name)}</a></li>\n' for name in names)
    return f"<!DOCTYPE html>\n<title>HATS</title>\n<ul>\n{links}</ul>\n".encode()


def ways(published: Published, base: str) -> Sequence[Way]:
    """Show how the table is read as a whole, or a part of it, by libraries."""
    if not isinstance(published.relation, Snapshot):
        return []
    url = FACE.url(published.table, base)
    lon, lat = published.table.position or ("", "")
    lsdb = f'import lsdb\nstars = lsdb.open_catalog("{url}")\nprint(stars.cone_search(83.63, 22.01, radius_arcsec=3600).compute())'
    state = f"{url}/{published.relation.id}"
    duckdb = (
        "SET VARIABLE files = (SELECT list(format('{}/dataset/Norder={}/Dir={}/Npix={}.parquet', "
        f"'{state}', Norder, Npix // 10000 * 10000, Npix)) FROM read_csv('{state}/{hats.PARTITIONS}'));\n"
        f"SELECT count(*), avg({lon}), avg({lat}) FROM read_parquet(getvariable('files'));"
    )
    return [
        Way(title="The whole table in Python (LSDB)", url=url, language="python", example=lsdb),
        Way(title="The whole table in DuckDB", url=state, language="sql", example=duckdb),
    ]


def _described() -> dict[str, Any]:
    """Describe the addresses as OpenAPI has it."""
    words = {200: "the file", 206: "a range of it", 304: "it is the same", 404: "no such table or file", 410: "the state is not kept any more, or is not what this reader sees"}  # fmt: skip
    about = {
        "table": "a table: schema.name, or a collection",
        "state": "as collection.properties names it",
        "document": f"{hats.PROPERTIES}, {hats.PARTITIONS}, {hats.SKYMAP}, {MAP}, {hats.COMMON}",
        "order": "HEALPix order",
        "dir": "its number, in ten thousands",
        "pixel": "nested index",
    }
    asked = {
        "columns": "names, with commas between: these alone are sent",
        "filters": f"{hats.CELL}>=1,{hats.CELL}<2: cells of order 29 whose rows are sent; all else in it is passed over",
    }

    def operation(name: str, summary: str, kind: str, path: str, known: dict[str, str]) -> tuple[str, dict[str, Any]]:
        places = [("path", one) for one in re.findall(r"\{(\w+)\}", path)] + [("query", one) for one in known]
        given = [
            {"name": one, "in": place, "required": place == "path", "description": (about | known)[one], "schema": {"type": "integer" if one in {"order", "dir", "pixel"} else "string"}}
            for place, one in places
        ]  # fmt: skip
        told: dict[str, Any] = {str(status): {"description": text} for status, text in words.items()}
        told["200"]["content"] = {kind: {}}
        said = {"summary": summary, "parameters": given, "responses": told}
        return path, {"get": {**said, "operationId": name}, "head": {**said, "operationId": f"{name}-head"}}

    state = "/hats/{table}/{state}"
    return dict(
        [
            operation("hats-collection", "Which state of a table is the newest, and what there is of it", "text/plain", f"/hats/{{table}}/{hats.COLLECTION}", {}),
            operation("hats-document", "What tells of a state", "text/plain", f"{state}/{{document}}", {}),
            operation("hats-partition", "Rows of a pixel of the sky", PARQUET, f"{state}/{hats.DATASET}/Norder={{order}}/Dir={{dir}}/Npix={{pixel}}.parquet", asked),
        ]
    )  # fmt: skip


FACE = Face(
    name="hats",
    title="HATS",
    description="Whole tables as Parquet files by cells of the sky (HATS), for LSDB, DuckDB, pandas.",
    applies=tilings.applies,
    lacking="positions",
    path="/hats/{table}",
    faults=PLAIN,
    ways=ways,
    routes=routes,
    described=_described(),
)
