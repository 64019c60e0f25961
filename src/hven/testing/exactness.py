"""Values that carriers and types cannot always hold, and the exact model of what may become of them (``docs/reference/values.md``)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hven.model import Deviation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.sources import RejectedRow

HARD_NUMBERS: Mapping[str, Sequence[object]] = {
    "int64": [0, 7, None, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)],
    "larger": [7, None, 2**53 + 1, 2**63, 2**64 - 1],
    "float64": [0.5, None, 0.1, 1e308, 5e-324, math.inf, -math.inf, math.nan, 2.0**53 + 2],
}
"""Sets of values of one column: whole numbers of 64 bits with a sign, those of 64 bits without, and doubles."""


def is_exact(value: object, served: object) -> bool:
    """Return whether a value came out as it was put in.

    Parameters
    ----------
    value
        What was written; NaN is missing.
    served
        What was read. The decimal digits of a whole number are exact, too.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return served is None or (isinstance(served, float) and math.isnan(served))
    if isinstance(value, int):
        return (isinstance(served, int) and served == value) or served == str(value)
    return isinstance(served, float) and served == value


def list_unexplained_changes(
    values: Sequence[object],
    read_values: Mapping[int, object],
    reports: Iterable[object],
    rejects: Iterable[RejectedRow],
    column_name: str,
) -> list[tuple[int, object, object]]:
    """List the values that changed or are missing without a word.

    Parameters
    ----------
    values
        What was written, in order.
    read_values
        What was read, by the number of the row from 1.
    reports
        What the reader reported.
    rejects
        The rows that it rejected.
    column_name
        Its name.

    Returns
    -------
    differences
        Row, what was written, what was read.
    """
    rejected_rows = {reject.row for reject in rejects}
    is_reported = any(isinstance(report, Deviation) and report.column in {column_name, None} for report in reports)
    differences: list[tuple[int, object, object]] = []
    for row, value in enumerate(values, 1):
        if row not in read_values:
            if row not in rejected_rows:
                differences.append((row, value, None))
        elif not is_exact(value, read_values[row]) and not is_reported:
            differences.append((row, value, read_values[row]))
    return differences


__all__ = ["HARD_NUMBERS", "is_exact", "list_unexplained_changes"]
