"""Reading in the order of a key, so that who was stopped goes on behind the last row: places to go on from, and where a page may end."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hven.model.errors import SourceError
from hven.sources import ROW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.model.table import Column
    from hven.sources._reading.watermark import Words


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """The columns by which a source is paged, and their types. It need not be unique: rows of one key are never parted."""

    names: tuple[str, ...]
    times: tuple[bool, ...]

    @classmethod
    def of(cls, names: Sequence[str], columns: Mapping[str, Column], comparable: Callable[[str], bool]) -> Key | None:
        """Make a key of columns that can be compared and written down; None if there is none."""
        if not names or any(name not in columns or not comparable(name) or not _plain(columns[name]) for name in names):
            return None
        return cls(names=tuple(names), times=tuple(columns[name].type.is_timestamp for name in names))

    def place(self, batch: pa.RecordBatch | pa.Table, row: int, number: int) -> str:
        """Write down the key of a row, and the number of the row behind it."""
        values = [batch.column(name)[row].as_py() for name in self.names]
        return json.dumps(
            [number, [value.isoformat() if isinstance(value, dt.datetime) else value for value in values]]
        )

    def read(self, text: str) -> tuple[int, tuple[object, ...]]:
        """Parse what `place` wrote.

        Raises
        ------
        SourceError
            It is of another key.
        """
        try:
            number, values = json.loads(text)
            pairs = zip(values, self.times, strict=True)
            return int(number), tuple(dt.datetime.fromisoformat(value) if time else value for value, time in pairs)
        except (ValueError, TypeError) as error:
            raise SourceError("the place to go on from is of another key", remedy="begin anew") from error

    def behind(self, values: Sequence[object], words: Words) -> str:
        """Write the condition for rows behind a key."""
        name, value = self.names[len(self.names) - len(values)], values[0]
        column = words.column(name, computed=False)
        if len(values) == 1:
            return f"{column} > {words.value(value)}"
        first = f"{column} >= {words.value(value)}"  # for the index: it knows nothing of the OR
        beyond = f"{column} > {words.value(value)}"
        same = f"{column} = {words.value(value)}"
        return f"({first} AND ({beyond} OR ({same} AND {self.behind(values[1:], words)})))"

    def whole(self, table: pa.RecordBatch | pa.Table) -> int:
        """Count the rows before those that have the last row's key: what follows may have the same."""
        return int(table.num_rows - pc.sum(self._alike(table, -1)).as_py())

    def first(self, table: pa.RecordBatch | pa.Table) -> int:
        """Count the rows that have the first row's key."""
        return int(pc.sum(self._alike(table, 0)).as_py())

    def unknown(self, table: pa.RecordBatch | pa.Table) -> pa.Array | pa.ChunkedArray:
        """Mark rows without a whole key."""
        found = pc.is_null(table.column(self.names[0]), nan_is_null=True)
        for name in self.names[1:]:
            found = pc.or_(found, pc.is_null(table.column(name), nan_is_null=True))
        return found

    def _alike(self, table: pa.RecordBatch | pa.Table, row: int) -> pa.Array | pa.ChunkedArray:
        found = pc.equal(table.column(self.names[0]), table.column(self.names[0])[row])
        for name in self.names[1:]:
            found = pc.and_(found, pc.equal(table.column(name), table.column(name)[row]))
        return found


def _plain(column: Column) -> bool:
    kind = column.type
    return not kind.is_array and (kind.is_numeric or kind.is_timestamp or (kind.is_string and kind.xtype is None))


class Turning:
    """Cuts a stream in the order of a key into pages.

    Attributes
    ----------
    asked
        Columns that the stream must have: the wanted ones, the key, `ROW`.
    after, row
        The key of the last row that was read before, if any, and the number of the first row to come.
    """

    def __init__(self, key: Key, names: Sequence[str], page: int, after: str | None) -> None:
        self.key = key
        self.names = list(names)
        self.page = page
        self.asked = list(dict.fromkeys([*names, *key.names, ROW]))
        self.row = 1
        self.after: tuple[object, ...] | None = None
        if after:
            self.row, self.after = key.read(after)

    def turned(self, batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[pa.RecordBatch, str]]:
        """Yield pages. Rows without a key, which come last, cannot be gone on behind."""
        waiting: list[pa.RecordBatch] = []
        rows = 0
        for batch in batches:
            nameless = self.key.unknown(batch)
            known = batch.filter(pc.invert(nameless)) if pc.any(nameless).as_py() else batch
            waiting.append(known)
            rows += known.num_rows
            while rows >= self.page:
                table = pa.Table.from_batches(waiting)
                cut = min(self.key.whole(table), self.page) if rows > self.page else self.key.whole(table)
                cut = self._between(table, cut)
                if not cut:
                    break
                yield from self._page(table.slice(0, cut))
                rows -= cut
                waiting = table.slice(cut).to_batches()
            if known.num_rows < batch.num_rows:
                if rows:
                    yield from self._page(pa.Table.from_batches(waiting))
                    waiting, rows = [], 0
                yield batch.filter(nameless).select(self.names), ""
        if rows:
            yield from self._page(pa.Table.from_batches(waiting))

    def _between(self, table: pa.Table, cut: int) -> int:
        """Move a cut back to where the key changes; on, if a key has more rows than a page."""
        if cut in {0, table.num_rows}:
            return cut
        before = self.key.whole(table.slice(0, cut + 1))  # the row behind the cut and those like it
        return before or self.key.first(table)

    def _page(self, table: pa.Table) -> Iterator[tuple[pa.RecordBatch, str]]:
        place = self.key.place(table, table.num_rows - 1, table.column(ROW)[-1].as_py() + 1)
        parts = table.select(self.names).combine_chunks().to_batches()
        for part in parts[:-1]:  # text beyond 2 GB
            yield part, ""
        yield parts[-1], place
