"""A violation of a rule by rows, and its severity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

ERROR_SEVERITY, WARNING_SEVERITY, INFO_SEVERITY = "error", "warning", "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleViolation:
    """Rows of a batch that break a rule.

    Attributes
    ----------
    rule
        Name of the rule.
    message
        What is wrong with the rows.
    severity
        ``error``, ``warning`` or ``info``.
    row_mask
        Mask over the mapped rows, without nulls.
    column
        The column whose value the report shows, or None.
    is_source_column
        True if `column` is a source column.
    flag
        The bit that the rule sets in the column of flags.
    values
        Values of `column` over the mapped rows, if neither the source nor the table has this column.
    """

    rule: str
    message: str
    severity: str
    row_mask: pa.Array
    column: str | None = None
    is_source_column: bool = False
    flag: int | None = None
    values: pa.Array | None = None
