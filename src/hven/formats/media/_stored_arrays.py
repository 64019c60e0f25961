"""Read typed and strided numbers from a file by spans, so that a window costs what it contains."""

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

# bytes that a file may unpack to, and of a file on another server that is copied to the disk
MAX_UNPACKED_BYTES = 1 << 30


class ArrayLayout(NamedTuple):
    """The place and the type of an array in a file.

    Attributes
    ----------
    offset
        Bytes before the first value.
    dtype
        Type of the stored values.
    shape
        Shape, in the order in which the array is shown.
    strides
        Bytes from one value to the next along each axis; empty: contiguous.
    is_vax
        Whether the values are VAX reals.
    """

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...] = ()
    is_vax: bool = False


class ValueScale(NamedTuple):
    """The meaning of stored values: value * factor + zero; nulls and values below the valid range are NaN.

    Attributes
    ----------
    factor, zero
        Scale and offset of all values.
    nulls
        Stored values that stand for null.
    lowest_valid
        Lowest valid stored value.
    bit_mask
        Bits of a stored value that count; None: all.
    """

    factor: float = 1.0
    zero: float = 0.0
    nulls: tuple[float, ...] = ()
    lowest_valid: float | None = None
    bit_mask: int | None = None


EXACT_SCALE = ValueScale()


def read_window_values(path: Place, layout: ArrayLayout, window: Window) -> npt.NDArray[Any]:
    """Read a window as spans of the file with little between its values.

    Parameters
    ----------
    path
        Path of the file.
    layout
        Place of the array, with its strides.
    window
        A slice with two ends for each axis.

    Returns
    -------
    values
        Stored values, of the shape of the window.

    Raises
    ------
    SourceError
        The file ends before the window does.
    """
    with path.open("rb", buffering=0) as file:
        try:
            return read_window(file, layout.offset, layout.strides, layout.dtype, window)
        except OSError:
            raise SourceError(format_message("{name} ends where its values should be", path.name)) from None


def create_window_reader(
    path: Place, layout: ArrayLayout, scale: ValueScale = EXACT_SCALE
) -> tuple[np.dtype[Any], Callable[[Window], npt.NDArray[Any]]]:
    """Create the function that reads windows of an array.

    Parameters
    ----------
    path
        Path of the file.
    layout
        Place and type of the array.
    scale
        Meaning of its values.

    Returns
    -------
    dtype
        Type of the values that are read.
    read
        Function that reads a window.

    Raises
    ------
    SourceError
        The file is too short for the array, or the array has no size.
    """
    shape = layout.shape
    if min(shape, default=0) < 1:
        raise SourceError(format_message("an array of {name} has no size", path.name))
    strides = layout.strides or compute_strides(shape, layout.dtype)
    last_value_offset = sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    end = layout.offset + last_value_offset + layout.dtype.itemsize
    file_bytes = path.stat().st_size
    if layout.offset < 0 or min(strides) < 1 or end > file_bytes:
        message = format_message("{name} has {there} bytes, but its label states {end}", path.name, file_bytes, end)
        raise SourceError(message, remedy=format_message("get the file again, or use the label that belongs to it"))
    native_type = layout.dtype.newbyteorder("=")
    if layout.is_vax:
        native_type = np.dtype("f4")
    is_scaled = (scale.factor, scale.zero) != (1.0, 0.0)
    is_exact = not is_scaled and not scale.nulls and scale.lowest_valid is None
    scaled_type = _choose_scaled_type(native_type, scale, is_exact=is_exact)

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


def _choose_scaled_type(native_type: np.dtype[Any], scale: ValueScale, *, is_exact: bool) -> np.dtype[Any]:
    """Choose the type that holds the scaled values."""
    if is_exact:
        return native_type
    is_scaled = (scale.factor, scale.zero) != (1.0, 0.0)
    if is_scaled and native_type.itemsize > 2:
        return np.dtype("f8")
    if native_type.kind == "f":
        return native_type
    return np.dtype("f4" if native_type.itemsize <= 2 else "f8")


