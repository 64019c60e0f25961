"""Reductions that are kept on disk: a year at the resolution of a screen is read from kilobytes, not from all its samples.

Kept is what everybody may see, and that alone: the rows of a table without policy, read as a reader who has not logged in. Whoever is shown
other rows than everybody has theirs reduced when they ask. One process of a site makes them, one at a time, when it learns of a new state or
is asked; until then, and where there is no room, answers are made of the samples, and are the same.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import secrets
import shutil
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from hven.engines import Snapshot
from hven.services import _reductions as reductions
from hven.services._levels import Level, build, kept
from hven.services._reductions import LEAST, WIDTHS
from hven.services.series import samples, span
from hven.site.auth import ANONYMOUS, alike

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from hven.services._reductions import Bins
    from hven.services.face import Surroundings
    from hven.services.series import DataSet, Span
    from hven.site import Holdings
    from hven.site.auth import Reader

log = logging.getLogger("hven.reductions")

MADE = 1  # changes with how they are made
SMALL = 2_000_000  # values of a data set that are reduced at once
SCREEN = 500  # bins of the whole time that the widest level has at least
ROOM = 4  # times what it takes must be free on the disk


def native(one: DataSet, whole: Span) -> float:
    """Return the microseconds between two samples of a data set: as it is said, else on average.

    Parameters
    ----------
    one
        The data set.
    whole
        From when to when it has samples.
    """
    if one.series.cadence:
        return one.series.cadence * 1e6
    return ((whole.stop or 0) - (whole.start or 0)) / max(whole.rows, 1)


class Pyramids:
    """Those of a site, in this process. Thread-safe.

    Parameters
    ----------
    directory
        Where they are kept; made when the first one is.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._open: dict[str, list[Level]] = {}
        self._wanted: dict[str, tuple[Surroundings, DataSet, Holdings]] = {}
        self._failed: set[str] = set()
        self._thread: threading.Thread | None = None

    def levels(self, key: str) -> list[Level]:
        """List what is kept of a data set, the narrowest bins first.

        Parameters
        ----------
        key
            Of its samples.
        """
        with self._lock:
            found = self._open.get(key)
        if found is None:
            found = kept(self._directory / key)
            if not found:
                return []
            with self._lock:
                self._open[key] = found
        return found

    def want(self, key: str, around: Surroundings, one: DataSet, holdings: Holdings) -> None:
        """Have the reductions of a data set made soon.

        Parameters
        ----------
        key
            Of its samples.
        around
            The site.
        one
            The data set.
        holdings
            The state that has it.
        """
        with self._lock:
            if key in self._open or key in self._failed or key in self._wanted:
                return
            self._wanted[key] = (around, one, holdings)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="reductions", daemon=True)
                self._thread.start()

    def settle(self, seconds: float = 60.0) -> None:
        """Wait until nothing is being made.

        Parameters
        ----------
        seconds
            At most.
        """
        thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def _work(self) -> None:
        with suppress(OSError, AttributeError):  # queries go first
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        while True:
            with self._lock:
                if not self._wanted:
                    self._thread = None
                    return
                key, asked = next(iter(self._wanted.items()))
            try:
                made = self._made(key, *asked)
            except Exception:
                log.exception(
                    "the reductions of %s cannot be made; its samples are reduced when they are asked for", asked[1].id
                )
                made = False
            with self._lock:
                self._wanted.pop(key, None)
                if not made:
                    self._failed.add(key)

    def _made(self, key: str, around: Surroundings, one: DataSet, holdings: Holdings) -> bool:
        """Make them, unless another process does so now."""
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True  # asked again, it is found, or made here
            if (self._directory / key / "levels.json").exists():
                return True
            self._sweep(holdings)
            whole = span(around, ANONYMOUS, one, holdings)
            names = numeric(one)
            if whole.start is None or whole.stop is None or not names:
                return False
            step = native(one, whole)
            widths = [width for width in WIDTHS if width >= LEAST * step]
            widths = widths[:1] + [width for width in widths[1:] if (whole.stop - whole.start) // width >= SCREEN]
            if not widths:
                return False
            cells = min(whole.rows, (whole.stop - whole.start) // widths[0] + 1) * width_of(one)
            if shutil.disk_usage(self._directory).free < cells * 12 * ROOM:
                log.warning("no room for the reductions of %s: its samples are reduced when they are asked for", one.id)
                return False
            part = self._directory / f".{secrets.token_hex(8)}"
            part.mkdir()
            try:
                build(part, samples(around, ANONYMOUS, one, names, whole.start, whole.stop, holdings), names, widths)
                part.replace(self._directory / key)
            finally:
                shutil.rmtree(part, ignore_errors=True)
        return True

    def _sweep(self, holdings: Holdings) -> None:
        """Remove what broke off, and what is of no state that is served."""
        served = set()
        for table in holdings.published.values():
            if isinstance(table.relation, Snapshot):
                served.add(table.relation.id)
        with self._lock:
            self._open = {key: levels for key, levels in self._open.items() if key.partition("-x-")[0] in served}
        for place in self._directory.iterdir():
            if place.name != ".lock" and place.name.partition("-x-")[0] not in served:
                shutil.rmtree(place, ignore_errors=True)


def numeric(one: DataSet) -> list[str]:
    """List the parameters that can be reduced: numbers.

    Parameters
    ----------
    one
        The data set.
    """
    return [each.name for each in one.parameters if each.kind in {"double", "integer"}]


def width_of(one: DataSet) -> int:
    """Count the numbers of one sample.

    Parameters
    ----------
    one
        The data set.
    """
    return sum(int(np.prod(each.size or (1,))) for each in one.parameters if each.kind in {"double", "integer"})


def _key(around: Surroundings, who: Reader, one: DataSet) -> str | None:
    """Name what may be kept of a data set for a reader; None: nothing, for they may be shown other rows than everybody."""
    table, relation = one.published.table, one.published.relation
    if table.policy is not None or table.view is not None or not isinstance(relation, Snapshot) or one.series.file:
        return None
    if not alike(table, who, around.policies) or not alike(table, ANONYMOUS, around.policies):
        return None
    said = [
        MADE,
        one.id,
        one.series.time,
        one.series.condition,
        [(each.name, each.kind, each.size) for each in one.parameters],
    ]
    return f"{relation.id}-x-{hashlib.sha256(repr(said).encode()).hexdigest()[:24]}"


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
    around
        The site.
    who
        The reader.
    one
        The data set.
    names
        Of its parameters that are numbers.
    start, stop
        Microseconds since 1970: the bins that this span touches are read as a whole.
    width
        Of bins, as `hven.services._reductions.width` chooses it.
    holdings
        The state that is read.

    Yields
    ------
    bins
        In the order of time.

    Raises
    ------
    HvenError
        As of any query.
    """
    low, high = start // width * width, -(-stop // width) * width
    key = _key(around, who, one)
    if key is not None:
        own = around.site.kept(Pyramids, around.site.settings.var / "reductions")
        level = max(
            (each for each in own.levels(key) if not width % each.width), key=lambda each: each.width, default=None
        )
        if level is not None:
            yield from reductions.coarser(level.bins(names, low, high), width)
            return
        if (one.published.rows or 0) * width_of(one) > SMALL:
            own.want(key, around, one, holdings)
    yield from reductions.binned(samples(around, who, one, names, low, high, holdings), width, names)


def follow(around: Surroundings, data_sets: Iterable[DataSet], holdings: Holdings) -> None:
    """Have the reductions of all data sets made that lack them.

    Parameters
    ----------
    around
        The site.
    data_sets
        As somebody knows them who has not logged in.
    holdings
        The state that has them.
    """
    own = around.site.kept(Pyramids, around.site.settings.var / "reductions")
    for one in data_sets:
        key = _key(around, ANONYMOUS, one)
        if key is not None and (one.published.rows or 0) * width_of(one) > SMALL and not own.levels(key):
            own.want(key, around, one, holdings)


__all__ = ["Pyramids", "follow", "native", "numeric", "reduced"]
