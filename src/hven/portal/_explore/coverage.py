"""What a table covers, drawn small: on a body as cells of longitude and latitude, in time as bars; as paths of SVG.

Both are counted for the reader who asks, so that nothing is drawn of rows that they may not see.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from hven.adql import syntax_tree
from hven.model.table import find_begin_and_end_columns
from hven.portal._explore.place_names import find_single_body, is_on_body
from hven.portal._explore.plots import build_histogram
from hven.portal._explore.search import COUNT_ITEM, TableSearch, build_column_ref, find_position_columns

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.model.table import Table
    from hven.portal._explore.page_queries import QueryRunner

CELL_DEGREES = 5  # degrees; a part of 90
MAX_BOXES = 300_000  # rows of a table whose boxes are drawn
SHADE_COUNT = 3
BAR_COUNT = 60
QUERY_TIMEOUT_SECONDS = 5.0  # seconds
UNIX_EPOCH_JULIAN_DATE = 2_440_587.5  # Julian date of 1970-01-01


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundCoverage:
    """Where rows are on a body: a path for each shade, the fewest rows first, in a box of 360 by 180; `is_partial`.

    These are not all rows.
    """

    body: str
    paths: tuple[str, ...]
    is_partial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeCoverage:
    """When rows are: bars as a path in a box of `bars` by 20, with the days at its ends."""

    path: str
    bars: int
    begin: str
    end: str


def draw_ground_coverage(table: Table, runner: QueryRunner) -> GroundCoverage | None:
    """Draw where a table's rows are on a body; None: they are on no body, or nowhere."""
    if not is_on_body(table):
        return None
    names = {column.name.lower(): column.name for column in table.columns}
    bounds = [names.get(name) for name in ("c1min", "c1max", "c2min", "c2max")]
    point = find_position_columns(table)
    search = TableSearch(table=table)
    is_partial = False
    if None not in bounds:
        items = tuple(syntax_tree.SelectItem(build_column_ref(name)) for name in bounds if name is not None)
        rows = runner.fetch_table(
            syntax_tree.Query(syntax_tree.Select(items, search.build_source(), top=syntax_tree.Literal(MAX_BOXES + 1))),
            timeout_seconds=QUERY_TIMEOUT_SECONDS,
        )
        is_partial = rows.num_rows > MAX_BOXES
        west, east, south, north = (
            np.asarray(rows.column(at).cast("float64").to_numpy(), np.float64) for at in range(4)
        )
        counts = _count_boxes_by_cell(west, east, south, north)
    elif point is not None:
        cells = tuple(
            syntax_tree.FunctionCall(
                "FLOOR",
                (syntax_tree.BinaryOperation("/", build_column_ref(name), syntax_tree.Literal(float(CELL_DEGREES))),),
            )
            for name in point
        )
        items = (
            syntax_tree.SelectItem(cells[0], syntax_tree.Ident("x")),
            syntax_tree.SelectItem(cells[1], syntax_tree.Ident("y")),
            COUNT_ITEM,
        )
        rows = runner.fetch_table(
            syntax_tree.Query(syntax_tree.Select(items, search.build_source(), group_by=cells)),
            timeout_seconds=QUERY_TIMEOUT_SECONDS,
        )
        x, y, n = (np.asarray(rows.column(at).cast("float64").to_numpy(), np.float64) for at in range(3))
        is_valid = np.isfinite(x) & np.isfinite(y) & (np.abs(y * CELL_DEGREES) <= 90)
        counts = np.zeros((180 // CELL_DEGREES, 360 // CELL_DEGREES))
        line = np.minimum(y[is_valid] + 90 // CELL_DEGREES, 180 // CELL_DEGREES - 1).astype(np.int64)
        np.add.at(counts, (line, (x[is_valid] % (360 // CELL_DEGREES)).astype(np.int64)), n[is_valid])
    else:
        return None
    if counts.any():
        body = find_single_body(table, (), runner)
        return GroundCoverage(body=body, paths=_draw_shades(counts), is_partial=is_partial)
    return None


def draw_time_coverage(table: Table, runner: QueryRunner) -> TimeCoverage | None:
    """Draw when a table's rows begin; None: it has no times, or all are of one moment."""
    column, _ = find_begin_and_end_columns(table)
    if column is None:
        return None
    time_histogram = build_histogram(TableSearch(table=table), column, runner, bin_count=BAR_COUNT)
    if time_histogram is None or time_histogram.high <= time_histogram.low or not any(time_histogram.counts):
        return None
    base = column.epoch or 0.0
    ends = [_format_day(value + base) for value in (time_histogram.low, time_histogram.high)]
    if None in ends:
        return None
    max_count = max(time_histogram.counts)
    bars = [(at, max(20 * count / max_count, 0.8)) for at, count in enumerate(time_histogram.counts) if count]
    path = "".join(f"M{at} 20v-{height:.1f}h.8v{height:.1f}z" for at, height in bars)
    return TimeCoverage(path=path, bars=len(time_histogram.counts), begin=str(ends[0]), end=str(ends[1]))


def _count_boxes_by_cell(west: _Floats, east: _Floats, south: _Floats, north: _Floats) -> _Floats:
    """Count in each cell the boxes that touch it, by the sums of differences at their corners.

    A box with west > east goes across 0.
    """
    column_count = 360 // CELL_DEGREES
    row_count = 180 // CELL_DEGREES
    is_valid = (
        np.isfinite(west)
        & np.isfinite(east)
        & np.isfinite(south)
        & np.isfinite(north)
        & (south <= north)
        & (south >= -90)
        & (north <= 90)
    )
    west = west[is_valid]
    east = east[is_valid]
    south = south[is_valid]
    north = north[is_valid]
    is_full_circle = (east - west) >= 360
    west_edge = np.where(is_full_circle, 0.0, west % 360)
    right = np.where(is_full_circle, 360.0, west_edge + (east - west) % 360)
    first = np.floor(west_edge / CELL_DEGREES).astype(np.int64)
    last = np.maximum(
        np.ceil(right / CELL_DEGREES).astype(np.int64), np.floor(west_edge / CELL_DEGREES).astype(np.int64) + 1
    )
    last = np.where(is_full_circle, column_count, last)
    low = np.clip(np.floor((south + 90) / CELL_DEGREES).astype(np.int64), 0, row_count - 1)
    top = np.clip(np.maximum(np.ceil((north + 90) / CELL_DEGREES).astype(np.int64), low + 1), 1, row_count)
    sums = np.zeros((row_count + 1, 2 * column_count + 2))
    for rows, columns, sign in ((low, first, 1), (low, last, -1), (top, first, -1), (top, last, 1)):
        np.add.at(sums, (rows, columns), sign)
    unwrapped_counts: _Floats = sums.cumsum(axis=0).cumsum(axis=1)[:row_count]
    counts: _Floats = unwrapped_counts[:, :column_count] + unwrapped_counts[:, column_count : 2 * column_count]
    return counts


def _draw_shades(counts: _Floats) -> tuple[str, ...]:
    """Draw cells in shades of their counts' logarithm: runs of equal shade are one rectangle."""
    is_filled = counts > 0
    level = np.zeros(counts.shape, np.int64)
    logs = np.log1p(counts[is_filled])
    level[is_filled] = 1 + np.minimum((SHADE_COUNT * logs / (logs.max() or 1.0)).astype(np.int64), SHADE_COUNT - 1)
    paths = [""] * SHADE_COUNT
    for row in range(counts.shape[0]):
        edges = np.flatnonzero(np.diff(level[row], prepend=-1, append=-1))
        y = 180 - (row + 1) * CELL_DEGREES
        for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            shade = int(level[row, begin])
            if shade:
                paths[shade - 1] += (
                    f"M{begin * CELL_DEGREES} "
                    f"{y}h{(end - begin) * CELL_DEGREES}v{CELL_DEGREES}h-{(end - begin) * CELL_DEGREES}z"
                )
    return tuple(paths)


def _format_day(julian_date: float) -> str | None:
    try:
        return (
            (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=julian_date - UNIX_EPOCH_JULIAN_DATE))
            .strftime("%Y-%m-%d")
            .rjust(10, "0")
        )
    except (OverflowError, ValueError):
        return None


if TYPE_CHECKING:
    _Floats = npt.NDArray[np.float64]
