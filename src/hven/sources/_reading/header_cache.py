"""Read and keep the headers of files.

They are read in parallel where a disk makes readers wait, and kept by size and time, so that the next run reads only
changed files.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zstandard

from hven.model.errors import SourceError, TextPlace, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hven.sources._reading.data_files import DataFile

FILES_PER_LOOKUP = 512  # looked up and saved together
FILES_BEFORE_DECISION = 16  # after this number it is decided whether files are read in parallel
RECENT_CHANGE_SECONDS = 2.0  # a file that changed so recently may change again without another time
MAX_UNUSED_DAYS = 100  # unused headers are deleted after this time
MAX_DATABASE_BYTES = 4 << 30
_MAX_ENTRY_BYTES = 16 << 20  # of one file
_CREATE_TABLE_SQL = (
    "CREATE TABLE IF NOT EXISTS heads (what TEXT, path TEXT, size INTEGER, modified INTEGER, said BLOB, asked "
    "INTEGER, PRIMARY KEY (what, path)) WITHOUT ROWID"
)
_semaphores: dict[tuple[int, int], threading.BoundedSemaphore] = {}
_semaphores_lock = threading.Lock()


@dataclass(slots=True)
class FileHeader:
    """The header of a file.

    Attributes
    ----------
    rows
        One or more rows, by keyword; texts, numbers, true and false, None, lists and maps of these.
    comments
        Comments, by keyword.
    """

    rows: list[dict[str, Any]]
    comments: dict[str, str] = field(default_factory=dict)


class FileHeaderCache:
    """A database of headers below ``var/``; where it cannot be read or written, all headers are read again.

    Parameters
    ----------
    path
        Path of the database.
    reader_key
        What the reader reads: the same file may be read in several ways.
    """

    def __init__(self, path: Path, reader_key: str) -> None:
        self._reader_key = reader_key
        self._compressor = zstandard.ZstdCompressor(1)
        self._decompressor = zstandard.ZstdDecompressor()
        self._connection: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=5.0)
            self._connection.executescript(f"PRAGMA journal_mode=TRUNCATE; PRAGMA synchronous=OFF; {_CREATE_TABLE_SQL}")
            self._is_full = path.stat().st_size > MAX_DATABASE_BYTES
        except (sqlite3.Error, OSError):
            self.close()

    def find_headers(self, files: Sequence[DataFile]) -> dict[Path, FileHeader]:
        """Look files up, as they are now."""
        if self._connection is None:
            return {}
        by_path = {str(file.path): file for file in files}
        marks = ", ".join("?" * len(by_path))
        headers_by_path: dict[Path, FileHeader] = {}
        try:
            rows = self._connection.execute(
                f"SELECT path, size, modified, said FROM heads WHERE what = ? AND path IN ({marks})",
                (self._reader_key, *by_path),
            )
            for path, size, modified, header_bytes in rows:
                file = by_path[path]
                if (size, modified) == (file.stat.st_size, file.stat.st_mtime_ns):
                    stored_header = json.loads(self._decompressor.decompress(header_bytes, _MAX_ENTRY_BYTES))
                    headers_by_path[file.path] = FileHeader(stored_header["rows"], stored_header["comments"])
        except (sqlite3.Error, OSError, ValueError, KeyError, zstandard.ZstdError):
            return {}
        return headers_by_path

    def store_headers(self, new_headers: Sequence[tuple[DataFile, FileHeader]], used_files: Sequence[DataFile]) -> None:
        """Save what was read, and what was used."""
        if self._connection is None:
            return
        now = time.time()
        lines = []
        for file, heads in new_headers:
            header_bytes = json.dumps({"rows": heads.rows, "comments": heads.comments}, separators=(",", ":")).encode()
            if (
                len(header_bytes) <= _MAX_ENTRY_BYTES
                and file.stat.st_mtime < now - RECENT_CHANGE_SECONDS
                and not self._is_full
            ):
                fact = (file.stat.st_size, file.stat.st_mtime_ns)
                lines.append(
                    (self._reader_key, str(file.path), *fact, self._compressor.compress(header_bytes), int(now))
                )
        day = int(now) - 86_400
        try:
            with self._connection:
                self._connection.executemany("INSERT OR REPLACE INTO heads VALUES (?, ?, ?, ?, ?, ?)", lines)
                self._connection.executemany(
                    "UPDATE heads SET asked = ? WHERE what = ? AND path = ? AND asked < ?",
                    [(int(now), self._reader_key, str(file.path), day) for file in used_files],
                )
        except sqlite3.Error:
            self.close()

    def delete_unused(self) -> None:
        """Delete what was not used for a long time."""
        if self._connection is not None:
            try:
                with self._connection:
                    self._connection.execute(
                        "DELETE FROM heads WHERE asked < ?", (int(time.time()) - MAX_UNUSED_DAYS * 86_400,)
                    )
            except sqlite3.Error:
                self.close()

    def close(self) -> None:
        """Close the database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def read_headers(
    files: Sequence[DataFile],
    read_header: Callable[[DataFile], FileHeader],
    concurrency: int,
    cache: FileHeaderCache | None,
) -> Iterator[tuple[DataFile, FileHeader | SourceError]]:
    """Read the headers of files, each as it is now.

    Parameters
    ----------
    read_header
        Reads one header; raises `SourceError` where it cannot be read.
    concurrency
        Files of one mount that are read at the same time, if reading waits more than it computes.
    cache
        The headers that were read before.

    Yields
    ------
    file, heads
        File and heads in the order of the files; an error for a file that cannot be read or that changed meanwhile.
    """
    remaining_files = iter(files)
    pace = _AdaptiveHeaderReader()
    while lot := list(islice(remaining_files, FILES_PER_LOOKUP)):
        existing_files = pace.list_existing_files(lot, concurrency)
        if cache is not None:
            cached_headers = cache.find_headers(existing_files)
        else:
            cached_headers = {}
        uncached_files = [file for file in lot if file.path not in cached_headers]
        headers_by_path = dict(
            zip(
                (file.path for file in uncached_files),
                pace.read_all(uncached_files, read_header, concurrency),
                strict=True,
            )
        )
        if cache is not None:
            new_headers = [
                (file, header)
                for file in uncached_files
                if isinstance(header := headers_by_path[file.path], FileHeader)
            ]
            cache.store_headers(new_headers, [file for file in existing_files if file.path in cached_headers])
        for file in lot:
            yield file, cached_headers.get(file.path) or headers_by_path[file.path]


