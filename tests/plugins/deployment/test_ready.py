"""`hven ready` says whether a server can answer queries, and whether this version can use the site's state."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from switched_servers import build_site, open_held_socket, start_variant

from hven.app._server.activation import take_activation_socket
from hven.model.errors import UsageError
from hven.plugins.deployment.readiness import request_readiness, wait_until_ready
from hven.site.api.state_tables import OLDEST_FORMAT, STATE_FORMAT
from process_runner import run_hven, serve_site, wait_until


@contextmanager
def answer_with(status: int, body: bytes) -> Iterator[str]:
    """Serve one answer to every request, and give the address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            """Keep the log of the tests clean."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def set_format(site: Path, value: int, oldest: int | None = None) -> None:
    with closing(sqlite3.connect(site / "var/hven.sqlite")) as store, store:
        store.execute("UPDATE meta SET value = ? WHERE key = 'format'", (str(value),))
        store.execute("DELETE FROM meta WHERE key = 'oldest format'")
        if oldest is not None:
            store.execute("INSERT INTO meta VALUES ('oldest format', ?)", (str(oldest),))


def test_a_server_that_answers_queries_is_ready(tmp_path: Path) -> None:
    site = tmp_path / "site"
    build_site(site)
    with serve_site(site) as server:
        done = run_hven("ready", server.url, "--site", site, "--wait", "60")
        assert done.stdout == f"{server.url}: ready\n"
        found = json.loads(run_hven("ready", server.url, "--json").stdout)
        assert found == {"ready": True, "address": server.url, "server": [], "state": []}


def test_the_checks_that_failed_are_named() -> None:
    checks = [{"name": "holdings", "state": "failed", "reason": "rows are missing"}, {"name": "disk", "state": "ok"}]
    with answer_with(503, json.dumps({"status": "down", "checks": checks}).encode()) as url:
        readiness = request_readiness(url)
        assert (readiness.is_ready, readiness.messages) == (False, ["holdings: rows are missing"])
        refused = run_hven("ready", url, expected_code=1)
        assert refused.stderr == "  holdings: rows are missing\n"
    checks[0] |= {"state": "warning"}
    with answer_with(200, json.dumps({"checks": checks}).encode()) as url:
        assert run_hven("ready", url).stdout == f"{url}: ready\n  holdings: rows are missing\n"


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<html>hello"), (200, b"[1]"), (200, b'{"checks": [1]}'), (200, b""), (503, b"busy\n")]
)
def test_another_program_at_the_address_is_not_ready(status: int, body: bytes) -> None:
    with answer_with(status, body) as url:
        readiness = request_readiness(url)
    assert not readiness.is_ready
    assert readiness.messages[0].startswith(f"status {status}, which is no answer of /health/ready")


def test_nobody_at_the_address_is_not_ready() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refused = run_hven("ready", f"http://127.0.0.1:{unused.getsockname()[1]}", expected_code=1)
    assert "the server does not respond: Connection refused" in refused.stderr


@pytest.mark.parametrize("address", ["127.0.0.1:8080", "ftp://x", "http://", "http://x:99999", "http://[::1"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    assert "is not an address" in run_hven("ready", address, expected_code=1).stderr


def test_it_waits_for_the_given_time() -> None:
    times = iter([0.0, 1.0, 9.0, 10.5])
    pauses: list[float] = []
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert not wait_until_ready(url, 10.0, get_time=lambda: next(times), sleep=pauses.append).is_ready
    assert len(pauses) == 2


def test_it_does_not_wait_for_a_server_that_has_ended(held_socket: socket.socket) -> None:
    """systemd holds the socket: connections wait, although no process will answer them."""
    url = f"http://127.0.0.1:{held_socket.getsockname()[1]}"
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        ended.wait()
    refused = run_hven("ready", url, "--wait", "86400", "--process", ended.pid, expected_code=1)
    assert f"the server's process {ended.pid} has ended; its log says why" in refused.stderr
    pauses: list[float] = []
    with answer_with(503, b'{"checks": [{"name": "disk", "state": "failed"}]}') as answering_url:
        times = iter([0.0, 0.0, 9.0])
        options = {"get_time": lambda: next(times), "sleep": pauses.append}
        readiness = wait_until_ready(answering_url, 1.0, process_id=os.getpid(), **options)
    assert readiness.messages == ["disk: failed"]
    assert len(pauses) == 1, "it waits for a process that runs"


FIRST_PROCESS_PROGRAM = """
import os, signal
pid = os.getpid()
os.getpid = lambda: 1
import hven.app, hven.app._cli
def run():
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL  # which does nothing to the first process
    hven.app._cli._run_command = lambda _: os.kill(pid, signal.SIGTERM) or signal.pause()
    return main([])
