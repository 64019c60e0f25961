"""TAP_SCHEMA 1.1: its own description, and its rows made from what one reader may know of (TAP 1.1 section 4)."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.adql.reserved_words import RESERVED_WORDS
from hven.descriptor import load_standard
from hven.engines import MemoryRelation
from hven.model.table import Column, Schema, Table
from hven.model.types import Type

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TAP_SCHEMA_NAME = "TAP_SCHEMA"
UNICODE_TEXT_TYPE = Type("unicodeChar", "*")
_REGULAR_IDENTIFIER_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@lru_cache(maxsize=1)
def load_own_schema() -> Schema:
    """Return the schema that describes itself: the shipped descriptor ``tap_schema``.

    Descriptions hold any character.
    """
    resource = load_standard(TAP_SCHEMA_NAME.lower())
    tables = tuple(_adapt_table(spec.table) for spec in resource.tables)
    return Schema(
        name=TAP_SCHEMA_NAME,
        tables=tables,
        description=resource.description,
    )


def _adapt_table(table: Table) -> Table:
    keys = tuple(replace(key, target=f"{TAP_SCHEMA_NAME}.{key.target.rpartition('.')[2]}") for key in table.keys)
    columns = tuple(
        column.copy_with(type=UNICODE_TEXT_TYPE) if column.name == "description" else column for column in table.columns
    )
    return table.copy_with(schema=TAP_SCHEMA_NAME, keys=keys, columns=columns)


def quote_identifier(name: str) -> str:
    """Write a name as a query must: with quotes unless it is a regular identifier (ADQL 2.1 section 2.1.2)."""
    if _REGULAR_IDENTIFIER_PATTERN.fullmatch(name) and name.upper() not in RESERVED_WORDS:
        return name
    return '"' + name.replace('"', '""') + '"'


def quote_table_name(table: Table) -> str:
    """Write a table's name as a query must, with its schema."""
    return f"{quote_identifier(table.schema)}.{quote_identifier(table.name)}"


def is_indexed(table: Table, column: Column) -> bool:
    """Return whether a condition on this column is quick."""
    return column.name in table.indexed_column_names or column.name in (table.position or ())


def list_visible_columns(table: Table) -> list[Column]:
    """Return the columns that metadata show."""
    return [column for column in table.columns if not column.hidden]


def build_tap_schema(schemas: Sequence[Schema]) -> tuple[Schema, dict[str, MemoryRelation]]:
    """Make TAP_SCHEMA from the schemas that a reader may know of.

    Parameters
    ----------
    schemas
        Without TAP_SCHEMA itself; keys must lead to tables among them.

    Returns
    -------
    tuple
        TAP_SCHEMA's own schema (string columns that hold other than ASCII are unicodeChar), and its rows by qualified
        name.
    """
    own_schema = load_own_schema()
    rows = _build_rows([*schemas, own_schema])
    non_ascii_columns = {
        (table.name, column)
        for table in own_schema.tables
        for column in _find_non_ascii_columns(table, rows[table.name])
    }
    if non_ascii_columns - {
        (table.name, column.name)
        for table in own_schema.tables
        for column in table.columns
        if column.type == UNICODE_TEXT_TYPE
    }:
        own_schema = Schema(
            name=TAP_SCHEMA_NAME,
            description=own_schema.description,
            tables=tuple(_widen_columns(table, non_ascii_columns) for table in own_schema.tables),
        )
        rows = _build_rows([*schemas, own_schema])
    return own_schema, {
        table.qualified_name: MemoryRelation(_to_arrow_table(table, rows[table.name]), is_reused=True)
        for table in own_schema.tables
    }


def _build_rows(schemas: Iterable[Schema]) -> dict[str, list[tuple[Any, ...]]]:
    rows_by_table: dict[str, list[tuple[Any, ...]]] = {table.name: [] for table in load_own_schema().tables}
    for position, schema in enumerate(schemas, 1):
        schema_name = quote_identifier(schema.name)
        rows_by_table["schemas"].append(
            (schema_name, schema.utype, schema.description or schema.title, schema.index or position)
        )
        for number, table in enumerate(schema.tables, 1):
            name = quote_table_name(table)
            if table.view is not None:
                table_type = "view"
            else:
                table_type = "table"
            rows_by_table["tables"].append(
                (schema_name, name, table_type, table.utype, table.description or table.title, table.index or number)
            )
            rows_by_table["columns"].extend(
                _build_column_row(table, name, order, column)
                for order, column in enumerate(list_visible_columns(table), 1)
            )
            for key in table.keys:
                key_id = f"{table.qualified_name}:{key.id}".lower()
                schema_of, _, target = key.target.partition(".")
                rows_by_table["keys"].append(
                    (
                        key_id,
                        name,
                        f"{quote_identifier(schema_of)}.{quote_identifier(target)}",
                        key.description,
                        key.utype,
                    )
                )
                pairs = zip(key.columns, key.target_columns, strict=True)
                rows_by_table["key_columns"].extend(
                    (key_id, quote_identifier(from_column), quote_identifier(target_column))
                    for from_column, target_column in pairs
                )
    return rows_by_table


def _build_column_row(table: Table, name: str, order: int, column: Column) -> tuple[Any, ...]:
    column_type = column.type
    flags = (int(is_indexed(table, column)), int(column.is_principal), int(column.std))
    metadata = (column.description, column.utype, column.unit, column.ucd)
    return (
        name,
        quote_identifier(column.name),
        column_type.datatype,
        column_type.metadata_arraysize,
        column_type.xtype,
        column_type.size,
        *metadata,
        *flags,
        order,
    )


def _find_non_ascii_columns(table: Table, rows: Sequence[tuple[Any, ...]]) -> list[str]:
    return [
        column.name
        for column_number, column in enumerate(table.columns)
        if any(isinstance(row[column_number], str) and not row[column_number].isascii() for row in rows)
    ]


def _widen_columns(table: Table, non_ascii_columns: set[tuple[str, str]]) -> Table:
    change = {
        column.name: column.copy_with(type=UNICODE_TEXT_TYPE)
        for column in table.columns
        if (table.name, column.name) in non_ascii_columns
    }
    columns = tuple(change.get(column.name, column) for column in table.columns)
    return table.copy_with(columns=columns)


def _to_arrow_table(table: Table, rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    arrays = []
    for column_number, item in enumerate(table.arrow_schema):
        values = [row[column_number] for row in rows]
        arrays.append(
            pa.array([value or None for value in values] if pa.types.is_string(item.type) else values, item.type)
        )
    return pa.Table.from_arrays(arrays, schema=table.arrow_schema)
