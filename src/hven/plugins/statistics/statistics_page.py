"""Serve ``/statistics/NAME``: the rows of a collection by year and by columns such as instrument, level and target.

Rows are counted once for each state of the tables.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio.to_thread
from starlette.routing import Route

from hven import services
from hven.engines import LiveRelation
from hven.model.errors import HvenError
from hven.plugins.statistics import coverage
from hven.plugins.statistics.data_validity import describe_quality_flags
from hven.plugins.statistics.sky_drawing import draw_moc_svg_path
from hven.plugins.statistics.table_summary import TableSummary, summarize_table
from hven.portal.api.column_values import has_hidden_rows, write_choice_condition
from hven.portal.api.page_rows import build_query_runner, build_table_address
from hven.portal.api.pages import PageContent, PageContext, PortalPages, TemplateContext, build_page_endpoint
from hven.portal.api.table_pages import TablePageExtension
from hven.portal.api.table_places import classify_table_map, list_base_maps
from hven.portal.api.table_rows import VisibleRowCounter, find_row_noun, sum_row_counts_by_noun
from hven.services.source_dates import find_source_date
from hven.site.auth import collect_row_filters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.resource import CollectionSpec
    from hven.model.table import Table
    from hven.plugins.statistics.coverage import BodyCoverageMap, TimeCoverageChart
    from hven.portal.api.table_rows import QueryRunner
    from hven.services.face import ServiceContext
    from hven.services.file_rows import CountWithNoun

MAX_PARALLEL_COLLECTIONS = 2  # collections that are counted at the same time
log = logging.getLogger("hven.portal")


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsPage(TemplateContext):
    """The page of the statistics of a collection.

    Attributes
    ----------
    collection
        Name of the collection.
    resource
        Its description.
    amounts
        What it has, by noun.
    updated
        When its last table was published; None without tables.
    tables
        The statistics of its tables, as in JSON.
    """

    template = "statistics/statistics.html"
    collection: str
    resource: CollectionSpec
    amounts: Sequence[CountWithNoun]
    updated: str | None
    tables: Sequence[Mapping[str, object]]


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/statistics/{name}`` and its JSON twin."""
    counts = VisibleRowCounter(context)
    count_limiter = anyio.CapacityLimiter(MAX_PARALLEL_COLLECTIONS)

    async def show_statistics(page_context: PageContext) -> PageContent:
        schema = page_context.find_collection()
        name = schema.name
        published_state = page_context.published_state
        tables = [table for table in schema.tables if table.qualified_name in published_state.tables_by_name]
        rows = await counts.count_rows_of_tables(published_state, tables, page_context.principal)

        def describe_tables() -> list[dict[str, Any]]:
            return [_describe_table(table, page_context, rows[table.qualified_name]) for table in tables]

        table_statistics = await anyio.to_thread.run_sync(describe_tables, limiter=count_limiter)
        line_counts = await counts.count_observations_of_tables(published_state, tables, page_context.principal)
        amount_facts = []
        for table in tables:
            table_name = table.qualified_name
            lines = line_counts.get(table_name)
            amount_facts.append((table, rows[table_name], table_name in line_counts, lines))
        updated = max((table_facts["updated"] for table_facts in table_statistics), default=None)
        page = StatisticsPage(
            collection=name,
            resource=page_context.published_state.resources[name],
            amounts=sum_row_counts_by_noun(amount_facts),
            updated=updated,
            tables=table_statistics,
        )
        json_content = {
            "collection": name,
            "rows": sum(table_facts["rows"] or 0 for table_facts in table_statistics),
            "updated": updated,
            "tables": table_statistics,
        }
        return PageContent(page=page, json_content=json_content)

    page_endpoint = build_page_endpoint(show_statistics, context, document_cache=services.DocumentCache())
    return [Route("/statistics/{name}", page_endpoint)]


