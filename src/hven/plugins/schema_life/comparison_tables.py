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

    from numpy.typing import NDArray

    from hven.formats import TableFormat
    from hven.plugins.schema_life.schema_comparison import SchemaComparison

DIFFERENCE_COLUMNS = parse_column_lines("""
    key | string | | meta.id | what the columns share
    kind | string | | meta.code.class | what differs
    value | string | | | one of the values that differ, or the number of models without such a column
    model | string | | | model with this value, or without such a column
    table_name | string | | | table of the column
    column_name | string | | | column with this value
    conflict | string | | meta.id | identifier of the conflict
    note | string | | meta.note | why the conflict is accepted
""")
MAX_BATCH_ROWS = 65_536


def iterate_differences(comparison: SchemaComparison) -> Iterator[pa.RecordBatch]:
    """Yield blocks of rows: one for each column of a conflict, and for each model without a column.

    A comparison with too many models without a column (see `SchemaComparison.lists_missing_models`) has one row with
    their number instead.

    Parameters
    ----------
    comparison
        The comparison.
    """
    labels = [model.label for model in comparison.models]
    # after the places of the columns: each model without a column, and all such models together
    no_texts = [""] * (len(labels) + 1)
    absences = pa.table({"model": [*labels, ""], "table": no_texts, "name": no_texts})
    place_texts = pa.concat_tables([comparison.texts.select(absences.column_names), absences])
    first_absence = len(comparison.texts)
    places_by_label = {label: first_absence + number for number, label in enumerate(labels)}
    places_by_models: dict[int, NDArray[np.int64]] = {}  # most groups share the list of their models
    shared_texts: list[tuple[str, ...]] = []  # of each value: what all its rows have in common
    places: list[NDArray[np.int64]] = []
    row_counts: list[int] = []
    for group in comparison.groups:
        if group.missing_count and comparison.lists_missing_models:
            if id(group.models) not in places_by_models:
                absent_places = np.array([places_by_label[label] for label in group.missing_models])
                places_by_models[id(group.models)] = absent_places
            missing_id = comparison.compute_missing_id(group)
            shared_texts.append((group.key, MISSING_KIND, "", missing_id, comparison.notes.get(missing_id, "")))
            places.append(places_by_models[id(group.models)])
            row_counts.append(group.missing_count)
        elif group.missing_count:
            shared_texts.append((group.key, MISSING_KIND, f"{group.missing_count} models", "", ""))
            places.append(np.array([first_absence + len(labels)]))
            row_counts.append(1)
        for conflict in group.conflicts:
            for value in conflict.values:
                shared_texts.append((group.key, conflict.kind, value.text, conflict.id, conflict.note))
                places.append(value.columns.rows)
                row_counts.append(len(value.columns))
    if not places:
        return
    shared_columns = [pa.array(texts, pa.string()) for texts in zip(*shared_texts, strict=True)]
    numbers = np.repeat(np.arange(len(shared_texts)), row_counts)
    row_places = np.concatenate(places)
    for begin in range(0, len(row_places), MAX_BATCH_ROWS):
        block = slice(begin, begin + MAX_BATCH_ROWS)
        key, kind, value, conflict_id, note = (texts.take(pa.array(numbers[block])) for texts in shared_columns)
        arrays = [key, kind, value, *place_texts.take(row_places[block]).columns, conflict_id, note]
        rows = pa.table(arrays, [column.name for column in DIFFERENCE_COLUMNS])
        yield from rows.combine_chunks().to_batches()


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
    metadata = TableMetadata(
        columns=DIFFERENCE_COLUMNS, name="differences", description=f"Columns compared by {comparison.grouping}"
    )
    row_count = 0

    def count_rows() -> Iterator[pa.RecordBatch]:
        nonlocal row_count
        for batch in iterate_differences(comparison):
            row_count += batch.num_rows
            yield batch

    return table_format.write(metadata, count_rows(), lambda: ResultStatus(row_count=row_count), options)
