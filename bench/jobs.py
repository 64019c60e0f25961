"""Journeys of asynchronous jobs: a list of 100,000, and how soon an abort stops the engine; each against a trivial request of the same server."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import sqlalchemy as sa

from bench.measure import CACHE, HVEN, Journey, Server, against, ask, descendants, median, serve_site
from hven.site.store import StateStore
from hven.site.store import _database as db

JOBS = 100_000
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
STARS = 20_000
SLOW = "SELECT COUNT(*) AS n FROM stars.main AS a, stars.main AS b, stars.main AS c WHERE a.ra + b.ra * c.dec > 1"
PHASES = {"COMPLETED": 0.9, "ERROR": 0.05, "ABORTED": 0.03, "ARCHIVED": 0.01, "PENDING": 0.008, "HELD": 0.002}
# what each may cost, in trivial requests (which ask neither the store nor a thread). The longest list has 2.2 MB of XML: it is set beside the
# bare SELECT of its rows by sqlite3, for no number of trivial requests says what so many rows must cost
TARGETS = {
    "last": 10.0,
    "phase": 10.0,
    "phase.rare": 15.0,
    "after": 12.0,
    "after.phase": 12.0,
    "one": 6.0,
    "whole": 5.0,
}
ABORT = 1.0  # seconds from ABORT to a worker that does nothing


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Give the journeys whose name has `only`."""
    site = _site()
    with serve_site(site, workers=1) as server:
        if any(only in f"jobs.{name}" for name in TARGETS):
            yield from _lists(site, server, only)
        if only in "jobs.abort":
            yield _abort(server)


def _site() -> Path:
    site = CACHE / "jobs"
    if site.exists():
        shutil.rmtree(site)
    CACHE.mkdir(parents=True, exist_ok=True)
    stars = CACHE / "jobs.csv"
    stars.write_text("id,ra,dec\n" + "".join(f"{n},{n * 0.01:.4f},{n * 0.004:.4f}\n" for n in range(STARS)))
    for words in (
        ["init", site],
        ["new", "stars", "--from", stars, "--site", site],
        ["ingest", "stars", "--site", site],
    ):
        subprocess.run([HVEN, *words], check=True, capture_output=True)
    return site


