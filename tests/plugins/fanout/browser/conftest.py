"""Tests of the page of a list in a real browser, of the site of example 28."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "browser"))

from browser_fixtures import (  # noqa: F401  (fixtures)
    BrowserTests,
    browser,
    external_programs,
    phone_tab,
    scriptless_tab,
    tab,
    web_port,
)

from example_sites import ingest_all, open_example
from process_runner import Server, reserve_port, serve_site


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with open_example("28-magyc", tmp_path_factory.mktemp("lists")) as site:
        ingest_all(site)
        with serve_site(site, port=reserve_port()) as made:
            yield made


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(BrowserTests(Path(__file__).parent))
