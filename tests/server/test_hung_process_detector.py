"""Which silent process hangs, and which is only slow: by the processor time of the thread that beats."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from hven.app._server import worker_server
from hven.app._server.worker_server import WorkerServer
from hven.jobs import child_processes
from hven.jobs.hang_detector import (
    MAX_LOAD_FACTOR,
    HungProcessDetector,
    ThreadCpuUsage,
    compute_load_factor,
    read_thread_cpu_usage,
)

LOOK_SECONDS = 0.25


class Process:
    """A process whose thread uses as much processor time as the test says, and its watcher."""

    def __init__(self, load: float = 1.0) -> None:
        self.now, self.usage = 1000.0, ThreadCpuUsage("S", 0.0)
        self.pulse = SimpleNamespace(last_beat_time=1000.0, last_thread_id=7, get_silent_seconds=lambda: 1.0)
        self.detector = HungProcessDetector(
            self.pulse,  # type: ignore[arg-type]
            5,
            get_time=lambda: self.now,
            read_usage=lambda pid, thread: self.usage,
            compute_load=lambda: load,
        )
        assert not self.detector.is_hung()

    def run(self, seconds: float, *, state: str, share: float = 0.0) -> float | None:
        """Let time pass without a beat; give the seconds after which it counts as hung."""
        for step in range(1, int(seconds / LOOK_SECONDS) + 1):
            self.now += LOOK_SECONDS
            self.usage = ThreadCpuUsage(state, self.usage.cpu_seconds + share * LOOK_SECONDS)
            if self.detector.is_hung():
                return step * LOOK_SECONDS
        return None


def test_a_thread_that_gets_no_processor_is_slow() -> None:
    assert Process().run(600, state="R") is None
    assert Process().run(100, state="R", share=0.05) is None  # five seconds of its own in a hundred


def test_a_thread_that_computes_without_a_beat_hangs() -> None:
    assert Process().run(600, state="R", share=1.0) == pytest.approx(child_processes.HEARTBEAT_TIMEOUT_SECONDS, abs=1.0)
    assert Process().run(600, state="R", share=0.1) == pytest.approx(
        10 * child_processes.HEARTBEAT_TIMEOUT_SECONDS, abs=5.0
    )


def test_a_thread_that_waits_hangs_later_on_a_loaded_machine() -> None:
    assert Process().run(600, state="S") == pytest.approx(child_processes.HEARTBEAT_TIMEOUT_SECONDS, abs=1.0)
    assert Process(load=6.0).run(600, state="S") == pytest.approx(
        6 * child_processes.HEARTBEAT_TIMEOUT_SECONDS, abs=1.0
    )


def test_a_stopped_process_hangs_on_any_machine() -> None:
    assert Process(load=6.0).run(600, state="T") == pytest.approx(child_processes.HEARTBEAT_TIMEOUT_SECONDS, abs=1.0)


def test_a_beat_begins_anew() -> None:
    process = Process()
    assert process.run(child_processes.HEARTBEAT_TIMEOUT_SECONDS - 1, state="S") is None
    process.pulse.last_beat_time += 1
    assert process.run(child_processes.HEARTBEAT_TIMEOUT_SECONDS - 1, state="S") is None


def test_a_watcher_that_was_stopped_itself_cannot_tell() -> None:
    process = Process()
    process.now += 3600
    assert not process.detector.is_hung()


def test_the_system_tells_what_a_thread_uses() -> None:
    mine = read_thread_cpu_usage(os.getpid(), os.getpid())
    assert mine is not None
    assert mine.cpu_seconds > 0
    assert read_thread_cpu_usage(os.getpid(), 0) is None
    code = "import time\nwhile time.process_time() < 0.2: pass\nprint('x', flush=True)\ntime.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        other = read_thread_cpu_usage(child.pid, child.pid)
        child.kill()
    assert other is not None
    assert other.cpu_seconds >= 0.15


def test_the_load_of_the_machine_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for load, factor in ((0.1, 1.0), (6.0, 3.0), (1000.0, MAX_LOAD_FACTOR)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        assert compute_load_factor() == factor


def test_workers_are_killed_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[int] = []
    monkeypatch.setattr(child_processes, "send_signal", lambda pid, number: killed.append(pid))
    monkeypatch.setattr(worker_server, "HungProcessDetector", lambda pulse, pid: SimpleNamespace(is_hung=lambda: True))
    server: Any = WorkerServer.__new__(WorkerServer)
    server.wrks = [
        SimpleNamespace(idx=idx, inner=SimpleNamespace(pid=100 + idx), is_alive=lambda: True) for idx in range(3)
    ]
    server._pulses = {idx: child_processes.ProcessHeartbeat() for idx in range(3)}
    server._pulses[1].set_grace_period(-30.0)  # the longest silent
    server._detectors, server._restart_times = {}, {}
    for _ in range(5):
        server._kill_hung_worker()
    assert killed == [101]
    server._pulses[1] = child_processes.ProcessHeartbeat()  # it is replaced
    server._pulses[2].set_grace_period(-20.0)
    server._kill_hung_worker()
    assert killed == [101, 102]
