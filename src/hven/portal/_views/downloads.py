"""Offer the rows of a result in every format, its files as scripts, lists and archives, and lines for common programs.

The addresses below ``/collections/NAME/TABLE`` are ``download`` (the rows), ``script`` (the files) and ``take`` (the
offers, as JSON). All read the state of the search in the address. The parameter ``_key``, in the address or in a posted
form, names marked rows.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio.to_thread
import orjson
from starlette.routing import Route

from hven import formats, services
from hven.adql.adql_writer import write_adql
from hven.formats import InfoElement
from hven.model.errors import ParamError, format_message
from hven.model.sky import Circle, Polygon, region_files
from hven.portal._explore import row_files, row_pages, search_regions
from hven.portal._explore.map_frames import classify_table_map, find_footprint_column
from hven.portal._explore.place_names import find_single_body, has_positions_on_body
from hven.portal._pages import record_to_dict
from hven.portal._views.dataset_metadata import write_dated_citation
from hven.portal._views.page_addresses import build_table_address
from hven.portal._views.page_formats import (
    PageContent,
    PageContext,
    build_cache_control,
    build_error_responder,
    build_json_endpoint,
    build_page_context,
)
from hven.portal._views.table_extensions import list_package_query_lines
from hven.portal._views.table_view import TableView, read_table_view
from hven.services import scripts
from hven.services.face import wrap_endpoint_with_gates_and_errors
from hven.services.file_archives import load_file_archivers
from hven.services.file_rows import list_link_columns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.formats import TableFormat
    from hven.model.table import Column
    from hven.portal._explore import TableSearch
    from hven.query import QueryResult
    from hven.services.face import ServiceContext
    from hven.services.file_archives import FileArchive, FileArchiver

FORMAT_PARAMETER, LINK_PARAMETER, KEY_PARAMETER, ALL_COLUMNS_PARAMETER, WITH_KEYS_PARAMETER = (
    "_as",
    "_link",
    "_key",
    "_all",
    "_keyed",
)
MOC_PARAMETER = "_of"
DOWNLOAD_PARAMETERS = (
    FORMAT_PARAMETER,
    LINK_PARAMETER,
    KEY_PARAMETER,
    ALL_COLUMNS_PARAMETER,
    WITH_KEYS_PARAMETER,
    MOC_PARAMETER,
)
MOC_FORMATS = {
    "fits": ("application/fits", ".fits"),
    "json": ("application/json", ".json"),
    "ascii": ("text/plain; charset=utf-8", ".txt"),
    "shape": ("application/json", ".json"),
}
MAX_FORM_BYTES = 2 * 1024**2  # of a form: enough for thousands of keys
QUERY_TIMEOUT_SECONDS = 60.0
MAX_INSPECTED_FILES = 1000  # files whose sizes are looked up before the reader asks for them
MAX_NUMBERED_ROWS = 100_000  # rows whose number in a sent table is known
MAX_TABLEDATA_ROWS = 50_000  # of a sent table: larger ones are BINARY2, which programs read many times faster


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadOptions:
    """What the page of a table offers without counting anything.

    Attributes
    ----------
    formats, scripts
        The rows in each format; their files as archives, scripts and lists.
    links
        Columns with the addresses of files.
    coverage, footprints
        Whether the rows have a coverage on the sky, and whether they have footprints.
    lines
        The query for common programs, as in `write_client_query_examples`.
    cite
        The ``link`` of the search; its citation as ``text`` and ``bibtex``, if it has a collection; ``query`` and
        ``make``, the address that keeps its rows, if everybody sees them.
    """

    formats: Sequence[Mapping[str, object]]
    scripts: Sequence[Mapping[str, object]]
    links: Sequence[Mapping[str, object]]
    coverage: bool
    footprints: bool
    lines: Sequence[Mapping[str, str]]
    cite: Mapping[str, str]


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Return the routes of downloads."""
    path = "/collections/{name}/{table}"

    async def answer_downloads(page_context: PageContext) -> PageContent:
        keys = await _read_marked_row_keys(page_context.request)

        def describe_downloads() -> dict[str, Any]:
            return _describe_downloads(_build_marked_rows_view(page_context, keys), page_context, keys)

        return PageContent(json_content=await anyio.to_thread.run_sync(describe_downloads))

    json_endpoint = build_json_endpoint(answer_downloads, context)
    return [
        Route(f"{path}/take", json_endpoint, methods=["GET", "POST"]),
        Route(f"{path}/script", _build_files_endpoint(context), methods=["GET", "POST"]),
        Route(f"{path}/moc", _build_moc_endpoint(context), methods=["GET"]),
        Route(f"{path}/download", build_streaming_endpoint(_start_download_query, context), methods=["GET", "POST"]),
    ]


