"""What the pages of one table begin with: the table that the address names, the search in it, and who asks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from hven.adql.text import quote
from hven.engines import Snapshot
from hven.model.errors import NotFound, ParamError, say
from hven.portal._explore import Search, fields, names, read
from hven.portal._explore.column_pairs import pairs
from hven.portal._explore.fields import choices
from hven.portal._explore.number_text import unit_text
from hven.portal._explore.page_queries import Asking
from hven.portal._pages import SWITCHES
from hven.portal._views.page_addresses import named_in

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from hven.model.table import Table
    from hven.portal._explore.cell_text import Cell, Heading
    from hven.portal._explore.column_labels import Labels
    from hven.portal._views.page_formats import Asked
    from hven.site import Published

# which rows of a search, and of which state: no part of it
FROM, SIZE, AS_OF, AFTER = "_from", "_size", "_asof", "_after"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A table of a collection, as one reader looks at it.

    Attributes
    ----------
    state
        Names the rows that were published when it was looked at: pages that carry it (``_asof``) are of one state, whatever is published
        meanwhile. Empty: other programs write the table.
    labels
        What its columns are called, in the reader's language.
    lost
        The state that was asked for is not kept any more: this is that of now.
    """

    table: Table
    published: Published
    search: Search
    asking: Asking
    labels: Labels
    state: str = ""
    lost: bool = False
    parted: bool = False  # a form sent its fields in parts

    @property
    def name(self) -> str:
        """The table's name, as a query writes it."""
        return f"{quote(self.table.schema)}.{quote(self.table.name)}"


def asking(state: Asked) -> Asking:
    """Return the road to data for who asks for this page."""
    return Asking(site=state.around.site, who=state.who, policies=state.around.policies, holdings=state.holdings)


def view(state: Asked, *, leave: Sequence[str] = ()) -> View:
    """Read the address of a page of one table.

    Parameters
    ----------
    leave
        Names of parameters that are the page's own, and no part of the search.

    Raises
    ------
    NotFound
        There is no such table that this reader may know of.
    """
    collection = state.request.path_params["name"]
    named = named_in(state.request.path_params["table"])
    given = state.request.query_params
    lost = False
    table = next((one for one in state.catalogue.tables() if (one.schema, one.name) == (collection, named)), None)
    if table is not None and (wanted := given.get(AS_OF, "")) and wanted != _state(state, table):
        held = _held(state, table, wanted)
        lost = held is None
        state, table = held or (state, table)
    if table is None or table.qualified not in state.holdings.published:
        raise NotFound(
            say("there is no table {schema}.{name} here", collection, named),
            remedy="the page of the collection lists its tables",
        )
    own = {*SWITCHES, FROM, SIZE, AS_OF, AFTER, *leave}
    pairs = [(name, value) for name, value in given.multi_items() if name not in own]
    pairs, parted = fields.joined(pairs)
    seen = looked(state, table)
    return replace(seen, search=understood(seen, state, pairs), state=_state(state, table), lost=lost, parted=parted)


def looked(state: Asked, table: Table) -> View:
    """Look at all rows of a table that this reader may know of."""
    return View(
        table=table,
        published=state.holdings.published[table.qualified],
        search=Search(table=table),
        asking=asking(state),
        labels=state.labels(table),
    )


def understood(seen: View, state: Asked, pairs: Sequence[tuple[str, str]]) -> Search:
    """Read a search of a table, as an address has it."""
    tables = tuple(state.catalogue.tables())
    locate = partial(names.place, table=seen.table, asking=seen.asking, tables=tables, pairs=pairs)
    girth = partial(names.girth, seen.table, pairs, seen.asking)
    return said(read(pairs, seen.table, locate=locate, girth=girth), state)


