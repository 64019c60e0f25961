"""Equal requests get equal answers from the cache, and nobody gets an answer with rows that they may not see."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asgi_client import Answer, Client
from star_tables import TABLES, build_rows

from hven import query
from hven.app._server import create_and_start_application
from hven.model.errors import OperationCancelledError
from hven.model.settings import Settings
from hven.plugins.result_cache import result_cache
from hven.plugins.result_cache.result_cache import ResultCache, normalize_query_whitespace, split_body_at_request_infos
from hven.plugins.result_cache.settings import CACHE_SECTION, ResultCacheSettings
from hven.site import Site
from hven.site.auth import Principal
from hven.testing.site import open_tiny_site, publish_rows

COUNT = "SELECT COUNT(*) AS n FROM {table}"
HIT, STORED = "hven; hit", "hven; fwd=uri-miss; stored"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_tiny_site(tmp_path_factory.mktemp("cache"), TABLES) as made:
        made.settings = with_cache(made)
        yield made


def with_cache(site: Site, count: int = 32 * 1024**2) -> Settings:
    return replace(site.settings, brought={CACHE_SECTION.key: ResultCacheSettings(bytes=count)})


@pytest.fixture
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


def ask(client: Client, adql: str, method: str = "GET", headers: dict[str, str] | None = None, **params: str) -> Answer:
    if method == "POST":
        return client.post("/tap/sync", LANG="ADQL", QUERY=adql, **params)
    text = "&".join(f"{name}={value.replace(' ', '+')}" for name, value in {"QUERY": adql, **params}.items())
    return client.ask(method, "/tap/sync", f"LANG=ADQL&{text}".encode(), headers=headers)


@pytest.fixture
def counted_queries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count the queries that are run."""
    run_query, ran = query.run_query, []

    def count_query(text: Any, *args: Any, **options: Any) -> Any:
        ran.append(text)
        return run_query(text, *args, **options)

    monkeypatch.setattr(query, "run_query", count_query)
    return ran


@pytest.mark.parametrize("response_format", ["votable", "csv", "json", "tsv"])
def test_a_second_request_is_a_hit(client: Client, counted_queries: list[str], response_format: str) -> None:
    first, second = (
        ask(client, "SELECT TOP 5 id, mag FROM stars.main", RESPONSEFORMAT=response_format) for _ in range(2)
    )
    assert [first.headers["cache-status"], second.headers["cache-status"]] == [STORED, HIT]
    assert first.comparable_body == second.comparable_body
    varying = {"cache-status", "x-request-id", "content-length"}
    assert {k: v for k, v in first.headers.items() if k not in varying} == {
        k: v for k, v in second.headers.items() if k not in varying
    }
    assert len(counted_queries) == 1


def test_each_answer_states_its_own_request(client: Client) -> None:
    adql = "SELECT TOP 3 id FROM stars.main"
    ask(client, adql, MAXREC="9", FORMAT="votable")
    text = b"LANG=ADQL&format=votable&maxrec=9&QUERY=SELECT%20TOP%203%20id%20FROM%20stars.main"
    answer = client.ask("GET", "/tap/sync", text)
    assert answer.headers["cache-status"] == HIT, "names in any case, parameters in any order"
    (request,) = re.findall(r'<INFO name="request" value="([^"]*)"', answer.text)
    assert request.endswith(text.decode().replace("&", "&amp;"))
    assert answer.text.count('name="request_date"') == 1


def test_get_and_post_are_the_same(client: Client) -> None:
    adql = "SELECT TOP 4 id FROM stars.main"
    assert ask(client, adql).headers["cache-status"] == STORED
    assert ask(client, adql, "POST").headers["cache-status"] == HIT


def test_blanks_in_a_query_make_no_difference(client: Client, counted_queries: list[str]) -> None:
    texts = ["SELECT TOP 13 id FROM stars.main", " SELECT  TOP 13%0A id%09FROM stars.main%0A"]
    answers = [ask(client, text, RESPONSEFORMAT="csv") for text in texts]
    assert [answer.headers["cache-status"] for answer in answers] == [STORED, HIT]
    assert answers[0].body == answers[1].body
    assert len(counted_queries) == 1


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        (" SELECT\n\tx  FROM t ", "SELECT x FROM t"),
        ("SELECT 'a  b' FROM t", "SELECT 'a  b' FROM t"),
        ("SELECT 'it''s  so',  1 FROM t", "SELECT 'it''s  so', 1 FROM t"),
        ('SELECT "a  b"  FROM t', 'SELECT "a  b" FROM t'),
        ("SELECT x -- a  'note\n,  y FROM t", "SELECT x -- a  'note\n, y FROM t"),
        ("SELECT 'open  text", "SELECT 'open text"),
    ],
)
def test_texts_names_and_comments_stay(text: str, normalized: str) -> None:
    assert normalize_query_whitespace(text) == normalized
    assert normalize_query_whitespace(normalized) == normalized


