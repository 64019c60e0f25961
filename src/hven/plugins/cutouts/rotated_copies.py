"""Write transposed copies of cubes: the same values with another axis fastest, as NPY: a spectrum lies together.

Readers use a copy instead of the file where that takes less time.
"""

from __future__ import annotations

import os
import secrets
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.formats.media import ArrayPart
from hven.formats.media.api import compute_strides, estimate_read_bytes, read_window
from hven.model.deadlines import ProgressMonitor
from hven.model.errors import SourceError, StorageError, format_message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    import numpy.typing as npt

    from hven.formats.media import OpenProductFile

BLOCK_BYTES, PIECE_BYTES = 32 << 20, 4 << 20  # bytes of a block, and of what is read of it at once
MAX_HEADER_BYTES = 256 << 10


def estimate_copy_bytes(array: ArrayPart) -> int:
    """Estimate the size of a copy in bytes.

    Parameters
    ----------
    array
        Array of an open file, of any shape.

    Returns
    -------
    int
        The estimate, in bytes.
    """
    return prod(array.shape) * _find_stored_type(array).itemsize


def _find_stored_type(array: ArrayPart) -> np.dtype[Any]:
    read = array.read_raw or array.read
    first_pixel = (slice(0, 1),) * len(array.shape)
    return np.dtype(read(first_pixel).dtype)


def write_transposed_copy(
    array: ArrayPart,
    axis: int,
    copy_path: Path,
    progress: ProgressMonitor = ProgressMonitor(),  # noqa: B008  (it is frozen)
) -> None:
    """Write a copy, which exists in full when this returns, or not at all.

    An array that is compressed or on another server is first written next to the copy: reading it by many small windows
    would decompress all of it many times.

    Parameters
    ----------
    array
        Array of an open file, of any shape.
    axis
        Axis that becomes the fastest, counted from the slowest.
    copy_path
        Path of the copy, in a directory that exists.
    progress
        Monitor of the progress.

    Raises
    ------
    SourceError
        The file cannot be read.
    StorageError
        The disk is full or fails.
    OperationCancelledError
        The operation was stopped.
    """
    read = array.read_raw or array.read
    other_axes = [axis_number for axis_number in range(len(array.shape)) if axis_number != axis]
    order = [*other_axes, axis]
    temporary_path = copy_path.with_name(f".{os.getpid()}-{secrets.token_hex(6)}")
    try:
        with ExitStack() as stack:
            kind = _find_stored_type(array)
            share = 1.0
            if not array.is_local_uncompressed:
                share = 0.5
                flat_path = temporary_path.with_suffix(".flat")
                flat_file = stack.enter_context(flat_path.open("w+b", buffering=0))
                stack.callback(flat_path.unlink)
                flat_writer = _ArrayWriter(flat_file, read, kind, progress, share=(0.0, share))
                flat_writer.write_array(b"", array.shape, range(len(order)))
                strides = compute_strides(array.shape, kind)
                read = partial(read_window, flat_file, 0, strides, kind)
            shape = tuple(array.shape[axis_number] for axis_number in order)
            with temporary_path.open("wb", buffering=0) as file:
                writer = _ArrayWriter(file, read, kind, progress, share=(1.0 - share, share))
                writer.write_array(_write_npy_header(shape, kind), array.shape, order)
                os.fsync(file.fileno())
        temporary_path.replace(copy_path)
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        reason = reason.lower()
        if error.errno is None:
            raise SourceError(format_message("the file cannot be read: {reason}", reason)) from None
        raise StorageError(
            format_message("a rotated copy cannot be written: {reason}", reason),
            remedy=format_message("ask the operator to free some space on the disk"),
        ) from error
    finally:
        temporary_path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _ArrayWriter:
    """A file that an array is written to in blocks."""

    file: BinaryIO
    read: Any
    dtype: np.dtype[Any]
    progress: ProgressMonitor
    share: tuple[float, float]  # where the progress of this file begins, and its share of the whole

    def write_array(self, header: bytes, shape: Sequence[int], order: Sequence[int]) -> None:
        """Write a header, and the array with its axes in this order."""
        total = prod(shape) * self.dtype.itemsize
        os.posix_fallocate(self.file.fileno(), 0, len(header) + total)  # a full disk fails now
        self.file.write(header)
        written_bytes = 0
        sizes = [shape[axis_number] for axis_number in order]
        for block in _split_into_blocks(sizes, BLOCK_BYTES // self.dtype.itemsize):
            begin, share = self.share
            self.progress.report_progress(begin + share * written_bytes / total)
            values = self._read_block(block, order)
            unwritten_bytes = values.reshape(-1).view("u1").data
            written_bytes += len(unwritten_bytes)
            while unwritten_bytes:
                unwritten_bytes = unwritten_bytes[self.file.write(unwritten_bytes) :]

    def _read_block(self, block: Sequence[slice], order: Sequence[int]) -> npt.NDArray[Any]:
        """Read a block, in pieces along its fastest axis."""
        window: list[slice] = [slice(0, 0)] * len(order)
        for axis_number, part in zip(order, block, strict=True):
            window[axis_number] = part
        values = np.empty([part.stop - part.start for part in block], self.dtype)
        fastest_slice = window[order[-1]]
        step = max(1, PIECE_BYTES // (values[..., :1].nbytes))
        for start in range(fastest_slice.start, fastest_slice.stop, step):
            stop = min(start + step, fastest_slice.stop)
            window[order[-1]] = slice(start, stop)
            piece = np.transpose(self.read(tuple(window)), order)
            values[..., start - fastest_slice.start : stop - fastest_slice.start] = piece
        return values


def _split_into_blocks(sizes: Sequence[int], value_limit: int) -> Iterator[tuple[slice, ...]]:
    """Split an array into contiguous blocks of at most `value_limit` values."""
    first, *further_sizes = sizes
    step = value_limit // prod(further_sizes)
    if further_sizes and not step:
        for index in range(first):
            for further_slices in _split_into_blocks(further_sizes, value_limit):
                yield (slice(index, index + 1), *further_slices)
        return
    for start in range(0, first, step):
        further_slices = tuple(slice(0, size) for size in further_sizes)
        yield (slice(start, min(first, start + step)), *further_slices)


def _write_npy_header(shape: Sequence[int], dtype: np.dtype[Any]) -> bytes:
    """Write the header of an NPY file, aligned as numpy does."""
    header_text = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {tuple(shape)!r}, }}"
    padding = -(len(header_text) + 11) % 64
    padded_header = (header_text + " " * padding + "\n").encode()
    return b"\x93NUMPY\x01\x00" + len(padded_header).to_bytes(2, "little") + padded_header


