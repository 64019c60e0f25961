"""Serve ``/collections/<name>``: the collection, its citation, its tables with their columns, and their services."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio.to_thread
from starlette.routing import Route

from hven import adql, services
from hven import site as site_package
from hven.descriptor.mirroring import list_mirrored_site_addresses
from hven.engines import LiveRelation
from hven.jobs.schedule_planning import build_recurrence
from hven.model.errors import HvenError, NotFoundError
from hven.model.table import FILES_UTYPE
from hven.portal import panes
from hven.portal._explore import TableSearch, coverage, observation_lines, row_pages
from hven.portal._explore.cell_text import build_column_headings, format_cells
from hven.portal._explore.constant_columns import find_constant_columns
from hven.portal._explore.count_trees import has_hidden_rows
from hven.portal._explore.first_columns import choose_initial_columns
from hven.portal._explore.map_frames import classify_table_map
from hven.portal._explore.plots import is_plottable
from hven.portal._explore.table_summary import draw_moc_svg_path, find_time_range
from hven.portal._pages import body_maps
from hven.portal._pages.editing_rights import can_edit_collection
from hven.portal._views.citation import (
    build_signposting_header,
    build_tombstone_page,
    describe_citation,
    wrap_with_citation_negotiation,
)
from hven.portal._views.counts import VisibleRowCounter, sum_amounts
from hven.portal._views.dataset_metadata import (
    build_schema_org_dataset,
    list_column_ranges,
    list_publications,
    list_releases,
)
from hven.portal._views.help_pages import NOTE_CACHE, list_collection_help_pages
from hven.portal._views.overview_pictures import summarize_collections_in_time
from hven.portal._views.page_addresses import build_table_address
from hven.portal._views.page_formats import PageContent, PageContext, build_page_endpoint, build_redirect
from hven.portal._views.series_page import list_table_series_links
from hven.portal._views.table_view import build_query_runner, describe_constant_columns
from hven.services import explorable_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import Column, Schema, Table
    from hven.portal._explore.collection_overviews import RowPicture
    from hven.portal._explore.page_queries import QueryRunner
    from hven.services.face import ServiceContext
    from hven.site import PublishedTable

MAX_STRIP_PICTURES, MIN_STRIP_PICTURES = 12, 4  # pictures of a strip; with fewer there is none
FIRST_ROWS = 5  # rows shown at once
MAX_EXPLORER_LINKS, MAX_EXPLORED_FILES = 3, 20  # files linked to their explorer, among so many first files
log = logging.getLogger("hven.portal")


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/collections/<name>`` and its JSON twin."""
    counts = VisibleRowCounter(context)

    async def compute_state(page_context: PageContext) -> object:
        name = _read_collection_name(page_context)
        stored_citation = await anyio.to_thread.run_sync(context.site.store.citations.find_citation, name)
        try:
            published_names = page_context.published_state.tables_by_name
            tables = page_context.find_collection().tables
            published_tables = [table for table in tables if table.qualified_name in published_names]
            help_state = find_help_state(page_context)
            # loaded now, so that the tag of the first answer is that of the next one
            has_overviews = await summarize_collections_in_time(page_context, [published_tables]) is not None
        except NotFoundError:
            if stored_citation is None and _find_table_without_descriptor(page_context) is None:
                raise
            return stored_citation
        return stored_citation, help_state, has_overviews

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
            return await anyio.to_thread.run_sync(
                build_tombstone_page, page_context, _read_collection_name(page_context), ""
            )
        published_state = page_context.published_state
        tables = [table for table in schema.tables if table.qualified_name in published_state.tables_by_name]
        rows = await counts.count_rows_of_tables(published_state, tables, page_context.principal)
        line_counts = await counts.count_observations_of_tables(published_state, tables, page_context.principal)
        description = describe_collection(schema, page_context, rows, line_counts)
        page_facts = await anyio.to_thread.run_sync(_gather_page_facts, description, page_context)
        overviews = await summarize_collections_in_time(page_context, [tables])
        if overviews is None:
            page_facts["strip"] = []
        else:
            titled_pictures = [(_find_collection_title(description), overviews[0].pictures)]
            page_facts["strip"] = list_picture_strip_entries(titled_pictures, page_context)
        shared_names = ("time", "changes", "examples", "help", "bibtex", "releases")
        json_content = {
            **collection_to_json(description, page_context),
            **{name: page_facts[name] for name in shared_names},
        }
        template_values = {"collection": description, **page_facts}
        return PageContent(template="collection.html", template_values=template_values, json_content=json_content)

    def build_headers(page_context: PageContext) -> Mapping[str, str]:
        return build_signposting_header(page_context, _read_collection_name(page_context))

    page_endpoint = build_page_endpoint(
        show_collection,
        context,
        document_cache=services.DocumentCache(),
        compute_state=compute_state,
        build_headers=build_headers,
    )
    return [Route("/collections/{name}", wrap_with_citation_negotiation(page_endpoint))]


