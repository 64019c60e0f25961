"""Connections are even among the workers, though whoever wakes first takes all that wait."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from server_process import ServerProcess, build_star_site, serve_site, wait_until

from hven.app._server import worker_load
from hven.app._server.request_middleware import RequestMiddleware
from hven.app._server.worker_load import MAX_SILENCE_SECONDS, WorkerConnectionCounts
from hven.model.settings import Settings
from hven.site.store import StateStore


class Time:
    """A clock, and processor time of which a part of each second is spent."""

    def __init__(self, busy: float) -> None:
        self.now, self.busy = 100.0, busy

    def clock(self) -> float:
        return self.now

    def spent(self) -> float:
        return self.now * self.busy


def balance_workers(counts: list[int], *, busy: float = 0.9, back: float = 0.5, seconds: int = 10) -> list[int]:
    """Let workers be asked on so many connections, again and again; of those that are closed, a part comes back to who closed them."""
    time = Time(busy)
    shares = WorkerConnectionCounts(len(counts), time.clock, time.spent)
    workers = [shares.create_worker_balancer(number) for number in range(len(counts))]
    held = [{(number, port) for port in range(count)} for number, count in enumerate(counts)]
    port = 1000
    for _ in range(seconds):
        time.now += 1.0
        for number, worker in enumerate(workers):
            for _again in range(3):
                for client in sorted(held[number]):
                    if worker.count_request_and_decide_close(client):
                        held[number].remove(client)
                        port += 1
                        whose = number if (port * 0.618) % 1 < back else (number + 1) % len(counts)
                        held[whose].add((whose, port))
            worker.report_and_rebalance()
    return [len(one) for one in held]


@pytest.mark.parametrize("back", [0.0, 0.5, 0.8])
def test_connections_become_even(back: float) -> None:
    few, many = sorted(balance_workers([32, 0], back=back))
    assert few + many == 32
    assert few >= 12
    assert sum(balance_workers([40, 0, 0, 0], back=back)) == 40
    assert max(balance_workers([40, 0, 0, 0], back=back, seconds=20)) <= 15


def test_who_has_time_or_little_over_its_share_closes_none() -> None:
    assert balance_workers([32, 0], busy=0.05) == [32, 0]
    assert balance_workers([3, 0]) == [3, 0]
    assert balance_workers([18, 14]) == [18, 14]
    assert balance_workers([9]) == [9]


def test_nothing_is_left_to_workers_that_say_nothing() -> None:
    time = Time(0.9)
    shares = WorkerConnectionCounts(2, time.clock, time.spent)
    one, other = shares.create_worker_balancer(0), shares.create_worker_balancer(1)
    other.report_and_rebalance()
    time.now += MAX_SILENCE_SECONDS + 0.5
    for port in range(32):
        one.count_request_and_decide_close(port)
    one.report_and_rebalance()
    assert not one.count_request_and_decide_close(0), "the other one hangs, or is dead"


def test_an_answer_says_that_its_connection_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        "hven.app._server.worker_load.count_request_and_decide_close",
        lambda client: asked.append(client) or client[1] == 2,
    )
    settings = Settings(directory=tmp_path)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    edge = RequestMiddleware(app, settings, StateStore(settings.var_directory))

    def headers(port: int) -> dict[bytes, bytes]:
        said: list[Any] = []

        async def send(message: Any) -> None:
            said.append(message)

        scope = {"type": "http", "method": "GET", "path": "/cone/s.t", "query_string": b"", "headers": []}
        asyncio.run(edge({**scope, "client": ("192.0.2.1", port)}, None, send))  # type: ignore[arg-type]
        return dict(said[0]["headers"])

    assert b"connection" not in headers(1)
    assert headers(2)[b"connection"] == b"close"
    assert asked == [("192.0.2.1", 1), ("192.0.2.1", 2)]


@pytest.fixture
def drained(monkeypatch: pytest.MonkeyPatch) -> tuple[WorkerConnectionCounts, Time]:
    """Make this process a worker with a clock that the test moves."""
    clock = Time(0.0)
    counts = WorkerConnectionCounts(2, clock.clock, clock.spent)
    monkeypatch.setattr(worker_load, "_process_share", counts.create_worker_balancer(1))
    return counts, clock


def test_a_server_drains_longer_for_answers_that_began_before(drained: tuple[WorkerConnectionCounts, Time]) -> None:
    counts, clock = drained
    counts.start_draining()
    start = clock.now
    assert counts.compute_drain_seconds(start, 3) == 3
    clock.now = start + 2
    worker_load.record_open_connection()
    assert counts.compute_drain_seconds(start, 3) == 3, "its client has as much time as all others"
    clock.now = start + 5
    worker_load.record_open_connection()
    assert counts.compute_drain_seconds(start, 3) == 1, "at most twice as long"


def test_an_answer_that_began_before_the_drain_closes_its_connection(
    tmp_path: Path, drained: tuple[WorkerConnectionCounts, Time]
) -> None:
    counts, clock = drained
    settings = Settings(directory=tmp_path)
    ended_before_headers, ended_after_headers = [], []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/query":
            counts.start_draining()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        counts.start_draining()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    edge = RequestMiddleware(app, settings, StateStore(settings.var_directory))

    def ask(path: str, said: list[Any]) -> None:
        async def send(message: Any) -> None:
            said.append(message)

        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": path,
            "query_string": b"",
            "headers": [],
        }
        asyncio.run(edge({**scope, "client": ("192.0.2.1", 1)}, None, send))  # type: ignore[arg-type]

    start = clock.now
    ask("/stream", ended_after_headers)
    assert b"connection" not in dict(ended_after_headers[0]["headers"])
    clock.now += 1
    assert counts.compute_drain_seconds(start - 2, 3) == 2, "from the end of the stream on"
    counts._reports[4] = 0.0
    ask("/query", ended_before_headers)
    assert dict(ended_before_headers[0]["headers"])[b"connection"] == b"close"
    assert counts.compute_drain_seconds(start - 2, 3) == 2, "it has closed its connection"


def _is_working(pid: int) -> bool:
    """Tell whether a process has used a hundredth of half a second of the processor."""
    fields = Path(f"/proc/{pid}/stat")

    def ticks() -> int:
        return sum(map(int, fields.read_text().rpartition(") ")[2].split()[11:13]))

    before = ticks()
    time.sleep(0.5)
    return ticks() != before


def _is_stopped(pid: int) -> bool:
    """Return whether all threads of a process are stopped: the signal reaches each of them by itself."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return all((thread / "stat").read_text().rpartition(") ")[2][0] == "T" for thread in threads)


