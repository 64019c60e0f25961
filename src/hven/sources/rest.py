"""Records of a service that answers in pages of JSON: behind a link, a cursor, an offset, or a page's number."""

from __future__ import annotations

import json
import re
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlencode

from pydantic import Field, field_validator

from hven.model.errors import SourceError
from hven.sources import Context, ServiceKind, Source
from hven.sources._reading.jsonpages import Page, PagedRecords, PageOptions, addressed
from hven.sources._reading.jsonrows import parted
from hven.sources._reading.jsontext import form_of
from hven.sources._reading.watermark import Narrowing, Watermark, watermark

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from hven.sources.remote import Streamed

SERVICE = ServiceKind()
_LINK = re.compile(r'<([^>]*)>\s*;[^,]*?rel\s*=\s*"?next"?', re.IGNORECASE)
LINKS = (
    "next",
    "links.next",
    "_links.next.href",
    "paging.next",
    "@odata.nextLink",
)  # where others put the next page's address


class Options(PageOptions):
    """What a descriptor may say of pages of JSON."""

    params: dict[str, str | int | float] = Field(default_factory=dict, description="Parameters of each request.")
    body: dict[str, Any] | None = Field(None, description="A JSON document that is posted; parameters of pages are put into it. Default: GET.")  # fmt: skip
    records: list[str] | None = Field(None, description="Path of the list that holds the records: `data.items`; `.`: the page is one list. Default: seen from the first page.")  # fmt: skip
    next: list[str] | None = Field(None, description="Path of what leads to the next page: its address, or (with `cursor`) the value to send. Default: the header Link, or a link `next`.")  # fmt: skip
    cursor: str | None = Field(None, description="Name of the parameter in which the value at `next` is sent.")
    offset: str | None = Field(None, description="Name of the parameter that counts the records before a page.")
    number: str | None = Field(None, description="Name of the parameter that counts the pages.")
    first: Literal[0, 1] = Field(1, description="What the first page is called by `number`.")
    limit: str | None = Field(None, description="Name of the parameter that says how many records a page has.")
    newer: dict[str, str] = Field(default_factory=dict, description="Parameters that ask for what is new alone, by the column that `sync: watermark` names: `{updated: modified_since}`.")  # fmt: skip
    count: list[str] | None = Field(None, description="Path of the number of all records: fewer or more are an error.")

    _paths = field_validator("records", "next", "count", mode="before")(parted)


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open a service; nothing is asked yet.

    Raises
    ------
    SourceError
        An unknown secret, or one that would go over http; two ways from page to page.
    """
    ways = [way for way in ("cursor", "offset", "number") if getattr(options, way)]
    if len(ways) > 1:
        raise SourceError(f"{' and '.join(ways)} are two ways from page to page", remedy="say one of them")
    if options.cursor and not options.next:
        raise SourceError(
            "`cursor` is sent what stands at `next`", remedy="say `next`: the path of the cursor in a page"
        )
    return Records(options, context)


class Records(PagedRecords, Narrowing):
    """The records of a service, page by page."""

    options: Options
    _since: Mapping[str, str] = MappingProxyType({})

    def _detail(self) -> str:
        return urlencode({**self.options.params, **self._since}) or "all"

    @cached_property
    def _path(self) -> tuple[str, ...]:  # seen once here
        if self.options.records is not None:
            return tuple(self.options.records)
        data, _ = self._asked(*self._first())
        return form_of(Page(name="page 1", data=data), None).path

    # --- what is newer -------------------------------------------------------------------------------------------

    def _watermark(self, expression: str) -> Watermark | None:
        return watermark(expression, self.columns()) if expression in self.options.newer else None

    def _newer(self, known: Watermark, value: object) -> Self:
        part = self._part()
        part._since = {self.options.newer[known.expression]: str(known.least(value))}  # noqa: SLF001  (a copy of ours)
        return part

    # --- pages ---------------------------------------------------------------------------------------------------

    def _first(self) -> tuple[str, str, Any]:
        said = self.options
        given: dict[str, Any] = {}
        if said.limit:
            given[said.limit] = self._page
        if said.number:
            given[said.number] = said.first
        return self._request(said.url, given)

    def _request(self, url: str, given: dict[str, Any]) -> tuple[str, str, Any]:
        """Make method, address and body of a request with parameters of its page."""
        if self.options.body is not None:
            return "POST", addressed(url, self.options.params), {**self.options.body, **self._since, **given}
        return "GET", addressed(url, {**self.options.params, **self._since, **given}), None

    def _pages(self, after: str | None = None) -> Generator[Page, None, None]:
        said, path = self.options, self._path
        method, url, body = self._first()
        number = before = 0
        if after is not None:
            number, before, value = json.loads(after)
            method, url, body = self._following(number, before, value)
        while True:
            number += 1
            data, answer = self._asked(method, url, body)
            page = Page(name=f"page {number:,}", data=data)
            document = self._divided(page, f"has no list {'.'.join(path)!r}", "say `records`")
            rows = sum(len(part.texts) for part in page.parts or ())
            if said.count and self._expected is None:
                self._expected = _whole(_at(document, said.count), ".".join(said.count), self.what)
            before += rows
            counted = bool(said.offset or said.number)
            value = None if counted else _at(document, said.next or ()) if said.cursor else self._link(document, answer)
            more = rows > 0 and before != self._expected if counted else value not in (None, "", False)
            if rows:
                page.behind = json.dumps([number, before, value]) if more else ""
                yield page
            if not more:  # a page may be shorter than what was asked for
                return
            method, url, body = self._following(number, before, value)

    def _following(self, number: int, before: int, value: Any) -> tuple[str, str, Any]:
        """Write the request for the page behind so many pages, records, or a cursor."""
        said = self.options
        given: dict[str, Any] = {said.limit: self._page} if said.limit else {}
        if said.cursor:
            given[said.cursor] = value
        elif said.offset:
            given[said.offset] = before
        elif said.number:
            given[said.number] = number + said.first
        else:
            return "GET" if said.body is None else "POST", str(value), said.body
        return self._request(said.url, given)

    def _link(self, document: Any, answer: Streamed) -> str | None:
        if self.options.next:
            found = _at(document, self.options.next)
        elif match := _LINK.search(answer.headers.get("link", "")):
            found = match[1]
        else:
            found = next((one for path in LINKS if isinstance(one := _at(document, path.split(".")), str)), None)
            links = _at(document, ("links",))
            if found is None and isinstance(links, list):
                found = next(
                    (one.get("href") for one in links if isinstance(one, dict) and one.get("rel") == "next"), None
                )
        if found is not None and not isinstance(found, str):
            raise SourceError(f"{self.what}: the link to the next page is no address: {str(found)[:100]}", remedy="say `next`, or `cursor`")  # fmt: skip
        return self._near(answer.url, found) if found else None


def _at(document: Any, path: Any) -> Any:
    for part in path:
        if isinstance(document, list) and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        elif isinstance(document, dict):
            document = document.get(part)
        else:
            return None
    return document


def _whole(value: Any, path: str, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise SourceError(f"{what} does not say at {path} how many records there are: {str(value)[:60]!r}", remedy="leave `count` out")  # fmt: skip
    return value
