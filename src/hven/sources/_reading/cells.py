"""Cells of text -> typed Arrow arrays, vectorised; and the guess which type a column of text has."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model.literal import cast, find_overflow, number, read_times

if TYPE_CHECKING:
    from collections.abc import Sequence

# what people write for "no number"; applied to numbers, booleans and times only, never to text
NULL_WORDS = (
    "",
    "NaN",
    "nan",
    "NAN",
    "NULL",
    "null",
    "NA",
    "N/A",
    "n/a",
    "None",
    "none",
    "-",
    "--",
    *("-" * length for length in range(3, 33)),  # as wide as the column
    "...",
    "?",
    "*",
    "nil",
    "<NA>",
    "-NaN",
    "-nan",
)
_TRUE = pa.array(["true", "t", "yes", "y", "1"])
_FALSE = pa.array(["false", "f", "no", "n", "0"])
_FLOAT = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?$|^(?i:[+-]?(?:inf|infinity|nan))$"
_FINITE = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?", re.ASCII)
MINUS = "\u2212"  # Unicode's minus sign, as typesetters write it
RESPELT = rf"{MINUS}|[\d.][dD][+-]?\d"  # numbers with it, or with an exponent of Fortran: 1.5D+03
_INT = r"^[+-]?\d{1,18}$"
_MAYBE = re.compile(r"[-+.\d\u2212]|true|false|inf|nan", re.IGNORECASE)  # how numbers, times, true and false begin
_WORDS = pa.array(["true", "false"])
BLANKS = " \t\r\n\v\f"


@lru_cache(maxsize=256)
def no_value(nulls: tuple[str, ...]) -> pa.Array:
    """Build the array of null words, once: to find a list's type, pyarrow looks for dateutil each time, which takes a millisecond."""
    return pa.array([*NULL_WORDS, *nulls], pa.string())


def trimmed(text: pa.Array) -> pa.Array:
    """Strip blanks off both ends."""
    return pc.utf8_trim(text, characters=BLANKS)


def plain(kind: pa.DataType) -> bool:
    """Check whether `convert` reads text as this type."""
    types = pa.types
    return any(
        test(kind)
        for test in (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_timestamp)
    )


def convert(
    text: pa.Array,
    kind: pa.DataType,
    *,
    nulls: Sequence[str] = (),
    decimal: str = ".",
    thousands: str | None = None,
) -> tuple[pa.Array, pa.Array | None]:
    """Read text as `kind`.

    Parameters
    ----------
    text
        Strings, with blanks around them as they come.
    nulls
        Words that stand for no value, besides the usual ones.

    Returns
    -------
    values, bad
        `values` has null where `bad` (a boolean array, or None if every cell fits) is true.
    """
    text = trimmed(text)
    if pa.types.is_string(kind):
        return nulled(text, nulls), None
    blank = pc.is_in(text, value_set=no_value(tuple(nulls)))
    text = pc.if_else(blank, pa.scalar(None, pa.string()), text)
    if pa.types.is_boolean(kind):
        return _booleans(text)
    if pa.types.is_timestamp(kind):
        return _times(text, kind)
    if thousands:
        text = pc.replace_substring(text, thousands, "")
    if decimal != ".":
        text = pc.replace_substring(text, decimal, ".")
    text = pc.replace_substring_regex(pc.replace_substring(text, MINUS, "-"), r"^\+", "")
    values, bad = _floats(text, kind) if pa.types.is_floating(kind) else _integers(text, kind)
    return without(values, nulls), bad


def is_number(text: str) -> bool:
    """Check whether a text is written as a finite number, however large."""
    return _FINITE.fullmatch(text.strip()) is not None


def nulled(text: pa.Array, nulls: Sequence[str]) -> pa.Array:
    """Replace empty strings and null words by null."""
    words = pc.is_in(text, value_set=pa.array(["", *nulls], pa.string())) if nulls else pc.equal(text, "")
    return pc.if_else(words, pa.scalar(None, text.type), text) if pc.any(words).as_py() else text


def decoded(text: pa.Array) -> pa.Array:
    """Decode JSON's strings, and its null; other JSON stays as it is."""
    text = pc.if_else(pc.equal(text, "null"), pa.scalar(None, text.type), text)
    quoted = pc.match_substring_regex(text, r'(?s)^".*"$')
    if not pc.any(quoted).as_py():
        return text
    bare = pc.utf8_slice_codeunits(text, 1, -1)
    # a doubled backslash steps aside first, so that what follows it is not taken for an escape
    for code, sign in (("\\\\", "\0"), ('\\"', '"'), ("\\/", "/"), ("\\n", "\n"), ("\\t", "\t"), ("\0", "\\")):
        bare = pc.replace_substring(bare, code, sign)
    return pc.if_else(quoted, bare, text)


def numbers_in(words: Sequence[str]) -> list[int | float]:
    """Find null words that are numbers: -999 also means -999.0."""
    found = []
    for word in words:
        try:
            found.append(number(word))
        except ValueError:
            continue
    return found


def without(values: pa.Array, nulls: Sequence[str]) -> pa.Array:
    """Replace by null what equals a null word which is a number; what is no number (times, booleans, text) stays."""
    kind = values.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        return values
    for word in numbers_in(nulls):
        if word != word:  # noqa: PLR0124  (NaN)
            continue
        try:
            same = pc.equal(values, pa.scalar(float(word) if pa.types.is_floating(kind) else word).cast(kind))
        except (pa.ArrowInvalid, OverflowError):  # 99.99 or 10**30 in a column of integers
            continue
        values = pc.if_else(same, pa.scalar(None, values.type), values)
    return values


