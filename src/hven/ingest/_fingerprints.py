"""Compute fingerprints of rows: 128 bits each, over whole columns at a time.

Equal values have equal fingerprints, in every batch and every process.
"""

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

FINGERPRINT_METHOD = "hven-1"  # written into ledgers: those of another method know no row

# odd numbers of equally many ones and zeros (splitmix64, xxHash); nothing here is secret
_MIX_MULTIPLIER_1, _MIX_MULTIPLIER_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_FOLD_MULTIPLIER_1, _FOLD_MULTIPLIER_2 = np.uint64(0x9E3779B185EBCA87), np.uint64(0xC2B2AE3D27D4EB4F)
_NULL_WORD, _SEED = np.uint64(0x165667B19E3779F9), np.uint64(0x27D4EB2F165667C5)
_POSITION_MULTIPLIER = np.uint64(0xD6E8FEB86659FD93)
_SHIFT_30, _SHIFT_27, _SHIFT_31, _SHIFT_29 = (np.uint64(bits) for bits in (30, 27, 31, 29))
# bytes of a word that belong to the value
_TAIL_MASKS = np.array([(1 << (8 * size)) - 1 for size in range(8)] + [2**64 - 1], np.uint64)
MAX_VECTORISED_TEXT_BYTES = 512  # bytes; longer texts are hashed one by one: their bytes weigh more than the calls


def compute_fingerprints(columns: Sequence[pa.Array], row_count: int) -> tuple[Words, Words]:
    """Hash rows over some columns.

    Parameters
    ----------
    columns
        In an order that stays; of any type.

    Returns
    -------
    first, second
        Two independent words for each row. Two different rows among n have the same ones with a chance of about n**2 /
        7e38.
    """
    first: Words = np.full(row_count, _SEED, np.uint64)
    second: Words = np.full(row_count, ~_SEED, np.uint64)
    for values in columns:
        for word in _encode_values(values):
            _fold_word(first, second, word)
    return _apply_finalizer(first), _apply_finalizer(second)


def _fold_word(first: Words, second: Words, word: Words) -> None:
    """Fold one more word into both sums."""
    first ^= word
    first *= _FOLD_MULTIPLIER_1
    first ^= first >> _SHIFT_31
    second += word
    second *= _FOLD_MULTIPLIER_2
    second ^= second >> _SHIFT_29


def _apply_finalizer(words: Words) -> Words:
    """Spread every bit over the word; no two words become one."""
    mixed = words ^ (words >> _SHIFT_30)
    mixed *= _MIX_MULTIPLIER_1
    mixed ^= mixed >> _SHIFT_27
    mixed *= _MIX_MULTIPLIER_2
    mixed ^= mixed >> _SHIFT_31
    return mixed


def _encode_values(values: Any) -> list[Words]:
    """Encode each value as one or several words; null is a word of its own."""
    values = _unwrap_array(values)
    if pa.types.is_null(values.type):
        return [np.full(len(values), _NULL_WORD, np.uint64)]
    words = _encode_by_type(values)
    if values.null_count:
        null_mask = np.asarray(pc.is_null(values))
        for word in words:
            word[null_mask] = _NULL_WORD
    return words


def _unwrap_array(values: Any) -> Any:
    """Return values as one array of a type that `_encode_by_type` knows."""
    if isinstance(values, pa.ChunkedArray):
        values = values.chunk(0) if values.num_chunks == 1 else values.combine_chunks()
    if isinstance(values, pa.ExtensionArray):
        return _unwrap_array(values.storage)
    value_type = values.type
    if pa.types.is_dictionary(value_type):
        return _unwrap_array(values.dictionary_decode())
    if pa.types.is_boolean(value_type):
        return pc.cast(values, pa.uint8())
    if pa.types.is_string_view(value_type) or pa.types.is_binary_view(value_type):
        return pc.cast(values, pa.large_binary())
    if any(is_known(value_type) for is_known in _KNOWN_TYPE_TESTS):
        return values
    return pc.cast(values, pa.large_string())


def _encode_by_type(values: Any) -> list[Words]:
    value_type = values.type
    if pa.types.is_string(value_type) or pa.types.is_binary(value_type):
        return _encode_texts(values, np.int32)
    if pa.types.is_large_string(value_type) or pa.types.is_large_binary(value_type):
        return _encode_texts(values, np.int64)
    if pa.types.is_struct(value_type):
        return list(compute_fingerprints(values.flatten(), len(values)))
    if any(is_list(value_type) for is_list in _LIST_TYPE_TESTS):
        return _encode_lists(values)
    return _encode_fixed_width(values)


