"""Maps of a body (group maps): tiles, and a map of 1500 x 750 pixels, beside rasterio that reads as many pixels of the same raster.

Maps from above a pole and of one side of the body, tiles a second, and the first tiles of a raster of 8 GB are measured
in seconds of processors: other programs on the machine do not change these.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from bench.measure import CACHE, HVEN, Journey, Server, against, anonymous_peak, ask, measure_seconds, serve_site, spent

SITE = CACHE / "site-body-maps"
LARGE_SITE = CACHE / "site-large-map"
LARGE_WIDTH, LARGE_HEIGHT = 131_072, 65_536  # 8.6 GB of bytes, all but a square of them sparse
SQUARE_PIXELS = 4_096
COLD_TILES, RATE_TILES, CLIENTS = 40, 400, 4
COLD_MS, RATE_BOUND, MAX_GROWTH_MIB = 300, 200, 60
FRAME_BOXES = {"polar": ("49930", (-4e6, -2e6)), "orthographic": ("49970", (-6.4e6, -3.2e6))}
STATE = "made-1"
WIDTH, HEIGHT, BLOCK = 16_384, 8_192, 512
LEVELS = (3, 4, 5)  # of the tiles: 16, 32 and 64 columns
TILES, MAPS, FIRST = 200, 15, 5  # the first of each only warm up
TILE_MS, MAP_MS = 30, 150
# times rasterio's seconds, in the median; it only reads the pixels, and a tile has the costs of a request besides
TILE_BESIDE, MAP_BESIDE = 5, 3
TILE_SIZE, MAP_SIZE = (256, 256), (1500, 750)
NEEDS = {"rasterio": ("maps.tile", "maps.map", "maps.polar", "maps.rate", "maps.cold")}
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


def make_large_site() -> None:
    """Make the site once: a sparse raster of 8 GB with values in a square, and overviews."""
    if (LARGE_SITE / STATE).exists():
        return
    import rasterio

    shutil.rmtree(LARGE_SITE, ignore_errors=True)
    subprocess.run([HVEN, "init", LARGE_SITE], check=True, stdout=subprocess.DEVNULL)
    home = LARGE_SITE / "collections" / "heights"
    (home / "maps").mkdir(parents=True)
    (home / "heights.yaml").write_text(DESCRIPTOR.replace("[-8000, 8000]", "[0, 255]"))
    path = home / "maps" / "heights.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=LARGE_WIDTH, height=LARGE_HEIGHT, count=1, dtype="uint8", tiled=True,
        blockxsize=BLOCK, blockysize=BLOCK, compress="deflate", sparse_ok=True, bigtiff="yes", crs="IAU_2015:49900",
        transform=rasterio.transform.from_bounds(-180, -90, 180, 90, LARGE_WIDTH, LARGE_HEIGHT),
    ) as dataset:  # fmt: skip
        square = np.random.default_rng(1).integers(0, 255, (SQUARE_PIXELS, SQUARE_PIXELS), dtype="uint8")
        dataset.write(square, 1, window=rasterio.windows.Window(0, 0, SQUARE_PIXELS, SQUARE_PIXELS))
    with rasterio.Env(SPARSE_OK_OVERVIEW="YES"), rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([4, 16, 64, 256], rasterio.enums.Resampling.nearest)
    subprocess.run([HVEN, "--site", LARGE_SITE, "ingest", "heights"], check=True, stdout=subprocess.DEVNULL)
    (LARGE_SITE / STATE).write_text("")


def list_large_tiles() -> list[str]:
    """List the addresses of tiles at full size in the square with values; each has blocks of its own."""
    step = 2 * BLOCK // 256
    side = SQUARE_PIXELS // 256
    places = [(row, column) for row in range(0, side, step) for column in range(0, side, step)]
    places += [(row + 2, column + 2) for row, column in places]
    path = "/wmts/heights/1.0.0/heights/default/MarsGeographic/8/{}/{}.png"
    return [path.format(row, column) for row, column in places][:COLD_TILES]


def request_png(server: Server, path: str) -> None:
    """Request a picture over a connection of its own."""
    status, body = ask(server.connect(), path)
    if status != 200 or not body.startswith(b"\x89PNG"):
        raise RuntimeError(f"{path}: {status} {body[:300]!r}")


def measure_processor_ms(server: Server, path: str) -> float:
    """Measure the milliseconds of processors that a picture takes."""
    begin = spent(server.pids)
    request_png(server, path)
    return 1e3 * (spent(server.pids) - begin)


def measure_frames(server: Server) -> Iterator[Journey]:
    """Measure maps in frames that are not cylindrical."""
    for name, (code, (left, bottom)) in FRAME_BOXES.items():
        query = f"VERSION=1.1.1&REQUEST=GetMap&LAYERS=heights&STYLES=&SRS=IAU_2015:{code}&FORMAT=image/png"
        query += f"&WIDTH={MAP_SIZE[0]}&HEIGHT={MAP_SIZE[1]}&BBOX={left},{bottom},{-left},"
        times = [measure_processor_ms(server, f"/wms/heights?{query}{-bottom + step}") for step in range(MAPS + FIRST)]
        note = f"median of {MAPS} maps of {MAP_SIZE[0]} x {MAP_SIZE[1]} pixels, processor time"
        yield against(f"maps.{name}", float(np.median(times[FIRST:])), MAP_MS, 1.0, unit="ms", note=note)


def measure_rate(server: Server) -> Iterator[Journey]:
    """Measure how many tiles two processors draw in a second, and how the memory of the server grows."""
    paths = [path for path, _ in list_tiles()] * 3
    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(lambda path: request_png(server, path), paths[:RATE_TILES]))
        before, begin = anonymous_peak(server.pids), spent(server.pids)
        list(clients.map(lambda path: request_png(server, path), paths[:RATE_TILES]))
    rate = 2 * RATE_TILES / (spent(server.pids) - begin)
    note = f"{RATE_TILES} tiles by {CLIENTS} clients: twice their number a second of processors"
    yield against("maps.rate", rate, RATE_BOUND, 1.0, unit="tiles/s", higher=True, note=note)
    growth = max(anonymous_peak(server.pids) - before, 0.0)
    yield against("maps.memory", growth, MAX_GROWTH_MIB, 1.0, unit="MiB", note="growth during these tiles")


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


def run_processor_journeys(only: str) -> Iterator[Journey]:
    """Measure what is measured in seconds of processors."""
    if not only or any(only in name for name in ("maps.polar", "maps.orthographic", "maps.rate", "maps.memory")):
        make_site()
        with serve_site(SITE, workers=2) as server:
            yield from measure_frames(server)
            yield from measure_rate(server)
    if not only or only in "maps.cold":
        make_large_site()
        with serve_site(LARGE_SITE, workers=1) as server:
            path = "/wmts/heights/1.0.0/heights/default/MarsGeographic/0/0/0.png"
            request_png(server, path)  # imports libraries, and looks at the whole raster
            times = [measure_processor_ms(server, path) for path in list_large_tiles()]
        note = f"p95 of {len(times)} tiles out of a raster of 8 GB, each from blocks that nobody has read"
        yield against("maps.cold", float(np.percentile(times, 95)), COLD_MS, 1.0, unit="ms", note=note)


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Measure tiles that nobody has requested before, and maps; rasterio reads the same boxes in turn with them."""
    groups = {
        "maps.tile": (list_tiles(), TILE_SIZE, TILE_MS, TILE_BESIDE),
        "maps.map": (list_maps(), MAP_SIZE, MAP_MS, MAP_BESIDE),
    }
    yield from run_processor_journeys(only)
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
            begin = spent(server.pids)
            times = [
                (measure_seconds(lambda: request_picture(path)), measure_seconds(lambda: read_box(box, size)))  # noqa: B023
                for path, box in pictures
            ]
            processor_ms = 1e3 * (spent(server.pids) - begin) / len(pictures)
            own_ms, raw_ms = 1e3 * np.array(times[FIRST:]).T
            note = f"p95 of {len(own_ms)} pictures of {size[0]} x {size[1]} pixels, each requested once"
            if name == "maps.map":
                found_ms, note = float(np.median(own_ms)), note.replace("p95", "median")
            else:
                found_ms = float(np.percentile(own_ms, 95))
            yield against(name, found_ms, bound_ms, 1.0, unit="ms", note=note)
            note = f"mean of {len(pictures)} pictures, processor time"
            yield against(f"{name}.processor", processor_ms, bound_ms, 1.0, unit="ms", note=note)
            note = "median, beside rasterio that opens the raster and reads the box with as many pixels"
            yield against(
                f"{name}.beside", float(np.median(own_ms)), float(np.median(raw_ms)), beside, unit="ms", note=note
            )
