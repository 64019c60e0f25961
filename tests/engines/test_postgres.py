"""The engine postgres keeps the contract, in all three ways to find positions."""

from __future__ import annotations

import itertools

import pytest

from hven.engines import postgres
from hven.testing.engine import EngineContract
from postgres import server, sphere

_count = itertools.count()


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    with server() as url:
        yield f"postgresql://{url}"


class _Contract(EngineContract):
    position = ""

    @pytest.fixture(autouse=True)
    def _server(self, database):
        if self.position != "healpix":
            sphere(database)
        self.url = database

    def open(self, directory):
        return postgres.open(
            directory, memory=256 * 1024**2, threads=1, url=self.url, pool=10, schema=f"hven{next(_count)}", position=self.position
        )


class TestPgSphere(_Contract):
    position = "pgsphere"


class TestQ3C(_Contract):
    position = "q3c"


class TestHealpix(_Contract):
    position = "healpix"
