"""Serve ``/progress/NAME``: the stages, the sky and the calendar of the tables of a collection that have the key."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio.to_thread
from starlette.routing import Route

from hven.model.errors import HvenError, NotFoundError
from hven.plugins.progress.progress_drawings import (
    build_calendar_months,
    draw_bar_path,
    draw_sky_path,
    list_calendar_years,
)
from hven.plugins.progress.progress_keys import find_progress_rules, list_stages
from hven.plugins.progress.stage_counts import count_days, count_stages, count_stages_by_value, find_stage_places
from hven.portal.api.column_values import write_choice_condition
from hven.portal.api.page_rows import build_query_runner, build_table_address
from hven.portal.api.pages import (
    PageContent,
    PageContext,
    PortalPages,
    TemplateContext,
    build_page_endpoint,
    read_whole_number_parameter,
)
from hven.portal.api.table_pages import TablePageExtension
from hven.portal.api.table_places import classify_table_map

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.resource import CollectionSpec
    from hven.model.table import Table
    from hven.plugins.progress.progress_keys import ProgressRules
    from hven.plugins.progress.stage_counts import StageGroup
    from hven.portal.api.table_rows import QueryRunner
    from hven.services.face import ServiceContext

YEAR_PARAMETER = "year"
LAST_YEAR = 9999
MAX_SHOWN_GROUPS = 100  # values of a column
MAX_PARALLEL_COLLECTIONS = 2  # collections that are counted at the same time
log = logging.getLogger("hven.portal")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressPage(TemplateContext):
    """The page of the progress of a collection.

    Attributes
    ----------
    collection
        Name of the collection.
    resource
        Its description.
    tables
        The progress of its tables, as in JSON, and their drawings.
    """

    template = "progress/progress.html"
    collection: str
    resource: CollectionSpec
    tables: Sequence[Mapping[str, object]]


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/progress/{name}`` and its JSON twin."""
    count_limiter = anyio.CapacityLimiter(MAX_PARALLEL_COLLECTIONS)

    async def show_progress(page_context: PageContext) -> PageContent:
        schema = page_context.find_collection()
        year = read_whole_number_parameter(page_context, YEAR_PARAMETER, 0, LAST_YEAR)
        tables = _list_progress_tables(schema.tables, page_context)
        if not tables:
            message = f"the collection {schema.name!r} has no table with the key `progress`"
            raise NotFoundError(message, remedy="see the tables on the page of the collection")

        def describe_tables() -> list[dict[str, Any]]:
            return [_describe_table(table, rules, year, page_context) for table, rules in tables]

        described_tables = await anyio.to_thread.run_sync(describe_tables, limiter=count_limiter)
        page = ProgressPage(
            collection=schema.name,
            resource=page_context.published_state.resources[schema.name],
            tables=described_tables,
        )
        json_tables = [_remove_drawings(described_table) for described_table in described_tables]
        return PageContent(page=page, json_content={"collection": schema.name, "tables": json_tables})

    return [Route("/progress/{name}", build_page_endpoint(show_progress, context))]


def _list_progress_tables(tables: Sequence[Table], page_context: PageContext) -> list[tuple[Table, ProgressRules]]:
    """List the published tables that have the key, with what it says."""
    progress_tables = []
    for table in tables:
        rules = find_progress_rules(table)
        if rules is not None and table.qualified_name in page_context.published_state.tables_by_name:
            progress_tables.append((table, rules))
    return progress_tables


def _describe_table(table: Table, rules: ProgressRules, year: int, page_context: PageContext) -> dict[str, Any]:
    """Describe the progress of a table; `fault` says why there are no counts."""
    table_address = build_table_address(page_context.base, table)
    table_facts: dict[str, Any] = {
        "name": table.name,
        "title": table.title or table.name,
        "url": table_address,
        "rows": None,
        "stages": [],
        "by": [],
        "sky": None,
        "calendar": None,
        "fault": "",
    }
    runner = build_query_runner(page_context)
    faults = []
    try:
        if rules.column:
            table_facts |= _describe_stages(table, rules, table_address, runner, page_context)
    except HvenError as error:
        faults.append(_report_fault(table, "stages", error))
    try:  # it needs other columns, so that it may succeed where the stages fail
        if rules.calendar:
            table_facts["calendar"] = _describe_calendar(table, rules, year, table_address, runner)
    except HvenError as error:
        faults.append(_report_fault(table, "days", error))
    table_facts["fault"] = "; ".join(dict.fromkeys(faults))
    return table_facts


def _report_fault(table: Table, part: str, error: HvenError) -> str:
    log.info("the %s of %s cannot be counted: %s", part, table.qualified_name, error)
    return str(error)


