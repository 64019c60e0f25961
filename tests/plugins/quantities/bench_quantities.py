"""Compute 500,000 rows of quantities with errors of first order, and synchronise them again without changes."""

from __future__ import annotations

import resource
import shutil
import subprocess
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

COUNT = 500_000
SECONDS, SECONDS_UNCHANGED = 60.0, 5.0  # of the processor
NAMES = ("quantities.computed", "quantities.unchanged")
DESCRIPTOR = """\
collection: stars
title: Generated stars
functions: {file: diameters.py}
tables:
  main:
    source: {kind: parquet, files: stars.parquet}
    primary: id
    sync: {}
    columns: {id: int64}
    origins: {2: computed, 4: ASCC, 14: 2MASS}
    quantities:
      V: {unit: mag, value: vmag, error: e_vmag, origin: ASCC, confidence: high}
      J: {unit: mag, value: jmag, error: e_jmag, origin: 2MASS, confidence: quality}
      H: {unit: mag, value: hmag, error: e_hmag, origin: 2MASS, confidence: quality}
      K: {unit: mag, value: kmag, error: e_kmag, origin: 2MASS, confidence: quality}
      V_K: {unit: mag, value: target.V - target.K, error: first order}
      diam_vj: {unit: mas, value: "diam_vj(target.V, target.J, idx)", error: first order}
      diam_vh: {unit: mas, value: "diam_vh(target.V, target.H, idx)", error: first order}
      diam_vk: {unit: mas, value: "diam_vk(target.V, target.K, idx)", error: first order}
      LDD:
        unit: mas
        value: "limb_darkened_diameter(target.V, e_vmag, target.J, e_jmag, target.H, e_hmag, target.K, e_kmag, idx)"
        error: "diameter_error(vmag, e_vmag, jmag, e_jmag, hmag, e_hmag, kmag, e_kmag, idx)"
"""


def run(only: str = "", *, big: bool = False) -> Iterator[object]:
    """Ingest the stars with the diameters of example 26, then synchronise."""
    from bench.measure import CACHE, HVEN, ROOT, Journey
    from pyarrow import parquet

    if not any(only in name for name in NAMES):
        return
    site = CACHE / "quantities"
    shutil.rmtree(site, ignore_errors=True)
    folder = site / "collections/stars"
    folder.mkdir(parents=True)
    (site / "hven.toml").write_text('name = "quantities"\n')
    (folder / "stars.yaml").write_text(DESCRIPTOR)
    shutil.copy(ROOT / "examples/26-jsdc/collections/jsdc/diameters.py", folder)
    parquet.write_table(generate_stars(), folder / "stars.parquet")
    steps = (("ingest", NAMES[0], SECONDS), ("sync", NAMES[1], SECONDS_UNCHANGED))
    for verb, journey_name, limit in steps:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([HVEN, verb, "stars", "--site", site], check=True, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        note = f"processor time, {COUNT:,} rows with 9 quantities; peak {after.ru_maxrss / 1024:.0f} MB"
        note += f"; {done.stdout.strip().splitlines()[-1]}"
        yield Journey(
            name=journey_name,
            value=seconds,
            unit="s",
            reference=limit,
            ratio=seconds / limit,
            target=1.0,
            note=note,
        )


def generate_stars() -> pa.Table:
    """Generate stars with magnitudes, errors, the quality of their infrared magnitudes, and spectral indexes."""
    random = np.random.default_rng(46)
    color = random.uniform(0, 4, COUNT)
    vmag = random.uniform(3, 12, COUNT)
    columns = {"id": np.arange(COUNT), "vmag": vmag, "e_vmag": np.full(COUNT, 0.02)}
    for band, factor in (("j", 0.6), ("h", 0.9), ("k", 1.0)):
        columns[f"{band}mag"] = vmag - factor * color
        columns[f"e_{band}mag"] = random.uniform(0.01, 0.3, COUNT)
    return pa.table({
        **columns, "quality": random.integers(0, 4, COUNT).astype(np.int32), "idx": random.uniform(50, 260, COUNT)
    })  # fmt: skip


__all__ = ["run"]
