"""The worker processes of a server: they take connections from one queue; one that dies or hangs is replaced at once, and readers never wait for nobody."""

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

from hven.app._server.evenly import Share, Shares
from hven.jobs import forks
from hven.jobs.hang_detector import HangDetector
from hven.model import clock
from hven.model.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger("hven")

LOOK = 0.25  # seconds between two looks at the workers
KILLING = 5.0  # seconds in which a worker that is killed should be gone
STARTING = 60.0  # seconds that a worker gets to open the site
WORKER_NAME = "hven-worker"  # of its process, once it has opened the site
AWAY = 2.5  # seconds without a worker that takes connections, after which readers are told
# seconds in which somebody waited at each look while the workers hold all connections that they may, after which they are told, too
STANDING = 1.0
YOUNG = 5.0  # seconds; workers that die sooner, one after the other, are begun ever later ..
LONGEST = 10.0  # .. but never later than after so many seconds
AFTER_CRASH = "HVEN_AFTER_CRASH"  # set in a worker whose forerunner crashed
ATTEMPTS = 3  # a server none of whose workers ever came up ends
BACKLOG = 4096  # connections that wait to be taken: as many as Linux allows by default
SPARE = 512  # open files that are no connections
LEAST = 64  # open files with which a worker answers a few readers
WAITING = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}"
ANEW = "the service is beginning anew; ask again in some seconds\n"
FULL = "the service holds as many connections as it can; ask again in some seconds\n"


def connections() -> int:
    """Raise the limit of open files to what the machine allows, and return the number of connections that a worker may hold.

    Raises
    ------
    UserError
        It allows too few.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit < LEAST:
        raise UserError(
            f"this account may have {limit} files open at once, and a server needs {LEAST} at least",
            remedy="raise the limit: `ulimit -n 4096`, or LimitNOFILE=4096 in its unit",
        )
    return max(limit - SPARE, limit // 4)


class Workers(MPServer):  # type: ignore[misc]  # its insides have no types
    """granian's server of several processes, with a queue that outlives each of them and an eye on their hearts.

    Its own gives each process a queue, whose connections die with it or wait for it as long as it hangs, and ends when a worker dies twice.

    Parameters
    ----------
    leaving
        Called when the server is told to stop, before the workers are.
    listening
        Called once whoever connects will be answered.
    """

    def __init__(
        self, *arguments: Any, leaving: Callable[[], None], listening: Callable[[], None], **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._leaving, self._listening = leaving, listening
        self._pulses: dict[int, forks.Pulse] = {}
        self._detectors: dict[int, tuple[int, HangDetector]] = {}  # with the process that each watches
        self._shares = Shares(self.workers)
        self._born: dict[int, float] = {}
        self._deaths: dict[int, int] = {}  # one after the other, of those that lived briefly
        self._crashed: set[int] = set()  # whose last worker died of what it read
        self._due: dict[int, float] = {}
        self._up = False  # some worker has taken connections
        self._seen = time.monotonic()  # when some worker last did
        self._waiting: dict[socket.socket, float] = {}

    def _init_shared_socket(self) -> None:
        """Open the one queue that all workers take connections from."""
        self._shd = SocketSpec(self.bind_addr, self.bind_port, BACKLOG).build()
        self._ssp = None
        self._sso = socket.socket(fileno=self._shd.get_fd())
        self._sso.set_inheritable(True)
        self._sso.setblocking(False)
        self._sso.listen(BACKLOG)
        self._listening()

    def _spawn_worker(self, idx: int, target: Any, callback_loader: Callable[[], Any]) -> Any:
        pulse = self._pulses[idx] = forks.Pulse(STARTING)
        self._born[idx] = time.monotonic()
        return super()._spawn_worker(
            idx,
            target,
            partial(
                _loaded, idx, pulse, self._shares.of(idx), callback_loader, os.getpid(), crashed=idx in self._crashed
            ),
        )

    def _serve_loop(self, spawn_target: Any, target_loader: Any) -> None:
        """Watch the workers until the server is told to stop."""
        looked = time.monotonic()
        while not self.interrupt_signal:
            self.main_loop_interrupt.wait(LOOK)
            self.main_loop_interrupt.clear()
            if self.interrupt_signal:
                return
            moment = time.monotonic()
            # else we were stopped, or the machine was, and cannot tell who else was
            if moment - looked < forks.SILENT / 2:
                self._kill_hung()
            looked = moment
            self._note_deaths(moment)
            if not self._up and max(self._deaths.values(), default=0) >= ATTEMPTS:
                log.error("no worker comes up; the server ends")
                self.interrupt_children.append(0)
                return
            for idx in [idx for idx, due in self._due.items() if due <= moment]:
                del self._due[idx]
                self._respawn_workers([idx], spawn_target, target_loader)
            if self.reload_signal:
                self._reload(spawn_target, target_loader)
            self._tell_readers(moment)

    def _kill_hung(self) -> None:
        """Kill a worker that hangs: its end is then noticed as any other's. The next one waits until this one is replaced."""
        hung = [worker for worker in self.wrks if self._detector(worker).is_hung() and worker.is_alive()]
        starting = self._due or any(pulse.silent() < 0 for pulse in self._pulses.values())
        if not hung or starting:
            return
        worker = max(hung, key=lambda one: self._pulses[one.idx].silent())
        log.error(
            "worker %d (process %d) has given no sign of life for %.0f s and is killed",
            worker.idx + 1,
            worker.inner.pid,
            self._pulses[worker.idx].silent(),
        )
        forks.tell(worker.inner.pid, signal.SIGKILL)
        self._pulses[worker.idx].expect(KILLING)  # no other worker is killed meanwhile, nor this one twice

    def _detector(self, worker: Any) -> HangDetector:
        pid = worker.inner.pid
        if (found := self._detectors.get(worker.idx)) is None or found[0] != pid:
            found = self._detectors[worker.idx] = pid, HangDetector(self._pulses[worker.idx], pid)
        return found[1]

    def _note_deaths(self, moment: float) -> None:
        """Replace those who died: at once, unless they die young again and again."""
        while self.interrupt_children:
            idx = self.interrupt_children.pop()
            code = next((worker.inner.exitcode for worker in self.wrks if worker.idx == idx), None) or 0
            (self._crashed.add if -code in forks.CRASHES else self._crashed.discard)(idx)
            self._up = self._up or self._pulses[idx].silent() >= 0
            young = moment - self._born[idx] < YOUNG
            deaths = self._deaths[idx] = self._deaths.get(idx, 0) + 1 if young else 0
            self._due[idx] = moment + (min(0.5 * 2 ** (deaths - 2), LONGEST) if deaths > 1 else 0.0)

    def _tell_readers(self, moment: float) -> None:
        """Answer those who come while no worker takes connections: they would wait for nobody."""
        answering = any(-1.0 < pulse.silent() < AWAY and idx not in self._due for idx, pulse in self._pulses.items())
        self._up = self._up or answering
        if answering and not (select.select([self._sso], [], [], 0)[0] and self._full()):
            self._seen = moment
        elif self._up and moment - self._seen > (STANDING if answering else AWAY):
            with contextlib.suppress(BlockingIOError, OSError):
                while len(self._waiting) < SPARE // 2:
                    self._waiting[self._sso.accept()[0]] = moment + 1.0
        if not self._waiting:
            return
        sorry = FULL if answering else ANEW
        answer = WAITING.format(len(sorry), sorry).encode()
        asking = select.select(list(self._waiting), [], [], 0)[0]
        for connection in asking:
            with contextlib.suppress(OSError):
                connection.recv(1 << 16)  # what is left unread would cut the answer
                connection.send(answer)
                connection.shutdown(socket.SHUT_WR)
        for connection in [*asking, *(each for each, until in self._waiting.items() if until < moment)]:
            if self._waiting.pop(connection, None) is not None:
                connection.close()

    def _full(self) -> bool:
        """Return whether each worker has as many files open as it may have connections, or as it may have at all."""
        with contextlib.suppress(OSError):  # one has just died
            for pid in (worker.inner.pid for worker in self.wrks):
                most = min(self.backpressure, resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] - 2)
                if len(os.listdir(f"/proc/{pid}/fd")) < most:  # noqa: PTH208  (names are enough)
                    return False
            return True
        return False

    def shutdown(self, exit_code: int = 0) -> None:
        """End everything; see `granian.server.common.AbstractServer.shutdown`."""
        self._leaving()
        super().shutdown(exit_code)


