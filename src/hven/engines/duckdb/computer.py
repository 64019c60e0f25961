"""A process of its own for queries that compute for long: what it does holds no lock of the process that answers, and its death is one query's.

`computing` is what runs there. docs/decisions/011-computing.md says why.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.engines._clock import Timed, weakly
from hven.model import clock, errors
from hven.model.clock import late
from hven.model.errors import Cancelled, HvenError, Overloaded, ServiceError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from hven.engines import Execution, Limits
    from hven.engines._clock import Watch
    from hven.engines.duckdb.machine import Rows

    Process: TypeAlias = subprocess.Popen[bytes]

HEAD = struct.Struct("!cQ")
REQUEST, TABLE, BATCH, END, REFUSED, BROKEN = b"R", b"T", b"B", b"E", b"X", b"!"
FEW = 50_000  # rows that are read at once, where they are
PAIRS = 10_000_000  # combinations of rows
LONG = 4_000  # characters of SQL: longer ones take their time to be planned
MUCH = 128 * 1024**2  # bytes of rows that are sent along; for more it is not worth it
IDLE = 20.0  # seconds without a query after which the process ends
START = 60.0  # seconds that it may take to begin
GOING = 1.0  # seconds that it may take to go, when the process that began it goes
PAUSE = 30.0  # seconds until another one begins where one could not
AT_ONCE = 16  # channels that are kept
REMEDY = "ask again; where that does not help, ask for less: fewer rows, fewer groups"

log = logging.getLogger("hven")


def send(channel: socket.socket, kind: bytes, body: bytes | memoryview) -> None:
    """Send a frame: its kind, its length, its bytes."""
    channel.sendall(HEAD.pack(kind, len(body)))
    if len(body):
        channel.sendall(body)


def receive(channel: socket.socket) -> tuple[bytes, pa.Buffer]:
    """Wait for a frame, without the interpreter's lock.

    Raises
    ------
    EOFError
        The other side is gone.
    """
    kind, length = HEAD.unpack(_filled(channel, bytearray(HEAD.size)))
    return kind, pa.py_buffer(_filled(channel, bytearray(length)))


def _filled(channel: socket.socket, room: bytearray) -> bytearray:
    view = memoryview(room)
    while view:
        got = channel.recv_into(view)
        if not got:
            raise EOFError
        view = view[got:]
    return room


def packed(rows: pa.Table) -> memoryview:
    """Write rows as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    return memoryview(sink.getvalue())


def dear(sql: str, relations: Mapping[str, Rows]) -> bool:
    """Return whether a query may compute for long, and the rows that must be sent along are not too many."""
    if sum(one.table.nbytes for one in relations.values() if one.source is None) > MUCH:
        return False
    pairs = 1
    for name, one in relations.items():
        quoted = name.replace('"', '""')
        pairs *= max(len(one), 1) ** max(sql.count(f'"{quoted}"'), 1)
    return len(sql) > LONG or pairs > PAIRS or sum(map(len, relations.values())) > FEW


