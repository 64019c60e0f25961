"""A new snapshot out of an old one and its changes: see `hven.engines.StorageEngine.stage_merge`.

Changes wait in memory, or spooled. `finish` looks up the rows they replace (by one pass over the key columns), finds
the place of each in the stored order, and makes the new parts: those that no change touches are the old snapshot's
files (hard links), the others are put together from runs of old rows and the changes between them. Indexes, positions
and statistics are the old ones with what changed.
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
from hven.engines._key_matching import KeyLookup, group_into_pages
from hven.engines._region_cells import list_region_columns
from hven.engines._row_order import build_sort_key_function, find_order_column
from hven.engines._row_preparation import MISSING_KEY, check_key_nulls
from hven.engines._statistics import compute_coverage_cells, compute_coverage_moc
from hven.engines._statistics_update import compute_statistics, update_statistics
from hven.engines.duckdb.checksum_verification import check_undamaged
from hven.engines.duckdb.index_building import check_primary_key, list_indexed_columns, raise_duplicate_keys
from hven.engines.duckdb.index_merging import (
    MIN_ROWS_PER_CHANGE,
    merge_key_index,
    merge_position_index,
    merge_region_index,
)
from hven.engines.duckdb.row_renumbering import RowMoves
from hven.engines.duckdb.snapshot_files import (
    MANIFEST_FILE_NAME,
    OpenSnapshot,
    SnapshotManifest,
    TableRows,
    map_part_batches,
)
from hven.engines.duckdb.staging import DiskStaging, compute_rows_per_part
from hven.model.errors import UnmergeableSnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from hven.model.table import Table

    Rows = npt.NDArray[np.int64]

MIN_PAGE_ROWS = 1_000_000  # rows whose keys are looked up at a time, at least
MAX_PART_RUNS = 400  # runs of rows in a part: beyond, rows are picked one by one
MAX_WRITING_THREADS = 2  # that put parts together


@dataclass(frozen=True, slots=True)
class NewRows:
    """The rows that come: where they wait, and their order."""

    rows: TableRows
    order: Rows

    @property
    def bytes_per_row(self) -> float:
        """Bytes of a row."""
        return float(sum(batch.nbytes for batch in self.rows.batches) / max(self.rows.rows, 1))

    def get_column(self, column_name: str) -> pa.Array:
        """Return one of their columns, in order."""
        projection = self.rows.get_projection((column_name,))
        return projection.take_rows(self.order).column(0)

    def take_range(self, first_row: int, end_row: int) -> pa.RecordBatch:
        """Return some of them, in order."""
        projection = self.rows.get_projection(tuple(self.rows.schema.names))
        return projection.take_rows(self.order[first_row:end_row])


class SnapshotMerge(DiskStaging):
    """A staging that begins with the rows of another snapshot (`hven.engines.SnapshotStaging`)."""

    def __init__(
        self,
        table: Table,
        snapshot: str,
        final: Path,
        relative: str,
        seal: Callable[[DiskStaging], None],
        base_snapshot: OpenSnapshot,
        deleted_keys: pa.Table | None,
    ) -> None:
        _check_mergeable(table, base_snapshot)
        self._base_snapshot = base_snapshot
        self._key_names = list(table.primary)
        kinds = pa.schema([table.arrow_schema.field(name).with_nullable(True) for name in self._key_names])
        if deleted_keys is None:
            self._deleted_keys = kinds.empty_table()
        else:
            self._deleted_keys = deleted_keys.select(self._key_names).cast(kinds)
        self._spooled_batches: list[pa.RecordBatch] = []
        super().__init__(table, snapshot, final, relative, seal)

    def _spill_run(self) -> None:
        """Spill what waits to the disk, as it came."""
        path = self._work_directory / f"run-{len(self._spooled_batches):04d}.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, self._schema) as writer:
            writer.write_batch(self._concat_waiting_batches())
        self._spooled_batches.append(pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0))
        pa.default_memory_pool().release_unused()

    def _concat_waiting_batches(self) -> pa.RecordBatch:
        batch = pa.concat_batches(self._waiting_batches)
        self._waiting_batches = []
        self._waiting_bytes = 0
        return batch

    def abandon(self) -> None:
        """Remove everything written; see `hven.engines.SnapshotStaging.abandon`."""
        self._spooled_batches = []
        super().abandon()

    # --- the pieces of `finish`

    def _write_sorted_parts(self) -> None:
        """Write all parts and the position index."""
        if self._waiting_batches:
            self._spooled_batches.append(self._concat_waiting_batches())
        changes = pa.Table.from_batches(self._spooled_batches, schema=self._schema)
        self._spooled_batches = []
        replaced, removed_rows = self._find_replaced_rows(changes)
        order, places, keys = self._find_places(changes, replaced)
        self._new_rows = NewRows(TableRows(changes), order)
        self._row_moves = moves = RowMoves(self._base_snapshot.rows, removed_rows, places)
        self._row_count = moves.new_row_count
        if self.table.position is not None:
            self._positioned_count = merge_position_index(
                self._base_snapshot, self._work_directory, moves, keys[: np.searchsorted(keys, MISSING_KEY)]
            )
        else:
            self._positioned_count = 0
        self._write_parts()

    def _find_replaced_rows(self, changes: pa.Table) -> tuple[Rows, Rows]:
        """Return for each change the old row that it replaces (-1: none), and all old rows that go, ascending."""
        keys = changes.select(self._key_names)
        check_key_nulls(self.table, sum(column.null_count for column in keys.columns))
        key_lookup = KeyLookup(keys, self._key_names)
        if key_lookup.duplicate_count:
            raise_duplicate_keys(self.table, keys)
        key_lookup = KeyLookup(
            pa.concat_tables([keys.cast(self._deleted_keys.schema), self._deleted_keys]), self._key_names
        )
        replaced = np.full(changes.num_rows, -1, np.int64)
        removed_parts = [np.empty(0, np.int64)]
        begin = 0
        for page in group_into_pages(
            (batch.select(self._key_names) for batch in self._base_snapshot.batches),
            max(MIN_PAGE_ROWS, key_lookup.key_count),
        ):
            found_changes = key_lookup.find_rows(page)
            rows = np.flatnonzero(found_changes >= 0)
            change_numbers = found_changes[rows]
            removed_parts.append(rows + begin)
            replaced[change_numbers[change_numbers < len(replaced)]] = removed_parts[-1][change_numbers < len(replaced)]
            begin += page.num_rows
        return replaced, np.concatenate(removed_parts)

    def _find_places(self, changes: pa.Table, replaced: Rows) -> tuple[Rows, Rows, Rows]:
        """Find where the changes belong.

        Returns
        -------
        order
            The order that they get.
        places
            Number of the old row before which each comes, in that order. What replaces a row of the same sort key is
            where that row was; else it is behind the rows of its key.
        keys
            Their sort keys, in that order.
        """
        replacing_rows = np.flatnonzero(replaced >= 0)
        places = np.full(changes.num_rows, self._base_snapshot.rows)
        if self._compute_sort_keys is None or not changes.num_rows:
            keys = np.zeros(changes.num_rows, np.int64)
            places[replacing_rows] = replaced[replacing_rows]
        else:
            keys = self._compute_sort_keys(changes)
            has_key = keys < MISSING_KEY
            places[has_key] = self._count_not_greater(keys[has_key])
            same_key_rows = replacing_rows[self._compute_keys_at(replaced[replacing_rows]) == keys[replacing_rows]]
            places[same_key_rows] = replaced[same_key_rows]
        order = np.lexsort((keys, places))
        return order, places[order], keys[order]

    def _count_not_greater(self, keys: Rows) -> Rows:
        """Count the old rows whose sort key is not greater, for each of many keys."""
        base = self._base_snapshot
        if self.table.position is not None:
            return np.searchsorted(base.cell_indexes, keys, side="right")
        first_keys = np.concatenate([self._compute_batch_keys(batch.slice(0, 1)) for batch in base.batches])
        batch_numbers = np.searchsorted(first_keys, keys, side="right") - 1
        counts = np.zeros(len(keys), np.int64)
        for number in np.unique(batch_numbers[batch_numbers >= 0]).tolist():
            in_batch = batch_numbers == number
            counts[in_batch] = base.starts[number] + np.searchsorted(
                self._compute_batch_keys(base.batches[number]), keys[in_batch], side="right"
            )
        return counts

    def _compute_batch_keys(self, batch: pa.RecordBatch) -> Rows:
        if self._compute_sort_keys is None:
            raise TypeError(f"{self.table.qualified_name} has no order")
        return self._compute_sort_keys(pa.Table.from_batches([batch]))

    def _compute_keys_at(self, row_numbers: Rows) -> Rows:
        """Return the sort keys of old rows, by number."""
        if self.table.position is None:
            projection = self._base_snapshot.get_projection((find_order_column(self.table),))
            return self._compute_batch_keys(projection.take_rows(row_numbers))
        cells = self._base_snapshot.cell_indexes
        if not len(cells):
            return np.full(len(row_numbers), MISSING_KEY)
        return np.where(row_numbers < len(cells), cells[np.minimum(row_numbers, len(cells) - 1)], MISSING_KEY)

    # --- parts

    def _write_parts(self) -> None:
        """Share the parts that stay as they are, write the others."""
        part_plan = self._plan_parts()
        shared_names = {
            self._base_snapshot.manifest.parts[number][0] for number, _, _ in part_plan if number is not None
        }
        # what is read to make something new of it must be what was written: new checksums would make damage look right
        # for ever
        check_undamaged(
            self._base_snapshot.path,
            self._base_snapshot.manifest,
            [name for name in self._base_snapshot.manifest.checksums if name not in shared_names],
        )
        names = [f"{number:05d}.arrow" for number in range(len(part_plan))]
        write_tasks = []
        with ThreadPoolExecutor(max_workers=MAX_WRITING_THREADS) as pool:
            for name, (number, begin, end) in zip(names, part_plan, strict=True):
                if number is None:
                    write_tasks.append(pool.submit(self._write_range, self._work_directory / name, begin, end))
                else:
                    self._link_or_copy_part(
                        self._base_snapshot.path / self._base_snapshot.manifest.parts[number][0], name
                    )
            for task in write_tasks:
                task.result()
        self._written_parts = [
            (name, end - begin, (self._work_directory / name).stat().st_size)
            for name, (_, begin, end) in zip(names, part_plan, strict=True)
        ]
        pa.default_memory_pool().release_unused()

    def _plan_parts(self) -> list[tuple[int | None, int, int]]:
        """Plan for each new part which old one it is (None: it is written), and which new rows it has: begin and end.

        Old parts side by side that are touched are cut anew.
        """
        base = self._base_snapshot
        moves = self._row_moves
        parts = [part for part in base.manifest.parts if part[1]]
        numbers = [number for number, part in enumerate(base.manifest.parts) if part[1]]
        ends = np.cumsum([part[1] for part in parts], dtype=np.int64)
        is_touched = np.zeros(len(parts), bool)
        if parts:
            part_numbers = [
                np.minimum(np.searchsorted(ends, rows, side="right"), len(parts) - 1)
                for rows in (moves.removed_rows, moves.insertion_places)
            ]
        else:
            part_numbers = []
        for touched_numbers in part_numbers:
            is_touched[touched_numbers] = True
        # rows that come before the first row of a part belong to it, those after the last one to the last part
        counts = np.array([part[1] for part in parts], np.int64)
        if part_numbers:
            counts += np.bincount(part_numbers[1], minlength=len(parts)) - np.bincount(
                part_numbers[0], minlength=len(parts)
            )
        if base.rows:
            bytes_per_row = sum(part[2] for part in parts) / base.rows
        else:
            bytes_per_row = self._new_rows.bytes_per_row
        max_part_rows = compute_rows_per_part(moves.new_row_count, bytes_per_row)
        plan: list[tuple[int | None, int, int]] = []
        begin = part_number = 0
        while part_number < len(parts):
            if not is_touched[part_number]:
                plan.append((numbers[part_number], begin, begin + int(counts[part_number])))
                begin = plan[-1][2]
                part_number = part_number + 1
                continue
            next_untouched = part_number
            while next_untouched < len(parts) and is_touched[next_untouched]:
                next_untouched += 1
            rows = int(counts[part_number:next_untouched].sum())
            plan += _split_into_parts(begin, rows, max_part_rows)
            begin = begin + rows
            part_number = next_untouched
        if not parts:
            plan += _split_into_parts(0, moves.new_row_count, max_part_rows)
        return plan or [(None, 0, 0)]

    def _link_or_copy_part(self, path: Path, part_name: str) -> None:
        """Link, or copy, a part of the base into this snapshot."""
        part_checksum = self._base_snapshot.manifest.checksums.get(path.name)
        if part_checksum is not None:
            self._known_checksums[part_name] = part_checksum
        try:
            (self._work_directory / part_name).hardlink_to(path)
            self._shared_names.add(part_name)
        except FileNotFoundError:
            raise
        except OSError:  # a file system without links, or with no more for this file
            shutil.copyfile(path, self._work_directory / part_name)

    def _write_range(self, path: Path, first_row: int, end_row: int) -> None:
        """Write a part of these new rows."""
        begins, is_new, sources = self._row_moves.segments
        first_segment = max(int(np.searchsorted(begins, first_row, side="right")) - 1, 0)
        end_segment = int(np.searchsorted(begins, end_row))
        lows = np.maximum(begins[first_segment:end_segment], first_row)
        lengths = np.minimum(begins[first_segment + 1 : end_segment + 1], end_row) - lows
        starts = sources[first_segment:end_segment] + lows - begins[first_segment:end_segment]
        if end_segment - first_segment <= MAX_PART_RUNS:
            iterate_pieces = self._iterate_runs
        else:
            iterate_pieces = self._iterate_picked_rows
        rows = pa.Table.from_batches(
            iterate_pieces(is_new[first_segment:end_segment], starts, starts + lengths),
            schema=self._base_snapshot.schema,
        )
        write_ipc_file(path, rows.combine_chunks(), sync_to_disk=False)

    def _iterate_runs(self, is_new: npt.NDArray[np.bool_], starts: Rows, stops: Rows) -> Iterator[pa.RecordBatch]:
        """Yield runs of old rows and of rows that come."""
        base_reader = _SequentialReader(self._base_snapshot)  # maps of its own: what was read does not stay in memory
        for is_new_run, start, stop in zip(is_new.tolist(), starts.tolist(), stops.tolist(), strict=True):
            yield from [self._take_new_rows(start, stop)] if is_new_run else base_reader.iterate_range(start, stop)

    def _iterate_picked_rows(
        self, is_new: npt.NDArray[np.bool_], starts: Rows, stops: Rows
    ) -> Iterator[pa.RecordBatch]:
        """Yield the same, picked row by row out of a part's old rows and those that come.

        Quicker if the runs are many.
        """
        pieces: list[pa.RecordBatch] = []
        run_places = np.zeros(len(is_new), np.int64)  # of each run in what the pieces are together
        count = 0
        for wants_new in (False, True):
            is_selected = is_new == wants_new
            if is_selected.any():
                low = int(starts[is_selected][0])
                high = int(stops[is_selected][-1])
                pieces += (
                    [self._take_new_rows(low, high)]
                    if wants_new
                    else _SequentialReader(self._base_snapshot).iterate_range(low, high)
                )
                run_places[is_selected] = starts[is_selected] - low + count
                count += high - low
        lengths = stops - starts
        ends = np.cumsum(lengths)
        indices = np.repeat(run_places - (ends - lengths), lengths) + np.arange(int(ends[-1]))
        yield pa.concat_batches(pieces).take(pa.array(indices))

    def _take_new_rows(self, first_row: int, end_row: int) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays(
            self._new_rows.take_range(first_row, end_row).columns, schema=self._base_snapshot.schema
        )

    # --- indexes and statistics

    def _build_manifest(self) -> SnapshotManifest:
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
        if base.manifest.primary != tuple(table.primary):
            check_primary_key(table, stored)  # else only the new keys could be there twice, and they are not
        keys = tuple(
            merge_key_index(base, stored, moves, self._new_rows, column, number)
            for number, column in enumerate(list_indexed_columns(table))
        )
        regions = tuple(
            merge_region_index(base, stored, moves, self._new_rows, column, number)
            for number, column in enumerate(list_region_columns(table))
        )
        changed = base.manifest.revised + len(moves.removed_rows) + len(moves.insertion_places)
        if (
            changed * MIN_ROWS_PER_CHANGE > moves.new_row_count
        ):  # the numbers of distinct values are too much of a guess
            for batch in stored.batches:
                self._statistics.add_rows(pa.Table.from_batches([batch]))
            statistics = self._statistics.build_statistics()
            changed = 0
        else:
            removed_table = pa.Table.from_batches(
                _SequentialReader(base).iterate_rows(moves.removed_rows), schema=base.schema
            )
            come = pa.Table.from_batches([self._new_rows.take_range(0, len(moves.insertion_places))])
            statistics = update_statistics(
                table,
                base.manifest.statistics,
                compute_statistics(table, removed_table),
                compute_statistics(table, come),
                (base.rows, removed_table.num_rows, come.num_rows),
                lambda name: (batch.column(name) for batch in stored.batches),
            )
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
            order=find_order_column(table),
            revised=changed,
        )


class _SequentialReader:
    """The rows of a snapshot, read from front to back.

    Each part is mapped when it is needed, and let go of after that.
    """

    def __init__(self, stored: OpenSnapshot) -> None:
        self._stored = stored
        self._part_ends = np.cumsum([rows for _, rows, _ in stored.manifest.parts], dtype=np.int64)
        self._part_number = -1
        self._batches: list[pa.RecordBatch] = []
        self._starts = np.zeros(1, np.int64)

    def iterate_range(self, first_row: int, end_row: int) -> Iterator[pa.RecordBatch]:
        """Yield some rows."""
        while first_row < end_row:
            number = int(np.searchsorted(self._part_ends, first_row, side="right"))
            if number != self._part_number:
                self._open_part(number)
            batch_number = int(np.searchsorted(self._starts, first_row, side="right")) - 1
            stop = min(end_row, int(self._starts[batch_number + 1]))
            yield self._batches[batch_number].slice(first_row - int(self._starts[batch_number]), stop - first_row)
            first_row = stop

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
        name, rows, _ = self._stored.manifest.parts[part_number]
        self._part_number, self._batches = part_number, map_part_batches(self._stored.path / name)
        self._starts = np.cumsum([self._part_ends[part_number] - rows, *(batch.num_rows for batch in self._batches)])


def _compute_merged_coverage(base_snapshot: OpenSnapshot, stored: OpenSnapshot) -> str:
    """Return the coverage: that of the base if no cell came or went, for writing one takes time."""
    base_coverage = base_snapshot.manifest.coverage
    if base_coverage is not None:
        coverage_cells = compute_coverage_cells(base_snapshot.cell_indexes)
        (cells, order), (new_cells, new_order) = (
            coverage_cells,
            compute_coverage_cells(stored.cell_indexes),
        )
        if order == new_order and np.array_equal(cells, new_cells):
            return base_coverage
    return compute_coverage_moc(stored.cell_indexes)


def _split_into_parts(first_row: int, row_count: int, max_part_rows: int) -> list[tuple[int | None, int, int]]:
    """Cut new rows into parts of about `max_part_rows` rows."""
    if row_count:
        pieces = max(1, round(row_count / max_part_rows))
    else:
        pieces = 0
    if pieces:
        ends = [first_row + row_count * number // pieces for number in range(pieces + 1)]
    else:
        ends = []
    return [(None, low, high) for low, high in itertools.pairwise(ends)]


def _check_mergeable(table: Table, base_snapshot: OpenSnapshot) -> None:
    """Check that changes can be merged into a snapshot.

    Raises
    ------
    UnmergeableSnapshotError
        The table has no primary key, or other columns or another order than the snapshot.
    """
    if not table.primary:
        message = (
            f"{table.qualified_name} has no primary key: its rows cannot be told apart, so nothing can be merged "
            f"into it"
        )
        raise UnmergeableSnapshotError(message, remedy="name a primary key, or ingest the table anew")
    if [(field.name, field.type) for field in base_snapshot.schema] != [
        (field.name, field.type) for field in table.arrow_schema
    ]:
        message = (
            f"{table.qualified_name} has other columns than its snapshot {base_snapshot.path.name}: nothing can be "
            f"merged into that"
        )
        raise UnmergeableSnapshotError(message, remedy="ingest the table anew")
    if base_snapshot.manifest.position != table.position or (
        table.position is None and not _has_same_order(table, base_snapshot)
    ):
        message = (
            f"{table.qualified_name} has its rows in another order than its snapshot {base_snapshot.path.name}: "
            f"nothing can be merged into that"
        )
        raise UnmergeableSnapshotError(message, remedy="ingest the table anew")


def _has_same_order(table: Table, base_snapshot: OpenSnapshot) -> bool:
    """Return whether a snapshot without positions has the order that the table wants.

    An older one does not say it, so its rows are looked at.
    """
    if base_snapshot.manifest.order is not None:
        return base_snapshot.manifest.order == find_order_column(table)
    compute_keys = build_sort_key_function(table)
    last_key = np.iinfo(np.int64).min
    for batch in base_snapshot.batches if compute_keys is not None else ():
        if compute_keys is not None:
            sort_keys = compute_keys(pa.Table.from_batches([batch.select([find_order_column(table)])]))
        else:
            sort_keys = np.empty(0, np.int64)
        if len(sort_keys) and (sort_keys[0] < last_key or (sort_keys[1:] < sort_keys[:-1]).any()):
            return False
        if len(sort_keys):
            last_key = sort_keys[-1]
    return True
