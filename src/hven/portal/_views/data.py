"""What the panes of a table's page ask for, as JSON: ``/rows``, ``/count``, ``/row``, ``/place``, ``/facets``, ``/histogram``, ``/points`` below ``/collections/NAME/TABLE``."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

from starlette.routing import Route

from hven import services as dali
from hven.model.errors import Overloaded, ParamError, say
from hven.model.sky import bodies
from hven.portal._explore import facets, map_frames, map_marks, names, places, read
from hven.portal._explore import rows as pages
from hven.portal._explore.cell_text import cells, headings
from hven.portal._explore.constant_columns import constant
from hven.portal._explore.reference_links import reference_links
from hven.portal._explore.search import NEAR
from hven.portal._pages import grounds
from hven.portal._pages.texts import texts
from hven.portal._views import form, row_header
from hven.portal._views import plot_data as drawn
from hven.portal._views.disconnect import Waiting, attended
from hven.portal._views.link_page import write_call_address
from hven.portal._views.page_formats import Asked, Page, json_page
from hven.portal._views.row_lines import lines
from hven.portal._views.row_panel import panel
from hven.portal._views.series_page import drawn as drawn_series
from hven.portal._views.series_page import times_of
from hven.portal._views.table_page import AFTER, FROM, SIZE, View, cell, columns, faults, pairs_of, view
from hven.services import datalinks, exploring
from hven.services.file_rows import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.table import Link
    from hven.services.face import Surroundings

MOST_FACETS = 12
PICTURES = ("#preview", "#thumbnail")  # DataLink's words for what is looked at
SERVICE = "#proc"  # and for what a service makes of a row
CARDS = 2000  # of one header
MANY = 50  # choices of one column


def routes(around: Surroundings) -> Sequence[Route]:
    """Return the addresses of the panes' data."""
    path = "/collections/{name}/{table}"

    def given(make: Callable[[View, Asked], dict[str, Any]], *leave: str) -> Callable[[Asked], Any]:
        async def one(state: Asked) -> Page:
            def answer(waiting: Waiting) -> dict[str, Any]:
                seen = view(state, leave=leave)
                return make(replace(seen, asking=seen.asking.attended(waiting.begun)), state)

            return Page(template="", content=await attended(state.request, answer))

        return one

    return [
        Route(f"{path}/rows", json_page(given(_rows), around)),
        Route(f"{path}/count", json_page(given(_count), around)),
        Route(f"{path}/row", json_page(given(_row), around)),
        Route(f"{path}/header", json_page(given(_header), around)),
        Route(f"{path}/place", json_page(given(_place), around)),
        Route(f"{path}/facets", json_page(given(_facets, "_of", "_like"), around)),
        Route(f"{path}/histogram", json_page(given(_histogram, "_x"), around)),
        Route(f"{path}/names", json_page(given(_names, "_like"), around)),
        Route(f"{path}/places", json_page(given(_places, "_view_at", "_c"), around)),
        Route(f"{path}/points", json_page(given(_points, "_x", "_y", "_c"), around)),
    ]


def whole(state: Asked, name: str, default: int, most: int) -> int:
    """Read a whole number of the address, 0 or more.

    Raises
    ------
    ParamError
        It is none.
    """
    text = state.request.query_params.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or len(text) > 15:
        raise ParamError(
            say("{name}={value}: a whole number was expected", name, text[:40]),
            name=name,
            remedy=say("{name}={value}", name, default),
        )
    return min(int(text), most)


def begin(seen: View, state: Asked) -> int:
    """Return the place where a page begins; where its state is lost, that of now goes on behind the row that was before it."""
    offset = whole(state, FROM, 0, 10**15)
    if not (seen.lost and offset):
        return offset
    return pages.behind(lines(seen).search, seen.asking, state.request.query_params.get(AFTER, ""), offset)


def _rows(seen: View, state: Asked) -> dict[str, Any]:
    lined = lines(seen)
    total = pages.count(lined.search, seen.asking)
    offset, size = begin(seen, state), whole(state, SIZE, 100, pages.MOST)
    page = pages.page(lined.search, seen.asking, offset=offset, limit=size, total=total.rows)
    shown = headings(page, seen.table, seen.search.units, labels=seen.labels)
    written = cells(page, seen.table, seen.search.units, labels=seen.labels)
    files = lined.files(page, seen, written)
    return {
        "columns": columns(shown, constant(seen.search, seen.asking)),
        "pairs": pairs_of(shown, seen.labels),
        "rows": [[cell(one) for one in row] for row in written],
        "keys": list(page.keys),
        "from": offset,
        "more": page.more,
        "state": seen.state,
        "lost": seen.lost,
        "total": total.rows,
        "exact": total.exact,
        "adql": seen.search.adql(),
        "faults": faults(seen.search),
        **lined.told(files, seen),
    }


