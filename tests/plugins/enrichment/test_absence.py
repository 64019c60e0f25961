"""A site that leaves the package out: it starts, serves the rest and what is published, and `hven check` names it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hven import query
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.errors import DescriptorError
from hven.model.settings import load_settings
from hven.site import Site
from process_runner import run_hven

EXPOSURES = """
collection: eso
title: Exposures
tables:
  main:
    source:
      kind: csv
      files: rows.csv
      enrich: {file: "{dp_id}.json", id: dp_id, format: json, columns: {lst: {key: LST, type: float64}}}
    columns: {dp_id: string, lst: float64}
"""
STARS = """
collection: stars
title: Stars
tables:
  main:
    source: {kind: csv, files: stars.csv}
    columns: {name: string}
"""


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a site whose package is left out after the ingest."""
    for name, text, file, rows in (
        ("eso", EXPOSURES, "rows.csv", "dp_id\nA\n"),
        ("stars", STARS, "stars.csv", "name\nVega\n"),
    ):
        folder = tmp_path / "collections" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.yaml").write_text(text)
        (folder / file).write_text(rows)
    (tmp_path / "collections/eso/A.json").write_text('{"LST": 2.5}')
    (tmp_path / "hven.toml").write_text('name = "x"\n')
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "eso")
    (tmp_path / "hven.toml").write_text('name = "x"\nplugins = []\n')
    return tmp_path


def test_the_rest_is_served_and_nothing_is_lost(directory: Path) -> None:
    with Site(load_settings(directory)) as site:
        ingest_collection(site, "stars")
        with pytest.raises(DescriptorError, match="'enrich' belongs to the plug-in package enrichment"):
            ingest_collection(site, "eso")
        with query.run_query("SELECT dp_id, lst FROM eso.main", site=site) as result:
            rows = [row for batch in result.iterate_batches() for row in batch.to_pylist()]
        assert rows == [{"dp_id": "A", "lst": 2.5}]


def test_check_names_the_package(directory: Path) -> None:
    told = run_hven("check", "--site", directory, expected_code=1).stdout
    place = "eso.yaml:9:7: tables.main.source"
    assert f"{place}: 'enrich' belongs to the plug-in package enrichment, but `plugins`" in told
