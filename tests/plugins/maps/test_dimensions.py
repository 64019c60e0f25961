"""Layers with times and wavelengths: several files, bands of a file, or bands of several files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import execute_steps_after_publication, ingest_collection
from hven.model.settings import load_settings
from hven.plugins.maps import map_rasters
from hven.site import Site

DESCRIPTOR = """\
collection: bands
title: Bands
files: "maps/*"
layers:
  files: {times: {2011: maps/b.tif, 2010: maps/a.tif}}
  months: {file: maps/a.tif, times: {2010-02: 2, 2010-01: 1}}
  spectrum: {file: maps/a.tif, wavelengths: {10.5: 2, 1.08: 1}}
  both: {times: {2010: maps/a.tif, 2011: maps/b.tif}, wavelengths: {1.08: 1, 10.50: 2}}
  filters: {wavelengths: {0.75: maps/a.tif, 1: maps/b.tif}}
"""
WMS = "{http://www.opengis.net/wms}"
WMTS = "{http://www.opengis.net/wmts/1.0}"
OWS = "{http://www.opengis.net/ows/1.1}"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dimensions")
    folder = directory / "collections/bands"
    (folder / "maps").mkdir(parents=True)
    for name, first in (("a", 1), ("b", 3)):
        with rasterio.open(
            folder / f"maps/{name}.tif", "w", driver="GTiff", width=36, height=18, count=2, dtype="uint8",
            crs="IAU_2015:49900", transform=rasterio.transform.from_bounds(-180, -90, 180, 90, 36, 18),
        ) as dataset:  # fmt: skip
            dataset.write(np.stack([np.full((18, 36), first), np.full((18, 36), first + 1)]).astype("uint8"))
    (folder / "bands.yaml").write_text(DESCRIPTOR)
    (directory / "hven.toml").write_text('public_url = "https://vo.example"\n')
    return directory


@pytest.fixture(scope="module")
def site(directory: Path) -> Iterator[Site]:
    with Site(load_settings(directory)) as site:
        ingest_collection(site, "bands")
        yield site


@pytest.fixture(scope="module")
def bands_client(site: Site) -> Client:
    return Client(create_and_start_application(site))


@pytest.mark.parametrize(
    ("layer", "query", "value"),
    [
        ("files", "", 3),
        ("files", "TIME=2010-01-01T00:00:00Z", 1),
        ("months", "", 2),
        ("months", "TIME=2010-01", 1),
        ("spectrum", "", 1),
        ("spectrum", "DIM_WAVELENGTH=10.50", 2),
        ("spectrum", "WAVELENGTH=1.08", 1),
        ("both", "", 3),
        ("both", "TIME=2010", 1),
        ("both", "TIME=2010&DIM_WAVELENGTH=10.5", 2),
        ("both", "DIM_WAVELENGTH=10.5", 4),
        ("filters", "DIM_WAVELENGTH=1.0", 3),
        ("filters", "TIME=2010", 1),
    ],
)
def test_a_request_chooses_the_raster_or_its_band(bands_client: Client, layer: str, query: str, value: int) -> None:
    box = "CRS=IAU_2015:49900&BBOX=0,0,9,9&WIDTH=9&HEIGHT=9&I=1&J=1&INFO_FORMAT=application/json"
    answer = bands_client.get(f"/wms/bands?VERSION=1.3.0&REQUEST=GetFeatureInfo&QUERY_LAYERS={layer}&{box}&{query}")
    assert json.loads(answer.text)["values"][0]["value"] == value, answer.text
    answer = bands_client.get(f"/maps/Mars/value?layer=bands/{layer}&lon=1&lat=1&{query}")
    assert json.loads(answer.text)["value"] == value, answer.text
    tile = f"/wmts/bands/1.0.0/{layer}/default/MarsGeographic/0/0/0.png"
    assert bands_client.get(f"{tile}?{query}").status == 200


def test_a_value_that_the_layer_lacks_is_refused(bands_client: Client) -> None:
    query = "VERSION=1.3.0&REQUEST=GetMap&LAYERS=both&CRS=IAU_2015:49900&BBOX=0,0,9,9&WIDTH=9&HEIGHT=9"
    for dimension in ("DIM_WAVELENGTH=1.09", "DIM_WAVELENGTH=nan", "TIME=2012", "TIME=yesterday", "TIME=2010/2012"):
        answer = bands_client.get(f"/wms/bands?{query}&{dimension}")
        assert answer.status == 400
        assert 'code="InvalidDimensionValue"' in answer.text
        assert "1.08" in answer.text or "2011-01-01T00:00:00Z" in answer.text


def test_the_capabilities_list_times_and_wavelengths(bands_client: Client) -> None:
    new = ET.fromstring(bands_client.get("/wms/bands?REQUEST=GetCapabilities&VERSION=1.3.0").body)
    layer = next(item for item in new.iter(f"{WMS}Layer") if item.findtext(f"{WMS}Name") == "both")
    dimensions = {item.get("name"): item for item in layer.findall(f"{WMS}Dimension")}
    assert dimensions["wavelength"].text == "1.08,10.5"
    assert (dimensions["wavelength"].get("units"), dimensions["wavelength"].get("default")) == ("um", "1.08")
    assert dimensions["time"].get("default") == "2011-01-01T00:00:00Z"
    old = bands_client.get("/wms/bands?REQUEST=GetCapabilities&VERSION=1.1.1").text.partition("<Name>both<")[2]
    heads = '<Dimension name="time" units="ISO8601"/><Dimension name="wavelength" units="um"/><Extent name="time"'
    assert heads in old.partition("</Layer>")[0]
    tiles = ET.fromstring(bands_client.get("/wmts/bands?REQUEST=GetCapabilities").body)
    layer = next(item for item in tiles.iter(f"{WMTS}Layer") if item.findtext(f"{OWS}Identifier") == "both")
    names = [item.findtext(f"{OWS}Identifier") for item in layer.findall(f"{WMTS}Dimension")]
    assert names == ["Time", "Wavelength"]
    template = layer.find(f"{WMTS}ResourceURL").get("template")
    assert template.endswith(".png?TIME={Time}&WAVELENGTH={Wavelength}")
    document = json.loads(bands_client.get("/maps/Mars.json").text)
    layer = next(item for item in document["layers"] if item["layer"] == "spectrum")
    assert (layer["times"], layer["wavelengths_um"], layer["default_wavelength_um"]) == ([], [1.08, 10.5], 1.08)


def test_each_band_has_overviews_of_its_own(directory: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_rasters, "MIN_OVERVIEW_PIXELS", 100)
    execute_steps_after_publication(site, "bands")
    assert len(list((directory / "var/map_overviews/bands").glob("*.tif"))) == 4 + 2, "two bands, and the default band"


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("{file: maps/a.tif, wavelengths: {1: 1, 2: 9}}", "no band 9"),
        ("{file: maps/a.tif, wavelengths: {red: 1}}", "'red' is not a valid value"),
        ("{file: maps/a.tif, wavelengths: {-1: 1}}", "'-1' is not a valid value"),
        ("{file: maps/a.tif, wavelengths: {1: 0}}", "count the bands from 1"),
        ("{file: maps/a.tif, band: 1, wavelengths: {1: 1}}", "remove `band`"),
        ("{file: maps/a.tif, wavelengths: {1: maps/b.tif}}", "either in `file`"),
        ("{wavelengths: {1: 1}}", "either in `file`"),
        ("{file: maps/a.tif, times: {2010: 1}, wavelengths: {1: 1}}", "by time and by wavelength"),
        ("{file: maps/a.tif, times: {noon: 1}}", "'noon' is not a valid value"),
    ],
)
def test_dimensions_that_contradict_each_other_are_faults(directory: Path, layer: str, words: str) -> None:
    path = directory / "collections/bands/wrong.yaml"
    path.write_text(f'collection: wrong\ntitle: X\nfiles: "maps/*"\nlayers: {{x: {layer}}}\n')
    faults = [f"{fault.message}; {fault.remedy}" for fault in check_descriptor(path, load_settings(directory))]
    path.unlink()
    assert any(words in fault for fault in faults), faults
