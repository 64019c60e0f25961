"""``/collections/NAME/cube/PATH`` for people: a file's images and cubes, looked into by the script ``cube``, which asks the same address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hven import services as dali
from hven.portal._pages import VARY, frame, guarded, stripped, written
from hven.portal._views.page_formats import asked, refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.services.face import Surroundings


def cube_page(request: Request, around: Surroundings, told: Mapping[str, Any]) -> Response:
    """Write the page of a file.

    Parameters
    ----------
    request, around
        Of the face.
    told
        The file's ``medium`` and ``bytes``; or the ``fault`` why there is none.
    """
    if "fault" in told:
        return refused(around, page=True, switch=True)(request, told["fault"])
    state = asked(request, around)
    name, file = request.path_params["name"], request.path_params["path"]
    here, path = f"{state.base}/collections/{quote(name)}", quote(file)
    resource = state.holdings.resources.get(name)
    facts = {**frame(request, around), "switch": stripped(request)}
    body = written(
        "cube.html",
        facts,
        file=file,
        above=here,
        collection=(resource.title if resource is not None else "") or name,
        medium=told["medium"],
        bytes=told["bytes"],
        url=f"{here}/files/{path}",
        data=f"{here}/cube/{path}",
    )
    public = state.reach == "public"
    headers = {
        **dali.caching(dali.etag(body), public=public, vary=VARY),
        **guarded(origins=around.site.settings.origins),
    }
    return dali.tagged(request, headers, headers["content-type"], body)
