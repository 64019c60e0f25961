"""Records that a service gives page by page: the next page is on its way while those before are read, and none comes twice or is missed unsaid."""

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
from hven.sources import Context, Pin
from hven.sources._reading.files import check_names
from hven.sources._reading.jsonrows import SAMPLE, JsonOptions, JsonTable, see
from hven.sources._reading.jsonshape import Node
from hven.sources._reading.jsontext import LIST, Form, Records, divided, enter, records
from hven.sources._reading.service import Broken, Budget, Service, ServiceOptions, authorization, words

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    import pyarrow as pa

    from hven.sources.remote import Streamed

AHEAD = 8 << 20  # bytes of pages that wait to be read; one may wait whatever its size
JSON = {"Content-Type": "application/json", "Accept": "application/json, application/geo+json"}


class PageOptions(JsonOptions, ServiceOptions):
    """What a descriptor may say of every service that gives pages of records."""

    page: int | None = Field(None, ge=1, le=1_000_000, description="Records of a page.")


@dataclass(kw_only=True)
class Page:
    """One answer: a document that records stand in.

    Attributes
    ----------
    name
        For messages.
    data
        The whole answer.
    behind
        What leads to the pages behind it, also in another run; empty: nothing does.
    parts
        Its records, of kinds that had to look where they end; None: nobody has looked yet.
    """

    name: str
    data: bytes = field(repr=False)
    behind: str = ""
    parts: list[Records] | None = field(default=None, repr=False)

    def open(self) -> io.BytesIO:
        """Open it for one pass."""
        return io.BytesIO(self.data)

    def finish(self) -> None:
        """Do nothing: it is here as a whole."""

    def fact(self, name: str) -> object:  # noqa: ARG002  (of files)
        """Return None: pages are no files."""
        return None


class PagedRecords(JsonTable):
    """The records of a service.

    Common
    ------

    Raises
    ------
        SourceError: what the service answers is no page, or pages repeat or end too early.
    """

    options: PageOptions

    def __init__(self, options: PageOptions, context: Context, secret: str | None = None) -> None:
        self.options: PageOptions = options
        self.context = context
        secret = (
            secret or authorization(options.token, context, "Bearer") or authorization(options.login, context, "Basic")
        )
        self.service = Service(
            options.url, context, seconds=options.seconds, tries=options.tries, rate=options.rate, secret=secret
        )
        self._told = set()
        self._budget = self.service.budget = self._spent()
        self._count = 0
        self._expected: int | None = None  # how many the service says there are

    # --- what a kind of service says -----------------------------------------------------------------------------

    @property
    @abstractmethod
    def _path(self) -> tuple[str, ...]:
        """Where in a page its records stand."""

    @abstractmethod
    def _pages(self, after: str | None = None) -> Generator[Page, None, None]:
        """Ask for one page after the other; `after`: what stood `behind` the last that was read."""

    @abstractmethod
    def _detail(self) -> str:
        """Say what was asked, for the pin."""

    # --- a source ------------------------------------------------------------------------------------------------

    @property
    def what(self) -> str:
        """What is read, in words, for messages."""
        return self.service.host

    @property
    def _title(self) -> str:
        return self.what

    def size(self) -> int | None:
        """Return how many records the service says there are; None: it has not been asked, or does not say."""
        return self._expected

    def pins(self) -> list[Pin]:
        """Name the service, what was asked of it, and how many records it gave."""
        return [
            Pin(name=self.options.url, bytes=self._budget.bytes, detail=f"{self._detail()}: {self._count:,} records")
        ]

    def _spent(self) -> Budget:
        return Budget(self.options, self.what, "or ask for less")

    def _part(self) -> Self:
        _ = self._leaves  # what was seen of the whole holds for its parts
        return copy.copy(self)

    @property
    def _page(self) -> int:
        return self.options.page or self.context.page or 1000

    def pages(
        self, columns: Sequence[str] | None = None, after: str | None = None
    ) -> Iterator[tuple[pa.RecordBatch, str]]:
        """Yield records, each page with what leads on behind it."""
        self._budget = self.service.budget = self._spent()
        self._expected = None
        names = check_names(columns, self._names(), self._title)
        self._count, place = json.loads(after) if after else (0, None)
        with self.service.connected(), closing(self._ahead(None, place)) as pages, self._reader(names) as read:
            for page in pages:
                batches = [read([(page, part)]) for part in self._parts(page)]
                for batch in batches[:-1]:
                    yield batch, ""
                yield batches[-1], json.dumps([self._count, page.behind]) if page.behind else ""
        self._complete()

    def _records(self, limit: int | None) -> Iterator[tuple[Page, Records]]:
        self._budget = self.service.budget = self._spent()
        self._count, self._expected = 0, None
        with self.service.connected(), closing(self._ahead(limit, None)) as pages:
            for page in pages:
                for part in self._parts(page):
                    yield page, part
        self._complete()

    def _parts(self, page: Page) -> Iterator[Records]:
        for part in page.parts if page.parts is not None else records(page, Form(LIST, self._path)):
            numbered = replace(part, first=self._count + 1)
            self._count += len(part.texts)
            yield numbered

    def _divided(self, page: Page, lacking: str, remedy: str) -> Any:
        """Find the records of a page, and return the document around them: where they are many, they are looked at once.

        Raises
        ------
        SourceError
            It has no list of them (`lacking`).
        Broken
            It is no JSON.
        """
        if enter(page.data, self._path) is None:
            parsed(page.data, self.what)
            raise SourceError(f"{self.what}: {page.name} {lacking}", remedy=remedy)
        before, behind, _, page.parts = divided(page, self._path)
        return parsed(before + behind, self.what)

    def _complete(self) -> None:
        """Check that all have come that the service counted."""
        if self._expected not in {None, self._count}:
            raise SourceError(
                f"{self.what} says that there are {self._expected:,} records, and gave {self._count:,}",
                remedy="look at its pages: nothing was published",
            )

    def _ahead(self, limit: int | None, after: str | None) -> Generator[Page, None, None]:
        """Ask for the next pages while those before are read, unless few are wanted; a page that came before ends it."""
        seen: set[bytes] = set()
        pages = self._pages(after)
        with closing(pages if limit is not None else _running(pages, self.service)) as coming:
            for page in coming:
                mark = blake2b(page.data[enter(page.data, self._path) or 0 :], digest_size=16).digest()
                if mark in seen:
                    raise SourceError(
                        f"{self.what} gives the same page again ({page.name})",
                        remedy="look how its pages are asked for: nothing was published",
                    )
                seen.add(mark)
                yield page

    @cached_property
    def _sampled(self) -> tuple[Node, bool]:
        node, left = Node(), SAMPLE
        with self.service.connected(), closing(self._pages()) as pages:
            for page in pages:
                for part in page.parts if page.parts is not None else records(page, Form(LIST, self._path)):
                    for text in part.texts:
                        left -= see(node, text)
                        if left <= 0:
                            return node, True
                return node, True
        return node, False

    # --- asking --------------------------------------------------------------------------------------------------

    def _asked(
        self, method: str, url: str, body: object = None, *, headers: Mapping[str, str] | None = None
    ) -> tuple[bytes, Streamed]:
        """Ask for a document, again where a pause may help.

        Raises
        ------
        SourceError
            It is refused, or no JSON.
        """
        content = None if body is None else json.dumps(body).encode()

        def ask() -> tuple[bytes, Streamed]:
            with self.service.asked(method, url, content=content, headers={**JSON, **(headers or {})}) as answer:
                if answer.status in {500, 408}:
                    raise Broken(f"answers {answer.status}: {words(answer)}")
                if answer.status >= 400:
                    raise self._refused(answer.status, words(answer))
                data = self._budget.read(answer.parts)
            start = data[:64].lstrip()[:1]
            if start not in {b"{", b"["}:
                said = words(data) or "nothing"
                raise SourceError(
                    f"{self.what} sends no JSON: {said}",
                    remedy="look at the address: is it the service, or its log-in page?",
                )
            if data.rstrip()[-1:] not in {b"}", b"]"}:
                raise Broken(f"{self.what}: the answer breaks off after {len(data):,} bytes")
            return data, answer

        return self.service.tried(ask)

    def _document(self, method: str, url: str, body: object = None) -> Any:
        """Ask for a document that is read as a whole."""
        data, _ = self._asked(method, url, body)
        return parsed(data, self.what)

    def _near(self, url: str, link: str) -> str:
        """Resolve the address of a next page; it stays on the server that was named."""
        found = urljoin(url, link)
        if split_address(found).hostname != split_address(self.options.url).hostname:
            raise SourceError(
                f"{self.what} leads to another server for its next page: {split_address(found).hostname}",
                remedy="if that is meant, name that server as `url`",
            )
        return found

    def _refused(self, status: int, said: str) -> SourceError:
        remedy = {
            401: "say `login` or `token`: a secret that lets us in",
            403: "the secret does not let us read this: ask its owners",
            404: "look at the address",
        }.get(status, "look at what is asked for")
        return SourceError(f"{self.what} answers {status}: {said}", remedy=remedy)


