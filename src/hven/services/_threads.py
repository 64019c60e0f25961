"""The threads that wait for big answers and write them: few; what takes long without the interpreter they leave to lower threads (`priority.below`)."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from hven.model import clock
from hven.query.turns import Turn, asker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hven.query.turns import Turns

WRITERS = (os.cpu_count() or 1) + 4  # threads that make chunks of running answers; more would only need more memory
FIRST = 96  # threads that wait for first batches; more than queries that compute at once
# seconds between two looks whether a query that waits for its turn may have that of a reader who is long about it
LOOK = 0.1
FAR = 8  # threads that wait for files of other servers: one that hangs holds up no other answer
_pools: dict[asyncio.AbstractEventLoop, tuple[ThreadPoolExecutor, tuple[anyio.CapacityLimiter, ...]]] = {}


async def computed(call: Callable[..., Any], *args: Any, first: bool = False, far: bool = False) -> Any:
    """Call something in one of the threads. Those that go on with an answer wait neither behind those that wait for their `first` rows nor for `far` servers."""
    loop = asyncio.get_running_loop()
    found = _pools.get(loop)
    if found is None:
        for other in [*_pools]:
            if other.is_closed() and (over := _pools.pop(other, None)) is not None:
                over[0].shutdown(wait=False)
        limits = (FIRST, WRITERS, FAR)
        pool = ThreadPoolExecutor(sum(limits), "hven-query", clock.asks)
        found = _pools[loop] = (pool, tuple(map(anyio.CapacityLimiter, limits)))
    async with found[1][0 if first else 2 if far else 1]:
        return await loop.run_in_executor(found[0], copy_context().run, call, *args)


class Waiting:
    """Waits for a turn on the event loop: threads that wait would want the interpreter's lock now and then, and be slow to take it.

    Parameters
    ----------
    enter
        Takes the place, at once; given what to call when it is worth a look. Its `Overloaded` is raised.
    ready
        Looks whether the turn has come.
    """

    def __init__(self, enter: Callable[[Callable[[], object]], None], ready: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        self._came = asyncio.Event()
        self._ready = ready
        enter(lambda: loop.is_closed() or loop.call_soon_threadsafe(self._came.set))

    async def over(self) -> None:
        """Wait for the turn; raises `Overloaded` if it takes too long."""
        while not self._ready():
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._came.wait()
            self._came.clear()


@asynccontextmanager
async def in_turn(turns: Turns) -> AsyncIterator[None]:
    """Hold one of the turns for something that is not a query's answer; raises `Overloaded` if it would not come in time."""
    turn = Turn(asker.get()())
    try:
        await Waiting(partial(turns.enter, turn), partial(turns.ready, turn)).over()
        yield
    finally:
        turns.give_back(turn)
