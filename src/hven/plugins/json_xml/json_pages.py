"""Read records that a service sends page by page.

The next page is requested while one is read. No page is read twice, and a missing one is an error.
"""

from __future__ import annotations

import copy
import io
import json
import threading
from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, urlencode, urljoin, urlunsplit

import orjson
from pydantic import Field

from hven.model import split_address
from hven.model.errors import SourceError
from hven.plugins.json_xml.json_records import (
    FORM_LIST,
    JsonRecordChunk,
    JsonRecordLayout,
    find_list_start,
    read_records,
    split_document_at_records,
)
from hven.plugins.json_xml.json_rows import SAMPLE_BYTES, JsonOptions, JsonSource, add_record_to_node
from hven.plugins.json_xml.json_schema import JsonNodeSummary
from hven.sources import InputVersion, SourceContext
from hven.sources.api.rows import resolve_column_names
from hven.sources.api.services import (
    BrokenAnswerError,
    RunBudget,
    ServiceClient,
    ServiceOptions,
    extract_error_text,
    resolve_token_or_login,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa

    from hven.sources.http_client import StreamedAnswer

JSON_HEADERS = {"Content-Type": "application/json", "Accept": "application/json, application/geo+json"}


class PagedJsonOptions(JsonOptions, ServiceOptions):
    """What a descriptor may state about every service that sends pages of records."""

    page: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description=("Number of records in a page. `sync: page` takes precedence over this option. Default: 1,000."),
        examples=[500],
    )


@dataclass(kw_only=True)
class JsonPage:
    """One answer: a document that holds records.

    Attributes
    ----------
    name
        Name for messages.
    data
        The whole answer.
    resume_token
        Token of the pages behind it, valid also in another run; empty: there is none.
    records
        Its records, if the source had to find their end; None: nobody has looked for it yet.
    """

    name: str
    data: bytes = field(repr=False)
    resume_token: str = ""
    records: list[JsonRecordChunk] | None = field(default=None, repr=False)

    def open_stream(self) -> io.BytesIO:
        """Open the page for one pass."""
        return io.BytesIO(self.data)

    def read_to_end(self) -> None:
        """Do nothing: the whole page is in memory."""

    def find_file_fact(self, name: str) -> object:  # noqa: ARG002  (of files)
        """Return None: pages are no files.

        Parameters
        ----------
        name
            Name of a fact about files.
        """
        return None


