"""A site that leaves the package out: it starts, serves the rest without links to editors, and keeps the drafts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client
from typer.testing import CliRunner

from hven.app._cli.verbs import build_typer_app
from hven.app._server import create_and_start_application
from hven.model import plugins
from hven.model.settings import load_settings
from hven.plugins.curating.draft_store import DraftStore
from hven.site import Site

SETTINGS = 'name = "x"\n[health]\noperators = ["olga"]\n'
ABSENT_SETTINGS = f"plugins = []\n{SETTINGS}"


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a site with a draft."""
    site_directory = tmp_path / "site"
    (site_directory / "collections").mkdir(parents=True)
    (site_directory / "hven.toml").write_text(SETTINGS)
    with Site(load_settings(site_directory)) as site:
        site.store.get_or_create(DraftStore).save_draft("olga", "home", {"text.en": "# Home"}, {})
    return site_directory


def read_pages(site: Site) -> dict[str, tuple[int, bool]]:
    """Read pages as an operator: their status, and whether they link to pages for editing."""
    if not site.store.users.has_account("olga"):
        site.store.users.add_account("olga")
    token = site.store.users.renew_token_and_end_sessions("olga")
    client = Client(create_and_start_application(site))
    answers = {
        path: client.ask("GET", path, headers={"authorization": f"Bearer {token}", "accept": "text/html"})
        for path in ("/", "/news", "/edit")
    }
    return {path: (answer.status, "/edit" in answer.text) for path, answer in answers.items()}


def test_the_rest_is_served_and_drafts_are_kept(directory: Path) -> None:
    (directory / "hven.toml").write_text(ABSENT_SETTINGS)
    with Site(load_settings(directory)) as site:
        pages = read_pages(site)
        assert pages["/"] == pages["/news"] == (200, False)
        assert pages["/edit"][0] == 404
        assert site.store.find_tables_of_unused_packages() == {"curating": ["drafts"]}
    (directory / "hven.toml").write_text(SETTINGS)
    with Site(load_settings(directory)) as site:
        pages = read_pages(site)
        assert pages["/"] == pages["/news"] == (200, True)
        assert site.store.get_or_create(DraftStore).find_draft("olga", "home") is not None


def test_check_names_the_package(directory: Path) -> None:
    (directory / "hven.toml").write_text(ABSENT_SETTINGS)
    shown = CliRunner().invoke(build_typer_app(), ["--site", str(directory), "check"]).output
    assert "rows of the plug-in package curating (drafts), but `plugins` in hven.toml does not list" in shown


@pytest.mark.parametrize("settings", [SETTINGS, ABSENT_SETTINGS], ids=["used", "left out"])
def test_drafts_of_a_removed_account_are_deleted(directory: Path, settings: str) -> None:
    with Site(load_settings(directory)) as site:
        site.store.users.add_account("olga")
        site.store.get_or_create(DraftStore).save_draft("anna", "home", {"text.en": "# Mine"}, {})
    (directory / "hven.toml").write_text(settings)
    result = CliRunner().invoke(build_typer_app(), ["--site", str(directory), "user", "remove", "olga"])
    assert result.exit_code == 0, result.output
    (directory / "hven.toml").write_text(SETTINGS)
    with Site(load_settings(directory)) as site:
        assert [owner for _, owner, _ in site.store.get_or_create(DraftStore).list_drafts()] == ["anna"]


def test_an_account_of_a_site_without_drafts_is_removed(tmp_path: Path) -> None:
    (tmp_path / "collections").mkdir()
    (tmp_path / "hven.toml").write_text(ABSENT_SETTINGS)
    with Site(load_settings(tmp_path)) as site:
        site.store.users.add_account("olga")
    result = CliRunner().invoke(build_typer_app(), ["--site", str(tmp_path), "user", "remove", "olga"])
    assert result.output == "the account olga has been removed\n"
