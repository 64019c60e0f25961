"""A new snapshot out of an old one and its changes: see `hven.engines.Engine.merge`.

Changes wait in memory, or spooled. `finish` looks up the rows they replace (by one pass over the key columns), finds the place of each in the
stored order, and makes the new parts: those that no change touches are the old snapshot's files (hard links), the others are put together
from runs of old rows and the changes between them. Indexes, positions and statistics are the old ones with what changed.
"""

from __future__ import annotations

import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.engines._matching import Wanted, pages
from hven.engines._orders import order_column, ordering
from hven.engines._regions import region_columns
from hven.engines._revising import found_in, revised
from hven.engines._rows import LAST, refuse_nulls
from hven.engines._spool import write_ipc
from hven.engines._statistics import coverage, covered
from hven.engines.duckdb.checking import refuse_damaged
from hven.engines.duckdb.indexing import check_primary, refuse_repeated, wanted_keys
from hven.engines.duckdb.layout import MANIFEST, Held, Manifest, Stored, part_batches
from hven.engines.duckdb.reindexing import SHARE, merge_key, merge_positions, merge_regions
from hven.engines.duckdb.renumbering import Moves
from hven.engines.duckdb.staging import DiskStaging, rows_per_part
from hven.model.errors import Unmergeable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from hven.model.table import Table

    Rows = npt.NDArray[np.int64]

PAGE = 1_000_000  # rows whose keys are looked up at a time, at least
MANY = 400  # runs of rows in a part: beyond, rows are picked one by one
THREADS = 2  # that put parts together


@dataclass(frozen=True, slots=True)
class Fresh:
    """The rows that come: where they wait, and their order."""

    rows: Held
    order: Rows

    @property
    def size(self) -> float:
        """Bytes of a row."""
        return float(sum(batch.nbytes for batch in self.rows.batches) / max(self.rows.rows, 1))

    def column(self, name: str) -> pa.Array:
        """Return one of their columns, in order."""
        return self.rows.projection((name,)).take_any(self.order).column(0)

    def take(self, begin: int, end: int) -> pa.RecordBatch:
        """Return some of them, in order."""
        return self.rows.projection(tuple(self.rows.schema.names)).take_any(self.order[begin:end])


