"""Read snapshots on disk: part files and indexes, all memory-mapped and opened when they are first needed.

A snapshot is a directory. ``00000.arrow`` ... are the parts: uncompressed Arrow IPC files, in stored order.
``position.npy`` has the HEALPix index of order 29 of every row that has a position, ascending; those rows come first.
Each indexed column has one or two files. ``snapshot.json`` describes all of them; see `SnapshotManifest`. Nothing in a
snapshot changes once it is published.
"""

from __future__ import annotations

import json
import math
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines._query_analysis.constants import parse_timestamp_microseconds
from hven.engines._snapshot_files import find_size_fault, raise_if_transient_read_error
from hven.engines.duckdb.region_index import RegionIndex
from hven.model import LruCache
from hven.model.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]

MANIFEST_FILE_NAME = "snapshot.json"
POSITION_FILE_NAME = "position.npy"
ROW_NUMBER_COLUMN = "hven:row"  # a column that a table gets on demand: the number of each row
MANIFEST_VERSION = 1
SIZE_CHECK_INTERVAL_SECONDS = 0.25  # time between two checks of the sizes of files that are read
MIN_ROWS_PER_CANDIDATE = 5  # candidates are used if they are less than one row in five ..
MIN_CANDIDATE_LIMIT = 10_000  # .. or fewer than this
_MAX_EXACT_INTEGER = 2**53  # larger integers are not exact as doubles, and engines compare some of them as doubles
_MAX_CACHED_PROJECTIONS = 256  # sets of columns that are cached
# consecutive rows in a sample; equal values are neighbours, so a sample needs many short stretches
_SAMPLE_STRETCH_ROWS = 64
_SAMPLE_CHUNK_ROWS = 122_880  # as many as a row group of DuckDB


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyIndexFiles:
    """The files of the index of one column.

    Attributes
    ----------
    values
        Sorted values (``.npy``); None for text, which is read through `rows`.
    rows
        Row numbers in the order of the values; None if the stored order is the order of the values.
    count
        Number of rows that have a value; the others are not in the index.
    """

    column: str
    count: int
    values: str | None = None
    rows: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionIndexFiles:
    """The files of the position index of a column of shapes.

    Attributes
    ----------
    cells
        Ascending numbers of the cells that shapes may touch, of all orders (``.npy``; see `region_index`).
    rows
        For each cell, the row of its shape.
    count
        Number of cells.
    caps
        A circle around the shape of each row; older snapshots have none.
    """

    column: str
    count: int
    cells: str
    rows: str
    caps: str | None = None

    @classmethod
    def from_index_number(cls, column_name: str, cell_count: int, index_number: int) -> RegionIndexFiles:
        """Return the files of the index with this number."""
        prefix = f"region{index_number:03d}"
        return cls(
            column=column_name,
            count=cell_count,
            cells=f"{prefix}.cells.npy",
            rows=f"{prefix}.rows.npy",
            caps=f"{prefix}.caps.npy",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotManifest:
    """The contents of a snapshot's directory.

    Attributes
    ----------
    parts
        File name, rows and bytes of each part, in order.
    position
        Names of longitude and latitude if there is a position index, and how many rows are in it.
    primary
        The primary key that was found to be unique; None in snapshots of older versions.
    order
        Column whose order the rows have, if it is not the order of their positions; empty if rows are in the order in
        which they came; None in snapshots of older versions.
    revised
        Number of rows that were changed since the numbers of distinct values were estimated from all rows (see
        `snapshot_merging`).
    checksums
        Size and checksum (XXH3, 128 bits) of every other file; empty in snapshots of older versions.
    """

    rows: int
    parts: tuple[tuple[str, int, int], ...]
    position: tuple[str, str] | None = None
    positioned: int = 0
    keys: tuple[KeyIndexFiles, ...] = ()
    regions: tuple[RegionIndexFiles, ...] = ()
    version: int = MANIFEST_VERSION
    statistics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    coverage: str | None = None
    primary: tuple[str, ...] | None = None
    order: str | None = None
    revised: int = 0
    checksums: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    @property
    def file_sizes(self) -> dict[str, int]:
        """Bytes of each file, as far as they are known: in older snapshots, of the parts."""
        part_sizes = {name: size for name, _, size in self.parts}
        return part_sizes | {name: size for name, (size, _) in self.checksums.items()}

    def to_json(self) -> str:
        """Return the manifest as JSON."""
        return json.dumps(asdict(self), indent=1, default=str)

    @staticmethod
    def read_file(path: Path) -> SnapshotManifest:
        """Read ``snapshot.json``.

        Raises
        ------
        StorageError
            The file is missing, damaged, or written by a newer version.
        """
        try:
            data = json.loads(path.read_text())
            if data["version"] > MANIFEST_VERSION:
                message = f"{path} was written by a newer version of Hven"
                raise StorageError(message, remedy="upgrade Hven, or ingest the collection again")
            position = data["position"]
            primary = data.get("primary")
            checksums = data.get("checksums", {})
            return SnapshotManifest(
                rows=data["rows"],
                parts=tuple((name, rows, size) for name, rows, size in data["parts"]),
                position=tuple(position) if position else None,
                positioned=data["positioned"],
                keys=tuple(KeyIndexFiles(**item) for item in data["keys"]),
                regions=tuple(
                    RegionIndexFiles(**item) for item in data.get("regions", ())
                ),  # older snapshots have none
                statistics=data["statistics"],
                coverage=data["coverage"],
                primary=tuple(primary) if primary is not None else None,
                order=data.get("order"),
                revised=data.get("revised", 0),
                checksums={name: (size, file_checksum) for name, (size, file_checksum) in checksums.items()},
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise_if_transient_read_error(path, error)
            message = f"the snapshot in {path.parent} cannot be read: {path.name}: {error}"
            raise StorageError(
                message, remedy="ingest the collection again, or roll back to an older snapshot"
            ) from error


def build_damaged_file_error(path: Path, reason: object) -> StorageError:
    """Return the error for a file of a snapshot that is not as it was written."""
    message = f"the snapshot file {path} cannot be read: {reason}"
    return StorageError(message, remedy="ingest the collection again, or roll back to an older snapshot")


def map_part_batches_into_memory(path: Path) -> list[pa.RecordBatch]:
    """Map a part, and return its batches."""
    try:
        # a map that Arrow opens stays alive as long as any of its buffers is used
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        return [reader.get_batch(number) for number in range(reader.num_record_batches)]
    except (OSError, pa.ArrowException) as error:
        raise_if_transient_read_error(path, error)
        raise build_damaged_file_error(path, error) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyIndex:
    """The index of one column: its sorted values for binary search, and the row numbers in that order.

    Attributes
    ----------
    arrow_type
        Arrow type of the column.
    count
        Number of rows that have a value.
    values
        Sorted values, NaN last; timestamps as microseconds. None for text.
    rows
        Row numbers in the order of the values; None if row i has value i.
    get_text
        Returns the value of a row, for text.
    get_texts
        Returns the values of rows, for text.
    """

    arrow_type: pa.DataType
    count: int
    values: npt.NDArray[Any] | None
    rows: npt.NDArray[Any] | None
    get_text: Callable[[int], Any]
    get_texts: Callable[[Rows], pa.Array]

    def can_look_up(self, value: object) -> bool:
        """Return whether a literal can be looked up; if not, the index is of no use to the query."""
        if pa.types.is_string(self.arrow_type):
            return isinstance(value, str)
        if pa.types.is_timestamp(self.arrow_type):
            return parse_timestamp_microseconds(value) is not None
        if isinstance(value, float):
            return math.isfinite(value) and abs(value) < _MAX_EXACT_INTEGER
        return isinstance(value, int) and not isinstance(value, bool)

    def find_range(
        self, low: object, high: object, *, is_low_open: bool = False, is_high_open: bool = False
    ) -> tuple[int, int]:
        """Return the half-open range of places in the index with low <= value <= high; None = no bound.

        For float32 the range may hold values one rounding outside, because engines differ in how they compare such a
        number with a decimal literal; the reader of the rows must test the condition again.
        """
        if low is None:
            begin = 0
        else:
            begin = self._count_smaller(low, including_equal=is_low_open, rounding_direction=-1)
        if self.values is None and low is not None and low == high and not (is_low_open or is_high_open):
            return begin, self._find_end_of_equal_texts(str(low), begin)
        if high is None:
            end = self.count
        else:
            end = self._count_smaller(high, including_equal=not is_high_open, rounding_direction=1)
        return begin, max(begin, end)

    def list_row_numbers(self, begin: int, end: int) -> Rows:
        """Return the row numbers of a range of places, in the order of the values."""
        if self.rows is None:
            return np.arange(begin, end, dtype=np.int64)
        return self.rows[begin:end].astype(np.int64)

    def count_not_greater(self, values: pa.Array) -> Rows:
        """Count for each value (none is null) the entries that are not greater."""
        if self.values is not None:
            numbers = values
            if pa.types.is_timestamp(self.arrow_type):
                numbers = values.view(pa.int64())
            index_numbers = np.asarray(numbers).astype(self.values.dtype)
            return np.searchsorted(self.values, index_numbers, side="right").astype(np.int64)
        low = np.zeros(len(values), np.int64)
        high = np.full(len(values), self.count)
        while (is_open := low < high).any():
            midpoints = np.minimum((low + high) // 2, self.count - 1)
            rows = midpoints
            if self.rows is not None:
                rows = self.rows[midpoints].astype(np.int64)
            texts = self.get_texts(rows)
            is_not_greater = np.asarray(pc.less_equal(texts, values))
            low = np.where(is_open & is_not_greater, midpoints + 1, low)
            high = np.where(is_open & ~is_not_greater, midpoints, high)
        return low

    def _count_smaller(self, value: object, *, including_equal: bool, rounding_direction: int) -> int:
        """Count the values that are smaller than `value` or, with `including_equal`, not greater."""
        if self.values is None:
            return self._count_smaller_texts(str(value), including_equal=including_equal)
        if pa.types.is_timestamp(self.arrow_type):
            value = parse_timestamp_microseconds(value)
        if not isinstance(value, int | float):
            message = f"{value!r} cannot be looked up in an index of {self.arrow_type}"
            raise TypeError(message)
        number_type = self.values.dtype
        if number_type == np.float32:
            with np.errstate(over="ignore"):
                rounded_value = np.nextafter(np.float32(value), np.float32(math.inf * rounding_direction))
            return self._count_smaller_numbers(rounded_value, including_equal=rounding_direction > 0)
        if number_type.kind == "f":
            return self._count_smaller_numbers(np.float64(value), including_equal=including_equal)
        rounded_up = math.ceil(value)
        if rounded_up != value:
            including_equal = False  # no integer equals a number between two integers
        limits = np.iinfo(number_type)
        if rounded_up < limits.min:
            return 0
        if rounded_up > limits.max:
            return self.count
        return self._count_smaller_numbers(number_type.type(rounded_up), including_equal=including_equal)

    def _count_smaller_numbers(self, number: Any, *, including_equal: bool) -> int:
        assert self.values is not None  # noqa: S101  (_count_smaller has tested it)
        return int(np.searchsorted(self.values, number, side="right" if including_equal else "left"))

    def _find_end_of_equal_texts(self, value: str, first_place: int) -> int:
        """Return the end of the entries of a text, which begin at `first_place`; usually there is one entry."""
        step = 1
        while first_place + step <= self.count and self._get_text_at(first_place + step - 1) == value:
            step *= 2
        high = min(first_place + step, self.count)
        return self._count_smaller_texts(value, including_equal=True, low=first_place + step // 2, high=high)

    def _get_text_at(self, entry_number: int) -> str:
        row_number = entry_number
        if self.rows is not None:
            row_number = int(self.rows[entry_number])
        return str(self.get_text(row_number))

    def _count_smaller_texts(self, value: str, *, including_equal: bool, low: int = 0, high: int | None = None) -> int:
        # Python compares text by code point, which is the order of UTF-8 bytes, which is the stored order
        high = self.count if high is None else high
        while low < high:
            middle = (low + high) // 2
            text = self._get_text_at(middle)
            if text < value or (including_equal and text == value):
                low = middle + 1
            else:
                high = middle
        return low


class OpenSnapshot:
    """An open snapshot. Immutable and shared by threads.

    Opening it reads only the manifest; everything else is read on demand.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = SnapshotManifest.read_file(path / MANIFEST_FILE_NAME)
        self._lock = threading.RLock()
        self._key_indexes: dict[str, KeyIndex] = {}
        self._region_indexes: dict[str, RegionIndex] = {}
        self._projections: dict[tuple[str, ...], ColumnProjection] = {}
        self._column_tables: dict[tuple[str, ...], pa.Table] = {}
        self._samples: dict[tuple[int, str], pa.ChunkedArray] = {}
        self._file_sizes = self.manifest.file_sizes
        self._last_check_time = time.monotonic()
        for name, size in self._file_sizes.items():
            self._check_file_size(path / name, size)

    @staticmethod
    def _check_file_size(path: Path, size: int) -> None:
        try:
            size_fault = find_size_fault(path, size)
        except OSError as error:
            raise_if_transient_read_error(path, error)
            raise build_damaged_file_error(path, error.strerror) from error
        if size_fault is not None:
            raise build_damaged_file_error(path, size_fault)

    def check_file_sizes_if_due(self) -> None:
        """Check from time to time that no file was truncated: reading behind its end by a map kills the process.

        A file that was removed, or may not be inspected any more, stays mapped.

        Raises
        ------
        StorageError
            A file has another size.
        """
        now = time.monotonic()
        if now - self._last_check_time > SIZE_CHECK_INTERVAL_SECONDS:
            for name, size in self._file_sizes.items():
                with suppress(OSError):
                    size_fault = find_size_fault(self.path / name, size)
                    if size_fault is not None:
                        raise build_damaged_file_error(self.path / name, size_fault)
            self._last_check_time = now

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.manifest.rows

    @cached_property
    def max_candidate_rows(self) -> int:
        """Number of candidates above which reading every row is quicker."""
        row_count = self.manifest.rows
        return max(row_count // MIN_ROWS_PER_CANDIDATE, min(MIN_CANDIDATE_LIMIT, row_count))

    @cached_property
    def batches(self) -> tuple[pa.RecordBatch, ...]:
        """All record batches, in stored order, mapped and not read."""
        with self._lock:
            all_batches: list[pa.RecordBatch] = []
            for name, rows, _ in self.manifest.parts:
                path = self.path / name
                part = map_part_batches_into_memory(path)
                if sum(batch.num_rows for batch in part) != rows:
                    raise build_damaged_file_error(path, f"it does not have the expected {rows:,} rows")
                all_batches += part
            return tuple(all_batches)

    @cached_property
    def part_names_by_inode(self) -> dict[tuple[int, int], str]:
        """Names of the parts by their files in the file system (device, inode), which other snapshots may share."""
        names_by_file = {}
        for name, _, _ in self.manifest.parts:
            status = (self.path / name).stat()
            names_by_file[status.st_dev, status.st_ino] = name
        return names_by_file

    def read_batches(
        self, excluded_files: AbstractSet[tuple[int, int]], column_names: Sequence[str] | None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of all parts except those in the excluded files."""
        for file, name in self.part_names_by_inode.items():
            if file in excluded_files:
                continue
            for batch in map_part_batches_into_memory(self.path / name):
                if batch.num_rows:
                    yield batch if column_names is None else batch.select(list(column_names))

    @cached_property
    def starts(self) -> Rows:
        """Number of the first row of each batch, and the number of rows at the end."""
        return _compute_batch_starts(self.batches)

    @cached_property
    def schema(self) -> pa.Schema:
        """The stored columns."""
        return self.batches[0].schema

    @cached_property
    def table(self) -> pa.Table:
        """All rows as a table for DuckDB, which copies nothing and reads nothing ahead."""
        return pa.Table.from_batches(self.batches)

    @cached_property
    def nearest_rows_cache(self) -> LruCache[Any]:
        """The rows that `nearest_rows` found for the cadences of queries."""
        return LruCache(16 * 1024**2)

    def select_columns(self, column_names: tuple[str, ...] | None) -> pa.Table:
        """Return some columns of all rows; without names, at least one column.

        The result is the same table each time, as long as it is cached.
        """
        if column_names is not None and ROW_NUMBER_COLUMN in column_names:
            rows = pa.array(np.arange(self.rows))
            columns = self.select_columns(tuple(name for name in column_names if name != ROW_NUMBER_COLUMN))
            return columns.append_column(ROW_NUMBER_COLUMN, rows)
        if column_names is None or len(column_names) == len(self.schema):
            return self.table
        cached = self._column_tables.get(column_names)
        if cached is None:
            cached = self.table.select(list(column_names or (self._narrowest_column,)))
            if len(self._column_tables) >= _MAX_CACHED_PROJECTIONS:
                self._column_tables.clear()
            self._column_tables[column_names] = cached
        return cached

    def sample_rows(self, row_count: int, column_names: Collection[str]) -> pa.Table:
        """Return about `row_count` rows of some columns, in short stretches spread over the snapshot.

        Return all rows if there are no more.
        """
        if row_count >= self.rows:
            return self.table
        names = tuple(name for name in self.schema.names if name in column_names) or (self._narrowest_column,)
        schema = pa.schema([self.schema.field(name) for name in names])
        return pa.table({name: self._sample_column(row_count, name) for name in names}, schema=schema)

    def _sample_column(self, row_count: int, column_name: str) -> pa.ChunkedArray:
        sample = self._samples.get((row_count, column_name))
        if sample is None:
            stretch_rows = min(_SAMPLE_STRETCH_ROWS, row_count)
            stretch_count = max(row_count // stretch_rows, 1)
            begins = np.linspace(0, self.rows - stretch_rows, stretch_count).astype(np.int64)
            column = self.table.column(column_name)
            chunks = []
            # many stretches are copied together, because thousands of short pieces are slow to read; DuckDB's threads
            # share chunks among them
            for chunk_begins in np.array_split(begins, math.ceil(row_count / _SAMPLE_CHUNK_ROWS)):
                pieces = []
                for begin in chunk_begins.tolist():
                    pieces += column.slice(begin, stretch_rows).chunks
                chunks.append(pa.concat_arrays(pieces))
            sample = pa.chunked_array(chunks)
            self._samples[row_count, column_name] = sample
        return sample

    @cached_property
    def _narrowest_column(self) -> str:
        """The column whose rows are counted if a query reads none."""

        def count_bits(schema_field: pa.Field) -> int:
            if pa.types.is_primitive(schema_field.type):
                return int(schema_field.type.bit_width)
            return 10_000

        narrowest: pa.Field = min(self.schema, key=count_bits)
        return str(narrowest.name)

    @cached_property
    def cell_indexes(self) -> Rows:
        """HEALPix indexes (order 29) of the rows that have a position; index i is row i."""
        return map_array_file_into_memory(self.path / POSITION_FILE_NAME)

    def get_key_index(self, column_name: str) -> KeyIndex | None:
        """Return the index of a column, or None if there is none."""
        index = self._key_indexes.get(column_name)
        if index is not None:
            return index
        for files in self.manifest.keys:
            if files.column == column_name:
                column_number = self.schema.get_field_index(column_name)
                index = KeyIndex(
                    arrow_type=self.schema.field(column_number).type,
                    count=files.count,
                    values=map_array_file_into_memory(self.path / files.values) if files.values else None,
                    rows=map_array_file_into_memory(self.path / files.rows) if files.rows else None,
                    get_text=partial(self.get_value, column_number=column_number),
                    get_texts=lambda rows: self.get_projection((column_name,)).take_rows(rows).column(0),
                )
                self._key_indexes[column_name] = index
                return index
        return None

    def get_region_index(self, column_name: str) -> RegionIndex | None:
        """Return the position index of a column of shapes, or None if there is none."""
        index = self._region_indexes.get(column_name)
        if index is not None:
            return index
        for files in self.manifest.regions:
            if files.column == column_name:
                cells = map_array_file_into_memory(self.path / files.cells)
                rows = map_array_file_into_memory(self.path / files.rows)
                caps = None
                if files.caps is not None:
                    caps = map_array_file_into_memory(self.path / files.caps)
                index = RegionIndex.from_cells(cells, rows, caps)
                self._region_indexes[column_name] = index
        return index

    def get_value(self, row_number: int, column_number: int) -> Any:
        """Return one value as a Python object."""
        if len(self.batches) == 1:
            return self.batches[0].column(column_number)[row_number].as_py()
        batch_number = int(np.searchsorted(self.starts, row_number, side="right")) - 1
        row_in_batch = row_number - int(self.starts[batch_number])
        return self.batches[batch_number].column(column_number)[row_in_batch].as_py()

    def get_projection(self, column_names: tuple[str, ...]) -> ColumnProjection:
        """Return these columns, in this order, for reading by row number."""
        projection = self._projections.get(column_names)
        return projection or _cache_new_projection(self, self._projections, column_names)


class MemoryTableRows:
    """Rows in memory (TAP_SCHEMA, uploads), which are read by row number like those of a snapshot."""

    __slots__ = ("_projections", "batches", "rows", "schema", "starts")

    def __init__(self, table: pa.Table) -> None:
        self.schema = table.schema
        self.rows = table.num_rows
        self.batches = tuple(table.to_batches())
        self.starts = _compute_batch_starts(self.batches)
        self._projections: dict[tuple[str, ...], ColumnProjection] = {}

    def get_projection(self, column_names: tuple[str, ...]) -> ColumnProjection:
        """Return these columns, in this order, for reading by row number."""
        projection = self._projections.get(column_names)
        return projection or _cache_new_projection(self, self._projections, column_names)


OpenRows: TypeAlias = OpenSnapshot | MemoryTableRows
"""Rows that can be read by row number."""


def _compute_batch_starts(batches: Sequence[pa.RecordBatch]) -> Rows:
    return np.array([0, *accumulate(batch.num_rows for batch in batches)], np.int64)


def _cache_new_projection(
    readable: OpenRows, cached_projections: dict[tuple[str, ...], ColumnProjection], column_names: tuple[str, ...]
) -> ColumnProjection:
    projection = ColumnProjection(readable, column_names)
    if len(cached_projections) >= _MAX_CACHED_PROJECTIONS:
        cached_projections.clear()
    cached_projections[column_names] = projection
    return projection


class ColumnProjection:
    """Some columns, read by row number. Record batches are reduced to the columns when they are first needed."""

    def __init__(self, stored: OpenRows, columns: tuple[str, ...]) -> None:
        # not `stored` itself, which refers to this object
        self._all_batches = stored.batches
        self._starts = stored.starts
        self._column_numbers = list(map(stored.schema.get_field_index, columns))
        fields = [stored.schema.field(number).with_nullable(True) for number in self._column_numbers]
        self.schema = pa.schema(fields)
        self._projected_batches: dict[int, pa.RecordBatch] = {}

    def get_batch(self, batch_number: int) -> pa.RecordBatch:
        """Return one stored batch."""
        projected = self._projected_batches.get(batch_number)
        if projected is None:
            stored_batch = self._all_batches[batch_number]
            columns = list(map(stored_batch.column, self._column_numbers))
            projected = pa.RecordBatch.from_arrays(columns, schema=self.schema)
            self._projected_batches[batch_number] = projected
        return projected

    def iterate_row_range(self, first_row: int, end_row: int) -> Iterator[pa.RecordBatch]:
        """Yield a range of rows without copying: one piece for each stored batch that it touches."""
        starts = self._starts
        number = int(starts.searchsorted(first_row, side="right")) - 1
        while first_row < end_row:
            batch_start = int(starts[number])
            stop = min(end_row, int(starts[number + 1]))
            if stop > first_row:
                batch = self.get_batch(number)
                yield batch.slice(first_row - batch_start, stop - first_row)
            first_row = stop
            number += 1

    def take_ascending_rows(self, row_numbers: Rows) -> pa.RecordBatch:
        """Return copies of rows, by ascending number."""
        if not len(row_numbers):
            return pa.RecordBatch.from_arrays([pa.array([], item.type) for item in self.schema], schema=self.schema)
        starts = self._starts
        number = int(starts.searchsorted(row_numbers[0], side="right")) - 1
        if row_numbers[-1] < starts[number + 1]:
            batch = self.get_batch(number)
            return batch.take(pa.array(row_numbers - starts[number]))
        cuts = row_numbers.searchsorted(starts)
        pieces = []
        for number in np.flatnonzero(cuts[1:] > cuts[:-1]).tolist():
            rows_in_batch = row_numbers[cuts[number] : cuts[number + 1]] - starts[number]
            pieces.append(self.get_batch(number).take(pa.array(rows_in_batch)))
        return pa.concat_batches(pieces)

    def take_rows(self, row_numbers: Rows) -> pa.RecordBatch:
        """Return copies of rows by number, in the order of `row_numbers`."""
        order = np.argsort(row_numbers, kind="stable")
        original_order = np.empty(len(order), np.int64)
        original_order[order] = np.arange(len(order))
        return self.take_ascending_rows(row_numbers[order]).take(pa.array(original_order))


def map_array_file_into_memory(path: Path) -> npt.NDArray[Any]:
    """Map an array file, read-only."""
    try:
        mapped: npt.NDArray[Any] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise build_damaged_file_error(path, error) from error
    # a plain array over the map: numpy's memmap class makes every slice several times slower
    return np.asarray(mapped)
