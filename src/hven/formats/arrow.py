"""Arrow IPC stream: for pandas, polars, R, DuckDB; metadata in the fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from hven.formats import Format
from hven.model import literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hven.formats import End, Head
    from hven.model.table import Column


class _Pipe:
    """A file that only remembers what was written until somebody takes it."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        data, self._parts = b"".join(self._parts), []
        return data


def write(head: Head, batches: Iterator[pa.RecordBatch], end: Callable[[], End], options: Mapping[str, str]) -> Iterator[bytes]:  # noqa: ARG001
    """Write an Arrow IPC stream; the fields carry datatype, arraysize, xtype, unit, ucd, utype and description.

    A late error passes through: the stream then lacks its end mark, which readers notice.
    """
    schema = pa.schema([_field(column) for column in head.columns], metadata=_words({"name": head.name, "description": head.description}))
    pipe = _Pipe()
    with pa.ipc.new_stream(pa.PythonFile(pipe, "w"), schema) as stream:
        for batch in batches:
            arrays = [literal.storage(batch.column(number), column.type) for number, column in enumerate(head.columns)]
            stream.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
            yield pipe.take()
        end()
    yield pipe.take()


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


FORMAT = Format(
    name="arrow",
    media_types=("application/vnd.apache.arrow.stream",),
    extension="arrows",
    write=write,
)
