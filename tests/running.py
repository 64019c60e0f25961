"""Run ``hven`` as a user does: verbs in a process of their own, a server on a free port, the judges' programs."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import pytest

HVEN = [sys.executable, "-m", "hven"]


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a verb ended."""

    stdout: str
    stderr: str
    returncode: int


def hven(*words: object, cwd: Path | None = None, stdin: str | bytes = b"", code: int = 0, apart: bool = False, **environment: str) -> Done:
    """Run a verb through its entry point; the exit code must be `code`, and no traceback is ever shown.

    `apart`: in a process of its own, as a shell does it; otherwise in this one, which saves a second.
    """
    line = [str(word) for word in words]
    given = stdin.encode() if isinstance(stdin, str) else stdin
    run = _apart if apart else _here
    done = run(line, cwd, given, environment)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    assert done.returncode == code, f"hven {' '.join(line)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def _apart(line: list[str], cwd: Path | None, given: bytes, environment: dict[str, str]) -> Done:
    done = subprocess.run(
        [*HVEN, *line], capture_output=True, check=False, cwd=cwd, timeout=120, input=given, env={**os.environ, **environment}
    )
    return Done(returncode=done.returncode, stdout=done.stdout.decode(errors="replace"), stderr=done.stderr.decode(errors="replace"))


def _here(line: list[str], cwd: Path | None, given: bytes, environment: dict[str, str]) -> Done:
    from hven import cli

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
    return Done(returncode=code, stdout=told[0], stderr=told[1])


def program(name: str) -> str:
    """Find a judge; without it, fail in CI and skip elsewhere."""
    path = shutil.which(name)
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} must be installed in CI")
        pytest.skip(f"{name} is not installed")
    return path


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running ``hven serve``."""

    port: int
    site: Path
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **params: object) -> tuple[int, dict[str, str], bytes]:
        return self.send("GET", path + ("?" + urlencode(params) if params else ""))

    def post(self, path: str, **params: object) -> tuple[int, dict[str, str], bytes]:
        return self.send("POST", path, urlencode(params).encode(), {"Content-Type": "application/x-www-form-urlencoded"})

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def rows(self, query: str, **params: object) -> list[list[object]]:
        """Ask by TAP, answer by JSON."""
        status, _, body = self.post("/tap/sync", LANG="ADQL", RESPONSEFORMAT="json", QUERY=query, **params)
        assert status == 200, body[:1000]
        return list(json.loads(body)["data"])


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def serving(site: Path, *, workers: int = 1, command: list[str] | None = None) -> Iterator[Server]:
    """Serve a site until the block ends."""
    port = free_port()
    log = site / "serve.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*(command or HVEN), "serve", "--site", str(site), "--port", str(port), "--workers", str(workers)],
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        server = Server(port=port, site=site, process=process)
        try:
            until(lambda: server.get("/health")[0] == 200 or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield server
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(30)


def until(true: object, seconds: float = 30) -> None:
    """Wait until a call is true."""
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if true():  # type: ignore[operator]
                return
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.05)
