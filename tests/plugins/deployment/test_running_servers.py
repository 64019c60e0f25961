"""Operators see all servers of a site, and a newer version does not upgrade the state while a server uses it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from switched_servers import NEWER_COMMAND, build_site, start_variant

from hven import __version__
from hven.model.settings import load_settings
from hven.plugins.deployment import running_servers
from hven.plugins.deployment.health_facts import describe_health
from hven.plugins.deployment.running_servers import (
    ENTRY_LIFETIME_SECONDS,
    RunningServer,
    ServerRegistration,
    get_running_servers,
    group_servers_by_variant,
    sum_connections,
)
from hven.site import Site
from hven.site.api.state_tables import OLDEST_FORMAT, STATE_FORMAT
from hven.site.store import get_process_holder
from process_runner import HVEN_COMMAND, reserve_port, wait_until

NO_SIDE_PROCESSES = {"HVEN_SCHEDULE_RUNS": "0", "HVEN_JOB_WORKERS": "0"}
CONTRACT = {"HVEN_TEST_CONTRACT": "1"}


def build_server(holder: str, variant: str = "", **values: Any) -> RunningServer:
    defaults = {"version": "0.1.0", "format": 14, "since": "2026-11-29T00:00:00Z"}
    return RunningServer(holder=holder, variant=variant, **{**defaults, **values})


@pytest.fixture
def site_directory(tmp_path: Path) -> Path:
    directory = tmp_path / "site"
    build_site(directory)
    return directory


def run_newer(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*NEWER_COMMAND, *words, "--site", str(site)],
        env={**os.environ, **CONTRACT},
        capture_output=True,
        text=True,
        check=False,
    )


def read_format(site: Path) -> int:
    with closing(sqlite3.connect(site / "var/hven.sqlite")) as store:
        return int(store.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()[0])


def test_connections_are_added_up_and_variants_kept_apart() -> None:
    connections = {"postgres": {"used": 1, "size": 4}}
    servers = [
        build_server("north 1 5 a", "blue", connections=connections, since="2026-11-29T00:00:02Z"),
        build_server("north 2 6 a", "blue", connections=connections),
        build_server("north 3 7 a", "green", version="0.2.0", format=15),
        build_server("south 1 5 b", "blue", connections={"postgres": {"used": 2, "size": 4}, "old": {"used": 0}}),
    ]
    assert sum_connections(servers) == {"postgres": {"used": 4, "size": 12}, "old": {"used": 0}}
    blue, green, south = group_servers_by_variant(servers)
    assert (blue["name"], blue["host"], blue["processes"], blue["since"]) == (
        "blue",
        "north",
        2,
        "2026-11-29T00:00:00Z",
    )
    assert blue["connections"] == {"postgres": {"used": 2, "size": 8}}
    assert (green["version"], green["format"], green["connections"]) == ("0.2.0", 15, {})
    assert (south["name"], south["host"]) == ("blue", "south")


def test_entries_of_dead_processes_are_not_shown(site_directory: Path) -> None:
    with Site(load_settings(site_directory)) as site:
        store = get_running_servers(site)
        own_holder = get_process_holder()
        host, _, start, machine = own_holder.split()
        store.record_server_and_drop_expired(build_server(own_holder))
        store.record_server_and_drop_expired(build_server(f"{host} 1 {start}9 {machine}"))
        store.record_server_and_drop_expired(build_server("elsewhere 7 7 b"))
        assert [server.holder for server in store.list_servers()] == [own_holder, "elsewhere 7 7 b"]
        with closing(sqlite3.connect(site_directory / "var/hven.sqlite")) as raw, raw:
            late = time.time() - ENTRY_LIFETIME_SECONDS - 1
            raw.execute("UPDATE running_servers SET renewed = ? WHERE holder LIKE 'elsewhere%'", (late,))
        assert [server.holder for server in store.list_servers()] == [own_holder]
        store.record_server_and_drop_expired(build_server(own_holder))
        with closing(sqlite3.connect(site_directory / "var/hven.sqlite")) as raw:
            assert raw.execute("SELECT count(*) FROM running_servers WHERE holder LIKE 'elsewhere%'").fetchone() == (0,)


def test_a_process_registers_and_leaves(site_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(load_settings(site_directory), variant="blue", data=site_directory / "rows")
    counts = {"size": 4, "used": 1, "kept": 2}
    engines = {
        "duckdb": SimpleNamespace(count_connections=dict),
        "postgres": SimpleNamespace(count_connections=lambda: counts),
    }
    with Site(settings) as site:
        monkeypatch.setattr(site.engines, "map_open_engines", lambda: engines)
        registration = ServerRegistration(site)
        registration.start()
        wait_until(get_running_servers(site).list_servers, 60)
        facts = describe_health(site)
        (variant,) = facts["variants"]
        assert (variant["name"], variant["version"], variant["processes"]) == ("blue", __version__, 1)
        assert facts["connections"] == variant["connections"] == {"postgres": counts}
        assert facts["store"] == {"kind": "sqlite", "format": STATE_FORMAT, "oldest": OLDEST_FORMAT}
        var, data = site_directory / "var", site_directory / "rows"
        assert facts["directories"] == {"site": str(site_directory), "var": str(var), "data": str(data)}
        (lease,) = site.store.leases.list_leases()
        assert lease.what == f"the server blue with Hven {__version__}"
        registration.stop()
        registration.stop()  # nothing more to do
        monkeypatch.undo()
        assert site.store.leases.list_leases() == []
        assert describe_health(site)["variants"] == []


def test_an_unexpected_error_does_not_end_the_renewals(
    site_directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The lease is kept, so that no newer version upgrades the state while this process uses it."""
    monkeypatch.setattr(running_servers, "RENEWAL_INTERVAL_SECONDS", 0.01)
    with Site(load_settings(site_directory)) as site:
        open_engines = site.engines.map_open_engines()
        errors = [ZeroDivisionError("a fault of an engine"), sqlite3.ProgrammingError("a fault of the store")]
        raised_errors = []

        def fail_at_first() -> Any:
            if errors:
                raised_errors.append(errors.pop(0))
                raise raised_errors[-1]
            return open_engines

        monkeypatch.setattr(site.engines, "map_open_engines", fail_at_first)
        registration = ServerRegistration(site)
        registration.start()
        try:
            wait_until(get_running_servers(site).list_servers, 60)
            assert len(site.store.leases.list_leases()) == 1
        finally:
            registration.stop()
    assert len(raised_errors) == 2
    assert caplog.text.count("this server could not be registered") == 2
    assert "a fault of an engine" in caplog.text


