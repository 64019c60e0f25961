"""Explain which columns of text are nearly something else: numbers except in a few rows, dates of several forms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql import quote_adql_name
from hven.model.literal import detect_date_formats_and_non_dates
from hven.sources._reading.cells import build_null_words, guess_column_type, parse_cells, strip_blanks

if TYPE_CHECKING:
    from collections.abc import Sequence

# the largest share of exceptions among numbers or dates; so many exceptions are allowed among four times as many values
MAX_EXCEPTION_SHARE = 0.05
MAX_EXAMPLES = 3  # rows that are named
_COMMA_NUMBER_PATTERNS = {  # forms of numbers with commas
    "`decimal: ','`": r"^[+-]?(?:\d+,?\d*|,\d+)(?:[eE][+-]?\d+)?$",
    "`thousands: ','`": r"^[+-]?(?:0|[1-9]\d{0,2}(?:,\d{3})*)(?:\.\d*)?$",
    "`decimal: ','` and `thousands: '.'`": r"^[+-]?\d{1,3}(?:\.\d{3})*(?:,\d*)?$",
}
_NUMBER_PATTERN = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_PLAIN_NUMBER_PATTERN = rf"^{_NUMBER_PATTERN}$"
# forms of numbers with a sign beside them: pattern, description, and expressions that take the number and the sign
_MARKED_NUMBERS = (
    (
        rf"^{_NUMBER_PATTERN}\s*%$",
        "percentages",
        "CAST(regexp_extract({0}, '^[^%]+') AS DOUBLE PRECISION)",
        'and give it `unit: "%"`',
    ),
    (
        rf"^[<>≤≥~]=?\s*{_NUMBER_PATTERN}$",
        "numbers, or limits",
        "CAST(regexp_extract({0}, '[-+.0-9eE]+$') AS DOUBLE PRECISION)",
        "and a second column, for the limit sign, with regexp_extract({0}, '^[^-+.0-9]+')",
    ),
    (
        rf"^{_NUMBER_PATTERN}\s*(?:±|\+/-|\+-)\s*{_NUMBER_PATTERN}$",
        "numbers with their errors",
        "CAST(regexp_extract({0}, '^[-+.0-9eE]+') AS DOUBLE PRECISION)",
        "and a second column, for the error, with CAST(regexp_extract({0}, '[.0-9eE]+$') AS DOUBLE PRECISION)",
    ),
)
_MONTH_PATTERN = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
_DATE_LIKE_PATTERN = (
    r"(?i)^\s*(?:\d{4}[-/]\d{1,2}[-/]\d{1,2}|\d{1,2}/\d{1,2}/\d{2,4}|\d{1,2}[-.]\d{1,2}[-.]\d{4}"
    rf"|\d{{1,2}}\.?[- ]?{_MONTH_PATTERN}[-, ]+\d{{2,4}}|{_MONTH_PATTERN} \d{{1,2}},? \d{{4}}"
    rf"|\d{{4}}[- ]{_MONTH_PATTERN}[- ]\d{{1,2}})(?:[T ,]|\s*$)"
)
_UNCHANGED_TEXT_PATTERN = r"^(?:true|false|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{0,5}[1-9])?)?$"
MAX_DATE_SAMPLES = 200  # different texts that are parsed as dates


def find_changed_text(cells: Sequence[str], kind: pa.DataType) -> str | None:
    """Find a cell that has another text than its value, such as 1.50 or True; None if there is none."""
    texts = strip_blanks(pa.array(cells, pa.string()))
    if kind == pa.float64():
        is_changed = pc.match_substring_regex(texts, r"^[+-]?\d*\.(?:\d*0)?$|^\+|^-?(?:\.|0\d)|[eEdD]")
    elif kind in (pa.bool_(), pa.timestamp("us")):
        is_changed = pc.invert(pc.match_substring_regex(texts, _UNCHANGED_TEXT_PATTERN))
    else:
        return None
    changed_texts = texts.filter(is_changed)
    return changed_texts[0].as_py() if len(changed_texts) else None


def explain_type_doubt(
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
        A sample of its values, and the place of each (``row 17``).
    type_hint
        How a descriptor states the type of a column, with ``{name}`` and ``{kind}``.
    has_decimal_points
        True if other columns have decimals with a point: then a comma is no decimal sign.

    Returns
    -------
    message, remedy
        None: nothing suggests another type.
    """
    words = strip_blanks(pa.array(cells, pa.string()))
    value_set = build_null_words(tuple(null_words))
    filled = pc.invert(pc.is_in(words, value_set=value_set))
    values = words.filter(filled)
    filled_places = pa.array(places, pa.string()).filter(filled)
    if not len(values):
        return None
    text_hint = f"{type_hint.format(name=name, kind='string')} if it is text"
    if decimal == "." and thousands is None:
        signs = _find_separator_options(values, has_decimal_points=has_decimal_points)
        if signs:
            first = values.filter(pc.match_substring(values, ","))[0].as_py()
            message = f"the values are numbers with commas, such as {first[:30]!r}"
            return message, f"write {signs} in the source, with `type: float64` for the column; or {text_hint}"
    marked = _explain_marked_numbers(name, values)
    if marked is not None:
        message, call = marked
        return message, f"map the column with {call}; or write {text_hint}"
    _, bad = parse_cells(values, pa.float64(), decimal=decimal, thousands=thousands)
    if bad is None or not _are_few_exceptions(pc.sum(bad).as_py(), len(values)):
        return _explain_dates(name, values, filled_places, text_hint)
    kind = guess_column_type(values.filter(pc.invert(bad)), decimal=decimal, thousands=thousands)
    if kind == pa.string():  # names with leading zeros
        return None
    number_type = "float64"
    if kind == pa.int64():
        number_type = "int64"
    null_hint = _build_null_hint(name, values.filter(bad))
    declaration = type_hint.format(name=name, kind=number_type)
    aside = f"{declaration} to set those rows aside, and `type: {number_type}` for the column"
    number_count = len(values) - pc.sum(bad).as_py()
    message = (
        f"{number_count:,} of the {len(values):,} sampled values are numbers; exceptions: "
        f"{_format_exceptional_values(filled_places, values, bad)}"
    )
    return message, f"write {null_hint}{aside}; or write {text_hint}"


