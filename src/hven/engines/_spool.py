"""What stagings of the engines that keep files have in common: rows wait, a full run is put in order and spooled, and what goes wrong leaves nothing."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.engines._disk import begun, disk, sync
from hven.engines._orders import gathered, ordering
from hven.engines._rows import conform, stable_order
from hven.model.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from hven.model.table import Table

    Keys = npt.NDArray[np.int64]

RUN = 256 * 1024**2
BATCH_ROWS = 131_072
BATCH_BYTES = 48 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class SortedRows:
    """Sorted rows that wait to be merged: a mapped table and its keys."""

    table: pa.Table
    keys: Keys


class FileStaging(ABC):
    """A snapshot that is being written into a directory of its own; engines add `finish` (`hven.engines.Staging`).

    Parameters
    ----------
    final, relative
        Directory of the snapshot, and as records name it.
    seal
        Called once when nothing more will be written.
    """

    def __init__(self, table: Table, snapshot: str, final: Path, relative: str, seal: Callable[[Any], None]) -> None:
        self.table = table
        self.snapshot = snapshot
        self.final = final
        self._relative = relative
        self._seal = seal
        self._work = final.with_name(f"{final.name}.staging")
        self._schema = table.arrow
        self._waiting: list[pa.RecordBatch] = []
        self._bytes = 0
        self._runs: list[SortedRows] = []
        self._rows = self._size = 0  # that were written, with their bytes
        self._done = False
        self._ordering = ordering(table)
        self._most = RUN  # bytes that wait
        with disk("staging", final):
            self.lock = begun(self._work)

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows; columns are found by name and must have the types of the table."""
        self._open()
        batch = conform(batch, self._schema)
        if not batch.num_rows:
            return
        self._rows += batch.num_rows
        self._waiting.append(batch)
        self._bytes += batch.nbytes
        self._size += batch.nbytes
        if self._bytes >= self._most:
            with self._guard():
                self._spill()

    def abandon(self) -> None:
        """Remove everything written; see `hven.engines.Staging.abandon`."""
        if self._done:
            return
        self._done = True
        self._waiting, self._runs = [], []
        shutil.rmtree(self._work, ignore_errors=True)
        self._seal(self)

    def _open(self) -> None:
        if self._done:
            message = "this staging is finished or abandoned"
            raise StorageError(message)

    def _end(self) -> None:
        """Note that nothing more is written."""
        self._done = True
        self._seal(self)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Abandon the staging when something goes wrong."""
        try:
            with disk("writing", self._work):
                yield
        except BaseException:
            self.abandon()
            raise

    # --- runs ------------------------------------------------------------------------------------------------

    def _sorted_run(self) -> SortedRows:
        """Return what waits, sorted by its keys."""
        table = pa.Table.from_batches(self._waiting, schema=self._schema)
        self._waiting, self._bytes = [], 0
        if self._ordering is None:
            return self._unordered(table)
        keys = self._ordering(table)
        order = stable_order(keys)
        columns = table.columns
        del table
        return SortedRows(table=pa.Table.from_arrays(gathered(columns, order), schema=self._schema), keys=keys[order])

    @abstractmethod
    def _unordered(self, table: pa.Table) -> SortedRows:
        """Return rows of a table without a key, as they came."""

    def _spill(self) -> None:
        run = self._sorted_run()
        path = self._work / f"run-{len(self._runs):04d}"
        write_ipc(path.with_suffix(".arrow"), run.table, durable=False)
        np.save(path.with_suffix(".npy"), run.keys)
        mapped = pa.ipc.open_file(pa.memory_map(str(path.with_suffix(".arrow")))).read_all()
        pa.default_memory_pool().release_unused()
        self._runs.append(SortedRows(table=mapped, keys=np.load(path.with_suffix(".npy"), mmap_mode="r")))

    def _clear(self) -> None:
        """Remove the runs: their rows are where they belong."""
        self._runs = []
        for path in self._work.glob("run-*"):
            path.unlink()


def write_ipc(path: Path, table: pa.Table, *, durable: bool) -> None:
    """Write rows: record batches of a moderate size."""
    per_row = max(table.nbytes / max(table.num_rows, 1), 1)
    size = int(np.clip(BATCH_BYTES / per_row, 1024, BATCH_ROWS))
    # names and types only: descriptions follow the descriptor, not the snapshot
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        if table.num_rows:
            writer.write_table(table, max_chunksize=size)
        else:
            writer.write_batch(
                pa.RecordBatch.from_arrays([pa.array([], item.type) for item in table.schema], schema=table.schema)
            )
    if durable:
        sync(path)
