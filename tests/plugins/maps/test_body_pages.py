"""The pages of bodies: who sees which layers, the places of a body, and which answer an address has."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator

import numpy as np
import pytest
import rasterio
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site

HTML = {"accept": "text/html"}
MAPS = """\
collection: {name}
title: Maps of Mars
access: {access}
files: "maps/*"
layers: {{flat: {{file: maps/flat.tif, kind: background, title: {{en: Height, fr: Altitude}}}}}}
"""
TABLES = """\
collection: places
title: Places
tables:
  names:
    source: {kind: csv, files: names.csv, types: {lon: float64, lat: float64, size: float64}}
    columns:
      name: {type: string, ucd: meta.id;meta.main, description: Name}
      body: {type: string, ucd: meta.id;src, description: Body}
      lon: {type: float64, unit: deg, ucd: pos.bodyrc.lon, description: East longitude}
      lat: {type: float64, unit: deg, ucd: pos.bodyrc.lat, description: Latitude}
      size: {type: float64, unit: km, ucd: phys.size, description: Size}
  craters:
    title: Craters
    primary: [number]
    source: {kind: csv, files: craters.csv, types: {lon: float64, lat: float64}}
    columns:
      number: {type: int32, ucd: meta.id;meta.main, description: Number}
      body: {type: string, ucd: meta.id;src, description: Body}
      lon: {type: float64, unit: deg, ucd: pos.bodyrc.lon, description: East longitude}
      lat: {type: float64, unit: deg, ucd: pos.bodyrc.lat, description: Latitude}
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    directory = tmp_path_factory.mktemp("pages")
    for name, access in (("psup", "public"), ("shut", "private")):
        folder = directory / "collections" / name
        (folder / "maps").mkdir(parents=True)
        transform = rasterio.transform.from_bounds(-180, -90, 180, 90, 36, 18)
        options = {"width": 36, "height": 18, "count": 1, "dtype": "float32", "crs": "IAU_2015:49900"}
        with rasterio.open(folder / "maps/flat.tif", "w", driver="GTiff", transform=transform, **options) as raster:
            raster.write(np.eye(18, 36, dtype="float32"), 1)
        (folder / f"{name}.yaml").write_text(MAPS.format(name=name, access=access))
    folder = directory / "collections/places"
    folder.mkdir()
    (folder / "places.yaml").write_text(TABLES)
    (folder / "names.csv").write_text(
        "name,body,lon,lat,size\nSmall,Mars,1,2,3\nLarge,Mars,4,5,600\nCopernicus,Moon,340,9.6,96\n"
    )
    (folder / "craters.csv").write_text("number,body,lon,lat\n1,Mars,1,2\n2,Mars,3,4\n3,Moon,5,6\n")
    (directory / "hven.toml").write_text('public_url = "https://vo.example"\n')
    with Site(load_settings(directory)) as site:
        for name in ("psup", "shut", "places"):
            ingest_collection(site, name)
        yield Client(create_and_start_application(site))


def test_a_page_has_the_layers_that_its_reader_may_see(client: Client) -> None:
    answer = client.ask("GET", "/maps/Mars", headers=HTML)
    assert answer.status == 200
    text = answer.text.partition('<script type="application/json">')[2].partition("</script>")[0]
    document = json.loads(text)
    assert {layer["collection"] for layer in document["layers"]} == {"psup"}
    assert "shut" not in answer.text
    assert document["layers"][0]["title"] == "Height"
    french = client.ask("GET", "/maps/Mars", b"lang=fr", headers=HTML).text
    assert (
        json.loads(french.partition('<script type="application/json">')[2].partition("</script>")[0])["layers"][0][
            "title"
        ]
        == "Altitude"
    )
    assert "SRS=IAU_2015%3A49900" in answer.text
    assert 'href="https://vo.example/maps"' in answer.text  # in the menu


def test_the_json_address_is_that_of_the_service(client: Client) -> None:
    service = json.loads(client.ask("GET", "/maps/Mars.json", headers=HTML).text)
    assert service["body"] == "Mars"
    assert [body["body"] for body in json.loads(client.get("/maps.json").text)["bodies"]] == ["Mars"]


def test_there_is_a_page_for_bodies_with_maps_alone(client: Client) -> None:
    text = client.ask("GET", "/maps", headers=HTML).text
    assert '<a href="https://vo.example/maps/Mars">' in text
    picture = html.unescape(text.partition('<img src="https://vo.example')[2].partition('"')[0])
    path, _, query = picture.partition("?")
    assert "SRS=IAU_2015%3A49965" in query
    assert client.ask("GET", path, query.encode()).body.startswith(b"\x89PNG")
    answer = client.ask("GET", "/maps/Vulcan", headers=HTML)
    assert answer.status == 404
    assert "Vulcan" in answer.text


def test_places_are_those_of_the_body(client: Client) -> None:
    places = json.loads(client.get("/maps/Mars/places").text)
    assert places["names"] == [["Large", 4.0, 5.0, 600.0], ["Small", 1.0, 2.0, 3.0]]
    [table] = places["tables"]
    assert table["id"] == "places.craters"
    assert table["rows"] == 2
    assert not table["footprints"]
    rows = json.loads(
        client.ask("GET", f"{table['url'].removeprefix('https://vo.example')}/places", table["query"].encode()).text
    )
    assert rows["total"] == 2
    assert json.loads(client.get("/maps/Venus/places").text) == {"names": [], "tables": []}


def test_the_page_of_a_collection_with_maps_links_to_them(client: Client) -> None:
    link = 'href="https://vo.example/maps">Maps'
    for name, count in (("psup", 2), ("places", 1)):  # each has the link of the menu
        assert client.ask("GET", f"/collections/{name}", headers=HTML).text.count(link) == count


def test_the_page_of_all_bodies_lists_the_layers_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each layer needs a query: with a list for each body, pages of many bodies took their square."""
    from hven.plugins.maps import layer_access

    calls = []
    list_layer_rasters = layer_access.list_layer_rasters
    monkeypatch.setattr(layer_access, "list_layer_rasters", lambda *args: calls.append(1) or list_layer_rasters(*args))
    assert client.ask("GET", "/maps", headers=HTML).status == 200
    assert len(calls) == 1
