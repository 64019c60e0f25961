"""Descriptions of tables, from which `hven new` writes a descriptor."""

from __future__ import annotations

from hven.descriptor._table_descriptions import (
    DescribedForeignKey,
    DescribedTable,
    TableDescriptionRequest,
    TableDescriptionSignature,
    TableSetDescription,
    name_matches_pattern,
)

__all__ = [
    "DescribedForeignKey",
    "DescribedTable",
    "TableDescriptionRequest",
    "TableDescriptionSignature",
    "TableSetDescription",
    "name_matches_pattern",
]