def test_a_state_that_cannot_be_read_hides_only_what_it_has(
    site_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Site(load_settings(site_directory)) as site:
        (site_directory / "var/hven.sqlite").rename(site_directory / "var/away.sqlite")
        registration = ServerRegistration(site)
        registration.start()
        registration.stop()
        facts = describe_health(site)
        (site_directory / "var/away.sqlite").rename(site_directory / "var/hven.sqlite")
    assert facts["store"] == {"kind": "sqlite"}
    assert "directories" in facts
    assert "variants" not in facts


@pytest.mark.slow
def test_operators_see_both_variants_on_one_store(site_directory: Path) -> None:
    with Site(load_settings(site_directory)) as site:
        token = site.store.users.add_account("operator")
    with (site_directory / "hven.toml").open("a") as settings_file:
        settings_file.write('[health]\noperators = ["operator"]\n')
    ports = {"blue": reserve_port(), "green": reserve_port()}
    servers = []
    try:
        for name, port in ports.items():
            servers.append(start_variant(site_directory, name, port=port, is_newer=name == "green", drain_seconds=0))
            wait_until(servers[-1].has_workers, 120)
        operator = httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=60)

        def read_variants(port: int) -> dict[str, Any]:
            facts = operator.get(f"http://127.0.0.1:{port}/health.json").json()
            return {variant["name"]: variant for variant in facts.get("variants", [])}

        for port in ports.values():  # each server tells of both
            wait_until(lambda port=port: set(read_variants(port)) == {"blue", "green"}, 120)
        variants = read_variants(ports["blue"])
        assert (variants["blue"]["format"], variants["green"]["format"]) == (STATE_FORMAT, STATE_FORMAT + 1)
        store = operator.get(f"http://127.0.0.1:{ports['blue']}/health.json").json()["store"]
        assert store == {"kind": "sqlite", "format": STATE_FORMAT + 1, "oldest": OLDEST_FORMAT}
        page = operator.get(f"http://127.0.0.1:{ports['green']}/health", headers={"Accept": "text/html"}).text
        assert "<td>blue</td>" in page
        assert str(site_directory) in page
        for path in ("/health", "/health.json", "/health/ready", "/health/fresh", "/metrics"):
            reader_text = httpx.get(f"http://127.0.0.1:{ports['blue']}{path}", timeout=60).text
            assert str(site_directory) not in reader_text, "not for everybody"
            assert '"variants"' not in reader_text
            assert '"store":' not in reader_text
        servers.pop(0).stop()
        assert set(read_variants(ports["green"])) == {"green"}
        operator.close()
    finally:
        for server in servers:
            server.process.kill()
            server.process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["serve", "work"])
