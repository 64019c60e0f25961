"""Data sets of samples in time.

Which a reader has, what their parameters are, and their samples as Arrow batches in the order of time.

Faces (HAPI, das2) write what is read here; the samples come by the one road, a window of time at a time, so that
neither memory nor the clock of a query limits how long a data set is.

Common
------
context
    The site.
principal
    The reader.
data_set
    The data set.
published_state
    The state that is read, whatever is published meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain
from secrets import token_hex
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.responses import Response, StreamingResponse

from hven import query
from hven.adql.adql_writer import quote_name, write_literal
from hven.engines import Snapshot
from hven.model import Cache
from hven.model.errors import HvenError
from hven.model.table import Column, find_begin_and_end_columns, is_time_column
from hven.model.types import parse_type
from hven.services._encoding import StreamCompressor, choose_encoding
from hven.services._granules import DataSetFiles
from hven.services._parameters import SampleParameter, build_parameter, build_time_parameter, has_text_arrays
from hven.services._remote_data_sets import find_remote_data_set
from hven.services._sample_streams import get_stream_limiter
from hven.services._shared_tables import write_sample_condition
from hven.services._time_texts import (
    DAY_MICROSECONDS,
    SECOND_MICROSECONDS,
    UNIX_EPOCH_JD,
    build_time_dtype,
    format_instant,
    parse_microseconds,
    parse_nanoseconds,
    write_times,
)
from hven.services.addresses import get_base_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    from starlette.requests import Request

    from hven.model.table import Table, TimeSeries
    from hven.services._granules import DataSetLayout
    from hven.services._remote_data_sets import RemoteDataSet
    from hven.services.face import ServiceContext
    from hven.site import PublishedState, PublishedTable
    from hven.site.auth import Principal

MAX_WINDOW_CELLS = (
    1_000_000  # values of a window of time, about: with an index on times, what is read stays in the cache
)
MAX_QUERY_ROWS = 2**62
RETRY_DELAY_SECONDS = 10.0  # seconds after which files that could not be read are tried again
REMOTE_RETRY_DELAY_SECONDS = 50.0  # more of them, where another server has to be asked
MIN_COMPRESSED_BYTES = 1_400  # bytes from which compressing is worth it


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """One data set, as a reader knows it.

    Attributes
    ----------
    series
        What its descriptor says.
    published
        Its table.
    table
        The same as the reader knows it.
    time
        When samples were taken.
    parameters
        In order, without the time.
    left_out
        Columns that can be no parameter, and why.
    notes
        What else is to be said of it.
    file_layout
        What its files have, where its samples stand in files.
    stop_column
        Name of the column in which events end; empty: samples have no end.
    sample_count
        How many samples there are, about.
    file_state
        What tells a state of its files from others; empty: its samples are rows. None: not everybody may take all of
        its files.
    base_set, bin_microseconds, derivation
        The data set that it is made of, in bins of so many microseconds: of means, or ``available``; None, 0 and empty:
        of none.
    remote
        Where its samples are asked for; None: they are here.
    """

    series: TimeSeries
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
    base_set: DataSet | None = None
    bin_microseconds: int = 0
    derivation: str = ""
    remote: RemoteDataSet | None = None

    @property
    def change_token(self) -> str:
        """What tells an answer from the one before, where nobody here knows whether it is the same; else empty."""
        if self.remote is not None:
            return token_hex(8)
        return ""

    @property
    def has_nanoseconds(self) -> bool:
        """Whether its times have nanoseconds."""
        return self.file_layout is not None and self.file_layout.has_nanoseconds

    @property
    def id(self) -> str:
        """Under which HAPI has it."""
        return self.series.id


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeExtent:
    """From when to when a reader has samples.

    Attributes
    ----------
    start, stop
        Of the first sample, and behind the last: microseconds since 1970 (UTC); None: there are none.
    row_count
        How many.
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
) -> dict[str, DataSet]:
    """List the data sets of tables that a reader may know of.

    Parameters
    ----------
    face
        That asks: tables whose collection leaves it out have none.
    collection
        Of its tables alone; None: of all.

    Returns
    -------
    data_sets
        By id; of two with one id the first.
    """
    sets_by_id: dict[str, DataSet] = {}
    for table in published_state.get_catalogue(principal, context.policies).iterate_tables():
        if not table.series or not table.is_served_by(face) or table.release is not None:
            continue
        if collection is not None and table.schema != collection:
            continue
        published = published_state.tables_by_name.get(table.qualified_name)
        if published is None:
            continue
        statistics = _find_statistics(context, principal, published, published_state)
        text_array_lengths = _find_text_array_lengths(context, principal, published, published_state)
        column_statistics = {
            **statistics,
            **text_array_lengths,
        }
        remote_source = find_remote_data_set(context, published)
        for series in table.series:
            if remote_source is not None:
                data_set = _build_remote_data_set(context, principal, remote_source, series, published, published_state)
            elif series.file:
                data_set = _build_file_data_set(context, principal, series, table, published, published_state)
            else:
                data_set = _build_data_set(series, table, published, column_statistics)
            if data_set is not None:  # of two with one id the first; `hven check` tells
                sets_by_id.setdefault(data_set.id, data_set)
    return sets_by_id


