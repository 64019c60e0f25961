"""Jobs at full size, in real processes: an answer of 10^8 rows in flat memory, a thousand jobs at once, a disk that is full.

Without HVEN_PROOF=full the same at a size that takes seconds.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from process_runner import HVEN_COMMAND, Server, run_hven, serve_site, wait_until
from requirements import report_missing, require, require_program
from star_descriptors import write_stars_descriptor

pytestmark = pytest.mark.slow

FULL = os.environ.get("HVEN_PROOF") == "full"
SIDE = 10_000 if FULL else 1_500  # rows of a table that is joined with itself
JOBS = 1_000 if FULL else 60
WAITING = 10_000 if FULL else 60
MEMORY = 500 * 1024  # kB: what a worker may need, whatever the answer
GROWTH = 48 * 1024  # kB that the second half may need more than the first
ALL = "SELECT a.id AS a, b.id AS b, SIN(a.ra * 1000 + b.dec) AS x FROM stars.main AS a, stars.main AS b"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return site_in(tmp_path_factory.mktemp("big", numbered=True))


def site_in(place: Path, rows: int = SIDE) -> Path:
    """Make a site with a table, whose jobs may have as many rows as they like."""
    (place / "stars.csv").write_text(
        "id,ra,dec\n" + "".join(f"{n},{n * 0.01:.4f},{n * 0.004:.4f}\n" for n in range(rows))
    )
    site = place / "site"
    run_hven("init", site)
    (site / "hven.toml").write_text(
        f"job_workers = 2\n{(site / 'hven.toml').read_text()}\n[jobs]\nmaxrec_default = 1_000_000_000\nmaxrec_hard = 1_000_000_000\n"
    )
    write_stars_descriptor(site, place / "stars.csv")
    run_hven("ingest", "stars", "--site", site)
    return site


@pytest.fixture(scope="module")
def server(site: Path) -> Iterator[Server]:
    with serve_site(site, workers=2, command=HVEN_COMMAND) as made:
        yield made


def start_query_job(server: Server, query: str, form: str = "csv") -> str:
    status, headers, body = server.post("/tap/async", LANG="ADQL", QUERY=query, PHASE="RUN", RESPONSEFORMAT=form)
    assert status == 303, body
    return headers["location"].removeprefix(server.url)


def fetch_job(server: Server, path: str) -> dict[str, object]:
    return dict(json.loads(server.send("GET", path, headers={"Accept": "application/json"})[2]))


def workers() -> Iterator[int]:
    """Give the processes that run jobs below this one."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (entry / "comm").exists():
            try:
                if (entry / "comm").read_text().strip() == "hven-job" and _mine(int(entry.name)):
                    yield int(entry.name)
            except OSError:
                continue


def _mine(pid: int) -> bool:
    while pid > 1:
        if pid == os.getpid():
            return True
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return False


def memory(pid: int) -> int:
    """Give the anonymous memory of a process, kB; of one that is gone, none."""
    try:
        found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0


@contextlib.contextmanager
def watch_job(place: Path) -> Iterator[list[tuple[int, int]]]:
    """Look again and again at what a job has written and at the memory of those who run jobs: bytes, kB."""
    seen: list[tuple[int, int]] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.2 if FULL else 0.02):
            with contextlib.suppress(OSError):
                size = sum(one.stat().st_size for one in place.glob("*"))
                seen.extend((size, memory(pid)) for pid in workers())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        over.set()
        looking.join()


