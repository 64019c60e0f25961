"""Turns: so many big queries compute at once in a process, those whose turn will come soon wait, the rest is told at once to come back."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter, OrderedDict
from contextvars import ContextVar
from typing import TYPE_CHECKING, NoReturn

from hven.engines import Relay
from hven.model.errors import Cancelled, Overloaded, TooLarge
from hven.query.memory import Ceiling, tidy

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    import pyarrow as pa

    from hven.engines import Execution


WAIT = 5.0  # seconds that a big query waits for its turn before its reader is told to come back
LOOK = 0.1  # seconds between two looks whether its reader is still there
IDLE = 0.5  # seconds that a reader may take over a batch before another query may have the turn
ASIDE = 4  # queries that may stand aside without a turn, for each turn: each keeps what it has computed
USUAL = 0.1  # seconds that a turn is taken to be held before anything is known
SHARE = 0.75  # of the turns, that one asker may hold when there are others
ALONE = 60.0  # seconds after which somebody who asks no more is nobody else
ASKERS = 4096  # that are remembered
JUDGED_AGAIN = 0.5  # seconds after which a query that waits is judged as a new one is
FOLLOW_SECONDS = 20.0  # that a query waits for what another one computes for both
MAX_FOLLOWERS = 4096  # of one process
MAX_FUTILE = 256  # prerequisites that cannot be kept, which are remembered
REMEDY = "try again in a few seconds"
#: Gives for whom a query runs: an account, else an address. What nobody asked for over HTTP is one asker.
asker: ContextVar[Callable[[], str]] = ContextVar("asker", default=str)


class Turn:
    """The turn of one query: held or not; idle since its reader has rows to take away.

    Parameters
    ----------
    who
        For whom the query runs.
    prerequisite
        Gives what must be computed before the query, once for all that need the same; None: nothing, or no more.
    """

    __slots__ = ("aside", "begun", "came", "held", "leads", "prerequisite", "promised", "since", "until", "who")

    def __init__(self, who: str = "", prerequisite: Callable[[], Hashable] = lambda: None) -> None:
        self.who = who
        self.prerequisite = prerequisite
        self.leads: Hashable = None  # the prerequisite that this query computes for others
        self.promised = False  # it waited for another query's computing, and is not refused afterwards
        self.held = False
        self.aside = False  # it was held, and another query has it now
        self.begun = 0.0
        self.since = 0.0
        self.until: float | None = None  # when it gives the waiting up, once it has a place
        self.came: Callable[[], object] | None = None  # tells who waits to look again


class Turns:
    """The turns of one process. Thread-safe.

    A query holds its turn while it computes. Slow readers do not block it: who has taken nothing for a while loses the turn to a
    query that waits, and gets one again, before all new ones, when its reader comes for more. Of those that wait the one goes first
    whose asker holds the fewest turns, and had one the longest ago. How long turns were held of late tells whether one comes in
    time: who would wait in vain is refused at once, and who was let in waits twice as long as was expected before it is refused all
    the same.

    Parameters
    ----------
    number
        Of queries that run at once.
    places
        Of queries that may wait; None: as many.
    clock
        Seconds that only grow.
    ceiling
        Of the memory that queries take; None: there is none.
    """

    def __init__(
        self,
        number: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        places: int | None = None,
        ceiling: Ceiling | None = None,
    ) -> None:
        self._number = number
        self._places = number if places is None else places
        self._clock = clock
        self.ceiling = ceiling or Ceiling(sys.maxsize)
        self._lock = threading.RLock()
        self._free = threading.Condition(self._lock)  # for those that come back
        self._held: dict[Turn, None] = {}
        self._queue: list[Turn] = []  # those that wait, the longest first
        self._asking: OrderedDict[str, float] = OrderedDict()  # who was here of late, and when
        self._had: dict[str, float] = {}  # who of those had a turn last, and when
        self._usual = USUAL  # seconds that a turn is held, of late
        self._aside = 0
        self._returning = 0
        self._idle: OrderedDict[Turn, None] = OrderedDict()  # those whose reader has rows, the longest idle first
        self._leaders: dict[Hashable, Turn] = {}  # prerequisite -> the query that computes it
        self._followers: dict[Turn, Hashable] = {}  # queries that wait for that, without a place in the queue
        self._futile: OrderedDict[Hashable, None] = OrderedDict()  # prerequisites that were tried and cannot be kept

    def enter(self, turn: Turn, came: Callable[[], object]) -> None:
        """Queue for a turn; costs no time.

        Parameters
        ----------
        turn
            Not entered yet.
        came
            Called, in any thread, when it is worth a look whether the turn is `ready`.

        Raises
        ------
        Overloaded
            Too many wait already, or it would take too long.
        """
        prerequisite = turn.prerequisite()
        with self._free:
            self._note(turn.who)
            if prerequisite is not None and prerequisite not in self._futile:
                if prerequisite in self._leaders and len(self._followers) < MAX_FOLLOWERS:
                    self._followers[turn] = prerequisite
                    turn.until = self._clock() + FOLLOW_SECONDS
                    turn.came = came
                    return
                self._leaders[prerequisite] = turn
                turn.leads = prerequisite
            self._queue.append(turn)
            if not self._is_next(turn) and not self._will_come(turn, WAIT):
                self._refuse(turn)
            turn.until = self._clock() + 2 * WAIT
            turn.came = came

    def land(self, turn: Turn) -> None:
        """Let those go on who wait for what this query has computed, or could not; costs nothing if there are none.

        Parameters
        ----------
        turn
            Of that query.
        """
        if turn.leads is None:
            return
        lacking = turn.prerequisite() == turn.leads
        with self._free:
            led, turn.leads = turn.leads, None
            if self._leaders.get(led) is not turn:
                return
            del self._leaders[led]
            if lacking and turn.begun:  # it ran, and nothing was kept: the next ones need not wait for another attempt
                self._futile[led] = None
                while len(self._futile) > MAX_FUTILE:
                    self._futile.popitem(last=False)
            followers = [each for each, awaited in self._followers.items() if awaited == led]
            if not turn.begun and followers:  # it never ran: the next one computes
                followers = followers[:1]
                self._leaders[led], followers[0].leads = followers[0], led
            for follower in followers:
                self._promote(follower)
                if follower.came is not None:
                    follower.came()

    def _promote(self, turn: Turn) -> None:
        """Give a query that waited for another one its place in the queue."""
        del self._followers[turn]
        turn.promised = True
        turn.until = self._clock() + 2 * WAIT
        self._queue.append(turn)

    def _has_followed(self, turn: Turn) -> bool:
        """Look whether a query that waits for another one may go on; it is refused when that takes too long."""
        if self._clock() >= (turn.until or 0.0):
            self._refuse(turn)
        if turn.prerequisite() is not None:
            return False
        self._promote(turn)
        return True

    def ready(self, turn: Turn) -> bool:
        """Hold the turn if it has come; it is returned by `give_back`.

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
        Overloaded
            It took too long, or others needed the place.
        """
        with self._free:
            if turn.held:
                return True
            if turn in self._followers and not self._has_followed(turn):
                return False
            if not self._is_next(turn):
                if turn not in self._queue or self._clock() >= (turn.until or 0.0) or self._waits_in_vain(turn):
                    self._refuse(turn)
                return False
            self._hold(turn)
            self._leave(turn)
            return True

    def take(self, turn: Turn, stopped: Callable[[], bool]) -> None:
        """Wait in this thread until the turn is `ready`, if it is not yet.

        Parameters
        ----------
        turn
            Entered or not.
        stopped
            Asked whether to give up.

        Raises
        ------
        Overloaded
            Too many wait already, or it would take too long, or it took too long.
        Cancelled
            `stopped` became true.
        """
        told = threading.Event()
        with self._free:
            if turn.until is None:
                self.enter(turn, told.set)
            turn.came = told.set
        while not self.ready(turn):
            if stopped():
                raise Cancelled("the query was cancelled before its turn came")
            told.wait(LOOK)
            told.clear()

    def _refuse(self, turn: Turn) -> NoReturn:
        self._leave(turn)
        after = self._expected(len(self._queue))
        raise Overloaded("too many queries run and wait at the moment", remedy=REMEDY, seconds=after)

    def _leave(self, turn: Turn) -> None:
        self._followers.pop(turn, None)
        if turn in self._queue:
            self._queue.remove(turn)
            self._call()

    def _call(self) -> None:
        """Wake those that come back, else the one that is next: to wake all of them takes as long as a small query."""
        self._free.notify_all()
        following = self._following() if len(self._held) < self._number else None
        if following is not None and following.came is not None:
            following.came()

    def _note(self, who: str) -> None:
        """Remember that somebody asks, and forget who asks no more."""
        moment = self._clock()
        self._asking[who] = moment
        self._asking.move_to_end(who)
        while len(self._asking) > ASKERS or next(iter(self._asking.values())) < moment - ALONE:
            self._had.pop(self._asking.popitem(last=False)[0], None)

    def _is_next(self, turn: Turn) -> bool:
        """Return whether there is a turn and none that waits comes first."""
        return turn in self._queue and self._following() is turn and self._there_is_one()

    def _following(self) -> Turn | None:
        """Find who is next; nobody while there are some that come back."""
        if self._returning:
            return None
        held = Counter(each.who for each in self._held if each not in self._idle)
        most = max(int(self._number * SHARE), 1)
        allowed = self._queue if len(self._asking) == 1 else [each for each in self._queue if held[each.who] < most]
        return min(allowed, key=lambda each: (held[each.who], self._had.get(each.who, 0.0)), default=None)

    def _will_come(self, turn: Turn, left: float) -> bool:
        """Return whether a turn will come in the time that is left; in a full queue the last one of who has most places makes room."""
        unpromised = [each for each in self._queue if not each.promised]
        if len(unpromised) > self._places:
            places = Counter(each.who for each in unpromised)
            greedy = max(places, key=places.__getitem__)
            last = next(
                each
                for each in reversed(unpromised)
                if each.who == (greedy if places[greedy] > places[turn.who] else turn.who)
            )
            self._leave(last)
            if last is turn:
                return False
            if last.came is not None:
                last.came()
        return left > 0 and self._expected_of(turn) <= left

    def _expected_of(self, turn: Turn) -> float:
        """Estimate the seconds until a turn comes to one that waits."""
        before = Counter(each.who for each in self._queue[: self._queue.index(turn)])
        mine = before[turn.who]  # others go in turns with one's own: as many of each, at most
        return self._expected(sum(min(count, mine + 1) for count in before.values()))

    def _waits_in_vain(self, turn: Turn) -> bool:
        """Judge once more whether a turn will come in the time that is left: the machine may have become slower since it was let in."""
        left = (turn.until or 0.0) - self._clock()
        waited = 2 * WAIT - left
        return not turn.promised and waited >= JUDGED_AGAIN and self._expected_of(turn) > left

    def _expected(self, ahead: int) -> float:
        """Estimate the seconds until a turn comes to who has so many ahead."""
        moment = self._clock()
        ages = sum(moment - each.begun for each in self._held if each not in self._idle)
        held = (self._usual * self._number + ages) / self._number  # those that run have not ended: that counts as well
        idle = min(len(self._idle), ASIDE * self._number - self._aside)  # those can be had in a moment
        return max(ahead + 1 - idle, 0) * held / self._number

    def _there_is_one(self, *, returning: int = 0) -> bool:
        """Return whether a turn is free; if none is, take one from a reader who is long about it. Who returns makes room aside."""
        if len(self._held) < self._number:
            return True
        turn = next(iter(self._idle), None)
        if turn is None or self._clock() - turn.since < IDLE or self._aside - returning >= ASIDE * self._number:
            return False
        del self._idle[turn]
        self._let_go(turn)
        turn.aside = True
        self._aside += 1
        return True

    def _hold(self, turn: Turn) -> None:
        turn.held = True
        turn.begun = self._clock()
        if turn.who in self._asking:  # what is known of others is forgotten
            self._had[turn.who] = turn.begun
        self._held[turn] = None

    def _let_go(self, turn: Turn) -> None:
        turn.held = False
        del self._held[turn]
        if turn.leads is None:  # what is computed once for many tells nothing of the next one
            self._usual += (self._clock() - turn.begun - self._usual) / self._number

    def rest(self, turn: Turn) -> None:
        """Lend the turn while rows are handed to the reader: as long as they take, another query may have it.

        Parameters
        ----------
        turn
            Held.
        """
        with self._free:
            if turn.held:
                turn.since = self._clock()
                self._idle[turn] = None

    def resume(self, turn: Turn, stopped: Callable[[], bool]) -> None:
        """Resume computing; if another query has the turn, wait for one, however long it takes.

        Parameters
        ----------
        turn
            One that rests.
        stopped
            Asked whether to give up.

        Raises
        ------
        Cancelled
            `stopped` became true.
        """
        with self._free:
            self._idle.pop(turn, None)
            if turn.held:
                return
            self._returning += 1
            try:
                while not self._there_is_one(returning=1):
                    if stopped():
                        raise Cancelled("the query was cancelled")
                    self._free.wait(LOOK)
            finally:
                self._returning -= 1
                self._call()
            if turn.aside:  # not if it was given back meanwhile
                turn.aside = False
                self._aside -= 1
                self._hold(turn)

    def give_back(self, turn: Turn) -> None:
        """End a turn, wherever it is; may be called twice.

        Parameters
        ----------
        turn
            Entered, held, resting or ended.
        """
        with self._free:
            self._leave(turn)
            turn.came = None  # it knows who waited, who knows this
            self._idle.pop(turn, None)
            began = turn.aside or turn.held  # what never had a turn leaves nothing behind
            if turn.aside:
                turn.aside = False
                self._aside -= 1
            if turn.held:
                self._let_go(turn)
                self._call()
            quiet = began and not self._held
        self.land(turn)
        if quiet:
            tidy()

    @property
    def running(self) -> int:
        """How many turns are taken."""
        return len(self._held)


class InTurn(Relay):
    """An execution that waits for its turn before it computes (`hven.engines.Execution`).

    Parameters
    ----------
    begin
        Starts the engine; called in the thread that iterates, when the turn has come.
    begun
        What the engine has begun already, and `begin` gives: it is closed even if the turn never comes.
    prerequisite
        As `Turn` has it.
    """

    def __init__(
        self,
        turns: Turns,
        schema: pa.Schema,
        begin: Callable[[], Execution],
        begun: Execution | None = None,
        *,
        prerequisite: Callable[[], Hashable] = lambda: None,
    ) -> None:
        super().__init__(schema, begun)
        self._turns = turns
        self._start = begin
        self._turn = Turn(asker.get()(), prerequisite)
        self._excess = False

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            if self.small:  # it is here, without a turn: there is nothing to compute any more
                yield from self._start()
                return
            self._turns.take(self._turn, self._stopped)
            self._turns.ceiling.enter(self, self._exceed)
            execution = self._begin(self._start())
            for batch in execution:
                self._turns.land(self._turn)
                self._turns.rest(self._turn)
                yield batch
                self._turns.resume(self._turn, self._stopped)
        except Cancelled:
            if self._excess:
                raise TooLarge(
                    "the query was ended: the service holds more memory than its queries may use",
                    remedy="select fewer columns or shorter texts, or try again when less is asked",
                ) from None
            raise
        finally:
            self.close()

    def enter(self, came: Callable[[], object]) -> None:
        """Queue for a turn, before a thread is taken for it (`Turns.enter`).

        Parameters
        ----------
        came
            Called, in any thread, when it is worth a look.
        """
        self._turns.enter(self._turn, came)

    def ready(self) -> bool:
        """Return whether the turn has come (`Turns.ready`).

        Raises
        ------
        Cancelled
            The query was stopped before.
        """
        if self._stopped():
            raise Cancelled("the query was cancelled before its turn came")
        return self._turns.ready(self._turn)

    def _exceed(self) -> None:
        """Stop because too much memory is held."""
        self._excess = True
        self.cancel()

    def close(self) -> None:
        """Free everything and give the turn back."""
        self._turns.ceiling.leave(self)
        try:
            super().close()
        finally:
            self._turns.give_back(self._turn)