def _build_null_hint(name: str, odd_values: pa.Array) -> str:
    """Propose the values that are no numbers as null words; empty if they are too many or too long."""
    odd_words = sorted(set(odd_values.to_pylist()))
    quoted_words: list[str] = []
    for word in odd_words:
        if word.isalnum():
            quoted_words.append(word)
        else:
            escaped_word = word.replace("'", "''")
            quoted_words.append(f"'{escaped_word}'")
    words_text = ", ".join(quoted_words)
    if len(odd_words) > MAX_EXAMPLES or len(words_text) >= 40:
        return ""
    return f"`null: {{{name}: [{words_text}]}}` in the source if the exceptions mean no value, or "


def _explain_dates(name: str, values: pa.Array, places: pa.Array, text_hint: str) -> tuple[str, str] | None:
    """Explain texts that are dates of forms that `parse_time` takes, perhaps with a few exceptions."""
    samples = pc.unique(values)[:MAX_DATE_SAMPLES].to_pylist()
    forms, unparsed_words = detect_date_formats_and_non_dates([str(word) for word in samples])
    strange = pc.is_in(values, value_set=pa.array(unparsed_words, pa.string()))
    if not forms or (unparsed_words and not _are_few_exceptions(pc.sum(strange).as_py(), len(values))):
        return _explain_date_styles(name, values, text_hint)
    calls: list[str] = []
    for form in forms:
        if form:
            calls.append(f"parse_time({quote_adql_name(name)}, '{form}')")
        else:
            calls.append(f"parse_time({quote_adql_name(name)})")
    forms_text = " and ".join(form or "ISO 8601" for form in forms)
    message = f"the values are dates in the format {forms_text}"
    call = calls[0]
    if len(forms) > 1:
        message = f"the dates have {len(forms)} formats, {forms_text}"
        call = f"coalesce({', '.join(calls)})"
    if unparsed_words:
        message = f"{message}; exceptions: {_format_exceptional_values(places, values, strange)}"
    return message, f"map the column with {call}; or write {text_hint}"


