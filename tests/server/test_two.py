"""Two servers on one site share it: its rows, its jobs and its schedule; each sees what the other did, and goes on alone."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from server_process import ServerProcess, run_hven, serve_site

from hven.testing.site import open_site_with_uningested_files
from process_runner import wait_until

pytestmark = pytest.mark.slow

DESCRIPTOR = """\
collection: cat
title: t
tables:
  stars:
    primary: id
    columns: {id: {type: int32}, v: {type: int32}}
    source: {kind: csv, files: stars.csv}
sync: {every: 1 s}
"""
BOTH = "SELECT COUNT(*) AS n, MAX(v) AS hi FROM cat.stars"


def csv(version: int) -> str:
    return "id,v\n" + "".join(f"{number},{version if number < 3 else 0}\n" for number in range(50))


def replace_stars(path: Path, version: int) -> None:
    """Replace the file in one step: the schedule may read it at any time."""
    new_file = path.with_suffix(".new")
    new_file.write_text(csv(version))
    new_file.replace(path)


def phases(server: ServerProcess) -> Counter[str]:
    status, _, body = server.get("/tap/async", LAST=1000)
    assert status == 200
    return Counter(part.partition(b"<")[0].decode() for part in body.split(b"<phase>")[1:])


def begin(server: ServerProcess) -> None:
    status, _, body = server.post("/tap/async", LANG="ADQL", QUERY=BOTH, RESPONSEFORMAT="csv", PHASE="RUN")
    assert status == 303, body


def test_two_servers_share_a_site(tmp_path: Path) -> None:
    site = tmp_path / "site"
    run_hven("init", site)
    stars = site / "collections" / "cat" / "stars.csv"
    with open_site_with_uningested_files(site, DESCRIPTOR, {"stars.csv": csv(0)}):
        pass
    run_hven("ingest", "cat", "--site", site)
    with serve_site(site, workers=1, log="one.log") as one:
        with serve_site(site, workers=1, log="two.log") as two:
            assert "also serves this site; both processes share its data, jobs and schedule" in two.log.read_text()
            for number in range(12):
                begin((one, two)[number % 2])
            for server in (one, two):
                wait_until(lambda server=server: phases(server) == Counter(COMPLETED=12), 120)  # type: ignore[misc]
            with closing(sqlite3.connect(site / "var" / "hven.sqlite")) as store:
                assert store.execute("SELECT DISTINCT attempts FROM jobs").fetchall() == [(1,)], "each ran once"
            for version in (1, 3):
                replace_stars(stars, version)
                for server in (one, two):  # by the one schedule that both have
                    wait_until(lambda server=server, version=version: server.ask(BOTH) == [[50, version]], 120)  # type: ignore[misc]
            with closing(sqlite3.connect(site / "var" / "hven.sqlite")) as store:
                assert store.execute("SELECT DISTINCT phase FROM runs WHERE ended IS NOT NULL").fetchall() == [
                    ("COMPLETED",)
                ]
            for pid in two.list_workers():
                os.kill(pid, signal.SIGKILL)
            assert one.ask(BOTH) == [[50, 3]]
        replace_stars(stars, 9)
        wait_until(lambda: one.ask(BOTH) == [[50, 9]], 180)
        begin(one)
        wait_until(lambda: phases(one) == Counter(COMPLETED=13), 120)
        assert one.get("/metrics")[0] == 200
