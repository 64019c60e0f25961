"""OWSLib, by which many programs read services of the OGC, reads the capabilities of maps, tiles and coverages."""

from __future__ import annotations

import pytest
from asgi_client import Client

REASON = "pip install owslib (group test)"
wcs = pytest.importorskip("owslib.coverage.wcs100", reason=REASON)
wms = pytest.importorskip("owslib.wms", reason=REASON)
wmts = pytest.importorskip("owslib.wmts", reason=REASON)


@pytest.mark.parametrize("version", ["1.1.1", "1.3.0"])
def test_maps(client: Client, version: str) -> None:
    text = client.get(f"/wms/psup?SERVICE=WMS&REQUEST=GetCapabilities&VERSION={version}").body
    service = wms.WebMapService("https://vo.example/wms/psup", version=version, xml=text)
    assert list(service.contents) == ["latitude", "turned"]
    layer = service.contents["latitude"]
    assert layer.boundingBoxWGS84 == (-180.0, -90.0, 180.0, 90.0)
    assert {"IAU_2015:49900", "IAU_2015:49901", "IAU_2015:49930", "CRS:84"} <= set(layer.crsOptions)
    assert layer.queryable == 1
    assert "GetLegendGraphic" in layer.styles["default"]["legend"]
    operations = {operation.name: operation for operation in service.operations}
    assert "image/webp" in operations["GetMap"].formatOptions
    assert operations["GetFeatureInfo"].methods[0]["url"] == "https://vo.example/wms/psup?"


def test_tiles(client: Client) -> None:
    text = client.get("/wmts/psup?SERVICE=WMTS&REQUEST=GetCapabilities").body
    service = wmts.WebMapTileService("https://vo.example/wmts/psup", xml=text)
    assert list(service.contents) == ["latitude", "turned"]
    matrix_set = service.tilematrixsets["MarsNorthPolar"]
    assert matrix_set.crs == "urn:ogc:def:crs:IAU:2015:49930"
    west, north = matrix_set.tilematrix["0"].topleftcorner
    assert west == -north
    assert set(service.contents["latitude"].tilematrixsetlinks) == {
        "MarsGeographic",
        "MarsNorthPolar",
        "MarsSouthPolar",
    }
    url = service.buildTileResource(layer="latitude", tilematrixset="MarsGeographic", tilematrix="0", row=0, column=1)
    path = url if isinstance(url, str) else url.decode()
    assert path == "https://vo.example/wmts/psup/1.0.0/latitude/default/MarsGeographic/0/0/1.png"
    assert client.get(path.removeprefix("https://vo.example")).status == 200


def test_coverages(client: Client) -> None:
    text = client.get("/wcs/psup?SERVICE=WCS&REQUEST=GetCapabilities&VERSION=1.0.0").body
    service = wcs.WebCoverageService_1_0_0("https://vo.example/wcs/psup", text, None)
    assert list(service.contents) == ["latitude", "turned"]
    assert service.contents["latitude"].boundingBoxWGS84 == (-180.0, -90.0, 180.0, 90.0)
