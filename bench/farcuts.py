"""Cut-outs of files on a server that waits 20 ms before each answer: nothing kept yet, beside the same bytes taken by plain range requests."""

from __future__ import annotations

import multiprocessing
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.cuts import make_site as local
from bench.cuts import sizes
from bench.measure import CACHE, HVEN, Journey, Server, against, ask, free_port, serve_site
from bench.wholefiles import bare

SITE = CACHE / "site-farcuts"
NAMES = ("products.far.image", "products.far.cube", "products.far.spectrum")
WAIT = 0.02  # seconds before each answer
TIMES = 9
AT_ONCE = 8  # requests of the plain reader where it has several to make, as `files.at_once` is
SIDE, FIRST = 500, 400  # pixels of a cut along an edge, and its first
HEAD = 64 * 1024  # bytes in which a header is looked for
DESCRIPTOR = """\
collection: far
title: Far
files: [{{root: "http://127.0.0.1:{port}", from: main, path: "{{id}}.fits", proxied: true}}]
tables:
  main:
    source: rows.csv
    primary: id
    columns: {{id: {{type: string, ucd: meta.id;meta.main}}}}
    links: [{{semantics: this, file: "{{target.id}}.fits"}}]
"""


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    for name in NAMES:
        if only in name:
            yield _journey(name, local(big) / "collections/cuts", big=big)


def _journey(name: str, folder: Path, *, big: bool) -> Journey:
    what = name.rpartition(".")[2]
    file = "image" if what == "image" else "cube"
    port, counts = free_port(), multiprocessing.get_context("fork").Array("q", 2)
    sender = multiprocessing.get_context("fork").Process(
        target=bare, args=(port, str(folder / f"{file}.fits"), WAIT, counts), daemon=True
    )
    sender.start()
    try:
        collection = SITE / "collections/far"
        shutil.rmtree(SITE, ignore_errors=True)
        collection.mkdir(parents=True)
        (collection / "far.yaml").write_text(DESCRIPTOR.format(port=port))
        # each is asked for once: of none is anything known, and all have the same bytes
        (collection / "rows.csv").write_text("id\n" + "".join(f"{what}{n}\n" for n in range(TIMES + 1)))
        (SITE / "hven.toml").write_text('name = "far"\nallow_private = true\n')
        subprocess.run([HVEN, "ingest", "far", "--site", SITE], check=True, stdout=subprocess.DEVNULL)
        with serve_site(SITE, workers=1) as server:
            return _measure_cutouts(name, what, sizes(big)[file], server, port, counts)
    finally:
        sender.terminate()
        sender.join()


def _measure_cutouts(name: str, what: str, shape: tuple[int, ...], server: Server, port: int, counts: Any) -> Journey:
    connection, last = server.connect(), FIRST + SIDE - 1
    pixels = {
        "image": f"PIXELS_1={FIRST}+{last}&PIXELS_2={FIRST}+{last}",
        "cube": f"PIXELS_1={FIRST}+{last}&PIXELS_2={FIRST}+{last}&PIXELS_3=51+51",
        "spectrum": f"PIXELS_1={FIRST}+{FIRST}&PIXELS_2={FIRST}+{FIRST}",
    }[what]
    every = _ranges(what, shape)
    ours, plain, told = [], [], []
    for number in range(TIMES + 1):
        steps = [(time.perf_counter(), *counts)]
        status, body = ask(connection, f"/soda/sync?TABLE=far.main&ID={what}{number}&{pixels}")
        if status != 200 or len(body) < (2880 if what == "spectrum" else 4 * SIDE * SIDE):
            raise RuntimeError(f"{name}: {status}, {len(body)} bytes: {body[:200]!r}")
        steps.append((time.perf_counter(), *counts))
        _fetch_ranges(port, every)
        steps.append((time.perf_counter(), *counts))
        told = [[after - before for before, after in zip(*pair, strict=True)] for pair in pairwise(steps)]
        if number:  # modules are loaded by the first
            ours.append(told[0][0])
            plain.append(told[1][0])
    words = [f"{one[1]:.0f} requests, {one[2] / 1e6:.1f} MB" for one in told]
    return against(
        name,
        statistics.median(ours) * 1000,
        statistics.median(plain) * 1000,
        1.5,
        unit="ms",
        note=f"nothing kept, 20 ms a request: {words[0]}; plain range requests of the same pixels' rows: {words[1]}",
    )


def _ranges(what: str, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """List what must be read of the array, as bytes behind the header: the rows of a cut in one range, a pixel of each plane in one each."""
    width = shape[-1]
    if what == "spectrum":
        places = [2880 + 4 * ((plane * shape[1] + FIRST - 1) * width + FIRST - 1) for plane in range(shape[0])]
        return [(place, place + 4) for place in places]
    begin = 50 * shape[1] * width if what == "cube" else 0
    first = 2880 + 4 * (begin + (FIRST - 1) * width + FIRST - 1)
    return [(first, first + 4 * ((SIDE - 1) * width + SIDE))]


def _fetch_ranges(port: int, every: list[tuple[int, int]]) -> None:
    """Ask for a file's facts, its header, and these ranges, several at once over connections that stay open."""
    first = HTTPConnection("127.0.0.1", port, timeout=60)
    first.request("HEAD", "/plain.fits")
    first.getresponse().read()

    def several(connection: HTTPConnection, some: list[tuple[int, int]]) -> None:
        for begin, end in some:
            connection.request("GET", "/plain.fits", headers={"Range": f"bytes={begin}-{end - 1}"})
            if len(connection.getresponse().read()) != end - begin:
                raise RuntimeError("the server gives less than was asked for")

    several(first, [(0, HEAD)])
    if len(every) == 1:
        several(first, every)
    else:
        ways = [HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(AT_ONCE)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(several, ways, [every[at::AT_ONCE] for at in range(AT_ONCE)]))
        for way in ways:
            way.close()
    first.close()
