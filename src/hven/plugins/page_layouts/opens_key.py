"""The key ``opens`` of tables in descriptors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hven.descriptor.api.keys import KeyReferenceSection, TableDescriptorKey
from hven.descriptor.value_schema import OneOrMore

if TYPE_CHECKING:
    from hven.descriptor.api.keys import TableDescriptorKeyValue

OPENS_KEY = "opens"


def _read_opened_panes(key_value: TableDescriptorKeyValue) -> tuple[str, ...]:
    """Read the panes in their order, each once."""
    return tuple(dict.fromkeys(str(name) for name in key_value.value))


OPENS = TableDescriptorKey(
    value_type=OneOrMore[Literal["rows", "gallery", "map", "plot", "card"]],  # type: ignore[misc]  # a type as a value
    doc=(
        "what the page of the table shows first, in order: rows, gallery (pictures), map, plot, card (one row). "
        "Default: rows"
    ),
    convert_value=_read_opened_panes,
    previous_key="form",
    reference_sections=(
        KeyReferenceSection("table opens", "table", keys="opens", example="opens: [map, rows, card]\n"),
    ),
)
