"""The queue of big queries: a limited number of them computes at once in a process.

Queries whose turn will come soon wait. Others are refused at once, with the time after which to try again.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter, OrderedDict
from contextvars import ContextVar
from typing import TYPE_CHECKING, NoReturn

from hven.engines import DelegatingExecution
from hven.model.errors import OperationCancelledError, OverloadedError, TooLargeError
from hven.query.memory_watchdog import MemoryWatchdog, schedule_memory_trim

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    import pyarrow as pa

    from hven.engines import QueryExecution


QUEUE_TIMEOUT_SECONDS = 5.0  # time that a big query waits for its turn before it is refused
CANCEL_CHECK_INTERVAL_SECONDS = 0.1  # time between two checks whether the client is still connected
MAX_IDLE_SECONDS = 0.5  # time that a client may take for a batch before another query may get the turn
MAX_SUSPENDED_PER_SLOT = 4  # queries for each turn that may be suspended; each keeps what it has computed
INITIAL_TURN_SECONDS = 0.1  # assumed duration of a turn before any was measured
MAX_REQUESTER_SHARE = 0.75  # share of the turns that one user may hold while there are others
REQUESTER_MEMORY_SECONDS = 60.0  # time after which a user without a query is forgotten
MAX_REQUESTERS = 4096  # users that are remembered
REASSESSMENT_DELAY_SECONDS = 0.5  # time after which the wait of a query is estimated again
FOLLOWER_TIMEOUT_SECONDS = 20.0  # time that a query waits for what another one computes for both
MAX_FOLLOWERS = 4096  # queries of a process that wait for another one's result
MAX_FUTILE_PREREQUISITES = 256  # remembered prerequisites whose results cannot be kept
OVERLOAD_REMEDY = "try again in a few seconds"
#: Returns the user of a query: an account, else an address. Queries from outside HTTP belong to one user.
current_requester: ContextVar[Callable[[], str]] = ContextVar("asker", default=str)
#: The name under which several users take turns as one; empty: each user takes turns alone.
current_user_class: ContextVar[str] = ContextVar("user_class", default="")


def get_turn_taker() -> str:
    """Return the name under which the current request takes turns."""
    return current_user_class.get() or current_requester.get()()


class QueryTurn:
    """The turn of a query, and its state: waiting, held, idle while the client takes rows, or suspended.

    Parameters
    ----------
    requester
        The user of the query.
    prerequisite
        Returns what must be computed first, once for all queries that need the same; None if nothing must.
    """

    __slots__ = (
        "held_since",
        "idle_since",
        "is_held",
        "is_promised",
        "is_suspended",
        "led_prerequisite",
        "notify",
        "prerequisite",
        "requester",
        "wait_until",
    )

    def __init__(self, requester: str = "", prerequisite: Callable[[], Hashable] = lambda: None) -> None:
        self.requester = requester
        self.prerequisite = prerequisite
        self.led_prerequisite: Hashable = None  # the prerequisite that this query computes for others
        self.is_promised = False  # it has waited for another query, and is not refused afterwards
        self.is_held = False
        self.is_suspended = False  # it was held, and another query has its slot now
        self.held_since = 0.0
        self.idle_since = 0.0
        self.wait_until: float | None = None  # the end of its wait, once it has a place
        self.notify: Callable[[], object] | None = None  # wakes the thread that waits for the turn


class QueryQueue:
    """The queue of the queries of one process, and their turns. Thread-safe.

    A query holds its turn while it computes. Slow clients do not block it: a query whose client takes nothing for a
    while loses its turn to a waiting query. It gets a turn again, before all new queries, when the client takes more
    rows.

    The next query is one of the user who holds the fewest turns, and whose last turn is the longest ago. Recent
    durations of turns tell whether a turn will come in time. A query that would wait in vain is refused at once. A
    query that is admitted waits twice as long as expected before it is refused.

    Parameters
    ----------
    slot_count
        Number of queries that compute at once.
    place_count
        Number of queries that may wait; None: the same number.
    clock
        Monotonic clock, in seconds.
    memory_watchdog
        Watchdog of the memory that queries use; None: there is none.
    frees_memory
        Whether freed memory is returned to the system when the last turn ends.
    reserves_slot
        Whether a user who is alone leaves a slot free. Nobody can take back the turns of long queries, so otherwise the
        first query of another user would wait for the end of one.
    """

    def __init__(
        self,
        slot_count: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        place_count: int | None = None,
        memory_watchdog: MemoryWatchdog | None = None,
        frees_memory: bool = True,
        reserves_slot: bool = False,
    ) -> None:
        self._slot_count = slot_count
        self._place_count = slot_count if place_count is None else place_count
        self._clock = clock
        self.memory_watchdog = memory_watchdog or MemoryWatchdog(sys.maxsize)
        self._frees_memory = frees_memory
        self._reserves_slot = reserves_slot
        self._lock = threading.RLock()
        self._turn_freed = threading.Condition(self._lock)  # for queries that resume
        self._held_turns: dict[QueryTurn, None] = {}
        self._waiting_turns: list[QueryTurn] = []  # in the order in which they came
        self._requesters: OrderedDict[str, float] = OrderedDict()  # recent users, with the time of their last query
        self._last_turn_times: dict[str, float] = {}  # the time of their last turn
        self._mean_turn_seconds = INITIAL_TURN_SECONDS  # running mean of the time that a turn is held
        self._suspended_count = 0
        self._returning_count = 0
        # turns whose clients are taking rows, the longest idle first
        self._idle_turns: OrderedDict[QueryTurn, None] = OrderedDict()
        self._leaders: dict[Hashable, QueryTurn] = {}  # prerequisite -> the query that computes it
        self._followers: dict[QueryTurn, Hashable] = {}  # queries that wait for that, without a place in the queue
        # prerequisites that were computed, and whose results cannot be kept
        self._futile_prerequisites: OrderedDict[Hashable, None] = OrderedDict()

    def request_turn(self, turn: QueryTurn, notify: Callable[[], object]) -> None:
        """Queue for a turn, without waiting.

        Parameters
        ----------
        turn
            A new turn.
        notify
            Called, in any thread, when `take_turn_if_ready` should be called.

        Raises
        ------
        OverloadedError
            Too many queries wait already, or the wait would be too long.
        """
        prerequisite = turn.prerequisite()
        with self._turn_freed:
            self._record_requester_and_forget_old_ones(turn.requester)
            if prerequisite is not None and prerequisite not in self._futile_prerequisites:
                if prerequisite in self._leaders and len(self._followers) < MAX_FOLLOWERS:
                    self._followers[turn] = prerequisite
                    turn.wait_until = self._clock() + FOLLOWER_TIMEOUT_SECONDS
                    turn.notify = notify
                    return
                self._leaders[prerequisite] = turn
                turn.led_prerequisite = prerequisite
            self._waiting_turns.append(turn)
            if not self._make_slot_if_next_turn(turn) and not self._remove_excess_turn_and_check_wait(
                turn, QUEUE_TIMEOUT_SECONDS
            ):
                self._remove_turn_and_raise_overloaded(turn)
            turn.wait_until = self._clock() + 2 * QUEUE_TIMEOUT_SECONDS
            turn.notify = notify

    def take_turn_if_free(self, turn: QueryTurn) -> bool:
        """Take a turn at once if nothing computes and nobody waits; `end_turn` returns it.

        Parameters
        ----------
        turn
            A new turn that needs no prerequisite.

        Returns
        -------
        held
            False: the turn must be requested.
        """
        with self._turn_freed:
            if self._held_turns or self._waiting_turns or self._returning_count:
                return False
            self._record_requester_and_forget_old_ones(turn.requester)
            self._hold_turn(turn)
            return True

    def release_dependent_turns(self, turn: QueryTurn) -> None:
        """Release the queries that wait for what a query computes, when it has computed it, or failed.

        Parameters
        ----------
        turn
            The turn of the query that computes.
        """
        if turn.led_prerequisite is None:
            return
        is_still_missing = turn.prerequisite() == turn.led_prerequisite
        with self._turn_freed:
            prerequisite = turn.led_prerequisite
            turn.led_prerequisite = None
            if self._leaders.get(prerequisite) is not turn:
                return
            del self._leaders[prerequisite]
            has_run = bool(turn.held_since)
            if has_run and is_still_missing:  # the result was not kept: the next queries need not wait for another
                self._futile_prerequisites[prerequisite] = None
                while len(self._futile_prerequisites) > MAX_FUTILE_PREREQUISITES:
                    self._futile_prerequisites.popitem(last=False)
            followers = [follower for follower, awaited in self._followers.items() if awaited == prerequisite]
            if not has_run and followers:  # the next query computes it instead
                followers = followers[:1]
                followers[0].led_prerequisite = prerequisite
                self._leaders[prerequisite] = followers[0]
            for follower in followers:
                self._enqueue_dependent_turn(follower)
                if follower.notify is not None:
                    follower.notify()

    def _enqueue_dependent_turn(self, turn: QueryTurn) -> None:
        """Put a query that waited for another one into the queue."""
        del self._followers[turn]
        turn.is_promised = True
        turn.wait_until = self._clock() + 2 * QUEUE_TIMEOUT_SECONDS
        self._waiting_turns.append(turn)

    def _enqueue_if_prerequisite_met(self, turn: QueryTurn) -> bool:
        """Return whether a query need not wait for another one any more; refuse it if that takes too long."""
        if self._clock() >= (turn.wait_until or 0.0):
            self._remove_turn_and_raise_overloaded(turn)
        if turn.prerequisite() is not None:
            return False
        self._enqueue_dependent_turn(turn)
        return True

    def take_turn_if_ready(self, turn: QueryTurn) -> bool:
        """Take the turn if it has come; `end_turn` returns it.

        Parameters
        ----------
        turn
            A turn that was requested.

        Returns
        -------
        held
            Whether it has come.

        Raises
        ------
        OverloadedError
            The wait was too long, or the place was given to another user.
        """
        with self._turn_freed:
            if turn.is_held:
                return True
            if turn in self._followers and not self._enqueue_if_prerequisite_met(turn):
                return False
            if not self._make_slot_if_next_turn(turn):
                is_displaced = turn not in self._waiting_turns
                if is_displaced or self._clock() >= (turn.wait_until or 0.0) or self._is_wait_hopeless(turn):
                    self._remove_turn_and_raise_overloaded(turn)
                return False
            self._hold_turn(turn)
            self._remove_from_queue_and_notify_next(turn)
            return True

    def wait_for_turn(self, turn: QueryTurn, is_cancelled: Callable[[], bool]) -> None:
        """Wait in this thread until the turn comes.

        Parameters
        ----------
        turn
            A turn, requested or not.
        is_cancelled
            Returns whether to give up; called several times a second.

        Raises
        ------
        OverloadedError
            Too many queries wait already, or the wait would be or was too long.
        OperationCancelledError
            `is_cancelled` became true.
        """
        notified = threading.Event()
        with self._turn_freed:
            if turn.wait_until is None:
                self.request_turn(turn, notified.set)
            turn.notify = notified.set
        while not self.take_turn_if_ready(turn):
            if is_cancelled():
                raise OperationCancelledError("the query was cancelled before its turn came")
            notified.wait(CANCEL_CHECK_INTERVAL_SECONDS)
            notified.clear()

    def _remove_turn_and_raise_overloaded(self, turn: QueryTurn) -> NoReturn:
        self._remove_from_queue_and_notify_next(turn)
        retry_seconds = self._estimate_wait(len(self._waiting_turns))
        raise OverloadedError(
            "too many queries are running or waiting at the moment",
            remedy=OVERLOAD_REMEDY,
            retry_after_seconds=retry_seconds,
        )

    def _remove_from_queue_and_notify_next(self, turn: QueryTurn) -> None:
        self._followers.pop(turn, None)
        if turn in self._waiting_turns:
            self._waiting_turns.remove(turn)
            self._notify_next_turn()

    def _notify_next_turn(self) -> None:
        """Wake the queries that resume, or else only the next one: waking all takes as long as a small query."""
        self._turn_freed.notify_all()
        if len(self._held_turns) >= self._slot_count:
            return
        next_turn = self._find_next_turn()
        if next_turn is not None and next_turn.notify is not None:
            next_turn.notify()

    def _record_requester_and_forget_old_ones(self, requester: str) -> None:
        """Record that a user has a query, and forget users without recent ones."""
        time_now = self._clock()
        self._requesters[requester] = time_now
        self._requesters.move_to_end(requester)
        while True:
            oldest_requester, last_time = next(iter(self._requesters.items()))
            is_recent = last_time >= time_now - REQUESTER_MEMORY_SECONDS
            if is_recent and len(self._requesters) <= MAX_REQUESTERS:
                return
            del self._requesters[oldest_requester]
            self._last_turn_times.pop(oldest_requester, None)

    def _make_slot_if_next_turn(self, turn: QueryTurn) -> bool:
        """Return whether there is a free turn, and no other waiting query comes first."""
        return turn in self._waiting_turns and self._find_next_turn() is turn and self._make_slot_available()

    def _find_next_turn(self) -> QueryTurn | None:
        """Return the next query; None while queries wait to resume."""
        if self._returning_count:
            return None
        held_counts = Counter(turn.requester for turn in self._held_turns if turn not in self._idle_turns)
        max_turns = self._slot_count
        if len(self._requesters) != 1:
            max_turns = int(self._slot_count * MAX_REQUESTER_SHARE)
        elif self._reserves_slot:
            max_turns = self._slot_count - 1
        candidates = [turn for turn in self._waiting_turns if held_counts[turn.requester] < max(max_turns, 1)]

        def get_rank(turn: QueryTurn) -> tuple[int, float]:
            return held_counts[turn.requester], self._last_turn_times.get(turn.requester, 0.0)

        return min(candidates, key=get_rank, default=None)

    def _remove_excess_turn_and_check_wait(self, turn: QueryTurn, remaining_seconds: float) -> bool:
        """Return whether a turn will come in the time that is left.

        If the queue is full, the last query of the user with the most places is removed.
        """
        removable_turns = [waiting_turn for waiting_turn in self._waiting_turns if not waiting_turn.is_promised]
        if len(removable_turns) > self._place_count:
            displaced_turn = self._choose_displaced_turn(removable_turns, turn)
            self._remove_from_queue_and_notify_next(displaced_turn)
            if displaced_turn is turn:
                return False
            if displaced_turn.notify is not None:
                displaced_turn.notify()
        return remaining_seconds > 0 and self._estimate_turn_wait(turn) <= remaining_seconds

    @staticmethod
    def _choose_displaced_turn(removable_turns: Sequence[QueryTurn], new_turn: QueryTurn) -> QueryTurn:
        """Return the last query of the user with the most places; that is the new query's user if nobody has more."""
        place_counts = Counter(turn.requester for turn in removable_turns)
        displaced_requester = new_turn.requester
        largest_requester = max(place_counts, key=place_counts.__getitem__)
        if place_counts[largest_requester] > place_counts[displaced_requester]:
            displaced_requester = largest_requester
        return next(turn for turn in reversed(removable_turns) if turn.requester == displaced_requester)

    def _estimate_turn_wait(self, turn: QueryTurn) -> float:
        """Estimate the seconds until a waiting query gets a turn."""
        earlier_turns = self._waiting_turns[: self._waiting_turns.index(turn)]
        earlier_counts = Counter(earlier_turn.requester for earlier_turn in earlier_turns)
        # users alternate: before this query, each other user gets at most one turn more than this user
        max_turns = earlier_counts[turn.requester] + 1
        return self._estimate_wait(sum(min(count, max_turns) for count in earlier_counts.values()))

    def _is_wait_hopeless(self, turn: QueryTurn) -> bool:
        """Estimate again whether a turn will come in the time that is left.

        The machine may have become slower since the query was admitted.
        """
        if turn.is_promised:
            return False
        remaining_seconds = (turn.wait_until or 0.0) - self._clock()
        waited_seconds = 2 * QUEUE_TIMEOUT_SECONDS - remaining_seconds
        if waited_seconds < REASSESSMENT_DELAY_SECONDS:
            return False
        return self._estimate_turn_wait(turn) > remaining_seconds

    def _estimate_wait(self, turns_ahead: int) -> float:
        """Estimate the seconds until a query with this number of queries ahead gets a turn."""
        time_now = self._clock()
        active_turns = [turn for turn in self._held_turns if turn not in self._idle_turns]
        # queries that still run count with the time that they have taken so far
        running_seconds = sum(time_now - turn.held_since for turn in active_turns)
        mean_held_seconds = (self._mean_turn_seconds * self._slot_count + running_seconds) / self._slot_count
        # the slots of idle turns can be taken at once
        suspendable_count = MAX_SUSPENDED_PER_SLOT * self._slot_count - self._suspended_count
        reclaimable_count = min(len(self._idle_turns), suspendable_count)
        turn_count = max(turns_ahead + 1 - reclaimable_count, 0)
        return turn_count * mean_held_seconds / self._slot_count

    def _make_slot_available(self, *, returning_count: int = 0) -> bool:
        """Return whether a slot is free; if none is, take one from a query whose client is slow.

        `returning_count` is 1 for a query that resumes, because it leaves its place among the suspended ones.
        """
        if len(self._held_turns) < self._slot_count:
            return True
        turn = next(iter(self._idle_turns), None)
        if turn is None or self._clock() - turn.idle_since < MAX_IDLE_SECONDS:
            return False
        if self._suspended_count - returning_count >= MAX_SUSPENDED_PER_SLOT * self._slot_count:
            return False
        del self._idle_turns[turn]
        self._release_turn(turn)
        turn.is_suspended = True
        self._suspended_count += 1
        return True

    def _hold_turn(self, turn: QueryTurn) -> None:
        turn.is_held = True
        turn.held_since = self._clock()
        if turn.requester in self._requesters:  # users that were forgotten need no time
            self._last_turn_times[turn.requester] = turn.held_since
        self._held_turns[turn] = None

    def _release_turn(self, turn: QueryTurn) -> None:
        turn.is_held = False
        del self._held_turns[turn]
        if turn.led_prerequisite is None:  # a computation for many queries is not typical for the next one
            held_seconds = self._clock() - turn.held_since
            self._mean_turn_seconds += (held_seconds - self._mean_turn_seconds) / self._slot_count

    def mark_turn_idle(self, turn: QueryTurn) -> None:
        """Let another query take the slot while the client takes rows.

        Parameters
        ----------
        turn
            A turn that is held.
        """
        with self._turn_freed:
            if turn.is_held:
                turn.idle_since = self._clock()
                self._idle_turns[turn] = None

    def resume_turn(self, turn: QueryTurn, is_cancelled: Callable[[], bool]) -> None:
        """Resume computing; if another query has taken the slot, wait for one without a time limit.

        Parameters
        ----------
        turn
            A turn that is idle or suspended.
        is_cancelled
            Returns whether to give up; called several times a second.

        Raises
        ------
        OperationCancelledError
            `is_cancelled` became true.
        """
        with self._turn_freed:
            self._idle_turns.pop(turn, None)
            if turn.is_held:
                return
            self._returning_count += 1
            try:
                while not self._make_slot_available(returning_count=1):
                    if is_cancelled():
                        raise OperationCancelledError("the query was cancelled")
                    self._turn_freed.wait(CANCEL_CHECK_INTERVAL_SECONDS)
            finally:
                self._returning_count -= 1
                self._notify_next_turn()
            if turn.is_suspended:  # false if the turn was ended in the meantime
                turn.is_suspended = False
                self._suspended_count -= 1
                self._hold_turn(turn)

    def end_turn(self, turn: QueryTurn) -> None:
        """End a turn in any state; it may be called twice.

        Parameters
        ----------
        turn
            A turn in any state.
        """
        with self._turn_freed:
            if turn in self._waiting_turns or turn in self._followers:
                self._remove_from_queue_and_notify_next(turn)
            turn.notify = None  # it refers to the execution, which refers to the turn: a cycle would keep both alive
            self._idle_turns.pop(turn, None)
            had_turn = turn.is_suspended or turn.is_held  # a query without a turn has used no memory
            if turn.is_suspended:
                turn.is_suspended = False
                self._suspended_count -= 1
            if turn.is_held:
                self._release_turn(turn)
                if self._waiting_turns or self._returning_count:
                    self._notify_next_turn()
            is_last = had_turn and not self._held_turns
        if turn.led_prerequisite is not None:
            self.release_dependent_turns(turn)
        if is_last and self._frees_memory:
            schedule_memory_trim()

    @property
    def running_count(self) -> int:
        """Number of turns that are held."""
        return len(self._held_turns)


