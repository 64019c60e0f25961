"""Summarise a table at first sight: its rows over time, on a map, and in the most informative columns.

One pass over the rows counts everything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.adql import syntax_tree
from hven.engines import LiveRelation
from hven.model import LruCache, RetryBackoffLog
from hven.model.errors import TimeLimitError, TooLargeError
from hven.model.table import find_begin_and_end_time_columns
from hven.plugins.overviews.strip_bins import (
    MAX_TIME_BINS,
    UNIX_EPOCH_JULIAN_DATE,
    ColumnBins,
    choose_column_bins,
    round_up_bin_width,
    to_float_values,
)
from hven.portal.api.column_values import build_column_ref
from hven.portal.api.plots import find_value_range, is_plottable, is_plotted_as_julian_date
from hven.portal.api.table_places import find_map_frame
from hven.portal.api.table_rows import TableSearch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.model.table import Column, Table
    from hven.portal.api.table_rows import QueryRunner
    from hven.site import PublishedTable

    _Values = Mapping[str, npt.NDArray[np.float64]]

MAX_HISTOGRAMS = 6  # histograms beside time and map
SAMPLE_ROWS = 20_000  # sampled rows that columns and bins are chosen by
MAX_READ_ROWS = 50_000  # read rows where an engine cannot sample
MAX_CANDIDATE_COLUMNS = 60  # columns that are considered
MAX_EXACT_ROWS = 2_000_000  # all rows of a table up to this size are counted
COUNT_SAMPLE_ROWS = 500_000  # counted sample of a larger table
MAX_RECOUNTED_ROWS = 200_000  # if the sample estimates fewer rows, all of them are counted
LAYOUT_TIMEOUT_SECONDS = 2.0  # for choosing columns and bins
COUNT_TIMEOUT_SECONDS = 10.0  # for counting; no page waits for it
MIN_DUPLICATE_CORRELATION = 0.98  # rank correlation from which a column repeats another one
MAX_RANKED_ROWS = 4_000  # rows whose ranks are compared
MIN_KEY_DISTINCT_SHARE = 0.95  # distinct values a row, from which whole numbers are identifiers
MAP_COLUMNS, MAP_ROWS = 72, 36  # cells of a map
MIN_ZOOM = 3  # a map zooms in if the rows fill less than this fraction of it (1 / MIN_ZOOM)
MAX_CACHE_BYTES = 4 * 1024**2  # of layouts that a process caches
_IDENTIFIER_PATTERN = re.compile(
    r"(?:^|_)(?:id|uid|gid|index|no|size|estsize|healpix|hpx\w*|version|checksum|md5)$", re.IGNORECASE
)
_EXCLUDED_UCDS = (
    "meta.id",
    "meta.record",
    "meta.ref",
    "meta.file",
    "meta.code",
    "meta.version",
    "meta.checksum",
    "stat.error",
    "pos.wcs",
    "time.creation",
    "time.release",
    "time.processing",
)
_BYTE_UNITS = frozenset({"byte", "kbyte", "Mbyte", "Gbyte", "kB", "MB", "B", "KiB", "MiB"})


@dataclass(frozen=True, slots=True, kw_only=True)
class CountMap:
    """A small map of counts: a grid of cells over `box` (west, south, east, north).

    The grid has `MAP_COLUMNS` by `MAP_ROWS` cells; on a disc it has `MAP_ROWS` cells in both directions.

    Attributes
    ----------
    bounds
        Columns of west, south, east and north; for points, the first two are also the last two.
    fields
        Search parameters of longitude and latitude.
    is_periodic
        Whether longitudes wrap around.
    """

    kind: str
    bounds: tuple[Column, Column, Column, Column]
    fields: tuple[str, str]
    box: tuple[float, float, float, float]
    unit: str
    is_periodic: bool

    @property
    def grid_shape(self) -> tuple[int, int]:
        """The numbers of columns and rows of cells."""
        if self.is_periodic:
            return (MAP_COLUMNS, MAP_ROWS)
        return (MAP_ROWS, MAP_ROWS)

    def compute_row_centres(self, values: _Values) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the longitudes and latitudes of the centres of rows; an interval may cross longitude 0."""
        west, south, east, north = (values[column.name] for column in self.bounds)
        if east is west:
            lon, lat = west, south
        else:
            if self.is_periodic:
                width = (east - west) % 360.0
            else:
                width = east - west
            lon = west + width / 2
            lat = (south + north) / 2
        return _wrap_longitudes_to_0_360(lon) if self.is_periodic else lon, lat

    def count_rows_by_cell(self, values: _Values) -> npt.NDArray[np.int64]:
        """Count rows by cell, from the south west eastwards.

        The first number counts the rows outside the map or without a position.
        """
        lon, lat = self.compute_row_centres(values)
        column_count, row_count = self.grid_shape
        west, south, east, north = self.box
        x = lon - west
        y = lat - south
        x *= column_count / (east - west)
        y *= row_count / (north - south)
        is_inside = (x >= 0) & (x <= column_count)
        is_inside &= (y >= 0) & (y <= row_count)
        if not is_inside.all():
            x = x[is_inside]
            y = y[is_inside]
        cells = np.minimum(y.astype(np.intp), row_count - 1)
        cells *= column_count
        cells += np.minimum(x.astype(np.intp), column_count - 1)
        cells += 1
        cell_counts = np.bincount(cells, minlength=column_count * row_count + 1)
        cell_counts[0] = len(lon) - len(cells)
        return cell_counts


