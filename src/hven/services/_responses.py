"""Result -> HTTP response: small ones in one write, big ones streamed from a thread, cancelled when the reader leaves.

The first batch is awaited before the first byte, so that errors that come early are real error documents with a real
status; late ones become the trailing mark of a VOTable (DALI 1.1 section 4.4). In every other format the exception
leaves this file and the server cuts the connection: a broken answer must never look whole.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from hven import __version__
from hven.formats import MEDIA_TYPE_OPTION
from hven.model import deadlines
from hven.model.errors import TimeLimitError
from hven.query import WARNING_INFO_NAME, build_result_head
from hven.services._encoding import StreamCompressor, choose_encoding
from hven.services._threads import TurnWaiter, call_in_thread
from hven.services.errors import get_request_id, log_service_error
from hven.site import record_sent_data

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.types import Message, Receive, Scope, Send

    from hven.formats import Format, InfoElement, TableMetadata
    from hven.model.table import Column
    from hven.query import QueryResult

_REQUEST_DATE_PATTERN = re.compile(
    rb'<INFO name="request(_date)?" value="[^"]*"/>'
)  # which is another in each answer that says the same
MAX_SINGLE_WRITE_BYTES = 256 * 1024  # answers up to this size leave as one body with a Content-Length
CHUNK_BYTES = 512 * 1024  # bytes gathered before they are sent
MIN_FIRST_CHUNK_BYTES = 64 * 1024  # a first chunk of this size leaves alone
MIN_COMPRESSED_BYTES = 1_400  # a smaller body fits a packet anyway
SEND_TIMEOUT_SECONDS = 120.0  # seconds after which a reader who takes nothing is given up
# seconds that a short first chunk waits for company: if it is all there is, the answer leaves in one write
SECOND_CHUNK_WAIT_SECONDS = 0.008
# headers of answers in formats that cannot say it
MAXREC_HEADER, OVERFLOW_HEADER, WARNING_HEADER = "hven-maxrec", "hven-overflow", "hven-warning"
# seconds that the event loop waits for an answer that shows at a socket; then it has its turn and a thread, as others
SOCKET_WAIT_SECONDS = 0.2
DISCONNECT_WATCH_DELAY_SECONDS = (
    0.02  # seconds after which a reader's leaving is looked for: most answers are over by then
)
CANCEL_GRACE_SECONDS = 0.7  # seconds that an engine gets to end a query whose time is over


def compute_etag(*parts: object) -> str:
    """Make the tag of an answer from its bytes, or from all that it is made of.

    Equal tags mean equal bytes, but for the address and the moment of a request. Weak, because compression changes the
    bytes.

    Parameters
    ----------
    parts
        The bytes; or texts, numbers, versions.

    Returns
    -------
    tag
        As the header ETag has it (RFC 9110, 8.8.3).
    """
    if len(parts) == 1 and isinstance(parts[0], bytes):
        digest_input = _REQUEST_DATE_PATTERN.sub(b"", parts[0])
    else:
        digest_input = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return f'W/"{hashlib.sha256(digest_input).hexdigest()[:24]}"'


def build_cache_headers(
    etag: str, *, is_public: bool, vary: str = "accept-encoding, authorization, cookie"
) -> dict[str, str]:
    """Make the caching headers of an answer: private ones are never shared (RFC 9111).

    Parameters
    ----------
    etag
        Of the answer, as `compute_etag` makes it.
    is_public
        Whether everybody gets the same.
    vary
        Headers of the request that make another answer.

    Returns
    -------
    headers
        Names in lower case.
    """
    return {"etag": etag, "cache-control": f"{'public' if is_public else 'private'}, no-cache", "vary": vary}


def answer_with_etag(
    request: Request, headers: Mapping[str, str], media_type: str, body: bytes | Callable[[], bytes], status: int = 200
) -> Response:
    """Answer with a document, which is not made, or not sent, if the reader has what its tag names.

    Parameters
    ----------
    request
        Whose answer it is.
    headers
        With the ETag.
    media_type
        Media type.
    body
        The document, or what makes it.
    status
        Of HTTP.

    Returns
    -------
    response
        The document; 304 without one.
    """
    if is_unchanged(request, headers["etag"]):
        return Response(status_code=304, headers=headers)
    return answer_with_body(
        request, body if isinstance(body, bytes) else body(), {**headers, "content-type": media_type}, status
    )


def is_unchanged(request: Request, etag: str) -> bool:
    """Return whether the reader has this answer already (If-None-Match, which counts for GET and HEAD alone: RFC 9110, 13.1.2).

    Parameters
    ----------
    request
        Of the reader.
    etag
        Of the answer.
    """
    client_etags = request.headers.get("if-none-match")
    if client_etags is None or request.method not in {"GET", "HEAD"}:
        return False
    return client_etags.strip() == "*" or etag.removeprefix("W/") in {
        item.strip().removeprefix("W/") for item in client_etags.split(",")
    }


async def answer_with_result(
    request: Request,
    result: QueryResult,
    format_options: tuple[Format, Mapping[str, str]],
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
    """Make the response for a result, which is closed whatever happens. HEAD gets the headers, and runs nothing.

    Parameters
    ----------
    request
        Whose answer it is.
    result
        With its columns; it is closed.
    format_options
        The format and its options, as `hven.formats.select_format` gives them.
    etag_parts
        All that the answer is made of, besides the state of the holdings and the reader's scope.
    headers
        Of an answer without such a tag.
    infos, name
        Of the head.
    adapt_columns
        Gives the columns other metadata.
    base_url
        Address of the site as its reader asks it.
    constants, enums
        Further constants of the head, and what may stand in them.
    descriptors
        Further ones of the head.

    Returns
    -------
    response
        Whole, or streamed from a thread.

    Raises
    ------
    HvenError
        The query failed before its first batch.
    """
    record_sent_data(answer=result)
    try:
        _begin_early(request, result)
        if headers is None:
            etag = compute_etag(
                __version__,
                result.version,
                result.scope.key,
                *etag_parts,
                *((base_url,) if result.descriptors else ()),
            )
            headers = build_cache_headers(
                etag,
                is_public=result.scope.is_public,
            )
            if is_unchanged(request, headers["etag"]) and not result.volatile:
                result.close()
                return Response(status_code=304, headers=headers)
        if adapt_columns is not None:
            result.replace_columns(adapt_columns(result.columns))
        metadata = build_result_head(result, infos=infos, name=name, site_url=base_url)
        if constants:
            metadata = replace(
                metadata, params=(*metadata.params, *constants), enums={**metadata.enums, **(enums or {})}
            )
        if descriptors:
            metadata = replace(metadata, descriptors_xml=(*metadata.descriptors_xml, *descriptors))
        return await _write_result(request, result, format_options[0], metadata, format_options[1], headers)
    except BaseException:
        result.close()
        raise


async def _write_result(
    request: Request,
    result: QueryResult,
    result_format: Format,
    metadata: TableMetadata,
    options: Mapping[str, str],
    headers: Mapping[str, str],
) -> Response:
    all_headers = dict(headers)
    all_headers["content-type"] = options.get(MEDIA_TYPE_OPTION) or result_format.media_types[0]
    if result_format.cannot_signal_overflow and (
        warnings := [info.value for info in metadata.infos if info.name == WARNING_INFO_NAME]
    ):
        all_headers[WARNING_HEADER] = "; ".join(warnings)
    result.request_id = get_request_id(request)

    def build_headers() -> dict[str, str]:
        return all_headers | _build_limit_headers(
            result, result_format
        )  # when the answer leaves: what was cut off is not known before

    if request.method == "HEAD":
        result.close()
        return answer_head_request(all_headers)
    remaining_stream: tuple[ResponseChunks, DisconnectWatcher, asyncio.Future[bytes | None] | None] | None = None
    # MAXREC=0 runs nothing; what an index answers takes less time here than its way to a thread would
    if result.row_limit == 0 or await _is_ready(result):
        write = result_format.write_small_table
        if write is None:
            first = None
        else:
            first = result.write_small_answer(lambda rows: write(metadata, rows, options))
        if first is None:
            pieces = _start_writing(result, result_format, metadata, options)
            parts: list[bytes] = []
            for piece in pieces:
                parts.append(piece)
                if sum(map(len, parts)) > MAX_SINGLE_WRITE_BYTES:
                    remaining_stream = ResponseChunks(pieces, result), DisconnectWatcher(request, result), None
                    break
            first = b"".join(parts)
    else:
        turn_waiter = TurnWaiter(
            result.request_turn, result.is_ready
        )  # who is refused here needs no thread, not even to end
        watch = DisconnectWatcher(request, result)
        chunks = ResponseChunks(_gather_chunks(result, result_format, metadata, options), result)
        try:
            first, is_complete = await _open_in_time(chunks, turn_waiter)
            second_chunk = None
            if not is_complete and len(first) < MIN_FIRST_CHUNK_BYTES:
                second_chunk = asyncio.ensure_future(call_in_thread(chunks.read_next))
                second_chunk.add_done_callback(_take_exception)
                is_complete = (
                    bool((await asyncio.wait({second_chunk}, timeout=SECOND_CHUNK_WAIT_SECONDS))[0])
                    and await second_chunk is None
                )
        except BaseException as error:
            watch.stop()
            closing = asyncio.ensure_future(call_in_thread(chunks.close))
            if isinstance(
                error, TimeLimitError
            ):  # the engine may take its time to see that it is over: nobody waits for that
                _closing_futures.add(closing)
                closing.add_done_callback(_closing_futures.discard)
            else:
                await closing
            raise
        if is_complete:
            watch.stop()
        else:
            remaining_stream = chunks, watch, second_chunk
    if remaining_stream is not None:
        return StreamedResponse(request, first, build_headers(), *remaining_stream)
    log_service_error(result.failure, result.request_id)
    return answer_with_body(request, first, build_headers())


async def _open_in_time(chunks: ResponseChunks, turn_waiter: TurnWaiter) -> tuple[bytes, bool]:
    """Wait for the turn and the first rows until a moment after the request's time is over.

    Then its reader is told, whatever the engine still does.
    """

    async def open_chunks() -> tuple[bytes, bool]:
        await turn_waiter.wait_for_turn()
        opening: tuple[bytes, bool] = await call_in_thread(chunks.read_opening, is_first_batch=True)
        return opening

    deadline = chunks.result.deadline
    opening = asyncio.ensure_future(open_chunks())
    opening.add_done_callback(_take_exception)
    timeout = None if deadline is None else max(deadline.remaining_seconds, 0.0) + CANCEL_GRACE_SECONDS
    await asyncio.wait({opening}, timeout=timeout)
    if deadline is None or opening.done():
        return await opening
    chunks.result.cancel()
    raise deadlines.build_time_limit_error(deadline.limit_seconds)


def _build_limit_headers(result: QueryResult, result_format: Format) -> dict[str, str]:
    """Make the headers that say what a format cannot.

    How many rows there are at most, and that there were more, as soon as that is known.
    """
    if not result_format.cannot_signal_overflow or result.row_limit is None:
        return {}
    has_overflowed = result.overflow or (
        not result.hides_rows and (total := result.total_row_count) is not None and total > result.row_limit
    )
    return {MAXREC_HEADER: str(result.row_limit)} | ({OVERFLOW_HEADER: "true"} if has_overflowed else {})


def _begin_early(request: Request, result: QueryResult) -> None:
    """Begin before the head is written, so that an engine elsewhere works meanwhile.

    Not if the reader may have the answer already.
    """
    if result.small and result.row_limit != 0 and request.method != "HEAD" and "if-none-match" not in request.headers:
        result.begin_execution()


async def _is_ready(result: QueryResult) -> bool:
    """Return whether the answer can be written on the event loop.

    It is ready, or shows at a socket in a moment, so that no thread need wait for it.

    To find a thread and to come back from it takes as long as all the rest of an answer of one row.
    """
    if result.small and result.begin_execution().small:
        return True
    until = None
    while (socket := result.awaited_file_descriptor) is not None:
        if result.has_arrived():
            return True
        if result.awaited_file_descriptor is not None:
            loop = asyncio.get_running_loop()
            if until is None:
                until = loop.time() + SOCKET_WAIT_SECONDS
            if not await _wait_until_readable(loop, socket, until):
                return False
    return False


async def _wait_until_readable(loop: asyncio.AbstractEventLoop, socket: int, deadline_time: float) -> bool:
    """Wait until something can be read; False: nothing came in time."""
    came: asyncio.Future[bool] = loop.create_future()

    def set_readable(is_readable: bool) -> None:
        if not came.done():
            came.set_result(is_readable)

    loop.add_reader(socket, set_readable, True)
    late = loop.call_at(deadline_time, set_readable, False)
    try:
        return await came
    finally:
        late.cancel()
        loop.remove_reader(socket)


def _take_exception(future: asyncio.Future[Any]) -> None:
    """Retrieve an error that nobody may be there to see any more."""
    if not future.cancelled():
        future.exception()


async def wait_for_disconnect(request: Request) -> None:
    """Wait until the reader has gone.

    Parameters
    ----------
    request
        Theirs.
    """
    while (await request.receive())["type"] != "http.disconnect":
        pass


class DisconnectWatcher:
    """Waits for the reader's leaving, and cancels the query then."""

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
            self._task = None  # it keeps its frame, and so this, the result and all


