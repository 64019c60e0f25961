"""Find the time from which the times of a file are counted: a date, a part of the file's name, or cards of its header.

It is returned as microseconds since 1970.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import numpy as np

from hven.model.errors import SourceError, format_message
from hven.plugins.series.time_texts import DAY_MICROSECONDS

UNIX_EPOCH_DAYS = {"JD": 2_440_587.5, "MJD": 40_587.0}  # days at 1970-01-01
_LIKELY_DAY_RANGES = {"JD": (2_086_000.0, 2_817_000.0), "MJD": (9_000.0, 110_000.0)}  # of a card that is a number
_DATE_PATTERN = re.compile(
    r"(?:(\d{4})\D?(\d\d)\D?(\d\d)|(\d\d)/(\d\d)/(\d{4}))"
    r"(?:\D+(\d\d):(\d\d)(?::(\d\d)(?:[.:](\d{1,9}))?)?)?\s*(?:Z|UTC?)?"
)
_DIRECTIVE_DIGITS = {"Y": 4, "j": 3}  # others have two


def read_reference_time(reference_spec: str, cards: dict[str, Any], file_name: str) -> int:
    """Read the time from which numbers count: a date, a pattern for the file's name, or names of cards."""
    if "%" in reference_spec:
        return _read_time_from_name(reference_spec, file_name)
    if not reference_spec:
        raise SourceError(
            format_message("{file} does not contain the reference time", file_name),
            remedy=format_message(
                "write `time: {of: .., since: ..}`, where `since` is a date, JD, or header cards such as DATE-OBS"
            ),
        )
    if _DATE_PATTERN.fullmatch(reference_spec.replace("T", " ").strip()):
        return _parse_date(reference_spec, file_name)
    words = [cards.get(word.upper()) for word in reference_spec.split()]
    if None in words:
        missing_name = reference_spec.split()[words.index(None)]
        raise SourceError(format_message("{file} has no card {name!r}", file_name, missing_name))
    if len(words) == 1 and isinstance(words[0], int | float):
        for day_count, (low, high) in _LIKELY_DAY_RANGES.items():
            if low <= words[0] <= high:
                return round((words[0] - UNIX_EPOCH_DAYS[day_count]) * DAY_MICROSECONDS)
    return _parse_date(" ".join(map(str, words)), file_name)


def _read_time_from_name(name_format: str, file_name: str) -> int:
    """Read the date in a file's name, which is where a format of `strptime` says."""
    escaped_format = re.escape(name_format).replace(r"\%", "%")
    pattern = re.sub(
        "%([YymdjHMS])", lambda directive: rf"\d{{{_DIRECTIVE_DIGITS.get(directive[1], 2)}}}", escaped_format
    )
    match = re.search(pattern, file_name)
    if match is None:
        raise SourceError(
            format_message("the file name {file} has no date in the format {pattern!r}", file_name, name_format)
        )
    try:
        date = dt.datetime.strptime(match[0], name_format)  # noqa: DTZ007  (UTC, or the time scale of the file)
    except ValueError:
        raise SourceError(format_message("{text!r} in {file} is not a date", match[0][:50], file_name)) from None
    return int(np.datetime64(date, "us").astype(np.int64))


def _parse_date(text: str, name: str) -> int:
    match = _DATE_PATTERN.fullmatch(text.replace("T", " ").strip())
    try:
        if match is None:
            raise ValueError  # noqa: TRY301
        if match[1]:
            year, month, day = (match[1], match[2], match[3])
        else:
            year, month, day = (match[6], match[5], match[4])
        day_number = int(np.datetime64(f"{year}-{month}-{day}", "D").astype(np.int64))
        hours, minutes, seconds = (int(match[group] or 0) for group in (7, 8, 9))
        second_of_day = hours * 3600 + minutes * 60 + seconds
        microseconds = int((match[10] or "").ljust(6, "0")[:6])
        return day_number * DAY_MICROSECONDS + second_of_day * 1_000_000 + microseconds
    except ValueError:
        raise SourceError(format_message("{text!r} in {file} is not a date", text[:50], name)) from None
