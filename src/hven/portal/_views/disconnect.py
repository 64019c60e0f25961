"""Cancel the queries of a reader who closes the page or presses Cancel."""

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
    """The running queries of one request."""

    def __init__(self) -> None:
        self._is_abandoned = False
        self._results: list[QueryResult] = []

    def add_query(self, result: QueryResult) -> QueryResult:
        """Add a query that has started; cancel it at once if the reader has gone.

        Parameters
        ----------
        result
            The result of the query.

        Returns
        -------
        result
            The same result.
        """
        self._results.append(result)
        if self._is_abandoned:
            result.cancel()
        return result

    def cancel_present_and_later_queries(self) -> None:
        """Cancel all queries, also those that are added later."""
        self._is_abandoned = True
        for result in list(self._results):
            result.cancel()


async def run_while_connected(request: Request, run: Callable[[RunningQueries], T]) -> T:
    """Call `run` in a thread, and cancel its queries if the reader disconnects.

    Parameters
    ----------
    request
        The request.
    run
        The function; it passes each query that it starts to `RunningQueries.add_query`.

    Returns
    -------
    result
        What `run` returns.
    """
    running_queries = RunningQueries()

    async def cancel_on_disconnect() -> None:
        await wait_for_disconnect(request)
        running_queries.cancel_present_and_later_queries()

    watch_task = asyncio.ensure_future(cancel_on_disconnect())
    try:
        return await anyio.to_thread.run_sync(run, running_queries)
    finally:
        watch_task.cancel()
        with suppress(asyncio.CancelledError):
            await watch_task
