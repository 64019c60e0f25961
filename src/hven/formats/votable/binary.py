"""Rows as BINARY and BINARY2 bytes, whole batches at a time (VOTable 1.4 sections 5.3, 5.4)."""

from __future__ import annotations

import binascii
import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats.votable.head import magic
from hven.model import literal
from hven.model.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hven.model.table import Column
    from hven.model.types import Type

    Array = np.ndarray[Any, Any]

_FALSE, _NOTHING = pa.scalar(False, pa.bool_()), pa.scalar(b"", pa.binary())
FEW = 16  # rows that are written one by one, in less time than numpy and Arrow take to get ready
_LINE = 3 * 65_536  # bytes per base64 line: a multiple of three, so that lines join without padding


class Base64:
    """Bytes in, base64 text out; what does not fill three bytes waits for the next call."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: memoryview) -> Iterator[bytes]:
        """Encode as much as fills whole triples."""
        start = 0
        if self._rest:
            start = min(3 - len(self._rest), len(data))
            self._rest += bytes(data[:start])
            if len(self._rest) < 3:
                return
            yield binascii.b2a_base64(self._rest, newline=False)
            self._rest = b""
        whole = start + (len(data) - start) // 3 * 3
        for at in range(start, whole, _LINE):
            yield binascii.b2a_base64(data[at : min(at + _LINE, whole)])
        self._rest = bytes(data[whole:])

    def finish(self) -> bytes:
        """Encode what is left, with padding."""
        rest, self._rest = self._rest, b""
        return binascii.b2a_base64(rest) if rest else b""


class Rows:
    """Encoder for one set of columns.

    Cells of fixed size between two cells of variable size form one packed numpy record; variable cells are Arrow binary
    columns; Arrow's element-wise join puts both together. Nothing here loops over rows.
    """

    def __init__(self, columns: Sequence[Column], serialization: str) -> None:
        self._columns = tuple(columns)
        self._flags = (len(columns) + 7) // 8 if serialization == "BINARY2" else 0
        self._magic = [magic(column, serialization) for column in columns]
        self._records: list[np.dtype[Any]] = []
        self._layout: list[tuple[int, str | None]] = []  # per column: its record, and its field there (None: variable)
        fields: list[tuple[str, str, tuple[int, ...]]] = [("flags", "u1", (self._flags,))] if self._flags else []
        for number, column in enumerate(self._columns):
            fixed = cell_format(column)
            if fixed is None:
                fields.append(("count", ">i4", ()))
                self._layout.append((len(self._records), None))
                self._records.append(np.dtype(fields))
                fields = []
            else:
                fields.append((f"c{number}", *fixed))
                self._layout.append((len(self._records), f"c{number}"))
        self._last = bool(fields)
        if fields:
            self._records.append(np.dtype(fields))
        self._width = sum(record.itemsize for record in self._records)
        alone = [_alone(column.type) for column in self._columns] if self._flags else []
        self._alone = [cell for cell in alone if cell is not None] if None not in alone else []
        self._ascii = [number for number, column in enumerate(self._columns) if column.type.datatype == "char"]

    def encode(self, batch: pa.RecordBatch) -> Iterator[memoryview]:
        """Encode all rows, in pieces of bounded size."""
        if self._columns:
            for part in literal.pieces(batch, self._width):
                yield self._few(part) if part.num_rows <= FEW and self._alone else self._piece(part)

    def cells(self, rows: Sequence[tuple[Any, ...]]) -> bytes | None:
        """Encode a few rows; None if they are many, not of plain numbers and text, or have a text that no ``char`` can hold."""
        if len(rows) > FEW or not self._alone:
            return None
        if any(not (row[number] or "").isascii() for number in self._ascii for row in rows):
            return None
        return self._written(rows)

    def _few(self, batch: pa.RecordBatch) -> memoryview:
        """Write some rows of plain numbers and text, cell by cell: the same bytes as `_piece`."""
        columns = [
            literal.storage(array, column.type).to_pylist()
            for array, column in zip(batch.columns, self._columns, strict=True)
        ]
        return memoryview(self._written(zip(*columns, strict=True)))

    def _written(self, rows: Iterable[tuple[Any, ...]]) -> bytes:
        unused = 8 * self._flags - len(self._columns)
        parts = []
        for row in rows:
            flags = 0
            for value in row:
                flags = flags << 1 | (value is None)
            parts.append((flags << unused).to_bytes(self._flags, "big"))
            parts += [cell(value) for cell, value in zip(self._alone, row, strict=True)]
        return b"".join(parts)

    def _piece(self, batch: pa.RecordBatch) -> memoryview:
        n = batch.num_rows
        records = [np.zeros(n, record) for record in self._records]
        variable: list[pa.Array] = []
        for number, column in enumerate(self._columns):
            array = literal.storage(batch.column(number), column.type)
            if array.null_count and self._flags:
                flags = records[0]["flags"][:, number // 8]
                flags |= array.is_null().to_numpy(zero_copy_only=False).view(np.uint8) << np.uint8(7 - number % 8)
            where, field = self._layout[number]
            if field is not None:
                self._fill(records[where][field], array, number)
            else:
                cells, counts = self._cells(array, number)
                records[where]["count"] = counts
                variable.append(cells)
        if not variable:
            return _view(records[0])
        parts: list[pa.Array] = []
        for number, record in enumerate(records):
            parts.append(_as_binary(record.view(np.uint8).reshape(-1), np.arange(n + 1) * record.dtype.itemsize))
            if number < len(variable):
                parts.append(variable[number])
        joined = pc.binary_join_element_wise(*parts, _NOTHING)
        return literal.characters(joined)

    def _fill(self, target: Array, array: pa.Array, number: int) -> None:
        """Write one column of fixed-size cells."""
        column = self._columns[number]
        kind = column.type
        if kind.datatype in {"char", "unicodeChar"}:
            (_fixed_strings if pa.types.is_nested(array.type) else _fixed_text)(target, array, column)
            return
        if kind.arraysize is None and not pa.types.is_nested(array.type):
            target[...] = self._numbers(array, number, null_row=None)
            return
        _, values = literal.flat(array)
        null = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None
        size = len(values) // len(array) if len(array) else 0
        numbers = self._numbers(values, number, null_row=None if null is None else np.repeat(null, size))
        if kind.datatype == "bit":
            target[...] = np.packbits(numbers.reshape(len(array), size), axis=1)
        else:
            target[...] = numbers.reshape(target.shape) if numbers.dtype.kind != "c" else numbers
            if null is not None:
                target[null] = self._null_fill(number)

    def _null_fill(self, number: int) -> Any:
        kind = self._columns[number].type
        if kind.datatype in {"float", "double", "floatComplex", "doubleComplex"}:
            return np.nan
        if kind.datatype == "boolean":
            return ord("?")
        return 0 if self._flags else int(self._magic_of(number))

    def _magic_of(self, number: int) -> str:
        found = self._magic[number]
        if found is None:
            message = f"column {self._columns[number].name!r} has no value to stand for null, but holds a null"
            raise DataError(message, remedy="use BINARY2 or TABLEDATA, or declare the column's `null`")
        return found

    def _numbers(self, values: pa.Array, number: int, null_row: Array | None) -> Any:
        """Return flat values as numpy, nulls filled. `null_row` marks elements of rows that are null as a whole."""
        kind = self._columns[number].type
        if kind.datatype in {"boolean", "bit"}:
            truth = pc.fill_null(values, _FALSE).to_numpy(zero_copy_only=False)
            if kind.datatype == "bit":
                lost = values.null_count - (0 if null_row is None or not self._flags else int(null_row.sum()))
                if lost > 0 and (kind.arraysize is not None or not self._flags):
                    self._magic_of(number)
                return truth
            shown = np.where(truth, np.uint8(ord("T")), np.uint8(ord("F")))
            if values.null_count:
                shown[values.is_null().to_numpy(zero_copy_only=False)] = ord("?")
            return shown
        if not values.null_count:
            return values.to_numpy(zero_copy_only=False)
        if pa.types.is_floating(values.type):
            return values.to_numpy(zero_copy_only=False)  # nulls become NaN
        whole_row_nulls = 0 if null_row is None else int(null_row.sum())
        fill = (
            0
            if (kind.arraysize is None and self._flags) or values.null_count <= whole_row_nulls
            else int(self._magic_of(number))
        )
        return pc.fill_null(values, pa.scalar(fill, values.type)).to_numpy(zero_copy_only=False)

    def _cells(self, array: pa.Array, number: int) -> tuple[pa.Array, Array]:
        """Encode one column of variable cells as binary, with the item counts."""
        column = self._columns[number]
        kind = column.type
        if pa.types.is_string(array.type) or kind.is_timestamp:
            text = _without_nul(literal.text(array, kind) if kind.is_timestamp else array)
            return _utf16(text) if kind.datatype == "unicodeChar" else _utf8(text)
        offsets, values = literal.flat(array)
        if pa.types.is_string(values.type):
            width = kind.shape[0] or 1
            cells = np.zeros(len(values), _cell(kind.datatype, width))
            _fixed_text(cells, values, column)
            raw = cells.view(np.uint8).reshape(-1)
            return _as_binary(raw, offsets * cells.dtype.itemsize), np.diff(offsets) * width
        numbers = self._numbers(values, number, None)
        if kind.datatype == "bit":
            return _bits(numbers, offsets)
        wide = numbers.astype(_ELEMENT.get(kind.datatype, kind.scalar.numpy), copy=False)
        per = 2 if kind.datatype in {"floatComplex", "doubleComplex"} else 1
        return _as_binary(wide.view(np.uint8), offsets * wide.itemsize), np.diff(offsets) // per


_ELEMENT = {"floatComplex": ">f4", "doubleComplex": ">f8", "boolean": "u1"}


_SCALARS = {"unsignedByte": "B", "short": ">h", "int": ">i", "long": ">q", "float": ">f", "double": ">d"}


def _alone(kind: Type) -> Callable[[Any], bytes] | None:
    """Return what writes one cell of BINARY2, null or not, of a plain number or of text of any length; None for any other column."""
    if kind.datatype in _SCALARS and kind.arraysize is None and kind.special is None:
        pack = struct.Struct(_SCALARS[kind.datatype]).pack
        null = pack(math.nan if kind.datatype in {"float", "double"} else 0)
        return lambda value: null if value is None else pack(value)
    if kind.shape == (None,) and kind.datatype in {"char", "unicodeChar"} and pa.types.is_string(kind.arrow):
        encoding, unit = ("utf-16-be", 2) if kind.datatype == "unicodeChar" else ("utf-8", 1)

        def text(value: str | None) -> bytes:
            raw = (value or "").replace("\0", "\ufffd").encode(encoding)
            return (len(raw) // unit).to_bytes(4, "big") + raw

        return text
    return None


def cell_format(column: Column) -> tuple[str, tuple[int, ...]] | None:
    """Return the numpy format and shape of a fixed-size cell; None if its size varies."""
    kind = column.type
    size = 1
    for length in kind.shape:
        if length is None:
            return None
        size *= length
    shape = () if kind.arraysize is None else (size,)
    if kind.datatype == "char":
        return f"S{size}", ()
    if kind.datatype == "unicodeChar":
        return f"V{2 * size}", ()
    if kind.datatype == "bit":
        return "u1", ((size + 7) // 8,) if shape else ()
    if kind.datatype in {"floatComplex", "doubleComplex"}:
        return _ELEMENT[kind.datatype], (2 * size,)
    return _ELEMENT.get(kind.datatype, kind.scalar.numpy), shape


def _cell(datatype: str, width: int) -> str:
    return f"S{width}" if datatype == "char" else f"V{2 * width}"


def _view(records: Array) -> memoryview:
    return records.view(np.uint8).reshape(-1).data


def _as_binary(raw: Array, offsets: Array) -> pa.Array:
    return pa.Array.from_buffers(
        pa.binary(),
        len(offsets) - 1,
        [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(np.ascontiguousarray(raw))],
    )


def _without_nul(text: pa.Array) -> pa.Array:
    """Fill nulls; a NUL character would end the string for every reader, so it becomes U+FFFD."""
    text = literal.filled(text)
    if b"\0" in literal.characters(text).tobytes():
        return pc.replace_substring(text, "\0", "\ufffd")
    return text


def _offsets(array: pa.Array) -> Array:
    return np.frombuffer(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1]


def _utf8(text: pa.Array) -> tuple[pa.Array, Array]:
    return text.cast(pa.binary()), np.diff(_offsets(text))


def _utf16(text: pa.Array) -> tuple[pa.Array, Array]:
    """Encode as UTF-16BE: one conversion for the whole column, offsets counted from the UTF-8 bytes."""
    offsets = _offsets(text).astype(np.int64)
    data = text.buffers()[2]
    raw = memoryview(data)[offsets[0] : offsets[-1]] if data is not None else memoryview(b"")
    lead = np.frombuffer(raw, np.uint8)
    units = np.zeros(len(lead) + 1, np.int64)
    np.cumsum(((lead & 0xC0) != 0x80).astype(np.int8) + (lead >= 0xF0), out=units[1:])
    starts = units[offsets - offsets[0]]
    wide = np.frombuffer(bytes(raw).decode("utf-8").encode("utf-16-be"), np.uint8)
    return _as_binary(wide, starts * 2), np.diff(starts)


def _fixed_text(target: Array, array: pa.Array, column: Column) -> None:
    """Write strings into NUL-padded cells.

    Raises
    ------
    DataError
        A string is longer than its cell.
    """
    kind = column.type
    if kind.is_timestamp:
        array = literal.text(array, kind)
    text = _without_nul(array)
    cells, counts = (_utf16 if kind.datatype == "unicodeChar" else _utf8)(text)
    item = target.dtype.itemsize
    lengths = counts * (2 if kind.datatype == "unicodeChar" else 1)
    if len(lengths) and int(lengths.max()) > item:
        message = f"column {column.name!r} is declared with arraysize {kind.arraysize or 1}, but a value has {int(counts.max())} characters"
        raise DataError(message, remedy="declare the column's real length, or `*`")
    offsets = _offsets(cells).astype(np.int64)
    raw = (
        np.frombuffer(cells.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
        if len(cells) and offsets[-1]
        else np.zeros(0, np.uint8)
    )
    if len(lengths) and int(lengths.min()) == item:
        target[...] = raw.view(target.dtype)
        return
    out = np.zeros((len(text), item), np.uint8)
    rows = np.repeat(np.arange(len(text)), lengths)
    at = np.arange(len(raw)) - np.repeat(offsets[:-1] - offsets[0], lengths)
    out[rows, at] = raw
    target[...] = out.reshape(-1).view(target.dtype)


def _fixed_strings(target: Array, array: pa.Array, column: Column) -> None:
    """Write arrays of strings into cells of fixed size; missing strings are empty.

    Raises
    ------
    DataError
        More strings, or longer ones, than the cell has room for.
    """
    kind = column.type
    width, room = kind.shape[0] or 1, int(np.prod([length or 1 for length in kind.shape[1:]]))
    offsets, values = literal.flat(array)
    counts = np.diff(offsets)
    if len(counts) and int(counts.max()) > room:
        message = f"column {column.name!r} is declared with arraysize {kind.arraysize}, but a value has {int(counts.max())} strings"
        raise DataError(message, remedy="declare the column's real length, or `*`")
    grid = np.zeros(len(array) * room, _cell(kind.datatype, width))
    cells = np.zeros(len(values), grid.dtype)
    _fixed_text(cells, values, column)
    grid[np.arange(len(values)) + np.repeat(np.arange(len(array)) * room - offsets[:-1], counts)] = cells
    target[...] = grid.view(target.dtype)


def _bits(truth: Array, offsets: Array) -> tuple[pa.Array, Array]:
    """Pack each row's bits, most significant first, padded with zeros to whole bytes."""
    counts = np.diff(offsets)
    lengths = (counts + 7) // 8
    starts = np.concatenate([[0], np.cumsum(lengths)])
    spread = np.zeros(int(starts[-1]) * 8, np.bool_)
    spread[np.arange(len(truth)) + np.repeat(starts[:-1] * 8 - offsets[:-1], counts)] = truth
    return _as_binary(np.packbits(spread), starts), counts
