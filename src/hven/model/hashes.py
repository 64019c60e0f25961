"""64-bit hashes of rows, whole columns at a time. Equal rows have equal hashes; for n different rows two meet with a chance of n**2 / 4e19."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Hashes = npt.NDArray[np.uint64]
    Flags = npt.NDArray[np.bool_]

LONG = 1024  # bytes: longer texts are hashed one by one
_TURN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_KEPT = np.array([(1 << 8 * kept) - 1 for kept in range(9)], np.uint64)  # of a word, by how many of its bytes belong to the text


def hashes(columns: Sequence[pa.Array]) -> tuple[Flags, Hashes]:
    """Hash rows over some columns.

    Returns
    -------
    given, code
        Which rows have a value in each of the columns; their hashes.
    """
    given: Flags = np.ones(len(columns[0]), bool)
    code: Hashes = np.zeros(len(columns[0]), np.uint64)
    for values in columns:
        if values.null_count:
            given &= np.asarray(pc.is_valid(values))
        code = _mixed(code * _TURN + _hashed(values))
    return given, code


def _hashed(values: pa.Array) -> Hashes:
    if pa.types.is_floating(values.type):
        values = pc.add(values, pa.scalar(0.0, values.type))  # -0.0 is 0.0
    text = values if pa.types.is_string(values.type) else pc.cast(values, pa.string())
    if text.null_count:
        text = pc.fill_null(text, "")
    _, offsets, data = text.buffers()
    ends: npt.NDArray[np.int64] = np.frombuffer(offsets, np.int32, len(text) + 1, text.offset * 4).astype(np.int64)
    lengths = np.diff(ends)
    code = _mixed((lengths.astype(np.uint64) + np.uint64(1)) * _TURN)
    if data is None or ends[-1] == ends[0]:
        return code
    size = int(ends[-1] - ends[0])
    padded = np.zeros(size + 8, np.uint8)
    padded[:size] = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]
    words = np.ndarray((size + 1,), "<u8", padded, strides=(1,))  # the eight bytes from each place
    starts = ends[:-1] - ends[0]
    long = lengths > LONG
    if long.any():
        for row in np.flatnonzero(long).tolist():
            digest = hashlib.blake2b(padded[starts[row] : starts[row] + lengths[row]].data, digest_size=8).digest()
            code[row] = np.frombuffer(digest, "<u8")[0]
        lengths = np.where(long, 0, lengths)
    for begin in range(0, int(lengths.max()), 8):
        rest = lengths - begin
        if bool((rest >= 8).all()):
            code = _mixed(code ^ words[starts + begin])
            continue
        rows = np.flatnonzero(rest > 0)
        code[rows] = _mixed(code[rows] ^ (words[starts[rows] + begin] & _KEPT[np.minimum(rest[rows], 8)]))
    return code


def _mixed(code: Hashes) -> Hashes:
    """Spread every bit over all others (the finalizer of splitmix64: one to one)."""
    code = code ^ (code >> np.uint64(30))
    code *= _FIRST
    code ^= code >> np.uint64(27)
    code *= _SECOND
    code ^= code >> np.uint64(31)
    return code
