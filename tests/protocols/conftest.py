"""A tiny site for tests of all protocols."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hven.app._server import create_and_start_application
from hven.site import Site
from hven.testing.site import open_tiny_site

sys.path.insert(0, str(Path(__file__).parent))

from asgi_client import Client
from star_tables import TABLES

import shared_sites
from long_timeouts import long_page_timeouts

__all__ = ["long_page_timeouts"]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Open the site that all tests of this folder read and none changes."""
    directory = tmp_path_factory.mktemp("site")
    with open_tiny_site(directory, TABLES) as made:
        shared_sites.share(directory)
        yield made
        shared_sites.release(directory)


@pytest.fixture(scope="session")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


@pytest.fixture
def writing_client(tmp_path: Path) -> Iterator[Client]:
    """Give a client of a site that the test may change."""
    with open_tiny_site(tmp_path / "site", TABLES) as made:
        yield Client(create_and_start_application(made))
