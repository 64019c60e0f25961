"""Serve ``/search/KIND/tables/SERVICE/TABLE``: a table of a remote service, with the page of a table of this site.

The template, the form, the grid and its scripts are those of the site's own tables. Only the rows come from the remote
service, under limits of bytes and time. Downloads and other programs fetch the rows from the service itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio.to_thread
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from hven import services
from hven.adql.adql_writer import write_adql
from hven.model import plugins
from hven.model.errors import NotFoundError, ParamError, SourceError, UserError, format_message
from hven.plugins.federated_search import (
    global_search,
    remote_products,
    remote_queries,
    remote_table_rows,
    remote_thumbnails,
)
from hven.plugins.federated_search.global_search import MAX_PARALLEL_TABLES, STANDARD_TITLES
from hven.plugins.federated_search.remote_table_rows import RemoteTable
from hven.portal.api.page_rows import build_json_endpoint, build_query_runner, parse_search
from hven.portal.api.pages import (
    SWITCH_PARAMETERS,
    PageContent,
    build_error_responder,
    build_page_context,
    build_page_endpoint,
    read_whole_number_parameter,
    record_to_dict,
)
from hven.portal.api.search_forms import (
    build_map_header_options,
    build_position_search_fields,
    build_search_form,
    describe_field_parts,
    join_form_field_parameters,
    translate_search_faults,
)
from hven.portal.api.table_downloads import DOWNLOAD_PARAMETERS, DownloadOptions, write_client_query_examples
from hven.portal.api.table_pages import (
    ROWS_PER_PAGE,
    ConstantColumnSummary,
    RowCount,
    TablePage,
    build_page_links,
    build_search_redirect,
    list_choosable_columns,
    list_form_parameters,
    write_label_switch_query,
)
from hven.portal.api.table_rows import (
    MAX_ROW_KEYS,
    TableSearch,
    TableView,
    build_column_headings,
    build_condition_chips,
    build_headings_and_cells,
    build_search_by_row_keys_alone,
    cell_to_json,
    choose_initial_columns,
    column_pairs_to_json,
    columns_to_json,
    format_cells,
)
from hven.query import resolver
from hven.services.addresses import list_base_urls
from hven.services.face import wrap_endpoint_with_gates_and_errors
from hven.site import PublishedTable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from starlette.requests import Request

    from hven.model.settings import RemoteTapService
    from hven.plugins.federated_search.global_search import SearchableTable
    from hven.plugins.federated_search.remote_table_rows import RemoteRowPage
    from hven.portal.api.pages import PageContext
    from hven.portal.api.table_rows import TextCell
    from hven.services.face import ServiceContext

PATH = "/search/{kind}/tables/{remote}/{table}"
# modules with build_routes(context), and list_row_pages(remote_view): titles and addresses for the page of a table
ROW_PAGES_POINT = "federated_search.row_pages"
ROW_PARAMETERS = ("_from", "_size", "_asof", "_after", "_of", "_like")  # they are no part of the search
KEY_PARAMETER, WITH_KEYS_PARAMETER, FORMAT_PARAMETER = "_key", "_keyed", "_as"
MAX_FORM_BYTES = 2 * 1024**2  # of a form: enough for thousands of keys
MAX_ADDRESS_CHARACTERS = 8000  # longest address that programs and servers accept
MAX_NUMBERED_ROWS = 1000  # rows whose number in a sent table is known
PICTURE_COLUMN = "thumbnail_url"
# parts of a table's page that a remote table lacks: a service would group or sort its whole table for them
EMPTY_ANSWERS: dict[str, Mapping[str, object]] = {
    "facets": {"facets": []},
    "names": {"names": []},
    "place": {"place": None},
    "header": {"file": "", "url": "", "hdus": []},
    "else": {"begin": "", "end": "", "place": False, "lines": [], "left_out": 0},
}
FORMATS = {"votable": "VOTable", "csv": "CSV"}  # formats that TAP services have
FORMAT_FILES = {"votable": ("vot", "application/x-votable+xml"), "csv": ("csv", "text/csv")}
# the bytes of another server never become a page of this site
DOWNLOAD_HEADERS = {
    "cache-control": "private, no-cache",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTablePage(TablePage):
    """The page of a remote table.

    Attributes
    ----------
    service_url
        Address of the service.
    search_url, search_title
        Address of the search over all tables, and the title of the standard.
    row_pages
        Titles and addresses of the pages that packages add for the rows of the search.
    """

    template = "federated_search/remote_table.html"
    service_url: str
    search_url: str
    search_title: str
    row_pages: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteTableView:
    """A remote table and the search of a reader.

    Attributes
    ----------
    remote_table
        The table.
    view
        Its search as pages of tables have it. No query runs on this site.
    has_form_parts
        Whether a form sent its fields in parts.
    address
        Address of the page.
    """

    remote_table: RemoteTable
    view: TableView
    has_form_parts: bool
    address: str

    @property
    def search(self) -> TableSearch:
        """The search, with the columns that are shown."""
        return self.view.search.copy_with(columns=choose_initial_columns(self.view.search, ()))


def build_remote_table_address(base: str, kind: str, service: str, table: str) -> str:
    """Build the address of the page of a remote table.

    Parameters
    ----------
    base
        Address of the site or the portal.
    kind, service, table
        The standard, and the names of the service and of the table.

    Returns
    -------
    address
        The address, without a query.
    """
    return f"{base}/search/{kind}/tables/{quote(service, safe='')}/{quote(table, safe='')}"


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Return the routes of the pages of remote tables and of the data for their scripts.

    Parameters
    ----------
    context
        The context of the service.
    """
    limiter = anyio.CapacityLimiter(MAX_PARALLEL_TABLES)  # slow services hold no more threads than these

    def build_endpoint(build_content: Callable[[RemoteTableView, PageContext], Mapping[str, Any]]) -> Any:
        async def answer_request(page_context: PageContext) -> PageContent:
            def build_answer() -> PageContent:
                return PageContent(json_content=build_content(read_remote_view(page_context), page_context))

            return await anyio.to_thread.run_sync(build_answer, limiter=limiter)

        return build_json_endpoint(answer_request, context)

    def build_empty_endpoint(answer: Mapping[str, object]) -> Any:
        async def answer_request(page_context: PageContext) -> PageContent:
            await anyio.to_thread.run_sync(_find_searchable_table, page_context, limiter=limiter)
            return PageContent(json_content=answer)

        return build_json_endpoint(answer_request, context)

    async def show_page(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_build_page_or_redirect, page_context, limiter=limiter)

    async def describe_downloads(page_context: PageContext) -> PageContent:
        keys = await _read_marked_row_keys(page_context)
        build_answer = partial(_describe_downloads, page_context, keys)
        return PageContent(json_content=await anyio.to_thread.run_sync(build_answer, limiter=limiter))

    async def send_rows(request: Request) -> Response:
        page_context = build_page_context(request, context)
        keys = await _read_marked_row_keys(page_context)
        return await anyio.to_thread.run_sync(_build_download, page_context, keys, limiter=limiter)

    both_methods = ["GET", "POST"]
    map_options = build_map_header_options(context.site.settings)
    send_guarded_rows = wrap_endpoint_with_gates_and_errors(send_rows, build_error_responder(context))
    show_guarded_page = build_page_endpoint(show_page, context, header_options=map_options)
    return [
        Route(f"{PATH}/rows", build_endpoint(_answer_rows)),
        Route(f"{PATH}/row", build_endpoint(_answer_row)),
        Route(f"{PATH}/count", build_endpoint(_answer_count)),
        *(Route(f"{PATH}/{name}", build_empty_endpoint(answer)) for name, answer in EMPTY_ANSWERS.items()),
        *(route for module in plugins.load_extensions(ROW_PAGES_POINT) for route in module.build_routes(context)),
        Route(f"{PATH}/take", build_json_endpoint(describe_downloads, context), methods=both_methods),
        Route(f"{PATH}/download", send_guarded_rows, methods=both_methods),
        Route(PATH, show_guarded_page),
    ]


