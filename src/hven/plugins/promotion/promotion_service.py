"""``/promotions``: from here, another site fetches collections to publish them. Only accounts of targets may read it.

``GET /promotions`` lists the collections, and ``GET /promotions/NAME`` describes one of them. The rows of a snapshot
are at ``/promotions/NAME/TABLE/rows``, and their hashes at ``/promotions/NAME/TABLE/hashes``.
"""

from __future__ import annotations

import io
import json
import time
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import numpy as np
import pyarrow as pa
from starlette.responses import FileResponse, Response, StreamingResponse

from hven import services
from hven.model.errors import ForbiddenError, NotFoundError, ParamError, UnauthenticatedError, format_message
from hven.plugins.promotion import transfers
from hven.plugins.promotion.collection_states import read_own_state
from hven.plugins.promotion.pinned_directories import find_own_file
from hven.plugins.promotion.promotion import SiteSource
from hven.plugins.promotion.row_copies import BLOCK_COUNT, StoredRows, open_rows, split_batch
from hven.plugins.promotion.settings import list_targets
from hven.services.face import ServiceContext, ServiceFace, create_route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.plugins.promotion.row_copies import Flags
    from hven.site import Site

MAX_CONCURRENT_READS = 2  # promotions are rare, and each reads whole tables
MAX_SENT_BATCH_BYTES = 16 * 1024**2  # far below what the other site accepts, so that a row may be large
EMPTY_BATCH_INTERVAL_SECONDS = 15.0  # an empty batch shows that rows are still read, before the other site gives up
PRIVATE_HEADERS = {"cache-control": "private, no-store"}


