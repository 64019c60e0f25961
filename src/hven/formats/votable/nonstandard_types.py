"""Read integer types that VOTable does not have and that documents use all the same.

These are ``unsignedInt``, ``unsignedLong``, ``signedByte`` and the like.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hven.model.errors import SourceError
from hven.model.types import ColumnType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.table import Column


@dataclass(frozen=True, slots=True)
class NonstandardIntegerType:
    """An integer type.

    Attributes
    ----------
    datatype
        The VOTable type that holds all its values (for 64 bits: those below 2**63).
    carrier
        The VOTable type with as many bytes, as which binary rows are decoded.
    bits
        Size of a number.
    signed
        Whether it has negative values; if it has not, `carrier` has them.
    """

    datatype: str
    carrier: str
    bits: int
    signed: bool = False


_SIGNED_BYTE = NonstandardIntegerType("short", "unsignedByte", 8, signed=True)
_UNSIGNED_SHORT, _UNSIGNED_INT = NonstandardIntegerType("int", "short", 16), NonstandardIntegerType("long", "int", 32)
_UNSIGNED_LONG = NonstandardIntegerType("long", "long", 64)
FOREIGN_INTEGERS = {
    "signedbyte": _SIGNED_BYTE,
    "byte": _SIGNED_BYTE,
    "unsignedshort": _UNSIGNED_SHORT,
    "ushort": _UNSIGNED_SHORT,
    "unsignedint": _UNSIGNED_INT,
    "uint": _UNSIGNED_INT,
    "unsignedlong": _UNSIGNED_LONG,
    "ulong": _UNSIGNED_LONG,
}


def find_nonstandard_integer_types(fields: Sequence[Any]) -> dict[int, NonstandardIntegerType]:
    """Find the FIELDs of such a type.

    Parameters
    ----------
    fields
        FIELD elements, in order.

    Returns
    -------
    found
        Types by the number of the field.
    """
    foreign = {}
    for number, field in enumerate(fields):
        datatype = (field.get("datatype") or "").strip().lower()
        if datatype in FOREIGN_INTEGERS:
            foreign[number] = FOREIGN_INTEGERS[datatype]
    return foreign


def replace_nonstandard_types_with_carriers(
    columns: Sequence[Column], nonstandard_types: dict[int, NonstandardIntegerType]
) -> list[Column]:
    """Describe the columns as binary rows carry them."""
    carried = list(columns)
    for number, kind in nonstandard_types.items():
        column = carried[number]
        null = column.null
        if null is not None and null.strip().lstrip("+-").isdecimal():
            half = 1 << (kind.bits - 1)
            value = int(null)
            # the same bits as a number of the carrier
            if kind.signed:
                wrapped = value % (2 * half)
            else:
                wrapped = (value + half) % (2 * half) - half
            null = str(wrapped)
        carrier_type = ColumnType(kind.carrier, column.type.arraysize)
        carried[number] = column.copy_with(type=carrier_type, null=null)
    return carried


def restore_nonstandard_types(
    arrays: Sequence[pa.Array], columns: Sequence[Column], nonstandard_types: dict[int, NonstandardIntegerType]
) -> list[pa.Array]:
    """Convert columns that were decoded as the carrier to their own type.

    Raises
    ------
    SourceError
        A number of 64 bits is 2**63 or more, or an array has several dimensions.
    """
    restored = list(arrays)
    for number, kind in nonstandard_types.items():
        restored[number] = _convert_from_carrier_type(restored[number], columns[number], kind)
    return restored


def _convert_from_carrier_type(array: pa.Array, column: Column, integer_type: NonstandardIntegerType) -> pa.Array:
    mask = None
    if array.null_count:
        mask = array.is_null()
    if pa.types.is_list(array.type):
        values = _convert_from_carrier_type(array.values, column, integer_type)
        return pa.ListArray.from_arrays(array.offsets, values, mask=mask)
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        array_values = array.values.slice(array.offset * size, len(array) * size)
        values = _convert_from_carrier_type(array_values, column, integer_type)
        return pa.FixedSizeListArray.from_arrays(values, size, mask=mask)
    wide = array.cast(ColumnType(integer_type.datatype).arrow)
    half = 1 << (integer_type.bits - 1)
    if integer_type.signed:
        is_negative = pc.greater_equal(wide, half)
        return pc.if_else(is_negative, pc.subtract(wide, 2 * half), wide).cast(wide.type)
    negative = pc.less(wide, 0)
    if integer_type.bits == 64 and pc.any(negative).as_py():
        message = f"field {column.name!r} has a number of 2**63 or more, which does not fit a column of whole numbers"
        raise SourceError(message, remedy="write the field as text (`char`)")
    if integer_type.bits == 64:
        return wide
    unsigned_numbers = pc.if_else(negative, pc.add(wide, 2 * half), wide)
    return unsigned_numbers.cast(wide.type)