def emptied(values: pa.Array, words: Sequence[str]) -> pa.Array:
    """Replace by null what stands for no value, text or number; values within arrays stay."""
    return nulled(values, words) if pa.types.is_string(values.type) else without(values, words)


def no_nan(values: pa.Array) -> pa.Array:
    """Replace NaN by null: in all carriers of the field it stands for no value."""
    if not pa.types.is_floating(values.type):
        return values
    nan = pc.is_nan(values)
    return pc.if_else(nan, pa.scalar(None, values.type), values) if pc.any(nan).as_py() else values


def _bad(fits: pa.Array) -> pa.Array | None:
    bad = pc.fill_null(pc.invert(fits), False)
    return bad if pc.any(bad).as_py() else None


def _keep(text: pa.Array, bad: pa.Array | None) -> pa.Array:
    return text if bad is None else pc.if_else(bad, pa.scalar(None, text.type), text)


def _or(a: pa.Array | None, b: pa.Array | None) -> pa.Array | None:
    return b if a is None else a if b is None else pc.or_(a, b)


def _booleans(text: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    lower = pc.utf8_lower(text)
    true = pc.is_in(lower, value_set=_TRUE)
    known = pc.or_(true, pc.is_in(lower, value_set=_FALSE))
    bad = _bad(pc.or_(known, pc.is_null(text)))
    return pc.if_else(known, true, pa.scalar(None, pa.bool_())), bad


def _floats(text: pa.Array, kind: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    try:
        values, bad = pc.cast(text, pa.float64()), None
    except pa.ArrowInvalid:
        bad = _bad(pc.match_substring_regex(text, _FLOAT))
        # Fortran writes 1.5D+03
        values, more = cast(pc.replace_substring_regex(_keep(text, bad), "[dD]", "e"), pa.float64())
        bad = _or(bad, more)
    values = no_nan(values)
    values = values if kind == pa.float64() else pc.cast(values, kind, safe=False)
    if (flags := find_overflow(text, values)) is not None:
        bad = _or(bad, pa.array(flags))
        values = _keep(values, bad)
    return values, bad


def _integers(text: pa.Array, kind: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    try:
        return pc.cast(text, kind), None
    except pa.ArrowInvalid:
        pass
    short = pc.match_substring_regex(text, _INT)
    values = pc.cast(pc.if_else(short, text, pa.scalar(None, text.type)), pa.int64())
    rest = pc.if_else(short, pa.scalar(None, text.type), text)
    bad = None
    if rest.null_count < len(rest):
        # 12.0, 1e3 and numbers of 19 digits are integers too
        fits = pc.and_(
            pc.match_substring_regex(rest, r"^-?\d{19}$"), pc.less_equal(pc.utf8_ltrim(rest, "-"), str(2**63 - 1))
        )
        fits = pc.or_(fits, pc.equal(rest, str(-(2**63))))
        exact = pc.cast(pc.if_else(fits, rest, pa.scalar(None, text.type)), pa.int64())
        other = pc.if_else(pc.is_valid(exact), pa.scalar(None, text.type), rest)
        real, unreal = _floats(other, pa.float64())
        whole = pc.and_(pc.equal(real, pc.floor(real)), pc.less(pc.abs(real), 2.0**53))
        bad = _or(unreal, _bad(whole))
        whole = pc.fill_null(whole, False)
        integral = pc.cast(pc.if_else(whole, real, pa.scalar(None, pa.float64())), pa.int64())
        values = pc.coalesce(values, exact, integral)
    if kind != pa.int64():
        limits = np.iinfo(kind.to_pandas_dtype())
        low, high = max(int(limits.min), -(2**63)), min(int(limits.max), 2**63 - 1)
        fits = pc.and_(
            pc.greater_equal(values, pa.scalar(low, pa.int64())), pc.less_equal(values, pa.scalar(high, pa.int64()))
        )
        outside = _bad(fits)
        bad = _or(bad, outside)
        values = pc.cast(_keep(values, outside), kind)
    return values, bad


def _times(text: pa.Array, kind: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    values, bad = read_times(text)
    return pc.cast(values, kind), bad


def guess(
    text: pa.Array, *, nulls: Sequence[str] = (), decimal: str = ".", thousands: str | None = None
) -> pa.DataType:
    """Guess the type of a column from a sample: bool, int64, float64, timestamp or string.

    Text with leading zeros (``00042``) stays text, as do integers beyond 64 bits: they are names.
    A column without any value is text.
    """
    text = trimmed(text)
    blank = pc.is_in(text, value_set=no_value(tuple(nulls)))
    text = text.filter(pc.invert(blank)).drop_null()
    if not len(text):
        return pa.string()
    # one word makes it text, and most text is told so
    if decimal == "." and thousands is None and not _MAYBE.match(text[0].as_py()):
        return pa.string()
    lower = pc.utf8_lower(text)
    if pc.all(pc.is_in(lower, value_set=_WORDS)).as_py():
        return pa.bool_()
    text = pc.replace_substring(text, MINUS, "-")
    options = {"decimal": decimal, "thousands": thousands}
    if pc.any(pc.match_substring_regex(text, r"^[+-]?0\d{2,}$")).as_py():
        return pa.string()
    if pc.all(pc.match_substring_regex(text, r"^[+-]?\d+$")).as_py():
        _, bad = convert(text, pa.int64(), **options)  # type: ignore[arg-type]
        return pa.int64() if bad is None else pa.string()
    for kind in (pa.float64(), pa.timestamp("us")):
        _, bad = convert(text, kind, **options)  # type: ignore[arg-type]
        if bad is None:
            return kind
    return pa.string()
