"""hven.toml is taken up by a running server, or it says what waits for a restart; nobody is given rows that a server cannot read."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection, move_collection_to_engine
from hven.model.errors import ConflictError, HvenError, StorageError
from hven.model.settings import ReloadableSettings, create_site_directory, load_settings
from hven.site import Site
from hven.site import server_processes as room
from hven.site._engine_registry import EngineRegistry
from hven.site.server_processes import (
    ServerProcess,
    ServerStatusFile,
    list_server_processes,
    wait_until_servers_can_read,
)
from hven.sources import http_client
from hven.sources._rate_limiting import ServiceBusyError
from plugin_needs import require_core_fixtures, require_plugins, require_setting
from process_runner import run_hven, wait_until

FIRST = 'name = "Uraniborg"\ntitle = "Before"\nport = 18290\n[health]\nopen = true\n'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    site = create_site_directory(tmp_path / "site")
    (site / "hven.toml").write_text(FIRST)
    path = site / "collections" / "a"
    path.mkdir()
    (path / "a.yaml").write_text(
        "collection: a\ntitle: a\ntables:\n  main:\n    source: rows.csv\n    columns: {n: int32}\n"
    )
    (path / "rows.csv").write_text("n\n1\n2\n")
    with Site(load_settings(site, {})) as made:
        ingest_collection(made, "a")
    return site


@pytest.fixture
def server(place: Path) -> Iterator[Site]:
    with Site(load_settings(place, {}), watch_for_changes=True) as site:
        yield site


def says(place: Path, text: str) -> None:
    new = place / "hven.new"
    new.write_text(text)
    new.replace(place / "hven.toml")


def check(reader: Client) -> dict[str, str]:
    found = {one["name"]: one for one in json.loads(reader.get("/health/ready").body)["checks"]}["settings"]
    return {"state": found["state"], "message": found.get("message", "")}


def test_what_can_be_is_taken_up_and_the_rest_is_told(place: Path, server: Site) -> None:
    reader = Client(create_and_start_application(server))
    assert "Before" in reader.ask("GET", "/", headers={"accept": "text/html"}).text
    assert check(reader) == {"state": "ok", "message": ""}
    changed = FIRST.replace("Before", "After").replace("18290", "18291")
    says(
        place,
        changed.replace("[health]", 'public_url = "https://vo.example/x"\n[limits]\nmaxrec_default = 1\n[health]'),
    )
    wait_until(lambda: server.settings.title == "After")
    page = reader.ask("GET", "/x/", headers={"accept": "text/html"}).text
    assert "After" in page
    assert "https://vo.example/x" in reader.get("/x/tap/capabilities").text
    assert reader.get("/x/tap/sync", LANG="ADQL", RESPONSEFORMAT="csv", QUERY="SELECT n FROM a.main").text.split() == [
        "n",
        "1",
    ]
    assert server.settings.port == 18290
    assert check(reader) == {"state": "warning", "message": "restart needed: port changed since the server started"}
    wait_until(lambda: any(one.waiting == ("port",) for one in list_server_processes(server.settings)))
    assert "restart needed: port changed in hven.toml since the server" in run_hven("status", "--site", place).stdout
    says(place, FIRST + "nonsense = 1\n")
    wait_until(lambda: server.reloadable_settings.problem is not None)
    assert "nonsense: there is no such setting" in check(reader)["message"]
    assert server.settings.title == "After"
    says(place, FIRST)
    wait_until(lambda: server.settings.title == "Before")
    assert check(reader) == {"state": "ok", "message": ""}


def test_changed_rate_limits_of_hosts_take_effect(place: Path, server: Site) -> None:
    """Nobody waits for a turn before; then the second one is told how long it would have to."""

    def soon() -> None:
        for _ in range(3):
            http_client._rate_limiter.wait_for_turn("far.example", 0.0)

    soon()
    says(place, FIRST + "[ceilings]\n'far.example' = 0.01\n")
    wait_until(lambda: server.settings.ceilings == {"far.example": 0.01})
    with pytest.raises(ServiceBusyError, match=r"Hven sends at most 0\.01 requests a second to far\.example"):
        soon()
    assert server.reloadable_settings.pending_restart == ()
    says(place, FIRST)
    wait_until(lambda: server.settings.ceilings == {})
    soon()


def test_settings_of_a_database_that_is_open_wait(place: Path) -> None:
    require_setting("postgres")
    settled = ReloadableSettings(load_settings(place, {}))
    says(place, FIRST + '[postgres]\nurl = "postgresql://a@one/x"\n[live]\npool = 7\n')
    assert settled.reload_if_changed()
    assert (settled.current.brought["postgres"].url, settled.pending_restart) == (
        "postgresql://a@one/x",
        ("live.pool",),
    )
    says(place, FIRST + '[postgres]\nurl = "postgresql://a@other/x"\n')
    assert not settled.reload_if_changed(["postgres"])
    assert (settled.current.brought["postgres"].url, settled.pending_restart) == (
        "postgresql://a@one/x",
        ("postgres.url",),
    )


def test_rows_go_to_no_engine_that_a_server_cannot_read(
    place: Path, server: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_plugins("engines", "postgres")
    monkeypatch.setattr(room, "SERVER_WAIT_SECONDS", 0.0)
    wait_until(lambda: bool(list_server_processes(server.settings)))
    with Site(load_settings(place)) as site, pytest.raises(HvenError, match=r"^the engine postgres has no database"):
        move_collection_to_engine(site, "a", "postgres")  # nor has this command: that is said first, and of itself
    # this command has it, the server has not
    monkeypatch.setenv("HVEN_POSTGRES_URL", "postgresql://nobody@127.0.0.1:9/x")
    with Site(load_settings(place)) as site:
        with pytest.raises(ConflictError, match="cannot read rows in postgres: the engine postgres has no database"):
            move_collection_to_engine(site, "a", "postgres")
        wait_until_servers_can_read(site.settings, site.store, "duckdb")
        server.close()
        wait_until_servers_can_read(site.settings, site.store, "postgres")  # nobody serves


@pytest.mark.parametrize("name", ["data", "store"])
def test_rows_go_nowhere_where_a_server_does_not_look(
    place: Path, server: Site, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    wait_until(lambda: bool(list_server_processes(server.settings)))
    before = server.store.read_published_snapshot_ids()
    other = {"data": "elsewhere", "store": f"sqlite:///{place}/other.sqlite"}[name]
    monkeypatch.setenv(f"HVEN_{name.upper()}", other)
    said = run_hven("ingest", "a", "--site", place, expected_code=1).stderr
    assert f"restart needed: the server (process {os.getpid()} on" in said
    assert f" uses {name} " in said
    assert server.store.read_published_snapshot_ids() == before
    server.close()
    with Site(load_settings(place)) as site:
        wait_until_servers_can_read(site.settings, site.store, "duckdb")


def test_what_a_dead_server_left_counts_for_nothing(place: Path, server: Site) -> None:
    wait_until(lambda: bool(list_server_processes(server.settings)))
    (left,) = (place / "var" / "run").glob("serving.*.json")
    other = left.with_name("serving.1.json")
    other.write_text(left.read_text().replace(f" {os.getpid()} ", " 999999999 "))
    assert len(list_server_processes(server.settings)) == 1
    assert not other.exists()


def write_container_status(place: Path, host: str, patches: pytest.MonkeyPatch) -> ServerStatusFile:
    """Write the status of a process as a container does: the process has the same number in all containers."""
    holder = f"{host} 7 100 {host}-1"
    patches.setattr(room, "get_process_holder", lambda: holder, raising=False)
    patches.setattr(os, "getpid", lambda: 7)
    file = ServerStatusFile(load_settings(place, {}))
    file.write_status(ServerProcess(holder=holder, since="2026-11-29T00:00:00Z", data="var", store="var"))
    return file


def test_containers_keep_their_files_although_process_numbers_are_equal(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(place, {})
    with monkeypatch.context() as patches:
        blue = write_container_status(place, "blue", patches)
        green = write_container_status(place, "green", patches)
        assert sorted(process.holder.split()[0] for process in list_server_processes(settings)) == ["blue", "green"]
        blue.remove_file()
        assert [process.holder.split()[0] for process in list_server_processes(settings)] == ["green"]
        green.remove_file()


def test_the_file_of_a_killed_container_is_ignored_after_a_minute(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(place, {})
    with monkeypatch.context() as patches:
        file = write_container_status(place, "killed", patches)
    (path,) = (place / "var" / "run").glob("serving.*.json")
    old_time = time.time() - room.MAX_STATUS_AGE_SECONDS - 1
    os.utime(path, (old_time, old_time))
    monkeypatch.setattr(room, "RENEWAL_INTERVAL_SECONDS", 0.0)
    file.renew_file()  # it lives after all
    assert len(list_server_processes(settings)) == 1
    os.utime(path, (old_time, old_time))
    assert list_server_processes(settings) == []
    assert not path.exists()
    file.renew_file()
    assert file._last_written is None, "the next look at the engines writes the file again"


def test_a_server_renews_its_file(server: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    wait_until(lambda: bool(list_server_processes(server.settings)))
    (path,) = (server.settings.var_directory / "run").glob("serving.*.json")
    os.utime(path, (0, 0))
    assert len(list_server_processes(server.settings)) == 1, "here its process can be seen"
    monkeypatch.setattr(room, "RENEWAL_INTERVAL_SECONDS", 0.0)
    wait_until(lambda: path.stat().st_mtime > 1e9)


def test_a_published_table_that_cannot_be_read_is_not_ready(place: Path, server: Site) -> None:
    reader = Client(create_and_start_application(server))
    assert reader.get("/health/ready").status == 200
    snapshot = next((place / "var" / "snapshots").glob("a.main/*"))
    snapshot.rename(snapshot.with_name("away"))
    wait_until(lambda: reader.get("/health/ready").status == 503)
    ready = {one["name"]: one for one in json.loads(reader.get("/health/ready").body)["checks"]}["holdings"]
    assert ready["reason"] == "published rows cannot be read"
    assert "the rows of a.main cannot be read" in ready["message"]


def test_readers_of_an_engine_that_is_not_there_are_told_to_come_back(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(_: EngineRegistry, name: str) -> None:
        raise StorageError(f"the engine {name} has no database")

    with Site(load_settings(place, {})) as site:
        reader = Client(create_and_start_application(site))
        monkeypatch.setattr(EngineRegistry, "get_engine", lacking)
        answer = reader.get("/tap/sync", LANG="ADQL", QUERY="SELECT COUNT(*) FROM a.main")
    assert answer.status == 503
    assert "the engine 'duckdb' with these rows does not respond at the moment; try again later" in answer.text
    assert answer.headers["retry-after"] == "5"


def test_a_service_elsewhere_that_is_added_is_offered(place: Path, server: Site) -> None:
    require_core_fixtures("SEARCH_FORMS")
    reader = Client(create_and_start_application(server))

    def page() -> str:
        return reader.ask("GET", "/", headers={"accept": "text/html"}).text

    assert "EPN-TAP" not in page()
    says(
        place, FIRST + '[[remote]]\nname = "amda"\nurl = "https://amda.example.org/tap"\ntables = ["amdadb.epn_core"]\n'
    )
    wait_until(lambda: server.settings.remote)
    assert "EPN-TAP" in page()
