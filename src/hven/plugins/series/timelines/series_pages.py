"""Show ``/hapi`` and ``/series/<id>`` as pages: the data sets of time series, and plots of single ones.

The extension point ``series.concurrent_rows`` is for packages that find rows of other tables in the span of a time
line. A module of the point has two functions. ``build_routes(context)`` routes ``/meanwhile``, which the script of the
page requests. ``list_remote_table_keys(page_context)`` lists the remote tables that the script can query one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from hven.model import plugins
from hven.model.table import find_begin_and_end_time_columns
from hven.plugins.series.table_series import list_spanned_data_set_ids, list_table_series
from hven.plugins.series.time_texts import format_instant
from hven.plugins.series.timelines.tile_preloading import list_tiles_to_preload
from hven.portal.api.page_rows import build_table_address, render_page_response, to_unix_microseconds
from hven.portal.api.pages import PortalPages, TemplateContext, build_error_responder, build_page_context
from hven.portal.api.table_links import TableLink, TableLinkKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from hven.model.table import Table
    from hven.portal.api.page_rows import RowPage
    from hven.portal.api.pages import PageContext
    from hven.services.face import ServiceContext

SERIES_FACE = "timelines"
CONCURRENT_ROWS_POINT = "series.concurrent_rows"
MAX_LAST_SAMPLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesListPage(TemplateContext):
    """The page of all data sets of time series.

    Attributes
    ----------
    at
        Address of the HAPI service.
    sets
        The data sets as the service describes them, each with the ``page`` of its table.
    """

    template = "series/series.html"
    at: str
    sets: Sequence[Mapping[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelinePage(TemplateContext):
    """The page of one data set.

    Attributes
    ----------
    of
        The data set as the service describes it, with its ``table``.
    known
        The same without the table, for the script.
    page
        Address of the table's page.
    begins, ends
        First and last time, to the minute; empty if there are no samples.
    data
        Address of the tiles.
    alone
        Whether no package searches other tables for rows at the same time.
    elsewhere
        Keys of the remote tables that are searched for rows at the same time.
    last
        Address of the last samples; empty if there is none.
    tiles
        Tiles that the browser fetches at once.
    """

    template = "series/timeline.html"
    of: Mapping[str, object]
    known: Mapping[str, object]
    page: str
    begins: str
    ends: str
    data: str
    alone: bool
    elsewhere: Sequence[str]
    last: str
    tiles: Sequence[Mapping[str, object]]


def render_series_list_page(request: Request, context: ServiceContext, series_facts: Mapping[str, Any]) -> Response:
    """Render the page of the data sets.

    Parameters
    ----------
    request, context
        The request, and the context of the service.
    series_facts
        The ``base`` address, and ``sets`` with ``id``, ``title``, ``table``, ``parameters``, ``start``, ``stop`` and an
        ``example`` each.
    """
    page_context = build_page_context(request, context)
    sets = [
        {**series, "page": build_table_address(page_context.base, series["table"])} for series in series_facts["sets"]
    ]
    return render_page_response(page_context, SeriesListPage(at=series_facts["base"], sets=sets))


def render_timeline_page(request: Request, context: ServiceContext, series_facts: Mapping[str, Any]) -> Response:
    """Render the page of one data set.

    Parameters
    ----------
    request, context
        The request, and the context of the service.
    series_facts
        The JSON of the service and the ``table``; or the ``fault`` if there is no such data set.
    """
    if "fault" in series_facts:
        error_responder = build_error_responder(context, suggest_pages=True, has_switches=True)
        return error_responder(request, series_facts["fault"])
    page_context = build_page_context(request, context)
    search_modules = plugins.load_extensions(CONCURRENT_ROWS_POINT)
    begins, ends = (
        "" if instant is None else format_instant(instant)[:16].replace("T", " ")
        for instant in (series_facts["start"], series_facts["stop"])
    )
    data = f"{page_context.base}/series/{quote(series_facts['id'])}"
    page = TimelinePage(
        of=series_facts,
        known={name: value for name, value in series_facts.items() if name != "table"},
        page=build_table_address(page_context.base, series_facts["table"]),
        begins=begins,
        ends=ends,
        data=data,
        alone=not search_modules,
        elsewhere=[key for module in search_modules for key in module.list_remote_table_keys(page_context)],
        last=_build_last_samples_address(series_facts),
        tiles=list_tiles_to_preload(series_facts, request.query_params, data),
    )
    return render_page_response(page_context, page)


def _build_last_samples_address(series_facts: Mapping[str, Any]) -> str:
    """Return the HAPI address of the last samples; empty if there is none."""
    if series_facts["hapi"] is None or series_facts["start"] is None or not series_facts["cadence"]:
        return ""
    start_instant = max(series_facts["start"], series_facts["stop"] - MAX_LAST_SAMPLES * series_facts["cadence"])
    parameters = {
        "dataset": series_facts["id"],
        "start": format_instant(start_instant),
        "stop": format_instant(series_facts["stop"]),
    }
    return f"{series_facts['hapi']}/data?{urlencode(parameters)}"


def list_table_series_links(table: Table, page_context: PageContext) -> list[TableLink]:
    """List the data sets of a table, and those whose spans its rows are, with their pages."""
    if not table.is_served_by(SERIES_FACE) or not (list_table_series(table) or list_spanned_data_set_ids(table)):
        return []
    series_tables = [table]
    own_ids = {series.id for series in list_table_series(table)}
    if not own_ids.issuperset(list_spanned_data_set_ids(table)):
        all_tables = page_context.catalogue.iterate_tables()
        series_tables += [other for other in all_tables if list_table_series(other) and other.is_served_by(SERIES_FACE)]
    titles_by_id = {}
    for other in reversed(series_tables):
        table_title = other.title if len(list_table_series(other)) == 1 else ""
        for series in list_table_series(other):
            titles_by_id[series.id] = series.title or table_title or series.id
    names = dict.fromkeys((*(series.id for series in list_table_series(table)), *list_spanned_data_set_ids(table)))
    return [
        TableLink(id=name, title=titles_by_id[name], url=f"{page_context.base}/series/{quote(name, safe='')}")
        for name in names
        if name in titles_by_id
    ]


def build_time_query_string(row: RowPage, table: Table) -> str:
    """Return the time of a row as parameters of a series page: a span or a moment; empty if it has no time."""
    values_by_name = {}
    if row.keys:
        values_by_name = {column.name: row.rows.column(at)[0].as_py() for at, column in enumerate(row.columns)}
    begin, end = find_begin_and_end_time_columns(table)
    begin_instant, end_instant = (
        None if column is None else to_unix_microseconds(values_by_name.get(column.name), column)
        for column in (begin, end)
    )
    if begin_instant is None:
        return ""
    if end_instant is None or end_instant <= begin_instant:
        return f"_at={format_instant(begin_instant)}"
    return f"_from={format_instant(begin_instant)}&_to={format_instant(end_instant)}"


def build_concurrent_search_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the searches of all packages that find rows of other tables."""
    modules = plugins.load_extensions(CONCURRENT_ROWS_POINT)
    return [route for module in modules for route in module.build_routes(context)]


PAGES = PortalPages(build_routes=build_concurrent_search_routes, template_directory=Path(__file__).parents[1] / "pages")
SERIES_LINKS = TableLinkKind(
    name="series",
    title="Time series",
    list_links=list_table_series_links,
    overview_path="/hapi",
    write_row_query=build_time_query_string,
)
