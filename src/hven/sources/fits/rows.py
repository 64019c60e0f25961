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
from hven.sources import Context, Reject
from hven.sources._reading.cells import emptied
from hven.sources._reading.filerows import FileRows
from hven.sources._reading.files import CHUNK, DataFile, FileOptions, Stream, assemble
from hven.sources._reading.fitstable import Field, ascii_column, binary_column, fields_of, unsigned_words
from hven.sources._reading.rows import words_of
from hven.sources._reading.wholenumbers import REASON, exceeds_int64, text_deviation
from hven.sources.cards import BLOCK, Header, read_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.formats import Read
    from hven.model.table import Column
LOT = 4 * BLOCK  # bytes that are read at a time of headers alone
SCANNED = 1 << 30  # bytes of a table with unsigned 64-bit words that are looked at to know its types
_METADATA = 16 << 20  # bytes of a VOTable in the primary HDU


class TableRows(FileRows):
    """A table HDU of one or more files."""

    def __init__(
        self,
        options: FileOptions,
        hdu: int | str | list[int | str] | None,
        context: Context,
        nulls: Mapping[str, Sequence[str]],
    ) -> None:
        super().__init__(options, context)
        self.hdu = hdu
        self.nulls = nulls

    def columns(self) -> list[Column]:
        """List the columns as TTYPE, TFORM, TUNIT, TUCD, TCOMM ... say, or the VOTable that a FITS-plus file carries."""
        return self._columns

    @cached_property
    def _columns(self) -> list[Column]:
        said = {column.name: column for column in self._votable()}
        return [_described(item.column, said.get(item.name)) for item in self._fields]

    def _names(self) -> list[str]:
        return [item.name for item in self._fields]

    @cached_property
    def _fields(self) -> list[Field]:
        stream = self.files[0].open()
        try:
            header = self._find(stream, self.files[0].name)
            found = fields_of(header, self.files[0].name)
            if not found:
                raise SourceError(
                    "the table has no columns", place=Place(file=self.files[0].name), remedy="choose another `hdu`"
                )
            texts = _columns_beyond_int64(stream, header, found)
        finally:
            stream.close()
        for name in sorted(texts):
            self.context.report(text_deviation(name, self.files[0].name))
        return [item.to_text() if item.name in texts else item for item in found]

    def _votable(self) -> list[Column]:
        """Read the metadata that TOPCAT and STILTS keep in the primary HDU (FITS-plus: VOTMETA = T)."""
        stream = self.files[0].open()
        try:
            header = read_header(stream.read, 0, self.files[0].name)
            if header is None or header.values.get("VOTMETA") is not True:
                return []
            text = stream.read(min(header.number("NAXIS1"), _METADATA))
        finally:
            stream.close()
        try:
            read: Read = plugins.load("formats", "votable").FORMAT.read(io.BytesIO(text), table=0)
        except HvenError:  # bad metadata do not spoil good data
            return []
        if read.is_truncated:
            raise SourceError(
                "the table was cut off when it was written (QUERY_STATUS=OVERFLOW in its VOTable): there are more rows",
                place=Place(file=self.files[0].name),
                remedy="ask its service for more rows (MAXREC), or for less at once",
            )
        return list(read.head.columns)

    def _find(self, stream: Stream, file: str) -> Header:
        """Skip to the data of the wanted table."""
        tables: list[str] = []
        index = 0
        wanted = self.hdu[0] if isinstance(self.hdu, list) else self.hdu
        while (header := read_header(stream.read, index, file)) is not None:
            table = header.kind in {"BINTABLE", "TABLE"}
            if table and (
                wanted is None or wanted == index or (isinstance(wanted, str) and wanted.lower() == header.name.lower())
            ):
                return header
            if table:
                tables.append(f"{index} {header.name}".strip())
            _skip(stream, header.data_bytes)
            index += 1
        what = "no table" if wanted is None else f"no table HDU {wanted!r}"
        there = (
            f"its tables are {', '.join(tables)}" if tables else "`mode: header` makes a row per file from header cards"
        )
        raise SourceError(f"{what} among {index} HDU{'s' if index != 1 else ''}", place=Place(file=file), remedy=there)

    def _rows(
        self, file: DataFile, names: Sequence[str], real: Sequence[str], limit: int | None
    ) -> Iterator[pa.RecordBatch]:
        self.columns()  # of the first file, before it is read
        stream = file.open()
        spool: BinaryIO | None = None
        try:
            header = self._find(stream, file.name)
            items = {item.name: item for item in fields_of(header, file.name)}
            texts = {item.name for item in self._fields if item.unsigned and item.column.type.scalar.name == "string"}
            items |= {name: items[name].to_text() for name in texts & items.keys() if items[name].unsigned}
            for name in real:
                if name not in items or items[name].column.type.arrow != self._kind(name):
                    has = "no column" if name not in items else "another type of column"
                    raise SourceError(
                        f"{has} {name!r} than in {self.files[0].name}",
                        place=Place(file=file.name),
                        remedy="`ignore:` it",
                    )
            self._same_units(file, [item.column for item in items.values()], real)
            count, width = header.number("NAXIS2"), header.number("NAXIS1")
            rows = count if limit is None else min(count, limit)
            read: Callable[[int], bytes] = stream.read
            heap = None
            if any(items[name].heap for name in real):  # the heap comes after the rows: they need the file's end first
                spool = _spooled(stream, header.data_bytes)
                read, heap = spool.read, _heap_of(spool, header)
            step = max(1, min(self.context.batch, (16 * CHUNK) // max(width, 1)))
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
                    batch = self._batch(
                        np.frombuffer(data, np.uint8).reshape(n, width),
                        items,
                        real,
                        names,
                        first + 1,
                        file,
                        heap,
                        ascii=header.kind == "TABLE",
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
            if limit is None or rows == count:
                _drain(stream, file)
        finally:
            stream.close()
            if spool:
                spool.close()

    def _kind(self, name: str) -> pa.DataType:
        return next(item.column.type.arrow for item in self._fields if item.name == name)

    def _batch(
        self,
        rows: np.ndarray,
        items: dict[str, Field],
        real: Sequence[str],
        names: Sequence[str],
        first: int,
        file: DataFile,
        heap: Callable[[int, int], bytes] | None,
        *,
        ascii: bool,  # noqa: A002
    ) -> pa.RecordBatch:
        arrays: dict[str, pa.Array] = {}
        out = np.zeros(len(rows), bool)
        for name in real:
            if ascii:
                values, bad, implied = ascii_column(rows, items[name])
                if implied is not None:
                    self.context.report(_implied_deviation(rows, items[name], np.flatnonzero(implied), first, file))
            else:
                values, bad = binary_column(rows, items[name], heap)
            arrays[name] = emptied(values, words_of(self.nulls, name))
            if bad is None:
                continue
            mask = np.asarray(bad) & ~out
            out |= mask
            item = items[name]
            for at in np.flatnonzero(mask):
                cell = rows[at, item.start : item.start + item.width].tobytes()
                value = cell.decode("latin-1").strip() if ascii else _unsigned_text(cell, item)
                reason = f"not a number (TFORM {item.code}{item.width})" if ascii else REASON
                self._reject(Reject(file=file.name, row=first + int(at), column=name, value=value, reason=reason))
        if not out.any():
            return assemble(names, arrays, len(rows), first, file)
        keep = pa.array(~out)
        number = pa.array(np.flatnonzero(~out) + first, pa.int64())
        return assemble(
            names, {name: array.filter(keep) for name, array in arrays.items()}, int((~out).sum()), number, file
        )

    def _reject(self, reject: Reject) -> None:
        if self.context.reject is None:
            raise SourceError(
                f"row {reject.row}, column {reject.column}: {reject.value!r} is {reject.reason}",
                place=Place(file=reject.file),
            )
        self.context.reject(reject)


def _implied_deviation(rows: np.ndarray, item: Field, places: np.ndarray, first: int, file: DataFile) -> Deviation:
    """Describe numbers without a decimal point."""
    cell = rows[places[0], item.start : item.start + item.width].tobytes()
    digits = "digit is" if item.decimals == 1 else f"{item.decimals} digits are"
    return Deviation(
        kind=DeviationKind.TYPE,
        column=item.name,
        count=len(places),
        file=file.name,
        row=first + int(places[0]),
        value=cell.decode("latin-1").strip(),
        message=f"no decimal point is written: the last {digits} the fraction, as TFORM {item.code}{item.width}.{item.decimals} says",
    )


def _unsigned_text(cell: bytes, item: Field) -> str | None:
    """Write a cell of unsigned words; arrays in the heap are not shown."""
    return None if item.heap else " ".join(map(str, unsigned_words(np.frombuffer(cell, ">i8")).to_pylist()))


def _columns_beyond_int64(stream: Stream, header: Header, items: Sequence[Field]) -> set[str]:
    """Name the columns of unsigned 64-bit words whose values an int64 cannot hold; arrays in the heap are not looked at.

    Only a table with such a column is read here, up to `SCANNED` bytes; a larger value behind them rejects its row.
    """
    left = {item.name: item for item in items if item.unsigned and not item.heap}
    found: set[str] = set()
    width = header.number("NAXIS1")
    rows = min(header.number("NAXIS2"), SCANNED // max(width, 1))
    step = max(1, CHUNK // max(width, 1))
    while left and rows > 0:
        data = stream.read(min(step, rows) * width)
        count = len(data) // max(width, 1)
        if not count:
            break
        cells = np.frombuffer(data, np.uint8, count * width).reshape(count, width)
        for name, item in list(left.items()):
            words = np.ascontiguousarray(cells[:, item.start : item.start + item.width]).view(">i8")
            if exceeds_int64(unsigned_words(words.ravel(), None if item.null is None else words.ravel() == item.null)):
                found.add(name)
                del left[name]
        rows -= count
    return found


def listed(file: DataFile) -> list[tuple[int, str, int, bool]]:
    """List number, EXTNAME and rows of each table HDU, and whether it holds but the axes of an image, as spectrograms have them."""
    found = []
    axes: set[int] = set()
    stream = file.glance(LOT)
    try:
        index = 0
        while (header := read_header(stream.read, index, file.name)) is not None:
            if header.kind in {"BINTABLE", "TABLE"}:
                rows = header.number("NAXIS2")
                along = rows == 1 and bool(axes) and all(item.repeat in axes for item in fields_of(header, file.name))
                found.append((index, header.name, rows, along))
            elif header.number("NAXIS") > 1:
                axes |= {header.number(f"NAXIS{number}") for number in range(1, header.number("NAXIS") + 1)} - {0, 1}
            stream.skip(header.data_bytes)
            index += 1
    finally:
        stream.close()
    return found


def _described(column: Column, said: Column | None) -> Column:
    """Add what another description knows and the cards do not."""
    if said is None:
        return column
    return column.having(
        **{key: getattr(column, key) or getattr(said, key) for key in ("unit", "ucd", "utype", "description")}
    )


def _skip(stream: Stream, size: int) -> None:
    while size > 0:
        part = stream.read(min(size, CHUNK))
        if not part:
            return
        size -= len(part)


def _drain(stream: Stream, file: DataFile) -> None:
    while stream.read(CHUNK):
        pass
    file.finish()


def _spooled(stream: Stream, size: int) -> BinaryIO:
    spool = tempfile.SpooledTemporaryFile(max_size=64 << 20)  # noqa: SIM115  (closed by the caller)
    while size > 0:
        part = stream.read(min(size, CHUNK))
        if not part:
            break
        spool.write(part)
        size -= len(part)
    spool.seek(0)
    return cast("BinaryIO", spool)


def _heap_of(spool: BinaryIO, header: Header) -> Callable[[int, int], bytes]:
    start = header.number("THEAP", header.number("NAXIS1") * header.number("NAXIS2"))

    def heap(offset: int, size: int) -> bytes:
        spool.seek(start + offset)
        return spool.read(size)

    return heap
