"""Offer the content of a basket: its files as an archive or a script, the rows and keys of each table, its citations.

The addresses below ``/basket`` or ``/basket/TOKEN`` are ``files``, ``table`` (``_of`` names it) and ``cite.bib``.
"""

from __future__ import annotations

import itertools
import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import anyio.to_thread
import pyarrow as pa
from starlette.routing import Route

from hven import formats, services
from hven.adql.adql_writer import quote_adql_name
from hven.formats import InfoElement, ResultStatus, TableMetadata
from hven.jobs import type_catalogue
from hven.model.errors import NotFoundError, ParamError, format_message
from hven.plugins.baskets.basket_contents import Basket
from hven.plugins.baskets.basket_rows import (
    PRIVATE_HEADERS,
    BasketTable,
    RequestedBasket,
    build_visible_search,
    find_requested_basket,
    list_basket_tables,
)
from hven.portal.api import table_downloads
from hven.portal.api.pages import PageContext, build_error_responder, build_page_context
from hven.portal.api.table_downloads import FORMAT_PARAMETER, QUERY_TIMEOUT_SECONDS, CitationText
from hven.services import scripts
from hven.services.api.files import PieceStreamResponse, stream_file_pieces
from hven.services.citations import write_bibtex, write_citation_sentence
from hven.services.face import wrap_endpoint_with_gates_and_errors
from hven.services.file_archives import load_file_archivers
from hven.services.file_rows import list_link_columns

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.formats import TableFormat
    from hven.plugins.baskets.basket_contents import BasketTablePart
    from hven.portal.api.table_rows import TableView
    from hven.query import QueryResult
    from hven.services.face import ServiceContext

MAX_ROW_QUERY_CHARACTERS = 20_000  # of the query that a form sends to a job
TABLE_PARAMETER = "_of"  # path of one of the tables in a basket
KEYS_PARAMETER = "_keys"  # return only the keys of rows
BASKET_FILE_STEM = "basket"  # in the names of files
UPLOAD_TABLE = "TAP_UPLOAD.basket"
FILE_SCHEMA = pa.schema([("address", pa.string()), ("name", pa.string())])


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the downloads of the reader's own basket and of shared ones."""
    table = table_downloads.build_streaming_endpoint(_query_basket_table_rows, context)

    async def send_files(request: Request) -> Response:
        page_context = build_page_context(request, context)
        response: Response = await anyio.to_thread.run_sync(_answer_files, page_context)
        return response

    async def send_citations(request: Request) -> Response:
        page_context = build_page_context(request, context)

        def gather_citations() -> list[CitationText]:
            basket = find_requested_basket(page_context).basket
            return list_citations(list(list_basket_tables(page_context, basket)), page_context)

        citations = await anyio.to_thread.run_sync(gather_citations)
        body = "\n\n".join(citation.bibtex for citation in citations)
        headers = _build_download_headers("text/x-bibtex; charset=utf-8", f"{BASKET_FILE_STEM}.bib")
        return services.answer_with_body(request, f"{body}\n".encode(), headers)

    endpoints = (
        ("files", wrap_endpoint_with_gates_and_errors(send_files, build_error_responder(context))),
        ("table", table),
        ("cite.bib", wrap_endpoint_with_gates_and_errors(send_citations, build_error_responder(context))),
    )
    return [
        Route(f"{path_prefix}/{path_end}", endpoint)
        for path_prefix in ("/basket", "/basket/{token}")
        for path_end, endpoint in endpoints
    ]


def list_archive_and_script_kinds(views: Sequence[TableView]) -> list[str]:
    """List the scripts and archives that offer the files of any of some tables."""
    available = {packing for view in views for packing in table_downloads.list_archive_and_script_kinds(view)}
    all_packings = (*load_file_archivers(), *scripts.SCRIPT_FORMATS)
    return [packing for packing in all_packings if packing in available]


