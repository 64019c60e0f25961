"""Columns of text that are nearly something else: numbers but for a few rows, dates of several forms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql import quote_name
from hven.model.literal import detect_date_formats
from hven.sources._reading.cells import build_null_words, guess_type, parse_cells, strip_blanks

if TYPE_CHECKING:
    from collections.abc import Sequence

# the share of others among numbers or dates, or so many of four times as many; rows that are named
MAX_EXCEPTION_SHARE, MAX_EXAMPLES = 0.05, 3
_COMMA_NUMBER_PATTERNS = {
    "`decimal: ','`": r"^[+-]?(?:\d+,?\d*|,\d+)(?:[eE][+-]?\d+)?$",
    "`thousands: ','`": r"^[+-]?(?:0|[1-9]\d{0,2}(?:,\d{3})*)(?:\.\d*)?$",
    "`decimal: ','` and `thousands: '.'`": r"^[+-]?\d{1,3}(?:\.\d{3})*(?:,\d*)?$",
}  # how numbers are written with commas
_NUMBER_PATTERN = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_PLAIN_NUMBER_PATTERN = rf"^{_NUMBER_PATTERN}$"
# how numbers are written with more than the number -> the form, what it is, and expressions that take it apart
_MARKED_NUMBERS = (
    (
        rf"^{_NUMBER_PATTERN}\s*%$",
        "percentages",
        "CAST(regexp_extract({0}, '^[^%]+') AS DOUBLE PRECISION)",
        'with `unit: "%"`',
    ),
    (
        rf"^[<>≤≥~]=?\s*{_NUMBER_PATTERN}$",
        "numbers, or limits",
        "CAST(regexp_extract({0}, '[-+.0-9eE]+$') AS DOUBLE PRECISION)",
        "and into a second column whether it is a limit, regexp_extract({0}, '^[^-+.0-9]+')",
    ),
    (
        rf"^{_NUMBER_PATTERN}\s*(?:±|\+/-|\+-)\s*{_NUMBER_PATTERN}$",
        "numbers with their errors",
        "CAST(regexp_extract({0}, '^[-+.0-9eE]+') AS DOUBLE PRECISION)",
        "and the error into a second column, CAST(regexp_extract({0}, '[.0-9eE]+$') AS DOUBLE PRECISION)",
    ),
)
_MONTH_PATTERN = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
_DATE_LIKE_PATTERN = (
    r"(?i)^\s*(?:\d{4}[-/]\d{1,2}[-/]\d{1,2}|\d{1,2}/\d{1,2}/\d{2,4}|\d{1,2}[-.]\d{1,2}[-.]\d{4}"
    rf"|\d{{1,2}}\.?[- ]?{_MONTH_PATTERN}[-, ]+\d{{2,4}}|{_MONTH_PATTERN} \d{{1,2}},? \d{{4}}|\d{{4}}[- ]{_MONTH_PATTERN}[- ]\d{{1,2}})(?:[T ,]|\s*$)"
)
MAX_DATE_SAMPLES = 200  # different texts that are read as dates


def explain_doubt(
    name: str,
    cells: Sequence[str],
    places: Sequence[str],
    *,
    null_words: Sequence[str],
    type_hint: str,
    decimal: str = ".",
    thousands: str | None = None,
    has_decimal_points: bool = False,
) -> tuple[str, str] | None:
    """Explain why a column that was guessed to be text may be meant otherwise.

    Parameters
    ----------
    cells, places
        A sample of its values, and where each stands (``row 17``).
    type_hint
        How a descriptor says a column's type, with ``{name}`` and ``{kind}``.
    has_decimal_points
        Other columns have decimals with a point: a comma is no decimal sign then.

    Returns
    -------
    message, remedy
        Or None.
    """
    words = strip_blanks(pa.array(cells, pa.string()))
    value_set = build_null_words(tuple(null_words))
    filled = pc.invert(pc.is_in(words, value_set=value_set))
    values = words.filter(filled)
    filled_places = pa.array(places, pa.string()).filter(filled)
    if not len(values):
        return None
    text = f"{type_hint.format(name=name, kind='string')} if it is text"
    if (
        decimal == "."
        and thousands is None
        and (signs := _find_number_signs(values, has_decimal_points=has_decimal_points))
    ):
        first = values.filter(pc.match_substring(values, ","))[0].as_py()
        return (
            f"its values are numbers with commas, as {first[:30]!r}",
            f"say {signs} in the source, with `type: float64` for the column; or {text}",
        )
    marked = _explain_marked_numbers(name, values)
    if marked is not None:
        message, call = marked
        return message, f"map it: {call}; or say {text}"
    _, bad = parse_cells(values, pa.float64(), decimal=decimal, thousands=thousands)
    if bad is None:
        convertible = values
    else:
        convertible = values.filter(pc.invert(bad))
    if bad is not None and _is_exception(len(values) - len(convertible), len(values)):
        if (
            kind := guess_type(convertible, decimal=decimal, thousands=thousands)
        ) == pa.string():  # names with leading zeros
            return None
        odd_words = sorted(set(values.filter(bad).to_pylist()))
        if kind == pa.int64():
            number = "int64"
        else:
            number = "float64"
        words_text = ", ".join(word if word.isalnum() else "'" + word.replace("'", "''") + "'" for word in odd_words)
        if len(odd_words) <= MAX_EXAMPLES and len(words_text) < 40:
            null = f"`null: {{{name}: [{words_text}]}}` in the source if they stand for no value, "
        else:
            null = ""
        aside = (
            f"{type_hint.format(name=name, kind=number)} to keep those rows aside, both with `type: {number}` for "
            f"the column"
        )
        message = (
            f"{len(convertible):,} of {len(values):,} values that were looked at are numbers, but not "
            f"{_format_exceptions(filled_places, values, bad)}"
        )
        return message, f"say {null}{aside}; or {text}"
    forms, unparsed_words = detect_date_formats(
        [str(word) for word in pc.unique(values)[:MAX_DATE_SAMPLES].to_pylist()]
    )
    strange = pc.is_in(values, value_set=pa.array(unparsed_words, pa.string()))
    if not forms or (unparsed_words and not _is_exception(pc.sum(strange).as_py(), len(values))):
        return _explain_date_styles(name, values, text)
    calls = [
        f"parse_time({quote_name(name)}, '{form}')" if form else f"parse_time({quote_name(name)})" for form in forms
    ]
    forms_text = " and ".join(form or "ISO 8601" for form in forms)
    if len(forms) > 1:
        message = f"its dates have {len(forms)} forms, {forms_text}"
    else:
        message = f"its values are dates of the form {forms_text}"
    message += f", but not {_format_exceptions(filled_places, values, strange)}" if unparsed_words else ""
    if len(forms) > 1:
        call = f"coalesce({', '.join(calls)})"
    else:
        call = calls[0]
    return message, f"map it: {call}; or say {text}"


def _explain_marked_numbers(name: str, values: pa.Array) -> tuple[str, str] | None:
    """Explain numbers that have a sign beside them: all values are such, or plain numbers."""
    plain = pc.match_substring_regex(values, _PLAIN_NUMBER_PATTERN)
    for form, description, call, second_column_hint in _MARKED_NUMBERS:
        marked = pc.match_substring_regex(values, form)
        if pc.any(marked).as_py() and pc.all(pc.or_(plain, marked)).as_py():
            first = values.filter(marked)[0].as_py()
            return f"its values are {description}, as {first[:30]!r}", f"{call} {second_column_hint}".replace(
                "{0}", quote_name(name)
            )
    return None


def _explain_date_styles(name: str, values: pa.Array, text: str) -> tuple[str, str] | None:
    """Explain texts that look like dates of several styles, or with names of months.

    Digits of one style (13/07/15) may be anything.
    """
    like = pc.match_substring_regex(values, _DATE_LIKE_PATTERN)
    if not _is_exception(len(values) - pc.sum(like).as_py(), len(values)):
        return None
    words = pc.unique(values.filter(like)).to_pylist()
    styles = {re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "9", word)) for word in words[:MAX_DATE_SAMPLES]}
    if len(styles) == 1 and "a" not in next(iter(styles)):
        return None
    examples = words[:MAX_EXAMPLES]
    if len(styles) > 1:
        description = "dates of several styles"
    else:
        description = "dates"
    examples_text = ", ".join(repr(word[:30]) for word in examples)
    call = f"coalesce(parse_time({quote_name(name)}, '%d/%m/%Y'), parse_time({quote_name(name)}, ..))"
    return (
        f"its values look like {description}: {examples_text}",
        f"say the form of each, that of most first: {call}; or say {text}",
    )


def _is_exception(exception_count: int, value_count: int) -> bool:
    """Check whether so many of so many values are the exception."""
    return exception_count <= max(MAX_EXCEPTION_SHARE * value_count, min(MAX_EXAMPLES, value_count // 4))


def _format_exceptions(places: pa.Array, values: pa.Array, odd: pa.Array) -> str:
    """Name the first odd values and their rows."""
    exceptions = list(zip(places.filter(odd).to_pylist(), values.filter(odd).to_pylist(), strict=True))
    return ", ".join(f"{place} {word[:30]!r}" for place, word in exceptions[:MAX_EXAMPLES]) + (
        " ..." if len(exceptions) > MAX_EXAMPLES else ""
    )


def _find_number_signs(values: pa.Array, *, has_decimal_points: bool) -> str:
    """Find which signs make numbers of texts with commas: `1.234,5`, `1,234.5`; empty if none do."""
    if not pc.any(pc.match_substring(values, ",")).as_py():
        return ""
    dots = pc.any(pc.match_substring(values, ".")).as_py()
    forms = {
        option_text: form
        for option_text, form in _COMMA_NUMBER_PATTERNS.items()
        if not (has_decimal_points and "decimal" in option_text) and (dots or "'.'" not in option_text)
    }
    return " or ".join(
        option_text for option_text, form in forms.items() if pc.all(pc.match_substring_regex(values, form)).as_py()
    )
