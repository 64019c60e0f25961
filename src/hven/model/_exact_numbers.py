"""Texts of numbers that a floating-point type cannot hold: too large ones, and whole numbers that would be rounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.model.types import Type

    Flags = npt.NDArray[np.bool_]

EXACT = 2.0**53  # a double holds every whole number below; 2^53 + 1 is read as this one
_WHOLE = r"^[+-]?\d{16,38}$"
_DECIMAL = pa.decimal128(38, 0)


class BadLiteral(ValueError):
    """A text that is no value of its type: `row` counts from 0 within the column that was given."""

    def __init__(self, row: int, text: str, kind: Type, why: str = "") -> None:
        self.row = row
        self.text = text
        what = kind.xtype or kind.datatype
        shown = text if len(text) <= 60 else text[:57] + "..."
        super().__init__(f"{shown!r} is not a value of type {what}" + (f": {why}" if why else ""))


def refuse_overflow(texts: pa.Array, values: pa.Array, kind: Type) -> None:
    """Refuse finite numbers that became infinite.

    Parameters
    ----------
    texts, values
        As of `find_overflow`; values of other types are not looked at.
    kind
        Of the column, for the message.

    Raises
    ------
    BadLiteral
        The first such number.
    """
    flags = find_overflow(texts, values) if pa.types.is_floating(values.type) else None
    if flags is not None:
        row = int(np.argmax(flags))
        raise BadLiteral(row, texts[row].as_py(), kind, "too large")


def find_overflow(texts: pa.Array, values: pa.Array) -> Flags | None:
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
    places = np.flatnonzero(infinite)
    meant = pc.match_substring(texts.take(pa.array(places)), "inf", ignore_case=True)
    flags = np.zeros(len(values), bool)
    flags[places[~np.asarray(meant)]] = True
    return flags if flags.any() else None


def find_rounded(texts: pa.Array, values: pa.Array) -> Flags | None:
    """Find whole numbers beyond 2^53 that a double does not hold exactly.

    Parameters
    ----------
    texts
        How the numbers are written, shape (n,). Those with an exponent, a fraction or more than 38 digits are not looked at.
    values
        What was read of them: float64, shape (n,).

    Returns
    -------
    flags
        True where digits are lost, shape (n,); None: nowhere.
    """
    if not may_lose_digits(values):
        return None
    numbers: Any = np.asarray(pc.fill_null(values, 0.0))
    places = np.flatnonzero(np.isfinite(numbers) & (np.abs(numbers) >= EXACT))
    some = pc.utf8_trim_whitespace(texts.take(pa.array(places)))
    whole = np.asarray(pc.match_substring_regex(some, _WHOLE))
    places, some = places[whole], pc.utf8_ltrim(some.filter(pa.array(whole)), "+")
    if not len(places):
        return None
    written, read = some.cast(_DECIMAL), values.take(pa.array(places)).cast(_DECIMAL, safe=False)
    flags = np.zeros(len(values), bool)
    flags[places] = np.asarray(pc.not_equal(written, read))
    return flags if flags.any() else None


def may_lose_digits(values: pa.Array) -> bool:
    """Return whether a value is infinite or so large that a whole number may be rounded.

    Parameters
    ----------
    values
        float32 or float64, shape (n,).
    """
    limits = pc.min_max(values)
    low, high = limits["min"].as_py(), limits["max"].as_py()
    return low is not None and (low <= -EXACT or high >= EXACT)


__all__ = ["BadLiteral", "find_overflow", "find_rounded", "may_lose_digits", "refuse_overflow"]
