"""``/collections/<name>``: what a collection is, how to cite it, its tables with their columns, and every way to ask for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio.to_thread
from starlette.routing import Route

from hven import adql
from hven import services as dali
from hven import site as holdings
from hven.descriptor.mirroring import origins
from hven.engines import Live
from hven.jobs.planning import timing_of
from hven.model.errors import HvenError, NotFound
from hven.model.table import FILES
from hven.portal import panes
from hven.portal._explore import Search, coverage, observation_lines
from hven.portal._explore import rows as pages
from hven.portal._explore.cell_text import cells, headings
from hven.portal._explore.constant_columns import constant
from hven.portal._explore.count_trees import hides
from hven.portal._explore.first_columns import first
from hven.portal._explore.map_frames import kind
from hven.portal._explore.plots import plotted
from hven.portal._explore.summary import bounds, sky_path
from hven.portal._pages import grounds
from hven.portal._pages.editors import edits_collection
from hven.portal._views.citation import citing_of, negotiate_citation, signposts, tombstone
from hven.portal._views.counts import Counts, sum_amounts
from hven.portal._views.facts import dataset, publications, ranges, released
from hven.portal._views.first_looks import look_at_collections
from hven.portal._views.guides import SHELF, of_collection
from hven.portal._views.page_addresses import address
from hven.portal._views.page_formats import Asked, Page, moved, page
from hven.portal._views.series_page import drawn
from hven.portal._views.table_page import asking, said_once
from hven.services import exploring

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Column, Schema, Table
    from hven.portal._explore.collection_looks import Picture
    from hven.portal._explore.page_queries import Asking
    from hven.services.face import Surroundings
    from hven.site import Published

STRIP, LEAST = 12, 4  # pictures of a strip; fewer are none
FIRST = 5  # rows that are shown at once
EXPLORED, EXPLORED_AMONG = 3, 20  # files that lead to their explorer, among the first files
log = logging.getLogger("hven.portal")


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/collections/<name>`` and its JSON twin."""
    counts = Counts(around)

    async def stamp(state: Asked) -> object:
        known = await anyio.to_thread.run_sync(around.site.store.citations.find, _name(state))
        try:
            shown = [one for one in state.collection().tables if one.qualified in state.holdings.published]
            # looked at now, so that the tag of a first answer is that of the next one
            return known, help_of(state), await look_at_collections(state, [shown]) is not None
        except NotFound:
            if known is None and _table_without_descriptor(state) is None:
                raise
            return known

    def help_of(state: Asked) -> object:
        resource = state.holdings.resources[state.collection().name]
        return SHELF.state(resource.path.parent / around.site.settings.help)

    async def collection(state: Asked) -> Page:
        try:
            schema = state.collection()
        except NotFound:
            table = _table_without_descriptor(state)
            if table is not None:
                return moved(address(state.base, table))
            return await anyio.to_thread.run_sync(tombstone, state, _name(state), "")
        shown = [t for t in schema.tables if t.qualified in state.holdings.published]
        rows = await counts.of(state.holdings, shown, state.who)
        found = described(schema, state, rows, await counts.lines(state.holdings, shown, state.who))
        more = await anyio.to_thread.run_sync(_more, found, state)
        looked = await look_at_collections(state, [shown])
        more["strip"] = [] if looked is None else strip([(_title(found), looked[0].pictures)], state)
        twin = {
            **plain(found, state),
            **{name: more[name] for name in ("time", "changes", "examples", "help", "bibtex", "releases")},
        }
        return Page(template="collection.html", content={"collection": found, **more}, twin=twin)

    def headers(state: Asked) -> Mapping[str, str]:
        return signposts(state, _name(state))

    return [
        Route(
            "/collections/{name}",
            negotiate_citation(
                page(collection, around, documents=dali.Documents(), state_of=stamp, headers_of=headers)
            ),
        )
    ]


def _table_without_descriptor(state: Asked) -> Table | None:
    """Find the first table of a schema that no descriptor makes, such as ``ivoa``: breadcrumbs and people who shorten an address lead there."""
    schema = next((one for one in state.catalogue.schemas if one.name == _name(state)), None)
    tables = schema.tables if schema is not None else ()
    return next((table for table in tables if table.qualified in state.holdings.published), None)


