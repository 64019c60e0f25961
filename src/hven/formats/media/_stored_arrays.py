"""Numbers as they lie in a file: typed, strided, read by spans, so that a window costs what it holds."""

from __future__ import annotations

import re
import shutil
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hven.formats.media._window_reads import compute_strides, read_window
from hven.model.errors import HvenError, SourceError, TooLargeError, format_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    Window = Sequence[slice]
    from hven.formats.media._remote_files import Place

MAX_UNPACKED_BYTES = (
    1 << 30
)  # bytes that a file may unpack to, or be fetched of one that its reader must have on the disk


class ArrayLayout(NamedTuple):
    """Where an array lies in a file.

    Attributes
    ----------
    offset
        Bytes before its first value.
    dtype
        Of its values as they are stored; ``vax`` says that they are VAX's reals.
    shape
        In the order in which it is shown.
    strides
        Bytes from one value to the next along each axis; empty: without gaps.
    """

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...] = ()
    is_vax: bool = False


class ValueScale(NamedTuple):
    """What stored values mean: value * factor + zero; nulls, and what lies outside of the valid range, are NaN.

    Attributes
    ----------
    factor, zero
        Of all values.
    nulls
        As they are stored.
    lowest_valid
        The lowest valid one as stored.
    bit_mask
        Bits that count; None: all.
    """

    factor: float = 1.0
    zero: float = 0.0
    nulls: tuple[float, ...] = ()
    lowest_valid: float | None = None
    bit_mask: int | None = None


EXACT_SCALE = ValueScale()


def read_window_values(path: Place, layout: ArrayLayout, window: Window) -> npt.NDArray[Any]:
    """Read a window: spans of the file with little between its values.

    Parameters
    ----------
    path
        Of the file.
    layout
        Where the array lies, with its strides.
    window
        A slice with two ends for each axis.

    Returns
    -------
    values
        As they are stored, of the window's shape.

    Raises
    ------
    SourceError
        The file ends before.
    """
    with path.open("rb", buffering=0) as file:
        try:
            return read_window(file, layout.offset, layout.strides, layout.dtype, window)
        except OSError:
            raise SourceError(format_message("{name} ends where its values should be", path.name)) from None


def create_window_reader(
    path: Place, layout: ArrayLayout, scale: ValueScale = EXACT_SCALE
) -> tuple[np.dtype[Any], Callable[[Window], npt.NDArray[Any]]]:
    """Make what reads windows of an array.

    Parameters
    ----------
    path
        Of a file.
    layout
        Where the array lies in it.
    scale
        What its values mean.

    Returns
    -------
    dtype
        Of what is read.
    read
        Reads a window.

    Raises
    ------
    SourceError
        The file is too short for it, or the array has no size.
    """
    shape = layout.shape
    if min(shape, default=0) < 1:
        raise SourceError(format_message("an array of {name} has no size", path.name))
    strides = layout.strides or compute_strides(shape, layout.dtype)
    end = (
        layout.offset
        + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
        + layout.dtype.itemsize
    )
    file_bytes = path.stat().st_size
    if layout.offset < 0 or min(strides) < 1 or end > file_bytes:
        raise SourceError(
            format_message("{name} has {there} bytes, and its label promises {end}", path.name, file_bytes, end),
            remedy=format_message("it was cut off, or the label is another file's"),
        )
    stored_type = layout.dtype
    native_type = stored_type.newbyteorder("=")
    is_exact = scale.factor == 1.0 and scale.zero == 0.0 and not scale.nulls and scale.lowest_valid is None
    if layout.is_vax:
        native_type = np.dtype("f4")
    if is_exact or native_type.kind == "f":
        scaled_type = native_type
    else:
        scaled_type = np.dtype("f4" if native_type.itemsize <= 2 else "f8")
    if not is_exact and (scale.factor, scale.zero) != (1.0, 0.0) and native_type.itemsize > 2:
        scaled_type = np.dtype("f8")

    def read_window(window: Window) -> npt.NDArray[Any]:
        window_values = read_window_values(path, layout._replace(strides=strides), window)
        values = np.ascontiguousarray(window_values)
        if layout.is_vax:
            values = convert_vax_reals(values)
        values = values.astype(native_type, copy=False)
        if scale.bit_mask is not None:
            values &= native_type.type(scale.bit_mask)
        if is_exact:
            return values
        scaled_values = values.astype(scaled_type)
        if (scale.factor, scale.zero) != (1.0, 0.0):
            scaled_values = scaled_values * scaled_type.type(scale.factor) + scaled_type.type(scale.zero)
        for null in scale.nulls:
            scaled_values[values == null] = np.nan
        if scale.lowest_valid is not None:
            scaled_values[values < scale.lowest_valid] = np.nan
        return scaled_values

    return scaled_type, read_window


