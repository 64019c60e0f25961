"""Serve two further pages of a collection.

``/collections/NAME/columns`` is the data dictionary, ``/collections/NAME/downloads`` lists all ways to download it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio.to_thread
from starlette.routing import Route

from hven import formats, services
from hven.model.table import FILES_UTYPE
from hven.portal._views.collection import collection_to_json, describe_collection
from hven.portal._views.counts import VisibleRowCounter, find_row_noun
from hven.portal._views.dataset_metadata import list_column_ranges
from hven.portal._views.page_formats import PageContent, PageContext, build_page_endpoint
from hven.portal._views.table_view import build_query_runner
from hven.services import archives, scripts
from hven.services.file_rows import list_link_columns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from hven.services.face import ServiceContext

PART_TEMPLATES = {"columns": "columns.html", "downloads": "downloads.html"}


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the routes of both pages and of their JSON."""
    counts = VisibleRowCounter(context)

    def build_endpoint(part_name: str) -> Callable[[PageContext], Awaitable[PageContent]]:
        async def show_part(page_context: PageContext) -> PageContent:
            schema = page_context.find_collection()
            published_state = page_context.published_state
            published = [table for table in schema.tables if table.qualified_name in published_state.tables_by_name]
            row_counts = await counts.count_rows_of_tables(published_state, published, page_context.principal)
            description = describe_collection(schema, page_context, row_counts)
            if part_name == "columns":
                part_facts = await anyio.to_thread.run_sync(_gather_column_ranges, description, page_context)
                json_facts = collection_to_json(description, page_context)
            else:
                part_facts = await anyio.to_thread.run_sync(_gather_downloads, description, page_context)
                json_facts = part_facts
            json_content = {"name": description["name"], **json_facts}
            template_values = {"collection": description, **part_facts}
            return PageContent(
                template=PART_TEMPLATES[part_name],
                template_values=template_values,
                json_content=json_content,
            )

        return show_part

    columns, downloads = (
        build_page_endpoint(build_endpoint(part_name), context, document_cache=services.DocumentCache())
        for part_name in PART_TEMPLATES
    )
    return [
        Route("/collections/{name}/columns", columns),
        Route("/collections/{name}/downloads", downloads),
        *(
            Route(f"/collections/{{name}}/{part_name}.json", page)
            for part_name, page in zip(PART_TEMPLATES, (columns, downloads), strict=True)
        ),
    ]


def _gather_column_ranges(description: Mapping[str, Any], page_context: PageContext) -> dict[str, Any]:
    """Gather the value ranges of all columns; none for tables with rows that the reader may not see."""
    runner = build_query_runner(page_context)
    ranges_by_table: dict[str, Mapping[str, Any]] = {}
    for table in description["tables"]:
        item = runner.find_published_table(table["table"])
        if runner.has_hidden_rows(table["table"]):
            ranges_by_table[table["name"]] = {}
        else:
            ranges_by_table[table["name"]] = list_column_ranges(item, table["table"])
    return {"ranges": ranges_by_table}


def _gather_downloads(description: Mapping[str, Any], page_context: PageContext) -> dict[str, Any]:
    """List for each table its rows in every format, and its files as archives, scripts and lists."""
    tables = []
    runner = build_query_runner(page_context)
    for table in description["tables"]:
        table_address = table["address"]
        table_model = table["table"]
        format_links = []
        for name, label in formats.list_format_labels():
            query = urlencode({"_as": name, "_all": "1"})
            format_links.append({"name": label, "url": f"{table_address}/download?{query}"})
        if list_link_columns(table_model):
            kinds = (*archives.ARCHIVE_KINDS, *scripts.SCRIPT_FORMATS)
        else:
            kinds = ()
        files = [{"name": name, "url": f"{table_address}/script?{urlencode({'_as': name})}"} for name in kinds]
        tables.append(
            {
                "title": table_model.title or table["name"],
                "url": table_address,
                "rows": table["rows"],
                "noun": find_row_noun(table_model, runner),
                "formats": format_links,
                "scripts": files,
                "files": table_model.utype == FILES_UTYPE,
            }
        )
    collection_address = f"{page_context.base}/collections/{quote(description['name'])}"
    return {"tables": tables, "descriptor": f"{collection_address}/descriptor"}
