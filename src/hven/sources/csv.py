"""Read delimited text, compressed or not: CSV, TSV, ECSV, or text separated by bars, semicolons or runs of spaces."""

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
from hven.model.errors import SourceError, TextPlace
from hven.model.table import Column
from hven.model.types import build_type_from_arrow, parse_type
from hven.sources import FileKindSignature, SourceKindTraits
from hven.sources._reading.catalogue_headers import join_daophot_lines
from hven.sources._reading.cells import guess_column_type, is_parsable_cell_type
from hven.sources._reading.data_files import DataFile, FileOptions, resolve_column_names
from hven.sources._reading.delimited import DelimitedLayout
from hven.sources._reading.dialect import DELIMITERS_BY_WORD, WHITESPACE, TextDialect, detect_dialect
from hven.sources._reading.fixed_width_splitter import build_fixed_width_splitter
from hven.sources._reading.text_blocks import TextBlockReader, check_utf8, split_into_line_windows
from hven.sources._reading.text_rows import Nulls, TextFileSource, list_null_words
from hven.sources._reading.type_doubts import explain_type_doubt, find_changed_text
from hven.sources._reading.whole_numbers import build_int64_overflow_deviation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.sources import Source, SourceContext


_OUTER_BARS_PATTERN = re.compile(rb"(?m)^[ \t]*\||\|[ \t]*(?=\r?$)")
_BORDER_LINE_PATTERN = re.compile(rb"(?m)^[ \t]*\+[-+=]+\+[ \t]*\r?(?:\n|\Z)")  # around a table

# any text that no other kind recognises
TRAITS = SourceKindTraits(reads_local_files=True)
FILES = FileKindSignature(extensions=("csv", "tsv", "txt", "dat", "tab"), leading_pattern=rb"[^\0]*\Z")
SAMPLE_BYTES = 400_000  # of a block with quoted values
FRONT_SAMPLE_BYTES = 300_000  # of a block without them
FURTHER_SAMPLE_BYTES = 100_000  # in the middle and at the end of such a block


