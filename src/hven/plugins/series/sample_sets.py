"""Data sets of samples in time: list them, describe their parameters, and read their samples in the order of time.

Faces (HAPI, das2) write what is read here. Samples come from queries of one time window each, so that neither memory
nor the time limit of a query limits the length of a data set.

Common
------
view
    What the reader sees.
data_set
    Data set to read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from secrets import token_hex
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven import __version__
from hven.adql.adql_writer import quote_adql_name
from hven.engines import Snapshot
from hven.model import LruCache
from hven.model.errors import HvenError
from hven.model.table import Column, find_begin_and_end_time_columns, is_time_column
from hven.model.types import parse_type
from hven.plugins.series.column_statistics import find_column_bounds, write_any_not_null_condition
from hven.plugins.series.column_times import to_instant, to_instants, write_instant_literal
from hven.plugins.series.reader_view import MAX_QUERY_ROWS, ReaderFactCache, ReaderView
from hven.plugins.series.remote_data_sets import find_remote_data_set
from hven.plugins.series.sample_files import DataSetFiles
from hven.plugins.series.sample_parameters import SampleParameter, build_parameter, build_time_parameter
from hven.plugins.series.sample_streams import get_stream_limiter
from hven.plugins.series.table_series import list_table_series
from hven.plugins.series.time_texts import SECOND_MICROSECONDS
from hven.services import build_cache_headers, compute_etag
from hven.services.addresses import get_base_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from starlette.requests import Request

    from hven.model.table import Table, TimeSeriesSpec
    from hven.plugins.series.remote_data_sets import RemoteDataSet
    from hven.plugins.series.sample_files import DataSetLayout
    from hven.services.face import ServiceContext
    from hven.site import PublishedTable

    ComputedSampleReader = Callable[[ReaderView, "SampleDataSet", Sequence[str], int, int], Iterator[pa.RecordBatch]]

MAX_WINDOW_CELLS = 1_000_000  # values of a time window, about: with an index on times, its rows stay in the cache
RETRY_DELAY_SECONDS = 10.0  # seconds after which files that could not be read are tried again
REMOTE_RETRY_DELAY_SECONDS = 60.0  # seconds after which another server is asked again


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeExtent:
    """The time span of the samples that a reader may see.

    Attributes
    ----------
    start, stop
        Times of the first sample and just after the last one, in microseconds since 1970 (UTC).
    row_count
        How many samples there are.
    """

    start: int
    stop: int
    row_count: int

    @property
    def span(self) -> int:
        """Microseconds from start to stop."""
        return self.stop - self.start

    def widen_to_bins(self, bin_microseconds: int) -> TimeExtent:
        """Return the time span of the bins in which the samples are."""
        first = self.start // bin_microseconds
        end = -(-self.stop // bin_microseconds)
        return TimeExtent(
            start=first * bin_microseconds, stop=end * bin_microseconds, row_count=min(self.row_count, end - first)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleDataSet:
    """A data set, as a reader sees it.

    Attributes
    ----------
    series
        Its description in the descriptor.
    published
        Its table.
    table
        The table, as the reader sees it.
    time
        The parameter with the times of the samples.
    parameters
        The other parameters, in order.
    left_out
        Columns that cannot be parameters, each with the reason.
    notes
        Further remarks.
    file_layout
        Layout of its files; None if its samples are rows.
    stop_column
        Name of the column with the ends of events; empty: samples have no end.
    sample_count
        About how many samples there are.
    file_state
        Text that identifies the state of its files; empty if its samples are rows, None if not all readers may access
        all files.
    base_set, bin_microseconds, derivation
        Data set from which this one is derived, width of the bins, and how: the name of a mean, or ``available``. None,
        0 and empty: it is not derived.
    remote
        Server from which its samples are requested; None if this site has them.
    read_computed
        Function that reads the samples of a data set that another package computes, from the reader, the data set,
        names of parameters, and a span as in `read_samples`. None: they are read here.
    """

    series: TimeSeriesSpec
    published: PublishedTable
    table: Table
    time: SampleParameter
    parameters: tuple[SampleParameter, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    file_layout: DataSetLayout | None = None
    stop_column: str = ""
    sample_count: int = 0
    file_state: str | None = ""
    base_set: SampleDataSet | None = None
    bin_microseconds: int = 0
    derivation: str = ""
    remote: RemoteDataSet | None = None
    read_computed: ComputedSampleReader | None = None

    @property
    def has_nanoseconds(self) -> bool:
        """Whether its times have nanoseconds."""
        return self.file_layout is not None and self.file_layout.has_nanoseconds

    @property
    def id(self) -> str:
        """Its identifier in HAPI."""
        return self.series.id

    @property
    def title(self) -> str:
        """Its heading."""
        return self.series.title or self.table.title or self.id

    @property
    def description(self) -> str | None:
        """What it is, as far as the descriptor says it."""
        return self.series.description or self.table.description

    @property
    def numeric_parameters(self) -> tuple[SampleParameter, ...]:
        """The parameters that can be reduced."""
        return tuple(parameter for parameter in self.parameters if parameter.is_numeric)

    def choose_parameters(self, names: Iterable[str]) -> list[SampleParameter]:
        """Choose the parameters with these names, in the order of the data set."""
        chosen_names = set(names)
        return [parameter for parameter in self.parameters if parameter.name in chosen_names]

    def estimate_cadence(self, extent: TimeExtent | None) -> float:
        """Return the microseconds between two samples: the declared cadence, else the average; 0 without samples.

        Parameters
        ----------
        extent
            Time span of its samples.
        """
        if self.series.cadence:
            return self.series.cadence * 1e6
        if extent:
            return extent.span / max(extent.row_count, 1)
        return 0.0


def list_data_sets(view: ReaderView, face: str, *, collection: str | None = None) -> dict[str, SampleDataSet]:
    """List the data sets of the tables that a reader may know of.

    Parameters
    ----------
    face
        Name of the face that serves them; tables that the face leaves out have none.
    collection
        Name of a collection whose data sets are listed; None for all collections.

    Returns
    -------
    data_sets
        Data sets by id; of two with the same id, the first.
    """
    sets_by_id: dict[str, SampleDataSet] = {}
    for table in view.published_state.get_catalogue(view.principal, view.context.policies).iterate_tables():
        published = view.published_state.tables_by_name.get(table.qualified_name)
        is_served = table.is_served_by(face) and table.release is None
        if published is None or not is_served or collection not in {None, table.schema}:
            continue
        table_series = list_table_series(table)
        remote_source = None
        if table_series:
            remote_source = find_remote_data_set(view.context, published)
        for series in table_series:
            if remote_source is not None:
                data_set = _find_remote_data_set(view, remote_source, series, published)
            elif series.file:
                data_set = _find_file_data_set(view, series, table, published)
            else:
                data_set = _build_row_data_set(view, series, table, published)
            if data_set is not None:  # `hven check` reports an id that is used twice
                sets_by_id.setdefault(data_set.id, data_set)
    return sets_by_id


def _build_row_data_set(
    view: ReaderView, series: TimeSeriesSpec, table: Table, published: PublishedTable
) -> SampleDataSet | None:
    columns_by_name = {column.name.lower(): column for column in table.columns}
    begin, end = find_begin_and_end_time_columns(table)
    time = begin
    if series.time:
        time = columns_by_name.get(series.time.lower())
    if time is None or not is_time_column(time):  # `hven check` reports it
        return None
    stop_column = ""
    if end is not None and end is not begin and time is begin:  # rows are events
        stop_column = end.name
    names = series.parameters or [column.name for column in table.columns if not column.hidden]
    columns = [columns_by_name[name.lower()] for name in names if name.lower() in columns_by_name]
    parameters, left_out = _build_parameters(
        [column for column in columns if column is not time], series, find_column_bounds(view, published)
    )
    return SampleDataSet(
        series=series,
        published=published,
        table=table,
        time=replace(build_time_parameter(time), fill=None),
        parameters=tuple(
            build_time_parameter(parameter.column) if parameter.name == stop_column else parameter
            for parameter in parameters
        ),
        left_out=left_out,
        stop_column=stop_column,
        sample_count=published.rows or 0,
    )


def _build_parameters(
    columns: Iterable[Column], series: TimeSeriesSpec, statistics: Mapping[str, Mapping[str, Any]]
) -> tuple[tuple[SampleParameter, ...], tuple[tuple[str, str], ...]]:
    """Build the parameters of columns; return them, and the columns that cannot be one, each with the reason."""
    parameters = []
    left_out = []
    for column in columns:
        parameter = build_parameter(column, statistics.get(column.name, {}), series)
        if isinstance(parameter, str):
            left_out.append((column.name, parameter))
        else:
            parameters.append(replace(parameter, scale_type=series.scale_types.get(column.name.lower())))
    return tuple(parameters), tuple(left_out)


def _build_text_statistics(columns: Iterable[Column], lengths: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Build statistics for columns of servers and files, whose readers have already replaced fill values by null."""
    return {column.name: {"max_length": lengths.get(column.name), "minimum": None} for column in columns}


