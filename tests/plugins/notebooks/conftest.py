"""A site whose notebooks are read and run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "protocols"))

from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files

STARS = """\
collection: stars
title: Bright "stars" of <the> north
description: Made up; *not* to be cited.
creators: [Tycho Brahe]
created: 2026-11-29
licence: CC-BY-4.0
tables:
  main:
    title: Stars
    source: {kind: csv, files: stars.csv}
    position: [ra, dec]
    primary: [id]
    columns:
      id: {type: int64}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      mag: {type: float64, unit: mag, ucd: phot.mag, label: Magnitude}
      colour: {type: float64, unit: mag}
      picture: {type: string, ucd: meta.ref.url}
  flux:
    title: Flux
    source: {kind: csv, files: flux.csv}
    primary: [obs_time]
    series: {cadence: 60 s, title: Flux of the Sun}
    columns:
      obs_time: {type: timestamp, ucd: time.epoch, description: Begin of the minute (UTC)}
      xrsa: {type: float64, unit: W/m**2, ucd: phot.flux.density, label: "0.05-0.4 nm"}
  secret:
    source: {kind: csv, files: stars.csv}
    access: private
    columns: {id: {type: int64}}
"""
STAR_ROWS = "id,ra,dec,mag,colour,picture\n" + "".join(
    f"{number},{number * 3.6},{number - 50},{number / 10},{number % 7},https://example.org/{number}.png\n"
    for number in range(100)
)
FLUX_ROWS = "obs_time,xrsa\n" + "".join(f"2026-01-01T00:{minute:02}:00,{minute * 1e-6}\n" for minute in range(60))


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    files = {"../../hven.toml": 'name = "notebooks"\n', "stars.csv": STAR_ROWS, "flux.csv": FLUX_ROWS}
    with open_site_with_uningested_files(tmp_path_factory.mktemp("notebooks"), STARS, files) as opened_site:
        ingest_collection(opened_site, "stars")
        opened_site.refresh_published_state()
        yield opened_site


@pytest.fixture(scope="package")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))
