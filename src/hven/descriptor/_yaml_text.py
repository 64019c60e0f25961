"""YAML as a person would write it: scalars that read back as they are, flow maps, folded text, comments."""

from __future__ import annotations

import re
import textwrap
from typing import Any

_PLAIN_SCALAR_PATTERN = re.compile(r"[A-Za-z/][A-Za-z0-9 ._;/*+-]*[A-Za-z0-9_*]|[A-Za-z]")
_RESERVED_YAML_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "none"}


def format_scalar(value: object) -> str:
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
    if (
        _PLAIN_SCALAR_PATTERN.fullmatch(text)
        and text.lower() not in _RESERVED_YAML_WORDS
        and "  " not in text
        and " -" not in text
    ):
        return text
    if '"' in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    escaped_parts = []
    for sign in text:
        if sign in '"\\':
            escaped_parts.append("\\" + sign)
        elif sign == "\n":
            escaped_parts.append("\\n")
        elif sign.isprintable() and sign != "\ufeff":
            escaped_parts.append(sign)
        else:
            code = ord(sign)
            escaped_parts.append(
                f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
            )
    return '"' + "".join(escaped_parts) + '"'


def format_flow_value(value: Any) -> str:
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
        return "{" + ", ".join(f"{format_scalar(key)}: {format_flow_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(format_flow_value(item) for item in value) + "]"
    return format_scalar(value)


def format_comment(text: str) -> str:
    """Make text fit for a comment: one line, nothing that ends it."""
    return "".join(sign if sign.isprintable() else " " for sign in text)[:600]


def format_folded_text(key: str, text: str) -> list[str]:
    """Write a long text over several lines."""
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
    if not paragraphs or not all(part.isprintable() for part in paragraphs) or len(text) < 90:
        return [f"{key}: {format_scalar(' '.join(text.split()))}"]
    lines = [f"{key}: >-"]
    for number, part in enumerate(paragraphs):
        lines += [""] * bool(number)
        lines += textwrap.wrap(
            part, 110, initial_indent="  ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
    return lines
