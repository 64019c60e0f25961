"""Tables as JSON and back: how the structure of what was published is kept with its snapshot.

The form carries a version. A field that an old record does not have takes its default; one that this program does not
know is refused (the record was written by a newer Hven).
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

from hven.model.table import Column, Constant, FrameRef, Group, Key, Partition, Table
from hven.model.types import Type

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
_PARTS: dict[str, type] = {"columns": Column, "keys": Key, "groups": Group, "frames": FrameRef, "params": Constant}
_TUPLES = {"primary", "position", "origins", "target_columns"}


def table_to_json(table: Table) -> dict[str, Any]:
    """Write a table as a JSON object; attributes that have their default are left out."""
    return {"version": VERSION, **_to_json(table)}


def table_from_json(data: Mapping[str, Any]) -> Table:
    """Read back what `table_to_json` wrote.

    Raises
    ------
    ValueError
        It was written by a newer version, or is no such record.
    """
    version = data.get("version")
    if version != VERSION:
        message = f"a table record of version {version!r}; this Hven reads version {VERSION}"
        raise ValueError(message)
    table = _from_json(Table, {name: value for name, value in data.items() if name != "version"})
    if not isinstance(table, Table):
        message = "no table record"
        raise TypeError(message)
    return table


def columns_to_json(columns: tuple[Column, ...] | list[Column]) -> list[dict[str, Any]]:
    """Write columns as JSON objects."""
    return [_to_json(column) for column in columns]


def columns_from_json(data: list[dict[str, Any]]) -> tuple[Column, ...]:
    """Read back what `columns_to_json` wrote."""
    return tuple(_from_json(Column, item) for item in data)


def _to_json(thing: Any) -> dict[str, Any]:
    out = {}
    for item in fields(thing):
        value = getattr(thing, item.name)
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        if default is not MISSING and value == default:
            continue
        out[item.name] = _value_to_json(item.name, value)
    return out


def _value_to_json(name: str, value: Any) -> Any:
    if isinstance(value, Type):
        return [value.datatype, value.arraysize, value.xtype]
    if name in _PARTS and value and not isinstance(value[0], str):
        return [_to_json(part) for part in value]
    if isinstance(value, Partition):
        return _to_json(value)
    if isinstance(value, tuple):
        return [list(item) if isinstance(item, tuple) else item for item in value]
    if name == "enums":
        return {key: dict(labels) for key, labels in value.items()}
    if name == "roles":
        return dict(value)
    return value


def _from_json(kind: type, data: Mapping[str, Any]) -> Any:
    known = {item.name for item in fields(kind)}
    strange = sorted(set(data) - known)
    if strange:
        message = f"a {kind.__name__} record with {', '.join(strange)}: it was written by a newer Hven"
        raise ValueError(message)
    return kind(**{name: _value_from_json(kind, name, value) for name, value in data.items()})


def _value_from_json(kind: type, name: str, value: Any) -> Any:
    if name == "type" and issubclass(kind, Column):
        return Type(*value)
    if kind is Table and name == "partition":
        return _from_json(Partition, value)
    if kind is Table and name == "indexes":
        return tuple(tuple(item) for item in value)
    if kind is Table and name in _PARTS:
        return tuple(_from_json(_PARTS[name], part) for part in value)
    if isinstance(value, list) and (name in _TUPLES or name == "columns"):
        return tuple(value)
    return value