def test_services_of_tables_are_cached(client: Client) -> None:
    statuses = [client.ask("GET", "/cone/stars.main", b"RA=1&DEC=1&SR=9").headers["cache-status"] for _ in range(2)]
    assert statuses == [STORED, HIT]
    assert client.ask("GET", "/cone/stars.main", b"RA=1&DEC=1&SR=8").headers["cache-status"] == STORED


def test_an_unchanged_answer_needs_no_planning(client: Client, counted_queries: list[str]) -> None:
    adql = "SELECT TOP 6 id FROM stars.main"
    tag = ask(client, adql).headers["etag"]
    answer = ask(client, adql, headers={"if-none-match": tag})
    assert (answer.status, answer.body, answer.headers["cache-status"]) == (304, b"", HIT)
    assert answer.headers["etag"] == tag
    assert len(counted_queries) == 1
    assert ask(client, adql, headers={"if-none-match": '"other"'}).status == 200


def test_a_large_answer_is_not_kept_but_its_tag_is(client: Client, counted_queries: list[str]) -> None:
    adql = "SELECT a.id, a.note, b.id AS other FROM stars.main AS a JOIN stars.main AS b ON a.number < b.number"
    large = [ask(client, adql, MAXREC="20000") for _ in range(2)]
    assert [answer.headers["cache-status"] for answer in large] == ["hven; fwd=uri-miss"] * 2
    assert large[0].comparable_body == large[1].comparable_body
    answer = ask(client, adql, headers={"if-none-match": large[0].headers["etag"]}, MAXREC="20000")
    assert answer.status == 304
    assert len(counted_queries) == 2


@pytest.mark.parametrize(
    ("adql", "params"),
    [
        ("SELECT TOP 3 id FROM stars.main", {"ASOF": "2199-01-01"}),
        ("SELECT TOP 3 id, RAND() AS r FROM stars.main", {}),
        ("SELECT nothing FROM stars.main", {}),
        ("SELECT TOP 3 id FROM stars.main", {"RUNID": "x"}),
        ("SELECT TOP 3 id FROM stars.main", {"RESPONSEFORMAT": "parquet"}),
    ],
)
def test_what_is_not_kept(client: Client, adql: str, params: dict[str, str]) -> None:
    for _ in range(2):
        answer = ask(client, adql, **params)
        assert answer.headers.get("cache-status") in {None, "hven; fwd=uri-miss"}, answer.text[:300]


def test_two_accounts_with_different_rights_share_nothing(site: Site) -> None:
    """Answers of anna, bert, a member of a group and anonymous users never mix, in any order."""
    everybody: dict[str, Principal] = {
        "anna": Principal(name="anna", groups=frozenset({"owner"})),
        "bert": Principal(name="bert"),
        "none": Principal(),
    }
    client = Client(
        create_and_start_application(site, identify_principal=lambda request: everybody[request.headers["x-user"]])
    )
    seen: dict[str, set[tuple[int, bytes]]] = {name: set() for name in everybody}
    private = COUNT.format(table="secret.main")
    for name in ("anna", "bert", "none", "anna", "none", "bert", "anna"):
        answer = ask(client, private, headers={"x-user": name}, RESPONSEFORMAT="csv")
        seen[name].add((answer.status, re.sub(rb"\[request \w+\]", b"", answer.body)))
        if name == "anna":
            assert answer.headers["cache-control"].startswith("private")
            assert "authorization" in answer.headers["vary"]
        else:
            assert answer.status == 400
            assert b"2000" not in answer.body
    assert seen["anna"] == {(200, b"n\r\n2000\r\n")}
    assert len(seen["bert"]) == len(seen["none"]) == 1
    tables = "SELECT table_name FROM TAP_SCHEMA.tables WHERE schema_name = 'secret'"
    for name in ("anna", "none", "bert", "none", "anna"):
        answer = ask(client, tables, headers={"x-user": name}, RESPONSEFORMAT="csv")
        assert (b"secret.main" in answer.body) is (name == "anna")