class QueuedExecution(DelegatingExecution):
    """An execution that waits for its turn before it computes (`hven.engines.QueryExecution`).

    Parameters
    ----------
    start_execution
        Starts the engine. It is called when the turn has come, in the thread that iterates.
    begun_execution
        An execution that the engine has begun already, which `start_execution` returns. It is closed even if the turn
        never comes.
    prerequisite
        As in `QueryTurn`.
    """

    def __init__(
        self,
        query_queue: QueryQueue,
        schema: pa.Schema,
        start_execution: Callable[[], QueryExecution],
        begun_execution: QueryExecution | None = None,
        *,
        prerequisite: Callable[[], Hashable] = lambda: None,
    ) -> None:
        super().__init__(schema, begun_execution)
        self._query_queue = query_queue
        self._start_execution = start_execution
        self._turn = QueryTurn(get_turn_taker(), prerequisite)
        self._creation_time = time.monotonic()
        self._exceeded_memory = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            if self.small:  # the rows are there already, so no turn is needed
                yield from self._start_execution()
                return
            self._query_queue.wait_for_turn(self._turn, self._is_stopped)
            self.wait_seconds = time.monotonic() - self._creation_time
            self._query_queue.memory_watchdog.watch_query(self, self._stop_for_memory)
            execution = self._adopt_execution(self._start_execution())
            for batch in execution:
                self._query_queue.release_dependent_turns(self._turn)
                self._query_queue.mark_turn_idle(self._turn)
                idle_since = time.monotonic()
                try:
                    yield batch
                finally:  # the client may leave
                    self.client_seconds += time.monotonic() - idle_since
                self._query_queue.resume_turn(self._turn, self._is_stopped)
        except OperationCancelledError:
            if self._exceeded_memory:
                raise TooLargeError(
                    "the query was stopped, because all queries together used more memory than allowed",
                    remedy="select fewer columns or shorter strings, or try again when fewer queries are running",
                ) from None
            raise
        finally:
            self.close()

    def request_turn(self, notify: Callable[[], object]) -> None:
        """Queue for a turn before a thread is used for it (`QueryQueue.request_turn`).

        Parameters
        ----------
        notify
            Called, in any thread, when `has_turn_come` should be called.
        """
        self._query_queue.request_turn(self._turn, notify)

    def has_turn_come(self) -> bool:
        """Return whether the turn has come (`QueryQueue.take_turn_if_ready`).

        Raises
        ------
        OperationCancelledError
            The query was stopped before.
        """
        if self._is_stopped():
            raise OperationCancelledError("the query was cancelled before its turn came")
        return self._query_queue.take_turn_if_ready(self._turn)

    def _stop_for_memory(self) -> None:
        """Stop the query because the process uses too much memory."""
        self._exceeded_memory = True
        self.cancel()

    def close(self) -> None:
        """Free all resources, and return the turn."""
        self._query_queue.memory_watchdog.stop_watching_query(self)
        try:
            super().close()
        finally:
            self._query_queue.end_turn(self._turn)