def test_an_upgrade_waits_for_processes_without_schedules(kind: str, site_directory: Path, tmp_path: Path) -> None:
    variables = NO_SIDE_PROCESSES if kind == "serve" else {"HVEN_SCHEDULE_RUNS": "0"}
    if kind == "serve":
        process = start_variant(site_directory, "blue", port=reserve_port(), variables=variables).process
    else:
        with (tmp_path / "work.log").open("wb") as log:
            words = [*HVEN_COMMAND, "work", "--site", str(site_directory)]
            process = subprocess.Popen(words, stdout=log, stderr=log, env={**os.environ, **variables})
    try:
        with Site(load_settings(site_directory)) as site:
            wait_until(site.store.leases.list_leases, 120)
        refused = run_newer(site_directory, "status")
        assert refused.returncode == 1
        assert "uses it now" in refused.stderr
        assert "stop the servers and workers of the older version first" in refused.stderr
        assert read_format(site_directory) == STATE_FORMAT
    finally:
        process.terminate()
        assert process.wait(120) == 0
    upgraded = run_newer(site_directory, "status")
    assert upgraded.returncode == 0, upgraded.stderr
    assert read_format(site_directory) == STATE_FORMAT + 1


@pytest.mark.slow
def test_two_new_variants_at_once_upgrade_the_state_once(site_directory: Path) -> None:
    servers = [
        start_variant(site_directory, name, port=reserve_port(), is_newer=True, drain_seconds=0)
        for name in ("green", "red")
    ]
    try:
        for server in servers:
            wait_until(server.has_workers, 120)
        assert read_format(site_directory) == STATE_FORMAT + 1
    finally:
        for server in servers:
            server.process.terminate()
        for server in servers:
            assert server.process.wait(120) == 0
    with closing(sqlite3.connect(site_directory / "var/hven.sqlite")) as store:
        columns = [row[1] for row in store.execute("PRAGMA table_info(runs)")]
    assert columns.count("note") == 1


@pytest.mark.slow
def test_a_state_newer_than_the_program_is_refused(site_directory: Path) -> None:
    assert run_newer(site_directory, "status").returncode == 0
    server = start_variant(site_directory, "blue", port=reserve_port())
    assert server.process.wait(120) == 3
    text = server.log.read_text()
    assert f"has format {STATE_FORMAT + 1}, but this version of Hven supports only formats up to {STATE_FORMAT}" in text
    assert "run the newer version of Hven that wrote it, or restore the backup made before the upgrade" in text
    assert read_format(site_directory) == STATE_FORMAT + 1
