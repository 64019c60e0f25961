"""``hven ingest`` and ``hven sync``: when they are done, the reductions of long series are there, before anybody asks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from process_runner import run_hven

DESCRIPTOR = """\
collection: sun
title: Sun
description: Spectra
files: data/*
tables:
  days:
    source: {kind: granules, files: data/*}
    follow: true
    series: {file: "{target.path}", time: moment, cadence: 1 s}
"""


def day(data: Path, number: int) -> None:
    at = np.datetime64(f"2003-10-{number}", "us").astype(np.int64) + np.arange(30_000) * 1_000_000
    flux = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(30_000 * 80, dtype="f4")), 80)
    pq.write_table(
        pa.table({"moment": pa.array(at).cast(pa.timestamp("us")), "flux": flux}), data / f"{number}.parquet"
    )


def test_reductions_are_made_with_what_is_published(tmp_path: Path) -> None:
    data = tmp_path / "collections/sun/data"
    data.mkdir(parents=True)
    (tmp_path / "hven.toml").write_text("")
    (data.parent / "sun.yaml").write_text(DESCRIPTOR)
    for number, verb in ((28, "ingest"), (29, "sync")):
        day(data, number)
        run_hven("--site", str(tmp_path), verb, "sun")
        (found,) = (tmp_path / "var/reductions").glob("*/levels.json")
        widths = json.loads(found.read_text())["widths"]
        bins = (found.parent / f"{widths[0]}.bins").stat().st_size
        assert bins // (number - 27) > 30_000 // 15 * 80 * 4  # of all days
