"""Several processes behind one address: edits, ingests, leaving readers, dying workers, graceful stops."""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from server_process import DESCRIPTOR, ServerProcess, build_star_site, run_hven, serve_site

from hven.app._server import processes
from hven.model.errors import UserError
from hven.model.settings import ReloadableSettings, create_site_directory, load_settings
from hven.site import Site
from process_runner import reserve_port, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    site = build_star_site(tmp_path_factory.mktemp("serve") / "site", 300_000)
    with (site / "hven.toml").open("a") as file:
        file.write("\n[limits]\nseconds = 600\n")  # what must end by other means is not ended by this
    with serve_site(site, through=["env"]) as made:  # as a user begins it
        yield made


def site_of(server: ServerProcess) -> Path:
    return server.log.parent


def wait_until_stable(seconds: float, true: object, times: int = 12) -> float:
    """Wait until a call is true `times` times running (so in every process); give the seconds it took."""
    begun = time.perf_counter()
    running = 0
    first = 0.0
    while running < times:
        if true():  # type: ignore[operator]
            first = first or time.perf_counter() - begun
            running += 1
        else:
            running, first = 0, 0.0
        assert time.perf_counter() - begun < seconds + 300, "it never came to be"
    return first


def test_an_edited_description_is_seen_by_all_processes_within_a_second(server: ServerProcess) -> None:
    """The best of several edits counts: whatever else this machine is doing must not decide."""
    descriptor = site_of(server) / "collections" / "stars" / "stars.yaml"
    seconds: list[float] = []
    while len(seconds) < 30 and min(seconds, default=2.0) >= 1.0:
        words = f"words that were written {len(seconds) + 1} times"
        descriptor.write_text(DESCRIPTOR.replace("the first words", words).replace("as it was", f"table of {words}"))

        def is_description_seen(words: str = words) -> bool:
            told = server.ask(
                "SELECT description FROM TAP_SCHEMA.columns WHERE table_name = 'stars.main' AND column_name = 'id'"
            )
            return (
                told == [[words]]
                and words.encode() in server.get("/tap/tables/stars.main")[2]
                and f"table of {words}".encode() in server.get("/collections/stars")[2]
            )

        seconds.append(wait_until_stable(1.0, is_description_seen))
    assert min(seconds) < 1.0


def test_a_broken_edit_leaves_the_last_good_one_and_health_says_so(server: ServerProcess) -> None:
    descriptor = site_of(server) / "collections" / "stars" / "stars.yaml"
    good = descriptor.read_text()
    descriptor.write_text("collection: [")
    try:
        wait_until_stable(1.0, lambda: b'"degraded"' in server.get("/health")[2])
        assert server.ask("SELECT COUNT(*) AS n FROM stars.main") == [[300_000]]
    finally:
        descriptor.write_text(good)
    wait_until_stable(1.0, lambda: b'"ok"' in server.get("/health")[2])


def test_an_ingest_is_seen_by_all_and_a_rollback_too(tmp_path: Path) -> None:
    """The site is its own: a process that sees a change late on a busy machine must not disturb other tests."""
    site = build_star_site(tmp_path / "site", 300_000)
    with serve_site(site) as server:
        rows = (site / "collections" / "stars" / "stars.csv").read_text()
        (site / "collections" / "stars" / "stars.csv").write_text(rows + "extra,1,1,1\n")
        run_hven("ingest", "stars", "--site", site)
        wait_until_stable(1.0, lambda: server.ask("SELECT COUNT(*) AS n FROM stars.main") == [[300_001]])
        run_hven("rollback", "stars", "--site", site)
        wait_until_stable(1.0, lambda: server.ask("SELECT COUNT(*) AS n FROM stars.main") == [[300_000]])
        run_hven("remove", "stars", "--site", site)
        wait_until_stable(1.0, lambda: server.get("/tap/tables/stars.main")[0] == 404)
        run_hven("rollback", "stars", "--site", site)
        wait_until_stable(1.0, lambda: server.get("/tap/tables/stars.main")[0] == 200)


