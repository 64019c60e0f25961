"""``/statistics/NAME``: how many rows a collection has by year, instrument, level, target, as its columns are; counted once for each state of its tables."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio.to_thread
from starlette.routing import Route

from hven import services as dali
from hven.engines import Live
from hven.model.errors import HvenError
from hven.portal._explore.facets import written
from hven.portal._explore.summary import Summary, summary
from hven.portal._views.counts import Counts, noun_of_rows, sum_amounts
from hven.portal._views.page_addresses import address
from hven.portal._views.page_formats import Asked, Page, page
from hven.portal._views.table_page import asking
from hven.portal._views.validity import validity
from hven.services.source_dates import find_source_date
from hven.site.auth import row_filters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Table
    from hven.portal._explore.column_labels import Labels
    from hven.services.face import Surroundings

AT_ONCE = 2  # collections that are counted at the same time: the others' readers wait
log = logging.getLogger("hven.portal")


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/statistics/{name}`` and its JSON twin."""
    counts = Counts(around)
    counting = anyio.CapacityLimiter(AT_ONCE)

    async def statistics(state: Asked) -> Page:
        schema = state.collection()
        name = schema.name
        tables = [table for table in schema.tables if table.qualified in state.holdings.published]
        rows = await counts.of(state.holdings, tables, state.who)
        found = await anyio.to_thread.run_sync(
            lambda: [_told(table, state, rows[table.qualified]) for table in tables], limiter=counting
        )
        observed = await counts.lines(state.holdings, tables, state.who)
        amounts = sum_amounts(
            (table, rows[table.qualified], table.qualified in observed, observed.get(table.qualified))
            for table in tables
        )
        resource = state.holdings.resources[name]
        twin = {
            "collection": name,
            "rows": sum(one["rows"] or 0 for one in found),
            "updated": max((one["updated"] for one in found), default=None),
            "tables": found,
        }
        return Page(template="statistics.html", content={"resource": resource, "amounts": amounts, **twin}, twin=twin)

    return [Route("/statistics/{name}", page(statistics, around, documents=dali.Documents()))]


def _told(table: Table, state: Asked, rows: int | None) -> dict[str, Any]:
    item = state.holdings.published[table.qualified]
    here = address(state.base, table)
    told: dict[str, Any] = {
        "name": table.name,
        "title": table.title or table.name,
        "rows": rows,
        "noun": noun_of_rows(table, asking(state)),
        "updated": item.updated,
        "modified": _modified(table, state),
        "url": here,
        "begin": None,
        "end": None,
        "periods": [],
        "by": [],
        "validity": validity(table, state),
    }
    if isinstance(item.relation, Live) or item.relation is None:
        return told  # other programs write it, or it is a view of what is counted elsewhere
    try:
        found = summary(table, asking(state), rows)
    except HvenError as error:
        log.info("no statistics of %s: %s", table.qualified, error)
        return told
    return told | {"begin": found.begin, "end": found.end, **_counted(found, here, state.labels(table))}


def _modified(table: Table, state: Asked) -> str | None:
    """Return when the source of a table was last changed, but not to readers from whom rows are hidden."""
    if row_filters([table], state.who, state.around.policies):
        return None
    return find_source_date(state.around.site, state.holdings.published[table.qualified])


def _counted(found: Summary, here: str, labels: Labels) -> dict[str, Any]:
    time = found.time.name if found.time is not None else ""
    return {
        "periods": [
            {"name": one.name, "rows": one.rows, "url": f"{here}?{urlencode({time: one.name})}"} for one in found.periods
        ],
        "by": [
            {
                "column": facet.column.name,
                "label": labels.column(facet.column),
                "exact": facet.exact,
                "more": facet.more,
                "values": [
                    {"name": labels.value(facet.column, one.label), "empty": one.value is None, "rows": one.rows, "url": f"{here}?{urlencode({facet.column.name: written([one.value])})}"}
                    for one in facet.choices
                ],
            }
            for facet in found.choices
        ],
    }  # fmt: skip
