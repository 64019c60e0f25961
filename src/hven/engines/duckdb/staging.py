"""Writing a snapshot: spool, order, index, make durable. Memory stays flat whatever the number of rows.

Batches gather up to `RUN` bytes; a full run is sorted by its key (HEALPix index, or first column of a numeric primary key)
and spooled. `finish` splits the keys' range into slices of about `PART` bytes, reads each slice from every run (all mapped),
sorts it and writes it as a part. A table that fits into one run is never spooled; one without a key keeps the order in
which it came.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.engines import Snapshot
from hven.engines._disk import LOCK, checksum, sync, text_checksum
from hven.engines._orders import gathered, order_column
from hven.engines._regions import region_columns
from hven.engines._rows import LAST, stable_order
from hven.engines._spool import FileStaging, SortedRows, write_ipc
from hven.engines._statistics import Statistics, coverage
from hven.engines.duckdb.indexing import build_key, build_regions, check_primary, wanted_keys
from hven.engines.duckdb.layout import MANIFEST, POSITION, Manifest, Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from hven.model.table import Table

    Keys = npt.NDArray[np.int64]

# snapshots share the parts that no change touched: the smaller, the more; smaller ones cost queries time
PART = 32 * 1024**2
PART_MOST = 160 * 1024**2
PART_LEAST = 10_000  # rows
PARTS = 64  # of a table that is large: then parts grow, for every one is a file and a map
PART_ROWS = 2_000_000
LONG = 16_384  # rows of a batch that may be written as it came


class DiskStaging(FileStaging):
    """A snapshot that is being written (`hven.engines.Staging`)."""

    def __init__(
        self, table: Table, snapshot: str, final: Path, relative: str, seal: Callable[[DiskStaging], None]
    ) -> None:
        super().__init__(table, snapshot, final, relative, seal)
        self._parts: list[tuple[str, int, int]] = []
        self._shared: set[str] = set()  # files that are another snapshot's, too: they are durable already
        self._known: dict[str, tuple[int, str]] = {}  # and their checksums: those of when they were written
        self._statistics = Statistics(table)
        if self._ordering is None:
            self._most = PART

    def finish(self) -> Snapshot:
        """Order, index, make durable; see `hven.engines.Staging.finish`."""
        self._open()
        with self._guard():
            self._order()
            manifest = self._index()
            checksum = self._settle(manifest)
        self._end()
        size = sum(item.stat().st_size for item in self.final.iterdir())
        return Snapshot(
            id=self.snapshot,
            table=self.table.qualified,
            path=self._relative,
            rows=manifest.rows,
            bytes=size,
            parts=tuple((name, rows) for name, rows, _ in manifest.parts),
            statistics=manifest.statistics,
            coverage=manifest.coverage,
            checksum=checksum,
        )

    # --- runs ------------------------------------------------------------------------------------------------

    def _unordered(self, table: pa.Table) -> SortedRows:
        return SortedRows(table=_evened(table), keys=np.empty(0, np.int64))

    def _spill(self) -> None:
        if self._ordering is None:  # the order is that of arrival: a run is a part
            self._write_part(self._sorted_run().table)
        else:
            super()._spill()

    def _order(self) -> None:
        """Write all parts and the position index."""
        sink = PositionFile(self._work / POSITION) if self.table.position else None
        if not self._runs:
            run = self._sorted_run()
            step = self._rows_per_part(run.table)
            for begin in range(0, max(run.table.num_rows, 1), step):
                if begin == 0 and self._ordering is None and self._parts and not run.table.num_rows:
                    break  # everything was written on the way
                self._write_part(run.table.slice(begin, step))
            if sink is not None:
                sink.add(run.keys)
        else:
            if self._waiting:
                self._spill()
            for table, keys in _merge(self._runs, self._rows_per_part(self._runs[0].table)):
                self._write_part(table)
                if sink is not None:
                    sink.add(keys)
            self._clear()
        self._positioned = sink.close() if sink is not None else 0

    def _rows_per_part(self, table: pa.Table) -> int:
        if not table.num_rows:
            return PART_ROWS
        return rows_per_part(self._rows, table.nbytes / table.num_rows)

    def _write_part(self, table: pa.Table) -> None:
        name = f"{len(self._parts):05d}.arrow"
        path = self._work / name
        self._statistics.add(table)
        write_ipc(path, table, durable=False)
        self._parts.append((name, table.num_rows, path.stat().st_size))
        pa.default_memory_pool().release_unused()

    # --- indexes ---------------------------------------------------------------------------------------------

    def _index(self) -> Manifest:
        manifest = Manifest(
            rows=self._rows, parts=tuple(self._parts), position=self.table.position, positioned=self._positioned
        )
        (self._work / MANIFEST).write_text(manifest.to_json())
        stored = Stored(self._work)
        check_primary(self.table, stored)
        keys = tuple(build_key(stored, column, number) for number, column in enumerate(wanted_keys(self.table)))
        regions = tuple(
            build_regions(stored, column, number) for number, column in enumerate(region_columns(self.table))
        )
        cover = coverage(stored.healpix) if self.table.position else None
        return Manifest(
            rows=self._rows,
            parts=tuple(self._parts),
            position=self.table.position,
            positioned=self._positioned,
            keys=keys,
            regions=regions,
            statistics=self._statistics.result(),
            coverage=cover,
            primary=tuple(self.table.primary),
            order=order_column(self.table),
        )

    def _settle(self, manifest: Manifest) -> str:
        """Make every file durable, then the names: after this the snapshot survives a power cut. Return the manifest's checksum."""
        names = sorted(path.name for path in self._work.iterdir() if path.name not in {LOCK, MANIFEST})
        text = (
            replace(manifest, checksums={name: self._known.get(name) or checksum(self._work / name) for name in names})
            .to_json()
            .encode()
        )
        (self._work / MANIFEST).write_bytes(text)
        for path in self._work.iterdir():
            if path.name != LOCK and path.name not in self._shared:
                path.chmod(0o444)
                sync(path)
        sync(self._work)
        self._work.rename(self.final)
        sync(self.final.parent)
        return text_checksum(text)


