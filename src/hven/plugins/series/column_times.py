"""Times of columns as microseconds since 1970: timestamps, and days that count from the epoch of the column."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.adql.adql_writer import write_adql_literal
from hven.plugins.series.time_texts import DAY_MICROSECONDS, UNIX_EPOCH_JD, format_instant

if TYPE_CHECKING:
    from hven.model.table import Column

DAY_MILLISECONDS = DAY_MICROSECONDS // 1000


def to_instant(value: object, column: Column) -> int:
    """Convert a value, or its text, to microseconds since 1970; days in doubles are rounded to milliseconds."""
    text = str(value)
    if column.epoch is None:
        return int(np.datetime64(text.rstrip("Z"), "us").astype(np.int64))
    unix_days = float(text) + column.epoch - UNIX_EPOCH_JD
    return round(unix_days * DAY_MILLISECONDS) * 1000


def to_instants(array: pa.Array, column: Column) -> pa.Array:
    """Convert values to microseconds since 1970; days in doubles are rounded to milliseconds."""
    if column.epoch is None:
        return array.cast(pa.timestamp("us")).cast(pa.int64())
    days = np.asarray(array.cast(pa.float64()), np.float64)
    unix_days = np.nan_to_num(days) + (column.epoch - UNIX_EPOCH_JD)
    milliseconds = np.round(unix_days * DAY_MILLISECONDS).astype(np.int64)
    return pa.array(milliseconds * 1000, mask=np.isnan(days))


def write_instant_literal(instant: int, column: Column) -> str:
    """Write microseconds since 1970 as an ADQL literal of the column's type."""
    if column.epoch is None:
        return f"CAST({write_adql_literal(format_instant(instant)[:-1])} AS TIMESTAMP)"
    return repr(instant / DAY_MICROSECONDS + UNIX_EPOCH_JD - column.epoch)
