"""What lies in memory where a value is NULL is sent by no format: it may be what another reader asked for."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from hven import formats
from hven.formats import ResultStatus, TableMetadata
from hven.model.table import Column
from hven.model.types import FLOAT32, FLOAT64, INT16, INT32, INT64, POINT, POLYGON, STRING, TIMESTAMP, ColumnType

ROWS = 11
KINDS = (
    INT16,
    INT32,
    INT64,
    FLOAT32,
    FLOAT64,
    TIMESTAMP,
    STRING,
    ColumnType("boolean"),
    POINT,
    POLYGON,
    ColumnType("int", "3"),
    ColumnType("double", "*"),
    ColumnType("unsignedByte"),
)
NULL = np.arange(ROWS) % 3 != 0


def build_column(type_: ColumnType, rest: int) -> pa.Array:
    """Make a column whose every third value is not NULL; `rest` lies under the others."""
    values = np.where(NULL, rest, 1)
    mask, arrow = pa.array(NULL), type_.arrow
    valid = pa.array(~NULL).buffers()[1]
    if pa.types.is_fixed_size_list(arrow):
        size = arrow.list_size
        return pa.FixedSizeListArray.from_arrays(
            pa.array(np.repeat(values, size)).cast(arrow.value_type), type=arrow, mask=mask
        )
    if pa.types.is_list(arrow):
        return pa.ListArray.from_arrays(
            pa.array(np.arange(ROWS + 1, dtype=np.int32) * 6),
            pa.array(np.repeat(values, 6)).cast(arrow.value_type),
            type=arrow,
            mask=mask,
        )
    if pa.types.is_string(arrow):
        full = pa.array([str(value) for value in values])
    elif pa.types.is_boolean(arrow):
        full = pa.array(values > 1)
    else:
        full = pa.array(values).cast(pa.int64()).cast(arrow)
    return pa.Array.from_buffers(arrow, ROWS, [valid, *full.buffers()[1:]])


@pytest.mark.parametrize("name", [*(one.name for one in formats.load_formats()), "votable TABLEDATA", "votable BINARY"])
def test_what_lies_under_null_is_not_sent(name: str) -> None:
    name, _, serialization = name.partition(" ")
    options = {"serialization": serialization} if serialization else {}

    def write_columns(rest: int) -> bytes:
        columns = tuple(Column(name=f"c{at}", type=kind) for at, kind in enumerate(KINDS))
        batch = pa.RecordBatch.from_arrays(
            [build_column(kind, rest) for kind in KINDS], names=[column.name for column in columns]
        )
        return b"".join(
            formats.load_format(name).write(
                TableMetadata(columns=columns, name="t"), iter([batch, batch.slice(4, 3)]), ResultStatus, options
            )
        )

    assert write_columns(2) == write_columns(7)
