"""What leaves in one write: an answer whose rows are all in memory, and no other."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from hven.model.clock import Clock
from hven.model.errors import Timeout
from hven.services._answer import COMPANY, Chunks
from hven.services._threads import Waiting

answer = sys.modules["hven.services._answer"]


def chunks(computed, *parts):
    return Chunks(iter(parts), SimpleNamespace(computed=computed, clock=None))


@pytest.mark.parametrize(
    ("computed", "parts", "first", "whole", "left"),
    [
        (True, [b"a", b"b", b"c"], b"abc", True, []),
        (False, [b"a", b"b"], b"a", False, [b"b"]),  # the second may be long in coming
        (True, [b"a", b"b" * COMPANY, b"c"], b"a" + b"b" * COMPANY, False, [b"c"]),  # enough to be sent alone
        (True, [], b"", True, []),
    ],
)
def test_the_opening(computed, parts, first, whole, left):
    made = chunks(computed, *parts)
    assert made.opening() == (first, whole)
    assert list(iter(made.following, None)) == left


def test_the_clock_runs_while_a_chunk_is_made_and_not_while_the_line_takes_it():
    counting, until = Clock(60), []

    def parts():
        for part in (b"a", b"b"):
            time.sleep(0.01)
            until.append(counting.until)
            yield part

    made = Chunks(parts(), SimpleNamespace(computed=False, clock=counting))
    begun = counting.until
    made.following()
    time.sleep(0.02)
    made.following()
    assert until[0] == begun
    assert until[1] - begun >= 0.02


def test_an_engine_that_does_not_end_keeps_nobody_waiting(monkeypatch):
    monkeypatch.setattr(answer, "LATE", 0.01)
    ended, told = threading.Event(), []
    result = SimpleNamespace(computed=False, clock=Clock(0.01), cancel=lambda: told.append("cancel"))

    async def asked():
        try:
            turn = Waiting(lambda _: None, lambda: True)
            with pytest.raises(Timeout, match="time limit"):
                await answer._on_time(Chunks(iter(lambda: ended.wait(60) and None, None), result), turn)
            told.append("told")
        finally:
            ended.set()

    asyncio.run(asked())
    assert told == ["cancel", "told"]
