"""LSDB, in an environment of its own, matches the same stars with margins, and finds the same partners."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pyarrow.parquet as pq

from hven.ingest.api.runs import ingest_collection
from hven.query import run_query
from hven.testing.site import open_site_with_uningested_files
from plugins.matching.generated_stars import generate_pairs, move_stars, write_csv
from requirements import require

PYTHON = os.environ.get("HVEN_LSDB", "")  # of an environment with lsdb and aiohttp
STARS, YEARS, RADIUS_ARCSEC = 6_000, 24.75, 1.5
DESCRIPTOR = """
collection: sky
title: Stars
tables:
  first:
    source: {kind: csv, files: first.csv}
    primary: id
    columns:
      id: {type: int64, ucd: meta.id;meta.main}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
  second:
    source: {kind: csv, files: second.csv}
    primary: source
    columns:
      source: {type: int64, ucd: meta.id;meta.main}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
  matched:
    source:
      kind: match
      reference: {table: sky.first, epoch: 2000}
      catalogues: {other: {table: sky.second, epoch: 2000, radius: 1.5, best: first}}
      rows: pairs
    primary: [id, candidate_id]
"""
LSDB_PROGRAM = """
import json, sys, warnings
import dask, lsdb, pandas
warnings.simplefilter("ignore")
dask.config.set(scheduler="threads", num_workers=2)
directory, radius = sys.argv[1], float(sys.argv[2])
first, second = (
    lsdb.from_dataframe(
        pandas.read_parquet(f"{directory}/{name}.parquet"), ra_column="ra", dec_column="dec", margin_threshold=60,
        lowest_order=1, highest_order=5, partition_rows=500,
    )
    for name in ("first", "second")
)
pairs = first.crossmatch(second, n_neighbors=1, radius_arcsec=radius, suffixes=("_a", "_b")).compute()
columns = {name.split("_")[0]: pairs[name] for name in pairs.columns if name.startswith(("id", "source"))}
print(json.dumps([[int(a), int(b)] for a, b in zip(columns["id"], columns["source"])]))
"""


def test_lsdb_finds_the_same_partners(tmp_path: Path) -> None:
    require("HVEN_LSDB")
    first, second = generate_pairs(STARS, years=YEARS)
    # both at one epoch: LSDB moves no stars
    columns = [first.column(name).to_numpy() for name in ("ra", "dec", "pmra", "pmdec")]
    ra, dec = move_stars(*columns, YEARS)
    first = first.select(["id"]).append_column("ra", [ra]).append_column("dec", [dec])
    second = second.select(["source", "ra", "dec"])
    for name, table in (("first", first), ("second", second)):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    answer = subprocess.run(
        [PYTHON, "-c", LSDB_PROGRAM, str(tmp_path), str(RADIUS_ARCSEC)], check=True, capture_output=True, text=True
    )
    expected_pairs = {tuple(pair) for pair in json.loads(answer.stdout.splitlines()[-1])}
    files = {"first.csv": write_csv(first).decode(), "second.csv": write_csv(second).decode()}
    with open_site_with_uningested_files(tmp_path / "site", DESCRIPTOR, files) as site:
        ingest_collection(site, "sky")
        with run_query("SELECT id, candidate_id FROM sky.matched", site=site, maxrec=STARS) as result:
            rows = [row for batch in result.iterate_batches() for row in batch.to_pylist()]
    pairs = {(row["id"], int(row["candidate_id"])) for row in rows}
    print(f"{len(pairs):,} pairs, LSDB: {len(expected_pairs):,}")
    assert len(pairs) > STARS / 2
    assert pairs == expected_pairs
