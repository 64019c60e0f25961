"""Streams of samples (HAPI, das2 and their like) share one budget of memory.

The more there are, the smaller the windows that each reads.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hven.model.errors import OverloadedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.site import Site

BUDGET_SHARE = 16  # part of the memory for queries that windows of all streams take
BYTES_PER_CELL = 32  # of a value while its window is read, sorted and written: measured at 25 to 30
MIN_CELLS = 8_000
MAX_STREAMS = 256
RETRY_SECONDS = 5.0


class SampleStreamLimiter:
    """The streams of one process. Thread-safe.

    Parameters
    ----------
    memory_bytes
        Bytes that queries may use.
    """

    def __init__(self, memory_bytes: int) -> None:
        self._total_cells = max(memory_bytes // BUDGET_SHARE // BYTES_PER_CELL, MIN_CELLS)
        self._max_streams = min(max(self._total_cells // MIN_CELLS, 1), MAX_STREAMS)
        self._active_count = 0
        self._lock = threading.Lock()

    @contextmanager
    def reserve_stream_slot(self) -> Iterator[None]:
        """Count a stream as long as it lasts.

        Raises
        ------
        OverloadedError
            There are as many as the memory allows.
        """
        with self._lock:
            if self._active_count >= self._max_streams:
                raise OverloadedError(
                    "too many clients are reading samples at the moment",
                    remedy="try again in a few seconds",
                    retry_after_seconds=RETRY_SECONDS,
                )
            self._active_count += 1
        try:
            yield
        finally:
            with self._lock:
                self._active_count -= 1

    @property
    def window_cells(self) -> int:
        """How many values the next window of a stream may have."""
        return max(self._total_cells // max(self._active_count, 1), MIN_CELLS)


def get_stream_limiter(site: Site) -> SampleStreamLimiter:
    """Return the streams of a site in this process.

    Parameters
    ----------
    site
        Its limits hold.
    """
    return site.get_or_create(SampleStreamLimiter, site.settings.limits.memory)
