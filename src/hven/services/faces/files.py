"""A collection's files: ``/collections/<name>/files`` lists them, ``/collections/<name>/files/<path>`` returns one.

A request may ask for a range of bytes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote as percent_encode

import anyio.to_thread
from starlette.responses import RedirectResponse, Response

from hven import services
from hven.model.errors import HvenError
from hven.model.table import FILES_UTYPE, find_file_root_and_relative_path
from hven.services import collection_files, remote_files
from hven.services._byte_ranges import answer_file, build_file_headers, stream_file_pieces
from hven.services._user_content import SANDBOX_HEADERS, choose_safe_media_type
from hven.services.collection_files import PIECE_BYTES
from hven.services.face import ServiceContext, ServiceFace, UsageExample, create_route
from hven.site import record_sent_data

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import Table
    from hven.site import PublishedTable

# a page or an image among the files may have scripts, which must not run as scripts of this site
FILE_HEADERS = {**SANDBOX_HEADERS, "vary": "authorization, cookie"}


class RequestedFile(NamedTuple):
    """A requested file.

    ``access_key``: key of the readers who get the same answer; ``successor_url``: address of the file that replaces it;
    ``path``: where it is on the disk; ``body``: the content of a small file; ``error``: why it cannot be read.
    """

    row: dict[str, Any]
    access_key: str
    successor_url: str | None
    path: str | None
    body: bytes | None
    error: HvenError | None


def is_files_table(table: Table) -> bool:
    """Return whether a table lists the files of a collection."""
    return table.utype == FILES_UTYPE


def build_file_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the routes of ``/collections/<name>/files`` and of the files below."""

    async def answer_file_request(request: Request) -> Response:
        return await _answer_file(context, request)

    async def answer_list(request: Request) -> Response:
        principal = context.identify_principal(request)
        file_rows = await anyio.to_thread.run_sync(
            collection_files.list_files, context, principal, request.path_params["name"]
        )
        sign_url = await anyio.to_thread.run_sync(context.build_url_signer, request)
        lines = []
        for row in file_rows:
            url = row["url"]
            if sign_url is not None and not row["direct"]:
                url = sign_url(url)
            byte_count = "-"
            if row["bytes"] is not None:
                byte_count = row["bytes"]
            lines.append(f"{row['sha256'] or '-'}  {url}  {byte_count}  {row['title']}\n")
        cache_control = "no-cache" if sign_url is None else "private, no-store"
        headers = {"content-type": "text/plain; charset=utf-8", "cache-control": cache_control, **FILE_HEADERS}
        return services.answer_with_body(request, "".join(lines).encode(), headers)

    return [
        create_route("/collections/{name}/files", answer_list),
        create_route("/collections/{name}/files/{path:path}", answer_file_request),
    ]


def _read_requested_file_and_log_access(
    context: ServiceContext, request: Request, collection: str, path: str
) -> RequestedFile:
    """Find a file; read a small one at once, because finding another thread for that takes longer."""
    principal = context.identify_principal(request)
    found_files = collection_files.find_files(context, principal, collection, [path])
    row = found_files.get_row(path)
    found_files.record_access("file taken" if request.method == "GET" else "file asked about", path)
    successor_url = None
    if row["release"]:
        successor_url = collection_files.find_successor_url(context, row["url"], row["release"], principal)
    root, _ = find_file_root_and_relative_path(path, row["roots"])
    file_path = None
    body = None
    read_error = None
    if root.scheme is None and not root.redirects_clients:
        try:
            file_path = collection_files.find_unchanged_file_path(context.site.settings, row)
            if request.method == "GET" and row["bytes"] <= PIECE_BYTES:
                read_pieces = collection_files.create_file_reader(context, row, file_path)
                body = b"".join(piece for piece in read_pieces(0, row["bytes"]) if piece is not None)
        except HvenError as error:  # raised later: a client that has the file needs no bytes
            read_error = error
    return RequestedFile(row, found_files.access_key, successor_url, file_path, body, read_error)


