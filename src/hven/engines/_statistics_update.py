"""Statistics of a snapshot that was made of another one: those of the old one, and what changed."""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from hven.engines._statistics import MAX_TOP_VALUES, ColumnStatisticsCollector, sort_value_counts, to_json_value
from hven.model.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from hven.model.table import Column

    Facts = Mapping[str, object]

MAX_CATEGORICAL_FRACTION = 0.1  # distinct values per row: below it, most new rows have values that exist already


class ColumnReader(Protocol):
    """A function that reads a column of the new snapshot, if that is needed."""

    def __call__(self, name: str) -> Iterator[pa.Array | pa.ChunkedArray]:
        """Yield the column piece by piece."""


class ColumnStatisticsChange(NamedTuple):
    """Statistics of a column in the old snapshot, in the removed rows and in the added rows."""

    old: Facts
    removed: Facts
    added: Facts

    def get_counts(self, fact_name: str) -> tuple[int, int, int]:
        """Return a count in each of the three, 0 where it is missing."""
        return _get_count(self.old, fact_name), _get_count(self.removed, fact_name), _get_count(self.added, fact_name)

    def has_fact(self, fact_name: str) -> bool:
        """Return whether the new snapshot can have a fact."""
        return fact_name in self.old or fact_name in self.added


def update_statistics(
    table: Table,
    old_statistics: Mapping[str, Facts],
    removed_statistics: Mapping[str, Facts],
    added_statistics: Mapping[str, Facts],
    row_counts: tuple[int, int, int],
    *,
    read_column: ColumnReader,
    read_witnesses: ColumnReader | None = None,
) -> dict[str, dict[str, object]]:
    """Return the statistics after rows were removed and added.

    They are what reading all rows would give, except for the numbers of distinct values, which are estimates.

    Parameters
    ----------
    table
        The table of the snapshot.
    old_statistics, removed_statistics, added_statistics
        Statistics of the old snapshot, of the removed rows, and of the added rows.
    row_counts
        The number of rows of each of these.
    read_column
        Reads a whole column. It is called only if so many values may be gone that those that are left are few.
    read_witnesses
        Reads values of a column that include its extremes. It is called only if an extreme may be gone, and read until
        a value is found that is as extreme. None: `read_column` does this, too.
    """
    statistics = {}
    for column in table.columns:
        name = column.name
        facts = ColumnStatisticsChange(old_statistics[name], removed_statistics[name], added_statistics[name])
        if _may_have_few_values(facts):
            statistics[name] = _compute_column_statistics(column, read_column(name))
        else:
            read_column_witnesses = partial(read_witnesses or read_column, name)
            statistics[name] = _update_column_statistics(column, facts, row_counts, read_column_witnesses)
    return statistics


def compute_statistics(table: Table, rows: pa.Table) -> dict[str, dict[str, object]]:
    """Return the statistics of some rows.

    Parameters
    ----------
    table
        The table.
    rows
        Its rows.
    """
    statistics = ColumnStatisticsCollector(table)
    statistics.add_rows(rows)
    return statistics.build_statistics()


def _update_column_statistics(
    column: Column, facts: ColumnStatisticsChange, row_counts: tuple[int, int, int], read_column: Any
) -> dict[str, object]:
    old_nulls, removed_nulls, added_nulls = facts.get_counts("nulls")
    old_rows, removed_rows, added_rows = row_counts
    value_counts = [old_rows - old_nulls, removed_rows - removed_nulls, added_rows - added_nulls]
    value_count = value_counts[0] - value_counts[1] + value_counts[2]
    updated: dict[str, object] = {"nulls": old_nulls - removed_nulls + added_nulls}
    if not value_count:
        return updated
    if facts.has_fact("minimum"):
        updated["minimum"] = _update_extreme(column, "minimum", facts, read_column)
        updated["maximum"] = _update_extreme(column, "maximum", facts, read_column)
    if facts.has_fact("distinct"):
        old_count, _, added_count = facts.get_counts("distinct")
        updated["distinct"] = _estimate_distinct_count(old_count, added_count, value_counts[0], value_count)
    top_values = _update_top_values(facts, value_counts)
    if top_values:
        updated["top"] = top_values
    if facts.has_fact("max_length"):
        updated["non_ascii"] = _update_non_ascii(facts, read_column)
        updated["max_length"] = _update_max_length(facts, read_column)
    if facts.has_fact("longest"):  # it may be too large: it only decides how wide a field is
        old_length, _, added_length = facts.get_counts("longest")
        updated["longest"] = max(old_length, added_length)
    return updated