def write_client_query_examples(
    text: str, base: str, *, tap: str = "", columns: Sequence[Column] = ()
) -> list[dict[str, str]]:
    """Write a query as lines for common programs; every part is quoted as its language needs it.

    Parameters
    ----------
    text
        The query.
    base
        Address of the site or the portal.
    tap
        Address of another TAP service that runs the query; empty: that of `base`.
    columns
        Columns of the result, if the service is this site's: astropy and pyvo read arrays of texts only as JSON.

    Returns
    -------
    lines
        The ``name`` of each program and its ``text``.
    """
    if "--" not in text and "'" not in text and '"' not in text:
        query = " ".join(text.split())
    else:
        query = text
    tap = tap or f"{base}/tap"
    python = repr(query)
    python_format, pyvo_option = "votable", ""
    if any(column.type.is_array and column.type.datatype in {"char", "unicodeChar"} for column in columns):
        python_format = "votable;strings=json"
        pyvo_option = f", responseformat={python_format!r}"
    query_address, python_address = (
        f"{tap}/sync?{urlencode({'LANG': 'ADQL', 'RESPONSEFORMAT': response_format, 'QUERY': query})}"
        for response_format in ("votable", python_format)
    )
    curl_line = (
        f"curl -f -o answer.vot {shlex.quote(f'{tap}/sync')} -d LANG=ADQL -d RESPONSEFORMAT=votable "
        f"--data-urlencode {shlex.quote(f'QUERY={query}')}"
    )
    pyvo_lines = (
        f"import pyvo\n\nservice = pyvo.dal.TAPService({tap!r})\n"
        f"table = service.search({python}{pyvo_option}).to_table()"
    )
    stilts_line = (
        f"stilts tapquery tapurl={shlex.quote(tap)} sync=true adql={shlex.quote(query)} ofmt=votable out=answer.vot"
    )
    python_lines = (
        "from urllib.parse import urlencode\nfrom astropy.table import Table\n\n"
        f"query = {python}\n"
        f"address = {tap + '/sync?'!r} + "
        f'urlencode({{"LANG": "ADQL", "QUERY": query, "RESPONSEFORMAT": "{python_format}"}})\n'
        'table = Table.read(address, format="votable")'
    )
    signed_python_lines = 'from astropy.table import Table\n\ntable = Table.read({url}, format="votable")'
    topcat_line = f"topcat -f votable {shlex.quote(query_address)}"

    def build_signed_entry(text: str, address: str = query_address) -> dict[str, str]:
        if len(address) <= scripts.MAX_ADDRESS_CHARACTERS:
            return {"url": address, "signed": text}
        return {}

    return [
        {"name": "ADQL", "text": text},
        {"name": "curl", "text": curl_line, **build_signed_entry("curl -f -o answer.vot {url}")},
        {"name": "pyvo", "text": pyvo_lines},
        {"name": "STILTS", "text": stilts_line},
        {"name": "Python", "text": python_lines, **build_signed_entry(signed_python_lines, python_address)},
        {"name": "TOPCAT", "text": topcat_line, **build_signed_entry("topcat -f votable {url}")},
    ]


