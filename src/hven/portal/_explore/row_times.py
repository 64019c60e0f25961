"""Times of rows as microseconds since 1970."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from hven.model.table import Column

UNIX_EPOCH_JULIAN_DATE = 2_440_587.5  # Julian date of 1970-01-01


def to_unix_microseconds(value: object, column: Column) -> int | None:
    """Convert a time of a row to microseconds since 1970.

    Parameters
    ----------
    value
        Value of the row.
    column
        Column of times.

    Returns
    -------
    microseconds
        None if the row has no time.
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if column.epoch is None:
        text = str(value).replace(" ", "T").removesuffix("Z").removesuffix("+00:00")
        return int(np.datetime64(text).astype("datetime64[us]").astype(np.int64))
    days = float(str(value)) + column.epoch - UNIX_EPOCH_JULIAN_DATE
    return round(days * 86_400_000) * 1000
