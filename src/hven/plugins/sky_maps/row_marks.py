"""Marks of the rows on maps: their names, and colours by the values of a column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hven.portal.api.column_values import find_facet_columns

if TYPE_CHECKING:
    from hven.model.table import Column, Table
    from hven.portal.api.table_rows import QueryRunner

MAX_COLOURS = 12  # values with a colour of their own; the others share one
MAX_COLOUR_COLUMNS = 40  # columns to colour by
MAX_NAME_CHARACTERS = 80
NAME_COLUMNS = ("title", "name", "feature_name", "main_id", "object_name", "object", "obs_title", "target_name")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowColouring:
    """The colours of rows by the values of a column.

    Attributes
    ----------
    values
        For each row, the number of its value in `choices`, or for numbers the value itself; None without a value.
    choices
        Value, label and number of rows, the most frequent first; empty for numbers. The last one may stand for all
        others (value None).
    """

    column: str
    label: str
    unit: str
    values: tuple[float | int | None, ...]
    choices: tuple[tuple[str | None, str, int], ...] = ()
    low: float | None = None
    high: float | None = None


def find_name_column(table: Table) -> Column | None:
    """Return the column with the names of rows; None if rows have only keys."""
    texts = [column for column in table.columns if column.type.is_string and not column.type.is_array]
    texts = [column for column in texts if not column.hidden]
    titles = [column for column in texts if (column.ucd or "").lower().startswith("meta.title")]
    main = [column for column in texts if (column.ucd or "").lower() == "meta.id;meta.main"]
    name_matches = [column for name in NAME_COLUMNS for column in texts if column.name.lower() == name]
    candidates = [*titles, *name_matches, *main]
    if candidates:
        return candidates[0]
    return None


def list_row_names(rows: pa.Table, column: Column | None) -> tuple[str, ...]:
    """Return the names of rows; none if all rows have the same name."""
    if column is None or column.name not in rows.column_names or not rows.num_rows:
        return ()
    texts = pc.utf8_slice_codeunits(rows.column(column.name).cast(pa.string()), 0, MAX_NAME_CHARACTERS)
    if rows.num_rows > 1 and pc.count_distinct(texts).as_py() < 2:
        return ()
    return tuple(pc.fill_null(texts, "").to_pylist())


def list_colour_columns(table: Table, runner: QueryRunner) -> list[Column]:
    """Return the columns that rows can be coloured by: choices, then principal numbers."""
    choices = find_facet_columns(table, runner)
    excluded_names = {column.name for column in choices} | set(table.primary) | set(table.position or ())
    numbers = []
    for column in sorted(table.columns, key=lambda column: column.rank):
        is_number = column.type.is_numeric and not column.type.is_array
        if column.is_principal and is_number and not column.hidden and column.name not in excluded_names:
            numbers.append(column)
    return [*choices, *numbers][:MAX_COLOUR_COLUMNS]


def choose_row_colours(rows: pa.Table, column: Column, table: Table) -> RowColouring:
    """Choose the colours of rows: along a scale for numbers, or one for each of the most frequent values."""
    values = rows.column(column.name).combine_chunks()
    if column.type.is_numeric and not column.enum and pc.count_distinct(values).as_py() > MAX_COLOURS:
        numbers = values.cast(pa.float64())
        finite = pc.if_else(pc.is_finite(numbers), numbers, None)
        ends = pc.min_max(finite).as_py()
        return _build_colouring(column, values=tuple(finite.to_pylist()), low=ends["min"], high=ends["max"])
    texts = values.cast(pa.string())
    counts = pc.value_counts(texts.drop_null()).to_pylist()
    counts.sort(key=lambda value_count: (-value_count["counts"], value_count["values"]))
    if len(counts) <= MAX_COLOURS:
        coloured_counts = counts
    else:
        coloured_counts = counts[: MAX_COLOURS - 1]
    if column.type.is_numeric and len(coloured_counts) == len(counts):
        coloured_counts = sorted(coloured_counts, key=lambda value_count: float(value_count["values"]))
    words = table.enums.get(column.enum or "", {})
    choices: list[tuple[str | None, str, int]] = []
    coloured_values = []
    for value_count in coloured_counts:
        value = value_count["values"]
        coloured_values.append(value)
        choices.append((value, words.get(value, value), value_count["counts"]))
    other_count = sum(value_count["counts"] for value_count in counts[len(coloured_counts) :])
    if other_count:
        choices.append((None, "", other_count))
    value_set = pa.array(coloured_values, pa.string())
    choice_number = pc.index_in(texts, value_set=value_set)
    if other_count:
        is_other = pc.and_(pc.is_null(choice_number), pc.is_valid(texts))
        choice_number = pc.if_else(is_other, len(coloured_counts), choice_number)
    return _build_colouring(column, values=tuple(choice_number.to_pylist()), choices=tuple(choices))


def _build_colouring(column: Column, **attributes: Any) -> RowColouring:
    return RowColouring(column=column.name, label=column.label or column.name, unit=column.unit or "", **attributes)
