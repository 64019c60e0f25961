"""The lines of a table's page: one for each observation, with its files, or one for each row; by time where nobody says in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.model.table import begins_and_ends
from hven.portal._explore import Search, observation_lines
from hven.portal._explore import rows as pages
from hven.portal._explore.cell_text import LONG, Cell
from hven.portal._explore.constant_columns import constant
from hven.portal._explore.first_columns import asked, first, title
from hven.portal._pages.texts import texts
from hven.services.file_rows import kind_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.portal._explore.observation_lines import File, Observed
    from hven.portal._explore.rows import Page
    from hven.portal._views.table_page import View

SEVERAL = "{count} different"  # values of the files of a line
SORTED = 1_000_000  # rows of a table that are sorted by time for everybody


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """What a page asks for instead of the search itself.

    Attributes
    ----------
    observed
        Its lines are observations.
    other
        The same search with the other lines, files for observations or these for files; None: there is no choice.
    """

    search: Search
    observed: Observed | None
    other: Search | None

    def every(self, seen: View) -> Search:
        """Return the search of all lines of the table."""
        whole = Search(table=seen.table)
        return whole if self.observed is None else observation_lines.lines(whole, self.observed)

    def files(self, page: Page, seen: View, written: list[list[Cell | None]]) -> list[list[File]]:
        """Return for each line the files of its observation; of texts that differ among them the line has their number, put into `written`, the cells of all lines."""
        if self.observed is None:
            return []
        called = title(seen.table)
        drawn = {*self.drawn(seen)} - {*self.observed.columns, called.name if called is not None else ""}
        said = {
            at: one.name
            for at, one in enumerate(page.columns)
            if one.name in drawn and one.type.is_string and kind_of(one, seen.table) in {"text", "code"}
        }
        found = observation_lines.files(page, seen.search, self.observed, seen.asking, list(said.values()))
        word = texts(seen.labels.language).get(SEVERAL, SEVERAL)
        for line, some in zip(written, found, strict=True):
            for at, values in zip(said, zip(*(one.values for one in some), strict=True), strict=False):
                each = list(dict.fromkeys(values))
                if len(each) > 1:
                    line[at] = Cell(text=word.format(count=len(each)), title=", ".join(map(str, filter(None, each)))[:LONG])  # fmt: skip
        return found

    def told(self, found: Sequence[Sequence[File]], seen: View) -> dict[str, Any]:
        """Return what the JSON of a page says besides its rows: which columns are shown in which order, and the files of observations."""
        said: dict[str, Any] = {"drawn": self.drawn(seen)}
        if self.observed is not None:
            said |= {"files": [[told(one) for one in files] for files in found], **self.counted(seen)}
        return said

    def drawn(self, seen: View) -> list[str]:
        """Return the names of the columns that are shown, in their order."""
        return list(first(seen.search, constant(seen.search, seen.asking), self.observed))

    def counted(self, seen: View) -> dict[str, Any]:
        """Return how many rows there are behind the lines."""
        return {} if self.observed is None else {"of_rows": pages.count(seen.search, seen.asking).rows}


def lines(seen: View) -> Lines:
    """Return the lines of a page."""
    search = seen.search
    known = observation_lines.observed(seen.table, seen.asking)
    found = None if search.each else known
    if not search.columns:  # lines are found by another condition, which names no columns
        shown = (column.name for column in search.shown())
        search = search.having(columns=tuple(dict.fromkeys([*shown, *asked(search)])))
    if not search.order:
        begin, _ = begins_and_ends(seen.table)
        if begin is not None and (seen.asking.published(seen.table).rows or SORTED + 1) <= SORTED:
            search = search.having(order=((begin.name, False),))
    return Lines(
        search=search if found is None else observation_lines.lines(search, found),
        observed=found,
        other=None if known is None else seen.search.having(each=not seen.search.each),
    )


def told(file: observation_lines.File) -> dict[str, Any]:
    """Return a file as JSON has it."""
    picture = {"picture": file.picture} if file.picture else {}
    return {"key": file.key, "href": file.address, "text": file.word, "bytes": file.size, **picture}
