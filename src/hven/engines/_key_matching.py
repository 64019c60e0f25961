"""Find the rows of the same primary key in two tables.

The search is vectorised, for keys of one column or several, of any type that can be a key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt

    Rows = npt.NDArray[np.int64]


class PrimaryKeyLookup:
    """Primary keys that are looked up in pages of another table.

    Parameters
    ----------
    keys
        Columns of the primary key, in the types of the table; no nulls.
    names
        The columns' names, in order.
    """

    def __init__(self, keys: pa.Table, names: Sequence[str]) -> None:
        self._names = list(names)
        self.key_count = keys.num_rows
        self._distinct_values: list[pa.Array] = []
        # for each column but the first, the existing pairs of the code of the columns before and the value
        self._pair_codes: list[Rows] = []
        codes = np.zeros(keys.num_rows, np.int64)
        for number, name in enumerate(self._names):
            column = to_single_key_array(keys.column(name))
            values = pc.unique(column)
            self._distinct_values.append(values)
            if len(values) == keys.num_rows:
                column_codes = np.arange(keys.num_rows)
            else:
                column_codes = np.asarray(pc.index_in(column, value_set=values), np.int64)
            if not number:
                codes = column_codes
                continue
            pairs = codes * len(values) + column_codes
            pair_codes, codes = np.unique(pairs, return_inverse=True)
            self._pair_codes.append(pair_codes)
        # for the code of each key, the first row that has the key
        self.first_rows = np.full(int(codes.max()) + 1 if len(codes) else 0, -1, np.int64)
        self.first_rows[codes[::-1]] = np.arange(keys.num_rows)[::-1]
        self.duplicate_count = keys.num_rows - int(
            (self.first_rows >= 0).sum()
        )  # rows whose key is also in a row before

    def match_page_rows(self, page: pa.Table) -> Rows:
        """Return for each row of a page the row of the looked-up keys with the same key, or -1 if there is none.

        Every call builds a hash table of the looked-up keys, so pages should have as many rows.

        Parameters
        ----------
        page
            Rows with the columns of the key.
        """
        if not self.key_count or not page.num_rows:
            return np.full(page.num_rows, -1, np.int64)
        codes = np.zeros(page.num_rows, np.int64)
        for number, (name, values) in enumerate(zip(self._names, self._distinct_values, strict=True)):
            page_values = normalize_zeros(page.column(name))
            column_codes = _fill_missing_codes(pc.index_in(page_values, value_set=values))
            if not number:
                codes = column_codes
                continue
            pair_codes = self._pair_codes[number - 1]
            pairs = codes * len(values) + column_codes
            pair_index = np.minimum(np.searchsorted(pair_codes, pairs), len(pair_codes) - 1)
            has_codes = (codes >= 0) & (column_codes >= 0)
            codes = np.where(has_codes & (pair_codes[pair_index] == pairs), pair_index, -1)
        return np.where(codes >= 0, self.first_rows[codes], -1)


def group_batches_into_pages(batches: Iterable[pa.RecordBatch], page_rows: int) -> Iterator[pa.Table]:
    """Group batches into pages of at least `page_rows` rows; the last page may have fewer."""
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += batch.num_rows
        if count >= page_rows:
            yield pa.Table.from_batches(waiting)
            waiting = []
            count = 0
    if waiting:
        yield pa.Table.from_batches(waiting)


def to_single_key_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column as one array, with 0.0 for -0.0.

    Parameters
    ----------
    column
        A column (rows,) of any type, in one array or several chunks.

    Returns
    -------
    array
        An array (rows,) of the same type.
    """
    if isinstance(column, pa.ChunkedArray):
        if column.num_chunks == 1:
            column = column.chunk(0)
        else:
            column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks)
    return normalize_zeros(column)


def normalize_zeros(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Replace -0.0 by 0.0 in floating-point numbers: they are equal, so they match, and are counted together."""
    if pa.types.is_floating(values.type):
        return pc.add(values, pa.scalar(0.0, values.type))
    return values


def _fill_missing_codes(codes: pa.ChunkedArray) -> Rows:
    return np.asarray(pc.fill_null(codes, -1)).astype(np.int64)
