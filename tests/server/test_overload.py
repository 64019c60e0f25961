"""More than can be answered: cheap requests pass while all turns are taken, the rest is told at once, and no connection is reset."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from server_process import ServerProcess, build_star_site, serve_site

from hven.model import deadlines
from process_runner import is_gone, wait_until

CROWD = 40
CAP_SYS_NICE, PR_CAPBSET_DROP = 23, 24  # capabilities(7), prctl(2)
ENDLESS = "SELECT COUNT(*) AS n FROM stars.main AS a, stars.main AS b, stars.main AS c WHERE a.mag + b.mag + c.mag < -1"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    directory = build_star_site(tmp_path_factory.mktemp("overload") / "site", 4000)
    with (directory / "hven.toml").open("a") as file:
        file.write("\n[limits]\nconcurrent = 1\n")
    with serve_site(directory, workers=1) as started:
        yield started


@contextlib.contextmanager
def asking(server: ServerProcess, query: str) -> Iterator[socket.socket]:
    """Ask, and read nothing; leave at the end."""
    with socket.create_connection(("127.0.0.1", server.port), 60) as reader:
        address = "/tap/sync?" + urlencode({"LANG": "ADQL", "QUERY": query})
        reader.sendall(f"GET {address} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        yield reader


def read(connection: socket.socket) -> bytes:
    whole = b""
    while more := connection.recv(65536):
        whole += more
    return whole


def low(pid: int) -> int:
    """How low the machine keeps the session of a process against other sessions, where it does so."""
    try:
        # the machine's first session has no name
        return int(Path(f"/proc/{pid}/autogroup").read_text().rpartition(" ")[2] or 0)
    except OSError:
        pytest.skip("this machine does not share itself among sessions")


def may_raise() -> bool:
    """Whether the account may raise a session above others."""
    fields = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    most_raised = 20 - resource.getrlimit(resource.RLIMIT_NICE)[0]  # getrlimit(2)
    return bool(int(fields["CapEff"], 16) >> CAP_SYS_NICE & 1) or most_raised <= deadlines.ANSWER_SESSION


def below(pid: int) -> dict[int, str]:
    found = {}
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            found |= {int(child): Path(f"/proc/{child}/comm").read_text().strip(), **below(int(child))}
    return found


def test_who_answers_goes_before_what_computes(server: ServerProcess) -> None:
    (worker,) = server.list_workers()
    query_session = 0 if may_raise() else deadlines.QUERY_SESSION_NICENESS
    with asking(server, ENDLESS):
        wait_until(lambda: query_session in {low(pid) for pid in below(worker)})
    assert {low(pid) for pid, name in below(server.process.pid).items() if name in {"hven-jobs", "hven-schedule"}} == {
        deadlines.SESSION_NICENESS
    }
    assert low(worker) == (deadlines.ANSWER_SESSION if may_raise() else 0)
    assert low(worker) < query_session


def test_the_cheap_pass_and_the_dear_are_told(server: ServerProcess) -> None:
    with contextlib.ExitStack() as crowd:
        asked = [crowd.enter_context(asking(server, ENDLESS)) for _ in range(CROWD)]
        told: list[bytes] = []

        def are_most_refused() -> bool:
            for connection in select.select(asked, [], [], 0.1)[0]:
                asked.remove(connection)
                told.append(read(connection))
            return len(told) >= CROWD - 33  # one runs, 32 wait at most

        wait_until(are_most_refused)
        for answer in told:
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nretry-after: " in head.lower()
            assert b"try again" in body
        assert asked  # they are computed, or wait
        assert server.ask("SELECT id FROM stars.main WHERE id = 's7'") == [["s7"]]
        status, _, body = server.get("/cone/stars.main", RA=7.31, DEC=-86.3, SR=0.1)
        assert (status, b"s1<" in body) == (200, True)
        assert [server.get(page)[0] for page in ("/", "/health", "/health/live", "/tap/capabilities")] == [200] * 4
    # all have left, and somebody else has a turn
    wait_until(
        lambda: (
            server.get("/tap/sync", LANG="ADQL", QUERY="SELECT COUNT(*) AS n FROM stars.main WHERE mag > 3")[0] == 200
        )
    )


def test_each_worker_has_a_share_of_the_processors_and_ends_with_its_server(tmp_path: Path) -> None:
    """Linux shares the processors among sessions: in one session, all workers would have the share of one foreign program."""
    with serve_site(build_star_site(tmp_path / "site"), workers=2) as server:
        # a worker begins its session before it answers; the first answer comes from the other one
        wait_until(lambda: len(server.list_ready_workers()) == 2)
        workers = server.list_workers()
        assert {os.getsid(worker) for worker in workers} == {*workers}
        os.kill(
            server.process.pid, signal.SIGKILL
        )  # no signal of a terminal reaches them, and nobody is left to tell them
        wait_until(lambda: all(map(is_gone, workers)))


STARTING_WORKER = """
import os, signal, sys, time
from hven.app._server import worker_server
signal.signal(signal.SIGTERM, lambda *_: None)  # as the server has it, whose fork a worker is
worker_server._set_worker_signals_and_session(int(sys.argv[1]))
print("begun", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("server_is_there", [True, False])
def test_a_worker_that_starts_ends_with_its_server(*, server_is_there: bool) -> None:
    server_pid = os.getpid() if server_is_there else 1
    command = [sys.executable, "-c", STARTING_WORKER, str(server_pid)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == (b"begun\n" if server_is_there else b"")
        worker.terminate()
        assert worker.wait(60) == -signal.SIGTERM


RAISING_WORKER = """
import ctypes, os, resource, sys
if sys.argv[2:]:  # without the capability: what is begun from here on cannot have it either
    resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
    ctypes.CDLL(None).prctl(int(sys.argv[3]), int(sys.argv[2]), 0, 0, 0)
    os.execv(sys.executable, [sys.executable, "-c", sys.orig_argv[2], sys.argv[1]])
from pathlib import Path
from hven.app._server import worker_server
worker_server._set_worker_signals_and_session(int(sys.argv[1]))
print(Path("/proc/self/autogroup").read_text())
"""


@pytest.mark.parametrize("allowed", [True, False])
def test_a_worker_takes_a_greater_share_only_where_the_account_may(*, allowed: bool) -> None:
    low(os.getpid())
    if allowed and not may_raise():
        pytest.skip("this account may not raise a session")
    withheld = [] if allowed else [str(CAP_SYS_NICE), str(PR_CAPBSET_DROP)]
    command = [sys.executable, "-c", RAISING_WORKER, str(os.getpid()), *withheld]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert int(told.rpartition(" ")[2]) == (deadlines.ANSWER_SESSION if allowed else 0)
