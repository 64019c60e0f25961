"""Read Parquet and delimited text as tables of samples.

Only the readers of samples use these tables; other services do not offer them as media.
"""

from __future__ import annotations

import gzip
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media._product import MISSING_INSTANT, OpenProductFile, TablePart
from hven.model.errors import SourceError, format_message
from hven.model.table import Column
from hven.model.types import build_type_from_arrow

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from hven.formats.media._product import Instants
    from hven.formats.media._remote_files import Place

FILE_NAME_PATTERN = re.compile(r"(?i).*\.(?:(parquet|pq)|(?:csv|tsv|txt|dat)(\.gz)?)")
BLOCK_BYTES = 4 << 20
DELIMITERS = (";", ",", "\t", "|")
_NUMBER_PATTERN = re.compile(rb"\s*[-+.\d][\d.eE+:TZ -]*\s*")


def open_parquet_or_delimited_table(path: Place, name: str) -> OpenProductFile | None:
    """Open a table in Parquet or delimited text.

    Parameters
    ----------
    path
        Path of the file.
    name
        Name under which readers know the file.

    Returns
    -------
    product
        Product with one part, the table; None if the file has another extension.

    Raises
    ------
    SourceError
        The file is of another kind, or damaged.
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
    reason = " ".join(str(fault).split())[:200]
    return SourceError(format_message("{name} is damaged: {reason}", name, reason))


class _ParquetTable:
    """The rows of an open Parquet file."""

    def __init__(self, path: Place) -> None:
        from pyarrow import parquet  # noqa: PLC0415  (few requests need it)

        self._name = path.name
        self._stream = path.open("rb")
        self._file = parquet.ParquetFile(self._stream)
        self._group_starts = [0]  # number of the first row of each row group, and the number of rows
        for group in range(self._file.num_row_groups):
            group_rows = self._file.metadata.row_group(group).num_rows
            self._group_starts.append(self._group_starts[-1] + group_rows)
        self._times_by_column: dict[str, pa.Array] = {}

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def create_table_part(self, column_names: Collection[str] | None) -> TablePart:
        """Create a table of the columns of these names (None: all) that have a plain type."""
        fields = [field for field in self._file.schema_arrow if _is_scalar_or_list_type(field.type)]
        if column_names is not None:
            fields = [field for field in fields if field.name in column_names]
        columns = tuple(_create_column(field) for field in fields)
        schema = pa.schema([field.arrow_field for field in columns])
        timestamp_types = [field.type for field in fields if pa.types.is_timestamp(field.type)]
        has_nanoseconds = any(timestamp_type.unit == "ns" for timestamp_type in timestamp_types)
        return TablePart(
            index=0,
            columns=columns,
            row_count=self._group_starts[-1],
            read_batches=partial(self._read_batches, schema),
            select_columns=self.create_table_part,
            read_instants=self._read_instants if has_nanoseconds else None,
        )

    def _read_batches(self, schema: pa.Schema, start: int, row_limit: int) -> Iterator[pa.RecordBatch]:
        stop = min(start + row_limit, self._group_starts[-1])
        groups = []
        for group, (group_start, group_stop) in enumerate(pairwise(self._group_starts)):
            if group_start < stop and group_stop > start:
                groups.append(group)
        row = 0
        if groups:
            row = self._group_starts[groups[0]]
        batch_rows = max(min(stop - row, 65_536), 1)  # rows behind the last one are not decoded
        try:
            for batch in self._file.iter_batches(batch_rows, row_groups=groups, columns=schema.names):
                piece = _slice_rows(batch, row, start, stop)
                row += batch.num_rows
                if piece.num_rows:
                    arrays = [_cast_keeping_time_zone(piece.column(field.name), field.type) for field in schema]
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)
                if row >= stop:
                    return
        except (pa.ArrowException, OSError) as fault:
            raise _create_damage_error(self._name, fault) from None

    def _read_instants(self, name: str, start: int, stop: int) -> Instants:
        times = self._times_by_column.get(name)
        if times is None:
            try:
                times = self._file.read(columns=[name]).column(name).combine_chunks()
            except (pa.ArrowException, OSError) as fault:
                raise _create_damage_error(self._name, fault) from None
            self._times_by_column[name] = times
        return split_timestamps(times.slice(start, stop - start))


def _open_parquet(path: Place) -> OpenProductFile:
    parquet_table = _ParquetTable(path)
    table = parquet_table.create_table_part(None)
    return OpenProductFile(medium="parquet", parts=(table,), close=parquet_table.close)


def _slice_rows(batch: pa.RecordBatch, first_row: int, start: int, stop: int) -> pa.RecordBatch:
    """Return the rows of a batch from `start` to before `stop`; the batch begins with the row `first_row`."""
    piece_start = max(start, first_row)
    piece_stop = min(stop, first_row + batch.num_rows)
    return batch.slice(max(0, start - first_row), max(0, piece_stop - piece_start))


def _is_scalar_or_list_type(arrow_type: pa.DataType) -> bool:
    if pa.types.is_list(arrow_type) or pa.types.is_fixed_size_list(arrow_type):
        arrow_type = arrow_type.value_type
    is_text = pa.types.is_string(arrow_type) or pa.types.is_large_string(arrow_type)
    return bool(is_text or pa.types.is_primitive(arrow_type))


def _create_column(field: pa.Field) -> Column:
    """Create a column; its unit is in the metadata of the field, if anywhere."""
    field_metadata = {}
    for key, value in (field.metadata or {}).items():
        field_metadata[key.decode().lower()] = value.decode("utf-8", "replace")
    kind = field.type
    if pa.types.is_timestamp(kind):
        kind = pa.timestamp("us")
    unit = field_metadata.get("unit") or field_metadata.get("units")
    ucd = field_metadata.get("ucd")
    description = field_metadata.get("description")
    return Column(name=field.name, type=build_type_from_arrow(kind), unit=unit, ucd=ucd, description=description)


def _cast_keeping_time_zone(array: pa.Array, arrow_type: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(arrow_type):
        if pa.types.is_timestamp(array.type):
            zone = pa.timestamp("us", array.type.tz)
        else:
            zone = arrow_type
        return array.cast(zone, safe=False).cast(arrow_type)
    return array.cast(arrow_type)


def split_timestamps(array: pa.Array) -> Instants:
    """Split timestamps into microseconds, and nanoseconds below them if the type has such.

    Parameters
    ----------
    array
        Timestamps.

    Returns
    -------
    instants
        Times as `TablePart.read_instants` returns them.
    """
    is_null = np.asarray(array.is_null())
    if array.type.unit != "ns":
        timestamps = array.cast(pa.timestamp("us", array.type.tz), safe=False)
        microseconds = np.asarray(timestamps.cast(pa.int64()).fill_null(0))
        return np.where(is_null, MISSING_INSTANT, microseconds), None
    nanoseconds = np.asarray(array.cast(pa.int64()).fill_null(0))
    micros, nanos = np.divmod(nanoseconds, 1000)
    return np.where(is_null, MISSING_INSTANT, micros), nanos


@dataclass(slots=True)
class _DelimitedText:
    """A file of delimited text: its columns, as its first lines show them, and access to its rows."""

    path: Place
    is_gzipped: bool
    names: list[str] = field(default_factory=list)
    delimiter: str = ","
    skipped_lines: int = 0
    column_types: dict[str, pa.DataType] = field(default_factory=dict)

    @contextmanager
    def open_file(self) -> Iterator[Any]:
        """Open the file, decompressed."""
        with self.path.open("rb") as binary_file:
            if self.is_gzipped:
                yield gzip.GzipFile(fileobj=binary_file)
            else:
                yield binary_file

    def detect_delimiter_and_column_names(self) -> None:
        """Find the delimiter and the names of columns, and the lines before the first row."""
        with self.open_file() as file:
            first_block = file.read(BLOCK_BYTES)
        lines = first_block.split(b"\n")
        for line_number, line in enumerate(lines):
            if line.strip() and not line.lstrip().startswith(b"#"):
                self.skipped_lines = line_number
                break
        first_line = lines[self.skipped_lines]
        self.delimiter = max(DELIMITERS, key=lambda mark: first_line.count(mark.encode()))
        first_fields = first_line.strip().split(self.delimiter.encode())
        if all(_NUMBER_PATTERN.fullmatch(word) or not word.strip() for word in first_fields):
            self.names = [f"column_{number}" for number in range(1, len(first_fields) + 1)]
        else:
            self.names = [word.decode("utf-8", "replace").strip().strip('"') for word in first_fields]
            self.skipped_lines += 1

    def choose_column_types(self) -> None:
        """Choose the types of columns from the types of the first block of rows."""
        with self.stream_batches(None) as table:
            for schema_field in table.schema:
                kind = schema_field.type
                is_timestamp = pa.types.is_timestamp(kind)
                if is_timestamp and kind.tz is None:
                    kind = pa.timestamp("us")
                elif is_timestamp or pa.types.is_null(kind) or pa.types.is_temporal(kind):
                    kind = pa.string()
                elif pa.types.is_integer(kind):
                    kind = pa.float64()
                self.column_types[schema_field.name] = kind

    @contextmanager
    def stream_batches(self, column_names: Sequence[str] | None) -> Iterator[Any]:
        """Open a stream of the rows, with all columns or some."""
        from pyarrow import csv  # noqa: PLC0415  (few requests need it)

        read_options = csv.ReadOptions(column_names=self.names, skip_rows=self.skipped_lines, block_size=BLOCK_BYTES)
        parse_options = csv.ParseOptions(delimiter=self.delimiter)
        null_values = ["", "NaN", "nan", "NULL", "null", "NA", "N/A"]
        convert_options = csv.ConvertOptions(
            column_types=self.column_types,
            include_columns=column_names,
            null_values=null_values,
            strings_can_be_null=True,
        )
        with (
            self.open_file() as file,
            csv.open_csv(pa.PythonFile(file, "r"), read_options, parse_options, convert_options) as table,
        ):
            yield table

    def count_rows(self) -> int:
        """Count the rows of the file."""
        row_count = 0
        with self.stream_batches(self.names[:1]) as table:
            for batch in table:
                row_count += batch.num_rows
        return row_count


def _open_delimited(path: Place, *, is_gzipped: bool) -> OpenProductFile:
    text = _DelimitedText(path, is_gzipped)
    text.detect_delimiter_and_column_names()
    text.choose_column_types()
    row_count = text.count_rows()

    def create_table(column_names: Collection[str] | None) -> TablePart:
        names = text.names
        if column_names is not None:
            names = [name for name in names if name in column_names]
        columns = tuple(Column(name=name, type=build_type_from_arrow(text.column_types[name])) for name in names)
        schema = pa.schema([column.arrow_field for column in columns])

        def read_batches(start: int, row_limit: int) -> Iterator[pa.RecordBatch]:
            row = 0
            try:
                with text.stream_batches(schema.names) as table:
                    for batch in table:
                        piece = _slice_rows(batch, row, start, start + row_limit)
                        row += batch.num_rows
                        if piece.num_rows:
                            arrays = [piece.column(field.name).cast(field.type) for field in schema]
                            yield pa.RecordBatch.from_arrays(arrays, schema=schema)
                        if row >= start + row_limit:
                            return
            except (pa.ArrowException, OSError, EOFError) as fault:
                raise _create_damage_error(path.name, fault) from None

        return TablePart(
            index=0, columns=columns, row_count=row_count, read_batches=read_batches, select_columns=create_table
        )

    return OpenProductFile(medium="csv", parts=(create_table(None),))