def _build_data_set(
    series: TimeSeries, table: Table, published: PublishedTable, statistics: Mapping[str, Mapping[str, Any]]
) -> DataSet | None:
    columns = {column.name.lower(): column for column in table.columns}
    begin, end = find_begin_and_end_columns(table)
    if series.time:
        time = columns.get(series.time.lower())
    else:
        time = begin
    if time is None or not is_time_column(time):  # `hven check` tells
        return None
    names = series.parameters or [column_item.name for column_item in table.columns if not column_item.hidden]
    # of events
    if end is not None and end is not begin and time is begin:
        stop = end.name
    else:
        stop = ""
    parameters = []
    left_out = []
    for column in (columns[name.lower()] for name in names if name.lower() in columns):
        if column.name == time.name:
            continue
        parameter = (
            build_time_parameter(column)
            if column.name == stop
            else build_parameter(column, statistics.get(column.name, {}), series)
        )
        if isinstance(parameter, str):
            left_out.append((column.name, parameter))
        else:
            parameters.append(parameter)
    return DataSet(
        series=series,
        published=published,
        table=table,
        time=replace(build_time_parameter(time), fill=None),
        parameters=tuple(parameters),
        left_out=tuple(left_out),
        stop_column=stop,
        sample_count=published.rows or 0,
    )


def _build_remote_data_set(
    context: ServiceContext,
    principal: Principal,
    remote: RemoteDataSet,
    series: TimeSeries,
    published: PublishedTable,
    published_state: PublishedState,
) -> DataSet | None:
    """Make a data set of a server elsewhere; None: the server does not say what it is."""
    relation = published.relation
    key = ("far", series.id, relation.id if isinstance(relation, Snapshot) else published_state.version, repr(series))
    fact_cache: TableFactCache = context.site.get_or_create(TableFactCache)
    cached_set: tuple[DataSet] | None = fact_cache.find(key)
    if cached_set is None:
        access_key = published_state.find_access_key(principal, context.policies)
        faults = _find_read_failures(context, published_state, access_key)
        if series.id in faults and monotonic() < faults[series.id][1] + RETRY_DELAY_SECONDS:
            return None
        try:
            (time, *columns), bins, lengths, cadence = remote.describe()
        except HvenError as error:
            faults[series.id] = faults[series.path] = error, monotonic() + REMOTE_RETRY_DELAY_SECONDS
            return None
        for name in (series.id, series.path):
            faults.pop(name, None)
        merged_series = replace(series, bins={**bins, **series.bins}, cadence=series.cadence or cadence)
        built_parameters = [
            (item.name, build_parameter(item, {"max_length": lengths.get(item.name), "minimum": None}, merged_series))
            for item in columns
        ]
        left_out = tuple((name, item) for name, item in built_parameters if isinstance(item, str))
        stamp = SampleParameter(column=time, value_kind="isotime", byte_length=27, fill=None)
        parameters = tuple(item for _, item in built_parameters if not isinstance(item, str))
        one_set = DataSet(
            series=merged_series,
            published=published,
            table=published.table,
            time=stamp,
            parameters=parameters,
            left_out=left_out,
            file_state=None,
            remote=remote,
        )
        fact_cache.store(key, cached_set := (one_set,))
    return replace(cached_set[0], published=published, table=published.table)


