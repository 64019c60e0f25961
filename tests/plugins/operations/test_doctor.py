"""`hven doctor` finds what is wrong or will be, with the command that mends it; it changes nothing and waits for nobody."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import shlex
import shutil
import socket
import sqlite3
import ssl
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import HTTPConnection

from hven.ingest.api.runs import ingest_collection
from hven.jobs.health import MIN_FREE_DISK_BYTES, HealthCheckResult, SiteHealthMonitor
from hven.model import RetryBackoffLog, plugins
from hven.model.errors import Fault, TextPlace
from hven.model.settings import Settings, load_settings, resolve_secret
from hven.plugins.operations import disk_forecast, examination, published_checks, settings_checks
from hven.plugins.operations.disk_forecast import (
    DAY_SECONDS,
    MIN_SAMPLES,
    DiskSample,
    estimate_full_seconds,
    find_disk_problems,
    read_disk_samples,
    record_disk_sample,
)
from hven.plugins.operations.doctor_verb import find_monitoring_code, format_monitoring_line
from hven.plugins.operations.examination import SiteExamination, inspect_settings, inspect_site
from hven.plugins.operations.findings import CHECKS_POINT, Finding, SiteCheck, convert_fault, sort_findings
from hven.services.addresses import PROXIES_SCOPE_KEY, get_client_address
from hven.site import Site, _site, server_processes
from hven.site.api.state_tables import STATE_FORMAT
from hven.site.server_processes import ServerProcess
from hven.site.store._schedules import SyncScheduleStore
from process_runner import run_hven, wait_until
from requirements import require_program
from star_descriptors import write_stars_descriptor

NOT_WAITING_SECONDS = 60.0  # for everything that ends by itself
LIMIT_SECONDS = 8.0  # for what ends by itself at once, on a busy machine too


class DiskUsage(NamedTuple):
    """What `shutil.disk_usage` returns."""

    total: float
    used: float
    free: float


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Publish a site with one collection, whose directories nobody else can read."""
    place = tmp_path_factory.mktemp("doctor")
    directory = place / "site"
    run_hven("init", directory)
    (place / "stars.csv").write_text("name,ra,dec,vmag\nVega,279.235,38.784,0.03\nDeneb,310.36,45.28,1.25\n")
    write_stars_descriptor(directory, place / "stars.csv")
    run_hven("ingest", "stars", "--site", directory)
    return directory


@pytest.fixture
def directory(template: Path, tmp_path: Path) -> Path:
    return shutil.copytree(template, tmp_path / "site", copy_function=shutil.copy2)


def examine(directory: Path, seconds: float = NOT_WAITING_SECONDS) -> list[Finding]:
    return list(inspect_settings(load_settings(directory), seconds).findings)


def execute(directory: Path, statement: str) -> None:
    connection = sqlite3.connect(directory / "var/hven.sqlite")
    with connection:
        connection.execute(statement)
    connection.close()


def read_format(directory: Path) -> str:
    connection = sqlite3.connect(directory / "var/hven.sqlite")
    (value,) = connection.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
    connection.close()
    return str(value)


