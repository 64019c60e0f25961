"""The machine fails under a running server: no room, no inodes, no rights, no open files left, a disk that cannot be written.

What is published is served, what cannot be done is refused in words without a path, nothing is lost, and all is well again without repair.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from server_process import HVEN_COMMAND, ServerProcess, run_hven, serve_site

from hven.testing.site import open_site_with_uningested_files, open_tiny_site
from process_runner import reserve_port, wait_until
from requirements import report_missing, require

pytestmark = pytest.mark.slow

COUNT = "SELECT COUNT(*) AS n FROM stars.main"
DESCRIPTOR = """\
collection: stars
title: Three stars
tables:
  main:
    primary: id
    columns: {id: {type: int32}}
    source: {kind: csv, files: stars.csv}
"""


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of its own: small, with few inodes."""
    place = tmp_path_factory.mktemp("disk")
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m,nr_inodes=600,mode=755", "hven-test", place],
        capture_output=True,
        check=False,
    )
    if not mounted or mounted.returncode:
        report_missing("mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture(scope="module")
def server(disk: Path) -> Iterator[ServerProcess]:
    run_hven("init", site := disk / "site")
    with open_site_with_uningested_files(site, DESCRIPTOR, {"stars.csv": "id\n1\n2\n3\n"}):
        pass
    run_hven("ingest", "stars", "--site", site)
    with serve_site(site, workers=1) as made:
        yield made


def begun(server: ServerProcess) -> tuple[int, str, str]:
    """Begin a job: status, where it is, words."""
    status, headers, body = server.post("/tap/async", LANG="ADQL", QUERY=COUNT, RESPONSEFORMAT="csv", PHASE="RUN")
    return status, headers.get("location", ""), body.decode()


def status_of(server: ServerProcess) -> str:
    return str(json.loads(server.get("/health.json")[2])["status"])


def is_job_done(server: ServerProcess, job: str) -> bool:
    path = job.removeprefix(server.url)
    return server.get(f"{path}/phase")[2] == b"COMPLETED" and server.get(f"{path}/results/result")[2].split() == [
        b"n",
        b"3",
    ]


@contextlib.contextmanager
def fill_disk(disk: Path) -> Iterator[None]:
    """Leave no byte."""
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(65536))
    with contextlib.suppress(OSError), (disk / "filler").open("ab", buffering=0) as file:
        while True:
            file.write(b"x")
    yield
    (disk / "filler").unlink()


@contextlib.contextmanager
def use_all_inodes(disk: Path) -> Iterator[None]:
    """Leave no inode."""
    (disk / "crowd").mkdir()
    with contextlib.suppress(OSError):
        for number in range(10_000):
            (disk / "crowd" / str(number)).touch()
    yield
    shutil.rmtree(disk / "crowd")


@pytest.mark.parametrize("fault", [fill_disk, use_all_inodes], ids=["no room", "no inodes"])
def test_a_disk_without_room(
    server: ServerProcess, disk: Path, fault: Callable[[Path], contextlib.AbstractContextManager[None]]
) -> None:
    site = disk / "site"
    before = begun(server)
    assert before[0] == 303
    wait_until(lambda: is_job_done(server, before[1]))
    with fault(disk):
        refused = 0
        for _ in range(6):
            status, _, words = begun(server)
            assert status in {303, 503, 507}, words
            refused += status != 303
            assert str(disk) not in words
            assert server.ask(COUNT) == [[3]]
            assert server.get("/health/live")[0] == 200
        verb = run_hven("ingest", "stars", "--site", site, expected_code=3, in_subprocess=True)
        assert "hven: " in verb.stderr
        assert is_job_done(server, before[1]), "nothing is lost"
    found: list[str] = []
    wait_until(lambda: (answer := begun(server))[0] == 303 and not found.append(answer[1]), 60)
    wait_until(lambda: is_job_done(server, found[-1]), 60)
    assert is_job_done(server, before[1])
    run_hven("verify", "--site", site)


def below(pid: int) -> list[int]:
    """Give a process and all that came of it."""
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [one for child in children.read_text().split() for one in below(int(child))]
    return found


