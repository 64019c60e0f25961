"""Rows of MariaDB's and MySQL's protocol -> Arrow: the places of all values of a column are found at once, and no value is a Python object.

A row of a prepared statement is a packet: three bytes of length, one that counts, a zero, a bit for each value that is null, then the others:
numbers as memory has them, all else behind its length. Packets are counted off one by one (a sum for each row); what is in them is found by
numpy, column by column.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HEAD = 4
TWO, THREE, EIGHT = 0xFC, 0xFD, 0xFE  # how a length is written that is no number below 251
END, ERROR = 0xFE, 0xFF  # how a packet begins that is no row
WHOLE = 0xFFFFFF  # a packet of this length goes on in the next one
NARROW = 64  # bytes: values up to here are copied as a rectangle
ROWS = 65_536  # of a batch, at most
UNSIGNED = 32  # a flag of a column
ZERO = "0000-00-00 00:00:00"
MOMENT = 11  # bytes of the longest time
# types by their numbers: how a value lies in memory
_NUMBERS = {1: "i1", 2: "i2", 13: "i2", 9: "i4", 3: "i4", 8: "i8", 4: "f4", 5: "f8"}
_MOMENTS = {7, 10, 12}
_HEAD = struct.Struct("<IB")


class RefusedError(Exception):
    """The server ended the rows with an error: its packet."""


class BrokenError(Exception):
    """The connection ended amid the rows, or what came cannot be read."""


def batches(stream: BinaryIO, columns: Sequence[tuple[int, int]], most: int) -> Iterator[pa.RecordBatch]:
    """Yield rows until their end: numbers, times (texts, where one is no day), texts (bytes, where one is no UTF-8).

    Parameters
    ----------
    stream
        Behind the descriptions of the columns.
    columns
        Type and flags of each.
    most
        Bytes of a batch, about.

    Raises
    ------
    RefusedError
        An error of the server.
    BrokenError
        The connection was lost, a row has more than 16 MB, or what came is none of the protocol.
    """
    data = bytearray()
    frames: list[int] = []
    at = 0
    while True:
        size = len(data)
        first = 0
        while at + _HEAD.size <= size and len(frames) < ROWS:
            word, first = _HEAD.unpack_from(data, at)
            length = word & WHOLE
            end = at + HEAD + length
            if length == WHOLE:
                raise BrokenError("a row has more than 16 MB")
            if end > size:
                first = 0
                break
            if first >= END:
                break
            frames.append(at + HEAD)
            at = end
            first = 0
        ended = first >= END
        if frames and (ended or at >= most or len(frames) >= ROWS):
            yield _rows(data, frames, at, columns)
            if not ended:
                data, at, frames = data[at:], 0, []
                continue
        if ended:
            if first == ERROR:
                raise RefusedError(bytes(data[at + HEAD :]))
            return
        more = stream.read1(most)  # type: ignore[attr-defined]
        if not more:
            raise BrokenError("the connection was lost amid the rows")
        data += more


def _rows(data: bytearray, frames: list[int], used: int, columns: Sequence[tuple[int, int]]) -> pa.RecordBatch:
    raw = np.zeros(used + NARROW, np.uint8)
    raw[:used] = np.frombuffer(data, np.uint8, used)
    begin = np.array(frames, np.int64)
    ends = np.append(begin[1:] - HEAD, used)
    at = begin + 1 + (len(columns) + 9) // 8
    arrays = []
    for number, (kind, flags) in enumerate(columns):
        null = (raw[begin + 1 + (number + 2) // 8] >> ((number + 2) % 8) & 1).astype(bool)
        if (at > ends).any() or (at[~null] >= ends[~null]).any():
            _broken()
        if kind in _NUMBERS:
            code = np.dtype("<" + (_NUMBERS[kind].replace("i", "u") if flags & UNSIGNED else _NUMBERS[kind]))
            arrays.append(_array(_seen(raw, at, code), null))
            at = at + np.where(null, 0, code.itemsize)
            continue
        start, length = _places(raw, at, null)
        at = start + length
        if (length < 0).any() or (at > ends).any():
            _broken()
        arrays.append(_moments(raw, start, length, null) if kind in _MOMENTS else _texts(raw, start, length, null))
    if (at != ends).any():
        _broken()
    return pa.RecordBatch.from_arrays(arrays, [str(number) for number in range(len(columns))])


def _broken() -> NoReturn:
    raise BrokenError("a row came that is none of the protocol")


def _seen(raw: Any, start: Any, code: np.dtype[Any]) -> Any:
    """Read a value at each place, wherever it lies."""
    return np.ndarray((len(raw) - code.itemsize + 1,), code, raw, strides=(1,))[start]


def _array(values: Any, null: Any) -> pa.Array:
    if values.dtype == np.uint64:  # what no whole number here holds stays a text, and is judged
        return (
            pa.array(values, mask=null).cast(pa.string())
            if (values >> 63).any()
            else pa.array(values.view("<i8"), mask=null)
        )
    return pa.array(values, mask=null)


def _places(raw: Any, at: Any, null: Any) -> tuple[Any, Any]:
    """Find where values begin that stand behind their lengths, and how long they are."""
    first = raw[at]
    start, length = at + ~null, np.where(null, 0, first).astype(np.int64)
    for sign, size in ((TWO, 2), (THREE, 3), (EIGHT, 8)):
        wide = np.flatnonzero((first == sign) & ~null)
        if len(wide):
            places = start[wide]
            length[wide] = sum(raw[places + byte].astype(np.int64) << (8 * byte) for byte in range(size))
            start[wide] += size
    return start, length


def _texts(raw: Any, start: Any, length: Any, null: Any) -> pa.Array:
    """Copy values together."""
    offsets = np.zeros(len(start) + 1, np.int32)
    np.cumsum(length, out=offsets[1:])
    longest = int(length.max())
    if 0 < longest <= NARROW:
        cells = _seen(raw, start, np.dtype(f"V{longest}")).view(np.uint8).reshape(-1, longest)
        values = cells[np.arange(longest) < length[:, None]]
    else:
        values = raw[np.repeat(start - offsets[:-1], length) + np.arange(offsets[-1])]
    valid = pa.py_buffer(np.packbits(~null, bitorder="little")) if null.any() else None
    found = pa.Array.from_buffers(pa.binary(), len(start), [valid, pa.py_buffer(offsets), pa.py_buffer(values)])
    try:
        return found.cast(pa.string())
    except pa.ArrowInvalid:
        return found


def _moments(raw: Any, start: Any, length: Any, null: Any) -> pa.Array:
    """Read dates and times; what is no day makes texts of them all."""
    cells = _seen(raw, start, np.dtype(f"V{MOMENT}")).view(np.uint8).reshape(-1, MOMENT).astype(np.int64)
    cells[np.arange(MOMENT) >= length[:, None]] = 0  # what is not sent is zero
    year, month, day = cells[:, 0] | cells[:, 1] << 8, cells[:, 2], cells[:, 3]
    micro = cells[:, 7] | cells[:, 8] << 8 | cells[:, 9] << 16 | cells[:, 10] << 24
    months = (year - 1970).astype("M8[Y]").astype("M8[M]") + (month - 1)
    days = months.astype("M8[D]") + (day - 1)
    clock = ((cells[:, 4] * 60 + cells[:, 5]) * 60 + cells[:, 6]) * 1_000_000 + micro
    values = pa.array((days.astype("M8[us]").astype(np.int64) + clock).view("M8[us]"), mask=null)
    wrong = ~null & ((month < 1) | (month > 12) | (day < 1) | (days.astype("M8[M]") != months))
    if not wrong.any():
        return values
    texts = pc.replace_substring(values.cast(pa.string()), "T", " ")
    zero = wrong & (year == 0) & (month == 0) & (day == 0)
    texts = pc.if_else(pa.array(zero), ZERO, texts)
    others = np.flatnonzero(wrong & ~zero)
    if len(others):
        written = [
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}".format(*row)
            for row in np.column_stack([year, month, day, *cells[:, 4:7].T])[others].tolist()
        ]
        texts = pc.replace_with_mask(texts, pa.array(wrong & ~zero), pa.array(written))
    return texts


__all__ = ["BrokenError", "RefusedError", "batches"]
