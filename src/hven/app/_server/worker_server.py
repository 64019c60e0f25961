"""The worker processes of a server, which take connections from one queue.

A worker that dies or hangs is replaced at once. While no worker answers, the server itself answers with status 503.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import resource
import select
import signal
import socket
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from granian.net import SocketHolder, SocketSpec
from granian.server.mp import MPServer

from hven.app._server.worker_load import ConnectionBalancer, WorkerConnectionCounts
from hven.jobs import child_processes
from hven.jobs.hang_detector import HungProcessDetector
from hven.model import deadlines
from hven.model.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("hven")

CHECK_INTERVAL_SECONDS = 0.25  # time between two checks of the workers
KILL_GRACE_SECONDS = 5.0  # time in which a killed worker should have ended
START_GRACE_SECONDS = 60.0  # time that a worker gets to open the site
WORKER_NAME = "hven-worker"  # name of its process, once it has opened the site
MAX_ABSENCE_SECONDS = 2.5  # time without a worker that takes connections, after which clients get status 503
# The same, if workers hold all connections that they may, and others wait at each check.
MAX_FULL_SECONDS = 1.0
# Workers that die sooner than this, one after the other, are restarted with increasing delays, up to the maximum.
MIN_LIFE_SECONDS = 5.0
MAX_RESTART_DELAY_SECONDS = 10.0
AFTER_CRASH_VARIABLE = "HVEN_AFTER_CRASH"  # set in a worker whose predecessor crashed
MAX_START_ATTEMPTS = 3  # a server ends if no worker could start with this number of attempts
LISTEN_BACKLOG = 4096  # connections that wait to be taken: as many as Linux allows by default
SPARE_FILES = 512  # open files that are not connections
MIN_OPEN_FILES = 64  # with this number of open files, a worker can answer a few clients
MAX_OPEN_FILES = 65536  # the server does not ask for more
WAITING_CLIENT_SECONDS = 1.0  # time that a connection stays open to get status 503
UNAVAILABLE_RESPONSE = (
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Type: text/plain\r\nContent-Length: "
    "{}\r\nConnection: close\r\n\r\n{}"
)
RESTARTING_MESSAGE = "the service is restarting; try again in a few seconds\n"
FULL_MESSAGE = "the service has too many connections at the moment; try again in a few seconds\n"


def raise_connection_limit() -> int:
    """Raise the limit of open files as far as the system allows, and return how many connections a worker may hold.

    Raises
    ------
    UserError
        The limit is too low for a server.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target_limit = MAX_OPEN_FILES
    if hard != resource.RLIM_INFINITY:
        target_limit = min(hard, MAX_OPEN_FILES)
    if soft < target_limit:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (target_limit, hard))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit < MIN_OPEN_FILES:
        raise UserError(
            f"this account can open only {limit} files at a time, but a server needs at least {MIN_OPEN_FILES}",
            remedy="raise the limit with `ulimit -n 4096`, or with LimitNOFILE=4096 in its systemd unit",
        )
    return max(limit - SPARE_FILES, limit // 4)


class WorkerServer(MPServer):  # type: ignore[misc]  # MPServer is not typed
    """granian's server of several processes, with one queue of connections, and with heartbeats of the workers.

    granian's own queue belongs to a worker: its connections are lost when the worker dies, and wait while it hangs. And
    granian's server ends when a worker dies twice.

    Parameters
    ----------
    on_stop
        Called when the server is told to stop, before the workers are.
    on_listening
        Called when clients can connect.
    on_check
        Called several times a second while the server runs.
    activation_socket
        The listening socket that a service manager has passed to this process; None: the server opens its own.
    drain_seconds
        Time for which a server that is told to stop closes each connection after its next answer. Clients that use
        their connections do not lose a request when the server then closes the rest.
    """

    def __init__(
        self,
        *arguments: Any,
        on_stop: Callable[[], None],
        on_listening: Callable[[], None],
        on_check: Callable[[], object],
        activation_socket: socket.socket | None = None,
        drain_seconds: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._activation_socket = activation_socket
        self._drain_seconds = drain_seconds
        self._on_stop = on_stop
        self._on_listening = on_listening
        self._on_check = on_check
        self._pulses: dict[int, child_processes.ProcessHeartbeat] = {}
        self._detectors: dict[int, tuple[int, HungProcessDetector]] = {}  # with the id of the process
        self._shares = WorkerConnectionCounts(self.workers)
        self._start_times: dict[int, float] = {}
        self._early_deaths: dict[int, int] = {}  # number of successive short lives
        self._crashed_workers: set[int] = set()  # indices whose last worker was ended by a crash signal
        self._restart_times: dict[int, float] = {}
        self._has_served = False  # a worker has taken connections
        self._last_served = time.monotonic()  # when a worker last could take connections
        self._waiting_connections: dict[socket.socket, float] = {}  # with the time at which each is closed

    def _init_shared_socket(self) -> None:
        """Open the queue from which all workers take connections."""
        if self._activation_socket is None:
            self._shd = SocketSpec(self.bind_addr, self.bind_port, LISTEN_BACKLOG).build()
        else:
            self._shd = SocketHolder(self._activation_socket.detach(), False, LISTEN_BACKLOG)
        self._ssp = None
        fileno = self._shd.get_fd()
        self._sso = socket.socket(fileno=fileno)
        self._sso.set_inheritable(True)
        self._sso.setblocking(False)
        self._sso.listen(LISTEN_BACKLOG)
        self._on_listening()

    def _spawn_worker(self, idx: int, target: Any, callback_loader: Callable[[], Any]) -> Any:
        pulse = self._pulses[idx] = child_processes.ProcessHeartbeat(START_GRACE_SECONDS)
        self._start_times[idx] = time.monotonic()
        load_application = partial(
            _prepare_worker_and_load_application,
            idx,
            pulse,
            self._shares.create_worker_balancer(idx),
            callback_loader,
            os.getpid(),
            is_after_crash=idx in self._crashed_workers,
        )
        return super()._spawn_worker(idx, target, load_application)

    def _serve_loop(self, spawn_target: Any, target_loader: Any) -> None:
        """Watch the workers until the server is told to stop."""
        last_check = time.monotonic()
        while not self.interrupt_signal:
            self.main_loop_interrupt.wait(CHECK_INTERVAL_SECONDS)
            self.main_loop_interrupt.clear()
            if self.interrupt_signal:
                return
            check_time = time.monotonic()
            # After a longer gap, this process or the machine was suspended, and maybe the workers, too.
            if check_time - last_check < child_processes.HEARTBEAT_TIMEOUT_SECONDS / 2:
                self._kill_hung_worker()
            last_check = check_time
            self._on_check()
            self._schedule_restarts(check_time)
            if not self._has_served and max(self._early_deaths.values(), default=0) >= MAX_START_ATTEMPTS:
                log.error("no worker can start, so the server stops")
                self.interrupt_children.append(0)
                return
            for idx, restart_time in list(self._restart_times.items()):
                if restart_time <= check_time:
                    del self._restart_times[idx]
                    self._respawn_workers([idx], spawn_target, target_loader)
            if self.reload_signal:
                self._reload(spawn_target, target_loader)
            self._refuse_clients_without_worker(check_time)

    def _kill_hung_worker(self) -> None:
        """Kill a worker that hangs; its end is then handled as that of any other.

        Only one is killed at a time: the next one is killed after this one is replaced.
        """
        hung_workers = [
            worker for worker in self.wrks if self._get_hung_process_detector(worker).is_hung() and worker.is_alive()
        ]
        is_starting = any(pulse.get_silent_seconds() < 0 for pulse in self._pulses.values())
        if not hung_workers or self._restart_times or is_starting:
            return
        worker = max(hung_workers, key=lambda hung_worker: self._pulses[hung_worker.idx].get_silent_seconds())
        silent_seconds = self._pulses[worker.idx].get_silent_seconds()
        pid = worker.inner.pid
        log.error(
            "killing worker %d (process %d), which has not sent a heartbeat for %.0f s",
            worker.idx + 1,
            pid,
            silent_seconds,
        )
        child_processes.send_signal(pid, signal.SIGKILL)
        # in this time, no other worker is killed, nor this one again
        self._pulses[worker.idx].set_grace_period(KILL_GRACE_SECONDS)

    def _get_hung_process_detector(self, worker: Any) -> HungProcessDetector:
        pid = worker.inner.pid
        pid_and_detector = self._detectors.get(worker.idx)
        if pid_and_detector is None or pid_and_detector[0] != pid:
            pid_and_detector = self._detectors[worker.idx] = pid, HungProcessDetector(self._pulses[worker.idx], pid)
        return pid_and_detector[1]

    def _schedule_restarts(self, check_time: float) -> None:
        """Schedule the restart of workers that have ended: at once, or later if they repeatedly live only shortly."""
        while self.interrupt_children:
            idx = self.interrupt_children.pop()
            exit_code = next((worker.inner.exitcode for worker in self.wrks if worker.idx == idx), None) or 0
            if -exit_code in child_processes.CRASH_SIGNALS:
                self._crashed_workers.add(idx)
            else:
                self._crashed_workers.discard(idx)
            self._has_served = self._has_served or self._pulses[idx].get_silent_seconds() >= 0
            death_count = 0
            if check_time - self._start_times[idx] < MIN_LIFE_SECONDS:
                death_count = self._early_deaths.get(idx, 0) + 1
            self._early_deaths[idx] = death_count
            delay_seconds = 0.0
            if death_count > 1:
                delay_seconds = min(0.5 * 2 ** (death_count - 2), MAX_RESTART_DELAY_SECONDS)
            self._restart_times[idx] = check_time + delay_seconds

    def _refuse_clients_without_worker(self, check_time: float) -> None:
        """Answer clients with status 503 while no worker takes their connections."""
        has_answering_worker = any(
            -1.0 < pulse.get_silent_seconds() < MAX_ABSENCE_SECONDS and idx not in self._restart_times
            for idx, pulse in self._pulses.items()
        )
        self._has_served = self._has_served or has_answering_worker
        if has_answering_worker and not (self._has_client_in_queue() and self._are_workers_full()):
            self._last_served = check_time
        elif self._has_served:
            max_seconds = MAX_FULL_SECONDS if has_answering_worker else MAX_ABSENCE_SECONDS
            if check_time - self._last_served > max_seconds:
                self._take_queued_connections(check_time + WAITING_CLIENT_SECONDS)
        if self._waiting_connections:
            message = FULL_MESSAGE if has_answering_worker else RESTARTING_MESSAGE
            self._send_unavailable_responses(message, check_time)

    def _has_client_in_queue(self) -> bool:
        return bool(select.select([self._sso], [], [], 0)[0])

    def _take_queued_connections(self, close_time: float) -> None:
        """Take connections from the queue of the workers, as far as open files allow."""
        with contextlib.suppress(BlockingIOError, OSError):
            while len(self._waiting_connections) < SPARE_FILES // 2:
                connection, _ = self._sso.accept()
                self._waiting_connections[connection] = close_time

    def _send_unavailable_responses(self, message: str, check_time: float) -> None:
        """Send status 503 to clients that have sent a request, and close their connections.

        Connections whose time is over are closed, too.
        """
        answer = UNAVAILABLE_RESPONSE.format(len(message), message).encode()
        readable_connections = select.select(list(self._waiting_connections), [], [], 0)[0]
        for connection in readable_connections:
            with contextlib.suppress(OSError):
                connection.recv(1 << 16)  # bytes that are left unread would reset the connection
                connection.send(answer)
                connection.shutdown(socket.SHUT_WR)
        for connection, close_time in list(self._waiting_connections.items()):
            if connection in readable_connections or close_time < check_time:
                del self._waiting_connections[connection]
                connection.close()

    def _are_workers_full(self) -> bool:
        """Return whether each worker has as many open files as it may have connections, or as it may have at all."""
        with contextlib.suppress(OSError):  # raised if a worker has just died
            for worker in self.wrks:
                pid = worker.inner.pid
                soft_limit, _ = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                open_files = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208  (names are enough)
                if len(open_files) < min(self.backpressure, soft_limit - 2):
                    return False
            return True
        return False

    def shutdown(self, exit_code: int = 0) -> None:
        """Stop the server and its workers; see `granian.server.common.AbstractServer.shutdown`."""
        self._on_stop()
        if self._drain_seconds and not exit_code:
            start_time = time.monotonic()
            self._shares.start_draining()
            self.main_loop_interrupt.clear()
            while (seconds := self._shares.compute_drain_seconds(start_time, self._drain_seconds)) > 0:
                if self.main_loop_interrupt.wait(seconds):  # a second signal ends it
                    break
        super().shutdown(exit_code)


DEATH_SIGNAL = 1  # an option of prctl(2): the signal that a process gets when its parent ends
_worker_number = 0


def is_first_worker() -> bool:
    """Return whether this process does what only one of the workers should do. True in a process without workers."""
    return _worker_number == 0


def _prepare_worker_and_load_application(
    idx: int,
    heartbeat: child_processes.ProcessHeartbeat,
    balancer: ConnectionBalancer,
    load_application: Callable[[], Any],
    server_pid: int,
    *,
    is_after_crash: bool,
) -> Any:
    """Build the application in a worker, which sends heartbeats from the time its event loop runs.

    After a crash of the worker before, the application is told so, and verifies what is published.
    """
    _set_worker_signals_and_session(server_pid)
    heartbeat.assign_to_this_process()
    balancer.set_as_process_balancer()
    global _worker_number  # noqa: PLW0603  (a process is one worker)
    _worker_number = idx
    os.environ[AFTER_CRASH_VARIABLE] = "yes" if is_after_crash else ""
    application = load_application()
    child_processes.set_process_name(f"{WORKER_NAME}-{idx + 1}")  # lists of processes show which workers are ready
    return application


def _set_worker_signals_and_session(server_pid: int) -> None:
    """Put a worker into a session of its own, with a higher priority where the account may set it.

    Where Linux divides processor time by sessions (sched_autogroup), all workers together would get the share of one
    other program, and would refuse requests because they are slow. Beside many busy programs, the usual share of a
    session is still too small to answer in time.

    A session of its own gets no signals from the terminal, so another signal ends the worker with its server. A server
    that ends by itself has stopped its workers before. A server that was killed cannot wait for them, and workers that
    hung have survived SIGTERM, so the signal is SIGKILL. Until the worker has an event loop, SIGTERM must have its
    default action, because the handlers inherited from the server end nothing.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):  # raised if the C library does not have it
        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != server_pid:  # the server ended before the call
            os.kill(os.getpid(), signal.SIGTERM)
    with contextlib.suppress(PermissionError):  # raised if it leads a session already
        os.setsid()
        deadlines.reduce_session_priority(deadlines.ANSWER_SESSION)
