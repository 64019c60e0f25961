"""The text of EPN-TAP parameters: names, operators, values, ranges, numbers with units, dates.

Every fault with its place.
"""

from __future__ import annotations

import contextlib
import difflib
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NoReturn

from hven.model import literal, units
from hven.model.errors import ParseError, format_message, join_messages
from hven.model.literal import to_plain_time

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAME_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR_PATTERN = re.compile(r"\s*(!=|<>|>=|<=|=|<|>)\s*")
_NUMBER_PATTERN = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*")
_DATE_PATTERN = re.compile(
    r"(\d{4})(?:-(\d{3})(?!\d)|(?:-(\d{2})(?:-(\d{2}))?)?)(?:[T ](\d{2})(?::(\d{2})(?::(\d{2})(\.\d+)?)?)?)?Z?"
)
_QUOTED_PATTERN = re.compile(r'"((?:[^"]|"")*)"')
_MAX_INTEGER_DIGITS = 40  # of a whole number that is kept as it is
_SEPARATORS = " \t\r\n&;"


@dataclass(frozen=True, slots=True)
class ConditionValue:
    """A value, or one end of a range, and where it stands.

    Attributes
    ----------
    is_quoted
        It stands in quotes: it is no word of ours, such as ``null``.
    is_literal
        Its stars are stars: it stands in the double quotes of a form's field.
    is_closed
        The end itself belongs to the range.
    """

    text: str
    text_offset: int
    is_quoted: bool = False
    is_literal: bool = False
    is_closed: bool = True

    @property
    def is_null(self) -> bool:
        """Whether it asks for rows without a value."""
        return not self.is_quoted and self.text.lower() == "null"


@dataclass(frozen=True, slots=True)
class ConditionClause:
    """``name op value, value ..``."""

    name: str
    op: str
    values: tuple[ConditionValue, ...]
    text_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalEnd:
    """One end of an interval, as the column has it: a number, or an ISO text."""

    value: float | str
    is_closed: bool = True


def suggest_parameters(word: str, parameter_names: Sequence[str]) -> str:
    """Name the parameters that are nearest to a wrong one."""
    close = difflib.get_close_matches(word.lower(), parameter_names, 3, 0.6)
    close += [name for name in parameter_names if word.lower() in name.split("_") and name not in close][:3]
    if close:
        return format_message("did you mean {names}?", join_messages("{one} or {other}", close[:3]))
    return format_message("known: {names} ..", ", ".join(list(parameter_names)[:12]))


def parse_clauses(text: str) -> tuple[ConditionClause, ...]:
    """Read all parameters; between them blanks, ``&`` or ``;``.

    Raises
    ------
    ParseError
        With the place in `text`.
    """
    clauses: list[ConditionClause] = []
    offset = 0
    while True:
        while offset < len(text) and text[offset] in _SEPARATORS:
            offset += 1
        if offset == len(text):
            return tuple(clauses)
        name = _NAME_PATTERN.match(text, offset)
        if name is None:
            _raise_parse_error(
                format_message("a name of a parameter was expected, not {sign!r}", text[offset]),
                text,
                offset,
                "write name=value",
            )
        operator = _OPERATOR_PATTERN.match(text, name.end())
        if operator is None:
            _raise_parse_error(
                format_message("{name} has no value", name[0]),
                text,
                name.end(),
                format_message(
                    "write {name}=value; a value with blanks stands in quotes: target_name='1P Halley'", name[0]
                ),
            )
        offset = operator.end()
        values: list[ConditionValue] = []
        while True:
            word, offset = _parse_value(text, offset)
            values.append(word)
            comma = re.compile(r"\s*,\s*").match(text, offset)
            if comma is None:
                break
            offset = comma.end()
        clauses.append(
            ConditionClause(name[0], "!=" if operator[1] == "<>" else operator[1], tuple(values), name.start())
        )


def parse_field_values(text: str) -> tuple[ConditionValue, ...]:
    """Read the values of a form's field: commas part them, blanks do not.

    A value in double quotes is taken as it is, two quotes in it are one.

    Raises
    ------
    ParseError
        A quote that is not closed, or nothing between two commas.
    """
    words: list[ConditionValue] = []
    offset = 0
    while True:
        while offset < len(text) and text[offset].isspace():
            offset += 1
        if offset < len(text) and text[offset] == '"':
            literal = _QUOTED_PATTERN.match(text, offset)
            if literal is None:
                _raise_parse_error("a quote is not closed", text, offset, 'end the value with "')
            words.append(ConditionValue(literal[1].replace('""', '"'), offset + 1, is_quoted=True, is_literal=True))
            offset = literal.end()
            while offset < len(text) and text[offset].isspace():
                offset += 1
        else:
            end = text.find(",", offset)
            if end < 0:
                end = len(text)
            if not text[offset:end].strip():
                _raise_parse_error("a value was expected", text, offset, "write a value, or leave the comma out")
            words.append(ConditionValue(text[offset:end].rstrip(), offset))
            offset = end
        if offset == len(text):
            return tuple(words)
        if text[offset] != ",":
            _raise_parse_error(
                format_message("a comma was expected, not {sign!r}", text[offset]),
                text,
                offset,
                "part values by commas",
            )
        offset += 1


