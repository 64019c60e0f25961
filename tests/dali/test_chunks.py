"""What leaves in one write: an answer whose rows are all in memory, and no other."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from hven.model.deadlines import Deadline
from hven.model.errors import TimeLimitError
from hven.services._responses import MIN_FIRST_CHUNK_BYTES, ResponseChunks
from hven.services._threads import TurnWaiter

answer = sys.modules["hven.services._responses"]


def chunks(computed, *parts):
    return ResponseChunks(iter(parts), SimpleNamespace(is_computed=computed, deadline=None))


@pytest.mark.parametrize(
    ("computed", "parts", "first", "whole", "left"),
    [
        (True, [b"a", b"b", b"c"], b"abc", True, []),
        (False, [b"a", b"b"], b"a", False, [b"b"]),  # the second may be long in coming
        (
            True,
            [b"a", b"b" * MIN_FIRST_CHUNK_BYTES, b"c"],
            b"a" + b"b" * MIN_FIRST_CHUNK_BYTES,
            False,
            [b"c"],
        ),  # enough to be sent alone
        (True, [], b"", True, []),
    ],
)
def test_the_opening(computed, parts, first, whole, left):
    made = chunks(computed, *parts)
    assert made.read_first_chunks() == (first, whole)
    assert list(iter(made.read_next, None)) == left


def test_the_clock_runs_while_a_chunk_is_made_and_not_while_the_line_takes_it():
    counting, until = Deadline(60), []

    def parts():
        for part in (b"a", b"b"):
            time.sleep(0.01)
            until.append(counting.expiry_time)
            yield part

    made = ResponseChunks(parts(), SimpleNamespace(is_computed=False, deadline=counting))
    begun = counting.expiry_time
    made.read_next()
    time.sleep(0.02)
    made.read_next()
    assert until[0] == begun
    assert until[1] - begun >= 0.02


def test_an_engine_that_does_not_end_keeps_nobody_waiting(monkeypatch):
    monkeypatch.setattr(answer, "CANCEL_GRACE_SECONDS", 0.01)
    ended, told = threading.Event(), []
    result = SimpleNamespace(is_computed=False, deadline=Deadline(0.01), cancel=lambda: told.append("cancel"))

    async def read_opening():
        try:
            turn = TurnWaiter(lambda _: None, lambda: True)
            with pytest.raises(TimeLimitError, match="time limit"):
                await answer._read_first_chunk_in_time(
                    ResponseChunks(iter(lambda: ended.wait(60) and None, None), result), turn
                )
            told.append("told")
        finally:
            ended.set()

    asyncio.run(read_opening())
    assert told == ["cancel", "told"]
