"""Items of a STAC API: collections, times, boxes and CQL2 filters; page by page by its links."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urljoin

from pydantic import Field

from hven.model.errors import SourceError, suggest_spelling
from hven.sources import AvailableTable, ServiceSignature, Source, SourceContext
from hven.sources._reading.data_files import Texts  # noqa: TC001  (pydantic reads it)
from hven.sources._reading.json_pages import JsonPage, PagedJsonSource, PageOptions, add_query_parameters
from hven.sources._reading.watermarks import Watermark, WatermarkSource, parse_watermark

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

SERVICE = ServiceSignature(
    url_pattern=r"(?P<url>https?://[^?#]*stac[^?#]*?)(?:/collections/(?P<collections>[^/?#]+)(?:/items)?|/collections|/search)?/?",
    table_option="collections",
)
SEARCH_RELATION = "search"
CQL2_CONFORMANCE = "filter"  # the end of the conformance class that every API with filters names
UPDATE_TIME_FIELDS = ("properties.updated", "properties.created", "properties.datetime")


class Options(PageOptions):
    """What a descriptor may say of a STAC API."""

    collections: Texts = Field(default_factory=list, description="Only items of these collections.")
    datetime: str | None = Field(None, description="Only items of this time: `2020-01-01T00:00:00Z/..`.")
    bbox: list[float] | None = Field(
        None, min_length=4, max_length=6, description="Only items that touch this box: west, south, east, north."
    )
    filter: str | dict[str, Any] | None = Field(None, description="A condition in CQL2, as text or JSON.")
    method: Literal["auto", "GET", "POST"] = Field(
        "auto", description="How a search is sent; default: POST, where the API has it."
    )


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open an API; nothing is asked yet.

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
        It does not answer, or is no STAC API.
    """
    return [
        AvailableTable(option_value=collection_id)
        for collection_id in StacSource(Options.model_validate(options), context).collection_ids
    ]


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

    # --- what the API says ---------------------------------------------------------------------------------------

    @property
    def _root(self) -> str:
        return self.service.url

    @cached_property
    def _landing_page(self) -> dict[str, Any]:
        landing_page = self._request_document("GET", self._root)
        if not isinstance(landing_page, dict) or "stac_version" not in landing_page:
            raise SourceError(
                f"{self.source_name} is no STAC API: its first page names no stac_version",
                remedy="give the address of its landing page",
            )
        return landing_page

    @cached_property
    def _search_urls(self) -> dict[str, str]:
        """Addresses of the search by method."""
        links = [
            link
            for link in self._landing_page.get("links") or ()
            if isinstance(link, dict) and link.get("rel") == SEARCH_RELATION
        ]
        urls_by_method = {
            str(link.get("method", "GET")).upper(): urljoin(f"{self._root}/", str(link.get("href"))) for link in links
        }
        if not urls_by_method:
            raise SourceError(
                f"{self.source_name} has no search", remedy="a static catalogue is read as files: `kind: json`"
            )
        return urls_by_method

    @cached_property
    def collection_ids(self) -> list[str]:
        """The collections that the API lists."""
        collection_list = (
            self._request_document("GET", f"{self._landing_page and self._root}/collections").get("collections") or ()
        )
        return [str(collection_entry.get("id")) for collection_entry in collection_list]

    @property
    def _has_filters(self) -> bool:
        return any(
            str(conformance_class).rstrip("/").endswith(CQL2_CONFORMANCE)
            for conformance_class in self._landing_page.get("conformsTo") or ()
        )

    @property
    def _method(self) -> str:
        method_option = self.options.method
        if method_option != "auto" and method_option not in self._search_urls and method_option == "POST":
            raise SourceError(f"{self.source_name} takes no POST", remedy="method: GET")
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
            if not self._has_filters:
                raise SourceError(
                    f"{self.source_name} takes no filters: it does not name CQL2",
                    remedy="leave `filter` out, and choose rows with `where`",
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
        if resume_token:
            number, link = json.loads(resume_token)
        else:
            number, link = (0, None)
        while link is not None or number == 0:
            number += 1
            if link is None:
                url = self._search_urls.get(method, next(iter(self._search_urls.values())))
                asked: tuple[str, str, Any] = (
                    ("POST", url, search) if method == "POST" else ("GET", add_query_parameters(url, search), None)
                )
            else:
                asked = self._build_linked_request(link, search)
            headers = _find_link_headers(link or {})
            data, answer = self._request(*asked, headers=headers)
            page = JsonPage(name=f"page {number:,}", data=data)
            document = self._divide_page(page, "is no collection of features", "tell its owners")
            if number == 1:
                stated_count = document.get("numberMatched", (document.get("context") or {}).get("matched"))
                if isinstance(stated_count, int):
                    self._stated_count = stated_count
                else:
                    self._stated_count = None
            link = next(
                (
                    candidate
                    for candidate in document.get("links") or ()
                    if isinstance(candidate, dict) and candidate.get("rel") == "next"
                ),
                None,
            )
            if link is not None:
                link = {**link, "href": self._resolve_next_url(answer.url, str(link.get("href", "")))}
            if page.records:
                if link:
                    page.resume_token = json.dumps([number, link])
                else:
                    page.resume_token = ""
                yield page

    def _build_linked_request(self, link: dict[str, Any], search: dict[str, Any]) -> tuple[str, str, Any]:
        """Write the request that a link to the next page stands for."""
        if str(link.get("method", "GET")).upper() != "POST":
            return "GET", link["href"], None
        extra_body = link.get("body") or {}
        return "POST", link["href"], {**search, **extra_body} if link.get("merge") else extra_body

    def _find_unknown_collection(self) -> tuple[str, str] | None:
        """Find a collection that the API does not have: a search for it finds nothing, and says nothing."""
        if not self.options.collections:
            return None
        known_ids = self.collection_ids
        for collection_id in self.options.collections:
            if collection_id not in known_ids:
                suggestion = suggest_spelling(collection_id, known_ids) or f"it has {', '.join(known_ids[:20])}"
                try:  # lists of collections are cut short by some
                    self._request_document("GET", f"{self._root}/collections/{collection_id}")
                except SourceError:
                    return collection_id, suggestion
        return None

    # --- what is newer -------------------------------------------------------------------------------------------

    def _parse_watermark(self, expression: str) -> Watermark | None:
        can_be_sent = expression == "properties.datetime" or (
            self._has_filters and not isinstance(self.options.filter, dict)
        )
        if (
            expression not in UPDATE_TIME_FIELDS
            or not can_be_sent
            or (expression == "properties.datetime" and self.options.datetime)
        ):
            return None
        return parse_watermark(expression, self.list_columns())

    def _select_newer(self, watermark: Watermark, value: object) -> Self:
        part = self._copy_part()
        lower_bound = watermark.compute_lower_bound(value)
        if watermark.expression == "properties.datetime":
            part._datetime_since = f"{lower_bound}/.."  # noqa: SLF001  (a copy of ours)
        else:
            name = watermark.expression.removeprefix("properties.")
            part._watermark_filter = f"{name} >= TIMESTAMP('{str(lower_bound).replace(chr(39), '')}') OR {name} IS NULL"  # noqa: SLF001
        return part


def _find_link_headers(link: dict[str, Any]) -> dict[str, str]:
    stated_headers = link.get("headers") or {}
    return {
        str(name): str(value)
        for name, value in stated_headers.items()
        if str(name).lower() not in {"host", "authorization"}
    }
