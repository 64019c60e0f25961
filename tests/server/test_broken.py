"""Answers that break off after rows were sent: valid XML with an error, or a connection that is cut; never a clean end."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pytest
from lxml import etree
from server_process import ServerProcess, run_hven, serve_site

from hven.testing.site import open_tiny_site
from process_runner import wait_until
from requirements import require_program

pytestmark = pytest.mark.slow

V = {"v": "http://www.ivoa.net/xml/VOTable/v1.3"}
ROWS = 400_000
LATE = "SELECT id, CAST(word AS INTEGER) AS n, filler FROM big.main"
FEW = pa.table({"id": np.arange(100_000)})
SLOW = (
    # minutes, and so few rows are left to one processor
    "SELECT COUNT(*) AS n FROM big.few AS a, big.few AS b WHERE SIN(a.id + b.id) > 2"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A table whose last word is no number, so that a cast fails when most rows are sent; and one turn."""
    directory = tmp_path_factory.mktemp("broken") / "site"
    run_hven("init", directory)
    (directory / "hven.toml").write_text('name = "broken"\n[limits]\nseconds = 120\nconcurrent = 1\n')
    rows = pa.table(
        {
            "id": np.arange(ROWS),
            "word": pa.array([*(["12"] * (ROWS - 1)), "twelve"]),
            "filler": pa.array(["a text that makes the rows some bytes longer than they would be"] * ROWS),
        }
    )
    with open_tiny_site(directory, {"big.main": rows, "big.few": FEW}):
        pass
    with serve_site(directory, workers=1) as made:
        yield made


def address(query: str, form: str = "votable") -> str:
    return "/tap/sync?" + urlencode({"LANG": "ADQL", "QUERY": query, "RESPONSEFORMAT": form})


def log_of(server: ServerProcess, asked: str) -> dict[str, object]:
    """The line of an address that this test alone asks."""

    def found() -> list[dict[str, object]]:
        return [line for line in server.lines() if f"{line['path']}?{line['query']}" == asked]

    wait_until(found)
    return found()[-1]


@pytest.mark.parametrize("form", ["votable", "votable/td", "votable/b"])
def test_a_late_error_closes_a_votable_with_its_status(server: ServerProcess, form: str) -> None:
    status, headers, body = server.get(address(LATE, form))
    assert status == 200
    last = etree.fromstring(body, etree.XMLParser(huge_tree=True)).findall(".//v:INFO[@name='QUERY_STATUS']", V)[-1]
    assert last.get("value") == "ERROR"
    assert "twelve" in last.text
    assert headers["x-request-id"] in last.text


