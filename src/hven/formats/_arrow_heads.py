"""What an Arrow file or stream promises: bytes of its buffers in memory, counted by the heads of its messages before any is unpacked.

A compressed buffer begins with its length; messages and the footer of a file are tables of FlatBuffers (Apache Arrow, Message.fbs, File.fbs).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from hven.model import clock
from hven.model.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_HEAD = 64 << 20  # bytes of a message without its buffers
_DICTIONARY, _BATCH = 2, 3
_DAMAGED = "no readable Arrow data: the head of a message is damaged"


def unpacked(file: BinaryIO) -> int:
    """Count the bytes of all buffers; the file is left at its beginning.

    Raises
    ------
    SourceError
        Damaged.
    """
    try:
        size = file.seek(0, 2)
        file.seek(0)
        whole = np.memmap(file, np.uint8, "r") if size else np.zeros(0, np.uint8)
        found = sum(_buffers(whole, head, body) for head, body in _messages(whole, size))
    except (struct.error, ValueError, OverflowError, IndexError) as error:
        raise SourceError(_DAMAGED) from error
    file.seek(0)
    return found


def _messages(whole: np.ndarray[tuple[int], np.dtype[np.uint8]], size: int) -> Iterator[tuple[bytes, int]]:
    """Yield the head of each message, and where its buffers begin."""
    at = 0
    if bytes(whole[:6]) == b"ARROW1":
        length = struct.unpack("<i", bytes(whole[size - 10 : size - 6]))[0]
        footer = _Table.root(bytes(whole[max(size - 10 - length, 0) : size - 10]))
        for number in (2, 3):  # dictionaries, batches
            for block in np.frombuffer(footer.vector(number, 24), "<i8").reshape(-1, 3):
                length = int(block[1]) & 0xFFFFFFFF
                yield _head(whole, int(block[0]))[0], int(block[0]) + length
        return
    while at + 8 <= size:
        head, at = _head(whole, at)
        if not head:
            return
        yield head, at
        at += max(_Table.root(head).number(3, "<q"), 0)


def _head(whole: np.ndarray[tuple[int], np.dtype[np.uint8]], at: int) -> tuple[bytes, int]:
    clock.check()
    mark, length = struct.unpack("<Ii", bytes(whole[at : at + 8]))
    start = at + 8
    if mark != 0xFFFFFFFF:  # as before version 0.15
        length, start = mark, at + 4
    if not 0 <= length <= LONGEST_HEAD:
        raise ValueError(length)
    return bytes(whole[start : start + length]), start + length


def _buffers(whole: np.ndarray[tuple[int], np.dtype[np.uint8]], head: bytes, body: int) -> int:
    """Count the bytes of the buffers of a batch, or of a dictionary."""
    message = _Table.root(head)
    kind = message.number(1, "<B")
    if kind not in {_DICTIONARY, _BATCH}:
        return 0
    batch = message.table(2)
    batch = batch.table(1) if kind == _DICTIONARY and batch is not None else batch
    if batch is None:
        raise ValueError(kind)
    places = np.frombuffer(batch.vector(2, 16), "<i8").reshape(-1, 2)
    lengths = places[:, 1]
    if batch.table(3) is not None:  # compressed: each begins with its length, or -1
        long = lengths >= 8
        starts = body + places[long, 0]
        if len(starts) and not (starts.min() >= 0 and starts.max() + 8 <= len(whole)):
            raise ValueError(body)
        said = whole[starts[:, None] + np.arange(8)].view("<i8")[:, 0] if len(starts) else starts
        lengths = np.where(said == -1, lengths[long] - 8, said)
    if (lengths < 0).any():
        raise ValueError(body)
    return int(lengths.astype(np.float64).sum())  # lengths that are made up may add up to more than a long


class _Table:
    """A table of FlatBuffers: fields by number."""

    __slots__ = ("at", "data", "offsets")

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at
        start = at - self._read("<i", at)
        size = self._read("<H", start)
        self.offsets = [self._read("<H", place) for place in range(start + 4, start + size, 2)]

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, struct.unpack_from("<I", data)[0])

    def _read(self, form: str, at: int) -> int:
        if at < 0:
            raise ValueError(at)
        return int(struct.unpack_from(form, self.data, at)[0])

    def _field(self, number: int) -> int:
        """Find the place of a field; 0: it is not there."""
        offset = self.offsets[number] if number < len(self.offsets) else 0
        return self.at + offset if offset else 0

    def number(self, number: int, form: str) -> int:
        place = self._field(number)
        return self._read(form, place) if place else 0

    def table(self, number: int) -> _Table | None:
        place = self._field(number)
        return _Table(self.data, place + self._read("<I", place)) if place else None

    def vector(self, number: int, width: int) -> bytes:
        """Return the bytes of a vector of structures, each so many bytes wide."""
        place = self._field(number)
        if not place:
            return b""
        start = place + self._read("<I", place)
        found = self.data[start + 4 : start + 4 + width * self._read("<I", start)]
        if len(found) % width:
            raise ValueError(number)
        return found
