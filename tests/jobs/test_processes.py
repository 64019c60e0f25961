"""Workers, keepers and servers that are killed: a job is never lost, never stuck, never run twice to its end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hven.site.store import JobRecord, StateStore
from process_runner import HVEN_COMMAND, Server, run_hven, serve_site, wait_until
from star_descriptors import write_stars_descriptor

pytestmark = pytest.mark.slow

STARS = "".join(f"{number},{number * 0.01:.4f},{number * 0.004:.4f}\n" for number in range(20_000))
SLOW = "SELECT COUNT(*) AS n FROM stars.main AS a, stars.main AS b, stars.main AS c WHERE a.ra + b.ra * c.dec > 1"
# some seconds of work, as many as is wanted, and then an answer
LONG = (
    "SELECT COUNT(*) AS n FROM stars.main AS a, stars.main AS b, stars.main AS c "
    "WHERE a.id < {} AND c.id < {} AND SIN(a.ra) * COS(b.dec) + SIN(b.ra) * COS(a.dec) + c.ra > 0.5"
)
QUICK = "SELECT COUNT(*) AS n FROM stars.main"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "stars.csv").write_text(f"id,ra,dec\n{STARS}")
    site = tmp_path / "site"
    run_hven("init", site)
    write_stars_descriptor(site, tmp_path / "stars.csv")
    run_hven("ingest", "stars", "--site", site)
    return site


def start_query_job(server: Server, query: str) -> str:
    status, headers, _ = server.post("/tap/async", LANG="ADQL", QUERY=query, PHASE="RUN", RESPONSEFORMAT="csv")
    assert status == 303
    return headers["location"].removeprefix(server.url)


def fetch_job(server: Server, path: str, wait: int = 0) -> dict[str, object]:
    status, _, body = server.send("GET", f"{path}?WAIT={wait}", headers={"Accept": "application/json"})
    assert status == 200
    return dict(json.loads(body))


def phase(server: Server, path: str) -> str:
    return server.get(f"{path}/phase")[2].decode()


def children(pid: int) -> dict[int, str]:
    """Give the processes below one, with their names; not those that have died and wait for their burial."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if int(parent) == pid and state != "Z":
                    found[int(entry.name)] = (entry / "comm").read_text().strip()
    return found


def child_of(pid: int, name: str) -> int:
    """Give the child of that name, as soon as it is there."""
    found: list[int] = []
    wait_until(lambda: found.extend(child for child, its in children(pid).items() if its == name) or found)
    return found[0]


def keeper_of(server: Server) -> int:
    return child_of(server.process.pid, "hven-jobs")


def worker_of(server: Server) -> int:
    return child_of(keeper_of(server), "hven-job")


@pytest.fixture
def server(site: Path) -> Iterator[Server]:
    with serve_site(site) as made:
        yield made


def test_nothing_runs_before_the_first_job_and_the_worker_is_replaced_when_it_dies(server: Server) -> None:
    assert children(keeper_of(server)) == {}
    path = start_query_job(server, SLOW)
    wait_until(lambda: phase(server, path) == "EXECUTING")
    first = worker_of(server)
    os.kill(first, signal.SIGKILL)
    # the phase is EXECUTING all the time: until its death is seen the job is the dead worker's
    wait_until(lambda: fetch_job(server, path)["jobInfo"].get("attempts") == 2)  # type: ignore[attr-defined]
    second = worker_of(server)
    assert second != first
    os.kill(second, signal.SIGKILL)
    wait_until(lambda: phase(server, path) == "ERROR")
    assert "died 2 times" in server.get(f"{path}/error")[2].decode()
    after = start_query_job(server, QUICK)
    wait_until(lambda: fetch_job(server, after, 20)["phase"] in {"COMPLETED", "EXECUTING"})
    wait_until(lambda: server.get(f"{after}/results/result")[2].split() == [b"n", b"20000"])


def has_ended(pid: int) -> bool:
    """Say whether a process has ended; one that waits for its burial has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_killed_keeper_is_replaced_and_its_worker_goes(server: Server) -> None:
    path = start_query_job(server, SLOW)
    wait_until(lambda: phase(server, path) == "EXECUTING")
    keeper, worker = keeper_of(server), worker_of(server)
    os.kill(keeper, signal.SIGKILL)
    wait_until(lambda: has_ended(worker))
    wait_until(lambda: "hven-jobs" in children(server.process.pid).values() and keeper_of(server) != keeper)
    wait_until(lambda: phase(server, path) == "EXECUTING" and worker_of(server) != worker)
    assert fetch_job(server, path)["jobInfo"]["attempts"] == 1  # it was put back, and nobody died of it
    server.post(f"{path}/phase", PHASE="ABORT")
    quick = start_query_job(server, QUICK)
    wait_until(lambda: phase(server, quick) == "COMPLETED")


def test_a_worker_whose_server_and_keeper_were_killed_puts_its_job_back_and_ends(site: Path) -> None:
    with serve_site(site) as server:
        path = start_query_job(server, SLOW)
        wait_until(lambda: phase(server, path) == "EXECUTING")
        keeper, worker = keeper_of(server), worker_of(server)
        others = list(children(server.process.pid))
        for pid in (server.process.pid, keeper, *others):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        server.process.wait(60)
        wait_until(lambda: has_ended(worker))
    job = read_stored_job(site, path)
    assert (job.phase, job.attempts, job.holder) == ("QUEUED", 0, None)
    assert not list((site / "var/jobs").glob("*/result-*"))


def ticks(pid: int) -> int:
    """Give the processor time that a process has used, in hundredths of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def is_idle(pid: int) -> bool:
    """Say whether a process does nothing for a third of a second."""
    before = ticks(pid)
    time.sleep(0.3)
    return ticks(pid) <= before + 2


