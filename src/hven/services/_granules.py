"""Samples that stand in the files of a table's rows: which files have which times, by the rows.

What their parameters are; and the samples, read in place.

Files are asked for where all files are (`hven.services.collection_files`): roots, rights of rows and of files, and
files on other servers are as everywhere. Where several files have the same time, that of the highest version holds: in
all of its own span, gaps included.
"""

from __future__ import annotations

import heapq
import re
import threading
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven import query
from hven.adql.adql_writer import quote_name, write_literal
from hven.formats.media import FileSamples, open_product
from hven.model import Cache, units
from hven.model.errors import HvenError, SourceError, StorageUnavailableError, format_message
from hven.model.table import Column, ParameterBins, find_begin_and_end_columns
from hven.model.types import Type
from hven.services import collection_files
from hven.services._time_texts import DAY_MICROSECONDS, SECOND_MICROSECONDS, UNIX_EPOCH_JD, format_instant
from hven.sources.file_readers import open_with_reader

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from hven.formats.media import Product
    from hven.model.table import Table, TimeSeries
    from hven.services.face import ServiceContext
    from hven.site import PublishedState
    from hven.site.auth import Principal

MAX_QUERY_ROWS = 2**62
ENTIRE_TIME_SPAN = (
    -61_000_000_000 * SECOND_MICROSECONDS,
    253_000_000_000 * SECOND_MICROSECONDS,
)  # years 36 to 9987: engines agree on how these are written
MAX_TRIED_FILES = 50  # files of one layout of which the first that the reader may take is looked into
MAX_LAYOUTS = 100  # that are looked into
FILES_PER_REQUEST = 500  # files that are asked for at once
MAX_CACHED_GRANULES = 5_000  # files of a data set that are listed once, and not for each window
NANOSECOND_LIMIT_MICROSECONDS = 9_200_000_000 * SECOND_MICROSECONDS  # from 1970 to where nanoseconds can be counted
SPAN_TOLERANCE_MICROSECONDS = SECOND_MICROSECONDS  # that rows may be off which do not come from the files themselves
_NUMBER_PATTERN = re.compile(r"(\d+)")
_VERSION_PATTERN = re.compile(r"_[vV](\d+(?:[._-]\d+)*)(?=[._]|$)")


class Granule(NamedTuple):
    """A file, by its row: from the time of its first sample to that of its last one, microseconds since 1970."""

    path: str
    start: int
    stop: int
    version: str


class GranuleCache(Cache[list[Granule]]):
    """The files of data sets that have few, as readers see them who see the same: so many files in all."""

    def __init__(self) -> None:
        super().__init__(20 * MAX_CACHED_GRANULES)


class SampleTimesCache(Cache[Any]):
    """When the samples of files were taken, of the files that were read last.

    Tiles of a picture, and the next picture, are of the same.
    """

    def __init__(self) -> None:
        super().__init__(64 << 20, 16 << 20)
        self._read_locks = tuple(threading.Lock() for _ in range(16))

    def fill_times(self, key: Hashable, samples: FileSamples) -> None:
        """Have samples know their times; of several who ask at once for those of a file, one reads them."""
        cached_times = self.find(key)
        if cached_times is None:
            with self._read_locks[hash(key) % len(self._read_locks)]:
                cached_times = self.find(key)
                if cached_times is None:
                    self.store(key, samples.times, samples.times.memory_bytes)
        if cached_times is not None:
            samples.set_times(cached_times)


class FileLayout(NamedTuple):
    """What a file has."""

    time_name: str
    columns: tuple[Column, ...]
    bins: Mapping[str, tuple[ParameterBins, ...]]
    lengths: Mapping[str, int]
    has_nanoseconds: bool = False


@dataclass(frozen=True, slots=True)
class DataSetLayout:
    """What a data set has, of all its files.

    Attributes
    ----------
    time_name
        What the newest calls its times.
    columns
        Its parameters.
    bins
        Of their elements.
    lengths
        Bytes of texts.
    channel_tables
        Parameters that are channels of others, which change: name -> of which parameter.
    notes
        What is to be said of it.
    has_nanoseconds
        Whether times have nanoseconds.
    """

    time_name: str
    columns: tuple[Column, ...]
    bins: Mapping[str, tuple[ParameterBins, ...]]
    lengths: Mapping[str, int]
    channel_tables: Mapping[str, str]
    notes: tuple[str, ...] = ()
    has_nanoseconds: bool = False


