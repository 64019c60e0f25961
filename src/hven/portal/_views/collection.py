"""Serve ``/collections/<name>``: the collection, its citation, its tables with their columns, and their services."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio.to_thread
from starlette.routing import Route

from hven import adql, services
from hven.engines import LiveRelation
from hven.jobs.schedule_planning import build_recurrence
from hven.model.errors import HvenError, NotFoundError
from hven.model.table import FILES_UTYPE
from hven.portal import panes
from hven.portal._explore import TableSearch, observation_lines, row_pages
from hven.portal._explore.cell_text import build_column_headings, format_cells
from hven.portal._explore.constant_columns import find_constant_columns
from hven.portal._explore.count_trees import has_hidden_rows
from hven.portal._explore.first_columns import choose_initial_columns
from hven.portal._explore.plots import is_plottable
from hven.portal._explore.time_ranges import find_time_range
from hven.portal._pages import PageLink, TemplateContext
from hven.portal._pages.editing_rights import can_edit_collection
from hven.portal._views.citation import describe_citation, gather_citation_metadata
from hven.portal._views.counts import VisibleRowCounter, sum_row_counts_by_noun
from hven.portal._views.dataset_metadata import (
    build_schema_org_dataset,
    list_releases,
    list_table_publication_events,
    summarize_column_statistics,
)
from hven.portal._views.help_pages import NOTE_CACHE, list_collection_help_pages
from hven.portal._views.landing_pages import (
    build_landing_page_headers,
    build_tombstone_page,
    list_collection_feeds,
    wrap_with_document_negotiation,
)
from hven.portal._views.overview_pictures import summarize_collections_in_time
from hven.portal._views.page_addresses import build_table_address
from hven.portal._views.page_formats import PageContent, PageContext, build_page_endpoint, build_redirect
from hven.portal._views.table_extensions import compute_overview_values
from hven.portal._views.table_links import list_table_link_menus, load_table_link_kinds
from hven.portal._views.table_view import ConstantColumnSummary, build_query_runner, describe_constant_columns
from hven.sources.kind_traits import list_mirrored_site_addresses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.resource import CollectionSpec
    from hven.model.table import Column, Schema, Table
    from hven.portal._explore.cell_text import ColumnHeading, TextCell
    from hven.portal._explore.collection_overviews import RowPicture
    from hven.portal._explore.page_queries import QueryRunner
    from hven.portal._views.citation import CitationDescription
    from hven.portal._views.dataset_metadata import ReleaseDescription
    from hven.portal._views.landing_pages import LinkedDocument
    from hven.portal._views.table_links import TableLinkMenu
    from hven.portal.panes import TablePane
    from hven.services.face import ServiceContext, UsageExample
    from hven.services.file_rows import CountWithNoun
    from hven.site import PublishedTable

MAX_STRIP_PICTURES, MIN_STRIP_PICTURES = 12, 4  # pictures of a strip; with fewer there is none
FIRST_ROWS = 5  # rows shown at once
MAX_EXAMPLES = 12  # example queries
MAX_FILE_PAGES, MAX_CHECKED_FILES = 3, 20  # files with a link to a page about them, among so many first files
log = logging.getLogger("hven.portal")


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDescription:
    """A column, its name as in a query, its type, and whether it can be plotted."""

    column: Column
    name: str
    type: str
    plotted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionPageTable:
    """A table of a collection.

    Attributes
    ----------
    name
        Its name as in a query.
    columns
        Its columns that are not hidden.
    address
        Address of its page.
    rows, lines, observed
        Number of rows; number of observations, None if they are not known; whether rows are files of observations.
    amounts
        What it has, by noun.
    updated
        When it was published.
    ways
        Examples of queries.
    forms
        Forms of its services.
    kinds
        Titles of the standards of its services.
    links
        Links that packages add, by kind.
    """

    name: str
    table: Table
    columns: Sequence[ColumnDescription]
    address: str
    rows: int | None
    lines: int | None
    observed: bool
    amounts: Sequence[CountWithNoun]
    updated: str
    ways: Sequence[UsageExample]
    forms: Sequence[PageLink]
    kinds: Sequence[str]
    links: Sequence[TableLinkMenu]


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionDescription:
    """A collection as pages show it.

    Attributes
    ----------
    resource
        Its description.
    mirror_of
        Addresses of the sites that it mirrors.
    rows, amounts
        Number of rows, None if no table is counted; what it has, by noun.
    updated
        When its last table was published; None without tables.
    kinds
        Titles of the standards of its services.
    """

    name: str
    resource: CollectionSpec
    mirror_of: Sequence[str]
    tables: Sequence[CollectionPageTable]
    rows: int | None
    amounts: Sequence[CountWithNoun]
    updated: str | None
    kinds: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePageList:
    """Pages of a service about files.

    Attributes
    ----------
    title
        What the pages show, in English.
    links
        Names and addresses of the pages.
    """

    title: str
    links: Sequence[Mapping[str, str]]


@dataclass(slots=True, kw_only=True)
class TableOverview:
    """The first rows of a table, and where and when its rows are.

    Attributes
    ----------
    headings, first
        Columns and cells of the first rows.
    alike
        Columns with the same value in all rows.
    values
        Values that packages compute (`TablePageExtension.compute_overview`), by the names of the packages.
    time
        First and last day.
    ranges
        Range of each column, as in `summarize_column_statistics`.
    file_pages
        Pages about some of the files that the table lists.
    """

    headings: Sequence[ColumnHeading] = ()
    first: Sequence[Sequence[TextCell | None]] = ()
    alike: ConstantColumnSummary = field(default_factory=ConstantColumnSummary)
    values: Mapping[str, object] = field(default_factory=dict)
    time: tuple[str, str] | None = None
    ranges: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    file_pages: Sequence[FilePageList] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionPage(TemplateContext):
    """The page of a collection.

    Attributes
    ----------
    collection
        The collection.
    overviews
        First rows and coverage of each table, by its name as in a query.
    strip
        Pictures of rows.
    time
        First and last day of all tables.
    changes
        The last publications.
    feeds
        Feeds with its changes.
    releases
        Its releases.
    timing
        How often it is synchronised; None if it is not.
    examples
        Examples of queries.
    help
        Its help pages.
    edit
        Whether the reader may edit its texts.
    panes
        All panes.
    citation
        Its citation.
    dataset
        Its description for search engines (schema.org).
    """

    template = "collection.html"
    collection: CollectionDescription
    overviews: Mapping[str, TableOverview]
    strip: Sequence[Mapping[str, object]]
    time: tuple[str, str] | None
    changes: Sequence[Mapping[str, object]]
    feeds: Sequence[LinkedDocument]
    releases: Sequence[ReleaseDescription]
    timing: str | None
    examples: Sequence[Mapping[str, object]]
    help: Sequence[PageLink]
    edit: bool
    panes: Sequence[TablePane]
    citation: CitationDescription
    dataset: Mapping[str, object]


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/collections/<name>`` and its JSON twin."""
    counts = VisibleRowCounter(context)

    async def compute_state(page_context: PageContext) -> object:
        name = _read_collection_name(page_context)
        stored_citation = await anyio.to_thread.run_sync(context.site.identifiers.find_doi_record, name)
        try:
            published_names = page_context.published_state.tables_by_name
            tables = page_context.find_collection().tables
            published_tables = [table for table in tables if table.qualified_name in published_names]
            help_state = find_help_state(page_context)
            # loaded now, so that the tag of the first answer is that of the next one
            has_overviews = await summarize_collections_in_time(page_context, [published_tables]) is not None
        except NotFoundError:
            if stored_citation is None and _find_table_of_undescribed_schema(page_context) is None:
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
            table = _find_table_of_undescribed_schema(page_context)
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
        page = await anyio.to_thread.run_sync(_build_collection_page, description, page_context)
        overviews = await summarize_collections_in_time(page_context, [tables])
        if overviews is not None:
            titled_pictures = [(description.resource.title or description.name, overviews[0].pictures)]
            page = replace(page, strip=list_picture_strip_entries(titled_pictures, page_context))
        json_content = {
            **collection_to_json(description, page_context),
            "time": page.time,
            "changes": page.changes,
            "examples": page.examples,
            "help": page.help,
            "bibtex": page.citation.bibtex,
            "releases": page.releases,
        }
        return PageContent(page=page, json_content=json_content)

    def build_headers(page_context: PageContext) -> Mapping[str, str]:
        try:
            citation_metadata = gather_citation_metadata(page_context, _read_collection_name(page_context))
        except NotFoundError:
            return {}
        return build_landing_page_headers(page_context, citation_metadata)

    page_endpoint = build_page_endpoint(
        show_collection,
        context,
        document_cache=services.DocumentCache(),
        compute_state=compute_state,
        build_headers=build_headers,
    )
    return [Route("/collections/{name}", wrap_with_document_negotiation(page_endpoint))]


