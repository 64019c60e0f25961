"""Count the texts of a column that are sexagesimal, and what in them tells right ascension from declination."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

# the texts with three numbers that `sexagesimal()` of expressions reads; minutes and seconds may have their signs
_SEXAGESIMAL_PATTERN = (
    r"^\s*(?P<sign>[+-]?)\s*(?P<first>\d{1,3})\s*(?P<mark>[:hHdD°\s])"
    r"\s*\d{1,2}\s*[:mM'′\s]\s*\d{1,2}(?:\.\d*)?\s*[sS\"″]?\s*$"  # noqa: RUF001
)
_HOUR_MARKS, _DEGREE_MARKS = pa.array(["h", "H"]), pa.array(["d", "D", "°"])
_MIN_SEXAGESIMAL_SHARE = 0.98  # the share of values that have the notation


@dataclass(slots=True)
class SexagesimalCount:
    """How many texts of a column are sexagesimal, and what marks them.

    Attributes
    ----------
    text_count
        Those like ``12 34 56.7``, ``-12:34:56`` or ``19h19m43.4s``.
    hour_count, degree_count
        Those that a letter marks: ``19h..``, ``+40d..``.
    colon_count
        Those like ``12:34:56``.
    sign_count
        Those that begin with a sign.
    max_first_number
        The largest number in front.
    """

    text_count: int = 0
    hour_count: int = 0
    degree_count: int = 0
    colon_count: int = 0
    sign_count: int = 0
    max_first_number: int = 0

    def count_texts(self, values: pa.Array) -> None:
        """Count the texts of a batch."""
        parts = pc.extract_regex(values, _SEXAGESIMAL_PATTERN).drop_null()
        if not len(parts):
            return
        sign, first, mark = (pc.struct_field(parts, name) for name in ("sign", "first", "mark"))
        self.text_count += len(parts)
        self.hour_count += pc.sum(pc.is_in(mark, value_set=_HOUR_MARKS)).as_py() or 0
        self.degree_count += pc.sum(pc.is_in(mark, value_set=_DEGREE_MARKS)).as_py() or 0
        self.colon_count += pc.sum(pc.equal(mark, ":")).as_py() or 0
        self.sign_count += pc.sum(pc.not_equal(sign, "")).as_py() or 0
        self.max_first_number = max(self.max_first_number, pc.max(first.cast(pa.int64())).as_py())

    def is_mostly_sexagesimal(self, text_total: int) -> bool:
        """Check whether nearly all of so many texts are sexagesimal."""
        return text_total > 0 and self.text_count >= _MIN_SEXAGESIMAL_SHARE * text_total

    @property
    def can_be_right_ascension(self) -> bool:
        """Whether these may be hours of right ascension."""
        return self.max_first_number < 24 and not self.sign_count and not self.degree_count

    @property
    def can_be_declination(self) -> bool:
        """Whether these may be degrees of declination: marked as degrees, or with signs."""
        return self.max_first_number <= 90 and not self.hour_count and (self.degree_count > 0 or self.sign_count > 0)
