"""Read files on other servers in blocks that are fetched once for all clients and cached on disk up to a limit."""

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
from functools import cached_property, partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hven.model.errors import (
    HvenError,
    OverloadedError,
    StorageError,
    UpstreamError,
    UpstreamTimeoutError,
    format_message,
)
from hven.model.settings import resolve_secret
from hven.services.remote_files import RemoteFileState
from hven.sources.remote_stores import (
    CHANGED_MESSAGE,
    LATER_REMEDY,
    MEBIBYTE,
    OWNER_REMEDY,
    NoRangesError,
    build_changed_file_error,
    build_timeout_error,
    open_remote_store,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
    from typing import Any

    from hven.model.settings import Settings
    from hven.model.table import FileRoot
    from hven.sources.remote_stores import RemoteStore

T = TypeVar("T")
BLOCK_BYTES = MEBIBYTE
BLOCKS_PER_REQUEST = 8  # most blocks that one request fetches
READ_AHEAD_BLOCKS = 4  # a request for later blocks begins when a client is this many blocks before them
PIECE_BYTES = 512 * 1024  # bytes that a client receives at a time: the memory that a slow client holds
MAX_BLOCK_READS = 5  # attempts to read a block that is evicted after it was fetched
QUEUED_REQUESTS_PER_WORKER = 16  # waiting requests for each running one
SERVER_RETRY_SECONDS = 3.0  # time in which requests to an unreachable server fail at once
LOCK_POLL_SECONDS = 0.02  # interval between two looks at a block that another process fetches
MAX_CACHED_FILES = 10_000  # files whose state is cached
MIN_SPANS_PER_BLOCK = 4  # with more spans a block on average, each block is read from disk only once
SPARSE_READ_FACTOR = 32  # spans are read without blocks and cache where the blocks have more bytes than this factor
MAX_WAITING_THREADS = 16  # threads that wait for other servers: a server that hangs must not occupy all threads
THREAD_WAIT_SECONDS = 2.0  # time after which a further thread is told to try again later
FAILURE_MEMORY_SECONDS = 600.0  # time in which archives leave out a file that could not be read
ACCESS_TIME_RESOLUTION_SECONDS = 60.0  # the time of a block's last use is updated at most this often
DISK_SECTOR_BYTES = 512  # unit of `st_blocks`


class RemoteBlockCache:
    """Fetch blocks for one process, and cache them for all processes of this machine."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits = settings.files
        self._process_id = os.getpid()
        self._directory = settings.var_directory / "files"
        self._stores: dict[str, RemoteStore] = {}
        self._file_states: dict[tuple[str, str], tuple[float, RemoteFileState]] = {}
        self._unreachable_servers: dict[str, tuple[float, HvenError]] = {}
        self._running_reads: dict[tuple[str, int], Future[None]] = {}
        self._pending_requests: dict[tuple[str, str], Future[RemoteFileState]] = {}
        self._failed_files: dict[tuple[str, str], tuple[float, UpstreamError]] = {}
        self._lock = threading.Lock()
        self._waiting_slots = threading.BoundedSemaphore(MAX_WAITING_THREADS)
        self._bytes_since_sweep = settings.files.cache  # so that the first block counts what is on disk already

    @cached_property
    def _thread_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._limits.at_once, "hven-far")

    async def get_file_state(self, root: FileRoot, path: str) -> RemoteFileState:
        """Request the current state of a file.

        Raises
        ------
        UpstreamError
            The server does not give the file, or does not respond in time.
        OverloadedError
            Too many requests wait for other servers.
        """
        return await _wait_for_shared_future(self.start_file_state_request(root, path))

    def start_file_state_request(
        self, root: FileRoot, path: str, *, with_first_block: bool = False
    ) -> Future[RemoteFileState]:
        """Begin to request the current state of a file.

        With `with_first_block`, the request also fetches the first block of a file whose state is not cached.
        """
        if os.getpid() != self._process_id:  # a fork has neither the threads nor the connections of its parent
            self.__dict__ = RemoteBlockCache(self._settings).__dict__
        root_key = _make_root_key(root)
        expiry_time, cached_state = self._file_states.get((root_key, path), (0.0, None))
        if cached_state is not None and time.monotonic() < expiry_time:
            return _create_finished_future(cached_state)
        pending_request = self._pending_requests.get((root_key, path))
        if pending_request is not None and not pending_request.done():
            return pending_request
        if len(self._pending_requests) >= MAX_CACHED_FILES:
            self._pending_requests.clear()
        fetches_block = with_first_block and cached_state is None
        call = partial(self._request_file_state, root_key, root, path, with_first_block=fetches_block)
        new_request = self._submit_call(call)
        self._pending_requests[root_key, path] = new_request
        return new_request

    def preload_first_block(self, root: FileRoot, path: str) -> None:
        """Begin to fetch the first block of a file that is needed soon; an error is raised when the file is read."""
        with contextlib.suppress(OverloadedError):
            file_request = self.start_file_state_request(root, path, with_first_block=True)
            file_request.add_done_callback(self._start_first_block_fetch)

    def _start_first_block_fetch(self, file_request: Future[RemoteFileState]) -> None:
        if file_request.cancelled() or file_request.exception() is not None:
            return
        file = file_request.result()
        if file.bytes and not self._has_block(file, 0):
            with contextlib.suppress(OverloadedError):
                self._start_block_fetch(file, 0, 0)

    def wait_for_future(self, future: Future[Any]) -> Any:
        """Wait in a thread for a request that runs, and return its result."""
        if not future.done():
            if not self._waiting_slots.acquire(timeout=THREAD_WAIT_SECONDS):
                raise _build_overloaded_error()
            try:
                wait([future])
            finally:
                self._waiting_slots.release()
        return future.result()

    def find_recent_failure(self, root: FileRoot, path: str) -> UpstreamError | None:
        """Return why a file could not be read a short time ago; None if it was not tried or succeeded."""
        expiry_time, error = self._failed_files.get((_make_root_key(root), path), (0.0, None))
        if time.monotonic() < expiry_time:
            return error
        return None

    def read_spans(
        self, file: RemoteFileState, span_bytes: int, offsets: Sequence[int], *, read_ahead: bool = False
    ) -> Iterator[bytes]:
        """Yield up to `span_bytes` bytes at each of some offsets, in a thread, while later blocks are fetched."""
        spans = [(offset, min(offset + span_bytes, file.bytes)) for offset in offsets]
        runs = _group_spans_into_block_runs(spans)
        block_count = sum(last - first + 1 for first, last in runs)
        is_sparse = block_count * BLOCK_BYTES > SPARSE_READ_FACTOR * span_bytes * len(spans)
        if is_sparse and len(runs) > BLOCKS_PER_REQUEST:
            yielded_count = 0
            with contextlib.suppress(NoRangesError):
                for span_content in self._read_spans_directly(file, spans):
                    yield span_content
                    yielded_count += 1
                return
            spans = spans[yielded_count:]
            runs = _group_spans_into_block_runs(spans)
        if len(spans) > MIN_SPANS_PER_BLOCK * block_count:
            read_part = self._create_reader_with_last_block(file)
        else:
            read_part = partial(self._read_block, file)
        final_block = (file.bytes - 1) // BLOCK_BYTES
        requested_count = passed_count = 0
        for start, end in spans:
            while passed_count < len(runs) and runs[passed_count][1] < start // BLOCK_BYTES:
                passed_count += 1
            with contextlib.suppress(OverloadedError):
                while requested_count < min(len(runs), passed_count + self._limits.at_once):
                    self._start_block_run_fetch(file, runs[requested_count], final_block, read_ahead=read_ahead)
                    requested_count += 1
                later_block = end // BLOCK_BYTES + READ_AHEAD_BLOCKS
                if read_ahead and later_block <= final_block:
                    self._start_block_fetch(file, later_block, final_block)
            parts = [read_part(block, offset, byte_count) for block, offset, byte_count in _split_at_blocks(start, end)]
            yield b"".join(parts)

    def _start_block_run_fetch(
        self, file: RemoteFileState, run: tuple[int, int], final_block: int, *, read_ahead: bool = False
    ) -> None:
        """Begin to fetch the missing blocks of a run; with `read_ahead`, also what one request fetches behind it."""
        first_block, last_block = run
        last_wanted_block = final_block if read_ahead else last_block
        for block in range(first_block, last_block + 1):
            if not self._has_block(file, block):
                self._start_block_fetch(file, block, last_wanted_block)

    def _create_reader_with_last_block(self, file: RemoteFileState) -> Callable[[int, int, int], bytes]:
        """Create a function that reads parts of blocks and keeps the last block in memory, for many parts of each."""
        current_block = -1
        block_content = b""

        def read_part(block: int, offset: int, byte_count: int) -> bytes:
            nonlocal current_block, block_content
            if block != current_block:
                block_bytes = min(BLOCK_BYTES, file.bytes - block * BLOCK_BYTES)
                block_content = self._read_block(file, block, 0, block_bytes)
                current_block = block
            return block_content[offset : offset + byte_count]

        return read_part

    def _read_block(self, file: RemoteFileState, block: int, offset: int, byte_count: int) -> bytes:
        """Read a part of a block from disk; fetch the block first where it is missing."""
        for _ in range(MAX_BLOCK_READS):
            block_path = self._build_block_path(file, block)
            part = _read_stored_block(block_path, offset, byte_count)
            if part is not None:
                return part
            self.wait_for_future(self._start_block_fetch(file, block, block, is_required=True))
        raise _build_evicted_error()

    def _read_spans_directly(self, file: RemoteFileState, spans: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Read spans in requests of their own, several at once, without fetching blocks."""
        pending_reads: deque[Future[bytes]] = deque()
        for begin, end in spans:
            block = begin // BLOCK_BYTES
            block_path = self._build_block_path(file, block)
            stored_bytes = _read_stored_block(block_path, begin - block * BLOCK_BYTES, end - begin)
            if stored_bytes is None:
                pending_reads.append(self._submit_call(partial(self._fetch_span, file, begin, end)))
            else:
                pending_reads.append(_create_finished_future(stored_bytes))
            if len(pending_reads) > self._limits.at_once:
                yield self.wait_for_future(pending_reads.popleft())
        while pending_reads:
            yield self.wait_for_future(pending_reads.popleft())

    def _fetch_span(self, file: RemoteFileState, begin: int, end: int) -> bytes:
        try:
            store = self._open_store(file.root)
            parts = store.read_range(file.path, begin, end, file.file_fact)
            with contextlib.closing(parts):  # type: ignore[type-var]  # all stores return generators
                span_content = b"".join(parts)
            if len(span_content) != end - begin:
                raise build_changed_file_error()
        except UpstreamError as error:
            if not isinstance(error, NoRangesError):
                self._record_read_failure(file, error)
            raise
        return span_content

    async def stream_pieces(self, file: RemoteFileState, begin: int, end: int) -> AsyncGenerator[bytes]:
        """Yield the bytes from `begin` to before `end`, as fast as the client takes them."""
        last_block = (end - 1) // BLOCK_BYTES
        while begin < end:
            block = begin // BLOCK_BYTES
            later_block = block + READ_AHEAD_BLOCKS
            if begin % BLOCK_BYTES == 0 and later_block <= last_block:
                with contextlib.suppress(OverloadedError):
                    self._start_block_fetch(file, later_block, last_block)
            block_end = (block + 1) * BLOCK_BYTES
            byte_count = min(end, begin + PIECE_BYTES, block_end) - begin
            part = await self._read_piece(file, block, begin - block * BLOCK_BYTES, byte_count, last_block)
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
            await _wait_for_shared_future(self._start_block_fetch(file, block, last_block, is_required=True))
        raise _build_evicted_error()

    def _submit_call(self, call: Callable[[], Any]) -> Future[Any]:
        work_queue = self._thread_pool._work_queue  # noqa: SLF001  (an executor has no public count of waiting calls)
        if work_queue.qsize() > QUEUED_REQUESTS_PER_WORKER * self._limits.at_once:
            raise _build_overloaded_error()
        return self._thread_pool.submit(call)

    def _open_store(self, root: FileRoot) -> RemoteStore:
        root_key = _make_root_key(root)
        with self._lock:
            if root_key not in self._stores:
                self._stores[root_key] = open_remote_store(
                    root,
                    resolve_secret=partial(resolve_secret, self._settings.directory),
                    allow_private=self._settings.allow_private,
                    timeout_seconds=self._limits.seconds,
                )
            return self._stores[root_key]

    def _request_file_state(
        self, root_key: str, root: FileRoot, path: str, *, with_first_block: bool = False
    ) -> RemoteFileState:
        expiry_time, known_error = self._unreachable_servers.get(root_key, (0.0, None))
        if known_error is not None and time.monotonic() < expiry_time:
            raise type(known_error)(known_error.message, remedy=known_error.remedy) from known_error
        try:
            remote_store = self._open_store(root)
            if with_first_block:
                facts, first_bytes = remote_store.fetch_facts_and_beginning(path, BLOCK_BYTES)
            else:
                facts = remote_store.fetch_facts(path)
                first_bytes = b""
        except UpstreamError as error:
            self._note_server_if_unreachable(root_key, error)
            raise
        except HvenError as error:  # clients need not know what the owner of the site must correct
            raise UpstreamError("the file's server cannot be accessed", remedy=OWNER_REMEDY) from error
        if facts.bytes is None:
            raise UpstreamError("the server does not report the size of the file", remedy=OWNER_REMEDY)
        state_text = "\0".join(map(str, (root_key, path, facts.bytes, facts.modified, facts.tag)))
        state_digest = hashlib.blake2b(state_text.encode("utf-8", "surrogateescape"), digest_size=20)
        key = state_digest.hexdigest()
        file = RemoteFileState(root=root, path=path, file_fact=facts, bytes=facts.bytes, key=key)
        if first_bytes and len(first_bytes) == min(BLOCK_BYTES, file.bytes):
            block_path = self._build_block_path(file, 0)
            self._write_block(block_path, len(first_bytes), iter([first_bytes]), memoryview(b""), inf)
        if len(self._file_states) >= MAX_CACHED_FILES:
            self._file_states.clear()
        self._file_states[root_key, path] = (time.monotonic() + self._limits.fresh, file)
        return file

    def _note_server_if_unreachable(self, root_key: str, error: UpstreamError) -> None:
        """Remember that a server is unreachable, so that further requests to it fail at once."""
        if error.remedy == LATER_REMEDY and error.message != CHANGED_MESSAGE:
            self._unreachable_servers[root_key] = (time.monotonic() + SERVER_RETRY_SECONDS, error)

    def _record_read_failure(self, file: RemoteFileState, error: UpstreamError) -> None:
        """Let requests for a file, or for all files of a server that timed out, fail at once for a while.

        The state of the file is forgotten, so that it is requested again afterwards.
        """
        root_key = _make_root_key(file.root)
        self._file_states.pop((root_key, file.path), None)
        if isinstance(error, UpstreamTimeoutError):  # other errors may concern this file alone
            self._note_server_if_unreachable(root_key, error)
        self._note_failed_file(root_key, file, error)

    def _note_failed_file(self, root_key: str, file: RemoteFileState, error: UpstreamError) -> None:
        if len(self._failed_files) >= MAX_CACHED_FILES:
            self._failed_files.clear()
        self._failed_files[root_key, file.path] = (time.monotonic() + FAILURE_MEMORY_SECONDS, error)

    def _build_block_path(self, file: RemoteFileState, block: int) -> Path:
        return self._directory / file.key[:2] / f"{file.key}-{block}"

    def _has_block(self, file: RemoteFileState, block: int) -> bool:
        return self._build_block_path(file, block).exists()

    def _start_block_fetch(
        self, file: RemoteFileState, block: int, last_block: int, *, is_required: bool = False
    ) -> Future[None]:
        """Begin to fetch a block, and missing blocks behind it in the same request, unless a fetch runs already.

        With `is_required`, the block is fetched even if it seems to be on disk.
        """
        with self._lock:
            running_read = self._running_reads.get((file.key, block))
            if running_read is not None:
                return running_read
            group_end = (block // BLOCKS_PER_REQUEST + 1) * BLOCKS_PER_REQUEST
            futures: dict[int, Future[None]] = {}
            for block_number in range(block, min(last_block + 1, group_end)):
                if (file.key, block_number) in self._running_reads:
                    break
                must_fetch = is_required and block_number == block
                if not must_fetch and self._has_block(file, block_number):
                    break
                futures[block_number] = Future()
            if not futures:
                return _create_finished_future(None)
            self._submit_call(partial(self._fetch_blocks, file, futures))
            for block_number, future in futures.items():
                self._running_reads[file.key, block_number] = future
            return futures[block]

    def _fetch_blocks(self, file: RemoteFileState, futures_by_block: dict[int, Future[None]]) -> None:
        try:
            blocks = [*futures_by_block]
            group_name = str(blocks[0] // BLOCKS_PER_REQUEST)
            try:
                with self._lock_blocks(file, group_name, blocks) as missing_blocks:
                    if missing_blocks:
                        self._fetch_block_range(file, missing_blocks[0], missing_blocks[-1], futures_by_block)
            except NoRangesError:
                self._fetch_whole_file(file, blocks, futures_by_block)
            for future in futures_by_block.values():
                if not future.done():
                    future.set_result(None)
        except BaseException as error:  # noqa: BLE001  (it is raised where a thread waits for the block)
            if isinstance(error, UpstreamError):
                self._record_read_failure(file, error)
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
                "the file's server does not support byte ranges, and the file is too large to be fetched whole",
                remedy=OWNER_REMEDY,
            )
        with self._lock_blocks(file, "whole", blocks) as missing_blocks:
            if missing_blocks:
                self._fetch_block_range(file, 0, (file.bytes - 1) // BLOCK_BYTES, futures_by_block)

    def _fetch_block_range(
        self, file: RemoteFileState, first_block: int, last_block: int, futures_by_block: dict[int, Future[None]]
    ) -> None:
        """Fetch blocks in one request, and write each to disk as soon as it is complete."""
        begin = first_block * BLOCK_BYTES
        end = min((last_block + 1) * BLOCK_BYTES, file.bytes)
        store = self._open_store(file.root)
        parts = store.read_range(file.path, begin, end, file.file_fact)
        with contextlib.closing(parts):  # type: ignore[type-var]  # all stores return generators
            pending_bytes = memoryview(b"")
            for block in range(first_block, last_block + 1):
                block_bytes = min(BLOCK_BYTES, file.bytes - block * BLOCK_BYTES)
                deadline_time = time.monotonic() + self._limits.seconds
                block_path = self._build_block_path(file, block)
                pending_bytes = self._write_block(block_path, block_bytes, parts, pending_bytes, deadline_time)
                future = futures_by_block.get(block)
                if future is not None and not future.done():
                    future.set_result(None)
            if not pending_bytes:
                next(parts, None)  # read to the end of the answer, so that its connection can be used again

    def _write_block(
        self,
        block_path: Path,
        block_bytes: int,
        parts: Iterator[bytes],
        pending_bytes: memoryview,
        deadline_time: float,
    ) -> memoryview:
        """Write a block from received parts, and return the received bytes that belong to the next block."""
        self._remove_oldest_blocks_when_due(block_bytes)
        try:
            if not block_path.parent.is_dir():
                block_path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, unfinished_name = tempfile.mkstemp(dir=block_path.parent, prefix=".unfinished-")
        except OSError as error:
            raise _build_storage_error(error) from error
        try:
            with os.fdopen(descriptor, "wb") as out:
                remaining_bytes = block_bytes
                while remaining_bytes:
                    if not pending_bytes:
                        pending_bytes = memoryview(next(parts, b""))
                        if not pending_bytes:
                            raise build_changed_file_error()
                        if time.monotonic() > deadline_time:
                            raise build_timeout_error()
                    written_bytes = min(remaining_bytes, len(pending_bytes))
                    out.write(pending_bytes[:written_bytes])
                    pending_bytes = pending_bytes[written_bytes:]
                    remaining_bytes -= written_bytes
            Path(unfinished_name).replace(block_path)
        except OSError as error:
            raise _build_storage_error(error) from error
        finally:
            Path(unfinished_name).unlink(missing_ok=True)
        return pending_bytes

    @contextlib.contextmanager
    def _lock_blocks(self, file: RemoteFileState, lock_name: str, blocks: Sequence[int]) -> Iterator[Sequence[int]]:
        """Wait until no other process fetches these blocks, and give those that are still missing.

        The other process may take the time limit for each block of its request, so a shorter wait would report a
        timeout of a server that answers.
        """
        lock_digest = hashlib.blake2b(f"{file.key} {lock_name}".encode(), digest_size=2)
        lock_path = self._directory / "locks" / lock_digest.hexdigest()[:3]
        lock_path.parent.mkdir(parents=True, exist_ok=True)
        deadline_time = time.monotonic() + (BLOCKS_PER_REQUEST + 1) * self._limits.seconds

        def list_missing_blocks() -> list[int]:
            return [block for block in blocks if not self._has_block(file, block)]

        with lock_path.open("wb") as lock_file:
            while True:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                if not list_missing_blocks():
                    break
                if time.monotonic() > deadline_time:
                    raise build_timeout_error()
                time.sleep(LOCK_POLL_SECONDS)
            yield list_missing_blocks()

    def _remove_oldest_blocks_when_due(self, added_bytes: int) -> None:
        """Remove the blocks that were read longest ago, each time a sixteenth of the cache has been written."""
        with self._lock:
            self._bytes_since_sweep += added_bytes
            if self._bytes_since_sweep < self._limits.cache // 16:
                return
            self._bytes_since_sweep = 0
        stored_blocks = []
        for block_path in self._directory.glob("[0-9a-f][0-9a-f]/*"):
            with contextlib.suppress(OSError):
                file_stat = block_path.stat()
                stored_blocks.append((file_stat.st_mtime, file_stat.st_blocks * DISK_SECTOR_BYTES, block_path))
        total_bytes = sum(disk_bytes for _, disk_bytes, _ in stored_blocks)
        excess_bytes = total_bytes - self._limits.cache * 7 // 8
        for _, disk_bytes, block_path in sorted(stored_blocks):
            if excess_bytes <= 0:
                return
            with contextlib.suppress(OSError):
                block_path.unlink()
            excess_bytes -= disk_bytes


async def _wait_for_shared_future(future: Future[T]) -> T:
    """Wait for a future that others wait for, too: a cancellation ends only this wait."""
    async_future = asyncio.wrap_future(future)
    async_future.add_done_callback(_mark_exception_retrieved)
    return await asyncio.shield(async_future)


def _mark_exception_retrieved(future: asyncio.Future[Any]) -> None:
    """Read an exception, because asyncio logs the ones that are never read, also after the wait has ended."""
    if not future.cancelled():
        future.exception()


def _create_finished_future(result: T) -> Future[T]:
    future = Future[T]()
    future.set_result(result)
    return future


def _make_root_key(root: FileRoot) -> str:
    options = [f"{key}={value}" for key, value in sorted(root.options.items())]
    return "\0".join([root.address, *options])


def _group_spans_into_block_runs(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Group the blocks of spans into runs, each with its first and last block, as single requests fetch them."""
    blocks = {block for begin, end in spans for block in range(begin // BLOCK_BYTES, -(-end // BLOCK_BYTES))}
    runs: list[tuple[int, int]] = []
    for block in sorted(blocks):
        continues_run = bool(runs) and block == runs[-1][1] + 1
        if continues_run and block % BLOCKS_PER_REQUEST:
            runs[-1] = (runs[-1][0], block)
        else:
            runs.append((block, block))
    return runs


def _split_at_blocks(begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the parts of a span: number of the block, offset in the block and bytes."""
    while begin < end:
        block, offset = divmod(begin, BLOCK_BYTES)
        byte_count = min(end - begin, BLOCK_BYTES - offset)
        yield block, offset, byte_count
        begin += byte_count


def _build_overloaded_error() -> OverloadedError:
    return OverloadedError(
        "too many requests are waiting for files on other servers",
        remedy="try again in a few seconds",
        retry_after_seconds=5.0,
    )


def _build_evicted_error() -> StorageError:
    return StorageError(
        "the cache of remote files is too small: blocks are removed before they are read",
        remedy="ask the site's operators to raise files.cache",
    )


def _build_storage_error(error: OSError) -> StorageError:
    return StorageError(
        format_message("blocks of files cannot be stored: {reason}", str(error.strerror).lower()),
        remedy="ask the site's operators to make space on the disk",
    )


def _read_stored_block(block_path: Path, offset: int, byte_count: int) -> bytes | None:
    """Read a part of a block from disk; return None if the block is missing or shorter."""
    try:
        with block_path.open("rb", buffering=0) as file:
            descriptor = file.fileno()
            if offset == 0:
                unused_seconds = time.time() - os.fstat(descriptor).st_mtime
                if unused_seconds > ACCESS_TIME_RESOLUTION_SECONDS:
                    os.utime(descriptor)
            part = os.pread(descriptor, byte_count, offset)
    except OSError:
        return None
    if len(part) != byte_count:
        return None
    return part