DEATH_SIGNAL = 1  # of prctl(2): a worker ends with the process that began it
_number = 0  # of this worker


def is_first_worker() -> bool:
    """Return whether this process says for all workers what one of them should say; a process without workers does."""
    return _number == 0


def _loaded(
    idx: int, pulse: forks.Pulse, share: Share, load: Callable[[], Any], server_pid: int, *, crashed: bool
) -> Any:
    """Make the application in a worker, whose heart beats from then on as soon as its event loop turns.

    If its forerunner died of what it read, it says so: what is published is verified then.
    """
    _begin_session(server_pid)
    pulse.own()
    share.own()
    global _number  # noqa: PLW0603  (a process is one worker)
    _number = idx
    os.environ[AFTER_CRASH] = "yes" if crashed else ""
    application = load()
    forks.called(f"{WORKER_NAME}-{idx + 1}")  # whoever lists processes sees which workers are ready
    return application


def _begin_session(server_pid: int) -> None:
    """Give a worker a session of its own, and with it a share of the processors of its own: a greater one where the account may take it.

    Where Linux shares the processors among sessions (sched_autogroup), all workers of a server would have the share of one other program, and
    refuse readers as slowly as that. Beside many busy programs a usual share for each worker is still too little to answer in time.
    A session of its own gets no signal of the terminal, so the worker ends with the server by another one. A server that ends by itself has
    stopped its workers before. One that was killed cannot wait for them, and SIGTERM has left workers of it that hung while they ended.
    Until the worker has an event loop, it would leave signals to the handlers that the server left to it, which end nothing.
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
        clock.lower_session(clock.ANSWER_SESSION)


__all__ = ["Workers", "connections", "is_first_worker"]
