"""Write what a source says of its columns beside names and types: links, groups, options, constants, frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.descriptor.api.column_names import rename_link_columns
from hven.descriptor.api.yaml_text import format_yaml_comment, format_yaml_flow_value, format_yaml_scalar
from hven.model import units
from hven.model.table import HIDDEN_DISPLAY, TableConstant
from hven.plugins.drafts.group_roles import find_code_list, find_member_roles

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.descriptor.api.key_proposals import ColumnGuess
    from hven.formats import TableMetadata
    from hven.model.table import Column, ColumnGroup, ReferenceFrame

FRAME_KEYS = ("kind", "system", "epoch", "equinox", "refposition", "timescale", "timeorigin")
LOW_RANK = 30  # rank of columns that only programs need


class SourceMetadata:
    """Metadata of a source for the columns of a first descriptor.

    `describe_column_attributes` gives further attributes of a column, `write_metadata_sections` the keys of the table.
    """

    def __init__(self, table_metadata: TableMetadata | None, guesses: Sequence[ColumnGuess]) -> None:
        self._table_metadata = table_metadata
        self._names = {guess.source: guess.column.name for guess in guesses}
        self._source_names = {guess.column.name: guess.source for guess in guesses}
        used_frames = {guess.column.frame for guess in guesses}
        frames: Sequence[ReferenceFrame] = ()
        if table_metadata is not None:
            frames = table_metadata.frames
        self._frames = {frame.id: frame for frame in frames if frame.id in used_frames}
        self.hidden_count = sum(guess.column.display == HIDDEN_DISPLAY for guess in guesses)

    def describe_column_attributes(self, column: Column) -> dict[str, Any]:
        """Return link, enum and frame of a column, and whether it is hidden or indexed."""
        if self._table_metadata is None:
            return {}
        attributes: dict[str, Any] = {}
        if column.display == HIDDEN_DISPLAY:
            attributes |= {"display": HIDDEN_DISPLAY, "rank": LOW_RANK}
        if column.link:
            link, missing_column = rename_link_columns(column.link, self._names)
            if missing_column is None:
                attributes["link"] = link
        enum = column.enum or find_code_list(self._source_names.get(column.name, ""), self._table_metadata.enums)
        if enum in self._table_metadata.enums:
            attributes["enum"] = enum
        if column.frame in self._frames:
            attributes["frame"] = column.frame
        if column.indexed:
            attributes["indexed"] = True
        return attributes

    def write_metadata_sections(self, *, include_frames: bool = True) -> list[str]:
        """Write the keys of the table; leave the frames out where a standard has its own."""
        table_metadata = self._table_metadata
        if table_metadata is None:
            return []
        params = {}
        unit_notes = {}
        for column, value in table_metadata.params:
            params[column.name] = _describe_param(column, value)
            if column.unit and not _normalize_unit(column.unit):
                unit_notes[column.name] = f"the source gives the unit {column.unit!r}, which is not valid"
        used_enums = {column.enum for column in table_metadata.columns}
        used_enums |= {column.enum for column, _ in table_metadata.params}
        enums = {name: dict(words) for name, words in table_metadata.enums.items() if name in used_enums}
        target_names = {**self._names, **{name: name for name in params}}
        groups = {}
        for group in table_metadata.groups:
            group_keys = _describe_group(group, target_names)
            if group_keys:
                groups[group.name] = group_keys
        frames = {}
        if include_frames:
            frames = {name: _describe_frame(frame) for name, frame in self._frames.items()}
        return [
            *_write_yaml_section("frames", frames),
            *_write_yaml_section("enums", enums),
            *_write_yaml_section("params", params, unit_notes),
            *_write_yaml_section("groups", groups),
        ]


def _describe_group(group: ColumnGroup, target_names: Mapping[str, str]) -> dict[str, Any]:
    """Describe a group by its columns that the table has; the empty map if it has none of them."""
    members = [
        (role, target_names[column], column)
        for role, column in find_member_roles(group).items()
        if column in target_names
    ]
    if not members:
        return {}
    group_keys: dict[str, Any] = {
        "columns": [name for role, name, column in members if role == column],
        "roles": {role: name for role, name, column in members if role != column},
        "ucd": group.ucd,
        "utype": group.utype,
        "description": group.description,
    }
    return {key: value for key, value in group_keys.items() if value}


def _describe_param(column: Column, value: object) -> dict[str, Any]:
    if isinstance(column, TableConstant):
        value = column.value
    param_keys = {"type": str(column.type), "value": str(value or "")}
    if column.type.is_string and column.type.xtype is None:
        param_keys["type"] = "string"
    attributes = {
        "unit": _normalize_unit(column.unit) if column.unit else None,
        "ucd": units.modernize_ucd(column.ucd) if column.ucd else None,
        "utype": column.utype,
        "description": column.description,
        "enum": column.enum,
    }
    return param_keys | {key: value for key, value in attributes.items() if value}


def _normalize_unit(text: str) -> str | None:
    try:
        return units.canonicalize_unit(text)
    except ValueError:
        return None


def _describe_frame(frame: ReferenceFrame) -> dict[str, Any]:
    attributes = {key: getattr(frame, key) for key in FRAME_KEYS}
    return {key: value for key, value in attributes.items() if value and (key, value) != ("kind", "coosys")}


def _write_yaml_section(
    key: str, entries: Mapping[str, Mapping[str, Any]], notes_by_name: Mapping[str, str] | None = None
) -> Iterable[str]:
    if not entries:
        return []
    lines = [f"    {key}:"]
    for name, entry in entries.items():
        line = f"      {format_yaml_scalar(name)}: {format_yaml_flow_value(dict(entry))}"
        if notes_by_name and name in notes_by_name:
            line += f"  # {format_yaml_comment(notes_by_name[name])}"
        lines.append(line)
    return lines
