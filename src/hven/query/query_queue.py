"""The queue of big queries: a limited number computes at once in a process.

Queries whose turn will come soon wait. The others are refused at once, with the time after which to try again.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter, OrderedDict
from contextvars import ContextVar
from typing import TYPE_CHECKING, NoReturn

from hven.engines import RelayExecution
from hven.model.errors import OperationCancelledError, OverloadedError, TooLargeError
from hven.query.memory_watchdog import MemoryWatchdog, schedule_memory_trim

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    import pyarrow as pa

    from hven.engines import QueryExecution


QUEUE_TIMEOUT_SECONDS = 5.0  # time that a big query waits for its turn before it is refused
CANCEL_CHECK_INTERVAL_SECONDS = 0.1  # time between two checks whether the client is still connected
MAX_IDLE_SECONDS = 0.5  # time that a client may take for a batch before another query may get the turn
MAX_SUSPENDED_PER_SLOT = 4  # queries for each turn that may be suspended; each keeps what it has computed
INITIAL_TURN_SECONDS = 0.1  # assumed duration of a turn before any was measured
MAX_REQUESTER_SHARE = 0.75  # of the turns, that one asker may hold when there are others
REQUESTER_MEMORY_SECONDS = 60.0  # seconds after which somebody who asks no more is nobody else
MAX_REQUESTERS = 4096  # that are remembered
REASSESSMENT_DELAY_SECONDS = 0.5  # seconds after which a query that waits is judged as a new one is
FOLLOWER_TIMEOUT_SECONDS = 20.0  # that a query waits for what another one computes for both
MAX_FOLLOWERS = 4096  # of one process
MAX_FUTILE_PREREQUISITES = 256  # prerequisites that cannot be kept, which are remembered
OVERLOAD_REMEDY = "try again in a few seconds"
#: Gives for whom a query runs: an account, else an address. What nobody asked for over HTTP is one asker.
current_requester: ContextVar[Callable[[], str]] = ContextVar("asker", default=str)


class QueryTurn:
    """The turn of a query: held or not, and since when it is idle because its client takes rows.

    Parameters
    ----------
    requester
        For whom the query runs.
    prerequisite
        Gives what must be computed before the query, once for all that need the same; None: nothing, or no more.
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
        self.is_promised = False  # it waited for another query's computing, and is not refused afterwards
        self.is_held = False
        self.is_suspended = False  # it was held, and another query has it now
        self.held_since = 0.0
        self.idle_since = 0.0
        self.wait_until: float | None = None  # when it gives the waiting up, once it has a place
        self.notify: Callable[[], object] | None = None  # tells who waits to look again