class DataSetFiles:
    """The files of a data set, for a reader.

    Parameters
    ----------
    context
        The site.
    principal
        The reader.
    series
        The data set.
    table
        Its table.
    published_state
        The state that is read.

    Attributes
    ----------
    has_file_policy
        Whether one may take a row's file is another question than whether one sees the row.
    """

    def __init__(
        self,
        context: ServiceContext,
        principal: Principal,
        series: TimeSeries,
        table: Table,
        published_state: PublishedState,
    ) -> None:
        self.context = context
        self.principal = principal
        self.series = series
        self.table = table
        self.published_state = published_state
        begin, end = find_begin_and_end_columns(table)
        if begin is None or end is None:
            raise StorageUnavailableError(
                format_message("no column of {table} says when the samples of a file begin", table.qualified_name)
            )
        self._begin_column = begin
        self._end_column = end
        names = {column.name for column in table.columns}
        self._layout_column = "layout" if {"layout", "samples"} <= names else None
        if self._layout_column:
            self._span_tolerance = 0
        else:
            self._span_tolerance = SPAN_TOLERANCE_MICROSECONDS + round((series.cadence or 0) * SECOND_MICROSECONDS)
        if self._layout_column:
            own_condition = write_own_files(table, series)
        else:
            own_condition = None
        self._is_shared = own_condition is not None
        self._own_conditions = () if own_condition is None else (own_condition,)
        self.has_file_policy = any(
            guarded_table.schema == table.schema and guarded_table.policy and guarded_table.policy.path
            for guarded_table in published_state.policy_tables
        )

    # --- rows --------------------------------------------------------------------------------------------------------

    def _query_rows(self, select_items: str, *conditions: str, query_suffix: str = "") -> Iterator[dict[str, Any]]:
        all_conditions = [
            *((f"({self.series.condition})",) if self.series.condition else ()),
            *self._own_conditions,
            *conditions,
        ]
        if all_conditions:
            where = f" WHERE {' AND '.join(all_conditions)}"
        else:
            where = ""
        text = (
            f"SELECT {select_items} FROM {quote_name(self.table.schema)}.{quote_name(self.table.name)} AS "
            f"target{where}{query_suffix}"
        )
        context = self.context
        with query.run_query(
            text,
            self.principal,
            site=context.site,
            policies=context.policies,
            published_state=self.published_state,
            maxrec=MAX_QUERY_ROWS,
            hard_row_limit=MAX_QUERY_ROWS,
        ) as result:
            for batch in result.iterate_batches():
                yield from batch.to_pylist()

    @property
    def _path_select_items(self) -> str:
        holes = [part for part in self.series.file if not isinstance(part, str)]
        return ", ".join(f'{hole.expression} AS "_{number}"' for number, hole in enumerate(holes)) or '1 AS "_0"'

    def _fill_path_template(self, row: Mapping[str, Any]) -> str | None:
        """Fill the template of the path; None: a value of it is missing."""
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
        """List the files that may have samples of some times, and that the reader may take.

        Parameters
        ----------
        start, stop
            Microseconds since 1970.
        """
        low = start - self._span_tolerance
        high = stop + self._span_tolerance
        published = self.published_state.tables_by_name.get(self.table.qualified_name)
        if self.has_file_policy or published is None or not 0 < (published.rows or 0) <= MAX_CACHED_GRANULES:
            granules = self._query_granules(low, high)
            if self.has_file_policy:
                return self._keep_accessible(granules)
            return granules
        granule_cache = self.context.site.get_or_create(GranuleCache)
        access_key = self.published_state.find_access_key(self.principal, self.context.policies)
        key = (self.table.qualified_name, self.series.id, self.published_state.version, access_key)
        all_granules = granule_cache.find(key)
        if all_granules is None:
            all_granules = self._query_granules(*ENTIRE_TIME_SPAN)
            granule_cache.store(key, all_granules, len(all_granules) + 1)
        return [granule for granule in all_granules if granule.stop >= low and granule.start < high]

    def _query_granules(self, begin_instant: int, end_instant: int) -> list[Granule]:
        begin, end = (
            f"target.{quote_name(time_column.name)}" for time_column in (self._begin_column, self._end_column)
        )
        if self.series.version:
            version = f", target.{quote_name(self.series.version)} AS a_version"
        else:
            version = ""
        items = f"{begin} AS a_first, {end} AS a_last, {self._path_select_items}{version}"
        late = f"{end} >= {_write_time_literal(self._end_column, begin_instant)}"
        early = f"{begin} < {_write_time_literal(self._begin_column, end_instant)}"
        granules = []
        for row in self._query_rows(items, late, early):
            path = self._fill_path_template(row)
            if path is None or row["a_first"] is None or row["a_last"] is None:
                continue
            if version:
                number = str(row["a_version"] or "")
            else:
                number = "".join(_VERSION_PATTERN.findall(path.rpartition("/")[2])[-1:])
            granules.append(
                Granule(
                    path,
                    _to_microseconds(self._begin_column, row["a_first"]),
                    _to_microseconds(self._end_column, row["a_last"]),
                    number,
                )
            )
        return granules

    def _keep_accessible(self, granules: list[Granule]) -> list[Granule]:
        """Keep the files that the reader may take."""
        accessible = []
        for offset in range(0, len(granules), FILES_PER_REQUEST):
            chunk = granules[offset : offset + FILES_PER_REQUEST]
            found_files = self._query_files([granule.path for granule in chunk])
            accessible += [granule for granule in chunk if granule.path in found_files.rows]
        return accessible

    def _query_files(self, paths: Sequence[str]) -> collection_files.FoundFiles:
        return collection_files.find_files(self.context, self.principal, self.table.schema, paths)

    def list_file_batches(self, names: Sequence[str], start: int, stop: int) -> Iterator[pa.RecordBatch]:
        """List the files themselves, in the order of their first samples.

        Parameters
        ----------
        names
            ``fileURI``, ``fileSize``.
        start, stop
            Between which the first sample is: microseconds since 1970.
        """
        granules = [granule for granule in self.list_granules(start, stop) if start <= granule.start < stop]
        granules.sort(
            key=lambda granule: (
                granule.start,
                _build_natural_sort_key(granule.version),
                _build_natural_sort_key(granule.path),
            )
        )
        for offset in range(0, len(granules), FILES_PER_REQUEST):
            file_rows = self._query_files(
                [granule.path for granule in granules[offset : offset + FILES_PER_REQUEST]]
            ).rows
            chunk = [granule for granule in granules[offset : offset + FILES_PER_REQUEST] if granule.path in file_rows]
            sizes = [file_rows[granule.path]["bytes"] for granule in chunk]
            arrays_by_name = {
                "fileURI": pa.array([granule.path for granule in chunk], pa.string()),
                "fileSize": pa.array(sizes, pa.float64()),
            }
            chosen = {name: array for name, array in arrays_by_name.items() if name in names}
            yield pa.record_batch(
                [pa.array([granule.start for granule in chunk], pa.int64()), *chosen.values()],
                names=["hven_time", *chosen],
            )

    def find_extent(self) -> tuple[int, int, int] | None:
        """Find from when to when there are samples, and about how many; None: there are none."""
        begin, end = (f"target.{quote_name(item.name)}" for item in (self._begin_column, self._end_column))
        if self.has_file_policy:
            all_granules = self.list_granules(*ENTIRE_TIME_SPAN)
            if not all_granules:
                return None
            first = min(item.start for item in all_granules)
            last = max(item.stop for item in all_granules)
            sample_count = None
        else:
            many_of = ", SUM(target.samples) AS a_many" if self._layout_column else ""
            (row,) = self._query_rows(f"MIN({begin}) AS a_first, MAX({end}) AS a_last{many_of}")
            if row["a_first"] is None or row["a_last"] is None:
                return None
            first = _to_microseconds(self._begin_column, row["a_first"])
            last = _to_microseconds(self._end_column, row["a_last"])
            sample_count = row.get("a_many")
        if self._is_shared:  # each has a clock of its own
            first = self._find_own_limit(begin, first, 0)
            last = self._find_own_limit(f"{end} DESC", last, -1)
        step = (self.series.cadence or 1.0) * SECOND_MICROSECONDS
        return first, last, int(sample_count) if sample_count else max(int((last - first) / step), 1)

    def _find_own_limit(self, order_expression: str, table_limit: int, sample_index: int) -> int:
        """Find the first or last sample of a data set whose table has others.

        The table knows the times of all of them together.

        Parameters
        ----------
        order_expression
            Which files come first.
        table_limit
            What the table knows: microseconds since 1970.
        sample_index
            Which sample of a file: 0 or -1.
        """
        paths = [
            path
            for row in self._query_rows(
                f"TOP {MAX_TRIED_FILES} {self._path_select_items}", query_suffix=f" ORDER BY {order_expression}"
            )
            if (path := self._fill_path_template(row))
        ]
        found_files = self._query_files(paths)
        for path in (path for path in paths if path in found_files.rows):
            try:
                product, state = self._open_product(found_files, path)
                with product:
                    moments = self._open_samples(product, path, state).instants
            except HvenError:  # told where its samples are asked for
                return table_limit
            if len(moments):
                return int(moments[sample_index])
        return table_limit

    def drop_uncountable_digits(self, layout: DataSetLayout, extent: tuple[int, int, int]) -> DataSetLayout:
        """Have times without nanoseconds where some files have times that cannot be counted so."""
        if not layout.has_nanoseconds or (
            extent[0] > -NANOSECOND_LIMIT_MICROSECONDS and extent[1] < NANOSECOND_LIMIT_MICROSECONDS
        ):
            return layout
        note = "times have digits below a microsecond, which are left out: some are before 1678 or behind 2261"
        return replace(layout, has_nanoseconds=False, notes=(*layout.notes, note))

    # --- what files have ---------------------------------------------------------------------------------------------

    def describe_layout(self, layout_cache: Any) -> DataSetLayout | None:
        """Find what the data set has, by a file of each layout; None: the reader may take none.

        Parameters
        ----------
        layout_cache
            Cache of what files have.

        Raises
        ------
        HvenError
            The program that reads its files does not.
        """
        end = f"target.{quote_name(self._end_column.name)}"
        layouts: list[str | None] = [None]
        if self._layout_column is not None:
            layout_items = f"TOP {MAX_LAYOUTS} target.layout AS a_layout"
            ordered = f" GROUP BY target.layout ORDER BY MAX({end}) DESC"
            rows = [*self._query_rows(layout_items, "target.samples > 0", query_suffix=ordered)] or [
                *self._query_rows(layout_items, query_suffix=ordered)
            ][:1]
            layouts = [row["a_layout"] for row in rows]
        file_layouts: list[FileLayout] = []
        for layout in layouts:
            conditions = () if layout is None else (f"target.layout = {write_literal(layout)}",)
            text = f" ORDER BY {end} DESC"
            paths = [
                path
                for row in self._query_rows(
                    f"TOP {MAX_TRIED_FILES} {self._path_select_items}", *conditions, query_suffix=text
                )
                if (path := self._fill_path_template(row))
            ]
            file_layout = self._read_first_layout(paths, layout_cache)
            if file_layout is not None:
                file_layouts.append(file_layout)
        if file_layouts:
            return _merge_layouts(file_layouts, self.series)
        return None

    def _read_first_layout(self, paths: Sequence[str], layout_cache: Any) -> FileLayout | None:
        """Look into the first file that can be taken and read."""
        if paths:
            found_files = self._query_files(paths)
        else:
            found_files = None
        for path in paths:
            if found_files is None or path not in found_files.rows:
                continue
            row = found_files.rows[path]
            key = ("layout", self.table.schema, path, row["tag"], repr(self.series))
            layout: FileLayout | None = layout_cache.find(key)
            if layout is None:
                try:
                    with self._open_product(found_files, path)[0] as product:
                        samples = FileSamples(product, self.series, path.rpartition("/")[2])
                        layout = FileLayout(
                            samples.time_variable,
                            samples.columns,
                            samples.bins,
                            samples.text_lengths,
                            samples.has_nanoseconds,
                        )
                except (HvenError, OSError) as error:
                    if self.series.reader is not None and isinstance(error.__cause__ or error, SourceError):
                        raise  # of a program: it may read again, and others may take as long
                    continue
                layout_cache.store(key, layout)
            return layout
        return None

    def _open_product(self, found_files: collection_files.FoundFiles, path: str) -> tuple[Product, Hashable]:
        """Open a file; and return what tells its state from others."""
        row = found_files.get_row(path)
        place = collection_files.open_file_place(self.context, self.principal, self.table.schema, row)
        collection_files.check_companion_files(self.context, self.principal, self.table.schema, path, place)
        found_files.record_access("file taken", path)
        try:
            name = path.rpartition("/")[2]
            state = (
                row["tag"],
                *([(facts := place.stat()).st_mtime_ns, facts.st_size] if isinstance(place, Path) else []),
            )
            if self.series.reader is not None:
                return open_with_reader(self.context.site.settings, place, name, self.series.reader), state
            return open_product(place, name, includes_text_tables=True), state
        except SourceError as error:
            raise _build_read_error(path, error) from error

    # --- samples -----------------------------------------------------------------------------------------------------

    def read_batches(
        self, layout: DataSetLayout, names: Sequence[str], start: int, stop: int, *, with_nanoseconds: bool = False
    ) -> Iterator[pa.RecordBatch]:
        """Read samples in the order of time.

        Parameters
        ----------
        layout
            What the data set has.
        names
            Of its parameters.
        start, stop
            Microseconds since 1970: from the first one on, before the second.
        with_nanoseconds
            Times as timestamps of nanoseconds.

        Yields
        ------
        batches
            Times as microseconds, or as asked for, then the parameters.

        Raises
        ------
        HvenError
            A file that is needed cannot be had or read, or has something else than what was told.
        """
        columns_by_name = {item.name: item for item in layout.columns}
        requested_columns = [(name, columns_by_name[name]) for name in names]
        granules = self.list_granules(start, stop)
        pieces = assign_segments(granules, start, stop, self._span_tolerance)
        if (
            with_nanoseconds
        ):  # where a file ends within the microsecond in which the next begins, that has samples of both
            pieces = [(item, begin, end + (end == item.stop < stop)) for item, begin, end in pieces]
            yield from _drop_overlaps(self._read_pieces(pieces, layout, requested_columns, with_nanoseconds))
        else:
            yield from self._read_pieces(pieces, layout, requested_columns, with_nanoseconds)

    def _read_pieces(
        self,
        pieces: Sequence[tuple[Granule, int, int]],
        layout: DataSetLayout,
        columns: Sequence[tuple[str, Column]],
        with_nanoseconds: bool,
    ) -> Iterator[pa.RecordBatch]:
        for offset in range(0, len(pieces), FILES_PER_REQUEST):
            chunk = pieces[offset : offset + FILES_PER_REQUEST]
            found_files = self._query_files(list({granule.path for granule, _, _ in chunk}))
            last: str | None = None
            product: Product | None = None
            try:
                for granule, begin, end in chunk:
                    if granule.path != last:
                        if product is not None:
                            product.close()
                        (product, state), last = self._open_product(found_files, granule.path), granule.path
                        samples = self._open_samples(product, granule.path, state)
                    yield from self._read_piece(samples, layout, columns, granule.path, begin, end, with_nanoseconds)
            finally:
                if product is not None:
                    product.close()

    def _open_samples(self, product: Product, path: str, file_state: Hashable) -> FileSamples:
        try:
            samples = FileSamples(product, self.series, path.rpartition("/")[2])
            if self.series.reader is None:  # a program may give others at any time, and what is wrong with them is told
                self.context.site.get_or_create(SampleTimesCache).fill_times(
                    (self.table.schema, path, file_state, repr(self.series)), samples
                )
        except SourceError as error:
            raise _build_read_error(path, error) from error
        return samples

    def _read_piece(
        self,
        samples: FileSamples,
        layout: DataSetLayout,
        columns: Sequence[tuple[str, Column]],
        path: str,
        begin: int,
        end: int,
        with_nanoseconds: bool,
    ) -> Iterator[pa.RecordBatch]:
        file_columns = {file_column.name: file_column for file_column in samples.columns}
        own_names = [name for name, _ in columns if name in file_columns]
        for name, _ in columns:
            if name in file_columns:
                _check_bins(name, samples.bins.get(name, ()), layout, path)
        try:
            for batch in samples.read_batches(own_names, begin, end, in_nanoseconds=with_nanoseconds):
                arrays = [batch.column(0)]
                for name, column in columns:
                    if name in file_columns:
                        arrays.append(
                            _fit_values(
                                batch.column(batch.schema.get_field_index(name)), file_columns[name], column, path
                            )
                        )
                    elif name in layout.channel_tables:
                        arrays.append(
                            _repeat_channels(samples.bins.get(layout.channel_tables[name], ()), column, batch.num_rows)
                        )
                    else:
                        arrays.append(pa.nulls(batch.num_rows, column.arrow_field.type))
                yield pa.record_batch(arrays, names=["hven_time", *(name for name, _ in columns)])
        except SourceError as error:
            raise _build_read_error(path, error) from error


