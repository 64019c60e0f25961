"""Tests of the page of progress in a real browser, of the site of example 27."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "browser"))

from browser_fixtures import (  # noqa: F401  (fixtures)
    BrowserTests,
    browser,
    consent,
    hub,
    topcat,
    web_port,
)

from example_sites import ingest_all, open_example
from process_runner import Server, reserve_port, run_hven, serve_site

PEOPLE = ("anna", "mia", "dora", "piotr")


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, str]]]:
    """Serve the example, with an account for a submitter, a moderator, an observer and a pipeline."""
    with open_example("27-spica", tmp_path_factory.mktemp("survey")) as site:
        ingest_all(site)
        tokens = {name: run_hven("user", "add", "--site", site, name).stdout.strip() for name in PEOPLE}
        with serve_site(site, port=reserve_port()) as made:
            yield made, tokens


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(BrowserTests(Path(__file__).parent))
