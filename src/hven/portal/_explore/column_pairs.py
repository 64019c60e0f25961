"""Pairs ``x_min``, ``x_max`` as one column, from and to: what it is called, and what its cells say; once where both say the same."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.portal._explore.cell_text import Cell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.portal._explore.cell_text import Heading
    from hven.portal._explore.column_labels import Labels

DASH = " \N{EN DASH} "
_DAY = re.compile(r"\d{4}-\d\d-\d\d ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two columns that are told as one: `low` and `high` are their places among the headings, as the values rise."""

    name: str
    label: str
    title: str
    low: int
    high: int


def pairs(headings: Sequence[Heading], labels: Labels) -> list[Pair]:
    """Find the pairs among columns that are shown in the same unit; none where the reader wants names as queries write them."""
    if labels.raw:
        return []
    at = {one.column.name: place for place, one in enumerate(headings)}
    found = {}
    for one in headings:
        name, low, high = labels.pairs.get(one.column.name, ("", None, None))
        if low is None or high is None or name in found or not {low.name, high.name} <= at.keys():
            continue
        first, last = at[low.name], at[high.name]
        if headings[first].unit != headings[last].unit or one.column.link:
            continue
        if headings[first].scale.inverse:  # the lowest frequency is the longest wave
            first, last = last, first
        label, title = labels.name(name, one.unit), f"{low.name}, {high.name}"
        found[name] = Pair(name=name, label=label, title=title, low=first, high=last)
    return list(found.values())


def joined(low: Cell | None, high: Cell | None) -> Cell | None:
    """Write two cells as one."""
    if low is None:
        return None if high is None else Cell(text=f"…{DASH}{high.text}", title=high.title)
    if high is None:
        return Cell(text=f"{low.text}{DASH}…", title=low.title)
    if low.text == high.text:
        return low
    end = high.text[11:] if _DAY.match(low.text) and low.text[:11] == high.text[:11] else high.text
    title = f"{low.title or low.text}{DASH}{high.title or high.text}" if low.title or high.title else ""
    return Cell(text=f"{low.text}{DASH}{end}", title=title)


def places(headings: Sequence[Heading], found: Sequence[Pair]) -> list[int | Pair]:
    """Return what stands side by side: places of headings, and pairs where the first of their two columns stood."""
    of = {place: one for one in found for place in (one.low, one.high)}
    order: dict[int | Pair, None] = {}
    for place in range(len(headings)):
        order.setdefault(of.get(place, place))
    return list(order)
