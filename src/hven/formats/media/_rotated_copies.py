"""Rotated copies of cubes: the same numbers with another axis fastest, as NPY, so that a spectrum lies together.

Read instead of the file where that is less.
"""

from __future__ import annotations

import os
import secrets
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.formats.media._product import ArrayPart
from hven.formats.media._window_reads import compute_strides, estimate_read_bytes, read_window
from hven.model.deadlines import ProgressMonitor
from hven.model.errors import SourceError, StorageError, format_message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    import numpy.typing as npt

    from hven.formats.media._product import Product, Window

BLOCK_BYTES, PIECE_BYTES = 32 << 20, 4 << 20  # bytes of a block, and of what is read of it at a time
MAX_HEADER_BYTES = 256 << 10  # bytes of a header at most


def estimate_copy_bytes(array: ArrayPart) -> int:
    """Return how many bytes a copy takes, about.

    Parameters
    ----------
    array
        Of an open file, any shape.
    """
    return prod(array.shape) * _find_stored_type(array).itemsize


def _find_stored_type(array: ArrayPart) -> np.dtype[Any]:
    return np.dtype((array.read_raw or array.read)((slice(0, 1),) * len(array.shape)).dtype)


def write_rotated_copy(
    array: ArrayPart,
    axis: int,
    copy_path: Path,
    progress: ProgressMonitor = ProgressMonitor(),  # noqa: B008  (it is frozen)
) -> None:
    """Write a copy; it is there, whole, when this returns, or not at all.

    What does not lie in its file as it is (compressed, or elsewhere) is laid beside the copy first: to read it by many
    small windows would unpack all of it many times.

    Parameters
    ----------
    array
        Of an open file, any shape.
    axis
        Which is fastest in the copy, in the order of C.
    copy_path
        Of the copy, in a directory that is there.
    progress
        What it is told to.

    Raises
    ------
    SourceError
        The file cannot be read.
    StorageError
        The disk.
    OperationCancelledError
        It was stopped.
    """
    read = array.read_raw or array.read
    order = [*(axis_number for axis_number in range(len(array.shape)) if axis_number != axis), axis]
    temporary_path = copy_path.with_name(f".{os.getpid()}-{secrets.token_hex(6)}")
    try:
        with ExitStack() as stack:
            kind = _find_stored_type(array)
            share = 1.0
            if not array.is_local_uncompressed:
                share = 0.5
                flat_file = stack.enter_context(temporary_path.with_suffix(".flat").open("w+b", buffering=0))
                stack.callback(temporary_path.with_suffix(".flat").unlink)
                _write_array(flat_file, b"", read, array.shape, range(len(order)), kind, progress, (0.0, share))
                strides = compute_strides(array.shape, kind)
                read = partial(read_window, flat_file, 0, strides, kind)
            shape = tuple(array.shape[axis_number] for axis_number in order)
            with temporary_path.open("wb", buffering=0) as file:
                _write_array(
                    file, _write_npy_header(shape, kind), read, array.shape, order, kind, progress, (1.0 - share, share)
                )
                os.fsync(file.fileno())
        temporary_path.replace(copy_path)
    except OSError as error:
        reason = (error.strerror or str(error) or type(error).__name__).lower()
        if error.errno is None:
            raise SourceError(format_message("the file cannot be read: {reason}", reason)) from None
        raise StorageError(
            format_message("a rotated copy cannot be written: {reason}", reason),
            remedy=format_message("its owner must make room on the disk"),
        ) from error
    finally:
        temporary_path.unlink(missing_ok=True)


