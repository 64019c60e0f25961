"""Write texts and attributes of XML documents: escape them, and replace characters that XML does not allow."""

from __future__ import annotations

import re

REPLACEMENT_CHARACTER = "\ufffd"
_ILLEGAL_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def replace_illegal_characters(text: str) -> str:
    """Replace the characters that no XML document may contain with U+FFFD (XML 1.0, 2.2).

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    text
        The text itself if XML allows all of its characters.
    """
    return _ILLEGAL_CHARACTERS.sub(REPLACEMENT_CHARACTER, text)


def escape_xml(text: str) -> str:
    """Escape a text for the content of an element.

    Parameters
    ----------
    text
        Any text; characters that XML does not allow are replaced.

    Returns
    -------
    xml
        The text with entities, with ``&#13;`` for a carriage return, which a parser would turn into a line feed.
    """
    legal_text = replace_illegal_characters(text)
    escaped = legal_text.replace("&", "&amp;").replace("<", "&lt;")
    return escaped.replace(">", "&gt;").replace("\r", "&#13;")


def quote_attribute(value: str) -> str:
    """Write the value of an attribute with its quotes; line breaks and tabs survive a parser.

    Parameters
    ----------
    value
        Any text; characters that XML does not allow are replaced.

    Returns
    -------
    xml
        The value in double quotes.
    """
    escaped = escape_xml(value).replace('"', "&quot;")
    escaped = escaped.replace("\n", "&#10;").replace("\t", "&#9;")
    return f'"{escaped}"'


def write_xml_attribute(name: str, value: object) -> str:
    """Write `` name="value"``; write nothing for None and the empty string, for VOTable leaves empty attributes out.

    Parameters
    ----------
    name
        Name of the attribute.
    value
        Its value.
    """
    if value is None or value == "":
        return ""
    return f" {name}={quote_attribute(str(value))}"
