"""Read the uploads of requests in threads, with limits on concurrent reads and on the memory that uploads hold."""

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

MAX_CONCURRENT_FETCHES = 8  # per process: uploads that wait for other servers
MAX_CONCURRENT_PARSES = 2  # per process: uploads that need only a processor core


class UploadReader:
    """Read the tables that UPLOAD parameters name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        limits = settings.limits
        self._max_held_bytes = max(limits.memory, limits.upload * uploads.MEMORY_EXPANSION_FACTOR)
        self._fetch_limiter = anyio.CapacityLimiter(MAX_CONCURRENT_FETCHES)
        self._parse_limiter = anyio.CapacityLimiter(MAX_CONCURRENT_PARSES)
        self._parse_slots = threading.BoundedSemaphore(MAX_CONCURRENT_PARSES)
        self._held_bytes = 0
        self._lock = threading.Lock()

    async def read_uploads(self, params: RequestParams) -> uploads.UploadedTables:
        """Read the tables that UPLOAD names, none if the parameter is absent, and close the request's files.

        Raises
        ------
        UserError, StorageError
            As `hven.query.uploads.read_uploads` does.
        OverloadedError
            The uploads of running queries hold all the memory for uploads.
        """
        try:
            references = uploads.parse_upload_references(params.read_all("UPLOAD"))
            if not references:
                return uploads.UploadedTables()
            self._reserve_bytes(0)
            needs_no_fetch = all(reference.request_part is not None for reference in references)
            if needs_no_fetch:
                limiter = self._parse_limiter
            else:
                limiter = self._fetch_limiter
            read_references = partial(
                uploads.read_uploads, references, params.files, self._settings, memory_guard=self._parse_slots
            )
            try:
                uploaded_tables = await anyio.to_thread.run_sync(read_references, limiter=limiter)
            finally:
                schedule_memory_trim()  # a small file may have needed much memory
        finally:
            params.close()
        for _, rows in uploaded_tables.values():
            self._reserve_bytes(rows.nbytes)
            weakref.finalize(rows, self._release_bytes, rows.nbytes)
        return uploaded_tables

    def _reserve_bytes(self, byte_count: int) -> None:
        with self._lock:
            if self._held_bytes + byte_count > self._max_held_bytes:
                raise OverloadedError(
                    "other queries are using all the memory for uploads at the moment", remedy="try again in a minute"
                )
            self._held_bytes += byte_count

    def _release_bytes(self, byte_count: int) -> None:
        with self._lock:
            self._held_bytes -= byte_count
