"""A site with rows of several files, a join, a private table, a view and a release; no test changes it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "protocols"))

from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files

STARS = """
collection: stars
title: Stars & <planets>
licence: CC-BY-4.0
creators: [{name: Tycho Brahe, orcid: 0000-0002-1825-0097}, {name: "Sophie Brahe, of Eriksholm"}]
publisher: Uraniborg
tables:
  main:
    title: Star list
    source: {kind: csv, files: "a*.csv", units: true}
    primary: id
    sync: {}
    let: {half: mag / 2}
    flags: quality
    rules:
      faint: {if: mag < 4, flag: 0, message: the star is faint}
      low: {if: id < 100, flag: 1, message: the number is high}
    columns:
      id: {type: int32}
      angle: {type: float64, unit: deg}
      mag: {type: float64, unit: mag}
      double_mag: {type: float64, unit: mag}
      origin: {type: string}
      name: {type: string}
    map: {angle: turn, double_mag: half * 4}
    set: {origin: Hven}
    text: {name: "star {id}"}
  secret:
    access: private
    source: {kind: csv, files: "b.csv"}
    primary: id
    columns: {id: int32}
  bright:
    source: {kind: query, adql: "SELECT id, mag FROM stars.main WHERE mag < 3"}
    primary: id
  shadow:
    source: {kind: query, adql: "SELECT id FROM stars.secret"}
    primary: id
  faint:
    view: SELECT id, mag FROM stars.main WHERE mag >= 3
"""
FILES = {
    "a1.csv": "id,turn,mag\n,rad,mag\n1,0.5,1.5\n2,1.0,2.5\n",
    "a2.csv": "id,turn,mag\n,rad,mag\n3,1.5,3.5\n",
    "b.csv": "id\n77\n",
}


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Open the site after an ingest, a sync and a release."""
    directory = tmp_path_factory.mktemp("provenance")
    with open_site_with_uningested_files(directory, STARS, FILES, keep_snapshots=5) as opened_site:
        ingest_collection(opened_site, "stars")
        opened_site.store.releases.add_collection_releases("R1", ["stars"], "The first stars")
        (directory / "collections/stars/a3.csv").write_text("id,turn,mag\n,rad,mag\n4,2.0,4.5\n")
        sync_collection(opened_site, "stars")
        opened_site.refresh_published_state()
        yield opened_site


@pytest.fixture(scope="session")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))
