"""Processes of ``hven`` that are forks of one which has imported what they need: each begins with a third of the work of ``python -m hven``.

That process is this file, run alone: it reads ``{"words": .., "log": .., "cwd": .., "environment": ..}`` and writes the id of a process, or reads
``{"ended": id}`` and writes its exit code.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any


class Process:
    """What `subprocess.Popen` is for a program."""

    def __init__(self, words: list[str], log: Path) -> None:
        asked = {"words": words, "log": str(log), "cwd": str(Path.cwd()), "environment": dict(os.environ)}
        self.pid: int = _nursery().ask(asked)
        self.returncode: int | None = None
        self._end = os.pidfd_open(self.pid)

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            ended = select.poll()
            ended.register(self._end, select.POLLIN)
            if not ended.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired("hven", timeout or 0.0)
            self.returncode = _nursery().ask({"ended": self.pid})
            os.close(self._end)
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._end, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Nursery:
    """The process that they are forks of."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._turn = threading.Lock()
        atexit.register(self._process.communicate)

    def ask(self, what: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._turn:
            print(json.dumps(what), file=self._process.stdin, flush=True)
            return int(self._process.stdout.readline())


@cache
def _nursery() -> _Nursery:
    return _Nursery()


STARS = """\
collection: stars
title: Stars
description: Stars
tables: {main: {description: Stars, source: {kind: csv, files: stars.csv}, columns: {name: {type: string}}}}
"""


def ready() -> None:
    """Load and make what every server does before it begins its workers."""
    from hven.app import _server as server  # noqa: F401  # before whatever loads Arrow

    # isort: split
    from hven.app import _cli as cli  # noqa: F401
    from hven.app._cli import serve, verbs  # noqa: F401
    from hven.app._server import processes
    from hven.model import settings
    from hven.site.store import Store

    with tempfile.TemporaryDirectory() as name:
        site = Path(name)
        (site / "hven.toml").touch()
        (site / "collections/stars").mkdir(parents=True)
        (site / "collections/stars/stars.yaml").write_text(STARS)
        Store(site / "var").close()
        # ends with a look of the collector for the last time: in forks its marks would copy all these pages
        processes._preload(settings.load(site))


def main() -> None:
    ready()
    from hven.app import _cli as cli

    for line in sys.stdin:
        asked = json.loads(line)
        if "ended" in asked:
            print(os.waitstatus_to_exitcode(os.waitpid(asked["ended"], 0)[1]), flush=True)
        elif pid := os.fork():
            print(pid, flush=True)
        else:
            with Path(os.devnull).open() as nothing, Path(asked["log"]).open("w") as log:
                for number, file in enumerate((nothing, log, log)):
                    os.dup2(file.fileno(), number)
            os.environ.clear()
            os.environ.update(asked["environment"])
            time.tzset()
            os.chdir(asked["cwd"])
            code = cli.main(asked["words"])
            sys.stderr.flush()
            os._exit(code)  # what libraries destroy at the end are threads that a fork has not


if __name__ == "__main__":
    main()
