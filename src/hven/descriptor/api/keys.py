"""Keys that a package adds to descriptors: their records, and what converts values."""

from __future__ import annotations

from hven.descriptor._collection_context import InheritedCollectionKeys
from hven.descriptor._column_expressions import parse_written_expression
from hven.descriptor._columns import build_constant
from hven.descriptor._package_keys import (
    CollectionDescriptorKey,
    CollectionKeyValue,
    KeyReferenceSection,
    QueryColumnFinder,
    TableDescriptorKey,
    TableDescriptorKeyValue,
)
from hven.descriptor._row_links import LinkExpressionParser
from hven.descriptor._sync_policies import Duration

__all__ = [
    "CollectionDescriptorKey",
    "CollectionKeyValue",
    "Duration",
    "InheritedCollectionKeys",
    "KeyReferenceSection",
    "LinkExpressionParser",
    "QueryColumnFinder",
    "TableDescriptorKey",
    "TableDescriptorKeyValue",
    "build_constant",
    "parse_written_expression",
]
