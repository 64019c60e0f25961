"""Fetch documents within the time of a run, the newest first and several at once, and report what is left."""

from __future__ import annotations

import datetime as dt
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.errors import ForbiddenError, SourceError, UserError
from hven.plugins.enrichment.document_store import (
    STATE_BROKEN,
    STATE_FAILED,
    STATE_HERE,
    STATE_MISSING,
    STATE_REFUSED,
    FetchedDocument,
)
from hven.plugins.enrichment.document_values import extract_values
from hven.sources.api.documents import InvalidDocumentError
from hven.sources.api.file_access import refuse_escaping_link
from hven.sources.api.services import ServiceClient, extract_error_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from hven.plugins.enrichment.document_store import DocumentStore
    from hven.plugins.enrichment.enrichment_options import DocumentEnrichmentOptions
    from hven.sources import SourceContext

MAX_CONSECUTIVE_FAILURES = 20  # after this many documents that the service fails to send, a run stops asking it
PREFETCH_FACTOR = 8  # documents that are scheduled, for each that is fetched at a time
SAVE_INTERVAL_SECONDS = 2.0  # fetched documents are saved after this time
SAVE_BATCH_SIZE = 500  # or after this number
FIRST_LOOK_DOCUMENTS = 10  # documents that are fetched for a first look
FIRST_LOOK_SECONDS = 20.0
MIN_COUNT_FOR_RATE = 10  # a rate is reported from this number of documents on
END_CARD = b"END" + b" " * 77


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentFetcher:
    """The way in which one document is fetched and read."""

    service: ServiceClient | None
    options: DocumentEnrichmentOptions
    context: SourceContext
    columns: Sequence[tuple[Sequence[str], str, bool]]

    def fetch_document(self, document_id: str, modified: Any, address: str) -> FetchedDocument:
        """Fetch a document, and extract its values."""
        try:
            if self.service is None:
                body = self._read_local_file(address)
            else:
                body = self._request_document(self.service, address)
            values, doubt = extract_values(body, self.options.format, self.columns)
        except (_NoDocumentError, InvalidDocumentError) as error:
            state = STATE_BROKEN
            if isinstance(error, _NoDocumentError):
                state = error.state
            retry_time = time.time()
            if state != STATE_FAILED:
                retry_time += self.options.again
            return FetchedDocument(id=document_id, modified=modified, state=state, note=str(error), due_time=retry_time)
        due_time = None
        if self.options.age is not None:
            due_time = time.time() + self.options.age
        return FetchedDocument(
            id=document_id, modified=modified, state=STATE_HERE, note=doubt, due_time=due_time, values=values, body=body
        )

    def _read_local_file(self, name: str) -> bytes:
        directory = self.context.directory
        path = directory / name
        try:
            refuse_escaping_link(path, name, (directory, *self.context.allowed_roots))
            with path.open("rb") as file:
                return self._read_document_bytes(iter(lambda: file.read(1 << 16), b""))
        except SourceError as error:
            raise _NoDocumentError(STATE_REFUSED, error.message) from None
        except OSError as error:
            state = STATE_FAILED
            if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
                state = STATE_MISSING
            raise _NoDocumentError(state, error.strerror or type(error).__name__) from None

    def _request_document(self, service: ServiceClient, url: str) -> bytes:
        def request_once() -> bytes:
            with service.request("GET", url) as answer:
                if answer.status in {404, 410}:
                    raise _NoDocumentError(STATE_MISSING, f"{service.host} returned status {answer.status}")
                if answer.status != 200:
                    state = STATE_REFUSED
                    if answer.status >= 500:
                        state = STATE_FAILED
                    reason = extract_error_text(answer)[:80] or "no reason was given"
                    raise _NoDocumentError(state, f"{service.host} returned status {answer.status}: {reason}")
                return self._read_document_bytes(answer.parts)

        try:
            return service.retry(request_once)
        except ForbiddenError as error:  # it leads to a place where clients must not be led
            raise _NoDocumentError(STATE_REFUSED, error.message) from None
        except UserError as error:
            raise _NoDocumentError(STATE_FAILED, error.message) from None

    def _read_document_bytes(self, parts: Iterable[bytes]) -> bytes:
        """Read a document; of a FITS file only its first header."""
        document = bytearray()
        for part in parts:
            document += part
            if self.options.format == "header" and document.startswith(b"SIMPLE  ="):
                header_end = _find_fits_header_end(document)
                if header_end:
                    return bytes(document[:header_end])
            if len(document) > self.options.bytes:
                raise _NoDocumentError(STATE_BROKEN, f"it is larger than {self.options.bytes:,} bytes")
        return bytes(document)


class _NoDocumentError(Exception):
    """There is no document: its state, and why."""

    def __init__(self, state: str, reason: str) -> None:
        super().__init__(reason)
        self.state = state


def _find_fits_header_end(document: bytearray) -> int:
    """Find where a header of 80 columns ends; 0: it does not end yet, or its cards are lines."""
    at = document.find(END_CARD)
    while at >= 0 and at % 80:
        at = document.find(END_CARD, at + 1)
    if at < 0:
        return 0
    return at + 80