def _state(state: Asked, table: Table) -> str:
    """Name the rows of a table, or of all that a reader's view reads: the newest snapshot, and what stands for the others."""
    holdings = state.holdings
    item = holdings.published.get(table.qualified)
    read = [] if item is None else [item]
    if item is not None and item.relation is None:
        seen = {one.qualified for one in holdings.catalogue(state.who, state.around.policies).tables()}
        read = [holdings.published[name] for name in item.reads if name in seen and name in holdings.published]
    ids = sorted(
        (one.relation.id if isinstance(one.relation, Snapshot) else "" for one in read if one.relation is not None),
        reverse=True,
    )
    if not ids or not all(ids):
        return ""
    return ids[0] if len(ids) == 1 else f"{ids[0]}~{hashlib.sha256(' '.join(ids).encode()).hexdigest()[:12]}"


def _held(state: Asked, table: Table, wanted: str) -> tuple[Asked, Table] | None:
    """Find an earlier state and the table as it was; None: it is not kept, or is not the one that is meant."""
    try:
        then = replace(state, holdings=state.around.site.as_of(wanted.partition("~")[0]).holdings)
    except ParamError:
        return None
    catalogue = then.holdings.catalogue(state.who, state.around.policies)
    found = next((one for one in catalogue.tables() if one.qualified == table.qualified), None)
    return None if found is None or _state(then, found) != wanted else (then, found)


def said(search: Search, state: Asked) -> Search:
    """Translate the faults of a search into the language of the page."""
    return search.having(
        faults=tuple(
            replace(one, message=state.told(one.message), remedy=state.told(one.remedy)) for one in search.faults
        )
    )


def faults(search: Search) -> list[dict[str, str]]:
    """Return the faults of a search as the JSON of all panes has them."""
    return [{"field": fault.field, "message": fault.message, "remedy": fault.remedy} for fault in search.faults]


def telling(
    headings: Sequence[Heading], rows: Sequence[Sequence[Cell | None]], alike: Collection[str]
) -> list[list[Cell | None]]:
    """Drop the cells of columns that say the same in all rows."""
    kept = [number for number, one in enumerate(headings) if one.column.name not in alike]
    return [[row[number] for number in kept] for row in rows]


def said_once(
    headings: Sequence[Heading], rows: Sequence[Sequence[Cell | None]], alike: Collection[str]
) -> dict[str, Any]:
    """Return the columns that say the same in all rows, with what they say, and the labels of those that say nothing; nothing without rows."""
    first = rows[0] if rows else ()
    found = [(one, value) for one, value in zip(headings, first, strict=False) if one.column.name in alike]
    return {
        "told": [
            {"name": one.column.name, "label": one.label, "unit": unit_text(one.unit), "value": value}
            for one, value in found
            if value is not None
        ],
        "empty": [one.label for one, value in found if value is None],
    }


def columns(headings: Sequence[Heading], alike: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return the columns of an answer as the JSON of all panes has them; `alike` are those that say the same in all rows."""
    return [
        {
            "name": one.column.name,
            "label": one.label,
            "unit": one.unit,
            "unit_text": unit_text(one.unit),
            "usual_unit": one.usual,
            "stored_unit": one.column.unit or "",
            "stored_text": unit_text(one.column.unit or ""),
            "ucd": one.column.ucd or "",
            "description": one.column.description or "",
            "title": one.title,
            "numeric": one.numeric,
            "kind": one.kind,
            "units": list(choices(one.column)),
            "unit_texts": [unit_text(unit) for unit in choices(one.column)],
            **({"alike": True} if one.column.name in alike else {}),
        }
        for one in headings
    ]


def pairs_of(headings: Sequence[Heading], labels: Labels) -> list[dict[str, Any]]:
    """Return the pairs of columns that pages tell as one, as the JSON of all panes has them."""
    return [
        {"name": one.name, "label": one.label, "title": one.title, "low": one.low, "high": one.high}
        for one in pairs(headings, labels)
    ]


def cell(value: Cell | None) -> object:
    """Return a cell as JSON: its text, or an object if there is more to it."""
    if value is None or not (value.href or value.title or value.picture or value.corners):
        return None if value is None else value.text
    found: dict[str, object] = {"text": value.text}
    if value.href:
        found["href"] = value.href
    if value.title:
        found["title"] = value.title
    if value.picture:
        found["picture"] = True
    if value.corners:
        found["corners"] = value.corners
    return found
