"""What a package proposes for its keys when `hven new` drafts a descriptor."""

from __future__ import annotations

from hven.descriptor._column_guesses import ColumnGuess, ColumnSampleStatistics, quote_source_name
from hven.descriptor._package_keys import InspectedSource, TableKeyProposal
from hven.descriptor._yaml_text import format_yaml_flow_value, format_yaml_scalar

__all__ = [
    "ColumnGuess",
    "ColumnSampleStatistics",
    "InspectedSource",
    "TableKeyProposal",
    "format_yaml_flow_value",
    "format_yaml_scalar",
    "quote_source_name",
]