def test_new_rows_are_seen_at_once(tmp_path: Path) -> None:
    with open_tiny_site(tmp_path, TABLES) as site:
        site.settings = with_cache(site)
        client = Client(create_and_start_application(site))
        adql = COUNT.format(table="stars.main")
        old = [ask(client, adql, RESPONSEFORMAT="csv") for _ in range(2)]
        assert old[1].headers["cache-status"] == HIT
        publish_rows(site, TABLES["stars.main"][0], build_rows(7))
        site.refresh_published_state()
        new = ask(client, adql, RESPONSEFORMAT="csv", headers={"if-none-match": old[0].headers["etag"]})
        assert (new.status, new.body, new.headers["cache-status"]) == (200, b"n\r\n7\r\n", STORED)


def test_equal_requests_wait_for_one_computation(client: Client, counted_queries: list[str]) -> None:
    adql = b"LANG=ADQL&QUERY=SELECT+COUNT(*)+FROM+stars.main+a+JOIN+stars.main+b+ON+a.mag<b.mag"

    async def ask_at_once() -> list[Answer]:
        return list(await asyncio.gather(*(client.ask_async("GET", "/tap/sync", adql) for _ in range(8))))

    answers = asyncio.run(ask_at_once())
    assert len({answer.comparable_body for answer in answers}) == 1
    assert answers[0].status == 200, answers[0].text
    statuses = [answer.headers["cache-status"] for answer in answers]
    assert statuses.count("hven; fwd=uri-miss; collapsed") == 7, statuses
    (other,) = {*statuses} - {"hven; fwd=uri-miss; collapsed"}
    assert other.startswith("hven; fwd=uri-miss")
    assert len(counted_queries) == 1


