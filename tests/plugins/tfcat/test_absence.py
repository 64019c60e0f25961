"""A site that leaves the package out: `hven check` names it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hven.model import plugins
from process_runner import run_hven

DESCRIPTOR = """\
collection: bursts
title: Bursts
tables:
  main:
    source: {kind: tfcat, files: bursts.tfcat.json}
    follow: true
    primary: id
"""
CRS = {"name": "Time-Frequency", "time_coords_id": "unix", "spectral_coords": {"type": "frequency", "unit": "MHz"}, "ref_position_id": "GEOCENTER"}  # fmt: skip
CATALOGUE = {
    "type": "FeatureCollection",
    "crs": {"type": "local", "properties": CRS},
    "fields": {},
    "features": [
        {"type": "Feature", "id": "a", "geometry": {"type": "Point", "coordinates": [0, 1]}, "properties": {}}
    ],
}


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


def test_check_names_the_package(tmp_path: Path) -> None:
    folder = tmp_path / "collections/bursts"
    folder.mkdir(parents=True)
    (folder / "bursts.yaml").write_text(DESCRIPTOR)
    (folder / "bursts.tfcat.json").write_text(json.dumps(CATALOGUE))
    (tmp_path / "hven.toml").write_text('name = "x"\n')
    run_hven("--site", str(tmp_path), "check")
    (tmp_path / "hven.toml").write_text('plugins = []\nname = "x"\n')
    done = run_hven("--site", str(tmp_path), "check", expected_code=1)
    assert "'tfcat' belongs to the plug-in package tfcat" in done.stdout + done.stderr
