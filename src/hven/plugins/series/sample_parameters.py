"""Parameters of time series: what clients of HAPI and das2 learn of a column, and why some columns cannot be one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.table import Column, ParameterBins, TimeSeriesSpec
    from hven.model.types import ColumnType

MAX_EXACT_INTEGER = 2**53  # larger integers are not exact in a double
MAX_LINE_ELEMENTS = 8  # elements of an array that are drawn as lines; more are a spectrum


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleParameter:
    """A quantity that is measured at each time.

    Attributes
    ----------
    column
        Its column in the table.
    value_kind
        ``double``, ``integer`` (4 bytes), ``string``, ``isotime``.
    dimensions
        Sizes of the dimensions of arrays, the last index varying fastest; empty for scalars.
    byte_length
        Bytes of texts and times; 0 for numbers.
    fill
        Value that marks a missing one.
    bins
        What the elements stand for, one for each dimension; empty: not known.
    scale_type
        ``linear`` or ``log``: the scale of its values in plots; None: not stated.
    """

    column: Column
    value_kind: str
    dimensions: tuple[int, ...] = ()
    byte_length: int = 0
    fill: str | None = "NaN"
    bins: tuple[ParameterBins, ...] = ()
    scale_type: str | None = None

    @property
    def name(self) -> str:
        """Name of the column."""
        return self.column.name

    @property
    def is_numeric(self) -> bool:
        """Whether its values are numbers."""
        return self.value_kind in {"double", "integer"}

    @property
    def element_count(self) -> int:
        """Number of elements of an array; 1 for scalars."""
        return math.prod(self.dimensions)

    @property
    def has_url_values(self) -> bool:
        """Whether its texts are addresses of pictures or files."""
        if self.value_kind != "string":
            return False
        ucd = (self.column.ucd or "").lower()
        return self.column.link is not None or ucd.startswith("meta.ref.url")


def is_spectrum(parameter: SampleParameter) -> bool:
    """Return whether plots draw a parameter as a spectrum: it has many elements, or these stand for something."""
    return parameter.element_count > MAX_LINE_ELEMENTS or bool(parameter.bins)


def list_bin_centers(bins: ParameterBins | None) -> tuple[float, ...]:
    """List the centers of bins, or the middles of their ranges; empty if they are unknown or change with time."""
    if bins is None or isinstance(bins.centers, str):
        return ()
    if bins.centers or isinstance(bins.ranges, str):
        return bins.centers
    return tuple((low + high) / 2 for low, high in bins.ranges)


def has_text_arrays(column_type: ColumnType) -> bool:
    """Return whether values of a type are arrays of texts.

    Parameters
    ----------
    column_type
        Type of a column.
    """
    return column_type.is_array and column_type.datatype in {"char", "unicodeChar"}


def can_have_plot_scale(column_type: ColumnType) -> bool:
    """Return whether values of a type can have a scale in plots: numbers can, and texts and times cannot.

    Parameters
    ----------
    column_type
        Type of a column.
    """
    return not (column_type.is_string or column_type.is_timestamp or has_text_arrays(column_type))


def build_time_parameter(column: Column) -> SampleParameter:
    """Build the parameter of a column of times."""
    length = 27 if column.type.is_timestamp else 24  # days in doubles resolve 40 microseconds
    return SampleParameter(column=column, value_kind="isotime", byte_length=length, fill=" " * length)


def build_parameter(column: Column, statistics: Mapping[str, Any], series: TimeSeriesSpec) -> SampleParameter | str:
    """Build the parameter of a column, or return why it cannot be one (HAPI 3.3, section 3.6)."""
    column_type = column.type
    has_texts = has_text_arrays(column_type)
    bins = _find_bins(column, series)
    dimensions: tuple[int, ...] = ()
    if column_type.is_array:
        array_dimensions = _find_array_dimensions(column_type, bins)
        if array_dimensions is None:
            return (
                "its arrays may have different sizes; give the size with `type`, such as float32[400], or with "
                "bins and their centers"
            )
        dimensions = array_dimensions
        if not _has_matching_bin_counts(bins, dimensions):
            bins = ()  # `hven check` reports it
    if column_type.is_timestamp:
        return build_time_parameter(column)
    if has_texts and statistics.get("max_length") is None:
        return "the length of the strings in its arrays is unknown"
    if column_type.is_string or has_texts:
        byte_length = max(int(statistics.get("max_length") or 1), 1)
        if statistics.get("non_ascii"):
            byte_length *= 4
        return SampleParameter(
            column=column, value_kind="string", dimensions=dimensions, byte_length=byte_length, fill="", bins=bins
        )
    return _build_exact_number_parameter(column, statistics, dimensions, bins)


def _build_exact_number_parameter(
    column: Column, statistics: Mapping[str, Any], dimensions: tuple[int, ...], bins: tuple[ParameterBins, ...]
) -> SampleParameter:
    """Build the parameter of a column of numbers; integers that neither 4 bytes nor a double hold become texts."""
    column_type = column.type
    integer_fill = None
    if not column_type.scalar_type.rank:  # booleans
        integer_fill = "-1"
    elif column_type.scalar_type.hapi == "integer":
        integer_fill = _choose_integer_fill(column_type, statistics)
    if integer_fill is not None:
        return SampleParameter(column=column, value_kind="integer", dimensions=dimensions, fill=integer_fill, bins=bins)
    if column_type.is_integer:
        extremes = [int(statistics.get(name) or 0) for name in ("minimum", "maximum")]
        if any(abs(extreme) > MAX_EXACT_INTEGER for extreme in extremes):
            return SampleParameter(column=column, value_kind="string", byte_length=20, fill="")
    return SampleParameter(column=column, value_kind="double", dimensions=dimensions, bins=bins)


def _find_bins(column: Column, series: TimeSeriesSpec) -> tuple[ParameterBins, ...]:
    for name, bins in series.bins.items():
        if name.lower() == column.name.lower():
            return bins
    return ()


def _find_array_dimensions(column_type: ColumnType, bins: tuple[ParameterBins, ...]) -> tuple[int, ...] | None:
    """Return the sizes of arrays, the last index varying fastest; None if they may differ or have no such elements."""
    has_texts = has_text_arrays(column_type)
    shape = column_type.shape
    if has_texts:  # the first dimension is that of the characters
        shape = shape[1:]
    sizes = shape
    if None in shape:
        bin_values = [axis.centers or axis.ranges for axis in bins]
        bin_sizes = [len(values) for values in bin_values if not isinstance(values, str)]
        sizes = tuple(reversed(bin_sizes))
    is_number = bool(column_type.scalar_type.rank) or column_type.datatype in {"boolean", "bit"}
    if column_type.is_geometry or len(sizes) != len(shape) or not (has_texts or is_number):
        return None
    return tuple(size or 0 for size in reversed(sizes))


def _has_matching_bin_counts(bins: tuple[ParameterBins, ...], dimensions: tuple[int, ...]) -> bool:
    """Return whether bins have as many elements as the arrays."""
    if len(bins) not in {0, len(dimensions)}:
        return False
    for axis, size in zip(bins, dimensions, strict=False):
        for values in (axis.centers, axis.ranges):
            if isinstance(values, tuple) and values and len(values) != size:
                return False
    return True


def _choose_integer_fill(column_type: ColumnType, statistics: Mapping[str, Any]) -> str | None:
    """Choose an integer for missing values that no value has.

    Return None if there is no such value; the values are then sent as doubles, which can hold all of them and NaN.
    """
    # without these, the extremes were not computed
    has_extremes = "minimum" in statistics
    if "nulls" in statistics and not column_type.is_array:
        has_extremes = True
    if column_type.datatype != "int":
        return "-2147483648"
    if not has_extremes:
        return None
    if statistics.get("minimum") != -(2**31):
        return "-2147483648"
    if statistics.get("maximum") != 2**31 - 1:
        return "2147483647"
    return None
