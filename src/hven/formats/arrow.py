"""Arrow IPC: streams for pandas, polars, R, DuckDB, with metadata in the fields; streams and files are read."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pyarrow as pa

from hven.formats import Format, Head, Read
from hven.formats._arrow_heads import unpacked
from hven.model import literal
from hven.model.errors import SourceError
from hven.model.table import Column
from hven.model.types import BY_VOTABLE, Type, from_arrow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hven.formats import End


_BROKEN = (
    pa.ArrowException,
    ValueError,
    OverflowError,
    OSError,
    MemoryError,
)  # what pyarrow makes of a damaged file; names may be no UTF-8


class _Pipe:
    """A file that only remembers what was written until somebody takes it."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

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
    """Write an Arrow IPC stream; the fields carry datatype, arraysize, xtype, unit, ucd, utype and description.

    If rows were cut off, the last batch is an empty one whose metadata say ``status: OVERFLOW``. A late error passes through: the stream
    then lacks its end mark, which readers notice.
    """
    schema = pa.schema(
        [_field(column) for column in head.columns],
        metadata=_words({"name": head.name, "description": head.description}),
    )
    pipe = _Pipe()
    with pa.ipc.new_stream(pa.PythonFile(pipe, "w"), schema) as stream:
        for batch in batches:
            arrays = [
                _clean(literal.storage(batch.column(number), column.type)) for number, column in enumerate(head.columns)
            ]
            stream.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
            yield pipe.take()
        if end().overflow:
            stream.write_batch(pa.RecordBatch.from_pylist([], schema=schema), custom_metadata={"status": "OVERFLOW"})
    yield pipe.take()


def _clean(values: pa.Array) -> pa.Array:
    """Copy values that have nulls: what lies in memory under a null, maybe of rows that the reader may not see, stays here."""
    return (
        values.take(pa.array(np.arange(len(values))))
        if values.null_count or pa.types.is_nested(values.type)
        else values
    )


def _field(column: Column) -> pa.Field:
    kind = column.type
    said = {
        "datatype": kind.datatype,
        "arraysize": kind.arraysize,
        "xtype": kind.xtype,
        "unit": column.unit,
        "ucd": column.ucd,
        "utype": column.utype,
        "description": column.description,
    }
    return pa.field(column.name, kind.arrow, metadata=_words(said))


def _words(said: Mapping[str, str | None]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in said.items() if value}


def read(file: BinaryIO, table: int | str | None = None, batch: int = 65_536) -> Read:  # noqa: ARG001  (one table)
    """Read an Arrow IPC stream or file; columns that no table can hold (structs, maps) are refused.

    Everything is validated: an IPC file may say that a value lies outside its buffers.

    Raises
    ------
    SourceError
        No readable Arrow data; a type without a form in tables; while iterating also: values that are broken or do not fit.
    """
    try:
        start = file.read(6)
        file.seek(0)
        if start == b"ARROW1":
            opened = pa.ipc.open_file(file)
            parts = (opened.get_batch(number) for number in range(opened.num_record_batches))
        else:
            opened = pa.ipc.open_stream(file)
            parts = iter(opened)
        said = _said(opened.schema.metadata)
        columns = [_column(item) for item in opened.schema]
    except _BROKEN as error:
        message = f"no readable Arrow data: {error}"
        raise SourceError(message) from error
    head = Head(columns=columns, name=said.get("name"), description=said.get("description"))
    return Read(head=head, batches=_rows(parts, columns, batch))


def _said(metadata: Mapping[bytes, bytes] | None) -> dict[str, str]:
    return {key.decode(errors="replace"): value.decode(errors="replace") for key, value in (metadata or {}).items()}


def _column(item: pa.Field) -> Column:
    said = _said(item.metadata)
    return Column(
        name=item.name,
        type=_type(item, said),
        unit=said.get("unit"),
        ucd=said.get("ucd"),
        utype=said.get("utype"),
        description=said.get("description"),
    )


def _type(item: pa.Field, said: Mapping[str, str]) -> Type:
    """Choose the type that our own writer says, if the values are of it; else the nearest to Arrow's."""
    if said.get("datatype") in BY_VOTABLE:
        with suppress(ValueError):  # an arraysize that is none
            kind = Type(said["datatype"], said.get("arraysize"), said.get("xtype"))
            if kind.arrow == item.type:
                return kind
    try:
        return from_arrow(item.type)
    except ValueError as error:
        message = f"column {item.name!r} is {item.type}, which a table cannot hold"
        raise SourceError(message, remedy="leave it out, or take it apart") from error


def _rows(parts: Iterator[pa.RecordBatch], columns: list[Column], most: int) -> Iterator[pa.RecordBatch]:
    schema = pa.schema([column.arrow for column in columns])
    try:
        for part in parts:
            part.validate(full=True)
            for piece in (
                piece for start in range(0, part.num_rows, most) for piece in literal.unfolding(part.slice(start, most))
            ):
                yield pa.RecordBatch.from_arrays(
                    [_stored(piece.column(number), column) for number, column in enumerate(columns)], schema=schema
                )
    except _BROKEN as error:
        message = f"the Arrow data cannot be read: {error}"
        raise SourceError(message) from error


def _stored(values: pa.Array, column: Column) -> pa.Array:
    if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        values = values.cast(pa.binary())
        ends = pa.Array.from_buffers(pa.int32(), len(values) + 1, [None, values.buffers()[1]], offset=values.offset)
        last = ends[-1].as_py()
        items = (
            pa.Array.from_buffers(pa.uint8(), last, [None, values.buffers()[2]]) if last else pa.array([], pa.uint8())
        )
        return pa.ListArray.from_arrays(ends, items, mask=values.is_null())
    return literal.storage(values, column.type)


FORMAT = Format(
    name="arrow",
    title="Arrow",
    menu_rank=6,
    media_types=("application/vnd.apache.arrow.stream",),
    extension="arrows",
    write=write,
    read=read,
    promised=unpacked,
)
