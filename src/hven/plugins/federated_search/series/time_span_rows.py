"""Serve ``/meanwhile``: the rows of other tables in a span of time, for the pages of time series.

The answer has the number of rows of each table and when they begin.

``_from`` and ``_to`` are times in UTC; ``_but`` names a table that is left out. ``_elsewhere`` queries one table of a
remote service of the site file instead, so that a slow service delays no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio.to_thread
import numpy as np
from starlette.routing import Route

from hven.model.errors import HvenError, NotFoundError, ParamError, format_message
from hven.model.table import find_begin_and_end_time_columns
from hven.plugins.federated_search.coincident_rows import (
    MAX_TABLES,
    CoincidentTable,
    TimeAndPlace,
    count_coincident_rows,
    list_coincident_tables,
)
from hven.plugins.federated_search.global_search import (
    SEARCH_TIMEOUT_SECONDS,
    SearchableTable,
    TableQueryOutcome,
    list_searchable_tables,
    query_searchable_table,
    query_searchable_tables,
)
from hven.plugins.series.time_texts import format_instant, parse_time_as_microseconds
from hven.portal.api.page_rows import (
    build_histogram,
    build_json_endpoint,
    build_query_runner,
    build_table_address,
    list_collection_titles,
    parse_search,
)
from hven.portal.api.pages import PageContent, PageContext

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Table
    from hven.services.face import ServiceContext

LOCAL_TIMEOUT_SECONDS = 2.0  # for the tables of this site
BIN_COUNT = 120
UNIX_EPOCH_JULIAN_DATE, DAY_SECONDS = 2_440_587.5, 86_400.0  # Julian date of 1970-01-01; seconds of a day
GEOMETRY_UTYPE = "tfcat:geometry"  # of columns with shapes in time and frequency
TFCAT_COLUMNS = {"time_min", "time_max", "spectral_range_min", "spectral_range_max"}
TIME_PARAMETERS = {"epn": "time", "obscore": "t"}  # conditions for remote tables
# the begin columns of remote tables, and 1970-01-01 in them
BEGIN_COLUMNS = {
    "epn": ("time_min", UNIX_EPOCH_JULIAN_DATE),
    "obscore": ("t_min", UNIX_EPOCH_JULIAN_DATE - 2_400_000.5),
}
MAX_DRAWN_ROWS = 2000  # rows of a remote table whose begins are fetched


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/meanwhile``."""

    async def answer_meanwhile(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_answer_rows_in_time_span, page_context)

    return [Route("/meanwhile", build_json_endpoint(answer_meanwhile, context))]


def _answer_rows_in_time_span(page_context: PageContext) -> PageContent:
    query_params = page_context.request.query_params
    instant = _parse_time_parameter(query_params.get("_from", ""), "_from")
    span = instant, _parse_time_parameter(query_params.get("_to", ""), "_to")
    runner = build_query_runner(page_context)
    if "_elsewhere" in query_params:
        remote_line = _describe_remote_table_line(query_params["_elsewhere"], span, page_context)
        return PageContent(json_content={"lines": [remote_line]})
    bars_by_table: dict[str, dict[str, Any]] = {}

    def count_bars(related_table: CoincidentTable, target_result: TableQueryOutcome) -> None:
        bars_by_table[target_result.target.key] = _count_begin_times(
            target_result, related_table.conditions, page_context
        )

    tables_by_name = page_context.published_state.tables_by_name
    excluded_name = query_params.get("_but")
    tables = []
    for table in page_context.catalogue.iterate_tables():
        is_current = table.qualified_name in tables_by_name and table.release is None
        if is_current and table.qualified_name != excluded_name:
            tables.append(table)
    begin = parse_time_as_microseconds(span[0])
    end = parse_time_as_microseconds(span[1])
    time_and_place = TimeAndPlace(begin=begin, end=end)
    related_tables = list_coincident_tables(
        time_and_place, tables, runner, titles=list_collection_titles(page_context), include_places=False
    )
    related_results = count_coincident_rows(
        related_tables,
        runner,
        timeout_seconds=LOCAL_TIMEOUT_SECONDS,
        wait_seconds=LOCAL_TIMEOUT_SECONDS + 0.5,
        on_result=count_bars,
    )
    lines = []
    for related_table, target_result in related_results:
        if target_result.status != "ok" or target_result.row_count:
            bars = bars_by_table.get(target_result.target.key) or {}
            lines.append(_describe_table_line(target_result, page_context, related_table.conditions, bars))
    left_out_count = max(len(related_tables) - MAX_TABLES, 0)
    meanwhile_facts = {"lines": lines, "asked": len(related_results), "left_out": left_out_count}
    return PageContent(json_content=meanwhile_facts)


def list_remote_table_keys(page_context: PageContext) -> list[str]:
    """List the keys of the remote tables that a reader can query, as in ``_elsewhere``."""
    return [target.key for target, _ in _list_remote_tables(page_context)]