def _may_have_few_values(facts: ColumnStatisticsChange) -> bool:
    """Return whether a column of many values may have few now, which only all rows show."""
    old_count, removed_count, _ = facts.get_counts("distinct")
    return "top" not in facts.old and 0 < old_count <= removed_count + MAX_TOP_VALUES and removed_count > 0


def _compute_column_statistics(column: Column, pieces: Iterable[pa.Array | pa.ChunkedArray]) -> dict[str, object]:
    collector = ColumnStatisticsCollector(Table(schema="", name="", columns=(column,)))
    for piece in pieces:
        collector.add_rows(pa.table({column.name: piece}))
    return collector.build_statistics()[column.name]


def _update_non_ascii(facts: ColumnStatisticsChange, read_column: Any) -> bool:
    if facts.added.get("non_ascii"):
        return True
    if not facts.old.get("non_ascii"):
        return False
    return not facts.removed.get("non_ascii") or _is_any_true(read_column, _is_non_ascii)


def _update_max_length(facts: ColumnStatisticsChange, read_column: Any) -> int:
    old_length, removed_length, added_length = facts.get_counts("max_length")
    if removed_length != old_length or old_length <= added_length:
        return max(old_length, added_length)
    if not _is_any_true(read_column, lambda piece: pc.equal(pc.utf8_length(piece), old_length)):
        piece_lengths = (pc.max(pc.utf8_length(piece)).as_py() for piece in read_column())
        old_length = max(int(length or 0) for length in piece_lengths)
    return max(old_length, added_length)


def _update_extreme(
    column: Column, fact_name: Literal["minimum", "maximum"], facts: ColumnStatisticsChange, read_column: Any
) -> object:
    """Return the smallest or greatest value."""
    choose_extreme: Any = min if fact_name == "minimum" else max
    old_value, removed_value, added_value = (_restore_json_value(column, fact_set.get(fact_name)) for fact_set in facts)
    candidates = []
    if old_value is not None:
        candidates.append((old_value, facts.old[fact_name]))
    if added_value is not None:
        candidates.append((added_value, facts.added[fact_name]))
    if not candidates:
        return None
    extreme_value, stored_extreme = choose_extreme(candidates, key=lambda candidate: candidate[0])
    is_removed = removed_value is not None and removed_value == extreme_value
    is_added = added_value is not None and added_value == extreme_value
    if not is_removed or is_added:
        return stored_extreme
    removed_scalar = pa.scalar(removed_value, column.type.arrow)
    if _is_any_true(read_column, lambda piece: pc.equal(piece, removed_scalar)):
        return stored_extreme
    if fact_name == "minimum":
        compute_extreme = pc.min
    else:
        compute_extreme = pc.max
    piece_values = [compute_extreme(piece).as_py() for piece in read_column()]
    values = [value for value in piece_values if value is not None]
    if values:
        return to_json_value(choose_extreme(values))
    return None


def _is_any_true(read_column: Any, test_piece: Any) -> bool:
    return any(pc.any(test_piece(piece)).as_py() for piece in read_column())


def _is_non_ascii(piece: Any) -> Any:
    return pc.invert(pc.string_is_ascii(piece))


def _estimate_distinct_count(old_count: int, added_count: int, rows_before: int, rows_after: int) -> int:
    """Estimate the distinct values: a column of few values keeps them, one of many has as many among its new rows."""
    if rows_before and old_count > MAX_CATEGORICAL_FRACTION * rows_before:
        old_count = round(old_count * rows_after / rows_before)
    return min(max(old_count, added_count), rows_after)


def _update_top_values(fact_sets: tuple[Facts, ...], value_counts: list[int]) -> list[list[object]]:
    """Add up the numbers of rows of the most frequent values; return none if one of the three does not have them."""
    counts: dict[Any, int] = {}
    for facts, rows, sign in zip(fact_sets, value_counts, (1, -1, 1), strict=True):
        top_values: Any = facts.get("top")
        if top_values is None and rows:
            return []
        for value, count in top_values or ():
            counts[value] = counts.get(value, 0) + sign * count
    top = sort_value_counts(counts)
    if len(top) <= MAX_TOP_VALUES:
        return top
    return []


def _get_count(facts: Facts, fact_name: str) -> int:
    value = facts.get(fact_name, 0)
    if isinstance(value, int | float):
        return int(value)
    return 0


def _restore_json_value(column: Column, stored_value: object) -> Any:
    """Return a value as it was before it was converted for JSON."""
    if isinstance(stored_value, str) and column.type.is_timestamp:
        return dt.datetime.fromisoformat(stored_value)
    if isinstance(stored_value, str) and not column.type.is_string:
        return float(stored_value)
    return stored_value
