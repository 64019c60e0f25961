"""Write the differences of a comparison as a table, in any format of the site."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.formats import ResultStatus, TableMetadata
from hven.model.table import parse_column_lines
from hven.plugins.schema_life.schema_comparison import MISSING_KIND

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.formats import TableFormat
    from hven.plugins.schema_life.schema_comparison import SchemaComparison

DIFFERENCE_COLUMNS = parse_column_lines("""
    key | string | | meta.id | what the columns share
    kind | string | | meta.code.class | what differs
    value | string | | | one of the values that differ, or the model without such a column
    model | string | | | model with this value
    table_name | string | | | table of the column
    column_name | string | | | column with this value
    conflict | string | | meta.id | identifier of the conflict
    note | string | | meta.note | why the conflict is accepted
""")
MAX_BATCH_ROWS = 65_536


def build_difference_table(comparison: SchemaComparison) -> pa.Table:
    """Build a table with a row for each column of a conflict, and for each model without a column.

    Parameters
    ----------
    comparison
        The comparison.
    """
    models: list[str] = []  # three lists of texts, because Python's garbage collector would visit 300,000 tuples
    tables: list[str] = []
    names: list[str] = []
    shared_texts: list[tuple[str, ...]] = []  # of each value: what all its rows have in common
    row_counts: list[int] = []
    for group in comparison.groups:
        if group.missing_models:
            models += group.missing_models
            tables += [""] * len(group.missing_models)
            names += [""] * len(group.missing_models)
            shared_texts.append((group.key, MISSING_KIND, "", "", ""))
            row_counts.append(len(group.missing_models))
        for conflict in group.conflicts:
            for value in conflict.values:
                models += [column.model for column in value.columns]
                tables += [column.table for column in value.columns]
                names += [column.name for column in value.columns]
                shared_texts.append((group.key, conflict.kind, value.text, conflict.id, conflict.note))
                row_counts.append(len(value.columns))
    arrow_schema = pa.schema([column.arrow_field for column in DIFFERENCE_COLUMNS])
    if not models:
        return arrow_schema.empty_table()
    numbers = pa.array(np.repeat(np.arange(len(shared_texts)), row_counts))
    keys, kinds, values, conflict_ids, notes = (
        pa.array(texts, pa.string()).take(numbers) for texts in zip(*shared_texts, strict=True)
    )
    places = [pa.array(texts, pa.string()) for texts in (models, tables, names)]
    return pa.table([keys, kinds, values, *places, conflict_ids, notes], schema=arrow_schema)


def write_differences(
    comparison: SchemaComparison, table_format: TableFormat, options: Mapping[str, str]
) -> Iterator[bytes]:
    """Write the differences in a format.

    Parameters
    ----------
    comparison
        The comparison.
    table_format, options
        Format and its options, as `hven.formats.select_format` returns them.

    Returns
    -------
    chunks
        Parts of the file.
    """
    table = build_difference_table(comparison)
    metadata = TableMetadata(
        columns=DIFFERENCE_COLUMNS, name="differences", description=f"Columns compared by {comparison.grouping}"
    )
    batches = iter(table.to_batches(MAX_BATCH_ROWS))
    return table_format.write(metadata, batches, lambda: ResultStatus(row_count=table.num_rows), options)