def _build_file_time_parameter(column: Column, *, has_nanoseconds: bool = False) -> SampleParameter:
    return SampleParameter(column=column, value_kind="isotime", byte_length=30 if has_nanoseconds else 27, fill=None)


def _find_remote_data_set(
    view: ReaderView, remote: RemoteDataSet, series: TimeSeriesSpec, published: PublishedTable
) -> SampleDataSet | None:
    """Find a data set of another server; return None if the server does not describe it."""
    relation = published.relation
    if isinstance(relation, Snapshot):
        state_key = relation.id
    else:
        state_key = view.published_state.version
    key = ("remote", series.id, state_key, repr(series))
    fact_cache = view.context.site.get_or_create(ReaderFactCache)
    data_set: SampleDataSet | None = fact_cache.find(key)
    if data_set is None:
        if _has_recent_failure(view, series):
            return None
        try:
            (time, *columns), bins, lengths, cadence = remote.describe()
        except HvenError as error:
            _note_failure(view, series, error, REMOTE_RETRY_DELAY_SECONDS)
            return None
        _forget_failure(view, series)
        merged_series = replace(series, bins={**bins, **series.bins}, cadence=series.cadence or cadence)
        parameters, left_out = _build_parameters(columns, merged_series, _build_text_statistics(columns, lengths))
        data_set = SampleDataSet(
            series=merged_series,
            published=published,
            table=published.table,
            time=_build_file_time_parameter(time),
            parameters=parameters,
            left_out=left_out,
            file_state=None,
            remote=remote,
        )
        fact_cache.store(key, data_set)
    return replace(data_set, published=published, table=published.table)