def test_many_readers_at_once_each_get_their_own(server: ServerProcess) -> None:
    def ask_for_star(number: int) -> bool:
        return server.ask(f"SELECT id FROM stars.main WHERE id = 's{number}'") == [[f"s{number}"]]

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask_for_star, range(200)))


def test_a_reader_who_leaves_cancels_the_query(server: ServerProcess) -> None:
    """A cross join of 9 x 10^10 pairs would run for minutes; after its reader has left, the process has nothing to do."""
    query = "SELECT COUNT(*) AS n FROM stars.main AS a, stars.main AS b WHERE a.mag + b.mag > 1000"
    with socket.create_connection(("127.0.0.1", server.port)) as reader:
        reader.sendall(f"GET /tap/sync?LANG=ADQL&QUERY={quote(query)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wait_until(lambda: busy(server, 0.5) > 0.1)
    wait_until(lambda: busy(server, 0.5) < 0.05)  # else the query runs on without a reader


def busy(server: ServerProcess, seconds: float) -> float:
    """CPU seconds that the server's processes use in a while, per second."""

    def used() -> float:
        total = 0.0
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                if int(fields[1]) == server.process.pid or int(entry.name) == server.process.pid:
                    total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return total

    before = used()
    time.sleep(seconds)
    return (used() - before) / seconds


def test_a_reader_who_leaves_in_the_middle_of_a_dump_leaves_no_trace(server: ServerProcess) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port)) as reader:
            reader.sendall(b"GET /tap/sync?LANG=ADQL&QUERY=SELECT+*+FROM+stars.main HTTP/1.1\r\nHost: x\r\n\r\n")
            assert reader.recv(1000).startswith(b"HTTP/1.1 200")
    assert server.ask("SELECT COUNT(*) AS n FROM stars.main") == [[300_000]]


