"""TAP_SCHEMA 1.1: its own description, and its rows made from what one reader may know of (TAP 1.1 section 4)."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.adql.reserved import RESERVED
from hven.descriptor import load_standard
from hven.engines import Memory
from hven.model.table import Column, Schema, Table
from hven.model.types import Type

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NAME = "TAP_SCHEMA"
UNICODE = Type("unicodeChar", "*")
_REGULAR = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@lru_cache(maxsize=1)
def description() -> Schema:
    """Return the schema that describes itself: the shipped descriptor ``tap_schema``; descriptions hold any character."""
    resource = load_standard(NAME.lower())
    return Schema(
        name=NAME, tables=tuple(_table(spec.table) for spec in resource.tables), description=resource.description
    )


def _table(table: Table) -> Table:
    keys = tuple(replace(key, target=f"{NAME}.{key.target.rpartition('.')[2]}") for key in table.keys)
    columns = tuple(column.having(type=UNICODE) if column.name == "description" else column for column in table.columns)
    return table.having(schema=NAME, keys=keys, columns=columns)


def quoted(name: str) -> str:
    """Write a name as a query must: with quotes unless it is a regular identifier (ADQL 2.1 section 2.1.2)."""
    if _REGULAR.fullmatch(name) and name.upper() not in RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def qualified(table: Table) -> str:
    """Write a table's name as a query must, with its schema."""
    return f"{quoted(table.schema)}.{quoted(table.name)}"


def indexed(table: Table, column: Column) -> bool:
    """Return whether a condition on this column is quick."""
    return column.name in table.searched or column.name in (table.position or ())


def shown(table: Table) -> list[Column]:
    """Return the columns that metadata show."""
    return [column for column in table.columns if not column.hidden]


def build(schemas: Sequence[Schema]) -> tuple[Schema, dict[str, Memory]]:
    """Make TAP_SCHEMA from the schemas that a reader may know of.

    Parameters
    ----------
    schemas
        Without TAP_SCHEMA itself; keys must lead to tables among them.

    Returns
    -------
    tuple
        TAP_SCHEMA's own schema (string columns that hold other than ASCII are unicodeChar), and its rows by qualified name.
    """
    own = description()
    rows = _rows([*schemas, own])
    wide = {(table.name, column) for table in own.tables for column in _non_ascii(table, rows[table.name])}
    if wide - {(table.name, column.name) for table in own.tables for column in table.columns if column.type == UNICODE}:
        own = Schema(
            name=NAME, description=own.description, tables=tuple(_widened(table, wide) for table in own.tables)
        )
        rows = _rows([*schemas, own])
    return own, {table.qualified: Memory(_arrow(table, rows[table.name]), lasting=True) for table in own.tables}


def _rows(schemas: Iterable[Schema]) -> dict[str, list[tuple[Any, ...]]]:
    found: dict[str, list[tuple[Any, ...]]] = {table.name: [] for table in description().tables}
    for position, schema in enumerate(schemas, 1):
        schema_name = quoted(schema.name)
        found["schemas"].append(
            (schema_name, schema.utype, schema.description or schema.title, schema.index or position)
        )
        for number, table in enumerate(schema.tables, 1):
            name = qualified(table)
            kind = "view" if table.view is not None else "table"
            found["tables"].append(
                (schema_name, name, kind, table.utype, table.description or table.title, table.index or number)
            )
            found["columns"].extend(_column(table, name, order, column) for order, column in enumerate(shown(table), 1))
            for key in table.keys:
                ident = f"{table.qualified}:{key.id}".lower()
                schema_of, _, target = key.target.partition(".")
                found["keys"].append((ident, name, f"{quoted(schema_of)}.{quoted(target)}", key.description, key.utype))
                pairs = zip(key.columns, key.target_columns, strict=True)
                found["key_columns"].extend((ident, quoted(one), quoted(other)) for one, other in pairs)
    return found


def _column(table: Table, name: str, order: int, column: Column) -> tuple[Any, ...]:
    kind = column.type
    flags = (int(indexed(table, column)), int(column.principal), int(column.std))
    metadata = (column.description, column.utype, column.unit, column.ucd)
    return (name, quoted(column.name), kind.datatype, kind.told, kind.xtype, kind.size, *metadata, *flags, order)


def _non_ascii(table: Table, rows: Sequence[tuple[Any, ...]]) -> list[str]:
    return [
        column.name
        for at, column in enumerate(table.columns)
        if any(isinstance(row[at], str) and not row[at].isascii() for row in rows)
    ]


def _widened(table: Table, wide: set[tuple[str, str]]) -> Table:
    change = {column.name: column.having(type=UNICODE) for column in table.columns if (table.name, column.name) in wide}
    return table.having(columns=tuple(change.get(column.name, column) for column in table.columns))


def _arrow(table: Table, rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    arrays = []
    for at, item in enumerate(table.arrow):
        values = [row[at] for row in rows]
        arrays.append(
            pa.array([value or None for value in values] if pa.types.is_string(item.type) else values, item.type)
        )
    return pa.Table.from_arrays(arrays, schema=table.arrow)