def write_value(value: str | None) -> str:
    """Write a value as `parse_field_values` reads it; in double quotes what would be read otherwise."""
    if value is None:
        return "null"
    special = set(value) & set(',"*<>=!') or ".." in value or value != value.strip()
    if value and not special and value.lower() != "null":
        return value
    return '"{}"'.format(value.replace('"', '""'))


def _parse_value(text: str, offset: int) -> tuple[ConditionValue, int]:
    if offset < len(text) and text[offset] in "\"'":
        end = text.find(text[offset], offset + 1)
        if end < 0:
            _raise_parse_error(
                "a quote is not closed", text, offset, format_message("end the value with {quote}", text[offset])
            )
        return ConditionValue(text[offset + 1 : end], offset + 1, is_quoted=True), end + 1
    end = offset
    while end < len(text) and text[end] not in _SEPARATORS + ",":
        end += 1
    if end == offset:
        _raise_parse_error("a value was expected", text, offset, "write name=value")
    return ConditionValue(text[offset:end], offset), end


def split_range(word: ConditionValue, operator: str, text: str) -> tuple[ConditionValue | None, ConditionValue | None]:
    """Cut a range into its ends; one value is both; an end that is left out is None."""
    if ".." in word.text:
        sign = ".."
    elif "/" in word.text and not _is_unit_stroke(word.text):
        sign = "/"
    else:
        sign = ""
    if not sign:
        bound = replace(word, is_closed="=" in operator)
        return {">": (bound, None), ">=": (bound, None), "<": (None, bound), "<=": (None, bound)}.get(
            operator, (word, word)
        )
    if operator not in {"=", "!="}:
        _raise_parse_error(
            format_message("{op} takes one value, not a range", operator),
            text,
            word.text_offset,
            "write = before a range",
        )
    first, _, last = word.text.partition(sign)
    if not first.strip() and not last.strip():
        _raise_parse_error(
            "a range without ends",
            text,
            word.text_offset,
            format_message("give at least one: 10{sign} or {sign}20", sign),
        )
    ends = (ConditionValue(first, word.text_offset), ConditionValue(last, word.text_offset + len(first) + len(sign)))
    return ends[0] if first.strip() else None, ends[1] if last.strip() else None


def _is_unit_stroke(text: str) -> bool:
    """Return whether the stroke belongs to a unit: ``10km/s``."""
    head, _, tail = text.partition("/")
    number_match = _NUMBER_PATTERN.fullmatch(head)
    return number_match is not None and bool(number_match[2]) and re.match(r"\s*[A-Za-z]", tail) is not None


def parse_number(word: ConditionValue, text: str) -> tuple[int | float, str]:
    """Read a number and its unit, ``''`` if it has none; a whole number keeps its digits."""
    number_match = _NUMBER_PATTERN.fullmatch(word.text)
    if number_match is None:
        _raise_parse_error(
            format_message("{text!r} is no number", word.text),
            text,
            word.text_offset,
            "a number, perhaps with a unit: 2.5, 1e14, 2um; ranges: 1/2, ..2um",
        )
    unit = number_match[2].replace("µ", "u").replace("μ", "u").replace("Å", "Angstrom").replace("°", "deg")
    if unit:
        try:
            unit = units.validate_unit(unit)
        except ValueError as error:
            _raise_parse_error(str(error), text, word.text_offset + number_match.start(2))
    return literal.parse_number(number_match[1]) if len(number_match[1]) <= _MAX_INTEGER_DIGITS else float(
        number_match[1]
    ), unit


def parse_time_range(
    low: ConditionValue | None, high: ConditionValue | None, text: str, *, as_timestamps: bool
) -> tuple[IntervalEnd | None, IntervalEnd | None]:
    """Read the ends of a time: dates, which stand for all of their day, month or year, and Julian dates.

    Parameters
    ----------
    as_timestamps
        True: the column has timestamps, else Julian dates.

    A date and a time around it, ``2004-01-01T12:00~30 min``, is a range: what the date stands for, longer by so much at
    both ends.
    """
    if low is not None and low is high and "~" in low.text:
        return _parse_time_around(low, text, as_timestamps=as_timestamps)
    if low is None:
        first = None
    else:
        first = _parse_period(low, text)
    if high is None:
        last = None
    else:
        last = _parse_period(high, text)
    if first is None or low is None:
        begin = None
    else:
        begin = IntervalEnd(
            value=_to_column_time(first[0] if low.is_closed or low is high else first[1], as_timestamps),
            is_closed=low.is_closed,
        )
    if last is None or high is None:
        return begin, None
    is_period = last[1] != last[0]  # a day ends where the next begins, and that one is not in it any more
    if high.is_closed:
        end = last[1]
    else:
        end = last[0]
    return begin, IntervalEnd(value=_to_column_time(end, as_timestamps), is_closed=high.is_closed and not is_period)