def _build_file_data_set(
    context: ServiceContext,
    principal: Principal,
    series: TimeSeries,
    table: Table,
    published: PublishedTable,
    published_state: PublishedState,
) -> DataSet | None:
    """Make a data set of what files have; None: the reader may take none, or none can be read."""
    key = ("set", series.id, published_state.version, published_state.find_access_key(principal, context.policies))
    fact_cache: TableFactCache = context.site.get_or_create(TableFactCache)
    cached_set: tuple[DataSet | None] | None = fact_cache.find(key)
    if cached_set is None:
        access_key = published_state.find_access_key(principal, context.policies)
        faults = _find_read_failures(context, published_state, access_key)
        if series.id in faults and monotonic() < faults[series.id][1] + RETRY_DELAY_SECONDS:
            return None
        if find_begin_and_end_columns(table)[0]:
            files = DataSetFiles(context, principal, series, table, published_state)
        else:
            files = None
        try:
            if files is not None:
                layout = files.describe_layout(fact_cache)
            else:
                layout = None
        except HvenError as error:
            faults[series.id] = faults[series.path] = error, monotonic()
            return None
        for name in (series.id, series.path):
            faults.pop(name, None)
        if files is not None and layout is not None:
            extent = files.find_extent()
        else:
            extent = None
        if files is not None and layout is not None and extent is not None:
            layout = files.drop_uncountable_digits(layout, extent)
        listed = published_state.tables_by_name.get(f"{table.schema}.files")
        if listed is not None:
            relation = listed.relation
        else:
            relation = None
        if files is None or files.has_file_policy:
            state = None
        elif isinstance(relation, Snapshot):
            state = relation.id
        else:
            state = None
        built_parameters = []
        left_out = []
        for column in layout.columns if layout is not None else ():
            # samples in files: their readers have made null what the files fill
            if layout is not None:
                column_facts = {
                    "max_length": layout.lengths.get(column.name, None if column.type.is_array else 1),
                    "minimum": None,
                }
            else:
                column_facts = {}
            parameter = build_parameter(
                column, column_facts, replace(series, bins=layout.bins) if layout is not None else series
            )
            if isinstance(parameter, str):
                left_out.append((column.name, parameter))
            else:
                built_parameters.append(parameter)
        if layout is not None and layout.has_nanoseconds:
            length = 30
        else:
            length = 27
        time = SampleParameter(
            column=Column(name=layout.time_name if layout else "Time", type=parse_type("timestamp"), ucd="time.epoch"),
            value_kind="isotime",
            byte_length=length,
            fill=None,
        )
        if layout is None:
            one_set = None
        else:
            one_set = DataSet(
                series=series,
                published=published,
                table=table,
                time=time,
                parameters=tuple(built_parameters),
                left_out=tuple(left_out),
                notes=layout.notes,
                file_layout=layout,
                sample_count=extent[2] if extent else 0,
                file_state=state,
            )
        fact_cache.store(key, cached_set := (one_set,))
    return cached_set[0]


def _find_read_failures(
    context: ServiceContext, published_state: PublishedState, access_key: str
) -> dict[str, tuple[HvenError, float]]:
    """Find the data sets whose files nobody can read now: why, and when that was seen, by id and path."""
    fact_cache: TableFactCache = context.site.get_or_create(TableFactCache)
    key = ("faults", published_state.version, access_key)
    failures: dict[str, tuple[HvenError, float]] | None = fact_cache.find(key)
    if failures is None:
        fact_cache.store(key, failures := {})
    return failures


class TableFactCache(Cache[Any]):
    """What was asked of tables whose ingest cannot say it of all readers alike."""

    def __init__(self) -> None:
        super().__init__(10_000)


