"""Queries that begin when they are read: a plan that was believed to be quick found that it is not."""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING

from hven.engines import RelayExecution
from hven.model.errors import OperationCancelledError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from hven.engines import QueryExecution


class DeferredExecution(RelayExecution):
    """A query that begins when it is read (`hven.engines.QueryExecution`).

    `execute` came back at once, maybe on the event loop.

    `start_execution` is given what to call with each execution that computes: the query's own one, or one that is run
    for its sake.
    """

    def __init__(
        self, schema: pa.Schema, start_execution: Callable[[Callable[[QueryExecution | None], None]], QueryExecution]
    ) -> None:
        super().__init__(schema)
        self._context = copy_context()  # the clock of now counts what is done then
        self._start_execution = start_execution

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if self._cancelled:
            raise OperationCancelledError("the query was cancelled")
        try:
            yield from self._begin_execution(self._context.run(self._start_execution, self._set_current))
        finally:
            self.close()
