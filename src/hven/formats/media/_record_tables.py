"""Tables of records as they lie in a file: fields at fixed places, in characters or bytes; and delimited ones.

Read by blocks of rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats.media._product import TablePart
from hven.formats.media._stored_arrays import convert_vax_reals
from hven.model import Deviation, DeviationKind
from hven.model.errors import SourceError, format_message
from hven.model.table import Column
from hven.model.types import Type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from hven.formats.media._product import HeaderCard
    from hven.formats.media._remote_files import Place

MAX_INT64 = np.uint64(2**63 - 1)
UINT64_DIGITS = 20
BLOCK_BYTES = 8 << 20  # bytes of rows that are read at a time
VOTABLE_TYPES = {
    "i1": "short",
    "u1": "unsignedByte",
    "i2": "short",
    "u2": "int",
    "i4": "int",
    "u4": "long",
    "i8": "long",
    "u8": "long",
    "f4": "float",
    "f8": "double",
}


def has_values_beyond_int64(
    read_records: Callable[[int, int], npt.NDArray[np.uint64]], count: int, step: int = 1 << 20
) -> bool:
    """Return whether unsigned 64-bit integers of a file are larger than an int64 can be.

    A column of such is decimal text.

    Parameters
    ----------
    read_records
        Reads records from one to before another; what is missing is 0.
    count
        Records.
    step
        Records that are read at a time.
    """
    return any(bool((read_records(at, min(count, at + step)) > MAX_INT64).any()) for at in range(0, count, step))


def describe_text_deviation(column: str, file: str) -> Deviation:
    """Describe a column of unsigned 64-bit integers that is read as decimal text.

    Parameters
    ----------
    column, file
        Names.
    """
    message = "whole numbers do not fit int64: the column is read as decimal text"
    return Deviation(kind=DeviationKind.WHOLE_NUMBER, column=column, file=file, message=message)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordField:
    """A field of a record.

    Attributes
    ----------
    name, unit, description
        For its column.
    kind
        ``text``, ``integer``, ``real``, ``boolean``, ``time``: characters; else numpy's type (``>f4``, ``vax``).
    offset
        Byte of the record at which it begins, from 0; of delimited tables its place among the fields.
    size
        Bytes of an item.
    item_count
        How many of them follow each other.
    step_bytes
        Bytes from one item to the next; 0: as many as an item has.
    nulls
        Values that stand for none.
    factor, zero
        Of numbers as they are stored.
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
        """What it is as a column."""
        scaled = (self.factor, self.zero) != (1.0, 0.0)
        words = {
            "text": "char",
            "integer": "long",
            "real": "double",
            "boolean": "boolean",
            "time": "char",
            "vax": "float",
        }
        if scaled:
            kind = "double"
        else:
            kind = words.get(self.kind) or VOTABLE_TYPES[np.dtype(self.kind).str[1:]]
        if kind == "char":
            size = "*"
        elif self.item_count > 1:
            size = str(self.item_count)
        else:
            size = None
        if kind == "char" and self.item_count > 1:
            size = f"{self.size}x{self.item_count}"
        return Column(name=self.name, type=Type(kind, size), unit=self.unit, description=self.description)


