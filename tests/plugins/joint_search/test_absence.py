"""A site that leaves the package out: its pages are served without joint searches, and `hven check` names the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client
from joint_site import open_joint_site

from hven.app._server import create_and_start_application
from hven.descriptor import check_descriptor
from hven.model import plugins
from hven.model.settings import load_settings
from hven.site import Site

HTML = {"accept": "text/html"}


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


def test_collections_are_served_without_joint_searches(tmp_path: Path) -> None:
    with open_joint_site(tmp_path) as (_, client):
        assert client.ask("GET", "/joint-search/oidb", headers=HTML).status == 200
    (tmp_path / "hven.toml").write_text('name = "x"\nplugins = []\n', encoding="utf-8")
    settings = load_settings(tmp_path)
    faults = " ".join(str(fault) for fault in check_descriptor(tmp_path / "collections/oidb/oidb.yaml", settings))
    assert "joint_search" in faults
    with Site(settings) as site:
        client = Client(create_and_start_application(site))
        page = client.ask("GET", "/collections/oidb", headers=HTML)
        assert page.status == 200
        assert "/joint-search" not in page.text
        assert client.ask("GET", "/joint-search/oidb", headers=HTML).status == 404
