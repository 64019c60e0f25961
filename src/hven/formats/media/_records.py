"""Tables of records as they lie in a file: fields at fixed places, in characters or bytes; and delimited ones. Read by blocks of rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.formats.media._grids import vax
from hven.formats.media._product import Rows
from hven.model import Deviation, DeviationKind
from hven.model.errors import SourceError, say
from hven.model.table import Column
from hven.model.types import Type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from hven.formats.media._distant import Place
    from hven.formats.media._product import Card

MAX_INT64 = np.uint64(2**63 - 1)
UINT64_DIGITS = 20
BLOCK = 8 << 20  # bytes of rows that are read at a time
NAMES = {"i1": "short", "u1": "unsignedByte", "i2": "short", "u2": "int", "i4": "int", "u4": "long", "i8": "long", "u8": "long", "f4": "float", "f8": "double"}  # fmt: skip


def exceed_int64(read: Callable[[int, int], npt.NDArray[np.uint64]], count: int, step: int = 1 << 20) -> bool:
    """Return whether unsigned 64-bit integers of a file are larger than an int64 can be; a column of such is decimal text.

    Parameters
    ----------
    read
        Reads records from one to before another; what is missing is 0.
    count
        Records.
    step
        Records that are read at a time.
    """
    return any(bool((read(at, min(count, at + step)) > MAX_INT64).any()) for at in range(0, count, step))


def text_deviation(column: str, file: str) -> Deviation:
    """Describe a column of unsigned 64-bit integers that is read as decimal text.

    Parameters
    ----------
    column, file
        Names.
    """
    message = "whole numbers do not fit int64: the column is read as decimal text"
    return Deviation(kind=DeviationKind.WHOLE_NUMBER, column=column, file=file, message=message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field of a record.

    Attributes
    ----------
    name, unit, description
        For its column.
    kind
        ``text``, ``integer``, ``real``, ``boolean``, ``time``: characters; else numpy's type (``>f4``, ``vax``).
    at
        Byte of the record at which it begins, from 0; of delimited tables its place among the fields.
    size
        Bytes of an item.
    items
        How many of them follow each other.
    step
        Bytes from one item to the next; 0: as many as an item has.
    nulls
        Values that stand for none.
    factor, zero
        Of numbers as they are stored.
    """

    name: str
    kind: str
    at: int
    size: int
    items: int = 1
    step: int = 0
    unit: str | None = None
    description: str | None = None
    nulls: tuple[Any, ...] = ()
    factor: float = 1.0
    zero: float = 0.0

    @property
    def column(self) -> Column:
        """What it is as a column."""
        scaled = (self.factor, self.zero) != (1.0, 0.0)
        words = {"text": "char", "integer": "long", "real": "double", "boolean": "boolean", "time": "char", "vax": "float"}  # fmt: skip
        kind = "double" if scaled else words.get(self.kind) or NAMES[np.dtype(self.kind).str[1:]]
        size = "*" if kind == "char" else str(self.items) if self.items > 1 else None
        if kind == "char" and self.items > 1:
            size = f"{self.size}x{self.items}"
        return Column(name=self.name, type=Type(kind, size), unit=self.unit, description=self.description)


