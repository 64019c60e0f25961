"""``/meanwhile``: what else there is of a span of time, of each table how many rows and when they begin.

What pages of time series show below their axis.

``_from`` and ``_to`` are times in UTC; ``_but`` names a table that is left out; ``_elsewhere`` asks a table of the
services that the site file names instead: each by itself, so that nobody waits for a slow one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio.to_thread
import numpy as np
from starlette.routing import Route

from hven.model.errors import HvenError, NotFoundError, ParamError, format_message
from hven.model.sky import region_files
from hven.model.table import find_begin_and_end_columns
from hven.portal._explore import concurrent_rows, global_search, parse_search, plots
from hven.portal._views.page_addresses import build_table_address
from hven.portal._views.page_formats import PageContent, PageContext, build_json_endpoint
from hven.portal._views.table_view import build_runner
from hven.services.series import format_instant, parse_microseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Table
    from hven.portal._explore.global_search import SearchTarget, TargetResult
    from hven.portal._explore.page_queries import QueryRunner
    from hven.services.face import ServiceContext

tfcat = region_files.tfcat
LOCAL_TIMEOUT_SECONDS = 2.0  # seconds for the tables of this site
BIN_COUNT = 120
UNIX_EPOCH_JULIAN_DATE, DAY_SECONDS = 2_440_587.5, 86_400.0  # Julian date of 1970-01-01; seconds
TFCAT_COLUMNS = {"time_min", "time_max", "spectral_range_min", "spectral_range_max"}
TIME_PARAMETERS = {"epn": "time", "obscore": "t"}  # what is asked of tables elsewhere
BEGIN_COLUMNS = {
    "epn": ("time_min", UNIX_EPOCH_JULIAN_DATE),
    "obscore": ("t_min", UNIX_EPOCH_JULIAN_DATE - 2_400_000.5),
}  # when their rows begin, and 1970 there
MAX_DRAWN_ROWS = 2000  # rows elsewhere whose begins are asked for


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Return the one address."""

    async def answer_meanwhile(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_answer_meanwhile, page_context)

    return [Route("/meanwhile", build_json_endpoint(answer_meanwhile, context))]


def _answer_meanwhile(page_context: PageContext) -> PageContent:
    query_params = page_context.request.query_params
    instant = _parse_instant(query_params.get("_from", ""), "_from")
    span = instant, _parse_instant(query_params.get("_to", ""), "_to")
    runner = build_runner(page_context)
    if "_elsewhere" in query_params:
        template_values = {"lines": [_count_remote_rows(query_params["_elsewhere"], span, page_context)]}
        return PageContent(template="", template_values=template_values)
    bars_by_table: dict[str, dict[str, Any]] = {}

    def count_bars(related_table: concurrent_rows.RelatedTable, target_result: TargetResult) -> None:
        bars_by_table[target_result.target.key] = _count_begin_times(target_result, related_table.conditions, runner)

    tables = [
        table
        for table in page_context.catalogue.iterate_tables()
        if table.qualified_name != query_params.get("_but")
        and table.qualified_name in page_context.published_state.tables_by_name
        and table.release is None
    ]
    begin = parse_microseconds(span[0])
    end = parse_microseconds(span[1])
    time_and_place = concurrent_rows.TimeAndPlace(begin=begin, end=end)
    related_tables = concurrent_rows.list_related_tables(
        time_and_place, tables, runner, titles=list_collection_titles(page_context), include_places=False
    )
    related_results = concurrent_rows.count_related_rows(
        related_tables,
        runner,
        timeout_seconds=LOCAL_TIMEOUT_SECONDS,
        wait_seconds=LOCAL_TIMEOUT_SECONDS + 0.5,
        on_result=count_bars,
    )
    lines = [
        _describe_line(target_result, page_context, other.conditions, bars_by_table.get(target_result.target.key) or {})
        for other, target_result in related_results
        if target_result.status != "ok" or target_result.row_count
    ]
    return PageContent(
        template="",
        template_values={
            "lines": lines,
            "asked": len(related_results),
            "left_out": max(len(related_tables) - concurrent_rows.MAX_TABLES, 0),
        },
    )


def list_collection_titles(page_context: PageContext) -> dict[str, str | None]:
    """Return the titles of the collections that there are."""
    return {name: resource.title for name, resource in page_context.published_state.resources.items()}


def list_remote_targets(runner: QueryRunner) -> list[tuple[SearchTarget, str]]:
    """List the tables elsewhere that can be asked, with their kinds."""
    targets = ((target, kind) for kind in TIME_PARAMETERS for target in global_search.list_targets(kind, runner, ()))
    return [(target, kind) for target, kind in targets if target.service is not None][: concurrent_rows.MAX_TABLES]