def describe_download_options(table_view: TableView, page_context: PageContext) -> DownloadOptions:
    """Return what the page of a table offers: addresses, and lines that work without a script of this site."""
    table = table_view.table
    search_parameters = table_view.search.list_parameters()
    table_address = build_table_address(page_context.base, table)
    pairs = [(name, value) for name, value in search_parameters if name != "_row"]

    def build_address(path_end: str, **parameters: str) -> str:
        own_pairs = [(f"_{name}", value) for name, value in parameters.items()]
        return f"{table_address}/{path_end}?{urlencode([*pairs, *own_pairs])}"

    format_entries = [
        {"name": name, "label": label, "url": build_address("download", **{"as": name})}
        for name, label in formats.list_format_labels()
    ]
    script_entries = [
        {"name": name, "url": build_address("script", **{"as": name})}
        for name in list_archive_and_script_kinds(table_view)
    ]
    link_entries = [{"name": column.name, "label": column.label or column.name} for column in list_link_columns(table)]
    has_coverage = table.position is not None or bool(table_view.published.coverage)
    if search_parameters:
        search_address = f"{table_address}?{urlencode(search_parameters)}"
    else:
        search_address = table_address
    return DownloadOptions(
        formats=format_entries,
        scripts=script_entries,
        links=link_entries,
        coverage=classify_table_map(table) == "sky" and has_coverage,
        footprints=_has_footprints(table_view),
        lines=[
            *write_client_query_examples(
                table_view.search.write_adql(),
                page_context.base,
                columns=table_view.search.list_shown_columns(),
            ),
            *list_package_query_lines(table_view),
        ],
        cite=_build_citation(table_view, page_context, search_address),
    )


def _build_citation(table_view: TableView, page_context: PageContext, search_address: str) -> dict[str, str]:
    """Return the citation of a search's result and its link; without a collection, the link alone."""
    release = table_view.published.release
    if release is None:
        collection_name = table_view.table.schema
    else:
        collection_name = release.collection
    resource = page_context.published_state.resources.get(collection_name)
    if table_view.table.is_fully_public:
        query = table_view.search.build_query()
        result_facts = {"query": write_adql(query), "make": f"{page_context.base}/results"}
    else:
        result_facts = {}
    if resource is None:
        return {"link": search_address}
    citation = write_dated_citation(resource, search_address)
    return {"link": search_address, "text": citation.text, "bibtex": citation.bibtex, **result_facts}


async def _read_marked_row_keys(request: Request) -> list[str]:
    """Read the keys of marked rows.

    Raises
    ------
    ParamError
        There are too many keys.
    """
    keys = request.query_params.getlist(KEY_PARAMETER)
    if request.method == "POST":
        form_params = await services.read_params(request, MAX_FORM_BYTES)
        keys = []
        for name, values in form_params.values.items():
            if name.lower() == KEY_PARAMETER:
                keys += values
    if len(keys) > row_files.MAX_ROW_KEYS:
        message = format_message("{count:,} rows were marked; the limit is {most:,}", len(keys), row_files.MAX_ROW_KEYS)
        raise ParamError(message, name=KEY_PARAMETER, remedy="mark fewer rows, or narrow the search")
    return keys


def _build_marked_rows_view(page_context: PageContext, keys: Sequence[str]) -> TableView:
    table_view = read_table_view(page_context, ignored_parameters=DOWNLOAD_PARAMETERS)
    if keys:
        search = row_files.build_search_by_row_keys_alone(table_view.search, keys)
        return replace(table_view, search=search)
    return table_view


def require_faultless_search(table_view: TableView) -> TableView:
    """Refuse a search with faults: a program would take the rows for the answer to its whole question.

    Parameters
    ----------
    table_view
        The search of the reader.

    Returns
    -------
    table_view
        The same.

    Raises
    ------
    ParamError
        The search has a fault.
    """
    for fault in table_view.search.faults:
        message = format_message("{name}: {message}", fault.field, format_message(fault.message))
        raise ParamError(message, name=fault.field, remedy=fault.remedy)
    return table_view


