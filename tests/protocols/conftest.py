"""A tiny site under every face."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hven.app._server import create
from hven.site import Site
from hven.testing.site import tiny_site

sys.path.insert(0, str(Path(__file__).parent))

from asking import Client
from made_stars import HIDDEN, STARS, rows

from patience import patient

__all__ = ["patient"]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with tiny_site(
        tmp_path_factory.mktemp("site"), {"stars.main": (STARS, rows()), "secret.main": (HIDDEN, rows())}
    ) as made:
        yield made


@pytest.fixture(scope="session")
def client(site: Site) -> Client:
    return Client(create(site))
