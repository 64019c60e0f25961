"""Write values as JSON, column by column, and a document of rows around them."""

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

    from hven.formats import ResultStatus
    from hven.model.types import ColumnType


def write_json_document(
    start: bytes,
    batches: Iterator[pa.RecordBatch],
    column_count: int,
    write_rows: Callable[[pa.RecordBatch], pa.Array],
    finish: Callable[[], ResultStatus],
    *,
    separator_bytes: int,
    build_closing_members: Callable[[dict[str, str]], Mapping[str, object]] = dict,
) -> Iterator[bytes]:
    """Write the start of a list, its rows, and the status that closes the document.

    A late error is written as ``"status": "ERROR"`` with its ``"message"``, and then raised.

    Parameters
    ----------
    start
        The document up to the first row.
    batches
        Batches of rows.
    column_count
        Number of columns.
    write_rows
        Writes the rows of a batch as texts, shape (rows,), each with a separator before it.
    finish
        Returns the status of the result; called after the last row.
    separator_bytes
        Bytes of the separator.
    build_closing_members
        Builds the last members of the document from the status.

    Yields
    ------
    Pieces of the document.
    """
    batches = literal.split_first_batch(batches)
    batch = next(batches, None)
    skip, failure = separator_bytes, None
    try:
        while batch is not None:
            parts = literal.split_batch_by_written_size(batch, 4 * column_count) if column_count else ()
            for part in parts:
                yield start + literal.view_column_bytes(write_rows(part))[skip:].tobytes()
                start, skip = b"", 0
            if start:
                yield start
                start = b""
            batch = next(batches, None)
    except (HvenError, pa.ArrowException, ValueError, OSError, MemoryError) as error:
        failure = error
    result_status = finish()
    status = {"status": "OK"}
    if result_status.overflow:
        status = {"status": "OVERFLOW"}
    if failure is not None or result_status.error_message is not None:
        status = {"status": "ERROR", "message": result_status.error_message or str(failure)}
    closing_members = json.dumps(build_closing_members(status), ensure_ascii=False)[1:]
    yield start + b"\n],\n" + closing_members.encode() + b"\n"
    if failure is not None:
        raise failure


def write_json_error(message: str) -> bytes:
    """Write an error document.

    Parameters
    ----------
    message
        The message.

    Returns
    -------
    document
        As readers of any format of JSON get it instead of rows.
    """
    document = {"status": "ERROR", "message": message}
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"


def write_json_cells(array: pa.Array, column_type: ColumnType) -> pa.Array:
    """Write the values of a column as JSON; NaN, infinities and nulls become null.

    Parameters
    ----------
    array
        Values, shape (rows,).
    column_type
        Type of the column.

    Returns
    -------
    texts
        JSON of each value, shape (rows,).
    """
    if not pa.types.is_nested(array.type):
        return literal.fill_nulls(_write_scalars_as_json(array, column_type), "null")
    offsets, values = literal.flatten_lists(literal.to_variable_lists(array))
    parts = literal.fill_nulls(_write_scalars_as_json(values, column_type), "null")
    item_offsets = pa.array(offsets.astype(np.int32))
    lists = pa.ListArray.from_arrays(item_offsets, parts)
    item_texts = pc.binary_join(lists, literal.to_arrow_string_scalar(","))
    list_texts = literal.concat_text_columns("[", item_texts, "]")
    if array.null_count:
        list_texts = pc.if_else(array.is_valid(), list_texts, literal.NULL_STRING)
    return literal.fill_nulls(list_texts, "null")


def _write_scalars_as_json(array: pa.Array, column_type: ColumnType) -> pa.Array:
    if column_type.is_timestamp:
        return literal.concat_text_columns('"', literal.format_timestamps(array), '"')
    if pa.types.is_string(array.type):
        return literal.quote_json_strings(array)
    if pa.types.is_floating(array.type):
        finite = pc.is_finite(array)
        number_texts = array.cast(pa.string())
        # most readers take "-0" for an integer, and integers have no -0
        if pc.any(pc.equal(array, pa.scalar(0.0, array.type))).as_py():
            number_texts = pc.if_else(pc.equal(number_texts, "-0"), "-0.0", number_texts)
        if not array.null_count and pc.all(finite).as_py():
            return number_texts
        return pc.if_else(finite, number_texts, literal.NULL_STRING)
    if column_type.datatype == "bit":
        return array.cast(pa.int8()).cast(pa.string())
    return array.cast(pa.string())
