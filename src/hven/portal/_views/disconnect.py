"""A reader who goes away, or presses Cancel: what was asked for them is stopped, instead of running for nobody."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import anyio.to_thread

from hven.services import left

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from hven.query import Result

T = TypeVar("T")


class Waiting:
    """Knows what runs for one reader."""

    def __init__(self) -> None:
        self._left = False
        self._begun: list[Result] = []

    def begun(self, result: Result) -> Result:
        """Note what begins; it is cancelled at once if nobody waits any more."""
        self._begun.append(result)
        if self._left:
            result.cancel()
        return result

    def leave(self) -> None:
        """Stop everything."""
        self._left = True
        for result in list(self._begun):
            result.cancel()


async def attended(request: Request, make: Callable[[Waiting], T]) -> T:
    """Run `make` in a thread for as long as its reader waits; it hands each query that it begins to `Waiting.begun`."""
    waiting = Waiting()

    async def watch() -> None:
        await left(request)
        waiting.leave()

    watching = asyncio.ensure_future(watch())
    try:
        return await anyio.to_thread.run_sync(make, waiting)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
