"""A site with quantities: read, computed, and computed from computed ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "protocols"))

from asgi_client import Client
from quantity_samples import FILES, STARS

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site_with_uningested_files(tmp_path_factory.mktemp("quantities"), STARS, FILES) as opened_site:
        ingest_collection(opened_site, "stars")
        opened_site.refresh_published_state()
        yield opened_site


@pytest.fixture(scope="package")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))
