"""Rows of product files, by the readers of media: what is said of files, images and variables.

The rows of tables in them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from hven.formats.media import ArrayPart, TablePart, open_product
from hven.model import Deviation, DeviationKind
from hven.model.errors import Place, SourceError
from hven.model.table import Column
from hven.model.types import type_from_arrow
from hven.sources._reading.cells import replace_null_values
from hven.sources._reading.data_files import build_source_batch
from hven.sources._reading.file_rows import FileRows
from hven.sources._reading.header_cache import FileHeader
from hven.sources._reading.header_rows import FOOTPRINT_COLUMN, HeaderSource
from hven.sources._reading.text_rows import list_null_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hven.formats.media import HeaderCard, Product
    from hven.model.table import SampleMetadata
    from hven.sources import SourceContext
    from hven.sources._reading.data_files import DataFile, FileOptions
    from hven.sources._reading.header_rows import HeaderOptions


class _VariableInfo(NamedTuple):
    """A variable, or a part of media that have none."""

    name: str
    type: str
    sizes: tuple[int, ...]
    cards: tuple[HeaderCard, ...]


LABEL_MEDIA = {"pds3", "pds4", "isis", "vicar"}  # whose cards have a unit where others have a comment
MAX_VALUE_CHARACTERS = 4000  # characters of a value
_COMMENTARY_KEYWORDS = {"", "COMMENT", "HISTORY"}


def _build_text_column(name: str, ucd: str | None, description: str) -> Column:
    return Column(name=name, type=type_from_arrow(pa.string()), ucd=ucd, description=description)


def _build_number_column(name: str, ucd: str | None, description: str, arrow_type: pa.DataType | None = None) -> Column:
    return Column(name=name, type=type_from_arrow(arrow_type or pa.int64()), ucd=ucd, description=description)


class _ProductHeaderSource(HeaderSource):
    """Rows of what the readers of media say.

    Parameters
    ----------
    part
        By number or name; None: all.
    """

    mode = ""

    def __init__(
        self,
        options: HeaderOptions,
        context: SourceContext,
        files: Sequence[DataFile] | None,
        part: str | None,
        *,
        stonyhurst: bool,
        west: bool,
    ) -> None:
        super().__init__(
            options,
            context,
            files,
            structure=frozenset(_COMMENTARY_KEYWORDS),
            stonyhurst=stonyhurst,
            west_positive=west,
        )
        self.part = part

    def find_cache_key(self) -> str:
        """Name the mode and the part."""
        return f"product {self.mode} {self.part or ''}".strip()

    def read_header(self, file: DataFile) -> FileHeader:
        """Open a file, and read what is said in it."""
        comments: dict[str, str] = {}
        with open_product(file.product_path, file.name.rpartition("/")[2], includes_rasters=True) as product:
            return FileHeader([*self._read_rows_of_product(product, comments)], comments)

    def _read_rows_of_product(self, product: Product, comments: dict[str, str]) -> Iterator[dict[str, Any]]:
        raise NotImplementedError

    def _select_parts(self, product: Product) -> Sequence[ArrayPart | TablePart]:
        if self.part is None:
            return product.parts
        return [product.find_part(self.part)]


class ProductHeaderSource(_ProductHeaderSource):
    """One row for each file: its header, its label, its global attributes."""

    mode = "header"

    def read_header(self, file: DataFile) -> FileHeader:
        """Read what is said of a file as a whole."""
        comments: dict[str, str] = {}
        with open_product(
            file.product_path, file.name.rpartition("/")[2], only_cards=True, includes_rasters=True
        ) as product:
            card_values = _collect_card_values(product.cards, comments, product.medium)
            return FileHeader([card_values], comments)


class ProductImageSource(_ProductHeaderSource):
    """One row for each image and cube, with its sizes, its header, and what it covers."""

    mode = "images"

    def list_fixed_columns(self) -> Sequence[Column]:
        """List what is known of each image."""
        number_column = _build_number_column(
            "part", "meta.number", "Number of the image in its file, from 0", pa.int32()
        )
        text_column = _build_text_column("name", "meta.id", "Name of the image in its file")
        return (
            number_column,
            text_column,
            _build_text_column(
                "role", "meta.code", "What it holds: data, or error, flag, coverage of the data beside it"
            ),
            _build_text_column("axes", "meta.id", "Names of its axes, the slowest first"),
            _build_number_column("width", "meta.number", "Pixels of the fastest axis, samples"),
            _build_number_column("height", "meta.number", "Pixels of the next axis, lines"),
            _build_number_column("planes", "meta.number", "Images of this size: bands, moments"),
            _build_text_column("type", "meta.code", "Type of its values"),
            _build_text_column("unit", "meta.unit", "Unit of its values"),
        )

    def _read_rows_of_product(self, product: Product, comments: dict[str, str]) -> Iterator[dict[str, Any]]:
        for part in self._select_parts(product):
            if not isinstance(part, ArrayPart) or part.source_part_index is not None or len(part.shape) < 2:
                continue
            planes = 1
            for size in part.shape[:-2]:
                planes *= size
            image_values: dict[str, Any] = {
                "part": part.index,
                "name": part.name or None,
                "role": part.role,
                "axes": " ".join(axis.name or "-" for axis in part.axes),
                "width": part.shape[-1],
                "height": part.shape[-2],
                "planes": planes,
                "type": part.dtype.name,
                "unit": part.unit,
            }
            header = _collect_card_values(part.cards, comments, product.medium)
            if part.create_sky_mapping is not None:
                world = {key: value for key, value in header.items() if not isinstance(value, str) or len(value) < 80}
                # a header that another program put beside smaller pixels is of the larger ones
                world = {f"NAXIS{at}": size for at, size in enumerate(reversed(part.shape), 1)} | world
                image_values[FOOTPRINT_COLUMN] = world
            else:
                image_values[FOOTPRINT_COLUMN] = {}
            card_values = _collect_card_values(product.cards, comments, product.medium)
            yield card_values | header | image_values


class ProductVariableSource(_ProductHeaderSource):
    """One row for each variable, with its attributes; of media without variables, for each part."""

    mode = "variables"

    def list_fixed_columns(self) -> Sequence[Column]:
        """List what is known of each variable."""
        text_column = _build_text_column("name", "meta.id", "Name of the variable")
        return (
            text_column,
            _build_text_column("type", "meta.code", "Type of its values"),
            _build_text_column("sizes", "meta.number", "Sizes of its dimensions, the slowest first: 1440x3"),
        )

    def _read_rows_of_product(self, product: Product, comments: dict[str, str]) -> Iterator[dict[str, Any]]:
        for variable in _describe_variables(product):
            variable_values = {
                "name": variable.name,
                "type": variable.type,
                "sizes": "x".join(map(str, variable.sizes)) or None,
            }
            yield _collect_card_values(variable.cards, comments, product.medium) | variable_values


class ProductAttributeSource(_ProductHeaderSource):
    """One row for each card, keyword or attribute, so that all headers are one table to search."""

    mode = "cards"

    def list_fixed_columns(self) -> Sequence[Column]:
        """List the columns, which are the same for all files."""
        text_column = _build_text_column(
            "name", "meta.id", "Of which image, table or variable it is said; none: of the file"
        )
        number_column = _build_number_column("card", "meta.number", "Its place there, from 1", pa.int32())
        return (
            text_column,
            number_column,
            _build_text_column("keyword", "meta.id", "Keyword, or name of the attribute"),
            _build_text_column("value", "meta.note", "Its value"),
            _build_number_column("number", None, "Its value, if it is a number", pa.float64()),
            _build_text_column("comment", "meta.note", "Comment of the card; unit of labels"),
        )

    @property
    def _columns(self) -> dict[str, Column]:
        return {column.name: column for column in self.list_fixed_columns()}

    def _read_rows_of_product(self, product: Product, comments: dict[str, str]) -> Iterator[dict[str, Any]]:  # noqa: ARG002
        if self.part is None:
            file_cards = [("", product.cards)]
        else:
            file_cards = []
        parts = [
            (part.name, part.cards)
            for part in (
                _describe_variables(product) if self.part is None else _describe_parts(self._select_parts(product))
            )
        ]
        for name, cards in (*file_cards, *parts):
            if name and cards == product.cards and file_cards:  # of a FITS file the first HDU's
                continue
            for place, (keyword, value, comment) in enumerate(cards, 1):
                if keyword and (self.cards is None or keyword in self.cards):
                    if isinstance(value, int | float) and not isinstance(value, bool):
                        number = float(value)
                    else:
                        number = None
                    yield {
                        "name": name or None,
                        "card": place,
                        "keyword": keyword,
                        "value": _format_value(value),
                        "number": number,
                        "comment": comment or None,
                    }


class ProductTableSource(FileRows):
    """The rows of a table in each file.

    Parameters
    ----------
    part
        By number or name; None: the first table.
    nulls
        Words for no value, by column.
    """

    def __init__(
        self, options: FileOptions, part: str | None, context: SourceContext, nulls: Mapping[str, Sequence[str]]
    ) -> None:
        super().__init__(options, context)
        self._part = part
        self._nulls = nulls
        self._column_list: list[Column] | None = None
        self._card_texts: dict[str, str] | None = None

    def list_columns(self) -> list[Column]:
        """List the columns of the table in the first file."""
        if self._column_list is None:
            with self._open_product(self.files[0]) as product:
                table = self._find_table(product, self.files[0])
                self._column_list = list(table.columns)
                self._report_unread(product, table)
        return self._column_list

    def describe_samples(self) -> SampleMetadata | None:
        """Return what the first file says of its samples in time; None: its rows are none."""
        with self._open_product(self.files[0]) as product:
            table = self._find_table(product, self.files[0])
            if table.collect_sample_metadata is None:
                return None
            return table.collect_sample_metadata()

    def _read_card_texts(self) -> dict[str, str]:
        """Read what the first file says of itself; of ISTP's attributes that have several entries the whole text."""
        if self._card_texts is None:
            with self._open_product(self.files[0]) as product:
                self._card_texts = {
                    card.keyword.upper(): " ".join(str(card.value or "").split()) for card in reversed(product.cards)
                }
        return self._card_texts

    def read_title_and_description(self) -> tuple[str | None, str | None]:
        """Return title and description by the global attributes of ISTP."""
        card_texts = self._read_card_texts()
        if "LOGICAL_SOURCE" not in card_texts:
            return None, None
        return card_texts.get("LOGICAL_SOURCE_DESCRIPTION") or card_texts.get("TITLE") or None, card_texts.get(
            "TEXT"
        ) or None

    def list_credits(self) -> dict[str, str]:
        """Return who made the data, and what is asked of their users, by the global attributes of ISTP."""
        card_texts = self._read_card_texts()
        if "LOGICAL_SOURCE" not in card_texts:
            return {}
        people = re.sub(r"\s*\([^()]*@[^()]*\)", "", card_texts.get("PI_NAME", ""))
        credit_texts = {"creators": people, "acknowledgement": card_texts.get("ACKNOWLEDGEMENT", "")}
        return {key: text for key, text in credit_texts.items() if text}

    def read_dataset_name(self) -> str | None:
        """Return the name under which archives know these data (Logical_source)."""
        return self._read_card_texts().get("LOGICAL_SOURCE") or None

    def _report_unread(self, product: Product, table: TablePart) -> None:
        """Report what is not read of the first file; other tables only where nobody chose one."""
        file = self.files[0].name
        for deviation in product.deviations:
            self.context.report_deviation(deviation)
        for other in product.parts if self._part is None else ():
            if isinstance(other, TablePart) and other is not table:
                column = other.name or str(other.index)
                self.context.report_deviation(
                    Deviation(
                        kind=DeviationKind.OTHER_TABLE,
                        column=column,
                        file=file,
                        message=f"this table of {other.row_count:,} rows is not read",
                        remedy=f"say part: {other.index} to read it",
                    )
                )

    def _list_column_names(self) -> list[str]:
        return [column.name for column in self.list_columns()]

    @staticmethod
    def _open_product(file: DataFile) -> Product:
        return open_product(file.path, file.name.rpartition("/")[2])

    def _find_table(self, product: Product, file: DataFile) -> TablePart:
        tables = [table for table in product.parts if isinstance(table, TablePart)]
        selected = next(iter(tables), None) if self._part is None else product.find_part(self._part)
        if isinstance(selected, TablePart):
            return selected
        tables_text = ", ".join(f"{table.index} {table.name}".strip() for table in tables)
        raise SourceError(
            f"part {self._part} is no table" if selected is not None else "no table in it",
            place=Place(file=file.name),
            remedy=f"its tables are {tables_text}"
            if tables_text
            else "`mode: header` makes a row per file, `mode: images` one per image",
        )

    def _read_rows(
        self, file: DataFile, column_names: Sequence[str], file_column_names: Sequence[str], row_limit: int | None
    ) -> Iterator[pa.RecordBatch]:
        kinds = {column.name: column.type.arrow for column in self.list_columns()}
        before = file.path.stat()
        with self._open_product(file) as product:
            table = self._find_table(product, file)
            columns_by_name = {column.name: column for column in table.columns}
            for name in file_column_names:
                if name not in columns_by_name or columns_by_name[name].type.arrow != kinds[name]:
                    has = "no column" if name not in columns_by_name else "another type of column"
                    raise SourceError(
                        f"{has} {name!r} than in {self.files[0].name}",
                        place=Place(file=file.name),
                        remedy="`ignore:` it",
                    )
            self._check_same_units(file, table.columns, file_column_names)
            if table.select_columns is not None and file_column_names:
                narrow = table.select_columns(file_column_names)
            else:
                narrow = table
            first = 1
            step = max(1, self.context.batch_row_limit)
            for batch in narrow.read_batches(
                0, table.row_count if row_limit is None else min(row_limit, table.row_count)
            ):
                for at in range(0, batch.num_rows, step):
                    part = batch.slice(at, step)
                    arrays = {
                        name: replace_null_values(
                            part.column(name).cast(kinds[name]), list_null_words(self._nulls, name)
                        )
                        for name in file_column_names
                    }
                    yield build_source_batch(column_names, arrays, part.num_rows, first, file)
                    first += part.num_rows
        now = file.path.stat()
        if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise SourceError(
                "was changed while it was read", place=Place(file=file.name), remedy="ingest again when it is whole"
            )
        file.compute_sha256()
        file.bytes_read = now.st_size


