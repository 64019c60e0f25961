"""Bytes of a file as an answer.

Whole, or one range of them (RFC 9110, 13.1.5 and 14), in pieces that are made as the reader takes them.

To find a thread and to come back from it takes as long as to read a piece that is in memory already: what is there the
event loop reads itself, without waiting, and only what must come from a disk is read by threads.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from contextlib import aclosing
from datetime import UTC
from email.utils import format_datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.responses import Response

from hven.services._responses import SEND_TIMEOUT_SECONDS, wait_for_disconnect
from hven.services._threads import call_in_thread
from hven.services.collection_files import READ_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
    from datetime import datetime

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from hven.services.collection_files import FilePiece

YIELD_AFTER_BYTES = 1 << 20  # bytes after which others have their turn
TIMER_INTERVAL_SECONDS = 1.0  # seconds: a timer for each piece takes longer than need be
_SINGLE_RANGE_PATTERN = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})", re.IGNORECASE)


def build_file_headers(path: str, modified: datetime | None, sha256: str | None) -> dict[str, str]:
    """Make the headers that tell of a file: a safe name, time, checksum.

    Parameters
    ----------
    path
        Its last part is the name.
    modified
        UTC, without a zone.
    sha256
        Hexadecimal.
    """
    name = path.rpartition("/")[2]
    plain = re.sub(r"[^A-Za-z0-9._+-]", "_", name)
    if plain == name:
        encoded_name = ""
    else:
        encoded_name = f"; filename*=UTF-8''{quote(name, safe='')}"
    file_headers = {"content-disposition": f'inline; filename="{plain}"{encoded_name}', "accept-ranges": "bytes"}
    if modified is not None:
        file_headers["last-modified"] = format_datetime(modified.replace(tzinfo=UTC, microsecond=0), usegmt=True)
    if sha256 is not None:
        file_headers["repr-digest"] = f"sha-256=:{b64encode(bytes.fromhex(sha256)).decode()}:"  # RFC 9530
    return file_headers


def parse_range(request: Request, file_bytes: int) -> tuple[int, int] | None:
    """Read the one range that is asked for: first byte, and that behind the last.

    None: all, or several, which nobody must be given.

    Both are 0 where there are no such bytes.
    """
    range_match = _SINGLE_RANGE_PATTERN.fullmatch(request.headers.get("range", "").strip())
    if range_match is None or not (range_match[1] or range_match[2]):
        return None
    if not range_match[1]:
        begin = max(file_bytes - int(range_match[2]), 0)
        end = file_bytes
    else:
        begin = int(range_match[1])
        end = min(int(range_match[2]) + 1, file_bytes) if range_match[2] else file_bytes
        if range_match[2] and int(range_match[2]) < begin:
            return None  # it is no range, and as if not said
    if begin < end:
        return (begin, end)
    return (0, 0)


def answer_file(
    request: Request,
    file_bytes: int,
    stream_range: Callable[[int, int], AsyncGenerator[bytes | bytearray]],
    media_type: str,
    headers: Mapping[str, str],
    *,
    allows_range: bool = True,
    body: bytes | None = None,
) -> Response:
    """Answer with a file, or the range of it that is asked for.

    Parameters
    ----------
    stream_range
        Makes the bytes from one place to before another.
    media_type
        Media type; texts are said to be UTF-8.
    allows_range
        Whether `If-Range`, if it is said, names this state: else all is given.
    body
        All bytes, where they are there already.
    """
    if allows_range:
        part = parse_range(request, file_bytes)
    else:
        part = None
    if part == (0, 0):
        return Response(None, 416, {**headers, "content-range": f"bytes */{file_bytes}"})
    begin, end = part or (0, file_bytes)
    media_type += "; charset=utf-8" * (media_type.startswith("text/") and "charset" not in media_type)
    all_headers = {**headers, "content-type": media_type, "content-length": str(end - begin)}
    if part is not None:
        all_headers["content-range"] = f"bytes {begin}-{end - 1}/{file_bytes}"
    status = 200 if part is None else 206
    if request.method == "HEAD" or begin == end:
        return Response(None, status, all_headers)
    if body is not None:
        return Response(body[begin:end], status, all_headers)
    return PieceStreamResponse(request, status, all_headers, stream_range(begin, end))


class PieceStreamResponse(Response):
    """A body that is sent piece by piece; a reader who leaves, or takes nothing any more, ends it.

    What fails on its way cuts the connection: an answer that is not whole must not look so.
    """

    def __init__(
        self, request: Request, status: int, headers: Mapping[str, str], pieces: AsyncGenerator[bytes | bytearray]
    ) -> None:
        super().__init__(None, status, headers)
        if "content-length" not in headers:  # which nobody knows, and is not that of nothing
            del self.headers["content-length"]
        self._request = request
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  (ASGI's signature)
        """Send it.

        Raises
        ------
        HvenError
            A piece cannot be had: the server must cut the connection.
        TimeoutError
            The reader takes nothing any more.
        """
        disconnected = asyncio.ensure_future(wait_for_disconnect(self._request))
        time = asyncio.get_running_loop().time
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with aclosing(self._pieces) as pieces, asyncio.timeout(SEND_TIMEOUT_SECONDS) as patience:
                looked = time()
                async for piece in pieces:
                    if disconnected.done():
                        return
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    now = time()
                    if now > looked + TIMER_INTERVAL_SECONDS:
                        patience.reschedule(now + SEND_TIMEOUT_SECONDS)
                        looked = now
                if not disconnected.done():
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            disconnected.cancel()


async def stream_pieces(pieces: Generator[FilePiece], *, is_remote: bool = False) -> AsyncGenerator[bytes | bytearray]:
    """Stream pieces: on the event loop; after a None in a thread, where small pieces are joined.

    With `is_remote`, it is one of the threads that wait for other servers.
    """
    waiting = None
    size = 0
    is_exhausted = False
    try:
        while not (is_exhausted := (piece := next(pieces, b"")) == b""):
            if piece is None:
                waiting = asyncio.ensure_future(call_in_thread(_read_waiting_pieces, pieces, is_remote=is_remote))
                await asyncio.wait([waiting])  # who does not wait any more leaves it at work
                piece = waiting.result()
            yield piece
            size += len(piece)
            if size >= YIELD_AFTER_BYTES:
                size = 0
                await asyncio.sleep(0)
    finally:
        if waiting is not None and not waiting.done():
            await asyncio.wait([waiting])
        if not is_exhausted:
            await call_in_thread(pieces.close)


def _read_waiting_pieces(pieces: Iterator[FilePiece]) -> bytes | bytearray:
    read_pieces: list[bytes | bytearray] = []
    size = 0
    for piece in pieces:
        if piece is not None:
            read_pieces.append(piece)
            size += len(piece)
            if size >= READ_BYTES:
                break
    if len(read_pieces) == 1:
        return read_pieces[0]
    return b"".join(read_pieces)
