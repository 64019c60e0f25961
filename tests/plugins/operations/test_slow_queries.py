"""Slow queries are logged with what explains them, without names or private values; running ones are told."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asgi_client import Client
from hypothesis import given
from hypothesis import strategies as st

from hven.app._server.application import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.plugins.operations import query_log, query_watch
from hven.plugins.operations.health_facts import describe_health
from hven.plugins.operations.query_log import (
    LOG_FILE,
    SlowQueryLog,
    find_query_shape,
    group_queries,
    mask_query_values,
    read_running_slow_queries,
    write_running_slow_queries,
)
from hven.plugins.operations.query_watch import QueryWatch
from hven.plugins.operations.settings import OPERATIONS_SECTION
from hven.query import query_queue, run_query
from hven.site import Site
from hven.site.auth import ANONYMOUS_PRINCIPAL, OWNER_PRINCIPAL, Principal
from hven.site.store import get_process_holder
from process_runner import run_hven

TOML = """\
name = "uraniborg"
[operations]
slow_seconds = 0.000001
log_bytes = 65536
[health]
operators = ["olga"]
[projects.hesiod]
title = "HESIOD"
"""
TABLE = """\
collection: {name}
title: Things
tables:
  main:
{more}    primary: [id]
    source: {{kind: csv, files: a.csv}}
    columns:
      id: {{type: int32, ucd: meta.id;meta.main}}
      vmag: {{type: float64, indexed: true}}
      field: {{type: string}}
"""
ROW_COUNT = 12_000
WRITE_FILE = QueryWatch.write_slow_queries_file
ANNA = Principal(name="anna", groups=frozenset({"hesiod"}))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Publish a public and a private collection."""
    place = tmp_path_factory.mktemp("slow") / "site"
    rows = "id,vmag,field\n" + "".join(f"{number},{number % 20},F{number % 50}\n" for number in range(ROW_COUNT))
    policy = "    access: \"'hesiod' in groups\"\n"
    for name, more in (("stars", ""), ("secret", policy)):
        (place / "collections" / name).mkdir(parents=True)
        (place / "collections" / name / "a.csv").write_text(rows)
        (place / "collections" / name / f"{name}.yaml").write_text(TABLE.format(name=name, more=more))
    (place / "hven.toml").write_text(TOML)
    with Site(load_settings(place)) as site:
        for name in ("stars", "secret"):
            ingest_collection(site, name)
    return place


@pytest.fixture
def site(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    # the thread writes nothing while a test reads
    monkeypatch.setattr(QueryWatch, "write_slow_queries_file", lambda _: None)
    with Site(load_settings(directory)) as opened:
        for path in (directory / "var/operations").glob("*"):
            path.unlink()
        yield opened


def run(site: Site, query: str, principal: Principal = ANONYMOUS_PRINCIPAL) -> dict[str, Any]:
    """Run a query, and return its entry in the log."""
    with run_query(query, principal, site=site) as result:
        result.read_table()
    return SlowQueryLog(site.settings).read_entries()[0]


def test_an_entry_explains_the_query(site: Site, directory: Path) -> None:
    entry = run(site, "SELECT COUNT(*) AS n, MAX(vmag) AS v FROM stars.main WHERE field = 'F7' GROUP BY field")
    assert entry["text"].endswith("WHERE field = 'F7' GROUP BY field")
    assert entry["tables"] == {"stars.main": ROW_COUNT}
    assert entry["reads"] == [f"stars.main: about {ROW_COUNT:,} of {ROW_COUNT:,} rows are read"]
    assert "DuckDB: SELECT" in entry["plan"]
    (advice,) = entry["advice"]
    assert advice.startswith("stars.main: no index of field; in the descriptor, write `indexed: true` in the column")
    assert (entry["rows"], entry["user"], entry["error"]) == (1, "background", None)
    assert 0 <= entry["waited"] <= entry["seconds"]
    assert (directory / "var/operations" / LOG_FILE).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("condition", "has_advice"),
    [
        ("field = 'F7'", True),
        ("'F7' = field", True),
        ("field IN ('F7', 'F8')", True),
        ("field BETWEEN 'F7' AND 'F8'", True),
        ("field <> 'F7'", False),
        ("field NOT IN ('F7', 'F8')", False),
        ("vmag < 3", False),  # it has an index
        ("vmag < 3 AND field = 'F7'", False),
        ("UPPER(field) = 'F7'", False),  # no index helps
        ("1 = 1", False),
    ],
)
def test_the_index_that_would_help(site: Site, condition: str, has_advice: bool) -> None:
    entry = run(site, f"SELECT field, COUNT(*) AS n FROM stars.main WHERE {condition} GROUP BY field")
    assert bool(entry["advice"]) is has_advice