def _count_remote_rows(key: str, time_span: tuple[str, str], page_context: PageContext) -> dict[str, Any]:
    """Ask one table elsewhere how many rows it has, and when the first of them begin."""
    runner = build_runner(page_context)
    remote_targets = {target.key: (target, kind) for target, kind in list_remote_targets(runner)}
    if key not in remote_targets:
        raise NotFoundError(
            format_message("the site file names no service {name!r:.80}", key), remedy=" or ".join(remote_targets)[:300]
        )
    target, kind = remote_targets[key]
    seconds = min(
        target.service.seconds if target.service else global_search.SEARCH_TIMEOUT_SECONDS,
        global_search.SEARCH_TIMEOUT_SECONDS,
    )
    name, origin = BEGIN_COLUMNS[kind]

    def query_one(target: SearchTarget) -> TargetResult:
        pairs = [(TIME_PARAMETERS[kind], "..".join(time_span))]
        return global_search.query_target(
            target, pairs, kind, runner, row_limit=MAX_DRAWN_ROWS, columns=(name,), timeout_seconds=seconds
        )

    (target_result,) = global_search.query_targets([target], query_one, timeout_seconds=seconds + 0.5)
    if target_result.first_rows is None:
        begins = np.empty(0)
    else:
        begins = (np.asarray(target_result.first_rows.column(0), np.float64) - origin) * DAY_SECONDS
    begins = begins[np.isfinite(begins)]
    if not begins.size:
        return _describe_line(target_result, page_context, None, {})
    low = float(begins.min())
    high = float(begins.max()) or 1.0
    counts, _ = np.histogram(begins, BIN_COUNT, (low, max(high, low + 1)))
    bars = {"low": low, "high": max(high, low + 1), "counts": counts.tolist(), "drawn": int(begins.size)}
    return _describe_line(target_result, page_context, None, bars)


def _parse_instant(text: str, name: str) -> str:
    try:
        return format_instant(parse_microseconds(text))
    except ValueError:
        raise ParamError(
            format_message("{name}={text!r:.60} is no time", name, text), name=name, remedy="2003-10-28T11:00"
        ) from None


def _has_time_frequency_place(table: Table) -> bool:
    """Check whether rows have a place in time and frequency, that TFCat can say.

    Their own, or the ranges of EPN-TAP.
    """
    names = {column.name for column in table.columns}
    return any(column.utype == tfcat.GEOMETRY_UTYPE for column in table.columns) or names >= TFCAT_COLUMNS


def _count_begin_times(
    target_result: TargetResult, conditions: Sequence[tuple[str, str]], runner: QueryRunner
) -> dict[str, Any]:
    """Count when the rows begin: seconds since 1970."""
    table = target_result.target.table
    if table is not None:
        begin = find_begin_and_end_columns(table)[0]
    else:
        begin = None
    if table is None or begin is None:
        return {}
    try:
        search = parse_search(conditions, table)
        begin_histogram = plots.build_histogram(search, begin, runner, bin_count=BIN_COUNT)
    except HvenError:  # how many they are is known, and is shown
        return {}
    if begin_histogram is None:
        return {}
    # days counted from elsewhere: MJD
    if begin.type.is_timestamp:
        origin = 0.0
    else:
        origin = begin.epoch or 0.0
    low = begin_histogram.low + origin
    high = begin_histogram.high + origin
    counts = begin_histogram.counts
    if not any(counts[1:]):  # all at once: nothing tells how wide a bar would be
        high = low + 1 / DAY_SECONDS
        counts = (sum(counts),)
    return {
        "low": (low - UNIX_EPOCH_JULIAN_DATE) * DAY_SECONDS,
        "high": (high - UNIX_EPOCH_JULIAN_DATE) * DAY_SECONDS,
        "counts": counts,
    }


def _describe_line(
    target_result: TargetResult,
    page_context: PageContext,
    conditions: Sequence[tuple[str, str]] | None,
    bars: dict[str, Any],
) -> dict[str, Any]:
    target: SearchTarget = target_result.target
    if target.table is not None and conditions:
        table_address = build_table_address(page_context.base, target.table)
    else:
        table_address = ""
    has_features = bool(table_address and target.table is not None and _has_time_frequency_place(target.table))
    return {
        "key": target.key,
        "title": target.title,
        "service": target.service.url if target.service is not None else "",
        "status": target_result.status,
        "rows": target_result.row_count,
        "message": page_context.translator(target_result.message),
        "url": f"{table_address}?{urlencode(conditions or ())}" if table_address else "",
        "features": f"{table_address}/download?{urlencode([*(conditions or ()), ('_as', 'tfcat'), ('_all', '1')])}"
        if has_features
        else "",
        **bars,
    }
