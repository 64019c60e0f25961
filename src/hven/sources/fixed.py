"""Read text with columns at fixed byte positions, which the descriptor or a CDS ReadMe specifies."""

from __future__ import annotations

import codecs
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from hven.model import DeviationKind, ReadDeviation
from hven.model.errors import SourceError
from hven.model.table import Column
from hven.model.types import build_type_from_arrow, parse_type
from hven.sources import SourceKindTraits
from hven.sources._reading import readme
from hven.sources._reading.cells import guess_column_type
from hven.sources._reading.data_files import DataFile, FileOptions
from hven.sources._reading.delimited import DelimitedLayout, ParsedBlock
from hven.sources._reading.dialect import RULE_LINE_PATTERN, is_header_record, is_unit_record
from hven.sources._reading.fixed_width_splitter import UNIT_SEPARATOR, build_fixed_width_splitter
from hven.sources._reading.text_blocks import TextBlockReader
from hven.sources._reading.text_rows import Nulls, TextFileSource, list_null_words
from hven.sources._reading.text_units import parse_units
from hven.sources._reading.type_doubts import explain_type_doubt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hven.sources import Source, SourceContext

TRAITS = SourceKindTraits(reads_local_files=True)


def _wrap_byte_range(value: object) -> object:
    if isinstance(value, (str, int)):
        return {"bytes": str(value)}
    return value


class FixedWidthColumnOptions(BaseModel):
    """One column: its bytes, and its metadata."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: str = Field(pattern=r"^\s*\d+\s*(-\s*\d+\s*)?$", description="First and last byte, counted from 1: `16-27`.")
    type: str | None = Field(None, description="Type of the column. If you omit this key, Hven guesses the type.")
    unit: str | None = None
    description: str | None = None


class Options(FileOptions):
    """What a descriptor may state about fixed-width text: `fields`, or `readme` and perhaps `table`."""

    fields: dict[
        str,
        Annotated[
            FixedWidthColumnOptions,
            BeforeValidator(_wrap_byte_range, json_schema_input_type=FixedWidthColumnOptions | str | int),
        ],
    ] = Field(
        default_factory=dict,
        description=(
            "The fields, by column name. Write the first and the last byte, counted from 1, or a map with `bytes`, "
            "`type`, `unit` and `description`. If you omit `type`, Hven guesses it."
        ),
        examples=[{"hip": "1-6", "ra": {"bytes": "8-19", "unit": "deg"}}],
    )
    readme: str | None = Field(
        None, description="Instead of `fields`: path of a CDS ReadMe, relative to the descriptor.", examples=["ReadMe"]
    )
    table: str | None = Field(
        None,
        description="The file's name in the ReadMe, if the file itself has a different name.",
        examples=["tyc2.dat"],
    )
    comment: str | None = Field(None, description="Hven ignores lines that begin with this text.", examples=["#"])
    skip: int = Field(0, ge=0, description="Number of lines that Hven skips at the top of the file.", examples=[2])
    encoding: str = Field(
        "utf-8",
        description=(
            "Encoding of the text: utf-8 (default), latin-1, cp1252 ... In encodings other than utf-8, Hven reads each "
            "byte as one character."
        ),
        examples=["latin-1"],
    )
    null: Nulls = Field(
        default_factory=dict,
        description=(
            "Words that mark a missing value. Write a list, or one list for each column name (`*` means all columns)."
        ),
        examples=[["---"]],
    )

    @model_validator(mode="after")
    def _check_fields_or_readme(self) -> Options:
        if bool(self.fields) == (self.readme is not None):
            raise ValueError("give either `fields` or `readme`")
        return self


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open fixed-width text.

    Raises
    ------
    SourceError
        No such file or ReadMe, a table it doesn't describe, bytes in the wrong order.
    """
    return FixedWidthTextSource(options, context)


def read_catalogue_readme(path: Path) -> readme.CatalogueReadMe:
    """Read how a ReadMe describes a catalogue and all its tables.

    Parameters
    ----------
    path
        Path of the ReadMe.

    Returns
    -------
    readme
        Title, authors, abstract, summaries and columns.

    Raises
    ------
    SourceError
        The file is not there.
    """
    return readme.read_readme(path)


