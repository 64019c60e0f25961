"""Windows of an array that lies in a file as it is: read by few calls of the system, nothing mapped, nothing read that is far away."""

from __future__ import annotations

import itertools
import math
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.formats.media._distant import Opened

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import BinaryIO

    import numpy.typing as npt

NEAR = 256 * 1024  # bytes with holes between what is wanted that are read at once: a call costs as much as some pages
APART = 4  # as many times what is wanted, up to `AT_ONCE`
AT_ONCE = 64 << 20  # bytes
CALL = 16 * 1024  # bytes that take as long as a call of the system


def in_order(shape: Sequence[int], dtype: np.dtype[Any]) -> tuple[int, ...]:
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
    return tuple(math.prod(shape[at + 1 :]) * dtype.itemsize for at in range(len(shape)))


def read_plain(
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
    order, sizes, steps, inner = _planned(strides, dtype, window)
    values = np.empty(sizes, dtype)
    first = start + sum(part.start * step for part, step in zip(window, strides, strict=True))
    size, rest, apart = _span(sizes[inner:], steps[inner:], dtype), sizes[inner:], steps[inner:]
    flat = values.reshape(math.prod(sizes[:inner]), *rest)
    outer = (range(0, count * step, step) for count, step in zip(sizes[:inner], steps, strict=False))
    places = [first + sum(offsets) for offsets in itertools.product(*outer)] if values.size else []
    spans = file.spans if isinstance(file, Opened) else partial(_spans, file.fileno())
    for at, piece in enumerate(spans(size, places) if places else ()):
        if len(piece) < size:
            raise OSError("it ends before its last pixel")
        flat[at] = np.ndarray(rest, dtype, piece, strides=apart)
    return values.transpose(np.argsort(order))


def effort(strides: Sequence[int], dtype: np.dtype[Any], window: Sequence[slice]) -> int:
    """Estimate what it takes to read a window, so that one order of an array can be compared with another.

    Parameters
    ----------
    strides, dtype, window
        As of `read_plain`.

    Returns
    -------
    effort
        Bytes, each call of the system as so many.
    """
    _, sizes, steps, inner = _planned(strides, dtype, window)
    return math.prod(sizes[:inner]) * (_span(sizes[inner:], steps[inner:], dtype) + CALL) if math.prod(sizes) else 0


def _planned(
    strides: Sequence[int], dtype: np.dtype[Any], window: Sequence[slice]
) -> tuple[list[int], list[int], list[int], int]:
    """Order the axes, the slowest first, with their sizes and strides: those from the last number on are read at once, from the first to the last of what is wanted of them."""
    order = sorted(range(len(strides)), key=lambda at: -strides[at])
    sizes = [max(0, window[at].stop - window[at].start) for at in order]
    steps = [strides[at] for at in order]
    inner = 0
    while math.prod(sizes) and _span(sizes[inner:], steps[inner:], dtype) > _most(sizes[inner:], dtype):
        inner += 1
    return order, sizes, steps, inner


def _spans(descriptor: int, size: int, places: Sequence[int]) -> Iterator[bytes]:
    for place in places:
        piece = os.pread(descriptor, size, place)
        # a call gives 2 GB at most
        while len(piece) < size and (more := os.pread(descriptor, size - len(piece), place + len(piece))):
            piece += more
        yield piece


def _span(sizes: Sequence[int], steps: Sequence[int], dtype: np.dtype[Any]) -> int:
    return dtype.itemsize + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))


def _most(sizes: Sequence[int], dtype: np.dtype[Any]) -> int:
    return max(NEAR, min(APART * math.prod(sizes) * dtype.itemsize, AT_ONCE), math.prod(sizes) * dtype.itemsize)


__all__ = ["effort", "in_order", "read_plain"]
