"""Describe a source's columns by their names, units, UCDs and first values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from hven.descriptor.api.key_proposals import quote_source_name
from hven.model.literal import ISO_TIME_PATTERN, detect_date_format

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.descriptor.api.key_proposals import ColumnGuess

SAMPLE_ROWS = 5_000  # rows whose values are looked at
MAX_DATE_TEXTS = 200  # distinct texts by which the form of a date is found
MOST_TEXTS_SHARE = 0.97  # share of the texts that must match a pattern
_TIME_ORIGIN_NAME_PATTERN = re.compile(
    r"(jd|mjd|time|date|epoch)_?(ref(_?[if])?|zero|0|off(set)?|orig(in)?|sys)$|^(jd|mjd)_?ref"
)


@dataclass(frozen=True, kw_only=True)
class SourceColumn:
    """A source column: name, metadata, and first values."""

    source: str
    name: str
    unit: str | None
    ucd: str
    sample: pa.Array
    expression: str | None = None
    target_name: str = ""  # name of the table's column: the heading without its unit
    is_shape: bool = False  # whether the source says that its values are regions

    @property
    def sql(self) -> str:
        """Name of the column in an expression."""
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
        """Values that are neither null nor empty."""
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
        """Return whether all numbers lie between two limits."""
        if self.value_bounds is None:
            return False
        minimum, maximum = self.value_bounds
        return low <= minimum and maximum <= high

    def is_mostly_matching(self, pattern: str) -> bool:
        """Return whether nearly all texts match a pattern."""
        if not self.is_text or not len(self.filled_values):
            return False
        match_count = pc.sum(pc.match_substring_regex(self.filled_values, pattern)).as_py() or 0
        return bool(match_count >= MOST_TEXTS_SHARE * len(self.filled_values))

    def list_distinct_texts(self, max_count: int = 300) -> list[str]:
        """List the distinct texts, if they are few."""
        if not self.is_text:
            return []
        distinct_texts = pc.unique(self.filled_values).to_pylist()
        return distinct_texts if len(distinct_texts) <= max_count else []

    def find_date_format(self) -> str | None:
        """Find the form that nearly all of the first texts have."""
        texts = pc.unique(self.filled_values).to_pylist()[:MAX_DATE_TEXTS]
        return detect_date_format([text.strip() for text in texts])

    def recognize_time(self) -> tuple[str, str] | None:
        """Recognise times: return their kind (stamp, jd, mjd, year), and an expression for them."""
        if _TIME_ORIGIN_NAME_PATTERN.search(self.name):
            return None  # the origin from which other times count
        if pa.types.is_timestamp(self.sample.type):
            return "stamp", self.sql
        if self.is_text:
            return self._recognize_time_text()
        if self.is_number:
            return self._recognize_time_number()
        return None

    def _recognize_time_text(self) -> tuple[str, str] | None:
        if self.is_mostly_matching(ISO_TIME_PATTERN):
            return "stamp", f"parse_time({self.sql})"
        if not self.is_mostly_matching(r"\d"):
            return None
        date_format = self.find_date_format()
        if date_format is None:
            return None
        expression = f"parse_time({self.sql}, '{date_format}')"
        if date_format.endswith("_TAI"):
            expression = f"tai_to_utc({expression})"
        return "stamp", expression

    def _recognize_time_number(self) -> tuple[str, str] | None:
        """Recognise numbers that are times by their range, and by the name of the column."""
        is_integer = pa.types.is_integer(self.sample.type)
        is_time_in_days = self.ucd.startswith("time") and self.unit in {None, "d"}
        # Julian dates of the years 1000 to 3000, but no part of a split one; modified ones of 1900 to 2100; seconds
        # since 1970 in 1979 to 2096; YYYYMMDD of 1700 to 2100. Values far outside stand for nothing
        if self.is_within(2_086_000, 2_817_000) and not re.search(r"int$|frac", self.name):
            return "jd", self.sql
        if self.is_within(15_000, 88_000) and ("mjd" in self.name or is_time_in_days):
            return "mjd", self.sql
        if self.is_within(3e8, 4e9) and re.search(r"unix|epoch|timestamp", self.name):
            return "stamp", f"from_unix({self.sql})"
        if is_integer and self.is_within(17_000_101, 21_000_101) and re.search(r"date|day", self.name):
            return "stamp", f"parse_time(CAST({self.sql} AS VARCHAR))"
        if is_integer and self.name in {"year", "fall_year"}:
            return "year", self.sql
        return None


def collect_source_columns(
    guesses: Sequence[ColumnGuess], sample: Mapping[str, pa.Array], *, is_for_lists: bool = False
) -> list[SourceColumn]:
    """Collect the facts on the source's columns: those of single values, or those of lists."""
    source_columns = []
    for guess in guesses:
        if not guess.source or guess.source not in sample:
            continue
        values = sample[guess.source]
        if pa.types.is_nested(values.type) is not is_for_lists:
            continue
        source_columns.append(
            SourceColumn(
                source=guess.source,
                name=_to_snake_case(guess.source),
                unit=guess.column.unit,
                ucd=(guess.column.ucd or "").lower(),
                sample=values,
                expression=guess.expression,
                target_name=guess.column.name,
                is_shape=guess.column.type.is_geometry,
            )
        )
    return source_columns


def _to_snake_case(name: str) -> str:
    separated_name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", separated_name.lower()).strip("_")
