"""Read the first rows and the columns of a result file, without reading the rest."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven import formats
from hven.model.errors import HvenError
from hven.model.table import Table
from hven.portal.api.page_rows import RowPage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TEXT_BLOCK_BYTES = 1 << 20  # of the beginning of a text file


def read_first_rows(path: Path, media_type: str, row_limit: int) -> tuple[RowPage, Table] | None:
    """Read the first rows of a table in a file.

    Return None if the file is no table, or if its format cannot be read from the beginning.

    Parameters
    ----------
    media_type
        The media type that the file was written with.
    row_limit
        The maximum number of rows.
    """
    try:
        file_format, _ = formats.select_format(media_type)
        with path.open("rb") as file:
            if file_format.read is not None:
                table_stream = file_format.read(file, batch=row_limit)
                batch = next(iter(table_stream.batches), None)
                columns = tuple(table_stream.metadata.columns)
                enums = table_stream.metadata.enums
            else:
                rows_table = _PREVIEW_READERS[file_format.name](path, row_limit)
                read_arrow = formats.select_format("arrow")[0].read
                if read_arrow is None:
                    return None
                arrow_stream = read_arrow(_write_arrow_stream(rows_table), batch=row_limit)
                batch = next(iter(arrow_stream.batches), None)
                columns = tuple(arrow_stream.metadata.columns)
                enums = {}
    except (HvenError, OSError, ValueError, KeyError, pa.ArrowException):  # the page shows only the link of the file
        return None
    table = Table(schema="", name="answer", columns=columns, enums=enums)
    if batch is None:
        shown_rows = table.arrow_schema.empty_table()
    else:
        shown_rows = pa.Table.from_batches([batch.slice(0, row_limit)])
    has_more = batch is not None and batch.num_rows >= row_limit
    keys = ("",) * shown_rows.num_rows
    return RowPage(columns=columns, rows=shown_rows, keys=keys, offset=0, has_more=has_more), table


def _write_arrow_stream(table: pa.Table) -> io.BytesIO:
    file = io.BytesIO()
    with pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    file.seek(0)
    return file


def _read_parquet(path: Path, row_limit: int) -> pa.Table:
    from pyarrow import parquet  # noqa: PLC0415  (slow to load, asked by few)

    with parquet.ParquetFile(path) as file:
        batch = next(file.iter_batches(batch_size=row_limit), None)
        if batch is None:
            return file.schema_arrow.empty_table()
        return pa.Table.from_batches([batch])


def _read_delimited_rows(path: Path, row_limit: int, delimiter: str) -> pa.Table:
    from pyarrow import csv  # noqa: PLC0415  (slow to load, asked by few)

    parse_options = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    read_options = csv.ReadOptions(block_size=TEXT_BLOCK_BYTES)
    with csv.open_csv(path, read_options=read_options, parse_options=parse_options) as reader:
        batch = next(iter(reader), None)
        if batch is None:
            table = reader.schema.empty_table()
        else:
            table = pa.Table.from_batches([batch.slice(0, row_limit)])
    plain_types = [(field.name, _simplify_arrow_type(field.type)) for field in table.schema]
    return table.cast(pa.schema(plain_types))


def _simplify_arrow_type(arrow_type: pa.DataType) -> pa.DataType:
    if pa.types.is_null(arrow_type):
        return pa.string()
    if pa.types.is_timestamp(arrow_type):
        return pa.timestamp("us")
    if pa.types.is_temporal(arrow_type):
        return pa.string()
    return arrow_type


def _read_fits(path: Path, row_limit: int) -> pa.Table:
    from astropy.io import fits  # noqa: PLC0415  (a second to load, asked by few)

    arrays = []
    fields = []
    with fits.open(path, memmap=True) as file:
        table = file[1]
        for column in table.columns:
            raw = np.asarray(table.data[:row_limit].view(np.ndarray)[column.name])
            is_text = raw.dtype.kind == "S"
            array = _convert_fits_values(raw if is_text else table.data[column.name][:row_limit])
            metadata = None
            if column.unit and not is_text:
                metadata = {"unit": column.unit}
            arrays.append(array)
            fields.append(pa.field(column.name, array.type, metadata=metadata))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _convert_fits_values(values: np.ndarray[Any, Any]) -> pa.Array:
    if values.dtype.kind == "S":
        return pa.array([value.decode(errors="replace") for value in values.tolist()], pa.string())
    if values.ndim == 1 and values.dtype.kind in "iufb":
        return pa.array(values.astype(values.dtype.newbyteorder("=")), from_pandas=True)
    return pa.array([str(value) for value in values], pa.string())


_PREVIEW_READERS: dict[str, Callable[[Path, int], pa.Table]] = {
    "parquet": _read_parquet,
    "fits": _read_fits,
    "csv": lambda path, rows: _read_delimited_rows(path, rows, ","),
    "tsv": lambda path, rows: _read_delimited_rows(path, rows, "\t"),
}
