"""Resolve names of 2.5 million objects with three aliases each, from a warm server."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from urllib.parse import quote

import numpy as np
import pyarrow as pa

COUNT, REQUESTS = 2_500_000, 400
MILLISECONDS = 5.0
NAMES = ("resolvers.name", "resolvers.unknown")
SITE_SETTINGS = """\
name = "names"
[resolver]
table = "sky.objects"
"""
DESCRIPTOR = """\
collection: sky
title: Generated objects
tables:
  objects:
    source: {kind: parquet, files: objects.parquet}
    primary: oid
    columns:
      oid: {type: int64, ucd: meta.id}
      main_id: {type: string, ucd: meta.id;meta.main}
      ids: {type: string, ucd: meta.id}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
"""


def run(only: str = "", *, big: bool = False) -> Iterator[object]:
    """Publish the objects, and resolve names as JSON."""
    from bench.measure import CACHE, HVEN, Journey, serve_site
    from pyarrow import parquet

    if not any(only in name for name in NAMES):
        return
    site = CACHE / "resolvers"
    shutil.rmtree(site, ignore_errors=True)
    folder = site / "collections/sky"
    folder.mkdir(parents=True)
    (site / "hven.toml").write_text(SITE_SETTINGS)
    (folder / "sky.yaml").write_text(DESCRIPTOR)
    parquet.write_table(generate_objects(), folder / "objects.parquet")
    subprocess.run([HVEN, "ingest", "sky", "--site", site], check=True, capture_output=True)
    random = np.random.default_rng(47)
    numbers = random.integers(0, COUNT, REQUESTS)
    spellings = ("HD {}", "tyc {}", "GSC  {}", "2massJ{}")
    known = [spellings[place % len(spellings)].format(number) for place, number in enumerate(numbers)]
    unknown = [f"nothing {number}" for number in numbers]
    with serve_site(site, workers=1) as server:
        connection = server.connect()

        def measure(name: str, status: int) -> float:
            begin = time.perf_counter()
            connection.request("GET", f"/resolve/{quote(name)}", headers={"accept": "application/json"})
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != status:
                raise RuntimeError(f"{name}: {answer.status} {body[:300]!r}")
            return (time.perf_counter() - begin) * 1e3

        first = measure(known[0], 200)
        for journey_name, names, status in ((NAMES[0], known, 200), (NAMES[1], unknown, 404)):
            times = sorted(measure(name, status) for name in names)
            slowest = times[int(0.95 * len(times))]
            note = f"p95 of {COUNT:,} objects, {4 * COUNT:,} names; median {statistics.median(times):.2f} ms, first {first:.0f} ms"
            yield Journey(
                name=journey_name,
                value=slowest,
                unit="ms",
                reference=MILLISECONDS,
                ratio=slowest / MILLISECONDS,
                target=1.0,
                note=note,
            )


def generate_objects() -> pa.Table:
    """Generate objects with a main name and three aliases in one text."""
    random = np.random.default_rng(48)
    numbers = np.arange(COUNT).astype(str)
    aliases = np.char.add(np.char.add("TYC ", numbers), np.char.add("|GSC ", numbers))
    return pa.table({
        "oid": np.arange(COUNT),
        "main_id": np.char.add("HD ", numbers),
        "ids": np.char.add(aliases, np.char.add("|2MASS J", numbers)),
        "ra": random.uniform(0, 360, COUNT),
        "dec": np.degrees(np.arcsin(random.uniform(-1, 1, COUNT))),
    })  # fmt: skip


__all__ = ["run"]
