"""Values as JSON, by the column."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model import literal

if TYPE_CHECKING:
    from hven.model.types import Type


def cells(array: pa.Array, kind: Type) -> pa.Array:
    """Write the values of a column as JSON; NaN, infinities and nulls are null."""
    if not pa.types.is_nested(array.type):
        return literal.filled(_values(array, kind), "null")
    offsets, values = literal.flat(literal.variable(array))
    parts = literal.filled(_values(values, kind), "null")
    lists = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), parts)
    shown = literal.joined("[", pc.binary_join(lists, literal.word(",")), "]")
    return literal.filled(pc.if_else(array.is_valid(), shown, literal.NULL) if array.null_count else shown, "null")


def _values(array: pa.Array, kind: Type) -> pa.Array:
    if kind.is_timestamp:
        return literal.joined('"', literal.timestamps(array), '"')
    if pa.types.is_string(array.type):
        return literal.json_strings(array)
    if pa.types.is_floating(array.type):
        finite = pc.is_finite(array)
        shown = array.cast(pa.string())
        # "-0" is a whole number to most readers, and those have no -0
        if pc.any(pc.equal(array, pa.scalar(0.0, array.type))).as_py():
            shown = pc.if_else(pc.equal(shown, "-0"), "-0.0", shown)
        return shown if not array.null_count and pc.all(finite).as_py() else pc.if_else(finite, shown, literal.NULL)
    return array.cast(pa.int8()).cast(pa.string()) if kind.datatype == "bit" else array.cast(pa.string())
