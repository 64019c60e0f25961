"""What was ingested, described as the descriptor says it now: metadata edits need no reload of data.

What rows look like (names, storage types, keys, position, indexes) comes from the snapshot's record; what is said of them
comes from the descriptor as it is. Where the descriptor is silent, what the source said at ingest stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.model.table import Column
from hven.model.types import Type, width

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.resource import Resource, TableSpec
    from hven.model.table import Key, Table
    from hven.site.store import Record

FOLLOWING = (
    "unit", "ucd", "utype", "description", "label", "null", "display", "frame", "link", "enum", "section",
    "rank", "std", "hidden", "minimum", "maximum",
)  # fmt: skip
_PLAIN = Column(name="")


def inherited(spec: TableSpec, final: Table) -> dict[str, dict[str, Any]]:
    """Find what the columns have that the descriptor did not say (kept as provenance).

    Parameters
    ----------
    spec
        As the descriptor has the table.
    final
        As it was ingested.

    Returns
    -------
    attributes
        Column -> attribute -> value.
    """
    found: dict[str, dict[str, Any]] = {}
    for column in final.columns:
        given = spec.given.get(column.name, frozenset())
        values = {name: getattr(column, name) for name in FOLLOWING if name not in given}
        values = {name: value for name, value in values.items() if value != getattr(_PLAIN, name)}
        if values:
            found[column.name] = values
    return found


def said_columns(spec: TableSpec) -> dict[str, Column]:
    """Return the columns that a descriptor describes, by name."""
    return {column.name: column for column in (*spec.table.columns, *spec.declared)}


def overlay(record: Record, spec: TableSpec | None, resource: Resource | None) -> Table:
    """Describe a published table as the descriptor says it now.

    Parameters
    ----------
    spec, resource
        What the descriptor says; None: it is gone or cannot be read, the record stands as it is.
    """
    table = record.table
    columns = table.columns
    if spec is not None:
        known = record.provenance.get("inherited", {})
        bound = set(record.provenance.get("source_units", ()))
        said = said_columns(spec)
        columns = tuple(
            _column(
                column,
                said.get(column.name),
                spec.given.get(column.name, frozenset()),
                known.get(column.name, {}),
                column.name in bound,
            )
            for column in columns
        )
    columns = tuple(_fitted(column, record.snapshot.statistics.get(column.name, {})) for column in columns)
    if spec is None or resource is None:
        return table.having(columns=columns)
    now = spec.table
    names = {column.name for column in (*columns, *now.params)}
    return table.having(
        columns=columns,
        description=now.description,
        title=now.title,
        utype=now.utype,
        access=now.access,
        project=now.project,
        policy=now.policy,
        index=now.index,
        keys=tuple(key for key in now.keys if names.issuperset(key.columns)),
        groups=tuple(group for group in now.groups if names.issuperset(group.roles.values())),
        frames=now.frames or table.frames,
        enums={**table.enums, **now.enums},
        params=now.params,
        links=now.links,
        series=now.series,
        spans=now.spans,
        endpoints=now.endpoints,
        roots=now.roots,
        form=now.form,
        observation=now.observation if names.issuperset(now.observation or ()) else table.observation,
    )


def resolved_keys(keys: tuple[Key, ...], visible: Mapping[str, Table]) -> tuple[Key, ...]:
    """Drop keys that lead to tables or columns which this reader cannot know of."""
    kept = []
    for key in keys:
        target = visible.get(key.target)
        if target is not None and {column.name for column in target.columns}.issuperset(key.target_columns):
            kept.append(key)
    return tuple(kept)


def _column(
    column: Column, own: Column | None, given: frozenset[str], known: Mapping[str, Any], unit_bound: bool
) -> Column:
    values = {
        name: getattr(own, name) if own is not None and name in given else known.get(name, getattr(_PLAIN, name))
        for name in FOLLOWING
    }
    if unit_bound:  # the values were converted to this unit; another one needs another ingest
        values["unit"] = column.unit
    return column.having(**values)


def _fitted(column: Column, statistics: Mapping[str, Any]) -> Column:
    """Fit metadata to what the values need: texts beyond ASCII, and the width of texts in arrays, without which VOTable has no arrays of texts."""
    kind = column.type
    if kind.datatype == "char" and kind.is_string and statistics.get("non_ascii"):
        return column.having(type=Type("unicodeChar", kind.arraysize, kind.xtype))
    if kind.arraysize is not None and kind.arraysize.startswith("*x") and "longest" in statistics:
        return column.having(
            type=Type(kind.datatype, kind.arraysize.replace("*", str(width(statistics["longest"])), 1), kind.xtype)
        )
    return column
