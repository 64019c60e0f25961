"""Shapes as text: DALI's point, circle, range, polygon, shape and multishape, and the STC-S that ADQL's REGION takes.

Errors are ValueError; the message names the 0-based offset of the word at fault, which stands in `offset` as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.sky._shapes import Box, Circle, Point, Polygon, Range, Region, Shape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_FRAMES = {
    "ICRS": "ICRS", "J2000": "FK5", "FK5": "FK5", "B1950": "FK4", "FK4": "FK4", "GALACTIC": "GALACTIC", "GALACTIC_I": "GALACTIC_I",
    "GALACTIC_II": "GALACTIC", "SUPER_GALACTIC": "SUPER_GALACTIC", "ECLIPTIC": "ECLIPTIC", "GEO_C": "GEO_C", "GEO_D": "GEO_D", "UNKNOWNFRAME": None,
}  # fmt: skip
_REFERENCES = frozenset(
    "GEOCENTER BARYCENTER HELIOCENTER TOPOCENTER LSR LSRK LSRD GALACTIC_CENTER LOCAL_GROUP_CENTER EMBARYCENTER MOON "  # noqa: SIM905  (words of STC-S)
    "MERCURY VENUS MARS JUPITER SATURN URANUS NEPTUNE PLUTO RELOCATABLE UNKNOWNREFPOS".split()
)
_FLAVOURS = frozenset({"SPHERICAL2", "CARTESIAN2", "CARTESIAN3"})
_SHAPES = frozenset(
    {
        "POSITION",
        "CIRCLE",
        "POLYGON",
        "BOX",
        "ALLSKY",
        "CONVEX",
        "UNION",
        "INTERSECTION",
        "NOT",
        "DIFFERENCE",
        "ELLIPSE",
        "POSITIONINTERVAL",
    }
)


class ShapeError(ValueError):
    """Text that is no shape; `offset` counts characters from 0."""

    def __init__(self, message: str, offset: int) -> None:
        self.offset = offset
        super().__init__(f"{message} (at character {offset + 1})")


@dataclass(frozen=True, slots=True)
class Placed:
    """A shape of STC-S and the frame it is said in: an upper-case word (ICRS, FK5, FK4, GALACTIC ...), or None if none is said."""

    shape: Shape
    frame: str | None


class _Words:
    def __init__(self, text: str, *, brackets: bool) -> None:
        pattern = r"[()]|[^\s()]+" if brackets else r"\S+"
        self.text = text
        self.words = [(match.group(), match.start()) for match in re.finditer(pattern, text)]
        self.at = 0

    @property
    def offset(self) -> int:
        return self.words[self.at][1] if self.at < len(self.words) else len(self.text)

    def peek(self) -> str:
        return self.words[self.at][0] if self.at < len(self.words) else ""

    def take(self) -> str:
        word = self.peek()
        self.at += 1
        return word

    def numbers(self) -> list[float]:
        found = []
        while self.at < len(self.words):
            value = _number(self.peek())
            if value is None:
                break
            found.append(value)
            self.at += 1
        return found


def _number(word: str) -> float | None:
    if not re.fullmatch(r"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|inf(inity)?|nan)", word, re.IGNORECASE):
        return None
    return float(word)


def _guard(make: Callable[[], Shape], offset: int) -> Shape:
    try:
        return make()
    except ShapeError:
        raise
    except ValueError as error:
        raise ShapeError(str(error), offset) from None


def _count(kind: str, numbers: Sequence[float], wanted: int, offset: int) -> None:
    if len(numbers) != wanted:
        message = f"a {kind} needs {wanted} numbers, not {len(numbers)}"
        raise ShapeError(message, offset)


def _of_numbers(kind: str, numbers: list[float], offset: int, *, side: str = "smaller") -> Shape:
    if kind == "point":
        _count(kind, numbers, 2, offset)
        return _guard(lambda: Point(*numbers), offset)
    if kind == "circle":
        _count(kind, numbers, 3, offset)
        return _guard(lambda: Circle(*numbers), offset)
    if kind == "range":
        _count(kind, numbers, 4, offset)
        return _guard(lambda: Range(*numbers), offset)
    if len(numbers) % 2 or len(numbers) < 6:
        message = f"a polygon needs three pairs of numbers or more, not {len(numbers)} numbers"
        raise ShapeError(message, offset)
    return _guard(lambda: Polygon(tuple(numbers[::2]), tuple(numbers[1::2]), side=side), offset)


def parse(kind: str, text: str, *, side: str = "smaller") -> Shape:
    """Parse a shape from DALI text (DALI 1.2, 3.3).

    Parameters
    ----------
    kind
        The xtype: point, circle, range, polygon (numbers alone), shape, multishape (words and numbers), or ``pos``
        for the POS parameter of SIA, SSA and SODA (CIRCLE, RANGE, POLYGON in any case).
    text
        Numbers in degrees.
    side
        Which side of a polygon is meant; see `Polygon`.

    Returns
    -------
    shape
        On the sphere, in no frame.

    Raises
    ------
    ShapeError
        A ValueError: what is wrong, and where.
    """
    words = _Words(text, brackets=False)
    if kind in {"point", "circle", "range", "polygon"}:
        numbers = words.numbers()
        if words.peek():
            message = f"{words.peek()!r} is no number"
            raise ShapeError(message, words.offset)
        return _of_numbers(kind, numbers, 0, side=side)
    if kind not in {"shape", "multishape", "pos"}:
        message = f"no kind of shape is called {kind!r}"
        raise ShapeError(message, 0)
    parts: list[Shape] = []
    while words.peek():
        offset, word = words.offset, words.take()
        name = word if kind != "pos" else word.lower()
        if name not in {"circle", "range", "polygon", "point"} or (name == "point" and kind != "multishape"):
            message = f"{word!r} is no shape: circle, range or polygon"
            raise ShapeError(message, offset)
        parts.append(_of_numbers(name, words.numbers(), offset, side=side))
        if kind != "multishape" and words.peek():
            message = f"unexpected {words.peek()!r} after the {name}"
            raise ShapeError(message, words.offset)
    if not parts:
        message = "an empty text is no shape"
        raise ShapeError(message, 0)
    return parts[0] if kind != "multishape" else Region(tuple(parts))


def write(kind: str, shape: Shape) -> str:
    """Serialize a shape as the DALI xtype `kind`; the reverse of `parse`.

    Parameters
    ----------
    kind
        Point, circle, range, polygon, shape or multishape.
    shape
        One that the xtype can hold.

    Returns
    -------
    text
        Numbers in degrees.

    Raises
    ------
    ValueError
        That xtype cannot hold the shape.
    """
    name = type(shape).__name__.lower()
    if kind == "multishape":
        return shape.text()
    if kind == "shape" and name in {"circle", "range", "polygon"}:
        return shape.text()
    if kind == name and name in {"point", "circle", "range", "polygon"}:
        return shape.text().removeprefix(f"{name} ")
    message = f"a {name} cannot be written as {kind}"
    raise ValueError(message)


def stcs(text: str) -> Placed:
    """Parse the STC-S that ADQL's REGION and TAP 1.0's adql:REGION use: Position, Circle, Polygon, Box, AllSky, Union.

    ``Circle ICRS GEOCENTER 10 20 0.5``: a shape, then optionally frame, reference position, flavour, ``unit deg`` and the like, in any case.
    ``Union ICRS (Circle 1 2 3 Polygon ...)``. Polygons are read with the smaller area inside.

    Parameters
    ----------
    text
        Numbers in degrees.

    Returns
    -------
    placed
        The shape, and the frame that the text names.

    Raises
    ------
    ShapeError
        A ValueError: what is wrong, and where.
    """
    words = _Words(text, brackets=True)
    placed = _stcs(words, None)
    if words.peek():
        message = f"unexpected {words.peek()!r} after the region"
        raise ShapeError(message, words.offset)
    return placed


def _stcs(words: _Words, outer: str | None) -> Placed:
    offset, word = words.offset, words.take()
    kind = word.upper()
    if not word:
        message = "an empty text is no region"
        raise ShapeError(message, offset)
    if kind not in _SHAPES:
        message = f"{word!r} is no shape: Position, Circle, Polygon, Box or Union"
        raise ShapeError(message, offset)
    if kind == "CONVEX" or kind in {"INTERSECTION", "NOT", "DIFFERENCE", "ELLIPSE", "POSITIONINTERVAL"}:
        message = f"the region {word} is not supported: write Position, Circle, Polygon, Box, AllSky or a Union of them"
        raise ShapeError(message, offset)
    _fillfactor(words)
    frame = _frame(words, outer)
    if kind == "UNION":
        return Placed(_union(words, frame, offset), frame)
    numbers = words.numbers()
    shape: Shape
    if kind == "ALLSKY":
        _count("AllSky", numbers, 0, offset)
        shape = Range(0.0, 360.0, -90.0, 90.0)
    elif kind == "BOX":
        _count("Box", numbers, 4, offset)
        shape = _guard(lambda: Box(*numbers), offset)  # bsize is the full size, as in ADQL's BOX
    else:
        shape = _of_numbers({"POSITION": "point", "CIRCLE": "circle", "POLYGON": "polygon"}[kind], numbers, offset)
    _trailer(words)
    return Placed(shape, frame)


def _fillfactor(words: _Words) -> None:
    if words.peek().upper() == "FILLFACTOR":
        words.take()
        if _number(words.peek()) is None:
            message = "a number must follow fillfactor"
            raise ShapeError(message, words.offset)
        words.take()


def _frame(words: _Words, outer: str | None) -> str | None:
    frame = outer
    if words.peek().upper() in _FRAMES:
        frame = _FRAMES[words.take().upper()]
    if words.peek().upper() in _REFERENCES:
        words.take()
    if words.peek().upper() in _FLAVOURS:
        offset, flavour = words.offset, words.take()
        if flavour.upper() != "SPHERICAL2":
            message = f"{flavour} coordinates are not supported: SPHERICAL2 only"
            raise ShapeError(message, offset)
    word = words.peek()
    if word and _number(word) is None and word != "(" and word.upper() not in _SHAPES:
        message = f"{word!r} is neither a frame (ICRS, FK5, FK4, GALACTIC ...), a reference position nor a number"
        raise ShapeError(message, words.offset)
    return frame


def _union(words: _Words, frame: str | None, offset: int) -> Shape:
    if words.take() != "(":
        message = "the parts of a Union stand in parentheses"
        raise ShapeError(message, offset)
    parts: list[Shape] = []
    while words.peek() not in {")", ""}:
        part = _stcs(words, frame)
        if part.frame != frame:
            message = "the parts of a Union must be in one frame"
            raise ShapeError(message, offset)
        parts.append(part.shape)
    if words.take() != ")":
        message = "the closing parenthesis of the Union is missing"
        raise ShapeError(message, len(words.text))
    return _guard(lambda: Region(tuple(parts)), offset)


def _trailer(words: _Words) -> None:
    """Read over what may follow a shape: a position's sub-phrases, and the unit, which must be degrees."""
    if words.peek().upper() == "POSITION":  # "Circle ... Position 1 2": a representative position
        words.take()
        words.numbers()
    if words.peek().upper() == "UNIT":
        words.take()
        offset, unit = words.offset, words.take()
        if unit.lower() not in {"deg", "degree", "degrees"}:
            message = f"the unit {unit!r} is not supported: deg only"
            raise ShapeError(message, offset)
    while words.peek().upper() in {"ERROR", "RESOLUTION", "SIZE", "PIXSIZE"}:
        words.take()
        words.numbers()
