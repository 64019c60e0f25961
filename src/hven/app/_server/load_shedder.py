"""Shed load: when the event loop is busy without a pause, refuse requests that waited too long.

Requests of the client that asks most are refused first.

An event loop is a queue: what arrives while it is busy is handled in its next round. A long queue does no harm if it
becomes empty now and then. A standing queue makes every client wait, and clients that gave up would be answered all the
same (controlled delay, as CoDel).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection

from hven import services

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Scope, Send

MIN_STANDING_SECONDS = 1.0  # seconds without a pause ..
MIN_STANDING_REQUESTS = 32  # .. and requests meanwhile, after which the queue stands
MIN_IDLE_SECONDS = 0.002  # seconds; a loop tells its time in milliseconds
PROBE_SECONDS = 0.1  # between two looks whether the loop is late
MAX_PROBE_DELAY_SECONDS = (
    0.1  # that a look may be late: with more, other programs have the processor, or the loop has too much to do
)
MAX_WAIT_SECONDS = 0.025  # seconds that a request may have waited in its round while the queue stands ..
MAX_GREEDY_WAIT_SECONDS = 0.005  # .. and one of an address that has sent more than half of all since
RETRY_AFTER_SECONDS = b"2"  # seconds
OVERLOAD_MESSAGE = b"the service is asked more than it can answer at the moment; try again in a few seconds\n"
ALWAYS_SERVED_PATH = "/health/live"  # costs no more than to refuse


def _get_round_start() -> float:
    """Return the moment at which the loop began its round: uvloop looks at the clock once in each."""
    return asyncio.get_running_loop().time()


class LoadShedder:
    """What the edge asks of each request first.

    Parameters
    ----------
    get_time, get_round_start
        Seconds that only grow: now, and when the loop began its round.
    """

    def __init__(
        self, get_time: Callable[[], float] = time.monotonic, get_round_start: Callable[[], float] = _get_round_start
    ) -> None:
        self._get_time = get_time
        self._get_round_start = get_round_start
        self._last_busy = 0.0  # when the loop was last seen busy
        self._last_idle = 0.0  # when it last was not, before that
        self._requests_since_idle = 0  # requests since then
        self._requests_by_client: Counter[str] = Counter()  # by address, while the queue stands
        self._next_probe: float | None = None  # when the next look at the loop should be
        self._probe_delay = 0.0  # seconds by which the last one was late

    def start_probing(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look from now on, several times a second, whether the loop is late.

        Parameters
        ----------
        loop
            That of this worker.
        """
        if self._next_probe is None:
            self.record_probe()
            loop.call_later(PROBE_SECONDS, self._probe, loop)

    def _probe(self, loop: asyncio.AbstractEventLoop) -> None:
        self.record_probe()
        loop.call_later(PROBE_SECONDS, self._probe, loop)

    def record_probe(self) -> None:
        """Note that the loop has come to a look, late or in time."""
        now = self._get_time()
        if self._next_probe is None:
            self._probe_delay = 0.0
        else:
            self._probe_delay = now - self._next_probe
        self._next_probe = now + PROBE_SECONDS

    @property
    def is_late(self) -> bool:
        """Whether the loop is behind: what looks like a pause is none then, for the loop was kept from running."""
        return self._probe_delay > MAX_PROBE_DELAY_SECONDS

    def record_busy(self) -> None:
        """Note that the loop has just done something."""
        self._last_busy = self._get_time()

    async def send_overload(self, send: Send) -> None:
        """Ask a reader to come again."""
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(OVERLOAD_MESSAGE)),
            (b"retry-after", RETRY_AFTER_SECONDS),
        ]
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": OVERLOAD_MESSAGE})

    def is_overloaded(self, scope: Scope) -> bool:
        """Return whether the loop is too far behind for this request."""
        round_start = self._get_round_start()
        if round_start - self._last_busy > MIN_IDLE_SECONDS and not self.is_late:
            self._last_idle = round_start
            self._requests_since_idle = 0
            self._requests_by_client.clear()
        self._requests_since_idle += 1
        now = self._last_busy = self._get_time()
        if (
            now - self._last_idle < MIN_STANDING_SECONDS
            or self._requests_since_idle < MIN_STANDING_REQUESTS
            or scope["path"] == ALWAYS_SERVED_PATH
        ):
            return False
        client_network = services.find_client_network(HTTPConnection(scope))
        self._requests_by_client[client_network] += 1
        is_greedy = (
            self._requests_by_client[client_network] * 2 > self._requests_by_client.total()
            and len(self._requests_by_client) > 1
        )
        return now - round_start > (MAX_GREEDY_WAIT_SECONDS if is_greedy else MAX_WAIT_SECONDS)


__all__ = ["LoadShedder"]
