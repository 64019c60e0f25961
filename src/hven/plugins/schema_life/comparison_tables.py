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
    from hven.plugins.schema_life.schema_comparison import ComparisonGroup, SchemaComparison

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


class _DifferenceRows:
    """Collects the rows of a block.

    Parameters
    ----------
    comparison
        The comparison.
    """

    def __init__(self, comparison: SchemaComparison) -> None:
        labels = [model.label for model in comparison.models]
        texts = comparison.texts.arrays
        column_count = len(texts["name"])
        self._comparison = comparison
        # after the places of the columns: each model without a column, and all such models together
        self._places_by_label = {label: column_count + number for number, label in enumerate(labels)}
        self._counted_place = column_count + len(labels)
        no_texts = [""] * (len(labels) + 1)
        self._place_texts = [
            pa.concat_arrays([texts[name], pa.array(texts_of_missing, pa.string())])
            for name, texts_of_missing in (("model", [*labels, ""]), ("table", no_texts), ("name", no_texts))
        ]
        self._arrow_schema = pa.schema([column.arrow_field for column in DIFFERENCE_COLUMNS])
        self._missing_places: dict[int, list[int]] = {}
        self._places: list[int] = []
        self._shared_texts: list[tuple[str, ...]] = []  # of each value: what all its rows have in common
        self._row_counts: list[int] = []

    def __len__(self) -> int:
        return len(self._places)

    def add_group(self, group: ComparisonGroup) -> None:
        """Add a row for each column of a conflict, and for each model without a column."""
        if group.missing_count and self._comparison.lists_missing_models:
            places = self._missing_places.get(id(group.models))  # most groups share the list of their models
            if places is None:
                places = [self._places_by_label[label] for label in group.missing_models]
                self._missing_places[id(group.models)] = places
            self._places += places
            missing_id = self._comparison.compute_missing_id(group)
            note = self._comparison.notes.get(missing_id, "")
            self._shared_texts.append((group.key, MISSING_KIND, "", missing_id, note))
            self._row_counts.append(group.missing_count)
        elif group.missing_count:
            self._places.append(self._counted_place)
            self._shared_texts.append((group.key, MISSING_KIND, f"{group.missing_count} models", "", ""))
            self._row_counts.append(1)
        for conflict in group.conflicts:
            self._places += conflict.columns.rows.tolist()
            self._shared_texts += [
                (group.key, conflict.kind, text, conflict.id, conflict.note) for text in conflict.texts
            ]
            self._row_counts += conflict.counts

    def build_batch_and_clear(self) -> pa.RecordBatch:
        """Return the rows, and remove them."""
        numbers = pa.array(np.repeat(np.arange(len(self._shared_texts)), self._row_counts))
        keys, kinds, values, conflict_ids, notes = (
            pa.array(texts, pa.string()).take(numbers) for texts in zip(*self._shared_texts, strict=True)
        )
        places = pa.array(self._places)
        place_texts = [texts.take(places) for texts in self._place_texts]
        self._places, self._shared_texts, self._row_counts = [], [], []
        return pa.record_batch([keys, kinds, values, *place_texts, conflict_ids, notes], schema=self._arrow_schema)


def iterate_differences(comparison: SchemaComparison) -> Iterator[pa.RecordBatch]:
    """Yield blocks of rows: one for each column of a conflict, and for each model without a column.

    A comparison with too many models without a column (see `SchemaComparison.lists_missing_models`) has one row with
    their number instead.

    Parameters
    ----------
    comparison
        The comparison.
    """
    rows = _DifferenceRows(comparison)
    for group in comparison.groups:
        rows.add_group(group)
        if len(rows) >= MAX_BATCH_ROWS:
            yield rows.build_batch_and_clear()
    if len(rows):
        yield rows.build_batch_and_clear()


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
