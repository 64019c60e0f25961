"""Parse and write shapes as text: DALI's point, circle, range, polygon, shape and multishape, and STC-S.

Errors are ValueError; the message names the place of the wrong word, and `offset` holds it, counted from 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.sky._shapes import Box, Circle, Point, Polygon, Range, Shape, ShapeUnion

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_STCS_FRAMES = {
    "ICRS": "ICRS",
    "J2000": "FK5",
    "FK5": "FK5",
    "B1950": "FK4",
    "FK4": "FK4",
    "GALACTIC": "GALACTIC",
    "GALACTIC_I": "GALACTIC_I",
    "GALACTIC_II": "GALACTIC",
    "SUPER_GALACTIC": "SUPER_GALACTIC",
    "ECLIPTIC": "ECLIPTIC",
    "GEO_C": "GEO_C",
    "GEO_D": "GEO_D",
    "UNKNOWNFRAME": None,
}
_STCS_REFERENCE_POSITIONS = frozenset(
    # words of STC-S
    "GEOCENTER BARYCENTER HELIOCENTER TOPOCENTER LSR LSRK LSRD GALACTIC_CENTER LOCAL_GROUP_CENTER "  # noqa: SIM905
    "EMBARYCENTER MOON "
    "MERCURY VENUS MARS JUPITER SATURN URANUS NEPTUNE PLUTO RELOCATABLE UNKNOWNREFPOS".split()
)
_STCS_FLAVORS = frozenset({"SPHERICAL2", "CARTESIAN2", "CARTESIAN3"})
_STCS_SHAPES = frozenset(
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


class ShapeTextError(ValueError):
    """Report a text that is not a shape; `offset` counts characters from 0."""

    def __init__(self, message: str, offset: int) -> None:
        self.offset = offset
        super().__init__(f"{message} (at character {offset + 1})")


@dataclass(frozen=True, slots=True)
class FramedShape:
    """Hold a shape of STC-S and its frame.

    The frame is an upper-case word (ICRS, FK5, FK4, GALACTIC ...), or None if the text names none.
    """

    shape: Shape
    frame: str | None


class _WordReader:
    def __init__(self, text: str, *, brackets: bool) -> None:
        pattern = r"[()]|[^\s()]+" if brackets else r"\S+"
        self.text = text
        self.words = [(match.group(), match.start()) for match in re.finditer(pattern, text)]
        self.position = 0

    @property
    def offset(self) -> int:
        if self.position < len(self.words):
            return self.words[self.position][1]
        return len(self.text)

    def peek_word(self) -> str:
        if self.position < len(self.words):
            return self.words[self.position][0]
        return ""

    def take_word(self) -> str:
        word = self.peek_word()
        self.position += 1
        return word

    def read_numbers(self) -> list[float]:
        numbers = []
        while self.position < len(self.words):
            value = _parse_number(self.peek_word())
            if value is None:
                break
            numbers.append(value)
            self.position += 1
        return numbers


def _parse_number(word: str) -> float | None:
    if not re.fullmatch(r"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|inf(inity)?|nan)", word, re.IGNORECASE):
        return None
    return float(word)


def _build_shape_or_locate_error(build: Callable[[], Shape], offset: int) -> Shape:
    try:
        return build()
    except ShapeTextError:
        raise
    except ValueError as error:
        raise ShapeTextError(str(error), offset) from None


def _require_number_count(kind: str, numbers: Sequence[float], expected_count: int, offset: int) -> None:
    if len(numbers) != expected_count:
        message = f"a {kind} needs {expected_count} numbers, not {len(numbers)}"
        raise ShapeTextError(message, offset)


def _build_shape_from_numbers(kind: str, numbers: list[float], offset: int, *, side: str = "smaller") -> Shape:
    if kind == "point":
        _require_number_count(kind, numbers, 2, offset)
        return _build_shape_or_locate_error(lambda: Point(*numbers), offset)
    if kind == "circle":
        _require_number_count(kind, numbers, 3, offset)
        return _build_shape_or_locate_error(lambda: Circle(*numbers), offset)
    if kind == "range":
        _require_number_count(kind, numbers, 4, offset)
        return _build_shape_or_locate_error(lambda: Range(*numbers), offset)
    if len(numbers) % 2 or len(numbers) < 6:
        message = f"a polygon needs three pairs of numbers or more, not {len(numbers)} numbers"
        raise ShapeTextError(message, offset)
    return _build_shape_or_locate_error(lambda: Polygon(tuple(numbers[::2]), tuple(numbers[1::2]), side=side), offset)


def parse_dali_shape(kind: str, text: str, *, side: str = "smaller") -> Shape:
    """Parse a shape from DALI text (DALI 1.2, 3.3).

    Parameters
    ----------
    kind
        The xtype: point, circle, range, polygon (numbers alone), shape, multishape (words and numbers), or ``pos``
        for the POS parameter of SIA, SSA and SODA (CIRCLE, RANGE, POLYGON in any case).
    text
        Numbers in degrees.
    side
        The side of a polygon that is inside; see `Polygon`.

    Returns
    -------
    shape
        The shape, without a frame.

    Raises
    ------
    ShapeTextError
        A ValueError, with the problem and its place.
    """
    reader = _WordReader(text, brackets=False)
    if kind in {"point", "circle", "range", "polygon"}:
        numbers = reader.read_numbers()
        if reader.peek_word():
            message = f"{reader.peek_word()!r} is not a number"
            raise ShapeTextError(message, reader.offset)
        return _build_shape_from_numbers(kind, numbers, 0, side=side)
    if kind not in {"shape", "multishape", "pos"}:
        message = f"{kind!r} is not a kind of shape"
        raise ShapeTextError(message, 0)
    parts: list[Shape] = []
    while reader.peek_word():
        offset = reader.offset
        word = reader.take_word()
        name = word
        if kind == "pos":
            name = word.lower()
        is_point_of_multishape = name == "point" and kind == "multishape"
        is_allowed = is_point_of_multishape or name in {"circle", "range", "polygon"}
        if not is_allowed:
            message = f"{word!r} is not a shape; use circle, range or polygon"
            raise ShapeTextError(message, offset)
        parts.append(_build_shape_from_numbers(name, reader.read_numbers(), offset, side=side))
        if kind != "multishape" and reader.peek_word():
            message = f"unexpected {reader.peek_word()!r} after the {name}"
            raise ShapeTextError(message, reader.offset)
    if not parts:
        message = "an empty string is not a shape"
        raise ShapeTextError(message, 0)
    if kind != "multishape":
        return parts[0]
    return ShapeUnion(tuple(parts))


def write_dali_shape(kind: str, shape: Shape) -> str:
    """Serialize a shape as the DALI xtype `kind`: the inverse of `parse_dali_shape`.

    Parameters
    ----------
    kind
        Point, circle, range, polygon, shape or multishape.
    shape
        A shape that the xtype can hold.

    Returns
    -------
    text
        Numbers in degrees.

    Raises
    ------
    ValueError
        The xtype cannot hold the shape.
    """
    name = type(shape).__name__.lower()
    if kind == "multishape":
        return shape.to_text()
    if kind == "shape" and name in {"circle", "range", "polygon"}:
        return shape.to_text()
    if kind == name and name in {"point", "circle", "range", "polygon"}:
        return shape.to_text().removeprefix(f"{name} ")
    message = f"a {name} cannot be written as a {kind}"
    raise ValueError(message)


def parse_stcs(text: str) -> FramedShape:
    """Parse the STC-S that ADQL's REGION and TAP 1.0's adql:REGION use: Position, Circle, Polygon, Box, AllSky, Union.

    ``Circle ICRS GEOCENTER 10 20 0.5``: a shape, then optionally frame, reference position, flavour, ``unit deg`` and
    the like, in any case. ``Union ICRS (Circle 1 2 3 Polygon ...)``. Polygons are read with the smaller area inside.

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
    ShapeTextError
        A ValueError, with the problem and its place.
    """
    reader = _WordReader(text, brackets=True)
    placed = _parse_stcs_region(reader, None)
    if reader.peek_word():
        message = f"unexpected {reader.peek_word()!r} after the region"
        raise ShapeTextError(message, reader.offset)
    return placed


def _parse_stcs_region(reader: _WordReader, outer_frame: str | None) -> FramedShape:
    offset = reader.offset
    word = reader.take_word()
    kind = word.upper()
    if not word:
        message = "an empty string is not a region"
        raise ShapeTextError(message, offset)
    if kind not in _STCS_SHAPES:
        message = f"{word!r} is not a shape; use Position, Circle, Polygon, Box or Union"
        raise ShapeTextError(message, offset)
    if kind == "CONVEX" or kind in {"INTERSECTION", "NOT", "DIFFERENCE", "ELLIPSE", "POSITIONINTERVAL"}:
        message = f"the region {word} is not supported; use Position, Circle, Polygon, Box, AllSky or a Union of them"
        raise ShapeTextError(message, offset)
    _skip_fill_factor(reader)
    frame = _read_stcs_frame(reader, outer_frame)
    if kind == "UNION":
        return FramedShape(_read_stcs_union(reader, frame, offset), frame)
    numbers = reader.read_numbers()
    shape: Shape
    if kind == "ALLSKY":
        _require_number_count("AllSky", numbers, 0, offset)
        shape = Range(0.0, 360.0, -90.0, 90.0)
    elif kind == "BOX":
        _require_number_count("Box", numbers, 4, offset)
        shape = _build_shape_or_locate_error(lambda: Box(*numbers), offset)  # bsize is the full size, as in ADQL's BOX
    else:
        number_kinds = {"POSITION": "point", "CIRCLE": "circle", "POLYGON": "polygon"}
        shape = _build_shape_from_numbers(number_kinds[kind], numbers, offset)
    _skip_stcs_trailer(reader)
    return FramedShape(shape, frame)


def _skip_fill_factor(reader: _WordReader) -> None:
    if reader.peek_word().upper() == "FILLFACTOR":
        reader.take_word()
        if _parse_number(reader.peek_word()) is None:
            message = "a number must follow fillfactor"
            raise ShapeTextError(message, reader.offset)
        reader.take_word()


def _read_stcs_frame(reader: _WordReader, outer_frame: str | None) -> str | None:
    frame = outer_frame
    if reader.peek_word().upper() in _STCS_FRAMES:
        frame = _STCS_FRAMES[reader.take_word().upper()]
    if reader.peek_word().upper() in _STCS_REFERENCE_POSITIONS:
        reader.take_word()
    if reader.peek_word().upper() in _STCS_FLAVORS:
        offset = reader.offset
        flavour = reader.take_word()
        if flavour.upper() != "SPHERICAL2":
            message = f"{flavour} coordinates are not supported; use SPHERICAL2"
            raise ShapeTextError(message, offset)
    word = reader.peek_word()
    if word and _parse_number(word) is None and word != "(" and word.upper() not in _STCS_SHAPES:
        message = f"{word!r} is neither a frame (ICRS, FK5, FK4, GALACTIC ...), a reference position nor a number"
        raise ShapeTextError(message, reader.offset)
    return frame


def _read_stcs_union(reader: _WordReader, frame: str | None, offset: int) -> Shape:
    if reader.take_word() != "(":
        message = "the parts of a Union must be in parentheses"
        raise ShapeTextError(message, offset)
    parts: list[Shape] = []
    while reader.peek_word() not in {")", ""}:
        part = _parse_stcs_region(reader, frame)
        if part.frame != frame:
            message = "the parts of a Union must be in one frame"
            raise ShapeTextError(message, offset)
        parts.append(part.shape)
    if reader.take_word() != ")":
        message = "the closing parenthesis of the Union is missing"
        raise ShapeTextError(message, len(reader.text))
    return _build_shape_or_locate_error(lambda: ShapeUnion(tuple(parts)), offset)


def _skip_stcs_trailer(reader: _WordReader) -> None:
    """Skip what may follow a shape: sub-phrases of a position, and the unit, which must be degrees."""
    if reader.peek_word().upper() == "POSITION":  # "Circle ... Position 1 2": a representative position
        reader.take_word()
        reader.read_numbers()
    if reader.peek_word().upper() == "UNIT":
        reader.take_word()
        offset = reader.offset
        unit = reader.take_word()
        if unit.lower() not in {"deg", "degree", "degrees"}:
            message = f"the unit {unit!r} is not supported; use deg"
            raise ShapeTextError(message, offset)
    while reader.peek_word().upper() in {"ERROR", "RESOLUTION", "SIZE", "PIXSIZE"}:
        reader.take_word()
        reader.read_numbers()
