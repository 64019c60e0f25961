"""A site that leaves the package out: it starts, publishes what is described, and says where `hven new` is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.model import plugins
from hven.model.settings import load_settings
from hven.site import Site
from process_runner import run_hven
from star_descriptors import write_stars_descriptor


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "stars.csv").write_text("id,ra,dec\n1,10,20\n2,11,21\n")
    directory = tmp_path / "site"
    (directory / "collections").mkdir(parents=True)
    (directory / "hven.toml").write_text('name = "x"\nplugins = ["lint"]\n[health]\noperators = ["olga"]\n')
    return directory


def test_new_names_the_package(site: Path) -> None:
    told = run_hven("--site", site, "new", "stars", "--from", site.parent / "stars.csv", expected_code=1).stderr
    assert "'new' belongs to the plug-in package drafts, but `plugins` in hven.toml does not list this package" in told
    assert not (site / "collections/stars").exists()


def test_the_rest_is_checked_published_and_served(site: Path) -> None:
    path = write_stars_descriptor(site, site.parent / "stars.csv")
    path.write_text(path.read_text().replace(", ucd: pos.eq.ra;meta.main", ""))
    run_hven("ingest", "stars", "--site", site)
    told = run_hven("check", "--metadata", "--site", site).stdout
    assert "no UCD and no description for main.ra" in told
    assert 'add within the braces: ucd: "..", description: ".."' in told
    with Site(load_settings(site)) as opened:
        token = opened.store.users.add_account("olga")
        client = Client(create_and_start_application(opened))
        headers = {"authorization": f"Bearer {token}", "accept": "text/html"}
        assert client.ask("GET", "/trial", headers=headers).status == 404
        health = client.ask("GET", "/health", headers=headers)
        assert health.status == 200
        assert "/trial" not in health.text
