"""Parquet and delimited text as tables of files: read where samples stand in them.

No other face looks into these as it does into media.
"""

from __future__ import annotations

import gzip
import re
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media._product import MISSING_INSTANT, Product, TablePart
from hven.model.errors import SourceError, format_message
from hven.model.table import Column
from hven.model.types import type_from_arrow

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from hven.formats.media._product import Instants
    from hven.formats.media._remote_files import Place

FILE_NAME_PATTERN = re.compile(r"(?i).*\.(?:(parquet|pq)|(?:csv|tsv|txt|dat)(\.gz)?)")
BLOCK_BYTES = 4 << 20
DELIMITERS = (";", ",", "\t", "|")
_NUMBER_PATTERN = re.compile(rb"\s*[-+.\d][\d.eE+:TZ -]*\s*")


def open_text_table(path: Place, name: str) -> Product | None:
    """Open a table.

    Parameters
    ----------
    path
        Of a file.
    name
        By which readers know it.

    Returns
    -------
    product
        Of one part, the table; None: its name ends otherwise.

    Raises
    ------
    SourceError
        It is none, or damaged.
    """
    match = FILE_NAME_PATTERN.fullmatch(name)
    if match is None:
        return None
    try:
        if match[1]:
            return _open_parquet(path)
        return _open_delimited(path, is_gzipped=match[2] is not None)
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as fault:
        raise _create_damage_error(name, fault) from None


def _create_damage_error(name: str, fault: Exception) -> SourceError:
    return SourceError(format_message("{name} is damaged: {reason}", name, " ".join(str(fault).split())[:200]))


def _open_parquet(path: Place) -> Product:
    from pyarrow import parquet  # noqa: PLC0415  (asked by few)

    stream = path.open("rb")
    file = parquet.ParquetFile(stream)
    starts = [0]
    for group in range(file.num_row_groups):
        starts.append(starts[-1] + file.metadata.row_group(group).num_rows)

    def create_table(names: Collection[str] | None) -> TablePart:
        fields = [
            field
            for field in file.schema_arrow
            if (names is None or field.name in names) and _is_plain_type(field.type)
        ]
        columns = tuple(_create_column(field) for field in fields)
        schema = pa.schema([field.arrow_field for field in columns])

        def read_batches(start: int, row_limit: int) -> Iterator[pa.RecordBatch]:
            stop = min(start + row_limit, starts[-1])
            groups = [row for row in range(file.num_row_groups) if starts[row] < stop and starts[row + 1] > start]
            if groups:
                row = starts[groups[0]]
            else:
                row = 0
            try:
                # what is behind the last row is not decoded
                for batch in file.iter_batches(
                    max(min(stop - row, 65_536), 1), row_groups=groups, columns=schema.names
                ):
                    piece = batch.slice(max(0, start - row), max(0, min(stop, row + batch.num_rows) - max(start, row)))
                    row += batch.num_rows
                    if piece.num_rows:
                        arrays = [_cast_values(piece.column(field.name), field.type) for field in schema]
                        yield pa.RecordBatch.from_arrays(arrays, schema=schema)
                    if row >= stop:
                        return
            except (pa.ArrowException, OSError) as fault:
                raise _create_damage_error(path.name, fault) from None

        has_nanoseconds = any(pa.types.is_timestamp(field.type) and field.type.unit == "ns" for field in fields)
        return TablePart(
            index=0,
            columns=columns,
            row_count=starts[-1],
            read_batches=read_batches,
            select_columns=create_table,
            read_instants=read_instants if has_nanoseconds else None,
        )

    @cache
    def read_times(name: str) -> pa.Array:
        try:
            return file.read(columns=[name]).column(name).combine_chunks()
        except (pa.ArrowException, OSError) as fault:
            raise _create_damage_error(path.name, fault) from None

    def read_instants(name: str, start: int, stop: int) -> Instants:
        return split_timestamps(read_times(name).slice(start, stop - start))

    return Product(medium="parquet", parts=(create_table(None),), close=stream.close)


def _is_plain_type(arrow_type: pa.DataType) -> bool:
    if pa.types.is_list(arrow_type) or pa.types.is_fixed_size_list(arrow_type):
        arrow_type = arrow_type.value_type
    return bool(
        pa.types.is_primitive(arrow_type) or pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type)
    )


def _create_column(field: pa.Field) -> Column:
    """Make a column; its unit is in the field's metadata, if anywhere."""
    field_metadata = {
        key.decode().lower(): value.decode("utf-8", "replace") for key, value in (field.metadata or {}).items()
    }
    if pa.types.is_timestamp(field.type):
        kind = pa.timestamp("us")
    else:
        kind = field.type
    return Column(
        name=field.name,
        type=type_from_arrow(kind),
        unit=field_metadata.get("unit") or field_metadata.get("units"),
        ucd=field_metadata.get("ucd"),
        description=field_metadata.get("description"),
    )


