"""``/assets/NAME-HASH.css|js``: styles and scripts of the pages; a name stands for one content for ever, so browsers keep it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from hven import services as dali
from hven.portal._pages import grounds
from hven.portal._pages.assets import BUILT, TYPES, content
from hven.portal._pages.brand import every

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from hven.services.face import Surroundings

FOREVER = "public, max-age=31536000, immutable"
BIG = 300_000  # bytes; what is bigger is sent as a file, and compressed by nobody but the proxy before us


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/assets/{file}``."""

    async def one(request: Request) -> Response:
        found = content(request.path_params["file"], every(around.site.settings))
        if found is None:
            return PlainTextResponse("there is no such file; load the page again\n", 404)
        body, kind = found
        headers = {"content-type": kind, "cache-control": FOREVER, "vary": "accept-encoding"}
        if isinstance(body, Path):
            if body.stat().st_size > BIG:
                return FileResponse(body, headers=headers)
            body = body.read_bytes()
        return dali.whole(request, body, headers)

    async def sky(request: Request) -> Response:
        """Return a file of the drawn sky: a HiPS of a few tiles, for maps without any outside network."""
        path = (BUILT / "sky" / request.path_params["path"]).resolve()
        if not path.is_relative_to(BUILT.resolve() / "sky") or not path.is_file():
            return PlainTextResponse("there is no such tile\n", 404)
        kind = TYPES.get(path.suffix, "text/plain; charset=utf-8")
        return FileResponse(path, headers={"content-type": kind, "cache-control": "public, max-age=86400"})

    async def ground(request: Request) -> Response:
        """Return a base map of a body."""
        found = grounds.file(request.path_params["name"], around.site.settings.directory)
        if found is None:
            return PlainTextResponse("there is no such map\n", 404)
        path, kind = found
        return FileResponse(path, headers={"content-type": kind, "cache-control": "public, max-age=86400"})

    return [Route("/assets/ground/{name}", ground), Route("/assets/sky/{path:path}", sky), Route("/assets/{file}", one)]
