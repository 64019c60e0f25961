"""Bytes of files on servers elsewhere: read in blocks, each once for all readers, and kept on disk within a bound."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import tempfile
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cached_property, partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from hven.model.errors import FarFault, FarSilence, HvenError, Overloaded, StorageError, say
from hven.model.settings import secret
from hven.sources.stores import CHANGED, LATER, MIB, OWNER, Whole, changed, slow, store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
    from typing import Any

    from hven.model.settings import Settings
    from hven.model.table import Root
    from hven.sources.stores import Fact, Store

BLOCK = MIB
GROUP = 8  # blocks that one request reads at most
AHEAD = 4  # blocks before its end at which the next request begins
PIECE = 512 * 1024  # bytes that a reader takes at a time: what a slow one holds
TRIES = 5  # of a block that goes while it is read
QUEUE = 16  # requests that wait, for each that runs
DOWN = 3.0  # seconds in which a server that was away is not asked again
LOOK = 0.02  # seconds between two looks at what another process reads
KNOWN = 10_000  # files whose facts are remembered
NEAR = 4  # spans of a block from which on it is read once
SPARSE = 32  # times what is wanted: where blocks are more than that, it is read as it is, and not kept
WAITING = 16  # threads that wait for other servers: one that hangs must not have all of them
PATIENCE = 2.0  # seconds until one more of them is told to come again
FAILED = 600.0  # seconds in which archives leave out a file whose bytes did not come


@dataclass(frozen=True, slots=True, kw_only=True)
class FarFile:
    """A state of a file elsewhere: its root, its path below this, and how many bytes it has; `key` is that state's alone."""

    root: Root
    path: str
    fact: Fact
    bytes: int
    key: str


@dataclass(frozen=True, slots=True)
class FarRanges:
    """A state of a file elsewhere, read by ranges (`hven.formats.media.Ranges`)."""

    blocks: FarBlocks
    file: FarFile

    @property
    def length(self) -> int:
        """How many bytes there are."""
        return self.file.bytes

    def spans(self, size: int, places: Sequence[int], *, going_on: bool = False) -> Iterator[bytes]:
        """Read as many bytes at each of some places."""
        return self.blocks.spans(self.file, size, places, going_on=going_on)


