"""The manifest of a snapshot: which files it has, and what each row group of them holds. Mapped, and asked with numpy.

An Arrow file with a row for each row group, in the order of the rows; its head says what stands once, as JSON. Ranges that are not known reach from
the least to the greatest value; those of groups without a value are empty.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.engines._disk import local, refuse_passing
from hven.formats.hats_layout import on_web
from hven.model import Cache
from hven.model.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

NAME = "manifest.arrow"
VERSION = 1
ASKED = 64  # sets of columns whose schema and share of the bytes are kept
LEAST, MOST = np.iinfo(np.int64).min, np.iinfo(np.int64).max
NO_CELL = MOST  # first and last cell of rows without a position


@dataclass(frozen=True, slots=True)
class File:
    """A Parquet file.

    Attributes
    ----------
    path
        Relative to the snapshot's directory; absolute, or an address, if it is not ours.
    rows, bytes
        How many it has.
    order, pixel
        Of its partition; -1: it is none of HEALPix.
    low, high
        Least and greatest sort key of its rows.
    checksum
        Of its bytes (XXH3, 128 bits); empty: nobody computed it. Of files that are not ours: what tells that they changed.
    """

    path: str
    rows: int
    bytes: int
    order: int = -1
    pixel: int = -1
    low: int = LEAST
    high: int = MOST
    checksum: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What stands once in a manifest.

    Attributes
    ----------
    files
        In the order of the rows.
    position
        Columns of longitude and latitude by which the rows are in order, or None.
    order
        The column by whose values they are; empty: none.
    cell
        The column of cells of order 29 in the files; empty: there is none.
    shares
        Column -> share of a row's bytes in the files.
    primary
        The key that was found to be unique.
    index
        Column whose values lead to row groups (see `keys`); empty: there is none.
    schema
        Of the rows as they are stored, as Arrow's IPC message in hexadecimal.
    revised
        Rows that were changed since the numbers of distinct values were estimated from all rows.
    foreign
        Where the catalogue is, if its files are not ours.
    leaves
        Columns that are called otherwise in the files, or stand in structs of them -> where: ``lightcurve.mag``.
    """

    rows: int
    files: tuple[File, ...]
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
    version: int = VERSION


class Groups:
    """Gathers what is known of row groups while files are written or their footers read.

    Parameters
    ----------
    columns
        Whose ranges are kept.
    paths
        Where columns stand in the files that are not called so there.
    """

    def __init__(self, columns: pa.Schema, paths: Mapping[str, str] | None = None) -> None:
        self._columns, self._paths = columns, paths or {}
        self._pieces: list[pa.Table] = []

    def add(self, file: int, footer: Any, cell: str | None, within: tuple[int, int] | None = None) -> None:
        """Add the row groups of a file.

        Parameters
        ----------
        file
            Its number.
        footer
            `pyarrow.parquet.FileMetaData`.
        cell
            The column of cells, None: there is none.
        within
            Cells in which all rows of the file lie, where the footer does not tell; None: none of them has a position.
        """
        count = footer.num_row_groups
        names = [footer.schema.column(number).path for number in range(footer.num_columns)]
        groups = [footer.row_group(number) for number in range(count)]
        made: dict[str, pa.Array] = {
            "file": pa.array(np.full(count, file, np.int32)),
            "group": pa.array(np.arange(count, dtype=np.int32)),
            "rows": pa.array([group.num_rows for group in groups], pa.int32()),
            "bytes": pa.array([_bytes(group) for group in groups], pa.int64()),
        }
        place = names.index(cell) if cell is not None and cell in names else None
        unknown = (NO_CELL, NO_CELL) if within is None else (within[0], within[1] - 1)
        cells = [_extremes(group, place) for group in groups]
        made["first"] = pa.array([unknown[0] if low is None else low for low, _ in cells], pa.int64())
        made["last"] = pa.array([unknown[1] if high is None else high for _, high in cells], pa.int64())
        for item in self._columns:
            path = self._paths.get(item.name, item.name)
            place = names.index(path) if path in names else None
            found = [_extremes(group, place) for group in groups]
            empty = [place is not None and _nulls(group, place) == group.num_rows for group in groups]
            made |= _range(item, found, empty)
        self._pieces.append(pa.table(made))

    def table(self) -> pa.Table:
        """Return all of them."""
        if self._pieces:
            return pa.concat_tables(self._pieces).combine_chunks()
        kinds = [("file", pa.int32()), ("group", pa.int32()), ("rows", pa.int32()), ("bytes", pa.int64()), ("first", pa.int64()), ("last", pa.int64())]  # fmt: skip
        for item in self._columns:
            kinds += [(f"{item.name}:low", _kind(item.type)), (f"{item.name}:high", _kind(item.type))]
        return pa.schema(kinds).empty_table()


def _bytes(group: Any) -> int:
    return sum(group.column(number).total_compressed_size for number in range(group.num_columns))


def _nulls(group: Any, place: int) -> int | None:
    statistics = group.column(place).statistics
    return None if statistics is None or not statistics.has_null_count else statistics.null_count


