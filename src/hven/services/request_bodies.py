"""The one reader of bodies: counted as they come, at the pace of their line, so many big ones at once in a process."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from hven.model import deadlines
from hven.model.errors import OperationCancelledError, OverloadedError, TimeLimitError, TooLargeError
from hven.query.memory_watchdog import schedule_memory_trim

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.types import Scope

MIN_BIG_BODY_BYTES = 1024**2  # bytes from which a body takes one of the places
BODY_SLOTS_SCOPE_KEY, HELD_SLOT_SCOPE_KEY = (
    "hven.bodies",
    "hven.body",
)  # in a request's scope: how many places there are; that it holds one
IDLE_TIMEOUT_SECONDS = 30.0  # seconds without a byte, after which a body is given up
BASE_TIMEOUT_SECONDS = 60.0  # seconds that a body may take ..
MIN_BYTES_PER_SECOND = 16 * 1024  # .. and one more for so many bytes that came
CHUNK_BYTES = (
    64 * 1024
)  # bytes that are given at once: who sends a body in a million pieces keeps nobody busy with each
TIMER_INTERVAL_SECONDS = 1.0  # seconds between two looks at how long a line was still
_held_count = 0


async def read_chunks(request: Request, byte_limit: int) -> AsyncGenerator[bytes, None]:
    """Receive a body piece by piece, small pieces together.

    The time that a line takes is not the request's, but a line must go on.

    Parameters
    ----------
    request
        With the body.
    byte_limit
        Bytes.

    Yields
    ------
    chunk
        Bytes, in their order.

    Raises
    ------
    TooLargeError
        More than `byte_limit` bytes.
    OverloadedError
        It is big, and so many big ones are held already.
    TimeLimitError
        It comes too slowly.
    OperationCancelledError
        The reader left in the middle of it, which is no fault of ours.
    """
    size = 0
    begun = time.monotonic()
    running = deadlines.CURRENT_DEADLINE.get()
    stream = request.stream()
    has_more = True
    while has_more:
        pieces: list[bytes] = []
        chunk_end = size + CHUNK_BYTES
        try:
            with deadlines.pause_deadline(running):
                async with asyncio.timeout(None) as patience:
                    looked = 0.0
                    while has_more and size < chunk_end:
                        # a timer for each piece takes longer than the piece
                        now = time.monotonic()
                        if now > looked + TIMER_INTERVAL_SECONDS:
                            patience.reschedule(
                                asyncio.get_running_loop().time()
                                + min(
                                    IDLE_TIMEOUT_SECONDS,
                                    max(begun + BASE_TIMEOUT_SECONDS + size / MIN_BYTES_PER_SECOND - now, 0.0),
                                )
                            )
                            looked = now
                        piece = await anext(stream, None)
                        has_more = piece is not None
                        pieces.append(piece or b"")
                        size += len(pieces[-1])
        except TimeoutError:
            raise TimeLimitError(
                f"the body of the request came too slowly: {size:,} bytes until now", remedy="send it again"
            ) from None
        except ClientDisconnect:
            raise OperationCancelledError("the reader left before the request was complete") from None
        if size > byte_limit:
            raise build_too_large_error(size, byte_limit)
        if size > MIN_BIG_BODY_BYTES:
            take_body_slot(request.scope)
        chunk = b"".join(pieces)
        if chunk:
            yield chunk


async def read_body(request: Request, byte_limit: int) -> bytes:
    """Receive a body into memory.

    Parameters
    ----------
    request
        With the body.
    byte_limit
        Bytes; what `read_chunks` raises is raised.

    Returns
    -------
    body
        All of it.
    """
    return b"".join([chunk async for chunk in read_chunks(request, byte_limit)])


def take_body_slot(scope: Scope) -> None:
    """Take a place for a big body, if the request has none yet; the edge returns it at the request's end.

    Parameters
    ----------
    scope
        Of the request (ASGI).

    Raises
    ------
    OverloadedError
        So many big ones are held already.
    """
    global _held_count  # noqa: PLW0603  (of the process, as its memory is)
    places = scope.get(BODY_SLOTS_SCOPE_KEY)
    if places is None or HELD_SLOT_SCOPE_KEY in scope:
        return
    if _held_count >= places:
        raise OverloadedError("too many big requests are received at the moment", remedy="try again in a few seconds")
    scope[HELD_SLOT_SCOPE_KEY] = True
    _held_count += 1


def release_body_slot(scope: Scope) -> None:
    """Return the place of a request, if it has one.

    Parameters
    ----------
    scope
        Of the request (ASGI).
    """
    global _held_count  # noqa: PLW0603
    if scope.pop(HELD_SLOT_SCOPE_KEY, False):
        _held_count -= 1
        schedule_memory_trim()


def build_too_large_error(body_bytes: int, byte_limit: int) -> TooLargeError:
    """Make the error of a body that is too large.

    Parameters
    ----------
    body_bytes
        Bytes that came, or were announced.
    byte_limit
        Bytes.

    Returns
    -------
    error
        To be raised.
    """
    return TooLargeError(
        f"the request has {body_bytes:,} bytes or more; the limit is {byte_limit:,}",
        remedy="send less, or ask the site's owner",
    )
