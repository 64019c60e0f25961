"""A site with das2 sources of arrays, lines, polarisations and varying channels, for Hven's reader and das2's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SECOND_MICROSECONDS = 1_000_000
START_MICROSECONDS = int(np.datetime64("2016-12-31T23:00:00.25", "us").astype(int))
SAMPLE_COUNT = 4000
GAP_SAMPLES = 1500, 2100  # of samples that are not there
DESCRIPTOR = """\
collection: {name}
title: Decametre array
description: Spectra of Jupiter
tables:
  routine:
    title: Routine
    access: {access}
    source: {{kind: parquet, files: ../../nda.parquet}}
    columns:
      at: {{ucd: time.epoch}}
      lh: {{type: "float32[8]", unit: V**2.m**-2.Hz**-1, description: Left <hand>}}
      swept: {{type: "float64[8]"}}
      table: {{type: "float64[8]"}}
      field: {{type: "float64[3]", unit: nT}}
      stokes: {{type: "float32[8x2]", unit: K}}
      mag: {{unit: nT}}
      count: {{description: Number}}
      note: {{description: Words}}
    series:
      - id: {name}_lh
        das2: {path}/routine_jup_lh
        cadence: 1 s
        parameters: [lh]
        bins: {{lh: {{name: frequency, unit: MHz, centers: [10, 12, 14, 16, 18, 20, 22.5, 24]}}}}
      - {{id: {name}_lines, das2: "{path}/lines", title: Lines & more, parameters: [mag, field, count, note]}}
      - id: {name}_swept
        das2: {path}/swept
        parameters: [swept, table]
        bins: {{swept: {{name: frequency, unit: MHz, centers: table}}}}
      - id: {name}_all
        das2: {path}/all
        parameters: [lh, mag, swept, stokes, count]
        scale_types: {{lh: log, MAG: linear}}
        bins: {{lh: {{name: Frequency of the channel, unit: MHz, centers: [10, 12, 14, 16, 18, 20, 22.5, 24], scale_type: log}}, stokes: [{{name: polarisation, centers: [0, 1]}}, {{name: frequency, unit: MHz, centers: [1, 2, 3, 4, 5, 6, 7, 8]}}]}}
      - id: {name}_stokes
        das2: {path}/stokes
        parameters: [stokes]
        bins: {{stokes: [{{name: polarisation, centers: [0, 1]}}, {{name: frequency, unit: MHz, centers: [1, 2, 3, 4, 5, 6, 7, 8]}}]}}
"""


def make_samples() -> pa.Table:
    """Build the samples with a fixed seed; each kind of number has a missing value."""
    rng = np.random.default_rng(5)
    moments = START_MICROSECONDS + np.arange(SAMPLE_COUNT) * SECOND_MICROSECONDS
    moments[GAP_SAMPLES[1] :] += 3600 * SECOND_MICROSECONDS
    keep = np.r_[0 : GAP_SAMPLES[0], GAP_SAMPLES[1] : SAMPLE_COUNT]
    lh = rng.exponential(size=(SAMPLE_COUNT, 8)).astype(np.float32)
    lh[7, 3] = np.nan
    mag = rng.normal(size=SAMPLE_COUNT)
    mag[9] = np.nan
    table = np.where(np.arange(SAMPLE_COUNT)[:, None] < 2500, np.arange(10.0, 18.0), np.arange(20.0, 36.0, 2))
    whole = {
        "at": pa.array(moments[keep]).cast(pa.timestamp("us")), "lh": pa.array(list(lh[keep]), pa.list_(pa.float32())),
        "swept": pa.array(list(rng.normal(size=(len(keep), 8))), pa.list_(pa.float64())), "table": pa.array(list(table[keep]), pa.list_(pa.float64())),
        "field": pa.array(list(rng.normal(size=(len(keep), 3))), pa.list_(pa.float64())),
        "stokes": pa.array(list(rng.normal(size=(len(keep), 16)).astype("f4")), pa.list_(pa.float32())),
        "mag": mag[keep], "count": pa.array(np.arange(len(keep), dtype="i4"), mask=np.arange(len(keep)) == 3), "note": ["a"] * len(keep),
    }  # fmt: skip
    return pa.table(whole)


def write_site(directory: Path, samples: pa.Table, **settings: str) -> None:
    """Write a site with the collections nda, which is public, and shut, which is private."""
    pq.write_table(samples, directory / "nda.parquet")
    for name, access, path in (("nda", "public", "Nancay/NDA/Routine"), ("shut", "private", "Nancay/Shut")):
        folder = directory / "collections" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.yaml").write_text(DESCRIPTOR.format(name=name, access=access, path=path))
    lines = {"contact_email": "a@b.example", "title": "Nançay", **settings}
    (directory / "hven.toml").write_text("".join(f'{key} = "{value}"\n' for key, value in lines.items()))
