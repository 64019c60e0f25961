"""``/hapi`` for people: the data sets of samples in time, from when to when, with addresses that work and the lines that ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.portal._views.page_addresses import address
from hven.portal._views.page_formats import asked, sent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.services.face import Surroundings


def series_page(request: Request, around: Surroundings, told: Mapping[str, Any]) -> Response:
    """Write the page of the data sets that are known.

    Parameters
    ----------
    request, around
        Of the face.
    told
        Its ``base``, and ``sets``: of each the ``id``, ``title``, ``table``, ``parameters``, ``start``, ``stop``, and an ``example`` of both.
    """
    state = asked(request, around)
    sets = [{**one, "page": address(state.base, one["table"])} for one in told["sets"]]
    return sent(state, "series.html", sets=sets, at=told["base"])
