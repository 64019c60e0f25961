"""Turns: a reader who takes nothing for long stands aside, and comes back before those who are new."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from types import ModuleType

import pyarrow as pa
import pytest

from hven.model.errors import OperationCancelledError, OverloadedError
from hven.query import query_queue
from hven.query.query_queue import QueryQueue, QueryTurn, QueuedExecution

SCHEMA = pa.schema([("n", pa.int64())])


class Steps:
    """An execution of some batches that says which it has computed, and may be held up at one."""

    small = False
    schema = SCHEMA

    def __init__(self, batches: int = 3) -> None:
        self.computed = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self.closed = False
        self._batches = batches

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for number in range(self._batches):
            self.go_on.wait(60)
            self.computed += 1
            yield pa.record_batch([pa.array([number])], schema=SCHEMA)

    def cancel(self) -> None:
        self.go_on.set()

    def close(self) -> None:
        self.closed = True


def query(of: QueryQueue, steps: Steps) -> QueuedExecution:
    return QueuedExecution(of, SCHEMA, lambda: steps)


def wait_until_true(true: Callable[[], bool]) -> None:
    for _ in range(12_000):
        if true():
            return
        time.sleep(0.005)
    pytest.fail("it never came true")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_queue, "CANCEL_CHECK_INTERVAL_SECONDS", 0.01)


def test_an_idle_reader_stands_aside_and_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_queue, "MAX_IDLE_SECONDS", 0.05)
    one = QueryQueue(1)
    slow = iter(query(one, Steps()))
    next(slow)  # and takes its time
    assert one.running_count == 1
    other = Steps()
    other_reader = iter(query(one, other))
    assert next(other_reader)["n"].to_pylist() == [0]
    assert one.running_count == 1
    rest: list[int] = []
    other.go_on.clear()
    computing = threading.Thread(target=lambda: list(other_reader))
    computing.start()
    wait_until_true(lambda: not one._idle_turns)  # it computes: its turn is not to be had
    coming_back = threading.Thread(target=lambda: rest.extend(batch["n"][0].as_py() for batch in slow))
    coming_back.start()
    wait_until_true(lambda: one._returning_count == 1)
    monkeypatch.setattr(query_queue, "QUEUE_TIMEOUT_SECONDS", 0.05)
    with pytest.raises(OverloadedError):  # who is new waits behind those who come back
        next(iter(query(one, Steps())))
    assert rest == []
    other.go_on.set()
    computing.join(60)
    coming_back.join(60)
    assert rest == [1, 2]
    assert (one.running_count, one._suspended_count, one._returning_count, len(one._idle_turns)) == (0, 0, 0, 0)


def test_a_reader_who_is_quick_keeps_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_queue, "MAX_IDLE_SECONDS", 60.0)
    monkeypatch.setattr(query_queue, "QUEUE_TIMEOUT_SECONDS", 0.1)
    one = QueryQueue(1)
    reader = iter(query(one, Steps()))
    next(reader)
    with pytest.raises(OverloadedError, match="try again"):
        next(iter(query(one, Steps())))
    assert len(list(reader)) == 2
    assert one.running_count == 0


def test_so_many_stand_aside_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_queue, "MAX_IDLE_SECONDS", 0.0)
    monkeypatch.setattr(query_queue, "QUEUE_TIMEOUT_SECONDS", 0.05)
    one = QueryQueue(1)
    readers = [iter(query(one, Steps())) for _ in range(query_queue.MAX_SUSPENDED_PER_SLOT + 1)]
    for reader in readers:
        next(reader)
    with pytest.raises(OverloadedError):
        next(iter(query(one, Steps())))
    readers[0].close()  # one who stood aside leaves: there is room
    next(iter(query(one, Steps())))
    for reader in readers:
        reader.close()
    assert (one.running_count, one._suspended_count, len(one._idle_turns)) == (0, 0, 0)


def test_slow_readers_take_turns_among_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody who comes back waits for a reader who takes nothing, even if as many stand aside as may."""
    monkeypatch.setattr(query_queue, "MAX_IDLE_SECONDS", 0.0)
    one = QueryQueue(1)
    readers = [iter(query(one, Steps(20))) for _ in range(query_queue.MAX_SUSPENDED_PER_SLOT + 1)]
    for step in range(20):
        assert [next(reader)["n"].to_pylist() for reader in readers] == [[step]] * len(readers)
    assert one._suspended_count == query_queue.MAX_SUSPENDED_PER_SLOT
    for reader in readers:
        assert list(reader) == []
    assert (one.running_count, one._suspended_count, one._returning_count, len(one._idle_turns)) == (0, 0, 0, 0)


