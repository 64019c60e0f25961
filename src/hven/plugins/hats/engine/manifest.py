"""The manifest of a snapshot: its files, and the contents of each row group.

It is an Arrow file with a row for each row group, in the order of the rows. It is mapped into memory and searched with
numpy. Its head, as JSON, has the facts about the whole snapshot. Unknown ranges reach from the smallest to the largest
value; those of row groups without values are empty.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.engines.api.snapshots import is_on_local_disk, raise_if_transient_read_error
from hven.model import LruCache
from hven.model.errors import StorageError
from hven.plugins.hats.hats_layout import is_web_address

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

MANIFEST_FILE_NAME = "manifest.arrow"
MANIFEST_VERSION = 1
MAX_CACHED_COLUMN_SETS = 64  # sets of columns whose schema and share of the bytes are cached
MIN_INT64, MAX_INT64 = np.iinfo(np.int64).min, np.iinfo(np.int64).max
NO_CELL = MAX_INT64  # first and last cell of rows without a position


@dataclass(frozen=True, slots=True)
class ManifestFile:
    """A Parquet file.

    Attributes
    ----------
    path
        Path relative to the snapshot's directory. The files of foreign catalogues have absolute paths or addresses.
    rows, bytes
        Number of rows, and size of the file.
    order, pixel
        HEALPix order and pixel of the partition; -1 if the file is not a partition by HEALPix.
    low, high
        Smallest and largest sort key of the rows.
    checksum
        Checksum of the bytes (XXH3, 128 bits); empty if none was computed. For the files of foreign catalogues, a stamp
        that tells when they change.
    """

    path: str
    rows: int
    bytes: int
    order: int = -1
    pixel: int = -1
    low: int = MIN_INT64
    high: int = MAX_INT64
    checksum: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestHead:
    """The facts of a manifest about the whole snapshot.

    Attributes
    ----------
    rows
        Number of rows.
    files
        The files, in the order of the rows.
    position
        Columns of longitude and latitude whose cells order the rows; None if there are none.
    order
        The column whose values order the rows; empty if there is none.
    cell
        The column of cells of order 29 in the files; empty if there is none.
    shares
        Column -> share of a row's bytes in the files.
    primary
        The primary key, which was checked to be unique.
    index
        The column of the index of values (see `key_index`); empty if there is none.
    schema
        Schema of the stored rows, as an IPC message of Arrow in hexadecimal.
    statistics
        Column -> its statistics.
    coverage
        The coverage as an ASCII MOC; None if there is none.
    revised
        Number of rows that changed since the numbers of distinct values were estimated from all rows.
    foreign
        Directory or address of a foreign catalogue; empty if the files are Hven's.
    leaves
        Column -> its path in the files, for columns that have another name there or stand in structs:
        ``lightcurve.mag``.
    version
        Version of the format of the manifest.
    """

    rows: int
    files: tuple[ManifestFile, ...]
    schema: str
    position: tuple[str, str] | None = None
    order: str = ""
    cell: str = ""
    shares: Mapping[str, float] = field(default_factory=dict)
    primary: tuple[str, ...] = ()
    index: str = ""
    statistics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    coverage: str | None = None
    revised: int = 0
    foreign: str = ""
    leaves: Mapping[str, str] = field(default_factory=dict)
    version: int = MANIFEST_VERSION


class RowGroupCollector:
    """A collector of facts about row groups while files are written or their footers are read.

    Parameters
    ----------
    columns
        Schema of the columns whose ranges are kept.
    paths
        Column -> its path in the files, for columns that have another name there.
    """

    def __init__(self, columns: pa.Schema, paths: Mapping[str, str] | None = None) -> None:
        self._columns = columns
        self._leaf_paths = paths or {}
        self._group_tables: list[pa.Table] = []

    def add_file(
        self, file_number: int, footer: Any, cell_column: str | None, file_cells: tuple[int, int] | None = None
    ) -> None:
        """Add the row groups of a file.

        Parameters
        ----------
        file_number
            Number of the file.
        footer
            Footer of the file (`pyarrow.parquet.FileMetaData`).
        cell_column
            The column of cells; None if there is none.
        file_cells
            Half-open range of the cells of the file, for footers without cells; None if no row has a position.
        """
        group_count = footer.num_row_groups
        paths = [footer.schema.column(number).path for number in range(footer.num_columns)]
        groups = [footer.row_group(number) for number in range(group_count)]
        first_cell, last_cell = (NO_CELL, NO_CELL) if file_cells is None else (file_cells[0], file_cells[1] - 1)
        cell_number = None
        if cell_column in paths:
            cell_number = paths.index(cell_column)
        cells = [_get_extremes(group, cell_number) for group in groups]
        group_columns: dict[str, pa.Array] = {
            "file": pa.array(np.full(group_count, file_number, np.int32)),
            "group": pa.array(np.arange(group_count, dtype=np.int32)),
            "rows": pa.array([group.num_rows for group in groups], pa.int32()),
            "bytes": pa.array([_count_row_group_bytes(group) for group in groups], pa.int64()),
            "first": pa.array([first_cell if low is None else low for low, _ in cells], pa.int64()),
            "last": pa.array([last_cell if high is None else high for _, high in cells], pa.int64()),
        }
        for arrow_field in self._columns:
            path = self._leaf_paths.get(arrow_field.name, arrow_field.name)
            column_number = None
            if path in paths:
                column_number = paths.index(path)
            extremes = [_get_extremes(group, column_number) for group in groups]
            is_empty = [
                column_number is not None and _get_null_count(group, column_number) == group.num_rows
                for group in groups
            ]
            group_columns |= _build_range_columns(arrow_field, extremes, is_empty)
        self._group_tables.append(pa.table(group_columns))

    def build_table(self) -> pa.Table:
        """Return the table of all row groups."""
        if self._group_tables:
            return pa.concat_tables(self._group_tables).combine_chunks()
        column_types = [
            ("file", pa.int32()),
            ("group", pa.int32()),
            ("rows", pa.int32()),
            ("bytes", pa.int64()),
            ("first", pa.int64()),
            ("last", pa.int64()),
        ]
        for arrow_field in self._columns:
            column_types += [
                (f"{arrow_field.name}:low", _find_range_type(arrow_field.type)),
                (f"{arrow_field.name}:high", _find_range_type(arrow_field.type)),
            ]
        return pa.schema(column_types).empty_table()


def _count_row_group_bytes(row_group: Any) -> int:
    return sum(row_group.column(number).total_compressed_size for number in range(row_group.num_columns))


def _get_null_count(row_group: Any, column_number: int) -> int | None:
    statistics = row_group.column(column_number).statistics
    if statistics is None or not statistics.has_null_count:
        return None
    null_count: int = statistics.null_count
    return null_count


def _get_extremes(row_group: Any, column_number: int | None) -> tuple[Any, Any]:
    if column_number is None:
        return None, None
    statistics = row_group.column(column_number).statistics
    if statistics is None or not statistics.has_min_max:
        return None, None
    return statistics.min, statistics.max


def _find_range_type(arrow_type: pa.DataType) -> pa.DataType:
    """Return the type of the ranges of a column; those of times are microseconds."""
    if pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type):
        return pa.string()
    if pa.types.is_floating(arrow_type):
        return pa.float64()
    return pa.int64()


# Range type -> range of groups without values, range of groups with unknown values, Python type of a bound.
_RANGE_LIMITS: dict[str, tuple[Any, Any, Any]] = {
    "string": (("\U0010ffff", ""), ("", None), str),
    "double": ((np.inf, -np.inf), (-np.inf, np.inf), int | float),
    "int64": ((MAX_INT64, MIN_INT64), (MIN_INT64, MAX_INT64), int),
}


def _build_range_columns(field: pa.Field, extremes: list[tuple[Any, Any]], is_empty: list[bool]) -> dict[str, pa.Array]:
    """Return the two columns of the ranges of a column."""
    range_type = _find_range_type(field.type)
    empty_range, full_range, bound_type = _RANGE_LIMITS[str(range_type)]
    ranges = []
    for extreme_pair, is_group_empty in zip(extremes, is_empty, strict=True):
        low, high = map(_convert_time_to_microseconds, extreme_pair)
        if is_group_empty:
            ranges.append(empty_range)
        elif isinstance(low, bound_type) and isinstance(high, bound_type) and low <= high:
            ranges.append((low, high))
        else:
            ranges.append(full_range)
    return {
        f"{field.name}:low": pa.array([low for low, _ in ranges], range_type),
        f"{field.name}:high": pa.array([high for _, high in ranges], range_type),
    }


def _convert_time_to_microseconds(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return pa.scalar(value.replace(tzinfo=None), pa.timestamp("us")).cast(pa.int64()).as_py()
    return value


def list_range_columns(table: Any) -> list[str]:
    """List the columns whose ranges are kept: searched ones, those of the key, and that of the order."""
    searched_names = {*table.indexed_column_names, *table.primary}
    return [
        column.name
        for column in table.columns
        if column.name in searched_names
        and (column.type.is_string or column.type.is_timestamp or column.type.is_numeric)
    ]


def write_manifest_with_json_head(path: Path, head: ManifestHead, row_groups: pa.Table) -> bytes:
    """Write a manifest; return its head as JSON."""
    text = json.dumps(asdict(head), default=str).encode()
    with (
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_file(sink, row_groups.schema.with_metadata({"hven": text})) as writer,
    ):
        writer.write_table(row_groups.combine_chunks())
    return text


class CatalogueManifest:
    """An open manifest. Immutable, shared by threads.

    Parameters
    ----------
    directory
        Directory of the snapshot.

    Raises
    ------
    StorageError
        The manifest is missing or damaged, or was written by a newer version.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        path = directory / MANIFEST_FILE_NAME
        try:
            # The map stays open as long as any buffer of it is used.
            self._group_table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            data = json.loads(self._group_table.schema.metadata[b"hven"])
            if data["version"] > MANIFEST_VERSION:
                message = f"{path} was written by a newer version of Hven"
                raise StorageError(message, remedy="upgrade Hven, or ingest the collection again")
            data["files"] = tuple(ManifestFile(**item) for item in data["files"])
            for name in ("position", "primary"):
                if data[name] is not None:
                    data[name] = tuple(data[name])
            self.head = ManifestHead(**data)
            self._schema_cache: LruCache[pa.Schema] = LruCache(MAX_CACHED_COLUMN_SETS)
            self._share_cache: LruCache[float] = LruCache(MAX_CACHED_COLUMN_SETS)
            # This is found out here, because an event loop may read later and must not touch a mount that hangs. The
            # files of foreign catalogues are not touched at all.
            self._is_local = not self.head.foreign and is_on_local_disk(str(self.directory))
            self.size = path.stat().st_size
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            raise_if_transient_read_error(path, error)
            message = f"the snapshot in {directory} cannot be read: {MANIFEST_FILE_NAME}: {error}"
            raise StorageError(
                message, remedy="ingest the collection again, or roll back to an older snapshot"
            ) from error

    @property
    def group_count(self) -> int:
        """Number of row groups."""
        return int(self._group_table.num_rows)

    def select_schema(self, column_names: tuple[str, ...]) -> pa.Schema:
        """Return the schema of some columns."""
        schema = self._schema_cache.find(column_names)
        if schema is None:
            schema = pa.schema([self.schema.field(name) for name in column_names])
            self._schema_cache.store(column_names, schema)
        return schema

    @cached_property
    def schema(self) -> pa.Schema:
        """Schema of the stored rows, without cells."""
        return pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(self.head.schema)))

    @cached_property
    def _array_cache(self) -> dict[str, npt.NDArray[Any]]:
        return {}

    def get_row_group_column(self, column_name: str) -> npt.NDArray[Any]:
        """Return a column of the row groups: ``file``, ``group``, ``rows``, ``bytes``, ``first``, ``last``."""
        if column_name not in self._array_cache:
            column = self._group_table.column(column_name)
            self._array_cache[column_name] = np.asarray(column.chunk(0) if column.num_chunks else column)
        return self._array_cache[column_name]

    @cached_property
    def _cell_ranges(self) -> tuple[Rows, Rows, bool]:
        """The first and the last cell of each row group, and whether both ascend.

        If they ascend, they are searched by bisection.
        """
        first = self.get_row_group_column("first")
        last = self.get_row_group_column("last")
        return first, last, bool((first[1:] >= first[:-1]).all() and (last[1:] >= last[:-1]).all())

    def find_row_groups_in_cells(self, cell_ranges: Rows) -> Rows:
        """Return the numbers of the row groups that may have rows in these cells of order 29.

        The ranges are half-open, ascending and disjoint.
        """
        first, last, is_ascending = self._cell_ranges
        if not len(cell_ranges):
            return np.empty(0, np.int64)
        if not is_ascending:
            # for each group, the number of ranges that begin before it ends
            range_numbers = np.searchsorted(cell_ranges[:, 0], last, side="right")
            is_touched = range_numbers > 0
            is_touched[is_touched] = cell_ranges[range_numbers[is_touched] - 1, 1] > first[is_touched]
            return np.flatnonzero(is_touched)
        begin = last.searchsorted(cell_ranges[:, 0], side="left")
        end = first.searchsorted(cell_ranges[:, 1], side="left")
        if end[-1] - begin[0] <= 1:  # most cones have one row group, or none if it lies between two ranges
            if (end > begin).any():
                stop = end[-1]
            else:
                stop = begin[0]
            return np.arange(begin[0], stop)
        begin[1:] = np.maximum(begin[1:], np.maximum.accumulate(end)[:-1])  # two ranges may lie in one group
        lengths = np.maximum(end - begin, 0)
        ends = np.cumsum(lengths)
        group_numbers: Rows = np.arange(ends[-1]) + np.repeat(begin - (ends - lengths), lengths)
        return group_numbers

    def find_row_groups_between(
        self, column: str, lower_bound: Any, upper_bound: Any, candidate_groups: Rows | None = None
    ) -> Rows | None:
        """Return the numbers of the row groups that may have values between two bounds; None if ranges are unknown.

        A bound of None means no bound. With `candidate_groups` only these row groups are searched.
        """
        if f"{column}:low" not in self._group_table.schema.names:
            return None
        if self._group_table.schema.field(f"{column}:low").type == pa.string():
            is_overlapping = self._test_text_ranges(column, lower_bound, upper_bound, candidate_groups)
        else:
            is_overlapping = self._test_number_ranges(column, lower_bound, upper_bound, candidate_groups)
        numbers = np.flatnonzero(is_overlapping)
        if candidate_groups is None:
            return numbers
        return candidate_groups[numbers]

    def _test_number_ranges(
        self, column: str, lower_bound: Any, upper_bound: Any, candidate_groups: Rows | None
    ) -> Mask:
        group_lows = self.get_row_group_column(f"{column}:low")
        group_highs = self.get_row_group_column(f"{column}:high")
        if candidate_groups is not None:
            group_lows = group_lows[candidate_groups]
            group_highs = group_highs[candidate_groups]
        is_overlapping: Mask = group_lows <= group_highs
        if lower_bound is not None:
            is_overlapping &= group_highs >= lower_bound
        if upper_bound is not None:
            is_overlapping &= group_lows <= upper_bound
        return is_overlapping

    def _test_text_ranges(
        self, column: str, lower_bound: str | None, upper_bound: str | None, candidate_groups: Rows | None
    ) -> Mask:
        import pyarrow.compute as pc  # noqa: PLC0415  (texts alone need it)

        group_lows, group_highs = (self._group_table.column(f"{column}:{side}") for side in ("low", "high"))
        if candidate_groups is not None:
            group_lows = group_lows.take(pa.array(candidate_groups))
            group_highs = group_highs.take(pa.array(candidate_groups))
        is_overlapping = np.asarray(pc.fill_null(pc.less_equal(group_lows, group_highs), True))
        if lower_bound is not None:
            is_overlapping = is_overlapping & np.asarray(pc.fill_null(pc.greater_equal(group_highs, lower_bound), True))
        if upper_bound is not None:
            is_overlapping = is_overlapping & np.asarray(pc.less_equal(group_lows, upper_bound))
        return is_overlapping

    def estimate_read_bytes(self, group_numbers: Rows, column_names: Collection[str] | None) -> int:
        """Estimate the size of some columns of some row groups."""
        if column_names is None:
            share = 1.0
        else:
            share = self._compute_byte_share(tuple(column_names))
        array = self.get_row_group_column("bytes")
        return int(array[group_numbers].sum() * share)

    def _compute_byte_share(self, column_names: tuple[str, ...]) -> float:
        """Return the share of some columns in the bytes."""
        share = self._share_cache.find(column_names)
        if share is None:
            share = min(sum(self.head.shares.get(name, 0.0) for name in column_names), 1.0)
            self._share_cache.store(column_names, share)
        return share

    def locate_file(self, data_file: ManifestFile) -> str:
        """Return the path or the address of a file."""
        if data_file.path.startswith("/") or is_web_address(data_file.path):
            return data_file.path
        return f"{self.directory}/{data_file.path}"

    @property
    def is_local(self) -> bool:
        """True if the files are Hven's and on a local disk, which does not hang."""
        return self._is_local

    @property
    def is_on_web(self) -> bool:
        """True if the files are on a web server."""
        return is_web_address(self.head.foreign)

    @cached_property
    def file_states(self) -> dict[str, tuple[int, str]]:
        """Path or address of each file -> its size, and for foreign catalogues the stamp of its last change."""
        return {
            self.locate_file(file): (file.bytes, file.checksum if self.head.foreign else "") for file in self.head.files
        }

    def list_row_group_files(self, group_numbers: Rows) -> list[tuple[str, list[int]]]:
        """Return the files of some row groups, in order, each with the numbers of the row groups in it."""
        file_numbers = self.get_row_group_column("file")[group_numbers]
        groups = self.get_row_group_column("group")[group_numbers]
        if not len(group_numbers):
            return []
        if len(group_numbers) == 1:  # most cones
            return [(self.locate_file(self.head.files[int(file_numbers[0])]), groups.tolist())]
        file_boundaries = np.flatnonzero(np.diff(file_numbers)) + 1
        first_numbers = file_numbers[np.concatenate([[0], file_boundaries])]
        paths = [self.locate_file(self.head.files[int(number)]) for number in first_numbers]
        groups_by_file = np.split(groups, file_boundaries)
        return [(path, file_groups.tolist()) for path, file_groups in zip(paths, groups_by_file, strict=True)]


def compute_column_byte_shares(footers: Sequence[Any], leaf_paths: Mapping[str, str] | None = None) -> dict[str, float]:
    """Return the share of each column in the bytes of some files.

    Parameters
    ----------
    footers
        Footers of the files.
    leaf_paths
        Column -> its path in the files, for columns that have another name there.
    """
    bytes_by_path: Counter[str] = Counter()
    for footer in footers:
        for group_number in range(footer.num_row_groups):
            group = footer.row_group(group_number)
            for column_number in range(group.num_columns):
                column = group.column(column_number)
                bytes_by_path[column.path_in_schema] += column.total_compressed_size
    total_bytes = max(bytes_by_path.total(), 1)
    names_by_path = {path: name for name, path in (leaf_paths or {}).items()}
    shares_by_name: dict[str, float] = {}
    for path, size in bytes_by_path.items():
        top, _, inner_path = path.partition(".")
        field = inner_path.partition(".")[0]
        name = names_by_path.get(f"{top}.{field}") or names_by_path.get(top, top)
        shares_by_name[name] = shares_by_name.get(name, 0.0) + size / total_bytes
    return shares_by_name
