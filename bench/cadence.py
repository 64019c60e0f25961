"""Cadence: 5 million images of nine wavelengths over a year, thinned to one an hour of each, beside a count over the same rows."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from urllib.parse import urlencode

import duckdb

from bench.measure import CACHE, HVEN, Journey, against, ask, median, serve_site

SITE = CACHE / "site-cadence"
ROWS = 5_000_000
DESCRIPTOR = """\
collection: sdo
title: Images of the Sun
tables:
  main:
    source: {{kind: parquet, file: {file}}}
    primary: id
    columns:
      id: {{type: int64, ucd: meta.id;meta.main}}
      t_obs: {{type: timestamp, ucd: time.start;obs, indexed: true}}
      wavelength: {{type: int16, unit: Angstrom, ucd: em.wl}}
"""


def make_site() -> None:
    """Make the site once."""
    if (SITE / "done").exists():
        return
    shutil.rmtree(SITE, ignore_errors=True)
    (SITE / "collections/sdo").mkdir(parents=True)
    file = CACHE / "cadence.parquet"
    with duckdb.connect() as connection:  # one image in 6.3 s, as they come, all wavelengths in turn
        connection.execute(
            f"""COPY (SELECT i AS id, TIMESTAMP '2012-01-01' + to_milliseconds((i * 6307 + hash(i) % 900)::BIGINT) AS t_obs,
            ([94, 131, 171, 193, 211, 304, 335, 1600, 1700])[1 + i % 9]::SMALLINT AS wavelength FROM range({ROWS}) t(i)) TO '{file}' (FORMAT parquet)"""
        )
    (SITE / "collections/sdo/sdo.yaml").write_text(DESCRIPTOR.format(file=file))
    (SITE / "hven.toml").write_text('name = "cadence"\n')
    subprocess.run([HVEN, "ingest", "sdo", "--site", SITE], check=True, stdout=subprocess.DEVNULL)
    (SITE / "done").touch()


def run(*, only: str = "") -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    name = "products.cadence.year"
    if only not in name:
        return
    make_site()
    count = [0]
    with serve_site(SITE) as server:
        connection = server.connect()

        def rows(every: str) -> None:
            count[0] += 1  # another limit each time: nothing is remembered
            given = {"_every": every, "t_obs": f"2012-01-01..2012-12-31T00:{count[0] % 60:02}:00", "_json": "1"}
            status, body = ask(connection, f"/collections/sdo/main/rows?{urlencode(given)}")
            if status != 200 or not json.loads(body).get("rows"):
                raise RuntimeError(f"{status} {body[:300]!r}")

        value = median(lambda: rows("1 h,wavelength"), 9)
        alone = median(lambda: rows("1 h"), 9)
    yield against(
        name,
        value * 1000,
        200.0,
        1.0,
        unit="ms",
        note=f"{ROWS:,} rows to one an hour of nine wavelengths, first page; of all {alone * 1000:.0f} ms",
    )
