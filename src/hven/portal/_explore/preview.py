"""The first rows of a file that was written for somebody: what it says of its columns, and nothing that comes after them is read."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven import formats
from hven.model.errors import HvenError
from hven.model.table import Table
from hven.portal._explore.rows import Page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BLOCK = 1 << 20  # bytes of text that are looked at


def first_rows(path: Path, media_type: str, rows: int) -> tuple[Page, Table] | None:
    """Read the first rows of a table in a file; None: it is none, or of a format that is not read from its beginning.

    Parameters
    ----------
    media_type
        As the file's writer said it.
    rows
        At most.
    """
    try:
        fmt, _ = formats.select(media_type)
        with path.open("rb") as file:
            if fmt.read is not None:
                read = fmt.read(file, batch=rows)
                batch = next(iter(read.batches), None)
                columns, enums = tuple(read.head.columns), read.head.enums
            else:
                found = _TEXTS[fmt.name](path, rows)
                arrow = formats.select("arrow")[0].read
                if arrow is None:
                    return None
                again = arrow(_stream(found), batch=rows)
                batch = next(iter(again.batches), None)
                columns, enums = tuple(again.head.columns), {}
    except (HvenError, OSError, ValueError, KeyError, pa.ArrowException):  # its link is all there is to show
        return None
    table = Table(schema="", name="answer", columns=columns, enums=enums)
    shown = table.arrow.empty_table() if batch is None else pa.Table.from_batches([batch.slice(0, rows)])
    more = batch is not None and batch.num_rows >= rows
    return Page(columns=columns, rows=shown, keys=("",) * shown.num_rows, offset=0, more=more), table


def _stream(found: pa.Table) -> io.BytesIO:
    file = io.BytesIO()
    with pa.ipc.new_stream(file, found.schema) as stream:
        stream.write_table(found.combine_chunks())
    file.seek(0)
    return file


def _parquet(path: Path, rows: int) -> pa.Table:
    from pyarrow import parquet  # noqa: PLC0415  (slow to load, asked by few)

    with parquet.ParquetFile(path) as file:
        batch = next(file.iter_batches(batch_size=rows), None)
        return file.schema_arrow.empty_table() if batch is None else pa.Table.from_batches([batch])


def _separated(path: Path, rows: int, delimiter: str) -> pa.Table:
    from pyarrow import csv  # noqa: PLC0415  (slow to load, asked by few)

    with csv.open_csv(
        path,
        read_options=csv.ReadOptions(block_size=BLOCK),
        parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
    ) as reader:
        batch = next(_batches(reader), None)
        found = reader.schema.empty_table() if batch is None else pa.Table.from_batches([batch.slice(0, rows)])
    return found.cast(
        pa.schema([(one.name, pa.string() if pa.types.is_null(one.type) else _plain(one.type)) for one in found.schema])
    )


def _plain(kind: pa.DataType) -> pa.DataType:
    return pa.timestamp("us") if pa.types.is_timestamp(kind) else pa.string() if pa.types.is_temporal(kind) else kind


def _batches(reader: pa.csv.CSVStreamingReader) -> Iterator[pa.RecordBatch]:
    yield from reader


def _fits(path: Path, rows: int) -> pa.Table:
    from astropy.io import fits  # noqa: PLC0415  (a second to load, asked by few)

    with fits.open(path, memmap=True) as file:
        table = file[1]
        made: dict[str, pa.Array] = {}
        units: dict[str, str] = {}
        for column in table.columns:
            raw = np.asarray(table.data[:rows].view(np.ndarray)[column.name])
            if raw.dtype.kind == "S":
                made[column.name] = pa.array([value.decode(errors="replace") for value in raw.tolist()], pa.string())
                units[column.name] = ""
                continue
            values = table.data[column.name][:rows]
            if values.ndim == 1 and values.dtype.kind in "iufb":
                made[column.name] = pa.array(values.astype(values.dtype.newbyteorder("=")), from_pandas=True)
            else:
                made[column.name] = pa.array([str(value) for value in values], pa.string())
            units[column.name] = column.unit or ""
    names = list(made)
    schema = pa.schema(
        [pa.field(name, made[name].type, metadata={"unit": units[name]} if units[name] else None) for name in names]
    )
    return pa.Table.from_arrays([made[name] for name in names], schema=schema)


_TEXTS: dict[str, Callable[[Path, int], pa.Table]] = {
    "parquet": _parquet,
    "fits": _fits,
    "csv": lambda path, rows: _separated(path, rows, ","),
    "tsv": lambda path, rows: _separated(path, rows, "\t"),
}