class FarBlocks:
    """The blocks that one process reads, and what all processes of this machine keep."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._limits, self._process = settings, settings.files, os.getpid()
        self._directory = settings.var / "files"
        self._stores: dict[str, Store] = {}
        self._facts: dict[tuple[str, str], tuple[float, FarFile]] = {}
        self._down: dict[str, tuple[float, HvenError]] = {}
        self._flights: dict[tuple[str, int], Future[None]] = {}
        self._questions: dict[tuple[str, str], Future[FarFile]] = {}
        self._failed: dict[tuple[str, str], tuple[float, FarFault]] = {}
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(WAITING)
        self._written = settings.files.cache  # what there is of before is counted with the first block

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._limits.at_once, "hven-far")

    async def file(self, root: Root, path: str) -> FarFile:
        """Ask what a file is now.

        Raises
        ------
        FarFault
            Of `Store`; FarSilence, too.
        Overloaded
            Too many wait for other servers.
        """
        found: FarFile = await _over(self.asking(root, path))
        return found

    def asking(self, root: Root, path: str, *, read: bool = False) -> Future[FarFile]:
        """Begin to ask what a file is now; of one that is to be `read`, and of which nothing is known, with its first block."""
        if os.getpid() != self._process:  # a fork has neither the threads nor the connections of its parent
            self.__dict__ = FarBlocks(self._settings).__dict__
        name = _name(root)
        until, known = self._facts.get((name, path), (0.0, None))
        if known is None or time.monotonic() >= until:
            question = self._questions.get((name, path))
            if question is None or question.done():
                if len(self._questions) >= KNOWN:
                    self._questions.clear()
                call = partial(self._asked, name, root, path, read=read and known is None)
                question = self._questions[name, path] = self._submitted(call)
            return question
        future = Future[FarFile]()
        future.set_result(known)
        return future

    def begin_reading(self, root: Root, path: str) -> None:
        """Begin to read the first block of a file that is needed soon; what goes wrong is told to who reads it."""
        with contextlib.suppress(Overloaded):
            self.asking(root, path, read=True).add_done_callback(self._begin_block)

    def _begin_block(self, asked: Future[FarFile]) -> None:
        if asked.cancelled() or asked.exception() is not None or not (file := asked.result()).bytes:
            return
        if not self._place(file, 0).exists():
            with contextlib.suppress(Overloaded):
                self._flight(file, 0, 0)

    def waited(self, future: Future[Any]) -> Any:
        """Wait in a thread for what is on its way."""
        if not future.done():
            if not self._room.acquire(timeout=PATIENCE):
                raise _many()
            try:
                wait([future])
            finally:
                self._room.release()
        return future.result()

    def fault(self, root: Root, path: str) -> FarFault | None:
        """Tell why bytes of a file did not come some time ago."""
        until, error = self._failed.get((_name(root), path), (0.0, None))
        return error if time.monotonic() < until else None

    def spans(self, file: FarFile, size: int, places: Sequence[int], *, going_on: bool = False) -> Iterator[bytes]:
        """Yield as many bytes at each of some places, in a thread; blocks that are needed next are on their way meanwhile."""
        spans = [(place, min(place + size, file.bytes)) for place in places]
        runs = _runs(spans)
        count = sum(last - first + 1 for first, last in runs)
        if len(runs) > GROUP and count * BLOCK > SPARSE * size * len(spans):
            done = 0
            with contextlib.suppress(Whole):
                for part in self._apart(file, spans):
                    yield part
                    done += 1
                return
            spans = spans[done:]
            runs = _runs(spans)
        final = (file.bytes - 1) // BLOCK
        begun = passed = 0
        held = (-1, b"")
        for start, end in spans:
            begin = start
            while passed < len(runs) and runs[passed][1] < begin // BLOCK:
                passed += 1
            with contextlib.suppress(Overloaded):
                while begun < len(runs) and begun - passed < self._limits.at_once:
                    for one in range(runs[begun][0], runs[begun][1] + 1):
                        if not self._place(file, one).exists():
                            self._flight(file, one, final if going_on else runs[begun][1])
                    begun += 1
                if going_on and end // BLOCK + AHEAD <= final:
                    self._flight(file, end // BLOCK + AHEAD, final)
            parts = []
            while begin < end:
                block = begin // BLOCK
                until = min(end, (block + 1) * BLOCK)
                if len(spans) <= NEAR * count:
                    parts.append(self._block(file, block, begin - block * BLOCK, until - begin))
                else:  # many of each: it is read once
                    if held[0] != block:
                        held = block, self._block(file, block, 0, min(BLOCK, file.bytes - block * BLOCK))
                    parts.append(held[1][begin - block * BLOCK : until - block * BLOCK])
                begin = until
            yield parts[0] if len(parts) == 1 else b"".join(parts)

    def _block(self, file: FarFile, block: int, offset: int, size: int) -> bytes:
        for _ in range(TRIES):
            part = _kept(self._place(file, block), offset, size)
            if part is not None:
                return part
            self.waited(self._flight(file, block, block, wanted=True))
        raise _gone()

    def _apart(self, file: FarFile, spans: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Read spans as they are, several at once."""
        coming: deque[Future[bytes]] = deque()
        for begin, end in spans:
            block = begin // BLOCK
            kept = _kept(self._place(file, block), begin - block * BLOCK, end - begin)
            if kept is None:
                coming.append(self._submitted(partial(self._direct, file, begin, end)))
            else:
                coming.append(Future())
                coming[-1].set_result(kept)
            if len(coming) > self._limits.at_once:
                yield self.waited(coming.popleft())
        while coming:
            yield self.waited(coming.popleft())

    def _direct(self, file: FarFile, begin: int, end: int) -> bytes:
        try:
            parts = self._store(_name(file.root), file.root).read(file.path, begin, end, file.fact)
            with contextlib.closing(parts):  # type: ignore[type-var]  # they are generators
                found = b"".join(parts)
            if len(found) != end - begin:
                raise changed()
        except FarFault as error:
            if not isinstance(error, Whole):
                self._broken(file, error)
            raise
        return found

    async def pieces(self, file: FarFile, begin: int, end: int) -> AsyncGenerator[bytes]:
        """Yield bytes from `begin` to before `end`, as fast as they are taken."""
        last = (end - 1) // BLOCK
        while begin < end:
            block = begin // BLOCK
            if begin % BLOCK == 0 and block + AHEAD <= last:
                with contextlib.suppress(Overloaded):
                    self._flight(file, block + AHEAD, last)
            until = min(end, begin + PIECE, (block + 1) * BLOCK)
            part = await self._piece(file, block, begin - block * BLOCK, until - begin, last)
            begin += len(part)
            yield part

    async def _piece(self, file: FarFile, block: int, offset: int, size: int, last: int) -> bytes:
        loop = asyncio.get_running_loop()
        for _ in range(TRIES):
            part = await loop.run_in_executor(None, _kept, self._place(file, block), offset, size)
            if part is not None:
                return part
            await _over(self._flight(file, block, last, wanted=True))
        raise _gone()

    def _submitted(self, call: Callable[[], Any]) -> Future[Any]:
        if self._pool._work_queue.qsize() > QUEUE * self._limits.at_once:  # noqa: SLF001  (it does not tell otherwise)
            raise _many()
        return self._pool.submit(call)

    def _store(self, name: str, root: Root) -> Store:
        with self._lock:
            if name not in self._stores:
                self._stores[name] = store(
                    root,
                    secret=partial(secret, self._settings.directory),
                    allow_private=self._settings.allow_private,
                    seconds=self._limits.seconds,
                )
            return self._stores[name]

    def _asked(self, name: str, root: Root, path: str, *, read: bool = False) -> FarFile:
        until, error = self._down.get(name, (0.0, None))
        if error is not None and time.monotonic() < until:
            raise type(error)(error.message, remedy=error.remedy) from error
        try:
            there = self._store(name, root)
            fact, body = there.begun(path, BLOCK) if read else (there.fact(path), b"")
        except FarFault as found:
            self._noted(name, found)
            raise
        except HvenError as found:  # what its owner must set right is not for readers
            raise FarFault("the server that keeps it cannot be asked", remedy=OWNER) from found
        if fact.bytes is None:
            raise FarFault("the server that keeps it does not say its size", remedy=OWNER)
        text = "\0".join(map(str, (name, path, fact.bytes, fact.modified, fact.tag)))
        key = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=20).hexdigest()
        file = FarFile(root=root, path=path, fact=fact, bytes=fact.bytes, key=key)
        if body and len(body) == min(BLOCK, file.bytes):
            self._written_block(self._place(file, 0), len(body), iter([body]), memoryview(b""), inf)
        if len(self._facts) >= KNOWN:
            self._facts.clear()
        self._facts[name, path] = (time.monotonic() + self._limits.fresh, file)
        return file

    def _noted(self, name: str, error: FarFault) -> None:
        """Remember that a server is away: not everybody need wait for it."""
        if error.remedy == LATER and error.message != CHANGED:
            self._down[name] = (time.monotonic() + DOWN, error)

    def _broken(self, file: FarFile, error: FarFault) -> None:
        """Remember that bytes of a file did not come; what it is now is asked anew."""
        name = _name(file.root)
        self._facts.pop((name, file.path), None)
        if isinstance(error, FarSilence):  # else it may be this file alone
            self._noted(name, error)
        if len(self._failed) >= KNOWN:
            self._failed.clear()
        self._failed[name, file.path] = (time.monotonic() + FAILED, error)

    def _place(self, file: FarFile, block: int) -> Path:
        return self._directory / file.key[:2] / f"{file.key}-{block}"

    def _flight(self, file: FarFile, block: int, last: int, *, wanted: bool = False) -> Future[None]:
        """Read a block, and those behind it that one request reads with it, unless somebody does already."""
        with self._lock:
            known = self._flights.get((file.key, block))
            if known is not None:
                return known
            blocks = []
            for one in range(block, min(last + 1, (block // GROUP + 1) * GROUP)):
                if (file.key, one) in self._flights or (
                    not (wanted and one == block) and self._place(file, one).exists()
                ):
                    break
                blocks.append(one)
            futures = {one: Future[None]() for one in blocks}
            if not futures:
                done = Future[None]()
                done.set_result(None)
                return done
            self._submitted(partial(self._fetched, file, futures))
            self._flights |= {(file.key, one): future for one, future in futures.items()}
            return futures[block]

    def _fetched(self, file: FarFile, futures: dict[int, Future[None]]) -> None:
        try:
            blocks = [*futures]
            try:
                with self._alone(file, str(blocks[0] // GROUP), blocks) as left:
                    if left:
                        self._read(file, left[0], left[-1], futures)
            except Whole:
                self._read_whole(file, blocks, futures)
            for future in futures.values():
                if not future.done():
                    future.set_result(None)
        except BaseException as error:  # noqa: BLE001  (whoever waits is told)
            if isinstance(error, FarFault):
                self._broken(file, error)
            for future in futures.values():
                if not future.done():
                    future.set_exception(error)
        finally:
            with self._lock:
                for one in futures:
                    self._flights.pop((file.key, one), None)

    def _read_whole(self, file: FarFile, blocks: Sequence[int], futures: dict[int, Future[None]]) -> None:
        if file.bytes > self._limits.cache // 2:
            raise FarFault("the server that keeps it gives no parts of files, and this one is large", remedy=OWNER)
        with self._alone(file, "whole", blocks) as left:
            if left:
                self._read(file, 0, (file.bytes - 1) // BLOCK, futures)

    def _read(self, file: FarFile, first: int, last: int, futures: dict[int, Future[None]]) -> None:
        """Read blocks in one request, each on disk as soon as it is whole."""
        end = min((last + 1) * BLOCK, file.bytes)
        parts = self._store(_name(file.root), file.root).read(file.path, first * BLOCK, end, file.fact)
        with contextlib.closing(parts):  # type: ignore[type-var]  # they are generators
            rest = memoryview(b"")
            for block in range(first, last + 1):
                size = min(BLOCK, file.bytes - block * BLOCK)
                late = time.monotonic() + self._limits.seconds
                rest = self._written_block(self._place(file, block), size, parts, rest, late)
                if block in futures and not futures[block].done():
                    futures[block].set_result(None)
            if not rest:
                next(parts, None)  # the answer's end: its connection may serve the next

    def _written_block(
        self, place: Path, size: int, parts: Iterator[bytes], rest: memoryview, late: float
    ) -> memoryview:
        """Write a block from what comes, and return what came of the next."""
        self._swept(size)
        try:
            if not place.parent.is_dir():
                place.parent.mkdir(parents=True, exist_ok=True)
            number, name = tempfile.mkstemp(dir=place.parent, prefix=".unfinished-")
        except OSError as error:
            raise _full(error) from error
        try:
            with os.fdopen(number, "wb") as out:
                left = size
                while left:
                    if not rest:
                        rest = memoryview(next(parts, b""))
                        if not rest:
                            raise changed()
                        if time.monotonic() > late:
                            raise slow()
                    out.write(rest[:left])
                    rest, left = rest[left:], left - min(left, len(rest))
            Path(name).replace(place)
        except OSError as error:
            raise _full(error) from error
        finally:
            Path(name).unlink(missing_ok=True)
        return rest

    @contextlib.contextmanager
    def _alone(self, file: FarFile, what: str, blocks: Sequence[int]) -> Iterator[Sequence[int]]:
        """Wait until nobody else reads the same; give the blocks that are not there then.

        Who reads has so many seconds for each block: to wait for less would tell a server as silent that is not.
        """
        mark = hashlib.blake2b(f"{file.key} {what}".encode(), digest_size=2).hexdigest()[:3]
        place = self._directory / "locks" / mark
        place.parent.mkdir(parents=True, exist_ok=True)
        late = time.monotonic() + (GROUP + 1) * self._limits.seconds

        def missing() -> list[int]:
            return [one for one in blocks if not self._place(file, one).exists()]

        with place.open("wb") as held:
            while True:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                if not missing():
                    break
                if time.monotonic() > late:
                    raise slow()
                time.sleep(LOOK)
            yield missing()

    def _swept(self, size: int) -> None:
        """Remove what was not read for longest, now and then."""
        with self._lock:
            self._written += size
            if self._written < self._limits.cache // 16:
                return
            self._written = 0
        found = []
        for place in self._directory.glob("[0-9a-f][0-9a-f]/*"):
            with contextlib.suppress(OSError):
                stat = place.stat()
                found.append((stat.st_mtime, stat.st_blocks * 512, place))
        room = sum(one[1] for one in found) - self._limits.cache * 7 // 8
        for _, taken, place in sorted(found):
            if room <= 0:
                return
            with contextlib.suppress(OSError):
                place.unlink()
            room -= taken


async def _over(future: Future[Any]) -> Any:
    """Wait for something that goes on without us."""
    inner = asyncio.wrap_future(future)
    inner.add_done_callback(lambda one: one.cancelled() or one.exception())  # it may be that nobody waits any more
    return await asyncio.shield(inner)


def _name(root: Root) -> str:
    return "\0".join([root.address, *(f"{key}={value}" for key, value in sorted(root.options.items()))])


def _runs(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return first and last of the blocks in which spans lie, as requests read them."""
    runs: list[tuple[int, int]] = []
    for one in sorted({one for begin, end in spans for one in range(begin // BLOCK, -(-end // BLOCK))}):
        if runs and one == runs[-1][1] + 1 and one % GROUP:
            runs[-1] = (runs[-1][0], one)
        else:
            runs.append((one, one))
    return runs


def _many() -> Overloaded:
    return Overloaded("many readers wait for files of other servers", remedy="ask again in some seconds", seconds=5.0)


def _gone() -> StorageError:
    return StorageError("blocks of files go before they are read", remedy="its owner must give files.cache more room")


def _full(error: OSError) -> StorageError:
    return StorageError(
        say("blocks of files cannot be kept: {reason}", str(error.strerror).lower()),
        remedy="its owner must make room on the disk",
    )


def _kept(place: Path, offset: int, size: int) -> bytes | None:
    """Read a piece of a block; None: it is not there."""
    try:
        with place.open("rb", buffering=0) as file:
            if offset == 0 and time.time() - os.fstat(file.fileno()).st_mtime > 60:
                os.utime(file.fileno())
            part = os.pread(file.fileno(), size, offset)
    except OSError:
        return None
    return part if len(part) == size else None
