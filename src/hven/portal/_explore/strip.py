"""A table at first sight: how its rows spread in time, over a map, and in the columns that tell most; all of it counted in one pass over the rows that are found."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.adql import tree
from hven.engines import Live
from hven.model import Cache, Failures
from hven.model.errors import Timeout, TooLarge
from hven.model.table import begins_and_ends
from hven.portal._explore.map_frames import frame
from hven.portal._explore.plots import plotted, span
from hven.portal._explore.search import Search, ref
from hven.portal._explore.strip_bins import MOST_TIME, UNIX, Bins, bins, rounded, values_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.model.table import Column, Table
    from hven.portal._explore.page_queries import Asking
    from hven.site import Published

    _Values = Mapping[str, npt.NDArray[np.float64]]

PARTS = 6  # histograms beside time and map
LOOKED = 20_000  # rows that columns and bins are chosen by
READ = 50_000  # of them at most, where an engine has no samples
WEIGHED = 60  # columns that are looked at
EXACT = 2_000_000  # rows of a table up to which all are counted
SAMPLE = 500_000  # rows of larger ones
FEW = 200_000  # rows of a larger one, about: so few are counted one by one
PATIENCE = 2.0  # seconds that choosing may take
WAIT = 10.0  # seconds that counting may take, which no page waits for
ALIKE = 0.98  # correlation of ranks, from which one column says what another one did
RANKED = 4_000  # rows that ranks are compared of
KEYS = 0.95  # different values for each row, from which whole numbers are names
WIDE, HIGH = 72, 36  # cells of a map
ZOOMED = 3  # times smaller than all there is: then the map shows that part alone
KEPT = 4 * 1024**2  # bytes of choices that a process remembers
_NAMES = re.compile(r"(?:^|_)(?:id|uid|gid|index|no|size|estsize|healpix|hpx\w*|version|checksum|md5)$", re.IGNORECASE)
_WORDS = ("meta.id", "meta.record", "meta.ref", "meta.file", "meta.code", "meta.version", "meta.checksum", "stat.error", "pos.wcs",
          "time.creation", "time.release", "time.processing")  # fmt: skip
_BYTES = frozenset({"byte", "kbyte", "Mbyte", "Gbyte", "kB", "MB", "B", "KiB", "MiB"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A small map of counts: cells of a grid over `box` (west, south, east, north), `WIDE` by `HIGH`, or as many as it is wide of a disc.

    Attributes
    ----------
    bounds
        Columns of west, south, east and north; of places the first two are the last ones, too.
    fields
        What a search calls longitude and latitude.
    round
        Longitudes go round.
    """

    kind: str
    bounds: tuple[Column, Column, Column, Column]
    fields: tuple[str, str]
    box: tuple[float, float, float, float]
    unit: str
    round: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Cells across and up."""
        return (WIDE, HIGH) if self.round else (HIGH, HIGH)

    def middles(self, values: _Values) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the longitudes and latitudes of the middles of rows; an interval may go across 0."""
        west, south, east, north = (values[one.name] for one in self.bounds)
        if east is west:
            return _turned(west) if self.round else west, south
        across = east - west
        lon = west + (across % 360.0 if self.round else across) / 2
        return _turned(lon) if self.round else lon, (south + north) / 2

    def count(self, values: _Values) -> npt.NDArray[np.int64]:
        """Count rows by cell, from the south west eastwards; the first number is of those that are beside the map, or have no place."""
        lon, lat = self.middles(values)
        wide, high = self.shape
        west, south, east, north = self.box
        x, y = lon - west, lat - south
        x *= wide / (east - west)
        y *= high / (north - south)
        inside = (x >= 0) & (x <= wide) & (y >= 0) & (y <= high)
        if not inside.all():
            x, y = x[inside], y[inside]
        cells = np.minimum(y.astype(np.intp), high - 1)
        cells *= wide
        cells += np.minimum(x.astype(np.intp), wide - 1)
        cells += 1
        found = np.bincount(cells, minlength=wide * high + 1)
        found[0] = len(lon) - len(cells)
        return found


