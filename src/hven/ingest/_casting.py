"""Values into the column's own type, safely and vectorised: what does not fit becomes null and is told."""

from __future__ import annotations

import math
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.literal import cast_or_null, find_times_outside_years, parse_times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def combine_chunks(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return a column as one array."""
    if isinstance(column, pa.Array):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    if column.num_chunks:
        return pa.concat_arrays(column.chunks)
    return pa.array([], column.type)


# each pair of types has its branch
def cast_values(values: pa.Array, target_type: pa.DataType) -> tuple[pa.Array, pa.Array | None]:  # noqa: C901, PLR0911
    """Convert to `target_type`.

    Returns
    -------
    values, lost
        `lost` (booleans, or None) marks values that do not fit: 3.7 or 70000 in an int16 column, text that is no
        number.
    """
    if values.type.equals(target_type) and not pa.types.is_timestamp(target_type):
        return values, None
    if values.null_count == len(values):  # also NULL as a shape, which is a text where nothing says its type
        return pa.nulls(len(values), target_type), None
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
        if values.type.equals(target_type):
            return values, None
    if pa.types.is_floating(values.type) and pa.types.is_floating(target_type):
        return values.cast(target_type, safe=False), None  # float32 rounds; it never fails
    if pa.types.is_integer(values.type) and pa.types.is_floating(target_type):
        return values.cast(target_type, safe=False), None  # 2**53 + 1 rounds in a double
    if pa.types.is_floating(values.type) and pa.types.is_integer(target_type):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    if pa.types.is_timestamp(values.type) and pa.types.is_timestamp(target_type):
        outside_years = find_times_outside_years(values)
        if outside_years is not None:
            cast_array, lost = _cast_marking_misfits(
                pc.if_else(outside_years, pa.scalar(None, values.type), values), target_type
            )
            return cast_array, outside_years if lost is None else pc.or_(outside_years, lost)
    if pa.types.is_string(values.type) and not (
        pa.types.is_string(target_type) or pa.types.is_large_string(target_type)
    ):
        values = pc.utf8_trim_whitespace(values)
        values = pc.if_else(pc.equal(values, ""), pa.scalar(None, values.type), values)
        if pa.types.is_timestamp(target_type):
            times, lost = parse_times(values)
            return times.cast(target_type), lost
        if pa.types.is_integer(target_type) or pa.types.is_floating(target_type):
            values = pc.replace_substring_regex(values, r"^\+", "")  # Arrow knows no +7
    return _cast_marking_misfits(values, target_type)


def find_out_of_bounds(values: pa.Array, low: float | None, high: float | None) -> pa.Array | None:
    """Return which numbers lie beyond bounds, whole ones to the last digit.

    None: these are no numbers, or all lie within.
    """
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        return None
    min_and_max = pc.min_max(values)
    minimum = min_and_max["min"].as_py()
    maximum = min_and_max["max"].as_py()
    if minimum is None:
        return None
    tests = []
    if low is not None and minimum < low:
        tests.append(
            pc.less(values, bound) if (bound := _round_bound(math.ceil, low, values.type)) else pc.is_valid(values)
        )
    if high is not None and maximum > high:
        tests.append(
            pc.greater(values, bound) if (bound := _round_bound(math.floor, high, values.type)) else pc.is_valid(values)
        )
    return _combine_masks(tests) if tests else None


def _round_bound(round_to_integer: Callable[[float], int], value: float, kind: pa.DataType) -> pa.Scalar | None:
    """Return a bound in the type of the values, rounded as they were (0.7 as float32 is less than 0.7).

    None: no value reaches it.
    """
    if pa.types.is_floating(kind):
        return pa.scalar(value, kind)
    limits = np.iinfo(kind.to_pandas_dtype())
    if limits.min <= value <= limits.max:
        return pa.scalar(round_to_integer(value), kind)
    return None


def _cast_marking_misfits(values: pa.Array, target_type: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    try:
        return values.cast(target_type), None
    except pa.ArrowInvalid:
        misfits = _find_misfits(values, target_type)
    if misfits is None:
        return cast_or_null(values, target_type)
    cast_array, further_misfits = cast_or_null(pc.if_else(misfits, pa.scalar(None, values.type), values), target_type)
    return cast_array, misfits if further_misfits is None else pc.or_(misfits, further_misfits)


def _find_misfits(values: pa.Array, target_type: pa.DataType) -> pa.Array | None:
    """Mark what cannot fit, where a rule says so at once; None: no rule known, or it finds nothing."""
    if pa.types.is_integer(target_type):
        limits = np.iinfo(target_type.to_pandas_dtype())
        if pa.types.is_floating(values.type):
            fraction = pc.not_equal(values, pc.trunc(values))
            misfits = _combine_masks(
                [fraction, pc.less(values, float(limits.min)), pc.greater_equal(values, float(limits.max) + 1.0)]
            )
        elif pa.types.is_integer(values.type):
            source_limits = np.iinfo(values.type.to_pandas_dtype())
            tests = []
            if source_limits.min < limits.min:
                tests.append(pc.less(values, pa.scalar(max(int(limits.min), int(source_limits.min)), values.type)))
            if source_limits.max > limits.max:
                tests.append(pc.greater(values, pa.scalar(int(limits.max), values.type)))
            misfits = _combine_masks(tests)
        elif pa.types.is_string(values.type):
            misfits = pc.invert(pc.match_substring_regex(values, r"^[+-]?\d{1,19}$"))
        else:
            return None
    elif pa.types.is_floating(target_type) and pa.types.is_string(values.type):
        misfits = pc.invert(pc.match_substring_regex(values, r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"))
    else:
        return None
    misfits = pc.fill_null(misfits, False)
    if pc.any(misfits).as_py():
        return misfits
    return None


def _combine_masks(masks: Iterable[pa.Array]) -> pa.Array:
    return reduce(pc.or_kleene, masks)
