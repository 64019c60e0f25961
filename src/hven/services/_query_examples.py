"""Write DALI examples (DALI 1.1 section 2.3) as XHTML with RDFa, which programs and people can read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.formats import escape_xml

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hven.model.resource import ExampleQuery

STANDARD_ID = "ivo://ivoa.net/std/DALI#examples"
MEDIA_TYPE = "application/xhtml+xml"
VOCABULARY_URI = "http://www.ivoa.net/rdf/examples#"


def write_examples_document(examples: Iterable[ExampleQuery]) -> bytes:
    """Write the document; each example has an id that is derived from its name."""
    used_ids: set[str] = set()
    example_elements = []
    for example in examples:
        element_id = _make_unique_id(example.name, used_ids)
        example_elements.append(_write_example(example, element_id))
    content = "".join(example_elements)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE html>\n'
        '<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">\n<head><title>Examples</title></head>\n'
        f'<body vocab="{VOCABULARY_URI}">\n<h1>Example queries</h1>\n{content}</body>\n</html>\n'
    ).encode()


def _write_example(example: ExampleQuery, element_id: str) -> str:
    parts = [
        f'<div typeof="example" id="{element_id}" resource="#{element_id}">\n',
        f'<h2 property="name">{escape_xml(example.name)}</h2>\n',
    ]
    if example.description:
        parts.append(f"<p>{escape_xml(example.description)}</p>\n")
    parts.append(f'<pre property="query">{escape_xml(example.query)}</pre>\n')
    table_elements = [f' <code property="table">{escape_xml(name)}</code>' for name in example.tables]
    if table_elements:
        parts.append(f"<p>Tables:{''.join(table_elements)}</p>\n")
    parts.append("</div>\n")
    return "".join(parts)


def _make_unique_id(name: str, used_ids: set[str]) -> str:
    """Make an unused XML Name of ASCII letters, digits and ``-``."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    slug = slug[:60].rstrip("-")
    if slug[:1].isalpha():
        base_id = slug
    else:
        base_id = f"example-{slug}".rstrip("-")
    element_id = base_id
    number = 1
    while element_id in used_ids:
        number += 1
        element_id = f"{base_id}-{number}"
    used_ids.add(element_id)
    return element_id