class PagedJsonSource(JsonSource):
    """The records of a service.

    Attributes
    ----------
    options
        Options of the source, from the descriptor.

    Common
    ------

    Raises
    ------
        SourceError: what the service answers is no page, or pages repeat or end too early.
    """

    options: PagedJsonOptions

    def __init__(self, options: PagedJsonOptions, context: SourceContext, secret: str | None = None) -> None:
        self.options: PagedJsonOptions = options
        self.context = context
        secret = secret or resolve_token_or_login(options.token, options.login, context)
        self.service = ServiceClient(options.url, context, options=options, authorization=secret)
        self._reported = set()
        self._budget = RunBudget(options, self.source_name, "or request less")
        self.service.budget = self._budget
        self._record_count = 0
        self._stated_count: int | None = None  # number of records that the service states

    # --- what each kind of service provides ----------------------------------------------------------------------

    @property
    @abstractmethod
    def _records_path(self) -> tuple[str, ...]:
        """Path of the records in a page."""

    @abstractmethod
    def _request_pages(self, resume_token: str | None = None) -> Generator[JsonPage, None, None]:
        """Request one page after the other; `resume_token`: that of the last page that was read."""

    @abstractmethod
    def _describe_request(self) -> str:
        """Describe the request, for the version of the input."""

    # --- a source ------------------------------------------------------------------------------------------------

    @property
    def source_name(self) -> str:
        """The service in words, for messages."""
        return self.service.host

    @property
    def _title(self) -> str:
        return self.source_name

    def estimate_progress_total(self) -> int | None:
        """Return the number of records that the service states; None: it was not asked, or does not state it."""
        return self._stated_count

    def list_input_versions(self) -> list[InputVersion]:
        """Name the service, the request, and the number of records.

        Returns
        -------
        versions
            One version, with the bytes that were received.
        """
        detail = f"{self._describe_request()}: {self._record_count:,} records"
        return [InputVersion(name=self.options.url, bytes=self._budget.byte_count, detail=detail)]

    def _reset_run_counters(self) -> None:
        self._budget.reset()
        self._record_count = 0
        self._stated_count = None

    def _copy_source(self) -> Self:
        _ = self._leaves  # cached for all parts
        return copy.copy(self)

    @property
    def _page_size(self) -> int:
        return self.options.page or self.context.page_row_limit or 1000

    def read_pages(
        self, column_names: Sequence[str] | None = None, resume_token: str | None = None
    ) -> Iterator[tuple[pa.RecordBatch, str]]:
        """Yield records, and behind each page the token to go on from.

        Parameters
        ----------
        column_names
            Columns to read; None: all.
        resume_token
            The token of the last page that was read; None: begin with the first page.
        """
        self._reset_run_counters()
        names = resolve_column_names(column_names, self._list_column_names(), self._title)
        place = None
        if resume_token:
            self._record_count, place = json.loads(resume_token)
        with (
            self.service.keep_connections_open(),
            closing(self._read_pages_ahead(None, place)) as pages,
            self._build_reader(names) as reader,
        ):
            for page in pages:
                parsed_parts = [reader.parse_records([(page, part)]) for part in self._assign_record_numbers(page)]
                batches = [self._report_and_build_batch(parsed, names) for parsed in parsed_parts]
                for batch in batches[:-1]:
                    yield batch, ""
                token = ""
                if page.resume_token:
                    token = json.dumps([self._record_count, page.resume_token])
                yield batches[-1], token
        self._require_stated_record_count()

    def _read_records(self, row_limit: int | None) -> Iterator[tuple[JsonPage, JsonRecordChunk]]:
        self._reset_run_counters()
        with self.service.keep_connections_open(), closing(self._read_pages_ahead(row_limit, None)) as pages:
            for page in pages:
                for part in self._assign_record_numbers(page):
                    yield page, part
        self._require_stated_record_count()

    def _assign_record_numbers(self, page: JsonPage) -> Iterator[JsonRecordChunk]:
        for part in self._list_page_records(page):
            numbered = replace(part, first_number=self._record_count + 1)
            self._record_count += len(part.texts)
            yield numbered

    def _list_page_records(self, page: JsonPage) -> Iterable[JsonRecordChunk]:
        if page.records is not None:
            return page.records
        return read_records(page, JsonRecordLayout(FORM_LIST, self._records_path))

    def _take_records_out_of_page(self, page: JsonPage, complaint: str, remedy: str) -> Any:
        """Find the records of a page, and return the document around them.

        Pages with many records are scanned only once.

        Raises
        ------
        SourceError
            The page has no list of records (`complaint`).
        BrokenAnswerError
            The page is no JSON.
        """
        if find_list_start(page.data, self._records_path) is None:
            parse_json_document(page.data, self.source_name)
            raise SourceError(f"{self.source_name}: {page.name} {complaint}", remedy=remedy)
        before, behind, _, page.records = split_document_at_records(page, self._records_path)
        return parse_json_document(before + behind, self.source_name)

    def _require_stated_record_count(self) -> None:
        """Check that all records came that the service counted."""
        if self._stated_count not in {None, self._record_count}:
            raise SourceError(
                f"{self.source_name} stated a total of {self._stated_count:,} records, but returned "
                f"{self._record_count:,}",
                remedy="check the paging options of the source; nothing was published",
            )

    def _read_pages_ahead(self, row_limit: int | None, resume_token: str | None) -> Generator[JsonPage, None, None]:
        """Request the next page while one is read, unless few records are wanted.

        A page that came before is an error.
        """
        seen_digests: set[bytes] = set()
        pages = self._request_pages(resume_token)
        if row_limit is None:
            pages = _fetch_pages_ahead(pages, self.service)
        with closing(pages) as coming:
            for page in coming:
                records_start = find_list_start(page.data, self._records_path) or 0
                mark = blake2b(page.data[records_start:], digest_size=16).digest()
                if mark in seen_digests:
                    raise SourceError(
                        f"{self.source_name} returned the same page twice ({page.name})",
                        remedy="check the paging options of the source; nothing was published",
                    )
                seen_digests.add(mark)
                yield page

    @cached_property
    def _sampled_structure(self) -> tuple[JsonNodeSummary, bool]:
        node = JsonNodeSummary()
        remaining_bytes = SAMPLE_BYTES
        with self.service.keep_connections_open(), closing(self._request_pages()) as pages:
            for page in pages:
                for part in self._list_page_records(page):
                    for text in part.texts:
                        remaining_bytes -= add_record_to_node(node, text)
                        if remaining_bytes <= 0:
                            return node, True
                return node, True
        return node, False

    # --- requests ------------------------------------------------------------------------------------------------

    def _request(
        self, method: str, url: str, body: object = None, *, headers: Mapping[str, str] | None = None
    ) -> tuple[bytes, StreamedAnswer]:
        """Request a document, and try again where a pause may help.

        Raises
        ------
        SourceError
            The request is refused, or the answer is no JSON.
        """
        content = None
        if body is not None:
            content = json.dumps(body).encode()
        all_headers = {**JSON_HEADERS, **(headers or {})}

        def request_once() -> tuple[bytes, StreamedAnswer]:
            with self.service.request(method, url, content=content, headers=all_headers) as answer:
                if answer.status in {500, 408}:
                    error_text = extract_error_text(answer)
                    raise BrokenAnswerError(f"the service returned status {answer.status}: {error_text}")
                if answer.status >= 400:
                    raise self._build_refusal_error(answer.status, extract_error_text(answer))
                data = self._budget.read_answer_within_limit(answer.parts)
            start = data[:64].lstrip()[:1]
            if start not in {b"{", b"["}:
                answer_text = extract_error_text(data)
                shown_text = repr(answer_text) if answer_text else "an empty response"
                raise SourceError(
                    f"{self.source_name} did not return JSON, but {shown_text}",
                    remedy="check whether this is the address of the service or of its login page",
                )
            if data.rstrip()[-1:] not in {b"}", b"]"}:
                raise BrokenAnswerError(f"{self.source_name}: the response is truncated after {len(data):,} bytes")
            return data, answer

        return self.service.retry(request_once)

    def _request_document(self, method: str, url: str, body: object = None) -> Any:
        """Request a document that is read as a whole."""
        data, _ = self._request(method, url, body)
        return parse_json_document(data, self.source_name)

    def _resolve_next_url(self, url: str, link: str) -> str:
        """Resolve the address of a next page, which must be on the server of the descriptor."""
        next_url = urljoin(url, link)
        if split_address(next_url).hostname != split_address(self.options.url).hostname:
            raise SourceError(
                f"the next page of {self.source_name} is on another server: {split_address(next_url).hostname}",
                remedy="if this is intended, set `url` to an address on that server",
            )
        return next_url

    def _build_refusal_error(self, status: int, answer_text: str) -> SourceError:
        remedies = {
            401: "set `login` or `token` to a secret with access to the service",
            403: "ask the service's operators for access with this secret",
            404: "check the address",
        }
        remedy = remedies.get(status, "check the options of the request")
        return SourceError(f"{self.source_name} returned status {status}: {answer_text}", remedy=remedy)


