"""Serve ``/collections/NAME/cube/PATH`` as a page: the images and cubes of a file.

The script ``cube`` shows them; it fetches the data from the same address.
"""

from __future__ import annotations

from glob import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hven.portal._views.page_formats import (
    build_error_responder,
    build_page_context,
    describe_requested_file,
    render_page_response,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.services.face import ServiceContext


def render_cube_page(request: Request, context: ServiceContext, file_facts: Mapping[str, Any]) -> Response:
    """Render the page of a file.

    Parameters
    ----------
    request, context
        The request and the context of the face.
    file_facts
        The file's ``medium`` and ``bytes``, and the bytes of a ``copy`` for spectra that the reader can order; or the
        ``fault`` that prevents the page.
    """
    if "fault" in file_facts:
        error_responder = build_error_responder(context, suggest_pages=True, has_switches=True)
        return error_responder(request, file_facts["fault"])
    page_context = build_page_context(request, context)
    facts = describe_requested_file(page_context)
    file_address = facts["above"]
    path = quote(facts["file"])
    facts |= {"name": request.path_params["name"], "pattern": escape(facts["file"])}
    return render_page_response(
        page_context,
        "cube.html",
        **facts,
        **file_facts,
        url=f"{file_address}/files/{path}",
        data=f"{file_address}/cube/{path}",
        preview=f"{file_address}/preview/{path}",
    )
