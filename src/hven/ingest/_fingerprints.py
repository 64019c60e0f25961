"""Compute 128-bit fingerprints of rows, over whole columns at a time.

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

FINGERPRINT_METHOD = "hven-1"  # written to ledgers; a ledger of another method knows no row

# odd numbers with as many ones as zeros (splitmix64, xxHash); they need not be secret
_MIX_MULTIPLIER_1, _MIX_MULTIPLIER_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_FOLD_MULTIPLIER_1, _FOLD_MULTIPLIER_2 = np.uint64(0x9E3779B185EBCA87), np.uint64(0xC2B2AE3D27D4EB4F)
_NULL_WORD, _SEED = np.uint64(0x165667B19E3779F9), np.uint64(0x27D4EB2F165667C5)
_POSITION_MULTIPLIER = np.uint64(0xD6E8FEB86659FD93)
_SHIFT_30, _SHIFT_27, _SHIFT_31, _SHIFT_29 = (np.uint64(bits) for bits in (30, 27, 31, 29))
# bytes of a word that belong to the value
_TAIL_MASKS = np.array([(1 << (8 * size)) - 1 for size in range(8)] + [2**64 - 1], np.uint64)
MAX_VECTORISED_TEXT_BYTES = 512  # longer texts are hashed one by one: their bytes cost more than the calls


def compute_row_fingerprints(columns: Sequence[pa.Array], row_count: int) -> tuple[Words, Words]:
    """Hash rows over some columns.

    Parameters
    ----------
    columns
        Columns of any type, of shape (row_count,), always in the same order.
    row_count
        Number of rows.

    Returns
    -------
    first, second
        Two independent words for each row. Among n rows, the chance that two different rows have the same words is
        about n**2 / 7e38.
    """
    first: Words = np.full(row_count, _SEED, np.uint64)
    second: Words = np.full(row_count, ~_SEED, np.uint64)
    for values in columns:
        for word in _encode_values_as_words(values):
            _fold_word_into_hashes(first, second, word)
    return _apply_hash_finalizer(first), _apply_hash_finalizer(second)


def _fold_word_into_hashes(first: Words, second: Words, word: Words) -> None:
    """Mix one more word into both hashes."""
    first ^= word
    first *= _FOLD_MULTIPLIER_1
    first ^= first >> _SHIFT_31
    second += word
    second *= _FOLD_MULTIPLIER_2
    second ^= second >> _SHIFT_29


def _apply_hash_finalizer(words: Words) -> Words:
    """Spread each bit over the whole word; the function is one-to-one."""
    mixed = words ^ (words >> _SHIFT_30)
    mixed *= _MIX_MULTIPLIER_1
    mixed ^= mixed >> _SHIFT_27
    mixed *= _MIX_MULTIPLIER_2
    mixed ^= mixed >> _SHIFT_31
    return mixed


def _encode_values_as_words(values: Any) -> list[Words]:
    """Encode each value as one or several words; null has a word of its own."""
    values = _to_encodable_array(values)
    if pa.types.is_null(values.type):
        return [np.full(len(values), _NULL_WORD, np.uint64)]
    words = _encode_by_type(values)
    if values.null_count:
        null_mask = np.asarray(pc.is_null(values))
        for word in words:
            word[null_mask] = _NULL_WORD
    return words


def _to_encodable_array(values: Any) -> Any:
    """Return values as one array of a type that `_encode_by_type` knows."""
    if isinstance(values, pa.ChunkedArray):
        if values.num_chunks == 1:
            values = values.chunk(0)
        else:
            values = values.combine_chunks()
    if isinstance(values, pa.ExtensionArray):
        return _to_encodable_array(values.storage)
    value_type = values.type
    if pa.types.is_dictionary(value_type):
        return _to_encodable_array(values.dictionary_decode())
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
        return _hash_texts(values, np.int32)
    if pa.types.is_large_string(value_type) or pa.types.is_large_binary(value_type):
        return _hash_texts(values, np.int64)
    if pa.types.is_struct(value_type):
        return list(compute_row_fingerprints(values.flatten(), len(values)))
    if any(is_list(value_type) for is_list in _LIST_TYPE_TESTS):
        return _hash_lists(values)
    return _encode_fixed_width_values(values)


_LIST_TYPE_TESTS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_map,
)
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


def _encode_fixed_width_values(values: Any) -> list[Words]:
    """Read values as they are in memory, eight bytes at a time."""
    value_bytes = values.type.byte_width
    count = len(values)
    data = values.buffers()[1]
    if not count or data is None:
        return [np.zeros(count, np.uint64)]
    offset_bytes = values.offset * value_bytes
    if value_bytes in {1, 2, 4, 8}:
        unsigned_values = np.frombuffer(data, f"<u{value_bytes}", count, offset_bytes)
        return [_apply_hash_finalizer(unsigned_values.astype(np.uint64))]
    raw = np.frombuffer(data, np.uint8, count * value_bytes, offset_bytes).reshape(count, value_bytes)
    words_per_value = -(-value_bytes // 8)
    padded = np.zeros((count, words_per_value * 8), np.uint8)
    padded[:, :value_bytes] = raw
    return [_apply_hash_finalizer(np.ascontiguousarray(column)) for column in padded.view("<u8").T]


def _hash_texts(values: Any, offset_type: Any) -> list[Words]:
    count = len(values)
    _, offsets, data = values.buffers()
    first: Words = np.zeros(count, np.uint64)
    second: Words = np.zeros(count, np.uint64)
    if not count:
        return [first, second]
    offset_bytes = values.offset * np.dtype(offset_type).itemsize
    ends = np.frombuffer(offsets, offset_type, count + 1, offset_bytes).astype(np.int64)
    lengths = np.diff(ends)
    _fold_word_into_hashes(first, second, _apply_hash_finalizer(lengths.astype(np.uint64)))
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
            start = starts[row_number]
            text = raw[start : start + lengths[row_number]]
            digest = hashlib.blake2b(text.data, digest_size=16).digest()
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
        # these are views if all texts have such a word, and copies otherwise
        first_sums = first[active]
        second_sums = second[active]
        _fold_word_into_hashes(first_sums, second_sums, _apply_hash_finalizer(text_words))
        if not isinstance(active, slice):
            first[active], second[active] = first_sums, second_sums
        step += 1


def _hash_lists(values: Any) -> list[Words]:
    """Sum the hashes of the elements, each mixed with its position in the list."""
    list_type = values.type
    count = len(values)
    if pa.types.is_fixed_size_list(list_type):
        size = list_type.list_size
        elements = values.values.slice(values.offset * size, count * size)
        ends = np.arange(count + 1, dtype=np.int64) * size
    else:
        ends = np.asarray(values.offsets).astype(np.int64)
        if pa.types.is_map(list_type):
            all_elements = pa.StructArray.from_arrays([values.keys, values.items], ["key", "value"])
        else:
            all_elements = values.values
        first_element = int(ends[0])
        elements = all_elements.slice(first_element, int(ends[-1]) - first_element)
        ends = ends - first_element
    lengths = np.diff(ends)
    list_starts = np.repeat(ends[:-1], lengths)
    element_positions = (np.arange(len(elements), dtype=np.int64) - list_starts).astype(np.uint64)
    length_terms = lengths.astype(np.uint64) * _POSITION_MULTIPLIER
    list_words = []
    for element_words in compute_row_fingerprints([elements], len(elements)):
        mixed_words = _apply_hash_finalizer(element_words + element_positions * _POSITION_MULTIPLIER)
        running_sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed_words, dtype=np.uint64)])
        list_sums = running_sums[ends[1:]] - running_sums[ends[:-1]]
        list_words.append(_apply_hash_finalizer(list_sums + length_terms))
    return list_words