def _wrap_longitudes_to_0_360(longitudes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Wrap longitudes to [0, 360). Values in range stay as they are: the remainder is the slowest step here."""
    if len(longitudes) and longitudes.min() >= 0 and longitudes.max() < 360:
        return longitudes
    return longitudes % 360.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewStripLayout:
    """The layout of the strip of a table: bins of time, bins of the most informative columns, and a map.

    It does not depend on the search. `histograms` are in the order of the table's columns; `ranked_names` has their
    names in the order of information.
    """

    time: ColumnBins | None = None
    overview_map: CountMap | None = None
    histograms: tuple[ColumnBins, ...] = ()
    ranked_names: tuple[str, ...] = ()

    @property
    def ranked_histograms(self) -> tuple[ColumnBins, ...]:
        """The histograms, the most informative first."""
        histograms_by_name = {bins.column.name: bins for bins in self.histograms}
        return tuple(histograms_by_name[name] for name in self.ranked_names)

    @property
    def bins(self) -> tuple[ColumnBins, ...]:
        """All bins, those of time first."""
        if self.time is None:
            return self.histograms
        return (self.time, *self.histograms)

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns that are read, each once."""
        names = [column_bins.column.name for column_bins in self.bins]
        if self.overview_map is not None:
            names += [column.name for column in self.overview_map.bounds]
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewStripCounts:
    """Row counts of each bin, in the order of `OverviewStripLayout.bins`, and of each cell of the map.

    The first number of each array counts the rows without a value.

    `share` is the fraction of rows that were counted; below 1 the counts are estimates.
    """

    rows: int
    counts: tuple[npt.NDArray[np.int64], ...]
    share: float = 1.0

    @property
    def is_exact(self) -> bool:
        """Whether all rows were counted."""
        return self.share == 1.0


def find_overview_strip_layout(table: Table, runner: QueryRunner) -> OverviewStripLayout:
    """Choose the layout of the strip of a table, once for each state of the table and each access."""
    item = runner.published_state.tables_by_name[table.qualified_name]
    reach = runner.published_state.find_access_key(runner.principal, runner.policies)
    key = (table.qualified_name, item.run_id, item.updated, reach)
    layouts = runner.site.get_or_create(OverviewStripLayoutCache)
    strip_layout = layouts.find(key)
    failures = runner.site.get_or_create(RetryBackoffLog)
    if strip_layout is None and not failures.is_retry_paused(key):
        try:
            strip_layout = _build_overview_strip_layout(table, runner)
        except (TimeLimitError, TooLargeError) as error:  # a failure is not cached: it is tried again
            failures.record_failure(key, f"the strip of {table.qualified_name}", str(error))
        else:
            failures.record_success(key)
            layouts.store(key, strip_layout, 40_000)
    return strip_layout or OverviewStripLayout()


class OverviewStripLayoutCache(LruCache[OverviewStripLayout]):
    """Cache of strip layouts, by table and state."""

    def __init__(self) -> None:
        super().__init__(MAX_CACHE_BYTES)


def _build_overview_strip_layout(table: Table, runner: QueryRunner) -> OverviewStripLayout:
    item = runner.find_table_with_visible_counts(table)
    time_columns = [column for column in find_begin_and_end_time_columns(table) if column is not None]
    time = next((column for column in time_columns if not column.hidden), None)
    overview_map = _build_overview_map(table)
    map_columns = {}
    if overview_map is not None:
        map_columns = {column.name: column for column in overview_map.bounds}
    used_names = {*map_columns, *(column.name for column in time_columns)}
    candidate_columns = [column for column in _list_histogram_candidates(table, item) if column.name not in used_names]
    columns = [*map_columns.values(), *candidate_columns]
    if time is not None:
        columns.insert(0, time)
    if not columns:
        return OverviewStripLayout()
    items = tuple(syntax_tree.SelectItem(build_column_ref(column.name)) for column in columns)
    search = TableSearch(table=table)
    query = syntax_tree.Query(syntax_tree.Select(items, search.build_from_item()))
    with runner.run_query(
        query, row_limit=MAX_READ_ROWS, timeout_seconds=LAYOUT_TIMEOUT_SECONDS, sample_rows=SAMPLE_ROWS
    ) as result:
        batches = list(result.iterate_batches())
        is_complete = result.sampled_fraction == 1.0 and not result.overflow
    if not batches:
        return OverviewStripLayout()
    rows = pa.Table.from_batches(batches)
    values = {}
    value_bounds = {}
    for column, column_rows in zip(columns, rows.columns, strict=True):
        column_values = to_float_values(column_rows.combine_chunks(), column)
        values[column.name] = column_values
        value_bounds[column.name] = _find_value_bounds(column, item, column_values, runner, is_complete=is_complete)
    time_bins = None
    used_values: list[npt.NDArray[np.float64]] = []
    if time is not None:
        time_bins = choose_column_bins(time, values[time.name], value_bounds[time.name], max_bins=MAX_TIME_BINS)
    if time_bins is not None:
        used_values.append(values[time_bins.column.name])
    if overview_map is not None:
        overview_map = _zoom_to_rows(overview_map, values)
    if overview_map is not None:
        used_values += overview_map.compute_row_centres(values)
    chosen_bins = _choose_histograms(candidate_columns, values, value_bounds, used_values)
    order = {column.name: at for at, column in enumerate(candidate_columns)}
    return OverviewStripLayout(
        time=time_bins,
        overview_map=overview_map,
        histograms=tuple(sorted(chosen_bins, key=lambda bins: order[bins.column.name])),
        ranked_names=tuple(bins.column.name for bins in chosen_bins),
    )


def _list_histogram_candidates(table: Table, published_table: PublishedTable) -> list[Column]:
    """List the columns that may be informative, by rank.

    They vary and are numbers, but no identifiers, sizes, errors or dates of processing.
    """
    lower_names = {column.name.lower() for column in table.columns}
    candidates = []
    for column in table.columns:
        is_key = column.name in table.primary or column.unique
        if not is_plottable(column) or column.enum or is_key or _has_excluded_meaning(column):
            continue
        name = column.name.lower()
        if name.endswith("max") and f"{name[:-3]}min" in lower_names:
            continue  # of a pair, the begin is enough
        if _may_vary(column, published_table):
            candidates.append(column)
    candidates.sort(key=lambda candidate: candidate.rank)
    return candidates[:MAX_CANDIDATE_COLUMNS]


def _has_excluded_meaning(column: Column) -> bool:
    """Return whether a column is an identifier, an error, a size or metadata, by its name, unit or UCD."""
    ucd = (column.ucd or "").lower()
    if any(word in ucd for word in _EXCLUDED_UCDS):
        return True
    return _IDENTIFIER_PATTERN.search(column.name.lower()) is not None or column.unit in _BYTE_UNITS


def _may_vary(column: Column, published_table: PublishedTable) -> bool:
    """Return whether the statistics allow different values in a column that is no identifier."""
    facts = published_table.statistics.get(column.name, {})
    low = facts.get("minimum")
    if low is not None and low == facts.get("maximum"):
        return False
    if not published_table.rows:
        return True
    if facts.get("nulls") == published_table.rows:
        return False
    distinct = facts.get("distinct")
    if not isinstance(distinct, int | float):
        return True
    filled_count = published_table.rows - int(str(facts.get("nulls") or 0))
    if distinct < 3 < filled_count:
        return False
    is_identifier = filled_count > 50 and distinct > MIN_KEY_DISTINCT_SHARE * filled_count
    return not (column.type.is_integer and is_identifier)


def _find_value_bounds(
    column: Column,
    published_table: PublishedTable,
    values: npt.NDArray[np.float64],
    runner: QueryRunner,
    *,
    is_complete: bool,
) -> tuple[float, float] | None:
    """Return the extremes of all values, if they are known without a query."""
    if isinstance(published_table.relation, LiveRelation):
        return None  # other programs may have added values
    finite = values[np.isfinite(values)]
    if is_complete and len(finite):
        if np.isinf(values).any():
            return None
        return (float(finite.min()), float(finite.max()))
    facts = published_table.statistics.get(column.name, {})
    if facts.get("minimum") is None or facts.get("maximum") is None:
        return None
    value_range = find_value_range(TableSearch(table=published_table.table), column, runner)
    if value_range is None:
        return None
    epoch_offset = 0.0
    if is_plotted_as_julian_date(column):
        epoch_offset = (column.epoch or 0.0) - UNIX_EPOCH_JULIAN_DATE
    return value_range[0] + epoch_offset, value_range[1] + epoch_offset


def _choose_histograms(
    columns: Sequence[Column],
    values: _Values,
    value_bounds: Mapping[str, tuple[float, float] | None],
    used_values: Sequence[npt.NDArray[np.float64]],
) -> list[ColumnBins]:
    """Choose the columns whose values spread over many bins and that do not repeat another column.

    The most informative come first.
    """
    weighted_bins = []
    for column in columns:
        column_bins = choose_column_bins(column, values[column.name], value_bounds[column.name])
        if column_bins is None:
            continue
        counts = column_bins.count_values(values[column.name])
        filled_count = counts[1:].sum()
        bin_counts = counts[1:]
        parts = bin_counts[bin_counts > 0] / max(filled_count, 1)
        if len(parts) < 2:
            continue
        information = -(parts * np.log(parts)).sum()
        entropy = float(information / np.log(40))
        filled_share = filled_count / max(counts.sum(), 1)
        rank_weight = 1.3 - 0.03 * column.rank
        weighted_bins.append((entropy * np.sqrt(filled_share) * rank_weight, column_bins))
    weighted_bins.sort(key=lambda weighted: -weighted[0])
    ranks = [_compute_ranks(column_values) for column_values in used_values]
    chosen_bins: list[ColumnBins] = []
    for _, column_bins in weighted_bins:
        own_ranks = _compute_ranks(values[column_bins.column.name])
        if any(_is_correlated(own_ranks, other) for other in ranks):
            continue
        ranks.append(own_ranks)
        chosen_bins.append(column_bins)
        if len(chosen_bins) == MAX_HISTOGRAMS:
            break
    return chosen_bins


def _compute_ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    step = max(len(values) // MAX_RANKED_ROWS, 1)
    sampled = values[::step]
    ranks = np.argsort(np.argsort(sampled)).astype(np.float64)
    ranks[~np.isfinite(sampled)] = np.nan
    return ranks


def _is_correlated(first_ranks: npt.NDArray[np.float64], second_ranks: npt.NDArray[np.float64]) -> bool:
    is_finite = np.isfinite(first_ranks) & np.isfinite(second_ranks)
    if is_finite.sum() < 20:
        return False
    correlation = np.corrcoef(first_ranks[is_finite], second_ranks[is_finite])[0, 1]
    return bool(abs(correlation) > MIN_DUPLICATE_CORRELATION)


def _build_overview_map(table: Table) -> CountMap | None:
    map_frame = find_map_frame(table)
    by_name = {column.name: column for column in table.columns}
    if map_frame is not None:
        west, south, east, north = (by_name[name] for name in map_frame.bounds)
        kind = "disc" if map_frame.radius else "body"
        return CountMap(
            kind=kind,
            bounds=(west, south, east, north),
            fields=map_frame.fields,
            box=map_frame.box,
            unit=map_frame.unit,
            is_periodic=not map_frame.radius,
        )
    if table.position is None:
        return None
    lon, lat = (by_name[name] for name in table.position)
    if lon.hidden or lat.hidden:
        return None
    full_box = (0.0, -90.0, 360.0, 90.0)
    return CountMap(
        kind="sky",
        bounds=(lon, lat, lon, lat),
        fields=(lon.name, lat.name),
        box=full_box,
        unit="deg",
        is_periodic=True,
    )


def _zoom_to_rows(overview_map: CountMap, values: _Values) -> CountMap | None:
    """Zoom a map to its rows if they fill a small part of it. Return None if no row has a position."""
    lon, lat = overview_map.compute_row_centres(values)
    is_finite = np.isfinite(lon) & np.isfinite(lat)
    if not is_finite.any():
        return None
    if not overview_map.is_periodic:
        return overview_map
    known_lon = lon[is_finite]
    known_lat = lat[is_finite]
    low_lon, high_lon = float(known_lon.min()), float(known_lon.max())
    low_lat, high_lat = float(known_lat.min()), float(known_lat.max())
    width = high_lon - low_lon
    height = high_lat - low_lat
    if width > 360.0 / MIN_ZOOM or height > 180.0 / MIN_ZOOM:
        return overview_map
    min_side = max(width * 1.1 / MAP_COLUMNS, height * 1.1 / MAP_ROWS, 0.001)
    side = round_up_bin_width(min_side, 0.0)
    middle_lon = (low_lon + high_lon) / 2
    middle_lat = (low_lat + high_lat) / 2
    west = side * np.floor((middle_lon - side * MAP_COLUMNS / 2) / side)
    south = side * np.floor((middle_lat - side * MAP_ROWS / 2) / side)
    east = west + side * MAP_COLUMNS
    north = south + side * MAP_ROWS
    if west < 0 or east > 360:
        return overview_map  # it would cross longitude 0
    box = (float(west), float(south), float(east), float(north))
    return replace(overview_map, box=box)


def count_overview_strip_rows(
    search: TableSearch, runner: QueryRunner, strip_layout: OverviewStripLayout
) -> OverviewStripCounts | None:
    """Count the rows of a search in all bins and cells, in one pass.

    A large table is sampled first, and counted exactly if few rows match. Return None if it took too long.
    """
    where = search.build_condition()
    rows = runner.find_table_with_visible_counts(search.table).rows
    is_large = rows is None or rows > MAX_EXACT_ROWS
    sample_rows = COUNT_SAMPLE_ROWS if is_large else None
    try:
        strip_counts = _count_bins_in_one_pass(search, runner, strip_layout, sample_rows=sample_rows)
        if strip_counts.is_exact or where is None or strip_counts.rows > MAX_RECOUNTED_ROWS:
            return strip_counts
    except (TimeLimitError, TooLargeError):
        return None
    try:
        return _count_bins_in_one_pass(search, runner, strip_layout, sample_rows=None)
    except (TimeLimitError, TooLargeError):
        return strip_counts


def _count_bins_in_one_pass(
    search: TableSearch, runner: QueryRunner, strip_layout: OverviewStripLayout, *, sample_rows: int | None
) -> OverviewStripCounts:
    names = strip_layout.column_names
    items = tuple(syntax_tree.SelectItem(build_column_ref(name)) for name in names)
    select = syntax_tree.Select(items, search.build_from_item(), where=search.build_condition())
    query = syntax_tree.Query(select)
    by_name = {column.name: column for column in search.table.columns}

    def sum_batches(batches: Iterator[pa.RecordBatch]) -> pa.Table:
        sums = [np.zeros(len(bins) + 1, np.int64) for bins in strip_layout.bins]
        if strip_layout.overview_map is not None:
            wide, high = strip_layout.overview_map.grid_shape
            sums.append(np.zeros(wide * high + 1, np.int64))
        for batch in batches:
            values = {}
            for at, name in enumerate(names):
                values[name] = to_float_values(batch.column(at), by_name[name])
            for bins_number, bins in enumerate(strip_layout.bins):
                sums[bins_number] += bins.count_values(values[bins.column.name])
            if strip_layout.overview_map is not None:
                sums[-1] += strip_layout.overview_map.count_rows_by_cell(values)
        count_lists = [bins.tolist() for bins in sums]
        count_column = pa.array(count_lists, pa.list_(pa.int64()))
        return pa.table({"counts": count_column})

    bin_lengths = [len(bins) for bins in strip_layout.bins]
    sums_table, share = runner.fetch_and_fold_rows(
        query,
        search.table,
        sum_batches,
        fold_name=("strip", *bin_lengths),
        timeout_seconds=COUNT_TIMEOUT_SECONDS,
        sample_rows=sample_rows,
    )
    count_lists = sums_table.column(0).to_pylist()
    counts = [np.asarray(bins, np.int64) for bins in count_lists]
    rows = int(counts[0].sum())
    if share < 1.0:
        counts = [np.round(bins / share).astype(np.int64) for bins in counts]
        rows = round(rows / share)
    return OverviewStripCounts(rows=rows, counts=tuple(counts), share=share)
