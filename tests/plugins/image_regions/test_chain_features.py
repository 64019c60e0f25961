"""Chain codes in dynamic spectra: areas are those of the pixels that a plain flood finds, valid by shapely; lines go through every pixel."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from shapely.geometry import shape

from hven.plugins.image_regions import contours
from shared import EXAMPLES_FACTOR

STEPS = contours.HELIO_STEPS


def write_features(codes: list[str | None], *, line: bool, x: float = 100.0, y: float = 10.0, dx: float = 1.0, dy: float = 2.0, table: Any = STEPS) -> list[Any]:  # fmt: skip
    one = np.ones(len(codes))
    found = contours.write_chain_codes_as_tfcat(
        pa.array(codes, pa.string()), x * one, y * one, (dx * one, dy * one), table, as_lines=line
    )
    return [None if text is None else json.loads(text) for text in found.to_pylist()]


def walk(code: str) -> list[tuple[int, int]]:
    path = [(0, 0)]
    for digit in code:
        dx, dy = STEPS[int(digit)]
        path.append((path[-1][0] + dx, path[-1][1] + dy))
    return path


def close_walk(steps: list[int]) -> str:
    """Close a walk: what it went, it goes back along the axes."""
    x, y = walk("".join(map(str, steps)))[-1]
    back = ("0" if x > 0 else "4") * abs(x) + ("2" if y > 0 else "6") * abs(y)
    return "".join(map(str, steps)) + back


def count_enclosed_pixels(code: str) -> int:
    """Count the pixels of a walk and those round which it winds, by the angle that it turns as each sees it."""
    path = walk(code)
    if len(path) > 1 and path[-1] == path[0]:
        path = path[:-1]
    pixels = set(path)
    xs, ys = zip(*path, strict=True)
    for x in range(min(xs), max(xs) + 1):
        for y in range(min(ys), max(ys) + 1):
            if (x, y) not in pixels:
                turn = 0
                for (ax, ay), (bx, by) in zip(path, [*path[1:], path[0]], strict=True):
                    if (ay <= y) != (by <= y):  # crosses the row: on which side?
                        side = (bx - ax) * (y - ay) - (x - ax) * (by - ay)
                        turn += (side > 0 and by > ay) - (side < 0 and by < ay)
                if turn:
                    pixels.add((x, y))
    return len(pixels)


@settings(max_examples=60 * EXAMPLES_FACTOR, deadline=None)
@given(
    some.lists(some.lists(some.integers(0, 7), max_size=24), min_size=1, max_size=4),
    some.sampled_from([(1.0, 2.0), (1.0, -2.0), (-60.0, 0.25), (-1.0, -1.0)]),
)
def test_areas_are_those_of_the_pixels(walks: list[list[int]], steps: tuple[float, float]) -> None:
    codes = [close_walk(one) for one in walks]
    dx, dy = steps
    for code, one in zip(codes, write_features(codes, line=False, dx=dx, dy=dy), strict=True):
        drawn = shape(one)
        assert drawn.is_valid
        # an area within an area is left out: what is wound round is all inside
        assert drawn.area >= count_enclosed_pixels(code) * abs(dx * dy) - 1e-6
        alone = sum(
            shape({"type": "Polygon", "coordinates": part}).area
            for part in ([one["coordinates"]] if one["type"] == "Polygon" else one["coordinates"])
        )
        assert alone == pytest.approx(drawn.area)
        path = np.array(walk(code))
        assert drawn.bounds == pytest.approx((*(np.array([100.0, 10.0]) + np.min([path * steps - np.abs(steps) / 2], axis=(0, 1))), *(np.array([100.0, 10.0]) + np.max([path * steps + np.abs(steps) / 2], axis=(0, 1)))))  # fmt: skip


@settings(max_examples=40 * EXAMPLES_FACTOR, deadline=None)
@given(some.lists(some.lists(some.integers(0, 7), max_size=30), min_size=1, max_size=4))
def test_lines_go_through_every_pixel(walks: list[list[int]]) -> None:
    codes = ["".join(map(str, one)) for one in walks]
    for code, one in zip(codes, write_features(codes, line=True), strict=True):
        places = one["coordinates"] if one["type"] == "LineString" else [one["coordinates"]]
        path = [places[0]]
        for at, to in pairwise(places):
            many = round(max(abs(to[0] - at[0]), abs(to[1] - at[1]) / 2))
            path += [
                [at[0] + (to[0] - at[0]) * k / many, at[1] + (to[1] - at[1]) * k / many] for k in range(1, many + 1)
            ]
        assert path == [[100 + x, 10 + 2 * y] for x, y in walk(code)]


def test_what_is_no_chain_has_no_geometry() -> None:
    assert write_features(["4x", None, "44", "44440"], line=False) == [None] * 4
    assert write_features(["4x", None], line=True) == [None] * 2
    assert write_features(["460"], line=False, dx=0.0) == write_features(["460"], line=False, y=np.nan) == [None]
    assert write_features([], line=False) == []
    assert write_features(["444"], line=True, table=contours.FREEMAN_STEPS)[0]["coordinates"] == [[100, 10], [97, 10]]


def test_a_hole_that_nothing_winds_round_is_filled() -> None:
    one = write_features(["4444" + "6666" + "0000" + "2222"], line=False)[0]
    assert (one["type"], shape(one).area) == ("Polygon", 50.0)
    single = write_features([""], line=True)[0]
    assert single == {"type": "Point", "coordinates": [100, 10]}
