"""Bytes of a file as an answer: whole, or one range of them (RFC 9110, 13.1.5 and 14), in pieces that are made as the reader takes them.

To find a thread and to come back from it takes as long as to read a piece that is in memory already: what is there the event loop reads itself,
without waiting, and only what must come from a disk is read by threads.
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

from hven.services._answer import STALLED, left
from hven.services._threads import computed
from hven.services.filed import STEP

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
    from datetime import datetime

    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from hven.services.filed import Piece

TURN = 1 << 20  # bytes after which others have their turn
LOOK = 1.0  # seconds: a timer for each piece takes longer than need be
_ONE = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})", re.IGNORECASE)


def described(path: str, modified: datetime | None, sha256: str | None) -> dict[str, str]:
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
    more = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='')}"
    found = {"content-disposition": f'inline; filename="{plain}"{more}', "accept-ranges": "bytes"}
    if modified is not None:
        found["last-modified"] = format_datetime(modified.replace(tzinfo=UTC, microsecond=0), usegmt=True)
    if sha256 is not None:
        found["repr-digest"] = f"sha-256=:{b64encode(bytes.fromhex(sha256)).decode()}:"  # RFC 9530
    return found


def asked(request: Request, size: int) -> tuple[int, int] | None:
    """Read the one range that is asked for: first byte, and that behind the last; None: all, or several, which nobody must be given.

    Both are 0 where there are no such bytes.
    """
    found = _ONE.fullmatch(request.headers.get("range", "").strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        begin, end = max(size - int(found[2]), 0), size
    else:
        begin, end = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
        if found[2] and int(found[2]) < begin:
            return None  # it is no range, and as if not said
    return (begin, end) if begin < end else (0, 0)


def given(
    request: Request,
    size: int,
    pieces: Callable[[int, int], AsyncGenerator[bytes | bytearray]],
    kind: str,
    headers: Mapping[str, str],
    *,
    same: bool = True,
    body: bytes | None = None,
) -> Response:
    """Answer with a file, or the range of it that is asked for.

    Parameters
    ----------
    pieces
        Makes the bytes from one place to before another.
    kind
        Media type; texts are said to be UTF-8.
    same
        Whether `If-Range`, if it is said, names this state: else all is given.
    body
        All bytes, where they are there already.
    """
    part = asked(request, size) if same else None
    if part == (0, 0):
        return Response(None, 416, {**headers, "content-range": f"bytes */{size}"})
    begin, end = part or (0, size)
    kind += "; charset=utf-8" * (kind.startswith("text/") and "charset" not in kind)
    every = {**headers, "content-type": kind, "content-length": str(end - begin)}
    if part is not None:
        every["content-range"] = f"bytes {begin}-{end - 1}/{size}"
    status = 200 if part is None else 206
    if request.method == "HEAD" or begin == end:
        return Response(None, status, every)
    if body is not None:
        return Response(body[begin:end], status, every)
    return Flow(request, status, every, pieces(begin, end))


class Flow(Response):
    """A body that is sent piece by piece; a reader who leaves, or takes nothing any more, ends it.

    What fails on its way cuts the connection: an answer that is not whole must not look so.
    """

    def __init__(
        self, request: Request, status: int, headers: Mapping[str, str], pieces: AsyncGenerator[bytes | bytearray]
    ) -> None:
        super().__init__(None, status, headers)
        if "content-length" not in headers:  # which nobody knows, and is not that of nothing
            del self.headers["content-length"]
        self._request, self._pieces = request, pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  (ASGI's signature)
        """Send it.

        Raises
        ------
        HvenError
            A piece cannot be had: the server must cut the connection.
        TimeoutError
            The reader takes nothing any more.
        """
        gone, time = asyncio.ensure_future(left(self._request)), asyncio.get_running_loop().time
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with aclosing(self._pieces) as pieces, asyncio.timeout(STALLED) as patience:
                looked = time()
                async for piece in pieces:
                    if gone.done():
                        return
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                    if (now := time()) > looked + LOOK:
                        patience.reschedule(now + STALLED)
                        looked = now
                if not gone.done():
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()


async def flowing(pieces: Generator[Piece], *, far: bool = False) -> AsyncGenerator[bytes | bytearray]:
    """Take pieces as they come: on the event loop, and behind a None by a thread (of those that wait for `far` servers), which joins small ones."""
    waiting, size, over = None, 0, False
    try:
        while not (over := (piece := next(pieces, b"")) == b""):
            if piece is None:
                waiting = asyncio.ensure_future(computed(_waited, pieces, far=far))
                await asyncio.wait([waiting])  # who does not wait any more leaves it at work
                piece = waiting.result()
            yield piece
            size += len(piece)
            if size >= TURN:
                size = 0
                await asyncio.sleep(0)
    finally:
        if waiting is not None and not waiting.done():
            await asyncio.wait([waiting])
        if not over:
            await computed(pieces.close)


def _waited(pieces: Iterator[Piece]) -> bytes | bytearray:
    found: list[bytes | bytearray] = []
    size = 0
    for piece in pieces:
        if piece is not None:
            found.append(piece)
            size += len(piece)
            if size >= STEP:
                break
    return found[0] if len(found) == 1 else b"".join(found)
