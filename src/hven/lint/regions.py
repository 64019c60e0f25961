"""Regions as services write them: STC-S, DALI's shapes as text or as arrays, MOC in ASCII; an own reader, which says what is wrong."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hven.model.sky import footprints, healpix

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
WORDS = {
    "icrs", "fk5", "fk4", "j2000", "b1950", "galactic", "galactic_ii", "ecliptic", "geocenter", "barycenter", "heliocenter", "topocenter",
    "unknownframe", "unknownrefpos", "spherical2", "unknown", "relocatable", "body", "planetocentric",
}  # fmt: skip
LENGTHS = {"point": 2, "position": 2, "circle": 3, "box": 4, "range": 4}
JOINS = {"union", "intersection", "not", "multishape"}
Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One shape: point, circle, box, range or polygon, and its numbers in degrees."""

    kind: str
    numbers: tuple[float, ...]

    @property
    def corners(self) -> list[tuple[float, float]]:
        """Corners of a polygon, two of a range; else the centre."""
        if self.kind == "range":
            west, east, south, north = self.numbers
            return [(west, south), (east, north)]
        pairs = list(zip(self.numbers[::2], self.numbers[1::2], strict=False))
        return pairs if self.kind == "polygon" else pairs[:1]


def shapes(said: object, xtype: str = "") -> list[Shape]:
    """Read a region.

    Raises
    ------
    ValueError
        It is none; the message says why.
    """
    if isinstance(said, list | tuple):
        if any(one is None for one in said):
            raise ValueError("one of its numbers is missing")
        return [_shape(xtype.lower() or "polygon", [float(one) for one in said])]
    words = re.findall(r"[()]|[^\s(),]+", str(said))
    if not words:
        raise ValueError("it is empty")
    found = []
    kind, numbers = "", list[float]()
    depth = 0
    for word in words:
        lower = word.lower()
        if lower in {"(", ")"}:
            depth += 1 if lower == "(" else -1
            if depth < 0:
                raise ValueError("a ) without its (")
        elif NUMBER.fullmatch(word):
            numbers.append(float(word))
        elif lower in LENGTHS or lower == "polygon":
            if kind:
                found.append(_shape(kind, numbers))
            kind, numbers = lower, []
        elif lower not in WORDS and lower not in JOINS:
            raise ValueError(f"{word[:20]!r} is no shape and no frame")
        elif numbers and lower in WORDS:
            raise ValueError(f"{word[:20]!r} stands between numbers")
    if depth:
        raise ValueError("a ( without its )")
    if not kind:
        raise ValueError("there is no shape in it")
    found.append(_shape(kind, numbers))
    return found


def _shape(kind: str, numbers: list[float]) -> Shape:
    kind = "point" if kind == "position" else kind
    wanted = LENGTHS.get(kind)
    if kind == "polygon":
        if len(numbers) % 2:
            raise ValueError(f"a polygon with {len(numbers)} numbers: they are pairs")
        if len(numbers) < 6:
            raise ValueError(f"a polygon with {len(numbers) // 2} corners: it has three at least")
    elif wanted is None:
        raise ValueError(f"{kind!r} is no shape")
    elif len(numbers) != wanted:
        raise ValueError(f"a {kind} with {len(numbers)} numbers, not {wanted}")
    if not all(math.isfinite(one) for one in numbers):
        raise ValueError("a number is not finite")
    return Shape(kind=kind, numbers=tuple(numbers))


def off_sphere(shape: Shape) -> str:
    """Return what is not on the sphere; empty: all is."""
    for lon, lat in shape.corners:
        if not -90 <= lat <= 90:
            return f"latitude {lat:g}"
        if not -180 <= lon <= 360:
            return f"longitude {lon:g}"
    if shape.kind == "circle" and not 0 <= shape.numbers[2] <= 180:
        return f"radius {shape.numbers[2]:g}"
    return ""


def vector(lon: float, lat: float) -> Vector:
    """Return the unit vector of a direction."""
    a, b = math.radians(lon), math.radians(lat)
    return (math.cos(b) * math.cos(a), math.cos(b) * math.sin(a), math.sin(b))


def turns_wrong(shape: Shape, *, outside: bool) -> bool:
    """Return whether a polygon runs clockwise seen from inside the sphere, or from outside: by the rule of the ingest's checks."""
    return bool(footprints.wrong_way(np.array([0, len(shape.numbers)]), np.array(shape.numbers), outside=outside)[0])


def middle(shape: Shape) -> tuple[float, float]:
    """Return the direction of the mean of the corners."""
    x, y, z = (sum(axis) for axis in zip(*(vector(lon, lat) for lon, lat in shape.corners), strict=True))
    return math.degrees(math.atan2(y, x)) % 360, math.degrees(math.atan2(z, math.hypot(x, y)))


def separation(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Return the angle between two directions, in degrees."""
    u, v = vector(*a), vector(*b)
    cross = (u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0])
    return math.degrees(math.atan2(math.hypot(*cross), sum(p * q for p, q in zip(u, v, strict=True))))


def moc_cells(said: str) -> list[tuple[int, int, int]]:
    """Read the spatial cells of an ASCII MOC: (order, first, last).

    Raises
    ------
    ValueError
        It is none (MOC 2.0 sec. 4.3.2).
    """
    space = " ".join(re.findall(r"s\s*([\d\s/,-]+)", said)) if re.search(r"[a-z]", said) else said
    if re.sub(r"[\d\s/,\-ts]", "", said):
        raise ValueError("there is something besides orders, indexes and ranges in it")
    return list(_cells(space))


def _cells(text: str) -> Iterator[tuple[int, int, int]]:
    order: int | None = None
    for word in re.split(r"[\s,]+", text.strip()):
        if not word:
            continue
        head, slash, tail = word.rpartition("/")
        if slash:
            if not head.isdigit() or int(head) > 29:
                raise ValueError(f"{head!r} is no order: 0 to 29")
            order = int(head)
        if not tail:
            continue  # a trailing order/ gives the resolution
        if order is None:
            raise ValueError(f"{word!r} has no order before it")
        first, dash, last = tail.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(f"{tail!r} is no index and no range")
        low, high = int(first), int(last or first)
        if low > high:
            raise ValueError(f"the range {tail} runs backwards")
        if high >= 12 << (2 * order):
            raise ValueError(f"order {order} has no cell {high}: it has {12 << (2 * order)}")
        yield order, low, high


def in_moc(cells: Sequence[tuple[int, int, int]], places: Sequence[tuple[float, float]]) -> bool:
    """Return whether any of some directions is in a MOC, or in a cell beside one of its cells."""
    lon, lat = np.array([one[0] % 360 for one in places]), np.array([one[1] for one in places])
    for order in {one[0] for one in cells}:
        found = np.asarray(healpix.index(order, lon, lat))
        for level, low, high in cells:
            if level == order and bool(((found >= low) & (found <= high)).any()):
                return True
    return False
