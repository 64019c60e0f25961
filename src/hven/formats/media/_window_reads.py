"""Windows of an array that lies in a file as it is.

Read by few calls of the system, nothing mapped, nothing read that is far away.
"""

from __future__ import annotations

import itertools
import math
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.formats.media._remote_files import RemoteFileReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    import numpy.typing as npt

MAX_GAP_BYTES = (
    256 * 1024
)  # bytes with holes between what is wanted that are read at once: a call costs as much as some pages
MAX_READ_FACTOR = 4  # as many times what is wanted, up to `MAX_SPAN_BYTES`
MAX_SPAN_BYTES = 64 << 20  # bytes
SYSTEM_CALL_BYTES = 16 * 1024  # bytes that take as long as a call of the system


def compute_strides(shape: Sequence[int], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Return the strides of an array whose last axis lies together.

    Parameters
    ----------
    shape
        Of the array.
    dtype
        Of its values.

    Returns
    -------
    strides
        Bytes.
    """
    return tuple(math.prod(shape[axis + 1 :]) * dtype.itemsize for axis in range(len(shape)))


def read_window(
    file: BinaryIO, start: int, strides: Sequence[int], dtype: np.dtype[Any], window: Sequence[slice]
) -> npt.NDArray[Any]:
    """Read a window.

    No memory map: a file that is cut short meanwhile would end the process.

    Parameters
    ----------
    file
        An open one, of this machine or another; its position stays where it is.
    start
        Where the array begins, bytes.
    strides
        Bytes from one pixel of each axis to the next, in any order.
    dtype
        As it lies in the file.
    window
        A slice with two ends for each axis.

    Returns
    -------
    values
        Of `dtype`, shape of the window.

    Raises
    ------
    OSError
        The file ends before that.
    """
    order, sizes, steps, inner = _plan_read(strides, dtype, window)
    values = np.empty(sizes, dtype)
    first = start + sum(part.start * step for part, step in zip(window, strides, strict=True))
    span_bytes = _compute_span_bytes(sizes[inner:], steps[inner:], dtype)
    inner_sizes = sizes[inner:]
    inner_strides = steps[inner:]
    flat_values = values.reshape(math.prod(sizes[:inner]), *inner_sizes)
    outer = (range(0, count * step, step) for count, step in zip(sizes[:inner], steps, strict=False))
    if values.size:
        span_offsets = [first + sum(offsets) for offsets in itertools.product(*outer)]
    else:
        span_offsets = []
    if isinstance(file, RemoteFileReader):
        read_spans = file.read_spans
    else:
        read_spans = partial(_read_spans, file.fileno())
    for index, piece in enumerate(read_spans(span_bytes, span_offsets) if span_offsets else ()):
        if len(piece) < span_bytes:
            raise OSError("it ends before its last pixel")
        flat_values[index] = np.ndarray(inner_sizes, dtype, piece, strides=inner_strides)
    return values.transpose(np.argsort(order))


def estimate_read_bytes(strides: Sequence[int], dtype: np.dtype[Any], window: Sequence[slice]) -> int:
    """Estimate what it takes to read a window, so that one order of an array can be compared with another.

    Parameters
    ----------
    strides, dtype, window
        As of `read_window`.

    Returns
    -------
    effort
        Bytes, each call of the system as so many.
    """
    _, sizes, steps, inner = _plan_read(strides, dtype, window)
    if math.prod(sizes):
        return math.prod(sizes[:inner]) * (_compute_span_bytes(sizes[inner:], steps[inner:], dtype) + SYSTEM_CALL_BYTES)
    return 0


def _plan_read(
    strides: Sequence[int], dtype: np.dtype[Any], window: Sequence[slice]
) -> tuple[list[int], list[int], list[int], int]:
    """Order the axes, the slowest first, with their sizes and strides.

    Those from the last number on are read at once, from the first to the last of what is wanted of them.
    """
    order = sorted(range(len(strides)), key=lambda axis: -strides[axis])
    sizes = [max(0, window[axis].stop - window[axis].start) for axis in order]
    steps = [strides[axis] for axis in order]
    inner = 0
    while math.prod(sizes) and _compute_span_bytes(sizes[inner:], steps[inner:], dtype) > _compute_max_span_bytes(
        sizes[inner:], dtype
    ):
        inner += 1
    return order, sizes, steps, inner


def _read_spans(descriptor: int, span_bytes: int, offsets: Sequence[int]) -> Iterator[bytes]:
    for offset in offsets:
        piece = os.pread(descriptor, span_bytes, offset)
        # a call gives 2 GB at most
        while len(piece) < span_bytes and (
            next_bytes := os.pread(descriptor, span_bytes - len(piece), offset + len(piece))
        ):
            piece += next_bytes
        yield piece


def _compute_span_bytes(sizes: Sequence[int], steps: Sequence[int], dtype: np.dtype[Any]) -> int:
    return dtype.itemsize + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))


def _compute_max_span_bytes(sizes: Sequence[int], dtype: np.dtype[Any]) -> int:
    return max(
        MAX_GAP_BYTES,
        min(MAX_READ_FACTOR * math.prod(sizes) * dtype.itemsize, MAX_SPAN_BYTES),
        math.prod(sizes) * dtype.itemsize,
    )


__all__ = ["compute_strides", "estimate_read_bytes", "read_window"]
