"""HATS 1.0 (IVOA Note, 2025): ``/hats/<schema.table>/``, which ``lsdb.open_catalog`` opens.

Partitions are Parquet files.

The address of a table is a HATS collection, whose primary catalogue is a state of the table below it:
``/hats/stars.main/20261120T085345-3f2a/``. Clients find it in ``collection.properties`` and request everything else
there, so that later changes do not affect them (`hven.plugins.hats.tilings`).
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
from hven.model.errors import NotFoundError, format_message
from hven.plugins.hats import hats_layout, tilings
from hven.plugins.hats.tile_files import read_tile_pieces_with_wait_marks
from hven.services.api.files import answer_file, stream_file_pieces
from hven.services.errors import PLAIN_TEXT_ERRORS
from hven.services.face import ServiceContext, ServiceFace, UsageExample, create_route

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.plugins.hats.tilings import TableTiling
    from hven.site import PublishedTable

MAX_CONCURRENT_PARTITIONS = 4  # partitions that are written at the same time
POINT_MAP_FILE = "point_map.fits"
PARQUET_MEDIA_TYPE = "application/vnd.apache.parquet"
HTML_MEDIA_TYPE = "text/html"


class HatsFile(NamedTuple):
    """The file of an address: a body, or a path; its tag and media type, and whether everybody gets it."""

    body: bytes | None
    path: Path | None
    size: int
    etag: str
    media_type: str
    is_public: bool


def build_hats_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the routes of ``/hats/``."""
    document_limiter = anyio.CapacityLimiter(MAX_CONCURRENT_PARTITIONS)
    partition_limiter = anyio.CapacityLimiter(MAX_CONCURRENT_PARTITIONS)

    async def answer_file_request(request: Request) -> Response:
        table_text = request.path_params["table"]
        path = request.path_params.get("path", "")
        is_partition = hats_layout.parse_pixel_path(path) is not None
        limiter = partition_limiter if is_partition else document_limiter
        file = await anyio.to_thread.run_sync(_find_file, context, request, table_text, path, limiter=limiter)
        if isinstance(file, str):
            base_url = services.get_base_url(request, context.site.settings)
            redirect_url = f"{base_url}/hats/{quote(table_text)}/{quote(file)}"
            if request.url.query:
                redirect_url += f"?{request.url.query}"
            redirect_headers = {"cache-control": "no-cache", "vary": "authorization, cookie"}
            return RedirectResponse(redirect_url, headers=redirect_headers)
        etag = f'"{file.etag}"'
        headers = services.build_cache_headers(etag, is_public=file.is_public, vary="authorization, cookie")
        headers |= {"accept-ranges": "bytes", "x-content-type-options": "nosniff"}
        if services.is_unchanged(request, etag):
            return Response(status_code=304, headers=headers)
        file_path = file.path or Path()
        return answer_file(
            request,
            file.size,
            lambda start, stop: stream_file_pieces(read_tile_pieces_with_wait_marks(file_path, start, stop)),
            file.media_type,
            headers,
            allows_range=request.headers.get("if-range", etag) == etag,
            body=file.body,
        )

    return [
        create_route("/hats/{table}", answer_file_request),
        create_route("/hats/{table}/{path:path}", answer_file_request),
    ]


def _find_file(context: ServiceContext, request: Request, table_text: str, path: str) -> HatsFile | str:
    """Find the file of an address; a text is the path to which the client is redirected."""
    state, _, state_path = path.partition("/")
    principal = context.identify_principal(request)
    if state in {"", hats_layout.COLLECTION_FILE}:
        tiling = tilings.find_tiling(context, principal, table_text, None)
        if state_path:
            message = format_message("there is no {path} in {state}", path[:200], table_text)
            raise NotFoundError(message, remedy=f"see {hats_layout.COLLECTION_FILE} for the table's newest state")
        if state:
            return build_hats_file_from_body(tiling, tiling.write_collection_properties(), "text/plain")
        return build_hats_file_from_body(
            tiling, write_directory_listing(list_hats_root_entries(tiling)), HTML_MEDIA_TYPE
        )
    tiling = tilings.find_tiling(context, principal, table_text, state)
    full_name = f"{tiling.name}.{tiling.part}".rstrip(".")
    if full_name != state:
        return f"{full_name}/{state_path}"
    if tiling.part and not _has_tiling_part(tiling):
        message = format_message("{table} has no {part}", tiling.table.qualified_name, tiling.part)
        raise NotFoundError(message, remedy=f"see the available parts in {hats_layout.COLLECTION_FILE}")
    if tiling.part == tilings.INDEX_PART:
        if state_path != f"{hats_layout.DATASET_DIRECTORY}/{tilings.INDEX_FILE}":
            return build_hats_file_from_body(tiling, *write_hats_path_content(tiling, state_path))
        etag, file_path = tiling.get_index_file()
    else:
        pixel = hats_layout.parse_pixel_path(state_path)
        if pixel is None or state_path != hats_layout.format_partition_path(*pixel):
            return build_hats_file_from_body(tiling, *write_hats_path_content(tiling, state_path))
        partition_params = {name.lower(): value for name, value in request.query_params.items()}
        columns = partition_params.get("columns")
        filters = partition_params.get("filters")
        etag, file_path = tiling.get_partition_file(*pixel, columns=columns, filters=filters)
    return HatsFile(None, file_path, file_path.stat().st_size, etag, PARQUET_MEDIA_TYPE, tiling.scope.is_public)


