"""DALI examples (DALI 1.1 section 2.3): XHTML with RDFa, which programs read and people too."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hven.model.resource import ExampleQuery

STANDARD_ID = "ivo://ivoa.net/std/DALI#examples"
MEDIA_TYPE = "application/xhtml+xml"
VOCABULARY_URI = "http://www.ivoa.net/rdf/examples#"


def write_examples_document(examples: Iterable[ExampleQuery]) -> bytes:
    """Write the document; each example's id is made from its name, and stays while the name does."""
    used_ids: set[str] = set()
    inside = "".join(_write_example(item, _make_unique_id(item.name, used_ids)) for item in examples)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE html>\n'
        '<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">\n<head><title>Examples</title></head>\n'
        f'<body vocab="{VOCABULARY_URI}">\n<h1>Example queries</h1>\n{inside}</body>\n</html>\n'
    ).encode()


def _write_example(item: ExampleQuery, element_id: str) -> str:
    tables = "".join(f' <code property="table">{_escape_text(name)}</code>' for name in item.tables)
    return (
        (
            f'<div typeof="example" id="{element_id}" resource="#{element_id}">\n<h2 '
            f'property="name">{_escape_text(item.name)}</h2>\n'
        )
        + (f"<p>{_escape_text(item.description)}</p>\n" if item.description else "")
        + f'<pre property="query">{_escape_text(item.query)}</pre>\n'
        + (f"<p>Tables:{tables}</p>\n" if tables else "")
        + "</div>\n"
    )


def _escape_text(text: str) -> str:
    """Escape; characters that XML cannot hold are left out."""
    return escape(re.sub("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text))


def _make_unique_id(name: str, used_ids: set[str]) -> str:
    """Make a new XML Name of ASCII letters, digits and ``-``."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60].rstrip("-")
    if plain[:1].isalpha():
        base = plain
    else:
        base = f"example-{plain}".rstrip("-")
    ident, number = base, 1
    while ident in used_ids:
        number += 1
        ident = f"{base}-{number}"
    used_ids.add(ident)
    return ident
