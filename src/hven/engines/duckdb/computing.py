"""The process that computes queries for another one (`computer`): it reads the same snapshots, and hears and answers by pairs of sockets."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.engines import Limits
from hven.engines.duckdb.computer import BATCH, BROKEN, END, REFUSED, receive, send
from hven.engines.duckdb.engine import DuckEngine
from hven.engines.duckdb.machine import Rows
from hven.model import clock
from hven.model.errors import HvenError

if TYPE_CHECKING:
    from collections.abc import Collection

    from hven.engines import Execution

LOOK = 1.0  # seconds between two looks at what was removed and what is free
PATIENCE = 0.5  # seconds that queries get to stop, at the end
SWITCH = 0.0002  # seconds, as in the server's workers
TURN = 100_000  # nanoseconds
SETATTR = {"x86_64": 314, "aarch64": 274}  # the C library itself calls it since glibc 2.41


class Desk:
    """One channel, and the thread that computes what is asked there, one query after the other."""

    def __init__(self, engine: DuckEngine, channel: socket.socket) -> None:
        self._engine = engine
        self.channel = channel
        self._lock = threading.Lock()
        self._running: Execution | None = None
        self._left = False
        self.answered = 0.0  # when the last query was over
        threading.Thread(target=self._work, daemon=True).start()

    @property
    def busy(self) -> bool:
        """Whether a query is being computed."""
        return self._running is not None

    def leave(self) -> None:
        """Stop what is computed: nobody waits for it any more."""
        with self._lock:
            self._left = True
            if self._running is not None:
                self._running.cancel()

    def _work(self) -> None:
        try:
            while True:
                self._answer()
                self.answered = time.monotonic()
        except (EOFError, OSError):  # who asked is gone
            pass
        finally:
            self.answered = time.monotonic()
            with contextlib.suppress(OSError):
                self.channel.shutdown(socket.SHUT_RDWR)  # whoever waits there hears of it, too
            self.channel.close()

    def _answer(self) -> None:
        asked = self._asked()
        try:
            self._compute(*asked)
        except HvenError as error:
            send(self.channel, REFUSED, pickle.dumps((type(error).__name__, error.message, error.remedy)))
        except ConnectionError:
            raise
        except Exception:  # noqa: BLE001  (told where the query came from, whose log has it)
            send(self.channel, BROKEN, traceback.format_exc().encode())
        else:
            send(self.channel, END, b"")

    def _compute(self, asked: dict[str, Any], sent: dict[str, pa.Table]) -> None:
        relations = {
            name: Rows(sent[name], keep=False) if source is None else self._engine.rows(*source)
            for name, source in asked["relations"].items()
        }
        schema = pa.ipc.read_schema(pa.py_buffer(asked["schema"]))
        execution = self._engine.run(asked["sql"], asked["arguments"], relations, schema, Limits(**asked["limits"]))
        with self._lock:
            self._running = execution
            if self._left:
                execution.cancel()
        try:
            for batch in execution:
                send(self.channel, BATCH, memoryview(batch.serialize()))
        finally:
            with self._lock:
                self._running = None
            execution.close()

    def _asked(self) -> tuple[dict[str, Any], dict[str, pa.Table]]:
        """Read a query, and the rows that are sent along."""
        _, body = receive(self.channel)
        asked = pickle.loads(body)  # noqa: S301  (of the process that began this one)
        sent = [name for name, source in asked["relations"].items() if source is None]
        return asked, {name: pa.ipc.open_stream(receive(self.channel)[1]).read_all() for name in sent}


def main(number: int) -> None:
    """Compute for the process at the other end of a socket, until it is gone."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a server that ends lets its answers end first
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")  # if one must go, this one
    # Queries get less than who answers. Where that one is raised, a usual share is less, and the queries that were let in end sooner.
    clock.lower_session(0 if clock.is_raised(os.getppid()) else clock.QUERY_SESSION)
    _shorten()
    control = socket.socket(fileno=number)
    said = pickle.loads(receive(control)[1])  # noqa: S301  (of the process that began this one)
    sys.setswitchinterval(SWITCH)
    engine = DuckEngine(said["directory"], memory=said["memory"], threads=said["threads"])
    resident, shared = Path("/proc/self/statm").read_text().split()[1:3] if sys.platform == "linux" else (0, 0)
    send(control, END, b"%d" % ((int(resident) - int(shared)) * os.sysconf("SC_PAGESIZE")))
    desks = _serve(engine, control)
    for desk in desks:
        desk.leave()
    over = time.monotonic() + PATIENCE
    while any(desk.busy for desk in desks) and time.monotonic() < over:
        time.sleep(LOOK / 10)
    if not any(desk.busy for desk in desks):
        engine.close()
    os._exit(0)  # whatever a thread still does, nobody wants it


def _serve(engine: DuckEngine, control: socket.socket) -> Collection[Desk]:
    """Accept channels until the other process is gone; return what is left."""
    look = select.poll()
    look.register(control, select.POLLIN)
    desks: dict[int, Desk] = {}
    trim = _trim()
    trimmed = 0.0
    while True:
        for file, _ in look.poll(LOOK * 1000):
            if file != control.fileno():
                look.unregister(file)
                os.close(file)
                desks.pop(file).leave()
                continue
            said, files, _, _ = socket.recv_fds(control, 1, 1)
            if not said:
                return desks.values()
            for one in files:
                desks[one] = Desk(engine, socket.socket(fileno=os.dup(one)))
                look.register(one, 0)  # tells of its end alone
        engine.tidy()
        last = max((desk.answered for desk in desks.values()), default=0.0)
        if trim is not None and last > trimmed and not any(desk.busy for desk in desks.values()):
            trim(0)
            trimmed = time.monotonic()


def _shorten() -> None:
    """Shorten the time slices of this thread, and of those it will start, to a `TURN`: who wakes up runs sooner (Linux 6.12; usual are 3 ms)."""
    if sys.platform == "linux" and os.uname().machine in SETATTR:
        told = struct.pack("IIQiIQQQ", 48, os.SCHED_OTHER, 0, os.getpriority(os.PRIO_PROCESS, 0), 0, TURN, 0, 0)
        ctypes.CDLL(None).syscall(SETATTR[os.uname().machine], 0, told, 0)


def _trim() -> Any:
    with contextlib.suppress(OSError, AttributeError):
        return ctypes.CDLL(None).malloc_trim
    return None
