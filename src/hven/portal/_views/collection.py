"""``/collections/<name>``: what a collection is, how to cite it, its tables with their columns, and every way to ask for it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio.to_thread
from starlette.routing import Route

from hven import adql, services
from hven import site as site_package
from hven.descriptor.mirroring import list_mirrored_sites
from hven.engines import LiveRelation
from hven.jobs.schedule_planning import build_recurrence
from hven.model.errors import HvenError, NotFoundError
from hven.model.table import FILES_UTYPE
from hven.portal import panes
from hven.portal._explore import TableSearch, coverage, observation_lines, row_pages
from hven.portal._explore.cell_text import build_headings, format_cells
from hven.portal._explore.constant_columns import find_constant_columns
from hven.portal._explore.count_trees import has_hidden_rows
from hven.portal._explore.first_columns import choose_initial_columns
from hven.portal._explore.map_frames import classify_map
from hven.portal._explore.plots import is_plottable
from hven.portal._explore.table_summary import draw_sky_path, find_time_range
from hven.portal._pages import body_maps
from hven.portal._pages.editing_rights import can_edit_collection
from hven.portal._views.citation import build_signposts, describe_citation, show_tombstone, wrap_with_negotiation
from hven.portal._views.counts import VisibleRowCounts, sum_amounts
from hven.portal._views.dataset_metadata import build_dataset, list_column_ranges, list_publications, list_releases
from hven.portal._views.help_pages import NOTE_CACHE, list_collection_pages
from hven.portal._views.overview_pictures import load_overviews
from hven.portal._views.page_addresses import build_table_address
from hven.portal._views.page_formats import PageContent, PageContext, build_page_endpoint, build_redirect
from hven.portal._views.series_page import list_drawn_series
from hven.portal._views.table_view import build_runner, describe_constant_columns
from hven.services import explorable_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Column, Schema, Table
    from hven.portal._explore.collection_overviews import RowPicture
    from hven.portal._explore.page_queries import QueryRunner
    from hven.services.face import ServiceContext
    from hven.site import PublishedTable

MAX_STRIP_PICTURES, MIN_STRIP_PICTURES = 12, 4  # pictures of a strip; fewer are none
FIRST_ROWS = 5  # rows that are shown at once
MAX_EXPLORER_LINKS, MAX_EXPLORED_FILES = 3, 20  # files that lead to their explorer, among the first files
log = logging.getLogger("hven.portal")


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/collections/<name>`` and its JSON twin."""
    counts = VisibleRowCounts(context)

    async def compute_state(page_context: PageContext) -> object:
        stored_citation = await anyio.to_thread.run_sync(
            context.site.store.citations.find_citation, _read_collection_name(page_context)
        )
        try:
            published_tables = [
                table
                for table in page_context.find_collection().tables
                if table.qualified_name in page_context.published_state.tables_by_name
            ]
            # looked at now, so that the tag of a first answer is that of the next one
            return (
                stored_citation,
                find_help_state(page_context),
                await load_overviews(page_context, [published_tables]) is not None,
            )
        except NotFoundError:
            if stored_citation is None and _find_table_without_descriptor(page_context) is None:
                raise
            return stored_citation

    def find_help_state(page_context: PageContext) -> object:
        resource = page_context.published_state.resources[page_context.find_collection().name]
        return NOTE_CACHE.find_directory_state(resource.path.parent / context.site.settings.help)

    async def show_collection(page_context: PageContext) -> PageContent:
        try:
            schema = page_context.find_collection()
        except NotFoundError:
            table = _find_table_without_descriptor(page_context)
            if table is not None:
                return build_redirect(build_table_address(page_context.base, table))
            return await anyio.to_thread.run_sync(show_tombstone, page_context, _read_collection_name(page_context), "")
        published_tables = [t for t in schema.tables if t.qualified_name in page_context.published_state.tables_by_name]
        rows = await counts.count_tables(page_context.published_state, published_tables, page_context.principal)
        line_count = counts.count_lines(page_context.published_state, published_tables, page_context.principal)
        description = describe_collection(
            schema,
            page_context,
            rows,
            await line_count,
        )
        page_facts = await anyio.to_thread.run_sync(_gather_page_facts, description, page_context)
        overviews = await load_overviews(page_context, [published_tables])
        if overviews is None:
            page_facts["strip"] = []
        else:
            page_facts["strip"] = list_strip_pictures([(_find_title(description), overviews[0].pictures)], page_context)
        json_content = {
            **collection_to_json(description, page_context),
            **{name: page_facts[name] for name in ("time", "changes", "examples", "help", "bibtex", "releases")},
        }
        template_values = {"collection": description, **page_facts}
        return PageContent(
            template="collection.html",
            template_values=template_values,
            json_content=json_content,
        )

    def build_headers(page_context: PageContext) -> Mapping[str, str]:
        return build_signposts(page_context, _read_collection_name(page_context))

    page_endpoint = build_page_endpoint(
        show_collection,
        context,
        documents=services.DocumentCache(),
        compute_state=compute_state,
        build_headers=build_headers,
    )
    return [
        Route(
            "/collections/{name}",
            wrap_with_negotiation(page_endpoint),
        )
    ]


