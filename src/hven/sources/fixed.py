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
from hven.model.types import from_arrow, parse_type
from hven.sources._reading import readme
from hven.sources._reading.cells import guess
from hven.sources._reading.cutter import UNIT, cutter
from hven.sources._reading.delimited import Parsed, Shape
from hven.sources._reading.dialect import DRAWN, looks_like_header, looks_like_units
from hven.sources._reading.doubts import doubt
from hven.sources._reading.files import DataFile, FileOptions
from hven.sources._reading.rows import Nulls, TextRows, words_of
from hven.sources._reading.text import TextFile
from hven.sources._reading.unit_words import units_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hven.sources import Context, Source


def _short(value: object) -> object:
    return {"bytes": str(value)} if isinstance(value, (str, int)) else value


class FieldOptions(BaseModel):
    """One column: its bytes, and what is known of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: str = Field(pattern=r"^\s*\d+\s*(-\s*\d+\s*)?$", description="First and last byte, counted from 1: `16-27`.")
    type: str | None = Field(None, description="Guessed if not given.")
    unit: str | None = None
    description: str | None = None


class Options(FileOptions):
    """What a descriptor may say of fixed-width text: `fields`, or `readme` and perhaps `table`."""

    fields: dict[str, Annotated[FieldOptions, BeforeValidator(_short)]] = Field(
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
    def _one_description(self) -> Options:
        if bool(self.fields) == (self.readme is not None):
            raise ValueError("give either `fields` or `readme`")
        return self


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open fixed-width text.

    Raises
    ------
    SourceError
        No such file or ReadMe, a table it doesn't describe, bytes in the wrong order.
    """
    return FixedText(options, context)


def catalogue(path: Path) -> readme.ReadMe:
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
    return readme.read(path)


def guessed(options: Mapping[str, object], context: Context) -> dict[str, object]:
    """Guess `fields` from the columns that are blank in all of the first lines (up to 64 MiB), and `comment`.

    Raises
    ------
    SourceError
        No file, tabs, or no blank column: nothing tells where to cut.
    """
    source = FixedText(Options.model_validate({**options, "fields": {"line": 1}}), context)
    file = source.files[0]
    text = source._opened(file)  # noqa: SLF001  (the same module)
    head = text.head()
    if "comment" not in options and text.head().startswith(b"#"):
        text.close()
        return {"comment": "#", **guessed({**options, "comment": "#"}, context)}
    single = codecs.lookup(source.options.encoding).name != "utf-8"
    filled = np.zeros(0, bool)
    seen = 0
    try:
        for block in text.blocks():
            if b"\t" in block.data:
                raise SourceError(
                    f"{file.name} has tabs: its columns are not at fixed bytes", remedy="read it with --kind csv"
                )
            filled = _filled(block.data, filled, characters=single)
            seen += len(block.data)
            if seen > 64 << 20:
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
    return _headed(head if len(source.files) == 1 else b"", ranges, source.options)  # another file may have no header


def _headed(head: bytes, ranges: Sequence[tuple[int, int]], options: Options) -> dict[str, object]:
    """Name the fields, by the header if there is one, with the units below it; what stands above the data is skipped."""
    lines = enumerate(head.decode(errors="replace").splitlines()[:400], 1)
    mark = options.comment
    rows = [
        row
        for row in lines
        if row[1].strip() and not (mark and row[1].startswith(mark)) and not DRAWN.fullmatch(row[1])
    ]
    cells = [[line[first:last].strip() for first, last in ranges] for _, line in rows]
    names = [f"column_{number}" for number in range(1, len(ranges) + 1)]
    units: Sequence[str] = ()
    above = 0
    if cells and len(set(cells[0])) == len(names) and all(cells[0]) and looks_like_header(cells[0], cells[1:]):
        names, above = cells[0], 1
        if len(cells) > 2 and looks_like_units(cells[1], cells[2:]):
            units, above = cells[1], 2
    told = units_of(names, units)
    fields = {
        name: {"bytes": f"{first + 1}-{last}", "unit": told[name]} if told.get(name) else f"{first + 1}-{last}"
        for name, (first, last) in zip(names, ranges, strict=True)
    }
    return {"fields": fields, **({"skip": options.skip + rows[above][0] - 1} if above and len(rows) > above else {})}


def _filled(data: bytes, known: np.ndarray, *, characters: bool) -> np.ndarray:
    """Mark the places within lines where any line has a sign."""
    data = data.replace(b"\r\n", b"\n")
    wide = characters and not data.isascii()
    signs = (
        np.frombuffer(data.decode(errors="replace").encode("utf-32-le"), "<u4")
        if wide
        else np.frombuffer(data, np.uint8)
    )
    ends = np.flatnonzero(signs == 10)
    places = np.flatnonzero((signs != 10) & (signs != 32))
    line = np.searchsorted(ends, places)
    starts = np.concatenate([[0], ends + 1])
    columns = places - starts[line]
    found = np.zeros(max(len(known), int(columns.max(initial=-1)) + 1), bool)
    found[: len(known)] = known
    found[columns] = True
    return found


