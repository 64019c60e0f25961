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
    labels = [model.label for model in comparison.models]
    column_count = len(comparison.texts.arrays["name"])
    label_places = {label: column_count + number for number, label in enumerate(labels)}  # after those of the columns
    places: list[int] = []
    shared_texts: list[tuple[str, ...]] = []  # of each value: what all its rows have in common
    row_counts: list[int] = []
    for group in comparison.groups:
        if group.missing_models:
            places += [label_places[label] for label in group.missing_models]
            shared_texts.append((group.key, MISSING_KIND, "", "", ""))
            row_counts.append(len(group.missing_models))
        for conflict in group.conflicts:
            places += conflict.columns.rows.tolist()
            shared_texts += [(group.key, conflict.kind, text, conflict.id, conflict.note) for text in conflict.texts]
            row_counts += conflict.counts
    arrow_schema = pa.schema([column.arrow_field for column in DIFFERENCE_COLUMNS])
    if not places:
        return arrow_schema.empty_table()
    numbers = pa.array(np.repeat(np.arange(len(shared_texts)), row_counts))
    keys, kinds, values, conflict_ids, notes = (
        pa.array(texts, pa.string()).take(numbers) for texts in zip(*shared_texts, strict=True)
    )
    place_texts = []
    for name, texts_of_missing in (("model", labels), ("table", [""] * len(labels)), ("name", [""] * len(labels))):
        texts = pa.concat_arrays([comparison.texts.arrays[name], pa.array(texts_of_missing, pa.string())])
        place_texts.append(texts.take(pa.array(places)))
    return pa.table([keys, kinds, values, *place_texts, conflict_ids, notes], schema=arrow_schema)


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
