"""What a package proposes for its keys when `hven new` drafts a descriptor."""

from __future__ import annotations

from hven.descriptor._key_proposals import (
    ColumnGuess,
    InspectedSource,
    SampledValueRange,
    TableKeyProposal,
    quote_source_name,
)
from hven.descriptor._package_keys import load_package_table_keys
from hven.descriptor._yaml_text import format_yaml_flow_value, format_yaml_scalar

__all__ = [
    "ColumnGuess",
    "InspectedSource",
    "SampledValueRange",
    "TableKeyProposal",
    "format_yaml_flow_value",
    "format_yaml_scalar",
    "load_package_table_keys",
    "quote_source_name",
]
