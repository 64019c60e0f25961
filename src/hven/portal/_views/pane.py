"""``/collections/NAME/TABLE/panes/PANE``: what a pane shows of the rows that were found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread
from starlette.routing import Route

from hven.model.errors import NotFound, say
from hven.portal._pages import pages
from hven.portal._views.page_addresses import address
from hven.portal._views.page_formats import Asked, Page, page
from hven.portal._views.table_page import faults, view
from hven.portal.panes import known

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.services.face import Surroundings

MOST = 10_000  # rows


def routes(around: Surroundings) -> Sequence[Route]:
    """Route the address of the panes."""
    return [
        Route(
            "/collections/{name}/{table}/panes/{pane}",
            page(lambda state: anyio.to_thread.run_sync(_page, state), around),
        )
    ]


def _page(state: Asked) -> Page:
    seen, name = view(state, leave=("_all",)), state.request.path_params["pane"].removesuffix(".json")
    pane = next((one for one in known() if one.name == name and one.applies(seen.table)), None)
    if pane is None:
        raise NotFound(
            say("there is no such service for {name}", seen.name),
            remedy="the page of the collection says how its tables are asked",
        )
    every = tuple(column.name for column in seen.table.columns if not column.hidden)
    text = pane.ask(seen.table, f"({seen.search.having(order=(), row='', columns=every).adql()}) AS t")
    with seen.asking.run(text, most=MOST) as found:
        twin = {"adql": text, "rows": found.table().to_pylist(), "cut": found.overflow, "faults": faults(seen.search)}
    inside = pages(state.language).from_string(pane.template)
    return Page(
        template="pane.html",
        content={"pane": pane, "inside": inside, "seen": seen, "above": address(state.base, seen.table), **twin},
        twin=twin,
    )
