"""Parameters of data sets in time.

What clients of HAPI and das2 are told of a column, and why some columns are none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.table import Column, ParameterBins, TimeSeries
    from hven.model.types import Type

MAX_EXACT_INTEGER = 2**53  # integers beyond are none of a double


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleParameter:
    """What is measured at each time.

    Attributes
    ----------
    column
        Of the table.
    value_kind
        ``double``, ``integer`` (4 bytes), ``string``, ``isotime``.
    dimensions
        Of arrays: elements of each dimension, the last index fastest; else empty.
    byte_length
        Bytes of texts and times; 0 for numbers.
    fill
        What stands where there is no value.
    bins
        What elements stand for, one for each dimension; empty: not said.
    """

    column: Column
    value_kind: str
    dimensions: tuple[int, ...] = ()
    byte_length: int = 0
    fill: str | None = "NaN"
    bins: tuple[ParameterBins, ...] = ()

    @property
    def name(self) -> str:
        """Of the column."""
        return self.column.name

    @property
    def has_addresses(self) -> bool:
        """Whether its texts are addresses: of pictures, of files."""
        column = self.column
        return self.value_kind == "string" and (
            column.link is not None or (column.ucd or "").lower().startswith("meta.ref.url")
        )


def has_text_arrays(column_type: Type) -> bool:
    """Tell whether values of a type are arrays of texts.

    Parameters
    ----------
    column_type
        Of a column.
    """
    return column_type.is_array and column_type.datatype in {"char", "unicodeChar"}


def build_time_parameter(column: Column) -> SampleParameter:
    """Make the parameter of a time."""
    length = 27 if column.type.is_timestamp else 24  # days in doubles resolve 40 microseconds
    return SampleParameter(column=column, value_kind="isotime", byte_length=length, fill=" " * length)


def build_parameter(column: Column, statistics: Mapping[str, Any], series: TimeSeries) -> SampleParameter | str:
    """Make what clients are told of a column, or say why it is none (HAPI 3.3, section 3.6)."""
    kind = column.type
    bins = next((item for name, item in series.bins.items() if name.lower() == column.name.lower()), ())
    size: tuple[int, ...] = ()
    texts = has_text_arrays(kind)
    if kind.is_array:
        # the first of texts are their characters
        if texts:
            dimensions = kind.shape[1:]
        else:
            dimensions = kind.shape
        bin_sizes = [
            len(item.centers or item.ranges) for item in bins if not isinstance(item.centers or item.ranges, str)
        ]
        if None not in dimensions:
            shape = dimensions
        else:
            shape = tuple(reversed(bin_sizes))
        if (
            kind.is_geometry
            or len(shape) != len(dimensions)
            or not (texts or kind.scalar.rank or kind.datatype in {"boolean", "bit"})
        ):
            return "its arrays may differ in size; type: float32[400], or bins with their centers, say which they have"
        size = tuple(item or 0 for item in reversed(shape))
        if len(bins) not in {0, len(size)} or any(
            isinstance(item, tuple) and item and len(item) != count
            for each, count in zip(bins, size, strict=False)
            for item in (each.centers, each.ranges)
        ):
            bins = ()  # `hven check` tells
    if kind.is_timestamp:
        return build_time_parameter(column)
    if texts and statistics.get("max_length") is None:
        return "nobody says how long the texts of its arrays are"
    if kind.is_string or texts:
        longest = max(int(statistics.get("max_length") or 1), 1) * (4 if statistics.get("non_ascii") else 1)
        return SampleParameter(
            column=column, value_kind="string", dimensions=size, byte_length=longest, fill="", bins=bins
        )
    if not kind.scalar.rank:
        return SampleParameter(column=column, value_kind="integer", dimensions=size, fill="-1", bins=bins)
    if kind.scalar.hapi == "integer" and (fill := _choose_fill(kind, statistics)) is not None:
        return SampleParameter(column=column, value_kind="integer", dimensions=size, fill=fill, bins=bins)
    if kind.is_integer and any(
        abs(int(statistics.get(item) or 0)) > MAX_EXACT_INTEGER for item in ("minimum", "maximum")
    ):
        return SampleParameter(column=column, value_kind="string", byte_length=20, fill="")
    return SampleParameter(column=column, value_kind="double", dimensions=size, bins=bins)


def _choose_fill(column_type: Type, statistics: Mapping[str, Any]) -> str | None:
    """Choose the integer for what is missing: one that no value is. None.

    There is none, and the values go as doubles, which hold all of them beside NaN.
    """
    counted = "minimum" in statistics or (
        "nulls" in statistics and not column_type.is_array
    )  # else nobody looked for the extremes
    if column_type.datatype != "int" or (counted and statistics.get("minimum") != -(2**31)):
        return "-2147483648"
    if not counted:
        return None
    if statistics.get("maximum") != 2**31 - 1:
        return "2147483647"
    return None


__all__ = ["SampleParameter", "build_parameter", "build_time_parameter", "has_text_arrays"]
