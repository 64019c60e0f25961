"""Rows by their cells out of files whose values stand there as they do in memory.

Of a row group a cone reads its own rows, and decodes none.

Parquet (2.11, "Data Pages"): the values of a page that is neither encoded nor compressed are its end, one behind the
other; those that are NULL are missing.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from hven.formats import hats_layout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]

PLAIN_TYPES = {
    pa.int32(): ("INT32", "<i4"),
    pa.int64(): ("INT64", "<i8"),
    pa.float32(): ("FLOAT", "<f4"),
    pa.float64(): ("DOUBLE", "<f8"),
    pa.timestamp("us"): ("INT64", "<i8"),
}
MARK_STEP_ROWS = 128  # rows from one cell that is kept to the next: what is searched stands in two pages of the disk
PAGE_HEADER_BYTES = 32  # bytes of a page's header that are looked at: its kind and sizes
THRIFT_INTEGER_FIELD = 0x15  # of a header: the next field, a whole number (Thrift's compact protocol)
_CELL_FIELD = pa.field(hats_layout.CELL_COLUMN, pa.int64())
NO_ROWS = np.empty(0, np.int64)
DATA_PAGE_TYPES = {0, 3}  # kinds with values: of the first and of the second version


class NotInMemoryError(Exception):
    """What is to be read must be waited for."""


class PlainValueIndex:
    """Where the values of a file stand. Thread-safe: what two threads find is the same.

    Parameters
    ----------
    footer
        Of the file (`pyarrow.parquet.FileMetaData`).
    """

    def __init__(self, footer: Any) -> None:
        self.footer = footer
        self._offsets: dict[tuple[int, str], int | None] = {}
        self._cell_marks: dict[int, Rows | None] = {}
        self._offsets_of_columns: tuple[list[str], dict[int, dict[str, int]]] = (
            [],
            {},
        )  # of the columns that were asked for last

    @cached_property
    def _leaf_numbers(self) -> dict[str, int]:
        return {self.footer.schema.column(at).path: at for at in range(self.footer.num_columns)}

    def count_rows(self, group_number: int) -> int:
        """Count the rows of a row group."""
        row_count: int = self.footer.row_group(group_number).num_rows
        return row_count

    def find_offset(self, file: int, group_number: int, field: pa.Field, flags: int = 0) -> int | None:
        """Return where the values of a column of a row group begin; None: they do not stand there as they are."""
        key = group_number, field.name
        if key not in self._offsets:
            if field.type in PLAIN_TYPES:
                self._offsets[key] = self._locate_values(file, group_number, field, flags)
            else:
                self._offsets[key] = None
        return self._offsets[key]

    def find_offsets(self, file: int, group_number: int, schema: pa.Schema, flags: int) -> dict[str, int]:
        """Return where the values of columns of a row group begin: of those that stand there as they are."""
        names, offsets_by_group = self._offsets_of_columns
        if names != schema.names:
            names, offsets_by_group = self._offsets_of_columns = schema.names, {}
        if group_number not in offsets_by_group:
            all_offsets = {field.name: self.find_offset(file, group_number, field, flags) for field in schema}
            offsets_by_group[group_number] = {name: begin for name, begin in all_offsets.items() if begin is not None}
        return offsets_by_group[group_number]

    def get_cell_marks(self, file: int, group_number: int, flags: int = 0) -> Rows | None:
        """Return every `MARK_STEP_ROWS`-th cell of a row group, and its last one; None.

        They do not stand there as they are, or not in their order.
        """
        if group_number not in self._cell_marks:
            begin = self.find_offset(file, group_number, _CELL_FIELD, flags)
            marks = None
            if begin is not None and self.count_rows(group_number):
                row_count = self.count_rows(group_number)
                cells = _read_values(file, begin, 0, row_count, _CELL_FIELD.type, flags)
                if (cells[1:] >= cells[:-1]).all():
                    marks = np.append(cells[::MARK_STEP_ROWS], cells[-1])
            self._cell_marks[group_number] = marks
        return self._cell_marks[group_number]

    def _locate_values(self, file: int, group_number: int, field: pa.Field, flags: int) -> int | None:
        leaf = self.footer.row_group(group_number).column(self._leaf_numbers[field.name])
        physical_type, dtype = PLAIN_TYPES[field.type]
        leaf_statistics = leaf.statistics
        is_plain = (
            leaf.compression == "UNCOMPRESSED"
            and not leaf.has_dictionary_page
            and {*leaf.encodings} <= {"PLAIN", "RLE"}
        )
        if (
            not is_plain
            or leaf.physical_type != physical_type
            or leaf_statistics is None
            or not leaf_statistics.has_null_count
            or leaf_statistics.null_count
        ):
            return None
        begin = leaf.data_page_offset
        chunk_bytes = leaf.total_compressed_size
        size = leaf.num_values * np.dtype(dtype).itemsize
        page = _read_page_bytes(bytes(_read_bytes(file, PAGE_HEADER_BYTES, begin, flags)))
        return (
            begin + chunk_bytes - size if size <= page < chunk_bytes else None
        )  # one page has them all, and ends with them


def _read_page_bytes(header: bytes) -> int:
    """Read the size of a page that is not compressed; 0: it has no values, or is."""
    offset = 0
    integers = []
    for _ in range(3):  # its kind, its size, and that as it is compressed
        if header[offset : offset + 1] != bytes([THRIFT_INTEGER_FIELD]):
            return 0
        value = shift = 0
        while True:
            offset += 1
            value |= (header[offset] & 0x7F) << shift
            shift += 7
            if header[offset] < 0x80:
                break
        offset += 1
        integers.append(value >> 1)  # zigzag
    page_type, size, compressed_bytes = integers
    if page_type in DATA_PAGE_TYPES and size == compressed_bytes:
        return size
    return 0


def _find_row_range(marks: Rows, ranges: Rows, row_count: int) -> tuple[int, int]:
    """Find between which rows of a row group all rows in some cells are, by the cells that are kept of it."""
    touched_ranges = ranges[(ranges[:, 1] > marks[0]) & (ranges[:, 0] <= marks[-1])]
    if not len(touched_ranges):
        return 0, 0
    first = int(marks[:-1].searchsorted(touched_ranges[0, 0], "left")) - 1
    last = int(marks[:-1].searchsorted(touched_ranges[-1, 1], "left"))
    return max(first, 0) * MARK_STEP_ROWS, min(last * MARK_STEP_ROWS, row_count)


def find_rows_in_cells(cells: Rows, cell_ranges: Rows) -> Rows | None:
    """Find the rows in some cells.

    Parameters
    ----------
    cells
        Of the rows, of order 29.
    cell_ranges
        Cells, half-open, ascending, shape (r, 2).

    Returns
    -------
    rows
        Their numbers, ascending; None: cells are not in their order, or most rows are in these.
    """
    if not (cells[1:] >= cells[:-1]).all():
        return None
    row_numbers = _find_rows_in_ranges(cells, cell_ranges)
    if len(row_numbers) * 2 > len(cells):
        return None
    return row_numbers


def _find_rows_in_ranges(cells: Rows, cell_ranges: Rows) -> Rows:
    places = cells.searchsorted(cell_ranges.ravel()).reshape(-1, 2)
    lengths = places[:, 1] - places[:, 0]
    ends = lengths.cumsum()
    row_numbers: Rows = np.arange(int(ends[-1]) if len(ends) else 0) + (places[:, 0] - (ends - lengths)).repeat(lengths)
    return row_numbers


class RowsInCells(NamedTuple):
    """Rows of some row groups: their columns that stand there as they are, and which rows they are, counted from the first row of the first group."""

    columns: dict[str, pa.Array]
    rows: Rows


def read_rows_in_cells(
    path: str,
    value_index: PlainValueIndex,
    group_numbers: Sequence[int],
    schema: pa.Schema,
    cell_ranges: Rows,
    flags: int = 0,
    are_cached: Callable[[list[str]], bool] | None = None,
) -> RowsInCells | None:
    """Read the rows in some cells.

    Parameters
    ----------
    path, value_index
        Of the file.
    group_numbers, schema
        Row groups, and the columns that are wanted.
    cell_ranges
        Cells of order 29, half-open, ascending, shape (r, 2).
    flags
        ``os.RWF_NOWAIT``: nothing is waited for.
    are_cached
        Says whether columns that do not stand there as they are are in memory; it is asked before any row is read.

    Returns
    -------
    rows
        None: cells do not stand there as they are, or not in their order; or most rows are in them.

    Raises
    ------
    OSError
        The file is cut off, or cannot be read.
    NotInMemoryError
        With that flag, or by `are_cached`: something would have to be waited for.
    """
    pieces: dict[str, list[Any]] = {}
    row_arrays = [NO_ROWS]
    rows_before = 0
    file = os.open(path, os.O_RDONLY)
    try:
        begins = [value_index.find_offsets(file, group, schema, flags) for group in group_numbers]
        plain_fields = [field for field in schema if all(field.name in group_offsets for group_offsets in begins)]
        if are_cached is not None and len(plain_fields) < len(schema):
            plain_names = {field.name for field in plain_fields}
            if not are_cached([name for name in schema.names if name not in plain_names]):
                raise NotInMemoryError
        for group_place, group in enumerate(group_numbers):
            marks = value_index.get_cell_marks(file, group, flags)
            first = value_index.find_offset(file, group, _CELL_FIELD, flags)
            if marks is None or first is None:
                return None
            count = value_index.count_rows(group)
            low, high = _find_row_range(marks, cell_ranges, count)
            if high > low:
                row_numbers = (
                    _find_rows_in_ranges(_read_values(file, first, low, high, _CELL_FIELD.type, flags), cell_ranges)
                    + low
                )
            else:
                row_numbers = NO_ROWS
            if len(row_numbers) * 2 > count:
                return None
            if len(row_numbers):
                low = int(row_numbers[0])
                high = int(row_numbers[-1]) + 1
                row_arrays.append(row_numbers + rows_before)
                for field in plain_fields:
                    values = _read_values(file, begins[group_place][field.name], low, high, field.type, flags)
                    pieces.setdefault(field.name, []).append(values[row_numbers - low])
            rows_before += count
    finally:
        os.close(file)
    return RowsInCells(
        {field.name: _build_array(field.type, pieces.get(field.name, [])) for field in plain_fields},
        np.concatenate(row_arrays),
    )


def take_rows(column: pa.ChunkedArray, row_numbers: Rows) -> pa.Array:
    """Take some rows of a column that was decoded."""
    if column.num_chunks != 1:
        return column.take(pa.array(row_numbers)).combine_chunks()
    chunk = column.chunk(0)
    if chunk.type not in PLAIN_TYPES or chunk.null_count:
        return chunk.take(pa.array(row_numbers))
    values = np.frombuffer(chunk.buffers()[1], PLAIN_TYPES[chunk.type][1])  # Arrow takes ten times as long to take few
    return _build_array(chunk.type, [values[row_numbers + chunk.offset]])


def _build_array(arrow_type: pa.DataType, pieces: Sequence[Any]) -> pa.Array:
    if len(pieces) == 1:
        values = pieces[0]
    else:
        values = np.concatenate([np.empty(0, PLAIN_TYPES[arrow_type][1]), *pieces])
    return pa.Array.from_buffers(arrow_type, len(values), [None, pa.py_buffer(values)])


def _read_values(file_descriptor: int, begin: int, low: int, high: int, arrow_type: pa.DataType, flags: int) -> Any:
    dtype = np.dtype(PLAIN_TYPES[arrow_type][1])
    size = (high - low) * dtype.itemsize
    buffer = _read_bytes(file_descriptor, size, begin + low * dtype.itemsize, flags)
    if len(buffer) != size:
        raise OSError("it is cut off")
    return buffer.view(dtype)


def _read_bytes(file_descriptor: int, byte_count: int, begin: int, flags: int) -> Any:
    """Read as many bytes as there are."""
    buffer = np.empty(byte_count, np.uint8)
    try:
        count = os.preadv(file_descriptor, [buffer.data], begin, flags)
    except OSError:
        if flags:
            raise NotInMemoryError from None
        raise
    if count < byte_count and flags:
        raise NotInMemoryError
    return buffer[:count]


__all__ = [
    "NotInMemoryError",
    "PlainValueIndex",
    "RowsInCells",
    "find_rows_in_cells",
    "read_rows_in_cells",
    "take_rows",
]
