"""The door: a queue that stands is told so at once, and first who asks most."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hven.app._server import door
from hven.app._server.door import Door
from hven.app._server.edge import Edge
from hven.model.settings import Settings
from hven.site.store import Store

COST = 0.01  # seconds of each request that is answered


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Loop:
    """A loop that takes what has arrived in rounds, and the clock that its requests see."""

    def __init__(self) -> None:
        self.now = self.round = 1000.0
        self.waited: list[float] = []
        self.door = Door(lambda: self.now, lambda: self.round)
        settings = Settings(directory=Path())
        self._edge = Edge(self._app, settings, Store(settings.var), door=self.door)

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
    assert {status for _, status, _ in loop.rounds(int(door.STANDING / COST / 12), crowd)} == {200}
    loop.rounds(3, crowd)
    loop.waited.clear()
    told = loop.rounds(20, crowd)
    refused = [headers for _, status, headers in told if status == 503]
    assert len(refused) > len(told) / 2
    assert {headers[b"retry-after"] for headers in refused} == {door.AFTER}
    assert max(loop.waited) <= door.LONGEST
    # whether it lives, it says all the same
    assert {status for _, status, _ in loop.rounds(1, crowd, door.ALWAYS)} == {200}
    loop.now += 2 * door.PAUSE  # nothing to do for a moment: the queue was empty
    assert {status for _, status, _ in loop.rounds(1, crowd)} == {200}


def test_a_few_long_requests_are_no_queue_that_stands() -> None:
    loop = Loop()
    loop.rounds(1, ("192.0.2.1",))
    loop.now += 10 * door.STANDING  # one that held up the loop for long
    loop.door._busy = loop.now
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
            if loop.door._due is not None:
                loop.door._due = loop.now - probe_seconds
            loop.door.note_look()
            told += loop.rounds(1, crowd)
        return sum(status == 503 for _, status, _ in told)

    assert count_refused(0.0) == 0
    assert count_refused(0.2) > 50


def test_a_look_that_is_in_time_says_nothing() -> None:
    loop = Loop()
    loop.door.note_look()
    loop.now += door.PROBE_SECONDS
    loop.door.note_look()
    assert not loop.door.late
    loop.now += door.PROBE_SECONDS + 2 * door.LATE_SECONDS
    loop.door.note_look()
    assert loop.door.late