def _find_searchable_table(page_context: PageContext) -> tuple[SearchableTable, RemoteTapService]:
    """Find the remote table that an address names, and its service, without a request to it.

    Raises
    ------
    NotFoundError
        There is no such table of a remote service.
    """
    path_params = page_context.request.path_params
    kind = str(path_params["kind"])
    if kind not in global_search.STANDARD_KINDS:
        message = format_message("there is no search form {kind!r:.40}", kind)
        raise NotFoundError(message, remedy="use /search/epn or /search/obscore")
    key = f"{path_params['remote']}/{str(path_params['table']).removesuffix('.json')}"
    targets = global_search.list_searchable_tables(kind, build_query_runner(page_context), [])
    target = next((candidate for candidate in targets if candidate.key == key), None)
    if target is None or target.service is None:
        message = format_message("{key!r} is not a table of this search", key[:80])
        raise NotFoundError(message, remedy=format_message("see /search/{kind} for the list", kind))
    return target, target.service


def read_remote_view(page_context: PageContext, ignored_parameters: Collection[str] = ()) -> RemoteTableView:
    """Read the remote table and the search of an address.

    Parameters
    ----------
    page_context
        The request of a page below the address of a remote table.
    ignored_parameters
        Parameters of that page that are no part of the search.

    Returns
    -------
    remote_view
        The table and the search.

    Raises
    ------
    NotFoundError
        There is no such table of a remote service.
    """
    target, service = _find_searchable_table(page_context)
    kind = str(page_context.request.path_params["kind"])
    site = page_context.context.site
    table = global_search.fetch_remote_table(target, kind, site, service.seconds)
    page_parameters = {*SWITCH_PARAMETERS, *ROW_PARAMETERS, *DOWNLOAD_PARAMETERS, *ignored_parameters}
    query_items = page_context.request.query_params.multi_items()
    pairs, has_form_parts = join_form_field_parameters(
        [(name, value) for name, value in query_items if name not in page_parameters]
    )

    def locate(name: str) -> tuple[float, float]:
        return resolver.resolve_object_position(name, site=site, policies=page_context.context.policies)

    # its labels must not follow the statistics of a table of this site that has the same name
    labels = page_context.build_column_labels(table.copy_with(schema="", name="answer"))
    view = TableView(
        table=table,
        published=PublishedTable(table=table, relation=None, updated=""),
        search=translate_search_faults(parse_search(pairs, table, locate=locate), page_context),
        runner=build_query_runner(page_context),
        labels=labels,
    )
    return RemoteTableView(
        remote_table=RemoteTable(kind=kind, target=target, service=service, table=table),
        view=view,
        has_form_parts=has_form_parts,
        address=build_remote_table_address(page_context.base, kind, service.name, target.name),
    )


