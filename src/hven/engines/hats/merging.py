"""A new snapshot out of an old one and its changes: partitions that no change touches are linked, the others are written anew.

Changes wait in memory or spooled, as in staging. `finish` looks up the rows that they replace by one pass over the key columns.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hven.engines._disk import fault
from hven.engines._matching import Wanted
from hven.engines._orders import gathered, order_column
from hven.engines._revising import found_in, revised
from hven.engines._rows import LAST, conform, refuse_nulls, stable_order
from hven.engines.hats.keys import refuse_repeated
from hven.engines.hats.staging import CatalogueStaging, Done, Part, abreast, pixels, ranges
from hven.formats import hats_layout as layout
from hven.model.errors import StorageError, Unmergeable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from hven.engines.hats.manifest import File, Head, Manifest
    from hven.engines.hats.reading import Reader
    from hven.model.table import Table

    Rows = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]


class CatalogueMerge(CatalogueStaging):
    """A staging that begins with the rows of another snapshot (`hven.engines.Staging`)."""

    def __init__(
        self,
        table: Table,
        snapshot: str,
        final: Path,
        relative: str,
        seal: Callable[[CatalogueStaging], None],
        reader: Reader,
        base: Manifest,
        gone: pa.Table | None,
    ) -> None:
        _refuse(table, base)
        self._base = base
        self._names = list(table.primary)
        kinds = pa.schema([table.arrow.field(name).with_nullable(True) for name in self._names])
        self._gone = kinds.empty_table() if gone is None else gone.select(self._names).cast(kinds)
        self._lost: list[pa.Table] = [table.arrow.empty_table()]
        super().__init__(table, snapshot, final, relative, seal, reader)

    def _written(self) -> tuple[Head, pa.Table]:
        self._gather()
        come = pa.concat_tables([run.table for run in self._runs])
        keys = come.select(self._names)
        refuse_nulls(self.table, sum(column.null_count for column in keys.columns))
        if Wanted(keys, self._names).repeated:
            refuse_repeated(self.table, keys)
        wanted = Wanted(pa.concat_tables([keys.cast(self._gone.schema), self._gone]), self._names)
        head, groups = self._described(abreast(self._jobs(wanted)), None)
        old, gone = self._base.head, pa.concat_tables(self._lost)
        facts = revised(
            self.table,
            old.statistics,
            found_in(self.table, gone),
            found_in(self.table, come),
            (old.rows, gone.num_rows, come.num_rows),
            lambda name: self._look(head, name),
        )
        self._clear()
        return replace(head, statistics=facts, revised=old.revised + gone.num_rows + come.num_rows), groups

    def _look(self, head: Head, name: str) -> Iterator[pa.ChunkedArray]:
        """Yield a column of the new snapshot."""
        for file in head.files:
            yield self._rows_of(str(self._work / file.path), [name]).column(0)

    def _rows_of(self, path: str, names: Sequence[str]) -> pa.Table:
        schema = pa.schema([self._stored.field(name) for name in names])
        rows = self._reader.read(path, range(pq.read_metadata(path).num_row_groups), names)
        return pa.Table.from_batches([conform(batch, schema) for batch in rows.to_batches()], schema)

    # --- files -----------------------------------------------------------------------------------------------

    def _jobs(self, wanted: Wanted) -> Iterator[Callable[[], list[Done]]]:
        """Yield what makes the new files, in the order of their rows."""
        base = self._base.head
        come, keys = self._between(np.iinfo(np.int64).min, LAST)
        placed = [file for file in base.files if file.low < LAST and file.rows]
        taken = np.zeros(len(keys), bool)
        jobs: list[tuple[int, Callable[[], list[Done]]]] = []
        for file, (low, high) in zip(placed, self._bounds(placed), strict=True):
            begin, end = np.searchsorted(keys, [low, high]).tolist()
            taken[begin:end] = True
            jobs.append((low, partial(self._remade, file, wanted, come.slice(begin, end - begin), keys[begin:end])))
        outside = np.flatnonzero(~taken)
        if len(outside):
            kept = [layout.cells_of(file.order, file.pixel) for file in placed] if self.table.position else []
            for part in self._divided(keys[outside], self._rows_of_file(_size(come)), None, kept):
                begin, end = np.searchsorted(keys, [part.low, part.high]).tolist()
                rows = come.slice(begin, end - begin)
                jobs.append((part.low, lambda part=part, rows=rows, at=(begin, end): [self._write_rows(part, rows, keys[slice(*at)])]))  # type: ignore[misc]  # fmt: skip
        yield from (job for _, job in sorted(jobs, key=lambda one: one[0]))
        for file in base.files:
            if file.low >= LAST:
                yield partial(self._remade, file, wanted, self._schema.empty_table(), np.empty(0, np.int64))
        number = 1 + max([int(file.path[-13:-8]) for file in base.files if file.low >= LAST], default=-1)
        for place, rows in enumerate(self._unplaced()):
            part = Part(f"unplaced/part-{number + place:05d}.parquet", -1, -1, LAST, LAST)
            yield lambda part=part, rows=rows: [self._write_rows(part, rows, None)]  # type: ignore[misc]

    def _bounds(self, files: list[File]) -> list[tuple[int, int]]:
        """Return which keys belong to which file: those of its pixel, or up to the first of the next file."""
        if self.table.position is not None:
            return [layout.cells_of(file.order, file.pixel) for file in files]
        lows = [file.low for file in files]
        return list(zip([np.iinfo(np.int64).min, *lows[1:]], [*lows[1:], LAST], strict=True)) if lows else []

    def _remade(self, file: File, wanted: Wanted, come: pa.Table, keys: Rows) -> list[Done]:
        """Link a file, or write its rows that stay and those that come in its place."""
        path = self._base.place(file)
        gone = wanted.find(self._rows_of(path, self._names)) >= 0
        if not gone.any() and not come.num_rows:
            return [self._share(file, path)]
        # what is read to make something new of it must be what was written: new checksums would make damage look right for ever
        why = fault(self._base.directory / file.path, (file.bytes, file.checksum), {}, lambda _: None)
        if why is not None:
            raise StorageError(f"the file {path} of a catalogue is damaged: {why}", remedy="ingest the collection anew")
        old = self._rows_of(path, self._schema.names)
        if gone.any():
            self._lost.append(old.filter(pa.array(gone)))
            old = old.filter(pa.array(~gone))
        if file.low >= LAST:
            part = Part(file.path, -1, -1, LAST, LAST)
            return [self._write_rows(part, old, None)] if old.num_rows else []
        before = self._keys_of(path, old)[~gone] if self.table.position is not None else self._keys_of(path, old)
        every = np.concatenate([before, keys])
        order = stable_order(every)
        rows = pa.Table.from_arrays(gathered(pa.concat_tables([old, come]).columns, order), schema=self._schema)
        every = every[order]
        done = []
        for part in self._divided(every, self._rows_of_file(_size(rows)), file):
            begin, end = np.searchsorted(every, [part.low, part.high]).tolist()
            done.append(self._write_rows(part, rows.slice(begin, end - begin), every[begin:end]))
        return done

    def _keys_of(self, path: str, rows: pa.Table) -> Rows:
        """Return the sort keys of the rows of a file; cells are those that stand in it."""
        if self.table.position is not None:
            return np.asarray(self._rows_of(path, [layout.CELL]).column(0).combine_chunks()).astype(np.int64)
        if self._ordering is None:
            return np.full(rows.num_rows, LAST)
        return self._ordering(rows)

    def _divided(self, keys: Rows, most: int, file: File | None, kept: Sequence[tuple[int, int]] = ()) -> list[Part]:
        """Divide keys among files: within the pixel of a file, or outside of those that are kept."""
        if self.table.position is None:
            stem = f"{self.snapshot}-{'new' if file is None else file.path[-13:-8]}"
            return [
                replace(part, path=f"{layout.DATASET}/{stem}-{place:05d}.parquet")
                for place, part in enumerate(ranges([keys], most))
            ]
        begin = None if file is None else (file.order, file.pixel)
        return pixels(layout.divided(layout.counting(keys), most, begin=begin, kept=kept))

    def _share(self, file: File, path: str) -> Done:
        """Link, or copy, a file of the base into this snapshot."""
        target = self._work / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.hardlink_to(path)
        except FileNotFoundError:
            raise
        except OSError:  # a file system without links, or with no more for this file
            shutil.copyfile(path, target)
        keys = self._rows_of(path, self._names)
        cells = self._keys_of(path, keys) if self.table.position is not None and file.pixel >= 0 else None
        return Done(file, pq.read_metadata(path), keys, cells)


def _size(rows: pa.Table) -> float:
    return float(rows.nbytes / max(rows.num_rows, 1))


def _refuse(table: Table, base: Manifest) -> None:
    """Refuse what cannot be merged."""
    if not table.primary:
        raise Unmergeable(f"{table.qualified} has no primary key", remedy="stage all rows")
    if base.head.foreign:
        raise Unmergeable(f"{table.qualified}: the files of {base.head.foreign} are not ours", remedy="stage all rows")
    if not base.schema.equals(table.arrow):
        raise Unmergeable(f"{table.qualified}: the snapshot has other columns", remedy="stage all rows")
    if base.head.position != table.position or base.head.order != order_column(table):
        raise Unmergeable(f"{table.qualified}: the snapshot has another order", remedy="stage all rows")


__all__ = ["CatalogueMerge"]