def _list_remote_tables(page_context: PageContext) -> list[tuple[SearchableTable, str]]:
    """List the remote tables, with their kinds."""
    remote_targets: list[tuple[SearchableTable, str]] = []
    for kind in TIME_PARAMETERS:
        targets = list_searchable_tables(kind, build_query_runner(page_context), ())
        remote_targets += [(target, kind) for target in targets if target.service is not None]
    return remote_targets[:MAX_TABLES]


def _describe_remote_table_line(key: str, time_span: tuple[str, str], page_context: PageContext) -> dict[str, Any]:
    """Count the rows of one remote table, and fetch the begins of the first ones."""
    runner = build_query_runner(page_context)
    remote_targets = {target.key: (target, kind) for target, kind in _list_remote_tables(page_context)}
    if key not in remote_targets:
        message = format_message("hven.toml does not list a service {name!r:.80}", key)
        raise NotFoundError(message, remedy=" or ".join(remote_targets)[:300])
    target, kind = remote_targets[key]
    seconds = SEARCH_TIMEOUT_SECONDS
    if target.service:
        seconds = min(target.service.seconds, seconds)
    name, origin = BEGIN_COLUMNS[kind]

    def query_one(target: SearchableTable) -> TableQueryOutcome:
        pairs = [(TIME_PARAMETERS[kind], "..".join(time_span))]
        return query_searchable_table(
            target, pairs, kind, runner, row_limit=MAX_DRAWN_ROWS, columns=(name,), timeout_seconds=seconds
        )

    (target_result,) = query_searchable_tables([target], query_one, timeout_seconds=seconds + 0.5)
    if target_result.first_rows is None:
        begins = np.empty(0)
    else:
        begins = (np.asarray(target_result.first_rows.column(0), np.float64) - origin) * DAY_SECONDS
    begins = begins[np.isfinite(begins)]
    if not begins.size:
        return _describe_table_line(target_result, page_context, None, {})
    low = float(begins.min())
    high = float(begins.max()) or 1.0
    counts, _ = np.histogram(begins, BIN_COUNT, (low, max(high, low + 1)))
    bars = {"low": low, "high": max(high, low + 1), "counts": counts.tolist(), "drawn": int(begins.size)}
    return _describe_table_line(target_result, page_context, None, bars)


def _parse_time_parameter(text: str, name: str) -> str:
    try:
        return format_instant(parse_time_as_microseconds(text))
    except ValueError:
        message = format_message("{name}={text!r:.60} is not a time", name, text)
        raise ParamError(message, name=name, remedy="write a time such as 2003-10-28T11:00") from None


def _has_time_frequency_shape(table: Table) -> bool:
    """Return whether rows have a shape in time and frequency for TFCat, of their own or from EPN-TAP's ranges."""
    names = {column.name for column in table.columns}
    return any(column.utype == GEOMETRY_UTYPE for column in table.columns) or names >= TFCAT_COLUMNS


def _count_begin_times(
    target_result: TableQueryOutcome, conditions: Sequence[tuple[str, str]], page_context: PageContext
) -> dict[str, Any]:
    """Count the begins of rows in bins, in seconds since 1970."""
    table = target_result.target.table
    if table is not None:
        begin = find_begin_and_end_time_columns(table)[0]
    else:
        begin = None
    if table is None or begin is None:
        return {}
    try:
        search = parse_search(conditions, table)
        begin_histogram = build_histogram(search, begin, build_query_runner(page_context), bin_count=BIN_COUNT)
    except HvenError:  # the page still shows the number of rows
        return {}
    if begin_histogram is None:
        return {}
    # days since another epoch, such as MJD
    if begin.type.is_timestamp:
        origin = 0.0
    else:
        origin = begin.epoch or 0.0
    low = begin_histogram.low + origin
    high = begin_histogram.high + origin
    counts = begin_histogram.counts
    if not any(counts[1:]):  # all begins are equal: the bar gets the width of one second
        high = low + 1 / DAY_SECONDS
        counts = (sum(counts),)
    return {
        "low": (low - UNIX_EPOCH_JULIAN_DATE) * DAY_SECONDS,
        "high": (high - UNIX_EPOCH_JULIAN_DATE) * DAY_SECONDS,
        "counts": counts,
    }


def _describe_table_line(
    target_result: TableQueryOutcome,
    page_context: PageContext,
    conditions: Sequence[tuple[str, str]] | None,
    bars: dict[str, Any],
) -> dict[str, Any]:
    target: SearchableTable = target_result.target
    table_address = ""
    rows_address = ""
    features_address = ""
    if target.table is not None and conditions:
        table_address = build_table_address(page_context.base, target.table)
        rows_address = f"{table_address}?{urlencode(conditions)}"
        if _has_time_frequency_shape(target.table):
            download_query = urlencode([*conditions, ("_as", "tfcat"), ("_all", "1")])
            features_address = f"{table_address}/download?{download_query}"
    return {
        "key": target.key,
        "title": target.title,
        "service": target.service.url if target.service is not None else "",
        "status": target_result.status,
        "rows": target_result.row_count,
        "message": page_context.translator(target_result.message),
        "url": rows_address,
        "features": features_address,
        **bars,
    }
