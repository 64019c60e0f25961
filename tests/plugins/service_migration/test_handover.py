"""Registry records, the proxy and files: what has to move beside the rows."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from old_services import (
    AUTHORITY,
    FullRegistry,
    add_settings,
    build_new_site,
    build_old_site,
    read_settings_lines,
)

from file_servers import ServedFiles, serve_http
from hven.model.errors import StorageError, UserError
from hven.model.settings import load_settings
from hven.plugins.migration.migration_report import MigrationReport
from hven.plugins.service_migration import file_copies, harvested_records, registry_handover
from hven.plugins.service_migration.collection_metadata import RecordConverter
from hven.plugins.service_migration.file_copies import FileCopier, FileCopyReport, build_safe_path
from hven.plugins.service_migration.proxy_switch import ProxyAddresses, replace_proxy_target, write_proxy_files
from hven.plugins.service_migration.registry_handover import check_registry_handover
from hven.plugins.service_migration.service_survey import (
    ServiceSurvey,
    SurveyedTable,
    build_migration_directory,
    read_survey,
)
from json_servers import JsonServer, Reply, Request, serve
from plugin_needs import require_verb
from process_runner import Server, reserve_port, run_hven, serve_site, wait_until
from requirements import require_program

CLIENT_COUNT = 4
ANSWERS_BETWEEN_SWITCHES = 25


@pytest.fixture(scope="module")
def old_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("old")
    build_old_site(directory)
    return directory


@pytest.fixture(scope="module")
def old_server(old_directory: Path) -> Iterator[Server]:
    with serve_site(old_directory) as server:
        yield server


@pytest.fixture(scope="module")
def new_site(old_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a site with the rows and identifiers of the old service."""
    site = build_new_site(tmp_path_factory.mktemp("n") / "new")
    run_hven("--site", site, "migrate", old_server.url)
    lines = read_settings_lines(build_migration_directory(site, old_server.url) / "report.txt")
    add_settings(site, f"{lines}\n[registry]\norganisation = 'Observatory'\n" if "[registry" not in lines else lines)
    begin = int(time.time())
    wait_until(lambda: int(time.time()) > begin)  # the old records have the date of this second; the new ones are later
    run_hven("--site", site, "ingest", "survey")
    return site


@pytest.fixture(scope="module")
def new_server(new_site: Path) -> Iterator[Server]:
    with serve_site(new_site) as server:
        yield server


def test_records_move_with_their_identifiers(old_directory: Path, old_server: Server, new_server: Server) -> None:
    """A full registry harvests both, and ends with the new records, whatever comes in between."""
    require_verb("register")
    site = new_server.site
    cone_id = f"ivo://{AUTHORITY}/survey/q/cone"
    words = ["--site", site, "migrate", old_server.url, "--registry", new_server.url, "--json"]
    full_registry = FullRegistry()
    full_registry.harvest(f"{old_server.url}/oai")
    before = json.loads(run_hven(*words, expected_code=1).stdout)
    assert before["missing"] == []
    assert len(before["still_active"]) == before["records"] >= 5
    assert cone_id in before["still_active"]
    full_registry.harvest(f"{new_server.url}/oai")
    old_descriptor = old_directory / "collections/survey/survey.yaml"
    old_descriptor.write_text(old_descriptor.read_text().replace("registry: {", "registry: {publish: false, ", 1))
    run_hven("--site", old_directory, "ingest", "survey")
    wait_until(lambda: full_registry.harvest(f"{old_server.url}/oai") or cone_id not in full_registry.updates)
    after = json.loads(run_hven(*words, expected_code=1).stdout)
    assert cone_id not in after["still_active"]
    assert cone_id in after["deleted_later"], "the deletion is later than the new record, and has removed it"
    deletion_time = datetime.now(UTC).replace(microsecond=0)
    wait_until(lambda: datetime.now(UTC).replace(microsecond=0) > deletion_time)  # datestamps are whole seconds
    new_descriptor = site / "collections/survey/survey.yaml"
    text = new_descriptor.read_text()
    new_descriptor.write_text(text.replace("title: Stars of the survey", "title: All stars of the survey", 1))
    run_hven("--site", site, "ingest", "survey")
    deletion_date = f"{deletion_time:%Y-%m-%dT%H:%M:%SZ}"
    wait_until(
        lambda: full_registry.harvest(f"{new_server.url}/oai") or full_registry.updates.get(cone_id, "") > deletion_date
    )
    full_registry.harvest(f"{old_server.url}/oai")
    assert json.loads(run_hven(*words, expected_code=1).stdout)["deleted_later"] == []
    with full_registry.serve() as registry_url:
        harvested = run_hven("--site", site, "register", "--harvested", "--at", registry_url, "--json")
    told = json.loads(harvested.stdout)
    assert told["lacking"] == []
    assert told["older"] == []


