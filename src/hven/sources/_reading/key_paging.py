"""Read in the order of a key, so that an interrupted run resumes behind its last row.

Pages have resume tokens, and end where the key changes.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hven.model.errors import SourceError
from hven.sources import ROW_NUMBER_COLUMN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.model.table import Column
    from hven.sources._reading.watermarks import ConditionWriter


@dataclass(frozen=True, slots=True, kw_only=True)
class PagingKey:
    """The columns by which a source is paged, and their types. It need not be unique.

    The rows of one key are never separated.

    Attributes
    ----------
    names
        Names of the columns.
    is_time
        Whether each column has times.

    Common
    ------
    table
        Rows that have the columns of the key.
    writer
        Writes the parts of a condition for the source.
    """

    names: tuple[str, ...]
    is_time: tuple[bool, ...]

    @classmethod
    def from_columns(
        cls, names: Sequence[str], columns: Mapping[str, Column], is_comparable: Callable[[str], bool]
    ) -> PagingKey | None:
        """Build a key of columns that can be compared and written down.

        Parameters
        ----------
        names
            Names of the columns.
        columns
            The columns of the source by their names.
        is_comparable
            Tells whether values of a column have the same order in the source and in Hven.

        Returns
        -------
        key
            None: there are no names, or a column cannot be compared.
        """
        if not names or any(
            name not in columns or not is_comparable(name) or not _is_scalar_column(columns[name]) for name in names
        ):
            return None
        return cls(names=tuple(names), is_time=tuple(columns[name].type.is_timestamp for name in names))

    def write_token(self, batch: pa.RecordBatch | pa.Table, row_index: int, next_row_number: int) -> str:
        """Return a token: the key of a row, and the number of the row behind it.

        Parameters
        ----------
        batch
            Rows that have the columns of the key.
        row_index
            Index of the row.
        next_row_number
            Number of the row behind it.
        """
        values = [batch.column(name)[row_index].as_py() for name in self.names]
        return json.dumps(
            [next_row_number, [value.isoformat() if isinstance(value, dt.datetime) else value for value in values]]
        )

    def parse_token(self, text: str) -> tuple[int, tuple[object, ...]]:
        """Parse a token of `write_token`.

        Parameters
        ----------
        text
            The token.

        Returns
        -------
        next_row_number, values
            The number of the row behind the key, and the values of the key.

        Raises
        ------
        SourceError
            The token belongs to another key.
        """
        try:
            number, values = json.loads(text)
            pairs = zip(values, self.is_time, strict=True)
            return int(number), tuple(dt.datetime.fromisoformat(value) if time else value for value, time in pairs)
        except (ValueError, TypeError) as error:
            raise SourceError(
                "the saved position belongs to different key columns", remedy="start again from the beginning"
            ) from error

    def write_condition_after(self, values: Sequence[object], writer: ConditionWriter) -> str:
        """Return the condition for rows behind a key.

        Parameters
        ----------
        values
            Values of the key, or of its last columns.
        """
        name = self.names[len(self.names) - len(values)]
        value = values[0]
        column = writer.write_column(name, is_computed=False)
        if len(values) == 1:
            return f"{column} > {writer.write_literal(value)}"
        first = f"{column} >= {writer.write_literal(value)}"  # for the index, which cannot use the OR
        beyond = f"{column} > {writer.write_literal(value)}"
        same = f"{column} = {writer.write_literal(value)}"
        return f"({first} AND ({beyond} OR ({same} AND {self.write_condition_after(values[1:], writer)})))"

    def count_rows_before_last_key(self, table: pa.RecordBatch | pa.Table) -> int:
        """Return the number of rows before those with the key of the last row.

        The next page may have more rows of that key.
        """
        return int(table.num_rows - pc.sum(self._mark_same_key(table, -1)).as_py())

    def count_first_key_rows(self, table: pa.RecordBatch | pa.Table) -> int:
        """Return the number of rows with the key of the first row."""
        return int(pc.sum(self._mark_same_key(table, 0)).as_py())

    def mark_missing_keys(self, table: pa.RecordBatch | pa.Table) -> pa.Array | pa.ChunkedArray:
        """Return booleans of shape (rows,), which mark the rows without a whole key."""
        is_missing = pc.is_null(table.column(self.names[0]), nan_is_null=True)
        for name in self.names[1:]:
            is_missing = pc.or_(is_missing, pc.is_null(table.column(name), nan_is_null=True))
        return is_missing

    def _mark_same_key(self, table: pa.RecordBatch | pa.Table, row_index: int) -> pa.Array | pa.ChunkedArray:
        is_same = pc.equal(table.column(self.names[0]), table.column(self.names[0])[row_index])
        for name in self.names[1:]:
            is_same = pc.and_(is_same, pc.equal(table.column(name), table.column(name)[row_index]))
        return is_same


def _is_scalar_column(column: Column) -> bool:
    kind = column.type
    return not kind.is_array and (kind.is_numeric or kind.is_timestamp or (kind.is_string and kind.xtype is None))


class KeyOrderedPager:
    """Cuts a stream in the order of a key into pages.

    Attributes
    ----------
    requested_names
        Columns that the stream must have: the wanted ones, the key, `ROW_NUMBER_COLUMN`.
    resume_token, next_row_number
        Key of the last row that was read before, if any, and the number of the first row to come.
    """

    def __init__(self, key: PagingKey, names: Sequence[str], page_row_limit: int, resume_token: str | None) -> None:
        self.key = key
        self.names = list(names)
        self.page_row_limit = page_row_limit
        self.requested_names = list(dict.fromkeys([*names, *key.names, ROW_NUMBER_COLUMN]))
        self.next_row_number = 1
        self.last_key: tuple[object, ...] | None = None
        if resume_token:
            self.next_row_number, self.last_key = key.parse_token(resume_token)

    def split_into_pages(self, batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[pa.RecordBatch, str]]:
        """Yield pages. Rows without a key come last, and have no token.

        Parameters
        ----------
        batches
            Rows in the order of the key, with the columns `requested_names`.
        """
        waiting: list[pa.RecordBatch] = []
        rows = 0
        for batch in batches:
            nameless = self.key.mark_missing_keys(batch)
            if pc.any(nameless).as_py():
                keyed_rows = batch.filter(pc.invert(nameless))
            else:
                keyed_rows = batch
            waiting.append(keyed_rows)
            rows += keyed_rows.num_rows
            while rows >= self.page_row_limit:
                table = pa.Table.from_batches(waiting)
                if rows > self.page_row_limit:
                    complete_row_count = self.key.count_rows_before_last_key(table)
                    cut = min(complete_row_count, self.page_row_limit)
                else:
                    cut = self.key.count_rows_before_last_key(table)
                cut = self._move_cut_to_key_change(table, cut)
                if not cut:
                    break
                yield from self._iterate_page_batches(table.slice(0, cut))
                rows -= cut
                waiting = table.slice(cut).to_batches()
            if keyed_rows.num_rows < batch.num_rows:
                if rows:
                    yield from self._iterate_page_batches(pa.Table.from_batches(waiting))
                    waiting = []
                    rows = 0
                yield batch.filter(nameless).select(self.names), ""
        if rows:
            yield from self._iterate_page_batches(pa.Table.from_batches(waiting))

    def _move_cut_to_key_change(self, table: pa.Table, cut: int) -> int:
        """Move a cut back to where the key changes; or forward, if a key has more rows than a page."""
        if cut in {0, table.num_rows}:
            return cut
        before = self.key.count_rows_before_last_key(
            table.slice(0, cut + 1)
        )  # the row behind the cut and those like it
        return before or self.key.count_first_key_rows(table)

    def _iterate_page_batches(self, table: pa.Table) -> Iterator[tuple[pa.RecordBatch, str]]:
        place = self.key.write_token(table, table.num_rows - 1, table.column(ROW_NUMBER_COLUMN)[-1].as_py() + 1)
        parts = table.select(self.names).combine_chunks().to_batches()
        for part in parts[:-1]:  # text beyond 2 GB
            yield part, ""
        yield parts[-1], place
