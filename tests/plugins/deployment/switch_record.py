"""The record of a proof in several runs: switches count together only if no run between them lost anything."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from shared import ROOT


class WatchedClient(Protocol):
    """A client that notes what went wrong."""

    @property
    def faults(self) -> Sequence[str]: ...


class SwitchRecord:
    """The switches of the runs so far, and what was counted in them. A test at full size goes on where it ended.

    A run that fails or is killed leaves no record, and a record of other code is ignored: the next run begins at 0.

    Parameters
    ----------
    name
        Name of the test.
    directory
        Where the record is; None: each run begins at 0, and none is recorded.
    needed_switches
        Number of switches of all runs together.
    max_seconds
        No switch begins after this time.
    stop_file
        No switch begins when this file is there.
    code
        Identifies the code that is tested.
    """

    def __init__(
        self,
        name: str,
        directory: Path | None,
        needed_switches: int,
        *,
        max_seconds: float = 7200.0,
        stop_file: Path | None = None,
        code: str = "",
    ) -> None:
        self._name = name
        self._file = None if directory is None else directory / f"{name}.json"
        self._needed_switches = needed_switches
        self._end_time = time.monotonic() + max_seconds
        self._stop_file = stop_file
        self._code = code
        self._totals: Counter[str] = Counter()
        if self._file is not None and self._file.exists():
            record = json.loads(self._file.read_text())
            if record.get("code") == code:
                self._totals.update(record["totals"])
            self._file.unlink()  # until this run has lost nothing
        self.count = 0  # of this run

    def number_switches(self, clients: Sequence[WatchedClient]) -> Iterator[int]:
        """Number the switches that are left, as long as this run may go on and no client has lost a request."""
        while self._totals["switches"] + self.count < self._needed_switches:
            is_over = time.monotonic() > self._end_time or (self._stop_file is not None and self._stop_file.exists())
            if (self.count and is_over) or any(client.faults for client in clients):
                return
            self.count += 1
            yield self.count - 1

    def add_run(self, judge_run: Callable[[], Mapping[str, int]]) -> None:
        """Add a run in which nothing was lost, print the sums, and keep them if switches are left.

        Parameters
        ----------
        judge_run
            Returns what was counted, or raises an error if anything was lost.
        """
        self._totals.update({"switches": self.count, "runs": 1, **judge_run()})
        print(f"{self._name}, all runs of {self._code}: {dict(self._totals)}")
        if self._file is not None and self._totals["switches"] < self._needed_switches:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(json.dumps({"code": self._code, "totals": self._totals}))


def identify_code() -> str:
    """Identify the source by its tree in Git, and by what has changed in it since the commit."""

    def run_git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    tree = run_git("rev-parse", "HEAD:src")[:12]
    changes = run_git("diff", "HEAD", "--", "src")
    return f"{tree}-{hashlib.sha256(changes.encode()).hexdigest()[:8]}" if changes else tree
