"""Serve ``/collections/NAME/headers/PATH`` as a page: the cards of the FITS headers of a file, by HDU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hven.portal._pages import TemplateContext
from hven.portal._views.page_formats import (
    CollectionFile,
    build_page_context,
    describe_requested_file,
    render_page_response,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.services.face import ServiceContext


@dataclass(frozen=True, slots=True, kw_only=True)
class FitsHeaderPage(TemplateContext):
    """The page of the FITS headers of a file.

    Attributes
    ----------
    file
        The file.
    address
        Address of the file.
    filled
        Numbers of the HDUs that have data.
    rows
        Rows of the headers, with the columns of the table of the face.
    """

    template = "keywords.html"
    file: CollectionFile
    address: str
    filled: Collection[int]
    rows: Sequence[Mapping[str, object]]


def render_fits_header_page(request: Request, context: ServiceContext, header_facts: Mapping[str, Any]) -> Response:
    """Render the page of the headers.

    Parameters
    ----------
    request, context
        The request and the context of the face.
    header_facts
        The ``rows`` of the headers, with the columns of the face's table.
    """
    page_context = build_page_context(request, context)
    file = describe_requested_file(page_context)
    filled_hdus = {row["hdu"] for row in header_facts["rows"] if row["keyword"] == "NAXIS" and row["number"]}
    address = f"{file.collection.url}/files/{quote(file.path)}"
    page = FitsHeaderPage(file=file, address=address, filled=filled_hdus, rows=header_facts["rows"])
    return render_page_response(page_context, page)
