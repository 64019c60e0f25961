"""The threads that wait for big answers and write them: few.

What takes long without the interpreter they leave to lower threads (`priority.below`).
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from hven.model import deadlines
from hven.query.query_queue import QueryTurn, get_turn_taker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hven.query.query_queue import QueryQueue

WRITER_THREADS = (
    os.cpu_count() or 1
) + 4  # threads that make chunks of running answers; more would only need more memory
FIRST_BATCH_THREADS = 96  # threads that wait for first batches; more than queries that compute at once
# seconds between two looks whether a query that waits for its turn may have that of a reader who is long about it
TURN_CHECK_INTERVAL_SECONDS = 0.1
REMOTE_THREADS = 8  # threads that wait for files of other servers: one that hangs holds up no other answer
_pools: dict[asyncio.AbstractEventLoop, tuple[ThreadPoolExecutor, tuple[anyio.CapacityLimiter, ...]]] = {}


async def call_in_thread(
    call: Callable[..., Any], *args: Any, is_first_batch: bool = False, is_remote: bool = False
) -> Any:
    """Call something in one of the threads.

    Those that go on with an answer wait neither behind those that wait for their first rows nor for other servers.

    Parameters
    ----------
    call, args
        Function, and its arguments.
    is_first_batch
        Whether it waits for the first rows of an answer.
    is_remote
        Whether it waits for another server.

    Returns
    -------
    result
        Result of the function.
    """
    loop = asyncio.get_running_loop()
    thread_pool = _pools.get(loop)
    if thread_pool is None:
        for other_loop in [*_pools]:
            if other_loop.is_closed() and (closed_pool := _pools.pop(other_loop, None)) is not None:
                closed_pool[0].shutdown(wait=False)
        limits = (FIRST_BATCH_THREADS, WRITER_THREADS, REMOTE_THREADS)
        pool = ThreadPoolExecutor(sum(limits), "hven-query", deadlines.mark_thread_for_offloading)
        thread_pool = _pools[loop] = (pool, tuple(map(anyio.CapacityLimiter, limits)))
    if is_first_batch:
        limiter_index = 0
    elif is_remote:
        limiter_index = 2
    else:
        limiter_index = 1
    async with thread_pool[1][limiter_index]:
        return await loop.run_in_executor(thread_pool[0], copy_context().run, call, *args)


class TurnWaiter:
    """Waits for a turn on the event loop.

    Threads that wait would want the interpreter's lock now and then, and be slow to take it.

    Parameters
    ----------
    enter
        Takes the place, at once; given what to call when it is worth a look. Its `OverloadedError` is raised.
    is_ready
        Looks whether the turn has come.
    """

    def __init__(self, enter: Callable[[Callable[[], object]], None], is_ready: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        self._notified = asyncio.Event()
        self._is_ready = is_ready
        enter(lambda: loop.is_closed() or loop.call_soon_threadsafe(self._notified.set))

    async def wait_for_turn(self) -> None:
        """Wait for the turn; raises `OverloadedError` if it takes too long."""
        while not self._is_ready():
            with suppress(TimeoutError):
                async with asyncio.timeout(TURN_CHECK_INTERVAL_SECONDS):
                    await self._notified.wait()
            self._notified.clear()


@asynccontextmanager
async def hold_turn(query_queue: QueryQueue) -> AsyncIterator[None]:
    """Hold one of the turns for something that is not a query's answer.

    Raises `OverloadedError` if it would not come in time.

    Parameters
    ----------
    query_queue
        Queue with the turns.
    """
    turn = QueryTurn(get_turn_taker())
    try:
        if not query_queue.take_turn_if_free(turn):
            await TurnWaiter(
                partial(query_queue.request_turn, turn), partial(query_queue.take_turn_if_ready, turn)
            ).wait_for_turn()
        yield
    finally:
        query_queue.end_turn(turn)
