"""A site that leaves the package out: it starts, serves tables without a basket, and keeps the baskets of accounts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client
from typer.testing import CliRunner

from hven.app._cli.verbs import build_typer_app
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.settings import load_settings
from hven.plugins.baskets.basket_contents import Basket, BasketTablePart
from hven.plugins.baskets.basket_store import get_basket_store
from hven.site import Site

SETTINGS = 'name = "x"\n'
ABSENT_SETTINGS = f"plugins = []\n{SETTINGS}"
DESCRIPTOR = """\
collection: stars
title: Stars
tables:
  main:
    source: stars.csv
    primary: name
"""
BASKET = Basket(parts=(BasketTablePart(table_path="stars/main", row_keys=(('["Vega"]',),)),))


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a site with a table, and a basket of an account."""
    site_directory = tmp_path / "site"
    folder = site_directory / "collections/stars"
    folder.mkdir(parents=True)
    (folder / "stars.yaml").write_text(DESCRIPTOR)
    (folder / "stars.csv").write_text("name\nVega\nSirius\n")
    (site_directory / "hven.toml").write_text(SETTINGS)
    with Site(load_settings(site_directory)) as site:
        ingest_collection(site, "stars")
        site.store.users.add_account("anna")
        get_basket_store(site).change_basket("anna", lambda _: BASKET)
    return site_directory


def read_page(site: Site, path: str) -> tuple[int, bool]:
    """Read a page: its status, and whether it mentions the basket."""
    answer = Client(create_and_start_application(site)).ask("GET", path, headers={"accept": "text/html"})
    return answer.status, "basket" in answer.text.lower()


def test_tables_are_served_and_baskets_are_kept(directory: Path) -> None:
    (directory / "hven.toml").write_text(ABSENT_SETTINGS)
    with Site(load_settings(directory)) as site:
        client = Client(create_and_start_application(site))
        page = client.ask("GET", "/collections/stars/main", headers={"accept": "text/html"})
        assert (page.status, "Vega" in page.text) == (200, True)
        assert "basket" not in page.text.lower()
        assert 'form="ticks"' not in page.text, "nothing takes the ticks of a page without scripts"
        assert read_page(site, "/") == (200, False)
        assert client.ask("GET", "/basket", headers={"accept": "text/html"}).status == 404
    (directory / "hven.toml").write_text(SETTINGS)
    with Site(load_settings(directory)) as site:
        page = Client(create_and_start_application(site)).ask(
            "GET", "/collections/stars/main", headers={"accept": "text/html"}
        )
        assert 'form="ticks"' in page.text
        assert read_page(site, "/basket") == (200, True)
        assert get_basket_store(site).read_account_basket("anna") == BASKET


@pytest.mark.parametrize("settings", [SETTINGS, ABSENT_SETTINGS], ids=["used", "left out"])
def test_the_basket_of_a_removed_account_is_deleted(directory: Path, settings: str) -> None:
    (directory / "hven.toml").write_text(settings)
    result = CliRunner().invoke(build_typer_app(), ["--site", str(directory), "user", "remove", "anna"])
    assert result.exit_code == 0, result.output
    (directory / "hven.toml").write_text(SETTINGS)
    with Site(load_settings(directory)) as site:
        assert get_basket_store(site).read_account_basket("anna") == Basket()
