"""A thousand queries of one user delay the first query of another one by no turn that is not held already."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven.model.errors import OverloadedError
from hven.model.settings import QueryLimits
from hven.query._pipeline import _build_query_queue
from hven.query.query_queue import QueryQueue, QueryTurn, current_requester, current_user_class, get_turn_taker
from hven.testing.site import open_tiny_site

MANY = 1_000


class Clock:
    def __init__(self) -> None:
        self.now = 1.0

    def __call__(self) -> float:
        return self.now


class Machine:
    """A queue with its turns, in the order in which they are held. Turns take no time and need no threads."""

    def __init__(self, slot_count: int, place_count: int = 2 * MANY, *, reserves_slot: bool = False) -> None:
        self.clock = Clock()
        self.queue = QueryQueue(slot_count, self.clock, place_count=place_count, reserves_slot=reserves_slot)
        self.queue._mean_turn_seconds = 1e-6  # turns are short, so that nobody is refused because of time
        self.slot_count = slot_count
        self.notified: list[QueryTurn] = []
        self.running: list[QueryTurn] = []
        self.order: list[str] = []

    def request(self, requester: str, count: int = 1) -> int:
        """Request turns; return how many were refused."""
        refused = 0
        for _ in range(count):
            turn = QueryTurn(requester)
            try:
                self.queue.request_turn(turn, partial(self.notified.append, turn))
            except OverloadedError:
                refused += 1
            else:
                self.notified.append(turn)  # whoever requests a turn looks at once
        return refused

    def begin_turns(self) -> None:
        """Begin the turns that can begin, of those that the queue has notified."""
        while self.notified:
            turn = self.notified.pop(0)
            was_held = turn.is_held
            with contextlib.suppress(OverloadedError):  # its place was given to another user
                if self.queue.take_turn_if_ready(turn) and not was_held:
                    self.clock.now += 1e-6
                    self.running.append(turn)
                    self.order.append(turn.requester)

    def end_first_turn(self) -> None:
        self.queue.end_turn(self.running.pop(0))


GREEDY = [
    "account anna",  # an account
    "192.0.2.1",  # an address
    "2001:db8::/64",  # a network
    "section crawlers",  # a class of users that take turns as one
]


@pytest.mark.parametrize("greedy", GREEDY)
@pytest.mark.parametrize("modest", ["account bert", "192.0.2.2"])
@pytest.mark.parametrize("slot_count", [1, 2, 4])
def test_the_first_query_of_another_user_is_next(greedy: str, modest: str, slot_count: int) -> None:
    machine = Machine(slot_count)
    assert machine.request(greedy, MANY) == 0
    machine.begin_turns()
    assert len(machine.running) == slot_count
    held_before = len(machine.order)
    assert machine.request(modest) == 0
    machine.begin_turns()
    machine.end_first_turn()
    machine.begin_turns()
    assert machine.order[held_before] == modest, "the first turn that becomes free"


@pytest.mark.parametrize("greedy", GREEDY)
def test_a_full_queue_makes_room_for_another_user(greedy: str) -> None:
    machine = Machine(2, place_count=8)
    machine.request(greedy, 2)
    machine.begin_turns()
    assert machine.request(greedy, MANY) > MANY / 2
    assert machine.request("account bert") == 0
    machine.begin_turns()
    machine.end_first_turn()
    machine.begin_turns()
    assert machine.order[2] == "account bert"


def test_each_query_of_a_user_waits_for_one_turn_of_the_other_at_most() -> None:
    machine = Machine(1)
    machine.request("account anna", MANY)
    machine.begin_turns()
    machine.request("account bert", 20)
    for _ in range(40):
        machine.begin_turns()
        machine.end_first_turn()
    of_bert = [place for place, requester in enumerate(machine.order) if requester == "account bert"]
    assert len(of_bert) >= 19
    assert all(later - earlier <= 2 for earlier, later in itertools.pairwise(of_bert))


@pytest.mark.parametrize("slot_count", [2, 3, 8])
def test_long_queries_of_a_user_who_is_alone_leave_a_slot(slot_count: int) -> None:
    """Turns take 60 s, and nobody can take them back: the first query of another user must not wait for one."""
    machine = Machine(slot_count, reserves_slot=True)
    for _ in range(20):
        machine.request("account anna")
        machine.begin_turns()
        machine.clock.now += 2
    assert len(machine.running) == slot_count - 1
    assert machine.request("account bert") == 0
    machine.begin_turns()
    assert machine.running[-1].requester == "account bert"


def test_the_queue_of_a_site_leaves_a_slot_to_others(tmp_path: Path) -> None:
    with open_tiny_site(tmp_path, {}, limits=QueryLimits(concurrent=4)) as site:
        queue = _build_query_queue(site)
    turns = [QueryTurn("account anna") for _ in range(4)]
    for turn in turns:
        queue.request_turn(turn, lambda: None)
    assert [queue.take_turn_if_ready(turn) for turn in turns] == [True, True, True, False]
    first_of_bert = QueryTurn("account bert")
    queue.request_turn(first_of_bert, lambda: None)
    assert queue.take_turn_if_ready(first_of_bert)


@given(st.lists(st.integers(1, 40), min_size=2, max_size=6), st.integers(1, 4))
def test_nobody_who_comes_first_waits_behind_a_second_query(counts: list[int], slot_count: int) -> None:
    """Whatever others have queued: before a user's first turn, nobody gets more than one turn from then on."""
    machine = Machine(slot_count)
    for number, count in enumerate(counts):
        machine.request(f"user {number}", count)
    machine.begin_turns()
    held_before = len(machine.order)
    machine.request("newcomer")
    while "newcomer" not in machine.order:
        machine.begin_turns()
        if "newcomer" not in machine.order:
            machine.end_first_turn()
    turns_before = machine.order[held_before : machine.order.index("newcomer")]
    assert len(turns_before) == len(set(turns_before))


def test_users_of_a_class_take_turns_as_one() -> None:
    """Ten addresses of crawlers get as many turns as one user."""
    machine = Machine(1)
    names: list[str] = []

    def name_requester(number: int) -> Callable[[], str]:
        return lambda: f"192.0.2.{number}"

    for number in range(10):
        current_requester.set(name_requester(number))
        current_user_class.set("section crawlers")
        names.append(get_turn_taker())
        machine.request(get_turn_taker(), 20)
    current_user_class.set("")
    current_requester.set(lambda: "account bert")
    machine.request(get_turn_taker(), 20)
    assert set(names) == {"section crawlers"}
    for _ in range(40):
        machine.begin_turns()
        machine.end_first_turn()
    assert 19 <= machine.order.count("account bert") <= 21


def test_by_default_a_user_who_is_alone_loses_no_slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one slot more than Hven computes at once for one user."""
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    with open_tiny_site(tmp_path, {}) as site:
        queue = _build_query_queue(site)
    turns = [QueryTurn("account anna") for _ in range(5)]
    for turn in turns:
        queue.request_turn(turn, lambda: None)
    assert [queue.take_turn_if_ready(turn) for turn in turns] == [True] * 4 + [False]
