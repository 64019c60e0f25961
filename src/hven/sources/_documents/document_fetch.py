"""Fetching documents, the newest first, several at once, for so long as a run may; what is left is foretold."""

from __future__ import annotations

import datetime as dt
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.errors import ForbiddenError, SourceError, UserError
from hven.sources._documents.document_store import (
    STATE_BROKEN,
    STATE_FAILED,
    STATE_HERE,
    STATE_MISSING,
    STATE_REFUSED,
    FetchedDocument,
)
from hven.sources._documents.document_values import InvalidDocumentError, extract_values
from hven.sources._reading.file_listing import check_link
from hven.sources._reading.service_client import ServiceClient, extract_error_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from hven.sources._documents.document_store import DocumentStore

MAX_CONSECUTIVE_FAILURES = (
    20  # documents in a row that could not be fetched for the service's own reasons: it is left in peace
)
PREFETCH_FACTOR = 8  # documents that are under way, for each that is fetched at a time
SAVE_INTERVAL_SECONDS = 2.0  # seconds after which what came is written down
SAVE_BATCH_SIZE = 500  # or so many
MIN_COUNT_FOR_RATE = 10  # documents from which a rate is told
END_CARD = b"END" + b" " * 77


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentFetcher:
    """How one document is fetched and read."""

    service: ServiceClient | None
    directory: Path
    roots: Sequence[Path]
    document_form: str
    columns: Sequence[tuple[Sequence[str], str, bool]]
    byte_limit: int
    max_age_seconds: float | None
    retry_after_seconds: float

    def fetch_document(self, name: str, modified: Any, address: str) -> FetchedDocument:
        """Fetch a document, and take its values."""
        try:
            if self.service is None:
                body = self._read_local_file(address)
            else:
                body = self._request_document(self.service, address)
            values, doubt = extract_values(body, self.document_form, self.columns)
        except _NoDocumentError as error:
            retry_time = time.time() + (self.retry_after_seconds if error.state != STATE_FAILED else 0.0)
            return FetchedDocument(id=name, modified=modified, state=error.state, note=str(error), due_time=retry_time)
        except InvalidDocumentError as error:
            return FetchedDocument(
                id=name,
                modified=modified,
                state=STATE_BROKEN,
                note=str(error),
                due_time=time.time() + self.retry_after_seconds,
            )
        if self.max_age_seconds is None:
            due = None
        else:
            due = time.time() + self.max_age_seconds
        return FetchedDocument(
            id=name, modified=modified, state=STATE_HERE, note=doubt, due_time=due, values=values, body=body
        )

    def _read_local_file(self, name: str) -> bytes:
        path = self.directory / name
        try:
            check_link(path, name, (self.directory, *self.roots))
            with path.open("rb") as file:
                return self._collect_document(iter(lambda: file.read(1 << 16), b""))
        except SourceError as error:
            raise _NoDocumentError(STATE_REFUSED, error.message) from None
        except OSError as error:
            if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
                state = STATE_MISSING
            else:
                state = STATE_FAILED
            raise _NoDocumentError(state, error.strerror or type(error).__name__) from None

    def _request_document(self, service: ServiceClient, url: str) -> bytes:
        def request_once() -> bytes:
            with service.request("GET", url) as answer:
                if answer.status in {404, 410}:
                    raise _NoDocumentError(STATE_MISSING, f"{service.host} answers {answer.status}")
                if answer.status != 200:
                    state = STATE_FAILED if answer.status >= 500 else STATE_REFUSED
                    raise _NoDocumentError(
                        state,
                        f"{service.host} answers {answer.status}: "
                        f"{extract_error_text(answer)[:80] or 'it does not say why'}",
                    )
                return self._collect_document(answer.parts)

        try:
            return service.retry(request_once)
        except ForbiddenError as error:  # it leads to where nobody may be led
            raise _NoDocumentError(STATE_REFUSED, error.message) from None
        except UserError as error:
            raise _NoDocumentError(STATE_FAILED, error.message) from None

    def _collect_document(self, parts: Iterable[bytes]) -> bytes:
        """Read a document; of a FITS file its first header alone."""
        document = bytearray()
        for part in parts:
            document += part
            if (
                self.document_form == "header"
                and document.startswith(b"SIMPLE  =")
                and (at := _find_header_end(document))
            ):
                return bytes(document[:at])
            if len(document) > self.byte_limit:
                raise _NoDocumentError(STATE_BROKEN, f"it has more than {self.byte_limit:,} bytes")
        return bytes(document)


