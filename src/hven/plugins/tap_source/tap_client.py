"""Send queries to a TAP service (1.0, 1.1), sync or async, and return their answers as tables.

A broken answer is requested again, and never used in part.
"""

from __future__ import annotations

import io
import re
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, TypeVar
from urllib.parse import urlunsplit

import pyarrow as pa

from hven.formats import ErrorDocumentError
from hven.model import plugins, split_address
from hven.model.errors import ForbiddenError, HvenError, SourceError, StorageError, TooLargeError
from hven.sources import AvailableTable
from hven.sources.api.services import BrokenAnswerError, extract_error_text
from hven.sources.http_client import NoAnswerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hven.formats import TableMetadata, TableStream
    from hven.sources.api.services import ServiceClient
    from hven.sources.http_client import StreamedAnswer

MAX_PAGE_BYTES = 512 << 20  # of an answer whose rows are held in memory
MAX_MEMORY_BYTES = 64 << 20  # larger answers wait on disk
FIRST_POLL_SECONDS = 0.25  # between two looks at a job, at first
MAX_POLL_SECONDS = 10.0  # and later
MAX_JOB_SECONDS = 24 * 3600.0
SMALL_ANSWER_TIMEOUT_SECONDS = 30.0
MAX_ERROR_DOCUMENT_BYTES = 1 << 20
_TIME_LIMIT_PATTERN = re.compile(
    r"time[ds]?[\s-]*(out|limit|is over)|too long|execution ?duration|deadline|abort", re.IGNORECASE
)
_DAMAGED_ANSWER_PATTERN = re.compile(r"ends? in the middle|is truncated|well-formed|empty|not base64", re.IGNORECASE)
_UWS_PHASE_PATTERN = re.compile(
    r"\b(PENDING|QUEUED|EXECUTING|COMPLETED|ERROR|ABORTED|UNKNOWN|HELD|SUSPENDED|ARCHIVED)\b"
)
T = TypeVar("T")


NO_ASYNC_STATUSES = {404, 405, 501}  # how a service without /async answers a POST to it