class DiskMerge(DiskStaging):
    """A staging that begins with the rows of another snapshot (`hven.engines.Staging`)."""

    def __init__(
        self,
        table: Table,
        snapshot: str,
        final: Path,
        relative: str,
        seal: Callable[[DiskStaging], None],
        base: Stored,
        gone: pa.Table | None,
    ) -> None:
        _refuse(table, base)
        self._base = base
        self._names = list(table.primary)
        kinds = pa.schema([table.arrow.field(name).with_nullable(True) for name in self._names])
        self._gone = kinds.empty_table() if gone is None else gone.select(self._names).cast(kinds)
        self._spooled: list[pa.RecordBatch] = []
        super().__init__(table, snapshot, final, relative, seal)

    def _spill(self) -> None:
        """Spill what waits to the disk, as it came."""
        path = self._work / f"run-{len(self._spooled):04d}.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, self._schema) as writer:
            writer.write_batch(self._gathered())
        self._spooled.append(pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0))
        pa.default_memory_pool().release_unused()

    def _gathered(self) -> pa.RecordBatch:
        batch = pa.concat_batches(self._waiting)
        self._waiting, self._bytes = [], 0
        return batch

    def abandon(self) -> None:
        """Remove everything written; see `hven.engines.Staging.abandon`."""
        self._spooled = []
        super().abandon()

    # --- the pieces of `finish`

    def _order(self) -> None:
        """Write all parts and the position index."""
        if self._waiting:
            self._spooled.append(self._gathered())
        changes = pa.Table.from_batches(self._spooled, schema=self._schema)
        self._spooled = []
        replaced, gone = self._look_up(changes)
        order, places, keys = self._places(changes, replaced)
        self._fresh = Fresh(Held(changes), order)
        self._moves = moves = Moves(self._base.rows, gone, places)
        self._rows = moves.rows
        if self.table.position is not None:
            self._positioned = merge_positions(self._base, self._work, moves, keys[: np.searchsorted(keys, LAST)])
        else:
            self._positioned = 0
        self._write_parts()

    def _look_up(self, changes: pa.Table) -> tuple[Rows, Rows]:
        """Return for each change the old row that it replaces (-1: none), and all old rows that go, ascending."""
        keys = changes.select(self._names)
        refuse_nulls(self.table, sum(column.null_count for column in keys.columns))
        wanted = Wanted(keys, self._names)
        if wanted.repeated:
            refuse_repeated(self.table, keys)
        wanted = Wanted(pa.concat_tables([keys.cast(self._gone.schema), self._gone]), self._names)
        replaced, gone, begin = np.full(changes.num_rows, -1, np.int64), [np.empty(0, np.int64)], 0
        for page in pages((batch.select(self._names) for batch in self._base.batches), max(PAGE, wanted.rows)):
            found = wanted.find(page)
            rows = np.flatnonzero(found >= 0)
            which = found[rows]
            gone.append(rows + begin)
            replaced[which[which < len(replaced)]] = gone[-1][which < len(replaced)]
            begin += page.num_rows
        return replaced, np.concatenate(gone)

    def _places(self, changes: pa.Table, replaced: Rows) -> tuple[Rows, Rows, Rows]:
        """Find where the changes belong.

        Returns
        -------
        order
            The order that they get.
        places
            Number of the old row before which each comes, in that order. What replaces a row of the same sort key is where that row was; else
            it is behind the rows of its key.
        keys
            Their sort keys, in that order.
        """
        old = np.flatnonzero(replaced >= 0)
        places = np.full(changes.num_rows, self._base.rows)
        if self._ordering is None or not changes.num_rows:
            keys = np.zeros(changes.num_rows, np.int64)
            places[old] = replaced[old]
        else:
            keys = self._ordering(changes)
            given = keys < LAST
            places[given] = self._place(keys[given])
            same = old[self._keys_at(replaced[old]) == keys[old]]
            places[same] = replaced[same]
        order = np.lexsort((keys, places))
        return order, places[order], keys[order]

    def _place(self, keys: Rows) -> Rows:
        """Count the old rows whose sort key is not greater, for each of many keys."""
        base = self._base
        if self.table.position is not None:
            return np.searchsorted(base.healpix, keys, side="right")
        first = np.concatenate([self._batch_keys(batch.slice(0, 1)) for batch in base.batches])
        which = np.searchsorted(first, keys, side="right") - 1
        found = np.zeros(len(keys), np.int64)
        for number in np.unique(which[which >= 0]).tolist():
            here = which == number
            found[here] = base.starts[number] + np.searchsorted(
                self._batch_keys(base.batches[number]), keys[here], side="right"
            )
        return found

    def _batch_keys(self, batch: pa.RecordBatch) -> Rows:
        if self._ordering is None:
            raise TypeError(f"{self.table.qualified} has no order")
        return self._ordering(pa.Table.from_batches([batch]))

    def _keys_at(self, rows: Rows) -> Rows:
        """Return the sort keys of old rows, by number."""
        if self.table.position is None:
            return self._batch_keys(self._base.projection((order_column(self.table),)).take_any(rows))
        cells = self._base.healpix
        if not len(cells):
            return np.full(len(rows), LAST)
        return np.where(rows < len(cells), cells[np.minimum(rows, len(cells) - 1)], LAST)

    # --- parts

    def _write_parts(self) -> None:
        """Share the parts that stay as they are, write the others."""
        plan = self._plan()
        shared = {self._base.manifest.parts[number][0] for number, _, _ in plan if number is not None}
        # what is read to make something new of it must be what was written: new checksums would make damage look right for ever
        refuse_damaged(
            self._base.path, self._base.manifest, [name for name in self._base.manifest.checksums if name not in shared]
        )
        names = [f"{number:05d}.arrow" for number in range(len(plan))]
        writing = []
        with ThreadPoolExecutor(max_workers=THREADS) as pool:
            for name, (number, begin, end) in zip(names, plan, strict=True):
                if number is None:
                    writing.append(pool.submit(self._write_range, self._work / name, begin, end))
                else:
                    self._share(self._base.path / self._base.manifest.parts[number][0], name)
            for done in writing:
                done.result()
        self._parts = [
            (name, end - begin, (self._work / name).stat().st_size)
            for name, (_, begin, end) in zip(names, plan, strict=True)
        ]
        pa.default_memory_pool().release_unused()

    def _plan(self) -> list[tuple[int | None, int, int]]:
        """Plan for each new part which old one it is (None: it is written), and which new rows it has: begin and end.

        Old parts side by side that are touched are cut anew.
        """
        base, moves = self._base, self._moves
        parts = [part for part in base.manifest.parts if part[1]]
        numbers = [number for number, part in enumerate(base.manifest.parts) if part[1]]
        ends = np.cumsum([part[1] for part in parts], dtype=np.int64)
        touched = np.zeros(len(parts), bool)
        homes = (
            [
                np.minimum(np.searchsorted(ends, rows, side="right"), len(parts) - 1)
                for rows in (moves.gone, moves.places)
            ]
            if parts
            else []
        )
        for home in homes:
            touched[home] = True
        # rows that come before the first row of a part belong to it, those after the last one to the last part
        counts = np.array([part[1] for part in parts], np.int64)
        if homes:
            counts += np.bincount(homes[1], minlength=len(parts)) - np.bincount(homes[0], minlength=len(parts))
        size = sum(part[2] for part in parts) / base.rows if base.rows else self._fresh.size
        most = rows_per_part(moves.rows, size)
        plan: list[tuple[int | None, int, int]] = []
        begin = at = 0
        while at < len(parts):
            if not touched[at]:
                plan.append((numbers[at], begin, begin + int(counts[at])))
                begin, at = plan[-1][2], at + 1
                continue
            stop = at
            while stop < len(parts) and touched[stop]:
                stop += 1
            rows = int(counts[at:stop].sum())
            plan += _cut(begin, rows, most)
            begin, at = begin + rows, stop
        if not parts:
            plan += _cut(0, moves.rows, most)
        return plan or [(None, 0, 0)]

    def _share(self, path: Path, name: str) -> None:
        """Link, or copy, a part of the base into this snapshot."""
        if (known := self._base.manifest.checksums.get(path.name)) is not None:
            self._known[name] = known
        try:
            (self._work / name).hardlink_to(path)
            self._shared.add(name)
        except FileNotFoundError:
            raise
        except OSError:  # a file system without links, or with no more for this file
            shutil.copyfile(path, self._work / name)

    def _write_range(self, path: Path, begin: int, end: int) -> None:
        """Write a part of these new rows."""
        begins, fresh, sources = self._moves.segments
        first, last = max(int(np.searchsorted(begins, begin, side="right")) - 1, 0), int(np.searchsorted(begins, end))
        lows = np.maximum(begins[first:last], begin)
        lengths = np.minimum(begins[first + 1 : last + 1], end) - lows
        starts = sources[first:last] + lows - begins[first:last]
        pieces = self._runs_of if last - first <= MANY else self._picked
        rows = pa.Table.from_batches(pieces(fresh[first:last], starts, starts + lengths), schema=self._base.schema)
        write_ipc(path, rows.combine_chunks(), durable=False)

    def _runs_of(self, fresh: npt.NDArray[np.bool_], starts: Rows, stops: Rows) -> Iterator[pa.RecordBatch]:
        """Yield runs of old rows and of rows that come."""
        old = _Run(self._base)  # maps of its own: what was read does not stay in memory
        for new, start, stop in zip(fresh.tolist(), starts.tolist(), stops.tolist(), strict=True):
            yield from [self._come(start, stop)] if new else old.span(start, stop)

    def _picked(self, fresh: npt.NDArray[np.bool_], starts: Rows, stops: Rows) -> Iterator[pa.RecordBatch]:
        """Yield the same, picked row by row out of a part's old rows and those that come: quicker if the runs are many."""
        pieces: list[pa.RecordBatch] = []
        place = np.zeros(len(fresh), np.int64)  # of each run in what the pieces are together
        count = 0
        for new in (False, True):
            some = fresh == new
            if some.any():
                low, high = int(starts[some][0]), int(stops[some][-1])
                pieces += [self._come(low, high)] if new else _Run(self._base).span(low, high)
                place[some] = starts[some] - low + count
                count += high - low
        lengths = stops - starts
        ends = np.cumsum(lengths)
        indices = np.repeat(place - (ends - lengths), lengths) + np.arange(int(ends[-1]))
        yield pa.concat_batches(pieces).take(pa.array(indices))

    def _come(self, begin: int, end: int) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays(self._fresh.take(begin, end).columns, schema=self._base.schema)

    # --- indexes and statistics

    def _index(self) -> Manifest:
        base, moves, table = self._base, self._moves, self.table
        manifest = Manifest(
            rows=self._rows, parts=tuple(self._parts), position=table.position, positioned=self._positioned
        )
        (self._work / MANIFEST).write_text(manifest.to_json())
        stored = Stored(self._work)
        if base.manifest.primary != tuple(table.primary):
            check_primary(table, stored)  # else only the new keys could be there twice, and they are not
        keys = tuple(
            merge_key(base, stored, moves, self._fresh, column, number)
            for number, column in enumerate(wanted_keys(table))
        )
        regions = tuple(
            merge_regions(base, stored, moves, self._fresh, column, number)
            for number, column in enumerate(region_columns(table))
        )
        changed = base.manifest.revised + len(moves.gone) + len(moves.places)
        if changed * SHARE > moves.rows:  # the numbers of distinct values are too much of a guess
            for batch in stored.batches:
                self._statistics.add(pa.Table.from_batches([batch]))
            statistics, changed = self._statistics.result(), 0
        else:
            gone = pa.Table.from_batches(_Run(base).take(moves.gone), schema=base.schema)
            come = pa.Table.from_batches([self._fresh.take(0, len(moves.places))])
            statistics = revised(
                table,
                base.manifest.statistics,
                found_in(table, gone),
                found_in(table, come),
                (base.rows, gone.num_rows, come.num_rows),
                lambda name: (batch.column(name) for batch in stored.batches),
            )
        del self._fresh
        for path in self._work.glob("run-*"):
            path.unlink()
        return Manifest(
            rows=self._rows,
            parts=tuple(self._parts),
            position=table.position,
            positioned=self._positioned,
            keys=keys,
            regions=regions,
            statistics=statistics,
            coverage=_coverage(base, stored) if table.position else None,
            primary=tuple(table.primary),
            order=order_column(table),
            revised=changed,
        )


