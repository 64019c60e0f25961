"""Run tests several times on a quiet and on a loaded machine and count failures: `scripts/test --repeat N`.

Each run is stored with its failures when it ends. The same command continues an interrupted series if the checkout is
unchanged. Tests are never retried: one failure in ten runs is a line of the table.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".cache" / "tests" / "repeated"
LIMIT_SECONDS = 3600  # of one run; the load ends after this time even if its parent is gone
BUSY_PROGRAM = """
import os, sys, time
parent, end = int(sys.argv[2]), time.monotonic() + float(sys.argv[1])
while time.monotonic() < end and os.getppid() == parent:
    for _ in range(200_000):
        pass
"""
# a name ends with its parameters, in which anything may stand
FAILURE = re.compile(r"^(?:FAILED|ERROR|SUBFAILED\S*) (tests/\S+?\.py(?:::\w+)*(?:\[.*?\])?)(?= - |$)", re.MULTILINE)
QUIET, LOADED = "quiet", "loaded"


@dataclass
class Run:
    """One run of the tests."""

    mode: str
    number: int
    status: int  # pytest's exit code
    seconds: float
    load: float  # of the machine when it ended, over a minute
    summary: str  # pytest's last line
    failures: list[str] = field(default_factory=list)


def describe_checkout() -> str:
    """Return a digest of the files of the checkout."""
    words = (["rev-parse", "HEAD"], ["diff", "HEAD"], ["ls-files", "--others", "--exclude-standard"])
    told = [subprocess.run(["git", "-C", str(ROOT), *each], check=True, capture_output=True).stdout for each in words]
    return hashlib.sha256(b"\0".join(told)).hexdigest()


@contextlib.contextmanager
def load_machine(count: int, seconds: float) -> Iterator[None]:
    """Keep processes busy; each ends by itself after a number of seconds, or when this process ends."""
    command = [sys.executable, "-I", "-S", "-c", BUSY_PROGRAM, str(seconds), str(os.getpid())]
    busy = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.terminate()
        for process in busy:
            process.wait()


def run_once(mode: str, number: int, command: list[str], load: int) -> Run:
    """Run the tests once and read the failures from the output of pytest."""
    began = time.monotonic()
    with load_machine(load if mode == LOADED else 0, LIMIT_SECONDS):
        try:
            done = subprocess.run(
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=LIMIT_SECONDS
            )
            status, told = done.returncode, done.stdout.decode(errors="replace")
        except subprocess.TimeoutExpired as late:
            status, told = -1, (late.stdout or b"").decode(errors="replace") + f"\nended after {LIMIT_SECONDS} s"
        one_minute = os.getloadavg()[0]
    lines = [line for line in told.splitlines() if line.strip()]
    failures = sorted(set(FAILURE.findall(told)))
    if status and not failures:
        failures = [f"the run itself: {' '.join(lines[-3:])[-300:]}"]
    summary = next((line for line in reversed(lines) if re.search(r" in [\d.]+s\b", line)), lines[-1] if lines else "")
    return Run(mode, number, status, round(time.monotonic() - began, 1), one_minute, summary, failures)


def write_table(runs: list[Run]) -> str:
    """Write runs and failures as Markdown."""
    lines = ["| run | seconds | load at its end | exit code | summary |", "|---|---|---|---|---|"]
    lines += [
        f"| {run.mode} {run.number} | {run.seconds:.0f} | {run.load:.1f} | {run.status} | {run.summary} |"
        for run in runs
    ]
    counts = {
        mode: Counter(name for run in runs if run.mode == mode for name in run.failures) for mode in (QUIET, LOADED)
    }
    failed = sorted(counts[QUIET] | counts[LOADED])
    if failed:
        lines += ["", "| test | failed quiet | failed loaded |", "|---|---|---|"]
        lines += [f"| `{name}` | {counts[QUIET][name]} | {counts[LOADED][name]} |" for name in failed]
    else:
        lines += ["", f"{len(runs)} runs, 0 failures"]
    return "\n".join(lines)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description="run tests several times, quiet and under load")
    parser.add_argument("--times", type=int, required=True, help="runs of each kind")
    parser.add_argument("--load", type=int, default=8, help="busy processes beside the loaded runs")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and the command that runs the tests")
    said = parser.parse_args(words)
    command = said.command[1:] if said.command[:1] == ["--"] else said.command
    key = hashlib.sha256(json.dumps([describe_checkout(), command, said.load]).encode()).hexdigest()[:12]
    STATE.mkdir(parents=True, exist_ok=True)
    path = STATE / f"{key}.jsonl"
    runs = [Run(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(run.mode, run.number) for run in runs}
    for number in range(1, said.times + 1):
        for mode in (QUIET, LOADED):
            if (mode, number) in done:
                continue
            print(f"{mode} run {number} of {said.times} ...", file=sys.stderr, flush=True)
            run = run_once(mode, number, command, said.load)
            runs.append(run)
            with path.open("a") as file:
                file.write(json.dumps(asdict(run)) + "\n")
            print(f"  {run.summary} ({len(run.failures)} failed)", file=sys.stderr, flush=True)
    runs.sort(key=lambda run: (run.mode != QUIET, run.number))
    table = write_table(runs)
    path.with_suffix(".md").write_text(table + "\n")
    print(table)
    print(f"kept in {path.with_suffix('.md').relative_to(ROOT)}", file=sys.stderr)
    return int(any(run.status for run in runs))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
