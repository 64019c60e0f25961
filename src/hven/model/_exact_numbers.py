"""Texts of numbers that a floating-point type cannot hold: too large ones, and whole numbers that would be rounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.model.types import ColumnType

    Flags = npt.NDArray[np.bool_]

MAX_EXACT_INTEGER = 2.0**53  # a double holds every whole number below; 2^53 + 1 is read as this one
_LONG_INTEGER_PATTERN = r"^[+-]?\d{16,38}$"
_DECIMAL_TYPE = pa.decimal128(38, 0)


class InvalidLiteralError(ValueError):
    """A text that is no value of its type: `row` counts from 0 within the column that was given."""

    def __init__(self, row: int, text: str, column_type: ColumnType, reason: str = "") -> None:
        self.row = row
        self.text = text
        type_name = column_type.xtype or column_type.datatype
        if len(text) <= 60:
            text_excerpt = text
        else:
            text_excerpt = text[:57] + "..."
        super().__init__(f"{text_excerpt!r} is not a value of type {type_name}" + (f": {reason}" if reason else ""))


def refuse_overflow(texts: pa.Array, values: pa.Array, column_type: ColumnType) -> None:
    """Refuse finite numbers that became infinite.

    Parameters
    ----------
    texts, values
        As of `find_overflowed_numbers`; values of other types are not looked at.
    column_type
        Type of the column, for the message.

    Raises
    ------
    InvalidLiteralError
        The first such number.
    """
    if pa.types.is_floating(values.type):
        flags = find_overflowed_numbers(texts, values)
    else:
        flags = None
    if flags is not None:
        row = int(np.argmax(flags))
        raise InvalidLiteralError(row, texts[row].as_py(), column_type, "too large")


def find_overflowed_numbers(texts: pa.Array, values: pa.Array) -> Flags | None:
    """Find finite numbers that became infinite.

    Parameters
    ----------
    texts
        How the numbers are written, shape (n,).
    values
        What was read of them: float32 or float64, shape (n,).

    Returns
    -------
    flags
        True where a text is no infinity and its value is one, shape (n,); None: nowhere.
    """
    infinite = np.asarray(pc.fill_null(pc.is_inf(values), False))
    if not infinite.any():
        return None
    positions = np.flatnonzero(infinite)
    is_infinity = pc.match_substring(texts.take(pa.array(positions)), "inf", ignore_case=True)
    flags = np.zeros(len(values), bool)
    flags[positions[~np.asarray(is_infinity)]] = True
    if flags.any():
        return flags
    return None


def find_rounded_integers(texts: pa.Array, values: pa.Array) -> Flags | None:
    """Find whole numbers beyond 2^53 that a double does not hold exactly.

    Parameters
    ----------
    texts
        How the numbers are written, shape (n,). Those with an exponent, a fraction or more than 38 digits are not
        looked at.
    values
        What was read of them: float64, shape (n,).

    Returns
    -------
    flags
        True where digits are lost, shape (n,); None: nowhere.
    """
    if not can_lose_digits(values):
        return None
    numbers: Any = np.asarray(pc.fill_null(values, 0.0))
    positions = np.flatnonzero(np.isfinite(numbers) & (np.abs(numbers) >= MAX_EXACT_INTEGER))
    integer_texts = pc.utf8_trim_whitespace(texts.take(pa.array(positions)))
    is_integer = np.asarray(pc.match_substring_regex(integer_texts, _LONG_INTEGER_PATTERN))
    positions = positions[is_integer]
    integer_texts = pc.utf8_ltrim(integer_texts.filter(pa.array(is_integer)), "+")
    if not len(positions):
        return None
    written_numbers = integer_texts.cast(_DECIMAL_TYPE)
    read_numbers = values.take(pa.array(positions)).cast(_DECIMAL_TYPE, safe=False)
    flags = np.zeros(len(values), bool)
    flags[positions] = np.asarray(pc.not_equal(written_numbers, read_numbers))
    if flags.any():
        return flags
    return None


def can_lose_digits(values: pa.Array) -> bool:
    """Return whether a value is infinite or so large that a whole number may be rounded.

    Parameters
    ----------
    values
        float32 or float64, shape (n,).
    """
    limits = pc.min_max(values)
    low = limits["min"].as_py()
    high = limits["max"].as_py()
    return low is not None and (low <= -MAX_EXACT_INTEGER or high >= MAX_EXACT_INTEGER)


def format_decimals(array: pa.Array) -> pa.Array:
    """Write decimals, alone or in lists, as texts: Arrow's own conversion to double is off by one bit.

    Arrays of other types are returned as they are.

    Parameters
    ----------
    array
        A column (n,) of any type.
    """
    arrow_type = array.type
    if pa.types.is_decimal(arrow_type):
        return array.cast(pa.string())
    if pa.types.is_fixed_size_list(arrow_type):
        text_lists = pa.list_(pa.string(), arrow_type.list_size)
    elif pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type):
        text_lists = pa.list_(pa.string())
    else:
        return array
    return array.cast(text_lists) if pa.types.is_decimal(arrow_type.value_type) else array