def _fill(site: Path) -> None:
    """Put the jobs of one address into the store, and a tenth as many of others."""
    chance = random.Random(3)
    names, weights = list(PHASES), list(PHASES.values())
    rows = []
    for number in range(JOBS + JOBS // 10):
        created = _stamp(NOW - timedelta(seconds=JOBS + JOBS // 10 - number))
        rows.append(
            {
                "id": f"261120{number:020x}", "type": "tap", "owner": None, "groups": "[]",
                "queue": "address 127.0.0.1" if number % 11 else f"address 192.0.2.{number % 250}",
                "phase": chance.choices(names, weights)[0], "run_id": None, "parent": None, "depends_on": "[]",
                "parameters": json.dumps([["LANG", "ADQL"], ["QUERY", f"SELECT * FROM stars.main WHERE id = {number}"]]),
                "created": created, "queued": created, "started": created, "ended": created, "duration": 3600,
                "destruction": "2099-01-01T00:00:00.000000Z", "results": "[]", "error": None, "progress": "{}", "attempts": 1,
                "holder": None, "beat": 0,
            }
        )  # fmt: skip
    store = StateStore(site / "var")
    try:
        with store._database.begin_write() as connection:
            connection.execute(sa.insert(db.jobs), rows)
    finally:
        store.close()


def _stamp(when: datetime) -> str:
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _lists(site: Path, server: Server, only: str) -> Iterator[Journey]:
    _fill(site)
    after = (NOW - timedelta(seconds=100)).strftime("%Y-%m-%dT%H:%M:%SZ")
    asked = {
        "last": ("LAST=50", 50),
        "phase": ("PHASE=COMPLETED&LAST=50", 50),
        "phase.rare": ("PHASE=HELD&LAST=50", 50),
        "after": (f"AFTER={after}", 90),
        "after.phase": (f"AFTER={after}&PHASE=COMPLETED&PHASE=ERROR", 85),
        "one": ("", 1),
        "whole": ("LAST=10000", 10_000),
    }
    connection = server.connect()
    trivial = median(lambda: ask(connection, "/tap/availability"), 200, warm=20)
    some = json.loads(_get(connection, "/tap/async?LAST=1"))["jobs"][0]["id"]
    for name, (query, count) in asked.items():
        if only not in f"jobs.{name}":
            continue
        path = f"/tap/async/{some}" if name == "one" else f"/tap/async?{query}"
        status, body = ask(connection, path)
        found = body.count(b"<jobref ") if name != "one" else body.count(b"<jobId>")
        if status != 200 or not 0.8 * count <= found <= 1.2 * count:
            raise RuntimeError(f"{path}: status {status}, {found} jobs")
        seconds = median(lambda path=path: ask(connection, path), 3 if name == "whole" else 40)  # type: ignore[misc]
        note = f"{found:,} of {JOBS:,} jobs; {len(body):,} bytes"
        beside = _measure_select(site) if name == "whole" else trivial
        yield against(f"jobs.{name}", seconds * 1000, beside * 1000, TARGETS[name], unit="ms", note=note)


def _measure_select(site: Path) -> float:
    """Measure how long sqlite3 takes for the rows of the whole list."""
    text = (
        "SELECT id, phase, created, owner, run_id FROM jobs WHERE queue = 'address 127.0.0.1' AND type = 'tap' AND phase NOT IN ('ARCHIVED') "
        "ORDER BY created DESC, id LIMIT 10000"
    )
    with closing(sqlite3.connect(site / "var" / "hven.sqlite")) as connection:
        return median(lambda: connection.execute(text).fetchall(), 5)


def _get(connection: object, path: str) -> bytes:
    connection.request("GET", path, headers={"Accept": "application/json"})  # type: ignore[attr-defined]
    return bytes(connection.getresponse().read())  # type: ignore[attr-defined]


def _abort(server: Server) -> Journey:
    """Measure from ABORT until the worker uses no processor any more; the longest of five."""
    connection = server.connect()
    found = []
    for _ in range(5):
        connection.request("POST", "/tap/async", urlencode({"LANG": "ADQL", "QUERY": SLOW, "PHASE": "RUN"}), _FORM)
        answer = connection.getresponse()
        answer.read()
        path = answer.headers["location"].partition("/tap/")[2]
        while ask(connection, f"/tap/{path}/phase")[1] != b"EXECUTING":
            time.sleep(0.02)
        (worker,) = [pid for pid in descendants(server.process.pid) if _comm(pid) == "hven-job"]
        before = _ticks(worker)
        while _ticks(worker) < before + 50:  # it computes: half a second of processor time
            time.sleep(0.02)
        connection.request("POST", f"/tap/{path}/phase", "PHASE=ABORT", _FORM)
        begun = time.perf_counter()
        connection.getresponse().read()
        found.append(_idle(worker) - begun)
        connection.request("DELETE", f"/tap/{path}")
        connection.getresponse().read()
    return against(
        "jobs.abort",
        max(found),
        ABORT,
        1.0,
        unit="s",
        note=f"the longest of {len(found)}; median {sorted(found)[2]:.2f} s",
    )


QUIET = 0.3  # seconds with no more than two ticks of the processor: the query has ended
_FORM = {"content-type": "application/x-www-form-urlencoded"}


def _idle(pid: int) -> float:
    """Wait until a process does nothing; give the moment at which that began."""
    end = time.perf_counter() + 30
    quiet, before = time.perf_counter(), _ticks(pid)
    while time.perf_counter() - quiet < QUIET:
        time.sleep(0.01)
        now = _ticks(pid)
        if now > before + 2:
            quiet, before = time.perf_counter(), now
        if time.perf_counter() > end:
            raise RuntimeError("the query does not end")
    return quiet


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
