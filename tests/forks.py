"""Run tests in forks of the process that collected them, so that collection runs once (``--forks N``).

Each worker runs one group of tests at a time (a module, or the tests of a mark ``xdist_group``). It sends its reports
to the collecting process, which reports them as its own. A worker that dies in a test fails that test, and another
fork runs the rest.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import os
import pickle
import random
import selectors
import signal
import socket
import struct
import sys
import traceback
import warnings
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from _pytest.subtests import SubtestReport, failed_subtests_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# plug-ins that report or store all outcomes run in the collecting process only
CONTROLLER_PLUGINS = ("terminalreporter", "lfplugin", "nfplugin", "stepwiseplugin", "junitxml", "failed_tests")
CRASH_FILE = "crash.txt"  # in the folder of a worker: the stacks of its threads when a fatal signal came


@dataclass(eq=False)
class Worker:
    """A fork, as the collecting process sees it."""

    number: int
    pid: int
    channel: Channel
    running_test: int | None = None  # the test that runs
    remaining_tests: deque[int] = field(default_factory=deque)  # of its groups, in the order that they run in


class Channel:
    """One end of a socket pair that transports whole objects."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end

    def send(self, *words: Any) -> None:
        body = pickle.dumps(words)
        self.end.sendall(struct.pack("<Q", len(body)) + body)

    def receive(self) -> Any:
        """Wait for an object; return None if the other end is closed."""
        head = self._receive_exactly(8)
        body = self._receive_exactly(struct.unpack("<Q", head)[0]) if head else b""
        return pickle.loads(body) if body else None

    def _receive_exactly(self, count: int) -> bytes:
        found = bytearray()
        while len(found) < count:
            more = self.end.recv(min(count - len(found), 1 << 20))
            if not more:
                return b""
            found += more
        return bytes(found)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--forks", type=int, default=0, metavar="N", help="run the tests in N forks of the process that collects them")  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    if config.option.forks and getattr(config.option, "numprocesses", None):
        raise pytest.UsageError("--forks and -n are two ways to have workers: take one")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run the tests in forks if the option asks for it."""
    config = session.config
    if not config.option.forks or config.option.collectonly or session.testsfailed or hasattr(config, "workerinput"):
        return None
    run = _ForkedRun(session)
    try:
        run.run_workers()
    finally:
        run.stop_workers()
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)
    return True


def group_tests(items: Iterable[pytest.Item]) -> Iterator[list[int]]:
    """Yield the numbers of the tests of each group, in the order of the first tests of the groups."""
    found: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        mark = item.get_closest_marker("xdist_group")
        name = item.path.as_posix() if mark is None else str(mark.args[0] if mark.args else mark.kwargs["name"])
        found.setdefault(name, []).append(number)
    yield from found.values()


class _ForkedRun:
    """The collecting process while its forks run the tests."""

    def __init__(self, session: pytest.Session) -> None:
        self.session, self.config = session, session.config
        self.waiting = deque(group_tests(session.items))
        self.workers: list[Worker] = []
        self.selector = selectors.DefaultSelector()
        self.places = self.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]

    def run_workers(self) -> None:
        for number in range(min(self.config.option.forks, len(self.waiting))):
            self.start_worker(number)
        while self.workers and not (self.session.shouldfail or self.session.shouldstop):
            for key, _ in self.selector.select():
                self.handle_message(key.data)

    def start_worker(self, number: int, left: Iterable[int] = ()) -> None:
        """Start a worker with the rest of another worker's group, or with the next group."""
        sys.stdout.flush()
        sys.stderr.flush()
        ours, theirs = socket.socketpair()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of threads, which nothing here waits for
            pid = os.fork()
        if pid == 0:
            ours.close()
            for other in self.workers:
                other.channel.end.close()
            _WorkerProcess(self.session, Channel(theirs), number, self.places / f"worker{number}").run()
        theirs.close()
        worker = Worker(number, pid, Channel(ours))
        self.workers.append(worker)
        self.selector.register(ours, selectors.EVENT_READ, worker)
        self.assign_group(worker, list(left))

    def assign_group(self, worker: Worker, group: list[int]) -> None:
        """Send a worker its next group, if there is one."""
        if not group and self.waiting:
            group = self.waiting.popleft()
        worker.remaining_tests.extend(group)
        with contextlib.suppress(OSError):  # it has ended, which is heard next
            worker.channel.send(group)

    def handle_message(self, worker: Worker) -> None:
        """Handle a message of a worker."""
        try:
            told = worker.channel.receive()
        except OSError:
            told = None
        if told is None:
            self.remove_worker(worker)
            return
        kind, said = told
        if kind == "begins":
            worker.running_test = said
            worker.remaining_tests.remove(said)
        elif kind == "more":
            self.assign_group(worker, [])
        elif kind == "report":
            report = self.config.hook.pytest_report_from_serializable(config=self.config, data=said)
            if isinstance(report, SubtestReport) and report.failed:  # or the test around it would pass
                self.config.stash[failed_subtests_key][report.nodeid] += 1
            self.config.hook.pytest_runtest_logreport(report=report)
        elif kind == "warning":
            message, when, nodeid, location = said
            self.config.hook.pytest_warning_recorded.call_historic(kwargs={"warning_message": message, "when": when, "nodeid": nodeid, "location": location})  # fmt: skip
        elif kind == "ended":
            worker.running_test = None

    def remove_worker(self, worker: Worker) -> None:
        """Remove a worker that has ended.

        If it ended in a test, that test fails, and another worker runs the rest of its group.
        """
        self.selector.unregister(worker.channel.end)
        worker.channel.end.close()
        self.workers.remove(worker)
        status = os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])
        if worker.running_test is not None:
            item = self.session.items[worker.running_test]
            words = f"the worker ended in the middle of this test (exit code {status})"
            with contextlib.suppress(OSError):  # it may have ended before it made its folder
                words = f"{words}\n{(self.places / f'worker{worker.number}' / CRASH_FILE).read_text()}".rstrip()
            report = pytest.TestReport(item.nodeid, item.location, {}, "failed", words, "call")
            self.config.hook.pytest_runtest_logreport(report=report)
        elif status:
            raise RuntimeError(f"a worker ended with exit code {status} outside of a test")
        if worker.remaining_tests or (self.waiting and worker.running_test is not None):
            self.start_worker(worker.number, list(worker.remaining_tests))

    def stop_workers(self) -> None:
        """Stop the workers of an interrupted run."""
        for worker in self.workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGTERM)
            worker.channel.end.close()
            os.waitpid(worker.pid, 0)
        self.selector.close()


