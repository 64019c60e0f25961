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

from hven.model import build_duplicate_name_deviation
from hven.model.errors import Place, SourceError
from hven.model.table import Column
from hven.model.types import parse_type, type_from_arrow
from hven.sources import FileSignature
from hven.sources._reading.catalogue_headers import join_continuation_lines
from hven.sources._reading.cells import guess_type, is_convertible_type
from hven.sources._reading.data_files import DataFile, FileOptions, check_column_names
from hven.sources._reading.delimited import RecordLayout
from hven.sources._reading.dialect import DELIMITERS_BY_WORD, WHITESPACE, TextDialect, detect_dialect
from hven.sources._reading.fixed_width_splitter import build_splitter
from hven.sources._reading.text_blocks import TextFile, check_utf8, split_windows
from hven.sources._reading.text_rows import Nulls, TextFileSource, list_null_words
from hven.sources._reading.type_doubts import explain_doubt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.sources import Source, SourceContext


_OUTER_BARS_PATTERN = re.compile(rb"(?m)^[ \t]*\||\|[ \t]*(?=\r?$)")
_BORDER_LINE_PATTERN = re.compile(rb"(?m)^[ \t]*\+[-+=]+\+[ \t]*\r?(?:\n|\Z)")  # a frame

FILES = FileSignature(
    extensions=("csv", "tsv", "txt", "dat", "tab"), leading_pattern=rb"[^\0]*\Z"
)  # any text that nobody else knows


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


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open delimited text.

    Raises
    ------
    SourceError
        No such file.
    """
    return DelimitedTextSource(options, context)


class DelimitedTextSource(TextFileSource):
    """The rows of one or more delimited text files."""

    def __init__(self, options: Options, context: SourceContext) -> None:
        super().__init__(options, context)
        self.options = options
        self._has_units = False  # whether all files that were looked at have a record of units

    def list_columns(self) -> list[Column]:
        """List the columns as the header names them, types guessed from a sample (or said by an ECSV header)."""
        first, kinds, _, _ = self._guess_columns
        return [
            first.columns_by_name.get(name, Column(name=name)).copy_with(
                type=_find_column_type(first, name, kinds[name])
            )
            for name in first.names
        ]

    def read_title_and_description(self) -> tuple[str | None, str | None]:
        """Return the title of a machine-readable table, or the description of an ECSV file."""
        first = self._guess_columns[0]
        return first.title, first.description

    def list_credits(self) -> dict[str, str]:
        """Return the authors of a machine-readable table."""
        authors = self._guess_columns[0].authors
        if authors:
            return {"creators": "; ".join(authors)}
        return {}

    def list_guessed_options(self) -> dict[str, object]:
        """Return guessed options that a descriptor should say, as they change what the rows are."""
        if self._guess_columns and self._has_units and self.options.units is None:
            return {"units": True}
        return {}

    def list_type_doubts(self) -> dict[str, tuple[str, str]]:
        """List columns guessed to be text that may be meant otherwise: a message and a remedy by name."""
        first, kinds, cells, places = self._guess_columns
        declared_types = self._collect_declared_types(first)
        pointed = any(kinds.get(name) == pa.float64() and any("." in cell for cell in cells[name]) for name in cells)
        doubts_by_name = {
            name: self._explain_doubt(name, cells[name], places[name], has_decimal_points=pointed)
            for name in cells
            if kinds.get(name) == pa.string() and name not in declared_types
        }
        return {name: doubt for name, doubt in doubts_by_name.items() if doubt is not None}

    def _list_column_names(self) -> list[str]:
        return list(self._guess_columns[0].names)

    def _find_declared_types(self) -> Mapping[str, object]:
        return self._collect_declared_types(self._guess_columns[0])

    def _open_at_first_record(self, file: DataFile, file_column_names: Sequence[str]) -> tuple[TextFile, RecordLayout]:
        kinds = self._guess_columns[1]
        text, dialect = self._open_and_detect(file)
        self._check_same_columns(file, dialect, file_column_names)
        text.skip_bytes(dialect.offset)
        layout = self._build_layout(dialect, {name: kinds.get(name, pa.string()) for name in dialect.names})
        return text, layout

    def _open_and_detect(self, file: DataFile) -> tuple[TextFile, TextDialect]:
        options = self.options
        text = TextFile(file, encoding=options.encoding)
        head = text.read_checked_head()
        dialect = detect_dialect(
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
        quote = self._choose_quote(dialect)
        text.set_dialect(
            quote=quote,
            comment=dialect.comment,
            delimiter=" " if dialect.delimiter == WHITESPACE else dialect.delimiter,
            has_continuation_lines=dialect.has_continuation_lines,
        )
        return text, dialect

    def _choose_quote(self, dialect: TextDialect) -> str | None:
        """Choose the quote character: columns at fixed places quote nothing."""
        if dialect.ranges:
            return None
        return self.options.quote or None

    def _collect_null_words(self, dialect: TextDialect) -> Mapping[str, Sequence[str]]:
        """List the null words that the descriptor or the header gives, by column."""
        stated_nulls = self.options.null
        return {
            name: [*stated_nulls.get(name, ()), *dialect.null_words.get(name, ())]
            for name in {**stated_nulls, **dialect.null_words}
        }

    def _choose_transform(self, dialect: TextDialect) -> Callable[[bytes], bytes] | None:
        """Choose what makes delimited text of a block."""
        if dialect.ranges:
            single = codecs.lookup(self.options.encoding).name != "utf-8"
            cut = build_splitter(dialect.ranges, by_characters=single or not dialect.counts_bytes)
            if dialect.has_continuation_lines:
                return lambda data: cut(join_continuation_lines(data))
            return cut
        if dialect.is_barred:
            return _strip_bars
        if dialect.delimiter != WHITESPACE:
            return None
        squeeze = _build_blank_squeezer(self.options.quote)
        return (lambda data: squeeze(join_continuation_lines(data))) if dialect.has_continuation_lines else squeeze

    def _check_same_columns(self, file: DataFile, dialect: TextDialect, file_column_names: Sequence[str]) -> None:
        for name in file_column_names:
            if name not in dialect.names:
                raise SourceError(
                    f"no column {name!r}, which {self.files[0].name} has",
                    place=Place(file=file.name),
                    remedy="`ignore:` it, or make it a source entry of its own",
                )
        self._check_same_units(file, list(dialect.columns_by_name.values()), file_column_names)

    def _build_layout(self, dialect: TextDialect, column_types: dict[str, pa.DataType]) -> RecordLayout:
        options = self.options
        white = dialect.delimiter == WHITESPACE
        nulls = self._collect_null_words(dialect)
        return RecordLayout(
            names=dialect.names,
            column_types=column_types,
            delimiter=" " if white else dialect.delimiter,
            quote=self._choose_quote(dialect),
            decimal=options.decimal,
            thousands=options.thousands,
            json_columns=dialect.json_columns,
            null_words=nulls,
            transform=self._choose_transform(dialect),
            text_first_columns=set(dialect.names)
            if options.thousands
            else {name for name in dialect.names if name in nulls},
            reject_limit=1 if self.context.on_reject is None else self.context.reject_limit,
        )

    @cached_property
    def _guess_columns(self) -> tuple[TextDialect, dict[str, pa.DataType], dict[str, list[str]], dict[str, list[str]]]:
        """The first file's look, every column's type, guessed over the beginnings of up to five files, and the cells that it was guessed from, with their places."""
        options = self.options
        if (
            options.delimiter is not None
            and len(DELIMITERS_BY_WORD.get(options.delimiter, options.delimiter)) > 1
            and options.delimiter not in DELIMITERS_BY_WORD
        ):
            raise SourceError(
                f"the delimiter {options.delimiter!r} has more than one character",
                remedy=f"one character, or: {', '.join(DELIMITERS_BY_WORD)}",
            )
        step = max(1, len(self.files) // 5)
        looks: list[TextDialect] = []
        cells: dict[str, list[str]] = {}
        places: dict[str, list[str]] = {}
        for file in self.files[::step][:5]:
            text, dialect = self._open_and_detect(file)
            text.skip_bytes(dialect.offset)
            block = next(text.read_blocks(), None)
            text.close()
            looks.append(dialect)
            if block is None:
                continue
            check_utf8(block, file.name)
            if len(self.files) > 1:
                whose = f" of {file.name}"
            else:
                whose = ""
            for front, sample_records in self._sample_records(block.data, dialect):
                record_places = [
                    f"row {number:,}{whose}" if front else f"further down{whose}"
                    for number in range(1, len(sample_records) + 1)
                ]
                for at, name in enumerate(dialect.names):
                    cells.setdefault(name, []).extend([record[at] for record in sample_records if len(record) > at])
                    places.setdefault(name, []).extend(
                        [place for record, place in zip(sample_records, record_places, strict=True) if len(record) > at]
                    )
        first = looks[0]
        for name, new in first.renamed_columns:
            self.context.report_deviation(build_duplicate_name_deviation(name, new, self.files[0].name))
        self._has_units = all(dialect.has_units for dialect in looks)
        declared_types = self._collect_declared_types(first)
        kinds = {
            name: declared_types.get(name) or self._guess_type(name, cells.get(name, []), first) for name in first.names
        }
        return first, kinds, cells, places

    def _sample_records(self, data: bytes, dialect: TextDialect) -> Iterator[tuple[bool, list[list[str]]]]:
        """Yield some thousand records.

        Whether they are from the front, whose row numbers are known, or from the middle and the end of a block.
        """
        quote = self._choose_quote(dialect)
        if dialect.is_barred and quote and quote.encode() in data[:400_000]:
            data = _strip_bars(data[:400_001])
        if quote and quote.encode() in data[:200_000]:
            text = io.StringIO(data[:400_000].decode(errors="replace"), newline="")
            if dialect.delimiter == WHITESPACE:
                delimiter = " "
            else:
                delimiter = dialect.delimiter
            rows: list[list[str]] = []
            with contextlib.suppress(plain_csv.Error):  # a value that never ends: what came before it is enough
                rows.extend(
                    plain_csv.reader(
                        text, delimiter=delimiter, quotechar=quote, skipinitialspace=dialect.delimiter == WHITESPACE
                    )
                )
            rows = [row for row in rows if row]
            yield True, rows[: max(1, len(rows) - 1)] if len(data) > 400_000 else rows
            return
        for at in (0, len(data) // 2, len(data) - 100_000):
            if at and at < 200_000:
                continue
            if at:
                start = data.find(b"\n", at) + 1
            else:
                start = 0
            part = data[start : start + (300_000 if at == 0 else 100_000)]
            lines = part.decode(errors="replace").split("\n")
            if start + len(part) < len(data):
                lines = lines[:-1]
            yield not at, dialect.split_records([line for line in lines if line.strip()])

    def _list_null_words(self, name: str, dialect: TextDialect) -> tuple[str, ...]:
        return list_null_words(self._collect_null_words(dialect), name)

    def _explain_doubt(
        self, name: str, cells: list[str], places: list[str], *, has_decimal_points: bool
    ) -> tuple[str, str] | None:
        options = self.options
        typed = "`types: {{{name}: {kind}}}`"
        null_words = self._list_null_words(name, self._guess_columns[0])
        return explain_doubt(
            name,
            cells,
            places,
            null_words=null_words,
            type_hint=typed,
            decimal=options.decimal,
            thousands=options.thousands,
            has_decimal_points=has_decimal_points,
        )

    def _guess_type(self, name: str, cells: list[str], dialect: TextDialect) -> pa.DataType:
        options = self.options
        nulls = self._list_null_words(name, dialect)
        guessed_type = guess_type(
            pa.array(cells, pa.string()), null_words=nulls, decimal=options.decimal, thousands=options.thousands
        )
        target_type = self.context.target_types.get(name)
        if target_type is None:
            return guessed_type
        return _choose_type(guessed_type, target_type)

    def _collect_declared_types(self, dialect: TextDialect) -> dict[str, pa.DataType]:
        """Return the types that somebody said: the options, else the ECSV header."""
        result: dict[str, pa.DataType] = {}
        header = (
            {name: column.type for name, column in dialect.columns_by_name.items()}
            if dialect.is_typed
            else dialect.types
        )
        for name, declared in header.items():
            result[name] = _choose_type(declared.arrow, self.context.target_types.get(name, declared.arrow))
        for name, word in self.options.types.items():
            if name not in dialect.names:
                check_column_names([name], dialect.names, self.files[0].name)
            try:
                kind = parse_type(word).arrow
            except ValueError as error:
                raise SourceError(f"`types`: {error}", remedy="float64, int32, string, bool, timestamp ...") from error
            if is_convertible_type(kind):
                result[name] = kind
            else:
                result[name] = pa.string()
        return result


def _choose_type(guessed_type: pa.DataType, target_type: pa.DataType) -> pa.DataType:
    """Choose the type to read as, given what the text looks like and what the target column has."""
    if not is_convertible_type(target_type):
        if guessed_type != pa.string() or not pa.types.is_list(target_type):
            return guessed_type
        return pa.string()
    if pa.types.is_timestamp(target_type) and guessed_type != target_type:
        # other forms of time are the mapping's to parse
        if pa.types.is_string(guessed_type):
            return pa.string()
        return guessed_type
    return target_type


def _find_column_type(dialect: TextDialect, name: str, arrow_type: pa.DataType) -> Any:
    column = dialect.columns_by_name.get(name)
    declared = column.type if column is not None and dialect.is_typed else dialect.types.get(name)
    if declared is not None and declared.arrow == arrow_type:
        return declared
    return type_from_arrow(arrow_type)


def _strip_bars(data: bytes) -> bytes:
    """Take the bars off both ends of all lines; lines that are drawn are left out."""
    return b"".join(_BORDER_LINE_PATTERN.sub(b"", _OUTER_BARS_PATTERN.sub(b"", part)) for part in split_windows(data))


def _build_blank_squeezer(quote: str) -> Any:
    runs = re.compile(rb"[ \t]+")
    ends = re.compile(rb"(?m)^ | (?=\r?$)")
    sign = quote.encode()
    if sign:
        aware = re.compile(
            re.escape(sign)
            + rb"(?:[^"
            + re.escape(sign)
            + rb"]|"
            + re.escape(sign) * 2
            + rb")*"
            + re.escape(sign)
            + rb"|[ \t]+"
        )
    else:
        aware = runs

    def replace_blanks(data: bytes) -> bytes:
        """Replace every run of blanks by one, quoted ones aside."""
        if sign and sign in data:
            data = b"".join(
                aware.sub(lambda match: match.group() if match.group().startswith(sign) else b" ", part)
                for part in split_windows(data, sign)
            )
        else:
            data = b"".join(runs.sub(b" ", part) for part in split_windows(data))
        return b"".join(ends.sub(b"", part) for part in split_windows(data))

    return replace_blanks
