"""Result -> HTTP response: small ones in one write, big ones streamed from a thread, cancelled when the reader leaves.

The first batch is awaited before the first byte, so that errors that come early are real error documents with a real
status; late ones become the format's trailing mark (DALI 1.1 section 4.4).
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import anyio.to_thread
from starlette.responses import Response

from hven.dali.encoding import Encoder, choose
from hven.formats import MEDIA_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from hven.formats import Format, Head
    from hven.query import Result

T = TypeVar("T")
ONE_WRITE = 256 * 1024  # answers up to this size leave as one body with a Content-Length
CHUNK = 512 * 1024  # bytes gathered before they are sent
COMPRESS_FROM = 1_400  # a smaller body fits a packet anyway


def etag(result: Result, *parts: object) -> str:
    """Name an answer: equal tags mean equal bytes. Weak, because compression changes the bytes."""
    text = "\x00".join([result.version, result.scope.key, *map(str, parts)])
    return f'W/"{hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]}"'


def caching(result: Result, tag: str) -> dict[str, str]:
    """Give the caching headers of an answer: private ones are never shared (RFC 9111)."""
    who = "public" if result.scope.public else "private"
    return {"etag": tag, "cache-control": f"{who}, no-cache", "vary": "accept-encoding, authorization, cookie"}


def unchanged(request: Request, tag: str) -> bool:
    """Whether the reader has this answer already (If-None-Match)."""
    known = request.headers.get("if-none-match")
    return known is not None and (
        known.strip() == "*" or tag.removeprefix("W/") in {item.strip().removeprefix("W/") for item in known.split(",")}
    )


async def answer(
    request: Request,
    result: Result,
    fmt: Format,
    head: Head,
    options: Mapping[str, str],
    *,
    headers: Mapping[str, str],
) -> Response:
    """Make the response for a result.

    Raises
    ------
    HvenError
        The query failed before its first batch.
    """
    every = dict(headers)
    every["content-type"] = options.get(MEDIA_TYPE) or fmt.media_types[0]
    if result.small and result.limit != 0:
        result.begin()
    if result.small:
        chunks = _start(result, fmt, head, options)
        body = b"".join(itertools.islice(chunks, 64))
        if len(body) <= ONE_WRITE:
            rest = b"".join(chunks)
            if len(body) + len(rest) <= 4 * ONE_WRITE:
                return whole(request, body + rest, every)
            chunks = iter((rest,))
        return Streamed(request, itertools.chain((body,), chunks), result, every)
    first, more = await _watched(request, result, lambda: _primed(result, fmt, head, options))
    if more is None:
        return whole(request, first, every)
    return Streamed(request, itertools.chain((first,), more), result, every)


async def _watched(request: Request, result: Result, call: Callable[[], T]) -> T:
    """Run a call in a thread; the query is cancelled if its reader leaves meanwhile."""
    found: list[T] = []
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            result.cancel()

        tasks.start_soon(watch)
        try:
            found.append(await _in_thread(call))
        finally:
            tasks.cancel_scope.cancel()
    return found[0]


def whole(request: Request, body: bytes, headers: Mapping[str, str], status: int = 200) -> Response:
    """Make a response that leaves in one write, compressed if the reader likes it and it is worth it."""
    encoding = choose(request.headers.get("accept-encoding", "")) if len(body) > COMPRESS_FROM else None
    every = dict(headers)
    if encoding is not None:
        encoder = Encoder(encoding)
        body = encoder.feed(body) + encoder.finish()
        every["content-encoding"] = encoding
    return Response(b"" if request.method == "HEAD" else body, status, every)


def _start(result: Result, fmt: Format, head: Head, options: Mapping[str, str]) -> Iterator[bytes]:
    """Begin to write, after the first batch is there (its errors are raised here)."""
    batches = result.batches()
    first = next(batches, None)
    return fmt.write(head, batches if first is None else itertools.chain((first,), batches), result.end, options)


def _primed(result: Result, fmt: Format, head: Head, options: Mapping[str, str]) -> tuple[bytes, Iterator[bytes] | None]:
    """Write the first part; give the rest, or None if that was all."""
    try:
        chunks = _gathered(_start(result, fmt, head, options))
        first = next(chunks, b"")
        if len(first) >= CHUNK // 8:
            return first, chunks
        second = next(chunks, None)
    except BaseException:
        result.close()
        raise
    return (first, None) if second is None else (first, itertools.chain((second,), chunks))


def _gathered(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Gather small pieces; the very first piece goes out as it is, for a quick first byte."""
    waiting: list[bytes] = []
    size = 0
    limit = 1
    for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= limit:
            yield waiting[0] if len(waiting) == 1 else b"".join(waiting)
            waiting = []
            size = 0
            limit = CHUNK
    if waiting:
        yield b"".join(waiting)


class Streamed(Response):
    """A body that a thread writes while the event loop sends it; a reader who leaves cancels the query."""

    def __init__(self, request: Request, chunks: Iterator[bytes], result: Result, headers: Mapping[str, str]) -> None:
        every = dict(headers)
        self._encoding = choose(request.headers.get("accept-encoding", ""))
        if self._encoding is not None:
            every["content-encoding"] = self._encoding
        super().__init__(None, 200, every)
        del self.headers["content-length"]
        self._chunks = chunks
        self._result = result
        self._head = request.method == "HEAD"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  (ASGI's signature)
        """Send the body; three tasks: a thread that writes, the sender, and a watch for the reader's leaving."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if self._head:
                await send({"type": "http.response.body", "body": b""})
                return
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, receive, tasks.cancel_scope)
                await self._pump(send)
                tasks.cancel_scope.cancel()
        finally:
            self._result.cancel()
            close: Callable[[], Any] | None = getattr(self._chunks, "close", None)
            await _in_thread(self._finish, close)

    async def _watch(self, receive: Receive, scope: anyio.CancelScope) -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self._result.cancel()
                scope.cancel()
                return

    async def _pump(self, send: Send) -> None:
        encoder = Encoder(self._encoding) if self._encoding is not None else None
        lock = threading.Lock()

        def following() -> bytes | None:
            with lock:
                chunk = next(self._chunks, None)
                if encoder is None:
                    return chunk
                return None if chunk is None else encoder.feed(chunk)

        while True:
            chunk = await _in_thread(following)
            if chunk is None:
                break
            if chunk:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": encoder.finish() if encoder else b"", "more_body": False})

    def _finish(self, close: Callable[[], Any] | None) -> None:
        if close is not None:
            close()
        self._result.close()


async def _in_thread(call: Callable[..., Any], *args: Any) -> Any:
    with anyio.CancelScope(shield=True):
        return await anyio.to_thread.run_sync(call, *args)
