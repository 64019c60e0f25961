"""Read the rows of product files with the readers of media: descriptions of files, images and variables.

The rows of the tables in such files are read, too.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from hven.formats.media import ArrayPart, TablePart, list_product_file_formats, open_product
from hven.model import DeviationKind, ReadDeviation
from hven.model.errors import SourceError, TextPlace
from hven.model.table import Column
from hven.model.types import build_type_from_arrow
from hven.sources.api.cells import list_null_words, replace_null_markers
from hven.sources.api.file_rows import FileByFileSource
from hven.sources.api.header_rows import FOOTPRINT_COLUMN, FileHeader, FileHeaderSource
from hven.sources.api.rows import build_source_batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hven.formats.media import DataSetMetadata, HeaderCard, OpenProductFile
    from hven.model.table import TimeSeriesMetadata
    from hven.sources import SourceContext
    from hven.sources.api.file_rows import FileOptions
    from hven.sources.api.header_rows import HeaderSourceOptions
    from hven.sources.api.rows import DataFile


class _ProductVariable(NamedTuple):
    """A variable; for media without variables, a part."""

    name: str
    type: str
    sizes: tuple[int, ...]
    cards: tuple[HeaderCard, ...]


MAX_VALUE_CHARACTERS = 4000
_COMMENTARY_KEYWORDS = {"", "COMMENT", "HISTORY"}


def _build_text_column(name: str, ucd: str | None, description: str) -> Column:
    kind = build_type_from_arrow(pa.string())
    return Column(name=name, type=kind, ucd=ucd, description=description)


def _build_number_column(name: str, ucd: str | None, description: str, arrow_type: pa.DataType | None = None) -> Column:
    kind = build_type_from_arrow(arrow_type or pa.int64())
    return Column(name=name, type=kind, ucd=ucd, description=description)


class _ProductMetadataSource(FileHeaderSource):
    """Rows from what the readers of media describe.

    Parameters
    ----------
    part
        Number or name of the part to read; None: all parts.
    """

    mode = ""

    def __init__(
        self,
        options: HeaderSourceOptions,
        context: SourceContext,
        files: Sequence[DataFile] | None,
        part: str | None,
        *,
        longitudes: str | None,
    ) -> None:
        super().__init__(options, context, files, structure=frozenset(_COMMENTARY_KEYWORDS), longitudes=longitudes)
        self.part = part

    def build_cache_key(self) -> str:
        """Name the mode and the part."""
        return f"product {self.mode} {self.part or ''}".strip()

    def read_header(self, file: DataFile) -> FileHeader:
        """Open a file, and read its rows."""
        comments: dict[str, str] = {}
        with open_product(file.product_path, file.name.rpartition("/")[2], includes_rasters=True) as product:
            return FileHeader([*self._read_rows_of_product(product, comments)], comments)

    def _read_rows_of_product(self, product: OpenProductFile, comments: dict[str, str]) -> Iterator[dict[str, Any]]:
        raise NotImplementedError

    def _select_parts(self, product: OpenProductFile) -> Sequence[ArrayPart | TablePart]:
        if self.part is None:
            return product.parts
        return [product.find_part(self.part)]


class ProductHeaderSource(_ProductMetadataSource):
    """One row for each file: its header, its label, its global attributes."""

    mode = "header"

    def read_header(self, file: DataFile) -> FileHeader:
        """Read the cards of a file as a whole."""
        comments: dict[str, str] = {}
        name = file.name.rpartition("/")[2]
        with open_product(file.product_path, name, reads_only_cards=True, includes_rasters=True) as product:
            card_values = _collect_card_values(product.cards, comments, product.medium)
            return FileHeader([card_values], comments)


class ProductImageSource(_ProductMetadataSource):
    """One row for each image and cube, with its sizes, its header, and what it covers."""

    mode = "images"

    def list_fixed_columns(self) -> Sequence[Column]:
        """List the columns that each image has."""
        role_description = "What it contains: data, or the error, flag or coverage of other data"
        return (
            _build_number_column("part", "meta.number", "Number of the image in its file, from 0", pa.int32()),
            _build_text_column("name", "meta.id", "Name of the image in its file"),
            _build_text_column("role", "meta.code", role_description),
            _build_text_column("axes", "meta.id", "Names of its axes, the slowest first"),
            _build_number_column("width", "meta.number", "Pixels of the fastest axis, samples"),
            _build_number_column("height", "meta.number", "Pixels of the next axis, lines"),
            _build_number_column("planes", "meta.number", "Number of images of this size: bands, moments"),
            _build_text_column("type", "meta.code", "Type of its values"),
            _build_text_column("unit", "meta.unit", "Unit of its values"),
        )

    def _read_rows_of_product(self, product: OpenProductFile, comments: dict[str, str]) -> Iterator[dict[str, Any]]:
        for part in self._select_parts(product):
            if not isinstance(part, ArrayPart) or part.source_part_index is not None or len(part.shape) < 2:
                continue
            axis_names = " ".join(axis.name or "-" for axis in part.axes)
            image_values: dict[str, Any] = {
                "part": part.index,
                "name": part.name or None,
                "role": part.role,
                "axes": axis_names,
                "width": part.shape[-1],
                "height": part.shape[-2],
                "planes": math.prod(part.shape[:-2]),
                "type": part.dtype.name,
                "unit": part.unit,
            }
            header = _collect_card_values(part.cards, comments, product.medium)
            image_values[FOOTPRINT_COLUMN] = {}
            if part.create_sky_mapping is not None:
                # a header that another program put beside smaller pixels describes the larger ones
                sizes = {f"NAXIS{number}": size for number, size in enumerate(reversed(part.shape), 1)}
                image_values[FOOTPRINT_COLUMN] = sizes | _select_short_values(header)
            card_values = _collect_card_values(product.cards, comments, product.medium)
            yield card_values | header | image_values


class ProductVariableSource(_ProductMetadataSource):
    """One row for each variable, with its attributes; of media without variables, for each part."""

    mode = "variables"

    def list_fixed_columns(self) -> Sequence[Column]:
        """List the columns that each variable has."""
        return (
            _build_text_column("name", "meta.id", "Name of the variable"),
            _build_text_column("type", "meta.code", "Type of its values"),
            _build_text_column("sizes", "meta.number", "Sizes of its dimensions, the slowest first: 1440x3"),
        )

    def _read_rows_of_product(self, product: OpenProductFile, comments: dict[str, str]) -> Iterator[dict[str, Any]]:
        for variable in _describe_variables(product):
            sizes = "x".join(map(str, variable.sizes))
            variable_values = {"name": variable.name, "type": variable.type, "sizes": sizes or None}
            yield _collect_card_values(variable.cards, comments, product.medium) | variable_values


class ProductAttributeSource(_ProductMetadataSource):
    """One row for each card, keyword or attribute, so that all headers are one table to search."""

    mode = "cards"

    def list_fixed_columns(self) -> Sequence[Column]:
        """List the columns, which are the same for all files."""
        name_description = "The image, table or variable to which it belongs; none: the file"
        return (
            _build_text_column("name", "meta.id", name_description),
            _build_number_column("card", "meta.number", "Its number there, from 1", pa.int32()),
            _build_text_column("keyword", "meta.id", "Keyword, or name of the attribute"),
            _build_text_column("value", "meta.note", "Its value"),
            _build_number_column("number", None, "Its value, if it is a number", pa.float64()),
            _build_text_column("comment", "meta.note", "Comment of the card; unit of labels"),
        )

    @property
    def _columns(self) -> dict[str, Column]:
        return {column.name: column for column in self.list_fixed_columns()}

    def _read_rows_of_product(
        self,
        product: OpenProductFile,
        comments: dict[str, str],  # noqa: ARG002  (the base class's signature)
    ) -> Iterator[dict[str, Any]]:
        if self.part is None:
            variables = _describe_variables(product)
            yield from self._read_cards("", product.cards)
        else:
            variables = _describe_arrays_and_tables(self._select_parts(product))
        for variable in variables:
            # the first HDU of a FITS file has the cards of the file
            is_repeated = self.part is None and variable.name and variable.cards == product.cards
            if not is_repeated:
                yield from self._read_cards(variable.name, variable.cards)

    def _read_cards(self, name: str, cards: Iterable[HeaderCard]) -> Iterator[dict[str, Any]]:
        for place, (keyword, value, comment) in enumerate(cards, 1):
            if not keyword or (self.cards is not None and keyword not in self.cards):
                continue
            number = None
            if isinstance(value, int | float) and not isinstance(value, bool):
                number = float(value)
            yield {
                "name": name or None,
                "card": place,
                "keyword": keyword,
                "value": _format_value(value),
                "number": number,
                "comment": comment or None,
            }


class ProductTableSource(FileByFileSource):
    """The rows of a table in each file.

    Parameters
    ----------
    part
        Number or name of the table; None: the first table.
    nulls
        Words for a missing value, by column.
    """

    def __init__(
        self, options: FileOptions, part: str | None, context: SourceContext, nulls: Mapping[str, Sequence[str]]
    ) -> None:
        super().__init__(options, context)
        self._part = part
        self._nulls = nulls
        self._column_list: list[Column] | None = None

    def list_columns(self) -> list[Column]:
        """List the columns of the table in the first file."""
        if self._column_list is None:
            with self._open_product(self.files[0]) as product:
                table = self._find_table(product, self.files[0])
                self._column_list = list(table.columns)
                self._report_unread_content(product, table)
        return self._column_list

    def describe_samples(self) -> TimeSeriesMetadata | None:
        """Return how the first file describes its samples in time; None: its rows are no samples."""
        with self._open_product(self.files[0]) as product:
            table = self._find_table(product, self.files[0])
            if table.collect_time_series_metadata is None:
                return None
            return table.collect_time_series_metadata()

    @cached_property
    def _data_set(self) -> DataSetMetadata:
        """What the first file says of its data set."""
        with self._open_product(self.files[0]) as product:
            return product.describe_data_set()

    def read_title_and_description(self) -> tuple[str | None, str | None]:
        """Return title and description of the data set."""
        return self._data_set.title, self._data_set.description

    def list_credits(self) -> dict[str, str]:
        """Return the makers of the data, and the wanted acknowledgement."""
        return dict(self._data_set.credits)

    def read_dataset_name(self) -> str | None:
        """Return the name under which archives know these data."""
        return self._data_set.name

    def _report_unread_content(self, product: OpenProductFile, table: TablePart) -> None:
        """Report what is not read of the first file; other tables only where the descriptor chooses none."""
        file = self.files[0].name
        for deviation in product.deviations:
            self.context.report_deviation(deviation)
        if self._part is not None:
            return
        for other in product.parts:
            if isinstance(other, TablePart) and other is not table:
                deviation = ReadDeviation(
                    kind=DeviationKind.OTHER_TABLE,
                    column=other.name or str(other.index),
                    file=file,
                    message=f"the file has another table (rows: {other.row_count:,}); Hven does not read it",
                    remedy=f"write `part: {other.index}` to read it instead",
                )
                self.context.report_deviation(deviation)

    def _list_column_names(self) -> list[str]:
        return [column.name for column in self.list_columns()]

    @staticmethod
    def _open_product(file: DataFile) -> OpenProductFile:
        return open_product(file.path, file.name.rpartition("/")[2])

    def _find_table(self, product: OpenProductFile, file: DataFile) -> TablePart:
        tables = [table for table in product.parts if isinstance(table, TablePart)]
        selected: ArrayPart | TablePart | None = next(iter(tables), None)
        complaint = "there is no table in the file"
        if self._part is not None:
            selected = product.find_part(self._part)
            complaint = f"part {self._part} is not a table"
        if isinstance(selected, TablePart):
            return selected
        tables_text = ", ".join(f"{table.index} {table.name}".strip() for table in tables)
        remedy = "write `mode: header` to read one row per file, or `mode: images` to read one row per image"
        if tables_text:
            remedy = f"choose one of its tables: {tables_text}"
        raise SourceError(complaint, place=TextPlace(file=file.name), remedy=remedy)

    def _read_rows(
        self, file: DataFile, column_names: Sequence[str], file_column_names: Sequence[str], row_limit: int | None
    ) -> Iterator[pa.RecordBatch]:
        kinds = {column.name: column.type.arrow for column in self.list_columns()}
        before = file.path.stat()
        with self._open_product(file) as product:
            table = self._find_table(product, file)
            self._check_same_columns(table, file, file_column_names)
            narrow = table
            if table.select_columns is not None and file_column_names:
                narrow = table.select_columns(file_column_names)
            first = 1
            step = max(1, self.context.batch_row_limit)
            row_count = table.row_count
            if row_limit is not None:
                row_count = min(row_limit, row_count)
            for batch in narrow.read_batches(0, row_count):
                for at in range(0, batch.num_rows, step):
                    part = batch.slice(at, step)
                    arrays: dict[str, pa.Array] = {}
                    for name in file_column_names:
                        values = part.column(name).cast(kinds[name])
                        arrays[name] = replace_null_markers(values, list_null_words(self._nulls, name))
                    yield build_source_batch(column_names, arrays, part.num_rows, first, file)
                    first += part.num_rows
        now = file.path.stat()
        if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise file.build_change_error()
        file.compute_sha256()
        file.bytes_read = now.st_size

    def _check_same_columns(self, table: TablePart, file: DataFile, file_column_names: Sequence[str]) -> None:
        """Check that the table of a file has the columns of the first file."""
        first_types = {column.name: column.type.arrow for column in self.list_columns()}
        types = {column.name: column.type.arrow for column in table.columns}
        first_name = self.first_file_name
        for name in file_column_names:
            difference = ""
            if name not in types:
                difference = f"the file has no column {name!r}, unlike {first_name}"
            elif types[name] != first_types[name]:
                difference = f"the type of column {name!r} is different from that in {first_name}"
            if difference:
                raise SourceError(
                    difference,
                    place=TextPlace(file=file.name),
                    remedy="add the file to `ignore`",
                )
        self._check_same_units(file, table.columns, file_column_names)


def list_product_tables(file: DataFile) -> tuple[list[tuple[int, str, int]], int | None]:
    """List number, name and rows of each table, and the number of the table that is clearly meant.

    That is the only part of a file, the only table that the file declares, or the first one of samples in time.
    """
    with open_product(file.product_path, file.name.rpartition("/")[2], includes_rasters=True) as product:
        tables = [table for table in product.parts if isinstance(table, TablePart)]
        declared = [table for table in tables if table.is_declared]
        clear_choice = next((table for table in tables if _has_time_samples(table)), None)
        if len(tables) == 1 and not product.arrays:
            clear_choice = tables[0]
        elif len(declared) == 1:
            clear_choice = declared[0]
        clear_number = None
        if clear_choice is not None:
            clear_number = clear_choice.index
        return [(table.index, table.name, table.row_count) for table in tables], clear_number


def _has_time_samples(table: TablePart) -> bool:
    return table.collect_time_series_metadata is not None and table.collect_time_series_metadata() is not None


def _describe_arrays_and_tables(parts: Iterable[ArrayPart | TablePart]) -> Iterator[_ProductVariable]:
    for part in parts:
        name = part.name or str(part.index)
        if isinstance(part, ArrayPart):
            yield _ProductVariable(name, part.dtype.name, part.shape, part.cards)
        else:
            yield _ProductVariable(name, "table", (part.row_count,), part.cards)


def _describe_variables(product: OpenProductFile) -> Iterator[_ProductVariable]:
    if product.list_variables is None:
        yield from _describe_arrays_and_tables(product.parts)
        return
    for variable in product.list_variables():
        yield _ProductVariable(variable.name, variable.type, variable.sizes, variable.cards)


def _select_short_values(card_values: Mapping[str, Any]) -> dict[str, Any]:
    """Select the values that fit a card of FITS."""
    return {key: value for key, value in card_values.items() if not isinstance(value, str) or len(value) < 80}


def _collect_card_values(cards: Iterable[HeaderCard], comments: dict[str, str], medium: str) -> dict[str, Any]:
    """Collect the first value of each keyword."""
    product_format = list_product_file_formats().get(medium)
    has_units = product_format is not None and product_format.has_units_as_comments
    values_by_keyword: dict[str, Any] = {}
    for keyword, value, comment in cards:
        if keyword in _COMMENTARY_KEYWORDS or values_by_keyword.get(keyword) is not None:
            continue
        values_by_keyword[keyword] = value
        if isinstance(value, str):
            values_by_keyword[keyword] = value[:MAX_VALUE_CHARACTERS]
        if comment and has_units:
            comments.setdefault(keyword, f"[{comment}]")
        elif comment:
            comments.setdefault(keyword, comment)
    return values_by_keyword


def _format_value(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return {True: "T", False: "F"}[value]
    return str(value)[:MAX_VALUE_CHARACTERS]
