"""Parameters of data sets in time: what clients of HAPI and das2 are told of a column, and why some columns are none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.table import Bins, Column, Series
    from hven.model.types import Type

WHOLE = 2**53  # integers beyond are none of a double


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """What is measured at each time.

    Attributes
    ----------
    column
        Of the table.
    kind
        ``double``, ``integer`` (4 bytes), ``string``, ``isotime``.
    size
        Of arrays: elements of each dimension, the last index fastest; else empty.
    length
        Bytes of texts and times; 0 for numbers.
    fill
        What stands where there is no value.
    bins
        What elements stand for, one for each dimension; empty: not said.
    """

    column: Column
    kind: str
    size: tuple[int, ...] = ()
    length: int = 0
    fill: str | None = "NaN"
    bins: tuple[Bins, ...] = ()

    @property
    def name(self) -> str:
        """Of the column."""
        return self.column.name

    @property
    def leads(self) -> bool:
        """Whether its texts are addresses: of pictures, of files."""
        column = self.column
        return self.kind == "string" and (
            column.link is not None or (column.ucd or "").lower().startswith("meta.ref.url")
        )


def has_text_arrays(kind: Type) -> bool:
    """Tell whether values of a type are arrays of texts.

    Parameters
    ----------
    kind
        Of a column.
    """
    return kind.is_array and kind.datatype in {"char", "unicodeChar"}


def make_stamp(column: Column) -> Parameter:
    """Make the parameter of a time."""
    length = 27 if column.type.is_timestamp else 24  # days in doubles resolve 40 microseconds
    return Parameter(column=column, kind="isotime", length=length, fill=" " * length)


def make_parameter(column: Column, known: Mapping[str, Any], series: Series) -> Parameter | str:
    """Make what clients are told of a column, or say why it is none (HAPI 3.3, section 3.6)."""
    kind = column.type
    bins = next((one for name, one in series.bins.items() if name.lower() == column.name.lower()), ())
    size: tuple[int, ...] = ()
    texts = has_text_arrays(kind)
    if kind.is_array:
        dimensions = kind.shape[1:] if texts else kind.shape  # the first of texts are their characters
        said = [len(one.centers or one.ranges) for one in bins if not isinstance(one.centers or one.ranges, str)]
        shape = dimensions if None not in dimensions else tuple(reversed(said))
        if (
            kind.is_geometry
            or len(shape) != len(dimensions)
            or not (texts or kind.scalar.rank or kind.datatype in {"boolean", "bit"})
        ):
            return "its arrays may differ in size; type: float32[400], or bins with their centers, say which they have"
        size = tuple(one or 0 for one in reversed(shape))
        if len(bins) not in {0, len(size)} or any(
            isinstance(one, tuple) and one and len(one) != count
            for each, count in zip(bins, size, strict=False)
            for one in (each.centers, each.ranges)
        ):
            bins = ()  # `hven check` tells
    if kind.is_timestamp:
        return make_stamp(column)
    if texts and known.get("max_length") is None:
        return "nobody says how long the texts of its arrays are"
    if kind.is_string or texts:
        longest = max(int(known.get("max_length") or 1), 1) * (4 if known.get("non_ascii") else 1)
        return Parameter(column=column, kind="string", size=size, length=longest, fill="", bins=bins)
    if not kind.scalar.rank:
        return Parameter(column=column, kind="integer", size=size, fill="-1", bins=bins)
    if kind.scalar.hapi == "integer" and (fill := _choose_fill(kind, known)) is not None:
        return Parameter(column=column, kind="integer", size=size, fill=fill, bins=bins)
    if kind.is_integer and any(abs(int(known.get(one) or 0)) > WHOLE for one in ("minimum", "maximum")):
        return Parameter(column=column, kind="string", length=20, fill="")
    return Parameter(column=column, kind="double", size=size, bins=bins)


def _choose_fill(kind: Type, known: Mapping[str, Any]) -> str | None:
    """Choose the integer for what is missing: one that no value is. None: there is none, and the values go as doubles, which hold all of them beside NaN."""
    counted = "minimum" in known or ("nulls" in known and not kind.is_array)  # else nobody looked for the extremes
    if kind.datatype != "int" or (counted and known.get("minimum") != -(2**31)):
        return "-2147483648"
    if not counted:
        return None
    return "2147483647" if known.get("maximum") != 2**31 - 1 else None


__all__ = ["Parameter", "has_text_arrays", "make_parameter", "make_stamp"]
