"""Columns of text that are nearly something else: numbers but for a few rows, dates of several forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql import quote
from hven.model.dateforms import forms_of
from hven.sources._reading.cells import convert, guess, no_value, trimmed

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAST, FEW, SHOWN = 20, 0.05, 3  # numbers that there must be; the share of others; rows that are named
DATES = 200  # different texts that are read as dates


def doubt(
    name: str,
    cells: Sequence[str],
    places: Sequence[str],
    *,
    nulls: Sequence[str],
    typed: str,
    decimal: str = ".",
    thousands: str | None = None,
) -> tuple[str, str] | None:
    """Say why a column that was guessed to be text may be meant otherwise.

    Parameters
    ----------
    cells, places
        A sample of its values, and where each stands (``row 17``).
    typed
        How a descriptor says a column's type, with ``{name}`` and ``{kind}``.

    Returns
    -------
    message, remedy
        Or None.
    """
    text = trimmed(pa.array(cells, pa.string()))
    filled = pc.invert(pc.is_in(text, value_set=no_value(tuple(nulls))))
    values, where = text.filter(filled), pa.array(places, pa.string()).filter(filled)
    if not len(values):
        return None
    _, bad = convert(values, pa.float64(), decimal=decimal, thousands=thousands)
    good = values if bad is None else values.filter(pc.invert(bad))
    if bad is not None and len(good) >= LEAST and len(values) - len(good) <= FEW * len(values):
        if (kind := guess(good, decimal=decimal, thousands=thousands)) == pa.string():  # names with leading zeros
            return None
        odd = list(zip(where.filter(bad).to_pylist(), values.filter(bad).to_pylist(), strict=True))
        shown = ", ".join(f"{place} {word[:30]!r}" for place, word in odd[:SHOWN]) + (" ..." if len(odd) > SHOWN else "")
        words = sorted({word for _, word in odd})
        number = "int64" if kind == pa.int64() else "float64"
        listed = ", ".join(word if word.isalnum() else "'" + word.replace("'", "''") + "'" for word in words)
        null = (
            f"`null: {{{name}: [{listed}]}}` in the source if they stand for no value, " if len(words) <= SHOWN and len(listed) < 40 else ""
        )
        aside = f"{typed.format(name=name, kind=number)} to keep those rows aside, both with `type: {number}` for the column"
        message = f"{len(good):,} of {len(values):,} values that were looked at are numbers, but not {shown}"
        return message, f"say {null}{aside}; or {typed.format(name=name, kind='string')} if it is text"
    forms = forms_of([str(word) for word in pc.unique(values)[:DATES].to_pylist()])
    if not forms:
        return None
    calls = [f"parse_time({quote(name)}, '{form}')" if form else f"parse_time({quote(name)})" for form in forms]
    said = " and ".join(form or "ISO 8601" for form in forms)
    return f"its dates have {len(forms)} forms, {said}", f"map it: coalesce({', '.join(calls)})"
