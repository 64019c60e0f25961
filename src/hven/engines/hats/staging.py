"""Writing a snapshot: rows are spooled, put in the order of their cells, divided among partitions, written as Parquet, and described by a manifest.

Batches gather up to `RUN` bytes; a full run is sorted and spooled. `finish` counts how many rows lie in which pixels,
reads each partition from every run (all mapped), sorts it and writes it. The directory is a HATS catalogue, which other
programs open.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hven.engines import Snapshot
from hven.engines._file_staging import FileStaging, SortedRows
from hven.engines._row_order import find_order_column, take_columns
from hven.engines._row_preparation import MISSING_KEY, compute_stable_order
from hven.engines._snapshot_files import (
    LOCK_FILE_NAME,
    compute_file_checksum,
    compute_text_checksum,
    sync_file,
    translate_disk_errors,
)
from hven.engines._statistics import StatisticsCollector, compute_coverage_cells, find_distinct_cells, format_moc
from hven.engines.hats.foreign_catalogues import describe_foreign_catalogue
from hven.engines.hats.key_index import KeyCollector
from hven.engines.hats.manifest import (
    MANIFEST_FILE_NAME,
    ManifestFile,
    ManifestHead,
    RowGroupCollector,
    compute_column_shares,
    list_indexed_columns,
    write_manifest,
)
from hven.formats import ResultStatus, TableMetadata, hats_layout, votable
from hven.model.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from hven.engines.hats.row_group_reader import RowGroupReader
    from hven.model.table import Table

    Rows = npt.NDArray[np.int64]

MAX_PARTITION_BYTES = 1024**3  # of a partition in memory: about 512 MB as a file
WRITER_THREADS = 2  # threads that put partitions in order and write them
READERS_LOCK_NAME = (
    ".readers"  # is locked, shared, by those who read: who drops the snapshot leaves it until they are done
)
MAX_METADATA_GROUPS = 100_000  # row groups beyond which the footer of all files is not written: nobody could read it
MIN_KEY, MAX_KEY = np.iinfo(np.int64).min, MISSING_KEY


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file to be written: its name, its pixel (-1: none), and from which key on to before which its rows have."""

    path: str
    order: int
    pixel: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that was written, or is another snapshot's, too; its rows, or their keys alone; their cells."""

    file: ManifestFile
    footer: Any
    rows: pa.Table
    cells: Rows | None = None


