"""Read Parquet files. VOTable metadata in the footer (VOParquet 1.0) describes the columns."""

from __future__ import annotations

import io
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hven.model import DeviationKind, ReadDeviation, literal, plugins
from hven.model.errors import HvenError, SourceError, TextPlace
from hven.model.table import Column
from hven.model.types import FLOAT64, INT64, ColumnType, build_type_from_arrow, list_leaf_columns, select_leaf_column
from hven.sources import FileKindSignature, RejectedRow, SourceKindTraits
from hven.sources._reading.data_files import DataFile, FileOptions, build_source_batch
from hven.sources._reading.file_rows import FileByFileSource
from hven.sources._reading.whole_numbers import (
    INT64_REASON,
    MAX_INT64,
    MAX_UINT64_DIGITS,
    MIN_INT64,
    build_int64_overflow_deviation,
    cast_integers_masking_overflow,
    has_values_beyond_int64,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.formats import TableStream
    from hven.sources import Source, SourceContext

TICKS_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
MAX_DOUBLE_DIGITS = 15  # a double holds this many digits of every decimal number
_MAX_DICTIONARY_FILE_BYTES = 256 << 20  # larger files are read without dictionaries
VOPARQUET_METADATA_KEY = b"IVOA.VOTable-Parquet.content"
TRAITS = SourceKindTraits(reads_local_files=True)
FILES = FileKindSignature(extensions=("parquet", "pq"), leading_pattern=rb"PAR1[^\0]*\0")  # `PAR1,PAR2` heads a text


class Options(FileOptions):
    """What a descriptor may state about Parquet files: only which ones."""


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open Parquet files.

    Raises
    ------
    SourceError
        No such file.
    """
    return ParquetSource(options, context)


class ParquetSource(FileByFileSource):
    """The rows of one or more Parquet files.

    Attributes
    ----------
    in_place
        True: an engine may serve the files where they are, so types that it does not convert are left out.
    """

    in_place = False

    def list_columns(self) -> list[Column]:
        """List the columns that have a VOTable form. The VOTable of the footer describes them if there is one."""
        return self._columns

    def estimate_progress_total(self) -> int:
        """Count the rows."""
        return sum(_open_parquet(file).metadata.num_rows for file in self.files)

    def count_progress_units(self) -> int:
        """Count the rows read so far."""
        return self.read_count

    def _list_column_names(self) -> list[str]:
        return [column.name for column in self._columns]

    def _read_rows(
        self, file: DataFile, column_names: Sequence[str], file_column_names: Sequence[str], row_limit: int | None
    ) -> Iterator[pa.RecordBatch]:
        kinds = {column.name: column.type.arrow for column in self._columns}
        with _open_parquet(file) as plain:
            dictionary_columns: Sequence[str] = ()
            if file.size <= _MAX_DICTIONARY_FILE_BYTES:
                dictionary_columns = _list_byte_array_columns(plain)
            opened = _open_parquet(file, dictionary_columns)
        first = 1
        try:
            leaves = list_leaf_columns(opened.schema_arrow)
            paths = {name: path for name, (path, _) in leaves.items()}
            for name in file_column_names:
                if name not in paths:
                    raise SourceError(
                        f"the file has no column {name!r}, unlike {self.first_file_name}",
                        place=TextPlace(file=file.name),
                        remedy="add the file to `ignore`",
                    )
            if file.name != self.first_file_name:
                columns_here = self._describe_columns(opened, file)
                self._report_further_columns(file, [column.name for column in columns_here])
                self._check_same_units(file, columns_here, file_column_names)
            step = self.context.batch_row_limit
            if row_limit is not None:
                step = min(step, row_limit)
            columns = [paths[name] for name in file_column_names] or opened.schema_arrow.names[:1]
            batches = opened.iter_batches(step, columns=columns)
            for batch in chain.from_iterable(map(literal.split_batch_by_expanded_size, batches)):
                values_by_name = {name: select_leaf_column(batch, paths[name]) for name in file_column_names}
                self._report_truncated_times(values_by_name, file, first)
                arrays = {}
                bad = np.zeros(batch.num_rows, bool)
                for name in file_column_names:
                    values, wrong = _convert_whole_numbers(values_by_name[name], kinds[name])
                    if wrong is not None:
                        self._reject_oversized_integers(values_by_name[name], wrong & ~bad, name, first, file)
                        bad |= wrong
                    arrays[name] = literal.replace_nan_with_null(_cast_to_storage(values, kinds[name], file, name))
                if bad.any():
                    is_good = pa.array(~bad)
                    numbers = pa.array(np.flatnonzero(~bad) + first, pa.int64())
                    arrays = {name: values.filter(is_good) for name, values in arrays.items()}
                    yield build_source_batch(column_names, arrays, len(numbers), numbers, file)
                else:
                    yield build_source_batch(column_names, arrays, batch.num_rows, first, file)
                first += batch.num_rows
                self.read_count += batch.num_rows
        except (pa.ArrowException, ValueError, OSError) as error:
            message = f"the file cannot be read after row {first - 1}: {error}"
            raise SourceError(message, place=TextPlace(file=file.name), remedy="download the file again") from error
        finally:
            opened.close()
        file.compute_sha256()

    def _report_shadowed_fields(
        self, schema: pa.Schema, leaves: Mapping[str, tuple[str, pa.DataType]], file: DataFile
    ) -> None:
        """Report the fields of structures that are not read because a column has their name."""
        paths = {path for path, _ in leaves.values()}
        for item in schema:
            if not pa.types.is_struct(item.type):
                continue
            for field in item.type:
                path = f"{item.name}.{field.name}"
                if path not in paths:
                    message = f"there is also a column {item.name}_{field.name}, so Hven does not read the field"
                    deviation = ReadDeviation(
                        kind=DeviationKind.DUPLICATE_NAME, column=path, file=file.name, message=message
                    )
                    self.context.report_deviation(deviation)

    def _choose_column_type(
        self, name: str, path: str, stored: pa.DataType, opened: pq.ParquetFile, file: DataFile
    ) -> ColumnType | None:
        """Choose the type of a column; None: it has no form in a table of the VO.

        Report what is not read, or is read as something else.
        """
        report: Callable[[ReadDeviation], None] = _ignore_deviation
        if file.name == self.first_file_name:
            report = self.context.report_deviation
        if not self.in_place:
            converted_type = self._choose_converted_type(name, path, stored, opened, report=report, file=file)
            if converted_type is not None:
                return converted_type
        if pa.types.is_decimal(stored) and stored.precision > MAX_DOUBLE_DIGITS:
            message = (
                f"Hven reads decimals of {stored.precision} digits as doubles, which have {MAX_DOUBLE_DIGITS} digits"
            )
            deviation = ReadDeviation(kind=DeviationKind.PRECISION, column=name, file=file.name, message=message)
            report(deviation)
        try:
            return build_type_from_arrow(stored)
        except ValueError:
            deviation = ReadDeviation(
                kind=DeviationKind.DROPPED_COLUMN,
                column=name,
                file=file.name,
                message=f"VO tables have no equivalent of the type {stored}, so Hven does not read the column",
                remedy="split it into columns of plain types",
            )
            report(deviation)
            return None

    def _choose_converted_type(
        self,
        name: str,
        path: str,
        stored: pa.DataType,
        opened: pq.ParquetFile,
        *,
        report: Callable[[ReadDeviation], None],
        file: DataFile,
    ) -> ColumnType | None:
        """Choose the type of a column whose values are converted when they are read; None: it is not of them."""
        is_whole_decimal = _is_whole_decimal(stored)
        is_uint64 = pa.types.is_uint64(stored)
        if (is_uint64 or is_whole_decimal) and _has_values_beyond_int64(opened, path):
            report(build_int64_overflow_deviation(name, file.name))
            digits = MAX_UINT64_DIGITS
            if not is_uint64:
                digits = stored.precision + 1
            return ColumnType("char", f"{digits}*")
        if is_whole_decimal:
            return INT64
        if pa.types.is_duration(stored):
            message = f"Hven reads durations ({stored.unit}) as seconds"
            deviation = ReadDeviation(kind=DeviationKind.TYPE, column=name, file=file.name, message=message)
            report(deviation)
            return FLOAT64
        if pa.types.is_fixed_size_binary(stored):
            return ColumnType("unsignedByte", str(stored.byte_width))
        return None

    def _reject_oversized_integers(
        self, values: pa.Array, is_bad: np.ndarray, name: str, first_row: int, file: DataFile
    ) -> None:
        """Reject the rows whose unsigned integers do not fit."""
        for at in np.flatnonzero(is_bad):
            value = str(values[int(at)].as_py())
            row = first_row + int(at)
            if self.context.on_reject is None:
                message = f"row {row}, column {name}: {value} is {INT64_REASON}"
                raise SourceError(message, place=TextPlace(file=file.name))
            rejected_row = RejectedRow(file=file.name, row=row, column=name, value=value, reason=INT64_REASON)
            self.context.on_reject(rejected_row)

    def _report_truncated_times(self, arrays: Mapping[str, pa.Array], file: DataFile, first_row: int) -> None:
        """Report times that are finer than the stored ones."""
        for name, values in arrays.items():
            if not pa.types.is_timestamp(values.type) or values.type.unit != "ns":
                continue
            nanoseconds = np.asarray(values.cast(pa.int64()).fill_null(0))
            fine = np.flatnonzero(nanoseconds % 1000)
            if len(fine):
                first_fine = int(fine[0])
                deviation = ReadDeviation(
                    kind=DeviationKind.PRECISION,
                    column=name,
                    count=len(fine),
                    file=file.name,
                    row=first_row + first_fine,
                    value=str(values[first_fine]),
                    message="fractions of a microsecond are dropped",
                )
                self.context.report_deviation(deviation)

    @cached_property
    def _columns(self) -> list[Column]:
        with _open_parquet(self.files[0]) as opened:
            return self._describe_columns(opened, self.files[0])

    def _describe_columns(self, opened: pq.ParquetFile, file: DataFile) -> list[Column]:
        footer_columns = {column.name: column for column in _read_footer_columns(opened)}
        columns: list[Column] = []
        schema = opened.schema_arrow
        leaves = list_leaf_columns(schema)
        if file.name == self.first_file_name:
            self._report_shadowed_fields(schema, leaves, file)
        for name, (path, stored) in leaves.items():
            footer = footer_columns.get(name) or footer_columns.get(path)
            if footer is not None and footer.name != name:
                footer = footer.copy_with(name=name)
            if footer is not None and footer.type.arrow == stored:
                columns.append(footer)
                continue
            kind = self._choose_column_type(name, path, stored, opened, file)
            if kind is None:
                continue
            if footer is not None and footer.type.arrow == kind.arrow:
                columns.append(footer)
                continue
            if footer is None:
                field_metadata: Mapping[bytes, bytes] = {}
                if path == name:
                    field_metadata = schema.field(name).metadata or {}
                footer = _build_described_column(name, field_metadata, stored)
            columns.append(footer.copy_with(type=kind))
        if not columns:
            raise SourceError(
                "the file has no column that Hven can read",
                place=TextPlace(file=file.name),
                remedy="flatten nested structs first",
            )
        return columns


def _build_described_column(name: str, field_metadata: Mapping[bytes, bytes], stored: pa.DataType) -> Column:
    """Describe a column by the metadata of its field."""
    texts = {key.decode(): value.decode(errors="replace") for key, value in field_metadata.items()}
    unit = texts.get("unit")
    if pa.types.is_duration(stored):
        unit = "s"
    return Column(name=name, unit=unit, ucd=texts.get("ucd"), description=texts.get("description"))


def _has_values_beyond_int64(opened: pq.ParquetFile, path: str) -> bool:
    """Return whether a column of whole numbers holds values that int64 does not.

    The statistics tell it, or the values where there are none.
    """
    metadata = opened.metadata
    paths = [metadata.schema.column(index).path for index in range(metadata.num_columns)]
    number = paths.index(path)
    unknown = []
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(number).statistics
        if statistics is None or not statistics.has_min_max:
            unknown.append(group)
        elif statistics.max > MAX_INT64 or statistics.min < MIN_INT64:
            return True
    if unknown:
        batches = opened.iter_batches(row_groups=unknown, columns=[path])
    else:
        batches = ()
    return any(has_values_beyond_int64(select_leaf_column(batch, path)) for batch in batches)


def _is_whole_decimal(arrow_type: pa.DataType) -> bool:
    """Return whether a type is a decimal without a fraction: a whole number."""
    return bool(pa.types.is_decimal(arrow_type) and arrow_type.scale == 0)


def _ignore_deviation(_deviation: ReadDeviation) -> None:
    """Report nothing: the first file reported it."""


def _convert_whole_numbers(values: pa.Array, arrow_type: pa.DataType) -> tuple[pa.Array, np.ndarray | None]:
    """Convert whole numbers of other types than int64, alone or unsigned ones in lists; mark the rows that do not fit.

    Other values stay as they are.
    """
    if pa.types.is_uint64(values.type) or (_is_whole_decimal(values.type) and not pa.types.is_floating(arrow_type)):
        return cast_integers_masking_overflow(values, arrow_type)
    if not _is_list(values.type) or not pa.types.is_uint64(values.type.value_type):
        return values, None
    flat = values.flatten()
    if not has_values_beyond_int64(flat):
        return values, None
    is_beyond = pc.greater(flat, pa.scalar(MAX_INT64, pa.uint64()))
    beyond = np.asarray(pc.fill_null(is_beyond, False))
    bad = np.zeros(len(values), bool)
    bad[np.asarray(pc.list_parent_indices(values))[beyond]] = True
    fitting_values = pc.if_else(pa.array(bad), pa.scalar(None, values.type), values)
    return fitting_values, bad


def _is_list(arrow_type: pa.DataType) -> bool:
    if pa.types.is_fixed_size_list(arrow_type):
        return True
    return bool(pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type))


def _list_byte_array_columns(opened: pq.ParquetFile) -> list[str]:
    """List the columns of texts and bytes.

    They are read as dictionaries and expanded a few rows at a time, for each row may have the same long text.
    """
    columns = [opened.schema.column(number) for number in range(opened.metadata.num_columns)]
    byte_columns = [column for column in columns if column.physical_type == "BYTE_ARRAY"]
    return [column.path for column in byte_columns if column.logical_type.type != "DECIMAL"]


def _open_parquet(file: DataFile, dictionary_columns: Sequence[str] = ()) -> pq.ParquetFile:
    # pre_buffer would keep every row group that was read until the file is closed (1.8 GB of 5 x 10^7 rows, against
    # 80 MB)
    columns = list(dictionary_columns)
    try:
        return pq.ParquetFile(file.product_path, memory_map=False, pre_buffer=False, read_dictionary=columns)
    except (pa.ArrowException, OSError) as error:
        message = f"the file is not a readable Parquet file: {error}"
        remedy = "download the file again, or add it to `ignore`"
        raise SourceError(message, place=TextPlace(file=file.name), remedy=remedy) from error


def _read_footer_columns(opened: pq.ParquetFile) -> list[Column]:
    schema_metadata = opened.schema_arrow.metadata or {}
    file_metadata = opened.metadata.metadata or {}
    text = schema_metadata.get(VOPARQUET_METADATA_KEY) or file_metadata.get(VOPARQUET_METADATA_KEY)
    if not text:
        return []
    try:
        plugin = plugins.load_plugin("formats", "votable")
        read: TableStream = plugin.FORMAT.read(io.BytesIO(text))
        columns = list(read.metadata.columns)
        for _ in read.batches:
            pass
    except HvenError:  # bad metadata do not spoil good data
        return []
    if read.is_truncated:
        raise SourceError(
            "the table was truncated when it was written (QUERY_STATUS=OVERFLOW in its VOTable), so rows are missing",
            remedy="request more rows from the service (MAXREC), or request a smaller part of the table",
        )
    return columns


def _cast_to_storage(values: pa.Array, arrow_type: pa.DataType, file: DataFile, name: str) -> pa.Array:
    """Cast to the storage type: dictionaries are decoded, unsigned words widened, dates made times."""
    kind = values.type
    if kind == arrow_type:
        return values
    if pa.types.is_dictionary(kind):
        return _cast_to_storage(values.dictionary_decode(), arrow_type, file, name)
    if pa.types.is_time(kind) or pa.types.is_null(kind):
        return values.cast(pa.string())
    if pa.types.is_duration(kind):
        ticks = values.cast(pa.int64()).cast(pa.float64(), safe=False)
        return pc.divide(ticks, TICKS_PER_SECOND[kind.unit])
    if (pa.types.is_fixed_size_binary(kind) and kind.byte_width) or _is_variable_binary(kind):
        return _binary_to_lists(values)
    try:
        if pa.types.is_timestamp(kind) and kind.tz:
            utc_values = values.cast(pa.timestamp(kind.unit, "UTC"))
            values = utc_values.cast(pa.timestamp(kind.unit))
        safe = not pa.types.is_timestamp(arrow_type) and not pa.types.is_floating(arrow_type)
        return literal.format_decimals(values).cast(arrow_type, safe=safe)
    except pa.ArrowInvalid as error:
        raise SourceError(
            f"column {name!r}: {error}",
            place=TextPlace(file=file.name),
            remedy="write the column with the same type in all files, or write a separate source entry for the file",
        ) from error


def _is_variable_binary(arrow_type: pa.DataType) -> bool:
    return bool(pa.types.is_binary(arrow_type) or pa.types.is_large_binary(arrow_type))


def _binary_to_lists(values: pa.Array) -> pa.Array:
    """Convert bytes to lists of numbers, without a copy of them."""
    mask = None
    if values.null_count:
        mask = values.is_null()
    if pa.types.is_fixed_size_binary(values.type):
        width = values.type.byte_width
        buffers = [None, values.buffers()[1]]
        items = pa.Array.from_buffers(pa.uint8(), len(values) * width, buffers, offset=values.offset * width)
        return pa.FixedSizeListArray.from_arrays(items, width, mask=mask)
    small = values.cast(pa.binary())
    _, offset_buffer, data_buffer = small.buffers()
    offsets = pa.Array.from_buffers(pa.int32(), len(small) + 1, [None, offset_buffer], offset=small.offset)
    items = pa.Array.from_buffers(pa.uint8(), offsets[-1].as_py(), [None, data_buffer])
    return pa.ListArray.from_arrays(offsets, items, mask=mask)