main, hven.app._cli.main = hven.app._cli.main, run
raise SystemExit(hven.app.main())
"""


def test_a_first_process_of_a_container_ends_while_it_starts() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST_PROCESS_PROGRAM], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "hven: stopped\n")


def test_the_state_must_fit_this_version(tmp_path: Path) -> None:
    site = tmp_path / "site"
    build_site(site)
    checks = b'{"status": "ok", "checks": []}'
    with answer_with(200, checks) as url:
        set_format(site, STATE_FORMAT + 1)
        refused = run_hven("ready", url, "--site", site, expected_code=1)
        assert "a newer Hven wrote the system state" in refused.stderr
        set_format(site, STATE_FORMAT + 1, oldest=STATE_FORMAT)
        assert run_hven("ready", url, "--site", site).stdout == f"{url}: ready\n"
        set_format(site, OLDEST_FORMAT - 1)
        refused = run_hven("ready", url, "--site", site, expected_code=1)
        assert "Older versions can't open the state afterwards" in refused.stderr
        with closing(sqlite3.connect(site / "var/hven.sqlite")) as store:
            found = store.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
    assert found == (str(OLDEST_FORMAT - 1),), "the command changes nothing"


@pytest.fixture
def held_socket() -> Iterator[socket.socket]:
    with open_held_socket() as listening_socket:
        yield listening_socket


@pytest.mark.slow
def test_a_server_that_drains_says_so_and_closes_connections(tmp_path: Path, held_socket: socket.socket) -> None:
    site = tmp_path / "site"
    build_site(site)
    url = f"http://127.0.0.1:{held_socket.getsockname()[1]}"
    variant = start_variant(site, "held", held_socket=held_socket, drain_seconds=600)
    try:
        wait_until(variant.has_workers, 120)
        assert request_readiness(url).is_ready
        variant.process.terminate()
        wait_until(lambda: not request_readiness(url).is_ready, 60)
        assert "about to stop" in request_readiness(url).messages[0]
        assert read_connection_header(held_socket, "/health/live") == "close"
        variant.process.send_signal(signal.SIGTERM)  # a second signal ends the wait
        assert variant.process.wait(60) == 0
    finally:
        variant.process.kill()
        variant.process.wait()
    # a client that comes now waits in the queue of the socket
    with socket.create_connection(held_socket.getsockname()) as client:
        client.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        later = start_variant(site, "held", held_socket=held_socket)
        try:
            client.settimeout(120)
            assert client.recv(12) == b"HTTP/1.1 200"
        finally:
            later.stop()


def read_connection_header(held_socket: socket.socket, path: str) -> str | None:
    connection = http.client.HTTPConnection(*held_socket.getsockname(), timeout=60)
    with closing(connection):
        connection.request("GET", path)
        return connection.getresponse().getheader("connection")


@pytest.mark.parametrize(
    ("count", "passed", "message"),
    [
        ("2", "listening", "passed 2 sockets, but Hven listens on only one"),
        ("x", "listening", "passed x sockets"),
        ("1", "nothing", "the service manager passed no socket"),
        ("1", "connected", "does not listen on a TCP port"),
        ("1", "unix", "does not listen on a TCP port"),
    ],
)
def test_what_is_no_listening_socket_is_refused(
    count: str, passed: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LISTEN_FDS", count)
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    passed_socket = socket.socket(socket.AF_UNIX if passed == "unix" else socket.AF_INET)
    if passed == "unix":
        passed_socket.bind("\0hven test of sockets")
        passed_socket.listen()
    elif passed == "listening":
        passed_socket.listen()
    fileno = passed_socket.fileno()
    if passed == "nothing":
        passed_socket.close()
    monkeypatch.setattr("hven.app._server.activation.FIRST_FILE_DESCRIPTOR", fileno)
    with pytest.raises(UsageError, match=message):
        take_activation_socket()
    assert "LISTEN_FDS" not in os.environ, "children must not take it"
    passed_socket.close()


def test_a_socket_for_another_process_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    assert take_activation_socket() is None