class CatalogueStaging(FileStaging):
    """A snapshot that is being written (`hven.engines.SnapshotStaging`)."""

    def __init__(
        self,
        table: Table,
        snapshot: str,
        final: Path,
        relative: str,
        seal: Callable[[CatalogueStaging], None],
        reader: RowGroupReader,
    ) -> None:
        self._reader = reader
        if hats_layout.CELL_COLUMN in {column.name for column in table.columns} and table.position is not None:
            message = f"{table.qualified_name}: the name {hats_layout.CELL_COLUMN} is that of the cells of HATS"
            raise StorageError(message, remedy="name the column otherwise, or leave it out: its values are made anew")
        super().__init__(table, snapshot, final, relative, seal)
        if table.position is not None:
            self._stored_schema = hats_layout.build_partition_schema(self._schema)
        else:
            self._stored_schema = self._schema
        with translate_disk_errors("staging", final):
            (self._work_directory / READERS_LOCK_NAME).touch()

    def finish(self) -> Snapshot:
        """Order, write, describe, make durable; see `hven.engines.SnapshotStaging.finish`."""
        self._check_open()
        with self._abandon_on_error():
            head, groups = self._write_files()
            snapshot = self._make_durable(head, groups)
        self._close()
        return snapshot

    def adopt_catalogue(self, directory: str, column_names: Mapping[str, str] | None = None) -> Snapshot:
        """Make the snapshot of a catalogue of others, whose files stay where they are, instead of writing rows.

        See `hven.engines.CatalogueAdopter`.

        Raises
        ------
        SourceError
            It is none, or is not what it says; the staging is abandoned.
        """
        self._check_open()
        with self._abandon_on_error():
            snapshot = self._make_durable(
                *describe_foreign_catalogue(self.table, directory, self._reader, column_names)
            )
        self._close()
        return snapshot

    def _keep_arrival_order(self, table: pa.Table) -> SortedRows:
        keys = np.full(table.num_rows, MISSING_KEY)
        return SortedRows(table=table, keys=keys)

    # --- files -----------------------------------------------------------------------------------------------

    def _plan_files(self) -> list[PlannedFile]:
        """Divide the rows that were written among files."""
        max_rows = self._compute_file_rows(self._written_bytes / max(self._row_count, 1))
        keys = [run.keys[: np.searchsorted(run.keys, MISSING_KEY)] for run in self._sorted_runs]
        if self.table.position:
            return plan_pixel_files(hats_layout.divide_into_partitions(hats_layout.create_row_counter(*keys), max_rows))
        return plan_range_files(keys, max_rows)

    @staticmethod
    def _compute_file_rows(bytes_per_row: float) -> int:
        """Return how many rows of so many bytes a file has at most."""
        return int(
            np.clip(
                MAX_PARTITION_BYTES / max(bytes_per_row, 1.0),
                hats_layout.ROW_GROUP_ROWS,
                hats_layout.MAX_PARTITION_ROWS,
            )
        )

    def _write_files(self) -> tuple[ManifestHead, pa.Table]:
        self._sort_remaining()
        statistics = StatisticsCollector(self.table)
        head, groups = self._describe_files(run_in_order(self._iterate_write_jobs()), statistics)
        self._remove_runs()
        return replace(head, statistics=statistics.build_statistics()), groups

    def _sort_remaining(self) -> None:
        """Sort what waits yet."""
        if self._sorted_runs and self._waiting_batches:
            self._spill_run()
        elif not self._sorted_runs:
            self._sorted_runs.append(self._sort_waiting_rows())

    def _iterate_write_jobs(self) -> Iterator[Callable[[], list[WrittenFile]]]:
        """Yield what writes the files, in the order of their rows; those without a key come last, as they came."""
        for part in self._plan_files():
            yield lambda part=part: [self._write_rows(part, *self._select_key_range(part.low, part.high))]  # type: ignore[misc]
        for number, rows in enumerate(self._iterate_unplaced()):
            part = PlannedFile(f"unplaced/part-{number:05d}.parquet", -1, -1, MISSING_KEY, MISSING_KEY)
            yield lambda part=part, rows=rows: [self._write_rows(part, rows, None)]  # type: ignore[misc]

    def _select_key_range(self, low_key: int, high_key: int) -> tuple[pa.Table, Rows]:
        """Return the rows of all runs with keys from `low_key` to before `high_key`, in order."""
        pieces = []
        key_arrays = []
        for run in self._sorted_runs:
            begin, end = (int(np.searchsorted(run.keys, key)) for key in (low_key, high_key))
            if end > begin:
                pieces.append(run.table.slice(begin, end - begin))
                key_arrays.append(np.asarray(run.keys[begin:end]))
        if key_arrays:
            keys = np.concatenate(key_arrays)
        else:
            keys = np.empty(0, np.int64)
        if len(pieces) == 1:
            return pieces[0], keys
        order = compute_stable_order(keys)
        if pieces:
            rows = pa.concat_tables(pieces)
        else:
            rows = self._schema.empty_table()
        return pa.Table.from_arrays(take_columns(rows.columns, order), schema=self._schema), keys[order]

    def _iterate_unplaced(self) -> Iterator[pa.Table]:
        unplaced_tables = [run.table.slice(int(np.searchsorted(run.keys, MISSING_KEY))) for run in self._sorted_runs]
        rows = pa.concat_tables(unplaced_tables)
        step = self._compute_file_rows(self._written_bytes / max(self._row_count, 1))
        for begin in range(0, rows.num_rows, step):
            yield rows.slice(begin, step)

    def _write_rows(self, planned_file: PlannedFile, rows: pa.Table, keys: Rows | None) -> WrittenFile:
        """Write one file."""
        stored_rows = rows
        if self.table.position is not None:
            if keys is None:
                cells = pa.nulls(rows.num_rows, pa.int64())
            else:
                cells = pa.array(keys)
            stored_rows = pa.Table.from_arrays([cells, *rows.columns], schema=self._stored_schema)
        path = self._work_directory / planned_file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        footers: list[Any] = []
        with pq.ParquetWriter(
            path, self._stored_schema, metadata_collector=footers, **hats_layout.choose_writer_options(stored_rows)
        ) as writer:
            writer.write_table(stored_rows, row_group_size=hats_layout.ROW_GROUP_ROWS)
        size, file_checksum = compute_file_checksum(path)
        if keys is not None and len(keys):
            low, high = (int(keys[0]), int(keys[-1]))
        else:
            low, high = (planned_file.low, planned_file.high)
        file = ManifestFile(
            planned_file.path, rows.num_rows, size, planned_file.order, planned_file.pixel, low, high, file_checksum
        )
        return WrittenFile(file, footers[0], rows, keys if self.table.position is not None else None)

    # --- what is known of them ---------------------------------------------------------------------------------

    def _describe_files(
        self, written_files: Iterable[WrittenFile], statistics: StatisticsCollector | None
    ) -> tuple[ManifestHead, pa.Table]:
        """Gather what the manifest says of files."""
        names = list_indexed_columns(self.table)
        groups = RowGroupCollector(pa.schema([self._schema.field(name) for name in names]))
        if self.table.position is not None:
            cell = hats_layout.CELL_COLUMN
        else:
            cell = None
        files: list[ManifestFile] = []
        footers: list[Any] = []
        keys = KeyCollector(self.table, self._work_directory)
        sky = SkyCounts()
        begin = 0
        for written_file in written_files:
            if written_file.file.pixel >= 0:
                pixel = hats_layout.compute_cell_range(written_file.file.order, written_file.file.pixel)
            else:
                pixel = None
            groups.add_file(len(files), written_file.footer, cell, pixel)
            if statistics is not None:
                statistics.add_rows(written_file.rows)
            keys.add_rows(written_file.rows, begin)
            if written_file.cells is not None:
                sky.add_cells(written_file.cells)
            begin += written_file.footer.num_row_groups
            files.append(written_file.file)
            written_file.footer.set_file_path(written_file.file.path.removeprefix(f"{hats_layout.DATASET_DIRECTORY}/"))
            footers.append(written_file.footer)
        table = groups.build_table()
        index = keys.check_and_write_index(table, files)
        self._write_catalogue_files(files, footers, sky)
        rows = sum(file.rows for file in files)
        head = ManifestHead(
            rows=rows,
            files=tuple(files),
            schema=self._schema.serialize().to_pybytes().hex(),
            position=self.table.position,
            order=find_order_column(self.table),
            cell=cell or "",
            shares=compute_column_shares(footers[:20]),
            primary=tuple(self.table.primary),
            index=index,
            coverage=sky.compute_coverage() if self.table.position is not None else None,
        )
        return head, table

    def _write_catalogue_files(self, files: list[ManifestFile], footers: list[Any], sky_counts: SkyCounts) -> None:
        """Write the files by which other programs know a catalogue."""
        if self.table.position is None:
            return
        placed_files = [(file, footer) for file, footer in zip(files, footers, strict=True) if file.pixel >= 0]
        pixel_keys = [(file.order, file.pixel) for file, _ in placed_files]
        texts = {
            hats_layout.PARTITION_INFO_FILE: hats_layout.write_partition_info(pixel_keys),
            hats_layout.COMMON_METADATA_FILE: hats_layout.write_common_metadata(
                self._stored_schema, write_column_metadata(self.table)
            ),
            hats_layout.SKYMAP_FILE: hats_layout.write_skymap(sky_counts.pixel_counts),
        }
        row_count = sum(file.rows for file, _ in placed_files)
        properties_text = hats_layout.write_catalogue_properties(
            self.table.qualified_name,
            row_count=row_count,
            position=self.table.position,
            order=max((order for order, _ in pixel_keys), default=0),
            sky_fraction=sum(1 / (12 << 2 * order) for order, _ in pixel_keys),
            byte_count=sum(file.bytes for file, _ in placed_files),
            creation_time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        )
        texts |= {hats_layout.PROPERTIES_FILE: properties_text, hats_layout.OLD_PROPERTIES_FILE: properties_text}
        for name, text in texts.items():
            (self._work_directory / name).parent.mkdir(exist_ok=True)
            (self._work_directory / name).write_bytes(text)
        if placed_files and sum(footer.num_row_groups for _, footer in placed_files) <= MAX_METADATA_GROUPS:
            pq.write_metadata(
                self._stored_schema,
                self._work_directory / hats_layout.METADATA_FILE,
                [footer for _, footer in placed_files],
            )

    def _make_durable(self, head: ManifestHead, groups: pa.Table) -> Snapshot:
        """Make every file durable, then the names: after this the snapshot survives a power cut."""
        text = write_manifest(self._work_directory / MANIFEST_FILE_NAME, head, groups)
        size = 0
        for folder, _, names in os.walk(self._work_directory, topdown=False):
            for name in names:
                path = os.path.join(folder, name)  # noqa: PTH118  (of many files)
                if name not in {LOCK_FILE_NAME, READERS_LOCK_NAME}:
                    file_status = os.stat(path)  # noqa: PTH116
                    size += file_status.st_size
                    if file_status.st_mode & 0o200:
                        os.chmod(path, 0o444)  # noqa: PTH101
                        sync_file(self._work_directory / path)
            sync_file(self._work_directory / folder)
        self._work_directory.rename(self.final_directory)
        sync_file(self.final_directory.parent)
        return Snapshot(
            id=self.snapshot,
            table=self.table.qualified_name,
            path=self._relative,
            rows=head.rows,
            bytes=size,
            parts=tuple((file.path, file.rows) for file in head.files),
            statistics=head.statistics,
            coverage=head.coverage,
            engine="hats",
            checksum=compute_text_checksum(text),
        )


