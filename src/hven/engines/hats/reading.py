"""Rows of Parquet files by row groups: footers are kept, files are opened for each read, and a mount that hangs does not hang its reader."""

from __future__ import annotations

import errno
import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from hven.engines._disk import PASSING
from hven.model import Cache
from hven.model.errors import StorageError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FOOTERS = 64 * 1024**2  # bytes of footers that are kept
FEW = 262_144  # rows up to which one thread decodes
READERS = 8
LOOK = 0.05  # seconds between two looks whether the reader was stopped, or has no time left
_WEIGHT = 160  # bytes of a column of a row group in a footer, about


class Reader:
    """Reads row groups. Thread-safe."""

    def __init__(self) -> None:
        self._footers: Cache[tuple[tuple[int, int], Any]] = Cache(FOOTERS)
        self._pool = ThreadPoolExecutor(max_workers=READERS, thread_name_prefix="hats-reader")

    def read(
        self,
        path: str,
        groups: Sequence[int],
        columns: Sequence[str] | None = None,
        written: tuple[int, str] | None = None,
    ) -> pa.Table:
        """Read some row groups of a file; `written`: of how many bytes it was, and if that is told when it was changed.

        Raises
        ------
        StorageError
            It is not there any more, cut off, or no such file.
        Unavailable
            The machine does not let us read it now.
        """
        try:
            facts = os.stat(path)  # noqa: PTH116  (a text, asked for each query)
            stamp = facts.st_size, facts.st_mtime_ns
            if written is not None and (facts.st_size != written[0] or written[1] not in {"", str(facts.st_mtime_ns)}):
                raise changed(path, facts.st_size, written[0])
            known = self._footers.find(path)
            footer = known[1] if known is not None and known[0] == stamp else None
            # without pre_buffer: it keeps every row group that was read until the file is closed
            with pq.ParquetFile(path, metadata=footer, pre_buffer=False) as opened:
                if footer is None:
                    footer = opened.metadata
                    self._footers.keep(path, (stamp, footer), _WEIGHT * footer.num_row_groups * footer.num_columns)
                rows = sum(footer.row_group(number).num_rows for number in groups)
                found: pa.Table = opened.read_row_groups(
                    list(groups), columns=None if columns is None else list(columns), use_threads=rows > FEW
                )
                return found
        except (OSError, pa.ArrowException, IndexError) as error:
            raise trouble(path, error) from error

    def later(self, call: Callable[..., Any], *given: Any) -> Future[Any]:
        """Begin to read in another thread."""
        return self._pool.submit(call, *given)

    def close(self) -> None:
        """Let go of what is kept; who reads from a mount that hangs is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def awaited(future: Future[Any], check: Callable[[], None]) -> Any:
    """Return what a reader gives; `check` raises when nobody wants it any more."""
    while True:
        try:
            return future.result(LOOK)
        except TimeoutError:
            if future.done():
                raise
            check()


def changed(path: str, size: int, known: int) -> StorageError:
    """Say that a file is another one than the manifest knows."""
    why = (
        f"it has {size:,} bytes, and {known:,} were written"
        if size != known
        else "it was changed since it was looked at"
    )
    message = f"the file {path} of a catalogue is another one now: {why}"
    return StorageError(message, remedy="ingest the collection anew, or roll back to an older snapshot")


def trouble(path: str, error: BaseException) -> StorageError:
    """Say what is wrong with a file."""
    if isinstance(error, OSError) and error.errno in PASSING:
        message = f"the file {path} cannot be read now: {os.strerror(error.errno).lower()}"
        return Unavailable(message, remedy="see that the server may read it, and has files to open left")
    why = "it is not there any more" if isinstance(error, OSError) and error.errno == errno.ENOENT else str(error)
    message = f"the file {path} of a catalogue cannot be read: {why}"
    return StorageError(message, remedy="bring it back, ingest the collection anew, or roll back to an older snapshot")
