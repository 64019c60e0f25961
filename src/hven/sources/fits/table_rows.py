"""The rows of a table HDU in batches: one pass from front to end, compressed or not."""

from __future__ import annotations

import io
import tempfile
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np
import pyarrow as pa

from hven.model import Deviation, DeviationKind, plugins
from hven.model.errors import HvenError, Place, SourceError
from hven.sources import RejectedRow, SourceContext
from hven.sources._reading.cells import replace_null_values
from hven.sources._reading.data_files import CHUNK_BYTES, DataFile, DecompressedStream, FileOptions, build_source_batch
from hven.sources._reading.file_rows import FileRows
from hven.sources._reading.fits_columns import (
    FitsField,
    convert_ascii_column,
    convert_binary_column,
    convert_unsigned_words,
    read_fields,
)
from hven.sources._reading.text_rows import list_null_words
from hven.sources._reading.whole_numbers import INT64_REASON, build_text_deviation, has_values_beyond_int64
from hven.sources.fits_headers import BLOCK_BYTES, HduHeader, read_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.formats import TableStream
    from hven.model.table import Column
BUFFER_BYTES = 4 * BLOCK_BYTES  # bytes that are read at a time of headers alone
MAX_SCANNED_BYTES = 1 << 30  # bytes of a table with unsigned 64-bit words that are looked at to know its types
_MAX_METADATA_BYTES = 16 << 20  # bytes of a VOTable in the primary HDU


