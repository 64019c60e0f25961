"""Parse the text of EPN-TAP parameters: names, operators, values, ranges, numbers with units, dates.

Every error has its position in the text.
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
from hven.model.literal import to_portable_time_text

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAME_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR_PATTERN = re.compile(r"\s*(!=|<>|>=|<=|=|<|>)\s*")
_NUMBER_PATTERN = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*")
_NUMBER_REMEDY = "write a number with or without a unit (2.5, 1e14, 2um), or a range (1/2, ..2um)"
_SEXAGESIMAL_PATTERN = re.compile(
    r"\s*([-+]?)(\d{1,3})\s*([:hd°])\s*([0-5]?\d(?:\.\d*)?)\s*(?:[:m']\s*(?:([0-5]?\d(?:\.\d*)?)\s*[s\"]?)?)?\s*",
    re.IGNORECASE,
)
_SEXAGESIMAL_OPENING_PATTERN = re.compile(r"\s*[-+]?\d+\s*[:hd°]\s*\d", re.IGNORECASE)
_DATE_PATTERN = re.compile(
    r"(\d{4})(?:-(\d{3})(?!\d)|(?:-(\d{2})(?:-(\d{2}))?)?)(?:[T ](\d{2})(?::(\d{2})(?::(\d{2})(\.\d+)?)?)?)?Z?"
)
_QUOTED_PATTERN = re.compile(r'"((?:[^"]|"")*)"')
_MAX_INTEGER_DIGITS = 40  # a longer whole number becomes a float
_SEPARATORS = " \t\r\n&;"
LAST_TIME = datetime.max  # noqa: DTZ901  (UTC throughout; no period follows that of 9999-12-31)
MAX_NAMED_PARAMETERS = 12  # in a remedy


@dataclass(frozen=True, slots=True)
class ConditionValue:
    """A value, or one end of a range, and its position in the text.

    Attributes
    ----------
    text, text_offset
        The value, and its position in the text.
    is_quoted
        Whether the value is in quotes; if so, it is no keyword such as ``null``.
    is_literal
        Whether stars are ordinary characters: the value is in the double quotes of a form's field.
    is_closed
        Whether the range includes this end.
    """

    text: str
    text_offset: int
    is_quoted: bool = False
    is_literal: bool = False
    is_closed: bool = True

    @property
    def is_null(self) -> bool:
        """Whether the value asks for rows without a value."""
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
    """One end of an interval in the unit of the column: a number, or a time as ISO text."""

    value: float | str
    is_closed: bool = True


def suggest_parameters(word: str, parameter_names: Sequence[str]) -> str:
    """Suggest the parameters that are nearest to an unknown one."""
    close = difflib.get_close_matches(word.lower(), parameter_names, 3, 0.6)
    parameters_with_word = [name for name in parameter_names if word.lower() in name.split("_") and name not in close]
    close += parameters_with_word[:3]
    if close:
        return format_message("did you mean {names}?", join_messages("{one} or {other}", close[:3]))
    template = "use one of {names}"
    if len(parameter_names) > MAX_NAMED_PARAMETERS:
        template = "use one of {names} .."
    return format_message(template, ", ".join(list(parameter_names)[:MAX_NAMED_PARAMETERS]))


def parse_condition_clauses(text: str) -> tuple[ConditionClause, ...]:
    """Read all parameters; blanks, ``&`` or ``;`` separate them.

    Raises
    ------
    ParseError
        The text is no list of clauses; with the position in `text`.
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
                format_message("the name of a parameter was expected, not {sign!r}", text[offset]),
                text,
                offset,
                "write name=value",
            )
        operator = _OPERATOR_PATTERN.match(text, name.end())
        if operator is None:
            _raise_parse_error(
                format_message("the parameter {name!r} has no value", name[0]),
                text,
                name.end(),
                format_message(
                    "write {name}=value; if the value contains spaces, use quotes, as in target_name='1P Halley'",
                    name[0],
                ),
            )
        offset = operator.end()
        values: list[ConditionValue] = []
        while True:
            word, offset = _parse_condition_value(text, offset)
            values.append(word)
            comma = re.compile(r"\s*,\s*").match(text, offset)
            if comma is None:
                break
            offset = comma.end()
        operator_sign = "!="
        if operator[1] != "<>":
            operator_sign = operator[1]
        clauses.append(ConditionClause(name[0], operator_sign, tuple(values), name.start()))


