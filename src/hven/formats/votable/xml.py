"""Write XML text: escape it, and replace characters that XML cannot hold."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from hven.formats._xml_text import REPLACEMENT_CHARACTER, quote_attribute
from hven.model.literal import view_column_bytes

_ESCAPED_BYTES = re.compile(rb"[&<>\x00-\x08\x0b-\x1f]|\xef\xbf[\xbe\xbf]")
_ILLEGAL_CHARACTERS_RE2 = r"[\x00-\x08\x0B\x0C\x0E-\x1F\x{FFFE}\x{FFFF}]"


def write_xml_attribute(name: str, value: object) -> str:
    """Write `` name="value"``; write nothing for None and the empty string, for VOTable leaves empty attributes out."""
    if value is None or value == "":
        return ""
    return f" {name}={quote_attribute(str(value))}"


def escape_xml_column(array: pa.Array) -> pa.Array:
    """Escape a string column for element content; return it itself, without a copy, if nothing needs escaping."""
    if not _ESCAPED_BYTES.search(view_column_bytes(array)):
        return array
    for plain, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\r", "&#13;")):
        array = pc.replace_substring(array, plain, entity)
    return pc.replace_substring_regex(array, _ILLEGAL_CHARACTERS_RE2, REPLACEMENT_CHARACTER)


def is_ascii(array: pa.Array) -> bool:
    """Return whether a string column holds nothing but ASCII."""
    return bytes(view_column_bytes(array)).isascii()