def ending(process: Process) -> str | None:
    """Describe how a process died; None: it ended in peace, or is there."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(1.0)
    code = process.poll()
    if not code:
        return None
    return signal.Signals(-code).name if -code in set(signal.Signals) else f"exit code {code}"


class Computer:
    """The process, which begins when it is first wanted, ends when nobody wants it for a while, and with the process that began it."""

    def __init__(self, watch: Watch, settings: Mapping[str, Any]) -> None:
        self._watch = watch
        self._settings = settings
        self._lock = threading.Lock()
        self._process: Process | None = None
        self._control: socket.socket | None = None
        self._free: list[socket.socket] = []
        self._taken = 0
        self._asked = 0.0
        self._later = 0.0  # when another one may begin
        self._bare = 0
        self._beginning = False
        self._closed = False

    def processes(self) -> dict[int, int]:
        """Return the process, if there is one, and the bytes that it held before the first query."""
        process = self._process
        return {} if process is None or process.poll() is not None else {process.pid: self._bare}

    def take(self) -> tuple[Process, socket.socket] | None:
        """Return a channel to it; None: it is about to begin, or could not, and who asks computes by itself."""
        with self._lock:
            self._asked = time.monotonic()
            if self._closed:
                return None
            if self._process is not None and self._process.poll() is not None:
                self._leave()
            if self._process is None or self._control is None:
                if not self._beginning and time.monotonic() >= self._later:
                    self._beginning = True
                    threading.Thread(target=self._begin, name="hven-computer", daemon=True).start()
                return None
            self._taken += 1
            if self._free:
                return self._process, self._free.pop()
            ours, theirs = socket.socketpair()
            with theirs, contextlib.suppress(OSError):
                socket.send_fds(self._control, [b"c"], [theirs.fileno()])
            return self._process, ours

    def put(self, process: Process, channel: socket.socket, *, whole: bool) -> None:
        """Put a channel back; `whole`: its answer was read to the end."""
        with self._lock:
            self._taken -= 1
            self._asked = time.monotonic()
            if whole and process is self._process and len(self._free) < AT_ONCE:
                self._free.append(channel)
                return
        channel.close()

    def _begin(self) -> None:
        ours, theirs = socket.socketpair()
        process = None
        try:
            with theirs:
                path, steps, number = sys.path, clock.QUERY, theirs.fileno()
                program = f"import os, sys; os.nice({steps}); sys.path[:] = {path!r}; from hven.engines.duckdb.computing import main; main({number})"
                process = subprocess.Popen(  # noqa: S603  (this interpreter, and our own module)
                    [sys.executable, "-P", "-c", program],
                    env={
                        **os.environ,
                        "ARROW_DEFAULT_MEMORY_POOL": "system",
                        "MALLOC_ARENA_MAX": "4",
                        "MALLOC_MMAP_THRESHOLD_": str(1024**2),
                    },
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            ours.settimeout(START)
            send(ours, REQUEST, pickle.dumps(dict(self._settings)))
            self._bare = int(receive(ours)[1].to_pybytes())
            ours.settimeout(None)
        except (OSError, EOFError) as error:
            log.warning(
                "queries are computed where they are answered, for no process begins for them: %s", error or "it ended"
            )
            ours.close()
            if process is not None:
                process.kill()
                process.wait()
            with self._lock:
                self._beginning, self._later = False, time.monotonic() + PAUSE
            return
        with self._lock:
            self._process, self._control, self._beginning = process, ours, False
            if self._closed:
                self._leave()
        self._look()

    def _look(self) -> None:
        """End the process if nobody has wanted it for a while."""
        with self._lock:
            if self._control is None:
                return
            over = self._asked + IDLE
            if not self._taken and time.monotonic() >= over:
                self._leave()
                return
        self._watch.at(max(over, time.monotonic() + 1.0), weakly(self, Computer._look))

    def _over(self) -> Process | None:
        """Release the process, and return it: it ends when nobody holds the other end of its socket."""
        for channel in self._free:
            channel.close()
        self._free = []
        if self._control is not None:
            self._control.close()
        process, self._process, self._control = self._process, None, None
        return process

    def _leave(self) -> None:
        """Release the process, and wait for its end in a thread."""
        if (process := self._over()) is not None:
            threading.Thread(target=process.wait, name="hven-computer", daemon=True).start()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._closed = True
            process = self._over()
        if process is not None:
            try:
                process.wait(GOING)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(GOING)

    def __del__(self) -> None:
        if not self._closed:
            self.close()


class ComputerExecution(Timed):
    """A query that runs there (`hven.engines.Execution`)."""

    def __init__(
        self,
        computer: Computer,
        process: Process,
        channel: socket.socket,
        watch: Watch,
        *,
        sql: str,
        arguments: Sequence[Any],
        relations: Mapping[str, Rows],
        schema: pa.Schema,
        limits: Limits,
        here: Callable[[], Execution],
    ) -> None:
        self.schema = schema
        self._computer = computer
        self._process = process
        self._watch = watch
        self._limits = limits
        self._here = here
        self._lock = threading.Lock()
        self._channel: socket.socket | None = channel
        self._other: Execution | None = None
        self._stopped: str | None = None
        self._whole = True  # nothing is under way in the channel
        self._sent = [one.table for one in relations.values() if one.source is None]
        self._request = pickle.dumps(
            {
                "sql": sql,
                "arguments": list(arguments),
                "relations": {name: one.source for name, one in relations.items()},
                "schema": schema.serialize().to_pybytes(),
                "limits": {"rows": limits.rows, "batch": limits.batch},
            }
        )
        self._count()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        given = False
        try:
            for batch in self._batches():
                given = True
                yield batch
        except Unavailable:  # a snapshot that is removed, and mapped here
            if given:
                raise
        else:
            return
        self.close()
        with self._lock:
            if self._stopped is None:
                self._other = self._here()
        if self._other is None:
            raise self._why()
        yield from self._other

    def _batches(self) -> Iterator[pa.RecordBatch]:
        channel = self._channel
        try:
            if channel is None or self._stopped is not None:
                raise self._why()
            self._whole = False
            try:
                send(channel, REQUEST, self._request)
                for table in self._sent:
                    send(channel, TABLE, packed(table))
                self._sent = []
                while True:
                    kind, body = receive(channel)
                    if kind != BATCH:
                        break
                    yield pa.ipc.read_record_batch(body, self.schema)
                    if self._stopped is not None:
                        raise self._why()
            except (EOFError, OSError):
                raise self._why() from None
            self._whole = True
            if kind != END:
                raise _said(kind, body)
            if self._stopped is not None:
                raise self._why()
        finally:
            self.close()

    def _why(self) -> HvenError:
        """Make the error of a missing answer: it was stopped, or the process ended."""
        if self._stopped == "timeout":
            return late(None if self._limits.clock is None else self._limits.clock.seconds)
        if self._stopped is not None or self._channel is None:
            return Cancelled("the query was cancelled")
        code = ending(self._process)
        if code is None:  # it ended because nobody wanted it, a moment ago
            return Unavailable("the process that computes queries ended")
        log.error("the process that computed a query ended (%s)", code)
        return Overloaded(
            f"the process that computed the query ended ({code}), perhaps for want of memory", remedy=REMEDY
        )

    @property
    def under_way(self) -> bool:
        """See `Timed`."""
        return self._channel is not None

    def stop(self, why: str) -> None:
        """See `Timed`."""
        with self._lock:
            if self._other is not None:
                self._other.cancel()
                return
            if self._channel is None or self._stopped is not None:
                return
            self._stopped = why
            with contextlib.suppress(OSError):
                self._channel.shutdown(socket.SHUT_RDWR)  # both sides hear of it

    def close(self) -> None:
        """Free everything; see `hven.engines.Execution.close`."""
        with self._lock:
            channel, self._channel = self._channel, None
            other = self._other
        if channel is not None:
            self._computer.put(self._process, channel, whole=self._whole and self._stopped is None)
        if other is not None:
            other.close()

    def __del__(self) -> None:
        self.close()


def _said(kind: bytes, body: pa.Buffer) -> Exception:
    """Return the error that was raised there."""
    if kind == REFUSED:
        name, message, remedy = pickle.loads(body)  # noqa: S301  (of our own process)
        found = vars(errors)[name](message, remedy=remedy)
        return found if isinstance(found, Exception) else ServiceError(message)
    return RuntimeError(f"in the process that computes queries:\n{body.to_pybytes().decode(errors='replace')}")


__all__ = ["Computer", "ComputerExecution", "dear"]