def _drop_overlaps(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Leave out samples at the end of a batch whose times the next one has."""
    last: pa.RecordBatch | None = None
    for batch in batches:
        if not batch.num_rows:
            continue
        if last is not None:
            first = batch.column(0)[0].value
            yield last.slice(0, int(np.searchsorted(np.asarray(last.column(0)).astype(np.int64), first)))
        last = batch
    if last is not None:
        yield last


def write_own_files(table: Table, series: TimeSeries) -> str | None:
    """Write the condition that a row's file has something of a data set; None.

    No other data set has files of this table.

    Parameters
    ----------
    table
        Whose rows are files.
    series
        One of its data sets.
    """
    files = [item.id for item in table.series if item.file]
    if len(files) < 2 or series.id not in files or not any(item.name == "layout" for item in table.columns):
        return None
    before = "_" * (
        files.index(series.id) * (len(FileSamples.NO_LAYOUT) + 1)
    )  # the layout has a word for each data set
    return f"(target.layout IS NULL OR target.layout NOT LIKE {write_literal(f'{before}{FileSamples.NO_LAYOUT}%')})"


def assign_segments(
    granules: Sequence[Granule], start: int, stop: int, tolerance: int = 0
) -> list[tuple[Granule, int, int]]:
    """Find which file has which times: where several do, that of the highest version.

    Where one ends with the very time with which another begins, the later one has it.

    Parameters
    ----------
    granules
        Files.
    start, stop
        Microseconds since 1970: from the first one on, before the second.
    tolerance
        How far samples may lie beside what is said of a file, where no other one is.

    Returns
    -------
    segments
        Files with their times, in the order of time: from the first one on, before the second.
    """
    ordered = sorted(
        granules, key=lambda granule: (_build_natural_sort_key(granule.version), _build_natural_sort_key(granule.path))
    )
    begins = {granule.start for granule in granules}
    items = []
    for rank, granule in enumerate(ordered):
        if granule.stop in begins and granule.start < granule.stop:
            end = granule.stop
        else:
            end = granule.stop + 1
        items.append((granule.start, end, -rank, granule))
        if tolerance:
            low = len(granules) - rank
            items += [(granule.start - tolerance, granule.start, low, granule), (end, end + tolerance, low, granule)]
    items.sort(key=lambda item: item[0])
    points = sorted({point for begin, end, _, _ in items for point in (begin, end)})
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
        if assigned and assigned[-1][0] is granule and assigned[-1][2] == low:
            assigned[-1] = (granule, assigned[-1][1], min(high, stop))
        else:
            assigned.append((granule, max(low, start), min(high, stop)))
    return assigned


def _build_natural_sort_key(text: str) -> list[tuple[int, str]]:
    """Order versions and names by the numbers in them: v10 comes behind v9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in _NUMBER_PATTERN.split(text) if part]


