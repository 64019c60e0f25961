"""Ten thousand cuts at once, with slow readers among them, beside somebody who asks small things: standard errors, nothing stuck, nothing held in memory.

Two hundred in an ordinary run, ten thousand with HVEN_PROOF=full.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import random
import resource
import statistics
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy.io import fits
from test_soak import weigh

from process_runner import HVEN_COMMAND, run_hven, serve_site

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow
FULL = os.environ.get("HVEN_PROOF") == "full"
MANY, SLOW = (10_000, 200) if FULL else (200, 12)
SMALL = ("/health/live", "/tap/sync?LANG=ADQL&RESPONSEFORMAT=csv&QUERY=SELECT+*+FROM+night.main+WHERE+id='b'")
SIZE = 6000 if FULL else 1500  # pixels of a side
DESCRIPTOR = """\
collection: night
title: Night
files: ["*.fits"]
tables:
  main:
    source: rows.csv
    primary: id
    columns: {id: {type: string, ucd: meta.id;meta.main}}
    links: [{semantics: this, file: "{target.id}.fits"}]
"""


def publish_images(site: Path) -> None:
    """Publish three images."""
    folder = site / "collections" / "night"
    folder.mkdir(parents=True)
    header = fits.Header()
    for at, (name, value) in enumerate((("RA---TAN", 10.0), ("DEC--TAN", 20.0)), 1):
        header[f"CTYPE{at}"], header[f"CRVAL{at}"], header[f"CRPIX{at}"] = name, value, SIZE / 2
        header[f"CDELT{at}"] = (-1e-4, 1e-4)[at - 1]
    pixels = np.arange(SIZE * SIZE, dtype=">f4").reshape(SIZE, SIZE)
    for name in "abc":
        fits.PrimaryHDU(pixels, header).writeto(folder / f"{name}.fits")
    (folder / "rows.csv").write_text("id\na\nb\nc\n")
    (folder / "night.yaml").write_text(DESCRIPTOR)
    (site / "hven.toml").write_text('name = "night"\n')
    run_hven("ingest", "night", "--site", site)


async def send_request(port: int, path: str, *, slow: asyncio.Event | None = None) -> tuple[int, dict[str, str], bytes]:
    """Ask once, as a client of its own; `slow`: take the first bytes only, and hold the line until it is set."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**14)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        body = b""
        if slow is None:
            body = await reader.read(-1)
        else:
            await slow.wait()
        return int(head[0].split()[1]), fields, body
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def flood(port: int) -> tuple[Counter[str], list[str]]:
    """Ask for all cuts at the same moment; return what came how often, and what was wrong."""
    chance, release, told, wrong = random.Random(1), asyncio.Event(), Counter[str](), list[str]()

    async def request_cutout(path: str, *, slow: bool = False) -> None:
        try:
            status, fields, body = await asyncio.wait_for(send_request(port, path, slow=release if slow else None), 300)
        except (OSError, asyncio.IncompleteReadError) as error:
            wrong.append(f"{type(error).__name__}: {error}")
            return
        except TimeoutError:
            wrong.append("nothing came for five minutes")
            return
        told[f"{status}{' slow' * slow}"] += 1
        if status == 200 and not slow and (len(body) != int(fields["content-length"]) or len(body) % 2880):
            wrong.append(f"{len(body)} bytes of {fields['content-length']}")
        elif status == 503 and "retry-after" not in fields:
            wrong.append("503 without Retry-After")
        elif status == 503 and not slow:
            told[body.partition(b" ")[0].decode().rstrip(":")] += 1
        elif status not in {200, 503}:
            wrong.append(f"{status}: {body[:200]!r}")

    asking = [request_cutout("/soda/sync?TABLE=night.main&ID=a", slow=True) for _ in range(SLOW)]
    for _ in range(MANY):
        lon, lat = 10 + chance.uniform(-0.05, 0.05), 20 + chance.uniform(-0.05, 0.05)
        asking.append(request_cutout(f"/soda/sync?TABLE=night.main&ID={chance.choice('abc')}&CIRCLE={lon}+{lat}+0.01"))
    tasks = [asyncio.ensure_future(each) for each in asking]
    await asyncio.wait(tasks[SLOW:])
    release.set()
    await asyncio.wait(tasks)
    return told, wrong


def _run_flood(port: int) -> tuple[Counter[str], list[str]]:
    return asyncio.run(flood(port))


def test_ten_thousand_simultaneous_cuts_succeed(tmp_path: Path) -> None:
    publish_images(tmp_path)
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    aside, took, weights = Counter[int](), list[float](), list[float]()
    with serve_site(tmp_path, workers=2, command=HVEN_COMMAND) as server:
        path = "/soda/sync?TABLE=night.main&ID=a&CIRCLE=10+20+0.01"
        for _ in range(8):  # what reads files is loaded then
            assert asyncio.run(send_request(server.port, path))[0] == 200
        before = weigh(server.process.pid, tmp_path)
        begun = time.monotonic()
        with ProcessPoolExecutor(
            1, multiprocessing.get_context("fork")
        ) as apart:  # its work is not in what is measured here
            flooding = apart.submit(_run_flood, server.port)
            while not flooding.done():
                for small in SMALL:
                    since = time.monotonic()
                    status, _, body = asyncio.run(send_request(server.port, small))
                    took.append(time.monotonic() - since)
                    aside[status] += 1
                    assert status in {200, 503}, body[:200]
                weights.append(weigh(server.process.pid, tmp_path).memory)
                time.sleep(0.05)
            told, wrong = flooding.result()
        seconds = time.monotonic() - begun
        assert asyncio.run(send_request(server.port, path))[0] == 200
        after = weigh(server.process.pid, tmp_path)
        log = (tmp_path / "serve.log").read_text()
    late = statistics.quantiles(took, n=20)[-1]
    print(f"{MANY:,} cuts, {SLOW} slow readers: {dict(told)} in {seconds:.1f} s; aside {dict(aside)}, {statistics.median(took) * 1000:.0f} ms, "
          f"p95 {late * 1000:.0f}, at most {max(took) * 1000:.0f}; {before.memory:.0f} MiB before, {max(weights):.0f} at most, {after.memory:.0f} after; "
          f"files {before.files}, {after.files}")  # fmt: skip
    assert wrong[:5] == []
    assert told["200"]
    assert aside[200] > aside[503]
    assert "Traceback" not in log
    assert "died" not in log
    assert "is killed" not in log
    assert (
        max(weights) < before.memory + 200 + 8 * told["200 slow"]
    )  # a slow reader holds what was read last, and what the line takes
    assert after.files < before.files + 60
