"""BINARY and BINARY2 bytes into Arrow columns (VOTable 1.4 sections 5.3, 5.4)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats.votable.binary import cell_format
from hven.model import literal
from hven.model.errors import SourceError
from hven.model.literal import NULL, word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Column
    from hven.model.types import Type

    Array = np.ndarray[Any, Any]

_WIDEST = 256 << 20
_ITEM = {
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
_LENGTH = struct.Struct(">i").unpack_from


class Unpacker:
    """Decoder for one set of columns.

    Rows of fixed size are one numpy view. Where cells have variable size, the start of a row is known only from the length
    words before it: one tight loop follows them (the format allows no other way); everything else is done by whole columns.
    """

    def __init__(self, columns: Sequence[Column], serialization: str) -> None:
        self._columns = tuple(columns)
        self._flags = (len(columns) + 7) // 8 if serialization == "BINARY2" else 0
        self._formats = [cell_format(column) for column in columns]
        self._before: list[int] = []  # bytes before each variable cell's length word, since the last variable cell
        self._records: list[np.dtype[Any]] = []
        fields: list[Any] = [("flags", "u1", (self._flags,))] if self._flags else []
        self._variable: list[int] = []
        self._where: list[int] = []
        for number, fixed in enumerate(self._formats):
            self._where.append(len(self._records))
            if fixed is None:
                self._records.append(np.dtype(fields))
                self._variable.append(number)
                fields = []
            else:
                fields.append((f"c{number}", *fixed))
        self._records.append(np.dtype(fields))
        if sum(record.itemsize for record in self._records) > _WIDEST:
            raise SourceError(f"a row of the table has more than {_WIDEST >> 20} MiB")

    def unpack(self, data: bytes, first: int) -> tuple[list[pa.Array], int, int]:
        """Decode as many whole rows as there are.

        Parameters
        ----------
        first
            Number of rows before these, for messages.

        Returns
        -------
        The columns, the number of rows, and the number of bytes used.

        Raises
        ------
        SourceError
            A length word is negative, or a value cannot be.
        """
        raw = np.frombuffer(data, np.uint8)
        if not self._variable:
            record = self._records[0]
            rows = len(raw) // record.itemsize if record.itemsize else 0
            used = rows * record.itemsize
            return self._decode([np.frombuffer(data, record, rows)], [], raw, rows, first), rows, used
        starts, counts, used = self._scan(data, first)
        rows = len(starts)
        records = []
        for number, record in enumerate(self._records):
            at = starts[:, number, None] + np.arange(record.itemsize)
            records.append(raw[at].reshape(-1).view(record) if record.itemsize else np.zeros(rows, record))
        cells = [
            (starts[:, number] + self._records[number].itemsize + 4, counts[:, number])
            for number in range(len(self._variable))
        ]
        return self._decode(records, cells, raw, rows, first), rows, used

    def _scan(self, data: bytes, first: int) -> tuple[Array, Array, int]:
        """Follow the length words; return the start of each fixed stretch and each cell's count, row by row."""
        gaps = [record.itemsize for record in self._records]
        bits = [self._columns[number].type.datatype == "bit" for number in self._variable]
        sizes = [_ITEM.get(self._columns[number].type.datatype, 1) for number in self._variable]
        steps = list(zip(gaps[:-1], sizes, bits, strict=True))
        tail, end, position, used = gaps[-1], len(data), 0, 0
        starts: list[int] = []
        counts: list[int] = []
        while True:
            row_starts, row_counts = [], []
            for gap, size, bit in steps:
                row_starts.append(position)
                position += gap
                if position + 4 > end:
                    break
                (count,) = _LENGTH(data, position)
                if count < 0:
                    message = f"row {first + len(starts) // len(gaps) + 1} has a cell of negative length: the stream is corrupt"
                    raise SourceError(message)
                row_counts.append(count)
                position += 4 + ((count + 7) // 8 if bit else count * size)
            else:
                row_starts.append(position)
                position += tail
                if position <= end:
                    starts += row_starts
                    counts += row_counts
                    used = position
                    continue
            break
        return (
            np.array(starts, np.int64).reshape(-1, len(gaps)),
            np.array(counts, np.int64).reshape(-1, len(steps)),
            used,
        )

    def _decode(
        self, records: list[Array], cells: list[tuple[Array, Array]], raw: Array, rows: int, first: int
    ) -> list[pa.Array]:
        if not rows:
            return [pa.array([], column.type.arrow) for column in self._columns]
        arrays = []
        variable = iter(cells)
        for number, column in enumerate(self._columns):
            null = self._null(records[0], number) if self._flags else None
            try:
                if self._formats[number] is None:
                    array = self._varying(column, raw, *next(variable), null)
                else:
                    array = self._fixed(column, records[self._where[number]][f"c{number}"], rows, null)
            except literal.BadLiteral as error:
                message = f"row {first + error.row + 1}, column {column.name!r}: {error}"
                raise SourceError(message) from error
            arrays.append(array)
        return arrays

    def _null(self, record: Array, number: int) -> Array:
        return ((record["flags"][:, number // 8] >> np.uint8(7 - number % 8)) & 1).astype(bool)

    def _fixed(self, column: Column, values: Array, rows: int, null: Array | None) -> pa.Array:
        kind = column.type
        if kind.datatype in {"char", "unicodeChar"}:
            width = values.dtype.itemsize
            flat = np.ascontiguousarray(values).view(np.uint8).reshape(rows, width)
            return self._text(flat.reshape(-1), np.arange(rows + 1, dtype=np.int64) * width, column, null)
        if kind.datatype == "bit":
            if kind.arraysize is None:  # writers do not agree which of the eight bits it is
                return pa.array(values != 0, mask=null)
            size = _size(kind)
            truth = (
                np.unpackbits(np.ascontiguousarray(values).reshape(rows, -1), axis=1)[:, :size].astype(bool).reshape(-1)
            )
            return literal.fold(np.arange(rows + 1, dtype=np.int64) * size, pa.array(truth), null, kind)
        items = values.reshape(-1)
        per = len(items) // rows
        nested = pa.types.is_nested(kind.arrow)
        found = self._items(items, column, None if nested else null)
        if not nested:
            return found
        if null is None:  # BINARY has no other null than an array of nothing but nulls
            gone = (
                np.isnan(items) if pa.types.is_floating(found.type) else found.is_null().to_numpy(zero_copy_only=False)
            )
            null = np.asarray(gone.reshape(rows, per).all(axis=1))
        return literal.fold(np.arange(rows + 1, dtype=np.int64) * per, found, null, kind)

    def _items(self, items: Array, column: Column, null: Array | None) -> pa.Array:
        """Convert flat values to Arrow; what VALUES/@null or the format itself calls null is null."""
        kind = column.type
        if kind.datatype == "boolean":
            true, false = np.isin(items, _TRUE), np.isin(items, _FALSE)
            gone = ~(true | false)
            wrong = gone & ~np.isin(items, _UNKNOWN)
            if wrong.any():
                raise literal.BadLiteral(0, repr(chr(items[int(np.argmax(wrong))])), kind)
            return pa.array(true, mask=gone if null is None else gone | null)
        native = items.astype(items.dtype.newbyteorder("="))
        if native.dtype.kind == "f" and not self._flags and kind.arraysize is None:
            null = np.asarray(np.isnan(native))
        if column.null is not None:
            try:
                magic = native == native.dtype.type(column.null)
                null = magic if null is None else null | magic
            except (ValueError, OverflowError):
                pass  # a word that no value of this type can equal
        return pa.array(native, mask=null if null is not None and null.any() else None)

    def _varying(self, column: Column, raw: Array, starts: Array, counts: Array, null: Array | None) -> pa.Array:
        kind = column.type
        bit = kind.datatype == "bit"
        lengths = (counts + 7) // 8 if bit else counts * _ITEM[kind.datatype]
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        data = _gather(raw, starts, offsets)
        if kind.datatype in {"char", "unicodeChar"}:
            return self._text(data, offsets, column, null)
        ends = np.zeros(len(counts) + 1, np.int64)
        np.cumsum(counts, out=ends[1:])
        gone = (counts == 0) if not self._flags else null  # BINARY has no other null
        if bit:
            every = np.unpackbits(data).astype(bool)
            found = pa.array(every[np.arange(int(ends[-1])) + np.repeat(offsets[:-1] * 8 - ends[:-1], counts)])
        elif kind.datatype in {"floatComplex", "doubleComplex"}:
            found, ends = (
                self._items(data.view(">f4" if kind.datatype == "floatComplex" else ">f8"), column, None),
                ends * 2,
            )
        else:
            found = self._items(data.view("u1" if kind.datatype == "boolean" else kind.scalar.numpy), column, None)
        return literal.fold(ends, found, gone, kind)

    def _text(self, data: Array, offsets: Array, column: Column, null: Array | None) -> pa.Array:
        """Decode strings: up to the first NUL each."""
        kind = column.type
        wide = kind.datatype == "unicodeChar"
        texts = from_utf16(data, offsets) if wide else from_utf8(data, offsets)
        if pa.types.is_nested(kind.arrow):
            padded = pc.replace_substring(texts, "\0", " ")
            gone = pc.equal(pc.utf8_trim(texts, characters="\0"), word("")) if null is None else pa.array(null)
            padded = pc.if_else(gone, NULL, padded)
            return literal.string_arrays(padded, kind)
        if (data == 0).any():
            texts = pc.replace_substring_regex(texts, r"(?s)\x00.*", "")
        gone = pc.equal(texts, word("")) if null is None else pa.array(null)  # BINARY has no other null
        if column.null is not None:
            gone = pc.or_(gone, pc.equal(texts, word(column.null)))
        texts = pc.if_else(gone, NULL, texts) if pc.any(gone).as_py() else texts
        return literal.values(texts, kind) if kind.is_timestamp else texts


_TRUE, _FALSE, _UNKNOWN = (
    np.frombuffer(b"Tt1", np.uint8),
    np.frombuffer(b"Ff0", np.uint8),
    np.frombuffer(b"\0 ?", np.uint8),
)


def _size(kind: Type) -> int:
    return int(np.prod([length or 1 for length in kind.shape])) if kind.arraysize is not None else 1


def _gather(raw: Array, starts: Array, offsets: Array) -> Array:
    """Copy stretches that lie apart into one."""
    total = int(offsets[-1])
    index = np.arange(total) + np.repeat(starts - offsets[:-1], np.diff(offsets))
    gathered: Array = raw[index]
    return gathered


def _strings(data: Array, offsets: Array) -> pa.Array:
    return pa.Array.from_buffers(
        pa.string(),
        len(offsets) - 1,
        [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(np.ascontiguousarray(data))],
    )


def from_utf8(data: Array, offsets: Array) -> pa.Array:
    """Read ``char`` cells: ASCII, or UTF-8 as VOTable 1.6 has it, or else Latin-1, which any byte is."""
    if (data < 0x80).all():
        return _strings(data, offsets)
    texts = _strings(data, offsets)
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid:
        high = data >= 0x80
        wider = np.zeros(len(data) + 1, np.int64)
        np.cumsum(high + 1, out=wider[1:])
        return _strings(np.frombuffer(data.tobytes().decode("latin-1").encode(), np.uint8), wider[offsets])
    return texts


def from_utf16(data: Array, offsets: Array) -> pa.Array:
    """Read ``unicodeChar`` cells: UTF-16BE; half of a surrogate pair becomes U+FFFD."""
    units = data.view(">u2").astype(np.uint16)
    high, low = (units & 0xFC00) == 0xD800, (units & 0xFC00) == 0xDC00
    paired = np.zeros(len(units), bool)
    paired[:-1] |= high[:-1] & low[1:]
    paired[1:] |= low[1:] & high[:-1]
    units[(high | low) & ~paired] = 0xFFFD
    lengths = np.where(paired, 2, np.where(units < 0x80, 1, np.where(units < 0x800, 2, 3)))
    wider = np.zeros(len(units) + 1, np.int64)
    np.cumsum(lengths, out=wider[1:])
    return _strings(
        np.frombuffer(units.astype("<u2").tobytes().decode("utf-16-le").encode(), np.uint8), wider[offsets // 2]
    )
