"""Items of a STAC API: collections, times, boxes and CQL2 filters; page by page by its links."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urljoin

from pydantic import Field

from hven.model.errors import SourceError, nearest
from hven.sources import Context, Offer, ServiceKind, Source
from hven.sources._reading.files import Texts  # noqa: TC001  (pydantic reads it)
from hven.sources._reading.jsonpages import Page, PagedRecords, PageOptions, addressed
from hven.sources._reading.watermark import Narrowing, Watermark, watermark

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

SERVICE = ServiceKind(
    address=r"(?P<url>https?://[^?#]*stac[^?#]*?)(?:/collections/(?P<collections>[^/?#]+)(?:/items)?|/collections|/search)?/?",
    table="collections",
)
SEARCH = "search"
CQL2 = "filter"  # the end of the conformance class that every API with filters names
UPDATED = ("properties.updated", "properties.created", "properties.datetime")


class Options(PageOptions):
    """What a descriptor may say of a STAC API."""

    collections: Texts = Field(default_factory=list, description="Only items of these collections.")
    datetime: str | None = Field(None, description="Only items of this time: `2020-01-01T00:00:00Z/..`.")
    bbox: list[float] | None = Field(None, min_length=4, max_length=6, description="Only items that touch this box: west, south, east, north.")  # fmt: skip
    filter: str | dict[str, Any] | None = Field(None, description="A condition in CQL2, as text or JSON.")
    method: Literal["auto", "GET", "POST"] = Field("auto", description="How a search is sent; default: POST, where the API has it.")  # fmt: skip


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open an API; nothing is asked yet.

    Raises
    ------
    SourceError
        An unknown secret, or one that would go over http.
    """
    return Items(options, context)


def tables(options: Mapping[str, Any], context: Context) -> list[Offer]:
    """List the collections of an API.

    Raises
    ------
    SourceError
        It does not answer, or is no STAC API.
    """
    return [Offer(choice=one) for one in Items(Options.model_validate(options), context).known]


