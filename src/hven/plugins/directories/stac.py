"""Read items from a STAC API page by page, selected by collection, time, box or CQL2 filter."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urljoin

from pydantic import Field

from hven.model.errors import SourceError, suggest_spelling
from hven.plugins.json_xml.json_pages import JsonPage, PagedJsonOptions, PagedJsonSource, set_query_parameters
from hven.sources import AvailableTable, ServiceUrlSignature, Source, SourceContext
from hven.sources.api.rows import Texts
from hven.sources.api.watermarks import Watermark, WatermarkSource, parse_watermark

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

SERVICE = ServiceUrlSignature(
    url_pattern=r"(?P<url>https?://[^?#]*stac[^?#]*?)"
    r"(?:/collections/(?P<collections>[^/?#]+)(?:/items)?|/collections|/search)?/?",
    table_option="collections",
)
SEARCH_RELATION = "search"
CQL2_CONFORMANCE = "filter"  # the end of the conformance class that every API with filters names
UPDATE_TIME_FIELDS = ("properties.updated", "properties.created", "properties.datetime")


class Options(PagedJsonOptions):
    """What a descriptor may state about a STAC API."""

    collections: Texts = Field(
        default_factory=list, description="Hven reads only items from these collections.", examples=[["omega"]]
    )
    datetime: str | None = Field(
        None, description="Hven reads only items from this time or period.", examples=["2020-01-01T00:00:00Z/.."]
    )
    bbox: list[float] | None = Field(
        None,
        min_length=4,
        max_length=6,
        description="Hven reads only items that touch this box. The numbers are west, south, east and north.",
        examples=[[0, -10, 20, 10]],
    )
    filter: str | dict[str, Any] | None = Field(
        None, description="A CQL2 condition for the items, as text or JSON.", examples=["eo:cloud_cover < 10"]
    )
    method: Literal["auto", "GET", "POST"] = Field(
        "auto",
        description=("HTTP method with which Hven sends its searches. Default: POST, if the API supports it."),
        examples=["GET"],
    )


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open an API; no request is sent yet.

    Raises
    ------
    SourceError
        An unknown secret, or one that would go over http.
    """
    return StacSource(options, context)


def list_source_tables(options: Mapping[str, Any], context: SourceContext) -> list[AvailableTable]:
    """List the collections of an API.

    Raises
    ------
    SourceError
        The server does not respond, or is no STAC API.
    """
    source = StacSource(Options.model_validate(options), context)
    return [AvailableTable(option_value=collection_id) for collection_id in source.collection_ids]


