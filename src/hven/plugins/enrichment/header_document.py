"""Read FITS headers as row documents: as they are, as lines, or in the `<pre>` of a page."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from hven.sources import fits_headers
from hven.sources.api.documents import DocumentFormat, InvalidDocumentError, is_web_page

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_CARD_PATTERN = re.compile(r"(?:HIERARCH\s+)?([A-Z][A-Z0-9_. -]*?)\s*=(?:\s|$)(.*)", re.DOTALL)
_PRE_PATTERN = re.compile(r"<pre(?:[^>]*>(.*?)(</pre))?", re.IGNORECASE | re.DOTALL)
_HTML_TAG_PATTERN = re.compile(r"</?[A-Za-z][^<>]*>")
_END_LINE_PATTERN = re.compile(rb"(?:^|\r?\n)END[ \t]*\r?(?:\n|$)")


def _create_header_lookup(body: bytes, keywords: Collection[str]) -> Callable[[str], object]:
    cards = _select_cards(_split_header_lines(body), keywords)
    return fits_headers.parse_cards(cards, keywords).card_values.get


def _select_cards(lines: list[str], keywords: Collection[str]) -> list[str]:
    """Find the cards of some keywords, with those that continue them."""
    cards: list[str] = []
    is_continued = False
    for line in lines:
        key_text = line.partition("=")[0].removeprefix("HIERARCH")
        key = " ".join(key_text.split())
        continues = is_continued and line.startswith("CONTINUE")
        is_continued = key in keywords or continues
        if is_continued and (card := _convert_line_to_card(line)) is not None:
            cards.append(card)
    return cards


def _split_header_lines(body: bytes) -> list[str]:
    """Cut a header into lines.

    Raises
    ------
    InvalidDocumentError
        The document is no header, or has no end.
    """
    if body.startswith(b"SIMPLE  =") and not re.search(rb"[\r\n]", body[:81]):
        text = body.decode("latin-1")
        cards = [text[at : at + 80] for at in range(0, len(text), 80)]
        end = next((number for number, card in enumerate(cards) if card.rstrip() == "END"), None)
        if end is None:
            raise InvalidDocumentError("it ends in the middle of the header")
        return cards[:end]
    text = body.decode("utf-8", "replace")
    is_page = is_web_page(body)
    complaint = "it is not a header"
    if is_page:
        complaint = "it is a web page without a header"
        preformatted_text = _HTML_TAG_PATTERN.sub("", _extract_pre_sections(text))
        text = html.unescape(preformatted_text)
    lines = text.splitlines()
    if not any(_convert_line_to_card(line) for line in lines):
        raise InvalidDocumentError(complaint)
    if not is_page and _END_LINE_PATTERN.search(body) is None:
        raise InvalidDocumentError("it ends in the middle of the header")
    return lines


def _extract_pre_sections(text: str) -> str:
    """Return the text in all `<pre>` sections of a page."""
    sections = []
    for match in _PRE_PATTERN.finditer(text):
        if not match[2]:
            raise InvalidDocumentError("it ends in the middle of the header")
        sections.append(match[1])
    return "\n".join(sections)


def _convert_line_to_card(line: str) -> str | None:
    """Write a line as a card has it: keywords in their eight columns, longer ones behind HIERARCH."""
    line = line.rstrip()
    if line[8:10] == "= " or line.startswith(("CONTINUE", "COMMENT ", "HISTORY ")):
        return line
    match = _CARD_PATTERN.match(line.lstrip())
    if match is None:
        return None
    key = " ".join(match[1].split())
    value_text = match[2]
    if len(key) <= 8 and " " not in key:
        return f"{key:8}= {value_text}"
    return f"HIERARCH {key} = {value_text}"


DOCUMENT = DocumentFormat(create_lookup=_create_header_lookup)
