"""A site that leaves the package out: it starts, serves the rest, counts nothing, and keeps the sums."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.model import plugins
from hven.model.settings import load_settings
from hven.plugins.usage.usage_counter import UsageCounter
from hven.plugins.usage.usage_records import UsageCountStore
from hven.site import Site
from process_runner import run_hven

ABSENT = 'name = "x"\nplugins = []\n'


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Make a site where a page was read once."""
    site_directory = tmp_path / "site"
    (site_directory / "collections").mkdir(parents=True)
    (site_directory / "hven.toml").write_text('name = "x"\n')
    with Site(load_settings(site_directory)) as site:
        read_page(site, "/help", 200)
        counter = site.get_or_create(UsageCounter, site)
        counter.count_pending_requests()
        counter.write_sums()
    return site_directory


def read_page(site: Site, path: str, status: int) -> None:
    assert Client(create_and_start_application(site)).ask("GET", path).status == status


def test_the_rest_is_served_and_the_sums_are_kept(directory: Path) -> None:
    (directory / "hven.toml").write_text(ABSENT)
    with Site(load_settings(directory)) as site:
        read_page(site, "/help", 200)
        read_page(site, "/usage", 404)
        assert site.store.find_tables_of_unused_packages() == {"usage": ["uses"]}
    (directory / "hven.toml").write_text('name = "x"\n')
    with Site(load_settings(directory)) as site:
        read_page(site, "/usage", 401)
        (sums,) = site.store.get_or_create(UsageCountStore).read_usage_sums().values()
        assert sums[-1] > 1000, "bytes of the page"


def test_check_and_the_verb_name_the_package(directory: Path) -> None:
    (directory / "hven.toml").write_text(ABSENT)
    told = run_hven("check", "--site", directory).stdout
    assert "rows of the plug-in package usage (uses), but `plugins` in hven.toml does not list" in told
    refusal = run_hven("report", "--site", directory, expected_code=1, in_subprocess=True).stderr
    assert (
        "'report' belongs to the plug-in package usage, but `plugins` in hven.toml does not list this package"
        in refusal
    )
