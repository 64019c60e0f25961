"""Tests of this package in a real browser, with the site of example 33."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "browser"))

from browser_fixtures import BrowserTests, browser, web_port  # noqa: F401  (fixtures)

from example_sites import ingest_all, open_example
from process_runner import Server, reserve_port, serve_site


@pytest.fixture(scope="module")
def sun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the example."""
    with open_example("33-sun-film", tmp_path_factory.mktemp("sun")) as site:
        ingest_all(site)
        with serve_site(site, port=reserve_port()) as made:
            yield made


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(BrowserTests(Path(__file__).parent))
