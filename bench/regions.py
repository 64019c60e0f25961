"""What a million footprints cost: points and circles against them, and an upload of ten thousand points; beside the same over positions."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.measure import CACHE, HVEN, Journey, Server, pairs, serve_site, tap

SITE = CACHE / "site-footprints"
ROWS, POINTS, CORNERS = 1_000_000, 10_000, 6
DESCRIPTOR = """\
collection: sky
title: Footprints
subjects: [surveys]
tables:
  fields:
    source: {kind: parquet, file: fields.parquet}
    primary: id
    position: [ra, dec]
    columns:
      id: {type: int64, ucd: meta.id;meta.main}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      s_region: {type: polygon, unit: deg, ucd: pos.outline;obs.field}
"""
POINT = "SELECT id FROM sky.fields WHERE 1 = CONTAINS(POINT({ra}, {dec}), s_region)"
CIRCLE = "SELECT id FROM sky.fields WHERE 1 = INTERSECTS(s_region, CIRCLE({ra}, {dec}, 0.1))"
CONE = "SELECT id, ABS(dec) AS b FROM sky.fields WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE({ra}, {dec}, 0.6))"
UPLOADED = "SELECT COUNT(*) AS n FROM TAP_UPLOAD.u AS u JOIN sky.fields AS f ON 1 = CONTAINS(POINT(u.ra, u.dec), {})"


def draw_polygons() -> Path:
    """Draw the polygons once: hexagons of 0.006 to 1.6 degrees, everywhere."""
    folder = SITE / "collections" / "sky"
    if (folder / "fields.parquet").exists():
        return folder / "fields.parquet"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    lon, lat = positions(rng, ROWS)
    radius = 10 ** rng.uniform(-2.2, 0.2, ROWS)
    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False) + rng.uniform(0, 1, (ROWS, 1))
    reach = rng.uniform(0.5, 1, (ROWS, CORNERS)) * radius[:, None]
    lats = np.clip(lat[:, None] + reach * np.sin(angle), -89.9, 89.9)
    lons = (lon[:, None] + reach * np.cos(angle) / np.maximum(np.cos(np.radians(lats)), 0.02)) % 360
    flat = np.stack([lons, lats], axis=2).round(6).ravel()
    region = pa.ListArray.from_arrays(np.arange(0, len(flat) + 1, 2 * CORNERS, dtype=np.int32), flat)
    pq.write_table(pa.table({"id": np.arange(ROWS), "ra": lon, "dec": lat, "s_region": region}), folder / "fields.part")  # fmt: skip
    return (folder / "fields.part").rename(folder / "fields.parquet")


def make_site() -> None:
    """Make the site once."""
    if (SITE / "var").exists():
        return
    folder = draw_polygons().parent
    (SITE / "hven.toml").write_text('name = "footprints"\n')
    (folder / "sky.yaml").write_text(DESCRIPTOR)
    try:
        subprocess.run([HVEN, "ingest", "sky", "--site", SITE], check=True, capture_output=True)
    except BaseException:
        shutil.rmtree(SITE / "var", ignore_errors=True)
        raise


def positions(rng: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw positions, evenly over the sphere."""
    return rng.uniform(0, 360, number), np.degrees(np.arcsin(rng.uniform(-1, 1, number)))


def run(only: str = "", *, big: bool = False) -> Iterator[Journey]:
    """Ask for footprints and for positions, in turn."""
    if not any(only in f"regions.{name}" for name in ("point", "circle", "upload")):
        return
    make_site()
    rng = np.random.default_rng(5)
    with serve_site(SITE) as server:
        connection = server.connect()
        places = itertools.starmap(lambda ra, dec: {"ra": f"{ra:.5f}", "dec": f"{dec:.5f}"}, zip(*positions(rng, 10_000), strict=True))  # fmt: skip

        def seconds(text: str) -> float:
            begun = time.perf_counter()
            connection.request("GET", tap(text.format(**next(places)), "csv"))
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{text}: {answer.status} {body[:300]!r}")
            return (time.perf_counter() - begun) * 1e3

        for name, text in (("point", POINT), ("circle", CIRCLE)):
            if only in f"regions.{name}":
                for one in (text, CONE) * 5:
                    seconds(one)
                value, reference, ratio = pairs(lambda: seconds(text), lambda: seconds(CONE), 60)  # noqa: B023
                yield Journey(name=f"regions.{name}", value=value, unit="ms", reference=reference, ratio=ratio, target=2.0,
                              note=f"of {ROWS:,} polygons (5 ms); reference: a cone with as many rows, by DuckDB, too")  # fmt: skip
        if only in "regions.upload":
            text = "ra,dec\n" + "".join(
                f"{ra:.6f},{dec:.6f}\n" for ra, dec in zip(*positions(rng, POINTS), strict=True)
            )
            regions, circles = (UPLOADED.format(shape) for shape in ("f.s_region", "CIRCLE(f.ra, f.dec, 0.32)"))
            for one in (regions, circles):
                measure_upload(server, one, text)
            value, reference, ratio = pairs(lambda: measure_upload(server, regions, text), lambda: measure_upload(server, circles, text), 7)  # fmt: skip
            yield Journey(name="regions.upload", value=value, unit="s", reference=reference, ratio=ratio, target=2.0,
                          note=f"{POINTS:,} points (1 s); reference: as many pairs with circles around positions")  # fmt: skip


def measure_upload(server: Server, query: str, text: str) -> float:
    """Send points and a query; return seconds."""
    connection = server.connect()
    bound = "points"
    body = f'--{bound}\r\nContent-Disposition: form-data; name="u"; filename="u.csv"\r\nContent-Type: text/csv\r\n\r\n{text}\r\n--{bound}--\r\n'
    begun = time.perf_counter()
    connection.request(
        "POST",
        f"/tap/sync?LANG=ADQL&RESPONSEFORMAT=csv&UPLOAD={quote('u,param:u')}&QUERY={quote(query)}",
        body,
        {"content-type": f"multipart/form-data; boundary={bound}"},
    )
    answer = connection.getresponse()
    body_ = answer.read()
    taken = time.perf_counter() - begun
    if answer.status != 200:
        raise RuntimeError(f"{query}: {answer.status} {body_[:300]!r}")
    return taken


__all__ = ["CORNERS", "ROWS", "draw_polygons", "positions", "run"]
