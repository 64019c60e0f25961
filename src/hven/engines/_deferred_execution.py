"""Queries that start when they are read, for plans that were expected to be quick and are not."""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING

from hven.engines import DelegatingExecution
from hven.model.errors import OperationCancelledError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from hven.engines import QueryExecution


class DeferredExecution(DelegatingExecution):
    """A query that starts when it is read (`hven.engines.QueryExecution`).

    `execute` returns it at once, perhaps on the event loop. `start_execution` gets a function that it must call with
    each execution that it runs: that of the query itself, or of an auxiliary query.
    """

    def __init__(
        self, schema: pa.Schema, start_execution: Callable[[Callable[[QueryExecution | None], None]], QueryExecution]
    ) -> None:
        super().__init__(schema)
        self._context = copy_context()  # the deadline of this context also counts the time of the deferred work
        self._start_execution = start_execution

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if self._cancelled:
            raise OperationCancelledError("the query was cancelled")
        try:
            yield from self._adopt_execution(self._context.run(self._start_execution, self._set_current_execution))
        finally:
            self.close()
