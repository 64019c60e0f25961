"""Values into the column's own type, safely and vectorised: what does not fit becomes null and is told."""

from __future__ import annotations

import math
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.literal import cast, find_outside_years, read_times

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return a column as one array."""
    if isinstance(column, pa.Array):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def convert(values: pa.Array, kind: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    """Convert to `kind`.

    Returns
    -------
    values, lost
        `lost` (booleans, or None) marks values that do not fit: 3.7 or 70000 in an int16 column, text that is no number.
    """
    if values.type.equals(kind) and not pa.types.is_timestamp(kind):
        return values, None
    if values.null_count == len(values):  # also NULL as a shape, which is a text where nothing says its type
        return pa.nulls(len(values), kind), None
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
        if values.type.equals(kind):
            return values, None
    if pa.types.is_floating(values.type) and pa.types.is_floating(kind):
        return values.cast(kind, safe=False), None  # float32 rounds; it never fails
    if pa.types.is_integer(values.type) and pa.types.is_floating(kind):
        return values.cast(kind, safe=False), None  # 2**53 + 1 rounds in a double
    if pa.types.is_floating(values.type) and pa.types.is_integer(kind):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    if pa.types.is_timestamp(values.type) and pa.types.is_timestamp(kind):
        strange = find_outside_years(values)
        if strange is not None:
            kept, lost = _safe(pc.if_else(strange, pa.scalar(None, values.type), values), kind)
            return kept, strange if lost is None else pc.or_(strange, lost)
    if pa.types.is_string(values.type) and not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        values = pc.utf8_trim_whitespace(values)
        values = pc.if_else(pc.equal(values, ""), pa.scalar(None, values.type), values)
        if pa.types.is_timestamp(kind):
            times, lost = read_times(values)
            return times.cast(kind), lost
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            values = pc.replace_substring_regex(values, r"^\+", "")  # Arrow knows no +7
    return _safe(values, kind)


def outside(values: pa.Array, low: float | None, high: float | None) -> pa.Array | None:
    """Return which numbers lie beyond bounds, whole ones to the last digit; None: these are no numbers, or all lie within."""
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        return None
    ends = pc.min_max(values)
    least, most = ends["min"].as_py(), ends["max"].as_py()
    if least is None:
        return None
    tests = []
    if low is not None and least < low:
        tests.append(pc.less(values, bound) if (bound := _bound(math.ceil, low, values.type)) else pc.is_valid(values))
    if high is not None and most > high:
        tests.append(
            pc.greater(values, bound) if (bound := _bound(math.floor, high, values.type)) else pc.is_valid(values)
        )
    return _any_of(tests) if tests else None


def _bound(whole_one: Callable[[float], int], value: float, kind: pa.DataType) -> pa.Scalar | None:
    """Return a bound in the type of the values, rounded as they were (0.7 as float32 is less than 0.7); None: no value reaches it."""
    if pa.types.is_floating(kind):
        return pa.scalar(value, kind)
    limits = np.iinfo(kind.to_pandas_dtype())
    return pa.scalar(whole_one(value), kind) if limits.min <= value <= limits.max else None


def _safe(values: pa.Array, kind: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    try:
        return values.cast(kind), None
    except pa.ArrowInvalid:
        misfit = _misfits(values, kind)
    if misfit is None:
        return cast(values, kind)
    done, more = cast(pc.if_else(misfit, pa.scalar(None, values.type), values), kind)
    return done, misfit if more is None else pc.or_(misfit, more)


def _misfits(values: pa.Array, kind: pa.DataType) -> pa.Array | None:
    """Mark what cannot fit, where a rule says so at once; None: no rule known, or it finds nothing."""
    if pa.types.is_integer(kind):
        limits = np.iinfo(kind.to_pandas_dtype())
        if pa.types.is_floating(values.type):
            fraction = pc.not_equal(values, pc.trunc(values))
            found = _any_of(
                [fraction, pc.less(values, float(limits.min)), pc.greater_equal(values, float(limits.max) + 1.0)]
            )
        elif pa.types.is_integer(values.type):
            own = np.iinfo(values.type.to_pandas_dtype())
            tests = []
            if own.min < limits.min:
                tests.append(pc.less(values, pa.scalar(max(int(limits.min), int(own.min)), values.type)))
            if own.max > limits.max:
                tests.append(pc.greater(values, pa.scalar(int(limits.max), values.type)))
            found = _any_of(tests)
        elif pa.types.is_string(values.type):
            found = pc.invert(pc.match_substring_regex(values, r"^[+-]?\d{1,19}$"))
        else:
            return None
    elif pa.types.is_floating(kind) and pa.types.is_string(values.type):
        found = pc.invert(pc.match_substring_regex(values, r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"))
    else:
        return None
    found = pc.fill_null(found, False)
    return found if pc.any(found).as_py() else None


def _any_of(tests: Iterable[pa.Array]) -> pa.Array:
    return reduce(pc.or_kleene, tests)
