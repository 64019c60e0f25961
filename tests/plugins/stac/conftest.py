"""A site with a table of EPN-TAP, one of ObsCore and a private one, and a client."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "protocols"))

from asgi_client import Client
from granule_rows import build_granule_table, build_granules, build_observation_table, build_observations

from hven.app._server import create_and_start_application
from hven.site import Site
from hven.testing.site import open_tiny_site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Open the site that all tests of this folder read and none changes."""
    mars = build_granule_table("mars")
    secret = build_granule_table("secret").copy_with(access="private")
    sky = build_observation_table("sky")
    tables = {
        "mars.epn_core": (mars, build_granules(mars)),
        "secret.epn_core": (secret, build_granules(secret)),
        "sky.observations": (sky, build_observations(sky)),
    }
    with open_tiny_site(tmp_path_factory.mktemp("stac"), tables) as opened_site:
        yield opened_site


@pytest.fixture(scope="session")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))
