"""Build a new snapshot from an old one and its changes: see `hven.engines.StorageEngine.stage_merge`.

Changes wait in memory, or spooled to disk. `finish` looks up the rows that they replace, in one pass over the key
columns, finds the place of each change in the stored order, and makes the new parts. A part that no change touches is
the file of the old snapshot (a hard link); the others are put together from runs of old rows and the changes between
them. Indexes, positions and statistics are updated by the changes.
"""

from __future__ import annotations

import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.engines._file_staging import write_ipc_file
from hven.engines._key_matching import PrimaryKeyLookup, group_batches_into_pages
from hven.engines._region_cells import list_indexed_region_columns
from hven.engines._row_order import build_sort_key_function, find_row_order_column
from hven.engines._row_preparation import MISSING_KEY, check_key_nulls
from hven.engines._statistics import compute_coverage_cells, compute_coverage_moc
from hven.engines._statistics_update import compute_statistics, update_statistics
from hven.engines.duckdb.checksum_verification import check_files_undamaged
from hven.engines.duckdb.index_building import check_primary_key, list_indexed_columns, raise_if_duplicate_keys
from hven.engines.duckdb.index_merging import (
    MIN_ROWS_PER_CHANGE,
    merge_or_rebuild_key_index,
    merge_or_rebuild_region_index,
    write_merged_position_index,
)
from hven.engines.duckdb.row_renumbering import RowRenumbering
from hven.engines.duckdb.snapshot_files import (
    MANIFEST_FILE_NAME,
    MemoryTableRows,
    OpenSnapshot,
    SnapshotManifest,
    map_part_batches_into_memory,
)
from hven.engines.duckdb.staging import DuckSnapshotStaging, compute_rows_per_part
from hven.model.errors import UnmergeableSnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from hven.model.table import Table

    Rows = npt.NDArray[np.int64]

MIN_PAGE_ROWS = 1_000_000  # minimum number of rows whose keys are looked up at a time
MAX_PART_RUNS = 400  # a part of more runs of rows is put together row by row
MAX_WRITING_THREADS = 2  # threads that write parts


@dataclass(frozen=True, slots=True)
class NewRows:
    """The rows to add: where they wait, and their order."""

    rows: MemoryTableRows
    order: Rows

    @property
    def bytes_per_row(self) -> float:
        """Mean size of a row in bytes."""
        total_bytes = sum(batch.nbytes for batch in self.rows.batches)
        return float(total_bytes / max(self.rows.rows, 1))

    def get_column(self, column_name: str) -> pa.Array:
        """Return one column, in order."""
        projection = self.rows.get_projection((column_name,))
        return projection.take_rows(self.order).column(0)

    def take_row_range(self, first_row: int, end_row: int) -> pa.RecordBatch:
        """Return a range of rows, in order."""
        projection = self.rows.get_projection(tuple(self.rows.schema.names))
        return projection.take_rows(self.order[first_row:end_row])


