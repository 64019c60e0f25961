"""Draw progress: bars of stages, the sky by stage, and the months of a year."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.plugins.progress.stage_counts import StagePlaces

BAR_WIDTH = 100.0  # units of the drawing
SHADE_COUNT = 4  # of days in a calendar
DAYS_IN_LONGEST_MONTH = 31


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarDay:
    """A day of a calendar.

    Attributes
    ----------
    name
        The day: ``2026-03-01``.
    row_count
        Number of rows.
    shade
        0 for no rows, or from 1 for few to `SHADE_COUNT` for many.
    """

    name: str
    row_count: int
    shade: int


def draw_bar_path(counts: Sequence[int], number: int, total: int) -> str:
    """Draw one part of a bar: the share of one stage, after the stages before it.

    Parameters
    ----------
    counts
        Numbers of rows of all stages.
    number
        Which stage to draw, from 0.
    total
        Number of rows that the whole bar represents.

    Returns
    -------
    path
        SVG path in a box of 100 by 8; empty for no rows.
    """
    if not counts[number] or not total:
        return ""
    begin = BAR_WIDTH * sum(counts[:number]) / total
    width = BAR_WIDTH * counts[number] / total
    return f"M{begin:.2f} 0h{width:.2f}v8h-{width:.2f}z"


def draw_sky_path(places: StagePlaces) -> str:
    """Draw dots on the whole sky, in the Hammer projection, with east to the left.

    Parameters
    ----------
    places
        Where the dots are.

    Returns
    -------
    path
        SVG path of strokes without length, in a box of 5.66 by 2.83 around 0.
    """
    half_longitudes = np.radians(-((places.longitudes + 180) % 360 - 180)) / 2
    latitudes = np.radians(places.latitudes)
    roots = np.sqrt(1 + np.cos(latitudes) * np.cos(half_longitudes))
    x = 2 * np.sqrt(2) * np.cos(latitudes) * np.sin(half_longitudes) / roots
    y = -np.sqrt(2) * np.sin(latitudes) / roots
    points = np.unique(np.round(np.column_stack([x, y]), 3) + 0.0, axis=0)  # + 0.0 turns -0.0 into 0.0
    return "".join(f"M{a:g} {b:g}h0" for a, b in points.tolist())


def build_calendar_months(year: int, day_counts: Mapping[np.datetime64, int]) -> list[list[CalendarDay | None]]:
    """Build the months of a year.

    Parameters
    ----------
    year
        The year.
    day_counts
        Days -> numbers of rows, of all years.

    Returns
    -------
    months
        Twelve months with 31 days each; None for days that a month does not have.
    """
    max_count = max((count for day, count in day_counts.items() if _find_year(day) == year), default=0)
    months: list[list[CalendarDay | None]] = []
    for month in range(1, 13):
        day_count = calendar.monthrange(year, month)[1]
        days: list[CalendarDay | None] = []
        for day in range(1, day_count + 1):
            name = f"{year:04d}-{month:02d}-{day:02d}"
            row_count = day_counts.get(np.datetime64(name, "D"), 0)
            shade = 0
            if row_count:
                shade = -(-SHADE_COUNT * row_count // max_count)
            days.append(CalendarDay(name=name, row_count=row_count, shade=shade))
        months.append([*days, *[None] * (DAYS_IN_LONGEST_MONTH - day_count)])
    return months


def list_calendar_years(day_counts: Mapping[np.datetime64, int]) -> list[int]:
    """List the years that have rows.

    Parameters
    ----------
    day_counts
        Days -> numbers of rows.
    """
    return sorted({_find_year(day) for day in day_counts})


def _find_year(day: np.datetime64) -> int:
    return int(str(day)[:4])
