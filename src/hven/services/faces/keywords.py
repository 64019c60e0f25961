"""``/collections/<name>/headers/<path>``: the FITS header of a file as a table, a row for each card, or as a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import anyio.to_thread
import pyarrow as pa
import pyarrow.compute as pc

from hven import formats, services
from hven.formats import InfoElement, ResultStatus, TableMetadata
from hven.jobs.tap import RESPONSEFORMAT_PARAM
from hven.model.errors import HvenError, NotFoundError, UpstreamError, format_message
from hven.model.params import Param
from hven.model.table import FILES_UTYPE, parse_column_lines
from hven.services import collection_files
from hven.services.errors import PLAIN_TEXT_ERRORS
from hven.services.face import ServiceContext, ServiceFace, UsageExample, create_query_route
from hven.sources.fits_headers import format_value, iterate_cards, read_headers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from hven.formats.media import Place
    from hven.site import PublishedTable

CARD_COLUMNS = parse_column_lines("""
    hdu       | int32   |  | meta.number       | Number of the HDU, from 0
    extension | string  |  | meta.id           | Name of the HDU
    keyword   | string  |  | meta.id;meta.main | Keyword
    value     | string  |  | meta.note         | Value as it is in the card
    number    | float64 |  |                   | Value, if it is a number
    comment   | string  |  | meta.note         | Comment of the card
""")
CARD_SCHEMA = pa.schema([column.arrow_field for column in CARD_COLUMNS])
MAX_HDUS = 10_000
HDU_PARAM = Param(name="HDU", ucd="meta.number", description="number or name of an HDU (default: all HDUs)")


def build_fits_header_routes(context: ServiceContext) -> Sequence[BaseRoute]:
    """Build the route of ``/collections/<name>/headers/<path>``."""

    def build_response(request: Request, params: services.RequestParams) -> Response:
        name = request.path_params["name"]
        path = request.path_params["path"]
        principal = context.identify_principal(request)
        found_files = collection_files.find_files(context, principal, name, [path])
        row = found_files.get_row(path)
        found_files.record_access("header seen", path)
        all_cards = _read_cards(collection_files.open_file_place(context, principal, name, row), path)
        cards = _select_hdu(all_cards, params.read_one(HDU_PARAM.name), path)
        write_page = context.find_requested_page_writer(FACE.name, request, params)
        if write_page is not None:
            return write_page(request, context, {"rows": cards.to_pylist()})
        output_format, options = formats.select_format(params.read_one("RESPONSEFORMAT"), request.headers.get("accept"))
        infos = (
            InfoElement(name="file", value=str(row["url"])),
            *services.build_unused_parameter_warnings(params, (HDU_PARAM, RESPONSEFORMAT_PARAM)),
        )
        metadata = TableMetadata(columns=CARD_COLUMNS, name="header", infos=infos)
        status = ResultStatus(row_count=cards.num_rows)
        body = b"".join(output_format.write(metadata, iter(cards.to_batches()), lambda: status, options))
        headers = {
            **services.build_cache_headers(
                services.compute_etag(body),
                is_public=found_files.access_key == "public",
                vary="accept, accept-encoding, authorization, cookie",
            ),
            "content-security-policy": "default-src 'none'",
            "x-content-type-options": "nosniff",
        }
        media_type = options.get(formats.MEDIA_TYPE_OPTION) or output_format.media_types[0]
        return services.answer_with_etag(request, headers, media_type, body)

    async def answer_request(request: Request, params: services.RequestParams) -> Response:
        response: Response = await anyio.to_thread.run_sync(build_response, request, params)
        return response

    return [create_query_route("/collections/{name}/headers/{path:path}", answer_request, PLAIN_TEXT_ERRORS)]


def _select_hdu(table: pa.Table, hdu: str | None, path: str) -> pa.Table:
    """Select the cards of an HDU by its number or name."""
    if not hdu:
        return table
    extension_names = pc.utf8_upper(pc.coalesce(table["extension"], pa.scalar("")))
    is_named = pc.equal(extension_names, hdu.upper())
    has_number = pc.equal(table["hdu"].cast(pa.string()), hdu)
    hdu_rows = table.filter(pc.or_(is_named, has_number))
    if not hdu_rows.num_rows:
        raise NotFoundError(format_message("the file {name} has no HDU {hdu!r}", path, hdu[:60]))
    return hdu_rows


def _read_cards(path: Place, file_name: str) -> pa.Table:
    """Read the cards of a FITS file; other files have no header."""
    try:
        hdu_headers = read_headers(cast("Path", path), hdu_limit=MAX_HDUS)  # uses only what both types have
    except UpstreamError:
        raise
    except (HvenError, OSError, EOFError, ValueError):
        hdu_headers = []
    if not hdu_headers:
        raise NotFoundError(f"the file {file_name!r} has no readable FITS header", remedy="download the file itself")
    columns: list[list[Any]] = [[] for _ in CARD_SCHEMA]
    for header in hdu_headers:
        for keyword, value, comment in iterate_cards(header):
            number = value if _is_number(value) else None
            row = (header.index, header.name or None, keyword, format_value(value), number, comment or None)
            for column, cell in zip(columns, row, strict=True):
                column.append(cell)
    arrays = [pa.array(column, column_type) for column, column_type in zip(columns, CARD_SCHEMA.types, strict=True)]
    return pa.table(arrays, schema=CARD_SCHEMA)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """List an example of how a header is requested."""
    url = f"{base_url}/collections/{quote(published.table.schema)}/headers/PATH"
    return [UsageExample(title="FITS header of a file", url=url, example=f"curl '{url}?RESPONSEFORMAT=csv'")]


FACE = ServiceFace(
    name="keywords",
    title="FITS headers",
    applies=lambda table: table.utype == FILES_UTYPE,
    build_routes=build_fits_header_routes,
    list_usage_examples=list_usage_examples,
)
