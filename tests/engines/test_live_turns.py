"""Turns in a database that is read in place: so many short statements at once, long ones stop nobody, who was stopped takes no turn."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from hven.engines.postgres import live_turns
from hven.engines.postgres.live_turns import Turnstile
from hven.model.errors import Overloaded


def never() -> bool:
    return False


def test_so_many_at_once_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_turns, "SHORT", 60.0)
    turnstile, lock, together = Turnstile(2), threading.Lock(), threading.Barrier(2, timeout=60)
    inside, most = 0, 0

    def work(_: int) -> None:
        nonlocal inside, most
        turn = turnstile.enter(never)
        assert turn is not None
        with lock:
            inside += 1
            most = max(most, inside)
        together.wait()  # two are inside at once, and a third would be seen
        threading.Event().wait(0.002)
        with lock:
            inside -= 1
        turnstile.leave(turn)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(60)))
    assert (most, inside) == (2, 0)


def test_a_long_statement_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_turns, "WAIT", 60.0)
    turnstile = Turnstile(1)
    long = turnstile.enter(never)  # it never ends
    others = [turnstile.enter(never) for _ in range(3)]
    assert len({long, *others}) == 4
    turnstile.leave(long)  # type: ignore[arg-type]  # it had one
    turnstile.leave(others[0])  # type: ignore[arg-type]
    for turn in others[1:]:
        turnstile.leave(turn)  # type: ignore[arg-type]
    assert turnstile.enter(never) is not None


def test_who_waits_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_turns, "SHORT", 60.0)
    monkeypatch.setattr(live_turns, "WAIT", 0.02)
    turnstile = Turnstile(1)
    turn = turnstile.enter(never)
    with pytest.raises(Overloaded, match="too many queries"):
        turnstile.enter(never)
    assert turn is not None
    turnstile.leave(turn)
    assert turnstile.enter(never) is not None


def test_a_stopped_query_leaves_the_turn_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("SHORT", "WAIT"):
        monkeypatch.setattr(live_turns, limit, 60.0)
    monkeypatch.setattr(live_turns, "LOOK", 0.005)
    turnstile = Turnstile(1)
    turn = turnstile.enter(never)
    assert turnstile.enter(lambda: True) is None
    stopped = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        gone = pool.submit(turnstile.enter, stopped.is_set)
        waits = pool.submit(turnstile.enter, never)
        stopped.set()
        assert gone.result(60) is None
        assert not waits.done()
        assert turn is not None
        turnstile.leave(turn)
        assert waits.result(60) is not None
