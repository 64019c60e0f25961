"""Threads that the machine lets go later than others."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from hven.model import clock

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere priorities are the process's")


def mine() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


def test_what_is_started_is_lower_and_who_starts_it_is_not() -> None:
    before = mine()
    found: list[int] = []

    def start() -> threading.Thread:
        thread = threading.Thread(target=lambda: found.append(mine()))
        thread.start()
        return thread

    clock.lowered(clock.QUERY, start).join()
    assert found == [max(before, clock.QUERY)]
    assert mine() == before


def test_what_is_raised_is_raised_to_who_asked() -> None:
    with pytest.raises(ZeroDivisionError):
        clock.lowered(clock.QUERY, lambda: 1 // 0)


def test_a_session_is_lowered_once_the_machine_hears_it(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, str]] = []

    def write(path: Path, text: str) -> None:
        said.append((str(path), text))
        if len(said) < 3:
            raise BlockingIOError("another session was, a moment ago")

    monkeypatch.setattr(Path, "write_text", write)
    clock.lower_session(7, 123)
    clock.lower_session(0)
    assert said == [("/proc/123/autogroup", "7")] * 3
