"""Health: three questions apart, each with its status; who sees what; metrics that Prometheus' own parser reads; no secret anywhere."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asgi_client import Answer, Client
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.jobs import health
from hven.model.errors import StorageError
from hven.model.settings import create_site_directory, load_settings
from hven.model.settings._sections import HealthSettings
from hven.portal._pages.texts import load_page_translations
from hven.site import HINDERED_MESSAGE, Site
from hven.site.counters import SHARED_MEMORY_VARIABLE, ProcessCounters, create_shared_counter_memory
from hven.site.store import SyncScheduleRecord
from hven.site.store._schedules import create_alert
from hven.site.store.ingest_runs import ERROR_PHASE
from hven.testing.policies import build_odd_rows_hidden_policies
from process_runner import run_hven

ADDRESSES = (
    "/health",
    "/health?format=html",
    "/health?format=foot",
    "/health.json",
    "/health/live",
    "/health/ready",
    "/health/fresh",
    "/metrics",
)
SECRET = "plantedsecret-9917"
TABLE = """\
collection: {name}
title: {name}
access: {access}
tables:
  main:
    primary: [n]
    source: {{kind: csv, files: rows.csv}}
    columns: {{n: {{type: int32}}}}
sync: {{every: 1 h}}
"""


def open_health_site(directory: Path, **more: Any) -> Site:
    """Open a site with a public collection, seen, and a private one, covert."""
    create_site_directory(directory, name="Uraniborg")
    for name, access in (("seen", "public"), ("covert", "private")):
        path = directory / "collections" / name
        path.mkdir()
        (path / f"{name}.yaml").write_text(TABLE.format(name=name, access=access))
        (path / "rows.csv").write_text("n\n1\n2\n3\n")
    site = Site(replace(load_settings(directory, {}), **more))
    for name in ("seen", "covert"):
        ingest_collection(site, name)
    site.refresh_published_state()
    return site


@pytest.fixture(scope="module")
def health_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_health_site(
        tmp_path_factory.mktemp("health") / "site", health=HealthSettings(operators=("prometheus",)), variant="blue"
    ) as site:
        yield site


@pytest.fixture
def site(health_site: Site) -> Iterator[Site]:
    """Give the site with schedules as they are after an ingest."""
    put(health_site, "seen")
    put(health_site, "covert")
    yield health_site
    for name in ("seen", "covert"):
        health_site.store.schedules.update_schedule(name, lambda *_: (None, ()))


def put(site: Site, name: str, **more: Any) -> None:
    now = time.time()
    row = SyncScheduleRecord(collection=name, timing="every 1 h", due=now + 3600, succeeded=now, **more)
    site.store.schedules.update_schedule(name, lambda *_: (row, ()))


@pytest.fixture
def reader(site: Site) -> Client:
    return Client(create_and_start_application(site))


@pytest.fixture(scope="module")
def token(health_site: Site) -> str:
    return health_site.store.users.add_account("prometheus")


def basic(token: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"prometheus:{token}".encode()).decode()}


def parse_json(answer: Answer) -> Any:
    assert answer.headers["cache-control"] == "no-store"
    return json.loads(answer.body)


def values(answer: Answer) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


# --- what is well ---------------------------------------------------------------------------------------------


def test_all_is_well_in_every_form(reader: Client) -> None:
    for path in ADDRESSES:
        answer = reader.get(path)
        assert answer.status == 200, path
        assert answer.headers["cache-control"] == "no-store"
        assert reader.ask("HEAD", path).body == b""
    body = parse_json(reader.get("/health"))
    assert (body["status"], body["variant"], body["tables"], body["problems"]) == ("ok", "blue", 1, 0)
    assert {check["name"]: check["state"] for check in body["checks"]} == dict.fromkeys(
        ("holdings", "engines", "store", "clock", "disk", "settings", "descriptors", "job_types", "counts"), "ok"
    )
    (collection,) = body["collections"]
    assert (collection["collection"], collection["state"], collection["rows"], collection["failures"]) == (
        "seen",
        "fresh",
        3,
        0,
    )
    assert collection["timing"] == "every 1 h"
    assert 0 <= collection["lag"] < 600
    assert collection["snapshot"] == collection["tables"]["seen.main"]["snapshot"]
    assert collection["succeeded"] < collection["next"] < collection["limit"]
    page = reader.ask("GET", "/health", headers={"accept": "text/html,application/xhtml+xml"}).text
    begin, _, rest = collection["snapshot"].partition("-")
    assert rest
    assert f'<span title="{collection["snapshot"]}">{begin}</span>' in page, "an identifier takes one line"


@pytest.mark.parametrize(
    ("path", "accept", "kind"),
    [
        ("/health", "*/*", "application/json"),
        ("/health", "text/html,application/xhtml+xml,*/*;q=0.8", "text/html"),
        ("/health", "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", "text/plain"),
        ("/health?format=HTML", "application/json", "text/html"),
        ("/health?FORMAT=prometheus", "*/*", "text/plain"),
        ("/health.json", "text/html", "application/json"),
        ("/health/", "*/*", "application/json"),
    ],
)
def test_the_form_that_is_wanted(reader: Client, path: str, accept: str, kind: str) -> None:
    assert reader.ask("GET", path, headers={"accept": accept}).headers["content-type"].startswith(kind)


def test_metrics_are_what_prometheus_reads(reader: Client, site: Site, token: str) -> None:
    found = values(reader.ask("GET", "/metrics", headers=basic(token)))
    assert found["hven_info", (("variant", "blue"), ("version", parse_json(reader.get("/health"))["version"]))] == 1
    assert found["hven_collection_rows", (("collection", "seen"),)] == 3
    assert found["hven_collection_state", (("collection", "seen"), ("state", "fresh"))] == 1
    assert found["hven_check", (("check", "disk"),)] == 1
    before = found.get(("hven_queries_total", ()), 0)
    rows = found.get(("hven_query_rows_total", ()), 0)
    for query in ("SELECT n FROM seen.main", "SELECT nonsense FROM seen.main", "SELECT 1/(n-n) FROM seen.main"):
        reader.post("/tap/sync", LANG="ADQL", RESPONSEFORMAT="csv", QUERY=query)
    after = values(reader.ask("GET", "/metrics", headers=basic(token)))
    assert after["hven_queries_total", ()] == before + 3
    assert after["hven_query_rows_total", ()] >= rows + 3
    for hidden in ("hven_query_rows_total", "hven_sent_bytes_total"):  # how much others are shown is for operators
        assert hidden in {name for name, _ in after}
        assert hidden not in reader.get("/metrics").text
    assert after["hven_query_errors_total", (("kind", "BindError"),)] == 1
    assert after["hven_queries_running", ()] == 0
    assert after["hven_requests_total", (("face", "tap"), ("status", "2xx"))] >= 1
    assert after["hven_requests_total", (("face", "tap"), ("status", "4xx"))] >= 1
    counts = [
        value
        for (name, labels), value in after.items()
        if name == "hven_request_duration_seconds_bucket" and ("face", "tap") in labels
    ]
    assert counts == sorted(counts)
    assert counts[-1] == after["hven_request_duration_seconds_count", (("face", "tap"),)]


def test_the_last_modification_that_was_seen_is_told(tmp_path: Path) -> None:
    with open_health_site(tmp_path / "site") as site:
        path = site.settings.directory / "collections" / "seen" / "seen.yaml"
        text = path.read_text().replace(
            "columns: {n: {type: int32}}", "columns: {n: {type: int32}, t: {type: timestamp}}\n    sync: {watermark: t}"
        )
        path.write_text(text)
        (path.parent / "rows.csv").write_text("n,t\n1,2026-11-01T00:00:00\n2,2026-11-19T12:30:00\n")
        ingest_collection(site, "seen")
        site.refresh_published_state()
        (collection,) = parse_json(Client(create_and_start_application(site)).get("/health"))["collections"]
        assert collection["modified"] == "2026-11-19T12:30:00Z"
        found = values(Client(create_and_start_application(site)).get("/metrics"))
        assert found["hven_collection_modified_timestamp_seconds", (("collection", "seen"),)] == 1795091400
        assert "2026-11-19T12:30:00Z" in run_hven("status", "--site", site.settings.directory).stdout


# --- what is not ----------------------------------------------------------------------------------------------


def test_a_failing_source_degrades_freshness_and_nothing_else(site: Site, reader: Client) -> None:
    put(site, "seen", failures=2, phase="ERROR", message="no answer")
    reader = Client(create_and_start_application(site))
    fresh = reader.get("/health/fresh")
    assert (fresh.status, parse_json(fresh)["status"]) == (200, "degraded")
    assert parse_json(fresh)["collections"][0]["state"] == "failing"
    assert reader.get("/health/ready").status == 200
    assert parse_json(reader.get("/health"))["status"] == "degraded"
    rows = reader.post("/tap/sync", LANG="ADQL", RESPONSEFORMAT="csv", QUERY="SELECT COUNT(*) AS c FROM seen.main")
    assert rows.text.split() == ["c", "3"]


def test_the_foot_of_a_page_says_what_is_not_well_and_why_to_whom_it_concerns(site: Site, token: str) -> None:
    assert "all is well" in Client(create_and_start_application(site)).get("/health", format="foot").text
    put(site, "covert", failures=2, phase="ERROR", message=SECRET)
    reader = Client(create_and_start_application(site))
    foot = reader.get("/health", format="foot").text
    assert "covert" not in foot
    operator = reader.ask("GET", "/health?format=foot", headers=basic(token)).text
    assert "covert</a>" in operator
    assert health.STATE_REASONS["failing"] in operator
    put(site, "seen", failures=2, phase="ERROR", message=SECRET)
    foot = Client(create_and_start_application(site)).get("/health", format="foot").text
    assert "seen</a>" in foot
    assert health.STATE_REASONS["failing"] in foot
    assert "covert" not in foot
    assert SECRET not in foot + operator


def test_stale_data_are_503_for_who_asks_for_freshness_alone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real = site.store.schedules.list_schedules
    monkeypatch.setattr(type(site.store.schedules), "list_schedules", lambda _: (real()[0] + 3 * 3600, real()[1]))
    reader = Client(create_and_start_application(site))
    fresh = reader.get("/health/fresh")
    assert (fresh.status, parse_json(fresh)["status"]) == (503, "stale")
    overview = reader.get("/health")
    assert (overview.status, parse_json(overview)["status"]) == (200, "degraded")
    assert values(reader.get("/metrics"))["hven_collection_state", (("collection", "seen"), ("state", "stale"))] == 1
    put(site, "seen", paused=time.time())
    put(site, "covert", paused=time.time())
    reader = Client(create_and_start_application(site))
    assert reader.get("/health/fresh").status == 200  # somebody wants it so


def test_without_its_store_a_server_goes_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_to_answer(_: object) -> None:
        raise StorageError(f"the system state postgresql://hven:{SECRET}@db/hven does not respond")

    monkeypatch.setattr(type(site.store.schedules), "list_schedules", fail_to_answer)
    reader = Client(create_and_start_application(site))
    ready = reader.get("/health/ready")
    assert (ready.status, parse_json(ready)["status"]) == (200, "degraded")
    assert {check["name"]: check["state"] for check in parse_json(ready)["checks"]}["store"] == "warning"
    assert parse_json(reader.get("/health"))["tables"] == 1
    assert all(SECRET not in reader.get(path).text for path in ADDRESSES)


@pytest.mark.parametrize(("free", "state", "status"), [(10 * 1024**3, "warning", 200), (1024**2, "warning", 200)])
def test_a_disk_that_fills(site: Site, monkeypatch: pytest.MonkeyPatch, free: int, state: str, status: int) -> None:
    usage = shutil.disk_usage(site.settings.data_directory)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(total=1000 * 1024**3, free=free))
    reader = Client(create_and_start_application(site))
    ready = reader.get("/health/ready")
    assert ready.status == status == reader.get("/health").status
    assert {check["name"]: check["state"] for check in parse_json(ready)["checks"]}["disk"] == state
    assert reader.get("/health/live").status == 200


@pytest.mark.parametrize(
    ("name", "how", "state", "status"),
    [
        ("duckdb", "its tables are not served", "failed", 503),
        ("postgres", "its tables are not served", "warning", 200),
        ("duckdb", HINDERED_MESSAGE, "warning", 200),
    ],
)
def test_an_engine_that_is_away(
    site: Site, monkeypatch: pytest.MonkeyPatch, name: str, how: str, state: str, status: int
) -> None:
    problem = f"engine {name}: no connection; {how}"
    holdings = replace(site.get_published_state(), problems=(problem,))
    monkeypatch.setattr(site, "get_published_state", lambda: holdings)
    reader = Client(create_and_start_application(site))
    ready = reader.get("/health/ready")
    assert ready.status == status
    assert {check["name"]: check["state"] for check in parse_json(ready)["checks"]}["engines"] == state
    assert reader.get("/health/ready", exclude="engines").status == 200
    assert reader.get("/health/ready", exclude="holdings").status == status
    assert parse_json(reader.get("/health"))["problems"] == 1
    assert "no connection" not in reader.get("/health").text


def test_a_site_that_cannot_be_read_is_alive_and_not_ready(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_and_start_application(site)

    def broken() -> None:
        raise StorageError("the system state is damaged")

    monkeypatch.setattr(site, "get_published_state", broken)
    reader = Client(app)
    assert reader.get("/health/live").status == 200
    assert reader.get("/health/ready").status == 503
    assert reader.get("/health/ready", exclude="engines").status == 503
    for form in ("json", "html"):
        assert reader.get("/health", format=form).status == 503


def test_a_store_that_hangs_keeps_no_watcher_waiting(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Client(create_and_start_application(site))
    assert reader.get("/health/ready").status == 200
    hangs = threading.Event()
    monkeypatch.setattr(type(site.store.schedules), "list_schedules", lambda _: hangs.wait(60) and (0.0, {}))
    monkeypatch.setattr(health, "STATUS_LIFETIME_SECONDS", 0.0)
    monkeypatch.setitem(health.SiteHealthMonitor.get_status.__kwdefaults__, "wait_seconds", health.STATUS_WAIT_SECONDS)
    reader = Client(create_and_start_application(site))
    ready = reader.get("/health/ready")  # there is no older look
    assert {check["name"]: check["state"] for check in parse_json(ready)["checks"]}["store"] == "warning"
    assert parse_json(reader.get("/health"))["tables"] == 1
    hangs.set()


def test_every_state_that_is_not_well_has_its_reason_for_everybody(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = {text for name, text in vars(health).items() if name.endswith("_REASON")}
    assert reasons | set(health.STATE_REASONS.values()) <= set(load_page_translations("fr"))
    usage = shutil.disk_usage(site.settings.data_directory)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(total=1000 * 1024**3, free=1024**2))
    monkeypatch.setattr(
        type(site.store.runs), "find_latest_runs", lambda _: (_ for _ in ()).throw(StorageError("busy"))
    )
    checks = {
        check["name"]: check
        for check in parse_json(Client(create_and_start_application(site)).get("/health"))["checks"]
    }
    assert {name for name, check in checks.items() if check["state"] != "ok"} == {"disk", "store"}
    assert all(("reason" in check) == (check["state"] != "ok") for check in checks.values())
    monkeypatch.undo()
    for row in ({"failures": 1, "ended": time.time() + 60}, {"paused": time.time()}):
        put(site, "seen", **row)
        (found,) = parse_json(Client(create_and_start_application(site)).get("/health/fresh"))["collections"]
        assert found["reason"] == health.STATE_REASONS[found["state"]].format(collection="seen")


def test_a_look_costs_as_many_statements_however_many_files_were_read(site: Site) -> None:
    """What a state or a record says of each file of a source is read once, not at each look of each watcher."""
    state = {
        "full": "2026-11-20T00:00:00Z",
        "watermark": {"0": 7},
        "files": [[f"{number}.fits", 1, 2] for number in range(1000)],
    }
    record = site.store.read_published_records()[1]["seen.main"]
    site.store.syncs.save_sync_state(record.id, "seen.main", "seen", state)
    looker, asked, mine = health.SiteHealthMonitor(site), list[str](), threading.get_ident()

    def heard(_connection: object, _cursor: object, text: str, *_: object) -> None:
        # the site's own threads look now and then, too; and how often the version is asked for depends on the time that passes
        if threading.get_ident() == mine and "FROM meta" not in text and not text.startswith("BEGIN"):
            asked.append(text)

    event.listen(site.store._database.engine, "before_cursor_execute", heard)
    first, again = (looker._build_status() and len(asked) for _ in range(2))
    assert again - first <= 7, "\n".join(text[:90] for text in asked[first:])
    assert not [text for text in asked[first:] if "sync_state.state" in text or "snapshots.record" in text]
    assert {item.collection: item.modified for item in looker._build_status().collections}["seen"] == "7"
    site.store.syncs.save_sync_state(record.id, "seen.main", "seen", {**state, "watermark": {"0": 8}})
    assert {item.collection: item.modified for item in looker._build_status().collections}["seen"] == "8"
    site.store.syncs.delete_states([record.id])


# --- who sees what --------------------------------------------------------------------------------------------


def test_readers_see_no_private_collection_and_no_words(site: Site, token: str) -> None:
    put(site, "covert", failures=3, phase="ERROR", message="the words of covert")
    site.store.schedules.update_schedule(
        "covert", lambda row, now: (row, [create_alert("covert", "failed", "the words of an alert", [], now)])
    )
    reader = Client(create_and_start_application(site))
    for path in ADDRESSES:
        plain = reader.get(path).text
        assert "covert" not in plain, path
        assert "words" not in plain, path
    assert parse_json(reader.get("/health"))["status"] == "degraded"  # that something is wrong is no secret
    assert (
        parse_json(reader.ask("GET", "/health", headers=basic(token)))["collections"][0]["message"]
        == "the words of covert"
    )
    page = reader.ask("GET", "/health", headers={**basic(token), "accept": "text/html"})
    assert all(word in page.text for word in ("covert", "the words of covert", "the words of an alert"))
    found = values(reader.ask("GET", "/metrics", headers=basic(token)))
    assert found["hven_collection_failures", (("collection", "covert"),)] == 3
    other = site.store.users.add_account("somebody")
    assert "covert" not in reader.ask("GET", "/health", headers={"authorization": f"Bearer {other}"}).text


def test_operators_see_how_well_collections_are_described(site: Site, token: str) -> None:
    reader = Client(create_and_start_application(site))
    seen, covert = (
        next(
            one
            for one in parse_json(reader.ask("GET", "/health", headers=basic(token)))["collections"]
            if one["collection"] == name
        )
        for name in ("seen", "covert")
    )
    assert seen["metadata"] == covert["metadata"] == 13  # an e-mail of the site, a key, and nothing else
    page = reader.ask("GET", "/health", headers={**basic(token), "accept": "text/html"}).text
    assert re.search(r'Metadata</th>.*<td class="n">13</td></tr>', page, re.DOTALL)
    assert "metadata" not in reader.get("/health").text
    assert "Metadata</th>" not in reader.ask("GET", "/health", headers={"accept": "text/html"}).text


def test_rows_that_a_policy_hides_are_not_counted(site: Site) -> None:
    reader = Client(create_and_start_application(site, policies=build_odd_rows_hidden_policies("n")))
    (collection,) = parse_json(reader.get("/health"))["collections"]
    assert "rows" not in collection
    assert collection["tables"]["seen.main"]["rows"] is None
    assert ("hven_collection_rows", (("collection", "seen"),)) not in values(reader.get("/metrics"))


def test_open_shows_all_to_everybody(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "settings", replace(site.settings, health=HealthSettings(open=True)))
    assert {
        item["collection"]
        for item in parse_json(Client(create_and_start_application(site)).get("/health"))["collections"]
    } == {
        "seen",
        "covert",
    }


def test_a_planted_secret_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_URL", f"postgresql://reader:{SECRET}@db.example/x")
    with open_health_site(tmp_path / "site", health=HealthSettings(open=True)) as site:
        place = site.settings.directory
        (place / "secrets.toml").write_text(f'KEY = "{SECRET}"\n')
        path = place / "collections" / "seen" / "seen.yaml"
        path.write_text(path.read_text() + f"nonsense: https://h.example/?apikey={SECRET}\n")
        run = "20990101T000000000-aaaa"
        site.store.runs.begin_run(run, "seen", "sync")
        site.store.runs.end_run(
            run, ERROR_PHASE, message=f"could not connect to postgresql://reader:{SECRET}@db.example/x"
        )
        put(site, "seen", failures=1, message=f"https://h.example/a?token={SECRET} answers 500")
        item = create_alert("seen", "failed", f"password={SECRET}", ["webhook"], 0.0)
        site.store.schedules.update_schedule("seen", lambda row, _: (row, [item]))
        site.store.schedules.record_delivery(
            item, {"webhook": {"attempts": 1, "error": f"https://u:{SECRET}@hooks.example is away"}}, None
        )
        site.refresh_published_state()
        client = Client(create_and_start_application(site))
        for address in ADDRESSES:
            answer = client.get(address)
            assert answer.status == 200
            assert SECRET not in answer.text, address
        assert "hooks.example" in client.get("/health").text
        for words in (["status"], ["status", "--json"], ["schedule", "list"], ["schedule", "list", "--json"]):
            assert SECRET not in run_hven(*words, "--site", place).stdout, words


# --- counters -------------------------------------------------------------------------------------------------


def test_processes_count_together_and_a_row_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHARED_MEMORY_VARIABLE, "")  # `create_shared_counter_memory` sets it: afterwards it is as it was
    create_shared_counter_memory()
    first = ProcessCounters.open_for_process()
    for _ in range(3):
        _child(lambda: _count(ProcessCounters.open_for_process()))
    found = first.sum_process_counters()
    assert (found.query_count, found.row_count, found.errors_by_kind) == (6, 30, {"Timeout": 3})
    assert found.requests_by_status == {("tap", "2xx"): 3, ("portal", "4xx"): 3, ("cone", "left"): 3}
    # of the last child, which died; the row of those before was taken over
    assert (found.running_requests, found.running_queries) == (1, 1)
    assert found.process_count == 1
    assert sum(found.time_histograms["tap"]) == 3
    assert found.bytes_by_service["tap"] == 300
    assert Path(os.environ[SHARED_MEMORY_VARIABLE]).stat().st_blocks * 512 < 1_000_000
    monkeypatch.delenv(SHARED_MEMORY_VARIABLE)
    assert ProcessCounters.open_for_process().sum_process_counters().query_count == 0


def _count(counters: ProcessCounters) -> None:
    for path, status in (("/tap/sync", 200), ("/nothing", 404), ("/cone/a", 499)):
        counters.count_request_start()
        counters.count_request_end(path, status, 0.004, 100)
    counters.count_query_start()
    counters.count_query_end(10, 0.5, None)
    counters.count_query_start()
    counters.count_query_end(0, 0.5, "Timeout")
    counters.count_request_start()
    counters.count_query_start()


def _child(do: Any) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            do()
            sys.stdout.flush()
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
