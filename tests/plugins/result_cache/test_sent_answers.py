"""An answer that is repeated before routing equals the one that its service would write, and nobody else gets it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asgi_client import Answer, Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from star_tables import TABLES, build_rows

from hven.app._server import application, create_and_start_application
from hven.app._server.request_middleware import RequestMiddleware
from hven.model.errors import TooManyRequestsError
from hven.plugins.result_cache import sent_answers
from hven.plugins.result_cache.sent_answers import MIN_EQUAL_REQUESTS, SentAnswerCache
from hven.plugins.result_cache.settings import CACHE_SECTION, ResultCacheSettings
from hven.services.admission import RequestGate, SentAnswer
from hven.site import Site
from hven.site.auth import Principal
from hven.testing.site import open_tiny_site, publish_rows

ADQL = "LANG=ADQL&QUERY=SELECT+TOP+5+id,+mag+FROM+stars.main"
CONE = "RA=1&DEC=1&SR=9"
Asked = tuple[str, str, str, dict[str, str]]  # method, path, query, headers
REQUESTS: list[Asked] = [
    ("GET", "/tap/sync", ADQL, {}),
    ("HEAD", "/tap/sync", ADQL, {}),
    ("GET", "/tap/sync", ADQL, {"accept": "text/csv"}),
    ("GET", "/tap/sync", ADQL, {"accept-encoding": "gzip"}),
    ("GET", "/tap/sync", ADQL, {"host": "other.example"}),
    ("GET", "/tap/sync", ADQL, {"range": "bytes=0-9"}),
    ("GET", "/tap/sync", ADQL, {"if-none-match": "*"}),
    ("GET", "/tap/sync", ADQL.replace("TOP+5", "TOP+6"), {}),
    ("GET", "/tap/sync", f"{ADQL}&RESPONSEFORMAT=csv", {}),
    ("GET", "/tap/sync", f"{ADQL}&MAXREC=2", {}),
    ("GET", "/tap/sync", ADQL.replace("stars", "secret"), {}),
    ("GET", "/cone/stars.main", CONE, {}),
    ("GET", "/cone/stars.main", f"{CONE}&VERB=3", {}),
    ("GET", "/collections/stars/main", "", {"accept": "text/html"}),
    ("GET", "/collections/stars/main", "mag=%3C9", {"accept": "text/html"}),
    ("GET", "/collections/stars/main", "mag=%3C9", {"accept": "application/json"}),
    ("GET", "/help", "", {"accept": "text/html"}),
    ("GET", "/help", "", {"accept": "text/html", "accept-language": "fr"}),
    ("GET", "/help", "", {"accept": "application/json"}),
    ("GET", "/help", "", {"accept": "text/html", "accept-encoding": "gzip"}),
    ("GET", "/help", "lang=fr", {"accept": "text/html"}),
    ("GET", "/help", "", {"accept": "text/html", "cookie": "hven_theme=dark"}),
    ("HEAD", "/help", "", {"accept": "text/html"}),
    ("GET", "/help.json", "", {}),
    ("GET", "/nowhere", "", {}),
]
OWN_HEADERS = {"x-request-id", "date", "age"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_tiny_site(tmp_path_factory.mktemp("sent"), TABLES) as made:
        made.settings = replace(made.settings, brought={CACHE_SECTION.key: ResultCacheSettings(bytes=1 << 24)})
        yield made


@pytest.fixture
def client(site: Site) -> Client:
    return Client(create_and_start_application(site), repeats_answers=True)


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Stop the clock of the short way; a test may set it."""
    seconds = [1_000.0]
    monkeypatch.setattr(sent_answers, "time", SimpleNamespace(time=lambda: seconds[0]))
    return seconds


