"""Rows of product files, by the readers of media: what is said of files, images and variables; the rows of tables in them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from hven.formats.media import Array, Rows, open_product
from hven.model import Deviation, DeviationKind
from hven.model.errors import Place, SourceError
from hven.model.table import Column
from hven.model.types import from_arrow
from hven.sources._reading.cells import emptied
from hven.sources._reading.filerows import FileRows
from hven.sources._reading.files import assemble
from hven.sources._reading.headrows import FOOTPRINT, HeadRows
from hven.sources._reading.keptheads import Heads
from hven.sources._reading.rows import words_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hven.formats.media import Card, Product
    from hven.model.table import SampleFacts
    from hven.sources import Context
    from hven.sources._reading.files import DataFile, FileOptions
    from hven.sources._reading.headrows import HeadOptions


class _Said(NamedTuple):
    """A variable, or a part of media that have none."""

    name: str
    type: str
    sizes: tuple[int, ...]
    cards: tuple[Card, ...]


LABELS = {"pds3", "pds4", "isis", "vicar"}  # whose cards have a unit where others have a comment
LONGEST = 4000  # characters of a value
_NOTES = {"", "COMMENT", "HISTORY"}


def _text(name: str, ucd: str | None, description: str) -> Column:
    return Column(name=name, type=from_arrow(pa.string()), ucd=ucd, description=description)


def _number(name: str, ucd: str | None, description: str, kind: pa.DataType | None = None) -> Column:
    return Column(name=name, type=from_arrow(kind or pa.int64()), ucd=ucd, description=description)


class _ProductRows(HeadRows):
    """Rows of what the readers of media say.

    Parameters
    ----------
    part
        By number or name; None: all.
    """

    mode = ""

    def __init__(
        self, options: HeadOptions, context: Context, files: Sequence[DataFile] | None, part: str | None, *, stonyhurst: bool, west: bool
    ) -> None:  # fmt: skip
        super().__init__(options, context, files, structure=frozenset(_NOTES), stonyhurst=stonyhurst, west=west)
        self.part = part

    def way(self) -> str:
        """Name the mode and the part."""
        return f"product {self.mode} {self.part or ''}".strip()

    def heads(self, file: DataFile) -> Heads:
        """Open a file, and read what is said in it."""
        comments: dict[str, str] = {}
        with open_product(file.place, file.name.rpartition("/")[2], rasters=True) as product:
            return Heads([*self._said(product, comments)], comments)

    def _said(self, product: Product, comments: dict[str, str]) -> Iterator[dict[str, Any]]:
        raise NotImplementedError

    def _chosen(self, product: Product) -> Sequence[Array | Rows]:
        return product.parts if self.part is None else [product.part(self.part)]


class HeaderRows(_ProductRows):
    """One row for each file: its header, its label, its global attributes."""

    mode = "header"

    def heads(self, file: DataFile) -> Heads:
        """Read what is said of a file as a whole."""
        comments: dict[str, str] = {}
        with open_product(file.place, file.name.rpartition("/")[2], head=True, rasters=True) as product:
            return Heads([_values(product.cards, comments, product.medium)], comments)


class ImageRows(_ProductRows):
    """One row for each image and cube, with its sizes, its header, and what it covers."""

    mode = "images"

    def fixed(self) -> Sequence[Column]:
        """List what is known of each image."""
        return (
            _number("part", "meta.number", "Number of the image in its file, from 0", pa.int32()),
            _text("name", "meta.id", "Name of the image in its file"),
            _text("role", "meta.code", "What it holds: data, or error, flag, coverage of the data beside it"),
            _text("axes", "meta.id", "Names of its axes, the slowest first"),
            _number("width", "meta.number", "Pixels of the fastest axis, samples"),
            _number("height", "meta.number", "Pixels of the next axis, lines"),
            _number("planes", "meta.number", "Images of this size: bands, moments"),
            _text("type", "meta.code", "Type of its values"),
            _text("unit", "meta.unit", "Unit of its values"),
        )

    def _said(self, product: Product, comments: dict[str, str]) -> Iterator[dict[str, Any]]:
        for one in self._chosen(product):
            if not isinstance(one, Array) or one.cells is not None or len(one.shape) < 2:
                continue
            planes = 1
            for size in one.shape[:-2]:
                planes *= size
            said: dict[str, Any] = {
                "part": one.index, "name": one.name or None, "role": one.role, "axes": " ".join(axis.name or "-" for axis in one.axes),
                "width": one.shape[-1], "height": one.shape[-2], "planes": planes, "type": one.dtype.name, "unit": one.unit,
            }  # fmt: skip
            header = _values(one.cards, comments, product.medium)
            if one.places is not None:
                world = {key: value for key, value in header.items() if not isinstance(value, str) or len(value) < 80}
                # a header that another program put beside smaller pixels is of the larger ones
                world = {f"NAXIS{at}": size for at, size in enumerate(reversed(one.shape), 1)} | world
                said[FOOTPRINT] = world
            else:
                said[FOOTPRINT] = {}
            yield _values(product.cards, comments, product.medium) | header | said


class VariableRows(_ProductRows):
    """One row for each variable, with its attributes; of media without variables, for each part."""

    mode = "variables"

    def fixed(self) -> Sequence[Column]:
        """List what is known of each variable."""
        return (
            _text("name", "meta.id", "Name of the variable"),
            _text("type", "meta.code", "Type of its values"),
            _text("sizes", "meta.number", "Sizes of its dimensions, the slowest first: 1440x3"),
        )

    def _said(self, product: Product, comments: dict[str, str]) -> Iterator[dict[str, Any]]:
        for one in _variables(product):
            said = {"name": one.name, "type": one.type, "sizes": "x".join(map(str, one.sizes)) or None}
            yield _values(one.cards, comments, product.medium) | said


class AttributeRows(_ProductRows):
    """One row for each card, keyword or attribute, so that all headers are one table to search."""

    mode = "cards"

    def fixed(self) -> Sequence[Column]:
        """List the columns, which are the same for all files."""
        return (
            _text("name", "meta.id", "Of which image, table or variable it is said; none: of the file"),
            _number("card", "meta.number", "Its place there, from 1", pa.int32()),
            _text("keyword", "meta.id", "Keyword, or name of the attribute"),
            _text("value", "meta.note", "Its value"),
            _number("number", None, "Its value, if it is a number", pa.float64()),
            _text("comment", "meta.note", "Comment of the card; unit of labels"),
        )

    @property
    def _columns(self) -> dict[str, Column]:
        return {column.name: column for column in self.fixed()}

    def _said(self, product: Product, comments: dict[str, str]) -> Iterator[dict[str, Any]]:  # noqa: ARG002
        whole = [("", product.cards)] if self.part is None else []
        parts = [(one.name, one.cards) for one in (_variables(product) if self.part is None else _parts(self._chosen(product)))]  # fmt: skip
        for name, cards in (*whole, *parts):
            if name and cards == product.cards and whole:  # of a FITS file the first HDU's
                continue
            for place, (keyword, value, comment) in enumerate(cards, 1):
                if keyword and (self.cards is None or keyword in self.cards):
                    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
                    yield {"name": name or None, "card": place, "keyword": keyword, "value": _spelled(value), "number": number, "comment": comment or None}  # fmt: skip


class TableRows(FileRows):
    """The rows of a table in each file.

    Parameters
    ----------
    part
        By number or name; None: the first table.
    nulls
        Words for no value, by column.
    """

    def __init__(self, options: FileOptions, part: str | None, context: Context, nulls: Mapping[str, Sequence[str]]) -> None:  # fmt: skip
        super().__init__(options, context)
        self._part, self._nulls = part, nulls
        self._known: list[Column] | None = None
        self._said: dict[str, str] | None = None

    def columns(self) -> list[Column]:
        """List the columns of the table in the first file."""
        if self._known is None:
            with self._product(self.files[0]) as product:
                table = self._table(product, self.files[0])
                self._known = list(table.columns)
                self._report(product, table)
        return self._known

    def samples(self) -> SampleFacts | None:
        """Return what the first file says of its samples in time; None: its rows are none."""
        with self._product(self.files[0]) as product:
            table = self._table(product, self.files[0])
            return None if table.samples is None else table.samples()

    def _cards(self) -> dict[str, str]:
        """Read what the first file says of itself; of ISTP's attributes that have several entries the whole text."""
        if self._said is None:
            with self._product(self.files[0]) as product:
                self._said = {
                    card.keyword.upper(): " ".join(str(card.value or "").split()) for card in reversed(product.cards)
                }
        return self._said

    def about(self) -> tuple[str | None, str | None]:
        """Return title and description by the global attributes of ISTP."""
        said = self._cards()
        if "LOGICAL_SOURCE" not in said:
            return None, None
        return said.get("LOGICAL_SOURCE_DESCRIPTION") or said.get("TITLE") or None, said.get("TEXT") or None

    def credits(self) -> dict[str, str]:
        """Return who made the data, and what is asked of their users, by the global attributes of ISTP."""
        said = self._cards()
        if "LOGICAL_SOURCE" not in said:
            return {}
        people = re.sub(r"\s*\([^()]*@[^()]*\)", "", said.get("PI_NAME", ""))
        found = {"creators": people, "acknowledgement": said.get("ACKNOWLEDGEMENT", "")}
        return {key: text for key, text in found.items() if text}

    def dataset(self) -> str | None:
        """Return the name under which archives know these data (Logical_source)."""
        return self._cards().get("LOGICAL_SOURCE") or None

    def _report(self, product: Product, table: Rows) -> None:
        """Report what is not read of the first file; other tables only where nobody chose one."""
        file = self.files[0].name
        for deviation in product.deviations:
            self.context.report(deviation)
        for other in product.parts if self._part is None else ():
            if isinstance(other, Rows) and other is not table:
                self.context.report(
                    Deviation(
                        kind=DeviationKind.OTHER_TABLE,
                        column=other.name or str(other.index),
                        file=file,
                        message=f"this table of {other.count:,} rows is not read",
                        remedy=f"say part: {other.index} to read it",
                    )
                )

    def _names(self) -> list[str]:
        return [column.name for column in self.columns()]

    @staticmethod
    def _product(file: DataFile) -> Product:
        return open_product(file.path, file.name.rpartition("/")[2])

    def _table(self, product: Product, file: DataFile) -> Rows:
        found = [one for one in product.parts if isinstance(one, Rows)]
        chosen = next(iter(found), None) if self._part is None else product.part(self._part)
        if isinstance(chosen, Rows):
            return chosen
        there = ", ".join(f"{one.index} {one.name}".strip() for one in found)
        raise SourceError(
            f"part {self._part} is no table" if chosen is not None else "no table in it",
            place=Place(file=file.name),
            remedy=f"its tables are {there}" if there else "`mode: header` makes a row per file, `mode: images` one per image",
        )  # fmt: skip

    def _rows(self, file: DataFile, names: Sequence[str], real: Sequence[str], limit: int | None) -> Iterator[pa.RecordBatch]:  # fmt: skip
        kinds = {column.name: column.type.arrow for column in self.columns()}
        before = file.path.stat()
        with self._product(file) as product:
            table = self._table(product, file)
            there = {column.name: column for column in table.columns}
            for name in real:
                if name not in there or there[name].type.arrow != kinds[name]:
                    has = "no column" if name not in there else "another type of column"
                    raise SourceError(f"{has} {name!r} than in {self.files[0].name}", place=Place(file=file.name), remedy="`ignore:` it")  # fmt: skip
            self._same_units(file, table.columns, real)
            narrow = table.narrow(real) if table.narrow is not None and real else table
            first, step = 1, max(1, self.context.batch)
            for batch in narrow.batches(0, table.count if limit is None else min(limit, table.count)):
                for at in range(0, batch.num_rows, step):
                    part = batch.slice(at, step)
                    arrays = {name: emptied(part.column(name).cast(kinds[name]), words_of(self._nulls, name)) for name in real}  # fmt: skip
                    yield assemble(names, arrays, part.num_rows, first, file)
                    first += part.num_rows
        now = file.path.stat()
        if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise SourceError("was changed while it was read", place=Place(file=file.name), remedy="ingest again when it is whole")  # fmt: skip
        file.hash_whole()
        file.done = now.st_size


