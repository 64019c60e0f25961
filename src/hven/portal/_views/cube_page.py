"""``/collections/NAME/cubes/PATH``: a file's images and cubes, looked into by the script ``cube``, which asks ``/collections/NAME/cube/PATH``."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio.to_thread
from starlette.routing import Route

from hven.formats.media import medium_of
from hven.model.errors import NotFound, say
from hven.portal._views.page_formats import Asked, Page, page
from hven.services import filed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.services.face import Surroundings


def routes(around: Surroundings) -> Sequence[Route]:
    """Route the address of the page."""
    return [
        Route(
            "/collections/{name}/cubes/{path:path}",
            page(lambda state: anyio.to_thread.run_sync(_page, state), around),
        )
    ]


def _page(state: Asked) -> Page:
    name, path = state.request.path_params["name"], state.request.path_params["path"]
    state.collection()  # of this portal, and known to the reader
    taken = filed.asked(state.around, state.who, name, [path])
    if path not in taken.rows and path not in taken.refused and path.endswith(".json"):
        path = path.removesuffix(".json")
        taken = filed.asked(state.around, state.who, name, [path])
    if path in taken.refused:
        raise taken.refused[path]
    medium = medium_of(path)
    if path not in taken.rows or medium is None:
        raise NotFound(say("the collection {name!r} has no file {path!r} here", name, path[:200]))
    row = taken.rows[path]
    taken.note("file asked about", path)
    here = f"{state.base}/collections/{quote(name)}"
    content = {
        "collection": name,
        "file": path,
        "medium": medium.name,
        "kind": medium.title,
        "bytes": row["bytes"],
        "url": f"{here}/files/{quote(path)}",
        "data": f"{here}/cube/{quote(path)}",
        "words": row["title"] if row["title"] != path else "",
    }
    return Page(
        template="cube.html",
        content={**content, "resource": state.holdings.resources[name], "above": here},
        twin=content,
    )
