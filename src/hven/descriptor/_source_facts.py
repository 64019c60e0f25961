"""What is known of a source's columns: their names, units, UCDs, and their first values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hven.descriptor._column_guesses import quote_source_name
from hven.model.literal import ISO_TIME_PATTERN, detect_date_format

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.descriptor._column_guesses import ColumnGuess

SAMPLE_ROWS = 5_000  # rows whose values are looked at
_TIME_ORIGIN_NAME_PATTERN = re.compile(
    r"(jd|mjd|time|date|epoch)_?(ref(_?[if])?|zero|0|off(set)?|orig(in)?|sys)$|^(jd|mjd)_?ref"
)


@dataclass(frozen=True, kw_only=True)
class SourceColumn:
    """A source column: its name, what it says of itself, and its first values."""

    source: str
    name: str
    unit: str | None
    ucd: str
    sample: pa.Array
    expression: str | None = None
    target_name: str = ""  # the name that the table's column would have: the heading without its unit

    @property
    def sql(self) -> str:
        """How an expression names it."""
        return quote_source_name(self.source)

    @property
    def is_number(self) -> bool:
        """Whether its values are numbers."""
        return bool(pa.types.is_integer(self.sample.type) or pa.types.is_floating(self.sample.type))

    @property
    def is_text(self) -> bool:
        """Whether its values are text."""
        return bool(pa.types.is_string(self.sample.type) or pa.types.is_large_string(self.sample.type))

    @cached_property
    def filled_values(self) -> pa.Array:
        """Values that are there."""
        nonnull_values = self.sample.drop_null()
        if self.is_text:
            return nonnull_values.filter(pc.not_equal(nonnull_values, ""))
        return nonnull_values

    @property
    def missing_tenths(self) -> int:
        """Tenths of the first rows that have no value."""
        return 10 - 10 * len(self.filled_values) // max(len(self.sample), 1)

    @cached_property
    def value_bounds(self) -> tuple[float, float] | None:
        """Least and greatest number."""
        if not self.is_number or not len(self.filled_values):
            return None
        min_and_max = pc.min_max(self.filled_values)
        return float(min_and_max["min"].as_py()), float(min_and_max["max"].as_py())

    def is_within(self, low: float, high: float) -> bool:
        """Check whether all numbers lie there."""
        return self.value_bounds is not None and low <= self.value_bounds[0] and self.value_bounds[1] <= high

    def is_mostly_matching(self, pattern: str) -> bool:
        """Check whether nearly all texts match."""
        if not self.is_text or not len(self.filled_values):
            return False
        return (pc.sum(pc.match_substring_regex(self.filled_values, pattern)).as_py() or 0) >= 0.97 * len(
            self.filled_values
        )

    def list_distinct_texts(self, max_count: int = 300) -> list[str]:
        """List the distinct texts, if they are few."""
        if not self.is_text:
            return []
        distinct_texts = pc.unique(self.filled_values).to_pylist()
        return distinct_texts if len(distinct_texts) <= max_count else []

    def find_date_format(self) -> str | None:
        """Find the form that nearly all of the first texts have."""
        return detect_date_format([word.strip() for word in pc.unique(self.filled_values).to_pylist()[:200]])

    def recognize_time(self) -> tuple[str, str] | None:
        """Recognise times: their kind (stamp, jd, mjd, year), and an expression for them."""
        if _TIME_ORIGIN_NAME_PATTERN.search(self.name):
            return None  # what other times count from
        if pa.types.is_timestamp(self.sample.type):
            return "stamp", self.sql
        if self.is_mostly_matching(ISO_TIME_PATTERN):
            return "stamp", f"parse_time({self.sql})"
        if self.is_text and self.is_mostly_matching(r"\d") and (date_format := self.find_date_format()) is not None:
            text = f"parse_time({self.sql}, '{date_format}')"
            return "stamp", f"tai_to_utc({text})" if date_format.endswith("_TAI") else text
        if not self.is_number:
            return None
        # values far outside stand for nothing; one look at the rest is enough
        if self.is_within(2_086_000, 2_817_000) and not re.search(r"int$|frac", self.name):
            return "jd", self.sql
        if self.is_within(15_000, 88_000) and (
            "mjd" in self.name or (self.ucd.startswith("time") and self.unit in {None, "d"})
        ):
            return "mjd", self.sql
        if self.is_within(3e8, 4e9) and re.search(r"unix|epoch|timestamp", self.name):
            return "stamp", f"from_unix({self.sql})"
        if (
            self.is_within(17_000_101, 21_000_101)
            and re.search(r"date|day", self.name)
            and pa.types.is_integer(self.sample.type)
        ):
            return "stamp", f"parse_time(CAST({self.sql} AS VARCHAR))"
        if self.name in {"year", "fall_year"} and pa.types.is_integer(self.sample.type):
            return "year", self.sql
        return None


def collect_source_columns(
    guesses: Sequence[ColumnGuess], sample: Mapping[str, pa.Array], *, select_lists: bool = False
) -> list[SourceColumn]:
    """Collect what is known of the source's columns: those of single values, or of lists."""
    return [
        SourceColumn(
            source=item.source,
            name=re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", item.source).lower()).strip("_"),
            unit=item.column.unit,
            ucd=(item.column.ucd or "").lower(),
            sample=sample[item.source],
            expression=item.expression,
            target_name=item.column.name,
        )
        for item in guesses
        if item.source and item.source in sample and pa.types.is_nested(sample[item.source].type) is select_lists
    ]
