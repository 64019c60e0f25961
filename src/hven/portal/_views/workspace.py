"""``/collections/NAME/TABLE``: the rows of a table at once, a form that narrows them, and panes over one selection.

Drawn on the server, with links and forms that work without JavaScript; scripts then bring the panes to life.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import anyio.to_thread
from starlette.routing import Route

from hven.portal import panes
from hven.portal._explore import global_search as everywhere
from hven.portal._explore import rows as pages
from hven.portal._explore.cell_text import Cell, cells, headings
from hven.portal._explore.collection_looks import origin_shown
from hven.portal._explore.column_labels import NAMES, RAW
from hven.portal._explore.column_pairs import Pair, joined, pairs, places
from hven.portal._explore.constant_columns import constant, untelling, without
from hven.portal._explore.fields import choices
from hven.portal._explore.map_frames import frame, kind
from hven.portal._explore.number_text import unit_text
from hven.portal._explore.plots import plotted
from hven.portal._explore.plots_json import axes, scale
from hven.portal._explore.table_sentence import sentence
from hven.portal._pages import HUB, SWITCHES
from hven.portal._views import strip_data
from hven.portal._views.data import begin, known_choices, whole
from hven.portal._views.downloads import offered
from hven.portal._views.facts import table_dataset
from hven.portal._views.form import chips, form, left_out
from hven.portal._views.page_addresses import address, below
from hven.portal._views.page_formats import Asked, Page, moved, page
from hven.portal._views.row_lines import lines
from hven.portal._views.series_page import drawn
from hven.portal._views.table_page import AFTER, AS_OF, FROM, SIZE, View, columns, faults, said_once, view
from hven.services import surveys
from hven.site.auth import ANONYMOUS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from hven.model.settings import Settings
    from hven.model.table import Table
    from hven.portal._explore import Search
    from hven.portal._explore.cell_text import Heading
    from hven.services.face import Surroundings

ROWS = 50  # of the first page
MAIN = "main"  # the name of a collection's only table, or its first


def routes(around: Surroundings) -> Sequence[Route]:
    """Route the page of each table."""

    async def workspace(state: Asked) -> Page:
        return await anyio.to_thread.run_sync(lambda: _page(view(state, leave=(strip_data.NOW,)), state))

    return [Route("/collections/{name}/{table}", page(workspace, around, guards=mapping(around.site.settings)))]


def mapping(settings: Settings) -> dict[str, Any]:
    """Return what a page may do that has a map."""
    origins = tuple(dict.fromkeys([*settings.origins, *("/".join(one.split("/")[:3]) for one in settings.surveys)]))
    return {"styles": True, "workers": True, "connect": HUB, "origins": origins}


def _made(collection: str, state: Asked) -> list[str]:
    """List the HiPS of its images that everybody may see: maps ask for these without saying who looks."""
    found = surveys.made(state.around.site.settings, collection)
    return [surveys.address(state.base, one) for one in found if surveys.visible(state.around, ANONYMOUS, one)]


def _mapped(seen: View) -> str:
    """Return what the map is of; nothing where no row has a place on a body."""
    framed = frame(seen.table)
    return "" if framed is not None and without(framed.bounds, seen.table, seen.asking) else kind(seen.table)


def _page(seen: View, state: Asked) -> Page:
    search = seen.search
    if seen.parted:  # a form was sent: what it asks for has an address of its own, which all links and panes go on from
        left = [(name, value) for name, value in state.request.query_params.multi_items() if name in SWITCHES]
        sent = urlencode([*search.pairs(), *search.wrong, *left])
        return moved(f"{_here(seen, state)}{'?' * bool(sent)}{sent}")
    lined = lines(seen)
    total = pages.count(lined.search, seen.asking)
    every = pages.count(lined.every(seen), seen.asking)
    offset, size = begin(seen, state), whole(state, SIZE, ROWS, pages.MOST) or ROWS
    found = pages.page(lined.search, seen.asking, offset=offset, limit=size, total=total.rows)
    shown = headings(found, seen.table, search.units, labels=seen.labels)
    written = cells(found, seen.table, search.units, labels=seen.labels)
    files_of = lined.files(found, seen, written)
    alike, silent = constant(search, seen.asking), untelling(seen.table, seen.asking)
    at = {one.column.name: number for number, one in enumerate(shown)}
    drawn_first = [at[name] for name in lined.drawn(seen) if name in at]
    measured = [one for one in seen.table.columns if plotted(one) and one.name not in silent]
    release = seen.published.release
    collection = seen.table.schema if release is None else release.collection
    resource = state.holdings.resources.get(collection)
    asks = form(search, seen.asking, seen.labels)
    heads, side = side_by_side(
        [shown[number] for number in drawn_first], [[row[number] for number in drawn_first] for row in written], seen
    )
    files = lined.told(files_of, seen)
    content: dict[str, Any] = {
        "collection": collection,
        "described": resource is not None,
        "heading": (resource.title if resource is not None else None) or collection,
        "releases": _releases(f"{collection}.{seen.table.name}", seen, state),
        "table": seen.table,
        "name": seen.name,
        "headline": _headline(seen.table, None if resource is None else resource.title, seen.name),
        "headings": heads,
        "rows": list(zip(found.keys, side, strict=True)),
        "stills": _stills(side, state),
        "row": _row(seen),
        "files": None,
        "of_rows": None,
        **files,
        "ticks": _ticks(found.keys, files.get("files") or ()),
        "other_lines": None if lined.other is None else lined.other.address(),
        "each": search.each,
        "pictured": any(one.kind == "picture" for one in shown),
        "sentence": sentence(seen.labels),
        "alike": said_once(shown, written, alike),
        "total": total,
        "every": every,
        "begin": offset + 1,
        "end": offset + len(written),
        "pages": _around(seen, found, size, total.rows),
        "lost": seen.lost,
        "plotted": [
            {name: told[name] for name in ("name", "label", "unit")}
            for told in axes(measured, seen.labels, [scale(one, seen.labels, search.units) for one in measured])
        ],
        "plot_first": strip_data.first_plot(seen),
        "has_plot": any(name == "_plot" for name, _ in search.rest),
        "map": _mapped(seen),
        "surveys": " ".join([*state.around.site.settings.surveys, *_made(collection, state)]),
        "has_map": any(name == "_map" for name, _ in search.rest),
        "form": asks,
        "known_choices": known_choices(seen),
        "kind": everywhere.kind_of(seen.table),
        "known": {one["name"] for one in asks["fields"]}
        | {"_q", *(["_near"] if asks["place"] else []), *(["_every"] if asks["every"] else [])},
        "chips": chips(search, seen.labels),
        "without": left_out(search, seen.asking, seen.labels, lined.observed) if total.rows == 0 else [],
        "faults": faults(search),
        "adql": search.adql(),
        "state": search.address(),
        "taken": offered(seen, state),
        "panes": panes.known(),
        "series": drawn(seen.table, state),
        "strip": strip_data.of_page(seen, now=state.request.query_params.get(strip_data.NOW, "") == "now"),
        "state_pairs": search.pairs(),
        "choosable": _choosable(seen, lined.drawn(seen), silent),
        "raw": seen.labels.raw,
        "other_names": urlencode(
            [*(one for one in search.pairs() if one[0] != NAMES), *([] if seen.labels.raw else [(NAMES, RAW)])]
        ),
        "here": _here(seen, state),
        "below": below(seen.table),
        "searched": search.having(row="", rest=(), order=(), columns=(), units=()).address(),
        "dataset": table_dataset(
            seen.table,
            resource,
            seen.published.updated,
            state,
            [
                (kind, f"{_here(seen, state)}/download?_as={name}")
                for name, kind in (("csv", "text/csv"), ("votable", "application/x-votable+xml"))
            ],
        ),
    }
    twin = {
        "table": seen.table.qualified,
        "releases": [{name: one[name] for name in ("label", "day", "url")} for one in content["releases"]],
        "columns": columns(shown),
        "total": total.rows,
        "adql": search.adql(),
        "faults": faults(search),
        "rows_url": f"{content['here']}/rows?{search.address()}",
    }
    return Page(template="workspace.html", content=content, twin=twin)


def _stills(rows: list[list[Any]], state: Asked) -> list[str]:
    """List the pictures that a page without scripts may show: of this site, and of origins that it names."""
    own = "{0.scheme}://{0.netloc}".format(urlsplit(state.base))
    may = origin_shown(state.around.site.settings.origins, own)
    known = [cell.href for row in rows for cell in row if isinstance(cell, Cell) and cell.picture and cell.href]
    return [href for href in dict.fromkeys(known) if may(href)]


def _releases(name: str, seen: View, state: Asked) -> list[dict[str, Any]]:
    """Return the states of a table that have a page: that of now, then its releases, the newest first; none if it was never released."""
    known = {table.qualified: table for table in state.catalogue.tables()}
    states = [("", "", name)]
    states += [
        (item.table.release or "", item.release.created[:10], item.table.qualified)
        for item in state.holdings.releases.get(name, ())
        if item.release is not None
    ]
    here = seen.table.qualified
    found = [
        {"label": label, "day": day, "url": address(state.base, known[one]), "here": one == here, "newest": at == 1}
        for at, (label, day, one) in enumerate(states)
        if one in known
    ]
    return found if found[1:] else []


def _headline(table: Table, title: str | None, name: str) -> str:
    """Return what a page of a table is called: as the table is, else as its collection."""
    if table.title or not title:
        return table.title or name
    return title if table.name == MAIN else f"{title}: {table.name}"


def _here(seen: View, state: Asked) -> str:
    return address(state.base, seen.table)


def _ticks(keys: Sequence[str], files: Sequence[Sequence[dict[str, Any]]]) -> dict[str, str]:
    """Return what a tick puts into the basket, for each line: its key, and those of the other files of its observation."""
    every = files or [()] * len(keys)
    return {
        key: "\t".join(dict.fromkeys([key, *(one["key"] for one in some)]))
        for key, some in zip(keys, every, strict=True)
    }


def _choosable(seen: View, shown: Sequence[str], silent: Collection[str]) -> list[dict[str, Any]]:
    """Return the columns that can be shown, those that are first and in their order; with the units that each can be read in."""
    units = dict(seen.search.units)
    others = [one.name for one in seen.table.columns if not one.hidden and one.name not in {*shown, *silent}]
    return [
        {
            "name": name,
            "label": seen.labels.column(column),
            "shown": name in shown,
            "units": choices(column),
            "unit": units.get(name, seen.labels.scale(column).unit),
            "usual": seen.labels.scale(column).unit,
            "title": seen.labels.told(column),
        }
        for name in (*shown, *others)
        for column in (seen.table.column(name),)
    ]


def side_by_side(
    shown: Sequence[Heading], written: Sequence[Sequence[Cell | None]], seen: View
) -> tuple[list[dict[str, Any]], list[list[Cell | None]]]:
    """Return the heads and cells of a page, those of pairs as one."""
    order = places(shown, pairs(shown, seen.labels))
    heads = [
        _heading(shown[one.low], seen.search, one) if isinstance(one, Pair) else _heading(shown[one], seen.search)
        for one in order
    ]
    lines = [
        [joined(row[one.low], row[one.high]) if isinstance(one, Pair) else row[one] for one in order] for row in written
    ]
    return heads, lines


def _row(seen: View) -> list[tuple[str, Cell, str]]:
    """Return what the row that the address names says: its panel is drawn by a script, and a link to a row is read without scripts too."""
    if not seen.search.row:
        return []
    found = pages.one(seen.search, seen.asking, seen.search.row)
    heads = headings(found, seen.table, seen.search.units, labels=seen.labels)
    lines = cells(found, seen.table, seen.search.units, whole=True, labels=seen.labels)
    said = zip(heads, lines[0], strict=True) if lines else ()
    return [(head.label, one, unit_text(head.unit)) for head, one in said if one is not None]


def _heading(one: Heading, search: Search, pair: Pair | None = None) -> dict[str, Any]:
    """Return a column's head: a click sorts by it, and the other way round at the second one."""
    sorted_by = dict(search.order)
    name = one.column.name
    following = [(name, name in sorted_by and not sorted_by[name])]
    return {
        "name": name,
        "label": one.label if pair is None else pair.label,
        "unit": unit_text(one.unit),
        "title": one.title if pair is None else pair.title,
        "numeric": one.numeric or one.kind == "time",
        "sorted": "" if name not in sorted_by else "descending" if sorted_by[name] else "ascending",
        "address": search.having(order=tuple(following)).address(),
    }


def _around(seen: View, page: pages.Page, size: int, total: int | None) -> dict[str, str]:
    """Return the addresses of the pages before and behind this one, of the same state."""
    offset, more = page.offset, page.more

    def at(place: int, after: str = "") -> str:
        own = {FROM: place or "", SIZE: size if size != ROWS else "", AS_OF: seen.state if place else "", AFTER: after}
        return urlencode([*seen.search.pairs(), *((name, value) for name, value in own.items() if value)])

    found: dict[str, str] = {}
    if offset:
        found |= {"first": at(0), "previous": at(max(offset - size, 0))}
    if more:
        found["next"] = at(offset + size, page.keys[-1] if page.keys else "")
        if total is not None:
            found["last"] = at((total - 1) // size * size)
    return found