def _fetch_pages_ahead(
    pages: Generator[JsonPage, None, None], service: ServiceClient
) -> Generator[JsonPage, None, None]:
    """Request the next page in a thread while one is read.

    A page is yielded only when the next one is requested: its reader holds the interpreter, and the request would have
    to wait for that. An error in the thread is raised for the reader behind the pages before it.
    """
    with closing(pages), ThreadPoolExecutor(1, thread_name_prefix="hven-pages") as pool:
        try:
            page = next(pages, None)
            while page is not None:
                is_requested = threading.Event()
                service.on_wait = is_requested.set
                next_page = pool.submit(_fetch_next_page, pages, is_requested)
                is_requested.wait()
                yield page
                page = next_page.result()
        finally:
            service.on_wait = None


def _fetch_next_page(pages: Iterator[JsonPage], is_requested: threading.Event) -> JsonPage | None:
    try:
        return next(pages, None)
    finally:
        is_requested.set()


def set_query_parameters(url: str, params: Mapping[str, Any]) -> str:
    """Add parameters to an address; they replace those of the same names.

    The elements of lists are separated by commas (OGC API Features).

    Parameters
    ----------
    url
        An address, which may have parameters.
    params
        Values by the names of parameters.

    Returns
    -------
    url
        The address with these parameters.
    """
    parts = split_address(url)
    pairs = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in params]
    for name, value in params.items():
        if isinstance(value, list):
            pairs.append((name, ",".join(map(str, value))))
        elif isinstance(value, dict):
            pairs.append((name, json.dumps(value)))
        else:
            pairs.append((name, value))
    query = urlencode(pairs)
    return urlunsplit(parts._replace(query=query))


def parse_json_document(data: bytes, source_name: str) -> Any:
    """Parse a document.

    Parameters
    ----------
    data
        The bytes of the document.
    source_name
        The service in words, for messages.

    Returns
    -------
    document
        Maps, lists, texts and numbers.

    Raises
    ------
    BrokenAnswerError
        The document is no JSON: it broke off.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BrokenAnswerError(f"{source_name} returned invalid JSON: {error}") from error
