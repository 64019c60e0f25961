"""How many rows each reader may see: counted by the road of all queries where a policy hides some."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio.to_thread

from hven.engines import Live
from hven.model.errors import ServiceError
from hven.model.table import FILES
from hven.portal._explore import Search, observation_lines
from hven.portal._explore.page_queries import Asking
from hven.services import file_rows
from hven.services.file_rows import NOUNS, Amount
from hven.site.auth import row_filters

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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

    async def lines(self, holdings: Holdings, tables: Sequence[Table], who: Reader) -> dict[str, int | None]:
        """Return how many observations there are in the tables whose rows are files of these, by qualified name; None: not counted in time."""
        road = Asking(site=self._around.site, who=who, policies=self._around.policies, holdings=holdings)
        return await anyio.to_thread.run_sync(lambda: lines(tables, road), abandon_on_cancel=True)


def lines(tables: Sequence[Table], road: Asking) -> dict[str, int | None]:
    """Count the lines of tables whose rows are files of observations; None where they could not be counted."""
    found: dict[str, int | None] = {}
    for table in tables:
        if table.view is not None or observation_lines.observed(table, road) is None:
            continue
        try:
            found[table.qualified] = observation_lines.number(table, road)
        except ServiceError:
            found[table.qualified] = None
    return found


def noun_of_rows(table: Table, road: Asking) -> str:
    """Return what the rows of a table are, for one reader: ``files`` where these are files, of observations or of other tables, else ``rows``."""
    return file_rows.noun_of_rows(table, road.published(table))


def sum_amounts(tables: Iterable[tuple[Table, int | None, bool, int | None]]) -> tuple[Amount, ...]:
    """Add up what tables have, each kind of thing by itself; what was not counted is left out.

    Parameters
    ----------
    tables
        Each with its number of rows, whether these are files of observations, and the number of observations.
    """
    sums: dict[str, int] = {}
    for table, rows, observed, lines in tables:
        counted, noun = (
            (rows, "files" if observed or table.utype == FILES else "rows")
            if lines is None
            else (lines, "observations")
        )
        if counted is not None:
            sums[noun] = sums.get(noun, 0) + counted
    return tuple(Amount(sums[noun], noun) for noun in NOUNS if noun in sums)


def _counted(name: str, road: Asking) -> int | None:
    published = road.holdings.published
    item = published[name]
    if any(isinstance(published[one].relation, Live) for one in (name, *item.reads) if one in published):
        return None  # other programs write it: no number would be true for long
    try:
        return road.number(Search(table=item.table).count())
    except ServiceError:  # a page without a number is better than no page
        return None
