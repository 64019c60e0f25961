"""Rows of the same primary key in two tables: vectorised, for keys of one column or several, of any type that can be a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]


class Wanted:
    """Primary keys that are looked for, page by page.

    Parameters
    ----------
    keys
        Columns of the primary key, in the types of the table; no nulls.
    names
        The columns' names, in order.
    """

    def __init__(self, keys: pa.Table, names: Sequence[str]) -> None:
        self._names = list(names)
        self.rows = keys.num_rows
        self._sets: list[pa.Array] = []
        self._steps: list[Rows] = []  # after each column but the first: the pairs (place so far, value) that there are
        place = np.zeros(keys.num_rows, np.int64)
        for number, name in enumerate(self._names):
            column = plain(keys.column(name))
            values = pc.unique(column)
            self._sets.append(values)
            code = (
                np.arange(keys.num_rows)
                if len(values) == keys.num_rows
                else np.asarray(pc.index_in(column, value_set=values), np.int64)
            )
            if not number:
                place = code
                continue
            pairs = place * len(values) + code
            known, place = np.unique(pairs, return_inverse=True)
            self._steps.append(known)
        # the place of a key in what was found -> the first row that has it
        self.first = np.full(int(place.max()) + 1 if len(place) else 0, -1, np.int64)
        self.first[place[::-1]] = np.arange(keys.num_rows)[::-1]
        self.repeated = keys.num_rows - int((self.first >= 0).sum())  # keys that stand before

    def find(self, page: pa.Table) -> Rows:
        """Return for each row of a page the row of the wanted keys with the same key, -1 if there is none.

        Every call begins with a hash table of the wanted keys: pages should have as many rows (see `pages`).
        """
        if not self.rows or not page.num_rows:
            return np.full(page.num_rows, -1, np.int64)
        place = np.zeros(page.num_rows, np.int64)
        for number, (name, values) in enumerate(zip(self._names, self._sets, strict=True)):
            code = _filled(pc.index_in(_zeroed(page.column(name)), value_set=values))
            if not number:
                place = code
                continue
            known = self._steps[number - 1]
            pairs = place * len(values) + code
            at = np.minimum(np.searchsorted(known, pairs), len(known) - 1)
            place = np.where((place >= 0) & (code >= 0) & (known[at] == pairs), at, -1)
        return np.where(place >= 0, self.first[place], -1)


def pages(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Yield batches together, so many rows at a time; the last page has fewer."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += batch.num_rows
        if count >= rows:
            yield pa.Table.from_batches(waiting)
            waiting, count = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting)


def plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column as one array; -0.0 is 0.0."""
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks)
    return _zeroed(column)


def _zeroed(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    return pc.add(column, pa.scalar(0.0, column.type)) if pa.types.is_floating(column.type) else column


def _filled(codes: pa.ChunkedArray) -> Rows:
    return np.asarray(pc.fill_null(codes, -1)).astype(np.int64)
