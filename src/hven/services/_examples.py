"""DALI examples (DALI 1.1 section 2.3): XHTML with RDFa, which programs read and people too."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hven.model.resource import Example

STANDARD = "ivo://ivoa.net/std/DALI#examples"
MEDIA_TYPE = "application/xhtml+xml"
VOCABULARY = "http://www.ivoa.net/rdf/examples#"


def document(examples: Iterable[Example]) -> bytes:
    """Write the document; each example's id is made from its name, and stays while the name does."""
    taken: set[str] = set()
    inside = "".join(_example(item, _id(item.name, taken)) for item in examples)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE html>\n'
        '<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">\n<head><title>Examples</title></head>\n'
        f'<body vocab="{VOCABULARY}">\n<h1>Example queries</h1>\n{inside}</body>\n</html>\n'
    ).encode()


def _example(item: Example, ident: str) -> str:
    tables = "".join(f' <code property="table">{_text(name)}</code>' for name in item.tables)
    return (
        f'<div typeof="example" id="{ident}" resource="#{ident}">\n<h2 property="name">{_text(item.name)}</h2>\n'
        + (f"<p>{_text(item.description)}</p>\n" if item.description else "")
        + f'<pre property="query">{_text(item.query)}</pre>\n'
        + (f"<p>Tables:{tables}</p>\n" if tables else "")
        + "</div>\n"
    )


def _text(text: str) -> str:
    """Escape; characters that XML cannot hold are left out."""
    return escape(re.sub("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text))


def _id(name: str, taken: set[str]) -> str:
    """Make a new XML Name of ASCII letters, digits and ``-``."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60].rstrip("-")
    base = plain if plain[:1].isalpha() else f"example-{plain}".rstrip("-")
    ident, number = base, 1
    while ident in taken:
        number += 1
        ident = f"{base}-{number}"
    taken.add(ident)
    return ident
