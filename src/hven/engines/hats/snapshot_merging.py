"""A new snapshot out of an old one and its changes.

Partitions that no change touches are linked, the others are written anew.

Changes wait in memory or spooled, as in staging. `finish` looks up the rows that they replace by one pass over the key
columns.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hven.engines._key_matching import KeyLookup
from hven.engines._row_order import find_order_column, take_columns
from hven.engines._row_preparation import MISSING_KEY, cast_batch_to_schema, check_key_nulls, compute_stable_order
from hven.engines._snapshot_files import find_file_fault
from hven.engines._statistics_update import compute_statistics, update_statistics
from hven.engines.hats.key_index import raise_duplicate_keys
from hven.engines.hats.staging import (
    CatalogueStaging,
    PlannedFile,
    WrittenFile,
    plan_pixel_files,
    plan_range_files,
    run_in_order,
)
from hven.formats import hats_layout
from hven.model.errors import StorageError, UnmergeableSnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from hven.engines.hats.manifest import CatalogueManifest, ManifestFile, ManifestHead
    from hven.engines.hats.row_group_reader import RowGroupReader
    from hven.model.table import Table

    Rows = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]


class CatalogueMerge(CatalogueStaging):
    """A staging that begins with the rows of another snapshot (`hven.engines.SnapshotStaging`)."""

    def __init__(
        self,
        table: Table,
        snapshot: str,
        final: Path,
        relative: str,
        seal: Callable[[CatalogueStaging], None],
        reader: RowGroupReader,
        base_manifest: CatalogueManifest,
        deleted_keys: pa.Table | None,
    ) -> None:
        _check_mergeable(table, base_manifest)
        self._base_manifest = base_manifest
        self._key_names = list(table.primary)
        kinds = pa.schema([table.arrow_schema.field(name).with_nullable(True) for name in self._key_names])
        if deleted_keys is None:
            self._deleted_keys = kinds.empty_table()
        else:
            self._deleted_keys = deleted_keys.select(self._key_names).cast(kinds)
        self._removed_rows: list[pa.Table] = [table.arrow_schema.empty_table()]
        super().__init__(table, snapshot, final, relative, seal, reader)

    def _write_files(self) -> tuple[ManifestHead, pa.Table]:
        self._sort_remaining()
        added_rows = pa.concat_tables([run.table for run in self._sorted_runs])
        keys = added_rows.select(self._key_names)
        check_key_nulls(self.table, sum(column.null_count for column in keys.columns))
        if KeyLookup(keys, self._key_names).duplicate_count:
            raise_duplicate_keys(self.table, keys)
        changed_keys = KeyLookup(
            pa.concat_tables([keys.cast(self._deleted_keys.schema), self._deleted_keys]), self._key_names
        )
        jobs = self._build_jobs(changed_keys)
        head, groups = self._describe_files(run_in_order(jobs), None)
        old = self._base_manifest.head
        removed_rows = pa.concat_tables(self._removed_rows)
        facts = update_statistics(
            self.table,
            old.statistics,
            compute_statistics(self.table, removed_rows),
            compute_statistics(self.table, added_rows),
            (old.rows, removed_rows.num_rows, added_rows.num_rows),
            read_column=lambda name: self._iterate_column(head, name),
        )
        self._remove_runs()
        revised = old.revised + removed_rows.num_rows + added_rows.num_rows
        return replace(head, statistics=facts, revised=revised), groups

    def _iterate_column(self, manifest_head: ManifestHead, column_name: str) -> Iterator[pa.ChunkedArray]:
        """Yield a column of the new snapshot."""
        for file in manifest_head.files:
            file_rows = self._read_file_rows(str(self._work_directory / file.path), [column_name])
            yield file_rows.column(0)

    def _read_file_rows(self, path: str, column_names: Sequence[str]) -> pa.Table:
        schema = pa.schema([self._stored_schema.field(name) for name in column_names])
        rows = self._reader.read_groups(path, range(pq.read_metadata(path).num_row_groups), column_names)
        return pa.Table.from_batches([cast_batch_to_schema(batch, schema) for batch in rows.to_batches()], schema)

    # --- files -----------------------------------------------------------------------------------------------

    def _build_jobs(self, key_lookup: KeyLookup) -> Iterator[Callable[[], list[WrittenFile]]]:
        """Yield what makes the new files, in the order of their rows."""
        base = self._base_manifest.head
        added_rows, keys = self._select_key_range(np.iinfo(np.int64).min, MISSING_KEY)
        placed_files = [file for file in base.files if file.low < MISSING_KEY and file.rows]
        is_assigned = np.zeros(len(keys), bool)
        jobs: list[tuple[int, Callable[[], list[WrittenFile]]]] = []
        for file, (low, high) in zip(placed_files, self._find_key_bounds(placed_files), strict=True):
            begin, end = np.searchsorted(keys, [low, high]).tolist()
            is_assigned[begin:end] = True
            jobs.append(
                (
                    low,
                    partial(
                        self._rewrite_file, file, key_lookup, added_rows.slice(begin, end - begin), keys[begin:end]
                    ),
                )
            )
        unassigned = np.flatnonzero(~is_assigned)
        if len(unassigned):
            kept_cells = (
                [hats_layout.compute_cell_range(file.order, file.pixel) for file in placed_files]
                if self.table.position
                else []
            )
            for part in self._divide_keys(
                keys[unassigned], self._compute_file_rows(_measure_row_bytes(added_rows)), None, kept_cells
            ):
                begin, end = np.searchsorted(keys, [part.low, part.high]).tolist()
                rows = added_rows.slice(begin, end - begin)
                jobs.append(
                    (
                        part.low,
                        lambda part=part, rows=rows, at=(begin, end): [self._write_rows(part, rows, keys[slice(*at)])],  # type: ignore[misc]
                    )
                )
        yield from (job for _, job in sorted(jobs, key=lambda numbered_job: numbered_job[0]))
        for file in base.files:
            if file.low >= MISSING_KEY:
                yield partial(self._rewrite_file, file, key_lookup, self._schema.empty_table(), np.empty(0, np.int64))
        number = 1 + max([int(file.path[-13:-8]) for file in base.files if file.low >= MISSING_KEY], default=-1)
        for part_number, rows in enumerate(self._iterate_unplaced()):
            part = PlannedFile(f"unplaced/part-{number + part_number:05d}.parquet", -1, -1, MISSING_KEY, MISSING_KEY)
            yield lambda part=part, rows=rows: [self._write_rows(part, rows, None)]  # type: ignore[misc]

    def _find_key_bounds(self, files: list[ManifestFile]) -> list[tuple[int, int]]:
        """Return which keys belong to which file: those of its pixel, or up to the first of the next file."""
        if self.table.position is not None:
            return [hats_layout.compute_cell_range(file.order, file.pixel) for file in files]
        lows = [file.low for file in files]
        if lows:
            return list(zip([np.iinfo(np.int64).min, *lows[1:]], [*lows[1:], MISSING_KEY], strict=True))
        return []

    def _rewrite_file(
        self, file: ManifestFile, key_lookup: KeyLookup, added_rows: pa.Table, keys: Rows
    ) -> list[WrittenFile]:
        """Link a file, or write its rows that stay and those that come in its place."""
        path = self._base_manifest.locate_file(file)
        file_rows = self._read_file_rows(path, self._key_names)
        is_removed = key_lookup.find_rows(file_rows) >= 0
        if not is_removed.any() and not added_rows.num_rows:
            return [self._link_or_copy_file(file, path)]
        # what is read to make something new of it must be what was written: new checksums would make damage look right
        # for ever
        file_fault = find_file_fault(
            self._base_manifest.directory / file.path, (file.bytes, file.checksum), {}, lambda _: None
        )
        if file_fault is not None:
            raise StorageError(
                f"the file {path} of a catalogue is damaged: {file_fault}", remedy="ingest the collection anew"
            )
        kept_rows = self._read_file_rows(path, self._schema.names)
        if is_removed.any():
            self._removed_rows.append(kept_rows.filter(pa.array(is_removed)))
            kept_rows = kept_rows.filter(pa.array(~is_removed))
        if file.low >= MISSING_KEY:
            part = PlannedFile(file.path, -1, -1, MISSING_KEY, MISSING_KEY)
            if kept_rows.num_rows:
                return [self._write_rows(part, kept_rows, None)]
            return []
        if self.table.position is not None:
            old_keys = self._compute_keys_of(path, kept_rows)[~is_removed]
        else:
            old_keys = self._compute_keys_of(path, kept_rows)
        all_keys = np.concatenate([old_keys, keys])
        order = compute_stable_order(all_keys)
        rows = pa.Table.from_arrays(
            take_columns(pa.concat_tables([kept_rows, added_rows]).columns, order), schema=self._schema
        )
        all_keys = all_keys[order]
        written_files = []
        for part in self._divide_keys(all_keys, self._compute_file_rows(_measure_row_bytes(rows)), file):
            begin, end = np.searchsorted(all_keys, [part.low, part.high]).tolist()
            written_files.append(self._write_rows(part, rows.slice(begin, end - begin), all_keys[begin:end]))
        return written_files

    def _compute_keys_of(self, path: str, rows: pa.Table) -> Rows:
        """Return the sort keys of the rows of a file; cells are those that stand in it."""
        if self.table.position is not None:
            file_rows = self._read_file_rows(path, [hats_layout.CELL_COLUMN])
            return np.asarray(file_rows.column(0).combine_chunks()).astype(np.int64)
        if self._compute_sort_keys is None:
            return np.full(rows.num_rows, MISSING_KEY)
        return self._compute_sort_keys(rows)

    def _divide_keys(
        self, keys: Rows, max_rows: int, file: ManifestFile | None, kept_cells: Sequence[tuple[int, int]] = ()
    ) -> list[PlannedFile]:
        """Divide keys among files: within the pixel of a file, or outside of those that are kept."""
        if self.table.position is None:
            stem = f"{self.snapshot}-{'new' if file is None else file.path[-13:-8]}"
            return [
                replace(part, path=f"{hats_layout.DATASET_DIRECTORY}/{stem}-{part_number:05d}.parquet")
                for part_number, part in enumerate(plan_range_files([keys], max_rows))
            ]
        if file is None:
            begin = None
        else:
            begin = (file.order, file.pixel)
        return plan_pixel_files(
            hats_layout.divide_into_partitions(
                hats_layout.create_row_counter(keys), max_rows, start_pixel=begin, reserved_cells=kept_cells
            )
        )

    def _link_or_copy_file(self, file: ManifestFile, path: str) -> WrittenFile:
        """Link, or copy, a file of the base into this snapshot."""
        target = self._work_directory / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.hardlink_to(path)
        except FileNotFoundError:
            raise
        except OSError:  # a file system without links, or with no more for this file
            shutil.copyfile(path, target)
        keys = self._read_file_rows(path, self._key_names)
        if self.table.position is not None and file.pixel >= 0:
            cells = self._compute_keys_of(path, keys)
        else:
            cells = None
        return WrittenFile(file, pq.read_metadata(path), keys, cells)


def _measure_row_bytes(rows: pa.Table) -> float:
    return float(rows.nbytes / max(rows.num_rows, 1))


def _check_mergeable(table: Table, base_manifest: CatalogueManifest) -> None:
    """Refuse what cannot be merged."""
    if not table.primary:
        raise UnmergeableSnapshotError(f"{table.qualified_name} has no primary key", remedy="stage all rows")
    if base_manifest.head.foreign:
        raise UnmergeableSnapshotError(
            f"{table.qualified_name}: the files of {base_manifest.head.foreign} are not ours", remedy="stage all rows"
        )
    if not base_manifest.schema.equals(table.arrow_schema):
        raise UnmergeableSnapshotError(
            f"{table.qualified_name}: the snapshot has other columns", remedy="stage all rows"
        )
    if base_manifest.head.position != table.position or base_manifest.head.order != find_order_column(table):
        raise UnmergeableSnapshotError(
            f"{table.qualified_name}: the snapshot has another order", remedy="stage all rows"
        )


__all__ = ["CatalogueMerge"]
