"""Serve two further pages of a collection.

``/collections/NAME/columns`` is the data dictionary, ``/collections/NAME/downloads`` lists all ways to download it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio.to_thread
from starlette.routing import Route

from hven import formats, services
from hven.model import plugins
from hven.model.table import FILES_UTYPE
from hven.portal._pages import TemplateContext
from hven.portal._views.collection import collection_to_json, describe_collection
from hven.portal._views.counts import VisibleRowCounter, find_row_noun
from hven.portal._views.dataset_metadata import summarize_column_statistics
from hven.portal._views.page_formats import PageContent, PageContext, build_page_endpoint
from hven.portal._views.table_view import build_query_runner
from hven.services import scripts
from hven.services.file_archives import load_file_archivers
from hven.services.file_rows import list_link_columns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from hven.portal._views.collection import CollectionDescription
    from hven.services.face import ServiceContext

DESCRIPTOR_SERVICE = "descriptors"  # gives the public part of a collection as a descriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnsPage(TemplateContext):
    """The data dictionary of a collection.

    Attributes
    ----------
    collection
        The collection.
    ranges
        Ranges of the columns of each table, as in `summarize_column_statistics`, by its name as in a query.
    """

    template = "columns.html"
    collection: CollectionDescription
    ranges: Mapping[str, Mapping[str, Mapping[str, object]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadsPage(TemplateContext):
    """The page of all downloads of a collection.

    Attributes
    ----------
    collection
        The collection.
    tables
        The downloads of its tables, as in JSON.
    """

    template = "downloads.html"
    collection: CollectionDescription
    tables: Sequence[Mapping[str, object]]


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the routes of both pages and of their JSON."""
    counts = VisibleRowCounter(context)

    def build_part(
        build_content: Callable[[CollectionDescription, PageContext], PageContent],
    ) -> Callable[[PageContext], Awaitable[PageContent]]:
        async def show_part(page_context: PageContext) -> PageContent:
            schema = page_context.find_collection()
            published_state = page_context.published_state
            published = [table for table in schema.tables if table.qualified_name in published_state.tables_by_name]
            row_counts = await counts.count_rows_of_tables(published_state, published, page_context.principal)
            description = describe_collection(schema, page_context, row_counts)
            return await anyio.to_thread.run_sync(build_content, description, page_context)

        return show_part

    columns, downloads = (
        build_page_endpoint(build_part(build_content), context, document_cache=services.DocumentCache())
        for build_content in (_build_columns_page, _build_downloads_page)
    )
    routes = [Route("/collections/{name}/columns", columns), Route("/collections/{name}/downloads", downloads)]
    return [*routes, *(Route(f"{route.path}.json", route.endpoint) for route in routes)]


def _build_columns_page(description: CollectionDescription, page_context: PageContext) -> PageContent:
    """Build the data dictionary; tables with rows that the reader may not see have no ranges."""
    runner = build_query_runner(page_context)
    ranges_by_table: dict[str, Mapping[str, Mapping[str, object]]] = {}
    for table in description.tables:
        item = runner.find_table_with_visible_counts(table.table)
        if runner.has_hidden_rows(table.table):
            ranges_by_table[table.name] = {}
        else:
            ranges_by_table[table.name] = summarize_column_statistics(item, table.table)
    page = ColumnsPage(collection=description, ranges=ranges_by_table)
    return PageContent(page=page, json_content=collection_to_json(description, page_context))


def _build_downloads_page(description: CollectionDescription, page_context: PageContext) -> PageContent:
    """List for each table its rows in every format, and its files as archives, scripts and lists."""
    tables = []
    runner = build_query_runner(page_context)
    for table in description.tables:
        table_address = table.address
        table_model = table.table
        format_links = []
        for name, label in formats.list_format_labels():
            query = urlencode({"_as": name, "_all": "1"})
            format_links.append({"name": label, "url": f"{table_address}/download?{query}"})
        if list_link_columns(table_model):
            kinds = (*load_file_archivers(), *scripts.SCRIPT_FORMATS)
        else:
            kinds = ()
        table_downloads = {
            "title": table_model.title or table.name,
            "url": table_address,
            "rows": table.rows,
            "noun": find_row_noun(table_model, runner),
            "formats": format_links,
            "scripts": [{"name": name, "url": f"{table_address}/script?{urlencode({'_as': name})}"} for name in kinds],
            "files": table_model.utype == FILES_UTYPE,
        }
        tables.append(table_downloads)
    content: dict[str, Any] = {"name": description.name, "tables": tables}
    if DESCRIPTOR_SERVICE in plugins.list_plugins("protocols"):
        content["descriptor"] = f"{page_context.base}/collections/{quote(description.name)}/descriptor"
    return PageContent(
        page=DownloadsPage(collection=description, tables=tables),
        json_content=content,
    )
