"""Queries that begin when they are read: a plan that was believed to be quick found that it is not."""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING

from hven.engines import Relay
from hven.model.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from hven.engines import Execution


class LaterExecution(Relay):
    """A query that begins when it is read (`hven.engines.Execution`): `execute` came back at once, maybe on the event loop.

    `start` is given what to call with each execution that computes: the query's own one, or one that is run for its sake.
    """

    def __init__(self, schema: pa.Schema, start: Callable[[Callable[[Execution | None], None]], Execution]) -> None:
        super().__init__(schema)
        self._context = copy_context()  # the clock of now counts what is done then
        self._start = start

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if self._cancelled:
            raise Cancelled("the query was cancelled")
        try:
            yield from self._begin(self._context.run(self._start, self._runs))
        finally:
            self.close()
