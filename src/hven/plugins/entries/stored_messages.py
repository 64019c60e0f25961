"""Messages in the system state: pages show them later, in the language of their reader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.model.errors import TranslatableMessage, format_message
from hven.model.table import LocalizedText, build_localized_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def encode_message(message: object) -> object:
    """Encode a message, or a value of one, as a JSON value.

    Parameters
    ----------
    message
        A text. Of a `TranslatableMessage`, the template and the values are kept; of a `LocalizedText`, all languages.
    """
    if isinstance(message, TranslatableMessage):
        return [message.template, *map(encode_message, message.values.values())]
    if isinstance(message, LocalizedText):
        return dict(message.texts)
    if isinstance(message, (str, int, float)):
        return message
    return str(message)


def decode_message(stored: object) -> str:
    """Decode what `encode_message` returned for a text.

    Parameters
    ----------
    stored
        A list, an object or a text.
    """
    return str(_decode_value(stored))


def encode_findings(findings: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Encode the messages of findings, whose other values are JSON values.

    Parameters
    ----------
    findings
        Findings as `decode_findings` returns them.
    """
    return [{**finding, "message": encode_message(finding["message"])} for finding in findings]


def decode_findings(stored: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Decode what `encode_findings` returned.

    Parameters
    ----------
    stored
        Findings with encoded messages.
    """
    return [{**finding, "message": decode_message(finding["message"])} for finding in stored]


def _decode_value(stored: object) -> object:
    if isinstance(stored, list):
        return format_message(str(stored[0]), *map(_decode_value, stored[1:]))
    if isinstance(stored, dict):
        return build_localized_text(stored)
    return stored
