"""Whoever accepts an entry sees its row at once, whichever process of the server answers; push clients do not wait."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from entry_site import STARS, Person, make_name, read_entry

from hven.plugins.push import client_writes, served_runs
from hven.plugins.push.served_runs import ServedRunRecorder, wait_until_served
from hven.site import Site
from hven.site.store import get_process_holder
from process_runner import Server, run_hven, serve_site

READS = 12  # after each acceptance, each on a connection of its own


def send(server: Server, path: str, token: str, document: object = None) -> Any:
    """Send a request on a new connection, which any process of the server may get."""
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", "Content-Type": "application/json"}
    body = None if document is None else json.dumps(document).encode()
    status, _, answer = server.send("GET" if body is None else "POST", path, body, headers)
    assert status in {200, 201}, answer
    return answer.decode()


def test_an_accepted_row_is_served_by_all_processes_at_once(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "collections/bad").mkdir(parents=True)
    (site / "collections/bad/bad.yaml").write_text(STARS)
    (site / "hven.toml").write_text('name = "bad"\ntitle = "Uraniborg"\n')
    run_hven("ingest", "--site", site, "bad")
    tokens = {name: run_hven("user", "add", "--site", site, name).stdout.strip() for name in ("anna", "mia")}
    with serve_site(site, workers=2) as server:
        for number in range(4):
            name = f"star {number}"
            document = {"values": {"name": name, "mag": 3.0}, "action": "submit"}
            entry = json.loads(send(server, "/entries/bad.stars", tokens["anna"], document))
            decision = {"action": "accept", "etag": entry["etag"]}
            accepted = json.loads(send(server, f"/entries/bad.stars/{entry['number']}", tokens["mia"], decision))
            assert accepted["state"] == "accepted"
            adql = quote(f"SELECT name FROM bad.stars WHERE name = '{name}'")
            address = f"/tap/sync?LANG=ADQL&RESPONSEFORMAT=csv&QUERY={adql}"
            found = [send(server, address, tokens["mia"]).splitlines()[1:] for _ in range(READS)]
            assert found == [[name]] * READS
        assert len(list((site / "var/run").glob("served.*.json"))) == 2, "both processes record what they serve"


def test_an_acceptance_waits_for_its_own_run_and_nothing_else_does(
    site: Site, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is sent when the other processes serve the run that published the row; programs' pushes are not held."""
    awaited = []

    def wait(_: Site, table: str, run: str) -> bool:
        published = site.get_published_state().tables_by_name[table]
        awaited.append((table, run == published.run_id))
        return True

    monkeypatch.setattr(client_writes, "wait_until_served", wait)
    entry = people["anna"].submit({"name": make_name(), "mag": 3.0})
    assert people["mia"].send("/push/bad.stars", {"name": make_name(), "mag": 3.0}).status == 201
    assert awaited == [], "neither the check of an entry nor a push waits"
    accepted = read_entry(people["mia"].take(entry, "accept"))
    assert awaited == [("bad.stars", True)]
    read_entry(people["mia"].take(accepted, "withdraw", reason="not needed"))
    assert awaited == [("bad.stars", True)] * 2


@pytest.fixture
def other_process(site: Site, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the site have another server process, which is this one under another name."""
    holder = f"{get_process_holder()}-other"
    processes = [SimpleNamespace(holder=holder), SimpleNamespace(holder=get_process_holder())]
    monkeypatch.setattr(served_runs, "list_server_processes", lambda _: processes)
    (site.settings.var_directory / "run").mkdir(exist_ok=True)
    return holder


def record(site: Site, holder: str, run: str) -> None:
    served_runs._build_path(site.settings, holder).write_text(json.dumps({"bad.stars": run}))


def test_a_wait_ends_when_the_other_process_serves_the_run(site: Site, other_process: str) -> None:
    record(site, other_process, "20260101T000000000-aaaa")
    timer = threading.Timer(0.3, record, (site, other_process, "20260103T000000000-bbbb"))
    timer.start()
    begin = time.monotonic()
    assert wait_until_served(site, "bad.stars", "20260102T000000000-cccc")
    assert time.monotonic() - begin >= 0.25
    timer.join()
    assert wait_until_served(site, "bad.stars", "20260103T000000000-bbbb")


def test_a_process_that_is_slow_or_unreadable_costs_a_few_seconds(
    site: Site, other_process: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served_runs, "MAX_WAIT_SECONDS", 0.1)
    path = served_runs._build_path(site.settings, other_process)
    for content in (None, "", "[", '{"other": "2"}'):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_text(content)
        assert not wait_until_served(site, "bad.stars", "20260102T000000000-cccc")


def test_a_process_records_what_it_serves_and_forgets_the_dead(site: Site, other_process: str) -> None:
    dead = site.settings.var_directory / "run/served.0123456789abcdef.json"
    dead.write_text("{}")
    ServedRunRecorder(site.settings).record_runs(site.get_published_state())
    recorded = json.loads(served_runs._build_path(site.settings, get_process_holder()).read_text())
    published = site.get_published_state().tables_by_name["bad.stars"]
    assert recorded["bad.stars"] == published.run_id
    assert "others.fixed" not in recorded, "clients send no rows to it"
    assert not dead.exists()
