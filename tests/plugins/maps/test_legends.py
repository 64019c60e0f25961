"""A centre's own legends, and what `hven check` says of those that cannot be shown."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from asgi_client import Client
from map_raster_files import write_raster
from PIL import Image

from hven.app._server import create_and_start_application
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site

WMS = "{http://www.opengis.net/wms}"
DESCRIPTOR = """\
collection: legends
title: Legends
files: "maps/*"
layers:
  own: {file: maps/values.tif, legend: legends/own.png}
  wide: {file: maps/values.tif, legend: legends/wide.png}
  text: {file: maps/values.tif, legend: legends/text.png}
  outside: {file: maps/values.tif, legend: ../outside.png}
  drawn: maps/values.tif
  picture: {file: maps/picture.png, frame: "IAU_2015:49900", bounds: [-180, -90, 180, 90], legend: legends/own.png}
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("legends")
    folder = directory / "collections/legends"
    for name in ("maps", "legends"):
        (folder / name).mkdir(parents=True)
    write_raster(folder / "maps/values.tif", np.zeros((9, 18)), -180)
    Image.new("RGB", (20, 10)).save(folder / "maps/picture.png")
    Image.new("RGB", (123, 45), "red").save(folder / "legends/own.png")
    Image.new("RGB", (5000, 1)).save(folder / "legends/wide.png")
    (folder / "legends/text.png").write_text("no picture")
    Image.new("RGB", (1, 1)).save(folder.parent / "outside.png")
    (folder / "legends.yaml").write_text(DESCRIPTOR)
    (directory / "hven.toml").write_text('public_url = "https://vo.example"\n')
    return directory


@pytest.fixture(scope="module")
def legend_client(directory: Path) -> Iterator[Client]:
    with Site(load_settings(directory)) as site:
        ingest_collection(site, "legends")
        yield Client(create_and_start_application(site))


def test_a_legend_is_served_as_it_is(directory: Path, legend_client: Client) -> None:
    layers = {layer["layer"]: layer for layer in json.loads(legend_client.get("/maps/Mars.json").text)["layers"]}
    assert [name for name, layer in layers.items() if not layer["has_own_legend"]] == ["drawn"]
    for name in ("own", "picture"):
        answer = legend_client.get(layers[name]["legend_url"].removeprefix("https://vo.example"))
        assert answer.headers["content-type"] == "image/png"
        assert answer.body == (directory / "collections/legends/legends/own.png").read_bytes()
    drawn = legend_client.get(layers["drawn"]["legend_url"].removeprefix("https://vo.example"))
    assert Image.open(io.BytesIO(drawn.body)).size == (256, 36)


def test_capabilities_have_the_sizes_of_legends(legend_client: Client) -> None:
    text = legend_client.get("/wms/legends?SERVICE=WMS&VERSION=1.3.0&REQUEST=GetCapabilities").text
    wms = "{http://www.opengis.net/wms}"
    sizes = {}
    for layer in ET.fromstring(text).iterfind(f".//{wms}Layer/{wms}Layer"):
        legend = layer.find(f"{wms}Style/{wms}LegendURL")
        sizes[layer.findtext(f"{wms}Name")] = None if legend is None else (legend.get("width"), legend.get("height"))
    own = ("123", "45")
    expected = {"own": own, "picture": own, "drawn": ("256", "36"), "wide": None, "text": None, "outside": None}
    assert sizes == expected


def test_check_tells_of_legends_that_cannot_be_shown(directory: Path) -> None:
    path = directory / "collections/legends/legends.yaml"
    messages = [
        fault.message for fault in check_descriptor(path, load_settings(directory)) if "legend" in fault.message
    ]
    wide_bytes = (path.parent / "legends/wide.png").stat().st_size
    assert messages == [
        f"layers.wide: the legend 'legends/wide.png' has 5000 x 1 pixels and {wide_bytes:,} bytes",
        "layers.text: the legend 'legends/text.png' is not a PNG",
        "layers.outside: there is no legend '../outside.png'",
    ]


def test_layers_have_their_own_licence_and_attribution_or_those_of_the_collection(tmp_path: Path) -> None:
    """In the description, in both versions of WMS and on the page; a licence never leads to the text of another."""
    folder = tmp_path / "collections/credited"
    (folder / "maps").mkdir(parents=True)
    write_raster(folder / "maps/values.tif", np.zeros((9, 18)), -180)
    (folder / "credited.yaml").write_text(
        "collection: credited\ntitle: Credited\npublisher: The centre\nlicence: Our terms\nlicence_url: https://centre.example/terms\n"
        'files: "maps/*"\nlayers:\n  plain: maps/values.tif\n'
        "  own: {file: maps/values.tif, attribution: IAS & CNES, licence: CC-BY-4.0}\n"
        "  other: {file: maps/values.tif, licence: Terms of others}\n"
        "  linked: {file: maps/values.tif, licence: X, licence_url: https://elsewhere.example/x}\n"
    )
    (tmp_path / "hven.toml").write_text('public_url = "https://vo.example"\n')
    wanted = {
        "plain": ("The centre", "Our terms", "https://centre.example/terms"),
        "own": ("IAS & CNES", "CC-BY-4.0", "https://spdx.org/licenses/CC-BY-4.0"),
        "other": ("The centre", "Terms of others", ""),
        "linked": ("The centre", "X", "https://elsewhere.example/x"),
    }
    with Site(load_settings(tmp_path)) as site:
        ingest_collection(site, "credited")
        client = Client(create_and_start_application(site))
        layers = json.loads(client.get("/maps/Mars.json").body)["layers"]
        found = {
            layer["layer"]: (layer["attribution"], layer["licence"]["name"], layer["licence"]["url"])
            for layer in layers
        }
        assert found == wanted
        for version, prefix in (("1.1.1", ""), ("1.3.0", WMS)):
            document = ET.fromstring(client.get("/wms/credited", REQUEST="GetCapabilities", VERSION=version).body)
            assert document.findtext(f"{prefix}Service/{prefix}AccessConstraints") == "Our terms"
            attributions = {
                layer.findtext(f"{prefix}Name"): layer.findtext(f"{prefix}Attribution/{prefix}Title")
                for layer in document.iter(f"{prefix}Layer")
                if layer.find(f"{prefix}Name") is not None
            }
            assert attributions["plain"] == "The centre"
            assert attributions["own"] == "IAS & CNES; CC-BY-4.0"
        page = client.ask("GET", "/maps/Mars", headers={"accept": "text/html"}).text
        for attribution, licence, address in wanted.values():
            assert attribution.replace("&", "&amp;") in page
            assert licence in page
            assert not address or f'href="{address}"' in page