def _sockets(pid: int) -> int:
    found = 0
    for name in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found += str(name.readlink()).startswith("socket:")
    return found


def test_what_one_worker_took_while_the_other_slept_becomes_both_ones(tmp_path: Path) -> None:
    with serve_site(build_star_site(tmp_path / "site", 3000), workers=2) as server, contextlib.ExitStack() as stack:
        # one that is stopped while it starts may hold a lock that the other needs
        wait_until(lambda: len(server.list_ready_workers()) == 2 and not any(map(_is_working, server.list_workers())))
        slept, took = server.list_workers()
        before = {pid: _sockets(pid) for pid in (slept, took)}
        connections = [http.client.HTTPConnection("127.0.0.1", server.port, timeout=60) for _ in range(24)]
        for connection in connections:
            stack.callback(connection.close)
        os.kill(slept, signal.SIGSTOP)
        try:
            wait_until(lambda: _is_stopped(slept))  # until then, it accepts connections
            # without a request: the worker that takes them may close some of them after an answer
            for connection in connections:
                connection.connect()
            # a worker that stands still for long is killed: it goes on before anything is answered
            wait_until(lambda: _sockets(took) - before[took] >= 20)
        finally:
            os.kill(slept, signal.SIGCONT)
        for connection in connections:
            connection.request("GET", "/health/live")
        for connection in connections:
            assert connection.getresponse().read()
        assert _even(server, connections, lambda: _sockets(slept) - before[slept] >= 6)


def _even(server: ServerProcess, connections: list[http.client.HTTPConnection], over: Any) -> bool:
    """Ask on all connections without a pause until `over`; everybody must be answered."""
    end = threading.Event()
    wrong: list[Any] = []

    def ask(connection: http.client.HTTPConnection) -> None:
        try:
            while not end.is_set():
                connection.request("GET", "/cone/stars.main?RA=10&DEC=10&SR=40")
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    wrong.append(answer.status)
        except (OSError, http.client.HTTPException) as error:  # it fails the test
            wrong.append(error)

    threads = [threading.Thread(target=ask, args=(one,), daemon=True) for one in connections]
    for thread in threads:
        thread.start()
    try:
        wait_until(over, 40)
    finally:
        end.set()
        for thread in threads:
            thread.join(60)
        for connection in connections:
            connection.close()
    assert not wrong
    return True
