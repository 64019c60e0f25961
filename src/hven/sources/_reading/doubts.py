"""Columns of text that are nearly something else: numbers but for a few rows, dates of several forms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql import quote
from hven.model.literal import forms_of
from hven.sources._reading.cells import convert, guess, no_value, trimmed

if TYPE_CHECKING:
    from collections.abc import Sequence

# the share of others among numbers or dates, or so many of four times as many; rows that are named
FEW, SHOWN = 0.05, 3
_COMMAS = {
    "`decimal: ','`": r"^[+-]?(?:\d+,?\d*|,\d+)(?:[eE][+-]?\d+)?$",
    "`thousands: ','`": r"^[+-]?(?:0|[1-9]\d{0,2}(?:,\d{3})*)(?:\.\d*)?$",
    "`decimal: ','` and `thousands: '.'`": r"^[+-]?\d{1,3}(?:\.\d{3})*(?:,\d*)?$",
}  # how numbers are written with commas
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_PLAIN = rf"^{_NUMBER}$"
# how numbers are written with more than the number -> the form, what it is, and expressions that take it apart
_MARKED = (
    (rf"^{_NUMBER}\s*%$", "percentages", "CAST(regexp_extract({0}, '^[^%]+') AS DOUBLE PRECISION)", 'with `unit: "%"`'),
    (
        rf"^[<>≤≥~]=?\s*{_NUMBER}$",
        "numbers, or limits",
        "CAST(regexp_extract({0}, '[-+.0-9eE]+$') AS DOUBLE PRECISION)",
        "and into a second column whether it is a limit, regexp_extract({0}, '^[^-+.0-9]+')",
    ),
    (
        rf"^{_NUMBER}\s*(?:±|\+/-|\+-)\s*{_NUMBER}$",
        "numbers with their errors",
        "CAST(regexp_extract({0}, '^[-+.0-9eE]+') AS DOUBLE PRECISION)",
        "and the error into a second column, CAST(regexp_extract({0}, '[.0-9eE]+$') AS DOUBLE PRECISION)",
    ),
)
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
_DATE_LIKE = (
    r"(?i)^\s*(?:\d{4}[-/]\d{1,2}[-/]\d{1,2}|\d{1,2}/\d{1,2}/\d{2,4}|\d{1,2}[-.]\d{1,2}[-.]\d{4}"
    rf"|\d{{1,2}}\.?[- ]?{_MONTH}[-, ]+\d{{2,4}}|{_MONTH} \d{{1,2}},? \d{{4}}|\d{{4}}[- ]{_MONTH}[- ]\d{{1,2}})(?:[T ,]|\s*$)"
)
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
    pointed: bool = False,
) -> tuple[str, str] | None:
    """Explain why a column that was guessed to be text may be meant otherwise.

    Parameters
    ----------
    cells, places
        A sample of its values, and where each stands (``row 17``).
    typed
        How a descriptor says a column's type, with ``{name}`` and ``{kind}``.
    pointed
        Other columns have decimals with a point: a comma is no decimal sign then.

    Returns
    -------
    message, remedy
        Or None.
    """
    words = trimmed(pa.array(cells, pa.string()))
    filled = pc.invert(pc.is_in(words, value_set=no_value(tuple(nulls))))
    values, where = words.filter(filled), pa.array(places, pa.string()).filter(filled)
    if not len(values):
        return None
    text = f"{typed.format(name=name, kind='string')} if it is text"
    if decimal == "." and thousands is None and (signs := _signs(values, pointed=pointed)):
        first = values.filter(pc.match_substring(values, ","))[0].as_py()
        return (
            f"its values are numbers with commas, as {first[:30]!r}",
            f"say {signs} in the source, with `type: float64` for the column; or {text}",
        )
    if (marked := _doubt_marked(name, values)) is not None:
        message, call = marked
        return message, f"map it: {call}; or say {text}"
    _, bad = convert(values, pa.float64(), decimal=decimal, thousands=thousands)
    good = values if bad is None else values.filter(pc.invert(bad))
    if bad is not None and _few(len(values) - len(good), len(values)):
        if (kind := guess(good, decimal=decimal, thousands=thousands)) == pa.string():  # names with leading zeros
            return None
        odd = sorted(set(values.filter(bad).to_pylist()))
        number = "int64" if kind == pa.int64() else "float64"
        listed = ", ".join(word if word.isalnum() else "'" + word.replace("'", "''") + "'" for word in odd)
        null = (
            f"`null: {{{name}: [{listed}]}}` in the source if they stand for no value, "
            if len(odd) <= SHOWN and len(listed) < 40
            else ""
        )
        aside = f"{typed.format(name=name, kind=number)} to keep those rows aside, both with `type: {number}` for the column"
        message = f"{len(good):,} of {len(values):,} values that were looked at are numbers, but not {_shown(where, values, bad)}"
        return message, f"say {null}{aside}; or {text}"
    forms, others = forms_of([str(word) for word in pc.unique(values)[:DATES].to_pylist()])
    strange = pc.is_in(values, value_set=pa.array(others, pa.string()))
    if not forms or (others and not _few(pc.sum(strange).as_py(), len(values))):
        return _doubt_dates(name, values, text)
    calls = [f"parse_time({quote(name)}, '{form}')" if form else f"parse_time({quote(name)})" for form in forms]
    said = " and ".join(form or "ISO 8601" for form in forms)
    message = (
        f"its dates have {len(forms)} forms, {said}" if len(forms) > 1 else f"its values are dates of the form {said}"
    )
    message += f", but not {_shown(where, values, strange)}" if others else ""
    call = f"coalesce({', '.join(calls)})" if len(forms) > 1 else calls[0]
    return message, f"map it: {call}; or say {text}"


def _doubt_marked(name: str, values: pa.Array) -> tuple[str, str] | None:
    """Explain numbers that have a sign beside them: all values are such, or plain numbers."""
    plain = pc.match_substring_regex(values, _PLAIN)
    for form, what, call, more in _MARKED:
        marked = pc.match_substring_regex(values, form)
        if pc.any(marked).as_py() and pc.all(pc.or_(plain, marked)).as_py():
            first = values.filter(marked)[0].as_py()
            return f"its values are {what}, as {first[:30]!r}", f"{call} {more}".replace("{0}", quote(name))
    return None


def _doubt_dates(name: str, values: pa.Array, text: str) -> tuple[str, str] | None:
    """Explain texts that look like dates of several styles, or with names of months; digits of one style (13/07/15) may be anything."""
    like = pc.match_substring_regex(values, _DATE_LIKE)
    if not _few(len(values) - pc.sum(like).as_py(), len(values)):
        return None
    words = pc.unique(values.filter(like)).to_pylist()
    styles = {re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", word)) for word in words[:DATES]}
    if len(styles) == 1 and "a" not in next(iter(styles)):
        return None
    some = words[:SHOWN]
    what = "dates of several styles" if len(styles) > 1 else "dates"
    shown = ", ".join(repr(word[:30]) for word in some)
    call = f"coalesce(parse_time({quote(name)}, '%d/%m/%Y'), parse_time({quote(name)}, ..))"
    return (
        f"its values look like {what}: {shown}",
        f"say the form of each, that of most first: {call}; or say {text}",
    )


def _few(odd: int, number: int) -> bool:
    """Check whether so many of so many values are the exception."""
    return odd <= max(FEW * number, min(SHOWN, number // 4))


def _shown(where: pa.Array, values: pa.Array, odd: pa.Array) -> str:
    """Name the first odd values and their rows."""
    found = list(zip(where.filter(odd).to_pylist(), values.filter(odd).to_pylist(), strict=True))
    return ", ".join(f"{place} {word[:30]!r}" for place, word in found[:SHOWN]) + (" ..." if len(found) > SHOWN else "")


def _signs(values: pa.Array, *, pointed: bool) -> str:
    """Find which signs make numbers of texts with commas: `1.234,5`, `1,234.5`; empty if none do."""
    if not pc.any(pc.match_substring(values, ",")).as_py():
        return ""
    dots = pc.any(pc.match_substring(values, ".")).as_py()
    forms = {
        said: form
        for said, form in _COMMAS.items()
        if not (pointed and "decimal" in said) and (dots or "'.'" not in said)
    }
    return " or ".join(said for said, form in forms.items() if pc.all(pc.match_substring_regex(values, form)).as_py())