def describe_basket_table_downloads(
    basket_table: BasketTable, visible_part: BasketTablePart, requested_basket: RequestedBasket
) -> dict[str, Any]:
    """Describe the downloads of one table: its rows, the number and size of its files, and its keys for an upload."""
    links = list_link_columns(basket_table.view.table)
    if links:
        file_summary = table_downloads.count_files_and_bytes(
            basket_table.view.search, links[0], basket_table.view.runner
        )
    else:
        file_summary = None

    def build_table_address(**parameters: str) -> str:
        address_query = urlencode({TABLE_PARAMETER: basket_table.part.table_path, **parameters})
        return f"{requested_basket.address}/table?{address_query}"

    format_entries = [
        {"label": label, "url": build_table_address(**{FORMAT_PARAMETER: name})}
        for name, label in formats.list_format_labels()
    ]
    upload_examples = []
    if basket_table.view.table.primary:
        keys_address = build_table_address(**{FORMAT_PARAMETER: "votable", KEYS_PARAMETER: "1"})
        upload_examples = _write_upload_examples(basket_table, keys_address)

    return {
        "formats": format_entries,
        "votable": build_table_address(**{FORMAT_PARAMETER: "votable"}),
        "files": None if file_summary is None else file_summary.file_count,
        "bytes": None if file_summary is None else file_summary.total_bytes,
        "upload": upload_examples,
        "jobs": _describe_row_job_types(basket_table, visible_part),
    }


def _describe_row_job_types(basket_table: BasketTable, visible_part: BasketTablePart) -> list[dict[str, str]]:
    """List the job types that take rows: name, title, parameter, and the query that selects the rows of a table.

    There are none if the query is too long, or if the user may not start these jobs.
    """
    runner = basket_table.view.runner
    job_types = [
        job_type
        for job_type in type_catalogue.load_served_job_types(runner.site.settings).values()
        if job_type.row_parameter and (job_type.access == "public" or runner.principal.name is not None)
    ]
    search = None
    if job_types:
        search = build_visible_search(basket_table, visible_part)
    if search is None:
        return []
    names = [column.name for column in basket_table.view.table.columns if not column.hidden]
    query = search.copy_with(columns=tuple(names)).write_adql()
    if len(query) > MAX_ROW_QUERY_CHARACTERS:
        return []
    return [
        {"name": job_type.name, "title": job_type.title, "parameter": job_type.row_parameter, "query": query}
        for job_type in job_types
    ]


def list_citations(basket_tables: Sequence[BasketTable], page_context: PageContext) -> list[CitationText]:
    """Return the citation of each collection of a basket."""
    collections: dict[str, None] = {}
    for basket_table in basket_tables:
        release = basket_table.view.published.release
        if release is None:
            collection = basket_table.view.table.schema
        else:
            collection = release.collection
        collections[collection] = None
    citations = []
    for name in collections:
        resource = page_context.published_state.resources.get(name)
        if resource is not None:
            address = f"{page_context.brand.root}/collections/{quote(resource.name)}"
            citation = CitationText(text=write_citation_sentence(resource), bibtex=write_bibtex(resource, address))
            citations.append(citation)
    return citations


def _write_upload_examples(basket_table: BasketTable, url: str) -> list[dict[str, str]]:
    """Write examples that fetch rows through TAP with their keys as an uploaded table.

    A query with all keys may be too long for an address.
    """
    table = basket_table.view.table
    join_condition = " AND ".join(f"t.{name} = b.{name}" for name in map(quote_adql_name, table.primary))
    query = (
        f"SELECT t.* FROM {quote_adql_name(table.schema)}.{quote_adql_name(table.name)} AS t JOIN {UPLOAD_TABLE} AS b "
        f"ON {join_condition}"
    )
    tap = url.partition("/basket")[0] + "/tap"
    curl_lines = (
        f"curl -f -o basket.vot {shlex.quote(url)}\n"
        f"curl -f -o answer.vot {shlex.quote(f'{tap}/sync')} -F LANG=ADQL -F RESPONSEFORMAT=votable "
        f"-F {shlex.quote(f'QUERY={query}')} -F UPLOAD=basket,param:keys -F keys=@basket.vot"
    )
    pyvo_lines = (
        "import pyvo\nfrom astropy.table import Table\n\n"
        f"keys = Table.read({url!r}, format='votable')\nservice = pyvo.dal.TAPService({tap!r})\n"
        f"table = service.search({query!r}, uploads={{'basket': keys}}).to_table()"
    )
    return [
        {"name": "ADQL", "text": query},
        {"name": "curl", "text": curl_lines},
        {"name": "pyvo", "text": pyvo_lines},
    ]


