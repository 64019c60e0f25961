"""Turns that are waited for on the event loop, and the threads that compute."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from contextvars import ContextVar

import pytest

from hven.model import deadlines
from hven.model.errors import OverloadedError
from hven.query import query_queue
from hven.query.query_queue import QueryQueue
from hven.services import _threads as threads
from hven.services._threads import call_in_thread, hold_turn


def test_who_waits_is_woken_and_who_has_no_place_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "TURN_CHECK_INTERVAL_SECONDS", 60.0)  # nobody looks by itself
    one = QueryQueue(1, place_count=1)
    order: list[str] = []

    async def run() -> None:
        go_on = asyncio.Event()

        async def first() -> None:
            async with hold_turn(one):
                order.append("first")
                await go_on.wait()
                order.append("over")

        async def second() -> None:
            async with hold_turn(one):
                order.append("second")

        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(first())
            await asyncio.sleep(0)
            waiting = group.create_task(second())
            await asyncio.sleep(0)
            with pytest.raises(OverloadedError, match="try again"):
                await second()
            go_on.set()
            await waiting

    asyncio.run(run())
    assert order == ["first", "over", "second"]
    assert (one.running_count, one._waiting_turns) == (0, [])


def test_who_leaves_gives_the_place_back() -> None:
    one = QueryQueue(1, place_count=1)

    async def run() -> None:
        async with hold_turn(one):
            waiting = asyncio.create_task(hold_turn(one).__aenter__())
            await asyncio.sleep(0)
            assert one._waiting_turns
            waiting.cancel()
            await asyncio.wait({waiting})
            assert not one._waiting_turns

    asyncio.run(run())
    assert one.running_count == 0


def test_who_waits_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "TURN_CHECK_INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(query_queue, "QUEUE_TIMEOUT_SECONDS", 0.02)
    one = QueryQueue(2, place_count=1)

    async def run() -> None:
        async with hold_turn(one), hold_turn(one):
            monkeypatch.setattr(one, "_mean_turn_seconds", 0.0)
            with pytest.raises(OverloadedError):
                async with hold_turn(one):
                    pass

    asyncio.run(run())
    assert (one.running_count, one._waiting_turns) == (0, [])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere priorities are the process's")
def test_long_computing_goes_after_the_loop_and_what_holds_the_interpreter_does_not() -> None:
    def mine() -> int:
        return os.getpriority(os.PRIO_PROCESS, 0)

    async def run() -> tuple[int, int, int]:
        return await call_in_thread(mine), await call_in_thread(deadlines.offload_computation_if_marked, mine), mine()

    there, below, here = asyncio.run(run())
    assert (there, below) == (here, max(here, deadlines.QUERY_NICENESS))
    assert deadlines.offload_computation_if_marked(mine) == here  # who does not ask for it computes where it is


def test_computing_for_another_thread_is_as_computing_there() -> None:
    word: ContextVar[str] = ContextVar("word", default="none")

    def raise_stop() -> None:
        raise StopIteration

    def compute_in_thread() -> tuple[str, str]:
        word.set("mine")
        try:
            deadlines.offload_computation_if_marked(raise_stop)
        except StopIteration:
            return deadlines.offload_computation_if_marked(word.get), threading.current_thread().name
        return "", ""

    found, name = asyncio.run(call_in_thread(compute_in_thread))
    assert found == "mine"
    assert name.startswith("hven-query")
