"""A rule that rows break, and how grave that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

ERROR_SEVERITY, WARNING_SEVERITY, INFO_SEVERITY = "error", "warning", "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleViolation:
    """Rows of one batch that break one rule.

    Attributes
    ----------
    row_mask
        Booleans over the mapped rows, no nulls.
    column
        The column whose value is shown with the offender, or None.
    is_source_column
        True: `column` is a source column.
    flag
        Bit of the column of flags that it sets.
    values
        Values of `column` over the mapped rows, if it is a column of neither table.
    """

    rule: str
    message: str
    severity: str
    row_mask: pa.Array
    column: str | None = None
    is_source_column: bool = False
    flag: int | None = None
    values: pa.Array | None = None