class FitsTableSource(FileRows):
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
        """List the columns as TTYPE, TFORM, TUNIT, TUCD, TCOMM ... say, or the VOTable that a FITS-plus file carries."""
        return self._columns

    @cached_property
    def _columns(self) -> list[Column]:
        votable_columns = {column.name: column for column in self._read_fits_plus_columns()}
        return [_merge_descriptions(item.column, votable_columns.get(item.name)) for item in self._fields]

    def _list_column_names(self) -> list[str]:
        return [item.name for item in self._fields]

    @cached_property
    def _fields(self) -> list[FitsField]:
        stream = self.files[0].open_stream()
        try:
            header = self._find_table(stream, self.files[0].name)
            fields = read_fields(header, self.files[0].name)
            if not fields:
                raise SourceError(
                    "the table has no columns", place=Place(file=self.files[0].name), remedy="choose another `hdu`"
                )
            texts = _find_columns_beyond_int64(stream, header, fields)
        finally:
            stream.close()
        for name in sorted(texts):
            self.context.report_deviation(build_text_deviation(name, self.files[0].name))
        return [item.to_text_field() if item.name in texts else item for item in fields]

    def _read_fits_plus_columns(self) -> list[Column]:
        """Read the metadata that TOPCAT and STILTS keep in the primary HDU (FITS-plus: VOTMETA = T)."""
        stream = self.files[0].open_stream()
        try:
            header = read_header(stream.read, 0, self.files[0].name)
            if header is None or header.card_values.get("VOTMETA") is not True:
                return []
            integer = header.read_integer("NAXIS1")
            text = stream.read(min(integer, _MAX_METADATA_BYTES))
        finally:
            stream.close()
        try:
            plugin = plugins.load_plugin("formats", "votable")
            read: TableStream = plugin.FORMAT.read(io.BytesIO(text), table=0)
        except HvenError:  # bad metadata do not spoil good data
            return []
        if read.is_truncated:
            raise SourceError(
                "the table was cut off when it was written (QUERY_STATUS=OVERFLOW in its VOTable): there are more rows",
                place=Place(file=self.files[0].name),
                remedy="ask its service for more rows (MAXREC), or for less at once",
            )
        return list(read.metadata.columns)

    def _find_table(self, stream: DecompressedStream, file: str) -> HduHeader:
        """Skip to the data of the wanted table."""
        tables: list[str] = []
        index = 0
        wanted_hdu = self.hdu[0] if isinstance(self.hdu, list) else self.hdu
        while (header := read_header(stream.read, index, file)) is not None:
            table = header.hdu_kind in {"BINTABLE", "TABLE"}
            if table and (
                wanted_hdu is None
                or wanted_hdu == index
                or (isinstance(wanted_hdu, str) and wanted_hdu.lower() == header.name.lower())
            ):
                return header
            if table:
                tables.append(f"{index} {header.name}".strip())
            _skip_bytes(stream, header.data_bytes)
            index += 1
        complaint = "no table" if wanted_hdu is None else f"no table HDU {wanted_hdu!r}"
        if tables:
            tables_text = f"its tables are {', '.join(tables)}"
        else:
            tables_text = "`mode: header` makes a row per file from header cards"
        raise SourceError(
            f"{complaint} among {index} HDU{'s' if index != 1 else ''}", place=Place(file=file), remedy=tables_text
        )

    def _read_rows(
        self, file: DataFile, column_names: Sequence[str], file_column_names: Sequence[str], row_limit: int | None
    ) -> Iterator[pa.RecordBatch]:
        self.list_columns()  # of the first file, before it is read
        stream = file.open_stream()
        spool: BinaryIO | None = None
        try:
            header = self._find_table(stream, file.name)
            items = {item.name: item for item in read_fields(header, file.name)}
            texts = {
                item.name for item in self._fields if item.is_unsigned and item.column.type.scalar.name == "string"
            }
            items |= {name: items[name].to_text_field() for name in texts & items.keys() if items[name].is_unsigned}
            for name in file_column_names:
                if name not in items or items[name].column.type.arrow != self._find_arrow_type(name):
                    has = "no column" if name not in items else "another type of column"
                    raise SourceError(
                        f"{has} {name!r} than in {self.files[0].name}",
                        place=Place(file=file.name),
                        remedy="`ignore:` it",
                    )
            self._check_same_units(file, [item.column for item in items.values()], file_column_names)
            count = header.read_integer("NAXIS2")
            width = header.read_integer("NAXIS1")
            if row_limit is None:
                rows = count
            else:
                rows = min(count, row_limit)
            read: Callable[[int], bytes] = stream.read
            heap = None
            if any(
                items[name].heap_descriptor for name in file_column_names
            ):  # the heap comes after the rows: they need the file's end first
                spool = _spool_bytes(stream, header.data_bytes)
                read = spool.read
                heap = _build_heap_reader(spool, header)
            step = max(1, min(self.context.batch_row_limit, (16 * CHUNK_BYTES) // max(width, 1)))
            for first in range(0, rows, step):
                n = min(step, rows - first)
                data = read(n * width)
                if len(data) < n * width:
                    raise SourceError(
                        f"ends after row {first + len(data) // max(width, 1)} of {count}",
                        place=Place(file=file.name),
                        remedy="get the file anew",
                    )
                place = spool.tell() if spool else 0
                try:
                    batch = self._build_batch(
                        np.frombuffer(data, np.uint8).reshape(n, width),
                        items,
                        file_column_names,
                        column_names,
                        first + 1,
                        file,
                        heap,
                        is_ascii=header.hdu_kind == "TABLE",
                    )
                except SourceError as error:
                    raise (
                        error
                        if error.place.file
                        else SourceError(error.message, place=Place(file=file.name), remedy=error.remedy)
                    ) from error
                yield batch
                if spool:
                    spool.seek(place)
            if row_limit is None or rows == count:
                _read_to_end(stream, file)
        finally:
            stream.close()
            if spool:
                spool.close()

    def _find_arrow_type(self, name: str) -> pa.DataType:
        return next(item.column.type.arrow for item in self._fields if item.name == name)

    def _build_batch(
        self,
        row_bytes: np.ndarray,
        fields_by_name: dict[str, FitsField],
        file_column_names: Sequence[str],
        names: Sequence[str],
        first_row: int,
        file: DataFile,
        read_heap: Callable[[int, int], bytes] | None,
        *,
        is_ascii: bool,
    ) -> pa.RecordBatch:
        arrays: dict[str, pa.Array] = {}
        is_rejected = np.zeros(len(row_bytes), bool)
        for name in file_column_names:
            if is_ascii:
                values, bad, implied = convert_ascii_column(row_bytes, fields_by_name[name])
                if implied is not None:
                    implied_decimal_deviation = _build_implied_decimal_deviation(
                        row_bytes, fields_by_name[name], np.flatnonzero(implied), first_row, file
                    )
                    self.context.report_deviation(implied_decimal_deviation)
            else:
                values, bad = convert_binary_column(row_bytes, fields_by_name[name], read_heap)
            null_words = list_null_words(self.nulls, name)
            arrays[name] = replace_null_values(values, null_words)
            if bad is None:
                continue
            mask = np.asarray(bad) & ~is_rejected
            is_rejected |= mask
            item = fields_by_name[name]
            for at in np.flatnonzero(mask):
                cell = row_bytes[at, item.start : item.start + item.width].tobytes()
                value = cell.decode("latin-1").strip() if is_ascii else _format_unsigned_cell(cell, item)
                if is_ascii:
                    reason = f"not a number (TFORM {item.code}{item.width})"
                else:
                    reason = INT64_REASON
                row = first_row + int(at)
                self._reject_row(RejectedRow(file=file.name, row=row, column=name, value=value, reason=reason))
        if not is_rejected.any():
            return build_source_batch(names, arrays, len(row_bytes), first_row, file)
        keep = pa.array(~is_rejected)
        number = pa.array(np.flatnonzero(~is_rejected) + first_row, pa.int64())
        return build_source_batch(
            names, {name: array.filter(keep) for name, array in arrays.items()}, int((~is_rejected).sum()), number, file
        )

    def _reject_row(self, reject: RejectedRow) -> None:
        if self.context.on_reject is None:
            raise SourceError(
                f"row {reject.row}, column {reject.column}: {reject.value!r} is {reject.reason}",
                place=Place(file=reject.file),
            )
        self.context.on_reject(reject)


def _build_implied_decimal_deviation(
    row_bytes: np.ndarray, fits_field: FitsField, places: np.ndarray, first_row: int, file: DataFile
) -> Deviation:
    """Describe numbers without a decimal point."""
    cell = row_bytes[places[0], fits_field.start : fits_field.start + fits_field.width].tobytes()
    if fits_field.decimals == 1:
        digits = "digit is"
    else:
        digits = f"{fits_field.decimals} digits are"
    return Deviation(
        kind=DeviationKind.TYPE,
        column=fits_field.name,
        count=len(places),
        file=file.name,
        row=first_row + int(places[0]),
        value=cell.decode("latin-1").strip(),
        message=f"no decimal point is written: the last {digits} the fraction, as TFORM "
        f"{fits_field.code}{fits_field.width}.{fits_field.decimals} says",
    )


def _format_unsigned_cell(cell: bytes, fits_field: FitsField) -> str | None:
    """Write a cell of unsigned words; arrays in the heap are not shown."""
    if fits_field.heap_descriptor:
        return None
    return " ".join(map(str, convert_unsigned_words(np.frombuffer(cell, ">i8")).to_pylist()))


def _find_columns_beyond_int64(stream: DecompressedStream, header: HduHeader, items: Sequence[FitsField]) -> set[str]:
    """Name the columns of unsigned 64-bit words whose values an int64 cannot hold.

    Arrays in the heap are not looked at.

    Only a table with such a column is read here, up to `MAX_SCANNED_BYTES` bytes; a larger value behind them rejects
    its row.
    """
    unresolved = {item.name: item for item in items if item.is_unsigned and not item.heap_descriptor}
    names_beyond: set[str] = set()
    width = header.read_integer("NAXIS1")
    integer = header.read_integer("NAXIS2")
    rows = min(integer, MAX_SCANNED_BYTES // max(width, 1))
    step = max(1, CHUNK_BYTES // max(width, 1))
    while unresolved and rows > 0:
        data = stream.read(min(step, rows) * width)
        count = len(data) // max(width, 1)
        if not count:
            break
        cells = np.frombuffer(data, np.uint8, count * width).reshape(count, width)
        for name, item in list(unresolved.items()):
            words = np.ascontiguousarray(cells[:, item.start : item.start + item.width]).view(">i8")
            if has_values_beyond_int64(
                convert_unsigned_words(words.ravel(), None if item.null is None else words.ravel() == item.null)
            ):
                names_beyond.add(name)
                del unresolved[name]
        rows -= count
    return names_beyond


def list_table_hdus(file: DataFile) -> list[tuple[int, str, int, bool]]:
    """List number, EXTNAME and rows of each table HDU, and whether it holds but the axes of an image, as spectrograms have them."""
    hdus = []
    axes: set[int] = set()
    stream = file.open_unhashed(BUFFER_BYTES)
    try:
        index = 0
        while (header := read_header(stream.read, index, file.name)) is not None:
            if header.hdu_kind in {"BINTABLE", "TABLE"}:
                rows = header.read_integer("NAXIS2")
                along = rows == 1 and bool(axes) and all(item.repeat in axes for item in read_fields(header, file.name))
                hdus.append((index, header.name, rows, along))
            elif header.read_integer("NAXIS") > 1:
                axes |= {
                    header.read_integer(f"NAXIS{number}") for number in range(1, header.read_integer("NAXIS") + 1)
                } - {0, 1}
            stream.skip_bytes(header.data_bytes)
            index += 1
    finally:
        stream.close()
    return hdus


def _merge_descriptions(column: Column, votable_column: Column | None) -> Column:
    """Add what another description knows and the cards do not."""
    if votable_column is None:
        return column
    return column.copy_with(
        **{key: getattr(column, key) or getattr(votable_column, key) for key in ("unit", "ucd", "utype", "description")}
    )


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
    integer = header.read_integer("NAXIS1")
    start = header.read_integer("THEAP", integer * header.read_integer("NAXIS2"))

    def read_heap(offset: int, size: int) -> bytes:
        spool.seek(start + offset)
        return spool.read(size)

    return read_heap
