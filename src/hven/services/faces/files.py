"""A collection's files: ``/collections/<name>/files`` lists them, ``/collections/<name>/files/<path>`` gives one, or a range of its bytes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote as percent_encode

import anyio.to_thread
from starlette.responses import RedirectResponse, Response

from hven import services
from hven.model.errors import HvenError
from hven.model.table import FILES_UTYPE, find_root
from hven.services import collection_files, remote_files
from hven.services._byte_ranges import answer_file, build_file_headers, stream_pieces
from hven.services._user_content import SANDBOX_HEADERS, choose_safe_media_type
from hven.services.collection_files import PIECE_BYTES
from hven.services.face import Face, ServiceContext, UsageExample, create_route
from hven.site import record_sent_data

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import Table
    from hven.site import PublishedTable

# a page or an image among the files may hold scripts: they must not run as if they were this site's
FILE_HEADERS = {**SANDBOX_HEADERS, "vary": "authorization, cookie"}


class RequestedFile(NamedTuple):
    """A file as it was asked for.

    Who may keep the answer, what stands for it now, where it lies here, all of a small one, and why it cannot be had.
    """

    row: dict[str, Any]
    access_key: str
    successor_url: str | None
    path: str | None
    body: bytes | None
    error: HvenError | None


def has_files(table: Table) -> bool:
    """Serve tables that a descriptor's ``files`` made."""
    return table.utype == FILES_UTYPE


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/collections/<name>/files`` and what is below."""
    block_cache = remote_files.get_remote_block_cache(context)

    def find_requested_file(request: Request, name: str, path: str) -> RequestedFile:
        """Ask for a file; a small one is read here and now: to find another thread for that takes longer."""
        principal = context.identify_principal(request)
        found_files = collection_files.find_files(context, principal, name, [path])
        row = found_files.get_row(path)
        found_files.record_access("file taken" if request.method == "GET" else "file asked about", path)
        if row["release"]:
            newer = collection_files.find_successor_url(context, row["url"], row["release"], principal)
        else:
            newer = None
        root = find_root(path, row["roots"])[0]
        place = body = lost = None
        if root.scheme is None and not root.redirects_clients:
            try:
                place = collection_files.find_file_path(context.site.settings, row)
                if request.method == "GET" and row["bytes"] <= PIECE_BYTES:
                    file_reader = collection_files.create_file_reader(context, row, place)
                    read = file_reader(0, row["bytes"])
                    body = b"".join(piece for piece in read if piece is not None)
            except HvenError as error:  # of who has it already nothing is asked
                lost = error
        return RequestedFile(row, found_files.access_key, newer, place, body, lost)

    async def answer_file_request(request: Request) -> Response:
        name = request.path_params["name"]
        path = request.path_params["path"]
        if b"hdu=" in request.scope["query_string"].lower() and (part := _find_hdu_param(request)):
            collection_url = (
                f"{services.get_base_url(request, context.site.settings)}/collections/{percent_encode(name)}"
            )
            return RedirectResponse(
                f"{collection_url}/as/fits/{percent_encode(path)}?PART={percent_encode(part, safe='')}",
                headers=FILE_HEADERS,
            )
        requested_file = await anyio.to_thread.run_sync(find_requested_file, request, name, path)
        row = requested_file.row
        newer = requested_file.successor_url
        root, below = find_root(path, row["roots"])
        link = {}
        if row["release"] is not None:
            newer = (
                newer
                or f"{services.get_base_url(request, context.site.settings)}/collections/{percent_encode(row['collection'])}/files"
            )
            link = {"link": f'<{newer}>; rel="latest-version"'}
        if root.redirects_clients:
            redirect_headers = {
                "cache-control": "no-cache" if requested_file.access_key == "public" else "private, no-store",
                **FILE_HEADERS,
                **link,
            }
            return RedirectResponse(f"{root.address}/{percent_encode(below)}", headers=redirect_headers)
        record_sent_data(file_collections=[row["collection"]])
        far_file = None
        if root.scheme is not None:
            with remote_files.name_failed_file(row):
                file_state = block_cache.get_file_state(root, below)
                far_file = remote_files.check_published_state(row, await file_state)
        if far_file is None:
            tag = f'"{row["tag"]}"'
        else:
            tag = f'"{far_file.key}"'
        cache_headers = services.build_cache_headers(tag, is_public=requested_file.access_key == "public")
        headers = {
            **cache_headers,
            **FILE_HEADERS,
            **link,
        }
        headers |= build_file_headers(
            path,
            remote_files.get_modification_time(row) if far_file is None else far_file.file_fact.modified,
            row["sha256"],
        )
        kind, loaded = choose_safe_media_type(row["media_type"])
        if loaded:
            headers["content-disposition"] = headers["content-disposition"].replace("inline", "attachment", 1)
        if services.is_unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        # also a date: two states of a file may have the same (RFC 9110 section 13.1.5)
        same = request.headers.get("if-range", tag) == tag
        if far_file is not None:
            pieces = partial(block_cache.stream_pieces, far_file)
            return answer_file(request, far_file.bytes, pieces, kind, headers, allows_range=same)
        if requested_file.error is not None:  # before anything is promised
            raise requested_file.error
        read = collection_files.create_file_reader(context, row, requested_file.path)
        return answer_file(
            request,
            row["bytes"],
            lambda begin, end: stream_pieces(read(begin, end)),
            kind,
            headers,
            allows_range=same,
            body=requested_file.body,
        )

    async def answer_list(request: Request) -> Response:
        file_rows = await anyio.to_thread.run_sync(
            collection_files.list_files, context, context.identify_principal(request), request.path_params["name"]
        )
        sign = await anyio.to_thread.run_sync(context.build_url_signer, request) or str
        lines = [
            (
                f"{row['sha256'] or '-'}  {row['url'] if row['direct'] else sign(row['url'])}  "
                f"{'-' if row['bytes'] is None else row['bytes']}  {row['title']}\n"
            )
            for row in file_rows
        ]
        cache_control = "no-cache" if sign is str else "private, no-store"
        headers = {"content-type": "text/plain; charset=utf-8", "cache-control": cache_control, **FILE_HEADERS}
        return services.answer_with_body(request, "".join(lines).encode(), headers)

    route = create_route("/collections/{name}/files", answer_list)
    return [
        route,
        create_route("/collections/{name}/files/{path:path}", answer_file_request),
    ]


def _find_hdu_param(request: Request) -> str | None:
    """Return which HDU of a file is wanted alone: its number or name."""
    return next((value for key, value in request.query_params.items() if key.lower() == "hdu" and value), None)


def list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """Show the list, and how to get one and check it."""
    url = f"{base_url}/collections/{percent_encode(published.table.schema)}/files"
    return [
        UsageExample(
            title="Files", url=url, example=f"curl -s '{url}' | while read sum url rest; do curl -sO \"$url\"; done"
        )
    ]


FACE = Face(
    name="files", title="Files", applies=has_files, build_routes=build_routes, list_usage_examples=list_usage_examples
)
