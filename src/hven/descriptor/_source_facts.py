"""What is known of a source's columns: their names, units, UCDs, and their first values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hven.descriptor._guesses import quoted
from hven.model.literal import ISO, form_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.descriptor._guesses import Guess

SAMPLE = 5_000  # rows whose values are looked at
_ZERO_POINT = re.compile(r"(jd|mjd|time|date|epoch)_?(ref(_?[if])?|zero|0|off(set)?|orig(in)?|sys)$|^(jd|mjd)_?ref")


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A source column: its name, what it says of itself, and its first values."""

    source: str
    name: str
    unit: str | None
    ucd: str
    sample: pa.Array
    expression: str | None = None
    called: str = ""  # the name that the table's column would have: the heading without its unit

    @property
    def sql(self) -> str:
        """How an expression names it."""
        return quoted(self.source)

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers."""
        return bool(pa.types.is_integer(self.sample.type) or pa.types.is_floating(self.sample.type))

    @property
    def is_text(self) -> bool:
        """Whether its values are text."""
        return bool(pa.types.is_string(self.sample.type) or pa.types.is_large_string(self.sample.type))

    @cached_property
    def filled(self) -> pa.Array:
        """Values that are there."""
        there = self.sample.drop_null()
        return there.filter(pc.not_equal(there, "")) if self.is_text else there

    @property
    def gaps(self) -> int:
        """Tenths of the first rows that have no value."""
        return 10 - 10 * len(self.filled) // max(len(self.sample), 1)

    @cached_property
    def bounds(self) -> tuple[float, float] | None:
        """Least and greatest number."""
        if not self.is_number or not len(self.filled):
            return None
        found = pc.min_max(self.filled)
        return float(found["min"].as_py()), float(found["max"].as_py())

    def within(self, low: float, high: float) -> bool:
        """Check whether all numbers lie there."""
        return self.bounds is not None and low <= self.bounds[0] and self.bounds[1] <= high

    def mostly(self, pattern: str) -> bool:
        """Check whether nearly all texts match."""
        if not self.is_text or not len(self.filled):
            return False
        return (pc.sum(pc.match_substring_regex(self.filled, pattern)).as_py() or 0) >= 0.97 * len(self.filled)

    def distinct(self, most: int = 300) -> list[str]:
        """List the distinct texts, if they are few."""
        if not self.is_text:
            return []
        found = pc.unique(self.filled).to_pylist()
        return found if len(found) <= most else []

    def date_format(self) -> str | None:
        """Find the form that nearly all of the first texts have."""
        return form_of([word.strip() for word in pc.unique(self.filled).to_pylist()[:200]])

    def time(self) -> tuple[str, str] | None:
        """Recognise times: their kind (stamp, jd, mjd, year), and an expression for them."""
        if _ZERO_POINT.search(self.name):
            return None  # what other times count from
        if pa.types.is_timestamp(self.sample.type):
            return "stamp", self.sql
        if self.mostly(ISO):
            return "stamp", f"parse_time({self.sql})"
        if self.is_text and self.mostly(r"\d") and (form := self.date_format()) is not None:
            text = f"parse_time({self.sql}, '{form}')"
            return "stamp", f"tai_to_utc({text})" if form.endswith("_TAI") else text
        if not self.is_number:
            return None
        # values far outside stand for nothing; one look at the rest is enough
        if self.within(2_086_000, 2_817_000) and not re.search(r"int$|frac", self.name):
            return "jd", self.sql
        if self.within(15_000, 88_000) and (
            "mjd" in self.name or (self.ucd.startswith("time") and self.unit in {None, "d"})
        ):
            return "mjd", self.sql
        if self.within(3e8, 4e9) and re.search(r"unix|epoch|timestamp", self.name):
            return "stamp", f"from_unix({self.sql})"
        if (
            self.within(17_000_101, 21_000_101)
            and re.search(r"date|day", self.name)
            and pa.types.is_integer(self.sample.type)
        ):
            return "stamp", f"parse_time(CAST({self.sql} AS VARCHAR))"
        if self.name in {"year", "fall_year"} and pa.types.is_integer(self.sample.type):
            return "year", self.sql
        return None


def facts_of(guesses: Sequence[Guess], sample: Mapping[str, pa.Array], *, lists: bool = False) -> list[Fact]:
    """Collect what is known of the source's columns: those of single values, or of lists."""
    return [
        Fact(
            source=item.source,
            name=re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", item.source).lower()).strip("_"),
            unit=item.column.unit,
            ucd=(item.column.ucd or "").lower(),
            sample=sample[item.source],
            expression=item.expression,
            called=item.column.name,
        )
        for item in guesses
        if item.source and item.source in sample and pa.types.is_nested(sample[item.source].type) is lists
    ]