class FixedText(TextRows):
    """The rows of one or more files of fixed-width text."""

    def __init__(self, options: Options, context: Context) -> None:
        super().__init__(options, context)
        self.options = options
        self._doubts: dict[str, tuple[str, str]] = {}
        self._records = 0

    def doubts(self) -> dict[str, tuple[str, str]]:
        """List columns guessed to be text that may be meant otherwise: a message and a remedy by name."""
        return self._doubts

    def columns(self) -> list[Column]:
        """List the columns as the ReadMe or the descriptor has them; other types are guessed."""
        return [
            item.column.having(type=item.column.type if item.column.type.arrow == kind else from_arrow(kind))
            for item, kind in self._known.values()
        ]

    def about(self) -> tuple[str | None, str | None]:
        """Read title and abstract of the ReadMe."""
        if self.options.readme is None:
            return None, None
        found = readme.read(self.context.directory / self.options.readme)
        return found.title, found.abstract

    def credits(self) -> dict[str, str]:
        """Return authors and bibcode of the ReadMe."""
        if self.options.readme is None:
            return {}
        found = readme.read(self.context.directory / self.options.readme)
        said = {"creators": "; ".join(found.authors), "bibcode": found.bibcode}
        return {key: text for key, text in said.items() if text}

    def _names(self) -> list[str]:
        return list(self._known)

    def _declared(self) -> Mapping[str, object]:
        return (self._read_me() if self.options.readme is not None else self._said())[1]

    @cached_property
    def _known(self) -> dict[str, tuple[readme.ByteField, pa.DataType]]:
        fields, said = self._read_me() if self.options.readme is not None else self._said()
        cells: dict[str, list[str]] = {}
        if len(said) < len(fields):
            text = self._opened(self.files[0])
            block = next(text.blocks(), None)
            text.close()
            lines = (
                [line for line in block.data.decode(errors="replace").split("\n")[:4000] if line.strip()]
                if block
                else []
            )
            for line in lines:
                for item in fields:
                    cells.setdefault(item.column.name, []).append(line[item.start : item.end])
        known = {}
        for item in fields:
            name = item.column.name
            kind = said.get(name) or guess(pa.array(cells.get(name, []), pa.string()), nulls=self._nulls(item))
            wanted = self.context.wanted.get(name)
            if wanted is not None and (
                pa.types.is_string(wanted)
                or ((pa.types.is_integer(wanted) or pa.types.is_floating(wanted)) and kind != pa.timestamp("us"))
            ):
                kind = wanted
            if kind == pa.string() and name not in said and name in cells:
                places = [f"row {number:,}" for number in range(1, len(cells[name]) + 1)]
                told = doubt(name, cells[name], places, nulls=self._nulls(item), typed="`type: {kind}` of the field")
                self._doubts |= {} if told is None else {name: told}
            known[name] = (item, kind)
        return known

    def _nulls(self, item: readme.ByteField) -> tuple[str, ...]:
        return (*words_of(self.options.null, item.column.name), *readme.null_words(item))

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows, and compare their number with what the ReadMe says."""
        self._records = 0
        yield from super().batches(columns, limit)
        if limit is None and self.options.readme is not None:
            self._compare_count(self.options.readme)

    def _compare_count(self, path: str) -> None:
        name = self.options.table or self.files[0].path.name
        said = readme.count_records(readme.read(self.context.directory / path), name)
        if said is not None and said != self._records:
            message = f"{PurePath(path).name} says that {name} has {said:,} records, but {self._records:,} were read"
            remedy = "get the file anew if it is cut off; else read all of its parts (`files:` may be a pattern)"
            self.context.report(Deviation(kind=DeviationKind.DROPPED_ROW, message=message, remedy=remedy))

    def _report(self, parsed: Parsed, first: int, file: DataFile) -> None:
        self._records += parsed.total
        super()._report(parsed, first, file)

    def _read_me(self) -> tuple[list[readme.ByteField], dict[str, pa.DataType]]:
        path = self.context.directory / (self.options.readme or "")
        name = self.options.table or self.files[0].path.name
        fields = readme.table(readme.read(path), name, path.name)
        return fields, {item.column.name: item.column.type.arrow for item in fields}

    def _said(self) -> tuple[list[readme.ByteField], dict[str, pa.DataType]]:
        fields: list[readme.ByteField] = []
        said: dict[str, pa.DataType] = {}
        for name, item in self.options.fields.items():
            first, _, last = (part.strip() for part in item.bytes.partition("-"))
            start, end = int(first) - 1, int(last or first)
            if start < 0 or end <= start:
                raise SourceError(
                    f"fields: {name}: bytes {item.bytes!r} end before they begin",
                    remedy="first and last byte, counted from 1: `16-27`",
                )
            column = Column(name=name, unit=item.unit, description=item.description)
            if item.type is not None:
                try:
                    column = column.having(type=parse_type(item.type))
                except ValueError as error:
                    raise SourceError(
                        f"fields: {name}: {error}", remedy="float64, int32, string, timestamp ..."
                    ) from error
                said[name] = column.type.arrow
            fields.append(readme.ByteField(start=start, end=end, null=None, column=column))
        return fields, said

    def _opened(self, file: DataFile) -> TextFile:
        text = TextFile(file, encoding=self.options.encoding, quote=None, comment=self.options.comment)
        head = text.begin()
        at = 0
        for _ in range(self.options.skip):
            at = head.find(b"\n", at) + 1 or len(head)
        text.skip(at)
        return text

    def _start(self, file: DataFile, real: Sequence[str]) -> tuple[TextFile, Shape]:
        names = list(real) or self._names()[:1]
        items = [self._known[name][0] for name in names]
        text = self._opened(file)
        single = codecs.lookup(self.options.encoding).name != "utf-8"
        shape = Shape(
            names=names,
            kinds={name: self._known[name][1] for name in names},
            delimiter=UNIT,
            quote=None,
            nulls={
                **self.options.null,
                **{name: self._nulls(item) for name, item in zip(names, items, strict=True) if item.null},
            },
            transform=cutter([(item.start, item.end) for item in items], characters=single),
        )
        return text, shape
