"""Writing a snapshot: rows are spooled, put in the order of their cells, divided among partitions, written as Parquet, and described by a manifest.

Batches gather up to `RUN` bytes; a full run is sorted and spooled. `finish` counts how many rows lie in which pixels, reads each partition from
every run (all mapped), sorts it and writes it. The directory is a HATS catalogue, which other programs open.
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
from hven.engines._disk import LOCK, checksum, disk, sync, text_checksum
from hven.engines._orders import gathered, order_column
from hven.engines._rows import LAST, stable_order
from hven.engines._spool import FileStaging, SortedRows
from hven.engines._statistics import Statistics, covered, distinct_cells, written
from hven.engines.hats.adopting import adopted
from hven.engines.hats.keys import Keys
from hven.engines.hats.manifest import NAME, File, Groups, Head, indexed, shares, write
from hven.formats import End, votable
from hven.formats import Head as Described
from hven.formats import hats_layout as layout
from hven.model.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from hven.engines.hats.reading import Reader
    from hven.model.table import Table

    Rows = npt.NDArray[np.int64]

MOST_BYTES = 1024**3  # of a partition in memory: about 512 MB as a file
WRITERS = 2  # threads that put partitions in order and write them
READERS = ".readers"  # is locked, shared, by those who read: who drops the snapshot leaves it until they are done
FOOTERS = 100_000  # row groups beyond which the footer of all files is not written: nobody could read it
LEAST, MOST = np.iinfo(np.int64).min, LAST


@dataclass(frozen=True, slots=True)
class Part:
    """A file to be written: its name, its pixel (-1: none), and from which key on to before which its rows have."""

    path: str
    order: int
    pixel: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Done:
    """A file that was written, or is another snapshot's, too; its rows, or their keys alone; their cells."""

    file: File
    footer: Any
    rows: pa.Table
    cells: Rows | None = None