def _describe_downloads(table_view: TableView, page_context: PageContext, keys: Sequence[str]) -> dict[str, Any]:
    """Return what can be downloaded: rows, files and their size, the query and its lines."""
    search = expand_search_to_all_columns_if_asked(table_view, page_context)
    total = row_pages.count_rows(table_view.search, table_view.runner)
    link_columns = list_link_columns(table_view.table)
    link_column = _choose_link_column(link_columns, page_context)
    file_facts = None
    file_count = total.rows
    if link_column is not None:
        file_summary = row_files.count_files_and_bytes(table_view.search, link_column, table_view.runner)
        file_count = file_summary.file_count
        file_facts = {
            "column": file_summary.column.name,
            "files": file_count,
            "bytes": file_summary.total_bytes,
            "sized": file_summary.sized_file_count,
            "most": scripts.MAX_SCRIPT_FILES,
        }
    query_text = write_adql(search.build_query())
    return {
        **record_to_dict(describe_download_options(table_view, page_context)),
        **_describe_result_address_and_keys(table_view, search, page_context, total.rows),
        "rows": total.rows,
        "exact": total.is_exact,
        "marked": len(keys),
        "adql": query_text,
        "lines": [
            *write_client_query_examples(query_text, page_context.base, columns=search.list_shown_columns()),
            *list_package_query_lines(table_view),
        ],
        "sync": page_context.context.site.settings.limits.maxrec_hard,
        "files": file_facts,
        "archive": _describe_archive(table_view, page_context, file_count),
        "tap": f"{page_context.base}/tap",
        "region": _region_to_json(search),
    }


def _describe_archive(
    table_view: TableView, page_context: PageContext, file_count: int | None
) -> dict[str, Any] | None:
    """Return what an archive will contain; None if there is none, or if looking takes long."""
    if file_count is None or file_count > MAX_INSPECTED_FILES:
        return None
    if not list_archive_and_script_kinds(table_view) or table_view.search.faults:
        return None
    archiver = next(iter(load_file_archivers().values()), None)
    if archiver is None:
        return None
    archive, _ = _plan_archive(archiver, table_view, page_context)
    return {"files": archive.file_count, "bytes": archive.total_bytes, "missing": archive.missing_count}


def _region_to_json(search: TableSearch) -> dict[str, Any] | None:
    """Return the region of a search in the form in which clients draw it."""
    shape = search_regions.find_search_shape(search)
    if isinstance(shape, Circle):
        return {"circle": [shape.lon, shape.lat, shape.radius]}
    if isinstance(shape, Polygon):
        vertices = zip(shape.lons, shape.lats, strict=True)
        return {"polygon": [coordinate for vertex in vertices for coordinate in vertex]}
    return None


def _describe_result_address_and_keys(
    table_view: TableView, search: TableSearch, page_context: PageContext, row_count: int | None
) -> dict[str, Any]:
    """Return the address of the result for other programs, in a fixed order.

    Small results are TABLEDATA: programs that transform a VOTable by XSLT, such as ASPRO, can't read BINARY2.
    On request, also return which row has which number in that order.
    """
    primary = table_view.table.primary
    ordered_names = {name for name, _ in search.order}
    key_order = [(name, False) for name in primary if name not in ordered_names]
    order = (*search.order, *key_order)
    ordered_search = search.copy_with(order=order)
    is_small = row_count is not None and row_count <= MAX_TABLEDATA_ROWS
    parameters = {
        "LANG": "ADQL",
        "REQUEST": "doQuery",
        "RESPONSEFORMAT": "votable/td" if is_small else "votable",
        "QUERY": write_adql(ordered_search.build_query()),
    }
    table_facts: dict[str, Any] = {"table": f"{page_context.base}/tap/sync?{urlencode(parameters)}"}
    if page_context.request.query_params.get(WITH_KEYS_PARAMETER):
        if primary:
            query = ordered_search.build_query(columns=list(primary), limit=MAX_NUMBERED_ROWS)
            key_rows = table_view.runner.fetch_table(query)
        else:
            key_rows = None
        table_facts["keys"] = [] if key_rows is None else row_pages.format_keys(key_rows, primary)
    return table_facts


def expand_search_to_all_columns_if_asked(table_view: TableView, page_context: PageContext) -> TableSearch:
    """Return the search with all columns that are not hidden, if the address says so.

    Parameters
    ----------
    table_view
        The search of the reader.
    page_context
        The request of the page.

    Returns
    -------
    search
        The search.
    """
    if not page_context.request.query_params.get(ALL_COLUMNS_PARAMETER):
        return table_view.search
    visible_columns = tuple(column.name for column in table_view.table.columns if not column.hidden)
    return table_view.search.copy_with(columns=visible_columns)