def read_files(directory: Path) -> dict[str, bytes]:
    """Read all files of a site; those of SQLite beside its database come and go with each reader."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def test_a_site_that_is_well_has_no_finding_and_is_not_changed(directory: Path) -> None:
    before = read_files(directory)
    run = run_hven("doctor", "--seconds", NOT_WAITING_SECONDS, "--site", directory)
    assert run.stdout.startswith("nothing needs attention (")
    assert read_files(directory) == before
    line = run_hven("doctor", "--monitor", "--seconds", NOT_WAITING_SECONDS, "--site", directory).stdout
    assert line.startswith("HVEN OK - nothing needs attention | seconds=")


def test_the_worst_comes_first_with_the_command_that_mends_it(directory: Path) -> None:
    (directory / "secrets.toml").write_text("PASSWORD = 'x'\n")
    (directory / "secrets.toml").chmod(0o644)
    descriptor = directory / "collections/stars/stars.yaml"
    descriptor.write_text(descriptor.read_text().replace("title: Stars", "titel: Stars"))
    run = run_hven("doctor", "--seconds", NOT_WAITING_SECONDS, "--json", "--site", directory, expected_code=1)
    report = json.loads(run.stdout)
    assert report["counts"] == {"critical": 1, "error": 1}
    secret, fault = report["findings"]
    assert secret["command"] == f"chmod o-rwx {directory}/secrets.toml"
    assert (fault["subject"], fault["command"]) == ("stars", "hven check stars")
    assert "titel" in fault["message"]
    run = run_hven("doctor", "--seconds", NOT_WAITING_SECONDS, "--site", directory, expected_code=1)
    assert f"    $ hven --site {directory} check stars\n" in run.stdout
    subprocess.run(secret["command"].split(), check=True)
    assert [finding.subject for finding in examine(directory)] == ["stars"]
    run_hven("doctor", "--monitor", "--seconds", NOT_WAITING_SECONDS, "--site", directory, expected_code=2)


def test_data_of_another_account_are_a_finding(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `sudo hven ingest` instead of `sudo -u hven hven ingest`."""
    snapshot = next((directory / "var/snapshots/stars.main").iterdir())
    list_entries = os.scandir
    modes = [0o755]

    def list_entries_of_two_accounts(path: Any) -> Iterator[Any]:
        for entry in list_entries(path):
            status = entry.stat(follow_symlinks=False)
            known = SimpleNamespace(st_uid=1000, st_mode=status.st_mode)
            if Path(entry.path) == snapshot:
                known = SimpleNamespace(st_uid=0, st_mode=stat.S_IFDIR | modes[0])
            yield SimpleNamespace(name=entry.name, path=entry.path, stat=lambda known=known, **_: known)

    monkeypatch.setattr(settings_checks, "os", SimpleNamespace(scandir=list_entries_of_two_accounts))
    monkeypatch.setattr(settings_checks, "_find_owner", lambda _: 1000)

    def find_foreign_data() -> list[Finding]:
        findings = inspect_settings(load_settings(directory)).findings
        return [finding for finding in findings if "can't change" in finding.message]

    (finding,) = find_foreign_data()
    assert (finding.harm, finding.subject) == ("error", f"{directory}/var")
    assert str(snapshot) in finding.message
    assert shlex.split(finding.command) == ["sudo", "chown", "-R", "1000", f"{directory}/var"]
    modes[0] = 0o775  # accounts of a group share the site
    assert not find_foreign_data()


def test_faulty_settings_are_a_finding(directory: Path) -> None:
    (directory / "hven.toml").write_text('name = "x"\nspeed = 3\n')
    run = run_hven("doctor", "--site", directory, expected_code=1)
    assert run.stdout.startswith("critical: hven.toml: ")
    assert "speed" in run.stdout


def test_damaged_rows_and_leftovers(directory: Path) -> None:
    stray = directory / "var/snapshots/stars.main/20200101T000000-dead"
    stray.mkdir(parents=True)
    os.utime(stray, (0, 0))
    (leftover,) = examine(directory)
    assert (leftover.harm, leftover.command) == ("hint", f"rm -r -- {stray}")
    assert str(stray) in leftover.message
    for path in (directory / "var/snapshots").rglob("*.arrow"):
        path.unlink()
    # in a process of its own: this one may still have the files open
    words = ("doctor", "--seconds", NOT_WAITING_SECONDS, "--json", "--site", directory)
    run = run_hven(*words, expected_code=1, in_subprocess=True)
    damage = json.loads(run.stdout)["findings"][0]
    assert (damage["harm"], damage["command"]) == ("critical", "hven ingest stars")
    run_hven("ingest", "stars", "--site", directory)
    assert examine(directory) == []