class _Run:
    """The rows of a snapshot, read from front to back: each part is mapped when it is needed, and let go of after that."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self._ends = np.cumsum([rows for _, rows, _ in stored.manifest.parts], dtype=np.int64)
        self._number = -1
        self._batches: list[pa.RecordBatch] = []
        self._starts = np.zeros(1, np.int64)

    def span(self, begin: int, end: int) -> Iterator[pa.RecordBatch]:
        """Yield some rows."""
        while begin < end:
            number = int(np.searchsorted(self._ends, begin, side="right"))
            if number != self._number:
                self._open(number)
            at = int(np.searchsorted(self._starts, begin, side="right")) - 1
            stop = min(end, int(self._starts[at + 1]))
            yield self._batches[at].slice(begin - int(self._starts[at]), stop - begin)
            begin = stop

    def take(self, rows: Rows) -> Iterator[pa.RecordBatch]:
        """Yield copies of rows, by ascending number."""
        at = 0
        while at < len(rows):
            number = int(np.searchsorted(self._ends, rows[at], side="right"))
            self._open(number)
            for begin, batch in zip(self._starts.tolist(), self._batches, strict=False):
                stop = int(np.searchsorted(rows, begin + batch.num_rows))
                if stop > at:
                    yield batch.take(pa.array(rows[at:stop] - begin))
                at = stop

    def _open(self, number: int) -> None:
        name, rows, _ = self._stored.manifest.parts[number]
        self._number, self._batches = number, part_batches(self._stored.path / name)
        self._starts = np.cumsum([self._ends[number] - rows, *(batch.num_rows for batch in self._batches)])


def _coverage(base: Stored, stored: Stored) -> str:
    """Return the coverage: that of the base if no cell came or went, for writing one takes time."""
    known = base.manifest.coverage
    if known is not None:
        (cells, order), (others, other) = covered(base.healpix), covered(stored.healpix)
        if order == other and np.array_equal(cells, others):
            return known
    return coverage(stored.healpix)


def _cut(begin: int, rows: int, most: int) -> list[tuple[int | None, int, int]]:
    """Cut new rows into parts of about `most` rows."""
    pieces = max(1, round(rows / most)) if rows else 0
    ends = [begin + rows * number // pieces for number in range(pieces + 1)] if pieces else []
    return [(None, low, high) for low, high in itertools.pairwise(ends)]


def _refuse(table: Table, base: Stored) -> None:
    """Check that changes can be merged into a snapshot.

    Raises
    ------
    Unmergeable
        The table has no primary key, or other columns or another order than the snapshot.
    """
    if not table.primary:
        message = (
            f"{table.qualified} has no primary key: its rows cannot be told apart, so nothing can be merged into it"
        )
        raise Unmergeable(message, remedy="name a primary key, or ingest the table anew")
    if [(item.name, item.type) for item in base.schema] != [(item.name, item.type) for item in table.arrow]:
        message = (
            f"{table.qualified} has other columns than its snapshot {base.path.name}: nothing can be merged into that"
        )
        raise Unmergeable(message, remedy="ingest the table anew")
    if base.manifest.position != table.position or (table.position is None and not _same_order(table, base)):
        message = f"{table.qualified} has its rows in another order than its snapshot {base.path.name}: nothing can be merged into that"
        raise Unmergeable(message, remedy="ingest the table anew")


def _same_order(table: Table, base: Stored) -> bool:
    """Return whether a snapshot without positions has the order that the table wants; an older one does not say it, so its rows are looked at."""
    if base.manifest.order is not None:
        return base.manifest.order == order_column(table)
    keys, last = ordering(table), np.iinfo(np.int64).min
    for batch in base.batches if keys is not None else ():
        found = (
            keys(pa.Table.from_batches([batch.select([order_column(table)])]))
            if keys is not None
            else np.empty(0, np.int64)
        )
        if len(found) and (found[0] < last or (found[1:] < found[:-1]).any()):
            return False
        last = found[-1] if len(found) else last
    return True
