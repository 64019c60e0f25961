"""A reader who goes away, or presses Cancel: what was asked for them is stopped, instead of running for nobody."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import anyio.to_thread

from hven.services import wait_for_disconnect

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from hven.query import QueryResult

T = TypeVar("T")


class RunningQueries:
    """Knows what runs for one reader."""

    def __init__(self) -> None:
        self._is_abandoned = False
        self._results: list[QueryResult] = []

    def add_query(self, result: QueryResult) -> QueryResult:
        """Note what begins; it is cancelled at once if nobody waits any more."""
        self._results.append(result)
        if self._is_abandoned:
            result.cancel()
        return result

    def cancel_all(self) -> None:
        """Stop everything."""
        self._is_abandoned = True
        for result in list(self._results):
            result.cancel()


async def run_while_connected(request: Request, run: Callable[[RunningQueries], T]) -> T:
    """Run `run` in a thread for as long as its reader waits.

    It hands each query that it begins to `RunningQueries.add_query`.
    """
    running_queries = RunningQueries()

    async def cancel_on_disconnect() -> None:
        await wait_for_disconnect(request)
        running_queries.cancel_all()

    watch_task = asyncio.ensure_future(cancel_on_disconnect())
    try:
        return await anyio.to_thread.run_sync(run, running_queries)
    finally:
        watch_task.cancel()
        with suppress(asyncio.CancelledError):
            await watch_task
