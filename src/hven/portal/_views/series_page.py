"""``/hapi`` and ``/series/<id>`` for people: the data sets of samples in time, with addresses that work, and one of them drawn by the script ``timeline``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hven.portal._views.page_addresses import address
from hven.portal._views.page_formats import asked, refused, sent
from hven.services.series import iso

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


def timeline_page(request: Request, around: Surroundings, told: Mapping[str, Any]) -> Response:
    """Write the page of one data set.

    Parameters
    ----------
    request, around
        Of the face.
    told
        What the face tells programs, and its ``table``; or the ``fault`` why there is none.
    """
    if "fault" in told:
        return refused(around, page=True, switch=True)(request, told["fault"])
    state = asked(request, around)
    begins, ends = ("" if one is None else iso(one)[:16].replace("T", " ") for one in (told["start"], told["stop"]))
    page = address(state.base, told["table"])
    data, elsewhere = f"{state.base}/series/{quote(told['id'])}", bool(around.site.settings.remote)
    return sent(state, "timeline.html", of=told, page=page, begins=begins, ends=ends, data=data, elsewhere=elsewhere)
