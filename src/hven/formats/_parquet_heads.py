"""What a Parquet file promises: bytes of its values in memory, counted by the heads of its pages before any is unpacked.

The footer says it, too, but a footer may lie, and of a damaged one pyarrow ends the process; the heads of the pages are what a reader goes by.
They are structures of Thrift's compact protocol (Apache Parquet, parquet.thrift).
"""

from __future__ import annotations

import os
import struct
from typing import Any, BinaryIO

from hven.model import clock
from hven.model.errors import SourceError

MOST_PAGES = 200_000
LONGEST_FOOTER = 16 << 20
_HEAD = 1 << 12  # bytes that the head of a page has, but for statistics
_LONGEST_HEAD = 1 << 20
_DEEPEST = 20
# bytes of a value by physical type; of texts without their characters
_WIDTHS = {0: 1, 1: 4, 2: 8, 3: 12, 4: 4, 5: 8, 6: 4, 7: 32}
_DICTIONARY = 2
_DAMAGED = "no readable Parquet file: its footer, or the head of a page, is damaged"

Fields = dict[int, Any]


def unpacked(file: BinaryIO) -> int:
    """Count the bytes that the values of a file take, texts that stand in a dictionary once.

    Raises
    ------
    SourceError
        Damaged; a footer or pages without end.
    """
    handle = file.fileno()
    size = os.fstat(handle).st_size
    length = struct.unpack("<I", os.pread(handle, 4, max(size - 8, 0)).ljust(4, b"\0"))[0]
    if length > min(LONGEST_FOOTER, size - 12):
        raise SourceError(f"no readable Parquet file: a footer of {length:,} bytes")
    try:
        groups = _struct(_Bytes(os.pread(handle, length, size - 8 - length)), 0).get(4, [])
        found = pages = 0
        for column in [column[3] for group in groups for column in group[1]]:
            more, number = _column(handle, column, size, MOST_PAGES - pages)
            found, pages = found + more, pages + number
    except (IndexError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise SourceError(_DAMAGED) from error
    return found


def _column(handle: int, said: Fields, size: int, most: int) -> tuple[int, int]:
    """Walk along the pages of a column chunk; -> bytes, pages."""
    width = _WIDTHS[said[1]]
    first = said.get(11, 0)
    at = first if 0 < first < said[9] else said[9]
    end = min(at + said[7], size)
    found = pages = 0
    while 0 < at < end:
        clock.check()
        head, taken = _page(handle, at)
        pages += 1
        if pages > most:
            raise SourceError(f"it has more than {MOST_PAGES:,} pages", remedy="write it in larger pages")
        if head[2] < 0 or head[3] < 0:
            raise SourceError(_DAMAGED)
        values = 0 if head[1] == _DICTIONARY else (head.get(5) or head.get(8) or {}).get(1, 0)
        found += max(head[2], values * width)
        at += taken + head[3]
    return found, pages


def _page(handle: int, at: int) -> tuple[Fields, int]:
    """Read the head of a page; -> its fields, and its bytes."""
    size = _HEAD
    while True:
        data = _Bytes(os.pread(handle, size, at))
        try:
            return _struct(data, 0), data.at
        except IndexError:
            if len(data.data) < size or size >= _LONGEST_HEAD:
                raise
            size *= 16


class _Bytes:
    """Bytes, and how far they are read."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 70:
                raise IndexError

    def whole(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)


def _struct(data: _Bytes, depth: int) -> Fields:
    """Read a structure: number of a field -> its value. Texts are passed over."""
    if depth > _DEEPEST:
        raise IndexError
    found: Fields = {}
    number = 0
    while (head := data.byte()) != 0:
        kind = head & 0x0F
        number = number + (head >> 4) if head >> 4 else data.whole()
        found[number] = kind == 1 if kind in {1, 2} else _value(data, kind, depth)
    return found


def _value(data: _Bytes, kind: int, depth: int) -> Any:
    if kind in {1, 2, 3}:  # in lists; a byte
        return data.byte()
    if kind in {4, 5, 6}:
        return data.whole()
    if kind == 7:
        data.at += 8
        return None
    if kind == 8:
        size = data.varint()
        data.at += size
        return None
    if kind in {9, 10}:
        head = data.byte()
        size = head >> 4 if head >> 4 < 15 else data.varint()
        if depth > _DEEPEST or size > len(data.data) - data.at:  # each takes a byte at least
            raise IndexError
        return [_value(data, head & 0x0F, depth + 1) for _ in range(size)]
    if kind == 11:
        size = data.varint()
        kinds = data.byte() if size else 0
        if depth > _DEEPEST or size > len(data.data) - data.at:
            raise IndexError
        for _ in range(size):
            _value(data, kinds >> 4, depth + 1)
            _value(data, kinds & 0x0F, depth + 1)
        return None
    if kind == 12:
        return _struct(data, depth + 1)
    raise IndexError