def _find_table_without_descriptor(page_context: PageContext) -> Table | None:
    """Find the first table of a schema without a descriptor, such as ``ivoa``.

    Breadcrumbs and shortened addresses lead there.
    """
    name = _read_collection_name(page_context)
    for schema in page_context.catalogue.schemas:
        if schema.name != name:
            continue
        for table in schema.tables:
            if table.qualified_name in page_context.published_state.tables_by_name:
                return table
        return None
    return None


def _read_collection_name(page_context: PageContext) -> str:
    return str(page_context.request.path_params["name"]).removesuffix(".json")


def _gather_page_facts(description: Mapping[str, Any], page_context: PageContext) -> dict[str, Any]:
    """Gather the facts of the collection's own page: the content of its tables, and its history."""
    resource = description["resource"]
    runner = build_query_runner(page_context)
    times = []
    for table in description["tables"]:
        overview = _add_table_overview(table, runner, page_context)
        if overview["time"]:
            times.append(overview["time"])
    time_range = None
    if times:
        time_range = [min(begin for begin, _ in times), max(end for _, end in times)]
    table_names = {table["table"].qualified_name for table in description["tables"]}
    example_queries = site_package.list_example_queries(
        page_context.published_state, page_context.principal, page_context.context.policies, description["name"]
    )
    examples = []
    for example in example_queries:
        example_facts = {"name": example.name, "query": example.query, "description": example.description or ""}
        examples.append(example_facts)
    timing = build_recurrence(resource)
    publications = list_publications(page_context, description["name"], table_names)

    def is_own_release(item: PublishedTable) -> bool:
        return item.release is not None and item.release.collection == description["name"]

    releases = list_releases(page_context, is_own_release)
    citation_facts = describe_citation(page_context, description["name"])
    return {
        "time": time_range,
        "changes": publications,
        "releases": releases,
        "timing": None if timing is None else str(timing),
        "examples": examples[:12],
        "help": list_collection_help_pages(resource, page_context),
        "edit": can_edit_collection(page_context.principal, page_context.context, resource),
        "panes": panes.list_panes(),
        **citation_facts,
        "dataset": build_schema_org_dataset(description, page_context, time_range, citation_facts["one"]),
    }


def _find_collection_title(description: Mapping[str, Any]) -> str:
    return description["resource"].title or str(description["name"])


def list_picture_strip_entries(
    titled_pictures: Sequence[tuple[str, Sequence[RowPicture]]], page_context: PageContext
) -> list[dict[str, str]]:
    """List pictures of the rows of collections in turn, with their titles; none if there are few."""
    chosen_pictures = []
    for at in range(MAX_STRIP_PICTURES):
        chosen_pictures += [(title, pictures[at]) for title, pictures in titled_pictures if at < len(pictures)]
    chosen_pictures = chosen_pictures[:MAX_STRIP_PICTURES]
    if len(chosen_pictures) < MIN_STRIP_PICTURES:
        return []
    strip_pictures = []
    for title, picture in chosen_pictures:
        url = build_table_address(page_context.base, picture.table)
        if picture.key:
            url += f"?{urlencode({'_row': picture.key})}"
        strip_pictures.append({"src": picture.address, "title": title, "url": url})
    return strip_pictures


