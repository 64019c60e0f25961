"""Attacks at full size: uploads with bytes changed, and hostile requests one by one against a server. `scripts/proof attack` runs this file.

Of each hostile request the table (docs/proofs/attack.md) says how it ended, how much memory all processes held meanwhile and how soon they gave it back,
how long others waited beside it, and for how long a thread of the server had the interpreter for itself.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest
from hostile_requests import HOSTILE_REQUESTS, SMALL_UPLOADS, HostileRequest
from sky_site import create_site, publish_stars

from process_runner import HVEN_COMMAND, Server, serve_site, wait_until

sys.path.insert(0, str(Path(__file__).parent.parent / "query"))

import test_hostile

pytestmark = pytest.mark.needs("proof")
ROWS = 200_000
SECONDS, MEMORY = 10.0, 512  # s, MiB
BACK = 30.0  # seconds in which memory is given back
PROBE = 250  # ms that a probe may take ..
HELD = 50  # .. and that a thread may hold the interpreter
QUIET = 0.5 * (os.cpu_count() or 1)  # load of a machine on which times are a claim

SITE = f"""\
[limits]
seconds = {SECONDS:g}
memory = "{MEMORY} MiB"
"""
#: Runs in each worker of the server, from its beginning: looks at the clock all the time, and notes when it could not, and who ran instead.
TICKS = """\
import os, sys, threading, time, traceback

def clocks():
    for one in threading.enumerate():
        if one.ident != threading.get_ident():
            try:
                yield one.ident, time.clock_gettime(time.pthread_getcpuclockid(one.ident))
            except OSError:
                pass

def tick():
    with open(f"{os.environ['HVEN_TICKS']}/{os.getpid()}", "a", buffering=1) as out:
        last, before = time.perf_counter(), dict(clocks())
        while True:
            time.sleep(0.004)
            now, spent = time.perf_counter(), dict(clocks())
            if now - last > 0.02:
                who, most = max(((one, cpu - before.get(one, 0.0)) for one, cpu in spent.items()), key=lambda each: each[1], default=(0, 0.0))
                if most > 0.02:
                    frame = sys._current_frames().get(who)
                    told = " < ".join(f"{one.name}:{one.lineno}" for one in reversed(traceback.extract_stack(frame)[-5:])) if frame else ""
                    out.write(f"{time.time():.3f} {min(now - last, most) * 1000:.0f} {told}\\n")
            last, before = time.perf_counter(), dict(clocks())

def begin():
    threading.Thread(target=tick, name="ticks", daemon=True).start()

def switched(seconds, switch=sys.setswitchinterval):  # what a worker calls first
    switch(seconds)
    begin()

if "HVEN_TICKS" in os.environ:
    sys.setswitchinterval = switched
"""


@pytest.mark.parametrize("form", ["votable", "fits", "parquet", "arrow", "csv"])
def test_uploads(form: str, tmp_path: Path) -> None:
    test_hostile.changed_bytes(form, tmp_path, range(4000))


def read_process_memory(pid: int) -> dict[int, float]:
    """Give a process and all that came of it, each with its memory in MiB; files that it has mapped aside."""
    found: dict[int, float] = {}
    todo = [pid]
    while todo:
        one = todo.pop()
        with contextlib.suppress(OSError, IndexError):
            line = next(
                line
                for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
                if line.startswith("Pss_Anon")
            )
            found[one] = int(line.split()[1]) / 1024
            for children in Path(f"/proc/{one}/task").glob("*/children"):
                todo += map(int, children.read_text().split())
    return found


def lasting(processes: Iterable[int]) -> set[int]:
    """Leave out those that compute queries: they begin with the first one and end after a while."""
    found = set()
    for one in processes:
        with contextlib.suppress(OSError):
            if b"engines.duckdb.computing" not in Path(f"/proc/{one}/cmdline").read_bytes():
                found.add(one)
    return found


@dataclass
class RequestMonitor:
    """What is looked at beside a request: memory, and those who ask for little."""

    server: Server
    peak: float = 0.0
    waits: dict[str, float] = field(default_factory=dict)  # ms, the longest
    wrong: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self.peak = sum(read_process_memory(self.server.process.pid).values())
        self._threads = [threading.Thread(target=self._weigh)]
        self._threads += [
            threading.Thread(target=self._probe, args=one) for one in (("live", "/health/live"), ("cone", None))
        ]
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for one in self._threads:
            one.join()

    def _weigh(self) -> None:
        while not self._over.wait(0.1):
            self.peak = max(self.peak, sum(read_process_memory(self.server.process.pid).values()))

    def _probe(self, name: str, path: str | None) -> None:
        chance = random.Random(name)
        while not self._over.wait(0.05) or name not in self.waits:  # once at least, however soon it was over
            asked = (
                path
                or f"/cone/sky.stars?RA={chance.uniform(0, 360):.4f}&DEC={chance.uniform(-80, 80):.4f}&SR=0.1&RESPONSEFORMAT=csv"
            )
            begun = time.perf_counter()
            try:
                status = self.server.get(asked)[0]
            except (OSError, http.client.HTTPException) as error:
                status = 0
                self.wrong.append(f"{name}: {error!r}")
            if status not in {0, 200}:
                self.wrong.append(f"{name}: {status}")
            self.waits[name] = max(self.waits.get(name, 0.0), (time.perf_counter() - begun) * 1000)


def send(server: Server, bomb: HostileRequest, job: str) -> tuple[int, float, bytes]:
    """Send a request; give status, seconds from the last byte of the body to the last of the answer, and how the answer begins and ends."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10 * SECONDS)
    begun = time.perf_counter()

    def pieces() -> Iterator[bytes]:
        nonlocal begun
        for piece in bomb.body():
            if piece:
                yield piece
        begun = time.perf_counter()

    with contextlib.closing(connection):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused in the middle of it
            connection.request(
                bomb.method, bomb.path.format(job=job), pieces(), {"Content-Type": bomb.media_type}, encode_chunked=True
            )
        try:
            answer = connection.getresponse()
            status, first, last = answer.status, b"", b""
            while piece := answer.read(1 << 20):
                first = first or piece[:2000]
                last = piece[-300:]
        except http.client.IncompleteRead:
            return -200, time.perf_counter() - begun, b"the answer broke off"
        except (ConnectionResetError, http.client.RemoteDisconnected):
            return 0, time.perf_counter() - begun, b"the connection was cut while the body was sent"
        return status, time.perf_counter() - begun, first + last