def write_column_metadata(table: Table) -> bytes:
    """Write what the columns mean, as a VOTable without rows, which other programs read in the catalogue's metadata."""
    return votable.write_metadata_document(
        TableMetadata(columns=table.columns, frames=table.frames, name=table.name), ResultStatus()
    ).encode()


class SkyCounts:
    """Where rows are: how many in each pixel of the map, and the cells of the coverage."""

    def __init__(self) -> None:
        self.pixel_counts = np.zeros(12 << 2 * hats_layout.SKYMAP_ORDER, np.int64)
        self._coverage_cells: list[Rows] = []

    def add_cells(self, cells: Rows) -> None:
        """Add sorted cells of order 29, behind those that were added."""
        shift = 2 * (29 - hats_layout.SKYMAP_ORDER)
        touched_pixels = find_distinct_cells(cells, hats_layout.SKYMAP_ORDER)
        self.pixel_counts[touched_pixels] += np.diff(np.append(cells.searchsorted(touched_pixels << shift), len(cells)))
        self._coverage_cells.append(find_distinct_cells(cells, 8) << 42)  # the finest order of a coverage

    def compute_coverage(self) -> str:
        """Return the coverage as an ASCII MOC."""
        coverage_cells = compute_coverage_cells(
            np.unique(np.concatenate([np.empty(0, np.int64), *self._coverage_cells]))
        )
        return format_moc(*coverage_cells)