class StacSource(PagedJsonSource, WatermarkSource):
    """The items of an API."""

    options: Options
    _watermark_filter: str | None = None
    _datetime_since: str | None = None

    @property
    def _records_path(self) -> tuple[str, ...]:
        return ("features",)

    def read_title_and_description(self) -> tuple[str | None, str | None]:
        """Return title and description of the collection, or of the API."""
        collection_metadata = self._landing_page
        if len(self.options.collections) == 1:
            collection_metadata = self._request_document(
                "GET", f"{self._root}/collections/{self.options.collections[0]}"
            )
        return collection_metadata.get("title"), collection_metadata.get("description")

    def _describe_request(self) -> str:
        return json.dumps(self._build_search(), sort_keys=True)

    # --- the API -------------------------------------------------------------------------------------------------

    @property
    def _root(self) -> str:
        return self.service.url

    @cached_property
    def _landing_page(self) -> dict[str, Any]:
        landing_page = self._request_document("GET", self._root)
        if not isinstance(landing_page, dict) or "stac_version" not in landing_page:
            raise SourceError(
                f"{self.source_name} is not a STAC API: its landing page has no stac_version",
                remedy="give the address of the API's landing page",
            )
        return landing_page

    @cached_property
    def _search_urls(self) -> dict[str, str]:
        """Addresses of the search by method."""
        links = _list_links(self._landing_page, SEARCH_RELATION)
        urls_by_method: dict[str, str] = {}
        for link in links:
            method = str(link.get("method", "GET")).upper()
            urls_by_method[method] = urljoin(f"{self._root}/", str(link.get("href")))
        if not urls_by_method:
            raise SourceError(
                f"{self.source_name} has no search endpoint",
                remedy="if this is a static catalogue, read its files with `kind: json`",
            )
        return urls_by_method

    @cached_property
    def collection_ids(self) -> list[str]:
        """The collections that the API lists."""
        _ = self._landing_page  # which tells whether it is a STAC API
        document = self._request_document("GET", f"{self._root}/collections")
        collection_list = document.get("collections") or ()
        return [str(collection_entry.get("id")) for collection_entry in collection_list]

    @property
    def _has_filter_support(self) -> bool:
        conformance_classes = self._landing_page.get("conformsTo") or ()
        return any(str(name).rstrip("/").endswith(CQL2_CONFORMANCE) for name in conformance_classes)

    @property
    def _method(self) -> str:
        method_option = self.options.method
        if method_option == "POST" and "POST" not in self._search_urls:
            raise SourceError(f"{self.source_name} does not accept POST requests", remedy="write `method: GET`")
        if method_option != "auto":
            return method_option
        if "POST" in self._search_urls:
            return "POST"
        return "GET"

    def _build_search(self) -> dict[str, Any]:
        options = self.options
        search: dict[str, Any] = {"limit": self._page_size}
        if options.collections:
            search["collections"] = list(options.collections)
        if options.bbox:
            search["bbox"] = list(options.bbox)
        time = self._datetime_since or options.datetime
        if time:
            search["datetime"] = time
        filters = [condition for condition in (options.filter, self._watermark_filter) if condition]
        if filters:
            if not self._has_filter_support:
                raise SourceError(
                    f"{self.source_name} does not accept filters: its conformance classes do not include CQL2",
                    remedy="leave out `filter`, and choose rows with `where`",
                )
            if isinstance(options.filter, dict):
                search |= {"filter": options.filter, "filter-lang": "cql2-json"}
            else:
                search |= {
                    "filter": " AND ".join(f"({condition})" for condition in filters),
                    "filter-lang": "cql2-text",
                }
        return search

    # --- pages ---------------------------------------------------------------------------------------------------

    def _request_pages(self, resume_token: str | None = None) -> Generator[JsonPage, None, None]:
        unknown = self._find_unknown_collection()
        if unknown:
            raise SourceError(f"{self.source_name} has no collection {unknown[0]}", remedy=unknown[1])
        search = self._build_search()
        method = self._method
        number = 0
        link: dict[str, Any] | None = None
        if resume_token:
            number, link = json.loads(resume_token)
        while link is not None or number == 0:
            number += 1
            if link is None:
                request = self._build_first_request(method, search)
            else:
                request = self._build_linked_request(link, search)
            data, answer = self._request(*request, headers=_find_link_headers(link or {}))
            page = JsonPage(name=f"page {number:,}", data=data)
            document = self._take_records_out_of_page(
                page, "is not a feature collection", "report this to its operators"
            )
            if number == 1:
                self._stated_count = _find_stated_count(document)
            link = next(iter(_list_links(document, "next")), None)
            page.resume_token = ""
            if link is not None:
                next_url = self._resolve_next_url(answer.url, str(link.get("href", "")))
                link = {**link, "href": next_url}
                page.resume_token = json.dumps([number, link])
            if page.records:
                yield page

    def _build_first_request(self, method: str, search: dict[str, Any]) -> tuple[str, str, Any]:
        url = self._search_urls.get(method)
        if url is None:
            url = next(iter(self._search_urls.values()))
        if method == "POST":
            return "POST", url, search
        return "GET", set_query_parameters(url, search), None

    def _build_linked_request(self, link: dict[str, Any], search: dict[str, Any]) -> tuple[str, str, Any]:
        """Build the request that a link to the next page describes."""
        if str(link.get("method", "GET")).upper() != "POST":
            return "GET", link["href"], None
        body = link.get("body") or {}
        if link.get("merge"):
            body = {**search, **body}
        return "POST", link["href"], body

    def _find_unknown_collection(self) -> tuple[str, str] | None:
        """Find a collection that the API does not have: its search would find nothing, without an error."""
        if not self.options.collections:
            return None
        known_ids = self.collection_ids
        for collection_id in self.options.collections:
            if collection_id not in known_ids:
                suggestion = suggest_spelling(collection_id, known_ids) or (
                    f"choose one of its collections: {', '.join(known_ids[:20])}"
                )
                try:  # some lists of collections are cut short
                    self._request_document("GET", f"{self._root}/collections/{collection_id}")
                except SourceError:
                    return collection_id, suggestion
        return None

    # --- newer items ---------------------------------------------------------------------------------------------

    def _parse_watermark(self, expression: str) -> Watermark | None:
        is_time = expression == "properties.datetime"
        takes_filters = self._has_filter_support and not isinstance(self.options.filter, dict)
        can_be_sent = is_time or takes_filters
        is_time_taken = is_time and bool(self.options.datetime)
        if expression not in UPDATE_TIME_FIELDS or not can_be_sent or is_time_taken:
            return None
        return parse_watermark(expression, self.list_columns())

    def _select_newer(self, watermark: Watermark, value: object) -> Self:
        part = self._copy_source()
        lower_bound = watermark.compute_lower_bound(value)
        if watermark.expression == "properties.datetime":
            part._datetime_since = f"{lower_bound}/.."  # noqa: SLF001  (a copy of this source)
        else:
            name = watermark.expression.removeprefix("properties.")
            time_text = str(lower_bound).replace("'", "")
            condition = f"{name} >= TIMESTAMP('{time_text}') OR {name} IS NULL"
            part._watermark_filter = condition  # noqa: SLF001  (a copy of this source)
        return part


def _list_links(document: dict[str, Any], relation: str) -> list[dict[str, Any]]:
    """List the links of a document that have a relation."""
    links = [link for link in document.get("links") or () if isinstance(link, dict)]
    return [link for link in links if link.get("rel") == relation]


def _find_stated_count(document: dict[str, Any]) -> int | None:
    context = document.get("context") or {}
    stated_count = document.get("numberMatched", context.get("matched"))
    if isinstance(stated_count, int):
        return stated_count
    return None


def _find_link_headers(link: dict[str, Any]) -> dict[str, str]:
    stated_headers = link.get("headers") or {}
    headers: dict[str, str] = {}
    for name, value in stated_headers.items():
        if str(name).lower() not in {"host", "authorization"}:
            headers[str(name)] = str(value)
    return headers