def list_tables(file: DataFile) -> tuple[list[tuple[int, str, int]], int | None]:
    """List number, name and rows of each table, and the number of the one that is meant.

    There is nothing else, it is the only one that the file declares, or the first one of samples in time.
    """
    with open_product(file.path, file.name.rpartition("/")[2], includes_rasters=True) as product:
        tables = [table for table in product.parts if isinstance(table, TablePart)]
        declared = [table for table in tables if table.is_declared]
        series = [
            table
            for table in tables
            if table.collect_sample_metadata is not None and table.collect_sample_metadata() is not None
        ]
        if len(tables) == 1 and not product.arrays:
            clear_choices = tables
        elif len(declared) == 1:
            clear_choices = declared
        else:
            clear_choices = []
        clear_choices = clear_choices or series[:1]
        return [(table.index, table.name, table.row_count) for table in tables], clear_choices[
            0
        ].index if clear_choices else None


def _describe_parts(parts: Iterable[ArrayPart | TablePart]) -> Iterator[_VariableInfo]:
    for part in parts:
        if isinstance(part, ArrayPart):
            sizes = part.shape
        else:
            sizes = (part.row_count,)
        if isinstance(part, ArrayPart):
            kind = part.dtype.name
        else:
            kind = "table"
        yield _VariableInfo(part.name or str(part.index), kind, sizes, part.cards)


def _describe_variables(product: Product) -> Iterable[_VariableInfo]:
    if product.list_variables is None:
        return _describe_parts(product.parts)
    return (
        _VariableInfo(variable.name, variable.type, variable.sizes, variable.cards)
        for variable in product.list_variables()
    )


def _collect_card_values(cards: Iterable[HeaderCard], comments: dict[str, str], medium: str) -> dict[str, Any]:
    """Take the first value of each keyword."""
    values_by_keyword: dict[str, Any] = {}
    for keyword, value, comment in cards:
        if keyword in _COMMENTARY_KEYWORDS or values_by_keyword.get(keyword) is not None:
            continue
        if isinstance(value, str):
            values_by_keyword[keyword] = value[:MAX_VALUE_CHARACTERS]
        else:
            values_by_keyword[keyword] = value
        if comment:
            comments.setdefault(keyword, f"[{comment}]" if medium in LABEL_MEDIA else comment)
    return values_by_keyword


def _format_value(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return {True: "T", False: "F"}[value]
    return str(value)[:MAX_VALUE_CHARACTERS]
