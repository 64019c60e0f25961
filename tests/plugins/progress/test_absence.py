"""A site that leaves the package out: its pages are served without progress, and `hven check` names the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client
from survey_site import DESCRIPTOR, make_rows, write_files

from hven.app._server import create_and_start_application
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.settings import load_settings
from hven.site import Site

HTML = {"accept": "text/html"}


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


def test_collections_are_served_without_progress(tmp_path: Path) -> None:
    folder = tmp_path / "collections/survey"
    folder.mkdir(parents=True)
    (folder / "survey.yaml").write_text(DESCRIPTOR, encoding="utf-8")
    for name, text in write_files(make_rows(10)).items():
        (folder / name).write_text(text, encoding="utf-8")
    (tmp_path / "hven.toml").write_text('name = "x"\n', encoding="utf-8")
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "survey")
        client = Client(create_and_start_application(site))
        assert client.ask("GET", "/progress/survey", headers=HTML).status == 200
    (tmp_path / "hven.toml").write_text('name = "x"\nplugins = []\n', encoding="utf-8")
    settings = load_settings(tmp_path)
    faults = " ".join(str(fault) for fault in check_descriptor(folder / "survey.yaml", settings))
    assert "progress" in faults
    with Site(settings) as site:
        client = Client(create_and_start_application(site))
        page = client.ask("GET", "/collections/survey", headers=HTML)
        assert page.status == 200
        assert "stage-summary" not in page.text
        assert client.ask("GET", "/progress/survey", headers=HTML).status == 404
