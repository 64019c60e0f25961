"""Reductions that are kept on disk.

A year at the resolution of a screen is read from kilobytes, not from all its samples.

Kept is what everybody may see, and that alone: the rows of a table without policy, read as a reader who has not logged
in. Whoever is shown other rows than everybody has theirs reduced when they ask. One process of a site makes them, one
at a time, when it learns of a new state or is asked; until then, and where there is no room, answers are made of the
samples, and are the same. A level is a file of records as they are in memory, of which a window is read without the
rest.

Common
------
context
    The site.
principal
    The reader.
data_set
    The data set.
names
    Of its parameters that are numbers.
published_state
    The state that is read.
key
    Of its samples.
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
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from hven.engines import Snapshot
from hven.ingest.sync import change_sets
from hven.model.errors import NotFoundError
from hven.services import _reductions as reductions
from hven.services._granules import ENTIRE_TIME_SPAN, DataSetFiles
from hven.services._reductions import MIN_SAMPLES_PER_BIN, WIDTHS
from hven.services.series import _to_microseconds, find_time_extent, read_samples
from hven.site.auth import ANONYMOUS_PRINCIPAL, has_public_access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt
    import pyarrow as pa

    from hven.services._reductions import BinRecords
    from hven.services.face import ServiceContext
    from hven.services.series import DataSet, TimeExtent
    from hven.site import PublishedState, Site
    from hven.site.auth import Principal

    Whole = npt.NDArray[np.int64]

log = logging.getLogger("hven.reductions")

PYRAMID_VERSION = 2  # changes with how they are made
MAX_DIRECT_VALUES = 2_000_000  # values of a data set that are reduced at once
MIN_LEVEL_BINS = 500  # bins of the whole time that the widest level has at least
FREE_SPACE_FACTOR = 4  # times what it takes must be free on the disk
PIECE_BYTES = 2**24  # bytes of bins that are read as one
LEVELS_FILE = "levels.json"
Spans: TypeAlias = "Sequence[tuple[int, int]]"
ENTIRE_SPAN: Spans = ((-(2**62), 2**62),)


def estimate_cadence(data_set: DataSet, extent: TimeExtent) -> float:
    """Return the microseconds between two samples of a data set: as it is said, else on average.

    Parameters
    ----------
    extent
        From when to when it has samples.
    """
    if data_set.series.cadence:
        return data_set.series.cadence * 1e6
    return ((extent.stop or 0) - (extent.start or 0)) / max(extent.row_count, 1)


def iterate_bins(bins: BinRecords, bin_microseconds: int, start: int, stop: int) -> Iterator[BinRecords]:
    """Take the bins that a span touches, some megabytes at a time.

    Parameters
    ----------
    bins
        In the order of time.
    """
    low, high = (
        bisect_left(bins["number"], bin_number)
        for bin_number in (start // bin_microseconds, -(-stop // bin_microseconds))
    )
    step = max(PIECE_BYTES // bins.dtype.itemsize, 1)
    for at in range(low, high, step):
        yield bins[at : min(at + step, high)]


def build_pyramid(
    directory: Path,
    read_samples: Callable[[int, int], Iterable[pa.RecordBatch]],
    names: Sequence[str],
    widths: Sequence[int],
    earlier_levels: Mapping[int, BinRecords] | None = None,
    changed_spans: Spans = ENTIRE_SPAN,
) -> None:
    """Make the levels of samples, each from the one before.

    Parameters
    ----------
    directory
        A directory for them.
    read_samples
        Yields samples of a span in the order of time, as `read_samples` does.
    widths
        Of bins, each dividing the next.
    earlier_levels
        Levels that were made of an earlier state; bins outside of `changed_spans` are theirs.
    changed_spans
        Spans whose samples are other ones now, in order and apart; multiples of all widths.
    """
    levels: dict[int, BinRecords] = {}
    kind: Any = None

    def iterate_level_parts(earlier_bins: BinRecords | None, finer: int, width: int) -> Iterator[BinRecords]:
        at = 0
        for low, high in ENTIRE_SPAN if earlier_bins is None else changed_spans:
            if earlier_bins is not None:
                first, last = (bisect_left(earlier_bins["number"], edge // width) for edge in (low, high))
                yield earlier_bins[at:first]
                at = last
            if finer:
                computed_bins = reductions.reduce_bins(iterate_bins(levels[finer], finer, low, high), width // finer)
            else:
                samples = read_samples(low, high)
                computed_bins = reductions.reduce_samples(samples, width, names)
            yield from map(reductions.convert_means, computed_bins)
        yield from () if earlier_bins is None else (earlier_bins[at:],)

    for finer, width in zip([0, *widths], widths, strict=False):
        path = directory / f"{width}.bins"
        with path.open("wb") as file:
            for part in iterate_level_parts((earlier_levels or {}).get(width), finer, width):
                kind = part.dtype
                part.tofile(file)
        if not path.stat().st_size:
            return
        levels[width] = np.memmap(path, kind, "r")
    (directory / LEVELS_FILE).write_text(json.dumps({"fields": kind.descr, "widths": list(levels)}))


def load_levels(directory: Path) -> dict[int, BinRecords]:
    """List the levels of a directory by their widths, the narrowest first; none: it has none."""
    try:
        level_record = json.loads((directory / LEVELS_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    fields = [(name, kind, *map(tuple, shape)) for name, kind, *shape in level_record["fields"]]
    return {width: np.memmap(directory / f"{width}.bins", fields, "r") for width in level_record["widths"]}


class PyramidStore:
    """Those of a site, in this process. Thread-safe.

    Parameters
    ----------
    directory
        Where they are kept; made when the first one is.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open_levels: dict[str, dict[int, BinRecords]] = {}
        self._requested_keys: set[str] = set()
        self._build_queue: queue.Queue[tuple[str, ServiceContext, DataSet, PublishedState]] = queue.Queue()
        self.wait_until_idle = self._build_queue.join  # waits until nothing is being made
        threading.Thread(target=self._run_builds, name="reductions", daemon=True).start()

    def find_levels(self, key: str) -> Mapping[int, BinRecords]:
        """List what is kept of a data set by the widths of its bins, the narrowest first."""
        open_levels = self._open_levels.get(key) or load_levels(self._directory / key)
        if open_levels:
            self._open_levels[key] = open_levels
        return open_levels

    def request_build(
        self, key: str, context: ServiceContext, data_set: DataSet, published_state: PublishedState
    ) -> None:
        """Have the reductions of a data set made soon."""
        if key not in self._requested_keys:
            self._requested_keys.add(key)
            self._build_queue.put((key, context, data_set, published_state))

    def _run_builds(self) -> None:
        with suppress(OSError, AttributeError):  # queries go first
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        while True:
            key, context, data_set, published_state = self._build_queue.get()
            try:
                if self._build_missing(key, context, data_set, published_state):
                    self._requested_keys.discard(key)
            except Exception:
                log.exception(
                    "the reductions of %s cannot be made; its samples are reduced when asked for", data_set.id
                )
            del context, data_set, published_state
            self._build_queue.task_done()

    def _build_missing(
        self, key: str, context: ServiceContext, data_set: DataSet, published_state: PublishedState
    ) -> bool:
        """Make them, unless another process does so now."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True  # asked again, it is found, or made here
            if (self._directory / key / LEVELS_FILE).exists():
                return True
            snapshot, _, same = key.partition("-x-")
            self._remove_stale(published_state, same)
            extent = find_time_extent(context, ANONYMOUS_PRINCIPAL, data_set, published_state)
            names = list_numeric_parameters(data_set)
            if extent.start is None or extent.stop is None or not names:
                return False
            widths = _choose_widths(data_set, extent)
            if not widths:
                return False
            # where samples come as told, a bin has many: of campaigns in twenty years few bins have some
            likely = int(2 * extent.row_count * estimate_cadence(data_set, extent) / widths[0]) + 1
            cells = (
                min(extent.row_count, (extent.stop - extent.start) // widths[0] + 1, likely)
                * _count_values(data_set)
                // max(extent.row_count, 1)
            )
            if shutil.disk_usage(self._directory).free < cells * 12 * FREE_SPACE_FACTOR:
                log.warning(
                    "no room for the reductions of %s: its samples are reduced when they are asked for", data_set.id
                )
                return False
            before: Mapping[int, BinRecords] = {}
            dirty: Spans | None = None
            for earlier_directory in self._directory.glob(f"[!.]*-x-{same}"):
                before = load_levels(earlier_directory)
                dirty = _find_changed_spans(
                    context, data_set, earlier_directory.name.partition("-x-")[0], snapshot, max([*widths, *before])
                )
                if before and dirty is not None:
                    break
            part = self._directory / f".{secrets.token_hex(8)}"
            part.mkdir()
            try:
                read = partial(
                    read_samples, context, ANONYMOUS_PRINCIPAL, data_set, names, published_state=published_state
                )
                build_pyramid(part, read, names, widths, *((before, dirty) if before and dirty is not None else ()))
                part.replace(self._directory / key)
            finally:
                shutil.rmtree(part, ignore_errors=True)
            self._remove_stale(published_state)
        return True

    def _remove_stale(self, published_state: PublishedState, kept_series: str = "-") -> None:
        """Remove what broke off, and what is of no state that is served, but that of which a new one may be made."""
        relations = [table.relation for table in published_state.tables_by_name.values()]
        served = {relation.id for relation in relations if isinstance(relation, Snapshot)}
        for place in self._directory.iterdir():
            snapshot, _, series = place.name.partition("-x-")
            if place.name != ".lock" and series != kept_series and not {*snapshot.split("+")} <= served:
                self._open_levels.pop(place.name, None)
                shutil.rmtree(place, ignore_errors=True)


def _find_changed_spans(
    context: ServiceContext, data_set: DataSet, old_snapshot: str, new_snapshot: str, bin_microseconds: int
) -> Spans | None:
    """Find the spans in which a later state has other rows, by what the syncs between them have kept; None.

    It is not known, for keys have no times.
    """
    moments = []
    try:
        if data_set.series.file:  # its rows are files
            return _find_added_spans(context, data_set, old_snapshot, new_snapshot, bin_microseconds)
        change_chain = change_sets.find_change_chain(
            context.site, data_set.published.table.qualified_name, old_snapshot, new_snapshot
        )
        for step in change_chain or ():
            rows = step.load_rows()
            if data_set.time.name not in rows.column_names:
                return None
            moments.append(
                _to_microseconds(rows[data_set.time.name].combine_chunks().drop_null(), data_set.time.column).to_numpy()
            )
    except NotFoundError:
        return None
    if not change_chain:
        return None
    cells = np.concatenate(moments)
    return _widen_spans(cells, cells, bin_microseconds)


def _find_added_spans(
    context: ServiceContext, data_set: DataSet, old_snapshot: str, new_snapshot: str, bin_microseconds: int
) -> Spans | None:
    """Find the spans of files that came between two states; None.

    Others went or became other ones, and nobody knows which times they had.
    """
    paths: set[str] = set()
    tables = (data_set.published.table.qualified_name, f"{data_set.table.schema}.files")
    for table, since, until in zip(tables, old_snapshot.split("+"), new_snapshot.split("+"), strict=True):
        change_chain = change_sets.find_change_chain(context.site, table, since, until)
        if change_chain is None:
            return None
        for rows in (step.load_rows() for step in change_chain):
            if "path" not in rows.column_names or set(rows[change_sets.CHANGE_COLUMN].unique().to_pylist()) - {
                change_sets.ADDED_CHANGE
            }:
                return None
            paths.update(rows["path"].to_pylist())
    published_state = context.site.get_published_state()
    files = DataSetFiles(context, ANONYMOUS_PRINCIPAL, data_set.series, data_set.table, published_state).list_granules(
        *ENTIRE_TIME_SPAN
    )
    file_spans = np.array([(each.start, each.stop) for each in files if each.path in paths], np.int64).reshape(-1, 2)
    return _widen_spans(file_spans[:, 0], file_spans[:, 1], bin_microseconds)


def _widen_spans(begins: Whole, ends: Whole, bin_microseconds: int) -> Spans:
    """Widen spans to whole bins, and join those that touch."""
    order = np.argsort(begins)
    low = begins[order] // bin_microseconds
    high = np.maximum.accumulate(ends[order] // bin_microseconds + 1)
    apart = low[1:] > high[:-1]
    low = low[np.r_[True, apart][: len(low)]]
    high = high[np.r_[apart, True][: len(high)]]
    return [
        (int(first) * bin_microseconds, int(last) * bin_microseconds) for first, last in zip(low, high, strict=True)
    ]


def list_numeric_parameters(data_set: DataSet) -> list[str]:
    """List the parameters that can be reduced: numbers."""
    return [each.name for each in data_set.parameters if each.value_kind in {"double", "integer"}]


def _count_values(data_set: DataSet) -> int:
    """Count the numbers of all its samples."""
    named = set(list_numeric_parameters(data_set))
    each = sum(int(np.prod(each.dimensions or (1,))) for each in data_set.parameters if each.name in named)
    return each * data_set.sample_count


def _make_pyramid_key(context: ServiceContext, principal: Principal, data_set: DataSet) -> str | None:
    """Name what may be kept of a data set for a reader; None.

    Nothing, for it is little, or they may be shown other rows than everybody.
    """
    table = data_set.published.table
    relation = data_set.published.relation
    if (
        table.policy is not None
        or table.view is not None
        or not isinstance(relation, Snapshot)
        or data_set.file_state is None
    ):
        return None
    if (
        not all(has_public_access(table, each, context.policies) for each in (principal, ANONYMOUS_PRINCIPAL))
        or _count_values(data_set) <= MAX_DIRECT_VALUES
    ):
        return None
    parameters = [(each.name, each.value_kind, each.dimensions, str(each.column.type)) for each in data_set.parameters]
    key_text = repr((PYRAMID_VERSION, data_set.id, data_set.series.time, data_set.series.condition, parameters))
    return f"{relation.id}{f'+{data_set.file_state}' if data_set.file_state else ''}-x-{hashlib.sha256(key_text.encode()).hexdigest()[:24]}"


def _choose_widths(data_set: DataSet, extent: TimeExtent) -> list[int]:
    """Choose which bins are kept."""
    widths = [width for width in WIDTHS if width >= MIN_SAMPLES_PER_BIN * estimate_cadence(data_set, extent)]
    long = (extent.stop or 0) - (extent.start or 0)
    return widths[:1] + [width for width in widths[1:] if long // width >= MIN_LEVEL_BINS]


def list_widths(context: ServiceContext, principal: Principal, data_set: DataSet, extent: TimeExtent) -> list[int]:
    """List the widths of bins that are kept for a reader, or will be when they are asked for; none.

    Of little nothing is kept.

    Parameters
    ----------
    extent
        From when to when it has samples.
    """
    if _make_pyramid_key(context, principal, data_set) is not None:
        return _choose_widths(data_set, extent)
    return []


def is_quick(
    context: ServiceContext,
    principal: Principal,
    data_set: DataSet,
    extent: TimeExtent,
    published_state: PublishedState,
) -> bool:
    """Return whether all samples of a data set can be reduced at once: they are few, or what is kept stands for them.

    What is lacking is made.

    Parameters
    ----------
    extent
        From when to when it has samples.
    """
    return extent.row_count <= MAX_DIRECT_VALUES or bool(
        _find_or_request_levels(context, principal, data_set, published_state)
    )


def read_bins(
    context: ServiceContext,
    principal: Principal,
    data_set: DataSet,
    names: Sequence[str],
    start: int,
    stop: int,
    bin_microseconds: int,
    published_state: PublishedState,
) -> Iterator[BinRecords]:
    """Read samples in bins, from what is kept where it may be.

    Parameters
    ----------
    start, stop
        Microseconds since 1970: the bins that this span touches are read as a whole.
    bin_microseconds
        Of bins, as `hven.services._reductions.choose_bin_width` chooses it.

    Yields
    ------
    bins
        In the order of time.
    """
    low = start // bin_microseconds * bin_microseconds
    high = -(-stop // bin_microseconds) * bin_microseconds
    levels = _find_or_request_levels(context, principal, data_set, published_state)
    fit = max((each for each in levels if not bin_microseconds % each), default=0)
    if fit:
        parts = reductions.reduce_bins(iterate_bins(levels[fit], fit, low, high), bin_microseconds // fit, names)
    else:
        # of a server elsewhere two samples for a bin are enough, where it has such
        if data_set.remote is not None and bin_microseconds >= MIN_SAMPLES_PER_BIN * estimate_cadence(
            data_set, find_time_extent(context, principal, data_set, published_state)
        ):
            apart = bin_microseconds // 2
        else:
            apart = 0
        samples = read_samples(context, principal, data_set, names, low, high, published_state, apart)
        parts = reductions.reduce_samples(
            samples,
            bin_microseconds,
            names,
        )
    yield from map(reductions.convert_means, parts)


def _find_or_request_levels(
    context: ServiceContext, principal: Principal, data_set: DataSet, published_state: PublishedState
) -> Mapping[int, BinRecords]:
    """Find what is kept; have it made where it is lacking."""
    key = _make_pyramid_key(context, principal, data_set)
    if key is None:
        return {}
    pyramid_store = get_pyramid_store(context.site)
    levels = pyramid_store.find_levels(key)
    if not levels:
        pyramid_store.request_build(key, context, data_set, published_state)
    return levels


def get_pyramid_store(site: Site) -> PyramidStore:
    """Find those of a site."""
    pyramid_store: PyramidStore = site.get_or_create(PyramidStore, site.settings.var_directory / "reductions")
    return pyramid_store


def request_all_builds(context: ServiceContext, data_sets: Iterable[DataSet], published_state: PublishedState) -> None:
    """Have the reductions of all data sets made that lack them.

    `data_sets` as somebody knows them who has not logged in.
    """
    for data_set in data_sets:
        _find_or_request_levels(context, ANONYMOUS_PRINCIPAL, data_set, published_state)


__all__ = [
    "PyramidStore",
    "estimate_cadence",
    "get_pyramid_store",
    "is_quick",
    "list_numeric_parameters",
    "list_widths",
    "read_bins",
    "request_all_builds",
]
