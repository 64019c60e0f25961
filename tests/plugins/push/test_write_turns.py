"""Writes into a collection come one after the other: those of a process in their order, others in between."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from hven.model.errors import ConflictError
from hven.plugins.push import write_turns
from hven.plugins.push.write_turns import WAITING_PREFIX, WriteTurns
from hven.site import Site
from hven.site.store import _leases, build_lease_name
from hven.testing.site import open_tiny_site
from process_runner import wait_until

LEASE_NAME = build_lease_name("night")
LONG_SECONDS = 600.0  # no test waits as long


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_tiny_site(tmp_path, {"night.lines": pa.table({"x": [1]})}) as opened:
        yield opened


@pytest.fixture
def other_holder(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the holder of leases that is another process, which lives."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        with monkeypatch.context() as patches:
            patches.setattr(_leases.os, "getpid", lambda: process.pid)
            holder = _leases.get_process_holder()
        yield holder
        process.communicate(b"\n")


def acquire_as(site: Site, holder: str, name: str, monkeypatch: pytest.MonkeyPatch) -> _leases.Lease:
    with monkeypatch.context() as patches:
        patches.setattr(_leases, "get_process_holder", lambda: holder)
        return site.store.leases.acquire_lease(name)


def test_writes_of_a_process_keep_their_order(site: Site) -> None:
    turns = WriteTurns(site)
    order: list[int] = []

    def write(number: int) -> None:
        with turns.hold_lease("night", "a test", LONG_SECONDS):
            order.append(number)

    with ThreadPoolExecutor(8) as writers, turns.hold_lease("night", "a test", LONG_SECONDS):
        for number in range(8):
            writers.submit(write, number)
            wait_until(lambda number=number: len(turns._queues["night"]) == number + 2)
        with turns.hold_lease("day", "a test", 0.0):  # other collections do not wait
            assert order == []
    assert order == list(range(8))
    assert turns._queues == {}
    assert site.store.leases.list_leases() == []


def test_a_process_that_waited_comes_first(site: Site, other_holder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting_lease = acquire_as(site, other_holder, f"{WAITING_PREFIX}{LEASE_NAME} {other_holder}", monkeypatch)
    has_polled = threading.Event()
    sleep = write_turns.time.sleep
    monkeypatch.setattr(write_turns.time, "sleep", lambda seconds: (has_polled.set(), sleep(seconds)))
    monkeypatch.setattr(write_turns, "MAX_PRECEDENCE_SECONDS", LONG_SECONDS)
    held: list[str] = []

    def write() -> None:
        with WriteTurns(site).hold_lease("night", "a test", LONG_SECONDS) as lease:
            held.append(lease.name)

    thread = threading.Thread(target=write)
    thread.start()
    assert has_polled.wait(LONG_SECONDS)
    assert held == []
    assert LEASE_NAME not in {lease.name for lease in site.store.leases.list_leases()}
    site.store.leases.release_lease(waiting_lease)
    thread.join()
    assert held == [LEASE_NAME]


def test_other_processes_see_who_waits(site: Site, other_holder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = acquire_as(site, other_holder, LEASE_NAME, monkeypatch)

    def write() -> None:
        with WriteTurns(site).hold_lease("night", "a test", LONG_SECONDS):
            pass

    thread = threading.Thread(target=write)
    thread.start()
    wait_until(lambda: any(entry.name.startswith(WAITING_PREFIX) for entry in site.store.leases.list_leases()))
    site.store.leases.release_lease(lease)
    thread.join()
    assert site.store.leases.list_leases() == []


def test_who_waits_too_long_is_refused_and_leaves_nothing(
    site: Site, other_holder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = WriteTurns(site)
    acquire_as(site, other_holder, LEASE_NAME, monkeypatch)
    for wait_seconds in (0.0, 0.01):
        with pytest.raises(ConflictError, match="is already running"), turns.hold_lease("night", "x", wait_seconds):
            pass
    assert turns._queues == {}
    assert [lease.name for lease in site.store.leases.list_leases()] == [LEASE_NAME]
    with (
        turns._take_turn("night", "the first", 0.0),
        pytest.raises(ConflictError, match="the second has waited too long"),
        turns.hold_lease("night", "the second", 0.0),
    ):
        pass
    assert turns._queues == {}
