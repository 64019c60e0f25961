"""Markdown that a site's people write, as HTML: raw HTML stays text, addresses are checked, headings go below the page's own."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt
from markupsafe import Markup

if TYPE_CHECKING:
    from pathlib import Path

LONGEST = 1_000_000  # bytes of a file
_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|//")


@lru_cache(maxsize=1)
def _reader() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False, "linkify": False, "typographer": False}).enable("table")


def shown(text: str, *, below: int = 1, pictures: str = "", opening: bool = False) -> Markup:
    """Write Markdown as HTML.

    Parameters
    ----------
    below
        Levels that headings go down: the page has a first one already.
    pictures
        Address before those of pictures and pages that stand beside the text.
    opening
        True: its first paragraph alone.
    """
    reader = _reader()
    tokens = reader.parse(text)
    if opening:
        begin = next(
            (at for at, one in enumerate(tokens) if one.type == "paragraph_open" and not one.level), len(tokens)
        )
        tokens = tokens[begin : begin + 3]  # its end is the third
    for token in tokens:
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(int(token.tag[1]) + below, 6)}"
        elif token.type in {"th_open", "td_open"}:
            align = str(token.attrs.pop("style", ""))  # the pages allow no styles in attributes
            if "right" in align:
                token.attrs["class"] = "n"
        for child in token.children or ():
            if child.type == "image":
                address = str(child.attrs.get("src", ""))
                child.attrs["src"] = (
                    address if _ELSEWHERE.match(address) or address.startswith("/") else f"{pictures}{address}"
                )
                child.attrs["loading"] = "lazy"
            elif child.type == "link_open":
                address = str(child.attrs.get("href", ""))
                if _ELSEWHERE.match(address):
                    child.attrs["rel"] = "noopener"
                elif pictures and not address.startswith(("/", "#", "?")):
                    child.attrs["href"] = f"{pictures}{address.removesuffix('.md')}"
    # what was written is the reader's work: raw HTML is off, and it escapes all texts
    html = reader.renderer.render(tokens, reader.options, {})
    return Markup(html.replace("<pre>", '<pre tabindex="0">'))  # noqa: S704  (what scrolls is reached by keyboard)


def first_heading(text: str) -> tuple[str, str]:
    """Cut the heading off that a text begins with; return it as plain text, and the rest."""
    lines = text.lstrip("\ufeff\n\r ").splitlines()
    if lines and lines[0].startswith("# "):
        return lines[0][2:].strip().rstrip("#").strip(), "\n".join(lines[1:]).strip()
    return "", text


def plain(text: str, most: int = 300) -> str:
    """Return the first words of Markdown as plain text."""
    words: list[str] = []
    for token in _reader().parse(text):
        for child in token.children or ():
            if child.type in {"text", "code_inline"}:
                words.append(child.content)
            elif child.type in {"softbreak", "hardbreak"}:
                words.append(" ")
        words.append(" ")
    found = " ".join("".join(words).split())
    return found if len(found) <= most else f"{found[:most].rsplit(' ', 1)[0]} …"


def read(path: Path, root: Path) -> str | None:
    """Read a file of a site; None: it is not there, leads out of the site, or is far too big."""
    try:
        real = path.resolve()
        if not real.is_relative_to(root.resolve()) or not real.is_file() or real.stat().st_size > LONGEST:
            return None
        return real.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def spoken(path: Path, root: Path, language: str) -> str | None:
    """Read a file in a language: ``home.fr.md`` beside ``home.md``; else the one without a language."""
    found = read(path.with_name(f"{path.stem}.{language}{path.suffix}"), root)
    return read(path, root) if found is None else found
