"""``product_size`` of http addresses: the servers are asked, once for each address; what gives no size is counted."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pytest

from hven import query
from hven.ingest import _remote_sizes as sizes
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files

TEXT = """\
collection: files
title: t
tables:
  main:
    source: {kind: csv, files: a.csv}
    primary: id
    columns: {id: {type: int32, required: true}, kbytes: {type: float64, unit: kbyte}}
    map: {kbytes: product_size(name)}
    sync: {}
"""


class Server(BaseHTTPRequestHandler):
    """Says sizes, sends elsewhere, or has nothing."""

    def do_HEAD(self) -> None:
        self.server.asked[self.path] += 1  # type: ignore[attr-defined]
        status = {"/gone": 404, "/moved": 301}.get(self.path, 200)
        self.send_response(status)
        if status == 301:
            self.send_header("Location", "/b2048")
        if self.path.startswith("/b"):
            self.send_header("Content-Length", self.path[2:])
        if self.path.startswith("/bz"):
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server():
    running = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    running.asked = Counter()
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield running, f"http://127.0.0.1:{running.server_port}"
    running.shutdown()
    thread.join()
    running.server_close()


def test_sizes_are_asked_once_and_failures_counted(server, tmp_path):
    running, base = server
    names = ["/b1000", "/b1000", "/moved", "/gone", "/silent", "/b7"]
    lines = (
        "".join(f"{number},{base}{name}\n" for number, name in enumerate(names, 1))
        + f"7,beside.dat\n8,\n9,{base}/gone\n"
    )
    with open_site_with_uningested_files(
        tmp_path, TEXT, {"a.csv": "id,name\n" + lines, "beside.dat": "x" * 500}, allow_private=True
    ) as site:
        report = ingest_collection(site, "files").tables["files.main"]

        def rows():
            with query.run_query("SELECT id, kbytes FROM files.main ORDER BY id", OWNER_PRINCIPAL, site=site) as result:
                return [tuple(row.values()) for batch in result.iterate_batches() for row in batch.to_pylist()]

        wanted = [(1, 1.0), (2, 1.0), (3, 2.048), (4, None), (5, None), (6, 0.007), (7, 0.5), (8, None), (9, None)]
        assert rows() == wanted
        host = base.removeprefix("http://")
        told = {
            rule: (found.count, found.offenders[0].value)
            for rule, found in report.findings.items()
            if rule.startswith("product_size")
        }
        assert told == {
            f"product_size: {host} returned status 404": (1, f"{base}/gone"),
            f"product_size: {host} did not state a size": (1, f"{base}/silent"),
        }
        assert report.findings["kbytes: empty"].count == 3
        assert max(running.asked.values()) == 1
        before = running.asked.total()
        (tmp_path / "collections" / "files" / "a.csv").write_text("id,name\n" + lines + f"10,{base}/b9\n")
        sync_collection(site, "files")
        assert rows()[-1] == (10, pytest.approx(0.009))
        assert running.asked.total() == before + 1  # known rows are not asked for again


def test_addresses_are_checked(server, tmp_path):
    running, base = server
    asked = sizes.RemoteProductSizeReader()
    assert asked(pa.array([f"{base}/b1", None, "x/y.fits", "ftp://x/y"])).to_pylist() == [None] * 4
    assert [count for _, count, _ in asked.iterate_failures()] == [1]
    assert "not on the public internet" in next(asked.iterate_failures())[0]
    assert not running.asked


def test_a_host_that_is_away_is_left_in_peace(monkeypatch):
    monkeypatch.setattr(sizes, "MAX_HOST_FAILURES", 3)
    monkeypatch.setattr(sizes, "MAX_CONCURRENT_REQUESTS", 1)
    asked = sizes.RemoteProductSizeReader(allow_private=True)
    with socket.socket() as held:  # nobody listens here, and nobody else gets the port meanwhile
        held.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{held.getsockname()[1]}"
        assert asked(pa.array([f"{base}/b{number}" for number in range(10)])).null_count == 10
    assert [(why.split(" ", 1)[1], count) for why, count, _ in asked.iterate_failures()] == [
        ("failed too often, so Hven sent it no more requests", 7),
        ("does not respond", 3),
    ]