def answer_with_body(request: Request, body: bytes, headers: Mapping[str, str], status: int = 200) -> Response:
    """Make a response that leaves in one write, compressed if the reader likes it and it is worth it.

    Parameters
    ----------
    request
        Whose answer it is.
    body
        Not compressed.
    headers
        Names in lower case.
    status
        Of HTTP.

    Returns
    -------
    response
        Without a body if it was HEAD.
    """
    if len(body) > MIN_COMPRESSED_BYTES:
        encoding = choose_encoding(request.headers.get("accept-encoding", ""))
    else:
        encoding = None
    all_headers = dict(headers)
    if encoding is not None:
        encoder = StreamCompressor(encoding)
        body = encoder.compress(body) + encoder.finish()
        all_headers["content-encoding"] = encoding
    if request.method == "HEAD":
        return answer_head_request({**all_headers, "content-length": str(len(body))}, status)
    return Response(body, status, all_headers)


def answer_head_request(headers: Mapping[str, str], status: int = 200) -> Response:
    """Make the response to HEAD; of a length that nobody knows it says nothing."""
    response = Response(None, status, headers)
    if "content-length" not in headers:
        del response.headers["content-length"]
    return response


def _start_writing(
    result: QueryResult, result_format: Format, metadata: TableMetadata, options: Mapping[str, str]
) -> Iterator[bytes]:
    """Begin to write, after the first batch is there (its errors are raised here)."""
    batches = result.iterate_batches()
    first = next(batches, None)
    return result_format.write(
        metadata, batches if first is None else itertools.chain((first,), batches), result.build_status, options
    )


