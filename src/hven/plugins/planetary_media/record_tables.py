"""Read tables of records as a file stores them: fields at fixed places, in characters or bytes; and delimited ones.

They are read in blocks of rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats.media import TablePart
from hven.formats.media.api import MAX_INT64, VOTABLE_TYPES
from hven.model.errors import SourceError, format_message
from hven.model.table import Column
from hven.model.types import ColumnType
from hven.plugins.planetary_media.stored_arrays import convert_vax_reals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from hven.formats.media import HeaderCard, Place

BLOCK_BYTES = 8 << 20  # of rows that are read at once


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordField:
    """A field of a record.

    Attributes
    ----------
    name, unit, description
        Name, unit and description of its column.
    kind
        ``text``, ``integer``, ``real``, ``boolean``, ``time`` for characters; else a numpy type (``>f4``), or ``vax``.
    offset
        Byte of the record at which the field begins, from 0; in delimited tables the number of the field.
    size
        Bytes of an item.
    item_count
        Number of items, one after the other.
    step_bytes
        Bytes from one item to the next; 0: the size of an item.
    nulls
        Values that stand for null.
    factor, zero
        Scale and offset of stored numbers.
    """

    name: str
    kind: str
    offset: int
    size: int
    item_count: int = 1
    step_bytes: int = 0
    unit: str | None = None
    description: str | None = None
    nulls: tuple[Any, ...] = ()
    factor: float = 1.0
    zero: float = 0.0

    @property
    def column(self) -> Column:
        """The field as a column."""
        words = {
            "text": "char",
            "integer": "long",
            "real": "double",
            "boolean": "boolean",
            "time": "char",
            "vax": "float",
        }
        if (self.factor, self.zero) != (1.0, 0.0):
            kind = "double"
        elif self.kind in words:
            kind = words[self.kind]
        else:
            kind = VOTABLE_TYPES[np.dtype(self.kind).str[1:]]
        size = None
        if self.item_count > 1:
            size = str(self.item_count)
        if kind == "char":
            size = f"{self.size}x{self.item_count}" if self.item_count > 1 else "*"
        return Column(name=self.name, type=ColumnType(kind, size), unit=self.unit, description=self.description)


def create_fixed_record_table(
    path: Place,
    fields: Sequence[RecordField],
    *,
    index: int,
    name: str,
    offset: int,
    record_bytes: int,
    record_count: int,
    cards: tuple[HeaderCard, ...] = (),
) -> TablePart:
    """Create a table of records of one length.

    Parameters
    ----------
    path
        Path of the file.
    fields
        Fields of a record.
    index, name, cards
        As in `TablePart`.
    offset
        Bytes before the first record.
    record_bytes
        Bytes of a record.
    record_count
        Number of records.

    Returns
    -------
    rows
        Table that is read in blocks.

    Raises
    ------
    SourceError
        The file is shorter, or a field ends behind its record.
    """
    if not fields or record_bytes < 1 or record_count < 0 or offset < 0:
        raise SourceError(format_message("the table {name} lacks columns or rows", name))
    end = offset + record_bytes * record_count
    file_bytes = path.stat().st_size
    missing_bytes = end - file_bytes
    if 0 < missing_bytes <= 2 and record_count:  # without the last end of line
        if max(field.offset + field.size for field in fields) > record_bytes - missing_bytes:
            record_count = record_count - 1
    elif missing_bytes > 0:
        message = format_message(
            "{name} is {there} bytes long, but its label states a size of {end} bytes", path.name, file_bytes, end
        )
        raise SourceError(
            message, remedy=format_message("download the file again, or use the label that belongs to the file")
        )
    for field in fields:
        step_bytes = field.step_bytes or field.size
        last = field.offset + (field.item_count - 1) * step_bytes + field.size
        if field.offset < 0 or field.size < 1 or field.item_count < 1 or last > record_bytes:
            raise SourceError(
                format_message("the field {field} of {name} extends beyond the end of its record", field.name, name)
            )
    columns = _make_names_distinct([field.column for field in fields])
    schema = pa.schema([column.arrow_field for column in columns])

    def read_batches(start: int, row_limit: int) -> Iterator[pa.RecordBatch]:
        step = max(1, BLOCK_BYTES // record_bytes)
        for first in range(start, min(record_count, start + row_limit), step):
            rows = min(record_count, start + row_limit, first + step) - first
            begin = offset + first * record_bytes
            with path.open("rb") as file:
                file.seek(begin)
                block = np.frombuffer(file.read(rows * record_bytes), np.uint8)
            if len(block) < rows * record_bytes - 2:
                raise SourceError(format_message("{name} is truncated: it ends before its last value", path.name))
            padded_block = np.pad(block, (0, rows * record_bytes - len(block)))
            records = padded_block.reshape(rows, record_bytes)
            arrays = []
            for field, kind in zip(fields, schema.types, strict=True):
                values = _read_field_values(records, field)
                arrays.append(values.cast(kind))
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    return TablePart(
        index=index, name=name, columns=tuple(columns), row_count=record_count, read_batches=read_batches, cards=cards
    )


def _make_names_distinct(columns: Sequence[Column]) -> list[Column]:
    """Append a number to the names of columns that occur before; case does not matter."""
    name_counts: dict[str, int] = {}
    distinct_columns = []
    for column in columns:
        key = column.name.lower()
        number = name_counts.get(key, 0) + 1
        name_counts[key] = number
        if number > 1:
            column = column.copy_with(name=f"{column.name}_{number}")  # noqa: PLW2901  (the same column, renamed)
        distinct_columns.append(column)
    return distinct_columns


def _read_field_values(block: npt.NDArray[np.uint8], field: RecordField) -> pa.Array:
    rows = len(block)
    step = field.step_bytes or field.size
    cell_shape = (rows, field.item_count, field.size)
    cell_strides = (block.strides[0], step, 1)
    cells = np.lib.stride_tricks.as_strided(block[:, field.offset :], cell_shape, cell_strides)
    cells = np.ascontiguousarray(cells)
    if field.kind in {"text", "integer", "real", "boolean", "time"}:
        texts = _decode_texts(cells.view(f"S{field.size}").ravel())
        flat = parse_field_texts(texts, field)
    else:
        flat = _decode_binary_numbers(cells, field)
    if field.item_count == 1:
        return flat
    inner = field.column.arrow_field.type.value_type
    if field.kind == "text":
        ends = pa.array(np.arange(rows + 1, dtype=np.int32) * field.item_count)
        return pa.ListArray.from_arrays(ends, flat.cast(inner))
    return pa.FixedSizeListArray.from_arrays(flat.cast(inner), field.item_count)


def _decode_binary_numbers(cells: npt.NDArray[np.uint8], field: RecordField) -> pa.Array:
    """Convert the bytes of numbers to values, with nulls and scale applied."""
    kind = np.dtype("<u4" if field.kind == "vax" else field.kind)
    values = cells.view(kind).ravel()
    if field.kind == "vax":
        values = convert_vax_reals(values.view(np.float32))
    else:
        values = values.astype(kind.newbyteorder("="))
    missing = None
    if field.nulls:
        null_numbers = [null for null in field.nulls if isinstance(null, int | float)]
        missing = np.isin(values, np.array(null_numbers, np.float64))
    if (field.factor, field.zero) != (1.0, 0.0):
        values = values * field.factor + field.zero
    flat = pa.array(values, mask=missing, from_pandas=True)
    if pa.types.is_uint64(flat.type) and (pc.max(flat).as_py() or 0) > MAX_INT64:
        raise SourceError(
            format_message(
                "a value of {column} does not match the label: {reason}", field.name, "it does not fit in int64"
            )
        )
    return flat


def _decode_texts(cells: npt.NDArray[np.bytes_]) -> pa.Array:
    try:
        return pa.array(cells, pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array(np.char.decode(cells, "latin-1"), pa.string())


def parse_field_texts(texts: pa.Array, field: RecordField) -> pa.Array:
    """Parse values that are written in characters.

    Parameters
    ----------
    texts
        Texts as the file has them.
    field
        Field that they belong to.

    Returns
    -------
    values
        Values; null for empty texts and for those that stand for null.

    Raises
    ------
    SourceError
        A text is not what the label says.
    """
    texts = pc.utf8_trim(texts, " \t\0\r\n")
    if field.kind in {"text", "time"}:
        texts = pc.utf8_trim(texts, '"')
    is_empty = pc.equal(pc.utf8_length(texts), 0)
    null_text = pa.scalar(None, pa.string())
    texts = pc.if_else(is_empty, null_text, texts)
    if field.nulls:
        null_texts = [str(null).strip() for null in field.nulls]
        texts = pc.if_else(pc.is_in(texts, pa.array(null_texts)), null_text, texts)
    if field.kind in {"text", "time"}:
        return texts
    if field.kind == "boolean":
        is_true = pc.is_in(pc.utf8_lower(texts), pa.array(["true", "1", "t"]))
        return is_true.cast(pa.bool_())
    try:
        return _parse_numbers(pc.replace_substring_regex(texts, r"^\+", ""), field)
    except pa.ArrowInvalid as fault:
        reason = str(fault)[:120]
        raise SourceError(
            format_message("a value of {column} does not match the label: {reason}", field.name, reason)
        ) from None


def _parse_numbers(texts: pa.Array, field: RecordField) -> pa.Array:
    """Parse integers or reals, with nulls and scale applied."""
    null_numbers = [null for null in field.nulls if isinstance(null, int | float)]
    if field.kind == "real" or (field.factor, field.zero) != (1.0, 0.0):
        values = pc.replace_substring_regex(texts, r"[dD]", "e").cast(pa.float64())
        if field.nulls:  # compared as numbers, for -99.0 and -99.00 are equal
            null_values = pa.array([float(null) for null in null_numbers], pa.float64())
            values = pc.if_else(pc.is_in(values, null_values), pa.scalar(None, pa.float64()), values)
        if (field.factor, field.zero) == (1.0, 0.0):
            return values
        return pc.add(pc.multiply(values, field.factor), field.zero)
    values = pc.cast(texts, pa.int64())
    if null_numbers:
        null_values = pa.array([int(null) for null in null_numbers], pa.int64())
        values = pc.if_else(pc.is_in(values, null_values), pa.scalar(None, pa.int64()), values)
    return values


def create_delimited_table(
    path: Place,
    fields: Sequence[RecordField],
    *,
    index: int,
    name: str,
    offset: int,
    size: int,
    line_count: int,
    delimiter: str,
    cards: tuple[HeaderCard, ...] = (),
) -> TablePart:
    """Create a table of lines with fields between delimiters.

    Parameters
    ----------
    path
        Path of the file.
    fields
        Fields, in their order.
    index, name, cards
        As in `TablePart`.
    offset
        Bytes before the first line.
    size
        Bytes of all lines; 0: to the end of the file.
    line_count
        Number of lines.
    delimiter
        Character between fields.

    Returns
    -------
    rows
        Table that is read in blocks.

    Raises
    ------
    SourceError
        The table has no fields.
    """
    if not fields or math.prod(field.item_count for field in fields) != 1 or offset < 0:
        raise SourceError(format_message("the table {name} lacks columns or rows", name))
    columns = _make_names_distinct([field.column for field in fields])
    schema = pa.schema([column.arrow_field for column in columns])

    def read_batches(start: int, row_limit: int) -> Iterator[pa.RecordBatch]:
        from pyarrow import csv  # noqa: PLC0415  (few requests need it)

        names = [str(number) for number in range(len(fields))]
        with path.open("rb") as file:
            file.seek(offset)
            max_bytes = BLOCK_BYTES * 32
            body = pa.py_buffer(file.read(min(size or max_bytes, max_bytes)))
        row = 0
        try:
            column_types = dict.fromkeys(names, pa.string())
            options = csv.ConvertOptions(column_types=column_types, strings_can_be_null=False)
            with csv.open_csv(
                pa.BufferReader(body),
                csv.ReadOptions(column_names=names, encoding="latin-1"),
                csv.ParseOptions(delimiter=delimiter),
                options,
            ) as lines:
                for batch in lines:
                    piece_rows = min(line_count, start + row_limit) - max(start, row)
                    piece = batch.slice(max(0, start - row), max(0, piece_rows))
                    row += batch.num_rows
                    if piece.num_rows:
                        arrays = []
                        for number, field in enumerate(fields):
                            values = parse_field_texts(piece.column(number), field)
                            arrays.append(values.cast(schema.types[number]))
                        yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        except pa.ArrowInvalid as fault:
            raise SourceError(
                format_message("the table {name} cannot be read: {reason}", name, str(fault)[:160])
            ) from None

    return TablePart(
        index=index,
        name=name,
        columns=tuple(columns),
        row_count=line_count,
        read_batches=partial(read_batches),
        cards=cards,
    )
