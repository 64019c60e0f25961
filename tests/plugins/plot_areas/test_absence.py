"""A site that leaves the package out: plots have no areas, and `_area` is no parameter. With it, the page speaks French, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.settings import load_settings
from hven.site import Site

DESCRIPTOR = "collection: points\ntitle: Points\ntables: {main: {source: points.csv, primary: id}}\n"
PAGE = "/collections/points/main"
AREA = "x;y;0 0, 5 0, 5 5, 0 5"


@pytest.fixture(autouse=True)
def _all_packages() -> Iterator[None]:
    """Use all packages again after the test."""
    yield
    plugins.select_plugin_packages(None)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    folder = tmp_path / "collections/points"
    folder.mkdir(parents=True)
    (folder / "points.yaml").write_text(DESCRIPTOR, encoding="utf-8")
    (folder / "points.csv").write_text("id,x,y\n1,2.5,1\n2,4,3\n3,9,9.5\n", encoding="utf-8")
    return tmp_path


def ask(client: Client, **parameters: str) -> str:
    answer = client.get(PAGE, **parameters)
    assert answer.status == 200
    return answer.text


def test_plots_without_the_package_have_no_areas(directory: Path) -> None:
    (directory / "hven.toml").write_text('name = "x"\n', encoding="utf-8")
    with Site(load_settings(directory)) as site:
        ingest_collection(site, "points")
        client = Client(create_and_start_application(site))
        assert 'name="_area"' in ask(client)
        assert client.get(f"{PAGE}/count", _area=AREA).text.count('"total":2') == 1
    (directory / "hven.toml").write_text('name = "x"\nplugins = []\n', encoding="utf-8")
    with Site(load_settings(directory)) as site:
        client = Client(create_and_start_application(site))
        page = ask(client, _area=AREA)
        assert "there is no parameter" in page.replace("&#39;", "'")
        assert 'name="_area"' not in page
        assert client.get(f"{PAGE}/count").text.count('"total":3') == 1


def test_the_form_and_its_faults_are_french(directory: Path) -> None:
    (directory / "hven.toml").write_text('name = "x"\n', encoding="utf-8")
    with Site(load_settings(directory)) as site:
        ingest_collection(site, "points")
        client = Client(create_and_start_application(site))
        page = ask(client, _area=AREA, lang="fr")
        assert "Chercher dans une zone du graphique" in page
        assert "Zone" in page
        faulty = ask(client, _area="x;y;<1 2, 3 4", lang="fr").replace("&#39;", "'")
        assert "la zone a 2 sommets ; il en faut de 3 à 200" in faulty or "n'est pas un sommet" in faulty
        assert "x;y;&lt;1 2, 3 4</textarea>" in faulty, "the text stays for its correction"
