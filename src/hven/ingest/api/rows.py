"""Rows of a source and the columns that they fill: mappings, keys, types."""

from __future__ import annotations

from hven.ingest._casting import cast_values
from hven.ingest._ledger import list_identity_columns
from hven.ingest._table_loader import open_table_sources

__all__ = ["cast_values", "list_identity_columns", "open_table_sources"]
