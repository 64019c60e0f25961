"""Run ``hven`` as a user does: commands, servers on free ports, and the programs that check answers."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import random
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

import fork_server
from fork_server import ForkedProcess
from hven.app._cli import verbs
from plugin_needs import require_verb
from requirements import require
from shared import EXAMPLES_FACTOR

HVEN_COMMAND = [sys.executable, "-m", "hven"]


@dataclass(frozen=True, kw_only=True)
class CompletedCommand:
    """The output and the exit code of a command."""

    stdout: str
    stderr: str
    returncode: int


def run_hven(
    *words: object,
    cwd: Path | None = None,
    stdin: str | bytes = b"",
    expected_code: int = 0,
    in_subprocess: bool = False,
    **environment: str,
) -> CompletedCommand:
    """Run a command of ``hven`` and check its exit code.

    The command runs in this process, which saves a second; with `in_subprocess` it runs in a process of its own, as
    from a shell. The test fails if the exit code is not `expected_code`, or if the output has a traceback. It is skipped
    if the verb belongs to a plug-in package that is absent.
    """
    line = [str(word) for word in words]
    verb = _find_verb(line)
    if verb and expected_code == 0:
        require_verb(verb)
    given = stdin.encode() if isinstance(stdin, str) else stdin
    run = _run_in_subprocess if in_subprocess else run_in_process
    done = run(line, cwd, given, environment)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    assert done.returncode == expected_code, f"hven {' '.join(line)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def _find_verb(line: list[str]) -> str:
    """Find the verb, before which an option may stand; empty: the line has none."""
    words = line[2:] if line[:1] == ["--site"] else line
    return words[0] if words and not words[0].startswith("-") else ""


def lint_service(url: str) -> dict[str, Any]:
    """Judge a service by ``hven lint`` and return the report, with findings of every severity.

    The verb belongs to a plug-in package: without it the test is skipped.
    """
    if "lint" not in verbs.list_package_verbs():
        pytest.skip("no plug-in package has the verb lint")
    report: dict[str, Any] = json.loads(run_hven("lint", url, "--severity", "info", "--json").stdout)
    return report


def _run_in_subprocess(
    line: list[str], cwd: Path | None, given: bytes, environment: dict[str, str]
) -> CompletedCommand:
    done = subprocess.run(
        [*HVEN_COMMAND, *line],
        capture_output=True,
        check=False,
        cwd=cwd,
        timeout=300,
        input=given,
        env={**os.environ, **environment},
    )
    return CompletedCommand(
        returncode=done.returncode,
        stdout=done.stdout.decode(errors="replace"),
        stderr=done.stderr.decode(errors="replace"),
    )


def run_in_process(line: list[str], cwd: Path | None, given: bytes, environment: dict[str, str]) -> CompletedCommand:
    from hven.app import _cli as cli

    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
        for name, value in environment.items():
            patch.setenv(name, value)
        if cwd is not None:
            patch.chdir(cwd)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.main(line)
    told = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return CompletedCommand(returncode=code, stdout=told[0], stderr=told[1])


def write_shell_program(path: Path) -> None:
    """Write a program ``hven`` for shells.

    The fork server runs its commands, which saves a second. Proofs at full size do not fork.
    """
    if EXAMPLES_FACTOR == 1:
        fork_server.write_shell_program(path)
    else:
        path.write_text(f'#!/bin/sh\nexec {shlex.join(HVEN_COMMAND)} "$@"\n')
        path.chmod(0o755)


def find_chromium() -> str:
    """Find Chromium; prefer the headless shell, with which a page takes a third of the time."""
    require("chromium")
    return shutil.which("chromium-headless-shell") or shutil.which("chromium") or ""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running ``hven serve``."""

    port: int
    site: Path
    process: subprocess.Popen[bytes] | ForkedProcess
    address: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    def get(self, path: str, **params: object) -> tuple[int, dict[str, str], bytes]:
        return self.send("GET", path + ("?" + urlencode(params) if params else ""))

    def post(self, path: str, **params: object) -> tuple[int, dict[str, str], bytes]:
        return self.send(
            "POST", path, urlencode(params).encode(), {"Content-Type": "application/x-www-form-urlencoded"}
        )

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection(self.address, self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def lines(self) -> list[dict[str, Any]]:
        """Read the access log.

        A line appears shortly after its answer. The last line is left out if it is incomplete.
        """
        whole = (self.site / "serve.log").read_text(encoding="utf-8", errors="replace").rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def rows(self, query: str, **params: object) -> list[list[object]]:
        """Run a query by TAP and return its rows."""
        status, _, body = self.post("/tap/sync", LANG="ADQL", RESPONSEFORMAT="json", QUERY=query, **params)
        assert status == 200, body[:1000]
        return list(json.loads(body)["data"])


# one socket for each reserved port; the kernel gives a name to one process only
_reserved_names: list[socket.socket] = []


def reserve_port() -> int:
    """Reserve a port that nobody else gets before it is used.

    The port lies below the range from which the kernel assigns ports. Each reserved port is a name of an abstract Unix
    socket, so no other process that calls this function gets the same one.
    """
    while True:
        port = random.randrange(10_000, 32_000)
        name = socket.socket(socket.AF_UNIX)
        with socket.socket() as found, contextlib.suppress(OSError):
            name.bind(f"\0port {port} of a test")
            found.bind(("127.0.0.1", port))
            _reserved_names.append(name)
            return port
        name.close()


@contextlib.contextmanager
def serve_site(
    site: Path,
    *,
    workers: int = 1,
    command: list[str] | None = None,
    address: str = "127.0.0.1",
    port: int | None = None,
) -> Iterator[Server]:
    """Serve a site until the block ends.

    `address` is where a site with its own `host` is reached. `port` is the port that rows of the site name. `command`
    starts the server as a user does; without it, the server is a fork, which saves a second.
    """
    port = reserve_port() if port is None else port
    log = site / "serve.log"
    process = start_hven(["serve", "--site", str(site), "--port", str(port), "--workers", str(workers)], log, command)
    server = Server(port=port, site=site, process=process, address=address)
    try:
        try:
            wait_until(lambda: process.poll() is not None or server.get("/health")[0] == 200, 300)
        except AssertionError:
            pytest.fail(f"the server does not respond; its log ends so:\n{log.read_text(errors='replace')[-3000:]}")
        assert process.poll() is None, log.read_text()
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(120)


def start_hven(words: list[str], log: Path, command: list[str] | None) -> subprocess.Popen[bytes] | ForkedProcess:
    """Start ``hven`` with arguments: by a command, or as a fork. Proofs at full size do not fork."""
    if command is None and EXAMPLES_FACTOR == 1:
        return ForkedProcess(words, log)
    with log.open("wb") as file:
        return subprocess.Popen([*(command or HVEN_COMMAND), *words], stdout=file, stderr=subprocess.STDOUT)


def wait_until(condition: Callable[[], object], timeout_seconds: float = 300, pause_seconds: float = 0.05) -> float:
    """Wait until a condition holds; return the seconds that this took.

    `timeout_seconds` only prevents an endless wait on a busy machine. It says nothing about speed.
    """
    begun = time.monotonic()
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if condition():
                return time.monotonic() - begun
        assert time.monotonic() < begun + timeout_seconds, "it never came to be"
        time.sleep(pause_seconds)


def assert_takes_less(measure: Callable[[], float], limit_seconds: float, attempts: int = 5) -> None:
    """Check that an operation takes less than a limit in at least one of several attempts.

    Other attempts may have met a busy machine. `measure` runs the operation and returns the seconds that it took.
    """
    took: list[float] = []
    while len(took) < attempts and min(took, default=limit_seconds) >= limit_seconds:
        took.append(measure())
    assert min(took) < limit_seconds, (
        f"it took {', '.join(f'{one:.2f}' for one in took)} s, and should take less than {limit_seconds} s"
    )


def is_gone(pid: int) -> bool:
    """Return whether a process has ended, even if nobody has read its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
