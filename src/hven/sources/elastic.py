"""Documents of Elasticsearch (7, 8, 9) and OpenSearch, by their REST interface: one point in time, read to its end."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

import pyarrow as pa
from pydantic import Field

from hven.model.errors import Place, SourceError, nearest
from hven.model.table import Column  # noqa: TC001  (an annotation that is read)
from hven.sources import Context, Offer, ServiceKind, Source
from hven.sources._reading.files import Texts  # noqa: TC001  (pydantic reads it)
from hven.sources._reading.jsonpages import Page, PagedRecords, PageOptions, parsed
from hven.sources._reading.jsonshape import CELL, Leaf
from hven.sources._reading.jsontext import enter
from hven.sources._reading.service import Broken, Secret, authorization
from hven.sources._reading.watermark import Narrowing, Watermark, watermark

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path
    from typing import Self

PIT = (7, 12)  # since then a point in time has an order of its own (_shard_doc)
SERVICE = ServiceKind(
    address=r"(?P<url>https?://[^/?#]+:92\d\d)(?:/(?P<index>[^/?#_][^/?#]*))?(?:/_search)?/?", table="index"
)
KEEP = "5m"  # between two pages
KINDS = {
    **dict.fromkeys(("long", "integer", "short", "byte"), pa.int64()),
    **dict.fromkeys(("double", "float", "half_float", "scaled_float"), pa.float64()),
    **dict.fromkeys(("keyword", "text", "date", "date_nanos", "ip", "wildcard", "version", "constant_keyword", "unsigned_long", "match_only_text"), pa.string()),
    "boolean": pa.bool_(),
}  # fmt: skip
OURS = ("size", "from", "search_after", "pit", "scroll", "slice", "aggs", "aggregations", "track_total_hits")
HITS = ("hits", "hits")
SEARCH, ADDRESS = "query_data", "query_url"  # in files of scripts that ask an index: what is searched for, and where
_LAST = re.compile(rb"\s*\}\s*\]\s*\}\s*\}\s*")  # what follows the last `sort` of a page
_REASON = re.compile(r'"type"\s*:\s*"((?:[^"\\]|\\.)*)"\s*,\s*"reason"\s*:\s*"((?:[^"\\]|\\.)*)"')
_LOST = ("search_context_missing_exception", "No search context found", "point_in_time")


class Options(PageOptions):
    """What a descriptor may say of an index."""

    index: str = Field(min_length=1, description="Index, alias, or several (`nrh-*`).")
    query: str | dict[str, Any] | None = Field(None, description="A query as the index takes it, or the JSON file beside the descriptor that holds it, at its top or as `query_data`; what it says of pages is left out. Default: all documents.")  # fmt: skip
    order: Texts = Field(default_factory=list, description="Fields that together name a document, and that the index sorts by: who was stopped goes on behind the last. Default: the columns of the table's key, where they can.")  # fmt: skip
    source: Texts = Field(default_factory=list, description="Only these fields of the documents; `*` stands for any characters.")  # fmt: skip
    api_key: Secret | None = Field(None, description="`$NAME` of a secret that is an API key (`id:api_key` as Base64), instead of `login` or `token`.")  # fmt: skip


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open an index; nothing is asked yet.

    Raises
    ------
    SourceError
        An unknown secret, one that would go over http, or a query file that is none.
    """
    return Documents(options, context, authorization(options.api_key, context, "ApiKey"))


def tables(options: Mapping[str, Any], context: Context) -> list[Offer]:
    """List the indices that a server shows, but those of its own.

    Raises
    ------
    SourceError
        It does not answer, or shows none to us.
    """
    said = Options.model_validate({**options, "index": "-"})
    server = Documents(said, context, authorization(said.api_key, context, "ApiKey"))
    found = server._document("GET", f"{server.service.url}/_cat/indices?format=json")  # noqa: SLF001  (ours)
    return [
        Offer(choice=str(one["index"]), rows=int(one.get("docs.count") or 0))
        for one in sorted(found, key=lambda one: str(one["index"]))
        if not str(one["index"]).startswith(".")
    ]