def _query_basket_table_rows(
    page_context: PageContext,
    keys: Sequence[str],  # noqa: ARG001  (a basket has no marked rows)
) -> tuple[QueryResult, TableFormat, dict[str, str], list[InfoElement], str]:
    """Query the rows of one table of the basket, or only their keys."""
    query_params = page_context.request.query_params
    table_path = query_params.get(TABLE_PARAMETER, "")
    basket = _select_basket_table(find_requested_basket(page_context).basket, table_path)
    basket_table = next(list_basket_tables(page_context, basket), None)
    if basket_table is None:
        raise NotFoundError(
            "the basket contains nothing from this table", remedy="open the basket's page to see its contents"
        )
    view = _check_basket_searches(basket_table).view
    limits = page_context.context.site.settings.limits
    file_format, options = formats.select_format(query_params.get(FORMAT_PARAMETER) or "votable")
    if query_params.get(KEYS_PARAMETER):
        columns = list(view.table.primary)
        if not columns:
            raise ParamError("the rows of this table have no keys", name=KEYS_PARAMETER, remedy="leave _keys out")
    else:
        columns = [column.name for column in view.table.columns if not column.hidden]
    query = view.search.build_query(columns=columns)
    result = view.runner.run_query(query, row_limit=limits.maxrec_hard, timeout_seconds=QUERY_TIMEOUT_SECONDS)
    extension = file_format.extension.lstrip(".")
    file_name = f"{table_downloads.build_file_stem(view)}-{BASKET_FILE_STEM}.{extension}"
    return result, file_format, options, [], file_name


def _select_basket_table(basket: Basket, table_path: str) -> Basket:
    """Return the part of a basket that is of one table."""
    return Basket(parts=tuple(part for part in basket.parts if part.table_path == table_path))


def _check_basket_searches(basket_table: BasketTable) -> BasketTable:
    """Refuse searches that are not valid any more: a program would take the rows for the answer to all of them.

    Raises
    ------
    ParamError
        A search has a fault.
    """
    for _, search in basket_table.searches:
        for fault in search.faults:
            message = format_message("{name}: {message}", fault.field, format_message(fault.message))
            raise ParamError(message, name=fault.field, remedy=fault.remedy)
    return basket_table


def _answer_files(page_context: PageContext) -> Response:
    """Answer with the files themselves, or with a script or a list of them."""
    kind = page_context.request.query_params.get(FORMAT_PARAMETER) or "zip"
    kinds = (*load_file_archivers(), *scripts.SCRIPT_FORMATS)
    if kind not in kinds:
        names = ", ".join(kinds)
        message = format_message("{name}={value} is not valid", FORMAT_PARAMETER, kind[:40])
        raise ParamError(message, name=FORMAT_PARAMETER, remedy=format_message("use one of {names}", names))
    requested_basket = find_requested_basket(page_context)
    checked_tables = map(_check_basket_searches, list_basket_tables(page_context, requested_basket.basket))
    basket_tables = [table for table in checked_tables if table_downloads.list_archive_and_script_kinds(table.view)]
    if not basket_tables:
        raise ParamError(
            "nothing in this basket links to files", name="", remedy="download the rows of the basket instead"
        )
    if kind in load_file_archivers():
        return _answer_archive(page_context, basket_tables, requested_basket, kind)
    return _answer_script(page_context, basket_tables, requested_basket, kind)


def _answer_archive(
    page_context: PageContext, basket_tables: Sequence[BasketTable], requested_basket: RequestedBasket, kind: str
) -> Response:
    """Write the files of all tables as one archive."""
    archiver = load_file_archivers()[kind]
    all_addresses: list[str] = []
    readme_lines = [("Basket", requested_basket.address)]
    for basket_table in basket_tables:
        links = list_link_columns(basket_table.view.table)
        link_column = links[0] if links else None
        addresses, column = table_downloads.list_file_addresses(archiver, basket_table.view, page_context, link_column)
        all_addresses += addresses
        table_name = basket_table.view.table.qualified_name
        readme_lines.append(("Table", f"{table_name}, column {column}, {len(addresses):,} files"))
    archive = archiver.plan(page_context.context, page_context.request, all_addresses)
    return archive.answer(page_context.request, kind, BASKET_FILE_STEM, readme_lines)


