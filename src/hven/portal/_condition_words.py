"""The text of EPN-TAP parameters: names, operators, values, ranges, numbers with units, dates; every fault with its place."""

from __future__ import annotations

import contextlib
import difflib
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NoReturn

from hven.model import literal, units
from hven.model.errors import ParseError, joined, say
from hven.model.literal import to_plain_time

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r"\s*(!=|<>|>=|<=|=|<|>)\s*")
_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*")
_DATE = re.compile(
    r"(\d{4})(?:-(\d{3})(?!\d)|(?:-(\d{2})(?:-(\d{2}))?)?)(?:[T ](\d{2})(?::(\d{2})(?::(\d{2})(\.\d+)?)?)?)?Z?"
)
_LITERAL = re.compile(r'"((?:[^"]|"")*)"')
_DIGITS = 40  # of a whole number that is kept as it is
_BETWEEN = " \t\r\n&;"


@dataclass(frozen=True, slots=True)
class Word:
    """A value, or one end of a range, and where it stands.

    Attributes
    ----------
    quoted
        It stands in quotes: it is no word of ours, such as ``null``.
    literal
        Its stars are stars: it stands in the double quotes of a form's field.
    closed
        The end itself belongs to the range.
    """

    text: str
    at: int
    quoted: bool = False
    literal: bool = False
    closed: bool = True

    @property
    def is_null(self) -> bool:
        """Whether it asks for rows without a value."""
        return not self.quoted and self.text.lower() == "null"


