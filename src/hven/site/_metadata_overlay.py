"""What was ingested, described as the descriptor says it now: metadata edits need no reload of data.

What rows look like (names, storage types, keys, position, indexes) comes from the snapshot's record; what is said of
them comes from the descriptor as it is. Where the descriptor is silent, what the source said at ingest stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.model.table import Column
from hven.model.types import Type, choose_text_width

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.resource import Resource, TableSpec
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
_EMPTY_COLUMN = Column(name="")


def find_inherited_attributes(spec: TableSpec, ingested_table: Table) -> dict[str, dict[str, Any]]:
    """Find what the columns have that the descriptor did not say (kept as provenance).

    Parameters
    ----------
    spec
        As the descriptor has the table.
    ingested_table
        As it was ingested.

    Returns
    -------
    attributes
        Column -> attribute -> value.
    """
    inherited_attributes: dict[str, dict[str, Any]] = {}
    for column in ingested_table.columns:
        described_attributes = spec.explicit_attributes.get(column.name, frozenset())
        values = {name: getattr(column, name) for name in DESCRIPTOR_ATTRIBUTES if name not in described_attributes}
        values = {name: value for name, value in values.items() if value != getattr(_EMPTY_COLUMN, name)}
        if values:
            inherited_attributes[column.name] = values
    return inherited_attributes


def map_described_columns(spec: TableSpec) -> dict[str, Column]:
    """Return the columns that a descriptor describes, by name."""
    return {column.name: column for column in (*spec.table.columns, *spec.declared_columns)}


def apply_descriptor(record: SnapshotRecord, spec: TableSpec | None, resource: Resource | None) -> Table:
    """Describe a published table as the descriptor says it now.

    Parameters
    ----------
    spec, resource
        What the descriptor says; None: it is gone or cannot be read, the record stands as it is.
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
    columns = tuple(_fit_text_type(column, record.snapshot.statistics.get(column.name, {})) for column in columns)
    if spec is None or resource is None:
        return table.copy_with(columns=columns)
    described_table = spec.table
    names = {column.name for column in (*columns, *described_table.params)}
    return table.copy_with(
        columns=columns,
        description=described_table.description,
        title=described_table.title,
        utype=described_table.utype,
        access=described_table.access,
        project=described_table.project,
        policy=described_table.policy,
        index=described_table.index,
        keys=tuple(key for key in described_table.keys if names.issuperset(key.columns)),
        groups=tuple(group for group in described_table.groups if names.issuperset(group.roles.values())),
        frames=described_table.frames or table.frames,
        enums={**table.enums, **described_table.enums},
        params=described_table.params,
        links=described_table.links,
        series=described_table.series,
        spans=described_table.spans,
        endpoints=described_table.endpoints,
        roots=described_table.roots,
        form=described_table.form,
        observation=described_table.observation
        if names.issuperset(described_table.observation or ())
        else table.observation,
    )


def select_visible_keys(keys: tuple[ForeignKey, ...], visible_tables: Mapping[str, Table]) -> tuple[ForeignKey, ...]:
    """Drop keys that lead to tables or columns which this reader cannot know of."""
    visible_keys = []
    for key in keys:
        target = visible_tables.get(key.target)
        if target is not None and {column.name for column in target.columns}.issuperset(key.target_columns):
            visible_keys.append(key)
    return tuple(visible_keys)


def _apply_column_metadata(
    column: Column,
    described_column: Column | None,
    described_attributes: frozenset[str],
    inherited_attributes: Mapping[str, Any],
    is_unit_bound: bool,
) -> Column:
    values = {
        name: getattr(described_column, name)
        if described_column is not None and name in described_attributes
        else inherited_attributes.get(name, getattr(_EMPTY_COLUMN, name))
        for name in DESCRIPTOR_ATTRIBUTES
    }
    if is_unit_bound:  # the values were converted to this unit; another one needs another ingest
        values["unit"] = column.unit
    return column.copy_with(**values)


def _fit_text_type(column: Column, statistics: Mapping[str, Any]) -> Column:
    """Fit metadata to what the values need.

    Texts beyond ASCII, and the width of texts in arrays, without which VOTable has no arrays of texts.
    """
    kind = column.type
    if kind.datatype == "char" and kind.is_string and statistics.get("non_ascii"):
        return column.copy_with(type=Type("unicodeChar", kind.arraysize, kind.xtype))
    if kind.arraysize is not None and kind.arraysize.startswith("*x") and "longest" in statistics:
        text_width = choose_text_width(statistics["longest"])
        return column.copy_with(type=Type(kind.datatype, kind.arraysize.replace("*", str(text_width), 1), kind.xtype))
    return column
