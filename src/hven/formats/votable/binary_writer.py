"""Encode rows as BINARY and BINARY2 bytes, in whole batches (VOTable 1.4 sections 5.3, 5.4)."""

from __future__ import annotations

import math
import struct
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pybase64

from hven.formats.votable.document import choose_null_value
from hven.model import literal
from hven.model.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hven.model.table import Column
    from hven.model.types import ColumnType

    Array = np.ndarray[Any, Any]

_FALSE_SCALAR, _EMPTY_BINARY = pa.scalar(False, pa.bool_()), pa.scalar(b"", pa.binary())
MAX_SMALL_BATCH_ROWS = 16  # so few rows are encoded one by one faster than numpy and Arrow get ready
_BASE64_LINE_BYTES = 3 * 65_536  # bytes per base64 line: a multiple of three, so that lines join without padding


class Base64Encoder:
    """Encoder of bytes to base64 text; bytes that do not fill a group of three wait for the next call."""

    def __init__(self) -> None:
        self._pending_bytes = b""

    def encode(self, data: memoryview) -> Iterator[bytes]:
        """Encode all complete groups of three bytes."""
        start = 0
        if self._pending_bytes:
            start = min(3 - len(self._pending_bytes), len(data))
            self._pending_bytes += bytes(data[:start])
            if len(self._pending_bytes) < 3:
                return
            yield pybase64.b64encode(self._pending_bytes)
            self._pending_bytes = b""
        encodable_end = start + (len(data) - start) // 3 * 3
        for offset in range(start, encodable_end, _BASE64_LINE_BYTES):
            yield pybase64.b64encode(data[offset : min(offset + _BASE64_LINE_BYTES, encodable_end)])
            yield b"\n"
        self._pending_bytes = bytes(data[encodable_end:])

    def finish(self) -> bytes:
        """Encode the remaining bytes, with padding."""
        pending_bytes = self._pending_bytes
        self._pending_bytes = b""
        if not pending_bytes:
            return b""
        return pybase64.b64encode(pending_bytes) + b"\n"


