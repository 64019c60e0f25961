"""Values that carriers and types cannot always hold, and the exact model of what may become of them (``docs/reference/values.md``)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hven.model import Deviation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hven.sources import Reject

NUMBERS: Mapping[str, Sequence[object]] = {
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


def unexplained(
    values: Sequence[object],
    served: Mapping[int, object],
    told: Iterable[object],
    rejects: Iterable[Reject],
    column: str,
) -> list[tuple[int, object, object]]:
    """List the values that changed or are missing without a word.

    Parameters
    ----------
    values
        What was written, in order.
    served
        What was read, by the number of the row from 1.
    told
        What the reader reported.
    rejects
        The rows that it rejected.
    column
        Its name.

    Returns
    -------
    differences
        Row, what was written, what was read.
    """
    refused = {reject.row for reject in rejects}
    reported = any(isinstance(one, Deviation) and one.column in {column, None} for one in told)
    found: list[tuple[int, object, object]] = []
    for row, value in enumerate(values, 1):
        if row not in served:
            if row not in refused:
                found.append((row, value, None))
        elif not is_exact(value, served[row]) and not reported:
            found.append((row, value, served[row]))
    return found


__all__ = ["NUMBERS", "is_exact", "unexplained"]