def _choose_link_column(link_columns: Sequence[Column], page_context: PageContext) -> Column | None:
    column_name = page_context.request.query_params.get(LINK_PARAMETER, "")
    if not column_name:
        if link_columns:
            return link_columns[0]
        return None
    chosen_column = next((column for column in link_columns if column.name == column_name), None)
    if chosen_column is None:
        message = format_message(
            "{name}={value!r} is not the name of a column that links to files", LINK_PARAMETER, column_name[:60]
        )
        remedy: str = "download the rows instead"
        if link_columns:
            remedy = format_message("choose one of {names}", ", ".join(column.name for column in link_columns))
        raise ParamError(message, name=LINK_PARAMETER, remedy=remedy)
    return chosen_column


def build_streaming_endpoint(
    begin_query: Callable[
        [PageContext, Sequence[str]], tuple[QueryResult, TableFormat, dict[str, str], list[InfoElement], str]
    ],
    context: ServiceContext,
) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that streams the result of a query.

    Parameters
    ----------
    begin_query
        Starts the query of a request, whose keys of marked rows it gets. It returns the result, the format with its
        options, further elements of the file, and the name of the file.
    context
        The context of the service.
    """

    async def stream_result(request: Request) -> Response:
        page_context = build_page_context(request, context)
        keys = await _read_marked_row_keys(request)
        result, file_format, options, infos, name = await anyio.to_thread.run_sync(begin_query, page_context, keys)
        is_public = page_context.access_key == "public" and page_context.principal.is_anonymous
        headers = {
            "cache-control": "no-cache" if is_public else "private, no-store",
            "vary": "accept-encoding, authorization, cookie",
            "content-disposition": f'attachment; filename="{name}"',
            "x-content-type-options": "nosniff",
        }
        base_address = services.get_base_url(request, context.site.settings)
        return await services.answer_with_result(
            request, result, (file_format, options), headers=headers, infos=infos, base_url=base_address
        )

    return wrap_endpoint_with_gates_and_errors(stream_result, build_error_responder(context))


def list_archive_and_script_kinds(table_view: TableView) -> list[str]:
    """List the scripts and archives that offer the files of a table.

    Without a column of addresses there are only archives, whose files the site finds by the links of the rows.

    Parameters
    ----------
    table_view
        The table, as the reader sees it.

    Returns
    -------
    kinds
        Kinds of archives and names of script formats; empty if no file belongs to the rows.
    """
    archive_kinds = list(load_file_archivers())
    if list_link_columns(table_view.table):
        return [*archive_kinds, *scripts.SCRIPT_FORMATS]
    if table_view.table.effective_links and table_view.table.identifier_column is not None:
        return archive_kinds
    return []


def _has_footprints(table_view: TableView) -> bool:
    """Return whether any row has a footprint: a standard may require the column without values."""
    column = find_footprint_column(table_view.table)
    rows = table_view.published.rows
    if column is None:
        return False
    if table_view.runner.has_hidden_rows(table_view.table):
        return True  # the statistics are of all rows
    statistics = table_view.published.statistics.get(column.name, {})
    return rows is None or statistics.get("nulls") != rows


def _build_files_endpoint(context: ServiceContext) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of the files of a result: a script or list, or an archive of the files."""
    stream_list = build_streaming_endpoint(_start_script_query, context)

    def answer_archive(page_context: PageContext, keys: Sequence[str], kind: str) -> Response:
        table_view = require_faultless_search(_build_marked_rows_view(page_context, keys))
        archive, column = _plan_archive(load_file_archivers()[kind], table_view, page_context)
        table_address = build_table_address(page_context.base, table_view.table)
        search_address = f"{table_address}?{urlencode(table_view.search.list_parameters())}"
        readme_lines = [
            ("Table", table_view.table.qualified_name),
            ("Column", column),
            ("Query", write_adql(table_view.search.build_query())),
            ("Page", search_address),
        ]
        return archive.answer(page_context.request, kind, build_file_stem(table_view), readme_lines)

    async def send_files(request: Request) -> Response:
        kind = request.query_params.get(FORMAT_PARAMETER, "")
        if kind not in load_file_archivers():
            return await stream_list(request)
        page_context = build_page_context(request, context)
        keys = await _read_marked_row_keys(request)
        response: Response = await anyio.to_thread.run_sync(answer_archive, page_context, keys, kind)
        return response

    return wrap_endpoint_with_gates_and_errors(send_files, build_error_responder(context))


