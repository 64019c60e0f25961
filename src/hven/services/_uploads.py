"""The uploads of a request, read in threads: few at once, and what they keep in memory is bounded."""

from __future__ import annotations

import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from hven.model.errors import OverloadedError
from hven.query import uploads
from hven.query.memory_watchdog import schedule_memory_trim

if TYPE_CHECKING:
    from hven.model.params import RequestParams
    from hven.model.settings import Settings

MAX_CONCURRENT_FETCHES, MAX_CONCURRENT_PARSES = (
    8,
    2,
)  # at once, per process: those that wait for other servers, and those that only need a core


class UploadReader:
    """Reads what the UPLOAD of requests names."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._fetch_limiter = anyio.CapacityLimiter(MAX_CONCURRENT_FETCHES)
        self._parse_limiter = anyio.CapacityLimiter(MAX_CONCURRENT_PARSES)
        self._parse_slots = threading.BoundedSemaphore(MAX_CONCURRENT_PARSES)
        self._held_bytes = 0
        self._lock = threading.Lock()

    async def read_uploads(self, params: RequestParams) -> uploads.UploadedTables:
        """Read what UPLOAD names; an empty dictionary if there is no such parameter. Closes the request's files.

        Raises
        ------
        UserError, StorageError
            As `read_uploads` does.
        OverloadedError
            The uploads that running queries hold take all the memory there is for them.
        """
        try:
            references = uploads.parse_upload_references(params.read_all("UPLOAD"))
            if not references:
                return uploads.UploadedTables()
            self._reserve_bytes(0)
            if all(pair.request_part is not None for pair in references):
                limiter = self._parse_limiter
            else:
                limiter = self._fetch_limiter
            reading = partial(
                uploads.read_uploads, references, params.files, self._settings, memory_guard=self._parse_slots
            )
            try:
                uploaded_tables = await anyio.to_thread.run_sync(reading, limiter=limiter)
            finally:
                schedule_memory_trim()  # a small file may have been large in memory
        finally:
            params.close()
        for _, rows in uploaded_tables.values():
            self._reserve_bytes(rows.nbytes)
            weakref.finalize(rows, self._release_bytes, rows.nbytes)
        return uploaded_tables

    def _reserve_bytes(self, byte_count: int) -> None:
        with self._lock:
            if self._held_bytes + byte_count > max(
                self._settings.limits.memory, self._settings.limits.upload * uploads.MEMORY_EXPANSION_FACTOR
            ):
                raise OverloadedError(
                    "other queries hold all the memory there is for uploads", remedy="try again in a minute"
                )
            self._held_bytes += byte_count

    def _release_bytes(self, byte_count: int) -> None:
        with self._lock:
            self._held_bytes -= byte_count


__all__ = ["UploadReader"]
