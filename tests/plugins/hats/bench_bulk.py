"""Tables as files over HTTP (group bulk): bytes that a cone moves as LSDB asks for it, partitions beside a file that sendfile gives, the first byte of one that is not made yet."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench.measure import CACHE, HVEN, Journey, Server, against, pairs, serve_site

SITE = CACHE / "site-bulk"
ROWS = 2_500_000
MB = 1_000_000
ROUNDS = 7
STARS = """\
collection: stars
title: Stars
tables:
  main:
    primary: id
    source: {kind: parquet, files: stars.parquet}
    columns:
      id: {type: int64, ucd: meta.id;meta.main}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      pmra: {type: float64, unit: mas/yr}
      pmdec: {type: float64, unit: mas/yr}
      parallax: {type: float64, unit: mas}
      g: {type: float32, unit: mag}
      bp: {type: float32, unit: mag}
      rp: {type: float32, unit: mag}
      name: string
"""


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    names = ("bulk.http.cone", "bulk.http.partition", "bulk.http.first_byte")
    if not any(only in name for name in names):
        return
    make_site()
    shutil.rmtree(SITE / "var" / "tiles", ignore_errors=True)
    with serve_site(SITE, workers=1) as server:
        state, pixels = catalogue(server)
        if only in names[0]:
            moved = [cone(server, state, lon, lat) for lon, lat in ((83.63, 22.01), (0.0, 0.0), (200.0, -60.0))]
            note = f"1 degree, all columns, of {ROWS:,} stars, with the requests of LSDB 0.11 (most of 3 places)"
            yield against(names[0], max(moved), MB, 1.0, unit="bytes", note=note)
        paths = [f"{state}/dataset/Norder={order}/Dir=0/Npix={pixel}.parquet" for order, pixel in pixels]
        if only in names[1]:
            body = ask(server, paths[0])
            plain = CACHE / "partition.parquet"
            plain.write_bytes(body)
            ours, sent, ratio = pairs(lambda: rate(server, paths[0]), lambda: sendfile(plain), ROUNDS)
            note = f"a partition of {len(body):,} bytes beside sendfile of the same, in turn"
            yield Journey(name=names[1], value=ours / MB, unit="MB/s", reference=sent / MB, ratio=ratio, target=0.1, higher=True, note=note)  # fmt: skip
        if only in names[2]:
            cold = [first(server, path) for path in paths[1 : 1 + ROUNDS]]
            warm = [first(server, path) for path in paths[1 : 1 + ROUNDS]]
            note = "of a partition that is not made yet, seconds; the reference is that of one that is"
            yield against(names[2], statistics.median(cold), statistics.median(warm), 200.0, unit="s", note=note)


def make_site() -> None:
    """Make the site, once."""
    folder = SITE / "collections" / "stars"
    if (SITE / "var" / "snapshots").is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    (SITE / "hven.toml").write_text("")
    (folder / "stars.yaml").write_text(STARS)
    some = np.random.default_rng(3)
    columns = {"id": np.arange(ROWS), "ra": some.uniform(0, 360, ROWS), "dec": np.degrees(np.arcsin(some.uniform(-1, 1, ROWS)))}  # fmt: skip
    columns |= {name: np.round(some.normal(15, 2, ROWS), 4) for name in ("pmra", "pmdec", "parallax")}
    columns |= {name: np.round(some.normal(15, 2, ROWS), 4).astype("f4") for name in ("g", "bp", "rp")}
    pq.write_table(pa.table({**columns, "name": [f"S{at}" for at in range(ROWS)]}), folder / "stars.parquet")
    os.spawnv(os.P_WAIT, HVEN, [str(HVEN), "ingest", "stars", "--site", str(SITE)])


def catalogue(server: Server) -> tuple[str, list[tuple[int, int]]]:
    """Return where the newest state is, and its partitions."""
    said = ask(server, "/hats/stars/collection.properties").decode()
    name = next(line.split("=")[1] for line in said.splitlines() if line.startswith("hats_primary_table_url"))
    lines = ask(server, f"/hats/stars/{name}/partition_info.csv").decode().split()[1:]
    return f"/hats/stars/{name}", [tuple(map(int, line.split(","))) for line in lines]  # type: ignore[misc]


def ask(server: Server, path: str, method: str = "GET") -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, (path, body[:200])
    connection.close()
    return body


def cone(server: Server, state: str, lon: float, lat: float) -> int:
    """Make the requests of `lsdb.open_catalog(url, search_filter=ConeSearch(..)).compute()`, as a relay saw them; return the bytes of their bodies and heads."""
    import cdshealpix
    from astropy import units as u
    from astropy.coordinates import Latitude, Longitude

    margin = f"{state}.margin"
    paths = [f"{state.rpartition('/')[0]}/collection.properties"] * 2
    paths += [f"{one}/{name}" for one in (state, margin) for name in ("hats.properties",) * 2 + ("dataset/_common_metadata",) * 3 + ("partition_info.csv",)]  # fmt: skip
    paths += [f"{state}/point_map.fits"] * 2
    order = 4  # of the map of so many stars
    cells, depths, _ = cdshealpix.cone_search(Longitude(lon, u.deg), Latitude(lat, u.deg), 1 * u.deg, order)
    spans = sorted((int(cell) << 2 * (29 - int(depth)), (int(cell) + 1) << 2 * (29 - int(depth))) for cell, depth in zip(cells, depths, strict=True))  # fmt: skip
    said = ";".join(f"_healpix_29>={low},_healpix_29<{high}" for low, high in spans)
    pixels = {low >> 2 * 28 for low, _ in spans}
    paths += [f"{state}/dataset/Norder=1/Dir=0/Npix={pixel}.parquet?filters={quote(said)}" for pixel in pixels] * 2
    return sum(len(ask(server, path)) + 600 for path in paths)


def rate(server: Server, path: str) -> float:
    """Return bytes in a second over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    size, begun = 0, time.perf_counter()
    for _ in range(10):
        connection.request("GET", path)
        size += len(connection.getresponse().read())
    seconds = time.perf_counter() - begun
    connection.close()
    return size / seconds


def sendfile(place: Path) -> float:
    """Return bytes in a second that the machine's own sendfile gives of a file, with a head, over one connection."""
    size = place.stat().st_size
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        line, _ = listener.accept()
        with line, place.open("rb") as file:
            for _ in range(10):
                line.recv(4096)
                line.sendall(f"HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n".encode())
                line.sendfile(file, 0)

    thread = threading.Thread(target=serve)
    thread.start()
    connection = http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=120)
    begun = time.perf_counter()
    for _ in range(10):
        connection.request("GET", "/")
        connection.getresponse().read()
    seconds = time.perf_counter() - begun
    connection.close()
    thread.join()
    listener.close()
    return 10 * size / seconds


def first(server: Server, path: str) -> float:
    """Return seconds until the first byte."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    begun = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read(1)
    seconds = time.perf_counter() - begun
    answer.read()
    connection.close()
    return seconds