def _count(seen: View, state: Asked) -> dict[str, Any]:  # noqa: ARG001  (all panes' makers are asked alike)
    lined = lines(seen)
    found = pages.count(lined.search, seen.asking, seconds=10.0)
    every = pages.count(lined.every(seen), seen.asking)
    nothing = found.rows == 0 and not seen.search.faults
    return {
        "total": found.rows,
        "exact": found.exact,
        "of": every.rows,
        "adql": seen.search.adql(),
        "faults": faults(seen.search),
        "without": form.left_out(seen.search, seen.asking, seen.labels, lined.observed) if nothing else [],
        "asked": form.chips(seen.search, seen.labels),
        "fields": form.parts(seen.search),
        "place": form.place(seen.search),
        "every": str(seen.search.every or ""),
        **lined.counted(seen),
    }


def _row(seen: View, state: Asked) -> dict[str, Any]:
    page = pages.one(seen.search, seen.asking, seen.search.row)
    found = cells(page, seen.table, seen.search.units, whole=True, labels=seen.labels)
    heads = headings(page, seen.table, seen.search.units, labels=seen.labels)
    rights, primary = seen.table.rights, seen.table.primary
    locked = None
    if found and rights is not None and primary:
        locked = rights.locked(seen.asking.who, dict(zip(primary, json.loads(seen.search.row), strict=True)))
    row = [cell(one) for one in found[0]] if found else None
    links = [*_series(seen, state, page), *_links(seen, state, page)] if found else []
    links += _references(page, state, {link["href"] for link in links}, seen) if found else []
    return {
        "columns": columns(heads),
        "pairs": pairs_of(heads, seen.labels),
        "row": row,
        "key": seen.search.row,
        "locked": None if locked is None else locked._asdict(),
        "links": links,
        **(panel(seen, state, page, links) if found else {}),
    }


def _series(seen: View, state: Asked, page: pages.Page) -> list[dict[str, Any]]:
    """Lead to the time series that a row is a sample or a span of, at its time."""
    sets, when = drawn_series(seen.table, state), times_of(page, seen.table)
    if not sets or not when:
        return []
    origin = "{0.scheme}://{0.netloc}".format(urlsplit(dali.base(state.request, state.around.site.settings)))
    word = texts(state.language).get("Time series", "Time series")
    facts = {"semantics": "", "type": "", "bytes": None, "picture": False, "locked": False}
    return [
        facts | {"text": f"{word}: {one['title']}", "href": f"{urljoin(origin, one['url'])}?{when}"} for one in sets
    ]


def _references(page: pages.Page, state: Asked, known: set[str], seen: View) -> list[dict[str, Any]]:
    """Lead to what the UCDs of a row's values name: papers, names of sources, pages and files; what a link leads to already is left out."""
    words = texts(state.language)
    labels = {column.name: seen.labels.column(column) for column in page.columns}
    row = [(column, page.rows.column(at)[0].as_py()) for at, column in enumerate(page.columns)]
    found = []
    for column, value in row:
        if kind_of(column, seen.table) == "picture":
            continue
        for one in reference_links([(column, value)]):
            name = unquote(one.value.partition("?")[0].rstrip("/")).rpartition("/")[2]
            text = {
                "download": words.get("Download {name}", "Download {name}").format(name=name),
                "page": labels[column.name],
            }.get(one.target, f"{one.target}: {one.value}")
            found.append({"semantics": "", "type": "", "bytes": None, "picture": False, "locked": False, "text": text, "href": one.address})  # fmt: skip
    return [link for link in found if link["href"] not in known]


