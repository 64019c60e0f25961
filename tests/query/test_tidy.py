"""Memory is given back once, a moment after the last of several that are over, in a thread of its own; and after what held much."""

from __future__ import annotations

import threading
from queue import SimpleQueue

import pytest

from hven.query import memory_watchdog


def test_what_is_over_while_memory_is_given_back_is_given_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed: SimpleQueue[str] = SimpleQueue()
    goes_on = threading.Event()

    def trim(_: int) -> int:
        trimmed.put(threading.current_thread().name)
        goes_on.wait(60)
        return 1

    monkeypatch.setattr(memory_watchdog, "_malloc_trim", trim)
    monkeypatch.setattr(memory_watchdog, "TRIM_DELAY_SECONDS", 0.0)
    memory_watchdog.schedule_memory_trim()
    assert trimmed.get(timeout=60) == "hven-tidy"
    later = memory_watchdog._trim_thread
    for _ in range(5):
        memory_watchdog.schedule_memory_trim()
    goes_on.set()
    assert trimmed.get(timeout=60) == "hven-tidy"
    assert later is not None
    later.join(60)
    assert trimmed.empty()
    assert memory_watchdog._trim_thread is None
