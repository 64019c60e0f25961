"""``/collections/NAME/headers/PATH`` for people: the cards of a FITS header, an HDU below the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hven.portal._views.page_formats import asked, of_file, sent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.services.face import Surroundings


def keyword_page(request: Request, around: Surroundings, told: Mapping[str, Any]) -> Response:
    """Write the page of a header.

    Parameters
    ----------
    request, around
        Of the face.
    told
        Its ``rows``, with the columns of the face's table.
    """
    state = asked(request, around)
    file = of_file(state)
    filled = {row["hdu"] for row in told["rows"] if row["keyword"] == "NAXIS" and row["number"]}
    address = f"{file['above']}/files/{quote(file['file'])}"
    return sent(state, "keywords.html", **file, address=address, filled=filled, rows=told["rows"])
