"""Tests of the map of a body in a real browser, of the site of example 25."""

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
    port = reserve_port()
    with open_example("25-psup", tmp_path_factory.mktemp("maps")) as site:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HVEN_PORT", str(port))  # addresses of files in rows begin with that of the site
            ingest_all(site)
        with serve_site(site, workers=2, port=port) as made:
            yield made


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(BrowserTests(Path(__file__).parent))
