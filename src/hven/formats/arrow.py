"""Write Arrow IPC streams with metadata in the fields (for pandas, polars, R, DuckDB); read streams and files."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pyarrow as pa

from hven.formats import TableFormat, TableMetadata, TableStream
from hven.formats._arrow_sizes import count_unpacked_arrow_bytes
from hven.formats._memory_pipe import MemoryPipe
from hven.model import literal
from hven.model.errors import SourceError
from hven.model.table import Column
from hven.model.types import SCALAR_TYPES_BY_DATATYPE, ColumnType, build_type_from_arrow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hven.formats import ResultStatus


# what pyarrow raises for a damaged file; names may not be UTF-8
_READ_ERRORS = (pa.ArrowException, ValueError, OverflowError, OSError, MemoryError)


def write_arrow(
    metadata: TableMetadata,
    batches: Iterator[pa.RecordBatch],
    finish: Callable[[], ResultStatus],
    options: Mapping[str, str],  # noqa: ARG001
) -> Iterator[bytes]:
    """Write an Arrow IPC stream; the fields carry datatype, arraysize, xtype, unit, ucd, utype and description.

    If rows were cut off, the last batch is empty and its metadata say ``status: OVERFLOW``. A late error passes
    through: the stream then lacks its end mark, which readers notice.
    """
    fields = [_create_arrow_field(column) for column in metadata.columns]
    schema_metadata = _encode_metadata({"name": metadata.name, "description": metadata.description})
    schema = pa.schema(fields, metadata=schema_metadata)
    pipe = MemoryPipe()
    with pa.ipc.new_stream(pa.PythonFile(pipe, "w"), schema) as stream:
        for batch in batches:
            arrays = []
            for number, column in enumerate(metadata.columns):
                values = literal.cast_to_storage_type(batch.column(number), column.type)
                arrays.append(_reset_values_under_nulls(values))
            stream.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
            yield pipe.take_bytes()
        if finish().overflow:
            empty_batch = pa.RecordBatch.from_pylist([], schema=schema)
            stream.write_batch(empty_batch, custom_metadata={"status": "OVERFLOW"})
    yield pipe.take_bytes()


def _reset_values_under_nulls(values: pa.Array) -> pa.Array:
    """Copy values that have nulls.

    The memory under a null may hold values of rows that the reader may not see. They must not leave the process.
    """
    if values.null_count or pa.types.is_nested(values.type):
        return values.take(pa.array(np.arange(len(values))))
    return values


def _create_arrow_field(column: Column) -> pa.Field:
    kind = column.type
    field_metadata = {
        "datatype": kind.datatype,
        "arraysize": kind.arraysize,
        "xtype": kind.xtype,
        "unit": column.unit,
        "ucd": column.ucd,
        "utype": column.utype,
        "description": column.description,
    }
    return pa.field(column.name, kind.arrow, metadata=_encode_metadata(field_metadata))


def _encode_metadata(texts: Mapping[str, str | None]) -> dict[bytes, bytes]:
    encoded_texts = {}
    for name, value in texts.items():
        if value:
            encoded_texts[name.encode()] = value.encode()
    return encoded_texts


# `table` is unused, for a file has one table
def read_arrow(file: BinaryIO, table: int | str | None = None, batch: int = 65_536) -> TableStream:  # noqa: ARG001
    """Read an Arrow IPC stream or file; columns that no table can hold (structs, maps) are refused.

    All buffers are validated, for an IPC file may say that a value lies outside its buffers.

    Raises
    ------
    SourceError
        The file is no readable Arrow data, or a column has a type that tables cannot hold. While iterating also: values
        are damaged or do not fit.
    """
    try:
        start = file.read(6)
        file.seek(0)
        if start == b"ARROW1":
            ipc_reader = pa.ipc.open_file(file)
            parts = (ipc_reader.get_batch(number) for number in range(ipc_reader.num_record_batches))
        else:
            ipc_reader = pa.ipc.open_stream(file)
            parts = iter(ipc_reader)
        schema_metadata = _decode_metadata(ipc_reader.schema.metadata)
        columns = [_create_column(item) for item in ipc_reader.schema]
    except _READ_ERRORS as error:
        message = f"the file is not readable Arrow data: {error}"
        raise SourceError(message) from error
    table_name = schema_metadata.get("name")
    metadata = TableMetadata(columns=columns, name=table_name, description=schema_metadata.get("description"))
    batches = _convert_arrow_batches(parts, columns, batch)
    return TableStream(metadata=metadata, batches=batches)


def _decode_metadata(metadata: Mapping[bytes, bytes] | None) -> dict[str, str]:
    texts = {}
    for key, value in (metadata or {}).items():
        texts[key.decode(errors="replace")] = value.decode(errors="replace")
    return texts


def _create_column(arrow_field: pa.Field) -> Column:
    field_metadata = _decode_metadata(arrow_field.metadata)
    return Column(
        name=arrow_field.name,
        type=_choose_type(arrow_field, field_metadata),
        unit=field_metadata.get("unit"),
        ucd=field_metadata.get("ucd"),
        utype=field_metadata.get("utype"),
        description=field_metadata.get("description"),
    )


def _choose_type(arrow_field: pa.Field, field_metadata: Mapping[str, str]) -> ColumnType:
    """Choose the type that our own writer states, if the values have it; otherwise the nearest to Arrow's."""
    datatype = field_metadata.get("datatype")
    if datatype in SCALAR_TYPES_BY_DATATYPE:
        with suppress(ValueError):  # an invalid arraysize
            kind = ColumnType(datatype, field_metadata.get("arraysize"), field_metadata.get("xtype"))
            if kind.arrow == arrow_field.type:
                return kind
    try:
        return build_type_from_arrow(arrow_field.type)
    except ValueError as error:
        message = f"column {arrow_field.name!r} is {arrow_field.type}, which a table cannot contain"
        raise SourceError(message, remedy="leave the column out, or split it into columns of plain types") from error


