"""How many rows of a table break each rule that has a flag, in all and by group.

Asked of the rows as they are, whoever wrote them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_GROUPS = 500  # that are counted one by one: those with the most flagged rows; the others are put together


@dataclass(slots=True, kw_only=True)
class QualityGroup:
    """Rows that are alike in what they are counted by.

    `of` has its values as text, in the order of `FlagStatistics.by` (None: NULL).

    Attributes
    ----------
    rows
        In all.
    flagged
        Of them, with any flag.
    rules
        How many break each rule.
    """

    of: list[str | None]
    rows: int = 0
    flagged: int = 0
    rules: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class FlagStatistics:
    """What the flags of a table say.

    Attributes
    ----------
    column
        The column of flags.
    bits
        Rule -> its bit.
    rows, flagged
        Rows of the table; those of them that break a rule with a flag.
    rules
        Rule -> rows that break it.
    by
        Names of what rows are counted by.
    groups
        In the order of their values; rules that no row of the group breaks are left out.
    others
        What the groups beyond `MAX_GROUPS` have together.
    """

    column: str
    bits: dict[str, int]
    rows: int = 0
    flagged: int = 0
    rules: dict[str, int] = field(default_factory=dict)
    by: list[str] = field(default_factory=list)
    groups: list[QualityGroup] = field(default_factory=list)
    others: QualityGroup | None = None

    @property
    def clean_share_text(self) -> str:
        """The share of rows without a flag, as a person reads it: rounded so that 100 % means all of them."""
        return format_percent(self.rows - self.flagged, self.rows)

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)

    def format_text(self) -> str:
        """Summarize it in one line.

        Returns
        -------
        text
            With the counts of each rule.
        """
        counts = ", ".join(f"{name} {count:,}" for name, count in self.rules.items() if count)
        return (
            f"{self.column}: {self.clean_share_text} of {self.rows:,} rows without a "
            f"flag{': ' + counts if counts else ''}"
        )


def quality_from_json(document: Mapping[str, Any] | None) -> FlagStatistics | None:
    """Deserialize what `FlagStatistics.to_json` returned.

    Parameters
    ----------
    document
        The object.

    Returns
    -------
    quality
        None if it is none, or of a version that says less.
    """
    if not document:
        return None
    try:
        others_document = document["others"]
        return FlagStatistics(
            **{
                **document,
                "groups": [QualityGroup(**group_document) for group_document in document["groups"]],
                "others": None if others_document is None else QualityGroup(**others_document),
            }
        )
    except (KeyError, TypeError):
        return None


def format_percent(part: int, total: int) -> str:
    """Format a share with two digits, never rounded to 0 or 100 where it is not.

    Parameters
    ----------
    part
        Of the whole.
    total
        Not negative.

    Returns
    -------
    text
        ``12.34 %``; ``-`` of nothing.
    """
    if not total:
        return "-"
    hundredths = round(10_000 * part / total)
    hundredths = min(max(hundredths, int(part > 0)), 10_000 - int(part < total))
    return f"{hundredths / 100:.2f} %"


__all__ = ["MAX_GROUPS", "FlagStatistics", "QualityGroup", "format_percent", "quality_from_json"]
