"""Text with columns at fixed bytes: said in the descriptor, or by the ReadMe of a catalogue as CDS writes it."""

from __future__ import annotations

import codecs
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from hven.model import Deviation, DeviationKind
from hven.model.errors import SourceError
from hven.model.table import Column
from hven.model.types import parse_type, type_from_arrow
from hven.sources._reading import readme
from hven.sources._reading.cells import guess_type
from hven.sources._reading.data_files import DataFile, FileOptions
from hven.sources._reading.delimited import ParsedBlock, RecordLayout
from hven.sources._reading.dialect import RULE_LINE_PATTERN, is_header_record, is_unit_record
from hven.sources._reading.fixed_width_splitter import UNIT_SEPARATOR, build_splitter
from hven.sources._reading.text_blocks import TextFile
from hven.sources._reading.text_rows import Nulls, TextFileSource, list_null_words
from hven.sources._reading.text_units import parse_units
from hven.sources._reading.type_doubts import explain_doubt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hven.sources import Source, SourceContext


def _wrap_bytes(value: object) -> object:
    if isinstance(value, (str, int)):
        return {"bytes": str(value)}
    return value


class FixedFieldOptions(BaseModel):
    """One column: its bytes, and what is known of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: str = Field(pattern=r"^\s*\d+\s*(-\s*\d+\s*)?$", description="First and last byte, counted from 1: `16-27`.")
    type: str | None = Field(None, description="Guessed if not given.")
    unit: str | None = None
    description: str | None = None


class Options(FileOptions):
    """What a descriptor may say of fixed-width text: `fields`, or `readme` and perhaps `table`."""

    fields: dict[str, Annotated[FixedFieldOptions, BeforeValidator(_wrap_bytes)]] = Field(
        default_factory=dict, description="By column name: `16-27`, or a mapping with bytes, type, unit, description."
    )
    readme: str | None = Field(None, description="A CDS ReadMe, relative to the descriptor.")
    table: str | None = Field(None, description="The file's name in the ReadMe, if it is not this one's.")
    comment: str | None = Field(None, description="Lines that begin so are left out.")
    skip: int = Field(0, ge=0, description="Lines at the top to leave out.")
    encoding: str = Field("utf-8", description="utf-8, latin-1, cp1252 ...")
    null: Nulls = Field(
        default_factory=dict, description="Words that stand for no value: a list, or by column name (`*` = all)."
    )

    @model_validator(mode="after")
    def _check_description(self) -> Options:
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
    return FixedTextSource(options, context)


def read_catalogue_readme(path: Path) -> readme.CatalogueReadMe:
    """Read what a ReadMe says of a catalogue and of all its tables.

    Parameters
    ----------
    path
        Of the ReadMe.

    Returns
    -------
    readme
        With title, authors, abstract, summaries and columns.

    Raises
    ------
    SourceError
        The file is not there.
    """
    return readme.read_readme(path)


def guess_options(options: Mapping[str, object], context: SourceContext) -> dict[str, object]:
    """Guess `fields` from the columns that are blank in all of the first lines (up to 64 MiB), and `comment`.

    Raises
    ------
    SourceError
        No file, tabs, or no blank column: nothing tells where to cut.
    """
    source = FixedTextSource(Options.model_validate({**options, "fields": {"line": 1}}), context)
    file = source.files[0]
    text = source._open_text(file)  # noqa: SLF001  (the same module)
    head = text.peek_head()
    if "comment" not in options and text.peek_head().startswith(b"#"):
        text.close()
        return {"comment": "#", **guess_options({**options, "comment": "#"}, context)}
    single = codecs.lookup(source.options.encoding).name != "utf-8"
    filled = np.zeros(0, bool)
    scanned_bytes = 0
    try:
        for block in text.read_blocks():
            if b"\t" in block.data:
                raise SourceError(
                    f"{file.name} has tabs: its columns are not at fixed bytes", remedy="read it with --kind csv"
                )
            filled = _mark_filled_places(block.data, filled, by_characters=single)
            scanned_bytes += len(block.data)
            if scanned_bytes > 64 << 20:
                break
    finally:
        text.close()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], filled, [False]]).astype(np.int8)))
    if len(edges) < 4:
        raise SourceError(
            f"no column of {file.name} is blank in all lines",
            remedy="say where its columns are: `fields: {name: 1-9, mag: 11-16}`, bytes counted from 1",
        )
    ranges = [(first, last) for first, last in edges.reshape(-1, 2).tolist()]
    return _name_fields(
        head if len(source.files) == 1 else b"", ranges, source.options
    )  # another file may have no header


def _name_fields(first_bytes: bytes, ranges: Sequence[tuple[int, int]], options: Options) -> dict[str, object]:
    """Name the fields, by the header if there is one, with the units below it.

    What stands above the data is skipped.
    """
    lines = enumerate(first_bytes.decode(errors="replace").splitlines()[:400], 1)
    mark = options.comment
    rows = [
        row
        for row in lines
        if row[1].strip() and not (mark and row[1].startswith(mark)) and not RULE_LINE_PATTERN.fullmatch(row[1])
    ]
    cells = [[line[first:last].strip() for first, last in ranges] for _, line in rows]
    names = [f"column_{number}" for number in range(1, len(ranges) + 1)]
    units: Sequence[str] = ()
    header_line_count = 0
    if cells and len(set(cells[0])) == len(names) and all(cells[0]) and is_header_record(cells[0], cells[1:]):
        names = cells[0]
        header_line_count = 1
        if len(cells) > 2 and is_unit_record(cells[1], cells[2:]):
            units = cells[1]
            header_line_count = 2
    units_by_name = parse_units(names, units)
    fields = {
        name: {"bytes": f"{first + 1}-{last}", "unit": units_by_name[name]}
        if units_by_name.get(name)
        else f"{first + 1}-{last}"
        for name, (first, last) in zip(names, ranges, strict=True)
    }
    return {
        "fields": fields,
        **(
            {"skip": options.skip + rows[header_line_count][0] - 1}
            if header_line_count and len(rows) > header_line_count
            else {}
        ),
    }


def _mark_filled_places(data: bytes, marked_places: np.ndarray, *, by_characters: bool) -> np.ndarray:
    """Mark the places within lines where any line has a sign."""
    data = data.replace(b"\r\n", b"\n")
    wide = by_characters and not data.isascii()
    if wide:
        signs = np.frombuffer(data.decode(errors="replace").encode("utf-32-le"), "<u4")
    else:
        signs = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(signs == 10)
    places = np.flatnonzero((signs != 10) & (signs != 32))
    line = np.searchsorted(ends, places)
    starts = np.concatenate([[0], ends + 1])
    columns = places - starts[line]
    is_filled = np.zeros(max(len(marked_places), int(columns.max(initial=-1)) + 1), bool)
    is_filled[: len(marked_places)] = marked_places
    is_filled[columns] = True
    return is_filled


class FixedTextSource(TextFileSource):
    """The rows of one or more files of fixed-width text."""

    def __init__(self, options: Options, context: SourceContext) -> None:
        super().__init__(options, context)
        self.options = options
        self._type_doubts: dict[str, tuple[str, str]] = {}
        self._record_count = 0

    def list_type_doubts(self) -> dict[str, tuple[str, str]]:
        """List columns guessed to be text that may be meant otherwise: a message and a remedy by name."""
        return self._type_doubts

    def list_columns(self) -> list[Column]:
        """List the columns as the ReadMe or the descriptor has them; other types are guessed."""
        return [
            item.column.copy_with(type=item.column.type if item.column.type.arrow == kind else type_from_arrow(kind))
            for item, kind in self._fields_and_types.values()
        ]

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
        return (self._read_readme_fields() if self.options.readme is not None else self._read_declared_fields())[1]

    @cached_property
    def _fields_and_types(self) -> dict[str, tuple[readme.ByteField, pa.DataType]]:
        if self.options.readme is not None:
            fields, declared_types = self._read_readme_fields()
        else:
            fields, declared_types = self._read_declared_fields()
        cells: dict[str, list[str]] = {}
        if len(declared_types) < len(fields):
            text = self._open_text(self.files[0])
            block = next(text.read_blocks(), None)
            text.close()
            if block:
                lines = [line for line in block.data.decode(errors="replace").split("\n")[:4000] if line.strip()]
            else:
                lines = []
            for line in lines:
                for item in fields:
                    cells.setdefault(item.column.name, []).append(line[item.start : item.end])
        fields_by_name = {}
        for item in fields:
            name = item.column.name
            kind = declared_types.get(name) or guess_type(
                pa.array(cells.get(name, []), pa.string()), null_words=self._list_null_words(item)
            )
            target_type = self.context.target_types.get(name)
            if target_type is not None and (
                pa.types.is_string(target_type)
                or (
                    (pa.types.is_integer(target_type) or pa.types.is_floating(target_type))
                    and kind != pa.timestamp("us")
                )
            ):
                kind = target_type
            if kind == pa.string() and name not in declared_types and name in cells:
                places = [f"row {number:,}" for number in range(1, len(cells[name]) + 1)]
                null_words = self._list_null_words(item)
                doubt = explain_doubt(
                    name,
                    cells[name],
                    places,
                    null_words=null_words,
                    type_hint="`type: {kind}` of the field",
                )
                self._type_doubts |= {} if doubt is None else {name: doubt}
            fields_by_name[name] = (item, kind)
        return fields_by_name

    def _list_null_words(self, byte_field: readme.ByteField) -> tuple[str, ...]:
        null_words = list_null_words(self.options.null, byte_field.column.name)
        return (*null_words, *readme.list_null_words(byte_field))

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows, and compare their number with what the ReadMe says."""
        self._record_count = 0
        yield from super().read_batches(column_names, row_limit)
        if row_limit is None and self.options.readme is not None:
            self._check_record_count(self.options.readme)

    def _check_record_count(self, path: str) -> None:
        name = self.options.table or self.files[0].path.name
        stated_count = readme.find_record_count(readme.read_readme(self.context.directory / path), name)
        if stated_count is not None and stated_count != self._record_count:
            message = (
                f"{PurePath(path).name} says that {name} has {stated_count:,} records, but {self._record_count:,} "
                f"were read"
            )
            remedy = "get the file anew if it is cut off; else read all of its parts (`files:` may be a pattern)"
            self.context.report_deviation(Deviation(kind=DeviationKind.DROPPED_ROW, message=message, remedy=remedy))

    def _report_parsed(self, parsed_block: ParsedBlock, first_row: int, file: DataFile) -> None:
        self._record_count += parsed_block.total_count
        super()._report_parsed(parsed_block, first_row, file)

    def _read_readme_fields(self) -> tuple[list[readme.ByteField], dict[str, pa.DataType]]:
        path = self.context.directory / (self.options.readme or "")
        name = self.options.table or self.files[0].path.name
        fields = readme.find_table_fields(readme.read_readme(path), name, path.name)
        return fields, {item.column.name: item.column.type.arrow for item in fields}

    def _read_declared_fields(self) -> tuple[list[readme.ByteField], dict[str, pa.DataType]]:
        fields: list[readme.ByteField] = []
        declared_types: dict[str, pa.DataType] = {}
        for name, item in self.options.fields.items():
            first, _, last = (part.strip() for part in item.bytes.partition("-"))
            start = int(first) - 1
            end = int(last or first)
            if start < 0 or end <= start:
                raise SourceError(
                    f"fields: {name}: bytes {item.bytes!r} end before they begin",
                    remedy="first and last byte, counted from 1: `16-27`",
                )
            column = Column(name=name, unit=item.unit, description=item.description)
            if item.type is not None:
                try:
                    column = column.copy_with(type=parse_type(item.type))
                except ValueError as error:
                    raise SourceError(
                        f"fields: {name}: {error}", remedy="float64, int32, string, timestamp ..."
                    ) from error
                declared_types[name] = column.type.arrow
            fields.append(readme.ByteField(start=start, end=end, null=None, column=column))
        return fields, declared_types

    def _open_text(self, file: DataFile) -> TextFile:
        text = TextFile(file, encoding=self.options.encoding, quote=None, comment=self.options.comment)
        head = text.read_checked_head()
        at = 0
        for _ in range(self.options.skip):
            at = head.find(b"\n", at) + 1 or len(head)
        text.skip_bytes(at)
        return text

    def _open_at_first_record(self, file: DataFile, file_column_names: Sequence[str]) -> tuple[TextFile, RecordLayout]:
        names = list(file_column_names) or self._list_column_names()[:1]
        items = [self._fields_and_types[name][0] for name in names]
        text = self._open_text(file)
        single = codecs.lookup(self.options.encoding).name != "utf-8"
        column_types = {name: self._fields_and_types[name][1] for name in names}
        null_words = {
            **self.options.null,
            **{name: self._list_null_words(item) for name, item in zip(names, items, strict=True) if item.null},
        }
        transform = build_splitter([(item.start, item.end) for item in items], by_characters=single)
        shape = RecordLayout(
            names=names,
            column_types=column_types,
            delimiter=UNIT_SEPARATOR,
            quote=None,
            null_words=null_words,
            transform=transform,
        )
        return text, shape