def _build_read_error(path: str, error: HvenError) -> StorageUnavailableError:
    return StorageUnavailableError(
        format_message("the file {path} cannot be read: {reason}", path, error.message), remedy=error.remedy
    )


def _merge_layouts(layouts: Sequence[FileLayout], series: TimeSeries) -> DataSetLayout:
    """Put together what files have, the newest first.

    Channels that are not the same in all become a parameter of each sample.
    """
    columns: dict[str, Column] = {}
    bins: dict[str, tuple[ParameterBins, ...]] = {}
    lengths: dict[str, int] = {}
    tables: dict[str, str] = {}
    notes: list[str] = []
    for layout in layouts:
        for column in layout.columns:
            merged_column = columns.get(column.name)
            if merged_column is None:
                columns[column.name] = column
            else:
                columns[column.name] = _widen_column(merged_column, column)
            lengths[column.name] = max(lengths.get(column.name, 1), layout.lengths.get(column.name, 1))
    order = {name.casefold(): file_number for file_number, name in enumerate(series.parameters)}
    merged_columns = sorted(columns.values(), key=lambda column: order.get(column.name.casefold(), 0))
    columns_by_file = [{column.name: column for column in layout.columns} for layout in layouts]
    for column in tuple(merged_columns):
        having = [file_number for file_number, columns_of in enumerate(columns_by_file) if column.name in columns_of]
        each = [layouts[file_number].bins.get(column.name, ()) for file_number in having]
        if any(
            columns_by_file[file_number] and column.name not in columns_by_file[file_number]
            for file_number in range(len(layouts))
        ):
            notes.append(f"{column.name} is not in all files; where it is not, it is filled")
        unit_texts = {columns_by_file[file_number][column.name].unit or "" for file_number in having}
        if len(unit_texts) > 1:
            notes.append(
                f"the unit of {column.name} is "
                + (
                    "not said in all files"
                    if "" in unit_texts
                    else f"another one in some files; all values are in {column.unit}"
                )
            )
        if not each[0]:
            continue
        bins[column.name] = each[0]
        if all(other_bins == each[0] for other_bins in each):
            continue
        if len(each[0]) == 1 and all(len(other_bins) == 1 for other_bins in each):
            first = each[0][0]
            if first.name not in columns:
                name = first.name
            else:
                name = f"{column.name}_{first.name}"
            columns[name] = column
            tables[name] = column.name
            size = int(np.prod([part or 1 for part in column.type.shape]))
            merged_columns.append(
                Column(
                    name=name,
                    type=Type("double", str(size)),
                    unit=first.unit,
                    description=f"Of the elements of {column.name}, which change",
                )
            )
            bins[column.name] = (replace(first, centers=name, ranges=()),)
            notes.append(f"the channels of {column.name} change with time: they are the parameter {name}")
        else:
            del bins[column.name]
            notes.append(f"what the elements of {column.name} stand for changes, and is not told")
    column_names = {column.name.casefold() for column in merged_columns}
    notes += [f"{name} is in no file" for name in series.parameters if name.casefold() not in column_names][:100]
    fine = any(layout.has_nanoseconds for layout in layouts)  # files with such digits have a layout of their own
    return DataSetLayout(layouts[0].time_name, tuple(merged_columns), bins, lengths, tables, tuple(notes), fine)