def test_no_open_files_are_left(server: ServerProcess) -> None:
    """As ``ulimit -n 64``, with more readers than that who say nothing."""
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in below(server.process.pid)}
    idle = []
    try:
        for pid, (_, hard) in limits.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (64, hard))
        for _ in range(100):
            idle.append(connection := http.client.HTTPConnection("127.0.0.1", server.port, timeout=5))
            connection.connect()
        for _ in range(2):
            idle.append(late := http.client.HTTPConnection("127.0.0.1", server.port, timeout=20))
            late.request("GET", "/tap/async")
            answer = late.getresponse()
            assert (answer.status, answer.getheader("retry-after")) == (503, "5")
            assert b"has too many connections at the moment" in answer.read()
    finally:
        for connection in idle:
            connection.close()
        wait_until(lambda: server.get("/health/live")[0] == 200, 60)
        status, job, words = begun(server)
        assert status == 303, words
        wait_until(lambda: is_job_done(server, job), 60)
        for pid, limit in limits.items():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
    assert server.ask(COUNT) == [[3]]


def test_a_server_that_may_open_few_files(server: ServerProcess, disk: Path) -> None:
    """`ulimit -n`: with 64 it answers as many as it can, and tells the others; with fewer it says so instead of starting."""
    limited = ["sh", "-c", 'ulimit -n "$0"; exec "$@"']
    few = subprocess.run(
        [*limited, "40", *HVEN_COMMAND, "serve", "--site", disk / "site"], capture_output=True, text=True, check=False
    )
    assert (few.returncode, "Traceback" in few.stderr) == (1, False)
    assert "can open only 40 files at a time, but a server needs at least 64" in few.stderr
    with serve_site(disk / "site", workers=1, through=[*limited, "64"], log="few.log") as second:
        idle = [http.client.HTTPConnection("127.0.0.1", second.port, timeout=20) for _ in range(60)]
        try:
            for connection in idle:
                connection.connect()
            told: list[tuple[int, dict[str, str], bytes]] = []
            # who connects and says nothing for a second is not waited for: so may we be, on a busy machine
            wait_until(lambda: told.append(second.get("/tap/async")) or told)
            status, _, words = told[0]
            assert (status, words) == (
                503,
                b"the service has too many connections at the moment; try again in a few seconds\n",
            )
        finally:
            for connection in idle:
                connection.close()
        wait_until(lambda: second.get("/health/live")[0] == 200)
        assert second.ask(COUNT) == [[3]]


def test_rights_that_are_lost(tmp_path: Path) -> None:
    site = tmp_path / "site"
    run_hven("init", site)
    with open_tiny_site(site, {f"stars.{name}": pa.table({"id": [1, 2, 3]}) for name in ("main", "other")}):
        pass
    places = [path for path in (site / "var", *(site / "var").rglob("*")) if path.is_dir()]
    modes = {path: path.stat().st_mode & 0o777 for path in places}
    dropped = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
    if os.geteuid() == 0:
        require("setpriv")
    bounded = dropped if os.geteuid() == 0 else []
    with serve_site(site, workers=1, through=bounded) as server:
        before = begun(server)
        assert before[0] == 303
        wait_until(lambda: is_job_done(server, before[1]))
        assert server.ask(COUNT) == [[3]]
        try:
            for path in reversed(places):
                path.chmod(0o000)
            for _ in range(3):
                status, _, words = begun(server)
                assert status == 503, words
                assert str(tmp_path) not in words
                assert server.get("/health/live")[0] == 200
            wait_until(lambda: status_of(server) == "degraded")
            assert server.get("/health/ready")[0] == 200, "what is published is served as it was seen last"
            assert server.ask(COUNT) == [[3]], "what is open stays open"
            status, _, words = server.get("/tap/sync", LANG="ADQL", QUERY="SELECT * FROM stars.other")
            assert (
                status,
                b"cannot be read at the moment: permission denied" in words,
                str(tmp_path).encode() in words,
            ) == (
                503,
                True,
                False,
            ), words
            checked = subprocess.run(
                [*bounded, *HVEN_COMMAND, "verify", "--site", site], capture_output=True, text=True, check=False
            )
            assert (checked.returncode, "Traceback" in checked.stderr, "hven: " in checked.stderr) == (3, False, True)
        finally:
            for path in places:
                path.chmod(modes[path])
        wait_until(lambda: status_of(server) == "ok")
        for table in ("main", "other"):
            assert server.ask(f"SELECT COUNT(*) AS n FROM stars.{table}") == [[3]], "well again without repair"
        status, job, words = begun(server)
        assert status == 303, words
        wait_until(lambda: is_job_done(server, job), 60)
        assert is_job_done(server, before[1])


