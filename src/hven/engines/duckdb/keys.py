"""The index of one column: binary search over sorted values, and the row numbers in that order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines._bound.constants import microseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]

_EXACT = 2**53  # whole numbers above are not exact as doubles, and engines compare some of them as doubles


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyIndex:
    """Sorted values of a column.

    Attributes
    ----------
    kind
        Arrow type of the column.
    count
        Rows that have a value.
    values
        Sorted values, NaN last; timestamps as microseconds. None for text.
    rows
        Row numbers in that order; None if row i has value i.
    text
        Gives the value of a row, for text.
    texts
        Gives the values of rows, for text.
    """

    kind: pa.DataType
    count: int
    values: npt.NDArray[Any] | None
    rows: npt.NDArray[Any] | None
    text: Callable[[int], Any]
    texts: Callable[[Rows], pa.Array]

    def takes(self, value: object) -> bool:
        """Return whether a literal can be looked up here; if not, the index is of no use to the query."""
        if pa.types.is_string(self.kind):
            return isinstance(value, str)
        if pa.types.is_timestamp(self.kind):
            return microseconds(value) is not None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return isinstance(value, int) or (math.isfinite(value) and abs(value) < _EXACT)

    def span(self, low: object, high: object, *, low_open: bool = False, high_open: bool = False) -> tuple[int, int]:
        """Return the half-open range of places in the index with low <= value <= high; None = no bound.

        For float32 the range may hold values one rounding outside, since engines differ in how they compare
        such a number with a decimal literal: whoever uses the rows tests the condition again.
        """
        begin = 0 if low is None else self._place(low, after=low_open, outward=-1)
        if self.values is None and low is not None and low == high and not (low_open or high_open):
            return begin, self._behind(str(low), begin)
        end = self.count if high is None else self._place(high, after=not high_open, outward=1)
        return begin, max(begin, end)

    def at(self, begin: int, end: int) -> Rows:
        """Return row numbers of a range of places, in the order of the values."""
        if self.rows is None:
            return np.arange(begin, end, dtype=np.int64)
        return self.rows[begin:end].astype(np.int64)

    def places(self, values: pa.Array) -> Rows:
        """Count for each of many values (no nulls) the entries that are not greater."""
        if self.values is not None:
            numbers = values.view(pa.int64()) if pa.types.is_timestamp(self.kind) else values
            return np.searchsorted(self.values, np.asarray(numbers).astype(self.values.dtype), side="right").astype(
                np.int64
            )
        low, high = np.zeros(len(values), np.int64), np.full(len(values), self.count)
        while (open_ := low < high).any():
            middle = np.minimum((low + high) // 2, self.count - 1)
            texts = self.texts(middle if self.rows is None else self.rows[middle].astype(np.int64))
            after = np.asarray(pc.less_equal(texts, values))
            low, high = np.where(open_ & after, middle + 1, low), np.where(open_ & ~after, middle, high)
        return low

    def _place(self, value: object, *, after: bool, outward: int) -> int:
        """Count the values that are smaller than `value`, or (`after`) not greater."""
        if self.values is None:
            return self._place_of_text(str(value), after=after)
        kind = self.values.dtype.kind
        if pa.types.is_timestamp(self.kind):
            value = microseconds(value)
        if not isinstance(value, int | float):
            message = f"{value!r} cannot be looked up in an index of {self.kind}"
            raise TypeError(message)
        if kind == "f":
            if self.values.dtype.itemsize == 4:
                with np.errstate(over="ignore"):
                    near = np.nextafter(np.float32(value), np.float32(math.inf * outward))
                return int(np.searchsorted(self.values, near, side="left" if outward < 0 else "right"))
            return int(np.searchsorted(self.values, np.float64(value), side="right" if after else "left"))
        whole = math.ceil(value)
        if whole != value:
            after = False  # between two whole numbers nothing is equal
        limits = np.iinfo(self.values.dtype)
        if whole < limits.min:
            return 0
        if whole > limits.max:
            return self.count
        return int(np.searchsorted(self.values, self.values.dtype.type(whole), side="right" if after else "left"))

    def _behind(self, value: str, begin: int) -> int:
        """Find the end of a text's entries, which begin there: there is one, as a rule, and few otherwise."""
        far = 1
        while begin + far <= self.count and self._text_at(begin + far - 1) == value:
            far *= 2
        return self._place_of_text(value, after=True, low=begin + far // 2, high=min(begin + far, self.count))

    def _text_at(self, place: int) -> str:
        return str(self.text(int(self.rows[place]) if self.rows is not None else place))

    def _place_of_text(self, value: str, *, after: bool, low: int = 0, high: int | None = None) -> int:
        # Python compares text by code point, which is the order of UTF-8 bytes, which is the stored order
        high = self.count if high is None else high
        while low < high:
            middle = (low + high) // 2
            found = self._text_at(middle)
            if found < value or (after and found == value):
                low = middle + 1
            else:
                high = middle
        return low