class VotableBinaryEncoder:
    """Encoder for the rows of one list of columns.

    Cells of fixed size between two cells of variable size form one packed numpy record; variable cells are Arrow binary
    columns; Arrow's element-wise join puts both together. Nothing here loops over rows.
    """

    def __init__(self, columns: Sequence[Column], serialization: str) -> None:
        self._columns = tuple(columns)
        if serialization == "BINARY2":
            self._flag_byte_count = (len(columns) + 7) // 8
        else:
            self._flag_byte_count = 0
        self._null_values: list[str | None] = []
        self._record_dtypes: list[np.dtype[Any]] = []
        # for each column its record, and its field in it (None: a variable cell)
        self._column_layout: list[tuple[int, str | None]] = []
        # encoders of single cells for small batches; None if a column has none
        cell_encoders: list[Callable[[Any], bytes] | None] = []
        self._char_columns: list[int] = []
        fields: list[tuple[str, str, tuple[int, ...]]] = []
        if self._flag_byte_count:
            fields.append(("flags", "u1", (self._flag_byte_count,)))
        for number, column in enumerate(self._columns):
            fixed_format = describe_fixed_cell_format(column)
            if fixed_format is None:
                fields.append(("count", ">i4", ()))
                self._column_layout.append((len(self._record_dtypes), None))
                self._record_dtypes.append(np.dtype(fields))
                fields = []
            else:
                fields.append((f"c{number}", *fixed_format))
                self._column_layout.append((len(self._record_dtypes), f"c{number}"))
            self._null_values.append(choose_null_value(column, serialization))
            cell_encoders.append(_create_cell_encoder(column.type))
            if column.type.datatype == "char":
                self._char_columns.append(number)
        self._has_trailing_record = bool(fields)
        if fields:
            self._record_dtypes.append(np.dtype(fields))
        self._row_bytes = sum(map(attrgetter("itemsize"), self._record_dtypes))
        self._cell_encoders: list[Callable[[Any], bytes]] = []
        if self._flag_byte_count and None not in cell_encoders:
            self._cell_encoders = list(filter(None, cell_encoders))

    def encode_batch(self, batch: pa.RecordBatch) -> Iterator[memoryview]:
        """Encode all rows, in pieces of bounded size."""
        if self._columns:
            for part in literal.split_batch_by_written_size(batch, self._row_bytes):
                if part.num_rows <= MAX_SMALL_BATCH_ROWS and self._cell_encoders:
                    yield self._encode_small_batch(part)
                else:
                    yield self._encode_piece(part)

    def encode_small_rows(self, rows: Sequence[tuple[Any, ...]]) -> bytes | None:
        """Encode a few rows of plain numbers and text.

        Return None for more rows, for other columns, and for text that no ``char`` can hold.
        """
        if len(rows) > MAX_SMALL_BATCH_ROWS or not self._cell_encoders:
            return None
        for number in self._char_columns:
            if not all((row[number] or "").isascii() for row in rows):
                return None
        return self._encode_rows(rows)

    def _encode_small_batch(self, batch: pa.RecordBatch) -> memoryview:
        """Encode some rows of plain numbers and text cell by cell, to the same bytes as `_encode_piece`."""
        columns = []
        for array, column in zip(batch.columns, self._columns, strict=True):
            columns.append(literal.cast_to_storage_type(array, column.type).to_pylist())
        rows = zip(*columns, strict=True)
        return memoryview(self._encode_rows(rows))

    def _encode_rows(self, rows: Iterable[tuple[Any, ...]]) -> bytes:
        padding_bits = 8 * self._flag_byte_count - len(self._columns)
        parts = []
        for row in rows:
            flags = 0
            for value in row:
                flags = flags << 1 | (value is None)
            parts.append((flags << padding_bits).to_bytes(self._flag_byte_count, "big"))
            for encode_cell, value in zip(self._cell_encoders, row, strict=True):
                parts.append(encode_cell(value))
        return b"".join(parts)

    def _encode_piece(self, batch: pa.RecordBatch) -> memoryview:
        row_count = batch.num_rows
        records = [np.zeros(row_count, record) for record in self._record_dtypes]
        variable: list[pa.Array] = []
        for number, column in enumerate(self._columns):
            array = literal.cast_to_storage_type(batch.column(number), column.type)
            if array.null_count and self._flag_byte_count:
                flags = records[0]["flags"][:, number // 8]
                is_null = array.is_null().to_numpy(zero_copy_only=False)
                flags |= is_null.view(np.uint8) << np.uint8(7 - number % 8)
            record_number, field = self._column_layout[number]
            if field is not None:
                self._fill_fixed_cells(records[record_number][field], array, number)
            else:
                cells, counts = self._encode_variable_cells(array, number)
                records[record_number]["count"] = counts
                variable.append(cells)
        if not variable:
            return _view_bytes(records[0])
        parts: list[pa.Array] = []
        for number, record in enumerate(records):
            record_bytes = record.view(np.uint8).reshape(-1)
            record_offsets = np.arange(row_count + 1) * record.dtype.itemsize
            binary_array = _build_binary_array(record_bytes, record_offsets)
            parts.append(binary_array)
            if number < len(variable):
                parts.append(variable[number])
        joined = pc.binary_join_element_wise(*parts, _EMPTY_BINARY)
        return literal.view_column_bytes(joined)

    def _fill_fixed_cells(self, target: Array, array: pa.Array, number: int) -> None:
        """Write one column of fixed-size cells."""
        column = self._columns[number]
        kind = column.type
        if kind.datatype in {"char", "unicodeChar"}:
            if pa.types.is_nested(array.type):
                _fill_string_array_cells(target, array, column)
            else:
                _fill_text_cells(target, array, column)
            return
        if kind.arraysize is None and not pa.types.is_nested(array.type):
            target[...] = self._convert_numbers(array, number, null_row=None)
            return
        self._fill_array_cells(target, array, number)

    def _fill_array_cells(self, target: Array, array: pa.Array, number: int) -> None:
        """Write one column of arrays of numbers of fixed size."""
        _, values = literal.flatten_lists(array)
        size = 0
        if len(array):
            size = len(values) // len(array)
        null = null_row = None
        if array.null_count:
            null = array.is_null().to_numpy(zero_copy_only=False)
            null_row = np.repeat(null, size)
        numbers = self._convert_numbers(values, number, null_row=null_row)
        if self._columns[number].type.datatype == "bit":
            bits = numbers.reshape(len(array), size)
            target[...] = np.packbits(bits, axis=1)
            return
        if numbers.dtype.kind != "c":
            numbers = numbers.reshape(target.shape)
        target[...] = numbers
        if null is not None:
            target[null] = self._choose_fill_value(number)

    def _choose_fill_value(self, number: int) -> Any:
        kind = self._columns[number].type
        if kind.datatype in {"float", "double", "floatComplex", "doubleComplex"}:
            return np.nan
        if kind.datatype == "boolean":
            return ord("?")
        if self._flag_byte_count:
            return 0
        return int(self._require_null_value(number))

    def _require_null_value(self, number: int) -> str:
        null_value = self._null_values[number]
        if null_value is None:
            message = f"column {self._columns[number].name!r} contains a null, but no value is declared for null"
            raise DataError(message, remedy="use BINARY2 or TABLEDATA, or declare `null` for the column")
        return null_value

    def _convert_numbers(self, values: pa.Array, number: int, null_row: Array | None) -> Any:
        """Convert flat values to numpy with nulls filled; `null_row` marks elements of rows that are null."""
        kind = self._columns[number].type
        if kind.datatype in {"boolean", "bit"}:
            boolean_values = pc.fill_null(values, _FALSE_SCALAR).to_numpy(zero_copy_only=False)
            if kind.datatype == "bit":
                lost_null_count = values.null_count
                if null_row is not None and self._flag_byte_count:
                    lost_null_count -= int(null_row.sum())
                if lost_null_count > 0 and (kind.arraysize is not None or not self._flag_byte_count):
                    self._require_null_value(number)
                return boolean_values
            true_letter, false_letter = np.uint8(ord("T")), np.uint8(ord("F"))
            character_codes = np.where(boolean_values, true_letter, false_letter)
            if values.null_count:
                character_codes[values.is_null().to_numpy(zero_copy_only=False)] = ord("?")
            return character_codes
        if not values.null_count:
            return values.to_numpy(zero_copy_only=False)
        if pa.types.is_floating(values.type):
            return values.to_numpy(zero_copy_only=False)  # nulls become NaN
        if null_row is None:
            whole_row_nulls = 0
        else:
            whole_row_nulls = int(null_row.sum())
        if (kind.arraysize is None and self._flag_byte_count) or values.null_count <= whole_row_nulls:
            fill = 0
        else:
            fill = int(self._require_null_value(number))
        filled_values = pc.fill_null(values, pa.scalar(fill, values.type))
        return filled_values.to_numpy(zero_copy_only=False)

    def _encode_variable_cells(self, array: pa.Array, number: int) -> tuple[pa.Array, Array]:
        """Encode one column of variable cells as binary, with the item counts."""
        column = self._columns[number]
        kind = column.type
        if pa.types.is_string(array.type) or kind.is_timestamp:
            text = array
            if kind.is_timestamp:
                text = literal.format_dali_literals(array, kind)
            text = _replace_nulls_and_nul_characters(text)
            if kind.datatype == "unicodeChar":
                return _encode_utf16(text)
            return _encode_utf8(text)
        offsets, values = literal.flatten_lists(array)
        if pa.types.is_string(values.type):
            width = kind.shape[0] or 1
            cells = np.zeros(len(values), _build_text_cell_dtype(kind.datatype, width))
            _fill_text_cells(cells, values, column)
            raw = cells.view(np.uint8).reshape(-1)
            binary_array = _build_binary_array(raw, offsets * cells.dtype.itemsize)
            return binary_array, np.diff(offsets) * width
        numbers = self._convert_numbers(values, number, None)
        if kind.datatype == "bit":
            return _pack_bits(numbers, offsets)
        element_format = _ELEMENT_FORMATS.get(kind.datatype, kind.scalar_type.numpy)
        element_values = numbers.astype(element_format, copy=False)
        binary_array = _build_binary_array(element_values.view(np.uint8), offsets * element_values.itemsize)
        counts = np.diff(offsets)
        if kind.datatype in {"floatComplex", "doubleComplex"}:
            counts = counts // 2
        return binary_array, counts


_ELEMENT_FORMATS = {"floatComplex": ">f4", "doubleComplex": ">f8", "boolean": "u1"}


_SCALAR_FORMATS = {"unsignedByte": "B", "short": ">h", "int": ">i", "long": ">q", "float": ">f", "double": ">d"}


def _create_cell_encoder(column_type: ColumnType) -> Callable[[Any], bytes] | None:
    """Create the function that encodes one BINARY2 cell, null or not, of a plain number or of text of any length.

    Return None for any other type.
    """
    if column_type.datatype in _SCALAR_FORMATS and column_type.arraysize is None and column_type.stored_xtype is None:
        pack = struct.Struct(_SCALAR_FORMATS[column_type.datatype]).pack
        null = pack(0)
        if column_type.datatype in {"float", "double"}:
            null = pack(math.nan)
        return lambda value: null if value is None else pack(value)
    if (
        column_type.shape == (None,)
        and column_type.datatype in {"char", "unicodeChar"}
        and pa.types.is_string(column_type.arrow)
    ):
        if column_type.datatype == "unicodeChar":
            encoding, unit = ("utf-16-be", 2)
        else:
            encoding, unit = ("utf-8", 1)

        def encode_text(value: str | None) -> bytes:
            raw = (value or "").replace("\0", "\ufffd").encode(encoding)
            return (len(raw) // unit).to_bytes(4, "big") + raw

        return encode_text
    return None


def describe_fixed_cell_format(column: Column) -> tuple[str, tuple[int, ...]] | None:
    """Return the numpy format and shape of a cell of fixed size; None if the size varies."""
    kind = column.type
    size = 1
    for length in kind.shape:
        if length is None:
            return None
        size *= length
    if kind.datatype == "char":
        return f"S{size}", ()
    if kind.datatype == "unicodeChar":
        return f"V{2 * size}", ()
    if kind.datatype in {"floatComplex", "doubleComplex"}:
        return _ELEMENT_FORMATS[kind.datatype], (2 * size,)
    item_format = _ELEMENT_FORMATS.get(kind.datatype, kind.scalar_type.numpy)
    if kind.datatype == "bit":
        item_format = "u1"
        size = (size + 7) // 8
    shape = () if kind.arraysize is None else (size,)
    return item_format, shape


def _build_text_cell_dtype(datatype: str, width: int) -> str:
    if datatype == "char":
        return f"S{width}"
    return f"V{2 * width}"


def _view_bytes(records: Array) -> memoryview:
    return records.view(np.uint8).reshape(-1).data


def _build_binary_array(raw: Array, offsets: Array) -> pa.Array:
    offset_buffer = pa.py_buffer(offsets.astype(np.int32))
    data_buffer = pa.py_buffer(np.ascontiguousarray(raw))
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, [None, offset_buffer, data_buffer])


def _replace_nulls_and_nul_characters(text: pa.Array) -> pa.Array:
    """Fill nulls with empty text; replace NUL, at which readers would end the string, by U+FFFD."""
    text = literal.fill_nulls(text)
    if b"\0" in literal.view_column_bytes(text).tobytes():
        return pc.replace_substring(text, "\0", "\ufffd")
    return text


def _read_offsets(array: pa.Array) -> Array:
    offsets = np.frombuffer(array.buffers()[1], np.int32)
    return offsets[array.offset : array.offset + len(array) + 1]


def _encode_utf8(text: pa.Array) -> tuple[pa.Array, Array]:
    return text.cast(pa.binary()), np.diff(_read_offsets(text))


def _encode_utf16(text: pa.Array) -> tuple[pa.Array, Array]:
    """Encode as UTF-16BE in one conversion for the whole column; count offsets from the UTF-8 bytes."""
    offsets = _read_offsets(text).astype(np.int64)
    data = text.buffers()[2]
    if data is not None:
        raw = memoryview(data)[offsets[0] : offsets[-1]]
    else:
        raw = memoryview(b"")
    utf8_bytes = np.frombuffer(raw, np.uint8)
    units = np.zeros(len(utf8_bytes) + 1, np.int64)
    is_character_start = (utf8_bytes & 0xC0) != 0x80
    units_per_byte = is_character_start.astype(np.int8) + (utf8_bytes >= 0xF0)  # four bytes become two units
    np.cumsum(units_per_byte, out=units[1:])
    starts = units[offsets - offsets[0]]
    utf16_text = bytes(raw).decode("utf-8").encode("utf-16-be")
    utf16_bytes = np.frombuffer(utf16_text, np.uint8)
    return _build_binary_array(utf16_bytes, starts * 2), np.diff(starts)


def _fill_text_cells(target: Array, array: pa.Array, column: Column) -> None:
    """Write strings into NUL-padded cells.

    Raises
    ------
    DataError
        A string is longer than its cell.
    """
    kind = column.type
    if kind.is_timestamp:
        array = literal.format_dali_literals(array, kind)
    text = _replace_nulls_and_nul_characters(array)
    if kind.datatype == "unicodeChar":
        cells, counts = _encode_utf16(text)
        lengths = counts * 2
    else:
        cells, counts = _encode_utf8(text)
        lengths = counts
    cell_bytes = target.dtype.itemsize
    if len(lengths) and int(lengths.max()) > cell_bytes:
        message = (
            f"column {column.name!r} is declared with arraysize {kind.arraysize or 1}, but a value has "
            f"{int(counts.max())} characters"
        )
        raise DataError(message, remedy="declare an arraysize that fits the column's longest value, or `*`")
    offsets = _read_offsets(cells).astype(np.int64)
    if len(cells) and offsets[-1]:
        text_buffer = np.frombuffer(cells.buffers()[2], np.uint8)
        raw = text_buffer[offsets[0] : offsets[-1]]
    else:
        raw = np.zeros(0, np.uint8)
    if len(lengths) and int(lengths.min()) == cell_bytes:
        target[...] = raw.view(target.dtype)
        return
    padded_cells = np.zeros((len(text), cell_bytes), np.uint8)
    rows = np.repeat(np.arange(len(text)), lengths)
    row_starts = np.repeat(offsets[:-1] - offsets[0], lengths)
    column_offsets = np.arange(len(raw)) - row_starts
    padded_cells[rows, column_offsets] = raw
    target[...] = padded_cells.reshape(-1).view(target.dtype)


def _fill_string_array_cells(target: Array, array: pa.Array, column: Column) -> None:
    """Write arrays of strings into cells of fixed size; missing strings are empty.

    Raises
    ------
    DataError
        A value has more strings, or longer ones, than fit into the cell.
    """
    kind = column.type
    width = kind.shape[0] or 1
    lengths = [length or 1 for length in kind.shape[1:]]
    string_capacity = int(np.prod(lengths))
    offsets, values = literal.flatten_lists(array)
    counts = np.diff(offsets)
    if len(counts) and int(counts.max()) > string_capacity:
        message = (
            f"column {column.name!r} is declared with arraysize {kind.arraysize}, but a value has "
            f"{int(counts.max())} strings"
        )
        raise DataError(message, remedy="declare an arraysize that fits the column's longest value, or `*`")
    grid = np.zeros(len(array) * string_capacity, _build_text_cell_dtype(kind.datatype, width))
    cells = np.zeros(len(values), grid.dtype)
    _fill_text_cells(cells, values, column)
    cell_starts = np.arange(len(array)) * string_capacity
    positions = np.arange(len(values)) + np.repeat(cell_starts - offsets[:-1], counts)
    grid[positions] = cells
    target[...] = grid.view(target.dtype)


def _pack_bits(bit_values: Array, offsets: Array) -> tuple[pa.Array, Array]:
    """Pack the bits of each row, most significant first, padded with zeros to whole bytes."""
    counts = np.diff(offsets)
    lengths = (counts + 7) // 8
    starts = np.concatenate([[0], np.cumsum(lengths)])
    padded_bits = np.zeros(int(starts[-1]) * 8, np.bool_)
    bit_starts = np.repeat(starts[:-1] * 8 - offsets[:-1], counts)
    positions = np.arange(len(bit_values)) + bit_starts
    padded_bits[positions] = bit_values
    return _build_binary_array(np.packbits(padded_bits), starts), counts
