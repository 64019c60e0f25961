"""HATS 1.0: ``/hats/<schema.table>/`` is what ``lsdb.open_catalog`` opens, and its partitions are Parquet files for everybody (IVOA Note HATS, 2025).

The address of a table is a HATS collection whose primary catalogue is a state of the table below it:
``/hats/stars.main/20261120T085345-3f2a/``. A client finds it in ``collection.properties`` and asks for all else there,
so that whatever is published meanwhile changes nothing for it (`hven.services.tilings`).
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import anyio
import anyio.to_thread
from starlette.responses import RedirectResponse, Response

from hven import services
from hven.engines import Snapshot
from hven.formats import hats_layout
from hven.model.errors import NotFoundError, format_message
from hven.services import tilings
from hven.services._byte_ranges import answer_file, stream_pieces
from hven.services._tile_files import read_tile_range
from hven.services.errors import PLAIN_TEXT_ERRORS
from hven.services.face import Face, ServiceContext, UsageExample, create_route

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.services.tilings import Tiling
    from hven.site import PublishedTable

MAX_CONCURRENT_PARTITIONS = 4  # partitions that are made at the same time
POINT_MAP_FILE = "point_map.fits"
PARQUET_MEDIA_TYPE, HTML_MEDIA_TYPE = "application/vnd.apache.parquet", "text/html"


class CatalogueFile(NamedTuple):
    """What an address means: a body, or a file; its tag, media type, and whether everybody gets it."""

    body: bytes | None
    path: Path | None
    size: int
    etag: str
    media_type: str
    is_public: bool


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/hats/`` and all below."""
    looking, making = anyio.CapacityLimiter(MAX_CONCURRENT_PARTITIONS), anyio.CapacityLimiter(MAX_CONCURRENT_PARTITIONS)

    def find_file(request: Request, text: str, path: str) -> CatalogueFile | str:
        state, _, state_path = path.partition("/")
        tiling = tilings.find_tiling(
            context,
            context.identify_principal(request),
            text,
            None if state in {"", hats_layout.COLLECTION_FILE} else state,
        )
        if state in {"", hats_layout.COLLECTION_FILE}:
            if state_path:
                raise NotFoundError(
                    format_message("there is no {path} in {state}", path[:200], text),
                    remedy=f"{hats_layout.COLLECTION_FILE} names the newest state",
                )
            return build_body_file(
                tiling,
                *(
                    (tiling.write_collection_properties(), "text/plain")
                    if state
                    else (write_directory_listing(list_entries(tiling)), HTML_MEDIA_TYPE)
                ),
            )
        address = f"{tiling.name}.{tiling.part}".rstrip(".")
        if address != state:
            return f"{address}/{state_path}"
        if (tiling.part == tilings.MARGIN_PART and tiling.get_layout().margin_rows < 0) or (
            tiling.part == tilings.INDEX_PART and tiling.indexed_column is None
        ):
            raise NotFoundError(
                format_message("{table} has no {part}", tiling.table.qualified_name, tiling.part),
                remedy=f"{hats_layout.COLLECTION_FILE} names what there is",
            )
        if tiling.part == tilings.INDEX_PART:
            pixel = None
        else:
            pixel = hats_layout.parse_partition_path(state_path)
        if pixel is not None and state_path == hats_layout.format_partition_path(*pixel):
            partition_params = {name.lower(): value for name, value in request.query_params.items()}
            columns = partition_params.get("columns")
            filters = partition_params.get("filters")
            tag, place = tiling.get_partition_file(*pixel, columns=columns, filters=filters)
        elif (
            tiling.part == tilings.INDEX_PART and state_path == f"{hats_layout.DATASET_DIRECTORY}/{tilings.INDEX_FILE}"
        ):
            tag, place = tiling.get_index_file()
        else:
            return build_body_file(tiling, *write_document(tiling, state_path))
        return CatalogueFile(None, place, place.stat().st_size, tag, PARQUET_MEDIA_TYPE, tiling.scope.is_public)

    async def answer_file_request(request: Request) -> Response:
        text, path = request.path_params["table"], request.path_params.get("path", "")
        partition = hats_layout.parse_partition_path(path) is not None
        got = await anyio.to_thread.run_sync(find_file, request, text, path, limiter=making if partition else looking)
        if isinstance(got, str):
            if request.url.query:
                query = f"?{request.url.query}"
            else:
                query = ""
            redirect_url = (
                f"{services.get_base_url(request, context.site.settings)}/hats/{quote(text)}/{quote(got)}{query}"
            )
            return RedirectResponse(
                redirect_url, headers={"cache-control": "no-cache", "vary": "authorization, cookie"}
            )
        tag = f'"{got.etag}"'
        cache_headers = services.build_cache_headers(tag, is_public=got.is_public, vary="authorization, cookie")
        headers = cache_headers | {
            "accept-ranges": "bytes",
            "x-content-type-options": "nosniff",
        }
        if services.is_unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        same = request.headers.get("if-range", tag) == tag
        place = got.path or Path()
        return answer_file(
            request,
            got.size,
            lambda begin, end: stream_pieces(read_tile_range(place, begin, end)),
            got.media_type,
            headers,
            allows_range=same,
            body=got.body,
        )

    route = create_route("/hats/{table}", answer_file_request)
    return [
        route,
        create_route("/hats/{table}/{path:path}", answer_file_request),
    ]