def _name(state: Asked) -> str:
    return str(state.request.path_params["name"]).removesuffix(".json")


def _more(found: Mapping[str, Any], state: Asked) -> dict[str, Any]:
    """Gather what only the collection's own page says: what is in its tables, and what happened to it."""
    resource = found["resource"]
    road = asking(state)
    times = [looked["time"] for table in found["tables"] if (looked := _looked(table, road, state)) and looked["time"]]
    when = [min(one[0] for one in times), max(one[1] for one in times)] if times else None
    shown = {table["table"].qualified for table in found["tables"]}
    examples = [
        {"name": one.name, "query": one.query, "description": one.description or ""}
        for one in holdings.examples(state.holdings, state.who, state.around.policies, found["name"])
    ]
    timing = timing_of(resource)
    return {
        "time": when,
        "changes": publications(state, found["name"], shown),
        "releases": released(state, lambda item: item.release is not None and item.release.collection == found["name"]),
        "timing": None if timing is None else str(timing),
        "examples": examples[:12],
        "help": of_collection(resource, state),
        "edit": edits_collection(state.who, state.around, resource),
        "panes": panes.known(),
        **(told := citing_of(state, found["name"])),
        "dataset": dataset(found, state, when, told["one"]),
    }


def _title(found: Mapping[str, Any]) -> str:
    return found["resource"].title or str(found["name"])


def strip(of: Sequence[tuple[str, Sequence[Picture]]], state: Asked) -> list[dict[str, str]]:
    """List pictures of rows of collections in turn, by the titles of these; none where there are few."""
    turns = [(title, some[at]) for at in range(STRIP) for title, some in of if at < len(some)][:STRIP]
    if len(turns) < LEAST:
        return []
    rows = [urlencode({"_row": picture.key}) if picture.key else "" for _, picture in turns]
    return [
        {"src": picture.address, "title": title, "url": f"{address(state.base, picture.table)}{'?' * bool(row)}{row}"}
        for (title, picture), row in zip(turns, rows, strict=True)
    ]


def _looked(described_: dict[str, Any], road: Asking, state: Asked) -> dict[str, Any]:
    """Add to what is said of a table its first rows, its sky and its time; nothing that was counted over rows that the reader may not see."""
    table: Table = described_["table"]
    item = road.published(table)
    partly = hides(table, road)
    live = isinstance(item.relation, Live)
    looked: dict[str, Any] = {
        "headings": [],
        "first": [],
        "alike": {"told": [], "empty": []},
        "sky": "",
        "ground": None,
        "picture": None,
        "line": None,
        "time": None,
        "ranges": {},
        "explored": [],
    }
    try:
        looked["sky"] = "" if partly or not item.coverage or kind(table) != "sky" else sky_path(item.coverage)
        looked["ranges"] = {} if partly else ranges(item, table)
        if not live and (table.view is None) and item.relation is not None:
            looked["time"] = bounds(table, road)
            looked["ground"], looked["line"] = coverage.ground(table, road), coverage.timeline(table, road)
            on = grounds.of(looked["ground"].body if looked["ground"] else "", state.around.site.settings.directory)
            looked["picture"] = next(iter(on), None)
            search, observed = Search(table=table), observation_lines.observed(table, road)
            asked = search.having(columns=tuple(one.name for one in search.shown()))
            asked = asked if observed is None else observation_lines.lines(asked, observed)
            rows = pages.page(asked, road, limit=FIRST)
            labels, alike = state.labels(table), constant(search, road)
            shown, written = headings(rows, table, labels=labels), cells(rows, table, labels=labels)
            at = {one.column.name: number for number, one in enumerate(shown) if one.kind != "picture"}
            order = [at[name] for name in first(search, alike, observed) if name in at]
            looked["headings"] = [shown[number] for number in order]
            looked["first"] = [[row[number] for number in order] for row in written]
            looked["alike"] = said_once(shown, written, alike)
            if table.utype == FILES:
                looked["explored"] = _explored(table, road, state)
    except HvenError as error:  # a page without them is better than no page
        log.info("the page of %s goes without a look at its rows: %s", table.qualified, error)
    described_ |= looked
    return looked


