"""Reading of row groups from Parquet files.

Footers are cached, files are opened for each read, and a mount or a server that hangs does not block the query.
"""

from __future__ import annotations

import errno
import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from hven.engines.api.snapshots import TRANSIENT_ERRNOS
from hven.model import LruCache
from hven.model.errors import StorageError, StorageUnavailableError, UpstreamError, format_message
from hven.model.types import select_leaf_column
from hven.plugins.hats.engine.plain_pages import (
    NotInMemoryError,
    PlainValueOffsetIndex,
    read_rows_in_cells,
    take_column_rows,
)
from hven.plugins.hats.hats_layout import is_web_address

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.errors import HvenError
    from hven.plugins.hats.hats_catalogues import CatalogueFileAccess

FOOTER_CACHE_BYTES = 64 * 1024**2
READ_NOWAIT_FLAG = os.RWF_NOWAIT if sys.platform == "linux" else -1  # elsewhere no disk counts as local
COLUMN_CACHE_BYTES = 32 * 1024**2  # decoded columns of row groups, for cones that are asked again
MAX_CACHED_GROUPS = 16  # columns of more row groups of a file are not cached
MAX_SINGLE_THREAD_ROWS = 262_144  # more rows are decoded by several threads
READER_THREADS = 8
CANCEL_CHECK_INTERVAL_SECONDS = 0.05  # time between two checks whether the query was cancelled, or is out of time
_FOOTER_COLUMN_BYTES = 160  # approximate size of a column of a row group in a footer
_CELL_MARKS_BYTES = 1200  # approximate size of the cells that are kept of a row group


class WebCatalogueProtocol(Protocol):
    """A client for files on web servers (`hven.sources.remote_stores.WebHatsClient`)."""

    def open_folder(self, address: str) -> CatalogueFileAccess:
        """Return the folder at an address."""

    def request_file_state(self, path: str) -> tuple[int, str]:
        """Ask for the size of a file, and for a stamp that tells when it changes."""

    def open_file(self, path: str, size: int, stamp: str) -> Any:
        """Open a file in the state that `request_file_state` returned."""

    def find_cause(self, error: HvenError) -> HvenError:
        """Return the details of an error for curators, which users do not see."""