def create_fixed_table(
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
    """Make a table of records of one length.

    Parameters
    ----------
    path
        Of a file.
    fields
        Of a record.
    index, name, cards
        As of `TablePart`.
    offset
        Bytes before the first record.
    record_bytes
        Bytes of each.
    record_count
        How many there are.

    Returns
    -------
    rows
        Read by blocks.

    Raises
    ------
    SourceError
        The file is shorter, or a field ends behind its record.
    """
    if not fields or record_bytes < 1 or record_count < 0 or offset < 0:
        raise SourceError(format_message("the table {name} has no columns, or no rows", name))
    end = offset + record_bytes * record_count
    file_bytes = path.stat().st_size
    if end > file_bytes and end - file_bytes <= 2 and record_count:  # without the last end of line
        if max((field.offset + field.size for field in fields)) > record_bytes - (end - file_bytes):
            record_count = record_count - 1
    elif end > file_bytes:
        raise SourceError(
            format_message("{name} has {there} bytes, and its label promises {end}", path.name, file_bytes, end),
            remedy=format_message("it was cut off, or the label is another file's"),
        )
    for field in fields:
        last = field.offset + (field.item_count - 1) * (field.step_bytes or field.size) + field.size
        if field.offset < 0 or field.size < 1 or field.item_count < 1 or last > record_bytes:
            raise SourceError(format_message("the field {field} of {name} ends behind its record", field.name, name))
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
                raise SourceError(format_message("{name} ends where its values should be", path.name))
            block = np.pad(block, (0, rows * record_bytes - len(block))).reshape(rows, record_bytes)
            arrays = [
                _read_field_values(block, field).cast(kind) for field, kind in zip(fields, schema.types, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    return TablePart(
        index=index, name=name, columns=tuple(columns), row_count=record_count, read_batches=read_batches, cards=cards
    )


def _make_names_distinct(columns: Sequence[Column]) -> list[Column]:
    """Give columns of one name others."""
    name_counts: dict[str, int] = {}
    distinct_columns = []
    for column in columns:
        number = name_counts[column.name.lower()] = name_counts.get(column.name.lower(), 0) + 1
        distinct_columns.append(column if number == 1 else column.copy_with(name=f"{column.name}_{number}"))
    return distinct_columns


def _read_field_values(block: npt.NDArray[np.uint8], field: RecordField) -> pa.Array:
    rows = len(block)
    step = field.step_bytes or field.size
    cells = np.lib.stride_tricks.as_strided(
        block[:, field.offset :], (rows, field.item_count, field.size), (block.strides[0], step, 1)
    )
    cells = np.ascontiguousarray(cells)
    if field.kind in {"text", "integer", "real", "boolean", "time"}:
        flat = parse_texts(_decode_texts(cells.view(f"S{field.size}").ravel()), field)
    else:
        kind = np.dtype("<u4" if field.kind == "vax" else field.kind)
        values = cells.view(kind).ravel()
        if field.kind == "vax":
            values = convert_vax_reals(values.view(np.float32))
        else:
            values = values.astype(kind.newbyteorder("="))
        if field.nulls:
            missing = np.isin(
                values, np.array([null for null in field.nulls if isinstance(null, int | float)], np.float64)
            )
        else:
            missing = None
        if (field.factor, field.zero) != (1.0, 0.0):
            values = values * field.factor + field.zero
        flat = pa.array(values, mask=missing, from_pandas=True)
        if pa.types.is_uint64(flat.type) and (pc.max(flat).as_py() or 0) > MAX_INT64:
            raise SourceError(
                format_message(
                    "a value of {column} is not what the label says: {reason}", field.name, "it does not fit int64"
                )
            )
    if field.item_count == 1:
        return flat
    inner = field.column.arrow_field.type.value_type
    if field.kind == "text":
        ends = pa.array(np.arange(rows + 1, dtype=np.int32) * field.item_count)
        return pa.ListArray.from_arrays(ends, flat.cast(inner))
    return pa.FixedSizeListArray.from_arrays(flat.cast(inner), field.item_count)


def _decode_texts(cells: npt.NDArray[np.bytes_]) -> pa.Array:
    try:
        return pa.array(cells, pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array(np.char.decode(cells, "latin-1"), pa.string())


def parse_texts(texts: pa.Array, field: RecordField) -> pa.Array:
    """Read values that are written in characters.

    Parameters
    ----------
    texts
        As they stand.
    field
        What they are.

    Returns
    -------
    values
        Nulls where nothing stands, or what stands for nothing.

    Raises
    ------
    SourceError
        One is not what the label says.
    """
    texts = pc.utf8_trim(texts, " \t\0\r\n")
    if field.kind in {"text", "time"}:
        texts = pc.utf8_trim(texts, '"')
    is_empty = pc.equal(pc.utf8_length(texts), 0)
    texts = pc.if_else(is_empty, pa.scalar(None, pa.string()), texts)
    if field.nulls:
        null_texts = [str(null).strip() for null in field.nulls]
        texts = pc.if_else(pc.is_in(texts, pa.array(null_texts)), pa.scalar(None, pa.string()), texts)
    if field.kind in {"text", "time"}:
        return texts
    try:
        if field.kind == "boolean":
            return pc.is_in(pc.utf8_lower(texts), pa.array(["true", "1", "t"])).cast(pa.bool_())
        texts = pc.replace_substring_regex(texts, r"^\+", "")
        if field.kind == "real" or (field.factor, field.zero) != (1.0, 0.0):
            values = pc.replace_substring_regex(texts, r"[dD]", "e").cast(pa.float64())
            if field.nulls:
                # -99.0 and -99.00 are one
                null_values = pa.array(
                    [float(null) for null in field.nulls if isinstance(null, int | float)], pa.float64()
                )
                values = pc.if_else(pc.is_in(values, null_values), pa.scalar(None, pa.float64()), values)
            if (field.factor, field.zero) == (1.0, 0.0):
                return values
            return pc.add(pc.multiply(values, field.factor), field.zero)
        values = pc.cast(texts, pa.int64())
        null_values = pa.array([int(null) for null in field.nulls if isinstance(null, int | float)], pa.int64())
        if len(null_values):
            return pc.if_else(pc.is_in(values, null_values), pa.scalar(None, pa.int64()), values)
        return values
    except pa.ArrowInvalid as fault:
        raise SourceError(
            format_message("a value of {column} is not what the label says: {reason}", field.name, str(fault)[:120])
        ) from None


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
    """Make a table of lines with fields between marks.

    Parameters
    ----------
    path
        Of a file.
    fields
        In their order.
    index, name, cards
        As of `TablePart`.
    offset
        Bytes before the first line.
    size
        Bytes of all lines; 0: to the end of the file.
    line_count
        Lines.
    delimiter
        Between fields.

    Returns
    -------
    rows
        Read by blocks.

    Raises
    ------
    SourceError
        It has no fields.
    """
    if not fields or math.prod(field.item_count for field in fields) != 1 or offset < 0:
        raise SourceError(format_message("the table {name} has no columns, or no rows", name))
    columns = _make_names_distinct([field.column for field in fields])
    schema = pa.schema([column.arrow_field for column in columns])

    def read_batches(start: int, row_limit: int) -> Iterator[pa.RecordBatch]:
        from pyarrow import csv  # noqa: PLC0415  (asked by few)

        names = [str(number) for number in range(len(fields))]
        with path.open("rb") as file:
            file.seek(offset)
            body = pa.py_buffer(file.read(min(size or BLOCK_BYTES * 32, BLOCK_BYTES * 32)))
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
                    piece = batch.slice(
                        max(0, start - row), max(0, min(line_count, start + row_limit) - max(start, row))
                    )
                    row += batch.num_rows
                    if piece.num_rows:
                        arrays = [
                            parse_texts(piece.column(number), field).cast(schema.types[number])
                            for number, field in enumerate(fields)
                        ]
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


__all__ = [
    "UINT64_DIGITS",
    "RecordField",
    "create_delimited_table",
    "create_fixed_table",
    "describe_text_deviation",
    "has_values_beyond_int64",
    "parse_texts",
]