def find_companion_file(folder: Place, name: str) -> Place:
    """Find a file that a label names: in the label's own folder, whatever its case.

    Parameters
    ----------
    folder
        Where the label lies.
    name
        As the label has it.

    Returns
    -------
    path
        Of a plain file.

    Raises
    ------
    SourceError
        It lies elsewhere, or is not there.
    """
    is_plain_name = re.fullmatch(r"[\w .+~()-]+", name) and name not in {".", ".."}
    if not is_plain_name:
        raise SourceError(
            format_message("the label points to {name!r}", name[:100]),
            remedy=format_message("only files beside the label are read"),
        )
    label_folder = folder.resolve()
    for path in (label_folder / name, label_folder / name.lower(), label_folder / name.upper()):
        if path.is_file():
            if path.resolve().parent != label_folder:
                raise SourceError(
                    format_message("the label points to {name!r}", name[:100]),
                    remedy=format_message("only files beside the label are read"),
                )
            return path
    raise SourceError(format_message("the label points to {name}, which is not there", name))


def convert_vax_reals(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Turn VAX's reals of 4 bytes (F) into IEEE's: words swapped, and 4 times as large."""
    stored_words = values.view(np.uint32)
    swapped_words = (stored_words >> np.uint32(16)) | (stored_words << np.uint32(16))
    ieee_values = swapped_words.view(np.float32) / np.float32(4.0)
    ieee_values[(swapped_words & np.uint32(0x7F800000)) == 0] = 0.0
    return np.asarray(ieee_values, np.float32)


class BitPattern(int):
    """A whole number that a label writes with its radix (``16#8001#``, ``0x8001``).

    The bits of a value, whatever its type.
    """


def read_constant(value: object, dtype: np.dtype[Any]) -> float | None:
    """Read a constant of a label for values of a type: a number, or the bits of one.

    Parameters
    ----------
    value
        As the label has it. A `BitPattern` (``16#FF7FFFFB#``) holds the bits of a real, or of a signed number in two's
        complement; so does a whole number that the type cannot hold.
    dtype
        Of the values.

    Returns
    -------
    constant
        In the file's own unit; None: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    size = 8 * dtype.itemsize
    if isinstance(value, int) and 0 <= value < 1 << size:
        if dtype.kind == "f" and size in {32, 64} and (isinstance(value, BitPattern) or value >= 1 << (size - 1)):
            return float(np.array(value, f"u{dtype.itemsize}").view(f"f{dtype.itemsize}"))
        if dtype.kind == "i" and value >= 1 << (size - 1):
            return float(value - (1 << size))
    if dtype.kind == "f" and size == 32 and abs(value) <= float(np.finfo(np.float32).max):
        return float(np.float32(value))  # as the values are: labels write seven or eight digits of it
    return float(value)


@contextmanager
def convert_library_errors(name: str, title: str) -> Iterator[None]:
    """Turn what a library raises of a bad file into a fault with its name.

    Parameters
    ----------
    name
        Of the file.
    title
        Of its medium.

    Raises
    ------
    SourceError
        Whatever it raised.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (HvenError, FileNotFoundError, PermissionError, GeneratorExit):
            raise
        except Exception as fault:  # noqa: BLE001  (libraries meet bad bytes with whatever comes up)
            reason = " ".join(str(fault).split())[:200] or type(fault).__name__
            raise SourceError(
                format_message("{name} is damaged, or no {title} file: {reason}", name, title, reason)
            ) from None


def copy_to_disk(file: Place) -> tuple[Path, Callable[[], None]]:
    """Have a file on the disk, for readers that need its path.

    Parameters
    ----------
    file
        One on another server is copied.

    Returns
    -------
    path
        Of the file or its copy.
    closing
        Removes the copy.

    Raises
    ------
    TooLargeError
        There is more of it than is fetched.
    """
    if isinstance(file, Path):
        return file, lambda: None
    folder = Path(tempfile.mkdtemp(prefix="hven-"))
    path = folder / "file"
    try:
        with path.open("wb") as copy, file.open("rb") as source:
            while chunk := source.read(1 << 20):
                copy.write(chunk)
                if copy.tell() > MAX_UNPACKED_BYTES:
                    raise TooLargeError(  # noqa: TRY301
                        format_message(
                            "files of more than {most} MB are read where they lie alone", MAX_UNPACKED_BYTES >> 20
                        )
                    )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return path, lambda: shutil.rmtree(folder, ignore_errors=True)


__all__ = [
    "MAX_UNPACKED_BYTES",
    "ArrayLayout",
    "BitPattern",
    "ValueScale",
    "convert_library_errors",
    "convert_vax_reals",
    "copy_to_disk",
    "create_window_reader",
    "find_companion_file",
    "read_constant",
    "read_window_values",
]