class _NoDocumentError(Exception):
    """There is no document: its state, and why."""

    def __init__(self, state: str, reason: str) -> None:
        super().__init__(reason)
        self.state = state


def _find_header_end(document: bytearray) -> int:
    """Find where a header of 80 columns ends; 0: not yet, or it is one of lines."""
    at = document.find(END_CARD)
    while at >= 0 and at % 80:
        at = document.find(END_CARD, at + 1)
    return at + 80 if at >= 0 else 0


def fetch_documents(
    store: DocumentStore,
    fetcher: DocumentFetcher,
    *,
    concurrency: int,
    duration_seconds: float,
    document_limit: int | None,
    on_notice: Callable[[str], None] | None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Iterator[None]:
    """Fetch what is to be fetched, newest first, for so many seconds.

    Say what came and what is left, meanwhile how far it is.

    Yields
    ------
    nothing
        Every now and then: who does not go on ends it, and what came is kept.

    Raises
    ------
    PrivateAddressError
        The service is not on the public internet.
    StorageError
        The disk is full.
    """
    start_time = time.monotonic()
    last = time.monotonic()
    fetched_count = 0
    failure_streak = 0
    unsaved = list[FetchedDocument]()
    given_up = ""
    if on_progress is not None:
        total = store.count_pending()
    else:
        total = 0
    with ExitStack() as stack:
        if fetcher.service is not None:
            fetcher.service.check_address()
            stack.enter_context(fetcher.service.keep_connections())
        pool = ThreadPoolExecutor(concurrency, thread_name_prefix="documents")
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        stack.callback(lambda: store.save_documents(unsaved))
        under_way: deque[Future[FetchedDocument]] = deque()
        queue = iter(store.iterate_pending())
        has_more = True
        while has_more or under_way:
            while has_more and len(under_way) < PREFETCH_FACTOR * concurrency:
                is_over = time.monotonic() - start_time > duration_seconds or (
                    document_limit is not None and fetched_count + len(under_way) >= document_limit
                )
                if is_over or given_up:
                    request = None
                else:
                    request = next(queue, None)
                if request is None:
                    has_more = False
                else:
                    under_way.append(pool.submit(fetcher.fetch_document, *request))
            if not under_way:
                break
            document = under_way.popleft().result()
            unsaved.append(document)
            fetched_count += 1
            if document.state == STATE_FAILED:
                failure_streak = failure_streak + 1
            else:
                failure_streak = 0
            if failure_streak >= MAX_CONSECUTIVE_FAILURES and not given_up:
                given_up = document.note
                has_more = False
                for future in under_way:
                    future.cancel()
                under_way = deque(future for future in under_way if not future.cancelled())
            if len(unsaved) >= SAVE_BATCH_SIZE or time.monotonic() - last > SAVE_INTERVAL_SECONDS:
                store.save_documents(unsaved)
                unsaved.clear()
                last = time.monotonic()
                if on_progress is not None:
                    on_progress(fetched_count, total)
                yield
    if on_notice is not None:
        _report_fetch(store, fetcher, fetched_count, time.monotonic() - start_time, given_up, on_notice)


def _report_fetch(
    store: DocumentStore,
    fetcher: DocumentFetcher,
    fetched_count: int,
    duration_seconds: float,
    given_up: str,
    on_notice: Callable[[str], None],
) -> None:
    remaining = store.count_pending()
    if fetcher.service is not None:
        host = fetcher.service.host
    else:
        host = "the disk"
    if given_up:
        on_notice(
            f"documents: {host} is left in peace, after {MAX_CONSECUTIVE_FAILURES} in a row that could not be "
            f"fetched: {given_up}"
        )
    if remaining:
        text = f"documents: {fetched_count:,} were fetched from {host}, {remaining:,} are still to come"
        if fetched_count >= MIN_COUNT_FOR_RATE and not given_up:
            rate = fetched_count / max(duration_seconds, 1e-6)
            end = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=min(remaining / rate, 3e9))
            text += (
                f": {_format_duration(remaining / rate)} of fetching at {rate:,.3g} a second, until "
                f"{end:%Y-%m-%d %H:%M} UTC if it went on without a pause"
            )
        on_notice(f"{text}; each sync goes on, with the newest first")
    for state, note, count, first in store.summarize_problems():
        if count == 1:
            subject = "1 document is"
        else:
            subject = f"{count:,} documents are"
        if state == STATE_HERE:
            on_notice(f"{subject} here, but {note} (first: {first})")
        else:
            on_notice(f"{subject} {state}: {note} (first: {first})")


def _format_duration(seconds: float) -> str:
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
