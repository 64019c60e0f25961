"""A site that was made with this package starts without it: its tables fail alone, and `hven check` names the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from asgi_client import Client
from typer.testing import CliRunner

from hven.app._cli.verbs import build_typer_app
from hven.app._server import create_and_start_application
from hven.model import plugins
from hven.model.settings import load_settings
from hven.site import Site

SETTINGS = """\
name = "x"
[hats]
roots = ["hats"]
[files]
partitions = "1 GB"
"""
DESCRIPTOR = """\
collection: {name}
title: Stars
{more}
tables:
  main:
    primary: [id]
    position: [ra, dec]
    source: {{kind: csv, files: stars.csv}}
    columns: {{id: int32, ra: {{type: float64, unit: deg}}, dec: {{type: float64, unit: deg}}}}
"""


def write_collection(site: Path, name: str, more: str = "") -> None:
    folder = site / "collections" / name
    folder.mkdir(parents=True)
    (folder / "stars.csv").write_text("id,ra,dec\n1,10,20\n2,11,21\n")
    (folder / f"{name}.yaml").write_text(DESCRIPTOR.format(name=name, more=more))


def run(site: Path, *words: str) -> str:
    done = CliRunner().invoke(build_typer_app(), ["--site", str(site), *words])
    return f"{done.output}{done.exception or ''}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """A site with a table in the engine, a plain one, and one that names the service; then without the package."""
    directory = tmp_path / "site"
    directory.mkdir()
    (directory / "hven.toml").write_text(SETTINGS)
    write_collection(directory, "far", "engine: hats")
    write_collection(directory, "near")
    write_collection(directory, "listed", "services: [tap, cone, hats]")
    for name in ("far", "near", "listed"):
        assert "2 rows" in run(directory, "ingest", name)
    (directory / "hven.toml").write_text(f"plugins = []\n{SETTINGS}")
    yield directory
    plugins.select_plugin_packages(None)


def ask(client: Client, query: str) -> tuple[int, str]:
    answer = client.get("/tap/sync?" + urlencode({"LANG": "ADQL", "FORMAT": "csv", "QUERY": query}))
    return answer.status, answer.text


def test_the_rest_is_served(site: Path) -> None:
    with Site(load_settings(site, {})) as opened:
        assert plugins.list_plugin_packages() == ()
        client = Client(create_and_start_application(opened))
        for name in ("near", "listed"):
            status, text = ask(client, f"SELECT COUNT(*) AS n FROM {name}.main")
            assert (status, text.split()) == (200, ["n", "2"])
        status, text = ask(client, "SELECT COUNT(*) AS n FROM far.main")
        assert status >= 400
        assert "far.main" in text or "hats" in text
        assert client.get("/").status == 200
        assert client.get("/collections/near/main").status == 200
        assert client.get("/collections/far/main").status in {200, 503}
        assert client.get("/hats/near.main/collection.properties").status == 404
        assert client.get("/health").status in {200, 503}


def test_check_names_the_package(site: Path) -> None:
    text = run(site, "check")
    assert "hats: the setting belongs to the plug-in package hats, but `plugins` does not list this package" in text
    assert (
        "files.partitions: the setting belongs to the plug-in package hats, but `plugins` does not list this package"
        in text
    )
    assert (
        "far.yaml:3:9: 'hats' belongs to the plug-in package hats, but `plugins` in hven.toml does not list this package"
        in text
    )
    assert (
        "services: 'hats' belongs to the plug-in package hats, but `plugins` in hven.toml does not list this package"
        in text
    )