class Options(FileOptions):
    """What a descriptor may state about delimited text. All options but `files` have a guessed value."""

    delimiter: str | None = Field(
        None,
        description=(
            "One character, or one of the words comma, tab, semicolon, pipe, space and whitespace (runs of spaces). "
            "Default: the delimiter that splits all lines into the same number of fields."
        ),
        examples=["semicolon"],
    )
    quote: str = Field(
        '"',
        max_length=1,
        description='Quote character. If it is empty, quotes are ordinary characters. Default: `"`.',
        examples=["'"],
    )
    comment: str | None = Field(
        None,
        description="Hven ignores lines that begin with this text. Default: `#`, if the file begins with `#`.",
        examples=["%"],
    )
    header: bool | None = Field(
        None,
        description=(
            "Whether the first record contains the column names. Default: true if the first record has words above "
            "columns of numbers."
        ),
        examples=[False],
    )
    names: list[str] | None = Field(
        None,
        description=(
            "Names of all columns, in order. Hven then ignores the names in the header. Default: the names in the "
            "header, or else `column_1`, `column_2` ..."
        ),
        examples=[["name", "ra", "dec"]],
    )
    units: bool | None = Field(
        None,
        description=(
            "Whether the record below the column names contains units. Default: true if this record contains no "
            "values, and most of its entries above columns of numbers are units."
        ),
        examples=[True],
    )
    skip: int = Field(0, ge=0, description="Number of lines that Hven skips at the top of the file.", examples=[3])
    encoding: str = Field(
        "utf-8",
        description=("Encoding of the text: utf-8 (default), latin-1, cp1252, utf-16 ..."),
        examples=["latin-1"],
    )
    null: Nulls = Field(
        default_factory=dict,
        description=(
            "Words that mark a missing value. Write a list, or one list for each column name (`*` means all columns). "
            "A number includes its other spellings (-999 also means -999.0). Default: empty cells; in numeric columns "
            "also `NaN`, `NULL`, `NA`, `N/A`, `None`, runs of `-`, `...` and `?`."
        ),
        examples=[[-999, "none"]],
    )
    decimal: str = Field(".", pattern="^[.,]$", description="Decimal separator: `.` (default) or `,`.", examples=[","])
    thousands: str | None = Field(None, max_length=1, description="Thousands separator. Default: none.", examples=[","])
    types: dict[str, str] = Field(
        default_factory=dict,
        description=(
            "Types of source columns, by name, for columns whose type Hven guesses wrongly. Hven guesses bool, int64, "
            "float64, timestamp (ISO 8601) or string."
        ),
        examples=[{"run": "string"}],
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
        self._has_units = False  # True if all files that were sampled have a record of units

    def list_columns(self) -> list[Column]:
        """List the columns of the header; types are guessed from a sample, or stated by an ECSV header."""
        first, kinds, _, _ = self._column_guesses
        columns: list[Column] = []
        for name in first.list_column_names():
            column = first.columns_by_name.get(name, Column(name=name))
            columns.append(column.copy_with(type=_find_column_type(first, name, kinds[name])))
        return columns

    def read_title_and_description(self) -> tuple[str | None, str | None]:
        """Return the title of a machine-readable table, or the description of an ECSV file."""
        first = self._column_guesses[0]
        return first.title, first.description

    def list_credits(self) -> dict[str, str]:
        """Return the authors of a machine-readable table."""
        authors = self._column_guesses[0].authors
        if authors:
            return {"creators": "; ".join(authors)}
        return {}

    def list_guessed_options(self) -> dict[str, object]:
        """Return guessed options that a descriptor should state, because they change what the rows are."""
        if self._column_guesses and self._has_units and self.options.units is None:
            return {"units": True}
        return {}

    def list_type_doubts(self) -> dict[str, tuple[str, str]]:
        """List the columns that were guessed to be text but may be meant otherwise: message and remedy by name."""
        first, kinds, cells, places = self._column_guesses
        declared_types = self._collect_declared_types(first)
        number_names = [name for name in cells if kinds.get(name) == pa.float64()]
        has_decimal_points = any("." in cell for name in number_names for cell in cells[name])
        doubts_by_name: dict[str, tuple[str, str]] = {}
        for name in cells:
            if kinds.get(name) != pa.string() or name in declared_types:
                continue
            doubt = self._explain_type_doubt(name, cells[name], places[name], has_decimal_points=has_decimal_points)
            if doubt is not None:
                doubts_by_name[name] = doubt
        return doubts_by_name

    def list_changed_texts(self) -> dict[str, tuple[str, str]]:
        """List the columns whose values have another text than the cells: message and remedy by name."""
        first, kinds, cells, _ = self._column_guesses
        changes: dict[str, tuple[str, str]] = {}
        for name in kinds.keys() & cells.keys() - self._collect_declared_types(first).keys():
            text = find_changed_text(cells[name], kinds[name])
            if text is not None:
                changes[name] = (
                    f"is read as {kinds[name]} because it is not only copied, so {text!r} and the like change",
                    f"write `types: {{{name}: string}}` in the source",
                )
        return changes

    def _list_column_names(self) -> list[str]:
        return self._column_guesses[0].list_column_names()

    def list_declared_types(self) -> dict[str, pa.DataType]:
        """Return the types that the options or the header declare, by column."""
        return self._collect_declared_types(self._column_guesses[0])

    def _find_declared_types(self) -> Mapping[str, object]:
        return self.list_declared_types()

    def _open_at_first_record(
        self, file: DataFile, file_column_names: Sequence[str]
    ) -> tuple[TextBlockReader, DelimitedLayout]:
        kinds = self._column_guesses[1]
        text, dialect = self._open_and_detect(file)
        self._check_same_columns(file, dialect, file_column_names)
        text.skip_bytes(dialect.offset)
        column_types = {name: kinds.get(name, pa.string()) for name in dialect.names}
        layout = self._build_layout(dialect, column_types)
        return text, layout

    def _open_and_detect(self, file: DataFile) -> tuple[TextBlockReader, TextDialect]:
        options = self.options
        text = TextBlockReader(file, encoding=options.encoding)
        head = text.read_checked_head()
        dialect = detect_dialect(
            head,
            file=file.name,
            delimiter=options.delimiter,
            quote=options.quote or None,
            comment=options.comment,
            has_header=options.header,
            names=options.names,
            skipped_lines=options.skip,
            has_units=options.units,
        )
        text.set_dialect(
            quote=self._choose_quote(dialect),
            comment=dialect.comment,
            delimiter=_find_delimiter_sign(dialect),
            has_continuation_lines=dialect.has_continuation_lines,
        )
        return text, dialect

    def _choose_quote(self, dialect: TextDialect) -> str | None:
        """Choose the quote character: columns at fixed places quote nothing."""
        if dialect.ranges:
            return None
        return self.options.quote or None

    def _collect_null_words(self, dialect: TextDialect) -> Mapping[str, Sequence[str]]:
        """Collect the null words that the descriptor or the header states, by column."""
        words_by_name: dict[str, list[str]] = {}
        for stated_words in (self.options.null, dialect.null_words):
            for name, words in stated_words.items():
                words_by_name.setdefault(name, []).extend(words)
        return words_by_name

    def _choose_block_transform(self, dialect: TextDialect) -> Callable[[bytes], bytes] | None:
        """Choose the function that makes a block delimited text."""
        if dialect.ranges:
            single = codecs.lookup(self.options.encoding).name != "utf-8"
            cut = build_fixed_width_splitter(dialect.ranges, counts_characters=single or not dialect.counts_bytes)
            if dialect.has_continuation_lines:
                return lambda data: cut(join_daophot_lines(data))
            return cut
        if dialect.is_barred:
            return _strip_table_borders
        if dialect.delimiter != WHITESPACE:
            return None
        squeeze = _build_blank_squeezer(self.options.quote)
        if dialect.has_continuation_lines:
            return lambda data: squeeze(join_daophot_lines(data))
        return squeeze

    def _check_same_columns(self, file: DataFile, dialect: TextDialect, file_column_names: Sequence[str]) -> None:
        for name in file_column_names:
            if name not in dialect.names:
                raise SourceError(
                    f"the file has no column {name!r}, unlike {self.first_file_name}",
                    place=TextPlace(file=file.name),
                    remedy="add the file to `ignore`, or write a separate source entry for it",
                )
        self._report_further_columns(file, dialect.list_column_names())
        self._check_same_units(file, list(dialect.columns_by_name.values()), file_column_names)

    def _build_layout(self, dialect: TextDialect, column_types: dict[str, pa.DataType]) -> DelimitedLayout:
        options = self.options
        nulls = self._collect_null_words(dialect)
        text_first_columns = {name for name in dialect.names if name in nulls or options.thousands}
        reject_limit = self.context.reject_limit
        if self.context.on_reject is None:
            reject_limit = 1
        return DelimitedLayout(
            names=dialect.names,
            column_types=column_types,
            delimiter=_find_delimiter_sign(dialect),
            quote=self._choose_quote(dialect),
            decimal=options.decimal,
            thousands=options.thousands,
            json_columns=dialect.json_columns,
            masks=dialect.masks,
            null_words=nulls,
            transform=self._choose_block_transform(dialect),
            text_first_columns=text_first_columns,
            reject_limit=reject_limit,
        )

    @cached_property
    def _column_guesses(self) -> tuple[TextDialect, dict[str, pa.DataType], dict[str, list[str]], dict[str, list[str]]]:
        """The layout of the first file, and the types, sampled cells and places of these cells by column.

        Types are guessed from the beginnings of up to five files.
        """
        options = self.options
        delimiter = options.delimiter
        if delimiter is not None and delimiter not in DELIMITERS_BY_WORD and len(delimiter) > 1:
            raise SourceError(
                f"the delimiter {options.delimiter!r} has more than one character",
                remedy=f"write one character, or one of the words {', '.join(DELIMITERS_BY_WORD)}",
            )
        step = max(1, len(self.files) // 5)
        dialects: list[TextDialect] = []
        cells: dict[str, list[str]] = {}
        places: dict[str, list[str]] = {}
        for file in self.files[::step][:5]:
            text, dialect = self._open_and_detect(file)
            text.skip_bytes(dialect.offset)
            block = next(text.read_blocks(), None)
            text.close()
            dialects.append(dialect)
            if block is None:
                continue
            check_utf8(block, file.name)
            file_text = ""
            if len(self.files) > 1:
                file_text = f" in {file.name}"
            for is_front, records in self._sample_front_middle_end_records(block.data, dialect):
                for number, record in enumerate(records, 1):
                    place = f"further down{file_text}"
                    if is_front:
                        place = f"row {number:,}{file_text}"
                    for name, cell in zip(dialect.names, record, strict=False):
                        cells.setdefault(name, []).append(cell)
                        places.setdefault(name, []).append(place)
        first = dialects[0]
        for name, new in first.renamed_columns:
            self.context.report_deviation(build_duplicate_name_deviation(name, new, self.files[0].name))
        self._has_units = all(dialect.has_units for dialect in dialects)
        kinds = self._collect_declared_types(first)
        for name in first.names:
            if name not in kinds:
                kinds[name] = self._guess_type(name, cells.get(name, []), first)
        return first, kinds, cells, places

    def _sample_front_middle_end_records(
        self, data: bytes, dialect: TextDialect
    ) -> Iterator[tuple[bool, list[list[str]]]]:
        """Yield some thousand records, and whether they are from the front of a block.

        The row numbers of those are known; the others are from the middle and the end of the block.
        """
        quote = self._choose_quote(dialect)
        if dialect.is_barred and quote and quote.encode() in data[:SAMPLE_BYTES]:
            data = _strip_table_borders(data[: SAMPLE_BYTES + 1])
        if quote and quote.encode() in data[: SAMPLE_BYTES // 2]:
            yield True, _sample_quoted_records(data, dialect, quote)
            return
        for at in (0, len(data) // 2, len(data) - FURTHER_SAMPLE_BYTES):
            if at and at < 2 * FURTHER_SAMPLE_BYTES:
                continue
            start = 0
            sample_bytes = FRONT_SAMPLE_BYTES
            if at:
                start = data.find(b"\n", at) + 1
                sample_bytes = FURTHER_SAMPLE_BYTES
            part = data[start : start + sample_bytes]
            lines = part.decode(errors="replace").split("\n")
            if start + len(part) < len(data):
                lines = lines[:-1]
            filled_lines = [line for line in lines if line.strip()]
            yield not at, dialect.split_records(filled_lines)

    def _list_null_words(self, name: str, dialect: TextDialect) -> tuple[str, ...]:
        return list_null_words(self._collect_null_words(dialect), name)

    def _explain_type_doubt(
        self, name: str, cells: list[str], places: list[str], *, has_decimal_points: bool
    ) -> tuple[str, str] | None:
        options = self.options
        null_words = self._list_null_words(name, self._column_guesses[0])
        return explain_type_doubt(
            name,
            cells,
            places,
            null_words=null_words,
            type_hint="`types: {{{name}: {kind}}}`",
            decimal=options.decimal,
            thousands=options.thousands,
            has_decimal_points=has_decimal_points,
        )

    def _guess_type(self, name: str, cells: list[str], dialect: TextDialect) -> pa.DataType:
        options = self.options
        nulls = self._list_null_words(name, dialect)
        sample = pa.array(cells, pa.string())
        guessed_type = guess_column_type(sample, null_words=nulls, decimal=options.decimal, thousands=options.thousands)
        if name in dialect.uint64_columns and not any(cells):
            guessed_type = pa.int64()
        elif name in dialect.uint64_columns and guessed_type == pa.string():
            self.context.report_deviation(build_int64_overflow_deviation(name, self.files[0].name))
        target_type = self.context.target_types.get(name)
        if target_type is None:
            return guessed_type
        return _choose_type_to_read(guessed_type, target_type)

    def _collect_declared_types(self, dialect: TextDialect) -> dict[str, pa.DataType]:
        """Collect the types that the options declare, or else the header."""
        result: dict[str, pa.DataType] = {}
        header_types = dialect.types
        if dialect.is_typed:
            header_types = {name: column.type for name, column in dialect.columns_by_name.items()}
        for name, declared in header_types.items():
            if name in dialect.uint64_columns:  # int64 or text, as the values require
                continue
            target_type = self.context.target_types.get(name, declared.arrow)
            result[name] = _choose_type_to_read(declared.arrow, target_type)
        for name, word in self.options.types.items():
            if name not in dialect.names:
                resolve_column_names([name], dialect.names, self.files[0].name)
            try:
                kind = parse_type(word).arrow
            except ValueError as error:
                raise SourceError(
                    f"`types`: {error}", remedy="write a type such as float64, int32, string, bool or timestamp"
                ) from error
            if is_parsable_cell_type(kind):
                result[name] = kind
            else:
                result[name] = pa.string()
        return result


def _find_delimiter_sign(dialect: TextDialect) -> str:
    """Return the character between fields, when runs of blanks are single blanks."""
    if dialect.delimiter == WHITESPACE:
        return " "
    return dialect.delimiter


def _sample_quoted_records(data: bytes, dialect: TextDialect, quote: str) -> list[list[str]]:
    """Sample records with quoted values from the beginning of a block."""
    text = data[:SAMPLE_BYTES].decode(errors="replace")
    reader = plain_csv.reader(
        io.StringIO(text, newline=""),
        delimiter=_find_delimiter_sign(dialect),
        quotechar=quote,
        skipinitialspace=dialect.delimiter == WHITESPACE,
    )
    rows: list[list[str]] = []
    with contextlib.suppress(plain_csv.Error):  # a value that never ends: the records before it are enough
        rows.extend(reader)
    rows = [row for row in rows if row]
    if len(data) > SAMPLE_BYTES:  # the last record may be cut
        return rows[: max(1, len(rows) - 1)]
    return rows


def _choose_type_to_read(guessed_type: pa.DataType, target_type: pa.DataType) -> pa.DataType:
    """Choose the type to read, given what the text looks like and what the target column has."""
    if not is_parsable_cell_type(target_type):
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
    declared = dialect.types.get(name)
    if column is not None and dialect.is_typed:
        declared = column.type
    if declared is not None and declared.arrow == arrow_type:
        return declared
    return build_type_from_arrow(arrow_type)


def _strip_table_borders(data: bytes) -> bytes:
    """Strip the bars at both ends of all lines, and drop border lines."""
    parts: list[bytes] = []
    for part in split_into_line_windows(data):
        barless_part = _OUTER_BARS_PATTERN.sub(b"", part)
        parts.append(_BORDER_LINE_PATTERN.sub(b"", barless_part))
    return b"".join(parts)


def _build_blank_squeezer(quote: str) -> Callable[[bytes], bytes]:
    """Build the function that replaces each run of blanks by one blank, except within quotes."""
    runs = re.compile(rb"[ \t]+")
    ends = re.compile(rb"(?m)^ | (?=\r?$)")
    quote_bytes = quote.encode()
    sign = re.escape(quote_bytes)
    quoted_or_blank = re.compile(sign + rb"(?:[^" + sign + rb"]|" + sign * 2 + rb")*" + sign + rb"|[ \t]+")

    def replace_unquoted(match: re.Match[bytes]) -> bytes:
        if match.group().startswith(quote_bytes):
            return match.group()
        return b" "

    def replace_blanks(data: bytes) -> bytes:
        if quote_bytes and quote_bytes in data:
            parts = [quoted_or_blank.sub(replace_unquoted, part) for part in split_into_line_windows(data, quote_bytes)]
        else:
            parts = [runs.sub(b" ", part) for part in split_into_line_windows(data)]
        squeezed = b"".join(parts)
        return b"".join(ends.sub(b"", part) for part in split_into_line_windows(squeezed))

    return replace_blanks
