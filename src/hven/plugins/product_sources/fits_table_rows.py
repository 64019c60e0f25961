"""Read the rows of a table HDU in batches: one pass from front to end, compressed or not."""

from __future__ import annotations

import io
import tempfile
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import numpy as np
import pyarrow as pa

from hven.model import DeviationKind, ReadDeviation, plugins
from hven.model.errors import HvenError, SourceError, TextPlace
from hven.plugins.product_sources.fits_columns import (
    FitsField,
    convert_ascii_column,
    convert_binary_column,
    convert_unsigned_words,
    read_fits_fields,
)
from hven.sources import RejectedRow, SourceContext
from hven.sources.api.cells import (
    INT64_REASON,
    build_int64_overflow_deviation,
    has_values_beyond_int64,
    list_null_words,
    replace_null_markers,
)
from hven.sources.api.file_rows import FileByFileSource, FileOptions, is_exact_widening
from hven.sources.api.rows import CHUNK_BYTES, DataFile, DecompressedStream, build_source_batch
from hven.sources.fits_headers import BLOCK_BYTES, HduHeader, read_next_hdu_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.formats import TableStream
    from hven.model.table import Column

BUFFER_BYTES = 4 * BLOCK_BYTES  # read at a time where only headers are read
MAX_SCANNED_BYTES = 1 << 30  # of a table with unsigned 64-bit words, which are scanned to choose their types
MAX_TYPE_FILES = 5  # of a pattern: their headers are read to find the widest types of columns
_MAX_METADATA_BYTES = 16 << 20  # of a VOTable in the primary HDU


