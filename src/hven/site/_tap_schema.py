"""TAP_SCHEMA 1.1: its own description, and its rows, built from what one user may know of (TAP 1.1 section 4)."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.adql import quote_adql_name, quote_table_name
from hven.descriptor import load_standard_descriptor
from hven.engines import MemoryRelation
from hven.model.table import Column, Schema, Table
from hven.model.types import ColumnType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TAP_SCHEMA_NAME = "TAP_SCHEMA"
UNICODE_TEXT_TYPE = ColumnType("unicodeChar", "*")


@lru_cache(maxsize=1)
def load_tap_schema_definition() -> Schema:
    """Return the schema that describes itself: the shipped descriptor ``tap_schema``.

    Its descriptions may contain any character.
    """
    resource = load_standard_descriptor(TAP_SCHEMA_NAME.lower())
    tables = tuple(_adapt_to_tap_schema(spec.table) for spec in resource.tables)
    return Schema(name=TAP_SCHEMA_NAME, tables=tables, description=resource.description)


def _adapt_to_tap_schema(table: Table) -> Table:
    keys = []
    for key in table.keys:
        target_name = key.target.rpartition(".")[2]
        keys.append(replace(key, target=f"{TAP_SCHEMA_NAME}.{target_name}"))
    columns = list(table.columns)
    for column_number, column in enumerate(columns):
        if column.name == "description":
            columns[column_number] = column.copy_with(type=UNICODE_TEXT_TYPE)
    return table.copy_with(schema=TAP_SCHEMA_NAME, keys=tuple(keys), columns=tuple(columns))


def is_indexed(table: Table, column: Column) -> bool:
    """Return whether a condition on this column is fast."""
    return column.name in table.indexed_column_names or column.name in (table.position or ())


def list_visible_columns(table: Table) -> list[Column]:
    """Return the columns that metadata show."""
    return [column for column in table.columns if not column.hidden]


def build_tap_schema(schemas: Sequence[Schema]) -> tuple[Schema, dict[str, MemoryRelation]]:
    """Build TAP_SCHEMA from the schemas that a user may know of.

    Parameters
    ----------
    schemas
        The schemas without TAP_SCHEMA itself; foreign keys must refer to tables among them.

    Returns
    -------
    tuple
        TAP_SCHEMA's own schema (string columns with characters beyond ASCII are unicodeChar), and its rows by
        qualified name.
    """
    own_schema = load_tap_schema_definition()
    rows = _build_tap_schema_rows([*schemas, own_schema])
    tables = tuple(_with_unicode_columns(table, rows[table.name]) for table in own_schema.tables)
    if tables != own_schema.tables:
        own_schema = replace(own_schema, tables=tables)
        rows = _build_tap_schema_rows([*schemas, own_schema])
    memory_relations: dict[str, MemoryRelation] = {}
    for table in own_schema.tables:
        arrow_table = _to_arrow_table(table, rows[table.name])
        memory_relations[table.qualified_name] = MemoryRelation(arrow_table, is_reused=True)
    return own_schema, memory_relations


def _build_tap_schema_rows(schemas: Iterable[Schema]) -> dict[str, list[tuple[Any, ...]]]:
    rows_by_table: dict[str, list[tuple[Any, ...]]] = {table.name: [] for table in load_tap_schema_definition().tables}
    for schema_number, schema in enumerate(schemas, 1):
        schema_name = quote_adql_name(schema.name)
        schema_row = (schema_name, schema.utype, schema.description or schema.title, schema.index or schema_number)
        rows_by_table["schemas"].append(schema_row)
        for table_number, table in enumerate(schema.tables, 1):
            name = quote_table_name(table)
            table_type = "table" if table.view is None else "view"
            description = table.description or table.title
            table_row = (schema_name, name, table_type, table.utype, description, table.index or table_number)
            rows_by_table["tables"].append(table_row)
            for column_number, column in enumerate(list_visible_columns(table), 1):
                rows_by_table["columns"].append(_build_column_row(table, name, column_number, column))
            for key in table.keys:
                key_id = f"{table.qualified_name}:{key.id}".lower()
                target_schema, _, target_table = key.target.partition(".")
                target_name = f"{quote_adql_name(target_schema)}.{quote_adql_name(target_table)}"
                rows_by_table["keys"].append((key_id, name, target_name, key.description, key.utype))
                for from_column, target_column in zip(key.columns, key.target_columns, strict=True):
                    key_row = (key_id, quote_adql_name(from_column), quote_adql_name(target_column))
                    rows_by_table["key_columns"].append(key_row)
    return rows_by_table


def _build_column_row(table: Table, name: str, column_number: int, column: Column) -> tuple[Any, ...]:
    column_type = column.type
    flags = (int(is_indexed(table, column)), int(column.is_principal), int(column.std))
    metadata = (column.description, column.utype, column.unit, column.ucd)
    return (
        name,
        quote_adql_name(column.name),
        column_type.datatype,
        column_type.metadata_arraysize,
        column_type.xtype,
        column_type.tap_schema_size,
        *metadata,
        *flags,
        column_number,
    )


def _with_unicode_columns(table: Table, rows: Sequence[tuple[Any, ...]]) -> Table:
    """Make columns with characters beyond ASCII unicodeChar."""
    columns = list(table.columns)
    for column_number, column in enumerate(columns):
        texts = [row[column_number] for row in rows if isinstance(row[column_number], str)]
        if not all(text.isascii() for text in texts):
            columns[column_number] = column.copy_with(type=UNICODE_TEXT_TYPE)
    return table.copy_with(columns=tuple(columns))


def _to_arrow_table(table: Table, rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    arrays = []
    for column_number, arrow_field in enumerate(table.arrow_schema):
        values = [row[column_number] for row in rows]
        if pa.types.is_string(arrow_field.type):
            values = [text or None for text in values]
        arrays.append(pa.array(values, arrow_field.type))
    return pa.Table.from_arrays(arrays, schema=table.arrow_schema)
