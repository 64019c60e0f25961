"""Markdown that a site's people write, as HTML.

Raw HTML stays text, addresses are checked, headings go below the page's own.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt
from markupsafe import Markup

if TYPE_CHECKING:
    from pathlib import Path

MAX_FILE_BYTES = 1_000_000  # bytes of a file
_ABSOLUTE_ADDRESS_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|//")


@lru_cache(maxsize=1)
def _create_parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False, "linkify": False, "typographer": False}).enable("table")


def render_markdown(
    text: str, *, heading_offset: int = 1, base_address: str = "", first_paragraph_only: bool = False
) -> Markup:
    """Write Markdown as HTML.

    Parameters
    ----------
    heading_offset
        Levels that headings go down: the page has a first one already.
    base_address
        Address before those of pictures and pages that stand beside the text.
    first_paragraph_only
        True: its first paragraph alone.
    """
    parser = _create_parser()
    tokens = parser.parse(text)
    if first_paragraph_only:
        first_token = next(
            (
                token_number
                for token_number, candidate in enumerate(tokens)
                if candidate.type == "paragraph_open" and not candidate.level
            ),
            len(tokens),
        )
        tokens = tokens[first_token : first_token + 3]  # its end is the third
    for token in tokens:
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(int(token.tag[1]) + heading_offset, 6)}"
        elif token.type in {"th_open", "td_open"}:
            align = str(token.attrs.pop("style", ""))  # the pages allow no styles in attributes
            if "right" in align:
                token.attrs["class"] = "n"
        for child in token.children or ():
            if child.type == "image":
                address = str(child.attrs.get("src", ""))
                if _ABSOLUTE_ADDRESS_PATTERN.match(address) or address.startswith("/"):
                    child.attrs["src"] = address
                else:
                    child.attrs["src"] = f"{base_address}{address}"
                child.attrs["loading"] = "lazy"
            elif child.type == "link_open":
                address = str(child.attrs.get("href", ""))
                if _ABSOLUTE_ADDRESS_PATTERN.match(address):
                    child.attrs["rel"] = "noopener"
                elif base_address and not address.startswith(("/", "#", "?")):
                    child.attrs["href"] = f"{base_address}{address.removesuffix('.md')}"
    # what was written is the reader's work: raw HTML is off, and it escapes all texts
    html = parser.renderer.render(tokens, parser.options, {})
    return Markup(html.replace("<pre>", '<pre tabindex="0">'))  # noqa: S704  (what scrolls is reached by keyboard)


def split_first_heading(text: str) -> tuple[str, str]:
    """Cut the heading off that a text begins with; return it as plain text, and the rest."""
    lines = text.lstrip("\ufeff\n\r ").splitlines()
    if lines and lines[0].startswith("# "):
        return lines[0][2:].strip().rstrip("#").strip(), "\n".join(lines[1:]).strip()
    return "", text


def to_plain_text(text: str, max_characters: int = 300) -> str:
    """Return the first words of Markdown as plain text."""
    words: list[str] = []
    for token in _create_parser().parse(text):
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
    """Read a file of a site; None: it is not there, leads out of the site, or is far too big."""
    try:
        resolved_path = path.resolve()
        if (
            not resolved_path.is_relative_to(site_directory.resolve())
            or not resolved_path.is_file()
            or resolved_path.stat().st_size > MAX_FILE_BYTES
        ):
            return None
        return resolved_path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def read_translated_file(path: Path, site_directory: Path, language: str) -> str | None:
    """Read a file in a language: ``home.fr.md`` beside ``home.md``; else the one without a language."""
    translated_text = read_site_file(path.with_name(f"{path.stem}.{language}{path.suffix}"), site_directory)
    if translated_text is None:
        return read_site_file(path, site_directory)
    return translated_text