def _extremes(group: Any, place: int | None) -> tuple[Any, Any]:
    statistics = None if place is None else group.column(place).statistics
    if statistics is None or not statistics.has_min_max:
        return None, None
    return statistics.min, statistics.max


def _kind(kind: pa.DataType) -> pa.DataType:
    """Return the type of ranges: times are microseconds."""
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pa.string()
    return pa.float64() if pa.types.is_floating(kind) else pa.int64()


_BOUNDS: dict[str, tuple[Any, Any, Any]] = {  # of groups without values; of unknown ones; what a bound is
    "string": (("\U0010ffff", ""), ("", None), str),
    "double": ((np.inf, -np.inf), (-np.inf, np.inf), int | float),
    "int64": ((MOST, LEAST), (LEAST, MOST), int),
}


def _range(item: pa.Field, found: list[tuple[Any, Any]], empty: list[bool]) -> dict[str, pa.Array]:
    """Write the ranges of a column."""
    kind = _kind(item.type)
    nothing, everything, fitting = _BOUNDS[str(kind)]
    pairs = []
    for given, void in zip(found, empty, strict=True):
        low, high = map(_plain, given)
        known = isinstance(low, fitting) and isinstance(high, fitting) and low <= high
        pairs.append(nothing if void else (low, high) if known else everything)
    return {
        f"{item.name}:low": pa.array([low for low, _ in pairs], kind),
        f"{item.name}:high": pa.array([high for _, high in pairs], kind),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return pa.scalar(value.replace(tzinfo=None), pa.timestamp("us")).cast(pa.int64()).as_py()
    return value


def indexed(table: Any) -> list[str]:
    """List the columns whose ranges are kept: those that are searched, the key's, and that of the order."""
    names = {*table.searched, *table.primary}
    return [
        column.name
        for column in table.columns
        if column.name in names and (column.type.is_string or column.type.is_timestamp or column.type.is_numeric)
    ]


def write(path: Path, head: Head, groups: pa.Table) -> bytes:
    """Write a manifest; return its head's JSON."""
    text = json.dumps(asdict(head), default=str).encode()
    with (
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_file(sink, groups.schema.with_metadata({"hven": text})) as writer,
    ):
        writer.write_table(groups.combine_chunks())
    return text


class Manifest:
    """An open manifest. Immutable, shared by threads.

    Parameters
    ----------
    directory
        Of the snapshot.

    Raises
    ------
    StorageError
        Missing, damaged, or written by a newer version.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        path = directory / NAME
        try:
            # a map keeps itself alive as long as any buffer of it is used
            self._table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            data = json.loads(self._table.schema.metadata[b"hven"])
            if data["version"] > VERSION:
                message = f"{path} was written by a newer Hven"
                raise StorageError(message, remedy="upgrade Hven, or ingest the collection anew")
            data["files"] = tuple(File(**item) for item in data["files"])
            for name in ("position", "primary"):
                data[name] = None if data[name] is None else tuple(data[name])
            self.head = Head(**data)
            self._narrow: Cache[pa.Schema] = Cache(ASKED)
            self._shares: Cache[float] = Cache(ASKED)
            # now: who reads what is opened may be an event loop, which must not touch a mount that hangs; those of others are not touched at all
            self._local = not self.head.foreign and local(str(self.directory))
            self.size = path.stat().st_size
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            refuse_passing(path, error)
            message = f"the snapshot in {directory} cannot be read: {NAME}: {error}"
            raise StorageError(
                message, remedy="ingest the collection anew, or roll back to an older snapshot"
            ) from error

    @property
    def count(self) -> int:
        """How many row groups there are."""
        return int(self._table.num_rows)

    def narrowed(self, columns: tuple[str, ...]) -> pa.Schema:
        """Return the schema of some columns."""
        found = self._narrow.find(columns)
        if found is None:
            found = pa.schema([self.schema.field(name) for name in columns])
            self._narrow.keep(columns, found)
        return found

    @cached_property
    def schema(self) -> pa.Schema:
        """Of the rows as they are stored, without cells."""
        return pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(self.head.schema)))

    @cached_property
    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {}

    def array(self, name: str) -> npt.NDArray[Any]:
        """Return one column of the row groups: ``file``, ``group``, ``rows``, ``bytes``, ``first``, ``last``."""
        if name not in self._arrays:
            column = self._table.column(name)
            self._arrays[name] = np.asarray(column.chunk(0) if column.num_chunks else column)
        return self._arrays[name]

    @cached_property
    def _cells(self) -> tuple[Rows, Rows, bool]:
        """The first and the last cell of each row group, and whether both ascend: then they are searched, not looked through."""
        first, last = self.array("first"), self.array("last")
        return first, last, bool((first[1:] >= first[:-1]).all() and (last[1:] >= last[:-1]).all())

    def in_cells(self, ranges: Rows) -> Rows:
        """Return the numbers of the row groups that may have rows in these cells of order 29: half-open ranges, ascending and disjoint."""
        first, last, ascending = self._cells
        if not len(ranges):
            return np.empty(0, np.int64)
        if not ascending:
            at = np.searchsorted(ranges[:, 0], last, side="right")  # the last range that begins before each group ends
            met = at > 0
            met[met] = ranges[at[met] - 1, 1] > first[met]
            return np.flatnonzero(met)
        begin = last.searchsorted(ranges[:, 0], side="left")
        end = first.searchsorted(ranges[:, 1], side="left")
        if end[-1] - begin[0] <= 1:  # as for most cones: one row group, if any
            return np.arange(begin[0], end[-1] if (end > begin).any() else begin[0])  # it may lie between two ranges
        begin[1:] = np.maximum(begin[1:], np.maximum.accumulate(end)[:-1])  # two ranges may lie in one group
        lengths = np.maximum(end - begin, 0)
        ends = np.cumsum(lengths)
        found: Rows = np.arange(ends[-1]) + np.repeat(begin - (ends - lengths), lengths)
        return found

    def between(self, column: str, low: Any, high: Any, among: Rows | None = None) -> Rows | None:
        """Return the numbers of the row groups (`among` some) that may have values from `low` to `high` (None: no bound); None: nothing is known of that column."""
        if f"{column}:low" not in self._table.schema.names:
            return None
        if self._table.schema.field(f"{column}:low").type == pa.string():
            found = self._texts(column, low, high, among)
        else:
            least, most = self.array(f"{column}:low"), self.array(f"{column}:high")
            if among is not None:
                least, most = least[among], most[among]
            found = least <= most
            if low is not None:
                found &= most >= low
            if high is not None:
                found &= least <= high
        numbers = np.flatnonzero(found)
        return numbers if among is None else among[numbers]

    def _texts(self, column: str, low: str | None, high: str | None, among: Rows | None) -> Mask:
        import pyarrow.compute as pc  # noqa: PLC0415  (texts alone need it)

        least, most = (self._table.column(f"{column}:{side}") for side in ("low", "high"))
        if among is not None:
            least, most = least.take(pa.array(among)), most.take(pa.array(among))
        found = np.asarray(pc.fill_null(pc.less_equal(least, most), True))
        if low is not None:
            found = found & np.asarray(pc.fill_null(pc.greater_equal(most, low), True))
        if high is not None:
            found = found & np.asarray(pc.less_equal(least, high))
        return found

    def weight(self, chosen: Rows, columns: Collection[str] | None) -> int:
        """Estimate the bytes of some row groups, of some of their columns."""
        share = 1.0 if columns is None else self._share(tuple(columns))
        return int(self.array("bytes")[chosen].sum() * share)

    def _share(self, columns: tuple[str, ...]) -> float:
        """Return the share of some columns in the bytes."""
        found = self._shares.find(columns)
        if found is None:
            found = min(sum(self.head.shares.get(name, 0.0) for name in columns), 1.0)
            self._shares.keep(columns, found)
        return found

    def place(self, file: File) -> str:
        """Return where a file is."""
        return file.path if file.path.startswith("/") or on_web(file.path) else f"{self.directory}/{file.path}"

    @property
    def local(self) -> bool:
        """Whether the files are ours, and on a disk of this machine, which does not hang."""
        return self._local

    @property
    def web(self) -> bool:
        """Whether the files are behind addresses."""
        return on_web(self.head.foreign)

    @cached_property
    def written(self) -> dict[str, tuple[int, str]]:
        """Bytes of each file by where it is, and of files that are not ours when they were last changed."""
        return {self.place(file): (file.bytes, file.checksum if self.head.foreign else "") for file in self.head.files}

    def files(self, chosen: Rows) -> list[tuple[str, list[int]]]:
        """Return where the files of some row groups are, in order, each with their numbers in it."""
        numbers, groups = self.array("file")[chosen], self.array("group")[chosen]
        if len(chosen) == 1:  # as of most cones
            return [(self.place(self.head.files[int(numbers[0])]), groups.tolist())]
        cuts = np.flatnonzero(np.diff(numbers)) + 1
        return [
            (self.place(self.head.files[int(number[0])]), group.tolist())
            for number, group in zip(np.split(numbers, cuts), np.split(groups, cuts), strict=True)
            if len(number)
        ]


def shares(footers: Sequence[Any], paths: Mapping[str, str] | None = None) -> dict[str, float]:
    """Return the share of each column in the bytes of some files, by their footers.

    Parameters
    ----------
    footers
        Of the files.
    paths
        Where columns stand that are not called so there.
    """
    found: dict[str, int] = {}
    for footer in footers:
        for number in range(footer.num_row_groups):
            group = footer.row_group(number)
            for place in range(group.num_columns):
                column = group.column(place)
                found[column.path_in_schema] = found.get(column.path_in_schema, 0) + column.total_compressed_size
    total = max(sum(found.values()), 1)
    named = {path: name for name, path in (paths or {}).items()}
    given: dict[str, float] = {}
    for path, size in found.items():
        top, _, rest = path.partition(".")
        name = named.get(f"{top}.{rest.partition('.')[0]}") or named.get(top, top)
        given[name] = given.get(name, 0.0) + size / total
    return given
