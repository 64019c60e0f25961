"""Data sets of samples in time: list them, describe their parameters, and read their samples in the order of time.

Faces (HAPI, das2) write what is read here. Samples come from queries of one time window each, so that neither memory
nor the time limit of a query limits the length of a data set.

Common
------
context
    Service context of the site.
principal
    Reader for whom the answer is built.
data_set
    Data set to read.
published_state
    The state that is read, whatever is published meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from secrets import token_hex
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from hven import query
from hven.adql.adql_writer import quote_adql_name, write_adql_literal
from hven.engines import Snapshot
from hven.model import LruCache
from hven.model.errors import HvenError
from hven.model.table import Column, find_begin_and_end_time_columns, is_time_column
from hven.model.types import parse_type
from hven.plugins.series.column_statistics import (
    MAX_QUERY_ROWS,
    TableStatisticsCache,
    find_array_text_lengths,
    find_column_statistics,
)
from hven.plugins.series.remote_data_sets import find_remote_data_set
from hven.plugins.series.sample_conditions import write_sample_condition_adql
from hven.plugins.series.sample_files import DataSetFiles
from hven.plugins.series.sample_parameters import SampleParameter, build_parameter, build_time_parameter
from hven.plugins.series.sample_streams import get_stream_limiter
from hven.plugins.series.table_series import list_table_series
from hven.plugins.series.time_texts import (
    DAY_MICROSECONDS,
    SECOND_MICROSECONDS,
    UNIX_EPOCH_JD,
    build_time_dtype,
    format_instant,
    parse_time_as_microseconds,
    parse_time_as_nanoseconds,
    write_times,
)
from hven.services.addresses import get_base_url
from hven.services.api.responses import answer_with_stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from starlette.requests import Request

    from hven.model.table import Table, TimeSeriesSpec
    from hven.plugins.series.remote_data_sets import RemoteDataSet
    from hven.plugins.series.sample_files import DataSetLayout
    from hven.services.face import ServiceContext
    from hven.site import PublishedState, PublishedTable
    from hven.site.auth import Principal

MAX_WINDOW_CELLS = 1_000_000  # values of a time window, about: with an index on times, its rows stay in the cache
RETRY_DELAY_SECONDS = 10.0  # seconds after which files that could not be read are tried again
REMOTE_RETRY_DELAY_SECONDS = 50.0  # seconds that are added where another server has to be asked


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

    @property
    def response_variation_token(self) -> str:
        """A token that differs with each answer if nobody here knows whether the data have changed; else empty."""
        if self.remote is not None:
            return token_hex(8)
        return ""

    @property
    def has_nanoseconds(self) -> bool:
        """Whether its times have nanoseconds."""
        return self.file_layout is not None and self.file_layout.has_nanoseconds

    @property
    def id(self) -> str:
        """Its identifier in HAPI."""
        return self.series.id


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeExtent:
    """The time span of the samples that a reader may see.

    Attributes
    ----------
    start, stop
        Times of the first sample and just after the last one, in microseconds since 1970 (UTC); None without samples.
    row_count
        How many samples there are.
    """

    start: int | None
    stop: int | None
    row_count: int


def list_data_sets(
    context: ServiceContext,
    principal: Principal,
    face: str,
    published_state: PublishedState,
    *,
    collection: str | None = None,
) -> dict[str, SampleDataSet]:
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
    for table in published_state.get_catalogue(principal, context.policies).iterate_tables():
        if not list_table_series(table) or not table.is_served_by(face) or table.release is not None:
            continue
        if collection is not None and table.schema != collection:
            continue
        published = published_state.tables_by_name.get(table.qualified_name)
        if published is None:
            continue
        statistics = find_column_statistics(context, principal, published, published_state)
        text_array_lengths = find_array_text_lengths(context, principal, published, published_state)
        column_statistics = {**statistics, **text_array_lengths}
        remote_source = find_remote_data_set(context, published)
        for series in list_table_series(table):
            if remote_source is not None:
                data_set = _build_remote_data_set(
                    context, principal, remote_source, series, published=published, published_state=published_state
                )
            elif series.file:
                data_set = _build_file_data_set(
                    context, principal, series, table, published=published, published_state=published_state
                )
            else:
                data_set = _build_data_set(series, table, published, column_statistics)
            if data_set is not None:  # `hven check` reports an id that is used twice
                sets_by_id.setdefault(data_set.id, data_set)
    return sets_by_id


def _build_data_set(
    series: TimeSeriesSpec, table: Table, published: PublishedTable, statistics: Mapping[str, Mapping[str, Any]]
) -> SampleDataSet | None:
    columns = {column.name.lower(): column for column in table.columns}
    begin, end = find_begin_and_end_time_columns(table)
    time = columns.get(series.time.lower()) if series.time else begin
    if time is None or not is_time_column(time):  # `hven check` reports it
        return None
    stop_column = ""
    if end is not None and end is not begin and time is begin:  # rows are events
        stop_column = end.name
    names = series.parameters or [column.name for column in table.columns if not column.hidden]
    parameters = []
    left_out = []
    for name in names:
        column = columns.get(name.lower())
        if column is None or column.name == time.name:
            continue
        parameter: SampleParameter | str
        if column.name == stop_column:
            parameter = build_time_parameter(column)
        else:
            parameter = build_parameter(column, statistics.get(column.name, {}), series)
        if isinstance(parameter, str):
            left_out.append((column.name, parameter))
        else:
            parameters.append(parameter)
    return SampleDataSet(
        series=series,
        published=published,
        table=table,
        time=replace(build_time_parameter(time), fill=None),
        parameters=tuple(parameters),
        left_out=tuple(left_out),
        stop_column=stop_column,
        sample_count=published.rows or 0,
    )


def _build_remote_data_set(
    context: ServiceContext,
    principal: Principal,
    remote: RemoteDataSet,
    series: TimeSeriesSpec,
    *,
    published: PublishedTable,
    published_state: PublishedState,
) -> SampleDataSet | None:
    """Build a data set of another server; return None if the server does not describe it."""
    relation = published.relation
    state_key = relation.id if isinstance(relation, Snapshot) else published_state.version
    key = ("far", series.id, state_key, repr(series))
    fact_cache: TableStatisticsCache = context.site.get_or_create(TableStatisticsCache)
    cached_set: tuple[SampleDataSet] | None = fact_cache.find(key)
    if cached_set is None:
        access_key = published_state.find_access_key(principal, context.policies)
        failures = _find_read_failures(context, published_state, access_key)
        if _has_recent_failure(failures, series):
            return None
        try:
            (time, *columns), bins, lengths, cadence = remote.describe()
        except HvenError as error:
            failures[series.id] = failures[series.path] = error, monotonic() + REMOTE_RETRY_DELAY_SECONDS
            return None
        _forget_failures(failures, series)
        merged_series = replace(series, bins={**bins, **series.bins}, cadence=series.cadence or cadence)
        parameters = []
        left_out = []
        for column in columns:
            column_facts = {"max_length": lengths.get(column.name), "minimum": None}
            parameter = build_parameter(column, column_facts, merged_series)
            if isinstance(parameter, str):
                left_out.append((column.name, parameter))
            else:
                parameters.append(parameter)
        data_set = SampleDataSet(
            series=merged_series,
            published=published,
            table=published.table,
            time=SampleParameter(column=time, value_kind="isotime", byte_length=27, fill=None),
            parameters=tuple(parameters),
            left_out=tuple(left_out),
            file_state=None,
            remote=remote,
        )
        cached_set = (data_set,)
        fact_cache.store(key, cached_set)
    return replace(cached_set[0], published=published, table=published.table)


def _build_file_data_set(
    context: ServiceContext,
    principal: Principal,
    series: TimeSeriesSpec,
    table: Table,
    *,
    published: PublishedTable,
    published_state: PublishedState,
) -> SampleDataSet | None:
    """Build a data set of samples in files; return None if the reader may access no file or none can be read."""
    access_key = published_state.find_access_key(principal, context.policies)
    key = ("set", series.id, published_state.version, access_key)
    fact_cache: TableStatisticsCache = context.site.get_or_create(TableStatisticsCache)
    cached_set: tuple[SampleDataSet | None] | None = fact_cache.find(key)
    if cached_set is not None:
        return cached_set[0]
    failures = _find_read_failures(context, published_state, access_key)
    if _has_recent_failure(failures, series):
        return None
    data_set = None
    if find_begin_and_end_time_columns(table)[0]:
        files = DataSetFiles(context, principal, series, table, published_state)
        try:
            layout = files.read_merged_layout(fact_cache)
        except HvenError as error:
            failures[series.id] = failures[series.path] = error, monotonic()
            return None
        if layout is not None:
            data_set = _build_data_set_from_files(files, layout, published)
    _forget_failures(failures, series)
    fact_cache.store(key, (data_set,))
    return data_set


def _build_data_set_from_files(files: DataSetFiles, layout: DataSetLayout, published: PublishedTable) -> SampleDataSet:
    extent = files.find_time_extent()
    if extent is not None:
        layout = files.drop_uncountable_nanoseconds(layout, extent)
    file_series = replace(files.series, bins=layout.bins)
    parameters = []
    left_out = []
    for column in layout.columns:
        default_length = None if column.type.is_array else 1
        # file readers have already replaced fill values by null: no extremes are needed to choose one
        column_facts = {"max_length": layout.lengths.get(column.name, default_length), "minimum": None}
        parameter = build_parameter(column, column_facts, file_series)
        if isinstance(parameter, str):
            left_out.append((column.name, parameter))
        else:
            parameters.append(parameter)
    time = SampleParameter(
        column=Column(name=layout.time_name, type=parse_type("timestamp"), ucd="time.epoch"),
        value_kind="isotime",
        byte_length=30 if layout.has_nanoseconds else 27,
        fill=None,
    )
    return SampleDataSet(
        series=files.series,
        published=published,
        table=files.table,
        time=time,
        parameters=tuple(parameters),
        left_out=tuple(left_out),
        notes=layout.notes,
        file_layout=layout,
        sample_count=0 if extent is None else extent[2],
        file_state=_find_file_state(files),
    )


def _find_file_state(files: DataSetFiles) -> str | None:
    """Return a text that identifies the state of files; None if it is not known or not public."""
    if files.has_file_policy:
        return None
    file_table = files.published_state.tables_by_name.get(f"{files.table.schema}.files")
    if file_table is None or not isinstance(file_table.relation, Snapshot):
        return None
    return file_table.relation.id


def _find_read_failures(
    context: ServiceContext, published_state: PublishedState, access_key: str
) -> dict[str, tuple[HvenError, float]]:
    """Return the data sets whose files cannot be read now: id or path -> the error, and when it occurred."""
    fact_cache: TableStatisticsCache = context.site.get_or_create(TableStatisticsCache)
    key = ("faults", published_state.version, access_key)
    failures: dict[str, tuple[HvenError, float]] | None = fact_cache.find(key)
    if failures is None:
        failures = {}
        fact_cache.store(key, failures)
    return failures


def _has_recent_failure(failures: Mapping[str, tuple[HvenError, float]], series: TimeSeriesSpec) -> bool:
    if series.id not in failures:
        return False
    _, failure_time = failures[series.id]
    return monotonic() < failure_time + RETRY_DELAY_SECONDS


def _forget_failures(failures: dict[str, tuple[HvenError, float]], series: TimeSeriesSpec) -> None:
    for name in (series.id, series.path):
        failures.pop(name, None)


class DataSetListCache(LruCache["dict[str, SampleDataSet]"]):
    """Lists of data sets, shared by readers who may know of the same tables and see the same rows.

    It holds 50,000 data sets in all.
    """

    def __init__(self) -> None:
        super().__init__(50_000)


def find_time_extent(
    context: ServiceContext, principal: Principal, data_set: SampleDataSet, published_state: PublishedState
) -> TimeExtent:
    """Return the time span of the samples that a reader may see.

    Where everybody sees all rows, the statistics of the ingest have it.
    """
    if data_set.file_layout is not None:
        return _find_file_extent(context, principal, data_set, published_state)
    first, last, row_count = _find_time_limits(context, principal, data_set, published_state)
    if first is None or last is None:
        return TimeExtent(start=None, stop=None, row_count=0)
    time_column = data_set.time.column
    start = _convert_column_time(time_column, first)
    stop = _convert_column_time(time_column, last)
    cadence = data_set.series.cadence
    if data_set.remote is not None:  # the server says when it ends, and not how many samples there are
        row_count = int((stop - start) / ((cadence or 1) * SECOND_MICROSECONDS))
        return TimeExtent(start=start, stop=stop, row_count=max(row_count, 1))
    sample_microseconds = round((cadence or 0) * SECOND_MICROSECONDS)
    if sample_microseconds == 0:
        sample_microseconds = 1 if time_column.epoch is None else 1000
    return TimeExtent(start=start, stop=stop + sample_microseconds, row_count=int(row_count))


def _find_time_limits(
    context: ServiceContext, principal: Principal, data_set: SampleDataSet, published_state: PublishedState
) -> tuple[Any, Any, int]:
    """Find the first and the last time of a column, as it has them, and the number of rows."""
    table = data_set.published.table
    statistics = data_set.published.statistics
    own_conditions: tuple[str, ...] = ()
    if data_set.remote is None and len(list_table_series(data_set.table)) > 1:
        parameter_names = [parameter.name for parameter in data_set.parameters]
        own_conditions = (*write_sample_condition_adql(parameter_names, statistics),)
    has_conditions = bool(table.policy or table.view or data_set.series.condition or own_conditions)
    time_statistics = statistics.get(data_set.time.name, {})
    minimum = time_statistics.get("minimum")
    maximum = time_statistics.get("maximum")
    if data_set.remote is None and not has_conditions and minimum is not None and maximum is not None:
        return minimum, maximum, data_set.published.rows or 0
    access_key = published_state.find_access_key(principal, context.policies)
    key = ("span", data_set.id, published_state.version, access_key)
    fact_cache: TableStatisticsCache = context.site.get_or_create(TableStatisticsCache)
    limits: tuple[Any, Any, int] | None = fact_cache.find(key)
    if limits is None:
        begin = end = quote_adql_name(data_set.time.name)
        if data_set.remote is not None:
            begin, end = ("begins", "ends")
        text = (
            f"SELECT MIN({begin}) AS low, MAX({end}) AS high, COUNT(*) AS many FROM "
            f"{_write_from_clause(data_set, *own_conditions)}"
        )
        with query.run_query(
            text, principal, site=context.site, policies=context.policies, published_state=published_state
        ) as result:
            (row,) = result.read_table().to_pylist()
        first, last, row_count = row.values()
        limits = (first, last, row_count)
        fact_cache.store(key, limits)
    return limits


def _convert_column_time(column: Column, value: Any) -> int:
    """Return a time of a column as microseconds since 1970; days in doubles are rounded to milliseconds."""
    if column.epoch is None:
        return int(np.datetime64(str(value).rstrip("Z"), "us").astype(np.int64))
    microseconds = (float(str(value)) + column.epoch - UNIX_EPOCH_JD) * DAY_MICROSECONDS
    return round(microseconds / 1000) * 1000


def _find_file_extent(
    context: ServiceContext, principal: Principal, data_set: SampleDataSet, published_state: PublishedState
) -> TimeExtent:
    access_key = published_state.find_access_key(principal, context.policies)
    key = ("extent", data_set.id, published_state.version, access_key)
    fact_cache: TableStatisticsCache = context.site.get_or_create(TableStatisticsCache)
    cached_extent: TimeExtent | None = fact_cache.find(key)
    if cached_extent is None:
        files = DataSetFiles(context, principal, data_set.series, data_set.table, published_state)
        file_extent = files.find_time_extent()
        if file_extent is None:
            cached_extent = TimeExtent(start=None, stop=None, row_count=0)
        else:
            start, last, row_count = file_extent
            sample_microseconds = round((data_set.series.cadence or 0) * SECOND_MICROSECONDS) or 1
            cached_extent = TimeExtent(start=start, stop=last + sample_microseconds, row_count=row_count)
        fact_cache.store(key, cached_extent)
    return cached_extent


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
    context: ServiceContext,
    principal: Principal,
    data_set: SampleDataSet,
    parameter_names: Sequence[str],
    *,
    start: int,
    stop: int,
    published_state: PublishedState,
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
    with get_stream_limiter(context.site).reserve_stream_slot():
        yield from _read_sample_windows(
            context,
            principal,
            data_set,
            parameter_names,
            start=start,
            stop=stop,
            published_state=published_state,
            bin_microseconds=bin_microseconds,
        )


def _read_sample_windows(
    context: ServiceContext,
    principal: Principal,
    data_set: SampleDataSet,
    parameter_names: Sequence[str],
    *,
    start: int,
    stop: int,
    published_state: PublishedState,
    bin_microseconds: int,
) -> Iterator[pa.RecordBatch]:
    """Read samples window by window; the windows of all streams together stay within one memory budget."""
    extent = find_time_extent(context, principal, data_set, published_state)
    if extent.start is None or extent.stop is None:
        return
    start = max(start, extent.start)
    stop = min(stop, extent.stop)
    requested_names = set(parameter_names)
    chosen = [parameter for parameter in data_set.parameters if parameter.name in requested_names]
    chosen_names = [parameter.name for parameter in chosen]
    if data_set.remote is not None:
        if start < stop:
            yield from data_set.remote.read_batches(chosen_names, start, stop, bin_microseconds)
        return
    if data_set.file_layout is not None:
        files = DataSetFiles(context, principal, data_set.series, data_set.table, published_state)
        yield from files.read_batches(data_set.file_layout, chosen_names, start, stop)
        return
    time_name = quote_adql_name(data_set.time.name)
    columns = ", ".join([time_name, *map(quote_adql_name, chosen_names)])
    cells_per_row = 1 + sum(int(np.prod(parameter.dimensions or (1,))) for parameter in chosen)

    def read_window(low: int, high: int, max_cells: int) -> tuple[list[pa.RecordBatch], int]:
        """Read the samples of a window, up to about `max_cells` values; return them and the number of values."""
        bounds = (
            f"{time_name} >= {_write_time_literal(data_set, low)}",
            f"{time_name} < {_write_time_literal(data_set, high)}",
        )
        batches: list[pa.RecordBatch] = []
        cell_count = 0
        with query.run_query(
            f"SELECT {columns} FROM {_write_from_clause(data_set, *bounds)}",
            principal,
            site=context.site,
            policies=context.policies,
            published_state=published_state,
            maxrec=MAX_QUERY_ROWS,
            hard_row_limit=MAX_QUERY_ROWS,
        ) as result:
            for batch in result.iterate_batches():
                batches.append(_convert_batch(batch, data_set.time, chosen))
                cell_count += batch.num_rows * cells_per_row
                if cell_count > max_cells and high - low > 1:
                    break
        return batches, cell_count

    streams = get_stream_limiter(context.site)
    window_cells = min(streams.window_cells, MAX_WINDOW_CELLS)
    microseconds_per_row = (extent.stop - extent.start) / max(extent.row_count, 1)
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


def _convert_batch(
    batch: pa.RecordBatch, time: SampleParameter, parameters: Sequence[SampleParameter]
) -> pa.RecordBatch:
    """Convert the rows of a query to samples: times become microseconds since 1970."""
    times, *columns = batch.columns
    arrays = [_to_microseconds(times, time.column)]
    for array, parameter in zip(columns, parameters, strict=True):
        is_time = parameter.column.epoch is not None and parameter.value_kind == "isotime"
        arrays.append(_to_microseconds(array, parameter.column) if is_time else array)
    return pa.record_batch(arrays, names=["hven_time", *(parameter.name for parameter in parameters)])


def read_nanosecond_samples(
    context: ServiceContext,
    principal: Principal,
    data_set: SampleDataSet,
    parameter_names: Sequence[str],
    *,
    start: int,
    stop: int,
    published_state: PublishedState,
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
    with get_stream_limiter(context.site).reserve_stream_slot():
        extent = find_time_extent(context, principal, data_set, published_state)
        if extent.start is None or extent.stop is None or data_set.file_layout is None:
            return
        low = max(start // 1000, extent.start)
        high = min(-(-stop // 1000), extent.stop)
        limits = (max(start, -MAX_QUERY_ROWS), min(stop, MAX_QUERY_ROWS))
        requested_names = set(parameter_names)
        chosen = [parameter.name for parameter in data_set.parameters if parameter.name in requested_names]
        files = DataSetFiles(context, principal, data_set.series, data_set.table, published_state)
        for batch in files.read_batches(data_set.file_layout, chosen, low, high, with_nanoseconds=True):
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


def _write_time_literal(data_set: SampleDataSet, instant: int) -> str:
    """Write an instant, in microseconds since 1970, as a literal of the type of the time column."""
    epoch = data_set.time.column.epoch
    if epoch is None:
        return f"CAST({write_adql_literal(format_instant(instant)[:-1])} AS TIMESTAMP)"
    # half a millisecond earlier, so that a time that is shown rounded to this instant is not below it
    return repr((instant - 500) / DAY_MICROSECONDS + UNIX_EPOCH_JD - epoch)


def _to_microseconds(array: pa.Array, column: Column) -> pa.Array:
    """Convert times to microseconds since 1970; days in doubles are rounded to milliseconds."""
    if column.epoch is None:
        return array.cast(pa.timestamp("us")).cast(pa.int64())
    days = np.asarray(array.cast(pa.float64()), np.float64)
    unix_days = np.nan_to_num(days) + (column.epoch - UNIX_EPOCH_JD)
    milliseconds = np.round(unix_days * (DAY_MICROSECONDS // 1000)).astype(np.int64)
    return pa.array(milliseconds * 1000, mask=np.isnan(days))


class SeriesRequest:
    """A request to a face for data sets.

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
        self.context = context
        self.request = request
        self.principal: Principal = context.identify_principal(request)
        self.published_state: PublishedState = context.site.get_published_state()
        self.base_url = get_base_url(request, context.site.settings)

    @cached_property
    def data_sets(self) -> dict[str, SampleDataSet]:
        """The reader's data sets by the names of the face; computed in a thread, because it may run queries."""
        list_cache: DataSetListCache = self.context.site.get_or_create(DataSetListCache)
        key = (self.face, self.published_state.version, self.access_key)
        sets_by_name = list_cache.find(key)
        if sets_by_name is None:
            sets_by_name = self.list_data_sets()
            if not _find_read_failures(self.context, self.published_state, self.access_key):
                list_cache.store(key, sets_by_name, len(sets_by_name) + 1)
        return sets_by_name

    def find_data_set(self, name: str) -> SampleDataSet | None:
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
        if data_set is None:
            read_failures = _find_read_failures(self.context, self.published_state, self.access_key)
            failure = read_failures.get(name)
            if failure is not None:
                raise failure[0]
        return data_set

    def list_data_sets(self) -> dict[str, SampleDataSet]:
        """List the reader's data sets."""
        return list_data_sets(self.context, self.principal, self.face, self.published_state)

    @cached_property
    def access_key(self) -> str:
        """What the reader may know of and which rows they see; readers with the same key get the same answers."""
        return self.published_state.find_access_key(self.principal, self.context.policies)

    def find_time_extent(self, data_set: SampleDataSet) -> TimeExtent:
        """Find the time span of the samples that the reader may see.

        Parameters
        ----------
        data_set
            A data set.

        Returns
        -------
        extent
            Its time span.
        """
        return find_time_extent(self.context, self.principal, data_set, self.published_state)


__all__ = [
    "DAY_MICROSECONDS",
    "UNIX_EPOCH_JD",
    "SampleDataSet",
    "SampleParameter",
    "SeriesRequest",
    "TimeExtent",
    "answer_with_stream",
    "build_time_dtype",
    "find_time_extent",
    "format_instant",
    "list_data_sets",
    "parse_time_as_microseconds",
    "parse_time_as_nanoseconds",
    "read_nanosecond_samples",
    "read_samples",
    "write_times",
]