def redirect_reads_to_copies(product: OpenProductFile, copies: Mapping[tuple[int, int], Path]) -> OpenProductFile:
    """Let the arrays of an open file read copies where that takes less.

    Parameters
    ----------
    product
        An open file.
    copies
        Index of a part and axis, counted from the slowest -> its copy. Copies that are missing or do not fit are
        ignored.

    Returns
    -------
    product
        The same product.
    """
    parts = []
    for part in product.parts:
        for (index, axis), copy_path in copies.items():
            if index == part.index and isinstance(part, ArrayPart):
                with suppress(OSError, ValueError):
                    part = _with_transposed_copy(part, axis, copy_path, product)  # noqa: PLW2901
        parts.append(part)
    product.parts = tuple(parts)
    return product


def _with_transposed_copy(array: ArrayPart, axis: int, copy_path: Path, product: OpenProductFile) -> ArrayPart:
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
    copied_axes = (*other_axes, axis)
    copied_shape = tuple(array.shape[axis_number] for axis_number in copied_axes)
    if shape != copied_shape or copy_path.stat().st_size != start + prod(shape) * kind.itemsize:
        raise ValueError
    stride_by_axis = dict(zip(copied_axes, compute_strides(shape, kind), strict=True))
    strides = tuple(stride_by_axis[axis_number] for axis_number in range(len(shape)))
    original_strides = compute_strides(array.shape, kind)
    read_original = array.read_raw or array.read

    def read_raw(window: Sequence[slice]) -> npt.NDArray[Any]:
        if estimate_read_bytes(strides, kind, window) < estimate_read_bytes(original_strides, kind, window):
            return read_window(file, start, strides, kind, window)
        return read_original(window)

    if array.read_raw is None:
        return replace(array, read=read_raw)
    apply_scaling = array.apply_scaling
    if apply_scaling is None:
        return replace(array, read_raw=read_raw, read=read_raw)
    return replace(array, read_raw=read_raw, read=lambda window: apply_scaling(read_raw(window)))
