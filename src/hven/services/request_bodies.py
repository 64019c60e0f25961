"""Read request bodies in chunks, with limits on their size, their pace and the number of large ones in a process."""

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

MIN_BIG_BODY_BYTES = 1024**2  # a body of this size takes one of the slots for large bodies
BODY_SLOTS_SCOPE_KEY = "hven.bodies"  # key in a request's scope: number of slots of the process
HELD_SLOT_SCOPE_KEY = "hven.body"  # key in a request's scope: a list, which is not empty if the request holds a slot
IDLE_TIMEOUT_SECONDS = 30.0  # without a byte
BASE_TIMEOUT_SECONDS = 60.0  # a body may take this time ..
MIN_BYTES_PER_SECOND = 16 * 1024  # .. and one second more for each 16 KiB that have been received
CHUNK_BYTES = 64 * 1024  # smaller pieces are joined, so that a body in a million pieces does not cost a million steps
TIMER_INTERVAL_SECONDS = 1.0  # the timeout is renewed this often: a timer for each piece would cost more than the piece
_held_count = 0


async def read_chunks(request: Request, byte_limit: int) -> AsyncGenerator[bytes, None]:
    """Receive a body in chunks of at least `CHUNK_BYTES`.

    The transfer does not count as processing time of the request, but the client must send without long pauses.

    Parameters
    ----------
    request
        Request with the body.
    byte_limit
        Limit on the bytes of the body.

    Yields
    ------
    chunk
        Bytes, in their order.

    Raises
    ------
    TooLargeError
        The body has more than `byte_limit` bytes.
    OverloadedError
        The body is large, and the process receives too many large bodies already.
    TimeLimitError
        The client sends too slowly.
    OperationCancelledError
        The client disconnected before the body was complete.
    """
    received_bytes = 0
    begin_time = time.monotonic()
    deadline = deadlines.CURRENT_DEADLINE.get()
    stream = request.stream()
    get_loop_time = asyncio.get_running_loop().time
    has_more = True
    while has_more:
        pieces: list[bytes] = []
        chunk_end = received_bytes + CHUNK_BYTES
        try:
            with deadlines.pause_deadline(deadline):
                async with asyncio.timeout(None) as receive_timeout:
                    renewed_time = 0.0
                    while has_more and received_bytes < chunk_end:
                        now = time.monotonic()
                        if now > renewed_time + TIMER_INTERVAL_SECONDS:
                            allowed_seconds = BASE_TIMEOUT_SECONDS + received_bytes / MIN_BYTES_PER_SECOND
                            remaining_seconds = max(begin_time + allowed_seconds - now, 0.0)
                            timeout_seconds = min(IDLE_TIMEOUT_SECONDS, remaining_seconds)
                            receive_timeout.reschedule(get_loop_time() + timeout_seconds)
                            renewed_time = now
                        piece = await anext(stream, None)
                        if piece is None:
                            has_more = False
                        else:
                            pieces.append(piece)
                            received_bytes += len(piece)
        except TimeoutError:
            raise TimeLimitError(
                f"the body of the request arrived too slowly: {received_bytes:,} bytes so far",
                remedy="send the request again",
            ) from None
        except ClientDisconnect:
            raise OperationCancelledError("the client disconnected before the request was complete") from None
        if received_bytes > byte_limit:
            raise build_too_large_error(received_bytes, byte_limit)
        if received_bytes > MIN_BIG_BODY_BYTES:
            take_body_slot(request.scope)
        chunk = b"".join(pieces)
        if chunk:
            yield chunk


async def read_body(request: Request, byte_limit: int) -> bytes:
    """Receive a whole body into memory; raises what `read_chunks` raises.

    Parameters
    ----------
    request
        Request with the body.
    byte_limit
        Limit on the bytes of the body.

    Returns
    -------
    body
        All bytes of the body.
    """
    return b"".join([chunk async for chunk in read_chunks(request, byte_limit)])


def take_body_slot(scope: Scope) -> None:
    """Take a slot for a large body, unless the request has one; the middleware releases it when the request ends.

    Parameters
    ----------
    scope
        ASGI scope of the request.

    Raises
    ------
    OverloadedError
        All slots are taken.
    """
    global _held_count  # noqa: PLW0603  (of the process, as its memory is)
    slot_count = scope.get(BODY_SLOTS_SCOPE_KEY)
    # copies of the scope, such as those of portals and old addresses, share the list
    held_slots: list[bool] = scope.setdefault(HELD_SLOT_SCOPE_KEY, [])
    if slot_count is None or held_slots:
        return
    if _held_count >= slot_count:
        raise OverloadedError(
            "the service is receiving too many large requests at the moment", remedy="try again in a few seconds"
        )
    held_slots.append(True)
    _held_count += 1


def release_body_slot(scope: Scope) -> None:
    """Release the slot of a request, if it holds one.

    Parameters
    ----------
    scope
        ASGI scope of the request.
    """
    global _held_count  # noqa: PLW0603
    held_slots: list[bool] = scope.get(HELD_SLOT_SCOPE_KEY, [])
    if held_slots:
        held_slots.clear()
        _held_count -= 1
        schedule_memory_trim()


def build_too_large_error(body_bytes: int, byte_limit: int) -> TooLargeError:
    """Build the error of a body that is too large.

    Parameters
    ----------
    body_bytes
        Bytes that were received, or that the request announces.
    byte_limit
        Limit on the bytes of the body.

    Returns
    -------
    error
        Error to raise.
    """
    return TooLargeError(
        f"the request has at least {body_bytes:,} bytes; the limit is {byte_limit:,}",
        remedy="send less data, or ask the site's operators to raise the limit",
    )