class Items(PagedRecords, Narrowing):
    """The items of an API."""

    options: Options
    _newest: str | None = None
    _since: str | None = None

    @property
    def _path(self) -> tuple[str, ...]:
        return ("features",)

    def about(self) -> tuple[str | None, str | None]:
        """Return title and description of the collection, or of the API."""
        said = self._landing
        if len(self.options.collections) == 1:
            said = self._document("GET", f"{self._root}/collections/{self.options.collections[0]}")
        return said.get("title"), said.get("description")

    def _detail(self) -> str:
        return json.dumps(self._search(), sort_keys=True)

    # --- what the API says ---------------------------------------------------------------------------------------

    @property
    def _root(self) -> str:
        return self.service.url

    @cached_property
    def _landing(self) -> dict[str, Any]:
        found = self._document("GET", self._root)
        if not isinstance(found, dict) or "stac_version" not in found:
            raise SourceError(f"{self.what} is no STAC API: its first page names no stac_version", remedy="give the address of its landing page")  # fmt: skip
        return found

    @cached_property
    def _ways(self) -> dict[str, str]:
        """Addresses of the search by method."""
        links = [one for one in self._landing.get("links") or () if isinstance(one, dict) and one.get("rel") == SEARCH]
        found = {
            str(one.get("method", "GET")).upper(): urljoin(f"{self._root}/", str(one.get("href"))) for one in links
        }
        if not found:
            raise SourceError(f"{self.what} has no search", remedy="a static catalogue is read as files: `kind: json`")
        return found

    @cached_property
    def known(self) -> list[str]:
        """The collections that the API lists."""
        said = self._document("GET", f"{self._landing and self._root}/collections").get("collections") or ()
        return [str(one.get("id")) for one in said]

    @property
    def _filters(self) -> bool:
        return any(str(one).rstrip("/").endswith(CQL2) for one in self._landing.get("conformsTo") or ())

    @property
    def _method(self) -> str:
        said = self.options.method
        if said != "auto" and said not in self._ways and said == "POST":
            raise SourceError(f"{self.what} takes no POST", remedy="method: GET")
        return said if said != "auto" else "POST" if "POST" in self._ways else "GET"

    def _search(self) -> dict[str, Any]:
        said = self.options
        found: dict[str, Any] = {"limit": self._page}
        if said.collections:
            found["collections"] = list(said.collections)
        if said.bbox:
            found["bbox"] = list(said.bbox)
        if time := self._since or said.datetime:
            found["datetime"] = time
        filters = [one for one in (said.filter, self._newest) if one]
        if filters:
            if not self._filters:
                raise SourceError(f"{self.what} takes no filters: it does not name CQL2", remedy="leave `filter` out, and choose rows with `where`")  # fmt: skip
            if isinstance(said.filter, dict):
                found |= {"filter": said.filter, "filter-lang": "cql2-json"}
            else:
                found |= {"filter": " AND ".join(f"({one})" for one in filters), "filter-lang": "cql2-text"}
        return found

    # --- pages ---------------------------------------------------------------------------------------------------

    def _pages(self, after: str | None = None) -> Generator[Page, None, None]:
        unknown = self._unknown()
        if unknown:
            raise SourceError(f"{self.what} has no collection {unknown[0]}", remedy=unknown[1])
        search, method = self._search(), self._method
        number, link = json.loads(after) if after else (0, None)
        while link is not None or number == 0:
            number += 1
            if link is None:
                url = self._ways.get(method, next(iter(self._ways.values())))
                asked: tuple[str, str, Any] = ("POST", url, search) if method == "POST" else ("GET", addressed(url, search), None)  # fmt: skip
            else:
                asked = self._linked(link, search)
            data, answer = self._asked(*asked, headers=_headers(link or {}))
            page = Page(name=f"page {number:,}", data=data)
            document = self._divided(page, "is no collection of features", "tell its owners")
            if number == 1:
                told = document.get("numberMatched", (document.get("context") or {}).get("matched"))
                self._expected = told if isinstance(told, int) else None
            link = next((one for one in document.get("links") or () if isinstance(one, dict) and one.get("rel") == "next"), None)  # fmt: skip
            if link is not None:
                link = {**link, "href": self._near(answer.url, str(link.get("href", "")))}
            if page.parts:
                page.behind = json.dumps([number, link]) if link else ""
                yield page

    def _linked(self, link: dict[str, Any], search: dict[str, Any]) -> tuple[str, str, Any]:
        """Write the request that a link to the next page stands for."""
        if str(link.get("method", "GET")).upper() != "POST":
            return "GET", link["href"], None
        more = link.get("body") or {}
        return "POST", link["href"], {**search, **more} if link.get("merge") else more

    def _unknown(self) -> tuple[str, str] | None:
        """Find a collection that the API does not have: a search for it finds nothing, and says nothing."""
        if not self.options.collections:
            return None
        known = self.known
        for one in self.options.collections:
            if one not in known:
                said = nearest(one, known) or f"it has {', '.join(known[:20])}"
                try:  # lists of collections are cut short by some
                    self._document("GET", f"{self._root}/collections/{one}")
                except SourceError:
                    return one, said
        return None

    # --- what is newer -------------------------------------------------------------------------------------------

    def _watermark(self, expression: str) -> Watermark | None:
        sent = expression == "properties.datetime" or (self._filters and not isinstance(self.options.filter, dict))
        if expression not in UPDATED or not sent or (expression == "properties.datetime" and self.options.datetime):
            return None
        return watermark(expression, self.columns())

    def _newer(self, known: Watermark, value: object) -> Self:
        part, least = self._part(), known.least(value)
        if known.expression == "properties.datetime":
            part._since = f"{least}/.."  # noqa: SLF001  (a copy of ours)
        else:
            name = known.expression.removeprefix("properties.")
            part._newest = f"{name} >= TIMESTAMP('{str(least).replace(chr(39), '')}') OR {name} IS NULL"  # noqa: SLF001
        return part


def _headers(link: dict[str, Any]) -> dict[str, str]:
    said = link.get("headers") or {}
    return {str(name): str(value) for name, value in said.items() if str(name).lower() not in {"host", "authorization"}}
