"""Cut batches to a limit of rows in all, and of rows in one batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa


def limit_rows(batches: Iterable[pa.RecordBatch], row_limit: int | None) -> Iterator[pa.RecordBatch]:
    """Yield batches until they have `row_limit` rows; nothing is read behind the last one.

    Parameters
    ----------
    batches
        Record batches of any size.
    row_limit
        Maximum number of rows in all; None: no limit.
    """
    remaining_rows = row_limit
    for batch in batches:
        if remaining_rows is None:
            yield batch
            continue
        yield batch.slice(0, remaining_rows)
        remaining_rows -= batch.num_rows
        if remaining_rows <= 0:
            return


def split_batches(
    batches: Iterable[pa.RecordBatch], batch_row_limit: int, row_limit: int | None
) -> Iterator[pa.RecordBatch]:
    """Yield batches of `batch_row_limit` rows at most, `row_limit` rows in all; batches without rows are left out.

    Parameters
    ----------
    batches
        Record batches of any size.
    batch_row_limit
        Maximum number of rows of a batch.
    row_limit
        Maximum number of rows in all; None: no limit.
    """
    for batch in limit_rows(batches, row_limit):
        for at in range(0, batch.num_rows, batch_row_limit):
            yield batch.slice(at, batch_row_limit)