def test_leftovers_are_deleted_without_an_ingest(template: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(template, tmp_path / "a site; of Tycho", copy_function=shutil.copy2)
    strays = [directory / f"var/snapshots/stars.main/20200101T000000-{name}" for name in ("dead", "dread")]
    for stray in strays:
        stray.mkdir(parents=True)
        os.utime(stray, (0, 0))
    (leftover,) = examine(directory)
    subprocess.run(leftover.command, shell=True, check=True)
    assert not any(stray.exists() for stray in strays)
    assert examine(directory) == [], "nothing else was deleted"


def test_each_finding_that_does_harm_has_a_command() -> None:
    modules = sorted(Path(published_checks.__file__).parent.glob("*.py"))
    calls = [
        {keyword.arg for keyword in node.keywords}
        for module in modules
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding"
        if not any(keyword.arg == "harm" and "hint" in ast.unparse(keyword.value) for keyword in node.keywords)
    ]
    assert len(calls) > 20
    assert all("command" in names for names in calls)


@pytest.mark.parametrize(
    ("remedy", "command"),
    [
        ("run `chmod o-rwx x`", "chmod o-rwx x"),
        (
            "update the addresses with `HVEN_PORT=80 hven ingest stars`, or set `public_url`",
            "HVEN_PORT=80 hven ingest stars",
        ),
        ("write `indexed: true`", ""),
    ],
)
def test_commands_are_found_in_remedies(remedy: str, command: str) -> None:
    assert convert_fault(Fault(message="x", place=TextPlace(), remedy=remedy)).command == command


def test_commands_can_be_pasted(template: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(template, tmp_path / "a site; of Tycho", copy_function=shutil.copy2)
    (directory / "secrets.toml").write_text("PASSWORD = 'x'\n")
    (directory / "secrets.toml").chmod(0o644)
    secret = examine(directory)[0]
    assert shlex.split(secret.command) == ["chmod", "o-rwx", f"{directory}/secrets.toml"]


def test_a_failed_run_is_told_with_its_message(directory: Path) -> None:
    descriptor = directory / "collections/stars/stars.yaml"
    text = descriptor.read_text()
    descriptor.write_text(text.replace("stars.csv", "missing.csv") + "sync: {every: 1 h}\n")
    run_hven("ingest", "stars", "--site", directory, expected_code=1)
    findings = examine(directory)
    assert {finding.check for finding in findings} == {"collections"}
    texts = [finding.message for finding in findings]
    assert any(text.startswith("the last run of stars failed: ") and "missing.csv" in text for text in texts)


def test_held_collections_and_schedules_without_a_server(directory: Path) -> None:
    descriptor = directory / "collections/stars/stars.yaml"
    descriptor.write_text(descriptor.read_text() + "sync: {every: 1 h}\n")
    run_hven("ingest", "stars", "--site", directory)
    run_hven("rollback", "stars", "--site", directory)
    commands = [finding.command for finding in examine(directory)]
    assert commands == ["hven work", "hven schedule resume stars"]


def test_a_server_that_has_just_started_will_run_the_schedules(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptor = directory / "collections/stars/stars.yaml"
    descriptor.write_text(descriptor.read_text() + "sync: {every: 1 h}\n")
    run_hven("ingest", "stars", "--site", directory)
    for age_seconds, commands in ((5, []), (300, ["hven work"])):
        since = datetime.fromtimestamp(time.time() - age_seconds, UTC).isoformat()
        server = ServerProcess(holder="host:1:2", since=since, data="", store="")
        monkeypatch.setattr(published_checks, "list_server_processes", lambda _, server=server: [server])
        assert [finding.command for finding in examine(directory)] == commands


@pytest.mark.parametrize(
    ("changes", "harm", "words", "command"),
    [
        ({"state": "stale", "reason": "too old"}, "error", "stars is stale: too old", "hven ingest stars"),
        ({"state": "stale", "timing": "every 1 h"}, "error", "stars is stale", "hven sync stars"),
        ({"state": "failing", "failures": 2}, "warning", "2 runs of stars failed", "hven ingest stars"),
        ({"state": "failing", "failures": 3}, "error", "3 runs of stars failed", "hven ingest stars"),
        ({"state": "paused", "paused": "2026-01-02"}, "warning", "since 2026-01-02", "hven schedule resume stars"),
        ({"behind": ("it is old",)}, "warning", "it is old", "hven ingest stars"),
        ({"verified": "2020-01-01T00:00:00+00:00"}, "warning", "were last verified", "hven verify stars"),
    ],
)
def test_the_state_of_a_collection(
    directory: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], harm: str, words: str, command: str
) -> None:
    get_status = SiteHealthMonitor.get_status

    def get_changed_status(monitor: SiteHealthMonitor, **options: Any) -> Any:
        status = get_status(monitor, **options)
        return replace(
            status, scheduler="a", collections=tuple(replace(item, **changes) for item in status.collections)
        )

    monkeypatch.setattr(SiteHealthMonitor, "get_status", get_changed_status)
    (finding,) = examine(directory)
    assert (finding.harm, finding.subject, finding.command) == (harm, "stars", command)
    assert words in finding.message


@pytest.mark.parametrize(("name", "harm"), [("store", "error"), ("clock", "error")])
def test_health_checks_that_failed(directory: Path, monkeypatch: pytest.MonkeyPatch, name: str, harm: str) -> None:
    checks = [HealthCheckResult(name=name, state="warning", message="that is bad", reason="ask somebody")]
    monkeypatch.setattr(SiteHealthMonitor, "run_health_checks", lambda *_: checks)
    (finding,) = examine(directory)
    assert (finding.harm, finding.subject, finding.message) == (harm, name, "that is bad")


def test_clocks_that_differ_and_alerts_that_were_not_delivered(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alert = SimpleNamespace(at="2026-11-20T03:00:00Z", collection="stars", delivery_problem="no such host")
    get_status = SiteHealthMonitor.get_status
    monkeypatch.setattr(
        SiteHealthMonitor,
        "get_status",
        lambda *words, **options: replace(get_status(*words, **options), alerts=(alert,)),
    )
    monkeypatch.setattr(SyncScheduleStore, "list_schedules", lambda _: (time.time() - 60.0, {}))
    findings = {finding.subject: finding for finding in examine(directory)}
    assert findings.keys() == {"clock", "alerts"}
    assert "differ by 60 s" in findings["clock"].message
    assert findings["clock"].command == "timedatectl set-ntp true"
    assert findings["alerts"].message.endswith("about stars wasn't delivered: no such host")


def test_a_server_that_needs_a_restart(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ServerProcess(holder="host 1 2", since="2026-01-01T00:00:00+00:00", data="", store="", waiting=("port",))
    monkeypatch.setattr(published_checks, "list_server_processes", lambda _: [server])
    (finding,) = examine(directory)
    assert finding.message == "port changed in hven.toml since the server started"
    assert finding.command == "sudo systemctl restart hven"


@pytest.mark.parametrize(
    ("peer_maps", "is_found"),
    [
        ([{}], False),
        ([{"10.1.0.7": False}, {}], True),
        ([{"10.1.0.7": False}, {"127.0.0.1": True}], False),  # a user has written the header
    ],
)
def test_a_proxy_that_nobody_trusts(
    directory: Path, monkeypatch: pytest.MonkeyPatch, peer_maps: list[dict[str, bool]], is_found: bool
) -> None:
    since = "2026-01-01T00:00:00+00:00"
    servers = [
        ServerProcess(holder="host 1 2", since=since, data="", store="", forwarding_peers=peers) for peers in peer_maps
    ]
    monkeypatch.setattr(published_checks, "list_server_processes", lambda _: servers)
    findings = examine(directory)
    assert [finding.subject for finding in findings] == ["trusted_proxies"] * is_found
    if is_found:
        assert findings[0].harm == "hint"
        assert "only from 10.1.0.7, which" in findings[0].message


def test_a_server_tells_where_x_forwarded_for_comes_from(directory: Path) -> None:
    server_processes.forwarding_peers.clear()
    for peer in ("10.1.0.7", "127.0.0.1", *(f"192.0.2.{number}" for number in range(50))):
        scope = {
            "type": "http",
            "client": (peer, 1),
            "headers": [(b"x-forwarded-for", f"198.51.100.1, {directory}".encode())],
            PROXIES_SCOPE_KEY: ("127.0.0.0/8",),
        }
        get_client_address(HTTPConnection(scope))
    try:
        with Site(load_settings(directory), watch_for_changes=True) as server:
            server._write_status()
            (status,) = server_processes.list_server_processes(server.settings)
    finally:
        server_processes.forwarding_peers.clear()
    assert len(status.forwarding_peers) == server_processes.MAX_FORWARDING_PEERS
    assert (status.forwarding_peers["10.1.0.7"], status.forwarding_peers["127.0.0.1"]) == (False, True)


def test_counts_that_fail_in_a_server_are_found_by_the_command(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command has no failures of its own: those of the servers stand in their status files."""
    # the thread of the site writes the file; a second writer would replace what it has just written
    monkeypatch.setattr(_site, "ENGINE_CHECK_INTERVAL_SECONDS", 0.05)
    with Site(load_settings(directory), watch_for_changes=True) as server:
        log = server.get_or_create(RetryBackoffLog)
        log.record_failure("key", "the values of stars.main", "the disk is slow")

        def find_counts() -> list[Finding]:
            return [finding for finding in examine(directory) if finding.subject == "counts"]

        wait_until(find_counts, 60)
        (count,) = find_counts()
        assert count.harm == "warning"
        assert "the values of stars.main: failed 1 times" in count.message
        log.record_success("key")
        wait_until(lambda: not find_counts(), 60)


def test_many_collections_share_threads_and_probes() -> None:
    resources = {f"c{number}": SimpleNamespace(name=f"c{number}") for number in range(1000)}
    checks = published_checks.list_source_checks(
        SimpleNamespace(get_published_state=lambda: SimpleNamespace(resources=resources))
    )
    assert len(checks) == published_checks.MAX_SOURCE_CHECKS
    assert checks[0].title == "the connection to the sources of c0, c32, c64 and 29 more"
    arguments = [check.find.args for check in checks]
    assert sorted(resource.name for group, _ in arguments for resource in group) == sorted(resources)
    assert len({id(probes) for _, probes in arguments}) == 1


def test_secrets_of_the_settings_that_are_not_set(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (directory / "hven.toml").open("a") as file:
        file.write('# "$NO_SECRET"\n[alerts]\nwebhook = "$DOCTOR_WEBHOOK"\n')
    (finding,) = examine(directory)
    assert (finding.harm, finding.check) == ("error", "secrets")
    assert "DOCTOR_WEBHOOK is not set" in finding.message
    monkeypatch.setenv("DOCTOR_WEBHOOK", "https://example.org/hook")
    assert examine(directory) == []


@pytest.mark.parametrize("before", [None, "OTHER = 'x'"])
def test_the_command_sets_a_secret_that_is_not_set(directory: Path, before: str | None) -> None:
    secrets = directory / "secrets.toml"
    secrets.unlink(missing_ok=True)
    if before is not None:
        secrets.write_text(before)  # its last line does not end
        secrets.chmod(0o600)
    with (directory / "hven.toml").open("a") as file:
        file.write('[alerts]\nwebhook = "$DOCTOR_WEBHOOK"\n')
    (finding,) = examine(directory)
    value = 'https://example.org/\\n?a=%s&b="$HOME" `id`'
    subprocess.run(["sh", "-c", finding.command], input=f"{value}\n", text=True, check=True, umask=0o022)
    assert examine(directory) == []
    assert resolve_secret(directory, "DOCTOR_WEBHOOK") == value
    assert before is None or resolve_secret(directory, "OTHER") == "x"


def test_a_secret_that_is_not_set_and_a_server_that_is_away(directory: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/tap"
        descriptor = directory / "collections/far/far.yaml"
        descriptor.parent.mkdir()
        descriptor.write_text(
            "collection: far\ntitle: Far\ntables:\n  main:\n    columns: {n: {type: int32}}\n"
            f"    source: {{kind: tap, url: '{url}', adql: SELECT n FROM t}}\n"
            "  other:\n    columns: {n: {type: int32}}\n"
            "    source: {kind: sql, url: $FAR_DATABASE, query: SELECT n FROM t}\n"
        )
        (directory / "hven.toml").write_text('name = "x"\nallow_private = true\n')
        findings = {finding.harm: finding for finding in examine(directory) if finding.subject == "far"}
    assert "FAR_DATABASE is not set" in findings["error"].message
    assert "FAR_DATABASE = '%s'" in findings["error"].command
    assert "does not respond" in findings["warning"].message


@pytest.mark.parametrize("package_key", ["", "package usage"])
def test_a_state_of_a_newer_hven_is_told_and_left_alone(directory: Path, package_key: str) -> None:
    if package_key:
        execute(
            directory, """UPDATE meta SET value = '{"format": 99, "tables": ["uses"]}' WHERE key = 'package usage'"""
        )
    else:
        execute(directory, f"UPDATE meta SET value = '{STATE_FORMAT + 7}' WHERE key IN ('format', 'oldest format')")
    before = read_files(directory)
    (finding,) = examine(directory)
    assert (finding.harm, finding.subject) == ("critical", "system state")
    assert "a newer Hven wrote the system state" in finding.message
    assert finding.command.endswith("-m pip install --upgrade hven")
    assert read_files(directory) == before


def test_the_state_of_a_site_with_a_relative_path_is_found(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise, `hven --site PATH doctor` says that nothing has been published, and checks nothing."""
    execute(directory, f"UPDATE meta SET value = '{STATE_FORMAT + 7}' WHERE key IN ('format', 'oldest format')")
    monkeypatch.chdir(directory.parent)
    (finding,) = examine(Path(directory.name))
    assert "a newer Hven wrote the system state" in finding.message


def test_an_older_state_is_told_and_not_upgraded(directory: Path) -> None:
    execute(directory, f"UPDATE meta SET value = '{STATE_FORMAT - 1}' WHERE key = 'format'")
    (finding,) = examine(directory)
    assert f"upgrades the system state: system state {STATE_FORMAT - 1} to {STATE_FORMAT}" in finding.message
    assert finding.command == "hven backup FILE.tar"
    assert read_format(directory) == str(STATE_FORMAT - 1)


def test_a_state_that_is_damaged_or_absent(directory: Path) -> None:
    (directory / "var/hven.sqlite").write_bytes(b"this is no database, and never was one" * 100)
    (finding,) = examine(directory)
    assert (finding.harm, finding.subject) == ("critical", "system state")
    assert subprocess.run(shlex.split(finding.command), check=True, capture_output=True).stdout
    (directory / "var/hven.sqlite").unlink()
    (finding,) = examine(directory)
    assert (finding.harm, finding.command) == ("hint", "hven new NAME --from FILE")
    assert not (directory / "var/hven.sqlite").exists()


def test_a_state_that_hangs_is_told_in_time(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts connections, and says nothing
        address = f"postgresql+psycopg://hven:s3cret-word@127.0.0.1:{silent.getsockname()[1]}/x"
        (directory / "hven.toml").write_text(f'name = "x"\nstore = "{address}"\n')
        findings = examine(directory, 0.3)
    assert [finding.message for finding in findings if finding.subject == "system state"] == [
        "the connection to the system state had no result within 0.3 s"
    ]
    assert "s3cret-word" not in repr(findings)


def test_what_hangs_or_fails_does_not_hold_up_the_rest(
    template: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Other packages add checks: one finds something and then hangs, one fails."""
    ended = threading.Event()

    def hang(site: Site) -> Iterator[Finding]:
        yield Finding(harm="error", subject="moon", message=f"it is full above {site.settings.name}")
        ended.wait(NOT_WAITING_SECONDS)

    def fail(_: Site) -> Iterator[Finding]:
        raise ZeroDivisionError

    checks = [SiteCheck(name="moon", title="the moon", find=hang), SiteCheck(name="sun", title="the sun", find=fail)]
    modules = tuple(SimpleNamespace(CHECK=check) for check in checks)
    monkeypatch.setattr(examination.plugins, "load_extensions", lambda point: {CHECKS_POINT: modules}[point])
    with Site(load_settings(template)) as site:
        findings = {finding.message: finding for finding in inspect_site(site, LIMIT_SECONDS).findings}
    ended.set()
    assert findings[f"it is full above {site.settings.name}"].check == "moon"
    assert (
        findings[f"the moon had no result within {LIMIT_SECONDS:g} s"].command
        == f"hven doctor --seconds {10 * LIMIT_SECONDS:g}"
    )
    assert any(message.startswith("the check failed in ") for message in findings), list(findings)
    assert "the check sun failed" in caplog.text


def test_secrets_are_never_shown(template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOON_PASSWORD", "tranquility-77")
    leak = SiteCheck(
        name="moon",
        title="the moon",
        find=lambda _: [Finding(harm="error", subject="moon", message="tranquility-77 was refused")],
    )
    monkeypatch.setattr(examination.plugins, "load_extensions", lambda _: (SimpleNamespace(CHECK=leak),))
    with Site(load_settings(template)) as site:
        assert [finding.message for finding in inspect_site(site, NOT_WAITING_SECONDS).findings] == ["*** was refused"]


@pytest.mark.parametrize(
    "package", [package for package in plugins.list_plugin_packages() if CHECKS_POINT in package.extensions] or [None]
)
def test_checks_of_packages_keep_the_contract(package: Any) -> None:
    for name in () if package is None else package.extensions[CHECKS_POINT]:
        check = plugins.import_hven_module(name, "a test").CHECK
        assert isinstance(check, SiteCheck)
        assert check.title.startswith(("the ", "a "))


def test_harms_are_known_and_sorted() -> None:
    with pytest.raises(ValueError, match="'bad' is not a level of harm"):
        Finding(harm="bad", subject="x", message="x")
    findings = [Finding(harm=harm, subject=harm, message="a|b") for harm in ("hint", "critical", "warning", "error")]
    assert [finding.harm for finding in sort_findings(findings)] == ["critical", "error", "warning", "hint"]
    assert [find_monitoring_code([finding]) for finding in findings] == [0, 2, 1, 2]
    line = format_monitoring_line(SiteExamination(findings=sort_findings(findings), duration_seconds=0.5))
    assert line == "HVEN CRITICAL - 1 critical, 1 error, 1 warning, 1 hint: a/b | seconds=0.50"


# --- the disk --------------------------------------------------------------------------------------------------------


def make_samples(days: float, daily_loss: float, last: float, count: int = 30) -> list[DiskSample]:
    """Make samples of free bytes that shrink evenly until the last one."""
    return [
        DiskSample(1e9 - age * DAY_SECONDS, "/x", int(last + age * daily_loss))
        for age in (days * (count - 1 - number) / (count - 1) for number in range(count))
    ]


@given(st.floats(1.01, 14), st.floats(1e6, 1e12), st.floats(1, 1000), st.integers(MIN_SAMPLES, 40))
def test_the_forecast_of_an_even_loss_is_exact(days: float, daily_loss: float, left: float, count: int) -> None:
    samples = make_samples(days, daily_loss, MIN_FREE_DISK_BYTES + left * daily_loss, count)
    assert estimate_full_seconds(samples) == pytest.approx(left * DAY_SECONDS, rel=1e-3)
    assert estimate_full_seconds(samples[::-1]) is None  # the last one is not the newest: no span
    assert estimate_full_seconds(make_samples(days, -daily_loss, 1e15, count)) is None
    assert estimate_full_seconds(samples[-MIN_SAMPLES + 1 :]) is None


def test_one_purge_does_not_change_the_forecast() -> None:
    samples = make_samples(7, 1e9, 20e9)
    samples[10] = samples[10]._replace(free_bytes=samples[10].free_bytes + 500_000_000_000)
    assert estimate_full_seconds(samples) == pytest.approx(20 * DAY_SECONDS, rel=0.02)


@pytest.mark.parametrize(
    ("free", "daily_loss", "harm", "words"),
    [
        (50e9, 0, None, ""),
        (50e9, 10e9, "error", "the disk will be full in 5.0 days"),
        (50e9, 2e9, "warning", "the disk will be full in 25.0 days"),
        (5e9, 0, "warning", "5.0 GB are free on the disk"),
        (1e9, 0, "error", "1.0 GB are free on the disk"),
        (1e6, 0, "critical", "is almost full: only 1 MB are free"),
    ],
)
def test_a_disk_that_fills(
    directory: Path, monkeypatch: pytest.MonkeyPatch, free: float, daily_loss: float, harm: str | None, words: str
) -> None:
    settings = load_settings(directory)
    subject = str(settings.data_directory)
    now = time.time()
    samples = [
        DiskSample(now - age * DAY_SECONDS, subject, int(free + age * daily_loss)) for age in (6, 5, 4, 3, 2, 1, 0.1)
    ]
    (directory / "var/operations").mkdir()
    lines = ["no sample", "[1]", *(json.dumps(sample) for sample in samples)]
    (directory / "var/operations/disk.jsonl").write_text("\n".join(lines))
    monkeypatch.setattr(disk_forecast.shutil, "disk_usage", lambda _: DiskUsage(1e12, 0, int(free)))
    findings = list(find_disk_problems(settings))
    assert [finding.harm for finding in findings] == ([harm] if harm else [])
    assert all(words in finding.message for finding in findings)
    assert all(finding.command.startswith("du -xh") for finding in findings)


def test_samples_are_taken_once_an_hour(directory: Path) -> None:
    settings = load_settings(directory)
    path = directory / "var/operations/disk.jsonl"
    record_disk_sample(settings)
    record_disk_sample(settings)
    (sample,) = read_disk_samples(settings)
    assert sample.directory == str(settings.data_directory)
    assert path.parent.stat().st_mode & 0o077 == 0
    old = sample._replace(unix_time=sample.unix_time - 7200)
    path.write_text(json.dumps(old))
    os.utime(path, (old.unix_time, old.unix_time))
    record_disk_sample(settings)
    assert len(read_disk_samples(settings)) == 2
    path.unlink()
    path.mkdir()  # as on a disk that takes nothing
    os.utime(path, (0, 0))
    record_disk_sample(settings)
    assert read_disk_samples(settings) == []


# --- the certificate -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make certificates of localhost that are valid for 90, 10 and 3 days."""
    openssl = require_program("openssl")
    place = tmp_path_factory.mktemp("certificates")
    for days in (90, 10, 3):
        command = f"{openssl} req -x509 -newkey rsa:2048 -nodes -days {days} -subj /CN=localhost"
        command += f" -addext subjectAltName=DNS:localhost -keyout {days}.key -out {days}.pem"
        subprocess.run(command.split(), cwd=place, check=True, capture_output=True)
    return place


def examine_certificate(directory: Path, place: Path, days: int) -> list[Finding]:
    """Serve a certificate, and check it as that of ``public_url``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place / f"{days}.pem", place / f"{days}.key")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            try:
                with context.wrap_socket(connection, server_side=True) as encrypted:
                    encrypted.recv(1)
            except OSError:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"https://localhost:{server.getsockname()[1]}/hven"
        (directory / "hven.toml").write_text(f'name = "x"\npublic_url = "{url}"\n')
        (check,) = (check for check in examination.SETTINGS_CHECKS if check.name == "certificate")
        findings = list(check.find(load_settings(directory)))
        thread.join()
    return findings


@pytest.mark.parametrize(("days", "harm"), [(90, None), (10, "warning"), (3, "error")])
def test_a_certificate_that_will_expire(
    directory: Path, certificates: Path, monkeypatch: pytest.MonkeyPatch, days: int, harm: str | None
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / f"{days}.pem"))
    findings = examine_certificate(directory, certificates, days)
    assert [finding.harm for finding in findings] == ([harm] if harm else [])
    assert all(f"expires in {days} days" in finding.message for finding in findings)
    assert all(finding.command.startswith("sudo certbot renew && ") for finding in findings)


def test_a_certificate_that_clients_reject(directory: Path, certificates: Path) -> None:
    (finding,) = examine_certificate(directory, certificates, 90)
    assert finding.harm == "critical"
    assert finding.message.startswith("clients reject the certificate of localhost: self")
    assert finding.command == "sudo certbot --nginx -d localhost"


def test_a_public_address_that_nobody_serves(directory: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        (directory / "hven.toml").write_text(
            f'name = "x"\npublic_url = "https://127.0.0.1:{unused.getsockname()[1]}"\n'
        )
        (finding,) = examine(directory)
    assert (finding.harm, finding.check) == ("warning", "certificate")


def test_a_publication_while_it_looks(directory: Path) -> None:
    settings: Settings = load_settings(directory)
    with Site(settings) as site:
        thread = threading.Thread(target=ingest_collection, args=(site, "stars"))
        thread.start()
        assert examine(directory) == []
        thread.join()


@pytest.mark.needs("mount")
def test_a_disk_that_fills_while_it_looks(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=755", "hven-test", place], check=True)
    try:
        directory = shutil.copytree(template, place / "site", copy_function=shutil.copy2)
        opened = Site.__init__

        def fill(site: Site, *arguments: Any, **options: Any) -> None:
            with (place / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(b"\0" * 65536):
                    pass
            opened(site, *arguments, **options)

        monkeypatch.setattr(Site, "__init__", fill)
        findings = examine(directory)
        assert all(finding.harm in {"critical", "error"} for finding in findings)
        monkeypatch.undo()
        assert any("is almost full" in finding.message for finding in examine(directory))
        (place / "filler").unlink()
        messages = [finding.message for finding in examine(directory)]
        assert all("disk" in message for message in messages), "a small disk remains nearly full"
    finally:
        subprocess.run(["umount", "-l", place], check=True)