def test_a_disk_that_cannot_be_written(disk: Path) -> None:
    """It was mounted read-only: a server that starts there says why it cannot, and one that starts afterwards has everything."""
    run_hven("init", site := disk / "fixed")
    with open_tiny_site(site, {"stars.main": pa.table({"id": [1, 2, 3]})}):
        pass
    view = disk.parent / "view"
    view.mkdir()
    subprocess.run(["mount", "--bind", site, view], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", view], check=True)
        refused = run_hven("serve", "--site", view, "--port", reserve_port(), expected_code=3, in_subprocess=True)
        assert "hven: " in refused.stderr
        assert "check the owner and permissions" in refused.stderr, refused.stderr
        subprocess.run(["mount", "-o", "remount,bind,rw", view], check=True)
        with serve_site(view, workers=1) as server:
            assert server.ask(COUNT) == [[3]]
            status, job, words = begun(server)
            assert status == 303, words
            wait_until(lambda: is_job_done(server, job), 60)
    finally:
        subprocess.run(["umount", "--lazy", view], check=True)


def set_immutable(place: Path, sign: str) -> bool:
    """Let nothing below a place be written, not even by who has it open, as where a disk has failed (``+``); or let it again (``-``)."""
    for path in place.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())  # what is mapped and clean must be asked for before it is written
    return subprocess.run(["chattr", "-R", f"{sign}i", place], capture_output=True, check=False).returncode == 0


def test_a_disk_that_becomes_read_only_under_a_server(tmp_path: Path) -> None:
    site = tmp_path / "site"
    require("root", "chattr")
    run_hven("init", site)
    with open_site_with_uningested_files(site, DESCRIPTOR, {"stars.csv": "id\n1\n2\n3\n"}):
        pass
    run_hven("ingest", "stars", "--site", site)
    with serve_site(site, workers=1) as server:
        before = begun(server)
        assert before[0] == 303
        wait_until(lambda: is_job_done(server, before[1]))
        workers = server.list_workers()
        try:
            if not set_immutable(site, "+"):
                pytest.skip("this file system knows no files that nobody can write")
            for _ in range(3):
                status, _, words = begun(server)
                assert (status, "is read-only" in words, str(tmp_path) in words) == (503, True, False), words
                assert server.ask(COUNT) == [[3]]
                assert server.get("/tap/async")[0] == server.get("/health/ready")[0] == 200
            wait_until(lambda: status_of(server) == "degraded")
            assert server.list_workers() == workers, "what cannot be written kills nobody"
            os.kill(workers[0], signal.SIGKILL)
            wait_until(lambda: server.get("/health/live")[0] == 200)
            assert server.ask(COUNT) == [[3]], "also one that begins there reads"
            verb = run_hven("ingest", "stars", "--site", site, expected_code=3, in_subprocess=True)
            assert "is read-only" in verb.stderr, verb.stderr
        finally:
            set_immutable(site, "-")
        found: list[tuple[int, str, str]] = []

        def begins() -> bool:
            set_immutable(site, "-")  # once more: a file that is put in another's place meanwhile is passed over
            found.append(begun(server))
            return found[-1][0] == 303

        try:
            wait_until(begins, 60)
        except AssertionError:
            pytest.fail(f"no job begins: {found[-1:]}\n{server.log.read_text()[-3000:]}")
        wait_until(lambda: is_job_done(server, found[-1][1]), 60)
        wait_until(lambda: status_of(server) == "ok")
        assert is_job_done(server, before[1])


def test_an_index_for_which_there_is_no_room_is_told(disk: Path) -> None:
    """What is mapped would kill the process instead."""
    line = (
        "import errno, sys, numpy; from pathlib import Path; from hven.engines.duckdb import index_building\n"
        "try: index_building._write_values_in_order(Path(sys.argv[1]), None, numpy.arange(200_000))\n"
        "except OSError as error: sys.exit(7 if error.errno == errno.ENOSPC else 1)"
    )
    with fill_disk(disk):
        with (disk / "filler").open("r+b") as file:
            file.truncate((disk / "filler").stat().st_size - 500_000)
        assert subprocess.run([sys.executable, "-c", line, disk / "index.npy"], check=False).returncode == 7
        (disk / "index.npy").unlink()
