"""How many rows each reader may see: counted by the road of all queries where a policy hides some."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread

from hven.engines import Live
from hven.model.errors import ServiceError
from hven.portal._explore import Search, observation_lines
from hven.portal._explore.page_queries import Asking
from hven.site.auth import row_filters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Table
    from hven.services.face import Surroundings
    from hven.site import Holdings
    from hven.site.auth import Reader


class Counts:
    """How many rows of each table a reader may see; counted once for each state of the holdings, if policies hide some (`Asking.table`)."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around

    async def of(self, holdings: Holdings, tables: Sequence[Table], who: Reader) -> dict[str, int | None]:
        """Return the numbers by qualified name; None for what was not counted: a view, or the service is too busy."""
        found = {table.qualified: holdings.published[table.qualified].rows for table in tables}
        hiding = row_filters(tables, who, self._around.policies)
        if hiding:
            road = Asking(site=self._around.site, who=who, policies=self._around.policies, holdings=holdings)
            found |= await anyio.to_thread.run_sync(lambda: {name: _counted(name, road) for name in hiding})
        return found

    async def lines(self, holdings: Holdings, tables: Sequence[Table], who: Reader) -> dict[str, int]:
        """Return how many observations there are in the tables whose rows are files of these, by qualified name."""
        road = Asking(site=self._around.site, who=who, policies=self._around.policies, holdings=holdings)
        return await anyio.to_thread.run_sync(lambda: lines(tables, road), abandon_on_cancel=True)


def lines(tables: Sequence[Table], road: Asking) -> dict[str, int]:
    """Count the lines of tables that have such; those that could not be counted are left out."""
    found = {}
    for table in tables:
        try:
            number = observation_lines.number(table, road)
        except ServiceError:
            continue
        if number is not None:
            found[table.qualified] = number
    return found


def _counted(name: str, road: Asking) -> int | None:
    published = road.holdings.published
    item = published[name]
    if any(isinstance(published[one].relation, Live) for one in (name, *item.reads) if one in published):
        return None  # other programs write it: no number would be true for long
    try:
        return road.number(Search(table=item.table).count())
    except ServiceError:  # a page without a number is better than no page
        return None