class CatalogueStaging(FileStaging):
    """A snapshot that is being written (`hven.engines.Staging`)."""

    def __init__(
        self,
        table: Table,
        snapshot: str,
        final: Path,
        relative: str,
        seal: Callable[[CatalogueStaging], None],
        reader: Reader,
    ) -> None:
        self._reader = reader
        if layout.CELL in {column.name for column in table.columns} and table.position is not None:
            message = f"{table.qualified}: the name {layout.CELL} is that of the cells of HATS"
            raise StorageError(message, remedy="name the column otherwise, or leave it out: its values are made anew")
        super().__init__(table, snapshot, final, relative, seal)
        self._stored = layout.stored(self._schema) if table.position is not None else self._schema
        with disk("staging", final):
            (self._work / READERS).touch()

    def finish(self) -> Snapshot:
        """Order, write, describe, make durable; see `hven.engines.Staging.finish`."""
        self._open()
        with self._guard():
            head, groups = self._written()
            found = self._settle(head, groups)
        self._end()
        return found

    def adopt(self, directory: str, columns: Mapping[str, str] | None = None) -> Snapshot:
        """Make the snapshot of a catalogue of others, whose files stay where they are, instead of writing rows; see `hven.engines.Adopts`.

        Raises
        ------
        SourceError
            It is none, or is not what it says; the staging is abandoned.
        """
        self._open()
        with self._guard():
            found = self._settle(*adopted(self.table, directory, self._reader, columns))
        self._end()
        return found

    def _unordered(self, table: pa.Table) -> SortedRows:
        return SortedRows(table=table, keys=np.full(table.num_rows, LAST))

    # --- files -----------------------------------------------------------------------------------------------

    def _parts(self) -> list[Part]:
        """Divide the rows that were written among files."""
        most = self._rows_of_file(self._size / max(self._rows, 1))
        keys = [run.keys[: np.searchsorted(run.keys, LAST)] for run in self._runs]
        return pixels(layout.divided(layout.counting(*keys), most)) if self.table.position else ranges(keys, most)

    @staticmethod
    def _rows_of_file(size: float) -> int:
        """Return how many rows of so many bytes a file has at most."""
        return int(np.clip(MOST_BYTES / max(size, 1.0), layout.GROUP_ROWS, layout.MOST_ROWS))

    def _written(self) -> tuple[Head, pa.Table]:
        self._gather()
        statistics = Statistics(self.table)
        head, groups = self._described(abreast(self._writers()), statistics)
        self._clear()
        return replace(head, statistics=statistics.result()), groups

    def _gather(self) -> None:
        """Sort what waits yet."""
        if self._runs and self._waiting:
            self._spill()
        elif not self._runs:
            self._runs.append(self._sorted_run())

    def _writers(self) -> Iterator[Callable[[], list[Done]]]:
        """Yield what writes the files, in the order of their rows; those without a key come last, as they came."""
        for part in self._parts():
            yield lambda part=part: [self._write_rows(part, *self._between(part.low, part.high))]  # type: ignore[misc]
        for number, rows in enumerate(self._unplaced()):
            part = Part(f"unplaced/part-{number:05d}.parquet", -1, -1, LAST, LAST)
            yield lambda part=part, rows=rows: [self._write_rows(part, rows, None)]  # type: ignore[misc]

    def _between(self, low: int, high: int) -> tuple[pa.Table, Rows]:
        """Return the rows of all runs with keys from `low` to before `high`, in order."""
        pieces, found = [], []
        for run in self._runs:
            begin, end = (int(np.searchsorted(run.keys, key)) for key in (low, high))
            if end > begin:
                pieces.append(run.table.slice(begin, end - begin))
                found.append(np.asarray(run.keys[begin:end]))
        keys = np.concatenate(found) if found else np.empty(0, np.int64)
        if len(pieces) == 1:
            return pieces[0], keys
        order = stable_order(keys)
        rows = pa.concat_tables(pieces) if pieces else self._schema.empty_table()
        return pa.Table.from_arrays(gathered(rows.columns, order), schema=self._schema), keys[order]

    def _unplaced(self) -> Iterator[pa.Table]:
        rest = [run.table.slice(int(np.searchsorted(run.keys, LAST))) for run in self._runs]
        rows = pa.concat_tables(rest)
        step = self._rows_of_file(self._size / max(self._rows, 1))
        for begin in range(0, rows.num_rows, step):
            yield rows.slice(begin, step)

    def _write_rows(self, part: Part, rows: pa.Table, keys: Rows | None) -> Done:
        """Write one file."""
        stored = rows
        if self.table.position is not None:
            cells = pa.nulls(rows.num_rows, pa.int64()) if keys is None else pa.array(keys)
            stored = pa.Table.from_arrays([cells, *rows.columns], schema=self._stored)
        path = self._work / part.path
        path.parent.mkdir(parents=True, exist_ok=True)
        footers: list[Any] = []
        with pq.ParquetWriter(path, self._stored, metadata_collector=footers, **layout.writing(stored)) as writer:
            writer.write_table(stored, row_group_size=layout.GROUP_ROWS)
        size, found = checksum(path)
        low, high = (int(keys[0]), int(keys[-1])) if keys is not None and len(keys) else (part.low, part.high)
        file = File(part.path, rows.num_rows, size, part.order, part.pixel, low, high, found)
        return Done(file, footers[0], rows, keys if self.table.position is not None else None)

    # --- what is known of them ---------------------------------------------------------------------------------

    def _described(self, done: Iterable[Done], statistics: Statistics | None) -> tuple[Head, pa.Table]:
        """Gather what the manifest says of files."""
        names = indexed(self.table)
        groups = Groups(pa.schema([self._schema.field(name) for name in names]))
        cell = layout.CELL if self.table.position is not None else None
        files: list[File] = []
        footers: list[Any] = []
        keys = Keys(self.table, self._work)
        sky = Sky()
        begin = 0
        for one in done:
            pixel = layout.cells_of(one.file.order, one.file.pixel) if one.file.pixel >= 0 else None
            groups.add(len(files), one.footer, cell, pixel)
            if statistics is not None:
                statistics.add(one.rows)
            keys.add(one.rows, begin)
            if one.cells is not None:
                sky.add(one.cells)
            begin += one.footer.num_row_groups
            files.append(one.file)
            one.footer.set_file_path(one.file.path.removeprefix(f"{layout.DATASET}/"))
            footers.append(one.footer)
        table = groups.table()
        index = keys.finish(table, files)
        self._catalogue(files, footers, sky)
        head = Head(
            rows=sum(file.rows for file in files),
            files=tuple(files),
            schema=self._schema.serialize().to_pybytes().hex(),
            position=self.table.position,
            order=order_column(self.table),
            cell=cell or "",
            shares=shares(footers[:20]),
            primary=tuple(self.table.primary),
            index=index,
            coverage=sky.coverage() if self.table.position is not None else None,
        )
        return head, table

    def _catalogue(self, files: list[File], footers: list[Any], sky: Sky) -> None:
        """Write the files by which other programs know a catalogue."""
        if self.table.position is None:
            return
        placed = [(file, footer) for file, footer in zip(files, footers, strict=True) if file.pixel >= 0]
        pixels_ = [(file.order, file.pixel) for file, _ in placed]
        texts = {
            layout.PARTITIONS: layout.write_partitions(pixels_),
            layout.COMMON: layout.common_metadata(self._stored, described(self.table)),
            layout.SKYMAP: layout.skymap(sky.counts),
        }
        said = layout.write_properties(
            self.table.qualified,
            rows=sum(file.rows for file, _ in placed),
            position=self.table.position,
            order=max((order for order, _ in pixels_), default=0),
            sky=sum(1 / (12 << 2 * order) for order, _ in pixels_),
            size=sum(file.bytes for file, _ in placed),
            made=datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        )
        texts |= {layout.PROPERTIES: said, layout.PROPERTIES_TOO: said}
        for name, text in texts.items():
            (self._work / name).parent.mkdir(exist_ok=True)
            (self._work / name).write_bytes(text)
        if placed and sum(footer.num_row_groups for _, footer in placed) <= FOOTERS:
            pq.write_metadata(self._stored, self._work / layout.METADATA, [footer for _, footer in placed])

    def _settle(self, head: Head, groups: pa.Table) -> Snapshot:
        """Make every file durable, then the names: after this the snapshot survives a power cut."""
        text = write(self._work / NAME, head, groups)
        size = 0
        for folder, _, names in os.walk(self._work, topdown=False):
            for name in names:
                path = os.path.join(folder, name)  # noqa: PTH118  (of many files)
                if name not in {LOCK, READERS}:
                    facts = os.stat(path)  # noqa: PTH116
                    size += facts.st_size
                    if facts.st_mode & 0o200:
                        os.chmod(path, 0o444)  # noqa: PTH101
                        sync(self._work / path)
            sync(self._work / folder)
        self._work.rename(self.final)
        sync(self.final.parent)
        return Snapshot(
            id=self.snapshot,
            table=self.table.qualified,
            path=self._relative,
            rows=head.rows,
            bytes=size,
            parts=tuple((file.path, file.rows) for file in head.files),
            statistics=head.statistics,
            coverage=head.coverage,
            engine="hats",
            checksum=text_checksum(text),
        )


