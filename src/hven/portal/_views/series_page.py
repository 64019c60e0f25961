"""``/hapi`` and ``/series/<id>`` for people: the data sets of samples in time, with addresses that work, and one of them drawn by the script ``timeline``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from hven.model.table import begins_and_ends
from hven.portal._explore.what_else import moment
from hven.portal._views.meanwhile import far
from hven.portal._views.page_addresses import address
from hven.portal._views.page_formats import asked, refused, sent
from hven.portal._views.table_page import asking
from hven.portal._views.tiles_ahead import ahead
from hven.services.series import iso

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.model.table import Table
    from hven.portal._explore.rows import Page as Rows
    from hven.portal._views.page_formats import Asked
    from hven.services.face import Surroundings

FACE = "timelines"
LAST = 1000  # samples


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
    data, elsewhere = f"{state.base}/series/{quote(told['id'])}", [one.key for one, _ in far(asking(state))]
    known = {name: value for name, value in told.items() if name != "table"}
    facts: dict[str, Any] = {"page": page, "begins": begins, "ends": ends, "data": data, "elsewhere": elsewhere}
    facts["last"] = _last(told)
    facts["tiles"] = ahead(told, request.query_params, data)
    return sent(state, "timeline.html", of=told, known=known, **facts)


def _last(told: Mapping[str, Any]) -> str:
    """Return how HAPI is asked for the last samples; empty: it is not, or there are none."""
    if told["hapi"] is None or told["start"] is None or not told["cadence"]:
        return ""
    begin = max(told["start"], told["stop"] - LAST * told["cadence"])
    return f"{told['hapi']}/data?{urlencode({'dataset': told['id'], 'start': iso(begin), 'stop': iso(told['stop'])})}"


def drawn(table: Table, state: Asked) -> list[dict[str, str]]:
    """List the data sets that a table has, or that its rows are spans of, with their pages."""
    if not table.offers(FACE) or not (table.series or table.spanned):
        return []
    every = [table]
    if any(name not in {one.id for one in table.series} for name in table.spanned):
        every += [other for other in state.catalogue.tables() if other.series and other.offers(FACE)]
    known = {
        one.id: one.title or (other.title if len(other.series) == 1 else "") or one.id
        for other in reversed(every)
        for one in other.series
    }
    names = dict.fromkeys((*(one.id for one in table.series), *table.spanned))
    return [
        {"id": name, "title": known[name], "url": f"{state.base}/series/{quote(name, safe='')}"}
        for name in names
        if name in known
    ]


def times_of(row: Rows, table: Table) -> str:
    """Say as parameters of such a page what a row is about: a span, or a moment; empty: it has no time."""
    shown = {column.name: row.rows.column(at)[0].as_py() for at, column in enumerate(row.columns)} if row.keys else {}
    begin, end = begins_and_ends(table)
    low, high = (None if column is None else moment(shown.get(column.name), column) for column in (begin, end))
    if low is None:
        return ""
    return f"_at={iso(low)}" if high is None or high <= low else f"_from={iso(low)}&_to={iso(high)}"
