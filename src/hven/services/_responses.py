"""HTTP responses of results: small ones in one write, large ones streamed from a thread, cancelled on disconnect.

The first batch is awaited before the first byte, so that early errors become error documents with their own status.
Later errors become the trailing INFO of a VOTable (DALI 1.1, section 4.4). In other formats they are raised, and the
server breaks the connection: an incomplete answer must never look complete.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.responses import Response

from hven import __version__
from hven.formats import MEDIA_TYPE_OPTION
from hven.model import deadlines, plugins
from hven.model.errors import TimeLimitError
from hven.query import WARNING_INFO_NAME, build_result_metadata
from hven.services._content_encoding import StreamCompressor, choose_encoding
from hven.services._threads import TurnWaiter, call_in_thread
from hven.services.admission import BUILD_TAG_SCOPE_KEY, STORE_ANSWER_SCOPE_KEY, store_answer
from hven.services.errors import log_service_error
from hven.services.params import get_request_id
from hven.site import record_sent_data

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.types import Message, Receive, Scope, Send

    from hven.formats import InfoElement, TableFormat, TableMetadata
    from hven.model.table import Column, Table
    from hven.query import QueryResult

RESULT_VARY = "accept, accept-encoding, authorization, cookie"
# INFOs that differ between equal answers
_REQUEST_DATE_PATTERN = re.compile(rb'<INFO name="request(_date)?" value="[^"]*"/>')
MAX_SINGLE_WRITE_BYTES = 256 * 1024  # answers up to this size are sent as one body with a Content-Length
CHUNK_BYTES = 512 * 1024  # bytes of a chunk
MIN_FIRST_CHUNK_BYTES = 64 * 1024  # a first chunk of this size is sent by itself
MIN_COMPRESSED_BYTES = 1_400  # a smaller body fits into one packet
SEND_TIMEOUT_SECONDS = 120.0  # seconds after which a client that receives nothing is given up
# seconds that a short first chunk waits for the second: if there is none, the answer is sent in one write
SECOND_CHUNK_WAIT_SECONDS = 0.008
# headers of answers in formats without metadata for these
MAXREC_HEADER = "hven-maxrec"
OVERFLOW_HEADER = "hven-overflow"
WARNING_HEADER = "hven-warning"
SOCKET_WAIT_SECONDS = 0.2  # seconds that the event loop waits for rows at a socket; after that a thread waits
DISCONNECT_WATCH_DELAY_SECONDS = 0.02  # seconds after which a disconnect is watched for: most answers are sent by then
CANCEL_GRACE_SECONDS = 0.7  # seconds that an engine gets to end a query after its time limit


def compute_etag(*parts: object) -> str:
    """Compute the entity tag of an answer from its bytes, or from everything on which it depends.

    Equal tags mean equal bytes, except for the address and the time of the request. The tag is weak, because
    compression changes the bytes.

    Parameters
    ----------
    parts
        The bytes; or texts, numbers, versions.

    Returns
    -------
    tag
        A value of the header ETag (RFC 9110, 8.8.3).
    """
    if len(parts) == 1 and isinstance(parts[0], bytes):
        digest_input = _REQUEST_DATE_PATTERN.sub(b"", parts[0])
    else:
        digest_input = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return f'W/"{hashlib.sha256(digest_input).hexdigest()[:24]}"'


def build_cache_headers(
    etag: str, *, is_public: bool, vary: str = "accept-encoding, authorization, cookie"
) -> dict[str, str]:
    """Build the caching headers of an answer: private ones are never shared (RFC 9111).

    Parameters
    ----------
    etag
        Entity tag of the answer, from `compute_etag`.
    is_public
        Whether everybody gets the same answer.
    vary
        Headers of the request on which the answer depends.

    Returns
    -------
    headers
        Headers with lower-case names.
    """
    scope = "public" if is_public else "private"
    return {"etag": etag, "cache-control": f"{scope}, no-cache", "vary": vary}


def answer_with_etag(
    request: Request, headers: Mapping[str, str], media_type: str, body: bytes | Callable[[], bytes], status: int = 200
) -> Response:
    """Answer with a document, unless the client already has the one with this tag.

    Parameters
    ----------
    request
        Request of the client.
    headers
        Headers with the ETag.
    media_type
        Media type.
    body
        The document, or a function that builds it.
    status
        HTTP status.

    Returns
    -------
    response
        The document; or 304 without one.
    """
    if is_unchanged(request, headers["etag"]):
        return Response(status_code=304, headers=headers)
    if isinstance(body, bytes):
        document = body
    else:
        document = body()
    return answer_with_body(request, document, {**headers, "content-type": media_type}, status)


def is_unchanged(request: Request, etag: str) -> bool:
    """Return whether the client already has an answer (If-None-Match of GET and HEAD: RFC 9110, 13.1.2).

    Parameters
    ----------
    request
        Request of the client.
    etag
        Entity tag of the answer.
    """
    header = request.headers.get("if-none-match")
    if header is None or request.method not in {"GET", "HEAD"}:
        return False
    if header.strip() == "*":
        return True
    client_tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return etag.removeprefix("W/") in client_tags


async def answer_with_result(
    request: Request,
    result: QueryResult,
    format_options: tuple[TableFormat, Mapping[str, str]],
    *,
    etag_parts: Sequence[object] = (),
    headers: Mapping[str, str] | None = None,
    infos: Sequence[InfoElement] = (),
    name: str | None = None,
    adapt_columns: Callable[[tuple[Column, ...]], tuple[Column, ...]] | None = None,
    base_url: str = "",
    constants: Sequence[tuple[Column, object]] = (),
    enums: Mapping[str, Mapping[str, str]] | None = None,
    descriptors: Sequence[str] = (),
) -> Response:
    """Build the response for a result, and close the result in any case. HEAD gets the headers, and runs nothing.

    Parameters
    ----------
    request
        Request of the client.
    result
        The result; it is closed.
    format_options
        The format and its options, from `hven.formats.select_format`.
    etag_parts
        Everything on which the answer depends, besides the published state and the reader's scope.
    headers
        Headers of an answer without an entity tag.
    infos, name
        Information and table name for the head of the document.
    adapt_columns
        Changes the metadata of the columns.
    base_url
        Address of the site in the request.
    constants, enums
        Further constants of the head, and their allowed values.
    descriptors
        Further service descriptors of the head.

    Returns
    -------
    response
        The whole answer, or one that is streamed from a thread.

    Raises
    ------
    HvenError
        The query failed before its first batch.
    """
    record_sent_data(answer=result)
    try:
        _begin_query_early(request, result)
        if headers is None:
            if BUILD_TAG_SCOPE_KEY in request.scope and not result.volatile:
                etag = request.scope[BUILD_TAG_SCOPE_KEY](result.tables, is_public=result.scope.is_public)
            else:
                all_parts = [__version__, result.version, result.scope.key, *etag_parts]
                if result.descriptors:
                    all_parts.append(base_url)
                etag = compute_etag(*all_parts)
            headers = build_cache_headers(etag, is_public=result.scope.is_public, vary=RESULT_VARY)
            if is_unchanged(request, headers["etag"]) and not result.volatile:
                result.close()
                store_answer(request, result, headers, None)
                return Response(status_code=304, headers=headers)
        if adapt_columns is not None:
            result.replace_column_metadata(adapt_columns(result.columns))
        metadata = build_result_metadata(result, infos=infos, name=name, site_url=base_url)
        if constants:
            all_enums = {**metadata.enums, **(enums or {})}
            metadata = replace(metadata, params=(*metadata.params, *constants), enums=all_enums)
        if descriptors:
            metadata = replace(metadata, descriptors_xml=(*metadata.descriptors_xml, *descriptors))
        for write_link in _load_result_link_writers() if base_url else ():
            if link := write_link(result.tables, base_url):
                headers = {**headers, "link": ", ".join(filter(None, (headers.get("link"), link)))}
        result_format, options = format_options
        writer = _ResultWriter(result, result_format, metadata, options)
        return await _build_result_response(request, writer, headers)
    except BaseException:
        result.close()
        raise


@plugins.cache_until_selection
def _load_result_link_writers() -> list[Callable[[Sequence[Table], str], str]]:
    return [write_link for _, write_link in plugins.iterate_package_objects("result_links")]


@dataclass(slots=True)
class _ResultWriter:
    """Writes a result in a format."""

    result: QueryResult
    format: TableFormat
    metadata: TableMetadata
    options: Mapping[str, str]

    def write_small_document(self) -> bytes | None:
        """Write the whole answer from an index; return None if the result must be read as usual."""
        write_small_table = self.format.write_small_table
        if write_small_table is None:
            return None
        return self.result.write_small_answer_and_close(
            lambda rows: write_small_table(self.metadata, rows, self.options)
        )

    def start_writing_pieces(self) -> Iterator[bytes]:
        """Wait for the first batch, whose errors are raised here, and begin to write."""
        batches = self.result.iterate_batches()
        first_batch = next(batches, None)
        all_batches = batches
        if first_batch is not None:
            all_batches = itertools.chain((first_batch,), batches)
        return self.format.write(self.metadata, all_batches, self.result.build_status, self.options)

    def iterate_chunks(self) -> Iterator[bytes]:
        """Write chunks; the first piece is a chunk by itself, for an early first byte.

        If an error occurs after the second chunk, the last pieces, which may tell people of it, precede the error.
        """
        pieces: list[bytes] = []
        size = 0
        limit = 1
        chunk_count = 0
        try:
            for piece in self.start_writing_pieces():
                pieces.append(piece)
                size += len(piece)
                if size >= limit:
                    yield pieces[0] if len(pieces) == 1 else b"".join(pieces)
                    chunk_count += 1
                    pieces = []
                    size = 0
                    limit = CHUNK_BYTES
        except Exception:
            if pieces and chunk_count > 1:
                yield b"".join(pieces)
            raise
        if pieces:
            yield b"".join(pieces)


class _ResponseBeginning(NamedTuple):
    """The first chunk of an answer, and a stream of the rest; ``chunks`` is None if there is no rest."""

    first_chunk: bytes
    chunks: ResponseChunks | None = None
    disconnect_watcher: DisconnectWatcher | None = None
    second_chunk: asyncio.Future[bytes | None] | None = None


async def _build_result_response(request: Request, writer: _ResultWriter, headers: Mapping[str, str]) -> Response:
    result = writer.result
    all_headers = dict(headers)
    all_headers["content-type"] = writer.options.get(MEDIA_TYPE_OPTION) or writer.format.media_types[0]
    if writer.format.cannot_signal_overflow:
        warnings = [info.value for info in writer.metadata.infos if info.name == WARNING_INFO_NAME]
        if warnings:
            all_headers[WARNING_HEADER] = "; ".join(warnings)
    result.request_id = get_request_id(request)
    if request.method == "HEAD":
        result.close()
        return answer_head_request(all_headers)
    # MAXREC=0 runs nothing; an answer from an index takes less time here than the way to a thread
    if result.row_limit == 0 or await _wait_for_quick_answer(result):
        begun = _write_answer_on_event_loop(request, writer)
    else:
        begun = await _write_first_chunk_in_thread(request, writer)
    # only now: whether rows are left out was not known before
    if writer.format.cannot_signal_overflow and result.row_limit is not None:
        all_headers |= _build_limit_headers(result, result.row_limit)
    if begun.chunks is not None and begun.disconnect_watcher is not None:
        return StreamedResponse(
            request,
            begun.first_chunk,
            all_headers,
            chunks=begun.chunks,
            disconnect_watcher=begun.disconnect_watcher,
            second_chunk=begun.second_chunk,
        )
    if result.failure is not None:
        log_service_error(result.failure, result.request_id)
    if STORE_ANSWER_SCOPE_KEY in request.scope:
        store_answer(request, result, all_headers, begun.first_chunk)
    return answer_with_body(request, begun.first_chunk, all_headers)


def _write_answer_on_event_loop(request: Request, writer: _ResultWriter) -> _ResponseBeginning:
    """Write an answer on the event loop; if it is large, its rest is streamed."""
    document = writer.write_small_document()
    if document is not None:
        return _ResponseBeginning(document)
    pieces = writer.start_writing_pieces()
    parts: list[bytes] = []
    for piece in pieces:
        parts.append(piece)
        if sum(map(len, parts)) > MAX_SINGLE_WRITE_BYTES:
            chunks = ResponseChunks(pieces, writer.result)
            chunks.kept_chunks = None
            return _ResponseBeginning(b"".join(parts), chunks, DisconnectWatcher(request, writer.result))
    return _ResponseBeginning(b"".join(parts))


async def _write_first_chunk_in_thread(request: Request, writer: _ResultWriter) -> _ResponseBeginning:
    """Write the first chunk of an answer in a thread, and the second where it comes soon."""
    result = writer.result
    turn_waiter = TurnWaiter(
        result.request_turn, result.has_turn_come
    )  # a refused request needs no thread, not even to end
    watcher = DisconnectWatcher(request, result)
    chunks = ResponseChunks(writer.iterate_chunks(), result)
    try:
        first_chunk, is_complete = await _read_first_chunk_in_time(chunks, turn_waiter)
        second_chunk = None
        if not is_complete and len(first_chunk) < MIN_FIRST_CHUNK_BYTES:
            second_chunk = asyncio.ensure_future(call_in_thread(chunks.read_next))
            second_chunk.add_done_callback(_mark_exception_retrieved)
            done, _ = await asyncio.wait({second_chunk}, timeout=SECOND_CHUNK_WAIT_SECONDS)
            is_complete = bool(done) and await second_chunk is None
    except BaseException as error:
        watcher.stop()
        closing = asyncio.ensure_future(call_in_thread(chunks.close))
        if isinstance(error, TimeLimitError):  # the client does not wait until the engine has ended
            _closing_futures.add(closing)
            closing.add_done_callback(_closing_futures.discard)
        else:
            await closing
        raise
    if is_complete:
        watcher.stop()
        return _ResponseBeginning(first_chunk)
    return _ResponseBeginning(first_chunk, chunks, watcher, second_chunk)


async def _read_first_chunk_in_time(chunks: ResponseChunks, turn_waiter: TurnWaiter) -> tuple[bytes, bool]:
    """Wait for the turn and the first rows until shortly after the time limit of the request.

    Then the client gets an error, whatever the engine still does.
    """

    async def open_chunks() -> tuple[bytes, bool]:
        await turn_waiter.wait_for_turn()
        opening: tuple[bytes, bool] = await call_in_thread(chunks.read_first_chunks, is_first_batch=True)
        return opening

    deadline = chunks.result.deadline
    opening = asyncio.ensure_future(open_chunks())
    opening.add_done_callback(_mark_exception_retrieved)
    timeout = None
    if deadline is not None:
        timeout = max(deadline.remaining_seconds, 0.0) + CANCEL_GRACE_SECONDS
    await asyncio.wait({opening}, timeout=timeout)
    if deadline is None or opening.done():
        return await opening
    chunks.result.cancel()
    raise deadlines.build_time_limit_error(deadline.limit_seconds)


def _build_limit_headers(result: QueryResult, row_limit: int) -> dict[str, str]:
    """Build the headers for formats without such metadata: the row limit, and whether there are more rows."""
    headers = {MAXREC_HEADER: str(row_limit)}
    has_overflow = result.overflow
    if not has_overflow and not result.hides_rows:
        total_rows = result.total_row_count
        has_overflow = total_rows is not None and total_rows > row_limit
    if has_overflow:
        headers[OVERFLOW_HEADER] = "true"
    return headers


def _begin_query_early(request: Request, result: QueryResult) -> None:
    """Begin the query before the head is written, so that a remote engine works meanwhile.

    Not if the client may already have the answer.
    """
    if result.small and result.row_limit != 0 and request.method != "HEAD" and "if-none-match" not in request.headers:
        result.begin_execution()


async def _wait_for_quick_answer(result: QueryResult) -> bool:
    """Return whether the answer can be written on the event loop.

    The rows are there, or come at a socket in a moment, so that no thread need wait for them. Going to a thread and
    back takes as long as everything else for an answer of one row.
    """
    if result.small and result.begin_execution().small:
        return True
    deadline_time = None
    while (socket := result.awaited_file_descriptor) is not None:
        if result.has_answer_arrived():
            return True
        if result.awaited_file_descriptor is not None:
            loop = asyncio.get_running_loop()
            if deadline_time is None:
                deadline_time = loop.time() + SOCKET_WAIT_SECONDS
            if not await _wait_until_readable(loop, socket, deadline_time):
                return False
    return False


async def _wait_until_readable(loop: asyncio.AbstractEventLoop, socket: int, deadline_time: float) -> bool:
    """Wait until a socket can be read; False: it could not until the deadline."""
    readable: asyncio.Future[bool] = loop.create_future()

    def set_readable(is_readable: bool) -> None:
        if not readable.done():
            readable.set_result(is_readable)

    loop.add_reader(socket, set_readable, True)
    timer = loop.call_at(deadline_time, set_readable, False)
    try:
        return await readable
    finally:
        timer.cancel()
        loop.remove_reader(socket)


def _mark_exception_retrieved(future: asyncio.Future[Any]) -> None:
    """Mark the exception of a future as retrieved, because its caller may be gone."""
    if not future.cancelled():
        future.exception()


async def wait_for_disconnect(request: Request) -> None:
    """Wait until the client disconnects.

    Parameters
    ----------
    request
        The client's request.
    """
    while (await request.receive())["type"] != "http.disconnect":
        pass


class DisconnectWatcher:
    """Waits until the client disconnects, and cancels the query then."""

    def __init__(self, request: Request, result: QueryResult) -> None:
        self.has_left = False
        self._request = request
        self._result = result
        self._task: asyncio.Task[None] | None = None
        self._start_timer = asyncio.get_running_loop().call_later(DISCONNECT_WATCH_DELAY_SECONDS, self._start_waiting)

    def _start_waiting(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._wait_for_disconnect())

    async def _wait_for_disconnect(self) -> None:
        await wait_for_disconnect(self._request)
        self.has_left = True
        self._result.cancel()

    def stop(self) -> None:
        """Stop waiting."""
        self._start_timer.cancel()
        if self._task is not None:
            self._task.cancel()
            self._task = None  # a task keeps its frame, and with it the result


def answer_with_body(request: Request, body: bytes, headers: Mapping[str, str], status: int = 200) -> Response:
    """Build a response that is sent in one write, compressed if the client accepts that and it is worth it.

    Parameters
    ----------
    request
        Request of the client.
    body
        The body, not compressed.
    headers
        Headers with lower-case names.
    status
        HTTP status.

    Returns
    -------
    response
        Without a body for HEAD.
    """
    encoding = None
    accept_encoding = request.headers.get("accept-encoding")
    if accept_encoding and len(body) > MIN_COMPRESSED_BYTES:
        encoding = choose_encoding(accept_encoding)
    all_headers = dict(headers)
    if encoding is not None:
        encoder = StreamCompressor(encoding)
        body = encoder.compress(body) + encoder.finish()
        all_headers["content-encoding"] = encoding
    if request.method == "HEAD":
        return answer_head_request({**all_headers, "content-length": str(len(body))}, status)
    return Response(body, status, all_headers)


def answer_head_request(headers: Mapping[str, str], status: int = 200) -> Response:
    """Build the response to HEAD; without a length, if it is not known."""
    response = Response(None, status, headers)
    if "content-length" not in headers:
        del response.headers["content-length"]
    return response


class ResponseChunks:
    """The chunks of an answer, each written in the thread that reads it."""

    def __init__(self, chunks: Iterator[bytes], result: QueryResult) -> None:
        self.result = result
        self.kept_chunks: list[bytes] | None = []  # what was read so far; None: it is too large for the cache
        self._chunks: Iterator[bytes] | None = chunks
        self._lock = threading.Lock()

    def read_first_chunks(self) -> tuple[bytes, bool]:
        """Return the first chunk, and whether it is the whole answer.

        Chunks that need no more computing are joined: going to another thread and back takes longer than a small
        answer.
        """
        parts = [self.read_next() or b""]
        while self.result.is_computed and sum(map(len, parts)) < MIN_FIRST_CHUNK_BYTES:
            chunk = self.read_next()
            if chunk is None:
                return b"".join(parts), True
            parts.append(chunk)
        return b"".join(parts), False

    def read_next(self, encoder: StreamCompressor | None = None) -> bytes | None:
        """Return the next chunk; None at the end.

        The time limit of the request is suspended until the next call, while the chunk is sent.
        """
        with self._lock:
            self.resume_or_pause_deadline(is_running=True)
            chunk = None
            if self._chunks is not None:
                chunk = next(self._chunks, None)
            if chunk is not None and self.kept_chunks is not None:
                self.kept_chunks.append(chunk)
                if sum(map(len, self.kept_chunks)) > MAX_SINGLE_WRITE_BYTES:
                    self.kept_chunks = None
            if encoder is not None and chunk is not None:
                chunk = encoder.compress(chunk)
            self.resume_or_pause_deadline(is_running=False)
        return chunk

    def resume_or_pause_deadline(self, *, is_running: bool) -> None:
        """Let the time limit of the request run, or suspend it while a chunk is sent."""
        deadline = self.result.deadline
        if deadline is None:
            return
        if is_running:
            deadline.resume()
        else:
            deadline.pause()

    def close(self) -> None:
        """Close everything; wait for a thread that is still writing, because its task was cancelled."""
        self.result.cancel()
        with self._lock:
            chunks = self._chunks
            self._chunks = None
            close: Callable[[], Any] | None = getattr(chunks, "close", None)
            if close is not None:
                close()
            self.result.close()


class StreamedResponse(Response):
    """A body that threads write chunk by chunk while the event loop sends it; a disconnect cancels the query.

    No thread waits for the client. The server's queue of chunks is short, so that a slow client holds only a few of
    them in memory.
    """

    def __init__(
        self,
        request: Request,
        first_chunk: bytes,
        headers: Mapping[str, str],
        *,
        chunks: ResponseChunks,
        disconnect_watcher: DisconnectWatcher,
        second_chunk: asyncio.Future[bytes | None] | None = None,
    ) -> None:
        all_headers = dict(headers)
        encoding = choose_encoding(request.headers.get("accept-encoding", ""))
        if encoding is not None:
            all_headers["content-encoding"] = encoding
        super().__init__(None, 200, all_headers)
        self._request = request
        self._answer_headers = headers
        del self.headers["content-length"]
        self._compressor: StreamCompressor | None = None
        if encoding is not None:
            self._compressor = StreamCompressor(encoding)
        self._first_chunk = first_chunk
        self._second_chunk = second_chunk
        self._chunks = chunks
        self._disconnect_watcher = disconnect_watcher

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  (ASGI's signature)
        """Send the body.

        Raises
        ------
        HvenError
            An error that the format cannot report: the server must break the connection.
        TimeoutError
            The client receives nothing any more.
        """
        result = self._chunks.result
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for chunk in self._iterate_body_chunks():
                if self._disconnect_watcher.has_left:
                    return
                # a server queues a few bodies for each client: they must not be large
                for start in range(0, len(chunk), CHUNK_BYTES):
                    body = chunk if len(chunk) <= CHUNK_BYTES else chunk[start : start + CHUNK_BYTES]
                    await send_with_timeout(send, {"type": "http.response.body", "body": body, "more_body": True})
                self._chunks.resume_or_pause_deadline(is_running=True)  # also while it waits for a thread
            kept_chunks = self._chunks.kept_chunks
            whole_body = None if kept_chunks is None else b"".join(kept_chunks)
            store_answer(self._request, result, self._answer_headers, whole_body)
            if not self._disconnect_watcher.has_left:
                last_body = b"" if self._compressor is None else self._compressor.finish()
                await send_with_timeout(send, {"type": "http.response.body", "body": last_body, "more_body": False})
        except Exception as error:
            if not self._disconnect_watcher.has_left:
                result.failure = result.failure or error
                raise
        finally:
            self._disconnect_watcher.stop()
            if not self._disconnect_watcher.has_left:
                log_service_error(result.failure, result.request_id)
            await call_in_thread(self._chunks.close)

    async def _iterate_body_chunks(self) -> AsyncIterator[bytes]:
        yield await self._compress_chunk(self._first_chunk)
        if self._second_chunk is not None:
            second_chunk = await self._second_chunk
            if second_chunk is None:
                return
            yield await self._compress_chunk(second_chunk)
        while (chunk := await call_in_thread(self._chunks.read_next, self._compressor)) is not None:
            yield chunk

    async def _compress_chunk(self, chunk: bytes) -> bytes:
        if self._compressor is None:
            return chunk
        compressed: bytes = await call_in_thread(self._compressor.compress, chunk)
        return compressed


async def send_with_timeout(send: Send, message: Message) -> None:
    """Send an ASGI message; raise TimeoutError if the client receives nothing any more."""
    async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
        await send(message)


_closing_futures: set[asyncio.Future[Any]] = set()  # of answers that ended with a time limit