def _find_table_without_descriptor(page_context: PageContext) -> Table | None:
    """Find the first table of a schema that no descriptor makes, such as ``ivoa``.

    Breadcrumbs and people who shorten an address lead there.
    """
    schema = next(
        (
            candidate
            for candidate in page_context.catalogue.schemas
            if candidate.name == _read_collection_name(page_context)
        ),
        None,
    )
    if schema is not None:
        tables = schema.tables
    else:
        tables = ()
    return next(
        (table for table in tables if table.qualified_name in page_context.published_state.tables_by_name), None
    )


def _read_collection_name(page_context: PageContext) -> str:
    return str(page_context.request.path_params["name"]).removesuffix(".json")


def _gather_page_facts(description: Mapping[str, Any], page_context: PageContext) -> dict[str, Any]:
    """Gather what only the collection's own page says: what is in its tables, and what happened to it."""
    resource = description["resource"]
    runner = build_runner(page_context)
    times = [
        table_overview["time"]
        for table in description["tables"]
        if (table_overview := _add_table_overview(table, runner, page_context)) and table_overview["time"]
    ]
    if times:
        time_range = [min(example[0] for example in times), max(example[1] for example in times)]
    else:
        time_range = None
    table_names = {table["table"].qualified_name for table in description["tables"]}
    examples = [
        {"name": example.name, "query": example.query, "description": example.description or ""}
        for example in site_package.list_example_queries(
            page_context.published_state, page_context.principal, page_context.context.policies, description["name"]
        )
    ]
    timing = build_recurrence(resource)
    publications = list_publications(page_context, description["name"], table_names)
    releases = list_releases(
        page_context, lambda item: item.release is not None and item.release.collection == description["name"]
    )
    return {
        "time": time_range,
        "changes": publications,
        "releases": releases,
        "timing": None if timing is None else str(timing),
        "examples": examples[:12],
        "help": list_collection_pages(resource, page_context),
        "edit": can_edit_collection(page_context.principal, page_context.context, resource),
        "panes": panes.list_panes(),
        **(citation_facts := describe_citation(page_context, description["name"])),
        "dataset": build_dataset(description, page_context, time_range, citation_facts["one"]),
    }


def _find_title(description: Mapping[str, Any]) -> str:
    return description["resource"].title or str(description["name"])