@dataclass(frozen=True, slots=True)
class Clause:
    """``name op value, value ..``."""

    name: str
    op: str
    values: tuple[Word, ...]
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One end of an interval, as the column has it: a number, or an ISO text."""

    value: float | str
    closed: bool = True


def nearest(word: str, known: Sequence[str]) -> str:
    """Name the parameters that are nearest to a wrong one."""
    close = difflib.get_close_matches(word.lower(), known, 3, 0.6)
    close += [name for name in known if word.lower() in name.split("_") and name not in close][:3]
    return (
        say("did you mean {names}?", joined("{one} or {other}", close[:3]))
        if close
        else say("known: {names} ..", ", ".join(list(known)[:12]))
    )


def read(text: str) -> tuple[Clause, ...]:
    """Read all parameters; between them blanks, ``&`` or ``;``.

    Raises
    ------
    ParseError
        With the place in `text`.
    """
    clauses: list[Clause] = []
    at = 0
    while True:
        while at < len(text) and text[at] in _BETWEEN:
            at += 1
        if at == len(text):
            return tuple(clauses)
        name = _NAME.match(text, at)
        if name is None:
            _fail(say("a name of a parameter was expected, not {sign!r}", text[at]), text, at, "write name=value")
        operator = _OPERATOR.match(text, name.end())
        if operator is None:
            _fail(
                say("{name} has no value", name[0]),
                text,
                name.end(),
                say("write {name}=value; a value with blanks stands in quotes: target_name='1P Halley'", name[0]),
            )
        at = operator.end()
        values: list[Word] = []
        while True:
            word, at = _value(text, at)
            values.append(word)
            more = re.compile(r"\s*,\s*").match(text, at)
            if more is None:
                break
            at = more.end()
        clauses.append(Clause(name[0], "!=" if operator[1] == "<>" else operator[1], tuple(values), name.start()))


def field(text: str) -> tuple[Word, ...]:
    """Read the values of a form's field: commas part them, blanks do not; a value in double quotes is taken as it is, two quotes in it are one.

    Raises
    ------
    ParseError
        A quote that is not closed, or nothing between two commas.
    """
    words: list[Word] = []
    at = 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if at < len(text) and text[at] == '"':
            literal = _LITERAL.match(text, at)
            if literal is None:
                _fail("a quote is not closed", text, at, 'end the value with "')
            words.append(Word(literal[1].replace('""', '"'), at + 1, quoted=True, literal=True))
            at = literal.end()
            while at < len(text) and text[at].isspace():
                at += 1
        else:
            end = text.find(",", at)
            end = len(text) if end < 0 else end
            if not text[at:end].strip():
                _fail("a value was expected", text, at, "write a value, or leave the comma out")
            words.append(Word(text[at:end].rstrip(), at))
            at = end
        if at == len(text):
            return tuple(words)
        if text[at] != ",":
            _fail(say("a comma was expected, not {sign!r}", text[at]), text, at, "part values by commas")
        at += 1


def write_value(value: str | None) -> str:
    """Write a value as `field` reads it; in double quotes what would be read otherwise."""
    if value is None:
        return "null"
    special = set(value) & set(',"*<>=!') or ".." in value or value != value.strip()
    if value and not special and value.lower() != "null":
        return value
    return '"{}"'.format(value.replace('"', '""'))


def _value(text: str, at: int) -> tuple[Word, int]:
    if at < len(text) and text[at] in "\"'":
        end = text.find(text[at], at + 1)
        if end < 0:
            _fail("a quote is not closed", text, at, say("end the value with {quote}", text[at]))
        return Word(text[at + 1 : end], at + 1, quoted=True), end + 1
    end = at
    while end < len(text) and text[end] not in _BETWEEN + ",":
        end += 1
    if end == at:
        _fail("a value was expected", text, at, "write name=value")
    return Word(text[at:end], at), end


def span(word: Word, op: str, text: str) -> tuple[Word | None, Word | None]:
    """Cut a range into its ends; one value is both; an end that is left out is None."""
    sign = ".." if ".." in word.text else "/" if "/" in word.text and not _units_only(word.text) else ""
    if not sign:
        shut = replace(word, closed="=" in op)
        return {">": (shut, None), ">=": (shut, None), "<": (None, shut), "<=": (None, shut)}.get(op, (word, word))
    if op not in {"=", "!="}:
        _fail(say("{op} takes one value, not a range", op), text, word.at, "write = before a range")
    first, _, last = word.text.partition(sign)
    if not first.strip() and not last.strip():
        _fail("a range without ends", text, word.at, say("give at least one: 10{sign} or {sign}20", sign))
    ends = (Word(first, word.at), Word(last, word.at + len(first) + len(sign)))
    return ends[0] if first.strip() else None, ends[1] if last.strip() else None


def _units_only(text: str) -> bool:
    """Return whether the stroke belongs to a unit: ``10km/s``."""
    head, _, tail = text.partition("/")
    found = _NUMBER.fullmatch(head)
    return found is not None and bool(found[2]) and re.match(r"\s*[A-Za-z]", tail) is not None


def number(word: Word, text: str) -> tuple[int | float, str]:
    """Read a number and its unit, ``''`` if it has none; a whole number keeps its digits."""
    found = _NUMBER.fullmatch(word.text)
    if found is None:
        _fail(
            say("{text!r} is no number", word.text),
            text,
            word.at,
            "a number, perhaps with a unit: 2.5, 1e14, 2um; ranges: 1/2, ..2um",
        )
    unit = found[2].replace("µ", "u").replace("μ", "u").replace("Å", "Angstrom").replace("°", "deg")
    if unit:
        try:
            unit = units.check(unit)
        except ValueError as error:
            _fail(str(error), text, word.at + found.start(2))
    return literal.number(found[1]) if len(found[1]) <= _DIGITS else float(found[1]), unit


def when(low: Word | None, high: Word | None, text: str, *, stamps: bool) -> tuple[End | None, End | None]:
    """Read the ends of a time: dates, which stand for all of their day, month or year, and Julian dates.

    Parameters
    ----------
    stamps
        True: the column has timestamps, else Julian dates.

    A date and a time around it, ``2004-01-01T12:00~30 min``, is a range: what the date stands for, longer by so much at both ends.
    """
    if low is not None and low is high and "~" in low.text:
        return _about(low, text, stamps=stamps)
    first = None if low is None else _moment(low, text)
    last = None if high is None else _moment(high, text)
    begin = (
        None
        if first is None or low is None
        else End(value=_as(first[0] if low.closed or low is high else first[1], stamps), closed=low.closed)
    )
    if last is None or high is None:
        return begin, None
    whole = last[1] != last[0]  # a day ends where the next begins, and that one is not in it any more
    end = last[1] if high.closed else last[0]
    return begin, End(value=_as(end, stamps), closed=high.closed and not whole)


def _about(word: Word, text: str, *, stamps: bool) -> tuple[End, End]:
    """Read a date and how long before and after it: ``2004-01-01T12:00~30 min``."""
    given, _, around = word.text.partition("~")
    begin, end = _moment(replace(word, text=given), text)
    value, unit = number(replace(word, text=around, at=word.at + len(given) + 1), text)
    try:
        pause = timedelta(seconds=value * units.factor(unit or "d", "s"))
        first, last = begin - pause, end + pause
    except (ValueError, OverflowError):
        unit = ""
    if not unit or value < 0:
        _fail(
            say("{text!r} is no length of time", around.strip()),
            text,
            word.at + len(given) + 1,
            "write T~30 min; units: s, min, h, d, yr",
        )
    return End(value=_as(first, stamps)), End(value=_as(last, stamps), closed=begin == end)


def _moment(word: Word, text: str) -> tuple[datetime, datetime]:
    """Return begin and end of what a date stands for."""
    given = word.text.strip()
    found, value = _DATE.fullmatch(given), _NUMBER.fullmatch(given)
    with contextlib.suppress(ValueError, OverflowError):  # there is no such day
        if found is not None and (len(given) == 4 or "-" in given):
            return _period(found)
        if value is not None and (days := _days(float(value[1]), value[2].lower())) is not None:
            exact = datetime(1970, 1, 1) + timedelta(days=days - 2_440_587.5)  # noqa: DTZ001  (UTC throughout)
            return exact, exact
    # an offset from UTC, second 60, 24:00: as every reader has them
    if ":" in given and (plain := to_plain_time(given)) is not None:
        exact = datetime.fromisoformat(plain)
        return exact, exact
    remedy = "write 2004, 2004-01, 2004-01-31, 2004-031, 2004-01-31T12:00:00, a Julian date, or 53000mjd"
    raise ParseError(say("{text!r} is no date", word.text), text=text, offset=word.at, remedy=remedy)


def _days(value: float, unit: str) -> float | None:
    """Return the Julian date that is meant, if it can be one."""
    value = value + 2_400_000.5 if unit == "mjd" else value
    return value if unit in {"", "d", "jd", "mjd"} and 1_721_426 <= value <= 5_373_484 else None


def _period(found: re.Match[str]) -> tuple[datetime, datetime]:
    year, month, day = int(found[1]), int(found[3] or 1), int(found[4] or 1)
    begin = datetime(year, month, day, int(found[5] or 0), int(found[6] or 0), int(found[7] or 0))  # noqa: DTZ001  (UTC throughout)
    if found[2]:
        begin += timedelta(days=int(found[2]) - 1)
        if begin.year != year:
            raise ValueError
    if found[8]:
        exact = begin + timedelta(seconds=float(found[8]))
        return exact, exact
    if found[5]:
        return begin, begin
    if found[4] or found[2]:
        return begin, begin + timedelta(days=1)
    if found[3]:
        return begin, datetime(year + month // 12, month % 12 + 1, 1)  # noqa: DTZ001
    return begin, datetime(year + 1, 1, 1)  # noqa: DTZ001


def _as(moment: datetime, stamps: bool) -> float | str:
    if stamps:
        return moment.isoformat()
    since = moment - datetime(1970, 1, 1)  # noqa: DTZ001
    return 2_440_587.5 + since / timedelta(days=1)


def _fail(message: str, text: str, at: int, remedy: str = "") -> NoReturn:
    raise ParseError(message, text=text, offset=at, remedy=remedy)