def _find_file_data_set(
    view: ReaderView, series: TimeSeriesSpec, table: Table, published: PublishedTable
) -> SampleDataSet | None:
    """Find a data set of samples in files; return None if the reader may access no file or none can be read."""
    if find_begin_and_end_time_columns(table)[0] is None or _has_recent_failure(view, series):
        return None
    files = DataSetFiles(view, series, table)
    try:
        data_set = view.find_or_compute("set", series.id, lambda: _build_file_data_set(files, published))
    except HvenError as error:
        _note_failure(view, series, error, RETRY_DELAY_SECONDS)
        return None
    _forget_failure(view, series)
    return data_set


def _build_file_data_set(files: DataSetFiles, published: PublishedTable) -> SampleDataSet | None:
    layout = files.read_merged_layout()
    if layout is None:
        return None
    extent = files.find_time_extent()
    if extent is not None:
        layout = files.drop_uncountable_nanoseconds(layout, extent)
    lengths = {column.name: 1 for column in layout.columns if not column.type.is_array} | dict(layout.lengths)
    parameters, left_out = _build_parameters(
        layout.columns, replace(files.series, bins=layout.bins), _build_text_statistics(layout.columns, lengths)
    )
    time_column = Column(name=layout.time_name, type=parse_type("timestamp"), ucd="time.epoch")
    return SampleDataSet(
        series=files.series,
        published=published,
        table=files.table,
        time=_build_file_time_parameter(time_column, has_nanoseconds=layout.has_nanoseconds),
        parameters=parameters,
        left_out=left_out,
        notes=layout.notes,
        file_layout=layout,
        sample_count=0 if extent is None else extent[2],
        file_state=_find_file_state(files),
    )


def _find_file_state(files: DataSetFiles) -> str | None:
    """Return a text that identifies the state of files; None if it is not known or not public."""
    if files.has_file_policy:
        return None
    file_table = files.view.published_state.tables_by_name.get(f"{files.table.schema}.files")
    if file_table is None or not isinstance(file_table.relation, Snapshot):
        return None
    return file_table.relation.id


def _find_read_failures(view: ReaderView) -> dict[str, tuple[HvenError, float]]:
    """Return the data sets that cannot be read now: id or path -> the error, and when they are tried again."""
    return view.find_or_compute("failures", "", dict)


def _has_recent_failure(view: ReaderView, series: TimeSeriesSpec) -> bool:
    failure = _find_read_failures(view).get(series.id)
    return failure is not None and monotonic() < failure[1]


def _note_failure(view: ReaderView, series: TimeSeriesSpec, error: HvenError, retry_delay_seconds: float) -> None:
    failures = _find_read_failures(view)
    failures[series.id] = failures[series.path] = error, monotonic() + retry_delay_seconds


