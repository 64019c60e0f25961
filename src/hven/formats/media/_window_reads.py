"""Read windows of an array that lies uncompressed in a file.

A window takes few system calls; nothing is mapped, and nothing far away is read.
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

# bytes, with gaps between what is needed, that are read at once: a system call costs as much as some pages
MAX_GAP_BYTES = 256 * 1024
MAX_READ_FACTOR = 4  # times what is needed that is read, up to `MAX_SPAN_BYTES`
MAX_SPAN_BYTES = 64 << 20
SYSTEM_CALL_BYTES = 16 * 1024  # bytes that take as long to read as a system call


def compute_strides(shape: Sequence[int], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Return the strides of an array whose last axis is contiguous.

    Parameters
    ----------
    shape
        Shape of the array.
    dtype
        Type of its values.

    Returns
    -------
    strides
        Bytes from one value to the next along each axis.
    """
    inner_sizes = [shape[axis + 1 :] for axis in range(len(shape))]
    return tuple(math.prod(sizes) * dtype.itemsize for sizes in inner_sizes)


def read_window(
    file: BinaryIO, start: int, strides: Sequence[int], dtype: np.dtype[Any], window: Sequence[slice]
) -> npt.NDArray[Any]:
    """Read a window.

    The file is not mapped to memory: one that is truncated meanwhile would end the process.

    Parameters
    ----------
    file
        An open file of this machine or another; its position stays unchanged.
    start
        Offset of the array in bytes.
    strides
        Bytes from one pixel of each axis to the next, in any order.
    dtype
        Type of the stored values.
    window
        A slice with two ends for each axis.

    Returns
    -------
    values
        Values of `dtype`, of the shape of the window.

    Raises
    ------
    OSError
        The file ends before the window does.
    """
    order, sizes, steps, inner = _plan_read(strides, dtype, window)
    values = np.empty(sizes, dtype)
    axis_offsets = [part.start * step for part, step in zip(window, strides, strict=True)]
    first = start + sum(axis_offsets)
    span_bytes = _compute_span_bytes(sizes[inner:], steps[inner:], dtype)
    inner_sizes = sizes[inner:]
    inner_strides = steps[inner:]
    flat_values = values.reshape(math.prod(sizes[:inner]), *inner_sizes)
    outer = [range(0, count * step, step) for count, step in zip(sizes[:inner], steps, strict=False)]
    if not values.size:
        return values.transpose(np.argsort(order))
    span_offsets = [first + sum(offsets) for offsets in itertools.product(*outer)]
    if isinstance(file, RemoteFileReader):
        read_spans = file.read_spans
    else:
        read_spans = partial(_read_spans, file.fileno())
    for index, piece in enumerate(read_spans(span_bytes, span_offsets)):
        if len(piece) < span_bytes:
            raise OSError("the file ends before its last pixel")
        flat_values[index] = np.ndarray(inner_sizes, dtype, piece, strides=inner_strides)
    return values.transpose(np.argsort(order))


def estimate_read_bytes(strides: Sequence[int], dtype: np.dtype[Any], window: Sequence[slice]) -> int:
    """Estimate the cost of reading a window, to compare the orders in which an array is stored.

    Parameters
    ----------
    strides, dtype, window
        As in `read_window`.

    Returns
    -------
    effort
        Bytes to read, including `SYSTEM_CALL_BYTES` for each system call.
    """
    _, sizes, steps, inner = _plan_read(strides, dtype, window)
    if not math.prod(sizes):
        return 0
    span_bytes = _compute_span_bytes(sizes[inner:], steps[inner:], dtype)
    return math.prod(sizes[:inner]) * (span_bytes + SYSTEM_CALL_BYTES)


def _plan_read(
    strides: Sequence[int], dtype: np.dtype[Any], window: Sequence[slice]
) -> tuple[list[int], list[int], list[int], int]:
    """Order the axes, the slowest first, with their sizes and strides.

    The axes from the last number on are read at once, from the first to the last needed byte.
    """
    order = sorted(range(len(strides)), key=lambda axis: -strides[axis])
    sizes = [max(0, window[axis].stop - window[axis].start) for axis in order]
    steps = [strides[axis] for axis in order]
    inner = 0
    while math.prod(sizes):
        span_bytes = _compute_span_bytes(sizes[inner:], steps[inner:], dtype)
        if span_bytes <= _compute_max_span_bytes(sizes[inner:], dtype):
            break
        inner += 1
    return order, sizes, steps, inner


def _read_spans(descriptor: int, span_bytes: int, offsets: Sequence[int]) -> Iterator[bytes]:
    for offset in offsets:
        piece = os.pread(descriptor, span_bytes, offset)
        # a call returns at most 2 GB
        while len(piece) < span_bytes and (
            next_bytes := os.pread(descriptor, span_bytes - len(piece), offset + len(piece))
        ):
            piece += next_bytes
        yield piece


def _compute_span_bytes(sizes: Sequence[int], steps: Sequence[int], dtype: np.dtype[Any]) -> int:
    axis_bytes = [(size - 1) * step for size, step in zip(sizes, steps, strict=True)]
    return dtype.itemsize + sum(axis_bytes)


def _compute_max_span_bytes(sizes: Sequence[int], dtype: np.dtype[Any]) -> int:
    needed_bytes = math.prod(sizes) * dtype.itemsize
    bytes_with_gaps = min(MAX_READ_FACTOR * needed_bytes, MAX_SPAN_BYTES)
    return max(MAX_GAP_BYTES, bytes_with_gaps, needed_bytes)
