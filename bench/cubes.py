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

from bench.measure import CACHE, HVEN, Journey, Server, against, ask, median, serve_site

DESCRIPTOR = 'collection: cubes\ntitle: Cubes\nfiles: ["*.fits"]\n'
PATH = "/collections/cubes/cube/cube.fits"
# times what numpy.memmap and an empty answer of the server take together
TARGETS = {"slice": 8.0, "spectrum": 4.0, "mean": 4.0, "slice.cold": 6.0, "spectrum.cold": 1.0}
COPIED = {"spectrum.copy": 1.1, "mean.copy": 1.5, "spectrum.copy.cold": 0.7}  # times the same without the rotated copy
MOST = 1 << 30  # bytes of the file that are copied to compare
SIZE, MAKING = 1.1, 8.0  # times the data; times what it takes to copy the file and have it on the disk


def shape(big: bool) -> tuple[int, int, int]:
    """Return how many slices, rows and columns: 10 GB, or 256 MB."""
    return (4000, 800, 800) if big else (400, 400, 400)


def make_site(big: bool) -> Path:
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
    names = [f"products.cube.{name}" for name in (*TARGETS, *COPIED, "copy.size", "copy.made", "copy.memory", "memory")]
    if not any(only in name for name in names):
        return
    site = make_site(big)
    file = site / "collections/cubes/cube.fits"
    for place in ("cubes", "prepared"):
        shutil.rmtree(site / "var" / place, ignore_errors=True)
    with serve_site(site) as server:
        for _ in range(8):  # what reads files is loaded then
            ask(server.connect(), PATH)
        before = _peak(server.pids)
        wanted = [name for name in COPIED if only in f"products.cube.{name}"]
        known = {}
        for name in TARGETS:
            if only in f"products.cube.{name}" or name in {one.replace(".copy", "") for one in wanted}:
                row = _measure_cutout(name, server, file, shape(big))
                known[name] = row.value
                if only in row.name:
                    yield row
        if any(only in name for name in names if ".copy" in name):
            yield from (row for row in _measure_copy(site, file) if only in row.name)
            for name in wanted:
                plain = name.replace(".copy", "")
                value = _measure_cutout(plain, server, file, shape(big)).value
                yield against(f"products.cube.{name}", value, known[plain], COPIED[name], unit="ms", note="beside the same without")  # fmt: skip
        if only in names[-1]:
            grown = _peak(server.pids) - before
            yield against(
                names[-1], grown, 300.0, 1.0, unit="MiB", note="the most that all processes grew, beside 300 MiB"
            )


def _measure_copy(site: Path, file: Path) -> Iterator[Journey]:
    """Make the rotated copy, beside a plain copy of the file."""
    plain = site / "plain"
    begin, size = time.perf_counter(), file.stat().st_size
    with file.open("rb") as source, plain.open("wb") as out:
        while out.tell() < min(size, MOST) and (piece := source.read(16 << 20)):
            out.write(piece)
        out.flush()
        os.fsync(out.fileno())
    beside = (time.perf_counter() - begin) * size / plain.stat().st_size
    plain.unlink()
    took, memory = _prepare(site)
    took -= _prepare(site)[0]  # the command itself, where nothing is new
    (copy,) = (site / "var/cubes/cubes").glob("*/*.npy")
    yield against("products.cube.copy.made", took, beside, MAKING, unit="s", note="beside a copy of the file")
    yield against("products.cube.copy.memory", memory, 300.0, 1.0, unit="MiB", note="the most of its process")
    sizes = (one.stat().st_size / 2**20 for one in (copy, file))
    yield against("products.cube.copy.size", next(sizes), next(sizes), SIZE, unit="MiB", note="beside the file")


def _prepare(site: Path) -> tuple[float, float]:
    """Run the command: seconds, and the most that it had resident, MiB."""
    begin, most = time.perf_counter(), 0.0
    process = subprocess.Popen([HVEN, "prepare", "cubes", "--spectra", "--site", site], stdout=subprocess.DEVNULL)
    while process.poll() is None:  # what wait4 tells has the memory of who began it in it
        most = max(most, _peak([process.pid]))
        time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"hven prepare ended with {process.returncode}")
    return time.perf_counter() - begin, most


def _peak(pids: list[int]) -> float:
    """Sum the most that processes ever had resident, files that they map included, MiB."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(found[1]) for text in texts if (found := re.search(r"VmHWM:\s+(\d+)", text))) / 1024


def _raw(file: Path, size: tuple[int, int, int], take: Callable[[np.memmap], object]) -> None:
    start = next(at for at in range(0, 28_800, 2880) if at and file.open("rb").read(at)[-2880:].find(b"END ") >= 0)
    take(np.memmap(file, ">f4", "r", start, size))


def _measure_cutout(name: str, server: Server, file: Path, size: tuple[int, int, int]) -> Journey:
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
        for one in (file, *file.parents[2].glob("var/cubes/*/*/*.npy")) if cold else ():
            with one.open("rb") as open_file:
                os.posix_fadvise(open_file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def measure_request() -> float:
        count[0] += 1
        forget()
        connection = server.connect()  # what it is compared with may take so long that a server closes an idle one
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

    def measure_raw_read() -> float:
        count[0] += 1
        forget()
        begin = time.perf_counter()
        _raw(file, size, raw)
        return time.perf_counter() - begin

    times = 5 if cold or what == "mean" else 15
    measure_request()
    value = float(np.median([measure_request() for _ in range(times)]))
    empty = median(lambda: ask(connection, "/health/live"), 20)
    reference = float(np.median([measure_raw_read() for _ in range(times)])) + empty
    return against(
        f"products.cube.{name}",
        value * 1000,
        reference * 1000,
        TARGETS[name],
        unit="ms",
        note="beside numpy.memmap and an empty answer",
    )
