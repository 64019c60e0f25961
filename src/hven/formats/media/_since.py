"""Since when times of a file are counted: a date, what the file's name has, cards of its header; as microseconds since 1970."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from hven.model.errors import SourceError, say

DAY = 86_400_000_000
ZEROS = {"JD": 2_440_587.5, "MJD": 40_587.0}  # days at 1970-01-01
_LIKELY = {"JD": (2_086_000.0, 2_817_000.0), "MJD": (9_000.0, 110_000.0)}  # of a card that is a number
_DATE = re.compile(r"(?:(\d{4})\D?(\d\d)\D?(\d\d)|(\d\d)/(\d\d)/(\d{4}))(?:\D+(\d\d):(\d\d)(?::(\d\d)(?:[.:](\d{1,9}))?)?)?\s*(?:Z|UTC?)?")  # fmt: skip
_PATTERNS = {"Y": r"\d{4}", "y": r"\d\d", "m": r"\d\d", "d": r"\d\d", "j": r"\d{3}", "H": r"\d\d", "M": r"\d\d", "S": r"\d\d"}  # fmt: skip


def moment(since: str, cards: dict[str, Any], name: str) -> int:
    """Read when numbers are 0: a date; what a file's name has; cards."""
    if "%" in since:
        pattern = re.sub(r"%([YymdjHMS])", lambda found: f"(?P<{found[1]}>{_PATTERNS[found[1]]})", re.escape(since).replace(r"\%", "%"))  # fmt: skip
        match = re.search(pattern, name)
        if match is None:
            raise SourceError(say("the name {file} has no date as {pattern}", name, since))
        said = {key: int(value) for key, value in match.groupdict().items()}
        year = said.get("Y", 1900 + said.get("y", 70) + 100 * (said.get("y", 70) < 70))
        text = f"{year:04d}-{said.get('m', 1):02d}-{said.get('d', 1):02d}T{said.get('H', 0):02d}:{said.get('M', 0):02d}:{said.get('S', 0):02d}"  # fmt: skip
        return _dated(text, name) + (said.get("j", 1) - 1) * DAY
    if not since:
        raise SourceError(say("nothing in {file} says since when times are counted", name), remedy=say("time: {{of: .., since: a date, JD, or cards: DATE-OBS}}"))  # fmt: skip
    if _DATE.fullmatch(since.replace("T", " ").strip()):
        return _dated(since, name)
    words = [cards.get(word.upper()) for word in since.split()]
    if None in words:
        raise SourceError(say("{file} has no card {name}", name, since))
    if len(words) == 1 and isinstance(words[0], int | float):
        zero = next((one for one, (low, high) in _LIKELY.items() if low <= words[0] <= high), None)
        if zero is not None:
            return round((words[0] - ZEROS[zero]) * DAY)
    return _dated(" ".join(map(str, words)), name)


def _dated(text: str, name: str) -> int:
    match = _DATE.fullmatch(text.replace("T", " ").strip())
    try:
        if match is None:
            raise ValueError  # noqa: TRY301
        year, month, day = (match[1], match[2], match[3]) if match[1] else (match[6], match[5], match[4])
        whole = int(np.datetime64(f"{year}-{month}-{day}", "D").astype(np.int64)) * DAY
        seconds = int(match[7] or 0) * 3600 + int(match[8] or 0) * 60 + int(match[9] or 0)
        return whole + seconds * 1_000_000 + int((match[10] or "").ljust(6, "0")[:6])
    except ValueError:
        raise SourceError(say("{text!r} of {file} is no date", text[:50], name)) from None


__all__ = ["DAY", "ZEROS", "moment"]