@pytest.mark.parametrize("stop", ["cancel", "close"])
def test_who_comes_back_can_be_stopped(monkeypatch: pytest.MonkeyPatch, stop: str) -> None:
    monkeypatch.setattr(query_queue, "MAX_IDLE_SECONDS", 0.0)
    one = QueryQueue(1)
    aside = query(one, Steps())
    reader = iter(aside)
    next(reader)
    busy = Steps()
    busy_reader = iter(query(one, busy))
    next(busy_reader)
    busy.go_on.clear()
    computing = threading.Thread(target=lambda: next(busy_reader))
    computing.start()
    wait_until_true(lambda: not one._idle_turns)
    raised: list[Exception] = []

    def come_back() -> None:
        try:
            next(reader)
        except OperationCancelledError as error:
            raised.append(error)

    coming = threading.Thread(target=come_back)
    coming.start()
    wait_until_true(lambda: one._returning_count == 1)
    getattr(aside, stop)()
    coming.join(60)
    assert len(raised) == 1
    busy.go_on.set()
    computing.join(60)
    busy_reader.close()
    assert (one.running_count, one._suspended_count, one._returning_count, len(one._idle_turns)) == (0, 0, 0, 0)


def test_what_was_begun_is_closed_though_its_turn_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query_queue, "QUEUE_TIMEOUT_SECONDS", 0.05)
    of = QueryQueue(1)
    first = Steps()
    holding = iter(QueuedExecution(of, SCHEMA, lambda: first))
    next(holding)
    second = Steps()
    waiting = QueuedExecution(of, SCHEMA, lambda: second, second)
    with pytest.raises(OverloadedError):
        list(waiting)
    assert second.closed
    assert second.computed == 0
    third = Steps()
    QueuedExecution(of, SCHEMA, lambda: third, third).close()
    assert third.closed


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def take_turn(of: QueryQueue, who: str = "") -> QueryTurn:
    turn = QueryTurn(who)
    of.wait_for_turn(turn, lambda: False)
    return turn


def waits(of: QueryQueue, who: str) -> tuple[QueryTurn, threading.Thread, list[Exception]]:
    """Wait for a turn in a thread."""
    turn, told = QueryTurn(who), []

    def wait() -> None:
        try:
            of.wait_for_turn(turn, lambda: False)
        except OverloadedError as error:
            told.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until_true(lambda: turn in of._waiting_turns or not thread.is_alive())
    return turn, thread, told


def test_who_would_wait_in_vain_is_refused_at_once() -> None:
    clock = Clock()
    one = QueryQueue(2, clock)
    for _ in range(20):  # turns are held for 8 s
        running = [take_turn(one), take_turn(one)]
        clock.now += 8
        for turn in running:
            one.end_turn(turn)
    running = [take_turn(one), take_turn(one)]
    waiting = waits(one, "")[1:]  # one ends every 4 s: the first who waits will have its turn ..
    with pytest.raises(OverloadedError, match="try again") as told:  # .. and the second would not within WAIT
        take_turn(one)
    assert 7 < told.value.retry_after_seconds < 14
    assert waiting[0].is_alive()
    clock.now += 60  # they do not end, so that the one who waits is told as well, without a notice
    waiting[0].join(60)
    assert len(waiting[1]) == 1
    for turn in running:
        one.end_turn(turn)
    assert (one.running_count, one._waiting_turns) == (0, [])


