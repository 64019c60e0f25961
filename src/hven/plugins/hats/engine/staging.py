"""Writing of snapshots: rows are ordered by their cells, divided among partitions, and written as Parquet.

Batches are collected into runs, which are sorted and spooled. `finish` counts the rows in each pixel, reads each
partition from every run (all mapped), sorts it and writes it, with a manifest. The directory is a HATS catalogue, which
other programs can open.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hven.engines import Snapshot
from hven.engines.api.rows import (
    MISSING_KEY,
    compute_stable_order,
    find_row_order_column,
    take_rows_and_release_columns,
)
from hven.engines.api.snapshots import (
    LOCK_FILE_NAME,
    FileStaging,
    SortedRows,
    compute_file_checksum,
    compute_text_checksum,
    sync_file,
    translate_disk_errors,
)
from hven.engines.api.statistics import (
    ColumnStatisticsCollector,
    compute_coverage_cells,
    find_distinct_cells,
    format_moc,
)
from hven.formats import ResultStatus, TableMetadata, votable
from hven.model.errors import StorageError
from hven.plugins.hats import hats_layout
from hven.plugins.hats.engine.foreign_catalogues import build_foreign_manifest
from hven.plugins.hats.engine.key_index import PrimaryKeyCollector
from hven.plugins.hats.engine.manifest import (
    MANIFEST_FILE_NAME,
    ManifestFile,
    ManifestHead,
    RowGroupCollector,
    compute_column_byte_shares,
    list_range_columns,
    write_manifest_with_json_head,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from hven.model.table import Table
    from hven.plugins.hats.engine.row_group_reader import RowGroupReader

    Rows = npt.NDArray[np.int64]

MAX_PARTITION_BYTES = 1024**3  # of a partition in memory: about 512 MB as a file
WRITER_THREADS = 2  # threads that sort and write partitions
READERS_LOCK_NAME = ".readers"  # queries hold a shared lock on it, so that their snapshot is not removed
MAX_METADATA_GROUPS = 100_000  # with more row groups, the common footer would be too large to read and is not written
MAX_MEASURED_FOOTERS = 20  # footers from which the shares of columns are computed
MIN_KEY, MAX_KEY = np.iinfo(np.int64).min, MISSING_KEY


@dataclass(frozen=True, slots=True)
class PlannedCatalogueFile:
    """A file to be written: its path, its pixel (-1: none), and the half-open range of the keys of its rows."""

    path: str
    order: int
    pixel: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class WrittenCatalogueFile:
    """A file that was written or linked; its rows, or only their keys; their cells."""

    file: ManifestFile
    footer: Any
    rows: pa.Table
    cells: Rows | None = None


class CatalogueStaging(FileStaging):
    """A snapshot that is being written (`hven.engines.SnapshotStaging`)."""

    def __init__(
        self,
        table: Table,
        snapshot_id: str,
        final_directory: Path,
        relative_path: str,
        *,
        on_sealed: Callable[[CatalogueStaging], None],
        reader: RowGroupReader,
    ) -> None:
        self._reader = reader
        if hats_layout.CELL_COLUMN in {column.name for column in table.columns} and table.position is not None:
            message = f"{table.qualified_name}: the name {hats_layout.CELL_COLUMN} is reserved for the HATS cells"
            raise StorageError(message, remedy="rename the column, or leave it out so that Hven computes its values")
        super().__init__(table, snapshot_id, final_directory, relative_path, on_sealed)
        self._stored_schema = self._schema
        if table.position is not None:
            self._stored_schema = hats_layout.build_partition_schema(self._schema)
        with translate_disk_errors("staging", final_directory):
            (self._work_directory / READERS_LOCK_NAME).touch()

    def finish(self) -> Snapshot:
        """Write the ordered rows and the manifest, and sync them; see `hven.engines.SnapshotStaging.finish`."""
        self._check_open()
        with self._abandon_on_error():
            head, groups = self._write_files()
            snapshot = self._sync_snapshot_to_disk(head, groups)
        self._close()
        return snapshot

    def adopt_catalogue(self, directory: str, column_names: Mapping[str, str] | None = None) -> Snapshot:
        """Make a snapshot of a foreign catalogue, whose files stay where they are.

        See `hven.engines.CatalogueAdopter`.

        Raises
        ------
        SourceError
            The directory has no catalogue, or one with faults; the staging is abandoned.
        """
        self._check_open()
        with self._abandon_on_error():
            head, groups = build_foreign_manifest(self.table, directory, self._reader, column_names)
            snapshot = self._sync_snapshot_to_disk(head, groups)
        self._close()
        return snapshot

    def _keep_arrival_order(self, table: pa.Table) -> SortedRows:
        keys = np.full(table.num_rows, MISSING_KEY)
        return SortedRows(table=table, keys=keys)

    # --- files -----------------------------------------------------------------------------------------------

    def _plan_files(self) -> list[PlannedCatalogueFile]:
        """Divide the rows among files."""
        max_rows = self._compute_file_rows(self._written_bytes / max(self._row_count, 1))
        keys = [run.keys[: np.searchsorted(run.keys, MISSING_KEY)] for run in self._sorted_runs]
        if not self.table.position:
            return plan_key_range_files(keys, max_rows)
        row_counter = hats_layout.create_row_counter(*keys)
        return plan_pixel_files(hats_layout.divide_into_partitions(row_counter, max_rows))

    @staticmethod
    def _compute_file_rows(bytes_per_row: float) -> int:
        """Return the maximum number of rows of a file."""
        row_count = MAX_PARTITION_BYTES / max(bytes_per_row, 1.0)
        return int(np.clip(row_count, hats_layout.ROW_GROUP_ROWS, hats_layout.MAX_PARTITION_ROWS))

    def _write_files(self) -> tuple[ManifestHead, pa.Table]:
        self._sort_remaining_rows()
        statistics = ColumnStatisticsCollector(self.table)
        head, groups = self._complete_catalogue(run_jobs_in_order(self._iterate_write_jobs()), statistics)
        self._remove_spilled_runs()
        return replace(head, statistics=statistics.build_statistics()), groups

    def _sort_remaining_rows(self) -> None:
        """Sort the batches that wait."""
        if self._sorted_runs and self._waiting_batches:
            self._spill_sorted_run()
        elif not self._sorted_runs:
            self._sorted_runs.append(self._take_and_sort_waiting_rows())

    def _iterate_write_jobs(self) -> Iterator[Callable[[], list[WrittenCatalogueFile]]]:
        """Yield the jobs that write the files, in the order of their rows; rows without a key come last, unordered."""
        for part in self._plan_files():
            yield partial(self._write_key_range, part)
        for number, rows in enumerate(self._iterate_unplaced_rows()):
            part = PlannedCatalogueFile(f"unplaced/part-{number:05d}.parquet", -1, -1, MISSING_KEY, MISSING_KEY)
            yield partial(self._write_single_planned_file, part, rows, None)

    def _write_key_range(self, part: PlannedCatalogueFile) -> list[WrittenCatalogueFile]:
        rows, keys = self._select_key_range(part.low, part.high)
        return self._write_single_planned_file(part, rows, keys)

    def _write_single_planned_file(
        self, part: PlannedCatalogueFile, rows: pa.Table, keys: Rows | None
    ) -> list[WrittenCatalogueFile]:
        return [self._write_partition_file(part, rows, keys)]

    def _select_key_range(self, low_key: int, high_key: int) -> tuple[pa.Table, Rows]:
        """Return the rows of all runs with keys from `low_key` to before `high_key`, in order."""
        pieces = [self._schema.empty_table()]
        key_arrays = [np.empty(0, np.int64)]
        for run in self._sorted_runs:
            begin, end = (int(np.searchsorted(run.keys, key)) for key in (low_key, high_key))
            if end > begin:
                pieces.append(run.table.slice(begin, end - begin))
                key_arrays.append(np.asarray(run.keys[begin:end]))
        if len(pieces) == 2:  # one run has all of them, in order
            return pieces[1], key_arrays[1]
        keys = np.concatenate(key_arrays)
        order = compute_stable_order(keys)
        columns = take_rows_and_release_columns(pa.concat_tables(pieces).columns, order)
        return pa.Table.from_arrays(columns, schema=self._schema), keys[order]

    def _iterate_unplaced_rows(self) -> Iterator[pa.Table]:
        unplaced_tables = [run.table.slice(int(np.searchsorted(run.keys, MISSING_KEY))) for run in self._sorted_runs]
        rows = pa.concat_tables(unplaced_tables)
        step = self._compute_file_rows(self._written_bytes / max(self._row_count, 1))
        for begin in range(0, rows.num_rows, step):
            yield rows.slice(begin, step)

    def _write_partition_file(
        self, planned_file: PlannedCatalogueFile, rows: pa.Table, keys: Rows | None
    ) -> WrittenCatalogueFile:
        """Write a file."""
        stored_rows = rows
        cells = None
        if self.table.position is not None:
            cells = keys
            if keys is None:
                cell_column = pa.nulls(rows.num_rows, pa.int64())
            else:
                cell_column = pa.array(keys)
            stored_rows = pa.Table.from_arrays([cell_column, *rows.columns], schema=self._stored_schema)
        path = self._work_directory / planned_file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        footers: list[Any] = []
        options = hats_layout.choose_parquet_writer_options(stored_rows)
        with pq.ParquetWriter(path, self._stored_schema, metadata_collector=footers, **options) as writer:
            writer.write_table(stored_rows, row_group_size=hats_layout.ROW_GROUP_ROWS)
        size, file_checksum = compute_file_checksum(path)
        low, high = planned_file.low, planned_file.high
        if keys is not None and len(keys):
            low, high = int(keys[0]), int(keys[-1])
        file = ManifestFile(
            planned_file.path, rows.num_rows, size, planned_file.order, planned_file.pixel, low, high, file_checksum
        )
        return WrittenCatalogueFile(file, footers[0], rows, cells)

    # --- manifest and catalogue ----------------------------------------------------------------------------------

    def _complete_catalogue(
        self, written_files: Iterable[WrittenCatalogueFile], statistics: ColumnStatisticsCollector | None
    ) -> tuple[ManifestHead, pa.Table]:
        """Collect the facts of the manifest, and write the other files of the catalogue."""
        has_position = self.table.position is not None
        indexed_schema = pa.schema([self._schema.field(name) for name in list_range_columns(self.table)])
        group_collector = RowGroupCollector(indexed_schema)
        key_collector = PrimaryKeyCollector(self.table, self._work_directory)
        cell_column = hats_layout.CELL_COLUMN if has_position else None
        sky_counts = SkyPixelCounts()
        files: list[ManifestFile] = []
        footers: list[Any] = []
        first_group = 0
        for written_file in written_files:
            file, footer = written_file.file, written_file.footer
            file_cells = None
            if file.pixel >= 0:
                file_cells = hats_layout.compute_cell_range(file.order, file.pixel)
            group_collector.add_file(len(files), footer, cell_column, file_cells)
            if statistics is not None:
                statistics.add_rows(written_file.rows)
            key_collector.add_rows(written_file.rows, first_group)
            if written_file.cells is not None:
                sky_counts.add_cells(written_file.cells)
            first_group += footer.num_row_groups
            files.append(file)
            footer.set_file_path(file.path.removeprefix(f"{hats_layout.DATASET_DIRECTORY}/"))
            footers.append(footer)
        row_groups = group_collector.build_table()
        index_column = key_collector.check_and_write_index(row_groups, files)
        self._write_catalogue_files(files, footers, sky_counts)
        head = ManifestHead(
            rows=sum(file.rows for file in files),
            files=tuple(files),
            schema=self._schema.serialize().to_pybytes().hex(),
            position=self.table.position,
            order=find_row_order_column(self.table),
            cell=cell_column or "",
            shares=compute_column_byte_shares(footers[:MAX_MEASURED_FOOTERS]),
            primary=tuple(self.table.primary),
            index=index_column,
            coverage=sky_counts.compute_coverage() if has_position else None,
        )
        return head, row_groups

    def _write_catalogue_files(self, files: list[ManifestFile], footers: list[Any], sky_counts: SkyPixelCounts) -> None:
        """Write the files that make the directory a HATS catalogue."""
        if self.table.position is None:
            return
        placed_files = [(file, footer) for file, footer in zip(files, footers, strict=True) if file.pixel >= 0]
        placed_footers = [footer for _, footer in placed_files]
        pixel_keys = [(file.order, file.pixel) for file, _ in placed_files]
        properties_text = hats_layout.write_catalogue_properties(
            self.table.qualified_name,
            row_count=sum(file.rows for file, _ in placed_files),
            position=self.table.position,
            order=max((order for order, _ in pixel_keys), default=0),
            sky_fraction=sum(1 / (12 << 2 * order) for order, _ in pixel_keys),
            byte_count=sum(file.bytes for file, _ in placed_files),
            creation_time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        )
        column_metadata = write_column_metadata_votable(self.table)
        texts = {
            hats_layout.PARTITION_INFO_FILE: hats_layout.write_partition_info(pixel_keys),
            hats_layout.COMMON_METADATA_FILE: hats_layout.write_common_metadata(self._stored_schema, column_metadata),
            hats_layout.SKYMAP_FILE: hats_layout.write_skymap(sky_counts.pixel_counts),
            hats_layout.PROPERTIES_FILE: properties_text,
            hats_layout.OLD_PROPERTIES_FILE: properties_text,
        }
        for name, text in texts.items():
            path = self._work_directory / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text)
        group_count = sum(footer.num_row_groups for footer in placed_footers)
        if placed_files and group_count <= MAX_METADATA_GROUPS:
            metadata_path = self._work_directory / hats_layout.METADATA_FILE
            pq.write_metadata(self._stored_schema, metadata_path, placed_footers)

    def _sync_snapshot_to_disk(self, head: ManifestHead, groups: pa.Table) -> Snapshot:
        """Sync every file, and then the names: after this the snapshot survives a power failure."""
        manifest_text = write_manifest_with_json_head(self._work_directory / MANIFEST_FILE_NAME, head, groups)
        total_bytes = self._sync_files_as_read_only()
        self._work_directory.rename(self.final_directory)
        sync_file(self.final_directory.parent)
        return Snapshot(
            id=self.snapshot,
            table=self.table.qualified_name,
            path=self._relative,
            rows=head.rows,
            bytes=total_bytes,
            parts=tuple((file.path, file.rows) for file in head.files),
            statistics=head.statistics,
            coverage=head.coverage,
            engine="hats",
            checksum=compute_text_checksum(manifest_text),
        )

    def _sync_files_as_read_only(self) -> int:
        """Make all files read-only and sync them with their directories; return their total size."""
        total_bytes = 0
        for folder, _, names in os.walk(self._work_directory, topdown=False):
            for name in names:
                if name in {LOCK_FILE_NAME, READERS_LOCK_NAME}:
                    continue
                path = os.path.join(folder, name)  # noqa: PTH118  (there are many files)
                file_status = os.stat(path)  # noqa: PTH116
                total_bytes += file_status.st_size
                if file_status.st_mode & 0o200:
                    os.chmod(path, 0o444)  # noqa: PTH101
                    sync_file(self._work_directory / path)
            sync_file(self._work_directory / folder)
        return total_bytes


def write_column_metadata_votable(table: Table) -> bytes:
    """Write the meaning of the columns as a VOTable without rows, which other programs read in the catalogue."""
    metadata = TableMetadata(columns=table.columns, frames=table.frames, name=table.name)
    return votable.write_metadata_document(metadata, ResultStatus()).encode()


class SkyPixelCounts:
    """The number of rows in each pixel of the sky map, and the cells of the coverage."""

    def __init__(self) -> None:
        self.pixel_counts = np.zeros(12 << 2 * hats_layout.SKYMAP_ORDER, np.int64)
        self._coverage_cells: list[Rows] = []

    def add_cells(self, cells: Rows) -> None:
        """Add sorted cells of order 29, which follow those that were added before."""
        shift = 2 * (29 - hats_layout.SKYMAP_ORDER)
        touched_pixels = find_distinct_cells(cells, hats_layout.SKYMAP_ORDER)
        pixel_begins = cells.searchsorted(touched_pixels << shift)
        self.pixel_counts[touched_pixels] += np.diff(np.append(pixel_begins, len(cells)))
        self._coverage_cells.append(find_distinct_cells(cells, 8) << 42)  # 8 is the finest order of a coverage

    def compute_coverage(self) -> str:
        """Return the coverage as an ASCII MOC."""
        all_cells = np.concatenate([np.empty(0, np.int64), *self._coverage_cells])
        return format_moc(*compute_coverage_cells(np.unique(all_cells)))


def plan_pixel_files(divided_pixels: Iterable[tuple[int, int, int]]) -> list[PlannedCatalogueFile]:
    """Plan the files of the partitions of pixels."""
    planned_files = []
    for order, pixel, _ in divided_pixels:
        path = hats_layout.format_partition_path(order, pixel)
        low, high = hats_layout.compute_cell_range(order, pixel)
        planned_files.append(PlannedCatalogueFile(path, order, pixel, low, high))
    return planned_files


def plan_key_range_files(keys: list[Rows], max_rows: int, first_number: int = 0) -> list[PlannedCatalogueFile]:
    """Plan the files of rows without a position, by their keys; rows with the same key stay together."""
    all_keys = np.sort(np.concatenate([np.empty(0, np.int64), *keys]))
    if not len(all_keys):
        return []
    begins = np.unique(all_keys[::max_rows]).tolist()
    ends = [*begins[1:], int(all_keys[-1]) + 1]
    planned_files = []
    for number, (low, high) in enumerate(zip(begins, ends, strict=True), first_number):
        path = f"{hats_layout.DATASET_DIRECTORY}/part-{number:05d}.parquet"
        planned_files.append(PlannedCatalogueFile(path, -1, -1, low, high))
    return planned_files


def run_jobs_in_order(jobs: Iterable[Callable[[], list[WrittenCatalogueFile]]]) -> Iterator[WrittenCatalogueFile]:
    """Run jobs in threads, a few ahead, and yield their results in order."""
    pending_jobs: deque[Any] = deque()
    with ThreadPoolExecutor(max_workers=WRITER_THREADS, thread_name_prefix="hats-writer") as pool:
        try:
            for job in jobs:
                pending_jobs.append(pool.submit(job))
                if len(pending_jobs) > WRITER_THREADS:
                    yield from pending_jobs.popleft().result()
            while pending_jobs:
                yield from pending_jobs.popleft().result()
        finally:
            for pending_job in pending_jobs:
                pending_job.cancel()
