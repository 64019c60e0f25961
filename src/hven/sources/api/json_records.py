"""Records in documents of JSON, which are read a record at a time."""

from __future__ import annotations

from hven.sources._reading.json_records import (
    FORM_LIST,
    FORM_WHOLE,
    HEAD_BYTES,
    JsonRecordLayout,
    read_document_around_records,
    read_records,
)

__all__ = [
    "FORM_LIST",
    "FORM_WHOLE",
    "HEAD_BYTES",
    "JsonRecordLayout",
    "read_document_around_records",
    "read_records",
]
