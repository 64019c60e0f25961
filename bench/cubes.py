"""Cubes: a slice, the spectrum of a pixel, the mean of a region, warm and cold, each beside numpy.memmap reading the same values; the server's memory meanwhile."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bench.measure import CACHE, HVEN, Journey, Server, against, ask, median, served

DESCRIPTOR = 'collection: cubes\ntitle: Cubes\nfiles: ["*.fits"]\n'
PATH = "/collections/cubes/cube/cube.fits"
# times what numpy.memmap and an empty answer of the server take together; without the rotated copy that a spectrum would like
TARGETS = {"slice": 8.0, "spectrum": 4.0, "mean": 4.0, "slice.cold": 6.0, "spectrum.cold": 1.0}


def shape(big: bool) -> tuple[int, int, int]:
    """Return how many slices, rows and columns: 10 GB, or 256 MB."""
    return (4000, 800, 800) if big else (400, 400, 400)


def made(big: bool) -> Path:
    """Make the site once: real bytes, no holes."""
    from astropy.io import fits

    site = CACHE / ("site-cubes-big" if big else "site-cubes")
    if (site / "done").exists():
        return site
    shutil.rmtree(site, ignore_errors=True)
    folder = site / "collections/cubes"
    folder.mkdir(parents=True)
    depth, height, width = shape(big)
    header = fits.Header(
        [("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 3), ("NAXIS1", width), ("NAXIS2", height), ("NAXIS3", depth)]
    )
    for at, (word, value, step) in enumerate(
        (("RA---TAN", 10.0, -1e-4), ("DEC--TAN", 20.0, 1e-4), ("FREQ", 1.1e11, 1e6)), 1
    ):
        header[f"CTYPE{at}"], header[f"CRPIX{at}"], header[f"CRVAL{at}"], header[f"CDELT{at}"] = word, 1, value, step
    random = np.random.default_rng(1)
    plane = random.normal(0, 1, (height, width)).astype(">f4")
    with (folder / "cube.fits").open("wb") as file:
        file.write(header.tostring().encode())
        for at in range(depth):
            file.write((plane + np.float32(at)).astype(">f4").tobytes())
        file.write(bytes(-file.tell() % 2880))
    (folder / "cubes.yaml").write_text(DESCRIPTOR)
    (site / "hven.toml").write_text('name = "cubes"\n')
    subprocess.run([HVEN, "ingest", "cubes", "--site", site], check=True, stdout=subprocess.DEVNULL)
    (site / "done").touch()
    return site


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    names = [f"products.cube.{name}" for name in (*TARGETS, "memory")]
    if not any(only in name for name in names):
        return
    site = made(big)
    file = site / "collections/cubes/cube.fits"
    with served(site) as server:
        for _ in range(8):  # what reads files is loaded then
            ask(server.connect(), PATH)
        before = _peak(server.pids)
        for name in TARGETS:
            if only in f"products.cube.{name}":
                yield _one(name, server, file, shape(big))
        if only in names[-1]:
            grown = _peak(server.pids) - before
            yield against(
                names[-1], grown, 300.0, 1.0, unit="MiB", note="the most that all processes grew, beside 300 MiB"
            )


def _peak(pids: list[int]) -> float:
    """Sum the most that processes ever had resident, files that they map included, MiB."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(found[1]) for text in texts if (found := re.search(r"VmHWM:\s+(\d+)", text))) / 1024


def _raw(file: Path, size: tuple[int, int, int], take: Callable[[np.memmap], object]) -> None:
    start = next(at for at in range(0, 28_800, 2880) if at and file.open("rb").read(at)[-2880:].find(b"END ") >= 0)
    take(np.memmap(file, ">f4", "r", start, size))


def _one(name: str, server: Server, file: Path, size: tuple[int, int, int]) -> Journey:
    depth, height, width = size
    connection, count = server.connect(), [0]
    what, _, cold = name.partition(".")

    def at(most: int) -> int:
        return count[0] * 7919 % most

    def address() -> str:
        if what == "slice":
            return f"slice={at(depth) + 1}"
        x, y = at(width - 60), at(height - 60)
        return f"spectrum={x + 1}+{y + 1}" if what == "spectrum" else f"mean=box+{x + 1}+{x + 50}+{y + 1}+{y + 50}"

    def raw(cube: np.memmap) -> object:
        if what == "slice":
            return cube[at(depth)].astype("<f4").tobytes()
        x, y = at(width - 60), at(height - 60)
        return (
            cube[:, y, x].astype("f8")
            if what == "spectrum"
            else np.nanmean(cube[:, y : y + 50, x : x + 50].astype("f8"), axis=(1, 2))
        )

    def forget() -> None:
        if cold:
            with file.open("rb") as open_file:
                os.posix_fadvise(open_file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def asked() -> float:
        count[0] += 1
        forget()
        begin = time.perf_counter()
        status, body = ask(connection, f"{PATH}?{address()}")
        took = time.perf_counter() - begin
        if status != 200:
            raise RuntimeError(f"{name}: {status}: {body[:200]!r}")
        found = np.load(io.BytesIO(body)) if what == "slice" else np.array(json.loads(body)["parts"][0]["values"])
        wanted: list[np.ndarray] = []
        _raw(file, size, lambda cube: wanted.append(cube[at(depth)] if what == "slice" else np.asarray(raw(cube))))
        if not (np.array_equal(found, wanted[0]) if what != "mean" else np.allclose(found, wanted[0])):
            raise RuntimeError(f"{name}: other values than numpy.memmap reads")
        return took

    def beside() -> float:
        count[0] += 1
        forget()
        begin = time.perf_counter()
        _raw(file, size, raw)
        return time.perf_counter() - begin

    times = 5 if cold or what == "mean" else 15
    asked()
    value = float(np.median([asked() for _ in range(times)]))
    empty = median(lambda: ask(connection, "/health/live"), 20)
    reference = float(np.median([beside() for _ in range(times)])) + empty
    return against(
        f"products.cube.{name}",
        value * 1000,
        reference * 1000,
        TARGETS[name],
        unit="ms",
        note="beside numpy.memmap and an empty answer",
    )
