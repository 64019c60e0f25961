"""Elasticsearch and STAC APIs as sources: every record once, what is new alone, bad answers told and nothing taken for the whole."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest
from document_servers import ElasticServer, StacServer

from hven.model import plugins
from hven.model.errors import SourceError, TooLargeError
from hven.model.settings import Settings
from hven.sources import SourceContext, _rate_limiting, file_kinds
from hven.sources._reading import service_client
from hven.testing.site import open_site_with_uningested_files
from hven.testing.source import SourceContract
from json_servers import Reply, Request, RestServer, format_basic_login, serve
from plugin_needs import create_descriptor
from process_runner import run_hven

OPEN = SourceContext(allow_private=True)
MAPPING = {
    "obs": {"type": "keyword"}, "freq": {"type": "double"}, "n": {"type": "long"}, "good": {"type": "boolean"},
    "time": {"type": "date"}, "where": {"properties": {"site": {"type": "text"}}}, "late": {"type": "float"},
    "looks": {"type": "nested", "properties": {"href": {"type": "keyword"}}},
}  # fmt: skip


def document(at: int) -> dict[str, Any]:
    return {
        "obs": f"o{at:03d}", "freq": 228 if at % 2 else 150.9, "n": at, "good": at % 3 == 0, "time": f"2012-01-11T08:00:{at:02d}Z",
        "where": {"site": "Nançay"}, "looks": [{"href": f"a{at}.png", "mhz": 150.9}, {"href": f"b{at}.png", "mhz": 228.0}],
    }  # fmt: skip


def row(at: int) -> dict[str, Any]:
    one = document(at)
    return {
        "_index": "nrh", "_id": f"d{at}", "_source.obs": one["obs"], "_source.freq": one["freq"], "_source.n": at, "_source.good": one["good"],
        "_source.time": one["time"], "_source.where.site": "Nançay", "_source.looks": json.dumps(one["looks"], separators=(",", ":")),
        "_source.looks.href": [f"a{at}.png", f"b{at}.png"], "_source.looks.mhz": [150.9, 228.0], "_source.late": None,
    }  # fmt: skip


def item(at: int) -> dict[str, Any]:
    return {"type": "Feature", "id": f"cube{at}", "geometry": {"type": "Polygon", "coordinates": [[[at, 0], [at + 1, 0], [at + 1, 1], [at, 0]]]}, "properties": {"datetime": f"2004-01-0{at + 1}T00:00:00Z", "updated": f"2020-01-0{at + 1}T00:00:00Z"}, "assets": {"data": {"href": f"cube{at}.qub"}}}  # fmt: skip


def item_row(at: int) -> dict[str, Any]:
    said = item(at)["properties"]
    return {"type": "Feature", "id": f"cube{at}", "geometry": f"polygon {at + 1} 1 {at + 1} 0 {at} 0", "geometry.type": "Polygon", "properties.datetime": said["datetime"], "properties.updated": said["updated"], "assets.data.href": f"cube{at}.qub"}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rate_limiting, "FIRST_PAUSE_SECONDS", 0.0)


@pytest.fixture(params=["8.15.0", "7.10.2"])
def world(request: pytest.FixtureRequest) -> ElasticServer:
    return ElasticServer(
        documents=[document(at) for at in range(7)], mapping=MAPPING, version={"number": request.param}
    )


@pytest.fixture
def url(world: ElasticServer) -> Iterator[str]:
    with serve(world) as found:
        yield found


def open_source(kind: str, url: str, context: SourceContext = OPEN, **options: Any) -> Any:
    module = plugins.load_plugin("sources", kind)
    return module.open(module.Options.model_validate({"url": url, "tries": 2, **options}), context)


def read(source: Any, *names: str) -> list[Any]:
    found = [one for batch in source.read_batches(list(names)) for one in batch.to_pylist()]
    return [one[names[0]] for one in found] if len(names) == 1 else found


class TestElastic(SourceContract):
    kind = "elastic"
    has_files = False
    key: ClassVar[list[str]] = ["_source.obs"]
    rows: ClassVar[list[dict[str, Any]]] = [row(at) for at in range(7)]

    @pytest.fixture(autouse=True)
    def _served(self) -> Iterator[None]:
        with serve(ElasticServer(documents=[document(at) for at in range(7)], mapping=MAPPING)) as self.url:
            yield

    def write_source_files(self, directory: Path) -> dict[str, Any]:
        return {"url": self.url, "index": "nrh", "page": 2}

    def build_source_context(self, directory: Path) -> SourceContext:
        return SourceContext(directory=directory, allow_private=True)


class TestStac(SourceContract):
    kind = "stac"
    has_files = False
    key: ClassVar[list[str]] = ["id"]
    rows: ClassVar[list[dict[str, Any]]] = [item_row(at) for at in range(5)]

    @pytest.fixture(autouse=True)
    def _served(self) -> Iterator[None]:
        with serve(StacServer(items=[item(at) for at in range(5)]), "/stac") as self.url:
            yield

    def write_source_files(self, directory: Path) -> dict[str, Any]:
        return {"url": self.url, "collections": "omega", "page": 2}

    def build_source_context(self, directory: Path) -> SourceContext:
        return SourceContext(directory=directory, allow_private=True)


# --- Elasticsearch and OpenSearch ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["9.1.0", "7.17.0", "2.19.0 opensearch", "1.3.0 opensearch", "7.10.2"])
def test_each_server_version_returns_every_document_once(number: str):
    number, _, distribution = number.partition(" ")
    version = {"number": number, **({"distribution": distribution} if distribution else {})}
    world = ElasticServer(documents=[document(at) for at in range(7)], mapping=MAPPING, version=version)
    with serve(world) as url:
        for page in (3, 7):
            source = open_source("elastic", url, index="nrh", page=page)
            assert read(source, "_source.obs") == [f"o{at:03d}" for at in range(7)]
    assert world.open == set()
    scrolled = any("scroll" in one.given for one in world.asked)
    assert scrolled == (world.version["number"] == "7.10.2" or "distribution" in world.version)


def test_types_equal_those_of_the_mapping(url: str):
    kinds = {column.name: str(column.type) for column in open_source("elastic", url, index="nrh").list_columns()}
    assert kinds["_source.freq"] == "float64"
    assert kinds["_source.late"] == "float64"  # no document has it yet
    assert kinds["_source.n"] == "int64"
    assert kinds["_source.looks.href"] == "string[*x*]"
    assert "sort" not in kinds


def test_an_inaccessible_mapping_is_reported(world: ElasticServer, url: str):
    def spoil(asked: Request, reply: Reply) -> None:
        if asked.path.endswith("_mapping"):
            reply.status, reply.body = 403, b'{"error": {"type": "security_exception", "reason": "not for you"}}'

    world.alter_reply, told = spoil, []
    source = open_source("elastic", url, SourceContext(allow_private=True, on_notice=told.append), index="nrh")
    assert read(source, "_source.n") == list(range(7))
    assert any("does not show its mapping" in one for one in told)


def test_a_query_file_is_used_unchanged_except_for_paging(url: str, world: ElasticServer, tmp_path: Path):
    query = {"size": 10_000, "aggs": {"a": {}}, "query": {"bool": {"filter": {"term": {"good": True}}}}}
    (tmp_path / "query.json").write_text(json.dumps(query))
    told: list[str] = []
    context = SourceContext(directory=tmp_path, allow_private=True, on_notice=told.append)
    assert read(open_source("elastic", url, context, index="nrh", query="query.json"), "_source.n") == [0, 3, 6]
    assert sum("in the query, because Hven" in one for one in told) == 2
    (tmp_path / "wrong.json").write_text('{\n "query": {"term": }\n}')
    with pytest.raises(SourceError, match=r"wrong.json:2: the query is not JSON"):
        open_source("elastic", url, context, index="nrh", query="wrong.json")
    with pytest.raises(SourceError, match="'qery' is not a valid key") as caught:
        open_source("elastic", url, context, index="nrh", query={"qery": {}})
    assert "query" in str(caught.value.remedy)
    with pytest.raises(SourceError, match="cannot be read") as caught:
        open_source("elastic", url, context, index="nrh", query="qury.json")
    assert "query.json" in str(caught.value.remedy)


def test_a_file_with_an_address_beside_its_search_is_a_query_too(url: str, world: ElasticServer, tmp_path: Path):
    """As scripts keep them that ask an index: query_url and query_data."""
    search = {"size": 10_000, "query": {"bool": {"filter": {"term": {"good": True}}}}}
    for at, (address, data, words) in enumerate(
        [
            (f"{url}/nrh/_search?scroll=1m", search, 1),
            (f"{url}/nrh/_search", json.dumps(search), 1),
            ("https://es.example:9200/other/_search", search, 2),
            (None, search, 1),
        ]
    ):
        said = {"query_data": data} | ({"query_url": address} if address else {})
        (tmp_path / f"query{at}.json").write_text(json.dumps(said))
        told: list[str] = []
        context = SourceContext(directory=tmp_path, allow_private=True, on_notice=told.append)
        source = open_source("elastic", url, context, index="nrh", query=f"query{at}.json")
        assert read(source, "_source.n") == [0, 3, 6]
        assert len([one for one in told if "Hven ignores" in one]) == words, told
    with pytest.raises(SourceError, match="the query has the key 'size' in addition to 'query_data'"):
        open_source("elastic", url, index="nrh", query={"query_url": url, "query_data": {}, "size": 3})
    with pytest.raises(SourceError, match="'qery' is not a valid key"):
        open_source("elastic", url, index="nrh", query={"query_data": {"qery": {}}})
    with pytest.raises(SourceError, match="query_data:1: the query is not JSON"):
        open_source("elastic", url, index="nrh", query={"query_data": "{"})
    with pytest.raises(SourceError, match="is not an object"):
        open_source("elastic", url, index="nrh", query={"query_data": []})


def test_only_what_is_new_is_asked_for(url: str, world: ElasticServer):
    del world.documents[1]["n"]  # unknown: it counts as new
    source = open_source("elastic", url, index="nrh", query={"query": {"term": {"where": {"site": "Nançay"}}}})
    assert source.can_filter_by("_source.n")
    assert not source.can_filter_by("_source.n + 1")
    assert read(source.select_since("_source.n", 5), "_source.n") == [None, 5, 6]
    assert read(source.select_since("_source.time", "2012-01-11T08:00:06Z"), "_source.n") == [6]
    assert len(read(source.select_since("_source.n", None), "_source.n")) == 7


def test_who_was_stopped_goes_on_behind_the_last_page(url: str, world: ElasticServer):
    if world.version["number"] == "7.10.2":
        assert not next(iter(open_source("elastic", url, index="nrh", page=2).read_pages(["_source.n"])))[1]
        return
    source = open_source("elastic", url, index="nrh", page=2, order="obs")
    first = next(iter(source.read_pages(["_source.n"])))
    again = open_source("elastic", url, index="nrh", page=2, order="obs")
    rest = [one["_source.n"] for batch, _ in again.read_pages(["_source.n"], first[1]) for one in batch.to_pylist()]
    assert [one["_source.n"] for one in first[0].to_pylist()] + rest == list(range(7))


def test_logins_by_api_key_and_password_work(url: str, world: ElasticServer):
    secrets = {"$KEY": "aWQ6a2V5", "$LOGIN": "nrh:geheim"}
    context = SourceContext(allow_private=True, resolve_secret=secrets.__getitem__)
    world.login = "ApiKey aWQ6a2V5"
    assert len(read(open_source("elastic", url, context, index="nrh", api_key="$KEY"), "_id")) == 7
    world.login = format_basic_login("nrh:geheim")
    assert len(read(open_source("elastic", url, context, index="nrh", login="$LOGIN"), "_id")) == 7
    world.login = "Basic " + base64.b64encode(b"other").decode()
    with pytest.raises(SourceError, match=r"returned status 401.*missing authentication") as caught:
        read(open_source("elastic", url, context, index="nrh", login="$LOGIN"), "_id")
    assert "geheim" not in str(caught.value)
    assert "login" in str(caught.value.remedy)


def after(page: int, change: Any) -> Any:
    """Spoil the search of a page, from 1."""
    seen = {"pages": 0}

    def spoil(asked: Request, reply: Reply) -> None:
        if "_search" in asked.path and asked.method == "POST":
            seen["pages"] += 1
            if seen["pages"] == page:
                change(reply)

    return spoil


def replace_fields(**said: Any) -> Any:
    def change(reply: Reply) -> None:
        for name, value in said.items():
            setattr(reply, name, value)

    return change


def edit_body(change: Any) -> Any:
    def spoil(reply: Reply) -> None:
        found = json.loads(reply.body)
        change(found)
        reply.body = json.dumps(found).encode()

    return spoil


LOST = b'{"error": {"type": "search_phase_execution_exception", "reason": "x", "root_cause": [{"type": "search_context_missing_exception", "reason": "No search context found"}]}}'


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (replace_fields(status=404, body=LOST), "cannot return page 2, because the search context has expired"),
        (edit_body(lambda page: page.update(timed_out=True)), "is incomplete: the search timed out"),
        (edit_body(lambda page: page["_shards"].update(failed=1)), "is incomplete: 1 of 1 shards failed"),
        (replace_fields(body=b"<html><script>x</script><h1>Log in</h1></html>"), "did not return JSON, but 'Log in'"),
        (replace_fields(status=400, body=b'{"error": {"type": "parsing_exception", "reason": "unknown query [mach_all]"}}'), "unknown query"),
        (edit_body(lambda page: page["hits"].pop("hits")), "page 2 has no list of hits"),
    ],
)  # fmt: skip
def test_invalid_pages_abort_the_read(url: str, world: ElasticServer, change: Any, words: str):
    source = open_source("elastic", url, index="nrh", page=2)
    assert source.list_columns()
    world.alter_reply = after(2, change)
    with pytest.raises(SourceError, match=words):
        read(source, "_id")


@pytest.mark.parametrize("change", [replace_fields(status=500), replace_fields(status=503), replace_fields(cut=40), replace_fields(status=429, headers={"Retry-After": "0"})])  # fmt: skip
def test_temporary_failures_are_retried(change: Any):
    # a scroll has moved on when its answer is lost: only a point in time can be asked again
    with serve(world := ElasticServer(documents=[document(at) for at in range(7)], mapping=MAPPING)) as url:
        source = open_source("elastic", url, index="nrh", page=2)
        assert source.list_columns()
        world.alter_reply = after(2, change)
        assert read(source, "_source.n") == list(range(7))


@pytest.mark.parametrize(
    "resting", [False, True], ids=["while the next is asked for", "while it must wait for its turn"]
)
def test_a_page_is_read_while_others_wait(resting: bool, monkeypatch: pytest.MonkeyPatch):
    world = ElasticServer(documents=[document(at) for at in range(7)], mapping=MAPPING)
    with serve(world) as url:
        source = open_source("elastic", url, index="nrh", page=2, **({"rate": 1} if resting else {}))
        monkeypatch.setattr("hven.sources._reading.service_client.time.sleep", lambda _: None)
        assert source.list_columns()
        seen, waited = threading.Event(), []
        if resting:
            monkeypatch.setattr(
                "hven.sources._reading.service_client.time.sleep",
                lambda _: waited.append(seen.wait(30 if searches(world) > before else 0)),
            )
        else:
            world.alter_reply = after(2, lambda _: waited.append(seen.wait(30)))
        before = searches(world)
        for batch, _ in source.read_pages(["_source.n"]):
            assert batch.num_rows
            seen.set()
        assert waited[-1], "the page was kept until the next had come"


def searches(world: ElasticServer) -> int:
    return sum("_search" in one.path for one in world.asked)


def test_a_scroll_with_a_lost_page_is_reported_as_incomplete():
    world = ElasticServer(documents=[document(at) for at in range(7)], mapping=MAPPING, version={"number": "7.10.2"})
    with serve(world) as url:
        source = open_source("elastic", url, index="nrh", page=2)
        assert source.list_columns()
        world.alter_reply = after(2, replace_fields(cut=40))
        with pytest.raises(SourceError, match="stated a total of 7 records, but returned 5"):
            read(source, "_source.n")


def test_a_repeated_page_aborts_the_read(url: str, world: ElasticServer):
    pages: list[Any] = []

    def spoil(asked: Request, reply: Reply) -> None:
        if "_search" in asked.path and asked.method == "POST":
            page = json.loads(reply.body)
            pages.append(page["hits"]["hits"])
            page["hits"]["hits"] = pages[0]
            reply.body = json.dumps(page).encode()

    world.alter_reply = spoil
    with pytest.raises(SourceError, match="returned the same page twice"):
        read(open_source("elastic", url, index="nrh", page=2), "_id")


def test_documents_with_a_changed_type_are_rejected(url: str, world: ElasticServer):
    world.documents[5]["n"] = "many"
    rejects: list[Any] = []
    source = open_source(
        "elastic", url, SourceContext(allow_private=True, on_reject=rejects.append), index="nrh", page=2
    )
    assert read(source, "_source.n") == [0, 1, 2, 3, 4, 6]
    assert [(one.row, one.column) for one in rejects] == [(6, "_source.n")]


def test_other_servers_and_missing_indexes_are_reported():
    with serve(RestServer(rows=[])) as url, pytest.raises(SourceError, match="is not an Elasticsearch"):
        read(open_source("elastic", url, index="nrh"), "_id")
    with serve(ElasticServer(documents=[document(0)])) as url, pytest.raises(SourceError, match="has no index nhr"):
        read(open_source("elastic", url, index="nhr"), "_id")
    with pytest.raises(SourceError, match="reached"):
        read(open_source("elastic", "http://127.0.0.1:9", index="nrh"), "_id")


def test_budgets(url: str):
    with pytest.raises(TooLargeError, match="more than 900 bytes"):
        read(open_source("elastic", url, index="nrh", bytes=900, page=1), "_id")


def test_a_page_that_does_not_end_is_not_held_in_memory(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(service_client, "MAX_ANSWER_BYTES", 1000)
    assert len(read(open_source("elastic", url, index="nrh", page=1, types={"_source.n": "int64"}), "_id")) == 7
    with pytest.raises(TooLargeError, match="more than 1,000 bytes in one response") as caught:
        read(open_source("elastic", url, index="nrh", page=7), "_id")
    assert "page" in str(caught.value.remedy)


def test_another_sort_at_the_end_of_a_page_is_not_taken_for_the_hits(url: str, world: ElasticServer):
    for one in world.documents:
        one["sort"] = [99]

    def spoil(asked: Request, reply: Reply) -> None:
        if "_search" in asked.path and asked.method == "POST" and reply.status == 200:
            found = json.loads(reply.body)
            found["profile"] = {"sort": [3]}
            reply.body = json.dumps(found).encode()

    world.alter_reply = spoil
    assert read(open_source("elastic", url, index="nrh", page=2), "_source.n") == list(range(7))


CHECKED = """\
collection: stars
title: Stars
tables:
  main:
    columns: {{x: string}}
    source: {{kind: elastic, url: 'http://127.0.0.1:9', index: nrh, query: {query}}}
