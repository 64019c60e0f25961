"""Count the texts of a column that are sexagesimal, and what in them tells right ascension from declination."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

# what `sexagesimal()` of expressions reads, with three numbers
_TEXT = r"^\s*(?P<sign>[+-]?)\s*(?P<first>\d{1,3})\s*(?P<mark>[:hHdD°\s])\s*\d{1,2}\s*[:mM'′\s]\s*\d{1,2}(?:\.\d*)?\s*[sS\"″]?\s*$"  # noqa: RUF001  (the signs of minutes and seconds)
_HOURS, _DEGREES = pa.array(["h", "H"]), pa.array(["d", "D", "°"])
_ENOUGH = 0.98  # the share of values that have the notation


@dataclass(slots=True)
class SexagesimalCount:
    """How many texts of a column are sexagesimal, and what marks them.

    Attributes
    ----------
    texts
        Those like ``12 34 56.7``, ``-12:34:56`` or ``19h19m43.4s``.
    hours, degrees
        Those that a letter marks: ``19h..``, ``+40d..``.
    colons
        Those like ``12:34:56``.
    signs
        Those that begin with a sign.
    largest
        The largest number in front.
    """

    texts: int = 0
    hours: int = 0
    degrees: int = 0
    colons: int = 0
    signs: int = 0
    largest: int = 0

    def add(self, values: pa.Array) -> None:
        """Count the texts of a batch."""
        parts = pc.extract_regex(values, _TEXT).drop_null()
        if not len(parts):
            return
        sign, first, mark = (pc.struct_field(parts, name) for name in ("sign", "first", "mark"))
        self.texts += len(parts)
        self.hours += pc.sum(pc.is_in(mark, value_set=_HOURS)).as_py() or 0
        self.degrees += pc.sum(pc.is_in(mark, value_set=_DEGREES)).as_py() or 0
        self.colons += pc.sum(pc.equal(mark, ":")).as_py() or 0
        self.signs += pc.sum(pc.not_equal(sign, "")).as_py() or 0
        self.largest = max(self.largest, pc.max(first.cast(pa.int64())).as_py())

    def covers(self, filled: int) -> bool:
        """Check whether nearly all of so many texts are sexagesimal."""
        return filled > 0 and self.texts >= _ENOUGH * filled

    @property
    def may_be_right_ascension(self) -> bool:
        """Whether these may be hours of right ascension."""
        return self.largest < 24 and not self.signs and not self.degrees

    @property
    def may_be_declination(self) -> bool:
        """Whether these may be degrees of declination: marked as degrees, or with signs."""
        return self.largest <= 90 and not self.hours and (self.degrees > 0 or self.signs > 0)