def _parse_time_around(word: ConditionValue, text: str, *, as_timestamps: bool) -> tuple[IntervalEnd, IntervalEnd]:
    """Read a date and how long before and after it: ``2004-01-01T12:00~30 min``."""
    date_text, _, context = word.text.partition("~")
    begin, end = _parse_period(replace(word, text=date_text), text)
    text_offset = word.text_offset + len(date_text) + 1
    value, unit = parse_number(replace(word, text=context, text_offset=text_offset), text)
    try:
        seconds = value * units.compute_factor(unit or "d", "s")
        margin = timedelta(seconds=seconds)
        first = begin - margin
        last = end + margin
    except (ValueError, OverflowError):
        unit = ""
    if not unit or value < 0:
        _raise_parse_error(
            format_message("{text!r} is no length of time", context.strip()),
            text,
            word.text_offset + len(date_text) + 1,
            "write T~30 min; units: s, min, h, d, yr",
        )
    return IntervalEnd(value=_to_column_time(first, as_timestamps)), IntervalEnd(
        value=_to_column_time(last, as_timestamps), is_closed=begin == end
    )


def _parse_period(word: ConditionValue, text: str) -> tuple[datetime, datetime]:
    """Return begin and end of what a date stands for."""
    date_text = word.text.strip()
    date_match = _DATE_PATTERN.fullmatch(date_text)
    value = _NUMBER_PATTERN.fullmatch(date_text)
    with contextlib.suppress(ValueError, OverflowError):  # there is no such day
        if date_match is not None and (len(date_text) == 4 or "-" in date_text):
            return _parse_calendar_period(date_match)
        if value is not None and (days := _to_julian_date(float(value[1]), value[2].lower())) is not None:
            exact = datetime(1970, 1, 1) + timedelta(days=days - 2_440_587.5)  # noqa: DTZ001  (UTC throughout)
            return exact, exact
    # an offset from UTC, second 60, 24:00: as every reader has them
    if ":" in date_text and (plain := to_plain_time(date_text)) is not None:
        exact = datetime.fromisoformat(plain)
        return exact, exact
    remedy = "write 2004, 2004-01, 2004-01-31, 2004-031, 2004-01-31T12:00:00, a Julian date, or 53000mjd"
    raise ParseError(
        format_message("{text!r} is no date", word.text), text=text, offset=word.text_offset, remedy=remedy
    )


def _to_julian_date(value: float, unit: str) -> float | None:
    """Return the Julian date that is meant, if it can be one."""
    value = value + 2_400_000.5 if unit == "mjd" else value
    if unit in {"", "d", "jd", "mjd"} and 1_721_426 <= value <= 5_373_484:
        return value
    return None


def _parse_calendar_period(date_match: re.Match[str]) -> tuple[datetime, datetime]:
    year = int(date_match[1])
    month = int(date_match[3] or 1)
    day = int(date_match[4] or 1)
    # UTC throughout
    begin = datetime(year, month, day, int(date_match[5] or 0), int(date_match[6] or 0), int(date_match[7] or 0))  # noqa: DTZ001
    if date_match[2]:
        begin += timedelta(days=int(date_match[2]) - 1)
        if begin.year != year:
            raise ValueError
    if date_match[8]:
        exact = begin + timedelta(seconds=float(date_match[8]))
        return exact, exact
    if date_match[5]:
        return begin, begin
    if date_match[4] or date_match[2]:
        return begin, begin + timedelta(days=1)
    if date_match[3]:
        return begin, datetime(year + month // 12, month % 12 + 1, 1)  # noqa: DTZ001
    return begin, datetime(year + 1, 1, 1)  # noqa: DTZ001


def _to_column_time(instant: datetime, as_timestamps: bool) -> float | str:
    if as_timestamps:
        return instant.isoformat()
    since = instant - datetime(1970, 1, 1)  # noqa: DTZ001
    return 2_440_587.5 + since / timedelta(days=1)


def _raise_parse_error(message: str, text: str, offset: int, remedy: str = "") -> NoReturn:
    raise ParseError(message, text=text, offset=offset, remedy=remedy)