def test_turns_that_are_short_are_waited_for() -> None:
    clock = Clock()
    one = QueryQueue(4, clock)
    running = [take_turn(one) for _ in range(4)]
    clock.now += 1
    waiting = [waits(one, "") for _ in range(4)]
    assert all(thread.is_alive() for _, thread, _ in waiting)
    for turn in running:
        one.end_turn(turn)
    for turn, thread, told in waiting:
        thread.join(60)
        assert not told
        one.end_turn(turn)
    assert one.running_count == 0


def test_nobody_takes_all_turns_from_others() -> None:
    clock = Clock()
    one = QueryQueue(4, clock)
    alone = [take_turn(one, "greedy") for _ in range(4)]  # nobody else is there
    crowd = [waits(one, "greedy") for _ in range(4)]
    other = waits(one, "other")  # the last one of the crowd makes room
    crowd[3][1].join(60)
    assert len(crowd[3][2]) == 1
    one.end_turn(alone.pop())
    other[1].join(60)  # it came last and goes first
    assert not other[2]
    assert other[0].is_held
    one.end_turn(other[0])
    assert one.running_count == 3  # the fourth turn is kept for others
    late = take_turn(one, "other")
    one.end_turn(late)
    clock.now += 2 * query_queue.REQUESTER_MEMORY_SECONDS  # those who wait are told, and nobody else is there any more
    for _, thread, _ in crowd:
        thread.join(60)
    for turn in alone:
        one.end_turn(turn)
    assert len([take_turn(one, "greedy") for _ in range(4)]) == 4


def test_who_asks_little_has_half_of_the_turns_beside_one_who_asks_much() -> None:
    clock = Clock()
    one = QueryQueue(3, clock, place_count=100)
    waiting = []
    for who in ("much", "much", "much", "much", "little", "little") * 10:
        turn = QueryTurn(who)
        one.request_turn(turn, lambda: None)
        waiting.append(turn)
    had = []
    running = []
    while len(had) < 30:
        begun = [turn for turn in waiting if one.take_turn_if_ready(turn)]
        running += begun
        waiting = [turn for turn in waiting if turn not in begun]
        had += [turn.requester for turn in begun]
        clock.now += 0.001
        one.end_turn(running.pop(0))
    assert 13 <= had.count("little") <= 17


def test_a_place_is_taken_without_waiting_and_given_back() -> None:
    one = QueryQueue(1, Clock())
    holding = take_turn(one)
    placed = query(one, Steps())
    placed.request_turn(lambda: None)
    with pytest.raises(OverloadedError):  # no thread is needed to tell
        query(one, Steps()).request_turn(lambda: None)
    placed.close()
    assert one._waiting_turns == []
    later = query(one, Steps())
    later.request_turn(lambda: None)
    one.end_turn(holding)
    assert len(list(later)) == 3
    assert (one.running_count, one._waiting_turns) == (0, [])


def test_who_is_next_is_told_and_nobody_else() -> None:
    one = QueryQueue(1, Clock(), place_count=8)
    running = take_turn(one)
    told: list[int] = []
    waiting = [QueryTurn(str(number)) for number in range(4)]
    for number, turn in enumerate(waiting):
        one.request_turn(turn, lambda number=number: told.append(number))  # type: ignore[misc]
    assert told == []
    one.end_turn(waiting[3])  # who leaves makes no turn free
    assert told == []
    for number, turn in enumerate(waiting[:3]):
        one.end_turn(running)
        assert told == list(range(number + 1))
        assert [one.take_turn_if_ready(each) for each in waiting[number:3]] == [True] + [False] * (2 - number)
        running = turn
    one.end_turn(running)
    assert (one.running_count, one._waiting_turns) == (0, [])


