"""Since when times of a file are counted: a date, what the file's name has, cards of its header.

As microseconds since 1970.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from hven.model.errors import SourceError, format_message

DAY_MICROSECONDS = 86_400_000_000
UNIX_EPOCH_DAYS = {"JD": 2_440_587.5, "MJD": 40_587.0}  # days at 1970-01-01
_LIKELY_DAY_RANGES = {"JD": (2_086_000.0, 2_817_000.0), "MJD": (9_000.0, 110_000.0)}  # of a card that is a number
_DATE_PATTERN = re.compile(
    r"(?:(\d{4})\D?(\d\d)\D?(\d\d)|(\d\d)/(\d\d)/(\d{4}))(?:\D+(\d\d):(\d\d)(?::(\d\d)(?:[.:](\d{1,9}))?)?)?\s*(?:Z|UTC?)?"
)
_DATE_FIELD_PATTERNS = {
    "Y": r"\d{4}",
    "y": r"\d\d",
    "m": r"\d\d",
    "d": r"\d\d",
    "j": r"\d{3}",
    "H": r"\d\d",
    "M": r"\d\d",
    "S": r"\d\d",
}


def read_reference_time(since: str, cards: dict[str, Any], name: str) -> int:
    """Read when numbers are 0: a date; what a file's name has; cards."""
    if "%" in since:
        pattern = re.sub(
            r"%([YymdjHMS])",
            lambda directive_match: f"(?P<{directive_match[1]}>{_DATE_FIELD_PATTERNS[directive_match[1]]})",
            re.escape(since).replace(r"\%", "%"),
        )
        match = re.search(pattern, name)
        if match is None:
            raise SourceError(format_message("the name {file} has no date as {pattern}", name, since))
        date_fields = {key: int(value) for key, value in match.groupdict().items()}
        year = date_fields.get("Y", 1900 + date_fields.get("y", 70) + 100 * (date_fields.get("y", 70) < 70))
        text = f"{year:04d}-{date_fields.get('m', 1):02d}-{date_fields.get('d', 1):02d}T{date_fields.get('H', 0):02d}:{date_fields.get('M', 0):02d}:{date_fields.get('S', 0):02d}"
        date = _parse_date(text, name)
        return date + (date_fields.get("j", 1) - 1) * DAY_MICROSECONDS
    if not since:
        raise SourceError(
            format_message("nothing in {file} says since when times are counted", name),
            remedy=format_message("time: {{of: .., since: a date, JD, or cards: DATE-OBS}}"),
        )
    if _DATE_PATTERN.fullmatch(since.replace("T", " ").strip()):
        return _parse_date(since, name)
    words = [cards.get(word.upper()) for word in since.split()]
    if None in words:
        raise SourceError(format_message("{file} has no card {name}", name, since))
    if len(words) == 1 and isinstance(words[0], int | float):
        day_count_name = next(
            (day_count for day_count, (low, high) in _LIKELY_DAY_RANGES.items() if low <= words[0] <= high), None
        )
        if day_count_name is not None:
            return round((words[0] - UNIX_EPOCH_DAYS[day_count_name]) * DAY_MICROSECONDS)
    return _parse_date(" ".join(map(str, words)), name)


def _parse_date(text: str, name: str) -> int:
    match = _DATE_PATTERN.fullmatch(text.replace("T", " ").strip())
    try:
        if match is None:
            raise ValueError  # noqa: TRY301
        if match[1]:
            year, month, day = (match[1], match[2], match[3])
        else:
            year, month, day = (match[6], match[5], match[4])
        day_start = int(np.datetime64(f"{year}-{month}-{day}", "D").astype(np.int64)) * DAY_MICROSECONDS
        seconds = int(match[7] or 0) * 3600 + int(match[8] or 0) * 60 + int(match[9] or 0)
        return day_start + seconds * 1_000_000 + int((match[10] or "").ljust(6, "0")[:6])
    except ValueError:
        raise SourceError(format_message("{text!r} of {file} is no date", text[:50], name)) from None


__all__ = ["DAY_MICROSECONDS", "UNIX_EPOCH_DAYS", "read_reference_time"]