class QueryQueue:
    """The turns of the queries of one process. Thread-safe.

    A query holds its turn while it computes. Slow clients do not block it: a query whose client takes nothing for a
    while loses its turn to a waiting query, and gets one again, before all new queries, when the client comes for more.

    Of the waiting queries, that of the user who holds the fewest turns, and had one the longest ago, is the next one.
    The recent durations of turns tell whether a turn will come in time. A query that would wait in vain is refused at
    once. A query that is admitted waits twice as long as expected before it is refused after all.

    Parameters
    ----------
    slot_count
        Number of queries that run at once.
    places
        Number of queries that may wait; None: the same number.
    clock
        Monotonic clock, in seconds.
    memory_watchdog
        Watchdog of the memory that queries use; None: there is none.
    """

    def __init__(
        self,
        slot_count: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        places: int | None = None,
        ceiling: MemoryWatchdog | None = None,
    ) -> None:
        self._slot_count = slot_count
        self._place_count = slot_count if places is None else places
        self._clock = clock
        self.memory_watchdog = ceiling or MemoryWatchdog(sys.maxsize)
        self._lock = threading.RLock()
        self._turn_freed = threading.Condition(self._lock)  # for those that come back
        self._held_turns: dict[QueryTurn, None] = {}
        self._waiting_turns: list[QueryTurn] = []  # those that wait, the longest first
        self._requesters: OrderedDict[str, float] = OrderedDict()  # who was here of late, and when
        self._last_turn_times: dict[str, float] = {}  # who of those had a turn last, and when
        self._mean_turn_seconds = INITIAL_TURN_SECONDS  # seconds that a turn is held, of late
        self._suspended_count = 0
        self._returning_count = 0
        self._idle_turns: OrderedDict[QueryTurn, None] = (
            OrderedDict()
        )  # those whose reader has rows, the longest idle first
        self._leaders: dict[Hashable, QueryTurn] = {}  # prerequisite -> the query that computes it
        self._followers: dict[QueryTurn, Hashable] = {}  # queries that wait for that, without a place in the queue
        self._futile_prerequisites: OrderedDict[Hashable, None] = (
            OrderedDict()
        )  # prerequisites that were tried and cannot be kept

    def request_turn(self, turn: QueryTurn, notify: Callable[[], object]) -> None:
        """Queue for a turn, without waiting.

        Parameters
        ----------
        turn
            Not entered yet.
        notify
            Called, in any thread, when it is worth a look whether the turn is `take_turn_if_ready`.

        Raises
        ------
        OverloadedError
            Too many wait already, or it would take too long.
        """
        prerequisite = turn.prerequisite()
        with self._turn_freed:
            self._note_requester(turn.requester)
            if prerequisite is not None and prerequisite not in self._futile_prerequisites:
                if prerequisite in self._leaders and len(self._followers) < MAX_FOLLOWERS:
                    self._followers[turn] = prerequisite
                    turn.wait_until = self._clock() + FOLLOWER_TIMEOUT_SECONDS
                    turn.notify = notify
                    return
                self._leaders[prerequisite] = turn
                turn.led_prerequisite = prerequisite
            self._waiting_turns.append(turn)
            if not self._is_next(turn) and not self._can_come_in_time(turn, QUEUE_TIMEOUT_SECONDS):
                self._raise_overloaded(turn)
            turn.wait_until = self._clock() + 2 * QUEUE_TIMEOUT_SECONDS
            turn.notify = notify

    def release_followers(self, turn: QueryTurn) -> None:
        """Release the queries that wait for what this query has computed, or failed to compute.

        Parameters
        ----------
        turn
            Of that query.
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
            if (
                is_still_missing and turn.held_since
            ):  # it ran, and nothing was kept: the next ones need not wait for another attempt
                self._futile_prerequisites[prerequisite] = None
                while len(self._futile_prerequisites) > MAX_FUTILE_PREREQUISITES:
                    self._futile_prerequisites.popitem(last=False)
            followers = [
                waiting_turn
                for waiting_turn, awaited_prerequisite in self._followers.items()
                if awaited_prerequisite == prerequisite
            ]
            if not turn.held_since and followers:  # it never ran: the next one computes
                followers = followers[:1]
                self._leaders[prerequisite], followers[0].led_prerequisite = followers[0], prerequisite
            for follower in followers:
                self._enqueue_follower(follower)
                if follower.notify is not None:
                    follower.notify()

    def _enqueue_follower(self, turn: QueryTurn) -> None:
        """Put a query that waited for another one into the queue."""
        del self._followers[turn]
        turn.is_promised = True
        turn.wait_until = self._clock() + 2 * QUEUE_TIMEOUT_SECONDS
        self._waiting_turns.append(turn)

    def _has_followed(self, turn: QueryTurn) -> bool:
        """Check whether a query that waits for another one may go on; refuse it if that takes too long."""
        if self._clock() >= (turn.wait_until or 0.0):
            self._raise_overloaded(turn)
        if turn.prerequisite() is not None:
            return False
        self._enqueue_follower(turn)
        return True

    def take_turn_if_ready(self, turn: QueryTurn) -> bool:
        """Take the turn if it has come; `end_turn` returns it.

        Parameters
        ----------
        turn
            Entered.

        Returns
        -------
        held
            Whether it has come.

        Raises
        ------
        OverloadedError
            It took too long, or others needed the place.
        """
        with self._turn_freed:
            if turn.is_held:
                return True
            if turn in self._followers and not self._has_followed(turn):
                return False
            if not self._is_next(turn):
                if (
                    turn not in self._waiting_turns
                    or self._clock() >= (turn.wait_until or 0.0)
                    or self._is_wait_hopeless(turn)
                ):
                    self._raise_overloaded(turn)
                return False
            self._hold_turn(turn)
            self._remove_from_queue(turn)
            return True

    def wait_for_turn(self, turn: QueryTurn, is_cancelled: Callable[[], bool]) -> None:
        """Wait in this thread for the turn, unless it has come.

        Parameters
        ----------
        turn
            Entered or not.
        is_cancelled
            Asked whether to give up.

        Raises
        ------
        OverloadedError
            Too many wait already, or it would take too long, or it took too long.
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

    def _raise_overloaded(self, turn: QueryTurn) -> NoReturn:
        self._remove_from_queue(turn)
        retry_seconds = self._estimate_wait(len(self._waiting_turns))
        raise OverloadedError(
            "too many queries run and wait at the moment", remedy=OVERLOAD_REMEDY, retry_after_seconds=retry_seconds
        )

    def _remove_from_queue(self, turn: QueryTurn) -> None:
        self._followers.pop(turn, None)
        if turn in self._waiting_turns:
            self._waiting_turns.remove(turn)
            self._notify_next()

    def _notify_next(self) -> None:
        """Wake the queries that resume, otherwise the next one; waking all takes as long as a small query."""
        self._turn_freed.notify_all()
        if len(self._held_turns) < self._slot_count:
            next_turn = self._find_next()
        else:
            next_turn = None
        if next_turn is not None and next_turn.notify is not None:
            next_turn.notify()

    def _note_requester(self, requester: str) -> None:
        """Note that a user has a query, and forget users who have none."""
        instant = self._clock()
        self._requesters[requester] = instant
        self._requesters.move_to_end(requester)
        while (
            len(self._requesters) > MAX_REQUESTERS
            or next(iter(self._requesters.values())) < instant - REQUESTER_MEMORY_SECONDS
        ):
            self._last_turn_times.pop(self._requesters.popitem(last=False)[0], None)

    def _is_next(self, turn: QueryTurn) -> bool:
        """Return whether there is a free turn, and no other waiting query comes first."""
        return turn in self._waiting_turns and self._find_next() is turn and self._can_take_slot()

    def _find_next(self) -> QueryTurn | None:
        """Find the next query; none while some wait to resume."""
        if self._returning_count:
            return None
        held_counts = Counter(turn.requester for turn in self._held_turns if turn not in self._idle_turns)
        max_turns = max(int(self._slot_count * MAX_REQUESTER_SHARE), 1)
        if len(self._requesters) == 1:
            candidates = self._waiting_turns
        else:
            candidates = [turn for turn in self._waiting_turns if held_counts[turn.requester] < max_turns]
        return min(
            candidates,
            key=lambda turn: (held_counts[turn.requester], self._last_turn_times.get(turn.requester, 0.0)),
            default=None,
        )

    def _can_come_in_time(self, turn: QueryTurn, remaining_seconds: float) -> bool:
        """Return whether a turn will come in the time that is left.

        If the queue is full, the last query of the user with the most places is removed.
        """
        unpromised = [each for each in self._waiting_turns if not each.is_promised]
        if len(unpromised) > self._place_count:
            places = Counter(each.requester for each in unpromised)
            largest_requester = max(places, key=places.__getitem__)
            displaced_turn = next(
                each
                for each in reversed(unpromised)
                if each.requester
                == (largest_requester if places[largest_requester] > places[turn.requester] else turn.requester)
            )
            self._remove_from_queue(displaced_turn)
            if displaced_turn is turn:
                return False
            if displaced_turn.notify is not None:
                displaced_turn.notify()
        return remaining_seconds > 0 and self._estimate_turn_wait(turn) <= remaining_seconds

    def _estimate_turn_wait(self, turn: QueryTurn) -> float:
        """Estimate the seconds until a waiting query gets a turn."""
        earlier_counts = Counter(each.requester for each in self._waiting_turns[: self._waiting_turns.index(turn)])
        own_count = earlier_counts[turn.requester]  # others go in turns with one's own: as many of each, at most
        return self._estimate_wait(sum(min(count, own_count + 1) for count in earlier_counts.values()))

    def _is_wait_hopeless(self, turn: QueryTurn) -> bool:
        """Check again whether a turn will come in the time that is left.

        The machine may have become slower since the query was admitted.
        """
        remaining_seconds = (turn.wait_until or 0.0) - self._clock()
        waited = 2 * QUEUE_TIMEOUT_SECONDS - remaining_seconds
        return (
            not turn.is_promised
            and waited >= REASSESSMENT_DELAY_SECONDS
            and self._estimate_turn_wait(turn) > remaining_seconds
        )

    def _estimate_wait(self, turns_ahead: int) -> float:
        """Estimate the seconds until a query with this number of queries ahead gets a turn."""
        instant = self._clock()
        held_seconds = sum(instant - each.held_since for each in self._held_turns if each not in self._idle_turns)
        mean_held_seconds = (
            self._mean_turn_seconds * self._slot_count + held_seconds
        ) / self._slot_count  # those that run have not ended: that counts as well
        reclaimable_count = min(
            len(self._idle_turns), MAX_SUSPENDED_PER_SLOT * self._slot_count - self._suspended_count
        )  # those can be had in a moment
        return max(turns_ahead + 1 - reclaimable_count, 0) * mean_held_seconds / self._slot_count

    def _can_take_slot(self, *, returning_count: int = 0) -> bool:
        """Return whether a turn is free; if none is, take one from a query whose client is slow.

        A query that resumes leaves its place among the suspended ones.
        """
        if len(self._held_turns) < self._slot_count:
            return True
        turn = next(iter(self._idle_turns), None)
        if (
            turn is None
            or self._clock() - turn.idle_since < MAX_IDLE_SECONDS
            or self._suspended_count - returning_count >= MAX_SUSPENDED_PER_SLOT * self._slot_count
        ):
            return False
        del self._idle_turns[turn]
        self._release_turn(turn)
        turn.is_suspended = True
        self._suspended_count += 1
        return True

    def _hold_turn(self, turn: QueryTurn) -> None:
        turn.is_held = True
        turn.held_since = self._clock()
        if turn.requester in self._requesters:  # what is known of others is forgotten
            self._last_turn_times[turn.requester] = turn.held_since
        self._held_turns[turn] = None

    def _release_turn(self, turn: QueryTurn) -> None:
        turn.is_held = False
        del self._held_turns[turn]
        if turn.led_prerequisite is None:  # what is computed once for many tells nothing of the next one
            self._mean_turn_seconds += (self._clock() - turn.held_since - self._mean_turn_seconds) / self._slot_count

    def suspend_turn(self, turn: QueryTurn) -> None:
        """Lend the turn to another query while the client takes rows.

        Parameters
        ----------
        turn
            Held.
        """
        with self._turn_freed:
            if turn.is_held:
                turn.idle_since = self._clock()
                self._idle_turns[turn] = None

    def resume_turn(self, turn: QueryTurn, is_cancelled: Callable[[], bool]) -> None:
        """Resume computing; if another query has the turn, wait for a turn without a time limit.

        Parameters
        ----------
        turn
            One that rests.
        is_cancelled
            Asked whether to give up.

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
                while not self._can_take_slot(returning_count=1):
                    if is_cancelled():
                        raise OperationCancelledError("the query was cancelled")
                    self._turn_freed.wait(CANCEL_CHECK_INTERVAL_SECONDS)
            finally:
                self._returning_count -= 1
                self._notify_next()
            if turn.is_suspended:  # not if it was given back meanwhile
                turn.is_suspended = False
                self._suspended_count -= 1
                self._hold_turn(turn)

    def end_turn(self, turn: QueryTurn) -> None:
        """End a turn in any state; it may be called twice.

        Parameters
        ----------
        turn
            Entered, held, resting or ended.
        """
        with self._turn_freed:
            self._remove_from_queue(turn)
            turn.notify = None  # it knows who waited, who knows this
            self._idle_turns.pop(turn, None)
            had_turn = turn.is_suspended or turn.is_held  # what never had a turn leaves nothing behind
            if turn.is_suspended:
                turn.is_suspended = False
                self._suspended_count -= 1
            if turn.is_held:
                self._release_turn(turn)
                self._notify_next()
            is_last = had_turn and not self._held_turns
        self.release_followers(turn)
        if is_last:
            schedule_memory_trim()

    @property
    def running_count(self) -> int:
        """Number of turns that are taken."""
        return len(self._held_turns)


class QueuedExecution(RelayExecution):
    """An execution that waits for its turn before it computes (`hven.engines.QueryExecution`).

    Parameters
    ----------
    start_execution
        Starts the engine; called in the thread that iterates, when the turn has come.
    begun
        What the engine has begun already, and `start_execution` gives: it is closed even if the turn never comes.
    prerequisite
        As `QueryTurn` has it.
    """

    def __init__(
        self,
        query_queue: QueryQueue,
        schema: pa.Schema,
        start_execution: Callable[[], QueryExecution],
        begun: QueryExecution | None = None,
        *,
        prerequisite: Callable[[], Hashable] = lambda: None,
    ) -> None:
        super().__init__(schema, begun)
        self._query_queue = query_queue
        self._start_execution = start_execution
        self._turn = QueryTurn(current_requester.get()(), prerequisite)
        self._exceeded_memory = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            if self.small:  # it is here, without a turn: there is nothing to compute any more
                yield from self._start_execution()
                return
            self._query_queue.wait_for_turn(self._turn, self._is_stopped)
            self._query_queue.memory_watchdog.watch_query(self, self._stop_for_memory)
            execution = self._begin_execution(self._start_execution())
            for batch in execution:
                self._query_queue.release_followers(self._turn)
                self._query_queue.suspend_turn(self._turn)
                yield batch
                self._query_queue.resume_turn(self._turn, self._is_stopped)
        except OperationCancelledError:
            if self._exceeded_memory:
                raise TooLargeError(
                    "the query was ended: the service holds more memory than its queries may use",
                    remedy="select fewer columns or shorter texts, or try again when less is asked",
                ) from None
            raise
        finally:
            self.close()

    def request_turn(self, notify: Callable[[], object]) -> None:
        """Queue for a turn, before a thread is taken for it (`QueryQueue.request_turn`).

        Parameters
        ----------
        notify
            Called, in any thread, when it is worth a look.
        """
        self._query_queue.request_turn(self._turn, notify)

    def is_ready(self) -> bool:
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
        """Free everything, and return the turn."""
        self._query_queue.memory_watchdog.stop_watching_query(self)
        try:
            super().close()
        finally:
            self._query_queue.end_turn(self._turn)