class RowGroupReader:
    """A reader of row groups. Thread-safe.

    Parameters
    ----------
    web_hats_catalogues
        Client for files on web servers; None if there are none.
    """

    def __init__(self, web_hats_catalogues: WebCatalogueProtocol | None) -> None:
        self._web_catalogues = web_hats_catalogues
        self._footer_cache: LruCache[tuple[tuple[int, str], PlainValueOffsetIndex]] = LruCache(FOOTER_CACHE_BYTES)
        self._column_cache: LruCache[pa.Array] = LruCache(COLUMN_CACHE_BYTES, COLUMN_CACHE_BYTES // 16)
        # Threads that wait for a web server do not block reads of local files.
        self._thread_pools = tuple(
            ThreadPoolExecutor(max_workers=READER_THREADS, thread_name_prefix=name)
            for name in ("hats-reader", "hats-web")
        )

    @property
    def web_hats_catalogues(self) -> WebCatalogueProtocol:
        """The client for files on web servers."""
        if self._web_catalogues is None:
            raise StorageError(
                format_message("this engine cannot read files at web addresses"), remedy="give a directory"
            )
        return self._web_catalogues

    def read_file_state(self, path: str) -> tuple[int, str]:
        """Return the size of a file, and a stamp that tells when it changes."""
        if is_web_address(path):
            return self.web_hats_catalogues.request_file_state(path)
        file_status = os.stat(path)  # noqa: PTH116  (a text, asked for each query)
        return file_status.st_size, str(file_status.st_mtime_ns)

    def get_arrow_source(self, path: str, size: int, change_stamp: str) -> Any:
        """Return the source that Arrow opens; a file on a web server is opened in this state only."""
        if is_web_address(path):
            return self.web_hats_catalogues.open_file(path, size, change_stamp)
        return path

    def get_value_index(self, path: str, file_state: tuple[int, str]) -> PlainValueOffsetIndex:
        """Return the footer of a file in a state of `read_file_state`, and the places of its values.

        Raises
        ------
        UpstreamError, OSError, pyarrow.ArrowException
            The file cannot be read, or is no Parquet.
        """
        cached = self._find_cached_value_index(path, file_state)
        if cached is not None:
            return cached
        source = self.get_arrow_source(path, *file_state)
        if source is not path:  # Arrow reads small files whole, and would not notice a server without ranges
            source.read(4)
        value_index = PlainValueOffsetIndex(pq.read_metadata(source))
        group_bytes = _FOOTER_COLUMN_BYTES * value_index.footer.num_columns + _CELL_MARKS_BYTES
        footer_bytes = group_bytes * value_index.footer.num_row_groups
        self._footer_cache.store(path, (file_state, value_index), footer_bytes)
        return value_index

    def _find_cached_value_index(self, path: str, file_state: tuple[int, str]) -> PlainValueOffsetIndex | None:
        cached = self._footer_cache.find(path)
        if cached is not None and cached[0] == file_state:
            return cached[1]
        return None

    def _check_file_state(self, path: str, written_state: tuple[int, str] | None) -> tuple[int, str]:
        """Return the state of a file; raise an error if it is not the state in which the file was written."""
        if written_state is None:
            return self.read_file_state(path)
        if is_web_address(path):
            return written_state
        size, stamp = self.read_file_state(path)
        written_bytes, written_stamp = written_state
        if size != written_bytes or written_stamp not in {"", stamp}:
            raise build_changed_file_error(path, size, written_bytes)
        return size, stamp

    def read_row_groups(
        self,
        path: str,
        group_numbers: Sequence[int],
        column_names: Sequence[str] | None = None,
        written_state: tuple[int, str] | None = None,
        leaf_paths: Mapping[str, str] | None = None,
    ) -> pa.Table:
        """Read some row groups of a file.

        Parameters
        ----------
        path
            Path or address of the file.
        group_numbers
            Numbers of the row groups.
        column_names
            Names of the columns; None: all.
        written_state
            Size of the file when it was written, and the stamp of its last change, which may be empty.
        leaf_paths
            Column -> its path in the file, for columns that have another name there or stand in structs.

        Raises
        ------
        StorageError
            The file is missing or truncated, or is another one.
        StorageUnavailableError
            The operating system or the web server refuses to read it now.
        """
        paths = None
        if column_names is not None:
            paths = [(leaf_paths or {}).get(name, name) for name in column_names]
        try:
            file_state = self._check_file_state(path, written_state)
            rows = self._read_file_row_groups(path, file_state, group_numbers, paths)
        except (UpstreamError, OSError, pa.ArrowException, IndexError) as error:
            raise build_file_read_error(path, error) from error
        if not leaf_paths or column_names is None or paths is None:
            return rows
        return pa.table([select_leaf_column(rows, path) for path in paths], list(column_names))

    def _read_file_row_groups(
        self, path: str, file_state: tuple[int, str], group_numbers: Sequence[int], column_paths: Sequence[str] | None
    ) -> pa.Table:
        footer = self.get_value_index(path, file_state).footer
        source = self.get_arrow_source(path, *file_state)
        # `pre_buffer` reads ranges together, but keeps every row group until the file is closed. Only web servers need
        # it.
        with pq.ParquetFile(source, metadata=footer, pre_buffer=source is not path) as parquet_file:
            rows = sum(footer.row_group(number).num_rows for number in group_numbers)
            group_rows: pa.Table = parquet_file.read_row_groups(
                list(group_numbers), columns=column_paths, use_threads=rows > MAX_SINGLE_THREAD_ROWS
            )
        return group_rows

    def _read_cached_columns(
        self,
        path: str,
        file_state: tuple[int, str],
        group_numbers: Sequence[int],
        column_names: Sequence[str],
        *,
        is_cached_only: bool,
    ) -> pa.Table:
        """Read columns that are not stored as in memory.

        Columns of a few row groups are cached, because later queries ask for them, too.
        """
        if len(group_numbers) > MAX_CACHED_GROUPS:
            return self._read_file_row_groups(path, file_state, group_numbers, column_names)
        parts = []
        for group in group_numbers:
            columns_by_name = {name: self._column_cache.find((path, file_state, group, name)) for name in column_names}
            missing_names = [name for name in column_names if columns_by_name[name] is None]
            if missing_names:
                if is_cached_only:
                    raise NotInMemoryError
                group_rows = self._read_file_row_groups(path, file_state, [group], missing_names)
                for name in missing_names:
                    columns_by_name[name] = column = group_rows.column(name).combine_chunks()
                    self._column_cache.store((path, file_state, group, name), column, column.nbytes)
            parts.append(pa.table(list(columns_by_name.values()), list(columns_by_name)))
        if len(parts) == 1:
            return parts[0]
        return pa.concat_tables(parts)

    def _has_cached_columns(
        self, path: str, file_state: tuple[int, str], group_numbers: Sequence[int], column_names: Sequence[str]
    ) -> bool:
        """Return whether columns of row groups are cached."""
        return all(
            self._column_cache.find((path, file_state, group, name)) is not None
            for group in group_numbers
            for name in column_names
        )

    def read_rows_in_cells(
        self,
        path: str,
        group_numbers: Sequence[int],
        schema: pa.Schema,
        written_state: tuple[int, str],
        cell_ranges: Any,
        *,
        is_cached_only: bool = False,
    ) -> pa.RecordBatch | None:
        """Read only the rows of some row groups that are in some cells; see `hven.plugins.hats.engine.plain_pages`.

        Parameters
        ----------
        path, group_numbers, written_state
            As for `read_row_groups`.
        schema
            Schema of the columns to read.
        cell_ranges
            Half-open ranges of cells of order 29, ascending, shape (r, 2).
        is_cached_only
            True: the method does not wait.

        Returns
        -------
        rows
            None if whole row groups have to be read, or if the method would have to wait.

        Raises
        ------
        StorageError, StorageUnavailableError
            As for `read_row_groups`.
        """
        flags = 0
        are_cached = None
        try:
            file_state = self._check_file_state(path, written_state)
            if is_cached_only:
                value_index = self._find_cached_value_index(path, file_state)
                flags = READ_NOWAIT_FLAG
                are_cached = partial(self._has_cached_columns, path, file_state, group_numbers)
            else:
                value_index = self.get_value_index(path, file_state)
            if value_index is None:
                return None
            rows_in_cells = read_rows_in_cells(
                path, value_index, group_numbers, schema, cell_ranges, flags=flags, are_cached=are_cached
            )
            if rows_in_cells is None:
                return None
            columns = dict(rows_in_cells.columns)
            other_names = [name for name in schema.names if name not in columns]
            if other_names:
                other_columns = self._read_cached_columns(
                    path, file_state, group_numbers, other_names, is_cached_only=is_cached_only
                )
                columns |= {
                    name: take_column_rows(other_columns.column(name), rows_in_cells.rows) for name in other_names
                }
        except NotInMemoryError:
            return None
        except (OSError, pa.ArrowException, IndexError) as error:
            if is_cached_only:  # a read that may wait raises the error
                return None
            raise build_file_read_error(path, error) from error
        return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)

    def submit_read(self, function: Callable[..., Any], *arguments: Any, is_on_web: bool = False) -> Future[Any]:
        """Start to read in another thread; `is_on_web` tells that it waits for a web server."""
        return self._thread_pools[is_on_web].submit(function, *arguments)

    def close(self) -> None:
        """Stop the threads, without waiting for reads from a mount that hangs."""
        for pool in self._thread_pools:
            pool.shutdown(wait=False, cancel_futures=True)


