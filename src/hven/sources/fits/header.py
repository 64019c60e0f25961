"""One row per FITS file, made from header cards; only headers are read."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa

from hven.model.errors import SourceError
from hven.model.sky import footprints
from hven.model.table import Column
from hven.model.types import CONTOUR, from_arrow
from hven.sources import FILE_FACTS, ROW, Context, Pin, Reject
from hven.sources._reading.cells import emptied
from hven.sources._reading.filerows import Files
from hven.sources._reading.files import DataFile, FileOptions, check_names, fact_type
from hven.sources._reading.rows import words_of
from hven.sources.cards import Header, Value, read_header

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_STRUCTURE = {"SIMPLE", "XTENSION", "EXTEND", "END", "CHECKSUM", "DATASUM", "PCOUNT", "GCOUNT", "TFIELDS", ""}
_UNIT = re.compile(r"\[([^\]]{1,20})\]\s*")
SAMPLE = 200
ROWS = 1000  # files per batch
FOOTPRINT = "file.footprint"


class HeaderRows(Files):
    """The cards of many files, one row each."""

    def __init__(
        self,
        options: FileOptions,
        hdu: int | str | list[int | str] | None,
        cards: Sequence[str] | None,
        context: Context,
        nulls: Mapping[str, Sequence[str]],
        *,
        stonyhurst: bool = False,
        west: bool = False,
    ) -> None:
        super().__init__(options, context)
        self.stonyhurst, self.west = stonyhurst, west
        self.hdus: list[int | str] = [0] if hdu is None else hdu if isinstance(hdu, list) else [hdu]
        self.cards = list(cards) if cards is not None else None
        self.nulls = nulls

    def columns(self) -> list[Column]:
        """List a column per keyword, typed after up to 200 of the files."""
        return list(self._columns.values())

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield one row per file."""
        names = check_names(columns, list(self._columns), "the headers")
        real = [name for name in names if name != ROW and (name not in FILE_FACTS or name == FOOTPRINT)]
        rows: list[tuple[int, DataFile, dict[str, Value]]] = []
        for number, file in enumerate(self.files[:limit], 1):
            self.read = number
            row = self._row(number, file, real)
            if row is not None:
                rows.append((number, file, row))
            if len(rows) == ROWS:
                yield self._batch(rows, names)
                rows = []
        if rows:
            yield self._batch(rows, names)

    def pins(self) -> list[Pin]:
        """List the files; only their headers were read, so there is no checksum."""
        return [
            Pin(
                name=file.name,
                bytes=file.stat.st_size,
                modified=file.modified.isoformat(timespec="seconds"),
                detail="header only",
            )
            for file in self.files
        ]

    def size(self) -> int:
        """Count the files."""
        return len(self.files)

    def done(self) -> int:
        """Count the files read so far."""
        return self.read

    @cached_property
    def _columns(self) -> dict[str, Column]:
        found: dict[str, pa.DataType | None] = dict.fromkeys(self.cards or ())
        comments: dict[str, str] = {}
        step = max(1, len(self.files) // SAMPLE)
        failed: SourceError | None = None
        good = 0
        for file in self.files[::step]:
            try:
                values = self._cards(file, comments)
            except SourceError as error:
                failed = error
                continue
            good += 1
            for key, value in values.items():
                if self.cards is None and key in _STRUCTURE:
                    continue
                if self.cards is None or key in found:
                    found[key] = _wider(found.get(key), value)
        if not good and failed is not None:
            raise failed
        missing = [key for key, kind in found.items() if kind is None and key in (self.cards or ())]
        if missing and len(missing) == len(found):
            raise SourceError(f"no file has any of the cards {', '.join(missing)}", remedy="look at another `hdu`")
        if not found:
            raise SourceError("the headers have no cards but those of structure", remedy="look at another `hdu`")
        return {key: _column(key, kind or pa.string(), comments.get(key, "")) for key, kind in found.items()}

    def _cards(self, file: DataFile, comments: dict[str, str]) -> dict[str, Value]:
        """Read the cards of the wanted HDUs; the first HDU in the list that has a card gives it."""
        last = max((item for item in self.hdus if isinstance(item, int)), default=0)
        all_needed = any(isinstance(item, str) for item in self.hdus)
        headers: list[Header] = []
        stream = file.open()
        try:
            index = 0
            while all_needed or index <= last:
                header = read_header(stream.read, index, file.name)
                if header is None:
                    break
                headers.append(header)
                index += 1
                if not all_needed and index > last:
                    break
                stream.skip(header.data_bytes)
        finally:
            stream.close()
        values: dict[str, Value] = {}
        for item in self.hdus:
            for header in headers:
                if item == header.index or (isinstance(item, str) and item.lower() == header.name.lower()):
                    for key, value in header.values.items():
                        if values.get(key) is None:
                            values[key] = value
                            comments.setdefault(key, header.comments.get(key, ""))
        return values

    def _row(self, number: int, file: DataFile, real: Sequence[str]) -> dict[str, Value] | None:
        """Read a file's values, fitted to their columns; None if it is refused."""
        try:
            values = self._cards(file, {})
        except SourceError as error:
            self._reject(Reject(file=file.name, row=number, column=None, value=None, reason=error.message), error)
            return None
        row: dict[str, Value] = {}
        for name in real:
            if name == FOOTPRINT:
                row[name] = values  # type: ignore[assignment]
                continue
            kind, value = self._columns[name].type.arrow, values.get(name)
            try:
                row[name] = _fitted(value, kind)
                pa.scalar(row[name], kind)
            except (ValueError, pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
                reason = f"not {self._columns[name].type} as in the other files"
                self._reject(Reject(file=file.name, row=number, column=name, value=str(value), reason=reason), None)
                return None
        return row

    def _batch(self, rows: Sequence[tuple[int, DataFile, dict[str, Value]]], names: Sequence[str]) -> pa.RecordBatch:
        """Assemble a batch of the rows of many files."""
        arrays: list[pa.Array] = []
        for name in names:
            if name == ROW:
                arrays.append(pa.array([number for number, _, _ in rows], pa.int64()))
            elif name == FOOTPRINT:
                arrays.append(self._footprints([values[name] for _, _, values in rows]))  # type: ignore[misc]
            elif name in FILE_FACTS:
                arrays.append(pa.array([file.fact(name) for _, file, _ in rows], fact_type(name)))
            else:
                cells = pa.array([values[name] for _, _, values in rows], self._columns[name].type.arrow)
                arrays.append(emptied(cells, words_of(self.nulls, name)))
        return pa.RecordBatch.from_arrays(arrays, names=list(names))

    def _footprints(self, headers: Sequence[Mapping[str, Value]]) -> pa.Array:
        """Make what images cover of their WCS cards."""
        found = footprints.of_headers(headers, stonyhurst=self.stonyhurst, west=self.west)
        return found.column(CONTOUR.arrow)

    def _reject(self, reject: Reject, error: SourceError | None) -> None:
        if self.context.reject is None:
            raise error or SourceError(f"{reject.file}: card {reject.column} = {reject.value!r} is {reject.reason}")
        self.context.reject(reject)


def _wider(known: pa.DataType | None, value: Value) -> pa.DataType | None:
    if value is None or value == "":
        return known
    kind = (
        pa.bool_()
        if isinstance(value, bool)
        else pa.int64()
        if isinstance(value, int)
        else pa.float64()
        if isinstance(value, float)
        else pa.string()
    )
    if known is None or known == kind:
        return kind
    return pa.float64() if {known, kind} == {pa.int64(), pa.float64()} else pa.string()


def _fitted(value: Value, kind: pa.DataType) -> Value:
    if value is None or value == "":
        return None
    if pa.types.is_string(kind):
        return {True: "T", False: "F"}[value] if isinstance(value, bool) else str(value)
    if pa.types.is_floating(kind):
        return float(value)
    if pa.types.is_integer(kind) and isinstance(value, float):
        return int(value) if value == int(value) else value
    return value


def _column(key: str, kind: pa.DataType, comment: str) -> Column:
    match = _UNIT.search(comment)
    unit = match.group(1).strip() if match and not match.group(1).strip().isdigit() else None
    text = comment.replace(match.group(0), "", 1).strip() if match and unit else comment
    return Column(name=key, type=from_arrow(kind), unit=unit, description=text or None)
