"""Archives: files of one site as one ZIP or TAR, beside the same files by `sendfile` over the same loopback; 10,000 small ones; a slow reader."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

from bench.measure import CACHE, HVEN, Journey, Server, against, pairs, pss, serve_site

SITE = CACHE / "site-archives"
LARGE, SMALL = 4, 10_000
DESCRIPTOR = """\
collection: {name}
title: Files
files: ["*.dat"]
tables:
  main:
    source: {{kind: csv, file: rows.csv}}
    primary: id
    columns: {{id: int32, access_url: {{type: string, ucd: meta.ref.url}}}}
    text: {{access_url: "{{site.url}}/collections/{name}/files/{{id}}.dat"}}
"""


def make_site() -> None:
    """Make the site once: four files of 256 MiB, and 10,000 of 20 kB."""
    if (SITE / "done").exists():
        return
    shutil.rmtree(SITE, ignore_errors=True)
    for name, count, size in (("large", LARGE, 256 * 1024**2), ("small", SMALL, 20_000)):
        folder = SITE / "collections" / name
        folder.mkdir(parents=True)
        for at in range(count):
            (folder / f"{at}.dat").write_bytes(os.urandom(min(size, 1024**2)) * max(size // 1024**2, 1))
        (folder / f"{name}.yaml").write_text(DESCRIPTOR.format(name=name))
        (folder / "rows.csv").write_text("id\n" + "".join(f"{at}\n" for at in range(count)))
    (SITE / "hven.toml").write_text('name = "archives"\n')
    for name in ("large", "small"):
        subprocess.run([HVEN, "ingest", name, "--site", SITE], check=True, stdout=subprocess.DEVNULL)
    (SITE / "done").touch()


def run(*, only: str = "") -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    if only and not any(only in name for name in NAMES):
        return
    make_site()
    sender, port = _sender([str(path) for path in sorted((SITE / "collections/large").glob("*.dat"))])
    try:
        with serve_site(SITE) as server:
            for name in NAMES:
                if only in name:
                    yield _journey(name, server, port)
    finally:
        sender.terminate()
        sender.join()


NAMES = (
    "products.archive.file",
    "products.archive.range",
    "products.archive.tar",
    "products.archive.zip",
    "products.archive.begins",
    "products.archive.memory",
)


def _journey(name: str, server: Server, port: int) -> Journey:
    what = name.rpartition(".")[2]
    query = "SELECT access_url FROM {}.main ORDER BY id"
    if what == "begins":
        path = "/archive?" + urlencode({"QUERY": query.format("small"), "FORMAT": "tar"})
        found = sorted(_measure_download(server.port, path, most=1)[1] for _ in range(9))[4]
        return against(name, found * 1000, 200.0, 1.0, unit="ms", note=f"{SMALL:,} files: until the first byte")
    if what == "memory":
        path = "/archive?" + urlencode({"QUERY": query.format("large"), "FORMAT": "zip"})
        before = pss(server.pids)
        slow = [_send_request(server.port, path) for _ in range(8)]
        time.sleep(2)
        _measure_download(server.port, path)
        after = pss(server.pids)
        for one in slow:
            one.close()
        return against(
            name,
            max(after - before, 0.1),
            100.0,
            1.0,
            unit="MiB",
            note="more, while eight slow readers and one quick one take a GiB each",
        )
    if what in {"file", "range"}:
        path = "/collections/large/files/0.dat"
        size = 256 * 2**20
        headers = f"Range: bytes=1000-{size - 1}\r\n" if what == "range" else ""
        raw = "/0"
    else:
        path, headers, raw = "/archive?" + urlencode({"QUERY": query.format("large"), "FORMAT": what}), "", "/"
        size = LARGE * 256 * 2**20

    def rate(port: int, path: str, headers: str = "") -> float:
        begun = time.perf_counter()
        got = _measure_download(port, path, headers)[0]
        if got < size - 2000:
            raise RuntimeError(f"{name}: {got} bytes")
        return got / (time.perf_counter() - begun) / 2**20

    ours, raw_rate, ratio = pairs(partial(rate, server.port, path, headers), partial(rate, port, raw), 7)
    target = 0.5 if what == "range" else 0.8
    return Journey(
        name=name,
        value=ours,
        unit="MiB/s",
        reference=raw_rate,
        ratio=ratio,
        target=target,
        higher=True,
        note="beside sendfile",
    )


def _send_request(port: int, path: str, headers: str = "") -> socket.socket:
    found = socket.create_connection(("127.0.0.1", port))
    found.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{headers}Connection: close\r\n\r\n".encode())
    return found


def _measure_download(port: int, path: str, headers: str = "", most: int = 0) -> tuple[int, float]:
    """Take an answer; return how many bytes came, and after how many seconds the first of its body."""
    begun, room, got = time.perf_counter(), bytearray(2**20), 0
    with _send_request(port, path, headers) as found:
        first = found.recv(2**16)
        while b"\r\n\r\n" not in first:
            first += found.recv(2**16)
        head, _, body = first.partition(b"\r\n\r\n")
        if not re.match(rb"HTTP/1.1 20[06]", head):
            raise RuntimeError(first[:300].decode())
        got = len(body) or found.recv_into(room)
        seconds = time.perf_counter() - begun
        while not most and (more := found.recv_into(room)):
            got += more
    return got, seconds


def _sender(files: Sequence[str]) -> tuple[multiprocessing.Process, int]:
    """Run what sends files by `sendfile` and nothing else: ``/`` all, ``/0`` the first."""
    listening = socket.create_server(("127.0.0.1", 0))
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(listening, files), daemon=True)
    process.start()
    return process, int(listening.getsockname()[1])


def _serve(listening: socket.socket, files: Sequence[str]) -> None:
    while True:
        reader, _ = listening.accept()
        with reader:
            asked = reader.recv(4096)
            reader.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            for path in files[:1] if asked.startswith(b"GET /0") else files:
                with Path(path).open("rb") as file:
                    size = os.fstat(file.fileno()).st_size
                    at = 0
                    while at < size:
                        at += os.sendfile(reader.fileno(), file.fileno(), at, size - at)