@pytest.mark.parametrize("form", ["csv", "tsv", "arrow", "parquet", "fits", "json", "text"])
@pytest.mark.parametrize("packed", ["identity", "gzip"])
def test_a_late_error_cuts_all_other_answers(server: ServerProcess, form: str, packed: str) -> None:
    done = subprocess.run(
        [
            require_program("curl"),
            "-s",
            "-o",
            "/dev/null",
            "-H",
            f"Accept-Encoding: {packed}",
            "-w",
            "%{http_code}",
            server.url + address(LATE, form),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 18 or done.stdout == "400", f"curl took a broken answer for whole: {done}"
    assert done.returncode == 18 or form in {"parquet", "fits"}, (
        "hundreds of thousands of rows are sent before it breaks"
    )


@pytest.mark.parametrize(("form", "mark"), [("json", b'"status": "ERROR", "message": '), ("text", b"\nERROR: ")])
def test_people_read_why_before_the_cut(server: ServerProcess, form: str, mark: bytes) -> None:
    with pytest.raises(http.client.IncompleteRead) as cut:
        server.get(address(LATE, form))
    last = cut.value.partial[-500:]
    assert mark in last
    assert b"twelve" in last


@pytest.mark.parametrize("form", ["json", "text", "csv"])
def test_a_short_answer_that_breaks_is_an_error_document(server: ServerProcess, form: str) -> None:
    status, _, body = server.get(
        address(f"SELECT id, CAST(word AS INTEGER) AS n FROM big.main WHERE id > {ROWS - 3}", form)
    )
    assert status == 400
    assert b"twelve" in body


@pytest.mark.parametrize("pause", [0.0, 0.002], ids=["fast", "slow"])
@pytest.mark.parametrize("form", ["json", "text"])
def test_an_old_client_finds_the_mark_at_the_end(server: ServerProcess, form: str, pause: float) -> None:
    """HTTP/1.0 ends a body by closing the connection: there is no cut that could be told from it, so the mark is all there is."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as reader:
        reader.sendall(f"GET {address(LATE, form)} HTTP/1.0\r\n\r\n".encode())
        last = b""
        while piece := reader.recv(1 << 16):
            last = (last + piece)[-500:]
            time.sleep(pause)
    assert b"ERROR" in last
    assert b"twelve" in last


def test_a_late_error_is_an_incomplete_read_to_scripts(server: ServerProcess) -> None:
    asked = f"{address(LATE, 'csv')}&RUNID=script"
    with pytest.raises(http.client.IncompleteRead):
        server.get(asked)
    line = log_of(server, asked)
    assert (line["status"], line["cut"]) == (200, True)
    assert server.get("/health")[0] == 200


def test_an_old_client_is_answered_and_hung_up_on(server: ServerProcess) -> None:
    """HTTP/1.0 has no chunks: the body ends with the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as reader:
        reader.sendall(f"GET {address('SELECT TOP 100000 id, filler FROM big.main', 'csv')} HTTP/1.0\r\n\r\n".encode())
        answer = b""
        while piece := reader.recv(1 << 20):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == b"200"
    assert b"chunked" not in head.lower()
    assert body.count(b"\n") == 100_001


def test_the_time_limit_is_408_with_the_requests_id(tmp_path: Path) -> None:
    run_hven("init", tmp_path / "site")
    (tmp_path / "site" / "hven.toml").write_text('name = "hasty"\n[limits]\nseconds = 2\n')
    with open_tiny_site(tmp_path / "site", {"big.few": FEW}):
        pass
    with serve_site(tmp_path / "site", workers=1) as server:
        status, headers, body = server.get(address(SLOW))
    assert status == 408
    assert b"time limit of 2 s" in body
    assert headers["x-request-id"].encode() in body


def test_who_waits_too_long_for_a_turn_is_told_when_to_come_back(server: ServerProcess) -> None:
    """One big query may run at once and one may wait: the third is sent away, and small ones are answered meanwhile."""
    readers = []
    try:
        for _ in range(3):  # one of them may come in after the fourth, on a busy machine
            readers.append(socket.create_connection(("127.0.0.1", server.port)))
            readers[-1].sendall(f"GET {address(SLOW)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            time.sleep(0.4)
        status, headers, body = server.get(address(SLOW))
        assert status == 503
        assert int(headers["retry-after"]) > 0
        assert headers["x-request-id"].encode() in body
        assert b"ERROR" in body
        assert server.ask("SELECT COUNT(*) AS n FROM big.main") == [[ROWS]]
        assert server.get("/health")[0] == 200
    finally:
        for reader in readers:
            reader.close()
    # their leaving gave the turns back
    wait_until(lambda: server.get(address(SOME))[0] == 200)


@pytest.mark.parametrize("form", ["votable", "csv", "fits"])
def test_who_leaves_in_the_middle_gives_the_turn_back(server: ServerProcess, form: str) -> None:
    """There is one turn: if a reader who left kept it, whoever comes in the next two minutes would wait and be sent away."""

    def leave_in_the_middle() -> bool:
        with socket.create_connection(("127.0.0.1", server.port), timeout=120) as reader:
            reader.sendall(f"GET {address(DUMP, form)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            return reader.recv(1000).startswith(b"HTTP/1.1 200")

    for _ in range(3):
        wait_until(leave_in_the_middle)
    wait_until(lambda: server.get(address(SOME))[0] == 200)


DUMP = "SELECT id, filler, word FROM big.main WHERE filler LIKE 'a%'"
SOME = "SELECT TOP 5 id FROM big.main WHERE filler LIKE '%longer%' ORDER BY word"


def test_head_runs_nothing(server: ServerProcess) -> None:
    begun = time.perf_counter()
    status, headers, body = server.head(address(SLOW))
    assert (status, body) == (200, b"")
    assert time.perf_counter() - begun < 60, "the query would take its two minutes and end with 408"
    assert headers["content-type"].startswith("application/x-votable+xml")
    assert "content-length" not in headers
    assert server.head(address("SELECT nothing FROM big.main"))[0] == 400


def test_a_stop_ends_what_runs_too_long(tmp_path: Path) -> None:
    """SIGTERM while a query of minutes runs and a reader sleeps: the server is gone within its grace, and nobody takes his part for whole."""
    run_hven("init", tmp_path / "site")
    rows = pa.table({"id": np.arange(300_000), "filler": ["a text that makes the rows some bytes longer"] * 300_000})
    with open_tiny_site(tmp_path / "site", {"big.main": rows, "big.few": FEW}):
        pass
    with serve_site(tmp_path / "site", workers=1) as server:
        computing = socket.create_connection(("127.0.0.1", server.port))
        computing.sendall(f"GET {address(SLOW)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        sleeping = socket.create_connection(("127.0.0.1", server.port))
        sleeping.sendall(f"GET {address('SELECT * FROM big.main', 'csv')} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        with computing, sleeping:
            assert sleeping.recv(1000).startswith(b"HTTP/1.1 200")
            time.sleep(0.5)
            server.process.terminate()
            assert server.process.wait(60) == 0  # the query would take its two minutes
            last = b""
            with contextlib.suppress(ConnectionError):
                while piece := sleeping.recv(1 << 20):
                    last = (last + piece)[-5:]
            assert last != b"0\r\n\r\n"
    assert "Traceback" not in server.log.read_text()


def test_nobody_ever_sees_a_traceback(server: ServerProcess) -> None:
    assert "Traceback" not in server.log.read_text()
    for path in ("/nothing", "/tap/sync", "/tap/tables/x", "/cone/big.main", "/collections/%00", "/tap/sync?QUERY=%ff"):
        status, headers, body = server.get(path)
        assert status in {400, 404}
        assert headers["x-request-id"].encode() in body, path
        assert b"Traceback" not in body