def _links(seen: View, state: Asked, page: pages.Page) -> list[dict[str, Any]]:
    """Return what a row leads to by its table's links: what its columns lead to stands among these."""
    table, key, shown = seen.table, seen.table.identifier, [column.name for column in page.columns]
    # the row is shown by itself: at full size
    more = [link for link in state.around.leads(table) if link.semantics != "#thumbnail"]
    if not (table.links or more) or key is None or key.name not in shown:
        return []
    asking, value = seen.asking, page.rows.column(shown.index(key.name))[0].as_py()
    base = dali.base(state.request, state.around.site.settings)
    found = datalinks.rows(
        table, [] if value is None else [str(value)], who=asking.who, site=asking.site, policies=asking.policies,
        holdings=asking.holdings, base=base, more=more, numbered=True,
    )  # fmt: skip
    links = (*table.leads, *more)
    complete = {at for at, link in enumerate(links) if at >= len(table.leads) and _is_complete(link)}
    explore = texts(state.language).get("Explore {name}", "Explore {name}")
    pairs = [
        (
            one,
            write_call_address(one["service_def"])
            if one["_link"] in complete and one["service_def"]
            else one["access_url"],
        )
        for one in found.to_pylist()
    ]
    return [
        {
            "text": explore.format(name=unquote(href).rpartition("/")[2])
            if is_explorer(one)
            else one["description"] or href.rpartition("/")[2] or href,
            "href": href,
            "semantics": one["semantics"].removeprefix("#"),
            "type": one["content_type"] or "",
            "bytes": one["content_length"],
            "picture": one["semantics"].startswith(PICTURES) and (one["content_type"] or "").startswith("image/"),
            "locked": one["link_authorized"] is False,
        }
        for one, href in pairs
        if href
    ]


def _is_complete(link: Link) -> bool:
    """Return whether a link leads to what a service of ours makes of a row without more being said: the samples of its time, for instance."""
    inputs = () if link.service is None else link.service.inputs
    return link.semantics == SERVICE and bool(inputs) and all(one.value or not one.param.required for one in inputs)


def is_explorer(link: Mapping[str, Any]) -> bool:
    """Return whether a row of DataLink leads to the page that explores a file, and says so in our words, not in those of a descriptor."""
    return (
        "/cube/" in (link["access_url"] or "")
        and link["content_type"] == exploring.PAGE_TYPE
        and (link["description"] or "").startswith(exploring.TITLE_PREFIX)
    )


def _place(seen: View, state: Asked) -> dict[str, Any]:  # noqa: ARG001
    """Return the place of ``_row`` among the rows that are found, from 0."""
    return {"key": seen.search.row, "place": pages.place(lines(seen).search, seen.asking, seen.search.row)}


def _header(seen: View, state: Asked) -> dict[str, Any]:
    """Return the FITS header of the file that a row is about, if its collection publishes that file."""
    row = pages.one(seen.search, seen.asking, seen.search.row)
    found = row_header.behind(row, seen.table, seen.asking, tuple(state.catalogue.tables()))
    if found is None:
        return {"file": "", "url": "", "hdus": []}
    return {
        "file": found.path,
        "url": found.address,
        "hdus": [
            {
                "name": one.name or str(one.index),
                "kind": one.kind,
                "cards": [
                    {"keyword": key, "value": _card(value), "comment": one.comments.get(key, "")}
                    for key, value in list(one.values.items())[:CARDS]
                ],
                "notes": [{"keyword": key, "text": text} for key, text in one.notes[:CARDS]],
            }
            for one in found.headers
        ],
    }


def _card(value: object) -> str:
    """Write a value as a card has it."""
    return "T" if value is True else "F" if value is False else "" if value is None else str(value)


def _facets(seen: View, state: Asked) -> dict[str, Any]:
    """Return choices with their counts; ``_of=COLUMN`` those of one column, ``_like=mar`` those that contain it."""
    column = drawn.column(seen.table, state, "_of")
    if column is None:
        found = _counted_facets(seen)
    else:
        like = state.request.query_params.get("_like", "").strip()
        if like and not column.type.is_string:
            raise ParamError(say("{name} is no text", column.name), name="_like", remedy="leave _like out")
        one = facets.facet(seen.search, column, seen.asking, shown=MANY, like=like)
        found = [] if one is None else [one]
    if found and not any(one.counted for one in found):
        raise Overloaded("the choices could not be counted in time", remedy="try again in a few seconds")
    return {"facets": [_facet(one, seen, column is None) for one in found]}


def _counted_facets(seen: View) -> list[facets.Facet]:
    """Count the choices of a table's columns; those that could not be counted in time stand without counts, as far as they are known."""
    columns = facets.offered(seen.table, seen.asking)[:MOST_FACETS]
    counted = {one.column.name: one for one in facets.facets(seen.search, columns, seen.asking, shown=facets.FIELD + 1)}
    every = (counted.get(one.name) or facets.known_facet(seen.search, one, seen.asking) for one in columns)
    return [one for one in every if one is not None]


