"""Records that a service gives page by page.

The next page is on its way while those before are read, and none comes twice or is missed unsaid.
"""

from __future__ import annotations

import copy
import io
import json
import threading
from abc import abstractmethod
from collections import deque
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
from hven.sources import InputVersion, SourceContext
from hven.sources._reading.data_files import check_column_names
from hven.sources._reading.json_records import (
    FORM_LIST,
    JsonRecords,
    RecordForm,
    divide_document,
    find_list_start,
    read_records,
)
from hven.sources._reading.json_rows import SAMPLE_BYTES, JsonOptions, JsonSource, add_to_node
from hven.sources._reading.json_schema import JsonNode
from hven.sources._reading.service_client import (
    BrokenAnswerError,
    RunBudget,
    ServiceClient,
    ServiceOptions,
    extract_error_text,
    resolve_authorization,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    import pyarrow as pa

    from hven.sources.http_client import StreamedAnswer

MAX_WAITING_BYTES = 8 << 20  # bytes of pages that wait to be read; one may wait whatever its size
JSON_HEADERS = {"Content-Type": "application/json", "Accept": "application/json, application/geo+json"}


class PageOptions(JsonOptions, ServiceOptions):
    """What a descriptor may say of every service that gives pages of records."""

    page: int | None = Field(None, ge=1, le=1_000_000, description="Records of a page.")


@dataclass(kw_only=True)
class JsonPage:
    """One answer: a document that records stand in.

    Attributes
    ----------
    name
        For messages.
    data
        The whole answer.
    resume_token
        What leads to the pages behind it, also in another run; empty: nothing does.
    records
        Its records, of kinds that had to look where they end; None: nobody has looked yet.
    """

    name: str
    data: bytes = field(repr=False)
    resume_token: str = ""
    records: list[JsonRecords] | None = field(default=None, repr=False)

    def open_stream(self) -> io.BytesIO:
        """Open it for one pass."""
        return io.BytesIO(self.data)

    def read_to_end(self) -> None:
        """Do nothing: it is here as a whole."""

    def find_fact(self, name: str) -> object:  # noqa: ARG002  (of files)
        """Return None: pages are no files."""
        return None


class PagedJsonSource(JsonSource):
    """The records of a service.

    Common
    ------

    Raises
    ------
        SourceError: what the service answers is no page, or pages repeat or end too early.
    """

    options: PageOptions

    def __init__(self, options: PageOptions, context: SourceContext, secret: str | None = None) -> None:
        self.options: PageOptions = options
        self.context = context
        secret = (
            secret
            or resolve_authorization(options.token, context, "Bearer")
            or resolve_authorization(options.login, context, "Basic")
        )
        self.service = ServiceClient(
            options.url,
            context,
            timeout_seconds=options.seconds,
            max_attempts=options.tries,
            requests_per_second=options.rate,
            authorization=secret,
        )
        self._reported = set()
        self._budget = self.service.budget = self._build_budget()
        self._record_count = 0
        self._stated_count: int | None = None  # how many the service says there are

    # --- what a kind of service says -----------------------------------------------------------------------------

    @property
    @abstractmethod
    def _records_path(self) -> tuple[str, ...]:
        """Where in a page its records stand."""

    @abstractmethod
    def _request_pages(self, resume_token: str | None = None) -> Generator[JsonPage, None, None]:
        """Ask for one page after the other; `resume_token`: what stood `behind` the last that was read."""

    @abstractmethod
    def _describe_request(self) -> str:
        """Say what was asked, for the pin."""

    # --- a source ------------------------------------------------------------------------------------------------

    @property
    def source_name(self) -> str:
        """What is read, in words, for messages."""
        return self.service.host

    @property
    def _title(self) -> str:
        return self.source_name

    def estimate_size(self) -> int | None:
        """Return how many records the service says there are; None: it has not been asked, or does not say."""
        return self._stated_count

    def list_input_versions(self) -> list[InputVersion]:
        """Name the service, what was asked of it, and how many records it gave."""
        return [
            InputVersion(
                name=self.options.url,
                bytes=self._budget.byte_count,
                detail=f"{self._describe_request()}: {self._record_count:,} records",
            )
        ]

    def _build_budget(self) -> RunBudget:
        return RunBudget(self.options, self.source_name, "or ask for less")

    def _copy_part(self) -> Self:
        _ = self._leaves  # what was seen of the whole holds for its parts
        return copy.copy(self)

    @property
    def _page_size(self) -> int:
        return self.options.page or self.context.page_row_limit or 1000

    def read_pages(
        self, column_names: Sequence[str] | None = None, resume_token: str | None = None
    ) -> Iterator[tuple[pa.RecordBatch, str]]:
        """Yield records, each page with what leads on behind it."""
        self._budget = self.service.budget = self._build_budget()
        self._stated_count = None
        names = check_column_names(column_names, self._list_column_names(), self._title)
        if resume_token:
            self._record_count, place = json.loads(resume_token)
        else:
            self._record_count, place = (0, None)
        with (
            self.service.keep_connections(),
            closing(self._read_pages_ahead(None, place)) as pages,
            self._open_group_reader(names) as read,
        ):
            for page in pages:
                batches = [read([(page, part)]) for part in self._assign_record_numbers(page)]
                for batch in batches[:-1]:
                    yield batch, ""
                yield batches[-1], json.dumps([self._record_count, page.resume_token]) if page.resume_token else ""
        self._check_complete()

    def _read_records(self, row_limit: int | None) -> Iterator[tuple[JsonPage, JsonRecords]]:
        self._budget = self.service.budget = self._build_budget()
        self._record_count = 0
        self._stated_count = None
        with self.service.keep_connections(), closing(self._read_pages_ahead(row_limit, None)) as pages:
            for page in pages:
                for part in self._assign_record_numbers(page):
                    yield page, part
        self._check_complete()

    def _assign_record_numbers(self, page: JsonPage) -> Iterator[JsonRecords]:
        for part in (
            page.records if page.records is not None else read_records(page, RecordForm(FORM_LIST, self._records_path))
        ):
            numbered = replace(part, first_number=self._record_count + 1)
            self._record_count += len(part.texts)
            yield numbered

    def _divide_page(self, page: JsonPage, complaint: str, remedy: str) -> Any:
        """Find the records of a page, and return the document around them.

        Where they are many, they are looked at once.

        Raises
        ------
        SourceError
            It has no list of them (`complaint`).
        BrokenAnswerError
            It is no JSON.
        """
        if find_list_start(page.data, self._records_path) is None:
            parse_document(page.data, self.source_name)
            raise SourceError(f"{self.source_name}: {page.name} {complaint}", remedy=remedy)
        before, behind, _, page.records = divide_document(page, self._records_path)
        return parse_document(before + behind, self.source_name)

    def _check_complete(self) -> None:
        """Check that all have come that the service counted."""
        if self._stated_count not in {None, self._record_count}:
            raise SourceError(
                f"{self.source_name} says that there are {self._stated_count:,} records, and gave "
                f"{self._record_count:,}",
                remedy="look at its pages: nothing was published",
            )

    def _read_pages_ahead(self, row_limit: int | None, resume_token: str | None) -> Generator[JsonPage, None, None]:
        """Ask for the next pages while those before are read, unless few are wanted.

        A page that came before ends it.
        """
        seen_digests: set[bytes] = set()
        pages = self._request_pages(resume_token)
        with closing(pages if row_limit is not None else _run_in_thread(pages, self.service)) as coming:
            for page in coming:
                mark = blake2b(
                    page.data[find_list_start(page.data, self._records_path) or 0 :], digest_size=16
                ).digest()
                if mark in seen_digests:
                    raise SourceError(
                        f"{self.source_name} gives the same page again ({page.name})",
                        remedy="look how its pages are asked for: nothing was published",
                    )
                seen_digests.add(mark)
                yield page

    @cached_property
    def _sample(self) -> tuple[JsonNode, bool]:
        node = JsonNode()
        remaining_bytes = SAMPLE_BYTES
        with self.service.keep_connections(), closing(self._request_pages()) as pages:
            for page in pages:
                for part in (
                    page.records
                    if page.records is not None
                    else read_records(page, RecordForm(FORM_LIST, self._records_path))
                ):
                    for text in part.texts:
                        remaining_bytes -= add_to_node(node, text)
                        if remaining_bytes <= 0:
                            return node, True
                return node, True
        return node, False

    # --- asking --------------------------------------------------------------------------------------------------

    def _request(
        self, method: str, url: str, body: object = None, *, headers: Mapping[str, str] | None = None
    ) -> tuple[bytes, StreamedAnswer]:
        """Ask for a document, again where a pause may help.

        Raises
        ------
        SourceError
            It is refused, or no JSON.
        """
        if body is None:
            content = None
        else:
            content = json.dumps(body).encode()

        def request_once() -> tuple[bytes, StreamedAnswer]:
            with self.service.request(
                method, url, content=content, headers={**JSON_HEADERS, **(headers or {})}
            ) as answer:
                if answer.status in {500, 408}:
                    raise BrokenAnswerError(f"answers {answer.status}: {extract_error_text(answer)}")
                if answer.status >= 400:
                    raise self._build_refusal_error(answer.status, extract_error_text(answer))
                data = self._budget.read_answer(answer.parts)
            start = data[:64].lstrip()[:1]
            if start not in {b"{", b"["}:
                answer_text = extract_error_text(data) or "nothing"
                raise SourceError(
                    f"{self.source_name} sends no JSON: {answer_text}",
                    remedy="look at the address: is it the service, or its log-in page?",
                )
            if data.rstrip()[-1:] not in {b"}", b"]"}:
                raise BrokenAnswerError(f"{self.source_name}: the answer breaks off after {len(data):,} bytes")
            return data, answer

        return self.service.retry(request_once)

    def _request_document(self, method: str, url: str, body: object = None) -> Any:
        """Ask for a document that is read as a whole."""
        data, _ = self._request(method, url, body)
        return parse_document(data, self.source_name)

    def _resolve_next_url(self, url: str, link: str) -> str:
        """Resolve the address of a next page; it stays on the server that was named."""
        next_url = urljoin(url, link)
        if split_address(next_url).hostname != split_address(self.options.url).hostname:
            raise SourceError(
                f"{self.source_name} leads to another server for its next page: {split_address(next_url).hostname}",
                remedy="if that is meant, name that server as `url`",
            )
        return next_url

    def _build_refusal_error(self, status: int, answer_text: str) -> SourceError:
        remedy = {
            401: "say `login` or `token`: a secret that lets us in",
            403: "the secret does not let us read this: ask its owners",
            404: "look at the address",
        }.get(status, "look at what is asked for")
        return SourceError(f"{self.source_name} answers {status}: {answer_text}", remedy=remedy)


def _run_in_thread(pages: Generator[JsonPage, None, None], service: ServiceClient) -> Generator[JsonPage, None, None]:
    """Ask for pages in a thread of their own, some ahead of who reads them.

    What fails there fails here, behind the pages before it.

    A page is given away once the next one is asked for: who reads it holds the interpreter, and the request would have
    to wait for that.
    """
    held_back: deque[JsonPage] = deque()
    ready: deque[JsonPage] = deque()
    turn = threading.Condition()
    is_over, is_stopped = False, False
    failure: BaseException | None = None

    def release_held_page() -> None:
        if held_back:
            with turn:
                ready.append(held_back.popleft())
                turn.notify_all()

    def fetch_pages() -> None:
        nonlocal is_over, failure
        service.on_wait = release_held_page
        try:
            for page in pages:
                release_held_page()  # nothing had to be asked for this one
                held_back.append(page)
                if sum(len(waiting_page.data) for waiting_page in (*ready, page)) >= MAX_WAITING_BYTES:
                    release_held_page()
                with turn:
                    turn.wait_for(
                        lambda: is_stopped or sum(len(waiting_page.data) for waiting_page in ready) < MAX_WAITING_BYTES
                    )
                    if is_stopped:
                        break
        except BaseException as error:  # noqa: BLE001  (it is raised where the pages are read)
            failure = error
        finally:
            service.on_wait = None
            release_held_page()
            with turn:
                is_over = True
                turn.notify_all()

    thread = threading.Thread(target=fetch_pages, name="hven-pages", daemon=True)
    thread.start()
    try:
        while True:
            with turn:
                turn.wait_for(lambda: ready or is_over)
                if not ready:
                    break
                page = ready.popleft()
                turn.notify_all()
            yield page
        if failure is not None:
            raise failure
    finally:
        with turn:
            is_stopped = True
            turn.notify_all()
        thread.join()  # a request that is under way ends first
        pages.close()


def add_query_parameters(url: str, params: Mapping[str, Any]) -> str:
    """Add parameters to an address; those that it has by the same names go.

    Lists are parted by commas (OGC API Features).
    """
    parts = split_address(url)
    kept_pairs = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in params]
    added_pairs = [
        (
            name,
            ",".join(map(str, parameter_value))
            if isinstance(parameter_value, list)
            else json.dumps(parameter_value)
            if isinstance(parameter_value, dict)
            else parameter_value,
        )
        for name, parameter_value in params.items()
    ]
    query = urlencode([*kept_pairs, *added_pairs])
    return urlunsplit(parts._replace(query=query))


def parse_document(data: bytes, source_name: str) -> Any:
    """Parse a document.

    Raises
    ------
    BrokenAnswerError
        It is no JSON: it broke off.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BrokenAnswerError(f"{source_name} sends broken JSON: {error}") from error