def _widen_column(first_column: Column, second_column: Column) -> Column:
    """Find a column that has the values of two; units are those of the first."""
    first = first_column.type
    second = second_column.type
    if first.is_string or second.is_string:
        return first_column
    if not first_column.unit and second_column.unit:
        first_column = first_column.copy_with(unit=second_column.unit)
    alike = first.datatype == second.datatype and (first_column.unit or "") == (second_column.unit or "")
    kind = first.datatype if alike else "double"
    shapes = [tuple(part or 1 for part in each.shape) for each in (first, second)]
    if len(shapes[0]) == len(shapes[1]) == 1:
        shape = tuple(max(pair) for pair in zip(*shapes, strict=True))
    else:
        shape = shapes[0]
    return first_column.copy_with(type=Type(kind, "x".join(map(str, shape)) or None, first.xtype))


def _check_bins(name: str, file_bins: tuple[ParameterBins, ...], layout: DataSetLayout, path: str) -> None:
    """Refuse channels that are not those that were told."""
    if name in layout.channel_tables.values() or name not in layout.bins:
        return
    if [(bin_axis.centers, bin_axis.ranges) for bin_axis in file_bins] != [
        (bin_axis.centers, bin_axis.ranges) for bin_axis in layout.bins[name]
    ]:
        raise StorageUnavailableError(
            format_message("the channels of {name} in {path} are not those of the data set", name, path),
            remedy=format_message("ingest the collection again"),
        )


