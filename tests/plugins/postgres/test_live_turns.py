"""Turns in a database that is read in place: so many short statements at once, long ones stop nobody, who was stopped takes no turn."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from hven.model.errors import OverloadedError
from hven.plugins.postgres.live import statement_limiter
from hven.plugins.postgres.live.statement_limiter import ShortStatementLimiter


def never() -> bool:
    return False


def test_so_many_at_once_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement_limiter, "MAX_SHORT_SECONDS", 60.0)
    turnstile, lock, together = ShortStatementLimiter(2), threading.Lock(), threading.Barrier(2, timeout=60)
    inside, most = 0, 0

    def work(_: int) -> None:
        nonlocal inside, most
        turn = turnstile.wait_for_turn(never)
        assert turn is not None
        with lock:
            inside += 1
            most = max(most, inside)
        together.wait()  # two are inside at once, and a third would be seen
        threading.Event().wait(0.002)
        with lock:
            inside -= 1
        turnstile.return_turn(turn)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(60)))
    assert (most, inside) == (2, 0)


def test_a_long_statement_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement_limiter, "TURN_TIMEOUT_SECONDS", 60.0)
    turnstile = ShortStatementLimiter(1)
    long = turnstile.wait_for_turn(never)  # it never ends
    others = [turnstile.wait_for_turn(never) for _ in range(3)]
    assert len({long, *others}) == 4
    turnstile.return_turn(long)  # type: ignore[arg-type]  # it had one
    turnstile.return_turn(others[0])  # type: ignore[arg-type]
    for turn in others[1:]:
        turnstile.return_turn(turn)  # type: ignore[arg-type]
    assert turnstile.wait_for_turn(never) is not None


def test_who_waits_is_told_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement_limiter, "MAX_SHORT_SECONDS", 60.0)
    monkeypatch.setattr(statement_limiter, "TURN_TIMEOUT_SECONDS", 0.02)
    turnstile = ShortStatementLimiter(1)
    turn = turnstile.wait_for_turn(never)
    with pytest.raises(OverloadedError, match="too many queries"):
        turnstile.wait_for_turn(never)
    assert turn is not None
    turnstile.return_turn(turn)
    assert turnstile.wait_for_turn(never) is not None


def test_a_stopped_query_leaves_the_turn_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("MAX_SHORT_SECONDS", "TURN_TIMEOUT_SECONDS"):
        monkeypatch.setattr(statement_limiter, limit, 60.0)
    monkeypatch.setattr(statement_limiter, "CANCEL_CHECK_INTERVAL_SECONDS", 0.005)
    turnstile = ShortStatementLimiter(1)
    turn = turnstile.wait_for_turn(never)
    assert turnstile.wait_for_turn(lambda: True) is None
    stopped = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        gone = pool.submit(turnstile.wait_for_turn, stopped.is_set)
        waits = pool.submit(turnstile.wait_for_turn, never)
        stopped.set()
        assert gone.result(60) is None
        assert not waits.done()
        assert turn is not None
        turnstile.return_turn(turn)
        assert waits.result(60) is not None
