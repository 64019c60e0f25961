"""A site that leaves the package out: it starts, serves the rest, and its verbs name the package."""

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


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


def test_the_rest_is_served_without_the_package(tmp_path: Path) -> None:
    run_hven("init", tmp_path / "site")
    settings_file = tmp_path / "site/hven.toml"
    settings_file.write_text('name = "x"\nplugins = []\n[operations]\nslow_seconds = 1\n')
    with Site(load_settings(tmp_path / "site")) as site:
        client = Client(create_and_start_application(site))
        assert client.ask("GET", "/help").status == 200
        assert client.ask("GET", "/operations").status == 404
    refusal = run_hven("doctor", "--site", tmp_path / "site", expected_code=1, in_subprocess=True)
    assert "belongs to the plug-in package operations" in refusal.stdout + refusal.stderr
    settings_file.write_text('name = "x"\n')
    with Site(load_settings(tmp_path / "site")) as site:
        assert Client(create_and_start_application(site)).ask("GET", "/operations").status == 401