def _add_table_overview(table_facts: dict[str, Any], runner: QueryRunner, page_context: PageContext) -> dict[str, Any]:
    """Add the first rows, the sky and the time to the description of a table.

    It uses no counts over rows that the reader may not see.
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
        if not is_partial:
            overview["ranges"] = list_column_ranges(item, table)
            if item.coverage and classify_table_map(table) == "sky":
                overview["sky"] = draw_moc_svg_path(item.coverage)
        if not is_live and (table.view is None) and item.relation is not None:
            overview["time"] = find_time_range(table, runner)
            overview["ground"] = coverage.draw_ground_coverage(table, runner)
            overview["line"] = coverage.draw_time_coverage(table, runner)
            body = overview["ground"].body if overview["ground"] else ""
            base_maps = body_maps.list_base_maps(body, page_context.context.site.settings.directory)
            overview["picture"] = base_maps[0] if base_maps else None
            search = TableSearch(table=table)
            observation_key = observation_lines.find_observation_key_columns(table, runner)
            columns = tuple(column.name for column in search.list_shown_columns())
            line_search = search.copy_with(columns=columns)
            if observation_key is not None:
                line_search = observation_lines.build_observation_line_search(line_search, observation_key)
            rows = row_pages.fetch_page(line_search, runner, limit=FIRST_ROWS)
            labels = page_context.build_column_labels(table)
            constant_names = find_constant_columns(search, runner)
            column_headings = build_column_headings(rows, table, labels=labels)
            cell_rows = format_cells(rows, table, labels=labels)
            heading_numbers = {}
            for number, heading in enumerate(column_headings):
                if heading.kind != "picture":
                    heading_numbers[heading.column.name] = number
            initial_names = choose_initial_columns(search, constant_names, observation_key)
            order = [heading_numbers[name] for name in initial_names if name in heading_numbers]
            overview["headings"] = [column_headings[number] for number in order]
            overview["first"] = [[row[number] for number in order] for row in cell_rows]
            overview["alike"] = describe_constant_columns(column_headings, cell_rows, constant_names)
            if table.utype == FILES_UTYPE:
                overview["explored"] = _list_explorer_links(table, runner, page_context)
    except HvenError as error:  # a page without first rows is better than no page
        log.info("the page of %s is shown without its first rows: %s", table.qualified_name, error)
    table_facts |= overview
    return overview


def _list_explorer_links(table: Table, runner: QueryRunner, page_context: PageContext) -> list[dict[str, str]]:
    """List some files with the pages that explore them.

    These are the files with three axes among the first ones that the reader sees.
    """
    search = TableSearch(table=table).copy_with(columns=("path",))
    rows = row_pages.fetch_page(search, runner, limit=MAX_EXPLORED_FILES)
    paths = rows.rows.column("path").to_pylist()
    addresses = [explorable_files.build_explorer_url(page_context.base, table.schema, path) for path in paths]
    verdicts = explorable_files.compute_explorable_mask(page_context.context, addresses)
    explorable = [(path, url) for path, url, verdict in zip(paths, addresses, verdicts, strict=True) if verdict]
    return [{"name": path.rpartition("/")[2], "url": url} for path, url in explorable[:MAX_EXPLORER_LINKS]]


def describe_collection(
    schema: Schema,
    page_context: PageContext,
    rows: Mapping[str, int | None],
    lines: Mapping[str, int | None] | None = None,
) -> dict[str, Any]:
    """Describe a collection for pages.

    Parameters
    ----------
    lines
        Numbers of observations, for the tables whose rows are the files of observations. None: these tables are not
        known yet, so the description has no amounts.
    """
    line_counts = lines or {}
    published = page_context.published_state.tables_by_name
    tables = []
    for table in schema.tables:
        name = table.qualified_name
        if name not in published:
            continue
        table_facts = _describe_table(published[name], table, page_context, rows[name])
        table_facts["lines"] = line_counts.get(name)
        table_facts["observed"] = name in line_counts
        table_facts["amounts"] = sum_amounts([_list_amount_facts(table_facts)])
        tables.append(table_facts)
    resource = page_context.published_state.resources[schema.name]
    row_counts = [table["rows"] for table in tables]
    known_row_counts = [row_count for row_count in row_counts if row_count is not None]
    total_rows = sum(known_row_counts) if known_row_counts else None
    newest_update = max((table["updated"] for table in tables), default=None)
    service_kinds: dict[str, None] = {}
    for table_facts in tables:
        service_kinds |= dict.fromkeys(table_facts["kinds"])
    amounts = () if lines is None else sum_amounts(_list_amount_facts(table_facts) for table_facts in tables)
    return {
        "name": schema.name,
        "resource": resource,
        "mirror_of": list_mirrored_site_addresses(resource),
        "tables": tables,
        "rows": total_rows,
        "amounts": amounts,
        "updated": newest_update,
        "kinds": list(service_kinds),
    }


def _list_amount_facts(table_facts: Mapping[str, Any]) -> tuple[Any, ...]:
    return table_facts["table"], table_facts["rows"], table_facts["observed"], table_facts["lines"]


def collection_to_json(description: Mapping[str, Any], page_context: PageContext) -> dict[str, Any]:
    """Return the description of a collection as JSON."""
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
        "tables": [_table_to_json(table) for table in description["tables"]],
    }


def _table_to_json(table_facts: Mapping[str, Any]) -> dict[str, Any]:
    columns = []
    for column_facts in table_facts["columns"]:
        column = column_facts["column"]
        json_column = {
            "name": column.name,
            "type": column_facts["type"],
            "unit": column.unit,
            "ucd": column.ucd,
            "description": column.description,
        }
        columns.append(json_column)
    service_links = [{"title": usage_example.title, "url": usage_example.url} for usage_example in table_facts["ways"]]
    return {
        "name": table_facts["name"],
        "title": table_facts["table"].title,
        "description": table_facts["table"].description,
        "rows": table_facts["rows"],
        "updated": table_facts["updated"],
        "services": service_links,
        "series": table_facts["series"],
        "columns": columns,
    }


def _describe_table(
    published_table: PublishedTable, table: Table, page_context: PageContext, rows: int | None
) -> dict[str, Any]:
    all_faces = page_context.context.faces.values()
    faces = [face for face in all_faces if face.applies(table) and table.is_served_by(face.name)]
    table_address = build_table_address(page_context.base, table)
    # standards first; every portal's services are the site's
    examples: list[Any] = []
    for face in sorted(faces, key=lambda face: not face.standard_ids):
        examples += face.list_all_examples(published_table, page_context.brand.root)
    forms = [
        {"title": face.title, "url": f"{table_address}/services/{face.name}"} for face in faces if face.is_table_service
    ]
    quoted_schema = adql.quote_adql_name(table.schema)
    quoted_name = adql.quote_adql_name(table.name)
    column_facts = [_describe_column(column) for column in table.columns if not column.hidden]
    return {
        "name": f"{quoted_schema}.{quoted_name}",
        "table": table,
        "columns": column_facts,
        "address": table_address,
        "rows": rows,
        "updated": published_table.updated,
        "ways": examples,
        "forms": forms,
        "kinds": [face.title for face in faces if face.standard_ids],
        "series": list_table_series_links(table, page_context),
    }


def _describe_column(column: Column) -> dict[str, Any]:
    return {
        "column": column,
        "name": adql.quote_adql_name(column.name),
        "type": str(column.type),
        "plotted": is_plottable(column),
    }