class Documents(PagedRecords, Narrowing):
    """The documents of an index."""

    options: Options

    def __init__(self, options: Options, context: Context, secret: str | None) -> None:
        super().__init__(options, context, secret)
        self._query, address = _query(options.query, context.directory)
        self._newest: dict[str, Any] | None = None
        for word in OURS:
            if self._query.pop(word, None) is not None:
                self._tell(f"`{word}` of the query is left out: all documents are read, page by page")
        if address and not _asks_index(address, options.url, options.index):
            self._tell(
                f"`{ADDRESS}` of the query is {address}, which is not asked: `url` and `index` say {self._index}"
            )

    _path = HITS
    _sure = True  # it refuses documents with a key twice
    _unread = frozenset({"sort", "_score", "_ignored", "_type", "_version"})

    def columns(self) -> list[Column]:
        """List `_id`, `_index`, and the fields of the documents by dotted names."""
        return [replace(one, ucd="meta.id;meta.main") if one.name == "_id" else one for one in super().columns()]

    def _detail(self) -> str:
        return f"{self.options.index} {json.dumps(self._search(), sort_keys=True)}"

    # --- what the server says ------------------------------------------------------------------------------------

    @cached_property
    def _version(self) -> tuple[str, tuple[int, ...]]:
        """Who answers, and its version."""
        said = self._document("GET", self.service.url)
        version = said.get("version") if isinstance(said, dict) else None
        if not isinstance(version, dict) or "number" not in version:
            raise SourceError(
                f"{self.what} is no Elasticsearch: it does not say its version", remedy="look at the address"
            )
        number = tuple(int(part) for part in re.findall(r"\d+", str(version["number"]))[:2])
        return str(version.get("distribution", "elasticsearch")), number

    @cached_property
    def _mapping(self) -> dict[str, str]:
        """What fields are indexed as, by their dotted names, in all indices that are meant; empty: in several ways."""
        found: dict[str, set[str]] = {}

        def walk(properties: dict[str, Any], above: str) -> None:
            for name, one in properties.items():
                if isinstance(one.get("properties"), dict):
                    if one.get("type") != "nested":  # of arrays the sample tells
                        walk(one["properties"], f"{above}{name}.")
                elif (kind := str(one.get("type"))) in KINDS:
                    found.setdefault(f"{above}{name}", set()).add(kind)

        _ = self._version
        try:
            said = self._document("GET", f"{self._index}/_mapping")
        except SourceError as error:  # who may read documents need not see how they are indexed
            if "answers 403" not in error.message:
                raise
            self._tell(f"{self.what} does not show its mapping; types are those of the first documents")
            said = {}
        for index in said.values():
            walk(index.get("mappings", {}).get("properties", {}), "_source.")
        return {name: next(iter(kinds)) if len(kinds) == 1 else "" for name, kinds in found.items()}

    @cached_property
    def _leaves(self) -> list[Leaf]:
        """Columns of the sample, with the mapping's types, and those that the sample did not have."""
        known = {name: KINDS.get(kind, pa.string()) for name, kind in self._mapping.items() if name not in self.options.types}  # fmt: skip
        found = []
        for leaf in super()._leaves:
            kind = known.get(leaf.name)
            same = kind is None or leaf.how != CELL or leaf.mixed is not None
            found.append(leaf if same else Leaf(name=leaf.name, pointer=leaf.pointer, how=CELL, kind=kind))
        there = {leaf.name for leaf in found}
        inside = tuple(f"{leaf.name}." for leaf in found if leaf.how != CELL)
        if not self.options.source:
            for name, kind in known.items():
                if name not in there and not name.startswith(inside):
                    found.append(Leaf(name=name, pointer="/" + name.replace(".", "/"), how=CELL, kind=kind))
        return found

    # --- pages ---------------------------------------------------------------------------------------------------

    @property
    def _index(self) -> str:
        return f"{self.service.url}/{quote(self.options.index, safe=',*-_.')}"

    def _search(self) -> dict[str, Any]:
        said = dict(self._query)
        if self.options.source:
            said["_source"] = list(self.options.source)
        if self._newest is not None:
            filters = [self._newest, *([said["query"]] if "query" in said else [])]
            said["query"] = {"bool": {"filter": filters}}
        return said

    @cached_property
    def _order(self) -> list[str]:
        """Fields that name a document and that the index sorts by; none: it cannot be gone on behind a page."""
        if self.options.order:
            return list(self.options.order)
        names = [name.removeprefix("_source.") for name in self.context.key]
        sorts = [self._mapping.get(name, "text") for name in self.context.key]
        return [] if "sort" in self._query or set(sorts) & {"", "text", "match_only_text"} else names

    def _pages(self, after: str | None = None) -> Generator[Page, None, None]:
        who, version = self._version
        if who == "elasticsearch" and version >= PIT:
            yield from self._of_point(after)
        elif after is not None:
            raise SourceError(f"{self.what} cannot go on where it was", remedy="begin anew")
        else:
            yield from self._of_scroll()

    def _of_point(self, after: str | None) -> Generator[Page, None, None]:
        """Read a point in time: pages behind the last document of the one before."""
        point = self._opened("POST", f"{self._index}/_pit?keep_alive={KEEP}", "id")
        sort = [{name: "asc"} for name in self._order] or [{"_shard_doc": "asc"}]
        body = {"sort": sort, **self._search(), "size": self._page, "track_total_hits": True}
        if after is not None:
            body |= {"search_after": json.loads(after), "track_total_hits": False}
        number = 0
        try:
            while True:
                number += 1
                body["pit"] = {"id": point, "keep_alive": KEEP}
                data, said = self._hits(f"{self.service.url}/_search", body, number)
                point = said.get("pit_id", point)
                last = _last(data)
                if last is None:
                    return
                body |= {"search_after": last, "track_total_hits": False}
                yield Page(name=f"page {number}", data=data, behind=json.dumps(last) if self._order else "")
        finally:
            self._closed(f"{self.service.url}/_pit", {"id": point})

    def _of_scroll(self) -> Generator[Page, None, None]:
        """Scroll, where there is no point in time with an order of its own: old servers, and OpenSearch."""
        body: dict[str, Any] = {"sort": ["_doc"], **self._search(), "size": self._page, "track_total_hits": True}
        url, number, scroll = f"{self._index}/_search?scroll={KEEP}", 0, ""
        try:
            while True:
                number += 1
                data, said = self._hits(url, body, number)
                scroll = str(said.get("_scroll_id", scroll))
                if _last(data) is None:
                    return
                yield Page(name=f"page {number}", data=data)
                url, body = f"{self.service.url}/_search/scroll", {"scroll": KEEP, "scroll_id": scroll}
        finally:
            if scroll:
                self._closed(f"{self.service.url}/_search/scroll", {"scroll_id": [scroll]})

    def _opened(self, method: str, url: str, key: str) -> str:
        said = self._document(method, url)
        if not isinstance(said, dict) or not isinstance(said.get(key), str):
            raise SourceError(f"{self.what} opens no point in time: {str(said)[:200]}", remedy="look at its version")
        return str(said[key])

    def _closed(self, url: str, body: object) -> None:
        """Let go of what the server holds for us; if it does not hear, it forgets by itself."""
        with suppress(Exception), self.service.asked("DELETE", url, content=json.dumps(body).encode(), headers={"Content-Type": "application/json"}):  # fmt: skip
            pass

    def _hits(self, url: str, body: object, number: int) -> tuple[bytes, dict[str, Any]]:
        """Ask for a page; what says that documents are missing in it is an error."""
        try:
            data, _ = self._asked("POST", url, body)
        except SourceError as error:
            if any(word in error.message for word in _LOST):
                raise SourceError(
                    f"{self.what} has forgotten where we were at page {number:,}: its point in time is over",
                    remedy="read smaller pages (`page`), or when it has less to do: nothing was published",
                ) from error
            raise
        start = enter(data, HITS)
        if start is None:
            raise Broken(f"{self.what}: page {number:,} has no list of hits")
        said = parsed(data[:start] + b"]}}", self.what)
        shards = said.get("_shards", {})
        if said.get("timed_out") or shards.get("failed"):
            why = "it ran out of time" if said.get("timed_out") else f"{shards['failed']} of its {shards.get('total')} shards failed: {json.dumps(shards.get('failures', ''))[:300]}"  # fmt: skip
            raise SourceError(f"{self.what}: page {number:,} is not whole: {why}", remedy="try again when it is well: nothing was published")  # fmt: skip
        if number == 1 and "total" in said.get("hits", {}):
            total = said["hits"]["total"]  # a number before version 7
            self._expected = total.get("value") if isinstance(total, dict) else total
        return data, said

    def _refused(self, status: int, said: str) -> SourceError:
        reasons = _REASON.findall(said)
        if reasons:
            said = "; ".join(dict.fromkeys(": ".join(one) for one in reasons))
        if status == 404 and "index_not_found" in said:
            return SourceError(f"{self.what} has no index {self.options.index}", remedy="look at `index`")
        return super()._refused(status, said)

    # --- what is newer -------------------------------------------------------------------------------------------

    def _watermark(self, expression: str) -> Watermark | None:
        plain = expression.startswith("_source.") and expression in self._mapping
        return watermark(expression, self.columns()) if plain else None

    def _newer(self, known: Watermark, value: object) -> Self:
        field = known.expression.removeprefix("_source.")
        part = self._part()
        missing = {"bool": {"must_not": {"exists": {"field": field}}}}
        least = known.least(value)
        part._newest = {"bool": {"should": [{"range": {field: {"gte": least}}}, missing], "minimum_should_match": 1}}  # noqa: SLF001  (a copy of ours)
        return part


