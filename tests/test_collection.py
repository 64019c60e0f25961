"""Tests are collected from the clone alone: nothing outside of it is read, no server runs, no process begins."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from requirements import ROOT, SHARED

WATCHING = """
import json, os, sys, sysconfig
import pytest

OUTSIDE, seen = sys.argv[1], []
STANDARD, OTHERS = sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")


def ours():
    # what is nearest to the call, the standard library aside: libraries ask for what they like when they are imported
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(OTHERS):
            return False
        if not name.startswith((STANDARD, "<frozen")):
            return True
        frame = frame.f_back
    return False


def watch(event, arguments):
    if event in {"open", "os.listdir", "os.scandir", "glob.glob", "pathlib.Path.glob", "pathlib.Path.rglob"}:
        path = arguments[0]
        if isinstance(path, (str, bytes, os.PathLike)) and os.path.abspath(os.fsdecode(path)).startswith(OUTSIDE):
            seen.append(f"{event} {os.fsdecode(path)}")
    elif event in {"subprocess.Popen", "os.fork", "os.posix_spawn", "socket.bind", "socket.connect"} and ours():
        seen.append(f"{event} {arguments[:2]}")


class Counting:
    def pytest_collection_finish(self, session):
        self.count = len(session.items)


counting = Counting()
sys.addaudithook(watch)
code = pytest.main(["--collect-only", "-q", "-q", "-p", "no:cacheprovider", *sys.argv[2:]], plugins=[counting])
sys.stderr.write(json.dumps({"code": int(code), "count": counting.count, "seen": seen}))
"""


def collect(*words: object) -> dict[str, object]:
    """Collect tests in a process of its own; give the exit code, how many there are, and what was done meanwhile that must not be."""
    command = [sys.executable, "-c", WATCHING, str(SHARED), *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    return dict(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.slow
def test_nothing_outside_of_the_clone_is_read_and_nothing_runs():
    told = collect("tests")
    assert told["code"] == 0
    assert told["count"] > 15_000
    assert told["seen"] == []


@pytest.mark.parametrize(
    "line",
    [
        f"try: open({str(SHARED / 'a file')!r}).close()\nexcept OSError: pass",
        "import subprocess; subprocess.run(['true'])",
        "import socket; socket.create_server(('127.0.0.1', 0)).close()",
    ],
)
def test_it_would_be_seen(tmp_path, line):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text(f"{line}\ndef test_one(): pass\n")
    told = collect("-c", tmp_path / "pytest.ini", "--rootdir", tmp_path, tmp_path)
    assert told["count"] == 1
    assert len(told["seen"]) > 0