def list_strip_pictures(
    titled_pictures: Sequence[tuple[str, Sequence[RowPicture]]], page_context: PageContext
) -> list[dict[str, str]]:
    """List pictures of rows of collections in turn, by the titles of these; none where there are few."""
    chosen_pictures = [
        (title, pictures[at])
        for at in range(MAX_STRIP_PICTURES)
        for title, pictures in titled_pictures
        if at < len(pictures)
    ][:MAX_STRIP_PICTURES]
    if len(chosen_pictures) < MIN_STRIP_PICTURES:
        return []
    rows = [urlencode({"_row": picture.key}) if picture.key else "" for _, picture in chosen_pictures]
    return [
        {
            "src": picture.address,
            "title": title,
            "url": f"{build_table_address(page_context.base, picture.table)}{'?' * bool(row)}{row}",
        }
        for (title, picture), row in zip(chosen_pictures, rows, strict=True)
    ]


def _add_table_overview(table_facts: dict[str, Any], runner: QueryRunner, page_context: PageContext) -> dict[str, Any]:
    """Add to what is said of a table its first rows, its sky and its time.

    Nothing that was counted over rows that the reader may not see.
    """
    table: Table = table_facts["table"]
    item = runner.find_published_table(table)
    is_partial = has_hidden_rows(table, runner)
    is_live = isinstance(item.relation, LiveRelation)
    overview: dict[str, Any] = {
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
        if is_partial or not item.coverage or classify_map(table) != "sky":
            overview["sky"] = ""
        else:
            overview["sky"] = draw_sky_path(item.coverage)
        if is_partial:
            overview["ranges"] = {}
        else:
            overview["ranges"] = list_column_ranges(item, table)
        if not is_live and (table.view is None) and item.relation is not None:
            overview["time"] = find_time_range(table, runner)
            overview["ground"], overview["line"] = (
                coverage.draw_ground_coverage(table, runner),
                coverage.draw_time_coverage(table, runner),
            )
            base_maps = body_maps.list_base_maps(
                overview["ground"].body if overview["ground"] else "", page_context.context.site.settings.directory
            )
            overview["picture"] = next(iter(base_maps), None)
            search = TableSearch(table=table)
            observation_key = observation_lines.find_observation_key(table, runner)
            columns = tuple(column.name for column in search.list_shown_columns())
            line_search = search.copy_with(columns=columns)
            if observation_key is not None:
                line_search = observation_lines.build_line_search(line_search, observation_key)
            rows = row_pages.fetch_page(line_search, runner, limit=FIRST_ROWS)
            labels = page_context.build_labels(table)
            constant_names = find_constant_columns(search, runner)
            column_headings = build_headings(rows, table, labels=labels)
            cell_rows = format_cells(rows, table, labels=labels)
            heading_numbers = {
                column.column.name: number for number, column in enumerate(column_headings) if column.kind != "picture"
            }
            order = [
                heading_numbers[name]
                for name in choose_initial_columns(search, constant_names, observation_key)
                if name in heading_numbers
            ]
            overview["headings"] = [column_headings[number] for number in order]
            overview["first"] = [[row[number] for number in order] for row in cell_rows]
            overview["alike"] = describe_constant_columns(column_headings, cell_rows, constant_names)
            if table.utype == FILES_UTYPE:
                overview["explored"] = _list_explorer_links(table, runner, page_context)
    except HvenError as error:  # a page without them is better than no page
        log.info("the page of %s goes without a look at its rows: %s", table.qualified_name, error)
    table_facts |= overview
    return overview


def _list_explorer_links(table: Table, runner: QueryRunner, page_context: PageContext) -> list[dict[str, str]]:
    """List some files with the pages that explore them.

    Those with three axes among the first ones that the reader sees.
    """
    rows = row_pages.fetch_page(TableSearch(table=table).copy_with(columns=("path",)), runner, limit=MAX_EXPLORED_FILES)
    paths = rows.rows.column("path").to_pylist()
    addresses = [explorable_files.build_explorer_url(page_context.base, table.schema, path) for path in paths]
    verdicts = explorable_files.find_explorable(page_context.context, addresses)
    explorable = [(path, url) for path, url, verdict in zip(paths, addresses, verdicts, strict=True) if verdict]
    return [{"name": path.rpartition("/")[2], "url": url} for path, url in explorable[:MAX_EXPLORER_LINKS]]


def describe_collection(
    schema: Schema,
    page_context: PageContext,
    rows: Mapping[str, int | None],
    lines: Mapping[str, int | None] | None = None,
) -> dict[str, Any]:
    """Gather what pages say of a collection.

    Parameters
    ----------
    lines
        Numbers of observations of the tables whose rows are files of these. None: nobody knows what the rows of tables
        are, so no amounts are told.
    """
    line_counts = lines or {}
    published = page_context.published_state.tables_by_name
    tables = [
        {
            **_describe_table(published[t.qualified_name], t, page_context, rows[t.qualified_name]),
            "lines": line_counts.get(t.qualified_name),
            "observed": t.qualified_name in line_counts,
            "amounts": sum_amounts(
                [(t, rows[t.qualified_name], t.qualified_name in line_counts, line_counts.get(t.qualified_name))]
            ),
        }
        for t in schema.tables
        if t.qualified_name in published
    ]
    return {
        "name": schema.name,
        "resource": page_context.published_state.resources[schema.name],
        "mirror_of": list_mirrored_sites(page_context.published_state.resources[schema.name]),
        "tables": tables,
        "rows": sum(table["rows"] or 0 for table in tables)
        if any(table["rows"] is not None for table in tables)
        else None,
        "amounts": ()
        if lines is None
        else sum_amounts(
            (table_facts["table"], table_facts["rows"], table_facts["observed"], table_facts["lines"])
            for table_facts in tables
        ),
        "updated": max((table["updated"] for table in tables), default=None),
        "kinds": list(dict.fromkeys(kind for table in tables for kind in table["kinds"])),
    }


def collection_to_json(description: Mapping[str, Any], page_context: PageContext) -> dict[str, Any]:
    """Return the same as JSON has it."""
    resource = description["resource"]
    return {
        "name": description["name"],
        "title": resource.title,
        "description": resource.description,
        "licence": resource.licence,
        "licence_url": resource.licence_url,
        "creators": [creator.name for creator in resource.creators],
        "citation": resource.citation,
        "doi": resource.doi,
        "bibcode": resource.bibcode,
        "mirror_of": list(description["mirror_of"]),
        "rows": description["rows"],
        "updated": description["updated"],
        "url": f"{page_context.base}/collections/{description['name']}",
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
                        "name": column_facts["column"].name,
                        "type": column_facts["type"],
                        "unit": column_facts["column"].unit,
                        "ucd": column_facts["column"].ucd,
                        "description": column_facts["column"].description,
                    }
                    for column_facts in table["columns"]
                ],
            }
            for table in description["tables"]
        ],
    }


def _describe_table(
    published_table: PublishedTable, table: Table, page_context: PageContext, rows: int | None
) -> dict[str, Any]:
    faces = [
        face for face in page_context.context.faces.values() if face.applies(table) and table.is_served_by(face.name)
    ]
    return {
        "name": f"{adql.quote_name(table.schema)}.{adql.quote_name(table.name)}",
        "table": table,
        "columns": [_describe_column(column) for column in table.columns if not column.hidden],
        "address": build_table_address(page_context.base, table),
        "rows": rows,
        "updated": published_table.updated,
        # standards first; every portal's services are the site's
        "ways": [
            way
            for face in sorted(faces, key=lambda face: not face.standard_ids)
            for way in face.list_all_examples(published_table, page_context.brand.root)
        ],
        "forms": [
            {"title": face.title, "url": f"{build_table_address(page_context.base, table)}/services/{face.name}"}
            for face in faces
            if face.is_table_service
        ],
        "kinds": [face.title for face in faces if face.standard_ids],
        "series": list_drawn_series(table, page_context),
    }


def _describe_column(column: Column) -> dict[str, Any]:
    return {
        "column": column,
        "name": adql.quote_name(column.name),
        "type": str(column.type),
        "plotted": is_plottable(column),
    }
