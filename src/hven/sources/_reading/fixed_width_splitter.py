"""Cut lines of fixed-width text into columns, vectorised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

UNIT_SEPARATOR = "\x1f"  # the separator between columns after cutting: never part of a text file that people read


def build_fixed_width_splitter(
    ranges: Sequence[tuple[int, int]], *, counts_characters: bool
) -> Callable[[bytes], bytes]:
    """Build a function that cuts lines at fixed places and puts separators between the pieces.

    Parameters
    ----------
    counts_characters
        True if the file was recoded, so that one of its bytes is one character now.
    """
    reach = max(end for _, end in ranges)
    width = sum(end - start for start, end in ranges) + len(ranges)

    def split_lines(data: bytes) -> bytes:
        data = data.replace(UNIT_SEPARATOR.encode(), b" ").replace(b"\r\n", b"\n")
        if not data.endswith(b"\n"):
            data += b"\n"
        wide = counts_characters and not data.isascii()
        if wide:
            signs = np.frombuffer(data.decode(errors="replace").encode("utf-32-le"), "<u4")
        else:
            signs = np.frombuffer(data, np.uint8)
        ends = np.flatnonzero(signs == 10)
        starts = np.concatenate([[0], ends[:-1] + 1])
        lengths = ends - starts
        filled = lengths > 0
        starts = starts[filled]
        lengths = lengths[filled]
        n = len(starts)
        if n == 0:
            return b""
        if n * (lengths[0] + 1) == len(signs) and (lengths == lengths[0]).all():
            lines = signs.reshape(n, lengths[0] + 1)[:, :-1]
        else:
            index = np.minimum(starts[:, None] + np.arange(reach), len(signs) - 1)
            lines = np.where(np.arange(reach) < lengths[:, None], signs[index], 32)
        out = np.full((n, width), 32, signs.dtype)
        at = 0
        for start, end in ranges:
            field_characters = lines[:, start:end]
            out[:, at : at + field_characters.shape[1]] = field_characters
            at += end - start + 1
            out[:, at - 1] = ord(UNIT_SEPARATOR)
        out[:, -1] = 10
        split_bytes = np.ascontiguousarray(out).tobytes()
        if wide:
            return split_bytes.decode("utf-32-le").encode()
        return split_bytes

    return split_lines