async def _answer_file(context: ServiceContext, request: Request) -> Response:
    name = request.path_params["name"]
    path = request.path_params["path"]
    base_url = services.get_base_url(request, context.site.settings)
    if b"hdu=" in request.scope["query_string"].lower():
        part = _find_hdu_param(request)
        if part:
            collection_url = f"{base_url}/collections/{percent_encode(name)}"
            part_url = f"{collection_url}/as/fits/{percent_encode(path)}?PART={percent_encode(part, safe='')}"
            return RedirectResponse(part_url, headers=FILE_HEADERS)
    requested_file = await anyio.to_thread.run_sync(_read_requested_file_and_log_access, context, request, name, path)
    row = requested_file.row
    is_public = requested_file.access_key == "public"
    root, path_below = find_file_root_and_relative_path(path, row["roots"])
    headers = {**FILE_HEADERS}
    if row["release"] is not None:
        successor_url = requested_file.successor_url
        if not successor_url:
            successor_url = f"{base_url}/collections/{percent_encode(row['collection'])}/files"
        headers["link"] = f'<{successor_url}>; rel="latest-version"'
    if root.redirects_clients:
        headers["cache-control"] = "no-cache" if is_public else "private, no-store"
        return RedirectResponse(f"{root.address}/{percent_encode(path_below)}", headers=headers)
    record_sent_data(file_collections=[row["collection"]])
    remote_file = None
    etag = f'"{row["tag"]}"'
    modified = remote_files.get_modification_time(row)
    if root.scheme is not None:
        with remote_files.add_file_path_to_errors(row):
            file_cache = remote_files.get_remote_file_cache(context)
            file_state = file_cache.get_file_state(root, path_below)
            remote_file = remote_files.require_unchanged_remote_file(row, await file_state)
        etag = f'"{remote_file.key}"'
        modified = remote_file.file_fact.modified
    # the headers of every file come after those for caches, which they extend
    headers = {**services.build_cache_headers(etag, is_public=is_public), **headers}
    headers |= build_file_headers(path, modified, row["sha256"])
    media_type, must_download = choose_safe_media_type(row["media_type"])
    if must_download:
        headers["content-disposition"] = headers["content-disposition"].replace("inline", "attachment", 1)
    if services.is_unchanged(request, etag):
        return Response(status_code=304, headers=headers)
    # a date does not allow ranges: two states of a file may have the same (RFC 9110, section 13.1.5)
    allows_range = request.headers.get("if-range", etag) == etag
    if remote_file is not None:
        stream_remote_pieces = partial(file_cache.stream_pieces, remote_file)
        return answer_file(
            request, remote_file.bytes, stream_remote_pieces, media_type, headers, allows_range=allows_range
        )
    if requested_file.error is not None:  # before the response begins
        raise requested_file.error
    read_pieces = collection_files.create_file_reader(context, row, requested_file.path)
    return answer_file(
        request,
        row["bytes"],
        lambda start, stop: stream_file_pieces(read_pieces(start, stop)),
        media_type,
        headers,
        allows_range=allows_range,
        body=requested_file.body,
    )


def _find_hdu_param(request: Request) -> str | None:
    """Return the number or name of a requested HDU; None if the whole file is requested."""
    return next((value for key, value in request.query_params.items() if key.lower() == "hdu" and value), None)


def list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """List an example of how all files are downloaded."""
    url = f"{base_url}/collections/{percent_encode(published.table.schema)}/files"
    command = f"curl -s '{url}' | while read sum url rest; do curl -sO \"$url\"; done"
    return [UsageExample(title="Files", url=url, example=command)]


FACE = ServiceFace(
    name="files",
    title="Files",
    is_selectable=True,
    applies=is_files_table,
    build_routes=build_file_routes,
    list_usage_examples=list_usage_examples,
)