def _convert_arrow_batches(
    parts: Iterator[pa.RecordBatch], columns: list[Column], batch_row_limit: int
) -> Iterator[pa.RecordBatch]:
    schema = pa.schema([column.arrow_field for column in columns])
    try:
        for part in parts:
            part.validate(full=True)
            for piece in _split_batch(part, batch_row_limit):
                arrays = []
                for number, column in enumerate(columns):
                    arrays.append(_convert_to_storage(piece.column(number), column))
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)
    except _READ_ERRORS as error:
        message = f"the Arrow data cannot be read: {error}"
        raise SourceError(message) from error


def _split_batch(batch: pa.RecordBatch, row_limit: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, row_limit):
        yield from literal.split_batch_by_expanded_size(batch.slice(start, row_limit))


def _convert_to_storage(values: pa.Array, column: Column) -> pa.Array:
    if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        values = values.cast(pa.binary())
        offsets_buffer = values.buffers()[1]
        ends = pa.Array.from_buffers(pa.int32(), len(values) + 1, [None, offsets_buffer], offset=values.offset)
        last = ends[-1].as_py()
        if last:
            bytes_buffer = values.buffers()[2]
            items = pa.Array.from_buffers(pa.uint8(), last, [None, bytes_buffer])
        else:
            items = pa.array([], pa.uint8())
        return pa.ListArray.from_arrays(ends, items, mask=values.is_null())
    return literal.cast_to_storage_type(values, column.type)


FORMAT = TableFormat(
    name="arrow",
    title="Arrow",
    menu_rank=6,
    media_types=("application/vnd.apache.arrow.stream",),
    extension="arrows",
    write=write_arrow,
    read=read_arrow,
    count_unpacked_bytes=count_unpacked_arrow_bytes,
    reading_example="""\
import pyarrow
pyarrow.ipc.open_stream("answer.arrows").read_all().to_pylist()
""",
)
