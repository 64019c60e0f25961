"""Write columns in fixed width, by blocks: a first pass measures the values, a second one writes them.

A number has as many digits as its value needs, so that a reader gets the same value back.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.errors import DataError, SourceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Cells = NDArray[np.uint8]  # characters, one row for each value

MAX_EXACT_INTEGER = 2**51  # scaled values below are exact, with room for the rounding of one product
MAX_DECIMALS = 15
FLOAT_TYPES = {pa.float32(), pa.float64()}
EXPONENT_CHARACTERS = 6  # an exponent to e-324, and a point


class FixedWidthColumn(ABC):
    """A column of a fixed-width file.

    Attributes
    ----------
    name
        Name of the column, for messages.
    has_nulls
        Whether a value is missing.
    minimum, maximum
        Limits of the numbers; None without any.
    changed_count
        Number of values that are not written as they are.
    infinite_count
        Number of infinite values, which programs of CDS refuse.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.has_nulls = False
        self.minimum: float | None = None
        self.maximum: float | None = None
        self.changed_count = 0
        self.infinite_count = 0

    @property
    @abstractmethod
    def width(self) -> int:
        """Number of bytes, after all values were measured."""

    @property
    @abstractmethod
    def format_text(self) -> str:
        """The format as in Fortran: ``A8``, ``I4``, ``F8.3``."""

    @abstractmethod
    def measure(self, values: pa.Array) -> None:
        """Measure a block of values.

        Parameters
        ----------
        values
            Values of the column.
        """

    @abstractmethod
    def write_cells(self, values: pa.Array) -> Cells:
        """Write a block of measured values.

        Parameters
        ----------
        values
            Values of the column.

        Returns
        -------
        cells
            A row of `width` characters for each value; blanks for a missing one.
        """

    def _widen_limits(self, low: float, high: float) -> None:
        if self.minimum is None:
            self.minimum = low
        else:
            self.minimum = min(self.minimum, low)
        if self.maximum is None:
            self.maximum = high
        else:
            self.maximum = max(self.maximum, high)

    def _write_texts(self, texts: pa.Array, *, is_right_aligned: bool) -> Cells:
        """Write texts of ASCII characters, padded with blanks."""
        pad = pc.ascii_lpad if is_right_aligned else pc.ascii_rpad
        padded_texts = pad(pc.fill_null(texts.cast(pa.large_string()), ""), self.width)
        offsets = np.frombuffer(padded_texts.buffers()[1], np.int64)[padded_texts.offset :][: len(texts) + 1]
        characters = np.frombuffer(padded_texts.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
        if len(characters) != len(texts) * self.width:
            raise self._create_changed_error()
        return characters.reshape(len(texts), self.width)

    def _create_changed_error(self) -> DataError:
        message = f"the values of {self.name} changed during the export"
        return DataError(message, remedy="export again while no program is writing to the table")


class IntegerColumn(FixedWidthColumn):
    """Whole numbers, and truth values as 0 and 1."""

    @property
    def width(self) -> int:
        """Number of bytes of the longest number."""
        return max(len(str(int(self.minimum or 0))), len(str(int(self.maximum or 0))))

    @property
    def format_text(self) -> str:
        """The format ``I``."""
        return f"I{self.width}"

    def measure(self, values: pa.Array) -> None:
        """Find the limits."""
        self.has_nulls |= values.null_count > 0
        limits = pc.min_max(_to_integers(values))
        if limits["min"].is_valid:
            self._widen_limits(limits["min"].as_py(), limits["max"].as_py())

    def write_cells(self, values: pa.Array) -> Cells:
        """Write whole numbers."""
        return self._write_texts(_to_integers(values).cast(pa.string()), is_right_aligned=True)


def _to_integers(values: pa.Array) -> pa.Array:
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    return values.cast(pa.int64())


def find_nulls(values: pa.Array) -> NDArray[np.bool_]:
    """Return which values are missing; NaN is missing, too.

    Parameters
    ----------
    values
        Values of a column.
    """
    nulls: NDArray[np.bool_] = values.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    return nulls


class FloatColumn(FixedWidthColumn):
    """Floating-point numbers, with decimals if these give back each value, and otherwise with exponents.

    Parameters
    ----------
    name
        Name of the column.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._decimals = 1
        self._exponent_width = self._mantissa_decimals = 0
        self._has_exponents = False
        self._max_magnitude = 0.0

    @property
    def has_exponents(self) -> bool:
        """Whether decimals of one width would lose digits."""
        return self._has_exponents or self._max_magnitude * 10.0**self._decimals >= MAX_EXACT_INTEGER

    @property
    def width(self) -> int:
        """Number of bytes of the longest number."""
        if self.has_exponents:
            return max(self._exponent_width, 1)
        return self._decimal_width

    @property
    def _decimal_width(self) -> int:
        digits = len(str(round(self._max_magnitude * 10.0**self._decimals)))
        is_negative = self.minimum is not None and self.minimum < 0
        return max(digits, self._decimals + 1) + 1 + is_negative

    @property
    def format_text(self) -> str:
        """The format ``F`` or ``E``."""
        if not self.has_exponents:
            return f"F{self.width}.{self._decimals}"
        return f"E{self.width}.{self._mantissa_decimals}"

    def measure(self, values: pa.Array) -> None:
        """Find the limits, and the number of decimals."""
        self.has_nulls |= bool(find_nulls(values).any())
        numbers = values.drop_null().to_numpy(zero_copy_only=False)
        numbers = numbers[~np.isnan(numbers)]
        if not len(numbers):
            return
        self.infinite_count += int(np.isinf(numbers).sum())
        if not self.has_exponents and self.minimum is not None:  # what the blocks before need if this one has exponents
            self._exponent_width = self._decimal_width + EXPONENT_CHARACTERS
            self._mantissa_decimals = self._exponent_width - EXPONENT_CHARACTERS - 1
        self._widen_limits(float(numbers.min()), float(numbers.max()))
        self._max_magnitude = max(self._max_magnitude, abs(float(numbers.min())), abs(float(numbers.max())))
        self._has_exponents |= not math.isfinite(self._max_magnitude)
        while len(numbers) and not self.has_exponents:
            numbers = numbers[~_is_exact(numbers, self._decimals)]
            if len(numbers):
                self._decimals += 1
                self._has_exponents |= self._decimals > MAX_DECIMALS
        if self.has_exponents:
            self._measure_digits(self._write_shortest_digits(values))

    def _measure_digits(self, texts: pa.Array) -> None:
        """Find the longest text, and the number of digits between the point and the exponent."""
        lengths = pc.binary_length(texts)
        exponents = pc.find_substring(texts, "e")
        decimals = pc.subtract(pc.if_else(pc.less(exponents, 0), lengths, exponents), pc.find_substring(texts, "."))
        self._exponent_width = max(self._exponent_width, pc.max(lengths).as_py() or 0)
        self._mantissa_decimals = max(self._mantissa_decimals, (pc.max(decimals).as_py() or 1) - 1)

    def _write_shortest_digits(self, values: pa.Array) -> pa.Array:
        """Write the shortest digits that give back the value, always with a point: without one, Fortran adds one."""
        is_missing = values.is_null(nan_is_null=True)
        texts = pc.if_else(is_missing, pa.scalar(None, pa.string()), values.cast(pa.string()))
        if pc.all(pc.match_substring(texts, ".")).as_py():
            return texts
        return pc.replace_substring_regex(texts, r"^(-?\d+)(e|$)", r"\1.0\2")

    def write_cells(self, values: pa.Array) -> Cells:
        """Write floating-point numbers."""
        if self.has_exponents:
            return self._write_texts(self._write_shortest_digits(values), is_right_aligned=True)
        nulls = find_nulls(values)
        numbers = pc.fill_null(values, 0).to_numpy(zero_copy_only=False)
        numbers = np.where(nulls, numbers.dtype.type(0), numbers)
        is_too_large = (np.abs(numbers) > self._max_magnitude).any()
        if is_too_large or not _is_exact(numbers, self._decimals).all():
            raise self._create_changed_error()
        scaled_numbers = np.rint(numbers.astype(np.float64) * 10.0**self._decimals).astype(np.int64)
        digits = pc.ascii_lpad(pa.array(np.abs(scaled_numbers)).cast(pa.string()), self._decimals + 1, "0")
        texts = pc.utf8_replace_slice(digits, -self._decimals, -self._decimals, ".")
        signs = pc.if_else(pa.array(scaled_numbers < 0, mask=nulls), "-", "")
        return self._write_texts(pc.binary_join_element_wise(signs, texts, ""), is_right_aligned=True)


def _is_exact(numbers: NDArray[Any], decimals: int) -> NDArray[np.bool_]:
    """Return which numbers are read back as they are from so many decimals.

    A whole number and a power of ten are both exact here, so their quotient is the double that a reader gets.
    """
    scale = 10.0**decimals
    read_numbers = np.rint(numbers.astype(np.float64) * scale) / scale
    exact: NDArray[np.bool_] = read_numbers.astype(numbers.dtype) == numbers
    return exact


class TextColumn(FixedWidthColumn):
    """Texts, in ASCII: other characters become similar ones or question marks, which is counted."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._width = 1

    @property
    def width(self) -> int:
        """Number of bytes of the longest text."""
        return self._width

    @property
    def format_text(self) -> str:
        """The format ``A``."""
        return f"A{self._width}"

    def measure(self, values: pa.Array) -> None:
        """Find the longest text, and count the texts that are changed."""
        texts = self._to_texts(values)
        ascii_texts = to_stripped_ascii_texts(texts)
        self.changed_count += pc.sum(pc.not_equal(texts, ascii_texts)).as_py() or 0
        lengths = pc.binary_length(ascii_texts)
        self.has_nulls |= values.null_count > 0 or pc.min(lengths).as_py() == 0
        self._width = max(self._width, pc.max(lengths).as_py() or 0)

    def write_cells(self, values: pa.Array) -> Cells:
        """Write texts."""
        return self._write_texts(to_stripped_ascii_texts(self._to_texts(values)), is_right_aligned=False)

    def _to_texts(self, values: pa.Array) -> pa.Array:
        return values.cast(pa.string())


def to_stripped_ascii_texts(texts: pa.Array) -> pa.Array:
    """Replace characters that are not printable ASCII, and remove blanks at the ends.

    Parameters
    ----------
    texts
        Texts.
    """
    if pc.any(pc.match_substring_regex(texts, r"[^\x20-\x7e]")).as_py():
        texts = pc.utf8_normalize(texts, form="NFKD")
        texts = pc.replace_substring_regex(texts, r"\p{Mn}", "")
        texts = pc.replace_substring_regex(texts, r"[\x00-\x1f\x7f]", " ")
        texts = pc.replace_substring_regex(texts, r"[^\x20-\x7e]", "?")
    return pc.ascii_trim_whitespace(texts)


class TimeColumn(TextColumn):
    """Times and dates in ISO 8601, with the fraction of a second that they need."""

    _unit = "s"

    def measure(self, values: pa.Array) -> None:
        """Find the fraction of a second and the longest text."""
        if pa.types.is_timestamp(values.type):
            microseconds = values.cast(pa.timestamp("us")).cast(pa.int64()).drop_null().to_numpy()
            if (microseconds % 1000).any():
                self._unit = "us"
            elif self._unit == "s" and (microseconds % 1_000_000).any():
                self._unit = "ms"
        super().measure(values)

    def _to_texts(self, values: pa.Array) -> pa.Array:
        if pa.types.is_timestamp(values.type):
            values = values.cast(pa.timestamp(self._unit))
        return pc.replace_substring(values.cast(pa.string()), " ", "T")


def create_fixed_width_column(name: str, value_type: pa.DataType) -> FixedWidthColumn:
    """Create the column for values of a type.

    Parameters
    ----------
    name
        Name of the column.
    value_type
        Type of its values.

    Raises
    ------
    SourceError
        Files of fixed width have no such values, such as arrays.
    """
    if pa.types.is_integer(value_type) or pa.types.is_boolean(value_type):
        return IntegerColumn(name)
    if value_type in FLOAT_TYPES:
        return FloatColumn(name)
    if pa.types.is_string(value_type) or pa.types.is_large_string(value_type):
        return TextColumn(name)
    if pa.types.is_timestamp(value_type) or pa.types.is_date(value_type):
        return TimeColumn(name)
    raise SourceError(f"{name} has values of the type {value_type}, which fixed-width files cannot contain")
