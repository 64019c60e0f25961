"""Convert cells of text to typed Arrow arrays, and guess the type of a column of text."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.literal import (
    cast_or_null,
    find_overflowed_numbers,
    parse_number,
    parse_times,
    replace_nan_with_null,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

# how people write "no number"; these apply to numbers, booleans and times only, never to text
_NULL_NAMES = ("NaN", "nan", "NAN", "NULL", "null", "NA", "N/A", "n/a", "None", "none")
_NULL_RULES = tuple("-" * length for length in range(1, 33))  # as wide as the column
NULL_WORDS = ("", *_NULL_NAMES, *_NULL_RULES, "...", "?", "*", "nil", "<NA>", "-NaN", "-nan")
_TRUE_WORDS = pa.array(["true", "t", "yes", "y", "1"])
_FALSE_WORDS = pa.array(["false", "f", "no", "n", "0"])
_FLOAT_PATTERN = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?$|^(?i:[+-]?(?:inf|infinity|nan))$"
_FINITE_NUMBER_PATTERN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?", re.ASCII)
MINUS_SIGN = "\u2212"  # Unicode's minus sign, as typesetters write it
RESPELT_NUMBER_PATTERN = rf"{MINUS_SIGN}|[\d.][dD][+-]?\d"  # numbers with it, or with an exponent of Fortran: 1.5D+03
_SHORT_INTEGER_PATTERN = r"^[+-]?\d{1,18}$"
# how numbers, times, true and false begin
_TYPED_VALUE_PATTERN = re.compile(r"[-+.\d\u2212]|true|false|inf|nan", re.IGNORECASE)
_BOOLEAN_WORDS = pa.array(["true", "false"])
BLANK_CHARACTERS = " \t\r\n\v\f"


@lru_cache(maxsize=256)
def build_null_words(null_words: tuple[str, ...]) -> pa.Array:
    """Build the array of null words, once.

    pyarrow looks for dateutil whenever it infers the type of a list, which takes a millisecond.
    """
    return pa.array([*NULL_WORDS, *null_words], pa.string())


def strip_blanks(text: pa.Array) -> pa.Array:
    """Strip the blanks at both ends."""
    return pc.utf8_trim(text, characters=BLANK_CHARACTERS)


def is_parsable_cell_type(arrow_type: pa.DataType) -> bool:
    """Return whether `parse_cells` reads text as this type.

    Parameters
    ----------
    arrow_type
        The type.
    """
    types = pa.types
    checks = (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_timestamp)
    return any(check(arrow_type) for check in checks)


def parse_cells(
    text: pa.Array,
    arrow_type: pa.DataType,
    *,
    null_words: Sequence[str] = (),
    decimal: str = ".",
    thousands: str | None = None,
) -> tuple[pa.Array, pa.Array | None]:
    """Parse text as `arrow_type`.

    Parameters
    ----------
    text
        Strings of shape (rows,), perhaps with blanks around them.
    arrow_type
        The type of the values.
    null_words
        Words that stand for a missing value, besides the usual ones.
    decimal, thousands
        The decimal mark, and the mark between groups of digits; None: there is none.

    Returns
    -------
    values, bad
        Arrays of shape (rows,). `values` has null where `bad` (booleans, or None if every cell fits) is true.
    """
    text = strip_blanks(text)
    if pa.types.is_string(arrow_type):
        return replace_null_words(text, null_words), None
    value_set = build_null_words(tuple(null_words))
    blank = pc.is_in(text, value_set=value_set)
    text = _replace_masked_with_null(text, blank)
    if pa.types.is_boolean(arrow_type):
        return _parse_booleans(text)
    if pa.types.is_timestamp(arrow_type):
        return _parse_times(text, arrow_type)
    if thousands:
        text = pc.replace_substring(text, thousands, "")
    if decimal != ".":
        text = pc.replace_substring(text, decimal, ".")
    text = pc.replace_substring(text, MINUS_SIGN, "-")
    text = pc.replace_substring_regex(text, r"^\+", "")
    if pa.types.is_floating(arrow_type):
        values, bad = _parse_floats(text, arrow_type)
    else:
        values, bad = _parse_integers(text, arrow_type)
    return replace_null_numbers(values, null_words), bad


def is_number(text: str) -> bool:
    """Check whether a text is written as a finite number, however large."""
    return _FINITE_NUMBER_PATTERN.fullmatch(text.strip()) is not None


def replace_null_words(text: pa.Array, null_words: Sequence[str]) -> pa.Array:
    """Replace empty strings and null words with null.

    Parameters
    ----------
    text
        Texts of cells, shape (n,).
    null_words
        Words that stand for a missing value.

    Returns
    -------
    text
        The other texts, shape (n,).
    """
    if null_words:
        value_set = pa.array(["", *null_words], pa.string())
        words = pc.is_in(text, value_set=value_set)
    else:
        words = pc.equal(text, "")
    if pc.any(words).as_py():
        return pc.if_else(words, pa.scalar(None, text.type), text)
    return text


def decode_json_strings(text: pa.Array) -> pa.Array:
    """Decode JSON's strings, and its null; other JSON stays as it is."""
    text = _replace_masked_with_null(text, pc.equal(text, "null"))
    quoted = pc.match_substring_regex(text, r'(?s)^".*"$')
    if not pc.any(quoted).as_py():
        return text
    bare = pc.utf8_slice_codeunits(text, 1, -1)
    # a doubled backslash is replaced first, so that the sign behind it is not taken for an escape
    for code, sign in (("\\\\", "\0"), ('\\"', '"'), ("\\/", "/"), ("\\n", "\n"), ("\\t", "\t"), ("\0", "\\")):
        bare = pc.replace_substring(bare, code, sign)
    return pc.if_else(quoted, bare, text)