def _explored(table: Table, road: Asking, state: Asked) -> list[dict[str, str]]:
    """List some files with the pages that explore them: those with three axes among the first ones that the reader sees."""
    rows = pages.page(Search(table=table).having(columns=("path",)), road, limit=EXPLORED_AMONG)
    paths = rows.rows.column("path").to_pylist()
    addresses = [exploring.explorer_address(state.base, table.schema, path) for path in paths]
    verdicts = exploring.find_explorable(state.around, addresses)
    found = [(path, url) for path, url, verdict in zip(paths, addresses, verdicts, strict=True) if verdict]
    return [{"name": path.rpartition("/")[2], "url": url} for path, url in found[:EXPLORED]]


def described(
    schema: Schema, state: Asked, rows: Mapping[str, int | None], lines: Mapping[str, int | None] | None = None
) -> dict[str, Any]:
    """Gather what pages say of a collection.

    Parameters
    ----------
    lines
        Numbers of observations of the tables whose rows are files of these. None: nobody knows what the rows of tables are, so no amounts are told.
    """
    known = lines or {}
    published = state.holdings.published
    tables = [
        {
            **_table(published[t.qualified], t, state, rows[t.qualified]),
            "lines": known.get(t.qualified),
            "observed": t.qualified in known,
            "amounts": sum_amounts([(t, rows[t.qualified], t.qualified in known, known.get(t.qualified))]),
        }
        for t in schema.tables
        if t.qualified in published
    ]
    return {
        "name": schema.name,
        "resource": state.holdings.resources[schema.name],
        "mirror_of": origins(state.holdings.resources[schema.name]),
        "tables": tables,
        "rows": sum(table["rows"] or 0 for table in tables)
        if any(table["rows"] is not None for table in tables)
        else None,
        "amounts": ()
        if lines is None
        else sum_amounts((one["table"], one["rows"], one["observed"], one["lines"]) for one in tables),
        "updated": max((table["updated"] for table in tables), default=None),
        "kinds": list(dict.fromkeys(kind for table in tables for kind in table["kinds"])),
    }


def plain(found: Mapping[str, Any], state: Asked) -> dict[str, Any]:
    """Return the same as JSON has it."""
    resource = found["resource"]
    return {
        "name": found["name"],
        "title": resource.title,
        "description": resource.description,
        "licence": resource.licence,
        "licence_url": resource.licence_url,
        "creators": [creator.name for creator in resource.creators],
        "citation": resource.citation,
        "doi": resource.doi,
        "bibcode": resource.bibcode,
        "mirror_of": list(found["mirror_of"]),
        "rows": found["rows"],
        "updated": found["updated"],
        "url": f"{state.base}/collections/{found['name']}",
        "tables": [
            {
                "name": table["name"],
                "title": table["table"].title,
                "description": table["table"].description,
                "rows": table["rows"],
                "updated": table["updated"],
                "services": [{"title": way.title, "url": way.url} for way in table["ways"]],
                "series": table["series"],
                "columns": [
                    {
                        "name": one["column"].name,
                        "type": one["type"],
                        "unit": one["column"].unit,
                        "ucd": one["column"].ucd,
                        "description": one["column"].description,
                    }
                    for one in table["columns"]
                ],
            }
            for table in found["tables"]
        ],
    }


def _table(item: Published, table: Table, state: Asked, rows: int | None) -> dict[str, Any]:
    faces = [face for face in state.around.faces.values() if face.applies(table) and table.offers(face.name)]
    return {
        "name": f"{adql.quote(table.schema)}.{adql.quote(table.name)}",
        "table": table,
        "columns": [_column(column) for column in table.columns if not column.hidden],
        "address": address(state.base, table),
        "rows": rows,
        "updated": item.updated,
        # standards first; every portal's services are the site's
        "ways": [
            way
            for face in sorted(faces, key=lambda face: not face.standard_ids)
            for way in face.shown(item, state.brand.root)
        ],
        "forms": [
            {"title": face.title, "url": f"{address(state.base, table)}/services/{face.name}"}
            for face in faces
            if face.asked_of_a_table
        ],
        "kinds": [face.title for face in faces if face.standard_ids],
        "series": drawn(table, state),
    }


def _column(column: Column) -> dict[str, Any]:
    return {"column": column, "name": adql.quote(column.name), "type": str(column.type), "plotted": plotted(column)}
