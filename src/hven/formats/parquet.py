"""Write Parquet with the columns' metadata as a VOTable without rows in the footer (VOParquet convention 1.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from hven.formats import TableFormat, votable
from hven.formats._memory_pipe import MemoryPipe
from hven.formats._parquet_sizes import count_unpacked_parquet_bytes
from hven.model import literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hven.formats import ResultStatus, TableMetadata

VOTABLE_CONTENT_KEY, VOTABLE_VERSION_KEY = "IVOA.VOTable-Parquet.content", "IVOA.VOTable-Parquet.version"
_ROW_GROUP_ROWS, _ROW_GROUP_BYTES = 131_072, 128 << 20  # a row group ends at whichever limit it reaches first


def write_parquet(
    metadata: TableMetadata,
    batches: Iterator[pa.RecordBatch],
    finish: Callable[[], ResultStatus],
    options: Mapping[str, str],  # noqa: ARG001
) -> Iterator[bytes]:
    """Write a Parquet file row group by row group, compressed with zstd.

    The VOTable in the footer carries QUERY_STATUS, so that it states an overflow. A late error passes through: the file
    then has no footer, and no reader takes it for complete.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415  (slow to load, and few requests need it)

    fields = [pa.field(column.name, column.type.arrow) for column in metadata.columns]
    schema = pa.schema(fields)
    pipe = MemoryPipe()
    batches = iter(batches)
    next_batch = next(batches, None)
    with pq.ParquetWriter(pa.PythonFile(pipe, "w"), schema, compression="zstd", store_schema=True) as writer:
        waiting: list[pa.RecordBatch] = []
        rows = waiting_bytes = 0
        start = pipe.take_bytes()
        if start:
            yield start
        while next_batch is not None:
            batch, next_batch = next_batch, None
            arrays = []
            for number, column in enumerate(metadata.columns):
                arrays.append(literal.cast_to_storage_type(batch.column(number), column.type))
            waiting.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
            rows += batch.num_rows
            waiting_bytes += waiting[-1].nbytes
            if rows >= _ROW_GROUP_ROWS or waiting_bytes >= _ROW_GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(waiting, schema))
                waiting = []
                rows = 0
                waiting_bytes = 0
                yield pipe.take_bytes()
            next_batch = next(batches, None)
        if rows:
            writer.write_table(pa.Table.from_batches(waiting, schema))
        metadata_document = votable.write_metadata_document(metadata, finish())
        writer.add_key_value_metadata({VOTABLE_VERSION_KEY: "1.0", VOTABLE_CONTENT_KEY: metadata_document})
    yield pipe.take_bytes()


FORMAT = TableFormat(
    name="parquet",
    title="Parquet",
    menu_rank=4,
    media_types=("application/vnd.apache.parquet", "application/x-parquet", "application/parquet"),
    extension="parquet",
    count_unpacked_bytes=count_unpacked_parquet_bytes,
    write=write_parquet,
    reading_example="""\
import pyarrow.parquet
pyarrow.parquet.read_table("answer.parquet").to_pylist()
""",
)
