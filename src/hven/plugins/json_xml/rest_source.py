"""Read records page by page from a JSON service, by link, cursor, offset or page number."""

from __future__ import annotations

import json
import re
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlencode

from pydantic import Field, field_validator

from hven.model.errors import SourceError
from hven.plugins.json_xml.json_pages import JsonPage, PagedJsonOptions, PagedJsonSource, set_query_parameters
from hven.plugins.json_xml.json_records import detect_record_layout
from hven.plugins.json_xml.json_rows import split_dotted_path
from hven.sources import ServiceUrlSignature, Source, SourceContext
from hven.sources.api.watermarks import Watermark, WatermarkSource, parse_watermark

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from hven.sources.http_client import StreamedAnswer

SERVICE = ServiceUrlSignature()
_LINK_HEADER_PATTERN = re.compile(r'<([^>]*)>\s*;[^,]*?rel\s*=\s*"?next"?', re.IGNORECASE)
NEXT_LINK_PATHS = (
    "next",
    "links.next",
    "_links.next.href",
    "paging.next",
    "@odata.nextLink",
)  # where others put the next page's address


class Options(PagedJsonOptions):
    """What a descriptor may state about pages of JSON."""

    params: dict[str, str | int | float] = Field(
        default_factory=dict, description="Parameters of each request.", examples=[{"sort": "id"}]
    )
    body: dict[str, Any] | None = Field(
        None,
        description=(
            "A JSON document. Hven adds the page parameters to it, and sends it by POST. Default: Hven sends GET "
            "requests."
        ),
        examples=[{"instrument": "OMEGA"}],
    )
    records: list[str] | None = Field(
        None,
        description=(
            "Path of the list of records. Write `.` if the page itself is the list. Default: Hven finds the list in "
            "the first page."
        ),
        examples=["data.items"],
    )
    next: list[str] | None = Field(
        None,
        description=(
            "Path of the next page's address. With `cursor`, path of the value that Hven sends to request the next "
            "page. Default: the header Link, or a link `next`."
        ),
        examples=["links.next"],
    )
    cursor: str | None = Field(
        None, description="Name of the parameter in which Hven sends the value found by `next`.", examples=["after"]
    )
    offset: str | None = Field(
        None,
        description=(
            "Name of the parameter that states how many records precede the page. The list ends at an empty page."
        ),
        examples=["skip"],
    )
    number: str | None = Field(None, description="Name of the parameter for the page's number.", examples=["page"])
    first: Literal[0, 1] = Field(1, description="With `number`, the number of the first page.", examples=[0])
    limit: str | None = Field(
        None, description="Name of the parameter for the number of records in a page.", examples=["size"]
    )
    newer: dict[str, str] = Field(
        default_factory=dict,
        description=(
            "Parameters that select only new records. For each column of `sync: watermark`, write the parameter that "
            "selects newer records."
        ),
        examples=[{"updated": "modified_since"}],
    )
    count: list[str] | None = Field(
        None,
        description=(
            "Path of the total number of records. If Hven reads a different number of records, the run fails."
        ),
        examples=["total"],
    )

    _paths = field_validator("records", "next", "count", mode="before")(split_dotted_path)


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open a service; no request is sent yet.

    Raises
    ------
    SourceError
        An unknown secret, or one that would go over http; two ways from page to page.
    """
    paging_options = [
        paging_option for paging_option in ("cursor", "offset", "number") if getattr(options, paging_option)
    ]
    if len(paging_options) > 1:
        raise SourceError(f"{' and '.join(paging_options)} cannot be combined", remedy="use only one of them")
    if options.cursor and not options.next:
        raise SourceError("`cursor` needs `next`", remedy="set `next` to the path of the cursor in a page")
    return RestSource(options, context)


class RestSource(PagedJsonSource, WatermarkSource):
    """The records of a service, page by page."""

    options: Options
    _watermark_parameters: Mapping[str, str] = MappingProxyType({})

    def _describe_request(self) -> str:
        return urlencode({**self.options.params, **self._watermark_parameters}) or "all"

    @cached_property
    def _records_path(self) -> tuple[str, ...]:  # seen once here
        if self.options.records is not None:
            return tuple(self.options.records)
        data, _ = self._request(*self._build_first_request())
        return detect_record_layout(JsonPage(name="page 1", data=data), None).path

    # --- what is newer -------------------------------------------------------------------------------------------

    def _parse_watermark(self, expression: str) -> Watermark | None:
        if expression in self.options.newer:
            return parse_watermark(expression, self.list_columns())
        return None

    def _select_newer(self, watermark: Watermark, value: object) -> Self:
        part = self._copy_source()
        part._watermark_parameters = {  # noqa: SLF001  (a copy of ours)
            self.options.newer[watermark.expression]: str(watermark.compute_lower_bound(value))
        }
        return part

    # --- pages ---------------------------------------------------------------------------------------------------

    def _build_first_request(self) -> tuple[str, str, Any]:
        options = self.options
        return self._build_request({options.number: options.first} if options.number else {})

    def _build_request(self, page_parameters: dict[str, Any]) -> tuple[str, str, Any]:
        """Build method, address and body of a request with the parameters of its page."""
        options = self.options
        size = {}
        if options.limit:
            size = {options.limit: self._page_size}
        parameters = {**self._watermark_parameters, **size, **page_parameters}
        if options.body is not None:
            return "POST", set_query_parameters(options.url, options.params), {**options.body, **parameters}
        return "GET", set_query_parameters(options.url, {**options.params, **parameters}), None

    def _request_pages(self, resume_token: str | None = None) -> Generator[JsonPage, None, None]:
        options = self.options
        path = self._records_path
        method, url, body = self._build_first_request()
        number = before = 0
        if resume_token is not None:
            number, before, value = json.loads(resume_token)
            method, url, body = self._build_next_request(number, before, value)
        while True:
            number += 1
            data, answer = self._request(method, url, body)
            page = JsonPage(name=f"page {number:,}", data=data)
            document = self._take_records_out_of_page(
                page, f"has no list {'.'.join(path)!r}", "set `records` to the path of the list"
            )
            rows = sum(len(part.texts) for part in page.records or ())
            if options.count and self._stated_count is None:
                self._stated_count = _require_integer(
                    _find_json_value_at_path(document, options.count), ".".join(options.count), self.source_name
                )
            before += rows
            if options.offset or options.number:
                value = None
                has_next_page = rows > 0 and before != self._stated_count
            else:
                if options.cursor:
                    value = _find_json_value_at_path(document, options.next or ())
                else:
                    value = self._find_next_link(document, answer)
                has_next_page = value not in (None, "", False)
            if rows:
                if has_next_page:
                    page.resume_token = json.dumps([number, before, value])
                yield page
            if not has_next_page:  # a page may be shorter than what was asked for
                return
            method, url, body = self._build_next_request(number, before, value)

    def _build_next_request(self, page_number: int, record_count: int, cursor: Any) -> tuple[str, str, Any]:
        """Build the request for the page behind a number of pages or records, or a cursor."""
        options = self.options
        if options.cursor:
            return self._build_request({options.cursor: cursor})
        if options.offset:
            return self._build_request({options.offset: record_count})
        if options.number:
            return self._build_request({options.number: page_number + options.first})
        return "GET" if options.body is None else "POST", str(cursor), options.body

    def _find_next_link(self, document: Any, answer: StreamedAnswer) -> str | None:
        if self.options.next:
            next_link = _find_json_value_at_path(document, self.options.next)
        elif match := _LINK_HEADER_PATTERN.search(answer.headers.get("link", "")):
            next_link = match[1]
        else:
            next_link = _find_usual_next_link(document)
        if next_link is not None and not isinstance(next_link, str):
            raise SourceError(
                f"{self.source_name}: the link to the next page is {str(next_link)[:100]!r}, not an address",
                remedy="set `next` to the path of the next page's address, or add `cursor`",
            )
        if next_link:
            return self._resolve_next_url(answer.url, next_link)
        return None


def _find_usual_next_link(document: Any) -> Any:
    """Find the address of the next page where services usually write it."""
    for path in NEXT_LINK_PATHS:
        value = _find_json_value_at_path(document, path.split("."))
        if isinstance(value, str):
            return value
    links = _find_json_value_at_path(document, ("links",))
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == "next":
            return link.get("href")
    return None


def _find_json_value_at_path(document: Any, path: Any) -> Any:
    for part in path:
        if isinstance(document, list) and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        elif isinstance(document, dict):
            document = document.get(part)
        else:
            return None
    return document


def _require_integer(value: Any, path: str, source_name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise SourceError(
            f"{source_name}: the value at {path} is {str(value)[:60]!r}, not a number of records",
            remedy="leave out `count`",
        )
    return value