def test_a_short_queue_has_places_for_many_and_is_judged_by_time() -> None:
    clock = Clock()
    one = QueryQueue(1, clock, place_count=32)
    running = take_turn(one)
    for _ in range(32):
        one.request_turn(QueryTurn(), lambda: None)
    with pytest.raises(OverloadedError):  # there is no place
        one.request_turn(QueryTurn(), lambda: None)
    one = QueryQueue(1, clock, place_count=32)
    running = take_turn(one)
    clock.now += 1  # what runs takes long: less than five of its kind would be through within WAIT
    for _ in range(4):
        one.request_turn(QueryTurn(), lambda: None)
    with pytest.raises(OverloadedError, match="try again"):
        one.request_turn(QueryTurn(), lambda: None)
    one.end_turn(running)


@pytest.fixture
def private_module() -> ModuleType:
    """Load the module once more: watchdogs of other sites in this process keep their own measure of memory."""
    spec = importlib.util.find_spec("hven.query.memory_watchdog")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.CHECK_INTERVAL_SECONDS = 0.001  # type: ignore[attr-defined]
    return module


def test_the_query_that_began_last_is_ended_when_the_process_holds_too_much(
    private_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [0]
    monkeypatch.setattr(private_module, "measure_process_bytes", lambda: held[0])
    monkeypatch.setattr(private_module, "RELEASE_WAIT_SECONDS", 0.01)
    ceiling = private_module.MemoryWatchdog(1000)
    ended: SimpleQueue[str] = SimpleQueue()
    ceiling.watch_query("first", lambda: ended.put("first"))
    ceiling.watch_query("last", lambda: ended.put("last"))
    held[0] = 1100
    ceiling.watch_query("gone", lambda: ended.put("gone"))
    ceiling.stop_watching_query("gone")
    held[0] = 1200
    assert [ended.get(timeout=60), ended.get(timeout=60)] == ["last", "first"]


def test_what_the_process_beside_it_holds_counts(private_module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    held, looked = {"self": 100, 7: 500}, set()

    def used(process: str | int = "self") -> int:
        looked.add(process)
        return held[process]

    monkeypatch.setattr(private_module, "measure_process_bytes", used)
    beside: dict[int, int] = {}
    ceiling = private_module.MemoryWatchdog(1000, lambda: beside)
    ended: SimpleQueue[float] = SimpleQueue()
    ceiling.watch_query("one", lambda: ended.put(held[7]))
    beside[7] = 500  # begun since; what it holds at first is not the query's
    wait_until_true(lambda: 7 in looked)
    held[7] = 1700
    assert ended.get(timeout=60) == 1700
    beside.clear()


@pytest.mark.parametrize("held", [2001, 1300])
def test_a_process_that_holds_too_much_whatever_is_ended_gives_way(
    held: int, private_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0]
    gone: SimpleQueue[int] = SimpleQueue()
    monkeypatch.setattr(private_module, "measure_process_bytes", lambda: now[0])
    monkeypatch.setattr(private_module, "MAX_OVERRUN_SECONDS", 0.01 if held < 2000 else 1e9)
    monkeypatch.setattr(private_module, "end_process", gone.put)
    ceiling = private_module.MemoryWatchdog(1000)
    ceiling.watch_query("one", lambda: None)
    now[0] = held
    assert gone.get(timeout=60) == held
    now[0] = 0
    ceiling.stop_watching_query("one")


def test_who_waits_is_judged_again_when_queries_become_slower() -> None:
    clock = Clock()
    one = QueryQueue(1, clock, place_count=32)
    running = take_turn(one, "a")
    waiting = [QueryTurn(f"w{number}") for number in range(12)]
    for turn in waiting:
        one.request_turn(turn, lambda: None)
    clock.now += query_queue.REASSESSMENT_DELAY_SECONDS / 2
    assert not any(one.take_turn_if_ready(turn) for turn in waiting)
    clock.now += 3.0  # the one that runs takes thirty times as long as was usual
    refused = []
    for turn in reversed(waiting):
        try:
            assert not one.take_turn_if_ready(turn)
        except OverloadedError:
            refused.append(turn)
    assert 8 <= len(refused) < 12
    assert waiting[0] not in refused  # whose turn comes in time
    one.end_turn(running)
    assert one.take_turn_if_ready(waiting[0])
