"""The form of a joint search, as a table whose columns are the fields: with the units and labels of the first table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model.table import Column, Table
from hven.model.types import STRING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.table import ReferenceFrame
    from hven.plugins.joint_search.joint_search_keys import JointField, JointSearchRules

PAIR_ENDINGS = (("_min", "_max"), ("min", "max"))


def find_field_columns(joint_field: JointField, table_key: str, table: Table) -> dict[str, Column]:
    """Find the columns of a field in a table.

    Parameters
    ----------
    joint_field
        A field without choices, or with choices that are conditions on its column.
    table_key
        Short name of the table.
    table
        The table.

    Returns
    -------
    columns
        The columns by their names in the form: the name of the field, or two names for a range. Empty: there are none.
    """
    columns = {column.name.lower(): column for column in table.columns if not column.hidden}
    name = joint_field.find_column_name(table_key).lower()
    if name in columns:
        return {joint_field.name: columns[name]}
    for low, high in PAIR_ENDINGS:
        if name + low in columns and name + high in columns:
            return {f"{joint_field.name}_min": columns[name + low], f"{joint_field.name}_max": columns[name + high]}
    return {}


def build_form_table(rules: JointSearchRules, tables: Mapping[str, Table]) -> Table:
    """Build the table of a form: a column for each field that any of the tables has.

    Parameters
    ----------
    rules
        The key of the collection.
    tables
        The tables that the reader may see, by their short names.
    """
    columns: list[Column] = []
    enums: dict[str, Mapping[str, str]] = {}
    frames: dict[str, ReferenceFrame] = {}
    for joint_field in rules.fields:
        if joint_field.choices:
            enums[joint_field.name] = {choice.name: choice.label for choice in joint_field.choices}
            label = joint_field.label or joint_field.name
            columns.append(Column(name=joint_field.name, type=STRING, label=label, enum=joint_field.name))
            continue
        for key, table in tables.items():
            found_columns = find_field_columns(joint_field, key, table)
            if found_columns:
                columns += _copy_field_columns(found_columns, joint_field, table, enums, frames)
                break
    position = None
    for table in tables.values():
        if table.position is not None:
            ends = [table.find_column(name) for name in table.position]
            position = ("position_longitude", "position_latitude")
            columns += [
                end.copy_with(name=name, hidden=True, enum=None, link=None, frame=None)
                for name, end in zip(position, ends, strict=True)
            ]
            break
    return Table(
        schema="",
        name="joint_search",
        columns=tuple(columns),
        enums=enums,
        frames=tuple(frames.values()),
        position=position,
        form=tuple(joint_field.name for joint_field in rules.fields),
    )


def _copy_field_columns(
    found_columns: Mapping[str, Column],
    joint_field: JointField,
    table: Table,
    enums: dict[str, Mapping[str, str]],
    frames: dict[str, ReferenceFrame],
) -> Sequence[Column]:
    """Copy the columns of a field under their names in the form; add their codes and frames to those of the form."""
    frames_by_id = {frame.id: frame for frame in table.frames}
    copies = []
    for name, column in found_columns.items():
        if column.enum:
            enums[name] = table.enums[column.enum]
        if column.frame in frames_by_id:
            frames.setdefault(column.frame, frames_by_id[column.frame])
        label = None
        if len(found_columns) == 1:
            label = joint_field.label
        copied_column = column.copy_with(
            name=name,
            label=label or column.label,
            rank=1,
            section=None,
            link=None,
            enum=name if column.enum else None,
        )
        copies.append(copied_column)
    return copies
