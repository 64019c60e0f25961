"""Cast values to the type of a column, vectorised; a value that does not fit becomes null and is reported."""

from __future__ import annotations

import math
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.literal import cast_or_null, find_times_outside_year_range, format_decimals, parse_times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


# each pair of types has its own branch
def cast_values(values: pa.Array, target_type: pa.DataType) -> tuple[pa.Array, pa.Array | None]:  # noqa: C901, PLR0911
    """Cast values to `target_type`.

    Parameters
    ----------
    values
        Values of one column; shape (n,).
    target_type
        Type of a column.

    Returns
    -------
    values, lost
        The values, and a mask (or None) of those that do not fit: 3.7 or 70000 in an int16 column, or a text that is no
        number; shape (n,).
    """
    if values.type.equals(target_type) and not pa.types.is_timestamp(target_type):
        return values, None
    if values.null_count == len(values):  # also a NULL for a shape, which is a text unless its type is known
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
        values = _replace_with_null(pc.is_nan(values), values)
    if pa.types.is_timestamp(values.type) and pa.types.is_timestamp(target_type):
        outside_years = find_times_outside_year_range(values)
        if outside_years is not None:
            cast_array, lost = _cast_marking_misfits(_replace_with_null(outside_years, values), target_type)
            return cast_array, outside_years if lost is None else pc.or_(outside_years, lost)
    is_text_target = pa.types.is_string(target_type) or pa.types.is_large_string(target_type)
    if pa.types.is_string(values.type) and not is_text_target:
        values = pc.utf8_trim_whitespace(values)
        values = _replace_with_null(pc.equal(values, ""), values)
        if pa.types.is_timestamp(target_type):
            times, lost = parse_times(values)
            return times.cast(target_type), lost
        if pa.types.is_integer(target_type) or pa.types.is_floating(target_type):
            values = pc.replace_substring_regex(values, r"^\+", "")  # Arrow does not parse +7
    return _cast_marking_misfits(values, target_type)


def find_values_out_of_bounds(values: pa.Array, low: float | None, high: float | None) -> pa.Array | None:
    """Return the mask of the numbers beyond two bounds; integers are compared exactly.

    None: the values are no numbers, or all of them are within the bounds.
    """
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        return None
    min_and_max = pc.min_max(values)
    minimum = min_and_max["min"].as_py()
    maximum = min_and_max["max"].as_py()
    if minimum is None:
        return None
    masks = []
    if low is not None and minimum < low:
        bound = _round_bound(math.ceil, low, values.type)
        masks.append(pc.less(values, bound) if bound is not None else pc.is_valid(values))
    if high is not None and maximum > high:
        bound = _round_bound(math.floor, high, values.type)
        masks.append(pc.greater(values, bound) if bound is not None else pc.is_valid(values))
    if masks:
        return _combine_masks_with_or(masks)
    return None


def _round_bound(round_to_integer: Callable[[float], int], value: float, value_type: pa.DataType) -> pa.Scalar | None:
    """Return a bound in the type of the values, rounded like them (0.7 as float32 is less than 0.7).

    None: no value of the type reaches the bound.
    """
    if pa.types.is_floating(value_type):
        return pa.scalar(value, value_type)
    limits = np.iinfo(value_type.to_pandas_dtype())
    if limits.min <= value <= limits.max:
        return pa.scalar(round_to_integer(value), value_type)
    return None


def _cast_marking_misfits(values: pa.Array, target_type: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    """Cast values; if some do not fit, make them null and return their mask."""
    if not pa.types.is_integer(target_type):
        values = format_decimals(values)
    try:
        return values.cast(target_type), None
    except pa.ArrowInvalid:
        misfits = _find_misfits(values, target_type)
    if misfits is None:
        return cast_or_null(values, target_type)
    cast_array, further_misfits = cast_or_null(_replace_with_null(misfits, values), target_type)
    return cast_array, misfits if further_misfits is None else pc.or_(misfits, further_misfits)


def _replace_with_null(mask: pa.Array, values: pa.Array) -> pa.Array:
    return pc.if_else(mask, pa.scalar(None, values.type), values)


def _find_misfits(values: pa.Array, target_type: pa.DataType) -> pa.Array | None:
    """Return the mask of the values that a rule shows not to fit; None: there is no rule, or no such value."""
    if pa.types.is_integer(target_type):
        misfits = _find_integer_misfits(values, np.iinfo(target_type.to_pandas_dtype()))
    elif pa.types.is_floating(target_type) and pa.types.is_string(values.type):
        misfits = pc.invert(pc.match_substring_regex(values, r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"))
    else:
        return None
    if misfits is None:
        return None
    misfits = pc.fill_null(misfits, False)
    if pc.any(misfits).as_py():
        return misfits
    return None


def _find_integer_misfits(values: pa.Array, limits: np.iinfo[Any]) -> pa.Array | None:
    """Return the mask of the values that an integer type with these limits cannot hold; None: there is no rule."""
    if pa.types.is_floating(values.type):
        has_fraction = pc.not_equal(values, pc.trunc(values))
        is_too_small = pc.less(values, float(limits.min))
        is_too_large = pc.greater_equal(values, float(limits.max) + 1.0)
        return _combine_masks_with_or([has_fraction, is_too_small, is_too_large])
    if pa.types.is_integer(values.type):
        source_limits = np.iinfo(values.type.to_pandas_dtype())
        masks = []
        if source_limits.min < limits.min:
            low = max(int(limits.min), int(source_limits.min))
            masks.append(pc.less(values, pa.scalar(low, values.type)))
        if source_limits.max > limits.max:
            high = int(limits.max)
            masks.append(pc.greater(values, pa.scalar(high, values.type)))
        return _combine_masks_with_or(masks)
    if pa.types.is_string(values.type):
        return pc.invert(pc.match_substring_regex(values, r"^[+-]?\d{1,19}$"))
    return None


def _combine_masks_with_or(masks: Iterable[pa.Array]) -> pa.Array:
    return reduce(pc.or_kleene, masks)