def _turned(lon: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return longitudes from 0 to 360; those that are so as they are: a remainder takes longer than all else."""
    return lon if len(lon) and lon.min() >= 0 and lon.max() < 360 else lon % 360.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What the strip of a table has, whatever is searched: bins of its time and of the columns that tell most, and a map.

    The parts stand in the order of the table's columns; `best` names them in that of what they tell.
    """

    time: Bins | None = None
    ground: Ground | None = None
    parts: tuple[Bins, ...] = ()
    best: tuple[str, ...] = ()

    @property
    def most_telling(self) -> tuple[Bins, ...]:
        """The parts, those first that tell most."""
        return tuple(sorted(self.parts, key=lambda one: self.best.index(one.column.name)))

    @property
    def bins(self) -> tuple[Bins, ...]:
        """All bins, those of time first."""
        return self.parts if self.time is None else (self.time, *self.parts)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        own = () if self.ground is None else self.ground.bounds
        return tuple(dict.fromkeys([*(one.column.name for one in self.bins), *(one.name for one in own)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Rows of each bin, in the order of `Layout.bins`, then of each cell of the map; the first number of each is of rows without a value.

    `share` of the table's rows were looked at: below 1 these are estimates.
    """

    rows: int
    counts: tuple[npt.NDArray[np.int64], ...]
    share: float = 1.0

    @property
    def exact(self) -> bool:
        """All rows were looked at."""
        return self.share == 1.0


def layout(table: Table, asking: Asking) -> Layout:
    """Choose what the strip of a table shows: once for each state of the table, and for all who see the same rows."""
    item = asking.holdings.published[table.qualified]
    reach = asking.holdings.reach(asking.who, asking.policies)
    key = (table.qualified, item.run, item.updated, reach)
    known = asking.site.kept(Layouts)
    found = known.find(key)
    failures = asking.site.kept(Failures)
    if found is None and not failures.is_paused(key):
        try:
            found = _layout(table, asking)
        except (Timeout, TooLarge) as error:  # it is tried again: a failure is no layout
            failures.note(key, f"the strip of {table.qualified}", str(error))
        else:
            failures.forget(key)
            known.keep(key, found, 40_000)
    return found or Layout()


class Layouts(Cache[Layout]):
    """What strips show, by table and state."""

    def __init__(self) -> None:
        super().__init__(KEPT)


def _layout(table: Table, asking: Asking) -> Layout:
    item = asking.published(table)
    begin, end = begins_and_ends(table)
    time = next((one for one in (begin, end) if one is not None and not one.hidden), None)
    ground = _ground(table)
    placed = {one.name: one for one in (ground.bounds if ground is not None else ())}
    named = [one for one in _telling(table, item) if one.name not in {*placed, *(each.name for each in (begin, end) if each is not None)}]  # fmt: skip
    columns = [*([time] if time is not None else []), *placed.values(), *named]
    if not columns:
        return Layout()
    items = tuple(tree.SelectItem(ref(one.name)) for one in columns)
    search = Search(table=table)
    query = tree.Query(tree.Select(items, search.source()))
    with asking.run(query, most=READ, seconds=PATIENCE, sample=LOOKED) as result:
        batches = list(result.batches())
        whole = result.share == 1.0 and not result.overflow
    if not batches:
        return Layout()
    rows = pa.Table.from_batches(batches)
    values = {one.name: values_of(rows.column(at).combine_chunks(), one) for at, one in enumerate(columns)}
    known = {one.name: _bounds(one, search, values[one.name], asking, whole=whole) for one in columns}
    timed = None if time is None else bins(time, values[time.name], known[time.name], most=MOST_TIME)
    seen = None if ground is None else _fitted(ground, values)
    taken = [*([values[time.name]] if timed is not None and time is not None else []), *([*seen.middles(values)] if seen is not None else [])]  # fmt: skip
    found = _most_telling(named, values, known, taken)
    order = {column.name: at for at, column in enumerate(named)}
    parts = sorted(found, key=lambda one: order[one.column.name])
    return Layout(time=timed, ground=seen, parts=tuple(parts), best=tuple(one.column.name for one in found))


def _telling(table: Table, item: Published) -> list[Column]:
    """List the columns that may tell something: numbers that differ, and are no names, sizes, errors or dates of processing."""
    found = []
    lower = {one.name.lower() for one in table.columns}
    for column in table.columns:
        ucd, name = (column.ucd or "").lower(), column.name.lower()
        facts = item.statistics.get(column.name, {})
        distinct, low = facts.get("distinct"), facts.get("minimum")
        if not plotted(column) or column.enum or column.name in table.primary or column.unique:
            continue
        if any(word in ucd for word in _WORDS) or _NAMES.search(name) or column.unit in _BYTES:
            continue
        if name.endswith("max") and f"{name[:-3]}min" in lower:
            continue  # a pair: its begin is enough
        if (low is not None and low == facts.get("maximum")) or (item.rows and facts.get("nulls") == item.rows):
            continue
        if isinstance(distinct, int | float) and item.rows:
            filled = item.rows - int(str(facts.get("nulls") or 0))
            if distinct < 3 < filled or (column.type.is_integer and filled > 50 and distinct > KEYS * filled):
                continue
        found.append(column)
    return sorted(found, key=lambda one: one.rank)[:WEIGHED]


def _bounds(
    column: Column, search: Search, values: npt.NDArray[np.float64], asking: Asking, *, whole: bool
) -> tuple[float, float] | None:
    """Return the extremes of all values, if they are known without asking."""
    good = values[np.isfinite(values)]
    if isinstance(asking.holdings.published[search.table.qualified].relation, Live):
        return None  # there may be others by now
    if whole and len(good):
        return (float(good.min()), float(good.max())) if not np.isinf(values).any() else None
    facts = asking.published(search.table).statistics.get(column.name, {})
    if facts.get("minimum") is None or facts.get("maximum") is None:
        return None
    found = span(search, column, asking)
    if found is None:
        return None
    zero = -UNIX if column.type.is_timestamp else 0.0 if column.epoch is None else column.epoch - UNIX
    return found[0] + zero, found[1] + zero


def _most_telling(
    columns: Sequence[Column],
    values: _Values,
    known: Mapping[str, tuple[float, float] | None],
    taken: Sequence[npt.NDArray[np.float64]],
) -> list[Bins]:
    """Choose the columns whose values spread over many bins, and that do not say what another one did; what tells most first."""
    weighed = []
    for column in columns:
        made = bins(column, values[column.name], known[column.name])
        if made is None:
            continue
        counts = made.count(values[column.name])
        filled = counts[1:].sum()
        parts = counts[1:][counts[1:] > 0] / max(filled, 1)
        if len(parts) < 2:
            continue
        spread = float(-(parts * np.log(parts)).sum() / np.log(40))
        weighed.append((spread * np.sqrt(filled / max(counts.sum(), 1)) * (1.3 - 0.03 * column.rank), made))
    weighed.sort(key=lambda one: -one[0])
    ranks = [_ranks(one) for one in taken]
    found: list[Bins] = []
    for _, made in weighed:
        own = _ranks(values[made.column.name])
        if any(_correlated(own, other) for other in ranks):
            continue
        ranks.append(own)
        found.append(made)
        if len(found) == PARTS:
            break
    return found


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    some = values[:: max(len(values) // RANKED, 1)]
    found = np.argsort(np.argsort(some)).astype(np.float64)
    found[~np.isfinite(some)] = np.nan
    return found


def _correlated(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> bool:
    both = np.isfinite(one) & np.isfinite(other)
    if both.sum() < 20:
        return False
    x, y = one[both] - one[both].mean(), other[both] - other[both].mean()
    size = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return size > 0 and abs(float((x * y).sum())) > ALIKE * size


def _ground(table: Table) -> Ground | None:
    framed = frame(table)
    by_name = {one.name: one for one in table.columns}
    if framed is not None:
        west, south, east, north = (by_name[name] for name in framed.bounds)
        return Ground(
            kind="disc" if framed.radius else "body",
            bounds=(west, south, east, north),
            fields=framed.fields,
            box=framed.box,
            unit=framed.unit,
            round=not framed.radius,
        )
    if table.position is None:
        return None
    lon, lat = (by_name[name] for name in table.position)
    if lon.hidden or lat.hidden:
        return None
    whole = (0.0, -90.0, 360.0, 90.0)
    return Ground(
        kind="sky", bounds=(lon, lat, lon, lat), fields=(lon.name, lat.name), box=whole, unit="deg", round=True
    )


def _fitted(ground: Ground, values: _Values) -> Ground | None:
    """Show the part of a map that rows are in, where that is a small one; None: they are nowhere."""
    lon, lat = ground.middles(values)
    good = np.isfinite(lon) & np.isfinite(lat)
    if not good.any():
        return None
    if not ground.round:
        return ground
    ends = [(float(one[good].min()), float(one[good].max())) for one in (lon, lat)]
    wide, high = (high - low for low, high in ends)
    if wide > 360.0 / ZOOMED or high > 180.0 / ZOOMED:
        return ground
    side = rounded(max(wide * 1.1 / WIDE, high * 1.1 / HIGH, 0.001), 0.0)
    west, south = (
        side * np.floor(((low + high) / 2 - side * cells / 2) / side)
        for (low, high), cells in zip(ends, (WIDE, HIGH), strict=True)
    )
    if west < 0 or west + side * WIDE > 360:
        return ground  # across 0
    return replace(ground, box=(float(west), float(south), float(west + side * WIDE), float(south + side * HIGH)))


def counted(search: Search, asking: Asking, chosen: Layout) -> Counts | None:
    """Count the rows of a search in all bins and cells, in one pass; of a large table by a sample, unless it finds few. None: it took too long."""
    where = search.where()
    rows = asking.published(search.table).rows
    large = rows is None or rows > EXACT
    try:
        found = _pass(search, asking, chosen, sample=SAMPLE if large else None)
        if found.exact or where is None or found.rows > FEW:
            return found
    except (Timeout, TooLarge):
        return None
    try:
        return _pass(search, asking, chosen, sample=None)
    except (Timeout, TooLarge):
        return found


def _pass(search: Search, asking: Asking, chosen: Layout, *, sample: int | None) -> Counts:
    names = chosen.columns
    items = tuple(tree.SelectItem(ref(name)) for name in names)
    query = tree.Query(tree.Select(items, search.source(), where=search.where()))
    by_name = {one.name: one for one in search.table.columns}

    def fold(batches: Iterator[pa.RecordBatch]) -> pa.Table:
        sums = [np.zeros(len(one) + 1, np.int64) for one in chosen.bins]
        if chosen.ground is not None:
            wide, high = chosen.ground.shape
            sums.append(np.zeros(wide * high + 1, np.int64))
        for batch in batches:
            values = {name: values_of(batch.column(at), by_name[name]) for at, name in enumerate(names)}
            for number, one in enumerate(chosen.bins):
                sums[number] += one.count(values[one.column.name])
            if chosen.ground is not None:
                sums[-1] += chosen.ground.count(values)
        return pa.table({"counts": pa.array([one.tolist() for one in sums], pa.list_(pa.int64()))})

    found, share = asking.folded(
        query, search.table, fold, name=("strip", *(len(one) for one in chosen.bins)), seconds=WAIT, sample=sample
    )
    counts = [np.asarray(one, np.int64) for one in found.column(0).to_pylist()]
    rows = int(counts[0].sum())
    if share < 1.0:
        counts = [np.round(one / share).astype(np.int64) for one in counts]
        rows = round(rows / share)
    return Counts(rows=rows, counts=tuple(counts), share=share)