"""


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("query.json", "'query_uri' is not a valid key in a search"),
        ("other.json", "the query other.json cannot be read: No such file or directory"),
    ],
)
def test_what_a_query_file_has_wrong_is_an_error_of_check(tmp_path: Path, query: str, message: str):
    """Without asking the service: an ingest reads the same options and files by the same parser."""
    folder = tmp_path / "collections" / "stars"
    folder.mkdir(parents=True)
    (folder / "query.json").write_text('{"query_uri": "http://127.0.0.1:9/nrh", "query": {"match_all": {}}}')
    with open_site_with_uningested_files(tmp_path, CHECKED.format(query=query)):
        (tmp_path / "hven.toml").write_text("allow_private = true\n")
    checked = json.loads(run_hven("--site", tmp_path, "check", "stars", "--json", expected_code=1).stdout)
    faults = [fault for fault in checked if fault["severity"] == "error"]
    assert [fault["message"] for fault in faults] == [message]
    assert (faults[0]["file"], faults[0]["line"]) == ("collections/stars/stars.yaml", 6)


# --- STAC ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("posts", [True, False])
def test_items_are_paged_by_links_and_new_ones_selected_by_a_filter(posts: bool):
    world = StacServer(items=[item(at) for at in range(5)], posts=posts)
    with serve(world, "/stac") as url:
        source = open_source("stac", url, collections="omega", page=2)
        assert read(source, "id") == [f"cube{at}" for at in range(5)]
        assert source.read_title_and_description() == ("OMEGA", "Cubes of Mars")
        assert source.can_filter_by("properties.updated")
        newer = source.select_since("properties.updated", "2020-01-04T00:00:00Z")
        assert read(newer, "id") == ["cube3", "cube4"]
        searches = [one for one in world.asked if one.path.endswith("search")]
        assert {one.method for one in searches} == ({"POST"} if posts else {"GET"})
        kinds = {column.name: column.type for column in source.list_columns()}
        assert str(kinds["geometry"].xtype) == "multishape"


def test_missing_features_of_an_api_are_reported():
    with serve(StacServer(items=[item(0)], filters=False), "/stac") as url:
        assert not open_source("stac", url).can_filter_by("properties.updated")
        with pytest.raises(SourceError, match="does not accept filters"):
            read(open_source("stac", url, filter="eo:cloud_cover < 10"), "id")
        with pytest.raises(SourceError, match="no collection omgea") as caught:
            read(open_source("stac", url, collections="omgea"), "id")
        assert "omega" in str(caught.value.remedy)
    with serve(RestServer(rows=[]), "/stac") as url, pytest.raises(SourceError, match="is not a STAC API"):
        read(open_source("stac", url), "id")


def test_a_link_does_not_lead_to_another_server():
    world = StacServer(items=[item(at) for at in range(3)])

    def spoil(asked: Request, reply: Reply) -> None:
        reply.body = reply.body.replace(
            f"{world.base}/search".encode() + b'", "method": "POST", "merge',
            b'http://elsewhere.example/search", "method": "POST", "merge',
        )

    world.alter_reply = spoil
    with serve(world, "/stac") as url, pytest.raises(SourceError, match=r"another server.*elsewhere\.example"):
        read(open_source("stac", url, page=1), "id")


# --- hven new --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "kind", "options"),
    [
        ("https://es.example:9200/nrh", "elastic", {"url": "https://es.example:9200", "index": "nrh"}),
        ("https://es.example:9200/nrh/_search", "elastic", {"url": "https://es.example:9200", "index": "nrh"}),
        ("https://a.example/stac/collections/omega/items", "stac", {"url": "https://a.example/stac", "collections": "omega"}),
        ("https://a.example/stac", "stac", {"url": "https://a.example/stac"}),
    ],
)  # fmt: skip
def test_addresses_tell_their_kind(address: str, kind: str, options: dict[str, str]):
    assert file_kinds.find_service_kind_by_url(address) == (kind, options)


def test_new_drafts_ingestible_descriptors_for_elastic_and_stac(tmp_path: Path):
    settings = Settings(directory=tmp_path, allow_private=True)
    elastic, stac = (
        ElasticServer(documents=[document(at) for at in range(7)], mapping=MAPPING),
        StacServer(items=[item(0), item(1)]),
    )
    with serve(elastic) as one, serve(stac, "/stac") as two:
        text = create_descriptor(settings, "nrh", one, kind="elastic").read_text()
        assert "index: nrh" in text  # the only one
        assert "primary: [id]" in text
        assert "obs: " in text
        assert "# 7 rows" in text
        text = create_descriptor(settings, "cubes", two).read_text()
        assert "kind: stac" in text
        assert "collections: omega" in text


def test_rows_are_arrow_of_the_types_that_are_told(url: str):
    source = open_source("elastic", url, index="nrh")
    kinds = {column.name: column.type.arrow for column in source.list_columns()}
    batch = next(iter(source.read_batches()))
    assert isinstance(batch, pa.RecordBatch)
    assert {name: kinds[name] for name in batch.schema.names} == dict(
        zip(batch.schema.names, batch.schema.types, strict=True)
    )
