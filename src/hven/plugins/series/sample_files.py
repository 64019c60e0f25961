"""Samples in the files that the rows of a table name: find the files of a time span, their parameters, and read them.

Files are found like all others (`hven.services.collection_files`): the same roots, access rights of rows and files, and
files on other servers. Where several files have the same time, the highest version holds in its whole time span, gaps
included.
"""

from __future__ import annotations

import heapq
import re
import threading
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.adql_writer import quote_adql_name, write_adql_literal
from hven.formats.media import open_product
from hven.model import LruCache, units
from hven.model.errors import HvenError, SourceError, StorageUnavailableError, format_message
from hven.model.table import Column, ParameterBins, find_begin_and_end_time_columns
from hven.model.types import ColumnType
from hven.plugins.series.column_times import to_instant, write_instant_literal
from hven.plugins.series.file_time_samples import NO_LAYOUT, FileTimeSamples, find_file_version
from hven.plugins.series.reader_view import ReaderFactCache
from hven.plugins.series.table_series import list_table_series
from hven.plugins.series.time_texts import SECOND_MICROSECONDS
from hven.services import collection_files
from hven.sources.file_readers import open_with_reader

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from hven.formats.media import OpenProductFile, Place
    from hven.model.table import Table, TimeSeriesSpec
    from hven.plugins.series.reader_view import ReaderView

ENTIRE_TIME_SPAN = (
    -61_000_000_000 * SECOND_MICROSECONDS,
    253_000_000_000 * SECOND_MICROSECONDS,
)  # years 36 to 9987, whose dates all engines write alike
MAX_TRIED_FILES = 50  # files of one layout that are tried until one can be accessed and read
MAX_LAYOUTS = 100  # layouts of a data set that are read
FILES_PER_REQUEST = 500  # files that are looked up in one query
MAX_CACHED_GRANULES = 5_000  # up to this number of files, the list of a data set is cached as a whole
NANOSECOND_LIMIT_MICROSECONDS = 9_200_000_000 * SECOND_MICROSECONDS  # from 1970 to where 64 bits of nanoseconds end
SPAN_TOLERANCE_MICROSECONDS = SECOND_MICROSECONDS  # error of time spans that were not read from the files
_NUMBER_PATTERN = re.compile(r"(\d+)")


class Granule(NamedTuple):
    """A file, with the times of its first and last sample: microseconds since 1970."""

    path: str
    start: int
    stop: int
    version: str


class GranuleCache(LruCache[list[Granule]]):
    """Lists of files of small data sets, shared by readers who see the same rows; 100,000 files in all."""

    def __init__(self) -> None:
        super().__init__(20 * MAX_CACHED_GRANULES)


class SampleTimesCache(LruCache[Any]):
    """Times of the samples of recently read files.

    The tiles of a picture, and the next picture, need the same times.
    """

    def __init__(self) -> None:
        super().__init__(64 << 20, 16 << 20)
        self._read_locks = tuple(threading.Lock() for _ in range(16))

    def fill_times(self, key: Hashable, samples: FileTimeSamples) -> None:
        """Set the times of samples; of several threads that need those of one file at once, one reads them."""
        cached_times = self.find(key)
        if cached_times is None:
            with self._read_locks[hash(key) % len(self._read_locks)]:
                cached_times = self.find(key)
                if cached_times is None:
                    self.store(key, samples.times, samples.times.memory_bytes)
        if cached_times is not None:
            samples.times = cached_times


