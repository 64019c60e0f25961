"""Run ``hven serve`` as a user does, on a free port of this machine."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from fork_server import ForkedProcess
from hven.app._server.worker_server import WORKER_NAME
from process_runner import HVEN_COMMAND, reserve_port, run_hven, start_hven, wait_until


@dataclass(frozen=True, kw_only=True)
class ServerProcess:
    """A running server."""

    port: int
    process: subprocess.Popen[bytes] | ForkedProcess
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **params: object) -> tuple[int, dict[str, str], bytes]:
        return self._send("GET", path + ("?" + urlencode(params) if params else ""))

    def head(self, path: str) -> tuple[int, dict[str, str], bytes]:
        return self._send("HEAD", path)

    def _send(self, method: str, path: str, form: str | None = None) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        with contextlib.closing(connection):
            connection.request(
                method, path, form, {} if form is None else {"content-type": "application/x-www-form-urlencoded"}
            )
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def post(self, path: str, **params: str) -> tuple[int, dict[str, str], bytes]:
        return self._send("POST", path, urlencode(params))

    def ask(self, query: str, form: str = "json", **params: object) -> list[list[object]]:
        status, _, body = self.get("/tap/sync", LANG="ADQL", RESPONSEFORMAT=form, QUERY=query, **params)
        assert status == 200, body[:1000]
        return list(json.loads(body)["data"])

    def list_ready_workers(self) -> list[int]:
        """List the workers that have opened the site."""
        named = {pid: Path(f"/proc/{pid}/comm").read_text() for pid in self.list_workers()}
        return [pid for pid, name in named.items() if name.startswith(WORKER_NAME)]

    def list_workers(self) -> list[int]:
        """List the workers: all processes of the server but the job supervisor and the scheduler."""
        beside = {"hven-jobs", "hven-schedule"}
        found: dict[int, str] = {}

        def are_workers_known() -> bool:
            found.clear()
            for children in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
                with contextlib.suppress(OSError):  # the process has ended
                    found.update(
                        {
                            int(pid): Path(f"/proc/{pid}/comm").read_text().strip()
                            for pid in children.read_text().split()
                        }
                    )
            return beside <= set(found.values()) and len(found) > len(beside)

        wait_until(are_workers_known)
        return [pid for pid, name in found.items() if name not in beside]

    def lines(self) -> list[dict[str, object]]:
        """Read the access log."""
        whole = self.log.read_text().rpartition("\n")[0]  # the last line may be incomplete
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]


@contextlib.contextmanager
def serve_site(
    site: Path, *, workers: int = 2, through: Sequence[str] = (), log: str = "serve.log"
) -> Iterator[ServerProcess]:
    """Serve a site until the block ends.

    `through` is a program that starts the server and becomes it; without it, the server is a fork.
    """
    port = reserve_port()
    words = ["serve", "--site", str(site), "--port", str(port), "--workers", str(workers)]
    process = start_hven(words, site / log, [*through, *HVEN_COMMAND] if through else None)
    made = ServerProcess(port=port, process=process, log=site / log)
    try:
        wait_until(lambda: process.poll() is not None or made.get("/health")[0] == 200, 120)
        assert process.poll() is None, made.log.read_text()
        wait_until(lambda: len(made.list_workers()) == workers)  # the first of them has answered
        yield made
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)


DESCRIPTOR = """\
collection: stars
title: Made-up stars
subjects: [stars]
tables:
  main:
    description: as it was
    position: [ra, dec]
    primary: [id]
    source: {kind: csv, files: stars.csv}
    columns:
      id: {type: string, ucd: meta.id;meta.main, description: the first words}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      mag: {type: float32, unit: mag}
"""


def build_star_site(directory: Path, number: int = 1000) -> Path:
    """Build a site with one published collection."""
    run_hven("init", directory)
    folder = directory / "collections" / "stars"
    folder.mkdir(parents=True)
    (folder / "stars.yaml").write_text(DESCRIPTOR)
    lines = [f"s{n},{n * 7.31 % 360:.5f},{n * 3.7 % 180 - 90:.5f},{n % 20}" for n in range(number)]
    (folder / "stars.csv").write_text("id,ra,dec,mag\n" + "\n".join(lines) + "\n")
    run_hven("ingest", "stars", "--site", directory)
    return directory
