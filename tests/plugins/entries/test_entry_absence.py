"""A site that leaves the package out: it serves the rest, `hven check` names the keys, and the entries are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client
from entry_site import STARS
from typer.testing import CliRunner

from hven.app._cli.verbs import build_typer_app
from hven.app._server import create_and_start_application
from hven.model import plugins
from hven.model.settings import load_settings
from hven.plugins.entries.entry_store import EntryStep, EntryStore, TableEntry
from hven.site import Site

ABSENT_SETTINGS = 'name = "x"\nplugins = ["push", "json_xml"]\n'


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a site with an entry."""
    site_directory = tmp_path / "site"
    (site_directory / "collections" / "bad").mkdir(parents=True)
    (site_directory / "collections" / "bad" / "bad.yaml").write_text(STARS)
    (site_directory / "hven.toml").write_text('name = "x"\n')
    with Site(load_settings(site_directory)) as site:
        site.store.users.add_account("anna")
        entry = TableEntry(table="bad.stars", author="anna", row_values={"name": "Vega"})
        site.store.get_or_create(EntryStore).add_entry(entry, EntryStep(by="anna", action="save", state="draft"))
    return site_directory


def test_entries_are_kept_while_the_package_is_left_out(directory: Path) -> None:
    (directory / "hven.toml").write_text(ABSENT_SETTINGS)
    shown = CliRunner().invoke(build_typer_app(), ["--site", str(directory), "check"]).output
    assert "rows of the plug-in package entries (entries" in shown
    assert "entries" in shown
    with Site(load_settings(directory)) as site:
        client = Client(create_and_start_application(site))
        assert [client.get(path).status for path in ("/", "/entries", "/comments/bad.stars")] == [200, 404, 404]
    (directory / "hven.toml").write_text('name = "x"\n')
    with Site(load_settings(directory)) as site:
        entry = site.store.get_or_create(EntryStore).find_entry("bad.stars", 1)
        assert entry is not None
        assert entry.row_values == {"name": "Vega"}


def test_the_removal_of_an_account_by_command(directory: Path) -> None:
    result = CliRunner().invoke(build_typer_app(), ["--site", str(directory), "user", "remove", "anna"])
    assert result.exit_code == 0, result.output
    with Site(load_settings(directory)) as site:
        assert site.store.get_or_create(EntryStore).find_entry("bad.stars", 1) is None