def _last(data: bytes) -> list[Any] | None:
    """Find what the last hit of a page is sorted by; None: there is no hit."""
    at = data.rfind(b'"sort"')
    if at >= 0:
        with suppress(ValueError):
            rest = data[at + 6 :].decode().lstrip().removeprefix(":").lstrip()
            value, end = json.JSONDecoder().raw_decode(rest)
            if isinstance(value, list) and _LAST.fullmatch(rest[end:].encode()):
                return value
    hits = parsed(data, "the service")["hits"]["hits"]  # what follows is not as usual
    return list(hits[-1].get("sort", [])) if hits else None


def _query(said: str | dict[str, Any] | None, directory: Path) -> tuple[dict[str, Any], str]:
    """Read what to search for, and the address in a file that has one beside its search, as scripts keep them."""
    found = _parse_query(_read_query(said, directory), said) if isinstance(said, str) else said or {}
    if not isinstance(found, dict):
        raise SourceError("a query is an object: {query: {..}}", remedy='write {"query": {"match_all": {}}}')
    address = ""
    if SEARCH in found or ADDRESS in found:
        found, address = _unwrap(found)
    known = {"query", "sort", "_source", "fields", "runtime_mappings", "min_score", "post_filter", "stored_fields", "docvalue_fields", "script_fields", *OURS}  # fmt: skip
    for word in found:
        if word not in known:
            raise SourceError(
                f"a search has no {word!r}", remedy=nearest(word, sorted(known)) or "it begins with `query`"
            )
    return dict(found), address


