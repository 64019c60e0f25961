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
from hven.engines.duckdb import reach
from hven.model.errors import Overloaded
from hven.model.settings import QueryLimits
from hven.query import _road, turns
from hven.query._plan_cache import PlanCache
from hven.query.turns import Turn, Turns
from hven.site import Site
from hven.site.auth import Reader
from hven.testing.site import publish, site_with, table_of

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


def eventually(true: Callable[[], bool]) -> None:
    for _ in range(12_000):
        if true():
            return
        time.sleep(0.005)
    pytest.fail("it never came true")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with site_with(tmp_path, DESCRIPTOR, {"stars.csv": "id,tag\n1,open\n"}, limits=QueryLimits(concurrent=1)) as made:
        publish(made, table_of("cat.stars", ROWS), ROWS)
        made.refresh()
        yield made


class Held:
    """Holds up what finds the rows of a policy, and counts how often that is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self.go_on = threading.Event()
        real = reach.Reach

        def build(*args: Any) -> reach.Reach:
            self.begun += 1
            assert self.go_on.wait(120)
            return real(*args)

        monkeypatch.setattr(reach, "Reach", build)


def ask_all(site: Site, number: int, text: str = COUNT) -> tuple[list[threading.Thread], list[Any]]:
    """Ask in so many threads at once; answers and errors come into the list."""
    found: list[Any] = []

    def ask() -> None:
        try:
            with query.run(text, Reader(), site=site) as result:
                found.append(result.table().column(0)[0].as_py())
        except Exception as error:  # noqa: BLE001  (the test looks at it)
            found.append(error)

    threads = [threading.Thread(target=ask) for _ in range(number)]
    for thread in threads:
        thread.start()
    return threads, found


def change_policy(site: Site) -> int:
    path = site.settings.collections / "cat" / "cat.yaml"
    path.write_text(DESCRIPTOR.replace("tag = 'open'", "tag <> 'open'"))
    site.refresh()
    return 500


def publish_more(site: Site) -> int:
    more = pa.table({"id": range(4000), "tag": ["open"] * 4000})
    publish(site, table_of("cat.stars", more), more)
    site.refresh()
    return 1500


@pytest.mark.parametrize("change", [change_policy, publish_more])
def test_a_herd_is_answered_after_a_change(
    site: Site, change: Callable[[Site], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, found = ask_all(site, 1)
    threads[0].join(60)
    assert found == [1000]
    wanted = change(site)
    held = Held(monkeypatch)
    of = site.kept(_road._turns, site)
    threads, found = ask_all(site, HERD)
    eventually(lambda: (len(of._followers) == HERD - 1 and held.begun == 1) or bool(found))
    assert held.begun == 1
    others, other = ask_all(site, 1, "SELECT COUNT(*) AS n FROM TAP_SCHEMA.schemas")
    others[0].join(60)
    assert isinstance(other[0], int)  # who needs nothing of it is answered meanwhile
    held.go_on.set()
    for thread in threads:
        thread.join(60)
    assert found == [wanted] * HERD
    assert held.begun == 1
    assert (of.running, of._queue, dict(of._followers), of._leaders) == (0, [], {}, {})


def test_a_herd_plans_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = []
    real = _road.adql.bind

    def bind(*args: Any, **more: Any) -> Any:
        planned.append(args)
        time.sleep(0.05)  # the others come meanwhile
        return real(*args, **more)

    monkeypatch.setattr(_road.adql, "bind", bind)
    threads, found = ask_all(site, HERD)
    for thread in threads:
        thread.join(60)
    assert found == [1000] * HERD
    assert len(planned) == 1
    assert not site.kept(PlanCache)._making


def test_followers_take_no_places_and_are_not_refused_when_their_leader_ends() -> None:
    clock, lacking = Clock(), {"rows of the policy"}

    def prerequisite() -> str | None:
        return next(iter(lacking), None)

    of = Turns(1, clock, places=2)
    leader = Turn("a", prerequisite)
    of.take(leader, lambda: False)
    followers = [Turn("b", prerequisite) for _ in range(30)]
    for turn in followers:
        of.enter(turn, lambda: None)
    assert (len(of._followers), of._queue) == (30, [])
    assert not any(of.ready(turn) for turn in followers)
    clock.now += turns.FOLLOW_SECONDS - 1
    assert not any(of.ready(turn) for turn in followers)
    lacking.clear()
    of.give_back(leader)
    for turn in followers:
        assert of.ready(turn)
        of.give_back(turn)
    assert (of.running, of._queue, of._usual) == (0, [], turns.USUAL * 0)


def test_followers_go_on_as_soon_as_what_they_wait_for_is_there() -> None:
    clock, lacking = Clock(), {"rows"}
    of = Turns(2, clock)
    leader, follower = (Turn(who, lambda: next(iter(lacking), None)) for who in "ab")
    of.take(leader, lambda: False)
    of.enter(follower, lambda: None)
    assert not of.ready(follower)
    lacking.clear()  # the leader goes on computing something dear
    assert of.ready(follower)


def test_followers_of_a_leader_that_takes_too_long_are_refused() -> None:
    clock = Clock()
    of = Turns(2, clock)
    leader, follower = (Turn(who, lambda: "rows") for who in "ab")
    of.take(leader, lambda: False)
    of.enter(follower, lambda: None)
    clock.now += turns.FOLLOW_SECONDS + 1
    with pytest.raises(Overloaded):
        of.ready(follower)
    assert not of._followers


def test_a_leader_that_never_ran_hands_over() -> None:
    of = Turns(1, Clock())
    running = Turn()
    of.take(running, lambda: False)
    leader, *followers = (Turn(who, lambda: "rows") for who in "abcd")
    for turn in (leader, *followers):
        of.enter(turn, lambda: None)
    of.give_back(leader)  # its reader left
    assert of._leaders == {"rows": followers[0]}
    assert list(of._followers) == followers[1:]


def test_what_cannot_be_kept_is_waited_for_once() -> None:
    of = Turns(3, Clock())
    leader, follower, later, last = (Turn(who, lambda: "rows") for who in "abcd")
    of.take(leader, lambda: False)
    of.enter(follower, lambda: None)
    of.give_back(leader)
    assert of.ready(follower)
    for turn in (later, last):
        of.enter(turn, lambda: None)
        assert of.ready(turn)  # side by side
