"""Result -> HTTP response: small ones in one write, big ones streamed from a thread, cancelled when the reader leaves.

The first batch is awaited before the first byte, so that errors that come early are real error documents with a real
status; late ones become the trailing mark of a VOTable (DALI 1.1 section 4.4). In every other format the exception leaves
this file and the server cuts the connection: a broken answer must never look whole.
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
from hven.formats import MEDIA_TYPE
from hven.model import clock
from hven.model.errors import Timeout
from hven.query import WARNING, head
from hven.services._encoding import Encoder, choose
from hven.services._threads import Waiting, computed
from hven.services.errors import note, request_id
from hven.site import sends

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.types import Message, Receive, Scope, Send

    from hven.formats import Format, Head, Info
    from hven.model.table import Column
    from hven.query import Result

_MOMENT = re.compile(
    rb'<INFO name="request(_date)?" value="[^"]*"/>'
)  # which is another in each answer that says the same
ONE_WRITE = 256 * 1024  # answers up to this size leave as one body with a Content-Length
CHUNK = 512 * 1024  # bytes gathered before they are sent
COMPANY = 64 * 1024  # a first chunk of this size leaves alone
COMPRESS_FROM = 1_400  # a smaller body fits a packet anyway
STALLED = 120.0  # seconds after which a reader who takes nothing is given up
# seconds that a short first chunk waits for company: if it is all there is, the answer leaves in one write
SOON = 0.008
# headers of answers in formats that cannot say it
MAXREC, OVERFLOW, UNUSED = "hven-maxrec", "hven-overflow", "hven-warning"
# seconds that the event loop waits for an answer that shows at a socket; then it has its turn and a thread, as others
PATIENCE = 0.2
LEAVING = 0.02  # seconds after which a reader's leaving is looked for: most answers are over by then
LATE = 0.7  # seconds that an engine gets to end a query whose time is over


def etag(*parts: object) -> str:
    """Make the tag of an answer from its bytes, or from all that it is made of: equal tags mean equal bytes, but for the address and the moment of a request. Weak, because compression changes the bytes.

    Parameters
    ----------
    parts
        The bytes; or texts, numbers, versions.

    Returns
    -------
    tag
        As the header ETag has it (RFC 9110, 8.8.3).
    """
    made = (
        _MOMENT.sub(b"", parts[0])
        if len(parts) == 1 and isinstance(parts[0], bytes)
        else "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    )
    return f'W/"{hashlib.sha256(made).hexdigest()[:24]}"'


def caching(tag: str, *, public: bool, vary: str = "accept-encoding, authorization, cookie") -> dict[str, str]:
    """Make the caching headers of an answer: private ones are never shared (RFC 9111).

    Parameters
    ----------
    tag
        Of the answer, as `etag` makes it.
    public
        Whether everybody gets the same.
    vary
        Headers of the request that make another answer.

    Returns
    -------
    headers
        Names in lower case.
    """
    return {"etag": tag, "cache-control": f"{'public' if public else 'private'}, no-cache", "vary": vary}


def tagged(
    request: Request, headers: Mapping[str, str], kind: str, body: bytes | Callable[[], bytes], status: int = 200
) -> Response:
    """Answer with a document, which is not made, or not sent, if the reader has what its tag names.

    Parameters
    ----------
    request
        Whose answer it is.
    headers
        With the ETag.
    kind
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
    if unchanged(request, headers["etag"]):
        return Response(status_code=304, headers=headers)
    return whole(request, body if isinstance(body, bytes) else body(), {**headers, "content-type": kind}, status)


def unchanged(request: Request, tag: str) -> bool:
    """Return whether the reader has this answer already (If-None-Match, which counts for GET and HEAD alone: RFC 9110, 13.1.2).

    Parameters
    ----------
    request
        Of the reader.
    tag
        Of the answer.
    """
    known = request.headers.get("if-none-match")
    if known is None or request.method not in {"GET", "HEAD"}:
        return False
    return known.strip() == "*" or tag.removeprefix("W/") in {
        item.strip().removeprefix("W/") for item in known.split(",")
    }