def parse_field_values(text: str) -> tuple[ConditionValue, ...]:
    """Read the values of a form's field, which commas separate.

    A value in double quotes is taken as it is; a doubled quote in it stands for one.

    Raises
    ------
    ParseError
        A quote is not closed, or there is nothing between two commas.
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
            quoted_text = literal[1]
            words.append(ConditionValue(quoted_text.replace('""', '"'), offset + 1, is_quoted=True, is_literal=True))
            offset = literal.end()
            while offset < len(text) and text[offset].isspace():
                offset += 1
        else:
            end = text.find(",", offset)
            if end < 0:
                end = len(text)
            if not text[offset:end].strip():
                _raise_parse_error("a value was expected", text, offset, "write a value, or leave out the comma")
            words.append(ConditionValue(text[offset:end].rstrip(), offset))
            offset = end
        if offset == len(text):
            return tuple(words)
        if text[offset] != ",":
            _raise_parse_error(
                format_message("a comma was expected, not {sign!r}", text[offset]),
                text,
                offset,
                "separate values with commas",
            )
        offset += 1


def quote_field_value(value: str | None) -> str:
    """Write a value as `parse_field_values` reads it, in double quotes where these are needed."""
    if value is None:
        return "null"
    special = set(value) & set(',"*<>=!') or ".." in value or value != value.strip()
    if value and not special and value.lower() != "null":
        return value
    return '"{}"'.format(value.replace('"', '""'))


def _parse_condition_value(text: str, offset: int) -> tuple[ConditionValue, int]:
    if offset < len(text) and text[offset] in "\"'":
        end = text.find(text[offset], offset + 1)
        if end < 0:
            remedy = format_message("end the value with {quote}", text[offset])
            _raise_parse_error("a quote is not closed", text, offset, remedy)
        return ConditionValue(text[offset + 1 : end], offset + 1, is_quoted=True), end + 1
    end = offset
    while end < len(text) and text[end] not in _SEPARATORS + ",":
        end += 1
    if end == offset:
        _raise_parse_error("a value was expected", text, offset, "write name=value")
    return ConditionValue(text[offset:end], offset), end


def split_condition_range(
    word: ConditionValue, operator: str, text: str
) -> tuple[ConditionValue | None, ConditionValue | None]:
    """Split a range into its ends. A single value is both ends; an open end is None.

    Parameters
    ----------
    word
        The value, which may be a range.
    operator
        The operator before the value, such as ``=``.
    text
        The whole condition, for messages.

    Returns
    -------
    ends
        The lower and the upper end.
    """
    if ".." in word.text:
        sign = ".."
    elif "/" in word.text and not _is_slash_of_unit(word.text):
        sign = "/"
    else:
        sign = ""
    if not sign:
        bound = replace(word, is_closed="=" in operator)
        if operator in {">", ">="}:
            return bound, None
        if operator in {"<", "<="}:
            return None, bound
        return word, word
    if operator not in {"=", "!="}:
        _raise_parse_error(
            format_message("{op!r} takes one value, not a range", operator),
            text,
            word.text_offset,
            "write '=' before a range",
        )
    first, _, last = word.text.partition(sign)
    if not first.strip() and not last.strip():
        remedy = format_message("give at least one end: 10{sign} or {sign}20", sign)
        _raise_parse_error("the range has no ends", text, word.text_offset, remedy)
    low = high = None
    if first.strip():
        low = ConditionValue(first, word.text_offset)
    if last.strip():
        high = ConditionValue(last, word.text_offset + len(first) + len(sign))
    return low, high


def _is_slash_of_unit(text: str) -> bool:
    """Return whether the slash belongs to a unit: ``10km/s``."""
    head, _, tail = text.partition("/")
    number_match = _NUMBER_PATTERN.fullmatch(head)
    has_unit = number_match is not None and bool(number_match[2])
    return has_unit and re.match(r"\s*[A-Za-z]", tail) is not None


def parse_number_and_unit(word: ConditionValue, text: str) -> tuple[int | float, str]:
    """Read a number and its unit (``''`` if it has none). A whole number keeps all its digits.

    Parameters
    ----------
    word
        The value.
    text
        The whole condition, for messages.

    Returns
    -------
    number_and_unit
        The number in that unit, and the unit.
    """
    number_match = _NUMBER_PATTERN.fullmatch(word.text)
    if number_match is None:
        _raise_parse_error(
            format_message("{text!r} is not a number", word.text),
            text,
            word.text_offset,
            _NUMBER_REMEDY,
        )
    unit = number_match[2].replace("µ", "u").replace("μ", "u").replace("Å", "Angstrom").replace("°", "deg")
    if unit:
        try:
            unit = units.canonicalize_unit(unit)
        except ValueError as error:
            _raise_parse_error(str(error), text, word.text_offset + number_match.start(2), _NUMBER_REMEDY)
    number_text = number_match[1]
    if len(number_text) <= _MAX_INTEGER_DIGITS:
        return literal.parse_number(number_text), unit
    return float(number_text), unit


def is_like_sexagesimal_angle(text: str) -> bool:
    """Return whether a text begins as an angle in hours or degrees and minutes, even if it is not a valid one."""
    return _SEXAGESIMAL_OPENING_PATTERN.match(text) is not None


def parse_sexagesimal_angle(text: str, *, is_right_ascension: bool) -> float | None:
    """Read ``19:02:17``, ``19h02m17s`` or ``-5d12'`` in degrees; None if a text is no such angle.

    Parameters
    ----------
    text
        The angle.
    is_right_ascension
        Whether colons separate hours, minutes and seconds.
    """
    match = _SEXAGESIMAL_PATTERN.fullmatch(text)
    if match is None:
        return None
    sign, whole, separator, minutes, seconds = match.groups()
    degrees = int(whole) + float(minutes) / 60 + float(seconds or 0) / 3600
    if separator in "hH" or (separator == ":" and is_right_ascension):
        degrees *= 15
    return -degrees if sign == "-" else degrees


def parse_time_range(
    low: ConditionValue | None, high: ConditionValue | None, text: str, *, is_timestamp_column: bool
) -> tuple[IntervalEnd | None, IntervalEnd | None]:
    """Read the ends of a time range: Julian dates, or dates that stand for a whole day, month or year.

    A date with a margin, ``2004-01-01T12:00~30 min``, is the range of the date, extended by the margin at both ends.

    Parameters
    ----------
    low, high
        The ends; None for an open end.
    text
        The whole condition, for messages.
    is_timestamp_column
        True: the column has timestamps; False: it has Julian dates.

    Returns
    -------
    ends
        The ends for the column; None for an open end.
    """
    if low is not None and low is high and "~" in low.text:
        return _parse_date_with_margin(low, text, as_timestamps=is_timestamp_column)
    if low is None:
        first = None
    else:
        first = _parse_date_period(low, text)
    if high is None:
        last = None
    else:
        last = _parse_date_period(high, text)
    if first is None or low is None:
        begin = None
    else:
        if low.is_closed or low is high:
            begin_time = first[0]
        else:
            begin_time = first[1]
        begin = IntervalEnd(value=_to_column_time(begin_time, is_timestamp_column), is_closed=low.is_closed)
    if last is None or high is None:
        return begin, None
    is_period = last[1] not in {last[0], LAST_TIME}  # a period does not include its end, where the next one begins
    if high.is_closed:
        end = last[1]
    else:
        end = last[0]
    return begin, IntervalEnd(
        value=_to_column_time(end, is_timestamp_column), is_closed=high.is_closed and not is_period
    )


def _parse_date_with_margin(word: ConditionValue, text: str, *, as_timestamps: bool) -> tuple[IntervalEnd, IntervalEnd]:
    """Read a date with a margin before and after it: ``2004-01-01T12:00~30 min``."""
    date_text, _, context = word.text.partition("~")
    begin, end = _parse_date_period(replace(word, text=date_text), text)
    text_offset = word.text_offset + len(date_text) + 1
    value, unit = parse_number_and_unit(replace(word, text=context, text_offset=text_offset), text)
    try:
        seconds = value * units.compute_unit_factor(unit or "d", "s")
        margin = timedelta(seconds=seconds)
        first = begin - margin
        last = end + margin
    except (ValueError, OverflowError):
        unit = ""
    if not unit or value < 0:
        _raise_parse_error(
            format_message("{text!r} is not a duration", context.strip()),
            text,
            text_offset,
            "write a duration after the time, such as 2004-01-01T12:00~30 min; the units are s, min, h, d and yr",
        )
    range_begin = IntervalEnd(value=_to_column_time(first, as_timestamps))
    range_end = IntervalEnd(value=_to_column_time(last, as_timestamps), is_closed=begin == end)
    return range_begin, range_end


def _parse_date_period(word: ConditionValue, text: str) -> tuple[datetime, datetime]:
    """Return the begin and the end of the period that a date stands for."""
    date_text = word.text.strip()
    date_match = _DATE_PATTERN.fullmatch(date_text)
    value = _NUMBER_PATTERN.fullmatch(date_text)
    with contextlib.suppress(ValueError, OverflowError):  # there is no such day
        if date_match is not None and (len(date_text) == 4 or "-" in date_text):
            return _parse_calendar_period(date_match)
        days = None
        if value is not None:
            days = _to_julian_date(float(value[1]), value[2].lower())
        if days is not None:
            exact = datetime(1970, 1, 1) + timedelta(days=days - 2_440_587.5)  # noqa: DTZ001  (UTC throughout)
            return exact, exact
    # to_plain_time also reads an offset from UTC, second 60 and 24:00
    plain_time = None
    if ":" in date_text:
        plain_time = to_portable_time_text(date_text)
    if plain_time is not None:
        exact = datetime.fromisoformat(plain_time)
        return exact, exact
    remedy = "write 2004, 2004-01, 2004-01-31, 2004-031, 2004-01-31T12:00:00, a Julian date, or 53000mjd"
    message = format_message("{text!r} is not a date", word.text)
    raise ParseError(message, text=text, offset=word.text_offset, remedy=remedy)


def _to_julian_date(value: float, unit: str) -> float | None:
    """Return the Julian date of a value; None if it is outside the years 1 to 9999."""
    value = value + 2_400_000.5 if unit == "mjd" else value
    if unit in {"", "d", "jd", "mjd"} and 1_721_426 <= value <= 5_373_484:
        return value
    return None


def _parse_calendar_period(date_match: re.Match[str]) -> tuple[datetime, datetime]:
    year = int(date_match[1])
    month = int(date_match[3] or 1)
    day = int(date_match[4] or 1)
    hour = int(date_match[5] or 0)
    minute = int(date_match[6] or 0)
    second = int(date_match[7] or 0)
    begin = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001  (UTC throughout)
    if date_match[2]:
        begin += timedelta(days=int(date_match[2]) - 1)
        if begin.year != year:
            raise ValueError
    if date_match[8]:
        exact = begin + timedelta(seconds=float(date_match[8]))
        return exact, exact
    if date_match[5]:
        return begin, begin
    try:
        if date_match[4] or date_match[2]:
            end = begin + timedelta(days=1)
        elif date_match[3]:
            end = datetime(year + month // 12, month % 12 + 1, 1)  # noqa: DTZ001
        else:
            end = datetime(year + 1, 1, 1)  # noqa: DTZ001
    except (ValueError, OverflowError):
        end = LAST_TIME
    return begin, end


def _to_column_time(instant: datetime, as_timestamps: bool) -> float | str:
    if as_timestamps:
        return instant.isoformat()
    since = instant - datetime(1970, 1, 1)  # noqa: DTZ001
    return 2_440_587.5 + since / timedelta(days=1)


def _raise_parse_error(message: str, text: str, offset: int, remedy: str = "") -> NoReturn:
    raise ParseError(message, text=text, offset=offset, remedy=remedy)
