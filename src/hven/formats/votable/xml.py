"""XML text: escaping, and what to do with characters that XML cannot hold."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from hven.model.literal import characters

REPLACEMENT = "\ufffd"
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_NEEDS_CARE = re.compile(rb"[&<>\x00-\x08\x0b-\x1f]|\xef\xbf[\xbe\xbf]")
_ILLEGAL_RE2 = r"[\x00-\x08\x0B\x0C\x0E-\x1F\x{FFFE}\x{FFFF}]"


def legal(text: str) -> str:
    """Replace characters that no XML document may hold by U+FFFD."""
    return _ILLEGAL.sub(REPLACEMENT, text)


def escape(text: str) -> str:
    """Escape element content."""
    return legal(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")


def attribute(name: str, value: object) -> str:
    """Write `` name="value"``; nothing for None and for the empty string (VOTable wants empty attributes left out)."""
    if value is None or value == "":
        return ""
    return f" {name}={quoted(str(value))}"


def quoted(value: str) -> str:
    """Write an attribute's value with its quotes."""
    shown = escape(value).replace('"', "&quot;").replace("\n", "&#10;").replace("\t", "&#9;")
    return f'"{shown}"'


def escape_column(array: pa.Array) -> pa.Array:
    """Escape a string column for element content; untouched (and not copied) if nothing needs it."""
    if not _NEEDS_CARE.search(characters(array)):
        return array
    for plain, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\r", "&#13;")):
        array = pc.replace_substring(array, plain, entity)
    return pc.replace_substring_regex(array, _ILLEGAL_RE2, REPLACEMENT)


def is_ascii(array: pa.Array) -> bool:
    """Return whether a string column holds nothing but ASCII."""
    return bytes(characters(array)).isascii()
