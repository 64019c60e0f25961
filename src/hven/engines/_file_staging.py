"""The common part of stagings of the engines that keep files.

Rows wait in memory, a full run is sorted and spooled to disk, and an error removes everything that was written.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.engines._row_order import build_sort_key_function, take_rows_and_release_columns
from hven.engines._row_preparation import cast_batch_and_replace_nan, compute_stable_order
from hven.engines._snapshot_files import create_locked_directory, sync_file, translate_disk_errors
from hven.model.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from hven.model.table import Table

    Keys = npt.NDArray[np.int64]

MAX_WAITING_BYTES = 256 * 1024**2
MAX_BATCH_ROWS = 131_072
TARGET_BATCH_BYTES = 48 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class SortedRows:
    """Sorted rows that wait to be merged: a mapped table and its keys."""

    table: pa.Table
    keys: Keys


class FileStaging(ABC):
    """A snapshot that is being written into a directory of its own.

    Engines add `finish` (`hven.engines.SnapshotStaging`).

    Parameters
    ----------
    final_directory, relative_path
        Directory of the snapshot, and its path in records.
    on_sealed
        Called once, when nothing more will be written.
    """

    def __init__(
        self,
        table: Table,
        snapshot_id: str,
        final_directory: Path,
        relative_path: str,
        on_sealed: Callable[[Any], None],
    ) -> None:
        self.table = table
        self.snapshot = snapshot_id
        self.final_directory = final_directory
        self._relative = relative_path
        self._on_sealed = on_sealed
        self._work_directory = final_directory.with_name(f"{final_directory.name}.staging")
        self._schema = table.arrow_schema
        self._waiting_batches: list[pa.RecordBatch] = []
        self._waiting_bytes = 0
        self._sorted_runs: list[SortedRows] = []
        self._row_count = 0
        self._written_bytes = 0
        self._is_closed = False
        self._compute_sort_keys = build_sort_key_function(table)
        self._max_waiting_bytes = MAX_WAITING_BYTES
        with translate_disk_errors("staging", final_directory):
            self.lock_descriptor = create_locked_directory(self._work_directory)

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows; columns are found by name and must have the types of the table.

        Parameters
        ----------
        batch
            Rows in the types of the table.
        """
        self._check_open()
        batch = cast_batch_and_replace_nan(batch, self._schema)
        if not batch.num_rows:
            return
        self._row_count += batch.num_rows
        self._waiting_batches.append(batch)
        self._waiting_bytes += batch.nbytes
        self._written_bytes += batch.nbytes
        if self._waiting_bytes >= self._max_waiting_bytes:
            with self._abandon_on_error():
                self._spill_sorted_run()

    def abandon(self) -> None:
        """Remove everything written; see `hven.engines.SnapshotStaging.abandon`."""
        if self._is_closed:
            return
        self._is_closed = True
        self._waiting_batches = []
        self._sorted_runs = []
        shutil.rmtree(self._work_directory, ignore_errors=True)
        self._on_sealed(self)

    def _check_open(self) -> None:
        if self._is_closed:
            message = "this staging is finished or abandoned"
            raise StorageError(message)

    def _close(self) -> None:
        """Close the staging: nothing more is written."""
        self._is_closed = True
        self._on_sealed(self)

    @contextmanager
    def _abandon_on_error(self) -> Iterator[None]:
        """Abandon the staging if an error occurs."""
        try:
            with translate_disk_errors("writing", self._work_directory):
                yield
        except BaseException:
            self.abandon()
            raise

    # --- runs ------------------------------------------------------------------------------------------------

    def _take_and_sort_waiting_rows(self) -> SortedRows:
        """Return the waiting rows, sorted by their keys."""
        table = pa.Table.from_batches(self._waiting_batches, schema=self._schema)
        self._waiting_batches = []
        self._waiting_bytes = 0
        if self._compute_sort_keys is None:
            return self._keep_arrival_order(table)
        keys = self._compute_sort_keys(table)
        order = compute_stable_order(keys)
        columns = table.columns
        del table
        sorted_table = pa.Table.from_arrays(take_rows_and_release_columns(columns, order), schema=self._schema)
        return SortedRows(table=sorted_table, keys=keys[order])

    @abstractmethod
    def _keep_arrival_order(self, table: pa.Table) -> SortedRows:
        """Return the rows of a table without a sort key, in the order in which they came."""

    def _spill_sorted_run(self) -> None:
        run = self._take_and_sort_waiting_rows()
        path = self._work_directory / f"run-{len(self._sorted_runs):04d}"
        write_ipc_file(path.with_suffix(".arrow"), run.table, sync_to_disk=False)
        np.save(path.with_suffix(".npy"), run.keys)
        mapped = pa.ipc.open_file(pa.memory_map(str(path.with_suffix(".arrow")))).read_all()
        pa.default_memory_pool().release_unused()
        keys = np.load(path.with_suffix(".npy"), mmap_mode="r")
        self._sorted_runs.append(SortedRows(table=mapped, keys=keys))

    def _remove_spilled_runs(self) -> None:
        """Remove the runs, whose rows are now in the parts."""
        self._sorted_runs = []
        for path in self._work_directory.glob("run-*"):
            path.unlink()


def write_ipc_file(path: Path, table: pa.Table, *, sync_to_disk: bool) -> None:
    """Write rows as an Arrow IPC file, in record batches of moderate size."""
    bytes_per_row = max(table.nbytes / max(table.num_rows, 1), 1)
    batch_rows = int(np.clip(TARGET_BATCH_BYTES / bytes_per_row, 1024, MAX_BATCH_ROWS))
    # the schema has only names and types: descriptions follow the descriptor, not the snapshot
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        if table.num_rows:
            writer.write_table(table, max_chunksize=batch_rows)
        else:
            empty_columns = [pa.array([], item.type) for item in table.schema]
            writer.write_batch(pa.RecordBatch.from_arrays(empty_columns, schema=table.schema))
    if sync_to_disk:
        sync_file(path)
