"""A function of ADQL that a plug-in adds is computed by PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import example_plugins
from hven.plugins.postgres import engine
from postgres_cluster import run_server


@pytest.fixture
def _airmass(tmp_path: Path) -> Iterator[None]:
    with example_plugins.install_plugin("airmass", tmp_path / "site-packages"):
        yield


@pytest.mark.usefixtures("_airmass")
class TestFunctionInPostgres(example_plugins.load_test_class("airmass")):  # type: ignore[misc]
    @pytest.fixture(autouse=True)
    def _server(self) -> Iterator[None]:
        with run_server() as url:
            self.url = f"postgresql://{url}"
            yield

    def open(self, directory: Path) -> object:
        return engine.open(directory, memory=1 << 28, threads=1, url=self.url, pool=2, schema="hven")

    def test_it_is_computed_there(self, tmp_path: Path) -> None:
        from hven.adql import bind_query, parse_query
        from hven.adql.scope import StaticTableCatalogue

        opened = self.open(tmp_path)
        plan = opened.plan_query(bind_query(parse_query("SELECT AIRMASS(30) AS x"), StaticTableCatalogue([])))  # type: ignore[attr-defined]
        assert "elsewhere" not in plan.explain().lower(), plan.explain()
        opened.close()  # type: ignore[attr-defined]
