"""Read records of JSON as row documents: a key is a path of names and numbers, `a.b.0`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hven.sources.api.documents import DocumentFormat, InvalidDocumentError, is_web_page

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


def _create_json_lookup(body: bytes, keys: Collection[str]) -> Callable[[str], object]:  # noqa: ARG001  (it parses all)
    try:
        record = json.loads(body)
    except (ValueError, RecursionError) as error:
        complaint = f"it is not JSON: {error}"
        if is_web_page(body):
            complaint = "it is a web page, not JSON"
        raise InvalidDocumentError(complaint) from None
    if not isinstance(record, dict):
        raise InvalidDocumentError("it is not a JSON object")

    def find_value(key: str) -> object:
        if key in record:
            return record[key]
        value: object = record
        for step in key.split("."):
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
                value = value[int(step)]
            else:
                return None
        return value

    return find_value


DOCUMENT = DocumentFormat(create_lookup=_create_json_lookup)