class _AdaptiveHeaderReader:
    """Reads files one after the other, or in parallel if reading waits: threads help only then."""

    def __init__(self) -> None:
        self.file_count = 0
        self.wall_seconds = 0.0
        self.cpu_seconds = 0.0

    @property
    def is_io_bound(self) -> bool:
        """Whether reading waited longer than it computed."""
        return self.file_count >= FILES_BEFORE_DECISION and self.wall_seconds >= 2.0 * self.cpu_seconds

    def list_existing_files(self, files: Sequence[DataFile], concurrency: int) -> list[DataFile]:
        """Read size and time of files; those of remote files in parallel."""
        if isinstance(files[0].product_path, Path):
            return [file for file in files if file.refresh_stat_if_present()]
        with ThreadPoolExecutor(concurrency, "hven-heads") as pool:
            return [
                file
                for file, exists in zip(
                    files, pool.map(lambda file: file.refresh_stat_if_present(), files), strict=True
                )
                if exists
            ]

    def read_all(
        self, files: Sequence[DataFile], read_header: Callable[[DataFile], FileHeader], concurrency: int
    ) -> list[FileHeader | SourceError]:
        headers: list[FileHeader | SourceError] = []
        while len(headers) < len(files) and (concurrency < 2 or not self.is_io_bound):
            start_time = time.monotonic()
            start_cpu_time = time.thread_time()
            one_file = _read_unchanging_header(files[len(headers)], read_header)
            headers.append(one_file)
            self.file_count += 1
            self.wall_seconds += time.monotonic() - start_time
            self.cpu_seconds += time.thread_time() - start_cpu_time
        remaining_files = files[len(headers) :]
        if remaining_files:
            with ThreadPoolExecutor(concurrency, "hven-heads") as pool:
                headers += pool.map(
                    lambda file: _read_header_when_free(file, read_header, concurrency), remaining_files
                )
        return headers


def _read_header_when_free(
    file: DataFile, read_header: Callable[[DataFile], FileHeader], concurrency: int
) -> FileHeader | SourceError:
    """Read one file when few enough files of its mount are being read, by whichever source."""
    try:
        key = (file.stat.st_dev, concurrency)
    except OSError:
        return _read_unchanging_header(file, read_header)
    with _semaphores_lock:
        gate = _semaphores.setdefault(key, threading.BoundedSemaphore(concurrency))
    with gate:
        return _read_unchanging_header(file, read_header)


def _read_unchanging_header(file: DataFile, read_header: Callable[[DataFile], FileHeader]) -> FileHeader | SourceError:
    try:
        before = (file.stat.st_size, file.stat.st_mtime_ns)
        header = read_header(file)
        state_after = file.read_size_and_mtime()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        place = TextPlace(file=file.name)
        return SourceError(f"the file cannot be read: {reason}", place=place, remedy="check its permissions")
    except SourceError as error:
        return error
    except TooLargeError as error:
        return SourceError(error.message, place=TextPlace(file=file.name), remedy=error.remedy)
    if state_after != before:
        return SourceError(
            "the file changed while Hven was reading it",
            place=TextPlace(file=file.name),
            remedy="ingest again when the file is complete",
        )
    return header
