"""A list that curators release again and again: JMMC's Measured Stellar Diameters, of which two releases are compared."""

from __future__ import annotations

import csv
import io
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asgi_client import Client
from astropy.table import Table
from submission_site import Person, query, read_submission

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.testing.site import open_site_with_uningested_files
from process_runner import run_hven
from shared import shared

DESCRIPTOR = """\
collection: jmdc
title: Measured stellar diameters
tables:
  diameters:
    title: Diameters
    source:
      kind: push
      columns: {id: int64, star: string, band: string, ud: float64, ldd: float64, reference: string, path: string, sha256: string, version: int32}
      ids: id
      writers: [mia]
    submissions:
      path: path
      sha256: sha256
      values: {star: ID1, band: BAND, ud: UD_MEAS, ldd: LD_MEAS, reference: REF}
      identity: [star, band, reference]
      version: version
    primary: id
"""
Row = tuple[str, str, str, str, str]


def write_number(value: Any) -> str:
    if value is np.ma.masked or np.isnan(value):
        return ""
    return f"{value:.5g}"


def read_release(path: Path, reference: str) -> list[Row]:
    """Read a release: the star, the band, two diameters, and the beginning of the reference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the units and TNULL of the real files
        table = Table.read(path, hdu=1)
    return [
        (str(row["ID1"]).strip(), str(row["BAND"]).strip(), write_number(row["UD_MEAS"]), write_number(row["LD_MEAS"]), str(row[reference]).strip()[:19])
        for row in table
    ]  # fmt: skip


def write_sheet(rows: list[Row]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([("ID1", "BAND", "UD_MEAS", "LD_MEAS", "REF"), *rows])
    return text.getvalue().encode()


@pytest.mark.slow
def test_the_difference_of_two_releases(tmp_path: Path) -> None:
    folder = shared("data/interferometry/jmdc")
    old = read_release(folder / "JMDC_2016-08-31.fits.gz", "REFTEXT")
    new = read_release(folder / "JMDC_2017-03-28.fits.gz", "REFERENCE")
    assert (len(old), len(new)) == (1_235, 1_239)
    with open_site_with_uningested_files(tmp_path, DESCRIPTOR) as site:
        ingest_collection(site, "jmdc")
        site.store.users.add_account("anna")
        client = Client(create_and_start_application(site))
        anna = Person(client, site, "anna")
        first = read_submission(anna.take(anna.begin({"2016.csv": write_sheet(old)}, "jmdc.diameters"), "submit"))
        assert (first["state"], len(first["keys"])) == ("saved", 1_235)
        second = read_submission(anna.take(anna.begin({"2017.csv": write_sheet(new)}, "jmdc.diameters"), "check"))
        report = second["report"]
        old_rows, old_identities = set(old), {(row[0], row[1], row[4]) for row in old}
        changed = [row for row in new if row not in old_rows]
        kinds = Counter((row[0], row[1], row[4]) in old_identities for row in changed)
        assert report["unchanged"] == len(new) - len(changed) > 0
        assert Counter("replaces" in row for row in report["rows"]) == kinds
        assert min(kinds.values()) > 0, "there are new measurements, and versions of others"
        saved = read_submission(anna.take(second, "submit"))
        assert len(saved["keys"]) == len(changed)
        assert query(client, "SELECT COUNT(*) FROM jmdc.diameters") == [[str(1_235 + len(changed))]]


RELEASED = """\
collection: jmdc
title: Measured stellar diameters
tables:
  diameters:
    title: Diameters
    source: {kind: csv, files: data/diameters.csv}
    primary: [star, band, reference, number]
    columns:
      star: {type: string, description: Star}
      band: {type: string, description: Band}
      reference: {type: string, description: Paper}
      number: {type: int32, description: Number of the measurement in its paper}
      ud: {type: float64, description: Diameter of a uniform disk}
      ldd: {type: float64, description: Diameter of a limb-darkened disk}
"""


@pytest.mark.slow
def test_releases_are_compared(tmp_path: Path) -> None:
    """`hven release diff` counts what a comparison of the two files by their keys counts."""
    folder, collection = shared("data/interferometry/jmdc"), tmp_path / "collections/jmdc"
    (collection / "data").mkdir(parents=True)
    (collection / "jmdc.yaml").write_text(RELEASED)
    (tmp_path / "hven.toml").write_text('name = "jmdc"\n')
    releases: dict[str, dict[Row, tuple[str, str]]] = {}
    for label, name, reference in (("2016", "JMDC_2016-08-31", "REFTEXT"), ("2017", "JMDC_2017-03-28", "REFERENCE")):
        values: dict[Row, tuple[str, str]] = {}
        counts: Counter[tuple[str, str, str]] = Counter()
        for star, band, ud, ldd, paper in read_release(folder / f"{name}.fits.gz", reference):
            identity = (star, band, paper or "-")
            counts[identity] += 1
            values[*identity, str(counts[identity]), ""] = (ud, ldd)
        with (collection / "data/diameters.csv").open("w", newline="") as file:
            rows = [(*key[:4], *pair) for key, pair in values.items()]
            csv.writer(file).writerows([("star", "band", "reference", "number", "ud", "ldd"), *rows])
        run_hven("ingest", "--site", tmp_path, "jmdc")
        run_hven("release", "--site", tmp_path, label, "jmdc")
        releases[label] = values
    old, new = releases["2016"], releases["2017"]
    changed = sum(old[key] != new[key] for key in old.keys() & new.keys())
    line = f"{len(new.keys() - old.keys()):,} added, {changed:,} changed, {len(old.keys() - new.keys()):,} removed, 1,239 rows"
    shown = run_hven("release", "--site", tmp_path, "diff", "2016", "2017").stdout
    assert shown.splitlines()[-1] == f"jmdc.diameters: {line}"
