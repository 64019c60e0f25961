"""Parse regions as services write them: STC-S, DALI's shapes as text or arrays, and ASCII MOCs.

This parser is independent of that of the model, and reports what is wrong.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky import footprints, healpix

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NUMBER_PATTERN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
FRAME_WORDS = {
    "icrs",
    "fk5",
    "fk4",
    "j2000",
    "b1950",
    "galactic",
    "galactic_ii",
    "ecliptic",
    "geocenter",
    "barycenter",
    "heliocenter",
    "topocenter",
    "unknownframe",
    "unknownrefpos",
    "spherical2",
    "unknown",
    "relocatable",
    "body",
    "planetocentric",
}
NUMBERS_PER_SHAPE = {"point": 2, "position": 2, "circle": 3, "box": 4, "range": 4}
SET_OPERATORS = {"union", "intersection", "not", "multishape"}
Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionShape:
    """A point, circle, box, range or polygon, with its numbers in degrees."""

    kind: str
    numbers: tuple[float, ...]

    @property
    def corners(self) -> list[tuple[float, float]]:
        """Corners of a polygon, two of a range; else the centre."""
        if self.kind == "range":
            west, east, south, north = self.numbers
            return [(west, south), (east, north)]
        pairs = list(zip(self.numbers[::2], self.numbers[1::2], strict=False))
        if self.kind == "polygon":
            return pairs
        return pairs[:1]


def parse_region_shapes(region: object, xtype: str = "") -> list[RegionShape]:
    """Parse a region.

    Raises
    ------
    ValueError
        The value is no region; the message says why.
    """
    if isinstance(region, list | tuple):
        if any(coordinate is None for coordinate in region):
            raise ValueError("one of its numbers is missing")
        shape = _build_region_shape(xtype.lower() or "polygon", [float(coordinate) for coordinate in region])
        return [shape]
    words = re.findall(r"[()]|[^\s(),]+", str(region))
    if not words:
        raise ValueError("it is empty")
    _check_brackets(words)
    parsed_shapes = []
    kind = ""
    numbers: list[float] = []
    for word in words:
        lower_word = word.lower()
        if word in "()":
            continue
        if NUMBER_PATTERN.fullmatch(word):
            numbers.append(float(word))
        elif lower_word in NUMBERS_PER_SHAPE or lower_word == "polygon":
            if kind:
                parsed_shapes.append(_build_region_shape(kind, numbers))
            kind = lower_word
            numbers = []
        elif lower_word not in FRAME_WORDS and lower_word not in SET_OPERATORS:
            raise ValueError(f"{word[:20]!r} is neither a shape nor a frame")
        elif numbers and lower_word in FRAME_WORDS:
            raise ValueError(f"{word[:20]!r} must come before the numbers")
    if not kind:
        raise ValueError("it contains no shape")
    parsed_shapes.append(_build_region_shape(kind, numbers))
    return parsed_shapes


def _check_brackets(words: list[str]) -> None:
    depth = 0
    for word in words:
        if word == "(":
            depth += 1
        elif word == ")":
            depth -= 1
        if depth < 0:
            raise ValueError("a closing parenthesis has no matching opening parenthesis")
    if depth:
        raise ValueError("an opening parenthesis has no matching closing parenthesis")


def _build_region_shape(shape_kind: str, numbers: list[float]) -> RegionShape:
    if shape_kind == "position":
        shape_kind = "point"
    expected_count = NUMBERS_PER_SHAPE.get(shape_kind)
    if shape_kind == "polygon":
        if len(numbers) % 2:
            raise ValueError(f"a polygon has an odd number of coordinates ({len(numbers)})")
        if len(numbers) < 6:
            raise ValueError(f"a polygon has {len(numbers) // 2} corners, but needs at least three")
    elif expected_count is None:
        raise ValueError(f"{shape_kind!r} is not a shape")
    elif len(numbers) != expected_count:
        raise ValueError(f"a {shape_kind} has {len(numbers)} numbers, not {expected_count}")
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a number is not finite")
    return RegionShape(kind=shape_kind, numbers=tuple(numbers))


def describe_off_sphere_coordinate(shape: RegionShape) -> str:
    """Return what does not lie on the sphere; empty if all of it does."""
    for lon, lat in shape.corners:
        if not -90 <= lat <= 90:
            return f"latitude {lat:g}"
        if not -180 <= lon <= 360:
            return f"longitude {lon:g}"
    if shape.kind == "circle" and not 0 <= shape.numbers[2] <= 180:
        return f"radius {shape.numbers[2]:g}"
    return ""


def to_unit_vector(lon: float, lat: float) -> Vector:
    """Return the unit vector of a direction."""
    lon_radians = math.radians(lon)
    lat_radians = math.radians(lat)
    return (
        math.cos(lat_radians) * math.cos(lon_radians),
        math.cos(lat_radians) * math.sin(lon_radians),
        math.sin(lat_radians),
    )


def has_wrong_orientation(shape: RegionShape, *, seen_from_outside: bool) -> bool:
    """Return whether a polygon runs clockwise, seen from inside the sphere or from outside.

    The rule is that of the checks of an ingest.
    """
    is_clockwise = footprints.is_clockwise(
        np.array([0, len(shape.numbers)]), np.array(shape.numbers), from_outside=seen_from_outside
    )
    return bool(is_clockwise[0])


def compute_shape_centre(shape: RegionShape) -> tuple[float, float]:
    """Return the direction of the mean of the corners."""
    x, y, z = (sum(axis) for axis in zip(*(to_unit_vector(lon, lat) for lon, lat in shape.corners), strict=True))
    return math.degrees(math.atan2(y, x)) % 360, math.degrees(math.atan2(z, math.hypot(x, y)))


def compute_angular_separation(first_direction: tuple[float, float], second_direction: tuple[float, float]) -> float:
    """Return the angle between two directions, in degrees."""
    first_vector = to_unit_vector(*first_direction)
    second_vector = to_unit_vector(*second_direction)
    cross = (
        first_vector[1] * second_vector[2] - first_vector[2] * second_vector[1],
        first_vector[2] * second_vector[0] - first_vector[0] * second_vector[2],
        first_vector[0] * second_vector[1] - first_vector[1] * second_vector[0],
    )
    cross_length = math.hypot(*cross)
    dot_product = sum(first * second for first, second in zip(first_vector, second_vector, strict=True))
    return math.degrees(math.atan2(cross_length, dot_product))


def parse_moc_cell_ranges(moc_text: str) -> list[tuple[int, int, int]]:
    """Parse an ASCII MOC into spatial cells: (order, first, last).

    Raises
    ------
    ValueError
        The text is not an ASCII MOC (MOC 2.0 sec. 4.3.2).
    """
    if re.search(r"[a-z]", moc_text):
        space = " ".join(re.findall(r"s\s*([\d\s/,-]+)", moc_text))
    else:
        space = moc_text
    if re.sub(r"[\d\s/,\-ts]", "", moc_text):
        raise ValueError("it contains something other than orders, indexes and ranges")
    return list(_iterate_moc_cell_ranges(space))


def _iterate_moc_cell_ranges(text: str) -> Iterator[tuple[int, int, int]]:
    order: int | None = None
    for word in re.split(r"[\s,]+", text.strip()):
        if not word:
            continue
        head, slash, tail = word.rpartition("/")
        if slash:
            if not head.isdigit() or int(head) > 29:
                raise ValueError(f"{head!r} is not an order from 0 to 29")
            order = int(head)
        if not tail:
            continue  # a trailing order/ gives the resolution
        if order is None:
            raise ValueError(f"{word!r} has no order before it")
        first, dash, last = tail.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(f"{tail!r} is neither an index nor a range")
        low = int(first)
        high = int(last or first)
        if low > high:
            raise ValueError(f"the range {tail} runs backwards")
        if high >= 12 << (2 * order):
            raise ValueError(f"order {order} has no cell {high} (its last cell is {(12 << (2 * order)) - 1})")
        yield order, low, high


def is_any_direction_in_moc(
    cell_ranges: Sequence[tuple[int, int, int]], directions: Sequence[tuple[float, float]]
) -> bool:
    """Return whether any of some directions is in a MOC, or in a cell beside one of its cells."""
    lon = np.array([direction[0] % 360 for direction in directions])
    lat = np.array([direction[1] for direction in directions])
    for order in {direction[0] for direction in cell_ranges}:
        cell_indexes = np.asarray(healpix.compute_cell_indexes(order, lon, lat))
        for level, low, high in cell_ranges:
            if level == order and bool(((cell_indexes >= low) & (cell_indexes <= high)).any()):
                return True
    return False
