"""What a table covers, drawn small: on a body as cells of longitude and latitude, in time as bars; as paths of SVG.

Both are counted for the reader who asks, so that nothing is drawn of rows that they may not see.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from hven.adql import tree
from hven.model.table import begins_and_ends
from hven.portal._explore.names import body_of, on_body
from hven.portal._explore.plots import histogram
from hven.portal._explore.search import COUNTED, Search, ref, sphere

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.model.table import Table
    from hven.portal._explore.page_queries import Asking

CELL = 5  # degrees; a part of 90
BOXES = 300_000  # rows of a table whose boxes are drawn
SHADES = 3
BARS = 60
PATIENCE = 5.0  # seconds
EPOCH = 2_440_587.5  # Julian date of 1970-01-01


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Where rows are on a body: a path for each shade, the fewest rows first, in a box of 360 by 180; `more`: these are not all rows."""

    body: str
    paths: tuple[str, ...]
    more: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """When rows are: bars as a path in a box of `bars` by 20, with the days at its ends."""

    path: str
    bars: int
    begin: str
    end: str


def ground(table: Table, asking: Asking) -> Ground | None:
    """Draw where a table's rows are on a body; None: they are on no body, or nowhere."""
    if not on_body(table):
        return None
    names = {column.name.lower(): column.name for column in table.columns}
    bounds = [names.get(name) for name in ("c1min", "c1max", "c2min", "c2max")]
    point = sphere(table)
    search = Search(table=table)
    more = False
    if None not in bounds:
        items = tuple(tree.SelectItem(ref(name)) for name in bounds if name is not None)
        rows = asking.table(
            tree.Query(tree.Select(items, search.source(), top=tree.Literal(BOXES + 1))), seconds=PATIENCE
        )
        more = rows.num_rows > BOXES
        west, east, south, north = (
            np.asarray(rows.column(at).cast("float64").to_numpy(), np.float64) for at in range(4)
        )
        counts = _boxes(west, east, south, north)
    elif point is not None:
        cells = tuple(
            tree.Function("FLOOR", (tree.Binary("/", ref(name), tree.Literal(float(CELL))),)) for name in point
        )
        items = (tree.SelectItem(cells[0], tree.Ident("x")), tree.SelectItem(cells[1], tree.Ident("y")), COUNTED)
        rows = asking.table(tree.Query(tree.Select(items, search.source(), group_by=cells)), seconds=PATIENCE)
        x, y, n = (np.asarray(rows.column(at).cast("float64").to_numpy(), np.float64) for at in range(3))
        good = np.isfinite(x) & np.isfinite(y) & (np.abs(y * CELL) <= 90)
        counts = np.zeros((180 // CELL, 360 // CELL))
        line = np.minimum(y[good] + 90 // CELL, 180 // CELL - 1).astype(np.int64)
        np.add.at(counts, (line, (x[good] % (360 // CELL)).astype(np.int64)), n[good])
    else:
        return None
    return Ground(body=body_of(table, (), asking), paths=_shaded(counts), more=more) if counts.any() else None


def timeline(table: Table, asking: Asking) -> Line | None:
    """Draw when a table's rows begin; None: it has no times, or all are of one moment."""
    column, _ = begins_and_ends(table)
    if column is None:
        return None
    found = histogram(Search(table=table), column, asking, bins=BARS)
    if found is None or found.high <= found.low or not any(found.counts):
        return None
    base = column.epoch or 0.0
    ends = [_day(value + base) for value in (found.low, found.high)]
    if None in ends:
        return None
    most = max(found.counts)
    bars = [(at, max(20 * count / most, 0.8)) for at, count in enumerate(found.counts) if count]
    path = "".join(f"M{at} 20v-{height:.1f}h.8v{height:.1f}z" for at, height in bars)
    return Line(path=path, bars=len(found.counts), begin=str(ends[0]), end=str(ends[1]))


def _boxes(west: _Floats, east: _Floats, south: _Floats, north: _Floats) -> _Floats:
    """Count in each cell the boxes that touch it, by the sums of differences at their corners; a box with west > east goes across 0."""
    wide, high = 360 // CELL, 180 // CELL
    good = (
        np.isfinite(west)
        & np.isfinite(east)
        & np.isfinite(south)
        & np.isfinite(north)
        & (south <= north)
        & (south >= -90)
        & (north <= 90)
    )
    west, east, south, north = west[good], east[good], south[good], north[good]
    whole = (east - west) >= 360
    left = np.where(whole, 0.0, west % 360)
    right = np.where(whole, 360.0, left + (east - west) % 360)
    first, last = (
        np.floor(left / CELL).astype(np.int64),
        np.maximum(np.ceil(right / CELL).astype(np.int64), np.floor(left / CELL).astype(np.int64) + 1),
    )
    last = np.where(whole, wide, last)
    low = np.clip(np.floor((south + 90) / CELL).astype(np.int64), 0, high - 1)
    top = np.clip(np.maximum(np.ceil((north + 90) / CELL).astype(np.int64), low + 1), 1, high)
    sums = np.zeros((high + 1, 2 * wide + 2))
    for rows, columns, sign in ((low, first, 1), (low, last, -1), (top, first, -1), (top, last, 1)):
        np.add.at(sums, (rows, columns), sign)
    twice: _Floats = sums.cumsum(axis=0).cumsum(axis=1)[:high]
    both: _Floats = twice[:, :wide] + twice[:, wide : 2 * wide]
    return both


def _shaded(counts: _Floats) -> tuple[str, ...]:
    """Draw cells in shades of their counts' logarithm: runs of equal shade are one rectangle."""
    there = counts > 0
    level = np.zeros(counts.shape, np.int64)
    logs = np.log1p(counts[there])
    level[there] = 1 + np.minimum((SHADES * logs / (logs.max() or 1.0)).astype(np.int64), SHADES - 1)
    paths = [""] * SHADES
    for row in range(counts.shape[0]):
        edges = np.flatnonzero(np.diff(level[row], prepend=-1, append=-1))
        y = 180 - (row + 1) * CELL
        for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            if shade := int(level[row, begin]):
                paths[shade - 1] += f"M{begin * CELL} {y}h{(end - begin) * CELL}v{CELL}h-{(end - begin) * CELL}z"
    return tuple(paths)


def _day(julian: float) -> str | None:
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=julian - EPOCH)).strftime("%Y-%m-%d").rjust(10, "0")
    except (OverflowError, ValueError):
        return None


if TYPE_CHECKING:
    _Floats = npt.NDArray[np.float64]