def build_body_file(tiling: Tiling, body: bytes, media_type: str) -> CatalogueFile:
    """Answer with a body that is there."""
    return CatalogueFile(body, None, len(body), tiling.make_key(body), media_type, tiling.scope.is_public)


def write_document(tiling: Tiling, path: str) -> tuple[bytes, str]:
    """Write what tells of a state, or list a directory of it; and its media type."""
    written: dict[str, tuple[Callable[[], bytes], str]] = {
        hats_layout.PROPERTIES_FILE: (tiling.write_properties, "text/plain"),
        hats_layout.OLD_PROPERTIES_FILE: (tiling.write_properties, "text/plain"),
        hats_layout.COMMON_METADATA_FILE: (tiling.write_common_metadata, PARQUET_MEDIA_TYPE),
    }
    if tiling.part == tilings.INDEX_PART:
        written[hats_layout.METADATA_FILE] = tiling.write_index_metadata, PARQUET_MEDIA_TYPE
    else:
        written[hats_layout.PARTITION_INFO_FILE] = tiling.write_partition_info, "text/csv"
    if not tiling.part:
        written |= {
            hats_layout.SKYMAP_FILE: (tiling.write_skymap, "application/fits"),
            POINT_MAP_FILE: (tiling.write_point_map, "application/fits"),
        }
    if path in written:
        write, kind = written[path]
        return write(), kind
    rows = (hats_layout.format_partition_path(*pixel) for pixel in tiling.get_layout().pixels)
    all_paths = [
        *written,
        *([f"{hats_layout.DATASET_DIRECTORY}/{tilings.INDEX_FILE}"] if tiling.part == tilings.INDEX_PART else rows),
    ]
    if path:
        folder = f"{path.rstrip('/')}/"
    else:
        folder = ""
    below = [file_path.removeprefix(folder).partition("/") for file_path in all_paths if file_path.startswith(folder)]
    if not below and path not in {hats_layout.DATASET_DIRECTORY, f"{hats_layout.DATASET_DIRECTORY}/"}:
        message = format_message("there is no {path} in {state}", path[:200], tiling.name)
        raise NotFoundError(message, remedy=f"{hats_layout.PARTITION_INFO_FILE} lists the partitions")
    return write_directory_listing(list(dict.fromkeys(f"{name}{slash}" for name, slash, _ in below))), HTML_MEDIA_TYPE


def list_entries(tiling: Tiling) -> list[str]:
    """List what is at the address of a table."""
    parts = [
        "",
        *([f".{tilings.MARGIN_PART}"] * (tiling.get_layout().margin_rows >= 0)),
        *([f".{tilings.INDEX_PART}"] * (tiling.indexed_column is not None)),
    ]
    return [hats_layout.COLLECTION_FILE, *(f"{tiling.name}{part}/" for part in parts)]


def write_directory_listing(names: Sequence[str]) -> bytes:
    """Write a directory as web servers list theirs: clients find files by the links."""
    links = "".join(f'<li><a href="{quote(name)}">{escape(name)}</a></li>\n' for name in names)
    return f"<!DOCTYPE html>\n<title>HATS</title>\n<ul>\n{links}</ul>\n".encode()


