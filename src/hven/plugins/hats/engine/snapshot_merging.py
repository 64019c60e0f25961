"""Merging of changes into a snapshot.

Partitions that no change touches are linked, and the others are rewritten. Changes wait in memory or in spooled runs,
as in `staging`. `finish` finds the rows that they replace in one pass over the key columns.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hven.engines.api.rows import (
    MISSING_KEY,
    PrimaryKeyLookup,
    cast_batch_and_replace_nan,
    check_key_nulls,
    compute_stable_order,
    find_row_order_column,
    take_rows_and_release_columns,
)
from hven.engines.api.snapshots import find_file_fault
from hven.engines.api.statistics import compute_statistics, update_statistics
from hven.model.errors import StorageError, UnmergeableSnapshotError
from hven.plugins.hats import hats_layout
from hven.plugins.hats.engine.key_index import raise_if_duplicate_keys
from hven.plugins.hats.engine.staging import (
    CatalogueStaging,
    PlannedCatalogueFile,
    WrittenCatalogueFile,
    plan_key_range_files,
    plan_pixel_files,
    run_jobs_in_order,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from hven.model.table import Table
    from hven.plugins.hats.engine.manifest import CatalogueManifest, ManifestFile, ManifestHead
    from hven.plugins.hats.engine.row_group_reader import RowGroupReader

    Rows = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]


class CatalogueMergeStaging(CatalogueStaging):
    """A staging that begins with the rows of another snapshot (`hven.engines.SnapshotStaging`)."""

    def __init__(
        self,
        table: Table,
        snapshot_id: str,
        final_directory: Path,
        relative_path: str,
        *,
        on_sealed: Callable[[CatalogueStaging], None],
        reader: RowGroupReader,
        base_manifest: CatalogueManifest,
        deleted_keys: pa.Table | None,
    ) -> None:
        _check_mergeable(table, base_manifest)
        self._base_manifest = base_manifest
        self._key_names = list(table.primary)
        key_schema = pa.schema([table.arrow_schema.field(name).with_nullable(True) for name in self._key_names])
        if deleted_keys is None:
            self._deleted_keys = key_schema.empty_table()
        else:
            self._deleted_keys = deleted_keys.select(self._key_names).cast(key_schema)
        self._removed_rows: list[pa.Table] = [table.arrow_schema.empty_table()]
        super().__init__(table, snapshot_id, final_directory, relative_path, on_sealed=on_sealed, reader=reader)

    def _write_files(self) -> tuple[ManifestHead, pa.Table]:
        self._sort_remaining_rows()
        added_rows = pa.concat_tables([run.table for run in self._sorted_runs])
        added_keys = added_rows.select(self._key_names)
        check_key_nulls(self.table, sum(column.null_count for column in added_keys.columns))
        if PrimaryKeyLookup(added_keys, self._key_names).duplicate_count:
            raise_if_duplicate_keys(self.table, added_keys)
        all_keys = pa.concat_tables([added_keys.cast(self._deleted_keys.schema), self._deleted_keys])
        jobs = self._iterate_file_jobs(PrimaryKeyLookup(all_keys, self._key_names))
        head, groups = self._complete_catalogue(run_jobs_in_order(jobs), None)
        base_head = self._base_manifest.head
        removed_rows = pa.concat_tables(self._removed_rows)
        statistics = update_statistics(
            self.table,
            base_head.statistics,
            compute_statistics(self.table, removed_rows),
            compute_statistics(self.table, added_rows),
            (base_head.rows, removed_rows.num_rows, added_rows.num_rows),
            read_column=lambda name: self._iterate_column_of_new_files(head, name),
        )
        self._remove_spilled_runs()
        revised_count = base_head.revised + removed_rows.num_rows + added_rows.num_rows
        return replace(head, statistics=statistics, revised=revised_count), groups

    def _iterate_column_of_new_files(self, manifest_head: ManifestHead, column_name: str) -> Iterator[pa.ChunkedArray]:
        """Yield a column of the new snapshot."""
        for file in manifest_head.files:
            file_rows = self._read_file_rows(str(self._work_directory / file.path), [column_name])
            yield file_rows.column(0)

    def _read_file_rows(self, path: str, column_names: Sequence[str]) -> pa.Table:
        schema = pa.schema([self._stored_schema.field(name) for name in column_names])
        rows = self._reader.read_row_groups(path, range(pq.read_metadata(path).num_row_groups), column_names)
        return pa.Table.from_batches([cast_batch_and_replace_nan(batch, schema) for batch in rows.to_batches()], schema)

    # --- files -----------------------------------------------------------------------------------------------

    def _iterate_file_jobs(self, key_lookup: PrimaryKeyLookup) -> Iterator[Callable[[], list[WrittenCatalogueFile]]]:
        """Yield the jobs that write the new files, in the order of their rows."""
        base_files = self._base_manifest.head.files
        added_rows, keys = self._select_key_range(np.iinfo(np.int64).min, MISSING_KEY)
        placed_files = [file for file in base_files if file.low < MISSING_KEY and file.rows]
        unplaced_files = [file for file in base_files if file.low >= MISSING_KEY]
        is_assigned = np.zeros(len(keys), bool)
        jobs: list[tuple[int, Callable[[], list[WrittenCatalogueFile]]]] = []
        for file, (low, high) in zip(placed_files, self._find_file_key_bounds(placed_files), strict=True):
            begin, end = np.searchsorted(keys, [low, high]).tolist()
            is_assigned[begin:end] = True
            file_rows = added_rows.slice(begin, end - begin)
            jobs.append((low, partial(self._link_or_rewrite_file, file, key_lookup, file_rows, keys[begin:end])))
        unassigned = np.flatnonzero(~is_assigned)
        if len(unassigned):
            kept_cells = []
            if self.table.position:
                kept_cells = [hats_layout.compute_cell_range(file.order, file.pixel) for file in placed_files]
            max_rows = self._compute_file_rows(_measure_row_bytes(added_rows))
            for part in self._plan_files_for_keys(keys[unassigned], max_rows, None, kept_cells):
                begin, end = np.searchsorted(keys, [part.low, part.high]).tolist()
                part_rows = added_rows.slice(begin, end - begin)
                jobs.append((part.low, partial(self._write_single_planned_file, part, part_rows, keys[begin:end])))
        yield from (job for _, job in sorted(jobs, key=lambda numbered_job: numbered_job[0]))
        for file in unplaced_files:
            yield partial(
                self._link_or_rewrite_file, file, key_lookup, self._schema.empty_table(), np.empty(0, np.int64)
            )
        first_number = 1 + max([int(file.path[-13:-8]) for file in unplaced_files], default=-1)
        for number, rows in enumerate(self._iterate_unplaced_rows(), first_number):
            part = PlannedCatalogueFile(f"unplaced/part-{number:05d}.parquet", -1, -1, MISSING_KEY, MISSING_KEY)
            yield partial(self._write_single_planned_file, part, rows, None)

    def _find_file_key_bounds(self, files: list[ManifestFile]) -> list[tuple[int, int]]:
        """Return the range of keys of each file: that of its pixel, or up to the first key of the next file."""
        if self.table.position is not None:
            return [hats_layout.compute_cell_range(file.order, file.pixel) for file in files]
        lows = [file.low for file in files]
        if lows:
            return list(zip([np.iinfo(np.int64).min, *lows[1:]], [*lows[1:], MISSING_KEY], strict=True))
        return []

    def _link_or_rewrite_file(
        self, file: ManifestFile, key_lookup: PrimaryKeyLookup, added_rows: pa.Table, keys: Rows
    ) -> list[WrittenCatalogueFile]:
        """Link a file, or write the rows that stay and those that are added."""
        path = self._base_manifest.locate_file(file)
        is_removed = key_lookup.match_page_rows(self._read_file_rows(path, self._key_names)) >= 0
        if not is_removed.any() and not added_rows.num_rows:
            return [self._link_or_copy_file(file, path)]
        # The file must be as it was written: a new checksum would hide damage for ever.
        written_state = (file.bytes, file.checksum)
        file_fault = find_file_fault(self._base_manifest.directory / file.path, written_state, {}, lambda _: None)
        if file_fault is not None:
            message = f"the catalogue file {path} is damaged: {file_fault}"
            raise StorageError(message, remedy="ingest the collection again")
        kept_rows = self._read_file_rows(path, self._schema.names)
        if is_removed.any():
            self._removed_rows.append(kept_rows.filter(pa.array(is_removed)))
            kept_rows = kept_rows.filter(pa.array(~is_removed))
        if file.low >= MISSING_KEY:
            part = PlannedCatalogueFile(file.path, -1, -1, MISSING_KEY, MISSING_KEY)
            if kept_rows.num_rows:
                return self._write_single_planned_file(part, kept_rows, None)
            return []
        if self.table.position is not None:
            kept_keys = self._read_file_cells(path)[~is_removed]
        else:
            kept_keys = self._compute_row_sort_keys(kept_rows)
        unordered_keys = np.concatenate([kept_keys, keys])
        order = compute_stable_order(unordered_keys)
        columns = take_rows_and_release_columns(pa.concat_tables([kept_rows, added_rows]).columns, order)
        rows = pa.Table.from_arrays(columns, schema=self._schema)
        all_keys = unordered_keys[order]
        max_rows = self._compute_file_rows(_measure_row_bytes(rows))
        written_files = []
        for part in self._plan_files_for_keys(all_keys, max_rows, file):
            begin, end = np.searchsorted(all_keys, [part.low, part.high]).tolist()
            written_files.append(self._write_partition_file(part, rows.slice(begin, end - begin), all_keys[begin:end]))
        return written_files

    def _read_file_cells(self, path: str) -> Rows:
        """Read the HEALPix cells of all rows of a file: the sort keys of a table with positions."""
        file_rows = self._read_file_rows(path, [hats_layout.CELL_COLUMN])
        return np.asarray(file_rows.column(0).combine_chunks()).astype(np.int64)

    def _compute_row_sort_keys(self, rows: pa.Table) -> Rows:
        """Compute the sort keys of rows without positions."""
        if self._compute_sort_keys is None:
            return np.full(rows.num_rows, MISSING_KEY)
        return self._compute_sort_keys(rows)

    def _plan_files_for_keys(
        self, keys: Rows, max_rows: int, file: ManifestFile | None, kept_cells: Sequence[tuple[int, int]] = ()
    ) -> list[PlannedCatalogueFile]:
        """Divide keys among files: within the pixel of a file, or outside the cells that are kept."""
        if self.table.position is None:
            suffix = "new"
            if file is not None:
                suffix = file.path[-13:-8]
            stem = f"{hats_layout.DATASET_DIRECTORY}/{self.snapshot}-{suffix}"
            parts = plan_key_range_files([keys], max_rows)
            return [replace(part, path=f"{stem}-{number:05d}.parquet") for number, part in enumerate(parts)]
        start_pixel = None
        if file is not None:
            start_pixel = (file.order, file.pixel)
        divided_pixels = hats_layout.divide_into_partitions(
            hats_layout.create_row_counter(keys), max_rows, start_pixel=start_pixel, reserved_cells=kept_cells
        )
        return plan_pixel_files(divided_pixels)

    def _link_or_copy_file(self, file: ManifestFile, path: str) -> WrittenCatalogueFile:
        """Link a file of the base into this snapshot, or copy it."""
        target = self._work_directory / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.hardlink_to(path)
        except FileNotFoundError:
            raise
        except OSError:  # the file system has no links, or no more for this file
            shutil.copyfile(path, target)
        keys = self._read_file_rows(path, self._key_names)
        cells = None
        if self.table.position is not None and file.pixel >= 0:
            cells = self._read_file_cells(path)
        return WrittenCatalogueFile(file, pq.read_metadata(path), keys, cells)


def _measure_row_bytes(rows: pa.Table) -> float:
    return float(rows.nbytes / max(rows.num_rows, 1))


def _check_mergeable(table: Table, base_manifest: CatalogueManifest) -> None:
    """Refuse a table into whose snapshot nothing can be merged."""
    if not table.primary:
        raise UnmergeableSnapshotError(f"{table.qualified_name} has no primary key", remedy="stage all rows")
    if base_manifest.head.foreign:
        raise UnmergeableSnapshotError(
            f"{table.qualified_name}: the files of {base_manifest.head.foreign} were not written by Hven",
            remedy="stage all rows",
        )
    if not base_manifest.schema.equals(table.arrow_schema):
        raise UnmergeableSnapshotError(
            f"{table.qualified_name}: the snapshot has different columns", remedy="stage all rows"
        )
    if base_manifest.head.position != table.position or base_manifest.head.order != find_row_order_column(table):
        raise UnmergeableSnapshotError(
            f"{table.qualified_name}: the rows of the snapshot are in a different order", remedy="stage all rows"
        )
