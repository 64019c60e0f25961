"""Streams of samples (HAPI, das2 and their like) share one budget of memory: the more there are, the smaller the windows that each reads."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hven.model.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.site import Site

BUDGET_SHARE = 16  # part of the memory for queries that windows of all streams take
BYTES_PER_CELL = 32  # of a value while its window is read, sorted and written: measured at 25 to 30
MIN_CELLS = 8_000
MAX_STREAMS = 256
RETRY_SECONDS = 5.0


class SampleStreams:
    """The streams of one process. Thread-safe.

    Parameters
    ----------
    memory
        Bytes that queries may use.
    """

    def __init__(self, memory: int) -> None:
        self._cells = max(memory // BUDGET_SHARE // BYTES_PER_CELL, MIN_CELLS)
        self._most = min(max(self._cells // MIN_CELLS, 1), MAX_STREAMS)
        self._active = 0
        self._lock = threading.Lock()

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Count a stream as long as it lasts.

        Raises
        ------
        Overloaded
            There are as many as the memory allows.
        """
        with self._lock:
            if self._active >= self._most:
                raise Overloaded(
                    "too many readers take samples at the moment",
                    remedy="try again in a few seconds",
                    seconds=RETRY_SECONDS,
                )
            self._active += 1
        try:
            yield
        finally:
            with self._lock:
                self._active -= 1

    @property
    def window_cells(self) -> int:
        """How many values the next window of a stream may have."""
        return max(self._cells // max(self._active, 1), MIN_CELLS)


def sample_streams(site: Site) -> SampleStreams:
    """Return the streams of a site in this process.

    Parameters
    ----------
    site
        Its limits hold.
    """
    return site.kept(SampleStreams, site.settings.limits.memory)