def _find_table_of_undescribed_schema(page_context: PageContext) -> Table | None:
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


def _build_collection_page(description: CollectionDescription, page_context: PageContext) -> CollectionPage:
    """Build the page of a collection, without pictures: the content of its tables, and its history."""
    resource = description.resource
    runner = build_query_runner(page_context)
    overviews = {table.name: _build_table_overview(table.table, runner, page_context) for table in description.tables}
    times = [overview.time for overview in overviews.values() if overview.time]
    time_range = None
    if times:
        time_range = (min(begin for begin, _ in times), max(end for _, end in times))
    tables = [table.table for table in description.tables]
    table_names = {table.qualified_name for table in tables}
    timing = build_recurrence(resource)
    publications = list_table_publication_events(page_context, description.name, table_names)

    def is_own_release(item: PublishedTable) -> bool:
        return item.release is not None and item.release.collection == description.name

    releases = list_releases(page_context, is_own_release)
    citation = describe_citation(page_context, description.name)
    return CollectionPage(
        collection=description,
        overviews=overviews,
        strip=(),
        time=time_range,
        changes=publications,
        feeds=list_collection_feeds(f"{page_context.base}/collections/{quote(description.name)}"),
        releases=releases,
        timing=None if timing is None else str(timing),
        examples=page_context.describe_example_queries(description.name)[:MAX_EXAMPLES],
        help=list_collection_help_pages(resource, page_context),
        edit=can_edit_collection(page_context.principal, page_context.context, resource),
        panes=panes.list_panes(),
        citation=citation,
        dataset=build_schema_org_dataset(
            description.name,
            page_context,
            citation.metadata,
            tables=tables,
            updated=description.updated,
            time_range=time_range,
            mirror_addresses=description.mirror_of,
        ),
    )


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