def require_condition(remote_view: RemoteTableView) -> None:
    """Refuse a search without a condition, as the search over all tables does.

    Parameters
    ----------
    remote_view
        The table and the search.

    Raises
    ------
    UserError
        The search has no condition.
    """
    if remote_view.view.search.build_condition() is None:
        raise UserError(
            "the search has no condition",
            remedy="enter at least one condition, because Hven never requests a whole table from a remote service",
        )


async def _read_marked_row_keys(page_context: PageContext) -> list[str]:
    """Read the keys of marked rows from the address or a form."""
    request = page_context.request
    keys = request.query_params.getlist(KEY_PARAMETER)
    if request.method == "POST":
        form_params = await services.read_params(request, MAX_FORM_BYTES)
        keys = [key for name, values in form_params.values.items() if name.lower() == KEY_PARAMETER for key in values]
    if len(keys) > MAX_ROW_KEYS:
        message = format_message("{count:,} rows were marked; the limit is {most:,}", len(keys), MAX_ROW_KEYS)
        raise ParamError(message, name=KEY_PARAMETER, remedy="mark fewer rows, or narrow the search")
    return keys


def _fetch_page(
    remote_view: RemoteTableView, page_context: PageContext, default_size: int
) -> tuple[int, RemoteRowPage, int]:
    """Fetch the page of rows that an address names; return also the number of all rows and the size of pages."""
    require_condition(remote_view)
    site = page_context.context.site
    offset = read_whole_number_parameter(page_context, "_from", 0, 10**9)
    size = read_whole_number_parameter(page_context, "_size", default_size, remote_table_rows.MAX_PAGE_ROWS)
    size = size or default_size
    row_count = remote_table_rows.count_remote_rows(remote_view.search, remote_view.remote_table, site)
    row_page = remote_table_rows.fetch_remote_page(
        remote_view.search, remote_view.remote_table, site, offset=offset, limit=size, row_count=row_count
    )
    return row_count, row_page, size