def test_values_of_private_queries_are_masked(site: Site) -> None:
    entry = run(
        site, "SELECT field, COUNT(*) AS n FROM secret.main WHERE field = 'F7' AND id < 7777 GROUP BY field", ANNA
    )
    assert entry["text"] == "SELECT field, COUNT(*) AS n FROM secret.main WHERE field = ? AND id < ? GROUP BY field"
    assert "reads" not in entry
    assert "7777" not in json.dumps(entry)
    assert "F7" not in json.dumps(entry)
    assert "anna" not in json.dumps(entry)
    assert entry["user"] == "account"


@pytest.mark.parametrize(
    ("principal", "word"),
    [
        (ANONYMOUS_PRINCIPAL, "background"),
        (ANNA, "account"),
        (Principal(name="olga"), "operator"),
        (OWNER_PRINCIPAL, "operator"),
    ],
)
def test_names_are_logged_only_if_the_settings_say_so(site: Site, principal: Principal, word: str) -> None:
    query = "SELECT field, COUNT(*) AS n FROM stars.main GROUP BY field"
    entry = run(site, query, principal)
    assert entry["user"] == word
    assert "name" not in entry
    file = site.settings.directory / "hven.toml"
    try:
        file.write_text(TOML.replace("[health]", "names = true\n[health]"))
        with Site(load_settings(site.settings.directory)) as other:
            assert run(other, query, principal).get("name") == principal.name
    finally:
        file.write_text(TOML)


def test_an_error_is_logged(site: Site) -> None:
    watch = site.get_or_create(QueryWatch, site)
    batches = run_query("SELECT field, COUNT(*) AS n FROM stars.main GROUP BY field", site=site).iterate_batches()
    next(batches)
    ((_, _, result, planned),) = watch._running.values()
    result.failure = ZeroDivisionError()
    watch.end_query(result, planned, 9.0)
    entry = SlowQueryLog(site.settings).read_entries()[0]
    assert (entry["error"], entry["seconds"]) == ("ZeroDivisionError", 9.0)
    batches.close()


