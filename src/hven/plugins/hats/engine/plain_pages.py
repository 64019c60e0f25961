"""Reading of rows by their cells from files whose values are stored as in memory.

A cone reads only its own rows of a row group, and decodes nothing.

Parquet (2.11, "Data Pages"): a page that is neither encoded nor compressed ends with its values, one after the other;
NULL has no value there.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from hven.plugins.hats import hats_layout

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
MARK_STEP_ROWS = 128  # rows between two cells that are kept, so that a search reads two pages of the disk
PAGE_HEADER_BYTES = 32  # enough for the type and the sizes of a page
THRIFT_INTEGER_FIELD = 0x15  # the next field is a whole number (Thrift's compact protocol)
_CELL_FIELD = pa.field(hats_layout.CELL_COLUMN, pa.int64())
NO_ROWS = np.empty(0, np.int64)
DATA_PAGE_TYPES = {0, 3}  # pages with values, of versions 1 and 2


class NotInMemoryError(Exception):
    """The data is not in memory, and the caller does not want to wait."""


class PlainValueOffsetIndex:
    """The places of the values in a file. Thread-safe: two threads find the same places.

    Parameters
    ----------
    footer
        Footer of the file (`pyarrow.parquet.FileMetaData`).
    """

    def __init__(self, footer: Any) -> None:
        self.footer = footer
        self._offsets: dict[tuple[int, str], int | None] = {}
        self._cell_marks: dict[int, Rows | None] = {}
        # names of the columns of the last call of `find_value_offsets`, and their offsets by row group
        self._offsets_of_columns: tuple[list[str], dict[int, dict[str, int]]] = ([], {})

    @cached_property
    def _leaf_numbers(self) -> dict[str, int]:
        return {self.footer.schema.column(at).path: at for at in range(self.footer.num_columns)}

    def count_rows(self, group_number: int) -> int:
        """Count the rows of a row group."""
        row_count: int = self.footer.row_group(group_number).num_rows
        return row_count

    def find_value_offset(self, file_descriptor: int, group_number: int, field: pa.Field, flags: int = 0) -> int | None:
        """Return where the values of a column of a row group begin; None if they are not stored as in memory."""
        key = group_number, field.name
        if key not in self._offsets:
            if field.type in PLAIN_TYPES:
                self._offsets[key] = self._locate_values(file_descriptor, group_number, field, flags)
            else:
                self._offsets[key] = None
        return self._offsets[key]

    def find_value_offsets(
        self, file_descriptor: int, group_number: int, schema: pa.Schema, flags: int
    ) -> dict[str, int]:
        """Return where the values of columns of a row group begin, for those that are stored as in memory."""
        names, offsets_by_group = self._offsets_of_columns
        if names != schema.names:
            names, offsets_by_group = self._offsets_of_columns = schema.names, {}
        if group_number not in offsets_by_group:
            all_offsets = {
                field.name: self.find_value_offset(file_descriptor, group_number, field, flags) for field in schema
            }
            offsets_by_group[group_number] = {name: begin for name, begin in all_offsets.items() if begin is not None}
        return offsets_by_group[group_number]

    def get_sampled_cells(self, file_descriptor: int, group_number: int, flags: int = 0) -> Rows | None:
        """Return every `MARK_STEP_ROWS`-th cell of a row group, and its last one.

        None if cells are not stored as in memory, or are not in order.
        """
        if group_number not in self._cell_marks:
            begin = self.find_value_offset(file_descriptor, group_number, _CELL_FIELD, flags)
            marks = None
            if begin is not None and self.count_rows(group_number):
                row_count = self.count_rows(group_number)
                cells = _read_values(file_descriptor, begin, 0, row_count, arrow_type=_CELL_FIELD.type, flags=flags)
                if (cells[1:] >= cells[:-1]).all():
                    marks = np.append(cells[::MARK_STEP_ROWS], cells[-1])
            self._cell_marks[group_number] = marks
        return self._cell_marks[group_number]

    def _locate_values(self, file_descriptor: int, group_number: int, field: pa.Field, flags: int) -> int | None:
        leaf = self.footer.row_group(group_number).column(self._leaf_numbers[field.name])
        physical_type, dtype = PLAIN_TYPES[field.type]
        if leaf.physical_type != physical_type or leaf.compression != "UNCOMPRESSED":
            return None
        if leaf.has_dictionary_page or not {*leaf.encodings} <= {"PLAIN", "RLE"}:
            return None
        leaf_statistics = leaf.statistics
        if leaf_statistics is None or not leaf_statistics.has_null_count or leaf_statistics.null_count:
            return None
        begin: int = leaf.data_page_offset
        chunk_bytes: int = leaf.total_compressed_size
        value_bytes: int = leaf.num_values * np.dtype(dtype).itemsize
        header = bytes(_read_bytes(file_descriptor, PAGE_HEADER_BYTES, begin, flags))
        page_bytes = _parse_page_size(header)
        if value_bytes <= page_bytes < chunk_bytes:  # one page has all values, and ends with them
            return begin + chunk_bytes - value_bytes
        return None


def _parse_page_size(header: bytes) -> int:
    """Read the size of a page with values that is not compressed; return 0 for other pages."""
    offset = 0
    integers = []
    for _ in range(3):  # type, size, and compressed size
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
    """Return the range of rows of a row group that contains all rows in some cells."""
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
        Cells of the rows, of order 29.
    cell_ranges
        Half-open ranges of cells, ascending, shape (r, 2).

    Returns
    -------
    rows
        Numbers of the rows, ascending; None if the cells are not in order, or if most rows are in the ranges.
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
    row_count = 0
    if len(ends):
        row_count = int(ends[-1])
    run_offsets = places[:, 0] - (ends - lengths)
    row_numbers: Rows = np.arange(row_count) + run_offsets.repeat(lengths)
    return row_numbers


class RowsInCells(NamedTuple):
    """Rows of some row groups: their columns that are stored as in memory, and their numbers.

    The numbers are counted from the first row of the first row group.
    """

    columns: dict[str, pa.Array]
    rows: Rows


def read_rows_in_cells(
    path: str,
    value_index: PlainValueOffsetIndex,
    group_numbers: Sequence[int],
    schema: pa.Schema,
    cell_ranges: Rows,
    *,
    flags: int = 0,
    are_cached: Callable[[list[str]], bool] | None = None,
) -> RowsInCells | None:
    """Read the rows in some cells.

    Parameters
    ----------
    path, value_index
        Path of the file, and the places of its values.
    group_numbers, schema
        Row groups, and the columns to read.
    cell_ranges
        Half-open ranges of cells of order 29, ascending, shape (r, 2).
    flags
        ``os.RWF_NOWAIT``: the function does not wait.
    are_cached
        Function that tells whether the other columns are in memory. It is called before any row is read.

    Returns
    -------
    rows
        None if cells are not stored as in memory or not in order, or if most rows are in the ranges.

    Raises
    ------
    OSError
        The file is truncated, or cannot be read.
    NotInMemoryError
        The function would have to wait, and `flags` or `are_cached` forbids it.
    """
    pieces: dict[str, list[Any]] = {}
    row_arrays = [NO_ROWS]
    rows_before = 0
    file = os.open(path, os.O_RDONLY)
    try:
        begins = [value_index.find_value_offsets(file, group, schema, flags) for group in group_numbers]
        plain_fields = [field for field in schema if all(field.name in group_offsets for group_offsets in begins)]
        if are_cached is not None and len(plain_fields) < len(schema):
            plain_names = {field.name for field in plain_fields}
            if not are_cached([name for name in schema.names if name not in plain_names]):
                raise NotInMemoryError
        for group_place, group in enumerate(group_numbers):
            marks = value_index.get_sampled_cells(file, group, flags)
            first = value_index.find_value_offset(file, group, _CELL_FIELD, flags)
            if marks is None or first is None:
                return None
            count = value_index.count_rows(group)
            low, high = _find_row_range(marks, cell_ranges, count)
            row_numbers = NO_ROWS
            if high > low:
                cells = _read_values(file, first, low, high, arrow_type=_CELL_FIELD.type, flags=flags)
                row_numbers = _find_rows_in_ranges(cells, cell_ranges) + low
            if len(row_numbers) * 2 > count:
                return None
            if len(row_numbers):
                low = int(row_numbers[0])
                high = int(row_numbers[-1]) + 1
                row_arrays.append(row_numbers + rows_before)
                for field in plain_fields:
                    begin = begins[group_place][field.name]
                    values = _read_values(file, begin, low, high, arrow_type=field.type, flags=flags)
                    pieces.setdefault(field.name, []).append(values[row_numbers - low])
            rows_before += count
    finally:
        os.close(file)
    columns = {field.name: _concat_plain_values(field.type, pieces.get(field.name, [])) for field in plain_fields}
    return RowsInCells(columns, np.concatenate(row_arrays))


def take_column_rows(column: pa.ChunkedArray, row_numbers: Rows) -> pa.Array:
    """Take some rows of a decoded column."""
    if column.num_chunks != 1:
        return column.take(pa.array(row_numbers)).combine_chunks()
    chunk = column.chunk(0)
    if chunk.type not in PLAIN_TYPES or chunk.null_count:
        return chunk.take(pa.array(row_numbers))
    # For few rows numpy is ten times faster than Arrow.
    values = np.frombuffer(chunk.buffers()[1], PLAIN_TYPES[chunk.type][1])
    return _concat_plain_values(chunk.type, [values[row_numbers + chunk.offset]])


def _concat_plain_values(arrow_type: pa.DataType, pieces: Sequence[Any]) -> pa.Array:
    if len(pieces) == 1:
        values = pieces[0]
    else:
        values = np.concatenate([np.empty(0, PLAIN_TYPES[arrow_type][1]), *pieces])
    return pa.Array.from_buffers(arrow_type, len(values), [None, pa.py_buffer(values)])


def _read_values(file_descriptor: int, begin: int, low: int, high: int, *, arrow_type: pa.DataType, flags: int) -> Any:
    dtype = np.dtype(PLAIN_TYPES[arrow_type][1])
    size = (high - low) * dtype.itemsize
    buffer = _read_bytes(file_descriptor, size, begin + low * dtype.itemsize, flags)
    if len(buffer) != size:
        raise OSError("it is truncated")
    return buffer.view(dtype)


def _read_bytes(file_descriptor: int, byte_count: int, begin: int, flags: int) -> Any:
    """Read some bytes, or as many as there are."""
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
