"""Rows of Parquet files by row groups: footers are kept, files are opened for each read, and a mount or a server that hangs does not hang its reader."""

from __future__ import annotations

import errno
import os
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from hven.engines._disk import PASSING
from hven.engines.hats.plainly import NotInMemoryError, Plain, rows_within, taken
from hven.formats.hats_layout import on_web
from hven.model import Cache
from hven.model.errors import FarFault, StorageError, Unavailable, say
from hven.model.types import leaf

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.formats.hats_catalogues import Folder
    from hven.model.errors import HvenError

FOOTERS = 64 * 1024**2  # bytes of footers that are kept
NOWAIT = os.RWF_NOWAIT if sys.platform == "linux" else -1  # elsewhere no disk is known to be of this machine
COLUMNS = 32 * 1024**2  # bytes of columns of row groups that are decoded, for cones that come back
AGAIN = 16  # row groups of a file whose decoded columns are kept
FEW = 262_144  # rows up to which one thread decodes
READERS = 8
LOOK = 0.05  # seconds between two looks whether the reader was stopped, or has no time left
_WEIGHT = 160  # bytes of a column of a row group in a footer, about
_MARKS = 1200  # bytes of the cells that are kept of a row group


class Webs(Protocol):
    """Asks for files behind addresses (`hven.sources.stores.WebCatalogues`)."""

    def folder(self, address: str) -> Folder:
        """Return what is behind an address."""

    def state(self, path: str) -> tuple[int, str]:
        """Ask for the size of a file, and for what tells that it changed."""

    def opened(self, path: str, size: int, stamp: str) -> Any:
        """Open a file in the state that `state` told."""

    def reason(self, error: HvenError) -> HvenError:
        """Return what curators are told of an error, which readers are spared."""


