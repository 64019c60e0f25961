"""A collection's files: ``/collections/<name>/files`` lists them, ``/collections/<name>/files/<path>`` gives one, or a range of its bytes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote as urlquote

import anyio.to_thread
from starlette.responses import RedirectResponse, Response

from hven import services as dali
from hven.model.errors import HvenError
from hven.model.table import FILES, rooted
from hven.services import elsewhere, filed
from hven.services._ranges import described, flowing, given
from hven.services._user_content import SANDBOX, guard_media_type
from hven.services.face import Face, Surroundings, Way, route
from hven.services.filed import PIECE
from hven.site import sends

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import Table
    from hven.site import Published

# a page or an image among the files may hold scripts: they must not run as if they were this site's
HEADERS = {**SANDBOX, "vary": "authorization, cookie"}


class Taken(NamedTuple):
    """A file as it was asked for: who may keep the answer, what stands for it now, where it lies here, all of a small one, and why it cannot be had."""

    row: dict[str, Any]
    reach: str
    newer: str | None
    place: str | None
    body: bytes | None
    lost: HvenError | None


def applies(table: Table) -> bool:
    """Serve tables that a descriptor's ``files`` made."""
    return table.utype == FILES


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/collections/<name>/files`` and what is below."""
    far = elsewhere.far_blocks(around)

    def found(request: Request, name: str, path: str) -> Taken:
        """Ask for a file; a small one is read here and now: to find another thread for that takes longer."""
        who = around.reader(request)
        taken = filed.asked(around, who, name, [path])
        row = taken.one(path)
        taken.note("file taken" if request.method == "GET" else "file asked about", path)
        newer = filed.successor(around, row["url"], row["release"], who) if row["release"] else None
        root = rooted(path, row["roots"])[0]
        place = body = lost = None
        if root.scheme is None and not root.direct:
            try:
                place = filed.place_of(around.site.settings, row)
                if request.method == "GET" and row["bytes"] <= PIECE:
                    read = filed.reading(around, row, place)(0, row["bytes"])
                    body = b"".join(piece for piece in read if piece is not None)
            except HvenError as error:  # of who has it already nothing is asked
                lost = error
        return Taken(row, taken.reach, newer, place, body, lost)

    async def one(request: Request) -> Response:
        name, path = request.path_params["name"], request.path_params["path"]
        if b"hdu=" in request.scope["query_string"].lower() and (part := _part(request)):
            here = f"{dali.base(request, around.site.settings)}/collections/{urlquote(name)}"
            return RedirectResponse(f"{here}/as/fits/{urlquote(path)}?PART={urlquote(part, safe='')}", headers=HEADERS)
        taken = await anyio.to_thread.run_sync(found, request, name, path)
        row, newer = taken.row, taken.newer
        root, below = rooted(path, row["roots"])
        link = {}
        if row["release"] is not None:
            newer = (
                newer or f"{dali.base(request, around.site.settings)}/collections/{urlquote(row['collection'])}/files"
            )
            link = {"link": f'<{newer}>; rel="latest-version"'}
        if root.direct:
            kept = {"cache-control": "no-cache" if taken.reach == "public" else "private, no-store", **HEADERS, **link}
            return RedirectResponse(f"{root.address}/{urlquote(below)}", headers=kept)
        sends(files=[row["collection"]])
        far_file = None
        if root.scheme is not None:
            with elsewhere.told(row):
                far_file = elsewhere.published(row, await far.file(root, below))
        tag = f'"{row["tag"]}"' if far_file is None else f'"{far_file.key}"'
        headers = {**dali.caching(tag, public=taken.reach == "public"), **HEADERS, **link}
        headers |= described(path, elsewhere.moment(row) if far_file is None else far_file.fact.modified, row["sha256"])
        kind, loaded = guard_media_type(row["media_type"])
        if loaded:
            headers["content-disposition"] = headers["content-disposition"].replace("inline", "attachment", 1)
        if dali.unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        # also a date: two states of a file may have the same (RFC 9110 section 13.1.5)
        same = request.headers.get("if-range", tag) == tag
        if far_file is not None:
            pieces = partial(far.pieces, far_file)
            return given(request, far_file.bytes, pieces, kind, headers, same=same)
        if taken.lost is not None:  # before anything is promised
            raise taken.lost
        read = filed.reading(around, row, taken.place)
        return given(
            request, row["bytes"], lambda begin, end: flowing(read(begin, end)), kind, headers, same=same, body=taken.body
        )  # fmt: skip

    async def listed(request: Request) -> Response:
        found = await anyio.to_thread.run_sync(
            filed.listed, around, around.reader(request), request.path_params["name"]
        )
        sign = await anyio.to_thread.run_sync(around.signing, request) or str
        lines = [
            f"{row['sha256'] or '-'}  {row['url'] if row['direct'] else sign(row['url'])}  {'-' if row['bytes'] is None else row['bytes']}  {row['title']}\n"
            for row in found
        ]
        kept = "no-cache" if sign is str else "private, no-store"
        headers = {"content-type": "text/plain; charset=utf-8", "cache-control": kept, **HEADERS}
        return dali.whole(request, "".join(lines).encode(), headers)

    return [route("/collections/{name}/files", listed), route("/collections/{name}/files/{path:path}", one)]


def _part(request: Request) -> str | None:
    """Return which HDU of a file is wanted alone: its number or name."""
    return next((value for key, value in request.query_params.items() if key.lower() == "hdu" and value), None)


def ways(published: Published, base: str) -> Sequence[Way]:
    """Show the list, and how to get one and check it."""
    url = f"{base}/collections/{urlquote(published.table.schema)}/files"
    return [
        Way(title="Files", url=url, example=f"curl -s '{url}' | while read sum url rest; do curl -sO \"$url\"; done")
    ]


FACE = Face(name="files", title="Files", applies=applies, routes=routes, ways=ways)
