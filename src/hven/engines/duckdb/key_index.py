"""The index of one column: binary search over sorted values, and the row numbers in that order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines._query_analysis.constants import parse_timestamp_microseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]

_MAX_EXACT_INTEGER = 2**53  # larger integers are not exact as doubles, and engines compare some of them as doubles


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyIndex:
    """Sorted values of a column.

    Attributes
    ----------
    arrow_type
        Arrow type of the column.
    count
        Number of rows that have a value.
    values
        Sorted values, NaN last; timestamps as microseconds. None for text.
    rows
        Row numbers in the order of the values; None if row i has value i.
    get_text
        Returns the value of a row, for text.
    get_texts
        Returns the values of rows, for text.
    """

    arrow_type: pa.DataType
    count: int
    values: npt.NDArray[Any] | None
    rows: npt.NDArray[Any] | None
    get_text: Callable[[int], Any]
    get_texts: Callable[[Rows], pa.Array]

    def can_look_up(self, value: object) -> bool:
        """Return whether a literal can be looked up; if not, the index is of no use to the query."""
        if pa.types.is_string(self.arrow_type):
            return isinstance(value, str)
        if pa.types.is_timestamp(self.arrow_type):
            return parse_timestamp_microseconds(value) is not None
        if isinstance(value, float):
            return math.isfinite(value) and abs(value) < _MAX_EXACT_INTEGER
        return isinstance(value, int) and not isinstance(value, bool)

    def find_range(
        self, low: object, high: object, *, is_low_open: bool = False, is_high_open: bool = False
    ) -> tuple[int, int]:
        """Return the half-open range of places in the index with low <= value <= high; None = no bound.

        For float32 the range may hold values one rounding outside, because engines differ in how they compare such a
        number with a decimal literal; the reader of the rows must test the condition again.
        """
        if low is None:
            begin = 0
        else:
            begin = self._count_smaller(low, including_equal=is_low_open, rounding_direction=-1)
        if self.values is None and low is not None and low == high and not (is_low_open or is_high_open):
            return begin, self._find_end_of_equal_texts(str(low), begin)
        if high is None:
            end = self.count
        else:
            end = self._count_smaller(high, including_equal=not is_high_open, rounding_direction=1)
        return begin, max(begin, end)

    def list_row_numbers(self, begin: int, end: int) -> Rows:
        """Return the row numbers of a range of places, in the order of the values."""
        if self.rows is None:
            return np.arange(begin, end, dtype=np.int64)
        return self.rows[begin:end].astype(np.int64)

    def count_not_greater(self, values: pa.Array) -> Rows:
        """Count for each value (none is null) the entries that are not greater."""
        if self.values is not None:
            numbers = values.view(pa.int64()) if pa.types.is_timestamp(self.arrow_type) else values
            index_numbers = np.asarray(numbers).astype(self.values.dtype)
            return np.searchsorted(self.values, index_numbers, side="right").astype(np.int64)
        low = np.zeros(len(values), np.int64)
        high = np.full(len(values), self.count)
        while (is_open := low < high).any():
            midpoints = np.minimum((low + high) // 2, self.count - 1)
            rows = midpoints if self.rows is None else self.rows[midpoints].astype(np.int64)
            texts = self.get_texts(rows)
            is_not_greater = np.asarray(pc.less_equal(texts, values))
            low = np.where(is_open & is_not_greater, midpoints + 1, low)
            high = np.where(is_open & ~is_not_greater, midpoints, high)
        return low

    def _count_smaller(self, value: object, *, including_equal: bool, rounding_direction: int) -> int:
        """Count the values that are smaller than `value` or, with `including_equal`, not greater."""
        if self.values is None:
            return self._count_smaller_texts(str(value), including_equal=including_equal)
        if pa.types.is_timestamp(self.arrow_type):
            value = parse_timestamp_microseconds(value)
        if not isinstance(value, int | float):
            message = f"{value!r} cannot be looked up in an index of {self.arrow_type}"
            raise TypeError(message)
        number_type = self.values.dtype
        if number_type == np.float32:
            with np.errstate(over="ignore"):
                rounded_value = np.nextafter(np.float32(value), np.float32(math.inf * rounding_direction))
            return self._count_smaller_numbers(rounded_value, including_equal=rounding_direction > 0)
        if number_type.kind == "f":
            return self._count_smaller_numbers(np.float64(value), including_equal=including_equal)
        rounded_up = math.ceil(value)
        if rounded_up != value:
            including_equal = False  # no integer equals a number between two integers
        limits = np.iinfo(number_type)
        if rounded_up < limits.min:
            return 0
        if rounded_up > limits.max:
            return self.count
        return self._count_smaller_numbers(number_type.type(rounded_up), including_equal=including_equal)

    def _count_smaller_numbers(self, number: Any, *, including_equal: bool) -> int:
        assert self.values is not None  # noqa: S101  (_count_smaller has tested it)
        return int(np.searchsorted(self.values, number, side="right" if including_equal else "left"))

    def _find_end_of_equal_texts(self, value: str, first_place: int) -> int:
        """Return the end of the entries of a text, which begin at `first_place`; usually there is one entry."""
        step = 1
        while first_place + step <= self.count and self._get_text_at(first_place + step - 1) == value:
            step *= 2
        high = min(first_place + step, self.count)
        return self._count_smaller_texts(value, including_equal=True, low=first_place + step // 2, high=high)

    def _get_text_at(self, entry_number: int) -> str:
        row_number = entry_number if self.rows is None else int(self.rows[entry_number])
        return str(self.get_text(row_number))

    def _count_smaller_texts(self, value: str, *, including_equal: bool, low: int = 0, high: int | None = None) -> int:
        # Python compares text by code point, which is the order of UTF-8 bytes, which is the stored order
        high = self.count if high is None else high
        while low < high:
            middle = (low + high) // 2
            text = self._get_text_at(middle)
            if text < value or (including_equal and text == value):
                low = middle + 1
            else:
                high = middle
        return low
