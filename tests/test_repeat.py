"""Repeated runs: each is kept, an interrupted series goes on, what fails is counted by quiet and loaded runs, and the load ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import repeated_runs
from process_runner import is_gone, wait_until

# a command that counts its runs, and fails a test in the second and the fourth, as pytest says it
COMMAND = """
import pathlib, sys
runs = pathlib.Path(sys.argv[1])
runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
number = len(runs.read_text())
if number in (2, 4):
    print("FAILED tests/a/test_b.py::test_c[x - y] - assert 1 == 2\\n1 failed, 2 passed in 0.10s")
    sys.exit(1)
print("3 passed in 0.10s")
"""


@pytest.fixture
def series(tmp_path, monkeypatch):
    monkeypatch.setattr(repeated_runs, "ROOT", tmp_path)
    monkeypatch.setattr(repeated_runs, "STATE", tmp_path / "state")
    monkeypatch.setattr(repeated_runs, "describe_checkout", lambda: "this checkout")
    runs = tmp_path / "runs"

    def call(times: int) -> int:
        return repeated_runs.main(
            ["--times", str(times), "--load", "1", "--", sys.executable, "-c", COMMAND, str(runs)]
        )

    call.runs = runs
    return call


def test_failures_are_counted_and_the_series_goes_on(series, capsys, monkeypatch):
    assert series(1) == 1
    assert "| `tests/a/test_b.py::test_c[x - y]` | 0 | 1 |" in capsys.readouterr().out
    assert len(series.runs.read_text()) == 2
    # the next run of each kind alone is made: the fourth in all fails
    assert series(2) == 1
    told = capsys.readouterr().out
    assert len(series.runs.read_text()) == 4
    assert "| `tests/a/test_b.py::test_c[x - y]` | 0 | 2 |" in told
    assert "| quiet 1 |" in told
    assert "3 passed in 0.10s" in told
    # all are there
    series(2)
    assert len(series.runs.read_text()) == 4
    # another checkout begins anew
    monkeypatch.setattr(repeated_runs, "describe_checkout", lambda: "another")
    assert series(1) == 0
    assert "2 runs, 0 failures" in capsys.readouterr().out


def test_a_run_that_ends_without_a_word_has_failed(tmp_path):
    run = repeated_runs.run_once(
        "quiet", 1, [sys.executable, "-c", "import sys; print('out of memory'); sys.exit(9)"], 0
    )
    assert run.status == 9
    assert run.failures == ["the run itself: out of memory"]


def test_the_load_ends_with_the_run(monkeypatch):
    with repeated_runs.load_machine(2, 60):
        mine = children(os.getpid())
        assert sum(" -I -S -c" in line for line in mine.values()) == 2
    assert not any(" -I -S -c" in line for line in children(os.getpid()).values())


def test_the_load_ends_when_its_run_is_killed_and_by_itself():
    code = f"import sys; sys.path.insert(0, {str(Path(repeated_runs.__file__).parent)!r}); import repeated_runs, time\nwith repeated_runs.load_machine(1, float(sys.argv[1])): print('there', flush=True); time.sleep(60)"
    for seconds, killed in (("60", True), ("0.2", False)):
        with subprocess.Popen([sys.executable, "-c", code, seconds], stdout=subprocess.PIPE) as parent:
            assert parent.stdout.readline() == b"there\n"
            (busy,) = children(parent.pid)
            if killed:
                parent.send_signal(signal.SIGKILL)
            wait_until(lambda busy=busy: is_gone(busy))
            parent.kill()


def children(parent: int) -> dict[int, str]:
    """List the children of a process with their command lines."""
    said = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(parent)], capture_output=True, text=True, check=False
    )
    rows = (line.split(None, 1) for line in said.stdout.splitlines())
    return {int(pid): line for pid, line in rows if not line.startswith("ps ")}
