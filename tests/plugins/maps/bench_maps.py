"""Maps of a body (group maps): tiles, and a map of 1500 x 750 pixels, beside rasterio that reads as many pixels of the same raster."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator

import numpy as np
from bench.measure import CACHE, HVEN, Journey, against, ask, measure_seconds, serve_site

SITE = CACHE / "site-body-maps"
STATE = "made-1"
WIDTH, HEIGHT, BLOCK = 16_384, 8_192, 512
LEVELS = (3, 4, 5)  # of the tiles: 16, 32 and 64 columns
TILES, MAPS, FIRST = 200, 15, 5  # the first of each only warm up
TILE_MS, MAP_MS = 30, 150
# times rasterio's seconds, in the median; it only reads the pixels, and a tile has the costs of a request besides
TILE_BESIDE, MAP_BESIDE = 5, 3
TILE_SIZE, MAP_SIZE = (256, 256), (1500, 750)
NEEDS = {"rasterio": ("maps.tile", "maps.map")}
DESCRIPTOR = """\
collection: heights
title: Heights of Mars
description: Made up.
subjects: [mars]
files: "maps/*"
layers:
  heights: {file: maps/heights.tif, kind: background, range: [-8000, 8000], colours: terrain, unit: m}
"""


def make_site() -> None:
    """Make the site once: a raster of waves, tiled and with overviews."""
    if (SITE / STATE).exists():
        return
    import rasterio

    shutil.rmtree(SITE, ignore_errors=True)
    subprocess.run([HVEN, "init", SITE], check=True, stdout=subprocess.DEVNULL)
    home = SITE / "collections" / "heights"
    (home / "maps").mkdir(parents=True)
    (home / "heights.yaml").write_text(DESCRIPTOR)
    path = home / "maps" / "heights.tif"
    columns = np.arange(WIDTH)
    with rasterio.open(
        path, "w", driver="GTiff", width=WIDTH, height=HEIGHT, count=1, dtype="int16", tiled=True, blockxsize=BLOCK,
        blockysize=BLOCK, compress="deflate", predictor=2, crs="IAU_2015:49900", nodata=-32768,
        transform=rasterio.transform.from_bounds(-180, -90, 180, 90, WIDTH, HEIGHT),
    ) as dataset:  # fmt: skip
        for top in range(0, HEIGHT, BLOCK):
            rows = np.arange(top, top + BLOCK)[:, None]
            waves = np.sin(columns / 300) * np.cos(rows / 200) + 0.3 * np.sin(columns * rows / 40_000)
            dataset.write((5000 * waves).astype("int16"), 1, window=rasterio.windows.Window(0, top, WIDTH, BLOCK))
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4, 8, 16, 32], rasterio.enums.Resampling.average)
    subprocess.run([HVEN, "--site", SITE, "ingest", "heights"], check=True, stdout=subprocess.DEVNULL)
    (SITE / STATE).write_text("")


def list_tiles() -> list[tuple[str, tuple[float, ...]]]:
    """List the addresses of tiles in no order, with their west, south, east and north ends."""
    tiles = []
    chosen = random.Random(7)
    for number in range(TILES + FIRST):
        level = LEVELS[number % len(LEVELS)]
        row, column = chosen.randrange(2**level), chosen.randrange(2 ** (level + 1))
        size = 180 / 2**level
        west, north = column * size - 180, 90 - row * size
        path = f"/wmts/heights/1.0.0/heights/default/MarsGeographic/{level}/{row}/{column}.png"
        tiles.append((path, (west, north - size, west + size, north)))
    return tiles


def list_maps() -> list[tuple[str, tuple[float, ...]]]:
    """List the addresses of maps of half of the body, with their ends."""
    query = "SERVICE=WMS&VERSION=1.1.1&REQUEST=GetMap&LAYERS=heights&STYLES=&SRS=IAU_2015:49900&FORMAT=image/png"
    query += f"&WIDTH={MAP_SIZE[0]}&HEIGHT={MAP_SIZE[1]}"
    ends = [(west, -90, west + 180, 90) for west in range(-180, -180 + 9 * (MAPS + FIRST), 9)]
    return [(f"/wms/heights?{query}&BBOX={','.join(map(str, box))}", box) for box in ends]


def read_box(box: tuple[float, ...], size: tuple[int, int]) -> None:
    """Read a box with so many pixels."""
    import rasterio

    with rasterio.open(SITE / "collections" / "heights" / "maps" / "heights.tif") as dataset:
        window = rasterio.windows.from_bounds(*box, transform=dataset.transform)
        dataset.read(1, window=window, out_shape=(size[1], size[0]))


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Measure tiles that nobody has requested before, and maps; rasterio reads the same boxes in turn with them."""
    groups = {
        "maps.tile": (list_tiles(), TILE_SIZE, TILE_MS, TILE_BESIDE),
        "maps.map": (list_maps(), MAP_SIZE, MAP_MS, MAP_BESIDE),
    }
    wanted = [name for name in groups if not only or only in name]
    if not wanted:
        return
    make_site()
    with serve_site(SITE, workers=1) as server:
        connection = server.connect()

        def request_picture(path: str) -> None:
            status, body = ask(connection, path)
            if status != 200 or not body.startswith(b"\x89PNG"):
                raise RuntimeError(f"{path}: {status} {body[:300]!r}")

        for name in wanted:
            pictures, size, bound_ms, beside = groups[name]
            times = [
                (measure_seconds(lambda: request_picture(path)), measure_seconds(lambda: read_box(box, size)))  # noqa: B023
                for path, box in pictures
            ]
            own_ms, raw_ms = 1e3 * np.array(times[FIRST:]).T
            note = f"p95 of {len(own_ms)} pictures of {size[0]} x {size[1]} pixels, each requested once"
            if name == "maps.map":
                found_ms, note = float(np.median(own_ms)), note.replace("p95", "median")
            else:
                found_ms = float(np.percentile(own_ms, 95))
            yield against(name, found_ms, bound_ms, 1.0, unit="ms", note=note)
            note = "median, beside rasterio that opens the raster and reads the box with as many pixels"
            yield against(
                f"{name}.beside", float(np.median(own_ms)), float(np.median(raw_ms)), beside, unit="ms", note=note
            )