async def answer(
    request: Request,
    result: Result,
    form: tuple[Format, Mapping[str, str]],
    *,
    tag: Sequence[object] = (),
    headers: Mapping[str, str] | None = None,
    infos: Sequence[Info] = (),
    name: str | None = None,
    present: Callable[[tuple[Column, ...]], tuple[Column, ...]] | None = None,
    base: str = "",
    params: Sequence[tuple[Column, object]] = (),
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
    form
        The format and its options, as `hven.formats.select` gives them.
    tag
        All that the answer is made of, besides the state of the holdings and the reader's scope.
    headers
        Of an answer without such a tag.
    infos, name
        Of the head.
    present
        Gives the columns other metadata.
    base
        Address of the site as its reader asks it.
    params, enums
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
    sends(answer=result)
    try:
        _begin(request, result)
        if headers is None:
            headers = caching(
                etag(__version__, result.version, result.scope.key, *tag, *((base,) if result.descriptors else ())),
                public=result.scope.public,
            )
            if unchanged(request, headers["etag"]) and not result.volatile:
                result.close()
                return Response(status_code=304, headers=headers)
        if present is not None:
            result.present(present(result.columns))
        made = head(result, infos=infos, name=name, base=base)
        if params:
            made = replace(made, params=(*made.params, *params), enums={**made.enums, **(enums or {})})
        if descriptors:
            made = replace(made, descriptors=(*made.descriptors, *descriptors))
        return await _answer(request, result, form[0], made, form[1], headers)
    except BaseException:
        result.close()
        raise


async def _answer(
    request: Request, result: Result, fmt: Format, head: Head, options: Mapping[str, str], headers: Mapping[str, str]
) -> Response:
    every = dict(headers)
    every["content-type"] = options.get(MEDIA_TYPE) or fmt.media_types[0]
    if fmt.mute and (said := [info.value for info in head.infos if info.name == WARNING]):
        every[UNUSED] = "; ".join(said)
    result.request = request_id(request)

    def heads() -> dict[str, str]:
        return every | _cut(result, fmt)  # when the answer leaves: what was cut off is not known before

    if request.method == "HEAD":
        result.close()
        return without_body(every)
    rest: tuple[Chunks, Watch, asyncio.Future[bytes | None] | None] | None = None
    # MAXREC=0 runs nothing; what an index answers takes less time here than its way to a thread would
    if result.limit == 0 or await _ready(result):
        write = fmt.at_once
        first = None if write is None else result.at_once(lambda rows: write(head, rows, options))
        if first is None:
            pieces = _start(result, fmt, head, options)
            parts: list[bytes] = []
            for piece in pieces:
                parts.append(piece)
                if sum(map(len, parts)) > ONE_WRITE:
                    rest = Chunks(pieces, result), Watch(request, result), None
                    break
            first = b"".join(parts)
    else:
        turn = Waiting(result.enter, result.ready)  # who is refused here needs no thread, not even to end
        watch = Watch(request, result)
        chunks = Chunks(_gathered(result, fmt, head, options), result)
        try:
            first, over = await _on_time(chunks, turn)
            coming = None
            if not over and len(first) < COMPANY:
                coming = asyncio.ensure_future(computed(chunks.following))
                coming.add_done_callback(_seen)
                over = bool((await asyncio.wait({coming}, timeout=SOON))[0]) and await coming is None
        except BaseException as error:
            watch.over()
            closing = asyncio.ensure_future(computed(chunks.close))
            if isinstance(error, Timeout):  # the engine may take its time to see that it is over: nobody waits for that
                _closing.add(closing)
                closing.add_done_callback(_closing.discard)
            else:
                await closing
            raise
        if over:
            watch.over()
        else:
            rest = chunks, watch, coming
    if rest is not None:
        return Streamed(request, first, heads(), *rest)
    note(result.failure, result.request)
    return whole(request, first, heads())


async def _on_time(chunks: Chunks, turn: Waiting) -> tuple[bytes, bool]:
    """Wait for the turn and the first rows until a moment after the request's time is over: then its reader is told, whatever the engine still does."""

    async def opened() -> tuple[bytes, bool]:
        await turn.over()
        found: tuple[bytes, bool] = await computed(chunks.opening, first=True)
        return found

    counting = chunks.result.clock
    coming = asyncio.ensure_future(opened())
    coming.add_done_callback(_seen)
    await asyncio.wait({coming}, timeout=None if counting is None else max(counting.left, 0.0) + LATE)
    if counting is None or coming.done():
        return await coming
    chunks.result.cancel()
    raise clock.late(counting.seconds)


def _cut(result: Result, fmt: Format) -> dict[str, str]:
    """Make the headers that say what a format cannot: how many rows there are at most, and that there were more, as soon as that is known."""
    if not fmt.mute or result.limit is None:
        return {}
    known = result.overflow or (not result.guarded and (total := result.total) is not None and total > result.limit)
    return {MAXREC: str(result.limit)} | ({OVERFLOW: "true"} if known else {})


def _begin(request: Request, result: Result) -> None:
    """Begin before the head is written, so that an engine elsewhere works meanwhile; not if the reader may have the answer already."""
    if result.small and result.limit != 0 and request.method != "HEAD" and "if-none-match" not in request.headers:
        result.begin()


async def _ready(result: Result) -> bool:
    """Return whether the answer can be written on the event loop: it is ready, or shows at a socket in a moment, so that no thread need wait for it.

    To find a thread and to come back from it takes as long as all the rest of an answer of one row.
    """
    if result.small and result.begin().small:
        return True
    until = None
    while (socket := result.awaited) is not None:
        if result.arrived():
            return True
        if result.awaited is not None:
            loop = asyncio.get_running_loop()
            until = loop.time() + PATIENCE if until is None else until
            if not await _readable(loop, socket, until):
                return False
    return False


async def _readable(loop: asyncio.AbstractEventLoop, socket: int, until: float) -> bool:
    """Wait until something can be read; False: nothing came in time."""
    came: asyncio.Future[bool] = loop.create_future()

    def tell(what: bool) -> None:
        if not came.done():
            came.set_result(what)

    loop.add_reader(socket, tell, True)
    late = loop.call_at(until, tell, False)
    try:
        return await came
    finally:
        late.cancel()
        loop.remove_reader(socket)


def _seen(future: asyncio.Future[Any]) -> None:
    """Retrieve an error that nobody may be there to see any more."""
    if not future.cancelled():
        future.exception()


async def left(request: Request) -> None:
    """Wait until the reader has gone.

    Parameters
    ----------
    request
        Theirs.
    """
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Watch:
    """Waits for the reader's leaving, and cancels the query then."""

    def __init__(self, request: Request, result: Result) -> None:
        self.left = False
        self._request = request
        self._result = result
        self._task: asyncio.Task[None] | None = None
        self._later = asyncio.get_running_loop().call_later(LEAVING, self._begin)

    def _begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        await left(self._request)
        self.left = True
        self._result.cancel()

    def over(self) -> None:
        """Stop waiting."""
        self._later.cancel()
        if self._task is not None:
            self._task.cancel()
            self._task = None  # it keeps its frame, and so this, the result and all


def whole(request: Request, body: bytes, headers: Mapping[str, str], status: int = 200) -> Response:
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
    encoding = choose(request.headers.get("accept-encoding", "")) if len(body) > COMPRESS_FROM else None
    every = dict(headers)
    if encoding is not None:
        encoder = Encoder(encoding)
        body = encoder.feed(body) + encoder.finish()
        every["content-encoding"] = encoding
    if request.method == "HEAD":
        return without_body({**every, "content-length": str(len(body))}, status)
    return Response(body, status, every)


def without_body(headers: Mapping[str, str], status: int = 200) -> Response:
    """Make the response to HEAD; of a length that nobody knows it says nothing."""
    made = Response(None, status, headers)
    if "content-length" not in headers:
        del made.headers["content-length"]
    return made


def _start(result: Result, fmt: Format, head: Head, options: Mapping[str, str]) -> Iterator[bytes]:
    """Begin to write, after the first batch is there (its errors are raised here)."""
    batches = result.batches()
    first = next(batches, None)
    return fmt.write(head, batches if first is None else itertools.chain((first,), batches), result.end, options)


def _gathered(result: Result, fmt: Format, head: Head, options: Mapping[str, str]) -> Iterator[bytes]:
    """Gather small pieces; the very first piece goes out as it is, for a quick first byte.

    What breaks off after a few pieces gives the last ones (a mark for people may be among them) before its error.
    """
    waiting: list[bytes] = []
    size = 0
    limit = 1
    given = 0
    try:
        for chunk in _start(result, fmt, head, options):
            waiting.append(chunk)
            size += len(chunk)
            if size >= limit:
                yield waiting[0] if len(waiting) == 1 else b"".join(waiting)
                given += 1
                waiting = []
                size = 0
                limit = CHUNK
    except Exception:
        if waiting and given > 1:
            yield b"".join(waiting)
        raise
    if waiting:
        yield b"".join(waiting)


class Chunks:
    """The chunks of an answer, made one by one in whatever thread asks for the next."""

    def __init__(self, chunks: Iterator[bytes], result: Result) -> None:
        self.result = result
        self._chunks: Iterator[bytes] | None = chunks
        self._lock = threading.Lock()

    def opening(self) -> tuple[bytes, bool]:
        """Return the first chunk, and whether it is all there is.

        What needs no more computing is written in one go: each way to another thread and back costs more than a small answer.
        """
        parts = [self.following() or b""]
        while self.result.computed and sum(map(len, parts)) < COMPANY:
            chunk = self.following()
            if chunk is None:
                return b"".join(parts), True
            parts.append(chunk)
        return b"".join(parts), False

    def following(self, encoder: Encoder | None = None) -> bytes | None:
        """Return the next chunk; None: that was all. Until the one after it is asked for, the reader's line is at work, and no clock runs."""
        with self._lock:
            self.clocked(on=True)
            chunk = None if self._chunks is None else next(self._chunks, None)
            if encoder is not None and chunk is not None:
                chunk = encoder.feed(chunk)
            self.clocked(on=False)
        return chunk

    def clocked(self, *, on: bool) -> None:
        """Let the clock of the request run, or stop it while the reader's line is at work."""
        if self.result.clock is not None:
            (self.result.clock.go_on if on else self.result.clock.stop)()

    def close(self) -> None:
        """Free everything; a thread that is still writing (its task was cancelled) is waited for."""
        self.result.cancel()
        with self._lock:
            chunks, self._chunks = self._chunks, None
            close: Callable[[], Any] | None = getattr(chunks, "close", None)
            if close is not None:
                close()
            self.result.close()


class Streamed(Response):
    """A body that threads make, chunk by chunk, while the event loop sends it; a reader who leaves cancels the query.

    No thread is held while the reader takes its time. The server's queue of chunks is short, so that a slow reader
    holds a few of them in memory and no more.
    """

    def __init__(
        self,
        request: Request,
        first: bytes,
        headers: Mapping[str, str],
        chunks: Chunks,
        watch: Watch,
        coming: asyncio.Future[bytes | None] | None = None,
    ) -> None:
        every = dict(headers)
        encoding = choose(request.headers.get("accept-encoding", ""))
        if encoding is not None:
            every["content-encoding"] = encoding
        super().__init__(None, 200, every)
        del self.headers["content-length"]
        self._encoder = Encoder(encoding) if encoding is not None else None
        self._first = first
        self._coming = coming
        self._chunks = chunks
        self._watch = watch

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
            async for chunk in self._bodies():
                if self._watch.left:
                    return
                # a server queues a few bodies for each reader: they must not be big
                for start in range(0, len(chunk), CHUNK):
                    body = chunk if len(chunk) <= CHUNK else chunk[start : start + CHUNK]
                    await patiently(send, {"type": "http.response.body", "body": body, "more_body": True})
                self._chunks.clocked(on=True)  # also while it waits for a thread
            if not self._watch.left:
                last = b"" if self._encoder is None else self._encoder.finish()
                await patiently(send, {"type": "http.response.body", "body": last, "more_body": False})
        except Exception as error:
            if not self._watch.left:
                result.failure = result.failure or error
                raise
        finally:
            self._watch.over()
            if not self._watch.left:
                note(result.failure, result.request)
            await computed(self._chunks.close)

    async def _bodies(self) -> AsyncIterator[bytes]:
        yield await self._encoded(self._first)
        if self._coming is not None:
            second = await self._coming
            if second is None:
                return
            yield await self._encoded(second)
        while (chunk := await computed(self._chunks.following, self._encoder)) is not None:
            yield chunk

    async def _encoded(self, chunk: bytes) -> bytes:
        found: bytes = chunk if self._encoder is None else await computed(self._encoder.feed, chunk)
        return found


async def patiently(send: Send, message: Message) -> None:
    """Send a message of ASGI; raises TimeoutError if the reader takes nothing any more."""
    async with asyncio.timeout(STALLED):
        await send(message)


_closing: set[asyncio.Future[Any]] = set()  # of answers whose readers were told that it takes too long
