"""The door: a loop that has been busy without a pause refuses at once what has waited too long, and first what comes from who asks most.

An event loop is a queue: what arrives while it is busy is handled in its next round. A long queue is no fault, as long as it becomes empty now and
then; one that stands would make everybody wait, and those who give up waiting would be answered all the same (controlled delay, as CoDel).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection

from hven import services as dali

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Scope, Send

STANDING = 1.0  # seconds without a pause ..
MANY = 32  # .. and requests meanwhile, after which the queue stands
PAUSE = 0.002  # seconds; a loop tells its time in milliseconds
PROBE_SECONDS = 0.1  # between two looks whether the loop is late
LATE_SECONDS = (
    0.1  # that a look may be late: with more, other programs have the processor, or the loop has too much to do
)
LONGEST = 0.025  # seconds that a request may have waited in its round while the queue stands ..
GREEDY = 0.005  # .. and one of an address that has sent more than half of all since
AFTER = b"2"  # seconds
SORRY = b"the service is asked more than it can answer at the moment; try again in a few seconds\n"
ALWAYS = "/health/live"  # costs no more than to refuse


def _round() -> float:
    """Return the moment at which the loop began its round: uvloop looks at the clock once in each."""
    return asyncio.get_running_loop().time()


class Door:
    """What the edge asks of each request first.

    Parameters
    ----------
    clock, begun
        Seconds that only grow: now, and when the loop began its round.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, begun: Callable[[], float] = _round) -> None:
        self._clock = clock
        self._begun = begun
        self._busy = 0.0  # when the loop was last seen busy
        self._paused = 0.0  # when it last was not, before that
        self._since = 0  # requests since then
        self._asked: Counter[str] = Counter()  # by address, while the queue stands
        self._due: float | None = None  # when the next look at the loop should be
        self._late = 0.0  # seconds by which the last one was late

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look from now on, several times a second, whether the loop is late.

        Parameters
        ----------
        loop
            That of this worker.
        """
        if self._due is None:
            self.note_look()
            loop.call_later(PROBE_SECONDS, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self.note_look()
        loop.call_later(PROBE_SECONDS, self._look, loop)

    def note_look(self) -> None:
        """Note that the loop has come to a look, late or in time."""
        now = self._clock()
        self._late = 0.0 if self._due is None else now - self._due
        self._due = now + PROBE_SECONDS

    @property
    def late(self) -> bool:
        """Whether the loop is behind: what looks like a pause is none then, for the loop was kept from running."""
        return self._late > LATE_SECONDS

    def busy(self) -> None:
        """Note that the loop has just done something."""
        self._busy = self._clock()

    async def refuse(self, send: Send) -> None:
        """Ask a reader to come again."""
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(SORRY)),
            (b"retry-after", AFTER),
        ]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": SORRY})

    def full(self, scope: Scope) -> bool:
        """Return whether the loop is too far behind for this request."""
        begun = self._begun()
        if begun - self._busy > PAUSE and not self.late:
            self._paused, self._since = begun, 0
            self._asked.clear()
        self._since += 1
        now = self._busy = self._clock()
        if now - self._paused < STANDING or self._since < MANY or scope["path"] == ALWAYS:
            return False
        who = dali.network(HTTPConnection(scope))
        self._asked[who] += 1
        greedy = self._asked[who] * 2 > self._asked.total() and len(self._asked) > 1
        return now - begun > (GREEDY if greedy else LONGEST)


__all__ = ["Door"]
