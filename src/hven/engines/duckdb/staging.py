"""Write a snapshot: spool, order, index, make durable. The memory needed does not depend on the number of rows.

Batches are collected up to a limit of bytes; a full run is sorted by its key (the HEALPix index, or the first column
of a numeric primary key) and spooled. `finish` divides the range of keys into slices of about `MIN_PART_BYTES` bytes,
reads each slice from every run (all mapped), sorts it and writes it as a part. A table that fits into one run is never
spooled; a table without a key keeps the order in which its rows came.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.engines import Snapshot
from hven.engines._file_staging import FileStaging, SortedRows, write_ipc_file
from hven.engines._region_cells import list_indexed_region_columns
from hven.engines._row_order import find_row_order_column, take_rows_and_release_columns
from hven.engines._row_preparation import MISSING_KEY, compute_stable_order
from hven.engines._snapshot_files import LOCK_FILE_NAME, compute_file_checksum, compute_text_checksum, sync_file
from hven.engines._statistics import ColumnStatisticsCollector, compute_coverage_moc
from hven.engines.duckdb.index_building import (
    build_key_index,
    build_region_index,
    check_primary_key,
    list_indexed_columns,
)
from hven.engines.duckdb.snapshot_files import MANIFEST_FILE_NAME, POSITION_FILE_NAME, OpenSnapshot, SnapshotManifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from hven.model.table import Table

    Keys = npt.NDArray[np.int64]

# snapshots share the parts that no change touches: more of them if parts are small, but small parts slow queries down
MIN_PART_BYTES = 32 * 1024**2
MAX_PART_BYTES = 160 * 1024**2
MIN_PART_ROWS = 10_000
MIN_PART_COUNT = 64  # number of parts from which on parts grow, because each of them is a file and a map
MAX_PART_ROWS = 2_000_000
MIN_CHUNK_ROWS = 16_384  # rows of a batch that may be written as it came


class DuckSnapshotStaging(FileStaging):
    """A snapshot that is being written (`hven.engines.SnapshotStaging`)."""

    def __init__(
        self,
        table: Table,
        snapshot_id: str,
        final_directory: Path,
        relative_path: str,
        on_sealed: Callable[[DuckSnapshotStaging], None],
    ) -> None:
        super().__init__(table, snapshot_id, final_directory, relative_path, on_sealed)
        self._written_parts: list[tuple[str, int, int]] = []
        self._shared_names: set[str] = set()  # files that other snapshots share, which are durable already
        self._known_checksums: dict[str, tuple[int, str]] = {}  # their checksums, from when they were written
        self._statistics = ColumnStatisticsCollector(table)
        if self._compute_sort_keys is None:
            self._max_waiting_bytes = MIN_PART_BYTES

    def finish(self) -> Snapshot:
        """Order, index, make durable; see `hven.engines.SnapshotStaging.finish`."""
        self._check_open()
        with self._abandon_on_error():
            self._write_parts_and_position_index()
            manifest = self._write_indexes_and_build_manifest()
            checksum = self._complete_snapshot_directory(manifest)
        self._close()
        size = sum(item.stat().st_size for item in self.final_directory.iterdir())
        return Snapshot(
            id=self.snapshot,
            table=self.table.qualified_name,
            path=self._relative,
            rows=manifest.rows,
            bytes=size,
            parts=tuple((name, rows) for name, rows, _ in manifest.parts),
            statistics=manifest.statistics,
            coverage=manifest.coverage,
            checksum=checksum,
        )

    # --- runs ------------------------------------------------------------------------------------------------

    def _keep_arrival_order(self, table: pa.Table) -> SortedRows:
        return SortedRows(table=_combine_small_chunks(table), keys=np.empty(0, np.int64))

    def _spill_sorted_run(self) -> None:
        if self._compute_sort_keys is None:  # the order is that of arrival: a run is a part
            self._write_part(self._take_and_sort_waiting_rows().table)
        else:
            super()._spill_sorted_run()

    def _write_parts_and_position_index(self) -> None:
        """Write all parts and the position index."""
        position_writer = None
        if self.table.position:
            position_writer = PositionFileWriter(self._work_directory / POSITION_FILE_NAME)
        if self._sorted_runs:
            sort_keys = self._write_merged_runs()
        else:
            sort_keys = self._write_waiting_rows()
        for keys in sort_keys:
            if position_writer is not None:
                position_writer.add_keys(keys)
        self._positioned_count = 0
        if position_writer is not None:
            self._positioned_count = position_writer.close()

    def _write_waiting_rows(self) -> Iterator[Keys]:
        """Write the waiting rows as parts; yield their sort keys."""
        run = self._take_and_sort_waiting_rows()
        part_rows = self._compute_rows_per_part(run.table)
        has_no_rows_left = self._compute_sort_keys is None and self._written_parts and not run.table.num_rows
        if not has_no_rows_left:
            for begin in range(0, max(run.table.num_rows, 1), part_rows):
                self._write_part(run.table.slice(begin, part_rows))
        yield run.keys

    def _write_merged_runs(self) -> Iterator[Keys]:
        """Write the rows of all runs as parts; yield their sort keys, part by part."""
        if self._waiting_batches:
            self._spill_sorted_run()
        part_rows = self._compute_rows_per_part(self._sorted_runs[0].table)
        for table, keys in _merge_sorted_runs(self._sorted_runs, part_rows):
            self._write_part(table)
            yield keys
        self._remove_spilled_runs()

    def _compute_rows_per_part(self, table: pa.Table) -> int:
        if not table.num_rows:
            return MAX_PART_ROWS
        return compute_rows_per_part(self._row_count, table.nbytes / table.num_rows)

    def _write_part(self, table: pa.Table) -> None:
        name = f"{len(self._written_parts):05d}.arrow"
        path = self._work_directory / name
        self._statistics.add_rows(table)
        write_ipc_file(path, table, sync_to_disk=False)
        self._written_parts.append((name, table.num_rows, path.stat().st_size))
        pa.default_memory_pool().release_unused()

    # --- indexes ---------------------------------------------------------------------------------------------

    def _write_indexes_and_build_manifest(self) -> SnapshotManifest:
        manifest = SnapshotManifest(
            rows=self._row_count,
            parts=tuple(self._written_parts),
            position=self.table.position,
            positioned=self._positioned_count,
        )
        (self._work_directory / MANIFEST_FILE_NAME).write_text(manifest.to_json())
        stored = OpenSnapshot(self._work_directory)
        check_primary_key(self.table, stored)
        indexed_columns = list_indexed_columns(self.table)
        keys = tuple(build_key_index(stored, column, number) for number, column in enumerate(indexed_columns))
        region_columns = list_indexed_region_columns(self.table)
        regions = tuple(build_region_index(stored, column, number) for number, column in enumerate(region_columns))
        coverage = None
        if self.table.position:
            coverage = compute_coverage_moc(stored.cell_indexes)
        return SnapshotManifest(
            rows=self._row_count,
            parts=tuple(self._written_parts),
            position=self.table.position,
            positioned=self._positioned_count,
            keys=keys,
            regions=regions,
            statistics=self._statistics.build_statistics(),
            coverage=coverage,
            primary=tuple(self.table.primary),
            order=find_row_order_column(self.table),
        )

    def _complete_snapshot_directory(self, manifest: SnapshotManifest) -> str:
        """Make every file durable, then the names; return the checksum of the manifest.

        After this the snapshot survives a power failure.
        """
        names = sorted(path.name for path in self._work_directory.iterdir())
        checksums = {}
        for name in names:
            if name not in {LOCK_FILE_NAME, MANIFEST_FILE_NAME}:
                known_checksum = self._known_checksums.get(name)
                checksums[name] = known_checksum or compute_file_checksum(self._work_directory / name)
        text = replace(manifest, checksums=checksums).to_json().encode()
        (self._work_directory / MANIFEST_FILE_NAME).write_bytes(text)
        for path in self._work_directory.iterdir():
            if path.name != LOCK_FILE_NAME and path.name not in self._shared_names:
                path.chmod(0o444)
                sync_file(path)
        sync_file(self._work_directory)
        self._work_directory.rename(self.final_directory)
        sync_file(self.final_directory.parent)
        return compute_text_checksum(text)


def compute_rows_per_part(row_count: int, bytes_per_row: float) -> int:
    """Return the number of rows of each part of a table that has `row_count` rows of `bytes_per_row` bytes."""
    max_part_bytes = max(MIN_PART_BYTES, MAX_PART_BYTES)
    part_bytes = float(np.clip(row_count * bytes_per_row / MIN_PART_COUNT, MIN_PART_BYTES, max_part_bytes))
    return int(np.clip(part_bytes / max(bytes_per_row, 1), MIN_PART_ROWS, MAX_PART_ROWS))


def _combine_small_chunks(table: pa.Table) -> pa.Table:
    """Combine rows into few chunks; rows that came in long batches stay as they are, without a copy."""
    is_chunked_well = table.num_columns == 0 or table.num_rows >= MIN_CHUNK_ROWS * table.column(0).num_chunks
    if is_chunked_well:
        return table
    return table.combine_chunks()


def _merge_sorted_runs(runs: list[SortedRows], slice_rows: int) -> Iterator[tuple[pa.Table, Keys]]:
    """Yield slices of about `slice_rows` rows of all runs together, in order."""
    total = sum(len(run.keys) for run in runs)
    key_ends = [int(np.searchsorted(run.keys, MISSING_KEY, side="left")) for run in runs]
    sampled_keys = [run.keys[:end:256] for run, end in zip(runs, key_ends, strict=True)]
    sample = np.sort(np.concatenate(sampled_keys))
    slice_count = max(1, -(-total // slice_rows))
    cuts = np.empty(0, np.int64)
    if len(sample):
        cut_places = np.linspace(0, len(sample), slice_count + 1)[1:-1].astype(np.int64)
        cuts = np.unique(sample[cut_places])
    begins = [0] * len(runs)
    for cut in [*cuts.tolist(), MISSING_KEY]:
        tables = []
        key_parts = []
        for number, run in enumerate(runs):
            begin = begins[number]
            end = int(np.searchsorted(run.keys, cut, side="left"))
            tables.append(run.table.slice(begin, end - begin))
            key_parts.append(run.keys[begin:end])
            begins[number] = end
        keys = np.concatenate(key_parts)
        if len(keys):
            order = compute_stable_order(keys)
            columns = pa.concat_tables(tables).columns
            yield (
                pa.Table.from_arrays(take_rows_and_release_columns(columns, order), schema=tables[0].schema),
                keys[order],
            )
    for run, end in zip(runs, key_ends, strict=True):  # rows without a key, in the order in which they came
        for begin in range(end, len(run.keys), slice_rows):
            table = run.table.slice(begin, slice_rows)
            yield table, np.full(table.num_rows, MISSING_KEY, np.int64)


class PositionFileWriter:
    """Writes ``position.npy`` piece by piece: a plain array of int64 whose length is known at the end."""

    _HEADER_BYTES = 128

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._file.write(b" " * self._HEADER_BYTES)
        self._count = 0

    def add_keys(self, sort_keys: Keys) -> None:
        """Write sorted keys; those of rows without a key are left out."""
        sort_keys = sort_keys[: np.searchsorted(sort_keys, MISSING_KEY, side="left")]
        self._file.write(np.ascontiguousarray(sort_keys).data)
        self._count += len(sort_keys)

    def close(self) -> int:
        """Write the header; return the number of keys."""
        header = repr({"descr": "<i8", "fortran_order": False, "shape": (self._count,)})
        padding = " " * (self._HEADER_BYTES - 10 - 1 - len(header))
        header_line = f"{header}{padding}\n".encode("latin-1")
        self._file.seek(0)
        self._file.write(b"\x93NUMPY\x01\x00" + len(header_line).to_bytes(2, "little") + header_line)
        self._file.close()
        return self._count
