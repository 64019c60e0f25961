"""Previews: a thumbnail from the shelf beside the same bytes as a file; one drawn anew of 2k x 2k and 10k x 10k pixels beside a raw read; memory."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import numpy as np

from bench.measure import CACHE, HVEN, Journey, against, ask, median, pss, serve_site

SITE = CACHE / "site-previews"
DESCRIPTOR = """\
collection: pictures
title: Pictures
files: ["*.fits", "*.png"]
"""
NAMES = ("products.preview.warm", "products.preview.cold", "products.preview.large", "products.preview.memory")


def make_site() -> None:
    """Make the site once."""
    if (SITE / "done").exists():
        return
    from astropy.io import fits
    from PIL import Image

    shutil.rmtree(SITE, ignore_errors=True)
    folder = SITE / "collections/pictures"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    fits.PrimaryHDU(rng.normal(100.0, 10.0, (2048, 2048)).astype("f4")).writeto(folder / "small.fits")
    fits.PrimaryHDU(np.zeros((10_000, 10_000), "f4")).writeto(folder / "large.fits")
    Image.fromarray(rng.integers(0, 255, (200, 200), "u1")).save(folder / "same.png")
    (folder / "pictures.yaml").write_text(DESCRIPTOR)
    (SITE / "hven.toml").write_text('name = "pictures"\n')
    subprocess.run([HVEN, "ingest", "pictures", "--site", SITE], check=True, stdout=subprocess.DEVNULL)
    (SITE / "done").touch()


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    if only and not any(only in name for name in NAMES):
        return
    make_site()
    shutil.rmtree(SITE / "var/previews", ignore_errors=True)
    folder = SITE / "collections/pictures"
    with serve_site(SITE) as server:
        connection, count = server.connect(), [0]

        def request_preview(path: str, anew: str = "") -> None:
            count[0] += 1
            status, body = ask(connection, path + (f"&percentile={count[0] * 1e-3:.3f}+99.5" if anew else ""))
            if status != 200 or len(body) < 300:
                raise RuntimeError(f"{path}: {status}, {body[:100]!r}")

        def read(name: str) -> float:
            return median(lambda: float(np.fromfile(folder / name, ">f4").astype("f4").max()), 7)

        address = "/collections/pictures/preview/{}?size=200"
        for name in NAMES:
            if only not in name:
                continue
            if name.endswith("warm"):
                value = median(lambda: request_preview(address.format("small.fits")), 200, warm=20)
                beside = median(lambda: request_preview("/collections/pictures/files/same.png"), 200, warm=20)
                yield against(name, value * 1000, beside * 1000, 2.0, unit="ms", note="beside a file of its size")
            elif name.endswith("memory"):
                before = pss(server.pids)
                for _ in range(10):
                    request_preview(address.format("large.fits"), "anew")
                grown = pss(server.pids) - before
                yield against(name, grown, 200.0, 1.0, unit="MiB", note="of ten thumbnails of 400 MB; at most 200 MiB")
            else:
                file = "small.fits" if name.endswith("cold") else "large.fits"
                value = median(lambda file=file: request_preview(address.format(file), "anew"), 15, warm=3)  # type: ignore[misc]
                yield against(name, value * 1000, read(file) * 1000, 6.0, unit="ms", note="beside a raw read")
