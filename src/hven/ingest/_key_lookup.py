"""Find rows of a snapshot by their keys, with a query to its engine, which uses the index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from hven.adql.binder import bind_query
from hven.adql.scope import StaticTableCatalogue
from hven.adql.syntax_tree import (
    Comparison,
    Ident,
    Join,
    Query,
    Select,
    SelectItem,
    TableRef,
    build_column_ref,
    join_conditions_with_and,
)
from hven.engines import ExecutionLimits, MemoryRelation
from hven.model import literal
from hven.model.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.engines import Snapshot, StorageEngine

WANTED_KEYS_TABLE = ("TAP_UPLOAD", "hven_wanted")
MAX_KEYS_PER_QUERY = 100_000  # more keys are looked up in several queries


def to_nullable_schema(schema: pa.Schema) -> pa.Schema:
    """Return the same columns, all nullable and without metadata."""
    return pa.schema([column.with_nullable(True).remove_metadata() for column in schema])


def replace_nan_with_null(rows: pa.Table) -> pa.Table:
    """Replace NaN by null, as engines store it."""
    return pa.Table.from_arrays(list(map(literal.replace_nan_with_null, rows.columns)), schema=rows.schema)


def find_rows_by_key(
    engine: StorageEngine, table: Table, snapshot: Snapshot, keys: pa.Table, columns: Sequence[str] | None = None
) -> pa.Table:
    """Return the rows of a snapshot that have one of some keys.

    Parameters
    ----------
    engine
        The engine that stores the snapshot.
    table
        The table.
    snapshot
        The snapshot.
    keys
        Key columns by name, each key once.
    columns
        Columns of the answer; None: all columns of the table.
    """
    if columns is not None:
        names = list(columns)
    else:
        names = table.arrow_schema.names
    key_names = keys.column_names
    keys_table = Table(
        schema=WANTED_KEYS_TABLE[0],
        name=WANTED_KEYS_TABLE[1],
        columns=tuple(table.find_column(name) for name in key_names),
    )
    table_path = tuple(Ident(part, quoted=True) for part in (table.schema, table.name))
    keys_path = tuple(Ident(part) for part in WANTED_KEYS_TABLE)
    key_conditions = [Comparison("=", build_column_ref(name, "t"), build_column_ref(name, "k")) for name in key_names]
    key_join = Join(
        TableRef(table_path, Ident("t", quoted=True)),
        TableRef(keys_path, Ident("k", quoted=True)),
        "INNER",
        on=join_conditions_with_and(*key_conditions),
    )
    select_items = tuple(SelectItem(build_column_ref(name, "t"), Ident(name, quoted=True)) for name in names)
    bound = bind_query(Query(Select(select_items, key_join)), StaticTableCatalogue([table, keys_table]))
    plan = engine.plan_query(bound)
    schema = to_nullable_schema(pa.schema([table.arrow_schema.field(name) for name in names]))
    batches: list[pa.RecordBatch] = []
    for begin in range(0, keys.num_rows, MAX_KEYS_PER_QUERY):
        key_relation = MemoryRelation(keys.slice(begin, MAX_KEYS_PER_QUERY).combine_chunks())
        relations: dict[str, Snapshot | MemoryRelation] = {table.qualified_name: snapshot}
        relations[keys_table.qualified_name] = key_relation
        execution = plan.execute([], relations, ExecutionLimits())
        try:
            batches.extend(batch.rename_columns(names).cast(schema) for batch in execution)
        finally:
            execution.close()
    return pa.Table.from_batches(batches, schema=schema)
