"""Shed load: when the event loop is busy without a pause, refuse requests that waited too long.

Requests of the client with the most requests are refused first.

An event loop is a queue: requests that arrive while it is busy are handled in its next round. A long queue does no harm
if it becomes empty now and then. A standing queue makes every client wait, and answers clients that have given up
(controlled delay, as in CoDel).
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

# The queue stands after this time without a pause, with at least this number of requests in it.
MIN_STANDING_SECONDS = 1.0
MIN_STANDING_REQUESTS = 32
MIN_IDLE_SECONDS = 0.002  # length of a pause; the clock of an event loop has milliseconds
PROBE_SECONDS = 0.1  # time between two probes of the loop
# A later probe means that other programs have the processor, or that the loop has too much to do.
MAX_PROBE_DELAY_SECONDS = 0.1
# Time that a request may have waited in its round while the queue stands. The shorter one is for a client that has sent
# more than half of all requests since the queue began to stand.
MAX_WAIT_SECONDS = 0.025
MAX_GREEDY_WAIT_SECONDS = 0.005
RETRY_AFTER_SECONDS = b"2"
OVERLOAD_MESSAGE = b"the service receives more requests than it can handle at the moment; try again in a few seconds\n"
ALWAYS_SERVED_PATH = "/health/live"  # its answer costs no more than a refusal


def _get_loop_round_start() -> float:
    """Return the time at which the present round of the loop began: uvloop reads the clock once in each round."""
    return asyncio.get_running_loop().time()


class LoadShedder:
    """Decide for each request whether the event loop is too busy for it.

    Parameters
    ----------
    get_time, get_loop_round_start
        Monotonic clocks (s): the time, and the beginning of the loop's present round.
    """

    def __init__(
        self,
        get_time: Callable[[], float] = time.monotonic,
        get_loop_round_start: Callable[[], float] = _get_loop_round_start,
    ) -> None:
        self._get_time = get_time
        self._get_round_start = get_loop_round_start
        self._last_busy = 0.0  # when the loop was last busy
        self._last_idle = 0.0  # when the last pause ended
        self._requests_since_idle = 0
        self._requests_by_client: Counter[str] = Counter()  # by network, while the queue stands
        self._next_probe: float | None = None  # when the next probe is due
        self._probe_delay = 0.0  # delay of the last probe (s)

    def start_probing(self, loop: asyncio.AbstractEventLoop) -> None:
        """Probe several times a second, from now on, whether the loop is late.

        Parameters
        ----------
        loop
            The event loop of this worker.
        """
        if self._next_probe is None:
            self.record_probe_delay()
            loop.call_later(PROBE_SECONDS, self._probe_loop, loop)

    def _probe_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        self.record_probe_delay()
        loop.call_later(PROBE_SECONDS, self._probe_loop, loop)

    def record_probe_delay(self) -> None:
        """Record the delay of a probe that runs now."""
        now = self._get_time()
        if self._next_probe is None:
            self._probe_delay = 0.0
        else:
            self._probe_delay = now - self._next_probe
        self._next_probe = now + PROBE_SECONDS

    @property
    def is_loop_late(self) -> bool:
        """Whether the loop is behind. A gap between requests is then not a pause: the loop was kept from running."""
        return self._probe_delay > MAX_PROBE_DELAY_SECONDS

    def record_loop_activity(self) -> None:
        """Record that the loop has just done something."""
        self._last_busy = self._get_time()

    async def send_overload_response(self, send: Send) -> None:
        """Answer that the service is overloaded, and when to try again."""
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
        if round_start - self._last_busy > MIN_IDLE_SECONDS and not self.is_loop_late:
            self._last_idle = round_start
            self._requests_since_idle = 0
            self._requests_by_client.clear()
        self._requests_since_idle += 1
        now = self._last_busy = self._get_time()
        is_queue_short = now - self._last_idle < MIN_STANDING_SECONDS
        if is_queue_short or self._requests_since_idle < MIN_STANDING_REQUESTS or scope["path"] == ALWAYS_SERVED_PATH:
            return False
        max_wait_seconds = MAX_WAIT_SECONDS
        if self._is_greedy(services.find_client_network(HTTPConnection(scope))):
            max_wait_seconds = MAX_GREEDY_WAIT_SECONDS
        return now - round_start > max_wait_seconds

    def _is_greedy(self, client_network: str) -> bool:
        """Count a request, and return whether its client has sent more than half of all while the queue stands."""
        self._requests_by_client[client_network] += 1
        if len(self._requests_by_client) == 1:
            return False
        return self._requests_by_client[client_network] * 2 > self._requests_by_client.total()


__all__ = ["LoadShedder"]