def _has_tiling_part(tiling: TableTiling) -> bool:
    if tiling.part == tilings.MARGIN_PART:
        return tiling.get_layout().margin_rows >= 0
    return tiling.indexed_column is not None


def build_hats_file_from_body(tiling: TableTiling, body: bytes, media_type: str) -> HatsFile:
    """Build a file from its content."""
    return HatsFile(body, None, len(body), tiling.make_key(body), media_type, tiling.scope.is_public)


def write_hats_path_content(tiling: TableTiling, path: str) -> tuple[bytes, str]:
    """Write a document that describes a state, or list a directory of it; return it and its media type."""
    writers: dict[str, tuple[Callable[[], bytes], str]] = {
        hats_layout.PROPERTIES_FILE: (tiling.write_properties, "text/plain"),
        hats_layout.OLD_PROPERTIES_FILE: (tiling.write_properties, "text/plain"),
        hats_layout.COMMON_METADATA_FILE: (tiling.write_common_metadata, PARQUET_MEDIA_TYPE),
    }
    if tiling.part == tilings.INDEX_PART:
        writers[hats_layout.METADATA_FILE] = tiling.write_index_metadata, PARQUET_MEDIA_TYPE
    else:
        writers[hats_layout.PARTITION_INFO_FILE] = tiling.write_partition_info, "text/csv"
    if not tiling.part:
        writers |= {
            hats_layout.SKYMAP_FILE: (tiling.write_skymap, "application/fits"),
            POINT_MAP_FILE: (tiling.write_point_map, "application/fits"),
        }
    if path in writers:
        write, media_type = writers[path]
        return write(), media_type
    all_paths = [*writers]
    if tiling.part == tilings.INDEX_PART:
        all_paths.append(f"{hats_layout.DATASET_DIRECTORY}/{tilings.INDEX_FILE}")
    else:
        all_paths += [hats_layout.format_partition_path(*pixel) for pixel in tiling.get_layout().pixels]
    folder = f"{path.rstrip('/')}/" if path else ""
    entries: dict[str, None] = {}
    for file_path in all_paths:
        if file_path.startswith(folder):
            name, slash, _ = file_path.removeprefix(folder).partition("/")
            entries[f"{name}{slash}"] = None
    if not entries and path not in {hats_layout.DATASET_DIRECTORY, f"{hats_layout.DATASET_DIRECTORY}/"}:
        message = format_message("there is no {path} in {state}", path[:200], tiling.name)
        raise NotFoundError(message, remedy=f"see the list of partitions in {hats_layout.PARTITION_INFO_FILE}")
    return write_directory_listing(list(entries)), HTML_MEDIA_TYPE


def list_hats_root_entries(tiling: TableTiling) -> list[str]:
    """List the entries at the address of a table."""
    entries = [hats_layout.COLLECTION_FILE, f"{tiling.name}/"]
    if tiling.get_layout().margin_rows >= 0:
        entries.append(f"{tiling.name}.{tilings.MARGIN_PART}/")
    if tiling.indexed_column is not None:
        entries.append(f"{tiling.name}.{tilings.INDEX_PART}/")
    return entries


def write_directory_listing(names: Sequence[str]) -> bytes:
    """Write a directory listing as web servers do: clients find files by the links."""
    links = "".join(f'<li><a href="{quote(name)}">{escape(name)}</a></li>\n' for name in names)
    return f"<!DOCTYPE html>\n<title>HATS</title>\n<ul>\n{links}</ul>\n".encode()


