"""Killed anywhere, out of disk anywhere: what is served never changes by halves, and the next ingest succeeds.

A child process counts calls and kills itself (SIGKILL) at one of them, chosen at random with a fixed seed among all the
calls of a whole ingest. The parent serves the site meanwhile.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path

import pytest

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import Settings
from hven.site import Site
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import load_core_fixtures
from shared import ROOT

FULL = os.environ.get("HVEN_PROOF") == "full"  # scripts/proof runs the full one: a thousand kills
BACKUPS = load_core_fixtures("BACKUPS")  # empty if the package is absent
KILLS = {
    verb: count if FULL else count // 100
    for verb, count in {"ingest": 400, "sync": 200, "rollback": 100, "backup": 100, "restore": 100, "gc": 100}.items()
    if BACKUPS or verb not in {"backup", "restore"}
}

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
from hven.ingest import _disk_space
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.model.settings import Settings
from hven.site import Site
from hven.site.user_tables import delete_expired_user_tables

sys.path.append(sys.argv[1])
from plugin_needs import load_core_fixtures

BACKUPS = load_core_fixtures("BACKUPS")
VERBS = {
    "ingest": lambda site, order: ingest_collection(site, "cat"),
    "sync": lambda site, order: sync_collection(site, "cat", accept_changes=True),
    "rollback": lambda site, order: site.store.roll_back("cat"),
    "backup": lambda site, order: BACKUPS["write"](site, pathlib.Path(order["archive"])),
    "restore": lambda site, order: BACKUPS["restore"](pathlib.Path(order["archive"]), pathlib.Path(order["place"])),
    "gc": lambda site, order: (delete_expired_user_tables(site), _disk_space.delete_ingest_leftovers(site)),
}

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
            VERBS[order["verb"]](site, order)
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
        [sys.executable, "-c", textwrap.dedent(ZYGOTE), str(ROOT / "tests")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
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


def query_published_state(site) -> tuple:
    site.refresh_published_state()
    answers = []
    for adql in (
        "SELECT COUNT(*) AS n, SUM(v) AS s, MAX(ra) AS m FROM cat.stars",
        "SELECT COUNT(*) AS n, SUM(v) AS s FROM cat.few",
    ):
        with query.run_query(adql, OWNER_PRINCIPAL, site=site) as result:
            answers.append(tuple(row for batch in result.iterate_batches() for row in batch.to_pylist()[0].values()))
    return tuple(answers)


def list_snapshot_files(site) -> set[str]:
    directory = site.settings.var_directory / "snapshots"
    return {str(path.relative_to(directory)) for path in directory.glob("*/*")}


@pytest.fixture
def site(tmp_path):
    with open_site_with_uningested_files(tmp_path, DESCRIPTOR, {"stars.csv": data(0)}, keep_snapshots=2) as opened:
        ingest_collection(opened, "cat")
        yield opened


def write(site, text: str) -> None:
    (Path(site.settings.collections_directory) / "cat" / "stars.csv").write_text(text)


@pytest.mark.slow
def test_killed_anywhere_nothing_is_served_by_halves(site, tmp_path):
    chance = random.Random(20261120)
    (tmp_path / "hven.toml").write_text('name = "crashes"\n')
    if BACKUPS:
        BACKUPS["write"](site, tmp_path / "whole.hven")
    archived = query_published_state(site)
    states = {archived}  # all that were ever whole
    deaths = [verb for verb, count in KILLS.items() for _ in range(count)]
    chance.shuffle(deaths)
    versions = itertools.count(1)

    def begun(verb: str, kill: int) -> tuple[tuple, dict, Path]:
        """Let a child do it with rows of a new version: gives what an ingest of them serves, how it ended, and what it was to make."""
        version = next(versions)
        write(site, data(version))
        n = 400 + version
        target = tmp_path / f"{verb}-{version}"
        archive = tmp_path / "whole.hven" if verb == "restore" else target
        answer = order(site=str(site.settings.directory), verb=verb, archive=str(archive), place=str(target), kill=kill)
        return ((n, n * version * 1000 + n * (n - 1) // 2, 359.0), (10, 10 * version * 1000 + 45)), answer, target

    with zygote() as order:
        answers = {verb: begun(verb, -1)[1] for verb in KILLS}
        assert all("calls" in answer for answer in answers.values()), answers
        calls = {verb: answer["calls"] for verb, answer in answers.items()}
        assert calls["ingest"] > 1000
        killed = 0
        states.add(before := query_published_state(site))
        for verb in deaths:
            new, answer, target = begun(verb, chance.randrange(1, calls[verb]))
            killed += answer["killed"]
            now = query_published_state(site)
            if verb in {"ingest", "sync"}:
                assert now in (before, new)
                if not answer["killed"]:  # it had fewer calls this time
                    assert now == new
            else:
                assert now == before or (verb == "rollback" and now in states)
            if verb == "backup" and target.exists():  # it is there when it is whole
                BACKUPS["verify"](target)
            if verb == "restore" and (target / "hven.toml").exists():  # with its settings it is a site
                with Site(Settings(directory=target)) as restored:
                    assert query_published_state(restored) == archived
            if chance.random() < 0.5:  # the next ingest is the next child's, or ours
                assert ingest_collection(site, "cat").published
                assert query_published_state(site) == new
                assert list_snapshot_files(site) == site.store.list_kept_snapshot_paths()
            shutil.rmtree(target, ignore_errors=True)
            states.add(before := query_published_state(site))
        assert killed >= len(deaths) * 49 // 50 - 2
        write(site, data(0))
        ingest_collection(site, "cat")
        assert list_snapshot_files(site) == site.store.list_kept_snapshot_paths()


@pytest.mark.slow
@pytest.mark.parametrize("size", [20_000, 150_000, 1_000_000])
def test_a_full_disk_is_told_and_changes_nothing(site, size):
    before = query_published_state(site)
    write(site, data(1, rows=60_000))
    with zygote() as order:
        answer = order(verb="ingest", site=str(site.settings.directory), kill=-1, size=size)
    assert answer["killed"] is False
    assert answer["error"] == "StorageError"
    assert "full" in answer["message"] or "cannot be written" in answer["message"]
    assert query_published_state(site) == before
    write(site, data(2))
    assert ingest_collection(site, "cat").published
    assert query_published_state(site)[0][0] == 402
    assert list_snapshot_files(site) == site.store.list_kept_snapshot_paths()