class _WorkerProcess:
    """A worker, in its own process."""

    def __init__(self, session: pytest.Session, line: Channel, number: int, place: Any) -> None:
        self.session, self.config, self.channel = session, session.config, line
        atexit._clear()  # earlier registrations belong to the collecting process
        random.seed()
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed()
        for name in CONTROLLER_PLUGINS:
            plugin = self.config.pluginmanager.getplugin(name)
            if plugin is not None:
                self.config.pluginmanager.unregister(plugin)
        self.reports_warnings = False  # a plug-in receives earlier warnings again when it is registered
        self.config.pluginmanager.register(self, "forked")
        self.reports_warnings = True
        capturing = self.config.pluginmanager.getplugin("capturemanager")
        if capturing is not None:  # its output files belong to the collecting process
            capturing.stop_global_capturing()
            capturing.start_global_capturing()
        place.mkdir(mode=0o700, exist_ok=True)
        faulthandler.enable((place / CRASH_FILE).open("w"))  # pytest's own would write between others' lines
        self.config._tmp_path_factory._basetemp = place  # type: ignore[attr-defined]
        os.environ["PYTEST_XDIST_WORKER"] = f"gw{number}"  # by this name others ask which of the workers it is
        os.environ["PYTEST_XDIST_WORKER_COUNT"] = str(self.config.option.forks)

    def run(self) -> NoReturn:
        code = 1
        try:
            self.run_groups()
            self.config.hook.pytest_sessionfinish(session=self.session, exitstatus=pytest.ExitCode.OK)
            code = 0
        except (BrokenPipeError, ConnectionResetError):
            code = 0  # the run was broken off
        except BaseException:  # noqa: BLE001  (nothing may go on beyond this)
            traceback.print_exc(file=sys.__stderr__)
        finally:
            kill_own_forks()
            atexit._run_exitfuncs()
            os._exit(code)

    def run_groups(self) -> None:
        """Run one group after another.

        The worker requests the next group before the last test of a group, because the teardown of that test depends
        on the next one.
        """
        numbers = deque(self.receive_group())
        while numbers:
            number = numbers.popleft()
            if not numbers:
                self.channel.send("more", None)
                numbers.extend(self.receive_group())
            self.channel.send("begins", number)
            following = self.session.items[numbers[0]] if numbers else None
            item = self.session.items[number]
            self.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            self.channel.send("ended", number)

    def receive_group(self) -> list[int]:
        told = self.channel.receive()
        if told is None:
            raise BrokenPipeError
        return list(told[0])

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.channel.send("report", self.config.hook.pytest_report_to_serializable(config=self.config, report=report))

    @pytest.hookimpl
    def pytest_warning_recorded(self, warning_message: Any, when: str, nodeid: str, location: Any) -> None:
        if not self.reports_warnings:
            return
        told = warnings.WarningMessage(f"{warning_message.category.__name__}: {warning_message.message}", UserWarning, warning_message.filename, warning_message.lineno)  # fmt: skip
        self.channel.send("warning", (told, when, nodeid, location))


def kill_own_forks() -> None:
    """Kill the forks of this process that still run.

    A test may fork while other threads hold locks, as no process of a site does. Such a fork may wait for ever, and
    the programs that wait for the end of a pipe which it has inherited wait, too.
    """
    own_command = Path("/proc/self/cmdline").read_bytes()
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and status.with_name("cmdline").read_bytes() == own_command:
                os.kill(int(status.parent.name), signal.SIGKILL)
                os.waitpid(int(status.parent.name), 0)