def _fit_values(array: pa.Array, file_column: Column, target_column: Column, path: str) -> pa.Array:
    """Make values of a file those of the data set; elements that the file does not have are none."""
    kind = target_column.arrow_field.type
    file_unit = units.normalize_unit(file_column.unit)
    target_unit = units.normalize_unit(target_column.unit)
    if file_unit and target_unit and not units.is_same_unit(file_unit, target_unit):
        if not units.is_convertible(file_unit, target_unit) or not target_column.type.datatype == "double":
            raise StorageUnavailableError(
                format_message(
                    "{name} of {path} is in {own}, and in {unit} in the data set",
                    target_column.name,
                    path,
                    file_unit,
                    target_unit,
                ),
                remedy=format_message(
                    "variables: {{{name}: {{unit: ..}}}} if that is wrong; else a series of its own", target_column.name
                ),
            )
        if pa.types.is_fixed_size_list(array.type):
            inner = array.flatten()
        else:
            inner = array
        scaled = pc.multiply(inner.cast(pa.float64()), units.compute_factor(file_unit, target_unit))
        nested = pa.types.is_fixed_size_list(array.type)
        if nested:
            array = pa.FixedSizeListArray.from_arrays(scaled, array.type.list_size)
        else:
            array = scaled
    if array.type == kind:
        return array
    try:
        if pa.types.is_fixed_size_list(kind) and pa.types.is_fixed_size_list(array.type):
            size = kind.list_size
            target_unit = array.type.list_size
            flat = array.flatten().cast(kind.value_type)
            if size != target_unit and len(target_column.type.shape) == 1 and target_unit < size:
                rows = np.arange(len(array) * target_unit).reshape(-1, target_unit)
                places = np.pad(rows, ((0, 0), (0, size - target_unit)), constant_values=-1).ravel()
                flat = flat.take(pa.array(places, mask=places < 0))
            elif size != target_unit:
                raise pa.ArrowInvalid(f"{target_unit} elements")  # noqa: TRY301
            return pa.FixedSizeListArray.from_arrays(flat, size)
        return array.cast(kind)
    except pa.ArrowInvalid as error:
        message = format_message(
            "{name} of {path} is no {kind} as in the data set: {reason}",
            target_column.name,
            path,
            str(target_column.type),
            str(error)[:100],
        )
        raise StorageUnavailableError(message) from None


