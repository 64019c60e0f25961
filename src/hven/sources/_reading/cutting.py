"""Batches cut to what was asked for: so many rows in all, so many in one batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa


def limited(batches: Iterable[pa.RecordBatch], limit: int | None) -> Iterator[pa.RecordBatch]:
    """Yield batches until they have `limit` rows; nothing is read behind the last one. None: all of them."""
    left = limit
    for batch in batches:
        if left is None:
            yield batch
            continue
        yield batch.slice(0, left)
        left -= batch.num_rows
        if left <= 0:
            return


def cut(batches: Iterable[pa.RecordBatch], rows: int, limit: int | None) -> Iterator[pa.RecordBatch]:
    """Yield batches of `rows` rows at most, `limit` rows in all; batches without rows are left out."""
    for batch in limited(batches, limit):
        for at in range(0, batch.num_rows, rows):
            yield batch.slice(at, rows)
