"""What a table has, in a few numbers: its range in time, its sky drawn small, rows by year, and by the values of its telling columns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from hven.adql import tree
from hven.model.table import begins_and_ends
from hven.portal._explore import facets
from hven.portal._explore.plots import span
from hven.portal._explore.search import COUNTED, Search, ref

if TYPE_CHECKING:
    import numpy.typing as npt

    from hven.model.table import Column, Table
    from hven.portal._explore.facets import Facet
    from hven.portal._explore.page_queries import Asking

DAYS = 200_000  # different days at most
PATIENCE = 15.0  # seconds
SHOWN = 20  # values of a column
TELLING = ("instrument_name", "instrument", "processing_level", "calib_level", "target_name", "dataproduct_type", "measurement_type", "facility_name",
           "instrument_host_name", "obs_collection", "target_class", "filter", "telescope")  # fmt: skip
EPOCH = 2_440_588  # Julian day number of 1970-01-01
MOST_CELLS = 800  # of a sky drawn small


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Rows of one year, or month (``2004-03``), or day."""

    name: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Numbers of one table, as one reader sees it. `begin`, `end`: ISO days."""

    table: Table
    rows: int | None
    time: Column | None = None
    begin: str | None = None
    end: str | None = None
    periods: tuple[Period, ...] = ()
    choices: tuple[Facet, ...] = ()


def summary(table: Table, asking: Asking, rows: int | None) -> Summary:
    """Count a table by time and by its telling columns."""
    search = Search(table=table)
    begin, end = begins_and_ends(table)
    between = bounds(table, asking) if begin is not None else None
    return Summary(
        table=table,
        rows=rows,
        time=begin or end,
        begin=between[0] if between is not None else None,
        end=between[1] if between is not None else None,
        periods=_periods(search, begin, asking) if begin is not None else (),
        choices=tuple(found for column in telling(table, asking) if (found := facets.facet(search, column, asking, shown=SHOWN)) is not None and found.choices),
    )  # fmt: skip


def telling(table: Table, asking: Asking) -> tuple[Column, ...]:
    """Choose the columns that rows are counted by: those of well-known names first, then the ones of highest rank with few values."""
    offered = {column.name: column for column in facets.offered(table, asking)}
    known = [
        column
        for name in TELLING
        for column in table.columns
        if column.name.lower() == name and not column.hidden and column.name in offered
    ]
    others = [column for column in offered.values() if column not in known and (column.type.is_string or column.enum)]
    return tuple([*known, *others][:6])  # fmt: skip


def bounds(table: Table, asking: Asking) -> tuple[str, str] | None:
    """Return the first and last day of a table's rows; None: it has no times."""
    begin, end = begins_and_ends(table)
    if begin is None or end is None:
        return None
    search = Search(table=table)
    first, last = span(search, begin, asking), span(search, end, asking)
    if first is None or last is None:
        return None
    low, high = _day(first[0] + (begin.epoch or 0.0)), _day(last[1] + (end.epoch or 0.0))
    return None if low is None or high is None else (low, high)


def _day(julian: float) -> str | None:
    try:
        return (
            (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=julian - EPOCH + 0.5))
            .strftime("%Y-%m-%d")
            .rjust(10, "0")
        )
    except (OverflowError, ValueError):
        return None


def _periods(search: Search, column: Column, asking: Asking) -> tuple[Period, ...]:
    """Count rows by day, and put the days together: by year, by month where there are few years."""
    value: tree.Expr = ref(column.name)
    value = tree.Function("IVO_TO_JD", (value,)) if column.type.is_timestamp else tree.Cast(value, "DOUBLE PRECISION")
    day = tree.Function("FLOOR", (tree.Binary("+", value, tree.Literal(0.5 + (column.epoch or 0.0))),))
    items = (tree.SelectItem(day, tree.Ident("d")), COUNTED)
    asked = tree.Query(tree.Select(items, search.source(), group_by=(day,), top=tree.Literal(DAYS)))
    found = asking.table(asked, seconds=PATIENCE)
    days = np.asarray(found.column(0).cast("float64").to_numpy(), np.float64)
    counts = np.asarray(found.column(1).to_numpy(), np.int64)
    good = np.isfinite(days) & (days > 1_721_425) & (days < 5_373_485)  # years 1 to 9999
    if not good.any():
        return ()
    dates = (days[good].astype(np.int64) - EPOCH).astype("datetime64[D]")
    few = np.unique(dates.astype("datetime64[Y]")).size <= 2
    names, where = np.unique(dates.astype("datetime64[M]" if few else "datetime64[Y]"), return_inverse=True)
    sums = np.zeros(names.size, np.int64)
    np.add.at(sums, where, counts[good])
    return tuple(Period(name=str(name), rows=int(rows)) for name, rows in zip(names, sums, strict=True))


def sky_path(moc: str) -> str:
    """Draw a MOC (ASCII) on the whole sky, in Hammer's projection: an SVG path in a box of 5.66 by 2.83 around 0, east to the left."""
    if not moc.strip():
        return ""
    from cdshealpix import nested  # noqa: PLC0415  (slow to load, asked by few)
    from mocpy import MOC  # noqa: PLC0415  (slow to load, asked by few)

    ranges = np.asarray(MOC.from_string(moc).to_depth29_ranges, np.int64)
    cells, order = np.empty(0, np.int64), 4
    for order in (4, 3, 2):
        wide = 1 << 2 * (29 - order)
        cells = np.unique(
            np.concatenate([np.arange(begin // wide, -(-end // wide)) for begin, end in ranges.tolist()] or [cells])
        )
        if cells.size <= MOST_CELLS:
            break
    if not cells.size:
        return ""
    lon, lat = nested.vertices(cells.astype(np.uint64), np.uint8(order))
    return "".join(
        path for one, other in zip(np.asarray(lon.deg), np.asarray(lat.deg), strict=True) for path in _cell(one, other)
    )


def _cell(lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64]) -> list[str]:
    """Draw one cell; one that lies on the edge of the map is drawn at both sides."""
    around = (lon + 180) % 360 - 180
    if np.ptp(around) <= 180:
        return [_path(around, lat)]
    east = np.where(around < 0, around + 360, around)
    return [_path(np.clip(east, -180, 180), lat), _path(np.clip(east - 360, -180, 180), lat)]


def _path(lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64]) -> str:
    half, up = np.radians(-lon) / 2, np.radians(lat)
    root = np.sqrt(1 + np.cos(up) * np.cos(half))
    x, y = 2 * np.sqrt(2) * np.cos(up) * np.sin(half) / root, -np.sqrt(2) * np.sin(up) / root
    return "M" + "L".join(f"{a:.2f} {b:.2f}" for a, b in zip(x, y, strict=True)) + "z"
