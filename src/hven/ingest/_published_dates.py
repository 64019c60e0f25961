"""Keep the dates at which rows were first published and last changed, if no source knows them.

The dates come from the published rows of the same keys. A descriptor without ``created:`` uses the time of the run for
`collection.created`. A row that is published already did not come with this run, so its columns that are made from this
time alone keep their published values. The rows are found by primary key in the published snapshot, in any engine. So
the dates outlive syncs, ingests, moves to another engine and restored backups, as the rows do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.ingest._fingerprints import compute_row_fingerprints
from hven.ingest._key_lookup import find_rows_by_key, replace_nan_with_null
from hven.model.errors import HvenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy.typing as npt

    from hven.descriptor.compiled_mapping import CompiledMapping
    from hven.engines import StorageEngine
    from hven.model.table import Table
    from hven.site.store import SnapshotRecord

    Words = npt.NDArray[np.uint64]

MAX_LOOKUP_ROWS = 100_000  # up to this number, rows are looked up by key; for more, all published rows are read
MAX_LOOKUP_FRACTION = 20  # .. or up to one in this number of published rows


@dataclass(slots=True, kw_only=True)
class _PublishedRowIndex:
    """An index of published rows by the hash of their keys: 16 bytes a row, and 4 for each column of dates."""

    keys: Words  # sorted
    row_positions: npt.NDArray[np.int64]  # position of the row of each key in the arrays below
    content_hashes: Words | None  # hash of all other columns
    dates_by_column: dict[str, pa.Array]  # with dictionaries, because all rows of a run have the same time

    def find_positions(self, keys: Words) -> npt.NDArray[np.int64]:
        """Return the position of each row, -1 for rows that are not published."""
        if not len(self.keys):
            return np.full(len(keys), -1, np.int64)
        sorted_positions = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        is_found = self.keys[sorted_positions] == keys
        return np.where(is_found, self.row_positions[sorted_positions], -1)


class PublishedRowDates:
    """The dates of the rows of a published table.

    Parameters
    ----------
    engine
        The engine of the published snapshot.
    record
        The published snapshot.
    table
        The table that is being made.
    date_column_names
        Columns that keep their values, of all sources of the table.
    warn
        Receives a warning if the published rows cannot be read; then all rows are new.
    """

    def __init__(
        self,
        engine: StorageEngine,
        record: SnapshotRecord,
        table: Table,
        date_column_names: Iterable[str],
        warn: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._record = record
        self._warn = warn
        self._primary = list(table.primary)
        old_types = {column.name: column.type.arrow for column in record.table.columns}
        new_types = {column.name: column.type.arrow for column in table.columns}
        has_same_key = bool(table.primary) and record.table.primary == table.primary
        if any(old_types.get(name) != new_types.get(name) for name in self._primary):
            has_same_key = False
        self._date_column_names: list[str] = []
        if has_same_key:
            self._date_column_names += [
                name for name in date_column_names if old_types.get(name) == new_types.get(name)
            ]
        # with other columns, every row counts as changed
        self._content_columns: list[str] | None = None
        if old_types == new_types:
            self._content_columns = sorted(new_types.keys() - {*self._date_column_names})
        self._requested_rows = 0
        self._full_index: _PublishedRowIndex | None = None

    def restore_dates(self, rows: pa.RecordBatch, mapping: CompiledMapping) -> pa.RecordBatch:
        """Replace the dates of rows whose keys are published already.

        Parameters
        ----------
        rows
            Rows with all columns of the table.
        mapping
            The mapping that made them; it names the columns of first dates and of dates of changes.
        """
        first_date_columns = [name for name in self._date_column_names if name in mapping.first_date_columns]
        change_date_columns = [name for name in self._date_column_names if name in mapping.change_date_columns]
        if not rows.num_rows or not (first_date_columns or change_date_columns):
            return rows
        table = replace_nan_with_null(pa.Table.from_batches([rows]))
        keys = _hash_rows_by_columns(table, self._primary)
        try:
            published_rows = self._find_or_build_published_row_index(table, keys)
        except HvenError as error:
            self._date_column_names = []
            self._warn(
                f"{self._record.table.qualified_name}: the published rows cannot be read, so all rows "
                f"get the dates of this run: {error}"
            )
            return rows
        positions = published_rows.find_positions(keys)
        is_published = positions >= 0
        rows = _restore_published_values(rows, first_date_columns, published_rows, positions, is_published)
        content_hashes = published_rows.content_hashes
        if change_date_columns and content_hashes is not None and self._content_columns is not None:
            new_hashes = _hash_rows_by_columns(table, self._content_columns)
            old_hashes = content_hashes[positions[is_published]]
            is_unchanged = np.zeros(len(positions), np.bool_)
            is_unchanged[is_published] = old_hashes == new_hashes[is_published]
            rows = _restore_published_values(rows, change_date_columns, published_rows, positions, is_unchanged)
        return rows

    def _find_or_build_published_row_index(self, rows: pa.Table, keys: Words) -> _PublishedRowIndex:
        """Find published rows: a few by key, so that a small change costs little, and many in an index of all rows."""
        if self._full_index is not None:
            return self._full_index
        self._requested_rows += rows.num_rows
        snapshot = self._record.snapshot
        max_requested_rows = max(MAX_LOOKUP_ROWS, snapshot.rows // MAX_LOOKUP_FRACTION)
        if self._requested_rows <= max_requested_rows and rows.num_rows < snapshot.rows:
            _, unique_positions = np.unique(keys, return_index=True)
            wanted_keys = rows.select(self._primary).take(pa.array(unique_positions))
            published_rows = find_rows_by_key(
                self._engine, self._record.table, snapshot, wanted_keys, self._columns_to_read
            )
            return self._index_rows(published_rows.to_batches())
        self._full_index = self._index_rows(self._engine.read_rows(snapshot, self._columns_to_read))
        return self._full_index

    @property
    def _columns_to_read(self) -> list[str]:
        """Columns to read from the published rows."""
        names = [*self._primary, *self._date_column_names, *(self._content_columns or ())]
        return list(dict.fromkeys(names))

    def _index_rows(self, batches: Iterable[pa.RecordBatch]) -> _PublishedRowIndex:
        key_parts: list[Words] = [np.zeros(0, np.uint64)]
        content_parts: list[Words] = [np.zeros(0, np.uint64)]
        date_parts: dict[str, list[pa.Array]] = {name: [] for name in self._date_column_names}
        date_types = {name: self._record.table.find_column(name).type.arrow for name in self._date_column_names}
        for batch in batches:
            table = pa.Table.from_batches([batch])
            key_parts.append(_hash_rows_by_columns(table, self._primary))
            if self._content_columns is not None:
                content_parts.append(_hash_rows_by_columns(table, self._content_columns))
            for name, parts in date_parts.items():
                dates = batch.column(name).cast(date_types[name])
                parts.append(dates.dictionary_encode())
        keys = np.concatenate(key_parts)
        order = np.argsort(keys, kind="stable")
        content_hashes = None
        if self._content_columns is not None:
            content_hashes = np.concatenate(content_parts)
        dates_by_column = {name: _unify_dictionaries(parts, date_types[name]) for name, parts in date_parts.items()}
        return _PublishedRowIndex(
            keys=keys[order],
            row_positions=order,
            content_hashes=content_hashes,
            dates_by_column=dates_by_column,
        )


def _restore_published_values(
    rows: pa.RecordBatch,
    names: Sequence[str],
    published_rows: _PublishedRowIndex,
    positions: npt.NDArray[np.int64],
    mask: npt.NDArray[np.bool_],
) -> pa.RecordBatch:
    """Replace the values of some columns, in the rows of a mask, by the published ones."""
    if not mask.any():
        return rows
    published_positions = pa.array(positions, mask=~mask)
    for name in names:
        column_number = rows.schema.get_field_index(name)
        published_dates = published_rows.dates_by_column[name].take(published_positions).dictionary_decode()
        dates = pc.coalesce(published_dates, rows.column(column_number))
        rows = rows.set_column(column_number, rows.schema.field(column_number), dates)
    return rows


def _unify_dictionaries(parts: Sequence[pa.Array], value_type: pa.DataType) -> pa.Array:
    """Join arrays with dictionaries to one array with one dictionary."""
    dictionary_type = pa.dictionary(pa.int32(), value_type)
    chunks = pa.chunked_array(list(parts), type=dictionary_type)
    return chunks.unify_dictionaries().combine_chunks()


def _hash_rows_by_columns(rows: Any, names: Sequence[str]) -> Words:
    fingerprints = compute_row_fingerprints([rows.column(name) for name in names], rows.num_rows)
    return fingerprints[0]


def list_preserved_date_columns(table: Table, entries: Iterable[Any]) -> list[str]:
    """List the columns of a table that keep their published values, by the mappings of its sources."""
    date_column_names: set[str] = set()
    for entry in entries:
        date_column_names.update(entry.mapping.first_date_columns)
        date_column_names.update(entry.mapping.change_date_columns)
    return [column.name for column in table.columns if column.name in date_column_names]
