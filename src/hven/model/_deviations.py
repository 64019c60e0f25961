"""`ReadDeviation`: the record of what a reader narrows, drops or reinterprets. Sources and formats share it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

MAX_DEVIATIONS = 500  # different ones that are listed for a table; a file with more of them is hostile


class DeviationKind(StrEnum):
    """What happens to a value, a column, a row or a table.

    The page ``docs/reference/values.md`` states the policy of each kind.

    Attributes
    ----------
    WHOLE_NUMBER
        A whole number that 64 bits with a sign cannot hold.
    PRECISION
        Digits that the column's type cannot hold.
    OVERFLOW
        A finite number that is too large for the column's type.
    NAN
        NaN or an infinity, where the column holds none.
    NULL
        A value that is read as missing, or a missing value that cannot be told from a value.
    ZONE_OFFSET
        A time with an offset from UTC.
    LEAP_SECOND
        A time with second 60.
    DAY_END
        The time 24:00.
    DUPLICATE_NAME
        A column whose name another column has.
    OTHER_TABLE
        A table of the file that is not read.
    DROPPED_COLUMN
        A column that is not read, such as a nested type.
    DROPPED_ROW
        Rows that are not read.
    GEOMETRY
        A region that is changed.
    TYPE
        Values that are read as another type than the carrier declares.
    METADATA
        Metadata beside the values that refer to nothing, or that contradict each other.
    SERVICE
        A remark of a service about its answer, or about an answer that may be incomplete.
    """

    WHOLE_NUMBER = "whole-number"
    PRECISION = "precision"
    OVERFLOW = "overflow"
    NAN = "nan"
    NULL = "null"
    ZONE_OFFSET = "zone-offset"
    LEAP_SECOND = "leap-second"
    DAY_END = "day-end"
    DUPLICATE_NAME = "duplicate-name"
    OTHER_TABLE = "other-table"
    DROPPED_COLUMN = "dropped-column"
    DROPPED_ROW = "dropped-row"
    GEOMETRY = "geometry"
    TYPE = "type"
    METADATA = "metadata"
    SERVICE = "service"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadDeviation:
    """Something that a reader narrows, drops or reinterprets.

    Attributes
    ----------
    kind
        The policy that applies.
    message
        A sentence without the count and the place. Reports of the same kind, column and message are added up.
    column
        The column at fault; None: the table or the file as a whole.
    count
        Number of values or rows; None: it applies to the whole column, file or service.
    file, row
        Where the first one stands; `row` counts data rows from 1.
    value
        The first one, as it stands there.
    remedy
        What the curator can do; empty: nothing needs to be done.
    """

    kind: DeviationKind
    message: str
    column: str | None = None
    count: int | None = None
    file: str | None = None
    row: int | None = None
    value: str | None = None
    remedy: str = ""

    @property
    def place(self) -> str:
        """Where the first one stands, in words; empty if it is not known."""
        if self.row is not None:
            row = f"row {self.row:,}"
        else:
            row = ""
        return " ".join(part for part in (self.file, row) if part)

    def __str__(self) -> str:
        """Write the sentence with the column, the count, the first place and the first value."""
        if self.column is not None:
            text = f"{self.column}: {self.message}"
        else:
            text = self.message
        facts = []
        if self.count is not None:
            facts.append(f"{self.count:,} {'value' if self.count == 1 else 'values'}")
        if self.place or self.value is not None:
            if self.value is None:
                value_text = ""
            else:
                value_text = " ".join(self.value.split())[:80]
            facts.append("first: " + ": ".join(part for part in (self.place, value_text) if part))
        if facts:
            return f"{text} ({', '.join(facts)})"
        return text


def build_duplicate_name_deviation(column: str, new_name: str, file: str | None = None) -> ReadDeviation:
    """Describe a column that is renamed because another one has its name.

    Parameters
    ----------
    column
        The name as the carrier has it.
    new_name
        The name under which it is read.
    file
        Name of the file or service.

    Returns
    -------
    deviation
        Of the kind `DUPLICATE_NAME`.
    """
    message = f"several columns have this name; Hven renames the next one to {new_name}"
    return ReadDeviation(kind=DeviationKind.DUPLICATE_NAME, column=column, file=file, message=message)


def add_deviation(deviations: list[ReadDeviation], deviation: ReadDeviation) -> None:
    """Add a deviation to a list; those of the same kind, column and message are added up, and the first place stays.

    Parameters
    ----------
    deviations
        The list, which is changed. It holds `MAX_DEVIATIONS` at most; further ones are counted together by their kind.
    deviation
        What a reader reports.
    """
    position = _find_matching_deviation(deviations, deviation)
    if position is None and len(deviations) >= MAX_DEVIATIONS:
        deviation = ReadDeviation(
            kind=deviation.kind, message=f"further reports of the kind {deviation.kind}", count=deviation.count or 1
        )
        position = _find_matching_deviation(deviations, deviation)
    if position is None:
        deviations.append(deviation)
        return
    first = deviations[position]
    if first.count is not None or deviation.count is not None:
        count = (first.count or 0) + (deviation.count or 0)
        deviations[position] = replace(first, count=count)


def _find_matching_deviation(deviations: list[ReadDeviation], deviation: ReadDeviation) -> int | None:
    """Find a deviation of the same kind, column and message."""
    key = (deviation.kind, deviation.column, deviation.message)
    for position, candidate in enumerate(deviations):
        if (candidate.kind, candidate.column, candidate.message) == key:
            return position
    return None