def _gather_chunks(
    result: QueryResult, result_format: Format, metadata: TableMetadata, options: Mapping[str, str]
) -> Iterator[bytes]:
    """Gather small pieces; the very first piece goes out as it is, for a quick first byte.

    What breaks off after a few pieces gives the last ones (a mark for people may be among them) before its error.
    """
    waiting: list[bytes] = []
    size = 0
    limit = 1
    chunk_count = 0
    try:
        for chunk in _start_writing(result, result_format, metadata, options):
            waiting.append(chunk)
            size += len(chunk)
            if size >= limit:
                yield waiting[0] if len(waiting) == 1 else b"".join(waiting)
                chunk_count += 1
                waiting = []
                size = 0
                limit = CHUNK_BYTES
    except Exception:
        if waiting and chunk_count > 1:
            yield b"".join(waiting)
        raise
    if waiting:
        yield b"".join(waiting)


class ResponseChunks:
    """The chunks of an answer, made one by one in whatever thread asks for the next."""

    def __init__(self, chunks: Iterator[bytes], result: QueryResult) -> None:
        self.result = result
        self._chunks: Iterator[bytes] | None = chunks
        self._lock = threading.Lock()

    def read_opening(self) -> tuple[bytes, bool]:
        """Return the first chunk, and whether it is all there is.

        What needs no more computing is written in one go: each way to another thread and back costs more than a small
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
        """Return the next chunk; None: that was all.

        Until the one after it is asked for, the reader's line is at work, and no clock runs.
        """
        with self._lock:
            self.run_deadline(is_running=True)
            if self._chunks is None:
                chunk = None
            else:
                chunk = next(self._chunks, None)
            if encoder is not None and chunk is not None:
                chunk = encoder.compress(chunk)
            self.run_deadline(is_running=False)
        return chunk

    def run_deadline(self, *, is_running: bool) -> None:
        """Let the clock of the request run, or stop it while the reader's line is at work."""
        if self.result.deadline is not None:
            (self.result.deadline.resume if is_running else self.result.deadline.pause)()

    def close(self) -> None:
        """Free everything; a thread that is still writing (its task was cancelled) is waited for."""
        self.result.cancel()
        with self._lock:
            chunks = self._chunks
            self._chunks = None
            close: Callable[[], Any] | None = getattr(chunks, "close", None)
            if close is not None:
                close()
            self.result.close()


