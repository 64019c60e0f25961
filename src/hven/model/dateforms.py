"""The forms in which people write dates, as ``parse_time`` names them, and which of them the texts of a column have."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ISO = r"^\s*(\d{4}[-/]\d{1,2}[-/]\d{1,2}([T ]\d{1,2}:\d{2}(:\d{2}(\.\d*)?)?)?|\d{4}-\d{3}(T\d{2}:\d{2}(:\d{2}(\.\d*)?)?)?|\d{8}T\d{6})Z?\s*$"  # what parse_time reads without a form
_DATED = re.compile(r"(?=.*\d).{6,26}", re.DOTALL)  # what may be a date
FORMS = (
    "%Y-%b-%d %H:%M:%S", "%Y-%b-%d %H:%M", "%Y-%b-%d", "%d-%b-%Y %H:%M:%S", "%d-%b-%Y %H:%M", "%d-%b-%Y", "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%Y", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M",
    "%m/%d/%Y", "%m/%d/%Y %I:%M:%S %p", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y", "%Y.%m.%d_%H:%M:%S_TAI", "%Y.%m.%d_%H:%M:%S", "%d %b %Y", "%Y %b %d", "%b %d %Y", "%d %B %Y", "%Y%m%d_%H%M%S", "%Y%m%d",
)  # fmt: skip


def form_of(words: Sequence[str]) -> str | None:
    """Find the form that nearly all texts have."""
    if not words or not 6 <= len(words[0]) <= 26:
        return None
    return next((form for form in FORMS if sum(_reads(word, form) for word in words) >= 0.97 * len(words)), None)


def forms_of(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Give the forms, three at most, that texts have, the first one's first, and the texts that are no dates; ``''`` is ISO 8601. No form if it is that alone, or if few are dates."""
    left, found, others = list(words), list[str](), list[str]()
    while left and len(others) <= len(words) // 4:
        likely = [form for form in ("", *FORMS) if _reads(left[0], form)] if _DATED.fullmatch(left[0]) else []
        if not likely or len(found) == 3:
            others.append(left.pop(0))
            continue
        best = max(likely, key=lambda form: sum(_reads(word, form) for word in left))
        found.append(best)
        left = [word for word in left if not _reads(word, best)]
    return ([], left) if left or (found == [""] and not others) else (found, others)


def _reads(word: str, form: str) -> bool:
    if not form:
        return re.match(ISO, word) is not None
    try:
        return 1500 < datetime.strptime(word, form).year < 2200  # noqa: DTZ007  (only whether it is one)
    except ValueError:
        return False
