"""Read documents from Elasticsearch (7, 8, 9) or OpenSearch through REST, as they were at one point in time."""

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

from hven.model.errors import SourceError, TextPlace, suggest_spelling
from hven.model.table import Column
from hven.plugins.json_xml.json_pages import JsonPage, PagedJsonOptions, PagedJsonSource, parse_json_document
from hven.plugins.json_xml.json_records import find_list_start
from hven.plugins.json_xml.json_schema import LEAF_CELL, JsonLeafColumn
from hven.sources import AvailableTable, ServiceUrlSignature, Source, SourceContext
from hven.sources.api.rows import Texts
from hven.sources.api.services import BrokenAnswerError, Secret, resolve_authorization
from hven.sources.api.watermarks import Watermark, WatermarkSource, parse_watermark

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path
    from typing import Self

PIT_MIN_VERSION = (7, 12)  # from this version on, a point in time has an order of its own (_shard_doc)
SERVICE = ServiceUrlSignature(
    url_pattern=r"(?P<url>https?://[^/?#]+:92\d\d)(?:/(?P<index>[^/?#_][^/?#]*))?(?:/_search)?/?", table_option="index"
)
KEEP_ALIVE = "5m"  # between two pages
_TEXT_TYPES = (
    *("keyword", "text", "date", "date_nanos", "ip", "wildcard", "version"),
    *("constant_keyword", "unsigned_long", "match_only_text"),
)
FIELD_TYPES = {
    **dict.fromkeys(("long", "integer", "short", "byte"), pa.int64()),
    **dict.fromkeys(("double", "float", "half_float", "scaled_float"), pa.float64()),
    **dict.fromkeys(_TEXT_TYPES, pa.string()),
    "boolean": pa.bool_(),
}
PAGING_KEYS = ("size", "from", "search_after", "pit", "scroll", "slice", "aggs", "aggregations", "track_total_hits")
HITS_PATH = ("hits", "hits")
# scripts that query an index keep the search and the address under these keys of a file
QUERY_DATA_KEY = "query_data"
QUERY_URL_KEY = "query_url"
_PAGE_END_PATTERN = re.compile(rb"\s*\}\s*\]\s*\}\s*\}\s*")  # what follows the last `sort` of a page
_SEARCH_KEYS = (
    *("query", "sort", "_source", "fields", "runtime_mappings", "min_score", "post_filter"),
    *("stored_fields", "docvalue_fields", "script_fields"),
)
_ERROR_REASON_PATTERN = re.compile(r'"type"\s*:\s*"((?:[^"\\]|\\.)*)"\s*,\s*"reason"\s*:\s*"((?:[^"\\]|\\.)*)"')
_LOST_CONTEXT_PHRASES = ("search_context_missing_exception", "No search context found", "point_in_time")


