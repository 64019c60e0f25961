"""Parquet, with the columns' metadata as a VOTable without rows in the footer (the VOParquet convention 1.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from hven.formats import Format, votable
from hven.formats._parquet_heads import unpacked
from hven.model import literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hven.formats import End, Head

CONTENT, VERSION = "IVOA.VOTable-Parquet.content", "IVOA.VOTable-Parquet.version"
_GROUP, _HELD = 131_072, 128 << 20  # rows per row group, unless fewer have so many bytes


class _Pipe:
    """A file that only remembers what was written until somebody takes it."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def take(self) -> bytes:
        data, self._parts = b"".join(self._parts), []
        return data


def write(
    head: Head,
    batches: Iterator[pa.RecordBatch],
    end: Callable[[], End],
    options: Mapping[str, str],  # noqa: ARG001
) -> Iterator[bytes]:
    """Write a Parquet file row group by row group, compressed with zstd.

    The footer's VOTable carries QUERY_STATUS, so that an overflow is said. A late error passes through: the file then
    has no footer, and no reader takes it for whole.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415  (slow to load, asked by few)

    schema = pa.schema([pa.field(column.name, column.type.arrow) for column in head.columns])
    pipe = _Pipe()
    batches = iter(batches)
    following = next(batches, None)
    with pq.ParquetWriter(pa.PythonFile(pipe, "w"), schema, compression="zstd", store_schema=True) as writer:
        waiting: list[pa.RecordBatch] = []
        rows = held = 0
        if start := pipe.take():
            yield start
        while following is not None:
            batch, following = following, None
            arrays = [literal.storage(batch.column(number), column.type) for number, column in enumerate(head.columns)]
            waiting.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
            rows += batch.num_rows
            held += waiting[-1].nbytes
            if rows >= _GROUP or held >= _HELD:
                writer.write_table(pa.Table.from_batches(waiting, schema))
                waiting, rows, held = [], 0, 0
                yield pipe.take()
            following = next(batches, None)
        if rows:
            writer.write_table(pa.Table.from_batches(waiting, schema))
        writer.add_key_value_metadata({VERSION: "1.0", CONTENT: votable.metadata(head, end())})
    yield pipe.take()


FORMAT = Format(
    name="parquet",
    title="Parquet",
    menu_rank=4,
    media_types=("application/vnd.apache.parquet", "application/x-parquet", "application/parquet"),
    extension="parquet",
    promised=unpacked,
    write=write,
)
