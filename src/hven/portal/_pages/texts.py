"""The words of the pages: English stands in the templates and the code, the other languages in catalogues of gettext, ``texts/<language>.po``."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from hven.model import cached, plugins

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

HERE = Path(__file__).parent.parent / "texts"
ENGLISH = "en"
COOKIE = "hven_language"


@lru_cache(maxsize=1)
def languages() -> tuple[str, ...]:
    """List all languages that pages are written in, English first."""
    return (ENGLISH, *sorted(path.stem for path in HERE.glob("*.po")))


@lru_cache(maxsize=32)
def texts(language: str, section: str = "pages") -> Mapping[str, str]:
    """Return English -> `language`, of the ``pages`` (made on the server), the ``browser`` (its scripts) and ``faults``."""
    found = dict(_catalogue(language).get(section, {}))
    if section == "pages":
        for group in ("functions", "panes", "protocols"):
            for record in plugins.records(group).values():
                found |= record.texts.get(language, {})
    return found


@lru_cache(maxsize=8)
def _catalogue(language: str) -> Mapping[str, Mapping[str, str]]:
    """Read what is translated, by its context."""
    found: dict[str, dict[str, str]] = {}
    if language != ENGLISH:
        from polib import pofile  # noqa: PLC0415  (for readers of other languages)

        for one in pofile(str(HERE / f"{language}.po")).translated_entries():
            found.setdefault(one.msgctxt, {})[one.msgid] = one.msgstr
    return found


def spoken(request: Request, usual: str = ENGLISH) -> str:
    """Choose the language of an answer: what the address says (``?lang=``), what was chosen before (a cookie), what the browser asks for, `usual`."""
    for chosen in (request.query_params.get("lang"), request.cookies.get(COOKIE)):
        if chosen in languages():
            return chosen
    return _accepted(request.headers.get("accept-language", ""), usual)


@cached(256)
def _accepted(header: str, usual: str = ENGLISH) -> str:
    """Read Accept-Language (RFC 9110 section 12.5.4); what cannot be read counts for nothing."""
    best, weight = usual, 0.0
    for item in header.split(","):
        name, _, quality = item.strip().partition(";q=")
        try:
            value = float(quality) if quality else 1.0
        except ValueError:
            continue
        short = name.strip().lower().partition("-")[0]
        if short in languages() and value > weight:
            best, weight = short, value
    return best
