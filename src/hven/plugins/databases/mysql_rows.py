"""Convert rows of the protocol of MariaDB and MySQL to Arrow.

The places of all values of a column are found at once, and no value becomes a Python object.

A row of a prepared statement is a packet. It has three bytes of length, a sequence number, a zero, and a bit for each
value that is null. The other values follow: numbers as memory has them, all else behind its length. Packets are counted
one by one (a sum for each row); numpy finds their values, column by column.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PACKET_HEADER_BYTES = 4
# how a length begins that is no number below 251
LENGTH_2_MARK = 0xFC
LENGTH_3_MARK = 0xFD
LENGTH_8_MARK = 0xFE
# how a packet begins that is no row
EOF_MARK = 0xFE
ERROR_MARK = 0xFF
MAX_PACKET_BYTES = 0xFFFFFF  # a packet of this length goes on in the next one
MAX_NARROW_BYTES = 64  # values up to this length are copied as a rectangle
MAX_BATCH_ROWS = 65_536
UNSIGNED_FLAG = 32  # a flag of a column
ZERO_DATETIME = "0000-00-00 00:00:00"
MAX_TIME_BYTES = 11
# number of a type -> how a value lies in memory
_NUMBER_CODES = {1: "i1", 2: "i2", 13: "i2", 9: "i4", 3: "i4", 8: "i8", 4: "f4", 5: "f8"}
_TIME_TYPE_CODES = {7, 10, 12}
_PACKET_HEADER = struct.Struct("<IB")


class MysqlServerError(Exception):
    """The server ended the rows with an error: its packet."""


class MysqlConnectionLostError(Exception):
    """The connection ended amid the rows, or what came cannot be read."""


def read_mysql_packet_rows(
    stream: BinaryIO, columns: Sequence[tuple[int, int]], read_bytes: int
) -> Iterator[pa.RecordBatch]:
    """Yield rows until their end: numbers, times (texts, where one is no day), texts (bytes, where one is no UTF-8).

    Parameters
    ----------
    stream
        The connection, behind the descriptions of the columns.
    columns
        Type and flags of each column.
    read_bytes
        Approximate bytes of a batch.

    Raises
    ------
    MysqlServerError
        The server sends an error.
    MysqlConnectionLostError
        The connection is lost, a row is larger than 16 MB, or the bytes do not follow the protocol.
    """
    data = bytearray()
    frames: list[int] = []
    offset = 0
    while True:
        size = len(data)
        first = 0
        while offset + _PACKET_HEADER.size <= size and len(frames) < MAX_BATCH_ROWS:
            word, first = _PACKET_HEADER.unpack_from(data, offset)
            length = word & MAX_PACKET_BYTES
            end = offset + PACKET_HEADER_BYTES + length
            if length == MAX_PACKET_BYTES:
                raise MysqlConnectionLostError("a row is larger than 16 MB")
            if end > size:
                first = 0
                break
            if first >= EOF_MARK:
                break
            frames.append(offset + PACKET_HEADER_BYTES)
            offset = end
            first = 0
        ended = first >= EOF_MARK
        if frames and (ended or offset >= read_bytes or len(frames) >= MAX_BATCH_ROWS):
            yield _build_batch(data, frames, offset, columns)
            if not ended:
                data = data[offset:]
                offset = 0
                frames = []
                continue
        if ended:
            if first == ERROR_MARK:
                raise MysqlServerError(bytes(data[offset + PACKET_HEADER_BYTES :]))
            return
        chunk = stream.read1(read_bytes)  # type: ignore[attr-defined]
        if not chunk:
            raise MysqlConnectionLostError("the connection was lost between two rows")
        data += chunk


def _build_batch(
    data: bytearray, row_offsets: list[int], used_bytes: int, columns: Sequence[tuple[int, int]]
) -> pa.RecordBatch:
    raw = np.zeros(used_bytes + MAX_NARROW_BYTES, np.uint8)
    raw[:used_bytes] = np.frombuffer(data, np.uint8, used_bytes)
    begin = np.array(row_offsets, np.int64)
    ends = np.append(begin[1:] - PACKET_HEADER_BYTES, used_bytes)
    at = begin + 1 + (len(columns) + 9) // 8
    arrays = []
    for number, (kind, flags) in enumerate(columns):
        null_byte, null_bit = divmod(number + 2, 8)
        null = (raw[begin + 1 + null_byte] >> null_bit & 1).astype(bool)
        if (at > ends).any() or (at[~null] >= ends[~null]).any():
            _raise_protocol_error()
        if kind in _NUMBER_CODES:
            number_code = _NUMBER_CODES[kind]
            if flags & UNSIGNED_FLAG:
                number_code = number_code.replace("i", "u")
            code = np.dtype(f"<{number_code}")
            arrays.append(_build_number_array(_read_at_offsets(raw, at, code), null))
            at = at + np.where(null, 0, code.itemsize)
            continue
        start, length = _find_length_prefixed_values(raw, at, null)
        at = start + length
        if (length < 0).any() or (at > ends).any():
            _raise_protocol_error()
        if kind in _TIME_TYPE_CODES:
            arrays.append(_build_time_array(raw, start, length, null))
        else:
            arrays.append(_build_text_array(raw, start, length, null))
    if (at != ends).any():
        _raise_protocol_error()
    column_names = [str(number) for number in range(len(columns))]
    return pa.RecordBatch.from_arrays(arrays, column_names)


def _raise_protocol_error() -> NoReturn:
    raise MysqlConnectionLostError("the server sent a row that violates the protocol")


def _read_at_offsets(packet_bytes: Any, offsets: Any, code: np.dtype[Any]) -> Any:
    """Read a value at each offset, aligned or not."""
    value_count = len(packet_bytes) - code.itemsize + 1
    values_at_all_bytes = np.ndarray((value_count,), code, packet_bytes, strides=(1,))
    return values_at_all_bytes[offsets]


def _read_bytes_at_offsets(packet_bytes: Any, offsets: Any, width: int) -> Any:
    """Read `width` bytes at each offset: an array of shape (offsets, width)."""
    cells = _read_at_offsets(packet_bytes, offsets, np.dtype(f"V{width}"))
    return cells.view(np.uint8).reshape(-1, width)


def _build_number_array(values: Any, is_null: Any) -> pa.Array:
    if values.dtype == np.uint64:  # numbers that int64 does not hold become texts, which the caller judges
        if (values >> 63).any():
            return pa.array(values, mask=is_null).cast(pa.string())
        return pa.array(values.view("<i8"), mask=is_null)
    return pa.array(values, mask=is_null)


def _find_length_prefixed_values(packet_bytes: Any, offsets: Any, is_null: Any) -> tuple[Any, Any]:
    """Find where the values begin that stand behind their lengths, and how long they are."""
    first = packet_bytes[offsets]
    start = offsets + ~is_null
    length = np.where(is_null, 0, first).astype(np.int64)
    for sign, size in ((LENGTH_2_MARK, 2), (LENGTH_3_MARK, 3), (LENGTH_8_MARK, 8)):
        wide = np.flatnonzero((first == sign) & ~is_null)
        if len(wide):
            places = start[wide]
            sizes = np.zeros(len(wide), np.int64)
            for byte in range(size):
                sizes |= packet_bytes[places + byte].astype(np.int64) << (8 * byte)
            length[wide] = sizes
            start[wide] += size
    return start, length


def _build_text_array(packet_bytes: Any, start: Any, length: Any, is_null: Any) -> pa.Array:
    """Copy values together."""
    offsets = np.zeros(len(start) + 1, np.int32)
    np.cumsum(length, out=offsets[1:])
    longest = int(length.max())
    if 0 < longest <= MAX_NARROW_BYTES:
        cells = _read_bytes_at_offsets(packet_bytes, start, longest)
        values = cells[np.arange(longest) < length[:, None]]
    else:
        source_index = np.repeat(start - offsets[:-1], length) + np.arange(offsets[-1])
        values = packet_bytes[source_index]
    valid = None
    if is_null.any():
        valid = pa.py_buffer(np.packbits(~is_null, bitorder="little"))
    buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(values)]
    binary_array = pa.Array.from_buffers(pa.binary(), len(start), buffers)
    try:
        return binary_array.cast(pa.string())
    except pa.ArrowInvalid:
        return binary_array


def _build_time_array(packet_bytes: Any, start: Any, length: Any, is_null: Any) -> pa.Array:
    """Read dates and times; if one of them is no day, all become texts."""
    cells = _read_bytes_at_offsets(packet_bytes, start, MAX_TIME_BYTES).astype(np.int64)
    cells[np.arange(MAX_TIME_BYTES) >= length[:, None]] = 0  # bytes that are not sent are zero
    year = cells[:, 0] | cells[:, 1] << 8
    month = cells[:, 2]
    day = cells[:, 3]
    micro = cells[:, 7] | cells[:, 8] << 8
    micro |= cells[:, 9] << 16 | cells[:, 10] << 24
    january = (year - 1970).astype("M8[Y]").astype("M8[M]")
    months = january + (month - 1)
    days = months.astype("M8[D]") + (day - 1)
    seconds = (cells[:, 4] * 60 + cells[:, 5]) * 60 + cells[:, 6]
    moments = days.astype("M8[us]").astype(np.int64) + seconds * 1_000_000 + micro
    values = pa.array(moments.view("M8[us]"), mask=is_null)
    is_no_day = (month < 1) | (month > 12) | (day < 1) | (days.astype("M8[M]") != months)
    wrong = ~is_null & is_no_day
    if not wrong.any():
        return values
    texts = pc.replace_substring(values.cast(pa.string()), "T", " ")
    zero = wrong & (year == 0) & (month == 0) & (day == 0)
    texts = pc.if_else(pa.array(zero), ZERO_DATETIME, texts)
    odd_rows = np.flatnonzero(wrong & ~zero)
    if len(odd_rows):
        parts = np.column_stack([year, month, day, *cells[:, 4:7].T])[odd_rows]
        written = ["{:04}-{:02}-{:02} {:02}:{:02}:{:02}".format(*row) for row in parts.tolist()]
        is_odd = pa.array(wrong & ~zero)
        texts = pc.replace_with_mask(texts, is_odd, pa.array(written))
    return texts
