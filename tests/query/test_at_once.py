"""Rows that are here already are written without Arrow: counted and closed like any others, and left alone where that cannot be."""

from __future__ import annotations

import pyarrow as pa
import pytest

from hven.engines import QueryExecution
from hven.model.table import Column
from hven.model.types import parse_type
from hven.query._query_result import QueryResult
from hven.query.query_queue import QueryQueue, QueuedExecution
from hven.site.auth import AccessScope
from hven.site.counters import ProcessCounters

COLUMNS = (Column(name="n", type=parse_type("int32")),)
BATCH = pa.record_batch({"n": pa.array([1, 2, 3], pa.int32())})


class BatchExecution(QueryExecution):
    """An execution of an engine that gives record batches only."""

    schema, small = BATCH.schema, True

    def cancel(self):
        pass

    def close(self):
        pass


class CompletedExecution(QueryExecution):
    """An execution whose rows have come."""

    schema = BATCH.schema
    small = True

    def __init__(self):
        self.closed = self.cancelled = False

    def has_answer_arrived(self):
        return True

    def read_small_answer(self):
        return [(1,), (2,), (3,)]

    def __iter__(self):
        yield BATCH

    def cancel(self):
        self.cancelled = True

    def close(self):
        self.closed = True


def begin_result(execution, limit=10, counters=None):
    result = QueryResult(
        columns=COLUMNS,
        tables=(),
        scope=AccessScope("public"),
        version="1",
        row_limit=limit,
        small=True,
        _start_execution=lambda: execution,
        _counters=counters,
    )
    result.begin_execution()
    return result


def encode_rows(rows):
    return repr(rows).encode()


@pytest.mark.parametrize("turn", [False, True])
def test_rows_that_are_here_are_written_counted_and_closed(turn, monkeypatch):
    here = CompletedExecution()
    counters = ProcessCounters()
    told = []
    monkeypatch.setattr(counters, "count_query_end", lambda rows, seconds, error: told.append((rows, error)))
    result = begin_result(
        QueuedExecution(QueryQueue(1), here.schema, lambda: here, here) if turn else here, counters=counters
    )
    assert not turn or result.has_answer_arrived()
    assert result.write_small_answer_and_close(encode_rows) == b"[(1,), (2,), (3,)]"
    assert here.closed
    assert (result.row_count, result.build_status().overflow, result.build_status().error_message) == (3, False, None)
    assert told == [(3, None)]


@pytest.mark.parametrize(
    "why", ["too many", "written otherwise", "another form", "cancelled", "not here", "no such engine"]
)
def test_what_is_not_written_at_once_is_still_there(why):
    here = BatchExecution() if why == "no such engine" else CompletedExecution()
    result = begin_result(here, limit=2 if why == "too many" else 10)
    if why == "another form":
        result.replace_column_metadata((Column(name="n", type=parse_type("int64")),))
    if why == "cancelled":
        result.cancel()
    if why == "not here":
        result.small = False
    assert (
        result.write_small_answer_and_close(lambda rows: None if why == "written otherwise" else encode_rows(rows))
        is None
    )
    if isinstance(here, CompletedExecution):
        assert not here.closed
        assert [row for batch in result.iterate_batches() for row in batch.to_pylist()] == [
            {"n": n + 1} for n in range(result.row_limit)
        ][:3]
        assert result.overflow == (why == "too many")
