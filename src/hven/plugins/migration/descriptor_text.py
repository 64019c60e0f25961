"""Write the draft of a descriptor as YAML, with comments."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hven.descriptor.api.yaml_text import (
    format_yaml_comment,
    format_yaml_flow_value,
    format_yaml_folded_text,
    format_yaml_scalar,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

BLOCK_KEYS = {
    "tables",
    "layers",
    "columns",
    "map",
    "set",
    "text",
    "let",
    "registry",
    "tests",
    "examples",
    "links",
    "frames",
    "obscore",
}
FOLDED_KEYS = {"description", "acknowledgement"}
MAX_KEY_WIDTH = 28


def write_descriptor_text(
    draft: Mapping[str, Any],
    heading: Sequence[str] = (),
    table_notes: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> str:
    """Write a descriptor.

    Parameters
    ----------
    draft
        Its keys and values.
    heading
        Comments at the top.
    table_notes
        Comments of tables by their names.
    """
    lines = [f"# {format_yaml_comment(line)}".rstrip() for line in heading]
    for key, value in draft.items():
        if key != "tables":
            lines += _write_key(key, value, 0)
    tables = draft.get("tables") or {}
    if tables:
        lines.append("tables:")
    for name, table in tables.items():
        lines.append(f"  {format_yaml_scalar(name)}:")
        lines += [f"    # {format_yaml_comment(note)}" for note in table_notes.get(name, ())]
        for key, value in table.items():
            lines += _write_key(key, value, 4)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _write_key(key: str, value: Any, indent: int) -> Iterator[str]:
    blanks = " " * indent
    label = format_yaml_scalar(key)
    if key in FOLDED_KEYS and isinstance(value, str):
        for line in format_yaml_folded_text(key, value):
            yield blanks + line
    elif isinstance(value, dict) and key in BLOCK_KEYS and value:
        yield f"{blanks}{label}:"
        width = min(max(len(format_yaml_scalar(str(name))) for name in value), MAX_KEY_WIDTH) + 1
        for name, member in value.items():
            yield f"{blanks}  {(format_yaml_scalar(str(name)) + ':').ljust(width)} {_write_value(member)}"
    elif isinstance(value, list) and key in BLOCK_KEYS and value:
        yield f"{blanks}{label}:"
        for member in value:
            yield f"{blanks}  - {format_yaml_flow_value(member)}"
    else:
        yield f"{blanks}{label}: {format_yaml_flow_value(value)}"


def _write_value(value: Any) -> str:
    return "null" if value is None else format_yaml_flow_value(value)