def wait_for_read(future: Future[Any], check_running: Callable[[], None]) -> Any:
    """Return the result of a read; `check_running` raises an error when the query is over."""
    while True:
        try:
            return future.result(CANCEL_CHECK_INTERVAL_SECONDS)
        except TimeoutError:
            if future.done():
                raise
            check_running()


def build_changed_file_error(path: str, size: int, written_bytes: int) -> StorageError:
    """Build the error of a file that is not the one that the manifest describes."""
    if size != written_bytes:
        message = f"the catalogue file {path} has changed: it has {size:,} bytes, but {written_bytes:,} were written"
    else:
        message = f"the catalogue file {path} has changed since Hven checked it"
    return StorageError(message, remedy="ingest the collection again, or roll back to an older snapshot")


def build_file_read_error(path: str, error: BaseException) -> StorageError:
    """Build the error of a file that cannot be read."""
    if isinstance(error, UpstreamError):
        return StorageUnavailableError(
            format_message("the catalogue file {path} cannot be read at the moment: {why}", path, error.message),
            remedy=error.remedy,
        )
    if isinstance(error, OSError) and error.errno in TRANSIENT_ERRNOS:
        message = f"the file {path} cannot be read at the moment: {os.strerror(error.errno).lower()}"
        return StorageUnavailableError(
            message,
            remedy="check the file's permissions and the server's limit on open files",
        )
    if isinstance(error, OSError) and error.errno == errno.ENOENT:
        reason = "it no longer exists"
    else:
        reason = str(error)
    message = f"the catalogue file {path} cannot be read: {reason}"
    return StorageError(
        message, remedy="restore the file, ingest the collection again, or roll back to an older snapshot"
    )