class DataSetListCache(Cache["dict[str, DataSet]"]):
    """The data sets of readers who know of the same tables and see the same rows, as long as these stay.

    So many data sets in all.
    """

    def __init__(self) -> None:
        super().__init__(50_000)


def _find_statistics(
    context: ServiceContext, principal: Principal, published: PublishedTable, published_state: PublishedState
) -> Mapping[str, Mapping[str, Any]]:
    """Find how long texts and how large integers are.

    As the ingest counted, or, where some readers see less, among the rows that this one sees.
    """
    table = published.table
    texts = [item.name for item in table.columns if item.type.is_string]
    integer_columns = [
        item.name for item in table.columns if item.type.is_integer and item.type.datatype in {"int", "long"}
    ]
    if table.policy is None and all("max_length" in published.statistics.get(name, {}) for name in texts):
        return published.statistics
    key = (
        "texts",
        table.qualified_name,
        published_state.version,
        published_state.find_access_key(principal, context.policies),
    )
    fact_cache: TableFactCache = context.site.get_or_create(TableFactCache)
    statistics: dict[str, dict[str, Any]] | None = fact_cache.find(key)
    if statistics is None:
        statistics = {name: {"max_length": 1} for name in texts}
        name = f"{quote_name(table.schema)}.{quote_name(table.name)}"
        run = partial(
            query.run_query,
            principal=principal,
            site=context.site,
            policies=context.policies,
            published_state=published_state,
        )
        if texts:
            with run(
                f"SELECT {', '.join(map(quote_name, texts))} FROM {name}",
                maxrec=MAX_QUERY_ROWS,
                hard_row_limit=MAX_QUERY_ROWS,
            ) as result:
                for batch in result.iterate_batches():
                    for at, item in enumerate(texts):
                        longest = pc.max(pc.binary_length(batch.column(at))).as_py() or 0
                        statistics[item]["max_length"] = max(statistics[item]["max_length"], longest)
        if integer_columns:
            items = ", ".join(f"MIN({quote_name(item)}), MAX({quote_name(item)})" for item in integer_columns)
            with run(f"SELECT {items} FROM {name}") as result:
                row = [column[0].as_py() for column in result.read_table().columns]
            statistics |= {
                item: {"minimum": row[2 * at], "maximum": row[2 * at + 1]} for at, item in enumerate(integer_columns)
            }
        fact_cache.store(key, statistics)
    return statistics


def _find_text_array_lengths(
    context: ServiceContext, principal: Principal, published: PublishedTable, published_state: PublishedState
) -> Mapping[str, Mapping[str, Any]]:
    """Find how long the texts of arrays are, among the rows that a reader sees.

    The ingest counts those of plain texts alone.
    """
    table = published.table
    parameter_names = {name.lower() for series in table.series for name in series.parameters}
    texts = [
        item.name
        for item in table.columns
        if has_text_arrays(item.type) and (not parameter_names or item.name.lower() in parameter_names)
    ]
    if not texts:
        return {}
    key = (
        "text arrays",
        table.qualified_name,
        published_state.version,
        published_state.find_access_key(principal, context.policies),
    )
    fact_cache: TableFactCache = context.site.get_or_create(TableFactCache)
    statistics: dict[str, dict[str, Any]] | None = fact_cache.find(key)
    if statistics is None:
        statistics = {name: {"max_length": 1} for name in texts}
        name = f"{quote_name(table.schema)}.{quote_name(table.name)}"
        run = partial(
            query.run_query,
            principal=principal,
            site=context.site,
            policies=context.policies,
            published_state=published_state,
        )
        with run(
            f"SELECT {', '.join(map(quote_name, texts))} FROM {name}",
            maxrec=MAX_QUERY_ROWS,
            hard_row_limit=MAX_QUERY_ROWS,
        ) as result:
            for batch in result.iterate_batches():
                for at, item in enumerate(texts):
                    longest = pc.max(pc.binary_length(pc.list_flatten(batch.column(at)))).as_py() or 0
                    statistics[item]["max_length"] = max(statistics[item]["max_length"], longest)
        fact_cache.store(key, statistics)
    return statistics


