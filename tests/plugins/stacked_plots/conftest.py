"""A site with lines, a spectrogram, bursts in it, images, and a private table: all above one time axis."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "protocols"))

from asgi_client import Client
from plot_samples import (
    BURSTS,
    CHANNELS,
    CRS,
    FIELD_COUNT,
    FIELD_SECONDS,
    START,
    build_field,
    build_lists,
    build_spectra,
    write_parquet,
)

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files

DESCRIPTOR = f"""\
collection: wind
title: {{en: Wind, fr: Vent}}
description: Made up, in the layout of Wind/WAVES.
subjects: [solar radio emission]
tables:
  field:
    title: Magnetic field
    source: {{kind: parquet, files: field.parquet}}
    columns:
      moment: {{ucd: time.epoch}}
      bx: {{unit: nT, description: Field towards the Sun}}
      by: {{unit: nT}}
      bz: {{unit: nT}}
      b: {{type: "float64[3]", unit: nT}}
      speed: {{unit: km/s}}
    series: {{id: field, cadence: {FIELD_SECONDS} s}}
  waves:
    title: Radio spectra
    source: {{kind: parquet, files: waves.parquet}}
    columns:
      moment: {{ucd: time.epoch}}
      intensity: {{type: "float32[{len(CHANNELS)}]", unit: dB}}
    series:
      id: waves
      cadence: 60 s
      stamp: begin
      bins: {{intensity: {{name: frequency, unit: MHz, centers: {list(CHANNELS)}}}}}
  bursts:
    title: Type III bursts
    primary: [name]
    source: {{kind: csv, file: bursts.csv}}
    columns:
      name: {{type: string, ucd: meta.id;meta.main}}
      time_min: {{type: timestamp, ucd: time.start}}
      time_max: {{type: timestamp, ucd: time.end}}
      spectral_range_min: {{type: float64, unit: Hz, ucd: em.freq;stat.min}}
      spectral_range_max: {{type: float64, unit: Hz, ucd: em.freq;stat.max}}
      geometry: {{type: string, utype: "tfcat:geometry"}}
    params:
      crs: {{type: string, utype: "tfcat:crs", value: '{json.dumps(CRS)}'}}
  images:
    title: Images
    primary: [file_name]
    source: {{kind: csv, file: images.csv}}
    columns:
      file_name: {{type: string, ucd: meta.id;meta.main}}
      date_obs: {{type: timestamp, ucd: time.epoch}}
      thumbnail_url: {{type: string, ucd: meta.ref.url;meta.preview}}
  secret:
    title: Hidden things
    access: private
    source: {{kind: csv, file: secret.csv}}
    columns:
      moment: {{type: timestamp, ucd: time.epoch}}
      level: {{type: float64, unit: V}}
    series: {{id: secret}}
"""


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    times, vectors, speed = build_field()
    spectrum_times, spectra = build_spectra()
    bx, by, bz = vectors.T
    field = {"moment": times, "bx": bx, "by": by, "bz": bz, "b": build_lists(vectors), "speed": speed}
    waves = {"moment": spectrum_times, "intensity": build_lists(spectra)}
    burst_lines = ["name,time_min,time_max,spectral_range_min,spectral_range_max,geometry"]
    for burst in BURSTS:
        ring = {"type": "Polygon", "coordinates": [burst.build_ring()]} if burst.has_outline else None
        geometry = json.dumps(ring).replace('"', '""')
        first, last = (np.datetime_as_string(np.datetime64(time, "us")) for time in (burst.begin, burst.end))
        burst_lines.append(f'{burst.name},{first},{last},{burst.low * 1e6},{burst.high * 1e6},"{geometry}"')
    image_lines = [
        f"image{hour}.png,2003-10-28T{hour:02}:00:00,https://images.example/{hour}.png" for hour in range(24)
    ]
    files: dict[str, str | bytes] = {
        "../../hven.toml": 'name = "plots"\n',
        "field.parquet": write_parquet(field),
        "waves.parquet": write_parquet(waves),
        "bursts.csv": "\n".join([*burst_lines, ""]),
        "images.csv": "\n".join(["file_name,date_obs,thumbnail_url", *image_lines, ""]),
        "secret.csv": "moment,level\n2003-10-28T01:00:00,17.25\n2003-10-28T02:00:00,18.5\n",
    }
    assert len(times) == FIELD_COUNT
    assert times[0].astype(np.int64) == START
    with open_site_with_uningested_files(tmp_path_factory.mktemp("plots"), DESCRIPTOR, files) as opened_site:
        ingest_collection(opened_site, "wind")
        opened_site.refresh_published_state()
        yield opened_site


@pytest.fixture(scope="package")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))