def rows_per_part(rows: int, size: float) -> int:
    """Compute how many rows of `size` bytes each part of a table of so many rows has."""
    part = float(np.clip(rows * size / PARTS, PART, max(PART, PART_MOST)))
    return int(np.clip(part / max(size, 1), PART_LEAST, PART_ROWS))


def _evened(table: pa.Table) -> pa.Table:
    """Combine rows into few chunks; those that came in long batches stay as they are, without a copy."""
    few = table.num_columns == 0 or table.num_rows >= LONG * table.column(0).num_chunks
    return table if few else table.combine_chunks()


def _merge(runs: list[SortedRows], rows: int) -> Iterator[tuple[pa.Table, Keys]]:
    """Yield slices of about `rows` rows of all runs together, in order."""
    total = sum(len(run.keys) for run in runs)
    ends = [int(np.searchsorted(run.keys, LAST, side="left")) for run in runs]
    sample = np.sort(np.concatenate([run.keys[:end:256] for run, end in zip(runs, ends, strict=True)]))
    pieces = max(1, -(-total // rows))
    cuts = (
        np.unique(sample[np.linspace(0, len(sample), pieces + 1)[1:-1].astype(np.int64)])
        if len(sample)
        else np.empty(0, np.int64)
    )
    begins = [0] * len(runs)
    for cut in [*cuts.tolist(), LAST]:
        stops = [int(np.searchsorted(run.keys, cut, side="left")) for run in runs]
        tables = [run.table.slice(a, b - a) for run, a, b in zip(runs, begins, stops, strict=True)]
        keys = np.concatenate([run.keys[a:b] for run, a, b in zip(runs, begins, stops, strict=True)])
        begins = stops
        if len(keys):
            order = stable_order(keys)
            columns = pa.concat_tables(tables).columns
            yield pa.Table.from_arrays(gathered(columns, order), schema=tables[0].schema), keys[order]
    for run, end in zip(runs, ends, strict=True):  # rows without a key, as they came
        for begin in range(end, len(run.keys), rows):
            table = run.table.slice(begin, rows)
            yield table, np.full(table.num_rows, LAST, np.int64)


class PositionFile:
    """Writes ``position.npy`` piece by piece: a plain array of int64 whose length is known at the end."""

    _HEAD = 128

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._file.write(b" " * self._HEAD)
        self._count = 0

    def add(self, keys: Keys) -> None:
        """Add sorted keys; those that say "none" are left out."""
        keys = keys[: np.searchsorted(keys, LAST, side="left")]
        self._file.write(np.ascontiguousarray(keys).data)
        self._count += len(keys)

    def close(self) -> int:
        """Write the head; return the number of keys."""
        head = repr({"descr": "<i8", "fortran_order": False, "shape": (self._count,)})
        text = head + " " * (self._HEAD - 10 - 1 - len(head)) + "\n"
        self._file.seek(0)
        self._file.write(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("latin-1"))
        self._file.close()
        return self._count
