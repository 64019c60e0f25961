"""YAML as a person would write it: scalars that read back as they are, flow maps, folded text, comments."""

from __future__ import annotations

import re
import textwrap
from typing import Any

_PLAIN_SCALAR_PATTERN = re.compile(r"[A-Za-z/][A-Za-z0-9 ._;/*+-]*[A-Za-z0-9_*]|[A-Za-z]")
_RESERVED_YAML_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "none"}
MAX_COMMENT_CHARACTERS = 600
MIN_FOLDED_CHARACTERS = 90  # shorter texts stand on the line of their key
MAX_FOLDED_LINE_CHARACTERS = 110


def format_yaml_scalar(value: object) -> str:
    """Serialize a scalar so that it reads back as it is: plain where nothing can go wrong, else in quotes.

    Parameters
    ----------
    value
        Text, number, truth value.

    Returns
    -------
    text
        YAML.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    text = str(value)
    is_plain = _PLAIN_SCALAR_PATTERN.fullmatch(text) and text.lower() not in _RESERVED_YAML_WORDS
    if is_plain and "  " not in text and " -" not in text:
        return text
    if '"' in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    escaped_text = "".join(map(_escape_character, text))
    return f'"{escaped_text}"'


def _escape_character(character: str) -> str:
    """Write a character as it stands between double quotes."""
    if character in '"\\':
        return f"\\{character}"
    if character == "\n":
        return "\\n"
    if character.isprintable() and character != "\ufeff":
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    if code < 0x10000:
        return f"\\u{code:04x}"
    return f"\\U{code:08x}"


def format_yaml_flow_value(value: Any) -> str:
    """Serialize a value on one line.

    Parameters
    ----------
    value
        Maps, lists, scalars.

    Returns
    -------
    text
        YAML.
    """
    if isinstance(value, dict):
        entries = [
            f"{format_yaml_scalar(key)}: {format_yaml_flow_value(inner_value)}" for key, inner_value in value.items()
        ]
        return "{" + ", ".join(entries) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(format_yaml_flow_value, value)) + "]"
    return format_yaml_scalar(value)


def format_yaml_comment(text: str) -> str:
    """Make a text fit for a comment: one line of at most 600 characters.

    Parameters
    ----------
    text
        Any text.

    Returns
    -------
    line
        The text, with blanks instead of what cannot be printed.
    """
    printable_text = "".join(character if character.isprintable() else " " for character in text)
    return printable_text[:MAX_COMMENT_CHARACTERS]


def format_yaml_folded_text(key: str, text: str) -> list[str]:
    """Write a long text over several lines.

    Parameters
    ----------
    key
        The key whose value the text is.
    text
        Paragraphs, which blank lines separate.

    Returns
    -------
    lines
        Lines of YAML; a short text is one line.
    """
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
    is_printable = all(paragraph.isprintable() for paragraph in paragraphs)
    if not paragraphs or not is_printable or len(text) < MIN_FOLDED_CHARACTERS:
        return [f"{key}: {format_yaml_scalar(' '.join(text.split()))}"]
    lines = [f"{key}: >-"]
    for number, paragraph in enumerate(paragraphs):
        if number > 0:
            lines.append("")
        lines += textwrap.wrap(
            paragraph,
            MAX_FOLDED_LINE_CHARACTERS,
            initial_indent="  ",
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines
