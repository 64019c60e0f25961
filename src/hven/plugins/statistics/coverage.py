"""Draw the coverage of tables as SVG paths: cells of longitude and latitude on a body, bars in time.

Only rows that the reader may see are counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hven.adql import syntax_tree
from hven.model.table import find_begin_and_end_time_columns
from hven.portal.api.column_values import COUNT_ITEM, build_column_ref
from hven.portal.api.page_rows import build_histogram
from hven.portal.api.plots import format_julian_date_as_day, write_svg_paths_of_shaded_cells
from hven.portal.api.table_places import find_position_columns, find_single_body, has_positions_on_body
from hven.portal.api.table_rows import TableSearch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import pyarrow as pa

    from hven.model.table import Table
    from hven.portal.api.table_rows import QueryRunner

CELL_DEGREES = 5  # a divisor of 90
MAX_BOXES = 300_000  # rows of a table whose boxes are drawn
SHADE_COUNT = 3
BAR_COUNT = 60
QUERY_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyCoverageMap:
    """The rows on a body: a path for each shade, the fewest rows first, in a box of 360 by 180.

    `is_partial`: not all rows are drawn.
    """

    body: str
    paths: tuple[str, ...]
    is_partial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeCoverageChart:
    """The rows in time: bars as a path in a box of `bars` by 20, with the first and the last day."""

    path: str
    bars: int
    begin: str
    end: str


def draw_ground_coverage(table: Table, runner: QueryRunner) -> BodyCoverageMap | None:
    """Draw the places of a table's rows on a body; None if they are on no body, or no row has a place."""
    if not has_positions_on_body(table):
        return None
    names = {column.name.lower(): column.name for column in table.columns}
    bounds = [names[name] for name in ("c1min", "c1max", "c2min", "c2max") if name in names]
    point = find_position_columns(table)
    is_partial = False
    if len(bounds) == 4:
        counts, is_partial = _count_row_boxes_by_cell(table, bounds, runner)
    elif point is not None:
        counts = _count_points_by_cell(table, point, runner)
    else:
        return None
    if counts.any():
        tops = range(180 - CELL_DEGREES, -1, -CELL_DEGREES)  # rows begin in the south
        paths = write_svg_paths_of_shaded_cells(counts, tops, shade_count=SHADE_COUNT, cell_size=CELL_DEGREES)
        return BodyCoverageMap(body=find_single_body(table, (), runner), paths=tuple(paths), is_partial=is_partial)
    return None


def _count_row_boxes_by_cell(table: Table, bounds: Sequence[str], runner: QueryRunner) -> tuple[_Floats, bool]:
    """Count the boxes of rows that touch each cell; also return whether there are more than `MAX_BOXES` rows."""
    items = tuple(syntax_tree.SelectItem(build_column_ref(name)) for name in bounds)
    top = syntax_tree.Literal(MAX_BOXES + 1)
    select = syntax_tree.Select(items, TableSearch(table=table).build_from_item(), top=top)
    rows = runner.fetch_table(syntax_tree.Query(select), timeout_seconds=QUERY_TIMEOUT_SECONDS)
    west, east, south, north = (_to_floats(rows.column(at)) for at in range(4))
    return _count_boxes_by_cell(west, east, south, north), rows.num_rows > MAX_BOXES


def _count_points_by_cell(table: Table, point: tuple[str, str], runner: QueryRunner) -> _Floats:
    """Count the points of rows in each cell."""
    cell_size = syntax_tree.Literal(float(CELL_DEGREES))
    quotients = [syntax_tree.BinaryOperation("/", build_column_ref(name), cell_size) for name in point]
    cells = tuple(syntax_tree.FunctionCall("FLOOR", (quotient,)) for quotient in quotients)
    items = (
        syntax_tree.SelectItem(cells[0], syntax_tree.Ident("x")),
        syntax_tree.SelectItem(cells[1], syntax_tree.Ident("y")),
        COUNT_ITEM,
    )
    select = syntax_tree.Select(items, TableSearch(table=table).build_from_item(), group_by=cells)
    rows = runner.fetch_table(syntax_tree.Query(select), timeout_seconds=QUERY_TIMEOUT_SECONDS)
    x, y, row_counts = (_to_floats(rows.column(at)) for at in range(3))
    is_valid = np.isfinite(x) & np.isfinite(y) & (np.abs(y * CELL_DEGREES) <= 90)
    counts = np.zeros((180 // CELL_DEGREES, 360 // CELL_DEGREES))
    line = np.minimum(y[is_valid] + 90 // CELL_DEGREES, 180 // CELL_DEGREES - 1).astype(np.int64)
    column = (x[is_valid] % (360 // CELL_DEGREES)).astype(np.int64)
    np.add.at(counts, (line, column), row_counts[is_valid])
    return counts


def _to_floats(values: pa.ChunkedArray) -> _Floats:
    return np.asarray(values.cast("float64").to_numpy(), np.float64)


def draw_time_coverage(table: Table, runner: QueryRunner) -> TimeCoverageChart | None:
    """Draw the begins of a table's rows; None if it has no times, or all are equal."""
    column, _ = find_begin_and_end_time_columns(table)
    if column is None:
        return None
    time_histogram = build_histogram(TableSearch(table=table), column, runner, bin_count=BAR_COUNT)
    if time_histogram is None or not any(time_histogram.counts):
        return None
    if time_histogram.high <= time_histogram.low:
        return None
    base = column.epoch or 0.0
    ends = [format_julian_date_as_day(value + base) for value in (time_histogram.low, time_histogram.high)]
    if None in ends:
        return None
    max_count = max(time_histogram.counts)
    bars = [(at, max(20 * count / max_count, 0.8)) for at, count in enumerate(time_histogram.counts) if count]
    path = "".join(f"M{at} 20v-{height:.1f}h.8v{height:.1f}z" for at, height in bars)
    return TimeCoverageChart(path=path, bars=len(time_histogram.counts), begin=str(ends[0]), end=str(ends[1]))


def _count_boxes_by_cell(west: _Floats, east: _Floats, south: _Floats, north: _Floats) -> _Floats:
    """Count the boxes that touch each cell, by cumulative sums of differences at their corners.

    A box with west > east crosses 0.
    """
    column_count = 360 // CELL_DEGREES
    row_count = 180 // CELL_DEGREES
    are_finite = np.isfinite(west) & np.isfinite(east) & np.isfinite(south) & np.isfinite(north)
    is_valid = are_finite & (south <= north) & (south >= -90) & (north <= 90)
    west = west[is_valid]
    east = east[is_valid]
    south = south[is_valid]
    north = north[is_valid]
    is_full_circle = (east - west) >= 360
    west_edge = np.where(is_full_circle, 0.0, west % 360)
    right = np.where(is_full_circle, 360.0, west_edge + (east - west) % 360)
    first = np.floor(west_edge / CELL_DEGREES).astype(np.int64)
    last = np.maximum(np.ceil(right / CELL_DEGREES).astype(np.int64), first + 1)
    last = np.where(is_full_circle, column_count, last)
    low = np.clip(np.floor((south + 90) / CELL_DEGREES).astype(np.int64), 0, row_count - 1)
    top = np.maximum(np.ceil((north + 90) / CELL_DEGREES).astype(np.int64), low + 1)
    top = np.clip(top, 1, row_count)
    sums = np.zeros((row_count + 1, 2 * column_count + 2))
    for rows, columns, sign in ((low, first, 1), (low, last, -1), (top, first, -1), (top, last, 1)):
        np.add.at(sums, (rows, columns), sign)
    unwrapped_counts: _Floats = sums.cumsum(axis=0).cumsum(axis=1)[:row_count]
    counts: _Floats = unwrapped_counts[:, :column_count] + unwrapped_counts[:, column_count : 2 * column_count]
    return counts


if TYPE_CHECKING:
    _Floats = npt.NDArray[np.float64]
