"""Rows that are here already are written without Arrow: counted and closed like any others, and left alone where that cannot be."""

from __future__ import annotations

import pyarrow as pa
import pytest

from hven.engines import Execution
from hven.model.table import Column
from hven.model.types import parse_type
from hven.query._result import Result
from hven.query.turns import InTurn, Turns
from hven.site.auth import Scope
from hven.site.counters import Counters

COLUMNS = (Column(name="n", type=parse_type("int32")),)
BATCH = pa.record_batch({"n": pa.array([1, 2, 3], pa.int32())})


class Near(Execution):
    """An execution of an engine that gives record batches only."""

    schema, small = BATCH.schema, True

    def cancel(self):
        pass

    def close(self):
        pass


class Here(Execution):
    """An execution whose rows have come."""

    schema = BATCH.schema
    small = True

    def __init__(self):
        self.closed = self.cancelled = False

    def arrived(self):
        return True

    def few(self):
        return [(1,), (2,), (3,)]

    def __iter__(self):
        yield BATCH

    def cancel(self):
        self.cancelled = True

    def close(self):
        self.closed = True


def made(execution, limit=10, counters=None):
    result = Result(
        columns=COLUMNS,
        tables=(),
        scope=Scope("public"),
        version="1",
        limit=limit,
        small=True,
        _begin=lambda: execution,
        _counters=counters,
    )
    result.begin()
    return result


def said(rows):
    return repr(rows).encode()


@pytest.mark.parametrize("turn", [False, True])
def test_rows_that_are_here_are_written_counted_and_closed(turn, monkeypatch):
    here = Here()
    counters = Counters()
    told = []
    monkeypatch.setattr(counters, "queried", lambda rows, seconds, error: told.append((rows, error)))
    result = made(InTurn(Turns(1), here.schema, lambda: here, here) if turn else here, counters=counters)
    assert not turn or result.arrived()
    assert result.at_once(said) == b"[(1,), (2,), (3,)]"
    assert here.closed
    assert (result.rows, result.end().overflow, result.end().error) == (3, False, None)
    assert told == [(3, None)]


@pytest.mark.parametrize(
    "why", ["too many", "written otherwise", "another form", "cancelled", "not here", "no such engine"]
)
def test_what_is_not_written_at_once_is_still_there(why):
    here = Near() if why == "no such engine" else Here()
    result = made(here, limit=2 if why == "too many" else 10)
    if why == "another form":
        result.present((Column(name="n", type=parse_type("int64")),))
    if why == "cancelled":
        result.cancel()
    if why == "not here":
        result.small = False
    assert result.at_once(lambda rows: None if why == "written otherwise" else said(rows)) is None
    if isinstance(here, Here):
        assert not here.closed
        assert [row for batch in result.batches() for row in batch.to_pylist()] == [
            {"n": n + 1} for n in range(result.limit)
        ][:3]
        assert result.overflow == (why == "too many")