def _running(pages: Generator[Page, None, None], service: Service) -> Generator[Page, None, None]:
    """Ask for pages in a thread of their own, some ahead of who reads them; what fails there fails here, behind the pages before it.

    A page is given away once the next one is asked for: who reads it holds the interpreter, and the request would have to wait for that.
    """
    held: deque[Page] = deque()
    ready: deque[Page] = deque()
    turn = threading.Condition()
    over, stopped = False, False
    failed: BaseException | None = None

    def hand() -> None:
        if held:
            with turn:
                ready.append(held.popleft())
                turn.notify_all()

    def run() -> None:
        nonlocal over, failed
        service.meanwhile = hand
        try:
            for page in pages:
                hand()  # nothing had to be asked for this one
                held.append(page)
                if sum(len(one.data) for one in (*ready, page)) >= AHEAD:
                    hand()
                with turn:
                    turn.wait_for(lambda: stopped or sum(len(one.data) for one in ready) < AHEAD)
                    if stopped:
                        break
        except BaseException as error:  # noqa: BLE001  (it is raised where the pages are read)
            failed = error
        finally:
            service.meanwhile = None
            hand()
            with turn:
                over = True
                turn.notify_all()

    thread = threading.Thread(target=run, name="hven-pages", daemon=True)
    thread.start()
    try:
        while True:
            with turn:
                turn.wait_for(lambda: ready or over)
                if not ready:
                    break
                page = ready.popleft()
                turn.notify_all()
            yield page
        if failed is not None:
            raise failed
    finally:
        with turn:
            stopped = True
            turn.notify_all()
        thread.join()  # a request that is under way ends first
        pages.close()


def addressed(url: str, params: Mapping[str, Any]) -> str:
    """Add parameters to an address; those that it has by the same names go. Lists are parted by commas (OGC API Features)."""
    parts = split_address(url)
    kept = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in params]
    said = [
        (name, ",".join(map(str, one)) if isinstance(one, list) else json.dumps(one) if isinstance(one, dict) else one)
        for name, one in params.items()
    ]
    return urlunsplit(parts._replace(query=urlencode([*kept, *said])))


def parsed(data: bytes, what: str) -> Any:
    """Parse a document.

    Raises
    ------
    Broken
        It is no JSON: it broke off.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Broken(f"{what} sends broken JSON: {error}") from error
