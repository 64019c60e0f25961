"""Formats and addresses that pages offer: every format that is installed, by its record, and pages where people look for them."""

from __future__ import annotations

import html
import json
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from asgi_client import Client
from typer.testing import CliRunner

import example_plugins
from hven import formats
from hven.app._server import create_and_start_application
from hven.formats import TableFormat
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import list_query_addresses, require_query_editor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STARS = """\
collection: stars
title: Stars
tables:
  main:
    source: {kind: csv, files: a.csv}
    primary: [id]
    columns: {id: {type: int32, ucd: meta.id;meta.main}}
"""
HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def _foreign_format(tmp_path: Path) -> Iterator[None]:
    """Install a format that somebody else has written."""
    about = tmp_path / "site-packages/hven_roman-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: hven-roman\nVersion: 1\n", encoding="utf-8")
    (about / "entry_points.txt").write_text("[hven.formats]\nroman = hven_roman\n", encoding="utf-8")
    module = ModuleType("hven_roman")
    write = formats.load_format("csv").write
    vars(module)["FORMAT"] = TableFormat(
        name="roman", media_types=("text/x-roman",), extension="roman", write=write, title="Roman numbers"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "hven_roman", module)
        patch.syspath_prepend(str(tmp_path / "site-packages"))
        example_plugins.clear_caches()
        try:
            yield
        finally:
            example_plugins.clear_caches()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with open_site_with_uningested_files(
        tmp_path / "site", STARS, {"a.csv": "id\n1\n2\n"}, public_url="http://vo.example"
    ) as site:
        ingest_collection(site, "stars")
        yield Client(create_and_start_application(site))


@pytest.mark.usefixtures("_foreign_format")
def test_every_installed_format_is_in_every_menu(client: Client) -> None:
    labels = dict(formats.list_format_labels())
    assert labels["roman"] == "Roman numbers"
    assert {"votable", "geojson", "parquet"} <= labels.keys()
    take = json.loads(client.ask("GET", "/collections/stars/main/take").body)
    assert {one["name"]: one["label"] for one in take["formats"]} == labels
    for path in ("/collections/stars/main", "/collections/stars/downloads"):
        page = html.unescape(client.ask("GET", path, headers=HTML).text)
        assert [name for name in labels if f"_as={name}" not in page] == [], path
    for address in list_query_addresses("/adql"):
        editor = client.ask("GET", address, headers=HTML).text
        assert [name for name in labels if f'value="{name}"' not in editor] == []
    rows = client.ask("GET", "/collections/stars/main/download?_as=roman")
    assert (rows.status, rows.text.split()) == (200, ["id", "1", "2"])


@pytest.mark.usefixtures("_foreign_format")
def test_the_help_of_query_names_every_installed_format(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [one for one in sys.modules if one.startswith("hven.app._cli")]:
        monkeypatch.delitem(sys.modules, name)  # its help is written when it is loaded
    from hven.app._cli.verbs import build_typer_app

    told = CliRunner().invoke(build_typer_app(), ["query", "--help"], env={"COLUMNS": "200"}).output
    assert [name for name in plugins.list_plugins("formats") if name not in told] == []


def test_collections_have_an_address(client: Client) -> None:
    page = client.ask("GET", "/collections", headers=HTML)
    assert (page.status, page.headers["location"]) == (303, "http://vo.example/#collections")
    listed = json.loads(client.ask("GET", "/collections", headers={"accept": "application/json"}).body)
    assert listed == {"collections": [{"name": "stars", "url": "http://vo.example/collections/stars"}]}


def test_examples_of_the_footer_are_a_page_of_the_portal(client: Client) -> None:
    require_query_editor()
    home = client.ask("GET", "/", headers=HTML).text
    assert '<a href="http://vo.example/adql#examples">' in home
    assert "/tap/examples" not in home.partition("<footer>")[2]
    assert 'id="examples"' in client.ask("GET", "/adql", headers=HTML).text