def plan_pixel_files(divided_pixels: Iterable[tuple[int, int, int]]) -> list[PlannedFile]:
    """Name the partitions of pixels."""
    return [
        PlannedFile(
            hats_layout.format_partition_path(order, pixel), order, pixel, *hats_layout.compute_cell_range(order, pixel)
        )
        for order, pixel, _ in divided_pixels
    ]


def plan_range_files(keys: list[Rows], max_rows: int, first_number: int = 0) -> list[PlannedFile]:
    """Cut rows without a position by their keys; rows of one key stay together."""
    all_keys = np.sort(np.concatenate([np.empty(0, np.int64), *keys]))
    if not len(all_keys):
        return []
    cuts = np.unique(all_keys[::max_rows])
    ends = [*cuts[1:].tolist(), int(all_keys[-1]) + 1]
    return [
        PlannedFile(f"{hats_layout.DATASET_DIRECTORY}/part-{first_number + part_number:05d}.parquet", -1, -1, low, high)
        for part_number, (low, high) in enumerate(zip(cuts.tolist(), ends, strict=True))
    ]


def run_in_order(jobs: Iterable[Callable[[], list[WrittenFile]]]) -> Iterator[WrittenFile]:
    """Run jobs in threads, a few ahead, and yield what they give in their order."""
    waiting: deque[Any] = deque()
    with ThreadPoolExecutor(max_workers=WRITER_THREADS, thread_name_prefix="hats-writer") as pool:
        try:
            for job in jobs:
                waiting.append(pool.submit(job))
                if len(waiting) > WRITER_THREADS:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for pending in waiting:
                pending.cancel()