def find_time_extent(
    context: ServiceContext, principal: Principal, data_set: DataSet, published_state: PublishedState
) -> TimeExtent:
    """Return from when to when a reader has samples.

    Where all rows are everybody's, what the ingest has counted says it.
    """
    if data_set.file_layout is not None:
        return _find_file_extent(context, principal, data_set, published_state)
    table = data_set.published.table
    facts = data_set.published.statistics
    shared = data_set.remote is None and len(data_set.table.series) > 1
    if shared:
        own_conditions = write_sample_condition([each.name for each in data_set.parameters], facts)
    else:
        own_conditions = ()
    time_statistics = facts.get(data_set.time.name, {})
    everybodys = data_set.remote is None and not (
        table.policy or table.view or data_set.series.condition or own_conditions
    )
    key = ("span", data_set.id, published_state.version, published_state.find_access_key(principal, context.policies))
    fact_cache: TableFactCache = context.site.get_or_create(TableFactCache)
    if everybodys and time_statistics.get("minimum") is not None and time_statistics.get("maximum") is not None:
        first = time_statistics["minimum"]
        last = time_statistics["maximum"]
        rows = data_set.published.rows or 0
    elif (before := fact_cache.find(key)) is not None:
        first, last, rows = before
    else:
        if data_set.remote is not None:
            begin, end = ("begins", "ends")
        else:
            begin, end = (quote_name(data_set.time.name),) * 2
        text = (
            f"SELECT MIN({begin}) AS low, MAX({end}) AS high, COUNT(*) AS many FROM "
            f"{_write_from_clause(data_set, *own_conditions)}"
        )
        with query.run_query(
            text, principal, site=context.site, policies=context.policies, published_state=published_state
        ) as result:
            ((first, last, rows),) = (tuple(row.values()) for row in result.read_table().to_pylist())
        fact_cache.store(key, (first, last, rows))
    if first is None or last is None:
        return TimeExtent(start=None, stop=None, row_count=0)
    epoch = data_set.time.column.epoch
    if epoch is None:
        start, stop = (int(np.datetime64(str(value).rstrip("Z"), "us").astype(np.int64)) for value in (first, last))
    else:
        start, stop = (
            _round_to_milliseconds((float(str(value)) + epoch - UNIX_EPOCH_JD) * DAY_MICROSECONDS)
            for value in (first, last)
        )
    if data_set.remote is not None:  # which says when it ends
        row_count = max(int((stop - start) / ((data_set.series.cadence or 1) * SECOND_MICROSECONDS)), 1)
        return TimeExtent(
            start=start,
            stop=stop,
            row_count=row_count,
        )
    behind = round((data_set.series.cadence or 0) * SECOND_MICROSECONDS) or (1 if epoch is None else 1000)
    return TimeExtent(start=start, stop=stop + behind, row_count=int(rows))


def _find_file_extent(
    context: ServiceContext, principal: Principal, data_set: DataSet, published_state: PublishedState
) -> TimeExtent:
    key = ("extent", data_set.id, published_state.version, published_state.find_access_key(principal, context.policies))
    fact_cache: TableFactCache = context.site.get_or_create(TableFactCache)
    cached_extent: tuple[TimeExtent] | None = fact_cache.find(key)
    if cached_extent is None:
        file_extent = DataSetFiles(context, principal, data_set.series, data_set.table, published_state).find_extent()
        behind = round((data_set.series.cadence or 0) * SECOND_MICROSECONDS) or 1
        if file_extent is None:
            extent = TimeExtent(start=None, stop=None, row_count=0)
        else:
            extent = TimeExtent(start=file_extent[0], stop=file_extent[1] + behind, row_count=file_extent[2])
        fact_cache.store(key, cached_extent := (extent,))
    return cached_extent[0]


def _round_to_milliseconds(value: float) -> int:
    return round(value / 1000) * 1000