def lines(server: Server, path: str) -> tuple[int, bytes, int]:
    """Count the lines of a result as it comes; give the last one too, and the bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    count = size = 0
    last = b""
    while part := answer.read(1 << 20):
        count += part.count(b"\n")
        size += len(part)
        last = (last + part)[-200:]
    connection.close()
    assert size == int(answer.headers["content-length"])
    return count, last.split()[-1], size


def test_a_big_answer_needs_disk_and_no_memory(server: Server, site: Path, record_property: object) -> None:
    for _ in range(10):
        path = start_query_job(server, ALL)
        begun = time.monotonic()
        with watch_job(site / "var/jobs" / path.rpartition("/")[2]) as seen:
            wait_until(lambda path=path: fetch_job(server, path)["phase"] not in {"QUEUED", "EXECUTING"}, 1800)  # type: ignore[misc]
        job = fetch_job(server, path)
        assert job["phase"] == "COMPLETED", job["errorSummary"]
        seconds = time.monotonic() - begun
        total = SIDE * SIDE
        assert job["jobInfo"]["rows"] == total  # type: ignore[index]
        count, _, size = lines(server, f"{path}/results/result")
        assert count == total + 1
        server.send("DELETE", path)
        wait_until(lambda: not list((site / "var/jobs").glob("*/result-*")))
        first = [kb for written, kb in seen if 0 < written < size / 2]
        second = [kb for written, kb in seen if size / 2 <= written]
        assert max(first + second, default=0) < MEMORY
        if len(first) > 4 < len(second):
            break
        # on a busy machine half of a job's life went unseen: once more, in another process
        wait_until(lambda: not list(workers()), 300)
    print(
        f"\n{total:,} rows, {size:,} bytes in {seconds:.0f} s; worker's anonymous memory {max(first)} kB, then {max(second)} kB; looks: {len(seen)}"
    )
    assert max(second) < max(first) + GROWTH


def test_many_jobs_at_once_are_all_done_once(server: Server, site: Path) -> None:
    def start_job(number: int) -> tuple[int, str]:
        return number, start_query_job(server, f"SELECT COUNT(*) + {number} AS n FROM stars.main")

    slowest = [0.0]
    over = threading.Event()

    def list_them() -> None:
        while not over.is_set():
            begun = time.monotonic()
            assert server.get("/tap/async", LAST=50)[0] == 200
            slowest[0] = max(slowest[0], time.monotonic() - begun)
            time.sleep(0.05)

    watching = threading.Thread(target=list_them)
    watching.start()
    begun = time.monotonic()
    try:
        with ThreadPoolExecutor(16) as pool:
            paths = dict(pool.map(start_job, range(JOBS)))
        made = time.monotonic() - begun

        def are_all_completed() -> bool:
            listed = json.loads(server.send("GET", "/tap/async", headers={"Accept": "application/json"})[2])["jobs"]
            return sum(job["phase"] == "COMPLETED" for job in listed) == JOBS

        wait_until(are_all_completed, 600)
    finally:
        over.set()
        watching.join()
    print(
        f"\n{JOBS} jobs made in {made:.1f} s, done after {time.monotonic() - begun:.1f} s; the slowest list of 50: {slowest[0] * 1000:.0f} ms"
    )
    for number, path in paths.items():
        assert server.get(f"{path}/results/result")[2].split() == [b"n", str(SIDE + number).encode()]
        assert fetch_job(server, path)["jobInfo"]["attempts"] == 1  # type: ignore[index]
    assert len(list((site / "var/jobs").glob("*/result-1.csv"))) == JOBS


def test_a_long_queue_is_listed_in_pages_and_can_be_deleted(server: Server, site: Path) -> None:
    """Jobs that wait while others run: half are deleted meanwhile, the other half end once and stay as they ended."""
    _, headers, _ = server.post(
        "/tap/async", LANG="ADQL", QUERY="SELECT COUNT(*) AS n FROM stars.main", RESPONSEFORMAT="csv"
    )
    one = headers["location"].rpartition("/")[2]
    with contextlib.closing(sqlite3.connect(site / "var/hven.sqlite", timeout=60)) as store, store:
        names = [row[1] for row in store.execute("PRAGMA table_info(jobs)")]
        given = ", ".join(
            {"id": f"printf('{one[:6]}q%06d', value)", "phase": "'QUEUED'", "queued": "created"}.get(name, name)
            for name in names
        )
        numbers = f"WITH RECURSIVE n(value) AS (SELECT 0 UNION ALL SELECT value + 1 FROM n WHERE value < {WAITING - 1})"
        store.execute(f"{numbers} INSERT INTO jobs ({', '.join(names)}) SELECT {given} FROM jobs, n WHERE id = '{one}'")
        store.execute("UPDATE meta SET value = value + 1 WHERE key = 'jobs'")
    waiting = [f"{one[:6]}q{number:06d}" for number in range(WAITING)]
    server.send("DELETE", f"/tap/async/{one}")

    def pages(path: str) -> Iterator[tuple[dict[str, str], int, float]]:
        while path:
            begun = time.monotonic()
            status, _, body = server.send("GET", path, headers={"Accept": "application/json"})
            assert status == 200, body
            seconds, said = time.monotonic() - begun, json.loads(body)
            yield {job["id"]: job["phase"] for job in said["jobs"]}, len(body), seconds
            path = said.get("next", "").removeprefix(server.url)

    begun = time.monotonic()
    for name in waiting[WAITING // 2 :]:
        assert server.send("DELETE", f"/tap/async/{name}")[0] == 303
    deleted = time.monotonic() - begun
    looks = list(pages("/tap/async"))
    begun = time.monotonic()

    def has_ended() -> bool:
        return next(pages("/tap/async?PHASE=QUEUED&PHASE=EXECUTING"))[0] == {}

    wait_until(has_ended, 3600)
    print(
        f"\n{WAITING:,} jobs wait; half deleted in {deleted:.0f} s; the rest listed in {len(looks)} pages, {max(one[1] for one in looks):,} bytes and "
        f"{1000 * max(one[2] for one in looks):.0f} ms the largest; all ended {time.monotonic() - begun:.0f} s later"
    )
    found: dict[str, str] = {}
    for page, size, _ in pages("/tap/async"):
        assert size < 300_000
        assert not found.keys() & page.keys()
        found |= page
    assert {name: phase for name, phase in found.items() if name in set(waiting)} == dict.fromkeys(
        waiting[: WAITING // 2], "COMPLETED"
    )
    assert all(
        fetch_job(server, f"/tap/async/{name}")["jobInfo"]["attempts"] == 1 for name in waiting[: WAITING // 2 : 100]
    )  # type: ignore[index]


def test_a_result_that_does_not_fit_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    """No file may be longer than 30 MB (counts of limits are 25 MB of memory): what writes meets the same end as on a full disk."""
    site = site_in(tmp_path, 3_000)
    with serve_site(site, command=[require_program("prlimit"), "--fsize=30000000", *HVEN_COMMAND]) as server:
        for form in ("csv", "votable", "fits", "parquet", "json"):
            path = start_query_job(
                server, ALL.replace("stars.main AS a", "(SELECT TOP 3000 * FROM stars.main) AS a"), form
            )
            wait_until(lambda path=path: fetch_job(server, path)["phase"] not in {"QUEUED", "EXECUTING"}, 300)  # type: ignore[misc]
            error = fetch_job(server, path)["errorSummary"]
            assert error is not None, form
            assert error["type"] == "transient", form  # type: ignore[index]
            assert "cannot be written: file too large" in error["message"], form  # type: ignore[index]
            assert not list((site / "var/jobs" / path.rpartition("/")[2]).glob("*")), form
        small = start_query_job(server, "SELECT COUNT(*) AS n FROM stars.main")
        wait_until(lambda: fetch_job(server, small)["phase"] == "COMPLETED")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a disk of 40 MB, where whoever runs the tests may mount one."""
    require("mount")
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        report_missing("mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_disk_that_is_full_loses_no_job(small_disk: Path) -> None:
    """The result meets the end of the disk; then the store does too, which is on the same one."""
    site = site_in(small_disk, 1_500)
    with serve_site(site) as server:
        path = start_query_job(server, ALL)
        wait_until(lambda: fetch_job(server, path)["phase"] == "ERROR", 300)
        assert "no space left on device" in fetch_job(server, path)["errorSummary"]["message"]  # type: ignore[index]
        assert not list((site / "var/jobs").glob("*/result-*"))
        filler = small_disk / "filler"
        waiting = [start_query_job(server, f"SELECT COUNT(*) + {number} AS n FROM stars.main") for number in range(3)]
        refusals: list[bytes] = []

        def fill_disk_and_ask() -> bool:
            """Fill the disk, and ask for a job: what those who run jobs remove at that moment makes room for it."""
            with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
                while True:
                    file.write(b"0" * 100_000)
            status, headers, body = server.post("/tap/async", LANG="ADQL", QUERY="SELECT 1 AS one", PHASE="RUN")
            if status < 500:
                waiting.append(headers["location"].removeprefix(server.url))
                return False
            refusals.append(body)
            return True

        wait_until(fill_disk_and_ask)
        assert b"full" in refusals[0]
        assert b"Traceback" not in refusals[0]
        filler.unlink()
        for one in waiting:
            wait_until(lambda one=one: fetch_job(server, one)["phase"] not in {"QUEUED", "EXECUTING"}, 300)  # type: ignore[misc]
        again = start_query_job(server, "SELECT COUNT(*) AS n FROM stars.main")
        wait_until(lambda: fetch_job(server, again)["phase"] == "COMPLETED")
        made = {path, *waiting, again}
        assert len(
            json.loads(server.send("GET", "/tap/async", headers={"Accept": "application/json"})[2])["jobs"]
        ) == len(made)