def _build_table_overview(table: Table, runner: QueryRunner, page_context: PageContext) -> TableOverview:
    """Build the overview of a table, without counts over rows that the reader may not see."""
    item = runner.find_table_with_visible_counts(table)
    is_partial = has_hidden_rows(table, runner)
    is_live = isinstance(item.relation, LiveRelation)
    overview = TableOverview()
    try:
        if not is_partial:
            overview.ranges = summarize_column_statistics(item, table)
        overview.values = compute_overview_values(table, runner, page_context)
        if not is_live and (table.view is None) and item.relation is not None:
            overview.time = find_time_range(table, runner)
            search = TableSearch(table=table)
            observation_key = observation_lines.find_observation_column_roles(table, runner)
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
            overview.headings = [column_headings[number] for number in order]
            overview.first = [[row[number] for number in order] for row in cell_rows]
            overview.alike = describe_constant_columns(column_headings, cell_rows, constant_names)
            if table.utype == FILES_UTYPE:
                overview.file_pages = _list_file_pages(table, runner, page_context)
    except HvenError as error:  # a page without first rows is better than no page
        log.info("the page of %s is shown without its first rows: %s", table.qualified_name, error)
    return overview


def _list_file_pages(table: Table, runner: QueryRunner, page_context: PageContext) -> list[FilePageList]:
    """List pages about files, by service: of some of the first files that the reader sees."""
    kinds = [face.file_pages for face in page_context.context.faces.values() if face.file_pages is not None]
    if not kinds:
        return []
    search = TableSearch(table=table).copy_with(columns=("path",))
    rows = row_pages.fetch_page(search, runner, limit=MAX_CHECKED_FILES)
    paths = rows.rows.column("path").to_pylist()
    lists = []
    for kind in kinds:
        page_paths = kind.list_page_paths(page_context.context, table.schema, paths)
        links = [
            {"name": path.rpartition("/")[2], "url": f"{page_context.base}{page_path}"}
            for path, page_path in zip(paths, page_paths, strict=True)
            if page_path is not None
        ]
        if links:
            lists.append(FilePageList(title=kind.title, links=links[:MAX_FILE_PAGES]))
    return lists


