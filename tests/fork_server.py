"""Run ``hven`` in forks of a process that has imported its modules: a tenth of the work of ``python -m hven``.

The server process is this file, run as a program. It reads ``{"words": .., "log": .., "cwd": .., "environment": ..}``
and writes the id of a process, or it reads ``{"ended": id}`` and writes the exit code. Programs that shells run send
the same request to a socket, with their open files in place of a log.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any, NoReturn


class ForkedProcess:
    """A process with the interface of `subprocess.Popen`."""

    def __init__(self, words: list[str], log: Path) -> None:
        asked = {"words": words, "log": str(log), "cwd": str(Path.cwd()), "environment": dict(os.environ)}
        self.pid: int = _get_fork_server().send_request(asked)
        self.returncode: int | None = None
        self._pidfd = os.pidfd_open(self.pid)

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            ended = select.poll()
            ended.register(self._pidfd, select.POLLIN)
            if not ended.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired("hven", timeout or 0.0)
            self.returncode = _get_fork_server().send_request({"ended": self.pid})
            os.close(self._pidfd)
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._pidfd, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _ForkServer:
    """The process that is forked, and the connection to it."""

    def __init__(self) -> None:
        self.address = f"\0nursery of {os.getpid()}"
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(self.address)
            door.listen()
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(door.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                pass_fds=[door.fileno()],
            )
        self._lock = threading.Lock()
        atexit.register(self._process.communicate)

    def send_request(self, request: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            return int(self._process.stdout.readline())


@cache
def _get_fork_server() -> _ForkServer:
    return _ForkServer()


SHELL_PROGRAM = """\
#!{python} -IS
import json, os, socket, sys
asked = {{"words": sys.argv[1:], "cwd": os.getcwd(), "environment": dict(os.environ)}}
with socket.socket(socket.AF_UNIX) as line:
    line.connect({address!r})
    socket.send_fds(line, [b"-"], [0, 1, 2])
    line.sendall(json.dumps(asked).encode() + b"\\n")
    sys.exit(int(line.recv(9) or 1))
"""


def write_shell_program(path: Path) -> None:
    """Write a program that is ``hven`` for a shell.

    It waits for a fork that has its arguments, files, directory and environment.
    """
    path.write_text(SHELL_PROGRAM.format(python=sys.executable, address=_get_fork_server().address))
    path.chmod(0o755)


DESCRIPTOR = """\
collection: stars
title: Stars
description: Stars
tables: {main: {description: Stars, source: {kind: csv, files: stars.csv}, columns: {name: {type: string}}}}
"""


def preload_modules() -> None:
    """Import and build what each server needs before it starts its workers.

    An application that is built once and thrown away leaves behind what all later ones share: modules that it imports
    when it is needed, compiled patterns of addresses, translations.
    """
    from hven.app import _server as server  # noqa: F401  # before whatever loads Arrow

    # isort: split
    from anyio._backends import _asyncio  # noqa: F401

    from hven.app import _cli as cli  # noqa: F401
    from hven.app._cli import serve, verbs  # noqa: F401
    from hven.app._server import processes
    from hven.model import settings
    from hven.site.store import StateStore

    with tempfile.TemporaryDirectory() as name:
        site = Path(name)
        (site / "hven.toml").touch()
        (site / "collections/stars").mkdir(parents=True)
        (site / "collections/stars/stars.yaml").write_text(DESCRIPTOR)
        known = settings.load_settings(site)
        store = StateStore(site / "var")
        # each ends with a look of the collector for the last time: in forks its marks would copy all these pages
        processes._preload_worker_modules(known)
        processes._preload_application(known, store)
        assert processes._preloaded_application is not None
        processes._preloaded_application[0].close()
        processes._preloaded_application = None
        store.close()
    assert threading.active_count() == 1, "forks would lack these threads"


def serve_forks(listener: socket.socket) -> None:
    """Answer the requests of tests and of shell programs until standard input ends."""
    preload_modules()
    shells: set[int] = set()
    while True:
        if listener in select.select([sys.stdin, listener], [], [])[0]:
            line, _ = listener.accept()
            if pid := os.fork():
                shells.add(pid)
                line.close()
            else:
                listener.close()
                _run_for_shell(line)
            shells -= {pid for pid in shells if os.waitpid(pid, os.WNOHANG)[0]}
        elif not (text := sys.stdin.readline()):
            return
        elif "ended" in (asked := json.loads(text)):
            print(os.waitstatus_to_exitcode(os.waitpid(asked["ended"], 0)[1]), flush=True)
        elif pid := os.fork():
            print(pid, flush=True)
        else:
            listener.close()
            with Path(os.devnull).open() as nothing, Path(asked["log"]).open("w") as log:
                code = _run_command(asked, [nothing.fileno(), log.fileno(), log.fileno()])
            os._exit(code)  # what libraries destroy at the end are threads that a fork has not


def _run_for_shell(line: socket.socket) -> NoReturn:
    """Run the command of a shell program and send it the exit code; the socket closes if this process dies."""
    _, files, _, _ = socket.recv_fds(line, 1, 3)
    with line.makefile() as text:
        asked = json.loads(text.readline())
    code = 1
    try:
        code = _run_command(asked, files)
    finally:
        line.sendall(str(code).encode())
        os._exit(code)


def _run_command(request: dict[str, Any], files: list[int]) -> int:
    """Run ``hven`` with three files, and with the arguments, directory and environment of a request."""
    from hven.app import _cli as cli

    for number, file in enumerate(files):
        os.dup2(file, number)
    sys.stdin = open(0)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    os.chdir(request["cwd"])
    code = cli.main(request["words"])
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    serve_forks(socket.socket(fileno=int(sys.argv[1])))