def test_an_old_registry_that_does_not_answer_is_silent(old_server: Server, new_server: Server) -> None:
    require_verb("register")
    directory = build_migration_directory(new_server.site, old_server.url)
    survey_path = directory / "survey.json"
    text = survey_path.read_text()
    survey = json.loads(text)
    try:
        for registry_url, note in (
            (f"http://127.0.0.1:{reserve_port()}/oai", "it does not answer"),
            (f"{new_server.url}/oai", "its address leads to the new registry"),
        ):
            survey_path.write_text(json.dumps({**survey, "registry_url": registry_url}))
            words = ["migrate", old_server.url, "--registry", new_server.url, "--json"]
            told = json.loads(run_hven("--site", new_server.site, *words).stdout)
            assert told["complete"]
            assert note in told["old_registry"]
        survey["records"].append({**survey["records"][0], "ivoid": "ivo://old.example.org/lost"})
        survey["records"][0]["datestamp"] = "2999-01-01T00:00:00Z"
        survey_path.write_text(json.dumps({**survey, "registry_url": f"{new_server.url}/oai"}))
        told = json.loads(run_hven("--site", new_server.site, *words, expected_code=1).stdout)
        assert told["missing"] == ["ivo://old.example.org/lost"]
        assert told["not_later"] == [survey["records"][0]["ivoid"]]
    finally:
        survey_path.write_text(text)


@dataclass
class BrokenRegistry(JsonServer):
    """A registry that answers everything with one status and text."""

    status: int = 200

    def reply(self, asked: Request) -> Reply:
        return Reply(status=self.status, body=b"<html>later</html>", kind="text/html")


@pytest.mark.parametrize(
    ("status", "is_silent"), [(503, False), (500, False), (403, False), (200, False), (404, True), (410, True)]
)
def test_an_old_registry_in_disorder_is_not_silent(
    old_server: Server, new_server: Server, monkeypatch: pytest.MonkeyPatch, status: int, *, is_silent: bool
) -> None:
    require_verb("register")
    monkeypatch.setattr(harvested_records, "ATTEMPT_COUNT", 1)
    survey = read_survey(build_migration_directory(new_server.site, old_server.url))
    assert survey is not None
    with serve(BrokenRegistry(status=status)) as url:
        survey.registry_url = f"{url}/oai"
        monkeypatch.setattr(registry_handover, "load_survey", lambda _settings, _url: survey)
        handover = check_registry_handover(load_settings(new_server.site), old_server.url, new_server.url)
    assert bool(handover.old_registry_note) == is_silent
    assert bool(handover.old_registry_failure) != is_silent
    assert handover.is_complete == is_silent


class SwitchedClient(threading.Thread):
    """A client that sends queries through the proxy on connections that stay open, and never repeats one."""

    def __init__(self, port: int, stop_event: threading.Event) -> None:
        super().__init__()
        self._port = port
        self._stop_event = stop_event
        self.statuses: Counter[object] = Counter()

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self._stop_event.is_set():
            try:
                connection.request("GET", "/tap/sync?LANG=ADQL&FORMAT=csv&QUERY=SELECT+COUNT(*)+AS+n+FROM+survey.stars")
                answer = connection.getresponse()
                self.statuses[(answer.status, answer.read().split()[-1])] += 1
            except (OSError, http.client.HTTPException) as error:
                self.statuses[repr(error)] += 1
                connection.close()
        connection.close()


