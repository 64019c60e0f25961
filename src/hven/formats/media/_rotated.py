"""Rotated copies of cubes: the same numbers with another axis fastest, as NPY, so that a spectrum lies together. Read instead of the file where that is less."""

from __future__ import annotations

import os
import secrets
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.formats.media._plain import effort, in_order, read_plain
from hven.formats.media._product import Array
from hven.model.clock import Task
from hven.model.errors import SourceError, StorageError, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    import numpy.typing as npt

    from hven.formats.media._product import Product, Window

AT_ONCE, PIECE = 32 << 20, 4 << 20  # bytes of a block, and of what is read of it at a time
LOCAL = 256 << 10  # bytes of a header at most


def size(array: Array) -> int:
    """Return how many bytes a copy takes, about.

    Parameters
    ----------
    array
        Of an open file, any shape.
    """
    return prod(array.shape) * _kind(array).itemsize


def _kind(array: Array) -> np.dtype[Any]:
    return np.dtype((array.raw or array.read)((slice(0, 1),) * len(array.shape)).dtype)


def write(array: Array, axis: int, place: Path, task: Task = Task()) -> None:  # noqa: B008  (it is frozen)
    """Write a copy; it is there, whole, when this returns, or not at all.

    What does not lie in its file as it is (compressed, or elsewhere) is laid beside the copy first: to read it by many small windows would unpack all of it
    many times.

    Parameters
    ----------
    array
        Of an open file, any shape.
    axis
        Which is fastest in the copy, in the order of C.
    place
        Of the copy, in a directory that is there.
    task
        What it is told to.

    Raises
    ------
    SourceError
        The file cannot be read.
    StorageError
        The disk.
    Cancelled
        It was stopped.
    """
    read = array.raw or array.read
    order = [*(at for at in range(len(array.shape)) if at != axis), axis]
    part = place.with_name(f".{os.getpid()}-{secrets.token_hex(6)}")
    try:
        with ExitStack() as stack:
            kind, share = _kind(array), 1.0
            if not array.flat:
                share = 0.5
                flat = stack.enter_context(part.with_suffix(".flat").open("w+b", buffering=0))
                stack.callback(part.with_suffix(".flat").unlink)
                _written(flat, b"", read, array.shape, range(len(order)), kind, task, (0.0, share))
                read = partial(read_plain, flat, 0, in_order(array.shape, kind), kind)
            shape = tuple(array.shape[at] for at in order)
            with part.open("wb", buffering=0) as file:
                _written(file, _head(shape, kind), read, array.shape, order, kind, task, (1.0 - share, share))
                os.fsync(file.fileno())
        part.replace(place)
    except OSError as error:
        why = (error.strerror or str(error) or type(error).__name__).lower()
        if error.errno is None:
            raise SourceError(say("the file cannot be read: {reason}", why)) from None
        raise StorageError(
            say("a rotated copy cannot be written: {reason}", why), remedy=say("its owner must make room on the disk")
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _written(
    file: BinaryIO, head: bytes, read: Any, shape: Sequence[int], order: Sequence[int], kind: np.dtype[Any], task: Task, share: tuple[float, float],
) -> None:  # fmt: skip
    """Write an array with its axes in an order, block by block."""
    total = prod(shape) * kind.itemsize
    os.posix_fallocate(file.fileno(), 0, len(head) + total)  # a disk that has no room says so now
    file.write(head)
    done = 0
    for block in _blocks([shape[at] for at in order], AT_ONCE // kind.itemsize):
        task.go(share[0] + share[1] * done / total)
        window: list[slice] = [slice(0, 0)] * len(order)
        for at, part in zip(order, block, strict=True):
            window[at] = part
        values = np.empty([part.stop - part.start for part in block], kind)
        whole = window[order[-1]]
        step = max(1, PIECE // (values[..., :1].nbytes))
        for start in range(whole.start, whole.stop, step):
            window[order[-1]] = part = slice(start, min(start + step, whole.stop))
            values[..., part.start - whole.start : part.stop - whole.start] = np.transpose(read(tuple(window)), order)
        left = values.reshape(-1).view("u1").data
        done += len(left)
        while left:
            left = left[file.write(left) :]


def _blocks(sizes: Sequence[int], most: int) -> Iterator[tuple[slice, ...]]:
    """Take an array apart into blocks that lie together, of so many values at most."""
    first, *rest = sizes
    step = most // prod(rest)
    if rest and not step:
        for at in range(first):
            yield from ((slice(at, at + 1), *others) for others in _blocks(rest, most))
        return
    for start in range(0, first, step):
        yield slice(start, min(first, start + step)), *(slice(0, size) for size in rest)


def _head(shape: Sequence[int], kind: np.dtype[Any]) -> bytes:
    """Write the head of an NPY, aligned as numpy does."""
    said = f"{{'descr': {kind.str!r}, 'fortran_order': False, 'shape': {tuple(shape)!r}, }}"
    return b"\x93NUMPY\x01\x00" + (len(words := f"{said:<{-(len(said) + 11) % 64 + len(said)}}\n".encode())).to_bytes(2, "little") + words  # fmt: skip


def used(product: Product, copies: Mapping[tuple[int, int], Path]) -> Product:
    """Let the arrays of an open file read copies where that is less.

    Parameters
    ----------
    product
        An open file.
    copies
        Index of a part, axis in the order of C -> a copy. Those that are gone or others are not used.

    Returns
    -------
    product
        The same.
    """
    parts = []
    for part in product.parts:
        for (index, axis), place in copies.items():
            if index == part.index and isinstance(part, Array):
                with suppress(OSError, ValueError):
                    part = _with(part, axis, place, product)  # noqa: PLW2901
        parts.append(part)
    product.parts = tuple(parts)
    return product


def _with(array: Array, axis: int, place: Path, product: Product) -> Array:
    file = place.open("rb", buffering=0)
    close = product.closing

    def closing() -> None:
        file.close()
        close()

    product.closing = closing
    if file.read(8) != b"\x93NUMPY\x01\x00":
        raise ValueError
    shape, _, kind = np.lib.format.read_array_header_1_0(file, max_header_size=LOCAL)
    start = file.tell()
    rest = [at for at in range(len(array.shape)) if at != axis]
    if shape != tuple(array.shape[at] for at in (*rest, axis)) or place.stat().st_size != start + prod(shape) * kind.itemsize:  # fmt: skip
        raise ValueError
    turned = dict(zip((*rest, axis), in_order(shape, kind), strict=True))
    strides, own = tuple(turned[at] for at in range(len(shape))), in_order(array.shape, kind)
    straight = array.raw or array.read

    def raw(window: Window) -> npt.NDArray[Any]:
        if effort(strides, kind, window) < effort(own, kind, window):
            return read_plain(file, start, strides, kind, window)
        return straight(window)

    if array.raw is None:
        return replace(array, read=raw)
    meant = array.meant
    return replace(array, raw=raw, read=raw if meant is None else lambda window: meant(raw(window)))


__all__ = ["size", "used", "write"]
