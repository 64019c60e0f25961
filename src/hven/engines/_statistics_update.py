"""Statistics of a snapshot that was made of another one: those of the old one, and what changed."""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from hven.engines._statistics import MAX_TOP_VALUES, StatisticsCollector, sort_value_counts, to_json_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.model.table import Column, Table

    Facts = Mapping[str, object]

MAX_CATEGORICAL_FRACTION = 0.1  # distinct values of the rows: below, new rows mostly bring values that there are


class ColumnReader(Protocol):
    """How to look at a column of the new snapshot, if it must be."""

    def __call__(self, name: str) -> Iterator[pa.Array | pa.ChunkedArray]:
        """Yield the column piece by piece."""


def update_statistics(
    table: Table,
    old_statistics: Mapping[str, Facts],
    removed_statistics: Mapping[str, Facts],
    added_statistics: Mapping[str, Facts],
    row_counts: tuple[int, int, int],
    read_column: ColumnReader,
) -> dict[str, dict[str, object]]:
    """Return the statistics after rows went and came.

    What a look at all rows would find, but for the numbers of distinct values.

    Parameters
    ----------
    old_statistics, removed_statistics, added_statistics
        Statistics of the snapshot that was changed, of the rows that went, of those that came.
    row_counts
        How many rows each of them is about.
    read_column
        A column is looked at only if its extreme may have gone, and then until one is found that is as extreme.
    """
    return {
        name: _update_column_statistics(
            column,
            old_statistics[name],
            removed_statistics[name],
            added_statistics[name],
            row_counts,
            partial(read_column, name),
        )
        for name, column in ((column.name, column) for column in table.columns)
    }


def compute_statistics(table: Table, rows: pa.Table) -> dict[str, dict[str, object]]:
    """Return the statistics of some rows."""
    statistics = StatisticsCollector(table)
    statistics.add_rows(rows)
    return statistics.build_statistics()


def _update_column_statistics(
    column: Column,
    old_facts: Facts,
    removed_facts: Facts,
    added_facts: Facts,
    row_counts: tuple[int, int, int],
    read_column: Any,
) -> dict[str, object]:
    nulls, removed_nulls, added_nulls = (
        _get_count(facts, "nulls") for facts in (old_facts, removed_facts, added_facts)
    )
    value_counts = [
        total - missing for total, missing in zip(row_counts, (nulls, removed_nulls, added_nulls), strict=True)
    ]
    value_count = value_counts[0] - value_counts[1] + value_counts[2]
    updated: dict[str, object] = {"nulls": nulls - removed_nulls + added_nulls}
    if not value_count:
        return updated
    if "minimum" in old_facts or "minimum" in added_facts:
        for name, better in (("minimum", min), ("maximum", max)):
            updated[name] = _update_extreme(column, name, better, old_facts, removed_facts, added_facts, read_column)
    if "distinct" in old_facts or "distinct" in added_facts:
        count = _get_count(old_facts, "distinct")
        updated["distinct"] = _estimate_distinct(
            count, _get_count(added_facts, "distinct"), value_counts[0], value_count
        )
    top = _update_top_values((old_facts, removed_facts, added_facts), value_counts)
    if top:
        updated["top"] = top
    if "max_length" in old_facts or "max_length" in added_facts:
        has_non_ascii = bool(
            added_facts.get("non_ascii")
            or (
                old_facts.get("non_ascii")
                and (not removed_facts.get("non_ascii") or _is_any_true(read_column, _is_non_ascii))
            )
        )
        updated["non_ascii"] = has_non_ascii
        longest, removed_length, added_length = (
            _get_count(facts, "max_length") for facts in (old_facts, removed_facts, added_facts)
        )
        if removed_length == longest > added_length and not _is_any_true(
            read_column, lambda piece: pc.equal(pc.utf8_length(piece), longest)
        ):
            longest = max(int(pc.max(pc.utf8_length(piece)).as_py() or 0) for piece in read_column())
        updated["max_length"] = max(longest, added_length)
    if (
        "longest" in old_facts or "longest" in added_facts
    ):  # it may be more than there is: it is what a width is chosen by
        updated["longest"] = max(_get_count(old_facts, "longest"), _get_count(added_facts, "longest"))
    return updated


def _update_extreme(
    column: Column,
    name: str,
    choose_extreme: Any,
    old_facts: Facts,
    removed_facts: Facts,
    added_facts: Facts,
    read_column: Any,
) -> object:
    """Return the smallest or greatest value."""
    old_value, removed_value, added_value = (
        _restore_value(column, facts.get(name)) for facts in (old_facts, removed_facts, added_facts)
    )
    candidates = [
        (value, facts[name])
        for value, facts in ((old_value, old_facts), (added_value, added_facts))
        if value is not None
    ]
    if candidates:
        best = choose_extreme(candidates, key=lambda pair: pair[0])
    else:
        best = (None, None)
    if (
        best[0] is None
        or removed_value is None
        or removed_value != best[0]
        or (added_value is not None and added_value == best[0])
    ):
        return best[1]
    scalar = pa.scalar(removed_value, column.type.arrow)
    if _is_any_true(read_column, lambda piece: pc.equal(piece, scalar)):
        return best[1]
    values = [
        value
        for piece in read_column()
        if (value := (pc.min if name == "minimum" else pc.max)(piece).as_py()) is not None
    ]
    if values:
        return to_json_value(choose_extreme(values))
    return None


def _is_any_true(read_column: Any, test_piece: Any) -> bool:
    return any(pc.any(test_piece(piece)).as_py() for piece in read_column())


def _is_non_ascii(piece: Any) -> Any:
    return pc.invert(pc.string_is_ascii(piece))


def _estimate_distinct(old_count: int, added_count: int, rows_before: int, rows_after: int) -> int:
    """Guess: a column of few values keeps them, one of many has as many among the new rows as it had."""
    if rows_before and old_count > MAX_CATEGORICAL_FRACTION * rows_before:
        old_count = round(old_count * rows_after / rows_before)
    return min(max(old_count, added_count), rows_after)


def _update_top_values(fact_sets: tuple[Facts, ...], value_counts: list[int]) -> list[list[object]]:
    """Add up which values how many rows have; none if one of the three does not know."""
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


def _restore_value(column: Column, stored_value: object) -> Any:
    """Return a value as it was before it was made fit for JSON."""
    if isinstance(stored_value, str) and column.type.is_timestamp:
        return dt.datetime.fromisoformat(stored_value)
    if isinstance(stored_value, str) and not column.type.is_string:
        return float(stored_value)
    return stored_value
