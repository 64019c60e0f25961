"""Threads that the machine lets go later than others."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from hven.model import deadlines

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

    deadlines.call_with_low_priority(deadlines.QUERY_NICENESS, start).join()
    assert found == [max(before, deadlines.QUERY_NICENESS)]
    assert mine() == before


def test_what_is_raised_is_raised_to_who_asked() -> None:
    with pytest.raises(ZeroDivisionError):
        deadlines.call_with_low_priority(deadlines.QUERY_NICENESS, lambda: 1 // 0)


def test_a_session_is_lowered_once_the_machine_hears_it(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, str]] = []

    def write(path: Path, text: str) -> None:
        said.append((str(path), text))
        if len(said) < 3:
            raise BlockingIOError("another session was, a moment ago")

    monkeypatch.setattr(Path, "write_text", write)
    deadlines.reduce_session_priority(7, 123)
    deadlines.reduce_session_priority(0)
    assert said == [("/proc/123/autogroup", "7")] * 3


def test_a_session_is_raised_where_the_account_may(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    def write(_: Path, text: str) -> None:
        said.append(text)
        if len(said) == 1:
            raise BlockingIOError("another session was, a moment ago")
        raise PermissionError("this account may not")

    monkeypatch.setattr(Path, "write_text", write)
    deadlines.reduce_session_priority(-7)  # without a word: the server works without
    assert said == ["-7", "-7"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/autogroup-12 nice -8\n", True),
        ("/autogroup-12 nice 0\n", False),
        ("/autogroup-12 nice 5\n", False),
        ("", False),  # the machine's first session has no name
        (None, False),  # the kernel has none, or the process is gone
    ],
)
def test_whether_a_session_is_raised(text: str | None, *, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: Path) -> str:
        assert path == Path("/proc/123/autogroup")
        if text is None:
            raise FileNotFoundError(path)
        return text

    monkeypatch.setattr(Path, "read_text", read)
    assert deadlines.is_autogroup_priority_raised(123) is expected