def _format_cells(
    row_page: RemoteRowPage, remote_view: RemoteTableView, page_context: PageContext, *, is_full: bool = False
) -> list[list[TextCell | None]]:
    """Format the cells of rows; this site fetches their pictures for the reader."""
    cell_rows = format_cells(
        row_page.page, row_page.table, remote_view.view.search.units, is_full=is_full, labels=remote_view.view.labels
    )
    base_urls = list_base_urls(page_context.request, page_context.context.site.settings)
    search_address = f"{page_context.base}/search/{remote_view.remote_table.kind}"
    for number, column in enumerate(row_page.page.columns):
        if column.name.lower() != PICTURE_COLUMN:
            continue
        for row in cell_rows:
            cell = row[number]
            if cell is None or not cell.href or any(cell.href.startswith(f"{base}/") for base in base_urls):
                continue
            address = remote_thumbnails.build_remote_picture_address(search_address, cell.href, page_context.context)
            if address:
                row[number] = replace(cell, href=address, picture=True)
    return cell_rows


def _build_headings(row_page: RemoteRowPage, remote_view: RemoteTableView) -> Any:
    view = remote_view.view
    return build_column_headings(row_page.page, row_page.table, view.search.units, labels=view.labels)


def _answer_rows(remote_view: RemoteTableView, page_context: PageContext) -> dict[str, Any]:
    row_count, row_page, _ = _fetch_page(remote_view, page_context, 100)
    headings = _build_headings(row_page, remote_view)
    cell_rows = _format_cells(row_page, remote_view, page_context)
    json_rows = [[cell_to_json(cell) for cell in row] for row in cell_rows]
    shown_names = [column.name for column in row_page.page.columns]
    return {
        "columns": columns_to_json(headings),
        "pairs": column_pairs_to_json(headings, remote_view.view.labels),
        "rows": json_rows,
        "keys": list(row_page.page.keys),
        "from": row_page.page.offset,
        "more": row_page.page.has_more,
        "state": "",
        "lost": False,
        "total": row_count,
        "exact": True,
        "adql": remote_view.search.write_adql(),
        "faults": remote_view.view.search.faults,
        "drawn": shown_names,
    }


def _answer_row(remote_view: RemoteTableView, page_context: PageContext) -> dict[str, Any]:
    site = page_context.context.site
    search = remote_view.view.search
    row_page = remote_table_rows.fetch_remote_row(search, remote_view.remote_table, site)
    headings = _build_headings(row_page, remote_view)
    cell_rows = _format_cells(row_page, remote_view, page_context, is_full=True)
    row = None
    links: list[dict[str, Any]] = []
    file = None
    if cell_rows:
        row = [cell_to_json(cell) for cell in cell_rows[0]]
        values = remote_products.read_row_values(row_page.page)
        links = remote_products.list_row_products(values, site, page_context.translator)
        file = remote_products.find_row_file(values)
        own_files = [link for link in links if link["semantics"] == "this"]
        if file is None and own_files:
            file = {"href": own_files[0]["href"], "bytes": own_files[0]["bytes"]}
    return {
        "columns": columns_to_json(headings),
        "pairs": column_pairs_to_json(headings, remote_view.view.labels),
        "row": row,
        "key": search.row,
        "locked": None,
        "links": links,
        "title": "",
        "file": file,
        "cite": None,
        "files": [],
    }


def _answer_count(remote_view: RemoteTableView, page_context: PageContext) -> dict[str, Any]:
    require_condition(remote_view)
    view = remote_view.view
    row_count = remote_table_rows.count_remote_rows(
        remote_view.search, remote_view.remote_table, page_context.context.site
    )
    return {
        "total": row_count,
        "exact": True,
        "of": None,
        "adql": remote_view.search.write_adql(),
        "faults": view.search.faults,
        "without": [],
        "asked": build_condition_chips(view.search, view.labels),
        "fields": describe_field_parts(view.search),
        "place": build_position_search_fields(view.search),
        "every": "",
    }


def _build_tap_address(remote_view: RemoteTableView, adql: str, format_name: str) -> str:
    """Build the address at which the remote service sends rows; a registry may contain anything else than an address.

    Raises
    ------
    UserError
        The address is too long.
    """
    service_url = remote_view.remote_table.service.url.rstrip("/")
    parameters = {"REQUEST": "doQuery", "LANG": "ADQL", "FORMAT": format_name, "QUERY": adql}
    address = f"{service_url}/sync?{urlencode(parameters)}"
    if not address.startswith(("http://", "https://")):
        raise UserError("the service has no address of the web", remedy="copy the query, and send it with a TAP client")
    if len(address) > MAX_ADDRESS_CHARACTERS:
        raise UserError("the query is too long for an address", remedy="mark fewer rows, or copy the query")
    return address


