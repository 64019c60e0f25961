"""Answer with a file: whole, or one byte range of it (RFC 9110, 13.1.5 and 14), in pieces that the client paces.

The event loop itself reads the pieces that are in memory, because a change to a thread and back takes as long as the
read. Threads read only the pieces that must come from a disk.
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

YIELD_AFTER_BYTES = 1 << 20  # sent bytes after which the event loop serves other requests
TIMER_INTERVAL_SECONDS = 1.0  # the send timeout is renewed this often: a timer for each piece would cost more
_SINGLE_RANGE_PATTERN = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})", re.IGNORECASE)


def build_file_headers(path: str, modified: datetime | None, sha256: str | None) -> dict[str, str]:
    """Build the response headers that describe a file: a safe name, the modification time and the checksum.

    Parameters
    ----------
    path
        Path of the file; its last part becomes the name.
    modified
        Modification time in UTC, without a zone; None where it is not known.
    sha256
        Hexadecimal SHA-256 of the file; None where it is not known.
    """
    name = path.rpartition("/")[2]
    plain_name = re.sub(r"[^A-Za-z0-9._+-]", "_", name)
    disposition = f'inline; filename="{plain_name}"'
    if plain_name != name:
        disposition += f"; filename*=UTF-8''{quote(name, safe='')}"
    file_headers = {"content-disposition": disposition, "accept-ranges": "bytes"}
    if modified is not None:
        modified_utc = modified.replace(tzinfo=UTC, microsecond=0)
        file_headers["last-modified"] = format_datetime(modified_utc, usegmt=True)
    if sha256 is not None:
        digest = b64encode(bytes.fromhex(sha256)).decode()
        file_headers["repr-digest"] = f"sha-256=:{digest}:"  # RFC 9530
    return file_headers


def parse_range_header(request: Request, file_bytes: int) -> tuple[int, int] | None:
    """Parse the byte range of a request: the offset of the first byte, and the offset after the last one.

    Return None for the whole file: the request has no valid range, or several, which a server need not support.
    Return two zeros where the file has no such bytes.
    """
    range_header = request.headers.get("range", "").strip()
    range_match = _SINGLE_RANGE_PATTERN.fullmatch(range_header)
    if range_match is None:
        return None
    first_text, last_text = range_match.groups()
    if not first_text and not last_text:
        return None
    end = file_bytes
    if first_text:
        begin = int(first_text)
        if last_text:
            last = int(last_text)
            if last < begin:
                return None  # RFC 9110, 14.1.1: an invalid range is ignored
            end = min(last + 1, file_bytes)
    else:
        begin = max(file_bytes - int(last_text), 0)
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
    """Answer with a file, or with the byte range of it that the client requests.

    Parameters
    ----------
    request
        The request, with its header ``Range``.
    file_bytes
        Size of the file in bytes.
    headers
        Further headers of the answer.
    stream_range
        Streams the bytes from a first offset to before a second one.
    media_type
        Media type of the file; a text without a charset is declared as UTF-8.
    allows_range
        Whether a range may be answered: False where the request's `If-Range` names another state of the file.
    body
        All bytes of the file, where they are in memory.

    Returns
    -------
    answer
        The file, a range of it, or status 416.
    """
    byte_range = None
    if allows_range:
        byte_range = parse_range_header(request, file_bytes)
    if byte_range == (0, 0):
        return Response(None, 416, {**headers, "content-range": f"bytes */{file_bytes}"})
    begin, end = byte_range or (0, file_bytes)
    if media_type.startswith("text/") and "charset" not in media_type:
        media_type += "; charset=utf-8"
    all_headers = {**headers, "content-type": media_type, "content-length": str(end - begin)}
    status = 200
    if byte_range is not None:
        all_headers["content-range"] = f"bytes {begin}-{end - 1}/{file_bytes}"
        status = 206
    if request.method == "HEAD" or begin == end:
        return Response(None, status, all_headers)
    if body is not None:
        return Response(body[begin:end], status, all_headers)
    return PieceStreamResponse(request, status, all_headers, stream_range(begin, end))


class PieceStreamResponse(Response):
    """A body that is sent piece by piece and ends when the client disconnects or stops reading.

    A failure in the middle cuts the connection, so that an incomplete answer does not look complete.
    """

    def __init__(
        self, request: Request, status: int, headers: Mapping[str, str], pieces: AsyncGenerator[bytes | bytearray]
    ) -> None:
        super().__init__(None, status, headers)
        if "content-length" not in headers:  # the base class declares 0 bytes, and the length is unknown
            del self.headers["content-length"]
        self._request = request
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  (ASGI's signature)
        """Send the headers and the pieces.

        Raises
        ------
        HvenError
            A piece cannot be read: the server must cut the connection.
        TimeoutError
            The client stopped reading.
        """
        disconnected = asyncio.ensure_future(wait_for_disconnect(self._request))
        get_loop_time = asyncio.get_running_loop().time
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with aclosing(self._pieces) as pieces, asyncio.timeout(SEND_TIMEOUT_SECONDS) as send_timeout:
                renewed_time = get_loop_time()
                async for piece in pieces:
                    if disconnected.done():
                        return
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    now = get_loop_time()
                    if now > renewed_time + TIMER_INTERVAL_SECONDS:
                        send_timeout.reschedule(now + SEND_TIMEOUT_SECONDS)
                        renewed_time = now
                if not disconnected.done():
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            disconnected.cancel()


async def stream_file_pieces(
    pieces: Generator[FilePiece], *, is_remote: bool = False
) -> AsyncGenerator[bytes | bytearray]:
    """Stream pieces: read them on the event loop, and after a None in a thread, where small pieces are joined.

    With `is_remote`, the thread is one of those that wait for other servers.

    Parameters
    ----------
    pieces
        Bytes, and a None before each piece that must be waited for.
    is_remote
        True if the pieces come from another server.

    Yields
    ------
    piece
        Bytes of the file.
    """
    thread_read = None
    sent_bytes = 0
    is_exhausted = False
    try:
        while True:
            piece = next(pieces, b"")
            if piece == b"":
                is_exhausted = True
                break
            if piece is None:
                reading = call_in_thread(_join_next_pieces, pieces, is_remote=is_remote)
                thread_read = asyncio.ensure_future(reading)
                await asyncio.wait([thread_read])  # a cancellation here leaves the thread at work
                piece = thread_read.result()
            yield piece
            sent_bytes += len(piece)
            if sent_bytes >= YIELD_AFTER_BYTES:
                sent_bytes = 0
                await asyncio.sleep(0)
    finally:
        if thread_read is not None and not thread_read.done():
            await asyncio.wait([thread_read])
        if not is_exhausted:
            await call_in_thread(pieces.close)


def _join_next_pieces(pieces: Iterator[FilePiece]) -> bytes | bytearray:
    """Read pieces until they have `READ_BYTES` together, and join them."""
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
