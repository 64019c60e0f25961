"""Cells and documents of JSON, written from Arrow batches."""

from __future__ import annotations

from hven.formats._json_cells import write_json_cells, write_json_document, write_json_error

__all__ = ["write_json_cells", "write_json_document", "write_json_error"]
