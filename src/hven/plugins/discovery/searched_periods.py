"""Recognise periods in the words of a search, such as ``June 2012``, ``15 juin 2012`` or ``2012-06-01..2012-06-30``."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.table import find_begin_and_end_time_columns, set_column_epochs
from hven.plugins.discovery.value_index import normalize_search_text

if TYPE_CHECKING:
    from hven.model.table import Table

_MONTH_NAMES = (  # English and French, without accents
    "january janvier",
    "february fevrier",
    "march mars",
    "april avril",
    "may mai",
    "june juin",
    "july juillet",
    "august aout",
    "september septembre",
    "october octobre",
    "november novembre",
    "december decembre",
)
MONTH_NUMBERS = {name: number for number, names in enumerate(_MONTH_NAMES, 1) for name in names.split()}
MIN_MONTH_LETTERS = 3  # of a shortened name: jan, sept, janv
_YEAR = r"[12]\d{3}"
_ISO_DATE = rf"{_YEAR}(?:-\d\d(?:-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?Z?)?)?)?"
_NAMED_DATE = (
    r"(?:(?P<day>\d\d?)(?:st|nd|rd|th|er)?\s+)?(?P<month>[^\W\d_]{3,})\.?,?\s+"
    rf"(?:(?P<late_day>\d\d?),?\s+)?(?P<year>{_YEAR})"
)
_NAMED_PATTERN = re.compile(rf"(?<!\w){_NAMED_DATE}(?![\w-])", re.IGNORECASE)
_RANGE_PATTERN = re.compile(
    rf"(?<![\w.-])(?:from |between |de |du |entre )?(?P<begin>{_ISO_DATE})"
    rf"(?:\s*(?:\.\.|/|\N{{EN DASH}})\s*|\s+(?:to|until|and|à|au|et)\s+)(?P<end>{_ISO_DATE})(?![\w-])",
    re.IGNORECASE,
)
_DATE_PATTERN = re.compile(rf"(?<![\w./-])(?P<begin>{_ISO_DATE})(?![\w.-])")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchedPeriod:
    """A period in the words of a search.

    Attributes
    ----------
    begin, end
        Its first and last day, month, year or time as in ISO 8601; the same for one day, month or year.
    other_words
        The words without the period.
    """

    begin: str
    end: str
    other_words: str

    @property
    def text(self) -> str:
        """The period as a condition: one date stands for the whole day, month or year."""
        if self.begin == self.end:
            return self.begin
        return f"{self.begin}..{self.end}"


def find_searched_period(words: str, language: str = "en") -> SearchedPeriod | None:
    """Find the period in the words of a search; None if there is none, or if it is not a valid date.

    Parameters
    ----------
    words
        Words as the reader wrote them, in English or French.
    language
        Language of the page: `mars` is a month only in French.
    """
    text = _replace_named_dates(words, language)
    for pattern in (_RANGE_PATTERN, _DATE_PATTERN):
        match = pattern.search(text)
        if match is None:
            continue
        begin = match["begin"].replace(" ", "T").removesuffix("Z")
        end = begin
        if pattern is _RANGE_PATTERN:
            end = match["end"].replace(" ", "T").removesuffix("Z")
        other_words = " ".join(f"{text[: match.start()]} {text[match.end() :]}".split())
        if _is_valid_date(begin) and _is_valid_date(end) and begin <= end[: len(begin)]:
            return SearchedPeriod(begin=begin, end=end, other_words=other_words)
    return None


def _replace_named_dates(words: str, language: str) -> str:
    """Replace dates with names of months by ISO dates: ``15 June 2012`` becomes ``2012-06-15``."""

    def replace_match(match: re.Match[str]) -> str:
        is_english_mars = match["month"].lower() == "mars" and language != "fr"
        is_planet = is_english_mars or match["month"] == "Mars"
        if is_planet:
            number = None
        else:
            number = _find_month_number(match["month"])
        if number is None:
            return match[0]
        day = match["day"] or match["late_day"]
        return f"{match['year']}-{number:02d}" + (f"-{int(day):02d}" if day else "")

    return _NAMED_PATTERN.sub(replace_match, words)


def _find_month_number(word: str) -> int | None:
    """Return the number of a month by its name, or by the beginning of the name if only one month begins so."""
    folded_word = normalize_search_text(word)
    if folded_word in MONTH_NUMBERS:
        return MONTH_NUMBERS[folded_word]
    if len(folded_word) < MIN_MONTH_LETTERS:
        return None
    numbers = {number for name, number in MONTH_NUMBERS.items() if name.startswith(folded_word)}
    if len(numbers) == 1:
        return numbers.pop()
    return None


def _is_valid_date(text: str) -> bool:
    """Return whether a date, month or year exists."""
    numbers = [int(part) for part in re.split(r"[-T:]", text.partition(".")[0])]
    year, month, day, hour, minute, second = [*numbers, *(0, 1, 1, 0, 0, 0)[len(numbers) :]]
    if not 1 <= month <= 12 or not 1 <= day <= calendar.monthrange(year, month)[1]:
        return False
    return hour < 24 and minute < 60 and second < 60


def build_period_conditions(period: SearchedPeriod, table: Table) -> tuple[tuple[str, str], ...]:
    """Build the conditions that rows of a table are in a period, as parameters of an address; empty without times.

    Parameters
    ----------
    period
        The period.
    table
        A table.
    """
    begin, end = find_begin_and_end_time_columns(set_column_epochs(table))
    if begin is None or end is None:
        return ()
    if begin.name == end.name:
        return ((begin.name, period.text),)
    for low_ending, high_ending in (("_min", "_max"), ("min", "max")):
        stem = begin.name.removesuffix(low_ending)
        if stem and begin.name == stem + low_ending and end.name == stem + high_ending:
            return ((stem, period.text),)
    return ((begin.name, f"..{period.end}"), (end.name, f"{period.begin}.."))