@pytest.mark.parametrize("way", ["abort", "delete", "time"])
def test_the_engine_stops_computing(server: Server, way: str) -> None:
    path = start_query_job(server, SLOW)
    wait_until(lambda: phase(server, path) == "EXECUTING")
    worker = worker_of(server)
    begun = ticks(worker)
    wait_until(lambda: ticks(worker) > begun + 50)  # it computes
    if way == "abort":
        server.post(f"{path}/phase", PHASE="ABORT")
    elif way == "delete":
        server.send("DELETE", path)
    else:
        server.post(f"{path}/executionduration", EXECUTIONDURATION=1)
    if way == "delete":
        assert server.get(path)[0] == 404
    else:
        wait_until(lambda: phase(server, path) == "ABORTED")
    wait_until(lambda: is_idle(worker))  # python -m bench jobs says how soon
    assert worker_of(server) == worker  # the query ended, not its process
    quick = start_query_job(server, QUICK)
    wait_until(lambda: phase(server, quick) == "COMPLETED")


def kill_server(server: Server) -> None:
    """Kill a server and all below it as a power cut does: nobody sees another one die, and puts in order what it left."""
    every: list[int] = []
    for pid in (keeper_of(server), server.process.pid):  # stopped: from now on they have no more children
        every += [pid, *stop_process(pid)]
    every = list(dict.fromkeys(every))
    for pid in every:
        stop_process(pid)
    for pid in every:
        os.kill(pid, signal.SIGKILL)
    server.process.wait(60)
    wait_until(lambda: all(has_ended(pid) for pid in every))


def stop_process(pid: int) -> list[int]:
    """Stop a process, and give its children."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "TZ")
    return list(children(pid))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_jobs_survive_the_server(site: Path, how: signal.Signals) -> None:
    for rows in ((1_500, 1), (6_000, 1), (6_000, 10), (6_000, 100)):
        with serve_site(site) as server:
            path = start_query_job(server, LONG.format(*rows))
            waiting = [start_query_job(server, QUICK) for _ in range(3)]
            pending = server.post("/tap/async", LANG="ADQL", QUERY=QUICK)[1]["location"].removeprefix(server.url)
            wait_until(lambda path=path: phase(server, path) in {"EXECUTING", "COMPLETED"})  # on a quick machine
            if how == signal.SIGKILL:
                kill_server(server)
            else:
                below = [*children(server.process.pid), *children(keeper_of(server))]
                server.process.terminate()
                assert server.process.wait(60) == 0
                wait_until(lambda below=below: all(has_ended(pid) for pid in below))  # type: ignore[misc]
        if read_stored_job(site, path).phase != "COMPLETED":
            break  # else this machine is quicker than we are: with more to do it is still at it
    assert (read_stored_job(site, path).phase, read_stored_job(site, path).attempts) == (
        ("EXECUTING", 1) if how == signal.SIGKILL else ("QUEUED", 0)
    )
    with serve_site(site) as server:
        for one in (path, *waiting):
            wait_until(lambda one=one: phase(server, one) == "COMPLETED", 300)  # type: ignore[misc]
        assert fetch_job(server, path)["jobInfo"]["attempts"] == (2 if how == signal.SIGKILL else 1)  # type: ignore[index]
        assert phase(server, pending) == "PENDING"
        for one in (path, *waiting):
            assert [item["id"] for item in fetch_job(server, one)["results"]] == ["result"]  # type: ignore[attr-defined]
            assert server.get(f"{one}/results/result")[0] == 200


def read_stored_job(site: Path, path: str) -> JobRecord:
    """Give a job as it is in the store, while no server runs."""
    store = StateStore(site / "var")
    try:
        return store.jobs.get_job(path.rpartition("/")[2])
    finally:
        store.close()


def test_work_runs_jobs_beside_a_server_that_runs_none(site: Path) -> None:
    (site / "hven.toml").write_text((site / "hven.toml").read_text() + "\n[jobs]\nidle = 1\n")
    toml = site / "hven.toml"
    toml.write_text("job_workers = 0\n" + toml.read_text())
    with serve_site(site) as server:
        assert "hven-jobs" not in children(server.process.pid).values()
        path = start_query_job(server, QUICK)
        time.sleep(0.3)
        assert phase(server, path) == "QUEUED"
        work = subprocess.Popen([*HVEN_COMMAND, "work", "--site", str(site), "--workers", "2"], stderr=subprocess.PIPE)
        try:
            wait_until(lambda: phase(server, path) == "COMPLETED")
            # idle workers end; the scheduler stays
            wait_until(lambda: set(children(work.pid).values()) == {"hven-schedule"})
            again = start_query_job(server, QUICK)
            wait_until(lambda: phase(server, again) == "COMPLETED")
        finally:
            work.send_signal(signal.SIGINT)
            _, err = work.communicate(timeout=60)
        assert work.returncode == 0
        assert b"Traceback" not in err