class Options(PagedJsonOptions):
    """What a descriptor may state about an index."""

    index: str = Field(min_length=1, description=("Name of an index or alias, or a list of names."), examples=["nrh-*"])
    query: str | dict[str, Any] | None = Field(
        None,
        description=(
            "The search that selects the documents. Write a search in Elasticsearch's own query language, or the name "
            "of a JSON file in the descriptor's directory. The file contains the search at its top level, or under "
            "the key `query_data`. Hven ignores the keys `size`, `from`, `aggs` and similar keys. Default: all "
            "documents."
        ),
        examples=["query.json"],
    )
    order: Texts = Field(
        default_factory=list,
        description=(
            "Fields that together identify a document, and by which the index can sort. With these fields, an "
            "interrupted run can continue after the last document. Default: the columns of the table's key, if the "
            "index can sort by them."
        ),
        examples=[["_source.id"]],
    )
    source: Texts = Field(
        default_factory=list,
        description="Hven reads only these fields of the documents. `*` matches any characters.",
        examples=[["time", "quicklooks.*"]],
    )
    api_key: Secret | None = Field(
        None,
        description=(
            "Instead of `login` or `token`: `$NAME`, where the secret NAME contains an API key (`id:api_key` as "
            "Base64)."
        ),
        examples=["$NRH_KEY"],
    )


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open an index; no request is sent yet.

    Raises
    ------
    SourceError
        An unknown secret, one that would go over http, or a query file that cannot be read.
    """
    return ElasticSource(options, context, resolve_authorization(options.api_key, context, "ApiKey"))


def list_source_tables(options: Mapping[str, Any], context: SourceContext) -> list[AvailableTable]:
    """List the indices that a server shows, except its own ones.

    Raises
    ------
    SourceError
        The server does not respond, or shows no index to this user.
    """
    parsed_options = Options.model_validate({**options, "index": "-"})
    secret = resolve_authorization(parsed_options.api_key, context, "ApiKey")
    server = ElasticSource(parsed_options, context, secret)
    url = f"{server.service.url}/_cat/indices?format=json"
    indices = server._request_document("GET", url)  # noqa: SLF001  (a class of this module)
    tables: list[AvailableTable] = []
    for index in sorted(indices, key=lambda index: str(index["index"])):
        name = str(index["index"])
        if not name.startswith("."):
            tables.append(AvailableTable(option_value=name, row_count=int(index.get("docs.count") or 0)))
    return tables


class ElasticSource(PagedJsonSource, WatermarkSource):
    """The documents of an index."""

    options: Options

    def __init__(self, options: Options, context: SourceContext, secret: str | None) -> None:
        super().__init__(options, context, secret)
        self._query, address = _load_query(options.query, context.directory)
        self._watermark_filter: dict[str, Any] | None = None
        for word in PAGING_KEYS:
            if self._query.pop(word, None) is not None:
                self._report_once(f"Hven ignores `{word}` in the query, because Hven reads all documents, page by page")
        if address and not _is_index_url(address, options.url, options.index):
            self._report_once(
                f"Hven ignores `{QUERY_URL_KEY}` in the query ({address}) and uses `url` and `index` "
                f"({self._index_url})"
            )

    _records_path = HITS_PATH
    _has_unique_keys = True  # it refuses documents with a key twice
    _ignored_columns = frozenset({"sort", "_score", "_ignored", "_type", "_version"})

    def list_columns(self) -> list[Column]:
        """List `_id`, `_index_url`, and the fields of the documents by dotted names."""
        columns = super().list_columns()
        for number, column in enumerate(columns):
            if column.name == "_id":
                columns[number] = replace(column, ucd="meta.id;meta.main")
        return columns

    def _describe_request(self) -> str:
        return f"{self.options.index} {json.dumps(self._build_search(), sort_keys=True)}"

    # --- the server ----------------------------------------------------------------------------------------------

    @cached_property
    def _server_version(self) -> tuple[str, tuple[int, ...]]:
        """Product and version of the server."""
        greeting = self._request_document("GET", self.service.url)
        version = None
        if isinstance(greeting, dict):
            version = greeting.get("version")
        if not isinstance(version, dict) or "number" not in version:
            raise SourceError(
                f"{self.source_name} is not an Elasticsearch server: its response contains no version number",
                remedy="check the address",
            )
        numbers = re.findall(r"\d+", str(version["number"]))
        number = tuple(map(int, numbers[:2]))
        return str(version.get("distribution", "elasticsearch")), number

    @cached_property
    def _field_types(self) -> dict[str, str]:
        """Types with which all indices index a field, by its dotted name; empty: they index it in several ways."""
        types_by_field: dict[str, set[str]] = {}

        def collect_fields(properties: dict[str, Any], prefix: str) -> None:
            for name, field_properties in properties.items():
                inner_properties = field_properties.get("properties")
                kind = str(field_properties.get("type"))
                if isinstance(inner_properties, dict):
                    if kind != "nested":  # the sample tells the types in arrays
                        collect_fields(inner_properties, f"{prefix}{name}.")
                elif kind in FIELD_TYPES:
                    types_by_field.setdefault(f"{prefix}{name}", set()).add(kind)

        _ = self._server_version
        try:
            mappings = self._request_document("GET", f"{self._index_url}/_mapping")
        except SourceError as error:  # a user who may read documents need not see how they are indexed
            if "returned status 403" not in error.message:
                raise
            self._report_once(
                f"{self.source_name} does not show its mapping; Hven uses the types in the first documents"
            )
            mappings = {}
        for index in mappings.values():
            collect_fields(index.get("mappings", {}).get("properties", {}), "_source.")
        field_types: dict[str, str] = {}
        for name, kinds in types_by_field.items():
            field_types[name] = ""
            if len(kinds) == 1:
                field_types[name] = next(iter(kinds))
        return field_types

    @cached_property
    def _leaves(self) -> list[JsonLeafColumn]:
        """Columns of the sample with the types of the mapping, and columns that the sample did not have."""
        sampled_names: dict[str, pa.DataType] = {}
        for name, field_type in self._field_types.items():
            if name not in self.options.types:
                sampled_names[name] = FIELD_TYPES.get(field_type, pa.string())
        sampled_leaves: list[JsonLeafColumn] = []
        for leaf in super()._leaves:
            kind = sampled_names.get(leaf.name)
            if kind is None or leaf.leaf_kind != LEAF_CELL or leaf.mixed_kinds is not None:
                sampled_leaves.append(leaf)
            else:
                sampled_leaves.append(_build_cell_leaf(leaf.name, leaf.pointer, kind))
        leaf_names = {leaf.name for leaf in sampled_leaves}
        inside = tuple(f"{leaf.name}." for leaf in sampled_leaves if leaf.leaf_kind != LEAF_CELL)
        if not self.options.source:
            for name, kind in sampled_names.items():
                if name not in leaf_names and not name.startswith(inside):
                    pointer = "/" + name.replace(".", "/")
                    sampled_leaves.append(_build_cell_leaf(name, pointer, kind))
        return sampled_leaves

    # --- pages ---------------------------------------------------------------------------------------------------

    @property
    def _index_url(self) -> str:
        return f"{self.service.url}/{quote(self.options.index, safe=',*-_.')}"

    def _build_search(self) -> dict[str, Any]:
        search = dict(self._query)
        if self.options.source:
            search["_source"] = list(self.options.source)
        if self._watermark_filter is not None:
            filters = [self._watermark_filter]
            if "query" in search:
                filters.append(search["query"])
            search["query"] = {"bool": {"filter": filters}}
        return search

    @cached_property
    def _sort_fields(self) -> list[str]:
        """Fields that name a document and that the index sorts by; empty: a query cannot go on behind a page."""
        if self.options.order:
            return list(self.options.order)
        names = [name.removeprefix("_source.") for name in self.context.key_columns]
        sorts = [self._field_types.get(name, "text") for name in self.context.key_columns]
        if "sort" in self._query or set(sorts) & {"", "text", "match_only_text"}:
            return []
        return names

    def _request_pages(self, resume_token: str | None = None) -> Generator[JsonPage, None, None]:
        product, version = self._server_version
        if product == "elasticsearch" and version >= PIT_MIN_VERSION:
            yield from self._read_point_in_time(resume_token)
        elif resume_token is not None:
            raise SourceError(
                f"{self.source_name} cannot continue where the previous read stopped",
                remedy="start again from the beginning",
            )
        else:
            yield from self._read_scroll()

    def _read_point_in_time(self, resume_token: str | None) -> Generator[JsonPage, None, None]:
        """Read a point in time: each page begins behind the last document of the page before."""
        point = self._open_point_in_time("POST", f"{self._index_url}/_pit?keep_alive={KEEP_ALIVE}", "id")
        body: dict[str, Any] = {"sort": [{name: "asc"} for name in self._sort_fields]}
        if not self._sort_fields:
            body["sort"] = [{"_shard_doc": "asc"}]
        body |= self._build_search()
        body |= {"size": self._page_size, "track_total_hits": True}
        if resume_token is not None:
            body |= {"search_after": json.loads(resume_token), "track_total_hits": False}
        number = 0
        try:
            while True:
                number += 1
                body["pit"] = {"id": point, "keep_alive": KEEP_ALIVE}
                data, answer = self._request_hits(f"{self.service.url}/_search", body, number)
                point = answer.get("pit_id", point)
                last = _find_last_sort_values(data)
                if last is None:
                    return
                body |= {"search_after": last, "track_total_hits": False}
                token = ""
                if self._sort_fields:
                    token = json.dumps(last)
                yield JsonPage(name=f"page {number}", data=data, resume_token=token)
        finally:
            self._release_server_context(f"{self.service.url}/_pit", {"id": point})

    def _read_scroll(self) -> Generator[JsonPage, None, None]:
        """Scroll, where a point in time has no order of its own: old servers, and OpenSearch."""
        body: dict[str, Any] = {"sort": ["_doc"], **self._build_search()}
        body |= {"size": self._page_size, "track_total_hits": True}
        url = f"{self._index_url}/_search?scroll={KEEP_ALIVE}"
        number = 0
        scroll = ""
        try:
            while True:
                number += 1
                data, answer = self._request_hits(url, body, number)
                scroll = str(answer.get("_scroll_id", scroll))
                if _find_last_sort_values(data) is None:
                    return
                yield JsonPage(name=f"page {number}", data=data)
                url = f"{self.service.url}/_search/scroll"
                body = {"scroll": KEEP_ALIVE, "scroll_id": scroll}
        finally:
            if scroll:
                self._release_server_context(f"{self.service.url}/_search/scroll", {"scroll_id": [scroll]})

    def _open_point_in_time(self, method: str, url: str, key: str) -> str:
        answer = self._request_document(method, url)
        if not isinstance(answer, dict) or not isinstance(answer.get(key), str):
            raise SourceError(
                f"{self.source_name} cannot open a point in time (PIT): {str(answer)[:200]}",
                remedy="check the version of the server",
            )
        return str(answer[key])

    def _release_server_context(self, url: str, body: object) -> None:
        """Release what the server keeps for the query; if this fails, the server forgets it after a time."""
        content = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        with suppress(Exception), self.service.request("DELETE", url, content=content, headers=headers):
            pass

    def _request_hits(self, url: str, body: object, page_number: int) -> tuple[bytes, dict[str, Any]]:
        """Request a page; an answer that misses documents is an error."""
        try:
            data, _ = self._request("POST", url, body)
        except SourceError as error:
            if any(word in error.message for word in _LOST_CONTEXT_PHRASES):
                raise SourceError(
                    f"{self.source_name} cannot return page {page_number:,}, because the search context has expired",
                    remedy="set a smaller `page`, or try again when the server is less busy; nothing was published",
                ) from error
            raise
        start = find_list_start(data, HITS_PATH)
        if start is None:
            raise BrokenAnswerError(f"{self.source_name}: page {page_number:,} has no list of hits")
        answer = parse_json_document(data[:start] + b"]}}", self.source_name)
        shards = answer.get("_shards", {})
        if answer.get("timed_out") or shards.get("failed"):
            if answer.get("timed_out"):
                reason = "the search timed out"
            else:
                reason = (
                    f"{shards['failed']} of {shards.get('total')} shards failed "
                    f"({json.dumps(shards.get('failures', ''))[:300]})"
                )
            raise SourceError(
                f"page {page_number:,} of {self.source_name} is incomplete: {reason}",
                remedy="try again when the server works normally again; nothing was published",
            )
        if page_number == 1 and "total" in answer.get("hits", {}):
            total = answer["hits"]["total"]  # a number before version 7
            if isinstance(total, dict):
                self._stated_count = total.get("value")
            else:
                self._stated_count = total
        return data, answer

    def _build_refusal_error(self, status: int, answer_text: str) -> SourceError:
        reasons = _ERROR_REASON_PATTERN.findall(answer_text)
        if reasons:
            answer_text = "; ".join(dict.fromkeys(": ".join(reason) for reason in reasons))
        if status == 404 and "index_not_found" in answer_text:
            return SourceError(f"{self.source_name} has no index {self.options.index}", remedy="check `index`")
        return super()._build_refusal_error(status, answer_text)

    # --- newer documents -----------------------------------------------------------------------------------------

    def _parse_watermark(self, expression: str) -> Watermark | None:
        if expression.startswith("_source.") and expression in self._field_types:
            return parse_watermark(expression, self.list_columns())
        return None

    def _select_newer(self, watermark: Watermark, value: object) -> Self:
        field = watermark.expression.removeprefix("_source.")
        part = self._copy_source()
        is_missing = {"bool": {"must_not": {"exists": {"field": field}}}}
        is_newer = {"range": {field: {"gte": watermark.compute_lower_bound(value)}}}
        condition = {"bool": {"should": [is_newer, is_missing], "minimum_should_match": 1}}
        part._watermark_filter = condition  # noqa: SLF001  (a copy of this source)
        return part


def _build_cell_leaf(name: str, pointer: str, arrow_type: pa.DataType) -> JsonLeafColumn:
    return JsonLeafColumn(name=name, pointer=pointer, leaf_kind=LEAF_CELL, arrow_type=arrow_type)


def _find_last_sort_values(data: bytes) -> list[Any] | None:
    """Find the sort values of the last hit of a page; None: there is no hit."""
    at = data.rfind(b'"sort"')
    if at >= 0:
        with suppress(ValueError):
            following_text = data[at + 6 :].decode().lstrip()
            following_text = following_text.removeprefix(":").lstrip()
            value, end = json.JSONDecoder().raw_decode(following_text)
            if isinstance(value, list) and _PAGE_END_PATTERN.fullmatch(following_text[end:].encode()):
                return value
    hits = parse_json_document(data, "the service")["hits"]["hits"]  # the page ends in an unusual way
    if hits:
        return list(hits[-1].get("sort", []))
    return None


def _load_query(query_option: str | dict[str, Any] | None, directory: Path) -> tuple[dict[str, Any], str]:
    """Load the query, and the address that a file of a script has beside it (empty: none)."""
    if isinstance(query_option, str):
        query = _parse_query(_read_query_file(query_option, directory), query_option)
    else:
        query = query_option or {}
    if not isinstance(query, dict):
        raise SourceError(
            "the query must be an object, such as {query: {..}}", remedy='write {"query": {"match_all": {}}}'
        )
    address = ""
    if QUERY_DATA_KEY in query or QUERY_URL_KEY in query:
        query, address = _unwrap_query(query)
    allowed_keys = {*_SEARCH_KEYS, *PAGING_KEYS}
    for word in query:
        if word not in allowed_keys:
            raise SourceError(
                f"{word!r} is not a valid key in a search",
                remedy=suggest_spelling(word, sorted(allowed_keys)) or "begin the search with the key `query`",
            )
    return dict(query), address


def _read_query_file(name: str, directory: Path) -> str:
    path = directory / name
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        file_names: list[str] = []
        if directory.is_dir():
            file_names = sorted(query_path.name for query_path in directory.glob("*.json"))
        raise SourceError(
            f"the query {name} cannot be read: {error.strerror}",
            remedy=suggest_spelling(path.name, file_names) or "put the file next to the descriptor",
        ) from error


def _parse_query(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = TextPlace(file=name, line=error.lineno)
        raise SourceError(f"the query is not JSON: {error}", place=place, remedy="correct the query") from error


def _unwrap_query(wrapper: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Take the search and the address out of ``{"query_url": .., "query_data": ..}``.

    The search may be a text of JSON.
    """
    for word in wrapper:
        if word not in {QUERY_DATA_KEY, QUERY_URL_KEY}:
            raise SourceError(
                f"the query has the key {word!r} in addition to {QUERY_DATA_KEY!r}",
                remedy=f"move the whole search to {QUERY_DATA_KEY!r}",
            )
    search = wrapper.get(QUERY_DATA_KEY, {})
    address = wrapper.get(QUERY_URL_KEY, "")
    if isinstance(search, str):
        search = _parse_query(search, QUERY_DATA_KEY)
    if not isinstance(search, dict) or not isinstance(address, str):
        raise SourceError(
            f"in the query, {QUERY_DATA_KEY!r} is not an object, or {QUERY_URL_KEY!r} is not a string",
            remedy=f'write {{"{QUERY_DATA_KEY}": {{"query": {{"match_all": {{}}}}}}}}',
        )
    return search, address


def _is_index_url(address: str, url: str, index: str) -> bool:
    """Check whether a search's address is that of an index of a server, whatever it says about pages."""
    search_parts = urlsplit(address)
    server_parts = urlsplit(url)
    if (search_parts.hostname, search_parts.port) != (server_parts.hostname, server_parts.port):
        return False
    path = unquote(search_parts.path).rstrip("/")
    index_path = path.removesuffix("/_search").removesuffix("/_doc")
    return index_path == f"{server_parts.path.rstrip('/')}/{index}"