@pytest.mark.outside
def test_a_switch_and_the_way_back_lose_no_request(old_server: Server, new_server: Server) -> None:
    program = require_program("haproxy")
    site, port = new_server.site, reserve_port()
    words = ["--site", site, "migrate", old_server.url]
    stopped = run_hven(*words, "--switch", "new", expected_code=1)
    assert "the proxy does not answer" in stopped.stderr
    run_hven(*words, "--proxy", new_server.url, "--listen", f"127.0.0.1:{port}")
    directory = build_migration_directory(site, old_server.url)
    process = start_proxy(program, directory)
    stop_event = threading.Event()
    clients = [SwitchedClient(port, stop_event) for _ in range(CLIENT_COUNT)]
    try:
        proxy = Server(port=port, site=site, process=old_server.process)
        wait_until(lambda: is_listening(proxy))
        status, headers, _ = proxy.post(
            "/tap/async", LANG="ADQL", QUERY="SELECT COUNT(*) AS n FROM survey.stars", PHASE="RUN"
        )
        assert status == 303
        job_path = "/tap/async/" + headers["location"].rpartition("/")[2]
        for client in clients:
            client.start()
        for target in ("new", "old", "new"):
            count = sum(client.statuses.total() for client in clients)
            wait_until(lambda: sum(c.statuses.total() for c in clients) > count + ANSWERS_BETWEEN_SWITCHES)  # noqa: B023
            told = run_hven(*words, "--switch", target)
            assert f"new requests go to the {target} service" in told.stdout
            assert (directory / "target.map").read_text() == f"service {target}\n"
        count = sum(client.statuses.total() for client in clients)
        wait_until(lambda: sum(c.statuses.total() for c in clients) > count + ANSWERS_BETWEEN_SWITCHES)
        assert proxy.get(f"{job_path}/phase")[0] == 200, "the job stays where it is"
        assert new_server.get(f"{job_path}/phase")[0] == 404
        stop_event.set()
        for client in clients:
            client.join(120)
        process.terminate()
        process.wait(60)
        process = start_proxy(program, directory)
        wait_until(lambda: is_listening(proxy))
        assert proxy.get(f"{job_path}/phase")[0] == 200, "it stays there when the proxy starts again"
    finally:
        stop_event.set()
        for client in clients:
            if client.ident is not None:
                client.join(120)
        process.terminate()
        process.wait(60)
    statuses: Counter[object] = sum((client.statuses for client in clients), Counter())
    assert set(statuses) == {(200, b"1200")}, statuses


def start_proxy(program: str, directory: Path) -> subprocess.Popen[bytes]:
    with (directory / "haproxy.log").open("ab") as log:
        return subprocess.Popen([program, "-W", "-f", directory / "haproxy.cfg"], stdout=log, stderr=log)


def is_listening(server: Server) -> bool:
    try:
        return server.get("/health")[0] == 200
    except OSError:
        return False


def test_a_directory_that_cannot_hold_a_socket_is_refused(tmp_path: Path) -> None:
    addresses = ProxyAddresses(url="u", old_url="http://old", new_url="http://new", listen=":80")
    for directory in (tmp_path / ("x" * 120), tmp_path / "a b"):
        with pytest.raises(UserError, match="cannot be the path of a socket"):
            write_proxy_files(directory, addresses)
        assert not directory.exists()
    with pytest.raises(UserError, match="the proxy does not answer"):
        replace_proxy_target(tmp_path, "new")


@pytest.mark.parametrize(
    ("address_path", "expected"),
    [
        ("/getproduct/iks/a.fits", "getproduct/iks/a.fits"),
        ("/data/a%20b.fits", "data/a b.fits"),
        ("/../etc/passwd", None),
        ("/data/%2e%2e/%2e%2e/x", None),
        ("/data/.hidden", None),
        ("/data//x", None),
        ("/data/a%00b", None),
        ("/data/a%0ab", None),
        ("/" + "x" * 300, None),
        ("/", None),
    ],
)
def test_copies_stay_in_their_directory(address_path: str, expected: str | None) -> None:
    path = build_safe_path(address_path)
    assert (None if path is None else str(path)) == expected


@pytest.fixture
def copier_site(tmp_path: Path) -> Path:
    return build_new_site(tmp_path / "site")


def copy_files(site: Path, address: str, urls: list[str], monkeypatch: pytest.MonkeyPatch) -> FileCopyReport:
    """Copy the files of a table whose rows have some addresses."""
    table = SurveyedTable(name="iks.epn_core", schema="iks", local_name="epn_core", source={"kind": "tap"})
    survey = ServiceSurvey(url=f"{address}/tap", tables={"iks.epn_core": table})
    monkeypatch.setattr(FileCopier, "_list_urls", lambda _self, _table: iter(urls))
    return FileCopier(load_settings(site), survey, lambda _count: None).copy_files({"iks": "iks"})