def list_null_numbers(null_words: Sequence[str]) -> list[int | float]:
    """Find null words that are numbers: -999 also means -999.0."""
    numbers = []
    for word in null_words:
        try:
            numbers.append(parse_number(word))
        except ValueError:
            continue
    return numbers


def replace_null_numbers(values: pa.Array, null_words: Sequence[str]) -> pa.Array:
    """Replace numbers that equal a null word with null; other types (times, booleans, text) stay."""
    kind = values.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return values
    for word in list_null_numbers(null_words):
        if isinstance(word, float) and math.isnan(word):
            continue
        try:
            number = word
            if pa.types.is_floating(kind):
                number = float(word)
            same = pc.equal(values, pa.scalar(number).cast(kind))
        except (pa.ArrowInvalid, OverflowError):  # 99.99 or 10**30 in a column of integers
            continue
        values = _replace_masked_with_null(values, same)
    return values


def replace_null_markers(values: pa.Array, null_words: Sequence[str]) -> pa.Array:
    """Replace the words or numbers for a missing value with null; values within arrays stay.

    Parameters
    ----------
    values
        The cells of a column, shape (n,).
    null_words
        The words or numbers.

    Returns
    -------
    values
        Shape (n,).
    """
    if pa.types.is_string(values.type):
        return replace_null_words(values, null_words)
    return replace_null_numbers(values, null_words)


def _replace_masked_with_null(values: pa.Array, mask: pa.Array) -> pa.Array:
    """Replace the marked cells with null."""
    return pc.if_else(mask, pa.scalar(None, values.type), values)


def _mask_unfit_cells(is_fit: pa.Array) -> pa.Array | None:
    bad = pc.fill_null(pc.invert(is_fit), False)
    if pc.any(bad).as_py():
        return bad
    return None


def _replace_bad_cells_with_null(text: pa.Array, is_bad: pa.Array | None) -> pa.Array:
    if is_bad is None:
        return text
    return _replace_masked_with_null(text, is_bad)


def _combine_masks(a: pa.Array | None, b: pa.Array | None) -> pa.Array | None:
    if a is None:
        return b
    if b is None:
        return a
    return pc.or_(a, b)


