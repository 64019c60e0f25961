"""Killed anywhere, out of disk anywhere: what is served never changes by halves, and the next ingest succeeds.

A child process counts calls and kills itself (SIGKILL) at one of them, chosen at random with a fixed seed among all the
calls of a whole ingest. The parent serves the site meanwhile.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path

import pytest

from hven import query
from hven.auth.permit import OWNER
from hven.ingest import ingest
from hven.testing.site import site_with

KILLS = 200 if os.environ.get("HVEN_PROOF") == "full" else 10  # scripts/proof runs the full one

DESCRIPTOR = """\
collection: cat
title: t
tables:
  stars:
    primary: id
    columns:
      id: {type: int32, indexed: true}
      ra: {type: float64, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, ucd: pos.eq.dec;meta.main}
      v: {type: int32}
    source: {kind: csv, files: stars.csv}
  few:
    source: {kind: query, adql: "SELECT id, v FROM cat.stars WHERE id < 10"}
"""

# one process has imported everything and forks a child for each order it reads: nothing is open before the fork
ZYGOTE = """
import json, os, pathlib, signal, sys, threading
import hven.engines.duckdb.engine, hven.sources.csv, hven.sources.query, hven.descriptor.mapping
from hven.holdings import Site
from hven.ingest import ingest
from hven.settings import Settings

def work(order):
    count, limit = [0], order["kill"]
    def hook(frame, event, argument):
        count[0] += 1
        if count[0] == limit:
            os.kill(os.getpid(), signal.SIGKILL)
    if order.get("size"):
        import resource
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["size"], order["size"]))
    with Site(Settings(directory=pathlib.Path(order["site"]), keep_snapshots=2)) as site:
        threading.setprofile(hook)
        sys.setprofile(hook)
        try:
            ingest(site, "cat")
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
    return count[0]

for line in sys.stdin:
    order = json.loads(line)
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = {"calls": work(order)}
        except BaseException as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        os.write(into, json.dumps(answer).encode())
        os._exit(0)
    os.close(into)
    text = b""
    while part := os.read(out, 65536):
        text += part
    os.close(out)
    _, status = os.waitpid(child, 0)
    answer = json.loads(text) if text else {}
    print(json.dumps({**answer, "killed": os.WIFSIGNALED(status)}), flush=True)
"""


@contextmanager
def zygote():
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(ZYGOTE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def order(**what: object) -> dict:
            process.stdin.write(json.dumps(what) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield order
        process.stdin.close()
        process.wait(timeout=60)


def data(version: int, rows: int = 400) -> str:
    lines = [f"{n},{n % 360},{n % 180 - 90},{version * 1000 + n}" for n in range(rows + version)]
    return "\n".join(["id,ra,dec,v", *lines, ""])


def served(site) -> tuple:
    site.refresh()
    answers = []
    for adql in ("SELECT COUNT(*) AS n, SUM(v) AS s, MAX(ra) AS m FROM cat.stars", "SELECT COUNT(*) AS n, SUM(v) AS s FROM cat.few"):
        with query.run(adql, OWNER, site=site) as result:
            answers.append(tuple(row for batch in result.batches() for row in batch.to_pylist()[0].values()))
    return tuple(answers)


def on_disk(site) -> set[str]:
    directory = site.settings.var / "snapshots"
    return {str(path.relative_to(directory)) for path in directory.glob("*/*")}


@pytest.fixture
def site(tmp_path):
    with site_with(tmp_path, DESCRIPTOR, {"stars.csv": data(0)}, keep_snapshots=2) as opened:
        ingest(opened, "cat")
        yield opened


def write(site, text: str) -> None:
    (Path(site.settings.collections) / "cat" / "stars.csv").write_text(text)


@pytest.mark.slow
def test_killed_anywhere_nothing_is_served_by_halves(site):
    chance = random.Random(20261120)
    with zygote() as order:
        calls = order(site=str(site.settings.directory), kill=-1)["calls"]
        assert calls > 1000
        killed = 0
        before = served(site)
        for version in range(1, KILLS + 1):
            write(site, data(version))
            n = 400 + version
            new = ((n, n * version * 1000 + n * (n - 1) // 2, 359.0), (10, 10 * version * 1000 + 45))
            answer = order(site=str(site.settings.directory), kill=chance.randrange(1, calls))
            killed += answer["killed"]
            now = served(site)
            assert now in (before, new)
            if not answer["killed"]:  # it had fewer calls this time
                assert now == new
            if chance.random() < 0.5:  # the next ingest is the next child's, or ours
                assert ingest(site, "cat").published
                assert served(site) == new
                assert on_disk(site) == site.store.known()
            before = served(site)
        assert killed >= KILLS - 2
        write(site, data(0))
        ingest(site, "cat")
        assert on_disk(site) == site.store.known()


@pytest.mark.slow
@pytest.mark.parametrize("size", [20_000, 150_000, 1_000_000])
def test_a_full_disk_is_told_and_changes_nothing(site, size):
    before = served(site)
    write(site, data(1, rows=60_000))
    with zygote() as order:
        answer = order(site=str(site.settings.directory), kill=-1, size=size)
    assert answer["killed"] is False
    assert answer["error"] == "StorageError"
    assert "full" in answer["message"] or "cannot be written" in answer["message"]
    assert served(site) == before
    write(site, data(2))
    assert ingest(site, "cat").published
    assert served(site)[0][0] == 402
    assert on_disk(site) == site.store.known()