def _cast_values(array: pa.Array, arrow_type: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(arrow_type):
        if pa.types.is_timestamp(array.type):
            zone = pa.timestamp("us", array.type.tz)
        else:
            zone = arrow_type
        return array.cast(zone, safe=False).cast(arrow_type)
    return array.cast(arrow_type)


def split_timestamps(array: pa.Array) -> Instants:
    """Take timestamps apart: microseconds, and the nanoseconds behind them where the type has such.

    Parameters
    ----------
    array
        Timestamps.

    Returns
    -------
    instants
        As `TablePart.read_instants` has them.
    """
    is_null = np.asarray(array.is_null())
    if array.type.unit != "ns":
        microseconds = np.asarray(
            array.cast(pa.timestamp("us", array.type.tz), safe=False).cast(pa.int64()).fill_null(0)
        )
        return np.where(is_null, MISSING_INSTANT, microseconds), None
    micros, nanos = np.divmod(np.asarray(array.cast(pa.int64()).fill_null(0)), 1000)
    return np.where(is_null, MISSING_INSTANT, micros), nanos


def _open_delimited(path: Place, *, is_gzipped: bool) -> Product:
    from pyarrow import csv  # noqa: PLC0415  (asked by few)

    @contextmanager
    def open_file() -> Iterator[Any]:
        with path.open("rb") as binary_file:
            yield gzip.GzipFile(fileobj=binary_file) if is_gzipped else binary_file

    with open_file() as file:
        first_block = file.read(BLOCK_BYTES)
    lines = first_block.split(b"\n")
    skipped = next(
        (line_number for line_number, line in enumerate(lines) if line.strip() and not line.lstrip().startswith(b"#")),
        0,
    )
    first_line = lines[skipped] if lines else b""
    delimiter = max(DELIMITERS, key=lambda candidate_mark: first_line.count(candidate_mark.encode()))
    first_fields = first_line.strip().split(delimiter.encode())
    has_header = not all(_NUMBER_PATTERN.fullmatch(word) or not word.strip() for word in first_fields)
    if has_header:
        names = [word.decode("utf-8", "replace").strip().strip('"') for word in first_fields]
    else:
        names = [f"column_{line_number}" for line_number in range(1, len(first_fields) + 1)]
    kinds: dict[str, pa.DataType] = {}

    @contextmanager
    def stream_batches(column_names: Sequence[str] | None) -> Iterator[Any]:
        read_options = csv.ReadOptions(column_names=names, skip_rows=skipped + has_header, block_size=BLOCK_BYTES)
        null_values = ["", "NaN", "nan", "NULL", "null", "NA", "N/A"]
        convert_options = csv.ConvertOptions(
            column_types=kinds,
            include_columns=column_names,
            null_values=null_values,
            strings_can_be_null=True,
        )
        with (
            open_file() as file,
            csv.open_csv(
                pa.PythonFile(file, "r"), read_options, csv.ParseOptions(delimiter=delimiter), convert_options
            ) as table,
        ):
            yield table

    count = 0
    with stream_batches(None) as table:
        for field in table.schema:
            kind = field.type
            if pa.types.is_timestamp(kind):
                if kind.tz is None:
                    kind = pa.timestamp("us")
                else:
                    kind = pa.string()
            if pa.types.is_integer(kind):
                kinds[field.name] = pa.float64()
            elif pa.types.is_null(kind) or (pa.types.is_temporal(kind) and not pa.types.is_timestamp(kind)):
                kinds[field.name] = pa.string()
            else:
                kinds[field.name] = kind
    with stream_batches(names[:1]) as table:
        for batch in table:
            count += batch.num_rows

    def create_table(column_names: Collection[str] | None) -> TablePart:
        columns = tuple(
            Column(name=name_or_column, type=type_from_arrow(kinds[name_or_column]))
            for name_or_column in names
            if column_names is None or name_or_column in column_names
        )
        schema = pa.schema([name_or_column.arrow_field for name_or_column in columns])

        def read_batches(start: int, row_limit: int) -> Iterator[pa.RecordBatch]:
            row = 0
            try:
                with stream_batches(schema.names) as table:
                    for batch in table:
                        piece = batch.slice(
                            max(0, start - row), max(0, min(start + row_limit, row + batch.num_rows) - max(start, row))
                        )
                        row += batch.num_rows
                        if piece.num_rows:
                            yield pa.RecordBatch.from_arrays(
                                [piece.column(field.name).cast(field.type) for field in schema], schema=schema
                            )
                        if row >= start + row_limit:
                            return
            except (pa.ArrowException, OSError, EOFError) as fault:
                raise _create_damage_error(path.name, fault) from None

        return TablePart(
            index=0, columns=columns, row_count=count, read_batches=read_batches, select_columns=create_table
        )

    return Product(medium="csv", parts=(create_table(None),))


__all__ = ["open_text_table", "split_timestamps"]
