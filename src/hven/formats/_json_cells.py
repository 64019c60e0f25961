"""Values as JSON, by the column; and a document of rows around them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model import literal
from hven.model.errors import HvenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hven.formats import End
    from hven.model.types import Type


def document(
    start: bytes,
    batches: Iterator[pa.RecordBatch],
    width: int,
    rows: Callable[[pa.RecordBatch], pa.Array],
    end: Callable[[], End],
    *,
    between: int,
    closing: Callable[[dict[str, str]], Mapping[str, object]] = dict,
) -> Iterator[bytes]:
    """Write what begins a list, its rows, and how it ended, by which the document is closed.

    `rows` writes some of them as texts, each with what stands between two (`between` bytes) before it; `width` is the number of columns;
    `closing` makes the last members of the status.
    A late error is written as ``"status": "ERROR"`` with its ``"message"``, and raised then.
    """
    batches = literal.early(batches)
    batch = next(batches, None)
    skip, failure = between, None
    try:
        while batch is not None:
            for part in literal.pieces(batch, 4 * width) if width else ():
                yield start + literal.characters(rows(part))[skip:].tobytes()
                start, skip = b"", 0
            if start:
                yield start
                start = b""
            batch = next(batches, None)
    except (HvenError, pa.ArrowException, ValueError, OSError, MemoryError) as error:
        failure = error
    ended = end()
    status: dict[str, str] = {"status": "OVERFLOW" if ended.overflow else "OK"}
    if failure is not None or ended.error is not None:
        status = {"status": "ERROR", "message": ended.error or str(failure)}
    yield start + b"\n],\n" + json.dumps(closing(status), ensure_ascii=False)[1:].encode() + b"\n"
    if failure is not None:
        raise failure


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
