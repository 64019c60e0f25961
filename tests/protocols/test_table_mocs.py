"""Regions of tables as MOCs, and the surveys of their maps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from asgi_client import Client
from mocpy import MOC

from hven.app._server import create_and_start_application
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT32, STRING
from hven.testing.site import open_tiny_site
from plugin_needs import require_page_part

NUMBER = 1500
COLUMNS = (
    Column(name="id", type=INT32, rank=1),
    Column(name="ra", type=FLOAT64, unit="deg", ucd="pos.eq.ra;meta.main", rank=1),
    Column(name="dec", type=FLOAT64, unit="deg", ucd="pos.eq.dec;meta.main", rank=1),
    Column(name="note", type=STRING, rank=2),
)
TABLE = Table(schema="stars", name="main", primary=("id",), position=("ra", "dec"), columns=COLUMNS)
SECRET = Table(schema="secret", name="main", primary=("id",), position=("ra", "dec"), columns=COLUMNS, access="private")
EVIL = "<script>alert(1)</script>"


def rows() -> pa.Table:
    return pa.table(
        {
            "id": pa.array(range(NUMBER), pa.int32()),
            "ra": [number * 0.2 for number in range(NUMBER)],
            "dec": [number % 120 - 60.0 for number in range(NUMBER)],
            "note": [EVIL if number % 2 else None for number in range(NUMBER)],
        }
    )


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    tables = {"stars.main": (TABLE, rows()), "secret.main": (SECRET, rows())}
    with open_tiny_site(tmp_path_factory.mktemp("site"), tables, surveys=("https://hips.example.org/DSS",)) as site:
        yield Client(create_and_start_application(site))


def test_the_region_of_a_table_is_a_moc(client: Client, tmp_path: Path) -> None:
    answer = client.get("/collections/stars/main/moc", _of="region", _near="80,10,5")
    assert answer.headers["content-type"] == "application/fits"
    assert answer.headers["content-disposition"] == 'attachment; filename="stars.main-region.fits"'
    (tmp_path / "moc.fits").write_bytes(answer.body)
    assert MOC.load(str(tmp_path / "moc.fits"), "fits").sky_fraction == pytest.approx(0.0019, rel=0.1)
    shape = json.loads(
        client.get("/collections/stars/main/moc", _of="region", _as="shape", _in="POLYGON 1 2 3 4 5 0").body
    )
    assert shape == {"polygon": [1, 2, 3, 4, 5, 0]}
    assert client.get("/collections/stars/main/moc", _as="ascii").text[0].isdigit()
    assert json.loads(client.get("/collections/stars/main/moc", _as="json", dec="0..").body)
    for wrong in ({"_of": "region"}, {"_of": "all"}, {"_as": "png"}):
        assert client.get("/collections/stars/main/moc", **wrong).status == 400
    assert client.get("/collections/secret/main/moc").status == 404


def test_surveys_are_asked_by_the_pages_of_maps_alone(client: Client) -> None:
    require_page_part("table.map")
    page = client.ask("GET", "/collections/stars/main", headers={"accept": "text/html"})
    assert 'data-surveys="https://hips.example.org/DSS"' in page.text
    policy = page.headers["content-security-policy"]
    assert "connect-src 'self' data: blob: https://hips.example.org" in policy
    assert "hips.example.org/DSS" not in policy
    assert (
        "hips.example.org"
        not in client.ask("GET", "/health", headers={"accept": "text/html"}).headers["content-security-policy"]
    )
