"""Reductions that are kept on disk: a year at the resolution of a screen is read from kilobytes, not from all its samples.

Kept is what everybody may see, and that alone: the rows of a table without policy, read as a reader who has not logged in. Whoever is shown
other rows than everybody has theirs reduced when they ask. One process of a site makes them, one at a time, when it learns of a new state or
is asked; until then, and where there is no room, answers are made of the samples, and are the same. A level is a file of records as they
are in memory, of which a window is read without the rest.

Common
------
around
    The site.
who
    The reader.
one
    The data set.
names
    Of its parameters that are numbers.
holdings
    The state that is read.
key
    Of its samples.
place
    The directory of a pyramid.
width
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
from hven.ingest.sync import changes
from hven.model.errors import NotFound
from hven.services import _reductions as reductions
from hven.services._granules import ALWAYS, Files
from hven.services._reductions import LEAST, WIDTHS
from hven.services.series import _times, samples, span
from hven.site.auth import ANONYMOUS, alike

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt
    import pyarrow as pa

    from hven.services._reductions import Bins
    from hven.services.face import Surroundings
    from hven.services.series import DataSet, Span
    from hven.site import Holdings, Site
    from hven.site.auth import Reader

    Whole = npt.NDArray[np.int64]

log = logging.getLogger("hven.reductions")

MADE = 2  # changes with how they are made
SMALL = 2_000_000  # values of a data set that are reduced at once
SCREEN = 500  # bins of the whole time that the widest level has at least
ROOM = 4  # times what it takes must be free on the disk
PIECE = 2**24  # bytes of bins that are read as one
SAID = "levels.json"
Spans: TypeAlias = "Sequence[tuple[int, int]]"
EVER: Spans = ((-(2**62), 2**62),)


def native(one: DataSet, whole: Span) -> float:
    """Return the microseconds between two samples of a data set: as it is said, else on average.

    Parameters
    ----------
    whole
        From when to when it has samples.
    """
    if one.series.cadence:
        return one.series.cadence * 1e6
    return ((whole.stop or 0) - (whole.start or 0)) / max(whole.rows, 1)


def pieces(bins: Bins, width: int, start: int, stop: int) -> Iterator[Bins]:
    """Take the bins that a span touches, some megabytes at a time.

    Parameters
    ----------
    bins
        In the order of time.
    """
    low, high = (bisect_left(bins["number"], one) for one in (start // width, -(-stop // width)))
    step = max(PIECE // bins.dtype.itemsize, 1)
    for at in range(low, high, step):
        yield bins[at : min(at + step, high)]


def build(
    place: Path,
    read: Callable[[int, int], Iterable[pa.RecordBatch]],
    names: Sequence[str],
    widths: Sequence[int],
    before: Mapping[int, Bins] | None = None,
    dirty: Spans = EVER,
) -> None:
    """Make the levels of samples, each from the one before.

    Parameters
    ----------
    place
        A directory for them.
    read
        Yields samples of a span in the order of time, as `samples` does.
    widths
        Of bins, each dividing the next.
    before
        Levels that were made of an earlier state; bins outside of `dirty` are theirs.
    dirty
        Spans whose samples are other ones now, in order and apart; multiples of all widths.
    """
    levels: dict[int, Bins] = {}
    kind: Any = None

    def parts(old: Bins | None, finer: int, width: int) -> Iterator[Bins]:
        at = 0
        for low, high in EVER if old is None else dirty:
            if old is not None:
                first, last = (bisect_left(old["number"], edge // width) for edge in (low, high))
                yield old[at:first]
                at = last
            made = reductions.coarser(pieces(levels[finer], finer, low, high), width // finer) if finer else reductions.binned(read(low, high), width, names)  # fmt: skip
            yield from map(reductions.stored, made)
        yield from () if old is None else (old[at:],)

    for finer, width in zip([0, *widths], widths, strict=False):
        path = place / f"{width}.bins"
        with path.open("wb") as file:
            for part in parts((before or {}).get(width), finer, width):
                kind = part.dtype
                part.tofile(file)
        if not path.stat().st_size:
            return
        levels[width] = np.memmap(path, kind, "r")
    (place / SAID).write_text(json.dumps({"fields": kind.descr, "widths": list(levels)}))


def kept(place: Path) -> dict[int, Bins]:
    """List the levels of a directory by their widths, the narrowest first; none: it has none."""
    try:
        said = json.loads((place / SAID).read_bytes())
    except (OSError, ValueError):
        return {}
    fields = [(name, kind, *map(tuple, shape)) for name, kind, *shape in said["fields"]]
    return {width: np.memmap(place / f"{width}.bins", fields, "r") for width in said["widths"]}


class Pyramids:
    """Those of a site, in this process. Thread-safe.

    Parameters
    ----------
    directory
        Where they are kept; made when the first one is.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._open: dict[str, dict[int, Bins]] = {}
        self._asked: set[str] = set()
        self._queue: queue.Queue[tuple[str, Surroundings, DataSet, Holdings]] = queue.Queue()
        self.settle = self._queue.join  # waits until nothing is being made
        threading.Thread(target=self._work, name="reductions", daemon=True).start()

    def levels(self, key: str) -> Mapping[int, Bins]:
        """List what is kept of a data set by the widths of its bins, the narrowest first."""
        found = self._open.get(key) or kept(self._directory / key)
        if found:
            self._open[key] = found
        return found

    def want(self, key: str, around: Surroundings, one: DataSet, holdings: Holdings) -> None:
        """Have the reductions of a data set made soon."""
        if key not in self._asked:
            self._asked.add(key)
            self._queue.put((key, around, one, holdings))

    def _work(self) -> None:
        with suppress(OSError, AttributeError):  # queries go first
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        while True:
            key, around, one, holdings = self._queue.get()
            try:
                if self._made(key, around, one, holdings):
                    self._asked.discard(key)
            except Exception:
                log.exception("the reductions of %s cannot be made; its samples are reduced when asked for", one.id)
            del around, one, holdings
            self._queue.task_done()

    def _made(self, key: str, around: Surroundings, one: DataSet, holdings: Holdings) -> bool:
        """Make them, unless another process does so now."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True  # asked again, it is found, or made here
            if (self._directory / key / SAID).exists():
                return True
            snapshot, _, same = key.partition("-x-")
            self._sweep(holdings, same)
            whole = span(around, ANONYMOUS, one, holdings)
            names = numeric(one)
            if whole.start is None or whole.stop is None or not names:
                return False
            widths = _widths(one, whole)
            if not widths:
                return False
            # where samples come as told, a bin has many: of campaigns in twenty years few bins have some
            likely = int(2 * whole.rows * native(one, whole) / widths[0]) + 1
            cells = min(whole.rows, (whole.stop - whole.start) // widths[0] + 1, likely) * _values(one) // max(whole.rows, 1)  # fmt: skip
            if shutil.disk_usage(self._directory).free < cells * 12 * ROOM:
                log.warning("no room for the reductions of %s: its samples are reduced when they are asked for", one.id)
                return False
            before: Mapping[int, Bins] = {}
            dirty: Spans | None = None
            for other in self._directory.glob(f"[!.]*-x-{same}"):
                before = kept(other)
                dirty = _dirty(around, one, other.name.partition("-x-")[0], snapshot, max([*widths, *before]))
                if before and dirty is not None:
                    break
            part = self._directory / f".{secrets.token_hex(8)}"
            part.mkdir()
            try:
                read = partial(samples, around, ANONYMOUS, one, names, holdings=holdings)
                build(part, read, names, widths, *((before, dirty) if before and dirty is not None else ()))
                part.replace(self._directory / key)
            finally:
                shutil.rmtree(part, ignore_errors=True)
            self._sweep(holdings)
        return True

    def _sweep(self, holdings: Holdings, same: str = "-") -> None:
        """Remove what broke off, and what is of no state that is served, but that of which a new one may be made."""
        relations = [table.relation for table in holdings.published.values()]
        served = {relation.id for relation in relations if isinstance(relation, Snapshot)}
        for place in self._directory.iterdir():
            snapshot, _, series = place.name.partition("-x-")
            if place.name != ".lock" and series != same and not {*snapshot.split("+")} <= served:
                self._open.pop(place.name, None)
                shutil.rmtree(place, ignore_errors=True)


def _dirty(around: Surroundings, one: DataSet, old: str, new: str, width: int) -> Spans | None:
    """Find the spans in which a later state has other rows, by what the syncs between them have kept; None: it is not known, for keys have no times."""
    moments = []
    try:
        if one.series.file:  # its rows are files
            return _arrived(around, one, old, new, width)
        way = changes.chain(around.site, one.published.table.qualified, old, new)
        for step in way or ():
            rows = step.load()
            if one.time.name not in rows.column_names:
                return None
            moments.append(_times(rows[one.time.name].combine_chunks().drop_null(), one.time.column).to_numpy())
    except NotFound:
        return None
    if not way:
        return None
    cells = np.concatenate(moments)
    return _spans(cells, cells, width)


def _arrived(around: Surroundings, one: DataSet, old: str, new: str, width: int) -> Spans | None:
    """Find the spans of files that came between two states; None: others went or became other ones, and nobody knows which times they had."""
    paths: set[str] = set()
    tables = (one.published.table.qualified, f"{one.table.schema}.files")
    for table, since, until in zip(tables, old.split("+"), new.split("+"), strict=True):
        way = changes.chain(around.site, table, since, until)
        if way is None:
            return None
        for rows in (step.load() for step in way):
            if "path" not in rows.column_names or set(rows[changes.CHANGE].unique().to_pylist()) - {changes.ADDED}:
                return None
            paths.update(rows["path"].to_pylist())
    files = Files(around, ANONYMOUS, one.series, one.table, around.site.current()).granules(*ALWAYS)
    found = np.array([(each.start, each.stop) for each in files if each.path in paths], np.int64).reshape(-1, 2)
    return _spans(found[:, 0], found[:, 1], width)


def _spans(begins: Whole, ends: Whole, width: int) -> Spans:
    """Widen spans to whole bins, and join those that touch."""
    order = np.argsort(begins)
    low, high = begins[order] // width, np.maximum.accumulate(ends[order] // width + 1)
    apart = low[1:] > high[:-1]
    low, high = low[np.r_[True, apart][: len(low)]], high[np.r_[apart, True][: len(high)]]
    return [(int(first) * width, int(last) * width) for first, last in zip(low, high, strict=True)]


def numeric(one: DataSet) -> list[str]:
    """List the parameters that can be reduced: numbers."""
    return [each.name for each in one.parameters if each.kind in {"double", "integer"}]


def _values(one: DataSet) -> int:
    """Count the numbers of all its samples."""
    named = set(numeric(one))
    each = sum(int(np.prod(each.size or (1,))) for each in one.parameters if each.name in named)
    return each * one.count


def _key(around: Surroundings, who: Reader, one: DataSet) -> str | None:
    """Name what may be kept of a data set for a reader; None: nothing, for it is little, or they may be shown other rows than everybody."""
    table, relation = one.published.table, one.published.relation
    if table.policy is not None or table.view is not None or not isinstance(relation, Snapshot) or one.state is None:
        return None
    if not all(alike(table, each, around.policies) for each in (who, ANONYMOUS)) or _values(one) <= SMALL:
        return None
    parameters = [(each.name, each.kind, each.size, str(each.column.type)) for each in one.parameters]
    said = repr((MADE, one.id, one.series.time, one.series.condition, parameters))
    return f"{relation.id}{f'+{one.state}' if one.state else ''}-x-{hashlib.sha256(said.encode()).hexdigest()[:24]}"


def _widths(one: DataSet, whole: Span) -> list[int]:
    """Choose which bins are kept."""
    widths = [width for width in WIDTHS if width >= LEAST * native(one, whole)]
    long = (whole.stop or 0) - (whole.start or 0)
    return widths[:1] + [width for width in widths[1:] if long // width >= SCREEN]


def offered(around: Surroundings, who: Reader, one: DataSet, whole: Span) -> list[int]:
    """List the widths of bins that are kept for a reader, or will be when they are asked for; none: of little nothing is kept.

    Parameters
    ----------
    whole
        From when to when it has samples.
    """
    return _widths(one, whole) if _key(around, who, one) is not None else []


def is_quick(around: Surroundings, who: Reader, one: DataSet, whole: Span, holdings: Holdings) -> bool:
    """Return whether all samples of a data set can be reduced at once: they are few, or what is kept stands for them. What is lacking is made.

    Parameters
    ----------
    whole
        From when to when it has samples.
    """
    return whole.rows <= SMALL or bool(_wanted(around, who, one, holdings))


def reduced(
    around: Surroundings,
    who: Reader,
    one: DataSet,
    names: Sequence[str],
    start: int,
    stop: int,
    width: int,
    holdings: Holdings,
) -> Iterator[Bins]:
    """Read samples in bins, from what is kept where it may be.

    Parameters
    ----------
    start, stop
        Microseconds since 1970: the bins that this span touches are read as a whole.
    width
        Of bins, as `hven.services._reductions.width` chooses it.

    Yields
    ------
    bins
        In the order of time.
    """
    low, high = start // width * width, -(-stop // width) * width
    levels = _wanted(around, who, one, holdings)
    fit = max((each for each in levels if not width % each), default=0)
    if fit:
        parts = reductions.coarser(pieces(levels[fit], fit, low, high), width // fit, names)
    else:
        # of a server elsewhere two samples for a bin are enough, where it has such
        apart = width // 2 if one.far is not None and width >= LEAST * native(one, span(around, who, one, holdings)) else 0  # fmt: skip
        parts = reductions.binned(samples(around, who, one, names, low, high, holdings, apart), width, names)
    yield from map(reductions.stored, parts)


def _wanted(around: Surroundings, who: Reader, one: DataSet, holdings: Holdings) -> Mapping[int, Bins]:
    """Find what is kept; have it made where it is lacking."""
    key = _key(around, who, one)
    if key is None:
        return {}
    own = of(around.site)
    levels = own.levels(key)
    if not levels:
        own.want(key, around, one, holdings)
    return levels


def of(site: Site) -> Pyramids:
    """Find those of a site."""
    found: Pyramids = site.kept(Pyramids, site.settings.var / "reductions")
    return found


def follow(around: Surroundings, data_sets: Iterable[DataSet], holdings: Holdings) -> None:
    """Have the reductions of all data sets made that lack them; `data_sets` as somebody knows them who has not logged in."""
    for one in data_sets:
        _wanted(around, ANONYMOUS, one, holdings)


__all__ = ["Pyramids", "follow", "is_quick", "native", "numeric", "of", "offered", "reduced"]
