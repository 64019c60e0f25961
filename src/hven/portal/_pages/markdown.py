"""Render the Markdown of a site as HTML.

Raw HTML stays text, addresses are checked, headings are placed below the page's own.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt
from markupsafe import Markup

if TYPE_CHECKING:
    from pathlib import Path

    from markdown_it.token import Token

MAX_FILE_BYTES = 1_000_000
_ABSOLUTE_ADDRESS_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|//")


@lru_cache(maxsize=1)
def _create_markdown_parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False, "linkify": False, "typographer": False}).enable("table")


def render_markdown(
    text: str, *, heading_offset: int = 1, base_address: str = "", is_first_paragraph_only: bool = False
) -> Markup:
    """Render Markdown as HTML.

    Parameters
    ----------
    text
        The Markdown.
    heading_offset
        Number of levels by which headings are lowered; the page has a heading of the first level already.
    base_address
        Address of the folder of the text, put before relative addresses of pictures and pages.
    is_first_paragraph_only
        Whether to render only the first paragraph.

    Returns
    -------
    html
        HTML in which raw HTML of the text is escaped.
    """
    parser = _create_markdown_parser()
    tokens = parser.parse(text)
    if is_first_paragraph_only:
        paragraph_places = (
            place for place, token in enumerate(tokens) if token.type == "paragraph_open" and not token.level
        )
        first_place = next(paragraph_places, len(tokens))
        tokens = tokens[first_place : first_place + 3]  # opening, text and end of the paragraph
    for token in tokens:
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(int(token.tag[1]) + heading_offset, 6)}"
        elif token.type in {"th_open", "td_open"}:
            align = str(token.attrs.pop("style", ""))  # the pages allow no styles in attributes
            if "right" in align:
                token.attrs["class"] = "n"
        for child in token.children or ():
            if child.type == "image":
                _resolve_picture_address(child, base_address)
            elif child.type == "link_open":
                _resolve_link_address(child, base_address)
    # the HTML is safe: the parser keeps raw HTML as text and escapes all texts
    html = parser.renderer.render(tokens, parser.options, {})
    return Markup(html.replace("<pre>", '<pre tabindex="0">'))  # noqa: S704  (the keyboard reaches what scrolls)


def _resolve_picture_address(token: Token, base_address: str) -> None:
    """Complete the address of a picture; browsers load it when it comes into view."""
    address = str(token.attrs.get("src", ""))
    is_absolute = _ABSOLUTE_ADDRESS_PATTERN.match(address) or address.startswith("/")
    token.attrs["src"] = address if is_absolute else f"{base_address}{address}"
    token.attrs["loading"] = "lazy"


def _resolve_link_address(token: Token, base_address: str) -> None:
    """Complete the address of a link to another page of the site; mark links to other sites."""
    address = str(token.attrs.get("href", ""))
    if _ABSOLUTE_ADDRESS_PATTERN.match(address):
        token.attrs["rel"] = "noopener"
    elif base_address and not address.startswith(("/", "#", "?")):
        token.attrs["href"] = f"{base_address}{address.removesuffix('.md')}"


def split_first_heading(text: str) -> tuple[str, str]:
    """Split a text into its first heading, as plain text, and the rest.

    Parameters
    ----------
    text
        The Markdown.

    Returns
    -------
    heading_and_rest
        The heading, empty if the text does not begin with one, and the Markdown below it.
    """
    lines = text.lstrip("\ufeff\n\r ").splitlines()
    if lines and lines[0].startswith("# "):
        return lines[0][2:].strip().rstrip("#").strip(), "\n".join(lines[1:]).strip()
    return "", text


def extract_plain_text_summary(text: str, max_characters: int = 300) -> str:
    """Return the first words of Markdown as plain text."""
    words: list[str] = []
    for token in _create_markdown_parser().parse(text):
        for child in token.children or ():
            if child.type in {"text", "code_inline"}:
                words.append(child.content)
            elif child.type in {"softbreak", "hardbreak"}:
                words.append(" ")
        words.append(" ")
    plain_text = " ".join("".join(words).split())
    if len(plain_text) <= max_characters:
        return plain_text
    return f"{plain_text[:max_characters].rsplit(' ', 1)[0]} …"


def read_site_file(path: Path, site_directory: Path) -> str | None:
    """Read a file of a site; None if it does not exist, is outside of the site or larger than `MAX_FILE_BYTES`."""
    try:
        resolved_path = path.resolve()
        is_site_file = resolved_path.is_relative_to(site_directory.resolve()) and resolved_path.is_file()
        if not is_site_file or resolved_path.stat().st_size > MAX_FILE_BYTES:
            return None
        return resolved_path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def read_translated_or_original_file(path: Path, site_directory: Path, language: str) -> str | None:
    """Read the translation of a file, like ``home.fr.md`` beside ``home.md``; without one, the file itself."""
    translated_path = path.with_name(f"{path.stem}.{language}{path.suffix}")
    translated_text = read_site_file(translated_path, site_directory)
    if translated_text is None:
        return read_site_file(path, site_directory)
    return translated_text