def _choose_rows(remote_view: RemoteTableView, keys: Sequence[str], page_context: PageContext) -> TableSearch:
    """Return the search of the rows that leave the page: the marked ones, or all; in a fixed order."""
    search = remote_view.search
    if keys:
        search = build_search_by_row_keys_alone(search, keys)
    if page_context.request.query_params.get("_all"):
        names = [column.name for column in search.table.columns if not column.hidden]
        search = search.copy_with(columns=tuple(names[: remote_table_rows.MAX_ROW_COLUMNS]))
    return remote_table_rows.complete_remote_search(search)


def _list_download_options(
    remote_view: RemoteTableView, search: TableSearch, page_context: PageContext
) -> DownloadOptions:
    parameters = [(name, value) for name, value in remote_view.view.search.list_parameters() if name != "_row"]
    format_entries = []
    for name, label in FORMATS.items():
        query = urlencode([*parameters, (FORMAT_PARAMETER, name)])
        format_entries.append({"name": name, "label": label, "url": f"{remote_view.address}/download?{query}"})
    service_url = remote_view.remote_table.service.url.rstrip("/")
    return DownloadOptions(
        formats=format_entries,
        scripts=[],
        links=[],
        coverage=False,
        footprints=False,
        lines=write_client_query_examples(search.write_adql(), page_context.base, tap=service_url),
        cite={"link": f"{remote_view.address}?{remote_view.view.search.write_query_string()}"},
    )


def _describe_downloads(page_context: PageContext, keys: Sequence[str]) -> dict[str, Any]:
    """Describe what can be downloaded, and the address that programs get by SAMP."""
    remote_view = read_remote_view(page_context)
    require_condition(remote_view)
    search = _choose_rows(remote_view, keys, page_context)
    adql = write_adql(search.build_query())
    row_keys: list[str] = []
    site = page_context.context.site
    row_count = len(keys) or remote_table_rows.count_remote_rows(search, remote_view.remote_table, site)
    if page_context.request.query_params.get(WITH_KEYS_PARAMETER) and search.table.primary:
        key_search = search.copy_with(columns=search.table.primary)
        key_page = remote_table_rows.fetch_remote_page(
            key_search, remote_view.remote_table, site, offset=0, limit=MAX_NUMBERED_ROWS, row_count=row_count
        )
        row_keys = list(key_page.page.keys)
    service_url = remote_view.remote_table.service.url.rstrip("/")
    return {
        **record_to_dict(_list_download_options(remote_view, search, page_context)),
        "table": _build_tap_address(remote_view, adql, "votable"),
        "keys": row_keys,
        "rows": row_count,
        "exact": True,
        "marked": len(keys),
        "adql": adql,
        "sync": None,
        "jobs": False,
        "files": None,
        "archive": None,
        "tap": service_url,
        "region": None,
    }


def _build_download(page_context: PageContext, keys: Sequence[str]) -> Response:
    """Lead to the remote service, which sends the rows itself; send marked rows, whose keys a form has.

    Browsers let no form of a page lead to another site.
    """
    remote_view = read_remote_view(page_context)
    require_condition(remote_view)
    format_name = page_context.request.query_params.get(FORMAT_PARAMETER, "votable")
    if format_name not in FORMATS:
        message = format_message("there is no format {name!r}", format_name[:40])
        raise ParamError(message, name=FORMAT_PARAMETER, remedy="use votable or csv")
    for fault in remote_view.view.search.faults:
        message = format_message("{name}: {message}", fault.field, format_message(fault.message))
        raise ParamError(message, name=fault.field, remedy=fault.remedy)
    search = _choose_rows(remote_view, keys, page_context)
    adql = write_adql(search.build_query())
    if page_context.request.method != "POST":
        return RedirectResponse(_build_tap_address(remote_view, adql, format_name), 303)
    service = remote_view.remote_table.service
    status, body = remote_queries.send_tap_query(
        service, adql, page_context.context.site.settings, service.seconds, format_name=format_name
    )
    if status != 200:
        raise SourceError(format_message("{name} returned status {status}", service.name, status))
    extension, media_type = FORMAT_FILES[format_name]
    headers = {**DOWNLOAD_HEADERS, "content-disposition": f'attachment; filename="rows.{extension}"'}
    return Response(body, headers=headers, media_type=media_type)