@pytest.fixture
def repeated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the service of each answer that is repeated before routing."""
    services: list[str] = []
    admit = RequestMiddleware._check_gates_and_record_repeated_usage

    def record(middleware: Any, scope: Any, usage: Any, sent_usage: Any) -> bool:
        is_admitted = admit(middleware, scope, usage, sent_usage)
        services.extend([usage.face] * is_admitted)
        return is_admitted

    monkeypatch.setattr(RequestMiddleware, "_check_gates_and_record_repeated_usage", record)
    return services


def ask(client: Client, asked: Asked) -> Answer:
    method, path, query, headers = asked
    return client.ask(method, path, query.encode(), headers=headers)


def list_comparable_parts(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """Return everything that equal requests must get: not the id and the date."""
    headers = {name: value for name, value in answer.headers.items() if name not in OWN_HEADERS}
    if answer.headers.get("content-encoding"):  # a compressed date differs in several bytes
        headers.pop("content-length", None)
        return answer.status, headers, b""
    return answer.status, headers, re.sub(rb"\[request [^\]]+\]|<code>\w{12}</code>", b"", answer.comparable_body)


def warm(client: Client, asked: Asked) -> Answer:
    """Ask so often that the next answer is a repeated one."""
    return [ask(client, asked) for _ in range(MIN_EQUAL_REQUESTS + 2)][-1]


@pytest.mark.parametrize("asked", REQUESTS, ids=str)
def test_a_repeated_answer_equals_the_one_of_its_service(client: Client, repeated: list[str], asked: Asked) -> None:
    expected = warm(client, asked)
    repeated.clear()
    again = ask(client, asked)
    assert list_comparable_parts(again) == list_comparable_parts(expected)
    assert again.headers["x-request-id"] != expected.headers["x-request-id"]
    is_own = {"cookie", "lang"} & {*asked[3], asked[2][:4]} or asked[:2] == ("HEAD", "/tap/sync")
    assert bool(repeated) is (expected.status in {200, 304} and not is_own)


@pytest.fixture
def reference(site: Site) -> Client:
    """Return a client of an application that repeats nothing before routing."""
    return Client(create_and_start_application(site, identify_principal=lambda _: Principal()), repeats_answers=True)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.lists(st.tuples(st.integers(0, len(REQUESTS) - 1), st.integers(1, 8)), min_size=1, max_size=12))
def test_in_any_order_all_answers_are_those_of_the_services(
    client: Client, reference: Client, repeated: list[str], order: list[tuple[int, int]]
) -> None:
    for number, count in order:
        for _ in range(count):
            answers = [list_comparable_parts(ask(each, REQUESTS[number])) for each in (client, reference)]
            assert answers[0] == answers[1], REQUESTS[number]


def test_new_rows_are_seen_at_once(tmp_path: Path, repeated: list[str]) -> None:
    with open_tiny_site(tmp_path, TABLES) as site:
        site.settings = replace(site.settings, brought={CACHE_SECTION.key: ResultCacheSettings(bytes=1 << 24)})
        client = Client(create_and_start_application(site), repeats_answers=True)
        count = ("GET", "/tap/sync", "LANG=ADQL&RESPONSEFORMAT=csv&QUERY=SELECT+COUNT(*)+AS+n+FROM+stars.main", {})
        page = ("GET", "/help", "", {"accept": "text/html"})
        old = [warm(client, asked) for asked in (count, page)]
        assert old[0].body == b"n\r\n2000\r\n"
        assert sorted({*repeated}) == ["portal", "tap"]
        repeated.clear()
        publish_rows(site, TABLES["stars.main"][0], build_rows(7))
        site.refresh_published_state()
        assert ask(client, count).body == b"n\r\n7\r\n"
        assert ask(client, page).headers["etag"] != old[1].headers["etag"]
        assert not repeated


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"cookie": "hven_session=over"}, None),
        ({"authorization": "Bearer nobody"}, 401),
        ({"authorization": "Basic bm9ib2R5OnB3"}, 401),
    ],
)
def test_whoever_sends_credentials_gets_an_own_answer(
    client: Client, repeated: list[str], headers: dict[str, str], status: int | None
) -> None:
    asked = REQUESTS[0]
    warm(client, asked)
    repeated.clear()
    answer = client.ask(asked[0], asked[1], asked[2].encode(), headers=headers)
    assert not repeated
    assert status in {None, answer.status}


def test_the_second_ends(client: Client, repeated: list[str], now: list[float]) -> None:
    warm(client, REQUESTS[0])
    assert repeated == ["tap"]
    now[0] += 1.0
    ask(client, REQUESTS[0])
    assert repeated == ["tap"]


def test_what_is_kept_has_bounds(site: Site) -> None:
    context: Any = SimpleNamespace(site=site)
    cache = SentAnswerCache(context)
    usage: Any = SimpleNamespace(validity=None)

    def keep(second: int, text: str, size: int) -> None:
        answer = SentAnswer(200, [(b"cache-control", b"public")], bytes(size), usage)
        for _ in range(MIN_EQUAL_REQUESTS):
            cache.keep_sent_answer((second, text), answer)

    for number in range(20):
        keep(7, str(number), sent_answers.MAX_KEPT_BYTES // 8)
    assert len(cache._sent_answers) == 8
    keep(6, "late", 1)
    keep(7, "long" * sent_answers.MAX_KEY_CHARACTERS, 1)
    assert len(cache._sent_answers) == 8
    for number in range(3 * sent_answers.MAX_COUNTED_KEYS):
        cache.keep_sent_answer((7, f"once {number}"), SentAnswer(200, [], b"", usage))
    assert len(cache._sent_counts) <= sent_answers.MAX_COUNTED_KEYS
    keep(8, "next second", 1)
    assert list(cache._sent_answers) == [(8, "next second")]
    keep(3, "after the clock was set back", 1)
    assert list(cache._sent_answers) == [(3, "after the clock was set back")]


def test_a_header_that_comes_twice_is_left_to_the_services(site: Site) -> None:
    context: Any = SimpleNamespace(site=site)
    scope: Any = {
        "method": "GET", "scheme": "http", "path": "/", "query_string": b"", "headers": [(b"accept", b"a"), (b"accept", b"b")],
    }  # fmt: skip
    assert SentAnswerCache(context).find_sent_answer(scope, dict(scope["headers"])) == (None, None)


def test_other_tests_get_each_answer_from_its_service(site: Site, repeated: list[str]) -> None:
    client = Client(create_and_start_application(site))
    warm(client, REQUESTS[0])
    assert not repeated


def test_other_ways_to_identify_users_turn_it_off(site: Site, repeated: list[str]) -> None:
    client = Client(create_and_start_application(site, identify_principal=lambda _: Principal()), repeats_answers=True)
    warm(client, REQUESTS[0])
    assert not repeated


@pytest.mark.parametrize(
    ("status", "headers", "is_kept"),
    [
        (200, {b"cache-control": b"public, no-cache", b"vary": b"Accept, Accept-Encoding, cookie"}, True),
        (304, {b"cache-control": b"public, no-cache"}, True),
        (200, {b"cache-control": b"private, no-cache"}, False),
        (200, {}, False),
        (404, {b"cache-control": b"public, no-cache"}, False),
        (200, {b"cache-control": b"public, no-cache", b"set-cookie": b"a=b"}, False),
        (200, {b"cache-control": b"public, no-cache", b"vary": b"accept, user-agent"}, False),
        (200, {b"cache-control": b"public, no-cache", b"vary": b"*"}, False),
    ],
)
def test_only_public_answers_are_kept(
    site: Site, now: list[float], status: int, headers: dict[bytes, bytes], *, is_kept: bool
) -> None:
    context: Any = SimpleNamespace(site=site)
    cache = SentAnswerCache(context)
    state = site.get_published_state()
    validity: Any = SimpleNamespace(version=state.version, access_key="public", policies=())
    usage: Any = SimpleNamespace(validity=validity)
    for _ in range(MIN_EQUAL_REQUESTS):
        cache.keep_sent_answer((int(now[0]), "x"), SentAnswer(status, [*headers.items()], b"body", usage))
    assert bool(cache._sent_answers) is is_kept


def test_gates_refuse_repeated_answers_and_count_each_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []

    class Gate(RequestGate):
        def check_request(self, request: Any, principal: Any, usage: Any) -> None:
            assert usage.face == "tap"
            if len(counted) > MIN_EQUAL_REQUESTS + 1:
                raise TooManyRequestsError("too many", remedy="wait", retry_after_seconds=7)
            counted.append(request.url.path)

    monkeypatch.setattr(application, "load_request_gates", lambda: [Gate])
    client = Client(create_and_start_application(site), repeats_answers=True)
    asked = ("GET", "/tap/sync", f"{ADQL}&MAXREC=4", {})
    statuses = [ask(client, asked).status for _ in range(MIN_EQUAL_REQUESTS + 2)]
    assert statuses == [200] * (MIN_EQUAL_REQUESTS + 2)
    assert len(counted) == len(statuses)
    refusal = ask(client, asked)
    assert (refusal.status, refusal.headers["retry-after"]) == (429, "7")
    assert b'name="QUERY_STATUS" value="ERROR"' in refusal.body
    assert b"too many" in refusal.body


def test_metrics_and_observers_see_repeated_answers(
    site: Site, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(
        RequestMiddleware, "_notify_request_observers", lambda _, scope, exchange, headers: reported.append(exchange)
    )
    asked = ("GET", "/tap/sync", f"{ADQL}&MAXREC=3", {})
    before = site.counters.sum_process_counters()
    warm(client, asked)
    after = site.counters.sum_process_counters()
    count = MIN_EQUAL_REQUESTS + 2
    assert after.requests_by_status["tap", "2xx"] - before.requests_by_status.get(("tap", "2xx"), 0) == count
    hits = after.event_counts["result_cache_hits_total"] - before.event_counts["result_cache_hits_total"]
    assert hits == count - 1, "the first was computed"
    facts = [
        (
            one.usage.face,
            one.usage.path,
            [(answer.row_count, answer.tables) for answer in one.usage.answers],
            one.sent_bytes,
        )
        for one in reported[1:]
    ]
    assert facts == facts[:1] * (count - 1)
    assert facts[0][2][0][0] == 3
