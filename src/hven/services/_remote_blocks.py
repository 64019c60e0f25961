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

from hven.model.errors import (
    HvenError,
    OverloadedError,
    StorageError,
    UpstreamError,
    UpstreamTimeoutError,
    format_message,
)
from hven.model.settings import resolve_secret
from hven.sources.remote_stores import (
    CHANGED_MESSAGE,
    LATER_REMEDY,
    MEBIBYTE,
    OWNER_REMEDY,
    NoRangesError,
    build_changed_error,
    build_timeout_error,
    open_store,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
    from typing import Any

    from hven.model.settings import Settings
    from hven.model.table import FileRoot
    from hven.sources.remote_stores import RemoteFileFacts, RemoteStore

BLOCK_BYTES = MEBIBYTE
BLOCKS_PER_REQUEST = 8  # blocks that one request reads at most
READ_AHEAD_BLOCKS = 4  # blocks before its end at which the next request begins
PIECE_BYTES = 512 * 1024  # bytes that a reader takes at a time: what a slow one holds
MAX_BLOCK_READS = 5  # of a block that goes while it is read
QUEUED_REQUESTS_PER_WORKER = 16  # requests that wait, for each that runs
SERVER_RETRY_SECONDS = 3.0  # seconds in which a server that was away is not asked again
LOCK_POLL_SECONDS = 0.02  # seconds between two looks at what another process reads
MAX_CACHED_FILES = 10_000  # files whose facts are remembered
MIN_SPANS_PER_BLOCK = 4  # spans of a block from which on it is read once
SPARSE_READ_FACTOR = 32  # times what is wanted: where blocks are more than that, it is read as it is, and not kept
MAX_WAITING_THREADS = 16  # threads that wait for other servers: one that hangs must not have all of them
THREAD_WAIT_SECONDS = 2.0  # seconds until one more of them is told to come again
FAILURE_MEMORY_SECONDS = 600.0  # seconds in which archives leave out a file whose bytes did not come


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFileState:
    """A state of a file elsewhere: its root, its path below this, and how many bytes it has.

    `key` is that state's alone.
    """

    root: FileRoot
    path: str
    file_fact: RemoteFileFacts
    bytes: int
    key: str


@dataclass(frozen=True, slots=True)
class RemoteFileRanges:
    """A state of a file elsewhere, read by ranges (`hven.formats.media.ByteRanges`)."""

    blocks: RemoteBlockCache
    file: RemoteFileState

    @property
    def length(self) -> int:
        """How many bytes there are."""
        return self.file.bytes

    def read_spans(self, span_bytes: int, offsets: Sequence[int], *, read_ahead: bool = False) -> Iterator[bytes]:
        """Read as many bytes at each of some places."""
        return self.blocks.read_spans(self.file, span_bytes, offsets, read_ahead=read_ahead)


class RemoteBlockCache:
    """The blocks that one process reads, and what all processes of this machine keep."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = settings.files
        self._process_id = os.getpid()
        self._directory = settings.var_directory / "files"
        self._stores: dict[str, RemoteStore] = {}
        self._file_states: dict[tuple[str, str], tuple[float, RemoteFileState]] = {}
        self._unreachable_servers: dict[str, tuple[float, HvenError]] = {}
        self._running_reads: dict[tuple[str, int], Future[None]] = {}
        self._questions: dict[tuple[str, str], Future[RemoteFileState]] = {}
        self._failed_files: dict[tuple[str, str], tuple[float, UpstreamError]] = {}
        self._lock = threading.Lock()
        self._waiting_slots = threading.BoundedSemaphore(MAX_WAITING_THREADS)
        self._bytes_since_sweep = settings.files.cache  # what there is of before is counted with the first block

    @cached_property
    def _thread_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._limits.at_once, "hven-far")

    async def get_file_state(self, root: FileRoot, path: str) -> RemoteFileState:
        """Ask what a file is now.

        Raises
        ------
        UpstreamError
            Of `RemoteStore`; FarSilence, too.
        OverloadedError
            Too many wait for other servers.
        """
        file_state: RemoteFileState = await _wait_for_shared_future(self.start_file_request(root, path))
        return file_state

    def start_file_request(
        self, root: FileRoot, path: str, *, with_first_block: bool = False
    ) -> Future[RemoteFileState]:
        """Begin to ask what a file is now.

        Of one that is to be `with_first_block`, and of which nothing is known, with its first block.
        """
        if os.getpid() != self._process_id:  # a fork has neither the threads nor the connections of its parent
            self.__dict__ = RemoteBlockCache(self._settings).__dict__
        name = _make_root_key(root)
        until, cached_state = self._file_states.get((name, path), (0.0, None))
        if cached_state is None or time.monotonic() >= until:
            question = self._questions.get((name, path))
            if question is None or question.done():
                if len(self._questions) >= MAX_CACHED_FILES:
                    self._questions.clear()
                call = partial(
                    self._request_file_state,
                    name,
                    root,
                    path,
                    with_first_block=with_first_block and cached_state is None,
                )
                question = self._questions[name, path] = self._submit_call(call)
            return question
        future = Future[RemoteFileState]()
        future.set_result(cached_state)
        return future

    def begin_reading(self, root: FileRoot, path: str) -> None:
        """Begin to read the first block of a file that is needed soon; what goes wrong is told to who reads it."""
        with contextlib.suppress(OverloadedError):
            self.start_file_request(root, path, with_first_block=True).add_done_callback(self._begin_block)

    def _begin_block(self, asked: Future[RemoteFileState]) -> None:
        if asked.cancelled() or asked.exception() is not None or not (file := asked.result()).bytes:
            return
        if not self._build_block_path(file, 0).exists():
            with contextlib.suppress(OverloadedError):
                self._start_read(file, 0, 0)

    def wait_for_future(self, future: Future[Any]) -> Any:
        """Wait in a thread for what is on its way."""
        if not future.done():
            if not self._waiting_slots.acquire(timeout=THREAD_WAIT_SECONDS):
                raise _build_overloaded_error()
            try:
                wait([future])
            finally:
                self._waiting_slots.release()
        return future.result()

    def find_recent_failure(self, root: FileRoot, path: str) -> UpstreamError | None:
        """Tell why bytes of a file did not come some time ago."""
        until, error = self._failed_files.get((_make_root_key(root), path), (0.0, None))
        if time.monotonic() < until:
            return error
        return None

    def read_spans(
        self, file: RemoteFileState, span_bytes: int, offsets: Sequence[int], *, read_ahead: bool = False
    ) -> Iterator[bytes]:
        """Yield as many bytes at each of some places, in a thread.

        Blocks that are needed next are on their way meanwhile.
        """
        spans = [(place, min(place + span_bytes, file.bytes)) for place in offsets]
        runs = _group_blocks(spans)
        count = sum(last - first + 1 for first, last in runs)
        if len(runs) > BLOCKS_PER_REQUEST and count * BLOCK_BYTES > SPARSE_READ_FACTOR * span_bytes * len(spans):
            yielded_count = 0
            with contextlib.suppress(NoRangesError):
                for part in self._read_spans_directly(file, spans):
                    yield part
                    yielded_count += 1
                return
            spans = spans[yielded_count:]
            runs = _group_blocks(spans)
        final = (file.bytes - 1) // BLOCK_BYTES
        begun = passed = 0
        current_block = (-1, b"")
        for start, end in spans:
            begin = start
            while passed < len(runs) and runs[passed][1] < begin // BLOCK_BYTES:
                passed += 1
            with contextlib.suppress(OverloadedError):
                while begun < len(runs) and begun - passed < self._limits.at_once:
                    for block_number in range(runs[begun][0], runs[begun][1] + 1):
                        if not self._build_block_path(file, block_number).exists():
                            self._start_read(file, block_number, final if read_ahead else runs[begun][1])
                    begun += 1
                if read_ahead and end // BLOCK_BYTES + READ_AHEAD_BLOCKS <= final:
                    self._start_read(file, end // BLOCK_BYTES + READ_AHEAD_BLOCKS, final)
            parts = []
            while begin < end:
                block = begin // BLOCK_BYTES
                until = min(end, (block + 1) * BLOCK_BYTES)
                if len(spans) <= MIN_SPANS_PER_BLOCK * count:
                    parts.append(self._read_block(file, block, begin - block * BLOCK_BYTES, until - begin))
                else:  # many of each: it is read once
                    if current_block[0] != block:
                        current_block = (
                            block,
                            self._read_block(file, block, 0, min(BLOCK_BYTES, file.bytes - block * BLOCK_BYTES)),
                        )
                    parts.append(current_block[1][begin - block * BLOCK_BYTES : until - block * BLOCK_BYTES])
                begin = until
            yield parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_block(self, file: RemoteFileState, block: int, offset: int, byte_count: int) -> bytes:
        for _ in range(MAX_BLOCK_READS):
            block_path = self._build_block_path(file, block)
            part = _read_stored_block(block_path, offset, byte_count)
            if part is not None:
                return part
            self.wait_for_future(self._start_read(file, block, block, is_required=True))
        raise _build_evicted_error()

    def _read_spans_directly(self, file: RemoteFileState, spans: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Read spans as they are, several at once."""
        pending_reads: deque[Future[bytes]] = deque()
        for begin, end in spans:
            block = begin // BLOCK_BYTES
            block_path = self._build_block_path(file, block)
            stored_bytes = _read_stored_block(block_path, begin - block * BLOCK_BYTES, end - begin)
            if stored_bytes is None:
                pending_reads.append(self._submit_call(partial(self._read_span, file, begin, end)))
            else:
                pending_reads.append(Future())
                pending_reads[-1].set_result(stored_bytes)
            if len(pending_reads) > self._limits.at_once:
                yield self.wait_for_future(pending_reads.popleft())
        while pending_reads:
            yield self.wait_for_future(pending_reads.popleft())

    def _read_span(self, file: RemoteFileState, begin: int, end: int) -> bytes:
        try:
            parts = self._open_store(_make_root_key(file.root), file.root).read_range(
                file.path, begin, end, file.file_fact
            )
            with contextlib.closing(parts):  # type: ignore[type-var]  # they are generators
                span_content = b"".join(parts)
            if len(span_content) != end - begin:
                raise build_changed_error()
        except UpstreamError as error:
            if not isinstance(error, NoRangesError):
                self._note_failed_file(file, error)
            raise
        return span_content

    async def stream_pieces(self, file: RemoteFileState, begin: int, end: int) -> AsyncGenerator[bytes]:
        """Yield bytes from `begin` to before `end`, as fast as they are taken."""
        last = (end - 1) // BLOCK_BYTES
        while begin < end:
            block = begin // BLOCK_BYTES
            if begin % BLOCK_BYTES == 0 and block + READ_AHEAD_BLOCKS <= last:
                with contextlib.suppress(OverloadedError):
                    self._start_read(file, block + READ_AHEAD_BLOCKS, last)
            until = min(end, begin + PIECE_BYTES, (block + 1) * BLOCK_BYTES)
            part = await self._read_piece(file, block, begin - block * BLOCK_BYTES, until - begin, last)
            begin += len(part)
            yield part

    async def _read_piece(
        self, file: RemoteFileState, block: int, offset: int, byte_count: int, last_block: int
    ) -> bytes:
        loop = asyncio.get_running_loop()
        for _ in range(MAX_BLOCK_READS):
            block_path = self._build_block_path(file, block)
            part = await loop.run_in_executor(None, _read_stored_block, block_path, offset, byte_count)
            if part is not None:
                return part
            await _wait_for_shared_future(self._start_read(file, block, last_block, is_required=True))
        raise _build_evicted_error()

    def _submit_call(self, call: Callable[[], Any]) -> Future[Any]:
        # it does not tell otherwise
        if self._thread_pool._work_queue.qsize() > QUEUED_REQUESTS_PER_WORKER * self._limits.at_once:  # noqa: SLF001
            raise _build_overloaded_error()
        return self._thread_pool.submit(call)

    def _open_store(self, root_key: str, root: FileRoot) -> RemoteStore:
        with self._lock:
            if root_key not in self._stores:
                self._stores[root_key] = open_store(
                    root,
                    resolve_secret=partial(resolve_secret, self._settings.directory),
                    allow_private=self._settings.allow_private,
                    timeout_seconds=self._limits.seconds,
                )
            return self._stores[root_key]

    def _request_file_state(
        self, root_key: str, root: FileRoot, path: str, *, with_first_block: bool = False
    ) -> RemoteFileState:
        until, error = self._unreachable_servers.get(root_key, (0.0, None))
        if error is not None and time.monotonic() < until:
            raise type(error)(error.message, remedy=error.remedy) from error
        try:
            remote_store = self._open_store(root_key, root)
            if with_first_block:
                fact, body = remote_store.read_beginning(path, BLOCK_BYTES)
            else:
                fact, body = (remote_store.fetch_facts(path), b"")
        except UpstreamError as found:
            self._note_unreachable_server(root_key, found)
            raise
        except HvenError as found:  # what its owner must set right is not for readers
            raise UpstreamError("the server that keeps it cannot be asked", remedy=OWNER_REMEDY) from found
        if fact.bytes is None:
            raise UpstreamError("the server that keeps it does not say its size", remedy=OWNER_REMEDY)
        text = "\0".join(map(str, (root_key, path, fact.bytes, fact.modified, fact.tag)))
        key = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=20).hexdigest()
        file = RemoteFileState(root=root, path=path, file_fact=fact, bytes=fact.bytes, key=key)
        if body and len(body) == min(BLOCK_BYTES, file.bytes):
            block_path = self._build_block_path(file, 0)
            self._write_block(block_path, len(body), iter([body]), memoryview(b""), inf)
        if len(self._file_states) >= MAX_CACHED_FILES:
            self._file_states.clear()
        self._file_states[root_key, path] = (time.monotonic() + self._limits.fresh, file)
        return file

    def _note_unreachable_server(self, root_key: str, error: UpstreamError) -> None:
        """Remember that a server is away: not everybody need wait for it."""
        if error.remedy == LATER_REMEDY and error.message != CHANGED_MESSAGE:
            self._unreachable_servers[root_key] = (time.monotonic() + SERVER_RETRY_SECONDS, error)

    def _note_failed_file(self, file: RemoteFileState, error: UpstreamError) -> None:
        """Remember that bytes of a file did not come; what it is now is asked anew."""
        name = _make_root_key(file.root)
        self._file_states.pop((name, file.path), None)
        if isinstance(error, UpstreamTimeoutError):  # else it may be this file alone
            self._note_unreachable_server(name, error)
        if len(self._failed_files) >= MAX_CACHED_FILES:
            self._failed_files.clear()
        self._failed_files[name, file.path] = (time.monotonic() + FAILURE_MEMORY_SECONDS, error)

    def _build_block_path(self, file: RemoteFileState, block: int) -> Path:
        return self._directory / file.key[:2] / f"{file.key}-{block}"

    def _start_read(
        self, file: RemoteFileState, block: int, last_block: int, *, is_required: bool = False
    ) -> Future[None]:
        """Read a block, and those behind it that one request reads with it, unless somebody does already."""
        with self._lock:
            running_read = self._running_reads.get((file.key, block))
            if running_read is not None:
                return running_read
            blocks = []
            for block_number in range(
                block, min(last_block + 1, (block // BLOCKS_PER_REQUEST + 1) * BLOCKS_PER_REQUEST)
            ):
                if (file.key, block_number) in self._running_reads or (
                    not (is_required and block_number == block) and self._build_block_path(file, block_number).exists()
                ):
                    break
                blocks.append(block_number)
            futures = {block_number: Future[None]() for block_number in blocks}
            if not futures:
                finished_read = Future[None]()
                finished_read.set_result(None)
                return finished_read
            self._submit_call(partial(self._fetch_blocks, file, futures))
            self._running_reads |= {(file.key, block_number): future for block_number, future in futures.items()}
            return futures[block]

    def _fetch_blocks(self, file: RemoteFileState, futures_by_block: dict[int, Future[None]]) -> None:
        try:
            blocks = [*futures_by_block]
            try:
                with self._lock_blocks(file, str(blocks[0] // BLOCKS_PER_REQUEST), blocks) as missing_blocks:
                    if missing_blocks:
                        self._fetch_block_range(file, missing_blocks[0], missing_blocks[-1], futures_by_block)
            except NoRangesError:
                self._fetch_whole_file(file, blocks, futures_by_block)
            for future in futures_by_block.values():
                if not future.done():
                    future.set_result(None)
        except BaseException as error:  # noqa: BLE001  (whoever waits is told)
            if isinstance(error, UpstreamError):
                self._note_failed_file(file, error)
            for future in futures_by_block.values():
                if not future.done():
                    future.set_exception(error)
        finally:
            with self._lock:
                for block_number in futures_by_block:
                    self._running_reads.pop((file.key, block_number), None)

    def _fetch_whole_file(
        self, file: RemoteFileState, blocks: Sequence[int], futures_by_block: dict[int, Future[None]]
    ) -> None:
        if file.bytes > self._limits.cache // 2:
            raise UpstreamError(
                "the server that keeps it gives no parts of files, and this one is large", remedy=OWNER_REMEDY
            )
        with self._lock_blocks(file, "whole", blocks) as missing_blocks:
            if missing_blocks:
                self._fetch_block_range(file, 0, (file.bytes - 1) // BLOCK_BYTES, futures_by_block)

    def _fetch_block_range(
        self, file: RemoteFileState, first_block: int, last_block: int, futures_by_block: dict[int, Future[None]]
    ) -> None:
        """Read blocks in one request, each on disk as soon as it is whole."""
        end = min((last_block + 1) * BLOCK_BYTES, file.bytes)
        parts = self._open_store(_make_root_key(file.root), file.root).read_range(
            file.path, first_block * BLOCK_BYTES, end, file.file_fact
        )
        with contextlib.closing(parts):  # type: ignore[type-var]  # they are generators
            pending_bytes = memoryview(b"")
            for block in range(first_block, last_block + 1):
                size = min(BLOCK_BYTES, file.bytes - block * BLOCK_BYTES)
                late = time.monotonic() + self._limits.seconds
                block_path = self._build_block_path(file, block)
                pending_bytes = self._write_block(block_path, size, parts, pending_bytes, late)
                if block in futures_by_block and not futures_by_block[block].done():
                    futures_by_block[block].set_result(None)
            if not pending_bytes:
                next(parts, None)  # the answer's end: its connection may serve the next

    def _write_block(
        self,
        block_path: Path,
        block_bytes: int,
        parts: Iterator[bytes],
        pending_bytes: memoryview,
        deadline_time: float,
    ) -> memoryview:
        """Write a block from what comes, and return what came of the next."""
        self._remove_oldest_blocks(block_bytes)
        try:
            if not block_path.parent.is_dir():
                block_path.parent.mkdir(parents=True, exist_ok=True)
            number, name = tempfile.mkstemp(dir=block_path.parent, prefix=".unfinished-")
        except OSError as error:
            raise _build_storage_error(error) from error
        try:
            with os.fdopen(number, "wb") as out:
                remaining_bytes = block_bytes
                while remaining_bytes:
                    if not pending_bytes:
                        pending_bytes = memoryview(next(parts, b""))
                        if not pending_bytes:
                            raise build_changed_error()
                        if time.monotonic() > deadline_time:
                            raise build_timeout_error()
                    out.write(pending_bytes[:remaining_bytes])
                    pending_bytes, remaining_bytes = (
                        pending_bytes[remaining_bytes:],
                        remaining_bytes - min(remaining_bytes, len(pending_bytes)),
                    )
            Path(name).replace(block_path)
        except OSError as error:
            raise _build_storage_error(error) from error
        finally:
            Path(name).unlink(missing_ok=True)
        return pending_bytes

    @contextlib.contextmanager
    def _lock_blocks(self, file: RemoteFileState, lock_name: str, blocks: Sequence[int]) -> Iterator[Sequence[int]]:
        """Wait until nobody else reads the same; give the blocks that are not there then.

        Who reads has so many seconds for each block: to wait for less would tell a server as silent that is not.
        """
        mark = hashlib.blake2b(f"{file.key} {lock_name}".encode(), digest_size=2).hexdigest()[:3]
        place = self._directory / "locks" / mark
        place.parent.mkdir(parents=True, exist_ok=True)
        late = time.monotonic() + (BLOCKS_PER_REQUEST + 1) * self._limits.seconds

        def list_missing_blocks() -> list[int]:
            return [block_number for block_number in blocks if not self._build_block_path(file, block_number).exists()]

        with place.open("wb") as lock_file:
            while True:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                if not list_missing_blocks():
                    break
                if time.monotonic() > late:
                    raise build_timeout_error()
                time.sleep(LOCK_POLL_SECONDS)
            yield list_missing_blocks()

    def _remove_oldest_blocks(self, added_bytes: int) -> None:
        """Remove what was not read for longest, now and then."""
        with self._lock:
            self._bytes_since_sweep += added_bytes
            if self._bytes_since_sweep < self._limits.cache // 16:
                return
            self._bytes_since_sweep = 0
        stored_blocks = []
        for place in self._directory.glob("[0-9a-f][0-9a-f]/*"):
            with contextlib.suppress(OSError):
                stat = place.stat()
                stored_blocks.append((stat.st_mtime, stat.st_blocks * 512, place))
        room = sum(stored_block[1] for stored_block in stored_blocks) - self._limits.cache * 7 // 8
        for _, disk_bytes, place in sorted(stored_blocks):
            if room <= 0:
                return
            with contextlib.suppress(OSError):
                place.unlink()
            room -= disk_bytes


async def _wait_for_shared_future(future: Future[Any]) -> Any:
    """Wait for something that goes on without us."""
    inner = asyncio.wrap_future(future)
    inner.add_done_callback(lambda one: one.cancelled() or one.exception())  # it may be that nobody waits any more
    return await asyncio.shield(inner)


def _make_root_key(root: FileRoot) -> str:
    return "\0".join([root.address, *(f"{key}={value}" for key, value in sorted(root.options.items()))])


def _group_blocks(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return first and last of the blocks in which spans lie, as requests read them."""
    runs: list[tuple[int, int]] = []
    for block_number in sorted(
        {block_number for begin, end in spans for block_number in range(begin // BLOCK_BYTES, -(-end // BLOCK_BYTES))}
    ):
        if runs and block_number == runs[-1][1] + 1 and block_number % BLOCKS_PER_REQUEST:
            runs[-1] = (runs[-1][0], block_number)
        else:
            runs.append((block_number, block_number))
    return runs


def _build_overloaded_error() -> OverloadedError:
    return OverloadedError(
        "many readers wait for files of other servers", remedy="ask again in some seconds", retry_after_seconds=5.0
    )


def _build_evicted_error() -> StorageError:
    return StorageError("blocks of files go before they are read", remedy="its owner must give files.cache more room")


def _build_storage_error(error: OSError) -> StorageError:
    return StorageError(
        format_message("blocks of files cannot be kept: {reason}", str(error.strerror).lower()),
        remedy="its owner must make room on the disk",
    )


def _read_stored_block(block_path: Path, offset: int, byte_count: int) -> bytes | None:
    """Read a piece of a block; None: it is not there."""
    try:
        with block_path.open("rb", buffering=0) as file:
            if offset == 0 and time.time() - os.fstat(file.fileno()).st_mtime > 60:
                os.utime(file.fileno())
            part = os.pread(file.fileno(), byte_count, offset)
    except OSError:
        return None
    return part if len(part) == byte_count else None
