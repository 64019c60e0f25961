"""The key ``joint_search`` of descriptors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hven.descriptor.api.keys import CollectionDescriptorKey, KeyReferenceSection
from hven.plugins.joint_search.joint_search_section_keys import JointSearchSection

if TYPE_CHECKING:
    from hven.descriptor.api.keys import CollectionKeyValue
    from hven.model.resource import CollectionSpec

JOINT_SEARCH_KEY = "joint_search"
MAX_TABLES = 8  # one query reads them all
MAX_FIELDS = 40
MAX_COLOURS = 8  # as many as readers can tell apart
OWN_COLUMN = ""  # stands for the column of the field in the conditions of a choice
_NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,39}")
_RESERVED_FIELD_NAMES = frozenset({"found_in", "row_key"})  # columns of the list that say where a row is
_EXAMPLE = """\
joint_search:
  title: {en: Observations, fr: Observations}
  tables:
    logs: {table: oidb.logs, label: {en: observation logs, fr: journaux d'observation}}
    files: oidb.main
  fields:
    target: {column: target_name, label: Target}
    time: t
    instrument: {column: instrument_name, columns: {files: instrument}}
    level: {column: calib_level, colours: [0, 1, 2, 3]}
    band:
      column: em
      choices: {H: 1.48..1.78 um, K: {value: 1.98..2.48 um, label: K band}}
    availability:
      colours: [public, embargo]
      choices:
        public: {where: [{data_rights: public}, {obs_release_date: <= now}]}
        embargo: {where: {obs_release_date: "> now"}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class JointTable:
    """A table of a joint search: its short name, its name with the collection, and what its rows are."""

    key: str
    table_name: str
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JointChoice:
    """A choice of a field.

    Attributes
    ----------
    name, label
        The value in addresses, and the word that readers see.
    alternatives
        Conditions as names of columns and texts. All conditions of one of the alternatives must hold.
    """

    name: str
    label: str
    alternatives: tuple[tuple[tuple[str, str], ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JointField:
    """A field of the form.

    Attributes
    ----------
    column, columns
        The column, or the beginning of the names of two columns; and those of some tables by their short names.
    choices
        The choices; empty: readers write conditions.
    colours
        Values that are shown in colours.
    """

    name: str
    label: str = ""
    column: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    choices: tuple[JointChoice, ...] = ()
    colours: tuple[str, ...] = ()

    def find_column_name(self, table_key: str) -> str:
        """Return the name of the column in a table, or the beginning of the names of its two columns."""
        return self.columns.get(table_key) or self.column or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class JointSearchRules:
    """What the key of a collection says."""

    title: str
    tables: tuple[JointTable, ...]
    fields: tuple[JointField, ...]


def find_joint_search_rules(resource: CollectionSpec | None) -> JointSearchRules | None:
    """Return what the key of a collection says; None if the collection does not have it.

    Parameters
    ----------
    resource
        A collection.
    """
    if resource is None:
        return None
    rules: JointSearchRules | None = resource.extensions.get(JOINT_SEARCH_KEY)
    return rules


def _read_joint_search_rules(key_value: CollectionKeyValue) -> JointSearchRules:
    fields = key_value.value
    tables = []
    for key, table_fields in fields.get("tables", {}).items():
        _check_name(f"{key_value.key_path}.tables.{key}", key, key_value)
        table_name = str(table_fields.get("table", ""))
        if table_name.count(".") != 1:
            message = f"{key_value.key_path}.tables.{key}: {table_name!r} is not a table with its collection"
            remedy = "write the collection, a dot and the table, for example oidb.main"
            key_value.faults.add_error(message, key.place, remedy)
        tables.append(JointTable(key=str(key), table_name=table_name, label=table_fields.get("label", "")))
    rules = JointSearchRules(
        title=fields.get("title", ""),
        tables=tuple(tables),
        fields=tuple(
            _read_field(name, field_values, key_value) for name, field_values in fields.get("fields", {}).items()
        ),
    )
    for part, count, limit in (("tables", len(tables), MAX_TABLES), ("fields", len(rules.fields), MAX_FIELDS)):
        if not 0 < count <= limit:
            message = f"{key_value.key_path}.{part}: there are {count}, but a joint search has 1 to {limit}"
            key_value.faults.add_error(message, fields.place, f"list 1 to {limit}")
    table_keys = {table.key for table in tables}
    for joint_field in rules.fields:
        for key in sorted(joint_field.columns.keys() - table_keys):
            message = f"{key_value.key_path}.fields.{joint_field.name}.columns: there is no table {key!r}"
            key_value.faults.add_error(message, fields.place, f"use {', '.join(sorted(table_keys))}")
    return rules


def _read_field(name: Any, fields: Mapping[str, Any], key_value: CollectionKeyValue) -> JointField:
    field_path = f"{key_value.key_path}.fields.{name}"
    _check_name(field_path, name, key_value)
    choices = []
    for choice_name, choice_fields in fields.get("choices", {}).items():
        alternatives: list[tuple[tuple[str, str], ...]] = []
        if "value" in choice_fields:
            alternatives.append(((OWN_COLUMN, str(choice_fields["value"])),))
        alternatives += [
            tuple((str(column), str(text)) for column, text in conditions.items())
            for conditions in choice_fields.get("where", ())
        ]
        if len(choice_fields.keys() & {"value", "where"}) != 1:
            message = f"{field_path}.choices.{choice_name}: a choice needs either `value` or `where`"
            key_value.faults.add_error(message, choice_name.place, "write one of them")
        label = choice_fields.get("label", "") or str(choice_name)
        choices.append(JointChoice(name=str(choice_name), label=label, alternatives=tuple(alternatives)))
    colours = tuple(str(value) for value in fields.get("colours", ()))
    if len(colours) > MAX_COLOURS:
        message = f"{field_path}.colours: there are {len(colours)} values, but only {MAX_COLOURS} colours"
        key_value.faults.add_error(message, name.place, "list fewer values")
    return JointField(
        name=str(name),
        label=fields.get("label", ""),
        column=str(fields.get("column", "")),
        columns={str(key): str(column) for key, column in fields.get("columns", {}).items()},
        choices=tuple(choices),
        colours=colours,
    )


def _check_name(name_path: str, name: Any, key_value: CollectionKeyValue) -> None:
    """Check the name of a table or a field, which is a part of addresses and queries."""
    if not _NAME_PATTERN.fullmatch(name) or name in _RESERVED_FIELD_NAMES:
        message = f"{name_path}: this name cannot be a part of addresses and queries"
        remedy = "use up to 40 small letters, digits and '_', beginning with a letter; not found_in or row_key"
        key_value.faults.add_error(message, name.place, remedy)


JOINT_SEARCH = CollectionDescriptorKey(
    value_type=JointSearchSection,
    doc="one form for several tables, which the page `/joint-search/NAME` shows",
    convert_value=_read_joint_search_rules,
    reference_sections=(
        KeyReferenceSection("joint search", "joint_search", parent="collection", example=_EXAMPLE),
        KeyReferenceSection("joint table", "joint_table", parent="collection", shown_in="joint search"),
        KeyReferenceSection("joint field", "joint_field", parent="collection", shown_in="joint search"),
        KeyReferenceSection("joint choice", "joint_choice", parent="collection", shown_in="joint search"),
        KeyReferenceSection(
            "collection joint search", "collection", keys="joint_search", parent="collection", shown_in="joint search"
        ),
    ),
)
