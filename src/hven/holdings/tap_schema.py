"""TAP_SCHEMA 1.1: its own description, and its rows made from what one reader may know of (TAP 1.1 section 4)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.adql.reserved import RESERVED
from hven.engines import Memory
from hven.model.table import Column, Key, Schema, Table
from hven.model.types import INT32, STRING, Type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NAME = "TAP_SCHEMA"
UNICODE = Type("unicodeChar", "*")
_REGULAR = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

# column: type, what it is; "!" = never null
_TABLES: dict[str, tuple[str, dict[str, tuple[Type, str]]]] = {
    "schemas": (
        "The schemas of this service; one is one collection",
        {
            "schema_name!": (STRING, "Schema name, as a query writes it"),
            "utype": (STRING, "UType if the schema corresponds to a data model"),
            "description": (UNICODE, "Brief description of the schema"),
            "schema_index": (INT32, "Recommended order of the schemas"),
        },
    ),
    "tables": (
        "The tables of this service",
        {
            "schema_name!": (STRING, "Schema that the table belongs to"),
            "table_name!": (STRING, "Table name, as a query writes it"),
            "table_type!": (STRING, "table or view"),
            "utype": (STRING, "UType if the table corresponds to a data model"),
            "description": (UNICODE, "Brief description of the table"),
            "table_index": (INT32, "Recommended order of the tables in their schema"),
        },
    ),
    "columns": (
        "The columns of the tables of this service",
        {
            "table_name!": (STRING, "Table that the column belongs to"),
            "column_name!": (STRING, "Column name, as a query writes it"),
            "datatype!": (STRING, "VOTable datatype"),
            "arraysize": (STRING, "VOTable arraysize"),
            "xtype": (STRING, "VOTable xtype"),
            "size": (INT32, "Length of variable and fixed length columns (deprecated: see arraysize)"),
            "description": (UNICODE, "Brief description of the column"),
            "utype": (STRING, "UType if the column corresponds to a data model"),
            "unit": (STRING, "Unit in VOUnit syntax"),
            "ucd": (STRING, "UCD of the column"),
            "indexed!": (INT32, "1 if a condition on this column is quick"),
            "principal!": (INT32, "1 if the column belongs to a first look at the table"),
            "std!": (INT32, "1 if the column is defined by a standard"),
            "column_index": (INT32, "Recommended order of the columns in their table"),
        },
    ),
    "keys": (
        "The foreign keys between tables of this service",
        {
            "key_id!": (STRING, "Identifier of the key, unique in this service"),
            "from_table!": (STRING, "Table that refers"),
            "target_table!": (STRING, "Table that is referred to"),
            "description": (UNICODE, "Brief description of the key"),
            "utype": (STRING, "UType of the key"),
        },
    ),
    "key_columns": (
        "The columns of the foreign keys",
        {
            "key_id!": (STRING, "Key that the pair belongs to"),
            "from_column!": (STRING, "Column of the table that refers"),
            "target_column!": (STRING, "Column of the table that is referred to"),
        },
    ),
}
_PRIMARY = {"schemas": ("schema_name",), "tables": ("table_name",), "columns": ("table_name", "column_name"), "keys": ("key_id",)}
_KEYS = {  # TAP 1.1 section 4.1 to 4.5: the keys among these tables
    "tables": (("schema_name", "schemas", "schema_name"),),
    "columns": (("table_name", "tables", "table_name"),),
    "keys": (("from_table", "tables", "table_name"), ("target_table", "tables", "table_name")),
    "key_columns": (("key_id", "keys", "key_id"),),
}


@lru_cache(maxsize=1)
def description() -> Schema:
    """Give the schema that describes itself."""
    return Schema(
        name=NAME,
        tables=tuple(_table(index, name) for index, name in enumerate(_TABLES, 1)),
        description="The tables that describe the tables of this service",
    )


def _table(index: int, name: str) -> Table:
    text, columns = _TABLES[name]
    return Table(
        schema=NAME,
        name=name,
        description=text,
        index=index,
        standard="tap_schema-1.1",
        primary=_PRIMARY.get(name, ()),
        columns=tuple(
            Column(name=word.rstrip("!"), type=kind, description=what, std=True, required=word.endswith("!"), rank=1)
            for word, (kind, what) in columns.items()
        ),
        keys=tuple(
            Key(id=f"{name}_{column}", columns=(column,), target=f"{NAME}.{target}", target_columns=(other,))
            for column, target, other in _KEYS.get(name, ())
        ),
    )


def quoted(name: str) -> str:
    """Write a name as a query must: with quotes unless it is a regular identifier (ADQL 2.1 section 2.1.2)."""
    if _REGULAR.fullmatch(name) and name.upper() not in RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def qualified(table: Table) -> str:
    """Write a table's name as a query must, with its schema."""
    return f"{quoted(table.schema)}.{quoted(table.name)}"


def indexed(table: Table, column: Column) -> bool:
    """Tell that a condition on this column is quick."""
    return column.indexed or column.unique or table.primary[:1] == (column.name,) or column.name in (table.position or ())


def shown(table: Table) -> list[Column]:
    """Give the columns that metadata show."""
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
    wide = {(name, column) for name, table in rows.items() for column in _non_ascii(name, table)}
    if wide - {(table.name, column.name) for table in own.tables for column in table.columns if column.type == UNICODE}:
        own = Schema(name=NAME, description=own.description, tables=tuple(_widened(table, wide) for table in own.tables))
        rows = _rows([*schemas, own])
    return own, {table.qualified: Memory(_arrow(table, rows[table.name])) for table in own.tables}


def _rows(schemas: Iterable[Schema]) -> dict[str, list[tuple[Any, ...]]]:
    found: dict[str, list[tuple[Any, ...]]] = {name: [] for name in _TABLES}
    for position, schema in enumerate(schemas, 1):
        schema_name = quoted(schema.name)
        found["schemas"].append((schema_name, schema.utype, schema.description or schema.title, schema.index or position))
        for number, table in enumerate(schema.tables, 1):
            name = qualified(table)
            kind = "view" if table.view is not None else "table"
            found["tables"].append((schema_name, name, kind, table.utype, table.description or table.title, table.index or number))
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
    return (name, quoted(column.name), kind.datatype, kind.arraysize, kind.xtype, kind.size, *metadata, *flags, order)


def _non_ascii(name: str, rows: Sequence[tuple[Any, ...]]) -> list[str]:
    words = [word.rstrip("!") for word in _TABLES[name][1]]
    return [word for at, word in enumerate(words) if any(isinstance(row[at], str) and not row[at].isascii() for row in rows)]


def _widened(table: Table, wide: set[tuple[str, str]]) -> Table:
    change = {column.name: column.having(type=UNICODE) for column in table.columns if (table.name, column.name) in wide}
    return table.having(columns=tuple(change.get(column.name, column) for column in table.columns))


def _arrow(table: Table, rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    values: Mapping[str, list[Any]] = {
        column.name: [row[at] or None for row in rows] for at, column in enumerate(table.columns) if column.type != INT32
    }
    numbers = {column.name: [row[at] for row in rows] for at, column in enumerate(table.columns) if column.type == INT32}
    return pa.Table.from_pydict({column.name: {**values, **numbers}[column.name] for column in table.columns}, schema=table.arrow)
