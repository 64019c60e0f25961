"""Files as they are, whole and in ranges, here and from another server: beside a bare server that sends the same bytes by sendfile."""

from __future__ import annotations

import contextlib
import multiprocessing
import shutil
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from bench.measure import CACHE, HVEN, Journey, Server, free_port, serve_site

SITE = CACHE / "site-wholefiles"
BYTES = 256 << 20
NAME = "big.bin"
RANGE = (5 << 20, (69 << 20) - 1)
DESCRIPTOR = """\
collection: big
title: Big
files:
  - {{files: {name}, checksums: false}}
  - {{root: "http://127.0.0.1:{port}", at: far, from: list, path: "{{file}}", proxied: true}}
tables:
  list:
    source: {{kind: csv, file: list.csv}}
    columns: {{file: string}}
"""


def bare(port: int, path: str, wait: float = 0.0, counts: Any = None) -> None:
    """Send one file by sendfile to whoever asks, whole or a range of it; `wait` seconds before each answer, which are counted with their bytes."""
    listening = socket.create_server(("127.0.0.1", port))
    size = Path(path).stat().st_size

    def session(connection: socket.socket) -> None:
        lines = connection.makefile("rb")
        with connection, lines, contextlib.suppress(OSError), Path(path).open("rb") as file:
            while first := lines.readline():
                begin, end, status = 0, size, "200 OK"
                while line := lines.readline().strip().lower():
                    if line.startswith(b"range: bytes="):
                        words = line[13:].decode().split("-")
                        begin, end, status = int(words[0]), int(words[1]) + 1, "206 Partial Content"
                time.sleep(wait)
                if counts is not None:
                    with counts.get_lock():
                        counts[0] += 1
                        counts[1] += 0 if first.startswith(b"HEAD") else end - begin
                head = f'HTTP/1.1 {status}\r\nETag: "one"\r\nContent-Length: {end - begin}\r\nContent-Range: bytes {begin}-{end - 1}/{size}\r\n\r\n'
                connection.sendall(head.encode())
                if not first.startswith(b"HEAD"):
                    connection.sendfile(file, begin, end - begin)

    while True:
        connection, _ = listening.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # small answers wait for nothing
        threading.Thread(target=session, args=(connection,), daemon=True).start()


def make_site(port: int) -> None:
    """Make the site: a file here, and the same on the bare server."""
    folder = SITE / "collections/big"
    shutil.rmtree(SITE / "var" / "files", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / NAME).exists():
        with (folder / NAME).open("wb") as out:
            for number in range(BYTES >> 20):
                out.write(number.to_bytes(4, "big") * (1 << 18))
    (folder / "big.yaml").write_text(DESCRIPTOR.format(name=NAME, port=port))
    (folder / "list.csv").write_text(f"file\n{NAME}\n")
    (SITE / "hven.toml").write_text('name = "files"\nallow_private = true\n')
    subprocess.run([HVEN, "ingest", "big", "--site", SITE], check=True, stdout=subprocess.DEVNULL)


def rate(port: int, path: str, part: tuple[int, int] | None) -> float:
    """Return MB/s of one answer, its first byte included."""
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    connection.connect()
    room, got = bytearray(1 << 20), 0
    begun = time.perf_counter()
    connection.request("GET", path, headers={} if part is None else {"Range": f"bytes={part[0]}-{part[1]}"})
    answer = connection.getresponse()
    while count := answer.readinto(room):
        got += count
    seconds = time.perf_counter() - begun
    connection.close()
    if got != (BYTES if part is None else part[1] - part[0] + 1):
        raise RuntimeError(f"{path}: {answer.status}, {got} bytes")
    return got / seconds / 1e6


def run(*, only: str = "") -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    here, far = f"/collections/big/files/{NAME}", f"/collections/big/files/far/{NAME}"
    journeys = (
        ("products.files.whole", here, None, 0.8),
        ("products.files.range", here, RANGE, 0.5),
        ("products.files.far.kept", far, RANGE, 0.3),
    )
    wanted = [one for one in journeys if only in one[0]]
    if not wanted:
        return
    port = free_port()
    sender = multiprocessing.get_context("fork").Process(
        target=bare, args=(port, str(SITE / "collections/big" / NAME)), daemon=True
    )
    make_site(port)
    sender.start()
    try:
        with serve_site(SITE) as server:
            for name, path, part, target in wanted:
                yield _measure_file(server, port, name, path, part, target)
    finally:
        sender.terminate()
        sender.join()


def _measure_file(
    server: Server, port: int, name: str, path: str, part: tuple[int, int] | None, target: float
) -> Journey:
    pairs = [(rate(server.port, path, part), rate(port, "/", part)) for _ in range(12)][
        1:
    ]  # the first one fills what is kept
    ours, theirs = (statistics.median(one) for one in zip(*pairs, strict=True))
    return Journey(
        name=name,
        value=ours,
        unit="MB/s",
        reference=theirs,
        ratio=statistics.median(one / other for one, other in pairs),
        target=target,
        higher=True,
        note="beside sendfile of the same bytes",
    )
