"""Delimited text: CSV, TSV, bars, semicolons, runs of blanks, ECSV; compressed or not."""

from __future__ import annotations

import codecs
import contextlib
import csv as plain_csv
import io
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import Field

from hven.model import duplicate_name_deviation
from hven.model.errors import Place, SourceError
from hven.model.table import Column
from hven.model.types import from_arrow, parse_type
from hven.sources import FileKind
from hven.sources._reading.catalogue_headers import join_continued
from hven.sources._reading.cells import guess, plain
from hven.sources._reading.cutter import cutter
from hven.sources._reading.delimited import Shape
from hven.sources._reading.dialect import WHITESPACE, WORDS, Look, look
from hven.sources._reading.doubts import doubt
from hven.sources._reading.files import DataFile, FileOptions, check_names
from hven.sources._reading.rows import Nulls, TextRows, words_of
from hven.sources._reading.text import TextFile, check_utf8, windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.sources import Context, Source


_BARS = re.compile(rb"(?m)^[ \t]*\||\|[ \t]*(?=\r?$)")
_DRAWN = re.compile(rb"(?m)^[ \t]*\+[-+=]+\+[ \t]*\r?(?:\n|\Z)")  # a frame

FILES = FileKind(endings=("csv", "tsv", "txt", "dat", "tab"), begins=rb"[^\0]*\Z")  # any text that nobody else knows


