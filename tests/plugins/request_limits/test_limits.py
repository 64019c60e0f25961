"""Requests above a limit get status 429, in the document of their protocol, and nobody else does."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import random
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree as ET

import pytest
from asgi_client import Answer, Client
from hypothesis import given
from hypothesis import strategies as st
from star_tables import STARS, TABLES, build_rows

from hven.app._server import create_and_start_application
from hven.jobs._worker import run_next_job
from hven.model.errors import TooManyRequestsError
from hven.model.settings import load_settings
from hven.plugins.request_limits import class_metrics, limit_gate, shared_counts
from hven.plugins.request_limits.limit_checks import find_limit_faults
from hven.plugins.request_limits.limit_gate import LimitGate, compute_rate_wait, find_applicable_limit
from hven.plugins.request_limits.settings import LIMITS_SECTION, RequestLimit
from hven.plugins.request_limits.shared_counts import (
    CLASS_COUNT,
    SLOTS_PER_BUCKET,
    Ceilings,
    SharedCounts,
    UserCounts,
    UserUsage,
)
from hven.portal._views import page_formats
from hven.query.query_queue import QueryQueue, QueryTurn
from hven.site import Site
from hven.site.auth import Principal
from hven.testing.site import open_tiny_site
from plugin_needs import require_plugins

CONE = "/cone/stars.main"
NEAR = "RA=10&DEC=10&SR=5"
TAP = "LANG=ADQL&QUERY=SELECT+TOP+10+id+FROM+stars.main"
ANNA, BERT = {"x-forwarded-for": "192.0.2.1"}, {"x-forwarded-for": "192.0.2.2"}
UNLIMITED = Ceilings()
Limiter = Callable[..., Client]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    tables = {**TABLES, "stars.other": (replace(STARS, name="other"), build_rows(20))}
    with open_tiny_site(tmp_path_factory.mktemp("limits"), tables) as made:
        yield made


@pytest.fixture(scope="module")
def application(site: Site) -> Any:
    return create_and_start_application(site)


@pytest.fixture
def limited(site: Site, application: Any, monkeypatch: pytest.MonkeyPatch) -> Limiter:
    """Set limits, with counts that begin anew."""
    gate = site.get_or_create(LimitGate, site)
    monkeypatch.setattr(gate, "_counts", SharedCounts())
    monkeypatch.setattr(gate, "_settings", None)

    def set_limits(*limits: RequestLimit, **settings: Any) -> Client:
        monkeypatch.setattr(site, "settings", replace(site.settings, brought={LIMITS_SECTION.key: limits}, **settings))
        return Client(application)

    return set_limits


def ask_often(client: Client, path: str, query: str, count: int, headers: dict[str, str]) -> list[Answer]:
    return [client.ask("GET", path, query.encode(), headers=headers) for _ in range(count)]


def list_statuses(client: Client, path: str, query: str, count: int, headers: dict[str, str]) -> list[int]:
    return [answer.status for answer in ask_often(client, path, query, count, headers)]


def test_a_rate_holds_for_each_user(limited: Limiter) -> None:
    client = limited(RequestLimit(name="all", requests_per_minute=3))
    assert list_statuses(client, CONE, NEAR, 5, ANNA) == [200, 200, 200, 429, 429]
    assert list_statuses(client, CONE, NEAR, 1, BERT) == [200]
    assert list_statuses(client, "/health/live", "", 2, ANNA) == [200, 200], "health checks are never limited"


def test_without_limits_nothing_is_refused(limited: Limiter) -> None:
    assert list_statuses(limited(), CONE, NEAR, 5, ANNA) == [200] * 5


def test_users_can_be_counted_together(limited: Limiter) -> None:
    client = limited(RequestLimit(name="all", requests_per_minute=3, together=True))
    assert [list_statuses(client, CONE, NEAR, 1, user)[0] for user in (ANNA, BERT, ANNA, BERT)] == [200, 200, 200, 429]


def test_a_limit_holds_for_its_services(limited: Limiter) -> None:
    client = limited(RequestLimit(name="cone", services=("cone",), requests_per_minute=1))
    assert list_statuses(client, CONE, NEAR, 2, ANNA) == [200, 429]
    assert list_statuses(client, "/tap/sync", TAP, 2, ANNA) == [200, 200]


@pytest.mark.parametrize(
    ("service", "method", "path"),
    [
        ("push", "GET", "/push/stars.main"),
        ("push", "POST", "/push/stars.main"),
        ("user_tables", "POST", "/tap/load/mine"),
        ("user_tables", "PUT", "/tap/user_tables/mine"),
        ("provenance", "GET", "/prov"),
        ("jobs", "GET", "/jobs"),
    ],
)
def test_services_that_no_report_counts_are_limited(limited: Limiter, service: str, method: str, path: str) -> None:
    require_plugins("protocols", service)
    client = limited(RequestLimit(name="all", networks=("192.0.2.1",), requests_per_minute=0))
    refused = client.ask(method, path, headers=ANNA)
    assert (refused.status, int(refused.headers["retry-after"])) == (429, 60)
    assert client.ask(method, path, headers=BERT).status != 429
    client = limited(RequestLimit(name="one", networks=("192.0.2.1",), services=(service,), requests_per_minute=0))
    assert client.ask(method, path, headers=ANNA).status == 429


def test_whoever_is_limited_can_log_in(limited: Limiter) -> None:
    client = limited(RequestLimit(name="all", requests_per_minute=0))
    assert client.ask("GET", "/login", headers=ANNA).status == 200


def test_rows_of_a_day_end_the_day(limited: Limiter) -> None:
    client = limited(RequestLimit(name="rows", rows_per_day=25))
    assert list_statuses(client, "/tap/sync", TAP, 4, ANNA) == [200, 200, 200, 429]
    answer = client.ask("GET", "/tap/sync", TAP.encode(), headers=ANNA)
    assert "30 rows today" in answer.text
    assert "25 rows per day" in answer.text
    assert 0 < int(answer.headers["retry-after"]) <= 86_400
    assert list_statuses(client, "/tap/sync", TAP, 1, BERT) == [200]


def test_rows_of_a_job_count_when_they_are_downloaded(site: Site, limited: Limiter) -> None:
    client = limited(RequestLimit(name="rows", rows_per_day=25))
    query = "SELECT TOP 10 a.id FROM stars.main AS a JOIN stars.other AS b ON a.id = b.id"
    body = urlencode({"LANG": "ADQL", "PHASE": "RUN", "QUERY": query}).encode()
    headers = {**ANNA, "content-type": "application/x-www-form-urlencoded"}
    created = client.ask("POST", "/tap/async", body=body, headers=headers)
    assert created.status == 303
    result = f"{urlsplit(created.headers['location']).path}/results/result"
    assert run_next_job(site)
    # the join has two tables, but its rows count once; HEAD sends none
    assert [client.ask(method, result, headers=ANNA).status for method in ("HEAD", "GET") * 2] == [200] * 4
    assert list_statuses(client, "/tap/sync", TAP, 2, ANNA) == [200, 429]
    refused = client.ask("GET", result, headers=ANNA)
    assert refused.status == 429
    assert "30 rows today" in refused.text


def test_only_so_many_requests_run_at_once(limited: Limiter) -> None:
    client = limited(RequestLimit(name="two", concurrent=2))
    # the rows are computed in threads, so that all requests have begun before the first one ends
    query = (
        b"LANG=ADQL&MAXREC=5000&QUERY=SELECT+a.id+FROM+stars.main+a+JOIN+stars.main+b+ON+a.mag<b.mag+WHERE+b.number=%d"
    )

    async def ask_at_once() -> list[int]:
        asks = [client.ask_async("GET", "/tap/sync", query.replace(b"%d", b"%d" % n), headers=ANNA) for n in range(6)]
        return [answer.status for answer in await asyncio.gather(*asks)]

    statuses = asyncio.run(ask_at_once())
    assert statuses.count(200) == 2
    assert statuses.count(429) == 4
    assert list_statuses(client, "/tap/sync", TAP, 2, ANNA) == [200, 200], "those have ended"


@pytest.mark.parametrize(
    "path", ["/cone/stars.main?RA=x", "/cone/no.table?RA=1&DEC=1&SR=1", "/tap/sync?QUERY=nonsense"]
)
def test_a_failed_request_has_ended(limited: Limiter, path: str) -> None:
    client = limited(RequestLimit(name="one", concurrent=1))
    assert all(answer.status != 429 for answer in (client.ask("GET", path, headers=ANNA) for _ in range(3)))


def test_each_protocol_tells_it_in_its_own_document(limited: Limiter) -> None:
    client = limited(RequestLimit(name="none", requests_per_minute=0))

    def refuse(path: str, **headers: str) -> Answer:
        answer = client.ask("GET", path, headers={**ANNA, **headers})
        assert answer.status == 429
        assert answer.headers["retry-after"] == "60"
        assert "0 requests per minute" in answer.text
        return answer

    for path in ("/tap/sync?QUERY=SELECT+1", "/sia2/stars.main?POS=CIRCLE+1+1+1", "/datalink/stars.main?ID=x"):
        document = ET.fromstring(refuse(path).body)
        info = next(element for element in document.iter() if element.get("name") == "QUERY_STATUS")
        assert info.get("value") == "ERROR"
    assert "TransientFault" in refuse("/sia2/stars.main?POS=CIRCLE+1+1+1").text
    document = ET.fromstring(refuse(f"{CONE}?{NEAR}").body)
    assert [element.get("name") for element in document.iter() if element.tag.endswith("INFO")] == ["Error"]
    status = json.loads(refuse("/hapi/catalog").body)["status"]
    assert status["code"] == 2429
    assert status["message"].startswith("HAPI error 2429: Too Many Requests; ")
    for path, root in (
        ("/wms/stars?SERVICE=WMS&REQUEST=GetMap", "ServiceExceptionReport"),
        ("/wcs/stars?SERVICE=WCS&REQUEST=GetCoverage", "ExceptionReport"),
        ("/wmts/stars?SERVICE=WMTS&REQUEST=GetTile", "ExceptionReport"),
        ("/wmts/stars/1.0.0/WMTSCapabilities.xml", "ExceptionReport"),
        ("/wmts/stars/1.0.0/a/default/b/1/2/3.png", "ExceptionReport"),
        ("/wfs?SERVICE=WFS&VERSION=2.0.0&REQUEST=GetFeature", "ExceptionReport"),
        ("/wfs?SERVICE=WFS&version=1.0.0&REQUEST=GetFeature", "ServiceExceptionReport"),
    ):
        assert ET.fromstring(refuse(path).body).tag.partition("}")[2] == root
    for path in ("/ssa/stars.main?POS=1,1&SIZE=1", "/sia/stars.main?POS=1,1&SIZE=1", "/soda/async?ID=x", "/tap/async"):
        info = next(element for element in ET.fromstring(refuse(path).body).iter() if element.get("name"))
        assert (info.get("name"), info.get("value")) == ("QUERY_STATUS", "ERROR")
    assert json.loads(refuse("/stac").body)["code"] == "TooManyRequests"
    assert refuse("/das2/server?server=list").text.startswith("[00]")
    assert refuse("/", accept="text/html,application/xhtml+xml").headers["content-type"].startswith("text/html")
    assert json.loads(refuse("/", accept="application/json").body)


def test_a_request_that_two_endpoints_answer_counts_once(limited: Limiter) -> None:
    client = limited(RequestLimit(name="all", requests_per_minute=2))
    assert [client.post("/wfs", SERVICE="WFS", REQUEST="GetCapabilities").status for _ in range(3)] == [200, 200, 429]


def test_a_spoofed_header_changes_nothing(limited: Limiter) -> None:
    client = limited(RequestLimit(name="all", requests_per_minute=2), trusted_proxies=("198.51.100.0/24",))
    spoofed = [{"x-forwarded-for": f"192.0.2.{n}"} for n in range(4)]
    statuses = [client.ask("GET", CONE, NEAR.encode(), headers=headers).status for headers in spoofed]
    assert statuses == [200, 200, 429, 429], "this machine is no trusted proxy, so that all come from one address"


@pytest.mark.parametrize(
    ("header", "statuses"),
    [
        ("10.{n}.0.1, 192.0.2.9", [200, 200, 429]),  # the user wrote the first address, and the proxy the last one
        ("10.{n}.0.1, 192.0.2.9, 127.0.0.1", [200, 200, 429]),  # two trusted proxies
        ("192.0.2.{n}", [200, 200, 200]),  # three users
        ("192.0.2.{n}, nonsense", [200, 200, 429]),  # a proxy that writes no address: its own counts
    ],
)
def test_the_last_address_before_trusted_proxies_counts(limited: Limiter, header: str, statuses: list[int]) -> None:
    client = limited(RequestLimit(name="all", requests_per_minute=2))
    headers = [{"x-forwarded-for": header.replace("{n}", str(n))} for n in range(3)]
    assert [client.ask("GET", CONE, NEAR.encode(), headers=sent).status for sent in headers] == statuses


def test_accounts_count_wherever_they_are(site: Site, limited: Limiter) -> None:
    token = site.store.users.add_account("carl")
    client = limited(RequestLimit(name="all", requests_per_minute=2))
    for statuses, address in (([200, 200], "192.0.2.1"), ([429], "192.0.2.2")):
        headers = {"x-forwarded-for": address, "authorization": f"Bearer {token}"}
        assert list_statuses(client, CONE, NEAR, len(statuses), headers) == statuses
    health = replace(site.settings.health, operators=("carl",))
    client = limited(RequestLimit(name="all", requests_per_minute=0), health=health)
    assert list_statuses(client, CONE, NEAR, 1, headers) == [200], "operators are never limited"


def test_refused_requests_are_counted_for_prometheus(site: Site, limited: Limiter) -> None:
    client = limited(RequestLimit(name="all", requests_per_minute=1), health=replace(site.settings.health, open=True))
    before = read_metric(client)
    list_statuses(client, CONE, NEAR, 4, ANNA)
    assert read_metric(client) == before + 3


def read_metric(client: Client) -> int:
    match = re.search(r"^hven_limited_requests_total (\d+)$", client.ask("GET", "/metrics").text, re.MULTILINE)
    assert match is not None
    return int(match[1])


ANONYMOUS, ACCOUNT = Principal(), Principal(name="anna", groups=frozenset({"team"}))


@pytest.mark.parametrize(
    ("limit", "principal", "fits"),
    [
        (RequestLimit(name="a"), ANONYMOUS, True),
        (RequestLimit(name="a", anonymous=True), ANONYMOUS, True),
        (RequestLimit(name="a", anonymous=True), ACCOUNT, False),
        (RequestLimit(name="a", accounts=("anna",)), ACCOUNT, True),
        (RequestLimit(name="a", accounts=("bert",)), ACCOUNT, False),
        (RequestLimit(name="a", accounts=("bert",), groups=("team",)), ACCOUNT, True),
        (RequestLimit(name="a", networks=("192.0.2.0/24",)), ANONYMOUS, True),
        (RequestLimit(name="a", networks=("2001:db8::/32", "10.0.0.0/8")), ANONYMOUS, False),
        (RequestLimit(name="a", user_agents=("GPTBot",)), ANONYMOUS, True),
        (RequestLimit(name="a", user_agents=("curl",)), ANONYMOUS, False),
        (RequestLimit(name="a", services=("cone", "tap")), ANONYMOUS, True),
        (RequestLimit(name="a", services=("sia",)), ANONYMOUS, False),
    ],
)
def test_whom_a_limit_fits(limit: RequestLimit, principal: Principal, fits: bool) -> None:
    found = find_applicable_limit([limit], principal, "tap", "192.0.2.7", "mozilla (compatible; gptbot/1.2)")
    assert (found is limit) is fits


def test_the_first_limit_that_fits_counts() -> None:
    exempt = RequestLimit(name="partners", networks=("192.0.2.0/24",))
    others = RequestLimit(name="others", concurrent=1)
    assert find_applicable_limit([exempt, others], ANONYMOUS, "tap", "192.0.2.7", "") is exempt
    assert not exempt.has_limits
    assert find_applicable_limit([exempt, others], ANONYMOUS, "tap", "192.0.3.7", "") is others


@given(st.integers(0, 500), st.integers(0, 500), st.integers(1, 400), st.floats(0, 0.999, allow_subnormal=False))
def test_a_request_after_the_wait_is_admitted(minute: int, previous: int, limit: int, share: float) -> None:
    minute = min(minute, limit)
    previous = min(previous, limit)
    usage = UserUsage(0, minute, previous, 0)
    seconds = compute_rate_wait(usage, limit, share)
    assert 0 <= seconds <= 120
    if not seconds:
        assert usage.estimate_rate(share) <= limit
        return
    later = share + (seconds + 1e-6) / 60
    if later >= 1:
        usage, later = UserUsage(0, 0, minute, 0), later - 1
    assert compute_rate_wait(usage, limit, min(later, 1.0)) == 0


def find_user(counts: SharedCounts, name: str = "anna", ceilings: Ceilings = UNLIMITED) -> UserCounts:
    user = counts.find_user(name, ceilings)
    assert user is not None
    return user


def test_a_minute_slides_and_a_day_ends() -> None:
    now = [86_400.0 * 20_000]
    user = find_user(SharedCounts(lambda: now[0]))
    for _ in range(10):
        user.count_request(now[0])
        user.end_request(7)
    assert user.read_usage() == UserUsage(0, 10, 0, 70)
    now[0] += 60
    assert user.read_usage() == UserUsage(0, 0, 10, 70)
    user.count_request(now[0])
    assert user.read_usage() == UserUsage(1, 1, 10, 70)
    now[0] += 120
    assert user.read_usage() == UserUsage(1, 0, 0, 70)
    now[0] += 86_400
    assert user.read_usage().rows == 0


@given(
    st.integers(0, 40),
    st.integers(0, 12),
    st.integers(0, 200),
    st.lists(st.tuples(st.sampled_from(["begin", "end", "wait"]), st.integers(0, 30)), max_size=120),
)
def test_one_process_admits_exactly_what_the_limits_say(
    per_minute: int, concurrent: int, rows_per_day: int, events: list[tuple[str, int]]
) -> None:
    """A model that looks at everything each time decides the same."""
    now = [86_400.0 * 20_000]
    user = find_user(SharedCounts(lambda: now[0]), ceilings=Ceilings(concurrent, per_minute, rows_per_day))
    running = rows = 0
    counts_by_minute: dict[float, int] = {}
    for event, number in events:
        minute, second = divmod(now[0], 60)
        if event == "wait":
            now[0] += number / 100
        elif event == "end":
            if running:
                user.end_request(number)
                running -= 1
                rows += number
        else:
            rate = counts_by_minute.get(minute, 0) + counts_by_minute.get(minute - 1, 0) * (1 - second / 60)
            is_admitted = running < concurrent and rate + 1 <= per_minute and rows < rows_per_day
            assert user.count_request(now[0]) is is_admitted
            running += is_admitted
            counts_by_minute[minute] = counts_by_minute.get(minute, 0) + is_admitted


@given(st.integers(1, 60), st.integers(2, 8), st.integers(0, 2**32))
def test_processes_that_admit_at_once_exceed_a_limit_by_half_at_most(limit: int, processes: int, seed: int) -> None:
    now = 86_400.0 * 20_000
    counts = SharedCounts(lambda: now)
    users = []
    for number in range(processes):  # each object stands for a process
        user = find_user(counts, ceilings=Ceilings(requests_per_minute=limit))
        counts._users.clear()
        user._first_cell += number * 6
        users.append(user)
    counts._process_count.value = processes
    chosen = random.Random(seed)
    admitted = sum(chosen.choice(users).count_request(now) for _ in range(4 * limit * processes))
    assert limit <= admitted <= limit + limit / 2
    later = now + 0.2
    assert not any(user.count_request(later) for user in users), "each looks again after a tenth of a second"


def test_a_usual_request_does_not_add_up_the_counts_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 86_400.0 * 20_000
    user = find_user(SharedCounts(lambda: now), ceilings=Ceilings(100, 10_000, 10**6))
    user.count_request(now)
    monkeypatch.setattr(UserCounts, "_count_after_reading", lambda *_: pytest.fail("the cells were added up"))
    for _ in range(1_000):
        assert user.count_request(now + 0.05)
        user.end_request(10)


def test_costs_of_classes_are_metrics_for_operators_only(
    site: Site, limited: Limiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = (
        RequestLimit(name="partners", networks=("192.0.2.1",)),
        RequestLimit(name="visitors", anonymous=True, services=("cone",), requests_per_minute=2),
    )
    health = replace(site.settings.health, open=True)
    client = limited(*limits, health=health)
    monkeypatch.setattr(class_metrics, "get_shared_counts", lambda: site.get_or_create(LimitGate, site)._counts)
    list_statuses(client, CONE, NEAR, 4, ANNA)
    list_statuses(client, CONE, NEAR, 3, BERT)
    list_statuses(client, "/tap/sync", TAP, 1, BERT)
    metrics = client.ask("GET", "/metrics").text
    samples = dict(re.findall(r'^hven_user_class_(\w+\{class="\w+"\}) (.*)$', metrics, re.MULTILINE))
    assert samples['requests_total{class="partners"}'] == "4"
    assert samples['requests_total{class="visitors"}'] == "2"
    assert samples['refusals_total{class="visitors"}'] == "1"
    assert samples['requests_total{class="others"}'] == "1"
    assert samples['rows_total{class="others"}'] == "10"
    assert float(samples['seconds_total{class="partners"}']) > 0
    client = limited(*limits, health=replace(site.settings.health, open=False))
    assert "hven_user_class" not in client.ask("GET", "/metrics").text


def count_in_process(counts: SharedCounts, ends: bool, number: int) -> None:
    user = find_user(counts)
    for _ in range(number):
        user.count_request(time.time())
        if ends:
            user.end_request(1)
            counts.find_class("visitors").count_answer(time.time() - 1, 2)


def test_processes_share_counts_and_a_dead_one_leaves_no_requests() -> None:
    counts = SharedCounts()
    user = find_user(counts)
    user.count_request(time.time())
    forks = multiprocessing.get_context("fork")
    for ends, number in ((True, 3), (False, 2)):
        process = forks.Process(target=count_in_process, args=(counts, ends, number))
        process.start()
        process.join()
        assert process.exitcode == 0
    usage = user.read_usage()
    assert usage.minute_count + usage.previous_count == 6
    assert usage.rows == 3
    assert usage.running == 3
    process = forks.Process(target=count_in_process, args=(counts, True, 1))  # it gets the cells of the dead process
    process.start()
    process.join()
    assert user.read_usage().running == 1
    totals = counts.sum_class_costs()["visitors"]
    assert (totals.answered, totals.rows, totals.refused) == (4, 8, 0)
    assert totals.seconds >= 4


def test_more_classes_than_places_share_the_last_one() -> None:
    counts = SharedCounts()
    for number in range(CLASS_COUNT + 5):
        counts.find_class(f"class {number}").count_refusal()
    totals = counts.sum_class_costs()
    assert len(totals) == CLASS_COUNT
    assert totals["class 0"].refused == 1
    assert totals[f"class {CLASS_COUNT - 1}"].refused == 6
    counts.find_class("class 0").count_refusal()
    assert counts.sum_class_costs()["class 0"].refused == 2


def test_more_users_than_slots_displace_those_who_used_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hven.plugins.request_limits.shared_counts.SLOT_COUNT", SLOTS_PER_BUCKET)
    counts = SharedCounts()
    names = [f"user {number}" for number in range(SLOTS_PER_BUCKET)]
    users = [find_user(counts, name) for name in names]
    assert len({user.slot for user in users}) == SLOTS_PER_BUCKET
    now = time.time()
    for number, user in enumerate(users):
        user.count_request(now)
        user.end_request(100 - number)
    find_user(counts, "another")
    assert [user for user in users if not user.is_current] == [users[-1]]
    users[-1].end_request(5)  # of a request that began before: it is not the other user's
    assert users[-1].read_usage().rows == 0
    for user in users[:-1]:
        user.count_request(now)
    find_user(counts, "another").count_request(now)
    assert counts.find_user("one too many", Ceilings()) is None, "users with requests that run keep their slots"


def wait_with_cells(counts: SharedCounts, results: Any, stop_event: Any) -> None:
    user = counts.find_user("anna", UNLIMITED)
    results.put(user is not None and user.count_request(time.time()))
    stop_event.wait(60)


@pytest.mark.slow
def test_all_workers_of_a_large_server_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_counts, "_server_counts", None)
    LimitGate.reserve_shared_memory(40)
    counts = shared_counts.get_shared_counts()
    forks = multiprocessing.get_context("fork")
    results, stop_event = forks.Queue(), forks.Event()
    processes = [forks.Process(target=wait_with_cells, args=(counts, results, stop_event)) for _ in range(40)]
    for process in processes:
        process.start()
    assert all(results.get(timeout=60) for _ in processes)
    usage = find_user(counts).read_usage()
    stop_event.set()
    for process in processes:
        process.join()
    assert usage.minute_count + usage.previous_count == 40


def test_a_process_that_cannot_count_says_so(caplog: pytest.LogCaptureFixture) -> None:
    counts = SharedCounts(process_limit=1)
    forks = multiprocessing.get_context("fork")
    results, stop_event = forks.Queue(), forks.Event()
    process = forks.Process(target=wait_with_cells, args=(counts, results, stop_event))
    process.start()
    assert results.get(timeout=60)
    assert counts.find_user("anna", UNLIMITED) is None
    assert counts.find_user("bert", UNLIMITED) is None
    stop_event.set()
    process.join()
    assert [record.levelname for record in caplog.records] == ["ERROR"], "it is said once"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the memory is a file on disk")
def test_counts_take_only_the_memory_that_they_use() -> None:
    counts = SharedCounts(process_limit=130)
    for number in range(20):
        find_user(counts, f"user {number}").count_request(time.time())
    assert os.fstat(counts._file).st_blocks * 512 < 1_000_000


def test_a_gate_that_fails_admits(limited: Limiter, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    client = limited(RequestLimit(name="all", requests_per_minute=0))
    monkeypatch.setattr(limit_gate, "_build_limit_error", fail)
    assert list_statuses(client, CONE, NEAR, 1, ANNA) == [200]
    monkeypatch.setattr(limit_gate, "_build_limit_error", lambda *_: TooManyRequestsError("no"))
    assert list_statuses(client, CONE, NEAR, 1, ANNA) == [429]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("[request_limits.a]\nrequests_per_minute = -1\n", "requests_per_minute"),
        ("[request_limits.a]\nconcurent = 1\n", "concurrent"),
        ("[request_limits.a]\nconcurrent = 1\nnetworks = ['10.0.0.0/99']\n", "networks"),
        ("trusted_proxies = ['proxy.example']\n", "trusted_proxies"),
    ],
)
def test_faults_of_settings_are_told(tmp_path: Path, section: str, words: str) -> None:
    (tmp_path / "hven.toml").write_text(section)
    with pytest.raises(Exception, match=words):
        load_settings(tmp_path)


def test_settings_come_from_the_file_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "hven.toml").write_text(LIMITS_SECTION.example_text)
    settings = load_settings(tmp_path)
    limits = settings.brought[LIMITS_SECTION.key]
    assert [limit.name for limit in limits] == ["partners", "crawlers", "page-searches", "visitors"]
    assert limits[0].networks == ("192.0.2.0/24",)
    assert list(find_limit_faults(settings)) == []
    faulty = replace(
        settings, brought={LIMITS_SECTION.key: (RequestLimit(name="a", services=("tapp",), concurrent=1),)}
    )
    empty = replace(settings, brought={LIMITS_SECTION.key: (RequestLimit(name="a"),)})
    assert "neither names users nor limits" in next(iter(find_limit_faults(empty)))
    assert "did you mean 'tap'" in next(iter(find_limit_faults(faulty)))
    never = replace(
        settings, brought={LIMITS_SECTION.key: (RequestLimit(name="a", services=("health",), concurrent=1),)}
    )
    assert "the service 'health' is never limited" in next(iter(find_limit_faults(never)))


def test_users_of_a_section_that_counts_together_take_turns_as_one(
    limited: Limiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    takers: list[str] = []
    hold_turn = QueryQueue._hold_turn

    def note_turn(queue: QueryQueue, turn: QueryTurn) -> None:
        takers.append(turn.requester)
        hold_turn(queue, turn)

    monkeypatch.setattr(QueryQueue, "_hold_turn", note_turn)
    crawlers = RequestLimit(name="crawlers", user_agents=("bot",), together=True)
    client = limited(crawlers, RequestLimit(name="others", requests_per_minute=1000))
    query = b"LANG=ADQL&QUERY=SELECT+COUNT(*)+FROM+stars.main+a+JOIN+stars.main+b+ON+a.mag<b.mag+WHERE+a.number<%d"
    for number, (user, agent) in enumerate([(ANNA, "a-bot"), (BERT, "a-bot"), (ANNA, "curl"), (BERT, "curl")]):
        sent = query.replace(b"%d", b"%d" % number)
        assert client.ask("GET", "/tap/sync", sent, headers={**user, "user-agent": agent}).status == 200
    assert set(takers) == {"section crawlers", "192.0.2.1", "192.0.2.2"}
    first_of_others = takers.index("192.0.2.1")
    assert set(takers[:first_of_others]) == {"section crawlers"}


def test_searches_can_be_limited_apart_from_pages(limited: Limiter) -> None:
    proposal = RequestLimit(
        name="page-searches", anonymous=True, services=("portal",), searches=True, together=True, requests_per_minute=2
    )
    client = limited(proposal)
    page = {"accept": "text/html"}
    search = [
        client.ask("GET", "/collections/stars/main", b"mag=%3C9", headers={**user, **page})
        for user in (ANNA, BERT, ANNA)
    ]
    assert [answer.status for answer in search] == [200, 200, 429]
    assert "you share one limit with all users of your kind" in search[2].text
    assert 0 < int(search[2].headers["retry-after"]) <= 120
    for path in ("/", "/collections/stars/main", "/help"):
        assert client.ask("GET", path, headers={**ANNA, **page}).status == 200
    assert list_statuses(client, CONE, NEAR, 3, ANNA) == [200] * 3


@pytest.mark.parametrize(
    ("limit", "retry_after"),
    [
        (RequestLimit(name="all", together=True, concurrent=0), (5, 5)),
        (RequestLimit(name="all", together=True, rows_per_day=0), (1, 86_400)),
        (RequestLimit(name="all", together=True, requests_per_minute=0), (60, 60)),
    ],
)
def test_users_who_count_together_are_told_so(
    limited: Limiter, limit: RequestLimit, retry_after: tuple[int, int]
) -> None:
    answer = limited(limit).ask("GET", CONE, NEAR.encode(), headers=ANNA)
    assert answer.status == 429
    assert "you share one limit with all users of your kind" in answer.text
    assert retry_after[0] <= int(answer.headers["retry-after"]) <= retry_after[1]


def test_the_page_of_a_refusal_is_rendered_once_and_leads_back(
    limited: Limiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[Any] = []
    render_page = page_formats.render_page
    monkeypatch.setattr(
        page_formats, "render_page", lambda page, frame: rendered.append(frame.said) or render_page(page, frame)
    )
    limit = RequestLimit(name="searches", services=("portal",), searches=True, together=True, requests_per_minute=0)
    client = limited(limit)

    def search(query: str, **headers: str) -> str:
        answer = client.ask(
            "GET", "/collections/stars/main", query.encode(), headers={"accept": "text/html", **headers}
        )
        assert answer.status == 429
        assert answer.headers["cache-control"] == "no-store"
        assert "content-security-policy" in answer.headers
        assert page_formats.RETURN_PATH_MARK not in answer.text
        assert f"[request {answer.headers['x-request-id']}]" in answer.text
        return answer.text

    pages = [search(f"mag={number}..{number + 1}", **{"x-forwarded-for": f"192.0.2.{number}"}) for number in range(4)]
    assert rendered == ["en"]
    for number, page in enumerate(pages):
        assert f"/login?next=/collections/stars/main%3Fmag%3D{number}..{number + 1}" in page
    assert "<script>" not in search("a=%22%3E%3Cscript%3E")
    assert "Connexion" in search("a=1", **{"accept-language": "fr"})
    assert rendered == ["en", "fr"]
    search("a=1", cookie="hven_theme=dark")
    assert rendered == ["en", "fr", "en"], "the page has the reader's theme"
    assert "a=1" * 500 not in search("b=" + "a=1" * 500), "a log-in at a provider keeps the path in a cookie"