def _write_from_clause(data_set: DataSet, *conditions: str) -> str:
    """Write where samples come from."""
    table = f"{quote_name(data_set.table.schema)}.{quote_name(data_set.table.name)} AS target"
    all_conditions = [*((f"({data_set.series.condition})",) if data_set.series.condition else ()), *conditions]
    return f"{table}{' WHERE ' if all_conditions else ''}{' AND '.join(all_conditions)}"


def read_samples(
    context: ServiceContext,
    principal: Principal,
    data_set: DataSet,
    names: Sequence[str],
    start: int,
    stop: int,
    published_state: PublishedState,
    bin_microseconds: int = 0,
) -> Iterator[pa.RecordBatch]:
    """Read samples, in the order of time.

    Batches whose first column is the time as microseconds since 1970 (int64), then what was asked for.

    Parameters
    ----------
    names
        Of its parameters.
    start, stop
        Microseconds since 1970 (UTC): from the first one on, before the second.
    bin_microseconds
        Microseconds of the bins that are made of them: servers elsewhere may send as few.

    Yields
    ------
    batches
        Each of a few megabytes.

    Raises
    ------
    HvenError
        As of any query, before the first batch or later.
    """
    with get_stream_limiter(context.site).count_stream():
        yield from _read_sample_windows(
            context, principal, data_set, names, start, stop, published_state, bin_microseconds
        )