class Options(FileOptions):
    """What a descriptor may say of delimited text. Everything but `files` is guessed if it is not given."""

    delimiter: str | None = Field(
        None, description="One character, or: comma, tab, semicolon, pipe, space, whitespace (runs of blanks)."
    )
    quote: str = Field('"', max_length=1, description="Quote character; empty: quotes are ordinary characters.")
    comment: str | None = Field(None, description="Lines that begin so are left out; `#` if the file begins with it.")
    header: bool | None = Field(None, description="Whether the first record names the columns.")
    names: list[str] | None = Field(
        None, description="Names of all columns, in order; then the header, if any, is ignored."
    )
    units: bool | None = Field(
        None, description="Whether the record below the names holds their units: they are taken, and it is no row."
    )
    skip: int = Field(0, ge=0, description="Lines at the top to leave out before anything else.")
    encoding: str = Field("utf-8", description="utf-8, latin-1, cp1252, utf-16 ...")
    null: Nulls = Field(
        default_factory=dict, description="Words that stand for no value: a list, or by column name (`*` = all)."
    )
    decimal: str = Field(".", pattern="^[.,]$", description="The decimal sign.")
    thousands: str | None = Field(None, max_length=1, description="The sign between thousands.")
    types: dict[str, str] = Field(
        default_factory=dict, description="Types by source column name, where the guess is wrong."
    )


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open delimited text.

    Raises
    ------
    SourceError
        No such file.
    """
    return DelimitedText(options, context)


class DelimitedText(TextRows):
    """The rows of one or more delimited text files."""

    def __init__(self, options: Options, context: Context) -> None:
        super().__init__(options, context)
        self.options = options
        self._units = False  # whether all files that were looked at have a record of units

    def columns(self) -> list[Column]:
        """List the columns as the header names them, types guessed from a sample (or said by an ECSV header)."""
        first, kinds, _, _ = self._guessed
        return [
            first.described.get(name, Column(name=name)).having(type=_type(first, name, kinds[name]))
            for name in first.names
        ]

    def about(self) -> tuple[str | None, str | None]:
        """Return the title of a machine-readable table, or the description of an ECSV file."""
        first = self._guessed[0]
        return first.title, first.description

    def credits(self) -> dict[str, str]:
        """Return the authors of a machine-readable table."""
        authors = self._guessed[0].authors
        return {"creators": "; ".join(authors)} if authors else {}

    def guessed(self) -> dict[str, object]:
        """Return guessed options that a descriptor should say, as they change what the rows are."""
        return {"units": True} if self._guessed and self._units and self.options.units is None else {}

    def doubts(self) -> dict[str, tuple[str, str]]:
        """List columns guessed to be text that may be meant otherwise: a message and a remedy by name."""
        first, kinds, cells, places = self._guessed
        said = self._said(first)
        pointed = any(kinds.get(name) == pa.float64() and any("." in cell for cell in cells[name]) for name in cells)
        found = {
            name: self._doubt(name, cells[name], places[name], pointed=pointed)
            for name in cells
            if kinds.get(name) == pa.string() and name not in said
        }
        return {name: told for name, told in found.items() if told is not None}

    def _names(self) -> list[str]:
        return list(self._guessed[0].names)

    def _declared(self) -> Mapping[str, object]:
        return self._said(self._guessed[0])

    def _start(self, file: DataFile, real: Sequence[str]) -> tuple[TextFile, Shape]:
        kinds = self._guessed[1]
        text, seen = self._opened(file)
        self._same_columns(file, seen, real)
        text.skip(seen.offset)
        return text, self._shape(seen, {name: kinds.get(name, pa.string()) for name in seen.names})

    def _opened(self, file: DataFile) -> tuple[TextFile, Look]:
        options = self.options
        text = TextFile(file, encoding=options.encoding)
        head = text.begin()
        seen = look(
            head,
            file=file.name,
            delimiter=options.delimiter,
            quote=options.quote or None,
            comment=options.comment,
            header=options.header,
            names=options.names,
            skip=options.skip,
            units=options.units,
        )
        text.set(
            quote=self._quote(seen),
            comment=seen.comment,
            delimiter=" " if seen.delimiter == WHITESPACE else seen.delimiter,
            continued=seen.continued,
        )
        return text, seen

    def _quote(self, seen: Look) -> str | None:
        """Choose the quote character: columns at fixed places quote nothing."""
        return None if seen.ranges else self.options.quote or None

    def _nulls(self, seen: Look) -> Mapping[str, Sequence[str]]:
        """List the null words that the descriptor or the header gives, by column."""
        given = self.options.null
        return {name: [*given.get(name, ()), *seen.nulls.get(name, ())] for name in {**given, **seen.nulls}}

    def _transform(self, seen: Look) -> Callable[[bytes], bytes] | None:
        """Choose what makes delimited text of a block."""
        if seen.ranges:
            single = codecs.lookup(self.options.encoding).name != "utf-8"
            cut = cutter(seen.ranges, characters=single or not seen.counts_bytes)
            return (lambda data: cut(join_continued(data))) if seen.continued else cut
        if seen.barred:
            return _strip_bars
        if seen.delimiter != WHITESPACE:
            return None
        squeeze = _squeezed(self.options.quote)
        return (lambda data: squeeze(join_continued(data))) if seen.continued else squeeze

    def _same_columns(self, file: DataFile, seen: Look, real: Sequence[str]) -> None:
        for name in real:
            if name not in seen.names:
                raise SourceError(
                    f"no column {name!r}, which {self.files[0].name} has",
                    place=Place(file=file.name),
                    remedy="`ignore:` it, or make it a source entry of its own",
                )
        self._same_units(file, list(seen.described.values()), real)

    def _shape(self, seen: Look, kinds: dict[str, pa.DataType]) -> Shape:
        options = self.options
        white = seen.delimiter == WHITESPACE
        nulls = self._nulls(seen)
        return Shape(
            names=seen.names,
            kinds=kinds,
            delimiter=" " if white else seen.delimiter,
            quote=self._quote(seen),
            decimal=options.decimal,
            thousands=options.thousands,
            encoded=seen.encoded,
            nulls=nulls,
            transform=self._transform(seen),
            as_text=set(seen.names) if options.thousands else {name for name in seen.names if name in nulls},
            faults=1 if self.context.reject is None else self.context.faults,
        )

    @cached_property
    def _guessed(self) -> tuple[Look, dict[str, pa.DataType], dict[str, list[str]], dict[str, list[str]]]:
        """The first file's look, every column's type, guessed over the beginnings of up to five files, and the cells that it was guessed from, with their places."""
        options = self.options
        if (
            options.delimiter is not None
            and len(WORDS.get(options.delimiter, options.delimiter)) > 1
            and options.delimiter not in WORDS
        ):
            raise SourceError(
                f"the delimiter {options.delimiter!r} has more than one character",
                remedy=f"one character, or: {', '.join(WORDS)}",
            )
        step = max(1, len(self.files) // 5)
        looks: list[Look] = []
        cells: dict[str, list[str]] = {}
        places: dict[str, list[str]] = {}
        for file in self.files[::step][:5]:
            text, seen = self._opened(file)
            text.skip(seen.offset)
            block = next(text.blocks(), None)
            text.close()
            looks.append(seen)
            if block is None:
                continue
            check_utf8(block, file.name)
            whose = f" of {file.name}" if len(self.files) > 1 else ""
            for front, found in self._sampled(block.data, seen):
                where = [
                    f"row {number:,}{whose}" if front else f"further down{whose}" for number in range(1, len(found) + 1)
                ]
                for at, name in enumerate(seen.names):
                    cells.setdefault(name, []).extend([record[at] for record in found if len(record) > at])
                    places.setdefault(name, []).extend(
                        [place for record, place in zip(found, where, strict=True) if len(record) > at]
                    )
        first = looks[0]
        for name, new in first.renamed:
            self.context.report(duplicate_name_deviation(name, new, self.files[0].name))
        self._units = all(seen.units for seen in looks)
        said = self._said(first)
        kinds = {name: said.get(name) or self._guess(name, cells.get(name, []), first) for name in first.names}
        return first, kinds, cells, places

    def _sampled(self, data: bytes, seen: Look) -> Iterator[tuple[bool, list[list[str]]]]:
        """Yield some thousand records: whether they are from the front, whose row numbers are known, or from the middle and the end of a block."""
        quote = self._quote(seen)
        if seen.barred and quote and quote.encode() in data[:400_000]:
            data = _strip_bars(data[:400_001])
        if quote and quote.encode() in data[:200_000]:
            text = io.StringIO(data[:400_000].decode(errors="replace"), newline="")
            delimiter = " " if seen.delimiter == WHITESPACE else seen.delimiter
            rows: list[list[str]] = []
            with contextlib.suppress(plain_csv.Error):  # a value that never ends: what came before it is enough
                rows.extend(
                    plain_csv.reader(
                        text, delimiter=delimiter, quotechar=quote, skipinitialspace=seen.delimiter == WHITESPACE
                    )
                )
            rows = [row for row in rows if row]
            yield True, rows[: max(1, len(rows) - 1)] if len(data) > 400_000 else rows
            return
        for at in (0, len(data) // 2, len(data) - 100_000):
            if at and at < 200_000:
                continue
            start = data.find(b"\n", at) + 1 if at else 0
            part = data[start : start + (300_000 if at == 0 else 100_000)]
            lines = part.decode(errors="replace").split("\n")
            if start + len(part) < len(data):
                lines = lines[:-1]
            yield not at, seen.split([line for line in lines if line.strip()])

    def _words(self, name: str, seen: Look) -> tuple[str, ...]:
        return words_of(self._nulls(seen), name)

    def _doubt(self, name: str, cells: list[str], places: list[str], *, pointed: bool) -> tuple[str, str] | None:
        options = self.options
        typed = "`types: {{{name}: {kind}}}`"
        return doubt(
            name,
            cells,
            places,
            nulls=self._words(name, self._guessed[0]),
            typed=typed,
            decimal=options.decimal,
            thousands=options.thousands,
            pointed=pointed,
        )

    def _guess(self, name: str, cells: list[str], seen: Look) -> pa.DataType:
        options = self.options
        nulls = self._words(name, seen)
        found = guess(pa.array(cells, pa.string()), nulls=nulls, decimal=options.decimal, thousands=options.thousands)
        wanted = self.context.wanted.get(name)
        return found if wanted is None else _nearest(found, wanted)

    def _said(self, seen: Look) -> dict[str, pa.DataType]:
        """Return the types that somebody said: the options, else the ECSV header."""
        result: dict[str, pa.DataType] = {}
        header = {name: column.type for name, column in seen.described.items()} if seen.typed else seen.types
        for name, declared in header.items():
            result[name] = _nearest(declared.arrow, self.context.wanted.get(name, declared.arrow))
        for name, word in self.options.types.items():
            if name not in seen.names:
                check_names([name], seen.names, self.files[0].name)
            try:
                kind = parse_type(word).arrow
            except ValueError as error:
                raise SourceError(f"`types`: {error}", remedy="float64, int32, string, bool, timestamp ...") from error
            result[name] = kind if plain(kind) else pa.string()
        return result


def _nearest(found: pa.DataType, wanted: pa.DataType) -> pa.DataType:
    """Choose the type to read as, given what the text looks like and what the target column has."""
    if not plain(wanted):
        return found if found != pa.string() or not pa.types.is_list(wanted) else pa.string()
    if pa.types.is_timestamp(wanted) and found != wanted:
        return pa.string() if pa.types.is_string(found) else found  # other forms of time are the mapping's to parse
    return wanted


def _type(seen: Look, name: str, kind: pa.DataType) -> Any:
    column = seen.described.get(name)
    declared = column.type if column is not None and seen.typed else seen.types.get(name)
    return declared if declared is not None and declared.arrow == kind else from_arrow(kind)


def _strip_bars(data: bytes) -> bytes:
    """Take the bars off both ends of all lines; lines that are drawn are left out."""
    return b"".join(_DRAWN.sub(b"", _BARS.sub(b"", part)) for part in windows(data))


def _squeezed(quote: str) -> Any:
    runs = re.compile(rb"[ \t]+")
    ends = re.compile(rb"(?m)^ | (?=\r?$)")
    sign = quote.encode()
    aware = (
        re.compile(
            re.escape(sign)
            + rb"(?:[^"
            + re.escape(sign)
            + rb"]|"
            + re.escape(sign) * 2
            + rb")*"
            + re.escape(sign)
            + rb"|[ \t]+"
        )
        if sign
        else runs
    )

    def squeeze(data: bytes) -> bytes:
        """Replace every run of blanks by one, quoted ones aside."""
        if sign and sign in data:
            data = b"".join(
                aware.sub(lambda match: match.group() if match.group().startswith(sign) else b" ", part)
                for part in windows(data, sign)
            )
        else:
            data = b"".join(runs.sub(b" ", part) for part in windows(data))
        return b"".join(ends.sub(b"", part) for part in windows(data))

    return squeeze