def _forget_failure(view: ReaderView, series: TimeSeriesSpec) -> None:
    for name in (series.id, series.path):
        _find_read_failures(view).pop(name, None)


class DataSetListCache(LruCache["dict[str, SampleDataSet]"]):
    """Lists of data sets, shared by readers who may know of the same tables and see the same rows.

    It holds 50,000 data sets in all.
    """

    def __init__(self) -> None:
        super().__init__(50_000)


def find_time_extent(view: ReaderView, data_set: SampleDataSet) -> TimeExtent | None:
    """Return the time span of the samples that a reader may see; None if there are none.

    Where everybody sees all rows, the statistics of the ingest have it.
    """
    if data_set.base_set is not None:
        base_extent = find_time_extent(view, data_set.base_set)
        if base_extent is None:
            return None
        return base_extent.widen_to_bins(data_set.bin_microseconds)
    if data_set.file_layout is not None:
        return view.find_or_compute("extent", data_set.id, lambda: _find_file_extent(view, data_set))
    first, last, row_count = _find_time_limits(view, data_set)
    if first is None or last is None:
        return None
    time_column = data_set.time.column
    start = to_instant(first, time_column)
    stop = to_instant(last, time_column)
    cadence = data_set.series.cadence
    if data_set.remote is not None:  # the server says when it ends, and not how many samples there are
        row_count = int((stop - start) / ((cadence or 1) * SECOND_MICROSECONDS))
        return TimeExtent(start=start, stop=stop, row_count=max(row_count, 1))
    sample_microseconds = round((cadence or 0) * SECOND_MICROSECONDS)
    if sample_microseconds == 0:
        sample_microseconds = 1 if time_column.epoch is None else 1000
    return TimeExtent(start=start, stop=stop + sample_microseconds, row_count=row_count)


def _find_time_limits(view: ReaderView, data_set: SampleDataSet) -> tuple[Any, Any, int]:
    """Find the first and the last time of a column, as it has them, and the number of rows."""
    if data_set.remote is not None:
        return view.find_or_compute("span", data_set.id, lambda: _query_time_limits(view, data_set, "begins", "ends"))
    published = data_set.published
    conditions: tuple[str, ...] = ()
    if len(list_table_series(data_set.table)) > 1:
        conditions = write_any_not_null_condition(data_set.parameters, published.statistics)
    time_statistics = published.statistics.get(data_set.time.name, {})
    minimum = time_statistics.get("minimum")
    maximum = time_statistics.get("maximum")
    sees_all_rows = not (published.table.policy or published.table.view or data_set.series.condition or conditions)
    if sees_all_rows and minimum is not None and maximum is not None:
        return minimum, maximum, published.rows or 0
    name = quote_adql_name(data_set.time.name)
    return view.find_or_compute(
        "span", data_set.id, lambda: _query_time_limits(view, data_set, name, name, *conditions)
    )


def _query_time_limits(
    view: ReaderView, data_set: SampleDataSet, begin: str, end: str, *conditions: str
) -> tuple[Any, Any, int]:
    from_clause = _write_from_clause(data_set, *conditions)
    (row,) = view.read_rows(f"SELECT MIN({begin}) AS low, MAX({end}) AS high, COUNT(*) AS many FROM {from_clause}")
    first, last, row_count = row.values()
    return first, last, int(row_count)


def _find_file_extent(view: ReaderView, data_set: SampleDataSet) -> TimeExtent | None:
    file_extent = DataSetFiles(view, data_set.series, data_set.table).find_time_extent()
    if file_extent is None:
        return None
    start, last, row_count = file_extent
    sample_microseconds = round((data_set.series.cadence or 0) * SECOND_MICROSECONDS) or 1
    return TimeExtent(start=start, stop=last + sample_microseconds, row_count=row_count)


def _write_from_clause(data_set: SampleDataSet, *conditions: str) -> str:
    """Write the FROM and WHERE clause of a query for samples."""
    text = f"{quote_adql_name(data_set.table.schema)}.{quote_adql_name(data_set.table.name)} AS target"
    all_conditions = [*conditions]
    if data_set.series.condition:
        all_conditions.insert(0, f"({data_set.series.condition})")
    if all_conditions:
        text += f" WHERE {' AND '.join(all_conditions)}"
    return text