def _describe_stages(
    table: Table, rules: ProgressRules, table_address: str, runner: QueryRunner, page_context: PageContext
) -> dict[str, Any]:
    stages = list_stages(table, rules)
    labels = page_context.build_column_labels(table)
    column = table.find_column(rules.column)
    total = count_stages(table, rules.column, stages, runner)
    stage_conditions = [{rules.column: write_choice_condition([stage])} for stage in stages]
    stage_facts = []
    for number, stage in enumerate(stages):
        one_stage = {
            "name": stage,
            "title": labels.translate_code(column, stage),
            "rows": total.counts[number],
            "share": round(100 * total.counts[number] / (total.row_count or 1), 1),
            "url": f"{table_address}?{urlencode(stage_conditions[number])}",
            "path": draw_bar_path(total.counts, number, total.row_count),
        }
        stage_facts.append(one_stage)
    facets = []
    for name in rules.by:
        groups, is_complete = count_stages_by_value(table, rules.column, stages, name, runner)
        group_column = table.find_column(name)
        values = []
        for group in groups[:MAX_SHOWN_GROUPS]:
            title = labels.translate_code(group_column, group.value or "")
            values.append(_describe_group(group, name, title, stage_conditions, table_address))
        facet = {
            "column": name,
            "label": labels.label_column(group_column),
            "values": values,
            "complete": is_complete and len(groups) <= MAX_SHOWN_GROUPS,
        }
        facets.append(facet)
    sky = None
    if classify_table_map(table) == "sky":
        places = find_stage_places(table, rules.column, stages, runner)
        if places is not None:
            sky = {"paths": [draw_sky_path(stage_places) for stage_places in places]}
    return {
        "rows": total.row_count,
        "other": total.other_count,
        "label": labels.label_column(column),
        "stages": stage_facts,
        "by": facets,
        "sky": sky,
    }


def _describe_group(
    group: StageGroup, name: str, title: str, stage_conditions: Sequence[Mapping[str, str]], table_address: str
) -> dict[str, Any]:
    group_condition = {name: write_choice_condition([group.value])}
    cells = []
    for number, stage_condition in enumerate(stage_conditions):
        conditions = {**group_condition, **stage_condition}
        cell = {
            "rows": group.counts[number],
            "url": f"{table_address}?{urlencode(conditions)}",
            "path": draw_bar_path(group.counts, number, group.row_count),
        }
        cells.append(cell)
    return {
        "name": group.value,
        "title": title,
        "rows": group.row_count,
        "other": group.other_count,
        "url": f"{table_address}?{urlencode(group_condition)}",
        "stages": cells,
    }


def _describe_calendar(
    table: Table, rules: ProgressRules, year: int, table_address: str, runner: QueryRunner
) -> dict[str, Any]:
    """Describe the calendar of one year: the year of the address, or the last one that has rows."""
    day_counts = count_days(table, rules.calendar, runner)
    years = list_calendar_years(day_counts)
    shown_year = year or (years[-1] if years else 0)
    months = []
    if shown_year:
        months = build_calendar_months(shown_year, day_counts)
    days = {day.name: day.row_count for month in months for day in month if day is not None and day.row_count}
    return {
        "column": rules.calendar,
        "year": shown_year or None,
        "years": years,
        "rows": sum(days.values()),
        "days": days,
        "months": months,
        "url": f"{table_address}?{quote(rules.calendar)}=",
    }


def _remove_drawings(table_facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the progress of a table as JSON has it: without drawings."""
    json_facts = {key: value for key, value in table_facts.items() if key not in {"sky", "label"}}
    json_facts["stages"] = [_remove_path(stage) for stage in table_facts["stages"]]
    json_facts["by"] = []
    for facet in table_facts["by"]:
        values = [{**value, "stages": [_remove_path(cell) for cell in value["stages"]]} for value in facet["values"]]
        json_facts["by"].append({**facet, "values": values})
    if table_facts["calendar"] is not None:
        json_facts["calendar"] = {key: value for key, value in table_facts["calendar"].items() if key != "months"}
    return json_facts


def _remove_path(stage: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in stage.items() if key != "path"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressSummary:
    """The progress of a table in the page of its collection.

    Attributes
    ----------
    url
        Address of the page of the progress.
    stages
        Stages, with their ``name``, ``rows`` and ``path``; empty if they cannot be counted.
    """

    url: str
    stages: Sequence[Mapping[str, Any]] = ()


def summarize_progress(table: Table, runner: QueryRunner, page_context: PageContext) -> ProgressSummary | None:
    """Count the stages of a table for the page of its collection; None if the table does not have the key."""
    rules = find_progress_rules(table)
    if rules is None:
        return None
    url = f"{page_context.base}/progress/{quote(table.schema)}#{quote(table.name)}"
    if not rules.column:
        return ProgressSummary(url=url)
    stages = list_stages(table, rules)
    try:
        total = count_stages(table, rules.column, stages, runner)
    except HvenError as error:
        log.info("the page of the collection is shown without the progress of %s: %s", table.qualified_name, error)
        return ProgressSummary(url=url)
    labels = page_context.build_column_labels(table)
    stage_facts = []
    for number, stage in enumerate(stages):
        title = labels.translate_code(table.find_column(rules.column), stage)
        path = draw_bar_path(total.counts, number, total.row_count)
        stage_facts.append({"title": title, "rows": total.counts[number], "path": path})
    return ProgressSummary(url=url, stages=stage_facts)


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"collection.coverage": "progress_summary.html"},
)
TABLE_PAGES = TablePageExtension(compute_overview=summarize_progress)
