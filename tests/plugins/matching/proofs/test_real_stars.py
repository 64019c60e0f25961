"""Real stars: Hipparcos is matched with Tycho-2, and Tycho-2's own HIP numbers say which partner is right.

Tycho-2 comes from Debian's source package, Hipparcos (118,216 stars, positions of 2000 rounded to 0.36 arcsec) from the
npm package d3-celestial.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pytest
from bench.data import TYCHO_ROWS, tycho_csv

from hven.ingest.api.runs import ingest_collection
from hven.query import run_query
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files
from requirements import require

HIPPARCOS_PACKAGE = "d3-celestial@0.7.35"
DESCRIPTOR = """
collection: sky
title: Stars
tables:
  hipparcos:
    source: {kind: csv, files: hipparcos.csv}
    primary: hip
    columns:
      hip: {type: int32, ucd: meta.id;meta.main}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      mag: {type: float64, unit: mag, ucd: phot.mag}
  tycho:
    source: {kind: csv, files: tycho.csv, null: [""]}
    primary: tyc
    columns:
      tyc: {type: string, ucd: meta.id;meta.main}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      hip: {type: int32}
  matched:
    source:
      kind: match
      reference: {table: sky.hipparcos, epoch: 2000}
      catalogues: {tycho: {table: sky.tycho, epoch: 2000, radius: 1.5}}
    primary: hip
"""


def fetch_hipparcos(directory: Path) -> pa.Table:
    """Fetch the stars of Hipparcos with their numbers."""
    subprocess.run(["npm", "pack", HIPPARCOS_PACKAGE], check=True, capture_output=True, cwd=directory)
    with tarfile.open(next(directory.glob("*.tgz"))) as archive:
        features = json.load(archive.extractfile("package/data/stars.14.json"))["features"]  # type: ignore[arg-type]
    coordinates = np.array([feature["geometry"]["coordinates"] for feature in features])
    numbers = pa.array([feature["id"] for feature in features], pa.int32())
    magnitudes = [feature["properties"]["mag"] for feature in features]
    return pa.table({"hip": numbers, "ra": coordinates[:, 0] % 360, "dec": coordinates[:, 1], "mag": magnitudes})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    require("proof")
    directory = tmp_path_factory.mktemp("stars")
    hipparcos = fetch_hipparcos(directory)
    tycho_file = tycho_csv()
    options = pyarrow.csv.ConvertOptions(
        include_columns=["tyc", "ra", "dec", "hip"],
        column_types={"ra": pa.float64(), "dec": pa.float64(), "hip": pa.int32()},
    )
    tycho = pyarrow.csv.read_csv(tycho_file, convert_options=options)
    assert tycho.num_rows == TYCHO_ROWS
    if pc.max(tycho.column("hip")).as_py() > 120_404:
        pytest.skip("Tycho-2 cannot be had: apt-get source tycho2 failed")
    files = {}
    for name, table in (("hipparcos.csv", hipparcos), ("tycho.csv", tycho)):
        sink = pa.BufferOutputStream()
        pyarrow.csv.write_csv(table, sink)
        files[name] = sink.getvalue().to_pybytes().decode()
    with open_site_with_uningested_files(directory / "site", DESCRIPTOR, files) as opened:
        ingest_collection(opened, "sky")
        yield opened


def read_table(site: Site, query: str) -> pa.Table:
    with run_query(query, site=site, maxrec=5_000_000) as result:
        return pa.Table.from_batches(list(result.iterate_batches()))


def test_stars_of_hipparcos_are_found_in_tycho(site: Site) -> None:
    matched = read_table(
        site,
        'SELECT m.hip, m."XM_TYCHO_id" AS tyc, t.hip AS partner '
        'FROM sky.matched AS m LEFT OUTER JOIN sky.tycho AS t ON m."XM_TYCHO_id" = t.tyc',
    )
    known = read_table(site, "SELECT DISTINCT hip FROM sky.tycho WHERE hip IS NOT NULL AND ra IS NOT NULL")
    has_truth = pc.is_in(matched.column("hip"), value_set=known.column("hip").combine_chunks())
    stars = matched.filter(has_truth)
    has_partner = stars.column("tyc").is_valid()
    is_right = pc.fill_null(pc.equal(stars.column("hip"), stars.column("partner")), fill_value=False)
    found = pc.sum(is_right).as_py()
    wrong = pc.sum(pc.and_(has_partner, pc.invert(is_right))).as_py()
    missed = stars.num_rows - found - wrong
    others = matched.filter(pc.invert(has_truth))
    other_partners = len(others) - others.column("tyc").null_count
    print(
        f"of {stars.num_rows:,} stars of Hipparcos in Tycho-2: found {found:,} ({found / stars.num_rows:.3%}), missed "
        f"{missed:,} ({missed / stars.num_rows:.3%}), wrong {wrong:,} ({wrong / stars.num_rows:.3%}); of "
        f"{len(others):,} others {other_partners:,} have a partner"
    )
    assert stars.num_rows > 110_000
    assert found / stars.num_rows > 0.98
    assert wrong / stars.num_rows < 0.005