def guess_fixed_width_options(options: Mapping[str, object], context: SourceContext) -> dict[str, object]:
    """Guess `fields` from the columns that are blank in all of the first lines (up to 64 MiB), and `comment`.

    Raises
    ------
    SourceError
        No file, tabs, or no blank column: nothing tells where to cut.
    """
    line_options = Options.model_validate({**options, "fields": {"line": 1}})
    source = FixedWidthTextSource(line_options, context)
    file = source.files[0]
    text = source._open_text(file)  # noqa: SLF001  (the same module)
    head = text.peek_head()
    if "comment" not in options and text.peek_head().startswith(b"#"):
        text.close()
        return {"comment": "#", **guess_fixed_width_options({**options, "comment": "#"}, context)}
    single = codecs.lookup(source.options.encoding).name != "utf-8"
    filled = np.zeros(0, bool)
    scanned_bytes = 0
    try:
        for block in text.read_blocks():
            if b"\t" in block.data:
                raise SourceError(
                    f"{file.name} contains tabs, so its columns are not at fixed byte positions",
                    remedy="read the file with `--kind csv`",
                )
            filled = _mark_filled_places(block.data, filled, counts_characters=single)
            scanned_bytes += len(block.data)
            if scanned_bytes > 64 << 20:
                break
    finally:
        text.close()
    edges = np.flatnonzero(np.diff(filled.astype(np.int8), prepend=0, append=0))
    if len(edges) < 4:
        raise SourceError(
            f"no character position of {file.name} is blank in all lines",
            remedy="write the bytes of each column, counted from 1, as in `fields: {name: 1-9, mag: 11-16}`",
        )
    ranges = [(first, last) for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)]
    if len(source.files) > 1:  # another file may have no header
        head = b""
    return _name_guessed_fields(head, ranges, source.options)


def _name_guessed_fields(first_bytes: bytes, ranges: Sequence[tuple[int, int]], options: Options) -> dict[str, object]:
    """Name the fields by the header if there is one, with the units below it.

    The lines above the data are skipped.
    """
    text = first_bytes.decode(errors="replace")
    numbers: list[int] = []
    cells: list[list[str]] = []
    for number, line in enumerate(text.splitlines()[:400], 1):
        is_comment = options.comment and line.startswith(options.comment)
        if line.strip() and not is_comment and not RULE_LINE_PATTERN.fullmatch(line):
            numbers.append(number)
            cells.append([line[first:last].strip() for first, last in ranges])
    names = [f"column_{number}" for number in range(1, len(ranges) + 1)]
    units: Sequence[str] = ()
    header_line_count = 0
    has_distinct_cells = bool(cells) and all(cells[0]) and len(set(cells[0])) == len(names)
    if has_distinct_cells and is_header_record(cells[0], cells[1:]):
        names = cells[0]
        header_line_count = 1
        if len(cells) > 2 and is_unit_record(cells[1], cells[2:]):
            units = cells[1]
            header_line_count = 2
    units_by_name = parse_units(names, units)
    fields: dict[str, object] = {}
    for name, (first, last) in zip(names, ranges, strict=True):
        byte_range = f"{first + 1}-{last}"
        fields[name] = byte_range
        if units_by_name.get(name):
            fields[name] = {"bytes": byte_range, "unit": units_by_name[name]}
    guessed: dict[str, object] = {"fields": fields}
    if header_line_count and len(numbers) > header_line_count:
        guessed["skip"] = options.skip + numbers[header_line_count] - 1
    return guessed


def _mark_filled_places(data: bytes, earlier_mask: np.ndarray, *, counts_characters: bool) -> np.ndarray:
    """Mark the places within lines at which any line has a character."""
    data = data.replace(b"\r\n", b"\n")
    if counts_characters and not data.isascii():
        wide_data = data.decode(errors="replace").encode("utf-32-le")
        signs = np.frombuffer(wide_data, "<u4")
    else:
        signs = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(signs == 10)
    places = np.flatnonzero((signs != 10) & (signs != 32))
    line = np.searchsorted(ends, places)
    starts = np.concatenate([[0], ends + 1])
    columns = places - starts[line]
    last_column = int(columns.max(initial=-1))
    is_filled = np.zeros(max(len(earlier_mask), last_column + 1), bool)
    is_filled[: len(earlier_mask)] = earlier_mask
    is_filled[columns] = True
    return is_filled