def fixed(
    path: Place, fields: Sequence[Field], *, index: int, name: str, offset: int, record: int, count: int, cards: tuple[Card, ...] = ()
) -> Rows:  # fmt: skip
    """Make a table of records of one length.

    Parameters
    ----------
    path
        Of a file.
    fields
        Of a record.
    index, name, cards
        As of `Rows`.
    offset
        Bytes before the first record.
    record
        Bytes of each.
    count
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
    if not fields or record < 1 or count < 0 or offset < 0:
        raise SourceError(say("the table {name} has no columns, or no rows", name))
    end, there = offset + record * count, path.stat().st_size
    if end > there and end - there <= 2 and count:  # without the last end of line
        count = count if max(one.at + one.size for one in fields) <= record - (end - there) else count - 1
    elif end > there:
        raise SourceError(
            say("{name} has {there} bytes, and its label promises {end}", path.name, there, end),
            remedy=say("it was cut off, or the label is another file's"),
        )
    for one in fields:
        last = one.at + (one.items - 1) * (one.step or one.size) + one.size
        if one.at < 0 or one.size < 1 or one.items < 1 or last > record:
            raise SourceError(say("the field {field} of {name} ends behind its record", one.name, name))
    made = _distinct([one.column for one in fields])
    schema = pa.schema([column.arrow for column in made])

    def batches(start: int, most: int) -> Iterator[pa.RecordBatch]:
        step = max(1, BLOCK // record)
        for first in range(start, min(count, start + most), step):
            rows = min(count, start + most, first + step) - first
            begin = offset + first * record
            with path.open("rb") as file:
                file.seek(begin)
                block = np.frombuffer(file.read(rows * record), np.uint8)
            if len(block) < rows * record - 2:
                raise SourceError(say("{name} ends where its values should be", path.name))
            block = np.pad(block, (0, rows * record - len(block))).reshape(rows, record)
            arrays = [_values(block, one).cast(kind) for one, kind in zip(fields, schema.types, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    return Rows(index=index, name=name, columns=tuple(made), count=count, batches=batches, cards=cards)


def _distinct(columns: Sequence[Column]) -> list[Column]:
    """Give columns of one name others."""
    seen: dict[str, int] = {}
    made = []
    for column in columns:
        number = seen[column.name.lower()] = seen.get(column.name.lower(), 0) + 1
        made.append(column if number == 1 else column.having(name=f"{column.name}_{number}"))
    return made


def _values(block: npt.NDArray[np.uint8], field: Field) -> pa.Array:
    rows, step = len(block), field.step or field.size
    cells = np.lib.stride_tricks.as_strided(block[:, field.at :], (rows, field.items, field.size), (block.strides[0], step, 1))  # fmt: skip
    cells = np.ascontiguousarray(cells)
    if field.kind in {"text", "integer", "real", "boolean", "time"}:
        flat = spelled(_texts(cells.view(f"S{field.size}").ravel()), field)
    else:
        kind = np.dtype("<u4" if field.kind == "vax" else field.kind)
        values = cells.view(kind).ravel()
        values = vax(values.view(np.float32)) if field.kind == "vax" else values.astype(kind.newbyteorder("="))
        missing = np.isin(values, np.array([null for null in field.nulls if isinstance(null, int | float)], np.float64)) if field.nulls else None  # fmt: skip
        if (field.factor, field.zero) != (1.0, 0.0):
            values = values * field.factor + field.zero
        flat = pa.array(values, mask=missing, from_pandas=True)
        if pa.types.is_uint64(flat.type) and (pc.max(flat).as_py() or 0) > MAX_INT64:
            raise SourceError(
                say("a value of {column} is not what the label says: {reason}", field.name, "it does not fit int64")
            )
    if field.items == 1:
        return flat
    inner = field.column.arrow.type.value_type
    if field.kind == "text":
        ends = pa.array(np.arange(rows + 1, dtype=np.int32) * field.items)
        return pa.ListArray.from_arrays(ends, flat.cast(inner))
    return pa.FixedSizeListArray.from_arrays(flat.cast(inner), field.items)


def _texts(cells: npt.NDArray[np.bytes_]) -> pa.Array:
    try:
        return pa.array(cells, pa.binary()).cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array(np.char.decode(cells, "latin-1"), pa.string())


def spelled(texts: pa.Array, field: Field) -> pa.Array:
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
    empty = pc.equal(pc.utf8_length(texts), 0)
    texts = pc.if_else(empty, pa.scalar(None, pa.string()), texts)
    if field.nulls:
        spelt = [str(null).strip() for null in field.nulls]
        texts = pc.if_else(pc.is_in(texts, pa.array(spelt)), pa.scalar(None, pa.string()), texts)
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
                known = pa.array([float(null) for null in field.nulls if isinstance(null, int | float)], pa.float64())
                values = pc.if_else(pc.is_in(values, known), pa.scalar(None, pa.float64()), values)
            return values if (field.factor, field.zero) == (1.0, 0.0) else pc.add(pc.multiply(values, field.factor), field.zero)  # fmt: skip
        values = pc.cast(texts, pa.int64())
        known = pa.array([int(null) for null in field.nulls if isinstance(null, int | float)], pa.int64())
        return pc.if_else(pc.is_in(values, known), pa.scalar(None, pa.int64()), values) if len(known) else values
    except pa.ArrowInvalid as fault:
        raise SourceError(
            say("a value of {column} is not what the label says: {reason}", field.name, str(fault)[:120])
        ) from None


def delimited(
    path: Place, fields: Sequence[Field], *, index: int, name: str, offset: int, size: int, count: int, mark: str, cards: tuple[Card, ...] = ()
) -> Rows:  # fmt: skip
    """Make a table of lines with fields between marks.

    Parameters
    ----------
    path
        Of a file.
    fields
        In their order.
    index, name, cards
        As of `Rows`.
    offset
        Bytes before the first line.
    size
        Bytes of all lines; 0: to the end of the file.
    count
        Lines.
    mark
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
    if not fields or math.prod(one.items for one in fields) != 1 or offset < 0:
        raise SourceError(say("the table {name} has no columns, or no rows", name))
    made = _distinct([one.column for one in fields])
    schema = pa.schema([column.arrow for column in made])

    def batches(start: int, most: int) -> Iterator[pa.RecordBatch]:
        from pyarrow import csv  # noqa: PLC0415  (asked by few)

        names = [str(number) for number in range(len(fields))]
        with path.open("rb") as file:
            file.seek(offset)
            body = pa.py_buffer(file.read(min(size or BLOCK * 32, BLOCK * 32)))
        at = 0
        try:
            options = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
            with csv.open_csv(pa.BufferReader(body), csv.ReadOptions(column_names=names, encoding="latin-1"), csv.ParseOptions(delimiter=mark), options) as lines:  # fmt: skip
                for batch in lines:
                    kept = batch.slice(max(0, start - at), max(0, min(count, start + most) - max(start, at)))
                    at += batch.num_rows
                    if kept.num_rows:
                        arrays = [spelled(kept.column(number), one).cast(schema.types[number]) for number, one in enumerate(fields)]  # fmt: skip
                        yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        except pa.ArrowInvalid as fault:
            raise SourceError(say("the table {name} cannot be read: {reason}", name, str(fault)[:160])) from None

    return Rows(index=index, name=name, columns=tuple(made), count=count, batches=partial(batches), cards=cards)


__all__ = ["UINT64_DIGITS", "Field", "delimited", "exceed_int64", "fixed", "spelled", "text_deviation"]
