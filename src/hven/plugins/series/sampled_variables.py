"""Find samples in the parts of a file: in rows, in the elements of one cell, or along an axis of an array."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven.formats.media import ArrayPart, Part, TablePart
from hven.formats.media.api import VOTABLE_TYPES, format_arraysize
from hven.model.errors import SourceError, format_message
from hven.model.table import Column
from hven.model.types import ColumnType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Read = Callable[[int, int], pa.Array]

SAMPLE_TYPES = {**VOTABLE_TYPES, "u8": "double", "b1": "boolean"}


@dataclass(frozen=True, slots=True)
class SampledVariable:
    """A variable of a file: values along its times."""

    name: str
    part: Part
    column: Column
    sample_count: int
    shape: tuple[int, ...]  # of a sample
    read_samples: Read
    is_row_per_sample: bool = False  # a row of the part is a sample


def list_columns(part: Part) -> tuple[Column, ...]:
    """List the columns of a part, if it has some."""
    if isinstance(part, TablePart):
        return part.columns
    return ()


def is_part_named(part: Part, name: str) -> bool:
    """Return whether a part has this name or index."""
    is_same_name = name.casefold() == part.name.casefold()
    return is_same_name or name == str(part.index)


def create_row_variable(part: TablePart, column: Column) -> SampledVariable:
    """Sample a column of which each row is a sample."""
    shape: tuple[int, ...] = ()
    if column.type.is_array and not column.type.is_string:
        shape = tuple(length or 0 for length in reversed(column.type.shape))

    def read_samples(first: int, stop: int) -> pa.Array:
        return read_column(part, column.name, first, stop)

    return SampledVariable(column.name, part, column, part.row_count, shape, read_samples, is_row_per_sample=True)


def create_time_variable(part: TablePart, column: Column) -> SampledVariable:
    """Sample a column of times: one time in each row, or all of them in one cell."""
    cell_variable = None
    if part.row_count == 1:
        cell_variable = create_cell_variable(part, column, None)
    return cell_variable or create_row_variable(part, column)


def create_cell_variable(part: TablePart, column: Column, sample_count: int | None) -> SampledVariable | None:
    """Sample the only cell of a column, whose elements are samples along its first or its last dimension."""
    if not column.type.is_array or column.type.is_string:
        return None
    cell = read_column(part, column.name, 0, 1).flatten()
    shape: tuple[int, ...] = tuple(length or len(cell) for length in reversed(column.type.shape))
    is_transposed = sample_count is not None and shape[0] != sample_count and shape[-1] == sample_count
    if sample_count is not None and shape[0] != sample_count and not is_transposed:
        return None
    if is_transposed and len(shape) > 1:
        element_numbers = np.arange(len(cell)).reshape(shape)
        element_order = np.moveaxis(element_numbers, -1, 0)
        cell = cell.take(pa.array(element_order.ravel()))
        shape = element_order.shape
    inner = shape[1:]
    size = math.prod(inner)
    kind = ColumnType(column.type.datatype, format_arraysize(inner), column.type.xtype)

    def read_samples(first: int, stop: int) -> pa.Array:
        elements = cell.slice(first * size, (stop - first) * size)
        if inner:
            return pa.FixedSizeListArray.from_arrays(elements, size)
        return elements

    sample_column = column.copy_with(type=kind)
    return SampledVariable(column.name, part, sample_column, shape[0], inner, read_samples)


def create_array_variable(part: ArrayPart, sample_count: int) -> SampledVariable | None:
    """Sample an array along an axis of `sample_count` elements; prefer an axis of time."""
    candidates = [number for number, axis in enumerate(part.axes) if axis.size == sample_count]
    if not candidates:
        return None
    time_axes = [number for number in candidates if part.axes[number].kind == "time"]
    sample_axis = [*time_axes, *candidates][0]
    sizes = [axis.size for axis in part.axes]
    inner = (*sizes[:sample_axis], *sizes[sample_axis + 1 :])
    native_code = part.dtype.newbyteorder("=").str[1:]
    kind = ColumnType(SAMPLE_TYPES.get(native_code, "double"), format_arraysize(inner))
    column = Column(name=part.name or f"part{part.index}", type=kind, unit=part.unit)

    def read_samples(first: int, stop: int) -> pa.Array:
        window = [slice(0, size) for size in sizes]
        window[sample_axis] = slice(first, stop)
        values = np.ascontiguousarray(np.moveaxis(part.read(window), sample_axis, 0))
        native_values = values.ravel().astype(values.dtype.newbyteorder("="), copy=False)
        flat = pa.array(native_values, from_pandas=True)
        if inner:
            return pa.FixedSizeListArray.from_arrays(flat, math.prod(inner))
        return flat

    return SampledVariable(column.name, part, column, sample_count, inner, read_samples)


def read_column(part: TablePart, name: str, first: int, stop: int) -> pa.Array:
    """Read the values of a column from one row to before another."""
    narrow_table = part
    if part.select_columns is not None:
        narrow_table = part.select_columns([name])
    arrays = []
    for batch in narrow_table.read_batches(first, stop - first):
        column_number = batch.schema.get_field_index(name)
        arrays.append(batch.column(column_number))
    if arrays:
        column_values = pa.concat_arrays(arrays)
    else:
        column_values = pa.nulls(0, narrow_table.columns[0].arrow_field.type)
    if len(column_values) != stop - first:
        raise SourceError(format_message("values of {names} are missing at the end of the file", repr(name)))
    return column_values


class ColumnStream:
    """Columns of a part that are read once from one row to another; each is asked for the same rows in turn."""

    def __init__(self, members: Sequence[SampledVariable], first: int, last: int) -> None:
        part = members[0].part
        assert isinstance(part, TablePart)  # noqa: S101  (a row is a sample)
        names = {member.name for member in members}
        if part.select_columns is not None:
            part = part.select_columns(names)
        self._batches = part.read_batches(first, last - first)
        self._names = sorted(names)
        self._start = -1
        self._current_arrays: dict[str, pa.Array] = {}
        self._remaining_batch: pa.RecordBatch = None

    def create_reader(self, name: str) -> Read:
        """Create the function that reads samples of one of the columns."""

        def read_rows(first: int, stop: int) -> pa.Array:
            if self._start != first:
                next_rows = self._read_next_rows(stop - first)
                self._start, self._current_arrays = first, next_rows
            return self._current_arrays[name]

        return read_rows

    @property
    def unread_batch_rows(self) -> int:
        """The number of rows in the current batch; reads the next batch if none are left."""
        while not self._remaining_batch:
            next_batch = next(self._batches, None)
            if next_batch is None:
                names = ", ".join(map(repr, self._names))[:100]
                raise SourceError(format_message("values of {names} are missing at the end of the file", names))
            self._remaining_batch = next_batch
        row_count: int = self._remaining_batch.num_rows
        return row_count

    def _read_next_rows(self, count: int) -> dict[str, pa.Array]:
        pieces = []
        row_count = 0
        while row_count < count and self.unread_batch_rows:
            piece = self._remaining_batch.slice(0, count - row_count)
            self._remaining_batch = self._remaining_batch.slice(piece.num_rows)
            pieces.append(piece)
            row_count += piece.num_rows
        if len(pieces) == 1:  # without a copy
            return {name: pieces[0].column(name) for name in self._names}
        rows = {}
        for name in self._names:
            rows[name] = pa.concat_arrays([piece.column(name) for piece in pieces])
        return rows


def create_sequential_reader(variable: SampledVariable) -> Read:
    """Create a reader of consecutive blocks, each of which is read once."""
    if variable.is_row_per_sample:
        return ColumnStream([variable], 0, variable.sample_count).create_reader(variable.name)
    return variable.read_samples


def find_element_type(column: Column) -> np.dtype[Any]:
    """Return the numpy type of the elements of a column."""
    kind = column.arrow_field.type
    if pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    element_type: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
    return element_type
