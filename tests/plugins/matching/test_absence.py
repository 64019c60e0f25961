"""A site that leaves the package out: it starts, serves the rest and what is published, and `hven check` names it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client

from hven import query
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.errors import DescriptorError
from hven.model.settings import load_settings
from hven.site import Site
from process_runner import run_hven

STARS = """
collection: stars
title: Stars
tables:
  main:
    source: {kind: csv, files: stars.csv}
    primary: id
    columns:
      id: {type: int64, ucd: meta.id;meta.main}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
"""
MATCHES = """
collection: matches
title: Matches
tables:
  main:
    source:
      kind: match
      reference: {table: stars.main, epoch: 2000}
      catalogues: {again: {table: stars.main, epoch: 2000, radius: 1}}
    primary: id
"""


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a site whose package is left out after the ingest."""
    for name, text in (("stars", STARS), ("matches", MATCHES)):
        folder = tmp_path / "collections" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.yaml").write_text(text)
    (tmp_path / "collections/stars/stars.csv").write_text("id,ra,dec\n1,10,20\n2,30,40\n")
    (tmp_path / "hven.toml").write_text('name = "x"\n')
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "stars")
        ingest_collection(site, "matches")
    (tmp_path / "hven.toml").write_text('name = "x"\nplugins = []\n')
    return tmp_path


def test_what_is_published_is_served(directory: Path) -> None:
    with Site(load_settings(directory)) as site:
        ingest_collection(site, "stars")
        with pytest.raises(DescriptorError, match="'match' belongs to the plug-in package matching"):
            ingest_collection(site, "matches")
        text = 'SELECT id, "XM_AGAIN_id" AS partner FROM matches.main ORDER BY id'
        with query.run_query(text, site=site) as result:
            rows = [row for batch in result.iterate_batches() for row in batch.to_pylist()]
        assert rows == [{"id": 1, "partner": 1}, {"id": 2, "partner": 2}]
        client = Client(create_and_start_application(site))
        assert client.ask("GET", "/candidates/matches/main?ID=1").status == 404
        assert client.ask("GET", "/collections/stars/main/match").status == 404
        assert client.ask("GET", "/collections/matches/main", headers={"accept": "text/html"}).status == 200


def test_check_and_the_verb_name_the_package(directory: Path) -> None:
    told = run_hven("check", "--site", directory, expected_code=1).stdout
    assert "'match' belongs to the plug-in package matching, but `plugins`" in told
    told = run_hven("partners", "matches.main", "R1", "--site", directory, expected_code=2).stderr
    assert "matching" in told