class Reader:
    """Reads row groups. Thread-safe.

    Parameters
    ----------
    webs
        Asks for files behind addresses; None: there are none.
    """

    def __init__(self, webs: Webs | None) -> None:
        self._webs = webs
        self._footers: Cache[tuple[tuple[int, str], Plain]] = Cache(FOOTERS)
        self._columns: Cache[pa.Array] = Cache(COLUMNS, COLUMNS // 16)
        # who waits for a server keeps nobody from reading here
        self._pools = tuple(ThreadPoolExecutor(max_workers=READERS, thread_name_prefix=name) for name in ("hats-reader", "hats-web"))  # fmt: skip

    @property
    def webs(self) -> Webs:
        """What asks for files behind addresses."""
        if self._webs is None:
            raise StorageError(say("files behind addresses are not read here"), remedy="name a directory")
        return self._webs

    def state(self, path: str) -> tuple[int, str]:
        """Return the size of a file, and what tells that it changed."""
        if on_web(path):
            return self.webs.state(path)
        facts = os.stat(path)  # noqa: PTH116  (a text, asked for each query)
        return facts.st_size, str(facts.st_mtime_ns)

    def source(self, path: str, size: int, stamp: str) -> Any:
        """Return what Arrow opens; of a file behind an address, in that state alone."""
        return self.webs.opened(path, size, stamp) if on_web(path) else path

    def footer(self, path: str, stamp: tuple[int, str]) -> Plain:
        """Return the footer of a file in a state, as `state` tells it, and where its values stand.

        Raises
        ------
        FarFault, OSError, pyarrow.ArrowException
            It cannot be read, or is no Parquet.
        """
        if (known := self._known(path, stamp)) is not None:
            return known
        source = self.source(path, *stamp)
        if source is not path:  # of a small file Arrow would read all, which servers without ranges give
            source.read(4)
        found = Plain(pq.read_metadata(source))
        weight = (_WEIGHT * found.footer.num_columns + _MARKS) * found.footer.num_row_groups
        self._footers.keep(path, (stamp, found), weight)
        return found

    def _known(self, path: str, stamp: tuple[int, str]) -> Plain | None:
        kept = self._footers.find(path)
        return kept[1] if kept is not None and kept[0] == stamp else None

    def _stamp(self, path: str, written: tuple[int, str] | None) -> tuple[int, str]:
        """Return the state of a file, which must be that in which it was written."""
        stamp = written if written is not None and on_web(path) else self.state(path)
        if written is not None and (stamp[0] != written[0] or written[1] not in {"", stamp[1]}):
            raise changed(path, stamp[0], written[0])
        return stamp

    def read(
        self,
        path: str,
        groups: Sequence[int],
        columns: Sequence[str] | None = None,
        written: tuple[int, str] | None = None,
        leaves: Mapping[str, str] | None = None,
    ) -> pa.Table:
        """Read some row groups of a file.

        Parameters
        ----------
        written
            Of how many bytes it was, and if that is told when it was changed.
        leaves
            Columns that stand in structs, and where.

        Raises
        ------
        StorageError
            It is not there any more, cut off, or no such file.
        Unavailable
            The machine, or its server, does not let us read it now.
        """
        paths = None if columns is None else [(leaves or {}).get(name, name) for name in columns]
        try:
            stamp = self._stamp(path, written)
            found = self._read(path, stamp, groups, paths)
        except (FarFault, OSError, pa.ArrowException, IndexError) as error:
            raise trouble(path, error) from error
        if not leaves or columns is None or paths is None:
            return found
        return pa.table([leaf(found, path) for path in paths], list(columns))

    def _read(
        self, path: str, stamp: tuple[int, str], groups: Sequence[int], columns: Sequence[str] | None
    ) -> pa.Table:
        footer, source = self.footer(path, stamp).footer, self.source(path, *stamp)
        # without pre_buffer, which asks for ranges together: it keeps every row group that was read until the file is closed
        with pq.ParquetFile(source, metadata=footer, pre_buffer=source is not path) as opened:
            rows = sum(footer.row_group(number).num_rows for number in groups)
            found: pa.Table = opened.read_row_groups(list(groups), columns=columns, use_threads=rows > FEW)
        return found

    def _decoded(
        self, path: str, stamp: tuple[int, str], groups: Sequence[int], names: Sequence[str], *, at_once: bool
    ) -> pa.Table:
        """Read columns that do not stand there as they are; of few row groups, that next readers ask for as well, they are kept."""
        if len(groups) > AGAIN:
            return self._read(path, stamp, groups, names)
        parts = []
        for group in groups:
            known = {name: self._columns.find((path, stamp, group, name)) for name in names}
            if lacking := [name for name in names if known[name] is None]:
                if at_once:
                    raise NotInMemoryError
                found = self._read(path, stamp, [group], lacking)
                for name in lacking:
                    known[name] = column = found.column(name).combine_chunks()
                    self._columns.keep((path, stamp, group, name), column, column.nbytes)
            parts.append(pa.table(list(known.values()), list(known)))
        return parts[0] if len(parts) == 1 else pa.concat_tables(parts)

    def _has(self, path: str, stamp: tuple[int, str], groups: Sequence[int], names: Sequence[str]) -> bool:
        """Return whether columns of row groups are kept."""
        return all(self._columns.find((path, stamp, group, name)) is not None for group in groups for name in names)

    def within(
        self,
        path: str,
        groups: Sequence[int],
        schema: pa.Schema,
        written: tuple[int, str],
        ranges: Any,
        *,
        at_once: bool = False,
    ) -> pa.RecordBatch | None:
        """Read the rows of some row groups in some cells, without the others: see `hven.engines.hats.plainly`.

        Parameters
        ----------
        schema
            What is wanted.
        written
            As of `read`.
        ranges
            Cells of order 29, half-open, ascending, shape (r, 2).
        at_once
            Nothing is waited for.

        Returns
        -------
        rows
            None: whole row groups have to be read, or something must be waited for.

        Raises
        ------
        StorageError, Unavailable
            As of `read`.
        """
        try:
            stamp = self._stamp(path, written)
            plain = self._known(path, stamp) if at_once else self.footer(path, stamp)
            if plain is None:
                return None
            has = partial(self._has, path, stamp, groups) if at_once else None
            found = rows_within(path, plain, groups, schema, ranges, NOWAIT if at_once else 0, has)
            if found is None:
                return None
            columns = dict(found.columns)
            if rest := [name for name in schema.names if name not in columns]:
                others = self._decoded(path, stamp, groups, rest, at_once=at_once)
                columns |= {name: taken(others.column(name), found.rows) for name in rest}
        except NotInMemoryError:
            return None
        except (OSError, pa.ArrowException, IndexError) as error:
            if at_once:  # who may wait says what it is
                return None
            raise trouble(path, error) from error
        return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)

    def later(self, call: Callable[..., Any], *given: Any, web: bool = False) -> Future[Any]:
        """Begin to read in another thread; `web`: from a server."""
        return self._pools[web].submit(call, *given)

    def close(self) -> None:
        """Let go of what is kept; who reads from a mount that hangs is not waited for."""
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)


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
    if isinstance(error, FarFault):
        return Unavailable(
            say("the file {path} of a catalogue cannot be read now: {why}", path, error.message), remedy=error.remedy
        )
    if isinstance(error, OSError) and error.errno in PASSING:
        message = f"the file {path} cannot be read now: {os.strerror(error.errno).lower()}"
        return Unavailable(message, remedy="see that the server may read it, and has files to open left")
    why = "it is not there any more" if isinstance(error, OSError) and error.errno == errno.ENOENT else str(error)
    message = f"the file {path} of a catalogue cannot be read: {why}"
    return StorageError(message, remedy="bring it back, ingest the collection anew, or roll back to an older snapshot")
