"""Decode BINARY and BINARY2 bytes to Arrow columns (VOTable 1.4 sections 5.3, 5.4)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats.votable.binary_writer import describe_fixed_cell_format
from hven.model import literal
from hven.model.errors import SourceError
from hven.model.literal import NULL_STRING, to_arrow_string_scalar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Column
    from hven.model.types import ColumnType

    Array = np.ndarray[Any, Any]

_MAX_ROW_BYTES = 256 << 20
_ITEM_BYTES = {
    "unsignedByte": 1,
    "short": 2,
    "int": 4,
    "long": 8,
    "float": 4,
    "double": 8,
    "floatComplex": 8,
    "doubleComplex": 16,
    "boolean": 1,
    "char": 1,
    "unicodeChar": 2,
}
_unpack_length = struct.Struct(">i").unpack_from


class VotableBinaryDecoder:
    """Decoder for the rows of one list of columns.

    Rows of fixed size are one numpy view. Where cells have variable size, the start of a row is known only from the
    length words before it. One tight loop follows them, for the format allows no other way; everything else works on
    whole columns.
    """

    def __init__(self, columns: Sequence[Column], serialization: str) -> None:
        self._columns = tuple(columns)
        if serialization == "BINARY2":
            self._flag_byte_count = (len(columns) + 7) // 8
        else:
            self._flag_byte_count = 0
        self._fixed_formats = [describe_fixed_cell_format(column) for column in columns]
        self._before: list[int] = []  # bytes before each variable cell's length word, since the last variable cell
        self._record_dtypes: list[np.dtype[Any]] = []
        fields: list[Any] = []
        if self._flag_byte_count:
            fields.append(("flags", "u1", (self._flag_byte_count,)))
        self._variable_columns: list[int] = []
        self._record_numbers: list[int] = []
        for number, fixed_format in enumerate(self._fixed_formats):
            self._record_numbers.append(len(self._record_dtypes))
            if fixed_format is None:
                self._record_dtypes.append(np.dtype(fields))
                self._variable_columns.append(number)
                fields = []
            else:
                fields.append((f"c{number}", *fixed_format))
        self._record_dtypes.append(np.dtype(fields))
        if sum(record.itemsize for record in self._record_dtypes) > _MAX_ROW_BYTES:
            raise SourceError(f"a row of the table is larger than {_MAX_ROW_BYTES >> 20} MiB")

    def decode_rows(self, data: bytes, preceding_row_count: int) -> tuple[list[pa.Array], int, int]:
        """Decode all complete rows of some bytes.

        Parameters
        ----------
        preceding_row_count
            Number of rows before these, for messages.

        Returns
        -------
        The columns, the number of rows, and the number of bytes used.

        Raises
        ------
        SourceError
            A length word is negative, or a value is invalid.
        """
        raw = np.frombuffer(data, np.uint8)
        if not self._variable_columns:
            record = self._record_dtypes[0]
            if record.itemsize:
                rows = len(raw) // record.itemsize
            else:
                rows = 0
            byte_count = rows * record.itemsize
            records = [np.frombuffer(data, record, rows)]
            return self._decode_columns(records, [], raw, rows, preceding_row_count), rows, byte_count
        starts, counts, byte_count = self._scan_row_starts(data, preceding_row_count)
        rows = len(starts)
        records = []
        for number, record in enumerate(self._record_dtypes):
            if not record.itemsize:
                records.append(np.zeros(rows, record))
                continue
            byte_positions = starts[:, number, None] + np.arange(record.itemsize)
            records.append(raw[byte_positions].reshape(-1).view(record))
        cells = []
        for number in range(len(self._variable_columns)):
            cell_starts = starts[:, number] + self._record_dtypes[number].itemsize + 4
            cells.append((cell_starts, counts[:, number]))
        return self._decode_columns(records, cells, raw, rows, preceding_row_count), rows, byte_count

    def _scan_row_starts(self, data: bytes, rows_before: int) -> tuple[Array, Array, int]:
        """Follow the length words; return the start of each fixed stretch and the count of each cell, row by row."""
        gaps = [record.itemsize for record in self._record_dtypes]
        datatypes = [self._columns[number].type.datatype for number in self._variable_columns]
        bits = [datatype == "bit" for datatype in datatypes]
        sizes = [_ITEM_BYTES.get(datatype, 1) for datatype in datatypes]
        steps = list(zip(gaps[:-1], sizes, bits, strict=True))
        tail = gaps[-1]
        end = len(data)
        position = 0
        byte_count = 0
        starts: list[int] = []
        counts: list[int] = []
        while True:
            row_starts = []
            row_counts = []
            for gap, size, bit in steps:
                row_starts.append(position)
                position += gap
                if position + 4 > end:
                    break
                (count,) = _unpack_length(data, position)
                if count < 0:
                    row_number = rows_before + len(starts) // len(gaps) + 1
                    raise SourceError(f"row {row_number} has a cell of negative length, so the stream is corrupt")
                row_counts.append(count)
                if bit:
                    position += 4 + (count + 7) // 8
                else:
                    position += 4 + count * size
            else:
                row_starts.append(position)
                position += tail
                if position <= end:
                    starts += row_starts
                    counts += row_counts
                    byte_count = position
                    continue
            break
        start_array = np.array(starts, np.int64).reshape(-1, len(gaps))
        count_array = np.array(counts, np.int64).reshape(-1, len(steps))
        return start_array, count_array, byte_count

    def _decode_columns(
        self, records: list[Array], cells: list[tuple[Array, Array]], raw: Array, row_count: int, rows_before: int
    ) -> list[pa.Array]:
        if not row_count:
            return [pa.array([], column.type.arrow) for column in self._columns]
        arrays = []
        variable = iter(cells)
        for number, column in enumerate(self._columns):
            if self._flag_byte_count:
                null = self._read_null_flags(records[0], number)
            else:
                null = None
            try:
                if self._fixed_formats[number] is None:
                    array = self._decode_variable_column(column, raw, *next(variable), null)
                else:
                    values = records[self._record_numbers[number]][f"c{number}"]
                    array = self._decode_fixed_column(column, values, row_count, null)
            except literal.InvalidLiteralError as error:
                message = f"row {rows_before + error.row + 1}, column {column.name!r}: {error}"
                raise SourceError(message) from error
            arrays.append(array)
        return arrays

    def _read_null_flags(self, record: Array, number: int) -> Array:
        flag_bytes = record["flags"][:, number // 8]
        bit_position = np.uint8(7 - number % 8)
        return ((flag_bytes >> bit_position) & 1).astype(bool)

    def _decode_fixed_column(self, column: Column, values: Array, row_count: int, null: Array | None) -> pa.Array:
        kind = column.type
        if kind.datatype in {"char", "unicodeChar"}:
            width = values.dtype.itemsize
            flat = np.ascontiguousarray(values).view(np.uint8).reshape(row_count, width)
            offsets = np.arange(row_count + 1, dtype=np.int64) * width
            return self._decode_strings(flat.reshape(-1), offsets, column, null)
        if kind.datatype == "bit":
            if kind.arraysize is None:  # writers do not agree which of the eight bits it is
                return pa.array(values != 0, mask=null)
            size = _count_items(kind)
            row_bytes = np.ascontiguousarray(values).reshape(row_count, -1)
            bits = np.unpackbits(row_bytes, axis=1)[:, :size]
            bit_values = bits.astype(bool).reshape(-1)
            offsets = np.arange(row_count + 1, dtype=np.int64) * size
            return literal.fold_values_into_lists(offsets, pa.array(bit_values), null, kind)
        items = values.reshape(-1)
        items_per_row = len(items) // row_count
        if not pa.types.is_nested(kind.arrow):
            return self._convert_items(items, column, null)
        decoded_items = self._convert_items(items, column, None)
        if null is None:  # BINARY has no other null than an array in which all items are null
            if pa.types.is_floating(decoded_items.type):
                null_items = np.isnan(items)
            else:
                null_items = decoded_items.is_null().to_numpy(zero_copy_only=False)
            null = np.asarray(null_items.reshape(row_count, items_per_row).all(axis=1))
        offsets = np.arange(row_count + 1, dtype=np.int64) * items_per_row
        return literal.fold_values_into_lists(offsets, decoded_items, null, kind)

    def _convert_items(self, items: Array, column: Column, null: Array | None) -> pa.Array:
        """Convert flat values to Arrow; what VALUES/@null or the format itself marks as null becomes null."""
        kind = column.type
        if kind.datatype == "boolean":
            true = np.isin(items, _TRUE_CODES)
            false = np.isin(items, _FALSE_CODES)
            null_items = ~(true | false)
            invalid_items = null_items & ~np.isin(items, _NULL_BOOLEAN_CODES)
            if invalid_items.any():
                invalid_code = items[int(np.argmax(invalid_items))]
                raise literal.InvalidLiteralError(0, repr(chr(invalid_code)), kind)
            if null is not None:
                null_items = null_items | null
            return pa.array(true, mask=null_items)
        native = items.astype(items.dtype.newbyteorder("="))
        if native.dtype.kind == "f" and not self._flag_byte_count and kind.arraysize is None:
            null = np.asarray(np.isnan(native))
        if column.null is not None:
            try:
                null_items_by_value = native == native.dtype.type(column.null)
                if null is not None:
                    null_items_by_value = null | null_items_by_value
                null = null_items_by_value
            except (ValueError, OverflowError):
                pass  # a word that no value of this type can equal
        if null is not None and not null.any():
            null = None
        return pa.array(native, mask=null)

    def _decode_variable_column(
        self, column: Column, raw: Array, starts: Array, counts: Array, null: Array | None
    ) -> pa.Array:
        kind = column.type
        bit = kind.datatype == "bit"
        if bit:
            lengths = (counts + 7) // 8
        else:
            lengths = counts * _ITEM_BYTES[kind.datatype]
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        data = _concat_byte_ranges(raw, starts, offsets)
        if kind.datatype in {"char", "unicodeChar"}:
            return self._decode_strings(data, offsets, column, null)
        ends = np.zeros(len(counts) + 1, np.int64)
        np.cumsum(counts, out=ends[1:])
        # BINARY has no other null than an empty array
        if not self._flag_byte_count:
            null_rows = counts == 0
        else:
            null_rows = null
        if bit:
            unpacked_bits = np.unpackbits(data).astype(bool)
            bit_starts = np.repeat(offsets[:-1] * 8 - ends[:-1], counts)
            bit_positions = np.arange(int(ends[-1])) + bit_starts
            decoded_items = pa.array(unpacked_bits[bit_positions])
        elif kind.datatype in {"floatComplex", "doubleComplex"}:
            part_format = ">f4" if kind.datatype == "floatComplex" else ">f8"
            decoded_items = self._convert_items(data.view(part_format), column, None)
            ends = ends * 2
        else:
            item_format = "u1"
            if kind.datatype != "boolean":
                item_format = kind.scalar_type.numpy
            decoded_items = self._convert_items(data.view(item_format), column, None)
        return literal.fold_values_into_lists(ends, decoded_items, null_rows, kind)

    def _decode_strings(self, data: Array, offsets: Array, column: Column, null: Array | None) -> pa.Array:
        """Decode strings, each up to its first NUL."""
        kind = column.type
        is_utf16 = kind.datatype == "unicodeChar"
        if is_utf16:
            texts = decode_unicode_cells(data, offsets)
        else:
            texts = decode_char_cells(data, offsets)
        if pa.types.is_nested(kind.arrow):
            padded = pc.replace_substring(texts, "\0", " ")
            if null is None:
                null_rows = pc.equal(pc.utf8_trim(texts, characters="\0"), to_arrow_string_scalar(""))
            else:
                null_rows = pa.array(null)
            padded = pc.if_else(null_rows, NULL_STRING, padded)
            return literal.split_string_arrays(padded, kind)
        if (data == 0).any():
            texts = pc.replace_substring_regex(texts, r"(?s)\x00.*", "")
        # BINARY has no other null than an empty string
        if null is None:
            null_rows = pc.equal(texts, to_arrow_string_scalar(""))
        else:
            null_rows = pa.array(null)
        if column.null is not None:
            null_rows = pc.or_(null_rows, pc.equal(texts, to_arrow_string_scalar(column.null)))
        if pc.any(null_rows).as_py():
            texts = pc.if_else(null_rows, NULL_STRING, texts)
        if kind.is_timestamp:
            return literal.parse_dali_literals(texts, kind)
        return texts


_TRUE_CODES = np.frombuffer(b"Tt1", np.uint8)
_FALSE_CODES = np.frombuffer(b"Ff0", np.uint8)
_NULL_BOOLEAN_CODES = np.frombuffer(b"\0 ?", np.uint8)


def _count_items(column_type: ColumnType) -> int:
    if column_type.arraysize is not None:
        return int(np.prod([length or 1 for length in column_type.shape]))
    return 1


def _concat_byte_ranges(raw: Array, starts: Array, offsets: Array) -> Array:
    """Copy separate stretches of bytes into one array."""
    total = int(offsets[-1])
    shifts = np.repeat(starts - offsets[:-1], np.diff(offsets))
    index = np.arange(total) + shifts
    gathered: Array = raw[index]
    return gathered


def _build_string_array(data: Array, offsets: Array) -> pa.Array:
    offset_buffer = pa.py_buffer(offsets.astype(np.int32))
    data_buffer = pa.py_buffer(np.ascontiguousarray(data))
    return pa.Array.from_buffers(pa.string(), len(offsets) - 1, [None, offset_buffer, data_buffer])


def decode_char_cells(data: Array, offsets: Array) -> pa.Array:
    """Decode ``char`` cells as ASCII, as UTF-8 (VOTable 1.6), or else as Latin-1, in which any byte is valid."""
    if (data < 0x80).all():
        return _build_string_array(data, offsets)
    texts = _build_string_array(data, offsets)
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        is_not_ascii = data >= 0x80
        utf8_offsets = np.zeros(len(data) + 1, np.int64)
        np.cumsum(is_not_ascii + 1, out=utf8_offsets[1:])
        utf8_text = data.tobytes().decode("latin-1").encode()
        return _build_string_array(np.frombuffer(utf8_text, np.uint8), utf8_offsets[offsets])
    return texts


def decode_unicode_cells(data: Array, offsets: Array) -> pa.Array:
    """Decode ``unicodeChar`` cells (UTF-16BE); half of a surrogate pair becomes U+FFFD."""
    units = data.view(">u2").astype(np.uint16)
    high = (units & 0xFC00) == 0xD800
    low = (units & 0xFC00) == 0xDC00
    paired = np.zeros(len(units), bool)
    paired[:-1] |= high[:-1] & low[1:]
    paired[1:] |= low[1:] & high[:-1]
    units[(high | low) & ~paired] = 0xFFFD
    # UTF-8 has four bytes for a surrogate pair, and one to three for any other unit
    lengths = np.where(units < 0x800, 2, 3)
    lengths[units < 0x80] = 1
    lengths[paired] = 2
    utf8_offsets = np.zeros(len(units) + 1, np.int64)
    np.cumsum(lengths, out=utf8_offsets[1:])
    utf8_text = units.astype("<u2").tobytes().decode("utf-16-le").encode()
    return _build_string_array(np.frombuffer(utf8_text, np.uint8), utf8_offsets[offsets // 2])