def list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """List examples of how libraries read the table, or a part of it."""
    if not isinstance(published.relation, Snapshot):
        return []
    url = FACE.build_url(published.table, base_url)
    lon, lat = published.table.position or ("", "")
    lsdb_code = (
        f'import lsdb\nstars = lsdb.open_catalog("{url}")\nprint(stars.cone_search(83.63, 22.01, '
        f"radius_arcsec=3600).compute())"
    )
    state_url = f"{url}/{published.relation.id}"
    duckdb_code = (
        "SET VARIABLE files = (SELECT list(format('{}/dataset/Norder={}/Dir={}/Npix={}.parquet', "
        f"'{state_url}', Norder, Npix // 10000 * 10000, Npix)) "
        f"FROM read_csv('{state_url}/{hats_layout.PARTITION_INFO_FILE}'));\n"
        f"SELECT count(*), avg({lon}), avg({lat}) FROM read_parquet(getvariable('files'));"
    )
    return [
        UsageExample(title="The whole table in Python (LSDB)", url=url, language="python", example=lsdb_code),
        UsageExample(title="The whole table in DuckDB", url=state_url, language="sql", example=duckdb_code),
    ]


def _describe_openapi_paths() -> dict[str, Any]:
    """Describe the addresses as OpenAPI has it."""
    words = {
        200: "the file",
        206: "the requested byte range",
        304: "the file has not changed",
        404: "no such table or file",
        410: "the state is no longer kept, or is different from what this reader may see",
    }
    about = {
        "table": "a table: schema.name, or a collection",
        "state": "name of the state in collection.properties",
        "document": (
            f"{hats_layout.PROPERTIES_FILE}, {hats_layout.PARTITION_INFO_FILE}, {hats_layout.SKYMAP_FILE}, "
            f"{POINT_MAP_FILE}, {hats_layout.COMMON_METADATA_FILE}"
        ),
        "order": "HEALPix order",
        "dir": "pixel number, rounded down to a multiple of 10,000",
        "pixel": "nested index",
    }
    query_params = {
        "columns": "names of columns, separated by commas; only these are sent",
        "filters": (
            f"{hats_layout.CELL_COLUMN}>=1,{hats_layout.CELL_COLUMN}<2: cells of order 29 whose rows are sent; "
            "other conditions "
            "are ignored"
        ),
    }

    def describe_operation(
        name: str, summary: str, media_type: str, path: str, query_params: dict[str, str]
    ) -> tuple[str, dict[str, Any]]:
        param_places = [("path", param_name) for param_name in re.findall(r"\{(\w+)\}", path)]
        param_places += [("query", param_name) for param_name in query_params]
        descriptions = about | query_params
        parameters = []
        for place, param_name in param_places:
            param_type = "string"
            if param_name in {"order", "dir", "pixel"}:
                param_type = "integer"
            parameter = {
                "name": param_name,
                "in": place,
                "required": place == "path",
                "description": descriptions[param_name],
                "schema": {"type": param_type},
            }
            parameters.append(parameter)
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
                "Newest state of a table, and its parts",
                "text/plain",
                f"/hats/{{table}}/{hats_layout.COLLECTION_FILE}",
                {},
            ),
            describe_operation("hats-document", "Metadata of a state", "text/plain", f"{state}/{{document}}", {}),
            describe_operation(
                "hats-partition",
                "Rows in a pixel of the sky",
                PARQUET_MEDIA_TYPE,
                f"{state}/{hats_layout.DATASET_DIRECTORY}/Norder={{order}}/Dir={{dir}}/Npix={{pixel}}.parquet",
                query_params,
            ),
        ]
    )


FACE = ServiceFace(
    name="hats",
    title="HATS",
    is_selectable=True,
    description="Whole tables as Parquet files, one for each cell of the sky (HATS), for LSDB, DuckDB and pandas.",
    applies=tilings.can_tile,
    missing_requirement="positions",
    path="/hats/{table}",
    error_responder=PLAIN_TEXT_ERRORS,
    list_usage_examples=list_usage_examples,
    build_routes=build_hats_routes,
    openapi_paths=_describe_openapi_paths(),
    texts={
        "fr": {
            "The whole table in Python (LSDB)": "Toute la table en Python (LSDB)",
            "The whole table in DuckDB": "Toute la table en DuckDB",
        }
    },
)