def fetch_documents(store: DocumentStore, fetcher: DocumentFetcher) -> Iterator[None]:
    """Fetch the pending documents, newest first, until a time limit, and report what came and what is left.

    Yields
    ------
    nothing
        From time to time. A caller that stops iterating ends the fetching, and fetched documents are kept.

    Raises
    ------
    PrivateAddressError
        The service is not on the public internet.
    StorageError
        The disk is full.
    """
    on_progress = fetcher.context.on_progress
    total = 0
    if on_progress is not None:
        total = store.count_pending()
    last_save_time = time.monotonic()
    with ExitStack() as stack:
        if fetcher.service is not None:
            fetcher.service.check_address()
            stack.enter_context(fetcher.service.keep_connections_open())
        pool = ThreadPoolExecutor(fetcher.options.at_once, thread_name_prefix="documents")
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        run = _DocumentFetchRun(store, fetcher, pool)
        stack.callback(run.save_documents)
        while run.schedule_documents():
            run.collect_next_document()
            if len(run.unsaved) >= SAVE_BATCH_SIZE or time.monotonic() - last_save_time > SAVE_INTERVAL_SECONDS:
                run.save_documents()
                last_save_time = time.monotonic()
                if on_progress is not None:
                    on_progress(run.fetched_count, total)
                yield
    if fetcher.context.on_notice is not None:
        for notice in run.list_notices():
            fetcher.context.on_notice(notice)


class _DocumentFetchRun:
    """The documents that are scheduled and fetched in one run.

    Attributes
    ----------
    unsaved
        Fetched documents that are not saved yet.
    give_up_reason
        Why the service is not asked any more; empty: it is.
    """

    def __init__(self, store: DocumentStore, fetcher: DocumentFetcher, pool: ThreadPoolExecutor) -> None:
        self.store = store
        self.fetcher = fetcher
        self.pool = pool
        self.max_scheduled = PREFETCH_FACTOR * fetcher.options.at_once
        self.document_limit: int | None = None
        duration_seconds = fetcher.options.total
        if fetcher.context.cache_directory is None:  # a first look
            self.document_limit = FIRST_LOOK_DOCUMENTS
            duration_seconds = min(duration_seconds, FIRST_LOOK_SECONDS)
        self.start_time = time.monotonic()
        self.end_time = self.start_time + duration_seconds
        self.unsaved: list[FetchedDocument] = []
        self.fetched_count = 0
        self.failure_streak = 0
        self.give_up_reason = ""
        self._scheduled: deque[Future[FetchedDocument]] = deque()
        self._requests = iter(store.iterate_pending())
        self._has_more = True

    def schedule_documents(self) -> bool:
        """Schedule more documents; return False if none is scheduled any more."""
        while self._has_more and len(self._scheduled) < self.max_scheduled:
            request = None
            if not self._has_reached_limit():
                request = next(self._requests, None)
            if request is None:
                self._has_more = False
            else:
                self._scheduled.append(self.pool.submit(self.fetcher.fetch_document, *request))
        return bool(self._scheduled)

    def _has_reached_limit(self) -> bool:
        if self.give_up_reason or time.monotonic() > self.end_time:
            return True
        scheduled_count = self.fetched_count + len(self._scheduled)
        return self.document_limit is not None and scheduled_count >= self.document_limit

    def collect_next_document(self) -> None:
        """Wait for the next document; give the service up after too many failures in a row."""
        document = self._scheduled.popleft().result()
        self.unsaved.append(document)
        self.fetched_count += 1
        self.failure_streak += 1
        if document.state != STATE_FAILED:
            self.failure_streak = 0
        if self.failure_streak >= MAX_CONSECUTIVE_FAILURES and not self.give_up_reason:
            self.give_up_reason = document.note
            self._has_more = False
            for future in self._scheduled:
                future.cancel()
            self._scheduled = deque(future for future in self._scheduled if not future.cancelled())

    def save_documents(self) -> None:
        """Save the fetched documents."""
        self.store.save_documents(self.unsaved)
        self.unsaved.clear()

    def list_notices(self) -> Iterator[str]:
        """Describe what the run fetched, what is left, and which problems documents have."""
        duration_seconds = time.monotonic() - self.start_time
        remaining = self.store.count_pending()
        host = "the disk"
        if self.fetcher.service is not None:
            host = self.fetcher.service.host
        if self.give_up_reason:
            yield (
                f"documents: Hven stopped asking {host} after {MAX_CONSECUTIVE_FAILURES} consecutive failures: "
                f"{self.give_up_reason}"
            )
        if remaining:
            text = f"documents: {self.fetched_count:,} were fetched from {host}, {remaining:,} remain"
            if self.fetched_count >= MIN_COUNT_FOR_RATE and not self.give_up_reason:
                rate = self.fetched_count / max(duration_seconds, 1e-6)
                remaining_seconds = remaining / rate
                end = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=min(remaining_seconds, 3e9))
                text += (
                    f"; at {rate:,.3g} a second, the rest takes {_format_duration(remaining_seconds)}, until "
                    f"{end:%Y-%m-%d %H:%M} UTC if syncs run without a pause"
                )
            yield f"{text}; each sync continues with the newest documents"
        for state, note, count, first in self.store.summarize_problems():
            subject = f"{count:,} documents are"
            if count == 1:
                subject = "1 document is"
            if state == STATE_HERE:
                yield f"{subject} here, but {note} (first: {first})"
            else:
                yield f"{subject} {state}: {note} (first: {first})"


def _format_duration(seconds: float) -> str:
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
