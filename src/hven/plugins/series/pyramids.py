"""Reductions of samples that are kept on disk, so that a picture of a year reads kilobytes and not all samples.

Only what everybody may see is kept: rows of tables without a policy, read as an anonymous reader. For readers who see
other rows, samples are reduced for each request. One process of a site builds the reductions, one at a time, when a new
state is published or when they are requested. Until then, and where the disk is full, answers are computed from the
samples, and are the same. A level is a file of records as they are in memory, from which a window is read by itself.

Common
------
view
    What the reader sees.
data_set
    Data set to read.
extent
    Time span of its samples.
parameter_names
    Names of numeric parameters.
key
    Key of the data set and its state.
directory
    The directory of a pyramid.
width, bin_microseconds
    Microseconds of a bin.
start, stop
    Microseconds since 1970.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import queue
import secrets
import shutil
import threading
from bisect import bisect_left
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from hven.engines import Snapshot
from hven.ingest.sync import change_sets
from hven.model.errors import NotFoundError
from hven.plugins.series import reductions
from hven.plugins.series.column_times import to_instants
from hven.plugins.series.reader_view import ReaderView
from hven.plugins.series.reductions import MIN_SAMPLES_PER_BIN, WIDTHS
from hven.plugins.series.sample_files import ENTIRE_TIME_SPAN, DataSetFiles
from hven.plugins.series.sample_sets import find_time_extent, list_data_sets, read_samples
from hven.services.face import ServiceContext
from hven.site.auth import ANONYMOUS_PRINCIPAL, has_same_access_as_public

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt
    import pyarrow as pa

    from hven.plugins.series.reductions import BinRecords
    from hven.plugins.series.sample_sets import SampleDataSet, TimeExtent
    from hven.site import Site

    Whole = npt.NDArray[np.int64]

log = logging.getLogger("hven.reductions")

PYRAMID_VERSION = 2  # must be increased when the files change
MAX_DIRECT_VALUES = 2_000_000  # values of a data set that are reduced for each request
MIN_LEVEL_BINS = 500  # bins that the widest level has in the whole time, at least
FREE_SPACE_FACTOR = 4  # free disk space must be this many times the size of a pyramid
PIECE_BYTES = 2**24  # bytes of bins that are read at once
LEVELS_FILE = "levels.json"
Spans: TypeAlias = "Sequence[tuple[int, int]]"
ENTIRE_SPAN: Spans = ((-(2**62), 2**62),)


def iterate_bin_chunks(bins: BinRecords, bin_microseconds: int, start: int, stop: int) -> Iterator[BinRecords]:
    """Iterate over the bins of a time span, some megabytes at a time.

    Parameters
    ----------
    bins
        Bins in the order of time.
    """
    numbers = bins["number"]
    low = bisect_left(numbers, start // bin_microseconds)
    high = bisect_left(numbers, -(-stop // bin_microseconds))
    step = max(PIECE_BYTES // bins.dtype.itemsize, 1)
    for offset in range(low, high, step):
        yield bins[offset : min(offset + step, high)]


def build_pyramid(
    directory: Path,
    read_samples: Callable[[int, int], Iterable[pa.RecordBatch]],
    parameter_names: Sequence[str],
    widths: Sequence[int],
    *,
    earlier_levels: Mapping[int, BinRecords] | None = None,
    changed_spans: Spans = ENTIRE_SPAN,
) -> None:
    """Build the levels of a pyramid, each from the one before.

    Parameters
    ----------
    directory
        An existing directory.
    read_samples
        Reads the samples of a span in the order of time.
    widths
        Widths of bins, each dividing the next.
    earlier_levels
        Levels of an earlier state, whose bins outside of `changed_spans` are still valid.
    changed_spans
        Spans with changed samples, in order and disjoint; multiples of all widths.
    """
    levels: dict[int, BinRecords] = {}
    record_type: Any = None

    def compute_bins(finer: int, width: int, low: int, high: int) -> Iterator[BinRecords]:
        """Compute the bins of a span from the finer level; from the samples where there is none (0)."""
        if finer:
            finer_bins = iterate_bin_chunks(levels[finer], finer, low, high)
            return reductions.reduce_bins(finer_bins, width // finer)
        return reductions.reduce_samples(read_samples(low, high), width, parameter_names)

    def iterate_level_parts(earlier_bins: BinRecords | None, finer: int, width: int) -> Iterator[BinRecords]:
        if earlier_bins is None:
            for low, high in ENTIRE_SPAN:
                yield from map(reductions.cast_means_to_value_type, compute_bins(finer, width, low, high))
            return
        next_index = 0
        for low, high in changed_spans:
            first = bisect_left(earlier_bins["number"], low // width)
            last = bisect_left(earlier_bins["number"], high // width)
            yield earlier_bins[next_index:first]
            next_index = last
            yield from map(reductions.cast_means_to_value_type, compute_bins(finer, width, low, high))
        yield earlier_bins[next_index:]

    for finer, width in zip([0, *widths], widths, strict=False):
        path = directory / f"{width}.bins"
        earlier_bins = (earlier_levels or {}).get(width)
        with path.open("wb") as file:
            for part in iterate_level_parts(earlier_bins, finer, width):
                record_type = part.dtype
                part.tofile(file)
        if not path.stat().st_size:
            return
        levels[width] = np.memmap(path, record_type, "r")
    level_record = {"fields": record_type.descr, "widths": list(levels)}
    (directory / LEVELS_FILE).write_text(json.dumps(level_record))


def load_pyramid_levels(directory: Path) -> dict[int, BinRecords]:
    """Open the levels of a directory, bins by their width, the narrowest first; return none if there are none."""
    try:
        level_record = json.loads((directory / LEVELS_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    fields = [(name, kind, *map(tuple, shape)) for name, kind, *shape in level_record["fields"]]
    levels: dict[int, BinRecords] = {}
    for width in level_record["widths"]:
        levels[width] = np.memmap(directory / f"{width}.bins", fields, "r")
    return levels


class BinPyramidStore:
    """The pyramids of a site, in this process. Thread-safe.

    Parameters
    ----------
    directory
        Directory of the pyramids; it is created with the first one.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open_levels: dict[str, dict[int, BinRecords]] = {}
        self._requested_keys: set[str] = set()
        self._build_queue: queue.Queue[tuple[str, ReaderView, SampleDataSet]] = queue.Queue()
        self.wait_until_idle = self._build_queue.join  # waits until no pyramid is being built
        threading.Thread(target=self._run_builds, name="reductions", daemon=True).start()

    def find_levels(self, pyramid_key: str) -> Mapping[int, BinRecords]:
        """Find the levels of a data set: width of bins -> bins, the narrowest first."""
        open_levels = self._open_levels.get(pyramid_key) or load_pyramid_levels(self._directory / pyramid_key)
        if open_levels:
            self._open_levels[pyramid_key] = open_levels
        return open_levels

    def request_build(self, pyramid_key: str, view: ReaderView, data_set: SampleDataSet) -> None:
        """Request that the reductions of a data set are built soon, from what everybody sees."""
        if pyramid_key not in self._requested_keys:
            self._requested_keys.add(pyramid_key)
            self._build_queue.put((pyramid_key, view.copy_for_everybody(), data_set))

    def _run_builds(self) -> None:
        with suppress(OSError, AttributeError):  # a lower priority than queries
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        while True:
            key, view, data_set = self._build_queue.get()
            try:
                if self._build_pyramid_if_possible(key, view, data_set):
                    self._requested_keys.discard(key)
            except Exception:
                log.exception(
                    "the reductions of %s cannot be created, so Hven reduces the samples for each request", data_set.id
                )
            del view, data_set
            self._build_queue.task_done()

    def _build_pyramid_if_possible(self, pyramid_key: str, view: ReaderView, data_set: SampleDataSet) -> bool:
        """Build the reductions of a data set, unless another process is building some.

        Returns
        -------
        can_repeat
            Whether a later request may build them; False: there is nothing to build, or no space.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True  # the next request finds them, or builds them here
            if (self._directory / pyramid_key / LEVELS_FILE).exists():
                return True
            snapshot, _, series_key = pyramid_key.partition("-x-")
            self._remove_stale_pyramids(view, series_key)
            extent = find_time_extent(view, data_set)
            names = [parameter.name for parameter in data_set.numeric_parameters]
            if extent is None or not names:
                return False
            widths = _choose_bin_widths(data_set, extent)
            if not widths:
                return False
            byte_count = _estimate_bin_value_count(data_set, extent, widths[0]) * 12
            if shutil.disk_usage(self._directory).free < byte_count * FREE_SPACE_FACTOR:
                log.warning(
                    "there is no disk space for the reductions of %s, so Hven reduces the samples for each request",
                    data_set.id,
                )
                return False
            earlier_levels, changed_spans = self._find_earlier_levels(view, data_set, snapshot, series_key, widths)

            def read_span(low: int, high: int) -> Iterator[pa.RecordBatch]:
                return read_samples(view, data_set, names, start=low, stop=high)

            work_directory = self._directory / f".{secrets.token_hex(8)}"
            work_directory.mkdir()
            try:
                build_pyramid(
                    work_directory,
                    read_span,
                    names,
                    widths,
                    earlier_levels=earlier_levels,
                    changed_spans=changed_spans,
                )
                work_directory.replace(self._directory / pyramid_key)
            finally:
                shutil.rmtree(work_directory, ignore_errors=True)
            self._remove_stale_pyramids(view)
        return True

    def _find_earlier_levels(
        self, view: ReaderView, data_set: SampleDataSet, snapshot: str, series_key: str, widths: Sequence[int]
    ) -> tuple[Mapping[int, BinRecords] | None, Spans]:
        """Find levels of an earlier state that can be reused, and the spans that have changed since."""
        for earlier_directory in self._directory.glob(f"[!.]*-x-{series_key}"):
            earlier_levels = load_pyramid_levels(earlier_directory)
            earlier_snapshot = earlier_directory.name.partition("-x-")[0]
            max_width = max([*widths, *earlier_levels])
            changed_spans = _find_changed_spans(view, data_set, earlier_snapshot, snapshot, max_width)
            if earlier_levels and changed_spans is not None:
                return earlier_levels, changed_spans
        return None, ENTIRE_SPAN

    def _remove_stale_pyramids(self, view: ReaderView, kept_series: str = "-") -> None:
        """Remove incomplete pyramids, and those of states that are not served; keep those of `kept_series`."""
        relations = [table.relation for table in view.published_state.tables_by_name.values()]
        served_snapshots = {relation.id for relation in relations if isinstance(relation, Snapshot)}
        for path in self._directory.iterdir():
            snapshot, _, series_key = path.name.partition("-x-")
            if path.name == ".lock" or series_key == kept_series:
                continue
            if not {*snapshot.split("+")} <= served_snapshots:
                self._open_levels.pop(path.name, None)
                shutil.rmtree(path, ignore_errors=True)


def _estimate_bin_value_count(data_set: SampleDataSet, extent: TimeExtent, bin_microseconds: int) -> int:
    """Estimate how many values the bins of a level have."""
    # at the declared cadence a bin has many samples; of a few campaigns in twenty years, few bins have any
    bins_at_cadence = int(2 * extent.row_count * data_set.estimate_cadence(extent) / bin_microseconds) + 1
    bin_count = min(extent.row_count, extent.span // bin_microseconds + 1, bins_at_cadence)
    return bin_count * _count_numeric_values(data_set) // max(extent.row_count, 1)


def _find_changed_spans(
    view: ReaderView, data_set: SampleDataSet, old_snapshot: str, new_snapshot: str, bin_microseconds: int
) -> Spans | None:
    """Find the spans with changed rows between two states, from what the syncs between them have recorded.

    Return None if it is not known, for example because the keys of deleted rows have no times.
    """
    instants = []
    try:
        if data_set.series.file:  # rows are files
            return _find_added_file_spans(view, data_set, old_snapshot, new_snapshot, bin_microseconds)
        change_chain = change_sets.find_change_chain(
            view.context.site, data_set.published.table.qualified_name, old_snapshot, new_snapshot
        )
        for step in change_chain or ():
            rows = step.load_rows()
            if data_set.time.name not in rows.column_names:
                return None
            times = rows[data_set.time.name].combine_chunks().drop_null()
            instants.append(to_instants(times, data_set.time.column).to_numpy())
    except NotFoundError:
        return None
    if not change_chain:
        return None
    all_instants = np.concatenate(instants)
    return _widen_spans(all_instants, all_instants, bin_microseconds)


def _find_added_file_spans(
    view: ReaderView, data_set: SampleDataSet, old_snapshot: str, new_snapshot: str, bin_microseconds: int
) -> Spans | None:
    """Find the spans of the files that were added between two states.

    Return None if files were also changed or removed, because their former times are not known.
    """
    paths: set[str] = set()
    tables = (data_set.published.table.qualified_name, f"{data_set.table.schema}.files")
    for table, since, until in zip(tables, old_snapshot.split("+"), new_snapshot.split("+"), strict=True):
        change_chain = change_sets.find_change_chain(view.context.site, table, since, until)
        if change_chain is None:
            return None
        for step in change_chain:
            rows = step.load_rows()
            if "path" not in rows.column_names:
                return None
            change_kinds = set(rows[change_sets.CHANGE_COLUMN].unique().to_pylist())
            if change_kinds - {change_sets.ADDED_CHANGE}:
                return None
            paths.update(rows["path"].to_pylist())
    granules = DataSetFiles(view, data_set.series, data_set.table).list_granules(*ENTIRE_TIME_SPAN)
    added_granules = [granule for granule in granules if granule.path in paths]
    added_spans = [(granule.start, granule.stop) for granule in added_granules]
    span_array = np.array(added_spans, np.int64).reshape(-1, 2)
    return _widen_spans(span_array[:, 0], span_array[:, 1], bin_microseconds)


def _widen_spans(begins: Whole, ends: Whole, bin_microseconds: int) -> Spans:
    """Widen spans to whole bins, and join those that touch."""
    order = np.argsort(begins)
    low = begins[order] // bin_microseconds
    high = np.maximum.accumulate(ends[order] // bin_microseconds + 1)
    is_separate = low[1:] > high[:-1]
    low = low[np.r_[True, is_separate][: len(low)]] * bin_microseconds
    high = high[np.r_[is_separate, True][: len(high)]] * bin_microseconds
    return list(zip(low.tolist(), high.tolist(), strict=True))


def _count_numeric_values(data_set: SampleDataSet) -> int:
    """Count the numeric values of all samples."""
    return data_set.sample_count * sum(parameter.element_count for parameter in data_set.numeric_parameters)


def _make_pyramid_key(view: ReaderView, data_set: SampleDataSet) -> str | None:
    """Build the key of a data set's pyramid; return None if it has none.

    It is small, or this reader may see other rows than everybody.
    """
    table = data_set.published.table
    relation = data_set.published.relation
    if table.policy is not None or table.view is not None or data_set.file_state is None:
        return None
    if not isinstance(relation, Snapshot):
        return None
    for principal in (view.principal, ANONYMOUS_PRINCIPAL):
        if not has_same_access_as_public(table, principal, view.context.policies):
            return None
    if _count_numeric_values(data_set) <= MAX_DIRECT_VALUES:
        return None
    parameter_facts = []
    for parameter in data_set.parameters:
        column_type = str(parameter.column.type)
        parameter_facts.append((parameter.name, parameter.value_kind, parameter.dimensions, column_type))
    series_facts = (PYRAMID_VERSION, data_set.id, data_set.series.time, data_set.series.condition, parameter_facts)
    series_digest = hashlib.sha256(repr(series_facts).encode())
    series_key = series_digest.hexdigest()[:24]
    state = relation.id
    if data_set.file_state:
        state += f"+{data_set.file_state}"
    return f"{state}-x-{series_key}"


def _choose_bin_widths(data_set: SampleDataSet, extent: TimeExtent) -> list[int]:
    """Choose the widths of bins that are kept."""
    min_width = MIN_SAMPLES_PER_BIN * data_set.estimate_cadence(extent)
    widths = [width for width in WIDTHS if width >= min_width]
    wider_widths = [width for width in widths[1:] if extent.span // width >= MIN_LEVEL_BINS]
    return [*widths[:1], *wider_widths]


def list_bin_widths(view: ReaderView, data_set: SampleDataSet, extent: TimeExtent) -> list[int]:
    """List the widths of bins that are kept, or will be when requested; none for a small data set."""
    if _make_pyramid_key(view, data_set) is not None:
        return _choose_bin_widths(data_set, extent)
    return []


def can_reduce_quickly(view: ReaderView, data_set: SampleDataSet, extent: TimeExtent) -> bool:
    """Return whether a data set can be reduced at once: it is small, or its reductions are kept."""
    if extent.row_count <= MAX_DIRECT_VALUES:
        return True
    key = _make_pyramid_key(view, data_set)
    return key is not None and bool(get_bin_pyramid_store(view.context.site).find_levels(key))


def request_pyramid(view: ReaderView, data_set: SampleDataSet) -> None:
    """Request the reductions of a data set if they are missing."""
    _find_or_request_pyramid_levels(view, data_set)


def read_bins(
    view: ReaderView,
    data_set: SampleDataSet,
    parameter_names: Sequence[str],
    *,
    start: int,
    stop: int,
    bin_microseconds: int,
) -> Iterator[BinRecords]:
    """Read samples in bins, from kept reductions where possible.

    Parameters
    ----------
    start, stop
        Microseconds since 1970; bins that the span touches are read as a whole.
    bin_microseconds
        Microseconds of a bin, as `hven.plugins.series.reductions.choose_bin_width` chooses it.

    Yields
    ------
    bins
        Bins in the order of time.
    """
    low = start // bin_microseconds * bin_microseconds
    high = -(-stop // bin_microseconds) * bin_microseconds
    levels = _find_or_request_pyramid_levels(view, data_set)
    level_width = max((width for width in levels if not bin_microseconds % width), default=0)
    if level_width:
        level_bins = iterate_bin_chunks(levels[level_width], level_width, low, high)
        parts = reductions.reduce_bins(level_bins, bin_microseconds // level_width, parameter_names)
    else:
        sample_distance = 0
        if data_set.remote is not None:
            extent = find_time_extent(view, data_set)
            if extent is not None and bin_microseconds >= MIN_SAMPLES_PER_BIN * data_set.estimate_cadence(extent):
                # another server may send two samples a bin, if it has such a reduction
                sample_distance = bin_microseconds // 2
        samples = read_samples(view, data_set, parameter_names, start=low, stop=high, bin_microseconds=sample_distance)
        parts = reductions.reduce_samples(samples, bin_microseconds, parameter_names)
    yield from map(reductions.cast_means_to_value_type, parts)


def _find_or_request_pyramid_levels(view: ReaderView, data_set: SampleDataSet) -> Mapping[int, BinRecords]:
    """Find the levels of a data set; request them where they are missing."""
    key = _make_pyramid_key(view, data_set)
    if key is None:
        return {}
    pyramid_store = get_bin_pyramid_store(view.context.site)
    levels = pyramid_store.find_levels(key)
    if not levels:
        pyramid_store.request_build(key, view, data_set)
    return levels


def get_bin_pyramid_store(site: Site) -> BinPyramidStore:
    """Return the pyramids of a site."""
    pyramid_store: BinPyramidStore = site.get_or_create(BinPyramidStore, site.settings.var_directory / "reductions")
    return pyramid_store


def build_missing_pyramids(site: Site, collection: str) -> None:
    """Build the missing reductions of a collection's public data sets, and return when they are complete.

    The first plot after a command then needs no wait, as after a synchronisation by a server.

    Parameters
    ----------
    site
        Site that publishes the collection.
    collection
        Name of the collection.
    """
    context = ServiceContext.create_for_principal(site, ANONYMOUS_PRINCIPAL)
    view = ReaderView(context, ANONYMOUS_PRINCIPAL, site.get_published_state())
    data_sets = list_data_sets(view, "das2", collection=collection)
    if data_sets:
        request_missing_pyramids(view, data_sets.values())
        get_bin_pyramid_store(site).wait_until_idle()


def request_missing_pyramids(view: ReaderView, data_sets: Iterable[SampleDataSet]) -> None:
    """Request the missing reductions of all data sets, as everybody sees them."""
    for data_set in data_sets:
        _find_or_request_pyramid_levels(view.copy_for_everybody(), data_set)