class StreamedResponse(Response):
    """A body that threads make, chunk by chunk, while the event loop sends it; a reader who leaves cancels the query.

    No thread is held while the reader takes its time. The server's queue of chunks is short, so that a slow reader
    holds a few of them in memory and no more.
    """

    def __init__(
        self,
        request: Request,
        first_chunk: bytes,
        headers: Mapping[str, str],
        chunks: ResponseChunks,
        disconnect_watcher: DisconnectWatcher,
        second_chunk: asyncio.Future[bytes | None] | None = None,
    ) -> None:
        all_headers = dict(headers)
        encoding = choose_encoding(request.headers.get("accept-encoding", ""))
        if encoding is not None:
            all_headers["content-encoding"] = encoding
        super().__init__(None, 200, all_headers)
        del self.headers["content-length"]
        self._encoder = StreamCompressor(encoding) if encoding is not None else None
        self._first_chunk = first_chunk
        self._second_chunk = second_chunk
        self._chunks = chunks
        self._disconnect_watcher = disconnect_watcher

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  (ASGI's signature)
        """Send the body.

        Raises
        ------
        HvenError
            The rows broke off, and the format cannot say so: the server must cut the connection.
        TimeoutError
            The reader takes nothing any more.
        """
        result = self._chunks.result
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for chunk in self._iterate_bodies():
                if self._disconnect_watcher.has_left:
                    return
                # a server queues a few bodies for each reader: they must not be big
                for start in range(0, len(chunk), CHUNK_BYTES):
                    if len(chunk) <= CHUNK_BYTES:
                        body = chunk
                    else:
                        body = chunk[start : start + CHUNK_BYTES]
                    await send_with_timeout(send, {"type": "http.response.body", "body": body, "more_body": True})
                self._chunks.run_deadline(is_running=True)  # also while it waits for a thread
            if not self._disconnect_watcher.has_left:
                last = b"" if self._encoder is None else self._encoder.finish()
                await send_with_timeout(send, {"type": "http.response.body", "body": last, "more_body": False})
        except Exception as error:
            if not self._disconnect_watcher.has_left:
                result.failure = result.failure or error
                raise
        finally:
            self._disconnect_watcher.stop()
            if not self._disconnect_watcher.has_left:
                log_service_error(result.failure, result.request_id)
            await call_in_thread(self._chunks.close)

    async def _iterate_bodies(self) -> AsyncIterator[bytes]:
        yield await self._compress_chunk(self._first_chunk)
        if self._second_chunk is not None:
            second = await self._second_chunk
            if second is None:
                return
            yield await self._compress_chunk(second)
        while (chunk := await call_in_thread(self._chunks.read_next, self._encoder)) is not None:
            yield chunk

    async def _compress_chunk(self, chunk: bytes) -> bytes:
        compressed: bytes = chunk if self._encoder is None else await call_in_thread(self._encoder.compress, chunk)
        return compressed


async def send_with_timeout(send: Send, message: Message) -> None:
    """Send a message of ASGI; raises TimeoutError if the reader takes nothing any more."""
    async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
        await send(message)


_closing_futures: set[asyncio.Future[Any]] = set()  # of answers whose readers were told that it takes too long
