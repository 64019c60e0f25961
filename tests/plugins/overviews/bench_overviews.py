"""A table at first sight (group overviews): six histograms, density in time and a map over 10^6 and 2 x 10^7 rows, beside DuckDB that counts the same."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import time
from collections.abc import Iterator

import duckdb
from bench.measure import CACHE, HVEN, Journey, against, median, serve_site
from bench.portal import _cpu, fetch_json

SITE = CACHE / "site-strips"
STATE = "made-1"
SIZES = {"small": 1_000_000, "large": 20_000_000}
SAMPLE = 500_000  # rows of a large table that are counted
PARTS = [f"p{at}" for at in range(6)]
MS = {"small": 150, "large": 250}
OF_DUCKDB = 2.5  # processor time
TABLE = """\
  {name}:
    title: {name}
    primary: [id]
    position: [ra, dec]
    source: {{kind: parquet, files: {name}.parquet}}
    columns:
      id: {{type: int32, ucd: meta.id;meta.main, description: Number, rank: 1}}
      ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: RA, rank: 1}}
      dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Dec, rank: 1}}
      seen: {{type: timestamp, ucd: time.epoch, description: Time, rank: 1}}
"""


def make_site() -> None:
    """Make the site once."""
    if (SITE / STATE).exists():
        return
    shutil.rmtree(SITE, ignore_errors=True)
    subprocess.run([HVEN, "init", SITE], check=True, stdout=subprocess.DEVNULL)
    home = SITE / "collections" / "spread"
    home.mkdir(parents=True)
    columns = "".join(f"      {name}: {{type: float32, description: Number, rank: 2}}\n" for name in PARTS)
    tables = "".join(TABLE.format(name=name) + columns for name in SIZES)
    (home / "spread.yaml").write_text(
        f"collection: spread\ntitle: Numbers\ndescription: Made up.\nsubjects: [numbers]\ntables:\n{tables}"
    )
    for name, rows in SIZES.items():
        with duckdb.connect() as connection:
            connection.execute(f"COPY ({_rows(rows)}) TO '{home / name}.parquet' (FORMAT parquet)")
    subprocess.run([HVEN, "--site", SITE, "ingest", "spread"], check=True, stdout=subprocess.DEVNULL)
    for name in SIZES:
        (home / f"{name}.parquet").unlink()  # the snapshots have the rows
    (SITE / STATE).write_text("")


def _rows(rows: int) -> str:
    parts = ", ".join(f"(hash(i + {7 * at + 1}) % 1000003 / 10000.3)::FLOAT AS {name}" for at, name in enumerate(PARTS))
    return f"""SELECT i::INTEGER AS id, hash(i) % 3600000 / 1e4 AS ra, hash(i + 3) % 1800000 / 1e4 - 90 AS dec,
        TIMESTAMP '1996-05-01' + to_seconds((hash(i + 5) % 630000000)::BIGINT) AS seen, {parts} FROM range({rows}) t(i)"""


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Measure one reader who brushes, another range each time; nothing remembered answers."""
    wanted = [name for name in SIZES if not only or only in f"portal.strip.{name}"]
    if not wanted:
        return
    make_site()
    ranges = random.Random(3)
    with serve_site(SITE) as server:
        connection = server.connect()
        for name in wanted:
            here = f"/collections/spread/{name}/strip"

            def request_strip(here: str = here, more: str = "&_only=drawn") -> dict[str, object]:
                return fetch_json(connection, f"{here}?p0=..{ranges.uniform(60, 95):.5f}{more}")

            first = request_strip(more="")
            if len(first["parts"]) != 6 or not first["time"] or not first["map"] or first["exact"] != (name == "small"):  # type: ignore[arg-type]
                raise RuntimeError(f"{here}: {json.dumps(first)[:300]}")
            begun = _cpu(server)
            found = median(request_strip, 17, 3) * 1e3
            cpu = (_cpu(server) - begun) / 20 * 1e3
            note = "all rows counted" if name == "small" else "marked as estimates"
            yield against(
                f"portal.strip.{name}", found, MS[name], 1.0, unit="ms",
                note=f"six histograms, time and map of {SIZES[name]:,} rows, {note}; {cpu:.0f} ms of processors",
            )  # fmt: skip
            yield against(
                f"portal.strip.{name}.beside", cpu, _raw(min(SIZES[name], SAMPLE if name == "large" else SIZES[name])),
                OF_DUCKDB, unit="ms", note="of processors, beside DuckDB that counts the same of as many rows in a table of its own",
            )  # fmt: skip


def _raw(rows: int) -> float:
    """Give the milliseconds of processors that DuckDB takes for the same counts."""
    bins = [
        *(f"floor({name} / 2.5)" for name in PARTS),
        "date_trunc('quarter', seen)",
        "floor((dec + 90) / 5) * 72 + floor(ra / 5)",
    ]
    texts = [f"SELECT {one}, count(*) FROM r WHERE p0 <= {{0}} GROUP BY 1" for one in bins]
    limits = random.Random(7)
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE r AS {_rows(rows)}")
        begun, times = 0.0, 12
        for number in range(times + 2):
            if number == 2:
                begun = time.process_time()
            limit = limits.uniform(60, 95)
            for one in texts:
                connection.execute(one.format(limit)).fetchall()
        return (time.process_time() - begun) / times * 1e3