@dataclass(frozen=True, slots=True)
class DataSetLayout:
    """Layout of a file, or of a data set, merged from all its files.

    Attributes
    ----------
    time_name
        Name of the time variable; of a data set, that in the newest file.
    columns
        Columns of its parameters.
    bins
        Bins of array elements, by parameter.
    lengths
        Lengths of texts in bytes, by parameter.
    has_nanoseconds
        Whether times have nanoseconds.
    channel_tables
        Parameters with the channels of another parameter, where these change: name -> the other parameter.
    notes
        Remarks for users.
    """

    time_name: str
    columns: tuple[Column, ...]
    bins: Mapping[str, tuple[ParameterBins, ...]]
    lengths: Mapping[str, int]
    has_nanoseconds: bool
    channel_tables: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class DataSetFiles:
    """The files of a data set, as a reader sees them.

    Parameters
    ----------
    view
        What the reader sees.
    series
        Data set of the files.
    table
        Its table.

    Attributes
    ----------
    has_file_policy
        Whether access to a file needs more rights than its row.
    """

    def __init__(self, view: ReaderView, series: TimeSeriesSpec, table: Table) -> None:
        self.view = view
        self.series = series
        self.table = table
        begin, end = find_begin_and_end_time_columns(table)
        if begin is None or end is None:
            message = format_message("{table} has no column with the start times of the files", table.qualified_name)
            raise StorageUnavailableError(message)
        self._begin_column = begin
        self._end_column = end
        self._begin_name = f"target.{quote_adql_name(begin.name)}"
        self._end_name = f"target.{quote_adql_name(end.name)}"
        names = {column.name for column in table.columns}
        self._has_layouts = {"layout", "samples"} <= names
        self._condition_of_shared_table: str | None = None
        if self._has_layouts:
            self._span_tolerance = 0
            self._condition_of_shared_table = write_data_set_file_condition(table, series)
        else:
            self._span_tolerance = SPAN_TOLERANCE_MICROSECONDS + round((series.cadence or 0) * SECOND_MICROSECONDS)
        policy_tables = view.published_state.policy_tables
        guarded_tables = [guarded for guarded in policy_tables if guarded.schema == table.schema]
        self.has_file_policy = any(guarded.policy and guarded.policy.path for guarded in guarded_tables)

    # --- rows --------------------------------------------------------------------------------------------------------

    def _query_file_rows(self, select_items: str, *conditions: str, query_suffix: str = "") -> Iterator[dict[str, Any]]:
        all_conditions = [*conditions]
        if self._condition_of_shared_table is not None:
            all_conditions.append(self._condition_of_shared_table)
        if self.series.condition:
            all_conditions.append(f"({self.series.condition})")
        where = ""
        if all_conditions:
            where = f" WHERE {' AND '.join(all_conditions)}"
        table_name = f"{quote_adql_name(self.table.schema)}.{quote_adql_name(self.table.name)}"
        return self.view.read_rows(f"SELECT {select_items} FROM {table_name} AS target{where}{query_suffix}")

    def _query_paths(self, *conditions: str, order_expression: str) -> list[str]:
        """Query the paths of the first files in an order."""
        rows = self._query_file_rows(
            f"TOP {MAX_TRIED_FILES} {self._path_select_items}",
            *conditions,
            query_suffix=f" ORDER BY {order_expression}",
        )
        paths = map(self._fill_path_template, rows)
        return [path for path in paths if path]

    @property
    def _path_select_items(self) -> str:
        placeholders = [part for part in self.series.file if not isinstance(part, str)]
        if not placeholders:
            return '1 AS "_0"'
        return ", ".join(f'{part.expression} AS "_{number}"' for number, part in enumerate(placeholders))

    def _fill_path_template(self, row: Mapping[str, Any]) -> str | None:
        """Fill the template of the path; return None if one of its values is missing."""
        path_parts = []
        number = 0
        for part in self.series.file:
            if isinstance(part, str):
                path_parts.append(part)
                continue
            value = row[f"_{number}"]
            if value is None:
                return None
            path_parts.append(format(value, part.format_spec) if part.format_spec else str(value))
            number += 1
        return "".join(path_parts)

    def list_granules(self, start: int, stop: int) -> list[Granule]:
        """List the files that may have samples in a time span, and that the reader may access.

        Parameters
        ----------
        start, stop
            Microseconds since 1970.
        """
        low = start - self._span_tolerance
        high = stop + self._span_tolerance
        published = self.view.published_state.tables_by_name.get(self.table.qualified_name)
        row_count = 0
        if published is not None:
            row_count = published.rows or 0
        if self.has_file_policy or not 0 < row_count <= MAX_CACHED_GRANULES:
            granules = self._query_granules(low, high)
            if self.has_file_policy:
                return self._keep_accessible(granules)
            return granules
        granule_cache = self.view.context.site.get_or_create(GranuleCache)
        key = (self.table.qualified_name, self.series.id, self.view.published_state.version, self.view.access_key)
        all_granules = granule_cache.find(key)
        if all_granules is None:
            all_granules = self._query_granules(*ENTIRE_TIME_SPAN)
            granule_cache.store(key, all_granules, len(all_granules) + 1)
        return [granule for granule in all_granules if granule.stop >= low and granule.start < high]

    def _query_granules(self, begin_instant: int, end_instant: int) -> list[Granule]:
        items = f"{self._begin_name} AS a_first, {self._end_name} AS a_last, {self._path_select_items}"
        if self.series.version:
            items += f", target.{quote_adql_name(self.series.version)} AS a_version"
        end_condition = f"{self._end_name} >= {write_instant_literal(begin_instant, self._end_column)}"
        begin_condition = f"{self._begin_name} < {write_instant_literal(end_instant, self._begin_column)}"
        granules = []
        for row in self._query_file_rows(items, end_condition, begin_condition):
            path = self._fill_path_template(row)
            if path is None or row["a_first"] is None or row["a_last"] is None:
                continue
            if self.series.version:
                version = str(row["a_version"] or "")
            else:
                version = find_file_version(path) or ""
            start = to_instant(row["a_first"], self._begin_column)
            stop = to_instant(row["a_last"], self._end_column)
            granules.append(Granule(path, start, stop, version))
        return granules

    def _keep_accessible(self, granules: list[Granule]) -> list[Granule]:
        """Keep the files that the reader may access."""
        accessible = []
        for offset in range(0, len(granules), FILES_PER_REQUEST):
            chunk = granules[offset : offset + FILES_PER_REQUEST]
            found_files = self._query_files([granule.path for granule in chunk])
            accessible += [granule for granule in chunk if granule.path in found_files.rows]
        return accessible

    def _query_files(self, paths: Sequence[str]) -> collection_files.FoundFiles:
        return collection_files.find_files(self.view.context, self.view.principal, self.table.schema, paths)

    def build_file_listing_batches(
        self, parameter_names: Sequence[str], start: int, stop: int
    ) -> Iterator[pa.RecordBatch]:
        """List the files themselves as samples, in the order of their first samples.

        Parameters
        ----------
        parameter_names
            ``fileURI``, ``fileSize``.
        start, stop
            Time span of the first sample: microseconds since 1970.
        """
        all_granules = self.list_granules(start, stop)
        granules = [granule for granule in all_granules if start <= granule.start < stop]
        granules.sort(key=lambda granule: (granule.start, *_build_granule_sort_key(granule)))
        for offset in range(0, len(granules), FILES_PER_REQUEST):
            requested = granules[offset : offset + FILES_PER_REQUEST]
            file_rows = self._query_files([granule.path for granule in requested]).rows
            chunk = [granule for granule in requested if granule.path in file_rows]
            sizes = [file_rows[granule.path]["bytes"] for granule in chunk]
            arrays_by_name = {
                "fileURI": pa.array([granule.path for granule in chunk], pa.string()),
                "fileSize": pa.array(sizes, pa.float64()),
            }
            chosen = {name: array for name, array in arrays_by_name.items() if name in parameter_names}
            times = pa.array([granule.start for granule in chunk], pa.int64())
            yield pa.record_batch([times, *chosen.values()], names=["hven_time", *chosen])

    def find_time_extent(self) -> tuple[int, int, int] | None:
        """Find the times of the first and last sample, and their approximate number; return None if there are none."""
        sample_count = None
        if self.has_file_policy:
            all_granules = self.list_granules(*ENTIRE_TIME_SPAN)
            if not all_granules:
                return None
            first = min(granule.start for granule in all_granules)
            last = max(granule.stop for granule in all_granules)
        else:
            items = f"MIN({self._begin_name}) AS a_first, MAX({self._end_name}) AS a_last"
            if self._has_layouts:
                items += ", SUM(target.samples) AS a_many"
            (row,) = self._query_file_rows(items)
            if row["a_first"] is None or row["a_last"] is None:
                return None
            first = to_instant(row["a_first"], self._begin_column)
            last = to_instant(row["a_last"], self._end_column)
            sample_count = row.get("a_many")
        if self._condition_of_shared_table is not None:  # the table has the times of all its data sets together
            first = self._read_extreme_sample_time(self._begin_name, first, 0)
            last = self._read_extreme_sample_time(f"{self._end_name} DESC", last, -1)
        if not sample_count:
            cadence = (self.series.cadence or 1.0) * SECOND_MICROSECONDS
            sample_count = max((last - first) / cadence, 1)
        return first, last, int(sample_count)

    def _read_extreme_sample_time(self, order_expression: str, table_time: int, sample_index: int) -> int:
        """Find the first or last sample of this data set, where the table has the times of several.

        Parameters
        ----------
        order_expression
            Order of the files, that with the wanted sample first.
        table_time
            Time that the table has, as a fallback: microseconds since 1970.
        sample_index
            Index of the sample in a file: 0 or -1.
        """
        paths = self._query_paths(order_expression=order_expression)
        found_files, paths = self._query_accessible_files(paths)
        for path in paths:
            try:
                product, state = self._open_product_with_state(found_files, path)
                with product:
                    instants = self._open_samples(product, path, state).instants
            except HvenError:  # a request for the samples reports it
                return table_time
            if len(instants):
                return int(instants[sample_index])
        return table_time

    def drop_uncountable_nanoseconds(self, layout: DataSetLayout, extent: tuple[int, int, int]) -> DataSetLayout:
        """Drop nanoseconds from the layout where some times are too far from 1970 to be counted in nanoseconds."""
        start, stop, _ = extent
        is_countable = start > -NANOSECOND_LIMIT_MICROSECONDS and stop < NANOSECOND_LIMIT_MICROSECONDS
        if not layout.has_nanoseconds or is_countable:
            return layout
        note = "digits of times below a microsecond are left out, because some times are before 1678 or after 2261"
        return replace(layout, has_nanoseconds=False, notes=(*layout.notes, note))

    # --- layouts of files --------------------------------------------------------------------------------------------

    def read_merged_layout(self) -> DataSetLayout | None:
        """Describe the data set by one file of each layout; return None if the reader may access no file.

        Raises
        ------
        HvenError
            The program that reads its files fails.
        """
        if self._has_layouts:
            layouts = self._list_layouts()
        else:
            layouts = [None]
        file_layouts: list[DataSetLayout] = []
        for layout in layouts:
            conditions = () if layout is None else (f"target.layout = {write_adql_literal(layout)}",)
            paths = self._query_paths(*conditions, order_expression=f"{self._end_name} DESC")
            file_layout = self._read_first_layout(paths)
            if file_layout is not None:
                file_layouts.append(file_layout)
        if file_layouts:
            return _merge_layouts(file_layouts, self.series)
        return None

    def _list_layouts(self) -> list[str | None]:
        """List the layouts of files with samples, the newest first; of files without samples, the newest layout."""
        layout_items = f"TOP {MAX_LAYOUTS} target.layout AS a_layout"
        grouping = f" GROUP BY target.layout ORDER BY MAX({self._end_name}) DESC"
        rows = [*self._query_file_rows(layout_items, "target.samples > 0", query_suffix=grouping)]
        if not rows:
            rows = [*self._query_file_rows(layout_items, query_suffix=grouping)][:1]
        return [row["a_layout"] for row in rows]

    def _query_accessible_files(self, paths: Sequence[str]) -> tuple[collection_files.FoundFiles, list[str]]:
        """Query files; return them, and the paths of those that the reader may access."""
        found_files = self._query_files(paths)
        return found_files, [path for path in paths if path in found_files.rows]

    def _read_first_layout(self, paths: Sequence[str]) -> DataSetLayout | None:
        """Read the layout of the first file that can be accessed and read."""
        layout_cache = self.view.context.site.get_or_create(ReaderFactCache)
        found_files, paths = self._query_accessible_files(paths)
        for path in paths:
            key = ("layout", self.table.schema, path, found_files.rows[path]["tag"], repr(self.series))
            layout: DataSetLayout | None = layout_cache.find(key)
            if layout is None:
                try:
                    layout = self._read_layout(found_files, path)
                except (HvenError, OSError) as error:
                    if self.series.reader is not None and isinstance(error.__cause__ or error, SourceError):
                        # a reader program failed: it may work again later, and more files may take as long
                        raise
                    continue
                layout_cache.store(key, layout)
            return layout
        return None

    def _read_layout(self, found_files: collection_files.FoundFiles, path: str) -> DataSetLayout:
        product, _ = self._open_product_with_state(found_files, path)
        with product:
            samples = FileTimeSamples(product, self.series, path.rpartition("/")[2])
            return DataSetLayout(
                samples.time_variable,
                samples.columns,
                samples.bins,
                samples.text_lengths,
                samples.has_nanoseconds,
            )

    def _check_and_record_access(self, found_files: collection_files.FoundFiles, path: str) -> Place:
        """Check that the reader may take a file and its companions, record the access, and return where the file is."""
        reader = (self.view.context, self.view.principal, self.table.schema)
        place = collection_files.open_file_place(*reader, found_files.get_row(path))
        collection_files.check_companions_and_list_etags(*reader, path, place)
        found_files.record_access("file taken", path)
        return place

    def _open_product_with_state(
        self, found_files: collection_files.FoundFiles, path: str
    ) -> tuple[OpenProductFile, Hashable]:
        """Open a file that the reader may take; return it and what identifies its state."""
        place = self._check_and_record_access(found_files, path)
        row = found_files.get_row(path)
        try:
            name = path.rpartition("/")[2]
            state: tuple[Hashable, ...] = (row["tag"],)
            if isinstance(place, Path):
                file_status = place.stat()
                state = (*state, file_status.st_mtime_ns, file_status.st_size)
            if self.series.reader is not None:
                return open_with_reader(self.view.context.site.settings, place, name, self.series.reader), state
            return open_product(place, name, includes_text_tables=True), state
        except SourceError as error:
            raise _build_read_error(path, error) from error

    # --- samples -----------------------------------------------------------------------------------------------------

    def read_batches(
        self,
        layout: DataSetLayout,
        parameter_names: Sequence[str],
        start: int,
        stop: int,
        *,
        with_nanoseconds: bool = False,
    ) -> Iterator[pa.RecordBatch]:
        """Read samples in the order of time.

        Parameters
        ----------
        layout
            Layout of the data set.
        parameter_names
            Names of parameters.
        start, stop
            Microseconds since 1970: from `start` (included) to `stop` (excluded).
        with_nanoseconds
            Whether times are timestamps of nanoseconds instead of microseconds since 1970.

        Yields
        ------
        batches
            The times, then the parameters.

        Raises
        ------
        HvenError
            A file cannot be accessed or read, or differs from the layout.
        """
        columns_by_name = {column.name: column for column in layout.columns}
        columns = [(name, columns_by_name[name]) for name in parameter_names]
        granules = self.list_granules(start, stop)
        segments = assign_times_to_granules(granules, start, stop, self._span_tolerance)
        if not with_nanoseconds:
            yield from self._read_segments(segments, layout, columns, with_nanoseconds=False)
            return
        # where a file ends within the microsecond in which the next begins, both have samples of it
        widened_segments = []
        for granule, begin, end in segments:
            ends_with_file = end == granule.stop < stop
            widened_segments.append((granule, begin, end + 1 if ends_with_file else end))
        yield from _drop_times_in_next_batch(
            self._read_segments(widened_segments, layout, columns, with_nanoseconds=True)
        )

    def _read_segments(
        self,
        segments: Sequence[tuple[Granule, int, int]],
        layout: DataSetLayout,
        columns: Sequence[tuple[str, Column]],
        *,
        with_nanoseconds: bool,
    ) -> Iterator[pa.RecordBatch]:
        for offset in range(0, len(segments), FILES_PER_REQUEST):
            chunk = segments[offset : offset + FILES_PER_REQUEST]
            chunk_paths = {granule.path for granule, _, _ in chunk}
            found_files = self._query_files(list(chunk_paths))
            for path, file_segments in groupby(chunk, lambda segment: segment[0].path):
                product, state = self._open_product_with_state(found_files, path)
                with product:
                    samples = self._open_samples(product, path, state)
                    for _, begin, end in file_segments:
                        yield from self._read_segment(
                            samples, layout, columns, path, span=(begin, end), with_nanoseconds=with_nanoseconds
                        )

    def _open_samples(self, product: OpenProductFile, path: str, file_state: Hashable) -> FileTimeSamples:
        try:
            samples = FileTimeSamples(product, self.series, path.rpartition("/")[2])
            if self.series.reader is None:  # a reader program may change its times, and reports its own errors
                times_cache = self.view.context.site.get_or_create(SampleTimesCache)
                cache_key = (self.table.schema, path, file_state, repr(self.series))
                times_cache.fill_times(cache_key, samples)
        except SourceError as error:
            raise _build_read_error(path, error) from error
        return samples

    def _read_segment(
        self,
        samples: FileTimeSamples,
        layout: DataSetLayout,
        columns: Sequence[tuple[str, Column]],
        path: str,
        *,
        span: tuple[int, int],
        with_nanoseconds: bool,
    ) -> Iterator[pa.RecordBatch]:
        file_columns = {file_column.name: file_column for file_column in samples.columns}
        batch_names = ["hven_time", *(name for name, _ in columns)]
        own_names = [name for name, _ in columns if name in file_columns]
        for name in own_names:
            _check_bins(name, samples.bins.get(name, ()), layout, path)
        begin, end = span
        try:
            for batch in samples.read_batches(own_names, begin, end, in_nanoseconds=with_nanoseconds):
                arrays = [batch.column(0)]
                for name, column in columns:
                    if name in file_columns:
                        file_values = batch.column(batch.schema.get_field_index(name))
                        arrays.append(_convert_to_data_set_column(file_values, file_columns[name], column, path))
                    elif name in layout.channel_tables:
                        channel_bins = samples.bins.get(layout.channel_tables[name], ())
                        arrays.append(_repeat_channels(channel_bins, column, batch.num_rows))
                    else:
                        arrays.append(pa.nulls(batch.num_rows, column.arrow_field.type))
                yield pa.record_batch(arrays, names=batch_names)
        except SourceError as error:
            raise _build_read_error(path, error) from error


