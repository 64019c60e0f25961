"""Extract the values of columns from documents of any form (`hven.sources.api.documents.DocumentFormat`)."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from hven.model import plugins
from hven.sources import fits_headers

if TYPE_CHECKING:
    from collections.abc import Sequence

WHOLE_TEXT_KEY = "*"  # the key of the whole text
_NUMBER_PATTERN = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?\s*")


def extract_values(
    body: bytes, document_form: str, columns: Sequence[tuple[Sequence[str], str, bool]]
) -> tuple[list[Any], str]:
    """Extract the values of columns from a document.

    Parameters
    ----------
    columns
        Keys of each column, kind of its values (``int``, ``float``, ``bool``, ``text``), and whether it is an array of
        them.

    Returns
    -------
    values, doubt
        A value for each column, as JSON has it; and a description of what could not be read.

    Raises
    ------
    InvalidDocumentError
        The document does not have this form.
    """
    keys = {key for column_keys, _, _ in columns for key in column_keys}
    form = plugins.load_plugin("documents", document_form).DOCUMENT
    find_value = form.create_lookup(body, keys)
    doubts: list[str] = []
    values: list[Any] = []
    for column_keys, kind, is_array in columns:
        cells: list[Any] = []
        for key in column_keys:
            if key == WHOLE_TEXT_KEY:
                cells.append(body.decode("utf-8", "replace"))
            else:
                cells.append(_convert_value(find_value(key), kind, key, doubts))
        if is_array:
            values.append(cells)
        else:
            values.append(cells[0])
    return values, "; ".join(doubts)


def _convert_value(raw_value: object, kind: str, key: str, doubts: list[str]) -> object:
    """Convert a raw value to the wanted kind; a value that does not fit becomes None and adds to `doubts`."""
    if raw_value is None or raw_value == "":
        return None
    if kind == "text":
        return _format_text(raw_value)
    if kind == "bool":
        if isinstance(raw_value, bool) or raw_value in {"T", "F", "true", "false"}:
            return raw_value in {True, "T", "true"}
        doubts.append(f"{key} is {str(raw_value)[:40]!r}, which is neither true nor false")
        return None
    number = _to_number(raw_value, kind)
    if number is None:
        doubts.append(f"{key} is {str(raw_value)[:40]!r}, which is not a number")
    return number


def _format_text(raw_value: object) -> str | None:
    if isinstance(raw_value, (dict, list)):
        return json.dumps(raw_value, ensure_ascii=False)
    if isinstance(raw_value, (bool, str, int, float)):
        return fits_headers.format_value(raw_value)
    return str(raw_value)


def _to_number(raw_value: object, kind: str) -> float | int | None:
    """Convert a raw value to ``float`` or ``int``; None: it does not fit."""
    if isinstance(raw_value, str) and _NUMBER_PATTERN.fullmatch(raw_value):
        if kind == "float" or not raw_value.strip(" +-").isdigit():
            raw_value = float(raw_value.upper().replace("D", "E"))
        else:
            raw_value = int(raw_value)
    if not isinstance(raw_value, (int, float)) or isinstance(raw_value, bool) or not math.isfinite(raw_value):
        return None
    if kind == "float":
        return float(raw_value)
    if float(raw_value).is_integer() and abs(raw_value) < 2**63:
        return int(raw_value)
    return None