class FixedWidthTextSource(TextFileSource):
    """The rows of one or more files of fixed-width text."""

    def __init__(self, options: Options, context: SourceContext) -> None:
        super().__init__(options, context)
        self.options = options
        self._type_doubts: dict[str, tuple[str, str]] = {}
        self._record_count = 0

    def list_type_doubts(self) -> dict[str, tuple[str, str]]:
        """List the columns that were guessed to be text but may be meant otherwise: message and remedy by name."""
        return self._type_doubts

    def list_columns(self) -> list[Column]:
        """List the columns of the ReadMe or the descriptor; types that these do not state are guessed."""
        columns: list[Column] = []
        for item, kind in self._fields_and_types.values():
            if item.column.type.arrow == kind:
                columns.append(item.column)
            else:
                columns.append(item.column.copy_with(type=build_type_from_arrow(kind)))
        return columns

    def read_title_and_description(self) -> tuple[str | None, str | None]:
        """Read title and abstract of the ReadMe."""
        if self.options.readme is None:
            return None, None
        catalogue_readme = readme.read_readme(self.context.directory / self.options.readme)
        return catalogue_readme.title, catalogue_readme.abstract

    def list_credits(self) -> dict[str, str]:
        """Return authors and bibcode of the ReadMe."""
        if self.options.readme is None:
            return {}
        catalogue_readme = readme.read_readme(self.context.directory / self.options.readme)
        credit_texts = {"creators": "; ".join(catalogue_readme.authors), "bibcode": catalogue_readme.bibcode}
        return {key: text for key, text in credit_texts.items() if text}

    def _list_column_names(self) -> list[str]:
        return list(self._fields_and_types)

    def _find_declared_types(self) -> Mapping[str, object]:
        _, declared_types = self._find_fields_and_stated_types()
        return declared_types

    def _find_fields_and_stated_types(self) -> tuple[list[readme.ByteRangeField], dict[str, pa.DataType]]:
        """Read the fields, and the types that are stated."""
        if self.options.readme is not None:
            return self._read_readme_fields()
        return self._read_declared_fields()

    @cached_property
    def _fields_and_types(self) -> dict[str, tuple[readme.ByteRangeField, pa.DataType]]:
        fields, declared_types = self._find_fields_and_stated_types()
        cells: dict[str, list[str]] = {}
        if len(declared_types) < len(fields):
            cells = self._sample_cells(fields)
        fields_by_name = {}
        for item in fields:
            name = item.column.name
            null_words = self._list_null_words(item)
            kind = declared_types.get(name)
            if kind is None:
                sample = pa.array(cells.get(name, []), pa.string())
                kind = guess_column_type(sample, null_words=null_words)
            kind = _choose_target_type(kind, self.context.target_types.get(name))
            if kind == pa.string() and name not in declared_types and name in cells:
                places = [f"row {number:,}" for number in range(1, len(cells[name]) + 1)]
                doubt = explain_type_doubt(
                    name,
                    cells[name],
                    places,
                    null_words=null_words,
                    type_hint="`type: {kind}` of the field",
                )
                if doubt is not None:
                    self._type_doubts[name] = doubt
            fields_by_name[name] = (item, kind)
        return fields_by_name

    def _sample_cells(self, fields: Sequence[readme.ByteRangeField]) -> dict[str, list[str]]:
        """Sample the cells of the first file, by column."""
        text = self._open_text(self.files[0])
        block = next(text.read_blocks(), None)
        text.close()
        if block is None:
            return {}
        lines = block.data.decode(errors="replace").split("\n")[:4000]
        filled_lines = [line for line in lines if line.strip()]
        if not filled_lines:
            return {}
        return {item.column.name: [line[item.start : item.end] for line in filled_lines] for item in fields}

    def _list_null_words(self, byte_field: readme.ByteRangeField) -> tuple[str, ...]:
        null_words = list_null_words(self.options.null, byte_field.column.name)
        return (*null_words, *readme.list_null_words(byte_field))

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows, and compare their number with the one that the ReadMe states."""
        self._record_count = 0
        yield from super().read_batches(column_names, row_limit)
        if row_limit is None and self.options.readme is not None:
            self._check_record_count(self.options.readme)

    def _check_record_count(self, path: str) -> None:
        name = self.options.table or self.files[0].path.name
        stated_count = readme.find_record_count(readme.read_readme(self.context.directory / path), name)
        if stated_count is not None and stated_count != self._record_count:
            message = (
                f"{PurePath(path).name} states {stated_count:,} records for {name}, but Hven has read "
                f"{self._record_count:,} records"
            )
            remedy = (
                "if the file is truncated, download it again; if not, read all of its parts (`files:` may be a pattern)"
            )
            deviation = ReadDeviation(kind=DeviationKind.DROPPED_ROW, message=message, remedy=remedy)
            self.context.report_deviation(deviation)

    def _report_deviations_and_rejects(self, parsed_block: ParsedBlock, first_row: int, file: DataFile) -> None:
        self._record_count += parsed_block.total_count
        super()._report_deviations_and_rejects(parsed_block, first_row, file)

    def _read_readme_fields(self) -> tuple[list[readme.ByteRangeField], dict[str, pa.DataType]]:
        path = self.context.directory / (self.options.readme or "")
        name = self.options.table or self.files[0].path.name
        fields = readme.find_table_fields(readme.read_readme(path), name, path.name)
        return fields, {item.column.name: item.column.type.arrow for item in fields}

    def _read_declared_fields(self) -> tuple[list[readme.ByteRangeField], dict[str, pa.DataType]]:
        fields: list[readme.ByteRangeField] = []
        declared_types: dict[str, pa.DataType] = {}
        for name, item in self.options.fields.items():
            first, _, last = item.bytes.replace(" ", "").partition("-")
            start = int(first) - 1
            end = int(last or first)
            if start < 0 or end <= start:
                raise SourceError(
                    f"field {name!r}: the bytes {item.bytes!r} end before they begin",
                    remedy="write the first and the last byte, counted from 1, such as `16-27`",
                )
            column = Column(name=name, unit=item.unit, description=item.description)
            if item.type is not None:
                try:
                    column = column.copy_with(type=parse_type(item.type))
                except ValueError as error:
                    raise SourceError(
                        f"field {name!r}: {error}", remedy="write a type such as float64, int32, string or timestamp"
                    ) from error
                declared_types[name] = column.type.arrow
            byte_field = readme.ByteRangeField(start=start, end=end, null=None, column=column)
            fields.append(byte_field)
        return fields, declared_types

    def _open_text(self, file: DataFile) -> TextBlockReader:
        options = self.options
        text = TextBlockReader(file, encoding=options.encoding, quote=None, comment=options.comment)
        head = text.read_checked_head()
        at = 0
        for _ in range(self.options.skip):
            at = head.find(b"\n", at) + 1 or len(head)
        text.skip_bytes(at)
        return text

    def _open_at_first_record(
        self, file: DataFile, file_column_names: Sequence[str]
    ) -> tuple[TextBlockReader, DelimitedLayout]:
        names = list(file_column_names) or self._list_column_names()[:1]
        items = [self._fields_and_types[name][0] for name in names]
        text = self._open_text(file)
        single = codecs.lookup(self.options.encoding).name != "utf-8"
        column_types = {name: self._fields_and_types[name][1] for name in names}
        null_words: dict[str, Sequence[str]] = dict(self.options.null)
        for name, item in zip(names, items, strict=True):
            if item.null:
                null_words[name] = self._list_null_words(item)
        ranges = [(item.start, item.end) for item in items]
        transform = build_fixed_width_splitter(ranges, counts_characters=single)
        layout = DelimitedLayout(
            names=names,
            column_types=column_types,
            delimiter=UNIT_SEPARATOR,
            quote=None,
            null_words=null_words,
            transform=transform,
        )
        return text, layout


def _choose_target_type(kind: pa.DataType, target_type: pa.DataType | None) -> pa.DataType:
    """Choose the type of the target column where it is text, or a number and the values are no times."""
    if target_type is None:
        return kind
    is_number = pa.types.is_integer(target_type) or pa.types.is_floating(target_type)
    if pa.types.is_string(target_type) or (is_number and kind != pa.timestamp("us")):
        return target_type
    return kind