_LIST_TYPE_TESTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_map)
_KNOWN_TYPE_TESTS = (
    pa.types.is_null,
    pa.types.is_string,
    pa.types.is_binary,
    pa.types.is_large_string,
    pa.types.is_large_binary,
    pa.types.is_struct,
    *_LIST_TYPE_TESTS,
    pa.types.is_primitive,
    pa.types.is_decimal,
    pa.types.is_fixed_size_binary,
)


def _encode_fixed_width(values: Any) -> list[Words]:
    """Read values as they stand in memory, eight bytes at a time."""
    size = values.type.byte_width
    count = len(values)
    data = values.buffers()[1]
    if not count or data is None:
        return [np.zeros(count, np.uint64)]
    if size in {1, 2, 4, 8}:
        unsigned_values = np.frombuffer(data, f"<u{size}", count, values.offset * size)
        return [_apply_finalizer(unsigned_values.astype(np.uint64))]
    raw = np.frombuffer(data, np.uint8, count * size, values.offset * size).reshape(count, size)
    padded = np.zeros((count, -(-size // 8) * 8), np.uint8)
    padded[:, :size] = raw
    return [_apply_finalizer(np.ascontiguousarray(column)) for column in padded.view("<u8").T]


def _encode_texts(values: Any, width: Any) -> list[Words]:
    count = len(values)
    _, offsets, data = values.buffers()
    first: Words = np.zeros(count, np.uint64)
    second: Words = np.zeros(count, np.uint64)
    if not count:
        return [first, second]
    ends = np.frombuffer(offsets, width, count + 1, values.offset * np.dtype(width).itemsize).astype(np.int64)
    lengths = np.diff(ends)
    _fold_word(first, second, _apply_finalizer(lengths.astype(np.uint64)))
    begin = int(ends[0])
    end = int(ends[-1])
    if data is None or begin == end:
        return [first, second]
    raw = np.zeros(end - begin + 8, np.uint8)  # a word may be read at any byte
    raw[:-8] = np.frombuffer(data, np.uint8, end - begin, begin)
    words = np.ndarray((len(raw) - 7,), "<u8", buffer=raw, strides=(1,))
    starts = ends[:-1] - begin
    long_texts = lengths > MAX_VECTORISED_TEXT_BYTES
    if long_texts.any():
        for row_number in np.flatnonzero(long_texts):
            digest = hashlib.blake2b(
                raw[starts[row_number] : starts[row_number] + lengths[row_number]].data, digest_size=16
            ).digest()
            first[row_number], second[row_number] = np.frombuffer(digest, "<u8")
        lengths = np.where(long_texts, 0, lengths)
    active: Any = slice(None)
    step = 0
    while True:
        remaining_bytes = lengths[active] - 8 * step
        has_remaining = remaining_bytes > 0
        if not has_remaining.all():
            active = np.flatnonzero(lengths > 8 * step)
            if not len(active):
                return [first, second]
            remaining_bytes = lengths[active] - 8 * step
        text_words = words[starts[active] + 8 * step]
        if int(remaining_bytes.min()) < 8:
            text_words = text_words & _TAIL_MASKS[np.minimum(remaining_bytes, 8)]
        # views, if all values are that long
        first_sums = first[active]
        second_sums = second[active]
        _fold_word(first_sums, second_sums, _apply_finalizer(text_words))
        if not isinstance(active, slice):
            first[active], second[active] = first_sums, second_sums
        step += 1


def _encode_lists(values: Any) -> list[Words]:
    """Sum up the elements, each turned by its place."""
    list_type = values.type
    count = len(values)
    if pa.types.is_fixed_size_list(list_type):
        size = list_type.list_size
        elements = values.values.slice(values.offset * size, count * size)
        ends = np.arange(count + 1, dtype=np.int64) * size
    else:
        ends = np.asarray(values.offsets).astype(np.int64)
        if pa.types.is_map(list_type):
            inner = pa.StructArray.from_arrays([values.keys, values.items], ["key", "value"])
        else:
            inner = values.values
        elements = inner.slice(int(ends[0]), int(ends[-1] - ends[0]))
        ends = ends - ends[0]
    lengths = np.diff(ends)
    element_positions = (np.arange(len(elements), dtype=np.int64) - np.repeat(ends[:-1], lengths)).astype(np.uint64)
    list_words = []
    for word in compute_fingerprints([elements], len(elements)):
        mixed_words = _apply_finalizer(word + element_positions * _POSITION_MULTIPLIER)
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed_words, dtype=np.uint64)])
        list_words.append(
            _apply_finalizer(sums[ends[1:]] - sums[ends[:-1]] + lengths.astype(np.uint64) * _POSITION_MULTIPLIER)
        )
    return list_words
