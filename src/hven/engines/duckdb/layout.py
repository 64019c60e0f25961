"""Snapshots on disk: the names and the reading of part files and indexes, all memory-mapped and opened when first needed.

A snapshot is a directory: ``00000.arrow`` ... (parts: uncompressed Arrow IPC files, in stored order), ``position.npy``
(HEALPix index of order 29 of every row that has a position, ascending; those rows come first), one or two files for each
indexed column, and ``snapshot.json`` (what is where; see `Manifest`). Nothing in it changes once it is published.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa

from hven.engines._disk import refuse_passing, resized
from hven.engines.duckdb.keys import KeyIndex
from hven.engines.duckdb.regions import RegionIndex
from hven.model import Cache
from hven.model.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]

MANIFEST = "snapshot.json"
POSITION = "position.npy"
ROW = "hven:row"  # a column that tables have on demand: the number of each row
VERSION = 1
LOOK = 0.25  # seconds between two looks at the sizes of files that are read
_PROJECTIONS = 256  # sets of columns that are remembered
# rows that follow each other in a sample: equal values stand together, and many stretches must meet each of them
_STRETCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFiles:
    """Where the index of one column is.

    Attributes
    ----------
    values
        Sorted values (``.npy``), None for text: it is read through `rows`.
    rows
        Row numbers in the order of the values, None if the stored order is the order of the values.
    count
        Rows that have a value; the others are not in the index.
    """

    column: str
    count: int
    values: str | None = None
    rows: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionFiles:
    """Where the position index of a column of shapes is.

    Attributes
    ----------
    cells
        Ascending numbers of the cells that shapes may touch, of all orders (``.npy``; see `regions`).
    rows
        The row whose shape each of them is of.
    count
        How many they are.
    caps
        A circle around the shape of each row; older snapshots have none.
    """

    column: str
    count: int
    cells: str
    rows: str
    caps: str | None = None

    @classmethod
    def numbered(cls, column: str, count: int, number: int) -> RegionFiles:
        """Name the files of the index of one column among several."""
        cells, rows, caps = (f"region{number:03d}.{part}.npy" for part in ("cells", "rows", "caps"))
        return cls(column=column, count=count, cells=cells, rows=rows, caps=caps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is in a snapshot's directory.

    Attributes
    ----------
    parts
        File name, rows and bytes of each part, in order.
    position
        Names of longitude and latitude if there is a position index, and how many rows are in it.
    primary
        The primary key that was found to be unique; None in snapshots of older versions.
    order
        Column whose order the rows have, if it is not that of their positions; empty if they are as they came, None in snapshots of older versions.
    revised
        Rows that were changed since the numbers of distinct values were estimated from all rows (see `merging`).
    checksums
        Size and checksum (XXH3, 128 bits) of every other file; empty in snapshots of older versions.
    """

    rows: int
    parts: tuple[tuple[str, int, int], ...]
    position: tuple[str, str] | None = None
    positioned: int = 0
    keys: tuple[KeyFiles, ...] = ()
    regions: tuple[RegionFiles, ...] = ()
    version: int = VERSION
    statistics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    coverage: str | None = None
    primary: tuple[str, ...] | None = None
    order: str | None = None
    revised: int = 0
    checksums: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each file, as far as they were written down: of older snapshots those of the parts."""
        return {name: size for name, _, size in self.parts} | {name: size for name, (size, _) in self.checksums.items()}

    def to_json(self) -> str:
        """Write it as JSON."""
        return json.dumps(asdict(self), indent=1, default=str)

    @staticmethod
    def read(path: Path) -> Manifest:
        """Read ``snapshot.json``.

        Raises
        ------
        StorageError
            Missing, damaged, or written by a newer version.
        """
        try:
            data = json.loads(path.read_text())
            if data["version"] > VERSION:
                message = f"{path} was written by a newer Hven"
                raise StorageError(message, remedy="upgrade Hven, or ingest the collection anew")
            return Manifest(
                rows=data["rows"],
                parts=tuple((name, rows, size) for name, rows, size in data["parts"]),
                position=tuple(data["position"]) if data["position"] else None,
                positioned=data["positioned"],
                keys=tuple(KeyFiles(**item) for item in data["keys"]),
                regions=tuple(RegionFiles(**item) for item in data.get("regions", ())),  # older snapshots have none
                statistics=data["statistics"],
                coverage=data["coverage"],
                primary=tuple(data["primary"]) if data.get("primary") is not None else None,
                order=data.get("order"),
                revised=data.get("revised", 0),
                checksums={name: (size, found) for name, (size, found) in data.get("checksums", {}).items()},
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            refuse_passing(path, error)
            message = f"the snapshot in {path.parent} cannot be read: {path.name}: {error}"
            raise StorageError(
                message, remedy="ingest the collection anew, or roll back to an older snapshot"
            ) from error


def damaged(path: Path, why: object) -> StorageError:
    """Make the error for a file of a snapshot that is not what it was when it was written."""
    message = f"the snapshot file {path} cannot be read: {why}"
    return StorageError(message, remedy="ingest the collection anew, or roll back to an older snapshot")


def part_batches(path: Path) -> list[pa.RecordBatch]:
    """Map a part."""
    try:
        # a map that is opened by Arrow keeps itself alive as long as any buffer of it is used
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        return [reader.get_batch(number) for number in range(reader.num_record_batches)]
    except (OSError, pa.ArrowException) as error:
        refuse_passing(path, error)
        raise damaged(path, error) from error


class Stored:
    """An open snapshot. Immutable and shared by threads; opening costs the reading of the manifest, the rest is lazy."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = Manifest.read(path / MANIFEST)
        self._lock = threading.RLock()
        self._keys: dict[str, KeyIndex] = {}
        self._regions: dict[str, RegionIndex] = {}
        self._projections: dict[tuple[str, ...], Projection] = {}
        self._tables: dict[tuple[str, ...], pa.Table] = {}
        self._samples: dict[tuple[int, str], pa.Array] = {}
        self._sizes = self.manifest.sizes
        self._looked = time.monotonic()
        for name, size in self._sizes.items():
            self._check(path / name, size)

    @staticmethod
    def _check(path: Path, size: int) -> None:
        try:
            why = resized(path, size)
        except OSError as error:
            refuse_passing(path, error)
            raise damaged(path, error.strerror) from error
        if why is not None:
            raise damaged(path, why)

    def look(self) -> None:
        """Check now and then that no file was cut off: whoever reads behind its end by a map is killed. What is removed, or not to be looked at any more, stays mapped.

        Raises
        ------
        StorageError
            A file has another size.
        """
        moment = time.monotonic()
        if moment - self._looked > LOOK:
            for name, size in self._sizes.items():
                with suppress(OSError):
                    if (why := resized(self.path / name, size)) is not None:
                        raise damaged(self.path / name, why)
            self._looked = moment

    @property
    def rows(self) -> int:
        """How many there are."""
        return self.manifest.rows

    @cached_property
    def batches(self) -> tuple[pa.RecordBatch, ...]:
        """All record batches, in stored order, mapped and not read."""
        with self._lock:
            found: list[pa.RecordBatch] = []
            for name, rows, _ in self.manifest.parts:
                path = self.path / name
                part = part_batches(path)
                if sum(batch.num_rows for batch in part) != rows:
                    raise damaged(path, f"it should have {rows:,} rows")
                found += part
            return tuple(found)

    @cached_property
    def files(self) -> dict[tuple[int, int], str]:
        """The parts as files of the system (device, inode), which other snapshots may share."""
        found = {}
        for name, _, _ in self.manifest.parts:
            status = (self.path / name).stat()
            found[status.st_dev, status.st_ino] = name
        return found

    def read(self, without: AbstractSet[tuple[int, int]], columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of all parts but some."""
        for file, name in self.files.items():
            if file not in without:
                for batch in part_batches(self.path / name):
                    if batch.num_rows:
                        yield batch if columns is None else batch.select(list(columns))

    @cached_property
    def starts(self) -> Rows:
        """Number of the first row of each batch, and the number of rows at the end."""
        return _starts(self.batches)

    @cached_property
    def schema(self) -> pa.Schema:
        """The stored columns."""
        return self.batches[0].schema

    @cached_property
    def table(self) -> pa.Table:
        """All rows, for DuckDB: no copy, no reading ahead."""
        return pa.Table.from_batches(self.batches)

    @cached_property
    def nearest(self) -> Cache[Any]:
        """The rows of cadences that were asked for (see `nearest`)."""
        return Cache(16 * 1024**2)

    def having(self, columns: tuple[str, ...] | None) -> pa.Table:
        """Return some columns of all rows, one at least; the same table each time, as long as it is not forgotten among many."""
        if columns is not None and ROW in columns:
            rows = pa.array(np.arange(self.rows))
            return self.having(tuple(name for name in columns if name != ROW)).append_column(ROW, rows)
        if columns is None or len(columns) == len(self.schema):
            return self.table
        found = self._tables.get(columns)
        if found is None:
            found = self.table.select(list(columns or (self._narrowest,)))
            if len(self._tables) >= _PROJECTIONS:
                self._tables.clear()
            self._tables[columns] = found
        return found

    def sample(self, rows: int, columns: Collection[str]) -> pa.Table:
        """Return about so many rows of some columns, in short stretches from all over. All rows, if there are no more."""
        if rows >= self.rows:
            return self.table
        names = tuple(name for name in self.schema.names if name in columns) or (self._narrowest,)
        size = min(_STRETCH, rows)
        starts = np.linspace(0, self.rows - size, max(rows // size, 1)).astype(np.int64)
        for name in names:
            if (rows, name) not in self._samples:  # copied together: thousands of short pieces are slow to read
                column = self.table.column(name)
                pieces = [chunk for at in starts for chunk in column.slice(int(at), size).chunks]
                self._samples[rows, name] = pa.concat_arrays(pieces)
        return pa.table(
            {name: self._samples[rows, name] for name in names},
            schema=pa.schema([self.schema.field(name) for name in names]),
        )

    @cached_property
    def _narrowest(self) -> str:
        """The column whose rows are counted where none is read."""
        narrowest: pa.Field = min(
            self.schema, key=lambda item: item.type.bit_width if pa.types.is_primitive(item.type) else 10_000
        )
        return str(narrowest.name)

    @cached_property
    def healpix(self) -> Rows:
        """HEALPix indexes (order 29) of the rows that have a position; index i is row i."""
        return load(self.path / POSITION)

    def key(self, column: str) -> KeyIndex | None:
        """Return the index of a column, None if there is none."""
        found = self._keys.get(column)
        if found is not None:
            return found
        for files in self.manifest.keys:
            if files.column == column:
                values = load(self.path / files.values) if files.values else None
                rows = load(self.path / files.rows) if files.rows else None
                number = self.schema.get_field_index(column)
                index = KeyIndex(
                    kind=self.schema.field(number).type,
                    count=files.count,
                    values=values,
                    rows=rows,
                    text=partial(self.value, column=number),
                    texts=lambda rows: self.projection((column,)).take_any(rows).column(0),
                )
                self._keys[column] = index
                return index
        return None

    def region(self, column: str) -> RegionIndex | None:
        """Return the position index of a column of shapes, None if there is none."""
        found = self._regions.get(column)
        if found is None:
            for files in self.manifest.regions:
                if files.column == column:
                    found = self._regions[column] = RegionIndex.of(
                        load(self.path / files.cells),
                        load(self.path / files.rows),
                        None if files.caps is None else load(self.path / files.caps),
                    )
        return found

    def value(self, row: int, column: int) -> Any:
        """Return one value as a Python object."""
        if len(self.batches) == 1:
            return self.batches[0].column(column)[row].as_py()
        at = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.batches[at].column(column)[row - int(self.starts[at])].as_py()

    def projection(self, columns: tuple[str, ...]) -> Projection:
        """Return these columns, in this order, for reading by row number."""
        return _projection(self, self._projections, columns)


class Held:
    """Rows in memory (TAP_SCHEMA, uploads), read by row number as those of a snapshot are."""

    __slots__ = ("_projections", "batches", "rows", "schema", "starts")

    def __init__(self, table: pa.Table) -> None:
        self.schema = table.schema
        self.rows = table.num_rows
        self.batches = tuple(table.to_batches())
        self.starts = _starts(self.batches)
        self._projections: dict[tuple[str, ...], Projection] = {}

    def projection(self, columns: tuple[str, ...]) -> Projection:
        """Return these columns, in this order, for reading by row number."""
        return _projection(self, self._projections, columns)


Readable: TypeAlias = Stored | Held
"""What can be read by row number."""


def _starts(batches: Sequence[pa.RecordBatch]) -> Rows:
    return np.array([0, *accumulate(batch.num_rows for batch in batches)], np.int64)


def _projection(of: Readable, known: dict[tuple[str, ...], Projection], columns: tuple[str, ...]) -> Projection:
    found = known.get(columns)
    if found is None:
        found = Projection(of, columns)
        if len(known) >= _PROJECTIONS:
            known.clear()
        known[columns] = found
    return found


class Projection:
    """Some columns by row number. Record batches are cut down to the columns when first needed."""

    def __init__(self, stored: Readable, columns: tuple[str, ...]) -> None:
        self._whole, self._starts = stored.batches, stored.starts  # not what is read itself, which keeps this
        self._numbers = [stored.schema.get_field_index(name) for name in columns]
        self.schema = pa.schema([stored.schema.field(number).with_nullable(True) for number in self._numbers])
        self._batches: dict[int, pa.RecordBatch] = {}

    def batch(self, number: int) -> pa.RecordBatch:
        """Return one stored batch."""
        found = self._batches.get(number)
        if found is None:
            whole = self._whole[number]
            found = pa.RecordBatch.from_arrays([whole.column(at) for at in self._numbers], schema=self.schema)
            self._batches[number] = found
        return found

    def span(self, begin: int, end: int) -> Iterator[pa.RecordBatch]:
        """Yield rows begin..end without copying: one piece for each stored batch they touch."""
        starts = self._starts
        number = int(starts.searchsorted(begin, side="right")) - 1
        while begin < end:
            base, stop = int(starts[number]), min(end, int(starts[number + 1]))
            if stop > begin:
                yield self.batch(number).slice(begin - base, stop - begin)
            begin = stop
            number += 1

    def take(self, rows: Rows) -> pa.RecordBatch:
        """Copy rows by ascending number."""
        if not len(rows):
            return pa.RecordBatch.from_arrays([pa.array([], item.type) for item in self.schema], schema=self.schema)
        starts = self._starts
        number = int(starts.searchsorted(rows[0], side="right")) - 1
        if rows[-1] < starts[number + 1]:
            return self.batch(number).take(pa.array(rows - starts[number]))
        cuts = rows.searchsorted(starts)
        return pa.concat_batches(
            [
                self.batch(at).take(pa.array(rows[cuts[at] : cuts[at + 1]] - starts[at]))
                for at in np.flatnonzero(cuts[1:] > cuts[:-1]).tolist()
            ]
        )

    def take_any(self, rows: Rows) -> pa.RecordBatch:
        """Copy rows by number, in the order given."""
        order = np.argsort(rows, kind="stable")
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return self.take(rows[order]).take(pa.array(back))


def load(path: Path) -> npt.NDArray[Any]:
    """Map an array, read-only."""
    try:
        found: npt.NDArray[Any] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise damaged(path, error) from error
    # a plain array over the map: numpy's memmap class makes every slice several times slower
    return np.asarray(found)
