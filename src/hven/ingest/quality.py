"""Count the rows of a table that break each rule with a flag, in all and by group.

The rows themselves are counted, whichever run wrote them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_GROUPS = 500  # groups with counts of their own: those with the most flagged rows; the others are summed


@dataclass(slots=True, kw_only=True)
class QualityFlagGroup:
    """The rows with the same values of the expressions that rows are counted by.

    Attributes
    ----------
    of
        These values as text, in the order of `QualityFlagStatistics.by`; None: NULL.
    rows
        Number of rows.
    flagged
        Number of rows with any flag.
    rules
        Rule -> number of rows that break it.
    """

    of: list[str | None]
    rows: int = 0
    flagged: int = 0
    rules: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class QualityFlagStatistics:
    """Statistics of the flags of a table.

    Attributes
    ----------
    column
        The column of flags.
    bits
        Rule -> its bit.
    rows, flagged
        Number of rows of the table, and of those that break a rule with a flag.
    rules
        Rule -> number of rows that break it.
    by
        Names of the expressions that rows are counted by.
    groups
        Groups in the order of their values, without the rules that none of their rows breaks.
    others
        The sum of the groups beyond `MAX_GROUPS`.
    """

    column: str
    bits: dict[str, int]
    rows: int = 0
    flagged: int = 0
    rules: dict[str, int] = field(default_factory=dict)
    by: list[str] = field(default_factory=list)
    groups: list[QualityFlagGroup] = field(default_factory=list)
    others: QualityFlagGroup | None = None

    @property
    def clean_share_text(self) -> str:
        """The share of rows without a flag; 100 % means all rows."""
        return format_percent(self.rows - self.flagged, self.rows)

    def to_json(self) -> dict[str, Any]:
        """Return the statistics as a JSON object."""
        return asdict(self)

    def format_text(self) -> str:
        """Format the statistics in one line.

        Returns
        -------
        text
            The share of clean rows, and the counts of each rule.
        """
        text = f"{self.column}: {self.clean_share_text} of {self.rows:,} rows without a flag"
        counts = ", ".join(f"{name} {count:,}" for name, count in self.rules.items() if count)
        if counts:
            text += f": {counts}"
        return text


def parse_flag_statistics(document: Mapping[str, Any] | None) -> QualityFlagStatistics | None:
    """Read a result of `QualityFlagStatistics.to_json`.

    Parameters
    ----------
    document
        The object.

    Returns
    -------
    quality
        The statistics; None if there are none, or another version wrote them.
    """
    if not document:
        return None
    try:
        groups = [QualityFlagGroup(**group_document) for group_document in document["groups"]]
        others_document = document["others"]
        if others_document is None:
            others = None
        else:
            others = QualityFlagGroup(**others_document)
        return QualityFlagStatistics(**{**document, "groups": groups, "others": others})
    except (KeyError, TypeError):
        return None


def format_percent(part: int, total: int) -> str:
    """Format a share with two digits; only 0 and the whole become 0 % and 100 %.

    Parameters
    ----------
    part
        A part of the whole.
    total
        The whole; not negative.

    Returns
    -------
    text
        ``12.34 %``; ``-`` if the whole is 0.
    """
    if not total:
        return "-"
    hundredths = round(10_000 * part / total)
    hundredths = min(max(hundredths, int(part > 0)), 10_000 - int(part < total))
    return f"{hundredths / 100:.2f} %"