def known_choices(seen: View) -> list[dict[str, Any]]:
    """Return the choices that are known without a look at the rows, as the answer of ``/facets`` has them: their counts follow."""
    columns = facets.offered(seen.table, seen.asking)[:MOST_FACETS]
    known = (facets.known_facet(seen.search, one, seen.asking) for one in columns)
    return [_facet(one, seen, of_many=True) for one in known if one is not None]


def _facet(one: facets.Facet, seen: View, of_many: bool) -> dict[str, Any]:
    """Return the choices of a column: all of a few by value, in its field of the form, else the most frequent."""
    field = facets.in_field(one.column, seen.asking, seen.table) and not one.more
    shown = facets.by_value(one) if field else one.choices[: facets.SHOWN] if of_many else one.choices
    return {
        "column": one.column.name,
        "label": seen.labels.column(one.column),
        "choices": [
            {
                "value": each.value,
                "label": seen.labels.value(one.column, each.label),
                "rows": each.rows,
                "chosen": each.chosen,
            }
            for each in shown
        ],
        "field": field,
        "counted": one.counted,
        "more": one.more or len(shown) < len(one.choices),
        "exact": one.exact,
    }


def _histogram(seen: View, state: Asked) -> dict[str, Any]:
    return {**drawn.histogram(seen.search, seen.asking, state, seen.labels), "faults": faults(seen.search)}


def _points(seen: View, state: Asked) -> dict[str, Any]:
    return drawn.points(seen.search, seen.asking, state, seen.labels)


def _names(seen: View, state: Asked) -> dict[str, Any]:
    """Return names of places that begin with ``_like``."""
    like = state.request.query_params.get("_like", "")
    found = names.completed(
        like, seen.table, seen.asking, tables=tuple(state.catalogue.tables()), pairs=seen.search.pairs()
    )
    return {"names": [{"value": one.name, "label": one.note, "radius": one.radius} for one in found]}


def _places(seen: View, state: Asked) -> dict[str, Any]:
    """Return where the rows are; ``_view_at=lon,lat,radius`` says what part of the sky is looked at, of a body ``west,south,east,north``; ``_c`` a column to colour by."""
    what = map_frames.kind(seen.table)
    if not what:
        raise ParamError("this table has no positions", name="", remedy="its rows can be plotted")
    colour = drawn.column(seen.table, state, "_c")
    text = state.request.query_params.get("_view_at", "")
    ground: dict[str, Any] = {}
    if what == "body":
        found = places.body(seen.search, seen.asking, _box(text) if text else None, colour)
        framed = map_frames.frame(seen.table)
        on = "" if framed is None or framed.radius else names.body_of(seen.table, seen.search.pairs(), seen.asking)
        radii = next((one.radii for one in bodies.bodies() if one.name.casefold() == on.casefold()), None)
        ground = {
            "frame": None if framed is None else asdict(framed),
            "body": on,
            "km": None if radii is None else radii[0],
            "grounds": grounds.of(on, state.around.site.settings.directory),
            "uninstalled": not grounds.are_installed(),
            "features": map_marks.features(on, seen.asking, tuple(state.catalogue.tables())),
        }
    else:
        view = read([(NEAR, text)], seen.table).near if text else None
        found = places.sky(seen.search, seen.asking, view, colour)
    return {
        "kind": what, "total": found.total, "files": lines(seen).observed is not None, "lon": found.lon, "lat": found.lat, "counts": found.counts, "radius": found.radius, "keys": found.keys,
        "shapes": found.shapes, "outlines": found.outlines, "names": found.names,
        "colouring": None if found.colouring is None else asdict(found.colouring),
        "colours": [{"name": one.name, "label": seen.labels.column(one)} for one in map_marks.offered(seen.table, seen.asking)],
        "frame": None, **ground,
    }  # fmt: skip


def _box(text: str) -> tuple[float, float, float, float]:
    """Read what part of a body is looked at."""
    try:
        west, south, east, north = (float(one) for one in text.split(","))
    except ValueError:
        raise ParamError(
            say("{name}={value}: west, south, east and north were expected", "_view_at", text[:60]),
            name="_view_at",
            remedy=say("{name}={value}", "_view_at", "0,-90,360,90"),
        ) from None
    return west, south, east, north
