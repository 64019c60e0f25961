"""After a change of rights or of data many readers ask the same at once: what it needs is computed once, and nobody is refused for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from hven import query
from hven.engines.duckdb import accessible_rows
from hven.model.errors import OverloadedError
from hven.model.settings import QueryLimits
from hven.query import _pipeline, _planning, query_queue
from hven.query._planning import PlanCache
from hven.query.query_queue import QueryQueue, QueryTurn
from hven.site import Site
from hven.site.auth import Principal
from hven.testing.site import build_table_from_arrow, open_site_with_uningested_files, publish_rows

HERD = 16
DESCRIPTOR = """\
collection: cat
title: A catalogue
tables:
  stars:
    primary: [id]
    access: {rows: "tag = 'open'"}
    columns:
      id: {type: int64}
      tag: {type: string}
    source: {kind: csv, files: stars.csv}
"""
ROWS = pa.table({"id": range(3000), "tag": ["open", "secret", "open"] * 1000})
COUNT = "SELECT COUNT(*) AS n FROM cat.stars WHERE id < 1500"


class Clock:
    """A clock that the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def wait_until_true(true: Callable[[], bool]) -> None:
    for _ in range(12_000):
        if true():
            return
        time.sleep(0.005)
    pytest.fail("it never came true")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_site_with_uningested_files(
        tmp_path, DESCRIPTOR, {"stars.csv": "id,tag\n1,open\n"}, limits=QueryLimits(concurrent=1)
    ) as made:
        publish_rows(made, build_table_from_arrow("cat.stars", ROWS), ROWS)
        made.refresh_published_state()
        yield made