def _read_sample_windows(
    context: ServiceContext,
    principal: Principal,
    data_set: DataSet,
    names: Sequence[str],
    start: int,
    stop: int,
    published_state: PublishedState,
    bin_microseconds: int,
) -> Iterator[pa.RecordBatch]:
    """Read samples window by window; all streams together hold no more than their budget."""
    extent = find_time_extent(context, principal, data_set, published_state)
    if extent.start is None or extent.stop is None:
        return
    start = max(start, extent.start)
    stop = min(stop, extent.stop)
    requested_names = set(names)
    chosen = [parameter for parameter in data_set.parameters if parameter.name in requested_names]
    if data_set.remote is not None:
        if start < stop:
            yield from data_set.remote.read_batches(
                [parameter.name for parameter in chosen], start, stop, bin_microseconds
            )
        return
    if data_set.file_layout is not None:
        files = DataSetFiles(context, principal, data_set.series, data_set.table, published_state)
        yield from files.read_batches(data_set.file_layout, [parameter.name for parameter in chosen], start, stop)
        return
    bin_microseconds = 1 + sum(int(np.prod(parameter.dimensions or (1,))) for parameter in chosen)
    streams = get_stream_limiter(context.site)
    room = min(streams.window_cells, MAX_WINDOW_CELLS)
    step = max(int((extent.stop - extent.start) / max(extent.row_count, 1) * max(room // bin_microseconds, 1)), 1)
    columns = ", ".join(quote_name(name) for name in (data_set.time.name, *(parameter.name for parameter in chosen)))
    fields = ["hven_time", *(parameter.name for parameter in chosen)]
    while start < stop:
        before = room
        room = min(streams.window_cells, MAX_WINDOW_CELLS)
        step = max(step * room // before, 1)
        end = min(start + step, stop)
        bounds = [
            f"{quote_name(data_set.time.name)} {sign} {_write_time_literal(data_set, moment)}"
            for sign, moment in ((">=", start), ("<", end))
        ]
        text = f"SELECT {columns} FROM {_write_from_clause(data_set, *bounds)}"
        waiting: list[pa.RecordBatch] = []
        read = 0
        with query.run_query(
            text,
            principal,
            site=context.site,
            policies=context.policies,
            published_state=published_state,
            maxrec=MAX_QUERY_ROWS,
            hard_row_limit=MAX_QUERY_ROWS,
        ) as result:
            for batch in result.iterate_batches():
                read += batch.num_rows
                cells = [
                    _to_microseconds(cell, of.column)
                    if of.column.epoch is not None and of.value_kind == "isotime"
                    else cell
                    for cell, of in zip(batch.columns[1:], chosen, strict=True)
                ]
                waiting.append(
                    pa.record_batch([_to_microseconds(batch.column(0), data_set.time.column), *cells], names=fields)
                )
                if read * bin_microseconds > room * 4 and end - start > 1:
                    break
        if (
            read * bin_microseconds > room * 4 and end - start > 1
        ):  # a burst: shorter windows, for what is sorted is in memory
            step = max((end - start) // 8, 1)
            continue
        yield from _sort_by_time(waiting)
        start = end
        if read * bin_microseconds < room // 4:  # nights, gaps: the next window is wider
            step *= 2


def read_nanosecond_samples(
    context: ServiceContext,
    principal: Principal,
    data_set: DataSet,
    names: Sequence[str],
    start: int,
    stop: int,
    published_state: PublishedState,
) -> Iterator[pa.RecordBatch]:
    """Read samples in the order of time, of a data set whose files have nanoseconds.

    Batches whose first column is timestamps of nanoseconds.

    Parameters
    ----------
    names
        Of its parameters.
    start, stop
        Nanoseconds since 1970 (UTC): from the first one on, before the second.

    Yields
    ------
    batches
        Each of a few megabytes.

    Raises
    ------
    HvenError
        As of `read_samples`.
    """
    with get_stream_limiter(context.site).count_stream():
        yield from _read_nanosecond_batches(context, principal, data_set, names, start, stop, published_state)


def _read_nanosecond_batches(
    context: ServiceContext,
    principal: Principal,
    data_set: DataSet,
    names: Sequence[str],
    start: int,
    stop: int,
    published_state: PublishedState,
) -> Iterator[pa.RecordBatch]:
    extent = find_time_extent(context, principal, data_set, published_state)
    if extent.start is None or extent.stop is None or data_set.file_layout is None:
        return
    low = max(start // 1000, extent.start)
    high = min(-(-stop // 1000), extent.stop)
    requested_names = set(names)
    chosen = [parameter.name for parameter in data_set.parameters if parameter.name in requested_names]
    files = DataSetFiles(context, principal, data_set.series, data_set.table, published_state)
    for batch in files.read_batches(data_set.file_layout, chosen, low, high, with_nanoseconds=True):
        times = np.asarray(batch.column(0)).astype(np.int64)
        first, last = (
            int(at) for at in np.searchsorted(times, (max(start, -MAX_QUERY_ROWS), min(stop, MAX_QUERY_ROWS)))
        )
        if first < last:
            yield batch.slice(first, last - first)


def _sort_by_time(batches: Sequence[pa.RecordBatch]) -> Sequence[pa.RecordBatch]:
    """Put samples in the order of time, in which they most often are.

    That is quicker than to have the engine sort them.
    """
    last = None
    for batch in batches:
        moments = np.asarray(batch.column(0))
        if len(moments) and ((last is not None and moments[0] < last) or (moments[1:] < moments[:-1]).any()):
            joined_batch = pa.concat_batches(batches)
            return [joined_batch.take(pa.array(np.argsort(np.asarray(joined_batch.column(0)), kind="stable")))]
        if len(moments):
            last = moments[-1]
    return batches


def _write_time_literal(data_set: DataSet, instant: int) -> str:
    """Write a time as the column has it."""
    epoch = data_set.time.column.epoch
    if epoch is None:
        return f"CAST({write_literal(format_instant(instant)[:-1])} AS TIMESTAMP)"
    # half a millisecond before: what is shown as this time is not less than it
    return repr((instant - 500) / DAY_MICROSECONDS + UNIX_EPOCH_JD - epoch)


def _to_microseconds(array: pa.Array, column: Column) -> pa.Array:
    """Convert times to microseconds since 1970; days in doubles to whole milliseconds."""
    if column.epoch is None:
        return array.cast(pa.timestamp("us")).cast(pa.int64())
    days = np.asarray(array.cast(pa.float64()), np.float64)
    moments = (
        np.round((np.nan_to_num(days) + (column.epoch - UNIX_EPOCH_JD)) * (DAY_MICROSECONDS // 1000)).astype(np.int64)
        * 1000
    )
    return pa.array(moments, mask=np.isnan(days))


class SeriesRequest:
    """A request of a face over data sets: who asks, of which state.

    Parameters
    ----------
    request
        Of the reader.
    context
        The site.

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
    def data_sets(self) -> dict[str, DataSet]:
        """The reader's data sets, by the names that the face has for them; found in a thread, for rows may be asked."""
        list_cache: DataSetListCache = self.context.site.get_or_create(DataSetListCache)
        key = (self.face, self.published_state.version, self.access_key)
        sets_by_name = list_cache.find(key)
        if sets_by_name is None:
            sets_by_name = self.list_data_sets()
            if not _find_read_failures(self.context, self.published_state, self.access_key):
                list_cache.store(key, sets_by_name, len(sets_by_name) + 1)
        return sets_by_name

    def find_data_set(self, name: str) -> DataSet | None:
        """Find a data set.

        Parameters
        ----------
        name
            As the face has it.

        Returns
        -------
        data_set
            None: the reader has none of that name.

        Raises
        ------
        HvenError
            What reads its files does not; the error says why.
        """
        data_set = self.data_sets.get(name)
        if data_set is not None:
            fault = None
        else:
            read_failures = _find_read_failures(self.context, self.published_state, self.access_key)
            fault = read_failures.get(name)
        if fault is not None:
            raise fault[0]
        return data_set

    def list_data_sets(self) -> dict[str, DataSet]:
        """Find the reader's data sets."""
        return list_data_sets(self.context, self.principal, self.face, self.published_state)

    @cached_property
    def access_key(self) -> str:
        """What the reader may know of and which rows they see: those with the same words get the same answers."""
        return self.published_state.find_access_key(self.principal, self.context.policies)

    def find_time_extent(self, data_set: DataSet) -> TimeExtent:
        """Find from when to when the reader has samples.

        Parameters
        ----------
        data_set
            A data set.

        Returns
        -------
        span
            Of this reader.
        """
        return find_time_extent(self.context, self.principal, data_set, self.published_state)


async def answer_with_stream(
    request: Request, iterate_chunks: Callable[[], Iterator[bytes]], headers: Mapping[str, str], *, status: int = 200
) -> Response:
    """Answer with bytes that threads make one after the other.

    What goes wrong before the first of them is raised here, later the line is cut.

    Parameters
    ----------
    request
        Whose answer it is.
    iterate_chunks
        Makes them.
    headers
        With the media type.
    status
        Of HTTP.

    Returns
    -------
    response
        Packed, if the reader takes that.
    """
    if request.method == "HEAD":
        return Response(None, status, {**headers})
    chunk_iterator = iterate_chunks()
    first = await run_in_threadpool(next, chunk_iterator, None)
    if first is not None:
        second = await run_in_threadpool(next, chunk_iterator, None)
    else:
        second = None
    encoding = choose_encoding(request.headers.get("accept-encoding", ""))
    if second is None:
        body = first or b""
        if encoding is None or len(body) < MIN_COMPRESSED_BYTES:
            return Response(body, status, {**headers})
    if encoding is not None:
        encoder = StreamCompressor(encoding)
    else:
        encoder = None

    async def iterate_body() -> AsyncIterator[bytes]:
        async for piece in iterate_in_threadpool(chain(filter(None, (first, second)), chunk_iterator)):
            yield piece if encoder is None else await run_in_threadpool(encoder.compress, piece)
        if encoder is not None:
            yield encoder.finish()

    all_headers = {**headers, **({} if encoding is None else {"content-encoding": encoding})}
    return StreamingResponse(iterate_body(), status, all_headers)


__all__ = [
    "DAY_MICROSECONDS",
    "UNIX_EPOCH_JD",
    "DataSet",
    "SampleParameter",
    "SeriesRequest",
    "TimeExtent",
    "answer_with_stream",
    "build_time_dtype",
    "find_time_extent",
    "format_instant",
    "list_data_sets",
    "parse_microseconds",
    "parse_nanoseconds",
    "read_nanosecond_samples",
    "read_samples",
    "write_times",
]
