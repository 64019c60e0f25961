"""The uploads of a request, read in threads: few at once, and what they keep in memory is bounded."""

from __future__ import annotations

import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from hven.model.errors import Overloaded
from hven.query import uploads
from hven.query.memory import tidy

if TYPE_CHECKING:
    from hven.model.params import Params
    from hven.model.settings import Settings

FETCHED, PARSED = 8, 2  # at once, per process: those that wait for other servers, and those that only need a core


class Uploads:
    """Reads what the UPLOAD of requests names."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._far = anyio.CapacityLimiter(FETCHED)
        self._near = anyio.CapacityLimiter(PARSED)
        self._turn = threading.BoundedSemaphore(PARSED)
        self._held = 0
        self._lock = threading.Lock()

    async def read(self, params: Params) -> uploads.Uploaded:
        """Read what UPLOAD names; an empty dictionary if there is no such parameter. Closes the request's files.

        Raises
        ------
        UserError, StorageError
            As `read` does.
        Overloaded
            The uploads that running queries hold take all the memory there is for them.
        """
        try:
            wanted = uploads.pairs(params.all("UPLOAD"))
            if not wanted:
                return uploads.Uploaded()
            self._hold(0)
            limiter = self._near if all(pair.part is not None for pair in wanted) else self._far
            reading = partial(uploads.read, wanted, params.files, self._settings, turn=self._turn)
            try:
                found = await anyio.to_thread.run_sync(reading, limiter=limiter)
            finally:
                tidy()  # a small file may have been large in memory
        finally:
            params.close()
        for _, rows in found.values():
            self._hold(rows.nbytes)
            weakref.finalize(rows, self._release, rows.nbytes)
        return found

    def _hold(self, size: int) -> None:
        with self._lock:
            if self._held + size > max(self._settings.limits.memory, self._settings.limits.upload * uploads.UNFOLDED):
                raise Overloaded(
                    "other queries hold all the memory there is for uploads", remedy="try again in a minute"
                )
            self._held += size

    def _release(self, size: int) -> None:
        with self._lock:
            self._held -= size


__all__ = ["Uploads"]
