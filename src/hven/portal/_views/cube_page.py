"""``/collections/NAME/cube/PATH`` for people: a file's images and cubes, looked into by the script ``cube``, which asks the same address."""

from __future__ import annotations

from glob import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hven.portal._views.page_formats import asked, of_file, refused, sent

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
        The file's ``medium``, ``bytes``, and those of a ``copy`` for spectra that the reader may have made; or the ``fault`` why there is none.
    """
    if "fault" in told:
        return refused(around, page=True, switch=True)(request, told["fault"])
    state = asked(request, around)
    facts = of_file(state)
    here, path = facts["above"], quote(facts["file"])
    facts |= {"name": request.path_params["name"], "pattern": escape(facts["file"])}
    return sent(
        state,
        "cube.html",
        **facts,
        **told,
        url=f"{here}/files/{path}",
        data=f"{here}/cube/{path}",
        preview=f"{here}/preview/{path}",
    )