def describe_collection(
    schema: Schema,
    page_context: PageContext,
    rows: Mapping[str, int | None],
    lines: Mapping[str, int | None] | None = None,
) -> CollectionDescription:
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
    amount_facts = []
    for table in schema.tables:
        name = table.qualified_name
        if name not in published:
            continue
        observations = (name in line_counts, line_counts.get(name))
        tables.append(_describe_table(published[name], table, page_context, rows[name], observations))
        amount_facts.append((table, rows[name], *observations))
    resource = page_context.published_state.resources[schema.name]
    known_row_counts = [table.rows for table in tables if table.rows is not None]
    total_rows = sum(known_row_counts) if known_row_counts else None
    newest_update = max((table.updated for table in tables), default=None)
    service_kinds = dict.fromkeys(kind for table in tables for kind in table.kinds)
    amounts = () if lines is None else sum_row_counts_by_noun(amount_facts)
    return CollectionDescription(
        name=schema.name,
        resource=resource,
        mirror_of=list_mirrored_site_addresses(resource),
        tables=tables,
        rows=total_rows,
        amounts=amounts,
        updated=newest_update,
        kinds=list(service_kinds),
    )


def collection_to_json(description: CollectionDescription, page_context: PageContext) -> dict[str, Any]:
    """Return the description of a collection as JSON."""
    resource = description.resource
    return {
        "name": description.name,
        "title": resource.title,
        "description": resource.description,
        "licence": resource.licence,
        "licence_url": resource.licence_url,
        "creators": [creator.name for creator in resource.creators],
        "citation": resource.citation,
        "doi": resource.doi,
        "bibcode": resource.bibcode,
        "mirror_of": list(description.mirror_of),
        "rows": description.rows,
        "updated": description.updated,
        "url": f"{page_context.base}/collections/{description.name}",
        "tables": [_table_to_json(table) for table in description.tables],
    }


def _table_to_json(description: CollectionPageTable) -> dict[str, Any]:
    columns = []
    for described_column in description.columns:
        column = described_column.column
        json_column = {
            "name": column.name,
            "type": described_column.type,
            "unit": column.unit,
            "ucd": column.ucd,
            "description": column.description,
        }
        columns.append(json_column)
    service_links = [{"title": usage_example.title, "url": usage_example.url} for usage_example in description.ways]
    package_links = {menu.kind.name: menu.links for menu in description.links}
    return {
        "name": description.name,
        "title": description.table.title,
        "description": description.table.description,
        "rows": description.rows,
        "updated": description.updated,
        "services": service_links,
        **{kind.name: package_links.get(kind.name, []) for kind in load_table_link_kinds()},
        "columns": columns,
    }


def _describe_table(
    published_table: PublishedTable,
    table: Table,
    page_context: PageContext,
    rows: int | None,
    observations: tuple[bool, int | None],
) -> CollectionPageTable:
    """Describe a table; `observations`: whether its rows are files of observations, and how many these are."""
    observed, lines = observations
    all_faces = page_context.context.faces.values()
    faces = [face for face in all_faces if face.applies(table) and table.is_served_by(face.name)]
    table_address = build_table_address(page_context.base, table)
    # standards first; every portal's services are the site's
    examples: list[UsageExample] = []
    for face in sorted(faces, key=lambda face: not face.standard_ids):
        examples += face.list_all_examples(published_table, page_context.brand.root)
    forms = [
        PageLink(title=face.title, url=f"{table_address}/services/{face.name}")
        for face in faces
        if face.is_table_service
    ]
    quoted_schema = adql.quote_adql_name(table.schema)
    quoted_name = adql.quote_adql_name(table.name)
    return CollectionPageTable(
        name=f"{quoted_schema}.{quoted_name}",
        table=table,
        columns=[_describe_column(column) for column in table.columns if not column.hidden],
        address=table_address,
        rows=rows,
        lines=lines,
        observed=observed,
        amounts=sum_row_counts_by_noun([(table, rows, observed, lines)]),
        updated=published_table.updated,
        ways=examples,
        forms=forms,
        kinds=[face.title for face in faces if face.standard_ids],
        links=list_table_link_menus(table, page_context),
    )


def _describe_column(column: Column) -> ColumnDescription:
    return ColumnDescription(
        column=column,
        name=adql.quote_adql_name(column.name),
        type=str(column.type),
        plotted=is_plottable(column),
    )