def tables_of(file: DataFile) -> tuple[list[tuple[int, str, int]], int | None]:
    """List number, name and rows of each table, and the number of the one that is meant: there is nothing else, it is the only one that the file declares, or the first one of samples in time."""
    with open_product(file.path, file.name.rpartition("/")[2], rasters=True) as product:
        found = [one for one in product.parts if isinstance(one, Rows)]
        declared = [one for one in found if one.declared]
        series = [one for one in found if one.samples is not None and one.samples() is not None]
        sure = found if len(found) == 1 and not product.arrays else declared if len(declared) == 1 else []
        sure = sure or series[:1]
        return [(one.index, one.name, one.count) for one in found], sure[0].index if sure else None


def _parts(parts: Iterable[Array | Rows]) -> Iterator[_Said]:
    for one in parts:
        sizes = one.shape if isinstance(one, Array) else (one.count,)
        kind = one.dtype.name if isinstance(one, Array) else "table"
        yield _Said(one.name or str(one.index), kind, sizes, one.cards)


def _variables(product: Product) -> Iterable[_Said]:
    if product.variables is None:
        return _parts(product.parts)
    return (_Said(one.name, one.type, one.sizes, one.cards) for one in product.variables())


def _values(cards: Iterable[Card], comments: dict[str, str], medium: str) -> dict[str, Any]:
    """Take the first value of each keyword."""
    found: dict[str, Any] = {}
    for keyword, value, comment in cards:
        if keyword in _NOTES or found.get(keyword) is not None:
            continue
        found[keyword] = value[:LONGEST] if isinstance(value, str) else value
        if comment:
            comments.setdefault(keyword, f"[{comment}]" if medium in LABELS else comment)
    return found


def _spelled(value: Any) -> str | None:
    return None if value is None else {True: "T", False: "F"}[value] if isinstance(value, bool) else str(value)[:LONGEST]  # fmt: skip
