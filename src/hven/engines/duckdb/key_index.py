"""The index of one column: binary search over sorted values, and the row numbers in that order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines._query_analysis.constants import parse_microseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]

_MAX_EXACT_INTEGER = 2**53  # whole numbers above are not exact as doubles, and engines compare some of them as doubles


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyIndex:
    """Sorted values of a column.

    Attributes
    ----------
    arrow_type
        Arrow type of the column.
    count
        Rows that have a value.
    values
        Sorted values, NaN last; timestamps as microseconds. None for text.
    rows
        Row numbers in that order; None if row i has value i.
    get_text
        Gives the value of a row, for text.
    get_texts
        Gives the values of rows, for text.
    """

    arrow_type: pa.DataType
    count: int
    values: npt.NDArray[Any] | None
    rows: npt.NDArray[Any] | None
    get_text: Callable[[int], Any]
    get_texts: Callable[[Rows], pa.Array]

    def can_look_up(self, value: object) -> bool:
        """Return whether a literal can be looked up here; if not, the index is of no use to the query."""
        if pa.types.is_string(self.arrow_type):
            return isinstance(value, str)
        if pa.types.is_timestamp(self.arrow_type):
            return parse_microseconds(value) is not None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return isinstance(value, int) or (math.isfinite(value) and abs(value) < _MAX_EXACT_INTEGER)

    def find_range(
        self, low: object, high: object, *, low_open: bool = False, high_open: bool = False
    ) -> tuple[int, int]:
        """Return the half-open range of places in the index with low <= value <= high; None = no bound.

        For float32 the range may hold values one rounding outside, since engines differ in how they compare
        such a number with a decimal literal: whoever uses the rows tests the condition again.
        """
        if low is None:
            begin = 0
        else:
            begin = self._count_smaller(low, including_equal=low_open, rounding_direction=-1)
        if self.values is None and low is not None and low == high and not (low_open or high_open):
            return begin, self._find_end_of_text(str(low), begin)
        if high is None:
            end = self.count
        else:
            end = self._count_smaller(high, including_equal=not high_open, rounding_direction=1)
        return begin, max(begin, end)

    def list_rows(self, begin: int, end: int) -> Rows:
        """Return row numbers of a range of places, in the order of the values."""
        if self.rows is None:
            return np.arange(begin, end, dtype=np.int64)
        return self.rows[begin:end].astype(np.int64)

    def count_not_greater(self, values: pa.Array) -> Rows:
        """Count for each of many values (no nulls) the entries that are not greater."""
        if self.values is not None:
            if pa.types.is_timestamp(self.arrow_type):
                numbers = values.view(pa.int64())
            else:
                numbers = values
            return np.searchsorted(self.values, np.asarray(numbers).astype(self.values.dtype), side="right").astype(
                np.int64
            )
        low = np.zeros(len(values), np.int64)
        high = np.full(len(values), self.count)
        while (is_open := low < high).any():
            midpoints = np.minimum((low + high) // 2, self.count - 1)
            texts = self.get_texts(midpoints if self.rows is None else self.rows[midpoints].astype(np.int64))
            is_not_greater = np.asarray(pc.less_equal(texts, values))
            low = np.where(is_open & is_not_greater, midpoints + 1, low)
            high = np.where(is_open & ~is_not_greater, midpoints, high)
        return low

    def _count_smaller(self, value: object, *, including_equal: bool, rounding_direction: int) -> int:
        """Count the values that are smaller than `value`, or (`including_equal`) not greater."""
        if self.values is None:
            return self._count_smaller_texts(str(value), including_equal=including_equal)
        kind = self.values.dtype.kind
        if pa.types.is_timestamp(self.arrow_type):
            value = parse_microseconds(value)
        if not isinstance(value, int | float):
            message = f"{value!r} cannot be looked up in an index of {self.arrow_type}"
            raise TypeError(message)
        if kind == "f":
            if self.values.dtype.itemsize == 4:
                with np.errstate(over="ignore"):
                    rounded_value = np.nextafter(np.float32(value), np.float32(math.inf * rounding_direction))
                return int(
                    np.searchsorted(self.values, rounded_value, side="left" if rounding_direction < 0 else "right")
                )
            return int(np.searchsorted(self.values, np.float64(value), side="right" if including_equal else "left"))
        rounded_up = math.ceil(value)
        if rounded_up != value:
            including_equal = False  # between two whole numbers nothing is equal
        limits = np.iinfo(self.values.dtype)
        if rounded_up < limits.min:
            return 0
        if rounded_up > limits.max:
            return self.count
        return int(
            np.searchsorted(
                self.values, self.values.dtype.type(rounded_up), side="right" if including_equal else "left"
            )
        )

    def _find_end_of_text(self, value: str, first_place: int) -> int:
        """Find the end of a text's entries, which begin there: there is one, as a rule, and few otherwise."""
        step = 1
        while first_place + step <= self.count and self._get_text_at(first_place + step - 1) == value:
            step *= 2
        high = min(first_place + step, self.count)
        return self._count_smaller_texts(value, including_equal=True, low=first_place + step // 2, high=high)

    def _get_text_at(self, entry_number: int) -> str:
        return str(self.get_text(int(self.rows[entry_number]) if self.rows is not None else entry_number))

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