class _PromotionEndpoints:
    """The endpoints of the service.

    Parameters
    ----------
    context
        Context of the service.
    """

    def __init__(self, context: ServiceContext) -> None:
        self.context = context
        self.site = context.site
        self._limiter = anyio.CapacityLimiter(MAX_CONCURRENT_READS)

    async def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self._limiter)

    def check_access(self, request: Request) -> frozenset[str] | None:
        """Refuse everybody but the accounts of targets, which read private rows, too.

        Returns
        -------
        names
            Names of the collections that the account may fetch; None: all.
        """
        principal = self.context.identify_principal(request)
        if principal.is_anonymous:
            raise UnauthenticatedError(
                "only the account of a target may fetch whole collections",
                remedy="send the header Authorization: Bearer TOKEN",
            )
        targets = [
            target for target in list_targets(self.site.settings) if target.account and target.account == principal.name
        ]
        if not targets or principal.impersonator:
            message = format_message("the account {who!r} may not fetch whole collections", principal.name or "")
            raise ForbiddenError(message, remedy="set `account` of [targets.NAME] in hven.toml to this account")
        names = None
        if all(target.collections for target in targets):
            names = frozenset(name for target in targets for name in target.collections)
        wanted_name = request.path_params.get("name")
        if names is not None and wanted_name is not None and wanted_name not in names:
            message = format_message(
                "the account {who!r} may not fetch the collection {name!r}", principal.name or "", wanted_name[:80]
            )
            raise ForbiddenError(message, remedy="add it to `collections` of [targets.NAME] in hven.toml")
        return names

    async def answer_list(self, request: Request) -> Response:
        """List the collections that can be promoted."""
        allowed_names = self.check_access(request)
        names, names_without_rows = (
            [name for name in listed_names if allowed_names is None or name in allowed_names]
            for listed_names in await self._call(SiteSource(site=self.site).list_collections)
        )
        document = {
            "site": self.site.store.get_site_id(),
            "collections": names,
            "without_rows": names_without_rows,
        }
        body = json.dumps(document).encode()
        return _answer_bytes(request, body, transfers.MANIFEST_MEDIA_TYPE)

    async def answer_manifest(self, request: Request) -> Response:
        """Describe a collection: its tables, records and files."""
        self.check_access(request)
        body = await self._call(_write_manifest, self.site, request.path_params["name"])
        return _answer_bytes(request, body, transfers.MANIFEST_MEDIA_TYPE)

    async def answer_file(self, request: Request) -> Response:
        """Send a file of a collection."""
        self.check_access(request)
        name, path = request.path_params["name"], request.path_params["path"]
        file = await self._call(_find_file, self.site, name, path)
        return FileResponse(file, headers={**PRIVATE_HEADERS, "content-type": transfers.BINARY_MEDIA_TYPE})

    async def answer_hashes(self, request: Request) -> Response:
        """Send the sums of all blocks of a snapshot, or the hashes of the rows of some blocks."""
        self.check_access(request)
        rows = await self._call(_find_rows, self.site, request)
        block_text = request.query_params.get("blocks", "")
        try:
            if block_text:
                mask = _unpack_mask(bytes.fromhex(block_text), BLOCK_COUNT)
            else:
                mask = None
        except ValueError:
            raise ParamError("BLOCKS is not a mask of blocks", name="BLOCKS", remedy="write 64 digits 0-f") from None
        body = await self._call(_write_hashes, rows, mask)
        return _answer_bytes(request, body, transfers.BINARY_MEDIA_TYPE)

    async def answer_rows(self, request: Request) -> Response:
        """Send the rows of a snapshot, or those of a mask, as an Arrow stream."""
        self.check_access(request)
        rows = await self._call(_find_rows, self.site, request)
        body = await services.read_body(request, rows.snapshot.rows // 8 + 1)
        try:
            if body:
                mask = _unpack_mask(body, rows.snapshot.rows)
            else:
                mask = np.ones(rows.snapshot.rows, bool)
        except ValueError:
            remedy = "send one bit for each row"
            raise ParamError("the body is not a mask of the rows", name="BODY", remedy=remedy) from None
        headers = {**PRIVATE_HEADERS, "content-type": transfers.ROWS_MEDIA_TYPE}
        if request.method == "HEAD":
            return Response(None, headers=headers)
        parts = _write_rows(rows, mask)
        first_part = await self._call(next, parts, b"")  # its error is an answer with a status
        return StreamingResponse(self._iterate_parts(first_part, parts), headers=headers)

    async def _iterate_parts(self, first_part: bytes, parts: Iterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the parts of an answer. Reading counts as a concurrent read; waiting for the client does not."""
        yield first_part
        while (part := await self._call(next, parts, None)) is not None:
            yield part


def build_promotion_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the routes below ``/promotions``."""
    endpoints = _PromotionEndpoints(context)
    return [
        create_route("/promotions", endpoints.answer_list),
        create_route("/promotions/{name}", endpoints.answer_manifest),
        create_route("/promotions/{name}/files/{path:path}", endpoints.answer_file),
        create_route("/promotions/{name}/{table}/hashes", endpoints.answer_hashes),
        create_route("/promotions/{name}/{table}/rows", endpoints.answer_rows, methods=["GET", "POST"]),
    ]


def _answer_bytes(request: Request, body: bytes, media_type: str) -> Response:
    return services.answer_with_body(request, body, {**PRIVATE_HEADERS, "content-type": media_type})


def _write_manifest(site: Site, name: str) -> bytes:
    return transfers.write_manifest(read_own_state(site, name))


def _find_file(site: Site, name: str, path: str) -> Path:
    """Find a file that the manifest of a collection lists."""
    file = find_own_file(read_own_state(site, name).required_resource, path)
    if file is None or file.is_symlink():
        message = format_message("{name} has no file {path!r}", name[:80], path[:80])
        raise NotFoundError(message, remedy="run the promotion again: the file was deleted or replaced meanwhile")
    return file


def _find_rows(site: Site, request: Request) -> StoredRows:
    """Find the rows of a published snapshot that a manifest named; withdrawn rows are not sent."""
    name, table = request.path_params["name"], request.path_params["table"]
    snapshot_id = request.query_params.get("snapshot", "")
    record = read_own_state(site, name).records.get(f"{name}.{table}")
    if record is not None and record.id == snapshot_id:
        return open_rows(site, record)
    message = format_message(
        "{name}.{table} does not publish the snapshot {id!r}", name[:80], table[:80], snapshot_id[:80]
    )
    raise NotFoundError(message, remedy="run the promotion again: the collection was published anew meanwhile")


def _write_hashes(rows: StoredRows, mask: Flags | None) -> bytes:
    hashes = rows.compute_hashes()
    if mask is None:
        return transfers.write_blocks(hashes)
    return transfers.write_block_rows(hashes.select_blocks(mask))


def _unpack_mask(data: bytes, count: int) -> Flags:
    """Unpack a mask with one bit for each item.

    Raises
    ------
    ValueError
        It has another length.
    """
    if len(data) != (count + 7) // 8:
        raise ValueError(f"{len(data)} bytes for {count} items")
    return np.unpackbits(np.frombuffer(data, np.uint8), count=count).astype(bool)


def _write_rows(rows: StoredRows, mask: Flags) -> Iterator[bytes]:
    """Yield an Arrow stream of the rows of a mask; empty batches come while none of them is found."""
    schema = rows.table.arrow_schema
    sink = io.BytesIO()
    with pa.ipc.new_stream(pa.PythonFile(sink, "w"), schema) as writer:
        sent_time = time.monotonic()
        for batch in rows.select_batches(mask, schema.names):
            if batch.num_rows or time.monotonic() - sent_time >= EMPTY_BATCH_INTERVAL_SECONDS:
                for part in split_batch(batch, MAX_SENT_BATCH_BYTES):
                    writer.write_batch(part)
                    yield _take_bytes(sink)
                sent_time = time.monotonic()
    yield _take_bytes(sink)


def _take_bytes(sink: io.BytesIO) -> bytes:
    """Return what was written since the last call."""
    data = sink.getvalue()
    sink.seek(0)
    sink.truncate()
    return data


FACE = ServiceFace(name="promotions", title="Promotions", build_routes=build_promotion_routes)