def _parse_booleans(text: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    lower = pc.utf8_lower(text)
    true = pc.is_in(lower, value_set=_TRUE_WORDS)
    is_known = pc.or_(true, pc.is_in(lower, value_set=_FALSE_WORDS))
    bad = _mask_unfit_cells(pc.or_(is_known, pc.is_null(text)))
    values = pc.if_else(is_known, true, pa.scalar(None, pa.bool_()))
    return values, bad


def _parse_floats(text: pa.Array, arrow_type: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    try:
        values = pc.cast(text, pa.float64())
        bad = None
    except pa.ArrowInvalid:
        bad = _mask_unfit_cells(pc.match_substring_regex(text, _FLOAT_PATTERN))
        # Fortran writes 1.5D+03
        respelt_text = pc.replace_substring_regex(_replace_bad_cells_with_null(text, bad), "[dD]", "e")
        values, still_bad = cast_or_null(respelt_text, pa.float64())
        bad = _combine_masks(bad, still_bad)
    values = replace_nan_with_null(values)
    if arrow_type != pa.float64():
        values = pc.cast(values, arrow_type, safe=False)
    flags = find_overflowed_numbers(text, values)
    if flags is not None:
        bad = _combine_masks(bad, pa.array(flags))
        values = _replace_bad_cells_with_null(values, bad)
    return values, bad


def _parse_integers(text: pa.Array, arrow_type: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    try:
        return pc.cast(text, arrow_type), None
    except pa.ArrowInvalid:
        pass
    short = pc.match_substring_regex(text, _SHORT_INTEGER_PATTERN)
    short_text = pc.if_else(short, text, pa.scalar(None, text.type))
    values = pc.cast(short_text, pa.int64())
    remaining_text = _replace_masked_with_null(text, short)
    bad = None
    if remaining_text.null_count < len(remaining_text):
        other_values, bad = _parse_unusual_integers(remaining_text)
        values = pc.coalesce(values, other_values)
    if arrow_type != pa.int64():
        limits = np.iinfo(arrow_type.to_pandas_dtype())
        low = max(int(limits.min), -(2**63))
        high = min(int(limits.max), 2**63 - 1)
        is_large_enough = pc.greater_equal(values, pa.scalar(low, pa.int64()))
        is_small_enough = pc.less_equal(values, pa.scalar(high, pa.int64()))
        fits = pc.and_(is_large_enough, is_small_enough)
        outside = _mask_unfit_cells(fits)
        bad = _combine_masks(bad, outside)
        values = pc.cast(_replace_bad_cells_with_null(values, outside), arrow_type)
    return values, bad


def _parse_unusual_integers(text: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """Parse integers of 19 digits, and those that are written as 12.0 or 1e3."""
    has_19_digits = pc.match_substring_regex(text, r"^-?\d{19}$")
    is_small_enough = pc.less_equal(pc.utf8_ltrim(text, "-"), str(2**63 - 1))
    is_smallest = pc.equal(text, str(-(2**63)))
    fits = pc.or_(pc.and_(has_19_digits, is_small_enough), is_smallest)
    fitting_text = pc.if_else(fits, text, pa.scalar(None, text.type))
    exact = pc.cast(fitting_text, pa.int64())
    real, unreal = _parse_floats(_replace_masked_with_null(text, pc.is_valid(exact)), pa.float64())
    is_integral = pc.equal(real, pc.floor(real))
    is_whole = pc.and_(is_integral, pc.less(pc.abs(real), 2.0**53))
    bad = _combine_masks(unreal, _mask_unfit_cells(is_whole))
    whole_numbers = pc.if_else(pc.fill_null(is_whole, False), real, pa.scalar(None, pa.float64()))
    integral = pc.cast(whole_numbers, pa.int64())
    return pc.coalesce(exact, integral), bad


def _parse_times(text: pa.Array, arrow_type: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    values, bad = parse_times(text)
    return pc.cast(values, arrow_type), bad


def guess_column_type(
    text: pa.Array, *, null_words: Sequence[str] = (), decimal: str = ".", thousands: str | None = None
) -> pa.DataType:
    """Guess the type of a column from a sample: bool, int64, float64, timestamp or string.

    Text with leading zeros (``00042``) stays text, and so do integers beyond 64 bits: they are names.
    A column without any value is text.
    """
    text = strip_blanks(text)
    value_set = build_null_words(tuple(null_words))
    blank = pc.is_in(text, value_set=value_set)
    text = text.filter(pc.invert(blank)).drop_null()
    # one word makes a column text, and the first cell of most text columns is a word
    is_plain = decimal == "." and thousands is None
    if not len(text) or (is_plain and not _TYPED_VALUE_PATTERN.match(text[0].as_py())):
        return pa.string()
    lower = pc.utf8_lower(text)
    if pc.all(pc.is_in(lower, value_set=_BOOLEAN_WORDS)).as_py():
        return pa.bool_()
    text = pc.replace_substring(text, MINUS_SIGN, "-")
    if pc.any(pc.match_substring_regex(text, r"^[+-]?0\d{2,}$")).as_py():
        return pa.string()
    candidates = [pa.float64(), pa.timestamp("us")]
    if pc.all(pc.match_substring_regex(text, r"^[+-]?\d+$")).as_py():
        candidates = [pa.int64()]
    for kind in candidates:
        _, bad = parse_cells(text, kind, decimal=decimal, thousands=thousands)
        if bad is None:
            return kind
    return pa.string()
