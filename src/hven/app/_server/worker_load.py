"""What a worker does under load: it refuses requests that waited too long, and closes connections beyond its share.

Refusing: when the event loop is busy without a pause, requests that waited too long are refused, and those of the
client with the most requests first. An event loop is a queue: requests that arrive while it is busy are handled in its
next round. A long queue does no harm if it becomes empty now and then. A standing queue makes every client wait, and
answers clients that have given up (controlled delay, as in CoDel).

Balancing: a busy worker that holds more than its share of the connections with requests closes some, and their clients
open new ones. Workers take connections from one queue, and the first one that wakes up takes all that wait there. Of 32
connections that a proxy opens at once, one worker may get all for as long as they are kept open, and the others are
idle.
"""

from __future__ import annotations

import asyncio
import ctypes
import math
import mmap
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
READINESS_PATH = "/health/ready"
STOPPING_MESSAGE = b"the server is about to stop, and takes no new clients\n"
# Share of its time for which a worker's event loop computes, from which closing connections is worth it. On a machine
# with many other programs, the loop gets only a small share.
MIN_BUSY_SHARE = 0.1
MAX_SILENCE_SECONDS = 2.5  # a worker without a report for this time gets no share
MIN_EXCESS_CONNECTIONS = 2  # a worker closes connections if it has this number more than its share,
MIN_EXCESS_SHARE = 0.25  # and this part of its share more


# --- refusing ---


def _get_loop_iteration_start_time() -> float:
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
        get_loop_round_start: Callable[[], float] = _get_loop_iteration_start_time,
    ) -> None:
        self._get_time = get_time
        self._get_round_start = get_loop_round_start
        self._last_busy = 0.0  # when the loop was last busy
        self._last_idle = 0.0  # when the last pause ended
        self._requests_since_idle = 0
        self._requests_by_client: Counter[str] = Counter()  # by network, while the queue stands
        self._probed_loop: asyncio.AbstractEventLoop | None = None
        self._next_probe: float | None = None  # when the next probe is due
        self._probe_delay = 0.0  # delay of the last probe (s)

    def start_probing(self, loop: asyncio.AbstractEventLoop) -> None:
        """Probe several times a second, from now on, whether the loop is late.

        Parameters
        ----------
        loop
            The event loop of this worker.
        """
        if self._probed_loop is not loop:  # a delay of an earlier loop says nothing about this one
            self._probed_loop = loop
            self._next_probe = None
            self._probe_loop(loop)

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

    def record_request_and_detect_overload(self, scope: Scope) -> bool:
        """Return whether the loop is too far behind for this request, or a server that stops takes no new clients."""
        if scope["path"].endswith(READINESS_PATH) and is_server_draining():
            return True
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
        if self._count_and_detect_greedy_client(services.find_client_network(HTTPConnection(scope))):
            max_wait_seconds = MAX_GREEDY_WAIT_SECONDS
        return now - round_start > max_wait_seconds

    def _count_and_detect_greedy_client(self, client_network: str) -> bool:
        """Count a request, and return whether its client has sent more than half of all while the queue stands."""
        self._requests_by_client[client_network] += 1
        if len(self._requests_by_client) == 1:
            return False
        return self._requests_by_client[client_network] * 2 > self._requests_by_client.total()


async def send_unavailable_response(send: Send) -> None:
    """Answer with status 503, the reason, and when to try again."""
    message = STOPPING_MESSAGE if is_server_draining() else OVERLOAD_MESSAGE
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(message)),
        (b"retry-after", RETRY_AFTER_SECONDS),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": message})


# --- balancing ---