def _repeat_channels(bins: tuple[ParameterBins, ...], column: Column, row_count: int) -> pa.Array:
    """Write channels of a file under each of its samples."""
    size = column.arrow_field.type.list_size
    if bins and isinstance(bins[0].centers, tuple):
        centers = bins[0].centers
    else:
        centers = ()
    row_centers = np.full(size, np.nan)
    row_centers[: len(centers)] = centers[:size]
    return pa.FixedSizeListArray.from_arrays(pa.array(np.tile(row_centers, row_count)), size).cast(
        column.arrow_field.type
    )


def _write_time_literal(column: Column, instant: int) -> str:
    """Write a time as the column has it."""
    if column.epoch is None:
        return f"CAST({write_literal(format_instant(instant)[:-1])} AS TIMESTAMP)"
    return repr(instant / DAY_MICROSECONDS + UNIX_EPOCH_JD - column.epoch)


def _to_microseconds(column: Column, value: Any) -> int:
    """Read a time of a row."""
    if column.epoch is None:
        return int(np.datetime64(value, "us").astype(np.int64))
    return round((float(value) + column.epoch - UNIX_EPOCH_JD) * (DAY_MICROSECONDS // 1000)) * 1000


__all__ = ["DataSetFiles", "DataSetLayout", "Granule", "assign_segments"]