def read_samples(
    view: ReaderView,
    data_set: SampleDataSet,
    parameter_names: Iterable[str],
    *,
    start: int,
    stop: int,
    bin_microseconds: int = 0,
) -> Iterator[pa.RecordBatch]:
    """Read samples, in the order of time.

    The first column of a batch is the time as microseconds since 1970 (int64); the parameters follow.

    Parameters
    ----------
    parameter_names
        Names of parameters.
    start, stop
        Microseconds since 1970 (UTC): from `start` (included) to `stop` (excluded).
    bin_microseconds
        Microseconds of the bins for which the samples are used: other servers may send only that many.

    Yields
    ------
    batches
        Batches of a few megabytes each.

    Raises
    ------
    HvenError
        As for any query, before the first batch or later.
    """
    with get_stream_limiter(view.context.site).reserve_stream_slot():
        extent = find_time_extent(view, data_set)
        if extent is None:
            return
        start = max(start, extent.start)
        stop = min(stop, extent.stop)
        chosen = data_set.choose_parameters(parameter_names)
        chosen_names = [parameter.name for parameter in chosen]
        if data_set.file_layout is not None:
            files = DataSetFiles(view, data_set.series, data_set.table)
            yield from files.read_batches(data_set.file_layout, chosen_names, start, stop)
        elif data_set.remote is None:
            yield from _read_sample_windows(view, data_set, chosen, extent, start=start, stop=stop)
        elif start < stop:
            yield from data_set.remote.read_batches(chosen_names, start, stop, bin_microseconds)