def _plan_archive(archiver: FileArchiver, table_view: TableView, page_context: PageContext) -> tuple[FileArchive, str]:
    """Plan an archive of the files of a search; also return the column that names them."""
    link_column = _choose_link_column(list_link_columns(table_view.table), page_context)
    file_addresses, column = list_file_addresses(archiver, table_view, page_context, link_column)
    return archiver.plan(page_context.context, page_context.request, file_addresses), column


def list_file_addresses(
    archiver: FileArchiver, table_view: TableView, page_context: PageContext, column: Column | None
) -> tuple[list[str], str]:
    """List the addresses of the files of a search, and the column that names them.

    Without a link column, the identifiers of the rows lead to the files.

    Parameters
    ----------
    archiver
        What makes an archive of the files.
    table_view
        The search of the reader.
    page_context
        The request of the page.
    column
        The column with the links; None: there is none.

    Returns
    -------
    addresses_and_column
        The addresses, and the name of the column.

    Raises
    ------
    ParamError
        No column leads to files.
    TooLargeError
        There are more files than an archive may have.
    """
    table = table_view.table
    if column is None and not list_archive_and_script_kinds(table_view):
        raise ParamError(
            "no column of this table links to files", name=LINK_PARAMETER, remedy="download the rows instead"
        )
    if column is not None:
        query = row_files.build_link_query(table_view.search, column)
    else:
        columns = []
        if table.identifier_column is not None:
            columns = [table.identifier_column.name]
        query = table_view.search.build_query(columns=columns)
    context = page_context.context
    max_files = archiver.get_max_files(context.site.settings)
    link_template = None if column is None else column.link
    with table_view.runner.run_query(query, row_limit=max_files, timeout_seconds=QUERY_TIMEOUT_SECONDS) as result:
        column_name = result.columns[0].name
        base_url = page_context.base
        return archiver.read_addresses(context, result, base_url, (column_name,), link_template), column_name