def test_files_are_copied_once_and_keep_their_addresses(copier_site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_http(ServedFiles(files={"/get/iks/a.fits": b"A" * 5000, "/get/iks/sub/b c.fits": b"B"})) as server:
        urls = [
            f"{server.address}/get/iks/a.fits",
            f"{server.address}/get/iks/sub/b%20c.fits",
            f"{server.address}/get/iks/lost.fits",
            f"{server.address}/get/../etc/passwd",
            f"{server.address}/get/iks/a.fits?cut=1",
            "http://other.example.org/x.fits",
        ]
        first = copy_files(copier_site, server.address, urls, monkeypatch)
        assert dict(first.counts) == {"copied": 2, "failed": 2, "computed": 1, "elsewhere": 1}
        assert any("?cut=1: its parameters cannot be part of the path" in text for text in first.failures)
        assert any("lost.fits" in text and "404" in text for text in first.failures)
        folder = copier_site / "collections/iks/files/get/iks"
        assert (folder / "a.fits").read_bytes() == b"A" * 5000
        assert (folder / "sub/b c.fits").read_bytes() == b"B"
        assert 'path = "/get/iks/*"' in first.alias_lines
        assert 'to = "/collections/iks/files/files/get/iks/*"' in first.alias_lines
        server.asked.clear()
        second = copy_files(copier_site, server.address, urls, monkeypatch)
        assert second.counts["present"] == 2
        assert not any("a.fits" in line for line in server.asked)
        assert not list((copier_site / "collections/iks").glob(".download-*"))


def test_files_of_several_folders_get_an_alias_each(copier_site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No alias is that of the whole site, which would lead queries to the files, too."""
    paths = ["/get/iks/a.fits", "/get/iks/sub/b.fits", "/static/x/c%20d.fits", "/top.fits"]
    with serve_http(ServedFiles(files={path.replace("%20", " "): b"A" for path in paths})) as server:
        report = copy_files(copier_site, server.address, [f"{server.address}{path}" for path in paths], monkeypatch)
    assert report.counts["copied"] == len(paths), report.failures
    aliases = {item["path"]: item["to"] for item in tomllib.loads("\n".join(report.alias_lines))["alias"]}
    folder = "/collections/iks/files/files"
    assert aliases == {
        "/get/iks/*": f"{folder}/get/iks/*",
        "/static/x/*": f"{folder}/static/x/*",
        "/top.fits": f"{folder}/top.fits",
    }


def test_downloads_of_killed_processes_are_deleted(copier_site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = copier_site / "collections/iks"
    for name in (".download-old", ".download-running"):
        (directory / name).mkdir(parents=True)
        (directory / name / "a.fits").write_bytes(b"A")
    os.utime(directory / ".download-old", (1e9, 1e9))
    copy_files(copier_site, "http://old.example.org", [], monkeypatch)
    assert [path.name for path in directory.iterdir()] == [".download-running"]


def test_texts_of_a_registry_stay_values_in_the_settings(copier_site: Path) -> None:
    hostile = 'ivo://x"\n[limits]\nrows = 1\n#/tap'
    record = {"ivoid": hostile, "kind": "Registry", "interfaces": []}
    survey = ServiceSurvey(url="http://old.example.org/tap", records=[record])
    lines = RecordConverter(survey, {}, [], MigrationReport()).write_settings_lines()
    settings = tomllib.loads("\n".join(lines))
    assert "limits" not in settings
    assert settings["registry"]["ids"]["registry"] == hostile


def test_a_file_that_cannot_be_written_does_not_stop_the_others(
    copier_site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two addresses need the same name for a file and for a directory, both ways."""
    paths = ["/get/a", "/get/a/x.fits", "/get/b/x.fits", "/get/b", "/get/c"]
    with serve_http(ServedFiles(files=dict.fromkeys(paths, b"A"))) as server:
        report = copy_files(copier_site, server.address, [f"{server.address}{path}" for path in paths], monkeypatch)
    assert dict(report.counts) == {"copied": 3, "failed": 2}
    assert [text.partition(": ")[0].removeprefix(server.address) for text in report.failures] == [paths[1], paths[3]]
    assert all("it cannot be written to" in text for text in report.failures)


def test_locked_and_broken_files_are_told_and_leave_nothing(copier_site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_http(ServedFiles(files={"/get/a.fits": b"A"}, token="Bearer x")) as server:
        report = copy_files(copier_site, server.address, [f"{server.address}/get/a.fits"], monkeypatch)
        assert dict(report.counts) == {"locked": 1}
    with serve_http(ServedFiles(files={"/get/a.fits": b"A" * 100_000}, cut=10)) as server:
        report = copy_files(copier_site, server.address, [f"{server.address}/get/a.fits"], monkeypatch)
        assert dict(report.counts) == {"failed": 1}
    assert not [path for path in (copier_site / "collections/iks").rglob("*") if path.is_file()]
    monkeypatch.setattr(file_copies, "MIN_FREE_BYTES", 1 << 60)
    with pytest.raises(StorageError, match="are free in"):
        copy_files(copier_site, "http://127.0.0.1:9", ["http://127.0.0.1:9/get/a.fits"], monkeypatch)
