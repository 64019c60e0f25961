"""Numbers that formats and types cannot always hold, and the check that a reader reports their changes.

See ``docs/reference/values.md``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hven.model import ReadDeviation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.sources import RejectedRow

HARD_NUMBERS: Mapping[str, Sequence[object]] = {
    "int64": [0, 7, None, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)],
    "larger": [7, None, 2**53 + 1, 2**63, 2**64 - 1],
    "float64": [0.5, None, 0.1, 1e308, 5e-324, math.inf, -math.inf, math.nan, 2.0**53 + 2],
}
"""Values of a column: signed integers of 64 bits, unsigned integers of 64 bits, and doubles."""


def is_read_exactly(value: object, read_value: object) -> bool:
    """Return whether a value is read as it was written.

    Parameters
    ----------
    value
        The written value; NaN counts as missing.
    read_value
        The read value. The decimal digits of an integer are exact, too.
    """
    if _is_null_or_nan(value):
        return _is_null_or_nan(read_value)
    if isinstance(value, int):
        is_same_number = isinstance(read_value, int) and read_value == value
        return is_same_number or read_value == str(value)
    return isinstance(read_value, float) and read_value == value


def _is_null_or_nan(value: object) -> bool:
    if isinstance(value, float):
        return math.isnan(value)
    return value is None


def list_unreported_changes(
    written_values: Sequence[object],
    read_values: Mapping[int, object],
    reports: Iterable[object],
    rejects: Iterable[RejectedRow],
    column_name: str,
) -> list[tuple[int, object, object]]:
    """List the values that changed or are missing, without a report or a rejected row.

    Parameters
    ----------
    written_values
        The written values, in order.
    read_values
        The read values, by the number of the row from 1.
    reports
        The reports of the reader.
    rejects
        The rows that the reader rejected.
    column_name
        Name of the column.

    Returns
    -------
    differences
        The row, the written and the read value of each.
    """
    rejected_rows = {reject.row for reject in rejects}
    is_reported = False
    for report in reports:
        if isinstance(report, ReadDeviation) and report.column in {column_name, None}:
            is_reported = True
    differences: list[tuple[int, object, object]] = []
    for row, value in enumerate(written_values, 1):
        if row not in read_values:
            if row not in rejected_rows:
                differences.append((row, value, None))
        elif not is_read_exactly(value, read_values[row]) and not is_reported:
            differences.append((row, value, read_values[row]))
    return differences


__all__ = ["HARD_NUMBERS", "is_read_exactly", "list_unreported_changes"]
