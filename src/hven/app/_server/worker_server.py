"""The worker processes of a server: they take connections from one queue.

One that dies or hangs is replaced at once, and readers never wait for nobody.
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

from granian.net import SocketSpec
from granian.server.mp import MPServer

from hven.app._server.connection_balancing import ConnectionShare, ConnectionShares
from hven.jobs import child_processes
from hven.jobs.hang_detector import HungProcessDetector
from hven.model import deadlines
from hven.model.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("hven")

CHECK_INTERVAL_SECONDS = 0.25  # seconds between two looks at the workers
KILL_GRACE_SECONDS = 5.0  # seconds in which a worker that is killed should be gone
START_GRACE_SECONDS = 60.0  # seconds that a worker gets to open the site
WORKER_NAME = "hven-worker"  # of its process, once it has opened the site
MAX_ABSENCE_SECONDS = 2.5  # seconds without a worker that takes connections, after which readers are told
# seconds in which somebody waited at each look while the workers hold all connections that they may, after which they
# are told, too
MAX_FULL_SECONDS = 1.0
MIN_LIFE_SECONDS = 5.0  # seconds; workers that die sooner, one after the other, are begun ever later ..
MAX_RESTART_DELAY_SECONDS = 10.0  # .. but never later than after so many seconds
AFTER_CRASH_VARIABLE = "HVEN_AFTER_CRASH"  # set in a worker whose forerunner crashed
MAX_START_ATTEMPTS = 3  # a server none of whose workers ever came up ends
LISTEN_BACKLOG = 4096  # connections that wait to be taken: as many as Linux allows by default
SPARE_FILES = 512  # open files that are no connections
MIN_OPEN_FILES = 64  # open files with which a worker answers a few readers
UNAVAILABLE_RESPONSE = (
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Type: text/plain\r\nContent-Length: "
    "{}\r\nConnection: close\r\n\r\n{}"
)
RESTARTING_MESSAGE = "the service is beginning anew; ask again in some seconds\n"
FULL_MESSAGE = "the service holds as many connections as it can; ask again in some seconds\n"


def compute_connection_limit() -> int:
    """Raise the limit of open files to the machine's maximum, and return how many connections a worker may hold.

    Raises
    ------
    UserError
        It allows too few.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        target_limit = 65536
    else:
        target_limit = min(hard, 65536)
    if soft < target_limit:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (target_limit, hard))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit < MIN_OPEN_FILES:
        raise UserError(
            f"this account may have {limit} files open at once, and a server needs {MIN_OPEN_FILES} at least",
            remedy="raise the limit: `ulimit -n 4096`, or LimitNOFILE=4096 in its unit",
        )
    return max(limit - SPARE_FILES, limit // 4)


class WorkerServer(MPServer):  # type: ignore[misc]  # its insides have no types
    """granian's server of several processes, with a queue that outlives each of them and an eye on their hearts.

    Its own gives each process a queue, whose connections die with it or wait for it as long as it hangs, and ends when
    a worker dies twice.

    Parameters
    ----------
    on_stop
        Called when the server is told to stop, before the workers are.
    on_listening
        Called once whoever connects will be answered.
    """

    def __init__(
        self, *arguments: Any, on_stop: Callable[[], None], on_listening: Callable[[], None], **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._on_stop = on_stop
        self._on_listening = on_listening
        self._pulses: dict[int, child_processes.Heartbeat] = {}
        self._detectors: dict[int, tuple[int, HungProcessDetector]] = {}  # with the process that each watches
        self._shares = ConnectionShares(self.workers)
        self._start_times: dict[int, float] = {}
        self._early_deaths: dict[int, int] = {}  # one after the other, of those that lived briefly
        self._crashed_workers: set[int] = set()  # whose last worker died of what it read
        self._restart_times: dict[int, float] = {}
        self._has_served = False  # some worker has taken connections
        self._last_served = time.monotonic()  # when some worker last did
        self._waiting_connections: dict[socket.socket, float] = {}

    def _init_shared_socket(self) -> None:
        """Open the one queue that all workers take connections from."""
        self._shd = SocketSpec(self.bind_addr, self.bind_port, LISTEN_BACKLOG).build()
        self._ssp = None
        fileno = self._shd.get_fd()
        self._sso = socket.socket(fileno=fileno)
        self._sso.set_inheritable(True)
        self._sso.setblocking(False)
        self._sso.listen(LISTEN_BACKLOG)
        self._on_listening()

    def _spawn_worker(self, idx: int, target: Any, callback_loader: Callable[[], Any]) -> Any:
        pulse = self._pulses[idx] = child_processes.Heartbeat(START_GRACE_SECONDS)
        self._start_times[idx] = time.monotonic()
        return super()._spawn_worker(
            idx,
            target,
            partial(
                _load_worker_application,
                idx,
                pulse,
                self._shares.create_worker_share(idx),
                callback_loader,
                os.getpid(),
                crashed=idx in self._crashed_workers,
            ),
        )

    def _serve_loop(self, spawn_target: Any, target_loader: Any) -> None:
        """Watch the workers until the server is told to stop."""
        last_check = time.monotonic()
        while not self.interrupt_signal:
            self.main_loop_interrupt.wait(CHECK_INTERVAL_SECONDS)
            self.main_loop_interrupt.clear()
            if self.interrupt_signal:
                return
            check_time = time.monotonic()
            # else we were stopped, or the machine was, and cannot tell who else was
            if check_time - last_check < child_processes.HEARTBEAT_TIMEOUT_SECONDS / 2:
                self._kill_hung_workers()
            last_check = check_time
            self._schedule_restarts(check_time)
            if not self._has_served and max(self._early_deaths.values(), default=0) >= MAX_START_ATTEMPTS:
                log.error("no worker comes up; the server ends")
                self.interrupt_children.append(0)
                return
            for idx in [idx for idx, due in self._restart_times.items() if due <= check_time]:
                del self._restart_times[idx]
                self._respawn_workers([idx], spawn_target, target_loader)
            if self.reload_signal:
                self._reload(spawn_target, target_loader)
            self._answer_waiting_clients(check_time)

    def _kill_hung_workers(self) -> None:
        """Kill a worker that hangs: its end is then noticed as any other's.

        The next one waits until this one is replaced.
        """
        hung_workers = [
            worker for worker in self.wrks if self._get_hang_detector(worker).is_hung() and worker.is_alive()
        ]
        starting = self._restart_times or any(pulse.get_silent_seconds() < 0 for pulse in self._pulses.values())
        if not hung_workers or starting:
            return
        worker = max(hung_workers, key=lambda hung_worker: self._pulses[hung_worker.idx].get_silent_seconds())
        log.error(
            "worker %d (process %d) has given no sign of life for %.0f s and is killed",
            worker.idx + 1,
            worker.inner.pid,
            self._pulses[worker.idx].get_silent_seconds(),
        )
        child_processes.send_signal(worker.inner.pid, signal.SIGKILL)
        self._pulses[worker.idx].set_grace_period(
            KILL_GRACE_SECONDS
        )  # no other worker is killed meanwhile, nor this one twice

    def _get_hang_detector(self, worker: Any) -> HungProcessDetector:
        pid = worker.inner.pid
        pid_and_detector = self._detectors.get(worker.idx)
        if pid_and_detector is None or pid_and_detector[0] != pid:
            pid_and_detector = self._detectors[worker.idx] = pid, HungProcessDetector(self._pulses[worker.idx], pid)
        return pid_and_detector[1]

    def _schedule_restarts(self, check_time: float) -> None:
        """Replace those who died: at once, unless they die young again and again."""
        while self.interrupt_children:
            idx = self.interrupt_children.pop()
            code = next((worker.inner.exitcode for worker in self.wrks if worker.idx == idx), None) or 0
            (self._crashed_workers.add if -code in child_processes.CRASH_SIGNALS else self._crashed_workers.discard)(
                idx
            )
            self._has_served = self._has_served or self._pulses[idx].get_silent_seconds() >= 0
            is_young = check_time - self._start_times[idx] < MIN_LIFE_SECONDS
            deaths = self._early_deaths[idx] = self._early_deaths.get(idx, 0) + 1 if is_young else 0
            self._restart_times[idx] = check_time + (
                min(0.5 * 2 ** (deaths - 2), MAX_RESTART_DELAY_SECONDS) if deaths > 1 else 0.0
            )

    def _answer_waiting_clients(self, check_time: float) -> None:
        """Answer those who come while no worker takes connections: they would wait for nobody."""
        has_answering_worker = any(
            -1.0 < pulse.get_silent_seconds() < MAX_ABSENCE_SECONDS and idx not in self._restart_times
            for idx, pulse in self._pulses.items()
        )
        self._has_served = self._has_served or has_answering_worker
        if has_answering_worker and not (select.select([self._sso], [], [], 0)[0] and self._are_workers_full()):
            self._last_served = check_time
        elif self._has_served and check_time - self._last_served > (
            MAX_FULL_SECONDS if has_answering_worker else MAX_ABSENCE_SECONDS
        ):
            with contextlib.suppress(BlockingIOError, OSError):
                while len(self._waiting_connections) < SPARE_FILES // 2:
                    self._waiting_connections[self._sso.accept()[0]] = check_time + 1.0
        if not self._waiting_connections:
            return
        message = FULL_MESSAGE if has_answering_worker else RESTARTING_MESSAGE
        answer = UNAVAILABLE_RESPONSE.format(len(message), message).encode()
        readable_connections = select.select(list(self._waiting_connections), [], [], 0)[0]
        for connection in readable_connections:
            with contextlib.suppress(OSError):
                connection.recv(1 << 16)  # what is left unread would cut the answer
                connection.send(answer)
                connection.shutdown(socket.SHUT_WR)
        for connection in [
            *readable_connections,
            *(connection_key for connection_key, until in self._waiting_connections.items() if until < check_time),
        ]:
            if self._waiting_connections.pop(connection, None) is not None:
                connection.close()

    def _are_workers_full(self) -> bool:
        """Return whether each worker has as many files open as it may have connections, or as it may have at all."""
        with contextlib.suppress(OSError):  # one has just died
            for pid in (worker.inner.pid for worker in self.wrks):
                max_files = min(self.backpressure, resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] - 2)
                if len(os.listdir(f"/proc/{pid}/fd")) < max_files:  # noqa: PTH208  (names are enough)
                    return False
            return True
        return False

    def shutdown(self, exit_code: int = 0) -> None:
        """End everything; see `granian.server.common.AbstractServer.shutdown`."""
        self._on_stop()
        super().shutdown(exit_code)


DEATH_SIGNAL = 1  # of prctl(2): a worker ends with the process that began it
_number = 0  # of this worker


def is_first_worker() -> bool:
    """Return whether this process says for all workers what one of them should say; a process without workers does."""
    return _number == 0


def _load_worker_application(
    idx: int,
    pulse: child_processes.Heartbeat,
    share: ConnectionShare,
    load: Callable[[], Any],
    server_pid: int,
    *,
    crashed: bool,
) -> Any:
    """Make the application in a worker, whose heart beats from then on as soon as its event loop turns.

    If its forerunner died of what it read, it says so: what is published is verified then.
    """
    _begin_session(server_pid)
    pulse.set_as_own()
    share.set_as_process_share()
    global _number  # noqa: PLW0603  (a process is one worker)
    _number = idx
    if crashed:
        os.environ[AFTER_CRASH_VARIABLE] = "yes"
    else:
        os.environ[AFTER_CRASH_VARIABLE] = ""
    application = load()
    child_processes.set_process_name(f"{WORKER_NAME}-{idx + 1}")  # whoever lists processes sees which workers are ready
    return application


def _begin_session(server_pid: int) -> None:
    """Give a worker a session of its own, and with it a share of the processors of its own.

    A greater one where the account may take it.

    Where Linux shares the processors among sessions (sched_autogroup), all workers of a server would have the share of
    one other program, and refuse readers as slowly as that. Beside many busy programs a usual share for each worker is
    still too little to answer in time. A session of its own gets no signal of the terminal, so the worker ends with the
    server by another one. A server that ends by itself has stopped its workers before. One that was killed cannot wait
    for them, and SIGTERM has left workers of it that hung while they ended. Until the worker has an event loop, it
    would leave signals to the handlers that the server left to it, which end nothing.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library must do without
        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != server_pid:  # it was gone before that
            os.kill(os.getpid(), signal.SIGTERM)
    with contextlib.suppress(PermissionError):  # it leads one already
        os.setsid()
        deadlines.reduce_session_priority(deadlines.ANSWER_SESSION)


__all__ = ["WorkerServer", "compute_connection_limit", "is_first_worker"]
