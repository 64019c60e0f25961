"""Fingerprints of rows: 128 bits over whole columns at a time, the same for the same values in whatever batch or process they come."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Words = npt.NDArray[np.uint64]

METHOD = "hven-1"  # written into ledgers: those of another method know no row

# odd numbers of equally many ones and zeros (splitmix64, xxHash); nothing here is secret
_K1, _K2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_P1, _P2 = np.uint64(0x9E3779B185EBCA87), np.uint64(0xC2B2AE3D27D4EB4F)
_NULL, _SEED = np.uint64(0x165667B19E3779F9), np.uint64(0x27D4EB2F165667C5)
_TURN = np.uint64(0xD6E8FEB86659FD93)
_30, _27, _31, _29 = (np.uint64(bits) for bits in (30, 27, 31, 29))
# bytes of a word that belong to the value
_TAIL = np.array([(1 << (8 * size)) - 1 for size in range(8)] + [2**64 - 1], np.uint64)
LONG = 512  # bytes; longer texts are hashed one by one: their bytes weigh more than the calls


def fingerprints(columns: Sequence[pa.Array], rows: int) -> tuple[Words, Words]:
    """Hash rows over some columns.

    Parameters
    ----------
    columns
        In an order that stays; of any type.

    Returns
    -------
    first, second
        Two independent words for each row. Two different rows among n have the same ones with a chance of about n**2 / 7e38.
    """
    first: Words = np.full(rows, _SEED, np.uint64)
    second: Words = np.full(rows, ~_SEED, np.uint64)
    for values in columns:
        for word in _words(values):
            _fold(first, second, word)
    return _mixed(first), _mixed(second)


def _fold(first: Words, second: Words, word: Words) -> None:
    """Fold one more word into both sums."""
    first ^= word
    first *= _P1
    first ^= first >> _31
    second += word
    second *= _P2
    second ^= second >> _29


def _mixed(words: Words) -> Words:
    """Spread every bit over the word; no two words become one."""
    found = words ^ (words >> _30)
    found *= _K1
    found ^= found >> _27
    found *= _K2
    found ^= found >> _31
    return found


def _words(values: Any) -> list[Words]:
    """Encode each value as one or several words; null is a word of its own."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)
    kind = values.type
    if isinstance(values, pa.ExtensionArray):
        return _words(values.storage)
    if pa.types.is_dictionary(kind):
        return _words(values.dictionary_decode())
    if pa.types.is_null(kind):
        return [np.full(len(values), _NULL, np.uint64)]
    if pa.types.is_boolean(kind):
        return _words(pc.cast(values, pa.uint8()))
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        words = _texts(values, np.int32)
    elif pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        words = _texts(values, np.int64)
    elif pa.types.is_struct(kind):
        words = list(fingerprints(values.flatten(), len(values)))
    elif (
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_map(kind)
    ):
        words = _lists(values)
    elif pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_fixed_size_binary(kind):
        words = _numbers(values)
    elif pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return _words(pc.cast(values, pa.large_binary()))
    else:
        return _words(pc.cast(values, pa.large_string()))
    if values.null_count:
        null = np.asarray(pc.is_null(values))
        for word in words:
            word[null] = _NULL
    return words


def _numbers(values: Any) -> list[Words]:
    """Read values as they stand in memory, eight bytes at a time."""
    size = values.type.byte_width
    count = len(values)
    data = values.buffers()[1]
    if not count or data is None:
        return [np.zeros(count, np.uint64)]
    if size in {1, 2, 4, 8}:
        plain = np.frombuffer(data, f"<u{size}", count, values.offset * size)
        return [_mixed(plain.astype(np.uint64))]
    raw = np.frombuffer(data, np.uint8, count * size, values.offset * size).reshape(count, size)
    padded = np.zeros((count, -(-size // 8) * 8), np.uint8)
    padded[:, :size] = raw
    return [_mixed(np.ascontiguousarray(column)) for column in padded.view("<u8").T]


def _texts(values: Any, width: Any) -> list[Words]:
    count = len(values)
    _, offsets, data = values.buffers()
    first: Words = np.zeros(count, np.uint64)
    second: Words = np.zeros(count, np.uint64)
    if not count:
        return [first, second]
    ends = np.frombuffer(offsets, width, count + 1, values.offset * np.dtype(width).itemsize).astype(np.int64)
    lengths = np.diff(ends)
    _fold(first, second, _mixed(lengths.astype(np.uint64)))
    begin, end = int(ends[0]), int(ends[-1])
    if data is None or begin == end:
        return [first, second]
    raw = np.zeros(end - begin + 8, np.uint8)  # a word may be read at any byte
    raw[:-8] = np.frombuffer(data, np.uint8, end - begin, begin)
    words = np.ndarray((len(raw) - 7,), "<u8", buffer=raw, strides=(1,))
    starts = ends[:-1] - begin
    long = lengths > LONG
    if long.any():
        for at in np.flatnonzero(long):
            digest = hashlib.blake2b(raw[starts[at] : starts[at] + lengths[at]].data, digest_size=16).digest()
            first[at], second[at] = np.frombuffer(digest, "<u8")
        lengths = np.where(long, 0, lengths)
    active: Any = slice(None)
    step = 0
    while True:
        rest = lengths[active] - 8 * step
        there = rest > 0
        if not there.all():
            active = np.flatnonzero(lengths > 8 * step)
            if not len(active):
                return [first, second]
            rest = lengths[active] - 8 * step
        found = words[starts[active] + 8 * step]
        if int(rest.min()) < 8:
            found = found & _TAIL[np.minimum(rest, 8)]
        one, two = first[active], second[active]  # views, if all values are that long
        _fold(one, two, _mixed(found))
        if not isinstance(active, slice):
            first[active], second[active] = one, two
        step += 1


def _lists(values: Any) -> list[Words]:
    """Sum up the elements, each turned by its place."""
    kind = values.type
    count = len(values)
    if pa.types.is_fixed_size_list(kind):
        size = kind.list_size
        elements = values.values.slice(values.offset * size, count * size)
        ends = np.arange(count + 1, dtype=np.int64) * size
    else:
        ends = np.asarray(values.offsets).astype(np.int64)
        inner = (
            pa.StructArray.from_arrays([values.keys, values.items], ["key", "value"])
            if pa.types.is_map(kind)
            else values.values
        )
        elements = inner.slice(int(ends[0]), int(ends[-1] - ends[0]))
        ends = ends - ends[0]
    lengths = np.diff(ends)
    place = (np.arange(len(elements), dtype=np.int64) - np.repeat(ends[:-1], lengths)).astype(np.uint64)
    found = []
    for word in fingerprints([elements], len(elements)):
        turned = _mixed(word + place * _TURN)
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(turned, dtype=np.uint64)])
        found.append(_mixed(sums[ends[1:]] - sums[ends[:-1]] + lengths.astype(np.uint64) * _TURN))
    return found
