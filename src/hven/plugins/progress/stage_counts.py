"""Count the rows of a table by stage, by day, and by place on the sky."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hven.adql import syntax_tree
from hven.portal.api.column_values import COUNT_ITEM, build_column_ref
from hven.portal.api.table_rows import TableSearch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import pyarrow as pa

    from hven.model.table import Table
    from hven.portal.api.table_rows import QueryRunner

QUERY_TIMEOUT_SECONDS = 15.0
MAX_GROUPS = 20_000  # pairs of a group and a stage that a query may return
MAX_DAYS = 40_000  # distinct days
MAX_SKY_CELLS = 60_000  # pairs of a cell and a stage
SKY_CELL_DEGREES = 2.0
UNIX_EPOCH_JULIAN_DAY = 2_440_588  # Julian day number of 1970-01-01
FIRST_JULIAN_DAY, LAST_JULIAN_DAY = 1_721_426, 5_373_484  # of the years 1 to 9999


@dataclass(frozen=True, slots=True, kw_only=True)
class StageGroup:
    """The rows with one value of a column, by their stages.

    Attributes
    ----------
    value
        The value; None: rows without one.
    counts
        Numbers of rows, one for each stage.
    other_count
        Number of rows whose stage is not listed.
    """

    value: str | None
    counts: tuple[int, ...]
    other_count: int

    @property
    def row_count(self) -> int:
        """Number of all rows."""
        return sum(self.counts) + self.other_count


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlaces:
    """Places on the sky of the rows of one stage: one for each row, or for the rows in a small cell."""

    longitudes: npt.NDArray[np.float64]
    latitudes: npt.NDArray[np.float64]


def count_stages(table: Table, column_name: str, stages: Sequence[str], runner: QueryRunner) -> StageGroup:
    """Count the rows of a table by stage.

    Parameters
    ----------
    table
        The table.
    column_name
        The column of stages.
    stages
        The stages to count.
    runner
        Runs the query with the rights of the reader.

    Returns
    -------
    group
        All rows, with None as their value.
    """
    rows = _fetch_groups(table, (), column_name, runner)
    groups = _add_up_stages([None] * rows.num_rows, _read_texts(rows, 0), _read_counts(rows, 1), stages)
    if groups:
        return groups[0]
    return StageGroup(value=None, counts=(0,) * len(stages), other_count=0)


def count_stages_by_value(
    table: Table, column_name: str, stages: Sequence[str], group_name: str, runner: QueryRunner
) -> tuple[list[StageGroup], bool]:
    """Count the rows of a table by stage, for each value of another column.

    Parameters
    ----------
    table
        The table.
    column_name
        The column of stages.
    stages
        The stages to count.
    group_name
        The other column.
    runner
        Runs the query with the rights of the reader.

    Returns
    -------
    groups, is_complete
        The groups, sorted by value, and whether these are all.
    """
    rows = _fetch_groups(table, (group_name,), column_name, runner)
    groups = _add_up_stages(_read_texts(rows, 0), _read_texts(rows, 1), _read_counts(rows, 2), stages)
    groups.sort(key=lambda group: (group.value is None, _build_natural_key(group.value or "")))
    return groups, rows.num_rows < MAX_GROUPS


def count_days(table: Table, column_name: str, runner: QueryRunner) -> dict[np.datetime64, int]:
    """Count the rows of a table by day.

    Parameters
    ----------
    table
        The table.
    column_name
        The column of times.
    runner
        Runs the query with the rights of the reader.

    Returns
    -------
    counts
        Days -> numbers of rows; without the days that have none.
    """
    column = table.find_column(column_name)
    value: syntax_tree.Expr = build_column_ref(column_name)
    if column.type.is_timestamp:
        value = syntax_tree.FunctionCall("IVO_TO_JD", (value,))
    else:
        value = syntax_tree.CastExpression(value, "DOUBLE PRECISION")
    day_offset = syntax_tree.Literal(0.5 + (column.epoch or 0.0))
    day = syntax_tree.FunctionCall("FLOOR", (syntax_tree.BinaryOperation("+", value, day_offset),))
    items = (syntax_tree.SelectItem(day, syntax_tree.Ident("d")), COUNT_ITEM)
    rows = _fetch_counts(table, items, (day,), MAX_DAYS, runner)
    days = np.asarray(rows.column(0).cast("float64").to_numpy(), np.float64)
    counts = _read_counts(rows, 1)
    is_valid = np.isfinite(days) & (days >= FIRST_JULIAN_DAY) & (days <= LAST_JULIAN_DAY)
    dates = (days[is_valid].astype(np.int64) - UNIX_EPOCH_JULIAN_DAY).astype("datetime64[D]")
    return dict(zip(dates, counts[is_valid].tolist(), strict=True))


def find_stage_places(
    table: Table, column_name: str, stages: Sequence[str], runner: QueryRunner
) -> list[StagePlaces] | None:
    """Find where the rows of each stage are on the sky: the mean place of the rows in each cell of 2 degrees.

    Parameters
    ----------
    table
        The table, with positions on the sky.
    column_name
        The column of stages.
    stages
        The stages.
    runner
        Runs the query with the rights of the reader.

    Returns
    -------
    places
        One item for each stage; None if the table has no positions.
    """
    if table.position is None:
        return None
    longitude, latitude = (build_column_ref(name) for name in table.position)
    size = syntax_tree.Literal(SKY_CELL_DEGREES)
    cells = tuple(
        syntax_tree.FunctionCall("FLOOR", (syntax_tree.BinaryOperation("/", value, size),))
        for value in (longitude, latitude)
    )
    stage = build_column_ref(column_name)
    items = (
        syntax_tree.SelectItem(stage, syntax_tree.Ident("stage")),
        syntax_tree.SelectItem(syntax_tree.FunctionCall("AVG", (longitude,)), syntax_tree.Ident("longitude")),
        syntax_tree.SelectItem(syntax_tree.FunctionCall("AVG", (latitude,)), syntax_tree.Ident("latitude")),
    )
    rows = _fetch_counts(table, items, (stage, *cells), MAX_SKY_CELLS, runner)
    stage_texts = np.array([text or "" for text in _read_texts(rows, 0)], np.str_)
    longitudes, latitudes = (np.asarray(rows.column(at).cast("float64").to_numpy(), np.float64) for at in (1, 2))
    is_valid = np.isfinite(longitudes) & np.isfinite(latitudes) & (np.abs(latitudes) <= 90)
    places = []
    for name in stages:
        is_shown = is_valid & (stage_texts == name)
        places.append(StagePlaces(longitudes=longitudes[is_shown], latitudes=latitudes[is_shown]))
    return places


def _fetch_groups(table: Table, group_names: tuple[str, ...], column_name: str, runner: QueryRunner) -> pa.Table:
    refs = tuple(build_column_ref(name) for name in (*group_names, column_name))
    names = (*(f"g{number}" for number in range(len(group_names))), "stage")
    items = [syntax_tree.SelectItem(ref, syntax_tree.Ident(name)) for ref, name in zip(refs, names, strict=True)]
    return _fetch_counts(table, (*items, COUNT_ITEM), refs, MAX_GROUPS, runner)


def _fetch_counts(
    table: Table,
    items: tuple[syntax_tree.SelectItem, ...],
    group_by: tuple[syntax_tree.Expr, ...],
    max_rows: int,
    runner: QueryRunner,
) -> pa.Table:
    source = TableSearch(table=table).build_from_item()
    select = syntax_tree.Select(items, source, group_by=group_by, top=syntax_tree.Literal(max_rows))
    return runner.fetch_table(syntax_tree.Query(select), row_limit=max_rows, timeout_seconds=QUERY_TIMEOUT_SECONDS)


def _add_up_stages(
    values: Sequence[str | None],
    stage_texts: Sequence[str | None],
    counts: npt.NDArray[np.int64],
    stages: Sequence[str],
) -> list[StageGroup]:
    """Add up the counts of each value: one number for each stage, and one for all other stages."""
    stage_numbers = {stage: number for number, stage in enumerate(stages)}
    sums: dict[str | None, list[int]] = {}
    for value, stage, count in zip(values, stage_texts, counts.tolist(), strict=True):
        group = sums.setdefault(value, [0] * (len(stages) + 1))
        if stage is None:
            number = len(stages)
        else:
            number = stage_numbers.get(stage, len(stages))
        group[number] += count
    return [StageGroup(value=value, counts=tuple(group[:-1]), other_count=group[-1]) for value, group in sums.items()]


def _read_texts(rows: pa.Table, column_number: int) -> list[str | None]:
    texts: list[str | None] = rows.column(column_number).cast("string").to_pylist()
    return texts


def _read_counts(rows: pa.Table, column_number: int) -> npt.NDArray[np.int64]:
    return np.asarray(rows.column(column_number).cast("int64").to_numpy(), np.int64)


def _build_natural_key(text: str) -> tuple[int, int, str]:
    """Sort numbers by their value, before all other texts."""
    if text.isascii() and text.isdigit():
        return (0, int(text), text)
    return (1, 0, text.casefold())