class SnapshotMergeStaging(DuckSnapshotStaging):
    """A staging that begins with the rows of another snapshot (`hven.engines.SnapshotStaging`)."""

    def __init__(
        self,
        table: Table,
        snapshot_id: str,
        final_directory: Path,
        relative_path: str,
        on_sealed: Callable[[DuckSnapshotStaging], None],
        *,
        base_snapshot: OpenSnapshot,
        deleted_keys: pa.Table | None,
    ) -> None:
        _check_mergeable(table, base_snapshot)
        self._base_snapshot = base_snapshot
        self._key_names = list(table.primary)
        key_fields = [table.arrow_schema.field(name).with_nullable(True) for name in self._key_names]
        key_schema = pa.schema(key_fields)
        if deleted_keys is None:
            self._deleted_keys = key_schema.empty_table()
        else:
            self._deleted_keys = deleted_keys.select(self._key_names).cast(key_schema)
        self._spooled_batches: list[pa.RecordBatch] = []
        super().__init__(table, snapshot_id, final_directory, relative_path, on_sealed)

    def _spill_sorted_run(self) -> None:
        """Write the waiting changes to disk, in the order in which they came."""
        path = self._work_directory / f"run-{len(self._spooled_batches):04d}.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, self._schema) as writer:
            writer.write_batch(self._take_waiting_batches_as_one())
        self._spooled_batches.append(pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0))
        pa.default_memory_pool().release_unused()

    def _take_waiting_batches_as_one(self) -> pa.RecordBatch:
        batch = pa.concat_batches(self._waiting_batches)
        self._waiting_batches = []
        self._waiting_bytes = 0
        return batch

    def abandon(self) -> None:
        """Remove everything written; see `hven.engines.SnapshotStaging.abandon`."""
        self._spooled_batches = []
        super().abandon()

    # --- the steps of `finish`

    def _write_parts_and_position_index(self) -> None:
        """Write all parts and the position index."""
        if self._waiting_batches:
            self._spooled_batches.append(self._take_waiting_batches_as_one())
        changes = pa.Table.from_batches(self._spooled_batches, schema=self._schema)
        self._spooled_batches = []
        replaced, removed_rows = self._find_replaced_and_removed_rows(changes)
        order, places, keys = self._order_changes_by_insertion_place(changes, replaced)
        self._new_rows = NewRows(MemoryTableRows(changes), order)
        moves = RowRenumbering(self._base_snapshot.rows, removed_rows, places)
        self._row_moves = moves
        self._row_count = moves.new_row_count
        self._positioned_count = 0
        if self.table.position is not None:
            positioned_keys = keys[: np.searchsorted(keys, MISSING_KEY)]
            self._positioned_count = write_merged_position_index(
                self._base_snapshot, self._work_directory, moves, positioned_keys
            )
        self._link_or_write_parts()

    def _find_replaced_and_removed_rows(self, changes: pa.Table) -> tuple[Rows, Rows]:
        """Return for each change the old row that it replaces (-1: none), and all removed old rows, ascending."""
        keys = changes.select(self._key_names)
        check_key_nulls(self.table, sum(column.null_count for column in keys.columns))
        key_lookup = PrimaryKeyLookup(keys, self._key_names)
        if key_lookup.duplicate_count:
            raise_if_duplicate_keys(self.table, keys)
        replaced_keys = keys.cast(self._deleted_keys.schema)
        key_lookup = PrimaryKeyLookup(pa.concat_tables([replaced_keys, self._deleted_keys]), self._key_names)
        replaced = np.full(changes.num_rows, -1, np.int64)
        removed_parts = [np.empty(0, np.int64)]
        begin = 0
        key_batches = (batch.select(self._key_names) for batch in self._base_snapshot.batches)
        for page in group_batches_into_pages(key_batches, max(MIN_PAGE_ROWS, key_lookup.key_count)):
            key_numbers = key_lookup.match_page_rows(page)
            page_rows = np.flatnonzero(key_numbers >= 0)
            removed_rows = page_rows + begin
            removed_parts.append(removed_rows)
            change_numbers = key_numbers[page_rows]
            is_replaced = change_numbers < len(replaced)  # the others are deleted
            replaced[change_numbers[is_replaced]] = removed_rows[is_replaced]
            begin += page.num_rows
        return replaced, np.concatenate(removed_parts)

    def _order_changes_by_insertion_place(self, changes: pa.Table, replaced_rows: Rows) -> tuple[Rows, Rows, Rows]:
        """Find the places of the changes in the stored order.

        Returns
        -------
        order
            The order of the changes.
        places
            In that order, the number of the old row before which each change comes. A change that replaces a row of
            the same sort key takes the place of that row; another one comes behind the rows of its key.
        keys
            The sort keys of the changes, in that order.
        """
        replacing_rows = np.flatnonzero(replaced_rows >= 0)
        places = np.full(changes.num_rows, self._base_snapshot.rows)
        if self._compute_sort_keys is None or not changes.num_rows:
            keys = np.zeros(changes.num_rows, np.int64)
            places[replacing_rows] = replaced_rows[replacing_rows]
        else:
            keys = self._compute_sort_keys(changes)
            has_key = keys < MISSING_KEY
            places[has_key] = self._count_old_rows_not_greater(keys[has_key])
            old_keys = self._compute_row_sort_keys(replaced_rows[replacing_rows])
            same_key_rows = replacing_rows[old_keys == keys[replacing_rows]]
            places[same_key_rows] = replaced_rows[same_key_rows]
        order = np.lexsort((keys, places))
        return order, places[order], keys[order]

    def _count_old_rows_not_greater(self, keys: Rows) -> Rows:
        """Count for each key the old rows whose sort key is not greater."""
        base = self._base_snapshot
        if self.table.position is not None:
            return np.searchsorted(base.cell_indexes, keys, side="right")
        first_keys = np.concatenate([self._compute_batch_sort_keys(batch.slice(0, 1)) for batch in base.batches])
        batch_numbers = np.searchsorted(first_keys, keys, side="right") - 1
        counts = np.zeros(len(keys), np.int64)
        for number in np.unique(batch_numbers[batch_numbers >= 0]).tolist():
            is_in_batch = batch_numbers == number
            batch_keys = self._compute_batch_sort_keys(base.batches[number])
            counts_in_batch = np.searchsorted(batch_keys, keys[is_in_batch], side="right")
            counts[is_in_batch] = base.starts[number] + counts_in_batch
        return counts

    def _compute_batch_sort_keys(self, batch: pa.RecordBatch) -> Rows:
        if self._compute_sort_keys is None:
            raise TypeError(f"{self.table.qualified_name} has no order")
        return self._compute_sort_keys(pa.Table.from_batches([batch]))

    def _compute_row_sort_keys(self, row_numbers: Rows) -> Rows:
        """Return the sort keys of old rows, by number."""
        if self.table.position is None:
            projection = self._base_snapshot.get_projection((find_row_order_column(self.table),))
            return self._compute_batch_sort_keys(projection.take_rows(row_numbers))
        cells = self._base_snapshot.cell_indexes
        if not len(cells):
            return np.full(len(row_numbers), MISSING_KEY)
        positioned_cells = cells[np.minimum(row_numbers, len(cells) - 1)]
        return np.where(row_numbers < len(cells), positioned_cells, MISSING_KEY)

    # --- parts

    def _link_or_write_parts(self) -> None:
        """Link the parts that stay as they are, and write the others."""
        base = self._base_snapshot
        part_plan = self._plan_parts()
        shared_names = {base.manifest.parts[number][0] for number, _, _ in part_plan if number is not None}
        # the files that new ones are made of must be as they were written: new checksums would hide damage for ever
        read_names = [name for name in base.manifest.checksums if name not in shared_names]
        check_files_undamaged(base.path, base.manifest, read_names)
        names = [f"{number:05d}.arrow" for number in range(len(part_plan))]
        write_tasks = []
        with ThreadPoolExecutor(max_workers=MAX_WRITING_THREADS) as pool:
            for name, (number, begin, end) in zip(names, part_plan, strict=True):
                if number is None:
                    write_tasks.append(pool.submit(self._write_part_range, self._work_directory / name, begin, end))
                else:
                    self._link_or_copy_part(base.path / base.manifest.parts[number][0], name)
            for task in write_tasks:
                task.result()
        self._written_parts = []
        for name, (_, begin, end) in zip(names, part_plan, strict=True):
            part_bytes = (self._work_directory / name).stat().st_size
            self._written_parts.append((name, end - begin, part_bytes))
        pa.default_memory_pool().release_unused()

    def _plan_parts(self) -> list[tuple[int | None, int, int]]:
        """Return for each new part the number of the old part that it is, and its first row and the row behind it.

        The number is None if the part is written. Neighbouring old parts that changes touch are divided anew.
        """
        moves = self._row_moves
        base_parts = self._base_snapshot.manifest.parts
        numbers = [number for number, part in enumerate(base_parts) if part[1]]
        max_part_rows = compute_rows_per_part(moves.new_row_count, self._estimate_bytes_per_row())
        if not numbers:
            return _plan_new_parts(0, moves.new_row_count, max_part_rows) or [(None, 0, 0)]
        row_counts, is_touched = self._count_rows_and_find_touched_parts(
            np.array([base_parts[number][1] for number in numbers])
        )
        plan: list[tuple[int | None, int, int]] = []
        begin = 0
        part_number = 0
        while part_number < len(numbers):
            if not is_touched[part_number]:
                end = begin + int(row_counts[part_number])
                plan.append((numbers[part_number], begin, end))
                part_number += 1
            else:
                next_untouched = part_number
                while next_untouched < len(numbers) and is_touched[next_untouched]:
                    next_untouched += 1
                touched_rows = int(row_counts[part_number:next_untouched].sum())
                end = begin + touched_rows
                plan += _plan_new_parts(begin, touched_rows, max_part_rows)
                part_number = next_untouched
            begin = end
        return plan or [(None, 0, 0)]

    def _count_rows_and_find_touched_parts(self, old_counts: Rows) -> tuple[Rows, npt.NDArray[np.bool_]]:
        """Return the number of rows of each old part after the changes, and whether a change touches it.

        A row that comes before the first row of a part belongs to that part, and a row behind all to the last part.
        """
        moves = self._row_moves
        part_count = len(old_counts)
        part_ends = np.cumsum(old_counts, dtype=np.int64)
        removal_parts = np.searchsorted(part_ends, moves.removed_rows, side="right")
        removal_parts = np.minimum(removal_parts, part_count - 1)
        insertion_parts = np.searchsorted(part_ends, moves.insertion_places, side="right")
        insertion_parts = np.minimum(insertion_parts, part_count - 1)
        is_touched = np.zeros(part_count, bool)
        is_touched[removal_parts] = True
        is_touched[insertion_parts] = True
        inserted_counts = np.bincount(insertion_parts, minlength=part_count)
        removed_counts = np.bincount(removal_parts, minlength=part_count)
        return old_counts + inserted_counts - removed_counts, is_touched

    def _estimate_bytes_per_row(self) -> float:
        base = self._base_snapshot
        if not base.rows:
            return self._new_rows.bytes_per_row
        return sum(part[2] for part in base.manifest.parts if part[1]) / base.rows

    def _link_or_copy_part(self, path: Path, part_name: str) -> None:
        """Link a part of the base snapshot into this one, or copy it."""
        part_checksum = self._base_snapshot.manifest.checksums.get(path.name)
        if part_checksum is not None:
            self._known_checksums[part_name] = part_checksum
        try:
            (self._work_directory / part_name).hardlink_to(path)
            self._shared_names.add(part_name)
        except FileNotFoundError:
            raise
        except OSError:  # the file system has no links, or no more for this file
            shutil.copyfile(path, self._work_directory / part_name)

    def _write_part_range(self, path: Path, first_row: int, end_row: int) -> None:
        """Write a part with a range of the new rows."""
        begins, is_new, sources = self._row_moves.segments
        first_segment = max(int(np.searchsorted(begins, first_row, side="right")) - 1, 0)
        end_segment = int(np.searchsorted(begins, end_row))
        segments = slice(first_segment, end_segment)
        lows = np.maximum(begins[segments], first_row)
        highs = np.minimum(begins[first_segment + 1 : end_segment + 1], end_row)
        starts = sources[segments] + lows - begins[segments]
        stops = starts + highs - lows
        if end_segment - first_segment <= MAX_PART_RUNS:
            pieces = self._iterate_row_runs(is_new[segments], starts, stops)
        else:
            pieces = self._iterate_interleaved_rows(is_new[segments], starts, stops)
        rows = pa.Table.from_batches(pieces, schema=self._base_snapshot.schema)
        write_ipc_file(path, rows.combine_chunks(), sync_to_disk=False)

    def _iterate_row_runs(self, is_new: npt.NDArray[np.bool_], starts: Rows, stops: Rows) -> Iterator[pa.RecordBatch]:
        """Yield runs of old rows and of new rows."""
        # the reader maps the files itself, so that what was read does not stay in memory
        base_reader = _SequentialRowReader(self._base_snapshot)
        for is_new_run, start, stop in zip(is_new.tolist(), starts.tolist(), stops.tolist(), strict=True):
            if is_new_run:
                yield self._take_new_rows(start, stop)
            else:
                yield from base_reader.iterate_row_range(start, stop)

    def _iterate_interleaved_rows(
        self, is_new: npt.NDArray[np.bool_], starts: Rows, stops: Rows
    ) -> Iterator[pa.RecordBatch]:
        """Yield the same rows as `_iterate_row_runs`, taken one by one from the old and the new rows of the part.

        It is quicker if there are many runs.
        """
        pieces: list[pa.RecordBatch] = []
        run_places = np.zeros(len(is_new), np.int64)  # the place of each run in all pieces together
        row_count = 0
        for wants_new in (False, True):
            is_selected = is_new == wants_new
            if not is_selected.any():
                continue
            low = int(starts[is_selected][0])
            high = int(stops[is_selected][-1])
            if wants_new:
                pieces.append(self._take_new_rows(low, high))
            else:
                pieces += _SequentialRowReader(self._base_snapshot).iterate_row_range(low, high)
            run_places[is_selected] = starts[is_selected] - low + row_count
            row_count += high - low
        lengths = stops - starts
        ends = np.cumsum(lengths)
        indices = np.repeat(run_places - (ends - lengths), lengths) + np.arange(int(ends[-1]))
        yield pa.concat_batches(pieces).take(pa.array(indices))

    def _take_new_rows(self, first_row: int, end_row: int) -> pa.RecordBatch:
        new_columns = self._new_rows.take_row_range(first_row, end_row).columns
        return pa.RecordBatch.from_arrays(new_columns, schema=self._base_snapshot.schema)

    # --- indexes and statistics

    def _write_indexes_and_build_manifest(self) -> SnapshotManifest:
        base = self._base_snapshot
        moves = self._row_moves
        table = self.table
        manifest = SnapshotManifest(
            rows=self._row_count,
            parts=tuple(self._written_parts),
            position=table.position,
            positioned=self._positioned_count,
        )
        (self._work_directory / MANIFEST_FILE_NAME).write_text(manifest.to_json())
        stored = OpenSnapshot(self._work_directory)
        if base.manifest.primary != tuple(table.primary):  # otherwise only new keys could be duplicates, and are not
            check_primary_key(table, stored)
        keys = tuple(
            merge_or_rebuild_key_index(base, stored, moves, self._new_rows, column_name=column, index_number=number)
            for number, column in enumerate(list_indexed_columns(table))
        )
        regions = tuple(
            merge_or_rebuild_region_index(base, stored, moves, self._new_rows, column_name=column, index_number=number)
            for number, column in enumerate(list_indexed_region_columns(table))
        )
        statistics, revised_rows = self._update_or_recompute_statistics(stored)
        del self._new_rows
        for path in self._work_directory.glob("run-*"):
            path.unlink()
        return SnapshotManifest(
            rows=self._row_count,
            parts=tuple(self._written_parts),
            position=table.position,
            positioned=self._positioned_count,
            keys=keys,
            regions=regions,
            statistics=statistics,
            coverage=_compute_merged_coverage(base, stored) if table.position else None,
            primary=tuple(table.primary),
            order=find_row_order_column(table),
            revised=revised_rows,
        )

    def _update_or_recompute_statistics(self, stored: OpenSnapshot) -> tuple[dict[str, dict[str, object]], int]:
        """Return the statistics, and the number of rows changed since they were last computed from all rows."""
        base = self._base_snapshot
        moves = self._row_moves
        revised_rows = base.manifest.revised + len(moves.removed_rows) + len(moves.insertion_places)
        if (
            revised_rows * MIN_ROWS_PER_CHANGE > moves.new_row_count
        ):  # updated numbers of distinct values would be vague
            for batch in stored.batches:
                self._statistics.add_rows(pa.Table.from_batches([batch]))
            return self._statistics.build_statistics(), 0
        removed_batches = _SequentialRowReader(base).iterate_rows(moves.removed_rows)
        removed_rows = pa.Table.from_batches(removed_batches, schema=base.schema)
        added_rows = pa.Table.from_batches([self._new_rows.take_row_range(0, len(moves.insertion_places))])
        statistics = update_statistics(
            self.table,
            base.manifest.statistics,
            compute_statistics(self.table, removed_rows),
            compute_statistics(self.table, added_rows),
            (base.rows, removed_rows.num_rows, added_rows.num_rows),
            read_column=lambda name: (batch.column(name) for batch in stored.batches),
        )
        return statistics, revised_rows


