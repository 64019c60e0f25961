"""Services that answer with pages of JSON documents."""

from __future__ import annotations

from hven.sources._reading.json_pages import (
    JsonPage,
    PagedJsonOptions,
    PagedJsonSource,
    parse_json_document,
    set_query_parameters,
)
from hven.sources._reading.json_records import find_list_start
from hven.sources._reading.json_schema import LEAF_CELL, JsonLeafColumn, JsonNodeSummary

__all__ = [
    "LEAF_CELL",
    "JsonLeafColumn",
    "JsonNodeSummary",
    "JsonPage",
    "PagedJsonOptions",
    "PagedJsonSource",
    "find_list_start",
    "parse_json_document",
    "set_query_parameters",
]