def _explain_marked_numbers(name: str, values: pa.Array) -> tuple[str, str] | None:
    """Explain numbers that have a sign beside them: all values are such numbers, or plain ones."""
    plain = pc.match_substring_regex(values, _PLAIN_NUMBER_PATTERN)
    for form, description, call, second_column_hint in _MARKED_NUMBERS:
        marked = pc.match_substring_regex(values, form)
        if pc.any(marked).as_py() and pc.all(pc.or_(plain, marked)).as_py():
            first = values.filter(marked)[0].as_py()
            expressions = f"{call} {second_column_hint}".replace("{0}", quote_adql_name(name))
            return f"the values are {description}, such as {first[:30]!r}", expressions
    return None


def _explain_date_styles(name: str, values: pa.Array, text_hint: str) -> tuple[str, str] | None:
    """Explain texts that look like dates of several styles, or with names of months.

    Digits of a single style (13/07/15) may mean anything.
    """
    like = pc.match_substring_regex(values, _DATE_LIKE_PATTERN)
    if not _are_few_exceptions(len(values) - pc.sum(like).as_py(), len(values)):
        return None
    words = pc.unique(values.filter(like)).to_pylist()
    styles: set[str] = set()
    for word in words[:MAX_DATE_SAMPLES]:
        style = re.sub(r"\d+", "9", word)
        styles.add(re.sub(r"[^\W\d_]+", "a", style))
    if len(styles) == 1 and "a" not in next(iter(styles)):
        return None
    examples = words[:MAX_EXAMPLES]
    description = "dates"
    if len(styles) > 1:
        description = "dates of several styles"
    examples_text = ", ".join(repr(word[:30]) for word in examples)
    call = f"coalesce(parse_time({quote_adql_name(name)}, '%d/%m/%Y'), parse_time({quote_adql_name(name)}, ..))"
    return (
        f"its values look like {description}: {examples_text}",
        f"map the column with the format of each style, the most frequent first, {call}; or write {text_hint}",
    )


def _are_few_exceptions(exception_count: int, value_count: int) -> bool:
    """Check whether so few of the values are exceptions that the others decide."""
    return exception_count <= max(MAX_EXCEPTION_SHARE * value_count, min(MAX_EXAMPLES, value_count // 4))


def _format_exceptional_values(places: pa.Array, values: pa.Array, odd: pa.Array) -> str:
    """Name the first odd values and their rows."""
    odd_places = places.filter(odd).to_pylist()
    odd_values = values.filter(odd).to_pylist()
    pairs = zip(odd_places[:MAX_EXAMPLES], odd_values[:MAX_EXAMPLES], strict=True)
    examples_text = ", ".join(f"{place} {word[:30]!r}" for place, word in pairs)
    if len(odd_values) > MAX_EXAMPLES:
        return f"{examples_text} ..."
    return examples_text


def _find_separator_options(values: pa.Array, *, has_decimal_points: bool) -> str:
    """Find the options by which texts with commas are numbers: `1.234,5`, `1,234.5`; empty if there are none."""
    if not pc.any(pc.match_substring(values, ",")).as_py():
        return ""
    has_dots = pc.any(pc.match_substring(values, ".")).as_py()
    fitting_options: list[str] = []
    for option_text, pattern in _COMMA_NUMBER_PATTERNS.items():
        if (has_decimal_points and "decimal" in option_text) or ("'.'" in option_text and not has_dots):
            continue
        if pc.all(pc.match_substring_regex(values, pattern)).as_py():
            fitting_options.append(option_text)
    return " or ".join(fitting_options)
