"""Make tables of variables over one axis of records, and describe those that are samples in time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa

from hven.formats.media import TablePart
from hven.formats.media.api import format_arraysize
from hven.model.table import MJD_EPOCH, ArrayAxisMetadata, Column, TimeSeriesMetadata
from hven.model.types import ColumnType
from hven.plugins.array_files import istp_attributes as istp

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.formats.media import HeaderCard
    from hven.formats.media.api import Instants

MAX_CELL_BYTES = 1 << 16  # of a cell of a table; a larger variable is only an array
MAX_BATCH_BYTES = 8 << 20
MAX_BATCH_ROWS = 1 << 17
MAX_BIN_CENTERS = 2_000


class TableVariable(Protocol):
    """A variable that can be a column of a table."""

    @property
    def column_name(self) -> str:
        """Name of the column."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Attributes in the file."""

    @property
    def is_time(self) -> bool:
        """Whether the values are times."""

    @property
    def cell_shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions of a record."""

    @property
    def bytes_per_cell(self) -> int:
        """Size of a record in bytes."""

    @property
    def has_truncated_times(self) -> bool:
        """Whether times that were read had digits below a nanosecond."""

    def create_column(self) -> Column:
        """Create the column."""

    def read_arrow(self, start: int, stop: int, arrow_type: pa.DataType) -> pa.Array:
        """Read records as cells, with nulls for fill values."""

    def read_instants(self, start: int, stop: int) -> Instants:
        """Read times as microseconds since 1970, and the nanoseconds below them."""


Variable = TypeVar("Variable", bound=TableVariable)


def create_batch_reader(
    schema: pa.Schema, row_count: int, row_bytes: int, read_columns: Callable[[int, int], list[pa.Array]]
) -> Callable[[int, int], Iterator[pa.RecordBatch]]:
    """Create the function that reads rows of a table in batches of limited size.

    Parameters
    ----------
    schema
        Names and types of the columns.
    row_count
        Number of rows of the table.
    row_bytes
        Size of a row.
    read_columns
        Read the columns from one row to before another.

    Returns
    -------
    read_batches
        Read at most a given number of rows, from a given one on.
    """
    step = max(1, min(MAX_BATCH_ROWS, MAX_BATCH_BYTES // max(1, row_bytes)))

    def read_batches(start: int, row_limit: int) -> Iterator[pa.RecordBatch]:
        end = min(row_count, start + row_limit)
        for first in range(start, end, step):
            yield pa.RecordBatch.from_arrays(read_columns(first, min(end, first + step)), schema=schema)

    return read_batches


def build_cells(values: pa.Array, cell_shape: Sequence[int], arrow_type: pa.DataType) -> pa.Array:
    """Build the cells of a column from single values.

    Parameters
    ----------
    values
        Values of all cells, one after the other.
    cell_shape
        Shape of a cell; empty: a value is a cell.
    arrow_type
        Type of the column: values, lists of numbers of a fixed size, or lists of texts.

    Returns
    -------
    cells
        Array of this type.
    """
    if not cell_shape:
        return values.cast(arrow_type)
    items = values.cast(arrow_type.value_type)
    if pa.types.is_list(arrow_type):
        offsets = np.arange(0, len(items) + 1, math.prod(cell_shape), dtype=np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), items)
    return pa.FixedSizeListArray.from_arrays(items, arrow_type.list_size).cast(arrow_type)


def build_number_cells(
    values: npt.NDArray[Any],
    cell_shape: Sequence[int],
    arrow_type: pa.DataType,
    mask: npt.NDArray[np.bool_] | None = None,
    *,
    keeps_nan: bool = False,
) -> pa.Array:
    """Build the cells of a column from numbers.

    Parameters
    ----------
    values
        Numbers of all cells, in the byte order of the file.
    cell_shape, arrow_type
        As in `build_cells`.
    mask
        Which values become null; None: none.
    keeps_nan
        Whether NaN stays NaN; otherwise, it becomes null.

    Returns
    -------
    cells
        Array of the type of the column.
    """
    flat_values = np.ascontiguousarray(values).ravel()
    native_values = flat_values.astype(flat_values.dtype.newbyteorder("="), copy=False)
    may_hold_nan = not keeps_nan
    if may_hold_nan and native_values.dtype.kind == "f":  # without NaN, Arrow copies nothing
        may_hold_nan = native_values.size > 0 and bool(np.isnan(native_values.min()))
    flat_mask = None
    if mask is not None:
        flat_mask = mask.ravel()
    cells = pa.array(native_values, mask=flat_mask, from_pandas=may_hold_nan)
    return build_cells(cells, cell_shape, arrow_type)


def create_time_column(name: str, description: str, cell_shape: Sequence[int]) -> Column:
    """Create a column of times as MJD.

    Parameters
    ----------
    name, description
        As in `Column`.
    cell_shape
        Shape of a cell.

    Returns
    -------
    column
        With the epoch of MJD, unless cells are arrays.
    """
    column_type = ColumnType("double", format_arraysize(cell_shape))
    epoch = None if cell_shape else MJD_EPOCH
    return Column(name=name, type=column_type, unit="d", ucd="time.epoch", description=description, epoch=epoch)


def create_variable_table(
    variables: Sequence[TableVariable],
    index: int,
    name: str,
    row_count: int,
    *,
    time_cards: tuple[HeaderCard, ...] = (),
    collect_metadata: Callable[[], TimeSeriesMetadata | None] | None = None,
) -> TablePart:
    """Create a table whose columns are variables.

    Parameters
    ----------
    variables
        Variables with one axis of records.
    index, name, row_count
        As in `TablePart`.
    time_cards
        Cards of the table if its first column has times.
    collect_metadata
        Collect the metadata of rows that are samples in time.

    Returns
    -------
    table
        The table, whose columns can be selected.
    """
    columns = tuple(variable.create_column() for variable in variables)
    schema = pa.schema([column.arrow_field for column in columns])
    variables_by_name = {variable.column_name: variable for variable in variables}

    def read_columns(first: int, stop: int) -> list[pa.Array]:
        return [
            variable.read_arrow(first, stop, arrow_type)
            for variable, arrow_type in zip(variables, schema.types, strict=True)
        ]

    def select_columns(names: Collection[str]) -> TablePart:
        selected_variables = [variable for variable in variables if variable.column_name in names]
        return create_variable_table(selected_variables, index, name, row_count, time_cards=time_cards)

    return TablePart(
        index=index,
        name=name,
        columns=columns,
        row_count=row_count,
        read_batches=create_batch_reader(
            schema, row_count, sum(variable.bytes_per_cell for variable in variables), read_columns
        ),
        cards=time_cards if variables[0].is_time else (),
        select_columns=select_columns,
        read_instants=lambda column_name, start, stop: variables_by_name[column_name].read_instants(start, stop),
        has_truncated_times=lambda column_name: variables_by_name[column_name].has_truncated_times,
        support_columns=frozenset(
            variable.column_name for variable in variables if istp.is_support_variable(variable.attributes)
        ),
        collect_time_series_metadata=collect_metadata,
    )


def collect_time_series_metadata(
    variables: Sequence[Variable], describe_axes: Callable[[Variable], tuple[ArrayAxisMetadata, ...]]
) -> TimeSeriesMetadata | None:
    """Collect the metadata of samples from variables with attributes of ISTP.

    Parameters
    ----------
    variables
        Columns of a table, the times first.
    describe_axes
        Describe what the elements of each dimension of a cell stand for; empty: one dimension is unknown.

    Returns
    -------
    metadata
        None: the samples have no times, or no variable says that it is data.
    """
    clock = variables[0]
    data = [variable for variable in variables[1:] if istp.is_displayed_data_variable(variable.attributes)]
    if not clock.is_time or clock.cell_shape or not data:
        return None
    axes = {}
    ranges = {}
    for variable in variables:
        if variable.cell_shape:
            axis_metadata = describe_axes(variable)
            if axis_metadata:
                axes[variable.column_name] = axis_metadata
        elif not variable.is_time:
            limits = istp.read_valid_range(variable.attributes)
            if limits is not None:
                ranges[variable.column_name] = limits
    systems = {}
    for variable in data:
        system = istp.read_text_attribute(variable.attributes, "COORDINATE_SYSTEM")
        if variable.cell_shape == (3,) and system:
            systems[variable.column_name] = system
    scale_types = {}
    for variable in data:
        scale_type = istp.read_scale_type(variable.attributes)
        if scale_type is not None:
            scale_types[variable.column_name] = scale_type
    data_names = tuple(variable.column_name for variable in data)
    return TimeSeriesMetadata(
        time=clock.column_name, data=data_names, axes=axes, valid=ranges, systems=systems, scale_types=scale_types
    )


def round_bin_centers(values: npt.NDArray[Any], size: int) -> tuple[float, ...]:
    """Round the values along an axis to 9 digits.

    Parameters
    ----------
    values
        Values along the axis.
    size
        Number of values that there must be.

    Returns
    -------
    centers
        Empty: there is another number of values, or too many, or one of them is missing.
    """
    numbers = np.asarray(values, np.float64).ravel()
    if numbers.size != size or size > MAX_BIN_CENTERS or not np.isfinite(numbers).all():
        return ()
    return tuple(float(f"{number:.9g}") for number in numbers)


def describe_axis(variable: TableVariable, centers: tuple[float, ...] | str) -> ArrayAxisMetadata:
    """Describe an axis by the variable along it.

    Parameters
    ----------
    variable
        Variable with numbers.
    centers
        Its values, or the name of the column that has them for each record.

    Returns
    -------
    axis
        Name, unit and label are those of the column of the variable; its attributes state the scale type.
    """
    column = variable.create_column()
    return ArrayAxisMetadata(
        name=column.name,
        unit=column.unit,
        label=column.label or column.description,
        centers=centers,
        scale_type=istp.read_scale_type(variable.attributes),
    )
