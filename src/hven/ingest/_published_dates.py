"""When rows came, and when they changed last, where nothing but Hven knows.

Kept from the published rows of the same keys.

A descriptor without ``created:`` has the time of the run for `collection.created`. For a row that is published already,
the run is not when it came: its columns that are made of this time alone keep their published values. They are found by
primary key in the published snapshot, whichever engine has it, so they outlive syncs, ingests, moves to another engine
and restored backups as the rows do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.ingest._fingerprints import compute_fingerprints
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

MAX_LOOKUP_ROWS = 100_000  # rows that are asked for by key; if there are more, all are read
MAX_LOOKUP_FRACTION = 20  # or one published row in so many


@dataclass(slots=True, kw_only=True)
class _PublishedRows:
    """Some published rows, to be found by the hash of their keys: 16 bytes for each, and 4 for each column of dates."""

    keys: Words  # sorted
    row_positions: npt.NDArray[np.int64]  # place of each of `keys` in the arrays below
    content_hashes: Words | None  # hash of all other columns
    dates_by_column: dict[str, pa.Array]  # with dictionaries: a run gives all its rows one time

    def find_positions(self, keys: Words) -> npt.NDArray[np.int64]:
        """Return the place of each row, -1 for rows that are not there."""
        if not len(self.keys):
            return np.full(len(keys), -1, np.int64)
        sorted_positions = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[sorted_positions] == keys, self.row_positions[sorted_positions], -1)


class PublishedDates:
    """The dates of the rows of one table that is published.

    Parameters
    ----------
    engine
        Has the published snapshot.
    record
        What is published.
    table
        What is being made.
    date_column_names
        Columns that keep their values, of all sources of the table.
    warn
        Is told if what is published cannot be read: then all rows are new.
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
        before, after = (
            {column.name: column.type.arrow for column in compared_table.columns}
            for compared_table in (record.table, table)
        )
        self._date_column_names = [name for name in date_column_names if before.get(name) == after.get(name)]
        alike = table.primary and record.table.primary == table.primary
        if not alike or any(before.get(name) != after.get(name) for name in self._primary):
            self._date_column_names = []
        content_names = sorted(after.keys() - {*self._date_column_names})
        self._content_columns = (
            content_names if before == after else None
        )  # with other columns, every row is another one
        self._requested_rows = 0
        self._full_index: _PublishedRows | None = None

    def restore_dates(self, rows: pa.RecordBatch, mapping: CompiledMapping) -> pa.RecordBatch:
        """Replace the dates of rows whose keys are published already.

        Parameters
        ----------
        rows
            With all columns of the table.
        mapping
            By which they were made: `first_dates` and `change_dates` name columns.
        """
        first_date_columns, change_date_columns = (
            [name for name in self._date_column_names if name in mapped_columns]
            for mapped_columns in (mapping.first_date_columns, mapping.change_date_columns)
        )
        if not rows.num_rows or not (first_date_columns or change_date_columns):
            return rows
        table = replace_nan_with_null(pa.Table.from_batches([rows]))
        keys = _hash_columns(table, self._primary)
        try:
            published = self._find_published_rows(table, keys)
        except HvenError as error:
            self._date_column_names = []
            self._warn(
                f"{self._record.table.qualified_name}: what is published cannot be read, so its rows begin "
                f"anew with the dates of this run: {error}"
            )
            return rows
        positions = published.find_positions(keys)
        is_published = positions >= 0
        is_unchanged = np.zeros(len(positions), np.bool_)
        if change_date_columns and published.content_hashes is not None and self._content_columns is not None:
            is_unchanged[is_published] = (
                published.content_hashes[positions[is_published]]
                == _hash_columns(table, self._content_columns)[is_published]
            )
        for names, keeps_date in ((first_date_columns, is_published), (change_date_columns, is_unchanged)):
            for name in names if keeps_date.any() else ():
                number = rows.schema.get_field_index(name)
                values = published.dates_by_column[name].take(pa.array(positions, mask=~keeps_date)).dictionary_decode()
                values = pc.coalesce(values, rows.column(number))
                rows = rows.set_column(number, rows.schema.field(number), values)
        return rows

    def _find_published_rows(self, rows: pa.Table, keys: Words) -> _PublishedRows:
        """Look rows up: a few by key, so that a small change costs little.

        Many in an index of all that is published.
        """
        if self._full_index is not None:
            return self._full_index
        self._requested_rows += rows.num_rows
        snapshot = self._record.snapshot
        if (
            self._requested_rows <= max(MAX_LOOKUP_ROWS, snapshot.rows // MAX_LOOKUP_FRACTION)
            and rows.num_rows < snapshot.rows
        ):
            unique_positions = np.unique(keys, return_index=True)[1]
            wanted_keys = rows.select(self._primary).take(pa.array(unique_positions))
            published_rows = find_rows_by_key(
                self._engine, self._record.table, snapshot, wanted_keys, self._read_columns
            )
            return self._index_rows(published_rows.to_batches())
        self._full_index = self._index_rows(self._engine.read_rows(snapshot, self._read_columns))
        return self._full_index

    @property
    def _read_columns(self) -> list[str]:
        """Columns that are read of the published rows."""
        return [*dict.fromkeys([*self._primary, *self._date_column_names, *(self._content_columns or ())])]

    def _index_rows(self, batches: Iterable[pa.RecordBatch]) -> _PublishedRows:
        keys: list[Words] = [np.zeros(0, np.uint64)]
        contents: list[Words] = [np.zeros(0, np.uint64)]
        dates: dict[str, list[pa.Array]] = {name: [] for name in self._date_column_names}
        date_types = {name: self._record.table.find_column(name).type.arrow for name in self._date_column_names}
        for batch in batches:
            table = pa.Table.from_batches([batch])
            keys.append(_hash_columns(table, self._primary))
            if self._content_columns is not None:
                contents.append(_hash_columns(table, self._content_columns))
            for name, parts in dates.items():
                parts.append(batch.column(name).cast(date_types[name]).dictionary_encode())
        order = np.argsort(all_keys := np.concatenate(keys), kind="stable")
        content_hashes = None if self._content_columns is None else np.concatenate(contents)
        dates_by_column = {name: _unify_dictionaries(parts, date_types[name]) for name, parts in dates.items()}
        return _PublishedRows(
            keys=all_keys[order],
            row_positions=order,
            content_hashes=content_hashes,
            dates_by_column=dates_by_column,
        )


def _unify_dictionaries(parts: Sequence[pa.Array], value_type: pa.DataType) -> pa.Array:
    """Make one array with one dictionary of several."""
    chunks = pa.chunked_array(list(parts), type=pa.dictionary(pa.int32(), value_type)).unify_dictionaries()
    return chunks.combine_chunks()


def _hash_columns(rows: Any, names: Sequence[str]) -> Words:
    fingerprints = compute_fingerprints([rows.column(name) for name in names], rows.num_rows)
    return fingerprints[0]


def list_date_columns(table: Table, entries: Iterable[Any]) -> list[str]:
    """List the columns of a table that keep what is published, by the mappings of its sources."""
    date_column_names = {
        name for entry in entries for name in (*entry.mapping.first_date_columns, *entry.mapping.change_date_columns)
    }
    return [column.name for column in table.columns if column.name in date_column_names]
