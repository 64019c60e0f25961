"""What a source says beside the names and types of its columns - links, groups, options, constants, frames - as lines of a first descriptor."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hven.descriptor._yaml_text import format_comment, format_flow_value, format_scalar
from hven.model import units
from hven.model.table import HIDDEN_DISPLAY, Constant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.descriptor._column_guesses import ColumnGuess
    from hven.formats import TableMetadata
    from hven.model.table import Column, ColumnGroup, FrameRef

_PLACEHOLDER_PATTERN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")


def rename_link_columns(template: str, target_names: Mapping[str, str]) -> tuple[str, str | None]:
    """Rename a link's columns as the table does; and return the first column that the table does not have."""
    missing_column = next(
        (
            match[1]
            for match in _PLACEHOLDER_PATTERN.finditer(template)
            if match[1] is not None and match[1] not in target_names
        ),
        None,
    )
    return _PLACEHOLDER_PATTERN.sub(
        lambda match: match[0] if match[1] is None else f"{{{target_names.get(match[1], match[1])}}}", template
    ), missing_column


class SourceMetadata:
    """What is carried over for the columns that were guessed.

    `describe_references` gives a column's further attributes, `write_table_keys` those of the table.
    """

    def __init__(self, table_metadata: TableMetadata | None, guesses: Sequence[ColumnGuess]) -> None:
        self._table_metadata = table_metadata
        self._names = {item.source: item.column.name for item in guesses}
        frames = () if table_metadata is None else table_metadata.frames
        self._frames = {frame.id: frame for frame in frames if any(item.column.frame == frame.id for item in guesses)}
        self.hidden_count = sum(item.column.display == HIDDEN_DISPLAY for item in guesses)

    def describe_references(self, column: Column) -> dict[str, Any]:
        """Return what a column refers to, and whether it is hidden or indexed."""
        if self._table_metadata is None:
            return {}
        attributes: dict[str, Any] = {"display": HIDDEN_DISPLAY, "rank": 30} if column.display == HIDDEN_DISPLAY else {}
        if column.link:
            link, missing_column = rename_link_columns(column.link, self._names)
            attributes |= {} if missing_column is not None else {"link": link}
        if column.enum in self._table_metadata.enums:
            attributes["enum"] = column.enum
        if column.frame in self._frames:
            attributes["frame"] = column.frame
        if column.indexed:
            attributes["indexed"] = True
        return attributes

    def write_table_keys(self, *, include_frames: bool = True) -> list[str]:
        """Write the keys of the table; without `include_frames` where a standard has its own."""
        if self._table_metadata is None:
            return []
        params = {column.name: _describe_param(column, value) for column, value in self._table_metadata.params}
        doubts = {
            param_column.name: f"the source says unit {param_column.unit!r}, which is none"
            for param_column, _ in self._table_metadata.params
            if param_column.unit and not _normalize_unit(param_column.unit)
        }
        used = {
            column.enum
            for column in (*self._table_metadata.columns, *(column for column, _ in self._table_metadata.params))
        }
        enums = {name: dict(words) for name, words in self._table_metadata.enums.items() if name in used}
        target_names = {**self._names, **{name: name for name in params}}
        groups = {
            param_column.name: group_keys
            for param_column in self._table_metadata.groups
            if (group_keys := _describe_group(param_column, target_names))
        }
        frame_keys = {name: _describe_frame(param_column) for name, param_column in self._frames.items()}
        return [
            *_write_section("frames", frame_keys if include_frames else {}),
            *_write_section("enums", enums),
            *_write_section("params", params, doubts),
            *_write_section("groups", groups),
        ]


def _describe_group(group: ColumnGroup, target_names: Mapping[str, str]) -> dict[str, Any]:
    members = [(role, column) for role, column in group.roles.items() if column in target_names]
    group_keys: dict[str, Any] = {"columns": [target_names[column] for role, column in members if role == column]}
    group_keys["roles"] = {role: target_names[column] for role, column in members if role != column}
    group_keys |= {key: getattr(group, key) for key in ("ucd", "utype", "description")}
    if members:
        return {key: value for key, value in group_keys.items() if value}
    return {}


def _describe_param(column: Column, value: object) -> dict[str, Any]:
    text = column.value if isinstance(column, Constant) else value
    param_keys = {
        "type": "string" if column.type.is_string and column.type.xtype is None else str(column.type),
        "value": str(text or ""),
    }
    if column.unit:
        unit = _normalize_unit(column.unit)
    else:
        unit = None
    attributes = {
        "unit": unit,
        "ucd": units.modernize_ucd(column.ucd) if column.ucd else None,
        "utype": column.utype,
        "description": column.description,
        "enum": column.enum,
    }
    return param_keys | {key: value for key, value in attributes.items() if value}


def _normalize_unit(text: str) -> str | None:
    try:
        return units.validate_unit(text)
    except ValueError:
        return None


def _describe_frame(frame: FrameRef) -> dict[str, Any]:
    words = ("kind", "system", "epoch", "equinox", "refposition", "timescale", "timeorigin")
    return {key: value for key in words if (value := getattr(frame, key)) and (key, value) != ("kind", "coosys")}


def _write_section(
    key: str, entries: Mapping[str, Mapping[str, Any]], notes_by_name: Mapping[str, str] | None = None
) -> Iterable[str]:
    if not entries:
        return []
    notes = {name: f"  # {format_comment(text)}" for name, text in (notes_by_name or {}).items()}
    return [
        f"    {key}:",
        *(
            f"      {format_scalar(name)}: {format_flow_value(dict(entry))}{notes.get(name, '')}"
            for name, entry in entries.items()
        ),
    ]


__all__ = ["SourceMetadata", "rename_link_columns"]
