"""The present descriptor's metadata over ingested tables: metadata edits need no reload of data.

The form of the rows (names, storage types, keys, position, indexes) comes from the snapshot's record; their metadata
come from the present descriptor. Where the descriptor says nothing, what the source said at ingest stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.model.table import INPUT_DOCUMENT_KEY, Column
from hven.model.types import ColumnType, choose_text_width

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.resource import CollectionSpec, TableSpec
    from hven.model.table import ForeignKey, Table
    from hven.site.store import SnapshotRecord

DESCRIPTOR_ATTRIBUTES = (
    "unit",
    "ucd",
    "utype",
    "description",
    "label",
    "null",
    "display",
    "frame",
    "link",
    "enum",
    "section",
    "rank",
    "std",
    "hidden",
    "minimum",
    "maximum",
)
# attributes of a table that come from the descriptor alone
TABLE_ATTRIBUTES = (
    "description",
    "title",
    "utype",
    "access",
    "project",
    "policy",
    "index",
    "params",
    "links",
    "spans",
    "extensions",
    "roots",
    "form",
)
_EMPTY_COLUMN = Column(name="")


def find_inherited_attributes(spec: TableSpec, ingested_table: Table) -> dict[str, dict[str, Any]]:
    """Find the metadata of columns that do not come from the descriptor (kept as provenance).

    Parameters
    ----------
    spec
        The table in the descriptor.
    ingested_table
        The table as it was ingested.

    Returns
    -------
    attributes
        Column -> attribute -> value.
    """
    inherited_attributes: dict[str, dict[str, Any]] = {}
    for column in ingested_table.columns:
        described_attributes = spec.explicit_attributes.get(column.name, frozenset())
        attributes: dict[str, Any] = {}
        for name in DESCRIPTOR_ATTRIBUTES:
            attribute_value = getattr(column, name)
            if name not in described_attributes and attribute_value != getattr(_EMPTY_COLUMN, name):
                attributes[name] = attribute_value
        if attributes:
            inherited_attributes[column.name] = attributes
    return inherited_attributes


def map_described_columns(spec: TableSpec) -> dict[str, Column]:
    """Return the columns that a descriptor describes, by name."""
    return {column.name: column for column in (*spec.table.columns, *spec.declared_columns)}


def apply_descriptor(record: SnapshotRecord, spec: TableSpec | None, resource: CollectionSpec | None) -> Table:
    """Describe a published table as the present descriptor does.

    Parameters
    ----------
    spec, resource
        The table in the descriptor, and the descriptor; None: it is gone or cannot be read, and the record's metadata
        stand.
    """
    table = record.table
    columns = table.columns
    if spec is not None:
        inherited_attributes = record.provenance.get("inherited", {})
        unit_bound_columns = set(record.provenance.get("source_units", ()))
        described_columns = map_described_columns(spec)
        columns = tuple(
            _apply_column_metadata(
                column,
                described_columns.get(column.name),
                spec.explicit_attributes.get(column.name, frozenset()),
                inherited_attributes.get(column.name, {}),
                column.name in unit_bound_columns,
            )
            for column in columns
        )
    columns = tuple(
        _with_fitting_text_type(column, record.snapshot.statistics.get(column.name, {})) for column in columns
    )
    input_document = record.provenance.get(INPUT_DOCUMENT_KEY)
    input_extensions = {}
    if input_document:
        input_extensions = {INPUT_DOCUMENT_KEY: input_document}
    if spec is None or resource is None:
        return table.copy_with(columns=columns, extensions=input_extensions)
    described_table = spec.table
    names = {column.name for column in (*columns, *described_table.params)}
    keys = tuple(key for key in described_table.keys if names.issuperset(key.columns))
    groups = tuple(group for group in described_table.groups if names.issuperset(group.roles.values()))
    observation = table.observation
    if names.issuperset(described_table.observation or ()):
        observation = described_table.observation
    taken_values = {name: getattr(described_table, name) for name in TABLE_ATTRIBUTES}
    taken_values["extensions"] = {**described_table.extensions, **input_extensions}
    return table.copy_with(
        columns=columns,
        keys=keys,
        groups=groups,
        frames=described_table.frames or table.frames,
        enums={**table.enums, **described_table.enums},
        observation=observation,
        **taken_values,
    )


def select_visible_foreign_keys(
    keys: tuple[ForeignKey, ...], visible_tables: Mapping[str, Table]
) -> tuple[ForeignKey, ...]:
    """Drop foreign keys to tables or columns that a user must not know of."""
    visible_keys = []
    for key in keys:
        target = visible_tables.get(key.target)
        if target is not None:
            target_columns = {column.name for column in target.columns}
            if target_columns.issuperset(key.target_columns):
                visible_keys.append(key)
    return tuple(visible_keys)


def _apply_column_metadata(
    column: Column,
    described_column: Column | None,
    described_attributes: frozenset[str],
    inherited_attributes: Mapping[str, Any],
    is_unit_bound: bool,
) -> Column:
    attributes: dict[str, Any] = {}
    for name in DESCRIPTOR_ATTRIBUTES:
        if described_column is not None and name in described_attributes:
            attributes[name] = getattr(described_column, name)
        else:
            attributes[name] = inherited_attributes.get(name, getattr(_EMPTY_COLUMN, name))
    if is_unit_bound:  # the values were converted to this unit; another one needs another ingest
        attributes["unit"] = column.unit
    return column.copy_with(**attributes)


def _with_fitting_text_type(column: Column, statistics: Mapping[str, Any]) -> Column:
    """Return a column whose type fits its values.

    Texts may have characters beyond ASCII, and texts in arrays need a width, without which VOTable has no arrays of
    texts.
    """
    column_type = column.type
    if column_type.datatype == "char" and column_type.is_string and statistics.get("non_ascii"):
        return column.copy_with(type=ColumnType("unicodeChar", column_type.arraysize, column_type.xtype))
    arraysize = column_type.arraysize
    if arraysize is not None and arraysize.startswith("*x") and "longest" in statistics:
        text_width = str(choose_text_width(statistics["longest"]))
        fitted_arraysize = arraysize.replace("*", text_width, 1)
        return column.copy_with(type=ColumnType(column_type.datatype, fitted_arraysize, column_type.xtype))
    return column
