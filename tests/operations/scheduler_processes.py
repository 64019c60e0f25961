"""Schedulers in processes of their own, whose runs follow instructions in files.

The schedulers are forks of one process that has imported everything. That process is this file, run as a program: it
reads ``{"site": .., "lease": .., "machine": ..}`` and writes the id of the scheduler.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hven.site import Site
    from hven.site.store import StateStore

sys.path.insert(0, str(Path(__file__).parents[1]))
from process_runner import wait_until

DESCRIPTOR = """\
collection: {name}
title: {name}
tables:
  main:
    primary: [id]
    source: {{kind: csv, files: rows.csv}}
    columns: {{id: {{type: int32}}}}
"""


@dataclass
class RunRecord:
    """A run: its collection, its process, and its times; `ended` is None if it has not ended or was killed."""

    name: str
    pid: int
    began: float
    ended: float | None = None


@dataclass
class SchedulerProcess:
    """A scheduler process, which its parent reaps."""

    pid: int

    def is_alive(self) -> bool:
        return is_alive(self.pid)

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, seconds: float = 60) -> None:
        wait_until(lambda: not self.is_alive(), seconds, 0.01)


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


class SchedulerForkServer:
    """The process that is forked, and the connection to it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def start(self, site: Path, lease: float, machine: str | None) -> SchedulerProcess:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"site": str(site), "lease": lease, "machine": machine}).encode() + b"\n")
        self._process.stdin.flush()
        return SchedulerProcess(int(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate()


@dataclass
class Schedulers:
    """The schedulers of a site, and the log of their runs."""

    site: Path
    nursery: SchedulerForkServer
    started: list[SchedulerProcess] = field(default_factory=list)

    def start(self, *, lease: float = 3.0, machine: str | None = None) -> SchedulerProcess:
        """Start a scheduler; `machine` simulates another machine, where nobody sees whether a process is alive."""
        self.started.append(self.nursery.start(self.site, lease, machine))
        return self.started[-1]

    def store(self) -> StateStore:
        from hven.model import settings
        from hven.site.store import StateStore

        return StateStore(self.site / "var", settings.load_settings(self.site).store)

    def write_descriptor(self, name: str, *, sync: str | None) -> None:
        """Write the descriptor of a collection with a schedule; with None there is no schedule."""
        path = self.site / "collections" / name / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "rows.csv").write_text("id\n1\n2\n")
        path.write_text(DESCRIPTOR.format(name=name) + (f"sync: {sync}\n" if sync else ""))

    def set_behaviour(self, name: str, what: str) -> None:
        """Set what runs of a collection do.

        ``work SECONDS``, ``hold FILE`` (until the file exists), ``fail``, ``die`` or ``guard``.
        """
        (self.site / f"{name}.does").write_text(what)

    def request_runs(self, *names: str) -> None:
        """Request runs of collections now, as soon as they have schedules."""
        store = self.store()
        try:
            for name in names:
                wait_until(lambda name=name: name in store.schedules.list_schedules()[1])
                store.schedules.update_schedule(name, lambda row, now: (row and replace(row, asked=now), ()))
        finally:
            store.close()

    def list_runs(self, name: str | None = None) -> list[RunRecord]:
        """List the runs of one or all collections; check that no two runs of a collection overlapped."""
        found: dict[tuple[str, int], RunRecord] = {}
        path = self.site / "runs.log"
        whole = path.read_text().rpartition("\n")[0] if path.exists() else ""  # the last line may be incomplete
        for row in whole.splitlines():
            word, who, pid, moment = row.split()
            assert word != "clash", f"another run of {who} was under way: {row}"
            if word == "begin":
                found[who, int(pid)] = RunRecord(who, int(pid), float(moment))
            else:
                found[who, int(pid)].ended = float(moment)
        return [line for line in found.values() if name in {None, line.name}]

    def stop(self) -> None:
        for process in self.started:
            process.send(signal.SIGCONT)
            process.send(signal.SIGTERM)
        for process in self.started:
            process.wait()

    def log(self) -> str:
        return (self.site / "schedulers.log").read_text()


@contextlib.contextmanager
def open_schedulers(site: Path, nursery: SchedulerForkServer) -> Iterator[Schedulers]:
    made = Schedulers(site, nursery)
    try:
        yield made
    finally:
        made.stop()


def _append_run(site: Path, word: str, name: str, moment: float | None = None) -> None:
    number = os.open(site / "runs.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(number, f"{word} {name} {os.getpid()} {moment or time.time()}\n".encode())  # one write: lines are whole
    os.close(number)


@contextlib.contextmanager
def _detect_overlap(site: Path, name: str) -> Iterator[None]:
    """Log a clash if another run of the collection is active; the kernel releases the lock of a killed run."""
    number = os.open(site / f"{name}.lock", os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _append_run(site, "clash", name)
        yield
    finally:
        os.close(number)


def main() -> None:
    from hven.jobs import scheduler
    from hven.model import plugins
    from hven.site import Site  # noqa: F401  (imported once, for all)

    # a test has less time than an observatory
    (
        scheduler.PLAN_INTERVAL_SECONDS,
        scheduler.POLL_INTERVAL_SECONDS,
        scheduler.LEADER_RETRY_SECONDS,
        scheduler.STALE_CHECK_INTERVAL_SECONDS,
    ) = 0.2, 0.05, 0.3, 0.5
    scheduler.SHUTDOWN_GRACE_SECONDS = 45.0  # a run that ends earlier was stopped, not killed after a timeout
    plugins.load_plugin("engines", "duckdb")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run_scheduler(Path(asked["site"]), asked["lease"], asked["machine"])
        print(pid, flush=True)


def _run_scheduler(directory: Path, lease: float, machine: str | None) -> None:
    """Run a scheduler in this process."""
    from hven.jobs.scheduler import run_scheduler
    from hven.model import settings
    from hven.model.errors import ChangeLimitExceededError, SourceError
    from hven.site.store import _leases as leases

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(directory / "schedulers.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for number in (1, 2):
        os.dup2(log, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if machine is not None:
        leases._identify_machine = lambda: machine

    def sync(site: Site, name: str) -> str:
        path = directory / f"{name}.does"
        what, _, value = (path.read_text() if path.exists() else "work 0.05").partition(" ")
        with _detect_overlap(directory, name):
            _append_run(directory, "begin", name, site.store.schedules.get_schedule(name).began)
            if what == "fail":
                raise SourceError("the source postgresql://reader:opensesame@host/db is away")
            if what == "guard":
                raise ChangeLimitExceededError("9 of 10 rows would be removed")
            if what == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if what == "hold":
                wait_until((directory / value).exists, 120)
            else:
                time.sleep(float(value or 0))
            _append_run(directory, "end", name)
        return "no change"

    logging.basicConfig(level=logging.INFO)
    run_scheduler(settings.load_settings(directory), lease_seconds=lease, synchronize=sync)
    os._exit(0)


if __name__ == "__main__":
    main()