def _read_query(name: str, directory: Path) -> str:
    path = directory / name
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        there = sorted(one.name for one in directory.glob("*.json")) if directory.is_dir() else []
        raise SourceError(f"the query {name} cannot be read: {error.strerror}", remedy=nearest(path.name, there) or "it stands beside the descriptor") from error  # fmt: skip


def _parse_query(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SourceError(f"the query is no JSON: {error}", place=Place(file=name, line=error.lineno), remedy="mend it there") from error  # fmt: skip


def _unwrap(found: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Take the search and the address out of ``{"query_url": .., "query_data": ..}``; the search may be a text of JSON."""
    for word in found:
        if word not in {SEARCH, ADDRESS}:
            raise SourceError(f"{word!r} stands beside {SEARCH!r} in the query", remedy=f"what is searched for stands in {SEARCH!r}")  # fmt: skip
    search, address = found.get(SEARCH, {}), found.get(ADDRESS, "")
    if isinstance(search, str):
        search = _parse_query(search, SEARCH)
    if not isinstance(search, dict) or not isinstance(address, str):
        raise SourceError(f"{SEARCH!r} of the query is no object, or {ADDRESS!r} no text", remedy=f'write {{"{SEARCH}": {{"query": {{"match_all": {{}}}}}}}}')  # fmt: skip
    return search, address


def _asks_index(address: str, url: str, index: str) -> bool:
    """Tell whether the address of a search is that of an index of a server; what it says of pages does not count."""
    there, here = urlsplit(address), urlsplit(url)
    path = unquote(there.path).rstrip("/").removesuffix("/_search").removesuffix("/_doc")
    return (there.hostname, there.port, path) == (here.hostname, here.port, f"{here.path.rstrip('/')}/{index}")
