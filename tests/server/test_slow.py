"""Readers who take their time: they hold neither memory nor other readers, and are not cut by the time limit of a query."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pytest
from server_process import ServerProcess, run_hven, serve_site

from hven.testing.site import open_tiny_site

pytestmark = pytest.mark.slow

ROWS = 800_000
RATE = 100_000  # bytes a second
FORMS = ("votable", "csv", "votable/td")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp("slow") / "site"
    run_hven("init", directory)
    (directory / "hven.toml").write_text('name = "slow"\n[limits]\nseconds = 10\n')
    made = np.random.default_rng(3)
    rows = pa.table(
        {
            "id": np.arange(ROWS),
            "ra": made.uniform(0, 360, ROWS),
            "dec": np.degrees(np.arcsin(made.uniform(-1, 1, ROWS))),
            "filler": pa.array(["a text that makes the rows some bytes longer"] * ROWS),
        }
    )
    with open_tiny_site(directory, {"big.main": rows}):
        pass
    with serve_site(directory, workers=1) as started:
        yield started


def address(query: str, form: str) -> str:
    return "/tap/sync?" + urlencode({"LANG": "ADQL", "QUERY": query, "RESPONSEFORMAT": form})


def anonymous(pid: int) -> float:
    """Anonymous memory of a process, MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("RssAnon:")[2].split()[0]) / 1024


@contextlib.contextmanager
def slow_readers(server: ServerProcess, forms: tuple[str, ...]) -> Iterator[list[socket.socket]]:
    """Begin a dump in each format and take it at 100 kB/s until the block ends."""
    over = threading.Event()
    readers = []
    for form in forms:
        reader = socket.socket()
        # the kernel must not take it all in their place
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        reader.connect(("127.0.0.1", server.port))
        reader.sendall(f"GET {address('SELECT * FROM big.main', form)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        readers.append(reader)

    def take() -> None:
        while not over.wait(0.1):
            for reader in readers:
                with contextlib.suppress(OSError):
                    reader.recv(RATE // 10, socket.MSG_DONTWAIT)

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield readers
    finally:
        over.set()
        thread.join()
        for reader in readers:
            reader.close()


def test_slow_readers_cost_little_memory_and_hold_nobody_up(server: ServerProcess) -> None:
    def cone() -> None:
        status, _, body = server.get("/tap/sync", LANG="ADQL", RESPONSEFORMAT="csv", QUERY="SELECT TOP 20 id, ra FROM big.main WHERE 1=CONTAINS(POINT(ra, dec), CIRCLE(80, 20, 1))")  # fmt: skip
        assert (status, body[:5]) == (200, b"id,ra")

    for form in FORMS:
        server.get(address("SELECT * FROM big.main", form))
    (pid,) = server.list_workers()
    for _ in range(50):
        cone()
    before = peak = anonymous(pid)
    # none of these readers has its answer before the block ends: what waited for them would not be answered at all
    with slow_readers(server, FORMS):
        for _ in range(200):
            cone()
            peak = max(peak, anonymous(pid))
    # a chunk in the making, four in the server's queue, one in its buffer: for each reader
    assert peak - before < 100


def test_the_time_limit_is_of_the_query_and_not_of_the_line(server: ServerProcess) -> None:
    """The limit is ten seconds; readers who take twelve to begin get everything."""
    asked = {"csv": "SELECT * FROM big.main", "votable": "SELECT * FROM big.main WHERE filler LIKE 'a%'"}
    with contextlib.ExitStack() as stack:
        readers = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=120)) for _ in asked
        ]
        for reader, (form, query) in zip(readers, asked.items(), strict=True):
            reader.sendall(f"GET {address(query, form)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        time.sleep(12)
        for reader in readers:
            size = 0
            last = b""
            while piece := reader.recv(1 << 20):
                size += len(piece)
                last = (last + piece)[-400:]
            assert size > 40 * ROWS
            assert last.endswith(b"\r\n0\r\n\r\n")
            assert b"ERROR" not in last