def test_a_client_that_reads_slowly_makes_no_query_slow(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download of ten minutes by a slow client must not head the list, or go to curators each morning."""
    now = [1000.0]
    monkeypatch.setattr(query_queue, "time", SimpleNamespace(monotonic=lambda: now[0]))
    settings = site.settings.brought[OPERATIONS_SECTION.key]
    for slow_seconds, count in ((5.0, 0), (0.000001, 1)):
        changed = {**site.settings.brought, OPERATIONS_SECTION.key: replace(settings, slow_seconds=slow_seconds)}
        monkeypatch.setattr(site, "settings", replace(site.settings, brought=changed))
        watch = site.get_or_create(QueryWatch, site)
        batches = run_query("SELECT id, field FROM stars.main WHERE field < 'F9'", site=site).iterate_batches()
        next(batches)
        ((_, _, result, planned),) = watch._running.values()
        now[0] += 600.0
        batches.close()
        assert result.client_seconds == 600.0
        watch.end_query(result, planned, 600.001)
        entries = [entry for entry in SlowQueryLog(site.settings).read_entries() if entry["client"] == 600.0]
        assert [entry["seconds"] for entry in entries] == [0.001] * count


def test_what_an_index_answers_is_not_logged(site: Site) -> None:
    with run_query("SELECT id FROM stars.main WHERE id = 7", site=site) as result:
        assert result.read_table().num_rows == 1
    assert SlowQueryLog(site.settings).read_entries() == []


def test_zero_seconds_switch_the_log_off(site: Site) -> None:
    file = site.settings.directory / "hven.toml"
    try:
        file.write_text(TOML.replace("0.000001", "0"))
        with Site(load_settings(site.settings.directory)) as other:
            run_query("SELECT COUNT(*) AS n FROM stars.main WHERE field = 'F7'", site=other).read_table()
            assert SlowQueryLog(other.settings).read_entries() == []
    finally:
        file.write_text(TOML)


def test_queries_that_run_are_told_until_they_end(site: Site) -> None:
    watch = site.get_or_create(QueryWatch, site)
    result = run_query("SELECT id, field FROM stars.main WHERE field < 'F9'", site=site)
    batches = result.iterate_batches()
    next(batches)
    (entry,) = watch.list_running_slow_queries()
    assert entry["text"] == "SELECT id, field FROM stars.main WHERE field < 'F9'"
    WRITE_FILE(watch)
    (told,) = read_running_slow_queries(site.settings)
    assert told["text"] == entry["text"]
    assert "running for" in run_hven("queries", "--site", site.settings.directory).stdout
    (fact,) = describe_health(site)["slow_queries"]
    assert (fact["seconds"], fact["user"]) == (told["seconds"], told["user"])
    assert "text" not in fact, "the setting health.open shows /health to everybody"
    application = create_and_start_application(site, identify_principal=lambda _: Principal(name="olga"))
    page = Client(application).ask("GET", "/health", headers={"accept": "text/html"})
    assert f"<li>{told['seconds']} s, " in page.text
    assert told["text"] not in page.text
    stranger = Client(create_and_start_application(site, identify_principal=lambda _: ANNA))
    assert "slow_queries" not in json.loads(stranger.ask("GET", "/health.json").body)
    (path,) = (site.settings.var_directory / "operations").glob("running-*.json")
    os.utime(path, (0, 0))  # as a process leaves it that was killed
    assert read_running_slow_queries(site.settings) == []
    batches.close()
    assert watch.list_running_slow_queries() == []
    WRITE_FILE(watch)
    assert not path.exists()


def test_containers_keep_their_lists_although_process_numbers_are_equal(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 7)
    for host in ("blue", "green"):
        monkeypatch.setattr(query_log, "get_process_holder", lambda host=host: f"{host} 7 100 x-1", raising=False)
        write_running_slow_queries(site.settings, [{"time": "2026", "text": host}])
    assert {entry["text"] for entry in read_running_slow_queries(site.settings)} == {"blue", "green"}
    write_running_slow_queries(site.settings, [])
    assert [entry["text"] for entry in read_running_slow_queries(site.settings)] == ["blue"]
    monkeypatch.setattr(query_log, "get_process_holder", lambda: "blue 7 100 x-1", raising=False)
    write_running_slow_queries(site.settings, [])


def test_servers_take_samples_of_the_disk(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = site.get_or_create(QueryWatch, site)
    path = site.settings.var_directory / "operations/disk.jsonl"
    watch.sample_disk()
    assert not path.exists()
    server = SimpleNamespace(holder=get_process_holder())
    monkeypatch.setattr(query_watch, "list_server_processes", lambda _: [server])
    watch.sample_disk()
    assert path.exists()


def test_a_fork_has_no_queries_of_its_parent(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = site.get_or_create(QueryWatch, site)
    result = run_query("SELECT id, field FROM stars.main WHERE field < 'F9'", site=site)
    batches = result.iterate_batches()
    next(batches)
    assert len(watch.list_running_slow_queries()) == 1
    monkeypatch.setattr(query_watch._watcher, "_process_id", 1)
    query_watch._watcher.start_thread()
    assert watch.list_running_slow_queries() == []
    batches.close()


def test_the_log_has_a_limit_and_survives_damage(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    log = SlowQueryLog(site.settings)
    operations = site.settings.var_directory / "operations"
    for number in range(400):
        log.append({"time": f"2026-01-01T00:00:00.{number:03}Z", "text": "x" * 1000, "seconds": number})
    assert 32_000 < sum(path.stat().st_size for path in operations.iterdir()) < 66_000 + 2_200
    with (operations / LOG_FILE).open("ab") as file:
        file.write(b'{"time": "2026\n[1]\n{"text": 3}\n\xff\xfe\n')
    entries = log.read_entries()
    assert entries[0]["seconds"] == 399
    assert len(entries) > 30
    assert log.read_entries("2026-01-01T00:00:00.399") == entries[:1]
    monkeypatch.setattr(query_log.os, "open", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    log.append({"time": "2027", "text": "lost", "seconds": 1})
    write_running_slow_queries(site.settings, [{"time": "2027"}])
    assert log.read_entries() == entries


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("SELECT a1 FROM t2.x WHERE b='it''s' AND c>-1.5e3", "SELECT a1 FROM t2.x WHERE b=? AND c>-?"),
        ('SELECT "a 1" FROM t -- of Anna 7\nWHERE x IN (1,.5)', 'SELECT "a 1" FROM t ?\nWHERE x IN (?,?)'),
        ('WHERE (t1."field" = $1)', 'WHERE (t1."field" = $1)'),
        ("'unclosed", "'unclosed"),
    ],
)
def test_values_are_masked(text: str, masked: str) -> None:
    assert mask_query_values(text) == masked


@given(st.text(alphabet="ab'12 ", max_size=12), st.floats(0, 1e12), st.integers(0, 10**9))
def test_no_value_is_left(text: str, number: float, whole: int) -> None:
    quoted = text.replace("'", "''")
    query = f"SELECT x FROM t WHERE a = '{quoted}' AND b < {number!r} AND c IN ({whole},{whole})"
    assert mask_query_values(query) == "SELECT x FROM t WHERE a = ? AND b < ? AND c IN (?,?)"
    assert find_query_shape(f"  {query}\n") == "SELECT x FROM t WHERE a = ? AND b < ? AND c IN (?,?)"


def test_queries_of_one_shape_are_one_group() -> None:
    def make(text: str, seconds: float, user: str) -> dict[str, Any]:
        return {"time": "2026", "text": text, "seconds": seconds, "user": user}

    entries = [make("SELECT 1", 5, "account"), make("SELECT  2", 7, "anonymous"), make("SELECT x", 11, "account")]
    first, second = group_queries(entries)
    assert first.to_json() == {"count": 2, "seconds": 12, "users": {"account": 1, "anonymous": 1}, "worst": entries[1]}
    assert second.count == 1


def test_the_verb_shows_kinds_of_queries(site: Site) -> None:
    for field in ("F7", "F8"):
        run(site, f"SELECT COUNT(*) AS n FROM stars.main WHERE field = '{field}' GROUP BY field")
    directory = site.settings.directory
    shown = run_hven("queries", "--plan", "--site", directory).stdout
    assert re.match(r"2 x, \d+\.\d s in all \(2 by background\): SELECT COUNT", shown)
    assert "no index of field" in shown
    assert "    plan: DuckDB: SELECT" in shown
    report = json.loads(run_hven("queries", "--json", "--site", directory).stdout)
    assert [group["count"] for group in report["slow"]] == [2]
    assert run_hven("queries", "--days", 0, "--site", directory).stdout == "no slow queries in the last 0 days\n"


def test_operators_alone_see_the_page(site: Site) -> None:
    run(site, "SELECT COUNT(*) AS n FROM stars.main WHERE field = 'F7' GROUP BY field")
    principals = {"anna": ANNA, "olga": Principal(name="olga"), "seen": Principal(name="olga", impersonator="max")}
    application = create_and_start_application(
        site, identify_principal=lambda request: principals.get(request.headers["x-who"], ANONYMOUS_PRINCIPAL)
    )
    client = Client(application)
    statuses = {
        who: client.ask("GET", "/operations", headers={"x-who": who}).status
        for who in ("nobody", "anna", "seen", "olga")
    }
    assert statuses == {"nobody": 401, "anna": 403, "seen": 403, "olga": 200}
    page = client.ask("GET", "/operations?lang=fr", headers={"x-who": "olga", "accept": "text/html"})
    text = page.body.decode()
    assert "Exploitation" in text
    assert "no index of field" in text
    assert page.headers["cache-control"] == "private, no-store"
    answer = client.ask(
        "GET",
        "/tap/sync?LANG=ADQL&QUERY=SELECT+COUNT(*)+FROM+stars.main+WHERE+field='F9'+GROUP+BY+field",
        headers={"x-who": "nobody", "x-request-id": "abc"},
    )
    assert answer.status == 200
    entry = SlowQueryLog(site.settings).read_entries()[0]
    assert (entry["user"], entry["service"], entry["request"]) == ("anonymous", "tap", "abc")
    report = json.loads(client.ask("GET", "/operations.json", headers={"x-who": "olga"}).body)
    assert report.keys() == {"examined", "seconds", "counts", "findings", "running", "slow"}
    health = client.ask("GET", "/health", headers={"x-who": "olga", "accept": "text/html"})
    assert "/operations" in health.body.decode()
