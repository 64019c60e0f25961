"""Count the bytes that the values of a Parquet file take in memory, before any page is decompressed.

The footer states sizes, too, but it may lie, and pyarrow aborts the process on a damaged one. So the headers of the
pages count, which readers allocate by. They are structures of Thrift's compact protocol (Apache Parquet,
parquet.thrift).
"""

from __future__ import annotations

import os
import struct
from typing import Any, BinaryIO

from hven.model import deadlines
from hven.model.errors import SourceError

MAX_PAGES = 200_000
MAX_FOOTER_BYTES = 16 << 20
_PAGE_HEADER_BYTES = 1 << 12  # usual size of a page header without statistics
_MAX_PAGE_HEADER_BYTES = 1 << 20
_MAX_NESTING_DEPTH = 20
# bytes of a value by physical type; of texts without their characters
_PHYSICAL_TYPE_BYTES = {0: 1, 1: 4, 2: 8, 3: 12, 4: 4, 5: 8, 6: 4, 7: 32}
_DICTIONARY_PAGE = 2
_DAMAGED_MESSAGE = "the file is not a readable Parquet file: its footer or a page header is damaged"

Fields = dict[int, Any]


def count_unpacked_parquet_bytes(file: BinaryIO) -> int:
    """Count the bytes that the values of a file take; a text in a dictionary counts once.

    Raises
    ------
    SourceError
        The file is damaged, or its footer or number of pages exceeds the limit.
    """
    handle = file.fileno()
    size = os.fstat(handle).st_size
    length_bytes = os.pread(handle, 4, max(size - 8, 0)).ljust(4, b"\0")
    length = struct.unpack("<I", length_bytes)[0]
    if length > min(MAX_FOOTER_BYTES, size - 12):
        raise SourceError(f"the file is not a readable Parquet file: its footer would be {length:,} bytes long")
    try:
        footer = _ThriftBuffer(os.pread(handle, length, size - 8 - length))
        groups = _read_thrift_struct(footer, 0).get(4, [])
        columns = []
        for group in groups:
            columns += [column[3] for column in group[1]]
        byte_count = pages = 0
        for column in columns:
            column_bytes, column_pages = _count_column_chunk_bytes(handle, column, size, MAX_PAGES - pages)
            byte_count = byte_count + column_bytes
            pages = pages + column_pages
    except (IndexError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise SourceError(_DAMAGED_MESSAGE) from error
    return byte_count


def _count_column_chunk_bytes(handle: int, column_metadata: Fields, size: int, page_limit: int) -> tuple[int, int]:
    """Scan the pages of a column chunk; return the bytes of its values and the number of pages."""
    width = _PHYSICAL_TYPE_BYTES[column_metadata[1]]
    first = column_metadata.get(11, 0)
    if 0 < first < column_metadata[9]:
        at = first
    else:
        at = column_metadata[9]
    end = min(at + column_metadata[7], size)
    byte_count = pages = 0
    while 0 < at < end:
        deadlines.check_deadline()
        page_header, header_bytes = _read_page_header(handle, at)
        pages += 1
        if pages > page_limit:
            raise SourceError(f"the file has more than {MAX_PAGES:,} pages", remedy="write the file with larger pages")
        if page_header[2] < 0 or page_header[3] < 0:
            raise SourceError(_DAMAGED_MESSAGE)
        if page_header[1] == _DICTIONARY_PAGE:
            values = 0
        else:
            data_header = page_header.get(5) or page_header.get(8) or {}
            values = data_header.get(1, 0)
        byte_count += max(page_header[2], values * width)
        at += header_bytes + page_header[3]
    return byte_count, pages


def _read_page_header(handle: int, offset: int) -> tuple[Fields, int]:
    """Read the header of a page; return its fields and its number of bytes."""
    size = _PAGE_HEADER_BYTES
    while True:
        data = _ThriftBuffer(os.pread(handle, size, offset))
        try:
            return _read_thrift_struct(data, 0), data.at
        except IndexError:
            if len(data.data) < size or size >= _MAX_PAGE_HEADER_BYTES:
                raise
            size *= 16


class _ThriftBuffer:
    """Bytes and the position up to which they are read."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def read_byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def read_varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.read_byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 70:
                raise IndexError

    def read_integer(self) -> int:
        value = self.read_varint()
        return (value >> 1) ^ -(value & 1)


def _read_thrift_struct(data: _ThriftBuffer, depth: int) -> Fields:
    """Read a structure as number of a field -> value. Texts are skipped."""
    if depth > _MAX_NESTING_DEPTH:
        raise IndexError
    field_values: Fields = {}
    number = 0
    while (head := data.read_byte()) != 0:
        kind = head & 0x0F
        if head >> 4:
            number = number + (head >> 4)
        else:
            number = data.read_integer()
        if kind in {1, 2}:
            field_values[number] = kind == 1
        else:
            field_values[number] = _read_thrift_value(data, kind, depth)
    return field_values


def _read_thrift_value(data: _ThriftBuffer, thrift_type: int, depth: int) -> Any:
    """Read a value of a Thrift type; None for values that are skipped."""
    if thrift_type in {1, 2, 3}:  # booleans in lists; a byte
        return data.read_byte()
    if thrift_type in {4, 5, 6}:
        return data.read_integer()
    if thrift_type in {9, 10}:
        return _read_thrift_list(data, depth)
    if thrift_type == 12:
        return _read_thrift_struct(data, depth + 1)
    if thrift_type == 7:
        data.at += 8
    elif thrift_type == 8:
        size = data.read_varint()
        data.at += size
    elif thrift_type == 11:
        _skip_thrift_map(data, depth)
    else:
        raise IndexError
    return None


def _read_thrift_list(data: _ThriftBuffer, depth: int) -> list[Any]:
    head = data.read_byte()
    size = head >> 4
    if size == 15:  # the length follows
        size = data.read_varint()
    _check_depth_and_item_count(data, size, depth)
    item_type = head & 0x0F
    return [_read_thrift_value(data, item_type, depth + 1) for _ in range(size)]


def _skip_thrift_map(data: _ThriftBuffer, depth: int) -> None:
    size = data.read_varint()
    kinds = 0
    if size:
        kinds = data.read_byte()
    _check_depth_and_item_count(data, size, depth)
    for _ in range(size):
        _read_thrift_value(data, kinds >> 4, depth + 1)
        _read_thrift_value(data, kinds & 0x0F, depth + 1)


def _check_depth_and_item_count(data: _ThriftBuffer, item_count: int, depth: int) -> None:
    """Refuse deep nesting and more items than bytes, for an item takes a byte at least."""
    if depth > _MAX_NESTING_DEPTH or item_count > len(data.data) - data.at:
        raise IndexError
