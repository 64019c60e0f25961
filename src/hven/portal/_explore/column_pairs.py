"""Show pairs of columns ``x_min``, ``x_max`` as one column of ranges.

A cell has one value if both columns have the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.portal._explore.cell_text import TextCell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.portal._explore.cell_text import ColumnHeading
    from hven.portal._explore.column_labels import ColumnLabels

RANGE_DASH = " \N{EN DASH} "
_DAY_PATTERN = re.compile(r"\d{4}-\d\d-\d\d ")


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeColumnPair:
    """Two columns that pages show as one.

    `low_number` and `high_number` are the places of the columns of lower and higher values among the headings.
    """

    name: str
    label: str
    title: str
    low_number: int
    high_number: int


def find_range_column_pairs(headings: Sequence[ColumnHeading], labels: ColumnLabels) -> list[RangeColumnPair]:
    """Find the pairs of columns that are shown in the same unit; none if the reader chose raw names."""
    if labels.is_raw:
        return []
    heading_numbers = {heading.column.name: place for place, heading in enumerate(headings)}
    pairs_by_name = {}
    for heading in headings:
        name, low, high = labels.range_pairs.get(heading.column.name, ("", None, None))
        if low is None or high is None or name in pairs_by_name:
            continue
        if not {low.name, high.name} <= heading_numbers.keys():
            continue
        first = heading_numbers[low.name]
        last = heading_numbers[high.name]
        if headings[first].unit != headings[last].unit or heading.column.link:
            continue
        if headings[first].scale.is_inverse:  # the lowest frequency is the longest wave
            first, last = last, first
        label = labels.label_field(name, heading.unit)
        title = f"{low.name}, {high.name}"
        pairs_by_name[name] = RangeColumnPair(name=name, label=label, title=title, low_number=first, high_number=last)
    return list(pairs_by_name.values())


def join_range_cells(low: TextCell | None, high: TextCell | None) -> TextCell | None:
    """Join the cells of the lower and the higher value."""
    if low is None:
        if high is None:
            return None
        return TextCell(text=f"…{RANGE_DASH}{high.text}", title=high.title)
    if high is None:
        return TextCell(text=f"{low.text}{RANGE_DASH}…", title=low.title)
    if low.text == high.text:
        return low
    if _DAY_PATTERN.match(low.text) and low.text[:11] == high.text[:11]:
        end = high.text[11:]
    else:
        end = high.text
    if low.title or high.title:
        title = f"{low.title or low.text}{RANGE_DASH}{high.title or high.text}"
    else:
        title = ""
    return TextCell(text=f"{low.text}{RANGE_DASH}{end}", title=title)


def order_columns(
    headings: Sequence[ColumnHeading], column_pairs: Sequence[RangeColumnPair]
) -> list[int | RangeColumnPair]:
    """Return the shown columns in order: places of headings, and each pair at the place of its first column."""
    pairs_by_number = {place: pair for pair in column_pairs for place in (pair.low_number, pair.high_number)}
    order: dict[int | RangeColumnPair, None] = {}
    for place in range(len(headings)):
        order.setdefault(pairs_by_number.get(place, place))
    return list(order)
