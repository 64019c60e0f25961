"""The key of page layouts, and what the page of a table tells its script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.settings import load_settings
from hven.site import Site

DESCRIPTOR = """\
collection: sky
title: A catalogue
tables:
  main:
    source: rows.csv
    primary: n
    opens: {KEY}
    columns:
      n: int32
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
  plain:
    source: rows.csv
    primary: n
    columns: {n: int32}
"""


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


def write_site(directory: Path, key: str) -> Path:
    folder = directory / "collections/sky"
    folder.mkdir(parents=True)
    (folder / "sky.yaml").write_text(DESCRIPTOR.replace("{KEY}", key), encoding="utf-8")
    (folder / "rows.csv").write_text("n,ra,dec\n1,10,20\n2,11,21\n", encoding="utf-8")
    (directory / "hven.toml").write_text('name = "x"\n', encoding="utf-8")
    return folder / "sky.yaml"


@pytest.mark.parametrize(("key", "opens"), [("[map, rows, map, card]", "map rows card"), ("gallery", "gallery")])
def test_the_page_tells_what_opens_first(tmp_path: Path, key: str, opens: str) -> None:
    path = write_site(tmp_path, key)
    assert check_descriptor(path, load_settings(tmp_path)) == []
    with Site(load_settings(tmp_path)) as site:
        assert ingest_collection(site, "sky").published
        client = Client(create_and_start_application(site))
        page = client.ask("GET", "/collections/sky/main")
        assert page.status == 200
        assert f'data-opens="{opens}"' in page.text
        assert 'data-opens=""' in client.ask("GET", "/collections/sky/plain").text
        shown = client.ask("GET", "/collections/sky/main", b"_panes=plot,rows&n=1")
        assert "_panes=plot%2Crows" in shown.text, "links of the page keep the arrangement"
        assert "Not used:" not in shown.text


@pytest.mark.parametrize(("key", "words"), [("sky", "opens"), ("{a: b}", "opens"), ("[1]", "opens")])
def test_wrong_keys(tmp_path: Path, key: str, words: str) -> None:
    faults = [str(fault) for fault in check_descriptor(write_site(tmp_path, key), load_settings(tmp_path))]
    assert any(words in fault for fault in faults), faults


def test_tables_are_shown_without_the_package(tmp_path: Path) -> None:
    path = write_site(tmp_path, "[map, rows]")
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "sky")
    (tmp_path / "hven.toml").write_text('name = "x"\nplugins = []\n', encoding="utf-8")
    settings = load_settings(tmp_path)
    assert "opens" in " ".join(str(fault) for fault in check_descriptor(path, settings))
    with Site(settings) as site:
        page = Client(create_and_start_application(site)).ask("GET", "/collections/sky/main")
        assert page.status == 200
        assert "layout-buttons" not in page.text