class _SequentialRowReader:
    """Reads the rows of a snapshot from front to back.

    Each part is mapped when it is needed, and unmapped after that.
    """

    def __init__(self, stored: OpenSnapshot) -> None:
        self._stored = stored
        self._part_ends = np.cumsum([rows for _, rows, _ in stored.manifest.parts], dtype=np.int64)
        self._part_number = -1
        self._batches: list[pa.RecordBatch] = []
        self._starts = np.zeros(1, np.int64)

    def iterate_row_range(self, first_row: int, end_row: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a range."""
        while first_row < end_row:
            number = int(np.searchsorted(self._part_ends, first_row, side="right"))
            if number != self._part_number:
                self._open_part(number)
            batch_number = int(np.searchsorted(self._starts, first_row, side="right")) - 1
            batch_begin = int(self._starts[batch_number])
            batch_end = min(end_row, int(self._starts[batch_number + 1]))
            yield self._batches[batch_number].slice(first_row - batch_begin, batch_end - first_row)
            first_row = batch_end

    def iterate_rows(self, row_numbers: Rows) -> Iterator[pa.RecordBatch]:
        """Yield copies of rows, by ascending number."""
        taken_count = 0
        while taken_count < len(row_numbers):
            number = int(np.searchsorted(self._part_ends, row_numbers[taken_count], side="right"))
            self._open_part(number)
            for begin, batch in zip(self._starts.tolist(), self._batches, strict=False):
                stop = int(np.searchsorted(row_numbers, begin + batch.num_rows))
                if stop > taken_count:
                    yield batch.take(pa.array(row_numbers[taken_count:stop] - begin))
                taken_count = stop

    def _open_part(self, part_number: int) -> None:
        name, part_rows, _ = self._stored.manifest.parts[part_number]
        self._part_number = part_number
        self._batches = map_part_batches_into_memory(self._stored.path / name)
        part_begin = self._part_ends[part_number] - part_rows
        self._starts = np.cumsum([part_begin, *(batch.num_rows for batch in self._batches)])


def _compute_merged_coverage(base_snapshot: OpenSnapshot, stored: OpenSnapshot) -> str:
    """Return the coverage: that of the base if its cells are the same, because writing a MOC takes time."""
    base_coverage = base_snapshot.manifest.coverage
    if base_coverage is not None:
        base_cells, base_order = compute_coverage_cells(base_snapshot.cell_indexes)
        cells, order = compute_coverage_cells(stored.cell_indexes)
        if order == base_order and np.array_equal(base_cells, cells):
            return base_coverage
    return compute_coverage_moc(stored.cell_indexes)


def _plan_new_parts(first_row: int, row_count: int, max_part_rows: int) -> list[tuple[int | None, int, int]]:
    """Divide new rows into parts of about `max_part_rows` rows."""
    if not row_count:
        return []
    part_count = max(1, round(row_count / max_part_rows))
    ends = [first_row + row_count * number // part_count for number in range(part_count + 1)]
    return [(None, low, high) for low, high in itertools.pairwise(ends)]


def _check_mergeable(table: Table, base_snapshot: OpenSnapshot) -> None:
    """Check that changes can be merged into a snapshot.

    Raises
    ------
    UnmergeableSnapshotError
        The table has no primary key, or other columns or another order than the snapshot.
    """
    if not table.primary:
        message = f"{table.qualified_name} has no primary key to identify its rows, so nothing can be merged into it"
        raise UnmergeableSnapshotError(message, remedy="define a primary key, or ingest the table again")
    base_columns = [(field.name, field.type) for field in base_snapshot.schema]
    if base_columns != [(field.name, field.type) for field in table.arrow_schema]:
        message = (
            f"{table.qualified_name} has different columns from its snapshot {base_snapshot.path.name}, so nothing "
            "can be merged into the snapshot"
        )
        raise UnmergeableSnapshotError(message, remedy="ingest the table again")
    has_same_position = base_snapshot.manifest.position == table.position
    if not has_same_position or (table.position is None and not _has_same_order(table, base_snapshot)):
        message = (
            f"{table.qualified_name} has its rows in a different order from its snapshot {base_snapshot.path.name}, "
            f"so nothing can be merged into the snapshot"
        )
        raise UnmergeableSnapshotError(message, remedy="ingest the table again")


def _has_same_order(table: Table, base_snapshot: OpenSnapshot) -> bool:
    """Return whether a snapshot without positions has the order that the table wants.

    The manifest of an older snapshot does not tell its order, so its rows are read.
    """
    order_column = find_row_order_column(table)
    if base_snapshot.manifest.order is not None:
        return base_snapshot.manifest.order == order_column
    compute_keys = build_sort_key_function(table)
    if compute_keys is None:
        return True
    last_key = np.iinfo(np.int64).min
    for batch in base_snapshot.batches:
        sort_keys = compute_keys(pa.Table.from_batches([batch.select([order_column])]))
        if not len(sort_keys):
            continue
        if sort_keys[0] < last_key or (sort_keys[1:] < sort_keys[:-1]).any():
            return False
        last_key = sort_keys[-1]
    return True