def _drop_times_in_next_batch(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Drop samples at the end of a batch whose times the next batch has."""
    previous: pa.RecordBatch | None = None
    for batch in batches:
        if not batch.num_rows:
            continue
        if previous is not None:
            first_time = batch.column(0)[0].value
            previous_times = np.asarray(previous.column(0)).astype(np.int64)
            yield previous.slice(0, int(np.searchsorted(previous_times, first_time)))
        previous = batch
    if previous is not None:
        yield previous


def write_data_set_file_condition(table: Table, series: TimeSeriesSpec) -> str | None:
    """Write the condition that a file has samples of a data set; None if the table has files of no other data set.

    Parameters
    ----------
    table
        Table of files.
    series
        One of its data sets.
    """
    set_ids = [item.id for item in list_table_series(table) if item.file]
    has_layout_column = any(item.name == "layout" for item in table.columns)
    if len(set_ids) < 2 or series.id not in set_ids or not has_layout_column:
        return None
    # the layout has a word of the same length for each data set
    word_characters = len(NO_LAYOUT) + 1
    skipped_words = "_" * (set_ids.index(series.id) * word_characters)
    pattern = write_adql_literal(f"{skipped_words}{NO_LAYOUT}%")
    return f"(target.layout IS NULL OR target.layout NOT LIKE {pattern})"


def assign_times_to_granules(
    granules: Sequence[Granule], start: int, stop: int, tolerance: int = 0
) -> list[tuple[Granule, int, int]]:
    """Assign each time to one file: where several files have it, to that of the highest version.

    Where one file ends with the time with which another begins, that time belongs to the later one.

    Parameters
    ----------
    granules
        Files.
    start, stop
        Microseconds since 1970: from `start` (included) to `stop` (excluded).
    tolerance
        Microseconds by which samples may lie outside of the time span of their file, where no other file has the time.

    Returns
    -------
    segments
        Files with the begin (included) and the end (excluded) of their times, in the order of time.
    """
    ordered = sorted(granules, key=_build_granule_sort_key)
    begins = {granule.start for granule in granules}
    items = []
    for rank, granule in enumerate(ordered):
        end = granule.stop + 1
        if granule.stop in begins and granule.start < granule.stop:
            end = granule.stop
        items.append((granule.start, end, -rank, granule))
        if tolerance:
            margin_rank = len(granules) - rank
            items.append((granule.start - tolerance, granule.start, margin_rank, granule))
            items.append((end, end + tolerance, margin_rank, granule))
    items.sort(key=lambda item: item[0])
    points = sorted({begin for begin, *_ in items} | {end for _, end, *_ in items})
    active: list[tuple[int, int, int, Granule]] = []
    assigned: list[tuple[Granule, int, int]] = []
    next_item = 0
    for low, high in pairwise(points):
        while next_item < len(items) and items[next_item][0] <= low:
            _, end, rank, granule = items[next_item]
            heapq.heappush(active, (rank, next_item, end, granule))
            next_item += 1
        while active and active[0][2] <= low:
            heapq.heappop(active)
        if not active or high <= start or low >= stop:
            continue
        granule = active[0][3]
        segment_begin = max(low, start)
        segment_end = min(high, stop)
        if assigned:
            last_granule, last_begin, last_end = assigned[-1]
            if last_granule is granule and last_end == low:
                assigned.pop()
                segment_begin = last_begin
        assigned.append((granule, segment_begin, segment_end))
    return assigned


def _build_granule_sort_key(granule: Granule) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    return _build_natural_sort_key(granule.version), _build_natural_sort_key(granule.path)


def _build_natural_sort_key(text: str) -> list[tuple[int, str]]:
    """Order versions and names by the numbers in them: v10 comes after v9."""
    sort_key = []
    for part in _NUMBER_PATTERN.split(text):
        if part.isdecimal():
            sort_key.append((int(part), ""))
        elif part:
            sort_key.append((-1, part))
    return sort_key


def _build_read_error(path: str, error: HvenError) -> StorageUnavailableError:
    message = format_message("the file {path} cannot be read: {reason}", path, error.message)
    return StorageUnavailableError(message, remedy=error.remedy)


def _merge_layouts(layouts: Sequence[DataSetLayout], series: TimeSeriesSpec) -> DataSetLayout:
    """Merge the layouts of files, the newest first.

    Channels that differ between files become a parameter with values for each sample.
    """
    columns, lengths = _merge_columns(layouts)
    columns_by_file = [{column.name: column for column in layout.columns} for layout in layouts]
    bins: dict[str, tuple[ParameterBins, ...]] = {}
    channel_tables: dict[str, str] = {}
    notes: list[str] = []
    positions = {name.casefold(): position for position, name in enumerate(series.parameters)}
    merged_columns = list(columns.values())
    merged_columns.sort(key=lambda column: positions.get(column.name.casefold(), 0))
    for column in tuple(merged_columns):
        notes += _list_column_differences(column, columns_by_file)
        file_bins = []
        for layout, file_columns in zip(layouts, columns_by_file, strict=True):
            if column.name in file_columns:
                file_bins.append(layout.bins.get(column.name, ()))
        first_bins = file_bins[0]
        if not first_bins:
            continue
        if all(other_bins == first_bins for other_bins in file_bins):
            bins[column.name] = first_bins
            continue
        if not all(len(other_bins) == 1 for other_bins in file_bins):
            notes.append(f"the meaning of the elements of {column.name} changes with time and is not described")
            continue
        channel_bins = first_bins[0]
        table_name = channel_bins.name
        if table_name in columns:
            table_name = f"{column.name}_{channel_bins.name}"
        columns[table_name] = column
        channel_tables[table_name] = column.name
        element_sizes = [size or 1 for size in column.type.shape]
        channel_count = int(np.prod(element_sizes))
        table_column = Column(
            name=table_name,
            type=ColumnType("double", str(channel_count)),
            unit=channel_bins.unit,
            description=f"Channels of {column.name}, which change with time",
        )
        merged_columns.append(table_column)
        moving_bins = replace(channel_bins, centers=table_name, ranges=())
        bins[column.name] = (moving_bins,)
        notes.append(f"the channels of {column.name} change with time; the parameter {table_name} contains them")
    column_names = {column.name.casefold() for column in merged_columns}
    missing_names = [name for name in series.parameters if name.casefold() not in column_names]
    notes += [f"{name} is in no file" for name in missing_names[:100]]
    # files with digits below a microsecond have a layout of their own
    has_nanoseconds = any(layout.has_nanoseconds for layout in layouts)
    return DataSetLayout(
        time_name=layouts[0].time_name,
        columns=tuple(merged_columns),
        bins=bins,
        lengths=lengths,
        channel_tables=channel_tables,
        notes=tuple(notes),
        has_nanoseconds=has_nanoseconds,
    )


def _merge_columns(layouts: Sequence[DataSetLayout]) -> tuple[dict[str, Column], dict[str, int]]:
    """Merge the columns of files, each wide enough for the values of all, and the lengths of their texts."""
    columns: dict[str, Column] = {}
    lengths: dict[str, int] = {}
    for layout in layouts:
        for column in layout.columns:
            merged_column = columns.get(column.name)
            if merged_column is not None:
                column = _widen_column(merged_column, column)  # noqa: PLW2901  (the wider one replaces both)
            columns[column.name] = column
            file_length = layout.lengths.get(column.name, 1)
            lengths[column.name] = max(lengths.get(column.name, 1), file_length)
    return columns, lengths


def _list_column_differences(column: Column, columns_by_file: Sequence[Mapping[str, Column]]) -> Iterator[str]:
    """List the differences between files that users of a parameter must know."""
    file_columns = [columns.get(column.name) for columns in columns_by_file if columns]
    if None in file_columns:
        yield f"{column.name} is not in all files; where it is missing, its samples have the fill value"
    unit_texts = {file_column.unit or "" for file_column in file_columns if file_column is not None}
    if len(unit_texts) > 1:
        if "" in unit_texts:
            yield f"not all files give a unit for {column.name}"
        else:
            yield f"some files have a different unit for {column.name}; all values are converted to {column.unit}"


def _widen_column(first_column: Column, second_column: Column) -> Column:
    """Build a column that can hold the values of two; its unit is that of the first."""
    first_type = first_column.type
    second_type = second_column.type
    if first_type.is_string or second_type.is_string:
        return first_column
    if not first_column.unit and second_column.unit:
        first_column = first_column.copy_with(unit=second_column.unit)
    has_same_unit = (first_column.unit or "") == (second_column.unit or "")
    datatype = "double"
    if first_type.datatype == second_type.datatype and has_same_unit:
        datatype = first_type.datatype
    shape = tuple(size or 1 for size in first_type.shape)
    second_shape = tuple(size or 1 for size in second_type.shape)
    if len(shape) == len(second_shape) == 1:
        shape = (max(shape[0], second_shape[0]),)
    shape_text = "x".join(map(str, shape)) or None
    return first_column.copy_with(type=ColumnType(datatype, shape_text, first_type.xtype))


def _check_bins(name: str, file_bins: tuple[ParameterBins, ...], layout: DataSetLayout, path: str) -> None:
    """Check that the channels of a file are those of the data set."""
    if name in layout.channel_tables.values() or name not in layout.bins:
        return
    file_channels = [(bin_axis.centers, bin_axis.ranges) for bin_axis in file_bins]
    set_channels = [(bin_axis.centers, bin_axis.ranges) for bin_axis in layout.bins[name]]
    if file_channels != set_channels:
        message = format_message(
            "the channels of {name!r} in {path} differ from the channels of the data set", name, path
        )
        raise StorageUnavailableError(message, remedy=format_message("ingest the collection again"))


def _convert_to_data_set_column(array: pa.Array, file_column: Column, target_column: Column, path: str) -> pa.Array:
    """Convert values of a file to unit, type and shape of the data set; elements that the file lacks are null."""
    array = _convert_unit(array, file_column, target_column, path)
    target_type = target_column.arrow_field.type
    if array.type == target_type:
        return array
    try:
        if pa.types.is_fixed_size_list(target_type) and pa.types.is_fixed_size_list(array.type):
            return _pad_elements(array, target_type, can_pad=len(target_column.type.shape) == 1)
        return array.cast(target_type)
    except pa.ArrowInvalid as error:
        message = format_message(
            "{name!r} in {path} cannot be converted to the data set's type {kind}: {reason}",
            target_column.name,
            path,
            str(target_column.type),
            str(error)[:100],
        )
        raise StorageUnavailableError(message) from None


def _convert_unit(array: pa.Array, file_column: Column, target_column: Column, path: str) -> pa.Array:
    file_unit = units.normalize_unit(file_column.unit)
    target_unit = units.normalize_unit(target_column.unit)
    if not file_unit or not target_unit or units.is_same_unit(file_unit, target_unit):
        return array
    if not units.are_units_convertible(file_unit, target_unit) or target_column.type.datatype != "double":
        message = format_message(
            "{name!r} has the unit {own!r} in {path}, but {unit!r} in the data set",
            target_column.name,
            file_unit,
            path,
            target_unit,
        )
        remedy = format_message(
            "if the unit is wrong, write `variables: {{{name}: {{unit: ..}}}}`; otherwise, write a separate series "
            "for the file",
            target_column.name,
        )
        raise StorageUnavailableError(message, remedy=remedy)
    factor = units.compute_unit_factor(file_unit, target_unit)
    if pa.types.is_fixed_size_list(array.type):
        elements = array.flatten().cast(pa.float64())
        elements = pc.multiply(elements, factor)
        return pa.FixedSizeListArray.from_arrays(elements, array.type.list_size)
    return pc.multiply(array.cast(pa.float64()), factor)


def _pad_elements(array: pa.Array, target_type: pa.DataType, *, can_pad: bool) -> pa.Array:
    """Pad lists with nulls to the size of the target type."""
    size = array.type.list_size
    target_size = target_type.list_size
    elements = array.flatten().cast(target_type.value_type)
    if size != target_size:
        if size > target_size or not can_pad:
            raise pa.ArrowInvalid(f"an array has {size} elements")
        rows = np.arange(len(array) * size).reshape(-1, size)
        missing_size = target_size - size
        padded_rows = np.pad(rows, ((0, 0), (0, missing_size)), constant_values=-1)
        indexes = padded_rows.ravel()
        elements = elements.take(pa.array(indexes, mask=indexes < 0))
    return pa.FixedSizeListArray.from_arrays(elements, target_size)


def _repeat_channels(bins: tuple[ParameterBins, ...], column: Column, row_count: int) -> pa.Array:
    """Repeat the channels of a file for each of its samples."""
    size = column.arrow_field.type.list_size
    row_centers = np.full(size, np.nan)
    if bins and isinstance(bins[0].centers, tuple):
        centers = bins[0].centers[:size]
        row_centers[: len(centers)] = centers
    repeated_centers = pa.array(np.tile(row_centers, row_count))
    return pa.FixedSizeListArray.from_arrays(repeated_centers, size).cast(column.arrow_field.type)
