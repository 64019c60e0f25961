"""Threads around the flow: order kept, errors carried over, nothing left running."""

from __future__ import annotations

import gc
import threading
from contextlib import closing

import pytest

from hven.ingest._read_ahead import GC_OBJECT_THRESHOLD, ReadAheadIterator, WriteBehindQueue


def come(before):
    """Give the threads of the flow that are new; others of this process come and go as they like."""
    return [
        thread for thread in threading.enumerate() if thread.name in {"reading", "writing"} and thread not in before
    ]


def test_ahead_keeps_order_and_bounds_what_waits():
    made = []

    def source():
        for number in range(50):
            made.append(number)
            yield number

    with closing(ReadAheadIterator(source(), size=2)) as ahead:
        for number in ahead:
            assert made[-1] - number <= 4
    assert made == list(range(50))


def test_the_collector_looks_rarely_while_anybody_reads():
    usual, looked = gc.get_threshold(), []

    def source(count):
        for number in range(count):
            looked.append(gc.get_threshold()[0])
            yield number

    with closing(ReadAheadIterator(source(50), size=1)) as one:
        assert next(iter(one)) == 0
        with closing(ReadAheadIterator(source(3))) as other:
            assert list(other) == [0, 1, 2]
        assert gc.get_threshold()[0] >= GC_OBJECT_THRESHOLD  # the first one goes on
    assert gc.get_threshold() == usual
    assert min(looked) >= GC_OBJECT_THRESHOLD


def test_ahead_carries_errors_and_closes_the_source():
    closed = threading.Event()

    def source():
        try:
            yield 1
            raise ValueError("row 2")
        finally:
            closed.set()

    with closing(ReadAheadIterator(source())) as ahead, pytest.raises(ValueError, match="row 2"):
        assert list(ahead) == [1]
    assert closed.is_set()


def test_ahead_stops_when_its_reader_leaves():
    closed = threading.Event()

    def source():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    before = threading.enumerate()
    ahead = ReadAheadIterator(source())
    next(iter(ahead))
    ahead.close()
    assert closed.is_set()
    assert not come(before)


def test_behind_takes_in_order_and_tells_what_went_wrong():
    taken = []
    behind = WriteBehindQueue(taken.append)
    for number in range(20):
        behind.enqueue(number)
    behind.wait_until_done()
    assert taken == list(range(20))

    def fail(number):
        if number == 3:
            raise OSError("disk full")
        taken.append(number)

    def give_all():
        for number in range(1000):
            behind.enqueue(number)

    behind = WriteBehindQueue(fail)
    with pytest.raises(OSError, match="disk full"):
        give_all()
    behind.stop_and_discard_items()
    before = threading.enumerate()
    behind = WriteBehindQueue(taken.append)
    assert come(before)
    behind.stop_and_discard_items()
    assert not come(before)