def _answer_script(
    page_context: PageContext, basket_tables: Sequence[BasketTable], requested_basket: RequestedBasket, kind: str
) -> Response:
    """Write a script of the files of all tables."""
    linked = [basket_table for basket_table in basket_tables if list_link_columns(basket_table.view.table)]
    if not linked:
        raise ParamError(
            "no column of these tables links to files",
            name=FORMAT_PARAMETER,
            remedy="download the files as one archive",
        )
    sign_url = page_context.context.build_url_signer(page_context.request) or str
    script_format = scripts.create_script_formats(sign_url)[kind]
    infos = [InfoElement(name="Basket", value=requested_basket.address)]
    linked_names = [basket_table.view.table.qualified_name for basket_table in linked]
    infos += [InfoElement(name="Files", value=f"of {table_name}") for table_name in linked_names]
    for basket_table in basket_tables:
        if basket_table not in linked:
            table_name = basket_table.view.table.qualified_name
            text = f"files of {table_name}, which have no addresses: download them in an archive"
            infos.append(InfoElement(name="Left out", value=text))
    infos.append(InfoElement(name="Written", value=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} by {page_context.base}"))
    file_name = f"{BASKET_FILE_STEM}-{kind}{script_format.extension}"
    headers = _build_download_headers(script_format.media_types[0], file_name)
    batches = _read_file_links(linked)
    first_batches = list(itertools.islice(batches, 1))  # an error in it has its own response
    has_overflow = False

    def limit_rows() -> Iterator[pa.RecordBatch]:
        nonlocal has_overflow
        remaining_rows = scripts.MAX_SCRIPT_FILES
        for batch in itertools.chain(first_batches, batches):
            yield batch.slice(0, remaining_rows)
            if batch.num_rows > remaining_rows:
                has_overflow = True
                return
            remaining_rows -= batch.num_rows

    def build_status() -> ResultStatus:
        return ResultStatus(row_count=scripts.MAX_SCRIPT_FILES, overflow=has_overflow)

    def write_pieces() -> Generator[bytes | None]:
        yield None  # the rest runs in a thread, which may wait for rows
        yield from script_format.write(TableMetadata(columns=(), infos=infos), limit_rows(), build_status, {})

    return PieceStreamResponse(page_context.request, 200, headers, stream_file_pieces(write_pieces()))


def _read_file_links(basket_tables: Sequence[BasketTable]) -> Iterator[pa.RecordBatch]:
    """Read the addresses and names of the files of some tables, as batches of `FILE_SCHEMA`."""
    for basket_table in basket_tables:
        column = list_link_columns(basket_table.view.table)[0]
        with basket_table.view.runner.run_query(
            table_downloads.build_link_query(basket_table.view.search, column),
            row_limit=scripts.MAX_SCRIPT_FILES + 1,
            timeout_seconds=QUERY_TIMEOUT_SECONDS,
        ) as result:
            for batch in result.iterate_batches():
                if column.link:
                    texts: Any = pa.array(scripts.fill_link_template(batch, column.link), pa.string())
                else:
                    texts = batch.column(0).cast(pa.string())
                has_names = batch.num_columns > 1 and not column.link
                if has_names:
                    names = batch.column(1).cast(pa.string())
                else:
                    names = pa.nulls(batch.num_rows, pa.string())
                yield pa.RecordBatch.from_arrays([texts, names], schema=FILE_SCHEMA)


def _build_download_headers(kind: str, file_name: str) -> dict[str, str]:
    return {
        **PRIVATE_HEADERS,
        "content-type": kind,
        "vary": "accept-encoding, authorization, cookie",
        "content-disposition": f'attachment; filename="{file_name}"',
        "x-content-type-options": "nosniff",
    }