def list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """Show how the table is read as a whole, or a part of it, by libraries."""
    if not isinstance(published.relation, Snapshot):
        return []
    url = FACE.build_url(published.table, base_url)
    lon, lat = published.table.position or ("", "")
    lsdb = (
        f'import lsdb\nstars = lsdb.open_catalog("{url}")\nprint(stars.cone_search(83.63, 22.01, '
        f"radius_arcsec=3600).compute())"
    )
    state = f"{url}/{published.relation.id}"
    duckdb = (
        "SET VARIABLE files = (SELECT list(format('{}/dataset/Norder={}/Dir={}/Npix={}.parquet', "
        f"'{state}', Norder, Npix // 10000 * 10000, Npix)) FROM read_csv('{state}/{hats_layout.PARTITION_INFO_FILE}'));\n"
        f"SELECT count(*), avg({lon}), avg({lat}) FROM read_parquet(getvariable('files'));"
    )
    return [
        UsageExample(title="The whole table in Python (LSDB)", url=url, language="python", example=lsdb),
        UsageExample(title="The whole table in DuckDB", url=state, language="sql", example=duckdb),
    ]


def _describe_paths() -> dict[str, Any]:
    """Describe the addresses as OpenAPI has it."""
    words = {
        200: "the file",
        206: "a range of it",
        304: "it is the same",
        404: "no such table or file",
        410: "the state is not kept any more, or is not what this reader sees",
    }
    about = {
        "table": "a table: schema.name, or a collection",
        "state": "as collection.properties names it",
        "document": (
            f"{hats_layout.PROPERTIES_FILE}, {hats_layout.PARTITION_INFO_FILE}, {hats_layout.SKYMAP_FILE}, "
            f"{POINT_MAP_FILE}, {hats_layout.COMMON_METADATA_FILE}"
        ),
        "order": "HEALPix order",
        "dir": "its number, in ten thousands",
        "pixel": "nested index",
    }
    query_params = {
        "columns": "names, with commas between: these alone are sent",
        "filters": (
            f"{hats_layout.CELL_COLUMN}>=1,{hats_layout.CELL_COLUMN}<2: cells of order 29 whose rows are sent; all "
            f"else in it is passed over"
        ),
    }

    def describe_operation(
        name: str, summary: str, media_type: str, path: str, query_params: dict[str, str]
    ) -> tuple[str, dict[str, Any]]:
        places = [("path", param_name) for param_name in re.findall(r"\{(\w+)\}", path)] + [
            ("query", param_name) for param_name in query_params
        ]
        parameters = [
            {
                "name": param_name,
                "in": place,
                "required": place == "path",
                "description": (about | query_params)[param_name],
                "schema": {"type": "integer" if param_name in {"order", "dir", "pixel"} else "string"},
            }
            for place, param_name in places
        ]
        responses: dict[str, Any] = {str(status): {"description": text} for status, text in words.items()}
        responses["200"]["content"] = {media_type: {}}
        operation_facts = {"summary": summary, "parameters": parameters, "responses": responses}
        return path, {
            "get": {**operation_facts, "operationId": name},
            "head": {**operation_facts, "operationId": f"{name}-head"},
        }

    state = "/hats/{table}/{state}"
    return dict(
        [
            describe_operation(
                "hats-collection",
                "Which state of a table is the newest, and what there is of it",
                "text/plain",
                f"/hats/{{table}}/{hats_layout.COLLECTION_FILE}",
                {},
            ),
            describe_operation("hats-document", "What tells of a state", "text/plain", f"{state}/{{document}}", {}),
            describe_operation(
                "hats-partition",
                "Rows of a pixel of the sky",
                PARQUET_MEDIA_TYPE,
                f"{state}/{hats_layout.DATASET_DIRECTORY}/Norder={{order}}/Dir={{dir}}/Npix={{pixel}}.parquet",
                query_params,
            ),
        ]
    )


FACE = Face(
    name="hats",
    title="HATS",
    description="Whole tables as Parquet files by cells of the sky (HATS), for LSDB, DuckDB, pandas.",
    applies=tilings.can_tile,
    missing_requirement="positions",
    path="/hats/{table}",
    error_responder=PLAIN_TEXT_ERRORS,
    list_usage_examples=list_usage_examples,
    build_routes=build_routes,
    openapi_paths=_describe_paths(),
)
