"""A site that leaves the package out: it starts, serves the rest, and keeps its records with their dates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.settings import load_settings
from hven.plugins.registry.record_store import RegistryRecordStore
from hven.site import Site
from process_runner import run_hven

STARS = """
collection: stars
title: Stars
services: [tap, portal, oai]
registry: {id: bright}
tables:
  main:
    source: {kind: csv, files: stars.csv}
    columns: {name: string}
"""
TOML = 'contact_email = "vo@tycho.example"\nauthority = "tycho.example"\npublic_url = "https://tycho.example"\n'


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a site whose records were harvested."""
    folder = tmp_path / "collections/stars"
    folder.mkdir(parents=True)
    (folder / "stars.yaml").write_text(STARS)
    (folder / "stars.csv").write_text("name\nVega\n")
    (tmp_path / "hven.toml").write_text(TOML)
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "stars")
        assert "ivo://tycho.example/bright" in list_records(site)
    return tmp_path


def list_records(site: Site) -> str:
    return Client(create_and_start_application(site)).get("/oai", verb="ListRecords", metadataPrefix="ivo_vor").text


def test_the_rest_is_served_and_records_keep_their_dates(directory: Path) -> None:
    with Site(load_settings(directory)) as site:
        before = site.store.get_or_create(RegistryRecordStore).list_records(0, 100)
    (directory / "hven.toml").write_text(f"{TOML}plugins = []\n")
    with Site(load_settings(directory)) as site:
        client = Client(create_and_start_application(site))
        answer = client.get("/tap/sync", LANG="ADQL", QUERY="SELECT name FROM stars.main", RESPONSEFORMAT="csv")
        assert answer.text.split() == ["name", "Vega"]
        assert client.get("/oai", verb="Identify").status == 404
        assert site.store.find_tables_of_unused_packages() == {"registry": ["registered", "registered_parts"]}
    (directory / "hven.toml").write_text(TOML)
    with Site(load_settings(directory)) as site:
        assert "ivo://tycho.example/bright" in list_records(site)
        assert site.store.get_or_create(RegistryRecordStore).list_records(0, 100) == before


def test_check_names_the_package(directory: Path) -> None:
    (directory / "hven.toml").write_text(f"{TOML}plugins = []\n")
    told = run_hven("check", "--site", directory, expected_code=0).stdout
    assert "stars.yaml:4:25: services: 'oai' belongs to the plug-in package registry, but `plugins`" in told
    assert "rows of the plug-in package registry (registered, registered_parts), but `plugins`" in told
    told = run_hven("register", "--site", directory, expected_code=2).stderr
    assert "`hven register` belongs to the plug-in package registry" in told


def test_dois_are_kept_and_not_shown(directory: Path) -> None:
    run_hven("doi", "stars", "--is", "10.5072/stars", "--site", directory)
    descriptor = directory / "collections/stars/stars.yaml"
    descriptor.write_text(descriptor.read_text().replace("doi: 10.5072/stars\n", ""))
    for plugin_line, is_shown in (("", True), ("plugins = []\n", False), ("", True)):
        (directory / "hven.toml").write_text(f'{TOML}{plugin_line}[doi]\nprefix = "10.5072"\n')
        with Site(load_settings(directory)) as site:
            page = Client(create_and_start_application(site)).get("/collections/stars")
            assert page.status == 200
            assert ("10.5072/stars" in page.text) == is_shown
    (directory / "hven.toml").write_text(f'{TOML}plugins = []\n[doi]\nprefix = "10.5072"\n')
    told = run_hven("check", "--site", directory, expected_code=0).stdout
    assert "belongs to the plug-in package registry, but `plugins` does not list this package" in told
    run_hven("remove", "stars", "--site", directory)


def test_pages_of_collections_have_no_documents(directory: Path) -> None:
    (directory / "hven.toml").write_text(f"{TOML}plugins = []\n")
    with Site(load_settings(directory)) as site:
        client = Client(create_and_start_application(site))
        page = client.ask("GET", "/collections/stars", headers={"accept": "application/x-bibtex, text/html;q=0.5"})
        assert (page.status, "@misc{stars" in page.text, "/cite/" in page.text) == (200, True, False)
        assert "link" not in page.headers
        assert client.get("/collections/stars/cite/bib").status == 404
        assert client.ask("GET", "/collections/nothing", headers={"accept": "text/html"}).status == 404