def _write_array(
    file: BinaryIO,
    header: bytes,
    read: Any,
    shape: Sequence[int],
    order: Sequence[int],
    dtype: np.dtype[Any],
    progress: ProgressMonitor,
    share: tuple[float, float],
) -> None:
    """Write an array with its axes in an order, block by block."""
    total = prod(shape) * dtype.itemsize
    os.posix_fallocate(file.fileno(), 0, len(header) + total)  # a disk that has no room says so now
    file.write(header)
    written_bytes = 0
    for block in _split_into_blocks([shape[axis_number] for axis_number in order], BLOCK_BYTES // dtype.itemsize):
        progress.report_progress(share[0] + share[1] * written_bytes / total)
        window: list[slice] = [slice(0, 0)] * len(order)
        for axis_number, part in zip(order, block, strict=True):
            window[axis_number] = part
        values = np.empty([part.stop - part.start for part in block], dtype)
        fastest_slice = window[order[-1]]
        step = max(1, PIECE_BYTES // (values[..., :1].nbytes))
        for start in range(fastest_slice.start, fastest_slice.stop, step):
            window[order[-1]] = part = slice(start, min(start + step, fastest_slice.stop))
            values[..., part.start - fastest_slice.start : part.stop - fastest_slice.start] = np.transpose(
                read(tuple(window)), order
            )
        unwritten_bytes = values.reshape(-1).view("u1").data
        written_bytes += len(unwritten_bytes)
        while unwritten_bytes:
            unwritten_bytes = unwritten_bytes[file.write(unwritten_bytes) :]


def _split_into_blocks(sizes: Sequence[int], value_limit: int) -> Iterator[tuple[slice, ...]]:
    """Take an array apart into blocks that lie together, of so many values at most."""
    first, *further_sizes = sizes
    step = value_limit // prod(further_sizes)
    if further_sizes and not step:
        for index in range(first):
            yield from (
                (slice(index, index + 1), *further_slices)
                for further_slices in _split_into_blocks(further_sizes, value_limit)
            )
        return
    for start in range(0, first, step):
        yield slice(start, min(first, start + step)), *(slice(0, size) for size in further_sizes)


def _write_npy_header(shape: Sequence[int], dtype: np.dtype[Any]) -> bytes:
    """Write the head of an NPY, aligned as numpy does."""
    header_text = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {tuple(shape)!r}, }}"
    return (
        b"\x93NUMPY\x01\x00"
        + (
            len(padded_header := f"{header_text:<{-(len(header_text) + 11) % 64 + len(header_text)}}\n".encode())
        ).to_bytes(2, "little")
        + padded_header
    )


def add_rotated_copies(product: Product, copies: Mapping[tuple[int, int], Path]) -> Product:
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
        for (index, axis), copy_path in copies.items():
            if index == part.index and isinstance(part, ArrayPart):
                with suppress(OSError, ValueError):
                    part = _add_copy(part, axis, copy_path, product)  # noqa: PLW2901
        parts.append(part)
    product.parts = tuple(parts)
    return product


def _add_copy(array: ArrayPart, axis: int, copy_path: Path, product: Product) -> ArrayPart:
    file = copy_path.open("rb", buffering=0)
    close = product.close

    def close_both() -> None:
        file.close()
        close()

    product.close = close_both
    if file.read(8) != b"\x93NUMPY\x01\x00":
        raise ValueError
    shape, _, kind = np.lib.format.read_array_header_1_0(file, max_header_size=MAX_HEADER_BYTES)
    start = file.tell()
    other_axes = [axis_number for axis_number in range(len(array.shape)) if axis_number != axis]
    if (
        shape != tuple(array.shape[axis_number] for axis_number in (*other_axes, axis))
        or copy_path.stat().st_size != start + prod(shape) * kind.itemsize
    ):
        raise ValueError
    stride_by_axis = dict(zip((*other_axes, axis), compute_strides(shape, kind), strict=True))
    strides, original_strides = (
        tuple(stride_by_axis[axis_number] for axis_number in range(len(shape))),
        compute_strides(array.shape, kind),
    )
    read_original = array.read_raw or array.read

    def read_raw(window: Window) -> npt.NDArray[Any]:
        if estimate_read_bytes(strides, kind, window) < estimate_read_bytes(original_strides, kind, window):
            return read_window(file, start, strides, kind, window)
        return read_original(window)

    if array.read_raw is None:
        return replace(array, read=read_raw)
    apply_scaling = array.apply_scaling
    read = read_raw if apply_scaling is None else lambda window: apply_scaling(read_raw(window))
    return replace(
        array,
        read_raw=read_raw,
        read=read,
    )


__all__ = ["add_rotated_copies", "estimate_copy_bytes", "write_rotated_copy"]