def test_a_failure_is_nobody_elses(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(create_and_start_application(site))
    run_query, failures = query.run_query, [ValueError("first")]

    def fail_once(*args: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return run_query(*args, **options)

    monkeypatch.setattr(query, "run_query", fail_once)
    adql = b"LANG=ADQL&QUERY=SELECT+MAX(mag)+FROM+stars.main"

    async def ask_at_once() -> list[int]:
        answers = await asyncio.gather(*(client.ask_async("GET", "/tap/sync", adql) for _ in range(4)))
        return sorted(answer.status for answer in answers)

    assert asyncio.run(ask_at_once()) == [200, 200, 200, 500]


@pytest.mark.parametrize("is_disconnect", [True, False])
def test_if_a_client_leaves_one_of_those_who_wait_computes_the_answer(
    site: Site, monkeypatch: pytest.MonkeyPatch, *, is_disconnect: bool
) -> None:
    client = Client(create_and_start_application(site))
    has_begun, release, builds = asyncio.Event(), asyncio.Event(), []
    build_and_store_answer = ResultCache._build_and_store_answer

    async def build_slowly(cache: ResultCache, request: Any, key: Any, build_response: Any) -> Any:
        async def wait_and_build() -> Any:
            builds.append(key)
            has_begun.set()
            if len(builds) == 1:
                await release.wait()
                raise OperationCancelledError("the client has left")
            return await build_response()

        return await build_and_store_answer(cache, request, key, wait_and_build)

    monkeypatch.setattr(ResultCache, "_build_and_store_answer", build_slowly)
    adql = f"LANG=ADQL&QUERY=SELECT+MIN(mag)-{int(is_disconnect)}+FROM+stars.main".encode()

    async def ask_at_once() -> list[str]:
        first = asyncio.create_task(client.ask_async("GET", "/tap/sync", adql))
        await has_begun.wait()
        others = [asyncio.create_task(client.ask_async("GET", "/tap/sync", adql)) for _ in range(5)]
        await asyncio.sleep(0.05)
        assert len(builds) == 1
        if is_disconnect:
            release.set()
        else:
            first.cancel()
        return [answer.headers["cache-status"] for answer in await asyncio.gather(*others)]

    statuses = asyncio.run(ask_at_once())
    assert statuses.count("hven; fwd=uri-miss; collapsed") == 4, statuses
    assert len(builds) == 2


def test_nobody_waits_for_a_client_that_reads_slowly(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_cache, "MAX_STREAM_WAIT_SECONDS", 0.05)
    application = create_and_start_application(site)
    adql = "SELECT a.id, a.note, b.id AS c FROM stars.main AS a JOIN stars.main AS b ON a.number < b.number"
    query_string = f"LANG=ADQL&MAXREC=20000&QUERY={adql.replace(' ', '+')}".encode()

    async def ask_beside_a_slow_client() -> Answer:
        has_begun, may_read = asyncio.Event(), asyncio.Event()

        async def read_slowly(scope: Any, receive: Any, send: Any) -> None:
            async def send_slowly(message: Any) -> None:
                if message["type"] == "http.response.body":
                    has_begun.set()
                    await may_read.wait()
                await send(message)

            await application(scope, receive, send_slowly)

        slow = asyncio.create_task(Client(read_slowly).ask_async("GET", "/tap/sync", query_string))
        await has_begun.wait()
        async with asyncio.timeout(60):
            answer = await Client(application).ask_async("GET", "/tap/sync", query_string)
        may_read.set()
        assert (await slow).comparable_body == answer.comparable_body
        return answer

    assert asyncio.run(ask_beside_a_slow_client()).headers["cache-status"] == "hven; fwd=uri-miss"


@pytest.mark.parametrize("clock_step", [0.0, 11.0])
def test_equal_long_queries_are_computed_one_after_the_other(
    site: Site, monkeypatch: pytest.MonkeyPatch, clock_step: float
) -> None:
    """Of fifty equal queries that take a quarter of a minute and fail, no two compute at the same time."""
    client = Client(create_and_start_application(site))
    now, running, counts = [1000.0], [0], []
    monkeypatch.setattr(result_cache, "time", SimpleNamespace(monotonic=lambda: now[0]))
    build_and_store_answer = ResultCache._build_and_store_answer

    async def build_slowly(cache: ResultCache, request: Any, key: Any, _: Any) -> Any:
        async def fail() -> Any:
            running[0] += 1
            counts.append(running[0])
            now[0] += clock_step
            for _ in range(20):  # the others look whether they may begin
                await asyncio.sleep(0)
            running[0] -= 1
            raise ValueError("it took too much memory")

        return await build_and_store_answer(cache, request, key, fail)

    monkeypatch.setattr(ResultCache, "_build_and_store_answer", build_slowly)

    async def ask_at_once() -> list[int]:
        adql = b"LANG=ADQL&QUERY=SELECT+MAX(mag)-7+FROM+stars.main"
        answers = await asyncio.gather(*(client.ask_async("GET", "/tap/sync", adql) for _ in range(4)))
        return [answer.status for answer in answers]

    assert asyncio.run(ask_at_once()) == [500] * 4
    assert counts == [1] * 4


def test_memory_has_a_limit_and_zero_turns_the_cache_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def set_bytes(count: int) -> Client:
        monkeypatch.setattr(site, "settings", with_cache(site, count))
        return Client(create_and_start_application(site))

    client = set_bytes(0)
    assert "cache-status" not in ask(client, "SELECT TOP 2 id FROM stars.main").headers
    client = set_bytes(20_000)
    queries = [f"SELECT TOP {n} id, note FROM stars.main" for n in range(1, 9)]
    for adql in queries:
        ask(client, adql)
    assert ask(client, queries[-1]).headers["cache-status"] == HIT
    assert ask(client, queries[0]).headers["cache-status"] == STORED, "the oldest were displaced"


def test_hits_are_counted_for_prometheus(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "settings", replace(site.settings, health=replace(site.settings.health, open=True)))
    client = Client(create_and_start_application(site))

    def read_counts() -> list[int]:
        text = client.ask("GET", "/metrics").text
        return [int(n) for n in re.findall(r"^hven_result_cache_(?:hits|misses)_total (\d+)$", text, re.MULTILINE)]

    before = read_counts()
    for _ in range(3):
        ask(client, "SELECT TOP 11 id FROM stars.main")
    assert [after - earlier for after, earlier in zip(read_counts(), before, strict=True)] == [2, 1]


def test_compressed_answers_are_right(client: Client) -> None:
    adql = "SELECT TOP 500 id, note FROM stars.main"
    plain = ask(client, adql)
    packed = ask(client, adql, headers={"accept-encoding": "gzip"})
    assert packed.headers["cache-status"] == HIT
    assert packed.headers["content-encoding"] == "gzip"
    unpacked = Answer(status=200, headers={}, body=gzip.decompress(packed.body))
    assert unpacked.comparable_body == plain.comparable_body


def test_bodies_that_state_the_request_elsewhere_are_not_split() -> None:
    assert split_body_at_request_infos(b"a,b\r\n1,2\r\n", "text/csv") == (b"a,b\r\n1,2\r\n",)
    assert split_body_at_request_infos(b"PAR1", "application/vnd.apache.parquet") is None
