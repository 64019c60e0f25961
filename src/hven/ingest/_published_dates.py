"""When rows came, and when they changed last, where nothing but Hven knows: kept from the published rows of the same keys.

A descriptor without ``created:`` has the time of the run for `collection.created`. For a row that is published already, the run is not when it
came: its columns that are made of this time alone keep their published values. They are found by primary key in the published snapshot,
whichever engine has it, so they outlive syncs, ingests, moves to another engine and restored backups as the rows do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.ingest._fingerprints import fingerprints
from hven.ingest._picking import rows_of, without_nan
from hven.model.errors import HvenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy.typing as npt

    from hven.descriptor.outcome import Mapping
    from hven.engines import Engine
    from hven.model.table import Table
    from hven.site.store import Record

    Words = npt.NDArray[np.uint64]

MAX_ASKED_ROWS = 100_000  # rows that are asked for by key; if there are more, all are read
ASKED_SHARE = 20  # or one published row in so many


@dataclass(slots=True, kw_only=True)
class _PublishedRows:
    """Some published rows, to be found by the hash of their keys: 16 bytes for each, and 4 for each column of dates."""

    keys: Words  # sorted
    order: npt.NDArray[np.int64]  # place of each of `keys` in the arrays below
    contents: Words | None  # hash of all other columns
    dates: dict[str, pa.Array]  # with dictionaries: a run gives all its rows one time

    def find(self, keys: Words) -> npt.NDArray[np.int64]:
        """Return the place of each row, -1 for rows that are not there."""
        if not len(self.keys):
            return np.full(len(keys), -1, np.int64)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, self.order[at], -1)


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
    names
        Columns that keep their values, of all sources of the table.
    warn
        Is told if what is published cannot be read: then all rows are new.
    """

    def __init__(
        self, engine: Engine, record: Record, table: Table, names: Iterable[str], warn: Callable[[str], None]
    ) -> None:
        self._engine, self._record, self._warn = engine, record, warn
        self._primary = list(table.primary)
        before, after = ({column.name: column.type.arrow for column in one.columns} for one in (record.table, table))
        self._names = [name for name in names if before.get(name) == after.get(name)]
        alike = table.primary and record.table.primary == table.primary
        if not alike or any(before.get(name) != after.get(name) for name in self._primary):
            self._names = []
        rest = sorted(after.keys() - {*self._names})
        self._contents = rest if before == after else None  # with other columns, every row is another one
        self._asked = 0
        self._whole: _PublishedRows | None = None

    def keep(self, rows: pa.RecordBatch, mapping: Mapping) -> pa.RecordBatch:
        """Replace the dates of rows whose keys are published already.

        Parameters
        ----------
        rows
            With all columns of the table.
        mapping
            By which they were made: `first_dates` and `change_dates` name columns.
        """
        first, changed = ([name for name in self._names if name in some] for some in (mapping.first_dates, mapping.change_dates))  # fmt: skip
        if not rows.num_rows or not (first or changed):
            return rows
        table = without_nan(pa.Table.from_batches([rows]))
        keys = _hash(table, self._primary)
        try:
            published = self._published(table, keys)
        except HvenError as error:
            self._names = []
            self._warn(
                f"{self._record.table.qualified}: what is published cannot be read, so its rows begin anew with the dates of this run: {error}"
            )
            return rows
        at = published.find(keys)
        there = at >= 0
        same = np.zeros(len(at), np.bool_)
        if changed and published.contents is not None and self._contents is not None:
            same[there] = published.contents[at[there]] == _hash(table, self._contents)[there]
        for names, known in ((first, there), (changed, same)):
            for name in names if known.any() else ():
                number = rows.schema.get_field_index(name)
                values = published.dates[name].take(pa.array(at, mask=~known)).dictionary_decode()
                values = pc.coalesce(values, rows.column(number))
                rows = rows.set_column(number, rows.schema.field(number), values)
        return rows

    def _published(self, rows: pa.Table, keys: Words) -> _PublishedRows:
        """Look rows up: a few by key, so that a small change costs little; many in an index of all that is published."""
        if self._whole is not None:
            return self._whole
        self._asked += rows.num_rows
        snapshot = self._record.snapshot
        if self._asked <= max(MAX_ASKED_ROWS, snapshot.rows // ASKED_SHARE) and rows.num_rows < snapshot.rows:
            unique = np.unique(keys, return_index=True)[1]
            wanted = rows.select(self._primary).take(pa.array(unique))
            found = rows_of(self._engine, self._record.table, snapshot, wanted, self._columns)
            return self._index(found.to_batches())
        self._whole = self._index(self._engine.read(snapshot, self._columns))
        return self._whole

    @property
    def _columns(self) -> list[str]:
        """Columns that are read of the published rows."""
        return [*dict.fromkeys([*self._primary, *self._names, *(self._contents or ())])]

    def _index(self, batches: Iterable[pa.RecordBatch]) -> _PublishedRows:
        keys: list[Words] = [np.zeros(0, np.uint64)]
        contents: list[Words] = [np.zeros(0, np.uint64)]
        dates: dict[str, list[pa.Array]] = {name: [] for name in self._names}
        kinds = {name: self._record.table.column(name).type.arrow for name in self._names}
        for batch in batches:
            table = pa.Table.from_batches([batch])
            keys.append(_hash(table, self._primary))
            if self._contents is not None:
                contents.append(_hash(table, self._contents))
            for name, parts in dates.items():
                parts.append(batch.column(name).cast(kinds[name]).dictionary_encode())
        order = np.argsort(whole := np.concatenate(keys), kind="stable")
        return _PublishedRows(
            keys=whole[order],
            order=order,
            contents=None if self._contents is None else np.concatenate(contents),
            dates={name: _joined(parts, kinds[name]) for name, parts in dates.items()},
        )


def _joined(parts: Sequence[pa.Array], kind: pa.DataType) -> pa.Array:
    """Make one array with one dictionary of several."""
    chunks = pa.chunked_array(list(parts), type=pa.dictionary(pa.int32(), kind)).unify_dictionaries()
    return chunks.combine_chunks()


def _hash(rows: Any, names: Sequence[str]) -> Words:
    return fingerprints([rows.column(name) for name in names], rows.num_rows)[0]


def of_table(table: Table, entries: Iterable[Any]) -> list[str]:
    """List the columns of a table that keep what is published, by the mappings of its sources."""
    some = {name for entry in entries for name in (*entry.mapping.first_dates, *entry.mapping.change_dates)}
    return [column.name for column in table.columns if column.name in some]
