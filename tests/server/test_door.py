"""The door: a queue that stands is told so at once, and first who asks most."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hven.app._server import worker_load
from hven.app._server.request_middleware import RequestMiddleware
from hven.app._server.worker_load import LoadShedder
from hven.model.settings import Settings
from hven.site.store import StateStore

COST = 0.01  # seconds of each request that is answered


@pytest.fixture(autouse=True)
def _change_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Loop:
    """A loop that takes what has arrived in rounds, and the clock that its requests see."""

    def __init__(self) -> None:
        self.now = self.round = 1000.0
        self.waited: list[float] = []
        self.door = LoadShedder(lambda: self.now, lambda: self.round)
        self.door.start_probing = lambda _: None  # type: ignore[method-assign]  # probes would mix two clocks
        settings = Settings(directory=Path())
        self._edge = RequestMiddleware(self._app, settings, StateStore(settings.var_directory), load_shedder=self.door)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.waited.append(self.now - self.round)
        self.now += COST
        await send({"type": "http.response.start", "status": 200, "headers": []})

    def rounds(
        self, number: int, addresses: tuple[str, ...], path: str = "/cone/s.t"
    ) -> list[tuple[str, int, dict[bytes, bytes]]]:
        """Have so many rounds of requests from these addresses; give whom it told what."""
        told = []
        for _ in range(number):
            self.round = self.now
            for address in addresses:
                said: list[dict[str, Any]] = []

                async def send(message: dict[str, Any], said: list[dict[str, Any]] = said) -> None:
                    said.append(message)

                scope = {
                    "type": "http",
                    "method": "GET",
                    "path": path,
                    "query_string": b"",
                    "headers": [],
                    "client": (address, 1),
                }
                asyncio.run(self._edge(scope, None, send))  # nobody reads
                told.append((address, said[0]["status"], dict(said[0]["headers"])))
        return told


def test_a_queue_that_stands_is_told_at_once_when_to_come_again() -> None:
    loop = Loop()
    crowd = ("192.0.2.1", "192.0.2.2") * 6
    # long, but it may become empty
    assert {status for _, status, _ in loop.rounds(int(worker_load.MIN_STANDING_SECONDS / COST / 12), crowd)} == {200}
    loop.rounds(3, crowd)
    loop.waited.clear()
    told = loop.rounds(20, crowd)
    refused = [headers for _, status, headers in told if status == 503]
    assert len(refused) > len(told) / 2
    assert {headers[b"retry-after"] for headers in refused} == {worker_load.RETRY_AFTER_SECONDS}
    assert max(loop.waited) <= worker_load.MAX_WAIT_SECONDS
    # whether it lives, it says all the same
    assert {status for _, status, _ in loop.rounds(1, crowd, worker_load.ALWAYS_SERVED_PATH)} == {200}
    loop.now += 2 * worker_load.MIN_IDLE_SECONDS  # nothing to do for a moment: the queue was empty
    assert {status for _, status, _ in loop.rounds(1, crowd)} == {200}


def test_a_few_long_requests_are_no_queue_that_stands() -> None:
    loop = Loop()
    loop.rounds(1, ("192.0.2.1",))
    loop.now += 10 * worker_load.MIN_STANDING_SECONDS  # one that held up the loop for long
    loop.door._last_busy = loop.now
    assert {status for _, status, _ in loop.rounds(1, ("192.0.2.1",) * 6)} == {200}


def test_who_asks_most_is_refused_before_others() -> None:
    loop = Loop()
    greedy = ("192.0.2.1",) * 9
    loop.rounds(12, (*greedy, "192.0.2.2"))
    told = Counter((address, status) for address, status, _ in loop.rounds(50, (*greedy, "192.0.2.2")))
    assert told["192.0.2.2", 503] == 0
    assert told["192.0.2.2", 200] == 50
    assert told["192.0.2.1", 503] > 300


def test_a_loop_that_is_kept_from_running_does_not_pause() -> None:
    """Other programs have the processor between two rounds: to the loop that looks like a pause."""
    crowd = ("192.0.2.1", "192.0.2.2") * 6

    def count_refused(probe_seconds: float) -> int:
        loop = Loop()
        told = []
        for _ in range(20):
            loop.now += 0.2  # more than any pause
            if loop.door._next_probe is not None:
                loop.door._next_probe = loop.now - probe_seconds
            loop.door.record_probe_delay()
            told += loop.rounds(1, crowd)
        return sum(status == 503 for _, status, _ in told)

    assert count_refused(0.0) == 0
    assert count_refused(0.2) > 50


def test_a_look_that_is_in_time_says_nothing() -> None:
    loop = Loop()
    loop.door.record_probe_delay()
    loop.now += worker_load.PROBE_SECONDS
    loop.door.record_probe_delay()
    assert not loop.door.is_loop_late
    loop.now += worker_load.PROBE_SECONDS + 2 * worker_load.MAX_PROBE_DELAY_SECONDS
    loop.door.record_probe_delay()
    assert loop.door.is_loop_late


def test_a_late_look_in_an_earlier_loop_says_nothing_about_this_one() -> None:
    """Otherwise no pause of this loop would ever count, and its requests would be a queue that stands."""
    now = 1000.0
    door = LoadShedder(lambda: now, lambda: now)
    for _ in range(2):
        calls: list[tuple[Any, ...]] = []
        loop: Any = SimpleNamespace(call_later=lambda *call, calls=calls: calls.append(call))
        door.start_probing(loop)
        assert not door.is_loop_late
        ((_, look, *arguments),) = calls
        now += 5.0
        look(*arguments)
        assert door.is_loop_late
        door.start_probing(loop)
        assert door.is_loop_late, "the same loop is still late"