def _read_sample_windows(
    view: ReaderView,
    data_set: SampleDataSet,
    parameters: Sequence[SampleParameter],
    extent: TimeExtent,
    *,
    start: int,
    stop: int,
) -> Iterator[pa.RecordBatch]:
    """Read rows window by window; the windows of all streams together stay within one memory budget."""
    time_name = quote_adql_name(data_set.time.name)
    columns = ", ".join([time_name, *(quote_adql_name(parameter.name) for parameter in parameters)])
    cells_per_row = 1 + sum(parameter.element_count for parameter in parameters)

    def read_window(low: int, high: int, max_cells: int) -> tuple[list[pa.RecordBatch], int]:
        """Read the samples of a window, up to about `max_cells` values; return them and the number of values."""
        bounds = (
            f"{time_name} >= {_write_time_bound_literal(low, data_set.time.column)}",
            f"{time_name} < {_write_time_bound_literal(high, data_set.time.column)}",
        )
        batches: list[pa.RecordBatch] = []
        cell_count = 0
        for batch in view.read_batches(f"SELECT {columns} FROM {_write_from_clause(data_set, *bounds)}"):
            batches.append(_convert_rows_to_samples(batch, data_set.time, parameters))
            cell_count += batch.num_rows * cells_per_row
            if cell_count > max_cells and high - low > 1:
                break
        return batches, cell_count

    streams = get_stream_limiter(view.context.site)
    window_cells = min(streams.window_cells, MAX_WINDOW_CELLS)
    microseconds_per_row = extent.span / max(extent.row_count, 1)
    step = max(int(microseconds_per_row * max(window_cells // cells_per_row, 1)), 1)
    while start < stop:
        previous_cells = window_cells
        window_cells = min(streams.window_cells, MAX_WINDOW_CELLS)
        step = max(step * window_cells // previous_cells, 1)
        end = min(start + step, stop)
        batches, cell_count = read_window(start, end, window_cells * 4)
        if cell_count > window_cells * 4 and end - start > 1:
            # many samples in a short time: shorter windows, because a window is sorted in memory
            step = max((end - start) // 8, 1)
            continue
        yield from _sort_by_time(batches)
        start = end
        if cell_count < window_cells // 4:  # few samples, as in a night or a gap: a longer window
            step *= 2


def _convert_rows_to_samples(
    batch: pa.RecordBatch, time: SampleParameter, parameters: Sequence[SampleParameter]
) -> pa.RecordBatch:
    """Convert the rows of a query to samples: times become microseconds since 1970."""
    times, *columns = batch.columns
    arrays = [to_instants(times, time.column)]
    for array, parameter in zip(columns, parameters, strict=True):
        is_time = parameter.column.epoch is not None and parameter.value_kind == "isotime"
        arrays.append(to_instants(array, parameter.column) if is_time else array)
    return pa.record_batch(arrays, names=["hven_time", *(parameter.name for parameter in parameters)])


def read_nanosecond_samples(
    view: ReaderView, data_set: SampleDataSet, parameter_names: Iterable[str], *, start: int, stop: int
) -> Iterator[pa.RecordBatch]:
    """Read samples of a data set whose files have nanoseconds, in the order of time.

    The first column of a batch has timestamps of nanoseconds.

    Parameters
    ----------
    parameter_names
        Names of parameters.
    start, stop
        Nanoseconds since 1970 (UTC): from `start` (included) to `stop` (excluded).

    Yields
    ------
    batches
        Batches of a few megabytes each.

    Raises
    ------
    HvenError
        As in `read_samples`.
    """
    with get_stream_limiter(view.context.site).reserve_stream_slot():
        extent = find_time_extent(view, data_set)
        if extent is None or data_set.file_layout is None:
            return
        low = max(start // 1000, extent.start)
        high = min(-(-stop // 1000), extent.stop)
        limits = (max(start, -MAX_QUERY_ROWS), min(stop, MAX_QUERY_ROWS))
        chosen_names = [parameter.name for parameter in data_set.choose_parameters(parameter_names)]
        files = DataSetFiles(view, data_set.series, data_set.table)
        for batch in files.read_batches(data_set.file_layout, chosen_names, low, high, with_nanoseconds=True):
            times = np.asarray(batch.column(0)).astype(np.int64)
            first, last = (int(index) for index in np.searchsorted(times, limits))
            if first < last:
                yield batch.slice(first, last - first)


def _sort_by_time(batches: Sequence[pa.RecordBatch]) -> Sequence[pa.RecordBatch]:
    """Sort samples by time; most often they are already in order.

    This is faster than an ORDER BY of the engine.
    """
    last_time = None
    for batch in batches:
        times = np.asarray(batch.column(0))
        if not len(times):
            continue
        if (last_time is not None and times[0] < last_time) or (times[1:] < times[:-1]).any():
            joined_batch = pa.concat_batches(batches)
            order = np.argsort(np.asarray(joined_batch.column(0)), kind="stable")
            return [joined_batch.take(pa.array(order))]
        last_time = times[-1]
    return batches


def _write_time_bound_literal(instant: int, column: Column) -> str:
    """Write an instant, in microseconds since 1970, as a literal of the type of the time column."""
    if column.epoch is not None:
        # half a millisecond earlier, so that a time that is shown rounded to this instant is not below it
        instant -= 500
    return write_instant_literal(instant, column)


class SeriesRequest(ReaderView):
    """A request to a face for data sets, and what its reader sees.

    Parameters
    ----------
    request
        The HTTP request.
    context
        Service context of the site.

    Attributes
    ----------
    face
        Name of the face.
    """

    face = ""

    def __init__(self, request: Request, context: ServiceContext) -> None:
        super().__init__(context, context.identify_principal(request), context.site.get_published_state())
        self.request = request
        self.base_url = get_base_url(request, context.site.settings)

    @cached_property
    def data_sets(self) -> dict[str, SampleDataSet]:
        """The reader's data sets by the names of the face; computed in a thread, because it may run queries."""
        list_cache: DataSetListCache = self.context.site.get_or_create(DataSetListCache)
        key = (self.face, self.published_state.version, self.access_key)
        sets_by_name = list_cache.find(key)
        if sets_by_name is None:
            sets_by_name = self.list_data_sets()
            if not _find_read_failures(self):
                list_cache.store(key, sets_by_name, len(sets_by_name) + 1)
        return sets_by_name

    def find_readable_data_set(self, name: str) -> SampleDataSet | None:
        """Find a data set.

        Parameters
        ----------
        name
            Name of the data set in the face.

        Returns
        -------
        data_set
            None if the reader has no data set of that name.

        Raises
        ------
        HvenError
            The files of the data set cannot be read; the error says why.
        """
        data_set = self.data_sets.get(name)
        if data_set is None and name in _find_read_failures(self):
            raise _find_read_failures(self)[name][0]
        return data_set

    def list_data_sets(self) -> dict[str, SampleDataSet]:
        """List the reader's data sets."""
        return list_data_sets(self, self.face)

    def build_cache_headers(self, data_set: SampleDataSet, params: Iterable[tuple[str, Any]]) -> dict[str, str]:
        """Build the headers for caches of an answer with samples.

        Parameters
        ----------
        params
            Parameters of the request.
        """
        # nobody here knows whether the data of another server have changed
        variation = ""
        if data_set.remote is not None:
            variation = token_hex(8)
        state = (__version__, self.published_state.version, self.access_key, self.base_url)
        etag = compute_etag(*state, data_set.id, variation, *sorted(params))
        return build_cache_headers(etag, is_public=self.is_public)
