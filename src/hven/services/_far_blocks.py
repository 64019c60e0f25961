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
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from hven.model.errors import FarFault, HvenError, Overloaded, StorageError, say
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


@dataclass(frozen=True, slots=True, kw_only=True)
class FarFile:
    """A state of a file elsewhere: its root, its path below this, and how many bytes it has; `key` is that state's alone."""

    root: Root
    path: str
    fact: Fact
    bytes: int
    key: str


class FarBlocks:
    """The blocks that one process reads, and what all processes of this machine keep."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._limits = settings, settings.files
        self._directory = settings.var / "files"
        self._stores: dict[str, Store] = {}
        self._facts: dict[tuple[str, str], tuple[float, FarFile]] = {}
        self._down: dict[str, tuple[float, HvenError]] = {}
        self._flights: dict[tuple[str, int], Future[None]] = {}
        self._lock = threading.Lock()
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
        name = _name(root)
        until, known = self._facts.get((name, path), (0.0, None))
        if known is not None and time.monotonic() < until:
            return known
        found: FarFile = await _over(self._submitted(partial(self._asked, name, root, path)))
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
        raise StorageError(
            "blocks of files go before they are read", remedy="its owner must give files.cache more room"
        )

    def _submitted(self, call: Callable[[], Any]) -> Future[Any]:
        if self._pool._work_queue.qsize() > QUEUE * self._limits.at_once:  # noqa: SLF001  (it does not tell otherwise)
            raise Overloaded(
                "many readers wait for files of other servers", remedy="ask again in some seconds", seconds=5.0
            )
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

    def _asked(self, name: str, root: Root, path: str) -> FarFile:
        until, error = self._down.get(name, (0.0, None))
        if error is not None and time.monotonic() < until:
            raise type(error)(error.message, remedy=error.remedy) from error
        try:
            fact = self._store(name, root).fact(path)
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
        if len(self._facts) >= KNOWN:
            self._facts.clear()
        self._facts[name, path] = (time.monotonic() + self._limits.fresh, file)
        return file

    def _noted(self, name: str, error: FarFault) -> None:
        """Remember that a server is away: not everybody need wait for it."""
        if error.remedy == LATER and error.message != CHANGED:
            self._down[name] = (time.monotonic() + DOWN, error)

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
                self._facts.pop((_name(file.root), file.path), None)
                self._noted(_name(file.root), error)
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

    def _written_block(
        self, place: Path, size: int, parts: Iterator[bytes], rest: memoryview, late: float
    ) -> memoryview:
        """Write a block from what comes, and return what came of the next."""
        place.parent.mkdir(parents=True, exist_ok=True)
        self._swept(size)
        try:
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
        """Wait until no other process reads the same; give the blocks that are not there then."""
        mark = hashlib.blake2b(f"{file.key} {what}".encode(), digest_size=2).hexdigest()[:3]
        place = self._directory / "locks" / mark
        place.parent.mkdir(parents=True, exist_ok=True)
        late = time.monotonic() + 4 * self._limits.seconds

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
