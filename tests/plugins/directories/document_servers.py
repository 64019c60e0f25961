"""Services of JSON pages to inject faults into: Elasticsearch and OpenSearch, and a STAC API."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from json_servers import JsonServer, Reply, Request

CONTEXT_MISSING = {"error": {"root_cause": [{"type": "search_context_missing_exception", "reason": "No search context found for id [7]"}], "type": "search_phase_execution_exception", "reason": "all shards failed"}, "status": 404}  # fmt: skip


@dataclass
class ElasticServer(JsonServer):
    """An index of documents, with the interface of Elasticsearch 7 to 9 and OpenSearch."""

    documents: list[dict[str, Any]] = field(default_factory=list)
    mapping: dict[str, Any] = field(default_factory=dict)
    version: dict[str, str] = field(default_factory=lambda: {"number": "8.15.0", "build_flavor": "default"})
    open: set[str] = field(default_factory=set)  # points in time and scrolls
    scrolls: dict[str, tuple[list[dict[str, Any]], int]] = field(default_factory=dict)
    login: str = ""
    index: str = "nrh"
    count: int = 0
    ready: dict[tuple[int, int], bytes] = field(default_factory=dict)  # pages of all documents, written beforehand

    def answer(self, asked: Request) -> Reply:
        """Answer with the headers that identify the product since 7.14, and in the requested version of JSON."""
        reply = super().answer(asked)
        if "distribution" not in self.version:
            reply.headers.setdefault("X-Elastic-Product", "Elasticsearch")
        if "vnd.elasticsearch" in asked.headers.get("accept", "") and reply.kind == "application/json":
            reply.kind = asked.headers["accept"].split(",")[0]
        return reply

    def reply(self, asked: Request) -> Reply:
        if self.login and asked.headers.get("authorization") != self.login:
            return Reply.from_document({"error": {"type": "security_exception", "reason": "missing authentication credentials"}, "status": 401}, 401)  # fmt: skip
        parts = asked.path.strip("/").split("/")
        if asked.path == "/":
            return Reply.from_document({"name": "node", "version": self.version, "tagline": "You Know, for Search"})
        if asked.method == "DELETE":
            scrolls = asked.body.get("scroll_id", ())  # one, or several
            self.open -= {asked.body.get("id"), *([scrolls] if isinstance(scrolls, str) else scrolls)}
            return Reply.from_document({"succeeded": True})
        if parts == ["_cat", "indices"]:
            return Reply.from_document(
                [{"index": self.index, "docs.count": str(len(self.documents))}, {"index": ".kibana", "docs.count": "9"}]
            )
        if parts == ["_search"]:
            return self._build_page(asked.body)
        if parts == ["_search", "scroll"]:
            return self._build_scroll_page(asked.body["scroll_id"])
        if parts[0] not in {self.index, f"{self.index}-*"}:
            return Reply.from_document({"error": {"root_cause": [], "type": "index_not_found_exception", "reason": f"no such index [{parts[0]}]"}, "status": 404}, 404)  # fmt: skip
        if parts[1] == "_mapping":
            return Reply.from_document({self.index: {"mappings": {"properties": self.mapping}}})
        if parts[1] == "_pit":
            self.count += 1
            self.open.add(f"pit{self.count}")
            return Reply.from_document({"id": f"pit{self.count}"})
        assert parts[1] == "_search"
        assert asked.given["scroll"]
        self.count += 1
        name = f"scroll{self.count}"
        self.open.add(name)
        self.scrolls[name] = (self._find_hits(asked.body), asked.body["size"])
        return self._build_scroll_page(name, first=True)

    def _find_hits(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        sort = body.get("sort") or []
        names = [one if isinstance(one, str) else next(iter(one)) for one in sort]
        hits = [
            {"_index": self.index, "_id": f"d{at}", "_score": None, "_source": one, "sort": [at if name in {"_shard_doc", "_doc"} else one.get(name) for name in names]}
            for at, one in enumerate(self.documents)
            if self._matches(one, body.get("query", {"match_all": {}}))
        ]  # fmt: skip
        for at, hit in enumerate(hits):
            if "_shard_doc" not in names and "_doc" not in names:
                hit["sort"].append(at)  # the tie is broken by an implicit one
        return sorted(hits, key=lambda hit: hit["sort"])

    def _matches(self, one: dict[str, Any], query: dict[str, Any]) -> bool:
        ((word, said),) = query.items()
        if word == "match_all":
            return True
        if word == "bool":
            rest = set(said) - {"filter", "should", "must_not", "minimum_should_match"}
            assert not rest, rest
            filters = said.get("filter", [])
            return (
                all(self._matches(one, each) for each in (filters if isinstance(filters, list) else [filters]))
                and (not said.get("should") or any(self._matches(one, each) for each in said["should"]))
                and not ("must_not" in said and self._matches(one, said["must_not"]))
            )
        if word == "exists":
            return one.get(said["field"]) is not None
        ((name, value),) = said.items()
        return one.get(name) == value if word == "term" else one.get(name) is not None and one[name] >= value["gte"]

    def _build_page(self, body: dict[str, Any]) -> Reply:
        if not isinstance(body, dict) or body.get("pit", {}).get("id") not in self.open:
            return Reply.from_document(CONTEXT_MISSING, 404)
        size, after = body["size"], body.get("search_after")
        if self.ready:
            begin = 0 if after is None else after[0] + 1
            return Reply(body=self.ready[begin, size])
        hits = self._find_hits(body)
        total = {"total": {"value": len(hits), "relation": "eq"}} if body.get("track_total_hits") else {}
        if after is not None:
            hits = [hit for hit in hits if hit["sort"] > after]
        return Reply.from_document({"pit_id": body["pit"]["id"], "took": 1, "timed_out": False, "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0}, "hits": {**total, "max_score": None, "hits": hits[:size]}})  # fmt: skip

    def _build_scroll_page(self, name: str, *, first: bool = False) -> Reply:
        if name not in self.open:
            return Reply.from_document(CONTEXT_MISSING, 404)
        hits, size = self.scrolls[name]
        self.scrolls[name] = hits[size:], size
        total = {"total": {"value": len(hits), "relation": "eq"}} if first else {}
        return Reply.from_document({"_scroll_id": name, "took": 1, "timed_out": False, "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0}, "hits": {**total, "max_score": None, "hits": hits[:size]}})  # fmt: skip


@dataclass
class StacServer(JsonServer):
    """The items of one collection; `posts`: the search accepts POST; `filters`: it accepts CQL2."""

    items: list[dict[str, Any]] = field(default_factory=list)
    posts: bool = True
    filters: bool = True

    def reply(self, asked: Request) -> Reply:
        path = asked.path.removeprefix("/stac").strip("/")
        if path == "":
            ways = [{"rel": "search", "href": f"{self.base}/search", "method": one} for one in (["GET", "POST"] if self.posts else ["GET"])]  # fmt: skip
            filters = ["http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/filter"] if self.filters else []
            return Reply.from_document({"stac_version": "1.0.0", "title": "Cubes", "description": "All cubes", "links": ways, "conformsTo": ["https://api.stacspec.org/v1.0.0/core", *filters]})  # fmt: skip
        if path == "collections":
            return Reply.from_document({"collections": [{"id": "omega"}]})
        if path.startswith("collections/"):
            known = path == "collections/omega"
            return Reply.from_document({"id": "omega", "title": "OMEGA", "description": "Cubes of Mars"} if known else {}, 200 if known else 404)  # fmt: skip
        assert path == "search"
        given = asked.body if asked.method == "POST" else {**asked.given, "limit": int(asked.given["limit"])}
        begin, size = int(given.get("token", 0)), given["limit"]
        found = self.items
        if "filter" in given:
            assert given["filter-lang"] == "cql2-text"
            least = given["filter"].split("TIMESTAMP('")[1].split("'")[0]
            found = [one for one in found if one["properties"]["updated"] >= least]
        if "datetime" in given:
            found = [one for one in found if one["properties"]["datetime"] >= given["datetime"].split("/")[0]]
        more = begin + size < len(found)
        links: list[dict[str, Any]] = []
        if more and asked.method == "POST":
            links = [{"rel": "next", "href": f"{self.base}/search", "method": "POST", "merge": True, "body": {"token": begin + size}}]  # fmt: skip
        elif more:
            rest = "&".join(f"{name}={value}" for name, value in asked.given.items() if name != "token")
            links = [{"rel": "next", "href": f"/stac/search?{rest}&token={begin + size}"}]
        return Reply.from_document({"type": "FeatureCollection", "numberMatched": len(found), "features": found[begin : begin + size], "links": links})  # fmt: skip