def _build_moc_endpoint(context: ServiceContext) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of a region as a MOC.

    ``_of=region`` is the region of the search, ``_of=coverage`` the coverage of the rows.
    """

    def write_moc(page_context: PageContext) -> tuple[bytes, str]:
        table_view = require_faultless_search(read_table_view(page_context, ignored_parameters=DOWNLOAD_PARAMETERS))
        moc_format = page_context.request.query_params.get(FORMAT_PARAMETER) or "fits"
        if moc_format not in MOC_FORMATS:
            raise _build_unknown_value_error(FORMAT_PARAMETER, moc_format, MOC_FORMATS)
        moc_kind = page_context.request.query_params.get(MOC_PARAMETER) or "coverage"
        if moc_kind not in {"region", "coverage"}:
            message = format_message("{name}={value!r} is not valid", MOC_PARAMETER, moc_kind[:40])
            raise ParamError(message, name=MOC_PARAMETER, remedy="write _of=region or _of=coverage")
        search = table_view.search
        file_name = f"{build_file_stem(table_view)}-{moc_kind}"
        if moc_format == "shape":
            return orjson.dumps(_region_to_json(search) or {}), file_name
        if moc_kind == "region":
            moc = search_regions.build_region_moc(search)
        else:
            moc = search_regions.build_rows_moc(search, table_view.runner)
        body = ""
        if has_positions_on_body(table_view.table):
            body = find_single_body(table_view.table, search.list_parameters(), table_view.runner) or "body"
        return region_files.write_moc(moc, moc_format, body), file_name

    async def send_moc(request: Request) -> Response:
        page_context = build_page_context(request, context)
        body, name = await anyio.to_thread.run_sync(write_moc, page_context)
        media_type, extension = MOC_FORMATS[request.query_params.get(FORMAT_PARAMETER) or "fits"]
        headers = {
            "content-type": media_type,
            "cache-control": build_cache_control(page_context),
            "vary": "accept-encoding, authorization, cookie",
            "content-disposition": f'attachment; filename="{name}{extension}"',
            "x-content-type-options": "nosniff",
        }
        return services.answer_with_body(request, body, headers)

    return wrap_endpoint_with_gates_and_errors(send_moc, build_error_responder(context))


def _build_unknown_value_error(parameter: str, value: str, known_values: Iterable[str]) -> ParamError:
    message = format_message("{name}={value!r} is not valid", parameter, value[:40])
    remedy = format_message("choose one of {names}", ", ".join(known_values))
    return ParamError(message, name=parameter, remedy=remedy)


def _start_download_query(
    page_context: PageContext, keys: Sequence[str]
) -> tuple[QueryResult, TableFormat, dict[str, str], list[InfoElement], str]:
    table_view = require_faultless_search(_build_marked_rows_view(page_context, keys))
    format_name = page_context.request.query_params.get(FORMAT_PARAMETER) or "votable"
    file_format, options = formats.select_format(format_name)
    query = expand_search_to_all_columns_if_asked(table_view, page_context).build_query()
    row_limit = page_context.context.site.settings.limits.maxrec_hard
    result = table_view.runner.run_query(query, row_limit=row_limit, timeout_seconds=QUERY_TIMEOUT_SECONDS)
    infos = [InfoElement(name="QUERY", value=write_adql(query))]
    file_name = f"{build_file_stem(table_view)}.{file_format.extension.lstrip('.')}"
    return result, file_format, options, infos, file_name


def _start_script_query(
    page_context: PageContext, keys: Sequence[str]
) -> tuple[QueryResult, TableFormat, dict[str, str], list[InfoElement], str]:
    table_view = require_faultless_search(_build_marked_rows_view(page_context, keys))
    script_kind = page_context.request.query_params.get(FORMAT_PARAMETER) or "wget"
    if script_kind not in scripts.SCRIPT_FORMATS:
        raise _build_unknown_value_error(FORMAT_PARAMETER, script_kind, scripts.SCRIPT_FORMATS)
    column = _choose_link_column(list_link_columns(table_view.table), page_context)
    if column is None:
        raise ParamError(
            "no column of this table links to files", name=LINK_PARAMETER, remedy="download the rows instead"
        )
    file_summary = row_files.count_files_and_bytes(table_view.search, column, table_view.runner)
    table_name = table_view.table.qualified_name
    file_text = f"{file_summary.file_count:,} of {table_name}, column {column.name}"
    if file_summary.total_bytes is not None:
        has_all_sizes = file_summary.sized_file_count >= file_summary.file_count
        size_text = format_byte_count(file_summary.total_bytes) + ("" if has_all_sizes else " and more")
        file_text += f", {size_text} by the table's estimates"
    query_text = write_adql(table_view.search.build_query())
    infos = [
        InfoElement(name="Files", value=file_text),
        InfoElement(name="Query", value=query_text),
        InfoElement(name="Written", value=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} by {page_context.base}"),
    ]
    unlinked_rows = file_summary.row_count - file_summary.file_count
    if unlinked_rows > 0:
        infos.append(InfoElement(name="Without a link", value=f"{unlinked_rows:,} rows"))
    result = table_view.runner.run_query(
        row_files.build_link_query(table_view.search, column),
        row_limit=scripts.MAX_SCRIPT_FILES,
        timeout_seconds=QUERY_TIMEOUT_SECONDS,
    )
    sign_url = page_context.context.build_url_signer(page_context.request) or str
    script_format = scripts.create_script_formats(sign_url)[script_kind]
    script_options = row_files.build_download_script_options(column)
    file_name = f"{build_file_stem(table_view)}-{script_kind}{script_format.extension}"
    return result, script_format, script_options, infos, file_name


def format_byte_count(byte_count: float) -> str:
    """Format a size in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if byte_count < 999.5 or unit == "TB":
            if unit == "B":
                return f"{byte_count:.0f} {unit}"
            return f"{byte_count:.3g} {unit}"
        byte_count /= 1000
    raise AssertionError


def build_file_stem(table_view: TableView) -> str:
    """Build a file name from the name of a table, with ASCII characters that old browsers read in a header.

    Parameters
    ----------
    table_view
        The table.

    Returns
    -------
    stem
        Name of a file, without an extension.
    """
    table_name = f"{table_view.table.schema}.{table_view.table.name}"
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", table_name).strip(".") or "rows"