def find_companion_file(folder: Place, name: str) -> Place:
    """Find a file that a label names in the folder of the label; case does not matter.

    Parameters
    ----------
    folder
        Folder of the label.
    name
        File name as the label has it.

    Returns
    -------
    path
        Path of a plain file.

    Raises
    ------
    SourceError
        The file lies elsewhere, or does not exist.
    """
    is_plain_name = re.fullmatch(r"[\w .+~()-]+", name) and name not in {".", ".."}
    if not is_plain_name:
        raise SourceError(
            format_message("the label points to a file elsewhere, {name!r}", name[:100]),
            remedy=format_message("put the file next to the label"),
        )
    label_folder = folder.resolve()
    for path in (label_folder / name, label_folder / name.lower(), label_folder / name.upper()):
        if path.is_file():
            if path.resolve().parent != label_folder:
                raise SourceError(
                    format_message("the label points to a file elsewhere, {name!r}", name[:100]),
                    remedy=format_message("put the file next to the label"),
                )
            return path
    raise SourceError(format_message("the label points to {name}, which is missing", name))


def convert_vax_reals(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Convert VAX reals of 4 bytes (F) to IEEE reals: their words are swapped, and they are 4 times as large."""
    stored_words = values.view(np.uint32)
    swapped_words = (stored_words >> np.uint32(16)) | (stored_words << np.uint32(16))
    ieee_values = swapped_words.view(np.float32) / np.float32(4.0)
    ieee_values[(swapped_words & np.uint32(0x7F800000)) == 0] = 0.0
    return np.asarray(ieee_values, np.float32)


class RadixInteger(int):
    """An integer that a label writes with its radix (``16#8001#``, ``0x8001``).

    It stands for the bits of a value of any type.
    """


def parse_label_constant(value: object, dtype: np.dtype[Any]) -> float | None:
    """Read a constant of a label for values of a type: a number, or the bits of one.

    Parameters
    ----------
    value
        Value as the label has it. A `RadixInteger` (``16#FF7FFFFB#``) holds the bits of a real, or of a signed number
        in two's complement. An integer that does not fit the type does so, too.
    dtype
        Type of the values.

    Returns
    -------
    constant
        The constant in the unit of the file; None if the value is no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    size = 8 * dtype.itemsize
    if isinstance(value, int) and 0 <= value < 1 << size:
        if dtype.kind == "f" and size in {32, 64} and (isinstance(value, RadixInteger) or value >= 1 << (size - 1)):
            return float(np.array(value, f"u{dtype.itemsize}").view(f"f{dtype.itemsize}"))
        if dtype.kind == "i" and value >= 1 << (size - 1):
            return float(value - (1 << size))
    if dtype.kind == "f" and size == 32 and abs(value) <= float(np.finfo(np.float32).max):
        return float(np.float32(value))  # as the values are: labels write seven or eight digits of it
    return float(value)


@contextmanager
def convert_library_errors(name: str, title: str) -> Iterator[None]:
    """Convert what a library raises for a bad file to an error with the name of the file.

    Parameters
    ----------
    name
        Name of the file.
    title
        Title of its medium.

    Raises
    ------
    SourceError
        The library raised an error.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (HvenError, FileNotFoundError, PermissionError, GeneratorExit):
            raise
        except Exception as fault:  # noqa: BLE001  (libraries meet bad bytes with whatever comes up)
            words = str(fault).split()
            reason = " ".join(words)[:200] or type(fault).__name__
            raise SourceError(
                format_message("{name} is damaged, or not a valid {title} file: {reason}", name, title, reason)
            ) from None


def copy_to_disk(file: Place) -> tuple[Path, Callable[[], None]]:
    """Return a path on the disk for readers that need one.

    Parameters
    ----------
    file
        File; one on another server is copied.

    Returns
    -------
    path
        Path of the file or of its copy.
    closing
        Function that removes the copy.

    Raises
    ------
    TooLargeError
        The file is larger than the limit of copies.
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
                            "Hven reads files of more than {most} MB only from the local disk", MAX_UNPACKED_BYTES >> 20
                        )
                    )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return path, lambda: shutil.rmtree(folder, ignore_errors=True)


__all__ = [
    "MAX_UNPACKED_BYTES",
    "ArrayLayout",
    "RadixInteger",
    "ValueScale",
    "convert_library_errors",
    "convert_vax_reals",
    "copy_to_disk",
    "create_window_reader",
    "find_companion_file",
    "parse_label_constant",
    "read_window_values",
]