def test_a_dump_is_streamed(server: ServerProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    connection.request("GET", "/tap/sync?LANG=ADQL&RESPONSEFORMAT=csv&QUERY=SELECT+*+FROM+stars.main")
    with contextlib.closing(connection), connection.getresponse() as answer:
        assert answer.getheader("content-length") is None
        assert answer.read().count(b"\n") == 300_001


def test_a_worker_that_dies_is_replaced(server: ServerProcess) -> None:
    before = server.list_workers()
    os.kill(before[0], signal.SIGKILL)
    wait_until(lambda: before[0] not in server.list_workers())
    assert server.ask("SELECT COUNT(*) AS n FROM stars.main") == [[300_000]]
    wait_until_stable(10.0, lambda: server.get("/health")[0] == 200)
    wait_until(lambda: len(server.list_workers()) == len(before))


def test_an_only_worker_that_hangs_is_replaced_and_readers_are_told(tmp_path: Path) -> None:
    """It is stopped, so that it takes nothing, gives no sign of life, and does not end by itself. Before, three die one after the other."""
    with serve_site(build_star_site(tmp_path / "site", 10), workers=1) as server:
        for _ in range(3):
            [worker] = server.list_workers()
            os.kill(worker, signal.SIGKILL)
            wait_until(lambda gone=worker: gone not in server.list_workers())
        wait_until(lambda: server.get("/health/live")[0] == 200)
        [worker] = server.list_workers()
        os.kill(worker, signal.SIGSTOP)
        wait_until(
            lambda: all(
                task.read_text().rpartition(")")[2].split()[0] == "T"
                for task in Path(f"/proc/{worker}/task").glob("*/stat")
            )
        )
        told: list[tuple[int, str | None]] = []

        def is_worker_replaced() -> bool:
            # one may be with the worker that is killed
            with contextlib.suppress(ConnectionError, http.client.HTTPException):
                status, headers, _ = server.get("/health/live")
                told.append((status, headers.get("retry-after")))
            return (503, "5") in told and told[-1][0] == 200

        wait_until(is_worker_replaced, 120)
        assert {status for status, _ in told} == {200, 503}
        assert worker not in server.list_workers()
        assert "has not sent a heartbeat" in server.log.read_text()


def test_a_stop_lets_running_answers_end(tmp_path: Path) -> None:
    with serve_site(build_star_site(tmp_path / "site", 200_000), workers=1) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        connection.request("GET", "/tap/sync?LANG=ADQL&RESPONSEFORMAT=csv&QUERY=SELECT+*+FROM+stars.main")
        with contextlib.closing(connection), connection.getresponse() as answer:
            head = answer.read(1000)
            server.process.terminate()
            assert (head + answer.read()).count(b"\n") == 200_001
        assert server.process.wait(60) == 0


def test_the_log_has_every_request_with_its_id(server: ServerProcess) -> None:
    status, headers, body = server.get("/tap/sync", LANG="ADQL", QUERY="SELECT nothing FROM stars.main")
    assert status == 400
    assert headers["x-request-id"].encode() in body
    wait_until(lambda: [line["status"] for line in server.lines() if line["id"] == headers["x-request-id"]] == [400])


def test_a_site_that_cannot_be_opened_is_told_in_a_sentence(tmp_path: Path) -> None:
    run_hven("init", tmp_path / "site")
    (tmp_path / "site" / "var").mkdir(exist_ok=True)
    (tmp_path / "site" / "var" / "hven.sqlite").write_text("no database at all, but long enough to be looked at")
    done = run_hven("serve", "--site", tmp_path / "site", "--port", reserve_port(), expected_code=3, in_subprocess=True)
    assert "hven.sqlite" in done.stderr


def test_a_site_that_breaks_while_it_is_served_is_told_in_the_log(tmp_path: Path) -> None:
    with serve_site(build_star_site(tmp_path / "site", 10), workers=1) as server:
        toml = tmp_path / "site" / "hven.toml"
        [worker] = server.list_workers()
        toml.write_text(toml.read_text() + "\nnonsense = 1\n")
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: "there is no such setting" in server.log.read_text())
        wait_until(lambda: worker not in server.list_workers())
        assert server.ask("SELECT COUNT(*) AS n FROM stars.main") == [[10]]
        assert "Traceback" not in server.log.read_text()


def test_workers_keep_the_settings_from_before_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = create_site_directory(tmp_path / "site")
    settings = ReloadableSettings(load_settings(directory, {}))
    monkeypatch.setenv("HVEN_SITE_DIRECTORY", str(directory))
    Site(settings.current).close()
    toml = directory / "hven.toml"
    toml.write_text(toml.read_text().replace('"site"', '"A later name"'))
    settings.reload_if_changed()
    toml.write_text(toml.read_text() + "\nnonsense = 1\n")
    settings.reload_if_changed()
    with pytest.raises(UserError, match="there is no such setting"):
        processes._get_or_build_application()
    monkeypatch.setattr(processes, "_settings_in_force", settings)
    site, _ = processes._get_or_build_application()
    with site:
        assert site.settings.name == "A later name"


@pytest.mark.parametrize("verb", ["serve", "work"])
def test_arrow_keeps_nothing(verb: str, tmp_path: Path) -> None:
    """Its own allocator keeps what a rush of dumps once used; which one it takes is settled when it is loaded."""
    code = """if True:
        import sys
        import hven.model.settings
        from hven.app import _cli
        hven.model.settings.load_settings = lambda directory: sys.exit(__import__("pyarrow").default_memory_pool().backend_name)
        _cli.main(sys.argv[1:])
    """
    (tmp_path / "hven.toml").touch()
    clean = {name: value for name, value in os.environ.items() if name != "ARROW_DEFAULT_MEMORY_POOL"}
    command = [sys.executable, "-c", code, verb, "--site", str(tmp_path)]
    assert (
        subprocess.run(command, env=clean, capture_output=True, text=True, check=False).stderr.split()[-1] == "system"
    )
