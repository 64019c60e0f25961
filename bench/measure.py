"""Journeys, medians, memory: what every group needs."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "bench"
HVEN = Path(sys.executable).with_name("hven")


@dataclass(frozen=True, kw_only=True)
class Journey:
    """One measured journey. `target` bounds `ratio` (value / reference): at most, or at least if `higher` is better."""

    name: str
    value: float
    unit: str
    reference: float
    ratio: float
    target: float
    higher: bool = False
    note: str = ""

    @property
    def met(self) -> bool:
        return self.ratio >= self.target if self.higher else self.ratio <= self.target

    def to_json(self) -> dict[str, object]:
        return {
            "value": self.value, "unit": self.unit, "reference": self.reference, "ratio": self.ratio, "target": self.target,
            "met": self.met, "sense": ">=" if self.higher else "<=", "note": self.note,
        }  # fmt: skip


def build_server_environment() -> dict[str, str]:
    """Build the environment of a server that has compiled modules, as an installed one has.

    Without them, a checkout in which Python may write nothing compiles every module at each start. The environment is
    built for each server, because groups set variables, such as the address of a database, after the import.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return environment | {"PYTHONPYCACHEPREFIX": str(CACHE / "bytecode")}


def against(
    name: str, value: float, reference: float, target: float, *, unit: str, higher: bool = False, note: str = ""
) -> Journey:
    """Make a journey whose ratio is value / reference."""
    return Journey(
        name=name,
        value=value,
        unit=unit,
        reference=reference,
        ratio=value / reference,
        target=target,
        higher=higher,
        note=note,
    )


def show(journey: Journey) -> None:
    sense = ">=" if journey.higher else "<="
    mark = "met   " if journey.met else "MISSED"
    print(
        f"{mark} {journey.name:<34} {journey.value:>12.4g} {journey.unit:<8} reference {journey.reference:>10.4g}  "
        f"ratio {journey.ratio:>8.3f} {sense} {journey.target:g}  {journey.note}",
        flush=True,
    )


def median(call: Callable[[], object], times: int, warm: int = 2) -> float:
    """Median seconds of a call."""
    for _ in range(warm):
        call()
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        found.append(time.perf_counter() - begun)
    return statistics.median(found)


def pairs(first: Callable[[], float], second: Callable[[], float], times: int) -> tuple[float, float, float]:
    """Measure two things in turn, A B A B; give both medians and the median of the ratios A/B, which drift spares."""
    a, b = [], []
    for _ in range(times):
        a.append(first())
        b.append(second())
    return statistics.median(a), statistics.median(b), statistics.median(x / y for x, y in zip(a, b, strict=True))


def measure_seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running ``hven serve``."""

    port: int
    process: subprocess.Popen[bytes]
    seconds: float

    @property
    def pids(self) -> list[int]:
        return [self.process.pid, *descendants(self.process.pid)]

    def connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


@contextlib.contextmanager
def serve_site(site: Path, *, workers: int = 2, program: Sequence[object] = (HVEN,)) -> Iterator[Server]:
    """Run ``hven serve`` until the block ends; waits for the first answer."""
    port = free_port()
    begun = time.perf_counter()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [*program, "serve", "--site", site, "--port", str(port), "--workers", str(workers)],
            stdout=subprocess.DEVNULL,
            stderr=log,
            env=build_server_environment(),
        )
        try:
            while True:
                try:
                    if ask(http.client.HTTPConnection("127.0.0.1", port, timeout=5), "/health")[0] == 200:
                        break
                except OSError:
                    if process.poll() is not None or time.perf_counter() - begun > 60:
                        raise RuntimeError(f"the server did not start; see {CACHE / 'server.log'}") from None
                    time.sleep(0.01)
            yield Server(port=port, process=process, seconds=time.perf_counter() - begun)
        finally:
            process.terminate()
            process.wait(20)


def ask(connection: http.client.HTTPConnection, path: str) -> tuple[int, bytes]:
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read()


def tap(query: str, form: str = "votable", maxrec: int | None = None) -> str:
    extra = f"&MAXREC={maxrec}" if maxrec is not None else ""
    return f"/tap/sync?LANG=ADQL&RESPONSEFORMAT={quote(form)}{extra}&QUERY={quote(query)}"


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == pid:
                    found += [int(entry.name), *descendants(int(entry.name))]
    return found


def pss(pids: list[int]) -> float:
    """Summed PSS in MiB, files mapped from snapshots aside."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
            total -= _read_mapped_kilobytes(pid)
    return total / 1024


def _read_mapped_kilobytes(pid: int) -> int:
    """PSS of mapped snapshot files, kB."""
    inside = False
    found = 0
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = "/snapshots/" in line
        elif inside and line.startswith("Pss:"):
            found += int(line.split()[1])
    return found


def anonymous_peak(pids: list[int]) -> float:
    """Anonymous resident memory now, MiB."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            match = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
            total += int(match.group(1)) if match else 0
    return total / 1024


def spent(pids: list[int]) -> float:
    """Seconds of processors that processes have taken, all their threads that live."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                total += int(task.read_text().split()[0])
    return total / 1e9


def cpus() -> int:
    return len(os.sched_getaffinity(0))
