"""Read windows of arrays as labels describe them: with scales, nulls, valid ranges, bit masks and VAX reals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hven.formats.media.api import compute_strides, read_window_values
from hven.model.errors import SourceError, format_message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from hven.formats.media import Place
    from hven.formats.media.api import ArrayLayout

    Window = Sequence[slice]


class StoredValueEncoding(NamedTuple):
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
    is_vax
        Whether the values are VAX reals.
    """

    factor: float = 1.0
    zero: float = 0.0
    nulls: tuple[float, ...] = ()
    lowest_valid: float | None = None
    bit_mask: int | None = None
    is_vax: bool = False


EXACT_SCALE = StoredValueEncoding()


def create_window_reader(
    path: Place, layout: ArrayLayout, scale: StoredValueEncoding = EXACT_SCALE
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
        raise SourceError(format_message("the size of an array in {name} is missing", path.name))
    strides = layout.strides or compute_strides(shape, layout.dtype)
    last_value_offset = sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    end = layout.offset + last_value_offset + layout.dtype.itemsize
    file_bytes = path.stat().st_size
    if layout.offset < 0 or min(strides) < 1 or end > file_bytes:
        message = format_message(
            "{name} is {there} bytes long, but its label states a size of {end} bytes", path.name, file_bytes, end
        )
        raise SourceError(
            message, remedy=format_message("download the file again, or use the label that belongs to the file")
        )
    native_type = layout.dtype.newbyteorder("=")
    if scale.is_vax:
        native_type = np.dtype("f4")
    is_scaled = (scale.factor, scale.zero) != (1.0, 0.0)
    is_exact = not is_scaled and not scale.nulls and scale.lowest_valid is None
    scaled_type = _choose_scaled_type(native_type, scale, is_exact=is_exact)

    def read_window(window: Window) -> npt.NDArray[Any]:
        window_values = read_window_values(path, layout._replace(strides=strides), window)
        values = np.ascontiguousarray(window_values)
        if scale.is_vax:
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


def _choose_scaled_type(native_type: np.dtype[Any], scale: StoredValueEncoding, *, is_exact: bool) -> np.dtype[Any]:
    """Choose the type that holds the scaled values."""
    if is_exact:
        return native_type
    is_scaled = (scale.factor, scale.zero) != (1.0, 0.0)
    if is_scaled and native_type.itemsize > 2:
        return np.dtype("f8")
    if native_type.kind == "f":
        return native_type
    return np.dtype("f4" if native_type.itemsize <= 2 else "f8")


def convert_vax_reals(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Convert VAX reals of 4 bytes (F) to IEEE reals: their words are swapped, and they are 4 times as large."""
    stored_words = values.view(np.uint32)
    swapped_words = (stored_words >> np.uint32(16)) | (stored_words << np.uint32(16))
    ieee_values = swapped_words.view(np.float32) / np.float32(4.0)
    ieee_values[(swapped_words & np.uint32(0x7F800000)) == 0] = 0.0
    return np.asarray(ieee_values, np.float32)