def described(table: Table) -> bytes:
    """Write what the columns mean, as a VOTable without rows, which other programs read in the catalogue's metadata."""
    return votable.metadata(Described(columns=table.columns, frames=table.frames, name=table.name), End()).encode()


class Sky:
    """Where rows are: how many in each pixel of the map, and the cells of the coverage."""

    def __init__(self) -> None:
        self.counts = np.zeros(12 << 2 * layout.SKYMAP_ORDER, np.int64)
        self._cells: list[Rows] = []

    def add(self, cells: Rows) -> None:
        """Add sorted cells of order 29, behind those that were added."""
        shift = 2 * (29 - layout.SKYMAP_ORDER)
        here = distinct_cells(cells, layout.SKYMAP_ORDER)
        self.counts[here] += np.diff(np.append(cells.searchsorted(here << shift), len(cells)))
        self._cells.append(distinct_cells(cells, 8) << 42)  # the finest order of a coverage

    def coverage(self) -> str:
        """Return the coverage as an ASCII MOC."""
        return written(*covered(np.unique(np.concatenate([np.empty(0, np.int64), *self._cells]))))


def pixels(found: Iterable[tuple[int, int, int]]) -> list[Part]:
    """Name the partitions of pixels."""
    return [Part(layout.partition_path(order, pixel), order, pixel, *layout.cells_of(order, pixel)) for order, pixel, _ in found]  # fmt: skip


def ranges(keys: list[Rows], most: int, number: int = 0) -> list[Part]:
    """Cut rows without a position by their keys; rows of one key stay together."""
    every = np.sort(np.concatenate([np.empty(0, np.int64), *keys]))
    if not len(every):
        return []
    cuts = np.unique(every[::most])
    ends = [*cuts[1:].tolist(), int(every[-1]) + 1]
    return [
        Part(f"{layout.DATASET}/part-{number + place:05d}.parquet", -1, -1, low, high)
        for place, (low, high) in enumerate(zip(cuts.tolist(), ends, strict=True))
    ]


def abreast(jobs: Iterable[Callable[[], list[Done]]]) -> Iterator[Done]:
    """Run jobs in threads, a few ahead, and yield what they give in their order."""
    waiting: deque[Any] = deque()
    with ThreadPoolExecutor(max_workers=WRITERS, thread_name_prefix="hats-writer") as pool:
        try:
            for job in jobs:
                waiting.append(pool.submit(job))
                if len(waiting) > WRITERS:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()
