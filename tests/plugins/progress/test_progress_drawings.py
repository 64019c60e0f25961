"""Drawings of progress: bars that fill their box, dots where astronomers would draw them, and days of months."""

from __future__ import annotations

import calendar
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven.plugins.progress.progress_drawings import (
    SHADE_COUNT,
    build_calendar_months,
    draw_bar_path,
    draw_sky_path,
    list_calendar_years,
)
from hven.plugins.progress.stage_counts import StagePlaces


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=8))
def test_bars_stand_side_by_side(counts: list[int]) -> None:
    total = sum(counts)
    end = 0.0
    for number, count in enumerate(counts):
        path = draw_bar_path(counts, number, total)
        if not count:
            assert path == ""
            continue
        begin, width = (float(text) for text in re.fullmatch(r"M([\d.]+) 0h([\d.]+)v8h-\2z", path).groups())  # type: ignore[union-attr]
        assert begin == pytest.approx(end, abs=0.03)
        assert width == pytest.approx(100 * count / total, abs=0.01)
        end = begin + width
    assert end == pytest.approx(100 if total else 0, abs=0.1)


def draw_points(longitudes: list[float], latitudes: list[float]) -> list[tuple[float, float]]:
    path = draw_sky_path(StagePlaces(longitudes=np.array(longitudes), latitudes=np.array(latitudes)))
    return [(float(x), float(y)) for x, y in re.findall(r"M(-?[\d.e-]+) (-?[\d.e-]+)h0", path)]


def test_dots_are_in_the_hammer_projection() -> None:
    assert draw_points([0.0], [0.0]) == [(0.0, 0.0)]
    assert draw_points([90.0], [0.0]) == [(-1.531, 0.0)], "east is to the left: 2 sqrt(2) sin(45) / sqrt(1 + cos(45))"
    assert draw_points([270.0], [0.0]) == [(1.531, 0.0)]
    assert draw_points([12.0], [90.0]) == [(0.0, -1.414)], "north is up"
    assert draw_points([10.0, 10.0], [5.0, 5.0]) == draw_points([10.0], [5.0]), "equal places are one dot"
    assert draw_points([], []) == []


@given(st.lists(st.tuples(st.floats(-720, 720), st.floats(-90, 90)), max_size=50))
def test_dots_are_inside_the_map(places: list[tuple[float, float]]) -> None:
    points = draw_points([place[0] for place in places], [place[1] for place in places])
    assert all((x / 2) ** 2 + y**2 <= 2.01 for x, y in points)
    assert len(points) <= len(places)


@given(st.integers(1, 9999), st.dictionaries(st.integers(1, 365), st.integers(1, 10**6), max_size=40))
def test_each_day_of_a_year_has_its_count(year: int, counts: dict[int, int]) -> None:
    first = np.datetime64(f"{year:04d}-01-01", "D")
    day_counts = {first + (number - 1): count for number, count in counts.items()}
    months = build_calendar_months(year, day_counts)
    assert [sum(day is not None for day in month) for month in months] == [
        calendar.monthrange(year, month)[1] for month in range(1, 13)
    ]
    assert all(len(month) == 31 for month in months)
    days = {day.name: day for month in months for day in month if day is not None}
    assert {name: day.row_count for name, day in days.items() if day.row_count} == {
        str(day): count for day, count in day_counts.items()
    }
    assert all((day.shade == 0) == (day.row_count == 0) and day.shade <= SHADE_COUNT for day in days.values())
    assert list_calendar_years(day_counts) == ([year] if counts else [])
