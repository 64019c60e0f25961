"""Programs that read files which we cannot: asked by lines of JSON, they answer in Arrow, in processes of their own with limits of time, memory and bytes."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.formats.media import open_product
from hven.model import clock
from hven.model.errors import SourceError, UserError, say
from hven.sources.programs import program_at, warded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.formats.media import Place, Product
    from hven.model.settings import Settings
    from hven.model.table import FileReader

WORKER = Path(__file__).with_name("_reader_worker.py")
MOST = 64 << 20  # bytes of an answer
WRITTEN = 1 << 30  # of any one file that it writes
SAID = 200  # characters of its last words that an error tells
SIGNALS = {9: "it was killed, probably for its memory", 6: "it gave up, probably for want of memory"}


def open_read(settings: Settings, place: Place, name: str, reader: FileReader) -> Product:
    """Open a file that a reader reads: a program of the operator's, or a function of the curator's.

    Parameters
    ----------
    settings
        Of the site: its programs, and the limits of functions beside descriptors.
    place
        Of the file.
    name
        By which readers of the site know it.
    reader
        As the descriptor names it.

    Returns
    -------
    product
        To be closed. What is read of it later raises as this does.

    Raises
    ------
    SourceError
        There is no such reader; it does not answer as it should. What it does instead is told, with its last words.
    """
    home, python = settings.directory, settings.python
    if reader.function:
        argv: tuple[str, ...] = (sys.executable, "-P", str(WORKER), str(reader.path), reader.function)
        kind = _Kind(reader.name, argv, (), python.seconds, python.memory, 2, 60.0, reader.sha256)
    else:
        said = next((one for one in settings.readers if one.name == reader.name), None)
        if said is None:
            raise SourceError(say("hven.toml has no reader {name!r}", reader.name), remedy=say("write [readers.{name}] into hven.toml", reader.name))  # fmt: skip
        words = (str((home / one).absolute()) if one.startswith(("./", "../")) else one for one in said.command[1:])
        try:
            argv = (program_at(home, said.command[0]), *words)
        except UserError as error:
            raise SourceError(error.message, remedy=say("readers.{name}.command of hven.toml", said.name)) from None
        kind = _Kind(said.name, argv, tuple(said.environment.items()), said.seconds, said.memory, said.processes, said.idle, "")  # fmt: skip
    return open_product(place, name, ask=partial(_asked, kind, name))


@dataclass(frozen=True, slots=True)
class _Kind:
    """What processes have in common."""

    name: str
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    seconds: float
    memory: int
    most: int
    idle: float
    version: str


def _asked(kind: _Kind, name: str, path: Path, columns: Sequence[str] | None, first: int, rows: int) -> pa.Table:
    """Ask a process that is free: the one that had the file last, if there is one."""
    try:
        now = path.stat()
    except OSError as error:
        raise SourceError(say("{name} cannot be read: {reason}", name, error.strerror or type(error).__name__)) from None  # fmt: skip
    stamp = f"{now.st_size} {now.st_mtime_ns}"
    asked = {"path": str(path.absolute()), "stamp": stamp, "columns": columns, "first": first, "rows": rows}
    clock.check()
    running = clock.running.get()
    until = time.monotonic() + (kind.seconds if running is None else min(kind.seconds, max(running.left, 0.1)))
    pool = _pool(kind)
    process = pool.take(str(path), until)
    try:
        table = process.answer(asked, rows, until)
    except BaseException as error:
        process.stop()
        pool.give(None)
        if isinstance(error, _Fault):
            words = str(error).replace(str(path.absolute()), name)
            raise SourceError(say("the reader {reader} cannot read {name}: {reason}", kind.name, name, words)) from None
        raise
    pool.give(process)
    told = (table.schema.metadata or {}).get(b"error")
    if told is not None:
        words = _short(told).replace(str(path.absolute()), name)
        raise SourceError(say("the reader {reader} cannot read {name}: {reason}", kind.name, name, words))
    return table


class _Fault(Exception):
    """What a reader did instead of answering, in words."""


class _Process:
    """A process that reads."""

    def __init__(self, kind: _Kind) -> None:
        self.kind, self.last, self.since = kind, "", time.monotonic()
        self.place = Path(tempfile.mkdtemp(prefix="hven-reader-"))
        os.mkfifo(self.place / ".asked", 0o600)
        # opened to read, too: nobody waits for the other to open it
        self._asks = os.open(self.place / ".asked", os.O_RDWR | os.O_NONBLOCK)
        self._answers, theirs = os.pipe()
        # what it says is appended, so that it can be cut off
        self._said = self.place / ".said"
        with os.fdopen(theirs, "wb") as out, self._said.open("ab") as err:
            self._warden: subprocess.Popen[bytes] = warded(
                kind.argv,
                self.place,
                out,
                err,
                stdin=self.place / ".asked",
                environment=dict(kind.environment),
                limits={"RLIMIT_DATA": kind.memory, "RLIMIT_FSIZE": WRITTEN},
            )

    @property
    def alive(self) -> bool:
        """It has not ended since, nor written what nobody had asked for."""
        return self._warden.poll() is None and not _ready(self._answers, 0.0)

    def answer(self, asked: Mapping[str, Any], rows: int, until: float) -> pa.Table:
        """Ask, and read the answer; raise `_Fault` where it is none."""
        self.last = asked["path"]
        with contextlib.suppress(OSError):
            os.truncate(self._said, 0)
        line = json.dumps(asked).encode() + b"\n"
        while line:
            if not _ready(self._asks, until, select.POLLOUT):
                raise self._why("it does not read what it is asked", until)
            line = line[os.write(self._asks, line) :]
        stream = _Answer(self._answers, until)
        try:
            with pa.ipc.open_stream(pa.PythonFile(stream, "r")) as read:
                batches, there = [], 0
                for batch in read:
                    batch.validate(full=True)
                    there += batch.num_rows
                    if there > rows:
                        raise _Fault(f"it gives more rows than the {rows:,} it was asked for")  # noqa: TRY301
                    batches.append(batch)
                return pa.Table.from_batches(batches, read.schema)
        except _Fault as fault:
            raise self._why(str(fault), until) from None
        except (pa.ArrowException, OSError, ValueError, EOFError) as fault:
            why = "it ended without an answer" if stream.ended else f"what it writes is no Arrow stream: {fault}"
            raise self._why(why, until) from None

    def _why(self, what: str, until: float = 0.0) -> _Fault:
        """Say what went wrong: how it ended, if it did, and its last words."""
        late = bool(until) and time.monotonic() >= until
        code = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._warden.wait(0.5 if what.startswith("it ended") else 0)
        if code is not None:
            how = f"by signal {code - 128}" if code > 128 else f"with exit code {code}"
            what = f"it ended {how}" + (f": {SIGNALS[code - 128]}" if code - 128 in SIGNALS else "")
        elif late:
            what = f"it gave no answer within {self.kind.seconds:g} s, and was stopped"
        with contextlib.suppress(OSError), self._said.open("rb") as file:
            file.seek(max(0, self._said.stat().st_size - 10 * SAID))
            if words := _short(file.read()):
                what += f"; it said: {words}"
        return _Fault(what)

    def stop(self) -> None:
        """End it, with all that came of it."""
        if self._warden.stdin is not None:
            with contextlib.suppress(OSError):
                self._warden.stdin.close()
        for one in (self._asks, self._answers):
            with contextlib.suppress(OSError):
                os.close(one)
        try:
            self._warden.wait(5.0)
        except subprocess.TimeoutExpired:
            self._warden.send_signal(signal.SIGKILL)  # the program dies with it
            self._warden.wait()
        shutil.rmtree(self.place, ignore_errors=True)


class _Answer:
    """What a process writes, up to a moment and a number of bytes."""

    closed = False

    def __init__(self, file: int, until: float) -> None:
        self._file, self._until, self._left, self.ended = file, until, MOST, False

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self._left:
            raise _Fault(f"it writes no Arrow stream, or one of more than {MOST >> 20} MiB")
        self._left -= size
        found = bytearray()
        while len(found) < size:
            if not _ready(self._file, self._until):
                raise _Fault("its answer is not whole")
            if not (some := os.read(self._file, size - len(found))):
                self.ended = True
                break
            found += some
        return bytes(found)

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


def _ready(file: int, until: float, what: int = select.POLLIN) -> bool:
    """Wait until one can read or write; `select` knows the first 1024 files of a process alone."""
    poll = select.poll()
    poll.register(file, what)
    return bool(poll.poll(max(until - time.monotonic(), 0.0) * 1000))


def _short(words: bytes) -> str:
    """Take the last line that says something."""
    lines = [line for line in words.decode("utf-8", "replace").splitlines() if line.strip()]
    return " ".join("".join(one if one.isprintable() else " " for one in lines[-1]).split())[-SAID:] if lines else ""


class _Pool:
    """The processes of a kind: as many as may be, each for one at a time; who is asked nothing for long ends."""

    def __init__(self, kind: _Kind) -> None:
        self.kind = kind
        self._free: list[_Process] = []
        self._count = 0
        self._watched = False
        self._changed = threading.Condition()

    def take(self, path: str, until: float) -> _Process:
        with self._changed:
            while not self._free and self._count >= self.kind.most:
                if not self._changed.wait(max(until - time.monotonic(), 0)) and time.monotonic() >= until:
                    raise SourceError(say("the readers {name} are all at work", self.kind.name), remedy=say("come again; or more readers.{name}.processes", self.kind.name))  # fmt: skip
            while self._free:
                found = next((one for one in self._free if one.last == path), self._free[-1])
                self._free.remove(found)
                if found.alive:
                    return found
                found.stop()
                self._count -= 1
            self._count += 1
        try:
            return _Process(self.kind)
        except BaseException:
            self.give(None)
            raise

    def give(self, process: _Process | None) -> None:
        """Take one back; None: it is gone."""
        with self._changed:
            if process is None:
                self._count -= 1
            else:
                process.since = time.monotonic()
                self._free.append(process)
                self._watch()
            self._changed.notify()

    def _watch(self) -> None:
        """Look later for those that were asked nothing."""
        if not self._watched and self._free:
            self._watched = True
            timer = threading.Timer(self.kind.idle, self.prune, (self.kind.idle,))
            timer.daemon = True
            timer.start()

    def prune(self, idle: float) -> None:
        """End those that were asked nothing for so long."""
        with self._changed:
            old = [one for one in self._free if time.monotonic() - one.since >= idle]
            self._free = [one for one in self._free if one not in old]
            self._count -= len(old)
            self._watched = False
            self._watch()
        for one in old:
            one.stop()


_pools: dict[tuple[int, _Kind], _Pool] = {}
_lock = threading.Lock()


def _pool(kind: _Kind) -> _Pool:
    with _lock:
        key = (os.getpid(), kind)  # a fork has its own
        if key not in _pools:
            _pools[key] = _Pool(kind)
        return _pools[key]


def stop_readers() -> None:
    """End all processes of readers that wait for something to do."""
    for (process, _), pool in list(_pools.items()):
        if process == os.getpid():
            pool.prune(0.0)


atexit.register(stop_readers)

__all__ = ["open_read", "stop_readers"]
