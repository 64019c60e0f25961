"""Rows of a snapshot by key, asked of its engine as a query: by the index, whichever engine it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.bind import bind
from hven.adql.scope import Tables
from hven.adql.tree import Compare, Ident, Join, Query, Select, SelectItem, TableRef, conjunction, ref
from hven.engines import Limits, Memory
from hven.model.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.engines import Engine, Snapshot

WANTED = ("TAP_UPLOAD", "hven_wanted")
MOST = 100_000  # keys asked at once


def nullable(schema: pa.Schema) -> pa.Schema:
    """Return the same columns without a word of nulls."""
    return pa.schema([item.with_nullable(True).remove_metadata() for item in schema])


def without_nan(rows: pa.Table) -> pa.Table:
    """Write NaN as engines keep it: as null."""
    for at, item in enumerate(rows.schema):
        if pa.types.is_floating(item.type):
            column = rows.column(at)
            wrong = pc.is_nan(column)
            if pc.any(wrong).as_py():
                rows = rows.set_column(at, item, pc.if_else(wrong, pa.scalar(None, item.type), column))
    return rows


def rows_of(
    engine: Engine, table: Table, snapshot: Snapshot, keys: pa.Table, columns: Sequence[str] | None = None
) -> pa.Table:
    """Return the rows whose `keys` (columns by name, each key once) are there.

    Parameters
    ----------
    columns
        Of the answer; None: all of the table.
    """
    names = list(columns) if columns is not None else table.arrow.names
    other = Table(schema=WANTED[0], name=WANTED[1], columns=tuple(table.column(name) for name in keys.column_names))
    wanted = [SelectItem(ref(name, "t"), Ident(name, quoted=True)) for name in names]
    equal = [Compare("=", ref(name, "t"), ref(name, "k")) for name in keys.column_names]
    both = Join(
        TableRef(tuple(Ident(part, quoted=True) for part in (table.schema, table.name)), Ident("t", quoted=True)),
        TableRef(tuple(Ident(part) for part in WANTED), Ident("k", quoted=True)),
        "INNER",
        on=conjunction(*equal),
    )
    bound = bind(Query(Select(tuple(wanted), both)), Tables([table, other]))
    plan = engine.prepare(bound)
    schema = nullable(pa.schema([table.arrow.field(name) for name in names]))
    found: list[pa.RecordBatch] = []
    for begin in range(0, keys.num_rows, MOST):
        part = Memory(keys.slice(begin, MOST).combine_chunks())
        execution = plan.execute([], {table.qualified: snapshot, other.qualified: part}, Limits())
        try:
            found.extend(batch.rename_columns(names).cast(schema) for batch in execution)
        finally:
            execution.close()
    return pa.Table.from_batches(found, schema=schema)