def find_longest_hold(ticks: Path, since: float) -> tuple[float, str]:
    """Give the longest time, in ms, for which a thread of some process had the interpreter since then, and where."""
    lines = [line.split(" ", 2) for path in ticks.iterdir() for line in path.read_text().splitlines()]
    found = [
        (float(ms), where) for moment, ms, where in (line for line in lines if len(line) == 3) if float(moment) >= since
    ]
    return max(found, default=(0.0, ""))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    site = tmp_path_factory.mktemp("attack") / "site"
    create_site(site, SITE)
    publish_stars(site, ROWS, "aaa", lambda n: n % 5)
    ticks = site / "ticks"
    ticks.mkdir()
    (site / "sitecustomize.py").write_text(TICKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(site))
        patch.setenv("HVEN_TICKS", str(ticks))
        with serve_site(site, command=HVEN_COMMAND) as running:
            for number in range(50):  # a server that is at rest has been asked something
                assert running.get("/cone/sky.stars", RA=number, DEC=0, SR=0.1)[0] == 200
                assert running.rows(f"SELECT MAX(ra + {number}) AS n FROM sky.stars")
            for name in ("4,900 columns of votable", "9,900 products", "49,000 numbers of two kinds"):
                send(running, HOSTILE_REQUESTS[name], "")
            for file in SMALL_UPLOADS:  # the reader of a form is loaded with its first file
                assert send(running, file, "")[0] == 200
            assert list(ticks.iterdir()), "no clock ticks"
            yield running


@pytest.fixture(scope="module")
def idle(server: Server) -> dict[int, float]:
    time.sleep(3)
    return read_process_memory(server.process.pid)


@pytest.mark.parametrize("name", HOSTILE_REQUESTS)
def test_a_hostile_request(
    name: str, server: Server, idle: dict[int, float], capsys: pytest.CaptureFixture[str]
) -> None:
    at_rest = sum(idle.values())
    job = server.post("/tap/async", LANG="ADQL", QUERY="SELECT 1 AS n FROM sky.stars")[1]["location"].rpartition("/")[2]
    load = os.getloadavg()[0]
    begun = time.time()
    with RequestMonitor(server) as beside:
        status, seconds, told = send(server, HOSTILE_REQUESTS[name], job)
    ms, where = find_longest_hold(server.site / "ticks", begun)
    try:
        back = wait_until(lambda: sum(read_process_memory(server.process.pid).values()) <= 1.1 * at_rest, BACK, 0.5)
    except AssertionError:
        back = float("inf")
    after = sum(read_process_memory(server.process.pid).values())
    with capsys.disabled():
        print(
            f"\n| {name} | {status} | {seconds:.1f} | {at_rest:.0f} | {beside.peak - at_rest:+.0f} | {after - at_rest:+.0f} | {back:.0f} |"
            f" {beside.waits.get('live', 0):.0f} | {beside.waits.get('cone', 0):.0f} | {ms:.0f} | {where} | {load:.0f} |"
        )
    assert status in {200, 400, 408, 413, 503} or (status in {0, -200}), told
    assert b"fault of the service" not in told
    assert lasting(read_process_memory(server.process.pid)) == lasting(idle), "a process died"
    assert not beside.wrong
    assert HOSTILE_REQUESTS[name].is_limited_by_network or seconds <= SECONDS + 1
    assert beside.peak <= at_rest + 1.25 * MEMORY
    assert back <= BACK, f"{after:.0f} MiB are held, {at_rest:.0f} before"
    if load < QUIET:
        assert max(beside.waits.values()) <= PROBE
        assert ms <= HELD, where
