"""The one reader of bodies: counted as they come, at the pace of their line, so many big ones at once in a process."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from hven.model import clock
from hven.model.errors import Cancelled, Overloaded, Timeout, TooLarge
from hven.query.memory import tidy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.requests import Request
    from starlette.types import Scope

BIG = 1024**2  # bytes from which a body takes one of the places
PLACES, HELD = "hven.bodies", "hven.body"  # in a request's scope: how many places there are; that it holds one
STILL = 30.0  # seconds without a byte, after which a body is given up
SLOW = 60.0  # seconds that a body may take ..
PACE = 16 * 1024  # .. and one more for so many bytes that came
BITE = 64 * 1024  # bytes that are given at once: who sends a body in a million pieces keeps nobody busy with each
LOOK = 1.0  # seconds between two looks at how long a line was still
_held = 0


async def chunks(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """Receive a body piece by piece, small pieces together. The time that a line takes is not the request's, but a line must go on.

    Parameters
    ----------
    request
        With the body.
    limit
        Bytes.

    Yields
    ------
    chunk
        Bytes, in their order.

    Raises
    ------
    TooLarge
        More than `limit` bytes.
    Overloaded
        It is big, and so many big ones are held already.
    Timeout
        It comes too slowly.
    Cancelled
        The reader left in the middle of it, which is no fault of ours.
    """
    size = 0
    begun = time.monotonic()
    running = clock.running.get()
    stream = request.stream()
    more = True
    while more:
        pieces: list[bytes] = []
        least = size + BITE
        try:
            with clock.stopped(running):
                async with asyncio.timeout(None) as patience:
                    looked = 0.0
                    while more and size < least:
                        # a timer for each piece takes longer than the piece
                        if (now := time.monotonic()) > looked + LOOK:
                            patience.reschedule(
                                asyncio.get_running_loop().time()
                                + min(STILL, max(begun + SLOW + size / PACE - now, 0.0))
                            )
                            looked = now
                        piece = await anext(stream, None)
                        more = piece is not None
                        pieces.append(piece or b"")
                        size += len(pieces[-1])
        except TimeoutError:
            raise Timeout(
                f"the body of the request came too slowly: {size:,} bytes until now", remedy="send it again"
            ) from None
        except ClientDisconnect:
            raise Cancelled("the reader left before the request was complete") from None
        if size > limit:
            raise too_large(size, limit)
        if size > BIG:
            hold(request.scope)
        if chunk := b"".join(pieces):
            yield chunk


async def whole_body(request: Request, limit: int) -> bytes:
    """Receive a body into memory.

    Parameters
    ----------
    request
        With the body.
    limit
        Bytes; what `chunks` raises is raised.

    Returns
    -------
    body
        All of it.
    """
    return b"".join([chunk async for chunk in chunks(request, limit)])


def hold(scope: Scope) -> None:
    """Take a place for a big body, if the request has none yet; the edge returns it at the request's end.

    Parameters
    ----------
    scope
        Of the request (ASGI).

    Raises
    ------
    Overloaded
        So many big ones are held already.
    """
    global _held  # noqa: PLW0603  (of the process, as its memory is)
    places = scope.get(PLACES)
    if places is None or HELD in scope:
        return
    if _held >= places:
        raise Overloaded("too many big requests are received at the moment", remedy="try again in a few seconds")
    scope[HELD] = True
    _held += 1


def give_back(scope: Scope) -> None:
    """Return the place of a request, if it has one.

    Parameters
    ----------
    scope
        Of the request (ASGI).
    """
    global _held  # noqa: PLW0603
    if scope.pop(HELD, False):
        _held -= 1
        tidy()


def too_large(size: int, limit: int) -> TooLarge:
    """Make the error of a body that is too large.

    Parameters
    ----------
    size
        Bytes that came, or were announced.
    limit
        Bytes.

    Returns
    -------
    error
        To be raised.
    """
    return TooLarge(
        f"the request has {size:,} bytes or more; the limit is {limit:,}", remedy="send less, or ask the site's owner"
    )