class FitsTableSource(FileByFileSource):
    """A table HDU of one or more files."""

    def __init__(
        self,
        options: FileOptions,
        hdu: int | str | list[int | str] | None,
        context: SourceContext,
        nulls: Mapping[str, Sequence[str]],
    ) -> None:
        super().__init__(options, context)
        self.hdu = hdu
        self.nulls = nulls

    def list_columns(self) -> list[Column]:
        """List the columns by their cards (TTYPE, TFORM, TUNIT ...), or by the VOTable of a FITS-plus file."""
        return self._columns

    @cached_property
    def _columns(self) -> list[Column]:
        votable_columns = {column.name: column for column in self._read_fits_plus_columns()}
        return [_merge_descriptions(item.column, votable_columns.get(item.name)) for item in self._fields]

    def _list_column_names(self) -> list[str]:
        return [item.name for item in self._fields]

    @cached_property
    def _fields(self) -> list[FitsField]:
        file_name = self.files[0].name
        stream = self.files[0].open_stream()
        try:
            header = self._skip_to_table(stream, file_name)
            fields = read_fits_fields(header, file_name)
            if not fields:
                place = TextPlace(file=file_name)
                raise SourceError("the table has no columns", place=place, remedy="choose a different `hdu`")
            text_names = _find_columns_beyond_int64(stream, header, fields)
        finally:
            stream.close()
        fields = self._widen_fields(fields)
        for name in sorted(text_names):
            self.context.report_deviation(build_int64_overflow_deviation(name, file_name))
        return [item.to_uint64_text_field() if item.name in text_names else item for item in fields]

    def _widen_fields(self, fields: Sequence[FitsField]) -> list[FitsField]:
        """Give columns of numbers the widest type that some files have."""
        fields_by_name = {item.name: item for item in fields}
        for file in self.files[1 :: max(1, len(self.files) // MAX_TYPE_FILES)][: MAX_TYPE_FILES - 1]:
            stream = file.copy_unread().open_stream()
            try:
                other_fields = read_fits_fields(self._skip_to_table(stream, file.name), file.name)
            finally:
                stream.close()
            for other in other_fields:
                field = fields_by_name.get(other.name)
                if field and is_exact_widening(field.column.type.arrow, other.column.type.arrow):
                    column = field.column.copy_with(type=other.column.type)
                    fields_by_name[other.name] = replace(field, column=column)
        return list(fields_by_name.values())

    def _read_fits_plus_columns(self) -> list[Column]:
        """Read the metadata that TOPCAT and STILTS keep in the primary HDU (FITS-plus: VOTMETA = T)."""
        stream = self.files[0].open_stream()
        try:
            header = read_next_hdu_header(stream.read, 0, self.files[0].name)
            if header is None or header.card_values.get("VOTMETA") is not True:
                return []
            votable_bytes = min(header.read_integer("NAXIS1"), _MAX_METADATA_BYTES)
            text = stream.read(votable_bytes)
        finally:
            stream.close()
        try:
            plugin = plugins.load_plugin("formats", "votable")
            read: TableStream = plugin.FORMAT.read(io.BytesIO(text), table=0)
        except HvenError:  # bad metadata do not spoil good data
            return []
        if read.is_truncated:
            raise SourceError(
                "the table was truncated when it was written (QUERY_STATUS=OVERFLOW in its VOTable), so rows are "
                "missing",
                place=TextPlace(file=self.files[0].name),
                remedy="request more rows from the service (MAXREC), or request a smaller part of the table",
            )
        return list(read.metadata.columns)

    def _skip_to_table(self, stream: DecompressedStream, file: str) -> HduHeader:
        """Skip to the data of the wanted table."""
        tables: list[str] = []
        index = 0
        wanted_hdu = self.hdu
        if isinstance(wanted_hdu, list):
            wanted_hdu = wanted_hdu[0]
        while (header := read_next_hdu_header(stream.read, index, file)) is not None:
            if header.hdu_kind in {"BINTABLE", "TABLE"}:
                if wanted_hdu is None or wanted_hdu == index or header.is_named(wanted_hdu):
                    return header
                tables.append(f"{index} {header.name}".strip())
            _skip_bytes(stream, header.data_bytes)
            index += 1
        complaint = "the file has no table"
        if wanted_hdu is not None:
            complaint = f"the file has no table in HDU {wanted_hdu!r}"
        remedy = "write `mode: header` to read one row per file, with the header cards of the file"
        if tables:
            remedy = f"choose one of its tables: {', '.join(tables)}"
        message = f"{complaint} (number of HDUs: {index})"
        raise SourceError(message, place=TextPlace(file=file), remedy=remedy)

    def _read_rows(
        self, file: DataFile, column_names: Sequence[str], file_column_names: Sequence[str], row_limit: int | None
    ) -> Iterator[pa.RecordBatch]:
        self.list_columns()  # of the first file, before this file is read
        stream = file.open_stream()
        spool: BinaryIO | None = None
        try:
            header = self._skip_to_table(stream, file.name)
            fields_by_name = self._read_and_check_fields(header, file, file_column_names)
            count = header.read_integer("NAXIS2")
            width = header.read_integer("NAXIS1")
            rows = count
            if row_limit is not None:
                rows = min(count, row_limit)
            read: Callable[[int], bytes] = stream.read
            heap = None
            if any(fields_by_name[name].heap_descriptor for name in file_column_names):
                # the heap comes after the rows, which need it: both are read into a file first
                spool = _spool_bytes(stream, header.data_bytes)
                read = spool.read
                heap = _build_heap_reader(spool, header)
            converter = _BatchConverter(
                fields_by_name, file_column_names, file, heap=heap, is_ascii=header.hdu_kind == "TABLE"
            )
            rows_per_chunk = (16 * CHUNK_BYTES) // max(width, 1)
            step = max(1, min(self.context.batch_row_limit, rows_per_chunk))
            for first in range(0, rows, step):
                n = min(step, rows - first)
                data = read(n * width)
                if len(data) < n * width:
                    complete_rows = first + len(data) // max(width, 1)
                    raise SourceError(
                        f"the file ends after row {complete_rows} of {count}",
                        place=TextPlace(file=file.name),
                        remedy="download the file again",
                    )
                place = 0
                if spool:
                    place = spool.tell()
                row_bytes = np.frombuffer(data, np.uint8).reshape(n, width)
                try:
                    batch = self._build_batch(row_bytes, converter, column_names, first + 1)
                except SourceError as error:
                    if error.place.file:
                        raise
                    raise SourceError(error.message, place=TextPlace(file=file.name), remedy=error.remedy) from error
                yield batch
                if spool:
                    spool.seek(place)
            if row_limit is None or rows == count:
                _read_to_end(stream, file)
        finally:
            stream.close()
            if spool:
                spool.close()

    def _read_and_check_fields(
        self, header: HduHeader, file: DataFile, file_column_names: Sequence[str]
    ) -> dict[str, FitsField]:
        """Read the columns of a file by name, and check that they are those of the first file."""
        fields_by_name = {item.name: item for item in read_fits_fields(header, file.name)}
        for first_field in self._fields:
            name = first_field.name
            reads_text = first_field.is_unsigned and first_field.column.type.scalar_type.name == "string"
            if reads_text and name in fields_by_name and fields_by_name[name].is_unsigned:
                fields_by_name[name] = fields_by_name[name].to_uint64_text_field()
        arrow_types = {item.name: item.column.type.arrow for item in self._fields}
        first_name = self.first_file_name
        for name in file_column_names:
            difference = ""
            if name not in fields_by_name:
                difference = f"the file has no column {name!r}, unlike {first_name}"
                remedy = "add the file to `ignore`"
            elif (arrow_type := fields_by_name[name].column.type.arrow) != arrow_types[name] and not is_exact_widening(
                arrow_type, arrow_types[name]
            ):
                remedy = "write a separate source entry for the files with this type, or add them to `ignore`"
                difference = f"the type of column {name!r} is different from that in {first_name}"
            if difference:
                raise SourceError(
                    difference,
                    place=TextPlace(file=file.name),
                    remedy=remedy,
                )
        self._report_further_columns(file, fields_by_name)
        self._check_same_units(file, [item.column for item in fields_by_name.values()], file_column_names)
        return fields_by_name

    def _build_batch(
        self, row_bytes: np.ndarray, converter: _BatchConverter, names: Sequence[str], first_row: int
    ) -> pa.RecordBatch:
        arrays: dict[str, pa.Array] = {}
        arrow_types = {item.name: item.column.type.arrow for item in self._fields}
        is_rejected = np.zeros(len(row_bytes), bool)
        file = converter.file
        for name in converter.column_names:
            values, bad, implied = converter.convert_column(name, row_bytes)
            if implied is not None:
                deviation = converter.build_implied_decimals_deviation(
                    name, row_bytes, np.flatnonzero(implied), first_row
                )
                self.context.report_deviation(deviation)
            null_words = list_null_words(self.nulls, name)
            arrays[name] = replace_null_markers(values, null_words)
            if is_exact_widening(values.type, arrow_types[name]):
                arrays[name] = arrays[name].cast(arrow_types[name])
            if bad is None:
                continue
            mask = np.asarray(bad) & ~is_rejected
            is_rejected |= mask
            for at in np.flatnonzero(mask):
                self._reject_row(converter.build_reject(name, row_bytes[at], first_row + int(at)))
        if not is_rejected.any():
            return build_source_batch(names, arrays, len(row_bytes), first_row, file)
        keep = pa.array(~is_rejected)
        kept_arrays = {name: array.filter(keep) for name, array in arrays.items()}
        kept_rows = np.flatnonzero(~is_rejected)
        numbers = pa.array(kept_rows + first_row, pa.int64())
        return build_source_batch(names, kept_arrays, len(kept_rows), numbers, file)

    def _reject_row(self, reject: RejectedRow) -> None:
        if self.context.on_reject is None:
            raise SourceError(
                f"row {reject.row}, column {reject.column}: {reject.value!r} is {reject.reason}",
                place=TextPlace(file=reject.file),
            )
        self.context.on_reject(reject)


class _BatchConverter:
    """Converts chunks of rows of one file.

    Parameters
    ----------
    column_names
        Columns to convert.
    heap
        Reads bytes of the heap, if a column has arrays in it.
    """

    def __init__(
        self,
        fields_by_name: Mapping[str, FitsField],
        column_names: Sequence[str],
        file: DataFile,
        *,
        heap: Callable[[int, int], bytes] | None,
        is_ascii: bool,
    ) -> None:
        self.fields_by_name = fields_by_name
        self.column_names = column_names
        self.file = file
        self.heap = heap
        self.is_ascii = is_ascii

    def convert_column(self, name: str, row_bytes: np.ndarray) -> tuple[pa.Array, Any, Any]:
        """Return the values of a column, the bad rows, and the rows whose decimal point TFORM places; None: none."""
        fits_field = self.fields_by_name[name]
        if self.is_ascii:
            return convert_ascii_column(row_bytes, fits_field)
        values, bad = convert_binary_column(row_bytes, fits_field, self.heap)
        return values, bad, None

    def build_reject(self, name: str, row: np.ndarray, row_number: int) -> RejectedRow:
        """Describe a row whose value in a column does not fit."""
        fits_field = self.fields_by_name[name]
        cell = _slice_cell(row, fits_field)
        if self.is_ascii:
            value: str | None = cell.decode("latin-1").strip()
            reason = f"not a number (TFORM {fits_field.code}{fits_field.width})"
        else:
            value = _format_unsigned_cell(cell, fits_field)
            reason = INT64_REASON
        return RejectedRow(file=self.file.name, row=row_number, column=name, value=value, reason=reason)

    def build_implied_decimals_deviation(
        self, name: str, row_bytes: np.ndarray, places: np.ndarray, first_row: int
    ) -> ReadDeviation:
        """Describe numbers without a decimal point."""
        fits_field = self.fields_by_name[name]
        cell = _slice_cell(row_bytes[places[0]], fits_field)
        digits = f"{fits_field.decimals} digits are"
        if fits_field.decimals == 1:
            digits = "digit is"
        tform = f"{fits_field.code}{fits_field.width}.{fits_field.decimals}"
        return ReadDeviation(
            kind=DeviationKind.TYPE,
            column=fits_field.name,
            count=len(places),
            file=self.file.name,
            row=first_row + int(places[0]),
            value=cell.decode("latin-1").strip(),
            message=f"the numbers have no decimal point; the last {digits} the fraction (TFORM {tform})",
        )


def _slice_cell(row: np.ndarray, fits_field: FitsField) -> bytes:
    cell: bytes = row[fits_field.start : fits_field.start + fits_field.width].tobytes()
    return cell


def _format_unsigned_cell(cell: bytes, fits_field: FitsField) -> str | None:
    """Write a cell of unsigned words; arrays in the heap are not shown."""
    if fits_field.heap_descriptor:
        return None
    numbers = convert_unsigned_words(np.frombuffer(cell, ">i8")).to_pylist()
    return " ".join(map(str, numbers))


def _find_columns_beyond_int64(stream: DecompressedStream, header: HduHeader, items: Sequence[FitsField]) -> set[str]:
    """Name the columns of unsigned 64-bit words whose values an int64 cannot hold.

    Arrays in the heap are not scanned. Only a table with such a column is read here, up to `MAX_SCANNED_BYTES` bytes; a
    larger value behind them rejects its row.
    """
    unresolved = {item.name: item for item in items if item.is_unsigned and not item.heap_descriptor}
    names_beyond: set[str] = set()
    width = header.read_integer("NAXIS1")
    max_rows = MAX_SCANNED_BYTES // max(width, 1)
    rows = min(header.read_integer("NAXIS2"), max_rows)
    step = max(1, CHUNK_BYTES // max(width, 1))
    while unresolved and rows > 0:
        data = stream.read(min(step, rows) * width)
        count = len(data) // max(width, 1)
        if not count:
            break
        cells = np.frombuffer(data, np.uint8, count * width).reshape(count, width)
        for name, item in list(unresolved.items()):
            end = item.start + item.width
            words = np.ascontiguousarray(cells[:, item.start : end]).view(">i8").ravel()
            mask = None
            if item.null is not None:
                mask = words == item.null
            if has_values_beyond_int64(convert_unsigned_words(words, mask)):
                names_beyond.add(name)
                del unresolved[name]
        rows -= count
    return names_beyond


class TableHdu(NamedTuple):
    """A table HDU of a file; that of a spectrogram may only hold the axes of an image."""

    hdu_index: int
    name: str
    row_count: int
    holds_only_image_axes: bool


def list_table_hdus(file: DataFile) -> list[TableHdu]:
    """List the table HDUs of a file, by its headers."""
    hdus = []
    axes: set[int] = set()
    stream = file.open_unhashed(BUFFER_BYTES)
    try:
        index = 0
        while (header := read_next_hdu_header(stream.read, index, file.name)) is not None:
            if header.hdu_kind in {"BINTABLE", "TABLE"}:
                rows = header.read_integer("NAXIS2")
                is_axes = False
                if rows == 1 and axes:
                    is_axes = all(item.repeat in axes for item in read_fits_fields(header, file.name))
                hdus.append(TableHdu(index, header.name, rows, is_axes))
            else:
                axis_count = header.read_integer("NAXIS")
                if axis_count > 1:
                    sizes = {header.read_integer(f"NAXIS{number}") for number in range(1, axis_count + 1)}
                    axes |= sizes - {0, 1}
            stream.skip_bytes(header.data_bytes)
            index += 1
    finally:
        stream.close()
    return hdus


def _merge_descriptions(column: Column, votable_column: Column | None) -> Column:
    """Add what another description tells and the cards do not."""
    if votable_column is None:
        return column
    merged_values: dict[str, object] = {}
    for key in ("unit", "ucd", "utype", "description"):
        merged_values[key] = getattr(column, key) or getattr(votable_column, key)
    return column.copy_with(**merged_values)


def _skip_bytes(stream: DecompressedStream, size: int) -> None:
    while size > 0:
        part = stream.read(min(size, CHUNK_BYTES))
        if not part:
            return
        size -= len(part)


def _read_to_end(stream: DecompressedStream, file: DataFile) -> None:
    while stream.read(CHUNK_BYTES):
        pass
    file.read_to_end()


def _spool_bytes(stream: DecompressedStream, size: int) -> BinaryIO:
    spool = tempfile.SpooledTemporaryFile(max_size=64 << 20)  # noqa: SIM115  (closed by the caller)
    while size > 0:
        part = stream.read(min(size, CHUNK_BYTES))
        if not part:
            break
        spool.write(part)
        size -= len(part)
    spool.seek(0)
    return cast("BinaryIO", spool)


def _build_heap_reader(spool: BinaryIO, header: HduHeader) -> Callable[[int, int], bytes]:
    table_bytes = header.read_integer("NAXIS1") * header.read_integer("NAXIS2")
    start = header.read_integer("THEAP", table_bytes)

    def read_heap(offset: int, size: int) -> bytes:
        spool.seek(start + offset)
        return spool.read(size)

    return read_heap
