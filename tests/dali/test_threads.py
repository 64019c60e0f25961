"""Turns that are waited for on the event loop, and the threads that compute."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from contextvars import ContextVar

import pytest

from hven.model import clock
from hven.model.errors import Overloaded
from hven.query import turns
from hven.query.turns import Turns
from hven.services import _threads as threads
from hven.services._threads import computed, in_turn


def test_who_waits_is_woken_and_who_has_no_place_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "LOOK", 60.0)  # nobody looks by itself
    one = Turns(1, places=1)
    order: list[str] = []

    async def run() -> None:
        go_on = asyncio.Event()

        async def first() -> None:
            async with in_turn(one):
                order.append("first")
                await go_on.wait()
                order.append("over")

        async def second() -> None:
            async with in_turn(one):
                order.append("second")

        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(first())
            await asyncio.sleep(0)
            waiting = group.create_task(second())
            await asyncio.sleep(0)
            with pytest.raises(Overloaded, match="try again"):
                await second()
            go_on.set()
            await waiting

    asyncio.run(run())
    assert order == ["first", "over", "second"]
    assert (one.running, one._queue) == (0, [])


def test_who_leaves_gives_the_place_back() -> None:
    one = Turns(1, places=1)

    async def run() -> None:
        async with in_turn(one):
            waiting = asyncio.create_task(in_turn(one).__aenter__())
            await asyncio.sleep(0)
            assert one._queue
            waiting.cancel()
            await asyncio.wait({waiting})
            assert not one._queue

    asyncio.run(run())
    assert one.running == 0


def test_who_waits_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "LOOK", 0.01)
    monkeypatch.setattr(turns, "WAIT", 0.02)
    one = Turns(2, places=1)

    async def run() -> None:
        async with in_turn(one), in_turn(one):
            monkeypatch.setattr(one, "_usual", 0.0)
            with pytest.raises(Overloaded):
                async with in_turn(one):
                    pass

    asyncio.run(run())
    assert (one.running, one._queue) == (0, [])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere priorities are the process's")
def test_long_computing_goes_after_the_loop_and_what_holds_the_interpreter_does_not() -> None:
    def mine() -> int:
        return os.getpriority(os.PRIO_PROCESS, 0)

    async def run() -> tuple[int, int, int]:
        return await computed(mine), await computed(clock.below, mine), mine()

    there, below, here = asyncio.run(run())
    assert (there, below) == (here, max(here, clock.QUERY))
    assert clock.below(mine) == here  # who does not ask for it computes where it is


def test_computing_for_another_thread_is_as_computing_there() -> None:
    word: ContextVar[str] = ContextVar("word", default="none")

    def over() -> None:
        raise StopIteration

    def asked() -> tuple[str, str]:
        word.set("mine")
        try:
            clock.below(over)
        except StopIteration:
            return clock.below(word.get), threading.current_thread().name
        return "", ""

    found, name = asyncio.run(computed(asked))
    assert found == "mine"
    assert name.startswith("hven-query")