class QueryTooSlowError(SourceError):
    """The service gave a query up for its time limit, or never began to answer: a job may succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TapPage:
    """A whole answer. `overflow`: the service says that there are more rows."""

    head: TableMetadata
    table: pa.Table
    overflow: bool


class TruncatedAnswerError(SourceError):
    """An answer that must be whole was cut off by its service."""


class TapClient:
    """A TAP service.

    Parameters
    ----------
    service
        Client of the resource above ``/sync``.
    mode
        ``sync``, ``async``, or ``auto``: sync, and a job for queries that take too long for it.
    answer_format
        The RESPONSEFORMAT that is requested: a VOTable of some kind.

    Common
    ------
    adql
        The query.
    maxrec
        Maximum number of rows.
    """

    def __init__(self, service: ServiceClient, *, mode: str, answer_format: str) -> None:
        self.service = service
        self.mode = mode
        self.answer_format = answer_format

    def query_page(self, adql: str, maxrec: int, *, is_small: bool = False, must_be_complete: bool = False) -> TapPage:
        """Send a query, and read the whole answer into memory.

        Parameters
        ----------
        is_small
            True: the answer has few rows, and comes soon.
        must_be_complete
            True: the answer must have all rows.

        Returns
        -------
        page
            The rows of the answer.

        Raises
        ------
        SourceError
            The service refuses the query (with its words), does not respond, or does not send a VOTable.
        TruncatedAnswerError
            The answer must have all rows, and has not.
        """

        def read_answer(job: bool) -> TapPage:
            with self._fetch_answer(
                adql, maxrec, job, SMALL_ANSWER_TIMEOUT_SECONDS if is_small else None, MAX_PAGE_BYTES
            ) as file:
                return self._read_page(file)

        page = self._retry_sync_or_async(read_answer, allow_jobs=not is_small)
        if must_be_complete and page.overflow:
            raise TruncatedAnswerError(
                f"{self.service.host} truncated its response after {page.table.num_rows:,} rows "
                "(QUERY_STATUS=OVERFLOW), but there are more rows",
                remedy="ask the operators of the service to send the complete description of the tables",
            )
        return page

    @contextmanager
    def query_stream(self, adql: str, maxrec: int, batch_row_limit: int) -> Iterator[TableStream]:
        """Send a query, and read the answer from disk, where all of it is before its first row is returned.

        It raises the errors of `query_page`.

        Parameters
        ----------
        batch_row_limit
            Maximum number of rows of a batch.

        Yields
        ------
        table_stream
            The rows of the answer.
        """
        with self._retry_sync_or_async(
            lambda job: self._fetch_answer(adql, maxrec, job, None), allow_jobs=True
        ) as file:
            try:
                table_stream = _open_votable(file, batch_row_limit)
            except SourceError as error:
                raise self._classify_answer_error(error) from error
            yield table_stream

    def _retry_sync_or_async(self, operation: Callable[[bool], T], *, allow_jobs: bool) -> T:
        if self.mode == "async" and allow_jobs:
            return self.service.retry(lambda: operation(True))
        try:
            return self.service.retry(lambda: operation(False))
        except QueryTooSlowError:
            if self.mode != "auto" or not allow_jobs:
                raise
        return self.service.retry(lambda: operation(True))

    def _read_page(self, file: IO[bytes]) -> TapPage:
        try:
            read = _open_votable(file)
            batches = list(read.batches)
        except SourceError as error:
            raise self._classify_answer_error(error) from error
        if batches:
            schema = batches[0].schema
        else:
            schema = pa.schema([column.arrow_field.with_nullable(True) for column in read.metadata.columns])
        table = pa.Table.from_batches(batches, schema)
        return TapPage(head=read.metadata, table=table, overflow=has_overflow(read.metadata))

    def _classify_answer_error(self, error: SourceError) -> SourceError:
        """Classify a failed answer: its error, and whether to try again."""
        if isinstance(error, ErrorDocumentError):
            error_text = error.message.partition(": ")[2]
            kind = SourceError
            if _TIME_LIMIT_PATTERN.search(error_text):
                kind = QueryTooSlowError
            return kind(f"{self.service.host} reports: {error_text}", remedy="run the query directly at the service")
        if _DAMAGED_ANSWER_PATTERN.search(error.message):
            return BrokenAnswerError(f"the response of the service is damaged: {error.message}")
        return SourceError(
            f"{self.service.host} returned no table: {error.message}",
            remedy="open the address in a browser to see what it returns",
        )

    # --- sync and async -----------------------------------------------------------------------------------------

    def _fetch_answer(
        self, adql: str, maxrec: int, as_job: bool, timeout_seconds: float | None, byte_limit: int | None = None
    ) -> IO[bytes]:
        form = [
            ("REQUEST", "doQuery"),
            ("LANG", "ADQL"),
            ("QUERY", adql),
            ("MAXREC", str(maxrec)),
            ("FORMAT", self.answer_format),
            ("RESPONSEFORMAT", self.answer_format),
        ]
        if as_job:
            return self._run_job(form, byte_limit)
        try:
            with self.service.request(
                "POST", f"{self.service.url}/sync", form, timeout_seconds=timeout_seconds
            ) as answer:
                return self._save_answer(answer, byte_limit)
        except NoAnswerError as error:
            if self.mode != "auto" and timeout_seconds is None:
                raise
            raise QueryTooSlowError(
                f"{self.service.host} did not begin to respond within "
                f"{timeout_seconds or self.service.timeout_seconds:g} s"
            ) from error

    def _save_answer(self, answer: StreamedAnswer, byte_limit: int | None) -> IO[bytes]:
        """Fetch an answer to memory or disk, of `byte_limit` bytes; an error document is an error."""
        if answer.status != 200:
            raise self._build_failure_error(answer)
        # the caller closes it
        file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=MAX_MEMORY_BYTES, prefix="hven-tap-")  # noqa: SIM115
        try:
            for part in answer.parts:
                file.write(part)
                self._check_answer_size(file.tell(), byte_limit)
            file.seek(0)
        except OSError as error:
            file.close()
            raise StorageError(
                f"the response from {self.service.host} could not be saved: {error.strerror}",
                remedy="free some space for temporary files",
            ) from error
        except BaseException:
            file.close()
            raise
        return file

    def _check_answer_size(self, size: int, byte_limit: int | None) -> None:
        """Refuse an answer that is too large to be held in memory."""
        if byte_limit is not None and size > byte_limit:
            raise TooLargeError(
                f"{self.service.host} sent more than {byte_limit:,} bytes in one response",
                remedy="set a smaller `page`",
            )

    def _build_failure_error(self, answer: StreamedAnswer) -> SourceError:
        """Find the error message of the service in a failed answer."""
        if answer.status in {401, 403}:
            return SourceError(
                f"{self.service.host} denied access ({answer.status})",
                remedy="set `token` or `login` to a secret with access to the service",
            )
        if answer.status == 404:
            return SourceError(
                f"there is no TAP service at {self.service.url} (404)",
                remedy="set `url` to the address without /sync, such as https://host/tap",
            )
        error, text = _read_error_document(answer)
        if error is not None:
            return self._classify_answer_error(error)
        status_text = f"returned status {answer.status}" + (f": {text}" if text else "")
        if answer.status >= 500:
            return BrokenAnswerError(f"the service {status_text}")
        return SourceError(f"{self.service.host} {status_text}", remedy="run the query directly at the service")

    def _run_job(self, form_fields: list[tuple[str, str]], byte_limit: int | None) -> IO[bytes]:
        """Run a query as a job (UWS 1.1): create it, wait for its end, fetch its result, delete it."""
        with self.service.request(
            "POST", f"{self.service.url}/async", [*form_fields, ("PHASE", "RUN")], follow_redirects=False
        ) as answer:
            if answer.status in NO_ASYNC_STATUSES:
                slow = "its /sync takes too long for this query" if self.mode == "auto" else "`mode: async` needs jobs"
                raise SourceError(
                    f"{self.service.host} does not run queries as jobs ({self.service.url}/async returned status "
                    f"{answer.status}), but {slow}",
                    remedy="request fewer rows at a time with `page:`, or wait longer with `mode: sync` and `seconds:`",
                )
            if answer.status == 200:
                raise SourceError(
                    f"{self.service.host} did not create a job, but returned status 200 without a job address",
                    remedy="write `mode: sync`",
                )
            if answer.status not in {301, 302, 303, 307, 308} or not answer.location:
                raise self._build_failure_error(answer)
            job_url = self._restore_https(answer.location.rstrip("/"))
        try:
            phase = self._wait_for_job(job_url)
            if phase != "COMPLETED":
                raise SourceError(
                    f"the job at {self.service.host} ended with the phase {phase}: "
                    f"{self._read_job_error(job_url) or 'the service gave no reason'}"
                )
            return self.service.retry(lambda: self._fetch_result(job_url, byte_limit))
        finally:
            with suppress(HvenError):
                self._delete_job(job_url)

    def _restore_https(self, job_url: str) -> str:
        """Keep an address on https: services behind a proxy often name their jobs by http.

        Raises
        ------
        ForbiddenError
            The job would be at another host, without https.
        """
        job_parts = split_address(job_url)
        service_parts = split_address(self.service.url)
        if service_parts.scheme != "https" or job_parts.scheme == "https":
            return job_url
        if job_parts.hostname != service_parts.hostname:
            raise ForbiddenError(
                f"{self.service.host} created the job at {job_parts.hostname}, an address without https",
                remedy="write `mode: sync`",
            )
        return urlunsplit((service_parts.scheme, service_parts.netloc, *job_parts[2:]))

    def _wait_for_job(self, job_url: str) -> str:
        """Wait for the end of a job."""
        start_time = time.monotonic()
        pause = FIRST_POLL_SECONDS
        while (phase := self.service.retry(lambda: self._read_phase(job_url))) not in {"COMPLETED", "ERROR", "ABORTED"}:
            if phase == "PENDING":  # the job did not take PHASE=RUN at once
                with self.service.request(
                    "POST", f"{job_url}/phase", [("PHASE", "RUN")], timeout_seconds=SMALL_ANSWER_TIMEOUT_SECONDS
                ) as answer:
                    if answer.status >= 400:
                        raise self._build_failure_error(answer)
            if time.monotonic() - start_time > MAX_JOB_SECONDS:
                raise SourceError(
                    f"{self.service.host} has not finished the job within a day",
                    remedy="use a watermark to request fewer rows, or request fewer columns",
                )
            time.sleep(pause)
            pause = min(MAX_POLL_SECONDS, 1.5 * pause)
        return phase

    def _read_phase(self, job_url: str) -> str:
        with self.service.request("GET", f"{job_url}/phase", timeout_seconds=SMALL_ANSWER_TIMEOUT_SECONDS) as answer:
            if answer.status != 200:
                raise self._build_failure_error(answer)
            match = _UWS_PHASE_PATTERN.search(extract_error_text(answer))
            if match is None:
                raise BrokenAnswerError("the service does not state the phase of the job")
            return match[1]

    def _fetch_result(self, job_url: str, byte_limit: int | None) -> IO[bytes]:
        with self.service.request("GET", f"{job_url}/results/result") as answer:
            return self._save_answer(answer, byte_limit)

    def _read_job_error(self, job_url: str) -> str:
        """Request the reason why a job failed: usually an error document."""
        with (
            suppress(HvenError),
            self.service.request("GET", f"{job_url}/error", timeout_seconds=SMALL_ANSWER_TIMEOUT_SECONDS) as answer,
        ):
            if answer.status == 200:
                error, text = _read_error_document(answer)
                if error:
                    return error.message.partition(": ")[2]
                return text
        return ""

    def _delete_job(self, job_url: str) -> None:
        with self.service.request(
            "DELETE", job_url, follow_redirects=False, timeout_seconds=SMALL_ANSWER_TIMEOUT_SECONDS
        ) as answer:
            if answer.status not in {405, 501}:
                return
        with self.service.request(
            "POST",
            job_url,
            [("ACTION", "DELETE")],
            follow_redirects=False,
            timeout_seconds=SMALL_ANSWER_TIMEOUT_SECONDS,
        ):
            pass


def _read_error_document(answer: StreamedAnswer) -> tuple[ErrorDocumentError | None, str]:
    """Read a failed answer: the error that it states as a VOTable, and its text otherwise."""
    document = bytearray()
    with suppress(HvenError):  # the text so far is enough for a message
        for part in answer.parts:
            document += part
            if len(document) > MAX_ERROR_DOCUMENT_BYTES:
                break
    try:
        _open_votable(io.BytesIO(document))
    except ErrorDocumentError as error:
        return error, ""
    except SourceError:
        pass
    return None, extract_error_text(bytes(document[:MAX_ERROR_DOCUMENT_BYTES]))


def has_overflow(metadata: TableMetadata) -> bool:
    """Return whether the service says that there are more rows; known when all rows were read.

    Parameters
    ----------
    metadata
        Metadata of the answer.
    """
    return any(info.name.upper() == "QUERY_STATUS" and info.value.upper() == "OVERFLOW" for info in metadata.infos)


def list_tap_tables(client: TapClient) -> list[AvailableTable]:
    """Return the tables of a service, except those about itself.

    Parameters
    ----------
    client
        The service.
    """
    schema_tables = client.query_page(
        "SELECT table_name, table_type FROM TAP_SCHEMA.tables", 100_000, must_be_complete=True
    ).table
    pairs = zip(*(column.to_pylist() for column in schema_tables.columns), strict=True)
    available_tables = [
        AvailableTable(option_value=str(name).strip(), is_view=str(kind).strip().lower() == "view")
        for name, kind in pairs
        if name and str(name).strip().strip('"').lower().partition(".")[0] not in {"tap_schema", "tap_upload"}
    ]
    return sorted(available_tables, key=lambda offer: str(offer.option_value).lower())


def _open_votable(file: IO[bytes], batch_rows: int = 131_072) -> TableStream:
    plugin = plugins.load_plugin("formats", "votable")
    read: TableStream = plugin.FORMAT.read(file, batch=batch_rows)
    return read
