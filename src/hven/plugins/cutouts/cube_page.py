"""Serve ``/collections/NAME/cube/PATH`` as a page: the images and cubes of a file.

The script ``cube`` shows them; it fetches the data from the same address.
"""

from __future__ import annotations

from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hven.model import plugins
from hven.portal.api.page_rows import render_page_response
from hven.portal.api.pages import (
    CollectionFile,
    PortalPages,
    TemplateContext,
    build_error_responder,
    build_page_context,
    describe_requested_file,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.formats.media import ProductFileFormat
    from hven.services.face import ServiceContext


@dataclass(frozen=True, slots=True, kw_only=True)
class CubePage(TemplateContext):
    """The page of the images and cubes of a file.

    Attributes
    ----------
    name
        Name of the collection.
    file
        The file.
    pattern
        Pattern that only the path of the file matches, for jobs.
    medium
        Format of the file.
    bytes
        Size of the file.
    copy
        Size of a copy for spectra that the reader can order; 0: none.
    url, data, preview
        Addresses of the file, of its data, and of its picture, which is empty if no service draws files.
    """

    template = "cutouts/cube.html"
    name: str
    file: CollectionFile
    pattern: str
    medium: ProductFileFormat
    bytes: int
    copy: int
    url: str
    data: str
    preview: str


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
    file = describe_requested_file(page_context)
    path = quote(file.path)
    pictures = plugins.find_file_picture_addresses()
    preview = ""
    if pictures is not None:
        preview = f"{file.collection.url}/{pictures.picture.replace('{path}', path)}"
    page = CubePage(
        name=request.path_params["name"],
        file=file,
        pattern=escape(file.path),
        medium=file_facts["medium"],
        bytes=file_facts["bytes"],
        copy=file_facts["copy"],
        url=f"{file.collection.url}/files/{path}",
        data=f"{file.collection.url}/cube/{path}",
        preview=preview,
    )
    return render_page_response(page_context, page)


PAGES = PortalPages(build_routes=lambda _: (), template_directory=Path(__file__).parent / "pages")
