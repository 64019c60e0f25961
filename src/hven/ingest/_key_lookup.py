"""Rows of a snapshot by key, asked of its engine as a query: by the index, whichever engine it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.binder import bind_query
from hven.adql.scope import StaticCatalogue
from hven.adql.syntax_tree import (
    Comparison,
    Ident,
    Join,
    Query,
    Select,
    SelectItem,
    TableRef,
    build_column_ref,
    join_conditions,
)
from hven.engines import ExecutionLimits, MemoryRelation
from hven.model.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.engines import Snapshot, StorageEngine

WANTED_KEYS_TABLE = ("TAP_UPLOAD", "hven_wanted")
MAX_KEYS_PER_QUERY = 100_000  # keys asked at once


def to_nullable_schema(schema: pa.Schema) -> pa.Schema:
    """Return the same columns without a word of nulls."""
    return pa.schema([item.with_nullable(True).remove_metadata() for item in schema])


def replace_nan_with_null(rows: pa.Table) -> pa.Table:
    """Write NaN as engines keep it: as null."""
    for column_number, item in enumerate(rows.schema):
        if pa.types.is_floating(item.type):
            column = rows.column(column_number)
            nan_mask = pc.is_nan(column)
            if pc.any(nan_mask).as_py():
                rows = rows.set_column(column_number, item, pc.if_else(nan_mask, pa.scalar(None, item.type), column))
    return rows


def find_rows_by_key(
    engine: StorageEngine, table: Table, snapshot: Snapshot, keys: pa.Table, columns: Sequence[str] | None = None
) -> pa.Table:
    """Return the rows whose `keys` (columns by name, each key once) are there.

    Parameters
    ----------
    columns
        Of the answer; None: all of the table.
    """
    if columns is not None:
        names = list(columns)
    else:
        names = table.arrow_schema.names
    keys_table = Table(
        schema=WANTED_KEYS_TABLE[0],
        name=WANTED_KEYS_TABLE[1],
        columns=tuple(table.find_column(name) for name in keys.column_names),
    )
    select_items = [SelectItem(build_column_ref(name, "t"), Ident(name, quoted=True)) for name in names]
    key_conditions = [
        Comparison("=", build_column_ref(name, "t"), build_column_ref(name, "k")) for name in keys.column_names
    ]
    key_join = Join(
        TableRef(
            tuple(Ident(key_snapshot, quoted=True) for key_snapshot in (table.schema, table.name)),
            Ident("t", quoted=True),
        ),
        TableRef(tuple(Ident(key_snapshot) for key_snapshot in WANTED_KEYS_TABLE), Ident("k", quoted=True)),
        "INNER",
        on=join_conditions(*key_conditions),
    )
    bound = bind_query(Query(Select(tuple(select_items), key_join)), StaticCatalogue([table, keys_table]))
    plan = engine.plan_query(bound)
    schema = to_nullable_schema(pa.schema([table.arrow_schema.field(name) for name in names]))
    batches: list[pa.RecordBatch] = []
    for begin in range(0, keys.num_rows, MAX_KEYS_PER_QUERY):
        key_snapshot = MemoryRelation(keys.slice(begin, MAX_KEYS_PER_QUERY).combine_chunks())
        execution = plan.execute(
            [], {table.qualified_name: snapshot, keys_table.qualified_name: key_snapshot}, ExecutionLimits()
        )
        try:
            batches.extend(batch.rename_columns(names).cast(schema) for batch in execution)
        finally:
            execution.close()
    return pa.Table.from_batches(batches, schema=schema)
