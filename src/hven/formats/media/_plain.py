"""Windows of an array that lies in a file as it is, last axis first: read by few calls of the system, nothing mapped, nothing read that is far away."""

from __future__ import annotations

import itertools
import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

NEAR = 256 * 1024  # bytes with holes between what is wanted that are read at once: a call costs as much as some pages


def read_plain(
    descriptor: int, start: int, shape: Sequence[int], dtype: np.dtype[Any], window: Sequence[slice]
) -> npt.NDArray[Any]:
    """Read a window.

    Parameters
    ----------
    descriptor
        Of an open file; its position stays where it is.
    start
        Where the array begins, bytes.
    shape
        Of the whole array, in the order of C.
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
    wanted = [max(0, part.stop - part.start) for part in window]
    values = np.empty(wanted, dtype)
    if not values.size:
        return values
    steps = [math.prod(shape[at + 1 :]) * dtype.itemsize for at in range(len(shape))]
    # what is read at once: the axes from `inner` on, from the first to the last of what is wanted of them
    inner = next(at for at in range(len(shape) + 1) if _span(wanted, steps, at, dtype) <= _most(wanted, at, dtype))
    size = _span(wanted, steps, inner, dtype)
    first = start + sum(part.start * step for part, step in zip(window, steps, strict=True))
    flat = values.reshape(math.prod(wanted[:inner]), *wanted[inner:])
    outer = itertools.product(
        *(range(0, count * step, step) for count, step in zip(wanted[:inner], steps, strict=False))
    )
    for at, offsets in enumerate(outer):
        piece = os.pread(descriptor, size, first + sum(offsets))
        while len(piece) < size:  # a call gives 2 GB at most
            more = os.pread(descriptor, size - len(piece), first + sum(offsets) + len(piece))
            if not more:
                raise OSError("it ends before its last pixel")
            piece += more
        flat[at] = as_strided(np.frombuffer(piece, dtype), wanted[inner:], steps[inner:], writeable=False)
    return values


def _span(wanted: Sequence[int], steps: Sequence[int], inner: int, dtype: np.dtype[Any]) -> int:
    return sum((count - 1) * step for count, step in zip(wanted[inner:], steps[inner:], strict=True)) + dtype.itemsize


def _most(wanted: Sequence[int], inner: int, dtype: np.dtype[Any]) -> int:
    return max(NEAR, math.prod(wanted[inner:]) * dtype.itemsize)


__all__ = ["read_plain"]