class WorkerConnectionCounts:
    """Reports of all workers in shared memory: each has a number of active connections, and the time of the report.

    The last two numbers say whether the server is about to stop, and when a connection was last left open since then.

    Parameters
    ----------
    workers
        Number of workers.
    get_time, get_cpu_time
        Monotonic clocks (s): the time, and the processor time of this thread.
    """

    def __init__(
        self,
        workers: int,
        get_time: Callable[[], float] = time.monotonic,
        get_cpu_time: Callable[[], float] = time.thread_time,
    ) -> None:
        self._workers = workers
        self._get_time = get_time
        self._get_cpu_time = get_cpu_time
        self._reports = (ctypes.c_double * (2 * workers + 2)).from_buffer(mmap.mmap(-1, 16 * workers + 16))

    def start_draining(self) -> None:
        """Tell all workers that the server is about to stop: they close each connection after its next answer."""
        self._reports[2 * self._workers] = 1.0

    def compute_drain_seconds(self, start_time: float, drain_seconds: float) -> float:
        """Return for how long the server must still drain, so that no client sends a request that nobody reads.

        An answer whose headers were sent before the server began to drain leaves its connection open. From its end, its
        client gets the same time for the next request, but the server drains at most twice as long as it was told.

        Parameters
        ----------
        start_time
            When the server began to drain (s).
        drain_seconds
            How long it should drain.
        """
        last_open_time = max(start_time, self._reports[2 * self._workers + 1])
        return min(last_open_time, start_time + drain_seconds) + drain_seconds - self._get_time()

    def create_worker_balancer(self, worker: int) -> ConnectionBalancer:
        """Create the share of a worker."""
        return ConnectionBalancer(self._reports, worker, self._workers, self._get_time, self._get_cpu_time)


class ConnectionBalancer:
    """The connections of one worker. It is used only by the worker's event loop."""

    def __init__(
        self,
        reports: ctypes.Array[ctypes.c_double],
        worker: int,
        workers: int,
        get_time: Callable[[], float],
        get_cpu_time: Callable[[], float],
    ) -> None:
        self._reports = reports
        self._worker = worker
        self._workers = workers
        self._get_time = get_time
        self._get_cpu_time = get_cpu_time
        self._active_clients: dict[object, None] = {}
        self._excess = 0
        self._last_beat = get_time(), get_cpu_time()

    def set_as_process_balancer(self) -> None:
        """Make this share the one of the process."""
        global _process_share  # noqa: PLW0603  (a process is one worker)
        _process_share = self

    @property
    def is_draining(self) -> bool:
        """Whether the server is about to stop."""
        return bool(self._reports[2 * self._workers])

    def record_open_connection(self) -> None:
        """Record that an answer has ended and left its connection open while the server drains."""
        self._reports[2 * self._workers + 1] = self._get_time()

    def count_request_and_decide_close(self, client: object) -> bool:
        """Count a request on a connection, and return whether to close the connection after the answer."""
        if not self._excess:
            self._active_clients[client] = None
            return False
        self._excess -= 1
        self._active_clients.pop(client, None)
        return True

    def report_and_rebalance(self) -> None:
        """Report the number of active connections, and compare it with that of the others.

        The event loop calls this about once a second.
        """
        last_time, last_cpu_time = self._last_beat
        time_now, cpu_time_now = self._last_beat = self._get_time(), self._get_cpu_time()
        busy_share = (cpu_time_now - last_cpu_time) / max(time_now - last_time, 1e-3)
        own_count = len(self._active_clients)
        self._active_clients.clear()
        own_slot = 2 * self._worker
        self._reports[own_slot : own_slot + 2] = [float(own_count), time_now]
        share = math.ceil(self._compute_mean_connections(time_now))
        excess = own_count - share
        min_excess = max(MIN_EXCESS_CONNECTIONS, share * MIN_EXCESS_SHARE)
        if busy_share > MIN_BUSY_SHARE and excess >= min_excess:
            self._excess = excess
        else:
            self._excess = 0

    def _compute_mean_connections(self, time_now: float) -> float:
        """Return the mean number of active connections of the workers that reported lately, including this one."""
        counts = []
        for slot in range(0, 2 * self._workers, 2):
            count, report_time = self._reports[slot : slot + 2]
            if time_now - report_time < MAX_SILENCE_SECONDS:
                counts.append(count)
        return sum(counts) / len(counts)


_process_share: ConnectionBalancer | None = None


def count_request_and_decide_close(client: object) -> bool:
    """Return whether the connection of a client should be closed after the present answer."""
    return _process_share is not None and client is not None and _process_share.count_request_and_decide_close(client)


def is_server_draining() -> bool:
    """Return whether the server of this process is about to stop."""
    return _process_share is not None and _process_share.is_draining


def record_open_connection() -> None:
    """Record that an answer has ended and left its connection open while the server drains."""
    if _process_share is not None:
        _process_share.record_open_connection()


def report_and_rebalance_connections() -> None:
    """Report the connections of this worker to the others."""
    if _process_share is not None:
        _process_share.report_and_rebalance()