def _describe_table(table: Table, page_context: PageContext, row_count: int | None) -> dict[str, Any]:
    item = page_context.published_state.tables_by_name[table.qualified_name]
    table_address = build_table_address(page_context.base, table)
    table_facts: dict[str, Any] = {
        "name": table.name,
        "title": table.title or table.name,
        "rows": row_count,
        "noun": find_row_noun(table, build_query_runner(page_context)),
        "updated": item.updated,
        "modified": _find_source_change_date(table, page_context),
        "url": table_address,
        "begin": None,
        "end": None,
        "periods": [],
        "by": [],
        "validity": describe_quality_flags(table, page_context),
    }
    if isinstance(item.relation, LiveRelation) or item.relation is None:
        return table_facts  # a live table, or a view of tables that are counted by themselves
    try:
        table_summary = summarize_table(table, build_query_runner(page_context), row_count)
    except HvenError as error:
        log.info("the statistics of %s cannot be computed: %s", table.qualified_name, error)
        return table_facts
    return table_facts | {
        "begin": table_summary.begin,
        "end": table_summary.end,
        **_summary_to_json(table_summary, table_address, page_context),
    }


def _find_source_change_date(table: Table, page_context: PageContext) -> str | None:
    """Return when the source of a table was last changed; None for readers from whom rows are hidden."""
    if collect_row_filters([table], page_context.principal, page_context.context.policies):
        return None
    published_table = page_context.published_state.tables_by_name[table.qualified_name]
    return find_source_date(page_context.context.site, published_table)


def _summary_to_json(table_summary: TableSummary, table_address: str, page_context: PageContext) -> dict[str, Any]:
    labels = page_context.build_column_labels(table_summary.table)
    time_name = ""
    if table_summary.time_column is not None:
        time_name = table_summary.time_column.name
    periods = []
    for period in table_summary.periods:
        period_address = f"{table_address}?{urlencode({time_name: period.name})}"
        periods.append({"name": period.name, "rows": period.row_count, "url": period_address})
    facet_entries = []
    for facet in table_summary.choices:
        values = []
        for choice in facet.choices:
            condition = urlencode({facet.column.name: write_choice_condition([choice.value])})
            value_facts = {
                "name": labels.translate_code(facet.column, choice.label),
                "empty": choice.value is None,
                "rows": choice.row_count,
                "url": f"{table_address}?{condition}",
            }
            values.append(value_facts)
        facet_facts = {
            "column": facet.column.name,
            "label": labels.label_column(facet.column),
            "exact": facet.is_exact,
            "more": facet.has_more,
            "values": values,
        }
        facet_entries.append(facet_facts)
    return {"periods": periods, "by": facet_entries}


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageDrawings:
    """Where and when the rows of a table are.

    Attributes
    ----------
    sky
        Path of the rows on the sky; empty for none.
    ground, picture
        Rows on a body, and its map.
    line
        Rows in time.
    """

    sky: str = ""
    ground: BodyCoverageMap | None = None
    picture: Mapping[str, str] | None = None
    line: TimeCoverageChart | None = None


def draw_coverages(table: Table, runner: QueryRunner, page_context: PageContext) -> CoverageDrawings:
    """Draw where and when the rows of a table are, without those that the reader may not see."""
    item = runner.find_table_with_visible_counts(table)
    sky = ""
    if item.coverage and not has_hidden_rows(table, runner) and classify_table_map(table) == "sky":
        sky = draw_moc_svg_path(item.coverage)
    if table.view is not None or item.relation is None or isinstance(item.relation, LiveRelation):
        return CoverageDrawings(sky=sky)
    try:
        ground = coverage.draw_ground_coverage(table, runner)
        line = coverage.draw_time_coverage(table, runner)
    except HvenError as error:
        log.info("the page of the collection is shown without the coverage of %s: %s", table.qualified_name, error)
        return CoverageDrawings(sky=sky)
    base_maps = list_base_maps(ground.body if ground else "", page_context.context.site.settings.directory)
    return CoverageDrawings(sky=sky, ground=ground, picture=base_maps[0] if base_maps else None, line=line)


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"collection.links": "statistics_link.html", "collection.coverage": "coverage.html"},
)
TABLE_PAGES = TablePageExtension(compute_overview=draw_coverages)