class PolicyRowsGate:
    """Holds up what finds the rows of a policy, and counts how often that is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self.go_on = threading.Event()
        real = accessible_rows.AccessibleRows

        def build(*args: Any) -> accessible_rows.AccessibleRows:
            self.begun += 1
            assert self.go_on.wait(120)
            return real(*args)

        monkeypatch.setattr(accessible_rows, "AccessibleRows", build)


def ask_all(site: Site, number: int, text: str = COUNT) -> tuple[list[threading.Thread], list[Any]]:
    """Ask in so many threads at once; answers and errors come into the list."""
    found: list[Any] = []

    def ask() -> None:
        try:
            with query.run_query(text, Principal(), site=site) as result:
                found.append(result.read_table().column(0)[0].as_py())
        except Exception as error:  # noqa: BLE001  (the test looks at it)
            found.append(error)

    threads = [threading.Thread(target=ask) for _ in range(number)]
    for thread in threads:
        thread.start()
    return threads, found


def change_policy(site: Site) -> int:
    path = site.settings.collections_directory / "cat" / "cat.yaml"
    path.write_text(DESCRIPTOR.replace("tag = 'open'", "tag <> 'open'"))
    site.refresh_published_state()
    return 500


def publish_more(site: Site) -> int:
    more = pa.table({"id": range(4000), "tag": ["open"] * 4000})
    publish_rows(site, build_table_from_arrow("cat.stars", more), more)
    site.refresh_published_state()
    return 1500


@pytest.mark.parametrize("change", [change_policy, publish_more])
def test_a_herd_is_answered_after_a_change(
    site: Site, change: Callable[[Site], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, found = ask_all(site, 1)
    threads[0].join(60)
    assert found == [1000]
    wanted = change(site)
    held = PolicyRowsGate(monkeypatch)
    of = site.get_or_create(_pipeline._build_query_queue, site)
    threads, found = ask_all(site, HERD)
    wait_until_true(lambda: (len(of._followers) == HERD - 1 and held.begun == 1) or bool(found))
    assert held.begun == 1
    others, other = ask_all(site, 1, "SELECT COUNT(*) AS n FROM TAP_SCHEMA.schemas")
    others[0].join(60)
    assert isinstance(other[0], int)  # who needs nothing of it is answered meanwhile
    held.go_on.set()
    for thread in threads:
        thread.join(60)
    assert found == [wanted] * HERD
    assert held.begun == 1
    assert (of.running_count, of._waiting_turns, dict(of._followers), of._leaders) == (0, [], {}, {})


def test_a_herd_plans_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = []
    real = _planning.adql.bind_query

    def bind(*args: Any, **more: Any) -> Any:
        planned.append(args)
        time.sleep(0.05)  # the others come meanwhile
        return real(*args, **more)

    monkeypatch.setattr(_planning.adql, "bind_query", bind)
    threads, found = ask_all(site, HERD)
    for thread in threads:
        thread.join(60)
    assert found == [1000] * HERD
    assert len(planned) == 1
    assert not site.get_or_create(PlanCache)._planning_locks


def test_followers_take_no_places_and_are_not_refused_when_their_leader_ends() -> None:
    clock, lacking = Clock(), {"rows of the policy"}

    def prerequisite() -> str | None:
        return next(iter(lacking), None)

    of = QueryQueue(1, clock, place_count=2)
    leader = QueryTurn("a", prerequisite)
    of.wait_for_turn(leader, lambda: False)
    followers = [QueryTurn("b", prerequisite) for _ in range(30)]
    for turn in followers:
        of.request_turn(turn, lambda: None)
    assert (len(of._followers), of._waiting_turns) == (30, [])
    assert not any(of.take_turn_if_ready(turn) for turn in followers)
    clock.now += query_queue.FOLLOWER_TIMEOUT_SECONDS - 1
    assert not any(of.take_turn_if_ready(turn) for turn in followers)
    lacking.clear()
    of.end_turn(leader)
    newcomer = QueryTurn("c", prerequisite)
    of.request_turn(newcomer, lambda: None)
    assert of._waiting_turns == [*followers, newcomer], "a new query displaces none of them"
    for _ in (*followers, newcomer):  # users alternate
        of.end_turn(next(turn for turn in list(of._waiting_turns) if of.take_turn_if_ready(turn)))
    assert (of.running_count, of._waiting_turns, of._mean_turn_seconds) == (0, [], query_queue.INITIAL_TURN_SECONDS * 0)


def test_followers_go_on_as_soon_as_what_they_wait_for_is_there() -> None:
    clock, lacking = Clock(), {"rows"}
    of = QueryQueue(2, clock)
    leader, follower = (QueryTurn(who, lambda: next(iter(lacking), None)) for who in "ab")
    of.wait_for_turn(leader, lambda: False)
    of.request_turn(follower, lambda: None)
    assert not of.take_turn_if_ready(follower)
    lacking.clear()  # the leader goes on computing something dear
    assert of.take_turn_if_ready(follower)


def test_followers_of_a_leader_that_takes_too_long_are_refused() -> None:
    clock = Clock()
    of = QueryQueue(2, clock)
    leader, follower = (QueryTurn(who, lambda: "rows") for who in "ab")
    of.wait_for_turn(leader, lambda: False)
    of.request_turn(follower, lambda: None)
    clock.now += query_queue.FOLLOWER_TIMEOUT_SECONDS + 1
    with pytest.raises(OverloadedError):
        of.take_turn_if_ready(follower)
    assert not of._followers


def test_a_leader_that_never_ran_hands_over() -> None:
    of = QueryQueue(1, Clock())
    running = QueryTurn()
    of.wait_for_turn(running, lambda: False)
    leader, *followers = (QueryTurn(who, lambda: "rows") for who in "abcd")
    for turn in (leader, *followers):
        of.request_turn(turn, lambda: None)
    of.end_turn(leader)  # its reader left
    assert of._leaders == {"rows": followers[0]}
    assert list(of._followers) == followers[1:]


def test_what_cannot_be_kept_is_waited_for_once() -> None:
    of = QueryQueue(3, Clock())
    leader, follower, later, last = (QueryTurn(who, lambda: "rows") for who in "abcd")
    of.wait_for_turn(leader, lambda: False)
    of.request_turn(follower, lambda: None)
    of.end_turn(leader)
    assert of.take_turn_if_ready(follower)
    for turn in (later, last):
        of.request_turn(turn, lambda: None)
        assert of.take_turn_if_ready(turn)  # side by side
