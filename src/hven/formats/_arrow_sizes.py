"""Count the bytes that the buffers of an Arrow file or stream take in memory, before any is decompressed.

The count comes from the headers of the messages. A compressed buffer begins with its length; messages and the footer of
a file are FlatBuffers tables (Apache Arrow, Message.fbs, File.fbs).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from hven.model import deadlines
from hven.model.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_MESSAGE_HEADER_BYTES = 64 << 20  # of a message without its buffers
_DICTIONARY_MESSAGE, _RECORD_BATCH_MESSAGE = 2, 3
_DAMAGED_MESSAGE = "the file is not readable Arrow data: the header of a message is damaged"


def count_unpacked_arrow_bytes(file: BinaryIO) -> int:
    """Count the bytes of all buffers, and leave the file at its beginning.

    Raises
    ------
    SourceError
        The file is damaged.
    """
    try:
        size = file.seek(0, 2)
        file.seek(0)
        file_bytes: np.ndarray[tuple[int], np.dtype[np.uint8]] = np.zeros(0, np.uint8)
        if size:
            file_bytes = np.memmap(file, np.uint8, "r")
        byte_count = 0
        for header, body_offset in _iterate_message_headers(file_bytes, size):
            byte_count += _count_buffer_bytes(file_bytes, header, body_offset)
    except (struct.error, ValueError, OverflowError, IndexError) as error:
        raise SourceError(_DAMAGED_MESSAGE) from error
    file.seek(0)
    return byte_count


def _iterate_message_headers(
    file_bytes: np.ndarray[tuple[int], np.dtype[np.uint8]], size: int
) -> Iterator[tuple[bytes, int]]:
    """Yield the header of each message, and the offset of its buffers."""
    at = 0
    if bytes(file_bytes[:6]) == b"ARROW1":
        footer_end = size - 10
        length = struct.unpack("<i", bytes(file_bytes[footer_end : size - 6]))[0]
        footer_start = max(footer_end - length, 0)
        footer = _FlatBufferTable.from_root(bytes(file_bytes[footer_start:footer_end]))
        for number in (2, 3):  # dictionaries, batches
            for block in np.frombuffer(footer.read_vector(number, 24), "<i8").reshape(-1, 3):
                length = int(block[1]) & 0xFFFFFFFF
                message_header = _read_message_header(file_bytes, int(block[0]))
                yield message_header[0], int(block[0]) + length
        return
    while at + 8 <= size:
        head, at = _read_message_header(file_bytes, at)
        if not head:
            return
        yield head, at
        at += max(_FlatBufferTable.from_root(head).read_number(3, "<q"), 0)


def _read_message_header(file_bytes: np.ndarray[tuple[int], np.dtype[np.uint8]], offset: int) -> tuple[bytes, int]:
    deadlines.check_deadline()
    mark, length = struct.unpack("<Ii", bytes(file_bytes[offset : offset + 8]))
    start = offset + 8
    if mark != 0xFFFFFFFF:  # Arrow before version 0.15
        length = mark
        start = offset + 4
    if not 0 <= length <= MAX_MESSAGE_HEADER_BYTES:
        raise ValueError(length)
    return bytes(file_bytes[start : start + length]), start + length


def _count_buffer_bytes(file_bytes: np.ndarray[tuple[int], np.dtype[np.uint8]], header: bytes, body_offset: int) -> int:
    """Count the bytes of the buffers of a batch, or of a dictionary."""
    message = _FlatBufferTable.from_root(header)
    kind = message.read_number(1, "<B")
    if kind not in {_DICTIONARY_MESSAGE, _RECORD_BATCH_MESSAGE}:
        return 0
    batch = message.read_nested_table(2)
    if kind == _DICTIONARY_MESSAGE and batch is not None:
        batch = batch.read_nested_table(1)
    if batch is None:
        raise ValueError(kind)
    vector = batch.read_vector(2, 16)
    places = np.frombuffer(vector, "<i8").reshape(-1, 2)
    lengths = places[:, 1]
    if batch.read_nested_table(3) is not None:  # compressed: each begins with its length, or -1
        has_length = lengths >= 8
        starts = body_offset + places[has_length, 0]
        if len(starts) and not (starts.min() >= 0 and starts.max() + 8 <= len(file_bytes)):
            raise ValueError(body_offset)
        if len(starts):
            length_bytes = file_bytes[starts[:, None] + np.arange(8)]
            declared_lengths = length_bytes.view("<i8")[:, 0]
        else:
            declared_lengths = starts
        lengths = np.where(declared_lengths == -1, lengths[has_length] - 8, declared_lengths)
    if (lengths < 0).any():
        raise ValueError(body_offset)
    return int(lengths.astype(np.float64).sum())  # the sum of forged lengths may exceed a 64-bit integer


class _FlatBufferTable:
    """A FlatBuffers table: fields by number."""

    __slots__ = ("data", "offsets", "position")

    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self.position = position
        start = position - self._unpack_number("<i", position)
        size = self._unpack_number("<H", start)
        places = range(start + 4, start + size, 2)
        self.offsets = [self._unpack_number("<H", place) for place in places]

    @classmethod
    def from_root(cls, data: bytes) -> _FlatBufferTable:
        return cls(data, struct.unpack_from("<I", data)[0])

    def _unpack_number(self, struct_format: str, offset: int) -> int:
        if offset < 0:
            raise ValueError(offset)
        return int(struct.unpack_from(struct_format, self.data, offset)[0])

    def _find_field_offset(self, field_number: int) -> int:
        """Find the place of a field; 0 if the table lacks it."""
        if field_number >= len(self.offsets) or not self.offsets[field_number]:
            return 0
        return self.position + self.offsets[field_number]

    def read_number(self, field_number: int, struct_format: str) -> int:
        place = self._find_field_offset(field_number)
        if place:
            return self._unpack_number(struct_format, place)
        return 0

    def read_nested_table(self, field_number: int) -> _FlatBufferTable | None:
        place = self._find_field_offset(field_number)
        if place:
            return _FlatBufferTable(self.data, place + self._unpack_number("<I", place))
        return None

    def read_vector(self, field_number: int, item_bytes: int) -> bytes:
        """Return the bytes of a vector of structures of `item_bytes` bytes each."""
        place = self._find_field_offset(field_number)
        if not place:
            return b""
        length_place = place + self._unpack_number("<I", place)
        start = length_place + 4
        end = start + item_bytes * self._unpack_number("<I", length_place)
        vector_bytes = self.data[start:end]
        if len(vector_bytes) % item_bytes:
            raise ValueError(field_number)
        return vector_bytes
