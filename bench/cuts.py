"""Cut-outs: 500 x 500 pixels of a large image, a part of a large cube, beside astropy doing the same to the same files; the server's memory meanwhile."""

from __future__ import annotations

import io
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.measure import CACHE, HVEN, Journey, Server, against, ask, median, pss, serve_site

DESCRIPTOR = """\
collection: cuts
title: Cuts
files: ["*.fits"]
tables:
  main:
    source: rows.csv
    primary: id
    columns: {id: {type: string, ucd: meta.id;meta.main}}
    links: [{semantics: this, file: "{target.id}.fits"}]
"""
NAMES = ("products.cut.image", "products.cut.cube", "products.cut.spectrum", "products.cut.memory")
MIB = 1024**2


def sizes(big: bool) -> dict[str, tuple[int, ...]]:
    """List what is cut; holes on the disk, so that 10 GB take no place."""
    return {"image": (10_000, 10_000), "cube": (100, 5_000, 5_000) if big else (100, 1_500, 1_500)}


def make_site(big: bool) -> Path:
    """Make the site once."""
    from astropy.io import fits

    site = CACHE / ("site-cuts-big" if big else "site-cuts")
    if (site / "done").exists():
        return site
    shutil.rmtree(site, ignore_errors=True)
    folder = site / "collections/cuts"
    folder.mkdir(parents=True)
    for name, shape in sizes(big).items():
        header = fits.Header([("SIMPLE", True), ("BITPIX", -32), ("NAXIS", len(shape))])
        for at, size in enumerate(reversed(shape), 1):
            header[f"NAXIS{at}"] = size
        for at, word in enumerate(("RA---TAN", "DEC--TAN", "WAVE")[: len(shape)], 1):
            header[f"CTYPE{at}"], header[f"CRPIX{at}"] = word, shape[-at] / 2 if at < 3 else 1
            header[f"CRVAL{at}"], header[f"CDELT{at}"] = (10.0, 20.0, 5e-7)[at - 1], (-1e-4, 1e-4, 1e-9)[at - 1]
        head, data = header.tostring().encode(), 4
        for size in shape:
            data *= size
        with (folder / f"{name}.fits").open("wb") as file:
            file.write(head)
            file.truncate(len(head) + -(-data // 2880) * 2880)
    (folder / "cuts.yaml").write_text(DESCRIPTOR)
    (folder / "rows.csv").write_text("id\nimage\ncube\n")
    (site / "hven.toml").write_text('name = "cuts"\n')
    subprocess.run([HVEN, "ingest", "cuts", "--site", site], check=True, stdout=subprocess.DEVNULL)
    (site / "done").touch()
    return site


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    if only and not any(only in name for name in NAMES):
        return
    site = make_site(big)
    with serve_site(site) as server:
        for name in NAMES:
            if only in name and name != "products.cut.memory":
                yield _cut(name, server, site)
            elif only in name:
                yield _memory(name, server)


def _place(n: int, reach: float) -> tuple[float, float]:
    return 10.0 + (n * 37 % 100 - 50) / 100 * reach, 20.0 + (n * 53 % 100 - 50) / 100 * reach


def _cut(name: str, server: Server, site: Path) -> Journey:
    what = name.rpartition(".")[2]
    file = "image" if what == "image" else "cube"
    reach, radius = (0.8, 0.025) if what == "image" else (0.06, 0.025 if what == "cube" else 1e-5)
    more = {"image": "", "cube": "&BAND=5.1e-7+5.19e-7", "spectrum": ""}[what]
    connection, count = server.connect(), [0]

    def request_cutout() -> None:
        count[0] += 1
        lon, lat = _place(count[0], reach)
        status, body = ask(connection, f"/soda/sync?TABLE=cuts.main&ID={file}&CIRCLE={lon}+{lat}+{radius}{more}")
        fewest = {"image": MIB * 0.9, "cube": 10 * MIB * 0.9, "spectrum": 2880}[what]
        if status != 200 or len(body) < fewest:
            raise RuntimeError(f"{name}: {status}, {len(body)} bytes: {body[:100]!r}")

    value = median(request_cutout, 30, warm=5)
    beside = median(_astropy(site / f"collections/cuts/{file}.fits", what, reach, radius, count), 30, warm=5)
    return against(
        name, value * 1000, beside * 1000, 2.0, unit="ms", note="beside astropy: open, find the pixels, read, write"
    )


def _astropy(path: Path, what: str, reach: float, radius: float, count: list[int]) -> Callable[[], None]:
    import numpy as np
    from astropy.io import fits
    from astropy.wcs import WCS

    def call() -> None:
        count[0] += 1
        lon, lat = _place(count[0], reach)
        with warnings.catch_warnings(), fits.open(path, memmap=False, lazy_load_hdus=True) as file:
            warnings.simplefilter("ignore")
            wcs = WCS(file[0].header)
            around = np.linspace(0, 2 * np.pi, 360)
            x, y = wcs.celestial.all_world2pix(
                lon + radius * np.cos(around) / np.cos(np.radians(lat)), lat + radius * np.sin(around), 0
            )
            window = (slice(int(y.min()), int(y.max()) + 1), slice(int(x.min()), int(x.max()) + 1))
            if what != "image":
                window = (slice(10, 20) if what == "cube" else slice(None), *window)
            piece = file[0].section[window]
            header = file[0].header.copy()
            header["CRPIX1"] -= window[-1].start
            header["CRPIX2"] -= window[-2].start
            fits.PrimaryHDU(piece, header).writeto(io.BytesIO())

    return call


def _memory(name: str, server: Server) -> Journey:
    """Measure how much the server grows while a whole file of 400 MB is cut out of itself."""
    connection = server.connect()
    ask(connection, "/soda/sync?TABLE=cuts.main&ID=image&PIXELS_1=1+2")
    before = pss(server.pids)
    status, body = ask(connection, "/soda/sync?TABLE=cuts.main&ID=image")
    if status != 200 or len(body) < 380 * MIB:
        raise RuntimeError(f"{name}: {status}, {len(body)} bytes")
    return against(name, pss(server.pids) - before, 200.0, 1.0, unit="MiB", note="more than before, after 400 MB")