def _build_page_or_redirect(page_context: PageContext) -> PageContent:
    remote_view = read_remote_view(page_context)
    view = remote_view.view
    search_address = f"{page_context.base}/search/{remote_view.remote_table.kind}"
    if view.search.build_condition() is None and not view.search.faults:
        return build_search_redirect(TableSearch(table=view.table), search_address, page_context)
    if remote_view.has_form_parts:
        return build_search_redirect(view.search, remote_view.address, page_context)
    row_count, row_page, size = _fetch_page(remote_view, page_context, ROWS_PER_PAGE)
    headings = _build_headings(row_page, remote_view)
    cell_rows = _format_cells(row_page, remote_view, page_context)
    heading_row, joined_cells = build_headings_and_cells(headings, cell_rows, view)
    search_form = replace(build_search_form(view.search, None, view.labels), every=None)
    search = view.search
    searched_part = search.copy_with(row="", rest=(), order=(), columns=(), units=())
    shown_names = [column.name for column in row_page.page.columns]
    target = remote_view.remote_table.target
    offset = row_page.page.offset
    state = search.write_query_string()
    page = RemoteTablePage(
        service_url=remote_view.remote_table.service.url,
        search_url=search_address,
        search_title=STANDARD_TITLES[remote_view.remote_table.kind],
        row_pages=[
            row_page_link
            for module in plugins.load_extensions(ROW_PAGES_POINT)
            for row_page_link in module.list_row_pages(remote_view)
        ],
        collection="",
        described=False,
        heading="",
        releases=(),
        table=view.table,
        name=target.name,
        headline=target.title,
        headings=heading_row,
        rows=list(zip(row_page.page.keys, joined_cells, strict=True)),
        stills=(),
        row=_list_requested_row_cells(remote_view, page_context),
        files=None,
        of_rows=None,
        ticks={},
        other_lines=None,
        each=False,
        pictured=any(heading.kind == "picture" for heading in headings),
        sentence="",
        alike=ConstantColumnSummary(),
        total=RowCount(rows=row_count),
        every=RowCount(rows=None),
        begin=offset + 1,
        end=offset + len(cell_rows),
        pages=build_page_links(view, row_page.page, size, row_count),
        lost=False,
        plotted=(),
        plot_first="",
        has_plot=False,
        map="",
        surveys="",
        has_map=False,
        form=search_form,
        known_choices=(),
        kind="",
        known=list_form_parameters(search_form),
        chips=build_condition_chips(search, view.labels),
        without=(),
        faults=search.faults,
        wrong=search.wrong,
        adql=remote_view.search.write_adql(),
        state=state,
        taken=_list_download_options(remote_view, _choose_rows(remote_view, (), page_context), page_context),
        panes=(),
        links=(),
        # what packages add to pages of tables is about tables of this site
        table_values={package.name: None for package in plugins.list_plugin_packages()},
        state_pairs=search.list_parameters(),
        choosable=list_choosable_columns(view, shown_names, ()),
        raw=view.labels.is_raw,
        other_names=write_label_switch_query(view),
        here=remote_view.address,
        below="",
        searched=searched_part.write_query_string(),
        dataset={},
    )
    json_content = {
        "table": target.key,
        "columns": columns_to_json(headings),
        "total": row_count,
        "adql": remote_view.search.write_adql(),
        "faults": search.faults,
        "rows_url": f"{remote_view.address}/rows?{state}",
    }
    return PageContent(page=page, json_content=json_content)


def _list_requested_row_cells(
    remote_view: RemoteTableView, page_context: PageContext
) -> list[tuple[str, TextCell, str]]:
    """List the cells of the row that the address names, for readers without scripts."""
    if not remote_view.view.search.row:
        return []
    site = page_context.context.site
    row_page = remote_table_rows.fetch_remote_row(remote_view.view.search, remote_view.remote_table, site)
    headings = _build_headings(row_page, remote_view)
    cell_rows = _format_cells(row_page, remote_view, page_context, is_full=True)
    headed_cells = zip(headings, cell_rows[0], strict=True) if cell_rows else ()
    return [(heading.label, cell, heading.unit) for heading, cell in headed_cells if cell is not None]
